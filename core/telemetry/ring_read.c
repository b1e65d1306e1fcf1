/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading the ring: what lies in all lanes up to one moment, in the order of time.
 *
 * A poll looks at every claim from its cursor on.  A claim is an entry, lost (overwritten, or given
 * up), or held back for the next poll: later than the moment, or more than the caller has room for.
 * The new cursor of a lane is its first claim held back; losses before it are counted now, later
 * ones by the poll that passes them.  So each claim is returned or counted by exactly one poll of
 * those that follow each other. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "telemetry/ring_internal.h"

#define LOST UINT64_MAX

/* A claim that the poll found. */
struct found {
    uint64_t logical_time; /* LOST: not an entry */
    uint64_t index;
    uint32_t lane;
    bool passed;
};

struct poll {
    struct cte__ring *ring;
    uint64_t after, until; /* logical times */
    uint64_t next[CTE__RING_LANES];
    bool known; /* `next` is what an earlier poll left, or the beginning of all */
    struct found *found;
    size_t found_count, capacity;
    uint64_t refused; /* entries without memory so far */
    uint64_t dropped;
};

/* ---- one slot ------------------------------------------------------------------------------- */

enum slot_state { SLOT_WHOLE, SLOT_PENDING, SLOT_LOST };

static enum slot_state read_slot(const struct cte__ring *ring, uint32_t lane, uint64_t index,
                                 uint64_t words[CTE__RING_WORDS])
{
    struct cte__ring_slot *slot = cte__ring_slot_at(ring, lane, index);
    uint64_t whole = index * 2 + 2;
    uint64_t sequence = atomic_load_explicit(&slot->sequence, memory_order_acquire);
    if (sequence != whole)
        return sequence > whole ? SLOT_LOST : SLOT_PENDING;
    for (int i = 0; i < CTE__RING_WORDS; i++)
        words[i] = atomic_load_explicit(&slot->words[i], memory_order_acquire);
    uint64_t check = atomic_load_explicit(&slot->check, memory_order_acquire);
    if (atomic_load_explicit(&slot->sequence, memory_order_relaxed) != whole)
        return SLOT_LOST;
    return check == cte__ring_check(words, index) ? SLOT_WHOLE : SLOT_LOST;
}

/* A claim that is not published: its writer is between two instructions, was taken off the
 * processor there, or is dead.  It is waited for a moment, once in a poll. */
static enum slot_state read_patiently(const struct cte__ring *ring, uint32_t lane, uint64_t index,
                                      uint64_t words[CTE__RING_WORDS], int *patience)
{
    const struct timespec nap = {0, 100000};
    enum slot_state state = read_slot(ring, lane, index, words);
    for (; state == SLOT_PENDING && *patience > 0; (*patience)--) {
        nanosleep(&nap, NULL);
        state = read_slot(ring, lane, index, words);
    }
    return state == SLOT_WHOLE ? SLOT_WHOLE : SLOT_LOST;
}

/* ---- all lanes ------------------------------------------------------------------------------ */

static cte_status add_found(struct poll *poll, uint64_t logical_time, uint32_t lane, uint64_t index)
{
    struct found *found =
        cte__array_reserve(poll->found, poll->found_count, &poll->capacity, sizeof *found);
    if (!found)
        return -ENOMEM;
    poll->found = found;
    poll->found[poll->found_count++] = (struct found){logical_time, index, lane, false};
    return CTE_OK;
}

/* Where to begin in a lane of which nothing is known: at the first entry that is late enough.  If
 * none that is too early is left before it, anything may have been lost. */
static uint64_t find_start(struct poll *poll, uint32_t lane, uint64_t oldest, uint64_t head)
{
    uint64_t words[CTE__RING_WORDS], index = oldest;
    bool earlier = false;
    for (; index < head; index++) {
        enum slot_state state = read_slot(poll->ring, lane, index, words);
        if (state == SLOT_PENDING)
            break;
        if (state == SLOT_LOST)
            continue;
        if (cte__ring_logical_time(poll->ring, words[CTE__RING_END], lane, index) > poll->after)
            break;
        earlier = true;
    }
    if (!earlier)
        poll->dropped += index;
    return index;
}

