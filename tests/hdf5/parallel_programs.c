/* SPDX-License-Identifier: BSD-3-Clause */
/* Parallel HDF5 programs.
 *
 *     parallel_programs write|extend|read <directory> mpio|call|plugin
 *
 * mpio: HDF5's own driver, as in any program; the MPI-IO layer is preloaded or not.
 * call: H5Pset_fapl_cte_mpio(), in the program that is built with CALLS_CTE.
 * plugin: the driver by its name, with HDF5 1.14; HDF5 finds it in HDF5_PLUGIN_PATH.
 *
 * Each value is a function of its place alone, so that any number of ranks can extend and check
 * what any other number wrote. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <hdf5.h>

#ifdef CALLS_CTE
#include <cte/hdf5.h>
#if H5_VERSION_GE(1, 14, 0)
#include <H5FDdevelop.h>
#endif
#endif

enum { ROWS = 240, COLUMNS = 173, MORE_ROWS = 120, CHUNK_ROWS = 16, CHUNK_COLUMNS = 50 };

static int rank, rank_count;
static const char *driver;

/* How the rows of a dataset go to the ranks. */
enum share { BLOCKS, CYCLIC, COLUMN_STRIPES };

static const struct layout {
    const char *name;
    enum share share;
    bool chunked, collective, collective_metadata, atomic;
    bool filtered;    /* compressed by all processes together */
    bool incremental; /* chunks come into being when they are written */
    int selection_io; /* 1: on, -1: off, 0: as HDF5 likes; it knows that from 1.14 on */
} layouts[] = {
    {.name = "contiguous_collective", .share = BLOCKS, .collective = true},
    {.name = "contiguous_independent", .share = BLOCKS},
    {.name = "chunked_collective", .share = BLOCKS, .chunked = true, .collective = true},
    {.name = "chunked_independent", .share = BLOCKS, .chunked = true},
    {.name = "strided_collective", .share = CYCLIC, .collective = true},
    {.name = "strided_independent", .share = CYCLIC},
    {.name = "strided_chunked_collective",
     .share = CYCLIC,
     .chunked = true,
     .collective = true,
     .collective_metadata = true},
    {.name = "columns_collective",
     .share = COLUMN_STRIPES,
     .collective = true,
     .collective_metadata = true},
    {.name = "columns_chunked_collective",
     .share = COLUMN_STRIPES,
     .chunked = true,
     .collective = true,
     .collective_metadata = true},
    {.name = "columns_independent", .share = COLUMN_STRIPES, .collective_metadata = true},
    {.name = "atomic_independent", .share = CYCLIC, .atomic = true},
    {.name = "atomic_collective", .share = BLOCKS, .collective = true, .atomic = true},
    {.name = "filtered_blocks",
     .share = BLOCKS,
     .chunked = true,
     .collective = true,
     .filtered = true},
    {.name = "filtered_strided",
     .share = CYCLIC,
     .chunked = true,
     .collective = true,
     .collective_metadata = true,
     .filtered = true},
    {.name = "filtered_columns",
     .share = COLUMN_STRIPES,
     .chunked = true,
     .collective = true,
     .collective_metadata = true,
     .filtered = true,
     .incremental = true},
    {.name = "selections_contiguous",
     .share = CYCLIC,
     .collective = true,
     .collective_metadata = true,
     .selection_io = 1},
    {.name = "selections_chunked",
     .share = CYCLIC,
     .chunked = true,
     .collective = true,
     .selection_io = 1},
    {.name = "selections_independent", .share = COLUMN_STRIPES, .chunked = true, .selection_io = 1},
    {.name = "datatypes_contiguous",
     .share = CYCLIC,
     .collective = true,
     .collective_metadata = true,
     .selection_io = -1},
    {.name = "datatypes_chunked",
     .share = COLUMN_STRIPES,
     .chunked = true,
     .collective = true,
     .selection_io = -1},
    {.name = "datatypes_independent",
     .share = CYCLIC,
     .chunked = true,
     .collective_metadata = true,
     .selection_io = -1},
};
enum { LAYOUT_COUNT = sizeof layouts / sizeof layouts[0] };

static long long check(long long result, const char *what)
{
    if (result >= 0)
        return result;
    fprintf(stderr, "rank %d: %s failed\n", rank, what);
    H5Eprint2(H5E_DEFAULT, stderr);
    MPI_Abort(MPI_COMM_WORLD, 1);
    abort();
}
#define OK(call) check((long long)(call), #call)

static int value_at(hsize_t row, hsize_t column)
{
    return (int)(row * 1009 + column * 7 + 1);
}

