/* SPDX-License-Identifier: BSD-3-Clause */
/* The ram target's transfers: memory copies for pages that are warm, system calls for the rest. */
#include <errno.h>
#include <string.h>

#include "base/copy.h"
#include "base/log.h"
#include "base/util.h"
#include "target/cursor.h"
#include "target/ram.h"

/* One transfer under way. */
struct transfer {
    const struct cte__target_io *io;
    struct cte__ram_pages pages; /* all of them */
    uint64_t inside;             /* bytes from the start of the arena */
    struct cte__cursor at;       /* how far it got */
};

/* The next piece of memory, `most` bytes at most. */
static struct iovec next_piece(struct cte__cursor *at, uint64_t most)
{
    struct iovec piece;
    piece.iov_base = cte__cursor_memory(at, &piece.iov_len);
    piece.iov_len = cte__min(piece.iov_len, most);
    cte__cursor_advance(at, piece.iov_len);
    return piece;
}

/* Through the mapping, with the sums of the pages. */
static void copy_summed(const struct transfer *t, char *at)
{
    const struct cte__target_io *io = t->io;
    uint32_t *sums = io->sums;
    for (int i = 0; i < io->iov_count; i++) {
        if (io->write)
            cte__copy_out_summed(at, io->iov[i].iov_base, io->iov[i].iov_len, sums);
        else
            cte__copy_in_summed(io->iov[i].iov_base, at, io->iov[i].iov_len, sums);
        at += io->iov[i].iov_len;
        sums += io->iov[i].iov_len >> CTE__PAGE_SHIFT;
    }
}

/* Through the mapping. */
static void copy_mapped(struct transfer *t, char *at, uint64_t bytes)
{
    while (bytes > 0) {
        struct iovec piece = next_piece(&t->at, bytes);
        if (t->io->write)
            cte__copy_out(at, piece.iov_base, piece.iov_len);
        else
            cte__copy_in(piece.iov_base, at, piece.iov_len);
        at += piece.iov_len;
        bytes -= piece.iov_len;
    }
}

/* A part of the transfer by system calls. */
static cte_status move_part(struct transfer *t, int fd, uint64_t inside, uint64_t bytes)
{
    enum { PIECES = 64 };
    struct iovec iov[PIECES];
    while (bytes > 0) {
        struct cte__target_io part = {.write = t->io->write, .iov = iov};
        for (; part.iov_count < PIECES && part.bytes < bytes; part.iov_count++) {
            iov[part.iov_count] = next_piece(&t->at, bytes - part.bytes);
            part.bytes += iov[part.iov_count].iov_len;
        }
        cte_status rc = cte__target_transfer(fd, inside, &part);
        if (rc != 0)
            return rc;
        inside += part.bytes;
        bytes -= part.bytes;
    }
    return 0;
}

static cte_status move_all(struct cte__ram_state *state, const struct transfer *t)
{
    cte_status rc = cte__arenas_transfer(&state->arenas, t->io);
    if (rc == 0)
        cte__ram_note_used(state, &t->pages);
    return rc;
}

/* Some pages are warm, some are not. */
static cte_status move_mixed(struct cte__ram_state *state, struct transfer *t, char *base)
{
    struct cte__arena_use use;
    cte_status rc = cte__arenas_use(&state->arenas, t->pages.arena, t->io->write, &use);
    if (rc != 0)
        return rc;
    uint64_t at = t->inside, end = t->inside + t->io->bytes;
    struct cte__ram_pages rest = t->pages;
    while (rc == 0 && rest.first < rest.end) {
        bool warm;
        struct cte__ram_pages run = rest;
        run.end = cte__ram_same_way(state, &rest, &warm);
        uint64_t bytes = cte__min(cte__pages_to_bytes(run.end), end) - at;
        if (warm)
            copy_mapped(t, base + at, bytes);
        else
            rc = move_part(t, use.fd, at, bytes);
        if (rc == 0 && !warm)
            cte__ram_note_used(state, &run);
        at += bytes;
        rest.first = run.end;
    }
    cte__arenas_done(&use);
    return rc;
}

/* `base` is the mapping, or NULL. */
static cte_status move_and_sum(struct cte__ram_state *state, struct transfer *t, char *base)
{
    const struct cte__target_io *io = t->io;
    if (io->sums && io->write)
        cte__target_sum(io);
    cte_status rc = base ? move_mixed(state, t, base) : move_all(state, t);
    if (rc == -ENOENT && !io->write)
        rc = cte__arenas_read_zeros(&state->arenas, io);
    if (rc == 0 && io->sums && !io->write)
        cte__target_sum(io);
    return rc;
}

/* All pages are warm. */
static void move_warm(struct cte__ram_state *state, struct transfer *t)
{
    char *base = atomic_load_explicit(&state->bases[t->pages.arena], memory_order_acquire);
    if (t->io->sums)
        copy_summed(t, base + t->inside);
    else
        copy_mapped(t, base + t->inside, t->io->bytes);
}

cte_status cte__ram_io(void *opaque, const struct cte__target_io *io)
{
    struct cte__ram_state *state = opaque;
    cte_status rc =
        cte__target_check_io(io, state->arenas.capacity_bytes, state->arenas.arena_bytes);
    if (rc != 0 || io->bytes == 0)
        return rc;
    uint64_t index = io->offset / state->arenas.arena_bytes;
    uint64_t inside = io->offset - index * state->arenas.arena_bytes;
    struct transfer t = {
        .io = io,
        .pages = {.arena = index,
                  .first = inside >> CTE__PAGE_SHIFT,
                  .end = ((inside + io->bytes - 1) >> CTE__PAGE_SHIFT) + 1},
        .inside = inside,
        .at = cte__cursor_begin(io->iov, io->iov_count),
    };
    if (cte__ram_warm(state, &t.pages)) {
        move_warm(state, &t);
        return 0;
    }
    char *base = cte__ram_warm_due(state, &t.pages, io->write);
    if (base && cte__ram_warm(state, &t.pages)) {
        move_warm(state, &t);
        return 0;
    }
    rc = move_and_sum(state, &t, base);
    /* A full medium is the caller's business: it has other targets. */
    if (rc != 0 && rc != -ENOSPC)
        cte__log_error("cannot %s %llu bytes at %llu of target %s: %s",
                       io->write ? "write" : "read", (unsigned long long)io->bytes,
                       (unsigned long long)io->offset, state->arenas.path, cte_status_string(rc));
    return rc;
}
