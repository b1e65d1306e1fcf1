/* SPDX-License-Identifier: BSD-3-Clause */
/* Random MPI datatypes together with what they mean in bytes, worked out without MPI's help. */
#ifndef CTE_TEST_TYPE_H
#define CTE_TEST_TYPE_H

#include <mpi.h>
#include <stddef.h>
#include <stdint.h>

#include "rng.h"

struct run {
    int64_t offset;
    int64_t length;
};

struct runs {
    struct run *list;
    size_t count;
    size_t room;
};

void *must_alloc(size_t bytes);
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Appends a run, joined to the last one where it follows on; empty runs vanish. */
void runs_add(struct runs *runs, int64_t offset, int64_t length);
void runs_free(struct runs *runs);
/* Sum of lengths, lowest offset, highest end. */
int64_t runs_bytes(const struct runs *runs);
void runs_bounds(const struct runs *runs, int64_t *low, int64_t *high);
bool runs_overlap_themselves(const struct runs *runs);

/* `map` is in the order of the type map, which is the order in which data flows. */
struct type {
    MPI_Datatype mpi;
    bool named;
    bool has_empty; /* blocks of length 0: MPICH 4.0's MPI_Get_elements divides by zero */
    struct runs map;
    bool bounded;   /* has explicit bounds inside: made by resized, subarray or darray */
    char text[120]; /* how it was made */
    int64_t lb;
    int64_t extent;
    int64_t size;
};

struct type *type_named(MPI_Datatype mpi);
struct type *type_random_named(struct rng *g);
void type_free(struct type *type);

/* A type to be used as etype: a named one, sometimes a small derived one, with lb 0. */
struct type *type_random_etype(struct rng *g);
/* Any file type on an etype: displacements nonnegative and monotonic, holes whole etypes. */
struct type *type_random_filetype(struct rng *g, const struct type *etype);
/* Part `rank` of `rank_count` of a pattern that all of them fill without overlap. */
struct type *type_random_partition(struct rng *g, const struct type *etype, int rank,
                                   int rank_count);
/* Any memory type: holes, reversed and negative displacements, overlaps. */
struct type *type_random_memory(struct rng *g);

/* Constructors that type_random_* are made of; each gives a new committed type. */
struct type *type_contiguous(const struct type *old, int count);
struct type *type_resized(const struct type *old, int64_t lb, int64_t extent);

#endif
