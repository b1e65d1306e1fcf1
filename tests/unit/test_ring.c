/* SPDX-License-Identifier: BSD-3-Clause */
/* The telemetry ring: several processes write, are killed, and are read; every claim is returned or
 * counted. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "store_helpers.h"
#include "telemetry/ring_internal.h"

enum { ENTRIES = 64, BATCH = 32 };

struct shared {
    _Atomic uint64_t done; /* entries that writers finished */
    _Atomic int stop;
};

struct fixture {
    struct cte__ring ring;
    void *block;
    uint64_t bytes;
    struct shared *shared;
    cte_status back_status;
    _Atomic int back_calls;
    cte_telemetry_entry entries[8192];
};

static cte_status back(void *context, uint64_t offset, uint64_t bytes)
{
    struct fixture *f = context;
    assert_true(offset >= cte__ring_fixed_bytes() && offset + bytes <= f->bytes);
    f->back_calls++;
    return f->back_status;
}

static void *shared_memory(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

static void set_up(struct fixture *f, uint32_t entries)
{
    *f = (struct fixture){.bytes = cte__ring_bytes(entries)};
    f->block = shared_memory(f->bytes);
    f->shared = shared_memory(sizeof *f->shared);
    cte__ring_format(f->block, entries);
    assert_true(cte__ring_open(&f->ring, f->block, f->bytes, true, back, f));
}

static void tear_down(struct fixture *f)
{
    cte__ring_close(&f->ring);
    munmap(f->block, f->bytes);
    munmap(f->shared, sizeof *f->shared);
}

/* Of no target, one, or two: then it is said to be none. */
static uint32_t target_of(uint64_t number)
{
    uint64_t first = number % 7, second = number % 5;
    bool none = first == 0 || (first > 3 && first != second);
    return none ? CTE_TELEMETRY_NO_TARGET : (uint32_t)first;
}

/* An entry whose every field follows from the writer and a number, so that a mixture is seen. */
static void append(struct fixture *f, uint64_t identity, uint64_t number)
{
    uint64_t seed = identity << 32 | number;
    struct cte__ring_event event = {
        .op = (uint8_t)(number % 19),
        .status = -(cte_status)(number % 5),
        .offset = seed,
        .size = test_random(&seed),
        .tag_id = test_random(&seed),
        .blob_id = test_random(&seed),
    };
    uint64_t start = cte__ring_begin(&f->ring);
    assert_true(start != 0);
    if (number % 7 != 0)
        cte__ring_note_target((uint32_t)number % 7);
    if (number % 7 > 3)
        cte__ring_note_target((uint32_t)number % 5);
    uint64_t modified_ns = test_random(&seed), read_ns = test_random(&seed);
    cte__ring_note_times(modified_ns, read_ns);
    cte__ring_end(&f->ring, identity, start, &event);
}

static void check_entry(const cte_telemetry_entry *entry)
{
    uint64_t seed = entry->offset, number = seed & UINT32_MAX;
    assert_int_equal(entry->op, number % 19);
    assert_int_equal(entry->target, target_of(number));
    assert_int_equal(entry->status, -(int)(number % 5));
    assert_true(entry->size == test_random(&seed));
    assert_true(((uint64_t)entry->tag_id.major << 32 | entry->tag_id.minor) == test_random(&seed));
    assert_true(((uint64_t)entry->blob_id.major << 32 | entry->blob_id.minor) ==
                test_random(&seed));
    assert_true(entry->modified_ns == test_random(&seed));
    assert_true(entry->read_ns == test_random(&seed));
}

static size_t poll_checked(struct fixture *f, uint64_t *after, size_t capacity, uint64_t *dropped)
{
    size_t count;
    uint64_t lost, first = *after;
    assert_int_equal(cte__ring_poll(&f->ring, *after, f->entries, capacity, &count, &lost), CTE_OK);
    assert_true(count <= capacity);
    for (size_t i = 0; i < count; i++) {
        check_entry(&f->entries[i]);
        assert_true(f->entries[i].logical_time > *after);
        *after = f->entries[i].logical_time;
    }
    *dropped = first == 0 ? lost : *dropped + lost; /* from 0 on, all that ever was is counted */
    return count;
}

static uint64_t claims(const struct fixture *f)
{
    uint64_t sum = 0;
    for (int i = 0; i < CTE__RING_LANES; i++)
        sum += atomic_load(&f->ring.block->lanes[i].head);
    return sum;
}

static void test_returns_what_was_written(void **state)
{
    struct fixture *f = *state;
    uint64_t after = 0, dropped = 0;
    set_up(f, ENTRIES);
    assert_int_equal(poll_checked(f, &after, 10, &dropped), 0);
    for (uint64_t i = 0; i < 10; i++)
        append(f, 1, i);
    assert_int_equal(poll_checked(f, &after, 4, &dropped), 4);
    assert_int_equal(f->entries[0].offset & UINT32_MAX, 0);
    assert_int_equal(f->entries[3].offset & UINT32_MAX, 3);
    assert_int_equal(f->entries[3].pid, getpid());
    assert_true(f->entries[3].duration_ns < 1000000000);
    assert_int_equal(poll_checked(f, &after, 100, &dropped), 6);
    assert_int_equal(poll_checked(f, &after, 100, &dropped), 0);
    append(f, 1, 10);
    assert_int_equal(poll_checked(f, &after, 100, &dropped), 1);
    assert_int_equal(dropped, 0);
    assert_int_equal(f->back_calls, 1);
    tear_down(f);
}

static void test_counts_what_was_overwritten(void **state)
{
    struct fixture *f = *state;
    uint64_t after = 0, dropped = 0;
    set_up(f, ENTRIES);
    for (uint64_t i = 0; i < 1000; i++)
        append(f, 1, i);
    assert_int_equal(poll_checked(f, &after, 8192, &dropped), ENTRIES);
    assert_int_equal(dropped, 1000 - ENTRIES);
    for (uint64_t i = 1000; i < 1000 + ENTRIES + 5; i++)
        append(f, 1, i);
    dropped = 0;
    uint64_t other = after;
    assert_int_equal(poll_checked(f, &after, 8192, &dropped), ENTRIES);
    assert_int_equal(dropped, 5);
    /* A reader that nobody knows learns of all that may have been lost. */
    memset(f->ring.cursors, 0, sizeof f->ring.cursors);
    dropped = 0;
    assert_int_equal(poll_checked(f, &other, 8192, &dropped), ENTRIES);
    assert_int_equal(dropped, 1000 + 5);
    /* And of nothing if nothing can have been. */
    memset(f->ring.cursors, 0, sizeof f->ring.cursors);
    other = f->entries[10].logical_time;
    dropped = 0;
    assert_int_equal(poll_checked(f, &other, 8192, &dropped), ENTRIES - 11);
    assert_int_equal(dropped, 0);
    tear_down(f);
}

/* A claim that nobody publishes is passed, counted once, and blocks nobody. */
static void test_counts_what_the_dead_claimed(void **state)
{
    struct fixture *f = *state;
    uint64_t after = 0, dropped = 0;
    set_up(f, ENTRIES);
    append(f, 1, 0);
    atomic_fetch_add(&f->ring.block->lanes[1].head, 1);
    append(f, 1, 1);
    struct cte__ring_slot *slot = cte__ring_slot_at(&f->ring, 1, 2);
    assert_int_equal(atomic_load(&slot->sequence), 6);
    atomic_fetch_add(&slot->words[CTE__RING_SIZE], 1); /* a mixture */
    append(f, 1, 2);
    assert_int_equal(poll_checked(f, &after, 1, &dropped), 1);
    assert_int_equal(poll_checked(f, &after, 8, &dropped), 1);
    assert_int_equal(f->entries[0].offset & UINT32_MAX, 2);
    assert_int_equal(dropped, 2);
    assert_int_equal(poll_checked(f, &after, 8, &dropped), 0);
    assert_int_equal(dropped, 2);
    for (uint64_t i = 3; i < 3 + 2 * ENTRIES; i++)
        append(f, 1, i);
    assert_int_equal(poll_checked(f, &after, 8192, &dropped), ENTRIES);
    assert_int_equal(dropped, 2 + ENTRIES);
    tear_down(f);
}

static void test_counts_what_has_no_memory(void **state)
{
    struct fixture *f = *state;
    uint64_t after = 0, dropped = 0;
    set_up(f, ENTRIES);
    f->back_status = -ENOSPC;
    for (uint64_t i = 0; i < 100; i++)
        append(f, 1, i);
    assert_int_equal(f->back_calls, 1);
    assert_int_equal(poll_checked(f, &after, 8192, &dropped), 0);
    assert_int_equal(dropped, 100);
    f->back_status = CTE_OK;
    for (uint64_t i = 100; i < 4097; i++)
        append(f, 1, i);
    dropped = 0;
    assert_int_equal(poll_checked(f, &after, 8192, &dropped), 1);
    assert_int_equal(dropped, 4096);
    append(f, 1, 4097);
    dropped = 0;
    assert_int_equal(poll_checked(f, &after, 8192, &dropped), 1);
    assert_int_equal(dropped, 0);
    tear_down(f);
}

static void test_refuses_what_is_no_ring(void **state)
{
    struct fixture *f = *state;
    set_up(f, ENTRIES);
    struct cte__ring other;
    f->ring.block->entries = 63;
    assert_false(cte__ring_open(&other, f->block, f->bytes, true, back, f));
    f->ring.block->entries = ENTRIES * 2;
    assert_false(cte__ring_open(&other, f->block, f->bytes, true, back, f));
    f->ring.block->entries = CTE__RING_ENTRIES_MAX * 2;
    assert_false(cte__ring_open(&other, f->block, f->bytes, true, back, f));
    tear_down(f);
}

/* ---- several processes ---------------------------------------------------------------------- */

static pid_t start_writer(struct fixture *f, uint64_t identity, uint64_t count)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    for (uint64_t i = 0; i < count && !atomic_load(&f->shared->stop); i++) {
        append(f, identity, i);
        atomic_fetch_add(&f->shared->done, 1);
    }
    _exit(0);
}

