/* SPDX-License-Identifier: BSD-3-Clause */
/* Two figures of the tiers, each of one run:
 *
 *  - a job in two phases: it writes a checkpoint larger than its memory tier, then reads a part of
 * it again and again; where the bytes came from, without and with the organizer;
 *  - reading a file again from the memory tier against reading it from the kernel's page cache, in
 *    turns, the median of the ratios.
 *
 * Every byte that is read is compared.  The store is a private one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cte/client.h>
#include <cte/config.h>
#include <cte/file.h>

#include "options.h"

enum { PIECE = 1 << 20, TARGETS = 4 };

struct options {
    const char *directory;
    uint64_t bytes, reread_bytes;
    uint32_t passes, repeats;
    bool json;
};

static const struct option_row rows[] = {
    {"directory", 'd', OPTION_TEXT, offsetof(struct options, directory), .value = "PATH",
     .help = "where the files and the disk tier are made; default: TMPDIR or /tmp"},
    {"bytes", 'b', OPTION_SIZE, offsetof(struct options, bytes), .least = 64 << 20, .value = "SIZE",
     .help = "of the checkpoint; the memory tier has half as many"},
    {"reread-bytes", 'r', OPTION_SIZE, offsetof(struct options, reread_bytes), .least = PIECE,
     .value = "SIZE", .help = "of the file that is read again"},
    {"passes", 'p', OPTION_COUNT32, offsetof(struct options, passes), .least = 1, .value = "N",
     .help = "of the analysis over its part of the checkpoint"},
    {"repeats", 'n', OPTION_COUNT32, offsetof(struct options, repeats), .least = 1, .value = "N",
     .help = "pairs of reading from the tier and from the page cache"},
    {"json", 'j', OPTION_FLAG, offsetof(struct options, json), .help = "print JSON"},
    {0},
};

static void die(const char *what, cte_status status)
{
    fprintf(stderr, "bench_tiers: %s: %s\n", what, cte_status_string(status));
    exit(1);
}

static void check(cte_status status, const char *what)
{
    if (status != CTE_OK)
        die(what, status);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static void fill(char *bytes, uint64_t piece)
{
    uint64_t *words = (uint64_t *)bytes;
    for (size_t i = 0; i < PIECE / sizeof *words; i++)
        words[i] = piece * UINT64_C(0x9E3779B97F4A7C15) + i;
}

static void compare(const char *bytes, uint64_t piece)
{
    const uint64_t *words = (const uint64_t *)bytes;
    for (size_t i = 0; i < PIECE / sizeof *words; i++)
        if (words[i] != piece * UINT64_C(0x9E3779B97F4A7C15) + i)
            die("wrong bytes", -EIO);
}

static cte_client *open_client(const char *directory, uint64_t ram, uint64_t disk,
                               const char *organizer)
{
    char text[8192], error[512];
    cte_config *config;
    cte_client *client;
    int n = snprintf(text, sizeof text,
                     "store: {name: bench-tiers-%ld}\norganizer: %s\n"
                     "file: {cache: read}\nstorage:\n"
                     "  - {bdev_type: ram, capacity_limit: %llu}\n",
                     (long)getpid(), organizer, (unsigned long long)ram);
    if (disk > 0)
        snprintf(text + n, sizeof text - (size_t)n,
                 "  - {bdev_type: file, path: '%s/tier', capacity_limit: %llu}\n", directory,
                 (unsigned long long)disk);
    if (cte_config_parse(text, "bench_tiers", &config, error, sizeof error) != CTE_OK) {
        fprintf(stderr, "bench_tiers: %s\n", error);
        exit(1);
    }
    check(cte_client_open(config, &client), "store");
    cte_config_free(config);
    return client;
}

static void write_file(cte_client *client, const char *path, uint64_t bytes, char *memory)
{
    cte_file *file;
    check(cte_file_open(client, path, O_RDWR | O_CREAT | O_TRUNC, 0600, NULL, &file), path);
    for (uint64_t piece = 0; piece < bytes / PIECE; piece++) {
        cte_file_segment segment = {piece * PIECE, PIECE, memory};
        fill(memory, piece);
        check(cte_file_write(file, &segment, 1), "write");
    }
    check(cte_file_close(file), "close");
}

/* Bytes that each target gave so far. */
static uint32_t read_so_far(cte_client *client, uint64_t bytes[TARGETS])
{
    cte_target_info infos[TARGETS];
    uint32_t count = 0;
    check(cte_client_targets(client, infos, TARGETS, &count), "targets");
    for (uint32_t i = 0; i < count; i++)
        bytes[i] = infos[i].bytes_read;
    return count;
}

