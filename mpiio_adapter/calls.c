/* SPDX-License-Identifier: BSD-3-Clause */
/* The regular entry points: each hands a tracked file's access to its executor, others to MPICH. */
#include "adapter.h"

#define IS_READ      false
#define IS_WRITE     true
#define BUFFER_READ  void *
#define BUFFER_WRITE const void *

#define OP(direction, is_collective, is_nonblocking, its_place, at)                                \
    (&(struct cte__mpi_op){.write = IS_##direction,                                                \
                           .collective = (is_collective),                                          \
                           .nonblocking = (is_nonblocking),                                        \
                           .place = CTE__MPI_##its_place,                                          \
                           .offset = (at),                                                         \
                           .buffer = (void *)buffer,                                               \
                           .count = count,                                                         \
                           .type = type})

#define BLOCKING_AT(name, direction, collective, count_t)                                          \
    int MPI_File_##name(MPI_File fh, MPI_Offset offset, BUFFER_##direction buffer, count_t count,  \
                        MPI_Datatype type, MPI_Status *status)                                     \
    {                                                                                              \
        struct cte__mpi_file *file = cte__mpi_find(fh);                                            \
        if (!file)                                                                                 \
            return REAL(name)(fh, offset, buffer, count, type, status);                            \
        return cte__mpi_blocking(file, OP(direction, collective, false, EXPLICIT, offset),         \
                                 status);                                                          \
    }

#define BLOCKING(name, direction, collective, count_t)                                             \
    int MPI_File_##name(MPI_File fh, BUFFER_##direction buffer, count_t count, MPI_Datatype type,  \
                        MPI_Status *status)                                                        \
    {                                                                                              \
        struct cte__mpi_file *file = cte__mpi_find(fh);                                            \
        if (!file)                                                                                 \
            return REAL(name)(fh, buffer, count, type, status);                                    \
        return cte__mpi_blocking(file, OP(direction, collective, false, INDIVIDUAL, 0), status);   \
    }

#define NONBLOCKING_AT(name, direction, collective, count_t)                                       \
    int MPI_File_##name(MPI_File fh, MPI_Offset offset, BUFFER_##direction buffer, count_t count,  \
                        MPI_Datatype type, MPI_Request *request)                                   \
    {                                                                                              \
        struct cte__mpi_file *file = cte__mpi_find(fh);                                            \
        if (!file)                                                                                 \
            return REAL(name)(fh, offset, buffer, count, type, request);                           \
        return cte__mpi_nonblocking(file, OP(direction, collective, true, EXPLICIT, offset),       \
                                    request);                                                      \
    }

#define NONBLOCKING(name, direction, collective, count_t)                                          \
    int MPI_File_##name(MPI_File fh, BUFFER_##direction buffer, count_t count, MPI_Datatype type,  \
                        MPI_Request *request)                                                      \
    {                                                                                              \
        struct cte__mpi_file *file = cte__mpi_find(fh);                                            \
        if (!file)                                                                                 \
            return REAL(name)(fh, buffer, count, type, request);                                   \
        return cte__mpi_nonblocking(file, OP(direction, collective, true, INDIVIDUAL, 0),          \
                                    request);                                                      \
    }

#define SPLIT_BEGIN_AT(name, direction, count_t)                                                   \
    int MPI_File_##name(MPI_File fh, MPI_Offset offset, BUFFER_##direction buffer, count_t count,  \
                        MPI_Datatype type)                                                         \
    {                                                                                              \
        struct cte__mpi_file *file = cte__mpi_find(fh);                                            \
        if (!file)                                                                                 \
            return REAL(name)(fh, offset, buffer, count, type);                                    \
        return cte__mpi_split_begin(file, OP(direction, true, false, EXPLICIT, offset));           \
    }

#define SPLIT_BEGIN(name, direction, count_t)                                                      \
    int MPI_File_##name(MPI_File fh, BUFFER_##direction buffer, count_t count, MPI_Datatype type)  \
    {                                                                                              \
        struct cte__mpi_file *file = cte__mpi_find(fh);                                            \
        if (!file)                                                                                 \
            return REAL(name)(fh, buffer, count, type);                                            \
        return cte__mpi_split_begin(file, OP(direction, true, false, INDIVIDUAL, 0));              \
    }

