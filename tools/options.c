/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "options.h"

typedef unsigned long long ull;

enum { ROWS_MAX = 64, LETTERS_END = 256, HELP_COLUMN = 26 };

/* ---- values --------------------------------------------------------------------------------- */

bool option_parse_count(const char *text, uint64_t *count)
{
    char *end;
    if (!isdigit((unsigned char)*text)) /* strtoull would take signs and blanks */
        return false;
    errno = 0;
    *count = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

bool option_parse_size(const char *text, uint64_t *bytes)
{
    static const char letters[] = "kmgt";
    if (!isdigit((unsigned char)*text))
        return false;
    char *unit;
    errno = 0;
    ull number = strtoull(text, &unit, 10);
    const char *letter = *unit ? strchr(letters, tolower((unsigned char)*unit)) : NULL;
    int shift = letter ? 10 * (int)(letter - letters + 1) : 0;
    unit += letter != NULL;
    bool known = *unit == '\0' || strcasecmp(unit, "b") == 0 || (letter && !strcasecmp(unit, "ib"));
    *bytes = number << shift;
    return errno == 0 && known && *bytes >> shift == number;
}

static bool parse_real(const char *text, double *number)
{
    char *end;
    if (!isdigit((unsigned char)*text) && *text != '.')
        return false;
    errno = 0;
    *number = strtod(text, &end);
    return errno == 0 && end != text && *end == '\0' && isfinite(*number);
}

/* Which of "a|b|c" a text is; -1: none. */
static int find_choice(const char *choices, const char *text)
{
    size_t length = strlen(text);
    for (int i = 0; choices; i++) {
        size_t n = strcspn(choices, "|");
        if (n == length && memcmp(choices, text, n) == 0)
            return i;
        choices = choices[n] ? choices + n + 1 : NULL;
    }
    return -1;
}

static bool in_range(const struct option_row *row, double number)
{
    return number >= (double)row->least && (row->most == 0 || number <= (double)row->most);
}

static bool set_number(const struct option_row *row, const char *text, void *field)
{
    uint64_t number;
    bool good = row->kind == OPTION_SIZE ? option_parse_size(text, &number)
                                         : option_parse_count(text, &number);
    if (!good || number < row->least || (row->most != 0 && number > row->most))
        return false;
    if (row->kind != OPTION_COUNT32)
        *(uint64_t *)field = number;
    else if (number <= UINT32_MAX)
        *(uint32_t *)field = (uint32_t)number;
    else
        return false;
    return true;
}

static bool set_real(const struct option_row *row, const char *text, void *field)
{
    double number;
    if (!parse_real(text, &number))
        return false;
    if (row->kind == OPTION_SECONDS) {
        *(double *)field = number;
        return in_range(row, number);
    }
    *(float *)field = (float)number;
    return number >= 0.0 && number <= 1.0;
}

static bool set_list(const char *text, struct option_list *list)
{
    if (list->count == OPTION_LIST_MAX)
        return false;
    list->values[list->count++] = text;
    return true;
}

/* Sets a field; false if the value does not fit the row. */
static bool set_field(const struct option_row *row, const char *text, void *field)
{
    switch (row->kind) {
    case OPTION_FLAG:
    case OPTION_CLEAR:
        *(bool *)field = row->kind == OPTION_FLAG;
        return true;
    case OPTION_ON_OFF:
        *(bool *)field = strcmp(text, "on") == 0;
        return *(bool *)field || strcmp(text, "off") == 0;
    case OPTION_TEXT:
        *(const char **)field = text;
        return !row->choices || find_choice(row->choices, text) >= 0;
    case OPTION_CHOICE:
        *(int *)field = find_choice(row->choices, text);
        return *(int *)field >= 0;
    case OPTION_SIZE:
    case OPTION_COUNT:
    case OPTION_COUNT32:
        return set_number(row, text, field);
    case OPTION_SCORE:
    case OPTION_SECONDS:
        return set_real(row, text, field);
    case OPTION_LIST:
        return set_list(text, field);
    }
    return false;
}

/* ---- what is wrong -------------------------------------------------------------------------- */

/* "from 1 to 64", "from 1", "" */
static void describe_range(const struct option_row *row, char *text, size_t bytes)
{
    text[0] = '\0';
    if (row->most != 0)
        snprintf(text, bytes, " from %llu to %llu", (ull)row->least, (ull)row->most);
    else if (row->least != 0)
        snprintf(text, bytes, " from %llu", (ull)row->least);
}

static void describe_wrong(const struct option_row *row, const char *text, char *error)
{
    char range[64], wanted[128];
    describe_range(row, range, sizeof range);
    switch (row->kind) {
    case OPTION_SIZE:
        snprintf(wanted, sizeof wanted, "a size%s, such as 64KiB or 8GB", range);
        break;
    case OPTION_COUNT:
    case OPTION_COUNT32:
        snprintf(wanted, sizeof wanted, "a whole number%s", range);
        break;
    case OPTION_SECONDS:
        snprintf(wanted, sizeof wanted, "a number of seconds%s", range);
        break;
    case OPTION_SCORE:
        snprintf(wanted, sizeof wanted, "a number from 0 to 1");
        break;
    case OPTION_LIST:
        snprintf(wanted, sizeof wanted, "it at most %d times", OPTION_LIST_MAX);
        break;
    default:
        snprintf(wanted, sizeof wanted, "one of %s", option_value_name(row));
    }
    snprintf(error, OPTION_ERROR_BYTES, "--%s: '%.64s' will not do: give %s", row->name, text,
             wanted);
}

static void describe_unknown(const char *argument, int letter, char *error)
{
    if (letter > 0 && letter < LETTERS_END)
        snprintf(error, OPTION_ERROR_BYTES, "unknown option '-%c'", letter);
    else if (letter >= LETTERS_END)
        snprintf(error, OPTION_ERROR_BYTES, "option '%.64s' takes no value", argument);
    else
        snprintf(error, OPTION_ERROR_BYTES, "unknown or ambiguous option '%.64s'", argument);
}

/* ---- parsing -------------------------------------------------------------------------------- */

/* The rows of all tables, as getopt_long() wants them; a long option's value is LETTERS_END + its
 * number. */
struct grammar {
    const struct option_row *rows[ROWS_MAX];
    void *fields[ROWS_MAX];
    int count;
    struct option long_options[ROWS_MAX + 1];
    char letters[2 * ROWS_MAX + 3];
};

static bool takes_value(const struct option_row *row)
{
    return row->kind != OPTION_FLAG && row->kind != OPTION_CLEAR;
}

static void add_row(struct grammar *grammar, const struct option_row *row, void *fields)
{
    size_t length = strlen(grammar->letters);
    int number = grammar->count++;
    grammar->rows[number] = row;
    grammar->fields[number] = (char *)fields + row->offset;
    grammar->long_options[number] = (struct option){
        row->name, takes_value(row) ? required_argument : no_argument, NULL, LETTERS_END + number};
    if (row->letter) {
        grammar->letters[length++] = row->letter;
        if (takes_value(row))
            grammar->letters[length] = ':';
    }
}

/* Which row getopt_long() found; -1: none. */
static int find_row(const struct grammar *grammar, int found)
{
    if (found >= LETTERS_END)
        return found - LETTERS_END;
    for (int i = 0; i < grammar->count; i++)
        if (grammar->rows[i]->letter == found)
            return i;
    return -1;
}

int options_parse(const struct option_table *tables, size_t table_count, bool stop, int count,
                  char **arguments, char error[OPTION_ERROR_BYTES])
{
    /* "+": the first argument ends the options; ":": a missing value is told from a bad option. */
    struct grammar grammar = {.letters = ":"};
    if (stop)
        strcpy(grammar.letters, "+:");
    for (size_t t = 0; t < table_count; t++)
        for (const struct option_row *row = tables[t].rows; row && row->name; row++)
            if (grammar.count < ROWS_MAX)
                add_row(&grammar, row, tables[t].fields);
    int found;
    optind = 0; /* glibc: begin anew */
    opterr = 0;
    while ((found = getopt_long(count, arguments, grammar.letters, grammar.long_options, NULL)) !=
           -1) {
        int number = found == '?' || found == ':' ? -1 : find_row(&grammar, found);
        if (found == ':')
            snprintf(error, OPTION_ERROR_BYTES, "option '%.64s' needs a value",
                     arguments[optind - 1]);
        else if (number < 0)
            describe_unknown(arguments[optind - 1], optopt, error);
        else if (set_field(grammar.rows[number], optarg, grammar.fields[number]))
            continue;
        else
            describe_wrong(grammar.rows[number], optarg, error);
        return OPTIONS_WRONG;
    }
    return optind;
}

/* ---- help ----------------------------------------------------------------------------------- */

const char *option_value_name(const struct option_row *row)
{
    if (!takes_value(row))
        return NULL;
    if (row->kind == OPTION_ON_OFF)
        return "on|off";
    return row->value ? row->value : row->choices;
}

void options_print_wrapped(const char *text, int indent, int at, FILE *stream)
{
    bool first = true;
    while (*text) {
        int length = (int)strcspn(text, " \n");
        if (!first && at + 1 + length > OPTION_WIDTH) {
            fprintf(stream, "\n%*s", indent, "");
            at = indent;
            first = true;
        }
        at += fprintf(stream, "%s%.*s", first ? "" : " ", length, text);
        first = false;
        text += length;
        while (*text == '\n') { /* as it stands: paragraphs and lists */
            fputc('\n', stream);
            at = 0;
            text++;
            first = true;
        }
        if (first && *text)
            at = fprintf(stream, "%*s", indent, "");
        text += strspn(text, " ");
    }
    fputc('\n', stream);
}

void options_print_help(const struct option_row *rows, FILE *stream)
{
    for (const struct option_row *row = rows; row && row->name; row++) {
        const char *value = option_value_name(row);
        int at = row->letter ? fprintf(stream, "  -%c, --%s", row->letter, row->name)
                             : fprintf(stream, "      --%s", row->name);
        if (value)
            at += fprintf(stream, " %s", value);
        if (at + 2 > HELP_COLUMN) {
            fputc('\n', stream);
            at = 0;
        }
        fprintf(stream, "%*s", HELP_COLUMN - at, "");
        options_print_wrapped(row->help, HELP_COLUMN, HELP_COLUMN, stream);
    }
}
