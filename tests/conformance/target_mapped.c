/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages that are used again and again, and views: backends may map them then.  Whichever way bytes
 * go, everybody sees the same ones, and what cannot be mapped still works. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faults.h"
#include "target_fixture.h"

enum {
    USES = 10, /* after so many of each kind a page is as warm as it gets */
    PAGES = 24,
    THREADS = 4,
    ROUNDS = 200,
};

static void *view_bytes(const struct fixture *f, void *target, bool write, uint64_t offset,
                        uint64_t bytes)
{
    return cte__target_view(f->ops, target, write, offset, bytes);
}

static void require_views(const struct fixture *f)
{
    if (!f->ops->view)
        skip();
}

/* Writes and reads back, USES times; 0 if all was right. */
static int use_bytes(const struct fixture *f, void *target, uint64_t offset, size_t count,
                     uint64_t seed)
{
    static _Thread_local unsigned char out[PAGES * PAGE_BYTES];
    static _Thread_local unsigned char in[sizeof out];
    for (uint64_t use = 0; use < USES; use++) {
        fill_pattern(out, count, offset, seed + use);
        CHILD_CHECK(write_bytes(f, target, offset, out, count) == 0);
        CHILD_CHECK(read_bytes(f, target, offset, in, count) == 0);
        CHILD_CHECK(memcmp(in, out, count) == 0);
    }
    return 0;
}

/* Leaves the bytes as use_bytes(…, seed) leaves them? */
static int check_used(const struct fixture *f, void *target, uint64_t offset, size_t count,
                      uint64_t seed)
{
    static unsigned char expected[PAGES * PAGE_BYTES];
    static unsigned char in[sizeof expected];
    fill_pattern(expected, count, offset, seed + USES - 1);
    CHILD_CHECK(read_bytes(f, target, offset, in, count) == 0);
    CHILD_CHECK(memcmp(in, expected, count) == 0);
    return 0;
}

/* All patterns of pages never used, used once and used often, each in one transfer. */
static void test_mixed_transfers(void **state)
{
    enum { MIXED_PAGES = 6, PATTERNS = 729 /* 3 ^ MIXED_PAGES */ };
    struct fixture *f = *state;
    static unsigned char out[MIXED_PAGES * PAGE_BYTES], in[sizeof out];
    unsigned char page[PAGE_BYTES] = {1};
    f->spec.capacity_bytes = 20 * ARENA_BYTES;
    create_target(f);
    void *target = open_target(f);
    for (uint64_t pattern = 0; pattern < PATTERNS; pattern++) {
        uint64_t offset = pattern / 40 * ARENA_BYTES + pattern % 40 * sizeof out;
        uint64_t digits = pattern;
        for (uint64_t i = 0; i < MIXED_PAGES; i++, digits /= 3)
            for (uint64_t use = 0; use < digits % 3; use++)
                assert_int_equal(write_bytes(f, target, offset + i * PAGE_BYTES, page, sizeof page),
                                 0);
        /* In pieces that do not end where pages do. */
        struct iovec iov[] = {{out, 5000}, {out + 5000, 0}, {out + 5000, sizeof out - 5000}};
        struct cte__target_io io = {
            .write = true, .offset = offset, .iov = iov, .iov_count = 3, .bytes = sizeof out};
        fill_pattern(out, sizeof out, offset, pattern);
        assert_int_equal(f->ops->io(target, &io), 0);
        iov[0].iov_base = in;
        iov[1].iov_base = iov[2].iov_base = in + 5000;
        io.write = false;
        assert_int_equal(f->ops->io(target, &io), 0);
        assert_memory_equal(in, out, sizeof out);
        memset(in, 0, sizeof in);
        assert_int_equal(read_bytes(f, target, offset + 100, in, sizeof in - 200), 0);
        assert_memory_equal(in, out + 100, sizeof in - 200);
    }
    f->ops->close(target);
}

/* Warm pages are not moved by system calls.  The first put of a page is: it may not be there, and
 * mapping it would cost more. */
static void test_warm_pages_need_no_system_call(void **state)
{
    const struct fixture *f = *state;
    unsigned char page[PAGE_BYTES] = {1};
    require_views(f);
    create_target(f);
    void *target = open_target(f);
    faults_disturb_io(2); /* every transfer */
    assert_int_equal(write_bytes(f, target, 0, page, sizeof page), 0);
    assert_true(faults_disturbed() > 0);
    assert_int_equal(use_bytes(f, target, 0, sizeof page, 1), 0);
    faults_disturb_io(2);
    assert_int_equal(use_bytes(f, target, 0, sizeof page, 1), 0);
    assert_int_equal(faults_disturbed(), 0);
    faults_disturb_io(0);
    f->ops->close(target);
}

