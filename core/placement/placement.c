/* SPDX-License-Identifier: BSD-3-Clause */
/* The engines by name, and the care that is taken with those that are not ours. */
#include "placement/placement.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/util.h"
#include "config/choices.h"
#include "placement/engines.h"

enum { REGISTERED_MAX = CTE__CONFIG_ADDED_MAX };

const struct cte__placement_engine *const cte__placement_all[] = {
    &cte__placement_max_bw,
    &cte__placement_random,
    &cte__placement_round_robin,
    NULL,
};

/* Engines are added, never changed or removed: readers need no lock. */
static struct {
    pthread_mutex_t lock;
    struct cte__placement_engine engines[REGISTERED_MAX];
    char names[REGISTERED_MAX][CTE_PLACEMENT_NAME_MAX + 1];
    _Atomic uint32_t count; /* the release store that makes an engine visible */
} registered = {.lock = PTHREAD_MUTEX_INITIALIZER};

const struct cte__placement_engine *cte__placement_find(const char *name)
{
    for (size_t i = 0; cte__placement_all[i]; i++)
        if (strcasecmp(cte__placement_all[i]->name, name) == 0)
            return cte__placement_all[i];
    uint32_t count = atomic_load_explicit(&registered.count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++)
        if (strcasecmp(registered.names[i], name) == 0)
            return &registered.engines[i];
    return NULL;
}

cte_placement_function cte_placement_find(const char *name)
{
    const struct cte__placement_engine *engine = name ? cte__placement_find(name) : NULL;
    return engine ? engine->place : NULL;
}

static bool is_name(const char *name)
{
    static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t length = strlen(name);
    return length > 0 && length <= CTE_PLACEMENT_NAME_MAX && strspn(name, safe) == length;
}

static cte_status add_locked(const char *name, cte_placement_function place)
{
    const struct cte__placement_engine *known = cte__placement_find(name);
    if (known)
        return known->checked && known->place == place ? CTE_OK : -EEXIST;
    uint32_t index = atomic_load(&registered.count);
    if (index == REGISTERED_MAX)
        return -ENOSPC;
    memcpy(registered.names[index], name, strlen(name) + 1);
    registered.engines[index] = (struct cte__placement_engine){
        .name = registered.names[index], .place = place, .stateful = true, .checked = true};
    cte_status status = cte__config_choice_add("dpe", "dpe_type", registered.names[index]);
    if (status == CTE_OK)
        atomic_store_explicit(&registered.count, index + 1, memory_order_release);
    return status;
}

cte_status cte_placement_register(const char *name, cte_placement_function place)
{
    if (!name || !place || !is_name(name))
        return -EINVAL;
    pthread_mutex_lock(&registered.lock);
    cte_status status = add_locked(name, place);
    pthread_mutex_unlock(&registered.lock);
    return status;
}

/* What is wrong with an answer; NULL if nothing. */
static const char *objection(const struct cte_placement_target *targets, size_t target_count,
                             const struct cte_placement_request *request,
                             const struct cte_placement_extent *extents, size_t count)
{
    uint64_t left = request->bytes;
    if (count > target_count)
        return "it gave more extents than there are targets";
    for (size_t i = 0; i < count; i++) {
        if (extents[i].target >= target_count)
            return "it named a target that does not exist";
        if (extents[i].bytes == 0 || extents[i].bytes % CTE__PAGE_BYTES != 0)
            return "it gave a target something other than whole pages";
        if (extents[i].bytes > targets[extents[i].target].free_bytes)
            return "it gave a target more than that has free";
        if (extents[i].bytes > left)
            return "it placed more than was asked for";
        left -= extents[i].bytes;
        for (size_t k = 0; k < i; k++)
            if (extents[k].target == extents[i].target)
                return "it named a target twice";
    }
    return left > 0 ? "it placed less than was asked for" : NULL;
}

size_t cte__placement_place(const struct cte__placement_engine *engine,
                            const struct cte_placement_target *targets, size_t target_count,
                            const struct cte_placement_request *request,
                            struct cte_placement_extent *extents)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    size_t count = engine->place(targets, target_count, request, extents);
    if (!engine->checked)
        return count;
    const char *wrong = objection(targets, target_count, request, extents, count);
    if (!wrong)
        return count;
    /* Nothing placed is right if there is no room at all: then max_bw finds none either. */
    size_t replaced = cte__placement_max_bw.place(targets, target_count, request, extents);
    if ((count > 0 || replaced > 0) && !atomic_flag_test_and_set(&said))
        cte__log_warn("placement engine %s is wrong: %s; max_bw takes its place whenever it is",
                      engine->name, wrong);
    return replaced;
}
