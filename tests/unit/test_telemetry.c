/* SPDX-License-Identifier: BSD-3-Clause */
/* Telemetry as a user sees it: what the functions of a store leave in it. */
#include <errno.h>
#include <sys/wait.h>

#include <cte/target.h>
#include <cte/telemetry.h>

#include "store_helpers.h"

enum { CAPACITY = 4096 };

struct fixture {
    char directory[256];
    cte_client *client;
    cte_tag *tag;
    cte_telemetry_entry entries[CAPACITY];
    size_t count;
    uint64_t time; /* of the last entry seen */
};

static void open_client(struct fixture *f, const char *more)
{
    test_directory(f->directory, sizeof f->directory);
    cte_config *config = test_config(f->directory, 8, 8, more);
    assert_int_equal(cte_client_open(config, &f->client), CTE_OK);
    cte_config_free(config);
    f->time = 0;
    assert_int_equal(cte_tag_open(f->client, "tag", true, &f->tag), CTE_OK);
}

static void close_client(struct fixture *f)
{
    cte_tag_close(f->tag);
    assert_int_equal(cte_tag_delete(f->client, "tag"), CTE_OK);
    assert_int_equal(cte_client_close(f->client), CTE_OK);
    test_remove_directory(f->directory);
}

/* What happened since the last time; nothing may be lost. */
static void poll_all(struct fixture *f)
{
    uint64_t dropped;
    assert_int_equal(
        cte_telemetry_poll(f->client, f->time, f->entries, CAPACITY, &f->count, &dropped), CTE_OK);
    assert_int_equal(dropped, 0);
    for (size_t i = 0; i < f->count; i++) {
        assert_true(f->entries[i].logical_time > f->time);
        f->time = f->entries[i].logical_time;
    }
}

/* The one thing that happened since. */
static const cte_telemetry_entry *poll_one(struct fixture *f, cte_telemetry_op op)
{
    poll_all(f);
    assert_int_equal(f->count, 1);
    assert_int_equal(f->entries[0].op, op);
    assert_int_equal(f->entries[0].pid, getpid());
    return &f->entries[0];
}

static void check_blob(const struct fixture *f, const cte_telemetry_entry *entry, const char *name)
{
    cte_blob_id id = cte_blob_id_of(f->tag, name);
    cte_tag_id tag_id = cte_tag_get_id(f->tag);
    assert_memory_equal(&entry->blob_id, &id, sizeof id);
    assert_memory_equal(&entry->tag_id, &tag_id, sizeof tag_id);
}

static void test_blob_operations(void **state)
{
    struct fixture *f = *state;
    static char bytes[10000];
    size_t got;
    uint64_t size;
    float score;
    cte_blob_info info;
    open_client(f, "telemetry: {enabled: true}\n");
    const cte_telemetry_entry *e = poll_one(f, CTE_OP_TAG_OPEN);
    cte_tag_id id = cte_tag_get_id(f->tag);
    assert_memory_equal(&e->tag_id, &id, sizeof id);
    assert_int_equal(e->blob_id.major | e->blob_id.minor, 0);

    assert_int_equal(cte_blob_put(f->tag, "a", 100, bytes, sizeof bytes, 1.0f, 0), CTE_OK);
    e = poll_one(f, CTE_OP_BLOB_PUT);
    check_blob(f, e, "a");
    assert_int_equal(e->offset, 100);
    assert_int_equal(e->size, sizeof bytes);
    assert_int_equal(e->status, CTE_OK);
    assert_true(e->target < 2);
    assert_int_equal(e->read_ns, 0);
    assert_true(e->duration_ns > 0);
    assert_int_equal(cte_blob_get_info(f->tag, "a", &info), CTE_OK);
    assert_true(e->modified_ns == info.modified_ns);
    e = poll_one(f, CTE_OP_BLOB_INFO);
    check_blob(f, e, "a");

    assert_int_equal(cte_blob_get(f->tag, "a", 5, bytes, 50, &got), CTE_OK);
    e = poll_one(f, CTE_OP_BLOB_GET);
    check_blob(f, e, "a");
    assert_int_equal(e->offset, 5);
    assert_int_equal(e->size, 50);
    assert_true(e->read_ns > 0);
    assert_true(e->modified_ns == info.modified_ns);

    assert_int_equal(cte_blob_size(f->tag, "a", &size), CTE_OK);
    assert_int_equal(poll_one(f, CTE_OP_BLOB_SIZE)->size, 10100);
    assert_int_equal(cte_blob_score(f->tag, "a", &score), CTE_OK);
    poll_one(f, CTE_OP_BLOB_SCORE);
    assert_int_equal(cte_blob_reorganize(f->tag, "a", 0.5f, NULL), CTE_OK);
    assert_int_equal(poll_one(f, CTE_OP_BLOB_REORGANIZE)->size, 10100);
    assert_int_equal(cte_tag_size(f->tag, &size), CTE_OK);
    assert_int_equal(poll_one(f, CTE_OP_TAG_SIZE)->size, 10100);
    assert_int_equal(cte_blob_delete(f->tag, "a"), CTE_OK);
    check_blob(f, poll_one(f, CTE_OP_BLOB_DELETE), "a");
    close_client(f);
}

