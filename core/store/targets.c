/* SPDX-License-Identifier: BSD-3-Clause */
/* Targets that come and go.
 *
 * One comes: its record says HALF, the backing is made and measured, its arenas are set up, then
 * one store says ACTIVE.  One goes: DRAINING lets nothing new in; when all its data is elsewhere
 * (core/file/targets.c) its arenas are closed one by one under their locks, which only works if
 * they are empty; then HALF, the backing goes, NONE.  All but DRAINING happens with the store's
 * directory locked, so whoever has that lock and finds HALF takes it for what a dead process left.
 * A number and its arenas are used again; the generation tells one use from the next. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "store/restore.h"
#include "store/store_internal.h"

enum { ARENA_BYTES_MIN = 1 << 20, ARENA_BYTES_MAX = CTE__PAGE_ARENA_MAX << CTE__PAGE_SHIFT };

/* Small targets get several arenas too, so that processes do not queue for one allocator. */
static uint64_t arena_bytes_for(uint64_t capacity_bytes)
{
    uint64_t arena = ARENA_BYTES_MAX;
    while (arena > ARENA_BYTES_MIN && arena * 16 > capacity_bytes)
        arena /= 2;
    return arena;
}

void cte__store_target_cut(const struct cte__config_target *config, uint64_t *capacity_bytes,
                           uint64_t *arena_bytes)
{
    *arena_bytes = arena_bytes_for(config->capacity_bytes);
    *capacity_bytes = cte__target_arena_count(config->capacity_bytes) * *arena_bytes;
}

uint32_t cte__target_arena_count(uint64_t capacity_bytes)
{
    return (uint32_t)(capacity_bytes / arena_bytes_for(capacity_bytes));
}

static void set_state(struct cte__target_record *record, enum cte__target_state state)
{
    atomic_store_explicit(&record->state, (uint32_t)state, memory_order_release);
}

/* ---- making --------------------------------------------------------------------------------- */

static bool is_taken(const struct cte__store *store, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < store->header->target_count; i++) {
        const struct cte__target_record *record = &store->header->targets[i];
        if (cte__target_state(store, i) != CTE__TARGET_NONE &&
            first < record->arena_first + record->arena_count &&
            record->arena_first < first + count)
            return true;
    }
    return false;
}

/* The first place for so many arenas in a row, page_arena_room if there is none: at the start, or
 * behind those of another target. */
static uint32_t find_arenas(const struct cte__store *store, uint32_t count)
{
    const struct cte__store_header *header = store->header;
    uint32_t best = header->page_arena_room;
    for (uint32_t i = 0; i <= header->target_count; i++) {
        const struct cte__target_record *record = i > 0 ? &header->targets[i - 1] : NULL;
        uint32_t first = record ? record->arena_first + record->arena_count : 0;
        if (first < best && header->page_arena_room - first >= count &&
            !is_taken(store, first, count))
            best = first;
    }
    return best;
}

static void fill_record(const struct cte__store *store, struct cte__target_record *record,
                        const struct cte__config_target *config)
{
    uint32_t index = (uint32_t)(record - store->header->targets);
    /* Kinds without a path of their own live in the store's directory. */
    if (strcmp(config->kind, "ram") == 0) {
        snprintf(record->path, sizeof record->path, "%.*s/ram.%u", PATH_MAX - 16, store->directory,
                 index);
        snprintf(record->label, sizeof record->label, "%.63s", config->path);
    } else {
        snprintf(record->path, sizeof record->path, "%s", config->path);
        record->label[0] = '\0';
    }
    snprintf(record->kind, sizeof record->kind, "%s", config->kind);
    record->engine = strcmp(config->io, "uring") == 0 ? CTE__TARGET_URING : CTE__TARGET_BUFFERED;
    record->arena_bytes = arena_bytes_for(config->capacity_bytes);
    record->arena_count = cte__target_arena_count(config->capacity_bytes);
    record->capacity_bytes = record->arena_count * record->arena_bytes;
    record->manual_score = config->score >= 0;
    atomic_store(&record->score, config->score);
    atomic_store(&record->failures, 0);
    memset(record->counters, 0, sizeof record->counters);
}

/* Empty arenas for the target.  Those that were in use before have locks that somebody may wait
 * for, so they are not made anew. */
