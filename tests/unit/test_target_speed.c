/* SPDX-License-Identifier: BSD-3-Clause */
/* Measuring targets, and the scores that follow. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <cte/config.h>

#include "placement/score.h"
#include "store/store.h"
#include "target/measure.h"

enum { MIB = 1 << 20, CAPACITY = 4 * MIB };

/* ---- a target that counts ---- */

static struct {
    int opens, closes, writes, syncs;
    int fail_write; /* the nth write fails */
    cte_status open_status;
    uint64_t bytes;
} fake;

static cte_status fake_open(const struct cte__target_spec *spec, void **state)
{
    (void)spec;
    *state = &fake;
    fake.opens += fake.open_status == CTE_OK;
    return fake.open_status;
}

static cte_status fake_io(void *state, const struct cte__target_io *io)
{
    assert_ptr_equal(state, &fake);
    assert_true(io->write);
    assert_true(io->bytes > 0 && io->bytes % 4096 == 0 && io->offset % 4096 == 0);
    assert_true(io->offset + io->bytes <= CAPACITY);
    assert_true(io->offset / MIB == (io->offset + io->bytes - 1) / MIB); /* in one arena */
    fake.bytes += io->bytes;
    return ++fake.writes == fake.fail_write ? -EIO : CTE_OK;
}

static cte_status fake_sync(void *state)
{
    (void)state;
    fake.syncs++;
    return CTE_OK;
}

static void fake_close(void *state)
{
    (void)state;
    fake.closes++;
}

static struct cte__target_ops ops = {
    .kind = "fake",
    .nominal_bytes_per_s = 12345,
    .nominal_latency_ns = 678,
    .open = fake_open,
    .io = fake_io,
    .sync = fake_sync,
    .close = fake_close,
};

static char directory[64], path[96], cache_path[128];

static struct cte__target_speed measure(uint32_t capabilities)
{
    struct cte__target_spec spec = {.path = path, .capacity_bytes = CAPACITY, .arena_bytes = MIB};
    ops.capabilities = capabilities;
    fake.opens = fake.closes = fake.writes = fake.syncs = 0;
    fake.bytes = 0;
    struct cte__target_speed speed = cte__target_speed(&ops, &spec);
    assert_int_equal(fake.opens, fake.closes);
    return speed;
}

static int set_up(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof fake);
    snprintf(directory, sizeof directory, "/tmp/cte-test-speed.XXXXXX");
    if (!mkdtemp(directory))
        return 1;
    snprintf(path, sizeof path, "%s/some target", directory);
    snprintf(cache_path, sizeof cache_path, "%s/.some target.cte-speed", directory);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(cache_path);
    return rmdir(directory);
}

static void expect_nominal(const struct cte__target_speed *speed)
{
    assert_false(speed->measured);
    assert_int_equal(speed->bytes_per_s, 12345);
    assert_int_equal(speed->latency_ns, 678);
}

static void test_memory_is_measured_in_one_place(void **state)
{
    (void)state;
    struct cte__target_speed speed = measure(CTE__TARGET_SURVIVES_PROCESS);
    assert_true(speed.measured);
    assert_true(speed.bytes_per_s > 0 && speed.latency_ns > 0);
    assert_int_equal(fake.opens, 1);
    assert_true(fake.bytes <= 16 * MIB + 5 * 4096);
    assert_int_not_equal(access(cache_path, F_OK), 0); /* gone with the node: nothing to keep */
}

static void test_durable_targets_are_synced(void **state)
{
    (void)state;
    struct cte__target_speed speed = measure(CTE__TARGET_SURVIVES_NODE);
    assert_true(speed.measured);
    assert_true(fake.syncs >= 2);
    assert_true(fake.bytes <= 16 * MIB);
}

static void test_failures_give_nominal_values(void **state)
{
    (void)state;
    bool measured = false;
    for (int n = 1; n < 100 && !measured; n++) {
        fake.fail_write = n;
        struct cte__target_speed speed = measure(CTE__TARGET_SURVIVES_NODE);
        measured = fake.writes < n;
        if (!measured) {
            expect_nominal(&speed);
            assert_int_not_equal(access(cache_path, F_OK), 0);
        }
    }
    assert_true(measured);
    unlink(cache_path);
    fake.open_status = -EACCES;
    struct cte__target_speed speed = measure(CTE__TARGET_SURVIVES_NODE);
    expect_nominal(&speed);
}

