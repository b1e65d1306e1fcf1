/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations on a whole client as tasks: on its targets, and those that look at many tags or blobs.
 */
#include <errno.h>
#include <string.h>

#include <cte/blob.h>
#include <cte/target.h>
#include <cte/telemetry.h>

#include "blob/tag.h"
#include "file/client.h"
#include "task/task.h"

/* The arguments of any operation; each uses some. */
struct client_call {
    cte_client *client;
    cte_query_scope scope;
    uint64_t max;
    union {
        cte_name_visitor name;
        cte_tag_visitor tag;
        cte_blob_visitor blob;
    } visit;
    void *context;
    cte_target_info *infos;
    uint32_t capacity;
    uint32_t *count;
    const cte_config *config;
    uint32_t index; /* in the config */
    cte_persistence level;
    uint64_t *bytes;
    uint64_t logical_time;
    cte_telemetry_entry *entries;
    size_t entry_capacity;
    size_t *entry_count;
    uint64_t *dropped;
};

/* An operation; `texts` are copied for it. */
struct client_operation {
    enum cte__queue_class class;
    cte_status (*run)(const void *arguments, const char *const *texts);
    const char *texts[CTE__TASK_NAMES_MAX];
    uint64_t key;
};

static cte_status submit(const struct client_operation *operation, struct client_call *call,
                         const cte_task_callback *callback, cte_task **task)
{
    /* Now, not in the worker: when the process-wide client is closed, its tasks are still its. */
    cte_status status = cte__client_resolve(&call->client);
    if (status != CTE_OK)
        return status;
    return cte__task_submit(call->client->store->tasks,
                            &(struct cte__task_call){
                                .class = operation->class,
                                .key = operation->key,
                                .run = operation->run,
                                .arguments = call,
                                .argument_bytes = sizeof *call,
                                .names = {operation->texts[0], operation->texts[1]},
                                .callback = callback,
                            },
                            task);
}

static cte_status run_tags(const void *arguments, const char *const *texts)
{
    const struct client_call *call = arguments;
    (void)texts;
    return cte_client_tags(call->client, call->visit.name, call->context);
}

cte_status cte_client_tags_async(cte_client *client, cte_name_visitor visit, void *context,
                                 const cte_task_callback *callback, cte_task **task)
{
    struct client_call call = {.client = client, .visit.name = visit, .context = context};
    return submit(&(struct client_operation){CTE__QUEUE_TAGS, run_tags, {NULL}, 0}, &call, callback,
                  task);
}

static cte_status run_tag_query(const void *arguments, const char *const *texts)
{
    const struct client_call *call = arguments;
    return cte_tag_query(call->client, texts[0], call->scope, call->max, call->visit.tag,
                         call->context);
}

cte_status cte_tag_query_async(cte_client *client, const char *regex, cte_query_scope scope,
                               uint64_t max, cte_tag_visitor visit, void *context,
                               const cte_task_callback *callback, cte_task **task)
{
    struct client_call call = {
        .client = client, .scope = scope, .max = max, .visit.tag = visit, .context = context};
    return submit(&(struct client_operation){CTE__QUEUE_TAGS, run_tag_query, {regex}, 0}, &call,
                  callback, task);
}

static cte_status run_blob_query(const void *arguments, const char *const *texts)
{
    const struct client_call *call = arguments;
    return cte_blob_query(call->client, texts[0], texts[1], call->scope, call->max,
                          call->visit.blob, call->context);
}

cte_status cte_blob_query_async(cte_client *client, const char *tag_regex, const char *blob_regex,
                                cte_query_scope scope, uint64_t max, cte_blob_visitor visit,
                                void *context, const cte_task_callback *callback, cte_task **task)
{
    struct client_call call = {
        .client = client, .scope = scope, .max = max, .visit.blob = visit, .context = context};
    return submit(
        &(struct client_operation){CTE__QUEUE_STATS, run_blob_query, {tag_regex, blob_regex}, 0},
        &call, callback, task);
}

static cte_status run_flush(const void *arguments, const char *const *texts)
{
    const struct client_call *call = arguments;
    (void)texts;
    return cte_client_flush(call->client, call->level, call->bytes);
}

