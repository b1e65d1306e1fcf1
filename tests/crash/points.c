/* SPDX-License-Identifier: BSD-3-Clause */
#include "points.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static atomic_int armed_kinds;
static atomic_long calls, strike_at;
static atomic_int strike_error; /* 0: kill */
static atomic_bool fired;

static void arm(int kinds, long nth, int error)
{
    fired = false;
    calls = 0;
    strike_at = nth;
    strike_error = error;
    armed_kinds = kinds;
}

void points_kill_at(int kinds, long nth)
{
    arm(kinds, nth, 0);
}

void points_fail_at(int kinds, long nth, int error)
{
    arm(kinds, nth, error);
}

long points_disarm(void)
{
    armed_kinds = 0;
    return calls;
}

bool points_fired(void)
{
    return fired;
}

/* True if the call is to fail; errno is set. */
static bool strikes(int kind)
{
    if (!(armed_kinds & kind) || atomic_fetch_add(&calls, 1) + 1 != strike_at)
        return false;
    fired = true;
    if (strike_error == 0)
        raise(SIGKILL);
    errno = strike_error;
    return true;
}

/* X(result, failure, kind, name, parameters, arguments) of calls with a fixed number of arguments.
 */
#define PLAIN_CALLS(X)                                                                             \
    X(void *, NULL, POINT_MEMORY, malloc, (size_t bytes), (bytes))                                 \
    X(void *, NULL, POINT_MEMORY, calloc, (size_t count, size_t bytes), (count, bytes))            \
    X(void *, NULL, POINT_MEMORY, realloc, (void *old, size_t bytes), (old, bytes))                \
    X(int, ENOMEM, POINT_MEMORY, posix_memalign, (void **out, size_t align, size_t bytes),         \
      (out, align, bytes))                                                                         \
    X(ssize_t, -1, POINT_READ, preadv, (int fd, const struct iovec *iov, int n, off_t at),         \
      (fd, iov, n, at))                                                                            \
    X(ssize_t, -1, POINT_READ, pread, (int fd, void *to, size_t bytes, off_t at),                  \
      (fd, to, bytes, at))                                                                         \
    X(ssize_t, -1, POINT_WRITE, pwritev, (int fd, const struct iovec *iov, int n, off_t at),       \
      (fd, iov, n, at))                                                                            \
    X(ssize_t, -1, POINT_WRITE, pwrite, (int fd, const void *from, size_t bytes, off_t at),        \
      (fd, from, bytes, at))                                                                       \
    X(ssize_t, -1, POINT_APPEND, write, (int fd, const void *from, size_t bytes),                  \
      (fd, from, bytes))                                                                           \
    X(int, -1, POINT_SYNC, fsync, (int fd), (fd))                                                  \
    X(int, -1, POINT_SYNC, fdatasync, (int fd), (fd))                                              \
    X(int, -1, POINT_NAME, rename, (const char *from, const char *to), (from, to))                 \
    X(int, -1, POINT_SPACE, fallocate, (int fd, int mode, off_t at, off_t bytes),                  \
      (fd, mode, at, bytes))                                                                       \
    X(int, -1, POINT_SPACE, ftruncate, (int fd, off_t bytes), (fd, bytes))                         \
    X(void *, MAP_FAILED, POINT_SPACE, mmap,                                                       \
      (void *at, size_t bytes, int prot, int flags, int fd, off_t offset),                         \
      (at, bytes, prot, flags, fd, offset))                                                        \
    X(int, -1, POINT_NAME, flock, (int fd, int operation), (fd, operation))                        \
    X(int, -1, POINT_NAME, mkdir, (const char *path, mode_t perm), (path, perm))                   \
    X(int, -1, POINT_NAME, rmdir, (const char *path), (path))                                      \
    X(int, -1, POINT_NAME, unlink, (const char *path), (path))                                     \
    X(int, -1, POINT_NAME, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))

#define DEFINE_WRAPPER(result, failure, kind, name, parameters, arguments)                         \
    result __real_##name parameters;                                                               \
    result __wrap_##name parameters;                                                               \
    result __wrap_##name parameters                                                                \
    {                                                                                              \
        return strikes(kind) ? (failure) : __real_##name arguments;                                \
    }
PLAIN_CALLS(DEFINE_WRAPPER)

/* Calls that cannot fail here, but before which one can die. */
#define KILL_CALLS(X)                                                                              \
    X(POINT_LOCK, pthread_mutex_lock, (pthread_mutex_t * mutex), (mutex))                          \
    X(POINT_LOCK, pthread_mutex_trylock, (pthread_mutex_t * mutex), (mutex))                       \
    X(POINT_LOCK, pthread_mutex_unlock, (pthread_mutex_t * mutex), (mutex))                        \
    X(POINT_CLOCK, clock_gettime, (clockid_t clock, struct timespec * now), (clock, now))

#define DEFINE_KILL_WRAPPER(kind, name, parameters, arguments)                                     \
    int __real_##name parameters;                                                                  \
    int __wrap_##name parameters;                                                                  \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        if (strike_error == 0)                                                                     \
            strikes(kind);                                                                         \
        return __real_##name arguments;                                                            \
    }
KILL_CALLS(DEFINE_KILL_WRAPPER)

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_openat(int dir_fd, const char *path, int flags, ...);
int __wrap_openat(int dir_fd, const char *path, int flags, ...);

static mode_t perm_argument(int flags, va_list args)
{
    return flags & O_CREAT ? va_arg(args, mode_t) : 0;
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t perm = perm_argument(flags, args);
    va_end(args);
    return strikes(POINT_NAME) ? -1 : __real_open(path, flags, perm);
}

int __wrap_openat(int dir_fd, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t perm = perm_argument(flags, args);
    va_end(args);
    return strikes(POINT_NAME) ? -1 : __real_openat(dir_fd, path, flags, perm);
}
