/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes or reads a dataset by parallel HDF5, each rank its rows.
 *
 *   staged_hdf5 write|read FILE */
#include <hdf5.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 600, COLUMNS = 1000 }; /* of a rank */

int main(int argc, char **argv)
{
    int rank, size, bad = 0, *values = malloc(sizeof(int) * ROWS * COLUMNS);
    MPI_Init(&argc, &argv);
    if (argc != 3 || !values)
        MPI_Abort(MPI_COMM_WORLD, 2);
    int write = strcmp(argv[1], "write") == 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS), dxpl = H5Pcreate(H5P_DATASET_XFER);
    H5Pset_fapl_mpio(fapl, MPI_COMM_WORLD, MPI_INFO_NULL);
    H5Pset_dxpl_mpio(dxpl, H5FD_MPIO_COLLECTIVE);
    hsize_t all[2] = {(hsize_t)size * ROWS, COLUMNS}, mine[2] = {ROWS, COLUMNS};
    hsize_t start[2] = {(hsize_t)rank * ROWS, 0};
    hid_t file = write ? H5Fcreate(argv[2], H5F_ACC_TRUNC, H5P_DEFAULT, fapl)
                       : H5Fopen(argv[2], H5F_ACC_RDONLY, fapl);
    hid_t space = H5Screate_simple(2, all, NULL), memory = H5Screate_simple(2, mine, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, mine, NULL);
    hid_t data = write ? H5Dcreate2(file, "values", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT,
                                    H5P_DEFAULT)
                       : H5Dopen2(file, "values", H5P_DEFAULT);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        values[i] = write ? rank * 1000000 + i : -1;
    herr_t status = write ? H5Dwrite(data, H5T_NATIVE_INT, memory, space, dxpl, values)
                          : H5Dread(data, H5T_NATIVE_INT, memory, space, dxpl, values);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        bad += values[i] != rank * 1000000 + i;
    H5Dclose(data);
    H5Sclose(space);
    H5Sclose(memory);
    H5Fclose(file);
    H5Pclose(fapl);
    H5Pclose(dxpl);
    free(values);
    if (status < 0 || bad > 0)
        fprintf(stderr, "rank %d: %d values are wrong\n", rank, bad);
    MPI_Finalize();
    return status < 0 || bad > 0;
}
