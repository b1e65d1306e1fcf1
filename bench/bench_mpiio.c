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
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_mpiio.h"

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

static void usage(FILE *stream)
{
    fputs("usage: mpiexec -n RANKS bench_mpiio --file FILE [options]\n"
          "  --pattern segmented|strided|vector|open-close|untracked   (default segmented)\n"
          "  --rounds N        measure so often, each time with a new file (default 1)\n"
          "  --bytes SIZE      size of the file, rounded down to whole transfers of all ranks\n"
          "                    (default 1G; K, M, G are powers of 1024)\n"
          "  --transfer SIZE   bytes per call (default 1M, strided 47008)\n"
          "  --piece SIZE      vector: bytes of a rank in a row (default 512)\n"
          "  --collective      write_at_all and read_at_all in place of the independent calls\n"
          "  --fsync           MPI_File_sync before close\n"
          "  --reread          before close, read the file back, each rank its neighbour's part\n"
          "  --read            the same after close, having opened it again\n"
          "  --verify          read it back a last time and check every byte\n"
          "  --keep            leave the file of the last round\n"
          "  --check           do nothing but check every byte of a file that was left\n"
          "  --calls N         open-close, untracked: calls per round (default 100, 100000)\n",
          stream);
}

static bool parse_size(const char *text, uint64_t *bytes)
{
    char *end = NULL;
    errno = 0;
    *bytes = strtoull(text, &end, 10);
    const char *letters = "KMG", *letter = *end ? strchr(letters, *end) : NULL;
    if (letter) {
        *bytes <<= 10 * (letter - letters + 1);
        end++;
    }
    return errno == 0 && end != text && *end == '\0' && *bytes > 0 && *bytes < (UINT64_C(1) << 50);
}

static bool parse_pattern(const char *text, struct options *options)
{
    static const char *const NAMES[] = {"segmented", "strided", "vector", "open-close",
                                        "untracked"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (strcmp(text, NAMES[i]) == 0) {
            options->pattern = (enum pattern)i;
            options->pattern_name = NAMES[i];
            return true;
        }
    return false;
}

/* False: wrong use. */
static bool parse_option(int letter, struct options *options)
{
    switch (letter) {
    case 'f':
        options->file = optarg;
        return true;
    case 'p':
        return parse_pattern(optarg, options);
    case 'n':
        return parse_size(optarg, &options->rounds);
    case 'b':
        return parse_size(optarg, &options->bytes);
    case 't':
        return parse_size(optarg, &options->transfer) && options->transfer <= INT32_MAX;
    case 'e':
        return parse_size(optarg, &options->piece) && options->piece <= INT32_MAX;
    case 'k':
        return parse_size(optarg, &options->calls);
    case 'c':
        return options->collective = true;
    case 's':
        return options->fsync = true;
    case 'a':
        return options->reread = true;
    case 'r':
        return options->read = true;
    case 'v':
        return options->verify = true;
    case 'l':
        return options->keep = true;
    case 'x':
        return options->check = true;
    default:
        return false;
    }
}

/* 0: run; 1: help was printed; 2: wrong use. */
static int parse_options(int argc, char **argv, struct options *options)
{
    static const struct option LONG[] = {
        {"file", required_argument, NULL, 'f'},     {"pattern", required_argument, NULL, 'p'},
        {"rounds", required_argument, NULL, 'n'},   {"bytes", required_argument, NULL, 'b'},
        {"transfer", required_argument, NULL, 't'}, {"piece", required_argument, NULL, 'e'},
        {"calls", required_argument, NULL, 'k'},    {"collective", no_argument, NULL, 'c'},
        {"fsync", no_argument, NULL, 's'},          {"reread", no_argument, NULL, 'a'},
        {"read", no_argument, NULL, 'r'},           {"verify", no_argument, NULL, 'v'},
        {"keep", no_argument, NULL, 'l'},           {"check", no_argument, NULL, 'x'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
    };
    *options = (struct options){
        .bytes = UINT64_C(1) << 30, .piece = 512, .rounds = 1, .pattern_name = "segmented"};
    opterr = rank == 0;
    bool good = true;
    int letter;
    while (good && (letter = getopt_long(argc, argv, "", LONG, NULL)) != -1) {
        if (letter == 'h') {
            if (rank == 0)
                usage(stdout);
            return 1;
        }
        good = parse_option(letter, options);
    }
    if (good && optind == argc && options->file)
        return 0;
    if (rank == 0)
        usage(stderr);
    return 2;
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
