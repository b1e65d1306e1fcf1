/* SPDX-License-Identifier: BSD-3-Clause */
/* What is written is what is read: shapes of transfers, edges, threads, processes, deaths. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults.h"
#include "target_fixture.h"

enum {
    RANDOM_OPS = 600,
    RANDOM_IOVECS_MAX = 40,
    RANDOM_PAGES_MAX = 48,
    REOPEN_EVERY = 100,
    MANY_IOVECS = 4000,
    EMPTY_IOVECS = IOV_MAX + 1,
    WORKERS = 6,
    PAGE_COUNT = CAPACITY_BYTES / PAGE_BYTES,
};

static void test_fresh_target_reads_zeros(void **state)
{
    const struct fixture *f = *state;
    static unsigned char bytes[CAPACITY_BYTES];
    create_target(f);
    void *target = open_target(f);
    memset(bytes, 0xee, sizeof bytes);
    for (size_t offset = 0; offset < CAPACITY_BYTES; offset += ARENA_BYTES)
        assert_int_equal(read_bytes(f, target, offset, bytes + offset, ARENA_BYTES), 0);
    for (size_t i = 0; i < sizeof bytes; i++)
        if (bytes[i] != 0)
            fail_msg("byte %zu of a fresh target is %u", i, bytes[i]);
    f->ops->close(target);
}

/* Cuts `bytes` of memory into random pieces, some of them empty. */
static int cut_randomly(uint64_t *seed, unsigned char *memory, size_t bytes, struct iovec *iov)
{
    int count = 1 + (int)random_below(seed, RANDOM_IOVECS_MAX);
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        size_t length = i == count - 1 ? bytes - at : random_below(seed, bytes - at + 1);
        if (i < count - 1 && random_below(seed, 5) == 0)
            length = 0;
        iov[i] = (struct iovec){.iov_base = memory + at, .iov_len = length};
        at += length;
    }
    return count;
}

static void random_write(const struct fixture *f, void *target, uint64_t *seed,
                         unsigned char *model)
{
    struct iovec iov[RANDOM_IOVECS_MAX];
    uint64_t arena = random_below(seed, ARENA_COUNT) * ARENA_BYTES;
    uint64_t first = random_below(seed, ARENA_BYTES / PAGE_BYTES);
    uint64_t pages = 1 + random_below(seed, RANDOM_PAGES_MAX);
    if (first + pages > ARENA_BYTES / PAGE_BYTES)
        pages = ARENA_BYTES / PAGE_BYTES - first;
    struct cte__target_io io = {.write = true,
                                .offset = arena + first * PAGE_BYTES,
                                .iov = iov,
                                .bytes = pages * PAGE_BYTES};
    fill_pattern(model + io.offset, io.bytes, io.offset, random_next(seed));
    io.iov_count = cut_randomly(seed, model + io.offset, io.bytes, iov);
    assert_int_equal(f->ops->io(target, &io), 0);
}

static void random_read(const struct fixture *f, void *target, uint64_t *seed,
                        const unsigned char *model)
{
    static unsigned char memory[ARENA_BYTES + 2];
    struct iovec iov[RANDOM_IOVECS_MAX];
    uint64_t inside = random_below(seed, ARENA_BYTES);
    struct cte__target_io io = {.offset = random_below(seed, ARENA_COUNT) * ARENA_BYTES + inside,
                                .iov = iov,
                                .bytes = 1 + random_below(seed, ARENA_BYTES - inside)};
    memset(memory, 0xee, sizeof memory);
    io.iov_count = cut_randomly(seed, memory + 1, io.bytes, iov);
    assert_int_equal(f->ops->io(target, &io), 0);
    assert_memory_equal(memory + 1, model + io.offset, io.bytes);
    assert_int_equal(memory[0], 0xee);
    assert_int_equal(memory[1 + io.bytes], 0xee);
}

static void compare_all(const struct fixture *f, void *target, const unsigned char *model)
{
    static unsigned char bytes[ARENA_BYTES];
    for (uint64_t offset = 0; offset < CAPACITY_BYTES; offset += ARENA_BYTES) {
        assert_int_equal(read_bytes(f, target, offset, bytes, ARENA_BYTES), 0);
        assert_memory_equal(bytes, model + offset, ARENA_BYTES);
    }
}

