/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flattened datatypes: which bytes a type selects, in the order of its type map.
 *
 * A run stands for `count` pieces of `length` bytes, `stride` bytes apart, so that a regular
 * pattern of any size costs one entry.
 */
#ifndef CTE_MPI_COMMON_TYPEMAP_H
#define CTE_MPI_COMMON_TYPEMAP_H

#include <mpi.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cte__mpi_run {
    int64_t offset; /* of the first piece, from the type's origin */
    uint64_t length;
    uint64_t count;
    int64_t stride;
    uint64_t before; /* data bytes of the type before this run */
};

/* A growing list of runs. */
struct cte__mpi_runs {
    struct cte__mpi_run *items;
    size_t count;
    size_t capacity;
};

struct cte__mpi_typemap {
    atomic_uint references;
    bool contiguous; /* one piece that fills the extent: repetitions are contiguous too */
    uint64_t size;   /* data bytes */
    int64_t extent;  /* from one repetition to the next */
    int64_t reach;   /* no piece ends beyond this */
    size_t run_count;
    struct cte__mpi_run runs[];
};

/* typemap.c.  0 or -ENOMEM. */
int cte__mpi_runs_append(struct cte__mpi_runs *runs, struct cte__mpi_run run);
/* Appends `count` copies of `of`, the first shifted by `offset`, then `stride` bytes apart. */
int cte__mpi_runs_repeat(struct cte__mpi_runs *runs, const struct cte__mpi_runs *of, int64_t offset,
                         uint64_t count, int64_t stride);
void cte__mpi_runs_free(struct cte__mpi_runs *runs);
struct cte__mpi_typemap *cte__mpi_typemap_make(const struct cte__mpi_runs *runs, int64_t extent);

/* flatten.c */
/*
 * The typemap of a committed type, from the cache that is attached to the type where there is one.
 * -ENOTSUP for a type whose construction MPI does not tell, -ENOMEM.  Give it back.
 */
int cte__mpi_typemap_get(MPI_Datatype type, struct cte__mpi_typemap **out);
/* That of a predefined type that programs use all the time, without further ado; else NULL. */
struct cte__mpi_typemap *cte__mpi_typemap_common(MPI_Datatype type);
void cte__mpi_typemap_put(struct cte__mpi_typemap *map);
/* One more who gives it back. */
void cte__mpi_typemap_hold(struct cte__mpi_typemap *map);

/* A place in the endless repetition of a typemap. */
struct cte__mpi_cursor {
    const struct cte__mpi_typemap *map;
    int64_t base;    /* where the first repetition has its origin */
    uint64_t tile;   /* repetition */
    size_t run;      /* in the typemap */
    uint64_t piece;  /* in the run */
    uint64_t within; /* bytes into the piece; of a contiguous typemap: into the data */
};

/* At `position` bytes of the data; the typemap's size is not 0. */
void cte__mpi_cursor_init(struct cte__mpi_cursor *cursor, const struct cte__mpi_typemap *map,
                          int64_t base, uint64_t position);

/* Where the cursor is, and how many bytes are contiguous from there. */
static inline uint64_t cte__mpi_cursor_here(const struct cte__mpi_cursor *cursor, int64_t *offset)
{
    const struct cte__mpi_run *run = &cursor->map->runs[cursor->run];
    *offset = cursor->base + (int64_t)cursor->tile * cursor->map->extent + run->offset +
              (int64_t)cursor->piece * run->stride + (int64_t)cursor->within;
    return cursor->map->contiguous ? UINT64_MAX : run->length - cursor->within;
}

/* Goes on by bytes, at most as many as are contiguous. */
static inline void cte__mpi_cursor_advance(struct cte__mpi_cursor *cursor, uint64_t bytes)
{
    const struct cte__mpi_run *run = &cursor->map->runs[cursor->run];
    cursor->within += bytes;
    if (cursor->map->contiguous || cursor->within < run->length)
        return;
    cursor->within = 0;
    if (++cursor->piece < run->count)
        return;
    cursor->piece = 0;
    if (++cursor->run < cursor->map->run_count)
        return;
    cursor->run = 0;
    cursor->tile++;
}

#endif
