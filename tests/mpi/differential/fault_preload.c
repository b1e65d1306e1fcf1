/* SPDX-License-Identifier: BSD-3-Clause */
/* A preload that is wrong on purpose, as CTE_TEST_FAULT says: the comparison must notice. */
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

static int fault_is(const char *name)
{
    const char *fault = getenv("CTE_TEST_FAULT");
    return fault && strcmp(fault, name) == 0;
}

/* Only plain bytes are tampered with: their buffer is easy to copy and to find one's way in. */
static int plain_bytes(int count, MPI_Datatype type)
{
    return type == MPI_BYTE && count > 1;
}

static int write_corrupted(MPI_File file, MPI_Offset offset, const void *buffer, int count,
                           MPI_Status *status)
{
    char *copy = malloc((size_t)count);
    if (!copy)
        return MPI_ERR_NO_MEM;
    memcpy(copy, buffer, (size_t)count);
    copy[count / 2] ^= 1;
    int error = PMPI_File_write_at(file, offset, copy, count, MPI_BYTE, status);
    free(copy);
    return error;
}

int MPI_File_write_at(MPI_File fh, MPI_Offset offset, const void *buf, int count,
                      MPI_Datatype datatype, MPI_Status *status)
{
    if (fault_is("corrupt") && plain_bytes(count, datatype))
        return write_corrupted(fh, offset, buf, count, status);
    int error = PMPI_File_write_at(fh, offset, buf, count, datatype, status);
    if (fault_is("count") && status != MPI_STATUS_IGNORE && error == MPI_SUCCESS)
        PMPI_Status_set_elements(status, MPI_BYTE, 0);
    return error;
}

/* A transfer of less than whole etypes would be refused, and the other ranks wait for ever. */
static int etype_is_byte(MPI_File file)
{
    MPI_Offset disp;
    MPI_Datatype etype, filetype;
    char rep[MPI_MAX_DATAREP_STRING];
    if (PMPI_File_get_view(file, &disp, &etype, &filetype, rep) != MPI_SUCCESS)
        return 0;
    int combiner, unused[3];
    PMPI_Type_get_envelope(filetype, &unused[0], &unused[1], &unused[2], &combiner);
    if (combiner != MPI_COMBINER_NAMED)
        PMPI_Type_free(&filetype);
    return etype == MPI_BYTE;
}

int MPI_File_write_at_all(MPI_File fh, MPI_Offset offset, const void *buf, int count,
                          MPI_Datatype datatype, MPI_Status *status)
{
    int less = fault_is("lost-tail") && plain_bytes(count, datatype) && etype_is_byte(fh);
    int error = PMPI_File_write_at_all(fh, offset, buf, count - less, datatype, status);
    if (less && status != MPI_STATUS_IGNORE)
        PMPI_Status_set_elements(status, datatype, count);
    return error;
}

int MPI_File_read(MPI_File fh, void *buf, int count, MPI_Datatype datatype, MPI_Status *status)
{
    int error = PMPI_File_read(fh, buf, count, datatype, status);
    if (fault_is("clobber") && plain_bytes(count, datatype))
        ((char *)buf)[count] ^= 1; /* in the guard behind the buffer */
    return error;
}

int MPI_File_read_at(MPI_File fh, MPI_Offset offset, void *buf, int count, MPI_Datatype datatype,
                     MPI_Status *status)
{
    int less = fault_is("short-read") && plain_bytes(count, datatype);
    return PMPI_File_read_at(fh, offset, buf, count - less, datatype, status);
}

int MPI_File_set_view(MPI_File fh, MPI_Offset disp, MPI_Datatype etype, MPI_Datatype filetype,
                      const char *datarep, MPI_Info info)
{
    if (fault_is("view"))
        filetype = etype; /* the holes are forgotten */
    return PMPI_File_set_view(fh, disp, etype, filetype, datarep, info);
}

int MPI_File_get_size(MPI_File fh, MPI_Offset *size)
{
    int error = PMPI_File_get_size(fh, size);
    *size += fault_is("size");
    return error;
}

int MPI_File_set_size(MPI_File fh, MPI_Offset size)
{
    return fault_is("set-size") ? PMPI_File_sync(fh) : PMPI_File_set_size(fh, size);
}

int MPI_File_get_position(MPI_File fh, MPI_Offset *offset)
{
    int error = PMPI_File_get_position(fh, offset);
    *offset += fault_is("position");
    return error;
}

int MPI_File_seek(MPI_File fh, MPI_Offset offset, int whence)
{
    int error = PMPI_File_seek(fh, offset, whence);
    return fault_is("class") && error != MPI_SUCCESS ? MPI_ERR_OTHER : error;
}

int MPI_File_open(MPI_Comm comm, const char *filename, int amode, MPI_Info info, MPI_File *fh)
{
    int error = PMPI_File_open(comm, filename, amode, info, fh);
    if (error == MPI_SUCCESS && fault_is("truncate") && (amode & MPI_MODE_CREATE) &&
        !(amode & MPI_MODE_RDONLY))
        PMPI_File_set_size(*fh, 0);
    return error;
}

int MPI_File_close(MPI_File *fh)
{
    if (fault_is("crash"))
        abort();
    return PMPI_File_close(fh);
}
