/* SPDX-License-Identifier: BSD-3-Clause */
/* A client's lanes and the threads that serve them.
 *
 * Locks: registry.lock, then pool.lock; neither is held while a task or a callback runs. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/thread.h"
#include "task/task_internal.h"

enum { PRIORITIES = 2 };

struct cte__lane {
    cte_task *first, *last;
    struct cte__lane *next_ready;
    enum cte__queue_priority priority;
    bool busy;  /* a task of it runs */
    bool ready; /* in line for a worker: not busy, and has a task, or had one that was cancelled */
};

struct ready_line {
    struct cte__lane *first, *last;
};

struct lane_class {
    struct cte__lane *lanes;
    uint32_t lane_count;
};

struct cte__task_pool {
    pthread_mutex_t lock;
    pthread_cond_t work; /* a lane became ready, or the workers may go */
    pthread_cond_t room; /* a task left */
    struct ready_line ready[PRIORITIES];
    uint32_t ready_count; /* lanes in both lines */
    uint32_t streak;      /* low latency lanes served since one of high latency was, or could be */
    uint32_t in_flight, in_flight_max;
    uint32_t idle;                     /* workers that sleep, or are being woken */
    uint32_t worker_count, worker_max; /* started, and not joined yet */
    uint32_t alive;                    /* of them, those that look for tasks */
    bool closing;
    pthread_t *workers;
    struct cte__task_pool *next, **link; /* in the registry */
    struct lane_class classes[CTE__QUEUE_CLASSES];
    struct cte__lane lanes[];
};

/* ---- forks ---------------------------------------------------------------------------------- */

/* All pools of the process: a fork finds each in a whole state, as it locks them all.  The child
 * then has the pools, but neither their threads nor their tasks. */
