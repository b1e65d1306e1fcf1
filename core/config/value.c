/* SPDX-License-Identifier: BSD-3-Clause */
/* Values: from text into fields, with every check, whatever the text came from. */
#include "config/keys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"
#include "config/choices.h"

enum { LIST_BYTES = 256 };

/* Values are quoted in messages up to this many bytes. */
#define QUOTED "'%.80s'"

cte_status cte__config_fail(struct cte__config_load *load, const struct cte__config_where *where,
                            const char *format, ...)
{
    if (!load->error || load->error_bytes == 0)
        return CTE_ERR_CONFIG;
    int used;
    if (where->variable)
        used =
            snprintf(load->error, load->error_bytes, "environment variable %s: ", where->variable);
    else if (where->line)
        used = snprintf(load->error, load->error_bytes, "%s:%" PRIu32 ":%" PRIu32 ": ",
                        where->source, where->line, where->column);
    else
        used = snprintf(load->error, load->error_bytes, "%s: ", where->source);
    if (used > 0 && (size_t)used < load->error_bytes) {
        va_list args;
        va_start(args, format);
        vsnprintf(load->error + used, load->error_bytes - (size_t)used, format, args);
        va_end(args);
    }
    /* Quoted values may hold anything; the text goes to terminals and logs. */
    for (char *at = load->error; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    return CTE_ERR_CONFIG;
}

static struct cte__config_origin origin_of(const struct cte__config_where *where)
{
    return (struct cte__config_origin){where->variable, where->line, where->program};
}

void cte__config_note_origin(cte_config *config, const struct cte__config_key *key,
                             const struct cte__config_where *where)
{
    /* Two rows may name one field (store, store.keep): both have its origin. */
    for (size_t i = 0; i < cte__config_key_count; i++) {
        const struct cte__config_key *row = &cte__config_keys[i];
        if (strcmp(row->section, "storage") != 0 && row->offset == key->offset)
            config->origin[i] = origin_of(where);
    }
}

/* Decodes one character; returns its length, 0 if it is not well-formed UTF-8. */
static size_t decode(const unsigned char *at, uint32_t *character)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = at[0] < 0x80       ? 1
                    : at[0] >> 5 == 6  ? 2
                    : at[0] >> 4 == 14 ? 3
                    : at[0] >> 3 == 30 ? 4
                                       : 0;
    *character = at[0];
    if (length < 2)
        return length;
    uint32_t value = at[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (at[i] >> 6 != 2) /* also stops at the terminating 0 */
            return 0;
        value = value << 6 | (at[i] & 0x3fu);
    }
    *character = value;
    return value < smallest[length] ? 0 : length;
}

bool cte__config_is_plain_text(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at) {
        uint32_t c;
        size_t length = decode(at, &c);
        bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
        bool line_break = c == 0x2028 || c == 0x2029;
        bool no_character =
            (c >= 0xd800 && c < 0xe000) || c == 0xfeff || c == 0xfffe || c == 0xffff;
        if (length == 0 || control || line_break || no_character || c > 0x10ffff)
            return false;
        at += length;
    }
    return true;
}

static cte_status check_text(struct cte__config_load *load, const struct cte__config_where *where,
                             const struct cte__config_key *key, const char *text)
{
    if (text[0] == '\0')
        return cte__config_fail(load, where, "%s is empty; give a value or remove the key",
                                key->name);
    if (!cte__config_is_plain_text(text))
        return cte__config_fail(load, where,
                                "%s " QUOTED " holds a control character or is not UTF-8; choose "
                                "another name",
                                key->name, text);
    return CTE_OK;
}

static cte_status set_text(struct cte__config_load *load, const struct cte__config_where *where,
                           const struct cte__config_key *key, char *field, const char *text)
{
    cte_status status = check_text(load, where, key, text);
    if (status != CTE_OK)
        return status;
    if (strlen(text) >= key->bytes)
        return cte__config_fail(load, where, "%s is longer than %zu bytes; shorten it", key->name,
                                key->bytes - 1);
    const char *objection = key->objection ? key->objection(text) : NULL;
    if (objection)
        return cte__config_fail(load, where, "%s " QUOTED " %s", key->name, text, objection);
    memcpy(field, text, strlen(text) + 1);
    return CTE_OK;
}

