/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * The node's store as a whole: what is in it, what is wrong with it, how to empty it.
 *
 * The `cte` tool is built on these functions; programs rarely need them.
 *
 * Thread rule: all functions are thread-safe.
 * Error rule: see status.h.
 * Visitors are called with no lock held; one that returns other than CTE_OK ends the walk, and its
 * status is passed on.  Strings they get are valid during the call.
 */
#ifndef CTE_STORE_H
#define CTE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cte/client.h>
#include <cte/file.h>
#include <cte/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * As cte_client_open(), but CTE_ERR_NOT_FOUND if there is no store, and closing the client drains
 * nothing: to look at a store without changing it.
 */
cte_status cte_store_open_existing(const cte_config *config, cte_client **out);

/** The directory of a configuration's store, whether it exists or not; -ENAMETOOLONG. */
cte_status cte_store_path(const cte_config *config, char *path, size_t path_bytes);

/**
 * Lists the processes attached to a store, without the caller's own.
 * @param pids   array of `capacity` elements, may be NULL if capacity is 0
 * @param count  receives the number of processes, also if it is above `capacity`
 */
cte_status cte_store_processes(cte_client *client, uint32_t *pids, uint32_t capacity,
                               uint32_t *count);

/** What a store takes besides its targets, in bytes. */
typedef struct cte_store_usage {
    uint64_t metadata_bytes;          /**< metadata in use: names, maps, indexes, small blobs */
    uint64_t metadata_capacity_bytes; /**< most metadata there can be */
    uint64_t segment_bytes; /**< memory behind the segment, that of free metadata included */
    /* Since the store was made, of all its processes: */
    uint64_t bytes_drained;            /**< written to the real files by drains */
    uint64_t bytes_drained_background; /**< part of these, while files were open or after close */
    uint64_t bytes_evicted;            /**< clean data given up to make room */
    uint64_t bytes_written_through;    /**< that went to real files because the targets were full */
    uint64_t drain_failures;           /**< tries in the background that failed */
} cte_store_usage;

/** Says what a store takes and what went through it; while processes change it, about. */
cte_status cte_store_get_usage(cte_client *client, cte_store_usage *usage);

/** A file that the store has data of, or that a process has open. */
typedef struct cte_store_file {
    const char *path;    /**< absolute, as it was opened */
    uint64_t size_bytes; /**< with what is not drained yet */
    cte_file_mode mode;
    cte_file_drain_policy drain;
    bool dirty; /**< bytes of it are not in the real file */
    bool open;  /**< some process has it open */
} cte_store_file;

cte_status cte_store_files(cte_client *client,
                           cte_status (*visit)(void *context, const cte_store_file *file),
                           void *context);

/** What became of a file that was to be drained. */
typedef struct cte_store_drained {
    const char *path;
    cte_status status; /**< -EBUSY: a process has it open, that drains it */
    uint64_t bytes_drained;
    bool deleted; /**< the file was deleted: what was kept of it is dropped */
} cte_store_drained;

/**
 * Drains files that nobody has open, and forgets them: what `async` left, or a process that died.
 * A file that was renamed in its directory is found.  What is kept of a file that certainly was
 * deleted is dropped; if it may have been moved as well, it is kept, and the status is -ENOENT.
 * @param path   only this one; NULL: all
 * @param force  also those whose drain policy is `never`; what is drained is made durable
 * @param visit  called for each file; may be NULL
 * @return the first error; files that a process has open count as one only if `path` names them
 */
cte_status cte_store_drain(cte_client *client, const char *path, bool force,
                           cte_status (*visit)(void *context, const cte_store_drained *drained),
                           void *context);

/**
 * Gives up what is kept of files that nobody has open and that are not where they were, nor
 * anywhere else that cte can find them: deleted ones, as only the caller can know.  Files that are
 * there stay as they are.
 * @param path   only this one; NULL: all
 * @param visit  called for each file that is given up; may be NULL
 * @return the first error
 */
cte_status cte_store_forget_missing(cte_client *client, const char *path,
                                    cte_status (*visit)(void *context,
                                                        const cte_store_drained *drained),
                                    void *context);

/** What a check found. */
typedef struct cte_store_report {
    uint64_t blobs;         /**< blobs and pieces of files that were read */
    uint64_t bytes_read;    /**< of them */
    uint64_t blobs_damaged; /**< that cannot be read or do not match their checksums */
    uint64_t pages_used;    /**< pages of 4 KiB in the targets */
    uint64_t pages_doubly;  /**< that two blobs claim */
    uint64_t pages_unowned; /**< that a blob claims, but are free for others to take */
    uint64_t pages_lost;    /**< in use by nobody */
    uint64_t units_unowned; /**< the same of metadata, in units of 32 bytes */
    uint64_t units_lost;
    uint64_t journal_records; /**< cte_store_check_kept(): read */
    uint64_t journal_damaged; /**< places in the journal that are no records */
    uint64_t bytes_lost;      /**< that were in memory only */
    bool exact;     /**< false: a process is attached, the page and unit counts may be off */
    bool checksums; /**< false: the store was made without, contents are not verified */
} cte_store_report;

/** True if a report tells of damage; leaks alone are none. */
bool cte_store_report_is_damage(const cte_store_report *report);

/**
 * Reads everything that is stored, and counts what is used.  Opening, closing or truncating a file
 * waits while that file is read.
 * @param visit  called for each damaged blob with words on it; may be NULL
 */
cte_status cte_store_check(cte_client *client, cte_store_report *report,
                           cte_status (*visit)(void *context, const char *text), void *context);

/**
 * Checks what is kept of a store whose memory is gone, after a reboot: the journal, and all bytes
 * that it speaks of.  Nothing is changed; attaching brings the store back.
 * @param visit  called for each finding with words on it; may be NULL; its status is ignored
 * @return CTE_ERR_NOT_FOUND: nothing is kept, or the store is in memory, for cte_store_check()
 */
cte_status cte_store_check_kept(const cte_config *config, cte_store_report *report,
                                cte_status (*visit)(void *context, const char *text),
                                void *context);

/** The journal of a store: what makes it survive a reboot. */
typedef struct cte_store_journal {
    char path[4096]; /**< "": the store has none */
    uint64_t generation;
    uint64_t size_bytes;
    cte_status status; /**< of the last append: what changed since it failed does not survive */
} cte_store_journal;

/** Tells of the journal of a client's store. */
cte_status cte_store_get_journal(cte_client *client, cte_store_journal *journal);

/**
 * Removes a store with all its tags.
 * @param force  also if data of files would be lost, or cannot be looked at
 * @return CTE_ERR_NOT_FOUND: there is none; -EBUSY: a process is attached, which `force` does not
 *         change; CTE_ERR_DRAIN: it holds data that is not drained
 */
cte_status cte_store_destroy(const cte_config *config, bool force);

#ifdef __cplusplus
}
#endif
#endif