static void write_cache(const char *text)
{
    FILE *file = fopen(cache_path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void test_measured_once(void **state)
{
    (void)state;
    char text[256] = "";
    struct cte__target_speed first = measure(CTE__TARGET_SURVIVES_NODE);
    assert_true(fake.writes > 0);
    struct cte__target_speed second = measure(CTE__TARGET_SURVIVES_NODE);
    assert_int_equal(fake.opens, 0);
    assert_true(second.measured);
    assert_int_equal(first.bytes_per_s, second.bytes_per_s);
    assert_int_equal(first.latency_ns, second.latency_ns);

    /* Of another kind. */
    FILE *file = fopen(cache_path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    ops.kind = "other";
    measure(CTE__TARGET_SURVIVES_NODE);
    assert_int_equal(fake.opens, 1);
    ops.kind = "fake";

    /* Damaged: a digit of a number, cut off, empty, something else. */
    write_cache(text);
    measure(CTE__TARGET_SURVIVES_NODE);
    assert_int_equal(fake.opens, 0);
    char *digit = strpbrk(strchr(text, ':'), "0123456789");
    *digit = *digit == '9' ? '8' : (char)(*digit + 1);
    write_cache(text);
    measure(CTE__TARGET_SURVIVES_NODE);
    assert_int_equal(fake.opens, 1);
    text[strlen(text) / 2] = '\0';
    write_cache(text);
    measure(CTE__TARGET_SURVIVES_NODE);
    assert_int_equal(fake.opens, 1);
    write_cache("");
    measure(CTE__TARGET_SURVIVES_NODE);
    assert_int_equal(fake.opens, 1);
}

static void test_links_are_not_followed(void **state)
{
    (void)state;
    char victim[128], text[16] = "";
    snprintf(victim, sizeof victim, "%s/victim", directory);
    FILE *file = fopen(victim, "w");
    assert_non_null(file);
    fputs("precious", file);
    fclose(file);
    assert_int_equal(symlink(victim, cache_path), 0);
    assert_true(measure(CTE__TARGET_SURVIVES_NODE).measured);
    assert_true(measure(CTE__TARGET_SURVIVES_NODE).measured);
    assert_int_equal(fake.opens, 1);
    file = fopen(victim, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    assert_string_equal(text, "precious");
    assert_int_equal(unlink(victim), 0);
}

/* ---- scores ---- */

static bool is_close(float a, float b)
{
    return a > b - 0.001f && a < b + 0.001f;
}

static void test_scores_by_examples(void **state)
{
    (void)state;
    struct cte__placement_tier tiers[] = {
        {.bytes_per_s = 8000, .kind_rank = 1.0f},
        {.bytes_per_s = 2000, .kind_rank = 0.5f},
        {.bytes_per_s = 1000, .kind_rank = 0.5f},
        {.bytes_per_s = 1, .kind_rank = 0.3f},
        {.bytes_per_s = 4000, .kind_rank = 0.5f, .manual = true, .score = 0.2f},
    };
    cte__placement_score(tiers, 5);
    assert_true(is_close(tiers[0].score, 1.0f));
    assert_true(is_close(tiers[1].score, 0.9f)); /* counts as 4000, as the one beside it */
    assert_true(is_close(tiers[2].score, 0.7f));
    assert_true(is_close(tiers[3].score, 0.1f));
    assert_true(is_close(tiers[4].score, 0.2f)); /* as given */
    static const uint64_t counts_as[] = {8000, 4000, 1000, 1, 4000};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(tiers[i].placement_bytes_per_s, counts_as[i]);

    struct cte__placement_tier alone = {.bytes_per_s = 77, .kind_rank = 0.3f};
    cte__placement_score(&alone, 1);
    assert_true(is_close(alone.score, 1.0f)); /* the fastest there is */
    cte__placement_score(NULL, 0);
}

/* Memory is above disks even if a busy machine measured it slower. */
static void test_kinds_never_tie(void **state)
{
    (void)state;
    struct cte__placement_tier tiers[] = {
        {.bytes_per_s = 5000, .kind_rank = 0.5f},
        {.bytes_per_s = 4000, .kind_rank = 1.0f},
        {.bytes_per_s = 5000, .kind_rank = 0.3f},
        {.bytes_per_s = 4000, .kind_rank = 0.8f},
    };
    cte__placement_score(tiers, 4);
    assert_true(tiers[1].score > tiers[3].score);
    assert_true(tiers[3].score > tiers[0].score);
    assert_true(tiers[0].score > tiers[2].score);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(tiers[i].placement_bytes_per_s, 4000);
}

static void test_scores_of_random_targets(void **state)
{
    (void)state;
    enum { ROUNDS = 20000, COUNT = 8 };
    const char *given = getenv("CTE_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    print_message("CTE_TEST_SEED=%u\n", seed);
    srandom(seed);
    for (int round = 0; round < ROUNDS; round++) {
        struct cte__placement_tier tiers[COUNT], given_tiers[COUNT];
        size_t count = (size_t)random() % (COUNT + 1);
        for (size_t i = 0; i < count; i++)
            tiers[i] = (struct cte__placement_tier){
                .bytes_per_s = (uint64_t)1 << random() % 40,
                .kind_rank = (float)(random() % 4) / 4,
                .manual = random() % 4 == 0,
                .score = (float)(random() % 11) / 10,
            };
        memcpy(given_tiers, tiers, sizeof tiers);
        cte__placement_score(tiers, count);
        for (size_t i = 0; i < count; i++) {
            assert_true(tiers[i].score >= 0 && tiers[i].score <= 1);
            assert_true(tiers[i].placement_bytes_per_s <= tiers[i].bytes_per_s * 2);
            if (tiers[i].manual)
                assert_true(tiers[i].score == given_tiers[i].score);
            for (size_t k = 0; k < count; k++) {
                if (tiers[k].kind_rank > tiers[i].kind_rank) {
                    assert_true(tiers[i].manual || tiers[k].manual ||
                                tiers[k].score > tiers[i].score);
                    assert_true(tiers[k].placement_bytes_per_s >= tiers[i].placement_bytes_per_s);
                }
                if (tiers[k].kind_rank == tiers[i].kind_rank &&
                    tiers[k].bytes_per_s >= tiers[i].bytes_per_s)
                    assert_true(tiers[k].placement_bytes_per_s >= tiers[i].placement_bytes_per_s);
                if (!tiers[i].manual && !tiers[k].manual &&
                    tiers[k].kind_rank == tiers[i].kind_rank &&
                    tiers[k].bytes_per_s >= tiers[i].bytes_per_s)
                    assert_true(tiers[k].score >= tiers[i].score);
            }
        }
    }
}

/* ---- a store ---- */

static void test_store_measures_its_targets(void **state)
{
    (void)state;
    char text[512], error[512], target_cache[160];
    cte_config *config;
    struct cte__store *store;
    snprintf(text, sizeof text,
             "store: {directory: %s, name: speed}\n"
             "storage:\n"
             "  - {bdev_type: file, capacity_limit: 4MiB, path: %s/disk}\n"
             "  - {bdev_type: ram, capacity_limit: 4MiB}\n"
             "  - {bdev_type: ram, path: given, capacity_limit: 4MiB, score: 0.3}\n",
             directory, directory);
    assert_int_equal(cte_config_parse(text, "test", &config, error, sizeof error), CTE_OK);
    assert_int_equal(cte__store_attach(config, &store), CTE_OK);
    const struct cte__target_record *targets = store->header->targets;
    assert_int_equal(store->header->target_count, 3);
    for (int i = 0; i < 3; i++)
        assert_true(targets[i].measured && targets[i].bytes_per_s > 0 && targets[i].latency_ns > 0);
    assert_true(targets[1].score > targets[0].score);
    assert_true(targets[2].score == 0.3f);
    assert_true(targets[1].placement_bytes_per_s >= targets[0].placement_bytes_per_s);
    /* Measuring leaves no trace in what the store counts. */
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(cte__target_free_bytes(store, i), 4 * MIB);
    cte__store_detach(store);
    cte_config_free(config);
    snprintf(target_cache, sizeof target_cache, "%s/.disk.cte-speed", directory);
    assert_int_equal(unlink(target_cache), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_memory_is_measured_in_one_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_durable_targets_are_synced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failures_give_nominal_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_measured_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_links_are_not_followed, set_up, tear_down),
        cmocka_unit_test(test_scores_by_examples),
        cmocka_unit_test(test_kinds_never_tie),
        cmocka_unit_test(test_scores_of_random_targets),
        cmocka_unit_test_setup_teardown(test_store_measures_its_targets, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("target_speed", tests, NULL, NULL);
}
