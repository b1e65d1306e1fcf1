/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the ram target share: a directory of arenas (arenas.h) on tmpfs.
 *
 * Invariant: nothing is ever given back to tmpfs while a store lives.  Arena files are not
 * truncated, holes are not punched, and removing a file does not take its pages from who has it
 * mapped.  So a page that was there once stays there (or in swap), and touching it through a
 * mapping does not raise SIGBUS.  (The files are private; a user who truncates an arena of hers
 * while a program has it mapped breaks this.)
 *
 * Bytes move in two ways, which see each other's at once because both work on the page cache:
 *  - pread and pwrite, for pages that this process writes for the first time, or while that is
 *    cheaper;
 *  - memory copies through a mapping of the arena (ram_map.c). */
#ifndef CTE_CORE_TARGET_RAM_H
#define CTE_CORE_TARGET_RAM_H

#include "target/arenas.h"

struct cte__ram_state {
    struct cte__arenas arenas;
    /* enum page_state of ram_map.c for each page; NULL: everything goes by system calls. */
    _Atomic uint8_t *pages;
    atomic_bool cannot_populate; /* by this kernel; then too */
    _Atomic uint32_t measures;   /* of what warming a page costs */
    _Atomic uint32_t warm_units; /* the lowest of them, as ram_map.c counts */
    /* Of each arena: NULL until mapped; then constant until close.  MAP_FAILED: cannot be. */
    _Atomic(char *) bases[];
};

/* ---- ram_map.c ---- */

/* Makes the table of page states; without one the target works by system calls. */
void cte__ram_map_init(struct cte__ram_state *state);
void cte__ram_map_release(struct cte__ram_state *state);

/* Pages of one arena, by their numbers in it. */
struct cte__ram_pages {
    uint64_t arena;
    uint64_t first, end;
};

/* True if all the pages are warm: they may be touched through the mapping. */
bool cte__ram_warm(const struct cte__ram_state *state, const struct cte__ram_pages *pages);

/* The mapping of the arena after warming those of the pages that are due before they are used once
 * more; NULL if all the pages have to go by system calls. */
char *cte__ram_warm_due(struct cte__ram_state *state, const struct cte__ram_pages *pages,
                        bool write);

/* Where the pages go on in another way than the first of them does: warm (*warm) through the
 * mapping, or by system call. */
uint64_t cte__ram_same_way(const struct cte__ram_state *state, const struct cte__ram_pages *pages,
                           bool *warm);

/* Notes that the pages went by system call. */
void cte__ram_note_used(struct cte__ram_state *state, const struct cte__ram_pages *pages);

void *cte__ram_view(void *opaque, bool write, uint64_t offset, uint64_t bytes);

/* ---- ram_io.c ---- */

cte_status cte__ram_io(void *opaque, const struct cte__target_io *io);

#endif
