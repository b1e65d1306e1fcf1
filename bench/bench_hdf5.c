/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes and reads one dataset of a new file through a driver of HDF5 and says, as one line of
 * JSON, where the time went.
 *
 *   contiguous  a dataset in one row, from start to end in pieces, a call each
 *   chunked     the same in chunks
 *   strided     one call that takes every nth element of a dataset in one row
 *
 * One round: create, write, (read, verify,) (flush,) close, (open again, read, close,) (pause,)
 * delete.
 * Elements are of 8 bytes; each has a value that tells its place. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <hdf5.h>

#include <cte/hdf5.h>

#include "options.h"

#ifdef H5_HAVE_SUBFILING_VFD
#include <H5FDsubfiling.h>
#include <mpi.h>
#endif

#define DRIVERS  "sec2|core|cte|subfiling"
#define PATTERNS "contiguous|chunked|strided"

enum driver { SEC2, CORE, CTE, SUBFILING };
enum pattern { CONTIGUOUS, CHUNKED, STRIDED };

/* A prime, so that the values repeat at no distance that a mistake is likely to have. */
enum { PERIOD = 200003, ELEMENT_BYTES = 8 };

struct options {
    const char *file;
    int driver, pattern;
    uint64_t bytes, piece, chunk, elements, stride, rounds;
    double pause_s;
    bool fsync, read, reopen, verify, keep, check, help;
};

#define FIELD(name) offsetof(struct options, name)

static const struct option_row rows[] = {
    {"file", 'f', OPTION_TEXT, FIELD(file), .value = "FILE", .help = "the file; must be given"},
    {"driver", 'd', OPTION_CHOICE, FIELD(driver), .choices = DRIVERS,
     .help = "what is under HDF5 (default sec2); core keeps the file in memory and loses it"},
    {"pattern", 'p', OPTION_CHOICE, FIELD(pattern), .choices = PATTERNS,
     .help = "of the dataset and the calls (default contiguous)"},
    {"bytes", 'b', OPTION_SIZE, FIELD(bytes), ELEMENT_BYTES, UINT64_C(1) << 50, .value = "SIZE",
     .help = "of the dataset, rounded down to whole pieces (default 1GiB)"},
    {"piece", 's', OPTION_SIZE, FIELD(piece), ELEMENT_BYTES, INT32_MAX, .value = "SIZE",
     .help = "bytes per call (default 1MiB)"},
    {"chunk", 'c', OPTION_SIZE, FIELD(chunk), ELEMENT_BYTES, INT32_MAX, .value = "SIZE",
     .help = "chunked: bytes of a chunk (default 1MiB)"},
    {"elements", 'e', OPTION_COUNT, FIELD(elements), 1, .value = "N",
     .help = "strided: selected elements (default 1000000)"},
    {"stride", 't', OPTION_SIZE, FIELD(stride), ELEMENT_BYTES, INT32_MAX, .value = "SIZE",
     .help = "strided: bytes from one to the next (default 64)"},
    {"rounds", 'n', OPTION_COUNT, FIELD(rounds), 1, .value = "N",
     .help = "measure so often, each time with a new file (default 1)"},
    {"pause", 'w', OPTION_SECONDS, FIELD(pause_s), 0, 3600, .value = "SECONDS",
     .help = "between rounds, as a program that computes between its checkpoints (default 0)"},
    {"fsync", 'y', OPTION_FLAG, FIELD(fsync),
     .help = "H5Fflush before close, and fsync of the file after it"},
    {"read", 'r', OPTION_FLAG, FIELD(read), .help = "before close, read the dataset"},
    {"reopen", 'o', OPTION_FLAG, FIELD(reopen), .help = "after close, open the file and read it"},
    {"verify", 'v', OPTION_FLAG, FIELD(verify),
     .help = "before close, compare every byte, untimed"},
    {"keep", 'k', OPTION_FLAG, FIELD(keep), .help = "leave the file of the last round"},
    {"check", 'x', OPTION_FLAG, FIELD(check),
     .help = "do nothing but compare every byte of a file that was left"},
    {"help", 'h', OPTION_FLAG, FIELD(help), .help = "print this"},
    {0},
};

