/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work that goes on beside the program: draining, making room, moving.
 *
 * A client has one thread for all of it.  It starts with the first work, sleeps without waking when
 * there is none, and is joined by cte__background_free().  Signals are not delivered to it.
 *
 * Jobs are a table of functions.  Each has a number, its place in the table, which must be the same
 * in all processes; for each the store has seats, and a process works while it holds one: so as
 * many processes of the node do the job as it has seats, others take over when they have nothing to
 * do, and a seat whose holder died is taken by the next one that asks.
 *
 * Forks: a child has no such thread until it has work of its own.  The thread holds a lock that
 * forks wait for (the *gate*) whenever it may hold locks of this process, so that a child finds
 * those free.  It opens the gate while it blocks for long: cte__background_block().
 *
 * Lock order: gate → client.lock → …; nobody but the thread, the one that drains after a signal
 * (grace.c) and forks take the gate.  Who holds a lane may take it again, so it is open while a
 * lane is waited for.
 */
#ifndef CTE_CORE_FILE_BACKGROUND_H
#define CTE_CORE_FILE_BACKGROUND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

struct cte__background;

/* The next step need not come before somebody calls cte__background_rouse(). */
#define CTE__BACKGROUND_IDLE UINT64_MAX

/* Called by the thread; neither function may free or close what `context` is. */
struct cte__background_job {
    const char *name;
    /* Cheap, and without a seat: may there be something to do for this process? */
    bool (*wanted)(void *context);
    /* A step of some ten milliseconds, with a seat held.  Returns after how many nanoseconds the
     * next one is due: 0: there is more to do now; CTE__BACKGROUND_IDLE: nothing is left. */
    uint64_t (*step)(void *context, struct cte__background *background);
    /* How many processes do it at once, 1 … CTE__BACKGROUND_SEATS; NULL: one. */
    uint32_t (*seats)(void *context);
};

/* Starts no thread.
 * @param jobs  at most CTE__BACKGROUND_JOBS; stays the caller's, as `context` does */
cte_status cte__background_new(struct cte__store *store,
                               const struct cte__background_job *const *jobs, size_t job_count,
                               void *context, struct cte__background **out);

/* Ends the step that is under way, joins the thread.  NULL is fine.  Not by the thread. */
void cte__background_free(struct cte__background *background);

/* Starts or wakes the thread.  If there can be none, that is logged once, and jobs are not done. */
void cte__background_wake(struct cte__background *background);

/* True while nobody but cte__background_rouse() would make the thread look for work. */
bool cte__background_sleeps(struct cte__background *background);

/* To be called after anything that makes wanted() true, from any thread: costs a fence.  NULL is
 * fine. */
static inline void cte__background_rouse(struct cte__background *background)
{
    if (!background)
        return;
    /* Either this sees the thread asleep, or wanted(), which it asks after it said that it sleeps,
     * sees what the caller did before. */
    atomic_thread_fence(memory_order_seq_cst);
    if (cte__background_sleeps(background))
        cte__background_wake(background);
}

/* ---- for steps, which the thread runs ------------------------------------------------------- */

/* True if the step should end soon: the client is being closed. */
bool cte__background_stopping(struct cte__background *background);

/* Sleeps, or less if the client is being closed: then false. */
bool cte__background_nap(struct cte__background *background, uint64_t ns);

/* Around what may block for long.  In between the thread holds no lock of this process and touches
 * nothing that is the process's own but the memory it was given for that.  Any other thread that
 * works beside the program closes the gate by unblock() before it begins, and opens it by block()
 * when it is done; it must not wait, with the gate closed, for what the background thread has. */
void cte__background_block(struct cte__background *background);
void cte__background_unblock(struct cte__background *background);

#endif
