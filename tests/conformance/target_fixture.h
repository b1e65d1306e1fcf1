/* SPDX-License-Identifier: BSD-3-Clause */
/* What the conformance tests of the targets share. */
#ifndef CTE_TESTS_CONFORMANCE_TARGET_FIXTURE_H
#define CTE_TESTS_CONFORMANCE_TARGET_FIXTURE_H

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "target/target.h"

enum {
    PAGE_BYTES = 4096,
    ARENA_BYTES = 1 << 20,
    ARENA_COUNT = 6,
    CAPACITY_BYTES = ARENA_BYTES * ARENA_COUNT,
    STORE_ID = 7,
    EXIT_SKIP = 77,
    UNPRIVILEGED_ID = 65534,
};

/* A backend, and one of its ways to move bytes. */
struct target_variant {
    const char *name;
    const struct cte__target_ops *ops;
    enum cte__target_engine engine;
};

/* One test on one backend: a directory of its own, and a target in it that is not made yet. */
struct fixture {
    const struct cte__target_ops *ops;
    char directory[PATH_MAX];
    char path[PATH_MAX];
    struct cte__target_spec spec;
};

struct target_test {
    const char *name;
    void (*run)(void **state);
};

/* Each file's tests, ended by a row without a name. */
extern const struct target_test target_contents_tests[];
extern const struct target_test target_faults_tests[];
extern const struct target_test target_mapped_tests[];
extern const struct target_test target_refusals_tests[];

/* Directories under which the tests work, by whether the contents survive the node. */
void fixture_set_roots(const char *memory_root, const char *disk_root);
int fixture_setup(void **state);
int fixture_teardown(void **state);

/* Removes a tree, whatever it holds; missing is fine. */
void remove_tree(const char *path);

/* create, open: must succeed. */
void create_target(const struct fixture *f);
void *open_target(const struct fixture *f);

cte_status write_bytes(const struct fixture *f, void *target, uint64_t offset, const void *bytes,
                       size_t count);
cte_status read_bytes(const struct fixture *f, void *target, uint64_t offset, void *bytes,
                      size_t count);

/* Bytes that tell where they belong: distinct per offset and seed. */
void fill_pattern(unsigned char *bytes, size_t count, uint64_t offset, uint64_t seed);

/* Pseudo-random numbers from a seed that is printed and can be given as CTE_TEST_SEED. */
uint64_t random_next(uint64_t *seed);
uint64_t random_below(uint64_t *seed, uint64_t bound);
uint64_t random_seed(void);

/* Does anything at all stand at the path? */
bool path_exists(const char *path);

/* Number of descriptors open in this process. */
int open_descriptor_count(void);

/* Runs `body` in a child process and gives its exit code, 128 + signal if it was killed. */
int run_child(int (*body)(const struct fixture *f), const struct fixture *f);

/* As run_child: the code must be 0; EXIT_SKIP skips the test and says so. */
void require_child(int (*body)(const struct fixture *f), const struct fixture *f);

/* For children, where cmocka's asserts must not be used. */
#define CHILD_CHECK(condition)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: in child: %s does not hold\n", __FILE__, __LINE__,             \
                    #condition);                                                                   \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

#endif
