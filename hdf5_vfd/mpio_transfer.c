/* SPDX-License-Identifier: BSD-3-Clause */
/* The MPI driver's data.
 *
 * An access is collective if HDF5's context says so, and then all processes are in the same call.
 * HDF5 was written against a driver whose collective accesses begin and end by waiting for all
 * (setting a view does), and it relies on that: fill values written by one process must not land
 * on what another one wrote after.  So ours wait too.  A vector then is what it looks like, but a
 * single access is one of MPI datatypes that stand in the context, and its size counts them. */
#include "mpio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Of the library, exported but in no public header. */
herr_t H5CX_get_io_xfer_mode(H5FD_mpio_xfer_t *mode);
herr_t H5CX_get_mpi_coll_datatypes(MPI_Datatype *memory, MPI_Datatype *file);

struct access {
    struct cte__mpio_file *file;
    bool write;
    bool collective;
};

static const char *verb_of(const struct access *access)
{
    return access->write ? "write" : "read";
}

static herr_t fail(const struct access *access, haddr_t addr, size_t size, cte_status status)
{
    CTE__PUSH(H5E_IO, access->write ? H5E_WRITEERROR : H5E_READERROR,
              "file %s failed: filename = '%s', offset = %llu, size = %zu, error message = '%s' "
              "(%s)",
              verb_of(access), access->file->common.name, (unsigned long long)addr, size,
              cte_status_string(status), cte_status_name(status));
    return -1;
}

static herr_t ask_whether_collective(struct access *access)
{
    H5FD_mpio_xfer_t mode = H5FD_MPIO_INDEPENDENT;
    if (H5CX_get_io_xfer_mode(&mode) < 0) {
        CTE__PUSH(H5E_VFL, H5E_CANTGET, "cannot tell whether this %s of '%s' is collective",
                  verb_of(access), access->file->common.name);
        return -1;
    }
    access->collective = mode == H5FD_MPIO_COLLECTIVE;
    return 0;
}

static cte_status wait_for_all(const struct access *access)
{
    return access->collective ? cte__mpi_comm_barrier(&access->file->core) : CTE_OK;
}

static bool is_atomic(const struct cte__mpio_file *file)
{
    int atomic = 0;
    return file->common.mpi_file != MPI_FILE_NULL &&
           PMPI_File_get_atomicity(file->common.mpi_file, &atomic) == MPI_SUCCESS && atomic;
}

static void note_end(struct cte__mpio_file *file, haddr_t end)
{
    if (end > file->common.eof)
        file->common.eof = end;
}

/* --- vectors and selections --- */

struct pieces {
    struct access *access;
    H5FD_mem_t type; /* of the batch */
    struct cte__batch batch;
    haddr_t low, high; /* of all pieces */
};

static herr_t move_batch(struct pieces *pieces)
{
    struct access *access = pieces->access;
    struct cte__batch *batch = &pieces->batch;
    cte_file *handle = cte__handle_for(&access->file->common.handles, pieces->type);
    if (batch->count == 0)
        return 0;
    cte_status status =
        access->write ? cte__batch_write(batch, handle) : cte__batch_read(batch, handle);
    if (status != CTE_OK)
        return fail(access, batch->low, (size_t)(batch->high - batch->low), status);
    if (access->write)
        note_end(access->file, batch->high);
    return 0;
}

static herr_t move_some(void *context, H5FD_mem_t type, const struct cte__piece *some, size_t count,
                        bool whole)
{
    struct pieces *pieces = context;
    (void)whole;
    if (type != pieces->type && move_batch(pieces) < 0)
        return -1;
    pieces->type = type;
    for (size_t i = 0; i < count; i++) {
        if (!cte__region_is_valid(some[i].addr, some[i].size))
            return fail(pieces->access, some[i].addr, some[i].size, -EFBIG);
        if (cte__batch_is_full(&pieces->batch) && move_batch(pieces) < 0)
            return -1;
        cte__batch_add(&pieces->batch, &some[i]);
    }
    return 0;
}

