/* SPDX-License-Identifier: BSD-3-Clause */
/* What every placement engine must keep, on random states of the targets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "placement/placement.h"

enum { PAGE_BYTES = 4096, TARGETS_MAX = 12, STATES = 200000, ENGINES_MAX = 16 };

struct placement_state {
    struct cte_placement_target targets[TARGETS_MAX];
    size_t target_count;
    struct cte_placement_request request;
};

static uint64_t seed;

static uint64_t random_next(void)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static uint64_t random_below(uint64_t bound)
{
    return random_next() % bound;
}

/* Few distinct values, so that ties and exact fits are common; now and then extreme ones. */
static struct placement_state random_state(void)
{
    struct placement_state s = {.target_count = random_below(TARGETS_MAX + 1)};
    for (size_t i = 0; i < s.target_count; i++) {
        uint64_t odd = random_below(4) == 0 ? random_below(PAGE_BYTES) : 0;
        s.targets[i].free_bytes = random_below(12) * PAGE_BYTES + odd;
        if (random_below(50) == 0)
            s.targets[i].free_bytes = UINT64_MAX - random_below(3);
        s.targets[i].bytes_per_s = random_below(4);
        s.targets[i].latency_ns = random_below(4);
        s.targets[i].score = (float)random_below(5) / 4;
    }
    s.request.bytes = (1 + random_below(30)) * PAGE_BYTES;
    if (random_below(200) == 0)
        s.request.bytes = UINT64_MAX / PAGE_BYTES * PAGE_BYTES;
    s.request.score = (float)random_below(9) / 8;
    s.request.state = random_next();
    return s;
}

static uint64_t usable(const struct cte_placement_target *target)
{
    return target->free_bytes / PAGE_BYTES * PAGE_BYTES;
}

/* Room in the targets that `deserved_only` admits; stops at what is asked, so it cannot overflow.
 */
static bool has_room(const struct placement_state *s, bool deserved_only)
{
    uint64_t missing = s->request.bytes;
    for (size_t i = 0; i < s->target_count; i++) {
        if (deserved_only && s->targets[i].score > s->request.score)
            continue;
        if (usable(&s->targets[i]) >= missing)
            return true;
        missing -= usable(&s->targets[i]);
    }
    return false;
}

static void check_extents(const struct placement_state *s,
                          const struct cte_placement_extent *extents, size_t count)
{
    bool used[TARGETS_MAX] = {false};
    uint64_t sum = 0;
    assert_true(count <= s->target_count);
    for (size_t i = 0; i < count; i++) {
        uint32_t target = extents[i].target;
        assert_true(target < s->target_count);
        assert_false(used[target]);
        used[target] = true;
        assert_true(extents[i].bytes > 0 && extents[i].bytes % PAGE_BYTES == 0);
        assert_true(extents[i].bytes <= s->targets[target].free_bytes);
        sum += extents[i].bytes;
    }
    assert_true(sum == s->request.bytes);
}

/* A faster target than deserved is only touched if the deserved ones cannot take the request, whole
 * or in parts. */
static void check_score(const struct placement_state *s, const struct cte_placement_extent *extents,
                        size_t count)
{
    if (!has_room(s, true))
        return;
    for (size_t i = 0; i < count; i++)
        assert_true(s->targets[extents[i].target].score <= s->request.score);
}

/* No more pieces than it must be. */
static void check_whole(const struct placement_state *s, size_t count)
{
    bool one_deserved = false, one = false;
    for (size_t i = 0; i < s->target_count; i++) {
        bool fits = usable(&s->targets[i]) >= s->request.bytes;
        one |= fits;
        one_deserved |= fits && s->targets[i].score <= s->request.score;
    }
    assert_true((count == 1) == (one_deserved || (one && !has_room(s, true))));
}

static void check_state(const struct cte__placement_engine *engine, const struct placement_state *s)
{
    struct placement_state given = *s;
    struct cte_placement_extent extents[TARGETS_MAX + 1];
    struct cte_placement_extent again[TARGETS_MAX + 1];
    memset(extents, 0xee, sizeof extents);
    memset(again, 0xee, sizeof again);
    size_t count =
        cte__placement_place(engine, given.targets, given.target_count, &given.request, extents);
    assert_memory_equal(&given, s, sizeof given); /* a pure function */
    /* Other states between must not matter. */
    struct placement_state other = *s;
    other.request.bytes = PAGE_BYTES;
    cte__placement_place(engine, other.targets, other.target_count, &other.request, again);
    memset(again, 0xee, sizeof again);
    assert_int_equal(cte__placement_place(engine, s->targets, s->target_count, &s->request, again),
                     count);
    assert_memory_equal(extents, again, sizeof extents);
    assert_true(count <= TARGETS_MAX);
    assert_int_equal(extents[TARGETS_MAX].target, 0xeeeeeeee);

    assert_true((count > 0) == has_room(s, false));
    if (count == 0)
        return;
    check_extents(s, extents, count);
    check_whole(s, count);
    check_score(s, extents, count);
}

static void test_random_states(void **state)
{
    const struct cte__placement_engine *engine = *state;
    for (int i = 0; i < STATES; i++) {
        struct placement_state s;
        memset(&s, 0, sizeof s);
        s = random_state();
        check_state(engine, &s);
    }
}

static void test_found_by_name(void **state)
{
    const struct cte__placement_engine *engine = *state;
    assert_ptr_equal(cte__placement_find(engine->name), engine);
    assert_null(cte__placement_find("no such engine"));
    assert_null(cte__placement_find(""));
}

/* An engine that a program adds; it answers wrongly every now and then, which nobody may notice. */
static size_t place_added(const struct cte_placement_target *targets, size_t count,
                          const struct cte_placement_request *request,
                          struct cte_placement_extent *extents)
{
    size_t used = cte_placement_find("round_robin")(targets, count, request, extents);
    if (request->state % 3 == 0 && used > 0)
        extents[used - 1].bytes += PAGE_BYTES;
    return request->state % 7 == 0 ? 0 : used;
}

int main(void)
{
    static struct CMUnitTest tests[2 * ENGINES_MAX];
    static char names[2 * ENGINES_MAX][64];
    const struct cte__placement_engine *engines[ENGINES_MAX + 1] = {NULL};
    size_t count = 0, engine_count = 0;
    while (cte__placement_all[engine_count] && engine_count < ENGINES_MAX - 1) {
        engines[engine_count] = cte__placement_all[engine_count];
        engine_count++;
    }
    if (cte_placement_register("added", place_added) != CTE_OK)
        return 1;
    engines[engine_count++] = cte__placement_find("added");
    const char *given = getenv("CTE_TEST_SEED");
    seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    printf("CTE_TEST_SEED=%llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < engine_count; i++) {
        snprintf(names[count], sizeof names[0], "%s: random states", engines[i]->name);
        tests[count] = (struct CMUnitTest){.name = names[count],
                                           .test_func = test_random_states,
                                           .initial_state = (void *)engines[i]};
        count++;
        snprintf(names[count], sizeof names[0], "%s: found by name", engines[i]->name);
        tests[count] = (struct CMUnitTest){.name = names[count],
                                           .test_func = test_found_by_name,
                                           .initial_state = (void *)engines[i]};
        count++;
    }
    return _cmocka_run_group_tests("placement", tests, count, NULL, NULL);
}
