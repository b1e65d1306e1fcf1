/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <cte/status.h>

static const struct {
    cte_status status;
    const char *name;
    const char *text;
} own_codes[] = {
#define OWN_CODE(name, value, text) {name, #name, text},
    CTE_ERRORS(OWN_CODE)
#undef OWN_CODE
};

enum { OWN_CODE_COUNT = sizeof own_codes / sizeof own_codes[0] };

const char *cte_status_string(cte_status status)
{
    if (status == CTE_OK)
        return "success";
    for (size_t i = 0; i < OWN_CODE_COUNT; i++)
        if (own_codes[i].status == status)
            return own_codes[i].text;
    const char *text = status < 0 && status > -4096 ? strerrordesc_np(-status) : NULL;
    return text ? text : "unknown status";
}

const char *cte_status_name(cte_status status)
{
    if (status == CTE_OK)
        return "CTE_OK";
    for (size_t i = 0; i < OWN_CODE_COUNT; i++)
        if (own_codes[i].status == status)
            return own_codes[i].name;
    const char *name = status < 0 && status > -4096 ? strerrorname_np(-status) : NULL;
    return name ? name : "unknown";
}

int cte_status_errno(cte_status status)
{
    switch (status) {
    case CTE_OK:
        return 0;
    case CTE_ERR_CONFIG:
        return EINVAL;
    case CTE_ERR_STORE_OWNER:
        return EACCES;
    case CTE_ERR_NO_TARGET:
        return ENOSPC;
    case CTE_ERR_NOT_FOUND:
        return ENOENT;
    case CTE_ERR_CHECKSUM:
    case CTE_ERR_STORE_LAYOUT:
    case CTE_ERR_STORE_CORRUPT:
    case CTE_ERR_DRAIN:
    case CTE_ERR_NAMESPACE:
        return EIO;
    default:
        return status < 0 && status > -4096 ? -status : EIO;
    }
}
