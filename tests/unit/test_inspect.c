/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking at a store must not change what is in it. */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cte/file.h>
#include <cte/store.h>

#include "file/client.h"
#include "file/file_internal.h"

enum { FILE_BYTES = 20000, CUT_BYTES = 100 };

struct fixture {
    char directory[256], path[300];
    cte_config *config;
};

static struct fixture fixture_make(void)
{
    struct fixture f = {0};
    test_directory(f.directory, sizeof f.directory);
    snprintf(f.path, sizeof f.path, "%s/data", f.directory);
    f.config = test_config(f.directory, 8, 0, "");
    return f;
}

/* Whatever happened, the store must have gone with its last client. */
static void fixture_free(struct fixture *f)
{
    char store[300];
    assert_int_equal(cte_store_path(f->config, store, sizeof store), CTE_OK);
    assert_int_equal(access(store, F_OK), -1);
    cte_config_free(f->config);
    test_remove_directory(f->directory);
}

/* Dies with a file written, drained, and a truncation half done: what cte_file_truncate() notes
 * first is noted, the real file is not cut. */
static void die_truncating(const struct fixture *f)
{
    static char bytes[FILE_BYTES];
    cte_client *client;
    cte_file *file;
    cte_file_segment all = {0, FILE_BYTES, bytes};
    if (cte_client_open(f->config, &client) != CTE_OK ||
        cte_file_open(client, f->path, O_RDWR | O_CREAT, 0644, NULL, &file) != CTE_OK ||
        cte_file_write(file, &all, 1) != CTE_OK || cte_file_drain(file) != CTE_OK)
        _exit(1);
    struct cte__file_state *state = &cte__tag_at(client->store, file->tag)->file;
    atomic_store(&state->truncate_to, CUT_BYTES + 1);
    atomic_store(&state->size_bytes, CUT_BYTES);
    raise(SIGKILL);
    _exit(2);
}

static void expect_killed(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

struct seen {
    int files;
    cte_store_file last;
};

static cte_status see(void *context, const cte_store_file *file)
{
    struct seen *seen = context;
    seen->files++;
    seen->last = *file;
    return CTE_OK;
}

static uint64_t real_size(const struct fixture *f)
{
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    return (uint64_t)st.st_size;
}

static void test_unfinished_truncation_survives_looking(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    cte_client *client;
    cte_store_report report;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        die_truncating(&f);
    expect_killed(pid);
    assert_int_equal(real_size(&f), FILE_BYTES);
    for (int i = 0; i < 2; i++) { /* the second time it must still be there */
        struct seen seen = {0};
        assert_int_equal(cte_store_open_existing(f.config, &client), CTE_OK);
        assert_int_equal(cte_store_files(client, see, &seen), CTE_OK);
        assert_int_equal(seen.files, 1);
        assert_int_equal(seen.last.size_bytes, CUT_BYTES);
        assert_true(seen.last.dirty);
        assert_false(seen.last.open);
        assert_int_equal(cte_store_check(client, &report, NULL, NULL), CTE_OK);
        assert_false(cte_store_report_is_damage(&report));
        assert_int_equal(cte_client_close(client), CTE_OK);
    }
    assert_int_equal(cte_store_destroy(f.config, false), CTE_ERR_DRAIN);
    assert_int_equal(cte_store_open_existing(f.config, &client), CTE_OK);
    assert_int_equal(cte_store_drain(client, NULL, false, NULL, NULL), CTE_OK);
    assert_int_equal(cte_client_close(client), CTE_OK);
    assert_int_equal(real_size(&f), CUT_BYTES);
    fixture_free(&f);
}

/* A client may look at files that it has open itself, and go on. */
static void test_looking_at_own_files(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    struct seen seen = {0};
    cte_client *client;
    cte_file *file;
    cte_file_segment put = {0, 5, "hello"};
    cte_store_report report;
    uint32_t others = 9;
    assert_int_equal(cte_store_open_existing(f.config, &client), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_client_open(f.config, &client), CTE_OK);
    assert_int_equal(cte_file_open(client, f.path, O_RDWR | O_CREAT, 0644, NULL, &file), CTE_OK);
    assert_int_equal(cte_store_files(client, see, &seen), CTE_OK);
    assert_false(seen.last.dirty);
    assert_true(seen.last.open);
    assert_int_equal(cte_file_write(file, &put, 1), CTE_OK);
    assert_int_equal(cte_store_check(client, &report, NULL, NULL), CTE_OK);
    assert_int_equal(report.blobs, 1);
    assert_true(report.exact);
    assert_int_equal(cte_store_files(client, see, &seen), CTE_OK);
    assert_true(seen.last.dirty);
    assert_int_equal(seen.last.size_bytes, 5);
    assert_int_equal(cte_store_processes(client, NULL, 0, &others), CTE_OK);
    assert_int_equal(others, 0);
    assert_int_equal(cte_store_drain(client, f.path, true, NULL, NULL), -EBUSY);
    assert_int_equal(cte_store_destroy(f.config, true), -EBUSY);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(real_size(&f), 5);
    assert_int_equal(cte_client_close(client), CTE_OK);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unfinished_truncation_survives_looking),
        cmocka_unit_test(test_looking_at_own_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
