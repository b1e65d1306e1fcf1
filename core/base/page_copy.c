/* SPDX-License-Identifier: BSD-3-Clause */
/* XXH3 of a page, computed while it is copied, with AVX-512 or AVX2.
 *
 * The hash is that of xxHash (Yann Collet, "XXH3" in doc/xxhash_spec.md): over 4096 bytes it is
 * eight accumulators of 64 bits, fed by stripes of 64 bytes, scrambled after every 16 of them, and
 * merged in the end.  The library hashes what lies in memory already: that is a second pass. */
#include "base/page_copy.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#define XXH_STATIC_LINKING_ONLY /* the state's members: where the default secret is */
#include <xxhash.h>

#include "base/checksum.h"

enum {
    STRIPE_BYTES = 64,
    BLOCK_STRIPES = 16, /* a secret of 192 bytes, which advances by 8 with each stripe */
    PAGE_BLOCKS = CTE__PAGE_BYTES / (STRIPE_BYTES * BLOCK_STRIPES),
    SCRAMBLE_SECRET = 128,
    LAST_SECRET = 121, /* of the last stripe, which is not one of a block */
    MERGE_SECRET = 11,
    SCRAMBLE_SHIFT = 47,
    AHEAD_BYTES = 512, /* fetched ahead: 1 MiB from memory takes 116 us with it, 128 without */
};

#define PRIME32_1 UINT64_C(0x9E3779B1)
#define PRIME32_2 UINT64_C(0x85EBCA77)
#define PRIME32_3 UINT64_C(0xC2B2AE3D)
#define PRIME64_1 UINT64_C(0x9E3779B185EBCA87)
#define PRIME64_2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define PRIME64_3 UINT64_C(0x165667B19E3779F9)
#define PRIME64_4 UINT64_C(0x85EBCA77C2B2AE63)
#define PRIME64_5 UINT64_C(0x27D4EB2F165667C5)
#define PRIME_MX1 UINT64_C(0x165667919E3779F9)

static const uint64_t first_accumulators[8] = {PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3,
                                               PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1};
static const unsigned char *secret; /* the library's default one */

