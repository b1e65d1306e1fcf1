/* SPDX-License-Identifier: BSD-3-Clause */
/* Hints of the library: taken, told, changed, misspelt. */
#include "program.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CREATE = MPI_MODE_RDWR | MPI_MODE_CREATE };

/* Hints that are taken, misspelt, or no good. */
static void hints(void)
{
    MPI_Info info, used;
    MPI_File f;
    MPI_Info_create(&info);
    MPI_Info_set(info, "cte_mode", "default");
    MPI_Info_set(info, "cte_score", "0.5");
    MPI_Info_set(info, "cte_drian", "async");
    for (int i = 0; i < 3; i++) {
        say_code("open", MPI_File_open(MPI_COMM_WORLD, "hints", CREATE, info, &f));
        say_code("get_info", MPI_File_get_info(f, &used));
        MPI_Info_free(&used);
        MPI_File_close(&f);
    }
    MPI_Info_free(&info);
}

static void must_tell(MPI_File f, const char *key, const char *expected)
{
    char value[MPI_MAX_INFO_VAL + 1];
    MPI_Info used;
    int found;
    MPI_File_get_info(f, &used);
    MPI_Info_get(used, key, MPI_MAX_INFO_VAL, value, &found);
    MPI_Info_free(&used);
    if (!found || strcmp(value, expected) != 0) {
        fprintf(stderr, "%s is told as %s\n", key, found ? value : "nothing");
        MPI_Abort(MPI_COMM_WORLD, 4);
    }
}

/* What get_info tells of hints, ours and MPICH's; run with the adapter only. */
static void hints_told(void)
{
    static const char *const given[][2] = {{"cte_mode", "scratch"},
                                           {"cte_score", "0.25"},
                                           {"cte_chunk_size", "262144"},
                                           {"cb_buffer_size", "65536"}};
    char all[300000], back[300000];
    MPI_Info info;
    MPI_File f;
    MPI_Info_create(&info);
    for (int i = 0; i < 4; i++)
        MPI_Info_set(info, given[i][0], given[i][1]);
    MPI_File_open(MPI_COMM_WORLD, "told", CREATE, info, &f);
    for (int i = 0; i < 4; i++)
        must_tell(f, given[i][0], given[i][1]);
    must_tell(f, "cte_drain", "on_close");
    /* Pieces of that size hold what is written across them. */
    fill(all, sizeof all, 3);
    MPI_File_write_at(f, (MPI_Offset)rank * (int)sizeof all + 262100, all, sizeof all, MPI_BYTE,
                      MPI_STATUS_IGNORE);
    MPI_File_read_at(f, (MPI_Offset)rank * (int)sizeof all + 262100, back, sizeof all, MPI_BYTE,
                     MPI_STATUS_IGNORE);
    if (memcmp(all, back, sizeof all) != 0)
        MPI_Abort(MPI_COMM_WORLD, 4);
    MPI_File_close(&f);
    MPI_Info_free(&info);
}

static long long size_without_mpi(const char *name)
{
    struct stat st;
    return stat(name, &st) == 0 ? (long long)st.st_size : -1;
}

