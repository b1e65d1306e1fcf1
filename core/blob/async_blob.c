/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations on blobs as tasks: for each, how its arguments are packed and how they are unpacked.
 * All of a blob's operations have one key, so that they keep their order. */
#include <errno.h>
#include <string.h>

#include "blob/tag.h"
#include "task/task.h"

/* The arguments of any operation; each uses some. */
struct blob_call {
    cte_tag tag; /* a copy: the handle may be closed meanwhile */
    cte_tag new_tag;
    uint64_t offset;
    const void *data; /* bytes to store */
    void *result;     /* where bytes or values go */
    size_t size;
    size_t *bytes_read;
    float score;
    uint32_t flags;
    uint32_t capacity; /* elements of the result */
    uint32_t *count;
};

typedef cte_status blob_run(const void *arguments, const char *const *names);

/* `new_name` NULL: the operation has none. */
static cte_status submit_two(cte_tag *tag, const char *name, const char *new_name, blob_run *run,
                             struct blob_call *call, const cte_task_callback *callback,
                             cte_task **task)
{
    cte_status status = tag ? cte__name_check(name) : -EINVAL;
    if (status == CTE_OK && new_name)
        status = cte__name_check(new_name);
    if (status != CTE_OK)
        return status;
    call->tag = *tag;
    return cte__task_submit(tag->store->tasks,
                            &(struct cte__task_call){
                                .class = CTE__QUEUE_BLOBS,
                                .key = cte__name_hash(tag->tag.id, name, (uint32_t)strlen(name)),
                                .run = run,
                                .arguments = call,
                                .argument_bytes = sizeof *call,
                                .names = {name, new_name},
                                .callback = callback,
                            },
                            task);
}

static cte_status submit(cte_tag *tag, const char *name, blob_run *run, struct blob_call *call,
                         const cte_task_callback *callback, cte_task **task)
{
    return submit_two(tag, name, NULL, run, call, callback, task);
}

static cte_status run_put(const void *arguments, const char *const *names)
{
    const struct blob_call *call = arguments;
    cte_tag tag = call->tag;
    return cte_blob_put(&tag, names[0], call->offset, call->data, call->size, call->score,
                        call->flags);
}

cte_status cte_blob_put_async(cte_tag *tag, const char *name, uint64_t offset, const void *data,
                              size_t size, float score, uint32_t flags,
                              const cte_task_callback *callback, cte_task **task)
{
    struct blob_call call = {
        .offset = offset, .data = data, .size = size, .score = score, .flags = flags};
    return submit(tag, name, run_put, &call, callback, task);
}

static cte_status run_append(const void *arguments, const char *const *names)
{
    const struct blob_call *call = arguments;
    cte_tag tag = call->tag;
    return cte_blob_append(&tag, names[0], call->data, call->size, call->score, call->result);
}

cte_status cte_blob_append_async(cte_tag *tag, const char *name, const void *data, size_t size,
                                 float score, uint64_t *offset, const cte_task_callback *callback,
                                 cte_task **task)
{
    struct blob_call call = {.data = data, .size = size, .score = score, .result = offset};
    return submit(tag, name, run_append, &call, callback, task);
}

static cte_status run_get(const void *arguments, const char *const *names)
{
    const struct blob_call *call = arguments;
    cte_tag tag = call->tag;
    return cte_blob_get(&tag, names[0], call->offset, call->result, call->size, call->bytes_read);
}

cte_status cte_blob_get_async(cte_tag *tag, const char *name, uint64_t offset, void *buffer,
                              size_t size, size_t *bytes_read, const cte_task_callback *callback,
                              cte_task **task)
{
    struct blob_call call = {
        .offset = offset, .result = buffer, .size = size, .bytes_read = bytes_read};
    return submit(tag, name, run_get, &call, callback, task);
}

