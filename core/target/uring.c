/* SPDX-License-Identifier: BSD-3-Clause */
#include "target/uring.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/log.h"
#include "base/util.h"
#include "target/backing.h"
#include "target/cursor.h"

enum {
    RINGS = 4,  /* of a process for a file: more threads than that take turns */
    DEPTH = 16, /* requests in flight on a ring */
    PIECE_BYTES = 128 << 10,
    ALIGNMENT = CTE__PAGE_BYTES, /* of memory, offset and length: no disk asks for more */
    BOUNCE_BYTES = DEPTH * PIECE_BYTES,
};

struct ring {
    pthread_mutex_t lock;
    bool made;
    struct io_uring uring;
    char *bounce; /* a place for each request in flight; memory only where it was used */
};

struct cte__uring {
    struct cte__uring *next; /* on `all` */
    int fd;                  /* of the caller, buffered */
    int direct_fd;
    struct ring rings[RINGS];
};

/* ---- rings and forks ---- */

/* A child must not use its parent's rings, and may be forked while another thread has one locked.
 * So forking waits for all rings of the process; the child then starts without any.  Lock order:
 * all_lock, then rings in the order of the list. */
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct cte__uring *all;

static void unmake_ring(struct ring *ring)
{
    if (!ring->made)
        return;
    io_uring_queue_exit(&ring->uring); /* in a child: its own mappings, its own descriptor */
    munmap(ring->bounce, BOUNCE_BYTES);
    ring->made = false;
}

/* Descriptors 0 to 2 may be the program's to reuse. */
static cte_status move_descriptor(struct io_uring *uring)
{
    if (uring->ring_fd > STDERR_FILENO)
        return 0;
    int higher = fcntl(uring->ring_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (higher < 0)
        return -errno;
    close(uring->ring_fd);
    uring->ring_fd = uring->enter_ring_fd = higher;
    return 0;
}

/* The ring is locked.  Told by the caller. */
static cte_status make_ring(struct ring *ring)
{
    if (ring->made)
        return 0;
    void *bounce =
        mmap(NULL, BOUNCE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bounce == MAP_FAILED)
        return -errno;
    int rc = io_uring_queue_init(DEPTH, &ring->uring, 0);
    if (rc == 0) {
        rc = move_descriptor(&ring->uring);
        if (rc != 0)
            io_uring_queue_exit(&ring->uring);
    }
    if (rc != 0) {
        munmap(bounce, BOUNCE_BYTES);
        return rc;
    }
    ring->bounce = bounce;
    ring->made = true;
    return 0;
}

static void lock_for_fork(void)
{
    pthread_mutex_lock(&all_lock);
    for (struct cte__uring *uring = all; uring; uring = uring->next)
        for (int i = 0; i < RINGS; i++)
            pthread_mutex_lock(&uring->rings[i].lock);
}

static void unlock_after_fork(bool child)
{
    for (struct cte__uring *uring = all; uring; uring = uring->next)
        for (int i = 0; i < RINGS; i++) {
            if (child)
                unmake_ring(&uring->rings[i]);
            pthread_mutex_unlock(&uring->rings[i].lock);
        }
    pthread_mutex_unlock(&all_lock);
}

static void unlock_parent(void)
{
    unlock_after_fork(false);
}

static void unlock_child(void)
{
    unlock_after_fork(true);
}

static int watch_forks_result;

static void watch_forks_once(void)
{
    watch_forks_result = pthread_atfork(lock_for_fork, unlock_parent, unlock_child);
}

cte_status cte__uring_watch_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks_once);
    return -watch_forks_result;
}

/* A ring that no other thread uses, locked; each thread comes back to the same one if it can. */
static struct ring *take_ring(struct cte__uring *uring)
{
    static _Atomic unsigned threads;
    static _Thread_local unsigned home; /* 0: none yet */
    if (home == 0)
        home = 1 + atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % RINGS;
    for (unsigned i = 0; i < RINGS; i++) {
        struct ring *ring = &uring->rings[(home - 1 + i) % RINGS];
        if (pthread_mutex_trylock(&ring->lock) == 0)
            return ring;
    }
    struct ring *ring = &uring->rings[home - 1];
    pthread_mutex_lock(&ring->lock);
    return ring;
}

