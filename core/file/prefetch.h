/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading ahead (`file.prefetch`).
 *
 * Each handle of a file watches what is read by it.  Where that goes on from where the last read
 * ended, or (strided) at equal distances, ranges ahead are read from the real file by the client's
 * workers and kept as clean data (retain.h).  It begins when a pattern has shown, reads at most
 * CTE__PREFETCH_BYTES_MAX ahead, and stops with the pattern.  Whoever needs a range that is just
 * being read waits for it; one that no worker has begun is taken back.
 */
#ifndef CTE_CORE_FILE_PREFETCH_H
#define CTE_CORE_FILE_PREFETCH_H

#include "file/file_internal.h"

enum { CTE__PREFETCH_BYTES_MAX = 8 << 20 };

struct cte__prefetch;

/* NULL without memory for it, or if it is not configured. */
struct cte__prefetch *cte__prefetch_new(const cte_file *file);

/* Of what is read ahead from now on.  `prefetch` may be NULL. */
void cte__prefetch_set_score(struct cte__prefetch *prefetch, float score);

/* Ends what is under way.  NULL is fine. */
void cte__prefetch_free(struct cte__prefetch *prefetch);

/* Tells of a read; may start to read ahead.  `prefetch` may be NULL. */
void cte__prefetch_note(struct cte__prefetch *prefetch, uint64_t offset, uint64_t length);

/* Waits for what is just being read of a chunk, takes back what is not begun.  True if something
 * was read: then the tiers may have what they did not have. */
bool cte__prefetch_wait(struct cte__prefetch *prefetch, uint64_t chunk);

#endif
