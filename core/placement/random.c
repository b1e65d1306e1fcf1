/* SPDX-License-Identifier: BSD-3-Clause */
/* Each deserving target as likely as the next: the state and a target's number are mixed to a
 * random word, and the targets stand by these words.  The first of any subset is then a fair draw.
 */
#include "placement/engines.h"

static uint64_t draw(uint64_t state, size_t target)
{
    uint64_t word = state * UINT64_C(0xbf58476d1ce4e5b9) + target * UINT64_C(0x9e3779b97f4a7c15);
    word = (word ^ word >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ word >> 27) * UINT64_C(0x94d049bb133111eb);
    return word ^ word >> 31;
}

static bool before(const struct cte__placement_order *order, size_t a, size_t b)
{
    uint64_t word_a = draw(order->request->state, a), word_b = draw(order->request->state, b);
    return word_a != word_b ? word_a < word_b : a < b;
}

static size_t place(const struct cte_placement_target *targets, size_t target_count,
                    const struct cte_placement_request *request,
                    struct cte_placement_extent *extents)
{
    static const struct cte__placement_rule rule = {.before = before};
    return cte__placement_by_rule(&rule, targets, target_count, request, extents);
}

const struct cte__placement_engine cte__placement_random = {
    .name = "random",
    .place = place,
    .stateful = true,
};
