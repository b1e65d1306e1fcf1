/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Scrubbing: reading everything that a store holds, comparing it with its checksums, and repairing
 * what there is another copy of.
 *
 * Thread rule: all functions are thread-safe.
 * Error rule: see status.h.
 * Programs may use the store meanwhile: opening, closing or truncating a file waits while one piece
 * of it (a chunk) is read.
 */
#ifndef CTE_SCRUB_H
#define CTE_SCRUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cte/client.h>
#include <cte/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What became of something that a scrub found. */
typedef enum cte_scrub_outcome {
    CTE_SCRUB_NO_COPY,     /**< there is no other copy */
    CTE_SCRUB_REPAIRABLE,  /**< there is, but no repair was asked for */
    CTE_SCRUB_REPAIRED,    /**< the other copy has taken its place */
    CTE_SCRUB_NOT_REPAIRED /**< the repair failed; see the log */
} cte_scrub_outcome;

/** What a finding is about. */
typedef enum cte_scrub_kind {
    CTE_SCRUB_DATA,     /**< stored bytes of a file or blob */
    CTE_SCRUB_METADATA, /**< what the segment says of a file, a blob, or of free space */
    CTE_SCRUB_JOURNAL   /**< the journal */
} cte_scrub_kind;

/** Damage.  Strings are valid during the call they are given to. */
typedef struct cte_scrub_finding {
    cte_scrub_kind kind;
    const char *file;       /**< path of the file; NULL: it is none */
    const char *tag;        /**< name of the tag; NULL: it is none */
    const char *blob;       /**< name of the blob in the tag; NULL: it is none */
    uint64_t offset;        /**< first damaged byte, in the file, blob, or journal */
    uint64_t length;        /**< so many; 0: not known */
    const char *target;     /**< that holds the damaged copy; NULL: the segment, or the journal */
    uint64_t target_offset; /**< where it lies in the target, bytes */
    cte_status status;      /**< CTE_ERR_CHECKSUM, or why it cannot be read */
    cte_scrub_outcome outcome;
    const char *text; /**< all of that in words, one line */
} cte_scrub_finding;

/** How to scrub.  Begin with CTE_SCRUB_OPTIONS_INIT. */
typedef struct cte_scrub_options {
    size_t size;              /**< sizeof(cte_scrub_options) */
    bool repair;              /**< repair what there is another copy of */
    uint64_t bytes_per_s_max; /**< read at most so many bytes per second; 0: no limit */
    /** Called for each finding, with no lock held; other than CTE_OK ends the scrub and is
     * returned.
     */
    cte_status (*found)(void *context, const cte_scrub_finding *finding);
    /** Called now and then; `of` is what was in use at the beginning.  May be NULL. */
    void (*progress)(void *context, uint64_t bytes_read, uint64_t of);
    void *context; /**< for both */
} cte_scrub_options;

#define CTE_SCRUB_OPTIONS_INIT                                                                     \
    {                                                                                              \
        sizeof(cte_scrub_options), false, 0, NULL, NULL, NULL                                      \
    }

/** What a scrub did. */
typedef struct cte_scrub_report {
    uint64_t blobs;          /**< blobs and pieces of files that were read */
    uint64_t bytes_read;     /**< of them */
    uint64_t findings;       /**< damage, all kinds */
    uint64_t unrepaired;     /**< findings that are damage still */
    uint64_t bytes_damaged;  /**< in files and blobs */
    uint64_t bytes_repaired; /**< of these */
    bool exact;     /**< false: processes are attached, so free space was not accounted for */
    bool checksums; /**< false: the store was made without: contents cannot be verified */
} cte_scrub_report;

/**
 * Scrubs a store.
 * A damaged copy of bytes that the real file has is forgotten, so that the real file's are used;
 * a damaged journal is written anew from the segment.  Bytes that were not drained yet have no
 * other copy.
 * @param options  NULL: CTE_SCRUB_OPTIONS_INIT
 * @return CTE_OK if the scrub came to its end, whatever it found
 */
cte_status cte_store_scrub(cte_client *client, const cte_scrub_options *options,
                           cte_scrub_report *report);

#ifdef __cplusplus
}
#endif
#endif
