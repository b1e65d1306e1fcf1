/* SPDX-License-Identifier: BSD-3-Clause */
#include "file/background.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/thread.h"
#include "target/fork.h"
#include "target/uring.h"

#define MS_NS UINT64_C(1000000)

enum {
    NAP_MAX_MS = 100, /* jobs that were idle are asked again so often while others are not */
    SEAT_MIN_MS = 10, /* who finds no seat asks again after this, then ever more rarely */
    SEAT_MAX_MS = 50, /* up to this */
    TURN_MS = 500,    /* who had a seat so long leaves it to others who wait */
    YIELD_MS = 60,    /* time enough for them to ask */
};

struct job_state {
    uint64_t due_ns; /* CLOCK_MONOTONIC; CTE__BACKGROUND_IDLE: until roused */
    uint64_t seat_nap_ns;
    uint64_t turn_ns; /* it has had a seat since then */
};

struct cte__background {
    struct cte__store *store;
    const struct cte__background_job *const *jobs;
    size_t job_count;
    void *context;
    pthread_mutex_t gate; /* held by the thread but while it sleeps or blocks */
    pthread_mutex_t lock; /* what follows */
    pthread_cond_t changed;
    pthread_t thread;
    bool started, stopping;
    _Atomic bool asleep; /* until roused, or not started; changes with the lock */
    struct job_state state[CTE__BACKGROUND_JOBS]; /* the thread's own */
    struct cte__background *next, **link;         /* in the registry */
};

/* ---- forks ---------------------------------------------------------------------------------- */

/* A fork finds all threads out of the way: neither gate nor lock is in use.  The child has none of
 * the threads. */
