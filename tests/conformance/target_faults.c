/* SPDX-License-Identifier: BSD-3-Clause */
/* The nth system call fails, for n = 1, 2, 3 … until all pass: an error is told, nothing is left
 * behind, and the next try works.  Or the process is killed there. */
#include <errno.h>
#include <signal.h>

#include "faults.h"
#include "target_fixture.h"

enum { STEPS_MAX = 200 };

static void check_usable(const struct fixture *f)
{
    unsigned char out[PAGE_BYTES];
    unsigned char in[PAGE_BYTES];
    void *target = open_target(f);
    assert_int_equal(read_bytes(f, target, CAPACITY_BYTES - PAGE_BYTES, in, sizeof in), 0);
    for (size_t i = 0; i < sizeof in; i++)
        assert_int_equal(in[i], 0);
    fill_pattern(out, sizeof out, 0, 2);
    assert_int_equal(write_bytes(f, target, CAPACITY_BYTES - PAGE_BYTES, out, sizeof out), 0);
    assert_int_equal(read_bytes(f, target, CAPACITY_BYTES - PAGE_BYTES, in, sizeof in), 0);
    assert_memory_equal(in, out, sizeof in);
    f->ops->close(target);
}

/* True while there are steps left to fail. */
static bool fail_step(int step, int error, cte_status (*call)(const struct fixture *),
                      const struct fixture *f, cte_status *rc)
{
    assert_true(step < STEPS_MAX);
    int descriptors = open_descriptor_count();
    faults_fail_nth(step, error);
    *rc = call(f);
    bool fired = faults_fired();
    faults_fail_nth(0, 0);
    assert_int_equal(open_descriptor_count(), descriptors);
    if (!fired)
        assert_int_equal(*rc, 0);
    return fired;
}

static cte_status call_create(const struct fixture *f)
{
    return f->ops->create(&f->spec);
}

static cte_status call_open(const struct fixture *f)
{
    void *target = NULL;
    cte_status rc = f->ops->open(&f->spec, &target);
    if (rc == 0)
        f->ops->close(target);
    return rc;
}

static cte_status call_destroy(const struct fixture *f)
{
    return f->ops->destroy(&f->spec);
}

static void test_create_fails_at_every_step(void **state)
{
    const struct fixture *f = *state;
    cte_status rc;
    int refused = 0;
    for (int step = 1; fail_step(step, EIO, call_create, f, &rc); step++) {
        if (rc != 0) {
            refused++;
            assert_false(path_exists(f->path));
            create_target(f);
        }
        check_usable(f);
        assert_int_equal(f->ops->destroy(&f->spec), 0);
    }
    assert_true(refused >= 3);
}

/* Over a leftover of the same store. */
static void test_replacing_fails_at_every_step(void **state)
{
    const struct fixture *f = *state;
    cte_status rc;
    int refused = 0;
    create_target(f);
    check_usable(f);
    for (int step = 1; fail_step(step, EIO, call_create, f, &rc); step++) {
        if (rc != 0) {
            refused++;
            create_target(f);
        }
        check_usable(f);
    }
    assert_true(refused >= 3);
}

static void test_open_fails_at_every_step(void **state)
{
    const struct fixture *f = *state;
    cte_status rc;
    int refused = 0;
    create_target(f);
    for (int step = 1; fail_step(step, EIO, call_open, f, &rc); step++)
        refused += rc != 0;
    assert_true(refused >= 3);
    check_usable(f);
}

static void test_destroy_fails_at_every_step(void **state)
{
    const struct fixture *f = *state;
    cte_status rc;
    int refused = 0;
    bool more = true;
    for (int step = 1; more; step++) {
        create_target(f);
        check_usable(f);
        more = fail_step(step, EIO, call_destroy, f, &rc);
        refused += rc != 0;
        if (rc != 0)
            assert_int_equal(f->ops->destroy(&f->spec), 0);
        assert_false(path_exists(f->path));
    }
    assert_true(refused >= 2);
}

static void *faulty_target;
static unsigned char faulty_page[PAGE_BYTES];

static cte_status call_write(const struct fixture *f)
{
    return write_bytes(f, faulty_target, ARENA_BYTES, faulty_page, sizeof faulty_page);
}

static cte_status call_sync(const struct fixture *f)
{
    return f->ops->sync(faulty_target);
}