/* ---- views ---- */

static void test_views_and_transfers_see_each_other(void **state)
{
    const struct fixture *f = *state;
    unsigned char expected[2 * PAGE_BYTES], in[2 * PAGE_BYTES];
    require_views(f);
    create_target(f);
    void *target = open_target(f);
    void *other = open_target(f);
    for (uint64_t offset = 0; offset < CAPACITY_BYTES; offset += ARENA_BYTES + 7 * PAGE_BYTES) {
        unsigned char *view = view_bytes(f, target, true, offset, sizeof expected);
        assert_non_null(view);
        for (size_t i = 0; i < sizeof expected; i++)
            assert_int_equal(view[i], 0); /* fresh */
        fill_pattern(expected, sizeof expected, offset, 1);
        memcpy(view, expected, sizeof expected);
        assert_int_equal(read_bytes(f, other, offset, in, sizeof in), 0);
        assert_memory_equal(in, expected, sizeof in);
        assert_int_equal(read_bytes(f, target, offset, in, sizeof in), 0);
        assert_memory_equal(in, expected, sizeof in);

        fill_pattern(expected, sizeof expected, offset, 2);
        assert_int_equal(write_bytes(f, other, offset, expected, sizeof expected), 0);
        assert_memory_equal(view, expected, sizeof expected);
        const unsigned char *part = view_bytes(f, other, false, offset + 100, 200);
        assert_non_null(part);
        assert_memory_equal(part, expected + 100, 200);
        assert_ptr_equal(view_bytes(f, target, false, offset, 1), view); /* stays where it is */
    }
    f->ops->close(other);
    f->ops->close(target);
}

static void test_views_outside_are_refused(void **state)
{
    const struct fixture *f = *state;
    const uint64_t ranges[][2] = {
        {0, 0},
        {0, ARENA_BYTES + 1},
        {ARENA_BYTES - PAGE_BYTES, PAGE_BYTES + 1},
        {CAPACITY_BYTES - PAGE_BYTES, PAGE_BYTES + 1},
        {CAPACITY_BYTES, 1},
        {UINT64_MAX, 1},
        {0, UINT64_MAX},
        {UINT64_MAX - 10, UINT64_MAX},
    };
    require_views(f);
    create_target(f);
    void *target = open_target(f);
    for (int write = 0; write < 2; write++)
        for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
            assert_null(view_bytes(f, target, write, ranges[i][0], ranges[i][1]));
    assert_non_null(view_bytes(f, target, true, CAPACITY_BYTES - ARENA_BYTES, ARENA_BYTES));
    f->ops->close(target);
}

/* A step that fails costs the view, not the target. */
static void test_view_fails_at_every_step(void **state)
{
    const struct fixture *f = *state;
    bool more = true;
    int refused = 0;
    require_views(f);
    for (int step = 1; more; step++) {
        create_target(f);
        int descriptors = open_descriptor_count();
        void *target = open_target(f);
        faults_fail_nth(step, ENOMEM);
        refused += view_bytes(f, target, true, ARENA_BYTES, PAGE_BYTES) == NULL;
        more = faults_fired();
        faults_fail_nth(0, 0);
        assert_int_equal(use_bytes(f, target, ARENA_BYTES, PAGES * PAGE_BYTES, 3), 0);
        f->ops->close(target);
        assert_int_equal(open_descriptor_count(), descriptors);
    }
    assert_true(refused >= 3);
}

/* ---- what may be missing ---- */

static void test_without_populate(void **state)
{
    const struct fixture *f = *state;
    create_target(f);
    void *target = open_target(f);
    faults_refuse_advice(EINVAL);
    int rc = use_bytes(f, target, 0, PAGES * PAGE_BYTES, 1);
    void *view = view_bytes(f, target, true, ARENA_BYTES, PAGE_BYTES);
    int refused = faults_advice_refused();
    faults_refuse_advice(0);
    assert_int_equal(rc, 0);
    assert_true(refused <= 1); /* asked once, not with every transfer */
    if (refused > 0)
        assert_null(view);
    f->ops->close(target);
}

