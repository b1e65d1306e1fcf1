/* SPDX-License-Identifier: BSD-3-Clause */
/* Modes, errors and their handlers, the end of MPI, threads, child processes. */
#include "program.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CREATE = MPI_MODE_RDWR | MPI_MODE_CREATE };

static int handled;

static void on_error(MPI_File *file, int *code, ...)
{
    (void)file;
    (void)code;
    handled++;
}

#define TRY(call)                                                                                  \
    do {                                                                                           \
        int before = handled;                                                                      \
        say_code(#call, call);                                                                     \
        say("  handler called %d times\n", handled - before);                                      \
    } while (0)

/* Each is refused, by the same class and through the same handler. */
static void errors(void)
{
    char data[16] = {0};
    MPI_Status status;
    MPI_Datatype uncommitted;
    MPI_Errhandler handler;
    MPI_Request r;
    MPI_Offset offset;
    MPI_Type_contiguous(3, MPI_INT, &uncommitted);
    MPI_File f = open_file("errors", CREATE);
    MPI_File_create_errhandler(on_error, &handler);
    MPI_File_set_errhandler(f, handler);
    MPI_File_set_view(f, 0, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
    TRY(MPI_File_read_at(f, 0, data, 3, MPI_BYTE, &status));
    TRY(MPI_File_read_at(f, -1, data, 3, MPI_INT, &status));
    TRY(MPI_File_write_at(f, 0, data, -3, MPI_INT, &status));
    TRY(MPI_File_write_at(f, 0, data, 3, MPI_DATATYPE_NULL, &status));
    TRY(MPI_File_write_at(f, 0, data, 0, uncommitted, &status));
    TRY(MPI_File_iwrite_at(f, 0, data, 3, uncommitted, &r));
    TRY(MPI_File_iread_at(f, -1, data, 3, MPI_INT, &r));
    TRY(MPI_File_write_at_all(f, 0, data, 3, MPI_BYTE, &status));
    TRY(MPI_File_seek(f, -1, MPI_SEEK_SET));
    TRY(MPI_File_seek(f, -1000, MPI_SEEK_END));
    TRY(MPI_File_seek(f, 0, 77));
    TRY(MPI_File_set_size(f, -1));
    TRY(MPI_File_preallocate(f, -1));
    TRY(MPI_File_get_byte_offset(f, -1, &offset));
    TRY(MPI_File_set_view(f, -5, MPI_INT, MPI_INT, "native", MPI_INFO_NULL));
    TRY(MPI_File_set_view(f, 0, MPI_INT, MPI_SHORT, "native", MPI_INFO_NULL));
    TRY(MPI_File_read_all_end(f, data, &status));
    MPI_File_close(&f);
    f = open_file("errors", MPI_MODE_RDONLY);
    MPI_File_set_errhandler(f, handler);
    TRY(MPI_File_write_at(f, 0, data, 1, MPI_BYTE, &status));
    TRY(MPI_File_write_at(f, 0, data, 0, MPI_BYTE, &status));
    TRY(MPI_File_write_at_all(f, 0, data, 1, MPI_BYTE, &status));
    TRY(MPI_File_set_size(f, 5));
    TRY(MPI_File_sync(f));
    MPI_File_close(&f);
    MPI_Errhandler_free(&handler);
    MPI_Type_free(&uncommitted);
    say_code("no file", MPI_File_read_at(MPI_FILE_NULL, 0, data, 1, MPI_BYTE, &status));
}

static void modes(void)
{
    char data[] = "scratch data";
    MPI_Status status;
    MPI_File f;
    MPI_Info info;
    say_code("missing",
             MPI_File_open(MPI_COMM_WORLD, "not there", MPI_MODE_RDONLY, MPI_INFO_NULL, &f));
    f = open_file("ufs:exclusive", CREATE | MPI_MODE_EXCL);
    if (rank == 0)
        MPI_File_write_at(f, 0, data, sizeof data, MPI_BYTE, &status);
    MPI_File_close(&f);
    say_code("again",
             MPI_File_open(MPI_COMM_WORLD, "exclusive", CREATE | MPI_MODE_EXCL, MPI_INFO_NULL, &f));
    /* CREATE keeps what there is. */
    f = open_file("exclusive", CREATE | MPI_MODE_UNIQUE_OPEN);
    MPI_Offset size;
    MPI_File_get_size(f, &size);
    say("kept %lld\n", (long long)size);
    int amode;
    MPI_File_get_amode(f, &amode);
    MPI_File_get_info(f, &info);
    say("amode %d info %d\n", amode, info != MPI_INFO_NULL);
    MPI_Info_free(&info);
    MPI_File_close(&f);
    f = open_file("gone", CREATE | MPI_MODE_DELETE_ON_CLOSE);
    MPI_File_write_at(f, rank * 20, data, sizeof data, MPI_BYTE, &status);
    MPI_Barrier(MPI_COMM_WORLD);
    memset(data, 0, sizeof data);
    MPI_File_read_at(f, (ranks - 1 - rank) * 20, data, sizeof data, MPI_BYTE, &status);
    say("%s\n", data);
    MPI_File_close(&f);
    say_code("gone", MPI_File_open(MPI_COMM_WORLD, "gone", MPI_MODE_RDONLY, MPI_INFO_NULL, &f));
    f = open_file("sequential", MPI_MODE_WRONLY | MPI_MODE_CREATE | MPI_MODE_SEQUENTIAL);
    MPI_File_write_ordered(f, data, 5, MPI_BYTE, &status);
    MPI_File_close(&f);
    say_code("delete", rank == 0 ? MPI_File_delete("sequential", MPI_INFO_NULL) : MPI_SUCCESS);
}

/* Own files by each process, and two handles on one file. */
static void many_handles(void)
{
    char name[32];
    int number = rank + 5, got = 0;
    MPI_Status status;
    MPI_File mine, other;
    strcpy(name, "own.0");
    name[4] = (char)('0' + rank);
    MPI_File_open(MPI_COMM_SELF, name, CREATE, MPI_INFO_NULL, &mine);
    MPI_File_open(MPI_COMM_SELF, name, MPI_MODE_RDONLY, MPI_INFO_NULL, &other);
    MPI_File_write(mine, &number, 1, MPI_INT, &status);
    MPI_File_read(other, &got, 1, MPI_INT, &status);
    say("other handle sees %d\n", got);
    MPI_File_close(&mine);
    MPI_File_close(&other);
    MPI_File both[40];
    for (int i = 0; i < 40; i++) {
        both[i] = open_file("both", CREATE);
        MPI_File_write_at(both[i], (i * ranks + rank) * 4, &number, 1, MPI_INT, &status);
    }
    for (int i = 0; i < 40; i++)
        MPI_File_close(&both[(i * 7) % 40]);
}

/* MPI_Finalize with files open: the data is in them nevertheless. */
static void left_open(void)
{
    int number = rank + 1000;
    MPI_Status status;
    MPI_File first = open_file("left.1", CREATE);
    MPI_File second = open_file("left.2", CREATE);
    MPI_File_write_at(first, rank * 4, &number, 1, MPI_INT, &status);
    MPI_File_write_at(second, rank * 8, &number, 1, MPI_INT, &status);
}

static void children(void)
{
    int number = rank, status_of_child;
    MPI_Status status;
    MPI_File f = open_file("children", CREATE);
    MPI_File_write_at(f, rank * 4, &number, 1, MPI_INT, &status);
    pid_t child = fork();
    if (child == 0)
        _exit(7);
    waitpid(child, &status_of_child, 0);
    say("child %d shell %d\n", WEXITSTATUS(status_of_child), system("exit 0"));
    number += 100;
    MPI_File_write_at(f, (ranks + rank) * 4, &number, 1, MPI_INT, &status);
    MPI_File_close(&f);
}

/* Accesses that do not go with the mode of the file, by all ranks: who is refused, and where the
 * shared pointer is then. */
static void try_direction(MPI_File f, bool write)
{
    char data[16] = "data";
    MPI_Status status;
    MPI_Offset position;
    for (int collective = 0; collective < 2; collective++) {
        MPI_Barrier(MPI_COMM_WORLD);
        if (write && collective)
            TRY(MPI_File_write_ordered(f, data, 2, MPI_INT, &status));
        else if (write)
            TRY(MPI_File_write_shared(f, data, 2, MPI_INT, &status));
        else if (collective)
            TRY(MPI_File_read_ordered(f, data, 2, MPI_INT, &status));
        else
            TRY(MPI_File_read_shared(f, data, 2, MPI_INT, &status));
        MPI_Barrier(MPI_COMM_WORLD);
        say_code("position", MPI_File_get_position_shared(f, &position));
        say("  %lld, data %.4s\n", (long long)position, data);
    }
    if (write) {
        TRY(MPI_File_write_at(f, 0, data, 1, MPI_INT, &status));
        TRY(MPI_File_write(f, data, 1, MPI_INT, &status));
        TRY(MPI_File_write_all(f, data, 1, MPI_INT, &status));
    } else {
        TRY(MPI_File_read_at(f, 0, data, 1, MPI_INT, &status));
        TRY(MPI_File_read(f, data, 1, MPI_INT, &status));
        TRY(MPI_File_read_all(f, data, 1, MPI_INT, &status));
    }
    say_code("position", MPI_File_get_position(f, &position));
    say("  %lld\n", (long long)position);
}

static void wrong_direction(void)
{
    MPI_Datatype comb;
    MPI_Errhandler handler;
    char data[256];
    MPI_Type_vector(4, 1, 2, MPI_INT, &comb);
    MPI_Type_commit(&comb);
    MPI_File_create_errhandler(on_error, &handler);
    fill(data, sizeof data, 2);
    MPI_File f = open_file("direction", CREATE);
    MPI_File_write_at_all(f, rank * (int)sizeof data, data, sizeof data, MPI_BYTE,
                          MPI_STATUS_IGNORE);
    MPI_File_close(&f);
    for (int turn = 0; turn < 8; turn++) {
        bool write = turn & 1;
        f = open_file("direction", write ? MPI_MODE_RDONLY : MPI_MODE_WRONLY);
        MPI_File_set_errhandler(f, handler);
        MPI_File_set_view(f, 0, MPI_INT, turn & 2 ? comb : MPI_INT, "native", MPI_INFO_NULL);
        MPI_File_set_atomicity(f, turn >> 2);
        try_direction(f, write);
        MPI_File_close(&f);
    }
    MPI_Errhandler_free(&handler);
    MPI_Type_free(&comb);
}

/* Files that are renamed, replaced or deleted when they are closed, but perhaps not drained. */
static void moved(void)
{
    enum { BYTES = 5000 };
    char data[BYTES];
    MPI_Info info;
    MPI_File f;
    MPI_Info_create(&info);
    MPI_Info_set(info, "cte_drain", "async");
    for (unsigned i = 0; i < 6; i++) {
        MPI_Offset size = -1;
        say_code("open", MPI_File_open(MPI_COMM_WORLD, "moved", CREATE, info, &f));
        MPI_File_get_size(f, &size);
        say("size %lld\n", (long long)size);
        fill(data, BYTES, i);
        MPI_File_write_at_all(f, rank * BYTES, data, BYTES, MPI_BYTE, MPI_STATUS_IGNORE);
        say_code("close", MPI_File_close(&f));
        MPI_Barrier(MPI_COMM_WORLD);
        if (rank == 0 && i == 0)
            say("rename %d\n", rename("moved", "moved.0"));
        else if (rank == 0 && i == 1)
            say("replace %d\n", rename("moved", "moved.0"));
        else if (rank == 0 && i == 2)
            say("rename %d\n", rename("moved", "moved.2"));
        else if (rank == 0 && i == 3)
            say_code("delete", MPI_File_delete("moved", MPI_INFO_NULL));
        else if (rank == 0 && i == 4)
            say("unlink %d\n", unlink("moved"));
        MPI_Barrier(MPI_COMM_WORLD);
    }
    MPI_File_open(MPI_COMM_WORLD, "moved.2", CREATE, info, &f);
    MPI_File_read_at(f, 0, data, BYTES, MPI_BYTE, MPI_STATUS_IGNORE);
    say_bytes("moved.2", data, BYTES);
    MPI_File_write_at(f, ranks * BYTES + rank, "x", 1, MPI_BYTE, MPI_STATUS_IGNORE);
    MPI_File_close(&f);
    MPI_Info_free(&info);
}

/* Places beyond what a file can have must not wrap round to its beginning; run with the adapter
 * only. */
static void far_away(void)
{
    char data[64] = "data", back[64];
    MPI_Datatype wide;
    MPI_Status status;
    MPI_Offset size;
    MPI_Type_create_resized(MPI_INT, 0, (MPI_Aint)1 << 61, &wide);
    MPI_Type_commit(&wide);
    MPI_File f = open_file("far", CREATE);
    MPI_File_write_at_all(f, 0, data, rank == 0 ? 64 : 0, MPI_BYTE, &status);
    memset(back, 'x', sizeof back);
    int failed = MPI_File_write_at(f, INT64_MAX - 10, back, 64, MPI_BYTE, &status) != MPI_SUCCESS;
    MPI_File_set_view(f, 0, MPI_INT, wide, "native", MPI_INFO_NULL);
    failed += MPI_File_write_at(f, 8, back, 1, MPI_INT, &status) != MPI_SUCCESS;
    failed += MPI_File_write_at(f, 1, back, 16, MPI_INT, &status) != MPI_SUCCESS;
    MPI_File_set_view(f, 0, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL);
    MPI_File_read_at(f, 0, back, 64, MPI_BYTE, &status);
    MPI_File_get_size(f, &size);
    if (failed != 3 || size != 64 || memcmp(data, back, 64) != 0) {
        fprintf(stderr, "%d refused, size %lld\n", failed, (long long)size);
        MPI_Abort(MPI_COMM_WORLD, 4);
    }
    MPI_File_close(&f);
    MPI_Type_free(&wide);
}

/* What a failing engine looks like from above; run with the adapter and a fault only. */
static void faults(void)
{
    char data[64] = "data";
    MPI_Status status;
    MPI_Errhandler handler;
    MPI_Request r = MPI_REQUEST_NULL;
    const char *expected = getenv("CTE_TEST_EXPECT");
    int class = 0, wanted = expected ? atoi(expected) : MPI_SUCCESS;
    MPI_File f = open_file("faults", CREATE);
    MPI_File_create_errhandler(on_error, &handler);
    MPI_File_set_errhandler(f, handler);
    int codes[7];
    codes[0] = MPI_File_write_at(f, rank * 64, data, 64, MPI_BYTE, &status);
    codes[1] = MPI_File_iwrite_at(f, rank * 64, data, 64, MPI_BYTE, &r);
    if (codes[1] == MPI_SUCCESS)
        MPI_Wait(&r, &status);
    codes[2] = MPI_File_read_at(f, rank * 64, data, 64, MPI_BYTE, &status);
    codes[3] = MPI_File_write_at_all(f, rank * 64, data, 64, MPI_BYTE, &status);
    codes[4] = MPI_File_write_ordered(f, data, 8, MPI_BYTE, &status);
    codes[5] = MPI_File_seek_shared(f, 0, MPI_SEEK_SET);
    codes[6] = MPI_File_close(&f);
    int failed = 0;
    for (int i = 0; i < (int)(sizeof codes / sizeof codes[0]); i++) {
        if (codes[i] == MPI_SUCCESS)
            continue;
        MPI_Error_class(codes[i], &class);
        failed++;
        if (class != wanted) {
            fprintf(stderr, "call %d: class %d instead of %d\n", i, class, wanted);
            MPI_Abort(MPI_COMM_WORLD, 4);
        }
    }
    if (handled != failed || (wanted != MPI_SUCCESS && rank == 0 && failed == 0) ||
        f != MPI_FILE_NULL) {
        fprintf(stderr, "%d calls failed, handler called %d times\n", failed, handled);
        MPI_Abort(MPI_COMM_WORLD, 4);
    }
    MPI_Errhandler_free(&handler);
}

enum { THREADS = 4, ROUNDS = 60, PIECE = 96 };

static MPI_File common;

/* Each thread in its own part of one file, through its own types; some on own files as well. */
static void *work(void *argument)
{
    int thread = *(int *)argument;
    char name[32], data[2 * PIECE], back[2 * PIECE];
    MPI_Datatype spaced;
    MPI_File mine;
    snprintf(name, sizeof name, "thread.%d.%d", rank, thread);
    MPI_File_open(MPI_COMM_SELF, name, CREATE, MPI_INFO_NULL, &mine);
    for (int i = 0; i < ROUNDS; i++) {
        MPI_Offset place = (MPI_Offset)((rank * THREADS + thread) * ROUNDS + i) * PIECE;
        MPI_Type_vector(PIECE / 4, 4, 8, MPI_BYTE, &spaced);
        MPI_Type_commit(&spaced);
        memset(data, thread * 50 + i, sizeof data);
        MPI_File_write_at(common, place, data, 1, spaced, MPI_STATUS_IGNORE);
        MPI_File_write(mine, data, PIECE, MPI_BYTE, MPI_STATUS_IGNORE);
        MPI_File_read_at(common, place, back, PIECE, MPI_BYTE, MPI_STATUS_IGNORE);
        if (memcmp(data, back, PIECE) != 0) {
            fprintf(stderr, "thread %d round %d: other bytes\n", thread, i);
            MPI_Abort(MPI_COMM_WORLD, 4);
        }
        MPI_Type_free(&spaced);
    }
    MPI_File_close(&mine);
    return NULL;
}

static void threads(void)
{
    pthread_t ids[THREADS];
    int numbers[THREADS];
    common = open_file("threads", CREATE);
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        pthread_create(&ids[i], NULL, work, &numbers[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
    MPI_File_close(&common);
}

const struct program edge_programs[] = {{"errors", errors},
                                        {"modes", modes},
                                        {"many_handles", many_handles},
                                        {"left_open", left_open},
                                        {"moved", moved},
                                        {"children", children},
                                        {"faults", faults},
                                        {"far_away", far_away},
                                        {"wrong_direction", wrong_direction},
                                        {"threads", threads},
                                        {NULL, NULL}};
