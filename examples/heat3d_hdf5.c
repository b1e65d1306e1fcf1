/* SPDX-License-Identifier: BSD-3-Clause */
/* The heat solver with checkpoints by parallel HDF5.
 *
 *     mpiexec -n 4 heat3d_hdf5 --grid 128,128,128 --chunk 32,64,64 --directory /scratch/me
 *     mpiexec -n 4 heat3d_hdf5 --restart /scratch/me/heat3d.000010.h5 --steps 40
 *
 * Nothing here knows of cte: run it with LD_PRELOAD=libcte_mpiio.so to have it accelerated.
 *
 * File: dataset /temperature (the box, contiguous or chunked) with attribute `step`, written
 * collectively.  Object times are off, so that equal runs make equal files. */
#include "heat3d.h"

#include <stdio.h>

#include <hdf5.h>

/* HDF5 ids are negative on failure; HDF5 has printed its error stack by then. */
static hid_t check_id(hid_t id, const char *what, const char *path)
{
    if (id < 0)
        heat3d_fail(what, path);
    return id;
}

static void check(herr_t result, const char *what, const char *path)
{
    if (result < 0)
        heat3d_fail(what, path);
}

static void to_hsize(const int from[HEAT3D_DIMS], hsize_t to[HEAT3D_DIMS])
{
    for (int d = 0; d < HEAT3D_DIMS; d++)
        to[d] = (hsize_t)from[d];
}

static hid_t mpio_access(const struct heat3d *heat)
{
    hid_t fapl = check_id(H5Pcreate(H5P_FILE_ACCESS), "H5Pcreate", NULL);
    check(H5Pset_fapl_mpio(fapl, heat->comm, MPI_INFO_NULL), "H5Pset_fapl_mpio", NULL);
    return fapl;
}

static hid_t create_dataset(const struct heat3d *heat, hid_t file, const char *path)
{
    hsize_t grid[HEAT3D_DIMS], chunk[HEAT3D_DIMS];
    to_hsize(heat->options.grid, grid);
    to_hsize(heat->options.chunk, chunk);
    hid_t space = check_id(H5Screate_simple(HEAT3D_DIMS, grid, NULL), "H5Screate_simple", path);
    hid_t dcpl = check_id(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate", path);
    check(H5Pset_obj_track_times(dcpl, false), "H5Pset_obj_track_times", path);
    if (chunk[0])
        check(H5Pset_chunk(dcpl, HEAT3D_DIMS, chunk), "H5Pset_chunk", path);
    hid_t dataset = check_id(
        H5Dcreate2(file, "temperature", H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, dcpl, H5P_DEFAULT),
        "H5Dcreate", path);
    H5Pclose(dcpl);
    H5Sclose(space);
    return dataset;
}

/* Attribute `step`: collective metadata, all ranks pass the same value. */
static void write_step(const struct heat3d *heat, hid_t dataset, const char *path)
{
    hid_t space = check_id(H5Screate(H5S_SCALAR), "H5Screate", path);
    hid_t attribute =
        check_id(H5Acreate2(dataset, "step", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT),
                 "H5Acreate", path);
    check(H5Awrite(attribute, H5T_NATIVE_INT, &heat->step), "H5Awrite", path);
    H5Aclose(attribute);
    H5Sclose(space);
}

static int read_step(hid_t dataset, const char *path)
{
    int step = 0;
    hid_t attribute = check_id(H5Aopen(dataset, "step", H5P_DEFAULT), "H5Aopen", path);
    check(H5Aread(attribute, H5T_NATIVE_INT, &step), "H5Aread", path);
    H5Aclose(attribute);
    return step;
}

/* One collective transfer of all blocks. */
static void transfer(const struct heat3d *heat, hid_t dataset, const char *path, bool write,
                     double *data)
{
    static const hsize_t INSIDE[HEAT3D_DIMS] = {1, 1, 1};
    hsize_t padded[HEAT3D_DIMS], local[HEAT3D_DIMS], start[HEAT3D_DIMS];
    to_hsize(heat->padded, padded);
    to_hsize(heat->local, local);
    to_hsize(heat->start, start);
    hid_t memory = check_id(H5Screate_simple(HEAT3D_DIMS, padded, NULL), "H5Screate_simple", path);
    hid_t space = check_id(H5Dget_space(dataset), "H5Dget_space", path);
    hid_t dxpl = check_id(H5Pcreate(H5P_DATASET_XFER), "H5Pcreate", path);
    check(H5Sselect_hyperslab(memory, H5S_SELECT_SET, INSIDE, NULL, local, NULL),
          "H5Sselect_hyperslab", path);
    check(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, local, NULL),
          "H5Sselect_hyperslab", path);
    check(H5Pset_dxpl_mpio(dxpl, H5FD_MPIO_COLLECTIVE), "H5Pset_dxpl_mpio", path);
    if (write)
        check(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, memory, space, dxpl, data), "H5Dwrite", path);
    else
        check(H5Dread(dataset, H5T_NATIVE_DOUBLE, memory, space, dxpl, data), "H5Dread", path);
    H5Pclose(dxpl);
    H5Sclose(space);
    H5Sclose(memory);
}

static void write_checkpoint(const struct heat3d *heat, const char *path)
{
    hid_t fapl = mpio_access(heat);
    hid_t file = check_id(H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, fapl), "H5Fcreate", path);
    hid_t dataset = create_dataset(heat, file, path);
    write_step(heat, dataset, path);
    transfer(heat, dataset, path, true, heat->field);
    check(H5Dclose(dataset), "H5Dclose", path);
    check(H5Fclose(file), "H5Fclose", path);
    H5Pclose(fapl);
}

/* HDF5 would quietly read a part of a bigger box. */
static void check_grid(const struct heat3d *heat, hid_t dataset, const char *path)
{
    hsize_t grid[HEAT3D_DIMS] = {0};
    hid_t space = check_id(H5Dget_space(dataset), "H5Dget_space", path);
    bool same = H5Sget_simple_extent_ndims(space) == HEAT3D_DIMS &&
                H5Sget_simple_extent_dims(space, grid, NULL) == HEAT3D_DIMS;
    for (int d = 0; d < HEAT3D_DIMS; d++)
        same = same && grid[d] == (hsize_t)heat->options.grid[d];
    H5Sclose(space);
    if (!same)
        heat3d_fail("the checkpoint has another grid; give its size by --grid", path);
}

static int read_checkpoint(const struct heat3d *heat, const char *path, double *into)
{
    hid_t fapl = mpio_access(heat);
    hid_t file = check_id(H5Fopen(path, H5F_ACC_RDONLY, fapl), "H5Fopen", path);
    hid_t dataset = check_id(H5Dopen2(file, "temperature", H5P_DEFAULT), "H5Dopen", path);
    check_grid(heat, dataset, path);
    int step = read_step(dataset, path);
    transfer(heat, dataset, path, false, into);
    check(H5Dclose(dataset), "H5Dclose", path);
    check(H5Fclose(file), "H5Fclose", path);
    H5Pclose(fapl);
    return step;
}

int main(int argc, char **argv)
{
    static const struct heat3d_io IO = {
        .program = "heat3d_hdf5",
        .suffix = ".h5",
        .has_chunks = true,
        .write = write_checkpoint,
        .read = read_checkpoint,
    };
    return heat3d_main(argc, argv, &IO);
}
