/* SPDX-License-Identifier: BSD-3-Clause */
/* A configuration that the program makes or changes, key by key. */
#include "config/keys.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

/* A key as programs name it: "file.drain", "queues.stats.lane_count", "storage[0].score". */
struct named {
    const struct cte__config_key *key;
    struct cte__config_target *target; /* NULL: the key is not one of a target */
    void *base;
};

static struct cte__config_load start(cte_config *config, char *error, size_t error_bytes)
{
    if (error && error_bytes > 0)
        error[0] = '\0';
    return (struct cte__config_load){.config = config, .error = error, .error_bytes = error_bytes};
}

/* "storage[N]": the target, NULL after saying what is wrong. */
static struct cte__config_target *find_target(struct cte__config_load *load,
                                              const struct cte__config_where *where,
                                              const char *brackets)
{
    char *end;
    unsigned long number = strtoul(brackets + 1, &end, 10);
    cte_config *config = load->config;
    if (end == brackets + 1 || strspn(brackets + 1, "0123456789") != (size_t)(end - brackets - 1) ||
        strcmp(end, "]") != 0)
        cte__config_fail(load, where, "a target is named by its number, as storage[0]");
    else if (number >= config->target_count)
        cte__config_fail(load, where, "there are %u targets, counted from 0; name one of them",
                         (unsigned)config->target_count);
    else
        return &config->targets[number];
    return NULL;
}

static cte_status find_key(struct cte__config_load *load, const struct cte__config_where *where,
                           struct named *named)
{
    const char *dot = strrchr(where->source, '.'), *name = dot ? dot + 1 : where->source;
    char section[CTE__CONFIG_SECTION_BYTES], path[CTE__CONFIG_SECTION_BYTES];
    if (snprintf(section, sizeof section, "%.*s", dot ? (int)(dot - where->source) : 0,
                 where->source) >= (int)sizeof section)
        return cte__config_fail_unknown(load, where, "", where->source);
    *named = (struct named){.base = load->config};
    char *brackets = strchr(section, '[');
    if (brackets && strncmp(section, "storage[", brackets + 1 - section) == 0) {
        named->base = named->target = find_target(load, where, brackets);
        if (!named->target)
            return CTE_ERR_CONFIG;
        *brackets = '\0';
    } else if (strcmp(section, "storage") == 0) {
        return cte__config_fail(load, where, "name the target too, as storage[0].%.80s", name);
    }
    named->key = cte__config_find(section, name);
    if (named->key)
        return CTE_OK;
    if (cte__config_subsection(section, name, path))
        return cte__config_fail(load, where, "is a section; name a key in it");
    return cte__config_fail_unknown(load, where, section, name);
}

/* ---- setting -------------------------------------------------------------------------------- */

/* The list as a whole, or not at all. */
static cte_status set_globs(struct cte__config_load *load, const struct cte__config_where *where,
                            const struct cte__config_key *key, const char *value)
{
    struct cte__config_globs *globs = (void *)((char *)load->config + key->offset);
    struct cte__config_globs old = *globs;
    globs->count = 0;
    cte_status status = cte__config_set_globs(load, where, key, value);
    if (status != CTE_OK) {
        cte__config_clear_globs(globs);
        *globs = old;
    } else {
        cte__config_clear_globs(&old);
    }
    return status;
}

static cte_status set_target_key(struct cte__config_load *load,
                                 const struct cte__config_where *where, const struct named *named,
                                 const char *value)
{
    struct cte__config_target *old = malloc(sizeof *old);
    if (!old)
        return -ENOMEM;
    *old = *named->target;
    cte_status status = cte__config_set(load, where, named->key, named->target, value);
    if (status == CTE_OK)
        status = cte__config_check_target(load, where, named->target);
    if (status == CTE_OK)
        load->config->default_targets = false;
    else
        *named->target = *old;
    free(old);
    return status;
}

/* Targets that nobody named follow the store's directory and name. */
static cte_status renew_default_targets(struct cte__config_load *load)
{
    load->config->target_count = 0;
    cte_status status = cte__config_default_targets(load);
    if (status == CTE_OK)
        status = cte__config_apply_target_environment(load);
    return status == CTE_ERR_NO_TARGET ? CTE_OK : status;
}

static cte_status set_store_key(struct cte__config_load *load,
                                const struct cte__config_where *where,
                                const struct cte__config_key *key, const char *value)
{
    cte_config *old = malloc(sizeof *old);
    if (!old)
        return -ENOMEM;
    *old = *load->config; /* the lists of patterns stay where they are */
    cte_status status = cte__config_set(load, where, key, load->config, value);
    if (status == CTE_OK && load->config->default_targets)
        status = renew_default_targets(load);
    if (status != CTE_OK)
        *load->config = *old;
    free(old);
    return status;
}