static cte_status scan_lane(struct poll *poll, uint32_t lane, uint64_t head, int *patience)
{
    const struct cte__ring *ring = poll->ring;
    uint64_t entries = (uint64_t)ring->mask + 1, words[CTE__RING_WORDS];
    uint64_t oldest = head > entries ? head - entries : 0, index = poll->next[lane];
    cte_status status = CTE_OK;
    if (!poll->known) {
        index = find_start(poll, lane, oldest, head);
    } else if (index < oldest) {
        poll->dropped += oldest - index;
        index = oldest;
    }
    for (; index < head && status == CTE_OK; index++) {
        uint64_t time = LOST;
        if (read_patiently(ring, lane, index, words, patience) == SLOT_WHOLE)
            time = cte__ring_logical_time(ring, words[CTE__RING_END], lane, index);
        if (time > poll->after)
            status = add_found(poll, time, lane, index);
    }
    poll->next[lane] = head;
    return status;
}

/* Waits until a claim whose stamp is not above one taken before is seen by everyone: processors
 * run ahead of themselves, and their clocks are equal to some nanoseconds only. */
static void let_claims_settle(void)
{
    enum { SETTLE_NS = 2000 };
    uint64_t start = cte__monotonic_ns();
    while (cte__monotonic_ns() - start < SETTLE_NS)
        continue;
}

static cte_status scan(struct poll *poll)
{
    enum { PATIENCE = 20 };
    struct cte__ring *ring = poll->ring;
    uint64_t heads[CTE__RING_LANES];
    int patience = PATIENCE;
    cte_status status = CTE_OK;
    poll->until = cte__ring_logical_time(ring, cte__ring_ticks(ring->use_tsc), CTE__RING_LANES - 1,
                                         UINT64_MAX);
    let_claims_settle();
    for (uint32_t lane = 0; lane < CTE__RING_LANES; lane++)
        heads[lane] = atomic_load(&ring->block->lanes[lane].head);
    for (uint32_t lane = 0; lane < CTE__RING_LANES && status == CTE_OK; lane++)
        status = scan_lane(poll, lane, heads[lane], &patience);
    return status;
}

/* ---- results -------------------------------------------------------------------------------- */

static int compare_times(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return (x->logical_time > y->logical_time) - (x->logical_time < y->logical_time);
}

static uint64_t ticks_to_ns(const struct cte__ring *ring, uint64_t ticks)
{
    if (!ring->use_tsc)
        return ticks;
    uint64_t ns = cte__monotonic_ns() - ring->block->start_ns;
    uint64_t all = cte__ring_ticks(true) - ring->block->start_ticks;
    return (uint64_t)((double)ticks * ((double)ns / (double)(all ? all : 1)));
}

static cte_telemetry_entry make_entry(const struct cte__ring *ring, uint64_t logical_time,
                                      const uint64_t words[CTE__RING_WORDS])
{
    return (cte_telemetry_entry){
        .op = (cte_telemetry_op)(words[CTE__RING_WHAT] & 0xff),
        .status = (cte_status)(int32_t)(uint32_t)(words[CTE__RING_WHAT] >> 32),
        .offset = words[CTE__RING_OFFSET],
        .size = words[CTE__RING_SIZE],
        .blob_id = {(uint32_t)(words[CTE__RING_BLOB] >> 32), (uint32_t)words[CTE__RING_BLOB]},
        .tag_id = {(uint32_t)(words[CTE__RING_TAG] >> 32), (uint32_t)words[CTE__RING_TAG]},
        .modified_ns = words[CTE__RING_MODIFIED],
        .read_ns = words[CTE__RING_READ],
        .logical_time = logical_time,
        .duration_ns = ticks_to_ns(ring, words[CTE__RING_DURATION]),
        .pid = (uint32_t)words[CTE__RING_WHO],
        .rank = (int32_t)(uint32_t)(words[CTE__RING_WHO] >> 32),
        .target = (uint32_t)(words[CTE__RING_WHAT] >> 8 & 0xff),
    };
}