static void test_names_and_blocks(void **state)
{
    struct fixture *f = *state;
    static char bytes[10000];
    cte_blob_block block;
    cte_tag_id id, found;
    uint64_t offset;
    uint32_t count;
    open_client(f, "telemetry: {enabled: true}\n");
    poll_all(f);
    assert_int_equal(cte_blob_append(f->tag, "a", bytes, 6000, 1.0f, &offset), CTE_OK);
    const cte_telemetry_entry *e = poll_one(f, CTE_OP_BLOB_APPEND);
    check_blob(f, e, "a");
    assert_int_equal(e->offset, 0);
    assert_int_equal(cte_blob_append(f->tag, "a", bytes, 4000, 1.0f, &offset), CTE_OK);
    e = poll_one(f, CTE_OP_BLOB_APPEND);
    assert_int_equal(e->offset, 6000);
    assert_int_equal(e->size, 4000);
    assert_int_equal(cte_blob_rename(f->tag, "a", "b", 0), CTE_OK);
    check_blob(f, poll_one(f, CTE_OP_BLOB_RENAME), "a");
    assert_int_equal(cte_blob_rename(f->tag, "a", "c", 0), CTE_ERR_NOT_FOUND);
    assert_int_equal(poll_one(f, CTE_OP_BLOB_RENAME)->status, CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_blocks(f->tag, "b", &block, 1, &count), CTE_OK);
    check_blob(f, poll_one(f, CTE_OP_BLOB_BLOCKS), "b");
    id = cte_tag_get_id(f->tag);
    assert_int_equal(cte_tag_find(f->client, "tag", &found), CTE_OK);
    e = poll_one(f, CTE_OP_TAG_FIND);
    assert_memory_equal(&e->tag_id, &id, sizeof id);
    assert_int_equal(cte_tag_find(f->client, "none", &found), CTE_ERR_NOT_FOUND);
    assert_int_equal(poll_one(f, CTE_OP_TAG_FIND)->status, CTE_ERR_NOT_FOUND);
    close_client(f);
}

