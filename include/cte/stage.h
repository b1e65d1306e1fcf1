/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Staging: copies of files are brought into the tiers before a job needs them.
 *
 * A program that opens a staged file later reads from the tiers what is there, and the rest from the
 * real file.  Copies are believed only as long as nobody else changed the file; the tiers may give them
 * up when they need the room.  The store of a staged file stays until it is destroyed.
 *
 * Thread rule: all functions are thread-safe.
 * Error rule: see status.h.
 */
#ifndef CTE_STAGE_H
#define CTE_STAGE_H

#include <stddef.h>
#include <stdint.h>

#include <cte/client.h>
#include <cte/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Options of cte_stage_in(); start from CTE_STAGE_OPTIONS_INIT. */
typedef struct cte_stage_options {
    size_t size;      /**< sizeof(cte_stage_options), for compatibility */
    uint32_t threads; /**< that read at once, 1 … 64; 0: 4 */
    float score;      /**< 0 … 1: tier that the copies ask for; negative: as configured */
    /** Called by these threads, several at once, with the bytes that each has just done; may be NULL. */
    void (*progress)(void *context, uint64_t bytes);
    void *context;
} cte_stage_options;

#define CTE_STAGE_OPTIONS_INIT                                                                     \
    {                                                                                              \
        sizeof(cte_stage_options), 0, -1.0f, NULL, NULL                                            \
    }

/** What became of a file. */
typedef struct cte_stage_result {
    uint64_t size_bytes;    /**< of the file */
    uint64_t bytes_present; /**< that were in the tiers already */
    uint64_t bytes_staged;  /**< that were brought there; all of them were read back and compared */
} cte_stage_result;

/**
 * Brings a file into the tiers.  What is there already, of an earlier call that was interrupted, is
 * verified and stays, so a call can be repeated.
 * @param client   NULL: cte_client_default()
 * @param options  NULL: defaults
 * @param result   also filled in when something went wrong; may be NULL
 * @return -ENOTSUP: the configuration keeps the file out of the tiers, or it is no regular file;
 *         -ENOSPC: the tiers are full, what is there is of use all the same; -ESTALE: the file was
 *         changed meanwhile, no copies of it are kept; -EBUSY: it is being written; -errno of the file
 */
cte_status cte_stage_in(cte_client *client, const char *path, const cte_stage_options *options,
                        cte_stage_result *result);

#ifdef __cplusplus
}
#endif
#endif
