/* SPDX-License-Identifier: BSD-3-Clause */
/* One preallocated regular file: capacity_bytes of data, then the mark.  What the backends share
 * that keep their bytes in such a file; they differ in how they move them.  Errors are logged. */
#ifndef CTE_CORE_TARGET_PLAIN_FILE_H
#define CTE_CORE_TARGET_PLAIN_FILE_H

#include "target/target.h"

/* What to do where the file system cannot reserve space. */
enum cte__plain_file_reserve {
    CTE__PLAIN_FILE_RESERVE_OR_NOT,   /* go on: a write may find the file system full */
    CTE__PLAIN_FILE_RESERVE_OR_WRITE, /* write zeros: for who maps the file and would get SIGBUS */
};

/* create, open and destroy of struct cte__target_ops.  Open returns a descriptor that holds the
 * shared lock, to be closed by the caller, or a negative status. */
cte_status cte__plain_file_create(const struct cte__target_spec *spec,
                                  enum cte__plain_file_reserve reserve);
int cte__plain_file_open(const struct cte__target_spec *spec);
cte_status cte__plain_file_destroy(const struct cte__target_spec *spec);

#endif
