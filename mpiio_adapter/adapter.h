/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the parts of the MPI-IO adapter share.
 *
 * Every tracked MPI_File has a struct cte__mpi_file, found by its handle.  The handle itself is
 * always MPICH's, with the same view, so whatever is not done here can be handed to MPICH
 * (hatch.c).
 *
 * Locks: the handle table's lock is a leaf.  A file's `pointer_lock` is held through transfers at
 * the individual pointer, since the next one starts where this one ends.
 */
#ifndef CTE_MPIIO_ADAPTER_ADAPTER_H
#define CTE_MPIIO_ADAPTER_ADAPTER_H

#include <mpi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cte/file.h>

#include "mpi_common/access.h"
#include "mpi_common/comm.h"
#include "real.h"

/*
 * Exports a function under its profiling name too: the mpi_f08 binding calls it, and so do tools
 * that intercept MPI_File_ names themselves.
 */
#define CTE__MPI_PROFILING_NAME(name)                                                              \
    extern __typeof__(MPI_File_##name) PMPI_File_##name                                            \
        __attribute__((alias("MPI_File_" #name), copy(MPI_File_##name)));

/* What the hints of an open say; as configured where they say nothing. */
struct cte__mpi_hints {
    int mode;  /* cte_file_mode */
    int drain; /* cte_file_drain_policy */
    float score;
    uint64_t chunk_bytes;
};

/* Who keeps a file's shared pointer: MPICH; this process, which has the file for itself; or the
 * file's record in the store. */
enum cte__mpi_keeper { CTE__MPI_KEPT_BY_MPICH, CTE__MPI_KEPT_HERE, CTE__MPI_KEPT_IN_STORE };

/* Why an access is handed to MPICH. */
enum cte__mpi_why {
    CTE__MPI_WHY_VIEW,    /* data representation, or a filetype whose construction is not told */
    CTE__MPI_WHY_MEMORY,  /* the same of a memory type */
    CTE__MPI_WHY_POINTER, /* MPICH keeps the shared pointer */
    CTE__MPI_WHYS
};

/* A split collective between begin and end. */
enum cte__mpi_split { CTE__MPI_SPLIT_NONE, CTE__MPI_SPLIT_OURS, CTE__MPI_SPLIT_REAL };

struct cte__mpi_file {
    MPI_File handle;
    struct cte__mpi_file *next; /* in its bucket of the handle table */
    uint64_t sequence;          /* order of opening */
    cte_file *file;
    char *path;
    struct cte__mpi_comm comm;
    int amode;
    bool atomic; /* accesses are atomic towards those of others whose handles are */
    struct cte__mpi_view view;
    pthread_mutex_t pointer_lock;
    uint64_t pointer_bytes; /* individual pointer: bytes of the view's data before it */
    enum cte__mpi_keeper shared_keeper;
    uint32_t shared_number;         /* in the store */
    _Atomic uint64_t shared_etypes; /* if kept here */
    enum cte__mpi_split split;
    bool split_waits;                   /* for all others at the end */
    struct cte__mpi_async *split_async; /* if it goes on */
    int split_code;
    MPI_Count split_bytes;
    struct cte__mpi_async *pending; /* accesses that go on, or whose requests are not over */
    cte_status kept_error;          /* of one of them that nobody could be told of */
    _Atomic uint64_t handed_over[CTE__MPI_WHYS]; /* calls, for the run summary */
};

/* Where an access begins.  At the shared pointer, collective ones are in the order of ranks. */
enum cte__mpi_place { CTE__MPI_EXPLICIT, CTE__MPI_INDIVIDUAL, CTE__MPI_SHARED };

/* One data access. */
struct cte__mpi_op {
    bool write;
    bool collective;
    bool nonblocking;
    enum cte__mpi_place place;
    MPI_Offset offset; /* in etypes; of EXPLICIT */
    void *buffer;      /* only read when writing */
    MPI_Count count;
    MPI_Datatype type;
};

/* --- message.c: the log level is CTE_LOG_LEVEL's, as everywhere in cte --- */
enum cte__mpi_level { CTE__MPI_ERROR = 1, CTE__MPI_WARN, CTE__MPI_INFO };
void cte__mpi_message(enum cte__mpi_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* --- handle.c: the tracked files --- */
extern atomic_uint cte__mpi_tracked_count;
struct cte__mpi_file *cte__mpi_lookup(MPI_File handle);
void cte__mpi_insert(struct cte__mpi_file *file);
void cte__mpi_remove(struct cte__mpi_file *file);
/* Takes the file that was opened first out of the table; NULL if there is none. */
struct cte__mpi_file *cte__mpi_take_oldest(void);

/* NULL for files that pass through: then this is all that the adapter costs. */
static inline struct cte__mpi_file *cte__mpi_find(MPI_File handle)
{
    if (atomic_load_explicit(&cte__mpi_tracked_count, memory_order_acquire) == 0)
        return NULL;
    return cte__mpi_lookup(handle);
}

/* Waits for all processes of the file. */
static inline cte_status cte__mpi_barrier(struct cte__mpi_file *file)
{
    return cte__mpi_comm_barrier(&file->comm);
}

/* --- status.c: results in MPI's terms --- */
void cte__mpi_status_set(MPI_Status *status, MPI_Count bytes);
int cte__mpi_error_class(cte_status status);
/* Calls the file's error handler; returns the error code. */
int cte__mpi_raise(struct cte__mpi_file *file, cte_status status);
int cte__mpi_raise_code(struct cte__mpi_file *file, int code);

/* --- request.c --- */
/* A request that is complete, with a status of that many bytes. */
int cte__mpi_completed_request(MPI_Count bytes, MPI_Request *request);
/* The request of an access that goes on, which it takes over on success. */
int cte__mpi_pending_request(struct cte__mpi_async *async, MPI_Request *request);

/* --- async.c: accesses that go on in a worker --- */
/* `exact`: the count is that of bytes that are there, else of those asked for.  NULL: it cannot be
 * started, and nothing happened. */
struct cte__mpi_async *cte__mpi_async_start(struct cte__mpi_file *file,
                                            const struct cte__mpi_access *access,
                                            struct cte__mpi_typemap *memory, bool exact);
bool cte__mpi_async_is_over(const struct cte__mpi_async *async);
void cte__mpi_async_wait(struct cte__mpi_async *async, int timeout_ms);
/* Of one that is over. */
cte_status cte__mpi_async_result(struct cte__mpi_async *async, MPI_Count *counted);
/* Calls the file's error handler, once; returns the error code. */
int cte__mpi_async_tell(struct cte__mpi_async *async, cte_status status);
/* Leaves an error for who closes or syncs the file. */
void cte__mpi_async_keep_error(struct cte__mpi_async *async, cte_status status);
/* Of one that is over. */
void cte__mpi_async_free(struct cte__mpi_async *async);
/* Frees it, now or when it is over. */
void cte__mpi_async_abandon(struct cte__mpi_async *async);
/* An error that nobody was told of; it stays the file's. */
cte_status cte__mpi_async_kept_error(struct cte__mpi_file *file);
/* Waits for all of a file.  Returns an error that nobody was told of. */
cte_status cte__mpi_async_finish_all(struct cte__mpi_file *file);

/* --- transfer.c --- */
int cte__mpi_blocking(struct cte__mpi_file *file, const struct cte__mpi_op *op, MPI_Status *status);
int cte__mpi_nonblocking(struct cte__mpi_file *file, const struct cte__mpi_op *op,
                         MPI_Request *request);
int cte__mpi_split_begin(struct cte__mpi_file *file, const struct cte__mpi_op *op);
/* True if the split collective was ours: then it is over, *code and, on success, *status are set.
 */
bool cte__mpi_split_end(struct cte__mpi_file *file, MPI_Status *status, int *code);

/* --- shared.c: the shared pointer, in etypes of the current view --- */
/* False if MPICH keeps it, or does the accesses of the current view. */
bool cte__mpi_shared_is_ours(const struct cte__mpi_file *file);
/* Moves it on, returns where it was. */
uint64_t cte__mpi_shared_advance(struct cte__mpi_file *file, uint64_t etypes);
/* By one process, when no other uses it. */
void cte__mpi_shared_set(struct cte__mpi_file *file, uint64_t etypes);
/* Collective: where this process's access is among those of all, in the order of ranks. */
cte_status cte__mpi_shared_in_order(struct cte__mpi_file *file, uint64_t etypes,
                                    uint64_t *position);
/* Decides who keeps it, together with whether the file is tracked: returns the worst status of all
 * processes, to all of them. */
cte_status cte__mpi_shared_attach(struct cte__mpi_file *file, cte_status status);

/* --- hatch.c: what only MPICH can do runs on the real file, between these two --- */
/* `why`: unless the view is reason enough. */
int cte__mpi_hatch_enter(struct cte__mpi_file *file, bool collective, enum cte__mpi_why why);
int cte__mpi_hatch_leave(struct cte__mpi_file *file, bool collective, int code);

/* Tells the run summary what was handed over. */
void cte__mpi_hatch_summarise(struct cte__mpi_file *file);

/* --- hints.c --- */
void cte__mpi_hints_get(MPI_Info info, struct cte__mpi_hints *hints);
/* True if they say nothing. */
bool cte__mpi_hints_are_plain(const struct cte__mpi_hints *hints);
/* To a file that is open already: takes what can be changed then, complains of the rest. */
void cte__mpi_hints_apply(struct cte__mpi_file *file, MPI_Info info);

/* --- lifecycle.c --- */
/* True if all processes of MPI_COMM_WORLD are on this node; else says so once. */
bool cte__mpi_world_is_one_node(void);

/* NULL if there is no store. */
cte_client *cte__mpi_client(void);

/* --- open.c --- */
cte_status cte__mpi_release(struct cte__mpi_file *file);

#endif
