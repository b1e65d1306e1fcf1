/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the ram target share.
 *
 * A directory on tmpfs with one file per arena (concurrent writes to one inode would wait for each
 * other) and the mark in a file of its own.  Arenas come into being at their first write; memory is
 * taken as pages are written.
 *
 * Invariant: nothing is ever given back to tmpfs while a store lives.  Arena files are not
 * truncated, holes are not punched, and removing a file does not take its pages from who has it
 * mapped.  So a page that was there once stays there (or in swap), and touching it through a
 * mapping does not raise SIGBUS.  (The files are private; a user who truncates an arena of hers
 * while a program has it mapped breaks this.)
 *
 * Bytes move in two ways, which see each other's at once because both work on the page cache:
 *  - pread and pwrite, for pages that this process uses for the first time;
 *  - memory copies through a mapping of the arena (ram_map.c), for pages used before. */
#ifndef CTE_CORE_TARGET_RAM_H
#define CTE_CORE_TARGET_RAM_H

#include <stdatomic.h>

#include "target/backing.h"

#define CTE__RAM_ARENA_PREFIX "arena."

enum { CTE__RAM_NAME_BYTES = 32, CTE__RAM_NO_FD = -1 };

struct cte__ram_arena {
    atomic_int fd;        /* CTE__RAM_NO_FD until opened; then constant until close */
    _Atomic(char *) base; /* NULL until mapped; then constant until close.  MAP_FAILED: cannot be */
};

struct cte__ram_state {
    int dir_fd;
    int mark_fd; /* holds the shared lock */
    uint64_t arena_bytes;
    uint64_t capacity_bytes;
    char *path;
    /* enum page_state of ram_map.c for each page; NULL: everything goes by system calls. */
    _Atomic uint8_t *pages;
    atomic_bool cannot_populate; /* by this kernel; then too */
    atomic_long fd_budget;       /* arenas that may still be kept open */
    /* When no descriptor is to be had, arenas are used one at a time through this one, with the
     * lock of fork.h held: a duplicate of dir_fd as long as it is not needed. */
    int spare_fd;
    struct cte__ram_arena arenas[]; /* capacity_bytes / arena_bytes */
};

/* ---- ram_directory.c ---- */

cte_status cte__ram_create(const struct cte__target_spec *spec);
cte_status cte__ram_destroy(const struct cte__target_spec *spec);

/* Opens the directory, refusing links and other owners.  -ENOENT is not logged. */
int cte__ram_open_directory(const char *path);

/* Opens and reads the mark; -ENOENT, not logged, if there is none or its maker died before writing
 * it. */
int cte__ram_open_mark(int dir_fd, const char *path, struct cte__target_mark *mark);

/* ---- ram_arena.c ---- */

/* The descriptor of an arena, as long as it is used. */
struct cte__ram_use {
    int fd;
    enum { CTE__RAM_KEPT, CTE__RAM_TRANSIENT, CTE__RAM_SPARE } how;
};

/* How many arenas may be kept open. */
long cte__ram_fd_share(uint64_t arena_count);

/* Gets a descriptor, making the arena if it is to be written; -ENOENT when reading what was never
 * written.  cte__ram_done() after success. */
cte_status cte__ram_use(struct cte__ram_state *state, uint64_t index, bool write,
                        struct cte__ram_use *use);
void cte__ram_done(const struct cte__ram_use *use);

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

/* The mapping of the arena after warming those of the pages that were used before; NULL if all the
 * pages have to go by system calls. */
char *cte__ram_warm_used(struct cte__ram_state *state, const struct cte__ram_pages *pages);

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
