/* SPDX-License-Identifier: BSD-3-Clause */
/* A node that goes down after a process was killed, or a call failed, at every step of a change, of
 * a new generation of the journal, or of bringing the store back: every blob is old or new. */
#include "store_helpers.h"

#include <errno.h>
#include <xxhash.h>

#include <cte/blob.h>
#include <cte/store.h>

#include "file/client.h"
#include "points.h"
#include "process.h"
#include "store/journal.h"

enum { BYTES = 9000, STEPS_MAX = 20000, GUARD_SECONDS = 280 };

static const char *const names[] = {"pages", "other", "small", "hot", "new"};
enum { NAMES = sizeof names / sizeof names[0] };

/* What is there of each name: 0 nothing, else a hash of the bytes. */
struct seen {
    uint64_t blob[NAMES];
};

struct node {
    char directory[256];
    cte_config *config;
    cte_client *client;
    cte_tag *tag;
    cte_status (*act)(struct node *node);
    long step;
    unsigned long kills, failures;
};

static void node_open(struct node *node)
{
    assert_int_equal(cte_client_open(node->config, &node->client), CTE_OK);
    assert_int_equal(cte_tag_open(node->client, "tag", true, &node->tag), CTE_OK);
}

static cte_status put(struct node *node, const char *name, char value, size_t bytes, float score)
{
    static char memory[BYTES];
    memset(memory, value, bytes);
    return cte_blob_put(node->tag, name, 0, memory, bytes, score, CTE_BLOB_REPLACE);
}

static void prepare(struct node *node)
{
    cte_status status = cte_blob_delete(node->tag, "new");
    assert_true(status == CTE_OK || status == CTE_ERR_NOT_FOUND);
    assert_int_equal(put(node, "pages", 'p', BYTES, 0.0f), CTE_OK);
    assert_int_equal(put(node, "other", 'o', BYTES - 1000, 0.0f), CTE_OK);
    assert_int_equal(put(node, "small", 's', 100, 0.0f), CTE_OK);
    assert_int_equal(put(node, "hot", 'h', BYTES, 1.0f), CTE_OK);
    assert_int_equal(cte_client_flush(node->client, CTE_PERSIST_PROCESS, NULL), CTE_OK);
}

static void lose_memory(struct node *node)
{
    char path[4096];
    assert_int_equal(cte_store_path(node->config, path, sizeof path), CTE_OK);
    test_remove_directory(path);
}

static void go_down(struct node *node)
{
    lose_memory(node);
    cte_tag_close(node->tag);
    cte_client_close(node->client);
    lose_memory(node);
}

static void look(struct node *node, struct seen *seen)
{
    static char bytes[BYTES];
    size_t size;
    test_audit(node->client->store);
    for (int i = 0; i < NAMES; i++) {
        cte_status status = cte_blob_get(node->tag, names[i], 0, bytes, sizeof bytes, &size);
        if (status != CTE_ERR_NOT_FOUND)
            assert_int_equal(status, CTE_OK);
        seen->blob[i] = status == CTE_OK ? XXH3_64bits(bytes, size) : 0;
    }
}

static void reboot_and_look(struct node *node, struct seen *seen)
{
    go_down(node);
    node_open(node);
    look(node, seen);
}

static cte_status act_put_new(struct node *node)
{
    return put(node, "new", 'n', BYTES, 0.0f);
}

static cte_status act_overwrite(struct node *node)
{
    return put(node, "pages", 'q', BYTES - 3000, 0.0f);
}

static cte_status act_put_part(struct node *node)
{
    return cte_blob_put(node->tag, "pages", 3000, "part", 4, 0.0f, 0);
}

static cte_status act_small(struct node *node)
{
    return put(node, "small", 't', 200, 0.0f);
}

static cte_status act_grow(struct node *node)
{
    return put(node, "small", 'u', BYTES, 0.0f);
}

static cte_status act_delete(struct node *node)
{
    return cte_blob_delete(node->tag, "pages");
}

