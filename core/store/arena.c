/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/arena.h"

#include <string.h>

#include "base/util.h"
#include "store/mutex.h"

enum { WORD_BITS = 64 };

uint64_t cte__arena_table_bytes(uint32_t unit_count, bool sums)
{
    uint64_t bytes = (uint64_t)unit_count * sizeof(uint16_t) + unit_count / 8;
    if (sums)
        bytes += (uint64_t)unit_count * sizeof(uint32_t);
    return cte__align_up(bytes, CTE__PAGE_BYTES);
}

void cte__arena_init(struct cte__arena *arena, uint32_t unit_count, uint32_t room_count, bool sums,
                     uint64_t tables_offset)
{
    assert(unit_count % WORD_BITS == 0 && unit_count <= room_count);
    cte__mutex_init(&arena->lock);
    arena->unit_count = unit_count;
    atomic_store(&arena->free_count, unit_count);
    arena->bitmap_offset = tables_offset + (uint64_t)room_count * sizeof(uint16_t);
    arena->sums_offset = sums ? arena->bitmap_offset + room_count / 8 : 0;
    arena->owners_offset = tables_offset;
}

/* The first position at or after `from` whose bit equals `value`; `end` if there is none. */
static uint32_t find_bit(const uint64_t *bitmap, uint32_t from, uint32_t end, bool value)
{
    while (from < end) {
        uint64_t word = bitmap[from / WORD_BITS];
        if (!value)
            word = ~word;
        word >>= from % WORD_BITS;
        if (word != 0) {
            uint32_t found = from + (uint32_t)__builtin_ctzll(word);
            return found < end ? found : end;
        }
        from = (from / WORD_BITS + 1) * WORD_BITS;
    }
    return end;
}

