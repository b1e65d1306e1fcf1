/* SPDX-License-Identifier: BSD-3-Clause */
/* The one way that all data accesses go. */
#include "adapter.h"

#include <errno.h>
#include <stdlib.h>

/* MPICH's own access of the same kind on the real file; the counts fit all variants. */
static int real_access(struct cte__mpi_file *file, const struct cte__mpi_op *op, bool collective,
                       MPI_Offset offset, MPI_Status *status)
{
    MPI_File fh = file->handle;
    if (op->write && collective)
        return REAL(write_at_all_c)(fh, offset, op->buffer, op->count, op->type, status);
    if (op->write)
        return REAL(write_at_c)(fh, offset, op->buffer, op->count, op->type, status);
    if (collective)
        return REAL(read_at_all_c)(fh, offset, op->buffer, op->count, op->type, status);
    return REAL(read_at_c)(fh, offset, op->buffer, op->count, op->type, status);
}

/* Makes an access that moves nothing, of the kind that was asked for: MPICH's nonblocking calls
 * call the error handler more than once.  Where the etype has no bytes, they would divide by that.
 */
static int judge(struct cte__mpi_file *file, const struct cte__mpi_op *op, MPI_Offset offset)
{
    MPI_Request request = MPI_REQUEST_NULL;
    if (!op->nonblocking || file->view.no_etype)
        return real_access(file, op, false, offset, MPI_STATUS_IGNORE);
    int code =
        op->write
            ? REAL(iwrite_at_c)(file->handle, offset, op->buffer, op->count, op->type, &request)
            : REAL(iread_at_c)(file->handle, offset, op->buffer, op->count, op->type, &request);
    return code == MPI_SUCCESS ? PMPI_Wait(&request, MPI_STATUS_IGNORE) : code;
}

/*
 * True if MPICH refuses an access for the mode that the file was opened in.  At the shared pointer
 * it looks at that in MPI_File_read_shared() alone: other reads of a file that is for writing are
 * made, and writes to one that is for reading fail when they are made, with the pointer moved on.
 */
static bool is_refused_by_mode(const struct cte__mpi_file *file, const struct cte__mpi_op *op)
{
    int refused = op->write ? MPI_MODE_RDONLY : MPI_MODE_WRONLY;
    bool asks = op->place != CTE__MPI_SHARED || !(op->write || op->collective || op->nonblocking);
    return asks && (file->amode & refused);
}

/*
 * Lets MPICH judge the arguments, so that errors and their handling are its own: an access it will
 * refuse is simply made, any other is made with a count of 0.  On success *bytes is the size of
 * the access.
 */
static int check(struct cte__mpi_file *file, const struct cte__mpi_op *op, uint64_t *bytes)
{
    MPI_Offset offset = op->place == CTE__MPI_EXPLICIT ? op->offset : 0;
    *bytes = 0;
    if (op->count < 0 || offset < 0 || op->type == MPI_DATATYPE_NULL)
        return judge(file, op, offset);
    if (!cte__mpi_typemap_common(op->type)) {
        struct cte__mpi_op probe = *op;
        probe.count = 0;
        int code = judge(file, &probe, offset);
        if (code != MPI_SUCCESS)
            return code;
    }
    MPI_Count size = 0;
    int code = PMPI_Type_size_x(op->type, &size);
    if (code != MPI_SUCCESS || size == 0 || op->count == 0)
        return code;
    if (file->view.no_etype || op->count > INT64_MAX / size ||
        (uint64_t)offset > INT64_MAX / file->view.etype_bytes)
        return cte__mpi_raise_code(file, MPI_ERR_ARG);
    uint64_t total = (uint64_t)op->count * (uint64_t)size;
    if (total % file->view.etype_bytes != 0 || is_refused_by_mode(file, op))
        return judge(file, op, offset);
    *bytes = total;
    return MPI_SUCCESS;
}

/* What an access came to. */
struct outcome {
    uint64_t counted;  /* bytes that the status tells */
    uint64_t advanced; /* bytes that the individual pointer moves */
};

/* Counts of reads beyond the end of the file are MPICH's: true where file and memory are
 * contiguous, full elsewhere; requests of collective reads tell the full count always. */
static void count_read(const struct cte__mpi_op *op, bool contiguous, uint64_t bytes,
                       uint64_t there, struct outcome *outcome)
{
    bool exact = contiguous && !(op->nonblocking && op->collective);
    outcome->counted = exact ? there : bytes;
    outcome->advanced = contiguous && !(op->nonblocking && !op->collective) ? there : bytes;
}

