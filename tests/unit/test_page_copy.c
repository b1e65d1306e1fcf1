/* SPDX-License-Identifier: BSD-3-Clause */
/* Copies of pages with their sums: the bytes and the sums are those of memcpy and the library. */
#include "base/page_copy.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checksum.h"
#include "base/copy.h"

enum { PAGES = 80, ROOM = PAGES * CTE__PAGE_BYTES, SHIFT_MAX = 67 };

static alignas(CTE__PAGE_BYTES) unsigned char from[ROOM + SHIFT_MAX];
static alignas(CTE__PAGE_BYTES) unsigned char to[ROOM + SHIFT_MAX];

static void fill(unsigned seed)
{
    srand(seed);
    for (size_t i = 0; i < sizeof(from); i++)
        from[i] = (unsigned char)(rand() >> 7);
    /* Pages all of one value, and of high bits: products and carries at their ends. */
    memset(from, seed & 1 ? 0xFF : 0, 2UL * CTE__PAGE_BYTES);
    memset(to, 0x5A, sizeof(to));
}

static void check(const unsigned char *copied, const unsigned char *source, const uint32_t *sums,
                  size_t pages)
{
    assert_memory_equal(copied, source, pages * CTE__PAGE_BYTES);
    for (size_t i = 0; i < pages; i++)
        assert_int_equal(sums[i], cte__page_sum(source + i * CTE__PAGE_BYTES));
}

static void check_way(const struct cte__page_copy *way)
{
    for (unsigned seed = 0; seed < 20; seed++) {
        fill(seed);
        for (size_t i = 0; i < PAGES; i++) {
            const unsigned char *source = from + i * CTE__PAGE_BYTES + seed % SHIFT_MAX;
            uint32_t sum = way->copy(to, source);
            check(to, source, &sum, 1);
            memset(to, 0, CTE__PAGE_BYTES);
            sum = way->stream(to, source);
            check(to, source, &sum, 1);
        }
    }
}

/* What this processor offers agrees with the library for any bytes, not only those that it was
 * chosen by. */
static void test_same_sums(void **state)
{
    (void)state;
    if (!cte__page_copy()->copy)
        skip();
    for (const struct cte__page_copy *way = cte__page_copies(); way->copy; way++)
        check_way(way);
}

static void test_any_number_of_pages(void **state)
{
    (void)state;
    static const size_t counts[] = {0, 1, 2, 15, 16, 17, 63, 64, 65, PAGES};
    uint32_t sums[PAGES];
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        size_t bytes = counts[i] * CTE__PAGE_BYTES;
        fill((unsigned)i);
        cte__copy_out_summed(to, from + 3, bytes, sums);
        check(to, from + 3, sums, counts[i]);
        assert_int_equal(to[bytes], 0x5A);
        fill((unsigned)i);
        cte__copy_in_summed(to + 5, from, bytes, sums);
        check(to + 5, from, sums, counts[i]);
        assert_int_equal(to[bytes + 5], 0x5A);
        assert_int_equal(to[4], 0x5A);
    }
}

static void test_any_bytes_without_sums(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4095, 4096, 4097, 262143, 262144, 262209};
    fill(1);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (size_t shift = 0; shift < SHIFT_MAX; shift += 11) {
            memset(to, 0x5A, sizeof(to));
            cte__copy_out(to + shift, from + 1, sizes[i]);
            assert_memory_equal(to + shift, from + 1, sizes[i]);
            assert_int_equal(to[shift + sizes[i]], 0x5A);
            memset(to, 0x5A, sizeof(to));
            cte__copy_in(to + shift, from + 1, sizes[i]);
            assert_memory_equal(to + shift, from + 1, sizes[i]);
            assert_int_equal(to[shift + sizes[i]], 0x5A);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_sums),
        cmocka_unit_test(test_any_number_of_pages),
        cmocka_unit_test(test_any_bytes_without_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
