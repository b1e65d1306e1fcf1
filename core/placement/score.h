/* SPDX-License-Identifier: BSD-3-Clause */
/* The scores of targets that have none of their own. */
#ifndef CTE_CORE_PLACEMENT_SCORE_H
#define CTE_CORE_PLACEMENT_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A target among the others of its store. */
struct cte__placement_tier {
    uint64_t bytes_per_s;           /* measured or nominal */
    float kind_rank;                /* of its kind: a higher one is better whatever was measured */
    bool manual;                    /* `score` is given */
    float score;                    /* else computed: 0 … 1 */
    uint64_t placement_bytes_per_s; /* computed: what it counts as */
};

/* Computes scores and bandwidths of all targets of a store, in place.  First chance is taken out of
 * what was measured: of one kind, all targets that have at least half the bandwidth of the fastest
 * count as equally fast, then those of the rest, and so on; and none counts as faster than any
 * target of a better kind, as a busy machine may measure memory.  Then
 *
 *   score = 1 - log2(fastest bandwidth / own bandwidth) / 10, at least 0.1,
 *   and at most 0.95 times the lowest automatic score of a better kind.
 *
 * The logarithm, because a tier differs from the next one by a factor: a quarter of the speed of
 * the fastest target is 0.8, and a disk with a tenth of an NVMe's speed stays as far from it as
 * that is from memory.  Relative to the fastest, because a score of 1 asks for the fastest there
 * is.  By the last rule kinds never tie. */
void cte__placement_score(struct cte__placement_tier *tiers, size_t count);

#endif
