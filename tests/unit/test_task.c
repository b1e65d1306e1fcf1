/* SPDX-License-Identifier: BSD-3-Clause */
/* Tasks: lanes, priorities, room, waiting, cancelling, closing. */
#include "task_helpers.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

enum { FEW = 20, MANY = 1000 };

/* ---- threads -------------------------------------------------------------------------------- */

static cte_status check_thread(const void *arguments, const char *const *names)
{
    sigset_t blocked;
    char name[16] = "";
    int *seen = *(int *const *)arguments;
    (void)names;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    pthread_getname_np(pthread_self(), name, sizeof name);
    *seen = strcmp(name, "cte-worker") == 0 && sigismember(&blocked, SIGINT) == 1 &&
            sigismember(&blocked, SIGALRM) == 1 && cte__task_in_task();
    return *seen ? -EXFULL : CTE_OK;
}

static void test_threads(void **state)
{
    (void)state;
    struct test_gate gate = TEST_GATE_INIT;
    int seen = 0;
    struct cte__task_pool *pool =
        test_pool("worker_count: 3\nqueues: {blob_operations: {lane_count: 8}}");
    test_expect_workers(0);
    cte_task *first = test_submit(pool, CTE__QUEUE_STATS, 0, check_thread, &seen, NULL);
    assert_int_equal(cte_task_wait(first, -1), CTE_OK);
    assert_int_equal(cte_task_status(first), -EXFULL);
    assert_true(seen);
    assert_int_equal(test_workers(), 1);
    cte_task *tasks[5];
    for (uint64_t i = 0; i < 5; i++)
        tasks[i] = test_submit_gate(pool, i, &gate);
    test_await_gate(&gate, 3);
    test_pause(20);
    assert_int_equal(gate.entered, 3); /* as many as there are workers */
    assert_int_equal(test_workers(), 3);
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    assert_int_equal(sigismember(&blocked, SIGINT), 0); /* of the caller nothing changed */
    test_open_gate(&gate);
    assert_int_equal(cte_task_wait_all(tasks, 5, -1), CTE_OK);
    for (int i = 0; i < 5; i++)
        cte_task_free(tasks[i]);
    cte__task_pool_close(pool);
    test_expect_workers(0);
    struct cte__task_call call = {.run = check_thread};
    cte_task *none = NULL;
    assert_int_equal(cte__task_submit(pool, &call, &none), -ESHUTDOWN);
    assert_null(none);
    cte__task_pool_free(pool);
    cte__task_pool_free(NULL);
    assert_int_equal(cte_task_status(first), -EXFULL); /* also after its pool is gone */
    assert_int_equal(cte_task_wait(first, -1), CTE_OK);
    assert_false(cte_task_cancel(first));
    cte_task_free(first);
}

/* Workers with nothing to do use no processor. */
static void test_idle(void **state)
{
    (void)state;
    struct test_gate gate = TEST_GATE_INIT;
    struct cte__task_pool *pool = test_pool("");
    gate.open = true;
    cte_task *task = test_submit_gate(pool, 0, &gate);
    assert_int_equal(cte_task_wait(task, -1), CTE_OK);
    cte_task_free(task);
    clock_t before = clock();
    test_pause(200);
    assert_true(clock() - before < CLOCKS_PER_SEC / 10); /* half of one thread */
    cte__task_pool_free(pool);
}

/* ---- order ---------------------------------------------------------------------------------- */

/* What happened, in order. */
struct journal {
    pthread_mutex_t lock;
    uint32_t count;
    uint32_t entries[MANY];
};

struct entry {
    struct journal *journal;
    uint32_t number;
};

static cte_status write_entry(const void *arguments, const char *const *names)
{
    const struct entry *entry = *(struct entry *const *)arguments;
    (void)names;
    pthread_mutex_lock(&entry->journal->lock);
    entry->journal->entries[entry->journal->count++] = entry->number;
    pthread_mutex_unlock(&entry->journal->lock);
    return CTE_OK;
}

