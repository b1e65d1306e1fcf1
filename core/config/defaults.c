/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration that works with no file at all. */
#include "config/keys.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const struct cte__config_where built_in = {.source = "built-in default"};

/* Batch systems' job ids, and directories on the node's own disks that they make for a job. */
static const char *const job_variables[] = {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID",
                                            "FLUX_JOB_ID"};
static const char *const scratch_variables[] = {"SLURM_TMPDIR", "PBS_JOBFS", "LOCAL_SCRATCH",
                                                "LOCALSCRATCH", "SNIC_TMP",  "SGE_LOCALDIR",
                                                "PBS_JOBDIR"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void replace_unsafe(char *name)
{
    for (; *name; name++) {
        bool letter = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z');
        bool digit = *name >= '0' && *name <= '9';
        if (!letter && !digit && !strchr("._-", *name))
            *name = '_';
    }
}

static cte_status default_store_name(struct cte__config_load *load)
{
    struct cte__config_where where = built_in;
    char name[CTE__STORE_NAME_MAX];
    snprintf(name, sizeof name, "u%lu", (unsigned long)geteuid());
    for (size_t i = 0; i < COUNT(job_variables) && !where.variable; i++) {
        const char *id = getenv(job_variables[i]);
        if (!id || !*id)
            continue;
        where.variable = job_variables[i];
        snprintf(name, sizeof name, "job-%s", id);
        replace_unsafe(name);
    }
    const struct cte__config_key *key = cte__config_find("store", "name");
    assert(key);
    return cte__config_set(load, &where, key, load->config, name);
}

cte_status cte__config_set_defaults(struct cte__config_load *load)
{
    cte_status status = default_store_name(load);
    for (size_t i = 0; i < cte__config_key_count && status == CTE_OK; i++)
        if (cte__config_keys[i].initial)
            status = cte__config_set(load, &built_in, &cte__config_keys[i], load->config,
                                     cte__config_keys[i].initial);
    return status;
}

static cte_status default_ram_target(struct cte__config_load *load)
{
    cte_config *config = load->config;
    struct statvfs fs;
    if (statvfs(config->store_directory, &fs) != 0)
        return cte__config_fail(load, &built_in,
                                "cannot size the ram target: store.directory '%s': %s; name a "
                                "directory that exists (key store.directory, variable "
                                "CTE_STORE_DIRECTORY)",
                                config->store_directory, strerror(errno));
    uint64_t bytes = cte__config_ram_bytes(cte__config_memory_available(),
                                           (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize);
    if (bytes == 0)
        return CTE_OK; /* no room: perhaps there is a disk */
    struct cte__config_target *target = &config->targets[config->target_count++];
    *target = (struct cte__config_target){.kind = "ram", .capacity_bytes = bytes, .score = -1.0f};
    return CTE_OK;
}

/* True if a directory can hold a target; says how much. */
static bool usable_scratch(const char *directory, uint64_t *bytes)
{
    struct stat st;
    uint64_t free_bytes;
    if (directory[0] != '/' || !cte__config_is_plain_text(directory) || stat(directory, &st) != 0 ||
        !S_ISDIR(st.st_mode) || eaccess(directory, W_OK | X_OK) != 0 ||
        !cte__config_is_local_disk(directory, &free_bytes))
        return false;
    *bytes = cte__config_scratch_bytes(free_bytes);
    return *bytes > 0;
}

static void default_file_target(cte_config *config)
{
    char name[CTE__STORE_NAME_MAX];
    memcpy(name, config->store_name, sizeof name);
    for (size_t i = 0; i < COUNT(scratch_variables); i++) {
        const char *directory = getenv(scratch_variables[i]);
        uint64_t bytes;
        if (!directory || !usable_scratch(directory, &bytes))
            continue;
        struct cte__config_target *target = &config->targets[config->target_count];
        *target = (struct cte__config_target){.kind = "file",
                                              .capacity_bytes = bytes,
                                              .score = -1.0f,
                                              .origin.variable = scratch_variables[i]};
        int length =
            snprintf(target->path, sizeof target->path, "%s/cte-%s.target", directory, name);
        if (length < (int)sizeof target->path) {
            for (size_t key = 0; key < CTE__CONFIG_TARGET_KEYS_MAX; key++)
                target->key_origin[key] = target->origin;
            config->target_count++;
            return;
        }
    }
}

cte_status cte__config_default_targets(struct cte__config_load *load)
{
    if (load->config->target_count > 0)
        return CTE_OK; /* `storage:` says which */
    load->config->default_targets = true;
    cte_status status = default_ram_target(load);
    if (status != CTE_OK)
        return status;
    default_file_target(load->config);
    if (load->config->target_count > 0)
        return CTE_OK;
    cte__config_fail(
        load, &built_in,
        "no room for a storage target: less than 2 MiB of memory or of store.directory "
        "'%s' is free and the job has no local scratch directory; give `storage:` a "
        "file target or free some memory",
        load->config->store_directory);
    return CTE_ERR_NO_TARGET;
}
