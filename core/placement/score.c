/* SPDX-License-Identifier: BSD-3-Clause */
#include "placement/score.h"

#include <math.h>

#include "base/util.h"

static const float score_per_halving = 0.1f, score_min = 0.1f, next_kind_factor = 0.95f;

static float speed_score(uint64_t bytes_per_s, uint64_t fastest)
{
    if (bytes_per_s == 0)
        return score_min;
    float score = 1.0f - score_per_halving * log2f((float)fastest / (float)bytes_per_s);
    return score > score_min ? score : score_min;
}

/* A target's score, after those of all better kinds. */
static void score_tier(struct cte__placement_tier *tiers, size_t count, size_t index,
                       uint64_t fastest)
{
    float score = speed_score(tiers[index].placement_bytes_per_s, fastest);
    for (size_t i = 0; i < count; i++)
        if (tiers[i].kind_rank > tiers[index].kind_rank && !tiers[i].manual &&
            score > tiers[i].score * next_kind_factor)
            score = tiers[i].score * next_kind_factor;
    if (!tiers[index].manual)
        tiers[index].score = score;
}

/* The highest bandwidth of a kind that is below `bound`, 0 if there is none. */
static uint64_t fastest_of_kind(const struct cte__placement_tier *tiers, size_t count, float rank,
                                uint64_t bound)
{
    uint64_t fastest = 0;
    for (size_t i = 0; i < count; i++)
        if (tiers[i].kind_rank == rank && tiers[i].bytes_per_s < bound)
            fastest = cte__max(fastest, tiers[i].bytes_per_s);
    return fastest;
}

/* What the targets of a kind count as: groups of equally fast ones, none above `limit`.  Returns
 * the lowest. */
static uint64_t group_kind(struct cte__placement_tier *tiers, size_t count, float rank,
                           uint64_t limit)
{
    for (size_t i = 0; i < count; i++)
        if (tiers[i].kind_rank == rank)
            tiers[i].placement_bytes_per_s = 0;
    uint64_t leader = fastest_of_kind(tiers, count, rank, UINT64_MAX);
    for (; leader > 0; leader = fastest_of_kind(tiers, count, rank, (leader + 1) / 2))
        for (size_t i = 0; i < count; i++)
            if (tiers[i].kind_rank == rank && tiers[i].bytes_per_s <= leader &&
                tiers[i].bytes_per_s >= (leader + 1) / 2)
                tiers[i].placement_bytes_per_s = cte__min(leader, limit);
    for (size_t i = 0; i < count; i++)
        if (tiers[i].kind_rank == rank)
            limit = cte__min(limit, tiers[i].placement_bytes_per_s);
    return limit;
}

/* The best kind below `bound`; -INFINITY if there is none. */
static float next_rank(const struct cte__placement_tier *tiers, size_t count, float bound)
{
    float rank = -INFINITY;
    for (size_t i = 0; i < count; i++)
        if (tiers[i].kind_rank < bound && tiers[i].kind_rank > rank)
            rank = tiers[i].kind_rank;
    return rank;
}

void cte__placement_score(struct cte__placement_tier *tiers, size_t count)
{
    uint64_t fastest = 0, limit = UINT64_MAX;
    float rank = INFINITY;
    while ((rank = next_rank(tiers, count, rank)) > -INFINITY)
        limit = group_kind(tiers, count, rank, limit);
    for (size_t i = 0; i < count; i++)
        fastest = cte__max(fastest, tiers[i].placement_bytes_per_s);
    rank = INFINITY;
    while ((rank = next_rank(tiers, count, rank)) > -INFINITY)
        for (size_t i = 0; i < count; i++)
            if (tiers[i].kind_rank == rank)
                score_tier(tiers, count, i, fastest);
}
