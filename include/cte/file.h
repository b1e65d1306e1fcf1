/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Files through the tiers: what the MPI-IO and HDF5 adapters are built on.
 *
 * A cte_file stands for an existing file of the parallel file system (PFS).  Writes land in
 * the node's store and are drained to that file; reads see the newest bytes, from the store or
 * from the file.  All processes of the node that have the file open share one state: a write that
 * returned is seen by the next read of any of them, as POSIX says, file size included.
 *
 * The name-space part is always real: cte_file_open() opens (and, if asked, makes or truncates) the
 * real file at once, so existence, permissions and errors are the file system's own.
 *
 * Thread rule: all functions are thread-safe on one handle, except close.
 * Error rule: see status.h.  Short transfers happen only at the end of the file.
 * Ranges: offsets and lengths are bytes; offset + length must not exceed INT64_MAX (-EFBIG, -EINVAL).
 */
#ifndef CTE_FILE_H
#define CTE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cte/client.h>
#include <cte/comm.h>
#include <cte/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cte_file cte_file;

/** How a file is handled. */
typedef enum cte_file_mode {
    CTE_FILE_MODE_CONFIG = 0, /**< as the configuration says for this path (mode, include, exclude) */
    CTE_FILE_MODE_DEFAULT,    /**< tiers and drain */
    CTE_FILE_MODE_SCRATCH,    /**< tiers, never drained: contents are gone after the last close */
    CTE_FILE_MODE_BYPASS      /**< straight to the real file */
} cte_file_mode;

/** When written data reaches the real file. */
typedef enum cte_file_drain_policy {
    CTE_FILE_DRAIN_CONFIG = 0, /**< as the configuration says */
    CTE_FILE_DRAIN_ON_CLOSE,   /**< close returns when the file is complete */
    CTE_FILE_DRAIN_ASYNC,      /**< close returns at once; client close or `cte drain` completes it */
    CTE_FILE_DRAIN_NEVER       /**< only cte_file_drain() or `cte drain` */
} cte_file_drain_policy;

/** Options of cte_file_open(); start from CTE_FILE_OPTIONS_INIT. */
typedef struct cte_file_options {
    size_t size;                  /**< sizeof(cte_file_options), for compatibility */
    cte_file_mode mode;
    cte_file_drain_policy drain;
    float score;                  /**< 0 … 1 for new data, negative: as configured */
    const cte_comm *comm;         /**< processes that open it together, NULL: alone; must outlive the file */
    uint64_t chunk_bytes; /**< pieces that the file is kept in: a power of two from 64 KiB to 16 MiB;
                             0: as configured.  Who has the file open already, or left data of it in
                             the store, has decided. */
} cte_file_options;

#define CTE_FILE_OPTIONS_INIT                                                                      \
    {                                                                                              \
        sizeof(cte_file_options), CTE_FILE_MODE_CONFIG, CTE_FILE_DRAIN_CONFIG, -1.0f, NULL, 0      \
    }

/** One piece of a transfer, contiguous in the file and in memory. */
typedef struct cte_file_segment {
    uint64_t offset; /**< byte offset in the file */
    size_t length;   /**< bytes, may be 0 */
    void *base;      /**< memory; only read when writing */
} cte_file_segment;

/**
 * Opens a file.
 * @param client   NULL: cte_client_default(); if that fails, the file is handled as in bypass mode
 * @param path     as for open(2)
 * @param flags    as for open(2): O_RDONLY, O_WRONLY or O_RDWR with O_CREAT, O_EXCL, O_TRUNC.
 *                 Where permissions allow, a file asked for O_WRONLY is opened for reading too.
 * @param perm     as for open(2)
 * @param options  NULL: defaults
 * @param out      receives the handle; free with cte_file_close()
 * @return -errno of open(2), -EINVAL for a bad option, or a status of the store
 */
cte_status cte_file_open(cte_client *client, const char *path, int flags, mode_t perm,
                         const cte_file_options *options, cte_file **out);

/** True if the file really goes through the tiers, false if it passes through to the real file. */
bool cte_file_is_tracked(const cte_file *file);

/** Bytes of the pieces that the file is kept in; 0 if it passes through to the real file. */
uint64_t cte_file_chunk_bytes(const cte_file *file);

/**
 * Tells how the file is handled: what was asked for, or configured, and is in force.  `comm` is
 * NULL.  Of a file that passes through, mode is CTE_FILE_MODE_BYPASS, and the rest says nothing.
 * @param options  receives it; its `size` says how much of it there is, see CTE_FILE_OPTIONS_INIT
 */
void cte_file_get_options(cte_file *file, cte_file_options *options);

/**
 * Changes how an open file is handled, by this handle from now on.
 * @param options  `drain` unless CTE_FILE_DRAIN_CONFIG, and `score` unless negative, are taken;
 *                 mode, comm and chunk_bytes are decided at open and not looked at
 * @return -EINVAL for a bad option: then nothing is changed; CTE_OK for a file that passes through
 */
cte_status cte_file_set_options(cte_file *file, const cte_file_options *options);

/**
 * Writes segments.  Their order does not matter unless they overlap: then the later one wins.
 * All or nothing per chunk; on error some chunks may be written, as with pwritev(2).
 */