static herr_t measure_some(void *context, H5FD_mem_t type, const struct cte__piece *some,
                           size_t count, bool whole)
{
    struct pieces *pieces = context;
    (void)type;
    (void)whole;
    for (size_t i = 0; i < count; i++) {
        if (!cte__region_is_valid(some[i].addr, some[i].size))
            return fail(pieces->access, some[i].addr, some[i].size, -EFBIG);
        if (some[i].addr < pieces->low)
            pieces->low = some[i].addr;
        if (some[i].addr + some[i].size > pieces->high)
            pieces->high = some[i].addr + some[i].size;
    }
    return 0;
}

/* What makes pieces of an access: one of these. */
struct source {
    const struct cte__vector *vector;
    const struct cte__selections *selections;
};

static herr_t each_piece(const struct source *source, cte__take_pieces *take, void *context)
{
    return source->vector ? cte__vector_pieces(source->vector, take, context)
                          : cte__selection_pieces(source->selections, take, context);
}

static herr_t move_unlocked(struct pieces *pieces, const struct source *source)
{
    herr_t result = each_piece(source, move_some, pieces);
    return result < 0 ? result : move_batch(pieces);
}

/* Others see an access as one, if they ask for that: its range is locked. */
static herr_t move_pieces(struct access *access, const struct source *source)
{
    struct pieces pieces;
    cte_file *handle = access->file->common.handles.items[0];
    cte_file_range range;
    pieces.access = access;
    pieces.type = H5FD_MEM_DEFAULT;
    pieces.batch.count = 0;
    pieces.low = HADDR_UNDEF;
    pieces.high = 0;
    if (!is_atomic(access->file))
        return move_unlocked(&pieces, source);
    if (each_piece(source, measure_some, &pieces) < 0)
        return -1;
    if (pieces.high == 0)
        return 0;
    cte_status status =
        cte_file_lock(handle, access->write, pieces.low, pieces.high - pieces.low, &range);
    herr_t result =
        status == CTE_OK ? move_unlocked(&pieces, source) : fail(access, pieces.low, 0, status);
    cte_file_unlock(handle, &range);
    return result;
}

/* Whoever fails still waits for the others, who wait for it. */
static herr_t move_many(H5FD_t *pub, bool write, const struct source *source)
{
    struct access access = {.file = (struct cte__mpio_file *)pub, .write = write};
    if (ask_whether_collective(&access) < 0)
        return -1;
    cte_status before = wait_for_all(&access);
    herr_t result = move_pieces(&access, source);
    cte_status after = wait_for_all(&access);
    if (before != CTE_OK || after != CTE_OK)
        return fail(&access, 0, 0, before != CTE_OK ? before : after);
    return result;
}

herr_t cte__mpio_read_vector(H5FD_t *pub, hid_t dxpl, uint32_t count, H5FD_mem_t types[],
                             haddr_t addrs[], size_t sizes[], void *buffers[])
{
    struct cte__vector vector = {count, types, addrs, sizes, buffers};
    (void)dxpl;
    return move_many(pub, false, &(struct source){.vector = &vector});
}

herr_t cte__mpio_write_vector(H5FD_t *pub, hid_t dxpl, uint32_t count, H5FD_mem_t types[],
                              haddr_t addrs[], size_t sizes[], const void *buffers[])
{
    struct cte__vector vector = {count, types, addrs, sizes, (void *const *)buffers};
    (void)dxpl;
    return move_many(pub, true, &(struct source){.vector = &vector});
}

herr_t cte__mpio_read_selection(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, size_t count,
                                hid_t in_memory[], hid_t in_file[], haddr_t offsets[],
                                size_t element_sizes[], void *buffers[])
{
    struct cte__selections selections = {type,    count,         in_memory, in_file,
                                         offsets, element_sizes, buffers};
    (void)dxpl;
    return move_many(pub, false, &(struct source){.selections = &selections});
}

herr_t cte__mpio_write_selection(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, size_t count,
                                 hid_t in_memory[], hid_t in_file[], haddr_t offsets[],
                                 size_t element_sizes[], const void *buffers[])
{
    struct cte__selections selections = {
        type, count, in_memory, in_file, offsets, element_sizes, (void *const *)buffers};
    (void)dxpl;
    return move_many(pub, true, &(struct source){.selections = &selections});
}

