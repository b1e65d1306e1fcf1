/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration: every key, and every way to get one wrong. */
#include "config_helpers.h"

#include <errno.h>
#include <inttypes.h>

static void expect_queue(const cte_config *config, enum cte__queue_class class, uint32_t lanes,
                         enum cte__queue_priority priority)
{
    assert_int_equal(config->queues[class].lane_count, lanes);
    assert_int_equal(config->queues[class].priority, priority);
}

static void test_whole(void **state)
{
    (void)state;
    cte_config *config = parse_ok(whole_text);
    assert_string_equal(config->log_level, "info");
    assert_string_equal(config->store_name, "my.store-1");
    assert_string_equal(config->store_directory, "/tmp");
    assert_true(config->store_keep);
    assert_int_equal(config->target_count, 2);
    assert_string_equal(config->targets[0].path, "/mnt/nvme/cte \"quoted\\\" \xc3\xa9");
    assert_string_equal(config->targets[0].kind, "file");
    assert_int_equal(config->targets[0].capacity_bytes, 1024 * GIB);
    assert_true(config->targets[0].score == 0.85f);
    assert_string_equal(config->targets[1].path, "");
    assert_string_equal(config->targets[1].kind, "ram");
    assert_int_equal(config->targets[1].capacity_bytes, 1537 * MIB);
    assert_true(config->targets[1].score < 0.0f);
    assert_int_equal(config->worker_count, 7);
    assert_int_equal(config->max_targets, 3);
    assert_int_equal(config->default_target_timeout_ms, 0);
    assert_false(config->auto_unregister_failed);
    assert_int_equal(config->target_stat_interval_ms, 250);
    assert_int_equal(config->blob_cache_mb, 512);
    assert_int_equal(config->max_concurrent_operations, 9);
    assert_true(config->score_threshold == 0.25f);
    expect_queue(config, CTE__QUEUE_TARGETS, 64, CTE__PRIORITY_HIGH_LATENCY);
    expect_queue(config, CTE__QUEUE_TAGS, 2, CTE__PRIORITY_HIGH_LATENCY);
    expect_queue(config, CTE__QUEUE_BLOBS, 1, CTE__PRIORITY_HIGH_LATENCY);
    expect_queue(config, CTE__QUEUE_STATS, 3, CTE__PRIORITY_LOW_LATENCY);
    assert_true(config->telemetry_enabled);
    assert_int_equal(config->telemetry_entries, 64);
    assert_string_equal(config->placement, "max_bw");
    assert_int_equal(config->chunk_bytes, 256 * 1024);
    assert_int_equal(config->mode, CTE_FILE_MODE_SCRATCH);
    assert_int_equal(config->drain, CTE_FILE_DRAIN_ASYNC);
    assert_true(config->score == 0.1f);
    assert_true(config->sync_pfs);
    assert_false(config->checksum);
    assert_int_equal(config->include.count, 2);
    assert_string_equal(config->include.pattern[1], "*.h5");
    assert_int_equal(config->exclude.count, 1);
    assert_string_equal(config->exclude.pattern[0], "*/restart \"x\"/?*");
    cte_config_free(config);
    cte_config_free(NULL);
}

/* The example of the document that describes this interface for other programs. */
static void test_foreign_example(void **state)
{
    (void)state;
    cte_config *config = parse_ok("worker_count: 4\n"
                                  "targets:\n"
                                  "  max_targets: 100\n"
                                  "  default_target_timeout_ms: 30000\n"
                                  "  auto_unregister_failed: true\n"
                                  "performance:\n"
                                  "  target_stat_interval_ms: 5000      # interval\n"
                                  "  blob_cache_size_mb: 512\n"
                                  "  max_concurrent_operations: 64\n"
                                  "  score_threshold: 0.7\n"
                                  "queues:\n"
                                  "  target_management:\n"
                                  "    lane_count: 2\n"
                                  "    priority: \"low_latency\"\n"
                                  "  \n"
                                  "  blob_operations:\n"
                                  "    lane_count: 4\n"
                                  "    priority: \"high_latency\"\n"
                                  "storage:\n"
                                  "  - path: \"/mnt/nvme/cte_primary\"\n"
                                  "    bdev_type: \"file\"\n"
                                  "    capacity_limit: \"1TB\"\n"
                                  "    score: 0.9\n"
                                  "dpe:\n"
                                  "  dpe_type: \"max_bw\"\n");
    assert_int_equal(config->max_targets, 100);
    assert_int_equal(config->blob_cache_mb, 512);
    assert_true(config->score_threshold == 0.7f);
    expect_queue(config, CTE__QUEUE_TARGETS, 2, CTE__PRIORITY_LOW_LATENCY);
    expect_queue(config, CTE__QUEUE_BLOBS, 4, CTE__PRIORITY_HIGH_LATENCY);
    cte_config_free(config);
}

