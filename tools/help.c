/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tool says about itself: help, the words that a shell completes, the version. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <cte/version.h>

#include "command.h"
#include "json.h"

enum { SUMMARY_COLUMN = 13 };

/* One "cte NAME …" for each line of the synopsis. */
void print_command_usage(const struct command *command, const char *path, FILE *stream)
{
    const char *line = command->synopsis;
    const char *lead = "usage:";
    do {
        int length = (int)strcspn(line, "\n");
        fprintf(stream, "%-6s cte %s%s%.*s\n", lead, path, length ? " " : "", length, line);
        line += length;
        lead = "";
    } while (*line++ == '\n');
}

static void print_forms(const struct command *command, const char *path)
{
    for (const struct command *const *inner = command->commands; inner && *inner; inner++)
        printf("\n  cte %s %s %s\n%*s%s\n", path, (*inner)->name, (*inner)->synopsis,
               SUMMARY_COLUMN, "", (*inner)->summary);
}

void print_command_help(const struct command *command, const char *path)
{
    print_command_usage(command, path, stdout);
    putchar('\n');
    if (command->description)
        options_print_wrapped(command->description, 0, 0, stdout);
    else
        printf("%c%s.\n", toupper((unsigned char)command->summary[0]), command->summary + 1);
    print_forms(command, path);
    putchar('\n');
    options_print_help(command->options, stdout);
    options_print_help(common_rows, stdout);
    printf("\nSee cte-%.*s(1).\n", (int)strcspn(path, " "), path);
}

void print_help(void)
{
    puts("usage: cte [--config FILE] COMMAND [OPTION...] [ARGUMENT...]\n\n"
         "Looks after the store of this node: runs programs over it, shows what is in it, and "
         "brings\n"
         "data from and to files.\n");
    for (const struct command *const *command = commands; *command; command++)
        printf("  %-*s%s\n", SUMMARY_COLUMN - 2, (*command)->name, (*command)->summary);
    puts("\n`cte COMMAND --help` says what a command takes.  All of them take\n");
    options_print_help(common_rows, stdout);
    puts("  -V, --version           as `cte version`\n\n"
         "Exit status: 0 done; 1 failed; 2 wrong usage; 3 there is no store; 4 stored data is "
         "damaged;\n"
         "5 data of files is kept in the store and not in the files.  The store is that of the\n"
         "configuration: CTE_STORE_NAME and CTE_STORE_DIRECTORY choose another.");
}

/* ---- for scripts ---------------------------------------------------------------------------- */

static void print_options_json(const struct option_row *rows)
{
    for (const struct option_row *row = rows; row && row->name; row++) {
        char letter[2] = {row->letter, 0};
        json_object(NULL);
        json_text("name", row->name);
        json_text("letter", row->letter ? letter : NULL);
        json_text("value", option_value_name(row));
        json_text("help", row->help);
        json_end();
    }
}

static void print_command_json(const struct command *command)
{
    json_object(NULL);
    json_text("name", command->name);
    json_text("synopsis", command->synopsis);
    json_text("summary", command->summary);
    json_array("options");
    print_options_json(command->options);
    json_end();
    json_array("commands");
    for (const struct command *const *inner = command->commands; inner && *inner; inner++)
        print_command_json(*inner);
    json_end();
    json_end();
}

static void print_help_json(void)
{
    json_object(NULL);
    json_array("options");
    print_options_json(common_rows);
    json_end();
    json_array("commands");
    for (const struct command *const *command = commands; *command; command++)
        print_command_json(*command);
    json_end();
    json_end();
}

/* The command that words name; NULL: none or unknown. */
static const struct command *named(char **words, int count)
{
    const struct command *command = count > 0 ? find_command(commands, words[0]) : NULL;
    const struct command *inner =
        command && count > 1 ? find_command(command->commands, words[1]) : NULL;
    return inner ? inner : command;
}

static void print_words(const struct option_row *rows)
{
    for (const struct option_row *row = rows; row && row->name; row++) {
        printf("--%s\n", row->name);
        if (row->letter)
            printf("-%c\n", row->letter);
    }
}

/* The row of an option as it was written: "--drain", "-d"; NULL. */
static const struct option_row *find_option(const struct option_row *rows, const char *word)
{
    for (const struct option_row *row = rows; row && row->name; row++)
        if (word[1] == '-' ? strcmp(row->name, word + 2) == 0
                           : row->letter && row->letter == word[1] && !word[2])
            return row;
    return NULL;
}

/* Prints "a|b|c" a line each. */
static void print_choices(const char *choices)
{
    for (; *choices; choices++)
        putchar(*choices == '|' ? '\n' : *choices);
    putchar('\n');
}

/* What may follow the words of a command line, a word each: the values of the option that is the
 * last word, if it takes some; else forms and options. */
static void print_completions(char **words, int count)
{
    const struct command *command = named(words, count);
    const struct command *const *inner = command ? command->commands : commands;
    const char *last = count > 0 && words[count - 1][0] == '-' ? words[count - 1] : NULL;
    const struct option_row *row = command && last ? find_option(command->options, last) : NULL;
    const char *values = row ? option_value_name(row) : NULL;
    if (values) {
        if (strchr(values, '|'))
            print_choices(values);
        return;
    }
    for (; inner && *inner; inner++)
        printf("%s\n", (*inner)->name);
    if (command)
        print_words(command->options);
    print_words(common_rows);
    if (!command)
        puts("--version\n-V");
}

struct help_options {
    bool words;
};

static const struct option_row help_rows[] = {
    {"words", 0, OPTION_FLAG, offsetof(struct help_options, words),
     .help = "print what may follow COMMAND, FORM and OPTION, a line each, for shells"},
    {0},
};

static int run_help(const struct invocation *in)
{
    const struct help_options *options = in->options;
    const struct command *command = named(in->arguments, in->argument_count);
    if (options->words) {
        print_completions(in->arguments, in->argument_count);
    } else if (in->argument_count == 0) {
        in->json ? print_help_json() : print_help();
    } else if (!command) {
        complain("unknown command '%s'; `cte help` lists the commands", in->arguments[0]);
        return EXIT_USAGE;
    } else if (in->json) {
        print_command_json(command);
    } else {
        char path[64];
        bool inner = command != find_command(commands, in->arguments[0]);
        snprintf(path, sizeof path, "%s%s%s", in->arguments[0], inner ? " " : "",
                 inner ? command->name : "");
        print_command_help(command, path);
    }
    return EXIT_OK;
}

const struct command command_help = {
    .name = "help",
    .synopsis = "[COMMAND [FORM]]\n--words [--] [COMMAND [FORM] [OPTION]]",
    .summary = "list the commands, or say what one takes",
    .run = run_help,
    .options = help_rows,
    .options_bytes = sizeof(struct help_options),
    .most = 3,
};

static int run_version(const struct invocation *in)
{
    if (in->json) {
        json_object(NULL);
        json_text("version", cte_version());
        json_end();
    } else {
        printf("cte %s\n", cte_version());
    }
    return EXIT_OK;
}

const struct command command_version = {
    .name = "version",
    .synopsis = "",
    .summary = "print the version of the library",
    .run = run_version,
};
