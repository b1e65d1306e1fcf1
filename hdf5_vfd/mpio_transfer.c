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

/* Whether others see an access as one, if they ask for that: its range is locked. */
static cte_status lock_range(const struct access *access, cte_file *handle, haddr_t low,
                             haddr_t high, cte_file_range *range)
{
    *range = (cte_file_range){0};
    if (!is_atomic(access->file))
        return CTE_OK;
    return cte_file_lock(handle, access->write, low, high - low, range);
}

static void unlock_range(cte_file *handle, const cte_file_range *range)
{
    if (range->length > 0)
        cte_file_unlock(handle, range);
}

/* --- a vector of pieces --- */

struct vector {
    uint32_t count;
    const H5FD_mem_t *types;
    const haddr_t *addrs;
    const size_t *sizes;
    void *const *buffers; /* only read when writing */
};

/* The pieces of one handle as segments, those that follow each other as one. */
struct batch {
    cte_file_segment *segments;
    size_t count;
    haddr_t low, high;
};

static void add(struct batch *batch, haddr_t addr, size_t size, void *base)
{
    cte_file_segment *last = &batch->segments[batch->count > 0 ? batch->count - 1 : 0];
    if (batch->count == 0 || addr < batch->low)
        batch->low = addr;
    if (addr + size > batch->high)
        batch->high = addr + size;
    if (batch->count > 0 && last->offset + last->length == addr &&
        (char *)last->base + last->length == base)
        last->length += size;
    else
        batch->segments[batch->count++] = (cte_file_segment){addr, size, base};
}

/* A size of 0 or a type of NOLIST means: as the one before, from here on. */
static herr_t gather(const struct access *access, const struct vector *vector, cte_file *handle,
                     struct batch *batch)
{
    const struct cte__handles *handles = &access->file->common.handles;
    size_t size = 0;
    H5FD_mem_t type = H5FD_MEM_DEFAULT;
    bool same_size = false, same_type = false;
    batch->count = 0;
    batch->low = batch->high = 0;
    for (uint32_t i = 0; i < vector->count; i++) {
        same_size = same_size || (i > 0 && vector->sizes[i] == 0);
        same_type = same_type || (i > 0 && vector->types[i] == H5FD_MEM_NOLIST);
        size = same_size ? size : vector->sizes[i];
        type = same_type ? type : vector->types[i];
        if (!cte__region_is_valid(vector->addrs[i], size))
            return fail(access, vector->addrs[i], size, -EFBIG);
        if (size > 0 && cte__handle_for(handles, type) == handle)
            add(batch, vector->addrs[i], size, vector->buffers[i]);
    }
    return 0;
}

/* HDF5 reads beyond the end of the file, and finds zeros there. */
static cte_status read_segments(cte_file *handle, const struct batch *batch)
{
    uint64_t size = 0;
    cte_status status = cte_file_size(handle, &size);
    for (size_t i = 0; i < batch->count && status == CTE_OK && batch->high > size; i++) {
        const cte_file_segment *segment = &batch->segments[i];
        uint64_t end = segment->offset + segment->length;
        uint64_t from = segment->offset > size ? segment->offset : size;
        if (end > from)
            memset((char *)segment->base + (from - segment->offset), 0, end - from);
    }
    return status == CTE_OK ? cte_file_read(handle, batch->segments, batch->count, NULL) : status;
}

static herr_t move_batch(const struct access *access, cte_file *handle, const struct batch *batch)
{
    cte_file_range range;
    if (batch->count == 0)
        return 0;
    cte_status status = lock_range(access, handle, batch->low, batch->high, &range);
    if (status == CTE_OK) {
        status = access->write ? cte_file_write(handle, batch->segments, batch->count)
                               : read_segments(handle, batch);
        unlock_range(handle, &range);
    }
    if (status != CTE_OK)
        return fail(access, batch->low, (size_t)(batch->high - batch->low), status);
    if (access->write)
        note_end(access->file, batch->high);
    return 0;
}

static herr_t move_pieces(const struct access *access, const struct vector *vector)
{
    struct cte__handles *handles = &access->file->common.handles;
    struct batch batch;
    herr_t result = 0;
    if (vector->count == 0)
        return 0;
    batch.segments = malloc(vector->count * sizeof *batch.segments);
    if (!batch.segments)
        return fail(access, vector->addrs[0], vector->count, -ENOMEM);
    for (uint32_t i = 0; i < handles->count && result >= 0; i++) {
        result = gather(access, vector, handles->items[i], &batch);
        if (result >= 0)
            result = move_batch(access, handles->items[i], &batch);
    }
    free(batch.segments);
    return result;
}

