/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the cte tool share. */
#ifndef CTE_TOOLS_TOOL_H
#define CTE_TOOLS_TOOL_H

#include <stdbool.h>
#include <stdint.h>

#include <cte/client.h>
#include <cte/config.h>

/* docs/man/cte.1 says what each means to a script. */
enum exit_status {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NO_STORE = 3, /* there is nothing to work on */
    EXIT_DAMAGE = 4,   /* stored bytes are not what they were */
    EXIT_KEPT = 5      /* data of files is in the store and not in the files */
};

struct command;

/* A command line, taken apart. */
struct invocation {
    const struct command *command;
    const char *path;        /* whole name of the command: "targets register" */
    const char *config_path; /* NULL: as the library finds it */
    bool json;
    const void *options; /* the command's own struct */
    char **arguments;
    int argument_count;
};

/* Says "cte: …" on stderr; returns EXIT_FAILED.  With --json the first of these also stands in the
 * document, as "error". */
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The first complaint; NULL if there was none. */
const char *first_complaint(void);

/* Says that the command line is wrong, and how it is right; returns EXIT_USAGE. */
int complain_usage(const struct invocation *in, const char *what);

/* complain() of a status, and the exit status for it. */
int complain_status(cte_status status);

/* Loads the configuration; NULL after complaining. */
cte_config *load_config(const struct invocation *in);

/* Attaches to the store that is there (`create`: or makes it).  If that fails, *client is NULL, and
 * the exit status is returned after complaining. */
int open_store(const struct invocation *in, bool create, cte_client **client);

/* Closes; returns `status`, or EXIT_FAILED after complaining if that fails. */
int close_store(cte_client *client, int status);

#endif
