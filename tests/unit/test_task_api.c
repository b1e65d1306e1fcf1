/* SPDX-License-Identifier: BSD-3-Clause */
/* The asynchronous form of each operation on tags, blobs and targets; clients that close; forks. */
#include "store_helpers.h"
#include "task_helpers.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "blob/tag.h"

#include <cte/blob.h>
#include <cte/task.h>

enum { BLOBS = 100, BLOB_BYTES = 10000 };

static char directory[PATH_MAX];
static cte_client *client;
static cte_tag *tag;

static void open_client(void)
{
    cte_config *config = test_config(directory, 16, 0, "");
    assert_int_equal(cte_client_open(config, &client), CTE_OK);
    cte_config_free(config);
}

static int set_up(void **state)
{
    (void)state;
    test_directory(directory, sizeof directory);
    open_client();
    assert_int_equal(cte_tag_open(client, "tag", true, &tag), CTE_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cte_tag_close(tag);
    tag = NULL;
    cte_client_close(client);
    test_remove_directory(directory);
    return 0;
}

/* Waits, frees, and returns the status. */
static cte_status finish(cte_task *task)
{
    assert_int_equal(cte_task_wait(task, -1), CTE_OK);
    cte_status status = cte_task_status(task);
    cte_task_free(task);
    return status;
}

static void fill(char *bytes, int number)
{
    for (int i = 0; i < BLOB_BYTES; i++)
        bytes[i] = (char)(number * 31 + i);
}

static void test_no_thread_without_tasks(void **state)
{
    (void)state;
    char byte = 'x';
    uint64_t size;
    assert_int_equal(cte_blob_put(tag, "blob", 0, &byte, 1, 1.0f, 0), CTE_OK);
    assert_int_equal(cte_blob_get(tag, "blob", 0, &byte, 1, NULL), CTE_OK);
    assert_int_equal(cte_tag_size(tag, &size), CTE_OK);
    assert_int_equal(test_workers(), 0);
}

static void test_blobs(void **state)
{
    (void)state;
    static char in[BLOBS][BLOB_BYTES], out[BLOBS][BLOB_BYTES + 1];
    cte_task *tasks[BLOBS];
    size_t bytes[BLOBS];
    char name[16];
    for (int i = 0; i < BLOBS; i++) {
        fill(in[i], i);
        snprintf(name, sizeof name, "b%d", i);
        assert_int_equal(
            cte_blob_put_async(tag, name, 0, in[i], BLOB_BYTES, 0.5f, 0, NULL, &tasks[i]), CTE_OK);
    }
    assert_int_equal(cte_task_wait_all(tasks, BLOBS, -1), CTE_OK);
    for (int i = 0; i < BLOBS; i++) {
        assert_int_equal(finish(tasks[i]), CTE_OK);
        snprintf(name, sizeof name, "b%d", i);
        assert_int_equal(
            cte_blob_get_async(tag, name, 1, out[i], BLOB_BYTES, &bytes[i], NULL, &tasks[i]),
            CTE_OK);
    }
    for (int i = 0; i < BLOBS; i++) {
        assert_int_equal(finish(tasks[i]), CTE_OK);
        assert_int_equal(bytes[i], BLOB_BYTES - 1);
        assert_memory_equal(out[i], in[i] + 1, BLOB_BYTES - 1);
    }
    assert_int_equal(
        cte_blob_get_async(tag, "b0", 0, out[0], BLOB_BYTES + 1, NULL, NULL, &tasks[0]), CTE_OK);
    assert_int_equal(finish(tasks[0]), -ENODATA);
}

static void test_facts(void **state)
{
    (void)state;
    cte_blob_info info;
    uint64_t size, total;
    float score;
    cte_task *tasks[6];
    assert_int_equal(cte_blob_put_async(tag, "blob", 5, "abc", 3, 0.25f, 0, NULL, &tasks[0]),
                     CTE_OK);
    assert_int_equal(cte_blob_get_info_async(tag, "blob", &info, NULL, &tasks[1]), CTE_OK);
    assert_int_equal(cte_blob_size_async(tag, "blob", &size, NULL, &tasks[2]), CTE_OK);
    assert_int_equal(cte_blob_score_async(tag, "blob", &score, NULL, &tasks[3]), CTE_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(finish(tasks[i]), CTE_OK);
    assert_int_equal(info.size_bytes, 8);
    assert_true(info.score == 0.25f);
    assert_int_equal(size, 8);
    assert_true(score == 0.25f);
    assert_int_equal(cte_tag_size_async(tag, &total, NULL, &tasks[4]), CTE_OK);
    assert_int_equal(finish(tasks[4]), CTE_OK);
    assert_int_equal(total, 8);
    assert_int_equal(cte_blob_delete_async(tag, "blob", NULL, &tasks[4]), CTE_OK);
    assert_int_equal(cte_blob_size_async(tag, "blob", &size, NULL, &tasks[5]), CTE_OK);
    assert_int_equal(finish(tasks[4]), CTE_OK);
    assert_int_equal(finish(tasks[5]), CTE_ERR_NOT_FOUND);
}

static cte_status count_name(void *context, const char *name)
{
    int *count = context;
    ++*count;
    return strlen(name) == 3 ? CTE_OK : -EBADMSG;
}

static void test_tags(void **state)
{
    (void)state;
    cte_tag *other = NULL;
    cte_task *task;
    int count = 0;
    assert_int_equal(cte_tag_open_async(client, "new", false, &other, NULL, &task), CTE_OK);
    assert_int_equal(finish(task), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_tag_open_async(client, "new", true, &other, NULL, &task), CTE_OK);
    assert_int_equal(finish(task), CTE_OK);
    assert_non_null(other);
    assert_int_equal(cte_blob_put(other, "abc", 0, "x", 1, 1.0f, 0), CTE_OK);
    assert_int_equal(cte_tag_list_async(other, count_name, &count, NULL, &task), CTE_OK);
    cte_tag_close(other); /* a task does without the handle */
    assert_int_equal(finish(task), CTE_OK);
    assert_int_equal(count, 1);
    assert_int_equal(cte_client_tags_async(client, count_name, &count, NULL, &task), CTE_OK);
    assert_int_equal(finish(task), CTE_OK);
    assert_int_equal(count, 3);
    assert_int_equal(cte_tag_delete_async(client, "new", NULL, &task), CTE_OK);
    assert_int_equal(finish(task), CTE_OK);
    assert_int_equal(cte_tag_open(client, "new", false, &other), CTE_ERR_NOT_FOUND);
    cte_target_info infos[2];
    uint32_t targets = 0;
    assert_int_equal(cte_client_targets_async(client, infos, 2, &targets, NULL, &task), CTE_OK);
    assert_int_equal(finish(task), CTE_OK);
    assert_int_equal(targets, 1);
    assert_string_equal(infos[0].kind, "ram");
}

static void test_names(void **state)
{
    (void)state;
    uint64_t offsets[2] = {99, 99}, size;
    cte_tag *other;
    cte_task *tasks[5];
    char to[] = "to", there[] = "there";
    assert_int_equal(cte_tag_open(client, "other", true, &other), CTE_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            cte_blob_append_async(tag, "from", "abc", 3, 1.0f, &offsets[i], NULL, &tasks[i]),
            CTE_OK);
    assert_int_equal(cte_blob_rename_async(tag, "from", to, 0, NULL, &tasks[2]), CTE_OK);
    assert_int_equal(cte_blob_size_async(tag, "from", &size, NULL, &tasks[3]), CTE_OK);
    memset(to, 'x', sizeof to - 1); /* copied */
    for (int i = 0; i < 3; i++)
        assert_int_equal(finish(tasks[i]), CTE_OK);
    assert_int_equal(finish(tasks[3]), CTE_ERR_NOT_FOUND);
    assert_int_equal(offsets[0], 0);
    assert_int_equal(offsets[1], 3);
    assert_int_equal(cte_blob_move_async(tag, "to", other, there, 0, NULL, &tasks[4]), CTE_OK);
    memset(there, 'x', sizeof there - 1);
    cte_tag_close(other); /* a task does without the handle */
    assert_int_equal(finish(tasks[4]), CTE_OK);
    assert_int_equal(cte_tag_open(client, "other", false, &other), CTE_OK);
    assert_int_equal(cte_blob_size(other, "there", &size), CTE_OK);
    assert_int_equal(size, 6);
    cte_tag_close(other);
}

static void test_ids(void **state)
{
    (void)state;
    cte_tag_id id = {0, 4321}, found = {0, 0};
    char name[CTE_BLOB_NAME_MAX + 1] = "";
    cte_tag *made = NULL, *opened = NULL;
    cte_task *tasks[3];
    assert_int_equal(cte_tag_create_async(client, "numbered", id, &made, NULL, &tasks[0]), CTE_OK);
    assert_int_equal(finish(tasks[0]), CTE_OK);
    assert_int_equal(cte_tag_get_id(made).minor, 4321);
    assert_int_equal(cte_tag_open_id_async(client, id, &opened, NULL, &tasks[0]), CTE_OK);
    assert_int_equal(cte_tag_find_async(client, "numbered", &found, NULL, &tasks[1]), CTE_OK);
    assert_int_equal(cte_tag_name_async(client, id, name, sizeof name, NULL, &tasks[2]), CTE_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(finish(tasks[i]), CTE_OK);
    assert_int_equal(cte_tag_get_id(opened).minor, 4321);
    assert_int_equal(found.minor, 4321);
    assert_string_equal(name, "numbered");
    assert_int_equal(cte_tag_delete_id_async(client, id, NULL, &tasks[0]), CTE_OK);
    assert_int_equal(finish(tasks[0]), CTE_OK);
    assert_int_equal(cte_tag_find(client, "numbered", &found), CTE_ERR_NOT_FOUND);
    cte_tag_close(made);
    cte_tag_close(opened);
}

static cte_status count_tag(void *context, const char *name, cte_tag_id id)
{
    return id.minor > 0 ? count_name(context, name) : -EBADMSG;
}

static cte_status count_blob(void *context, const char *name, const char *blob)
{
    return strcmp(name, "tag") == 0 ? count_name(context, blob) : -EBADMSG;
}

static void test_queries(void **state)
{
    (void)state;
    char regex[] = "^a..$", all[] = ".*";
    int counts[3] = {0};
    cte_task *tasks[3];
    assert_int_equal(cte_blob_put(tag, "abc", 0, "x", 1, 1.0f, 0), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "bbc", 0, "x", 1, 1.0f, 0), CTE_OK);
    assert_int_equal(
        cte_tag_list_matching_async(tag, regex, 9, count_name, &counts[0], NULL, &tasks[0]),
        CTE_OK);
    assert_int_equal(cte_tag_query_async(client, all, CTE_QUERY_LOCAL, 9, count_tag, &counts[1],
                                         NULL, &tasks[1]),
                     CTE_OK);
    assert_int_equal(cte_blob_query_async(client, all, regex, CTE_QUERY_LOCAL, 9, count_blob,
                                          &counts[2], NULL, &tasks[2]),
                     CTE_OK);
    memset(regex, 'x', sizeof regex - 1); /* copied */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(finish(tasks[i]), CTE_OK);
        assert_int_equal(counts[i], 1);
    }
}

static void test_places(void **state)
{
    (void)state;
    static char bytes[BLOB_BYTES];
    cte_blob_block blocks[4];
    cte_blob_report report;
    uint32_t count = 0;
    uint64_t bytes_volatile = 0;
    cte_task *tasks[3];
    assert_int_equal(cte_blob_put_async(tag, "blob", 0, bytes, sizeof bytes, 0.5f, 0, NULL, NULL),
                     CTE_OK);
    assert_int_equal(cte_blob_reorganize_async(tag, "blob", 0.75f, &report, NULL, &tasks[0]),
                     CTE_OK);
    assert_int_equal(cte_blob_blocks_async(tag, "blob", blocks, 4, &count, NULL, &tasks[1]),
                     CTE_OK);
    assert_int_equal(finish(tasks[0]), CTE_OK);
    assert_int_equal(finish(tasks[1]), CTE_OK);
    assert_true(report.score == 0.75f);
    assert_int_equal(report.size_bytes, BLOB_BYTES);
    assert_in_range(count, 1, 4);
    assert_int_equal(
        cte_client_flush_async(client, CTE_PERSIST_NODE, &bytes_volatile, NULL, &tasks[2]), CTE_OK);
    assert_int_equal(finish(tasks[2]), CTE_OK);
    assert_true(bytes_volatile >= BLOB_BYTES); /* in memory */
}

static void test_telemetry(void **state)
{
    (void)state;
    cte_telemetry_entry entries[4];
    size_t count = 0;
    uint64_t dropped = 99;
    cte_task *task;
    /* A client of its own: telemetry is a matter of the store that it makes. */
    cte_client_close(client);
    cte_tag_close(tag);
    test_remove_directory(directory);
    test_directory(directory, sizeof directory);
    cte_config *config = test_config(directory, 16, 0, "telemetry: {enabled: true}\n");
    assert_int_equal(cte_client_open(config, &client), CTE_OK);
    cte_config_free(config);
    assert_int_equal(cte_tag_open(client, "tag", true, &tag), CTE_OK);
    assert_int_equal(cte_blob_put_async(tag, "blob", 7, "abc", 3, 1.0f, 0, NULL, &task), CTE_OK);
    assert_int_equal(finish(task), CTE_OK);
    assert_int_equal(cte_telemetry_poll_async(client, 0, entries, 4, &count, &dropped, NULL, &task),
                     CTE_OK);
    assert_int_equal(finish(task), CTE_OK);
    assert_int_equal(dropped, 0);
    assert_in_range(count, 1, 4);
    assert_int_equal(entries[count - 1].offset, 7);
    assert_int_equal(entries[count - 1].size, 3);
}

static void test_targets(void **state)
{
    (void)state;
    char text[3 * PATH_MAX], error[512], path[PATH_MAX + 20];
    cte_config *config;
    cte_target_info info;
    cte_task *tasks[4];
    uint32_t count = 0;
    snprintf(path, sizeof path, "%s/more", directory);
    snprintf(text, sizeof text,
             "store: {directory: '%s'}\n"
             "storage: [{bdev_type: file, path: '%s', capacity_limit: 8MiB, score: 0.5}]\n",
             directory, path);
    assert_int_equal(cte_config_parse(text, "test", &config, error, sizeof error), CTE_OK);
    /* Operations on one target keep their order. */
    assert_int_equal(cte_target_register_async(client, config, 0, NULL, &tasks[0]), CTE_OK);
    assert_int_equal(cte_target_get_info_async(client, path, &info, NULL, &tasks[1]), CTE_OK);
    assert_int_equal(cte_target_unregister_async(client, path, NULL, &tasks[2]), CTE_OK);
    assert_int_equal(cte_target_stat_async(client, NULL, &tasks[3]), CTE_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(finish(tasks[i]), CTE_OK);
    cte_config_free(config);
    assert_string_equal(info.kind, "file");
    assert_int_equal(cte_client_targets(client, NULL, 0, &count), CTE_OK);
    assert_int_equal(count, 1);
    assert_int_equal(cte_target_register_async(client, NULL, 0, NULL, &tasks[0]), -EINVAL);
    assert_int_equal(cte_target_unregister_async(client, NULL, NULL, &tasks[0]), -EINVAL);
    assert_int_equal(cte_target_unregister_async(client, path, NULL, &tasks[0]), CTE_OK);
    assert_int_equal(finish(tasks[0]), CTE_ERR_NOT_FOUND);
}

/* Puts, gets and deletions of one blob happen in the order in which they were started. */
static void test_order(void **state)
{
    (void)state;
    enum { ROUNDS = 200 };
    static uint32_t in[ROUNDS], out[ROUNDS];
    static cte_task *gets[ROUNDS];
    for (uint32_t i = 0; i < ROUNDS; i++) {
        in[i] = i + 1;
        assert_int_equal(
            cte_blob_put_async(tag, "blob", 0, &in[i], sizeof in[i], 1.0f, 0, NULL, NULL), CTE_OK);
        assert_int_equal(
            cte_blob_get_async(tag, "blob", 0, &out[i], sizeof out[i], NULL, NULL, &gets[i]),
            CTE_OK);
        if (i % 3 == 0)
            assert_int_equal(cte_blob_delete_async(tag, "blob", NULL, NULL), CTE_OK);
    }
    for (uint32_t i = 0; i < ROUNDS; i++) {
        assert_int_equal(finish(gets[i]), CTE_OK);
        assert_int_equal(out[i], i + 1);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    char name[CTE_BLOB_NAME_MAX + 2];
    cte_task *task = NULL;
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    assert_int_equal(cte_blob_put_async(NULL, "b", 0, "x", 1, 1.0f, 0, NULL, &task), -EINVAL);
    assert_int_equal(cte_blob_put_async(tag, NULL, 0, "x", 1, 1.0f, 0, NULL, &task), -EINVAL);
    assert_int_equal(cte_blob_put_async(tag, "", 0, "x", 1, 1.0f, 0, NULL, &task), -EINVAL);
    assert_int_equal(cte_blob_delete_async(tag, name, NULL, &task), -ENAMETOOLONG);
    assert_int_equal(cte_tag_open_async(client, name, true, &tag, NULL, &task), -ENAMETOOLONG);
    assert_int_equal(cte_tag_size_async(NULL, NULL, NULL, &task), -EINVAL);
    assert_int_equal(cte_blob_rename_async(tag, "b", NULL, 0, NULL, &task), -EINVAL);
    assert_int_equal(cte_blob_rename_async(NULL, "b", "c", 0, NULL, &task), -EINVAL);
    assert_int_equal(cte_blob_rename_async(tag, "b", name, 0, NULL, &task), -ENAMETOOLONG);
    assert_int_equal(cte_blob_move_async(tag, "b", NULL, "c", 0, NULL, &task), -EINVAL);
    assert_null(task);
    /* What the operation refuses is its status. */
    assert_int_equal(cte_blob_put_async(tag, "b", 0, "x", 1, 2.0f, 0, NULL, &task), CTE_OK);
    assert_int_equal(finish(task), -EINVAL);
    assert_int_equal(cte_blob_put_async(tag, "b", 0, NULL, 1, 1.0f, 0, NULL, &task), CTE_OK);
    assert_int_equal(finish(task), -EINVAL);
    assert_int_equal(cte_blob_size_async(tag, "b", NULL, NULL, &task), CTE_OK);
    assert_int_equal(finish(task), -EINVAL);
    assert_int_equal(cte_tag_list_async(tag, NULL, NULL, NULL, &task), CTE_OK);
    assert_int_equal(finish(task), -EINVAL);
}

struct closing {
    cte_client *client;
    _Atomic int calls;
    _Atomic cte_status refused;
};

static void close_in_callback(void *context, cte_status status)
{
    struct closing *closing = context;
    if (status == CTE_OK)
        closing->calls++;
    closing->refused = cte_client_close(closing->client);
}

/* Closing a client completes what is under way. */
static void test_close_pending(void **state)
{
    (void)state;
    static char bytes[BLOBS][BLOB_BYTES];
    char name[16];
    struct closing closing = {.client = client};
    cte_task_callback callback = {close_in_callback, &closing};
    for (int i = 0; i < BLOBS; i++) {
        fill(bytes[i], i);
        snprintf(name, sizeof name, "b%d", i);
        assert_int_equal(
            cte_blob_put_async(tag, name, 0, bytes[i], BLOB_BYTES, 1.0f, 0, &callback, NULL),
            CTE_OK);
    }
    cte_tag_close(tag);
    assert_int_equal(cte_client_close(client), CTE_OK);
    assert_int_equal(closing.calls, BLOBS);
    assert_int_equal(closing.refused, -EDEADLK);
    test_expect_workers(0);
    open_client();
    assert_int_equal(cte_tag_open(client, "tag", false, &tag), CTE_OK);
    for (int i = 0; i < BLOBS; i++) {
        char got[BLOB_BYTES];
        snprintf(name, sizeof name, "b%d", i);
        assert_int_equal(cte_blob_get(tag, name, 0, got, sizeof got, NULL), CTE_OK);
        assert_memory_equal(got, bytes[i], sizeof got);
    }
    test_audit(tag->store);
}

/* The process-wide client has tasks as any other. */
static void test_default_client(void **state)
{
    (void)state;
    cte_tag *own = NULL;
    struct closing closing = {0};
    cte_task_callback callback = {close_in_callback, &closing};
    cte_task *task;
    setenv("CTE_STORE_DIRECTORY", directory, 1);
    setenv("CTE_STORE_NAME", "default", 1);
    setenv("CTE_RAM_CAPACITY", "8MiB", 1);
    assert_int_equal(cte_tag_open_async(NULL, "tag", true, &own, NULL, &task), CTE_OK);
    assert_int_equal(finish(task), CTE_OK);
    assert_int_equal(cte_blob_put_async(own, "b", 0, "x", 1, 1.0f, 0, NULL, NULL), CTE_OK);
    cte_tag_close(own);
    assert_int_equal(cte_tag_delete_async(NULL, "tag", &callback, NULL), CTE_OK);
    assert_int_equal(cte_client_default_close(), CTE_OK);
    assert_int_equal(closing.calls, 1);
    unsetenv("CTE_STORE_DIRECTORY");
    unsetenv("CTE_STORE_NAME");
    unsetenv("CTE_RAM_CAPACITY");
}

static void stop_at_gate(void *context, cte_status status)
{
    (void)status;
    test_pass_gate(&context, NULL);
}

/* What a forked child finds; 0 if all is well. */
static int look_from_child(cte_task *running, cte_task *queued, cte_task *complete)
{
    cte_task *own, *tasks[] = {running, queued};
    size_t index;
    char byte = 0;
    if (test_workers() != 0)
        return 1;
    if (cte_task_wait(running, -1) != -ESRCH || cte_task_wait(queued, -1) != -ESRCH ||
        cte_task_wait(queued, 0) != -ETIMEDOUT ||
        cte_task_wait_any(tasks, 2, -1, &index) != -ESRCH ||
        cte_task_status(queued) != -EINPROGRESS || cte_task_cancel(queued))
        return 2;
    if (cte_task_wait(complete, -1) != CTE_OK || cte_task_status(complete) != CTE_OK)
        return 3;
    cte_task_free(running);
    cte_task_free(queued);
    cte_task_free(complete);
    /* The same name, so the same lane, where the parent's task still runs. */
    if (cte_blob_put_async(tag, "blob", 0, "c", 1, 1.0f, 0, NULL, &own) != CTE_OK ||
        cte_task_wait(own, -1) != CTE_OK || cte_task_status(own) != CTE_OK)
        return 4;
    cte_task_free(own);
    if (test_workers() != 1 || cte_blob_get(tag, "blob", 0, &byte, 1, NULL) != CTE_OK ||
        byte != 'c')
        return 5;
    return cte_client_close(client) == CTE_OK ? 0 : 6;
}

static void test_fork(void **state)
{
    (void)state;
    if (!TEST_FORK_WITH_THREADS)
        skip();
    struct test_gate gate = TEST_GATE_INIT;
    cte_task_callback callback = {stop_at_gate, &gate};
    cte_task *running, *queued, *complete;
    assert_int_equal(cte_blob_put_async(tag, "other", 0, "x", 1, 1.0f, 0, NULL, &complete), CTE_OK);
    assert_int_equal(cte_task_wait(complete, -1), CTE_OK);
    assert_int_equal(cte_blob_put_async(tag, "blob", 0, "x", 1, 1.0f, 0, &callback, &running),
                     CTE_OK);
    assert_int_equal(cte_blob_put_async(tag, "blob", 0, "p", 1, 1.0f, 0, NULL, &queued), CTE_OK);
    test_await_gate(&gate, 1);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(look_from_child(running, queued, complete));
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
    test_open_gate(&gate);
    assert_int_equal(finish(running), CTE_OK);
    assert_int_equal(finish(queued), CTE_OK);
    assert_int_equal(finish(complete), CTE_OK);
    char byte = 0;
    assert_int_equal(cte_blob_get(tag, "blob", 0, &byte, 1, NULL), CTE_OK);
    assert_int_equal(byte, 'p');
}

/* Forks again and again while workers are busy: no child hangs on a lock that a thread held. */
static void test_fork_while_busy(void **state)
{
    (void)state;
    if (!TEST_FORK_WITH_THREADS)
        skip();
    fflush(NULL);
    for (int i = 0; i < 20; i++) {
        for (int j = 0; j < 30; j++) {
            char name[16];
            snprintf(name, sizeof name, "b%d", j);
            assert_int_equal(cte_blob_put_async(tag, name, 0, "x", 1, 1.0f, 0, NULL, NULL), CTE_OK);
        }
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            cte_task *own;
            alarm(60); /* rather than hang */
            if (cte_blob_size_async(tag, "none", &(uint64_t){0}, NULL, &own) != CTE_OK ||
                cte_task_wait(own, -1) != CTE_OK || cte_task_status(own) != CTE_ERR_NOT_FOUND)
                _exit(1);
            _exit(0);
        }
        int result;
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_true(WIFEXITED(result));
        assert_int_equal(WEXITSTATUS(result), 0);
    }
}

struct fork_in_callback {
    bool returns; /* the child goes on as a worker would */
    _Atomic int result;
};

/* In a child, what runs in a callback is an ordinary thread. */
static void fork_now(void *context, cte_status status)
{
    struct fork_in_callback *forked = context;
    cte_task *own;
    int result = -1;
    (void)status;
    pid_t child = fork();
    if (child == 0 && forked->returns)
        return;
    if (child == 0) {
        if (cte_blob_put_async(tag, "child", 0, "x", 1, 1.0f, 0, NULL, &own) != CTE_OK ||
            cte_task_wait(own, -1) != CTE_OK || cte_task_status(own) != CTE_OK)
            _exit(1);
        _exit(7);
    }
    if (child > 0)
        waitpid(child, &result, 0);
    forked->result = result;
}

static void test_fork_in_callback(void **state)
{
    (void)state;
    if (!TEST_FORK_WITH_THREADS)
        skip();
    struct fork_in_callback forked = {false, -1};
    cte_task_callback callback = {fork_now, &forked};
    cte_task *task;
    fflush(NULL);
    assert_int_equal(cte_blob_put_async(tag, "blob", 0, "x", 1, 1.0f, 0, &callback, &task), CTE_OK);
    assert_int_equal(finish(task), CTE_OK);
    assert_true(WIFEXITED(forked.result));
    assert_int_equal(WEXITSTATUS(forked.result), 7);
    if (!TEST_EXIT_IN_CHILD)
        return;
    forked = (struct fork_in_callback){true, -1};
    fflush(NULL);
    assert_int_equal(cte_blob_put_async(tag, "blob", 0, "x", 1, 1.0f, 0, &callback, &task), CTE_OK);
    assert_int_equal(finish(task), CTE_OK);
    assert_true(WIFEXITED(forked.result));
    assert_int_equal(WEXITSTATUS(forked.result), 0); /* with its last thread the child ends */
}

enum { KILLED_BLOBS = 8, KILLED_BYTES = 20000 };

/* Puts, replaces and deletes blobs, each filled with one byte, until it is killed; says when it is
 * at it. */
static void churn(int ready_fd)
{
    static char bytes[256][KILLED_BYTES];
    cte_config *config = test_config(directory, 16, 0, "");
    cte_client *own;
    cte_tag *churned;
    if (cte_client_open(config, &own) != CTE_OK ||
        cte_tag_open(own, "churn", true, &churned) != CTE_OK)
        _exit(1);
    for (int i = 0; i < 256; i++)
        memset(bytes[i], i, KILLED_BYTES);
    for (unsigned i = 0;; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%u", i % KILLED_BLOBS);
        cte_status status = i % 16 == 15 ? cte_blob_delete_async(churned, name, NULL, NULL)
                                         : cte_blob_put_async(churned, name, 0, bytes[i / 8 % 256],
                                                              KILLED_BYTES, 1.0f, 0, NULL, NULL);
        if (status != CTE_OK || (i == 100 && write(ready_fd, "", 1) != 1))
            _exit(2);
    }
}

static void check_churned(const char *name)
{
    char bytes[KILLED_BYTES];
    cte_tag *churned;
    assert_int_equal(cte_tag_open(client, "churn", false, &churned), CTE_OK);
    cte_status status = cte_blob_get(churned, name, 0, bytes, sizeof bytes, NULL);
    cte_tag_close(churned);
    if (status == CTE_ERR_NOT_FOUND)
        return;
    assert_int_equal(status, CTE_OK);
    for (int i = 1; i < KILLED_BYTES; i++)
        assert_int_equal(bytes[i], bytes[0]);
}

/* A process that dies with several threads at work leaves whole blobs and a store in order. */
static void test_kill(void **state)
{
    (void)state;
    fflush(NULL);
    for (int round = 0; round < 10; round++) {
        int fds[2];
        char byte;
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            churn(fds[1]);
        close(fds[1]);
        assert_int_equal(read(fds[0], &byte, 1), 1);
        close(fds[0]);
        test_pause(3 * round);
        assert_int_equal(kill(child, SIGKILL), 0);
        int result;
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_true(WIFSIGNALED(result));
        for (int i = 0; i < KILLED_BLOBS; i++) {
            char name[16];
            snprintf(name, sizeof name, "b%d", i);
            check_churned(name);
        }
        cte__store_sweep(tag->store);
        test_audit(tag->store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_thread_without_tasks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_blobs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_facts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tags, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ids, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_telemetry, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_targets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_close_pending, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_default_client, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fork, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fork_while_busy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fork_in_callback, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kill, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
