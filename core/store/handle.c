/* SPDX-License-Identifier: BSD-3-Clause */
/* Targets as one process sees them.  They come and go while it runs: a target is opened when its
 * number is first met in a generation that this process has not seen.  What was open under that
 * number before stays open until the process leaves the store, as another thread may be using it.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"
#include "store/store_internal.h"

enum { FAILURES_MAX = 3 };

/* Where the tables of a page arena lie, whatever target has it (format.c). */
const struct cte__arena_view *cte__page_arena_see(const struct cte__store *constant, uint32_t index)
{
    /* What is filled in here is this process's own memory of what does not change. */
    struct cte__store *store = (struct cte__store *)constant;
    struct cte__arena_view *view = &store->page_arenas[index];
    struct cte__arena *arenas = (void *)(store->base + store->header->page_arenas_offset);
    char *tables = store->base + store->header->page_tables_offset +
                   index * cte__arena_table_bytes(CTE__PAGE_ARENA_MAX, true);
    char *bitmap = tables + CTE__PAGE_ARENA_MAX * sizeof(uint16_t);
    pthread_mutex_lock(&store->targets_lock);
    if (!view->arena) {
        view->owners = (void *)tables;
        view->bitmap = (void *)bitmap;
        view->sums = (void *)(bitmap + CTE__PAGE_ARENA_MAX / 8);
        __atomic_store_n(&view->arena, &arenas[index], __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&store->targets_lock);
    return view;
}

static cte_status open_locked(struct cte__store *store, uint32_t target,
                              struct cte__open_target **opened)
{
    struct cte__target_handle *handle = &store->targets[target];
    const struct cte__target_record *record = handle->record;
    uint32_t generation = atomic_load(&record->generation);
    *opened = atomic_load(&handle->open);
    if (!cte__target_exists(store, target))
        return CTE_ERR_NOT_FOUND;
    if (*opened && (*opened)->generation == generation)
        return CTE_OK;
    struct cte__open_target *fresh = malloc(sizeof *fresh);
    if (!fresh)
        return -ENOMEM;
    *fresh = (struct cte__open_target){
        .ops = cte__target_ops_find(record->kind), .generation = generation, .earlier = *opened};
    struct cte__target_spec spec = cte__store_target_spec(store, record);
    cte_status status = fresh->ops ? fresh->ops->open(&spec, &fresh->state) : CTE_ERR_STORE_LAYOUT;
    if (status != CTE_OK) {
        cte__log_error("target %s cannot be opened: %s", record->path, cte_status_string(status));
        free(fresh);
        return status;
    }
    atomic_store(&handle->arena_hint, 0);
    atomic_store_explicit(&handle->open, fresh, memory_order_release);
    *opened = fresh;
    return CTE_OK;
}

cte_status cte__target_open_now(struct cte__store *store, uint32_t target,
                                const struct cte__open_target **open)
{
    struct cte__open_target *opened;
    pthread_mutex_lock(&store->targets_lock);
    cte_status status = open_locked(store, target, &opened);
    pthread_mutex_unlock(&store->targets_lock);
    *open = opened;
    return status;
}

/* A store whose targets cannot be opened is of no use; but one that gets no new data may be
 * missing. */
cte_status cte__targets_open(struct cte__store *store)
{
    for (uint32_t i = 0; i < store->header->target_count; i++) {
        const struct cte__open_target *open;
        cte_status status =
            cte__target_exists(store, i) ? cte__target_open(store, i, &open) : CTE_OK;
        if (status != CTE_OK && cte__target_state(store, i) == CTE__TARGET_ACTIVE)
            return status;
    }
    return CTE_OK;
}

/* ---- health --------------------------------------------------------------------------------- */

/* What says nothing of the device: a full medium, a transfer that was not as it should be. */
static bool is_failure(cte_status status)
{
    return status != CTE_OK && status != -ENOSPC && status != -EINVAL && status != -ENOMEM &&
           status != -EMFILE && status != -ENFILE;
}

void cte__target_note(struct cte__store *store, uint32_t target, cte_status status, bool late)
{
    struct cte__target_record *record = &store->header->targets[target];
    uint32_t active = CTE__TARGET_ACTIVE;
    if (!is_failure(status) && !late) {
        if (status == CTE_OK)
            atomic_store_explicit(&record->failures, 0, memory_order_relaxed);
        return;
    }
    if (atomic_fetch_add(&record->failures, 1) + 1 < FAILURES_MAX || !store->give_up_failed ||
        !atomic_compare_exchange_strong(&record->state, &active, CTE__TARGET_FAILED))
        return;
    cte__log_error(
        "target %s gets no new data: %d transfers in a row failed (%s); what is there is "
        "read as long as that works; once the device is well again, `cte targets "
        "register` takes it back into use, `cte targets unregister` moves its data away",
        record->path, FAILURES_MAX, late ? "they took too long" : cte_status_string(status));
}
