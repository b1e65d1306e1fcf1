/* SPDX-License-Identifier: BSD-3-Clause */
#include "type.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("mpiio_fuzz: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    MPI_Abort(MPI_COMM_WORLD, 3);
    abort();
}

void *must_alloc(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory)
        die("out of memory (%zu bytes)", bytes);
    return memory;
}

void runs_add(struct runs *runs, int64_t offset, int64_t length)
{
    if (length == 0)
        return;
    struct run *last = runs->count ? &runs->list[runs->count - 1] : NULL;
    if (last && last->offset + last->length == offset) {
        last->length += length;
        return;
    }
    if (runs->count == runs->room) {
        runs->room = runs->room ? runs->room * 2 : 8;
        runs->list = realloc(runs->list, runs->room * sizeof(*runs->list));
        if (!runs->list)
            die("out of memory (%zu runs)", runs->room);
    }
    runs->list[runs->count++] = (struct run){offset, length};
}

void runs_free(struct runs *runs)
{
    free(runs->list);
    *runs = (struct runs){0};
}

int64_t runs_bytes(const struct runs *runs)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < runs->count; i++)
        bytes += runs->list[i].length;
    return bytes;
}

void runs_bounds(const struct runs *runs, int64_t *low, int64_t *high)
{
    *low = runs->count ? INT64_MAX : 0;
    *high = runs->count ? INT64_MIN : 0;
    for (size_t i = 0; i < runs->count; i++) {
        const struct run *run = &runs->list[i];
        if (run->offset < *low)
            *low = run->offset;
        if (run->offset + run->length > *high)
            *high = run->offset + run->length;
    }
}

