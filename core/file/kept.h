/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of the policy `async` that were closed, by their descriptors. */
#ifndef CTE_CORE_FILE_KEPT_H
#define CTE_CORE_FILE_KEPT_H

#include "file/client.h"
#include "file/file_internal.h"

/* Keeps a descriptor of a file that is being closed; its data is drained to it when the client is
 * closed, whatever the file's name is then, or dropped if the file was deleted. */
cte_status cte__kept_add(cte_client *client, const cte_file *file);

/* Drains all that is kept. */
void cte__kept_finish(cte_client *client);

#endif
