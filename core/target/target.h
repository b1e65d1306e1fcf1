/* SPDX-License-Identifier: BSD-3-Clause */
/* Storage backends.  A target is an array of bytes cut into arenas of equal size; who owns which
 * bytes is the store's business (core/store), a backend only moves them.
 *
 * Every backing carries a mark (backing.h), so that a user's file or directory named by mistake is
 * never overwritten or removed. */
#ifndef CTE_CORE_TARGET_TARGET_H
#define CTE_CORE_TARGET_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <cte/status.h>

enum { CTE__TARGET_ARENA_UNIT = 1 << 20 };

enum cte__target_capability {
    CTE__TARGET_SURVIVES_PROCESS = 1u << 0, /* contents outlive every process */
    CTE__TARGET_SURVIVES_NODE = 1u << 1,    /* contents outlive a reboot (after sync) */
    CTE__TARGET_SHARED = 1u << 2,           /* other nodes reach it by the same path */
    CTE__TARGET_BY_MEMORY = 1u << 3, /* bytes may move by copies in memory, without system calls */
    CTE__TARGET_SUMS = 1u << 4,      /* sums pages while it moves them */
    CTE__TARGET_AS_MEMORY = 1u << 5, /* reads about as fast as memory: copies of it gain nothing */
};

/* How bytes get there, for the kinds that know several ways; the others ignore it. */
enum cte__target_engine {
    CTE__TARGET_BUFFERED = 0, /* through the page cache */
    CTE__TARGET_URING = 1,    /* past it, by io_uring; as BUFFERED where that cannot be */
};

/* Where a target is and how it is cut. */
struct cte__target_spec {
    const char *path;        /* absolute: a directory for ram, a file for file */
    uint64_t capacity_bytes; /* multiple of arena_bytes */
    uint64_t arena_bytes;    /* multiple of 1 MiB */
    uint64_t store_id;       /* whose it is: the same in every process and run of one store, e.g. a
                              * hash of its name.  Another store's backing is never replaced. */
    enum cte__target_engine engine;
};

/* One transfer.  Stays inside one arena, offset and total length are multiples of 4096 when
 * writing; any when reading.  Iovec elements may be of any length and alignment. */
struct cte__target_io {
    bool write;
    uint64_t offset; /* bytes from the start of the target */
    const struct iovec *iov;
    int iov_count;
    uint64_t bytes; /* sum of the iovec */
    /* NULL, or receives the sum of each page that is moved (base/checksum.h); only targets that say
     * CTE__TARGET_SUMS are asked.  Offset and iovec elements are whole pages then. */
    uint32_t *sums;
};

/* The sums of the pages in a transfer's memory. */
void cte__target_sum(const struct cte__target_io *io);

struct cte__target_ops {
    const char *kind;      /* bdev_type in the configuration */
    uint32_t capabilities; /* enum cte__target_capability bits */
    float kind_rank;       /* among the kinds: a target of a higher one is placed above the others,
                            * however fast they are */
    uint64_t nominal_bytes_per_s; /* where measuring fails (measure.h) */
    uint64_t nominal_latency_ns;

    /* Makes the backing for a new store, by one process while no other uses the target.  All bytes
     * read as zeros afterwards.  Replaces leftovers of the same store.  Refuses what another user
     * owns (CTE_ERR_STORE_OWNER), symbolic links (-ELOOP), what a process has open (-EBUSY), what
     * is not a backing of this store (-EEXIST), capacity the file system cannot hold (-ENOSPC), or
     * that exceeds the file size limit of the process (-EFBIG); a refusal leaves everything as it
     * was. Files 0600, directories 0700. */
    cte_status (*create)(const struct cte__target_spec *spec);

    /* Opens an existing backing in this process.  Owner, type, mark and size are checked again. */
    cte_status (*open)(const struct cte__target_spec *spec, void **state);

    /* Moves bytes; blocks; thread-safe.  All or an error: short transfers are continued inside,
     * EINTR retried.  -ENOSPC when the medium is full although the target is not; -EINVAL if the
     * transfer is not as struct cte__target_io says, nothing is moved then.  Never raises a signal,
     * unless the program lowers its file size limit after open, or somebody cuts the backing. */
    cte_status (*io)(void *state, const struct cte__target_io *io);

    /* The address at which bytes of one arena stand in this process, until close; NULL if these
     * bytes cannot be had so (no memory, no address space): then io is the way.  Without `write`
     * they are only to be read.  With it they may be written in place, never written before or
     * not; what io and views write is seen by either at once, in all processes.  Touching the bytes
     * never raises a signal.  Thread-safe.  Use cte__target_view(); NULL: the backend has none. */
    void *(*view)(void *state, bool write, uint64_t offset, uint64_t bytes);

    /* Makes everything written so far survive what the capabilities promise. */
    cte_status (*sync)(void *state);

    /* NULL is fine.  No io may be running. */
    void (*close)(void *state);

    /* Removes the backing; nobody has it open.  Missing is fine.  Refuses as create does,
     * but does not notice that somebody has it open. */
    cte_status (*destroy)(const struct cte__target_spec *spec);
};

/* A backend's view, NULL if it has none. */
static inline void *cte__target_view(const struct cte__target_ops *ops, void *state, bool write,
                                     uint64_t offset, uint64_t bytes)
{
    return ops->view ? ops->view(state, write, offset, bytes) : NULL;
}

/* Backend by kind, NULL if unknown; and all of them from the fastest to the slowest,
 * NULL-terminated. */
const struct cte__target_ops *cte__target_ops_find(const char *kind);
extern const struct cte__target_ops *const cte__target_ops_all[];

#endif
