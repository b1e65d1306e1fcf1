/* SPDX-License-Identifier: BSD-3-Clause */
/* Tasks when memory or threads cannot be had.  The linker sends this program's calls of the
 * functions below here (tests/unit/CMakeLists.txt). */
#include "task_helpers.h"

#include <errno.h>

static _Atomic int allocations_left = -1; /* until one fails; below 0: none does */
static _Atomic int threads_left = -1;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);

/* True once, when the count is used up. */
static bool fails(_Atomic int *left)
{
    return *left >= 0 && atomic_fetch_sub(left, 1) == 0;
}

void *__wrap_malloc(size_t bytes)
{
    return fails(&allocations_left) ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails(&allocations_left) ? NULL : __real_calloc(count, bytes);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument)
{
    return fails(&threads_left) ? EAGAIN
                                : __real_pthread_create(thread, attributes, start, argument);
}

static cte_status count_run(const void *arguments, const char *const *names)
{
    ++**(_Atomic int *const *)arguments;
    return names[0] ? CTE_OK : -EBADMSG;
}

static void never(void *context, cte_status status)
{
    (void)status;
    *(bool *)context = true;
}

static void test_pool_without_memory(void **state)
{
    (void)state;
    char error[512];
    cte_config *config;
    assert_int_equal(cte_config_parse("storage: [{bdev_type: ram, capacity_limit: 1MiB}]", "test",
                                      &config, error, sizeof error),
                     CTE_OK);
    int failed = 0;
    for (cte_status status = -ENOMEM; status != CTE_OK; failed++) {
        struct cte__task_pool *pool = NULL;
        assert_in_range(failed, 0, 10);
        allocations_left = failed;
        status = cte__task_pool_new(config, &pool);
        allocations_left = -1;
        assert_true(status == CTE_OK ? pool != NULL : status == -ENOMEM && !pool);
        cte__task_pool_free(pool);
    }
    assert_in_range(failed, 2, 10); /* at least one failed */
    cte_config_free(config);
}

static void test_submit_without_memory(void **state)
{
    (void)state;
    _Atomic int runs = 0, *argument = &runs;
    bool called = false;
    cte_task_callback callback = {never, &called};
    struct cte__task_pool *pool = test_pool("");
    struct cte__task_call call = {.run = count_run,
                                  .arguments = &argument,
                                  .argument_bytes = sizeof argument,
                                  .names = {"name"},
                                  .callback = &callback};
    int failed = 0;
    cte_task *task = NULL;
    for (cte_status status = -ENOMEM; status != CTE_OK; failed++) {
        assert_in_range(failed, 0, 10);
        assert_null(task);
        assert_false(called);
        allocations_left = failed;
        status = cte__task_submit(pool, &call, &task);
        allocations_left = -1;
        assert_true(status == CTE_OK || status == -ENOMEM);
    }
    assert_in_range(failed, 2, 10);
    assert_int_equal(cte_task_wait(task, -1), CTE_OK);
    assert_int_equal(cte_task_status(task), CTE_OK);
    assert_true(called);
    cte_task_free(task);
    cte__task_pool_free(pool);
    assert_int_equal(runs, 1);
}

static void test_without_threads(void **state)
{
    (void)state;
    struct test_gate gate = TEST_GATE_INIT;
    struct test_gate *argument = &gate;
    bool called = false;
    cte_task_callback callback = {never, &called};
    struct cte__task_pool *pool = test_pool("performance: {max_concurrent_operations: 2}");
    struct cte__task_call call = {.class = CTE__QUEUE_BLOBS,
                                  .run = test_pass_gate,
                                  .arguments = &argument,
                                  .argument_bytes = sizeof argument,
                                  .callback = &callback};
    cte_task *task = NULL;
    for (int i = 0; i < 5; i++) { /* more than there is room for: a failure takes none */
        threads_left = 0;
        assert_int_equal(cte__task_submit(pool, &call, &task), -EAGAIN);
        assert_null(task);
    }
    assert_false(called);
    threads_left = -1;
    cte_task *first = test_submit_gate(pool, 0, &gate);
    test_await_gate(&gate, 1);
    threads_left = 0; /* one thread is enough */
    call.key = 1;
    assert_int_equal(cte__task_submit(pool, &call, &task), CTE_OK);
    assert_int_equal(threads_left, -1); /* it was tried */
    assert_int_equal(cte_task_wait(task, 10), -ETIMEDOUT);
    test_open_gate(&gate);
    assert_int_equal(cte_task_wait(task, -1), CTE_OK);
    assert_true(called);
    cte__task_pool_free(pool);
    cte_task_free(first);
    cte_task_free(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_without_memory),
        cmocka_unit_test(test_submit_without_memory),
        cmocka_unit_test(test_without_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
