/* SPDX-License-Identifier: BSD-3-Clause */
/* A configuration made by the program, key by key. */
#include "config_helpers.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static cte_config *new_config(void)
{
    cte_config *config;
    if (cte_config_new(&config, error, sizeof error) != CTE_OK)
        fail_msg("%s", error);
    assert_string_equal(error, "");
    return config;
}

static void set(cte_config *config, const char *key, const char *value)
{
    if (cte_config_set(config, key, value, error, sizeof error) != CTE_OK)
        fail_msg("%s", error);
    assert_string_equal(error, "");
}

static const char *get(const cte_config *config, const char *key)
{
    static char text[256];
    assert_int_equal(cte_config_get(config, key, text, sizeof text), CTE_OK);
    return text;
}

/* Each key of the table, a value that is not its default, and what it reads as afterwards. */
static const char *const settings[][3] = {
    {"log_level", "DEBUG", "debug"},
    {"worker_count", "7", "7"},
    {"store", "keep", "keep"},
    {"store.name", "mine", "mine"},
    {"store.directory", "/tmp", "/tmp"},
    {"store.keep", "no", "false"},
    {"storage[0].path", "label", "label"},
    {"storage[0].bdev_type", "RAM", "ram"},
    {"storage[0].capacity_limit", "2048KiB", "2MiB"},
    {"storage[0].score", ".25", "0.25"},
    {"targets.max_targets", "3", "3"},
    {"performance.score_threshold", "0.125", "0.125"},
    {"queues.stats.lane_count", "9", "9"},
    {"queues.stats.priority", "low_latency", "low_latency"},
    {"dpe.dpe_type", "random", "random"},
    {"file.chunk_size", "2MiB", "2MiB"},
    {"file.drain", "async", "async"},
    {"file.sync", "pfs", "pfs"},
    {"file.include", "/a b/*:*.h5:", "/a b/*:*.h5"},
};

static void test_set_and_get(void **state)
{
    (void)state;
    cte_config *config = new_config();
    for (size_t i = 0; i < COUNT(settings); i++) {
        set(config, settings[i][0], settings[i][1]);
        assert_string_equal(get(config, settings[i][0]), settings[i][2]);
    }
    assert_string_equal(get(config, "store"), "auto");
    assert_string_equal(get(config, "file.exclude"), "");
    char text[8];
    assert_int_equal(cte_config_get(config, "file.include", text, sizeof text), -ENOBUFS);
    assert_string_equal(text, "");
    assert_int_equal(cte_config_get(config, "file.inclde", text, sizeof text), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_config_get(config, "storage[1].path", text, sizeof text),
                     CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_config_get(config, "file", text, sizeof text), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_config_get(config, "file.mode", text, 0), -EINVAL);
    assert_int_equal(cte_config_get(NULL, "file.mode", text, sizeof text), -EINVAL);
    cte_config_free(config);
}

/* Every key can be set to what it is, and shows where it came from. */
static void test_every_key(void **state)
{
    (void)state;
    cte_config *config = new_config();
    set(config, "storage[0].score", "0.5");
    set(config, "storage[0].path", "label");
    set(config, "file.exclude", "/x/*");
    set(config, "file.include", "/y/*");
    for (size_t i = 0; i < cte__config_key_count; i++) {
        const struct cte__config_key *key = &cte__config_keys[i];
        char name[128], value[PATH_MAX];
        bool storage = strcmp(key->section, "storage") == 0;
        snprintf(name, sizeof name, "%s%s%s%s", key->section, storage ? "[0]" : "",
                 key->section[0] ? "." : "", key->name);
        assert_int_equal(cte_config_get(config, name, value, sizeof value), CTE_OK);
        if (storage && value[0] == '\0')
            continue; /* a key that this kind of target does not have */
        set(config, name, value);
        char again[PATH_MAX];
        assert_int_equal(cte_config_get(config, name, again, sizeof again), CTE_OK);
        assert_string_equal(value, again);
    }
    char *shown;
    show(config, &shown);
    assert_null(strstr(shown, "# default"));
    assert_non_null(strstr(shown, "# set by the program"));
    cte_config *parsed = parse_ok(shown);
    assert_same(config, parsed);
    free(shown);
    cte_config_free(parsed);
    cte_config_free(config);
}

