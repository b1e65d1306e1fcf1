/* SPDX-License-Identifier: BSD-3-Clause */
/* What `cte top` shows: the store at one moment, and what changed since the one before. */
#ifndef CTE_TOOLS_SAMPLE_H
#define CTE_TOOLS_SAMPLE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "tool.h"

enum { SAMPLE_TARGETS_MAX = 64, SAMPLE_FILES_MAX = 256 };

struct sample_file {
    char path[512]; /* its end, if it is longer */
    uint64_t size_bytes;
    bool dirty, open;
};

struct sample {
    bool store; /* false: there is none, and the rest is empty */
    char path[PATH_MAX];
    uint64_t time_ns; /* monotonic */
    uint32_t processes;
    uint64_t metadata_bytes, metadata_capacity_bytes;
    cte_target_info targets[SAMPLE_TARGETS_MAX];
    uint32_t target_count;
    struct sample_file files[SAMPLE_FILES_MAX]; /* dirty ones first, then large ones */
    uint32_t file_count;                        /* all there are, also if that is more */
    uint32_t dirty_count, open_count;
};

/* Attaches, looks, and detaches: who stayed attached would keep a store alive that nobody uses.
 * Returns an exit status, and has complained if that is neither EXIT_OK nor EXIT_NO_STORE. */
int take_sample(const struct invocation *in, struct sample *sample);

struct rate {
    double bytes_written, bytes_read, writes, reads; /* per second */
};

/* What target `i` of `now` did since `before`; zeros if that does not have it. */
struct rate target_rate(const struct sample *before, const struct sample *now, uint32_t i);

double sample_seconds(const struct sample *before, const struct sample *now);

#endif
