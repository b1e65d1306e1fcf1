/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How hot a blob is: when it was read last, and how often lately, in one word.
 *
 * The time stands in units of 256 ns, the count in the lowest 8 bits.  The count is halved for each
 * half-life without a read, and reads that follow each other closely, as the pieces of one pass
 * over a blob do, count as one.  Pure functions.
 */
#ifndef CTE_CORE_PLACEMENT_HEAT_H
#define CTE_CORE_PLACEMENT_HEAT_H

#include <stdint.h>

#define CTE__HEAT_HALF_LIFE_NS UINT64_C(60000000000)
#define CTE__HEAT_BURST_NS     UINT64_C(20000000)

enum { CTE__HEAT_COUNT_MAX = 255 };

/* When it was read last; 0: never. */
static inline uint64_t cte__heat_time(uint64_t word)
{
    return word & ~(uint64_t)CTE__HEAT_COUNT_MAX;
}

/* The word of something that was read at that time and is not hot; 0: never read. */
static inline uint64_t cte__heat_of_time(uint64_t time_ns)
{
    /* Rounded up: never before the moment itself. */
    return cte__heat_time(time_ns + CTE__HEAT_COUNT_MAX);
}

/* How often it was read lately, as of `now`. */
static inline uint32_t cte__heat_count(uint64_t word, uint64_t now_ns)
{
    uint64_t time = cte__heat_time(word);
    uint64_t halves = now_ns > time ? (now_ns - time) / CTE__HEAT_HALF_LIFE_NS : 0;
    return halves < 8 ? (uint32_t)(word & CTE__HEAT_COUNT_MAX) >> halves : 0;
}

/* The word after a read at `now`. */
static inline uint64_t cte__heat_read(uint64_t word, uint64_t now_ns)
{
    uint32_t count = cte__heat_count(word, now_ns);
    uint64_t time = cte__heat_time(word);
    if (now_ns - time >= CTE__HEAT_BURST_NS && now_ns > time && count < CTE__HEAT_COUNT_MAX)
        count++;
    return cte__heat_of_time(now_ns) | count;
}

#endif
