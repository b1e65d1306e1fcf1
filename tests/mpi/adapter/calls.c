/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests, split collectives, shared pointers, sizes, modes, errors: every other call. */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CREATE = MPI_MODE_RDWR | MPI_MODE_CREATE, BYTES = 1000 };

static char data[BYTES], back[BYTES];

static void requests(void)
{
    enum { COUNT = 6 };
    MPI_Request r[COUNT];
    MPI_Status s[COUNT], status;
    int flag, index, done, indices[COUNT];
    MPI_Offset base = rank * 10000;
    MPI_File f = open_file("requests", CREATE);
    fill(data, BYTES, 1);
    for (int i = 0; i < COUNT; i++)
        MPI_File_iwrite_at(f, base + i * 100, data + i * 100, 100, MPI_BYTE, &r[i]);
    say_code("waitall", MPI_Waitall(COUNT, r, s));
    for (int i = 0; i < COUNT; i++) {
        say_status("iwrite_at", MPI_SUCCESS, &s[i], MPI_BYTE);
        MPI_Test_cancelled(&s[i], &flag);
        say("cancelled %d\n", flag);
    }
    for (int i = 0; i < COUNT; i++)
        MPI_File_iread_at(f, base + i * 100, back + i * 100, 100, MPI_BYTE, &r[i]);
    say_code("waitall ignoring", MPI_Waitall(COUNT, r, MPI_STATUSES_IGNORE));
    say("same %d null %d\n", memcmp(data, back, 600) == 0, r[0] == MPI_REQUEST_NULL);
    for (int i = 0; i < 5; i++)
        MPI_File_iread_at(f, base, back, 10 * (i + 1), MPI_BYTE, &r[i]);
    MPI_Wait(&r[0], &status);
    say_status("wait", MPI_SUCCESS, &status, MPI_BYTE);
    do {
        MPI_Test(&r[1], &flag, &status);
    } while (!flag);
    say_status("test", MPI_SUCCESS, &status, MPI_BYTE);
    MPI_Waitany(1, &r[2], &index, &status);
    say_status("waitany", MPI_SUCCESS, &status, MPI_BYTE);
    MPI_Waitsome(1, &r[3], &done, indices, s);
    say_status("waitsome", MPI_SUCCESS, &s[0], MPI_BYTE);
    do {
        MPI_Testall(1, &r[4], &flag, s);
    } while (!flag);
    say_status("testall", MPI_SUCCESS, &s[0], MPI_BYTE);
    MPI_File_iwrite_at_c(f, base + 700, data, 50, MPI_BYTE, &r[0]);
    MPI_Wait(&r[0], MPI_STATUS_IGNORE);
    MPI_File_seek(f, base + 800, MPI_SEEK_SET);
    MPI_File_iwrite(f, data, 30, MPI_BYTE, &r[0]);
    MPI_Wait(&r[0], &status);
    MPI_File_iwrite_all(f, data, 30, MPI_BYTE, &r[0]);
    MPI_Wait(&r[0], &status);
    say_status("iwrite_all", MPI_SUCCESS, &status, MPI_BYTE);
    MPI_File_iread_at_all(f, base, back, 30, MPI_BYTE, &r[0]);
    MPI_Wait(&r[0], &status);
    say_status("iread_at_all", MPI_SUCCESS, &status, MPI_BYTE);
    MPI_Offset position;
    MPI_File_get_position(f, &position);
    say("position %lld\n", (long long)(position - base));
    MPI_File_close(&f);
}

/* A request in flight with messages: a nonblocking collective must not wait for the others. */
static void mixed_requests(void)
{
    MPI_Request r[2];
    int token = rank, got = -1;
    MPI_File f = open_file("mixed", CREATE);
    fill(data, BYTES, 2);
    if (rank == 0) {
        MPI_File_iwrite_at_all(f, 0, data, BYTES, MPI_BYTE, &r[0]);
        MPI_Irecv(&got, 1, MPI_INT, (rank + 1) % ranks, 0, MPI_COMM_WORLD, &r[1]);
        if (ranks == 1)
            MPI_Send(&token, 1, MPI_INT, 0, 0, MPI_COMM_WORLD);
    } else {
        MPI_Isend(&token, 1, MPI_INT, 0, rank == 1 ? 0 : 9, MPI_COMM_WORLD, &r[1]);
        MPI_File_iwrite_at_all(f, rank * BYTES, data, BYTES, MPI_BYTE, &r[0]);
        if (rank != 1)
            MPI_Request_free(&r[1]);
    }
    MPI_Waitall(rank < 2 ? 2 : 1, r, MPI_STATUSES_IGNORE);
    if (rank == 0)
        for (int i = 2; i < ranks; i++)
            MPI_Recv(&token, 1, MPI_INT, i, 9, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    say("got %d\n", got);
    MPI_File_close(&f);
}

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition);                        \
            MPI_Abort(MPI_COMM_WORLD, 4);                                                          \
        }                                                                                          \
    } while (0)

