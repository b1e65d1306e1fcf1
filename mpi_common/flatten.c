/* SPDX-License-Identifier: BSD-3-Clause */
/* Datatypes into runs of bytes, by MPI's own account of how they were made. */
#include "typemap.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* What MPI_Type_get_contents_c gives, for both the small and the large-count constructors. */
struct contents {
    int combiner;
    bool large; /* made by a large-count constructor: counts and displacements stand in `counts` */
    int *ints;
    MPI_Aint *addresses;
    MPI_Count *counts;
    MPI_Datatype *types;
    MPI_Count int_count, address_count, count_count, type_count;
};

static int flatten(MPI_Datatype type, struct cte__mpi_runs *out);

static bool is_leaf(int combiner)
{
    return combiner == MPI_COMBINER_NAMED || combiner == MPI_COMBINER_F90_REAL ||
           combiner == MPI_COMBINER_F90_COMPLEX || combiner == MPI_COMBINER_F90_INTEGER;
}

static void contents_free(struct contents *c)
{
    for (MPI_Count i = 0; c->types && i < c->type_count; i++) {
        MPI_Count n[4];
        int combiner;
        /* Predefined types are not copies, and must not be freed. */
        if (PMPI_Type_get_envelope_c(c->types[i], &n[0], &n[1], &n[2], &n[3], &combiner) ==
                MPI_SUCCESS &&
            !is_leaf(combiner))
            PMPI_Type_free(&c->types[i]);
    }
    free(c->ints);
    free(c->addresses);
    free(c->counts);
    free(c->types);
}

static int contents_get(MPI_Datatype type, struct contents *c)
{
    if (PMPI_Type_get_envelope_c(type, &c->int_count, &c->address_count, &c->count_count,
                                 &c->type_count, &c->combiner) != MPI_SUCCESS)
        return -ENOTSUP;
    if (is_leaf(c->combiner))
        return 0;
    c->large = c->count_count > 0;
    /* One element more than needed, so that none is a null pointer. */
    c->ints = calloc((size_t)c->int_count + 1, sizeof *c->ints);
    c->addresses = calloc((size_t)c->address_count + 1, sizeof *c->addresses);
    c->counts = calloc((size_t)c->count_count + 1, sizeof *c->counts);
    MPI_Datatype *types = calloc((size_t)c->type_count + 1, sizeof *types);
    if (!c->ints || !c->addresses || !c->counts || !types) {
        free(types);
        return -ENOMEM;
    }
    if (PMPI_Type_get_contents_c(type, c->int_count, c->address_count, c->count_count,
                                 c->type_count, c->ints, c->addresses, c->counts,
                                 types) != MPI_SUCCESS) {
        free(types);
        return -ENOTSUP;
    }
    c->types = types;
    return 0;
}

/* The i-th count, in the order of the constructor's arguments. */
static int64_t number(const struct contents *c, MPI_Count i)
{
    return c->large ? c->counts[i] : c->ints[i];
}

/* The i-th byte displacement; large-count constructors keep them after `numbers` counts. */
static int64_t address(const struct contents *c, MPI_Count numbers, MPI_Count i)
{
    return c->large ? c->counts[numbers + i] : (int64_t)c->addresses[i];
}

static int64_t extent_of(MPI_Datatype type)
{
    MPI_Count lower;
    MPI_Count extent = 0;
    PMPI_Type_get_extent_x(type, &lower, &extent);
    return extent;
}

/* Predefined types are whole, but for the pair that has a gap in it. */
static int flatten_leaf(MPI_Datatype type, struct cte__mpi_runs *out)
{
    MPI_Count size = 0;
    PMPI_Type_size_x(type, &size);
    if (type == MPI_SHORT_INT) {
        struct short_int {
            short value;
            int index;
        };
        struct cte__mpi_run value = {.length = sizeof(short), .count = 1};
        struct cte__mpi_run index = {
            .offset = offsetof(struct short_int, index), .length = sizeof(int), .count = 1};
        int rc = cte__mpi_runs_append(out, value);
        return rc == 0 ? cte__mpi_runs_append(out, index) : rc;
    }
    return cte__mpi_runs_append(out, (struct cte__mpi_run){.length = (uint64_t)size, .count = 1});
}