static inline uint64_t load64(const unsigned char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint64_t folded_product(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint32_t merge(const uint64_t accumulators[8])
{
    uint64_t hash = CTE__PAGE_BYTES * PRIME64_1;
    for (size_t i = 0; i < 8; i += 2) {
        const unsigned char *keys = secret + MERGE_SECRET + i * sizeof(uint64_t);
        hash += folded_product(accumulators[i] ^ load64(keys),
                               accumulators[i + 1] ^ load64(keys + sizeof(uint64_t)));
    }
    hash = (hash ^ hash >> 37) * PRIME_MX1;
    return (uint32_t)(hash ^ hash >> 32);
}

#define TARGET_512 __attribute__((target("avx512f")))
#define INLINE_512 TARGET_512 __attribute__((always_inline)) static inline
#define TARGET_256 __attribute__((target("avx2")))
#define INLINE_256 TARGET_256 __attribute__((always_inline)) static inline

/* Neighbours of 32 and of 64 bits change places. */
enum { ODD_TO_EVEN = 0x31, SWAP_PAIRS = 0x4E };

INLINE_512 __m512i add_stripe_512(__m512i sums, __m512i data, const unsigned char *keys)
{
    __m512i keyed = _mm512_xor_si512(data, _mm512_loadu_si512(keys));
    __m512i high = _mm512_shuffle_epi32(keyed, (_MM_PERM_ENUM)ODD_TO_EVEN);
    __m512i swapped = _mm512_shuffle_epi32(data, (_MM_PERM_ENUM)SWAP_PAIRS);
    return _mm512_add_epi64(_mm512_mul_epu32(keyed, high), _mm512_add_epi64(sums, swapped));
}

INLINE_512 __m512i scramble_512(__m512i sums)
{
    __m512i mixed = _mm512_xor_si512(sums, _mm512_srli_epi64(sums, SCRAMBLE_SHIFT));
    mixed = _mm512_xor_si512(mixed, _mm512_loadu_si512(secret + SCRAMBLE_SECRET));
    __m512i prime = _mm512_set1_epi64((long long)PRIME32_1);
    __m512i high = _mm512_mul_epu32(_mm512_srli_epi64(mixed, 32), prime);
    return _mm512_add_epi64(_mm512_mul_epu32(mixed, prime), _mm512_slli_epi64(high, 32));
}

INLINE_512 uint32_t copy_512(char *to, const char *from, bool stream)
{
    __m512i sums = _mm512_loadu_si512(first_accumulators), data;
    for (int block = 0; block < PAGE_BLOCKS; block++) {
        for (int i = 0; i < BLOCK_STRIPES; i++, from += STRIPE_BYTES, to += STRIPE_BYTES) {
            _mm_prefetch(from + AHEAD_BYTES, _MM_HINT_T0);
            data = _mm512_loadu_si512(from);
            if (stream)
                _mm512_stream_si512((__m512i *)to, data);
            else
                _mm512_storeu_si512(to, data);
            bool last = block == PAGE_BLOCKS - 1 && i == BLOCK_STRIPES - 1;
            sums = add_stripe_512(sums, data, secret + (last ? LAST_SECRET : i * 8));
        }
        if (block < PAGE_BLOCKS - 1)
            sums = scramble_512(sums);
    }
    uint64_t accumulators[8];
    _mm512_storeu_si512(accumulators, sums);
    return merge(accumulators);
}

TARGET_512 static uint32_t copy_page_512(void *to, const void *from)
{
    return copy_512(to, from, false);
}

TARGET_512 static uint32_t stream_page_512(void *to, const void *from)
{
    return copy_512(to, from, true);
}

INLINE_256 __m256i add_half_256(__m256i sums, __m256i data, const unsigned char *keys)
{
    __m256i keyed = _mm256_xor_si256(data, _mm256_loadu_si256((const __m256i *)keys));
    __m256i high = _mm256_shuffle_epi32(keyed, ODD_TO_EVEN);
    __m256i swapped = _mm256_shuffle_epi32(data, SWAP_PAIRS);
    return _mm256_add_epi64(_mm256_mul_epu32(keyed, high), _mm256_add_epi64(sums, swapped));
}

INLINE_256 __m256i scramble_half_256(__m256i sums, const unsigned char *keys)
{
    __m256i mixed = _mm256_xor_si256(sums, _mm256_srli_epi64(sums, SCRAMBLE_SHIFT));
    mixed = _mm256_xor_si256(mixed, _mm256_loadu_si256((const __m256i *)keys));
    __m256i prime = _mm256_set1_epi64x((long long)PRIME32_1);
    __m256i high = _mm256_mul_epu32(_mm256_srli_epi64(mixed, 32), prime);
    return _mm256_add_epi64(_mm256_mul_epu32(mixed, prime), _mm256_slli_epi64(high, 32));
}

INLINE_256 uint32_t copy_256(char *to, const char *from, bool stream)
{
    enum { HALF = STRIPE_BYTES / 2 };
    __m256i sums[2], data[2];
    memcpy(sums, first_accumulators, sizeof(sums));
    for (int block = 0; block < PAGE_BLOCKS; block++) {
        for (int i = 0; i < BLOCK_STRIPES; i++, from += STRIPE_BYTES, to += STRIPE_BYTES) {
            _mm_prefetch(from + AHEAD_BYTES, _MM_HINT_T0);
            bool last = block == PAGE_BLOCKS - 1 && i == BLOCK_STRIPES - 1;
            const unsigned char *keys = secret + (last ? LAST_SECRET : i * 8);
            for (int half = 0; half < 2; half++) {
                data[half] = _mm256_loadu_si256((const __m256i *)(from + half * HALF));
                if (stream)
                    _mm256_stream_si256((__m256i *)(to + half * HALF), data[half]);
                else
                    _mm256_storeu_si256((__m256i *)(to + half * HALF), data[half]);
                sums[half] = add_half_256(sums[half], data[half], keys + half * HALF);
            }
        }
        for (int half = 0; half < 2 && block < PAGE_BLOCKS - 1; half++)
            sums[half] = scramble_half_256(sums[half], secret + SCRAMBLE_SECRET + half * HALF);
    }
    uint64_t accumulators[8];
    memcpy(accumulators, sums, sizeof(sums));
    return merge(accumulators);
}

TARGET_256 static uint32_t copy_page_256(void *to, const void *from)
{
    return copy_256(to, from, false);
}

TARGET_256 static uint32_t stream_page_256(void *to, const void *from)
{
    return copy_256(to, from, true);
}

enum { WAYS_MAX = 2 };
static struct cte__page_copy ways[WAYS_MAX + 1]; /* the last one stays empty */

/* Whether a way of copying gives the library's sums: a stored sum must be what any process, on any
 * processor and with any version of the library, computes again. */
static bool agrees(const struct cte__page_copy *way)
{
    _Alignas(STRIPE_BYTES) unsigned char from[CTE__PAGE_BYTES], to[CTE__PAGE_BYTES];
    for (size_t i = 0; i < sizeof(from); i++)
        from[i] = (unsigned char)(i * i + i / 7);
    return way->copy(to, from) == cte__page_sum(from) &&
           way->stream(to, from) == cte__page_sum(from);
}

static bool find_secret(void)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return false;
    XXH3_64bits_reset(state);
    secret = state->extSecret;
    XXH3_freeState(state);
    return secret != NULL;
}

static void find_ways(void)
{
    /* Where 4 KiB are copied into 256 MiB: memcpy 0.54 to 0.80 us, streaming 0.40 (Xeon); 0.24 and
     * 0.37 (EPYC). */
    bool stream_small = __builtin_cpu_is("intel");
    struct cte__page_copy wide = {copy_page_512, stream_page_512, stream_small};
    struct cte__page_copy narrow = {copy_page_256, stream_page_256, stream_small};
    if (!find_secret())
        return;
    int count = 0;
    if (__builtin_cpu_supports("avx512f") && agrees(&wide))
        ways[count++] = wide;
    if (__builtin_cpu_supports("avx2") && agrees(&narrow))
        ways[count] = narrow;
}

const struct cte__page_copy *cte__page_copies(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_ways);
    return ways;
}

#else

const struct cte__page_copy *cte__page_copies(void)
{
    static const struct cte__page_copy none = {.copy = NULL};
    return &none;
}

#endif

const struct cte__page_copy *cte__page_copy(void)
{
    return cte__page_copies();
}