/* Each open has a pointer of its own, which MPICH's have not: it keeps those that are more than the
 * library has. No file is made for the library's.  Run with the adapter only. */
static void many_pointers(void)
{
    enum { OPENS = 12 };
    MPI_File files[OPENS];
    MPI_Offset position;
    for (int i = 0; i < OPENS; i++)
        files[i] = open_file("many", CREATE | MPI_MODE_UNIQUE_OPEN);
    for (int i = 0; i < OPENS; i++)
        MPI_File_seek_shared(files[i], 100 * i, MPI_SEEK_SET);
    for (int i = 0; i < OPENS; i++) {
        MPI_File_get_position_shared(files[i], &position);
        MUST(position == 100 * i || i >= 8);
    }
    for (int i = 0; i < OPENS; i++)
        MPI_File_close(&files[i]);
    MPI_File f = open_file("many", CREATE);
    MPI_File_write_ordered(f, data, 1, MPI_BYTE, MPI_STATUS_IGNORE);
    MPI_Barrier(MPI_COMM_WORLD);
    MUST(system("ls -A | grep -q shfp") != 0);
    MPI_File_close(&f);
}

/* What MPICH's own requests do not survive; run with the adapter only. */
static void odd_requests(void)
{
    MPI_Request r;
    MPI_Status status;
    MPI_Count bytes;
    int flag;
    MPI_File f = open_file("odd", CREATE);
    fill(data, BYTES, 3);
    MPI_File_iwrite_at(f, rank * BYTES, data, BYTES, MPI_BYTE, &r);
    MUST(MPI_Request_get_status(r, &flag, &status) == MPI_SUCCESS && flag);
    MPI_Get_elements_x(&status, MPI_BYTE, &bytes);
    MUST(bytes == BYTES);
    MUST(MPI_Request_free(&r) == MPI_SUCCESS && r == MPI_REQUEST_NULL);
    MPI_File_iread_at(f, rank * BYTES, back, BYTES, MPI_BYTE, &r);
    MUST(MPI_Cancel(&r) == MPI_SUCCESS);
    MPI_Wait(&r, &status);
    MPI_Test_cancelled(&status, &flag);
    MPI_Get_elements_x(&status, MPI_BYTE, &bytes);
    MUST(!flag && bytes == BYTES && memcmp(data, back, BYTES) == 0);
    MPI_File_close(&f);
}

static void split(void)
{
    MPI_Status status;
    MPI_File f = open_file("split", CREATE);
    fill(data, BYTES, 4);
    say_code("begin", MPI_File_write_at_all_begin(f, rank * BYTES, data, BYTES, MPI_BYTE));
    say_code("second begin", MPI_File_write_all_begin(f, data, 1, MPI_BYTE));
    say_status("end", MPI_File_write_at_all_end(f, data, &status), &status, MPI_BYTE);
    say_code("second end", MPI_File_write_at_all_end(f, data, &status));
    MPI_File_seek(f, (ranks - 1 - rank) * BYTES, MPI_SEEK_SET);
    say_code("begin", MPI_File_read_all_begin(f, back, BYTES, MPI_BYTE));
    say_status("end", MPI_File_read_all_end(f, back, &status), &status, MPI_BYTE);
    say_bytes("data", back, BYTES);
    MPI_File_read_at_all_begin_c(f, 10, back, 50, MPI_BYTE);
    say_status("end", MPI_File_read_at_all_end(f, back, &status), &status, MPI_BYTE);
    MPI_File_set_view(f, 0, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL);
    say_code("ordered begin", MPI_File_write_ordered_begin(f, data, 7, MPI_BYTE));
    say_code("second begin", MPI_File_read_all_begin(f, data, 7, MPI_BYTE));
    say_status("ordered end", MPI_File_write_ordered_end(f, data, &status), &status, MPI_BYTE);
    MPI_File_close(&f);
}

