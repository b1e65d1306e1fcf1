/* SPDX-License-Identifier: BSD-3-Clause */
/* A private store for a test, in a directory of its own. */
#ifndef CTE_TESTS_UNIT_STORE_HELPERS_H
#define CTE_TESTS_UNIT_STORE_HELPERS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cte/config.h>

#include "store/store.h"

static inline uint64_t test_random(uint64_t *state)
{
    /* splitmix64 */
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* The seed of a random test: CTE_TEST_SEED or the clock; printed so that a failure can be repeated. */
static inline uint64_t test_seed(void)
{
    const char *text = getenv("CTE_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) * 1000003u;
    printf("CTE_TEST_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

/* Makes a directory for a test under $TMPDIR or /tmp. */
static inline void test_directory(char *path, size_t bytes)
{
    const char *base = getenv("TMPDIR");
    snprintf(path, bytes, "%s/cte-test-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(path));
}

static inline void test_remove_directory(const char *path)
{
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

/* A configuration with its store in `directory`: a ram target and, if file_mib > 0, a file target. */
static inline cte_config *test_config(const char *directory, unsigned ram_mib, unsigned file_mib,
                                      const char *more)
{
    char text[8192], error[512];
    cte_config *config;
    unsetenv("CTE_STORE_NAME"); /* it would win over the name given here */
    int n = snprintf(text, sizeof text,
                     "store: {name: test, directory: '%s'}\n"
                     "storage:\n  - {bdev_type: ram, capacity_limit: %uMiB}\n",
                     directory, ram_mib);
    if (file_mib > 0)
        n += snprintf(text + n, sizeof text - (size_t)n,
                      "  - {bdev_type: file, path: '%s/target', capacity_limit: %uMiB}\n", directory,
                      file_mib);
    snprintf(text + n, sizeof text - (size_t)n, "%s", more ? more : "");
    if (cte_config_parse(text, "test", &config, error, sizeof error) != CTE_OK)
        fail_msg("%s", error);
    return config;
}

/* Bytes of all targets. */
static inline uint64_t test_capacity(struct cte__store *store, uint64_t *free_bytes)
{
    uint64_t capacity = 0;
    *free_bytes = 0;
    for (uint32_t i = 0; i < store->header->target_count; i++) {
        if (!cte__target_exists(store, i))
            continue;
        *free_bytes += cte__target_free_bytes(store, i);
        capacity += store->header->targets[i].capacity_bytes;
    }
    return capacity;
}

/* Nothing is lost, nothing is used twice, and what is used is what is referred to (I2).  An audit is
 * exact only while nobody changes the store, and a client's background thread may be at work: what
 * it has in hands looks lost.  What is lost stays so, and is found by the last audit. */
static inline void test_audit(struct cte__store *store)
{
    enum { AUDITS = 100, BETWEEN_US = 20000 };
    struct cte__store_audit audit;
    uint64_t free_bytes, capacity;
    bool exact = false;
    for (int i = 0; !exact && i < AUDITS; i++) {
        if (i > 0)
            usleep(BETWEEN_US);
        assert_int_equal(cte__store_audit(store, &audit), CTE_OK);
        capacity = test_capacity(store, &free_bytes);
        exact = audit.pages_doubly + audit.pages_lost + audit.pages_unowned == 0 &&
                audit.units_lost + audit.units_unowned == 0 &&
                audit.pages_published == audit.pages_referenced &&
                free_bytes + (audit.pages_published + audit.pages_pinned) * 4096 == capacity;
    }
    assert_int_equal(audit.pages_doubly, 0);
    assert_int_equal(audit.pages_lost, 0);
    assert_int_equal(audit.pages_unowned, 0);
    assert_int_equal(audit.units_lost, 0);
    assert_int_equal(audit.units_unowned, 0);
    assert_int_equal(audit.pages_published, audit.pages_referenced);
    assert_int_equal(free_bytes + (audit.pages_published + audit.pages_pinned) * 4096, capacity);
}

#endif