static void test_order_in_lane(void **state)
{
    (void)state;
    enum { LANES = 4 };
    static struct journal journals[LANES];
    static struct entry entries[MANY];
    struct cte__task_pool *pool = test_pool("performance: {max_concurrent_operations: 100000}");
    for (int i = 0; i < LANES; i++)
        journals[i] = (struct journal){.lock = PTHREAD_MUTEX_INITIALIZER};
    for (uint32_t i = 0; i < MANY; i++) {
        entries[i] = (struct entry){&journals[i % LANES], i};
        cte_task_free(
            test_submit(pool, CTE__QUEUE_BLOBS, i % LANES, write_entry, &entries[i], NULL));
    }
    cte__task_pool_free(pool);
    for (uint32_t i = 0; i < LANES; i++) {
        assert_int_equal(journals[i].count, MANY / LANES);
        for (uint32_t j = 0; j < journals[i].count; j++)
            assert_int_equal(journals[i].entries[j], j * LANES + i);
    }
}

/* With one worker and all waiting, the urgent go first, and one of the others after each few. */
static void check_priorities(const char *yaml, enum cte__queue_class urgent,
                             enum cte__queue_class other)
{
    static struct journal journal;
    static struct entry entries[2 * FEW];
    struct test_gate gate = TEST_GATE_INIT;
    struct cte__task_pool *pool = test_pool(yaml);
    journal = (struct journal){.lock = PTHREAD_MUTEX_INITIALIZER};
    cte_task_free(test_submit(pool, urgent, FEW, test_pass_gate, &gate, NULL));
    test_await_gate(&gate, 1);
    for (uint32_t i = 0; i < 2 * FEW; i++) {
        entries[i] = (struct entry){&journal, i};
        cte_task_free(
            test_submit(pool, i < FEW ? other : urgent, i % FEW, write_entry, &entries[i], NULL));
    }
    test_open_gate(&gate);
    cte__task_pool_free(pool);
    assert_int_equal(journal.count, 2 * FEW);
    uint32_t next_other = 0, next_urgent = FEW;
    for (uint32_t i = 0; i < 2 * FEW; i++) {
        bool others_turn =
            next_urgent == 2 * FEW || i % (CTE__TASK_STREAK_MAX + 1) == CTE__TASK_STREAK_MAX;
        assert_int_equal(journal.entries[i], others_turn ? next_other++ : next_urgent++);
    }
}

static void test_priorities(void **state)
{
    (void)state;
    check_priorities("worker_count: 1\nqueues: {tag_management: {lane_count: 64}, blob_operations: "
                     "{lane_count: 64}}",
                     CTE__QUEUE_TAGS, CTE__QUEUE_BLOBS);
    check_priorities("worker_count: 1\nqueues: {stats: {lane_count: 64, priority: low_latency}, "
                     "target_management: {lane_count: 64, priority: high_latency}}",
                     CTE__QUEUE_STATS, CTE__QUEUE_TARGETS);
}

/* ---- room ----------------------------------------------------------------------------------- */

struct submitter {
    struct cte__task_pool *pool;
    struct test_gate *gate;
    _Atomic int accepted;
};

static void *submit_few(void *argument)
{
    struct submitter *submitter = argument;
    for (uint64_t i = 0; i < FEW; i++) {
        cte_task_free(test_submit_gate(submitter->pool, i, submitter->gate));
        submitter->accepted++;
    }
    return NULL;
}

static void test_room(void **state)
{
    (void)state;
    struct test_gate gate = TEST_GATE_INIT;
    struct submitter submitter = {
        test_pool("worker_count: 2\nperformance: {max_concurrent_operations: 4}"), &gate, 0};
    pthread_t thread;
    cte_task *queued[2];
    for (uint64_t i = 0; i < 2; i++) /* one lane: one of them runs, or none */
        queued[i] = test_submit_gate(submitter.pool, 3, &gate);
    test_await_gate(&gate, 1);
    assert_int_equal(pthread_create(&thread, NULL, submit_few, &submitter), 0);
    while (submitter.accepted < 2)
        test_pause(1);
    test_pause(20);
    assert_int_equal(submitter.accepted, 2);
    assert_true(cte_task_cancel(queued[1])); /* makes room for one */
    while (submitter.accepted < 3)
        test_pause(1);
    test_pause(20);
    assert_int_equal(submitter.accepted, 3);
    test_open_gate(&gate);
    pthread_join(thread, NULL);
    cte__task_pool_free(submitter.pool);
    assert_int_equal(submitter.accepted, FEW);
    assert_int_equal(gate.entered, 1 + FEW);
    cte_task_free(queued[0]);
    cte_task_free(queued[1]);
}

