/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the configuration share. */
#ifndef CTE_TESTS_UNIT_CONFIG_HELPERS_H
#define CTE_TESTS_UNIT_CONFIG_HELPERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/keys.h"

#define MIB          (UINT64_C(1) << 20)
#define GIB          (UINT64_C(1) << 30)
#define RAM_TARGET   "storage:\n  - {bdev_type: ram, capacity_limit: 8MiB}\n"
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Where the last error was said. */
static char error[512];

/* Every key with a value that is not its default. */
static const char whole_text[] = "log_level: info\n"
                                 "worker_count: 7\n"
                                 "store: {name: my.store-1, directory: /tmp, keep: true}\n"
                                 "storage:\n"
                                 "  - path: /mnt/nvme/cte \"quoted\\\" \xc3\xa9\n"
                                 "    bdev_type: file\n"
                                 "    capacity_limit: 1TB\n"
                                 "    io: uring\n"
                                 "    score: 0.85\n"
                                 "  - bdev_type: ram\n"
                                 "    capacity_limit: \"1537MiB\"\n"
                                 "targets: {max_targets: 3, default_target_timeout_ms: 0,\n"
                                 "  auto_unregister_failed: false}\n"
                                 "performance: {target_stat_interval_ms: 250,\n"
                                 "  blob_cache_size_mb: 512, max_concurrent_operations: 9,\n"
                                 "  score_threshold: 0.25}\n"
                                 "queues:\n"
                                 "  stats: {lane_count: 3, priority: low_latency}\n"
                                 "  target_management: {lane_count: 64, priority: HIGH_LATENCY}\n"
                                 "  tag_management: {priority: high_latency}\n"
                                 "  blob_operations: {lane_count: 1}\n"
                                 "dpe: {dpe_type: max_bw}\n"
                                 "telemetry: {enabled: true, entries: 64}\n"
                                 "file:\n"
                                 "  chunk_size: 256KiB\n"
                                 "  mode: scratch\n"
                                 "  drain: async\n"
                                 "  score: 0.1\n"
                                 "  sync: pfs\n"
                                 "  checksum: no\n"
                                 "  include: [\"/scratch/*\", \"*.h5\"]\n"
                                 "  exclude: ['*/restart \"x\"/?*']\n";

/* No variable of the caller's environment may leak into a test. */
static inline int clear_environment(void **state)
{
    (void)state;
    static const char *const others[] = {
        "CTE_CONFIG",  "WRP_RUNTIME_CONF", "SLURM_JOB_ID", "PBS_JOBID",     "LSB_JOBID",
        "FLUX_JOB_ID", "SLURM_TMPDIR",     "PBS_JOBFS",    "LOCAL_SCRATCH", "LOCALSCRATCH",
        "SNIC_TMP",    "SGE_LOCALDIR",     "PBS_JOBDIR",   "CTE_MDOE",      "CTE_TEST_X"};
    for (size_t i = 0; i < COUNT(others); i++)
        unsetenv(others[i]);
    for (size_t i = 0; i < cte__config_key_count; i++)
        if (cte__config_keys[i].variable)
            unsetenv(cte__config_keys[i].variable);
    return 0;
}

static inline cte_config *parse_ok(const char *text)
{
    cte_config *config = NULL;
    cte_status status = cte_config_parse(text, "t.yaml", &config, error, sizeof error);
    if (status != CTE_OK)
        fail_msg("%s: %s\n%s", cte_status_name(status), error, text);
    assert_string_equal(error, "");
    assert_non_null(config);
    return config;
}

/* The text must be refused, at this place, with these words. */
static inline void expect_error(const char *text, const char *start, const char *words)
{
    cte_config *config = (cte_config *)&error;
    assert_int_equal(cte_config_parse(text, "t.yaml", &config, error, sizeof error),
                     CTE_ERR_CONFIG);
    assert_null(config);
    if (strncmp(error, start, strlen(start)) != 0 || !strstr(error, words))
        fail_msg("for\n%s\nexpected \"%s... %s\"\ngot \"%s\"", text, start, words, error);
    assert_int_equal(cte_config_parse(text, NULL, &config, NULL, 0), CTE_ERR_CONFIG);
}

static inline void assert_same_globs(const struct cte__config_globs *a,
                                     const struct cte__config_globs *b)
{
    assert_int_equal(a->count, b->count);
    for (uint32_t i = 0; i < a->count; i++)
        assert_string_equal(a->pattern[i], b->pattern[i]);
}

/* Field by field, from the table: a new key is compared too. */
static inline void assert_same(const cte_config *a, const cte_config *b)
{
    assert_int_equal(a->target_count, b->target_count);
    for (size_t i = 0; i < cte__config_key_count; i++) {
        const struct cte__config_key *key = &cte__config_keys[i];
        bool target = strcmp(key->section, "storage") == 0;
        for (uint32_t j = 0; j < (target ? a->target_count : 1); j++) {
            const char *of_a = target ? (const char *)&a->targets[j] : (const char *)a;
            const char *of_b = target ? (const char *)&b->targets[j] : (const char *)b;
            if (key->type == CTE__CONFIG_GLOBS)
                assert_same_globs((const void *)(of_a + key->offset),
                                  (const void *)(of_b + key->offset));
            else if (key->type == CTE__CONFIG_TEXT || key->type == CTE__CONFIG_CHOICE_TEXT)
                assert_string_equal(of_a + key->offset, of_b + key->offset);
            else
                assert_memory_equal(of_a + key->offset, of_b + key->offset, key->bytes);
        }
    }
}

/* Receives what cte_config_show() prints, to be freed. */
static inline void show(const cte_config *config, char **text)
{
    size_t length;
    FILE *stream = open_memstream(text, &length);
    assert_non_null(stream);
    assert_int_equal(cte_config_show(config, stream), CTE_OK);
    fclose(stream);
}

#endif
