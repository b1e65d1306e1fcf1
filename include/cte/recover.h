/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Recovery: bringing what a store still holds of a job that was killed, or of a node that was
 * rebooted, into the real files, and saying of each file whether it is complete.
 *
 * Every write that returned before the job died is in the store, or in the real file already.
 * Opening the store (cte_store_open_existing()) takes back what dead processes left half done, and,
 * after a reboot, makes the store anew from its journal and the targets that survived.
 *
 * Thread rule: all functions are thread-safe.
 * Error rule: see status.h.
 */
#ifndef CTE_RECOVER_H
#define CTE_RECOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cte/client.h>
#include <cte/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How a file came out of a recovery. */
typedef enum cte_recover_state {
    CTE_RECOVER_COMPLETE,  /**< the real file has every byte that was acknowledged; or it was
                              deleted, and what was kept of it is dropped: `reason` says so */
    CTE_RECOVER_KEPT,      /**< nothing was to be done: scratch, or its policy is `never` */
    CTE_RECOVER_OPEN,      /**< a living process has it open, and drains it */
    CTE_RECOVER_INCOMPLETE /**< bytes are missing in the real file: `reason` says which and why */
} cte_recover_state;

/** A file of the store after recovery.  Strings are valid during the call they are given to. */
typedef struct cte_recovered {
    const char *path; /**< absolute, as it was opened */
    cte_recover_state state;
    cte_status status;      /**< of the last try to drain it */
    uint64_t size_bytes;    /**< with all that was written */
    uint64_t bytes_drained; /**< by this recovery */
    uint64_t bytes_damaged; /**< that do not match their checksums, and stay in the store */
    uint64_t bytes_lost;    /**< known to have been in memory only when the node went down */
    uint32_t tries;         /**< to drain it */
    const char *reason;     /**< one line in words; "" if there is nothing to say */
} cte_recovered;

/** How to recover.  Begin with CTE_RECOVER_OPTIONS_INIT. */
typedef struct cte_recover_options {
    size_t size;      /**< sizeof(cte_recover_options) */
    const char *path; /**< only this file, as the store knows it, whatever its policy and whatever
                           became of the real file meanwhile; NULL: all files */
    bool all; /**< files whose policy is `never`, and files that were changed by others since,
                   too */
    uint32_t tries_max;      /**< for each file; at least 1 */
    uint32_t retry_delay_ms; /**< before the second try; doubles with each */
    /** Called for each file, with no lock held; other than CTE_OK ends the recovery and is
     * returned.
     */
    cte_status (*recovered)(void *context, const cte_recovered *file);
    void *context;
} cte_recover_options;

#define CTE_RECOVER_OPTIONS_INIT                                                                   \
    {                                                                                              \
        sizeof(cte_recover_options), NULL, false, 3, 500, NULL, NULL                               \
    }

/** What a recovery did. */
typedef struct cte_recover_report {
    uint64_t files;         /**< that the store knew */
    uint64_t complete;      /**< of them; the others are kept, open or incomplete */
    uint64_t incomplete;    /**< also files that a living process has open with undrained data */
    uint64_t bytes_drained; /**< of all files */
} cte_recover_report;

/**
 * Recovers files.  What cannot be drained stays in the store, and may be recovered again.
 * @param options  NULL: CTE_RECOVER_OPTIONS_INIT
 * @param report   may be NULL
 * @return CTE_OK if every file was looked at, whether it is complete or not
 */
cte_status cte_store_recover(cte_client *client, const cte_recover_options *options,
                             cte_recover_report *report);

#ifdef __cplusplus
}
#endif
#endif
