/* SPDX-License-Identifier: BSD-3-Clause */
/* How fast bytes come to the real file, and how long the program waits for that. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cte/store.h>

#include "bench_tiers.h"
#include "slow_file.h"

enum { SLOWDOWN = 10, RATE_REPEATS = 5 };

static void write_plain(const char *path, uint64_t pieces, bool durable, char *memory)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (uint64_t piece = 0; piece < pieces; piece++)
        if (fd < 0 || pwrite(fd, memory, PIECE, (off_t)(piece * PIECE)) != PIECE)
            die(path, -errno);
    if ((durable && fdatasync(fd) != 0) || close(fd) != 0)
        die(path, -errno);
}

static void compare_plain(const char *path, uint64_t pieces, char *memory)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (uint64_t piece = 0; piece < pieces; piece++) {
        if (fd < 0 || pread(fd, memory, PIECE, (off_t)(piece * PIECE)) != PIECE)
            die(path, -errno);
        compare(memory, piece);
    }
    close(fd);
}

static void write_pieces(cte_file *file, uint64_t pieces, bool same, char *memory)
{
    for (uint64_t piece = 0; piece < pieces; piece++) {
        cte_file_segment segment = {piece * PIECE, PIECE, memory};
        if (!same)
            fill(memory, piece);
        check(cte_file_write(file, &segment, 1), "write");
    }
}

/* ---- draining -------------------------------------------------------------------------------- */

/* Fills the tier, then times only the drain, after which the real file is durable. */
static double drain_cte(cte_client *client, const char *path, uint64_t pieces, char *memory)
{
    cte_file *file;
    check(cte_file_open(client, path, O_RDWR | O_CREAT | O_TRUNC, 0600, NULL, &file), path);
    write_pieces(file, pieces, false, memory);
    double start = now_s();
    check(cte_file_drain(file), "drain");
    double seconds = now_s() - start;
    check(cte_file_close(file), "close");
    compare_plain(path, pieces, memory);
    return seconds;
}

static double drain_plain(const char *path, uint64_t pieces, char *memory)
{
    fill(memory, 1);
    double start = now_s();
    write_plain(path, pieces, true, memory);
    return now_s() - start;
}

