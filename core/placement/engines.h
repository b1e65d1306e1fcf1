/* SPDX-License-Identifier: BSD-3-Clause */
/* The engines there are (placement.c lists them), and what they share: the rules on scores and
 * room. They differ only in the order of the targets that deserve a request. */
#ifndef CTE_CORE_PLACEMENT_ENGINES_H
#define CTE_CORE_PLACEMENT_ENGINES_H

#include "placement/placement.h"

extern const struct cte__placement_engine cte__placement_max_bw;
extern const struct cte__placement_engine cte__placement_random;
extern const struct cte__placement_engine cte__placement_round_robin;

/* One question of order: among the deserving targets that have `least` bytes left. */
struct cte__placement_order {
    const struct cte_placement_target *targets;
    size_t target_count;
    const struct cte_placement_request *request;
    uint64_t least;
    size_t start; /* what the engine's `start` said, 0 without one */
};

struct cte__placement_rule {
    /* Does deserving target `a` come before `b`?  A total order. */
    bool (*before)(const struct cte__placement_order *order, size_t a, size_t b);
    /* NULL, or computes order->start once for each order. */
    size_t (*start)(const struct cte__placement_order *order);
};

size_t cte__placement_by_rule(const struct cte__placement_rule *rule,
                              const struct cte_placement_target *targets, size_t target_count,
                              const struct cte_placement_request *request,
                              struct cte_placement_extent *extents);

/* -1, 0 or 1.  What is not a number counts as 0, so that the order is total. */
int cte__placement_compare_scores(float a, float b);

/* True if a target takes part in an order: it deserves the request and has the room. */
bool cte__placement_takes_part(const struct cte__placement_order *order, size_t target);

#endif
