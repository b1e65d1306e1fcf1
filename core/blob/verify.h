/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether the stored copy of a blob is what was put, page by page, and what can be done about it.
 */
#ifndef CTE_CORE_BLOB_VERIFY_H
#define CTE_CORE_BLOB_VERIFY_H

#include "blob/blob.h"

/* Bytes of a blob whose stored copy cannot be read, or is not what its checksum says. */
struct cte__bad_bytes {
    uint64_t offset, length; /* in the blob */
    cte__page page;          /* the first one; not of small blobs */
    bool small;              /* they lie in the segment */
    bool clean;              /* the real file has them */
    cte_status status;       /* CTE_ERR_CHECKSUM, or why they cannot be read */
};

/* What a verification found; free with cte__verified_free(). */
struct cte__verified {
    struct cte__bad_bytes *bad; /* ascending; neighbours on neighbouring pages are joined */
    size_t bad_count, bad_capacity;
    uint64_t bytes_read;
    bool there; /* there is such a blob */
};

/* Reads every stored byte of a blob.  One that changes all the time counts as sound: what is read
 * of it is verified by whoever reads it.
 * @param buffer  CTE__VERIFY_BYTES, aligned to pages
 * @return an error of the verification itself: CTE_ERR_NOT_FOUND, CTE_ERR_STORE_CORRUPT, -ENOMEM */
enum { CTE__VERIFY_BYTES = 1 << 20 };
cte_status cte__blob_verify(struct cte__store *store, const struct cte__blob_key *key, char *buffer,
                            struct cte__verified *verified);
void cte__verified_free(struct cte__verified *verified);

/* Forgets the clean bytes of a chunk that a verification of `snapshot` found damaged and that are
 * still the same. */
cte_status cte__blob_drop_damaged(struct cte__store *store, const struct cte__blob_key *key,
                                  const struct cte__snapshot *snapshot,
                                  const struct cte__verified *verified);

/* Forgets the clean bytes of a chunk that are damaged, so that the real file's are used.  Nothing
 * that was put meanwhile, and nothing dirty, is touched.
 * @param dropped  receives how many bytes these were */
cte_status cte__chunk_heal(struct cte__store *store, const struct cte__blob_key *key,
                           uint64_t *dropped);

/* Takes those pages out of a snapshot whose stored copy cannot be read, or is not what its checksum
 * says.
 * @param verified  receives which; free with cte__verified_free() */
cte_status cte__snapshot_leave_out_damaged(struct cte__store *store, struct cte__snapshot *snapshot,
                                           char *buffer, struct cte__verified *verified);

/* Says in the log which bytes a verification found damaged, and where they lie.
 * @param dirty_only  not those that the real file has */
void cte__verified_log(struct cte__store *store, const struct cte__blob_key *key,
                       const struct cte__verified *verified, bool dirty_only);

/* The same, verifying first. */
void cte__blob_log_damage(struct cte__store *store, const struct cte__blob_key *key);

#endif
