/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "command.h"

/* clang-format off */
const struct command *const commands[] = {
    &command_run,
    &command_info,
    &command_targets,
    &command_ls,
    &command_stat,
    &command_put,
    &command_get,
    &command_rm,
    &command_mv,
    &command_drain,
    &command_stage_in,
    &command_stage_out,
    &command_recover,
    &command_check,
    &command_scrub,
    &command_telemetry,
    &command_top,
    &command_config,
    &command_bench,
    &command_destroy,
    &command_version,
    &command_help,
    NULL,
};
/* clang-format on */

const struct command *find_command(const struct command *const *list, const char *name)
{
    for (; list && *list; list++)
        if (strcmp((*list)->name, name) == 0)
            return *list;
    return NULL;
}