/* A failed first write must not make the arena unusable, whichever step it was. */
static void test_write_fails_at_every_step(void **state)
{
    const struct fixture *f = *state;
    unsigned char in[PAGE_BYTES];
    bool more = true;
    int refused = 0;
    fill_pattern(faulty_page, sizeof faulty_page, ARENA_BYTES, 9);
    for (int step = 1; more; step++) {
        create_target(f);
        faulty_target = open_target(f);
        faults_fail_nth(step, ENOSPC);
        cte_status rc = call_write(f);
        more = faults_fired();
        faults_fail_nth(0, 0);
        refused += rc != 0;
        assert_true(rc == 0 || rc == -ENOSPC);
        assert_true(more || rc == 0);
        if (rc != 0)
            assert_int_equal(call_write(f), 0);
        assert_int_equal(read_bytes(f, faulty_target, ARENA_BYTES, in, sizeof in), 0);
        assert_memory_equal(in, faulty_page, sizeof in);
        f->ops->close(faulty_target);
    }
    assert_true(refused >= 1);
}

static void test_sync_retries_and_reports(void **state)
{
    const struct fixture *f = *state;
    create_target(f);
    faulty_target = open_target(f);
    faults_fail_nth(1, EINTR);
    assert_int_equal(call_sync(f), 0);
    faults_fail_nth(1, EIO);
    cte_status rc = call_sync(f);
    assert_int_equal(rc, faults_fired() ? -EIO : 0);
    if (f->ops->capabilities & CTE__TARGET_SURVIVES_NODE)
        assert_true(faults_fired());
    faults_fail_nth(0, 0);
    f->ops->close(faulty_target);
}

static int kill_step;

static int create_until_killed(const struct fixture *f)
{
    faults_fail_nth(kill_step, FAULT_KILL);
    return f->ops->create(&f->spec) == 0 ? 0 : 1;
}

static int destroy_until_killed(const struct fixture *f)
{
    faults_fail_nth(kill_step, FAULT_KILL);
    return f->ops->destroy(&f->spec) == 0 ? 0 : 1;
}

/* Dies before each step in turn; whatever it leaves, the next create makes a good target of it. */
static void kill_at_every_step(const struct fixture *f, int (*body)(const struct fixture *),
                               bool leftover)
{
    int code = 128 + SIGKILL;
    for (kill_step = 1; code == 128 + SIGKILL; kill_step++) {
        assert_true(kill_step < STEPS_MAX);
        if (leftover) {
            create_target(f);
            check_usable(f);
        }
        code = run_child(body, f);
        create_target(f);
        check_usable(f);
        assert_int_equal(f->ops->destroy(&f->spec), 0);
        assert_false(path_exists(f->path));
    }
    assert_int_equal(code, 0);
    assert_true(kill_step > 5);
}

static void test_killed_while_creating(void **state)
{
    kill_at_every_step(*state, create_until_killed, false);
}

static void test_killed_while_replacing(void **state)
{
    kill_at_every_step(*state, create_until_killed, true);
}

static void test_killed_while_destroying(void **state)
{
    kill_at_every_step(*state, destroy_until_killed, true);
}

/* Here the remains must vanish without being made anew. */
static void test_remains_of_the_killed_are_removed(void **state)
{
    const struct fixture *f = *state;
    int code = 128 + SIGKILL;
    for (kill_step = 1; code == 128 + SIGKILL; kill_step++) {
        assert_true(kill_step < STEPS_MAX);
        create_target(f);
        code = run_child(destroy_until_killed, f);
        assert_int_equal(f->ops->destroy(&f->spec), 0);
        assert_false(path_exists(f->path));
    }
    assert_int_equal(code, 0);
}

const struct target_test target_faults_tests[] = {
    {"create fails at every step", test_create_fails_at_every_step},
    {"replacing fails at every step", test_replacing_fails_at_every_step},
    {"open fails at every step", test_open_fails_at_every_step},
    {"destroy fails at every step", test_destroy_fails_at_every_step},
    {"write fails at every step", test_write_fails_at_every_step},
    {"sync retries and reports", test_sync_retries_and_reports},
    {"killed while creating", test_killed_while_creating},
    {"killed while replacing", test_killed_while_replacing},
    {"killed while destroying", test_killed_while_destroying},
    {"remains of the killed are removed", test_remains_of_the_killed_are_removed},
    {0},
};