/* Each callback starts the next task, although the pool is full. */
struct chain {
    struct cte__task_pool *pool;
    struct test_gate *gate;
    int left;
    cte_status waited, tested;
    cte_task *other;
};

static void continue_chain(void *context, cte_status status)
{
    struct chain *chain = context;
    assert_int_equal(status, CTE_OK);
    if (chain->other) {
        chain->waited = cte_task_wait(chain->other, -1);
        chain->tested = cte_task_wait(chain->other, 0);
    }
    if (--chain->left > 0) {
        cte_task_callback callback = {continue_chain, chain};
        cte_task_free(test_submit(chain->pool, CTE__QUEUE_BLOBS, (uint64_t)chain->left,
                                  test_pass_gate, chain->gate, &callback));
    }
}

static void test_callback_submits(void **state)
{
    (void)state;
    struct test_gate gate = TEST_GATE_INIT, closed = TEST_GATE_INIT;
    struct chain chain = {test_pool("performance: {max_concurrent_operations: 2}"),
                          &gate,
                          MANY,
                          CTE_OK,
                          CTE_OK,
                          NULL};
    cte_task_callback callback = {continue_chain, &chain};
    gate.open = true;
    cte_task *other = chain.other = test_submit_gate(chain.pool, 1, &closed);
    cte_task_free(test_submit(chain.pool, CTE__QUEUE_BLOBS, 0, test_pass_gate, &gate, &callback));
    /* The chain goes on while the pool is being closed. */
    test_open_gate(&closed);
    assert_int_equal(cte_task_wait(other, -1), CTE_OK);
    cte__task_pool_free(chain.pool);
    assert_int_equal(chain.left, 0);
    assert_int_equal(gate.entered, MANY);
    cte_task_free(other);
}

static void test_callback_must_not_wait(void **state)
{
    (void)state;
    struct test_gate gate = TEST_GATE_INIT, closed = TEST_GATE_INIT;
    struct chain chain = {test_pool(""), &gate, 1, CTE_OK, CTE_OK, NULL};
    cte_task_callback callback = {continue_chain, &chain};
    gate.open = true;
    chain.other = test_submit_gate(chain.pool, 1, &closed);
    cte_task *task = test_submit(chain.pool, CTE__QUEUE_BLOBS, 0, test_pass_gate, &gate, &callback);
    assert_int_equal(cte_task_wait(task, -1), CTE_OK);
    assert_int_equal(chain.waited, -EDEADLK); /* a wait is over after the callback */
    assert_int_equal(chain.tested, -ETIMEDOUT);
    test_open_gate(&closed);
    cte__task_pool_free(chain.pool);
    cte_task_free(task);
    cte_task_free(chain.other);
}

/* ---- waiting -------------------------------------------------------------------------------- */

static void test_wait(void **state)
{
    (void)state;
    struct test_gate gate = TEST_GATE_INIT;
    struct cte__task_pool *pool = test_pool("");
    cte_task *task = test_submit_gate(pool, 0, &gate);
    assert_int_equal(cte_task_wait(task, 0), -ETIMEDOUT);
    assert_int_equal(cte_task_wait(task, 10), -ETIMEDOUT);
    assert_false(cte_task_test(task));
    assert_int_equal(cte_task_status(task), -EINPROGRESS);
    test_open_gate(&gate);
    assert_int_equal(cte_task_wait(task, 600000), CTE_OK);
    assert_int_equal(cte_task_wait(task, 0), CTE_OK);
    assert_true(cte_task_test(task));
    assert_int_equal(cte_task_status(task), CTE_OK);
    cte_task_free(task);
    cte_task_free(NULL);
    assert_int_equal(cte_task_wait(NULL, -1), -EINVAL);
    assert_int_equal(cte_task_status(NULL), -EINVAL);
    assert_false(cte_task_test(NULL));
    assert_false(cte_task_cancel(NULL));
    cte__task_pool_free(pool);
}

