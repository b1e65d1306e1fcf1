/* SPDX-License-Identifier: BSD-3-Clause */
/* One program: what the file holds before, how the ranks are grouped, a string of operations, and
   a look at the file afterwards. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "session.h"

enum { PAGE = 4096 };

void boundary(struct session *s)
{
    bool sync = rng_chance(&s->random, 15);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; sync && i < HANDLES; i++)
            if (s->handles[i].open)
                log_line("sync error=%s", error_name(MPI_File_sync(s->handles[i].file)));
        if (turn == 0)
            MPI_Barrier(s->comm);
    }
    epoch_start(&s->epoch, s->shadow.size);
}

/* --- the file without MPI --- */

static void write_prior(struct session *s, const unsigned char *data, size_t bytes)
{
    int file = open(s->path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || write(file, data, bytes) != (ssize_t)bytes || close(file) != 0)
        die("cannot write %s: %s", s->path, strerror(errno));
}

static void make_prior(struct session *s)
{
    bool there = rng_chance(&s->random, 60) || s->alone;
    size_t bytes = (size_t)rng_size(&s->random, (uint64_t)s->region);
    uint64_t salt = rng_next(&s->random);
    shadow_clear(&s->shadow);
    if (there) {
        unsigned char *data = must_alloc(bytes);
        for (size_t i = 0; i < bytes; i++)
            data[i] = (unsigned char)(rng_mix(salt + i / 8) >> (8 * (i % 8)));
        if (bytes)
            shadow_put(&s->shadow, 0, data, (int64_t)bytes);
        if (s->rank == 0)
            write_prior(s, data, bytes);
        free(data);
    }
    MPI_Barrier(s->comm);
    epoch_start(&s->epoch, s->shadow.size);
}

static bool all_zero(const unsigned char *page, size_t bytes)
{
    return bytes == 0 || (page[0] == 0 && memcmp(page, page + 1, bytes - 1) == 0);
}

static bool as_in_shadow(struct session *s, int64_t at, const unsigned char *page, size_t bytes)
{
    bool in_arena = at < ARENA_BYTES || (at >= HIGH_ARENA && at < HIGH_ARENA + ARENA_BYTES);
    return in_arena ? memcmp(page, shadow_at(&s->shadow, at), bytes) == 0 : all_zero(page, bytes);
}

/* Hash of the pages that are not zero; holes are skipped, so big sparse files cost nothing. */
static uint64_t hash_file(struct session *s, int file, bool *as_modelled)
{
    unsigned char page[PAGE];
    uint64_t hash = 0;
    off_t at = 0;
    while ((at = lseek(file, at, SEEK_DATA)) >= 0) {
        at -= at % PAGE;
        ssize_t got = pread(file, page, PAGE, at);
        if (got <= 0)
            break;
        *as_modelled &= as_in_shadow(s, at, page, (size_t)got);
        if (!all_zero(page, (size_t)got)) {
            hash = hash_bytes(hash, &at, sizeof(at));
            hash = hash_bytes(hash, page, (size_t)got);
        }
        at += got;
    }
    return hash;
}

/* The shadow's bytes must be in the file as well: a hole in the file is not looked at above. */
static bool shadow_in_file(struct session *s, int file)
{
    unsigned char page[PAGE];
    for (int i = 0; i < 2; i++)
        for (int64_t at = 0; at < s->shadow.used[i]; at += PAGE) {
            int64_t left = s->shadow.used[i] - at, want = left < PAGE ? left : PAGE;
            int64_t from = at + (i ? HIGH_ARENA : 0);
            if (pread(file, page, (size_t)want, from) != want ||
                memcmp(page, s->shadow.arena[i] + at, (size_t)want) != 0)
                return false;
        }
    return true;
}

static void look_at_file(struct session *s, bool deleted)
{
    int file = open(s->path, O_RDONLY);
    if (file < 0) {
        log_line("file errno=%d", errno);
        return;
    }
    bool as_modelled = !deleted;
    uint64_t hash = hash_file(s, file, &as_modelled);
    off_t size = lseek(file, 0, SEEK_END);
    as_modelled &= size == s->shadow.size && shadow_in_file(s, file);
    close(file);
    log_line("file size=%lld data=%016llx", (long long)size, (unsigned long long)hash);
    if (!as_modelled)
        log_model("file differs from what was written (size %lld, should be %lld)", (long long)size,
                  (long long)s->shadow.size);
}

