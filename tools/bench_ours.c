/* SPDX-License-Identifier: BSD-3-Clause */
/* The library as the subject of a benchmark: each piece is a blob, all in one tag. */
#include <errno.h>
#include <stdlib.h>

#include <cte/blob.h>
#include <cte/task.h>

#include "bench.h"

struct ours {
    cte_client *client;
    cte_tag *tag;
};

static bool failed(struct bench_worker *worker, const char *what, uint64_t index, cte_status status)
{
    return bench_fail(worker, "%s of blob %llu: %s", what, (unsigned long long)index,
                      cte_status_string(status));
}

static void ours_close(void *state)
{
    struct ours *ours = state;
    cte_tag_close(ours->tag);
    /* The store is to go: nothing in it is missed. */
    cte_client_close(ours->client);
    free(ours);
}

static bool ours_open(struct bench_worker *worker, void **state)
{
    char error[BENCH_ERROR_BYTES] = "";
    struct ours *ours = calloc(1, sizeof *ours);
    if (!ours)
        return bench_fail(worker, "not enough memory");
    cte_status status =
        bench_client_open(worker->options, worker->place, &ours->client, error, sizeof error);
    if (status != CTE_OK) {
        free(ours);
        return bench_fail(worker, "%s", error[0] ? error : cte_status_string(status));
    }
    status = cte_tag_open(ours->client, "bench", true, &ours->tag);
    *state = ours;
    if (status == CTE_OK)
        return true;
    ours_close(ours);
    return bench_fail(worker, "the tag cannot be made: %s", cte_status_string(status));
}

static bool ours_clear(struct bench_worker *worker, void *state)
{
    const struct ours *ours = state;
    for (uint64_t i = 0; i < worker->options->count; i++) {
        char name[BENCH_NAME_BYTES];
        bench_name(name, worker->index, i);
        cte_status status = cte_blob_delete(ours->tag, name);
        if (status != CTE_OK && status != CTE_ERR_NOT_FOUND)
            return failed(worker, "delete", i, status);
    }
    return true;
}

static bool ours_put(struct bench_worker *worker, void *state, uint64_t index, const void *data)
{
    const struct ours *ours = state;
    char name[BENCH_NAME_BYTES];
    bench_name(name, worker->index, index);
    cte_status status =
        cte_blob_put(ours->tag, name, 0, data, worker->options->size_bytes, 1.0f, 0);
    return status == CTE_OK || failed(worker, "put", index, status);
}

/* Puts to a disk are to be there. */
static bool ours_finish(struct bench_worker *worker, void *state)
{
    const struct ours *ours = state;
    uint64_t volatile_bytes; /* there are some: the metadata is in memory */
    if (worker->options->target == BENCH_RAM)
        return true;
    cte_status status = cte_client_flush(ours->client, CTE_PERSIST_NODE, &volatile_bytes);
    return status == CTE_OK || bench_fail(worker, "flush: %s", cte_status_string(status));
}

static bool ours_get(struct bench_worker *worker, void *state, uint64_t index, void *buffer)
{
    const struct ours *ours = state;
    char name[BENCH_NAME_BYTES];
    bench_name(name, worker->index, index);
    cte_status status = cte_blob_get(ours->tag, name, 0, buffer, worker->options->size_bytes, NULL);
    return status == CTE_OK || failed(worker, "get", index, status);
}

static bool ours_start(struct bench_worker *worker, void *state, uint64_t index, void *memory,
                       void **operation)
{
    const struct ours *ours = state;
    const struct bench_options *options = worker->options;
    char name[BENCH_NAME_BYTES];
    cte_task *task = NULL;
    bench_name(name, worker->index, index);
    cte_status status =
        options->get
            ? cte_blob_get_async(ours->tag, name, 0, memory, options->size_bytes, NULL, NULL, &task)
            : cte_blob_put_async(ours->tag, name, 0, memory, options->size_bytes, 1.0f, 0, NULL,
                                 &task);
    *operation = task;
    return status == CTE_OK || failed(worker, "start", index, status);
}

static bool ours_wait(struct bench_worker *worker, uint64_t index, void *operation)
{
    cte_task *task = operation;
    cte_status status = cte_task_wait(task, -1);
    if (status == CTE_OK)
        status = cte_task_status(task);
    cte_task_free(task);
    return status == CTE_OK || failed(worker, "operation", index, status);
}

const struct bench_subject_ops bench_ours = {
    .open = ours_open,
    .close = ours_close,
    .clear = ours_clear,
    .put = ours_put,
    .get = ours_get,
    .start = ours_start,
    .wait = ours_wait,
    .finish = ours_finish,
};
