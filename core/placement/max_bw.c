/* SPDX-License-Identifier: BSD-3-Clause */
/* Best bandwidth first; equal: higher score. */
#include "placement/engines.h"

static bool before(const struct cte__placement_order *order, size_t a, size_t b)
{
    const struct cte_placement_target *targets = order->targets;
    if (targets[a].bytes_per_s != targets[b].bytes_per_s)
        return targets[a].bytes_per_s > targets[b].bytes_per_s;
    int by_score = cte__placement_compare_scores(targets[a].score, targets[b].score);
    return by_score != 0 ? by_score > 0 : a < b;
}

static size_t place(const struct cte_placement_target *targets, size_t target_count,
                    const struct cte_placement_request *request,
                    struct cte_placement_extent *extents)
{
    static const struct cte__placement_rule rule = {.before = before};
    return cte__placement_by_rule(&rule, targets, target_count, request, extents);
}

const struct cte__placement_engine cte__placement_max_bw = {
    .name = "max_bw",
    .place = place,
};
