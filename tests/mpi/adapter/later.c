/* SPDX-License-Identifier: BSD-3-Clause */
/* Accesses large enough to go on after the call that began them. */
#include "program.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CREATE = MPI_MODE_RDWR | MPI_MODE_CREATE, BYTES = 1 << 20, COUNT = 8 };

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition);                        \
            MPI_Abort(MPI_COMM_WORLD, 4);                                                          \
        }                                                                                          \
    } while (0)

static char *data, *back;

static void buffers(void)
{
    data = malloc((size_t)COUNT * BYTES);
    back = calloc(COUNT, BYTES);
    fill(data, (size_t)COUNT * BYTES, 9);
}

static MPI_Offset place(int i)
{
    return ((MPI_Offset)i * ranks + rank) * BYTES + 77;
}

/* Completes all of COUNT requests in one of MPI's ways. */
static void complete(int way, MPI_Request *r, MPI_Status *s)
{
    int flag = 0, index, done = 0, indices[COUNT];
    MPI_Status some[COUNT];
    switch (way) {
    case 0:
        MPI_Waitall(COUNT, r, s);
        return;
    case 1:
        while (!flag)
            MPI_Testall(COUNT, r, &flag, s);
        return;
    case 2:
        for (int i = 0; i < COUNT; i++)
            MPI_Wait(&r[i], &s[i]);
        return;
    case 3:
        for (int i = COUNT; i-- > 0;)
            for (flag = 0; !flag;)
                MPI_Test(&r[i], &flag, &s[i]);
        return;
    case 4:
        for (int i = 0; i < COUNT; i++) {
            MPI_Status one;
            MPI_Waitany(COUNT, r, &index, &one);
            s[index] = one;
        }
        return;
    case 5:
        while (done < COUNT) {
            MPI_Status one;
            MPI_Testany(COUNT, r, &index, &flag, &one);
            if (flag && index != MPI_UNDEFINED) {
                s[index] = one;
                done++;
            }
        }
        return;
    case 6:
    case 7:
        while (done < COUNT) {
            int now = 0;
            if (way == 6)
                MPI_Waitsome(COUNT, r, &now, indices, some);
            else
                MPI_Testsome(COUNT, r, &now, indices, some);
            for (int i = 0; i < now; i++)
                s[indices[i]] = some[i];
            done += now > 0 ? now : 0;
        }
        return;
    default:
        for (int i = 0; i < COUNT; i++) {
            for (flag = 0; !flag && way == 8;)
                MPI_Request_get_status(r[i], &flag, &s[i]);
            MPI_Wait(&r[i], &s[i]);
        }
    }
}

/* Every way to complete, of writes and reads, but MPI_Testall(), which MPICH's own requests do not
 * survive; messages go on between them. */
static void later(void)
{
    enum { WAYS = 8 };
    MPI_Request r[COUNT], message[2];
    MPI_Status s[COUNT];
    int token = rank, got = -1;
    buffers();
    MPI_File f = open_file("later", CREATE);
    for (int way = 0; way < WAYS; way++) {
        int way_back = (way + 3) % WAYS;
        if (way == 1)
            continue;
        for (int i = 0; i < COUNT; i++)
            data[(size_t)i * BYTES] = (char)way;
        for (int i = 0; i < COUNT; i++)
            MPI_File_iwrite_at(f, place(i), data + (size_t)i * BYTES, BYTES, MPI_BYTE, &r[i]);
        MPI_Irecv(&got, 1, MPI_INT, (rank + 1) % ranks, 0, MPI_COMM_WORLD, &message[0]);
        MPI_Isend(&token, 1, MPI_INT, (rank + ranks - 1) % ranks, 0, MPI_COMM_WORLD, &message[1]);
        complete(way, r, s);
        MPI_Waitall(2, message, MPI_STATUSES_IGNORE);
        for (int i = 0; i < COUNT; i++)
            say_status("iwrite_at", MPI_SUCCESS, &s[i], MPI_BYTE);
        for (int i = 0; i < COUNT; i++)
            MPI_File_iread_at(f, place(i), back + (size_t)i * BYTES, BYTES, MPI_BYTE, &r[i]);
        complete(way_back == 1 ? 0 : way_back, r, s);
        for (int i = 0; i < COUNT; i++)
            say_status("iread_at", MPI_SUCCESS, &s[i], MPI_BYTE);
        say("way %d: got %d same %d\n", way, got, memcmp(data, back, (size_t)COUNT * BYTES) == 0);
    }
    MPI_File_close(&f);
}

