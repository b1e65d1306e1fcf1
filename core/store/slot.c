/* SPDX-License-Identifier: BSD-3-Clause */
/* Which processes are attached, and whether they live. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "store/pin.h"
#include "store/store_internal.h"

/* Grows in every child of a fork: what the parent claimed in the store is not the child's. */
static _Atomic uint32_t fork_generation;

static void count_fork(void)
{
    atomic_fetch_add(&fork_generation, 1);
}

static void watch_forks_once(void)
{
    if (pthread_atfork(NULL, NULL, count_fork) != 0)
        cte__log_warn("cannot watch forks: child processes must not use open files");
}

void cte__slot_watch_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks_once);
}

/* A number in /proc/<pid>/stat; `state` is its third field.  0 if there is none. */
static uint64_t stat_field(const char *state, int wanted)
{
    enum { STATE_FIELD = 3 };
    for (int field = STATE_FIELD; field < wanted && state; field++) {
        state = strchr(state, ' ');
        if (state)
            state++;
    }
    return state ? strtoull(state, NULL, 10) : 0;
}

/* Start time of a process in clock ticks after boot; 0 if it is gone or a zombie. */
static uint64_t process_start_time(uint32_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    /* The command name may hold anything, so fields are counted from its closing parenthesis. */
    const char *state = strrchr(text, ')');
    if (!state || state[1] != ' ')
        return 0;
    state += 2;
    enum { THREADS_FIELD = 20, START_FIELD = 22 };
    /* A program whose first thread left while others go on looks like a zombie with threads. */
    if (*state == 'X' || (*state == 'Z' && stat_field(state, THREADS_FIELD) <= 1))
        return 0;
    return stat_field(state, START_FIELD);
}

bool cte__slot_alive(const struct cte__slot *slot)
{
    uint32_t pid = atomic_load(&slot->pid);
    return pid != 0 && process_start_time(pid) == slot->start_time;
}

bool cte__slot_dead(const struct cte__slot *slot)
{
    uint32_t pid = atomic_load(&slot->pid);
    if (pid == 0)
        return false;
    bool gone = process_start_time(pid) != slot->start_time;
    /* A live process may have left the slot meanwhile, and another one taken it. */
    return gone && atomic_load(&slot->pid) == pid;
}

bool cte__store_has_dead(struct cte__store *store)
{
    for (uint32_t i = 0; i < CTE__SLOTS_MAX; i++)
        if (cte__slot_dead(&store->header->slots[i]))
            return true;
    return false;
}

uint32_t cte__slots_live(struct cte__store *store)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < CTE__SLOTS_MAX; i++)
        live += cte__slot_alive(&store->header->slots[i]);
    return live;
}

/* The store's directory is locked: slots are taken and given one process at a time. */
cte_status cte__slot_take_locked(struct cte__store *store)
{
    uint32_t pid = (uint32_t)getpid();
    uint64_t start_time = process_start_time(pid);
    if (start_time == 0) {
        cte__log_error("cannot read /proc/%u/stat: the store needs a mounted /proc", pid);
        return -ENOENT;
    }
    for (uint32_t i = 0; i < CTE__SLOTS_MAX; i++) {
        struct cte__slot *slot = &store->header->slots[i];
        if (atomic_load(&slot->pid) != 0)
            continue;
        slot->start_time = start_time;
        atomic_store(&slot->pid, pid);
        atomic_store(&store->slot, (uint64_t)atomic_load(&fork_generation) << 32 | (i + 1));
        return CTE_OK;
    }
    cte__log_error("store %s: all %d process slots are taken", store->directory, CTE__SLOTS_MAX);
    return -EUSERS;
}

static bool slot_is_ours(uint64_t slot)
{
    return (uint32_t)slot != 0 &&
           slot >> 32 == atomic_load_explicit(&fork_generation, memory_order_relaxed);
}

void cte__slot_give_locked(struct cte__store *store)
{
    uint64_t slot = atomic_exchange(&store->slot, 0);
    if (!slot_is_ours(slot))
        return;
    cte__pins_leave(store, (uint16_t)slot);
    atomic_store(&store->header->slots[(uint32_t)slot - 1].pid, 0);
}

uint16_t cte__store_self(struct cte__store *store)
{
    uint64_t slot = atomic_load_explicit(&store->slot, memory_order_relaxed);
    if (slot_is_ours(slot))
        return (uint16_t)slot;
    pthread_mutex_lock(&store->slot_lock);
    cte_status status = CTE_OK;
    if (!slot_is_ours(atomic_load(&store->slot))) {
        int lock_fd = -1;
        status = cte__store_lock(store->directory, false, &lock_fd);
        if (status == CTE_OK) {
            status = cte__slot_take_locked(store);
            close(lock_fd);
        }
    }
    slot = atomic_load(&store->slot);
    pthread_mutex_unlock(&store->slot_lock);
    return status == CTE_OK ? (uint16_t)slot : 0;
}
