/* SPDX-License-Identifier: BSD-3-Clause */
/* Where bytes are read from, how fast, and what checksums cost. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench_tiers.h"

enum { TARGETS = 4 };

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

struct phases run_phases(const struct options *options, const char *organizer, char *memory)
{
    char path[4096];
    struct phases phases = {0};
    char more[128];
    uint64_t pieces = options->bytes / PIECE, part = pieces / 4, first = pieces - part, store = 0;
    snprintf(path, sizeof path, "%s/checkpoint", options->directory);
    snprintf(more, sizeof more, "organizer: %s\nfile: {cache: read}\n", organizer);
    cte_client *client =
        open_client(options->directory, "phases", options->bytes / 2, 2 * options->bytes, more);
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

struct reread run_reread(const struct options *options, char *memory)
{
    char path[4096];
    uint64_t pieces = options->reread_bytes / PIECE, store;
    double *ratios = calloc(3 * (size_t)options->repeats, sizeof *ratios);
    double *tier = ratios + options->repeats, *plain = tier + options->repeats;
    snprintf(path, sizeof path, "%s/reread", options->directory);
    if (!ratios)
        die("memory", -ENOMEM);
    cte_client *client = open_client(options->directory, "reread", 2 * options->reread_bytes, 0,
                                     "file: {cache: read}\n");
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
    struct reread reread = {(double)options->reread_bytes / median(tier, options->repeats),
                            (double)options->reread_bytes / median(plain, options->repeats),
                            median(ratios, options->repeats)};
    unlink(path);
    check(cte_client_close(client), "close");
    free(ratios);
    return reread;
}

/* ---- checksums ------------------------------------------------------------------------------- */

/* A scratch file in a store with checksums, or without. */
struct side {
    cte_client *client;
    char path[4096];
    cte_file *file;
};

static void open_side(struct side *side, const struct options *options, bool checksum)
{
    char more[128];
    cte_file_options file = CTE_FILE_OPTIONS_INIT;
    const char *name = checksum ? "checked" : "unchecked";
    file.mode = CTE_FILE_MODE_SCRATCH;
    snprintf(more, sizeof more, "file: {checksum: %s}\njournal: {enabled: false}\n",
             checksum ? "true" : "false");
    side->client = open_client(options->directory, name, 2 * options->reread_bytes, 0, more);
    snprintf(side->path, sizeof side->path, "%s/%s", options->directory, name);
    check(cte_file_open(side->client, side->path, O_RDWR | O_CREAT, 0600, &file, &side->file),
          side->path);
}

static void close_side(struct side *side)
{
    check(cte_file_close(side->file), "close");
    unlink(side->path);
    check(cte_client_close(side->client), "close");
}

static double transfer_all(const struct side *side, uint64_t pieces, bool write, char *memory)
{
    double start = now_s();
    for (uint64_t piece = 0; piece < pieces; piece++) {
        cte_file_segment segment = {piece * PIECE, PIECE, memory};
        check(write ? cte_file_write(side->file, &segment, 1)
                    : cte_file_read(side->file, &segment, 1, NULL),
              write ? "write" : "read");
    }
    return now_s() - start;
}

/* The part by which checksums make it slower, the median of pairs that take turns. */
static double cost_of(const struct side *checked, const struct side *unchecked,
                      const struct options *options, bool write, char *memory)
{
    uint64_t pieces = options->reread_bytes / PIECE;
    double *costs = calloc(options->repeats, sizeof *costs);
    if (!costs)
        die("memory", -ENOMEM);
    fill(memory, 1);
    for (uint32_t i = 0; i < options->repeats; i++) {
        double with = transfer_all(checked, pieces, write, memory);
        double without = transfer_all(unchecked, pieces, write, memory);
        costs[i] = with / without - 1;
    }
    double cost = median(costs, options->repeats);
    free(costs);
    return cost;
}

struct checksum run_checksum(const struct options *options, char *memory)
{
    struct side checked, unchecked;
    struct checksum result;
    open_side(&checked, options, true);
    open_side(&unchecked, options, false);
    for (int i = 0; i < 10; i++) { /* pages become warm: each write takes others */
        fill(memory, 1);
        transfer_all(&checked, options->reread_bytes / PIECE, i < 8, memory);
        transfer_all(&unchecked, options->reread_bytes / PIECE, i < 8, memory);
    }
    result.write_cost = cost_of(&checked, &unchecked, options, true, memory);
    result.read_cost = cost_of(&checked, &unchecked, options, false, memory);
    close_side(&checked);
    close_side(&unchecked);
    return result;
}