static void test_errors(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"file.drian", "async", "file.drian: unknown key 'drian' in file; did you mean 'drain'?"},
        {"fiel.drain", "async", "fiel.drain: unknown key 'drain' in fiel; "},
        {"file.drain", "asinc", "file.drain: drain 'asinc' is unknown; did you mean 'async'?"},
        {"file.chunk_size", "3MB", "file.chunk_size: chunk_size '3MB' is not a power of two"},
        {"file", "x", "file: is a section; name a key in it"},
        {"queues.stats", "x", "queues.stats: is a section"},
        {"storage.score", "1", "storage.score: name the target too, as storage[0].score"},
        {"storage[1].score", "1", "storage[1].score: there are 1 targets, counted from 0"},
        {"storage[-1].score", "1", "storage[-1].score: a target is named by its number"},
        {"storage[x].score", "1", "storage[x].score: a target is named by its number"},
        {"storage[0.score", "1", "storage[0.score: a target is named by its number"},
        {"storage[].score", "1", "storage[].score: a target is named by its number"},
        {"storage[0].scor", "1", "storage[0].scor: unknown key 'scor' in storage; did you mean"},
        {"storage[0].score", "1.5", "storage[0].score: score '1.5' is not a score"},
        {"storage[0].bdev_type", "file", "storage[0].bdev_type: a file target needs a path"},
        {"file.include", "/ok/*:bad", "file.include: include pattern 'bad' matches no absolute"},
        {"store.directory", "here", "store.directory: directory 'here' must be an absolute path"},
        {"store.directory", "/no/such/place", "cannot size the ram target"},
        {"", "x", "unknown key ''"},
        {".", "x", "unknown key ''"},
        {"file.drain", "", "file.drain: drain '' is unknown"},
    };
    cte_config *config = new_config();
    set(config, "file.include", "/kept/*");
    char *before, *after;
    show(config, &before);
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(cte_config_set(config, cases[i][0], cases[i][1], error, sizeof error),
                         CTE_ERR_CONFIG);
        if (!strstr(error, cases[i][2]))
            fail_msg("%s: expected \"%s\", got \"%s\"", cases[i][0], cases[i][2], error);
        assert_int_equal(cte_config_set(config, cases[i][0], cases[i][1], NULL, 0), CTE_ERR_CONFIG);
    }
    char text[1000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(cte_config_set(config, text, "x", NULL, 0), CTE_ERR_CONFIG);
    text[500] = '.';
    assert_int_equal(cte_config_set(config, text, "x", NULL, 0), CTE_ERR_CONFIG);
    assert_int_equal(cte_config_set(NULL, "file.mode", "x", NULL, 0), -EINVAL);
    assert_int_equal(cte_config_set(config, NULL, "x", NULL, 0), -EINVAL);
    assert_int_equal(cte_config_set(config, "file.mode", NULL, NULL, 0), -EINVAL);
    show(config, &after);
    assert_string_equal(before, after); /* what is refused changes nothing */
    free(before);
    free(after);
    cte_config_free(config);
}

