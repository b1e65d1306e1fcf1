/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations on a whole client as tasks: they look at the store's tags and targets. */
#include <errno.h>

#include <cte/blob.h>

#include "file/client.h"
#include "blob/tag.h"
#include "task/task.h"

/* The arguments of any operation; each uses some. */
struct client_call {
    cte_client *client;
    cte_name_visitor visit;
    void *context;
    cte_target_info *infos;
    uint32_t capacity;
    uint32_t *count;
};

static cte_status submit(enum cte__queue_class class,
                         cte_status (*run)(const void *, const char *const *),
                         struct client_call *call, const cte_task_callback *callback,
                         cte_task **task)
{
    /* Now, not in the worker: when the process-wide client is closed, its tasks are still its. */
    cte_status status = cte__client_resolve(&call->client);
    if (status != CTE_OK)
        return status;
    return cte__task_submit(call->client->store->tasks,
                            &(struct cte__task_call){
                                .class = class,
                                .run = run,
                                .arguments = call,
                                .argument_bytes = sizeof *call,
                                .callback = callback,
                            },
                            task);
}

static cte_status run_tags(const void *arguments, const char *const *names)
{
    const struct client_call *call = arguments;
    (void)names;
    return cte_client_tags(call->client, call->visit, call->context);
}

cte_status cte_client_tags_async(cte_client *client, cte_name_visitor visit, void *context,
                                 const cte_task_callback *callback, cte_task **task)
{
    struct client_call call = {.client = client, .visit = visit, .context = context};
    return submit(CTE__QUEUE_TAGS, run_tags, &call, callback, task);
}

static cte_status run_targets(const void *arguments, const char *const *names)
{
    const struct client_call *call = arguments;
    (void)names;
    return cte_client_targets(call->client, call->infos, call->capacity, call->count);
}

cte_status cte_client_targets_async(cte_client *client, cte_target_info *infos, uint32_t capacity,
                                    uint32_t *count, const cte_task_callback *callback,
                                    cte_task **task)
{
    struct client_call call = {
        .client = client, .infos = infos, .capacity = capacity, .count = count};
    return submit(CTE__QUEUE_TARGETS, run_targets, &call, callback, task);
}
