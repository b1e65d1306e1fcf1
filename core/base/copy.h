/* SPDX-License-Identifier: BSD-3-Clause */
/* Copies between the program's memory and memory that processes share. */
#ifndef CTE_CORE_BASE_COPY_H
#define CTE_CORE_BASE_COPY_H

#include <stddef.h>
#include <stdint.h>

/* Into shared memory.  Large pieces go past the caches, where the processor can do that: the store
 * is larger than they are, and the program's own data stays in them.  When this returns the bytes
 * are ordered before what is stored next, as after memcpy(). */
void cte__copy_out(void *shared, const void *from, size_t bytes);

/* From shared memory, which others may be writing meanwhile: then what was copied is of no use, and
 * what is loaded after this returns tells the caller so. */
void cte__copy_in(void *to, const void *shared, size_t bytes);

/* The same for whole pages, with the sum of each page (checksum.h) as it was copied: computed while
 * the page is in the nearest cache. */
void cte__copy_out_summed(void *shared, const void *from, size_t bytes, uint32_t *sums);
void cte__copy_in_summed(void *to, const void *shared, size_t bytes, uint32_t *sums);

#endif
