/* SPDX-License-Identifier: BSD-3-Clause */
/* A serial HDF5 program that picks its file driver by an option: one line is all that changes.
 *
 *     hdf5_serial --file run.h5 --driver sec2
 *     hdf5_serial --file run.h5 --driver cte
 *
 * It writes a contiguous dataset row by row, an extendible one by appending and, where HDF5 has
 * deflate, a compressed one; opens the file again and checks every value.  Object times are off, so
 * that both drivers must make the same file, byte for byte. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hdf5.h>

#include <cte/hdf5.h>

enum { COLUMNS = 1024, CHUNK_ROWS = 64, RANK = 2 };

struct options {
    const char *driver;
    const char *file;
    hsize_t rows;
};

/* The three ways a dataset is laid out here. */
enum layout { CONTIGUOUS, EXTENDIBLE, COMPRESSED, LAYOUT_COUNT };
static const char *const NAMES[LAYOUT_COUNT] = {"contiguous", "extendible", "compressed"};

static void fail(const char *what)
{
    fprintf(stderr, "hdf5_serial: %s failed\n", what);
    exit(1);
}

static hid_t check_id(hid_t id, const char *what)
{
    if (id < 0)
        fail(what);
    return id;
}

static void check(herr_t result, const char *what)
{
    if (result < 0)
        fail(what);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double value_at(enum layout layout, hsize_t row, int column)
{
    return (double)layout * 1e9 + (double)row * COLUMNS + column;
}

static void fill_row(enum layout layout, hsize_t row, double values[COLUMNS])
{
    for (int column = 0; column < COLUMNS; column++)
        values[column] = value_at(layout, row, column);
}

static bool can_compress(void)
{
    return H5Zfilter_avail(H5Z_FILTER_DEFLATE) > 0;
}

static hid_t make_access(const struct options *options)
{
    hid_t fapl = check_id(H5Pcreate(H5P_FILE_ACCESS), "H5Pcreate");
    if (strcmp(options->driver, "cte") == 0)
        check(H5Pset_fapl_cte(fapl, NULL), "H5Pset_fapl_cte");
    else
        check(H5Pset_fapl_sec2(fapl), "H5Pset_fapl_sec2");
    return fapl;
}

static hid_t create_dataset(hid_t group, enum layout layout, hsize_t rows)
{
    hsize_t chunk[RANK] = {rows < CHUNK_ROWS ? rows : CHUNK_ROWS, COLUMNS};
    hsize_t size[RANK] = {layout == EXTENDIBLE ? 0 : rows, COLUMNS};
    hsize_t limit[RANK] = {layout == EXTENDIBLE ? H5S_UNLIMITED : rows, COLUMNS};
    hid_t space = check_id(H5Screate_simple(RANK, size, limit), "H5Screate_simple");
    hid_t dcpl = check_id(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate");
    check(H5Pset_obj_track_times(dcpl, false), "H5Pset_obj_track_times");
    if (layout != CONTIGUOUS)
        check(H5Pset_chunk(dcpl, RANK, chunk), "H5Pset_chunk");
    if (layout == COMPRESSED)
        check(H5Pset_deflate(dcpl, 1), "H5Pset_deflate");
    hid_t dataset = check_id(
        H5Dcreate2(group, NAMES[layout], H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, dcpl, H5P_DEFAULT),
        "H5Dcreate");
    H5Pclose(dcpl);
    H5Sclose(space);
    return dataset;
}

/* Moves one row of a dataset. */
static void transfer_row(hid_t dataset, hsize_t row, bool write, double values[COLUMNS])
{
    hsize_t start[RANK] = {row, 0}, count[RANK] = {1, COLUMNS};
    hid_t space = check_id(H5Dget_space(dataset), "H5Dget_space");
    hid_t memory = check_id(H5Screate_simple(RANK, count, NULL), "H5Screate_simple");
    check(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL),
          "H5Sselect_hyperslab");
    if (write)
        check(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, values), "H5Dwrite");
    else
        check(H5Dread(dataset, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, values), "H5Dread");
    H5Sclose(memory);
    H5Sclose(space);
}

static void write_dataset(hid_t group, enum layout layout, hsize_t rows)
{
    double values[COLUMNS];
    hid_t dataset = create_dataset(group, layout, rows);
    for (hsize_t row = 0; row < rows; row++) {
        hsize_t size[RANK] = {row + 1, COLUMNS};
        if (layout == EXTENDIBLE)
            check(H5Dset_extent(dataset, size), "H5Dset_extent");
        fill_row(layout, row, values);
        transfer_row(dataset, row, true, values);
    }
    check(H5Dclose(dataset), "H5Dclose");
}

