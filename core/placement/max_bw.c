/* SPDX-License-Identifier: BSD-3-Clause */
/* Best bandwidth first among the targets that the request deserves. */
#include "placement/engines.h"

#include "base/util.h"

static uint64_t usable_bytes(const struct cte__placement_target *target)
{
    return cte__align_down(target->free_bytes, CTE__PAGE_BYTES);
}

/* -1, 0 or 1.  What is not a number counts as 0, so that the order is total. */
static int compare_scores(float a, float b)
{
    a = a > 0 ? a : 0;
    b = b > 0 ? b : 0;
    return (a > b) - (a < b);
}

/* Does target `a` come before target `b`?  A total order: equal targets stand by index. */
static bool comes_before(const struct cte__placement_target *targets, size_t a, size_t b,
                         float request_score)
{
    bool a_deserved = compare_scores(targets[a].score, request_score) <= 0;
    bool b_deserved = compare_scores(targets[b].score, request_score) <= 0;
    if (a_deserved != b_deserved)
        return a_deserved;
    int by_score = compare_scores(targets[a].score, targets[b].score);
    int by_speed = (targets[a].bytes_per_s > targets[b].bytes_per_s) -
                   (targets[a].bytes_per_s < targets[b].bytes_per_s);
    if (a_deserved && by_speed != 0)
        return by_speed > 0;
    if (by_score != 0)
        return a_deserved ? by_score > 0 : by_score < 0;
    if (by_speed != 0)
        return by_speed > 0;
    return a < b;
}

/* The first target in order, behind `previous` (target_count: from the start), that has `bytes`
 * left. target_count if there is none.  Targets are few, and sorting would need memory. */
static size_t next_target(const struct cte__placement_target *targets, size_t target_count,
                          float request_score, size_t previous, uint64_t bytes)
{
    size_t best = target_count;
    for (size_t i = 0; i < target_count; i++) {
        if (usable_bytes(&targets[i]) < bytes)
            continue;
        if (previous < target_count &&
            (i == previous || !comes_before(targets, previous, i, request_score)))
            continue;
        if (best == target_count || comes_before(targets, i, best, request_score))
            best = i;
    }
    return best;
}

static bool fits_at_all(const struct cte__placement_target *targets, size_t target_count,
                        uint64_t bytes)
{
    for (size_t i = 0; i < target_count && bytes > 0; i++)
        bytes -= cte__min(bytes, usable_bytes(&targets[i]));
    return bytes == 0;
}

static size_t place_split(const struct cte__placement_target *targets, size_t target_count,
                          const struct cte__placement_request *request,
                          struct cte__placement_extent *extents)
{
    size_t count = 0;
    size_t at = target_count;
    for (uint64_t left = request->bytes; left > 0; count++) {
        at = next_target(targets, target_count, request->score, at, CTE__PAGE_BYTES);
        assert(at < target_count);
        uint64_t part = cte__min(left, usable_bytes(&targets[at]));
        extents[count] = (struct cte__placement_extent){.target = (uint32_t)at, .bytes = part};
        left -= part;
    }
    return count;
}

static size_t place(const struct cte__placement_target *targets, size_t target_count,
                    const struct cte__placement_request *request,
                    struct cte__placement_extent *extents)
{
    assert(request->bytes > 0 && request->bytes % CTE__PAGE_BYTES == 0);
    if (!fits_at_all(targets, target_count, request->bytes))
        return 0;
    size_t whole = next_target(targets, target_count, request->score, target_count, request->bytes);
    if (whole == target_count)
        return place_split(targets, target_count, request, extents);
    extents[0] = (struct cte__placement_extent){.target = (uint32_t)whole, .bytes = request->bytes};
    return 1;
}

const struct cte__placement_engine cte__placement_max_bw = {
    .name = "max_bw",
    .place = place,
};