static int run_order(const void *a, const void *b)
{
    const struct run *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

bool runs_overlap_themselves(const struct runs *runs)
{
    struct run *sorted = must_alloc(runs->count * sizeof(*sorted));
    if (runs->count)
        memcpy(sorted, runs->list, runs->count * sizeof(*sorted));
    qsort(sorted, runs->count, sizeof(*sorted), run_order);
    bool overlap = false;
    for (size_t i = 1; i < runs->count; i++)
        overlap |= sorted[i - 1].offset + sorted[i - 1].length > sorted[i].offset;
    free(sorted);
    return overlap;
}

static struct type *type_new(void)
{
    struct type *type = must_alloc(sizeof(*type));
    *type = (struct type){.mpi = MPI_DATATYPE_NULL};
    return type;
}

/* Takes bounds from MPI and checks that MPI and the byte map agree on the size. */
static struct type *type_seal(struct type *type)
{
    MPI_Count lb, extent, size;
    if (!type->named && MPI_Type_commit(&type->mpi) != MPI_SUCCESS)
        die("MPI_Type_commit failed");
    MPI_Type_get_extent_x(type->mpi, &lb, &extent);
    MPI_Type_size_x(type->mpi, &size);
    type->lb = lb;
    type->extent = extent;
    type->size = size;
    if (size != runs_bytes(&type->map))
        die("type map has %lld bytes, MPI says %lld", (long long)runs_bytes(&type->map),
            (long long)size);
    return type;
}

struct type *type_named(MPI_Datatype mpi)
{
    struct type *type = type_new();
    type->mpi = mpi;
    type->named = true;
    int size;
    MPI_Type_size(mpi, &size);
    runs_add(&type->map, 0, size);
    snprintf(type->text, sizeof(type->text), "%d", size);
    return type_seal(type);
}

/* Not among them: pair types, with a hole or in a struct, and, below, types of the large-count
   constructors.  MPICH 4.0 aborts or divides by zero on them. */
struct type *type_random_named(struct rng *g)
{
    const MPI_Datatype list[] = {
        MPI_BYTE,     MPI_BYTE,     MPI_CHAR,     MPI_SHORT,     MPI_INT,
        MPI_LONG,     MPI_FLOAT,    MPI_DOUBLE,   MPI_LONG_LONG, MPI_C_DOUBLE_COMPLEX,
        MPI_UINT16_T, MPI_INTEGER8, MPI_UINT32_T, MPI_INT8_T,    MPI_DOUBLE_PRECISION,
    };
    return type_named(list[rng_below(g, sizeof(list) / sizeof(list[0]))]);
}

void type_free(struct type *type)
{
    if (!type)
        return;
    if (!type->named && type->mpi != MPI_DATATYPE_NULL)
        MPI_Type_free(&type->mpi);
    runs_free(&type->map);
    free(type);
}

static void describe(struct type *type, const char *constructor, const struct type *old)
{
    snprintf(type->text, sizeof(type->text), "%s(%.90s)", constructor, old->text);
    type->bounded = old->bounded;
}

/* `count` copies of `old` one extent apart, the first at `offset`. */
static void place(struct type *type, const struct type *old, int64_t offset, int64_t count)
{
    type->has_empty |= old->has_empty || count == 0;
    for (int64_t i = 0; i < count; i++)
        for (size_t r = 0; r < old->map.count; r++)
            runs_add(&type->map, offset + i * old->extent + old->map.list[r].offset,
                     old->map.list[r].length);
}

struct type *type_contiguous(const struct type *old, int count)
{
    struct type *type = type_new();
    describe(type, "contiguous", old);
    place(type, old, 0, count);
    MPI_Type_contiguous(count, old->mpi, &type->mpi);
    return type_seal(type);
}

struct type *type_resized(const struct type *old, int64_t lb, int64_t extent)
{
    struct type *type = type_new();
    describe(type, "resized", old);
    type->bounded = true;
    place(type, old, 0, 1);
    MPI_Type_create_resized(old->mpi, lb, extent, &type->mpi);
    return type_seal(type);
}

static struct type *type_duplicate(const struct type *old)
{
    struct type *type = type_new();
    describe(type, "dup", old);
    place(type, old, 0, 1);
    MPI_Type_dup(old->mpi, &type->mpi);
    return type_seal(type);
}

/* `stride` in bytes if `bytes`, else in extents of `old`. */
static struct type *type_vector(const struct type *old, int count, int block, int64_t stride,
                                bool bytes)
{
    struct type *type = type_new();
    describe(type, bytes ? "hvector" : "vector", old);
    for (int i = 0; i < count; i++)
        place(type, old, i * (bytes ? stride : stride * old->extent), block);
    if (bytes)
        MPI_Type_create_hvector(count, block, stride, old->mpi, &type->mpi);
    else
        MPI_Type_vector(count, block, (int)stride, old->mpi, &type->mpi);
    return type_seal(type);
}

enum { MAX_BLOCKS = 8 };

struct blocks {
    int count;
    int length[MAX_BLOCKS];
    int64_t place[MAX_BLOCKS]; /* in extents of the old type */
};

enum index_kind { INDEXED, HINDEXED, INDEXED_BLOCK, HINDEXED_BLOCK, STRUCT, INDEX_KINDS };

static struct type *type_indexed(const struct type *old, const struct blocks *b,
                                 enum index_kind kind)
{
    static const char *const names[] = {"indexed", "hindexed", "indexed_block", "hindexed_block",
                                        "struct"};
    struct type *type = type_new();
    describe(type, names[kind], old);
    int units[MAX_BLOCKS];
    MPI_Aint bytes[MAX_BLOCKS];
    MPI_Datatype types[MAX_BLOCKS];
    bool equal = kind == INDEXED_BLOCK || kind == HINDEXED_BLOCK;
    for (int i = 0; i < b->count; i++) {
        units[i] = (int)b->place[i];
        bytes[i] = b->place[i] * old->extent;
        types[i] = old->mpi;
        place(type, old, bytes[i], b->length[equal ? 0 : i]);
    }
    if (kind == INDEXED)
        MPI_Type_indexed(b->count, b->length, units, old->mpi, &type->mpi);
    else if (kind == HINDEXED)
        MPI_Type_create_hindexed(b->count, b->length, bytes, old->mpi, &type->mpi);
    else if (kind == INDEXED_BLOCK)
        MPI_Type_create_indexed_block(b->count, b->length[0], units, old->mpi, &type->mpi);
    else if (kind == HINDEXED_BLOCK)
        MPI_Type_create_hindexed_block(b->count, b->length[0], bytes, old->mpi, &type->mpi);
    else
        MPI_Type_create_struct(b->count, b->length, bytes, types, &type->mpi);
    return type_seal(type);
}

/* Which global indices of one dimension a process owns. */
struct owned {
    int index[64];
    int count;
};

/* Places one element per combination of owned indices, the fastest dimension innermost. */
static void place_array(struct type *type, const struct type *old, int dims, const int *sizes,
                        const struct owned *owned, int order)
{
    int64_t total = 1;
    for (int d = 0; d < dims; d++)
        total *= owned[d].count;
    for (int64_t n = 0; n < total; n++) {
        int64_t rest = n, linear = 0, weight = 1;
        for (int k = 0; k < dims; k++) {
            int d = order == MPI_ORDER_C ? dims - 1 - k : k;
            linear += weight * owned[d].index[rest % owned[d].count];
            rest /= owned[d].count;
            weight *= sizes[d];
        }
        place(type, old, linear * old->extent, 1);
    }
}

static struct type *type_subarray(const struct type *old, int dims, const int *sizes,
                                  const int *parts, const int *starts, int order)
{
    struct type *type = type_new();
    describe(type, order == MPI_ORDER_C ? "subarray" : "subarray-fortran", old);
    type->bounded = true;
    struct owned owned[3];
    for (int d = 0; d < dims; d++) {
        owned[d].count = parts[d];
        for (int i = 0; i < parts[d]; i++)
            owned[d].index[i] = starts[d] + i;
    }
    place_array(type, old, dims, sizes, owned, order);
    MPI_Type_create_subarray(dims, sizes, parts, starts, order, old->mpi, &type->mpi);
    return type_seal(type);
}

static void darray_owned(struct owned *owned, int size, int distribution, int argument, int procs,
                         int coordinate)
{
    owned->count = 0;
    int block = argument;
    if (distribution == MPI_DISTRIBUTE_NONE)
        block = size;
    else if (argument == MPI_DISTRIBUTE_DFLT_DARG)
        block = distribution == MPI_DISTRIBUTE_BLOCK ? (size + procs - 1) / procs : 1;
    for (int i = 0; i < size; i++)
        if (i / block % procs == coordinate)
            owned->index[owned->count++] = i;
}

static struct type *type_darray(const struct type *old, int rank, int dims, const int *grid,
                                const int *sizes, const int *distributions, const int *arguments,
                                int order)
{
    struct type *type = type_new();
    describe(type, "darray", old);
    type->bounded = true;
    struct owned owned[3];
    int procs = 1, rest = rank;
    for (int d = dims - 1; d >= 0; d--) { /* the process grid is always row-major */
        darray_owned(&owned[d], sizes[d], distributions[d], arguments[d], grid[d], rest % grid[d]);
        rest /= grid[d];
        procs *= grid[d];
    }
    place_array(type, old, dims, sizes, owned, order);
    MPI_Type_create_darray(procs, rank, dims, sizes, distributions, arguments, grid, order,
                           old->mpi, &type->mpi);
    return type_seal(type);
}

/* How much bigger a type may become: bounds pieces and span. */
static int growth(const struct type *old)
{
    int64_t span = old->extent < 0 ? -old->extent : old->extent;
    int64_t by_pieces = 600 / (int64_t)(old->map.count + 1);
    int64_t by_span = 65536 / (span + 1);
    int64_t least = by_pieces < by_span ? by_pieces : by_span;
    return (int)(least < 1 ? 1 : least > 40 ? 40 : least);
}

static int up_to(struct rng *g, int limit, int most)
{
    return rng_range(g, 1, limit < most ? limit : most);
}

static struct type *derive_vector(struct rng *g, const struct type *old, bool file)
{
    int room = growth(old), count = up_to(g, room, 7), block = up_to(g, room / count, 4);
    int gap = rng_range(g, 0, 4);
    int64_t stride = block + gap;
    bool bytes = rng_chance(g, 50);
    if (!file && rng_chance(g, 40))
        stride = rng_range(g, -6, 6);
    if (bytes) {
        stride *= old->extent;
        if (!file)
            stride += rng_range(g, 0, 9);
    }
    return type_vector(old, count, block, stride, bytes);
}

static struct type *derive_indexed(struct rng *g, const struct type *old, bool file)
{
    int room = growth(old);
    struct blocks b = {.count = up_to(g, room, MAX_BLOCKS - 1)};
    enum index_kind kind = rng_below(g, INDEX_KINDS);
    bool equal = kind == INDEXED_BLOCK || kind == HINDEXED_BLOCK;
    int64_t next = rng_chance(g, 60) ? 0 : rng_range(g, 0, 4);
    int common = up_to(g, room / b.count, 3);
    for (int i = 0; i < b.count; i++) {
        b.length[i] = equal ? common : rng_range(g, 1, room / b.count < 3 ? 1 : 3);
        b.place[i] = file ? next : rng_range(g, -8, 12);
        next += b.length[i] + (rng_chance(g, 50) ? rng_range(g, 0, 5) : 0);
    }
    return type_indexed(old, &b, kind);
}

static struct type *derive_subarray(struct rng *g, const struct type *old)
{
    int dims = rng_range(g, 1, 3), room = growth(old);
    int sizes[3], parts[3], starts[3];
    for (int d = 0; d < dims; d++) {
        sizes[d] = up_to(g, room, 6);
        room /= sizes[d];
        parts[d] = rng_range(g, 1, sizes[d]);
        starts[d] = rng_range(g, 0, sizes[d] - parts[d]);
    }
    return type_subarray(old, dims, sizes, parts, starts,
                         rng_chance(g, 50) ? MPI_ORDER_C : MPI_ORDER_FORTRAN);
}

/* Only with lower bound 0: MPICH 4.0's file I/O puts the data elsewhere otherwise. */
static struct type *derive_resized(struct rng *g, const struct type *old, bool file)
{
    int64_t upper = old->lb + old->extent;
    if (file)
        return type_resized(old, 0, upper + rng_range(g, 0, 5) * old->extent);
    return type_resized(old, 0, upper + rng_range(g, 0, 16));
}

/* MPICH 4.0's file I/O loses its way in indexed, struct and array types of old types that have
   explicit bounds, and in most types of old types with a lower bound other than 0. */
static bool only_regular(const struct type *old)
{
    return old->bounded || old->lb != 0;
}

static struct type *derive(struct rng *g, const struct type *old, bool file)
{
    if (old->lb != 0)
        return type_duplicate(old);
    switch (rng_below(g, only_regular(old) ? 5 : 9)) {
    case 0:
        return type_contiguous(old, up_to(g, growth(old), 9));
    case 1:
    case 2:
        return derive_vector(g, old, file);
    case 3:
        return derive_resized(g, old, file);
    case 4:
        return type_duplicate(old);
    case 5:
        return derive_subarray(g, old);
    default:
        return derive_indexed(g, old, file);
    }
}

struct type *type_random_etype(struct rng *g)
{
    struct type *type = type_random_named(g);
    if (!rng_chance(g, 25))
        return type;
    struct type *derived = derive(g, type, true);
    if (only_regular(derived)) { /* it could not be built upon */
        type_free(derived);
        return type;
    }
    type_free(type);
    return derived;
}

/* One piece that is not at 0 but fills the extent: MPICH 4.0 takes it for one at 0. */
static bool shifted(const struct type *type)
{
    return type->map.count == 1 && type->map.list[0].offset != 0 && type->size == type->extent;
}

static struct type *type_random_derived(struct rng *g, struct type *type, bool file)
{
    for (int depth = rng_range(g, 0, 3); depth > 0; depth--) {
        struct type *next = derive(g, type, file);
        type_free(type);
        type = next;
    }
    if (!shifted(type))
        return type;
    type_free(type);
    return NULL;
}

struct type *type_random_filetype(struct rng *g, const struct type *etype)
{
    struct type *type = NULL;
    while (!type)
        type = type_random_derived(g, type_contiguous(etype, 1), true);
    return type;
}

static struct type *partition_interleaved(struct rng *g, const struct type *etype, int rank,
                                          int rank_count)
{
    int block = rng_chance(g, 20) ? rng_range(g, 100, 3000) : rng_range(g, 1, 40);
    struct type *part = type_contiguous(etype, block), *moved;
    struct blocks b = {.count = 1, .length = {1}, .place = {rank}};
    moved = type_indexed(part, &b, rng_below(g, INDEX_KINDS));
    type_free(part);
    part = type_resized(moved, 0, (int64_t)block * etype->extent * rank_count);
    type_free(moved);
    return part;
}

static struct type *partition_subarray(struct rng *g, const struct type *etype, int rank,
                                       int rank_count)
{
    int dims = rng_range(g, 1, 3), cut = rng_range(g, 0, dims - 1);
    int sizes[3], parts[3], starts[3];
    for (int d = 0; d < dims; d++) {
        parts[d] = sizes[d] = rng_range(g, 1, 7);
        starts[d] = 0;
    }
    sizes[cut] = parts[cut] * rank_count;
    starts[cut] = parts[cut] * rank;
    return type_subarray(etype, dims, sizes, parts, starts,
                         rng_chance(g, 50) ? MPI_ORDER_C : MPI_ORDER_FORTRAN);
}

static struct type *partition_darray(struct rng *g, const struct type *etype, int rank,
                                     int rank_count)
{
    int dims = rng_range(g, 1, 3), cut = rng_range(g, 0, dims - 1);
    int sizes[3], grid[3] = {1, 1, 1}, distributions[3], arguments[3];
    for (int d = 0; d < dims; d++) {
        sizes[d] = rng_range(g, 1, 7);
        distributions[d] = rng_chance(g, 50) ? MPI_DISTRIBUTE_BLOCK : MPI_DISTRIBUTE_CYCLIC;
        arguments[d] = MPI_DISTRIBUTE_DFLT_DARG;
        if (d != cut && rng_chance(g, 30))
            distributions[d] = MPI_DISTRIBUTE_NONE;
    }
    grid[cut] = rank_count;
    sizes[cut] = rank_count * rng_range(g, 1, 4);
    if (distributions[cut] == MPI_DISTRIBUTE_CYCLIC && rng_chance(g, 50))
        arguments[cut] = 2;
    if (arguments[cut] == 2)
        sizes[cut] *= 2; /* every process owns something */
    return type_darray(etype, rank, dims, grid, sizes, distributions, arguments,
                       rng_chance(g, 50) ? MPI_ORDER_C : MPI_ORDER_FORTRAN);
}

struct type *type_random_partition(struct rng *g, const struct type *etype, int rank,
                                   int rank_count)
{
    switch (rng_below(g, 4)) {
    case 0:
        return partition_subarray(g, etype, rank, rank_count);
    case 1:
        return partition_darray(g, etype, rank, rank_count);
    default:
        return partition_interleaved(g, etype, rank, rank_count);
    }
}

struct type *type_random_memory(struct rng *g)
{
    struct type *type = NULL;
    while (!type)
        type = type_random_derived(g, type_random_named(g), false);
    return type;
}
