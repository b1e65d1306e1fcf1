/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the project's libraries are, and which libraries a program loads: for `cte run`. */
#ifndef CTE_TOOLS_LIBRARIES_H
#define CTE_TOOLS_LIBRARIES_H

#include <limits.h>
#include <stdbool.h>

/* What a program loads, as far as it matters here. */
struct loaded {
    bool known; /* false: a script, a static program, or the loader could not say */
    bool mpich, open_mpi, hdf5_serial, hdf5_mpich;
};

/* The directory of libcte_mpiio.so: beside the tool in the build or the installed tree.  False if
 * it is not there. */
bool find_libraries(char directory[PATH_MAX]);

/* The program that execvp() would start for a name; false with errno. */
bool find_program(const char *name, char path[PATH_MAX]);

/* Asks the program's own loader, without running the program. */
struct loaded find_loaded(const char *path);

#endif
