/* SPDX-License-Identifier: BSD-3-Clause */
/* Asynchronous tasks, whatever they do: a client's pool of lanes and worker threads.
 *
 * Tasks of a class go to one of its lanes, by their key.  A lane runs one task at a time, in order.
 * Lanes that have something to do wait in line for a worker: those of low latency first, but one of
 * the others gets its turn after every CTE__TASK_STREAK_MAX of them. */
#ifndef CTE_CORE_TASK_TASK_H
#define CTE_CORE_TASK_TASK_H

#include <cte/task.h>

#include "config/config.h"

enum { CTE__TASK_NAMES_MAX = 2, CTE__TASK_STREAK_MAX = 8 };

struct cte__task_pool;

/* What a task is to do; everything in it is copied. */
struct cte__task_call {
    enum cte__queue_class class;
    uint64_t key; /* tasks of a class with one key keep their order */
    cte_status (*run)(const void *arguments, const char *const *names);
    const void *arguments;
    size_t argument_bytes;
    const char *names[CTE__TASK_NAMES_MAX]; /* NULL: none */
    const cte_task_callback *callback;      /* NULL: none */
    bool spare; /* not worth waiting for room, or taking the last of it: -EBUSY */
};

/* A pool without threads: these start when tasks come. */
cte_status cte__task_pool_new(const cte_config *config, struct cte__task_pool **out);

/* Completes all tasks, also those that callbacks submit meanwhile, and joins the threads.  From
 * then on the pool takes no task.  Not in a task of its own.  Calling it again is fine. */
void cte__task_pool_close(struct cte__task_pool *pool);

/* Closes and frees; NULL is fine. */
void cte__task_pool_free(struct cte__task_pool *pool);

/* Grows in every child of a fork: it has none of the tasks. */
uint32_t cte__task_generation(void);

/* Takes a task in; waits while the pool is full, except in a task or a callback.
 * @param out  receives the task before it can run; NULL: nobody will ask
 * @return -ENOMEM, -EAGAIN (not even one thread can be made), -ESHUTDOWN (closed) */
cte_status cte__task_submit(struct cte__task_pool *pool, const struct cte__task_call *call,
                            cte_task **out);

/* True in a task or a callback of any pool: these must not wait for tasks or close a client. */
bool cte__task_in_task(void);

#endif