static void test_wait_several(void **state)
{
    (void)state;
    struct test_gate gates[3] = {TEST_GATE_INIT, TEST_GATE_INIT, TEST_GATE_INIT};
    struct cte__task_pool *pools[2] = {test_pool(""), test_pool("")};
    cte_task *tasks[4] = {NULL};
    size_t index = 99;
    assert_int_equal(cte_task_wait_any(tasks, 4, -1, &index), -EINVAL);
    assert_int_equal(cte_task_wait_any(tasks, 0, -1, &index), -EINVAL);
    assert_int_equal(cte_task_wait_any(tasks, 4, 0, &index), -EINVAL);
    assert_int_equal(cte_task_wait_any(NULL, 4, 0, &index), -EINVAL);
    assert_int_equal(cte_task_wait_all(tasks, 4, -1), CTE_OK);
    assert_int_equal(cte_task_wait_all(NULL, 0, -1), CTE_OK);
    assert_int_equal(cte_task_wait_all(NULL, 1, -1), -EINVAL);
    for (uint64_t i = 0; i < 3; i++)
        tasks[i + 1] = test_submit_gate(pools[i % 2], i, &gates[i]);
    assert_int_equal(cte_task_wait_any(tasks, 4, -1, NULL), -EINVAL);
    assert_int_equal(cte_task_wait_any(tasks, 4, 0, &index), -ETIMEDOUT);
    assert_int_equal(cte_task_wait_any(tasks, 4, 10, &index), -ETIMEDOUT);
    assert_int_equal(cte_task_wait_all(tasks, 4, 0), -ETIMEDOUT);
    assert_int_equal(index, 99);
    test_open_gate(&gates[1]);
    assert_int_equal(cte_task_wait_any(tasks, 4, -1, &index), CTE_OK);
    assert_int_equal(index, 2);
    assert_int_equal(cte_task_wait_all(tasks, 4, 10), -ETIMEDOUT);
    test_open_gate(&gates[0]);
    assert_int_equal(cte_task_wait(tasks[1], -1), CTE_OK);
    assert_int_equal(cte_task_wait_any(tasks, 4, -1, &index), CTE_OK);
    assert_int_equal(index, 1); /* the first of those that are complete */
    test_open_gate(&gates[2]);
    assert_int_equal(cte_task_wait_all(tasks, 4, -1), CTE_OK);
    for (int i = 0; i < 4; i++)
        cte_task_free(tasks[i]);
    cte__task_pool_free(pools[0]);
    cte__task_pool_free(pools[1]);
}

/* ---- cancelling, freeing -------------------------------------------------------------------- */

struct outcome {
    int calls;
    cte_status status;
    pthread_t thread;
    cte_task **own; /* freed in the callback */
};

static void note_outcome(void *context, cte_status status)
{
    struct outcome *outcome = context;
    outcome->calls++;
    outcome->status = status;
    outcome->thread = pthread_self();
    if (outcome->own)
        cte_task_free(*outcome->own);
}

