/* SPDX-License-Identifier: BSD-3-Clause */
#include "config/choices.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

/* Words are added, never removed: readers need no lock. */
static struct {
    pthread_mutex_t lock;
    struct {
        const char *section, *name, *word;
    } rows[CTE__CONFIG_ADDED_MAX];
    _Atomic uint32_t count; /* the release store that makes a row visible */
} added = {.lock = PTHREAD_MUTEX_INITIALIZER};

cte_status cte__config_choice_add(const char *section, const char *name, const char *word)
{
    pthread_mutex_lock(&added.lock);
    uint32_t index = atomic_load(&added.count);
    bool room = index < CTE__CONFIG_ADDED_MAX;
    if (room) {
        added.rows[index].section = section;
        added.rows[index].name = name;
        added.rows[index].word = word;
        atomic_store_explicit(&added.count, index + 1, memory_order_release);
    }
    pthread_mutex_unlock(&added.lock);
    return room ? CTE_OK : -ENOSPC;
}

const char *cte__config_choice_added(const char *section, const char *name, uint32_t index)
{
    uint32_t count = atomic_load_explicit(&added.count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(added.rows[i].section, section) == 0 && strcmp(added.rows[i].name, name) == 0 &&
            index-- == 0)
            return added.rows[i].word;
    return NULL;
}
