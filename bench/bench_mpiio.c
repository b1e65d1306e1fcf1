/* SPDX-License-Identifier: BSD-3-Clause */
/* Uses one shared file from all ranks by MPI-IO and says, as one line of JSON, where the time went.
 *
 *   segmented   each rank writes a piece of its own from start to end
 *   strided     transfers of all ranks alternate, so that no transfer is aligned to anything
 *   vector      small pieces of all ranks alternate: each call moves many, through a file view
 *   open-close  files are opened and closed, new and old ones
 *   untracked   cheap calls on a file that cte leaves alone, while it tracks another one
 *
 * The first two are those of IOR "easy" and "hard" on one file.  Times are of the slowest rank. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_mpiio.h"
#include "options.h"

int rank, rank_count;

void fail(const char *what)
{
    fprintf(stderr, "bench_mpiio: rank %d: %s\n", rank, what);
    MPI_Abort(MPI_COMM_WORLD, 1);
    exit(1);
}

void check(int code, const char *what)
{
    if (code == MPI_SUCCESS)
        return;
    char text[MPI_MAX_ERROR_STRING] = "unknown error", message[MPI_MAX_ERROR_STRING + 64];
    int length = 0;
    MPI_Error_string(code, text, &length);
    snprintf(message, sizeof message, "%s failed: %s", what, text);
    fail(message);
}

/* ---- the command line ----------------------------------------------------------------------- */

#define PATTERNS "segmented|strided|vector|open-close|untracked"

static const char *const pattern_names[] = {"segmented", "strided", "vector", "open-close",
                                            "untracked"};

enum { SIZE_MOST = INT32_MAX }; /* of a call */
#define FIELD(name) offsetof(struct options, name)

static const struct option_row rows[] = {
    {"file", 'f', OPTION_TEXT, FIELD(file), .value = "FILE", .help = "the file; must be given"},
    {"pattern", 'p', OPTION_CHOICE, FIELD(pattern), .choices = PATTERNS,
     .help = "who writes where (default segmented)"},
    {"rounds", 'n', OPTION_COUNT, FIELD(rounds), 1, .value = "N",
     .help = "measure so often, each time with a new file (default 1)"},
    {"bytes", 'b', OPTION_SIZE, FIELD(bytes), 1, UINT64_C(1) << 50, .value = "SIZE",
     .help = "size of the file, rounded down to whole transfers of all ranks (default 1GiB)"},
    {"transfer", 't', OPTION_SIZE, FIELD(transfer), 1, SIZE_MOST, .value = "SIZE",
     .help = "bytes per call (default 1MiB, strided 47008)"},
    {"piece", 'e', OPTION_SIZE, FIELD(piece), 1, SIZE_MOST, .value = "SIZE",
     .help = "vector: bytes of a rank in a row (default 512)"},
    {"collective", 'c', OPTION_FLAG, FIELD(collective),
     .help = "write_at_all and read_at_all in place of the independent calls"},
    {"fsync", 's', OPTION_FLAG, FIELD(fsync), .help = "MPI_File_sync before close"},
    {"reread", 'a', OPTION_FLAG, FIELD(reread),
     .help = "before close, read the file back, each rank its neighbour's part"},
    {"read", 'r', OPTION_FLAG, FIELD(read), .help = "the same after close, having opened it again"},
    {"verify", 'v', OPTION_FLAG, FIELD(verify),
     .help = "read it back a last time and check every byte"},
    {"keep", 'l', OPTION_FLAG, FIELD(keep), .help = "leave the file of the last round"},
    {"check", 'x', OPTION_FLAG, FIELD(check),
     .help = "do nothing but check every byte of a file that was left"},
    {"calls", 'k', OPTION_COUNT, FIELD(calls), 1, .value = "N",
     .help = "open-close, untracked: calls per round (default 100, 100000)"},
    {"help", 'h', OPTION_FLAG, FIELD(help), .help = "print this"},
    {0},
};

static void usage(FILE *stream)
{
    if (rank != 0)
        return;
    fputs("usage: mpiexec -n RANKS bench_mpiio --file FILE [OPTION...]\n", stream);
    options_print_help(rows, stream);
}

/* 0: run; 1: help was printed; 2: wrong use. */
static int parse_options(int argc, char **argv, struct options *options)
{
    char error[OPTION_ERROR_BYTES] = "";
    struct option_table table = {rows, options};
    *options = (struct options){.bytes = UINT64_C(1) << 30, .piece = 512, .rounds = 1};
    int first = options_parse(&table, 1, false, argc, argv, error);
    options->pattern_name = pattern_names[options->pattern];
    if (first == argc && !options->help && options->file)
        return 0;
    if (options->help)
        usage(stdout);
    else if (rank == 0)
        fprintf(stderr, "bench_mpiio: %s\n",
                error[0] ? error : "give --file FILE and no other argument");
    if (!options->help)
        usage(stderr);
    return options->help ? 1 : 2;
}

/* Fixes up what was left to us, and the sizes. */
static void plan(struct options *options)
{
    if (options->transfer == 0)
        options->transfer = options->pattern == STRIDED ? 47008 : UINT64_C(1) << 20;
    if (options->calls == 0)
        options->calls = options->pattern == OPEN_CLOSE ? 100 : 100000;
    if (options->pattern == VECTOR && options->transfer % options->piece != 0)
        fail("--transfer is not a multiple of --piece");
    uint64_t all = options->transfer * (uint64_t)rank_count;
    options->bytes -= options->bytes % all;
    if (options->bytes == 0)
        fail("--bytes is less than one transfer of each rank");
}

static void print_options(const struct options *options)
{
    if (rank != 0)
        return;
    printf("{\"pattern\":\"%s\",\"ranks\":%d,\"bytes\":%llu,\"transfer\":%llu,\"collective\":%s,"
           "\"verified\":%s,\"rounds\":[",
           options->pattern_name, rank_count, (unsigned long long)options->bytes,
           (unsigned long long)options->transfer, options->collective ? "true" : "false",
           options->verify ? "true" : "false");
}

static int figures; /* that the object has so far */

void put_figure(const char *name, double value)
{
    if (rank == 0)
        printf("%s\"%s\":%.9g", figures > 0 ? "," : "", name, value);
    figures++;
}

static uint64_t measure(const struct options *options, bool last)
{
    if (options->check)
        return check_transfers(options);
    if (options->pattern == OPEN_CLOSE)
        measure_open_close(options);
    else if (options->pattern == UNTRACKED)
        measure_untracked(options);
    else
        return measure_transfers(options, last);
    return 0;
}

static bool run(struct options *options)
{
    uint64_t wrong = 0;
    plan(options);
    print_options(options);
    for (uint64_t i = 0; i < options->rounds && wrong == 0; i++) {
        if (rank == 0)
            printf("%s{", i > 0 ? "," : "");
        figures = 0;
        wrong = measure(options, i + 1 == options->rounds);
        if (rank == 0)
            printf("}");
    }
    if (rank == 0)
        printf("]}\n");
    if (rank == 0 && wrong)
        fprintf(stderr, "bench_mpiio: %llu transfers read back WRONG\n", (unsigned long long)wrong);
    return wrong == 0;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
    struct options options;
    int status = parse_options(argc, argv, &options);
    bool good = status == 0 && run(&options);
    MPI_Finalize();
    return good || status == 1 ? 0 : status ? status : 1;
}
