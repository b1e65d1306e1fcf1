/* SPDX-License-Identifier: BSD-3-Clause */
/* Every change of the store, killed or failed at the nth step for n = 1, 2, 3 … until it completes:
 * afterwards all is as before or all is done, and nothing is lost. */
#include "scenarios.h"

#include <errno.h>
#include <sys/mman.h>

#include "points.h"
#include "process.h"

enum { STEPS_MAX = 100000, MOMENTS = 20 };

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { DISTANCE = 5 }; /* of the points to die at: processes start slowly here */
#else
enum { DISTANCE = 1 };
#endif

static struct {
    unsigned long kills, failures, moments;
} total;

/* Those that are played. */
static const struct scenario *played;
static size_t played_count;

struct play {
    struct stage *stage;
    const struct scenario *scenario;
    long kill_at;
    uint64_t die_in_ns; /* 0: not */
};

static int act_until_killed(void *context)
{
    struct play *play = context;
    points_kill_at(POINT_ANY, play->kill_at);
    cte_status status = play->scenario->act(play->stage);
    points_disarm();
    return status == CTE_OK ? 0 : 1;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* How long the act took, for all processes to see. */
static _Atomic uint64_t *act_ns;

static int act_for_a_while(void *context)
{
    struct play *play = context;
    cte__store_self(
        play->stage->store); /* a slot of its own first: it takes longer than the rest */
    if (play->die_in_ns > 0)
        process_die_in(play->die_in_ns);
    uint64_t start = now_ns();
    cte_status status = play->scenario->act(play->stage);
    *act_ns = now_ns() - start;
    return status == CTE_OK ? 0 : 1;
}

static bool same(const struct seen *a, const struct seen *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* What is seen before and after the scenario. */
static void rehearse(struct stage *stage, const struct scenario *scenario, struct seen *before,
                     struct seen *after)
{
    scenario->prepare(stage);
    scenario->look(stage, before);
    scenario->prepare(stage);
    assert_int_equal(scenario->act(stage), CTE_OK);
    scenario->look(stage, after);
    stage_check(stage);
}

static void check_old_or_new(struct stage *stage, const struct scenario *scenario, const char *how,
                             long step, const struct seen *before, const struct seen *after)
{
    static struct seen now;
    stage_check(stage);
    scenario->look(stage, &now);
    if (!same(&now, before) && !same(&now, after))
        fail_msg("%s: %s at step %ld: neither old nor new", scenario->name, how, step);
}

static void kill_at_points(struct stage *stage, const struct scenario *scenario, int distance)
{
    static struct seen before, after;
    struct play play = {stage, scenario, 0, 0};
    enum process_end end = PROCESS_KILLED;
    rehearse(stage, scenario, &before, &after);
    for (play.kill_at = 1; end == PROCESS_KILLED; play.kill_at += distance) {
        assert_true(play.kill_at < STEPS_MAX);
        scenario->prepare(stage);
        end = process_run(act_until_killed, &play);
        total.kills += end == PROCESS_KILLED;
        check_old_or_new(stage, scenario, "killed", play.kill_at, &before, &after);
    }
    assert_true(play.kill_at > 3);
}

/* Between any two instructions, drawn by chance. */
static void kill_at_any_moment(struct stage *stage, const struct scenario *scenario, uint64_t *seed)
{
    static struct seen before, after;
    struct play play = {stage, scenario, 0, 0};
    rehearse(stage, scenario, &before, &after);
    scenario->prepare(stage);
    assert_int_equal(process_run(act_for_a_while, &play), PROCESS_EXITED);
    for (int i = 0; i < MOMENTS; i++) {
        play.die_in_ns = 1 + test_random(seed) % *act_ns;
        scenario->prepare(stage);
        total.moments += process_run(act_for_a_while, &play) == PROCESS_KILLED;
        check_old_or_new(stage, scenario, "killed after ns", (long)play.die_in_ns, &before, &after);
    }
}

static void fail_at_every_point(struct stage *stage, const struct scenario *scenario, int kinds,
                                int error)
{
    static struct seen before, after, now;
    bool fired = true;
    rehearse(stage, scenario, &before, &after);
    for (long step = 1; fired; step++) {
        assert_true(step < STEPS_MAX);
        scenario->prepare(stage);
        points_fail_at(kinds, step, error);
        cte_status status = scenario->act(stage);
        points_disarm();
        fired = points_fired();
        total.failures += fired;
        stage_check(stage);
        scenario->look(stage, &now);
        bool done = same(&now, &after), undone = same(&now, &before);
        if (status == CTE_OK ? !done : !undone && !(scenario->loose && done))
            fail_msg("%s: error %d at step %ld, status %d: neither done nor undone", scenario->name,
                     error, step, status);
        if (!fired)
            assert_int_equal(status, CTE_OK);
    }
}

static void test_killed_at_every_point(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, "file: {chunk_size: 64KiB}\n");
    for (size_t i = 0; i < played_count; i++)
        kill_at_points(&stage, &played[i], DISTANCE);
    stage_close(&stage);
    printf("kills %lu\n", total.kills);
}

static void test_killed_without_checksums(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, "file: {chunk_size: 64KiB, checksum: false}\n");
    for (size_t i = 0; i < played_count; i++)
        if (!played[i].loose) /* files are made of the same changes */
            kill_at_points(&stage, &played[i], 2 * DISTANCE);
    stage_close(&stage);
    printf("kills %lu\n", total.kills);
}

static void test_killed_at_any_moment(void **state)
{
    (void)state;
    struct stage stage;
    uint64_t seed = test_seed();
    stage_open(&stage, "file: {chunk_size: 64KiB}\n");
    act_ns = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(act_ns != MAP_FAILED);
    for (size_t i = 0; i < played_count; i++)
        kill_at_any_moment(&stage, &played[i], &seed);
    stage_close(&stage);
    printf("kills between instructions %lu\n", total.moments);
    assert_true(total.moments > 0);
}

static void test_failures(void **state)
{
    static const struct {
        int kinds, error;
    } faults[] = {
        {POINT_MEMORY, ENOMEM},
        {POINT_READ | POINT_WRITE, EIO},
        {POINT_WRITE, ENOSPC},
        {POINT_SPACE, ENOSPC},
    };
    (void)state;
    struct stage stage;
    stage_open(&stage, "file: {chunk_size: 64KiB}\n");
    for (size_t i = 0; i < played_count; i++)
        for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++)
            fail_at_every_point(&stage, &played[i], faults[f].kinds, faults[f].error);
    stage_close(&stage);
    printf("failures %lu\n", total.failures);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_at_every_point),
        cmocka_unit_test(test_killed_without_checksums),
        cmocka_unit_test(test_killed_at_any_moment),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* "user": those of the public calls. */
int main(int argc, char **argv)
{
    bool user = argc > 1 && strcmp(argv[1], "user") == 0;
    played = user ? user_scenarios : scenarios;
    played_count = user ? user_scenario_count : scenario_count;
    setenv("CTE_LOG_LEVEL", "off", 1);
    return process_guard(all_tests, 250);
}
