/* SPDX-License-Identifier: BSD-3-Clause */
/* Points where a process can be made to die, or a call to fail.  The linker sends the calls of the
 * executable here first (--wrap); unless told otherwise they pass. */
#ifndef CTE_TESTS_CRASH_POINTS_H
#define CTE_TESTS_CRASH_POINTS_H

#include <stdbool.h>

/* Kinds of calls, to be combined. */
enum {
    POINT_MEMORY = 1 << 0, /* malloc, calloc, realloc, posix_memalign */
    POINT_READ = 1 << 1,
    POINT_WRITE = 1 << 2,
    POINT_SPACE = 1 << 3,  /* fallocate, ftruncate, mmap */
    POINT_LOCK = 1 << 4,   /* taking and giving back of mutexes */
    POINT_NAME = 1 << 5,   /* open, unlink, mkdir, … */
    POINT_CLOCK = 1 << 6,  /* read between the steps that publish */
    POINT_APPEND = 1 << 7, /* write */
    POINT_SYNC = 1 << 8,
    POINT_ANY = (1 << 9) - 1
};

/* Kills the process before the nth call of these kinds. */
void points_kill_at(int kinds, long nth);

/* Lets the nth call of these kinds fail with `error`, once. */
void points_fail_at(int kinds, long nth, int error);

/* Lets every call pass again; returns the calls of these kinds since the last order. */
long points_disarm(void);

/* Has the nth call been met? */
bool points_fired(void);

#endif
