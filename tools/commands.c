/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "command.h"

const struct command *const commands[] = {
    &command_info,  &command_targets, &command_ls,      &command_put,       &command_get,
    &command_rm,    &command_drain,   &command_check,   &command_telemetry, &command_config,
    &command_bench, &command_destroy, &command_version, &command_help,      NULL,
};

const struct command *find_command(const struct command *const *list, const char *name)
{
    for (; list && *list; list++)
        if (strcmp((*list)->name, name) == 0)
            return *list;
    return NULL;
}
