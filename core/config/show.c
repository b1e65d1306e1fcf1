/* SPDX-License-Identifier: BSD-3-Clause */
/* The effective configuration as YAML that parses back to the same values. */
#include "config/keys.h"

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

enum { ORIGIN_COLUMN = 44, INDENT = 2 };

/* Values are checked to need no other escapes (cte__config_is_plain_text). */
static int print_quoted(FILE *stream, const char *text)
{
    int width = 2;
    fputc('"', stream);
    for (; *text; text++, width++) {
        if (*text == '"' || *text == '\\') {
            fputc('\\', stream);
            width++;
        }
        fputc(*text, stream);
    }
    fputc('"', stream);
    return width;
}

static int print_bytes(FILE *stream, uint64_t bytes)
{
    char text[CTE__CONFIG_BYTES_TEXT];
    return fprintf(stream, "%s", cte__config_bytes_text(bytes, text));
}

/* The fewest digits that give the same float again. */
static int print_score(FILE *stream, float score)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        float again;
        snprintf(text, sizeof text, "%.*g", digits, (double)score);
        if (cte__parse_float(text, &again) == CTE_OK && again == score)
            break;
    }
    return fprintf(stream, "%s", text);
}

/* Unquoted: as in an environment variable. */
static int print_plain_globs(FILE *stream, const struct cte__config_globs *globs)
{
    int width = 0;
    for (uint32_t i = 0; i < globs->count; i++)
        width += fprintf(stream, "%s%s", i ? ":" : "", globs->pattern[i]);
    return width;
}

static int print_globs(FILE *stream, const struct cte__config_globs *globs)
{
    int width = fprintf(stream, "[");
    for (uint32_t i = 0; i < globs->count; i++) {
        width += fprintf(stream, "%s", i ? ", " : "");
        width += print_quoted(stream, globs->pattern[i]);
    }
    return width + fprintf(stream, "]");
}

static int print_choice(FILE *stream, const struct cte__config_key *key, int value)
{
    for (const struct cte__config_choice *choice = key->choices; choice->name; choice++)
        if (choice->value == value)
            return fprintf(stream, "%s", choice->name);
    return 0;
}

int cte__config_print_value(FILE *stream, const struct cte__config_key *key, const void *field,
                            bool quoted)
{
    int number;
    switch (key->type) {
    case CTE__CONFIG_TEXT:
    case CTE__CONFIG_CHOICE_TEXT:
        return quoted ? print_quoted(stream, field) : fprintf(stream, "%s", (const char *)field);
    case CTE__CONFIG_BOOL:
        return fprintf(stream, "%s", *(const bool *)field ? "true" : "false");
    case CTE__CONFIG_BYTES:
        return print_bytes(stream, *(const uint64_t *)field);
    case CTE__CONFIG_COUNT:
        return fprintf(stream, "%" PRIu32, *(const uint32_t *)field);
    case CTE__CONFIG_SCORE:
        if (*(const float *)field < 0.0f)
            return fprintf(stream, CTE__CONFIG_AUTO);
        return print_score(stream, *(const float *)field);
    case CTE__CONFIG_CHOICE_ENUM:
        memcpy(&number, field, sizeof number);
        return print_choice(stream, key, number);
    case CTE__CONFIG_CHOICE_BOOL:
        return print_choice(stream, key, *(const bool *)field);
    case CTE__CONFIG_GLOBS:
        return quoted ? print_globs(stream, field) : print_plain_globs(stream, field);
    }
    return 0;
}

static void print_origin(FILE *stream, const cte_config *config,
                         const struct cte__config_origin *origin)
{
    if (origin->variable)
        fprintf(stream, "environment variable %s", origin->variable);
    else if (origin->program)
        fprintf(stream, "set by the program");
    else if (origin->line == 0)
        fprintf(stream, "default");
    else {
        /* A file's name may hold bytes that YAML does not allow even in a comment. */
        for (const char *at = config->source; *at; at++)
            fputc(*at >= ' ' && *at < 0x7f ? *at : '?', stream);
        fprintf(stream, ":%" PRIu32, origin->line);
    }
}

static void print_line(FILE *stream, const cte_config *config, int indent, const char *bullet,
                       const struct cte__config_key *key, const void *base,
                       const struct cte__config_origin *origin)
{
    int column = fprintf(stream, "%*s%s%s: ", indent, "", bullet, key->name);
    column += cte__config_print_value(stream, key, (const char *)base + key->offset, true);
    fprintf(stream, "%*s# ", column < ORIGIN_COLUMN ? ORIGIN_COLUMN - column : 1, "");
    print_origin(stream, config, origin);
    fputc('\n', stream);
}

bool cte__config_is_absent(const struct cte__config_key *key,
                           const struct cte__config_target *target)
{
    const void *field = (const char *)target + key->offset;
    return (key->type == CTE__CONFIG_SCORE && *(const float *)field < 0.0f) ||
           ((key->type == CTE__CONFIG_TEXT || key->type == CTE__CONFIG_CHOICE_TEXT) &&
            *(const char *)field == '\0');
}

static void print_target(FILE *stream, const cte_config *config,
                         const struct cte__config_target *target)
{
    const char *bullet = "- ";
    for (size_t i = 0; i < cte__config_key_count; i++) {
        const struct cte__config_key *key = &cte__config_keys[i];
        if (strcmp(key->section, "storage") != 0 || cte__config_is_absent(key, target))
            continue;
        print_line(stream, config, INDENT, bullet, key, target,
                   &target->key_origin[cte__config_target_key(key)]);
        bullet = "  ";
    }
}

