/* SPDX-License-Identifier: BSD-3-Clause */
/* max_bw: its order, by examples and against a model that sorts.  What all engines have in common
 * is tested in tests/conformance. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "placement/placement.h"

enum { PAGE_BYTES = 4096, TARGETS_MAX = 10, STATES = 200000 };

static const struct cte__placement_engine *engine;

static size_t place(const struct cte__placement_target *targets, size_t count, uint64_t pages,
                    float score, struct cte__placement_extent *extents)
{
    struct cte__placement_request request = {.bytes = pages * PAGE_BYTES, .score = score};
    return engine->place(targets, count, &request, extents);
}

/* ram, nvme, disk */
static const struct cte__placement_target tiers[] = {
    {.free_bytes = 10 * PAGE_BYTES, .bytes_per_s = 8000, .score = 1.0f},
    {.free_bytes = 20 * PAGE_BYTES, .bytes_per_s = 2000, .score = 0.5f},
    {.free_bytes = 100 * PAGE_BYTES, .bytes_per_s = 200, .score = 0.1f},
};

static void expect_one(uint64_t pages, float score, uint32_t target)
{
    struct cte__placement_extent extents[3];
    assert_int_equal(place(tiers, 3, pages, score, extents), 1);
    assert_int_equal(extents[0].target, target);
    assert_int_equal(extents[0].bytes, pages * PAGE_BYTES);
}

static void test_score_chooses_the_tier(void **state)
{
    (void)state;
    expect_one(10, 1.0f, 0);
    expect_one(10, 0.9f, 1);
    expect_one(10, 0.5f, 1);
    expect_one(10, 0.49f, 2);
    expect_one(10, 0.0f, 2); /* none is slow enough: the slowest */
    expect_one(11, 1.0f, 1); /* whole in the next tier rather than split */
    expect_one(21, 1.0f, 2);
}

static void test_split_follows_the_order(void **state)
{
    (void)state;
    struct cte__placement_extent extents[3];
    assert_int_equal(place(tiers, 3, 125, 1.0f, extents), 3);
    assert_int_equal(extents[0].target, 0);
    assert_int_equal(extents[0].bytes, 10 * PAGE_BYTES);
    assert_int_equal(extents[1].target, 1);
    assert_int_equal(extents[1].bytes, 20 * PAGE_BYTES);
    assert_int_equal(extents[2].target, 2);
    assert_int_equal(extents[2].bytes, 95 * PAGE_BYTES);

    assert_int_equal(place(tiers, 3, 105, 0.1f, extents), 2);
    assert_int_equal(extents[0].target, 2);
    assert_int_equal(extents[1].target, 1);
    assert_int_equal(extents[1].bytes, 5 * PAGE_BYTES);

    assert_int_equal(place(tiers, 3, 130, 1.0f, extents), 3);
    assert_int_equal(place(tiers, 3, 131, 1.0f, extents), 0);
    assert_int_equal(place(tiers, 0, 1, 1.0f, extents), 0);
}

static void test_parts_of_pages_are_not_used(void **state)
{
    (void)state;
    struct cte__placement_extent extents[2];
    struct cte__placement_target targets[] = {
        {.free_bytes = 2 * PAGE_BYTES - 1, .bytes_per_s = 2, .score = 1},
        {.free_bytes = PAGE_BYTES - 1, .bytes_per_s = 1, .score = 1},
    };
    assert_int_equal(place(targets, 2, 2, 1, extents), 0);
    assert_int_equal(place(targets, 2, 1, 1, extents), 1);
    assert_int_equal(extents[0].target, 0);
}

/* A score that is no number must not place twice or loop. */
static void test_scores_that_are_no_numbers(void **state)
{
    (void)state;
    struct cte__placement_extent extents[3];
    struct cte__placement_target targets[] = {
        {.free_bytes = PAGE_BYTES, .bytes_per_s = 1, .score = NAN},
        {.free_bytes = PAGE_BYTES, .bytes_per_s = 2, .score = 0.5f},
        {.free_bytes = PAGE_BYTES, .bytes_per_s = 3, .score = NAN},
    };
    float scores[] = {NAN, 0.0f, 0.5f, 1.0f, -1.0f, INFINITY};
    for (size_t i = 0; i < sizeof scores / sizeof scores[0]; i++) {
        assert_int_equal(place(targets, 3, 3, scores[i], extents), 3);
        assert_int_equal(
            (1u << extents[0].target) | (1u << extents[1].target) | (1u << extents[2].target), 7);
    }
}

