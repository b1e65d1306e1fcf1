/* SPDX-License-Identifier: BSD-3-Clause */
/* What a command of the cte tool is.
 *
 * A command is one `const struct command` in a file of its own, and a line in commands.c.  Help,
 * completion and the check of the manual pages are made of these tables; docs/man/cte-NAME.1 is
 * its manual page, and tests/cli compares the two. */
#ifndef CTE_TOOLS_COMMAND_H
#define CTE_TOOLS_COMMAND_H

#include "options.h"
#include "tool.h"

struct command {
    const char *name;
    const char *synopsis; /* arguments, options that are not obvious: "TAG BLOB [FILE|-]"; several
                             forms are separated by lines */
    const char *summary;  /* one line, begins small, without full stop */
    const char *description;                 /* more of it, in sentences; lines end paragraphs */
    int (*run)(const struct invocation *in); /* returns an exit status, has said what is wrong */
    const struct option_row *options;        /* NULL: none but those of all commands */
    const void *defaults;                    /* struct that `options` sets; run() gets a copy */
    size_t options_bytes;                    /* of it */
    int least, most;                         /* arguments; most -1: any number */
    bool wraps;                              /* the first argument ends the options */
    const struct command *const *commands; /* forms with a name of their own, NULL at the end; with
                                              `run` these are what happens without a name */
};

/* All commands in the order of help; NULL at the end. */
extern const struct command *const commands[];

extern const struct command command_bench;
extern const struct command command_check;
extern const struct command command_config;
extern const struct command command_destroy;
extern const struct command command_drain;
extern const struct command command_get;
extern const struct command command_help;
extern const struct command command_info;
extern const struct command command_ls;
extern const struct command command_mv;
extern const struct command command_put;
extern const struct command command_recover;
extern const struct command command_rm;
extern const struct command command_run;
extern const struct command command_scrub;
extern const struct command command_stage_in;
extern const struct command command_stage_out;
extern const struct command command_stat;
extern const struct command command_targets;
extern const struct command command_telemetry;
extern const struct command command_top;
extern const struct command command_version;

/* A command of a list by its name; NULL. */
const struct command *find_command(const struct command *const *list, const char *name);

/* `path` is the whole name: "targets register". */
void print_command_help(const struct command *command, const char *path);
void print_command_usage(const struct command *command, const char *path, FILE *stream);
void print_help(void);

/* Options that all commands have, and the struct that they set. */
struct common_options {
    const char *config_path;
    bool json, help;
};
extern const struct option_row common_rows[];

#endif
