/* SPDX-License-Identifier: BSD-3-Clause */
/* The machine's own ways to move the same bytes: memcpy between this process and a shared mapping,
 * and pwrite and pread of a plain file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

struct limit {
    int fd;
    unsigned char *map; /* NULL: not mapped */
    uint64_t bytes;
};

static bool failed(struct bench_worker *worker, const char *what)
{
    return bench_fail(worker, "%s a plain file: %s", what, strerror(errno));
}

/* A file of its own for each process, as blobs are.  That of the process that put before, if this
 * one gets. */
static bool open_file(struct bench_worker *worker, struct limit *limit)
{
    const char *directory =
        worker->options->target == BENCH_RAM ? worker->place->memory : worker->place->disk;
    char path[BENCH_PATH_BYTES + 32];
    snprintf(path, sizeof path, "%s/limit.%u", directory, worker->index);
    limit->bytes = worker->options->size_bytes * worker->options->count;
    limit->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return limit->fd >= 0 || failed(worker, "cannot open");
}

/* The target preallocates its file too. */
static bool preallocate(struct bench_worker *worker, const struct limit *limit)
{
    int error;
    do
        error = posix_fallocate(limit->fd, 0, (off_t)limit->bytes);
    while (error == EINTR);
    errno = error;
    return error == 0 || failed(worker, "cannot make room in");
}

static void limit_close(void *state)
{
    struct limit *limit = state;
    if (limit->map)
        munmap(limit->map, limit->bytes);
    close(limit->fd);
    free(limit);
}

static bool limit_open(struct bench_worker *worker, void **state)
{
    struct limit *limit = calloc(1, sizeof *limit);
    if (!limit)
        return bench_fail(worker, "not enough memory");
    *state = limit;
    if (open_file(worker, limit))
        return true;
    free(limit);
    return false;
}

/* ---- memcpy --------------------------------------------------------------------------------- */

static bool memcpy_open(struct bench_worker *worker, void **state)
{
    if (!limit_open(worker, state))
        return false;
    struct limit *limit = *state;
    void *map = MAP_FAILED;
    bool good = preallocate(worker, limit);
    if (good)
        map = mmap(NULL, limit->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, limit->fd, 0);
    if (map == MAP_FAILED) {
        if (good)
            failed(worker, "cannot map");
        limit_close(limit);
        return false;
    }
    limit->map = map;
    memset(limit->map, 0, limit->bytes); /* warm */
    return true;
}

static bool memcpy_put(struct bench_worker *worker, void *state, uint64_t index, const void *data)
{
    const struct limit *limit = state;
    uint64_t size = worker->options->size_bytes;
    memcpy(limit->map + index * size, data, size);
    return true;
}

static bool memcpy_get(struct bench_worker *worker, void *state, uint64_t index, void *buffer)
{
    const struct limit *limit = state;
    uint64_t size = worker->options->size_bytes;
    memcpy(buffer, limit->map + index * size, size);
    return true;
}

const struct bench_subject_ops bench_memcpy = {
    .open = memcpy_open,
    .close = limit_close,
    .put = memcpy_put,
    .get = memcpy_get,
};

/* ---- pwrite and pread ----------------------------------------------------------------------- */

static bool pwrite_open(struct bench_worker *worker, void **state)
{
    if (!limit_open(worker, state))
        return false;
    if (worker->options->target == BENCH_RAM || preallocate(worker, *state))
        return true;
    limit_close(*state);
    return false;
}

/* Cold puts go to memory or blocks that nobody has used. */
static bool pwrite_clear(struct bench_worker *worker, void *state)
{
    const struct limit *limit = state;
    if (!worker->options->cold)
        return true;
    if (ftruncate(limit->fd, 0) != 0)
        return failed(worker, "cannot empty");
    return worker->options->target == BENCH_RAM || preallocate(worker, limit);
}

static bool pwrite_put(struct bench_worker *worker, void *state, uint64_t index, const void *data)
{
    const struct limit *limit = state;
    uint64_t size = worker->options->size_bytes;
    for (uint64_t done = 0; done < size;) {
        ssize_t n =
            pwrite(limit->fd, (const char *)data + done, size - done, (off_t)(index * size + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return failed(worker, "cannot write");
        done += (uint64_t)n;
    }
    return true;
}

static bool pwrite_finish(struct bench_worker *worker, void *state)
{
    const struct limit *limit = state;
    return worker->options->target == BENCH_RAM || fdatasync(limit->fd) == 0 ||
           failed(worker, "cannot sync");
}

static bool pwrite_get(struct bench_worker *worker, void *state, uint64_t index, void *buffer)
{
    const struct limit *limit = state;
    uint64_t size = worker->options->size_bytes;
    for (uint64_t done = 0; done < size;) {
        ssize_t n =
            pread(limit->fd, (char *)buffer + done, size - done, (off_t)(index * size + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n == 0 ? ENODATA : errno;
            return failed(worker, "cannot read");
        }
        done += (uint64_t)n;
    }
    return true;
}

const struct bench_subject_ops bench_pwrite = {
    .open = pwrite_open,
    .close = limit_close,
    .clear = pwrite_clear,
    .put = pwrite_put,
    .get = pwrite_get,
    .finish = pwrite_finish,
};

/* ---- which ---------------------------------------------------------------------------------- */

const struct bench_subject_ops *bench_limit_for(const struct bench_options *options)
{
    if (options->target == BENCH_URING)
        return &bench_fio;
    return options->target == BENCH_RAM && !options->cold ? &bench_memcpy : &bench_pwrite;
}

const char *bench_limit_name(const struct bench_options *options)
{
    if (options->target == BENCH_URING)
        return "fio, io_uring, O_DIRECT";
    if (options->target == BENCH_FILE)
        return options->get ? "pread of a file" : "pwrite + fdatasync, preallocated file";
    if (options->cold)
        return options->get ? "pread of a tmpfs file" : "pwrite to a new tmpfs file";
    return options->get ? "memcpy from a warm shared mapping" : "memcpy to a warm shared mapping";
}
