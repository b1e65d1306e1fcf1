/* SPDX-License-Identifier: BSD-3-Clause */
/* The effective configuration as the rest of the core reads it (include/cte/config.h makes it). */
#ifndef CTE_CORE_CONFIG_CONFIG_H
#define CTE_CORE_CONFIG_CONFIG_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include <cte/config.h>
#include <cte/file.h>

enum { CTE__CONFIG_TARGETS_MAX = 16, CTE__CONFIG_GLOBS_MAX = 64, CTE__STORE_NAME_MAX = 64 };

/* One element of `storage:`. */
struct cte__config_target {
    char path[PATH_MAX];     /* "" for a ram target: it lives in the store's directory */
    char kind[16];           /* bdev_type: "ram", "file" */
    uint64_t capacity_bytes; /* capacity_limit, > 0 */
    float score;             /* 0 … 1; < 0: automatic */
};

struct cte_config {
    /* store: keep | auto, or a mapping of these */
    char store_name[CTE__STORE_NAME_MAX]; /* [A-Za-z0-9._-]; default: batch job id, else "u<uid>" */
    char store_directory[PATH_MAX];       /* default /dev/shm */
    bool store_keep;                      /* keep the store after the last clean detach */

    struct cte__config_target targets[CTE__CONFIG_TARGETS_MAX];
    uint32_t target_count;

    char placement[32]; /* dpe.dpe_type: "max_bw" */

    /* file: mapping */
    uint64_t chunk_bytes;               /* file.chunk_size: power of two, 64 KiB … 16 MiB; default 1 MiB */
    cte_file_mode mode;                 /* file.mode */
    cte_file_drain_policy drain;        /* file.drain */
    float score;                        /* file.score, default 1.0 */
    bool sync_pfs;                      /* file.sync: node | pfs */
    bool checksum;                      /* file.checksum */
    char *include[CTE__CONFIG_GLOBS_MAX]; /* fnmatch(3) globs on the absolute path */
    char *exclude[CTE__CONFIG_GLOBS_MAX];
    uint32_t include_count, exclude_count;

    char log_level[16];
    /* Where each value came from, for cte_config_show(); indexed by the private key table. */
    const char *origin[64];
    char source[PATH_MAX]; /* file or text name the values were read from, "" for none */
};

/* The handling that the configuration asks for on this absolute path: DEFAULT, SCRATCH or BYPASS.
 * exclude beats include; an empty include list means every path. */
cte_file_mode cte__config_mode_for(const cte_config *config, const char *absolute_path);

/* A deep copy. */
cte_status cte__config_copy(const cte_config *config, cte_config **out);

/* "64KiB", "1MB", "8GB", "1TB", "4096": decimal and binary units alike are powers of 1024 apart only
 * for the KiB form; KB/MB/GB/TB are taken as powers of 1024 too, as the reference does.  -EINVAL on
 * anything else, -ERANGE on overflow. */
cte_status cte__parse_bytes(const char *text, uint64_t *bytes);

#endif