/* `collective`: all processes take the hatch together. */
static int through_hatch(struct cte__mpi_file *file, const struct cte__mpi_op *op, bool collective,
                         MPI_Offset offset, struct outcome *outcome)
{
    MPI_Status status;
    MPI_Count count = 0;
    int code = cte__mpi_hatch_enter(file, collective, CTE__MPI_WHY_MEMORY);
    if (code != MPI_SUCCESS)
        return code;
    code = real_access(file, op, collective, offset, &status);
    if (code == MPI_SUCCESS)
        PMPI_Get_elements_x(&status, MPI_BYTE, &count);
    outcome->counted = (uint64_t)count;
    outcome->advanced = (uint64_t)count;
    return cte__mpi_hatch_leave(file, collective, code);
}

/* Also of a process that is the only one to take it; in atomic mode it keeps all others out. */
static int alone_through_hatch(struct cte__mpi_file *file, const struct cte__mpi_op *op,
                               MPI_Offset offset, struct outcome *outcome)
{
    cte_file_range range;
    cte_status status =
        cte_file_lock(file->file, op->write, 0, file->atomic ? INT64_MAX : 0, &range);
    if (status != CTE_OK)
        return cte__mpi_raise(file, status);
    int code = through_hatch(file, op, false, offset, outcome);
    cte_file_unlock(file->file, &range);
    return code;
}

/* What a view without data does with an access to it is for MPICH to say. */
static bool has_no_data(const struct cte__mpi_file *file)
{
    return file->view.filetype->size == 0;
}

/* True if each byte of the access lies behind the one before, in memory and file. */
static bool is_contiguous(const struct cte__mpi_file *file, const struct cte__mpi_typemap *memory)
{
    return memory->contiguous && file->view.filetype->contiguous;
}

/* The access in terms of bytes; it borrows `memory` and the view's filetype. */
static cte_status describe(const struct cte__mpi_file *file, const struct cte__mpi_op *op,
                           const struct cte__mpi_typemap *memory, MPI_Offset offset, uint64_t bytes,
                           struct cte__mpi_access *access)
{
    *access = (struct cte__mpi_access){.file = file->file,
                                       .view = file->view,
                                       .memory = memory,
                                       .buffer = op->buffer,
                                       .write = op->write,
                                       .atomic = file->atomic,
                                       .bytes = bytes};
    if ((uint64_t)offset > INT64_MAX / file->view.etype_bytes)
        return -EFBIG;
    access->position_bytes = (uint64_t)offset * file->view.etype_bytes;
    if (bytes > INT64_MAX - access->position_bytes ||
        !cte__mpi_view_fits(&file->view, access->position_bytes + bytes))
        return -EFBIG;
    return CTE_OK;
}

/* At an offset in etypes. */
static int access_data(struct cte__mpi_file *file, const struct cte__mpi_op *op, MPI_Offset offset,
                       uint64_t bytes, struct outcome *outcome)
{
    /* A nonblocking collective must not wait for the others here. */
    if (file->view.foreign)
        return through_hatch(file, op, op->collective && !op->nonblocking, offset, outcome);
    if (bytes == 0)
        return MPI_SUCCESS;
    struct cte__mpi_typemap *memory;
    if (has_no_data(file) || cte__mpi_typemap_get(op->type, &memory) != 0)
        return alone_through_hatch(file, op, offset, outcome);
    struct cte__mpi_access access;
    cte_status status = describe(file, op, memory, offset, bytes, &access);
    if (status == CTE_OK)
        status = cte__mpi_move(&access);
    outcome->counted = outcome->advanced = bytes;
    if (!op->write)
        count_read(op, is_contiguous(file, memory), bytes, access.transferred, outcome);
    cte__mpi_typemap_put(memory);
    return status == CTE_OK ? MPI_SUCCESS : cte__mpi_raise(file, status);
}

static int access_at_pointer(struct cte__mpi_file *file, const struct cte__mpi_op *op,
                             uint64_t bytes, struct outcome *outcome)
{
    pthread_mutex_lock(&file->pointer_lock);
    MPI_Offset offset = (MPI_Offset)(file->pointer_bytes / file->view.etype_bytes);
    int code = access_data(file, op, offset, bytes, outcome);
    if (code == MPI_SUCCESS)
        file->pointer_bytes += outcome->advanced;
    pthread_mutex_unlock(&file->pointer_lock);
    return code;
}

