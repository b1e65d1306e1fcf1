/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cte/store.h>

#include "sample.h"

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int rank_of(const struct sample_file *file)
{
    return (file->dirty ? 2 : 0) + (file->open ? 1 : 0);
}

/* Negative: `a` is shown before `b`. */
static int compare_files(const void *a, const void *b)
{
    const struct sample_file *x = a, *y = b;
    if (rank_of(x) != rank_of(y))
        return rank_of(y) - rank_of(x);
    if (x->size_bytes != y->size_bytes)
        return x->size_bytes < y->size_bytes ? 1 : -1;
    return strcmp(x->path, y->path);
}

/* Of more files than there is room for, the last one gives way. */
static cte_status add_file(void *context, const cte_store_file *file)
{
    struct sample *sample = context;
    size_t length = strlen(file->path), most = sizeof sample->files[0].path - 1;
    struct sample_file added = {
        .size_bytes = file->size_bytes, .dirty = file->dirty, .open = file->open};
    memcpy(added.path, file->path + (length > most ? length - most : 0),
           (length > most ? most : length) + 1);
    sample->dirty_count += file->dirty;
    sample->open_count += file->open;
    if (sample->file_count++ < SAMPLE_FILES_MAX) {
        sample->files[sample->file_count - 1] = added;
        return CTE_OK;
    }
    struct sample_file *last = &sample->files[0];
    for (uint32_t i = 1; i < SAMPLE_FILES_MAX; i++)
        if (compare_files(&sample->files[i], last) > 0)
            last = &sample->files[i];
    if (compare_files(&added, last) < 0)
        *last = added;
    return CTE_OK;
}

static cte_status look(cte_client *client, struct sample *sample)
{
    cte_store_usage usage;
    cte_status status = cte_store_processes(client, NULL, 0, &sample->processes);
    if (status == CTE_OK)
        status = cte_store_get_usage(client, &usage);
    if (status == CTE_OK)
        status =
            cte_client_targets(client, sample->targets, SAMPLE_TARGETS_MAX, &sample->target_count);
    if (status == CTE_OK)
        status = cte_store_files(client, add_file, sample);
    if (status != CTE_OK)
        return status;
    if (sample->target_count > SAMPLE_TARGETS_MAX)
        sample->target_count = SAMPLE_TARGETS_MAX;
    sample->metadata_bytes = usage.metadata_bytes;
    sample->metadata_capacity_bytes = usage.metadata_capacity_bytes;
    uint32_t known = sample->file_count < SAMPLE_FILES_MAX ? sample->file_count : SAMPLE_FILES_MAX;
    qsort(sample->files, known, sizeof sample->files[0], compare_files);
    return CTE_OK;
}

int take_sample(const struct invocation *in, struct sample *sample)
{
    cte_client *client = NULL;
    *sample = (struct sample){.time_ns = now_ns()};
    cte_config *config = load_config(in);
    if (!config)
        return EXIT_FAILED;
    cte_status status = cte_store_path(config, sample->path, sizeof sample->path);
    if (status == CTE_OK)
        status = cte_store_open_existing(config, &client);
    cte_config_free(config);
    if (status == CTE_ERR_NOT_FOUND)
        return EXIT_NO_STORE;
    if (status == CTE_OK)
        status = look(client, sample);
    sample->store = status == CTE_OK;
    cte_status closed = cte_client_close(client);
    status = status == CTE_OK && closed != CTE_ERR_DRAIN ? closed : status;
    return status == CTE_OK ? EXIT_OK : complain_status(status);
}

double sample_seconds(const struct sample *before, const struct sample *now)
{
    return (double)(now->time_ns - before->time_ns) / 1e9;
}

static double per_second(uint64_t before, uint64_t now, double seconds)
{
    return now > before && seconds > 0 ? (double)(now - before) / seconds : 0;
}

struct rate target_rate(const struct sample *before, const struct sample *now, uint32_t i)
{
    const cte_target_info *t = &now->targets[i];
    double seconds = sample_seconds(before, now);
    for (uint32_t k = 0; k < before->target_count; k++) {
        const cte_target_info *old = &before->targets[k];
        if (strcmp(old->name, t->name) == 0)
            return (struct rate){per_second(old->bytes_written, t->bytes_written, seconds),
                                 per_second(old->bytes_read, t->bytes_read, seconds),
                                 per_second(old->writes, t->writes, seconds),
                                 per_second(old->reads, t->reads, seconds)};
    }
    return (struct rate){0};
}
