/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte bench`: the command line. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "terminal.h"

#define MIB (UINT64_C(1) << 20)

enum {
    DEFAULT_REPEATS = 5,
    RAM_WARMUPS = 20, /* until pages are warm, also those that go round between processes */
    DISK_WARMUPS = 3,
    WARMUPS_DEFAULT = UINT16_MAX, /* not given */
    COUNT_LEAST = 64,
    COUNT_MOST = 100000,
    DIRECT_BYTES = 4096,
};

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
    if (options->cold) {
        options->warmups = 0;                     /* the first use is what is measured */
        options->repeats += options->repeats % 2; /* each side is first as often as the other */
    }
    if (options->overwrite && (options->get || options->cold))
        return "--overwrite is for puts that are not cold";
    if (options->target != BENCH_URING && options->depth != 0)
        return "--depth is for --target uring";
    if (options->depth == 0)
        options->depth = 1;
    if (options->target == BENCH_URING && options->size_bytes % DIRECT_BYTES != 0)
        return "--target uring takes a multiple of 4096 bytes";
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
    char needed[SIZE_TEXT_BYTES], there[SIZE_TEXT_BYTES];
    format_size(needed, bytes);
    format_size(there, room);
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

static int put_or_get(const struct invocation *in, bool get)
{
    struct bench_options options = *(const struct bench_options *)in->options;
    options.get = get;
    options.json = in->json;
    options.memory_directory = bench_memory_directory();
    if (!options.disk_directory)
        options.disk_directory = bench_disk_directory();
    const char *wrong = in->config_path ? BENCH_NO_CONFIG : complete(&options);
    return wrong ? complain_usage(in, wrong) : measure(&options);
}

static int run_put(const struct invocation *in)
{
    return put_or_get(in, false);
}

static int run_get(const struct invocation *in)
{
    return put_or_get(in, true);
}

#define FIELD(name) offsetof(struct bench_options, name)

static const struct option_row rows[] = {
    {"size", 's', OPTION_SIZE, FIELD(size_bytes), 1, 1024 * MIB, .value = "S",
     .help = "bytes of each blob, with unit (default 1MiB)"},
    {"count", 'n', OPTION_COUNT, FIELD(count), 1, UINT32_MAX, .value = "N",
     .help = "blobs of each process (default: 256 MiB of them, 64 to 100000)"},
    {"procs", 'p', OPTION_COUNT32, FIELD(processes), 1, BENCH_PROCESSES_MAX, .value = "P",
     .help = "processes, 1 to 64 (default 1)"},
    {"target", 't', OPTION_CHOICE, FIELD(target), .choices = "ram|file|uring",
     .help = "where the blobs are; uring is a file by io_uring and O_DIRECT, compared with fio "
             "(default ram)"},
    {"warm", 0, OPTION_CLEAR, FIELD(cold), .help = "into memory or blocks used before (default)"},
    {"cold", 'c', OPTION_FLAG, FIELD(cold),
     .help = "into memory or blocks used first, by new processes; gets of a file from the disk"},
    {"overwrite", 'o', OPTION_FLAG, FIELD(overwrite),
     .help = "puts replace blobs that are there; else they make new ones"},
    {"checksum", 0, OPTION_ON_OFF, FIELD(checksum), .help = "of stored data (default on)"},
    {"depth", 0, OPTION_COUNT32, FIELD(depth), 1, BENCH_DEPTH_MAX, .value = "D",
     .help = "operations under way at once, uring only: asynchronous ones, and fio's iodepth "
             "(default 1)"},
    {"repeats", 'r', OPTION_COUNT32, FIELD(repeats), 1, BENCH_REPEATS_MAX, .value = "R",
     .help = "of each, even with --cold; the figures are medians (default 5)"},
    {"warmups", 0, OPTION_COUNT32, FIELD(warmups), 0, BENCH_REPEATS_MAX, .value = "W",
     .help = "rounds that are not timed, warm only (default 20, on disks 3)"},
    {"directory", 'd', OPTION_TEXT, FIELD(disk_directory), .value = "DIR",
     .help = "where the files of file and uring are made (default TMPDIR or /tmp)"},
    {0},
};

static const struct bench_options defaults = {
    .checksum = true,
    .size_bytes = MIB,
    .processes = 1,
    .repeats = DEFAULT_REPEATS,
    .warmups = WARMUPS_DEFAULT,
};

static const struct command put = {
    .name = "put",
    .synopsis = "[OPTION...]",
    .summary = "what a put costs",
    .run = run_put,
    .options = rows,
    .defaults = &defaults,
    .options_bytes = sizeof(struct bench_options),
};

static const struct command get = {
    .name = "get",
    .synopsis = "[OPTION...]",
    .summary = "what a get costs",
    .run = run_get,
    .options = rows,
    .defaults = &defaults,
    .options_bytes = sizeof(struct bench_options),
};

static const struct command *const forms[] = {&put, &get, &bench_scale, NULL};

const struct command command_bench = {
    .name = "bench",
    .synopsis = "put|get [OPTION...]\nscale [--count N] [--size S] [--csv FILE] [--json]",
    .summary = "measure blobs against what the machine can do",
    .description =
        "Measures puts and gets of blobs in a private store that is removed afterwards, "
        "and in turns with them the machine's own way to move the same bytes: the limit.",
    .commands = forms,
};
