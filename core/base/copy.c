/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/copy.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/checksum.h"
#include "base/page_copy.h"

/* Readers of shared pages may meet a writer: they find out afterwards and throw away what they have
 * (core/blob/get.c).  The thread sanitizer is told not to look at these copies. */
#ifdef __SANITIZE_THREAD__
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);

static void races_begin(void)
{
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}

static void races_end(void)
{
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#else
static inline void races_begin(void)
{
}

static inline void races_end(void)
{
}
#endif

/* Measured into a mapping of 256 MiB (EPYC, GB/s at 1 MiB pieces, memcpy then these): source in the
 * caches 23 and 30, source in memory 17 and 20; 4 KiB pieces 17 and 11.  Where the destination is
 * in the caches memcpy is faster (42 and 30), but a store that small is not what this is for.  With
 * sums 1 MiB takes 75 us past the caches and 167 through them (Xeon; memcpy 148, no sums). */
enum { STREAM_BYTES_MIN = 256 << 10, LINE_BYTES = 64 };

#ifdef __SSE2__
static void stream(char *to, const char *from, size_t bytes)
{
    size_t head = cte__min(-(uintptr_t)to % LINE_BYTES, bytes);
    memcpy(to, from, head);
    to += head;
    from += head;
    bytes -= head;
    for (; bytes >= LINE_BYTES; bytes -= LINE_BYTES, to += LINE_BYTES, from += LINE_BYTES) {
        __m128i a = _mm_loadu_si128((const __m128i *)from);
        __m128i b = _mm_loadu_si128((const __m128i *)from + 1);
        __m128i c = _mm_loadu_si128((const __m128i *)from + 2);
        __m128i d = _mm_loadu_si128((const __m128i *)from + 3);
        _mm_stream_si128((__m128i *)to, a);
        _mm_stream_si128((__m128i *)to + 1, b);
        _mm_stream_si128((__m128i *)to + 2, c);
        _mm_stream_si128((__m128i *)to + 3, d);
    }
    memcpy(to, from, bytes);
}

/* Orders streamed stores before the next release store, which would not do it. */
static void streamed(void)
{
    _mm_sfence();
}
#else
static void stream(char *to, const char *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

static void streamed(void)
{
}
#endif

static bool streams(size_t bytes)
{
    return bytes >= STREAM_BYTES_MIN ||
           (bytes >= CTE__PAGE_BYTES && cte__page_copy()->stream_small);
}

void cte__copy_out(void *shared, const void *from, size_t bytes)
{
    if (bytes == 0)
        return;
    races_begin();
    if (streams(bytes)) {
        stream(shared, from, bytes);
        streamed();
    } else {
        memcpy(shared, from, bytes);
    }
    races_end();
}

/* Page by page: the processor sums one while the last one's stores are still on their way.  In
 * larger blocks, or past the caches, both take turns: 1 MiB takes 60 us page by page, 65 to 90 us
 * otherwise, 58 us without the sums (EPYC, source in the caches; from memory 69, 92 to 116, 61). */
static void sum_and_copy_out(char *shared, const char *from, size_t bytes, uint32_t *sums)
{
    for (size_t at = 0; at < bytes; at += CTE__PAGE_BYTES) {
        *sums++ = cte__page_sum(from + at);
        memcpy(shared + at, from + at, CTE__PAGE_BYTES);
    }
}

/* In blocks that stay in a near cache, and are long enough for the processor to fetch ahead: 1 MiB
 * from memory takes 67 us in blocks of 4 KiB, 52 of 16 KiB, 47 of 32 or 64 KiB, and 50 by one
 * memcpy() without the sums (EPYC). */
static void copy_in_and_sum(char *to, const char *shared, size_t bytes, uint32_t *sums)
{
    enum { BLOCK_BYTES = 16 * CTE__PAGE_BYTES };
    for (size_t at = 0; at < bytes; at += BLOCK_BYTES) {
        size_t block = cte__min(bytes - at, BLOCK_BYTES);
        memcpy(to + at, shared + at, block);
        for (size_t page = at; page < at + block; page += CTE__PAGE_BYTES)
            *sums++ = cte__page_sum(to + page);
    }
}

static void copy_pages(uint32_t (*copy)(void *, const void *), char *to, const char *from,
                       size_t bytes, uint32_t *sums)
{
    for (size_t at = 0; at < bytes; at += CTE__PAGE_BYTES)
        *sums++ = copy(to + at, from + at);
}

void cte__copy_out_summed(void *shared, const void *from, size_t bytes, uint32_t *sums)
{
    assert(bytes % CTE__PAGE_BYTES == 0);
    assert((uintptr_t)shared % LINE_BYTES == 0);
    const struct cte__page_copy *way = cte__page_copy();
    races_begin();
    if (!way->copy) {
        sum_and_copy_out(shared, from, bytes, sums);
    } else if (streams(bytes)) {
        copy_pages(way->stream, shared, from, bytes, sums);
        streamed();
    } else {
        copy_pages(way->copy, shared, from, bytes, sums);
    }
    races_end();
}

void cte__copy_in_summed(void *to, const void *shared, size_t bytes, uint32_t *sums)
{
    assert(bytes % CTE__PAGE_BYTES == 0);
    const struct cte__page_copy *way = cte__page_copy();
    races_begin();
    if (way->copy)
        copy_pages(way->copy, to, shared, bytes, sums);
    else
        copy_in_and_sum(to, shared, bytes, sums);
    races_end();
    atomic_thread_fence(memory_order_acquire);
}

void cte__copy_in(void *to, const void *shared, size_t bytes)
{
    if (bytes == 0)
        return;
    races_begin();
    memcpy(to, shared, bytes);
    races_end();
    atomic_thread_fence(memory_order_acquire);
}