static void wait_for(pid_t pid, int signal_expected)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (signal_expected == 0)
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* One reader that keeps up badly; in the end all claims are accounted for. */
static void test_accounts_for_all(void **state)
{
    enum { WRITERS = 4, EACH = 50000 };
    struct fixture *f = *state;
    uint64_t after = 0, dropped = 0, seen = 0, next[WRITERS] = {0};
    pid_t pids[WRITERS];
    set_up(f, 1024);
    for (int i = 0; i < WRITERS; i++)
        pids[i] = start_writer(f, (uint64_t)i + 1, EACH);
    while (atomic_load(&f->shared->done) < WRITERS * EACH || claims(f) > seen + dropped) {
        size_t count = poll_checked(f, &after, 1000, &dropped);
        seen += count;
        for (size_t i = 0; i < count; i++) { /* the order of each writer is kept */
            uint64_t writer = f->entries[i].offset >> 32,
                     number = f->entries[i].offset & UINT32_MAX;
            assert_in_range(writer, 1, WRITERS);
            assert_true(number >= next[writer - 1]);
            assert_int_equal(f->entries[i].pid, pids[writer - 1]);
            next[writer - 1] = number + 1;
        }
    }
    for (int i = 0; i < WRITERS; i++)
        wait_for(pids[i], 0);
    assert_int_equal(seen + dropped, WRITERS * EACH);
    assert_true(seen >= 1024);
    tear_down(f);
}

