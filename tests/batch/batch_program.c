/* SPDX-License-Identifier: BSD-3-Clause */
/* The program of a batch job: each rank writes its part of a file by MPI-IO.
 *
 *   batch_program FILE ok     closes it
 *   batch_program FILE fail   closes it, and ends with status 3
 *   batch_program FILE die    rank 0 dies by SIGKILL with the file open, when all have written
 *   batch_program FILE vanish all ranks die so, the directory having been renamed DIRECTORY.away
 *   batch_program FILE hang   says so in FILE.hangs, and waits to be ended with the file open
 *
 * The contents of rank r are BYTES of the letter 'a' + r. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <mpi.h>

enum { BYTES = 100000, PATH_BYTES = 4096 };

/* Nobody is left who has the file open, and its path leads nowhere. */
static void vanish(const char *path, int rank)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    int length = (int)(strrchr(path, '/') - path);
    snprintf(from, sizeof from, "%.*s", length, path);
    snprintf(to, sizeof to, "%.*s.away", length, path);
    if (rank == 0 && rename(from, to) != 0)
        MPI_Abort(MPI_COMM_WORLD, 6);
    MPI_Barrier(MPI_COMM_WORLD);
    raise(SIGKILL);
}

static void hang(const char *path, int rank)
{
    char name[PATH_BYTES];
    snprintf(name, sizeof name, "%s.hangs", path);
    FILE *file = rank == 0 ? fopen(name, "w") : NULL;
    if (file)
        fclose(file);
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    static char bytes[BYTES];
    int rank;
    MPI_File file;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (argc != 3)
        MPI_Abort(MPI_COMM_WORLD, 2);
    memset(bytes, 'a' + rank, sizeof bytes);
    if (MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL,
                      &file) != MPI_SUCCESS ||
        MPI_File_write_at(file, (MPI_Offset)rank * BYTES, bytes, BYTES, MPI_BYTE,
                          MPI_STATUS_IGNORE) != MPI_SUCCESS)
        MPI_Abort(MPI_COMM_WORLD, 4);
    MPI_Barrier(MPI_COMM_WORLD);
    if (strcmp(argv[2], "die") == 0 && rank == 0)
        raise(SIGKILL);
    if (strcmp(argv[2], "vanish") == 0)
        vanish(argv[1], rank);
    if (strcmp(argv[2], "hang") == 0)
        hang(argv[1], rank);
    int closed = MPI_File_close(&file);
    MPI_Finalize();
    return closed != MPI_SUCCESS ? 5 : strcmp(argv[2], "fail") == 0 ? 3 : 0;
}
