/* SPDX-License-Identifier: BSD-3-Clause */
/* Pools of tasks for tests, tasks that stop at a gate, and a look at the threads there are. */
#ifndef CTE_TESTS_UNIT_TASK_HELPERS_H
#define CTE_TESTS_UNIT_TASK_HELPERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cte/config.h>

#include "sanitizers.h"
#include "task/task.h"

static inline struct cte__task_pool *test_pool(const char *yaml)
{
    char text[1024], error[512];
    cte_config *config;
    struct cte__task_pool *pool;
    snprintf(text, sizeof text, "storage: [{bdev_type: ram, capacity_limit: 1MiB}]\n%s", yaml);
    if (cte_config_parse(text, "test", &config, error, sizeof error) != CTE_OK)
        fail_msg("%s", error);
    assert_int_equal(cte__task_pool_new(config, &pool), CTE_OK);
    cte_config_free(config);
    return pool;
}

/* What tasks wait for until a test opens it. */
struct test_gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    int entered; /* tasks that came to it */
};

#define TEST_GATE_INIT                                                                             \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0                              \
    }

static inline cte_status test_pass_gate(const void *arguments, const char *const *names)
{
    struct test_gate *gate = *(struct test_gate *const *)arguments;
    (void)names;
    pthread_mutex_lock(&gate->lock);
    gate->entered++;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
    return CTE_OK;
}

static inline void test_open_gate(struct test_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

/* Until so many tasks stand at the gate. */
static inline void test_await_gate(struct test_gate *gate, int count)
{
    pthread_mutex_lock(&gate->lock);
    while (gate->entered < count)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

static inline void test_pause(int milliseconds)
{
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000L}, NULL);
}

/* Submits run(argument): the task's arguments are one pointer. */
static inline cte_task *test_submit(struct cte__task_pool *pool, enum cte__queue_class class,
                                    uint64_t key,
                                    cte_status (*run)(const void *, const char *const *),
                                    void *argument, const cte_task_callback *callback)
{
    cte_task *task = NULL;
    struct cte__task_call call = {.class = class,
                                  .key = key,
                                  .run = run,
                                  .arguments = &argument,
                                  .argument_bytes = sizeof argument,
                                  .callback = callback};
    assert_int_equal(cte__task_submit(pool, &call, &task), CTE_OK);
    assert_non_null(task);
    return task;
}

static inline cte_task *test_submit_gate(struct cte__task_pool *pool, uint64_t key,
                                         struct test_gate *gate)
{
    return test_submit(pool, CTE__QUEUE_BLOBS, key, test_pass_gate, gate, NULL);
}

/* How many worker threads this process has. */
static inline int test_workers(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *stream = fopen(path, "r");
        if (!stream)
            continue;
        if (fgets(name, sizeof name, stream) && strcmp(name, "cte-worker\n") == 0)
            count++;
        fclose(stream);
    }
    closedir(tasks);
    return count;
}

/* A joined thread may be seen for a moment yet. */
static inline void test_expect_workers(int count)
{
    for (int i = 0; i < 1000 && test_workers() != count; i++)
        test_pause(1);
    assert_int_equal(test_workers(), count);
}

#endif
