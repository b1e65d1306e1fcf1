/* SPDX-License-Identifier: BSD-3-Clause */
/* Making room in full targets. */
#ifndef CTE_CORE_FILE_ROOM_H
#define CTE_CORE_FILE_ROOM_H

#include "file/file_internal.h"
#include "file/tracked.h"

/* Gives up clean data of any file, what was used longest ago first, until `bytes` and some more are
 * free.  False if nothing came free.  The caller holds no lock. */
bool cte__room_evict(cte_client *client, uint64_t bytes);

/* For blobs, as struct cte__store wants it: evicts, else drains files that nobody has open, else waits
 * for those who drain the others.  `context` is the client. */
bool cte__room_make(void *context, uint64_t bytes);

/* Makes room for a write to a file: evicts, else drains what of this file was written longest ago
 * and gives it up.  False if neither freed anything: then the real file is all that is left. */
bool cte__room_for_file(cte_file *file, uint64_t bytes);

/* Free bytes of all targets, and how many bytes they hold. */
uint64_t cte__room_free(const struct cte__store *store, uint64_t *capacity_bytes);

#endif