static cte_status run_delete(const void *arguments, const char *const *names)
{
    cte_tag tag = ((const struct blob_call *)arguments)->tag;
    return cte_blob_delete(&tag, names[0]);
}

cte_status cte_blob_delete_async(cte_tag *tag, const char *name, const cte_task_callback *callback,
                                 cte_task **task)
{
    return submit(tag, name, run_delete, &(struct blob_call){0}, callback, task);
}

static cte_status run_move(const void *arguments, const char *const *names)
{
    const struct blob_call *call = arguments;
    cte_tag tag = call->tag, new_tag = call->new_tag;
    return cte_blob_move(&tag, names[0], &new_tag, names[1], call->flags);
}

cte_status cte_blob_move_async(cte_tag *tag, const char *name, cte_tag *new_tag,
                               const char *new_name, uint32_t flags,
                               const cte_task_callback *callback, cte_task **task)
{
    if (!new_tag || !new_name)
        return -EINVAL;
    struct blob_call call = {.new_tag = *new_tag, .flags = flags};
    return submit_two(tag, name, new_name, run_move, &call, callback, task);
}

cte_status cte_blob_rename_async(cte_tag *tag, const char *name, const char *new_name,
                                 uint32_t flags, const cte_task_callback *callback, cte_task **task)
{
    return cte_blob_move_async(tag, name, tag, new_name, flags, callback, task);
}

static cte_status run_get_info(const void *arguments, const char *const *names)
{
    const struct blob_call *call = arguments;
    cte_tag tag = call->tag;
    return cte_blob_get_info(&tag, names[0], call->result);
}

cte_status cte_blob_get_info_async(cte_tag *tag, const char *name, cte_blob_info *info,
                                   const cte_task_callback *callback, cte_task **task)
{
    return submit(tag, name, run_get_info, &(struct blob_call){.result = info}, callback, task);
}

static cte_status run_size(const void *arguments, const char *const *names)
{
    const struct blob_call *call = arguments;
    cte_tag tag = call->tag;
    return cte_blob_size(&tag, names[0], call->result);
}

cte_status cte_blob_size_async(cte_tag *tag, const char *name, uint64_t *size_bytes,
                               const cte_task_callback *callback, cte_task **task)
{
    return submit(tag, name, run_size, &(struct blob_call){.result = size_bytes}, callback, task);
}

static cte_status run_score(const void *arguments, const char *const *names)
{
    const struct blob_call *call = arguments;
    cte_tag tag = call->tag;
    return cte_blob_score(&tag, names[0], call->result);
}

cte_status cte_blob_score_async(cte_tag *tag, const char *name, float *score,
                                const cte_task_callback *callback, cte_task **task)
{
    return submit(tag, name, run_score, &(struct blob_call){.result = score}, callback, task);
}

static cte_status run_blocks(const void *arguments, const char *const *names)
{
    const struct blob_call *call = arguments;
    cte_tag tag = call->tag;
    return cte_blob_blocks(&tag, names[0], call->result, call->capacity, call->count);
}

cte_status cte_blob_blocks_async(cte_tag *tag, const char *name, cte_blob_block *blocks,
                                 uint32_t capacity, uint32_t *count,
                                 const cte_task_callback *callback, cte_task **task)
{
    struct blob_call call = {.result = blocks, .capacity = capacity, .count = count};
    return submit(tag, name, run_blocks, &call, callback, task);
}

static cte_status run_reorganize(const void *arguments, const char *const *names)
{
    const struct blob_call *call = arguments;
    cte_tag tag = call->tag;
    return cte_blob_reorganize(&tag, names[0], call->score, call->result);
}

cte_status cte_blob_reorganize_async(cte_tag *tag, const char *name, float new_score,
                                     cte_blob_report *report, const cte_task_callback *callback,
                                     cte_task **task)
{
    struct blob_call call = {.score = new_score, .result = report};
    return submit(tag, name, run_reorganize, &call, callback, task);
}