/* ---- open and close ---- */

/* The file once more, for I/O past the page cache. */
static int open_direct(int fd, const char *path)
{
    struct stat wanted, found;
    int direct_fd = cte__target_openat(AT_FDCWD, path, O_RDWR | O_DIRECT, 0);
    if (direct_fd < 0)
        return direct_fd;
    if (fstat(fd, &wanted) == 0 && fstat(direct_fd, &found) == 0 && wanted.st_dev == found.st_dev &&
        wanted.st_ino == found.st_ino)
        return direct_fd;
    close(direct_fd);
    return -ESTALE;
}

static struct cte__uring *new_uring(int fd, int direct_fd)
{
    struct cte__uring *uring = calloc(1, sizeof *uring);
    if (!uring)
        return NULL;
    uring->fd = fd;
    uring->direct_fd = direct_fd;
    for (int i = 0; i < RINGS; i++)
        pthread_mutex_init(&uring->rings[i].lock, NULL);
    pthread_mutex_lock(&all_lock);
    uring->next = all;
    all = uring;
    pthread_mutex_unlock(&all_lock);
    return uring;
}

void cte__uring_close(struct cte__uring *uring)
{
    if (!uring)
        return;
    pthread_mutex_lock(&all_lock);
    struct cte__uring **link = &all;
    while (*link != uring)
        link = &(*link)->next;
    *link = uring->next;
    pthread_mutex_unlock(&all_lock);
    for (int i = 0; i < RINGS; i++) {
        unmake_ring(&uring->rings[i]);
        pthread_mutex_destroy(&uring->rings[i].lock);
    }
    close(uring->direct_fd);
    free(uring);
}

struct cte__uring *cte__uring_open(int fd, const char *path)
{
    struct cte__uring *uring = NULL;
    cte_status rc = cte__uring_watch_forks();
    int direct_fd = rc == 0 ? open_direct(fd, path) : rc;
    if (direct_fd < 0) {
        cte__log_info("target %s: io is buffered: its file system allows no direct access (%s)",
                      path, strerror(-direct_fd));
        return NULL;
    }
    uring = new_uring(fd, direct_fd);
    if (!uring) {
        close(direct_fd);
        return NULL;
    }
    rc = make_ring(&uring->rings[0]); /* nobody else knows it yet */
    if (rc != 0) {
        cte__log_info("target %s: io is buffered: io_uring cannot be used here (%s)", path,
                      strerror(-rc));
        cte__uring_close(uring);
        return NULL;
    }
    return uring;
}

/* ---- one transfer ---- */

/* A part of a transfer: aligned in the file and in memory. */
struct piece {
    uint64_t offset; /* in the file */
    uint32_t bytes;
    uint32_t done;
    char *memory;
    uint32_t *sums; /* of its pages; NULL: not asked for, or they are there */
    /* Of pieces that go through the bounce memory: where the payload belongs. */
    bool bounced;
    uint32_t skip; /* bytes before the payload */
    uint32_t payload_bytes;
    struct cte__cursor payload;
};

struct transfer {
    const struct cte__uring *uring;
    struct ring *ring;
    const struct cte__target_io *io;
    struct cte__cursor at;
    uint64_t next, end;   /* of the file: what no piece covers yet */
    unsigned queued;      /* pieces that are not finished */
    unsigned idle[DEPTH]; /* numbers of the others */
    cte_status status;    /* first error */
    struct piece pieces[DEPTH];
};

static bool is_aligned(uint64_t number)
{
    return number % ALIGNMENT == 0;
}

