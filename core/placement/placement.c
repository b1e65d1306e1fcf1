/* SPDX-License-Identifier: BSD-3-Clause */
#include "placement/placement.h"

#include <string.h>

#include "placement/engines.h"

const struct cte__placement_engine *const cte__placement_all[] = {
    &cte__placement_max_bw,
    NULL,
};

const struct cte__placement_engine *cte__placement_find(const char *name)
{
    for (size_t i = 0; cte__placement_all[i]; i++)
        if (strcmp(cte__placement_all[i]->name, name) == 0)
            return cte__placement_all[i];
    return NULL;
}
