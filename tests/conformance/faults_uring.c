/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults between the backends and io_uring. */
#include <errno.h>
#include <liburing.h>

#include "faults.h"

int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr);

int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    return faults_strike() ? -errno : __real_io_uring_queue_init(entries, ring, flags);
}

/* About a third of a request, in whole sectors or at odd places. */
static void cut_requests(const struct io_uring *ring)
{
    for (unsigned i = ring->sq.sqe_tail - io_uring_sq_ready(ring); i != ring->sq.sqe_tail; i++) {
        struct io_uring_sqe *sqe = &ring->sq.sqes[i & *ring->sq.kring_mask];
        unsigned third = (sqe->len + 2) / 3;
        sqe->len = third >= 4096 ? third / 512 * 512 : sqe->len > 512 ? 512 : sqe->len;
    }
}

static void set_results(struct io_uring *ring, int result)
{
    unsigned head;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(ring, head, cqe) cqe->res = result;
}

/* Submitting may fail; what was submitted may fail, be interrupted, or be short. */
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)
{
    if (faults_strike())
        return -errno;
    enum disturbance what = faults_next_disturbance();
    if (what == CUT)
        cut_requests(ring);
    int rc = __real_io_uring_submit_and_wait(ring, wait_nr);
    if (what == INTERRUPT)
        set_results(ring, -EINTR);
    if (faults_strike())
        set_results(ring, -errno);
    return rc;
}
