/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration: where values come from when no YAML gives them. */
#include "config_helpers.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[] = "/tmp/cte-config-XXXXXX"; /* of the running test */

static int make_directory(void **state)
{
    clear_environment(state);
    strcpy(strrchr(directory, '-') + 1, "XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

/* Runs also when the test failed. */
static int remove_directory(void **state)
{
    (void)state;
    static const char *const names[] = {"a.yaml", "b.yaml", "pipe"};
    char path[64];
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    return rmdir(directory);
}

static void test_defaults(void **state)
{
    (void)state;
    static const char *const empty[] = {"", "# nothing\n", "---\n", "--- ~\n...\n", "\n\n"};
    char user[32];
    snprintf(user, sizeof user, "u%lu", (unsigned long)geteuid());
    for (size_t i = 0; i < COUNT(empty); i++) {
        cte_config *config = parse_ok(empty[i]);
        assert_string_equal(config->store_name, user);
        assert_string_equal(config->store_directory, "/dev/shm");
        assert_false(config->store_keep);
        assert_int_equal(config->target_count, 1);
        assert_string_equal(config->targets[0].kind, "ram");
        assert_true(config->targets[0].capacity_bytes >= MIB);
        assert_true(config->targets[0].score < 0.0f);
        assert_int_equal(config->worker_count, 4);
        assert_int_equal(config->max_targets, CTE__CONFIG_TARGETS_MAX);
        assert_int_equal(config->max_concurrent_operations, 64);
        assert_int_equal(config->queues[CTE__QUEUE_TARGETS].lane_count, 2);
        assert_int_equal(config->queues[CTE__QUEUE_TAGS].lane_count, 2);
        assert_int_equal(config->queues[CTE__QUEUE_BLOBS].lane_count, 4);
        assert_int_equal(config->queues[CTE__QUEUE_STATS].lane_count, 1);
        assert_int_equal(config->queues[CTE__QUEUE_TAGS].priority, CTE__PRIORITY_LOW_LATENCY);
        assert_int_equal(config->queues[CTE__QUEUE_BLOBS].priority, CTE__PRIORITY_HIGH_LATENCY);
        assert_string_equal(config->placement, "max_bw");
        assert_int_equal(config->chunk_bytes, MIB);
        assert_int_equal(config->mode, CTE_FILE_MODE_DEFAULT);
        assert_int_equal(config->drain, CTE_FILE_DRAIN_ON_CLOSE);
        assert_true(config->score == 1.0f);
        assert_false(config->sync_pfs);
        assert_true(config->checksum);
        assert_int_equal(config->include.count + config->exclude.count, 0);
        assert_string_equal(config->log_level, "warn");
        cte_config_free(config);
    }
}

static void test_sizing(void **state)
{
    (void)state;
    assert_int_equal(cte__config_ram_bytes(8 * GIB, 100 * GIB), 4 * GIB);
    assert_int_equal(cte__config_ram_bytes(100 * GIB, 8 * GIB), 4 * GIB);
    assert_int_equal(cte__config_ram_bytes(100 * GIB, 300 * MIB), 128 * MIB);
    assert_int_equal(cte__config_ram_bytes(127 * MIB, GIB), 64 * MIB);
    assert_int_equal(cte__config_ram_bytes(64 * MIB, GIB), 64 * MIB);
    assert_int_equal(cte__config_ram_bytes(63 * MIB, GIB), 31 * MIB);
    assert_int_equal(cte__config_ram_bytes(MIB, GIB), 0);
    assert_int_equal(cte__config_scratch_bytes(300 * MIB), 128 * MIB);
    assert_int_equal(cte__config_scratch_bytes(127 * MIB), 0);
    assert_true(cte__config_memory_available() > 0);
}

static void expect_store_name(const char *variable, const char *id, const char *name)
{
    setenv(variable, id, 1);
    cte_config *config = parse_ok(RAM_TARGET);
    assert_string_equal(config->store_name, name);
    cte_config_free(config);
    unsetenv(variable);
}

static void test_store_name(void **state)
{
    (void)state;
    expect_store_name("SLURM_JOB_ID", "4711", "job-4711");
    expect_store_name("PBS_JOBID", "12[3].pbs/../x", "job-12_3_.pbs_.._x");
    expect_store_name("LSB_JOBID", "99", "job-99");
    expect_store_name("FLUX_JOB_ID",
                      "\xc6\x92"
                      "2a",
                      "job-__2a");
    char id[200], name[CTE__STORE_NAME_MAX];
    memset(id, 'a', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    snprintf(name, sizeof name, "job-%.*s", CTE__STORE_NAME_MAX - 5, id);
    expect_store_name("SLURM_JOB_ID", id, name);
}

static void test_scratch_target(void **state)
{
    (void)state;
    uint64_t free_bytes = 0;
    bool local = cte__config_is_local_disk(directory, &free_bytes);
    bool expected = local && cte__config_scratch_bytes(free_bytes) > 0;
    setenv("SLURM_TMPDIR", "/nonexistent", 1);
    setenv("LOCAL_SCRATCH", directory, 1);
    setenv("PBS_JOBDIR", "relative", 1);
    cte_config *config = parse_ok("store: {name: s1}");
    assert_int_equal(config->target_count, expected ? 2 : 1);
    if (expected) {
        char path[64];
        snprintf(path, sizeof path, "%s/cte-s1.target", directory);
        assert_string_equal(config->targets[1].kind, "file");
        assert_string_equal(config->targets[1].path, path);
        assert_true(config->targets[1].capacity_bytes % (64 * MIB) == 0);
        assert_true(config->targets[1].capacity_bytes <= free_bytes);
    }
    cte_config_free(config);

    /* tmpfs is memory: no second target there */
    setenv("LOCAL_SCRATCH", "/dev/shm", 1);
    config = parse_ok("");
    assert_int_equal(config->target_count, 1);
    cte_config_free(config);
    assert_false(cte__config_is_local_disk("/proc", &free_bytes));
    assert_false(cte__config_is_local_disk("/nonexistent", &free_bytes));
}

static void expect_variable_error(const char *variable, const char *value, const char *words)
{
    char start[64];
    snprintf(start, sizeof start, "environment variable %s: ", variable);
    setenv(variable, value, 1);
    expect_error(RAM_TARGET, start, words);
    unsetenv(variable);
}

static void test_environment(void **state)
{
    (void)state;
    static const char *const good[][2] = {{"CTE_STORE", "keep"},
                                          {"CTE_STORE_NAME", "env"},
                                          {"CTE_STORE_DIRECTORY", "/tmp"},
                                          {"CTE_MODE", "bypass"},
                                          {"CTE_DRAIN", "never"},
                                          {"CTE_SCORE", ".25"},
                                          {"CTE_CHUNK_SIZE", "2MB"},
                                          {"CTE_SYNC", "pfs"},
                                          {"CTE_CHECKSUM", "0"},
                                          {"CTE_INCLUDE", "/a/*:/b/*:"},
                                          {"CTE_EXCLUDE", "*.log"},
                                          {"CTE_LOG_LEVEL", "DEBUG"},
                                          {"CTE_RAM_CAPACITY", "96MiB"},
                                          {"CTE_PLACEMENT", "max_bw"},
                                          {"CTE_TELEMETRY", "on"},
                                          {"CTE_DRAIN_GRACE_S", "7"},
                                          {"CTE_DRAIN_CHAIN", "on"},
                                          {"CTE_DRAIN_SIGNALS", "usr1,term"},
                                          {"CTE_CACHE", "read"},
                                          {"CTE_PREFETCH", "strided"},
                                          {"CTE_ORGANIZER", "frecency"},
                                          {"CTE_DRAIN_THREADS", "3"},
                                          {"CTE_DRAIN_BYTES_PER_S_MAX", "5MB"}};
    for (size_t i = 0; i < COUNT(good); i++)
        setenv(good[i][0], good[i][1], 1);
    cte_config *config = parse_ok("file: {include: [\"/other\"], mode: scratch}\nstore: auto\n"
                                  "storage: [{bdev_type: ram, capacity_limit: 1GB}]");
    assert_true(config->store_keep);
    assert_string_equal(config->store_name, "env");
    assert_string_equal(config->store_directory, "/tmp");
    assert_int_equal(config->mode, CTE_FILE_MODE_BYPASS);
    assert_int_equal(config->drain, CTE_FILE_DRAIN_NEVER);
    assert_true(config->score == 0.25f);
    assert_int_equal(config->chunk_bytes, 2 * MIB);
    assert_true(config->sync_pfs);
    assert_false(config->checksum);
    assert_true(config->telemetry_enabled);
    assert_true(config->cache_reads);
    assert_true(config->organizer);
    assert_int_equal(config->drain_threads, 3);
    assert_int_equal(config->drain_bytes_per_s_max, 5 * MIB);
    assert_int_equal(config->include.count, 2);
    assert_string_equal(config->include.pattern[0], "/a/*");
    assert_string_equal(config->include.pattern[1], "/b/*");
    assert_string_equal(config->exclude.pattern[0], "*.log");
    assert_string_equal(config->log_level, "debug");
    assert_int_equal(config->targets[0].capacity_bytes, 96 * MIB);
    assert_string_equal(config->signal_drain, "usr1,term");
    assert_int_equal(config->signal_grace_s, 7);
    assert_true(config->signal_chain);
    cte_config_free(config);
    /* every variable of the table was tried */
    size_t variables = 0;
    for (size_t i = 0; i < cte__config_key_count; i++)
        variables += cte__config_keys[i].variable != NULL;
    assert_int_equal(variables, COUNT(good));
    for (size_t i = 0; i < COUNT(good); i++)
        setenv(good[i][0], "", 1); /* as not set */
    config = parse_ok(RAM_TARGET);
    assert_int_equal(config->mode, CTE_FILE_MODE_DEFAULT);
    cte_config_free(config);
}

static void test_environment_errors(void **state)
{
    (void)state;
    static const char *const bad[][3] = {
        {"CTE_STORE", "maybe", "use one of: auto, keep"},
        {"CTE_STORE_NAME", "a b", "letters"},
        {"CTE_STORE_DIRECTORY", "shm", "absolute"},
        {"CTE_STORE_DIRECTORY", "/\xff", "not UTF-8"},
        {"CTE_MODE", "scrach", "did you mean 'scratch'"},
        {"CTE_DRAIN", "now", "use one of"},
        {"CTE_SCORE", "2", "from 0"},
        {"CTE_CHUNK_SIZE", "3MB", "power of two"},
        {"CTE_SYNC", "all", "use one of"},
        {"CTE_CHECKSUM", "maybe", "true or false"},
        {"CTE_INCLUDE", "/ok:relative/*", "matches no absolute path"},
        {"CTE_EXCLUDE", "x", "matches no absolute path"},
        {"CTE_LOG_LEVEL", "noisy", "use one of"},
        {"CTE_RAM_CAPACITY", "lots", "is not a size"},
        {"CTE_RAM_CAPACITY", "0", "at least 1MiB"},
        {"CTE_PLACEMENT", "fastest", "is unknown; use one of: max_bw, random, round_robin"}};
    for (size_t i = 0; i < COUNT(bad); i++)
        expect_variable_error(bad[i][0], bad[i][1], bad[i][2]);
    setenv("CTE_RAM_CAPACITY", "8MiB", 1);
    expect_error("storage: [{bdev_type: file, path: /tmp/x, capacity_limit: 1GB}]",
                 "environment variable CTE_RAM_CAPACITY: ", "no ram target");
    expect_error(
        "storage: [{bdev_type: ram, path: a, capacity_limit: 1GB}, {bdev_type: ram, path: b, "
        "capacity_limit: 1GB}]",
        "environment variable CTE_RAM_CAPACITY: ", "several ram targets");
}

/* Runs first: a process warns once.  The child's stderr is a pipe. */
static void test_unknown_variables(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(fds[1], STDERR_FILENO);
        setenv("CTE_MDOE", "bypass", 1);
        setenv("CTE_TEST_X", "1", 1);
        for (int i = 0; i < 2; i++) {
            cte_config *config;
            if (cte_config_parse(RAM_TARGET, "t", &config, NULL, 0) != CTE_OK)
                _exit(1);
            cte_config_free(config);
        }
        _exit(0);
    }
    close(fds[1]);
    char output[4096];
    size_t used = 0;
    ssize_t n;
    while ((n = read(fds[0], output + used, sizeof output - 1 - used)) > 0)
        used += (size_t)n;
    output[used] = '\0';
    close(fds[0]);
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    static const char warning[] = "unknown variable CTE_MDOE ignored; did you mean CTE_MODE?";
    const char *line = strstr(output, warning);
    assert_non_null(line);
    assert_null(strstr(line + strlen(warning), "CTE_MDOE"));
    assert_null(strstr(output, "CTE_TEST_X"));
}

static void write_file(const char *path, const char *text)
{
    FILE *stream = fopen(path, "w");
    assert_non_null(stream);
    assert_true(fputs(text, stream) >= 0);
    assert_int_equal(fclose(stream), 0);
}

/* What cte_config_load() of a path says; NULL: the sources. */
static void expect_load_error(const char *path, const char *words)
{
    cte_config *config;
    assert_int_equal(cte_config_load(path, &config, error, sizeof error), CTE_ERR_CONFIG);
    assert_null(config);
    if (!strstr(error, words))
        fail_msg("expected \"%s\" in \"%s\"", words, error);
}

static void expect_source_level(const char *path, const char *level)
{
    cte_config *config;
    assert_int_equal(cte_config_load(path, &config, error, sizeof error), CTE_OK);
    assert_string_equal(config->log_level, level);
    cte_config_free(config);
}

static void test_sources(void **state)
{
    (void)state;
    char a[64], b[64], c[64];
    snprintf(a, sizeof a, "%s/a.yaml", directory);
    snprintf(b, sizeof b, "%s/b.yaml", directory);
    snprintf(c, sizeof c, "%s/pipe", directory);
    write_file(a, "log_level: info\n");
    write_file(b, "log_level: debug\n");
    assert_int_equal(mkfifo(c, 0600), 0);
    expect_source_level(NULL, "warn");
    setenv("WRP_RUNTIME_CONF", a, 1);
    expect_source_level(NULL, "info");
    setenv("CTE_CONFIG", b, 1);
    expect_source_level(NULL, "debug");
    expect_source_level(a, "info");
    setenv("CTE_CONFIG", "/nonexistent.yaml", 1);
    expect_load_error(NULL, "/nonexistent.yaml: cannot open the configuration: No such file or "
                            "directory; correct or unset CTE_CONFIG");
    expect_load_error(directory, "is a directory");
    expect_load_error(c, "is a device or pipe");
    write_file(a, "\n\nlog_level: loud\n");
    char words[128];
    snprintf(words, sizeof words, "%s:3:12: log_level 'loud' is unknown", a);
    expect_load_error(a, words);
    if (geteuid() != 0) {
        assert_int_equal(chmod(b, 0), 0);
        expect_load_error(b, "Permission denied");
    }
}

static void test_large_file(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "%s/a.yaml", directory);
    write_file(path, "");
    assert_int_equal(truncate(path, 4 << 20), 0);
    expect_load_error(path, "is larger than");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_unknown_variables, clear_environment),
        cmocka_unit_test_setup(test_defaults, clear_environment),
        cmocka_unit_test_setup(test_sizing, clear_environment),
        cmocka_unit_test_setup(test_store_name, clear_environment),
        cmocka_unit_test_setup_teardown(test_scratch_target, make_directory, remove_directory),
        cmocka_unit_test_setup(test_environment, clear_environment),
        cmocka_unit_test_setup(test_environment_errors, clear_environment),
        cmocka_unit_test_setup_teardown(test_sources, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(test_large_file, make_directory, remove_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
