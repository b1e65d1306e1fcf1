/* SPDX-License-Identifier: BSD-3-Clause */
/* Placement engines: pure functions from the state of the targets to where new bytes go.
 * No I/O, no clock, no lock, no static state: the same input gives the same answer. */
#ifndef CTE_CORE_PLACEMENT_PLACEMENT_H
#define CTE_CORE_PLACEMENT_PLACEMENT_H

#include <stddef.h>
#include <stdint.h>

#include <cte/status.h>

struct cte__placement_target {
    uint64_t free_bytes; /* whole pages of 4096 of it are used */
    uint64_t bytes_per_s;
    float score; /* 0 … 1, 1 is fastest */
};

struct cte__placement_request {
    uint64_t bytes; /* multiple of 4096, > 0 */
    float score;    /* 0 … 1: 1 asks for the fastest target */
    uint64_t state; /* explicit state for engines that rotate or draw: a counter or a seed */
};

struct cte__placement_extent {
    uint32_t target; /* index into the targets given */
    uint64_t bytes;  /* multiple of 4096, > 0 */
};

struct cte__placement_engine {
    const char *name;
    /* Fills `extents` (room for target_count) with where the bytes go, in order; at most one extent
     * per target, none above its free bytes.  Returns their number; 0 if all targets together are
     * too small (nothing is placed then: all or nothing).
     *
     * Order of max_bw: targets that score no higher than the request come first, best bandwidth
     * first (equal: higher score, then lower index), then the others, lowest score first (equal:
     * better bandwidth, then lower index).  The first target that can take the whole request gets
     * it; only if none can is it split, each target in order taking what fits.  Other engines
     * choose differently among the targets that score no higher than the request. */
    size_t (*place)(const struct cte__placement_target *targets, size_t target_count,
                    const struct cte__placement_request *request,
                    struct cte__placement_extent *extents);
};

/* Engine by name, NULL if unknown; and all of them, NULL-terminated. */
const struct cte__placement_engine *cte__placement_find(const char *name);
extern const struct cte__placement_engine *const cte__placement_all[];

#endif
