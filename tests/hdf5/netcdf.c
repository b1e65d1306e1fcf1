/* SPDX-License-Identifier: BSD-3-Clause */
/* A program on netCDF-4 that knows nothing of cte.
 *
 *     netcdf write|append|read FILE
 *
 * A model's output: a grid, a record for each step, compressed and not, with groups, attributes,
 * and types of the user's own.  `append` adds steps to a file that is there; `read` checks every
 * value and prints what it found. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <netcdf.h>

enum { ROWS = 60, COLUMNS = 90, STEPS = 5, STATIONS = 4 };

struct station {
    int number;
    double height;
};

static void ok(int code, const char *what)
{
    if (code == NC_NOERR)
        return;
    fprintf(stderr, "netcdf: %s: %s\n", what, nc_strerror(code));
    exit(1);
}

static float value_at(size_t step, size_t cell)
{
    return (float)step * 0.5f + (float)(cell * 7 % 1000);
}

static void fill(float *values, size_t step)
{
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        values[i] = value_at(step, i);
}

static int define_grid(int file, const char *name, const int dims[3], int compressed)
{
    const size_t chunks[3] = {1, 16, 32};
    const float missing = -999.0f;
    int variable;
    ok(nc_def_var(file, name, NC_FLOAT, 3, dims, &variable), name);
    ok(nc_def_var_chunking(file, variable, NC_CHUNKED, chunks), "chunks");
    ok(nc_def_var_fill(file, variable, NC_FILL, &missing), "fill value");
    ok(nc_put_att_text(file, variable, "units", 1, "K"), "units");
    if (compressed)
        ok(nc_def_var_deflate(file, variable, 1, 1, 4), "deflate");
    return variable;
}

static void write_stations(int file)
{
    struct station stations[STATIONS];
    const char *names[STATIONS] = {"north", "east", "south", "west"};
    int group, type, dim, variable, text;
    memset(stations, 0, sizeof stations);
    for (int i = 0; i < STATIONS; i++)
        stations[i] = (struct station){.number = i * 11, .height = i * 1.5};
    ok(nc_def_grp(file, "stations", &group), "group");
    ok(nc_def_dim(group, "station", STATIONS, &dim), "dimension");
    ok(nc_def_compound(group, sizeof(struct station), "station_t", &type), "compound");
    ok(nc_insert_compound(group, type, "number", NC_COMPOUND_OFFSET(struct station, number),
                          NC_INT),
       "member");
    ok(nc_insert_compound(group, type, "height", NC_COMPOUND_OFFSET(struct station, height),
                          NC_DOUBLE),
       "member");
    ok(nc_def_var(group, "place", type, 1, &dim, &variable), "variable");
    ok(nc_def_var(group, "name", NC_STRING, 1, &dim, &text), "variable");
    ok(nc_put_var(group, variable, stations), "compounds");
    ok(nc_put_var_string(group, text, names), "strings");
}

static void write_steps(int file, size_t first, size_t count)
{
    static float values[ROWS * COLUMNS];
    const char *const names[] = {"temperature", "packed"};
    for (size_t step = first; step < first + count; step++) {
        const size_t start[3] = {step, 0, 0}, size[3] = {1, ROWS, COLUMNS};
        fill(values, step);
        for (int i = 0; i < 2; i++) {
            int variable;
            ok(nc_inq_varid(file, names[i], &variable), names[i]);
            ok(nc_put_vara_float(file, variable, start, size, values), "write");
        }
        ok(nc_sync(file), "sync");
    }
}

static void write_file(const char *name)
{
    int file, dims[3], column;
    double longitudes[COLUMNS];
    ok(nc_create(name, NC_NETCDF4 | NC_CLOBBER, &file), name);
    ok(nc_def_dim(file, "time", NC_UNLIMITED, &dims[0]), "dimension");
    ok(nc_def_dim(file, "row", ROWS, &dims[1]), "dimension");
    ok(nc_def_dim(file, "column", COLUMNS, &dims[2]), "dimension");
    ok(nc_def_var(file, "column", NC_DOUBLE, 1, &dims[2], &column), "variable");
    ok(nc_put_att_text(file, NC_GLOBAL, "title", 11, "a small run"), "title");
    define_grid(file, "temperature", dims, 0);
    define_grid(file, "packed", dims, 1);
    for (int i = 0; i < COLUMNS; i++)
        longitudes[i] = i * 4.0;
    ok(nc_put_var_double(file, column, longitudes), "longitudes");
    write_stations(file);
    write_steps(file, 0, STEPS);
    ok(nc_close(file), "close");
}

static void append(const char *name)
{
    int file;
    ok(nc_open(name, NC_WRITE, &file), name);
    write_steps(file, STEPS, STEPS);
    ok(nc_put_att_text(file, NC_GLOBAL, "history", 9, "continued"), "history");
    ok(nc_close(file), "close");
}

static void check_steps(int file, const char *name, size_t steps)
{
    static float values[ROWS * COLUMNS];
    int variable;
    ok(nc_inq_varid(file, name, &variable), name);
    for (size_t step = 0; step < steps; step++) {
        const size_t start[3] = {step, 0, 0}, size[3] = {1, ROWS, COLUMNS};
        ok(nc_get_vara_float(file, variable, start, size, values), "read");
        for (size_t i = 0; i < ROWS * COLUMNS; i++)
            if (values[i] != value_at(step, i)) {
                fprintf(stderr, "netcdf: %s, step %zu, cell %zu is WRONG\n", name, step, i);
                exit(1);
            }
    }
}

static void read_file(const char *name)
{
    int file, time;
    size_t steps;
    ok(nc_open(name, NC_NOWRITE, &file), name);
    ok(nc_inq_dimid(file, "time", &time), "time");
    ok(nc_inq_dimlen(file, time, &steps), "time");
    check_steps(file, "temperature", steps);
    check_steps(file, "packed", steps);
    ok(nc_close(file), "close");
    printf("%zu steps\n", steps);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: netcdf write|append|read FILE\n", stderr);
        return 2;
    }
    if (strcmp(argv[1], "write") == 0)
        write_file(argv[2]);
    else if (strcmp(argv[1], "append") == 0)
        append(argv[2]);
    else
        read_file(argv[2]);
    return 0;
}
