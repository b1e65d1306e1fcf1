/* SPDX-License-Identifier: BSD-3-Clause */
/* Views, datatypes, pointers: where bytes go. */
#include "program.h"

#include <stdlib.h>
#include <string.h>

enum { CREATE = MPI_MODE_RDWR | MPI_MODE_CREATE };

static void commit(MPI_Datatype *type)
{
    MPI_Type_commit(type);
}

/* IOR's hard pattern: records of 47008 bytes, ranks taking turns. */
static void strided(void)
{
    enum { RECORD = 47008, RECORDS = 40 };
    char *data = malloc(RECORD);
    MPI_Status status;
    MPI_File f = open_file("strided", CREATE);
    for (int i = 0; i < RECORDS; i++) {
        fill(data, RECORD, (unsigned)i);
        int code = MPI_File_write_at(f, (MPI_Offset)(i * ranks + rank) * RECORD, data, RECORD,
                                     MPI_BYTE, &status);
        if (i == 0)
            say_status("write_at", code, &status, MPI_BYTE);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    for (int i = 0; i < RECORDS; i++) {
        int peer = (rank + 1) % ranks;
        MPI_File_read_at(f, (MPI_Offset)(i * ranks + peer) * RECORD, data, RECORD, MPI_BYTE,
                         &status);
        say_bytes("read_at", data, RECORD);
    }
    MPI_File_close(&f);
    free(data);
}

/* Rank's columns of a matrix as a view; memory in every other int. */
static void vector_view(void)
{
    enum { ROWS = 50, COLUMNS = 3, INTS = ROWS * COLUMNS };
    int memory[2 * INTS], back[2 * INTS];
    MPI_Datatype columns, spaced;
    MPI_Status status;
    fill(memory, sizeof memory, 1);
    MPI_Type_vector(ROWS, COLUMNS, COLUMNS * ranks, MPI_INT, &columns);
    MPI_Type_create_resized(MPI_INT, 0, 2 * sizeof(int), &spaced);
    commit(&columns);
    commit(&spaced);
    MPI_File f = open_file("vector", CREATE);
    say_code("set_view", MPI_File_set_view(f, 64 + rank * COLUMNS * (MPI_Offset)sizeof(int),
                                           MPI_INT, columns, "native", MPI_INFO_NULL));
    int code = MPI_File_write_all(f, memory, INTS, spaced, &status);
    say_status("write_all", code, &status, spaced);
    /* The second half goes on where the first ended, in the filetype's next repetition. */
    code = MPI_File_write(f, memory, INTS / 2, MPI_INT, &status);
    say_status("write", code, &status, MPI_INT);
    MPI_Offset position, bytes;
    MPI_File_get_position(f, &position);
    MPI_File_get_byte_offset(f, position, &bytes);
    say("position %lld at byte %lld\n", (long long)position, (long long)bytes);
    MPI_File_sync(f);
    MPI_Barrier(MPI_COMM_WORLD);
    memset(back, 0x55, sizeof back);
    code = MPI_File_read_at_all(f, 7, back, INTS - 7, spaced, &status);
    say_status("read_at_all", code, &status, spaced);
    say_bytes("data", back, sizeof back);
    MPI_File_seek(f, -10, MPI_SEEK_END);
    MPI_File_get_position(f, &position);
    say("ten before the end: %lld\n", (long long)position);
    MPI_File_set_view(f, 0, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL);
    MPI_File_get_size(f, &bytes);
    say("size %lld\n", (long long)bytes);
    MPI_File_close(&f);
    MPI_Type_free(&columns);
    MPI_Type_free(&spaced);
}

/* A distributed 2-d array written and a transposed distribution read. */
static void darray_view(void)
{
    enum { SIDE = 30 };
    int sizes[] = {SIDE, SIDE}, grid[] = {0, 0};
    int kinds[] = {MPI_DISTRIBUTE_BLOCK, MPI_DISTRIBUTE_CYCLIC};
    int arguments[] = {MPI_DISTRIBUTE_DFLT_DARG, 4};
    double data[SIDE * SIDE];
    MPI_Datatype mine, other;
    MPI_Status status;
    int bytes;
    MPI_Dims_create(ranks, 2, grid);
    MPI_Type_create_darray(ranks, rank, 2, sizes, kinds, arguments, grid, MPI_ORDER_C, MPI_DOUBLE,
                           &mine);
    MPI_Type_create_darray(ranks, ranks - 1 - rank, 2, sizes, kinds, arguments, grid,
                           MPI_ORDER_FORTRAN, MPI_DOUBLE, &other);
    commit(&mine);
    commit(&other);
    fill(data, sizeof data, 2);
    MPI_Type_size(mine, &bytes);
    MPI_File f = open_file("darray", CREATE);
    MPI_File_set_view(f, 100, MPI_DOUBLE, mine, "native", MPI_INFO_NULL);
    int code = MPI_File_write_all(f, data, bytes / (int)sizeof(double), MPI_DOUBLE, &status);
    say_status("write_all", code, &status, MPI_DOUBLE);
    MPI_Type_size(other, &bytes);
    memset(data, 0, sizeof data);
    MPI_File_set_view(f, 100, MPI_DOUBLE, other, "native", MPI_INFO_NULL);
    code = MPI_File_read_all(f, data, bytes / (int)sizeof(double), MPI_DOUBLE, &status);
    say_status("read_all", code, &status, MPI_DOUBLE);
    say_bytes("data", data, sizeof data);
    MPI_File_close(&f);
    MPI_Type_free(&mine);
    MPI_Type_free(&other);
}

/* What parallel HDF5 does: a byte view by displacement, memory types with negative displacements.
 */
static void hindexed_memory(void)
{
    char data[4096], back[4096];
    int lengths[] = {100, 0, 57, 3};
    MPI_Aint places[] = {-1000, 5, 900, 1500};
    MPI_Datatype memory, file_type, pair;
    MPI_Status status;
    MPI_Type_create_hindexed(4, lengths, places, MPI_BYTE, &memory);
    MPI_Type_create_hindexed_block(2, 80, (MPI_Aint[]){0, 80 + 80 * ranks}, MPI_BYTE, &file_type);
    MPI_Type_create_struct(2, (int[]){1, 1}, (MPI_Aint[]){0, 8},
                           (MPI_Datatype[]){MPI_DOUBLE, MPI_SHORT}, &pair);
    commit(&memory);
    commit(&file_type);
    commit(&pair);
    fill(data, sizeof data, 3);
    MPI_File f = open_file("hindexed", CREATE);
    /* No gap is left to data sieving, which fills those of a new file with whatever was in its
     * buffer. */
    if (rank == 0)
        MPI_File_write_at(f, 0, data, sizeof data, MPI_BYTE, &status);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_set_view(f, 10 + 80 * rank, MPI_BYTE, file_type, "native", MPI_INFO_NULL);
    int code = MPI_File_write_at_all(f, 0, data + 2000, 1, memory, &status);
    say_status("write_at_all", code, &status, MPI_BYTE);
    MPI_File_set_view(f, 0, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL);
    MPI_File_write_at_all(f, 5000 + rank * 100, data, 10, pair, &status);
    say_status("write_at_all of structs", MPI_SUCCESS, &status, pair);
    memset(back, 0, sizeof back);
    MPI_File_set_view(f, 10 + 80 * rank, MPI_BYTE, file_type, "native", MPI_INFO_NULL);
    code = MPI_File_read_at_all(f, 0, back + 2000, 1, memory, &status);
    say_status("read_at_all", code, &status, MPI_BYTE);
    say_bytes("data", back, sizeof back);
    /* Nothing to do for some: they take part all the same. */
    code = MPI_File_write_at_all(f, 300, data, rank % 2 ? 0 : 40, MPI_BYTE, &status);
    say_status("write_at_all, some nothing", code, &status, MPI_BYTE);
    MPI_File_close(&f);
    MPI_Type_free(&memory);
    MPI_Type_free(&file_type);
    MPI_Type_free(&pair);
}

/* Large-count calls, a resized filetype. */
static void large_count(void)
{
    enum { INTS = 500 };
    int data[INTS], back[INTS];
    MPI_Datatype comb, inner;
    MPI_Status status;
    fill(data, sizeof data, 4);
    MPI_Type_vector(5, 1, 2, MPI_INT, &inner);
    MPI_Type_create_resized(inner, 0, 40 * ranks, &comb);
    commit(&comb);
    MPI_File f = open_file("large", CREATE);
    /* No gap is left to data sieving. */
    char *zeros = calloc(INTS * 10, (size_t)ranks);
    MPI_File_write_at_all_c(f, 0, zeros, INTS * 10 * ranks, MPI_BYTE, &status);
    free(zeros);
    MPI_File_set_view(f, 8 + 40 * rank, MPI_INT, comb, "native", MPI_INFO_NULL);
    int code = MPI_File_write_at_all_c(f, 3, data, INTS, MPI_INT, &status);
    say_status("write_at_all_c", code, &status, MPI_INT);
    MPI_File_sync(f);
    memset(back, 0, sizeof back);
    MPI_File_seek(f, 3, MPI_SEEK_SET);
    code = MPI_File_read_c(f, back, INTS, MPI_INT, &status);
    say_status("read_c", code, &status, MPI_INT);
    say("same %d\n", memcmp(data, back, sizeof data) == 0);
    MPI_File_close(&f);
    MPI_Type_free(&inner);
    MPI_Type_free(&comb);
}

/* MPI_BOTTOM and memory types of large-count constructors, which MPICH's own MPI-IO does not take;
 * run with the adapter only. */
static void large_types(void)
{
    enum { INTS = 500 };
    int data[INTS], back[2 * INTS];
    MPI_Aint where;
    MPI_Datatype comb, absolute;
    MPI_Status status;
    int wrong = 0;
    MPI_Type_vector_c(INTS, 1, 2, MPI_INT, &comb);
    commit(&comb);
    fill(data, sizeof data, 4);
    MPI_File f = open_file("large", CREATE);
    MPI_Get_address(data, &where);
    MPI_Type_create_hindexed_c(1, (MPI_Count[]){INTS}, (MPI_Count[]){where}, MPI_INT, &absolute);
    commit(&absolute);
    MPI_File_write_at_all(f, rank * (MPI_Offset)sizeof data, MPI_BOTTOM, 1, absolute, &status);
    MPI_File_read_at_all(f, rank * (MPI_Offset)sizeof data, back, 1, comb, &status);
    for (int i = 0; i < INTS; i++)
        wrong += back[2 * i] != data[i];
    if (wrong)
        MPI_Abort(MPI_COMM_WORLD, 4);
    MPI_File_close(&f);
    MPI_Type_free(&comb);
    MPI_Type_free(&absolute);
}

/* Views without data, of some ranks or of all, and what MPICH makes of accesses to them. */
static void empty_views(void)
{
    enum { BYTES = 24 };
    static char data[2 << 20], back[BYTES];
    MPI_Datatype nothing, no_blocks, none, types[3];
    MPI_Request r;
    MPI_Status status;
    MPI_Offset position;
    MPI_Type_contiguous(0, MPI_INT, &nothing);
    MPI_Type_vector(0, 1, 2, MPI_INT, &no_blocks);
    MPI_Type_create_resized(nothing, 0, 64, &none);
    commit(&nothing);
    commit(&no_blocks);
    commit(&none);
    types[0] = nothing;
    types[1] = no_blocks;
    types[2] = none;
    fill(data, sizeof data, 11);
    for (int i = 0; i < 3; i++) {
        MPI_File f = open_file("empty", CREATE);
        MPI_File_set_view(f, 8, MPI_INT, rank == 0 ? MPI_INT : types[i], "native", MPI_INFO_NULL);
        int mine = rank == 0 ? BYTES / 4 : 0;
        say_status("write_all", MPI_File_write_all(f, data, mine, MPI_INT, &status), &status,
                   MPI_INT);
        say_status("read_at_all", MPI_File_read_at_all(f, 0, back, mine, MPI_INT, &status), &status,
                   MPI_INT);
        MPI_File_get_position(f, &position);
        say("position %lld\n", (long long)position);
        MPI_Barrier(MPI_COMM_WORLD);
        say_code("seek", MPI_File_seek(f, 3, MPI_SEEK_SET));
        say_code("seek", MPI_File_seek(f, -1, MPI_SEEK_CUR));
        MPI_File_get_position(f, &position);
        say("position %lld\n", (long long)position);
        MPI_Barrier(MPI_COMM_WORLD);
        if (rank == 1) {
            say_code("seek", MPI_File_seek(f, 0, MPI_SEEK_END));
            MPI_File_get_position(f, &position);
            say("position %lld\n", (long long)position);
            say_status("write_at", MPI_File_write_at(f, 50, data, 2, MPI_INT, &status), &status,
                       MPI_INT);
            say_status("read_at", MPI_File_read_at(f, 50, back, 2, MPI_INT, &status), &status,
                       MPI_INT);
            say_code("iwrite_at",
                     MPI_File_iwrite_at(f, 100, data, (int)sizeof data / 4, MPI_INT, &r));
            MPI_Wait(&r, &status);
        }
        MPI_Barrier(MPI_COMM_WORLD);
        MPI_File_close(&f);
        MPI_Type_free(&types[i]);
    }
}

/* An etype without bytes is taken, but nothing can be accessed; run with the adapter only, since
 * MPICH divides by its size. */
static void empty_etype(void)
{
    char byte = 'x';
    MPI_Datatype nothing, own;
    MPI_Offset position;
    MPI_Status status;
    MPI_Request r;
    MPI_Type_contiguous(0, MPI_INT, &nothing);
    MPI_Type_contiguous(1, MPI_BYTE, &own);
    commit(&nothing);
    commit(&own);
    MPI_File f = open_file("etype", CREATE);
    int wrong = 0, class = 0;
    for (int i = 0; i < 2; i++) {
        wrong += MPI_File_set_view(f, 0, nothing, i ? nothing : MPI_BYTE, "native",
                                   MPI_INFO_NULL) != MPI_SUCCESS;
        int codes[] = {MPI_File_write_at_all(f, 0, &byte, 1, MPI_BYTE, &status),
                       MPI_File_write(f, &byte, 1, own, &status),
                       MPI_File_read_ordered(f, &byte, 1, MPI_BYTE, &status),
                       MPI_File_iwrite_at(f, 0, &byte, 1, own, &r)};
        for (int j = 0; j < 4; j++) {
            MPI_Error_class(codes[j], &class);
            wrong += class != MPI_ERR_ARG;
        }
        wrong += MPI_File_write_all(f, &byte, 0, own, &status) != MPI_SUCCESS;
        wrong += MPI_File_write_shared(f, &byte, 0, MPI_BYTE, &status) != MPI_SUCCESS;
        wrong += MPI_File_seek(f, 0, MPI_SEEK_END) != MPI_SUCCESS;
        wrong += MPI_File_get_position(f, &position) != MPI_SUCCESS || position != 0;
    }
    wrong += MPI_File_get_size(f, &position) != MPI_SUCCESS || position != 0;
    if (wrong)
        MPI_Abort(MPI_COMM_WORLD, 4);
    MPI_File_close(&f);
}

/* Reads across and beyond the end of the file. */
static void end_of_file(void)
{
    enum { SIZE = 1001 };
    char data[4096];
    MPI_Datatype spaced, comb, four;
    MPI_Status status;
    MPI_Offset position;
    int code;
    MPI_Type_create_resized(MPI_INT, 0, 8, &spaced);
    MPI_Type_vector(100, 1, 2, MPI_INT, &comb);
    MPI_Type_contiguous(4, MPI_INT, &four);
    commit(&spaced);
    commit(&comb);
    commit(&four);
    MPI_File f = open_file("end", CREATE);
    fill(data, SIZE, 5);
    if (rank == 0)
        MPI_File_write_at(f, 0, data, SIZE, MPI_BYTE, &status);
    MPI_Barrier(MPI_COMM_WORLD);
    memset(data, 0, sizeof data);
    code = MPI_File_read_at(f, 900, data, 400, MPI_BYTE, &status);
    say_status("across", code, &status, MPI_BYTE);
    say_bytes("data", data, 101);
    code = MPI_File_read_at(f, 2000, data, 400, MPI_BYTE, &status);
    say_status("beyond", code, &status, MPI_BYTE);
    code = MPI_File_read_at(f, 990, data, 4, four, &status);
    say_status("part of an element", code, &status, four);
    code = MPI_File_read(f, data, 1400, MPI_BYTE, &status);
    say_status("at the pointer", code, &status, MPI_BYTE);
    MPI_File_get_position(f, &position);
    say("position %lld\n", (long long)position);
    code = MPI_File_read_at(f, 800, data, 100, spaced, &status);
    say_status("memory with gaps", code, &status, spaced);
    code = MPI_File_read_at_all(f, 600 + 300 * rank, data, 300, MPI_BYTE, &status);
    say_status("collective, apart", code, &status, MPI_BYTE);
    MPI_File_set_view(f, 5, MPI_INT, comb, "native", MPI_INFO_NULL);
    code = MPI_File_read_at(f, 90, data, 40, MPI_INT, &status);
    say_status("view with gaps", code, &status, MPI_INT);
    code = MPI_File_read(f, data, 400, MPI_INT, &status);
    MPI_File_get_position(f, &position);
    say("position %lld\n", (long long)position);
    MPI_File_seek(f, 0, MPI_SEEK_END);
    MPI_File_get_position(f, &position);
    say("end %lld\n", (long long)position);
    MPI_File_close(&f);
    MPI_Type_free(&spaced);
    MPI_Type_free(&comb);
    MPI_Type_free(&four);
}

/* A written byte is every rank's after a mere barrier. */
static void visibility(void)
{
    int token = 0;
    MPI_Status status;
    MPI_File f = open_file("visibility", CREATE);
    for (int round = 0; round < 50; round++) {
        int writer = round % ranks;
        int value = round * 1000 + writer;
        if (rank == writer)
            MPI_File_write_at(f, round % 3 * 4, &value, 1, MPI_INT, &status);
        MPI_Barrier(MPI_COMM_WORLD);
        MPI_File_read_at(f, round % 3 * 4, &token, 1, MPI_INT, &status);
        if (token != value)
            say("round %d: saw %d\n", round, token);
        MPI_Barrier(MPI_COMM_WORLD);
    }
    MPI_File_close(&f);
}

const struct program access_programs[] = {{"strided", strided},
                                          {"vector_view", vector_view},
                                          {"darray_view", darray_view},
                                          {"hindexed_memory", hindexed_memory},
                                          {"large_count", large_count},
                                          {"large_types", large_types},
                                          {"end_of_file", end_of_file},
                                          {"empty_views", empty_views},
                                          {"empty_etype", empty_etype},
                                          {"visibility", visibility},
                                          {NULL, NULL}};
