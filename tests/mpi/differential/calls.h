/* SPDX-License-Identifier: BSD-3-Clause */
/* Any MPI-IO data transfer as data: one of the 60 read and write calls. */
#ifndef CTE_TEST_CALLS_H
#define CTE_TEST_CALLS_H

#include <mpi.h>
#include <stdbool.h>

enum pointer_kind { AT, INDIVIDUAL, SHARED }; /* collective and SHARED: ordered mode */
enum call_mode { BLOCKING, NONBLOCKING, SPLIT };

struct call {
    bool write;
    bool collective;
    bool large; /* the _c variant */
    bool ignore_status;
    enum pointer_kind pointer;
    enum call_mode mode;

    MPI_File file;
    MPI_Offset offset;
    void *buffer;
    MPI_Count count;
    MPI_Datatype type;

    int error;
    MPI_Status status;
    MPI_Request request;
};

/* Without "MPI_File_"; `name` has room for 64 bytes. */
void call_name(const struct call *call, char *name);
/* Makes the call; a nonblocking or split one is pending then if `error` is MPI_SUCCESS. */
void call_start(struct call *call);
/* Completes pending calls; `how` chooses among the ways of MPI to do so. */
void calls_finish(struct call *calls, int count, unsigned how);

#endif
