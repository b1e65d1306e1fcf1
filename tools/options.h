/* SPDX-License-Identifier: BSD-3-Clause */
/* Command lines by tables: one row says how an option is written, what it takes, where its value
 * goes, and its words of help.  For the cte tool and the benchmark programs. */
#ifndef CTE_TOOLS_OPTIONS_H
#define CTE_TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What an option takes, and the type of the field that it sets. */
enum option_kind {
    OPTION_FLAG,    /* nothing; bool becomes true */
    OPTION_CLEAR,   /* nothing; bool becomes false */
    OPTION_ON_OFF,  /* "on" or "off"; bool */
    OPTION_TEXT,    /* any text, or one of `choices`; const char * */
    OPTION_CHOICE,  /* one of `choices`; int: which, from 0 */
    OPTION_SIZE,    /* bytes, with unit; uint64_t */
    OPTION_COUNT,   /* a whole number; uint64_t */
    OPTION_COUNT32, /* the same; uint32_t */
    OPTION_SCORE,   /* 0 … 1; float */
    OPTION_SECONDS, /* a number, fractions allowed; double */
    OPTION_LIST     /* any text, may be given again; struct option_list */
};

enum { OPTION_LIST_MAX = 64 };

struct option_list {
    const char *values[OPTION_LIST_MAX];
    uint32_t count;
};

/* A table ends with a row whose name is NULL. */
struct option_row {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    enum option_kind kind;
    size_t offset;        /* of the field in the struct of the table */
    uint64_t least, most; /* of SIZE, COUNT, SECONDS; most 0: no limit */
    const char *choices;  /* "ram|file|uring" */
    const char *value;    /* what help calls the value; NULL: the choices */
    const char *help;     /* begins small, without full stop */
};

/* Tables that hold for one command line, each with its struct. */
struct option_table {
    const struct option_row *rows; /* NULL: none */
    void *fields;
};

enum { OPTIONS_WRONG = -1, OPTION_ERROR_BYTES = 256, OPTION_WIDTH = 80 };

/* Takes a command line apart; arguments[0] is skipped.  Options may stand behind arguments, unless
 * `stop` says that the first argument ends them; "--" does so always.
 * Returns the index of the first argument (others follow), or OPTIONS_WRONG with the reason in
 * `error`. */
int options_parse(const struct option_table *tables, size_t table_count, bool stop, int count,
                  char **arguments, char error[OPTION_ERROR_BYTES]);

/* "  -s, --score S   help", wrapped, a row each. */
void options_print_help(const struct option_row *rows, FILE *stream);

/* What follows the name of an option in help: "S", "on|off"; NULL if it takes nothing. */
const char *option_value_name(const struct option_row *row);

/* Prints words, wrapped at OPTION_WIDTH, the first line from column `at` on, the others indented.
 */
void options_print_wrapped(const char *text, int indent, int at, FILE *stream);

/* "64", "4k", "4KB", "4KiB": powers of 1024; false if it is no size. */
bool option_parse_size(const char *text, uint64_t *bytes);
bool option_parse_count(const char *text, uint64_t *count);

#endif
