/* SPDX-License-Identifier: BSD-3-Clause */
/* Asynchronous puts and gets: a simulation hands its snapshots over and goes on computing; then an
 * analysis takes them in whatever order they come.
 *
 *   blob_async [SNAPSHOTS]
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cte/blob.h>
#include <cte/task.h>

enum { CELLS = 1 << 16, SNAPSHOTS_MAX = 64 };

static int fail(const char *what, cte_status status)
{
    fprintf(stderr, "blob_async: %s: %s\n", what, cte_status_string(status));
    return 1;
}

static void compute(uint32_t *cells, unsigned step)
{
    for (uint32_t i = 0; i < CELLS; i++)
        cells[i] = i * 2654435761u + step;
}

/* Called in a thread of cte when a snapshot is stored, or could not be. */
static void free_snapshot(void *snapshot, cte_status status)
{
    if (status != CTE_OK)
        fail("put", status);
    free(snapshot);
}

/* Nobody waits for these puts one by one: the callback frees the buffer, and closing the client
 * or the gets below come after them. */
static cte_status write_snapshots(cte_tag *tag, unsigned count)
{
    cte_status status = CTE_OK;
    for (unsigned step = 0; step < count && status == CTE_OK; step++) {
        char name[16];
        uint32_t *cells = malloc(CELLS * sizeof *cells);
        if (!cells)
            return -ENOMEM;
        compute(cells, step);
        snprintf(name, sizeof name, "step%u", step);
        cte_task_callback done = {free_snapshot, cells};
        status =
            cte_blob_put_async(tag, name, 0, cells, CELLS * sizeof *cells, 0.5f, 0, &done, NULL);
        if (status != CTE_OK)
            free(cells); /* no task, no callback */
    }
    return status;
}

/* Gets of a blob are done after the puts that this thread started before. */
static cte_status read_snapshots(cte_tag *tag, unsigned count, uint32_t (*cells)[CELLS],
                                 unsigned *wrong)
{
    cte_task *tasks[SNAPSHOTS_MAX] = {NULL};
    cte_status status = CTE_OK;
    unsigned started = 0;
    for (; started < count && status == CTE_OK; started++) {
        char name[16];
        snprintf(name, sizeof name, "step%u", started);
        status = cte_blob_get_async(tag, name, 0, cells[started], sizeof cells[0], NULL, NULL,
                                    &tasks[started]);
    }
    for (size_t step; cte_task_wait_any(tasks, started, -1, &step) == CTE_OK;) {
        if (cte_task_status(tasks[step]) != CTE_OK)
            status = cte_task_status(tasks[step]);
        for (uint32_t i = 0; i < CELLS && status == CTE_OK; i++)
            *wrong += cells[step][i] != i * 2654435761u + (uint32_t)step;
        cte_task_free(tasks[step]);
        tasks[step] = NULL; /* when none is left, the wait says so */
    }
    return status;
}

int main(int argc, char **argv)
{
    unsigned count = argc > 1 ? (unsigned)atoi(argv[1]) : 8, wrong = 0;
    cte_tag *tag;
    if (argc > 2 || count < 1 || count > SNAPSHOTS_MAX) {
        fprintf(stderr, "usage: blob_async [SNAPSHOTS, 1 to %d]\n", SNAPSHOTS_MAX);
        return 2;
    }
    uint32_t(*cells)[CELLS] = malloc(count * sizeof *cells);
    if (!cells) {
        perror("blob_async");
        return 1;
    }
    cte_status status = cte_tag_open(NULL, "snapshots", true, &tag);
    if (status != CTE_OK)
        return fail("open", status);
    if ((status = write_snapshots(tag, count)) != CTE_OK)
        return fail("put", status);
    if ((status = read_snapshots(tag, count, cells, &wrong)) != CTE_OK)
        return fail("get", status);
    printf("%u snapshots, %u cells are wrong\n", count, wrong);
    free(cells);
    cte_tag_close(tag);
    if ((status = cte_tag_delete(NULL, "snapshots")) != CTE_OK)
        return fail("delete", status);
    return wrong != 0;
}