static struct {
    pthread_mutex_t lock;
    struct cte__task_pool *first;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Atomic uint32_t generation;
static _Thread_local struct cte__task_pool *serving; /* whose task this thread runs or completes */

uint32_t cte__task_generation(void)
{
    return atomic_load_explicit(&generation, memory_order_relaxed);
}

bool cte__task_in_task(void)
{
    return serving != NULL;
}

struct cte__task_pool *cte__task_serve(struct cte__task_pool *pool)
{
    struct cte__task_pool *before = serving;
    serving = pool;
    return before;
}

static void before_fork(void)
{
    pthread_mutex_lock(&registry.lock);
    for (struct cte__task_pool *pool = registry.first; pool; pool = pool->next)
        pthread_mutex_lock(&pool->lock);
}

static void after_fork_in_parent(void)
{
    for (struct cte__task_pool *pool = registry.first; pool; pool = pool->next)
        pthread_mutex_unlock(&pool->lock);
    pthread_mutex_unlock(&registry.lock);
}

/* The tasks' memory stays with whoever has them; the child may free those that it knows. */
static void forget_parent(struct cte__task_pool *pool)
{
    for (int i = 0; i < CTE__QUEUE_CLASSES; i++)
        for (uint32_t j = 0; j < pool->classes[i].lane_count; j++) {
            struct cte__lane *lane = &pool->classes[i].lanes[j];
            *lane = (struct cte__lane){.priority = lane->priority};
        }
    for (int i = 0; i < PRIORITIES; i++)
        pool->ready[i] = (struct ready_line){0};
    pool->ready_count = pool->streak = pool->in_flight = 0;
    pool->idle = pool->worker_count = pool->alive = 0;
    pool->closing = false;
    pthread_cond_init(&pool->work, NULL); /* threads that waited on them are not in the child */
    pthread_cond_init(&pool->room, NULL);
}

static void after_fork_in_child(void)
{
    atomic_fetch_add(&generation, 1);
    serving = NULL;
    for (struct cte__task_pool *pool = registry.first; pool; pool = pool->next)
        forget_parent(pool);
    after_fork_in_parent();
}

static int watching; /* what pthread_atfork() returned */

static void watch_forks(void)
{
    watching = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ---- lanes ---------------------------------------------------------------------------------- */

static void make_ready_locked(struct cte__task_pool *pool, struct cte__lane *lane)
{
    struct ready_line *line = &pool->ready[lane->priority];
    lane->ready = true;
    lane->next_ready = NULL;
    if (line->first)
        line->last->next_ready = lane;
    else
        line->first = lane;
    line->last = lane;
    pool->ready_count++;
}

/* The lane whose turn it is, out of its line; NULL: none. */
static struct cte__lane *next_lane_locked(struct cte__task_pool *pool)
{
    struct ready_line *low = &pool->ready[CTE__PRIORITY_LOW_LATENCY];
    struct ready_line *high = &pool->ready[CTE__PRIORITY_HIGH_LATENCY];
    bool urgent = low->first && (!high->first || pool->streak < CTE__TASK_STREAK_MAX);
    struct ready_line *line = urgent ? low : high;
    struct cte__lane *lane = line->first;
    if (!lane)
        return NULL;
    pool->streak = urgent && high->first ? pool->streak + 1 : 0;
    line->first = lane->next_ready;
    lane->ready = false;
    pool->ready_count--;
    return lane;
}

static void link_locked(struct cte__lane *lane, cte_task *task)
{
    task->lane = lane;
    task->previous = lane->last;
    task->next = NULL;
    if (lane->last)
        lane->last->next = task;
    else
        lane->first = task;
    lane->last = task;
    task->linked = true;
}

static void unlink_locked(cte_task *task)
{
    struct cte__lane *lane = task->lane;
    if (task->previous)
        task->previous->next = task->next;
    else
        lane->first = task->next;
    if (task->next)
        task->next->previous = task->previous;
    else
        lane->last = task->previous;
    task->linked = false;
}

/* A task to run, its lane busy; NULL: none.  Tasks being cancelled are passed over. */
static cte_task *take_locked(struct cte__task_pool *pool)
{
    struct cte__lane *lane;
    while ((lane = next_lane_locked(pool)) != NULL) {
        while (lane->first) {
            cte_task *task = lane->first;
            unlink_locked(task);
            lane->busy = cte__task_begin(task, CTE__TASK_RUNNING);
            if (lane->busy)
                return task;
        }
    }
    return NULL;
}

static void leave_locked(struct cte__task_pool *pool)
{
    assert(pool->in_flight > 0);
    pool->in_flight--;
    pthread_cond_signal(&pool->room);
    if (pool->closing && pool->in_flight == 0)
        pthread_cond_broadcast(&pool->work);
}

void cte__task_withdraw(cte_task *task)
{
    pthread_mutex_lock(&task->pool->lock);
    if (task->linked)
        unlink_locked(task);
    pthread_mutex_unlock(&task->pool->lock);
}

void cte__task_pool_leave(struct cte__task_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    leave_locked(pool);
    pthread_mutex_unlock(&pool->lock);
}

/* ---- workers -------------------------------------------------------------------------------- */

/* Runs a task without the lock.  False, and without the lock, if this is the child of a fork that
 * the task made: nothing of the pool is its business. */
static bool run_locked(struct cte__task_pool *pool, cte_task *task)
{
    uint32_t mine = cte__task_generation();
    struct cte__lane *lane = task->lane;
    pthread_mutex_unlock(&pool->lock);
    cte_status status = task->run(task->memory, task->names);
    if (mine == cte__task_generation())
        cte__task_complete(task, status);
    if (mine != cte__task_generation())
        return false;
    pthread_mutex_lock(&pool->lock);
    lane->busy = false;
    if (lane->first)
        make_ready_locked(pool, lane);
    leave_locked(pool);
    return true;
}

static void *work(void *argument)
{
    struct cte__task_pool *pool = argument;
    cte__task_serve(pool);
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing || pool->in_flight > 0) {
        cte_task *task = take_locked(pool);
        if (!task) {
            pool->idle++;
            pthread_cond_wait(&pool->work, &pool->lock);
            pool->idle--;
        } else if (!run_locked(pool, task)) {
            return NULL;
        }
    }
    pool->alive--;
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static int start_worker_locked(struct cte__task_pool *pool)
{
    int error = cte__thread_start(&pool->workers[pool->worker_count], "cte-worker", work, pool);
    if (error == 0) {
        pool->worker_count++;
        pool->alive++;
    }
    return error;
}

/* One more lane becomes ready: wakes a worker for it, or starts one if those asleep have enough to
 * do. */
static cte_status rouse_worker_locked(struct cte__task_pool *pool)
{
    int error = 0;
    if (pool->ready_count >= pool->idle && pool->worker_count < pool->worker_max)
        error = start_worker_locked(pool);
    if (error != 0 && pool->alive == 0) {
        cte__log_error("no thread for asynchronous operations: %s; end other threads or raise the "
                       "limit (ulimit -u)",
                       cte_status_string(-error));
        return -error;
    }
    pthread_cond_signal(&pool->work);
    return CTE_OK;
}

static cte_status enqueue_locked(struct cte__task_pool *pool, const struct cte__task_call *call,
                                 cte_task *task, cte_task **out)
{
    const struct lane_class *class = &pool->classes[call->class];
    struct cte__lane *lane = &class->lanes[call->key % class->lane_count];
    bool becomes_ready = !lane->busy && !lane->ready;
    if (pool->closing && serving != pool)
        return -ESHUTDOWN;
    cte_status status = becomes_ready ? rouse_worker_locked(pool) : CTE_OK;
    if (status != CTE_OK)
        return status;
    if (out)
        *out = task;
    link_locked(lane, task);
    if (becomes_ready)
        make_ready_locked(pool, lane);
    pool->in_flight++;
    return CTE_OK;
}

cte_status cte__task_submit(struct cte__task_pool *pool, const struct cte__task_call *call,
                            cte_task **out)
{
    cte_task *task = cte__task_new(pool, call, out != NULL);
    if (!task)
        return -ENOMEM;
    pthread_mutex_lock(&pool->lock);
    /* A task that waited might be the one that has to make the room. */
    while (!call->spare && pool->in_flight >= pool->in_flight_max && !pool->closing && !serving)
        pthread_cond_wait(&pool->room, &pool->lock);
    cte_status status = call->spare && pool->in_flight >= pool->in_flight_max / 2
                            ? -EBUSY
                            : enqueue_locked(pool, call, task, out);
    pthread_mutex_unlock(&pool->lock);
    if (status != CTE_OK)
        free(task); /* nobody has seen it */
    return status;
}

/* ---- life of a pool ------------------------------------------------------------------------- */

static void set_lanes(struct cte__task_pool *pool, const cte_config *config)
{
    struct cte__lane *lane = pool->lanes;
    for (int i = 0; i < CTE__QUEUE_CLASSES; i++) {
        pool->classes[i] = (struct lane_class){lane, config->queues[i].lane_count};
        for (uint32_t j = 0; j < config->queues[i].lane_count; j++)
            lane++->priority = config->queues[i].priority;
    }
}

static void enter_registry(struct cte__task_pool *pool)
{
    pthread_mutex_lock(&registry.lock);
    pool->next = registry.first;
    if (pool->next)
        pool->next->link = &pool->next;
    pool->link = &registry.first;
    registry.first = pool;
    pthread_mutex_unlock(&registry.lock);
}

static void leave_registry(struct cte__task_pool *pool)
{
    pthread_mutex_lock(&registry.lock);
    *pool->link = pool->next;
    if (pool->next)
        pool->next->link = pool->link;
    pthread_mutex_unlock(&registry.lock);
}

cte_status cte__task_pool_new(const cte_config *config, struct cte__task_pool **out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    if (watching != 0)
        return -watching;
    size_t lane_count = 0;
    for (int i = 0; i < CTE__QUEUE_CLASSES; i++)
        lane_count += config->queues[i].lane_count;
    struct cte__task_pool *pool = calloc(1, sizeof *pool + lane_count * sizeof pool->lanes[0]);
    pthread_t *workers = calloc(config->worker_count, sizeof *workers);
    if (!pool || !workers) {
        free(pool);
        free(workers);
        return -ENOMEM;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->room, NULL);
    pool->workers = workers;
    pool->worker_max = config->worker_count;
    pool->in_flight_max = config->max_concurrent_operations;
    set_lanes(pool, config);
    enter_registry(pool);
    *out = pool;
    return CTE_OK;
}

void cte__task_pool_close(struct cte__task_pool *pool)
{
    assert(serving != pool);
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->work);
    pthread_cond_broadcast(&pool->room);
    /* The last worker goes when nothing is in flight: what a callback submits is done, too. */
    while (pool->worker_count > 0) {
        pthread_t worker = pool->workers[--pool->worker_count];
        pthread_mutex_unlock(&pool->lock);
        pthread_join(worker, NULL);
        pthread_mutex_lock(&pool->lock);
    }
    /* A task that another thread cancels may be on its way out yet. */
    while (pool->in_flight > 0)
        pthread_cond_wait(&pool->work, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

void cte__task_pool_free(struct cte__task_pool *pool)
{
    if (!pool)
        return;
    cte__task_pool_close(pool);
    leave_registry(pool);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->room);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool);
}
