/* SPDX-License-Identifier: BSD-3-Clause */
#include "target/fork.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int watching;

void cte__target_fork_lock(void)
{
    pthread_mutex_lock(&lock);
}

void cte__target_fork_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

static void watch_once(void)
{
    watching =
        pthread_atfork(cte__target_fork_lock, cte__target_fork_unlock, cte__target_fork_unlock);
}

cte_status cte__target_watch_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_once);
    return -watching;
}
