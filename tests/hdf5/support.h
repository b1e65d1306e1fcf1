/* SPDX-License-Identifier: BSD-3-Clause */
/* What the HDF5 tests share: a scratch directory, checked calls, comparison of files. */
#ifndef CTE_TESTS_HDF5_SUPPORT_H
#define CTE_TESTS_HDF5_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>

#include <hdf5.h>

#include <cte/hdf5.h>

/* Stops the test with place and text unless the condition holds. */
#define CHECK(condition) check_((condition), #condition, __FILE_NAME__, __LINE__)
/* An id or herr_t that must not be negative; gives it back. */
#define OK(call) ok_((long long)(call), #call, __FILE_NAME__, __LINE__)

void check_(bool holds, const char *text, const char *file, int line);
long long ok_(long long result, const char *text, const char *file, int line);

/* A fresh directory, removed at exit, also after a failed check; and a store of this test's own. */
const char *scratch_directory(void);

/* Removes a directory and what is in it. */
void remove_tree(const char *path);

/* Runs a command with its output captured; *status receives the exit status.  Free the result. */
char *run_command(int *status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whole file; free it.  NULL if it cannot be opened. */
char *read_whole(const char *path, size_t *bytes);

/* True if two regular files hold the same bytes. */
bool same_bytes(const char *path_a, const char *path_b);

/* The messages of the current error stack, joined; free it. */
char *error_stack_text(void);

/* New access property list with the driver; config as H5Pset_fapl_cte(). */
hid_t fapl_sec2(void);
hid_t fapl_cte(const cte_hdf5_config *config);

/* Opens (or creates, by the flags) without printing errors; the error stack is kept. */
hid_t try_open(const char *name, unsigned flags, hid_t fapl);

/* Writes or reads bytes [start, start + count) of a dataset. */
void transfer_bytes(hid_t set, bool write, hsize_t start, hsize_t count, unsigned char *bytes);

/* 0 if a child opens the file with the default driver. */
int stock_open(const char *name, unsigned flags);

#endif
