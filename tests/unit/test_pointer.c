/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared file pointers: claimed, used by several processes, given back by whoever closes or dies.
 */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <cte/file.h>

enum { PROCESSES = 4, STEPS = 2000 };

struct fixture {
    char directory[256];
    char path[300];
    cte_config *config;
};

static void fixture_make(struct fixture *f)
{
    test_directory(f->directory, sizeof f->directory);
    snprintf(f->path, sizeof f->path, "%s/data", f->directory);
    f->config = test_config(f->directory, 64, 0, "");
}

static void fixture_free(struct fixture *f)
{
    cte_config_free(f->config);
    test_remove_directory(f->directory);
}

static cte_file *open_it(const struct fixture *f, cte_client *client, cte_file_mode mode)
{
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    cte_file *file = NULL;
    options.mode = mode;
    return cte_file_open(client, f->path, O_RDWR | O_CREAT, 0644, &options, &file) == CTE_OK ? file
                                                                                             : NULL;
}

static void test_claiming(void **state)
{
    struct fixture f;
    cte_client *client;
    cte_file *files[CTE__SHARED_POINTERS + 1];
    uint32_t number, first = 0;
    (void)state;
    fixture_make(&f);
    assert_int_equal(cte_client_open(f.config, &client), CTE_OK);
    for (uint32_t i = 0; i < CTE__SHARED_POINTERS; i++) {
        files[i] = open_it(&f, client, CTE_FILE_MODE_DEFAULT);
        assert_int_equal(cte_file_pointer_claim(files[i], &number), CTE_OK);
        assert_int_equal(cte_file_pointer_claim(files[i], &number), -EEXIST);
        cte_file_pointer_set(files[i], number, i * 10);
        first = i == 0 ? number : first;
    }
    files[CTE__SHARED_POINTERS] = open_it(&f, client, CTE_FILE_MODE_DEFAULT);
    assert_int_equal(cte_file_pointer_claim(files[CTE__SHARED_POINTERS], &number), -EBUSY);
    assert_int_equal(cte_file_pointer_advance(files[1], number, 5), 70);
    assert_int_equal(cte_file_pointer_advance(files[2], number, 0), 75);
    /* One is free again, and at its beginning. */
    assert_int_equal(cte_file_close(files[0]), CTE_OK);
    assert_int_equal(cte_file_pointer_claim(files[CTE__SHARED_POINTERS], &number), CTE_OK);
    assert_int_equal(number, first);
    assert_int_equal(cte_file_pointer_advance(files[1], number, 0), 0);
    for (uint32_t i = 1; i <= CTE__SHARED_POINTERS; i++)
        assert_int_equal(cte_file_close(files[i]), CTE_OK);
    cte_file *plain = open_it(&f, client, CTE_FILE_MODE_BYPASS);
    assert_int_equal(cte_file_pointer_claim(plain, &number), -ENOTSUP);
    assert_int_equal(cte_file_close(plain), CTE_OK);
    assert_int_equal(cte_client_close(client), CTE_OK);
    fixture_free(&f);
}

/* Each place is given to one process. */
static void child_advances(const struct fixture *f, uint32_t number)
{
    cte_client *client;
    cte_file *file;
    alarm(60);
    if (cte_client_open(f->config, &client) != CTE_OK ||
        !(file = open_it(f, client, CTE_FILE_MODE_DEFAULT)))
        _exit(1);
    for (int i = 0; i < STEPS; i++) {
        char byte = 1, there = 0;
        uint64_t at = cte_file_pointer_advance(file, number, 1);
        cte_file_segment look = {at, 1, &there}, put = {at, 1, &byte};
        if (cte_file_read(file, &look, 1, NULL) != CTE_OK || there != 0 ||
            cte_file_write(file, &put, 1) != CTE_OK)
            _exit(2);
    }
    _exit(cte_file_close(file) == CTE_OK && cte_client_close(client) == CTE_OK ? 0 : 3);
}

static void test_sharing(void **state)
{
    struct fixture f;
    cte_client *client;
    uint32_t number;
    uint64_t size;
    pid_t pids[PROCESSES];
    (void)state;
    fixture_make(&f);
    assert_int_equal(cte_client_open(f.config, &client), CTE_OK);
    cte_file *file = open_it(&f, client, CTE_FILE_MODE_DEFAULT);
    assert_int_equal(cte_file_pointer_claim(file, &number), CTE_OK);
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            child_advances(&f, number);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int result;
        assert_int_equal(waitpid(pids[i], &result, 0), pids[i]);
        assert_int_equal(result, 0);
    }
    assert_int_equal(cte_file_size(file, &size), CTE_OK);
    assert_int_equal(size, PROCESSES * STEPS);
    assert_int_equal(cte_file_pointer_advance(file, number, 0), size);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(cte_client_close(client), CTE_OK);
    fixture_free(&f);
}

/* What a killed process had claimed is free for who opens the file next. */
static void test_killed(void **state)
{
    struct fixture f;
    cte_client *client, *mine;
    (void)state;
    fixture_make(&f);
    assert_int_equal(cte_client_open(f.config, &mine), CTE_OK); /* keeps the store */
    for (uint32_t i = 0; i < 2 * CTE__SHARED_POINTERS; i++) {
        int result;
        uint32_t number;
        pid_t pid = fork();
        if (pid == 0) {
            if (cte_client_open(f.config, &client) != CTE_OK ||
                cte_file_pointer_claim(open_it(&f, client, CTE_FILE_MODE_SCRATCH), &number) !=
                    CTE_OK)
                _exit(1);
            kill(getpid(), SIGKILL);
        }
        assert_int_equal(waitpid(pid, &result, 0), pid);
        assert_true(WIFSIGNALED(result));
    }
    cte_file *file = open_it(&f, mine, CTE_FILE_MODE_SCRATCH);
    uint32_t number;
    assert_int_equal(cte_file_pointer_claim(file, &number), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(cte_client_close(mine), CTE_OK);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claiming),
        cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