static cte_status set_bool(struct cte__config_load *load, const struct cte__config_where *where,
                           const struct cte__config_key *key, bool *field, const char *text)
{
    static const char *const words[][2] = {
        {"false", "true"}, {"no", "yes"}, {"off", "on"}, {"0", "1"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        for (int value = 0; value < 2; value++)
            if (strcasecmp(text, words[i][value]) == 0) {
                *field = value;
                return CTE_OK;
            }
    return cte__config_fail(load, where, "%s " QUOTED " is not a truth value; write true or false",
                            key->name, text);
}

const char *cte__config_bytes_text(uint64_t bytes, char text[CTE__CONFIG_BYTES_TEXT])
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;
    while (unit < sizeof units / sizeof units[0] - 1 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, CTE__CONFIG_BYTES_TEXT, "%" PRIu64 "%s", bytes, units[unit]);
    return text;
}

static cte_status set_bytes(struct cte__config_load *load, const struct cte__config_where *where,
                            const struct cte__config_key *key, uint64_t *field, const char *text)
{
    uint64_t bytes = 0;
    cte_status status = cte__parse_bytes(text, &bytes);
    if (status == -EINVAL)
        return cte__config_fail(load, where,
                                "%s " QUOTED
                                " is not a size; write a whole number with an optional "
                                "unit, as 4096, 512MiB or 8GB",
                                key->name, text);
    char low[CTE__CONFIG_BYTES_TEXT], high[CTE__CONFIG_BYTES_TEXT];
    if (status != CTE_OK || bytes < key->minimum || bytes > key->maximum)
        return cte__config_fail(
            load, where, "%s " QUOTED " is out of range; at least %s, at most %s", key->name, text,
            cte__config_bytes_text(key->minimum, low), cte__config_bytes_text(key->maximum, high));
    if (key->power_of_two && !cte__is_power_of_two(bytes))
        return cte__config_fail(load, where,
                                "%s " QUOTED " is not a power of two; write one, as 1MiB or 4MiB",
                                key->name, text);
    *field = bytes;
    return CTE_OK;
}

static cte_status set_count(struct cte__config_load *load, const struct cte__config_where *where,
                            const struct cte__config_key *key, uint32_t *field, const char *text)
{
    uint64_t number = 0;
    bool digits = text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
    if (!digits || cte__parse_bytes(text, &number) != CTE_OK || number < key->minimum ||
        number > key->maximum)
        return cte__config_fail(load, where,
                                "%s " QUOTED " is not a whole number from %" PRIu64 " to %" PRIu64
                                "; write one",
                                key->name, text, key->minimum, key->maximum);
    if (key->power_of_two && !cte__is_power_of_two(number))
        return cte__config_fail(load, where,
                                "%s " QUOTED " is not a power of two; write one, as 1024 or 4096",
                                key->name, text);
    *field = (uint32_t)number;
    return CTE_OK;
}

static cte_status set_score(struct cte__config_load *load, const struct cte__config_where *where,
                            const struct cte__config_key *key, float *field, const char *text)
{
    float score;
    bool may_be_auto = key->initial && strcmp(key->initial, CTE__CONFIG_AUTO) == 0;
    if (may_be_auto && strcasecmp(text, CTE__CONFIG_AUTO) == 0) {
        *field = -1.0f;
        return CTE_OK;
    }
    cte_status status = cte__parse_float(text, &score);
    if (status == -ENOMEM)
        return status;
    if (status != CTE_OK || score < 0.0f || score > 1.0f)
        return cte__config_fail(load, where,
                                "%s " QUOTED
                                " is not a score; write a number from 0 (slowest) to 1 "
                                "(fastest)%s",
                                key->name, text, may_be_auto ? ", or auto" : "");
    *field = score;
    return CTE_OK;
}

static void list_choice(struct cte__config_guess *guess, const char *name, char *list, size_t *used)
{
    cte__config_consider(guess, name);
    int n = snprintf(list + *used, LIST_BYTES - *used, "%s%s", *used ? ", " : "", name);
    *used = cte__min(*used + (n > 0 ? (size_t)n : 0), LIST_BYTES - 1);
}

/* A word that the program added to the key's choices; NULL if it is none. */
static const char *added_choice(const struct cte__config_key *key, const char *text)
{
    const char *word;
    for (uint32_t i = 0; (word = cte__config_choice_added(key->section, key->name, i)); i++)
        if (strcasecmp(word, text) == 0)
            return word;
    return NULL;
}

/* `reason`: it is known, but cannot be had; or NULL. */
static cte_status fail_choice(struct cte__config_load *load, const struct cte__config_where *where,
                              const struct cte__config_key *key, const char *text,
                              const char *reason)
{
    struct cte__config_guess guess = {.word = text};
    char list[LIST_BYTES] = "";
    size_t used = 0;
    for (const struct cte__config_choice *choice = key->choices; choice->name; choice++)
        if (!choice->unsupported)
            list_choice(&guess, choice->name, list, &used);
    const char *word;
    for (uint32_t i = 0; (word = cte__config_choice_added(key->section, key->name, i)); i++)
        list_choice(&guess, word, list, &used);
    if (reason)
        return cte__config_fail(load, where, "%s " QUOTED " %s; use one of: %s", key->name, text,
                                reason, list);
    return cte__config_fail(load, where, "%s " QUOTED " is unknown; %s%s%suse one of: %s",
                            key->name, text, guess.best[0] ? "did you mean '" : "", guess.best,
                            guess.best[0] ? "'? " : "", list);
}

static cte_status set_choice(struct cte__config_load *load, const struct cte__config_where *where,
                             const struct cte__config_key *key, void *field, const char *text)
{
    const struct cte__config_choice *choice = key->choices;
    while (choice->name && strcasecmp(choice->name, text) != 0)
        choice++;
    const char *added = choice->name ? NULL : added_choice(key, text);
    if (added && key->type == CTE__CONFIG_CHOICE_TEXT) {
        snprintf(field, key->bytes, "%s", added);
        return CTE_OK;
    }
    if (!choice->name || choice->unsupported)
        return fail_choice(load, where, key, text, choice->name ? choice->unsupported : NULL);
    if (key->type == CTE__CONFIG_CHOICE_BOOL)
        *(bool *)field = choice->value;
    else if (key->type == CTE__CONFIG_CHOICE_ENUM)
        memcpy(field, &choice->value, sizeof choice->value);
    else
        snprintf(field, key->bytes, "%s", choice->name);
    return CTE_OK;
}

static cte_status set_field(struct cte__config_load *load, const struct cte__config_where *where,
                            const struct cte__config_key *key, void *field, const char *text)
{
    switch (key->type) {
    case CTE__CONFIG_TEXT:
        return set_text(load, where, key, field, text);
    case CTE__CONFIG_BOOL:
        return set_bool(load, where, key, field, text);
    case CTE__CONFIG_BYTES:
        return set_bytes(load, where, key, field, text);
    case CTE__CONFIG_COUNT:
        return set_count(load, where, key, field, text);
    case CTE__CONFIG_SCORE:
        return set_score(load, where, key, field, text);
    case CTE__CONFIG_CHOICE_TEXT:
    case CTE__CONFIG_CHOICE_ENUM:
    case CTE__CONFIG_CHOICE_BOOL:
        return set_choice(load, where, key, field, text);
    case CTE__CONFIG_GLOBS:
        break; /* lists have their own function below */
    }
    return -EINVAL;
}

cte_status cte__config_set(struct cte__config_load *load, const struct cte__config_where *where,
                           const struct cte__config_key *key, void *base, const char *text)
{
    cte_status status = set_field(load, where, key, (char *)base + key->offset, text);
    if (status != CTE_OK)
        return status;
    if (base == load->config)
        cte__config_note_origin(load->config, key, where);
    else
        ((struct cte__config_target *)base)->key_origin[cte__config_target_key(key)] =
            origin_of(where);
    return CTE_OK;
}

void cte__config_clear_globs(struct cte__config_globs *globs)
{
    for (uint32_t i = 0; i < globs->count; i++)
        free(globs->pattern[i]);
    globs->count = 0;
}

cte_status cte__config_add_glob(struct cte__config_load *load,
                                const struct cte__config_where *where,
                                const struct cte__config_key *key, const char *text)
{
    struct cte__config_globs *globs =
        (struct cte__config_globs *)(void *)((char *)load->config + key->offset);
    cte_status status = check_text(load, where, key, text);
    if (status != CTE_OK)
        return status;
    if (!strchr("/*?[\\", text[0]))
        return cte__config_fail(load, where,
                                "%s pattern " QUOTED
                                " matches no absolute path; begin it with '/' or "
                                "'*/'",
                                key->name, text);
    if (globs->count == CTE__CONFIG_GLOBS_MAX)
        return cte__config_fail(load, where, "%s has more than %d patterns; join some by wildcards",
                                key->name, CTE__CONFIG_GLOBS_MAX);
    char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    globs->pattern[globs->count++] = copy;
    return CTE_OK;
}

cte_status cte__config_fail_unknown(struct cte__config_load *load,
                                    const struct cte__config_where *where, const char *section,
                                    const char *name)
{
    struct cte__config_guess guess = {.word = name};
    cte__config_consider_keys(&guess, section);
    return cte__config_fail(load, where, "unknown key " QUOTED "%s%s; %s%s%s", name,
                            section[0] ? " in " : "", section,
                            guess.best[0] ? "did you mean '" : "remove it or correct its name",
                            guess.best, guess.best[0] ? "'?" : "");
}