/* Views, types and pointers that change while accesses go on; collective ones that the ranks wait
 * for in different orders; an access mixed with messages in one array of requests. */
static void later_changes(void)
{
    MPI_Request r[4];
    MPI_Status s[4];
    MPI_Datatype comb, spaced;
    MPI_Offset position;
    buffers();
    MPI_File f = open_file("changes", CREATE);
    MPI_Type_vector(BYTES / 64, 64, 64 * ranks, MPI_BYTE, &comb);
    MPI_Type_create_resized(MPI_INT, 0, 8, &spaced);
    MPI_Type_commit(&comb);
    MPI_Type_commit(&spaced);
    MPI_File_set_view(f, 64 * rank, MPI_BYTE, comb, "native", MPI_INFO_NULL);
    MPI_File_iwrite(f, data, BYTES, MPI_BYTE, &r[0]);
    MPI_File_iwrite(f, data + BYTES, BYTES / 4, spaced, &r[1]);
    MPI_File_get_position(f, &position);
    say("position %lld\n", (long long)position);
    MPI_Type_free(&spaced);
    MPI_Type_free(&comb);
    MPI_Waitall(2, r, s);
    say_status("first", MPI_SUCCESS, &s[0], MPI_BYTE);
    say_status("second", MPI_SUCCESS, &s[1], MPI_BYTE);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_set_view(f, 1000, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
    MPI_File_iwrite_at_all(f, rank * (BYTES / 2), data, BYTES / 4, MPI_INT, &r[0]);
    MPI_File_iwrite_at_all(f, rank * (BYTES / 2) + BYTES / 4, data, BYTES / 4, MPI_INT, &r[1]);
    MPI_Wait(&r[rank % 2], &s[0]);
    MPI_Wait(&r[1 - rank % 2], &s[1]);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_write_at_all_begin(f, (MPI_Offset)(ranks + rank) * BYTES / 4, data, BYTES / 4,
                                MPI_INT);
    say_status("split", MPI_File_write_at_all_end(f, data, &s[0]), &s[0], MPI_INT);
    MPI_File_read_at_all_begin(f, (MPI_Offset)(ranks + (rank + 1) % ranks) * BYTES / 4, back,
                               BYTES / 4, MPI_INT);
    say_status("split", MPI_File_read_at_all_end(f, back, &s[0]), &s[0], MPI_INT);
    say_bytes("split", back, BYTES);
    MPI_File_seek_shared(f, 4 * (MPI_Offset)BYTES, MPI_SEEK_SET);
    MPI_File_write_ordered_begin(f, data, BYTES / 4, MPI_INT);
    say_status("ordered", MPI_File_write_ordered_end(f, data, &s[0]), &s[0], MPI_INT);
    MPI_File_seek_shared(f, 0, MPI_SEEK_SET);
    memset(back, 0, BYTES);
    MPI_File_iread_shared(f, back, BYTES / 4, MPI_INT, &r[0]);
    MPI_Irecv(&position, 1, MPI_OFFSET, rank, 3, MPI_COMM_WORLD, &r[1]);
    MPI_Isend(&s[0].MPI_ERROR, 0, MPI_OFFSET, rank, 3, MPI_COMM_WORLD, &r[2]);
    MPI_Waitall(3, r, s);
    say_status("iread_shared", MPI_SUCCESS, &s[0], MPI_INT);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_get_position_shared(f, &position);
    say("shared position %lld\n", (long long)position);
    MPI_File_close(&f);
}

/* Threads that do accesses: not those that drain, or wait for the batch system's signal. */
static int worker_count(void)
{
    static const char worker[] = "cte-worker\n";
    int count = 0;
    const struct dirent *entry;
    DIR *tasks = opendir("/proc/self/task");
    while (tasks && (entry = readdir(tasks))) {
        char path[64 + sizeof entry->d_name], name[sizeof worker] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *comm = fopen(path, "r");
        count += comm && fgets(name, sizeof name, comm) && strcmp(name, worker) == 0;
        if (comm)
            fclose(comm);
    }
    closedir(tasks);
    return count;
}

/* What MPICH's own requests do not survive, or what it has none of; run with the adapter only. */
static void later_odd(void)
{
    MPI_Request r[COUNT];
    MPI_Status s[COUNT];
    MPI_Count bytes;
    int flag;
    buffers();
    MPI_File f = open_file("odd", CREATE);
    MPI_File_write_at_all(f, place(0), data, BYTES, MPI_BYTE, &s[0]);
    MPI_File_iwrite_at(f, place(0), data, 100, MPI_BYTE, &r[0]);
    MPI_Wait(&r[0], &s[0]);
    MUST(worker_count() == 0);
    for (int i = 0; i < COUNT; i++)
        MPI_File_iwrite_at(f, place(i), data + (size_t)i * BYTES, BYTES, MPI_BYTE, &r[i]);
    MUST(worker_count() > 0);
    complete(8, r, s);
    for (int i = 0; i < COUNT; i++)
        MPI_File_iread_at(f, place(i), back + (size_t)i * BYTES, BYTES, MPI_BYTE, &r[i]);
    complete(1, r, s);
    MUST(memcmp(data, back, (size_t)COUNT * BYTES) == 0);
    memset(back, 0, (size_t)COUNT * BYTES);
    /* Freed at once: done when the file is closed. */
    for (int i = 0; i < COUNT; i++) {
        MPI_File_iwrite_at(f, place(COUNT + i), data + (size_t)i * BYTES, BYTES, MPI_BYTE, &r[i]);
        MUST(MPI_Request_free(&r[i]) == MPI_SUCCESS && r[i] == MPI_REQUEST_NULL);
    }
    MPI_File_close(&f);
    f = open_file("odd", CREATE);
    for (int i = 0; i < COUNT; i++) {
        MPI_File_iread_at(f, place(COUNT + i), back + (size_t)i * BYTES, BYTES, MPI_BYTE, &r[i]);
        MUST(MPI_Cancel(&r[i]) == MPI_SUCCESS);
    }
    /* Requests outlive the file, which is closed when they are over. */
    MPI_File_close(&f);
    MUST(memcmp(data, back, (size_t)COUNT * BYTES) == 0);
    for (int i = 0; i < COUNT; i++) {
        MPI_Wait(&r[i], &s[i]);
        MPI_Test_cancelled(&s[i], &flag);
        MPI_Get_elements_x(&s[i], MPI_BYTE, &bytes);
        MUST(!flag && bytes == BYTES);
    }
    /* Left to MPI_Finalize. */
    f = open_file("left", CREATE);
    MPI_File_iwrite_at(f, place(0), data, BYTES, MPI_BYTE, &r[0]);
    MPI_Request_free(&r[0]);
}

static int handled;

static void on_error(MPI_File *file, int *code, ...)
{
    (void)file;
    (void)code;
    handled++;
}

/* Writes of this rank fail in the worker; run with the adapter and a fault only.  The wait returns
 * the error if that does not end the job, else the close does. */
static void later_faults(void)
{
    MPI_Errhandler handler;
    MPI_Request r;
    MPI_Status status;
    int class = 0, expected = atoi(getenv("CTE_TEST_EXPECT"));
    buffers();
    for (int turn = 0; turn < 3; turn++) {
        MPI_File f = open_file("faults", CREATE);
        MPI_File_create_errhandler(on_error, &handler);
        MPI_File_set_errhandler(f, handler);
        MPI_Errhandler_free(&handler);
        handled = 0;
        if (turn == 1)
            MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
        MUST(MPI_File_iwrite_at(f, place(0), data, BYTES, MPI_BYTE, &r) == MPI_SUCCESS);
        int code = MPI_SUCCESS;
        if (turn < 2)
            code = MPI_Wait(&r, &status);
        else
            MPI_Request_free(&r);
        int closed = MPI_File_close(&f);
        MPI_Error_class(turn == 1 && rank == 0 ? code : closed, &class);
        MUST(turn == 1 || code == MPI_SUCCESS);
        MUST(class == (turn == 1 && rank != 0 ? MPI_SUCCESS : expected));
        /* Told when waited for, and by the close. */
        MUST(handled == (rank == 0 && turn < 2) + (closed != MPI_SUCCESS));
    }
}

const struct program later_programs[] = {{"later", later},
                                         {"later_changes", later_changes},
                                         {"later_odd", later_odd},
                                         {"later_faults", later_faults},
                                         {NULL, NULL}};