static void test_targets(void **state)
{
    struct fixture *f = *state;
    char path[300], name[PATH_MAX], error[512];
    cte_config *config;
    cte_target_info info;
    uint64_t lost;
    open_client(f, "telemetry: {enabled: true}\n");
    poll_all(f);
    assert_int_equal(cte_client_flush(f->client, CTE_PERSIST_NODE, &lost), CTE_OK);
    assert_int_equal(poll_one(f, CTE_OP_FLUSH)->size, lost);
    snprintf(path, sizeof path, "%s/more", f->directory);
    assert_int_equal(cte_config_new(&config, error, sizeof error), CTE_OK);
    assert_int_equal(cte_config_add_target(config, "file", path, "4MiB", error, sizeof error),
                     CTE_OK);
    assert_int_equal(cte_target_register(f->client, config, 0), CTE_OK);
    const cte_telemetry_entry *e = poll_one(f, CTE_OP_TARGET_REGISTER);
    uint32_t target = e->target;
    assert_int_equal(e->size, 4 << 20);
    assert_int_equal(cte_telemetry_target_name(f->client, target, name, sizeof name), CTE_OK);
    assert_string_equal(name, path);
    assert_int_equal(cte_telemetry_target_name(f->client, target, name, 5), -ERANGE);
    assert_int_equal(cte_telemetry_target_name(f->client, target, NULL, 5), -EINVAL);
    assert_int_equal(cte_target_get_info(f->client, path, &info), CTE_OK);
    assert_int_equal(poll_one(f, CTE_OP_TARGET_STAT)->target, target);
    assert_int_equal(cte_target_get_info(f->client, "/none", &info), CTE_ERR_NOT_FOUND);
    assert_int_equal(poll_one(f, CTE_OP_TARGET_STAT)->status, CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_target_stat(f->client), CTE_OK);
    assert_int_equal(poll_one(f, CTE_OP_TARGET_STAT)->target, CTE_TELEMETRY_NO_TARGET);
    assert_int_equal(cte_target_unregister(f->client, path), CTE_OK);
    assert_int_equal(poll_one(f, CTE_OP_TARGET_UNREGISTER)->target, target);
    assert_int_equal(cte_target_unregister(f->client, path), CTE_ERR_NOT_FOUND);
    assert_int_equal(poll_one(f, CTE_OP_TARGET_UNREGISTER)->status, CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_telemetry_target_name(f->client, target, name, sizeof name),
                     CTE_ERR_NOT_FOUND);
    assert_int_equal(
        cte_telemetry_target_name(f->client, CTE_TELEMETRY_NO_TARGET, name, sizeof name),
        CTE_ERR_NOT_FOUND);
    cte_config_free(config);
    close_client(f);
}

static void test_failures(void **state)
{
    struct fixture *f = *state;
    char byte;
    open_client(f, "telemetry: {enabled: true}\n");
    poll_all(f);
    assert_int_equal(cte_blob_get(f->tag, "none", 0, &byte, 1, NULL), CTE_ERR_NOT_FOUND);
    const cte_telemetry_entry *e = poll_one(f, CTE_OP_BLOB_GET);
    check_blob(f, e, "none");
    assert_int_equal(e->status, CTE_ERR_NOT_FOUND);
    assert_int_equal(e->target, CTE_TELEMETRY_NO_TARGET);
    assert_int_equal(cte_blob_put(f->tag, NULL, 0, &byte, 1, 1.0f, 0), -EINVAL);
    e = poll_one(f, CTE_OP_BLOB_PUT);
    assert_int_equal(e->status, -EINVAL);
    assert_int_equal(e->blob_id.major | e->blob_id.minor, 0);
    assert_int_equal(cte_blob_put(NULL, "a", 0, &byte, 1, 1.0f, 0), -EINVAL);
    cte_tag *tag;
    assert_int_equal(cte_tag_open(f->client, "other", false, &tag), CTE_ERR_NOT_FOUND);
    assert_int_equal(poll_one(f, CTE_OP_TAG_OPEN)->status, CTE_ERR_NOT_FOUND);

    size_t count;
    assert_int_equal(cte_telemetry_poll(f->client, 0, NULL, 1, &count, NULL), -EINVAL);
    assert_int_equal(cte_telemetry_poll(f->client, 0, f->entries, 0, &count, NULL), -EINVAL);
    assert_int_equal(cte_telemetry_poll(f->client, 0, f->entries, 1, NULL, NULL), -EINVAL);
    assert_int_equal(cte_telemetry_poll(f->client, 0, f->entries, 1, &count, NULL), CTE_OK);
    assert_int_equal(count, 1);
    assert_string_equal(cte_telemetry_op_name(CTE_OP_BLOB_PUT), "put");
    assert_string_equal(cte_telemetry_op_name((cte_telemetry_op)200), "unknown");
    assert_int_equal(cte_blob_id_of(f->tag, "").major, 0);
    close_client(f);
}

