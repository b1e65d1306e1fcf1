/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of bench_mpiio share. */
#ifndef CTE_BENCH_BENCH_MPIIO_H
#define CTE_BENCH_BENCH_MPIIO_H

#include <stdbool.h>
#include <stdint.h>

#include <mpi.h>

enum pattern { SEGMENTED, STRIDED, VECTOR, OPEN_CLOSE, UNTRACKED };

struct options {
    const char *file;
    int pattern; /* enum pattern */
    const char *pattern_name;
    uint64_t bytes;    /* of the whole file */
    uint64_t transfer; /* per call */
    uint64_t piece;    /* VECTOR: of one rank in a row */
    uint64_t rounds;   /* each with a new file */
    uint64_t calls;    /* OPEN_CLOSE, UNTRACKED: per round */
    bool collective, fsync, reread, read, verify;
    bool keep;  /* the file of the last round */
    bool check; /* do nothing but verify a file that was kept */
    bool help;
};

extern int rank, rank_count;

/* Ends all processes. */
void fail(const char *what) __attribute__((noreturn));
/* Does, if the call did not succeed. */
void check(int code, const char *what);

/* Prints a member of the JSON object that rank 0 is writing. */
void put_figure(const char *name, double value);

/* Each measures one round.  Returns the transfers that were read back wrong. */
uint64_t measure_transfers(const struct options *options, bool last);
/* Of a file that was kept. */
uint64_t check_transfers(const struct options *options);
void measure_open_close(const struct options *options);
void measure_untracked(const struct options *options);

#endif
