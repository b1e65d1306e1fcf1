/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of the policy `async` that were closed, by their descriptors. */
#ifndef CTE_CORE_FILE_KEPT_H
#define CTE_CORE_FILE_KEPT_H

#include "file/client.h"
#include "file/drain.h"
#include "file/file_internal.h"

/* Keeps a descriptor of a file that is being closed; its data is drained to it when the client is
 * closed, whatever the file's name is then, or dropped if the file was deleted. */
cte_status cte__kept_add(cte_client *client, const cte_file *file);

/* ---- for the background thread --------------------------------------------------------------- */

/* True if anything is kept; the client is locked. */
bool cte__kept_any_locked(cte_client *client);

/* True if one is due; the client is locked. */
bool cte__kept_due_locked(const cte_client *client, uint64_t now_ns);

/* A file to drain: nobody else takes it until it is returned.  NULL: none is due; *due_ns is when
 * one is (CLOCK_MONOTONIC), UINT64_MAX: none is kept. */
struct cte__kept_file *cte__kept_borrow(cte_client *client, uint64_t now_ns, uint64_t *due_ns);

/* Joins its record, which cte__tracked_close() leaves: its data is dropped then if it is told to have
 * been deleted. */
cte_status cte__kept_open(cte_client *client, const struct cte__kept_file *kept, bool deleted,
                          cte__unit *tag);
bool cte__kept_is_deleted(const struct cte__kept_file *kept);
int cte__kept_fd(const struct cte__kept_file *kept);

/* Gives it back.  `done`: it is drained, nothing is kept of it; else it is due again at `due_ns`.
 * @param bytes  what was drained of it */
void cte__kept_return(cte_client *client, struct cte__kept_file *kept, bool done, uint64_t bytes,
                      uint64_t due_ns);

/* ---------------------------------------------------------------------------------------------- */

/* Drains all that is kept, and lets it go; `background` as of cte__drain(). */
void cte__kept_finish(cte_client *client, struct cte__background *background);

/* The same, and tells of each file; what cannot be drained stays kept.
 * @param path  only what was opened by this path; NULL: all */
cte_status cte__kept_drain(cte_client *client, const char *path, cte__drained_visitor visit,
                           void *context);

/* True if a descriptor of the file is kept. */
bool cte__kept_has(cte_client *client, uint64_t device, uint64_t inode);

#endif
