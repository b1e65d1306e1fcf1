/* SPDX-License-Identifier: BSD-3-Clause */
/* The cte tool: looks after the node's store. */
#include <errno.h>
#include <stdarg.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cte/store.h>

#include "command.h"
#include "json.h"
#include "terminal.h"

enum { OPTIONS_BYTES_MAX = 4096, PATH_TEXT_BYTES = 64, COMPLAINT_BYTES = 2048 };

/* ---- what is wrong -------------------------------------------------------------------------- */

static char complaint[COMPLAINT_BYTES];

int complain(const char *format, ...)
{
    char text[COMPLAINT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fflush(stdout);
    fprintf(stderr, "%scte:%s %s\n", tone_text(stderr, TONE_BAD), tone_text(stderr, TONE_PLAIN),
            text);
    if (!complaint[0])
        memcpy(complaint, text, sizeof complaint);
    return EXIT_FAILED;
}

const char *first_complaint(void)
{
    return complaint[0] ? complaint : NULL;
}

int complain_usage(const struct invocation *in, const char *what)
{
    complain("%s", what);
    print_command_usage(in->command, in->path, stderr);
    fprintf(stderr, "`cte %s --help` says more\n", in->path);
    return EXIT_USAGE;
}

int complain_status(cte_status status)
{
    complain("%s", cte_status_string(status));
    return status == CTE_ERR_DRAIN                                         ? EXIT_KEPT
           : status == CTE_ERR_CHECKSUM || status == CTE_ERR_STORE_CORRUPT ? EXIT_DAMAGE
                                                                           : EXIT_FAILED;
}

/* ---- the store ------------------------------------------------------------------------------ */

cte_config *load_config(const struct invocation *in)
{
    char error[1024];
    cte_config *config;
    if (cte_config_load(in->config_path, &config, error, sizeof error) == CTE_OK)
        return config;
    complain("%s", error);
    return NULL;
}

int open_store(const struct invocation *in, bool create, cte_client **client)
{
    char path[4096];
    *client = NULL;
    cte_config *config = load_config(in);
    if (!config)
        return EXIT_FAILED;
    cte_status status =
        create ? cte_client_open(config, client) : cte_store_open_existing(config, client);
    if (status == CTE_OK) {
        cte_config_free(config);
        return EXIT_OK;
    }
    *client = NULL;
    if (cte_store_path(config, path, sizeof path) != CTE_OK)
        path[0] = 0;
    cte_config_free(config);
    if (status == CTE_ERR_NOT_FOUND) {
        complain("there is no store %s", path);
        return EXIT_NO_STORE;
    }
    complain("store %s cannot be used: %s", path, cte_status_string(status));
    return status == CTE_ERR_STORE_CORRUPT ? EXIT_DAMAGE : EXIT_FAILED;
}

int close_store(cte_client *client, int result)
{
    cte_status status = cte_client_close(client);
    return status == CTE_OK || result != EXIT_OK ? result : complain_status(status);
}

/* ---- the command line ----------------------------------------------------------------------- */

const struct option_row common_rows[] = {
    {"config", 'C', OPTION_TEXT, offsetof(struct common_options, config_path), .value = "FILE",
     .help = "configuration; default: CTE_CONFIG, WRP_RUNTIME_CONF, else built in"},
    {"json", 'j', OPTION_FLAG, offsetof(struct common_options, json), .help = "print JSON"},
    {"help", 'h', OPTION_FLAG, offsetof(struct common_options, help), .help = "print this"},
    {0},
};

static int run_command(struct invocation *in, int count, char **words,
                       struct common_options *common)
{
    const struct command *command = in->command;
    alignas(max_align_t) char fields[OPTIONS_BYTES_MAX] = {0};
    char error[OPTION_ERROR_BYTES];
    if (command->options_bytes > sizeof fields)
        abort(); /* a defect of the command */
    if (command->defaults)
        memcpy(fields, command->defaults, command->options_bytes);
    struct option_table tables[] = {{common_rows, common}, {command->options, fields}};
    int first = options_parse(tables, 2, command->wraps, count, words, error);
    if (first == OPTIONS_WRONG)
        return complain_usage(in, error);
    if (common->help) {
        print_command_help(command, in->path);
        return EXIT_OK;
    }
    in->config_path = common->config_path;
    in->json = common->json;
    in->options = fields;
    in->arguments = words + first;
    in->argument_count = count - first;
    if (!command->run)
        return complain_usage(in, in->argument_count > 0 ? "unknown form of the command"
                                                         : "what shall be done?");
    if (in->argument_count < command->least)
        return complain_usage(in, "too few arguments");
    if (command->most >= 0 && in->argument_count > command->most)
        return complain_usage(in, "too many arguments");
    return command->run(in);
}

/* words[0] names a command of the list, words[1] perhaps one of its own. */
static int dispatch(struct common_options *common, int count, char **words, bool *json)
{
    static char path[PATH_TEXT_BYTES];
    struct invocation in = {.command = find_command(commands, words[0])};
    if (!in.command) {
        complain("unknown command '%s'; `cte help` lists the commands", words[0]);
        return EXIT_USAGE;
    }
    snprintf(path, sizeof path, "%s", words[0]);
    const struct command *inner = count > 1 ? find_command(in.command->commands, words[1]) : NULL;
    if (inner) {
        in.command = inner;
        snprintf(path, sizeof path, "%s %s", words[0], words[1]);
        words++;
        count--;
    }
    in.path = path;
    int status = run_command(&in, count, words, common);
    *json = in.json;
    return status;
}

struct main_options {
    struct common_options common;
    bool version;
};

static int run_main(int count, char **words, bool *json)
{
    static const struct option_row rows[] = {
        {"version", 'V', OPTION_FLAG, offsetof(struct main_options, version),
         .help = "as `cte version`"},
        {0},
    };
    char error[OPTION_ERROR_BYTES];
    struct main_options options = {0};
    struct option_table tables[] = {{common_rows, &options.common}, {rows, &options}};
    int first = options_parse(tables, 2, true, count, words, error);
    if (first == OPTIONS_WRONG) {
        complain("%s; `cte help` lists the commands", error);
        return EXIT_USAGE;
    }
    if (options.version || options.common.help) {
        char *instead[] = {options.version ? "version" : "help", NULL};
        options.common.help = false;
        return dispatch(&options.common, 1, instead, json);
    }
    if (first == count) {
        complain("what shall be done? `cte help` lists the commands");
        return EXIT_USAGE;
    }
    return dispatch(&options.common, count - first, words + first, json);
}

int main(int argc, char **argv)
{
    bool json = false;
    int status = run_main(argc, argv, &json);
    json_finish(json && status != EXIT_OK ? first_complaint() : NULL);
    if (fflush(stdout) != 0 || ferror(stdout))
        return complain("cannot write to standard output: %s", strerror(errno));
    return status;
}
