/* SPDX-License-Identifier: BSD-3-Clause */
/* How fast a target is. */
#ifndef CTE_CORE_TARGET_MEASURE_H
#define CTE_CORE_TARGET_MEASURE_H

#include "target/target.h"

struct cte__target_speed {
    uint64_t bytes_per_s; /* of large writes, made durable where the kind promises that */
    uint64_t latency_ns;  /* of a write of 4 KiB, likewise */
    bool measured;        /* false: nominal values of the kind */
};

/* The speed of a new backing, which holds no data yet: what is measured is overwritten.  Takes tens
 * of milliseconds at most unless the device stalls, and moves 16 MiB at most; nominal values
 * where measuring fails.
 *
 * A target that survives the node is measured once: the result is kept in a file beside it,
 * `.<name>.cte-speed`, which stays when the target goes. */
struct cte__target_speed cte__target_speed(const struct cte__target_ops *ops,
                                           const struct cte__target_spec *spec);

/* The same of a target that holds data, and so is not written to: what was kept beside it, else
 * nominal values. */
struct cte__target_speed cte__target_speed_known(const struct cte__target_ops *ops,
                                                 const struct cte__target_spec *spec);

#endif