static cte_status act_promote(struct node *node)
{
    return cte_blob_reorganize(node->tag, "pages", 1.0f, NULL);
}

static cte_status act_demote(struct node *node)
{
    return cte_blob_reorganize(node->tag, "hot", 0.0f, NULL);
}

static cte_status act_rename(struct node *node)
{
    return cte_blob_rename(node->tag, "pages", "new", 0);
}

static cte_status act_rename_over(struct node *node)
{
    return cte_blob_rename(node->tag, "pages", "other", CTE_BLOB_REPLACE);
}

static cte_status act_delete_tag(struct node *node)
{
    return cte_tag_delete(node->client, "tag");
}

static cte_status act_renew(struct node *node)
{
    return cte__journal_renew(node->client->store);
}

static const struct {
    const char *name;
    cte_status (*act)(struct node *node);
    int distance;
} acts[] = {
    {"put", act_put_new, 1},
    {"overwrite", act_overwrite, 1},
    {"put a part", act_put_part, 1},
    {"small", act_small, 1},
    {"grow", act_grow, 1},
    {"delete", act_delete, 1},
    {"promote", act_promote, 1},
    {"demote", act_demote, 1},
    {"rename", act_rename, 1},
    {"rename over", act_rename_over, 1},
    {"delete tag", act_delete_tag, 17},
    {"renew", act_renew, 17},
};

static int act_until_killed(void *context)
{
    struct node *node = context;
    points_kill_at(POINT_ANY, node->step);
    cte_status status = node->act(node);
    points_disarm();
    return status == CTE_OK ? 0 : 1;
}

/* What another process does after the death, on the pages that the dead one had. */
static void live_on(struct node *node)
{
    char name[16];
    cte__store_sweep(node->client->store);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "extra %d", i);
        assert_int_equal(put(node, name, 'x', BYTES, 0.0f), CTE_OK);
    }
}

static void expect_old_or_new(const char *what, long step, const struct seen *now,
                              const struct seen *before, const struct seen *after)
{
    if (memcmp(now, before, sizeof *now) != 0 && memcmp(now, after, sizeof *now) != 0)
        fail_msg("%s, step %ld: neither old nor new", what, step);
}

static void node_make(struct node *node)
{
    memset(node, 0, sizeof *node);
    test_directory(node->directory, sizeof node->directory);
    node->config = test_config(node->directory, 2, 4, "");
    node_open(node);
}

static void node_remove(struct node *node)
{
    cte_tag_close(node->tag);
    cte_client_close(node->client);
    cte_config_free(node->config);
    test_remove_directory(node->directory);
}

static void kill_at_every_step(struct node *node, size_t a)
{
    struct seen before, after, now;
    enum process_end end = PROCESS_KILLED;
    node->act = acts[a].act;
    prepare(node);
    reboot_and_look(node, &before);
    prepare(node);
    assert_int_equal(node->act(node), CTE_OK);
    reboot_and_look(node, &after);
    for (node->step = 1; end == PROCESS_KILLED; node->step += acts[a].distance) {
        assert_true(node->step < STEPS_MAX);
        prepare(node);
        end = process_run(act_until_killed, node);
        node->kills += end == PROCESS_KILLED;
        if (node->step % 3 == 0) {
            /* A tag that was deleted is no place to live on in. */
            cte_tag_close(node->tag);
            assert_int_equal(cte_tag_open(node->client, "tag", true, &node->tag), CTE_OK);
            live_on(node);
        }
        reboot_and_look(node, &now);
        expect_old_or_new(acts[a].name, node->step, &now, &before, &after);
    }
}

static void test_killed_before_the_node_goes_down(void **state)
{
    (void)state;
    struct node node;
    node_make(&node);
    for (size_t a = 0; a < sizeof acts / sizeof acts[0]; a++)
        kill_at_every_step(&node, a);
    printf("kills %lu\n", node.kills);
    assert_true(node.kills > 100);
    node_remove(&node);
}