static void run_random_ops(const struct fixture *f)
{
    static unsigned char model[CAPACITY_BYTES];
    uint64_t seed = random_seed();
    memset(model, 0, sizeof model);
    create_target(f);
    void *target = open_target(f);
    for (int i = 1; i <= RANDOM_OPS; i++) {
        if (random_below(&seed, 2) == 0)
            random_write(f, target, &seed, model);
        else
            random_read(f, target, &seed, model);
        if (i % REOPEN_EVERY == 0) {
            assert_int_equal(f->ops->sync(target), 0);
            f->ops->close(target);
            target = open_target(f);
        }
    }
    compare_all(f, target, model);
    f->ops->close(target);
}

static void test_random_round_trips(void **state)
{
    run_random_ops(*state);
}

static void test_interrupted_and_short_transfers(void **state)
{
    const struct fixture *f = *state;
    faults_disturb_io(4);
    run_random_ops(f);
    int disturbed = faults_disturbed();
    faults_disturb_io(0);
    if (!(f->ops->capabilities & CTE__TARGET_BY_MEMORY)) /* copies in memory are neither */
        assert_true(disturbed > RANDOM_OPS / 4);
}

static void test_more_iovecs_than_the_kernel_takes(void **state)
{
    const struct fixture *f = *state;
    static unsigned char out[MANY_IOVECS * 8 / PAGE_BYTES * PAGE_BYTES + PAGE_BYTES];
    static unsigned char in[sizeof out];
    static struct iovec iov[MANY_IOVECS];
    create_target(f);
    void *target = open_target(f);
    fill_pattern(out, sizeof out, 0, 1);
    /* Backwards in memory; the first ones and then every second one empty. */
    size_t left = sizeof out;
    for (int i = 0; i < MANY_IOVECS; i++) {
        size_t length = i < EMPTY_IOVECS ? 0 : (size_t)(i % 2 * 8);
        if (i == MANY_IOVECS - 1)
            length = left;
        left -= length;
        iov[i] = (struct iovec){.iov_base = out + left, .iov_len = length};
    }
    assert_int_equal(left, 0);
    struct cte__target_io io = {
        .write = true, .iov = iov, .iov_count = MANY_IOVECS, .bytes = sizeof out};
    assert_int_equal(f->ops->io(target, &io), 0);
    for (int i = 0; i < MANY_IOVECS; i++)
        iov[i].iov_base = in + ((unsigned char *)iov[i].iov_base - out);
    io.write = false;
    assert_int_equal(f->ops->io(target, &io), 0);
    assert_memory_equal(in, out, sizeof out);
    f->ops->close(target);
}

static void test_edges_of_arenas(void **state)
{
    const struct fixture *f = *state;
    unsigned char out[PAGE_BYTES];
    unsigned char in[PAGE_BYTES];
    create_target(f);
    void *target = open_target(f);
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t arena = 0; arena < ARENA_COUNT; arena++) {
            uint64_t edges[] = {arena * ARENA_BYTES, (arena + 1) * ARENA_BYTES - PAGE_BYTES};
            for (int i = 0; i < 2; i++) {
                fill_pattern(out, sizeof out, edges[i], 3);
                if (pass == 0)
                    assert_int_equal(write_bytes(f, target, edges[i], out, sizeof out), 0);
                assert_int_equal(read_bytes(f, target, edges[i], in, sizeof in), 0);
                assert_memory_equal(in, out, sizeof in);
            }
        }
    }
    f->ops->close(target);
}

static void refuse_io(const struct fixture *f, void *target, struct cte__target_io io)
{
    static unsigned char memory[2 * ARENA_BYTES];
    struct iovec iov = {.iov_base = memory, .iov_len = io.bytes};
    if (!io.iov) {
        io.iov = &iov;
        io.iov_count = 1;
    }
    memset(memory, 0xee, sizeof memory);
    assert_int_equal(f->ops->io(target, &io), -EINVAL);
    assert_int_equal(memory[0], 0xee);
}

