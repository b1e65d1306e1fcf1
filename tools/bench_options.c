/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte bench`: the command line. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bench.h"

#define MIB (UINT64_C(1) << 20)

enum {
    DEFAULT_REPEATS = 5,
    RAM_WARMUPS = 8, /* freed pages go round, between processes too, until all have used all */
    DISK_WARMUPS = 3,
    WARMUPS_DEFAULT = UINT16_MAX, /* not given */
    COUNT_LEAST = 64,
    COUNT_MOST = 100000,
    DIRECT_BYTES = 4096,
    REQUEST_BYTES = 128 << 10,
    DEPTH_MOST = 16,
    ODD_LETTERS = 0x100, /* long options without a letter */
};

static const char usage[] =
    "usage: cte bench put|get [--size S] [--count N] [--procs P] [--target ram|file|uring]\n"
    "                 [--warm|--cold] [--overwrite] [--checksum on|off] [--depth D]\n"
    "                 [--repeats R] [--warmups W] [--directory DIR] [--json]\n"
    "       cte bench scale [--count N] [--size S] [--csv FILE] [--json]\n";

void bench_print_usage(void)
{
    fputs(usage, stdout);
    puts("\n"
         "Measures puts and gets of blobs in a private store that is removed afterwards, and in "
         "turns\n"
         "with them the machine's own way to move the same bytes: the limit.\n\n"
         "  --size S       bytes of each blob, with unit (default 1MiB)\n"
         "  --count N      blobs of each process (default: 256 MiB of them, 64 to 100000)\n"
         "  --procs P      processes, 1 to 64 (default 1)\n"
         "  --target T     where the blobs are: ram, file, or uring, a file by io_uring and\n"
         "                 O_DIRECT, compared with fio (default ram)\n"
         "  --warm         into memory or blocks used before (default)\n"
         "  --cold         into memory or blocks used first, by new processes; gets of a file\n"
         "                 from the disk\n"
         "  --overwrite    puts replace blobs that are there; else they make new ones\n"
         "  --checksum X   on (default) or off\n"
         "  --depth D      requests that fio has under way, uring only; each has a Dth of the\n"
         "                 bytes of a blob (default: 128 KiB each, at most 16)\n"
         "  --repeats R    of each; the figures are medians (default 5)\n"
         "  --warmups W    rounds that are not timed, warm only (default 8, on disks 3)\n"
         "  --directory D  where the files of file and uring are made (default TMPDIR or /tmp)\n"
         "  --json         print JSON\n"
         "\n"
         "`scale` puts up to N small blobs into one tag and prints what one costs, by their "
         "number.");
}

int bench_usage_error(const char *what)
{
    if (what[0])
        complain("%s", what);
    fputs(usage, stderr);
    return EXIT_USAGE;
}

bool bench_parse_size(const char *text, uint64_t *bytes)
{
    static const char letters[] = "kmgt";
    if (!isdigit((unsigned char)*text)) /* strtoull would take signs and blanks */
        return false;
    char *unit;
    errno = 0;
    unsigned long long number = strtoull(text, &unit, 10);
    const char *letter = *unit ? strchr(letters, tolower((unsigned char)*unit)) : NULL;
    int shift = letter ? 10 * (int)(letter - letters + 1) : 0;
    unit += letter != NULL;
    bool known = *unit == '\0' || strcasecmp(unit, "b") == 0 || (letter && !strcasecmp(unit, "ib"));
    *bytes = number << shift;
    return errno == 0 && known && *bytes >> shift == number && *bytes > 0;
}

bool bench_parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *count)
{
    char *end;
    errno = 0;
    *count = strtoull(text, &end, 10);
    return isdigit((unsigned char)*text) && errno == 0 && *end == '\0' && *count >= least &&
           *count <= most;
}

/* ---- options -------------------------------------------------------------------------------- */

enum { WARM = ODD_LETTERS, WARMUPS };

static const struct option long_options[] = {
    {"size", required_argument, NULL, 's'},
    {"count", required_argument, NULL, 'n'},
    {"procs", required_argument, NULL, 'p'},
    {"target", required_argument, NULL, 't'},
    {"warm", no_argument, NULL, WARM},
    {"cold", no_argument, NULL, 'c'},
    {"overwrite", no_argument, NULL, 'o'},
    {"checksum", required_argument, NULL, 'k'},
    {"depth", required_argument, NULL, 'q'},
    {"repeats", required_argument, NULL, 'r'},
    {"warmups", required_argument, NULL, WARMUPS},
    {"directory", required_argument, NULL, 'd'},
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool set_number(uint32_t *field, uint32_t least, uint32_t most)
{
    uint64_t number;
    if (!bench_parse_count(optarg, least, most, &number))
        return false;
    *field = (uint32_t)number;
    return true;
}

static bool set_target(struct bench_options *options)
{
    for (int i = BENCH_RAM; i <= BENCH_URING; i++) {
        options->target = (enum bench_target)i;
        if (strcmp(optarg, bench_target_name(options->target)) == 0)
            return true;
    }
    return false;
}

/* What is wrong with the value of an option, or NULL. */
static const char *set_option(struct bench_options *options, int letter)
{
    switch (letter) {
    case 's':
        return bench_parse_size(optarg, &options->size_bytes) && options->size_bytes <= 1024 * MIB
                   ? NULL
                   : "--size: give a size from 1 to 1GiB";
    case 'n':
        return bench_parse_count(optarg, 1, UINT32_MAX, &options->count)
                   ? NULL
                   : "--count: give a number from 1";
    case 'p':
        return set_number(&options->processes, 1, BENCH_PROCESSES_MAX)
                   ? NULL
                   : "--procs: give a number from 1 to 64";
    case 't':
        return set_target(options) ? NULL : "--target: give ram, file or uring";
    case WARM:
    case 'c':
        options->cold = letter == 'c';
        return NULL;
    case 'o':
        options->overwrite = true;
        return NULL;
    case 'k':
        options->checksum = strcmp(optarg, "on") == 0;
        return options->checksum || strcmp(optarg, "off") == 0 ? NULL
                                                               : "--checksum: give on or off";
    case 'q':
        return set_number(&options->depth, 1, 1024) ? NULL
                                                    : "--depth: give a number from 1 to 1024";
    case 'r':
        return set_number(&options->repeats, 1, BENCH_REPEATS_MAX)
                   ? NULL
                   : "--repeats: give a number from 1 to 1000";
    case WARMUPS:
        return set_number(&options->warmups, 0, BENCH_REPEATS_MAX)
                   ? NULL
                   : "--warmups: give a number from 0 to 1000";
    case 'd':
        options->disk_directory = optarg;
        return NULL;
    case 'j':
        options->json = true;
        return NULL;
    default:
        return "";
    }
}

/* As the library cuts what it moves. */
static uint32_t depth_for(uint64_t size_bytes)
{
    uint64_t depth = size_bytes / REQUEST_BYTES;
    depth = depth > DEPTH_MOST ? DEPTH_MOST : depth;
    while (depth > 1 && size_bytes % (depth * DIRECT_BYTES) != 0)
        depth--;
    return depth > 1 ? (uint32_t)depth : 1;
}

/* What is wrong with the options together, or NULL. */
static const char *complete(struct bench_options *options)
{
    if (options->count == 0) {
        options->count = 256 * MIB / options->size_bytes;
        options->count = options->count < COUNT_LEAST  ? COUNT_LEAST
                         : options->count > COUNT_MOST ? COUNT_MOST
                                                       : options->count;
    }
    if (options->warmups == WARMUPS_DEFAULT)
        options->warmups = options->target == BENCH_RAM ? RAM_WARMUPS : DISK_WARMUPS;
    if (options->cold)
        options->warmups = 0; /* the first use is what is measured */
    if (options->overwrite && (options->get || options->cold))
        return "--overwrite is for puts that are not cold";
    if (options->target != BENCH_URING && options->depth != 0)
        return "--depth is for --target uring";
    if (options->target == BENCH_URING && options->depth == 0)
        options->depth = depth_for(options->size_bytes);
    if (options->target == BENCH_URING &&
        options->size_bytes % (DIRECT_BYTES * (uint64_t)options->depth) != 0)
        return "--target uring takes a multiple of 4096 bytes times the depth";
    if (options->count > INT64_MAX / 4 / options->processes / options->size_bytes)
        return "that is more than any machine holds";
    return NULL;
}

/* ---- the command ---------------------------------------------------------------------------- */

/* Says so early if the bytes cannot fit. */
static bool check_room(const char *directory, uint64_t bytes)
{
    uint64_t room;
    if (!bench_free_bytes(directory, &room))
        return false;
    if (bytes <= room)
        return true;
    char needed[32], there[32];
    bench_format_size(needed, bytes);
    bench_format_size(there, room);
    complain("this needs about %s in %s, where %s are free; give a smaller --count", needed,
             directory, there);
    return false;
}

static bool has_room(const struct bench_options *options)
{
    uint64_t limit = options->size_bytes * options->count * options->processes;
    const char *directory =
        options->target == BENCH_RAM ? options->memory_directory : options->disk_directory;
    return check_room(directory, bench_capacity(options) + limit);
}

static int measure(const struct bench_options *options)
{
    struct bench_place place;
    size_t bytes = sizeof(struct bench_shared) + sizeof(struct bench_mark) * BENCH_PHASES_MAX *
                                                     options->repeats * options->processes;
    struct bench_shared *shared = bench_share(bytes);
    if (!shared)
        return complain("not enough memory");
    if (!has_room(options) ||
        !bench_enter(&place, options->memory_directory,
                     options->target == BENCH_RAM ? NULL : options->disk_directory))
        return EXIT_FAILED;
    int result = EXIT_FAILED;
    if (bench_measure(options, &place, shared)) {
        bench_report(options, shared);
        result = EXIT_OK;
    }
    return bench_leave(&place, result);
}

/* What is wrong with the command line, or NULL; "": getopt has said it.  *help: it asks for help.
 */
static const char *parse(struct bench_options *options, int argument_count, char **arguments,
                         bool *help)
{
    int letter;
    optind = 0; /* glibc: begin anew */
    while ((letter = getopt_long(argument_count, arguments, "h", long_options, NULL)) != -1) {
        *help = letter == 'h';
        const char *wrong = *help ? NULL : set_option(options, letter);
        if (wrong || *help)
            return wrong;
    }
    return optind < argument_count ? "too many arguments" : complete(options);
}

static int put_or_get(int argument_count, char **arguments)
{
    struct bench_options options = {
        .get = strcmp(arguments[0], "get") == 0,
        .checksum = true,
        .size_bytes = MIB,
        .processes = 1,
        .repeats = DEFAULT_REPEATS,
        .warmups = WARMUPS_DEFAULT,
        .disk_directory = bench_disk_directory(),
        .memory_directory = bench_memory_directory(),
    };
    bool help = false;
    const char *wrong = parse(&options, argument_count, arguments, &help);
    if (help)
        bench_print_usage();
    else if (wrong)
        return bench_usage_error(wrong);
    return help ? EXIT_OK : measure(&options);
}

int command_bench(const struct invocation *in)
{
    if (in->config_path)
        return bench_usage_error("a benchmark makes its own configuration: leave --config out");
    int count = in->argument_count - 1;
    char **arguments = in->arguments + 1;
    if (count == 0)
        return bench_usage_error("what shall be measured?");
    if (strcmp(arguments[0], "put") == 0 || strcmp(arguments[0], "get") == 0)
        return put_or_get(count, arguments);
    if (strcmp(arguments[0], "scale") == 0)
        return bench_scale(count, arguments);
    if (strcmp(arguments[0], "--help") == 0 || strcmp(arguments[0], "-h") == 0) {
        bench_print_usage();
        return EXIT_OK;
    }
    complain("cannot measure '%s'", arguments[0]);
    return bench_usage_error("");
}