static int use_without_address_space(const struct fixture *f)
{
    struct rlimit limit = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20}; /* less than is in use */
    void *early, *late;
    CHILD_CHECK(f->ops->open(&f->spec, &early) == 0);
    void *block = malloc(1 << 16); /* what open needs is in the heap then */
    free(block);
    CHILD_CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    CHILD_CHECK(f->ops->open(&f->spec, &late) == 0);
    CHILD_CHECK(use_bytes(f, early, 0, PAGES * PAGE_BYTES, 1) == 0);
    CHILD_CHECK(use_bytes(f, late, ARENA_BYTES, PAGES * PAGE_BYTES, 1) == 0);
    CHILD_CHECK(!view_bytes(f, early, true, 0, PAGE_BYTES));
    CHILD_CHECK(!view_bytes(f, late, true, 0, PAGE_BYTES));
    f->ops->close(early);
    f->ops->close(late);
    return 0;
}

static void test_without_address_space(void **state)
{
    const struct fixture *f = *state;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    skip(); /* the sanitizer takes address space of its own */
#endif
    create_target(f);
    /* Thread-local memory and the like come into being before the limit does. */
    void *target = open_target(f);
    assert_int_equal(use_bytes(f, target, 0, PAGES * PAGE_BYTES, 2), 0);
    f->ops->close(target);
    require_child(use_without_address_space, f);
}

/* A program that locks its memory must not take that of arenas it does not use. */
static int use_with_memory_locked(const struct fixture *f)
{
    char arena[PATH_MAX + 16];
    struct stat status;
    void *target;
    if (!f->ops->view || mlockall(MCL_FUTURE) != 0)
        return EXIT_SKIP;
    CHILD_CHECK(f->ops->open(&f->spec, &target) == 0);
    CHILD_CHECK(use_bytes(f, target, 0, PAGE_BYTES, 1) == 0);
    snprintf(arena, sizeof arena, "%s/arena.0", f->path);
    if (stat(arena, &status) == 0)
        CHILD_CHECK(status.st_blocks * 512 <= 16 * PAGE_BYTES);
    f->ops->close(target);
    return 0;
}

static void test_with_memory_locked(void **state)
{
    const struct fixture *f = *state;
    create_target(f);
    require_child(use_with_memory_locked, f);
}

/* ---- several users ---- */

static void *inherited;

static int use_inherited(const struct fixture *f)
{
    CHILD_CHECK(check_used(f, inherited, 0, PAGES * PAGE_BYTES, 1) == 0);
    CHILD_CHECK(use_bytes(f, inherited, 0, PAGES * PAGE_BYTES, 50) == 0);
    unsigned char *view = view_bytes(f, inherited, true, ARENA_BYTES, PAGE_BYTES);
    if (view)
        fill_pattern(view, PAGE_BYTES, ARENA_BYTES, 60 + USES - 1);
    else
        CHILD_CHECK(use_bytes(f, inherited, ARENA_BYTES, PAGE_BYTES, 60) == 0);
    return 0;
}

/* What the parent warmed is not warm in the child; both see each other's bytes. */
static void test_forked_child_goes_on(void **state)
{
    const struct fixture *f = *state;
    create_target(f);
    inherited = open_target(f);
    assert_int_equal(use_bytes(f, inherited, 0, PAGES * PAGE_BYTES, 1), 0);
    assert_int_equal(run_child(use_inherited, f), 0);
    assert_int_equal(check_used(f, inherited, 0, PAGES * PAGE_BYTES, 50), 0);
    assert_int_equal(check_used(f, inherited, ARENA_BYTES, PAGE_BYTES, 60), 0);
    f->ops->close(inherited);
}

/* Each in turn cold, used and warm on either side. */
static void test_cold_and_warm_users_agree(void **state)
{
    const struct fixture *f = *state;
    create_target(f);
    void *warm = open_target(f);
    assert_int_equal(use_bytes(f, warm, 0, PAGES * PAGE_BYTES, 1), 0);
    void *cold = open_target(f);
    for (uint64_t round = 2; round < 2 + USES; round++) {
        assert_int_equal(check_used(f, cold, 0, PAGES * PAGE_BYTES, round - 1), 0);
        assert_int_equal(use_bytes(f, warm, 0, PAGES * PAGE_BYTES, round), 0);
    }
    assert_int_equal(use_bytes(f, cold, 0, PAGES * PAGE_BYTES, 9), 0);
    assert_int_equal(check_used(f, warm, 0, PAGES * PAGE_BYTES, 9), 0);
    f->ops->close(cold);
    f->ops->close(warm);
}

struct user {
    const struct fixture *f;
    void *target;
    pthread_barrier_t *start;
    uint64_t number;
    int rc;
};

/* Threads warm the same 64 KiB at once, each using pages of its own. */
static void *use_own_pages(void *opaque)
{
    struct user *user = opaque;
    for (uint64_t round = 0; round < ROUNDS && user->rc == 0; round++) {
        uint64_t offset = (round * THREADS + user->number) * PAGE_BYTES;
        pthread_barrier_wait(user->start);
        user->rc = use_bytes(user->f, user->target, offset, PAGE_BYTES, round);
    }
    return NULL;
}