static void test_cancel(void **state)
{
    (void)state;
    struct test_gate gate = TEST_GATE_INIT, unused = TEST_GATE_INIT;
    struct outcome outcome = {0}, last = {0};
    cte_task_callback callback = {note_outcome, &outcome}, at_last = {note_outcome, &last};
    struct cte__task_pool *pool = test_pool("");
    cte_task *running = test_submit_gate(pool, 0, &gate);
    test_await_gate(&gate, 1);
    cte_task *queued[3];
    for (int i = 0; i < 3; i++) /* behind the running one */
        queued[i] = test_submit(pool, CTE__QUEUE_BLOBS, 0, test_pass_gate, &unused,
                                i < 2 ? &callback : &at_last);
    assert_false(cte_task_cancel(running));
    for (int i = 0; i < 2; i++) {
        assert_true(cte_task_cancel(queued[i]));
        assert_int_equal(outcome.calls, i + 1);
        assert_int_equal(outcome.status, -ECANCELED);
        assert_true(pthread_equal(outcome.thread, pthread_self()));
        assert_int_equal(cte_task_status(queued[i]), -ECANCELED);
        assert_int_equal(cte_task_wait(queued[i], -1), CTE_OK);
        assert_false(cte_task_cancel(queued[i]));
    }
    test_open_gate(&unused);
    test_open_gate(&gate);
    assert_int_equal(cte_task_wait(queued[2], -1), CTE_OK);
    assert_int_equal(unused.entered, 1); /* the cancelled ones never ran */
    assert_int_equal(last.status, CTE_OK);
    assert_false(cte_task_cancel(queued[2]));
    cte__task_pool_free(pool);
    assert_int_equal(outcome.calls, 2);
    assert_int_equal(last.calls, 1);
    cte_task_free(running);
    for (int i = 0; i < 3; i++)
        cte_task_free(queued[i]);
}

static void test_free_early(void **state)
{
    (void)state;
    struct test_gate gate = TEST_GATE_INIT;
    struct outcome outcome = {0}, freeing = {0};
    cte_task_callback callback = {note_outcome, &outcome}, frees = {note_outcome, &freeing};
    struct cte__task_pool *pool = test_pool("");
    cte_task_free(test_submit_gate(pool, 0, &gate)); /* one that runs, perhaps */
    for (int i = 0; i < FEW; i++)
        cte_task_free(test_submit(pool, CTE__QUEUE_BLOBS, 0, test_pass_gate, &gate, &callback));
    struct test_gate *argument = &gate;
    struct cte__task_call call = {.run = test_pass_gate,
                                  .arguments = &argument,
                                  .argument_bytes = sizeof argument,
                                  .callback = &callback,
                                  .class = CTE__QUEUE_BLOBS};
    assert_int_equal(cte__task_submit(pool, &call, NULL), CTE_OK); /* nobody will ask */
    cte_task *own = test_submit(pool, CTE__QUEUE_BLOBS, 0, test_pass_gate, &gate, &frees);
    freeing.own = &own;
    test_open_gate(&gate);
    cte__task_pool_free(pool);
    assert_int_equal(gate.entered, 1 + FEW + 1 + 1);
    assert_int_equal(outcome.calls, FEW + 1);
    assert_int_equal(freeing.calls, 1);
}

/* Arguments and names are copies. */
static cte_status check_copies(const void *arguments, const char *const *names)
{
    return strcmp(arguments, "argument") == 0 && strcmp(names[0], "name") == 0 &&
                   strcmp(names[1], "another") == 0
               ? -EXFULL
               : CTE_OK;
}

static void test_copies(void **state)
{
    (void)state;
    struct test_gate gate = TEST_GATE_INIT;
    char argument[] = "argument", name[] = "name", another[] = "another";
    struct cte__task_call call = {.run = check_copies,
                                  .arguments = argument,
                                  .argument_bytes = sizeof argument,
                                  .names = {name, another},
                                  .class = CTE__QUEUE_BLOBS};
    struct cte__task_pool *pool = test_pool("");
    cte_task *first = test_submit_gate(pool, 0, &gate), *task;
    assert_int_equal(cte__task_submit(pool, &call, &task), CTE_OK);
    memset(argument, 'x', sizeof argument - 1);
    memset(name, 'x', sizeof name - 1);
    memset(another, 'x', sizeof another - 1);
    memset(&call, 0, sizeof call);
    test_open_gate(&gate);
    assert_int_equal(cte_task_wait(task, -1), CTE_OK);
    assert_int_equal(cte_task_status(task), -EXFULL);
    cte_task_free(first);
    cte_task_free(task);
    cte__task_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_order_in_lane),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_callback_submits),
        cmocka_unit_test(test_callback_must_not_wait),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_wait_several),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_free_early),
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
