/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures of the tiers, each of one run, against the same without them, in turns; medians:
 *
 *  - phases: a job writes a checkpoint larger than its memory tier, then reads a part of it again
 *    and again; where the bytes came from, without and with the organizer;
 *  - reread: reading a file again from the memory tier against the kernel's page cache;
 *  - checksum: writing and reading with checksums against doing so without;
 *  - drain: bringing a file from the memory tier to the disk against pwrite and fdatasync;
 *  - checkpoint: how long a program that computes between its checkpoints waits for them, with a
 *    file system of a tenth of the tier's speed.
 *
 * Bytes that are read, or drained, are compared.  The stores are private ones. */
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

#include "bench_tiers.h"
#include "options.h"

static const struct option_row rows[] = {
    {"directory", 'd', OPTION_TEXT, offsetof(struct options, directory), .value = "PATH",
     .help = "where the files and the disk tier are made; default: TMPDIR or /tmp"},
    {"slow-directory", 'S', OPTION_TEXT, offsetof(struct options, slow_directory), .value = "PATH",
     .help = "where a slow file system is made of a fast one; default: /dev/shm"},
    {"bytes", 'b', OPTION_SIZE, offsetof(struct options, bytes), .least = 64 << 20, .value = "SIZE",
     .help = "of the checkpoint; the memory tier has half as many"},
    {"reread-bytes", 'r', OPTION_SIZE, offsetof(struct options, reread_bytes), .least = PIECE,
     .value = "SIZE", .help = "of the file that is read again"},
    {"drain-bytes", 'D', OPTION_SIZE, offsetof(struct options, drain_bytes), .least = PIECE,
     .value = "SIZE", .help = "of the file that is drained"},
    {"checkpoint-bytes", 'c', OPTION_SIZE, offsetof(struct options, checkpoint_bytes),
     .least = PIECE, .value = "SIZE", .help = "of a checkpoint to a slow file system"},
    {"steps", 's', OPTION_COUNT32, offsetof(struct options, steps), .least = 1, .value = "N",
     .help = "checkpoints of a job"},
    {"only", 'o', OPTION_TEXT, offsetof(struct options, only),
     .choices = "phases|reread|checksum|drain|checkpoint", .help = "one measurement"},
    {"passes", 'p', OPTION_COUNT32, offsetof(struct options, passes), .least = 1, .value = "N",
     .help = "of the analysis over its part of the checkpoint"},
    {"repeats", 'n', OPTION_COUNT32, offsetof(struct options, repeats), .least = 1, .value = "N",
     .help = "pairs of measuring with and without cte; half as many jobs"},
    {"json", 'j', OPTION_FLAG, offsetof(struct options, json), .help = "print JSON"},
    {0},
};

void die(const char *what, cte_status status)
{
    fprintf(stderr, "bench_tiers: %s: %s\n", what, cte_status_string(status));
    exit(1);
}

void check(cte_status status, const char *what)
{
    if (status != CTE_OK)
        die(what, status);
}

double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

void fill(char *bytes, uint64_t piece)
{
    uint64_t *words = (uint64_t *)bytes;
    for (size_t i = 0; i < PIECE / sizeof *words; i++)
        words[i] = piece * UINT64_C(0x9E3779B97F4A7C15) + i;
}

void compare(const char *bytes, uint64_t piece)
{
    const uint64_t *words = (const uint64_t *)bytes;
    for (size_t i = 0; i < PIECE / sizeof *words; i++)
        if (words[i] != piece * UINT64_C(0x9E3779B97F4A7C15) + i)
            die("wrong bytes", -EIO);
}

cte_client *open_client(const char *directory, const char *name, uint64_t ram, uint64_t disk,
                        const char *more)
{
    char text[8192], error[512];
    cte_config *config;
    cte_client *client;
    int n = snprintf(text, sizeof text,
                     "store: {name: bench-tiers-%s-%ld}\n%sstorage:\n"
                     "  - {bdev_type: ram, capacity_limit: %llu}\n",
                     name, (long)getpid(), more, (unsigned long long)ram);
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

void write_file(cte_client *client, const char *path, uint64_t bytes, char *memory)
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

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return values[count / 2];
}

/* ---- what is printed: members of one JSON object, or lines ------------------------------------
 */

static void print_phases(const struct phases *phases, const char *organizer, bool json)
{
    printf(
        json ? "\"%s\": {\"memory\": %.3f, \"disk\": %.3f, \"file\": %.3f, \"first_pass_s\": %.4f, "
               "\"last_pass_s\": %.4f}"
             : "organizer %-9s last pass: %5.3f from memory, %5.3f from disk, %5.3f from the file; "
               "first pass %.3f s, last pass %.3f s\n",
        organizer, phases->memory, phases->disk, phases->file, phases->first_s, phases->last_s);
}

