/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the real file is that the store keeps data of, and that nobody has open through cte.
 *
 * Its path may lead to nothing, or to another file by now: it was renamed, or it was deleted.  What
 * was written to a deleted file is no data any more, as with unlink(2); but only what is certainly
 * deleted is taken for that.  Certain is: somebody saw it without a name; its inode belongs to a
 * younger file; the kernel says that its handle is stale.  A file system that is not mounted, or
 * a directory that nobody may search, proves nothing.
 */
#ifndef CTE_CORE_FILE_WHEREABOUTS_H
#define CTE_CORE_FILE_WHEREABOUTS_H

#include "file/tracked.h"

enum cte__whereabouts {
    CTE__REAL_FOUND,   /* it is open now */
    CTE__REAL_DELETED, /* nobody can ever read it again */
    CTE__REAL_MISSING, /* not where it was: deleted, moved, or its file system is not there */
    CTE__REAL_CLOSED,  /* where it was, but it cannot be opened */
};

/* What is known of it, from its record. */
struct cte__real_file {
    const char *path;
    uint64_t device, inode, born_ns;
    struct cte__real_handle handle;
    bool deleted; /* CTE__FILE_DELETED */
};

/* Copies what is known; `path` stays the record's. */
struct cte__real_file cte__real_file_of(const struct cte__tag_record *record);

/* Notes in a record how to find the file, which is open as `fd`. */
void cte__real_note_handle(struct cte__file_state *state, int fd);

/* When a file was made, 0 if its file system does not tell. */
uint64_t cte__real_born_ns(int fd);

/* True if the open file has no name any more, which then is noted in its record. */
bool cte__real_is_deleted(struct cte__store *store, cte__unit tag, int fd);

/* Finds the file, under its path or where it was renamed to, and opens it for writing (and reading,
 * if allowed).
 * @param fd      the caller's, of CTE__REAL_FOUND
 * @param status  why not, of MISSING and CLOSED */
enum cte__whereabouts cte__real_find(const struct cte__real_file *file, int *fd,
                                     cte_status *status);

#endif
