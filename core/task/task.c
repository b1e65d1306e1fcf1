/* SPDX-License-Identifier: BSD-3-Clause */
/* One task: made, completed once, waited for, cancelled, freed. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "task/task_internal.h"

/* ---- sleeping ------------------------------------------------------------------------------- */

/* Until when; NULL: for ever. */
static const struct timespec *deadline_after(int timeout_ms, struct timespec *deadline)
{
    if (timeout_ms < 0)
        return NULL;
    uint64_t ns = cte__monotonic_ns() + (uint64_t)timeout_ms * 1000000;
    *deadline = (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    return deadline;
}

/* Sleeps while the word has this value.  True if the deadline passed. */
static bool futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *deadline)
{
    return syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, deadline, NULL,
                   FUTEX_BITSET_MATCH_ANY) != 0 &&
           errno == ETIMEDOUT;
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Those who wait for any of several tasks sleep on this word, which changes with each completion
 * while there are such. */
static struct {
    _Atomic uint32_t completions;
    _Atomic uint32_t waiters;
} any;

/* ---- life ----------------------------------------------------------------------------------- */

cte_task *cte__task_new(struct cte__task_pool *pool, const struct cte__task_call *call, bool user)
{
    size_t lengths[CTE__TASK_NAMES_MAX], bytes = call->argument_bytes;
    for (int i = 0; i < CTE__TASK_NAMES_MAX; i++) {
        lengths[i] = call->names[i] ? strlen(call->names[i]) + 1 : 0;
        bytes += lengths[i];
    }
    cte_task *task = malloc(sizeof *task + bytes);
    if (!task)
        return NULL;
    *task = (cte_task){
        .references = 1 + user,
        .generation = cte__task_generation(),
        .pool = pool,
        .run = call->run,
    };
    if (call->callback)
        task->callback = *call->callback;
    if (call->argument_bytes > 0)
        memcpy(task->memory, call->arguments, call->argument_bytes);
    char *at = task->memory + call->argument_bytes;
    for (int i = 0; i < CTE__TASK_NAMES_MAX; i++) {
        if (lengths[i] > 0)
            task->names[i] = memcpy(at, call->names[i], lengths[i]);
        at += lengths[i];
    }
    return task;
}

void cte__task_release(cte_task *task)
{
    if (atomic_fetch_sub(&task->references, 1) == 1)
        free(task);
}

bool cte__task_begin(cte_task *task, enum cte__task_state next)
{
    uint32_t state = atomic_load(&task->state);
    while ((state & CTE__TASK_STATES) == CTE__TASK_QUEUED)
        if (atomic_compare_exchange_weak(&task->state, &state,
                                         (state & CTE__TASK_AWAITED) | (uint32_t)next))
            return true;
    return false;
}

void cte__task_complete(cte_task *task, cte_status status)
{
    if (task->callback.call)
        task->callback.call(task->callback.context, status);
    task->status = status;
    /* From here on waiters return, and their users may free the task: the pool's reference keeps
     * it. */
    if (atomic_exchange(&task->state, CTE__TASK_DONE) & CTE__TASK_AWAITED)
        futex_wake(&task->state);
    /* Either this load sees who waits for any, or that one saw the new state: both are sequentially
     * consistent, and each side writes its word before it reads the other's. */
    if (atomic_load(&any.waiters) > 0) {
        atomic_fetch_add(&any.completions, 1);
        futex_wake(&any.completions);
    }
    cte__task_release(task);
}

void cte_task_free(cte_task *task)
{
    if (task)
        cte__task_release(task);
}

bool cte_task_cancel(cte_task *task)
{
    if (!task || task->generation != cte__task_generation() ||
        !cte__task_begin(task, CTE__TASK_CANCELLED))
        return false;
    /* The pool waits for this task as for any other, so it is still there. */
    struct cte__task_pool *pool = task->pool, *before;
    uint32_t mine = cte__task_generation();
    cte__task_withdraw(task);
    before = cte__task_serve(pool);
    cte__task_complete(task, -ECANCELED);
    if (mine == cte__task_generation()) { /* else a child that the callback forked */
        cte__task_serve(before);
        cte__task_pool_leave(pool);
    }
    return true;
}