/* Cuts the next piece.  Memory that is aligned is used as it is. */
static void cut_piece(struct transfer *t, struct piece *piece, char *bounce)
{
    size_t here;
    char *memory = cte__cursor_memory(&t->at, &here);
    here = cte__min(here, PIECE_BYTES);
    *piece = (struct piece){.offset = cte__align_down(t->next, ALIGNMENT)};
    if (t->io->sums)
        piece->sums = t->io->sums + ((t->next - t->io->offset) >> CTE__PAGE_SHIFT);
    if (is_aligned(t->next) && is_aligned((uintptr_t)memory) && here >= ALIGNMENT) {
        piece->memory = memory;
        piece->bytes = (uint32_t)cte__align_down(here, ALIGNMENT);
        cte__cursor_advance(&t->at, piece->bytes);
        t->next += piece->bytes;
        return;
    }
    uint64_t end = cte__min(t->end, piece->offset + PIECE_BYTES);
    piece->bounced = true;
    piece->memory = bounce;
    piece->bytes = (uint32_t)(cte__align_up(end, ALIGNMENT) - piece->offset);
    piece->skip = (uint32_t)(t->next - piece->offset);
    piece->payload_bytes = (uint32_t)(end - t->next);
    piece->payload = t->at;
    if (t->io->write) /* whole pages, as promised: nothing around the payload is touched */
        cte__cursor_copy(&t->at, bounce, piece->payload_bytes, true);
    else
        cte__cursor_advance(&t->at, piece->payload_bytes);
    t->next = end;
}

/* While other pieces are under way.  The memory of those that are bounced is whole pages too, if
 * there are sums. */
static void sum_piece(struct piece *piece)
{
    for (uint32_t at = 0; piece->sums && at < piece->bytes; at += CTE__PAGE_BYTES)
        piece->sums[at >> CTE__PAGE_SHIFT] = cte__page_sum(piece->memory + at);
    piece->sums = NULL;
}

static void queue_piece(struct transfer *t, unsigned number)
{
    struct piece *piece = &t->pieces[number];
    struct io_uring_sqe *sqe = io_uring_get_sqe(&t->ring->uring);
    assert(sqe); /* a ring has as many as there are pieces */
    if (t->io->write)
        io_uring_prep_write(sqe, t->uring->direct_fd, piece->memory + piece->done,
                            piece->bytes - piece->done, piece->offset + piece->done);
    else
        io_uring_prep_read(sqe, t->uring->direct_fd, piece->memory + piece->done,
                           piece->bytes - piece->done, piece->offset + piece->done);
    io_uring_sqe_set_data64(sqe, number);
}

static void queue_pieces(struct transfer *t)
{
    while (t->status == 0 && t->next < t->end && t->queued < DEPTH) {
        unsigned number = t->idle[t->queued++];
        cut_piece(t, &t->pieces[number], t->ring->bounce + (size_t)number * PIECE_BYTES);
        queue_piece(t, number);
    }
}

static void finish_piece(struct transfer *t, unsigned number, cte_status rc)
{
    struct piece *piece = &t->pieces[number];
    if (rc == 0)
        sum_piece(piece);
    piece->sums = NULL;
    if (rc == 0 && piece->bounced && !t->io->write)
        cte__cursor_copy(&piece->payload, piece->memory + piece->skip, piece->payload_bytes, false);
    if (t->status == 0)
        t->status = rc;
    t->idle[--t->queued] = number;
}

/* The rest of a piece that the kernel or the file system does not want to do directly. */
static cte_status move_buffered(const struct transfer *t, const struct piece *piece)
{
    struct iovec iov = {.iov_base = piece->memory + piece->done,
                        .iov_len = piece->bytes - piece->done};
    struct cte__target_io io = {
        .write = t->io->write, .iov = &iov, .iov_count = 1, .bytes = iov.iov_len};
    return cte__target_transfer(t->uring->fd, piece->offset + piece->done, &io);
}

static bool buffered_may_help(int error)
{
    return error == EINVAL || error == EOPNOTSUPP || error == EAGAIN || error == ENOMEM ||
           error == ECANCELED || error == ENOSYS;
}

