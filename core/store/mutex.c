/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/mutex.h"

#include <errno.h>

void cte__mutex_init(struct cte__mutex *mutex)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    int error = pthread_mutex_init(&mutex->mutex, &attributes);
    assert(error == 0);
    (void)error;
    pthread_mutexattr_destroy(&attributes);
}

/* The only other answers of a robust mutex, ENOTRECOVERABLE and EINVAL, need an unlock without
 * cte__mutex_lock's consistent call, or memory that never was a mutex. */
static bool recover(struct cte__mutex *mutex, int error)
{
    if (error != EOWNERDEAD) {
        assert(error == 0);
        return false;
    }
    pthread_mutex_consistent(&mutex->mutex);
    return true;
}

/* Critical sections last a microsecond or two; going to sleep and being woken costs fifty. */
enum { SPINS = 64, PAUSES_PER_SPIN = 32 };

static void pause_briefly(void)
{
    for (int i = 0; i < PAUSES_PER_SPIN; i++)
#if defined(__x86_64__)
        __builtin_ia32_pause();
#else
        atomic_signal_fence(memory_order_seq_cst);
#endif
}

bool cte__mutex_lock(struct cte__mutex *mutex)
{
    for (int i = 0; i < SPINS; i++) {
        int error = pthread_mutex_trylock(&mutex->mutex);
        if (error != EBUSY)
            return recover(mutex, error);
        pause_briefly();
    }
    return recover(mutex, pthread_mutex_lock(&mutex->mutex));
}

bool cte__mutex_trylock(struct cte__mutex *mutex, bool *died)
{
    int error = pthread_mutex_trylock(&mutex->mutex);
    if (error == EBUSY)
        return false;
    *died = recover(mutex, error);
    return true;
}

void cte__mutex_unlock(struct cte__mutex *mutex)
{
    pthread_mutex_unlock(&mutex->mutex);
}