static void set_bits(uint64_t *bitmap, uint32_t start, uint32_t count, bool value)
{
    while (count > 0) {
        uint32_t shift = start % WORD_BITS;
        uint32_t n = count < WORD_BITS - shift ? count : WORD_BITS - shift;
        uint64_t mask = (n == WORD_BITS ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << shift;
        if (value)
            bitmap[start / WORD_BITS] |= mask;
        else
            bitmap[start / WORD_BITS] &= ~mask;
        start += n;
        count -= n;
    }
}

void cte__arena_own(const struct cte__arena_view *view, uint16_t owner, uint32_t start,
                    uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        atomic_store_explicit(&view->owners[start + i], owner, memory_order_relaxed);
}

/* The owner words are the truth: derive the rest from them. */
static void rebuild(const struct cte__arena_view *view)
{
    struct cte__arena *arena = view->arena;
    uint32_t free_count = 0;
    arena->hint = 0;
    arena->high_water = 0;
    if (!atomic_load(&arena->ready)) { /* its tables have no memory: nothing was ever claimed */
        atomic_store(&arena->free_count, arena->unit_count);
        return;
    }
    memset(view->bitmap, 0, arena->unit_count / 8);
    for (uint32_t i = 0; i < arena->unit_count; i++) {
        if (atomic_load_explicit(&view->owners[i], memory_order_relaxed) == CTE__OWNER_FREE) {
            free_count++;
            continue;
        }
        set_bits(view->bitmap, i, 1, true);
        arena->high_water = i + 1;
    }
    atomic_store(&arena->free_count, free_count);
}

static void lock_arena(const struct cte__arena_view *view)
{
    if (cte__mutex_lock(&view->arena->lock))
        rebuild(view);
}

uint32_t cte__arena_recover(const struct cte__arena_view *view)
{
    lock_arena(view);
    uint32_t high_water = view->arena->high_water;
    cte__mutex_unlock(&view->arena->lock);
    return high_water;
}

bool cte__arena_close(const struct cte__arena_view *view)
{
    lock_arena(view);
    if (atomic_load(&view->arena->free_count) == view->arena->unit_count)
        view->arena->closed = 1;
    bool closed = view->arena->closed;
    cte__mutex_unlock(&view->arena->lock);
    return closed;
}

void cte__arena_open(const struct cte__arena_view *view)
{
    lock_arena(view);
    view->arena->closed = 0;
    cte__mutex_unlock(&view->arena->lock);
}

void cte__arena_resize(const struct cte__arena_view *view, uint32_t unit_count)
{
    struct cte__arena *arena = view->arena;
    assert(unit_count % WORD_BITS == 0);
    lock_arena(view);
    assert(arena->closed);
    if (arena->unit_count != unit_count)
        atomic_store(&arena->ready, 0); /* perhaps not all of the tables has memory */
    arena->unit_count = unit_count;
    arena->hint = arena->high_water = 0;
    atomic_store(&arena->free_count, unit_count);
    cte__mutex_unlock(&arena->lock);
}

struct run {
    uint32_t start, count;
};

/* Looks for `want` aligned free units in [from, end); keeps the longest run seen in *best. */
static bool search(const struct cte__arena_view *view, uint32_t from, uint32_t end, uint32_t want,
                   uint32_t align, struct run *best)
{
    while (from < end) {
        uint32_t start = find_bit(view->bitmap, from, end, false);
        start = (uint32_t)cte__align_up(start, align);
        if (start >= end)
            return false;
        uint64_t limit = cte__min(end, (uint64_t)start + want);
        uint32_t stop = find_bit(view->bitmap, start, (uint32_t)limit, true);
        if (stop - start > best->count)
            *best = (struct run){start, stop - start};
        if (best->count == want)
            return true;
        from = stop > start ? stop : start + 1;
    }
    return false;
}

uint32_t cte__arena_claim(const struct cte__arena_view *view, uint16_t owner, uint32_t want,
                          uint32_t align, bool exact, uint32_t *start)
{
    struct cte__arena *arena = view->arena;
    assert(want > 0 && owner != CTE__OWNER_FREE);
    lock_arena(view);
    struct run best = {0, 0};
    if (arena->closed) {
        cte__mutex_unlock(&arena->lock);
        return 0;
    }
    uint32_t hint = arena->hint < arena->unit_count ? arena->hint : 0;
    if (!search(view, hint, arena->unit_count, want, align, &best))
        search(view, 0, arena->unit_count, want, align, &best);
    if (exact && best.count < want)
        best.count = 0;
    if (best.count > 0) {
        /* Owner words first: dying between the two leaves a claim that the sweep sees. */
        cte__arena_own(view, owner, best.start, best.count);
        set_bits(view->bitmap, best.start, best.count, true);
        atomic_fetch_sub(&arena->free_count, best.count);
        arena->hint = best.start + best.count;
        if (arena->high_water < arena->hint)
            arena->high_water = arena->hint;
    }
    cte__mutex_unlock(&arena->lock);
    *start = best.start;
    return best.count;
}

bool cte__arena_take(const struct cte__arena_view *view, uint32_t start, uint32_t count)
{
    struct cte__arena *arena = view->arena;
    assert(start <= arena->unit_count && count <= arena->unit_count - start);
    lock_arena(view);
    bool is_free = find_bit(view->bitmap, start, start + count, true) == start + count;
    if (is_free) {
        cte__arena_own(view, CTE__OWNER_PUBLISHED, start, count);
        set_bits(view->bitmap, start, count, true);
        atomic_fetch_sub(&arena->free_count, count);
        if (arena->high_water < start + count)
            arena->high_water = start + count;
    }
    cte__mutex_unlock(&arena->lock);
    return is_free;
}

/* Nobody but their owner changes the owner words of claimed units, so plain stores do. */
void cte__arena_free(const struct cte__arena_view *view, uint16_t owner, uint32_t start,
                     uint32_t count)
{
    struct cte__arena *arena = view->arena;
    assert(start <= arena->unit_count && count <= arena->unit_count - start);
    lock_arena(view);
    for (uint32_t i = start; i < start + count; i++)
        assert(atomic_load_explicit(&view->owners[i], memory_order_relaxed) == owner);
    (void)owner;
    cte__arena_own(view, CTE__OWNER_FREE, start, count);
    set_bits(view->bitmap, start, count, false);
    atomic_fetch_add(&arena->free_count, count);
    /* What was used last is warmest in the caches: hand it out first. */
    arena->hint = start;
    cte__mutex_unlock(&arena->lock);
}

uint32_t cte__arena_reclaim(const struct cte__arena_view *view, uint16_t owner, uint32_t start,
                            uint32_t count)
{
    struct cte__arena *arena = view->arena;
    uint32_t freed = 0;
    assert(start <= arena->unit_count && count <= arena->unit_count - start);
    lock_arena(view);
    uint32_t run = start; /* first unit of the run being freed */
    for (uint32_t i = start; i <= start + count; i++) {
        /* Compare and swap: a live process may take over a dead one's published piece meanwhile. */
        uint16_t expected = owner;
        if (i < start + count &&
            atomic_compare_exchange_strong_explicit(&view->owners[i], &expected, CTE__OWNER_FREE,
                                                    memory_order_relaxed, memory_order_relaxed)) {
            freed++;
            continue;
        }
        set_bits(view->bitmap, run, i - run, false);
        run = i + 1;
    }
    atomic_fetch_add(&arena->free_count, freed);
    cte__mutex_unlock(&arena->lock);
    return freed;
}
