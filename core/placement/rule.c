/* SPDX-License-Identifier: BSD-3-Clause */
/* The rules that all built-in engines keep: see include/cte/placement.h.  Targets are few, and
 * sorting them would need memory, so the next one in order is searched for each time. */
#include "placement/engines.h"

#include "base/util.h"

static uint64_t usable_bytes(const struct cte_placement_target *target)
{
    return cte__align_down(target->free_bytes, CTE__PAGE_BYTES);
}

int cte__placement_compare_scores(float a, float b)
{
    a = a > 0 ? a : 0;
    b = b > 0 ? b : 0;
    return (a > b) - (a < b);
}

static bool deserves(const struct cte__placement_order *order, size_t target)
{
    return cte__placement_compare_scores(order->targets[target].score, order->request->score) <= 0;
}

bool cte__placement_takes_part(const struct cte__placement_order *order, size_t target)
{
    return deserves(order, target) && usable_bytes(&order->targets[target]) >= order->least;
}

/* Targets that score higher than the request deserves: the least undeserved first. */
static bool cheaper(const struct cte_placement_target *targets, size_t a, size_t b)
{
    int by_score = cte__placement_compare_scores(targets[a].score, targets[b].score);
    if (by_score != 0)
        return by_score < 0;
    if (targets[a].bytes_per_s != targets[b].bytes_per_s)
        return targets[a].bytes_per_s > targets[b].bytes_per_s;
    return a < b;
}

static bool comes_before(const struct cte__placement_rule *rule,
                         const struct cte__placement_order *order, bool deserving, size_t a,
                         size_t b)
{
    return deserving ? rule->before(order, a, b) : cheaper(order->targets, a, b);
}

/* The first target in order, behind `previous` (target_count: from the start), of the deserving or
 * of the others, that has order->least bytes left; target_count if there is none. */
static size_t next_target(const struct cte__placement_rule *rule,
                          const struct cte__placement_order *order, bool deserving, size_t previous)
{
    size_t best = order->target_count;
    for (size_t i = 0; i < order->target_count; i++) {
        if (deserves(order, i) != deserving || usable_bytes(&order->targets[i]) < order->least)
            continue;
        if (previous < order->target_count &&
            (i == previous || !comes_before(rule, order, deserving, previous, i)))
            continue;
        if (best == order->target_count || comes_before(rule, order, deserving, i, best))
            best = i;
    }
    return best;
}

static struct cte__placement_order
order_for(const struct cte__placement_rule *rule, const struct cte_placement_target *targets,
          size_t target_count, const struct cte_placement_request *request, uint64_t least)
{
    struct cte__placement_order order = {targets, target_count, request, least, 0};
    if (rule->start)
        order.start = rule->start(&order);
    return order;
}

/* Bytes of the request for which there is no room in the deserving targets, or in all. */
static uint64_t bytes_left_over(const struct cte__placement_order *order, bool all)
{
    uint64_t left = order->request->bytes;
    for (size_t i = 0; i < order->target_count && left > 0; i++)
        if (all || deserves(order, i))
            left -= cte__min(left, usable_bytes(&order->targets[i]));
    return left;
}

/* Gives each target in order what it can take; returns what is left. */
static uint64_t take_in_order(const struct cte__placement_rule *rule,
                              const struct cte__placement_order *order, bool deserving,
                              uint64_t left, struct cte_placement_extent *extents, size_t *count)
{
    size_t at = order->target_count;
    while (left > 0) {
        at = next_target(rule, order, deserving, at);
        if (at == order->target_count)
            break;
        uint64_t part = cte__min(left, usable_bytes(&order->targets[at]));
        extents[(*count)++] = (struct cte_placement_extent){.target = (uint32_t)at, .bytes = part};
        left -= part;
    }
    return left;
}

size_t cte__placement_by_rule(const struct cte__placement_rule *rule,
                              const struct cte_placement_target *targets, size_t target_count,
                              const struct cte_placement_request *request,
                              struct cte_placement_extent *extents)
{
    assert(request->bytes > 0 && request->bytes % CTE__PAGE_BYTES == 0);
    struct cte__placement_order whole =
        order_for(rule, targets, target_count, request, request->bytes);
    size_t at = next_target(rule, &whole, true, target_count);
    bool deserved_suffice = at < target_count || bytes_left_over(&whole, false) == 0;
    if (!deserved_suffice) {
        if (bytes_left_over(&whole, true) > 0)
            return 0;
        at = next_target(rule, &whole, false, target_count);
    }
    if (at < target_count) {
        extents[0] = (struct cte_placement_extent){.target = (uint32_t)at, .bytes = request->bytes};
        return 1;
    }
    size_t count = 0;
    struct cte__placement_order split =
        order_for(rule, targets, target_count, request, CTE__PAGE_BYTES);
    uint64_t left = take_in_order(rule, &split, true, request->bytes, extents, &count);
    left = take_in_order(rule, &split, false, left, extents, &count);
    assert(left == 0);
    (void)left;
    return count;
}