static bool set_up_arenas(struct cte__store *store, const struct cte__target_record *record)
{
    struct cte__store_header *header = store->header;
    struct cte__arena *arenas = (void *)(store->base + header->page_arenas_offset);
    uint32_t pages = (uint32_t)cte__bytes_to_pages(record->arena_bytes);
    uint64_t stride = cte__arena_table_bytes(CTE__PAGE_ARENA_MAX, true);
    if (!cte__segment_back(store, header->page_arenas_offset + record->arena_first * sizeof *arenas,
                           record->arena_count * sizeof *arenas))
        return false;
    for (uint32_t i = record->arena_first; i < record->arena_first + record->arena_count; i++)
        if (arenas[i].owners_offset == 0)
            cte__arena_init(&arenas[i], pages, CTE__PAGE_ARENA_MAX, true,
                            header->page_tables_offset + i * stride);
    for (uint32_t i = record->arena_first; i < record->arena_first + record->arena_count; i++) {
        if (!cte__arena_close(cte__page_arena(store, i)))
            return false;
        cte__arena_resize(cte__page_arena(store, i), pages);
        cte__arena_open(cte__page_arena(store, i));
    }
    return true;
}

/* The first free record, CTE__TARGETS_MAX if there is none. */
static uint32_t free_record(const struct cte__store *store)
{
    uint32_t index = 0;
    while (index < CTE__TARGETS_MAX && cte__target_state(store, index) != CTE__TARGET_NONE)
        index++;
    return index;
}

/* Before data goes there the journal knows what its number stands for. */
static void tell_journal(struct cte__store *store, const struct cte__target_record *record)
{
    uint32_t index = (uint32_t)(record - store->header->targets);
    const struct cte__target_ops *ops = cte__target_ops_find(record->kind);
    _Atomic uint32_t *surviving = &store->header->journal.surviving;
    if (ops->capabilities & CTE__TARGET_SURVIVES_NODE)
        atomic_fetch_or(surviving, 1u << index);
    else
        atomic_fetch_and(surviving, ~(1u << index));
    cte_status status = cte__journal_target(store, index);
    (void)status; /* a journal that cannot be written tells it when it can be */
}

/* What a sweep counts must not change while it counts. */
static bool go_live(struct cte__store *store, struct cte__target_record *record)
{
    struct cte__store_header *header = store->header;
    bool died = cte__mutex_lock(&header->sweep_lock); /* it can be begun again */
    (void)died;
    bool ready = set_up_arenas(store, record);
    if (ready) {
        tell_journal(store, record);
        header->page_arena_count =
            (uint32_t)cte__max(header->page_arena_count, record->arena_first + record->arena_count);
        set_state(record, CTE__TARGET_ACTIVE);
    }
    cte__mutex_unlock(&header->sweep_lock);
    return ready;
}

/* One whose contents a journal needs is there. */
static cte_status make_backing(struct cte__store *store, struct cte__target_record *record,
                               const struct cte__model *model)
{
    const struct cte__target_ops *ops = cte__target_ops_find(record->kind);
    struct cte__target_spec spec = cte__store_target_spec(store, record);
    bool needed = cte__restore_needs(model, record);
    cte_status status = !ops ? CTE_ERR_STORE_LAYOUT : needed ? CTE_OK : ops->create(&spec);
    if (status != CTE_OK)
        return status;
    cte__target_measure(record, ops, &spec, needed);
    if (go_live(store, record))
        return CTE_OK;
    if (needed)
        return -ENOSPC;
    status = ops->destroy(&spec);
    if (status != CTE_OK)
        cte__log_warn("target %s cannot be removed: %s", record->path, cte_status_string(status));
    return -ENOSPC;
}