#define SPLIT_END(name, direction)                                                                 \
    int MPI_File_##name(MPI_File fh, BUFFER_##direction buffer, MPI_Status *status)                \
    {                                                                                              \
        struct cte__mpi_file *file = cte__mpi_find(fh);                                            \
        int code;                                                                                  \
        if (file && cte__mpi_split_end(file, status, &code))                                       \
            return code;                                                                           \
        return REAL(name)(fh, buffer, status);                                                     \
    }

#define SHARED(name, direction, collective, count_t)                                               \
    int MPI_File_##name(MPI_File fh, BUFFER_##direction buffer, count_t count, MPI_Datatype type,  \
                        MPI_Status *status)                                                        \
    {                                                                                              \
        struct cte__mpi_file *file = cte__mpi_find(fh);                                            \
        if (!file)                                                                                 \
            return REAL(name)(fh, buffer, count, type, status);                                    \
        if (cte__mpi_shared_is_ours(file))                                                         \
            return cte__mpi_blocking(file, OP(direction, collective, false, SHARED, 0), status);   \
        int code = cte__mpi_hatch_enter(file, collective, CTE__MPI_WHY_POINTER);                   \
        if (code != MPI_SUCCESS)                                                                   \
            return code;                                                                           \
        code = REAL(name)(fh, buffer, count, type, status);                                        \
        return cte__mpi_hatch_leave(file, collective, code);                                       \
    }

/* By the blocking twin: nobody could refresh the file when MPICH's own request completes. */
#define SHARED_NONBLOCKING(name, direction, count_t, blocking)                                     \
    int MPI_File_##name(MPI_File fh, BUFFER_##direction buffer, count_t count, MPI_Datatype type,  \
                        MPI_Request *request)                                                      \
    {                                                                                              \
        MPI_Status status;                                                                         \
        struct cte__mpi_file *file = cte__mpi_find(fh);                                            \
        if (!file)                                                                                 \
            return REAL(name)(fh, buffer, count, type, request);                                   \
        if (cte__mpi_shared_is_ours(file))                                                         \
            return cte__mpi_nonblocking(file, OP(direction, false, true, SHARED, 0), request);     \
        int code = MPI_File_##blocking(fh, buffer, count, type, &status);                          \
        return code == MPI_SUCCESS ? request_of(&status, request) : code;                          \
    }

#define ORDERED_BEGIN(name, direction, count_t)                                                    \
    int MPI_File_##name(MPI_File fh, BUFFER_##direction buffer, count_t count, MPI_Datatype type)  \
    {                                                                                              \
        struct cte__mpi_file *file = cte__mpi_find(fh);                                            \
        if (!file)                                                                                 \
            return REAL(name)(fh, buffer, count, type);                                            \
        if (cte__mpi_shared_is_ours(file))                                                         \
            return cte__mpi_split_begin(file, OP(direction, true, false, SHARED, 0));              \
        int code = enter_ordered_split(file);                                                      \
        if (code != MPI_SUCCESS)                                                                   \
            return code;                                                                           \
        code = REAL(name)(fh, buffer, count, type);                                                \
        return leave_ordered_split(file, code);                                                    \
    }

#define IRREGULAR(name)
#define UNTOUCHED(name, why)

static int request_of(const MPI_Status *status, MPI_Request *request)
{
    MPI_Count bytes = 0;
    int code = PMPI_Get_elements_x(status, MPI_BYTE, &bytes);
    return code == MPI_SUCCESS ? cte__mpi_completed_request(bytes, request) : code;
}

static int enter_ordered_split(struct cte__mpi_file *file)
{
    if (file->split != CTE__MPI_SPLIT_NONE)
        return cte__mpi_raise_code(file, MPI_ERR_IO);
    return cte__mpi_hatch_enter(file, true, CTE__MPI_WHY_POINTER);
}

static int leave_ordered_split(struct cte__mpi_file *file, int code)
{
    if (code == MPI_SUCCESS)
        file->split = CTE__MPI_SPLIT_REAL;
    return cte__mpi_hatch_leave(file, true, code);
}

#include "mpi_calls.def"

/* The same functions under their profiling names. */
#define CALL(name) CTE__MPI_PROFILING_NAME(name)
#define IRREGULAR(name)
#define UNTOUCHED(name, why)
#include "mpi_calls.def"