static void shared(void)
{
    MPI_Status status;
    MPI_Request r;
    MPI_Offset position;
    int record[4] = {rank, rank * rank, 7, 8};
    MPI_File f = open_file("shared", CREATE);
    /* Own data first, so that the shared pointer's calls find it. */
    fill(data, BYTES, 5);
    MPI_File_write_at(f, rank * 16, data, 16, MPI_BYTE, &status);
    MPI_File_seek_shared(f, 16 * ranks, MPI_SEEK_SET);
    say_status("ordered", MPI_File_write_ordered(f, record, 4, MPI_INT, &status), &status, MPI_INT);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_seek_shared(f, 0, MPI_SEEK_END);
    MPI_File_get_position_shared(f, &position);
    say("end %lld\n", (long long)position);
    MPI_Barrier(MPI_COMM_WORLD);
    /* All write the same, since who comes first is not told. */
    int same[4] = {1, 2, 3, 4};
    MPI_File_write_shared(f, same, 4, MPI_INT, &status);
    MPI_File_iwrite_shared(f, same, 4, MPI_INT, &r);
    MPI_Wait(&r, &status);
    say_status("iwrite_shared", MPI_SUCCESS, &status, MPI_INT);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Offset size;
    MPI_File_get_size(f, &size);
    say("size %lld\n", (long long)size);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_read_at(f, (ranks - 1 - rank) * 16, back, 16, MPI_BYTE, &status);
    say_bytes("own", back, 16);
    MPI_File_read_at(f, 16 * ranks, back, 16 * ranks, MPI_BYTE, &status);
    say_bytes("ordered", back, (size_t)(16 * ranks));
    MPI_File_seek_shared(f, 0, MPI_SEEK_SET);
    MPI_File_read_ordered(f, back, 16, MPI_BYTE, &status);
    say_bytes("read_ordered", back, 16);
    MPI_File_close(&f);
}

