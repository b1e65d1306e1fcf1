/* SPDX-License-Identifier: BSD-3-Clause */
/* Usage: netcdf
 * Writes parallel.nc by netCDF-4 from all ranks: a grid collectively, another one independently, a
 * compressed one, records of a dimension without limit; then opens it again, each rank reads and
 * checks what another one wrote, and appends records.  Every value is a function of its place. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include <mpi.h>

#include <netcdf.h>
#include <netcdf_par.h>

enum { ROWS_EACH = 24, COLUMNS = 50, STEPS = 3 };

static int rank, rank_count;

static const char *const names[] = {"collective", "independent", "packed", "records"};
enum { COLLECTIVE, INDEPENDENT, PACKED, RECORDS, NAMES };

/* Stands for the C library's: object times must not tell the files apart.  Only for HDF5: MPI waits
 * by this clock. */
int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    Dl_info caller;
    struct timespec time = {1000000000, 0};
    (void)zone;
    if (!dladdr(__builtin_return_address(0), &caller) || !strstr(caller.dli_fname, "libhdf5"))
        clock_gettime(CLOCK_REALTIME, &time);
    *now = (struct timeval){time.tv_sec, time.tv_nsec / 1000};
    return 0;
}

static void ok(int code, const char *what)
{
    if (code == NC_NOERR)
        return;
    fprintf(stderr, "netcdf: rank %d: %s: %s\n", rank, what, nc_strerror(code));
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static int value_at(int variable, size_t step, size_t row, size_t column)
{
    return (int)(variable * 1000003 + step * 10007 + row * 101 + column);
}

static void fill(int *values, int variable, size_t step, size_t first_row)
{
    for (size_t row = 0; row < ROWS_EACH; row++)
        for (size_t column = 0; column < COLUMNS; column++)
            values[row * COLUMNS + column] = value_at(variable, step, first_row + row, column);
}

/* The rows of a rank. */
static void place_of(int of_rank, int variable, size_t step, size_t start[3], size_t count[3])
{
    size_t first = (size_t)of_rank * ROWS_EACH;
    int dim = 0;
    if (variable == RECORDS) {
        start[dim] = step;
        count[dim++] = 1;
    }
    start[dim] = first;
    count[dim++] = ROWS_EACH;
    start[dim] = 0;
    count[dim] = COLUMNS;
}

static void write_share(int file, int variable, size_t step)
{
    static int values[ROWS_EACH * COLUMNS];
    size_t start[3], count[3];
    int id;
    ok(nc_inq_varid(file, names[variable], &id), names[variable]);
    ok(nc_var_par_access(file, id, variable == INDEPENDENT ? NC_INDEPENDENT : NC_COLLECTIVE),
       "access");
    place_of(rank, variable, step, start, count);
    fill(values, variable, step, (size_t)rank * ROWS_EACH);
    ok(nc_put_vara_int(file, id, start, count, values), names[variable]);
}

static void check_share(int file, int variable, size_t step)
{
    static int values[ROWS_EACH * COLUMNS], expected[ROWS_EACH * COLUMNS];
    size_t start[3], count[3];
    int neighbour = (rank + 1) % rank_count, id;
    ok(nc_inq_varid(file, names[variable], &id), names[variable]);
    ok(nc_var_par_access(file, id, variable == INDEPENDENT ? NC_INDEPENDENT : NC_COLLECTIVE),
       "access");
    place_of(neighbour, variable, step, start, count);
    fill(expected, variable, step, (size_t)neighbour * ROWS_EACH);
    ok(nc_get_vara_int(file, id, start, count, values), names[variable]);
    for (int i = 0; i < ROWS_EACH * COLUMNS; i++)
        if (values[i] != expected[i]) {
            fprintf(stderr, "netcdf: rank %d: %s: value %d is WRONG\n", rank, names[variable], i);
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
}

static void define(int file)
{
    const size_t chunks[2] = {16, 20};
    int dims[3], id;
    ok(nc_def_dim(file, "time", NC_UNLIMITED, &dims[0]), "dimension");
    ok(nc_def_dim(file, "row", (size_t)rank_count * ROWS_EACH, &dims[1]), "dimension");
    ok(nc_def_dim(file, "column", COLUMNS, &dims[2]), "dimension");
    for (int variable = 0; variable < NAMES; variable++) {
        int records = variable == RECORDS;
        ok(nc_def_var(file, names[variable], NC_INT, records ? 3 : 2, records ? dims : dims + 1,
                      &id),
           names[variable]);
        if (variable == PACKED) {
            ok(nc_def_var_chunking(file, id, NC_CHUNKED, chunks), "chunks");
            ok(nc_def_var_deflate(file, id, 1, 1, 3), "deflate");
        }
    }
    ok(nc_put_att_int(file, NC_GLOBAL, "written_by", NC_INT, 1, &rank_count), "attribute");
    ok(nc_enddef(file), "enddef");
}

static void write_file(void)
{
    int file;
    ok(nc_create_par("parallel.nc", NC_NETCDF4 | NC_MPIIO, MPI_COMM_WORLD, MPI_INFO_NULL, &file),
       "create");
    define(file);
    for (int variable = 0; variable < RECORDS; variable++)
        write_share(file, variable, 0);
    for (size_t step = 0; step < STEPS; step++)
        write_share(file, RECORDS, step);
    ok(nc_close(file), "close");
}

static void read_and_append(void)
{
    int file;
    ok(nc_open_par("parallel.nc", NC_WRITE | NC_MPIIO, MPI_COMM_WORLD, MPI_INFO_NULL, &file),
       "open");
    for (int variable = 0; variable < RECORDS; variable++)
        check_share(file, variable, 0);
    for (size_t step = 0; step < 2 * STEPS; step++) {
        if (step >= STEPS)
            write_share(file, RECORDS, step);
        MPI_Barrier(MPI_COMM_WORLD);
        check_share(file, RECORDS, step);
    }
    ok(nc_close(file), "close");
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
    write_file();
    read_and_append();
    if (rank == 0)
        printf("%d ranks agree\n", rank_count);
    MPI_Finalize();
    return 0;
}
