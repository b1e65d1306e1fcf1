/* SPDX-License-Identifier: BSD-3-Clause */
/* A directory with one file per arena (concurrent writes to one inode would wait for each other)
 * and the mark in a file of its own.  Arenas come into being at their first write; space is taken
 * as pages are written.  What the backends share that keep their bytes so. */
#ifndef CTE_CORE_TARGET_ARENAS_H
#define CTE_CORE_TARGET_ARENAS_H

#include <stdatomic.h>

#include "target/backing.h"

#define CTE__ARENA_PREFIX "arena."

enum { CTE__ARENA_NAME_BYTES = 32, CTE__ARENA_NO_FD = -1 };

/* A directory in use by this process. */
struct cte__arenas {
    int dir_fd;
    int mark_fd; /* holds the shared lock */
    uint64_t arena_bytes;
    uint64_t capacity_bytes;
    uint64_t count; /* of arenas: capacity_bytes / arena_bytes */
    char *path;
    atomic_long fd_budget; /* arenas that may still be kept open */
    /* When no descriptor is to be had, arenas are used one at a time through this one, with the
     * lock of fork.h held: a duplicate of dir_fd as long as it is not needed. */
    int spare_fd;
    atomic_int *fds; /* CTE__ARENA_NO_FD until opened; then constant until close */
};

/* ---- arenas_directory.c ---- */

/* create and destroy of struct cte__target_ops.  `durable`: what was made survives the node. */
cte_status cte__arenas_create(const struct cte__target_spec *spec, bool durable);
cte_status cte__arenas_destroy(const struct cte__target_spec *spec);

/* Opens the directory, refusing links and other owners.  -ENOENT is not logged. */
int cte__arenas_open_directory(const char *path);

/* Opens and reads the mark; -ENOENT, not logged, if there is none or its maker died before writing
 * it. */
int cte__arenas_open_mark(int dir_fd, const char *path, struct cte__target_mark *mark);

/* ---- arenas.c ---- */

/* open and close of struct cte__target_ops.  On failure there is nothing to close. */
cte_status cte__arenas_open(struct cte__arenas *arenas, const struct cte__target_spec *spec);
void cte__arenas_close(struct cte__arenas *arenas);

/* The descriptor of an arena, as long as it is used. */
struct cte__arena_use {
    int fd;
    enum { CTE__ARENA_KEPT, CTE__ARENA_TRANSIENT, CTE__ARENA_SPARE } how;
};

/* Gets a descriptor, making the arena if it is to be written; -ENOENT when reading what was never
 * written.  cte__arenas_done() after success.  Not logged. */
cte_status cte__arenas_use(struct cte__arenas *arenas, uint64_t index, bool write,
                           struct cte__arena_use *use);
void cte__arenas_done(const struct cte__arena_use *use);

/* A transfer that was checked, by system calls; nothing but -ENOENT for an arena that is not there.
 */
cte_status cte__arenas_transfer(struct cte__arenas *arenas, const struct cte__target_io *io);

/* Reads an arena that does not exist: CTE_ERR_STORE_CORRUPT if the whole target is gone. */
cte_status cte__arenas_read_zeros(const struct cte__arenas *arenas,
                                  const struct cte__target_io *io);

#endif
