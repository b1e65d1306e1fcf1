/* SPDX-License-Identifier: BSD-3-Clause */
/* The allocator against a model: an array that says who owns what. */
#include "store_helpers.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/util.h"
#include "store/arena.h"
#include "store/mutex.h"

enum { UNITS = 1024, OPERATIONS = 20000, OWNERS = 5, PROCESSES = 4, TURNS = 4000 };

struct shared_arena {
    struct cte__arena arena;
    _Atomic uint16_t owners[UNITS];
    uint64_t bitmap[UNITS / 64];
    _Atomic uint32_t stamps[UNITS]; /* who uses a unit, for tests with processes */
};

static struct cte__arena_view view_make(void)
{
    struct shared_arena *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    cte__arena_init(&shared->arena, UNITS, UNITS, false, 0);
    atomic_store(&shared->arena.ready, 1);
    return (struct cte__arena_view){&shared->arena, shared->owners, shared->bitmap, NULL};
}

static struct shared_arena *shared_of(const struct cte__arena_view *view)
{
    return (struct shared_arena *)view->arena;
}

static void view_free(struct cte__arena_view *view)
{
    munmap(view->arena, sizeof(struct shared_arena));
}

static uint32_t free_run(const uint16_t *model, uint32_t start)
{
    uint32_t count = 0;
    while (start + count < UNITS && model[start + count] == CTE__OWNER_FREE)
        count++;
    return count;
}

/* The longest free run that starts at a multiple of `align`. */
static uint32_t longest_run(const uint16_t *model, uint32_t align)
{
    uint32_t longest = 0;
    for (uint32_t start = 0; start < UNITS; start += align)
        longest = (uint32_t)cte__max(longest, free_run(model, start));
    return longest;
}

static void check_view(const struct cte__arena_view *view, const uint16_t *model)
{
    uint32_t unused = 0, end = 0;
    for (uint32_t i = 0; i < UNITS; i++) {
        assert_int_equal(view->owners[i], model[i]);
        assert_int_equal(view->bitmap[i / 64] >> (i % 64) & 1, model[i] != CTE__OWNER_FREE);
        unused += model[i] == CTE__OWNER_FREE;
        end = model[i] != CTE__OWNER_FREE ? i + 1 : end;
    }
    assert_int_equal(view->arena->free_count, unused);
    assert_true(view->arena->high_water >= end);
}

static void claim_as_model(const struct cte__arena_view *view, uint16_t *model, uint64_t *seed)
{
    uint16_t owner = (uint16_t)(1 + test_random(seed) % OWNERS);
    uint32_t want = 1 + (uint32_t)(test_random(seed) % (test_random(seed) % 8 == 0 ? 300 : 12));
    uint32_t align = 1u << test_random(seed) % 4, start = UNITS;
    bool exact = test_random(seed) % 2 == 0;
    uint32_t longest = longest_run(model, align);
    uint32_t got = cte__arena_claim(view, owner, want, align, exact, &start);
    if (longest >= want)
        assert_int_equal(got, want);
    else
        assert_int_equal(got, exact ? 0 : longest);
    if (got == 0)
        return;
    assert_int_equal(start % align, 0);
    assert_true(free_run(model, start) >= got);
    for (uint32_t i = 0; i < got; i++)
        model[start + i] = owner;
}

static void free_as_model(const struct cte__arena_view *view, uint16_t *model, uint64_t *seed)
{
    uint32_t start = (uint32_t)(test_random(seed) % UNITS), count = 0;
    uint16_t owner = model[start];
    if (owner == CTE__OWNER_FREE)
        return;
    while (start + count < UNITS && model[start + count] == owner && count < 40)
        model[start + count++] = CTE__OWNER_FREE;
    cte__arena_free(view, owner, start, count);
}

/* A range with units of many owners: only those of one go. */
static void reclaim_as_model(const struct cte__arena_view *view, uint16_t *model, uint64_t *seed)
{
    uint32_t start = (uint32_t)(test_random(seed) % UNITS);
    uint32_t count = (uint32_t)(test_random(seed) % (UNITS - start + 1)), expected = 0;
    uint16_t owner = (uint16_t)(1 + test_random(seed) % OWNERS);
    for (uint32_t i = start; i < start + count; i++) {
        if (model[i] != owner)
            continue;
        model[i] = CTE__OWNER_FREE;
        expected++;
    }
    assert_int_equal(cte__arena_reclaim(view, owner, start, count), expected);
}

