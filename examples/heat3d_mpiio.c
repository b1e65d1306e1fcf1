/* SPDX-License-Identifier: BSD-3-Clause */
/* The heat solver with checkpoints by MPI-IO.
 *
 *     mpiexec -n 4 heat3d_mpiio --grid 128,128,128 --directory /scratch/me
 *     mpiexec -n 4 heat3d_mpiio --restart /scratch/me/heat3d.000010.ckpt --steps 40
 *
 * Nothing here knows of cte: run it with LD_PRELOAD=libcte_mpiio.so to have it accelerated.
 *
 * File: a header of 4096 bytes, then the box as doubles, X slowest, in the machine's byte order.
 * Rank 0 writes the header; all ranks write their blocks in one collective call through a view. */
#include "heat3d.h"

#include <stdio.h>
#include <string.h>

struct header {
    char magic[8];
    int64_t grid[HEAT3D_DIMS];
    int64_t step;
    unsigned char reserved[4096 - 8 - 8 * (HEAT3D_DIMS + 1)];
};
_Static_assert(sizeof(struct header) == 4096, "the data starts on a page");

static const char MAGIC[8] = "heat3d 1";

/* The block of this rank in the box (the file's view), or inside its padded array (in memory). */
static MPI_Datatype block_type(const struct heat3d *heat, bool in_file)
{
    static const int INSIDE[HEAT3D_DIMS] = {1, 1, 1};
    MPI_Datatype type;
    heat3d_check_mpi(MPI_Type_create_subarray(
                         HEAT3D_DIMS, in_file ? heat->options.grid : heat->padded, heat->local,
                         in_file ? heat->start : INSIDE, MPI_ORDER_C, MPI_DOUBLE, &type),
                     "MPI_Type_create_subarray", NULL);
    heat3d_check_mpi(MPI_Type_commit(&type), "MPI_Type_commit", NULL);
    return type;
}

/* One collective transfer of all blocks. */
static void transfer(const struct heat3d *heat, MPI_File file, const char *path, bool write,
                     double *data)
{
    MPI_Datatype filetype = block_type(heat, true), memory = block_type(heat, false);
    MPI_Status status;
    int count = 0;
    heat3d_check_mpi(MPI_File_set_view(file, sizeof(struct header), MPI_DOUBLE, filetype, "native",
                                       MPI_INFO_NULL),
                     "MPI_File_set_view", path);
    if (write)
        heat3d_check_mpi(MPI_File_write_all(file, data, 1, memory, &status), "MPI_File_write_all",
                         path);
    else
        heat3d_check_mpi(MPI_File_read_all(file, data, 1, memory, &status), "MPI_File_read_all",
                         path);
    MPI_Get_count(&status, memory, &count);
    if (count != 1)
        heat3d_fail(write ? "short write" : "the file is too short", path);
    MPI_Type_free(&filetype);
    MPI_Type_free(&memory);
}

static void write_checkpoint(const struct heat3d *heat, const char *path)
{
    MPI_File file;
    heat3d_check_mpi(
        MPI_File_open(heat->comm, path, MPI_MODE_CREATE | MPI_MODE_WRONLY, MPI_INFO_NULL, &file),
        "MPI_File_open", path);
    heat3d_check_mpi(MPI_File_set_size(file, 0), "MPI_File_set_size", path);
    if (heat->rank == 0) {
        struct header header = {.step = heat->step};
        memcpy(header.magic, MAGIC, sizeof header.magic);
        for (int d = 0; d < HEAT3D_DIMS; d++)
            header.grid[d] = heat->options.grid[d];
        heat3d_check_mpi(
            MPI_File_write_at(file, 0, &header, sizeof header, MPI_BYTE, MPI_STATUS_IGNORE),
            "MPI_File_write_at", path);
    }
    transfer(heat, file, path, true, heat->field);
    heat3d_check_mpi(MPI_File_close(&file), "MPI_File_close", path);
}

static int read_checkpoint(const struct heat3d *heat, const char *path, double *into)
{
    MPI_File file;
    MPI_Status status;
    struct header header = {0};
    int bytes = 0;
    heat3d_check_mpi(MPI_File_open(heat->comm, path, MPI_MODE_RDONLY, MPI_INFO_NULL, &file),
                     "MPI_File_open", path);
    heat3d_check_mpi(MPI_File_read_at_all(file, 0, &header, sizeof header, MPI_BYTE, &status),
                     "MPI_File_read_at_all", path);
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    if (bytes != (int)sizeof header || memcmp(header.magic, MAGIC, sizeof header.magic) != 0)
        heat3d_fail("not a checkpoint of this program", path);
    for (int d = 0; d < HEAT3D_DIMS; d++)
        if (header.grid[d] != heat->options.grid[d])
            heat3d_fail("the checkpoint has another grid; give its size by --grid", path);
    transfer(heat, file, path, false, into);
    heat3d_check_mpi(MPI_File_close(&file), "MPI_File_close", path);
    return (int)header.step;
}

int main(int argc, char **argv)
{
    static const struct heat3d_io IO = {
        .program = "heat3d_mpiio",
        .suffix = ".ckpt",
        .write = write_checkpoint,
        .read = read_checkpoint,
    };
    return heat3d_main(argc, argv, &IO);
}
