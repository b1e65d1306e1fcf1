/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations on tags as tasks.  Those that change a tag have its name as their key; those that look
 * at all of its blobs are statistics. */
#include <errno.h>
#include <string.h>

#include "blob/tag.h"
#include "task/task.h"

typedef cte_status tag_run(const void *arguments, const char *const *names);

/* ---- by name -------------------------------------------------------------------------------- */

struct name_call {
    cte_client *client;
    cte_tag **out;
    bool create;
};

static cte_status submit_name(const char *name, tag_run *run, struct name_call *call,
                              const cte_task_callback *callback, cte_task **task)
{
    struct cte__store *store;
    cte_status status = cte__name_check(name);
    /* Now, not in the worker: when the process-wide client is closed, its tasks are still its. */
    if (status == CTE_OK)
        status = cte__client_resolve(&call->client);
    if (status == CTE_OK)
        status = cte__client_store(call->client, &store);
    if (status != CTE_OK)
        return status;
    return cte__task_submit(store->tasks,
                            &(struct cte__task_call){
                                .class = CTE__QUEUE_TAGS,
                                .key = cte__name_hash(0, name, (uint32_t)strlen(name)),
                                .run = run,
                                .arguments = call,
                                .argument_bytes = sizeof *call,
                                .names = {name},
                                .callback = callback,
                            },
                            task);
}

static cte_status run_open(const void *arguments, const char *const *names)
{
    const struct name_call *call = arguments;
    return cte_tag_open(call->client, names[0], call->create, call->out);
}

cte_status cte_tag_open_async(cte_client *client, const char *name, bool create, cte_tag **out,
                              const cte_task_callback *callback, cte_task **task)
{
    struct name_call call = {.client = client, .out = out, .create = create};
    return submit_name(name, run_open, &call, callback, task);
}

static cte_status run_delete(const void *arguments, const char *const *names)
{
    const struct name_call *call = arguments;
    return cte_tag_delete(call->client, names[0]);
}

cte_status cte_tag_delete_async(cte_client *client, const char *name,
                                const cte_task_callback *callback, cte_task **task)
{
    return submit_name(name, run_delete, &(struct name_call){.client = client}, callback, task);
}

/* ---- by handle ------------------------------------------------------------------------------ */

struct handle_call {
    cte_tag tag; /* a copy: the handle may be closed meanwhile */
    uint64_t *size_bytes;
    uint64_t max;
    cte_name_visitor visit;
    void *context;
};

/* `text` NULL: the operation has none. */
static cte_status submit_handle(cte_tag *tag, const char *text, tag_run *run,
                                struct handle_call *call, const cte_task_callback *callback,
                                cte_task **task)
{
    if (!tag)
        return -EINVAL;
    call->tag = *tag;
    return cte__task_submit(tag->store->tasks,
                            &(struct cte__task_call){
                                .class = CTE__QUEUE_STATS,
                                .key = tag->tag.id,
                                .run = run,
                                .arguments = call,
                                .argument_bytes = sizeof *call,
                                .names = {text},
                                .callback = callback,
                            },
                            task);
}

static cte_status run_size(const void *arguments, const char *const *names)
{
    const struct handle_call *call = arguments;
    cte_tag tag = call->tag;
    (void)names;
    return cte_tag_size(&tag, call->size_bytes);
}

cte_status cte_tag_size_async(cte_tag *tag, uint64_t *size_bytes, const cte_task_callback *callback,
                              cte_task **task)
{
    return submit_handle(tag, NULL, run_size, &(struct handle_call){.size_bytes = size_bytes},
                         callback, task);
}

static cte_status run_list(const void *arguments, const char *const *names)
{
    const struct handle_call *call = arguments;
    cte_tag tag = call->tag;
    (void)names;
    return cte_tag_list(&tag, call->visit, call->context);
}

cte_status cte_tag_list_async(cte_tag *tag, cte_name_visitor visit, void *context,
                              const cte_task_callback *callback, cte_task **task)
{
    struct handle_call call = {.visit = visit, .context = context};
    return submit_handle(tag, NULL, run_list, &call, callback, task);
}

static cte_status run_list_matching(const void *arguments, const char *const *names)
{
    const struct handle_call *call = arguments;
    cte_tag tag = call->tag;
    return cte_tag_list_matching(&tag, names[0], call->max, call->visit, call->context);
}

cte_status cte_tag_list_matching_async(cte_tag *tag, const char *regex, uint64_t max,
                                       cte_name_visitor visit, void *context,
                                       const cte_task_callback *callback, cte_task **task)
{
    struct handle_call call = {.max = max, .visit = visit, .context = context};
    return submit_handle(tag, regex, run_list_matching, &call, callback, task);
}
