/* SPDX-License-Identifier: BSD-3-Clause */
/* What keys of the configuration change, where no other test of their own shows it. */
#include "store_helpers.h"

#include <cte/blob.h>
#include <cte/target.h>

#include "file/client.h"
#include "target/backing.h"

enum { MIB = 1 << 20, RAM_MIB = 4 };

struct fixture {
    char directory[256];
    cte_config *config;
    cte_client *client;
    cte_tag *tag;
};

static struct fixture fixture_make(const char *more)
{
    struct fixture f = {0};
    test_directory(f.directory, sizeof f.directory);
    char text[1024], error[512];
    unsetenv("CTE_STORE_NAME");
    snprintf(text, sizeof text,
             "store: {name: test, directory: '%s'}\n"
             "storage:\n  - {bdev_type: ram, capacity_limit: %dMiB, score: 0.8}\n"
             "  - {bdev_type: file, path: '%s/target', capacity_limit: 16MiB, score: 0.2}\n%s",
             f.directory, RAM_MIB, f.directory, more);
    if (cte_config_parse(text, "test", &f.config, error, sizeof error) != CTE_OK)
        fail_msg("%s", error);
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    assert_int_equal(cte_tag_open(f.client, "t", true, &f.tag), CTE_OK);
    return f;
}

static void fixture_free(struct fixture *f)
{
    cte_tag_close(f->tag);
    assert_int_equal(cte_tag_delete(f->client, "t"), CTE_OK);
    test_audit(f->client->store);
    assert_int_equal(cte_client_close(f->client), CTE_OK);
    cte_config_free(f->config);
    test_remove_directory(f->directory);
}

static cte_status put(struct fixture *f, const char *name, size_t bytes, float score)
{
    static char memory[MIB];
    assert_true(bytes <= sizeof memory);
    return cte_blob_put(f->tag, name, 0, memory, bytes, score, 0);
}

static struct cte__target_ops slow_ops;

static cte_status slow_io(void *state, const struct cte__target_io *io)
{
    struct timespec nap = {0, 60000000};
    nanosleep(&nap, NULL);
    return cte__target_file.io(state, io);
}

/* Nothing is quick on the file any more. */
static void make_slow(struct fixture *f)
{
    struct cte__open_target *open = atomic_load(&f->client->store->targets[1].open);
    slow_ops = *open->ops;
    assert_true(slow_ops.io == cte__target_file.io);
    slow_ops.io = slow_io;
    open->ops = &slow_ops;
}

/* targets.default_target_timeout_ms: who takes longer, time after time, gets nothing new. */
static void test_target_timeout(void **state)
{
    (void)state;
    struct {
        const char *text;
        cte_target_state expected;
    } cases[] = {{"targets: {default_target_timeout_ms: 20}\n", CTE_TARGET_FAILED},
                 {"targets: {default_target_timeout_ms: 0}\n", CTE_TARGET_ACTIVE},
                 {"targets: {default_target_timeout_ms: 60000}\n", CTE_TARGET_ACTIVE}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f = fixture_make(cases[i].text);
        cte_target_info info;
        char path[300];
        snprintf(path, sizeof path, "%s/target", f.directory);
        make_slow(&f);
        for (int n = 0; n < 4; n++) {
            char name[16];
            snprintf(name, sizeof name, "slow%d", n);
            assert_int_equal(put(&f, name, 8192, 0.0f), CTE_OK);
        }
        assert_int_equal(cte_target_get_info(f.client, path, &info), CTE_OK);
        assert_int_equal(info.state, cases[i].expected);
        fixture_free(&f);
    }
}

/* performance.target_stat_interval_ms: who looks has old scores computed anew. */
static void test_stat_interval(void **state)
{
    (void)state;
    struct {
        const char *text;
        bool anew;
    } cases[] = {{"performance: {target_stat_interval_ms: 1}\n", true},
                 {"performance: {target_stat_interval_ms: 0}\n", false},
                 {"performance: {target_stat_interval_ms: 86400000}\n", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f = fixture_make(cases[i].text);
        struct timespec nap = {0, 3000000};
        uint32_t count;
        uint64_t before = atomic_load(&f.client->store->header->targets_scored_ns);
        nanosleep(&nap, NULL);
        assert_int_equal(cte_client_targets(f.client, NULL, 0, &count), CTE_OK);
        uint64_t after = atomic_load(&f.client->store->header->targets_scored_ns);
        assert_int_equal(after != before, cases[i].anew);
        assert_int_equal(cte_target_stat(f.client), CTE_OK); /* does so whatever the key says */
        assert_true(atomic_load(&f.client->store->header->targets_scored_ns) != after);
        fixture_free(&f);
    }
}

/* performance.score_threshold: blobs of that score are moved up again when they are read. */
static void test_score_threshold(void **state)
{
    (void)state;
    enum { GETS = 400 };
    struct {
        const char *text;
        bool moves;
    } cases[] = {{"performance: {score_threshold: 0.7}\n", true},
                 {"performance: {score_threshold: 0.95}\n", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f = fixture_make(cases[i].text);
        cte_blob_block block;
        uint32_t count;
        char byte, name[16];
        for (int n = 0; n < RAM_MIB; n++) {
            snprintf(name, sizeof name, "filler%d", n);
            assert_int_equal(put(&f, name, MIB, 1.0f), CTE_OK);
        }
        assert_int_equal(put(&f, "hot", 65536, 0.9f), CTE_OK);
        assert_int_equal(cte_blob_blocks(f.tag, "hot", &block, 1, &count), CTE_OK);
        assert_non_null(strstr(block.target, "/target")); /* there was no room above */
        for (int n = 0; n < RAM_MIB; n++) {
            snprintf(name, sizeof name, "filler%d", n);
            assert_int_equal(cte_blob_delete(f.tag, name), CTE_OK);
        }
        for (int n = 0; n < GETS; n++)
            assert_int_equal(cte_blob_get(f.tag, "hot", 0, &byte, 1, NULL), CTE_OK);
        assert_int_equal(cte_blob_blocks(f.tag, "hot", &block, 1, &count), CTE_OK);
        assert_int_equal(strstr(block.target, "/ram.") != NULL, cases[i].moves);
        fixture_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_target_timeout),
        cmocka_unit_test(test_stat_interval),
        cmocka_unit_test(test_score_threshold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
