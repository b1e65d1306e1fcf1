/* SPDX-License-Identifier: BSD-3-Clause */
/* Files by tasks: transfers, functions of the program, and what cannot be started. */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>

#include <cte/task.h>

enum { PIECES = 40, PIECE = 70001, BYTES = PIECES * PIECE };

static char directory[256], path[300];
static cte_client *client;

static int set_up(void **state)
{
    (void)state;
    test_directory(directory, sizeof directory);
    snprintf(path, sizeof path, "%s/data", directory);
    cte_config *config = test_config(directory, 64, 0, "");
    assert_int_equal(cte_client_open(config, &client), CTE_OK);
    cte_config_free(config);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(cte_client_close(client), CTE_OK);
    test_remove_directory(directory);
    return 0;
}

static cte_file *open_file(int flags)
{
    cte_file *file;
    assert_int_equal(cte_file_open(client, path, flags, 0644, NULL, &file), CTE_OK);
    return file;
}

static cte_status finish(cte_task *task)
{
    assert_int_equal(cte_task_wait(task, -1), CTE_OK);
    cte_status status = cte_task_status(task);
    cte_task_free(task);
    return status;
}

/* Many at a time, each of two segments that the caller changes at once. */
static void test_transfers(void **state)
{
    static char data[BYTES], back[BYTES];
    cte_task *tasks[PIECES];
    uint64_t done[PIECES];
    (void)state;
    for (int i = 0; i < BYTES; i++)
        data[i] = (char)(i * 7 + i / 251);
    cte_file *file = open_file(O_RDWR | O_CREAT);
    for (int i = 0; i < PIECES; i++) {
        cte_file_segment segments[2] = {
            {(uint64_t)i * PIECE, 1000, data + (size_t)i * PIECE},
            {(uint64_t)i * PIECE + 1000, PIECE - 1000, data + (size_t)i * PIECE + 1000}};
        assert_int_equal(cte_file_write_async(file, segments, 2, NULL, &tasks[i]), CTE_OK);
        memset(segments, 0xff, sizeof segments);
    }
    for (int i = 0; i < PIECES; i++)
        assert_int_equal(finish(tasks[i]), CTE_OK);
    for (int i = 0; i < PIECES; i++) {
        /* The last reaches beyond the end. */
        cte_file_segment segment = {(uint64_t)i * PIECE + 5, PIECE, back + (size_t)i * PIECE};
        segment.length -= i < PIECES - 1 ? 5 : 0;
        assert_int_equal(cte_file_read_async(file, &segment, 1, &done[i], NULL, &tasks[i]), CTE_OK);
    }
    for (int i = 0; i < PIECES; i++) {
        assert_int_equal(finish(tasks[i]), CTE_OK);
        assert_int_equal(done[i], PIECE - 5);
        assert_memory_equal(back + (size_t)i * PIECE, data + (size_t)i * PIECE + 5, PIECE - 5);
    }
    assert_int_equal(cte_file_close(file), CTE_OK);
}

static void test_errors(void **state)
{
    char byte = 1;
    cte_task *task;
    cte_file_segment segment = {0, 1, &byte};
    (void)state;
    cte_file *file = open_file(O_RDWR | O_CREAT);
    assert_int_equal(cte_file_close(file), CTE_OK);
    file = open_file(O_RDONLY);
    assert_int_equal(cte_file_write_async(file, &segment, 1, NULL, &task), CTE_OK);
    assert_int_equal(finish(task), -EBADF);
    assert_int_equal(cte_file_write_async(NULL, &segment, 1, NULL, &task), -EINVAL);
    assert_int_equal(cte_file_read_async(file, NULL, 1, NULL, NULL, &task), -EINVAL);
    assert_int_equal(cte_client_run_async(client, NULL, NULL, NULL, &task), -EINVAL);
    assert_int_equal(cte_file_read_async(file, NULL, 0, NULL, NULL, &task), CTE_OK);
    assert_int_equal(finish(task), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
}

static cte_status count_up(void *context)
{
    _Atomic int *count = context;
    return -1 - atomic_fetch_add(count, 1);
}

/* Each runs once, and its result is its task's. */
static void test_functions(void **state)
{
    _Atomic int count = 0;
    cte_task *tasks[PIECES];
    int sum = 0;
    (void)state;
    for (int i = 0; i < PIECES; i++)
        assert_int_equal(cte_client_run_async(client, count_up, &count, NULL, &tasks[i]), CTE_OK);
    for (int i = 0; i < PIECES; i++)
        sum += finish(tasks[i]);
    assert_int_equal(count, PIECES);
    assert_int_equal(sum, -PIECES * (PIECES + 1) / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_transfers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_errors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_functions, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