static void test_transfers_outside_are_refused(void **state)
{
    const struct fixture *f = *state;
    static unsigned char model[CAPACITY_BYTES];
    unsigned char byte[2 * PAGE_BYTES] = {0};
    struct iovec iov = {.iov_base = byte, .iov_len = sizeof byte};
    create_target(f);
    void *target = open_target(f);
    for (int write = 0; write < 2; write++) {
        struct cte__target_io io = {.write = write, .bytes = PAGE_BYTES};
        uint64_t outside[] = {CAPACITY_BYTES, CAPACITY_BYTES + PAGE_BYTES, UINT64_MAX - 4095,
                              (uint64_t)1 << 63};
        for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
            io.offset = outside[i];
            refuse_io(f, target, io);
        }
        io.offset = ARENA_BYTES - PAGE_BYTES; /* over the edge of an arena */
        io.bytes = 2 * PAGE_BYTES;
        refuse_io(f, target, io);
        io.offset = CAPACITY_BYTES - PAGE_BYTES; /* over the end */
        refuse_io(f, target, io);
        io = (struct cte__target_io){
            .write = write, .iov = &iov, .iov_count = 1, .bytes = PAGE_BYTES};
        refuse_io(f, target, io); /* iovec longer than said */
        io.bytes = 3 * PAGE_BYTES;
        refuse_io(f, target, io); /* iovec shorter than said */
        io = (struct cte__target_io){.write = write, .offset = CAPACITY_BYTES, .iov = &iov};
        assert_int_equal(f->ops->io(target, &io), 0); /* nothing, at the very end */
    }
    refuse_io(f, target, (struct cte__target_io){.write = true, .offset = 1, .bytes = PAGE_BYTES});
    refuse_io(f, target, (struct cte__target_io){.write = true, .bytes = PAGE_BYTES + 1});
    memset(model, 0, sizeof model);
    compare_all(f, target, model);
    f->ops->close(target);
    f->ops->close(open_target(f)); /* the mark is whole */
}

/* Worker w owns the pages p with p % WORKERS == w, so that all use all arenas. */
struct worker {
    const struct fixture *f;
    void *target;
    pthread_barrier_t *start;
    uint64_t number;
    int rc;
};

static int write_share(const struct fixture *f, void *target, uint64_t number)
{
    unsigned char out[PAGE_BYTES];
    unsigned char in[PAGE_BYTES];
    for (uint64_t page = number; page < PAGE_COUNT; page += WORKERS) {
        fill_pattern(out, sizeof out, page * PAGE_BYTES, number);
        if (write_bytes(f, target, page * PAGE_BYTES, out, sizeof out) != 0 ||
            read_bytes(f, target, page * PAGE_BYTES, in, sizeof in) != 0 ||
            memcmp(in, out, sizeof in) != 0)
            return 1;
    }
    return 0;
}

static void check_shares(const struct fixture *f)
{
    static unsigned char model[CAPACITY_BYTES];
    for (uint64_t page = 0; page < PAGE_COUNT; page++)
        fill_pattern(model + page * PAGE_BYTES, PAGE_BYTES, page * PAGE_BYTES, page % WORKERS);
    void *target = open_target(f);
    compare_all(f, target, model);
    f->ops->close(target);
}

static void *work(void *opaque)
{
    struct worker *w = opaque;
    pthread_barrier_wait(w->start);
    w->rc = write_share(w->f, w->target, w->number);
    return NULL;
}

static void test_many_threads(void **state)
{
    const struct fixture *f = *state;
    pthread_barrier_t start;
    pthread_t threads[WORKERS];
    struct worker workers[WORKERS];
    create_target(f);
    int descriptors = open_descriptor_count();
    void *target = open_target(f);
    assert_int_equal(pthread_barrier_init(&start, NULL, WORKERS), 0);
    for (uint64_t i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.f = f, .target = target, .start = &start, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(workers[i].rc, 0);
    f->ops->close(target);
    assert_int_equal(open_descriptor_count(), descriptors);
    check_shares(f);
}

static int process_body(const struct fixture *f, uint64_t number)
{
    void *target;
    if (f->ops->open(&f->spec, &target) != 0)
        return 1;
    int rc = write_share(f, target, number);
    f->ops->close(target);
    return rc;
}

static void test_many_processes(void **state)
{
    const struct fixture *f = *state;
    pid_t pids[WORKERS];
    create_target(f);
    fflush(NULL);
    for (uint64_t i = 0; i < WORKERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            _exit(process_body(f, i));
    }
    int failed = 0;
    for (int i = 0; i < WORKERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        failed += status != 0;
    }
    assert_int_equal(failed, 0);
    check_shares(f);
}

/* A state made before fork serves the child too. */
static void *inherited;

static int write_inherited(const struct fixture *f)
{
    unsigned char out[PAGE_BYTES];
    fill_pattern(out, sizeof out, ARENA_BYTES, 5);
    CHILD_CHECK(write_bytes(f, inherited, ARENA_BYTES, out, sizeof out) == 0);
    kill(getpid(), SIGKILL);
    return 1;
}

static void test_written_bytes_survive_a_killed_process(void **state)
{
    const struct fixture *f = *state;
    unsigned char expected[PAGE_BYTES];
    unsigned char in[PAGE_BYTES];
    assert_true(f->ops->capabilities & CTE__TARGET_SURVIVES_PROCESS);
    create_target(f);
    inherited = open_target(f);
    assert_int_equal(run_child(write_inherited, f), 128 + SIGKILL);
    fill_pattern(expected, sizeof expected, ARENA_BYTES, 5);
    assert_int_equal(read_bytes(f, inherited, ARENA_BYTES, in, sizeof in), 0);
    assert_memory_equal(in, expected, sizeof in);
    f->ops->close(inherited);
    void *target = open_target(f);
    assert_int_equal(read_bytes(f, target, ARENA_BYTES, in, sizeof in), 0);
    assert_memory_equal(in, expected, sizeof in);
    f->ops->close(target);
}

/* A thread transfers all the time, while this one forks and the children transfer too. */
static atomic_bool forking;

static void *transfer_while_forking(void *opaque)
{
    struct worker *w = opaque;
    pthread_barrier_wait(w->start);
    do
        w->rc |= write_share(w->f, w->target, w->number);
    while (forking);
    return NULL;
}

static int write_share_inherited(const struct fixture *f)
{
    return write_share(f, inherited, 1);
}

static void test_forks_while_transferring(void **state)
{
    enum { FORKS = 8 };
    const struct fixture *f = *state;
    pthread_barrier_t start;
    pthread_t thread;
    create_target(f);
    inherited = open_target(f);
    struct worker worker = {.f = f, .target = inherited, .start = &start, .number = 0};
    assert_int_equal(pthread_barrier_init(&start, NULL, 2), 0);
    forking = true;
    assert_int_equal(pthread_create(&thread, NULL, transfer_while_forking, &worker), 0);
    pthread_barrier_wait(&start);
    int failed = 0;
    for (int i = 0; i < FORKS; i++)
        failed += run_child(write_share_inherited, f) != 0;
    forking = false;
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&start);
    assert_int_equal(failed, 0);
    assert_int_equal(worker.rc, 0);
    assert_int_equal(write_share(f, inherited, 2), 0);
    f->ops->close(inherited);
}

