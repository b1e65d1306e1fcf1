/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * A client: this process's attachment to the node's store.
 *
 * A store is shared by all processes of one user (or batch job) on a node.  The first client makes
 * it, others attach; the last one to leave removes it, unless it holds data that is not drained yet
 * or the configuration says `store: keep`.
 *
 * Thread rule: all functions are thread-safe; a client may be shared by threads.
 * Error rule: see status.h.  Failures are also logged (CTE_LOG_LEVEL) with file, key and remedy.
 * Lifetime: an open file keeps its client; tags are closed before it.
 */
#ifndef CTE_CLIENT_H
#define CTE_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include <cte/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cte_client cte_client;
typedef struct cte_config cte_config;

/**
 * Attaches to the store that `config` names, making it if needed.
 * @param config  effective configuration, copied; NULL: as cte_config_load(NULL).
 * @param out     receives the client; free with cte_client_close().
 */
cte_status cte_client_open(const cte_config *config, cte_client **out);

/**
 * The process-wide client, opened on first use with the default configuration and closed at exit.
 * Adapters use it.  A failure is remembered: later calls return the same status without retrying.
 */
cte_status cte_client_default(cte_client **out);

/**
 * Closes the process-wide client if it is open (adapters do so at MPI_Finalize).  While cte_init()
 * holds it, it stays open: cte_finalize() closes it.
 */
cte_status cte_client_default_close(void);

/**
 * Opens the process-wide client with a configuration of the program's choice.  Calls are counted;
 * each needs its cte_finalize().  After the last one this may be called anew.
 * @param config_path  YAML file; NULL or "": as cte_config_load(NULL), i.e. CTE_CONFIG,
 *                     WRP_RUNTIME_CONF or the defaults
 * @return -EBUSY: the process-wide client is open already with another configuration file.
 *         A failure is logged, and not remembered: another file may be tried.
 */
cte_status cte_init(const char *config_path);

/**
 * Takes back one cte_init(); the last one closes the process-wide client, with what
 * cte_client_close() says.  Tags and buffers of it are closed before.  -EINVAL without cte_init().
 */
cte_status cte_finalize(void);

/**
 * Detaches; if files are open, when the last of them is closed.  NULL is fine.  Dirty data of files stays in the store; its loss is never silent: the
 * store is kept then and the return is CTE_ERR_DRAIN.
 */
cte_status cte_client_close(cte_client *client);

/** What a target is used for. */
typedef enum cte_target_state {
    CTE_TARGET_ACTIVE,   /**< new data goes there */
    CTE_TARGET_DRAINING, /**< it is being removed: its data moves to the others */
    CTE_TARGET_FAILED    /**< its transfers failed: no new data, what is there may be readable */
} cte_target_state;

/** One storage target, as of now. */
typedef struct cte_target_info {
    char name[256];           /**< path of the target */
    char label[64];           /**< what the configuration calls it if it has no path of its own */
    char kind[16];            /**< "ram", "file", … */
    cte_target_state state;
    float score;              /**< 0 … 1, 1 is fastest */
    bool manual_score;        /**< it was given, not computed */
    bool measured;            /**< false: the next two are nominal values of the kind */
    uint64_t bytes_per_s;     /**< of large writes */
    uint64_t latency_ns;      /**< of a write of 4 KiB */
    uint64_t capacity_bytes;
    uint64_t free_bytes;
    uint64_t bytes_read;      /**< since the target was made */
    uint64_t bytes_written;
    uint64_t reads;           /**< operations */
    uint64_t writes;
    uint32_t failures;        /**< transfers in a row that failed, or took too long, last */
} cte_target_info;

/**
 * Lists the targets of a client's store, highest score first.
 * @param infos     array of `capacity` elements, may be NULL if capacity is 0
 * @param count     receives the number of targets, also if it is above `capacity`
 */
cte_status cte_client_targets(cte_client *client, cte_target_info *infos, uint32_t capacity,
                              uint32_t *count);

/** What the memory for copies of blobs did (`performance.blob_cache_size_mb`), in this process. */
typedef struct cte_cache_stats {
    uint64_t hits;         /**< pages (4 KiB) that gets found in it, since this process opened the
                                client or was forked */
    uint64_t misses;       /**< pages that they looked for and read from a target */
    uint64_t cached_bytes; /**< of blobs that are there now */
    uint64_t limit_bytes;  /**< what it may use in all; 0: there is none, and nothing is counted */
} cte_cache_stats;

/**
 * Tells how well the memory for copies of blobs serves.
 * @param client  NULL: cte_client_default()
 * @return -EINVAL if `stats` is NULL
 */
cte_status cte_client_cache_stats(cte_client *client, cte_cache_stats *stats);

/** What stored data shall survive. */
typedef enum cte_persistence {
    CTE_PERSIST_PROCESS, /**< the death of any process: true of all data as soon as a call returned */
    CTE_PERSIST_NODE     /**< reboot and power loss of the node */
} cte_persistence;

/**
 * Makes everything that was put before this call survive what `level` says, as far as the targets
 * can: written data of targets on disks is synced there.
 * @param volatile_bytes  receives the bytes that do not reach the level: those in memory, and all
 *                        whose metadata is in memory only.  NULL: that there are any is -ENOTSUP
 * @return the first error of a target; the others are synced all the same
 */
cte_status cte_client_flush(cte_client *client, cte_persistence level, uint64_t *volatile_bytes);

#ifdef __cplusplus
}
#endif
#endif
