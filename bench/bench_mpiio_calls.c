/* SPDX-License-Identifier: BSD-3-Clause */
/* What calls cost that move no data. */
#include <stdio.h>
#include <stdlib.h>

#include "bench_mpiio.h"

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of what the slowest rank took for each call. */
static void put_median(const char *name, double *seconds, int count)
{
    MPI_Allreduce(MPI_IN_PLACE, seconds, count, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    qsort(seconds, (size_t)count, sizeof *seconds, compare);
    put_figure(name, seconds[count / 2]);
}

/* *open_s and *close_s: of this rank. */
static void open_and_close(const struct options *options, int mode, double *open_s, double *close_s)
{
    MPI_File file;
    MPI_Barrier(MPI_COMM_WORLD);
    double begin = MPI_Wtime();
    check(MPI_File_open(MPI_COMM_WORLD, options->file, mode, MPI_INFO_NULL, &file), "open");
    double opened = MPI_Wtime();
    MPI_Barrier(MPI_COMM_WORLD);
    double closing = MPI_Wtime();
    check(MPI_File_close(&file), "close");
    *open_s = opened - begin;
    *close_s = MPI_Wtime() - closing;
}

static void delete_file(const struct options *options)
{
    if (rank == 0)
        check(MPI_File_delete(options->file, MPI_INFO_NULL), "delete");
    MPI_Barrier(MPI_COMM_WORLD);
}

/* The first open of the process is told apart: it finds or makes the store. */
void measure_open_close(const struct options *options)
{
    int count = (int)options->calls;
    double *opens = calloc((size_t)count, sizeof *opens),
           *closes = calloc((size_t)count, sizeof *closes);
    double first[2];
    if (!opens || !closes)
        fail("not enough memory for the times");
    open_and_close(options, MPI_MODE_CREATE | MPI_MODE_RDWR, &first[0], &first[1]);
    put_median("first_open_s", &first[0], 1);
    delete_file(options);
    for (int i = 0; i < count; i++) {
        open_and_close(options, MPI_MODE_CREATE | MPI_MODE_RDWR, &opens[i], &closes[i]);
        delete_file(options);
    }
    put_median("new_open_s", opens, count);
    put_median("new_close_s", closes, count);
    open_and_close(options, MPI_MODE_CREATE | MPI_MODE_RDWR, &first[0], &first[1]);
    for (int i = 0; i < count; i++)
        open_and_close(options, MPI_MODE_RDWR, &opens[i], &closes[i]);
    put_median("old_open_s", opens, count);
    put_median("old_close_s", closes, count);
    delete_file(options);
    free(opens);
    free(closes);
}

static double median_of_nine(double (*run)(MPI_File, uint64_t), MPI_File file, uint64_t calls)
{
    double ns[9];
    for (int i = 0; i < 9; i++)
        ns[i] = run(file, calls) / (double)calls * 1e9;
    qsort(ns, 9, sizeof ns[0], compare);
    return ns[4];
}

static double get_positions(MPI_File file, uint64_t calls)
{
    MPI_Offset offset;
    double begin = MPI_Wtime();
    for (uint64_t i = 0; i < calls; i++)
        check(MPI_File_get_position(file, &offset), "get_position");
    return MPI_Wtime() - begin;
}

static double read_nothing(MPI_File file, uint64_t calls)
{
    MPI_Status status;
    char byte;
    double begin = MPI_Wtime();
    for (uint64_t i = 0; i < calls; i++)
        check(MPI_File_read_at(file, 0, &byte, 0, MPI_BYTE, &status), "read_at");
    return MPI_Wtime() - begin;
}

/* By each rank for itself, since ranks that wait would disturb. */
void measure_untracked(const struct options *options)
{
    char tracked_path[4096];
    MPI_File untracked, tracked;
    MPI_Info info;
    double alone[2], beside[2];
    snprintf(tracked_path, sizeof tracked_path, "%s.tracked", options->file);
    MPI_Info_create(&info);
    MPI_Info_set(info, "cte_mode", "bypass");
    check(MPI_File_open(MPI_COMM_WORLD, options->file, MPI_MODE_CREATE | MPI_MODE_RDWR, info,
                        &untracked),
          "open");
    MPI_Info_free(&info);
    alone[0] = median_of_nine(get_positions, untracked, options->calls);
    alone[1] = median_of_nine(read_nothing, untracked, options->calls);
    check(MPI_File_open(MPI_COMM_WORLD, tracked_path, MPI_MODE_CREATE | MPI_MODE_RDWR,
                        MPI_INFO_NULL, &tracked),
          "open");
    beside[0] = median_of_nine(get_positions, untracked, options->calls);
    beside[1] = median_of_nine(read_nothing, untracked, options->calls);
    put_figure("position_ns", alone[0]);
    put_figure("read_nothing_ns", alone[1]);
    put_figure("position_beside_ns", beside[0]);
    put_figure("read_nothing_beside_ns", beside[1]);
    check(MPI_File_close(&tracked), "close");
    check(MPI_File_close(&untracked), "close");
    if (rank == 0) {
        check(MPI_File_delete(options->file, MPI_INFO_NULL), "delete");
        check(MPI_File_delete(tracked_path, MPI_INFO_NULL), "delete");
    }
    MPI_Barrier(MPI_COMM_WORLD);
}
