/* SPDX-License-Identifier: BSD-3-Clause */
/* The same random HDF5 operations on a file of the default driver and on one of cte, in lockstep:
 * each result, each buffer read and each size must agree; closed files must be equal byte for byte,
 * and each driver must read the other's file.
 *
 *     test_hdf5_random [--seed S] [--sequences N]      a failure prints the seed of its sequence */
#include "support.h"

#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { SIDES = 2, NAMES = 10, OPERATIONS_MAX = 60, ELEMENTS_MAX = 30000 };

static uint64_t sequence_seed, random_state;
/* With a page buffer, HDF5 may drop freed pages that the sieve buffer would have let through: free
 * space then differs, contents must not. */
static bool page_buffer;
static const char *const paths[SIDES] = {"sec2.h5", "cte.h5"};

/* Stands for the C library's: object times must not tell the files apart. */
int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    *now = (struct timeval){1000000000, 0};
    return 0;
}

static uint64_t draw(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state * 0x2545f4914f6cdd1dull >> 16) % below;
}

static bool chance(unsigned percent)
{
    return draw(100) < percent;
}

/* Names the sequence before the check ends the test. */
static void expect(bool holds, const char *what)
{
    if (!holds)
        fprintf(stderr, "sequence of seed %llu: %s\n", (unsigned long long)sequence_seed, what);
    check_(holds, what, __FILE_NAME__, __LINE__);
}

/* One operation, drawn once and done on both sides. */
struct operation {
    char name[16], other[16];
    hsize_t dims[1], chunk[1], start[1], count[1], stride[1], block[1];
    bool chunked, compressed, early;
    bool points; /* single elements, from the last to the first */
    bool spread; /* in memory every other element */
    int first;   /* value that data starts with */
    H5F_scope_t scope;
};

typedef long long (*performer)(hid_t file, const struct operation *op, int *buffer);

