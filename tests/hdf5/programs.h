/* SPDX-License-Identifier: BSD-3-Clause */
/* HDF5 programs that know nothing of the driver they run on. */
#ifndef CTE_TESTS_HDF5_PROGRAMS_H
#define CTE_TESTS_HDF5_PROGRAMS_H

#include <stdbool.h>

#include <hdf5.h>

struct program {
    const char *name;
    /* Makes files in the current directory with (copies of) `base`. */
    void (*run)(hid_t base);
    const char *main_file; /* what h5dump and h5diff look at */
    unsigned h5dump_skip;  /* nonzero: the file is not one that the default driver opens */
};

extern const struct program data_programs[], file_programs[]; /* end: name NULL */

/* Shared by both files of programs: a creation list without object times, so that files compare. */
hid_t dataset_creation(int rank, const hsize_t *chunk);
/* Values that differ everywhere. */
int *ramp(size_t count, int start);
void write_ints(hid_t location, const char *name, hsize_t count, int start);
void check_ints(hid_t location, const char *name, hsize_t count, int start);

#endif
