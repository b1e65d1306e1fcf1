/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of tracked files, keyed by MPI_File. */
#include "adapter.h"

enum { BUCKET_COUNT = 64 };

atomic_uint cte__mpi_tracked_count;

static struct cte__mpi_file *buckets[BUCKET_COUNT];
static uint64_t next_sequence;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

static struct cte__mpi_file **bucket_of(MPI_File handle)
{
    /* Handles are addresses from malloc: their low bits are all alike. */
    return &buckets[((uintptr_t)handle >> 5) % BUCKET_COUNT];
}

struct cte__mpi_file *cte__mpi_lookup(MPI_File handle)
{
    pthread_rwlock_rdlock(&lock);
    struct cte__mpi_file *file = *bucket_of(handle);
    while (file && file->handle != handle)
        file = file->next;
    pthread_rwlock_unlock(&lock);
    return file;
}

void cte__mpi_insert(struct cte__mpi_file *file)
{
    pthread_rwlock_wrlock(&lock);
    struct cte__mpi_file **bucket = bucket_of(file->handle);
    file->sequence = next_sequence++;
    file->next = *bucket;
    *bucket = file;
    atomic_fetch_add_explicit(&cte__mpi_tracked_count, 1, memory_order_release);
    pthread_rwlock_unlock(&lock);
}

static void remove_locked(struct cte__mpi_file *file)
{
    struct cte__mpi_file **at = bucket_of(file->handle);
    while (*at != file)
        at = &(*at)->next;
    *at = file->next;
    atomic_fetch_sub_explicit(&cte__mpi_tracked_count, 1, memory_order_release);
}

void cte__mpi_remove(struct cte__mpi_file *file)
{
    pthread_rwlock_wrlock(&lock);
    remove_locked(file);
    pthread_rwlock_unlock(&lock);
}

struct cte__mpi_file *cte__mpi_take_oldest(void)
{
    struct cte__mpi_file *oldest = NULL;
    pthread_rwlock_wrlock(&lock);
    for (int i = 0; i < BUCKET_COUNT; i++)
        for (struct cte__mpi_file *file = buckets[i]; file; file = file->next)
            if (!oldest || file->sequence < oldest->sequence)
                oldest = file;
    if (oldest)
        remove_locked(oldest);
    pthread_rwlock_unlock(&lock);
    return oldest;
}
