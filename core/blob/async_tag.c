/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations on tags as tasks.  Those by name or id have that as their key; those that look
 * at all of its blobs are statistics. */
#include <errno.h>
#include <string.h>

#include "blob/tag.h"
#include "task/task.h"

typedef cte_status tag_run(const void *arguments, const char *const *names);

/* ---- by name or id ----------------------------------------------------------------------------
 */

/* The arguments of any such operation; each uses some. */
struct client_call {
    cte_client *client;
    cte_tag_id id;
    void *out;    /* a handle, an id or a name */
    size_t bytes; /* room for the name */
    bool create;
};

/* `name` NULL: the operation has none. */
static cte_status submit(uint64_t key, const char *name, tag_run *run, struct client_call *call,
                         const cte_task_callback *callback, cte_task **task)
{
    struct cte__store *store;
    /* Now, not in the worker: when the process-wide client is closed, its tasks are still its. */
    cte_status status = cte__client_resolve(&call->client);
    if (status == CTE_OK)
        status = cte__client_store(call->client, &store);
    if (status != CTE_OK)
        return status;
    return cte__task_submit(store->tasks,
                            &(struct cte__task_call){
                                .class = CTE__QUEUE_TAGS,
                                .key = key,
                                .run = run,
                                .arguments = call,
                                .argument_bytes = sizeof *call,
                                .names = {name},
                                .callback = callback,
                            },
                            task);
}

static cte_status submit_name(const char *name, tag_run *run, struct client_call *call,
                              const cte_task_callback *callback, cte_task **task)
{
    cte_status status = cte__name_check(name);
    if (status != CTE_OK)
        return status;
    return submit(cte__name_hash(0, name, (uint32_t)strlen(name)), name, run, call, callback, task);
}

static cte_status submit_id(tag_run *run, struct client_call *call,
                            const cte_task_callback *callback, cte_task **task)
{
    uint64_t key = (uint64_t)call->id.major << 32 | call->id.minor;
    return submit(key, NULL, run, call, callback, task);
}

static cte_status run_open(const void *arguments, const char *const *names)
{
    const struct client_call *call = arguments;
    return cte_tag_open(call->client, names[0], call->create, call->out);
}

cte_status cte_tag_open_async(cte_client *client, const char *name, bool create, cte_tag **out,
                              const cte_task_callback *callback, cte_task **task)
{
    struct client_call call = {.client = client, .out = out, .create = create};
    return submit_name(name, run_open, &call, callback, task);
}

static cte_status run_create(const void *arguments, const char *const *names)
{
    const struct client_call *call = arguments;
    return cte_tag_create(call->client, names[0], call->id, call->out);
}

cte_status cte_tag_create_async(cte_client *client, const char *name, cte_tag_id id, cte_tag **out,
                                const cte_task_callback *callback, cte_task **task)
{
    struct client_call call = {.client = client, .id = id, .out = out};
    return submit_name(name, run_create, &call, callback, task);
}

static cte_status run_open_id(const void *arguments, const char *const *names)
{
    const struct client_call *call = arguments;
    (void)names;
    return cte_tag_open_id(call->client, call->id, call->out);
}

cte_status cte_tag_open_id_async(cte_client *client, cte_tag_id id, cte_tag **out,
                                 const cte_task_callback *callback, cte_task **task)
{
    struct client_call call = {.client = client, .id = id, .out = out};
    return submit_id(run_open_id, &call, callback, task);
}

static cte_status run_find(const void *arguments, const char *const *names)
{
    const struct client_call *call = arguments;
    return cte_tag_find(call->client, names[0], call->out);
}

cte_status cte_tag_find_async(cte_client *client, const char *name, cte_tag_id *id,
                              const cte_task_callback *callback, cte_task **task)
{
    struct client_call call = {.client = client, .out = id};
    return submit_name(name, run_find, &call, callback, task);
}

static cte_status run_name(const void *arguments, const char *const *names)
{
    const struct client_call *call = arguments;
    (void)names;
    return cte_tag_name(call->client, call->id, call->out, call->bytes);
}

cte_status cte_tag_name_async(cte_client *client, cte_tag_id id, char *name, size_t name_bytes,
                              const cte_task_callback *callback, cte_task **task)
{
    struct client_call call = {.client = client, .id = id, .out = name, .bytes = name_bytes};
    return submit_id(run_name, &call, callback, task);
}

static cte_status run_delete(const void *arguments, const char *const *names)
{
    const struct client_call *call = arguments;
    return cte_tag_delete(call->client, names[0]);
}

cte_status cte_tag_delete_async(cte_client *client, const char *name,
                                const cte_task_callback *callback, cte_task **task)
{
    return submit_name(name, run_delete, &(struct client_call){.client = client}, callback, task);
}

static cte_status run_delete_id(const void *arguments, const char *const *names)
{
    const struct client_call *call = arguments;
    (void)names;
    return cte_tag_delete_id(call->client, call->id);
}

cte_status cte_tag_delete_id_async(cte_client *client, cte_tag_id id,
                                   const cte_task_callback *callback, cte_task **task)
{
    struct client_call call = {.client = client, .id = id};
    return submit_id(run_delete_id, &call, callback, task);
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