cte_status cte_config_set(cte_config *config, const char *key, const char *value, char *error,
                          size_t error_bytes)
{
    struct named named;
    if (!config || !key || !value)
        return -EINVAL;
    struct cte__config_load load = start(config, error, error_bytes);
    struct cte__config_where where = {.source = key, .program = true};
    cte_status status = find_key(&load, &where, &named);
    if (status != CTE_OK)
        return status;
    if (named.target)
        return set_target_key(&load, &where, &named, value);
    if (named.key->type == CTE__CONFIG_GLOBS)
        return set_globs(&load, &where, named.key, value);
    if (strcmp(named.key->section, "store") == 0)
        return set_store_key(&load, &where, named.key, value);
    return cte__config_set(&load, &where, named.key, config, value);
}

/* ---- targets -------------------------------------------------------------------------------- */

static cte_status fill_target(struct cte__config_load *load, const struct cte__config_where *where,
                              struct cte__config_target *target, const char *const values[3])
{
    static const char *const names[] = {"bdev_type", "path", "capacity_limit"};
    cte_status status = CTE_OK;
    *target = (struct cte__config_target){.score = -1.0f, .origin = {.program = true}};
    for (int i = 0; i < 3 && status == CTE_OK; i++)
        if (values[i])
            status = cte__config_set(load, where, cte__config_find("storage", names[i]), target,
                                     values[i]);
    return status == CTE_OK ? cte__config_check_target(load, where, target) : status;
}

cte_status cte_config_add_target(cte_config *config, const char *bdev_type, const char *path,
                                 const char *capacity_limit, char *error, size_t error_bytes)
{
    const char *const values[] = {bdev_type, path, capacity_limit};
    if (!config)
        return -EINVAL;
    struct cte__config_load load = start(config, error, error_bytes);
    struct cte__config_where where = {.source = "storage", .program = true};
    uint32_t old_count = config->target_count, count = config->default_targets ? 0 : old_count;
    if (count == CTE__CONFIG_TARGETS_MAX)
        return cte__config_fail(&load, &where, "more than %d storage targets; remove some",
                                CTE__CONFIG_TARGETS_MAX);
    struct cte__config_target *target = malloc(sizeof *target);
    if (!target)
        return -ENOMEM;
    config->target_count = count; /* a default target is in nobody's way */
    cte_status status = fill_target(&load, &where, target, values);
    if (status == CTE_OK) {
        config->targets[count] = *target;
        config->target_count = count + 1;
        config->default_targets = false;
    } else {
        config->target_count = old_count;
    }
    free(target);
    return status;
}

uint32_t cte_config_target_count(const cte_config *config)
{
    return config ? config->target_count : 0;
}

/* ---- making and asking ---------------------------------------------------------------------- */

cte_status cte_config_new(cte_config **out, char *error, size_t error_bytes)
{
    if (!out)
        return -EINVAL;
    *out = NULL;
    struct cte__config_load load = start(NULL, error, error_bytes);
    load.targets_may_lack = true;
    return cte__config_load_text(&load, NULL, 0, out);
}

static cte_status print_value(const struct named *named, char *text, size_t text_bytes)
{
    char *value = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&value, &length);
    if (!stream)
        return -errno;
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    locale_t previous = plain != (locale_t)0 ? uselocale(plain) : (locale_t)0;
    cte__config_print_value(stream, named->key, (const char *)named->base + named->key->offset,
                            false);
    if (plain != (locale_t)0) {
        uselocale(previous);
        freelocale(plain);
    }
    bool failed = ferror(stream) != 0;
    if (fclose(stream) != 0 || failed || plain == (locale_t)0) {
        free(value);
        return -ENOMEM;
    }
    bool fits = length < text_bytes;
    if (fits)
        memcpy(text, value, length + 1);
    free(value);
    return fits ? CTE_OK : -ENOBUFS;
}

cte_status cte_config_get(const cte_config *config, const char *key, char *text, size_t text_bytes)
{
    struct named named;
    if (!config || !key || !text || text_bytes == 0)
        return -EINVAL;
    text[0] = '\0';
    /* Only looked at: what find_key() gives is not written to. */
    struct cte__config_load load = start((cte_config *)config, NULL, 0);
    struct cte__config_where where = {.source = key, .program = true};
    if (find_key(&load, &where, &named) != CTE_OK)
        return CTE_ERR_NOT_FOUND;
    if (named.target && cte__config_is_absent(named.key, named.target))
        return CTE_OK;
    return print_value(&named, text, text_bytes);
}
