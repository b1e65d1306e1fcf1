/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes or reads a file by MPI-IO, each rank its blocks.
 *
 *   staged_mpiio write|read FILE */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 300000, BLOCKS = 20 }; /* of a rank */

static void fill(unsigned char *bytes, int block)
{
    for (int i = 0; i < BLOCK; i++)
        bytes[i] = (unsigned char)(block * 31 + i * 7 + i / 251);
}

int main(int argc, char **argv)
{
    int rank, size, bad = 0;
    MPI_File file;
    unsigned char *expected = malloc(BLOCK), *bytes = malloc(BLOCK);
    MPI_Init(&argc, &argv);
    if (argc != 3 || !expected || !bytes)
        MPI_Abort(MPI_COMM_WORLD, 2);
    int write = strcmp(argv[1], "write") == 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (MPI_File_open(MPI_COMM_WORLD, argv[2],
                      write ? MPI_MODE_CREATE | MPI_MODE_WRONLY : MPI_MODE_RDONLY, MPI_INFO_NULL,
                      &file) != MPI_SUCCESS)
        MPI_Abort(MPI_COMM_WORLD, 2);
    for (int i = 0; i < BLOCKS; i++) {
        int block = i * size + rank, count = 0;
        MPI_Status status;
        fill(expected, block);
        if (write) {
            MPI_File_write_at_all(file, (MPI_Offset)block * BLOCK, expected, BLOCK, MPI_BYTE,
                                  &status);
            continue;
        }
        MPI_File_read_at_all(file, (MPI_Offset)block * BLOCK, bytes, BLOCK, MPI_BYTE, &status);
        MPI_Get_count(&status, MPI_BYTE, &count);
        bad += count != BLOCK || memcmp(bytes, expected, BLOCK) != 0;
    }
    MPI_File_close(&file);
    if (bad > 0)
        fprintf(stderr, "rank %d: %d blocks are wrong\n", rank, bad);
    MPI_Finalize();
    return bad > 0;
}
