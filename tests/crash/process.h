/* SPDX-License-Identifier: BSD-3-Clause */
/* Processes of a crash test. */
#ifndef CTE_TESTS_CRASH_PROCESS_H
#define CTE_TESTS_CRASH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Runs `tests` in a child, with a directory of its own as $TMPDIR that is removed however the child
 * ends.  A child that hangs is killed after `seconds`.  Returns the exit status of the program. */
int process_guard(int (*tests)(void), unsigned seconds);

/* Forks; the child dies with its parent, runs body(context) and exits with what that returns. */
pid_t process_start(int (*body)(void *context), void *context);

enum process_end { PROCESS_EXITED, PROCESS_KILLED };

/* Waits.  Any end but exit(0) and SIGKILL fails the test. */
enum process_end process_wait(pid_t pid);

/* start and wait. */
enum process_end process_run(int (*body)(void *context), void *context);

/* Kills this process after so many nanoseconds, between any two instructions. */
void process_die_in(uint64_t ns);

#endif
