/* SPDX-License-Identifier: BSD-3-Clause */
/* What an application does with its checkpoint: writes it, reads it back, closes it.  Says on
   stdout how each call ended. fault_program write|verify PATH MIB_PER_RANK */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 20 };

static int rank, ranks;

static void fill(uint64_t *words, int piece)
{
    for (uint64_t i = 0; i < PIECE / sizeof(*words); i++)
        words[i] = (i + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)piece << 32 ^ (uint64_t)rank;
}

/* One line for all ranks: the highest error class, so that the output does not depend on order. */
static int report(const char *call, int code)
{
    int class = MPI_SUCCESS, worst;
    if (code != MPI_SUCCESS)
        MPI_Error_class(code, &class);
    MPI_Allreduce(&class, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    if (rank == 0)
        printf("%s class=%d\n", call, worst);
    return worst;
}

/* The ranks' pieces alternate in the file. */
static MPI_Offset place(int piece)
{
    return ((MPI_Offset)piece * ranks + rank) * PIECE;
}

static int write_pieces(MPI_File file, int pieces, uint64_t *words)
{
    int error = MPI_SUCCESS;
    for (int i = 0; i < pieces && error == MPI_SUCCESS; i++) {
        MPI_Status status;
        int count = 0;
        fill(words, i);
        error = MPI_File_write_at(file, place(i), words, PIECE, MPI_BYTE, &status);
        if (error == MPI_SUCCESS)
            MPI_Get_count(&status, MPI_BYTE, &count);
        if (error == MPI_SUCCESS && count != PIECE)
            error = MPI_ERR_TRUNCATE;
    }
    return error;
}

static int verify_pieces(MPI_File file, int pieces, uint64_t *words)
{
    uint64_t *expected = malloc(PIECE);
    int error = expected ? MPI_SUCCESS : MPI_ERR_NO_MEM;
    for (int i = 0; i < pieces && error == MPI_SUCCESS; i++) {
        fill(expected, i);
        memset(words, 0, PIECE);
        error = MPI_File_read_at(file, place(i), words, PIECE, MPI_BYTE, MPI_STATUS_IGNORE);
        if (error == MPI_SUCCESS && memcmp(words, expected, PIECE) != 0)
            error = MPI_ERR_OTHER; /* wrong bytes */
    }
    free(expected);
    return error;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc != 4) {
        fprintf(stderr, "usage: fault_program write|verify PATH MIB_PER_RANK\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    int writes = strcmp(argv[1], "write") == 0, pieces = atoi(argv[3]);
    uint64_t *words = malloc(PIECE);
    if (!words)
        MPI_Abort(MPI_COMM_WORLD, 2);

    MPI_File file;
    int amode = writes ? MPI_MODE_CREATE | MPI_MODE_RDWR : MPI_MODE_RDONLY;
    int failed =
        report("open", MPI_File_open(MPI_COMM_WORLD, argv[2], amode, MPI_INFO_NULL, &file));
    if (!failed) {
        if (writes)
            failed |= report("write", write_pieces(file, pieces, words));
        MPI_Barrier(MPI_COMM_WORLD);
        if (!failed)
            failed |= report("verify", verify_pieces(file, pieces, words));
        failed |= report("close", MPI_File_close(&file));
    }
    free(words);
    MPI_Finalize();
    return failed ? 1 : 0;
}