/* Prints the headings that lead from one section to another; returns how deep that lies. */
static int print_headings(FILE *stream, const char *previous, const char *section)
{
    int depth = 0;
    for (bool shared = true; *section; depth++) {
        size_t length = strcspn(section, "."), other = strcspn(previous, ".");
        shared = shared && length == other && strncmp(section, previous, length) == 0;
        if (!shared)
            fprintf(stream, "%*s%.*s:\n", depth * INDENT, "", (int)length, section);
        section += length + (section[length] == '.');
        previous += other + (previous[other] == '.');
    }
    return depth;
}

/* The short form of a section: its long form is printed. */
static bool is_short_form(const struct cte__config_key *key)
{
    char path[CTE__CONFIG_SECTION_BYTES];
    return cte__config_subsection(key->section, key->name, path);
}

/* Rows of a section stand together in the table, and keys before the sections within. */
static void print_all(FILE *stream, const cte_config *config)
{
    const char *section = "";
    int depth = 0;
    for (size_t i = 0; i < cte__config_key_count; i++) {
        const struct cte__config_key *key = &cte__config_keys[i];
        bool begins = strcmp(key->section, section) != 0;
        bool storage = strcmp(key->section, "storage") == 0;
        if (begins)
            depth = print_headings(stream, section, key->section);
        section = key->section;
        for (uint32_t j = 0; storage && begins && j < config->target_count; j++)
            print_target(stream, config, &config->targets[j]);
        if (!storage && !is_short_form(key))
            print_line(stream, config, depth * INDENT, "", key, config, &config->origin[i]);
    }
}

/* Scores have a point, whatever the program's locale: to be used around whatever prints values.
 * False if there is no memory. */
static bool enter_plain_locale(locale_t *plain, locale_t *previous)
{
    *plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (*plain == (locale_t)0)
        return false;
    *previous = uselocale(*plain);
    return true;
}

static void leave_plain_locale(locale_t plain, locale_t previous)
{
    uselocale(previous);
    freelocale(plain);
}

cte_status cte_config_show(const cte_config *config, FILE *stream)
{
    locale_t plain, previous;
    if (!config || !stream)
        return -EINVAL;
    if (!enter_plain_locale(&plain, &previous))
        return -ENOMEM;
    print_all(stream, config);
    errno = 0;
    cte_status status = CTE_OK;
    if (fflush(stream) != 0 || ferror(stream))
        status = errno ? -errno : -EIO;
    leave_plain_locale(plain, previous);
    return status;
}

/* ---- key by key ----------------------------------------------------------------------------- */

struct visit {
    const cte_config *config;
    cte_config_visitor visit;
    void *context;
};

/* The three texts of a key lie behind each other in one piece of memory. */
static cte_status visit_key(const struct visit *visit, const char *section,
                            const struct cte__config_key *key, const void *base,
                            const struct cte__config_origin *origin)
{
    char *texts = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&texts, &length);
    if (!stream)
        return -errno;
    fprintf(stream, "%s%s%s%c", section, section[0] ? "." : "", key->name, '\0');
    cte__config_print_value(stream, key, (const char *)base + key->offset, false);
    fputc('\0', stream);
    print_origin(stream, visit->config, origin);
    bool failed = ferror(stream) != 0;
    if (fclose(stream) != 0 || failed) {
        free(texts);
        return -ENOMEM;
    }
    const char *value = texts + strlen(texts) + 1;
    cte_status status = visit->visit(visit->context, texts, value, value + strlen(value) + 1);
    free(texts);
    return status;
}

static cte_status visit_target(const struct visit *visit, uint32_t number)
{
    const struct cte__config_target *target = &visit->config->targets[number];
    char section[CTE__CONFIG_SECTION_BYTES];
    cte_status status = CTE_OK;
    snprintf(section, sizeof section, "storage[%" PRIu32 "]", number);
    for (size_t i = 0; i < cte__config_key_count && status == CTE_OK; i++) {
        const struct cte__config_key *key = &cte__config_keys[i];
        if (strcmp(key->section, "storage") == 0 && !cte__config_is_absent(key, target))
            status = visit_key(visit, section, key, target,
                               &target->key_origin[cte__config_target_key(key)]);
    }
    return status;
}

static cte_status visit_all(const struct visit *visit)
{
    cte_status status = CTE_OK;
    bool targets_told = false;
    for (size_t i = 0; i < cte__config_key_count && status == CTE_OK; i++) {
        const struct cte__config_key *key = &cte__config_keys[i];
        bool storage = strcmp(key->section, "storage") == 0;
        if (!storage && !is_short_form(key))
            status = visit_key(visit, key->section, key, visit->config, &visit->config->origin[i]);
        for (uint32_t j = 0;
             storage && !targets_told && j < visit->config->target_count && status == CTE_OK; j++)
            status = visit_target(visit, j);
        targets_told |= storage;
    }
    return status;
}

cte_status cte_config_visit(const cte_config *config, cte_config_visitor visit, void *context)
{
    locale_t plain, previous;
    if (!config || !visit)
        return -EINVAL;
    if (!enter_plain_locale(&plain, &previous))
        return -ENOMEM;
    cte_status status = visit_all(&(struct visit){config, visit, context});
    leave_plain_locale(plain, previous);
    return status;
}
