/* SPDX-License-Identifier: BSD-3-Clause */
/* What the writing and the reading side of the ring share. */
#ifndef CTE_CORE_TELEMETRY_RING_INTERNAL_H
#define CTE_CORE_TELEMETRY_RING_INTERNAL_H

#include "telemetry/ring.h"

static inline struct cte__ring_slot *cte__ring_slot_at(const struct cte__ring *ring, uint32_t lane,
                                                       uint64_t index)
{
    return &ring->slots[(uint64_t)lane * (ring->mask + 1) + (index & ring->mask)];
}

/* Tells an entry from a mixture of two, or of an entry and what stood there before. */
static inline uint64_t cte__ring_check(const uint64_t words[CTE__RING_WORDS], uint64_t index)
{
    static const uint64_t factors[CTE__RING_WORDS] = {
        UINT64_C(0x9E3779B97F4A7C15), UINT64_C(0xBF58476D1CE4E5B9), UINT64_C(0x94D049BB133111EB),
        UINT64_C(0xD6E8FEB86659FD93), UINT64_C(0xC2B2AE3D27D4EB4F), UINT64_C(0x165667B19E3779F9),
        UINT64_C(0xFF51AFD7ED558CCD), UINT64_C(0xC4CEB9FE1A85EC53), UINT64_C(0xA0761D6478BD642F),
        UINT64_C(0xE7037ED1A0B428DB)};
    uint64_t sum = index * UINT64_C(0x8EBC6AF09C88C6E3) + 1;
#pragma GCC unroll 10
    for (int i = 0; i < CTE__RING_WORDS; i++)
        sum += words[i] * factors[i];
    return sum;
}

/* Steps of 32 ticks, then the lane, then the claim: no lane is claimed 16 times in a step. */
enum { CTE__RING_STEP_SHIFT = 5, CTE__RING_INDEX_BITS = 4, CTE__RING_LANE_BITS = 7 };

static inline uint64_t cte__ring_logical_time(const struct cte__ring *ring, uint64_t ticks,
                                              uint32_t lane, uint64_t index)
{
    uint64_t step = (ticks > ring->start ? ticks - ring->start : 0) >> CTE__RING_STEP_SHIFT;
    return (step + 1) << (CTE__RING_LANE_BITS + CTE__RING_INDEX_BITS) |
           (uint64_t)lane << CTE__RING_INDEX_BITS | (index & ((1u << CTE__RING_INDEX_BITS) - 1));
}

static_assert(1 << CTE__RING_LANE_BITS == CTE__RING_LANES, "lanes fit into logical times");

#endif
