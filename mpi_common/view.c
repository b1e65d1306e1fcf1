/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the data of a view lies. */
#include "access.h"

int cte__mpi_view_init(struct cte__mpi_view *view)
{
    *view = (struct cte__mpi_view){.etype_bytes = 1};
    return cte__mpi_typemap_get(MPI_BYTE, &view->filetype);
}

void cte__mpi_view_free(struct cte__mpi_view *view)
{
    cte__mpi_typemap_put(view->filetype);
    view->filetype = NULL;
}

/* Bytes of a run's pieces that lie below `limit`; pieces go upwards in a filetype. */
static uint64_t run_bytes_below(const struct cte__mpi_run *run, int64_t limit)
{
    int64_t room = limit - run->offset;
    if (room <= 0)
        return 0;
    if (run->count == 1 || run->stride <= 0)
        return (uint64_t)room < run->length ? (uint64_t)room : run->length;
    uint64_t whole = (uint64_t)(room / run->stride);
    uint64_t rest = (uint64_t)(room % run->stride);
    if (whole >= run->count)
        return run->count * run->length;
    return whole * run->length + (rest < run->length ? rest : run->length);
}

static uint64_t tile_bytes_below(const struct cte__mpi_typemap *map, int64_t limit)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < map->run_count; i++)
        bytes += run_bytes_below(&map->runs[i], limit);
    return bytes;
}

static int64_t end_of(const struct cte__mpi_typemap *map)
{
    const struct cte__mpi_run *last = &map->runs[map->run_count - 1];
    return last->offset + (int64_t)(last->count - 1) * last->stride + (int64_t)last->length;
}

/* Bytes of the view's data that lie below the end of the file. */
static uint64_t bytes_below(const struct cte__mpi_view *view, uint64_t size_bytes)
{
    const struct cte__mpi_typemap *map = view->filetype;
    int64_t room = (int64_t)size_bytes - view->displacement;
    if (room <= 0 || map->size == 0)
        return 0;
    if (map->extent <= 0)
        return tile_bytes_below(map, room);
    uint64_t tiles = 0;
    if (room >= end_of(map))
        tiles = (uint64_t)((room - end_of(map)) / map->extent) + 1;
    return tiles * map->size + tile_bytes_below(map, room - (int64_t)tiles * map->extent);
}

int64_t cte__mpi_view_end(const struct cte__mpi_view *view, uint64_t size_bytes)
{
    int64_t unit = (int64_t)view->etype_bytes;
    int64_t bytes = view->filetype->contiguous ? (int64_t)size_bytes - view->displacement
                                               : (int64_t)bytes_below(view, size_bytes);
    return (bytes + unit - 1) / unit;
}

bool cte__mpi_view_fits(const struct cte__mpi_view *view, uint64_t bytes)
{
    const struct cte__mpi_typemap *map = view->filetype;
    int64_t tiles = (int64_t)(bytes / map->size) + 1;
    int64_t end;
    if (map->contiguous)
        return bytes <= (uint64_t)(INT64_MAX - view->displacement - map->runs[0].offset);
    return !__builtin_mul_overflow(tiles, map->extent, &end) &&
           !__builtin_add_overflow(end, view->displacement, &end) &&
           !__builtin_add_overflow(end, map->reach, &end);
}

/* Repetitions go upwards, and so do the pieces of each, but repetitions may overlap in a view that
 * is only read: so their ends count, not the last byte's place. */
void cte__mpi_view_bounds(const struct cte__mpi_view *view, uint64_t position_bytes, uint64_t bytes,
                          uint64_t *offset, uint64_t *length)
{
    const struct cte__mpi_typemap *map = view->filetype;
    int64_t low = view->displacement + map->runs[0].offset;
    if (map->contiguous) {
        *offset = (uint64_t)low + position_bytes;
        *length = bytes;
        return;
    }
    int64_t first = (int64_t)(position_bytes / map->size);
    int64_t last = (int64_t)((position_bytes + bytes - 1) / map->size);
    int64_t end = view->displacement + map->reach + last * map->extent;
    low += first * map->extent;
    if (map->extent < 0 || low < 0 || end < low) {
        low = 0;
        end = INT64_MAX;
    }
    *offset = (uint64_t)low;
    *length = (uint64_t)(end - low);
}
