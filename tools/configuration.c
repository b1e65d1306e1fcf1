/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <string.h>

#include "tool.h"

static int check(const char *path)
{
    struct invocation in = {.config_path = path};
    cte_config *config = load_config(&in);
    if (!config)
        return EXIT_FAILED;
    cte_config_free(config);
    printf("%s: ok\n", path);
    return EXIT_OK;
}

static int show(const struct invocation *in)
{
    cte_config *config = load_config(in);
    if (!config)
        return EXIT_FAILED;
    cte_status status = cte_config_show(config, stdout);
    cte_config_free(config);
    return status == CTE_OK ? EXIT_OK : complain("%s", cte_status_string(status));
}

int command_config(const struct invocation *in)
{
    const char *what = in->arguments[0];
    struct invocation inner = *in;
    if (in->argument_count == 2)
        inner.config_path = in->arguments[1];
    if (strcmp(what, "check") == 0 && in->argument_count == 2)
        return check(inner.config_path);
    if (strcmp(what, "show") == 0)
        return show(&inner);
    complain("usage: cte config check FILE | cte config show [FILE]");
    return EXIT_USAGE;
}
