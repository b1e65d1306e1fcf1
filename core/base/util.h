/* SPDX-License-Identifier: BSD-3-Clause */
/* Small arithmetic that asserts what it assumes, and the clock. */
#ifndef CTE_CORE_BASE_UTIL_H
#define CTE_CORE_BASE_UTIL_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

enum { CTE__PAGE_SHIFT = 12, CTE__PAGE_BYTES = 1 << CTE__PAGE_SHIFT };

static inline uint64_t cte__min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t cte__max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline bool cte__is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static inline uint64_t cte__align_down(uint64_t value, uint64_t unit)
{
    assert(cte__is_power_of_two(unit));
    return value & ~(unit - 1);
}

static inline uint64_t cte__align_up(uint64_t value, uint64_t unit)
{
    assert(cte__is_power_of_two(unit) && value <= UINT64_MAX - unit + 1);
    return (value + unit - 1) & ~(unit - 1);
}

static inline uint64_t cte__monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Of the last clock tick: cheap enough for every access. */
static inline uint64_t cte__realtime_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Bytes to whole pages, and back. */
static inline uint64_t cte__bytes_to_pages(uint64_t bytes)
{
    assert(bytes % CTE__PAGE_BYTES == 0);
    return bytes >> CTE__PAGE_SHIFT;
}

static inline uint64_t cte__pages_to_bytes(uint64_t pages)
{
    assert(pages <= UINT64_MAX >> CTE__PAGE_SHIFT);
    return pages << CTE__PAGE_SHIFT;
}

/* Room for one item more in an array of `count`.  Returns where the array is then, as realloc(3);
 * NULL: there is no memory, and the array is as it was. */
static inline void *cte__array_reserve(void *items, size_t count, size_t *capacity,
                                       size_t item_bytes)
{
    enum { ITEMS_FIRST = 64 };
    if (count < *capacity)
        return items;
    size_t more = *capacity ? *capacity * 2 : ITEMS_FIRST;
    void *larger = realloc(items, more * item_bytes);
    *capacity = larger ? more : *capacity;
    return larger;
}

#endif
