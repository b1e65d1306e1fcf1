/* SPDX-License-Identifier: BSD-3-Clause */
/* The pieces of the view against the pieces of the memory, in batches of bounded size. */
#include "access.h"

#include <errno.h>

enum { BATCH_SEGMENTS = 1024 };

struct batch {
    cte_file *file;
    bool write;
    uint64_t transferred;
    size_t count;
    cte_file_segment segments[BATCH_SEGMENTS];
};

static cte_status flush(struct batch *batch)
{
    uint64_t transferred = 0;
    if (batch->count == 0)
        return CTE_OK;
    cte_status status;
    if (batch->write)
        status = cte_file_write(batch->file, batch->segments, batch->count);
    else
        status = cte_file_read(batch->file, batch->segments, batch->count, &transferred);
    batch->transferred += transferred;
    batch->count = 0;
    return status;
}

static cte_status add(struct batch *batch, uint64_t offset, char *base, uint64_t length)
{
    if (batch->count > 0) {
        cte_file_segment *last = &batch->segments[batch->count - 1];
        if (last->offset + last->length == offset && (char *)last->base + last->length == base) {
            last->length += length;
            return CTE_OK;
        }
    }
    if (batch->count == BATCH_SEGMENTS) {
        cte_status status = flush(batch);
        if (status != CTE_OK)
            return status;
    }
    batch->segments[batch->count++] =
        (cte_file_segment){.offset = offset, .length = length, .base = base};
    return CTE_OK;
}

static uint64_t least(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t least_of_two = a < b ? a : b;
    return least_of_two < c ? least_of_two : c;
}

static cte_status move(struct cte__mpi_access *access)
{
    struct batch batch;
    batch.file = access->file;
    batch.write = access->write;
    batch.transferred = 0;
    batch.count = 0;
    struct cte__mpi_cursor in_file;
    struct cte__mpi_cursor in_memory;
    cte__mpi_cursor_init(&in_file, access->view.filetype, access->view.displacement,
                         access->position_bytes);
    cte__mpi_cursor_init(&in_memory, access->memory, (int64_t)(intptr_t)access->buffer, 0);
    cte_status status = CTE_OK;
    for (uint64_t left = access->bytes; left > 0 && status == CTE_OK;) {
        int64_t offset;
        int64_t base;
        uint64_t file_room = cte__mpi_cursor_here(&in_file, &offset);
        uint64_t memory_room = cte__mpi_cursor_here(&in_memory, &base);
        uint64_t length = least(file_room, memory_room, left);
        if (offset < 0)
            return -EINVAL;
        status = add(&batch, (uint64_t)offset, (char *)(intptr_t)base, length);
        cte__mpi_cursor_advance(&in_file, length);
        cte__mpi_cursor_advance(&in_memory, length);
        left -= length;
    }
    if (status == CTE_OK)
        status = flush(&batch);
    access->transferred = access->write ? access->bytes : batch.transferred;
    return status;
}

/* An atomic access is one for others, however many pieces and calls it takes. */
cte_status cte__mpi_move(struct cte__mpi_access *access)
{
    uint64_t offset, length;
    cte_file_range range;
    if (!access->atomic)
        return move(access);
    cte__mpi_view_bounds(&access->view, access->position_bytes, access->bytes, &offset, &length);
    cte_status status = cte_file_lock(access->file, access->write, offset, length, &range);
    if (status != CTE_OK)
        return status;
    status = move(access);
    cte_file_unlock(access->file, &range);
    return status;
}