/* --- operations --- */

static struct handle *some_handle(struct session *s)
{
    struct handle *h = &s->handles[rng_below(&s->random, HANDLES)];
    return h->open ? h : &s->handles[0];
}

static void reopen(struct session *s, struct handle *h)
{
    bool deletes = h->amode & MPI_MODE_DELETE_ON_CLOSE;
    if (deletes)
        return;
    handle_close(s, h);
    boundary(s);
    handle_open(s, h, true);
}

static void toggle_second(struct session *s)
{
    struct handle *h = &s->handles[1];
    if (h->open)
        handle_close(s, h);
    else
        handle_open(s, h, true);
    boundary(s);
}

static void one_operation(struct session *s)
{
    struct handle *h = some_handle(s);
    unsigned kind = (unsigned)rng_below(&s->random, 100);
    if (kind < 23)
        op_independent(s, h);
    else if (kind < 40)
        op_collective(s, h);
    else if (kind < 52)
        op_batch(s, h);
    else if (kind < 61)
        handle_set_view(s, h);
    else if (kind < 68)
        boundary(s);
    else if (kind < 74)
        op_query(s, h);
    else if (kind < 78)
        op_seek(s, h);
    else if (kind < 81)
        op_resize(s, h);
    else if (kind < 86)
        op_shared(s, h);
    else if (kind < 91)
        op_misuse(s, h);
    else if (kind < 94)
        op_attributes(s, h);
    else if (kind < 95)
        op_external(s, h);
    else if (kind < 97)
        op_atomicity(s, h);
    else if (kind < 99)
        toggle_second(s);
    else
        reopen(s, h);
}

static void choose_scale(struct session *s)
{
    unsigned kind = (unsigned)rng_below(&s->random, 100);
    s->base = 0;
    s->region = kind < 35 ? 4 << 10 : kind < 85 ? 128 << 10 : kind < 93 ? 3 << 20 : 2 << 20;
    s->most = kind < 35 ? 512 : kind < 85 ? 16 << 10 : 512 << 10;
    if (kind >= 93)
        s->base = HIGH_ARENA;
}

static void run_operations(struct session *s)
{
    bool deletes = false;
    if (handle_open(s, &s->handles[0], false)) {
        deletes = s->handles[0].amode & MPI_MODE_DELETE_ON_CLOSE;
        if (s->base || rng_chance(&s->random, 60))
            handle_set_view(s, &s->handles[0]);
        for (int left = rng_range(&s->random, 5, 30); left > 0 && s->handles[0].open; left--)
            one_operation(s);
    }
    for (int i = HANDLES - 1; i >= 0; i--)
        handle_close(s, &s->handles[i]);
    MPI_Barrier(s->comm);
    if (s->rank == 0)
        look_at_file(s, deletes);
}

/* Groups: everybody, two halves with a file each, or each rank alone with its own. */
static int choose_group(struct rng *g, int rank, bool *alone)
{
    unsigned kind = (unsigned)rng_below(g, 100);
    *alone = kind >= 60 && kind < 75; /* one file, opened by each rank for itself */
    if (kind < 75)
        return 0;
    return kind < 90 ? rank % 2 : rank;
}

void program_run(struct session *s, const char *directory, uint64_t seed, bool keep)
{
    int world_rank;
    struct rng g = rng_make(seed, 0);
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    int color = choose_group(&g, world_rank, &s->alone);
    MPI_Comm_split(MPI_COMM_WORLD, color, world_rank, &s->comm);
    MPI_Comm_rank(s->comm, &s->rank);
    MPI_Comm_size(s->comm, &s->ranks);
    s->random = rng_make(seed, 1000 + (uint64_t)color);
    snprintf(s->path, sizeof(s->path), "%s/p%llu-%d.dat", directory, (unsigned long long)seed,
             color);
    log_program(seed);
    log_line("program group=%d ranks=%d%s", color, s->ranks, s->alone ? " alone" : "");
    choose_scale(s);
    make_prior(s);
    run_operations(s);
    MPI_Barrier(MPI_COMM_WORLD);
    if (s->rank == 0 && !keep)
        unlink(s->path);
    MPI_Comm_free(&s->comm);
}
