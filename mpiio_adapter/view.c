/* SPDX-License-Identifier: BSD-3-Clause */
/* Views: which bytes of the file a process sees. */
#include "adapter.h"

#include <errno.h>
#include <strings.h>

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

/* "internal" may differ from "native" between implementations only; here it does not. */
static bool is_native(const char *representation)
{
    return strcasecmp(representation, "native") == 0 || strcasecmp(representation, "internal") == 0;
}

static cte_status view_make(MPI_Offset displacement, MPI_Datatype etype, MPI_Datatype filetype,
                            struct cte__mpi_view *view)
{
    MPI_Count etype_bytes = 0;
    if (PMPI_Type_size_x(etype, &etype_bytes) != MPI_SUCCESS || etype_bytes <= 0)
        return -EINVAL;
    *view =
        (struct cte__mpi_view){.displacement = displacement, .etype_bytes = (uint64_t)etype_bytes};
    return cte__mpi_typemap_get(filetype, &view->filetype);
}

int MPI_File_set_view(MPI_File fh, MPI_Offset displacement, MPI_Datatype etype,
                      MPI_Datatype filetype, const char *representation, MPI_Info info)
{
    int code = REAL(set_view)(fh, displacement, etype, filetype, representation, info);
    struct cte__mpi_file *file = cte__mpi_find(fh);
    if (!file)
        return code;
    struct cte__mpi_view view = {0};
    cte_status status = CTE_OK;
    if (code == MPI_SUCCESS)
        status = view_make(displacement, etype, filetype, &view);
    /* MPICH waits for all processes: their accesses by the view before are over. */
    if (code == MPI_SUCCESS && file->shared_keeper != CTE__MPI_KEPT_BY_MPICH &&
        file->comm.table.rank == 0)
        cte__mpi_shared_set(file, 0);
    /* Collective accesses are either ours or MPICH's, for all processes. */
    bool foreign = cte__mpi_agree(&file->comm, status) != CTE_OK || !is_native(representation);
    if (code != MPI_SUCCESS)
        return code;
    if (status != CTE_OK && cte__mpi_view_init(&view) != CTE_OK)
        return cte__mpi_raise_code(file, MPI_ERR_NO_MEM);
    view.foreign = foreign;
    pthread_mutex_lock(&file->pointer_lock);
    cte__mpi_view_free(&file->view);
    file->view = view;
    file->pointer_bytes = 0;
    pthread_mutex_unlock(&file->pointer_lock);
    return MPI_SUCCESS;
}

CTE__MPI_PROFILING_NAME(set_view)