struct round {
    const struct options *options;
    hsize_t count; /* elements of the dataset */
    hid_t fapl, file, set;
    hid_t in_file, in_memory; /* dataspaces of calls */
    uint64_t *values;         /* two periods, so that any row of up to one is there */
    uint64_t *buffer;         /* of a call */
};

static void fail(const char *what)
{
    fprintf(stderr, "bench_hdf5: %s\n", what);
    exit(1);
}

/* HDF5 has said what went wrong. */
static hid_t ok(hid_t id, const char *what)
{
    if (id < 0)
        fail(what);
    return id;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int figures; /* that the object has so far */

static void put_figure(const char *name, double value)
{
    printf("%s\"%s\":%.9g", figures++ > 0 ? "," : "", name, value);
}

static hsize_t period_from(hsize_t element)
{
    return element % PERIOD;
}

/* ---- drivers ---- */

static void set_subfiling(hid_t fapl)
{
#ifdef H5_HAVE_SUBFILING_VFD
    ok(H5Pset_mpi_params(fapl, MPI_COMM_SELF, MPI_INFO_NULL), "H5Pset_mpi_params");
    ok(H5Pset_fapl_subfiling(fapl, NULL), "H5Pset_fapl_subfiling");
#else
    (void)fapl;
    fail("this HDF5 is built without the subfiling driver");
#endif
}

static hid_t make_fapl(enum driver driver)
{
    hid_t fapl = ok(H5Pcreate(H5P_FILE_ACCESS), "H5Pcreate");
    if (driver == SEC2)
        ok(H5Pset_fapl_sec2(fapl), "H5Pset_fapl_sec2");
    else if (driver == CORE)
        ok(H5Pset_fapl_core(fapl, 64 << 20, 0), "H5Pset_fapl_core");
    else if (driver == CTE)
        ok(H5Pset_fapl_cte(fapl, NULL), "H5Pset_fapl_cte");
    else
        set_subfiling(fapl);
    return fapl;
}

/* ---- one dataset ---- */

static void create(struct round *round)
{
    const struct options *options = round->options;
    hsize_t chunk = options->chunk / ELEMENT_BYTES;
    round->file = ok(H5Fcreate(options->file, H5F_ACC_TRUNC, H5P_DEFAULT, round->fapl), "create");
    hid_t space = ok(H5Screate_simple(1, &round->count, NULL), "dataspace");
    hid_t dcpl = ok(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate");
    if (options->pattern == CHUNKED)
        ok(H5Pset_chunk(dcpl, 1, &chunk), "H5Pset_chunk");
    round->set = ok(
        H5Dcreate2(round->file, "values", H5T_NATIVE_UINT64, space, H5P_DEFAULT, dcpl, H5P_DEFAULT),
        "H5Dcreate");
    H5Pclose(dcpl);
    H5Sclose(space);
}

static void open_again(struct round *round, hid_t fapl)
{
    round->file = ok(H5Fopen(round->options->file, H5F_ACC_RDONLY, fapl), "open");
    round->set = ok(H5Dopen2(round->file, "values", H5P_DEFAULT), "H5Dopen");
}

static void close_file(struct round *round)
{
    ok(H5Dclose(round->set), "H5Dclose");
    ok(H5Fclose(round->file), "H5Fclose");
}

/* Calls of `count` elements.  Their dataspaces are made once, so that the calls are what counts. */
static void begin_calls(struct round *round, hsize_t count)
{
    round->in_file = ok(H5Dget_space(round->set), "H5Dget_space");
    round->in_memory = ok(H5Screate_simple(1, &count, NULL), "H5Screate_simple");
}

static void end_calls(struct round *round)
{
    H5Sclose(round->in_memory);
    H5Sclose(round->in_file);
}

/* One call for `count` elements from `first` on, each `stride` elements after the one before. */
static void transfer(struct round *round, bool write, hsize_t first, hsize_t stride, hsize_t count,
                     uint64_t *memory)
{
    ok(H5Sselect_hyperslab(round->in_file, H5S_SELECT_SET, &first, &stride, &count, NULL),
       "selection");
    if (write)
        ok(H5Dwrite(round->set, H5T_NATIVE_UINT64, round->in_memory, round->in_file, H5P_DEFAULT,
                    memory),
           "H5Dwrite");
    else
        ok(H5Dread(round->set, H5T_NATIVE_UINT64, round->in_memory, round->in_file, H5P_DEFAULT,
                   memory),
           "H5Dread");
}

static hsize_t piece_elements(const struct round *round)
{
    return round->options->piece / ELEMENT_BYTES;
}

static hsize_t stride_elements(const struct options *options)
{
    return options->stride / ELEMENT_BYTES;
}

/* The values of a call of the strided pattern do not lie in a row. */
static void fill_strided(struct round *round)
{
    for (hsize_t i = 0; i < round->options->elements; i++)
        round->buffer[i] = round->values[period_from(i * stride_elements(round->options))];
}

/* Elements of a call, and how far apart they are. */
static void shape_of_calls(const struct round *round, hsize_t *count, hsize_t *stride)
{
    bool strided = round->options->pattern == STRIDED;
    *count = strided ? round->options->elements : piece_elements(round);
    *stride = strided ? stride_elements(round->options) : 1;
}

static void write_all(struct round *round)
{
    hsize_t count, stride;
    bool strided = round->options->pattern == STRIDED;
    shape_of_calls(round, &count, &stride);
    begin_calls(round, count);
    for (hsize_t at = 0; at < round->count; at += count * stride)
        transfer(round, true, at, stride, count,
                 strided ? round->buffer : round->values + period_from(at));
    end_calls(round);
}

/* Looks at the first and the last element of each call. */
static void read_all(struct round *round)
{
    hsize_t count, stride;
    shape_of_calls(round, &count, &stride);
    begin_calls(round, count);
    for (hsize_t at = 0; at < round->count; at += count * stride) {
        transfer(round, false, at, stride, count, round->buffer);
        if (round->buffer[0] != round->values[period_from(at)] ||
            round->buffer[count - 1] != round->values[period_from(at + (count - 1) * stride)])
            fail("an element was read back WRONG");
    }
    end_calls(round);
}

/* Elements that were never written are 0. */
static uint64_t expected(const struct round *round, hsize_t element)
{
    bool written =
        round->options->pattern != STRIDED || element % stride_elements(round->options) == 0;
    return written ? round->values[period_from(element)] : 0;
}

static void compare(const struct round *round, const uint64_t *memory, hsize_t at, hsize_t count)
{
    for (hsize_t i = 0; i < count; i++) {
        if (memory[i] == expected(round, at + i))
            continue;
        fprintf(stderr, "bench_hdf5: element %llu is WRONG\n", (unsigned long long)(at + i));
        exit(1);
    }
}

static void verify(struct round *round)
{
    hsize_t most = (UINT64_C(1) << 20) / ELEMENT_BYTES;
    uint64_t *memory = malloc(most * ELEMENT_BYTES);
    if (!memory)
        fail("out of memory");
    for (hsize_t at = 0; at < round->count; at += most) {
        hsize_t count = round->count - at < most ? round->count - at : most;
        begin_calls(round, count);
        transfer(round, false, at, 1, count, memory);
        end_calls(round);
        compare(round, memory, at, count);
    }
    free(memory);
}

/* ---- a round ---- */

static void make_buffers(struct round *round)
{
    const struct options *options = round->options;
    size_t bytes = options->pattern == STRIDED ? options->elements * ELEMENT_BYTES : options->piece;
    uint64_t state = 0x9e3779b97f4a7c15u;
    round->values = malloc(2 * PERIOD * sizeof *round->values);
    round->buffer = malloc(bytes);
    if (!round->values || !round->buffer)
        fail("out of memory");
    for (size_t i = 0; i < PERIOD; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        round->values[i] = round->values[i + PERIOD] = state | 1;
    }
    memset(round->buffer, 0, bytes); /* its memory is there before anything is timed */
    if (options->pattern == STRIDED)
        fill_strided(round);
}

/* To the disk, as the only way to know that the file is there. */
static void sync_to_disk(const char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        fail(strerror(errno));
    close(fd);
}

static double timed_read(struct round *round)
{
    double begin = now_s();
    read_all(round);
    return now_s() - begin;
}

static void read_after_close(struct round *round)
{
    double begin = now_s();
    open_again(round, round->fapl);
    read_all(round);
    close_file(round);
    put_figure("reopened_s", now_s() - begin);
}

static void measure(struct round *round)
{
    const struct options *options = round->options;
    double begin = now_s();
    create(round);
    double created = now_s();
    write_all(round);
    double written = now_s(), reading = 0;
    put_figure("create_s", created - begin);
    put_figure("write_s", written - created);
    if (options->read)
        put_figure("read_s", reading = timed_read(round));
    if (options->verify)
        verify(round);
    double closing = now_s();
    if (options->fsync)
        ok(H5Fflush(round->file, H5F_SCOPE_GLOBAL), "H5Fflush");
    close_file(round);
    if (options->fsync)
        sync_to_disk(options->file);
    double closed = now_s();
    put_figure("close_s", closed - closing);
    put_figure("total_s", written - begin + closed - closing);
    if (options->reopen)
        read_after_close(round);
}

static void sleep_s(double seconds)
{
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

static void run_rounds(struct round *round)
{
    const struct options *options = round->options;
    printf("{\"bytes\":%llu,\"rounds\":[",
           (unsigned long long)(options->pattern == STRIDED ? options->elements * ELEMENT_BYTES
                                                            : round->count * ELEMENT_BYTES));
    for (uint64_t i = 0; i < options->rounds; i++) {
        printf("%s{", i > 0 ? "," : "");
        figures = 0;
        measure(round);
        printf("}");
        bool last = i + 1 == options->rounds, keep = options->keep && last;
        if (!last)
            sleep_s(options->pause_s);
        if (!keep && options->driver != CORE && unlink(options->file) != 0)
            fail("the file cannot be deleted");
    }
    printf("]}\n");
}

/* What was left must be there for everybody: by the stock driver. */
static void check_file(struct round *round)
{
    open_again(round, round->fapl);
    verify(round);
    close_file(round);
}

static void run(const struct options *options)
{
    struct round round = {.options = options, .fapl = make_fapl((enum driver)options->driver)};
    round.count = options->pattern == STRIDED
                      ? options->elements * stride_elements(options)
                      : options->bytes / options->piece * piece_elements(&round);
    if (round.count == 0)
        fail("--bytes is less than one piece");
    make_buffers(&round);
    if (options->check)
        check_file(&round);
    else
        run_rounds(&round);
    free(round.values);
    free(round.buffer);
    H5Pclose(round.fapl);
    ok(H5close(), "H5close"); /* which completes drains */
}

/* 0: run; 1: help was printed; 2: wrong use. */
static int parse_options(int argc, char **argv, struct options *options)
{
    char error[OPTION_ERROR_BYTES] = "";
    struct option_table table = {rows, options};
    *options = (struct options){.bytes = UINT64_C(1) << 30,
                                .piece = 1 << 20,
                                .chunk = 1 << 20,
                                .elements = 1000000,
                                .stride = 64,
                                .rounds = 1};
    int first = options_parse(&table, 1, false, argc, argv, error);
    bool whole = options->piece % ELEMENT_BYTES == 0 && options->chunk % ELEMENT_BYTES == 0 &&
                 options->stride % ELEMENT_BYTES == 0 && options->piece / ELEMENT_BYTES <= PERIOD;
    if (first == argc && !options->help && options->file && whole)
        return 0;
    if (!options->help)
        fprintf(stderr, "bench_hdf5: %s\n",
                error[0] ? error
                         : "give --file FILE; sizes are multiples of 8, pieces of at most 1 MiB");
    FILE *stream = options->help ? stdout : stderr;
    fputs("usage: bench_hdf5 --file FILE [OPTION...]\n", stream);
    options_print_help(rows, stream);
    return options->help ? 1 : 2;
}

int main(int argc, char **argv)
{
    struct options options;
    int status = parse_options(argc, argv, &options);
    if (status != 0)
        return status == 1 ? 0 : status;
#ifdef H5_HAVE_SUBFILING_VFD
    int level;
    if (options.driver == SUBFILING)
        MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &level);
#endif
    run(&options);
#ifdef H5_HAVE_SUBFILING_VFD
    if (options.driver == SUBFILING)
        MPI_Finalize();
#endif
    return 0;
}