/* `offset`: where it begins unless at the individual pointer. */
static int access_now(struct cte__mpi_file *file, const struct cte__mpi_op *op, MPI_Offset offset,
                      uint64_t bytes, MPI_Count *counted)
{
    struct outcome outcome = {0};
    int code = op->place == CTE__MPI_INDIVIDUAL ? access_at_pointer(file, op, bytes, &outcome)
                                                : access_data(file, op, offset, bytes, &outcome);
    *counted = (MPI_Count)outcome.counted;
    return code;
}

static int check_unless_foreign(struct cte__mpi_file *file, const struct cte__mpi_op *op,
                                uint64_t *bytes)
{
    *bytes = 0;
    return file->view.foreign ? MPI_SUCCESS : check(file, op, bytes);
}

/*
 * Where the access begins, in etypes, unless at the individual pointer.  Those that are made
 * `together` all take part, also who was refused (`code`): all processes enter before any data
 * moves, since no data of an earlier collective access may be changed while somebody still reads
 * it.
 */
static int find_place(struct cte__mpi_file *file, const struct cte__mpi_op *op, bool together,
                      int code, uint64_t bytes, MPI_Offset *offset)
{
    uint64_t etypes = bytes / file->view.etype_bytes;
    uint64_t shared = 0;
    cte_status status = CTE_OK;
    if (together && op->place == CTE__MPI_SHARED)
        status = cte__mpi_shared_in_order(file, etypes, &shared);
    else if (together)
        cte__mpi_barrier(file);
    else if (code == MPI_SUCCESS && op->place == CTE__MPI_SHARED)
        shared = cte__mpi_shared_advance(file, etypes);
    *offset = op->place == CTE__MPI_SHARED ? (MPI_Offset)shared : op->offset;
    return code == MPI_SUCCESS && status != CTE_OK ? cte__mpi_raise(file, status) : code;
}

/* What is written together is everywhere before anybody leaves. */
int cte__mpi_blocking(struct cte__mpi_file *file, const struct cte__mpi_op *op, MPI_Status *status)
{
    uint64_t bytes;
    MPI_Count counted = 0;
    MPI_Offset offset;
    int code = check_unless_foreign(file, op, &bytes);
    code = find_place(file, op, op->collective, code, bytes, &offset);
    if (code == MPI_SUCCESS)
        code = access_now(file, op, offset, bytes, &counted);
    if (op->collective && op->write)
        cte__mpi_barrier(file);
    if (code == MPI_SUCCESS)
        cte__mpi_status_set(status, counted);
    return code;
}

/* ---- accesses that go on -------------------------------------------------------------------- */

/* An access under way, or what became of it at once. */
struct started {
    struct cte__mpi_async *async;
    int code;
    MPI_Count counted;
};

/* Takes the place at the individual pointer that the access would have moved on from. */
static MPI_Offset pass_pointer(struct cte__mpi_file *file, const struct cte__mpi_op *op,
                               bool contiguous, uint64_t bytes)
{
    struct outcome outcome = {.advanced = bytes};
    uint64_t size = 0;
    pthread_mutex_lock(&file->pointer_lock);
    uint64_t place = file->pointer_bytes / file->view.etype_bytes;
    uint64_t begin = (uint64_t)(file->view.displacement + file->view.filetype->runs[0].offset) +
                     place * file->view.etype_bytes;
    if (!op->write && contiguous && cte_file_size(file->file, &size) == CTE_OK) {
        uint64_t there = begin < size ? size - begin : 0;
        count_read(op, contiguous, bytes, there < bytes ? there : bytes, &outcome);
    }
    file->pointer_bytes += outcome.advanced;
    pthread_mutex_unlock(&file->pointer_lock);
    return (MPI_Offset)place;
}

/*
 * Below so many bytes waking a worker, and the program being woken, cost more than can be gained:
 * an access of 256 KiB takes 10 us by itself and 22 through a worker, one of 1 MiB 44 and 65 to 80,
 * of which the program can use as many as the access takes.
 */
enum { ASYNC_BYTES_MIN = 1 << 20 };

