/* SPDX-License-Identifier: BSD-3-Clause */
/* Locations: what is put into the word comes out of it, and what does not fit is refused. */
#include "base/util.h"
#include "store/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define SIZE_MAX_BYTES (UINT64_C(1) << CTE__EXTENT_SIZE_BITS)
#define PAGE_LIMIT     (UINT64_C(1) << CTE__EXTENT_PAGE_BITS)

static struct cte__extent extent_at(uint32_t target, uint64_t number, uint64_t size_bytes,
                                    uint32_t state)
{
    return (struct cte__extent){.page = cte__page_make(target, number),
                                .count = cte__location_pages(size_bytes),
                                .state = state};
}

static void expect_round_trip(uint32_t target, uint64_t number, uint64_t size_bytes, uint32_t state)
{
    struct cte__extent in = extent_at(target, number, size_bytes, state);
    uint64_t location = cte__location_of_extent(&in, size_bytes);
    assert_int_not_equal(location, 0);
    assert_int_equal(cte__location_kind(location), CTE__AT_EXTENT);
    assert_int_equal(cte__location_size(location), size_bytes);
    struct cte__extent out = cte__location_extent(location);
    assert_int_equal(out.page, in.page);
    assert_int_equal(out.first, 0);
    assert_int_equal(out.count, in.count);
    assert_int_equal(out.state, state);
}

static void test_extents(void **state)
{
    static const uint64_t sizes[] = {1, 4095, 4096, 4097, 8192, 1 << 20, 123456, UINT64_C(1) << 26};
    static const uint64_t numbers[] = {0, 1, 16383, 1 << 20, PAGE_LIMIT - 1};
    static const uint32_t targets[] = {0, 1, CTE__TARGETS_MAX - 1};
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t n = 0; n < sizeof numbers / sizeof numbers[0]; n++)
            for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++) {
                expect_round_trip(targets[t], numbers[n], sizes[s], CTE__PAGE_DIRTY);
                expect_round_trip(targets[t], numbers[n], sizes[s], CTE__PAGE_CLEAN);
            }
}

static void expect_map(struct cte__extent extent, uint64_t size_bytes)
{
    assert_int_equal(cte__location_of_extent(&extent, size_bytes), 0);
}

static void test_what_needs_a_map(void **state)
{
    (void)state;
    expect_map(extent_at(0, 1, 4096, CTE__PAGE_PARTIAL), 4096);
    expect_map(extent_at(0, 1, 0, CTE__PAGE_DIRTY), 0);
    expect_map(extent_at(0, 1, SIZE_MAX_BYTES + 1, CTE__PAGE_DIRTY), SIZE_MAX_BYTES + 1);
    expect_map(extent_at(0, PAGE_LIMIT, 4096, CTE__PAGE_DIRTY), 4096);
    expect_map(extent_at(0, 1, 8192, CTE__PAGE_DIRTY), 4096); /* pages behind the end */
    expect_map(extent_at(0, 1, 4096, CTE__PAGE_DIRTY), 4097); /* a hole behind the pages */
    struct cte__extent later = extent_at(0, 1, 4096, CTE__PAGE_DIRTY);
    later.first = 1;
    expect_map(later, 4096);
}

static void test_units_and_small(void **state)
{
    static const cte__unit units[] = {2, 3, 1 << 20, UINT32_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        uint64_t location = cte__location_of_unit(units[i]);
        assert_int_equal(cte__location_kind(location), CTE__AT_UNIT);
        assert_int_equal(cte__location_unit(location), units[i]);
        for (uint32_t bytes = 1; bytes <= CTE__SMALL_MAX; bytes++) {
            location = cte__location_of_small(units[i], bytes, bytes * 2654435761u, bytes % 2);
            assert_int_equal(cte__location_kind(location), CTE__AT_SMALL);
            assert_int_equal(cte__location_unit(location), units[i]);
            assert_int_equal(cte__location_small_bytes(location), bytes);
            assert_int_equal(cte__location_small_sum(location),
                             bytes * 2654435761u % (1u << CTE__SMALL_SUM_BITS));
            assert_int_equal(cte__location_is_journaled(location), bytes % 2);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extents),
        cmocka_unit_test(test_what_needs_a_map),
        cmocka_unit_test(test_units_and_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