/* The part of rows [first, first+rows) that belongs to this rank. */
static hid_t select_share(hid_t set, enum share share, hsize_t first, hsize_t rows)
{
    hid_t space = OK(H5Dget_space(set));
    hsize_t n = (hsize_t)rank_count, me = (hsize_t)rank,
            extent = share == COLUMN_STRIPES ? COLUMNS : rows;
    hsize_t low = extent * me / n, high = extent * (me + 1) / n;
    hsize_t start[2] = {first, 0}, stride[2] = {1, 1}, count[2] = {rows, COLUMNS};
    if (share == COLUMN_STRIPES) {
        start[1] = low;
        count[1] = high - low;
    } else if (share == BLOCKS) {
        start[0] = first + low;
        count[0] = high - low;
    } else {
        start[0] = first + me;
        stride[0] = n;
        count[0] = me < rows ? (rows - me + n - 1) / n : 0;
    }
    if (count[0] == 0 || count[1] == 0)
        OK(H5Sselect_none(space));
    else
        OK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, stride, count, NULL));
    return space;
}

/* Values of the selection in the order that HDF5 moves them. */
static int *expected_values(hid_t space, size_t count)
{
    int *values = malloc((count + 1) * sizeof *values);
    hsize_t low[2], high[2], start[2], stride[2], n[2], block[2];
    size_t at = 0;
    if (!values)
        check(-1, "malloc");
    if (count == 0)
        return values;
    OK(H5Sget_select_bounds(space, low, high));
    OK(H5Sget_regular_hyperslab(space, start, stride, n, block));
    for (hsize_t row = low[0]; row <= high[0]; row += block[0] > 1 ? 1 : stride[0])
        for (hsize_t column = low[1]; column <= high[1]; column++)
            values[at++] = value_at(row, column);
    if (at != count)
        check(-1, "counting the selection");
    return values;
}

static void transfer(hid_t set, const struct layout *layout, bool write, hsize_t first,
                     hsize_t rows)
{
    hid_t space = select_share(set, layout->share, first, rows),
          dxpl = OK(H5Pcreate(H5P_DATASET_XFER));
    hsize_t count[1] = {(hsize_t)OK(H5Sget_select_npoints(space))};
    hid_t memory = OK(H5Screate_simple(1, count, NULL));
    int *values = expected_values(space, count[0]), *found = calloc(count[0] + 1, sizeof *found);
    if (!found)
        check(-1, "calloc");
#if H5_VERSION_GE(1, 14, 0)
    if (layout->selection_io != 0)
        OK(H5Pset_selection_io(dxpl, layout->selection_io > 0 ? H5D_SELECTION_IO_MODE_ON
                                                              : H5D_SELECTION_IO_MODE_OFF));
#endif
    OK(H5Pset_dxpl_mpio(dxpl, layout->collective ? H5FD_MPIO_COLLECTIVE : H5FD_MPIO_INDEPENDENT));
    if (write) {
        OK(H5Dwrite(set, H5T_NATIVE_INT, memory, space, dxpl, values));
    } else {
        OK(H5Dread(set, H5T_NATIVE_INT, memory, space, dxpl, found));
        OK(memcmp(values, found, count[0] * sizeof *values) == 0 ? 0 : -1);
    }
    free(values);
    free(found);
    OK(H5Sclose(memory));
    OK(H5Sclose(space));
    OK(H5Pclose(dxpl));
}

static hid_t access_list(const struct layout *layout)
{
    hid_t fapl = OK(H5Pcreate(H5P_FILE_ACCESS));
    if (strcmp(driver, "mpio") == 0)
        OK(H5Pset_fapl_mpio(fapl, MPI_COMM_WORLD, MPI_INFO_NULL));
#ifdef CALLS_CTE
    else if (strcmp(driver, "call") == 0)
        OK(H5Pset_fapl_cte_mpio(fapl, MPI_COMM_WORLD, MPI_INFO_NULL, NULL));
#endif
#if H5_VERSION_GE(1, 14, 0)
    else if (strcmp(driver, "plugin") == 0) {
        OK(H5Pset_mpi_params(fapl, MPI_COMM_WORLD, MPI_INFO_NULL));
        OK(H5Pset_driver_by_name(fapl, "cte_mpio", NULL));
    }
#endif
    else
        check(-1, "finding the driver");
    OK(H5Pset_all_coll_metadata_ops(fapl, layout->collective_metadata));
    OK(H5Pset_coll_metadata_write(fapl, layout->collective_metadata));
    return fapl;
}

static void write_attributes(hid_t set)
{
    for (int i = 0; i < 12; i++) {
        char name[32];
        int values[64];
        hsize_t count[1] = {1 + (hsize_t)i * 5};
        snprintf(name, sizeof name, "attribute %d", i);
        for (hsize_t k = 0; k < count[0]; k++)
            values[k] = i * 100 + (int)k;
        hid_t space = OK(H5Screate_simple(1, count, NULL));
        hid_t attribute = OK(H5Acreate2(set, name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT));
        OK(H5Awrite(attribute, H5T_NATIVE_INT, values));
        OK(H5Aclose(attribute));
        OK(H5Sclose(space));
    }
}