/* Tests have small accesses go on, too. */
static uint64_t async_bytes_min(void)
{
    static _Atomic uint64_t known;
    uint64_t bytes = atomic_load_explicit(&known, memory_order_relaxed);
    if (bytes == 0) {
        const char *value = getenv("CTE_TEST_ASYNC_BYTES_MIN");
        bytes = value ? strtoull(value, NULL, 10) : ASYNC_BYTES_MIN;
        bytes = bytes > 0 ? bytes : 1;
        atomic_store_explicit(&known, bytes, memory_order_relaxed);
    }
    return bytes;
}

static void start(struct cte__mpi_file *file, const struct cte__mpi_op *op, MPI_Offset offset,
                  uint64_t bytes, struct started *started)
{
    struct cte__mpi_typemap *memory;
    struct cte__mpi_access access;
    struct outcome outcome = {0};
    *started = (struct started){0};
    if (bytes < async_bytes_min() || has_no_data(file) ||
        cte__mpi_typemap_get(op->type, &memory) != 0) {
        started->code = access_now(file, op, offset, bytes, &started->counted);
        return;
    }
    bool contiguous = is_contiguous(file, memory);
    if (op->place == CTE__MPI_INDIVIDUAL)
        offset = pass_pointer(file, op, contiguous, bytes);
    bool exact = !op->write && contiguous && !(op->nonblocking && op->collective);
    if (describe(file, op, memory, offset, bytes, &access) == CTE_OK)
        started->async = cte__mpi_async_start(file, &access, memory, exact);
    if (!started->async) {
        started->code = access_data(file, op, offset, bytes, &outcome);
        started->counted = (MPI_Count)outcome.counted;
    }
    cte__mpi_typemap_put(memory);
}

int cte__mpi_nonblocking(struct cte__mpi_file *file, const struct cte__mpi_op *op,
                         MPI_Request *request)
{
    uint64_t bytes;
    MPI_Offset offset;
    struct started started;
    int code = check_unless_foreign(file, op, &bytes);
    code = find_place(file, op, false, code, bytes, &offset);
    *request = MPI_REQUEST_NULL;
    if (code != MPI_SUCCESS)
        return code;
    start(file, op, offset, bytes, &started);
    if (started.code != MPI_SUCCESS)
        return started.code;
    if (!started.async)
        code = cte__mpi_completed_request(started.counted, request);
    else
        code = cte__mpi_pending_request(started.async, request);
    if (code != MPI_SUCCESS && started.async) {
        cte__mpi_async_wait(started.async, -1);
        cte__mpi_async_free(started.async);
    }
    return code == MPI_SUCCESS ? code : cte__mpi_raise_code(file, code);
}

/*
 * What is wrong with the arguments is said now, what goes wrong with the data at the end.  Only if
 * all have begun, all wait for each other there.
 */
int cte__mpi_split_begin(struct cte__mpi_file *file, const struct cte__mpi_op *op)
{
    uint64_t bytes;
    MPI_Offset offset;
    struct started started;
    if (file->split != CTE__MPI_SPLIT_NONE)
        return cte__mpi_raise_code(file, MPI_ERR_IO);
    int code = check_unless_foreign(file, op, &bytes);
    code = find_place(file, op, true, code, bytes, &offset);
    file->split_waits =
        op->write && cte__mpi_agree(&file->comm, code == MPI_SUCCESS ? CTE_OK : -EINVAL) == CTE_OK;
    if (code != MPI_SUCCESS)
        return code;
    start(file, op, offset, bytes, &started);
    file->split = CTE__MPI_SPLIT_OURS;
    file->split_async = started.async;
    file->split_code = started.code;
    file->split_bytes = started.counted;
    return MPI_SUCCESS;
}

static int finish_split_data(struct cte__mpi_file *file)
{
    struct cte__mpi_async *async = file->split_async;
    if (!async)
        return file->split_code;
    cte__mpi_async_wait(async, -1);
    cte_status status = cte__mpi_async_result(async, &file->split_bytes);
    int code = status == CTE_OK ? MPI_SUCCESS : cte__mpi_async_tell(async, status);
    cte__mpi_async_free(async);
    file->split_async = NULL;
    return code;
}

bool cte__mpi_split_end(struct cte__mpi_file *file, MPI_Status *status, int *code)
{
    bool ours = file->split == CTE__MPI_SPLIT_OURS;
    file->split = CTE__MPI_SPLIT_NONE;
    if (!ours)
        return false;
    *code = finish_split_data(file);
    if (file->split_waits)
        cte__mpi_barrier(file);
    if (*code == MPI_SUCCESS)
        cte__mpi_status_set(status, file->split_bytes);
    return true;
}