static cte_status get_blob(void *context, const char *name)
{
    struct fixture *f = context;
    char byte;
    return cte_blob_get(f->tag, name, 0, &byte, 1, NULL);
}

/* Calls within calls leave entries of their own. */
static void test_nested(void **state)
{
    struct fixture *f = *state;
    open_client(f, "telemetry: {enabled: true}\n");
    static char bytes[8192];
    assert_int_equal(cte_blob_put(f->tag, "a", 0, bytes, sizeof bytes, 1.0f, 0), CTE_OK);
    poll_all(f);
    assert_int_equal(cte_tag_list_matching(f->tag, ".", 0, get_blob, f), CTE_OK);
    poll_all(f);
    assert_int_equal(f->count, 2);
    assert_int_equal(f->entries[0].op, CTE_OP_BLOB_GET);
    assert_true(f->entries[0].target < 2);
    assert_int_equal(f->entries[1].op, CTE_OP_QUERY);
    assert_int_equal(f->entries[1].target, CTE_TELEMETRY_NO_TARGET);
    assert_int_equal(f->entries[1].read_ns, 0);
    close_client(f);
}

/* A child, whose pid is its own, and a process that attached by itself. */
static void test_other_processes(void **state)
{
    struct fixture *f = *state;
    int status;
    open_client(f, "telemetry: {enabled: true}\n");
    poll_all(f);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("PMI_RANK", "7", 1);
        for (uint64_t i = 0; i < 100; i++)
            if (cte_blob_put(f->tag, "child", i, "x", 1, 1.0f, 0) != CTE_OK)
                _exit(1);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(cte_blob_put(f->tag, "parent", i, "x", 1, 1.0f, 0), CTE_OK);
    poll_all(f);
    assert_int_equal(f->count, 110);
    for (size_t i = 0; i < f->count; i++) {
        assert_int_equal(f->entries[i].pid, i < 100 ? child : getpid());
        assert_int_equal(f->entries[i].rank, i < 100 ? 7 : -1);
        assert_int_equal(f->entries[i].offset, i < 100 ? i : i - 100);
        check_blob(f, &f->entries[i], i < 100 ? "child" : "parent");
    }
    close_client(f);
}

static void test_ring_is_bounded(void **state)
{
    struct fixture *f = *state;
    uint64_t dropped, size;
    open_client(f, "telemetry: {enabled: true, entries: 64}\n");
    for (int i = 0; i < 1000; i++)
        assert_int_equal(cte_tag_size(f->tag, &size), CTE_OK);
    assert_int_equal(cte_telemetry_poll(f->client, 0, f->entries, CAPACITY, &f->count, &dropped),
                     CTE_OK);
    assert_int_equal(f->count, 64);
    assert_int_equal(dropped, 1001 - 64);
    close_client(f);
}

static void test_switched_off(void **state)
{
    struct fixture *f = *state;
    open_client(f, NULL);
    assert_int_equal(cte_blob_put(f->tag, "a", 0, "x", 1, 1.0f, 0), CTE_OK);
    poll_all(f);
    assert_int_equal(f->count, 0);
    close_client(f);
}

int main(void)
{
    static struct fixture fixture;
    unsetenv("PMI_RANK");
    unsetenv("CTE_TELEMETRY");
#define TEST(function)                                                                             \
    {                                                                                              \
#function, function, NULL, NULL, &fixture                                                  \
    }
    const struct CMUnitTest tests[] = {
        TEST(test_blob_operations), TEST(test_names_and_blocks), TEST(test_targets),
        TEST(test_failures),        TEST(test_nested),           TEST(test_other_processes),
        TEST(test_ring_is_bounded), TEST(test_switched_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