/* ---- model: sort, then take the first that fits whole, else from the front ---- */

struct ranked {
    const struct cte__placement_target *target;
    uint32_t index;
    int undeserved;
};

static int by_rank(const void *left, const void *right)
{
    const struct ranked *a = left;
    const struct ranked *b = right;
    double score = (double)a->target->score - (double)b->target->score;
    double speed = (double)b->target->bytes_per_s - (double)a->target->bytes_per_s;
    double keys[] = {a->undeserved - b->undeserved, a->undeserved ? score : speed,
                     a->undeserved ? speed : -score, (double)a->index - (double)b->index};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (keys[i] != 0)
            return keys[i] < 0 ? -1 : 1;
    return 0;
}

static size_t model_place(const struct cte__placement_target *targets, size_t count, uint64_t pages,
                          float score, struct cte__placement_extent *extents)
{
    struct ranked order[TARGETS_MAX];
    uint64_t room = 0;
    for (size_t i = 0; i < count; i++) {
        order[i] = (struct ranked){&targets[i], (uint32_t)i, targets[i].score > score};
        room += targets[i].free_bytes / PAGE_BYTES;
    }
    if (room < pages)
        return 0;
    qsort(order, count, sizeof order[0], by_rank);
    for (size_t i = 0; i < count; i++) {
        if (order[i].target->free_bytes / PAGE_BYTES >= pages) {
            extents[0] = (struct cte__placement_extent){order[i].index, pages * PAGE_BYTES};
            return 1;
        }
    }
    size_t used = 0;
    for (size_t i = 0; pages > 0; i++) {
        uint64_t part = order[i].target->free_bytes / PAGE_BYTES;
        part = part < pages ? part : pages;
        if (part > 0)
            extents[used++] = (struct cte__placement_extent){order[i].index, part * PAGE_BYTES};
        pages -= part;
    }
    return used;
}

static uint64_t random_below(uint64_t *seed, uint64_t bound)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % bound;
}

static void test_agrees_with_the_model(void **state)
{
    (void)state;
    const char *given = getenv("CTE_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    print_message("CTE_TEST_SEED=%llu\n", (unsigned long long)seed);
    size_t splits = 0;
    for (int round = 0; round < STATES; round++) {
        struct cte__placement_target targets[TARGETS_MAX];
        struct cte__placement_extent extents[TARGETS_MAX];
        struct cte__placement_extent expected[TARGETS_MAX];
        size_t count = random_below(&seed, TARGETS_MAX + 1);
        for (size_t i = 0; i < count; i++) {
            targets[i].free_bytes = random_below(&seed, 8 * PAGE_BYTES);
            targets[i].bytes_per_s = random_below(&seed, 4);
            targets[i].score = (float)random_below(&seed, 5) / 4;
        }
        uint64_t pages = 1 + random_below(&seed, 20);
        float score = (float)random_below(&seed, 9) / 8;
        size_t used = place(targets, count, pages, score, extents);
        assert_int_equal(used, model_place(targets, count, pages, score, expected));
        for (size_t i = 0; i < used; i++) {
            assert_int_equal(extents[i].target, expected[i].target);
            assert_int_equal(extents[i].bytes, expected[i].bytes);
        }
        splits += used > 1;
    }
    assert_true(splits > STATES / 10); /* the states were worth it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_score_chooses_the_tier),
        cmocka_unit_test(test_split_follows_the_order),
        cmocka_unit_test(test_parts_of_pages_are_not_used),
        cmocka_unit_test(test_scores_that_are_no_numbers),
        cmocka_unit_test(test_agrees_with_the_model),
    };
    engine = cte__placement_find("max_bw");
    if (!engine) {
        fprintf(stderr, "there is no engine max_bw\n");
        return 1;
    }
    return cmocka_run_group_tests_name("max_bw", tests, NULL, NULL);
}
