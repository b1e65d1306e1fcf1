/* SPDX-License-Identifier: BSD-3-Clause */
/* Which bytes of a page are valid: sorted runs, each clean or dirty.  Pure functions on lists. */
#ifndef CTE_CORE_BLOB_RUNS_H
#define CTE_CORE_BLOB_RUNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/util.h"
#include "store/layout.h"

enum { CTE__RUNS_MAX = CTE__PAGE_BYTES }; /* alternating single bytes, clean and dirty */

struct cte__run_list {
    uint32_t count, capacity;
    struct cte__run run[];
};

/* All lists of an operation, which are freed together.  {0}: none. */
struct cte__run_lists {
    struct cte__run_block *block; /* the last one */
};

/* Bytes [start, end) of a page, stored in `page`. */
static inline struct cte__run cte__run_make(uint32_t start, uint32_t end, bool dirty,
                                            cte__page page, uint32_t checksum)
{
    assert(start < end && end <= CTE__PAGE_BYTES);
    return (struct cte__run){(uint16_t)start, (uint16_t)((end - start) << 1 | dirty), checksum,
                             page};
}

static inline uint32_t cte__run_length(struct cte__run run)
{
    return run.length_dirty >> 1;
}

static inline uint32_t cte__run_end(struct cte__run run)
{
    return run.start + cte__run_length(run);
}

static inline bool cte__run_dirty(struct cte__run run)
{
    return run.length_dirty & 1;
}

/* NULL when out of memory. */
struct cte__run_list *cte__run_list_new(struct cte__run_lists *lists, uint32_t capacity);
/* Gives back the room that the list, the last one made, has left. */
void cte__run_list_trim(struct cte__run_lists *lists, struct cte__run_list *list);
void cte__run_lists_free(struct cte__run_lists *lists);

/* Appends a run, joined to the last one if it touches it and is alike. */
void cte__run_list_append(struct cte__run_list *list, struct cte__run run);

/* out = `below`, covered by `above` where that has runs.  out has room for both counts * 2 + 1. */
void cte__runs_overlay(const struct cte__run *below, uint32_t below_count,
                       const struct cte__run *above, uint32_t above_count,
                       struct cte__run_list *out);

/* out = list without the bytes [start, end).  out has room for count + 1. */
void cte__runs_cut(const struct cte__run *list, uint32_t count, uint32_t start, uint32_t end,
                   struct cte__run_list *out);

/* The state of a page with these runs: NONE, CLEAN, DIRTY or PARTIAL. */
uint32_t cte__runs_page_state(const struct cte__run *list, uint32_t count);

/* The different pages that runs lie in: fills `pages` with as many as there is room for, and
 * returns their number, CTE__RUN_PAGES_MAX + 1 for more. */
uint32_t cte__runs_pages(const struct cte__run *list, uint32_t count,
                         cte__page pages[CTE__RUN_PAGES_MAX]);

#endif
