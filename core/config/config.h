/* SPDX-License-Identifier: BSD-3-Clause */
/* The effective configuration as the rest of the core reads it (include/cte/config.h makes it). */
#ifndef CTE_CORE_CONFIG_CONFIG_H
#define CTE_CORE_CONFIG_CONFIG_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include <cte/config.h>
#include <cte/file.h>

#include "base/parse.h"

enum {
    CTE__CONFIG_TARGETS_MAX = 16,
    CTE__CONFIG_GLOBS_MAX = 64,
    CTE__CONFIG_TARGET_KEYS_MAX = 8,
    CTE__CONFIG_KEYS_MAX = 64,
    CTE__STORE_NAME_MAX = 64
};

/* Where a value came from.  None set: built-in default. */
struct cte__config_origin {
    const char *variable; /* environment variable, static storage */
    uint32_t line;        /* of cte_config.source */
    bool program;         /* cte_config_set(), cte_config_add_target() */
};

/* One element of `storage:`. */
struct cte__config_target {
    char path[PATH_MAX];              /* absolute; ram: a label for messages, may be "" */
    char kind[16];                    /* bdev_type: "ram", "dev_dax", "file" */
    uint64_t capacity_bytes;          /* capacity_limit, > 0 */
    float score;                      /* 0 … 1; < 0: automatic */
    char io[16];                      /* file: "buffered", "uring"; "": buffered */
    struct cte__config_origin origin; /* of the element as a whole */
    struct cte__config_origin
        key_origin[CTE__CONFIG_TARGET_KEYS_MAX]; /* in the key table's order */
};

/* What is read ahead of a program (`file.prefetch`). */
enum cte__prefetch_mode { CTE__PREFETCH_NONE, CTE__PREFETCH_SEQUENTIAL, CTE__PREFETCH_STRIDED };

/* Operations are queued by what they do (`queues:`). */
enum cte__queue_class {
    CTE__QUEUE_TARGETS, /* target_management */
    CTE__QUEUE_TAGS,    /* tag_management */
    CTE__QUEUE_BLOBS,   /* blob_operations */
    CTE__QUEUE_STATS,   /* stats */
    CTE__QUEUE_CLASSES
};

enum cte__queue_priority { CTE__PRIORITY_LOW_LATENCY, CTE__PRIORITY_HIGH_LATENCY };

struct cte__config_queue {
    uint32_t lane_count; /* 1 … 64; tasks of a lane run one by one, in order */
    enum cte__queue_priority priority;
};

/* fnmatch(3) globs on absolute paths; `*` crosses slashes. */
struct cte__config_globs {
    char *pattern[CTE__CONFIG_GLOBS_MAX];
    uint32_t count;
};

struct cte_config {
    /* store: keep | auto, or a mapping of these */
    char store_name[CTE__STORE_NAME_MAX]; /* [A-Za-z0-9._-]; default: batch job id, else "u<uid>" */
    char store_directory[PATH_MAX];       /* default /dev/shm */
    bool store_keep;                      /* keep the store after the last clean detach */

    /* Sizes of default targets depend on what is free when this process loads: who attaches to a
     * store takes its targets from the store, not from here. */
    struct cte__config_target targets[CTE__CONFIG_TARGETS_MAX];
    uint32_t target_count; /* > 0, but after cte_config_new() on a node without room */
    bool default_targets;  /* nobody named them: they follow store.directory */

    bool organizer; /* organizer: none | frecency */
    uint64_t organizer_bytes_per_s_max;

    uint32_t worker_count; /* threads for asynchronous operations, 1 … 256 */

    /* targets: mapping */
    uint32_t max_targets;               /* targets.max_targets */
    uint32_t default_target_timeout_ms; /* 0: no limit */
    bool auto_unregister_failed;

    /* performance: mapping */
    uint32_t target_stat_interval_ms;   /* 0: never by itself */
    uint32_t blob_cache_mb;             /* performance.blob_cache_size_mb */
    uint32_t max_concurrent_operations; /* > 0 */
    float score_threshold;

    struct cte__config_queue queues[CTE__QUEUE_CLASSES];

    char placement[32]; /* dpe.dpe_type: "max_bw", …, or the name of a registered engine */

    /* file: mapping */
    uint64_t chunk_bytes; /* file.chunk_size: power of two, 64 KiB … 16 MiB; default 1 MiB */
    cte_file_mode mode;   /* file.mode, never CONFIG */
    cte_file_drain_policy drain;    /* file.drain, never CONFIG */
    float score;                    /* file.score, default 1.0 */
    bool sync_pfs;                  /* file.sync: node | pfs */
    bool checksum;                  /* file.checksum */
    bool cache_reads;               /* file.cache: none | read */
    uint32_t drain_threads;         /* file.drain_threads; 0: no draining in the background */
    uint64_t drain_bytes_per_s_max; /* file.drain_bytes_per_s_max; 0: no limit */
    enum cte__prefetch_mode prefetch;
    struct cte__config_globs include, exclude;

    /* hdf5: mapping, for the driver; < 0: automatic */
    float hdf5_score_super, hdf5_score_btree, hdf5_score_draw;
    float hdf5_score_gheap, hdf5_score_lheap, hdf5_score_ohdr;

    /* telemetry: mapping */
    bool telemetry_enabled;
    uint32_t telemetry_entries; /* of each lane of the ring, a power of two; whoever makes the store
                                 * decides */

    /* signals: mapping */
    char signal_drain[64];   /* signals.drain_on: see signals.h */
    uint32_t signal_grace_s; /* signals.grace_s */
    bool signal_chain;       /* signals.chain: also where the program has a handler */

    /* journal: mapping */
    bool journal;                /* journal.enabled */
    char journal_path[PATH_MAX]; /* journal.path; "auto": beside the first target that survives */

    char log_level[16];
    struct cte__config_origin origin[CTE__CONFIG_KEYS_MAX]; /* indexed as the key table (keys.h) */
    char source[PATH_MAX]; /* file or text name the values were read from, "" for none */
};

/* The handling that the configuration asks for on this absolute path: DEFAULT, SCRATCH or BYPASS.
 * exclude beats include; an empty include list means every path. */
cte_file_mode cte__config_mode_for(const cte_config *config, const char *absolute_path);

/* A deep copy, freed by cte_config_free(). */
cte_status cte__config_copy(const cte_config *config, cte_config **out);

#endif
