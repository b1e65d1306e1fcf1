/* SPDX-License-Identifier: BSD-3-Clause */
/* The run summary: with CTE_SUMMARY=<file>, each closed handle, and each file drained after its
 * last close, appends a line of JSON to it. */
#ifndef CTE_CORE_FILE_SUMMARY_H
#define CTE_CORE_FILE_SUMMARY_H

#include "file/file_internal.h"

/* What a line says. */
struct cte__summary {
    const char *path;
    cte_client *client; /* NULL: the file was not tracked */
    cte_file_stats stats;
};

/* Does nothing when no summary was asked for; a summary that cannot be written is a warning. */
void cte__summary_write(const struct cte__summary *summary);

#endif
