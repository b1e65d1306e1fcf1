/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte config`: checks a configuration, shows the effective one. */
#include <stdio.h>

#include "command.h"
#include "json.h"

static int run_check(const struct invocation *in)
{
    struct invocation of_file = *in;
    of_file.config_path = in->arguments[0];
    cte_config *config = load_config(&of_file);
    if (!config)
        return EXIT_FAILED;
    cte_config_free(config);
    if (in->json) {
        json_object(NULL);
        json_text("file", in->arguments[0]);
        json_bool("ok", true);
        json_end();
    } else {
        printf("%s: ok\n", in->arguments[0]);
    }
    return EXIT_OK;
}

static cte_status print_key(void *context, const char *key, const char *value, const char *origin)
{
    (void)context;
    json_object(NULL);
    json_text("key", key);
    json_text("value", value);
    json_text("source", origin);
    json_end();
    return CTE_OK;
}

static cte_status print_keys(const cte_config *config)
{
    json_object(NULL);
    json_array("keys");
    cte_status status = cte_config_visit(config, print_key, NULL);
    json_end();
    json_end();
    return status;
}

static int run_show(const struct invocation *in)
{
    struct invocation of_file = *in;
    if (in->argument_count > 0)
        of_file.config_path = in->arguments[0];
    cte_config *config = load_config(&of_file);
    if (!config)
        return EXIT_FAILED;
    cte_status status = in->json ? print_keys(config) : cte_config_show(config, stdout);
    cte_config_free(config);
    return status == CTE_OK ? EXIT_OK : complain_status(status);
}

static const struct command check = {
    .name = "check",
    .synopsis = "[--json] FILE",
    .summary = "check a configuration",
    .run = run_check,
    .least = 1,
    .most = 1,
};

static const struct command show = {
    .name = "show",
    .synopsis = "[--json] [FILE]",
    .summary = "print the effective configuration, and where each value comes from",
    .run = run_show,
    .most = 1,
};

static const struct command *const forms[] = {&check, &show, NULL};

const struct command command_config = {
    .name = "config",
    .synopsis = "check [--json] FILE\nshow [--json] [FILE]",
    .summary = "check a configuration, or show the effective one",
    .most = -1,
    .commands = forms,
};
