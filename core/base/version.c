/* SPDX-License-Identifier: BSD-3-Clause */
#include <cte/version.h>

#define STRING_(x) #x
#define STRING(x)  STRING_(x)

const char *cte_version(void)
{
    return STRING(CTE_VERSION_MAJOR) "." STRING(CTE_VERSION_MINOR) "." STRING(CTE_VERSION_PATCH);
}
