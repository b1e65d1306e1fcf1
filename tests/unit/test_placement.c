/* SPDX-License-Identifier: BSD-3-Clause */
/* The engines' orders by examples, max_bw also against a model that sorts; and registered engines.
 * What all engines have in common is tested in tests/conformance. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include <cte/config.h>

#include "config/config.h"
#include "placement/placement.h"

enum { PAGE_BYTES = 4096, TARGETS_MAX = 10, STATES = 200000 };

static const struct cte__placement_engine *engine;

static size_t place(const struct cte_placement_target *targets, size_t count, uint64_t pages,
                    float score, struct cte_placement_extent *extents)
{
    struct cte_placement_request request = {.bytes = pages * PAGE_BYTES, .score = score};
    return engine->place(targets, count, &request, extents);
}

/* ram, nvme, disk */
static const struct cte_placement_target tiers[] = {
    {.free_bytes = 10 * PAGE_BYTES, .bytes_per_s = 8000, .score = 1.0f},
    {.free_bytes = 20 * PAGE_BYTES, .bytes_per_s = 2000, .score = 0.5f},
    {.free_bytes = 100 * PAGE_BYTES, .bytes_per_s = 200, .score = 0.1f},
};

static void expect_one(uint64_t pages, float score, uint32_t target)
{
    struct cte_placement_extent extents[3];
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
    struct cte_placement_extent extents[3];
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
    struct cte_placement_extent extents[2];
    struct cte_placement_target targets[] = {
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
    struct cte_placement_extent extents[3];
    struct cte_placement_target targets[] = {
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

/* A faster target than deserved is left alone as long as the others hold the request in parts. */
static void test_deserving_targets_are_split_first(void **state)
{
    (void)state;
    struct cte_placement_extent extents[3];
    const struct cte_placement_target targets[] = {
        {.free_bytes = 100 * PAGE_BYTES, .bytes_per_s = 8000, .score = 1.0f},
        {.free_bytes = 3 * PAGE_BYTES, .bytes_per_s = 2000, .score = 0.5f},
        {.free_bytes = 4 * PAGE_BYTES, .bytes_per_s = 200, .score = 0.1f},
    };
    struct cte_placement_request request = {.bytes = 7 * PAGE_BYTES, .score = 0.5f};
    assert_int_equal(engine->place(targets, 3, &request, extents), 2);
    assert_int_equal(extents[0].target, 1);
    assert_int_equal(extents[1].target, 2);
    request.bytes = 8 * PAGE_BYTES; /* more than they hold: whole in the other */
    assert_int_equal(engine->place(targets, 3, &request, extents), 1);
    assert_int_equal(extents[0].target, 0);
}

/* ---- model: sort, then take the first that fits whole, else from the front ---- */

struct ranked {
    const struct cte_placement_target *target;
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

static size_t model_place(const struct cte_placement_target *targets, size_t count, uint64_t pages,
                          float score, struct cte_placement_extent *extents)
{
    struct ranked order[TARGETS_MAX];
    uint64_t room = 0, deserved_room = 0;
    for (size_t i = 0; i < count; i++) {
        order[i] = (struct ranked){&targets[i], (uint32_t)i, targets[i].score > score};
        room += targets[i].free_bytes / PAGE_BYTES;
        if (!order[i].undeserved)
            deserved_room += targets[i].free_bytes / PAGE_BYTES;
    }
    if (room < pages)
        return 0;
    qsort(order, count, sizeof order[0], by_rank);
    for (size_t i = 0; i < count; i++) {
        if (order[i].undeserved && deserved_room >= pages)
            break;
        if (order[i].target->free_bytes / PAGE_BYTES >= pages) {
            extents[0] = (struct cte_placement_extent){order[i].index, pages * PAGE_BYTES};
            return 1;
        }
    }
    size_t used = 0;
    for (size_t i = 0; pages > 0; i++) {
        uint64_t part = order[i].target->free_bytes / PAGE_BYTES;
        part = part < pages ? part : pages;
        if (part > 0)
            extents[used++] = (struct cte_placement_extent){order[i].index, part * PAGE_BYTES};
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
        struct cte_placement_target targets[TARGETS_MAX];
        struct cte_placement_extent extents[TARGETS_MAX];
        struct cte_placement_extent expected[TARGETS_MAX];
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

/* ---- engines that use the state ---- */

enum { DRAWS = 30000 };

/* Where whole requests of one page go, for a run of states. */
static void count_draws(const char *name, const struct cte_placement_target *targets, size_t count,
                        float score, unsigned *hits)
{
    cte_placement_function place_fn = cte_placement_find(name);
    assert_non_null(place_fn);
    memset(hits, 0, count * sizeof *hits);
    for (unsigned i = 0; i < DRAWS; i++) {
        struct cte_placement_extent extents[TARGETS_MAX];
        struct cte_placement_request request = {PAGE_BYTES, score, 7000 + i};
        assert_int_equal(place_fn(targets, count, &request, extents), 1);
        hits[extents[0].target]++;
    }
}

static const struct cte_placement_target four[] = {
    {.free_bytes = 9 * PAGE_BYTES, .bytes_per_s = 9000, .score = 0.9f},
    {.free_bytes = 9 * PAGE_BYTES, .bytes_per_s = 500, .score = 0.5f},
    {.free_bytes = PAGE_BYTES - 1, .bytes_per_s = 400, .score = 0.4f}, /* full */
    {.free_bytes = 9 * PAGE_BYTES, .bytes_per_s = 100, .score = 0.1f},
};

static void test_random_is_fair(void **state)
{
    (void)state;
    unsigned hits[4];
    count_draws("random", four, 4, 1.0f, hits);
    for (size_t i = 0; i < 4; i++)
        if (i == 2)
            assert_int_equal(hits[i], 0);
        else
            assert_in_range(hits[i], DRAWS / 3 - DRAWS / 30, DRAWS / 3 + DRAWS / 30);
    count_draws("random", four, 4, 0.5f, hits); /* the fastest is not deserved */
    assert_int_equal(hits[0], 0);
    assert_in_range(hits[1], DRAWS / 2 - DRAWS / 20, DRAWS / 2 + DRAWS / 20);
}

static void test_round_robin_takes_turns(void **state)
{
    (void)state;
    unsigned hits[4];
    count_draws("round_robin", four, 4, 1.0f, hits);
    assert_int_equal(hits[0], DRAWS / 3);
    assert_int_equal(hits[1], DRAWS / 3);
    assert_int_equal(hits[2], 0);
    assert_int_equal(hits[3], DRAWS / 3);
    /* Split over several: from the one whose turn it is, in a ring. */
    struct cte_placement_extent extents[4];
    struct cte_placement_request request = {20 * PAGE_BYTES, 1.0f, 1};
    assert_int_equal(cte_placement_find("round_robin")(four, 4, &request, extents), 3);
    assert_int_equal(extents[0].target, 1);
    assert_int_equal(extents[1].target, 3);
    assert_int_equal(extents[2].target, 0);
}

/* ---- registered engines ---- */

static int mistake;

/* Breaks one rule after the other. */
static size_t careless(const struct cte_placement_target *targets, size_t count,
                       const struct cte_placement_request *request,
                       struct cte_placement_extent *extents)
{
    (void)targets;
    extents[0] = (struct cte_placement_extent){0, request->bytes};
    switch (mistake) {
    case 0:
        return 0;
    case 1:
        return count + 1;
    case 2:
        extents[0].target = (uint32_t)count;
        return 1;
    case 3:
        extents[0].bytes--;
        return 1;
    case 4:
        extents[0].bytes -= PAGE_BYTES;
        return 1;
    case 5:
        extents[0].bytes += PAGE_BYTES;
        return 1;
    case 6:
        extents[0].bytes -= PAGE_BYTES;
        extents[1] = (struct cte_placement_extent){0, PAGE_BYTES};
        return 2;
    case 7: /* too full */
        extents[0].target = 1;
        return 1;
    case 8:
        extents[0].bytes = 0;
        return 1;
    default:
        return 1;
    }
}

static void test_wrong_answers_are_replaced(void **state)
{
    (void)state;
    const struct cte_placement_target targets[] = {
        {.free_bytes = 10 * PAGE_BYTES, .bytes_per_s = 1, .score = 0.1f},
        {.free_bytes = 1 * PAGE_BYTES, .bytes_per_s = 9, .score = 0.1f},
        {.free_bytes = 10 * PAGE_BYTES, .bytes_per_s = 5, .score = 0.1f},
    };
    struct cte_placement_request request = {5 * PAGE_BYTES, 1.0f, 0};
    assert_int_equal(cte_placement_register("careless", careless), CTE_OK);
    const struct cte__placement_engine *registered = cte__placement_find("careless");
    assert_non_null(registered);
    for (mistake = 0; mistake <= 9; mistake++) {
        struct cte_placement_extent extents[8];
        assert_int_equal(cte__placement_place(registered, targets, 3, &request, extents), 1);
        assert_int_equal(extents[0].target, mistake == 9 ? 0 : 2); /* 9: no mistake; else max_bw */
        assert_int_equal(extents[0].bytes, 5 * PAGE_BYTES);
    }
    mistake = 0;
    struct cte_placement_extent extents[3];
    request.bytes = 100 * PAGE_BYTES; /* no room: an answer of nothing is right */
    assert_int_equal(cte__placement_place(registered, targets, 3, &request, extents), 0);
}

static void test_registering(void **state)
{
    (void)state;
    cte_placement_function max_bw = cte_placement_find("max_bw");
    assert_int_equal(cte_placement_register("twice", careless), CTE_OK);
    assert_int_equal(cte_placement_register("TWICE", careless), CTE_OK);
    assert_ptr_equal(cte_placement_find("Twice"), careless);
    assert_int_equal(cte_placement_register("twice", max_bw), -EEXIST);
    assert_int_equal(cte_placement_register("max_bw", max_bw), -EEXIST);
    assert_int_equal(cte_placement_register("Random", careless), -EEXIST);
    assert_int_equal(cte_placement_register("", careless), -EINVAL);
    assert_int_equal(cte_placement_register(NULL, careless), -EINVAL);
    assert_int_equal(cte_placement_register("none", NULL), -EINVAL);
    assert_int_equal(cte_placement_register("with space", careless), -EINVAL);
    assert_int_equal(cte_placement_register("a2345678901234567890123456789012", careless), -EINVAL);
    assert_int_equal(cte_placement_register("a234567890123456789012345678901", careless), CTE_OK);
    assert_null(cte_placement_find("none"));
    assert_null(cte_placement_find(NULL));
}

static cte_status load_placement(const char *name, char *error, size_t error_bytes, char *effective)
{
    char text[128];
    cte_config *config = NULL;
    snprintf(text, sizeof text,
             "storage: [{bdev_type: ram, capacity_limit: 1MiB}]\ndpe: {dpe_type: %s}\n", name);
    cte_status status = cte_config_parse(text, "node.yaml", &config, error, error_bytes);
    if (config)
        snprintf(effective, sizeof config->placement, "%s", config->placement);
    cte_config_free(config);
    return status;
}

static void test_configuration_names_engines(void **state)
{
    (void)state;
    char error[1024], effective[64];
    assert_int_equal(load_placement("mine", error, sizeof error, effective), CTE_ERR_CONFIG);
    assert_non_null(strstr(error, "node.yaml:2:"));
    assert_non_null(strstr(error, "max_bw, random, round_robin"));
    assert_null(strstr(error, "mine,"));
    assert_int_equal(cte_placement_register("mine", careless), CTE_OK);
    assert_int_equal(load_placement("Mine", error, sizeof error, effective), CTE_OK);
    assert_string_equal(effective, "mine");
    assert_int_equal(load_placement("mime", error, sizeof error, effective), CTE_ERR_CONFIG);
    assert_non_null(strstr(error, "did you mean 'mine'"));
    assert_int_equal(load_placement("round_robin", error, sizeof error, effective), CTE_OK);
    assert_string_equal(effective, "round_robin");
    assert_int_equal(load_placement("random", error, sizeof error, effective), CTE_OK);
    /* The words of one key are not those of another. */
    cte_config *config = NULL;
    assert_int_equal(cte_config_parse("log_level: mine\n", "x", &config, error, sizeof error),
                     CTE_ERR_CONFIG);
}

/* Last: nothing can be registered afterwards. */
static void test_too_many_engines(void **state)
{
    (void)state;
    cte_status status = CTE_OK;
    int count = 0;
    for (; status == CTE_OK && count < 100; count++) {
        char name[16];
        snprintf(name, sizeof name, "many.%d", count);
        status = cte_placement_register(name, careless);
    }
    assert_int_equal(status, -ENOSPC);
    assert_in_range(count, 2, 17);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_score_chooses_the_tier),
        cmocka_unit_test(test_split_follows_the_order),
        cmocka_unit_test(test_parts_of_pages_are_not_used),
        cmocka_unit_test(test_scores_that_are_no_numbers),
        cmocka_unit_test(test_deserving_targets_are_split_first),
        cmocka_unit_test(test_agrees_with_the_model),
        cmocka_unit_test(test_random_is_fair),
        cmocka_unit_test(test_round_robin_takes_turns),
        cmocka_unit_test(test_wrong_answers_are_replaced),
        cmocka_unit_test(test_registering),
        cmocka_unit_test(test_configuration_names_engines),
        cmocka_unit_test(test_too_many_engines),
    };
    engine = cte__placement_find("max_bw");
    if (!engine) {
        fprintf(stderr, "there is no engine max_bw\n");
        return 1;
    }
    return cmocka_run_group_tests_name("placement", tests, NULL, NULL);
}