cte_status cte__target_make(struct cte__store *store, const struct cte__config_target *config,
                            const struct cte__model *model)
{
    struct cte__store_header *header = store->header;
    const char *name = config->path[0] ? config->path : config->kind;
    uint32_t index = free_record(store);
    if (config->capacity_bytes < ARENA_BYTES_MIN) {
        cte__log_error("target %s: capacity_limit %llu is too small, give 1MiB at least", name,
                       (unsigned long long)config->capacity_bytes);
        return -EINVAL;
    }
    uint32_t first = find_arenas(store, cte__target_arena_count(config->capacity_bytes));
    if (index == CTE__TARGETS_MAX || first == header->page_arena_room) {
        cte__log_error("target %s: the store has no room for so large a target; configure it with "
                       "all its targets from the start, or give this one less capacity",
                       name);
        return -EFBIG;
    }
    struct cte__target_record *record = &header->targets[index];
    fill_record(store, record, config);
    record->arena_first = first;
    set_state(record, CTE__TARGET_HALF);
    if (header->target_count <= index)
        header->target_count = index + 1;
    atomic_fetch_add(&record->generation, 1);
    cte_status status = make_backing(store, record, model);
    if (status != CTE_OK) {
        cte__log_error("target %s (%s) is left out: %s", record->path, record->kind,
                       cte_status_string(status));
        set_state(record, CTE__TARGET_NONE);
        return status;
    }
    cte__targets_refresh(store, 0);
    return CTE_OK;
}

/* Takes away what stands for no target any more.  If that fails, the next one tries again: the
 * place must not be used while processes may have the old backing open.  What is not ours is none.
 */
static void take_away(struct cte__store *store, struct cte__target_record *record)
{
    const struct cte__target_ops *ops = cte__target_ops_find(record->kind);
    struct cte__target_spec spec = cte__store_target_spec(store, record);
    cte_status status = ops ? ops->destroy(&spec) : CTE_ERR_STORE_LAYOUT;
    if (status != CTE_OK)
        cte__log_warn("target %s has no data any more, but cannot be removed: %s", record->path,
                      cte_status_string(status));
    if (status == CTE_OK || status == -EEXIST || status == -ELOOP || status == -EISDIR ||
        status == -ENOTDIR || status == CTE_ERR_STORE_OWNER)
        set_state(record, CTE__TARGET_NONE);
}

void cte__targets_clean(struct cte__store *store)
{
    for (uint32_t i = 0; i < store->header->target_count; i++)
        if (cte__target_state(store, i) == CTE__TARGET_HALF)
            take_away(store, &store->header->targets[i]);
}

/* ---- registering ---------------------------------------------------------------------------- */

uint32_t cte__target_find(const struct cte__store *store, const char *name)
{
    for (uint32_t i = 0; i < store->header->target_count; i++) {
        const struct cte__target_record *record = &store->header->targets[i];
        if (cte__target_exists(store, i) && name[0] != '\0' &&
            (strcmp(record->path, name) == 0 || strcmp(record->label, name) == 0))
            return i;
    }
    return CTE__TARGETS_MAX;
}

static cte_status take_back(struct cte__store *store, uint32_t target,
                            const struct cte__config_target *config)
{
    struct cte__target_record *record = &store->header->targets[target];
    uint32_t state = atomic_load(&record->state);
    if (state == CTE__TARGET_ACTIVE || strcmp(record->kind, config->kind) != 0)
        return -EEXIST;
    atomic_store(&record->failures, 0);
    /* Some may have been closed by who died taking the target away. */
    for (uint32_t i = 0; i < record->arena_count; i++)
        cte__arena_open(cte__page_arena(store, record->arena_first + i));
    set_state(record, CTE__TARGET_ACTIVE);
    return CTE_OK;
}

static cte_status register_locked(struct cte__store *store, const struct cte__config_target *config)
{
    uint32_t found = cte__target_find(store, config->path), count = 0;
    if (found < CTE__TARGETS_MAX)
        return take_back(store, found, config);
    cte__targets_clean(store);
    for (uint32_t i = 0; i < CTE__TARGETS_MAX; i++)
        count += cte__target_exists(store, i);
    if (count >= cte__min(store->targets_max, CTE__TARGETS_MAX)) {
        cte__log_error("the store has %u targets, no more are allowed (targets.max_targets, and %d "
                       "at most)",
                       count, CTE__TARGETS_MAX);
        return -EUSERS;
    }
    return cte__target_make(store, config, NULL);
}

cte_status cte__target_register(struct cte__store *store, const struct cte__config_target *config)
{
    int lock_fd;
    if (cte__store_self(store) == 0)
        return -EUSERS;
    cte_status status = cte__store_lock(store->directory, false, &lock_fd);
    if (status != CTE_OK)
        return status;
    status = register_locked(store, config);
    close(lock_fd);
    return status;
}