/* `count` blocks of `block` elements each, `stride` bytes apart. */
static int blocks(struct cte__mpi_runs *out, const struct cte__mpi_runs *element, int64_t extent,
                  int64_t count, int64_t block, int64_t stride)
{
    struct cte__mpi_runs one = {0};
    int rc = cte__mpi_runs_repeat(&one, element, 0, (uint64_t)block, extent);
    if (rc == 0)
        rc = cte__mpi_runs_repeat(out, &one, 0, (uint64_t)count, stride);
    cte__mpi_runs_free(&one);
    return rc;
}

/* INDEXED, HINDEXED and the two with equal blocks. */
static int indexed(const struct contents *c, const struct cte__mpi_runs *element, int64_t extent,
                   bool equal_blocks, bool in_bytes, struct cte__mpi_runs *out)
{
    int64_t count = number(c, 0);
    int64_t before = equal_blocks ? 2 : 1 + count; /* numbers ahead of the displacements */
    int rc = 0;
    for (int64_t i = 0; i < count && rc == 0; i++) {
        int64_t block = number(c, equal_blocks ? 1 : 1 + i);
        int64_t at = in_bytes ? address(c, before, i) : number(c, before + i) * extent;
        rc = cte__mpi_runs_repeat(out, element, at, (uint64_t)block, extent);
    }
    return rc;
}

static int structure(const struct contents *c, struct cte__mpi_runs *out)
{
    int64_t count = number(c, 0);
    int rc = 0;
    for (int64_t i = 0; i < count && rc == 0; i++) {
        struct cte__mpi_runs element = {0};
        rc = flatten(c->types[i], &element);
        if (rc == 0)
            rc = cte__mpi_runs_repeat(out, &element, address(c, 1 + count, i),
                                      (uint64_t)number(c, 1 + i), extent_of(c->types[i]));
        cte__mpi_runs_free(&element);
    }
    return rc;
}

/* Replaces `*of` by what a dimension makes of it. */
static void take(struct cte__mpi_runs *of, struct cte__mpi_runs *made)
{
    cte__mpi_runs_free(of);
    *of = *made;
    *made = (struct cte__mpi_runs){0};
}

/* Grows `runs`, one element, dimension by dimension, the fastest varying first. */
static int subarray(const struct contents *c, struct cte__mpi_runs *runs, int64_t extent)
{
    int dimensions = c->ints[0];
    int order = c->large ? c->ints[1] : c->ints[1 + 3 * dimensions];
    const MPI_Count first = c->large ? 0 : 1;
    int rc = 0;
    for (int i = 0; i < dimensions && rc == 0; i++) {
        int d = order == MPI_ORDER_C ? dimensions - 1 - i : i;
        struct cte__mpi_runs made = {0};
        int64_t size = number(c, first + d);
        int64_t part = number(c, first + dimensions + d);
        int64_t start = number(c, first + 2 * dimensions + d);
        rc = cte__mpi_runs_repeat(&made, runs, start * extent, (uint64_t)part, extent);
        take(runs, &made);
        extent *= size;
    }
    return rc;
}

/* One dimension of a distributed array, as seen by one process. */
struct distribution {
    int64_t size;      /* elements of the whole dimension */
    int64_t block;     /* elements dealt at a time */
    int64_t processes; /* that share the dimension */
    int64_t place;     /* of this process among them */
};

static int deal(const struct distribution *d, const struct cte__mpi_runs *element, int64_t extent,
                struct cte__mpi_runs *out)
{
    int64_t first = d->place * d->block;
    if (first >= d->size)
        return 0;
    int64_t round = d->block * d->processes;
    int64_t whole = (d->size - first) / round;
    int64_t rest = d->size - first - whole * round;
    int64_t partial = 0;
    if (rest >= d->block)
        whole++;
    else
        partial = rest;
    struct cte__mpi_runs one = {0};
    int rc = cte__mpi_runs_repeat(&one, element, 0, (uint64_t)d->block, extent);
    if (rc == 0)
        rc = cte__mpi_runs_repeat(out, &one, first * extent, (uint64_t)whole, round * extent);
    if (rc == 0)
        rc = cte__mpi_runs_repeat(out, element, (first + whole * round) * extent, (uint64_t)partial,
                                  extent);
    cte__mpi_runs_free(&one);
    return rc;
}

