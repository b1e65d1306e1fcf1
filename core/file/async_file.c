/* SPDX-License-Identifier: BSD-3-Clause */
/* Transfers of files, and functions of programs, as tasks.  They have no order among each other:
 * each takes the next lane. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cte/task.h>

#include "blob/tag.h"
#include "file/client.h"
#include "file/file_internal.h"
#include "task/task.h"

static cte_status submit(cte_client *client, cte_status (*run)(const void *, const char *const *),
                         const void *arguments, size_t bytes, const cte_task_callback *callback,
                         cte_task **task)
{
    static _Atomic uint64_t next;
    cte_status status = cte__client_resolve(&client);
    if (status != CTE_OK)
        return status;
    return cte__task_submit(client->store->tasks,
                            &(struct cte__task_call){
                                .class = CTE__QUEUE_BLOBS,
                                .key = atomic_fetch_add(&next, 1),
                                .run = run,
                                .arguments = arguments,
                                .argument_bytes = bytes,
                                .callback = callback,
                            },
                            task);
}

struct program_call {
    cte_status (*run)(void *context);
    void *context;
};

static cte_status run_program(const void *arguments, const char *const *names)
{
    const struct program_call *call = arguments;
    (void)names;
    return call->run(call->context);
}

cte_status cte_client_run_async(cte_client *client, cte_status (*run)(void *context), void *context,
                                const cte_task_callback *callback, cte_task **task)
{
    struct program_call call = {run, context};
    if (!run)
        return -EINVAL;
    return submit(client, run_program, &call, sizeof call, callback, task);
}

struct file_call {
    cte_file *file;
    bool write;
    uint64_t *transferred;
    size_t count;
    cte_file_segment segments[];
};

static cte_status run_transfer(const void *arguments, const char *const *names)
{
    const struct file_call *call = arguments;
    (void)names;
    return call->write ? cte_file_write(call->file, call->segments, call->count)
                       : cte_file_read(call->file, call->segments, call->count, call->transferred);
}

static cte_status submit_transfer(const struct file_call *head, const cte_file_segment *segments,
                                  const cte_task_callback *callback, cte_task **task)
{
    enum { SEGMENTS_MAX = 1 << 20 };
    if (!head->file || (!segments && head->count > 0) || head->count > SEGMENTS_MAX)
        return -EINVAL;
    size_t bytes = sizeof *head + head->count * sizeof *segments;
    struct file_call *call = malloc(bytes);
    if (!call)
        return -ENOMEM;
    *call = *head;
    if (head->count > 0)
        memcpy(call->segments, segments, head->count * sizeof *segments);
    cte_status status = submit(head->file->client, run_transfer, call, bytes, callback, task);
    free(call);
    return status;
}

cte_status cte_file_write_async(cte_file *file, const cte_file_segment *segments, size_t count,
                                const cte_task_callback *callback, cte_task **task)
{
    struct file_call head = {.file = file, .write = true, .count = count};
    return submit_transfer(&head, segments, callback, task);
}

cte_status cte_file_read_async(cte_file *file, const cte_file_segment *segments, size_t count,
                               uint64_t *transferred, const cte_task_callback *callback,
                               cte_task **task)
{
    struct file_call head = {.file = file, .transferred = transferred, .count = count};
    return submit_transfer(&head, segments, callback, task);
}