static void test_targets(void **state)
{
    (void)state;
    cte_config *config = new_config();
    assert_int_equal(cte_config_target_count(config), 1); /* of default size */
    assert_int_equal(cte_config_add_target(config, "tape", NULL, "1GB", error, sizeof error),
                     CTE_ERR_CONFIG);
    assert_non_null(strstr(error, "storage: bdev_type 'tape' is unknown"));
    assert_int_equal(cte_config_add_target(config, "ram", NULL, NULL, error, sizeof error),
                     CTE_ERR_CONFIG);
    assert_non_null(strstr(error, "needs capacity_limit"));
    assert_int_equal(cte_config_add_target(config, NULL, NULL, "1GB", NULL, 0), CTE_ERR_CONFIG);
    assert_int_equal(cte_config_target_count(config), 1);
    assert_true(config->default_targets);
    assert_int_equal(cte_config_add_target(config, "ram", NULL, "8MiB", error, sizeof error),
                     CTE_OK);
    assert_int_equal(cte_config_target_count(config), 1);
    assert_int_equal(cte_config_add_target(config, "file", "/tmp/t", "1GB", NULL, 0), CTE_OK);
    assert_int_equal(
        cte_config_add_target(config, "file", "/tmp/../tmp/t", "1GB", error, sizeof error),
        CTE_ERR_CONFIG);
    assert_non_null(strstr(error, "is already the target of storage[1]"));
    assert_int_equal(cte_config_target_count(config), 2);
    set(config, "storage[1].score", "0.5");
    assert_string_equal(get(config, "storage[1].score"), "0.5");
    assert_string_equal(get(config, "storage[0].score"), "");
    assert_string_equal(get(config, "storage[1].path"), "/tmp/t");
    assert_int_equal(cte_config_set(config, "storage[0].path", "/tmp/t", error, sizeof error),
                     CTE_ERR_CONFIG);
    assert_string_equal(get(config, "storage[0].path"), "");
    char path[32];
    for (int i = 2; i < CTE__CONFIG_TARGETS_MAX; i++) {
        snprintf(path, sizeof path, "/tmp/t%d", i);
        assert_int_equal(cte_config_add_target(config, "file", path, "1GB", NULL, 0), CTE_OK);
    }
    assert_int_equal(cte_config_add_target(config, "file", "/tmp/more", "1GB", error, sizeof error),
                     CTE_ERR_CONFIG);
    assert_non_null(strstr(error, "more than 16 storage targets"));
    assert_int_equal(cte_config_target_count(config), CTE__CONFIG_TARGETS_MAX);
    assert_int_equal(cte_config_target_count(NULL), 0);
    cte_config_free(config);
}

/* What is set stands above variables and files; targets that nobody named follow the store. */
static void test_sources(void **state)
{
    (void)state;
    setenv("CTE_DRAIN", "async", 1);
    setenv("CTE_RAM_CAPACITY", "16MiB", 1);
    cte_config *config = new_config();
    assert_string_equal(get(config, "file.drain"), "async");
    set(config, "file.drain", "never");
    assert_string_equal(get(config, "file.drain"), "never");
    set(config, "store.directory", "/tmp");
    assert_string_equal(get(config, "storage[0].capacity_limit"), "16MiB");
    assert_true(config->default_targets);
    set(config, "storage[0].capacity_limit", "4MiB");
    set(config, "store.directory", "/dev/shm");
    assert_string_equal(get(config, "storage[0].capacity_limit"), "4MiB");
    cte_config_free(config);

    clear_environment(NULL);
    config = parse_ok("file: {drain: async}\n" RAM_TARGET);
    set(config, "file.mode", "scratch");
    assert_string_equal(get(config, "file.drain"), "async");
    assert_int_equal(cte_config_add_target(config, "file", "/tmp/t", "1GB", NULL, 0), CTE_OK);
    assert_int_equal(cte_config_target_count(config), 2);
    char *shown;
    show(config, &shown);
    assert_non_null(strstr(shown, "8MiB                    # t.yaml:3\n"));
    assert_non_null(strstr(shown, "1GiB                    # set by the program\n"));
    free(shown);
    cte_config_free(config);
}

/* A client has a copy. */
static void test_client_keeps_its_own(void **state)
{
    (void)state;
    char directory[] = "/tmp/cte-test-XXXXXX";
    assert_non_null(mkdtemp(directory));
    cte_config *config = new_config();
    set(config, "store.directory", directory);
    set(config, "store.name", "one");
    assert_int_equal(cte_config_add_target(config, "ram", NULL, "1MiB", NULL, 0), CTE_OK);
    cte_client *client;
    assert_int_equal(cte_client_open(config, &client), CTE_OK);
    set(config, "store.name", "two");
    cte_config_free(config);
    assert_int_equal(cte_client_close(client), CTE_OK);
    assert_int_equal(rmdir(directory), 0); /* it left nothing behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_set_and_get, clear_environment),
        cmocka_unit_test_setup(test_every_key, clear_environment),
        cmocka_unit_test_setup(test_errors, clear_environment),
        cmocka_unit_test_setup(test_targets, clear_environment),
        cmocka_unit_test_setup(test_sources, clear_environment),
        cmocka_unit_test_setup(test_client_keeps_its_own, clear_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