/* ---- two phases ------------------------------------------------------------------------------ */

struct phases {
    double memory, disk,
        file;               /* parts of the bytes of the last pass, from the tiers and the file */
    double first_s, last_s; /* of a pass */
};

static double read_part(cte_client *client, const char *path, uint64_t first, uint64_t count,
                        char *memory, uint64_t *from_store)
{
    cte_file *file;
    cte_file_stats stats;
    double start = now_s();
    check(cte_file_open(client, path, O_RDONLY, 0, NULL, &file), path);
    for (uint64_t piece = first; piece < first + count; piece++) {
        cte_file_segment segment = {piece * PIECE, PIECE, memory};
        check(cte_file_read(file, &segment, 1, NULL), "read");
        compare(memory, piece);
    }
    cte_file_get_stats(file, &stats);
    *from_store = stats.bytes_read_store;
    check(cte_file_close(file), "close");
    return now_s() - start;
}

static struct phases run_phases(const struct options *options, const char *organizer, char *memory)
{
    char path[4096];
    struct phases phases = {0};
    uint64_t pieces = options->bytes / PIECE, part = pieces / 4, first = pieces - part, store = 0;
    snprintf(path, sizeof path, "%s/checkpoint", options->directory);
    cte_client *client =
        open_client(options->directory, options->bytes / 2, 2 * options->bytes, organizer);
    write_file(client, path, options->bytes, memory);
    for (uint32_t pass = 0; pass < options->passes; pass++) {
        uint64_t before[TARGETS] = {0}, after[TARGETS] = {0};
        uint32_t count = read_so_far(client, before);
        double seconds = read_part(client, path, first, part, memory, &store);
        read_so_far(client, after);
        double total = (double)(part * PIECE), tiers = (double)store;
        /* The organizer reads, too: what it moved is not told apart, so the disk's part is the
         * rest. */
        uint64_t disk = count > 1 ? after[1] - before[1] : 0;
        phases.disk = disk < store ? (double)disk / total : tiers / total;
        phases.memory = tiers / total - phases.disk;
        phases.file = 1 - tiers / total;
        phases.first_s = pass == 0 ? seconds : phases.first_s;
        phases.last_s = seconds;
        sleep_ms(300); /* the program computes */
    }
    unlink(path);
    check(cte_client_close(client), "close");
    return phases;
}

/* ---- reading again --------------------------------------------------------------------------- */

static double read_plain(const char *path, uint64_t pieces, char *memory)
{
    double start = now_s();
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (uint64_t piece = 0; piece < pieces; piece++)
        if (fd < 0 || pread(fd, memory, PIECE, (off_t)(piece * PIECE)) != PIECE)
            die(path, -errno);
    close(fd);
    return now_s() - start;
}

