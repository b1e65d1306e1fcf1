/* SPDX-License-Identifier: BSD-3-Clause */
#include "typemap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int reserve(struct cte__mpi_runs *runs)
{
    if (runs->count < runs->capacity)
        return 0;
    size_t capacity = runs->capacity ? 2 * runs->capacity : 8;
    struct cte__mpi_run *items = reallocarray(runs->items, capacity, sizeof *items);
    if (!items)
        return -ENOMEM;
    runs->items = items;
    runs->capacity = capacity;
    return 0;
}

/* Makes `run` a continuation of `last` if the two together are one run. */
static bool merge(struct cte__mpi_run *last, const struct cte__mpi_run *run)
{
    if (last->count == 1 && run->count == 1 &&
        last->offset + (int64_t)last->length == run->offset) {
        last->length += run->length;
        return true;
    }
    if (last->length != run->length ||
        (run->count > 1 && last->count > 1 && last->stride != run->stride))
        return false;
    /* The stride is free where there is one piece, else given by the run that has more. */
    int64_t gap = run->offset - (last->offset + (int64_t)(last->count - 1) * last->stride);
    if ((last->count > 1 && gap != last->stride) || (run->count > 1 && gap != run->stride))
        return false;
    last->stride = gap;
    last->count += run->count;
    return true;
}

int cte__mpi_runs_append(struct cte__mpi_runs *runs, struct cte__mpi_run run)
{
    if (run.length == 0 || run.count == 0)
        return 0;
    if (run.count > 1 && run.stride == (int64_t)run.length) {
        run.length *= run.count;
        run.count = 1;
    }
    if (run.count == 1)
        run.stride = 0;
    if (runs->count > 0 && merge(&runs->items[runs->count - 1], &run))
        return 0;
    int rc = reserve(runs);
    if (rc == 0)
        runs->items[runs->count++] = run;
    return rc;
}

/* All copies of a single run as one run; false if they are not regular. */
static bool repeat_one(struct cte__mpi_run *run, uint64_t count, int64_t stride)
{
    if (count == 1)
        return true;
    if (run->count == 1) {
        run->count = count;
        run->stride = stride;
        return true;
    }
    if (stride != (int64_t)run->count * run->stride)
        return false;
    run->count *= count;
    return true;
}

int cte__mpi_runs_repeat(struct cte__mpi_runs *runs, const struct cte__mpi_runs *of, int64_t offset,
                         uint64_t count, int64_t stride)
{
    if (of->count == 0 || count == 0)
        return 0;
    if (of->count == 1) {
        struct cte__mpi_run run = of->items[0];
        if (repeat_one(&run, count, stride)) {
            run.offset += offset;
            return cte__mpi_runs_append(runs, run);
        }
    }
    for (uint64_t i = 0; i < count; i++)
        for (size_t j = 0; j < of->count; j++) {
            struct cte__mpi_run run = of->items[j];
            run.offset += offset + (int64_t)i * stride;
            int rc = cte__mpi_runs_append(runs, run);
            if (rc != 0)
                return rc;
        }
    return 0;
}

void cte__mpi_runs_free(struct cte__mpi_runs *runs)
{
    free(runs->items);
    *runs = (struct cte__mpi_runs){0};
}

static int64_t run_end(const struct cte__mpi_run *run)
{
    int64_t climb = run->stride > 0 ? (int64_t)(run->count - 1) * run->stride : 0;
    return run->offset + climb + (int64_t)run->length;
}

struct cte__mpi_typemap *cte__mpi_typemap_make(const struct cte__mpi_runs *runs, int64_t extent)
{
    struct cte__mpi_typemap *map = malloc(sizeof *map + runs->count * sizeof map->runs[0]);
    if (!map)
        return NULL;
    atomic_init(&map->references, 1);
    map->size = 0;
    map->reach = 0;
    map->extent = extent;
    map->run_count = runs->count;
    for (size_t i = 0; i < runs->count; i++) {
        map->runs[i] = runs->items[i];
        map->runs[i].before = map->size;
        map->size += runs->items[i].length * runs->items[i].count;
        int64_t end = run_end(&runs->items[i]);
        map->reach = end > map->reach ? end : map->reach;
    }
    map->contiguous =
        runs->count == 1 && runs->items[0].count == 1 && (int64_t)runs->items[0].length == extent;
    return map;
}

/* The last run that begins at or before `position`. */
static size_t run_at(const struct cte__mpi_typemap *map, uint64_t position)
{
    size_t low = 0;
    size_t high = map->run_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (map->runs[middle].before <= position)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void cte__mpi_cursor_init(struct cte__mpi_cursor *cursor, const struct cte__mpi_typemap *map,
                          int64_t base, uint64_t position)
{
    *cursor = (struct cte__mpi_cursor){.map = map, .base = base};
    if (map->contiguous) {
        cursor->within = position;
        return;
    }
    cursor->tile = position / map->size;
    uint64_t rest = position % map->size;
    cursor->run = run_at(map, rest);
    rest -= map->runs[cursor->run].before;
    cursor->piece = rest / map->runs[cursor->run].length;
    cursor->within = rest % map->runs[cursor->run].length;
}
