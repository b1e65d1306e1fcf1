/* SPDX-License-Identifier: BSD-3-Clause */
/* CTE_* environment variables: overrides of single keys, and a word about misspelt ones. */
#include "config/keys.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

/* Known, but not keys.  A name ending in '_' stands for all that begin with it. */
static const char *const other_variables[] = {"CTE_CONFIG", "CTE_SUMMARY",   "CTE_LIBRARY",
                                              "CTE_BATCH",  "CTE_EPILOGUE_", "CTE_TEST_",
                                              "CTE_BENCH_", "CTE_BUILD_",    "CTE_DEMO_"};
enum { OTHER_COUNT = sizeof other_variables / sizeof other_variables[0], NAME_MAX_SHOWN = 64 };

/* A variable set to nothing is as one that is not set. */
static const char *value_of(const char *variable)
{
    const char *text = variable ? getenv(variable) : NULL;
    return text && *text ? text : NULL;
}

/* Empty elements, as a trailing colon leaves them, are nothing. */
cte_status cte__config_set_globs(struct cte__config_load *load,
                                 const struct cte__config_where *where,
                                 const struct cte__config_key *key, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    cte__config_clear_globs(
        (struct cte__config_globs *)(void *)((char *)load->config + key->offset));
    cte__config_note_origin(load->config, key, where);
    cte_status status = CTE_OK;
    char *rest = copy;
    for (char *element; status == CTE_OK && (element = strsep(&rest, ":"));)
        if (*element)
            status = cte__config_add_glob(load, where, key, element);
    free(copy);
    return status;
}

cte_status cte__config_apply_environment(struct cte__config_load *load)
{
    cte_status status = CTE_OK;
    for (size_t i = 0; i < cte__config_key_count && status == CTE_OK; i++) {
        const struct cte__config_key *key = &cte__config_keys[i];
        const char *text = value_of(key->variable);
        if (!text || strcmp(key->section, "storage") == 0)
            continue;
        struct cte__config_where where = {.variable = key->variable};
        status = key->type == CTE__CONFIG_GLOBS
                     ? cte__config_set_globs(load, &where, key, text)
                     : cte__config_set(load, &where, key, load->config, text);
    }
    return status;
}

cte_status cte__config_apply_target_environment(struct cte__config_load *load)
{
    const struct cte__config_key *key = cte__config_find("storage", "capacity_limit");
    assert(key);
    const char *text = value_of(key->variable);
    if (!text)
        return CTE_OK;
    struct cte__config_where where = {.variable = key->variable};
    struct cte__config_target *ram = NULL;
    for (uint32_t i = 0; i < load->config->target_count; i++) {
        struct cte__config_target *target = &load->config->targets[i];
        if (strcmp(target->kind, "ram") != 0)
            continue;
        if (ram)
            return cte__config_fail(load, &where,
                                    "there are several ram targets; unset it and give each its "
                                    "capacity_limit under `storage:`");
        ram = target;
    }
    if (!ram)
        return cte__config_fail(load, &where,
                                "there is no ram target; unset it or add one under `storage:`");
    return cte__config_set(load, &where, key, ram, text);
}

bool cte__config_is_known_variable(const char *name)
{
    for (size_t i = 0; i < cte__config_key_count; i++)
        if (cte__config_keys[i].variable && strcmp(cte__config_keys[i].variable, name) == 0)
            return true;
    for (size_t i = 0; i < OTHER_COUNT; i++) {
        size_t length = strlen(other_variables[i]);
        bool prefix = other_variables[i][length - 1] == '_';
        if (prefix ? strncmp(other_variables[i], name, length) == 0
                   : strcmp(other_variables[i], name) == 0)
            return true;
    }
    return false;
}

static void warn_unknown(const char *name)
{
    struct cte__config_guess guess = {.word = name};
    for (size_t i = 0; i < cte__config_key_count; i++)
        if (cte__config_keys[i].variable)
            cte__config_consider(&guess, cte__config_keys[i].variable);
    for (size_t i = 0; i < OTHER_COUNT; i++)
        cte__config_consider(&guess, other_variables[i]);
    if (guess.best[0])
        cte__log_warn("unknown variable %s ignored; did you mean %s?", name, guess.best);
    else
        cte__log_warn("unknown variable %s ignored; unset it or correct its name", name);
}

void cte__config_warn_unknown_variables(void)
{
    static atomic_flag warned = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&warned))
        return; /* once a process is enough */
    for (char **entry = environ; entry && *entry; entry++) {
        char name[NAME_MAX_SHOWN + 1];
        size_t length = strcspn(*entry, "=");
        if (strncmp(*entry, "CTE_", 4) != 0 || length > NAME_MAX_SHOWN)
            continue;
        memcpy(name, *entry, length);
        name[length] = '\0';
        if (!cte__config_is_known_variable(name))
            warn_unknown(name);
    }
}