static int take_all_descriptors(void)
{
    struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return -1;
    while (dup(STDERR_FILENO) >= 0)
        continue;
    return errno == EMFILE ? 0 : -1;
}

static int io_without_descriptors(const struct fixture *f)
{
    void *target;
    unsigned char out[PAGE_BYTES];
    unsigned char in[PAGE_BYTES];
    CHILD_CHECK(f->ops->open(&f->spec, &target) == 0);
    CHILD_CHECK(take_all_descriptors() == 0);
    for (int round = 0; round < 2; round++) {
        for (uint64_t offset = 0; offset < CAPACITY_BYTES; offset += ARENA_BYTES) {
            CHILD_CHECK(read_bytes(f, target, offset, in, sizeof in) == 0);
            CHILD_CHECK(round > 0 || (in[0] == 0 && in[PAGE_BYTES - 1] == 0));
            fill_pattern(out, sizeof out, offset, (uint64_t)round);
            CHILD_CHECK(write_bytes(f, target, offset, out, sizeof out) == 0);
            CHILD_CHECK(read_bytes(f, target, offset, in, sizeof in) == 0);
            CHILD_CHECK(memcmp(in, out, sizeof in) == 0);
        }
    }
    f->ops->close(target);
    return 0;
}

static void test_io_goes_on_without_descriptors(void **state)
{
    const struct fixture *f = *state;
    create_target(f);
    require_child(io_without_descriptors, f);
}

/* Many arenas must not use up the descriptors that the program may want. */
static int count_descriptors_of_many_arenas(const struct fixture *f)
{
    enum { ARENAS = 120, LIMIT = 256, SHARE_MAX = LIMIT / 4 };
    struct rlimit limit = {.rlim_cur = LIMIT, .rlim_max = LIMIT};
    struct cte__target_spec spec = f->spec;
    unsigned char out[PAGE_BYTES];
    unsigned char in[PAGE_BYTES];
    void *target;
    spec.capacity_bytes = (uint64_t)ARENAS * ARENA_BYTES;
    CHILD_CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHILD_CHECK(f->ops->create(&spec) == 0);
    int before = open_descriptor_count();
    CHILD_CHECK(f->ops->open(&spec, &target) == 0);
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t offset = 0; offset < spec.capacity_bytes; offset += ARENA_BYTES) {
            fill_pattern(out, sizeof out, offset, 11);
            CHILD_CHECK(pass > 0 || write_bytes(f, target, offset, out, sizeof out) == 0);
            CHILD_CHECK(read_bytes(f, target, offset, in, sizeof in) == 0);
            CHILD_CHECK(memcmp(in, out, sizeof in) == 0);
        }
    }
    CHILD_CHECK(open_descriptor_count() - before <= SHARE_MAX);
    f->ops->close(target);
    CHILD_CHECK(open_descriptor_count() == before);
    return 0;
}

