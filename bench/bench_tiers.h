/* SPDX-License-Identifier: BSD-3-Clause */
/* What the measurements of the tiers share. */
#ifndef CTE_BENCH_BENCH_TIERS_H
#define CTE_BENCH_BENCH_TIERS_H

#include <stdbool.h>
#include <stdint.h>

#include <cte/client.h>
#include <cte/file.h>

enum { PIECE = 1 << 20 };

struct options {
    const char *directory, *slow_directory;
    uint64_t bytes, reread_bytes, drain_bytes, checkpoint_bytes;
    uint32_t passes, repeats, steps;
    const char *only;
    bool json;
};

/* Both end the program. */
void die(const char *what, cte_status status);
void check(cte_status status, const char *what);

double now_s(void);
void sleep_ms(long ms);

/* What piece number `piece` of a file holds: PIECE bytes. */
void fill(char *bytes, uint64_t piece);
void compare(const char *bytes, uint64_t piece);

/* A store of its own, with a memory tier and, if `disk` > 0, one on disk; `more`: YAML of other
 * keys, or "". */
cte_client *open_client(const char *directory, const char *name, uint64_t ram, uint64_t disk,
                        const char *more);

/* Writes and closes a file. */
void write_file(cte_client *client, const char *path, uint64_t bytes, char *memory);

/* Sorts values; returns the middle one. */
double median(double *values, uint32_t count);

/* ---- reading (bench_tiers_read.c) ------------------------------------------------------------ */

struct phases {
    double memory, disk,
        file;               /* parts of the bytes of the last pass, from the tiers and the file */
    double first_s, last_s; /* of a pass */
};

struct reread {
    double tier_bytes_per_s, plain_bytes_per_s, ratio;
};

/* Parts by which checksums make it slower. */
struct checksum {
    double write_cost, read_cost;
};

struct phases run_phases(const struct options *options, const char *organizer, char *memory);
struct reread run_reread(const struct options *options, char *memory);
struct checksum run_checksum(const struct options *options, char *memory);

/* ---- draining (bench_tiers_drain.c) ---------------------------------------------------------- */

struct drained {
    double cte_bytes_per_s, plain_bytes_per_s, ratio;
};

/* Of one checkpoint: the time that the program waits for it. */
struct visible {
    double direct_s, cte_s, ratio;
    double end_s;   /* part of cte_s: waiting for the rest when all is computed */
    double compute; /* what is left of the program's speed while it computes */
};

struct checkpoint {
    double tier_bytes_per_s, pfs_bytes_per_s, compute_s;
    struct visible async, on_close;
};

struct drained run_drain(const struct options *options, char *memory);
struct checkpoint run_checkpoint(const struct options *options, char *memory);

#endif
