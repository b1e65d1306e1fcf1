/* SPDX-License-Identifier: BSD-3-Clause */
#include "target/target.h"

#include <string.h>

#include "target/backing.h"

const struct cte__target_ops *const cte__target_ops_all[] = {
    &cte__target_ram,
#ifdef CTE_HAVE_LIBPMEM
    &cte__target_dev_dax,
#endif
    &cte__target_file,    &cte__target_posix, NULL,
};

const struct cte__target_ops *cte__target_ops_find(const char *kind)
{
    for (size_t i = 0; cte__target_ops_all[i]; i++)
        if (strcmp(cte__target_ops_all[i]->kind, kind) == 0)
            return cte__target_ops_all[i];
    return NULL;
}
