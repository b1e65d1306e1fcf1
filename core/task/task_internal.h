/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside of core/task: the task as pool.c and task.c share it. */
#ifndef CTE_CORE_TASK_TASK_INTERNAL_H
#define CTE_CORE_TASK_TASK_INTERNAL_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>

#include "task/task.h"

/* A task is queued, then running or cancelled, then done.  Whoever moves it on from queued
 * completes it, so completion happens once.  The bit says that somebody sleeps until it is done. */
enum cte__task_state {
    CTE__TASK_QUEUED,
    CTE__TASK_RUNNING,
    CTE__TASK_CANCELLED,
    CTE__TASK_DONE,
    CTE__TASK_STATES = 7, /* mask */
    CTE__TASK_AWAITED = 8
};

struct cte__lane;

struct cte_task {
    _Atomic uint32_t state;      /* also the futex of its waiters */
    _Atomic uint32_t references; /* the pool until it is done, the user until it is freed */
    uint32_t generation;         /* of forks: who made it */
    cte_status status;           /* once done */
    struct cte__task_pool *pool; /* may be gone once done */
    /* Under the pool's lock; previous and next while linked. */
    struct cte__lane *lane;
    struct cte_task *previous, *next;
    bool linked;
    cte_task_callback callback;
    cte_status (*run)(const void *arguments, const char *const *names);
    const char *names[CTE__TASK_NAMES_MAX]; /* behind the arguments */
    alignas(max_align_t) char memory[];     /* arguments, names */
};

/* Moves a queued task on; false if somebody else did. */
bool cte__task_begin(cte_task *task, enum cte__task_state next);

/* Runs the callback, wakes waiters, drops the pool's reference.  By the one who moved it on. */
void cte__task_complete(cte_task *task, cte_status status);

/* A task with one reference more than the pool's if `user`; NULL: no memory. */
cte_task *cte__task_new(struct cte__task_pool *pool, const struct cte__task_call *call, bool user);
void cte__task_release(cte_task *task);

/* Takes a cancelled task out of its lane; then makes room for another. */
void cte__task_withdraw(cte_task *task);
void cte__task_pool_leave(struct cte__task_pool *pool);

/* From here on this thread runs or completes tasks of the pool (NULL: of none): returns which it
 * did. */
struct cte__task_pool *cte__task_serve(struct cte__task_pool *pool);

#endif
