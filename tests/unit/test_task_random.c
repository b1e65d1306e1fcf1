/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads that submit, cancel, wait for and free tasks at random, each other's too: every task runs
 * once or is cancelled, and completes exactly once. */
#include "store_helpers.h"
#include "task_helpers.h"

#include <errno.h>

enum { THREADS = 4, ROUNDS = 600, SLOTS = 24, SUBMITS = THREADS * ROUNDS };

/* What became of a task. */
struct record {
    _Atomic int runs, calls, cancels;
    _Atomic int status; /* that its callback saw */
    cte_status result;  /* that its operation returns */
};

/* Where threads find each other's tasks: freeing one excludes everything else. */
struct slot {
    pthread_rwlock_t lock;
    cte_task *task; /* NULL: none yet */
    struct record *record;
};

static struct {
    struct cte__task_pool *pools[2];
    struct slot slots[SLOTS];
    struct record records[SUBMITS];
    _Atomic int submitted, followers;
    _Atomic int wrong; /* what threads other than the main one found wrong */
    uint64_t seed;
} play;

static cte_status run(const void *arguments, const char *const *names)
{
    struct record *record = *(struct record *const *)arguments;
    if (strcmp(names[0], "name") != 0)
        return -EBADMSG;
    record->runs++;
    return record->result;
}

static cte_status run_follower(const void *arguments, const char *const *names)
{
    (void)arguments;
    (void)names;
    play.followers++;
    return CTE_OK;
}

/* Some callbacks start another task, which nobody asks about. */
static void note_call(void *context, cte_status status)
{
    struct record *record = context;
    record->status = status;
    record->calls++;
    struct cte__task_call call = {.class = CTE__QUEUE_TAGS, .run = run_follower};
    if (record->result == -EXFULL && cte__task_submit(play.pools[0], &call, NULL) != CTE_OK)
        play.wrong++;
}

/* Starts a task and puts it in the place of another, which is freed, complete or not. */
static void replace(struct slot *slot, uint64_t *random)
{
    struct record *record = &play.records[atomic_fetch_add(&play.submitted, 1)];
    record->result = test_random(random) % 4 == 0 ? -EXFULL : -EILSEQ;
    cte_task_callback callback = {note_call, record};
    struct cte__task_call call = {
        .class = (enum cte__queue_class)(test_random(random) % CTE__QUEUE_CLASSES),
        .key = test_random(random),
        .run = run,
        .arguments = &record,
        .argument_bytes = sizeof record,
        .names = {"name"},
        .callback = &callback,
    };
    cte_task *task = NULL;
    if (cte__task_submit(play.pools[test_random(random) % 2], &call, &task) != CTE_OK || !task)
        play.wrong++;
    pthread_rwlock_wrlock(&slot->lock);
    cte_task *old = slot->task;
    slot->task = task;
    slot->record = record;
    pthread_rwlock_unlock(&slot->lock);
    cte_task_free(old);
}

static void cancel(const struct slot *slot)
{
    if (cte_task_cancel(slot->task) && slot->record->cancels++ == 0 &&
        cte_task_status(slot->task) != -ECANCELED)
        play.wrong++;
}

/* When a wait is over, so is everything else. */
static void check_complete(const struct slot *slot)
{
    const struct record *record = slot->record;
    cte_status status = cte_task_status(slot->task);
    if (record->calls != 1 || status != record->status || !cte_task_test(slot->task) ||
        (status == -ECANCELED ? record->runs != 0 : record->runs != 1 || status != record->result))
        play.wrong++;
}

static int random_timeout(uint64_t *random)
{
    return (int)(test_random(random) % 4) - 1;
}

/* Waits for the tasks of some slots in a row; they are locked for reading. */
static void wait_several(struct slot *slots, size_t count, uint64_t *random)
{
    cte_task *tasks[SLOTS];
    size_t index = SLOTS, present = 0;
    for (size_t i = 0; i < count; i++) {
        tasks[i] = slots[i].task;
        present += tasks[i] != NULL;
    }
    bool all = test_random(random) % 2;
    int timeout = random_timeout(random);
    cte_status status = all ? cte_task_wait_all(tasks, count, timeout)
                            : cte_task_wait_any(tasks, count, timeout, &index);
    cte_status none = present == 0 && !all ? -EINVAL : timeout < 0 ? CTE_OK : -ETIMEDOUT;
    if (status != CTE_OK && status != none)
        play.wrong++;
    for (size_t i = 0; i < count && status == CTE_OK; i++)
        if (tasks[i] && (all || i == index))
            check_complete(&slots[i]);
}

static void *act(void *argument)
{
    uint64_t random = play.seed + *(int *)argument;
    for (int round = 0; round < ROUNDS; round++) {
        size_t first = test_random(&random) % SLOTS;
        size_t count = 1 + test_random(&random) % 4,
               end = first + count < SLOTS ? first + count : SLOTS;
        if (test_random(&random) % 8 < 4) {
            replace(&play.slots[first], &random);
            continue;
        }
        for (size_t i = first; i < end; i++)
            pthread_rwlock_rdlock(&play.slots[i].lock);
        if (test_random(&random) % 2)
            cancel(&play.slots[first]);
        else
            wait_several(&play.slots[first], end - first, &random);
        for (size_t i = first; i < end; i++)
            pthread_rwlock_unlock(&play.slots[i].lock);
    }
    return NULL;
}

static void check_records(void)
{
    int followers = 0, cancelled = 0;
    for (int i = 0; i < play.submitted; i++) {
        const struct record *record = &play.records[i];
        if (record->runs + record->cancels != 1 || record->calls != 1 ||
            record->status != (record->cancels ? -ECANCELED : record->result))
            fail_msg("task %d: %d runs, %d cancels, %d calls, status %d", i, record->runs,
                     record->cancels, record->calls, record->status);
        followers += record->result == -EXFULL;
        cancelled += record->cancels;
    }
    assert_int_equal(play.wrong, 0);
    assert_int_equal(play.followers, followers);
    /* Both ends of a task came about, else the test says little. */
    assert_in_range(cancelled, 1, play.submitted - 1);
}

static void test_random_play(void **state)
{
    static const char *const settings[] = {
        "worker_count: 1\nperformance: {max_concurrent_operations: 1}",
        "worker_count: 4\nperformance: {max_concurrent_operations: 7}",
        "worker_count: 2\nqueues: {blob_operations: {lane_count: 1}, stats: {lane_count: 64}}"};
    (void)state;
    play.seed = test_seed();
    for (int game = 0; game < 3; game++) {
        pthread_t threads[THREADS];
        int numbers[THREADS];
        memset(play.records, 0, sizeof play.records);
        play.submitted = play.followers = play.wrong = 0;
        play.seed += 1000;
        for (int i = 0; i < 2; i++)
            play.pools[i] = test_pool(settings[(game + i) % 3]);
        for (int i = 0; i < SLOTS; i++)
            play.slots[i] = (struct slot){.lock = PTHREAD_RWLOCK_INITIALIZER};
        for (int i = 0; i < THREADS; i++) {
            numbers[i] = i;
            assert_int_equal(pthread_create(&threads[i], NULL, act, &numbers[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        /* In this order: callbacks of the second submit to the first. */
        cte__task_pool_free(play.pools[1]);
        cte__task_pool_free(play.pools[0]);
        for (int i = 0; i < SLOTS; i++) {
            if (play.slots[i].task)
                check_complete(&play.slots[i]);
            cte_task_free(play.slots[i].task);
        }
        check_records();
    }
    test_expect_workers(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_play)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
