/* SPDX-License-Identifier: BSD-3-Clause */
#include "slow_file.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { NS_PER_S = 1000000000 };

static _Atomic uint64_t rate_bytes_per_s, busy_until_ns, bytes_so_far;

void slow_file_set_rate(uint64_t bytes_per_s)
{
    atomic_store(&rate_bytes_per_s, bytes_per_s);
}

uint64_t slow_file_bytes(void)
{
    return atomic_load(&bytes_so_far);
}

static bool is_slow(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path);
    size_t suffix = strlen(SLOW_SUFFIX);
    return n > (ssize_t)suffix && memcmp(path + n - suffix, SLOW_SUFFIX, suffix) == 0;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* The time at which a device that takes one write after the other has these bytes. */
static uint64_t done_at(uint64_t bytes, uint64_t bytes_per_s)
{
    uint64_t cost = (uint64_t)((double)bytes / (double)bytes_per_s * NS_PER_S);
    uint64_t now = now_ns(), before = atomic_load(&busy_until_ns), until;
    do
        until = (before > now ? before : now) + cost;
    while (!atomic_compare_exchange_weak(&busy_until_ns, &before, until));
    return until;
}

static void sleep_until(uint64_t ns)
{
    struct timespec until = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    uint64_t rate = atomic_load(&rate_bytes_per_s);
    bool slow = rate != 0 && is_slow(fd);
    uint64_t until = slow ? done_at(length, rate) : 0;
    ssize_t n = syscall(SYS_pwrite64, fd, bytes, length, offset);
    if (slow) {
        sleep_until(until);
        atomic_fetch_add(&bytes_so_far, n > 0 ? (uint64_t)n : 0);
    }
    return n;
}
