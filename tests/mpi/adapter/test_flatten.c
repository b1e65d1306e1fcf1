/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Typemaps of random nested datatypes against what MPI_Pack says about the same types, byte for
 * byte and in order.  Usage: test_flatten [seed]
 */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mpi_common/typemap.h"

enum { ARENA_BYTES = 1 << 21, MIDDLE = ARENA_BYTES / 2, TYPES = 600, DEPTH_MAX = 3, COUNT = 3 };

static unsigned char *arena; /* each byte's value is a mix of its place */
static unsigned failures;

static int pick(int low, int high)
{
    return low + (int)(random() % (high - low + 1));
}

static MPI_Datatype leaf(void)
{
    static const MPI_Datatype leaves[] = {MPI_BYTE,       MPI_INT,      MPI_DOUBLE,
                                          MPI_SHORT,      MPI_2INT,     MPI_SHORT_INT,
                                          MPI_DOUBLE_INT, MPI_LONG_INT, MPI_INT16_T};
    MPI_Datatype real;
    if (pick(0, 12) > 0)
        return leaves[pick(0, (int)(sizeof leaves / sizeof leaves[0]) - 1)];
    MPI_Type_create_f90_real(15, 300, &real);
    return real;
}

static MPI_Datatype make(int depth);

static void make_array(MPI_Datatype old, MPI_Datatype *made, int large)
{
    int dims = pick(1, 3);
    int sizes[3], parts[3], starts[3];
    MPI_Count c_sizes[3], c_parts[3], c_starts[3];
    for (int i = 0; i < dims; i++) {
        c_sizes[i] = sizes[i] = pick(1, 5);
        c_parts[i] = parts[i] = pick(1, sizes[i]);
        c_starts[i] = starts[i] = pick(0, sizes[i] - parts[i]);
    }
    int order = pick(0, 1) ? MPI_ORDER_C : MPI_ORDER_FORTRAN;
    if (large)
        MPI_Type_create_subarray_c(dims, c_sizes, c_parts, c_starts, order, old, made);
    else
        MPI_Type_create_subarray(dims, sizes, parts, starts, order, old, made);
}

static void make_darray(MPI_Datatype old, MPI_Datatype *made, int large)
{
    int dims = pick(1, 3);
    int sizes[3], kinds[3], arguments[3], grid[3];
    MPI_Count c_sizes[3];
    int processes = 1;
    for (int i = 0; i < dims; i++) {
        c_sizes[i] = sizes[i] = pick(1, 7);
        grid[i] = pick(1, 3);
        kinds[i] = pick(0, 2) == 0 ? MPI_DISTRIBUTE_BLOCK : MPI_DISTRIBUTE_CYCLIC;
        arguments[i] = MPI_DISTRIBUTE_DFLT_DARG;
        if (kinds[i] == MPI_DISTRIBUTE_CYCLIC && pick(0, 1))
            arguments[i] = pick(1, 3);
        if (pick(0, 4) == 0) {
            kinds[i] = MPI_DISTRIBUTE_NONE;
            grid[i] = 1;
        }
        processes *= grid[i];
    }
    int order = pick(0, 1) ? MPI_ORDER_C : MPI_ORDER_FORTRAN;
    int rank = pick(0, processes - 1);
    if (large)
        MPI_Type_create_darray_c(processes, rank, dims, c_sizes, kinds, arguments, grid, order, old,
                                 made);
    else
        MPI_Type_create_darray(processes, rank, dims, sizes, kinds, arguments, grid, order, old,
                               made);
}

static void make_listed(int kind, MPI_Datatype old, MPI_Datatype *made, int large)
{
    int count = pick(0, 4), block = pick(0, 3);
    int blocks[4], places[4];
    MPI_Aint bytes[4];
    MPI_Count c_blocks[4], c_places[4], c_bytes[4];
    MPI_Datatype types[4];
    for (int i = 0; i < 4; i++) {
        c_blocks[i] = blocks[i] = pick(0, 3);
        c_places[i] = places[i] = pick(-6, 12);
        c_bytes[i] = bytes[i] = pick(-40, 200);
        types[i] = old;
    }
    switch (kind) {
    case 0:
        large ? MPI_Type_indexed_c(count, c_blocks, c_places, old, made)
              : MPI_Type_indexed(count, blocks, places, old, made);
        break;
    case 1:
        large ? MPI_Type_create_hindexed_c(count, c_blocks, c_bytes, old, made)
              : MPI_Type_create_hindexed(count, blocks, bytes, old, made);
        break;
    case 2:
        large ? MPI_Type_create_indexed_block_c(count, block, c_places, old, made)
              : MPI_Type_create_indexed_block(count, block, places, old, made);
        break;
    case 3:
        large ? MPI_Type_create_hindexed_block_c(count, block, c_bytes, old, made)
              : MPI_Type_create_hindexed_block(count, block, bytes, old, made);
        break;
    default:
        types[1] = leaf();
        large ? MPI_Type_create_struct_c(count, c_blocks, c_bytes, types, made)
              : MPI_Type_create_struct(count, blocks, bytes, types, made);
    }
}