/* All writers in one lane, with many laps: mixtures must not pass for entries. */
static void test_shares_a_lane(void **state)
{
    enum { WRITERS = 3, EACH = 30000 };
    struct fixture *f = *state;
    uint64_t after = 0, dropped = 0, seen = 0;
    pid_t pids[WRITERS];
    set_up(f, ENTRIES);
    for (uint64_t i = 0; i < WRITERS; i++)
        pids[i] = start_writer(f, 5 + i * CTE__RING_LANES, EACH);
    while (atomic_load(&f->shared->done) < WRITERS * EACH)
        seen += poll_checked(f, &after, 20, &dropped);
    for (int i = 0; i < WRITERS; i++)
        wait_for(pids[i], 0);
    while (claims(f) > seen + dropped)
        seen += poll_checked(f, &after, 20, &dropped);
    assert_int_equal(seen + dropped, WRITERS * EACH);
    tear_down(f);
}

static void test_survives_kills(void **state)
{
    enum { ROUNDS = 60, WRITERS = 2 };
    struct fixture *f = *state;
    uint64_t after = 0, dropped = 0, seen = 0, seed = test_seed();
    set_up(f, ENTRIES);
    for (int round = 0; round < ROUNDS; round++) {
        pid_t pids[WRITERS];
        for (uint64_t i = 0; i < WRITERS; i++) /* in one lane */
            pids[i] = start_writer(f, 1 + i * CTE__RING_LANES, UINT64_MAX);
        struct timespec nap = {0, (long)(test_random(&seed) % 3000000)};
        nanosleep(&nap, NULL);
        for (int i = 0; i < WRITERS; i++) {
            assert_int_equal(kill(pids[i], SIGKILL), 0);
            wait_for(pids[i], SIGKILL);
        }
        seen += poll_checked(f, &after, 8192, &dropped);
        assert_int_equal(seen + dropped, claims(f));
    }
    assert_in_range(claims(f), atomic_load(&f->shared->done),
                    atomic_load(&f->shared->done) + ROUNDS * WRITERS);
    append(f, 1, 7);
    assert_int_equal(poll_checked(f, &after, 8192, &dropped), 1);
    tear_down(f);
}