static double read_tier(cte_client *client, const char *path, uint64_t pieces, char *memory)
{
    cte_file *file;
    cte_file_stats stats;
    double start = now_s();
    check(cte_file_open(client, path, O_RDONLY, 0, NULL, &file), path);
    for (uint64_t piece = 0; piece < pieces; piece++) {
        cte_file_segment segment = {piece * PIECE, PIECE, memory};
        check(cte_file_read(file, &segment, 1, NULL), "read");
    }
    cte_file_get_stats(file, &stats);
    check(cte_file_close(file), "close");
    double seconds = now_s() - start;
    if (stats.bytes_read_store != pieces * PIECE)
        die("not all of the file was in the tier", -ENODATA);
    return seconds;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct reread {
    double tier_bytes_per_s, plain_bytes_per_s, ratio;
};

static struct reread run_reread(const struct options *options, char *memory)
{
    char path[4096];
    uint64_t pieces = options->reread_bytes / PIECE, store;
    double *ratios = calloc(3 * (size_t)options->repeats, sizeof *ratios);
    double *tier = ratios + options->repeats, *plain = tier + options->repeats;
    snprintf(path, sizeof path, "%s/reread", options->directory);
    if (!ratios)
        die("memory", -ENOMEM);
    cte_client *client = open_client(options->directory, 2 * options->reread_bytes, 0, "none");
    write_file(client, path, options->reread_bytes, memory);
    /* The tier's pages are touched often enough to be mapped, the kernel's are in its cache. */
    for (int i = 0; i < 3; i++)
        read_part(client, path, 0, pieces, memory, &store);
    read_plain(path, pieces, memory);
    for (uint32_t i = 0; i < options->repeats; i++) {
        plain[i] = read_plain(path, pieces, memory);
        tier[i] = read_tier(client, path, pieces, memory);
        ratios[i] = plain[i] / tier[i];
    }
    qsort(ratios, options->repeats, sizeof *ratios, compare_doubles);
    qsort(tier, options->repeats, sizeof *tier, compare_doubles);
    qsort(plain, options->repeats, sizeof *plain, compare_doubles);
    uint32_t middle = options->repeats / 2;
    struct reread reread = {(double)options->reread_bytes / tier[middle],
                            (double)options->reread_bytes / plain[middle], ratios[middle]};
    unlink(path);
    check(cte_client_close(client), "close");
    free(ratios);
    return reread;
}

/* ---- */

static void print_phases(const struct phases *phases, const char *organizer, bool json)
{
    printf(
        json ? "\"%s\": {\"memory\": %.3f, \"disk\": %.3f, \"file\": %.3f, \"first_pass_s\": %.4f, "
               "\"last_pass_s\": %.4f}, "
             : "organizer %-9s last pass: %5.3f from memory, %5.3f from disk, %5.3f from the file; "
               "first pass %.3f s, last pass %.3f s\n",
        organizer, phases->memory, phases->disk, phases->file, phases->first_s, phases->last_s);
}

int main(int argc, char **argv)
{
    char error[OPTION_ERROR_BYTES], directory[4096], *memory = NULL;
    const char *base = getenv("TMPDIR");
    struct options options = {
        .bytes = 512 << 20, .reread_bytes = 256 << 20, .passes = 8, .repeats = 15};
    struct option_table table = {rows, &options};
    int first = options_parse(&table, 1, false, argc, argv, error);
    if (first == OPTIONS_WRONG || first < argc) {
        fprintf(stderr, "bench_tiers: %s\n",
                first < argc && first != OPTIONS_WRONG ? "there are no arguments" : error);
        options_print_help(rows, stderr);
        return 2;
    }
    snprintf(directory, sizeof directory, "%s/cte-bench-XXXXXX",
             options.directory ? options.directory
             : base            ? base
                               : "/tmp");
    if (!mkdtemp(directory) || posix_memalign((void **)&memory, 4096, PIECE) != 0)
        die(directory, -errno);
    options.directory = directory;
    struct phases none = run_phases(&options, "none", memory);
    struct phases frecency = run_phases(&options, "frecency", memory);
    struct reread reread = run_reread(&options, memory);
    printf("%s", options.json ? "{" : "");
    print_phases(&none, "none", options.json);
    print_phases(&frecency, "frecency", options.json);
    printf(options.json
               ? "\"reread\": {\"tier_bytes_per_s\": %.0f, \"page_cache_bytes_per_s\": %.0f, "
                 "\"ratio\": %.3f}}\n"
               : "reading again: %.3g bytes/s from the memory tier, %.3g from the page cache, "
                 "ratio %.3f (bar: 0.9)\n",
           reread.tier_bytes_per_s, reread.plain_bytes_per_s, reread.ratio);
    rmdir(directory);
    free(memory);
    return 0;
}
