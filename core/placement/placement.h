/* SPDX-License-Identifier: BSD-3-Clause */
/* Placement engines inside the library; what one is, and keeps, is said in include/cte/placement.h.
 */
#ifndef CTE_CORE_PLACEMENT_PLACEMENT_H
#define CTE_CORE_PLACEMENT_PLACEMENT_H

#include <stdatomic.h>
#include <stdbool.h>

#include <cte/placement.h>

struct cte__placement_engine {
    const char *name;
    cte_placement_function place;
    bool stateful; /* its answer depends on request.state */
    bool checked;  /* not ours: its answers are verified */
};

/* Engine by name, built in or registered, in any case of letters; NULL if unknown.  Valid for
 * ever. */
const struct cte__placement_engine *cte__placement_find(const char *name);

/* The built-in ones, NULL-terminated. */
extern const struct cte__placement_engine *const cte__placement_all[];

/* Asks an engine; what a registered one says is verified, and replaced by max_bw's answer if wrong.
 */
size_t cte__placement_place(const struct cte__placement_engine *engine,
                            const struct cte_placement_target *targets, size_t target_count,
                            const struct cte_placement_request *request,
                            struct cte_placement_extent *extents);

#endif
