/* SPDX-License-Identifier: BSD-3-Clause */
/* The run summary: with CTE_SUMMARY=<file>, each closed handle appends a line of JSON to it. */
#ifndef CTE_CORE_FILE_SUMMARY_H
#define CTE_CORE_FILE_SUMMARY_H

#include "file/file_internal.h"

/* Does nothing when no summary was asked for; a summary that cannot be written is a warning. */
void cte__summary_write(const cte_file *file);

#endif
