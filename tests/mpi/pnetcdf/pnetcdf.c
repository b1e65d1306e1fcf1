/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Usage: pnetcdf
 * A checkpoint by PnetCDF's blocking, nonblocking and buffered calls, of its own types, shapes and
 * formats; read again by another split of the ranks, and changed.
 */
#include <mpi.h>
#include <pnetcdf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 37, COLUMNS = 53, STEPS = 5, PARTS = 12 };

static int rank, ranks;

#define TRY(call)                                                                                  \
    do {                                                                                           \
        int error = (call);                                                                        \
        if (error != NC_NOERR) {                                                                   \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #call, ncmpi_strerror(error));          \
            MPI_Abort(MPI_COMM_WORLD, 3);                                                          \
        }                                                                                          \
    } while (0)

/* Rows of each rank; the last ranks may have none. */
static void rows_of(int who, MPI_Offset *start, MPI_Offset *count)
{
    MPI_Offset each = (ROWS + ranks - 1) / ranks, begin = who * each;
    *start = begin < ROWS ? begin : ROWS - 1;
    *count = begin < ROWS ? (ROWS - begin < each ? ROWS - begin : each) : 0;
}

static float cell(MPI_Offset step, MPI_Offset row, MPI_Offset column)
{
    return (float)(step * 10000 + row * 100 + column);
}

struct variables {
    int steps, rows, matrix, parts, text, halves;
};

static int create(const char *name, int format, struct variables *v)
{
    int file, d[3];
    TRY(ncmpi_create(MPI_COMM_WORLD, name, NC_CLOBBER | format, MPI_INFO_NULL, &file));
    TRY(ncmpi_def_dim(file, "step", NC_UNLIMITED, &d[0]));
    TRY(ncmpi_def_dim(file, "row", ROWS, &d[1]));
    TRY(ncmpi_def_dim(file, "column", COLUMNS, &d[2]));
    TRY(ncmpi_def_var(file, "steps", NC_FLOAT, 3, d, &v->steps));
    TRY(ncmpi_def_var(file, "rows", NC_INT, 1, &d[1], &v->rows));
    TRY(ncmpi_def_var(file, "matrix", NC_DOUBLE, 2, &d[1], &v->matrix));
    TRY(ncmpi_def_var(file, "parts", NC_SHORT, 2, d, &v->parts));
    TRY(ncmpi_def_var(file, "text", NC_CHAR, 1, &d[2], &v->text));
    TRY(ncmpi_def_var(file, "halves", NC_INT, 2, &d[1], &v->halves));
    TRY(ncmpi_put_att_text(file, NC_GLOBAL, "title", 10, "checkpoint"));
    TRY(ncmpi_enddef(file));
    return file;
}

static void write_blocking(int file, const struct variables *v)
{
    static float data[ROWS * COLUMNS];
    static double column[ROWS];
    MPI_Offset start[3], count[3] = {1, 0, COLUMNS};
    rows_of(rank, &start[1], &count[1]);
    for (MPI_Offset step = 0; step < STEPS; step++) {
        for (MPI_Offset i = 0; i < count[1] * COLUMNS; i++)
            data[i] = cell(step, start[1] + i / COLUMNS, i % COLUMNS);
        start[0] = step;
        start[2] = 0;
        TRY(ncmpi_put_vara_float_all(file, v->steps, start, count, data));
    }
    /* Columns of a matrix dealt to the ranks: strided and in turns. */
    MPI_Offset from[2] = {0, rank}, size[2] = {ROWS, (COLUMNS - rank + ranks - 1) / ranks};
    MPI_Offset stride[2] = {1, ranks};
    double *dealt = malloc(sizeof(double) * (size_t)(size[0] * size[1]));
    if (!dealt)
        MPI_Abort(MPI_COMM_WORLD, 3);
    for (MPI_Offset i = 0; i < size[0] * size[1]; i++)
        dealt[i] = (double)(rank * 1000 + i) / 8;
    TRY(ncmpi_put_vars_double_all(file, v->matrix, from, size, stride, dealt));
    free(dealt);
    /* Independently, one column only. */
    MPI_Offset one[2] = {0, rank}, rows[2] = {ROWS, 1};
    memset(column, 0, sizeof column);
    TRY(ncmpi_begin_indep_data(file));
    TRY(ncmpi_put_vara_double(file, v->matrix, one, rows, column));
    if (rank == 0)
        TRY(ncmpi_put_var_text(file, v->text,
                               "all of a text that is as long as there are columns, or"));
    TRY(ncmpi_end_indep_data(file));
}