static void make_regular(int kind, MPI_Datatype old, MPI_Datatype *made, int large)
{
    int count = pick(0, 5), block = pick(0, 3), stride = pick(-4, 5);
    switch (kind) {
    case 0:
        large ? MPI_Type_contiguous_c(count, old, made) : MPI_Type_contiguous(count, old, made);
        break;
    case 1:
        large ? MPI_Type_vector_c(count, block, stride, old, made)
              : MPI_Type_vector(count, block, stride, old, made);
        break;
    case 2:
        large ? MPI_Type_create_hvector_c(count, block, stride * 11, old, made)
              : MPI_Type_create_hvector(count, block, stride * 11, old, made);
        break;
    case 3:
        large ? MPI_Type_create_resized_c(old, pick(-9, 9), pick(1, 90), made)
              : MPI_Type_create_resized(old, pick(-9, 9), pick(1, 90), made);
        break;
    default:
        MPI_Type_dup(old, made);
    }
}

static MPI_Datatype make(int depth)
{
    MPI_Datatype old = depth > 1 ? make(depth - 1) : leaf();
    MPI_Datatype made;
    int kind = pick(0, 11);
    int large = pick(0, 1);
    if (kind < 5)
        make_regular(kind, old, &made, large);
    else if (kind < 10)
        make_listed(kind - 5, old, &made, large);
    else if (kind == 10)
        make_array(old, &made, large);
    else
        make_darray(old, &made, large);
    if (depth > 1)
        MPI_Type_free(&old);
    return made;
}

/* The bytes that COUNT elements of the typemap select, in order. */
static uint64_t gather(const struct cte__mpi_typemap *map, uint64_t from, unsigned char *out)
{
    uint64_t total = map->size * COUNT;
    uint64_t done = from;
    struct cte__mpi_cursor cursor;
    cte__mpi_cursor_init(&cursor, map, MIDDLE, from);
    while (done < total) {
        int64_t place;
        uint64_t length = cte__mpi_cursor_here(&cursor, &place);
        if (length > total - done)
            length = total - done;
        memcpy(out + done, arena + place, length);
        cte__mpi_cursor_advance(&cursor, length);
        done += length;
    }
    return total;
}

static void check(MPI_Datatype type, int number)
{
    int packed_bytes = 0, size, used = 0;
    MPI_Aint lower, span;
    MPI_Type_size(type, &size);
    MPI_Type_get_extent(type, &lower, &span);
    if (size == 0 || size > 60000 || llabs((long long)span) > ARENA_BYTES / 16)
        return;
    MPI_Pack_size(COUNT, type, MPI_COMM_SELF, &packed_bytes);
    unsigned char *packed = malloc((size_t)packed_bytes);
    unsigned char *ours = calloc(COUNT, (size_t)size);
    MPI_Pack(arena + MIDDLE, COUNT, type, packed, packed_bytes, &used, MPI_COMM_SELF);
    struct cte__mpi_typemap *map = NULL;
    int rc = cte__mpi_typemap_get(type, &map);
    if (rc != 0 || map->size != (uint64_t)size || map->extent != span) {
        printf("type %d: rc %d, size or extent wrong\n", number, rc);
        failures++;
    } else {
        gather(map, 0, ours);
        if (memcmp(ours, packed, (size_t)used) != 0) {
            printf("type %d: other bytes than MPI_Pack\n", number);
            failures++;
        }
        /* From the middle of the data it must be the same bytes. */
        uint64_t from = (uint64_t)pick(0, COUNT * size - 1);
        memset(ours, 0, (size_t)size * COUNT);
        gather(map, from, ours);
        if (memcmp(ours + from, packed + from, (size_t)used - from) != 0) {
            printf("type %d: other bytes than MPI_Pack from %llu on\n", number,
                   (unsigned long long)from);
            failures++;
        }
    }
    cte__mpi_typemap_put(map);
    free(packed);
    free(ours);
}

/* Regular types of any size cost one run, and their typemap is attached to them. */
static void check_compact(void)
{
    MPI_Datatype vector, plane;
    struct cte__mpi_typemap *map, *again;
    MPI_Type_vector(10000000, 1, 3, MPI_INT, &vector);
    if (cte__mpi_typemap_get(vector, &map) != 0 || map->run_count != 1 ||
        map->runs[0].count != 10000000) {
        printf("a vector takes more than one run\n");
        failures++;
    }
    cte__mpi_typemap_get(vector, &again);
    if (again != map) {
        printf("a typemap is made twice\n");
        failures++;
    }
    cte__mpi_typemap_put(again);
    MPI_Type_free(&vector);
    /* The typemap outlives its type while it is held. */
    if (map->size != 40000000)
        failures++;
    cte__mpi_typemap_put(map);
    MPI_Type_create_subarray(3, (int[]){100, 200, 300}, (int[]){100, 200, 7}, (int[]){0, 0, 5},
                             MPI_ORDER_C, MPI_DOUBLE, &plane);
    if (cte__mpi_typemap_get(plane, &map) != 0 || map->run_count != 1) {
        printf("a slab takes more than one run\n");
        failures++;
    }
    cte__mpi_typemap_put(map);
    MPI_Type_free(&plane);
}

int main(int argc, char **argv)
{
    unsigned seed = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : (unsigned)time(NULL);
    MPI_Init(&argc, &argv);
    printf("seed %u\n", seed);
    srandom(seed);
    arena = malloc(ARENA_BYTES);
    for (size_t i = 0; i < ARENA_BYTES; i++)
        arena[i] = (unsigned char)((i * 2654435761u) >> 13);
    for (int i = 0; i < TYPES; i++) {
        MPI_Datatype type = make(pick(1, DEPTH_MAX));
        MPI_Type_commit(&type);
        check(type, i);
        MPI_Type_free(&type);
    }
    check_compact();
    free(arena);
    MPI_Finalize();
    return failures != 0;
}
