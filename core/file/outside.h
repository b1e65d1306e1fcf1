/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether somebody else changed a real file while the store kept data for it.
 *
 * Data that outlives its job (a killed process, a failed drain, the policy `never`) must not be
 * drained over what a later run, without cte, made of the file.  Every change that cte itself makes
 * stands between cte__real_begin() and cte__real_end(), which notes the file's time; data without
 * its job is drained only if the file still has that time.
 */
#ifndef CTE_CORE_FILE_OUTSIDE_H
#define CTE_CORE_FILE_OUTSIDE_H

#include <sys/stat.h>

#include "store/store.h"

/* Around each change of the real file, which is open as `fd`. */
void cte__real_begin(struct cte__store *store, cte__unit tag, int fd);
void cte__real_end(struct cte__store *store, cte__unit tag, int fd);

/* Notes the file as it is; the record is locked. */
void cte__real_seen(struct cte__file_state *file, const struct stat *st);

/* The mark of a file: its times and size when cte last changed it or saw it. */
void cte__real_mark(struct cte__file_state *file, const struct stat *st);
bool cte__real_is_marked(const struct cte__file_state *file, const struct stat *st);

/* Cte itself gave the file its times, which `st` has. */
void cte__real_stamped(struct cte__file_state *file, const struct stat *st);

/* True if kept data has lost its job and the file changed since. */
bool cte__real_changed_outside(const struct cte__file_state *file, const struct stat *st);

/* Marks what this store keeps of files that nobody has open: its job ends. */
void cte__orphan_kept_files(struct cte__store *store);

#endif