static void write_file(const struct options *options)
{
    hid_t fapl = make_access(options);
    hid_t file = check_id(H5Fcreate(options->file, H5F_ACC_TRUNC, H5P_DEFAULT, fapl), "H5Fcreate");
    hid_t group =
        check_id(H5Gcreate2(file, "run", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), "H5Gcreate");
    hid_t space = check_id(H5Screate(H5S_SCALAR), "H5Screate");
    hid_t attribute = check_id(
        H5Acreate2(group, "rows", H5T_NATIVE_HSIZE, space, H5P_DEFAULT, H5P_DEFAULT), "H5Acreate");
    check(H5Awrite(attribute, H5T_NATIVE_HSIZE, &options->rows), "H5Awrite");
    H5Aclose(attribute);
    H5Sclose(space);
    for (enum layout layout = CONTIGUOUS; layout < LAYOUT_COUNT; layout++)
        if (layout != COMPRESSED || can_compress())
            write_dataset(group, layout, options->rows);
    check(H5Gclose(group), "H5Gclose");
    check(H5Fclose(file), "H5Fclose");
    H5Pclose(fapl);
}

/* Number of rows of a dataset that are not as written. */
static hsize_t count_wrong_rows(hid_t group, enum layout layout, hsize_t rows)
{
    double expected[COLUMNS], values[COLUMNS];
    hsize_t wrong = 0, size[RANK] = {0};
    hid_t dataset = check_id(H5Dopen2(group, NAMES[layout], H5P_DEFAULT), "H5Dopen");
    hid_t space = check_id(H5Dget_space(dataset), "H5Dget_space");
    H5Sget_simple_extent_dims(space, size, NULL);
    H5Sclose(space);
    for (hsize_t row = 0; row < rows && size[0] == rows; row++) {
        memset(values, 0xff, sizeof values);
        transfer_row(dataset, row, false, values);
        fill_row(layout, row, expected);
        wrong += memcmp(values, expected, sizeof values) != 0;
    }
    check(H5Dclose(dataset), "H5Dclose");
    wrong = size[0] == rows ? wrong : rows;
    printf("dataset %s, %llu rows: %s\n", NAMES[layout], (unsigned long long)rows,
           wrong ? "WRONG" : "verified");
    return wrong;
}

static bool verify_file(const struct options *options)
{
    hsize_t rows = 0, wrong = 0, bytes = 0;
    hid_t fapl = make_access(options);
    hid_t file = check_id(H5Fopen(options->file, H5F_ACC_RDONLY, fapl), "H5Fopen");
    hid_t group = check_id(H5Gopen2(file, "run", H5P_DEFAULT), "H5Gopen");
    hid_t attribute = check_id(H5Aopen(group, "rows", H5P_DEFAULT), "H5Aopen");
    check(H5Aread(attribute, H5T_NATIVE_HSIZE, &rows), "H5Aread");
    H5Aclose(attribute);
    for (enum layout layout = CONTIGUOUS; layout < LAYOUT_COUNT; layout++)
        if (layout != COMPRESSED || can_compress())
            wrong += count_wrong_rows(group, layout, options->rows);
    check(H5Fget_filesize(file, &bytes), "H5Fget_filesize");
    printf("file size %llu bytes\n", (unsigned long long)bytes);
    check(H5Gclose(group), "H5Gclose");
    check(H5Fclose(file), "H5Fclose");
    H5Pclose(fapl);
    return wrong == 0 && rows == options->rows;
}

static void usage(FILE *stream)
{
    fputs("usage: hdf5_serial --file FILE [--driver sec2|cte] [--rows N]\n"
          "Writes three datasets of N (default 512) rows of 1024 doubles and verifies them.\n",
          stream);
}

/* 0: run; 1: help was printed; 2: wrong use. */
static int parse_options(int argc, char **argv, struct options *options)
{
    static const struct option LONG[] = {
        {"driver", required_argument, NULL, 'd'},
        {"file", required_argument, NULL, 'f'},
        {"rows", required_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){.driver = "sec2", .rows = 512};
    int letter;
    while ((letter = getopt_long(argc, argv, "", LONG, NULL)) != -1) {
        switch (letter) {
        case 'd':
            options->driver = optarg;
            break;
        case 'f':
            options->file = optarg;
            break;
        case 'r':
            options->rows = strtoull(optarg, NULL, 10);
            break;
        case 'h':
            usage(stdout);
            return 1;
        default:
            usage(stderr);
            return 2;
        }
    }
    bool known = strcmp(options->driver, "cte") == 0 || strcmp(options->driver, "sec2") == 0;
    if (optind == argc && options->file && options->rows && known)
        return 0;
    usage(stderr);
    return 2;
}

int main(int argc, char **argv)
{
    struct options options;
    int status = parse_options(argc, argv, &options);
    if (status)
        return status == 1 ? 0 : status;
    double begin = now();
    write_file(&options);
    double written = now();
    bool good = verify_file(&options);
    /* not on stdout, which is the same for every driver */
    fprintf(stderr, "visible I/O: write %.6f s, read %.6f s\n", written - begin, now() - written);
    return good ? 0 : 1;
}