static struct {
    pthread_mutex_t lock;
    struct cte__background *first;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void before_fork(void)
{
    pthread_mutex_lock(&registry.lock);
    for (struct cte__background *each = registry.first; each; each = each->next) {
        pthread_mutex_lock(&each->gate);
        pthread_mutex_lock(&each->lock);
    }
}

static void after_fork_in_parent(void)
{
    for (struct cte__background *each = registry.first; each; each = each->next) {
        pthread_mutex_unlock(&each->lock);
        pthread_mutex_unlock(&each->gate);
    }
    pthread_mutex_unlock(&registry.lock);
}

static void init_changed(struct cte__background *background)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&background->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

static void after_fork_in_child(void)
{
    for (struct cte__background *each = registry.first; each; each = each->next) {
        init_changed(each); /* the thread that waited on it is not in the child */
        each->started = each->stopping = false;
        atomic_store(&each->asleep, true);
    }
    after_fork_in_parent();
}

static int watching; /* what registering returned */

/* Forks run the handlers that were registered last first: so they take the gates before the locks
 * of targets, which the threads take in that order, too. */
static void watch_forks(void)
{
    watching = -cte__target_watch_forks();
    if (watching == 0)
        watching = -cte__uring_watch_forks();
    if (watching == 0)
        watching = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ---- seats ---------------------------------------------------------------------------------- */

static struct cte__background_state *shared_state(const struct cte__background *background)
{
    return &background->store->header->background;
}

/* NULL: others have all of them. */
static struct cte__mutex *take_seat(struct cte__background *background, size_t number)
{
    const struct cte__background_job *job = background->jobs[number];
    struct cte__background_state *shared = shared_state(background);
    uint32_t seats = job->seats ? job->seats(background->context) : 1;
    assert(seats >= 1 && seats <= CTE__BACKGROUND_SEATS);
    for (uint32_t i = 0; i < seats; i++) {
        bool died;
        if (cte__mutex_trylock(&shared->seat[number][i], &died))
            return &shared->seat[number][i];
    }
    atomic_store(&shared->awaited_ns[number], cte__monotonic_ns());
    return NULL;
}

static bool is_awaited(const struct cte__background *background, size_t number, uint64_t now)
{
    uint64_t asked = atomic_load(&shared_state(background)->awaited_ns[number]);
    return asked != 0 && asked + YIELD_MS * MS_NS > now;
}

/* Who has more to do leaves the seat to others now and then. */
static bool turn_ends(const struct cte__background *background, size_t number, uint64_t now)
{
    return now - background->state[number].turn_ns >= TURN_MS * MS_NS &&
           is_awaited(background, number, now);
}

/* ---- the thread ----------------------------------------------------------------------------- */

static uint64_t after(uint64_t now, uint64_t ns)
{
    return ns > CTE__BACKGROUND_IDLE - now ? CTE__BACKGROUND_IDLE : now + ns;
}

static void run_job(struct cte__background *background, size_t number)
{
    const struct cte__background_job *job = background->jobs[number];
    struct job_state *state = &background->state[number];
    uint64_t now = cte__monotonic_ns();
    if (!job->wanted(background->context)) {
        state->due_ns = CTE__BACKGROUND_IDLE;
        state->turn_ns = 0;
        return;
    }
    struct cte__mutex *seat = take_seat(background, number);
    if (!seat) {
        state->seat_nap_ns = cte__max(state->seat_nap_ns, SEAT_MIN_MS * MS_NS);
        state->due_ns = after(now, state->seat_nap_ns);
        state->seat_nap_ns = cte__min(2 * state->seat_nap_ns, SEAT_MAX_MS * MS_NS);
        return;
    }
    state->seat_nap_ns = 0;
    state->turn_ns = state->turn_ns != 0 ? state->turn_ns : now;
    uint64_t nap_ns = job->step(background->context, background);
    cte__mutex_unlock(seat);
    now = cte__monotonic_ns();
    if (turn_ends(background, number, now))
        nap_ns = cte__max(nap_ns, YIELD_MS * MS_NS);
    if (nap_ns > 0)
        state->turn_ns = 0;
    state->due_ns = after(now, nap_ns);
}

/* Runs what is due; returns when the next is. */
static uint64_t run_jobs(struct cte__background *background)
{
    uint64_t next = CTE__BACKGROUND_IDLE;
    for (size_t i = 0; i < background->job_count && !cte__background_stopping(background); i++) {
        struct job_state *state = &background->state[i];
        if (state->due_ns == CTE__BACKGROUND_IDLE || state->due_ns <= cte__monotonic_ns())
            run_job(background, i);
        next = cte__min(next, state->due_ns);
    }
    return next;
}

static bool any_wanted(const struct cte__background *background)
{
    for (size_t i = 0; i < background->job_count; i++)
        if (background->jobs[i]->wanted(background->context))
            return true;
    return false;
}

/* Waits for a change or until then; the lock is held. */
static void wait_locked(struct cte__background *background, uint64_t until_ns)
{
    enum { NS_PER_S = 1000000000 };
    struct timespec until = {(time_t)(until_ns / NS_PER_S), (long)(until_ns % NS_PER_S)};
    pthread_cond_timedwait(&background->changed, &background->lock, &until);
}

/* Sleeps until roused; the gate is held, and open meanwhile. */
static void sleep_long(struct cte__background *background)
{
    atomic_store(&background->asleep, true);
    bool wanted = any_wanted(background); /* after that store: see cte__background_rouse() */
    pthread_mutex_unlock(&background->gate);
    pthread_mutex_lock(&background->lock);
    while (!wanted && atomic_load(&background->asleep) && !background->stopping)
        pthread_cond_wait(&background->changed, &background->lock);
    atomic_store(&background->asleep, false);
    pthread_mutex_unlock(&background->lock);
    pthread_mutex_lock(&background->gate);
}

static void sleep_until(struct cte__background *background, uint64_t due_ns)
{
    uint64_t now = cte__monotonic_ns();
    if (due_ns > now)
        cte__background_nap(background, cte__min(due_ns - now, NAP_MAX_MS * MS_NS));
}

static void *run(void *argument)
{
    struct cte__background *background = argument;
    pthread_mutex_lock(&background->gate);
    while (!cte__background_stopping(background)) {
        uint64_t due_ns = run_jobs(background);
        if (due_ns == CTE__BACKGROUND_IDLE)
            sleep_long(background);
        else
            sleep_until(background, due_ns);
    }
    pthread_mutex_unlock(&background->gate);
    return NULL;
}

/* ---- for steps ------------------------------------------------------------------------------ */

bool cte__background_stopping(struct cte__background *background)
{
    pthread_mutex_lock(&background->lock);
    bool stopping = background->stopping;
    pthread_mutex_unlock(&background->lock);
    return stopping;
}

bool cte__background_nap(struct cte__background *background, uint64_t ns)
{
    uint64_t until = cte__monotonic_ns() + ns;
    pthread_mutex_unlock(&background->gate);
    pthread_mutex_lock(&background->lock);
    while (!background->stopping && cte__monotonic_ns() < until)
        wait_locked(background, until);
    bool stopping = background->stopping;
    pthread_mutex_unlock(&background->lock);
    pthread_mutex_lock(&background->gate);
    return !stopping;
}

void cte__background_block(struct cte__background *background)
{
    pthread_mutex_unlock(&background->gate);
}

void cte__background_unblock(struct cte__background *background)
{
    pthread_mutex_lock(&background->gate);
}

/* ---- life ----------------------------------------------------------------------------------- */

bool cte__background_sleeps(struct cte__background *background)
{
    return atomic_load_explicit(&background->asleep, memory_order_relaxed);
}

void cte__background_wake(struct cte__background *background)
{
    int error = 0;
    pthread_mutex_lock(&background->lock);
    if (!background->started && !background->stopping) {
        error = cte__thread_start(&background->thread, "cte-background", run, background);
        background->started = error == 0;
    }
    atomic_store(&background->asleep, false); /* if there is no thread, nobody tries again */
    pthread_cond_broadcast(&background->changed);
    pthread_mutex_unlock(&background->lock);
    if (error != 0)
        cte__log_warn("no thread for background work: %s; files are drained when they are closed",
                      cte_status_string(-error));
}

static void enter_registry(struct cte__background *background)
{
    pthread_mutex_lock(&registry.lock);
    background->next = registry.first;
    if (background->next)
        background->next->link = &background->next;
    background->link = &registry.first;
    registry.first = background;
    pthread_mutex_unlock(&registry.lock);
}

static void leave_registry(struct cte__background *background)
{
    pthread_mutex_lock(&registry.lock);
    *background->link = background->next;
    if (background->next)
        background->next->link = background->link;
    pthread_mutex_unlock(&registry.lock);
}

cte_status cte__background_new(struct cte__store *store,
                               const struct cte__background_job *const *jobs, size_t job_count,
                               void *context, struct cte__background **out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    assert(job_count <= CTE__BACKGROUND_JOBS);
    pthread_once(&once, watch_forks);
    if (watching != 0)
        return -watching;
    struct cte__background *background = calloc(1, sizeof *background);
    if (!background)
        return -ENOMEM;
    background->store = store;
    background->jobs = jobs;
    background->job_count = job_count;
    background->context = context;
    pthread_mutex_init(&background->gate, NULL);
    pthread_mutex_init(&background->lock, NULL);
    init_changed(background);
    atomic_init(&background->asleep, true);
    enter_registry(background);
    *out = background;
    return CTE_OK;
}

void cte__background_free(struct cte__background *background)
{
    if (!background)
        return;
    pthread_mutex_lock(&background->lock);
    background->stopping = true;
    bool started = background->started;
    pthread_cond_broadcast(&background->changed);
    pthread_mutex_unlock(&background->lock);
    if (started)
        pthread_join(background->thread, NULL);
    leave_registry(background);
    pthread_cond_destroy(&background->changed);
    pthread_mutex_destroy(&background->lock);
    pthread_mutex_destroy(&background->gate);
    free(background);
}
