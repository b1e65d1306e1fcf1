/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accesses that exclude each other: a reader and writer lock by ranges, made of robust mutexes.
 *
 * A file is cut into pieces that belong to a few stripes in turn; a stripe has a few seats.  Who
 * reads takes one seat of each stripe that his range touches, who writes takes all of them.  All
 * take them in one order, stripe by stripe, so nobody waits in a circle.  A holder that dies leaves
 * mutexes that the next one takes over: what he had begun is his job's, which is dead, too.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/log.h"
#include "file/tracked.h"

enum { PIECE_BYTES = 1 << 20 };

static_assert(CTE__GUARD_STRIPES * CTE__GUARD_SEATS <= 32, "a word says which seats are taken");

/* One bit per stripe. */
static uint32_t stripes_of(uint64_t offset, uint64_t length)
{
    uint32_t stripes = 0;
    uint64_t first = offset / PIECE_BYTES, last = (offset + length - 1) / PIECE_BYTES;
    for (uint64_t i = first; i <= last && i < first + CTE__GUARD_STRIPES; i++)
        stripes |= UINT32_C(1) << (i % CTE__GUARD_STRIPES);
    return stripes;
}

static uint32_t seat_bit(uint32_t stripe, uint32_t seat)
{
    return UINT32_C(1) << (stripe * CTE__GUARD_SEATS + seat);
}

static uint32_t take(struct cte__file_state *state, uint32_t stripe, uint32_t seat)
{
    bool died = cte__mutex_lock(&state->guard[stripe][seat]);
    (void)died;
    return seat_bit(stripe, seat);
}

/* Any seat that is free, else this process's own one. */
static uint32_t take_any(struct cte__file_state *state, uint32_t stripe, uint32_t own)
{
    for (uint32_t i = 0; i < CTE__GUARD_SEATS; i++) {
        uint32_t seat = (own + i) % CTE__GUARD_SEATS;
        bool died;
        if (cte__mutex_trylock(&state->guard[stripe][seat], &died))
            return seat_bit(stripe, seat);
    }
    return take(state, stripe, own % CTE__GUARD_SEATS);
}

static uint32_t lock_shared_state(const cte_file *file, bool write, uint32_t stripes)
{
    struct cte__store *store = file->client->store;
    struct cte__file_state *state = &cte__tag_at(store, file->tag)->file;
    uint32_t held = 0;
    for (uint32_t stripe = 0; stripe < CTE__GUARD_STRIPES; stripe++) {
        if (!(stripes >> stripe & 1))
            continue;
        if (!write)
            held |= take_any(state, stripe, cte__store_self(store));
        for (uint32_t seat = 0; write && seat < CTE__GUARD_SEATS; seat++)
            held |= take(state, stripe, seat);
    }
    return held;
}

/* The kernel's locks of an open file description: gone with it, whatever happens. */
static cte_status lock_real_file(const cte_file *file, short type, const cte_file_range *range)
{
    struct flock lock = {.l_type = type,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)range->offset,
                         .l_len = (off_t)range->length};
    int result;
    do
        result = fcntl(file->fd, F_OFD_SETLKW, &lock);
    while (result != 0 && errno == EINTR);
    return result == 0 ? CTE_OK : -errno;
}

cte_status cte_file_lock(cte_file *file, bool write, uint64_t offset, uint64_t length,
                         cte_file_range *range)
{
    *range = (cte_file_range){.offset = offset, .length = 0};
    if (offset > INT64_MAX || length > INT64_MAX - offset)
        return -EINVAL;
    if (length == 0)
        return CTE_OK;
    range->length = length;
    if (file->client) {
        range->held = lock_shared_state(file, write, stripes_of(offset, length));
        return CTE_OK;
    }
    cte_status status = lock_real_file(file, write ? F_WRLCK : F_RDLCK, range);
    if (status != CTE_OK)
        range->length = 0;
    return status;
}

void cte_file_unlock(cte_file *file, const cte_file_range *range)
{
    if (range->length == 0)
        return;
    if (!file->client) {
        cte_status status = lock_real_file(file, F_UNLCK, range);
        if (status != CTE_OK)
            cte__log_warn("unlocking a file: %s", cte_status_string(status));
        return;
    }
    struct cte__file_state *state = &cte__tag_at(file->client->store, file->tag)->file;
    for (uint32_t i = CTE__GUARD_STRIPES * CTE__GUARD_SEATS; i-- > 0;)
        if (range->held >> i & 1)
            cte__mutex_unlock(&state->guard[i / CTE__GUARD_SEATS][i % CTE__GUARD_SEATS]);
}
