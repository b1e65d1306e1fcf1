/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte destroy`: gives back what the store takes. */
#include <errno.h>
#include <limits.h>

#include <cte/store.h>

#include "command.h"
#include "json.h"

struct destroy_options {
    bool force;
};

static int tell(cte_status status, const char *path)
{
    switch (status) {
    case CTE_OK:
        return EXIT_OK;
    case CTE_ERR_NOT_FOUND:
        complain("there is no store %s", path);
        return EXIT_NO_STORE;
    case -EBUSY:
        return complain("store %s is in use; `cte info` lists the processes", path);
    case CTE_ERR_DRAIN:
        complain("store %s holds data of files that is not drained: `cte ls` lists it, `cte drain "
                 "--all` saves it, `cte destroy --force` loses it",
                 path);
        return EXIT_KEPT;
    default:
        return complain("store %s: %s", path, cte_status_string(status));
    }
}

static int run_destroy(const struct invocation *in)
{
    const struct destroy_options *options = in->options;
    char path[PATH_MAX] = "";
    cte_config *config = load_config(in);
    if (!config)
        return EXIT_FAILED;
    cte_status status = cte_store_path(config, path, sizeof path);
    if (status == CTE_OK)
        status = cte_store_destroy(config, options->force);
    cte_config_free(config);
    int result = tell(status, path);
    if (in->json && result == EXIT_OK) {
        json_object(NULL);
        json_text("store", path);
        json_end();
    }
    return result;
}

static const struct option_row rows[] = {
    {"force", 'f', OPTION_FLAG, offsetof(struct destroy_options, force),
     .help = "also if data of files is lost"},
    {0},
};

const struct command command_destroy = {
    .name = "destroy",
    .synopsis = "[--force] [--json]",
    .summary = "remove the store with its targets and tags",
    .description = "Removes the store with its targets and tags.  Refused while a process is "
                   "attached, and, without --force, while it holds data of files that is not "
                   "drained.",
    .run = run_destroy,
    .options = rows,
    .options_bytes = sizeof(struct destroy_options),
};