/* Copies the oldest entries out; what was overwritten since it was found is lost after all. */
static size_t take(struct poll *poll, cte_telemetry_entry *entries, size_t capacity)
{
    size_t count = 0;
    for (size_t i = 0; i < poll->found_count && count < capacity; i++) {
        struct found *found = &poll->found[i];
        uint64_t words[CTE__RING_WORDS];
        if (found->logical_time > poll->until)
            break; /* also LOST: they stand behind all others */
        found->passed = true;
        if (read_slot(poll->ring, found->lane, found->index, words) != SLOT_WHOLE)
            poll->dropped++;
        else
            entries[count++] = make_entry(poll->ring, found->logical_time, words);
    }
    return count;
}

/* Sets the cursor and counts the losses that it passes. */
static void pass(struct poll *poll)
{
    for (size_t i = 0; i < poll->found_count; i++) {
        const struct found *found = &poll->found[i];
        if (found->logical_time != LOST && !found->passed)
            poll->next[found->lane] = cte__min(poll->next[found->lane], found->index);
    }
    for (size_t i = 0; i < poll->found_count; i++) {
        const struct found *found = &poll->found[i];
        if (found->logical_time == LOST && found->index < poll->next[found->lane])
            poll->dropped++;
    }
}

/* ---- cursors -------------------------------------------------------------------------------- */

static uint64_t refused(const struct cte__ring *ring)
{
    uint64_t sum = 0;
    for (uint32_t lane = 0; lane < CTE__RING_LANES; lane++)
        sum += atomic_load_explicit(&ring->block->lanes[lane].refused, memory_order_relaxed);
    return sum;
}

static void find_cursor(struct poll *poll)
{
    struct cte__ring *ring = poll->ring;
    uint64_t refused_before = 0;
    poll->refused = refused(ring);
    poll->known = poll->after == 0;
    pthread_mutex_lock(&ring->lock);
    for (int i = 0; i < CTE__RING_CURSORS && !poll->known; i++)
        if (ring->cursors[i].logical_time == poll->after) {
            memcpy(poll->next, ring->cursors[i].next, sizeof poll->next);
            refused_before = ring->cursors[i].refused;
            poll->known = true;
        }
    pthread_mutex_unlock(&ring->lock);
    poll->dropped = poll->refused - refused_before;
}

static void keep_cursor(const struct poll *poll, uint64_t logical_time)
{
    struct cte__ring *ring = poll->ring;
    if (logical_time == 0)
        return;
    pthread_mutex_lock(&ring->lock);
    int place = -1;
    for (int i = 0; i < CTE__RING_CURSORS; i++)
        if (ring->cursors[i].logical_time == logical_time)
            place = i;
    if (place < 0) {
        place = (int)ring->cursor_next;
        ring->cursor_next = (ring->cursor_next + 1) % CTE__RING_CURSORS;
    }
    ring->cursors[place].logical_time = logical_time;
    ring->cursors[place].refused = poll->refused;
    memcpy(ring->cursors[place].next, poll->next, sizeof poll->next);
    pthread_mutex_unlock(&ring->lock);
}

cte_status cte__ring_poll(struct cte__ring *ring, uint64_t logical_time,
                          cte_telemetry_entry *entries, size_t capacity, size_t *count,
                          uint64_t *dropped)
{
    struct poll poll = {.ring = ring, .after = logical_time};
    *count = 0;
    if (dropped)
        *dropped = 0;
    find_cursor(&poll);
    cte_status status = scan(&poll);
    if (status == CTE_OK) {
        if (poll.found_count > 0)
            qsort(poll.found, poll.found_count, sizeof poll.found[0], compare_times);
        *count = take(&poll, entries, capacity);
        pass(&poll);
        keep_cursor(&poll, *count > 0 ? entries[*count - 1].logical_time : logical_time);
        if (dropped)
            *dropped = poll.dropped;
    }
    free(poll.found);
    return status;
}