static void *write_some(void *context)
{
    struct fixture *f = context;
    for (uint64_t i = 0; i < 20000; i++)
        append(f, 3, i);
    return NULL;
}

/* Threads have lanes of their own; a reader in the same process. */
static void test_threads(void **state)
{
    enum { THREADS = 3 };
    struct fixture *f = *state;
    uint64_t after = 0, dropped = 0, seen = 0;
    pthread_t threads[THREADS];
    int lanes = 0;
    set_up(f, ENTRIES);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_some, f), 0);
    while (seen + dropped < THREADS * 20000)
        seen += poll_checked(f, &after, 1000, &dropped);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < CTE__RING_LANES; i++)
        lanes += atomic_load(&f->ring.block->lanes[i].head) == 20000;
    assert_int_equal(lanes, THREADS);
    tear_down(f);
}

/* Prints what an entry costs; a measurement is no test, so only its ring is checked. */
static void test_cost(void **state)
{
    enum { COUNT = 1000000 };
    struct fixture *f = *state;
    struct cte__ring_event event = {.size = 4096};
    set_up(f, 1024);
    for (int round = 0; round < 3; round++) {
        uint64_t start = cte__monotonic_ns();
        for (int i = 0; i < COUNT; i++)
            cte__ring_end(&f->ring, 1, cte__ring_begin(&f->ring), &event);
        print_message("%.1f ns an entry (%s)\n",
                      (double)(cte__monotonic_ns() - start) / (double)COUNT,
                      f->ring.use_tsc ? "tsc" : "clock");
    }
    assert_int_equal(claims(f), 3 * COUNT);
    tear_down(f);
}

int main(void)
{
    static struct fixture fixture;
#define TEST(function)                                                                             \
    {                                                                                              \
#function, function, NULL, NULL, &fixture                                                  \
    }
    const struct CMUnitTest tests[] = {
        TEST(test_returns_what_was_written),
        TEST(test_counts_what_was_overwritten),
        TEST(test_counts_what_the_dead_claimed),
        TEST(test_counts_what_has_no_memory),
        TEST(test_refuses_what_is_no_ring),
        TEST(test_accounts_for_all),
        TEST(test_shares_a_lane),
        TEST(test_survives_kills),
        TEST(test_threads),
        TEST(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
