/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared file pointers, as the rest of the file layer sees them. */
#ifndef CTE_CORE_FILE_POINTER_H
#define CTE_CORE_FILE_POINTER_H

#include "file/tracked.h"

/* Gives back what a handle claimed, while its file is still open. */
void cte__pointer_release(cte_file *file);

/* Frees what processes left that died; by the node's first opener, with the file locked. */
void cte__pointers_reset(struct cte__file_state *state);

#endif