/* ---- unregistering -------------------------------------------------------------------------- */

static cte_status leave_locked(struct cte__store *store, const char *name,
                               struct cte__target_leave *leave)
{
    uint32_t target = cte__target_find(store, name);
    if (target == CTE__TARGETS_MAX)
        return CTE_ERR_NOT_FOUND;
    struct cte__target_record *record = &store->header->targets[target];
    uint64_t used = record->capacity_bytes - cte__target_free_bytes(store, target), room = 0;
    uint32_t others = 0;
    for (uint32_t i = 0; i < store->header->target_count; i++)
        if (i != target && cte__target_state(store, i) == CTE__TARGET_ACTIVE) {
            others++;
            room += cte__target_free_bytes(store, i);
        }
    if (others == 0 && cte__target_state(store, target) == CTE__TARGET_ACTIVE)
        return -EBUSY;
    if (used > room)
        return -ENOSPC;
    *leave = (struct cte__target_leave){target, atomic_load(&record->generation),
                                        atomic_load(&record->state)};
    /* Who died leaving, did not mean to stay. */
    if (leave->state_before == CTE__TARGET_DRAINING)
        leave->state_before = CTE__TARGET_ACTIVE;
    set_state(record, CTE__TARGET_DRAINING);
    return CTE_OK;
}

cte_status cte__target_leave_begin(struct cte__store *store, const char *name,
                                   struct cte__target_leave *leave)
{
    int lock_fd;
    if (cte__store_self(store) == 0)
        return -EUSERS;
    cte_status status = cte__store_lock(store->directory, false, &lock_fd);
    if (status != CTE_OK)
        return status;
    status = leave_locked(store, name, leave);
    close(lock_fd);
    return status;
}

/* Still the same target, and still leaving? */
static cte_status leave_check(const struct cte__store *store, const struct cte__target_leave *leave)
{
    const struct cte__target_record *record = &store->header->targets[leave->target];
    if (atomic_load(&record->generation) != leave->generation)
        return CTE_ERR_NOT_FOUND;
    return atomic_load(&record->state) == CTE__TARGET_DRAINING ? CTE_OK : -ECANCELED;
}

static bool close_arenas(struct cte__store *store, const struct cte__target_record *record)
{
    for (uint32_t i = 0; i < record->arena_count; i++)
        if (!cte__arena_close(cte__page_arena(store, record->arena_first + i)))
            return false; /* closed ones stay so: nothing new is to come */
    return true;
}

static cte_status finish_locked(struct cte__store *store, const struct cte__target_leave *leave)
{
    struct cte__target_record *record = &store->header->targets[leave->target];
    cte_status status = leave_check(store, leave);
    if (status != CTE_OK)
        return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
    if (!close_arenas(store, record))
        return -EAGAIN;
    /* No page is anybody's, and none can be had: from here on it is no target any more.  The state
     * first, then the generation: see target_cut() in heap.c. */
    set_state(record, CTE__TARGET_HALF);
    atomic_fetch_add(&record->generation, 1);
    take_away(store, record);
    cte__targets_refresh(store, 0);
    return CTE_OK;
}

cte_status cte__target_leave_finish(struct cte__store *store, const struct cte__target_leave *leave)
{
    int lock_fd;
    cte_status status = cte__store_lock(store->directory, false, &lock_fd);
    if (status != CTE_OK)
        return status;
    status = finish_locked(store, leave);
    close(lock_fd);
    return status;
}

void cte__target_leave_cancel(struct cte__store *store, const struct cte__target_leave *leave)
{
    struct cte__target_record *record = &store->header->targets[leave->target];
    int lock_fd;
    cte_status status = cte__store_lock(store->directory, false, &lock_fd);
    if (status != CTE_OK) {
        cte__log_warn("target %s gets no new data until it is registered again: %s", record->path,
                      cte_status_string(status));
        return;
    }
    if (leave_check(store, leave) == CTE_OK) {
        for (uint32_t i = 0; i < record->arena_count; i++)
            cte__arena_open(cte__page_arena(store, record->arena_first + i));
        set_state(record, (enum cte__target_state)leave->state_before);
    }
    close(lock_fd);
}