/* Whoever fails still waits for the others, who wait for it. */
static herr_t move_vector(struct access *access, const struct vector *vector)
{
    if (access->file->in_selection)
        return move_pieces(access, vector);
    if (ask_whether_collective(access) < 0)
        return -1;
    cte_status before = wait_for_all(access);
    herr_t result = move_pieces(access, vector);
    cte_status after = wait_for_all(access);
    if (before != CTE_OK || after != CTE_OK)
        return fail(access, 0, 0, before != CTE_OK ? before : after);
    return result;
}

herr_t cte__mpio_read_vector(H5FD_t *pub, hid_t dxpl, uint32_t count, H5FD_mem_t types[],
                             haddr_t addrs[], size_t sizes[], void *buffers[])
{
    struct access access = {.file = (struct cte__mpio_file *)pub};
    struct vector vector = {count, types, addrs, sizes, buffers};
    (void)dxpl;
    return move_vector(&access, &vector);
}

herr_t cte__mpio_write_vector(H5FD_t *pub, hid_t dxpl, uint32_t count, H5FD_mem_t types[],
                              haddr_t addrs[], size_t sizes[], const void *buffers[])
{
    struct access access = {.file = (struct cte__mpio_file *)pub, .write = true};
    struct vector vector = {count, types, addrs, sizes, (void *const *)buffers};
    (void)dxpl;
    return move_vector(&access, &vector);
}

/* --- selections --- */

struct selections {
    H5FD_mem_t type;
    hid_t dxpl;
    size_t count;
    hid_t *in_memory, *in_file;
    haddr_t *offsets; /* absolute, as all addresses that a driver gets */
    size_t *element_sizes;
    void **buffers; /* only read when writing */
};

/* HDF5 makes one vector of them.  It adds the base address itself, and in its own call the context
 * no longer tells whether the access is collective. */
static herr_t move_selected(const struct access *access, struct selections *s)
{
    struct cte__mpio_file *file = access->file;
    haddr_t base = file->common.pub.base_addr;
    herr_t result;
    if (s->count > UINT32_MAX)
        return fail(access, s->offsets[0], s->count, -E2BIG);
    for (size_t i = 0; i < s->count; i++)
        s->offsets[i] -= base;
    file->in_selection = true;
    if (access->write)
        result = H5FDwrite_vector_from_selection(
            &file->common.pub, s->type, s->dxpl, (uint32_t)s->count, s->in_memory, s->in_file,
            s->offsets, s->element_sizes, (const void **)s->buffers);
    else
        result = H5FDread_vector_from_selection(&file->common.pub, s->type, s->dxpl,
                                                (uint32_t)s->count, s->in_memory, s->in_file,
                                                s->offsets, s->element_sizes, s->buffers);
    file->in_selection = false;
    for (size_t i = 0; i < s->count; i++)
        s->offsets[i] += base;
    return result;
}

static herr_t move_selections(struct access *access, struct selections *selections)
{
    if (ask_whether_collective(access) < 0)
        return -1;
    cte_status before = wait_for_all(access);
    herr_t result = move_selected(access, selections);
    cte_status after = wait_for_all(access);
    if (before != CTE_OK || after != CTE_OK)
        return fail(access, 0, 0, before != CTE_OK ? before : after);
    return result;
}

herr_t cte__mpio_read_selection(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, size_t count,
                                hid_t in_memory[], hid_t in_file[], haddr_t offsets[],
                                size_t element_sizes[], void *buffers[])
{
    struct access access = {.file = (struct cte__mpio_file *)pub};
    struct selections selections = {type,    dxpl,    count,         in_memory,
                                    in_file, offsets, element_sizes, buffers};
    return move_selections(&access, &selections);
}

herr_t cte__mpio_write_selection(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, size_t count,
                                 hid_t in_memory[], hid_t in_file[], haddr_t offsets[],
                                 size_t element_sizes[], const void *buffers[])
{
    struct access access = {.file = (struct cte__mpio_file *)pub, .write = true};
    struct selections selections = {type,    dxpl,    count,         in_memory,
                                    in_file, offsets, element_sizes, (void **)buffers};
    return move_selections(&access, &selections);
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
    struct vector vector = {1, &type, &addr, &size, &buffer};
    if (access->file->in_selection)
        return move_pieces(access, &vector);
    cte_status before = wait_for_all(access);
    herr_t result = access->collective ? move_by_context(access, type, addr, size, buffer)
                                       : move_pieces(access, &vector);
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
    if (type == H5FD_MEM_DRAW && !access.file->in_selection && ask_whether_collective(&access) < 0)
        return -1;
    return move_one(&access, type, addr, size, buffer);
}

herr_t cte__mpio_write(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, haddr_t addr, size_t size,
                       const void *buffer)
{
    struct access access = {.file = (struct cte__mpio_file *)pub, .write = true};
    (void)dxpl;
    if (!access.file->in_selection && ask_whether_collective(&access) < 0)
        return -1;
    return move_one(&access, type, addr, size, (void *)(uintptr_t)buffer);
}
