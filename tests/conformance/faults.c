/* SPDX-License-Identifier: BSD-3-Clause */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

static atomic_int calls_left;
static atomic_int fault_error;
static atomic_bool fired;
static atomic_int disturb_period;
static atomic_int transfers;
static atomic_int disturbed;
static atomic_int advice_error;
static atomic_int advice_refused;

void faults_fail_nth(int n, int error)
{
    fired = false;
    fault_error = error;
    calls_left = n;
}

bool faults_fired(void)
{
    return fired;
}

void faults_disturb_io(int period)
{
    disturbed = 0;
    transfers = 0;
    disturb_period = period;
}

int faults_disturbed(void)
{
    return disturbed;
}

bool faults_strike(void)
{
    if (calls_left <= 0 || atomic_fetch_sub(&calls_left, 1) != 1)
        return false;
    fired = true;
    if (fault_error == FAULT_KILL)
        raise(SIGKILL);
    errno = fault_error;
    return true;
}

/* X(name, parameters, arguments) of the calls that take a fixed number of arguments. */
#define PLAIN_CALLS(X)                                                                             \
    X(lstat, (const char *path, struct stat *status), (path, status))                              \
    X(fstat, (int fd, struct stat *status), (fd, status))                                          \
    X(fstatat, (int fd, const char *path, struct stat *status, int flags),                         \
      (fd, path, status, flags))                                                                   \
    X(fstatvfs, (int fd, struct statvfs *fs), (fd, fs))                                            \
    X(getrlimit, (int resource, struct rlimit *limit), (resource, limit))                          \
    X(mkdir, (const char *path, mode_t perm), (path, perm))                                        \
    X(rmdir, (const char *path), (path))                                                           \
    X(unlinkat, (int fd, const char *path, int flags), (fd, path, flags))                          \
    X(fchmod, (int fd, mode_t perm), (fd, perm))                                                   \
    X(ftruncate, (int fd, off_t size), (fd, size))                                                 \
    X(fallocate, (int fd, int mode, off_t offset, off_t bytes), (fd, mode, offset, bytes))         \
    X(fsync, (int fd), (fd))                                                                       \
    X(fdatasync, (int fd), (fd))                                                                   \
    X(flock, (int fd, int operation), (fd, operation))                                             \
    X(mprotect, (void *at, size_t bytes, int protection), (at, bytes, protection))                 \
    X(munlock, (const void *at, size_t bytes), (at, bytes))

#define DEFINE_WRAPPER(name, parameters, arguments)                                                \
    int __real_##name parameters;                                                                  \
    int __wrap_##name parameters;                                                                  \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        return faults_strike() ? -1 : __real_##name arguments;                                     \
    }
PLAIN_CALLS(DEFINE_WRAPPER)

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_openat(int dir_fd, const char *path, int flags, ...);
int __wrap_openat(int dir_fd, const char *path, int flags, ...);
int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
ssize_t __real_preadv(int fd, const struct iovec *iov, int count, off_t offset);
ssize_t __wrap_preadv(int fd, const struct iovec *iov, int count, off_t offset);
ssize_t __real_pwritev(int fd, const struct iovec *iov, int count, off_t offset);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int count, off_t offset);

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
    return faults_strike() ? -1 : __real_open(path, flags, perm);
}

int __wrap_openat(int dir_fd, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t perm = perm_argument(flags, args);
    va_end(args);
    return faults_strike() ? -1 : __real_openat(dir_fd, path, flags, perm);
}

/* The commands in use here take an int or nothing. */
int __wrap_fcntl(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    int argument = command == F_GETFD || command == F_GETFL ? 0 : va_arg(args, int);
    va_end(args);
    return faults_strike() ? -1 : __real_fcntl(fd, command, argument);
}

int __real_madvise(void *at, size_t bytes, int advice);
int __wrap_madvise(void *at, size_t bytes, int advice);

void faults_refuse_advice(int error)
{
    advice_refused = 0;
    advice_error = error;
}

int faults_advice_refused(void)
{
    return advice_refused;
}

int __wrap_madvise(void *at, size_t bytes, int advice)
{
    if (faults_strike())
        return -1;
    if (advice_error == 0)
        return __real_madvise(at, bytes, advice);
    advice_refused++;
    errno = advice_error;
    return -1;
}

enum disturbance faults_next_disturbance(void)
{
    int period = disturb_period;
    if (period == 0)
        return LET_PASS;
    int turn = atomic_fetch_add(&transfers, 1) % period;
    enum disturbance what = turn == 0 ? INTERRUPT : turn == 1 ? CUT : LET_PASS;
    if (what != LET_PASS)
        disturbed++;
    return what;
}

/* Moves about a third of the first element that holds anything, at odd places. */
static ssize_t cut_transfer(int fd, const struct iovec *iov, int count, off_t offset, bool write)
{
    int first = 0;
    while (first < count - 1 && iov[first].iov_len == 0)
        first++;
    struct iovec part = {iov[first].iov_base, (iov[first].iov_len + 2) / 3};
    return write ? __real_pwritev(fd, &part, 1, offset) : __real_preadv(fd, &part, 1, offset);
}

static ssize_t transfer(int fd, const struct iovec *iov, int count, off_t offset, bool write)
{
    if (faults_strike())
        return -1;
    enum disturbance what = faults_next_disturbance();
    if (what == INTERRUPT) {
        errno = EINTR;
        return -1;
    }
    if (what == CUT)
        return cut_transfer(fd, iov, count, offset, write);
    return write ? __real_pwritev(fd, iov, count, offset) : __real_preadv(fd, iov, count, offset);
}

ssize_t __wrap_preadv(int fd, const struct iovec *iov, int count, off_t offset)
{
    return transfer(fd, iov, count, offset, false);
}

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    return transfer(fd, iov, count, offset, true);
}
