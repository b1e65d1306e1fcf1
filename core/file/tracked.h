/* SPDX-License-Identifier: BSD-3-Clause */
/* Files in the store: their record, shared by all processes of the node, and their chunks. */
#ifndef CTE_CORE_FILE_TRACKED_H
#define CTE_CORE_FILE_TRACKED_H

#include <sys/stat.h>

#include "blob/blob.h"
#include "file/client.h"
#include "file/file_internal.h"

#define CTE__FILE_MARK "\0inode" /* no tag of a user can have such a name */

/* The name of a file's record: who the real file is, whatever it is called. */
struct cte__file_identity {
    char mark[8]; /* CTE__FILE_MARK */
    uint64_t device, inode;
};

/* Gets this process onto a file's record, making it if needed; the real file is open as `fd`.
 * @param chunk_bytes  for a file that has no chunks yet; 0: as configured */
cte_status cte__tracked_open(cte_client *client, int fd, const char *absolute_path,
                             cte_file_mode mode, cte_file_drain_policy drain, uint64_t chunk_bytes,
                             cte__unit *tag);

/* Leaves; the real file is open as `fd`.  The last opener of the node takes clean (scratch: all)
 * data out of the store, unless it is retained (retain.h). */
void cte__tracked_close(cte_client *client, cte__unit tag, int fd);

/* The process's own of a file, NULL if it does not have it open; it lasts as long as any handle.
 * The client is locked. */
struct cte__open_file *cte__open_find_locked(const cte_client *client, cte__unit tag);

/* Frees it after the last handle, and leaves the record; the real file is open as `fd`.  The client
 * is locked. */
void cte__open_release_locked(cte_client *client, struct cte__open_file *open, int fd);

/* Locks a file's record; completes a truncation that somebody died in.  `fd` may be -1. */
void cte__tracked_lock(struct cte__store *store, cte__unit tag, int fd);
void cte__tracked_unlock(struct cte__store *store, cte__unit tag);

/* The chunks that are stored now, ascending; free(*chunks). */
cte_status cte__tracked_chunks(struct cte__store *store, cte__unit tag, uint64_t **chunks,
                               size_t *count);

/* True if any byte is not in the real file yet, or its size is not; on doubt true. */
bool cte__tracked_is_dirty(struct cte__store *store, cte__unit tag);

/* Cuts or extends; the caller holds nothing. */
cte_status cte__tracked_truncate(struct cte__store *store, cte__unit tag, int fd,
                                 uint64_t size_bytes);

/* Extends; `real`: also reserves the real file's space. */
cte_status cte__tracked_allocate(struct cte__store *store, cte__unit tag, int fd,
                                 uint64_t size_bytes, bool real);

/* Takes all out of the store that is kept of a file which nobody has open; the record is locked. */
cte_status cte__tracked_forget(struct cte__store *store, cte__unit tag);

cte_status cte__tracked_refresh(struct cte__store *store, cte__unit tag, int fd);

/* What is to become of its data if all who have it open die. */
void cte__tracked_set_drain(struct cte__store *store, cte__unit tag, int fd,
                            cte_file_drain_policy drain);

/* Grows the size to `end`. */
void cte__tracked_extend(struct cte__tag_record *record, uint64_t end);

/* The lane of a chunk: who drains it, writes through it or cuts it holds the lane's lock. */
struct cte__mutex *cte__tracked_lane(struct cte__tag_record *record, uint64_t chunk);
void cte__lane_lock(struct cte__mutex *lane);

/* Key of a chunk; `chunk` must stay where it is while the key is used. */
struct cte__blob_key cte__chunk_key(cte__unit tag, const uint64_t *chunk);

#endif
