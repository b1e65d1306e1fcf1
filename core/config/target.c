/* SPDX-License-Identifier: BSD-3-Clause */
/* What one key of a target alone cannot tell. */
#include "config/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* True if two paths name one file although the file may not exist yet: same name in same directory.
 */
static bool is_same_file(const char *a, const char *b)
{
    if (strcmp(a, b) == 0)
        return true;
    const char *a_name = strrchr(a, '/'), *b_name = strrchr(b, '/');
    if (!a_name || !b_name || strcmp(a_name, b_name) != 0)
        return false;
    char directory[PATH_MAX];
    struct stat a_st, b_st;
    snprintf(directory, sizeof directory, "%.*s", (int)(a_name - a + 1), a);
    if (stat(directory, &a_st) != 0)
        return false;
    snprintf(directory, sizeof directory, "%.*s", (int)(b_name - b + 1), b);
    return stat(directory, &b_st) == 0 && a_st.st_dev == b_st.st_dev && a_st.st_ino == b_st.st_ino;
}

static cte_status check_path(struct cte__config_load *load, const struct cte__config_where *where,
                             const struct cte__config_target *target)
{
    if (strcmp(target->kind, "ram") == 0) /* its place is the store's directory */
        return CTE_OK;
    if (target->path[0] == '\0')
        return cte__config_fail(load, where, "a %s target needs a path; add path:", target->kind);
    if (target->path[0] != '/')
        return cte__config_fail(load, where,
                                "path '%.80s' of a %s target is relative; begin it with '/'",
                                target->path, target->kind);
    const char *name = strrchr(target->path, '/') + 1;
    if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return cte__config_fail(
            load, where,
            "path '%.80s' of a %s target does not end in a name of its own; add "
            "one",
            target->path, target->kind);
    return CTE_OK;
}

static cte_status fail_same_path(struct cte__config_load *load,
                                 const struct cte__config_where *where,
                                 const struct cte__config_target *target,
                                 const struct cte__config_target *other)
{
    char place[32];
    if (other->origin.line != 0)
        snprintf(place, sizeof place, "line %" PRIu32, other->origin.line);
    else
        snprintf(place, sizeof place, "storage[%d]", (int)(other - load->config->targets));
    return cte__config_fail(load, where,
                            "path '%.80s' is already the target of %s; give each target its own "
                            "path",
                            target->path, place);
}

cte_status cte__config_check_target(struct cte__config_load *load,
                                    const struct cte__config_where *where,
                                    const struct cte__config_target *target)
{
    const cte_config *config = load->config;
    if (target->kind[0] == '\0')
        return cte__config_fail(load, where,
                                "a storage target needs bdev_type; add 'bdev_type: ram' or 'file'");
    if (target->capacity_bytes == 0)
        return cte__config_fail(load, where,
                                "a storage target needs capacity_limit; add one, as "
                                "'capacity_limit: 8GB'");
    if (target->io[0] != '\0' && strcmp(target->kind, "file") != 0)
        return cte__config_fail(
            load, where, "io is a choice of file targets only; remove it from this %s target",
            target->kind);
    cte_status status = check_path(load, where, target);
    if (status != CTE_OK)
        return status;
    for (const struct cte__config_target *other = config->targets;
         other < config->targets + config->target_count; other++)
        if (other != target && target->path[0] != '\0' && is_same_file(other->path, target->path))
            return fail_same_path(load, where, target, other);
    return CTE_OK;
}