static hid_t create_dataset(hid_t file, const struct layout *layout)
{
    hsize_t size[2] = {ROWS, COLUMNS}, max[2] = {H5S_UNLIMITED, COLUMNS};
    hsize_t chunk[2] = {CHUNK_ROWS, CHUNK_COLUMNS};
    hid_t dcpl = OK(H5Pcreate(H5P_DATASET_CREATE));
    hid_t space = OK(H5Screate_simple(2, size, layout->chunked ? max : NULL));
    OK(H5Pset_obj_track_times(dcpl, 0));
    if (layout->chunked)
        OK(H5Pset_chunk(dcpl, 2, chunk));
    if (layout->filtered) {
        OK(H5Pset_shuffle(dcpl));
        OK(H5Pset_deflate(dcpl, 4));
    }
#if H5_VERSION_GE(1, 14, 0)
    if (layout->incremental)
        OK(H5Pset_alloc_time(dcpl, H5D_ALLOC_TIME_INCR));
#endif
    hid_t set = OK(H5Dcreate2(file, "data", H5T_STD_I32LE, space, H5P_DEFAULT, dcpl, H5P_DEFAULT));
    OK(H5Sclose(space));
    OK(H5Pclose(dcpl));
    return set;
}

/* The serial driver, which shares the process's way into the store with the MPI driver, comes and
 * goes: files that are open with the other one must not notice. */
static void unregister_serial_driver(void)
{
#ifdef CALLS_CTE
    OK(H5FDunregister(OK(H5FD_cte_init())));
#endif
}

static void write_file(const char *path, const struct layout *layout)
{
    hid_t fapl = access_list(layout);
    hid_t file = OK(H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, fapl));
    hbool_t atomic = false;
    hid_t set = create_dataset(file, layout);
    unregister_serial_driver();
    if (layout->atomic) {
        OK(H5Fset_mpi_atomicity(file, true));
        OK(H5Fget_mpi_atomicity(file, &atomic));
        OK(atomic ? 0 : -1);
    }
    transfer(set, layout, true, 0, ROWS);
    /* Each rank now reads rows of others, after no more than a barrier. */
    MPI_Barrier(MPI_COMM_WORLD);
    struct layout other = *layout;
    other.share = layout->share == BLOCKS ? CYCLIC : BLOCKS;
    transfer(set, &other, false, 0, ROWS);
    MPI_Barrier(MPI_COMM_WORLD);
    write_attributes(set);
    OK(H5Dclose(set));
    OK(H5Fclose(file));
    OK(H5Pclose(fapl));
}

static hsize_t rows_of(hid_t set)
{
    hsize_t size[2];
    hid_t space = OK(H5Dget_space(set));
    OK(H5Sget_simple_extent_dims(space, size, NULL));
    OK(H5Sclose(space));
    return size[0];
}

static void extend_file(const char *path, const struct layout *layout)
{
    hid_t fapl = access_list(layout), file = OK(H5Fopen(path, H5F_ACC_RDWR, fapl));
    hid_t set = OK(H5Dopen2(file, "data", H5P_DEFAULT));
    transfer(set, layout, false, 0, ROWS);
    if (layout->chunked) {
        hsize_t size[2] = {ROWS + MORE_ROWS, COLUMNS};
        OK(H5Dset_extent(set, size));
        transfer(set, layout, true, ROWS, MORE_ROWS);
    }
    hid_t group = OK(H5Gcreate2(file, "later", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    hid_t second = create_dataset(group, layout);
    transfer(second, layout, true, 0, ROWS);
    OK(H5Dclose(second));
    OK(H5Gclose(group));
    OK(H5Dclose(set));
    OK(H5Fclose(file));
    OK(H5Pclose(fapl));
}

static void read_file(const char *path, const struct layout *layout)
{
    static const char *const names[] = {"data", "later/data"};
    hid_t fapl = access_list(layout), file = OK(H5Fopen(path, H5F_ACC_RDONLY, fapl));
    for (int i = 0; i < 2; i++) {
        hid_t set = OK(H5Dopen2(file, names[i], H5P_DEFAULT));
        hsize_t rows = rows_of(set);
        OK(rows == (hsize_t)(ROWS + (layout->chunked && i == 0 ? MORE_ROWS : 0)) ? 0 : -1);
        transfer(set, layout, false, 0, rows);
        OK(H5Dclose(set));
    }
    OK(H5Fclose(file));
    OK(H5Pclose(fapl));
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
    if (argc != 4)
        check(-1, "parallel_programs write|extend|read <directory> mpio|call|plugin");
    driver = argv[3];
    for (int i = 0; i < LAYOUT_COUNT; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s.h5", argv[2], layouts[i].name);
        if (strcmp(argv[1], "write") == 0)
            write_file(path, &layouts[i]);
        else if (strcmp(argv[1], "extend") == 0)
            extend_file(path, &layouts[i]);
        else
            read_file(path, &layouts[i]);
    }
    if (rank == 0)
        printf("%s by %d ranks: %d layouts\n", argv[1], rank_count, LAYOUT_COUNT);
    MPI_Finalize();
    return 0;
}