static void test_random_operations(void **state)
{
    (void)state;
    static uint16_t model[UNITS];
    struct cte__arena_view view = view_make();
    uint64_t seed = test_seed();
    uint32_t start;
    for (int i = 0; i < OPERATIONS; i++) {
        unsigned dice = (unsigned)(test_random(&seed) % 100);
        if (dice < 55)
            claim_as_model(&view, model, &seed);
        else if (dice < 99)
            free_as_model(&view, model, &seed);
        else
            reclaim_as_model(&view, model, &seed);
        if (i % 16 == 0)
            check_view(&view, model);
    }
    for (uint16_t owner = 1; owner <= OWNERS; owner++)
        cte__arena_reclaim(&view, owner, 0, UNITS);
    assert_int_equal(view.arena->free_count, UNITS);
    assert_int_equal(cte__arena_claim(&view, 1, UNITS, 1, true, &start), UNITS);
    assert_int_equal(start, 0);
    assert_int_equal(cte__arena_claim(&view, 1, 1, 1, false, &start), 0);
    view_free(&view);
}

static void test_owners_change_hands(void **state)
{
    (void)state;
    struct cte__arena_view view = view_make();
    uint32_t start;
    assert_int_equal(cte__arena_claim(&view, 3, 10, 1, true, &start), 10);
    cte__arena_own(&view, CTE__OWNER_PUBLISHED, start, 4);
    assert_int_equal(cte__arena_reclaim(&view, 3, 0, UNITS), 6);
    assert_int_equal(cte__arena_reclaim(&view, 3, 0, UNITS), 0);
    assert_int_equal(view.arena->free_count, UNITS - 4);
    cte__arena_own(&view, 2, start, 4);
    cte__arena_free(&view, 2, start, 4);
    assert_int_equal(view.arena->free_count, UNITS);
    view_free(&view);
}

/* Leaves what is derived from the owner words in any state, holding the lock. */
static void die_inside(const struct cte__arena_view *view, uint64_t seed)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool died = cte__mutex_lock(&view->arena->lock);
        (void)died;
        for (uint32_t i = 0; i < UNITS / 64; i++)
            view->bitmap[i] = test_random(&seed);
        view->arena->free_count = (uint32_t)(test_random(&seed) % UNITS);
        view->arena->high_water = (uint32_t)(test_random(&seed) % UNITS);
        view->arena->hint = (uint32_t)(test_random(&seed) % (2 * UNITS));
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void test_death_inside(void **state)
{
    (void)state;
    static uint16_t model[UNITS];
    struct cte__arena_view view = view_make();
    uint64_t seed = test_seed();
    memset(model, 0, sizeof model);
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < 40; i++)
            claim_as_model(&view, model, &seed);
        die_inside(&view, seed);
        if (round % 3 == 0)
            cte__arena_recover(&view);
        else if (round % 3 == 1)
            claim_as_model(&view, model, &seed);
        else
            reclaim_as_model(&view, model, &seed);
        check_view(&view, model);
        for (int i = 0; i < 40; i++)
            free_as_model(&view, model, &seed);
    }
    view_free(&view);
}

/* Claims, stamps what it got, and frees, with all others doing the same. */
static int compete(const struct cte__arena_view *view, uint16_t self, uint64_t seed)
{
    struct shared_arena *shared = shared_of(view);
    for (int turn = 0; turn < TURNS; turn++) {
        uint32_t want = 1 + (uint32_t)(test_random(&seed) % 100), start;
        uint32_t got = cte__arena_claim(view, self, want, 1, false, &start);
        for (uint32_t i = 0; i < got; i++)
            if (atomic_exchange(&shared->stamps[start + i], self) != 0)
                return 1; /* two had it at once */
        for (uint32_t i = 0; i < got; i++)
            if (atomic_exchange(&shared->stamps[start + i], 0) != self)
                return 2;
        if (got > 0)
            cte__arena_free(view, self, start, got);
    }
    return 0;
}

static void test_processes_compete(void **state)
{
    (void)state;
    struct cte__arena_view view = view_make();
    uint64_t seed = test_seed();
    pid_t pids[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            _exit(compete(&view, (uint16_t)(i + 1), seed + (uint64_t)i));
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(view.arena->free_count, UNITS);
    view_free(&view);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_operations),
        cmocka_unit_test(test_owners_change_hands),
        cmocka_unit_test(test_death_inside),
        cmocka_unit_test(test_processes_compete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
