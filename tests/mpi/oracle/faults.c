/* SPDX-License-Identifier: BSD-3-Clause */
/* A preload that breaks what is promised, as CTE_TEST_FAULT says: the oracle must notice. */
#include <mpi.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { SELDOM = 97 };

static int calls;

static int fault_is(const char *name)
{
    const char *fault = getenv("CTE_TEST_FAULT");
    return fault && strcmp(fault, name) == 0;
}

static int is_atomic(MPI_File file)
{
    int atomic = 0;
    PMPI_File_get_atomicity(file, &atomic);
    return atomic;
}

/* A write that returned but that nobody else sees yet. */
static struct {
    MPI_File file;
    MPI_Offset offset;
    char *data;
    int count;
} late;

static void write_late(void)
{
    if (!late.data)
        return;
    PMPI_File_write_at(late.file, late.offset, late.data, late.count, MPI_BYTE, MPI_STATUS_IGNORE);
    free(late.data);
    late.data = NULL;
}

static int delay(MPI_File file, MPI_Offset offset, const void *data, int count, MPI_Status *status)
{
    late.data = malloc((size_t)count);
    if (!late.data)
        return MPI_ERR_NO_MEM;
    memcpy(late.data, data, (size_t)count);
    late.file = file;
    late.offset = offset;
    late.count = count;
    PMPI_Status_set_elements(status, MPI_BYTE, count);
    return MPI_SUCCESS;
}

int MPI_File_write_at(MPI_File fh, MPI_Offset offset, const void *buf, int count,
                      MPI_Datatype datatype, MPI_Status *status)
{
    const char *bytes = buf;
    int half = count / 2;
    write_late();
    calls += count > 0;
    if (fault_is("lose") && count > 0 && calls % SELDOM == 0)
        return PMPI_Status_set_elements(status, datatype, count);
    if (fault_is("delay") && count > 0)
        return delay(fh, offset, buf, count, status);
    if (fault_is("tear") && half > 0 && is_atomic(fh)) {
        PMPI_File_write_at(fh, offset, bytes, half, datatype, status);
        sched_yield();
        PMPI_File_write_at(fh, offset + half, bytes + half, count - half, datatype, status);
        return PMPI_Status_set_elements(status, datatype, count);
    }
    return PMPI_File_write_at(fh, offset, buf, count, datatype, status);
}

int MPI_File_read_at(MPI_File fh, MPI_Offset offset, void *buf, int count, MPI_Datatype datatype,
                     MPI_Status *status)
{
    write_late();
    return PMPI_File_read_at(fh, offset, buf, count, datatype, status);
}

int MPI_File_get_size(MPI_File fh, MPI_Offset *size)
{
    int error = PMPI_File_get_size(fh, size);
    write_late();
    *size -= fault_is("size") && *size > 0;
    return error;
}

int MPI_File_set_size(MPI_File fh, MPI_Offset size)
{
    write_late();
    return fault_is("grow-only") ? PMPI_File_preallocate(fh, size) : PMPI_File_set_size(fh, size);
}

int MPI_Barrier(MPI_Comm comm)
{
    write_late();
    return PMPI_Barrier(comm);
}

int MPI_File_close(MPI_File *fh)
{
    write_late();
    return PMPI_File_close(fh);
}
