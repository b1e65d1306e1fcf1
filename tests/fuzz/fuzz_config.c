/* SPDX-License-Identifier: BSD-3-Clause */
/* Any text as a configuration: parsed or refused, with a reason. */
#include <stdlib.h>
#include <string.h>

#include <cte/config.h>

#include "fuzz.h"

static const char *const seeds[] = {
    "log_level: warn\nworker_count: 4\nstore: {name: a, directory: /dev/shm, keep: true}\n"
    "journal: {enabled: true, path: auto}\n"
    "storage:\n  - {bdev_type: ram, capacity_limit: 64MiB, score: 1.0}\n"
    "  - {path: /tmp/t, bdev_type: file, io: buffered, capacity_limit: 1GB, score: 0.5}\n",
    "targets: {max_targets: 4, default_target_timeout_ms: 100, auto_unregister_failed: off}\n"
    "performance: {target_stat_interval_ms: 1, blob_cache_size_mb: 3, score_threshold: 0.7}\n"
    "queues:\n  blob_operations: {lane_count: 2, priority: low_latency}\n"
    "dpe: {dpe_type: round_robin}\n",
    "file:\n  chunk_size: 1MiB\n  mode: scratch\n  drain: async\n  include: ['/a/*', \"/b/*\"]\n"
    "  exclude: [\"*.log\"]\n  checksum: yes\nsignals: {drain_on: 'term,usr1', grace_s: 10}\n"
    "telemetry: {enabled: on, entries: 1024}\n",
};

size_t fuzz_seed(unsigned which, uint8_t *bytes, size_t room)
{
    if (which >= sizeof seeds / sizeof seeds[0] || strlen(seeds[which]) > room)
        return 0;
    memcpy(bytes, seeds[which], strlen(seeds[which]));
    return strlen(seeds[which]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char error[256] = "";
    cte_config *config = NULL;
    char *text = malloc(count + 1);
    if (!text)
        return 0;
    memcpy(text, bytes, count);
    text[count] = 0;
    if (cte_config_parse(text, "fuzz", &config, error, sizeof error) == CTE_OK)
        cte_config_free(config);
    else if (error[0] == 0)
        abort(); /* refused without a word */
    free(text);
    return 0;
}