cte_status cte_client_flush_async(cte_client *client, cte_persistence level,
                                  uint64_t *volatile_bytes, const cte_task_callback *callback,
                                  cte_task **task)
{
    struct client_call call = {.client = client, .level = level, .bytes = volatile_bytes};
    return submit(&(struct client_operation){CTE__QUEUE_TARGETS, run_flush, {NULL}, 0}, &call,
                  callback, task);
}

static cte_status run_targets(const void *arguments, const char *const *texts)
{
    const struct client_call *call = arguments;
    (void)texts;
    return cte_client_targets(call->client, call->infos, call->capacity, call->count);
}

cte_status cte_client_targets_async(cte_client *client, cte_target_info *infos, uint32_t capacity,
                                    uint32_t *count, const cte_task_callback *callback,
                                    cte_task **task)
{
    struct client_call call = {
        .client = client, .infos = infos, .capacity = capacity, .count = count};
    return submit(&(struct client_operation){CTE__QUEUE_TARGETS, run_targets, {NULL}, 0}, &call,
                  callback, task);
}

static cte_status run_poll(const void *arguments, const char *const *texts)
{
    const struct client_call *call = arguments;
    (void)texts;
    return cte_telemetry_poll(call->client, call->logical_time, call->entries, call->entry_capacity,
                              call->entry_count, call->dropped);
}

cte_status cte_telemetry_poll_async(cte_client *client, uint64_t logical_time,
                                    cte_telemetry_entry *entries, size_t capacity, size_t *count,
                                    uint64_t *dropped, const cte_task_callback *callback,
                                    cte_task **task)
{
    struct client_call call = {.client = client,
                               .logical_time = logical_time,
                               .entries = entries,
                               .entry_capacity = capacity,
                               .entry_count = count,
                               .dropped = dropped};
    return submit(&(struct client_operation){CTE__QUEUE_STATS, run_poll, {NULL}, 0}, &call,
                  callback, task);
}

/* ---- targets -------------------------------------------------------------------------------- */

/* An operation on one target, by its name. */
static cte_status submit_target(const char *name,
                                cte_status (*run)(const void *, const char *const *),
                                struct client_call *call, const cte_task_callback *callback,
                                cte_task **task)
{
    if (!name)
        return -EINVAL;
    uint64_t key = cte__name_hash(0, name, (uint32_t)strnlen(name, PATH_MAX));
    return submit(&(struct client_operation){CTE__QUEUE_TARGETS, run, {name}, key}, call, callback,
                  task);
}

static cte_status run_register(const void *arguments, const char *const *texts)
{
    const struct client_call *call = arguments;
    (void)texts;
    return cte_target_register(call->client, call->config, call->index);
}

cte_status cte_target_register_async(cte_client *client, const cte_config *config, uint32_t index,
                                     const cte_task_callback *callback, cte_task **task)
{
    struct client_call call = {.client = client, .config = config, .index = index};
    if (!config || index >= config->target_count)
        return -EINVAL;
    return submit_target(config->targets[index].path, run_register, &call, callback, task);
}

static cte_status run_unregister(const void *arguments, const char *const *texts)
{
    const struct client_call *call = arguments;
    return cte_target_unregister(call->client, texts[0]);
}

cte_status cte_target_unregister_async(cte_client *client, const char *name,
                                       const cte_task_callback *callback, cte_task **task)
{
    return submit_target(name, run_unregister, &(struct client_call){.client = client}, callback,
                         task);
}

static cte_status run_get_info(const void *arguments, const char *const *texts)
{
    const struct client_call *call = arguments;
    return cte_target_get_info(call->client, texts[0], call->infos);
}

cte_status cte_target_get_info_async(cte_client *client, const char *name, cte_target_info *info,
                                     const cte_task_callback *callback, cte_task **task)
{
    struct client_call call = {.client = client, .infos = info};
    return submit_target(name, run_get_info, &call, callback, task);
}

static cte_status run_stat(const void *arguments, const char *const *texts)
{
    const struct client_call *call = arguments;
    (void)texts;
    return cte_target_stat(call->client);
}

cte_status cte_target_stat_async(cte_client *client, const cte_task_callback *callback,
                                 cte_task **task)
{
    return submit(&(struct client_operation){CTE__QUEUE_TARGETS, run_stat, {NULL}, 0},
                  &(struct client_call){.client = client}, callback, task);
}