/* Each record is somebody's, once, whoever comes first; a view begins at 0. */
static void shared_pointers(void)
{
    enum { RECORDS = 50, INTS = 8 };
    MPI_Status status;
    MPI_Request r;
    MPI_Offset position, size;
    int record[INTS], all[INTS], seen[64] = {0};
    MPI_File f = open_file("pointers", CREATE);
    MPI_File_set_view(f, 12, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
    for (int i = 0; i < RECORDS; i++) {
        for (int k = 0; k < INTS; k++)
            record[k] = rank + 1;
        if (i % 2)
            MPI_File_write_shared(f, record, INTS, MPI_INT, &status);
        else
            MPI_File_iwrite_shared(f, record, INTS, MPI_INT, &r);
        if (i % 2 == 0)
            MPI_Wait(&r, &status);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_get_position_shared(f, &position);
    say("written up to %lld\n", (long long)position);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_close(&f);
    f = open_file("pointers", MPI_MODE_RDONLY);
    MPI_File_set_view(f, 12, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
    for (int i = 0; i < RECORDS; i++) {
        if (i % 2)
            MPI_File_read_shared(f, record, INTS, MPI_INT, &status);
        else
            MPI_File_iread_shared(f, record, INTS, MPI_INT, &r);
        if (i % 2 == 0)
            MPI_Wait(&r, &status);
        for (int k = 1; k < INTS; k++)
            if (record[k] != record[0])
                say("a record of several\n");
        seen[record[0] & 63]++;
    }
    MPI_Allreduce(MPI_IN_PLACE, seen, 64, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    for (int i = 0; i <= ranks; i++)
        say("%d records of %d\n", seen[i], i);
    say_code("seek", MPI_File_seek_shared(f, -3, MPI_SEEK_CUR));
    MPI_File_get_position_shared(f, &position);
    say("position %lld\n", (long long)position);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_set_view(f, 4, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
    MPI_File_get_position_shared(f, &position);
    say("new view %lld\n", (long long)position);
    MPI_Barrier(MPI_COMM_WORLD);
    /* Of different length, some of none. */
    say_status("ordered", MPI_File_read_ordered(f, all, rank % 3, MPI_INT, &status), &status,
               MPI_INT);
    MPI_File_get_position_shared(f, &position);
    say("position %lld\n", (long long)position);
    MPI_File_close(&f);
    f = open_file("pointers", MPI_MODE_RDWR | MPI_MODE_APPEND);
    MPI_File_get_position_shared(f, &position);
    say("appending at %lld\n", (long long)position);
    MPI_Barrier(MPI_COMM_WORLD);
    say_status("ordered", MPI_File_write_ordered(f, &rank, 1, MPI_INT, &status), &status, MPI_INT);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_get_size(f, &size);
    say("size %lld\n", (long long)size);
    /* Whose records are where is not told. */
    for (int i = 0; i < RECORDS && rank == 0; i++)
        for (int k = 0; k < ranks; k++)
            MPI_File_write_at(f, 12 + (i * ranks + k) * (int)sizeof record, seen, INTS, MPI_INT,
                              &status);
    MPI_File_close(&f);
}

static void atomic_mode(void)
{
    MPI_Status status;
    MPI_Request r;
    int flag;
    MPI_Offset position;
    MPI_File f = open_file("atomic", CREATE);
    fill(data, BYTES, 6);
    MPI_File_write_at(f, rank * BYTES, data, BYTES, MPI_BYTE, &status);
    MPI_Barrier(MPI_COMM_WORLD);
    say_code("set_atomicity", MPI_File_set_atomicity(f, 1));
    MPI_File_get_atomicity(f, &flag);
    say("atomic %d\n", flag);
    MPI_File_read_at(f, (ranks - 1 - rank) * BYTES, back, BYTES, MPI_BYTE, &status);
    say_bytes("before", back, BYTES);
    MPI_File_seek(f, (ranks + rank) * BYTES, MPI_SEEK_SET);
    say_status("write", MPI_File_write(f, data, BYTES, MPI_BYTE, &status), &status, MPI_BYTE);
    MPI_File_get_position(f, &position);
    say("position %lld\n", (long long)position);
    MPI_File_iwrite_at(f, (2 * ranks + rank) * BYTES, data, 10, MPI_BYTE, &r);
    MPI_Wait(&r, &status);
    say_status("iwrite_at", MPI_SUCCESS, &status, MPI_BYTE);
    say_status("write_at_all",
               MPI_File_write_at_all(f, (3 * ranks + rank) * BYTES, data, 10, MPI_BYTE, &status),
               &status, MPI_BYTE);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_set_atomicity(f, 0);
    MPI_File_read_at(f, (ranks + (rank + 1) % ranks) * BYTES, back, BYTES, MPI_BYTE, &status);
    say_bytes("after", back, BYTES);
    MPI_File_close(&f);
}

/* All write all of the same comb of pieces, in several chunks, by calls of every kind, and whoever
 * reads finds one writer's bytes alone; run with the adapter only, since MPICH mixes them when
 * writing by its collective calls. */
static void atomic_overlaps(void)
{
    enum { PIECES = 40, PIECE = 70001, STRIDE = 100003, TURNS = 40 };
    size_t bytes = (size_t)PIECES * PIECE;
    char *mine = malloc(bytes);
    MPI_Datatype comb;
    MPI_Request r;
    MPI_Type_vector(PIECES, PIECE, STRIDE, MPI_BYTE, &comb);
    MPI_Type_commit(&comb);
    MPI_File f = open_file("overlaps", CREATE);
    MPI_File_set_atomicity(f, 1);
    MPI_File_set_view(f, 1000, MPI_BYTE, comb, "native", MPI_INFO_NULL);
    memset(mine, 'z', bytes);
    MPI_File_write_at_all(f, 0, mine, (int)bytes, MPI_BYTE, MPI_STATUS_IGNORE);
    for (int i = 0; i < TURNS; i++) {
        memset(mine, 'a' + rank, bytes);
        if (i % 4 == 0)
            MPI_File_write_at_all(f, 0, mine, (int)bytes, MPI_BYTE, MPI_STATUS_IGNORE);
        else if (i % 4 == 1)
            MPI_File_iwrite_at(f, 0, mine, (int)bytes, MPI_BYTE, &r);
        else if (i % 4 == 2 && rank % 2 == 0)
            MPI_File_write_at(f, 0, mine, (int)bytes, MPI_BYTE, MPI_STATUS_IGNORE);
        if (i % 4 == 1)
            MPI_Wait(&r, MPI_STATUS_IGNORE);
        MPI_File_read_at(f, 0, mine, (int)bytes, MPI_BYTE, MPI_STATUS_IGNORE);
        MUST(memcmp(mine, mine + 1, bytes - 1) == 0);
    }
    MPI_File_close(&f);
    MPI_Type_free(&comb);
    free(mine);
}

/* A handle in atomic mode finds what another that is not wrote. */
static void reader_in_atomic_mode(void)
{
    MPI_Status status;
    MPI_File writer = open_file("reader", CREATE);
    MPI_File reader = open_file("reader", MPI_MODE_RDONLY);
    fill(data, BYTES, 8);
    MPI_File_set_atomicity(reader, 1);
    MPI_File_write_at(writer, rank * BYTES, data, BYTES, MPI_BYTE, &status);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_read_at(reader, (ranks - 1 - rank) * BYTES, back, BYTES, MPI_BYTE, &status);
    say_status("read", MPI_SUCCESS, &status, MPI_BYTE);
    say_bytes("data", back, BYTES);
    MPI_File_close(&reader);
    MPI_File_close(&writer);
}

static int extent_of(MPI_Datatype type, MPI_Aint *extent, void *unused)
{
    MPI_Aint lower;
    (void)unused;
    return MPI_Type_get_extent(type, &lower, extent);
}

/* One of the program's own: what MPICH makes of it. */
static void own_representation(MPI_File f)
{
    int number = rank;
    MPI_Status status;
    say_code("register", MPI_Register_datarep("own", MPI_CONVERSION_FN_NULL, MPI_CONVERSION_FN_NULL,
                                              extent_of, NULL));
    say_code("register again", MPI_Register_datarep("own", MPI_CONVERSION_FN_NULL,
                                                    MPI_CONVERSION_FN_NULL, extent_of, NULL));
    say_code("own", MPI_File_set_view(f, 0, MPI_INT, MPI_INT, "own", MPI_INFO_NULL));
    say_status("write", MPI_File_write_at_all(f, rank, &number, 1, MPI_INT, &status), &status,
               MPI_INT);
}

static void data_representation(void)
{
    MPI_Status status;
    int numbers[] = {1, 2, 3, 4, 5, 6}, again[6] = {0};
    MPI_Offset position;
    MPI_File f = open_file("datarep", CREATE);
    MPI_File_write_at(f, rank * 24, numbers, 6, MPI_INT, &status);
    MPI_Barrier(MPI_COMM_WORLD);
    say_code("external32", MPI_File_set_view(f, 24 * ranks + rank * 24, MPI_INT, MPI_INT,
                                             "external32", MPI_INFO_NULL));
    say_status("write_all", MPI_File_write_all(f, numbers, 6, MPI_INT, &status), &status, MPI_INT);
    MPI_File_get_position(f, &position);
    say("position %lld\n", (long long)position);
    MPI_File_read_at(f, 0, again, 6, MPI_INT, &status);
    say_bytes("read", again, sizeof again);
    say_code("unknown", MPI_File_set_view(f, 0, MPI_INT, MPI_INT, "unheard of", MPI_INFO_NULL));
    say_code("native", MPI_File_set_view(f, 0, MPI_INT, MPI_INT, "native", MPI_INFO_NULL));
    MPI_File_read_at(f, 6 * ranks + rank * 6, again, 6, MPI_INT, &status);
    say_bytes("raw", again, sizeof again);
    own_representation(f);
    MPI_File_close(&f);
}

static void sizes(void)
{
    MPI_Status status;
    MPI_Offset size;
    MPI_File f = open_file("sizes", CREATE);
    fill(data, BYTES, 7);
    MPI_File_write_at_all(f, rank * BYTES, data, BYTES, MPI_BYTE, &status);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_get_size(f, &size);
    say("written %lld\n", (long long)size);
    say_code("cut", MPI_File_set_size(f, BYTES / 2));
    MPI_File_get_size(f, &size);
    say("cut %lld\n", (long long)size);
    MPI_File_set_size(f, 3 * BYTES);
    MPI_File_read_at(f, 0, back, BYTES, MPI_BYTE, &status);
    say_bytes("zeros at the end", back, BYTES);
    say_code("preallocate", MPI_File_preallocate(f, 8 * BYTES));
    MPI_File_get_size(f, &size);
    say("preallocated %lld\n", (long long)size);
    MPI_File_preallocate(f, 100);
    MPI_File_get_size(f, &size);
    say("not shrunk %lld\n", (long long)size);
    MPI_File_close(&f);
    f = open_file("sizes", MPI_MODE_WRONLY | MPI_MODE_APPEND);
    MPI_Offset position;
    MPI_File_get_position(f, &position);
    say("appending at %lld\n", (long long)position);
    if (rank == 0)
        MPI_File_write(f, data, 10, MPI_BYTE, &status);
    say_code("read", MPI_File_read_at(f, 0, back, 1, MPI_BYTE, &status));
    MPI_File_close(&f);
}

const struct program call_programs[] = {{"requests", requests},
                                        {"mixed_requests", mixed_requests},
                                        {"odd_requests", odd_requests},
                                        {"many_pointers", many_pointers},
                                        {"split", split},
                                        {"shared", shared},
                                        {"shared_pointers", shared_pointers},
                                        {"atomic_mode", atomic_mode},
                                        {"atomic_overlaps", atomic_overlaps},
                                        {"reader_in_atomic_mode", reader_in_atomic_mode},
                                        {"data_representation", data_representation},
                                        {"sizes", sizes},
                                        {NULL, NULL}};