/* Arguments: size, rank, dimensions, gsizes, distributions, arguments, process counts, order. */
static int darray(const struct contents *c, struct cte__mpi_runs *runs, int64_t extent)
{
    int dimensions = c->ints[2];
    const int *after_sizes = c->ints + 3 + (c->large ? 0 : dimensions);
    const int *distributions = after_sizes;
    const int *arguments = distributions + dimensions;
    const int *processes = arguments + dimensions;
    int order = processes[dimensions];
    int rc = 0;
    for (int i = 0; i < dimensions && rc == 0; i++) {
        int d = order == MPI_ORDER_C ? dimensions - 1 - i : i;
        /* The process grid is row-major whatever the array's order. */
        int64_t faster = 1;
        for (int k = d + 1; k < dimensions; k++)
            faster *= processes[k];
        struct distribution dealt = {.size = c->large ? c->counts[d] : c->ints[3 + d],
                                     .processes = processes[d],
                                     .place = c->ints[1] / faster % processes[d]};
        bool by_default = arguments[d] == MPI_DISTRIBUTE_DFLT_DARG;
        if (distributions[d] == MPI_DISTRIBUTE_NONE) {
            dealt.processes = 1;
            dealt.place = 0;
            dealt.block = dealt.size;
        } else if (distributions[d] == MPI_DISTRIBUTE_BLOCK) {
            dealt.block =
                by_default ? (dealt.size + dealt.processes - 1) / dealt.processes : arguments[d];
        } else {
            dealt.block = by_default ? 1 : arguments[d];
        }
        struct cte__mpi_runs made = {0};
        rc = deal(&dealt, runs, extent, &made);
        take(runs, &made);
        extent *= dealt.size;
    }
    return rc;
}

/* Types made of one older type. */
static int flatten_derived(const struct contents *c, struct cte__mpi_runs *element, int64_t extent,
                           struct cte__mpi_runs *out)
{
    switch (c->combiner) {
    case MPI_COMBINER_DUP:
    case MPI_COMBINER_RESIZED:
        return cte__mpi_runs_repeat(out, element, 0, 1, 0);
    case MPI_COMBINER_CONTIGUOUS:
        return cte__mpi_runs_repeat(out, element, 0, (uint64_t)number(c, 0), extent);
    case MPI_COMBINER_VECTOR:
        return blocks(out, element, extent, number(c, 0), number(c, 1), number(c, 2) * extent);
    case MPI_COMBINER_HVECTOR:
        return blocks(out, element, extent, number(c, 0), number(c, 1), address(c, 2, 0));
    case MPI_COMBINER_INDEXED:
        return indexed(c, element, extent, false, false, out);
    case MPI_COMBINER_HINDEXED:
        return indexed(c, element, extent, false, true, out);
    case MPI_COMBINER_INDEXED_BLOCK:
        return indexed(c, element, extent, true, false, out);
    case MPI_COMBINER_HINDEXED_BLOCK:
        return indexed(c, element, extent, true, true, out);
    case MPI_COMBINER_SUBARRAY:
    case MPI_COMBINER_DARRAY: {
        int rc = c->combiner == MPI_COMBINER_SUBARRAY ? subarray(c, element, extent)
                                                      : darray(c, element, extent);
        return rc == 0 ? cte__mpi_runs_repeat(out, element, 0, 1, 0) : rc;
    }
    default:
        return -ENOTSUP;
    }
}

static int flatten(MPI_Datatype type, struct cte__mpi_runs *out)
{
    struct contents c = {0};
    struct cte__mpi_runs element = {0};
    int rc = contents_get(type, &c);
    if (rc == 0 && is_leaf(c.combiner)) {
        rc = flatten_leaf(type, out);
    } else if (rc == 0 && c.combiner == MPI_COMBINER_STRUCT) {
        rc = structure(&c, out);
    } else if (rc == 0) {
        rc = flatten(c.types[0], &element);
        if (rc == 0)
            rc = flatten_derived(&c, &element, extent_of(c.types[0]), out);
    }
    cte__mpi_runs_free(&element);
    contents_free(&c);
    return rc;
}

