/* SPDX-License-Identifier: BSD-3-Clause */
/* The cte tool: looks after the node's store. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cte/store.h>
#include <cte/version.h>

#include "tool.h"

static const struct command {
    const char *name;
    int (*run)(const struct invocation *in);
    const char *options; /* letters of the table below; NULL: takes its command line apart itself */
    int least, most;     /* arguments; most -1: any number */
    const char *usage;
    const char *help;
} commands[] = {
    {"version", command_version, "", 0, 0, "version", "print the version of the library"},
    {"info", command_info, "j", 0, 0, "info [--json]",
     "show the store, who is attached, and its targets"},
    {"ls", command_list, "j", 0, 1, "ls [--json] [TAG]",
     "list files and tags, or the blobs of a tag"},
    {"put", command_put, "cs", 2, 3, "put [--create] [--score S] TAG BLOB [FILE|-]",
     "store a file (-: standard input) as a blob"},
    {"get", command_get, "", 2, 3, "get TAG BLOB [FILE|-]",
     "write a blob to a file (-: standard output)"},
    {"rm", command_remove, "", 1, 2, "rm TAG [BLOB]", "delete a tag, or one blob of it"},
    {"drain", command_drain, "ja", 0, -1, "drain [--json] [--all | PATH...]",
     "write kept data of files that nobody has open to\n"
     "                  the real files and forget it; --all and PATH include\n"
     "                  files that are never drained by themselves"},
    {"check", command_check, "j", 0, 0, "check [--json]",
     "read and verify everything that is stored"},
    {"bench", command_bench, NULL, 0, -1, "bench put|get|scale [OPTION...]",
     "measure the blobs of a private store against what the\n"
     "                  machine can do; `cte bench --help` lists the options"},
    {"telemetry", command_telemetry, "jFn", 0, 0, "telemetry [--since TIME] [--follow] [--json]",
     "list what programs did with tags and blobs, as far as\n"
     "                  they record it (telemetry.enabled)"},
    {"targets", command_targets, "js", 0, 4,
     "targets [--json] | targets register [--score S] KIND CAPACITY [PATH] |\n"
     "      targets unregister NAME",
     "list the storage targets of the store, add one, or remove\n"
     "                  one after moving what it holds to the others"},
    {"config", command_config, "", 1, 2, "config check FILE | config show [FILE]",
     "check a configuration, or print the effective one"},
    {"destroy", command_destroy, "f", 0, 0, "destroy [--force]",
     "remove the store with its tags; with undrained data\n"
     "                  of files only by --force; never while it is in use"},
};

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void print_help(void)
{
    puts("usage: cte [--config FILE] COMMAND [OPTION...] [ARGUMENT...]\n\n"
         "Looks after the store of this node: what programs left in it, and its tags and blobs.\n");
    for (int i = 0; i < COMMAND_COUNT; i++)
        printf("  cte %s\n                  %s\n", commands[i].usage, commands[i].help);
    puts(
        "\n"
        "  -C, --config FILE  configuration; default: CTE_CONFIG, WRP_RUNTIME_CONF, else built in\n"
        "  -j, --json         print JSON\n"
        "  -h, --help         print this\n"
        "  -V, --version      as `cte version`\n\n"
        "Exit status: 0 done; 1 failed, or `check` found damage, or there is no store; 2 wrong\n"
        "usage.  The store is that of the configuration: CTE_STORE_NAME and CTE_STORE_DIRECTORY\n"
        "choose another.");
}

static int usage_error(const struct command *command, const char *what)
{
    if (what)
        complain("%s", what);
    if (command)
        fprintf(stderr, "usage: cte %s\n", command->usage);
    else
        fputs("usage: cte [--config FILE] COMMAND ...; `cte --help` lists the commands\n", stderr);
    return EXIT_USAGE;
}

int command_version(const struct invocation *in)
{
    (void)in;
    printf("cte %s\n", cte_version());
    return EXIT_OK;
}