/* ---- waiting -------------------------------------------------------------------------------- */

bool cte_task_test(const cte_task *task)
{
    return task && (atomic_load(&task->state) & CTE__TASK_STATES) == CTE__TASK_DONE;
}

cte_status cte_task_status(const cte_task *task)
{
    if (!task)
        return -EINVAL;
    return cte_task_test(task) ? task->status : -EINPROGRESS;
}

/* Why a task that is not complete must not be waited for; CTE_OK if it may. */
static cte_status check_wait(const cte_task *task)
{
    if (task->generation != cte__task_generation())
        return -ESRCH;
    return cte__task_in_task() ? -EDEADLK : CTE_OK;
}

static cte_status wait_until(cte_task *task, const struct timespec *deadline)
{
    uint32_t state = atomic_load(&task->state);
    while ((state & CTE__TASK_STATES) != CTE__TASK_DONE) {
        uint32_t awaited = state | CTE__TASK_AWAITED;
        if (state != awaited && !atomic_compare_exchange_weak(&task->state, &state, awaited))
            continue;
        /* If it changed since, this returns at once; if later to done, it is woken. */
        bool late = futex_wait(&task->state, awaited, deadline);
        state = atomic_load(&task->state);
        if (late && (state & CTE__TASK_STATES) != CTE__TASK_DONE)
            return -ETIMEDOUT;
    }
    return CTE_OK;
}

cte_status cte_task_wait(cte_task *task, int timeout_ms)
{
    return task ? cte_task_wait_all(&task, 1, timeout_ms) : -EINVAL;
}

cte_status cte_task_wait_all(cte_task *const *tasks, size_t count, int timeout_ms)
{
    struct timespec at;
    const struct timespec *deadline = deadline_after(timeout_ms, &at);
    cte_status status = tasks || count == 0 ? CTE_OK : -EINVAL;
    for (size_t i = 0; i < count && status == CTE_OK; i++) {
        if (!tasks[i] || cte_task_test(tasks[i]))
            continue;
        status = timeout_ms == 0 ? -ETIMEDOUT : check_wait(tasks[i]);
        if (status == CTE_OK)
            status = wait_until(tasks[i], deadline);
    }
    return status;
}

/* The first complete task of an array. */
static bool find_complete(cte_task *const *tasks, size_t count, size_t *index)
{
    for (size_t i = 0; i < count; i++)
        if (cte_task_test(tasks[i])) {
            *index = i;
            return true;
        }
    return false;
}

/* Whether some task may be waited for, and if not, why. */
static cte_status check_wait_any(cte_task *const *tasks, size_t count)
{
    cte_status status = -EINVAL;
    for (size_t i = 0; i < count; i++) {
        if (!tasks[i])
            continue;
        status = check_wait(tasks[i]);
        if (status == CTE_OK)
            break;
    }
    return status;
}

cte_status cte_task_wait_any(cte_task *const *tasks, size_t count, int timeout_ms, size_t *index)
{
    struct timespec at;
    const struct timespec *deadline = deadline_after(timeout_ms, &at);
    if (!index || (!tasks && count > 0))
        return -EINVAL;
    if (find_complete(tasks, count, index))
        return CTE_OK;
    cte_status status = check_wait_any(tasks, count);
    if (timeout_ms == 0 && status != -EINVAL)
        return -ETIMEDOUT;
    if (status != CTE_OK)
        return status;
    atomic_fetch_add(&any.waiters, 1);
    for (bool late = false;;) {
        uint32_t seen = atomic_load(&any.completions);
        bool found = find_complete(tasks, count, index);
        if (found || late) {
            status = found ? CTE_OK : -ETIMEDOUT;
            break;
        }
        late = futex_wait(&any.completions, seen, deadline);
    }
    atomic_fetch_sub(&any.waiters, 1);
    return status;
}
