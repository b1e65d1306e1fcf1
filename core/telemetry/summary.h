/* SPDX-License-Identifier: BSD-3-Clause */
/* The run summary: with CTE_SUMMARY=<file>, each closed handle, and each file drained after its
 * last close, appends a line of JSON to it; with CTE_SUMMARY=1, a line of text goes to stderr. */
#ifndef CTE_CORE_TELEMETRY_SUMMARY_H
#define CTE_CORE_TELEMETRY_SUMMARY_H

#include <stdbool.h>

#include <cte/client.h>
#include <cte/file.h>

enum { CTE__SUMMARY_TARGETS_MAX = 16 };

/* What a line says. */
struct cte__summary {
    const char *path; /* NULL: not known */
    bool tracked;
    cte_file_stats stats;
    cte_target_info targets[CTE__SUMMARY_TARGETS_MAX];
    uint32_t target_count;
};

/* Appends a line; one that cannot be written is a warning. */
void cte__summary_write(const struct cte__summary *summary);

#endif
