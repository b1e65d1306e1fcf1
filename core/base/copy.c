/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/copy.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/checksum.h"

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

#ifdef __SSE2__
/* Measured into a mapping of 256 MiB (EPYC, GB/s at 1 MiB pieces, memcpy then these): source in the
 * caches 23 and 30, source in memory 17 and 20; 4 KiB pieces 17 and 11.  Where the destination is
 * in the caches memcpy is faster (42 and 30), but a store that small is not what this is for. */
enum { STREAM_BYTES_MIN = 256 << 10, LINE_BYTES = 64 };

static void stream(char *to, const char *from, size_t bytes)
{
    size_t head = -(uintptr_t)to % LINE_BYTES;
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
    _mm_sfence(); /* else a release store would not order them */
}
#endif

void cte__copy_out(void *shared, const void *from, size_t bytes)
{
    if (bytes == 0)
        return;
    races_begin();
#ifdef __SSE2__
    if (bytes >= STREAM_BYTES_MIN)
        stream(shared, from, bytes);
    else
#endif
        memcpy(shared, from, bytes);
    races_end();
}

/* Page by page: the processor sums one while the last one's stores are still on their way.  In
 * larger blocks, or past the caches, both take turns: 1 MiB takes 60 us page by page, 65 to 90 us
 * otherwise, 58 us without the sums (EPYC, source in the caches; from memory 69, 92 to 116, 61). */
void cte__copy_out_summed(void *shared, const void *from, size_t bytes, uint32_t *sums)
{
    assert(bytes % CTE__PAGE_BYTES == 0);
    races_begin();
    for (size_t at = 0; at < bytes; at += CTE__PAGE_BYTES) {
        *sums++ = cte__page_sum((const char *)from + at);
        memcpy((char *)shared + at, (const char *)from + at, CTE__PAGE_BYTES);
    }
    races_end();
}

/* In blocks that stay in a near cache, and are long enough for the processor to fetch ahead: 1 MiB
 * from memory takes 67 us in blocks of 4 KiB, 52 of 16 KiB, 47 of 32 or 64 KiB, and 50 by one
 * memcpy() without the sums (EPYC). */
void cte__copy_in_summed(void *to, const void *shared, size_t bytes, uint32_t *sums)
{
    enum { BLOCK_BYTES = 16 * CTE__PAGE_BYTES };
    assert(bytes % CTE__PAGE_BYTES == 0);
    for (size_t at = 0; at < bytes; at += BLOCK_BYTES) {
        size_t block = cte__min(bytes - at, BLOCK_BYTES);
        cte__copy_in((char *)to + at, (const char *)shared + at, block);
        for (size_t page = at; page < at + block; page += CTE__PAGE_BYTES)
            *sums++ = cte__page_sum((const char *)to + page);
    }
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
