/* SPDX-License-Identifier: BSD-3-Clause */
/* Transfers past the page cache, several requests in flight, by io_uring.
 *
 * A process has a few rings for a file, each used by one thread at a time; a forked child makes
 * rings of its own.  Nothing is in flight between two transfers, nor while the process forks: the
 * kernel never writes into memory that a child got a copy of. */
#ifndef CTE_CORE_TARGET_URING_H
#define CTE_CORE_TARGET_URING_H

#include "target/target.h"

struct cte__uring;

/* `fd`: the file at `path`, open for buffered I/O; it must stay open.  NULL if this cannot be done
 * here: the caller uses `fd` then; an info line says why. */
struct cte__uring *cte__uring_open(int fd, const char *path);

/* As io of struct cte__target_ops, with sums, checked already; -EIO at a premature end.  Where a
 * request is refused that buffered I/O may manage, it is done that way.  Not logged. */
cte_status cte__uring_transfer(struct cte__uring *uring, const struct cte__target_io *io);

/* Registers what a fork does to rings, as cte__uring_open() does.  Who holds a lock that forks wait
 * for while it uses rings calls this before it registers that: forks then take that lock first. */
cte_status cte__uring_watch_forks(void);

/* NULL is fine. */
void cte__uring_close(struct cte__uring *uring);

#endif