cte_status cte_file_write(cte_file *file, const cte_file_segment *segments, size_t count);

/**
 * Reads segments.  Bytes past the end of the file are left untouched in memory.
 * @param transferred  receives the bytes that lie below the end of the file, over all segments; may
 *                     be NULL
 */
cte_status cte_file_read(cte_file *file, const cte_file_segment *segments, size_t count,
                         uint64_t *transferred);

/** Current size in bytes, as all processes of the node see it. */
cte_status cte_file_size(cte_file *file, uint64_t *size_bytes);

/** Sets the size, as ftruncate(2): cuts, or extends by zeros.  Cutting reaches the real file at once. */
cte_status cte_file_truncate(cte_file *file, uint64_t size_bytes);

/**
 * Makes the file at least so long, as posix_fallocate(3), and reserves the real file's space where
 * its file system can, so that draining these bytes does not fail for want of it.
 */
cte_status cte_file_allocate(cte_file *file, uint64_t size_bytes);

/**
 * Makes written data as durable as the configuration promises.  `sync: node`: what is in the store stays
 * there, and what was drained from it already is made durable in the real file, as by fdatasync(2);
 * `sync: pfs`: all is drained and made durable.  Also tells of draining in the background that failed.
 */
cte_status cte_file_sync(cte_file *file);

/**
 * As cte_file_sync(), but with `sync: node` nothing is made durable: for programs that flush what they
 * have buffered, as H5Fflush() does, and would not have waited for a disk without cte.
 */
cte_status cte_file_flush(cte_file *file);

/**
 * Drains everything that any process of the node wrote to this file, and sets the real file's size.
 * Returns the first error; what could not be drained stays in the store and can be retried.
 */
cte_status cte_file_drain(cte_file *file);

/**
 * Forgets clean data and takes the size from the real file again: to be called after somebody
 * wrote to the real file behind the library's back.  Data not drained yet stays and still wins.
 */
cte_status cte_file_refresh(cte_file *file);

/** A locked range of a file: what cte_file_lock() took, for cte_file_unlock() to give back. */
typedef struct cte_file_range {
    uint64_t offset, length;
    uint32_t held; /**< the library's own */
} cte_file_range;

/**
 * Keeps a range of the file for oneself while several calls are made, which are then seen by others
 * that lock as one: writers exclude everybody, readers exclude writers.  Calls without a lock are
 * not kept out.  Blocks until the range is free.  Should the holder die, its lock is gone.
 *
 * Rules: a thread holds one lock at a time, of any file, and gives it back itself; between the two
 * it neither closes the file nor waits for others that might want the lock.  Threads that use one
 * handle of a file that passes through to the real file do not exclude each other.
 * @param write   false: for reading, as the handle must allow
 * @param length  bytes; may reach beyond the end of the file; 0 locks nothing
 * @param range   receives what to give back, also on error
 * @return -EINVAL beyond INT64_MAX; of a file that passes through also -errno of fcntl(2)
 */
cte_status cte_file_lock(cte_file *file, bool write, uint64_t offset, uint64_t length,
                         cte_file_range *range);

/** Gives a range back. */
void cte_file_unlock(cte_file *file, const cte_file_range *range);

/**
 * Claims a file pointer for those who opened the file together: one of them claims it and tells the
 * others its number, then all may use it until any of them closes the file.  It starts at 0, counts
 * in units of the users' choice, and is gone with the handle that claimed it.  A handle claims one
 * at most.
 * @return -EBUSY: so many are in use for this file that there is no more; -EEXIST: this handle has
 *         one; -ENOTSUP: the file passes through to the real file
 */
cte_status cte_file_pointer_claim(cte_file *file, uint32_t *number);

/** Moves a pointer on by `distance`, which may be 0: atomically.  Returns where it was before. */
uint64_t cte_file_pointer_advance(cte_file *file, uint32_t number, uint64_t distance);

/** Sets a pointer. */
void cte_file_pointer_set(cte_file *file, uint32_t number, uint64_t position);

/** Totals of one handle since it was opened. */
typedef struct cte_file_stats {
    uint64_t bytes_written;         /**< by this handle */
    uint64_t bytes_read;
    uint64_t bytes_written_through; /**< that went straight to the real file because all tiers were full */
    uint64_t bytes_read_store;      /**< part of bytes_read that came from the store */
    uint64_t bytes_drained;         /**< by this handle */
    uint64_t drain_ns;              /**< wall time this handle spent draining */
    uint64_t bytes_drained_background; /**< of the file, by this process beside the program, since it
                                            opened the file first */
    uint64_t writes, reads;         /**< calls of this handle */
} cte_file_stats;

void cte_file_get_stats(const cte_file *file, cte_file_stats *stats);

/**
 * Closes.  NULL is fine.  With `on_close` draining, returns after everything that any process wrote to
 * this file is in the real file; CTE_ERR_DRAIN or the cause if that failed (the handle is gone all the
 * same, the data is kept for `cte drain`).  Collective over options.comm if one was given.
 */
cte_status cte_file_close(cte_file *file);

#ifdef __cplusplus
}
#endif
#endif
