/* SPDX-License-Identifier: BSD-3-Clause */
/* Vectors and selections (HDF5 1.14).
 *
 * With these HDF5 leaves out its sieve buffer, so small pieces must be joined here: those near each
 * other go through the windows, as those of single calls do; all others become segments of one
 * access of the file layer. */
#include "driver.h"

#include <string.h>

struct transfer {
    struct cte__vfd_file *file;
    bool write;
    H5FD_mem_t type; /* of the batch */
    haddr_t end;     /* of all pieces */
    struct cte__batch batch;
};

static void begin(struct transfer *transfer, H5FD_t *pub, bool write)
{
    transfer->file = (struct cte__vfd_file *)pub;
    transfer->write = write;
    transfer->type = H5FD_MEM_DEFAULT;
    transfer->end = 0;
    transfer->batch.count = 0;
}

static herr_t move_batch(struct transfer *transfer)
{
    struct cte__vfd_file *file = transfer->file;
    struct cte__batch *batch = &transfer->batch;
    cte_file *handle = cte__handle_for(&file->common.handles, transfer->type);
    cte_status status =
        transfer->write ? cte__batch_write(batch, handle) : cte__batch_read(batch, handle);
    if (status == CTE_OK)
        return 0;
    size_t size = (size_t)(batch->high - batch->low);
    return transfer->write ? cte__push_write_error(file, batch->low, size, status)
                           : cte__push_read_error(file, batch->low, size, status);
}

static herr_t add_to_batch(struct transfer *transfer, const struct cte__piece *piece)
{
    struct cte__vfd_file *file = transfer->file;
    if (!transfer->write && cte__is_past_end(file, piece->addr)) {
        memset(piece->base, 0, piece->size);
        return 0;
    }
    if (cte__batch_is_full(&transfer->batch) && move_batch(transfer) < 0)
        return -1;
    herr_t ready = transfer->write ? cte__prepare_write(file, transfer->type, piece->addr,
                                                        piece->size, piece->base)
                                   : cte__behind_flush_range(file, piece->addr, piece->size);
    if (ready >= 0)
        cte__batch_add(&transfer->batch, piece);
    return ready;
}

/* How many pieces, from the first on, are small and near each other, in ascending order. */
static size_t run_length(const struct cte__piece *pieces, size_t count)
{
    size_t n = 0;
    haddr_t end = pieces[0].addr;
    while (n < count && pieces[n].size <= CTE__SMALL_BYTES_MAX && pieces[n].addr >= end &&
           pieces[n].addr - end <= CTE__NEAR_BYTES_MAX)
        end = pieces[n].addr + pieces[n].size, n++;
    return n;
}

/* What is in the batch may lie between the pieces of a run. */
static herr_t move_run(struct transfer *transfer, const struct cte__piece *pieces, size_t count)
{
    if (move_batch(transfer) < 0)
        return -1;
    return transfer->write ? cte__behind_write(transfer->file, pieces, count)
                           : cte__ahead_read(transfer->file, pieces, count);
}

/* Of pieces that are not empty. */
static haddr_t end_of_all(const struct cte__piece *pieces, size_t count)
{
    haddr_t end = 0;
    for (size_t i = 0; i < count; i++) {
        haddr_t last = pieces[i].addr + pieces[i].size - 1;
        last = last < pieces[i].addr ? HADDR_UNDEF - 1 : last;
        end = last >= end ? last + 1 : end;
    }
    return end;
}

static herr_t refuse(const struct transfer *transfer, const struct cte__piece *pieces)
{
    while (cte__check_region(transfer->file, transfer->write ? "write" : "read", pieces->addr,
                             pieces->size) >= 0)
        pieces++;
    return -1;
}

/* A small piece alone in its access is one of those that may follow each other in time. */
static herr_t take(void *context, H5FD_mem_t type, const struct cte__piece *pieces, size_t count,
                   bool whole)
{
    struct transfer *transfer = context;
    bool windows = type == H5FD_MEM_DRAW && !transfer->file->swmr;
    haddr_t end = end_of_all(pieces, count);
    if (!cte__addr_is_valid(end))
        return refuse(transfer, pieces);
    if (type != transfer->type && move_batch(transfer) < 0)
        return -1;
    transfer->type = type;
    for (size_t i = 0, n; i < count; i += n) {
        n = windows ? run_length(pieces + i, count - i) : 0;
        bool run = n > 1 || (n == 1 && whole && count == 1);
        n = run ? n : 1;
        if ((run ? move_run(transfer, pieces + i, n) : add_to_batch(transfer, pieces + i)) < 0)
            return -1;
    }
    if (end > transfer->end)
        transfer->end = end;
    return 0;
}

/* Of a write that failed, some pieces may be in the file or in the window: the end is behind these,
 * and no further, or HDF5 would not give the file its size when it closes it. */
static void note_end(struct transfer *transfer, bool complete)
{
    struct cte__vfd_file *file = transfer->file;
    const struct cte__window *window = &file->behind;
    uint64_t end = transfer->end;
    if (!complete) {
        if (cte_file_size(file->common.handles.items[0], &end) != CTE_OK)
            end = 0;
        if (window->length > 0 && window->addr + window->length > end)
            end = window->addr + window->length;
    }
    if (end > file->common.eof)
        file->common.eof = end;
}

static herr_t finish(struct transfer *transfer, herr_t result)
{
    if (result >= 0)
        result = move_batch(transfer);
    if (transfer->write) {
        transfer->file->unsynced = true;
        note_end(transfer, result >= 0);
    }
    return result;
}

static herr_t move_vector(H5FD_t *pub, bool write, const struct cte__vector *vector)
{
    struct transfer transfer;
    begin(&transfer, pub, write);
    return finish(&transfer, cte__vector_pieces(vector, take, &transfer));
}

herr_t cte__vfd_read_vector(H5FD_t *pub, hid_t dxpl, uint32_t count, H5FD_mem_t types[],
                            haddr_t addrs[], size_t sizes[], void *buffers[])
{
    (void)dxpl;
    return move_vector(pub, false, &(struct cte__vector){count, types, addrs, sizes, buffers});
}

herr_t cte__vfd_write_vector(H5FD_t *pub, hid_t dxpl, uint32_t count, H5FD_mem_t types[],
                             haddr_t addrs[], size_t sizes[], const void *buffers[])
{
    (void)dxpl;
    return move_vector(pub, true,
                       &(struct cte__vector){count, types, addrs, sizes, (void *const *)buffers});
}

static herr_t move_selections(H5FD_t *pub, bool write, const struct cte__selections *selections)
{
    struct transfer transfer;
    begin(&transfer, pub, write);
    return finish(&transfer, cte__selection_pieces(selections, take, &transfer));
}

herr_t cte__vfd_read_selection(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, size_t count,
                               hid_t in_memory[], hid_t in_file[], haddr_t offsets[],
                               size_t element_sizes[], void *buffers[])
{
    (void)dxpl;
    return move_selections(pub, false,
                           &(struct cte__selections){type, count, in_memory, in_file, offsets,
                                                     element_sizes, buffers});
}

herr_t cte__vfd_write_selection(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, size_t count,
                                hid_t in_memory[], hid_t in_file[], haddr_t offsets[],
                                size_t element_sizes[], const void *buffers[])
{
    (void)dxpl;
    return move_selections(pub, true,
                           &(struct cte__selections){type, count, in_memory, in_file, offsets,
                                                     element_sizes, (void *const *)buffers});
}