/* The journal cannot be written: the change is done all the same, and a flush makes it survive. */
static void test_appends_fail(void **state)
{
    static const int errors[] = {ENOSPC, EIO};
    (void)state;
    struct node node;
    struct seen before, after;
    node_make(&node);
    for (size_t a = 0; a < sizeof acts / sizeof acts[0]; a++) {
        if (acts[a].act == act_renew || acts[a].act == act_delete_tag)
            continue;
        prepare(&node);
        points_fail_at(POINT_APPEND, 1, errors[a % 2]);
        assert_int_equal(acts[a].act(&node), CTE_OK);
        points_disarm();
        assert_true(points_fired());
        node.failures++;
        assert_true(atomic_load(&node.client->store->header->journal.broken) != CTE_OK);
        uint64_t volatile_bytes;
        points_fail_at(POINT_APPEND, 1, errors[a % 2]);
        assert_true(cte_client_flush(node.client, CTE_PERSIST_NODE, &volatile_bytes) != CTE_OK);
        points_disarm();
        assert_int_equal(cte_client_flush(node.client, CTE_PERSIST_NODE, &volatile_bytes), CTE_OK);
        assert_int_equal(atomic_load(&node.client->store->header->journal.broken), CTE_OK);
        look(&node, &before);
        if (acts[a].act != act_demote)
            before.blob[3] = 0; /* hot */
        if (acts[a].act == act_promote)
            before.blob[0] = 0;
        reboot_and_look(&node, &after);
        assert_memory_equal(&before, &after, sizeof before);
    }
    node_remove(&node);
}

static int open_until_killed(void *context)
{
    struct node *node = context;
    points_kill_at(POINT_ANY, node->step);
    cte_status status = cte_client_open(node->config, &node->client);
    points_disarm();
    return status == CTE_OK ? 0 : 1;
}

static void test_killed_while_bringing_back(void **state)
{
    (void)state;
    struct node node;
    struct seen before, now;
    enum process_end end = PROCESS_KILLED;
    node_make(&node);
    prepare(&node);
    reboot_and_look(&node, &before);
    /* Most steps are locks that nobody else can hold. */
    for (node.step = 1; end == PROCESS_KILLED; node.step += node.step < 100 ? 1 : 7) {
        assert_true(node.step < STEPS_MAX);
        go_down(&node);
        end = process_run(open_until_killed, &node);
        if (node.step % 2)
            lose_memory(&node);
        node_open(&node);
        look(&node, &now);
        assert_memory_equal(&now, &before, sizeof now);
    }
    printf("last step %ld\n", node.step);
    node_remove(&node);
}

static void test_failed_while_bringing_back(void **state)
{
    static const int errors[] = {ENOMEM, ENOSPC, EIO};
    (void)state;
    struct node node;
    struct seen before, now;
    node_make(&node);
    prepare(&node);
    reboot_and_look(&node, &before);
    for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++) {
        bool fired = true;
        for (long step = 1; fired; step++) {
            assert_true(step < STEPS_MAX);
            go_down(&node);
            points_fail_at(POINT_ANY & ~POINT_LOCK & ~POINT_CLOCK, step, errors[e]);
            cte_status status = cte_client_open(node.config, &node.client);
            points_disarm();
            fired = points_fired();
            node.failures += fired;
            assert_true(status == CTE_OK || fired);
            if (status == CTE_OK)
                cte_client_close(node.client);
            node_open(&node);
            look(&node, &now);
            assert_memory_equal(&now, &before, sizeof now);
        }
    }
    printf("failures %lu\n", node.failures);
    node_remove(&node);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_before_the_node_goes_down),
        cmocka_unit_test(test_appends_fail),
        cmocka_unit_test(test_killed_while_bringing_back),
        cmocka_unit_test(test_failed_while_bringing_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    /* Thousands of stores: where syncing costs nothing, if the user has not said where. */
    setenv("TMPDIR", "/dev/shm", 0);
    setenv("CTE_LOG_LEVEL", "off", 0);
    return process_guard(all_tests, GUARD_SECONDS);
}
