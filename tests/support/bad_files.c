/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Preloaded: files below the directory CTE_TEST_BAD_DIRECTORY go wrong as the file CTE_TEST_BAD_HOW
 * says at the moment, whoever uses them:
 *
 *   write ERRNO      writes fail
 *   sync ERRNO       writes succeed, making them durable fails
 *   stall MS         the next write takes so long; the file is emptied, so that it is only one
 *
 * Nothing, or no such file: they are as good as any.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* What goes wrong with calls of a kind on a file; 0: nothing. */
static int what_of(int fd, const char *kind)
{
    const char *directory = getenv("CTE_TEST_BAD_DIRECTORY"), *how = getenv("CTE_TEST_BAD_HOW");
    char link[64], path[PATH_MAX], text[64];
    if (!directory || !how)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    size_t length = strlen(directory);
    if (n <= (ssize_t)length || strncmp(path, directory, length) != 0 || path[length] != '/')
        return 0;
    int rules = open(how, O_RDONLY | O_CLOEXEC);
    n = rules >= 0 ? read(rules, text, sizeof text - 1) : 0;
    if (rules >= 0)
        close(rules);
    text[n > 0 ? n : 0] = '\0';
    length = strlen(kind);
    return strncmp(text, kind, length) == 0 && text[length] == ' ' ? atoi(text + length) : 0;
}

static void stall(int fd)
{
    int ms = what_of(fd, "stall");
    if (ms == 0 || truncate(getenv("CTE_TEST_BAD_HOW"), 0) != 0)
        return;
    struct timespec rest = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR)
        ;
}

static bool fails(int fd, const char *kind)
{
    int error = what_of(fd, kind);
    if (error != 0)
        errno = error;
    return error != 0;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    stall(fd);
    return fails(fd, "write") ? -1 : syscall(SYS_pwrite64, fd, bytes, length, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
    return pwrite(fd, bytes, length, offset);
}

int fdatasync(int fd)
{
    return fails(fd, "sync") ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return fails(fd, "sync") ? -1 : (int)syscall(SYS_fsync, fd);
}