static void test_threads_warm_at_once(void **state)
{
    const struct fixture *f = *state;
    pthread_barrier_t start;
    pthread_t threads[THREADS];
    struct user users[THREADS];
    create_target(f);
    void *target = open_target(f);
    assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (uint64_t i = 0; i < THREADS; i++) {
        users[i] = (struct user){.f = f, .target = target, .start = &start, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, use_own_pages, &users[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(users[i].rc, 0);
    for (uint64_t page = 0; page < ROUNDS * THREADS; page++)
        assert_int_equal(check_used(f, target, page * PAGE_BYTES, PAGE_BYTES, page / THREADS), 0);
    f->ops->close(target);
}

/* ---- no memory left ---- */

static int fill_file_system(const char *path)
{
    static const char block[PAGE_BYTES];
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    CHILD_CHECK(fd >= 0);
    while (write(fd, block, sizeof block) > 0)
        continue;
    CHILD_CHECK(errno == ENOSPC);
    close(fd);
    return 0;
}

/* Pages there are go on being usable, new ones are refused, however often they are tried. */
static int use_full_file_system(const struct fixture *f)
{
    static unsigned char bytes[2 * PAGES * PAGE_BYTES];
    const uint64_t warm = 0, once = ARENA_BYTES, hole = 2 * ARENA_BYTES;
    char ballast[PATH_MAX + 16];
    void *target;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("cte-test", f->directory, "tmpfs", 0, "size=9m") != 0)
        return EXIT_SKIP;
    CHILD_CHECK(f->ops->create(&f->spec) == 0);
    CHILD_CHECK(f->ops->open(&f->spec, &target) == 0);
    CHILD_CHECK(use_bytes(f, target, warm, PAGES * PAGE_BYTES, 1) == 0);
    CHILD_CHECK(write_bytes(f, target, once, bytes, PAGES * PAGE_BYTES) == 0);
    CHILD_CHECK(use_bytes(f, target, hole + ARENA_BYTES / 2, PAGE_BYTES, 1) == 0);
    snprintf(ballast, sizeof ballast, "%s/ballast", f->directory);
    CHILD_CHECK(fill_file_system(ballast) == 0);
    for (int round = 0; round < USES; round++) {
        CHILD_CHECK(use_bytes(f, target, warm, PAGES * PAGE_BYTES, 2) == 0);
        CHILD_CHECK(use_bytes(f, target, once, PAGES * PAGE_BYTES, 3) == 0);
        CHILD_CHECK(read_bytes(f, target, hole, bytes, sizeof bytes) == 0);
        for (size_t i = 0; i < sizeof bytes; i++)
            CHILD_CHECK(bytes[i] == 0);
        /* A backend may have reserved what it needs: then nothing is refused. */
        cte_status rc = write_bytes(f, target, hole, bytes, PAGES * PAGE_BYTES);
        CHILD_CHECK(rc == 0 || rc == -ENOSPC);
        CHILD_CHECK(rc == 0 || !view_bytes(f, target, true, hole, PAGE_BYTES));
        CHILD_CHECK(write_bytes(f, target, warm, bytes, sizeof bytes) == rc); /* half is there */
        CHILD_CHECK(!f->ops->view || view_bytes(f, target, true, warm, PAGE_BYTES));
    }
    CHILD_CHECK(unlink(ballast) == 0);
    CHILD_CHECK(use_bytes(f, target, hole, PAGES * PAGE_BYTES, 4) == 0);
    CHILD_CHECK(check_used(f, target, once, PAGES * PAGE_BYTES, 3) == 0);
    f->ops->close(target);
    return 0;
}

static void test_full_file_system_is_no_signal(void **state)
{
    require_child(use_full_file_system, *state);
}

const struct target_test target_mapped_tests[] = {
    {"mixed transfers", test_mixed_transfers},
    {"warm pages need no system call", test_warm_pages_need_no_system_call},
    {"views and transfers see each other", test_views_and_transfers_see_each_other},
    {"views outside are refused", test_views_outside_are_refused},
    {"view fails at every step", test_view_fails_at_every_step},
    {"without populate", test_without_populate},
    {"without address space", test_without_address_space},
    {"with memory locked", test_with_memory_locked},
    {"forked child goes on", test_forked_child_goes_on},
    {"cold and warm users agree", test_cold_and_warm_users_agree},
    {"threads warm at once", test_threads_warm_at_once},
    {"full file system is no signal", test_full_file_system_is_no_signal},
    {0},
};
