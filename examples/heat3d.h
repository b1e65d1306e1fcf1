/* SPDX-License-Identifier: BSD-3-Clause */
/* A 3-D heat solver on a box of fixed temperature 0 at its walls, split over all MPI ranks.
 *
 * This part knows nothing about files: heat3d_mpiio.c and heat3d_hdf5.c hand in how a checkpoint
 * is written and read.  The start state is a sum of sine waves, for which the discrete solution at
 * any step is known, so every run and every restart checks itself. */
#ifndef CTE_EXAMPLES_HEAT3D_H
#define CTE_EXAMPLES_HEAT3D_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mpi.h>

enum { HEAT3D_X, HEAT3D_Y, HEAT3D_Z, HEAT3D_DIMS };

struct heat3d_options {
    int grid[HEAT3D_DIMS];  /* cells of the whole box */
    int chunk[HEAT3D_DIMS]; /* HDF5 chunks, all 0: contiguous */
    int steps;              /* step number to stop at */
    int checkpoint_every;   /* steps between checkpoints */
    const char *directory;  /* where checkpoints go */
    const char *restart;    /* checkpoint to start from, NULL: start state */
};

/* This rank's block of the box. */
struct heat3d {
    struct heat3d_options options;
    MPI_Comm comm; /* Cartesian */
    int rank, rank_count;
    int neighbour[HEAT3D_DIMS][2]; /* ranks below and above, MPI_PROC_NULL at a wall */
    int start[HEAT3D_DIMS];        /* first cell of the block in the box */
    int local[HEAT3D_DIMS];        /* cells of the block */
    int padded[HEAT3D_DIMS];       /* with one ghost cell at each end; extent of the arrays */
    size_t cell_count;             /* of a padded array */
    double *field, *next;          /* padded arrays, X slowest */
    MPI_Datatype face_send[HEAT3D_DIMS][2], face_receive[HEAT3D_DIMS][2];
    int step;
};

/* How checkpoints are stored.  Both calls are collective and end the job with a message on error.
 */
struct heat3d_io {
    const char *program;
    const char *suffix;
    bool has_chunks; /* the options --chunk makes sense */
    void (*write)(const struct heat3d *heat, const char *path);
    /* Fills the inside of `into` (a padded array) and returns the step the file holds. */
    int (*read)(const struct heat3d *heat, const char *path, double *into);
};

int heat3d_main(int argc, char **argv, const struct heat3d_io *io);

/* Ends the job, naming what failed, if `code` is not MPI_SUCCESS. */
void heat3d_check_mpi(int code, const char *what, const char *path);

/* Ends the job with a message. */
void heat3d_fail(const char *what, const char *path) __attribute__((noreturn));

#endif
