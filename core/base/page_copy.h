/* SPDX-License-Identifier: BSD-3-Clause */
/* Copies of a page that compute its sum from the same loads: one pass over memory for both. */
#ifndef CTE_CORE_BASE_PAGE_COPY_H
#define CTE_CORE_BASE_PAGE_COPY_H

#include <stdbool.h>
#include <stdint.h>

/* What this processor can do.  `copy` returns the sum of the bytes that it wrote (checksum.h), even
 * if another thread changes the source meanwhile; `stream` also writes past the caches, to a page
 * aligned to 64 bytes, and needs a _mm_sfence() after the last page.  NULL: no such means. */
struct cte__page_copy {
    uint32_t (*copy)(void *to, const void *from);
    uint32_t (*stream)(void *to, const void *from);
    bool stream_small; /* streaming pays for single pages too */
};

/* The best means.  Thread-safe, always the same answer. */
const struct cte__page_copy *cte__page_copy(void);

/* All that this processor has, the best first, and last one without functions. */
const struct cte__page_copy *cte__page_copies(void);

#endif
