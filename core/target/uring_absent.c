/* SPDX-License-Identifier: BSD-3-Clause */
/* In the place of uring.c where liburing was not there at build time. */
#include <errno.h>
#include <stddef.h>

#include "base/log.h"
#include "target/uring.h"

struct cte__uring *cte__uring_open(int fd, const char *path)
{
    (void)fd;
    cte__log_info("target %s: io is buffered: this library was built without liburing", path);
    return NULL;
}

cte_status cte__uring_transfer(struct cte__uring *uring, const struct cte__target_io *io)
{
    (void)uring;
    (void)io;
    return -ENOSYS;
}

cte_status cte__uring_watch_forks(void)
{
    return CTE_OK;
}

void cte__uring_close(struct cte__uring *uring)
{
    (void)uring;
}