/* --- a single access --- */

static void fill_with_zeros(const struct cte__mpi_access *access)
{
    struct cte__mpi_cursor cursor;
    cte__mpi_cursor_init(&cursor, access->memory, (int64_t)(intptr_t)access->buffer, 0);
    for (uint64_t left = access->bytes; left > 0;) {
        int64_t base;
        uint64_t length = cte__mpi_cursor_here(&cursor, &base);
        if (length > left)
            length = left;
        memset((void *)(intptr_t)base, 0, length);
        cte__mpi_cursor_advance(&cursor, length);
        left -= length;
    }
}

static cte_status move_typed(struct cte__mpi_access *access, haddr_t *end)
{
    uint64_t offset, length, size = 0;
    *end = 0;
    if (access->bytes == 0)
        return CTE_OK;
    if (!cte__mpi_view_fits(&access->view, access->bytes))
        return -EFBIG;
    cte__mpi_view_bounds(&access->view, 0, access->bytes, &offset, &length);
    *end = offset + length;
    cte_status status = access->write ? CTE_OK : cte_file_size(access->file, &size);
    if (status == CTE_OK && !access->write && *end > size)
        fill_with_zeros(access);
    return status == CTE_OK ? cte__mpi_move(access) : status;
}

/* `count` of the memory datatype of HDF5's context against its file datatype at `addr`. */
static herr_t move_by_context(const struct access *access, H5FD_mem_t type, haddr_t addr,
                              size_t count, void *buffer)
{
    MPI_Datatype memory, filetype;
    struct cte__mpi_typemap *memory_map = NULL;
    struct cte__mpi_access typed = {.file = cte__handle_for(&access->file->common.handles, type),
                                    .view = {.displacement = (int64_t)addr, .etype_bytes = 1},
                                    .buffer = buffer,
                                    .write = access->write,
                                    .atomic = is_atomic(access->file)};
    haddr_t end = 0;
    if (H5CX_get_mpi_coll_datatypes(&memory, &filetype) < 0)
        return fail(access, addr, count, -EINVAL);
    cte_status status = cte__mpi_typemap_get(memory, &memory_map);
    if (status == CTE_OK)
        status = cte__mpi_typemap_get(filetype, &typed.view.filetype);
    if (status == CTE_OK) {
        typed.memory = memory_map;
        typed.bytes = count * memory_map->size;
        status =
            typed.bytes > 0 && typed.view.filetype->size == 0 ? -EINVAL : move_typed(&typed, &end);
    }
    cte__mpi_typemap_put(memory_map);
    cte__mpi_typemap_put(typed.view.filetype);
    if (status != CTE_OK)
        return fail(access, addr, count, status);
    if (access->write)
        note_end(access->file, end);
    return 0;
}

static herr_t move_one(struct access *access, H5FD_mem_t type, haddr_t addr, size_t size,
                       void *buffer)
{
    struct cte__vector vector = {1, &type, &addr, &size, &buffer};
    cte_status before = wait_for_all(access);
    herr_t result = access->collective ? move_by_context(access, type, addr, size, buffer)
                                       : move_pieces(access, &(struct source){.vector = &vector});
    cte_status after = wait_for_all(access);
    if (before != CTE_OK || after != CTE_OK)
        return fail(access, addr, size, before != CTE_OK ? before : after);
    return result;
}

/* Only raw data is read collectively by itself: metadata is read by one process or by each. */
herr_t cte__mpio_read(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, haddr_t addr, size_t size,
                      void *buffer)
{
    struct access access = {.file = (struct cte__mpio_file *)pub};
    (void)dxpl;
    if (type == H5FD_MEM_DRAW && ask_whether_collective(&access) < 0)
        return -1;
    return move_one(&access, type, addr, size, buffer);
}

herr_t cte__mpio_write(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, haddr_t addr, size_t size,
                       const void *buffer)
{
    struct access access = {.file = (struct cte__mpio_file *)pub, .write = true};
    (void)dxpl;
    if (ask_whether_collective(&access) < 0)
        return -1;
    return move_one(&access, type, addr, size, (void *)(uintptr_t)buffer);
}