static long long create_dataset(hid_t file, const struct operation *op, int *buffer)
{
    (void)buffer;
    const hsize_t max[1] = {H5S_UNLIMITED};
    hid_t dcpl = OK(H5Pcreate(H5P_DATASET_CREATE));
    hid_t space = OK(H5Screate_simple(1, op->dims, op->chunked ? max : NULL));
    if (op->chunked)
        OK(H5Pset_chunk(dcpl, 1, op->chunk));
    if (op->chunked && op->compressed)
        OK(H5Pset_deflate(dcpl, 1));
    if (op->early)
        OK(H5Pset_alloc_time(dcpl, H5D_ALLOC_TIME_EARLY));
    hid_t set = H5Dcreate2(file, op->name, H5T_STD_I32LE, space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
    OK(H5Sclose(space));
    OK(H5Pclose(dcpl));
    return set < 0 ? -1 : H5Dclose(set);
}

static void select_points(hid_t space, const struct operation *op, hsize_t count)
{
    hsize_t *points = malloc(count * sizeof *points);
    CHECK(points != NULL);
    for (hsize_t i = 0; i < count; i++)
        points[i] = op->start[0] + (count - 1 - i) * op->stride[0];
    OK(H5Sselect_elements(space, H5S_SELECT_SET, count, points));
    free(points);
}

static hid_t memory_of(const struct operation *op, hsize_t elements)
{
    const hsize_t first = 1, every = 2;
    bool spread = op->spread && 2 * elements + 1 <= ELEMENTS_MAX;
    hsize_t dims = spread ? 2 * elements + 1 : elements;
    hid_t memory = OK(H5Screate_simple(1, &dims, NULL));
    if (spread)
        OK(H5Sselect_hyperslab(memory, H5S_SELECT_SET, &first, &every, &elements, NULL));
    return memory;
}

/* The selection of the operation, cut to the dataset; negative if nothing is left. */
static hid_t select_part(hid_t set, const struct operation *op, hid_t *memory)
{
    hid_t space = OK(H5Dget_space(set));
    hsize_t size[1] = {0}, count[1], block = op->points ? 1 : op->block[0];
    OK(H5Sget_simple_extent_dims(space, size, NULL));
    hsize_t room = op->start[0] < size[0] ? size[0] - op->start[0] : 0;
    count[0] = room < block ? 0 : (room - block) / op->stride[0] + 1;
    if (count[0] > op->count[0])
        count[0] = op->count[0];
    if (count[0] * block > ELEMENTS_MAX)
        count[0] = ELEMENTS_MAX / block;
    if (count[0] == 0) {
        OK(H5Sclose(space));
        return -1;
    }
    if (op->points)
        select_points(space, op, count[0]);
    else
        OK(H5Sselect_hyperslab(space, H5S_SELECT_SET, op->start, op->stride, count, &block));
    *memory = memory_of(op, count[0] * block);
    return space;
}

static long long transfer(hid_t file, const struct operation *op, int *buffer, bool write)
{
    hid_t set = H5Dopen2(file, op->name, H5P_DEFAULT), memory;
    if (set < 0)
        return -1;
    long long result = -2;
    hid_t space = select_part(set, op, &memory);
    if (space >= 0) {
        result = write ? H5Dwrite(set, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, buffer)
                       : H5Dread(set, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, buffer);
        OK(H5Sclose(memory));
        OK(H5Sclose(space));
    }
    OK(H5Dclose(set));
    return result;
}

static long long write_part(hid_t file, const struct operation *op, int *buffer)
{
    for (int i = 0; i < ELEMENTS_MAX; i++)
        buffer[i] = op->first + i;
    return transfer(file, op, buffer, true);
}

static long long read_part(hid_t file, const struct operation *op, int *buffer)
{
    return transfer(file, op, buffer, false);
}

/* Many adjacent pieces, as programs that write record by record do. */
static long long write_pieces(hid_t file, const struct operation *op, int *buffer)
{
    struct operation piece = *op;
    long long result = 0;
    piece.stride[0] = piece.block[0] = 1;
    piece.points = piece.spread = false;
    piece.count[0] = 1 + op->count[0] % 200;
    for (int i = 0; i < 40 && result >= 0; i++) {
        piece.first++;
        result = i % 10 == 9 ? read_part(file, &piece, buffer) : write_part(file, &piece, buffer);
        piece.start[0] += piece.count[0];
    }
    return result;
}

static long long set_extent(hid_t file, const struct operation *op, int *buffer)
{
    (void)buffer;
    hid_t set = H5Dopen2(file, op->name, H5P_DEFAULT);
    if (set < 0)
        return -1;
    herr_t result = H5Dset_extent(set, op->dims);
    OK(H5Dclose(set));
    return result;
}

static long long create_group(hid_t file, const struct operation *op, int *buffer)
{
    (void)buffer;
    hid_t group = H5Gcreate2(file, op->name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    return group < 0 ? -1 : H5Gclose(group);
}

static long long delete_link(hid_t file, const struct operation *op, int *buffer)
{
    (void)buffer;
    return H5Ldelete(file, op->name, H5P_DEFAULT);
}

static long long move_link(hid_t file, const struct operation *op, int *buffer)
{
    (void)buffer;
    return H5Lmove(file, op->name, file, op->other, H5P_DEFAULT, H5P_DEFAULT);
}

static long long copy_object(hid_t file, const struct operation *op, int *buffer)
{
    (void)buffer;
    return H5Ocopy(file, op->name, file, op->other, H5P_DEFAULT, H5P_DEFAULT);
}

static long long write_attribute(hid_t file, const struct operation *op, int *buffer)
{
    hsize_t count[1] = {1 + op->count[0] % 900};
    hid_t object = H5Oopen(file, op->name, H5P_DEFAULT);
    if (object < 0)
        return -1;
    hid_t space = OK(H5Screate_simple(1, count, NULL));
    hid_t attribute = H5Acreate2(object, op->other, H5T_STD_I32BE, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t result = attribute < 0 ? -1 : 0;
    for (hsize_t i = 0; i < count[0]; i++)
        buffer[i] = op->first - (int)i;
    if (attribute >= 0) {
        result = H5Awrite(attribute, H5T_NATIVE_INT, buffer);
        OK(H5Aclose(attribute));
    }
    OK(H5Sclose(space));
    OK(H5Oclose(object));
    return result;
}

static long long delete_attribute(hid_t file, const struct operation *op, int *buffer)
{
    (void)buffer;
    return H5Adelete_by_name(file, op->name, op->other, H5P_DEFAULT);
}

static long long write_text(hid_t file, const struct operation *op, int *buffer)
{
    char text[2048];
    const char *pointer = text;
    (void)buffer;
    memset(text, 'a' + op->first % 26, sizeof text);
    text[op->count[0] % sizeof text] = '\0';
    hid_t type = OK(H5Tcopy(H5T_C_S1)), space = OK(H5Screate(H5S_SCALAR));
    OK(H5Tset_size(type, H5T_VARIABLE));
    hid_t set = H5Dcreate2(file, op->name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    herr_t result = -1;
    if (set >= 0) {
        result = H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &pointer);
        OK(H5Dclose(set));
    }
    OK(H5Sclose(space));
    OK(H5Tclose(type));
    return result;
}

static long long flush_file(hid_t file, const struct operation *op, int *buffer)
{
    (void)buffer;
    return H5Fflush(file, op->scope);
}

static const struct {
    performer perform;
    unsigned weight;
} performers[] = {
    {create_dataset, 18}, {write_part, 20},     {read_part, 14},       {write_pieces, 10},
    {set_extent, 6},      {create_group, 3},    {delete_link, 5},      {move_link, 3},
    {copy_object, 3},     {write_attribute, 6}, {delete_attribute, 2}, {write_text, 5},
    {flush_file, 5},
};

static performer draw_performer(void)
{
    unsigned total = 0, i = 0;
    for (size_t k = 0; k < sizeof performers / sizeof performers[0]; k++)
        total += performers[k].weight;
    unsigned at = (unsigned)draw(total);
    while (at >= performers[i].weight)
        at -= performers[i++].weight;
    return performers[i].perform;
}

static struct operation draw_operation(void)
{
    struct operation op = {.first = (int)draw(1 << 20)};
    snprintf(op.name, sizeof op.name, "n%d", (int)draw(NAMES));
    snprintf(op.other, sizeof op.other, "n%d", (int)draw(NAMES));
    op.dims[0] = chance(10) ? draw(3) : 1 + draw(chance(30) ? ELEMENTS_MAX : 2000);
    op.chunk[0] = 1 + op.dims[0] / (1 + draw(20));
    op.chunked = chance(50);
    op.compressed = chance(30);
    op.early = chance(20);
    op.start[0] = chance(40) ? 0 : draw(op.dims[0] + 1);
    op.count[0] = 1 + draw(ELEMENTS_MAX);
    op.stride[0] = chance(70) ? 1 : 2 + draw(chance(50) ? 9 : 3000);
    op.block[0] = chance(50) ? 1 : 1 + draw(op.stride[0]);
    op.points = chance(10);
    op.spread = chance(20);
    op.scope = chance(50) ? H5F_SCOPE_LOCAL : H5F_SCOPE_GLOBAL;
    return op;
}

static cte_hdf5_config draw_config(void)
{
    cte_hdf5_config config = CTE_HDF5_CONFIG_INIT;
    config.mode = chance(20) ? CTE_FILE_MODE_BYPASS : CTE_FILE_MODE_DEFAULT;
    if (chance(30))
        config.score_metadata = (float)draw(100) / 100.0f;
    if (chance(30))
        config.score_raw = (float)draw(100) / 100.0f;
    return config;
}

/* Properties that change which requests the driver gets. */
static void draw_properties(hid_t fcpl, hid_t fapl[SIDES])
{
    bool page = chance(25), user_block = !page && chance(20), latest = chance(30),
         align = !user_block && chance(20);
    bool small_sieve = chance(20), no_aggregation = chance(20);
    page_buffer = page && chance(12);
    if (user_block)
        OK(H5Pset_userblock(fcpl, 512u << draw(4)));
    if (page) {
        OK(H5Pset_file_space_strategy(fcpl, H5F_FSPACE_STRATEGY_PAGE, draw(2), 1));
        OK(H5Pset_file_space_page_size(fcpl, 4096));
    }
    for (int side = 0; side < SIDES; side++) {
        if (latest)
            OK(H5Pset_libver_bounds(fapl[side], H5F_LIBVER_LATEST, H5F_LIBVER_LATEST));
        if (align)
            OK(H5Pset_alignment(fapl[side], 1000, 4096));
        if (small_sieve)
            OK(H5Pset_sieve_buf_size(fapl[side], 1024));
        if (no_aggregation) {
            OK(H5Pset_meta_block_size(fapl[side], 0));
            OK(H5Pset_small_data_block_size(fapl[side], 0));
        }
        if (page_buffer)
            OK(H5Pset_page_buffer_size(fapl[side], 65536, 0, 0));
    }
}

/* Before the flush the size may tell what the default driver's sieve buffer has written so far. */
static void compare_sizes(const hid_t file[SIDES])
{
    hsize_t size[SIDES];
    for (int side = 0; side < SIDES; side++) {
        OK(H5Fflush(file[side], H5F_SCOPE_LOCAL));
        OK(H5Fget_filesize(file[side], &size[side]));
    }
    expect(size[0] == size[1], "H5Fget_filesize differs");
}

static void perform_on_both(const hid_t file[SIDES], int *buffer[SIDES])
{
    struct operation op = draw_operation();
    performer perform = draw_performer();
    long long result[SIDES];
    for (int side = 0; side < SIDES; side++) {
        memset(buffer[side], 0xee, ELEMENTS_MAX * sizeof(int));
        H5E_BEGIN_TRY
        {
            result[side] = perform(file[side], &op, buffer[side]);
        }
        H5E_END_TRY;
    }
    expect((result[0] < 0) == (result[1] < 0), "one side failed, the other did not");
    expect(memcmp(buffer[0], buffer[1], ELEMENTS_MAX * sizeof(int)) == 0, "data read differs");
    if (chance(10))
        compare_sizes(file);
}

static void compare_contents(void)
{
    int status[SIDES];
    char *text[SIDES];
    for (int side = 0; side < SIDES; side++)
        text[side] = run_command(&status[side], "h5dump %s 2>&1 | tail -n +2", paths[side]);
    expect(strcmp(text[0], text[1]) == 0, "h5dump differs");
    free(text[0]);
    free(text[1]);
    text[0] = run_command(&status[0], "h5diff %s %s 2>&1", paths[0], paths[1]);
    expect(status[0] == 0, "h5diff finds differences");
    free(text[0]);
}

static void close_both(hid_t file[SIDES])
{
    for (int side = 0; side < SIDES; side++)
        OK(H5Fclose(file[side]));
    if (page_buffer)
        compare_contents();
    else
        expect(same_bytes(paths[0], paths[1]), "closed files differ");
}

/* From now on each side may work on the file that the other one wrote: they are equal. */
static void open_both(hid_t file[SIDES], const hid_t fapl[SIDES])
{
    bool swap = chance(50);
    if (swap) {
        OK(rename(paths[0], "swap.h5"));
        OK(rename(paths[1], paths[0]));
        OK(rename("swap.h5", paths[1]));
    }
    for (int side = 0; side < SIDES; side++)
        file[side] = OK(H5Fopen(paths[side], H5F_ACC_RDWR, fapl[side]));
}

static void run_sequence(int *buffer[SIDES])
{
    hid_t file[SIDES], fcpl = OK(H5Pcreate(H5P_FILE_CREATE));
    cte_hdf5_config config = draw_config();
    hid_t fapl[SIDES] = {fapl_sec2(), fapl_cte(&config)};
    draw_properties(fcpl, fapl);
    for (int side = 0; side < SIDES; side++)
        file[side] = OK(H5Fcreate(paths[side], H5F_ACC_TRUNC, fcpl, fapl[side]));
    for (uint64_t left = 5 + draw(OPERATIONS_MAX); left > 0; left--) {
        perform_on_both(file, buffer);
        if (chance(4)) {
            close_both(file);
            open_both(file, fapl);
        }
    }
    close_both(file);
    OK(H5Pclose(fcpl));
    for (int side = 0; side < SIDES; side++)
        OK(H5Pclose(fapl[side]));
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'}, {"sequences", required_argument, NULL, 'n'}, {0}};
    uint64_t seed = (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();
    int sequences = 250, *buffer[SIDES];
    for (int option; (option = getopt_long(argc, argv, "s:n:", options, NULL)) >= 0;) {
        CHECK(option != '?');
        if (option == 's')
            seed = strtoull(optarg, NULL, 0);
        else
            sequences = atoi(optarg);
    }
    CHECK(chdir(scratch_directory()) == 0);
    printf("first seed %llu, %d sequences\n", (unsigned long long)seed, sequences);
    fflush(stdout);
    for (int side = 0; side < SIDES; side++)
        CHECK((buffer[side] = malloc(ELEMENTS_MAX * sizeof(int))) != NULL);
    for (int i = 0; i < sequences; i++) {
        sequence_seed = seed + (uint64_t)i;
        random_state = sequence_seed * 0x9e3779b97f4a7c15ull | 1;
        run_sequence(buffer);
        if (i % 50 == 0)
            compare_contents();
    }
    free(buffer[0]);
    free(buffer[1]);
    CHECK(chdir("/") == 0);
    printf("all agree\n");
    return 0;
}