struct drained run_drain(const struct options *options, char *memory)
{
    char path[4096];
    uint64_t pieces = options->drain_bytes / PIECE, n = options->repeats;
    double *ratios = calloc(3 * n, sizeof *ratios), *cte = ratios + n, *plain = cte + n;
    if (!ratios)
        die("memory", -ENOMEM);
    snprintf(path, sizeof path, "%s/drained", options->directory);
    /* Nothing is drained before it is asked for. */
    cte_client *client = open_client(options->directory, "drain", 2 * options->drain_bytes, 0,
                                     "file: {drain_threads: 0, sync: pfs}\n");
    for (uint64_t i = 0; i < n; i++) {
        plain[i] = drain_plain(path, pieces, memory);
        unlink(path);
        cte[i] = drain_cte(client, path, pieces, memory);
        unlink(path);
        ratios[i] = plain[i] / cte[i];
    }
    check(cte_client_close(client), "close");
    struct drained drained = {(double)options->drain_bytes / median(cte, options->repeats),
                              (double)options->drain_bytes / median(plain, options->repeats),
                              median(ratios, options->repeats)};
    free(ratios);
    return drained;
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

static volatile uint64_t sink;

/* Computes for a time; returns how much. */
static double compute(double seconds)
{
    double end = now_s() + seconds;
    uint64_t word = 1, rounds = 0;
    while (now_s() < end) {
        for (int i = 0; i < 2000; i++)
            word = word * UINT64_C(0x9E3779B97F4A7C15) + 1;
        rounds++;
    }
    sink = word;
    return (double)rounds;
}

struct job {
    const struct options *options;
    double compute_s;
    char *memory;
    double visible_s, end_s, computed;
};

static void checkpoint_path(const struct job *job, uint32_t step, char path[4096])
{
    snprintf(path, 4096, "%s/checkpoint.%u" SLOW_SUFFIX, job->options->slow_directory, step);
}

static void run_direct(struct job *job)
{
    char path[4096];
    for (uint32_t step = 0; step < job->options->steps; step++) {
        checkpoint_path(job, step, path);
        double start = now_s();
        write_plain(path, job->options->checkpoint_bytes / PIECE, false, job->memory);
        job->visible_s += now_s() - start;
        job->computed += compute(job->compute_s);
        unlink(path);
    }
}

/* `keep_open`: a file is closed when the program has computed, as one that holds several steps. */
static void run_cte(struct job *job, cte_client *client, cte_file_drain_policy drain,
                    bool keep_open)
{
    char path[4096];
    uint64_t before = slow_file_bytes();
    for (uint32_t step = 0; step < job->options->steps; step++) {
        cte_file *file;
        cte_file_options options = CTE_FILE_OPTIONS_INIT;
        options.drain = drain;
        checkpoint_path(job, step, path);
        double start = now_s();
        check(cte_file_open(client, path, O_RDWR | O_CREAT | O_TRUNC, 0600, &options, &file), path);
        write_pieces(file, job->options->checkpoint_bytes / PIECE, true, job->memory);
        if (!keep_open)
            check(cte_file_close(file), "close");
        job->visible_s += now_s() - start;
        job->computed += compute(job->compute_s);
        start = now_s();
        if (keep_open)
            check(cte_file_close(file), "close");
        job->visible_s += now_s() - start;
    }
    /* What is left is waited for, too. */
    double start = now_s();
    check(cte_store_drain(client, NULL, false, NULL, NULL), "drain");
    job->end_s = now_s() - start;
    job->visible_s += job->end_s;
    uint64_t drained = slow_file_bytes() - before;
    if (drained != job->options->steps * job->options->checkpoint_bytes)
        die("not all was drained, or some twice", -EIO);
    for (uint32_t step = 0; step < job->options->steps; step++) {
        checkpoint_path(job, step, path);
        unlink(path);
    }
}

/* How fast the program writes to the tier. */
static double tier_speed(const struct options *options, cte_client *client, char *memory)
{
    char path[4096];
    double seconds[RATE_REPEATS];
    snprintf(path, sizeof path, "%s/speed", options->directory);
    for (int i = 0; i < RATE_REPEATS; i++) {
        cte_file *file;
        cte_file_options file_options = CTE_FILE_OPTIONS_INIT;
        file_options.mode = CTE_FILE_MODE_SCRATCH;
        double start = now_s();
        check(cte_file_open(client, path, O_RDWR | O_CREAT, 0600, &file_options, &file), path);
        write_pieces(file, options->checkpoint_bytes / PIECE, true, memory);
        check(cte_file_close(file), "close");
        seconds[i] = now_s() - start;
        unlink(path);
    }
    return (double)options->checkpoint_bytes / median(seconds, RATE_REPEATS);
}

/* One job each way, in turns; `ratios` and the others have room for one more. */
struct samples {
    double *direct, *cte, *ratios, *ends, *computed;
};

static void sample(const struct job *direct, const struct job *cte, struct samples *samples,
                   uint32_t i)
{
    double steps = direct->options->steps;
    samples->direct[i] = direct->visible_s / steps;
    samples->cte[i] = cte->visible_s / steps;
    samples->ratios[i] = direct->visible_s / cte->visible_s;
    samples->ends[i] = cte->end_s / steps;
    samples->computed[i] = cte->computed / direct->computed;
}

static struct samples new_samples(uint32_t count)
{
    double *values = calloc(5 * (size_t)count, sizeof *values);
    if (!values)
        die("memory", -ENOMEM);
    return (struct samples){values, values + count, values + 2 * (size_t)count,
                            values + 3 * (size_t)count, values + 4 * (size_t)count};
}

static struct visible take_medians(struct samples *samples, uint32_t count)
{
    struct visible visible = {median(samples->direct, count), median(samples->cte, count),
                              median(samples->ratios, count), median(samples->ends, count),
                              median(samples->computed, count)};
    free(samples->direct);
    return visible;
}

struct checkpoint run_checkpoint(const struct options *options, char *memory)
{
    struct checkpoint result = {0};
    uint32_t repeats = (options->repeats + 1) / 2;
    struct samples async = new_samples(repeats), on_close = new_samples(repeats);
    cte_client *client =
        open_client(options->directory, "checkpoint", 4 * options->checkpoint_bytes, 0, "");
    fill(memory, 1);
    result.tier_bytes_per_s = tier_speed(options, client, memory);
    result.pfs_bytes_per_s = result.tier_bytes_per_s / SLOWDOWN;
    /* Computing outlasts the drain. */
    result.compute_s = 2 * (double)options->checkpoint_bytes / result.pfs_bytes_per_s;
    slow_file_set_rate((uint64_t)result.pfs_bytes_per_s);
    for (uint32_t i = 0; i < repeats; i++) {
        struct job job = {options, result.compute_s, memory, 0, 0, 0}, one = job, two = job;
        run_direct(&job);
        run_cte(&one, client, CTE_FILE_DRAIN_ASYNC, false);
        run_cte(&two, client, CTE_FILE_DRAIN_ON_CLOSE, true);
        sample(&job, &one, &async, i);
        sample(&job, &two, &on_close, i);
    }
    slow_file_set_rate(0);
    check(cte_client_close(client), "close");
    result.async = take_medians(&async, repeats);
    result.on_close = take_medians(&on_close, repeats);
    return result;
}
