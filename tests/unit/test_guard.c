/* SPDX-License-Identifier: BSD-3-Clause */
/* Locked ranges of files: processes that count together, readers, and holders that are killed. */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <cte/file.h>

enum { PROCESSES = 4, ROUNDS = 150, APART = (5 << 20) + 4000, PATIENCE_S = 120 };

struct fixture {
    char directory[256];
    char path[300];
    cte_config *config;
    cte_file_mode mode;
};

static void fixture_make(struct fixture *f, cte_file_mode mode)
{
    test_directory(f->directory, sizeof f->directory);
    snprintf(f->path, sizeof f->path, "%s/data", f->directory);
    f->config = test_config(f->directory, 64, 0, "");
    f->mode = mode;
}

static void fixture_free(struct fixture *f)
{
    cte_config_free(f->config);
    test_remove_directory(f->directory);
}

struct opened {
    cte_client *client;
    cte_file *file;
};

/* False on any failure: children cannot use cmocka's assertions. */
static bool open_it(const struct fixture *f, struct opened *opened)
{
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    options.mode = f->mode;
    return cte_client_open(f->config, &opened->client) == CTE_OK &&
           cte_file_open(opened->client, f->path, O_RDWR | O_CREAT, 0644, &options,
                         &opened->file) == CTE_OK &&
           cte_file_is_tracked(opened->file) == (f->mode != CTE_FILE_MODE_BYPASS);
}

static bool close_it(struct opened *opened)
{
    bool fine = cte_file_close(opened->file) == CTE_OK;
    return cte_client_close(opened->client) == CTE_OK && fine;
}

/* Two counters in different chunks, which only the lock keeps equal. */
static bool look(cte_file *file, uint64_t counters[2])
{
    cte_file_segment both[2] = {{0, 8, &counters[0]}, {APART, 8, &counters[1]}};
    counters[0] = counters[1] = 0;
    return cte_file_read(file, both, 2, NULL) == CTE_OK && counters[0] == counters[1];
}

static bool count_once(cte_file *file)
{
    uint64_t counters[2];
    cte_file_range range;
    cte_file_segment first = {0, 8, &counters[0]}, second = {APART, 8, &counters[1]};
    bool fine = cte_file_lock(file, true, 0, APART + 8, &range) == CTE_OK && look(file, counters);
    counters[0]++;
    counters[1]++;
    fine = fine && cte_file_write(file, &first, 1) == CTE_OK &&
           cte_file_write(file, &second, 1) == CTE_OK;
    cte_file_unlock(file, &range);
    return fine;
}

static bool look_once(cte_file *file)
{
    uint64_t counters[2];
    cte_file_range range;
    bool fine = cte_file_lock(file, false, 0, APART + 8, &range) == CTE_OK && look(file, counters);
    cte_file_unlock(file, &range);
    return fine;
}

static void child_counts(const struct fixture *f)
{
    struct opened mine;
    alarm(PATIENCE_S);
    bool fine = open_it(f, &mine);
    for (int i = 0; i < ROUNDS && fine; i++)
        fine = count_once(mine.file) && look_once(mine.file);
    _exit(fine && close_it(&mine) ? 0 : 1);
}

static void test_counting(cte_file_mode mode)
{
    struct fixture f;
    struct opened mine;
    pid_t pids[PROCESSES];
    uint64_t counters[2];
    fixture_make(&f, mode);
    assert_true(open_it(&f, &mine));
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            child_counts(&f);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int result;
        assert_int_equal(waitpid(pids[i], &result, 0), pids[i]);
        assert_int_equal(result, 0);
    }
    assert_true(look(mine.file, counters));
    assert_int_equal(counters[0], PROCESSES * ROUNDS);
    assert_true(close_it(&mine));
    fixture_free(&f);
}

static void child_holds(const struct fixture *f, bool for_writing, int ready)
{
    struct opened mine;
    cte_file_range range;
    bool fine =
        open_it(f, &mine) && cte_file_lock(mine.file, for_writing, 0, INT64_MAX, &range) == CTE_OK;
    if (fine && write(ready, "", 1) == 1)
        for (;;)
            pause();
    _exit(1);
}

/* A range that a killed process held is free, again and again. */
static void test_killed(cte_file_mode mode)
{
    struct fixture f;
    struct opened mine;
    fixture_make(&f, mode);
    assert_true(open_it(&f, &mine));
    alarm(PATIENCE_S);
    for (int round = 0; round < 6; round++) {
        cte_file_range range;
        int ready[2];
        char byte;
        assert_int_equal(pipe(ready), 0);
        pid_t pid = fork();
        if (pid == 0)
            child_holds(&f, round % 2 == 0, ready[1]);
        close(ready[1]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(cte_file_lock(mine.file, true, round << 20, 3 << 20, &range), CTE_OK);
        cte_file_unlock(mine.file, &range);
        assert_true(count_once(mine.file));
    }
    alarm(0);
    assert_true(close_it(&mine));
    fixture_free(&f);
}

static void test_tracked_counting(void **state)
{
    (void)state;
    test_counting(CTE_FILE_MODE_DEFAULT);
}

static void test_passthrough_counting(void **state)
{
    (void)state;
    test_counting(CTE_FILE_MODE_BYPASS);
}

static void test_tracked_killed(void **state)
{
    (void)state;
    test_killed(CTE_FILE_MODE_DEFAULT);
}

static void test_passthrough_killed(void **state)
{
    (void)state;
    test_killed(CTE_FILE_MODE_BYPASS);
}

/* Readers, and those of different parts, do not wait for each other: one thread can be all of them.
 */
static void test_side_by_side(void **state)
{
    struct fixture f;
    struct opened one, other;
    cte_file_range ranges[3];
    (void)state;
    fixture_make(&f, CTE_FILE_MODE_DEFAULT);
    assert_true(open_it(&f, &one));
    assert_true(open_it(&f, &other));
    alarm(PATIENCE_S);
    assert_int_equal(cte_file_lock(one.file, false, 0, INT64_MAX, &ranges[0]), CTE_OK);
    assert_int_equal(cte_file_lock(other.file, false, 5, INT64_MAX - 5, &ranges[1]), CTE_OK);
    cte_file_unlock(one.file, &ranges[0]);
    cte_file_unlock(other.file, &ranges[1]);
    assert_int_equal(cte_file_lock(one.file, true, 0, 1 << 20, &ranges[0]), CTE_OK);
    assert_int_equal(cte_file_lock(other.file, true, 1 << 20, 1 << 20, &ranges[1]), CTE_OK);
    assert_int_equal(cte_file_lock(other.file, true, 7, 0, &ranges[2]), CTE_OK);
    cte_file_unlock(other.file, &ranges[2]);
    cte_file_unlock(other.file, &ranges[1]);
    cte_file_unlock(one.file, &ranges[0]);
    assert_int_equal(cte_file_lock(one.file, true, UINT64_MAX, 1, &ranges[0]), -EINVAL);
    cte_file_unlock(one.file, &ranges[0]);
    alarm(0);
    assert_true(close_it(&one));
    assert_true(close_it(&other));
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tracked_counting), cmocka_unit_test(test_passthrough_counting),
        cmocka_unit_test(test_tracked_killed),   cmocka_unit_test(test_passthrough_killed),
        cmocka_unit_test(test_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
