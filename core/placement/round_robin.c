/* SPDX-License-Identifier: BSD-3-Clause */
/* The deserving targets one after the other.  Those that have no room are not counted: a full
 * target does not send its share to its neighbour. */
#include "placement/engines.h"

/* The target whose turn it is. */
static size_t start(const struct cte__placement_order *order)
{
    size_t candidates = 0;
    for (size_t i = 0; i < order->target_count; i++)
        candidates += cte__placement_takes_part(order, i);
    if (candidates == 0)
        return 0;
    uint64_t turn = order->request->state % candidates;
    for (size_t i = 0;; i++)
        if (cte__placement_takes_part(order, i) && turn-- == 0)
            return i;
}

static bool before(const struct cte__placement_order *order, size_t a, size_t b)
{
    bool a_passed = a < order->start, b_passed = b < order->start;
    return a_passed != b_passed ? b_passed : a < b;
}

static size_t place(const struct cte_placement_target *targets, size_t target_count,
                    const struct cte_placement_request *request,
                    struct cte_placement_extent *extents)
{
    static const struct cte__placement_rule rule = {.before = before, .start = start};
    return cte__placement_by_rule(&rule, targets, target_count, request, extents);
}

const struct cte__placement_engine cte__placement_round_robin = {
    .name = "round_robin",
    .place = place,
    .stateful = true,
};