static void measure_phases(const struct options *options, char *memory)
{
    struct phases none = run_phases(options, "none", memory);
    struct phases frecency = run_phases(options, "frecency", memory);
    print_phases(&none, "none", options->json);
    printf("%s", options->json ? ", " : "");
    print_phases(&frecency, "frecency", options->json);
}

static void measure_reread(const struct options *options, char *memory)
{
    struct reread reread = run_reread(options, memory);
    printf(options->json
               ? "\"reread\": {\"tier_bytes_per_s\": %.0f, \"page_cache_bytes_per_s\": %.0f, "
                 "\"ratio\": %.3f}"
               : "reading again: %.3g bytes/s from the memory tier, %.3g from the page cache, "
                 "ratio %.3f (bar: 0.9)\n",
           reread.tier_bytes_per_s, reread.plain_bytes_per_s, reread.ratio);
}

static void measure_checksum(const struct options *options, char *memory)
{
    struct checksum checksum = run_checksum(options, memory);
    printf(options->json ? "\"checksum\": {\"write_cost\": %.3f, \"read_cost\": %.3f}"
                         : "checksums: writing takes %.1f %% longer, reading %.1f %% (bar: 10)\n",
           checksum.write_cost * (options->json ? 1 : 100),
           checksum.read_cost * (options->json ? 1 : 100));
}

static void measure_drain(const struct options *options, char *memory)
{
    struct drained drained = run_drain(options, memory);
    printf(options->json
               ? "\"drain\": {\"cte_bytes_per_s\": %.0f, \"plain_bytes_per_s\": %.0f, "
                 "\"ratio\": %.3f}"
               : "drain: %.3g bytes/s, pwrite and fdatasync %.3g, ratio %.3f (bar: 0.9)\n",
           drained.cte_bytes_per_s, drained.plain_bytes_per_s, drained.ratio);
}

static void print_visible(const struct visible *visible, const char *policy, double bar, bool json)
{
    if (json)
        printf(", \"%s\": {\"direct_s\": %.5f, \"cte_s\": %.5f, \"ratio\": %.2f, "
               "\"end_s\": %.5f, \"compute\": %.3f}",
               policy, visible->direct_s, visible->cte_s, visible->ratio, visible->end_s,
               visible->compute);
    else
        printf("checkpoint, %-8s: %.4f s to wait (%.4f at the end), %.4f s without, ratio "
               "%.2f (bar: %.0f); computing goes on at %.3f of its speed\n",
               policy, visible->cte_s, visible->end_s, visible->direct_s, visible->ratio, bar,
               visible->compute);
}

static void measure_checkpoint(const struct options *options, char *memory)
{
    struct checkpoint result = run_checkpoint(options, memory);
    printf(options->json
               ? "\"checkpoint\": {\"tier_bytes_per_s\": %.0f, \"pfs_bytes_per_s\": %.0f, "
                 "\"compute_s\": %.4f"
               : "checkpoint: tier %.3g bytes/s, file system %.3g; %.3f s of computing\n",
           result.tier_bytes_per_s, result.pfs_bytes_per_s, result.compute_s);
    print_visible(&result.async, "async", 5, options->json);
    print_visible(&result.on_close, "on_close", 3, options->json);
    printf("%s", options->json ? "}" : "");
}

static const struct {
    const char *name;
    void (*measure)(const struct options *options, char *memory);
} measurements[] = {{"phases", measure_phases},
                    {"reread", measure_reread},
                    {"checksum", measure_checksum},
                    {"drain", measure_drain},
                    {"checkpoint", measure_checkpoint}};

int main(int argc, char **argv)
{
    char error[OPTION_ERROR_BYTES], directory[4096], slow_directory[4096], *memory = NULL;
    const char *base = getenv("TMPDIR"), *between = "";
    struct options options = {.bytes = 512 << 20,
                              .reread_bytes = 256 << 20,
                              .drain_bytes = 256 << 20,
                              .checkpoint_bytes = 256 << 20,
                              .passes = 8,
                              .repeats = 15,
                              .steps = 3};
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
    snprintf(slow_directory, sizeof slow_directory, "%s/cte-bench-XXXXXX",
             options.slow_directory ? options.slow_directory : "/dev/shm");
    if (!mkdtemp(directory) || !mkdtemp(slow_directory) ||
        posix_memalign((void **)&memory, 4096, PIECE) != 0)
        die(directory, -errno);
    options.directory = directory;
    options.slow_directory = slow_directory;
    printf("%s", options.json ? "{" : "");
    for (size_t i = 0; i < sizeof measurements / sizeof measurements[0]; i++) {
        if (options.only && strcmp(options.only, measurements[i].name) != 0)
            continue;
        printf("%s", between);
        measurements[i].measure(&options, memory);
        fflush(stdout);
        between = options.json ? ", " : "";
    }
    printf("%s", options.json ? "}\n" : "");
    rmdir(directory);
    rmdir(slow_directory);
    free(memory);
    return 0;
}
