/* SPDX-License-Identifier: BSD-3-Clause */
/* Checksum of a page of stored data: XXH3, with the widest vector instructions the machine has. */
#ifndef CTE_CORE_BASE_CHECKSUM_H
#define CTE_CORE_BASE_CHECKSUM_H

#include <stdint.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#include "base/util.h"

/* Of the bytes alone: what a target computes while it moves them. */
static inline uint32_t cte__page_sum(const void *page)
{
    return (uint32_t)XXH3_64bits(page, CTE__PAGE_BYTES);
}

/* A page's checksum from its sum.  `index` is the page's number in its blob, so that a page found
 * in the wrong place is noticed. */
static inline uint32_t cte__checksum_of_sum(uint32_t sum, uint64_t index)
{
    return sum ^ (uint32_t)(index * UINT64_C(0x9E3779B1));
}

static inline uint32_t cte__page_checksum(const void *page, uint64_t index)
{
    return cte__checksum_of_sum(cte__page_sum(page), index);
}

/* Of any number of bytes. */
static inline uint32_t cte__bytes_checksum(const void *bytes, size_t count)
{
    return (uint32_t)XXH3_64bits(bytes, count);
}

#endif