cte_config *load_config(const struct invocation *in)
{
    char error[1024];
    cte_config *config;
    if (cte_config_load(in->config_path, &config, error, sizeof error) == CTE_OK)
        return config;
    complain("%s", error);
    return NULL;
}

cte_client *open_store(const struct invocation *in, bool create)
{
    char path[4096];
    cte_client *client = NULL;
    cte_config *config = load_config(in);
    if (!config)
        return NULL;
    cte_status status =
        create ? cte_client_open(config, &client) : cte_store_open_existing(config, &client);
    if (status != CTE_OK) {
        client = NULL;
        if (cte_store_path(config, path, sizeof path) != CTE_OK)
            path[0] = 0;
        if (status == CTE_ERR_NOT_FOUND)
            complain("there is no store %s", path);
        else
            complain("store %s cannot be used: %s", path, cte_status_string(status));
    }
    cte_config_free(config);
    return client;
}

int close_store(cte_client *client, int result)
{
    cte_status status = cte_client_close(client);
    return status == CTE_OK ? result : complain("%s", cte_status_string(status));
}

static bool parse_score(const char *text, float *score)
{
    char *end;
    errno = 0;
    *score = strtof(text, &end);
    return errno == 0 && end != text && *end == 0 && *score >= 0.0f && *score <= 1.0f;
}

static bool parse_time(const char *text, uint64_t *time)
{
    char *end;
    errno = 0;
    *time = strtoull(text, &end, 10);
    return errno == 0 && *text >= '0' && *text <= '9' && *end == 0;
}

/* Runs a command; argv[0] is its name. */
static int run_command(const struct command *command, struct invocation *in, int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},
        {"all", no_argument, NULL, 'a'},
        {"force", no_argument, NULL, 'f'},
        {"create", no_argument, NULL, 'c'},
        {"score", required_argument, NULL, 's'},
        {"since", required_argument, NULL, 'n'},
        {"follow", no_argument, NULL, 'F'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    if (!command->options) {
        in->arguments = argv;
        in->argument_count = argc;
        return command->run(in);
    }
    int letter;
    optind = 0; /* glibc: begin anew */
    while ((letter = getopt_long(argc, argv, "jafFcs:h", options, NULL)) != -1) {
        if (letter == 'h') {
            print_help();
            return EXIT_OK;
        }
        if (letter == '?')
            return usage_error(command, NULL);
        if (!strchr(command->options, letter))
            return usage_error(command, "this command does not have that option");
        in->json |= letter == 'j';
        in->all |= letter == 'a';
        in->force |= letter == 'f';
        in->create |= letter == 'c';
        in->follow |= letter == 'F';
        if (letter == 's' && !parse_score(optarg, &in->score))
            return usage_error(command, "a score is a number from 0 to 1");
        if (letter == 'n' && !parse_time(optarg, &in->since))
            return usage_error(command, "a time is a whole number, as `cte telemetry` prints it");
        in->score_given |= letter == 's';
    }
    in->arguments = argv + optind;
    in->argument_count = argc - optind;
    if (in->argument_count < command->least ||
        (command->most >= 0 && in->argument_count > command->most))
        return usage_error(command, in->argument_count < command->least ? "too few arguments"
                                                                        : "too many arguments");
    return command->run(in);
}

static int dispatch(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'C'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    struct invocation in = {.score = 1.0f};
    int letter;
    while ((letter = getopt_long(argc, argv, "+C:hV", options, NULL)) != -1) {
        if (letter == 'C') {
            in.config_path = optarg;
        } else if (letter == 'V') {
            return command_version(&in);
        } else if (letter == 'h') {
            print_help();
            return EXIT_OK;
        } else {
            return usage_error(NULL, NULL);
        }
    }
    if (optind == argc)
        return usage_error(NULL, "what shall be done?");
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(argv[optind], commands[i].name) == 0)
            return run_command(&commands[i], &in, argc - optind, argv + optind);
    complain("unknown command '%s'", argv[optind]);
    return usage_error(NULL, NULL);
}

int main(int argc, char **argv)
{
    int status = dispatch(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout))
        return complain("cannot write to standard output: %s", strerror(errno));
    return status;
}