static void write_later(int file, const struct variables *v)
{
    static int data[PARTS][COLUMNS];
    int requests[PARTS], codes[PARTS], count = 0;
    for (int part = rank; part < ROWS && count < PARTS; part += ranks, count++) {
        MPI_Offset start[2] = {part, 0}, size[2] = {1, COLUMNS};
        for (int i = 0; i < COLUMNS; i++)
            data[count][i] = part * 1000 + i;
        TRY(ncmpi_iput_vara_int(file, v->halves, start, size, data[count], &requests[count]));
    }
    TRY(ncmpi_wait_all(file, count, requests, codes));
    for (int i = 0; i < count; i++)
        TRY(codes[i]);
}

/* Buffered: the memory may be used again at once. */
static void write_buffered(int file, const struct variables *v)
{
    short data[ROWS];
    int number;
    TRY(ncmpi_buffer_attach(file, STEPS * sizeof data + ROWS * sizeof number));
    for (MPI_Offset step = rank; step < STEPS; step += ranks) {
        MPI_Offset start[2] = {step, 0}, size[2] = {1, ROWS};
        for (int i = 0; i < ROWS; i++)
            data[i] = (short)(step * 100 + i);
        TRY(ncmpi_bput_vara_short(file, v->parts, start, size, data, NULL));
    }
    for (MPI_Offset row = rank; row < ROWS; row += ranks) {
        number = (int)row * 3;
        TRY(ncmpi_bput_var1_int(file, v->rows, &row, &number, NULL));
    }
    TRY(ncmpi_wait_all(file, NC_REQ_ALL, NULL, NULL));
    TRY(ncmpi_buffer_detach(file));
}

/* By other ranks than those that wrote it. */
static void read_back(int file, const struct variables *v)
{
    static float data[ROWS * COLUMNS];
    static int later[ROWS * COLUMNS], rows[ROWS];
    MPI_Offset start[3], count[3] = {1, 0, COLUMNS};
    int request, code;
    rows_of((rank + 1) % ranks, &start[1], &count[1]);
    for (MPI_Offset step = 0; step < STEPS; step++) {
        start[0] = step;
        start[2] = 0;
        TRY(ncmpi_get_vara_float_all(file, v->steps, start, count, data));
        for (MPI_Offset i = 0; i < count[1] * COLUMNS; i++)
            if (data[i] != cell(step, start[1] + i / COLUMNS, i % COLUMNS)) {
                fprintf(stderr, "step %lld, cell %lld: %g\n", (long long)step, (long long)i,
                        data[i]);
                MPI_Abort(MPI_COMM_WORLD, 4);
            }
    }
    TRY(ncmpi_iget_vara_int(file, v->halves, &start[1], &count[1], later, &request));
    TRY(ncmpi_wait_all(file, 1, &request, &code));
    TRY(ncmpi_get_var_int_all(file, v->rows, rows));
    for (int i = 0; i < ROWS; i++)
        if (rows[i] != i * 3)
            MPI_Abort(MPI_COMM_WORLD, 4);
    for (MPI_Offset i = 0; i < count[1] * COLUMNS; i++) {
        MPI_Offset row = start[1] + i / COLUMNS;
        if (row / ranks < PARTS && later[i] != row * 1000 + i % COLUMNS)
            MPI_Abort(MPI_COMM_WORLD, 4);
    }
}

/* A new variable moves the others within the file. */
static void extend(const char *name, const struct variables *v)
{
    int file, dimension, added;
    TRY(ncmpi_open(MPI_COMM_WORLD, name, NC_WRITE, MPI_INFO_NULL, &file));
    read_back(file, v);
    TRY(ncmpi_redef(file));
    TRY(ncmpi_def_dim(file, "more", 4096, &dimension));
    TRY(ncmpi_def_var(file, "added", NC_INT, 1, &dimension, &added));
    TRY(ncmpi_put_att_text(file, added, "why", 7, "to move"));
    TRY(ncmpi_enddef(file));
    MPI_Offset start = rank, count = 4096 / ranks, stride = ranks;
    int *data = calloc((size_t)count, sizeof *data);
    if (!data)
        MPI_Abort(MPI_COMM_WORLD, 3);
    for (MPI_Offset i = 0; i < count; i++)
        data[i] = (int)(start + i * stride);
    TRY(ncmpi_put_vars_int_all(file, added, &start, &count, &stride, data));
    TRY(ncmpi_sync(file));
    read_back(file, v);
    TRY(ncmpi_close(file));
    free(data);
}

int main(int argc, char **argv)
{
    static const int formats[] = {0, NC_64BIT_OFFSET, NC_64BIT_DATA};
    struct variables v;
    char name[32];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "format.%d.nc", i);
        int file = create(name, formats[i], &v);
        write_blocking(file, &v);
        write_later(file, &v);
        write_buffered(file, &v);
        read_back(file, &v);
        TRY(ncmpi_close(file));
        extend(name, &v);
    }
    MPI_Finalize();
    return 0;
}