static void take_result(struct transfer *t, unsigned number, int result)
{
    struct piece *piece = &t->pieces[number];
    uint32_t rest = piece->bytes - piece->done;
    if (result > 0 && (uint32_t)result >= rest) {
        finish_piece(t, number, 0);
    } else if (result >= ALIGNMENT || result == -EINTR) {
        /* Short: what is not whole is moved again, as requests must be aligned. */
        piece->done += result > 0 ? (uint32_t)cte__align_down((uint64_t)result, ALIGNMENT) : 0;
        queue_piece(t, number);
    } else if (result > 0 || (result < 0 && buffered_may_help(-result))) {
        finish_piece(t, number, move_buffered(t, piece));
    } else {
        finish_piece(t, number, result < 0 ? result : -EIO);
    }
}

/* Requests that the kernel has: they must end before their memory is let go. */
static unsigned in_flight(const struct transfer *t)
{
    return t->queued - io_uring_sq_ready(&t->ring->uring);
}

static void take_results(struct transfer *t)
{
    struct io_uring_cqe *cqe;
    while (io_uring_peek_cqe(&t->ring->uring, &cqe) == 0) {
        unsigned number = (unsigned)io_uring_cqe_get_data64(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&t->ring->uring, cqe);
        take_result(t, number, result);
    }
}

/* The kernel takes no more: waits for what it has, as far as the ring can tell. */
static void wait_for_kernel(struct transfer *t)
{
    unsigned left = in_flight(t);
    while (left > 0) {
        struct io_uring_cqe *cqe;
        if (io_uring_peek_cqe(&t->ring->uring, &cqe) == 0) {
            io_uring_cqe_seen(&t->ring->uring, cqe);
            left--;
        } else {
            sched_yield(); /* completions are posted when this thread enters the kernel */
        }
    }
}

/* What is to be written can be summed while the disk has it: nobody changes it meanwhile. */
static void sum_queued(struct transfer *t)
{
    for (unsigned i = 0; i < DEPTH; i++)
        sum_piece(&t->pieces[i]);
}

/* Hands over what is queued and waits for a completion. */
static bool submit(struct transfer *t)
{
    int rc = 0;
    if (t->io->write && t->io->sums) {
        rc = io_uring_submit(&t->ring->uring);
        sum_queued(t);
    }
    if (rc >= 0 || rc == -EINTR)
        rc = io_uring_submit_and_wait(&t->ring->uring, 1);
    return rc >= 0 || rc == -EINTR;
}

/* Returns false if the ring failed, and nothing is in flight on it any more. */
static bool run(struct transfer *t)
{
    queue_pieces(t);
    while (t->queued > 0) {
        if (!submit(t))
            break;
        take_results(t);
        queue_pieces(t);
    }
    if (t->queued == 0)
        return true;
    wait_for_kernel(t);
    return false;
}

cte_status cte__uring_transfer(struct cte__uring *uring, const struct cte__target_io *io)
{
    if (io->bytes == 0)
        return 0;
    struct transfer t = {
        .uring = uring,
        .io = io,
        .at = cte__cursor_begin(io->iov, io->iov_count),
        .next = io->offset,
        .end = io->offset + io->bytes,
    };
    for (unsigned i = 0; i < DEPTH; i++)
        t.idle[i] = i;
    t.ring = take_ring(uring);
    bool done = make_ring(t.ring) == 0;
    if (done) {
        done = run(&t);
        if (!done)
            unmake_ring(t.ring); /* with what is still queued; the next one to come makes it anew */
    }
    pthread_mutex_unlock(&t.ring->lock);
    if (done)
        return t.status;
    /* All of it again: pages are written as a whole, so twice is as good as once. */
    cte_status rc = cte__target_transfer(uring->fd, io->offset, io);
    if (rc == 0 && io->sums)
        cte__target_sum(io);
    return rc;
}
