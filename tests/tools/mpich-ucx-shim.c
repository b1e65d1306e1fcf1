/* SPDX-License-Identifier: BSD-3-Clause */
/* mpich-ucx-shim: LD_PRELOAD for MPICH 4.0 (ch4:ucx) in tests.
 * 1. MPI_Finalize over TCP hangs more often than not: MPICH closes its UCX
 *    endpoints, then waits in a PMI barrier without progressing UCX, while a
 *    peer's close still needs an answer (openucx/ucx#8738).  From the first
 *    ucp_disconnect_nb on, a thread progresses the workers until their end.
 * 2. More ranks than cores: MPICH spins, and each rank is a scheduling group of
 *    its own (setsid + autogroup), so yielding does not help.  After NM_POLLS
 *    (50) empty polls in a row, sleep NM_NAP (100) microseconds; 0 for never. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
typedef void *P;
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static P workers[64];
static int nw, closing, stop, polls = 50;
static long nap_us = 100;
static pthread_t th;
static unsigned (*progress)(P);

#define REAL(ret, args)                                                                            \
    static ret(*real) args;                                                                        \
    if (!real)                                                                                     \
    real = (ret(*) args)dlsym(RTLD_NEXT, __func__)

static void nap(long us)
{
    struct timespec t = {0, us * 1000};
    nanosleep(&t, 0);
}

static P loop(P a)
{
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        pthread_mutex_lock(&mu);
        for (int i = 0; i < nw; i++)
            progress(workers[i]);
        pthread_mutex_unlock(&mu);
        nap(200);
    }
    return a;
}

int ucp_worker_create(P ctx, P params, P *w)
{
    REAL(int, (P, P, P *));
    const char *e;
    if ((e = getenv("NM_NAP")))
        nap_us = atol(e);
    if ((e = getenv("NM_POLLS")))
        polls = atoi(e);
    prctl(PR_SET_TIMERSLACK, 1);
    int r = real(ctx, params, w);
    if (r == 0 && nw < 64)
        workers[nw++] = *w;
    return r;
}

unsigned ucp_worker_progress(P w)
{
    static __thread int empty;
    if (!progress)
        progress = (unsigned (*)(P))dlsym(RTLD_NEXT, __func__);
    if (closing)
        pthread_mutex_lock(&mu);
    unsigned r = progress(w);
    if (closing)
        pthread_mutex_unlock(&mu);
    if (r)
        empty = 0;
    else if (nap_us && ++empty >= polls) {
        empty = polls / 2;
        nap(nap_us);
    }
    return r;
}

P ucp_disconnect_nb(P ep)
{
    REAL(P, (P));
    if (!closing && progress) {
        closing = 1;
        pthread_create(&th, 0, loop, 0);
    }
    pthread_mutex_lock(&mu);
    P r = real(ep);
    pthread_mutex_unlock(&mu);
    return r;
}

void ucp_request_release(P q)
{
    REAL(void, (P));
    if (closing)
        pthread_mutex_lock(&mu);
    real(q);
    if (closing)
        pthread_mutex_unlock(&mu);
}

void ucp_worker_destroy(P w)
{
    REAL(void, (P));
    if (closing && !stop) {
        __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
        pthread_join(th, 0);
        closing = 0;
    }
    real(w);
}
