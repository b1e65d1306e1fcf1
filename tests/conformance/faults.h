/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults between the backends and the system.  The linker sends the system calls of the executable
 * here first (--wrap); unless told otherwise they pass. */
#ifndef CTE_TESTS_CONFORMANCE_FAULTS_H
#define CTE_TESTS_CONFORMANCE_FAULTS_H

#include <stdbool.h>

/* Instead of an error: the process is killed before the call. */
enum { FAULT_KILL = -1 };

/* Lets the nth system call from now fail with `error`, once.  0 lets all pass. */
void faults_fail_nth(int n, int error);

/* Has the fault been met? */
bool faults_fired(void);

/* Of `period` reads and writes one is interrupted and another one moves only a part; 0: none. */
void faults_disturb_io(int period);

/* Transfers disturbed so far. */
int faults_disturbed(void);

/* For wrappers: shall this call fail (errno says how) or be killed?  Shall this transfer be
 * disturbed, and how? */
enum disturbance { LET_PASS, INTERRUPT, CUT };
bool faults_strike(void);
enum disturbance faults_next_disturbance(void);

/* Lets every madvise fail with `error`; 0: none. */
void faults_refuse_advice(int error);

/* Calls refused since. */
int faults_advice_refused(void);

#endif
