/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the test programs share: plain MPI-IO programs, each run with and without the adapter, whose
 * output and files must be the same.
 */
#ifndef CTE_TESTS_MPI_ADAPTER_PROGRAM_H
#define CTE_TESTS_MPI_ADAPTER_PROGRAM_H

#include <mpi.h>
#include <stddef.h>

extern int rank, ranks;

/* Adds to this rank's output; said() prints all ranks' in rank order.  Collective. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void said(void);

/* Says a call's error class and, for what counts bytes, the status. */
void say_code(const char *what, int code);
void say_status(const char *what, int code, const MPI_Status *status, MPI_Datatype type);
void say_bytes(const char *what, const void *data, size_t bytes);

/* Fills with bytes that tell rank and salt. */
void fill(void *data, size_t bytes, unsigned salt);

MPI_File open_file(const char *name, int amode);

struct program {
    const char *name;
    void (*run)(void);
};
extern const struct program access_programs[], call_programs[], edge_programs[], later_programs[],
    hint_programs[];

#endif