static int keyval = MPI_KEYVAL_INVALID;
static pthread_once_t keyval_once = PTHREAD_ONCE_INIT;

/* The type is gone; a view or a running transfer may still hold its typemap. */
static int forget(MPI_Datatype type, int key, void *value, void *state)
{
    (void)type;
    (void)key;
    (void)state;
    cte__mpi_typemap_put(value);
    return MPI_SUCCESS;
}

static void make_keyval(void)
{
    if (PMPI_Type_create_keyval(MPI_TYPE_NULL_COPY_FN, forget, &keyval, NULL) != MPI_SUCCESS)
        keyval = MPI_KEYVAL_INVALID;
}

void cte__mpi_typemap_hold(struct cte__mpi_typemap *map)
{
    atomic_fetch_add_explicit(&map->references, 1, memory_order_relaxed);
}

void cte__mpi_typemap_put(struct cte__mpi_typemap *map)
{
    if (map && atomic_fetch_sub_explicit(&map->references, 1, memory_order_acq_rel) == 1)
        free(map);
}

/* Two threads may race to attach a typemap: MPI then forgets the first, which is as good as the
 * second. A reader between the two would use a freed one, hence the lock. */
static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;

static struct cte__mpi_typemap *cached(MPI_Datatype type)
{
    struct cte__mpi_typemap *map = NULL;
    int found = 0;
    if (keyval == MPI_KEYVAL_INVALID ||
        PMPI_Type_get_attr(type, keyval, &map, &found) != MPI_SUCCESS || !found)
        return NULL;
    atomic_fetch_add_explicit(&map->references, 1, memory_order_relaxed);
    return map;
}

static void cache(MPI_Datatype type, struct cte__mpi_typemap *map)
{
    if (keyval == MPI_KEYVAL_INVALID)
        return;
    atomic_fetch_add_explicit(&map->references, 1, memory_order_relaxed);
    if (PMPI_Type_set_attr(type, keyval, map) != MPI_SUCCESS)
        cte__mpi_typemap_put(map);
}

/* One reference is never given back. */
#define PLAIN(bytes)                                                                               \
    {                                                                                              \
        .references = 1, .contiguous = true, .size = (bytes), .extent = (bytes), .reach = (bytes), \
        .run_count = 1, .runs = {                                                                  \
            {.length = (bytes), .count = 1}                                                        \
        }                                                                                          \
    }

static struct cte__mpi_typemap plain_1 = PLAIN(1);
static struct cte__mpi_typemap plain_4 = PLAIN(4);
static struct cte__mpi_typemap plain_8 = PLAIN(8);

struct cte__mpi_typemap *cte__mpi_typemap_common(MPI_Datatype type)
{
    if (type == MPI_BYTE || type == MPI_CHAR || type == MPI_UNSIGNED_CHAR)
        return &plain_1;
    if (type == MPI_INT || type == MPI_FLOAT || type == MPI_INT32_T)
        return &plain_4;
    if (type == MPI_DOUBLE || type == MPI_LONG_LONG_INT || type == MPI_INT64_T)
        return &plain_8;
    return NULL;
}

int cte__mpi_typemap_get(MPI_Datatype type, struct cte__mpi_typemap **out)
{
    *out = cte__mpi_typemap_common(type);
    if (*out) {
        atomic_fetch_add_explicit(&(*out)->references, 1, memory_order_relaxed);
        return 0;
    }
    pthread_once(&keyval_once, make_keyval);
    pthread_mutex_lock(&cache_lock);
    *out = cached(type);
    int rc = 0;
    if (!*out) {
        struct cte__mpi_runs runs = {0};
        rc = flatten(type, &runs);
        if (rc == 0)
            *out = cte__mpi_typemap_make(&runs, extent_of(type));
        if (rc == 0 && !*out)
            rc = -ENOMEM;
        if (rc == 0)
            cache(type, *out);
        cte__mpi_runs_free(&runs);
    }
    pthread_mutex_unlock(&cache_lock);
    return rc;
}
