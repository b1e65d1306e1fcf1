/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the cte tool share. */
#ifndef CTE_TOOLS_TOOL_H
#define CTE_TOOLS_TOOL_H

#include <stdbool.h>
#include <stdint.h>

#include <cte/client.h>
#include <cte/config.h>

enum exit_status { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* A command line, taken apart. */
struct invocation {
    const char *config_path; /* NULL: as the library finds it */
    bool json, all, force, create, follow;
    float score;
    uint64_t since;
    bool score_given;
    char **arguments;
    int argument_count;
};

/* Commands: each returns an exit status and has said what went wrong. */
int command_version(const struct invocation *in);
int command_info(const struct invocation *in);
int command_list(const struct invocation *in);
int command_put(const struct invocation *in);
int command_get(const struct invocation *in);
int command_remove(const struct invocation *in);
int command_drain(const struct invocation *in);
int command_check(const struct invocation *in);
int command_bench(const struct invocation *in); /* all arguments, its name first */
int command_telemetry(const struct invocation *in);
int command_config(const struct invocation *in);
int command_targets(const struct invocation *in);
int command_destroy(const struct invocation *in);

/* Says "cte: …" on stderr; returns EXIT_FAILED. */
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Loads the configuration; NULL after complaining. */
cte_config *load_config(const struct invocation *in);

/* Attaches to the store that is there (`create`: or makes it); NULL after complaining. */
cte_client *open_store(const struct invocation *in, bool create);

/* Closes; returns `status`, or EXIT_FAILED after complaining if that fails. */
int close_store(cte_client *client, int status);

/* ---- output --------------------------------------------------------------------------------- */

/* A name or path for people: control characters as \ooo. */
void print_name(const char *text);

/* A JSON string; bytes that are not UTF-8 appear as the code points of the same value. */
void print_json_string(const char *text);

#endif