static void test_descriptors_are_shared_with_the_program(void **state)
{
    require_child(count_descriptors_of_many_arenas, *state);
}

/* A program that closed descriptor 1 must not find its output in a target later. */
static int keep_off_standard_descriptors(const struct fixture *f)
{
    unsigned char page[PAGE_BYTES] = {1};
    void *target;
    int saved_stderr = dup(STDERR_FILENO);
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        close(fd);
    bool failed = f->ops->create(&f->spec) != 0 || f->ops->open(&f->spec, &target) != 0 ||
                  write_bytes(f, target, 0, page, sizeof page) != 0;
    bool taken = false;
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        taken |= fcntl(fd, F_GETFD) >= 0;
    dup2(saved_stderr, STDERR_FILENO);
    CHILD_CHECK(!failed);
    CHILD_CHECK(!taken);
    return 0;
}

static void test_standard_descriptors_are_left_alone(void **state)
{
    require_child(keep_off_standard_descriptors, *state);
}

static void test_create_replaces_leftovers(void **state)
{
    struct fixture *f = *state;
    unsigned char page[PAGE_BYTES];
    unsigned char zeros[PAGE_BYTES] = {0};
    uint64_t capacities[] = {CAPACITY_BYTES, CAPACITY_BYTES / 2, CAPACITY_BYTES * 2, ARENA_BYTES};
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
        f->spec.capacity_bytes = capacities[i];
        create_target(f);
        void *target = open_target(f);
        uint64_t ends[] = {0, capacities[i] - PAGE_BYTES};
        for (int e = 0; e < 2; e++) {
            assert_int_equal(read_bytes(f, target, ends[e], page, sizeof page), 0);
            assert_memory_equal(page, zeros, sizeof page);
        }
        memset(page, 0xaa, sizeof page);
        for (int e = 0; e < 2; e++)
            assert_int_equal(write_bytes(f, target, ends[e], page, sizeof page), 0);
        f->ops->close(target);
    }
}

static void test_destroy_removes_everything(void **state)
{
    const struct fixture *f = *state;
    unsigned char page[PAGE_BYTES] = {1};
    assert_int_equal(f->ops->destroy(&f->spec), 0); /* nothing there */
    for (int round = 0; round < 2; round++) {
        create_target(f);
        void *target = open_target(f);
        assert_int_equal(write_bytes(f, target, ARENA_BYTES, page, sizeof page), 0);
        f->ops->close(target);
        assert_int_equal(f->ops->destroy(&f->spec), 0);
        assert_false(path_exists(f->path));
        assert_int_equal(rmdir(f->directory), 0); /* nothing beside it either */
        assert_int_equal(f->ops->destroy(&f->spec), 0);
        assert_int_equal(mkdir(f->directory, 0755), 0);
    }
    f->ops->close(NULL);
}

static void test_backing_is_private(void **state)
{
    const struct fixture *f = *state;
    mode_t umask_before = umask(0);
    cte_status rc = f->ops->create(&f->spec);
    umask(umask_before);
    struct stat status;
    assert_int_equal(rc, 0);
    assert_int_equal(lstat(f->path, &status), 0);
    assert_int_equal(status.st_mode & 07777, S_ISDIR(status.st_mode) ? 0700 : 0600);
}

const struct target_test target_contents_tests[] = {
    {"fresh target reads zeros", test_fresh_target_reads_zeros},
    {"random round trips", test_random_round_trips},
    {"interrupted and short transfers", test_interrupted_and_short_transfers},
    {"more iovecs than the kernel takes", test_more_iovecs_than_the_kernel_takes},
    {"edges of arenas", test_edges_of_arenas},
    {"transfers outside are refused", test_transfers_outside_are_refused},
    {"many threads", test_many_threads},
    {"many processes", test_many_processes},
    {"written bytes survive a killed process", test_written_bytes_survive_a_killed_process},
    {"forks while transferring", test_forks_while_transferring},
    {"io goes on without descriptors", test_io_goes_on_without_descriptors},
    {"descriptors are shared with the program", test_descriptors_are_shared_with_the_program},
    {"standard descriptors are left alone", test_standard_descriptors_are_left_alone},
    {"create replaces leftovers", test_create_replaces_leftovers},
    {"destroy removes everything", test_destroy_removes_everything},
    {"backing is private", test_backing_is_private},
    {0},
};
