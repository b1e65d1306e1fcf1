/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be done with a configuration once it is made. */
#include "config/keys.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

void cte_config_free(cte_config *config)
{
    if (!config)
        return;
    cte__config_clear_globs(&config->include);
    cte__config_clear_globs(&config->exclude);
    free(config);
}

static cte_status copy_globs(struct cte__config_globs *to, const struct cte__config_globs *from)
{
    for (to->count = 0; to->count < from->count; to->count++) {
        to->pattern[to->count] = strdup(from->pattern[to->count]);
        if (!to->pattern[to->count])
            return -ENOMEM;
    }
    return CTE_OK;
}

cte_status cte__config_copy(const cte_config *config, cte_config **out)
{
    cte_config *copy = malloc(sizeof *copy);
    *out = NULL;
    if (!copy)
        return -ENOMEM;
    *copy = *config;
    copy->include.count = copy->exclude.count = 0; /* still the original's strings */
    cte_status status = copy_globs(&copy->include, &config->include);
    if (status == CTE_OK)
        status = copy_globs(&copy->exclude, &config->exclude);
    if (status != CTE_OK) {
        cte_config_free(copy);
        return status;
    }
    *out = copy;
    return CTE_OK;
}

static bool matches_any(const struct cte__config_globs *globs, const char *path)
{
    for (uint32_t i = 0; i < globs->count; i++)
        if (fnmatch(globs->pattern[i], path, 0) == 0)
            return true;
    return false;
}

cte_file_mode cte__config_mode_for(const cte_config *config, const char *absolute_path)
{
    if (matches_any(&config->exclude, absolute_path))
        return CTE_FILE_MODE_BYPASS;
    if (config->include.count > 0 && !matches_any(&config->include, absolute_path))
        return CTE_FILE_MODE_BYPASS;
    return config->mode;
}