static void must_have_size(const char *name, long long bytes)
{
    MPI_Barrier(MPI_COMM_WORLD);
    if (size_without_mpi(name) != bytes) {
        fprintf(stderr, "%s has %lld bytes, not %lld\n", name, size_without_mpi(name), bytes);
        MPI_Abort(MPI_COMM_WORLD, 4);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* Hints that come when the file is open; what is decided then is not changed.  Run with the adapter
 * only. */
static void hints_changed(void)
{
    MPI_Info info;
    MPI_File f = open_file("changed", CREATE);
    must_tell(f, "cte_mode", "default");
    must_tell(f, "cte_drain", "on_close");
    MPI_Info_create(&info);
    MPI_Info_set(info, "cte_drain", "never");
    MPI_Info_set(info, "cte_mode", "scratch");
    MPI_Info_set(info, "cte_chunk_size", "65536");
    MPI_File_set_info(f, info);
    must_tell(f, "cte_mode", "default");
    must_tell(f, "cte_drain", "never");
    must_tell(f, "cte_chunk_size", "1048576");
    MPI_File_write_at_all(f, rank, "x", 1, MPI_BYTE, MPI_STATUS_IGNORE);
    MPI_File_close(&f);
    must_have_size("changed", 0);
    f = open_file("changed", CREATE);
    MPI_Info_free(&info);
    MPI_Info_create(&info);
    MPI_Info_set(info, "cte_drain", "async");
    MPI_Info_set(info, "cte_score", "0.125");
    MPI_File_set_view(f, 0, MPI_BYTE, MPI_BYTE, "native", info);
    must_tell(f, "cte_drain", "async");
    must_tell(f, "cte_score", "0.125");
    MPI_Info_set(info, "cte_drain", "on_close");
    MPI_File_set_info(f, info);
    MPI_File_close(&f);
    must_have_size("changed", ranks);
    MPI_Info_free(&info);
}

/* A file that passes through, asked for with hints that are no good. */
static void bypass(void)
{
    MPI_Info info;
    MPI_File f;
    MPI_Info_create(&info);
    MPI_Info_set(info, "cte_mode", "bypass");
    MPI_Info_set(info, "cte_score", "very high");
    MPI_Info_set(info, "cte_chunk_size", "100000");
    MPI_File_open(MPI_COMM_WORLD, "bypass", CREATE, info, &f);
    MPI_File_write_at(f, rank * 4, &rank, 1, MPI_INT, MPI_STATUS_IGNORE);
    MPI_File_close(&f);
    MPI_Info_free(&info);
}

/* Each rank's part of a file, written and read again. */
static void write_part(const char *name, int amode, const char *mode, const char *representation)
{
    enum { INTS = 250 };
    int data[INTS], back[INTS] = {0};
    bool sequential = amode & MPI_MODE_SEQUENTIAL;
    MPI_Info info;
    MPI_File f;
    MPI_Info_create(&info);
    if (mode)
        MPI_Info_set(info, "cte_mode", mode);
    fill(data, sizeof data, 5);
    MPI_File_open(MPI_COMM_WORLD, name, MPI_MODE_CREATE | amode, info, &f);
    if (!sequential)
        MPI_File_set_view(f, 0, MPI_INT, MPI_INT, representation, MPI_INFO_NULL);
    if (sequential)
        MPI_File_write_ordered(f, data, INTS, MPI_INT, MPI_STATUS_IGNORE);
    else
        MPI_File_write_at_all(f, rank * INTS, data, INTS, MPI_INT, MPI_STATUS_IGNORE);
    if (!sequential)
        MPI_File_read_at_all(f, rank * INTS, back, INTS, MPI_INT, MPI_STATUS_IGNORE);
    MPI_File_close(&f);
    MPI_Info_free(&info);
    if (!sequential && memcmp(data, back, sizeof data) != 0) {
        fprintf(stderr, "%s: other bytes\n", name);
        MPI_Abort(MPI_COMM_WORLD, 4);
    }
}

/* Files that are to be handled in different ways; which, run_modes looks at. */
static void handled(void)
{
    write_part("plain.dat", MPI_MODE_RDWR, NULL, "native");
    write_part("plain.log", MPI_MODE_RDWR, NULL, "native");
    write_part("default.dat", MPI_MODE_RDWR, "default", "native");
    write_part("scratch.dat", MPI_MODE_RDWR, "scratch", "native");
    write_part("bypass.dat", MPI_MODE_RDWR, "bypass", "native");
    write_part("sequential.dat", MPI_MODE_WRONLY | MPI_MODE_SEQUENTIAL, NULL, "native");
    write_part("external.dat", MPI_MODE_RDWR, NULL, "external32");
}

const struct program hint_programs[] = {
    {"hints", hints},   {"hints_told", hints_told}, {"hints_changed", hints_changed},
    {"bypass", bypass}, {"handled", handled},       {NULL, NULL}};