static void test_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool keep;
    } stores[] = {{"store: keep", true},
                  {"store: auto", false},
                  {"store: {keep: yes}", true},
                  {"store: {keep: FALSE}", false},
                  {"{\"store\": {\"keep\": true}}", true},
                  {"store: Keep", true}};
    for (size_t i = 0; i < COUNT(stores); i++) {
        cte_config *config = parse_ok(stores[i].text);
        assert_int_equal(config->store_keep, stores[i].keep);
        cte_config_free(config);
    }
    cte_config *config =
        parse_ok("storage:\n"
                 "  - &a {bdev_type: ram, capacity_limit: &size 4MiB, path: some label}\n"
                 "  - {bdev_type: ram, capacity_limit: *size, path: other}\n"
                 "file: {score: 0, include: &g [\"/a\"], exclude: *g}\n");
    assert_int_equal(config->target_count, 2);
    assert_int_equal(config->targets[1].capacity_bytes, 4 * MIB);
    assert_string_equal(config->targets[0].path, "some label");
    assert_true(config->score == 0.0f);
    assert_string_equal(config->exclude.pattern[0], "/a");
    cte_config_free(config);
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *start, *words;
    } cases[] = {
        /* keys */
        {"fil: {}", "t.yaml:1:1: ", "did you mean 'file'"},
        {"file:\n  chunk_sise: 1MiB", "t.yaml:2:3: ", "did you mean 'chunk_size'"},
        {"file:\n  zzzzzzzz: 1", "t.yaml:2:3: ", "unknown key 'zzzzzzzz' in file; remove"},
        {"file: {mode: bypass}\nfile: {}", "t.yaml:2:1: ", "given twice (first in line 1)"},
        {"file: {mode: bypass, mode: bypass}", "t.yaml:1:22: ", "given twice"},
        {"log_level: info\nlog_level: info", "t.yaml:2:1: ", "given twice"},
        {"{[a]: 1}", "t.yaml:1:2: ", "a key must be a name"},
        {"\"a\\0b\": 1", "t.yaml:1:1: ", "a key must be a name"},
        {"\"\": 1", "t.yaml:1:1: ", "unknown key"},
        {"<<: {}", "t.yaml:1:1: ", "unknown key"},
        {"worker_counts: 4", "t.yaml:1:1: ", "did you mean 'worker_count'"},
        {"queue: {}", "t.yaml:1:1: ", "did you mean 'queues'"},
        {"queues: {stat: {}}",
         "t.yaml:1:10: ", "unknown key 'stat' in queues; did you mean 'stats'"},
        {"queues: {stats: {lanes: 1}}",
         "t.yaml:1:18: ", "unknown key 'lanes' in queues.stats; remove"},
        {"queues: {stats: {lane_coun: 1}}", "t.yaml:1:18: ", "did you mean 'lane_count'"},
        {"queues: {lane_count: 1}", "t.yaml:1:10: ", "unknown key 'lane_count' in queues"},
        {"queues.stats: {lane_count: 1}", "t.yaml:1:1: ", "unknown key 'queues.stats'"},
        {"queues: {stats: {}, stats: {}}", "t.yaml:1:21: ", "given twice"},
        {"queues: {\"\": {}}", "t.yaml:1:10: ", "unknown key"},
        /* types */
        {"- a", "t.yaml:1:1: ", "must be a mapping, lines of 'key: value', not a list"},
        {"word", "t.yaml:1:1: ", "not a single value"},
        {"file:", "t.yaml:1:6: ", "not nothing"},
        {"file: [a]", "t.yaml:1:7: ", "must be a mapping"},
        {"file: {mode: [bypass]}", "t.yaml:1:14: ", "not a list"},
        {"file: {mode: ~}", "t.yaml:1:14: ", "not nothing"},
        {"file: {include: \"/a\"}", "t.yaml:1:17: ", "must be a list"},
        {"file: {include: [{a: b}]}", "t.yaml:1:18: ", "must be a text, not a mapping"},
        {"store: []", "t.yaml:1:8: ", "must be a mapping"},
        {"store:", "t.yaml:1:7: ", "not nothing"},
        {"queues: [stats]", "t.yaml:1:9: ", "queues must be a mapping"},
        {"queues: {stats: 4}", "t.yaml:1:17: ", "queues.stats must be a mapping"},
        {"queues: {stats: }", "t.yaml:1:17: ", "not nothing"},
        {"queues: &a {stats: *a}", "t.yaml:1:13: ", "unknown key 'stats' in queues.stats"},
        {"dpe: max_bw", "t.yaml:1:6: ", "must be a mapping"},
        {"storage: {bdev_type: ram}", "t.yaml:1:10: ", "must be a list"},
        {"storage: []", "t.yaml:1:10: ", "lists no target"},
        {"storage: [ram]", "t.yaml:1:11: ", "must be a mapping"},
        {"log_level: {a: b}", "t.yaml:1:12: ", "single value"},
        {"&a [*a]", "t.yaml:1:1: ", "must be a mapping"},
        {"storage: &a [*a]", "t.yaml:1:10: ", "must be a mapping"},
        /* values */
        {"telemetry: {entries: 100}", "t.yaml:1:22: ", "is not a power of two; write one, as 1024"},
        {"telemetry: {entries: 32}", "t.yaml:1:22: ", "from 64 to 1048576"},
        {"worker_count: 0", "t.yaml:1:15: ", "is not a whole number from 1 to 256; write one"},
        {"worker_count: 257", "t.yaml:1:15: ", "from 1 to 256"},
        {"worker_count: -1", "t.yaml:1:15: ", "whole number"},
        {"worker_count: 4.0", "t.yaml:1:15: ", "whole number"},
        {"worker_count: 4K", "t.yaml:1:15: ", "whole number"},
        {"worker_count: \"\"", "t.yaml:1:15: ", "whole number"},
        {"worker_count: 18446744073709551617", "t.yaml:1:15: ", "whole number"},
        {"worker_count: [4]", "t.yaml:1:15: ", "single value"},
        {"targets: {max_targets: 0}", "t.yaml:1:24: ", "from 1 to 1000"},
        {"targets: {default_target_timeout_ms: 86400001}", "t.yaml:1:38: ", "from 0 to 86400000"},
        {"targets: {auto_unregister_failed: 3}", "t.yaml:1:35: ", "write true or false"},
        {"performance: {target_stat_interval_ms: 5s}", "t.yaml:1:40: ", "from 0 to 86400000"},
        {"performance: {blob_cache_size_mb: 512MB}", "t.yaml:1:35: ", "from 0 to 1048576"},
        {"performance: {max_concurrent_operations: 0}", "t.yaml:1:42: ", "from 1 to 1048576"},
        {"performance: {score_threshold: 1.5}", "t.yaml:1:32: ", "from 0"},
        {"queues: {stats: {lane_count: 65}}", "t.yaml:1:30: ", "from 1 to 64"},
        {"queues: {stats: {priority: low}}",
         "t.yaml:1:28: ", "use one of: low_latency, high_latency"},
        {"store: kep", "t.yaml:1:8: ", "did you mean 'keep'? use one of: auto, keep"},
        {"store: {keep: perhaps}", "t.yaml:1:15: ", "write true or false"},
        {"store: {name: a/b}", "t.yaml:1:15: ", "letters, digits"},
        {"store: {name: ..}", "t.yaml:1:15: ", "not begin with '.'"},
        {"store: {name: \"\"}", "t.yaml:1:15: ", "is empty"},
        {"store: {name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}",
         "t.yaml:1:15: ", "longer than 63 bytes"},
        {"store: {directory: tmp}", "t.yaml:1:20: ", "absolute path"},
        {"store: {directory: \"/a\\nb\"}", "t.yaml:1:20: ", "control character"},
        {"store: {directory: \"/a\\u2028b\"}", "t.yaml:1:20: ", "control character"},
        {"store: {directory: /nonexistent/x}", "built-in default: ", "No such file"},
        {"dpe: {dpe_type: randon}", "t.yaml:1:17: ", "did you mean 'random'"},
        {"dpe: {dpe_type: max_bandwidth}",
         "t.yaml:1:17: ", "is unknown; use one of: max_bw, random, round_robin"},
        {"file: {chunk_size: 1MX}", "t.yaml:1:20: ", "is not a size"},
        {"file: {chunk_size: 1.5MiB}", "t.yaml:1:20: ", "is not a size"},
        {"file: {chunk_size: -1}", "t.yaml:1:20: ", "is not a size"},
        {"file: {chunk_size: 32KiB}", "t.yaml:1:20: ", "at least 64KiB, at most 16MiB"},
        {"file: {chunk_size: 32MiB}", "t.yaml:1:20: ", "out of range"},
        {"file: {chunk_size: 100KiB}", "t.yaml:1:20: ", "power of two"},
        {"file: {mode: fast}", "t.yaml:1:14: ", "use one of: default, scratch, bypass"},
        {"file: {drain: on-close}", "t.yaml:1:15: ", "did you mean 'on_close'"},
        {"file: {sync: disk}", "t.yaml:1:14: ", "use one of: node, pfs"},
        {"file: {score: 1.01}", "t.yaml:1:15: ", "from 0"},
        {"file: {score: -0.5}", "t.yaml:1:15: ", "from 0"},
        {"file: {score: nan}", "t.yaml:1:15: ", "from 0"},
        {"file: {score: 0x1}", "t.yaml:1:15: ", "from 0"},
        {"file: {checksum: 2}", "t.yaml:1:18: ", "write true or false"},
        {"file: {include: [out/*.h5]}", "t.yaml:1:18: ", "matches no absolute path"},
        {"file: {exclude: [\"\"]}", "t.yaml:1:18: ", "is empty"},
        {"log_level: loud", "t.yaml:1:12: ", "use one of: off, error, warn, info, debug"},
        /* targets */
        {"storage:\n  - {bdev_type: ram}", "t.yaml:2:5: ", "needs capacity_limit"},
        {"storage:\n  - {path: /a, bdev_type: file}", "t.yaml:2:5: ", "needs capacity_limit"},
        {"storage:\n  - {capacity_limit: 1GB}", "t.yaml:2:5: ", "needs bdev_type"},
        {"storage:\n  - {bdev_type: ram, capacity_limit: 0}", "t.yaml:2:38: ", "at least 1MiB"},
        {"storage:\n  - {bdev_type: ram, capacity_limit: 99999PB}",
         "t.yaml:2:38: ", "out of range"},
        {"storage:\n  - {bdev_type: ram, capacity_limit: 8PX}", "t.yaml:2:38: ", "is not a size"},
        {"storage:\n  - {bdev_type: ram, capacity_limit: 1GB, io: uring}",
         "t.yaml:2:5: ", "io is a choice of file targets only"},
        {"storage:\n  - {bdev_type: file, path: /x, capacity_limit: 1GB, io: direct}",
         "t.yaml:2:58: ", "use one of: buffered, uring"},
        {"storage:\n  - {bdev_type: posix, capacity_limit: 1GB}",
         "t.yaml:2:5: ", "a posix target needs a path"},
#ifdef CTE_HAVE_LIBPMEM
        {"storage:\n  - {bdev_type: dev_dax, capacity_limit: 1GB}",
         "t.yaml:2:5: ", "a dev_dax target needs a path"},
#else
        {"storage:\n  - {bdev_type: dev_dax, capacity_limit: 1GB, path: /x}",
         "t.yaml:2:17: ", "built without libpmem"},
#endif
        {"storage:\n  - {bdev_type: tape, capacity_limit: 1GB}", "t.yaml:2:17: ", "is unknown"},
        {"storage:\n  - {bdev_type: file, capacity_limit: 1GB}", "t.yaml:2:5: ", "needs a path"},
        {"storage:\n  - {bdev_type: file, capacity_limit: 1GB, path: a/b}",
         "t.yaml:2:5: ", "is relative"},
        {"storage:\n  - {bdev_type: file, capacity_limit: 1GB, path: /tmp/}",
         "t.yaml:2:5: ", "does not end in a name"},
        {"storage:\n  - {bdev_type: file, capacity_limit: 1GB, path: /tmp/..}",
         "t.yaml:2:5: ", "does not end in a name"},
        {"storage:\n  - {bdev_type: ram, capacity_limit: 1GB, score: 2}",
         "t.yaml:2:50: ", "from 0"},
        {"storage:\n  - {bdev_type: file, capacity_limit: 1GB, path: /tmp/a}\n"
         "  - {bdev_type: file, capacity_limit: 2GB, path: /tmp/a}",
         "t.yaml:3:5: ", "already the target of line 2"},
        {"storage:\n  - {bdev_type: file, capacity_limit: 1GB, path: /tmp/a}\n"
         "  - {bdev_type: file, capacity_limit: 2GB, path: /tmp/../tmp//a}",
         "t.yaml:3:5: ", "already the target of line 2"},
        {"storage:\n  - {bdev_type: ram, capacity_limit: 1GB, path: fast}\n"
         "  - {bdev_type: ram, capacity_limit: 1GB, path: fast}",
         "t.yaml:3:5: ", "already the target of line 2"},
        /* YAML */
        {"file: {mode: bypass", "t.yaml:", "not valid YAML"},
        {"file:\n\tmode: bypass", "t.yaml:2:1: ", "indent by spaces"},
        {"file: {include: [*.h5]}", "t.yaml:1:19: ", "quote values"},
        {"a: *nowhere", "t.yaml:1:4: ", "undefined alias"},
        {"log_level: info\nstore: \"\xff\xfe\"", "t.yaml:2:9: ", "not valid YAML"},
        {"log_level: info\n---\nlog_level: warn", "t.yaml:2:1: ", "second YAML document"},
        {"---\n---\n", "t.yaml:2:1: ", "second YAML document"},
        {"log_level: info\n--- [", "t.yaml:", "not valid YAML"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        expect_error(cases[i].text, cases[i].start, cases[i].words);
}

static void test_limits(void **state)
{
    (void)state;
    char *text = NULL;
    size_t length;
    FILE *stream = open_memstream(&text, &length);
    fprintf(stream, "storage:\n");
    for (int i = 0; i <= CTE__CONFIG_TARGETS_MAX; i++)
        fprintf(stream, "  - {bdev_type: ram, capacity_limit: 1MiB, path: r%d}\n", i);
    fclose(stream);
    expect_error(text, "t.yaml:18:5: ", "more than 16");
    free(text);
    stream = open_memstream(&text, &length);
    fprintf(stream, "file:\n  include:\n");
    for (int i = 0; i <= CTE__CONFIG_GLOBS_MAX; i++)
        fprintf(stream, "    - /d%d/*\n", i);
    fclose(stream);
    expect_error(text, "t.yaml:67:7: ", "more than 64 patterns");
    free(text);
}

static void test_bad_arguments(void **state)
{
    (void)state;
    cte_config *config;
    assert_int_equal(cte_config_load(NULL, NULL, NULL, 0), -EINVAL);
    assert_int_equal(cte_config_parse(NULL, "x", &config, NULL, 0), -EINVAL);
    assert_int_equal(cte_config_parse("", "x", NULL, NULL, 0), -EINVAL);
    assert_int_equal(cte_config_show(NULL, stdout), -EINVAL);
    /* the text is cut to the room there is */
    char little[8] = "zzzzzzz";
    assert_int_equal(cte_config_parse("x: 1", "x", &config, little, 4), CTE_ERR_CONFIG);
    assert_string_equal(little, "x:1");
}

static void test_copy(void **state)
{
    (void)state;
    cte_config *config = parse_ok(whole_text), *copy;
    assert_int_equal(cte__config_copy(config, &copy), CTE_OK);
    assert_same(config, copy);
    assert_ptr_not_equal(config->include.pattern[0], copy->include.pattern[0]);
    cte_config_free(config);
    assert_string_equal(copy->include.pattern[0], "/scratch/*");
    cte_config_free(copy);
}

static void test_mode_for(void **state)
{
    (void)state;
    cte_config *config = parse_ok("file: {mode: scratch}\n" RAM_TARGET);
    assert_int_equal(cte__config_mode_for(config, "/any/file"), CTE_FILE_MODE_SCRATCH);
    cte_config_free(config);
    config = parse_ok(
        "file: {include: [\"/scratch/*\", \"*.h5\"], exclude: [\"*/log/*\"]}\n" RAM_TARGET);
    assert_int_equal(cte__config_mode_for(config, "/scratch/a/b/c"), CTE_FILE_MODE_DEFAULT);
    assert_int_equal(cte__config_mode_for(config, "/home/x.h5"), CTE_FILE_MODE_DEFAULT);
    assert_int_equal(cte__config_mode_for(config, "/home/.x.h5"), CTE_FILE_MODE_DEFAULT);
    assert_int_equal(cte__config_mode_for(config, "/home/x.nc"), CTE_FILE_MODE_BYPASS);
    assert_int_equal(cte__config_mode_for(config, "/scratch/log/x.h5"), CTE_FILE_MODE_BYPASS);
    cte_config_free(config);
}

static void test_parse_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        cte_status status;
        uint64_t bytes;
    } cases[] = {{"0", 0, 0},
                 {"4096", 0, 4096},
                 {"4096B", 0, 4096},
                 {"64KiB", 0, 65536},
                 {"1k", 0, 1024},
                 {"1MB", 0, MIB},
                 {"8GB", 0, 8 * GIB},
                 {"8g", 0, 8 * GIB},
                 {"1TB", 0, 1024 * GIB},
                 {"2PiB", 0, 2048 * 1024 * GIB},
                 {"18446744073709551615", 0, UINT64_MAX},
                 {"18446744073709551616", -ERANGE, 0},
                 {"16384PiB", -ERANGE, 0},
                 {"16383PiB", 0, UINT64_MAX - (UINT64_C(1) << 50) + 1},
                 {"", -EINVAL, 0},
                 {"-1", -EINVAL, 0},
                 {"+1", -EINVAL, 0},
                 {" 1", -EINVAL, 0},
                 {"1 ", -EINVAL, 0},
                 {"1.5GB", -EINVAL, 0},
                 {"GB", -EINVAL, 0},
                 {"1XB", -EINVAL, 0},
                 {"1KiBB", -EINVAL, 0},
                 {"1i", -EINVAL, 0},
                 {"1Ki", -EINVAL, 0},
                 {"0x10", -EINVAL, 0}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t bytes = 7;
        cte_status status = cte__parse_bytes(cases[i].text, &bytes);
        if (status != cases[i].status || bytes != (status ? 7 : cases[i].bytes))
            fail_msg("\"%s\": %d, %" PRIu64, cases[i].text, status, bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_whole, clear_environment),
        cmocka_unit_test_setup(test_foreign_example, clear_environment),
        cmocka_unit_test_setup(test_accepted, clear_environment),
        cmocka_unit_test_setup(test_errors, clear_environment),
        cmocka_unit_test_setup(test_limits, clear_environment),
        cmocka_unit_test_setup(test_bad_arguments, clear_environment),
        cmocka_unit_test_setup(test_copy, clear_environment),
        cmocka_unit_test_setup(test_mode_for, clear_environment),
        cmocka_unit_test_setup(test_parse_bytes, clear_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
