/* SPDX-License-Identifier: BSD-3-Clause */
/* A directory of arenas (arenas.h) on any file system.  Space is taken as it is written: a file
 * system that others fill up is an ordinary error then. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "target/arenas.h"

static cte_status posix_create(const struct cte__target_spec *spec)
{
    return cte__arenas_create(spec, true);
}

static cte_status posix_open(const struct cte__target_spec *spec, void **out)
{
    struct cte__arenas *arenas = malloc(sizeof *arenas);
    if (!arenas)
        return -ENOMEM;
    cte_status rc = cte__arenas_open(arenas, spec);
    if (rc != 0) {
        free(arenas);
        return rc;
    }
    *out = arenas;
    return 0;
}

static void posix_close(void *opaque)
{
    if (opaque)
        cte__arenas_close(opaque);
    free(opaque);
}

static cte_status posix_io(void *opaque, const struct cte__target_io *io)
{
    struct cte__arenas *arenas = opaque;
    cte_status rc = cte__target_check_io(io, arenas->capacity_bytes, arenas->arena_bytes);
    if (rc != 0 || io->bytes == 0)
        return rc;
    rc = cte__arenas_transfer(arenas, io);
    if (rc == -ENOENT && !io->write)
        rc = cte__arenas_read_zeros(arenas, io);
    /* A full medium is the caller's business: it has other targets. */
    if (rc != 0 && rc != -ENOSPC)
        cte__log_error("cannot %s %llu bytes at %llu of target %s: %s",
                       io->write ? "write" : "read", (unsigned long long)io->bytes,
                       (unsigned long long)io->offset, arenas->path, cte_status_string(rc));
    return rc;
}

/* One sync, by several threads: a disk makes the syncs that it gets together durable together,
 * and takes as long for each as for all when they come one after the other. */
struct sync {
    struct cte__arenas *arenas;
    _Atomic uint64_t next; /* arena that nobody has taken yet */
    _Atomic cte_status status;
};

enum { SYNC_HELPERS_MAX = 7, SYNC_STACK_BYTES = 256 << 10 };

/* 1: there is a descriptor to be given back; 0: nobody wrote this arena. */
static cte_status use_existing(struct cte__arenas *arenas, uint64_t index,
                               struct cte__arena_use *use)
{
    cte_status rc = cte__arenas_use(arenas, index, false, use);
    if (rc == -ENOENT)
        return 0;
    if (rc != 0)
        cte__log_error("cannot make target %s durable: %s", arenas->path, cte_status_string(rc));
    return rc == 0 ? 1 : rc;
}

/* All arenas are on their way to the disk before the first one is waited for.  Returns how many
 * there are, or an error. */
static cte_status begin_writing(struct cte__arenas *arenas)
{
    int count = 0;
    for (uint64_t i = 0; i < arenas->count; i++) {
        struct cte__arena_use use;
        cte_status rc = use_existing(arenas, i, &use);
        if (rc < 0)
            return rc;
        if (rc == 0)
            continue;
        /* Nothing is lost if it fails: the sync writes what is left, and tells of errors. */
        if (sync_file_range(use.fd, 0, 0, SYNC_FILE_RANGE_WRITE) != 0)
            cte__log_debug("target %s: arena %llu is not written early: %s", arenas->path,
                           (unsigned long long)i, strerror(errno));
        cte__arenas_done(&use);
        count++;
    }
    return count;
}

/* Another process may have written any arena, so all that exist are synced; one without changes
 * costs a system call or three. */
static void *sync_arenas(void *opaque)
{
    struct sync *sync = opaque;
    struct cte__arenas *arenas = sync->arenas;
    uint64_t i;
    while (sync->status == 0 && (i = atomic_fetch_add(&sync->next, 1)) < arenas->count) {
        struct cte__arena_use use;
        cte_status rc = use_existing(arenas, i, &use);
        if (rc == 1) {
            rc = cte__target_fdatasync(use.fd, arenas->path);
            cte__arenas_done(&use);
        }
        cte_status none = 0;
        if (rc < 0)
            atomic_compare_exchange_strong(&sync->status, &none, rc);
    }
    return NULL;
}

/* Starts up to `wanted` threads, which get no signals of the program; how many. */
static int start_helpers(struct sync *sync, pthread_t *helpers, int wanted)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    int count = 0;
    if (wanted <= 0 || pthread_attr_init(&attributes) != 0)
        return 0;
    pthread_attr_setstacksize(&attributes, SYNC_STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (count < wanted && pthread_create(&helpers[count], &attributes, sync_arenas, sync) == 0)
        count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return count;
}

/* The directory last: the names of new arenas. */
static cte_status posix_sync(void *opaque)
{
    struct sync sync = {.arenas = opaque};
    struct cte__arenas *arenas = opaque;
    cte_status arena_count = begin_writing(arenas);
    if (arena_count < 0)
        return arena_count;
    pthread_t helpers[SYNC_HELPERS_MAX];
    int count = start_helpers(&sync, helpers,
                              (int)cte__min((uint64_t)arena_count, SYNC_HELPERS_MAX + 1) - 1);
    sync_arenas(&sync); /* also alone, if no thread is to be had */
    for (int i = 0; i < count; i++)
        pthread_join(helpers[i], NULL);
    if (sync.status != 0)
        return sync.status;
    cte_status rc = cte__target_sync_directory(arenas->dir_fd);
    if (rc != 0)
        cte__log_error("cannot make target %s durable: %s", arenas->path, cte_status_string(rc));
    return rc;
}

const struct cte__target_ops cte__target_posix = {
    .kind = "posix",
    .capabilities = CTE__TARGET_SURVIVES_PROCESS | CTE__TARGET_SURVIVES_NODE,
    .kind_rank = 0.3f,
    .nominal_bytes_per_s = 500000000,
    .nominal_latency_ns = 200000,
    .create = posix_create,
    .open = posix_open,
    .io = posix_io,
    .sync = posix_sync,
    .close = posix_close,
    .destroy = cte__arenas_destroy,
};
