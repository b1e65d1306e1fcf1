/* SPDX-License-Identifier: BSD-3-Clause */
/* Adding and removing targets, killed or failed at the nth step for n = 1, 2, 3 … until it
 * completes: every blob is whole, nothing is lost, and whoever comes next gets it done. */
#include "store_helpers.h"

#include <errno.h>

#include <cte/blob.h>
#include <cte/target.h>

#include "file/client.h"
#include "points.h"
#include "process.h"

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { DISTANCE = 7 }; /* of the points to die at: processes start slowly here */
#else
enum { DISTANCE = 2 };
#endif

enum { STEPS_MAX = 100000, BLOBS = 3, BLOB_BYTES = 20000 };

struct stage {
    char directory[256], path[300];
    cte_config *config, *extra;
    cte_client *client;
    cte_tag *tag;
};

static void fill(unsigned char *bytes, int number)
{
    for (int i = 0; i < BLOB_BYTES; i++)
        bytes[i] = (unsigned char)(i * 13 + number * 57 + i / 4096);
}

static void put_all(struct stage *stage)
{
    static unsigned char bytes[BLOB_BYTES];
    for (int i = 0; i < BLOBS; i++) {
        char name[16];
        snprintf(name, sizeof name, "blob %d", i);
        fill(bytes, i);
        assert_int_equal(cte_blob_put(stage->tag, name, 0, bytes, sizeof bytes, 0.0f, 0), CTE_OK);
    }
}

static void expect_all(const struct stage *stage)
{
    static unsigned char bytes[BLOB_BYTES], expected[BLOB_BYTES];
    for (int i = 0; i < BLOBS; i++) {
        char name[16];
        uint64_t got = 0;
        snprintf(name, sizeof name, "blob %d", i);
        fill(expected, i);
        assert_int_equal(cte_blob_get(stage->tag, name, 0, bytes, sizeof bytes, &got), CTE_OK);
        assert_int_equal(got, sizeof bytes);
        assert_memory_equal(bytes, expected, sizeof bytes);
    }
}

static struct stage stage_open(void)
{
    struct stage stage;
    char error[512];
    test_directory(stage.directory, sizeof stage.directory);
    snprintf(stage.path, sizeof stage.path, "%s/extra", stage.directory);
    stage.config = test_config(stage.directory, 4, 0, NULL);
    assert_int_equal(cte_client_open(stage.config, &stage.client), CTE_OK);
    assert_int_equal(cte_tag_open(stage.client, "tag", true, &stage.tag), CTE_OK);
    assert_int_equal(cte_config_new(&stage.extra, error, sizeof error), CTE_OK);
    assert_int_equal(
        cte_config_add_target(stage.extra, "file", stage.path, "1MiB", error, sizeof error),
        CTE_OK);
    put_all(&stage);
    return stage;
}

static void stage_close(struct stage *stage)
{
    cte_tag_close(stage->tag);
    assert_int_equal(cte_tag_delete(stage->client, "tag"), CTE_OK);
    assert_int_equal(cte_client_close(stage->client), CTE_OK);
    cte_config_free(stage->config);
    cte_config_free(stage->extra);
    test_remove_directory(stage->directory);
}

/* One of the two: what is to be interrupted. */
struct act {
    struct stage *stage;
    bool leave;
    long kill_at;
};

static cte_status play(const struct act *act)
{
    return act->leave ? cte_target_unregister(act->stage->client, act->stage->path)
                      : cte_target_register(act->stage->client, act->stage->extra, 0);
}

static int play_until_killed(void *context)
{
    const struct act *act = context;
    points_kill_at(POINT_ANY, act->kill_at);
    cte_status status = play(act);
    points_disarm();
    return status == CTE_OK ? 0 : 1;
}

/* The target is there, with all blobs in it, or it is not. */
static void prepare(struct stage *stage, bool there)
{
    cte_status status = there ? cte_target_register(stage->client, stage->extra, 0)
                              : cte_target_unregister(stage->client, stage->path);
    if (status != CTE_OK && status != (there ? -EEXIST : CTE_ERR_NOT_FOUND))
        fail_msg("%s: %s", there ? "register" : "unregister", cte_status_string(status));
    if (there)
        put_all(stage);
}

/* Everything is sound, and both ways can be gone to the end. */
static void check(struct stage *stage)
{
    cte__store_sweep(stage->client->store);
    expect_all(stage);
    test_audit(stage->client->store);
    prepare(stage, true);
    expect_all(stage);
    prepare(stage, false);
    expect_all(stage);
    assert_int_not_equal(access(stage->path, F_OK), 0);
    test_audit(stage->client->store);
}

static void kill_at_steps(bool leave)
{
    struct stage stage = stage_open();
    struct act act = {&stage, leave, 1};
    enum process_end end = PROCESS_KILLED;
    for (; end == PROCESS_KILLED; act.kill_at += DISTANCE) {
        assert_true(act.kill_at < STEPS_MAX);
        prepare(&stage, leave);
        fflush(NULL);
        end = process_run(play_until_killed, &act);
        check(&stage);
    }
    assert_int_equal(end, PROCESS_EXITED);
    assert_true(act.kill_at > 20);
    stage_close(&stage);
}

static void test_register_killed(void **state)
{
    (void)state;
    kill_at_steps(false);
}

static void test_unregister_killed(void **state)
{
    (void)state;
    kill_at_steps(true);
}

/* A call fails once.  What then fails as a whole has left everything as it was. */
static void fail_at_steps(bool leave, int kinds, int error)
{
    struct stage stage = stage_open();
    struct act act = {&stage, leave, 0};
    bool fired = true;
    for (long n = 1; fired; n += DISTANCE) {
        assert_true(n < STEPS_MAX);
        prepare(&stage, leave);
        points_fail_at(kinds, n, error);
        cte_status status = play(&act);
        points_disarm();
        fired = points_fired();
        cte_target_info info;
        bool there = cte_target_get_info(stage.client, stage.path, &info) == CTE_OK;
        if (status != CTE_OK)
            assert_true(there == leave);
        else
            assert_true(there != leave);
        check(&stage);
    }
    stage_close(&stage);
}

static void test_register_fails(void **state)
{
    (void)state;
    fail_at_steps(false, POINT_MEMORY, ENOMEM);
    fail_at_steps(false, POINT_WRITE, EIO);
    fail_at_steps(false, POINT_SPACE, ENOSPC);
    fail_at_steps(false, POINT_NAME, EACCES);
}

static void test_unregister_fails(void **state)
{
    (void)state;
    fail_at_steps(true, POINT_MEMORY, ENOMEM);
    fail_at_steps(true, POINT_READ, EIO);
    fail_at_steps(true, POINT_WRITE, ENOSPC);
    fail_at_steps(true, POINT_SPACE, ENOSPC);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_register_killed),
        cmocka_unit_test(test_unregister_killed),
        cmocka_unit_test(test_register_fails),
        cmocka_unit_test(test_unregister_fails),
    };
    return cmocka_run_group_tests_name("crash_targets", tests, NULL, NULL);
}

int main(void)
{
    setenv("CTE_LOG_LEVEL", "off", 1);
    return process_guard(all_tests, 250);
}
