/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking at a whole store, and removing it. */
#include "file/inspect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cte/store.h>

#include "base/log.h"
#include "file/drain.h"
#include "file/kept.h"

cte_status cte_store_open_existing(const cte_config *config, cte_client **out)
{
    cte_status status = cte__client_open(config, false, out);
    if (status == CTE_OK)
        (*out)->observer = true;
    return status;
}

cte_status cte_store_path(const cte_config *config, char *path, size_t path_bytes)
{
    int n = snprintf(path, path_bytes, "%s/cte-%u-%s", config->store_directory, (unsigned)geteuid(),
                     config->store_name);
    return n < 0 || (size_t)n >= path_bytes ? -ENAMETOOLONG : CTE_OK;
}

cte_status cte_store_processes(cte_client *client, uint32_t *pids, uint32_t capacity,
                               uint32_t *count)
{
    uint16_t self = cte__store_self(client->store);
    *count = 0;
    for (uint32_t i = 0; i < CTE__SLOTS_MAX; i++) {
        const struct cte__slot *slot = &client->store->header->slots[i];
        if (i + 1 == self || !cte__slot_alive(slot))
            continue;
        if (*count < capacity)
            pids[*count] = atomic_load(&slot->pid);
        (*count)++;
    }
    return CTE_OK;
}

cte_status cte_store_get_usage(cte_client *client, cte_store_usage *usage)
{
    enum { BLOCK_BYTES = 512 }; /* unit of st_blocks */
    const struct cte__store *store = client->store;
    struct stat status;
    if (fstat(store->segment_fd, &status) != 0)
        return -errno;
    const struct cte__drain_state *drain = &store->header->drain;
    *usage = (cte_store_usage){
        .segment_bytes = (uint64_t)status.st_blocks * BLOCK_BYTES,
        .bytes_drained = atomic_load(&drain->bytes_drained),
        .bytes_drained_background = atomic_load(&drain->bytes_drained_background),
        .bytes_evicted = atomic_load(&drain->bytes_evicted),
        .bytes_written_through = atomic_load(&drain->bytes_written_through),
        .drain_failures = atomic_load(&drain->failures),
    };
    for (uint32_t i = 0; i < store->header->unit_arena_count; i++) {
        const struct cte__arena *arena = store->unit_arenas[i].arena;
        uint32_t free_units = atomic_load_explicit(&arena->free_count, memory_order_relaxed);
        usage->metadata_bytes += (uint64_t)(arena->unit_count - free_units) << CTE__UNIT_SHIFT;
        usage->metadata_capacity_bytes += (uint64_t)arena->unit_count << CTE__UNIT_SHIFT;
    }
    return CTE_OK;
}

cte_status cte_store_get_journal(cte_client *client, cte_store_journal *journal)
{
    const struct cte__journal_state *state = &client->store->header->journal;
    *journal = (cte_store_journal){.generation = atomic_load(&state->generation)};
    if (journal->generation == 0)
        return CTE_OK;
    static_assert(sizeof journal->path == sizeof state->path, "a path fits");
    memcpy(journal->path, state->path, sizeof journal->path);
    journal->size_bytes = atomic_load(&state->bytes);
    journal->status = atomic_load(&state->broken);
    return CTE_OK;
}

/* ---- files ---------------------------------------------------------------------------------- */

static cte_status add_identity(void *context, cte__unit unit, const struct cte__entry *entry)
{
    struct cte__file_names *names = context;
    (void)unit;
    if (entry->type != CTE__ENTRY_FILE || entry->name_bytes != sizeof *names->names)
        return CTE_OK;
    struct cte__file_identity *larger =
        cte__array_reserve(names->names, names->count, &names->capacity, sizeof *larger);
    if (!larger)
        return -ENOMEM;
    names->names = larger;
    memcpy(&names->names[names->count++], entry->name, sizeof *names->names);
    return CTE_OK;
}

cte_status cte__file_names(struct cte__store *store, struct cte__file_names *names)
{
    return cte__tag_each(store, cte__tag_at(store, store->header->root_tag), add_identity, names);
}

cte_status cte__file_enter(cte_client *client, const struct cte__file_identity *name,
                           struct cte__held_file *held)
{
    struct cte__tag_key key = {name, sizeof *name, CTE__ENTRY_FILE, NULL, 0};
    struct cte__store *store = client->store;
    bool created;
    held->client = client;
    held->self = cte__store_self(store);
    held->locked = false;
    if (held->self == 0)
        return -EUSERS;
    pthread_mutex_lock(&client->lock);
    cte_status status = cte__tag_find(store, &key, false, held->self, &held->tag, &created);
    if (status != CTE_OK) {
        pthread_mutex_unlock(&client->lock);
        return status;
    }
    held->record = cte__tag_at(store, held->tag);
    held->open_here = cte__open_find_locked(client, held->tag) != NULL;
    return CTE_OK;
}

cte_status cte__file_hold(cte_client *client, const struct cte__file_identity *name,
                          struct cte__held_file *held)
{
    cte_status status = cte__file_enter(client, name, held);
    if (status != CTE_OK)
        return status;
    /* Whoever opens or closes the file waits here; a truncation that somebody died in is left to
     * those who have the real file. */
    cte__tracked_lock(client->store, held->tag, -1);
    held->locked = true;
    return CTE_OK;
}

void cte__file_release(struct cte__held_file *held)
{
    struct cte__store *store = held->client->store;
    if (held->locked)
        cte__tracked_unlock(store, held->tag);
    if (!held->open_here) {
        cte_status status = cte__file_leave(store, held->tag, held->self);
        if (status != CTE_OK)
            cte__log_warn("a file's record stays in the store: %s", cte_status_string(status));
    }
    pthread_mutex_unlock(&held->client->lock);
}

bool cte__file_is_joined(const struct cte__file_state *file)
{
    uint64_t any = 0;
    for (int i = 0; i < CTE__SLOTS_MAX / 64; i++)
        any |= atomic_load(&file->joined[i]);
    return any != 0;
}

static cte_status look(cte_client *client, const struct cte__file_identity *name,
                       cte_store_file *file)
{
    struct cte__held_file held;
    cte_status status = cte__file_hold(client, name, &held);
    if (status != CTE_OK)
        return status;
    const struct cte__file_state *state = &held.record->file;
    char *path = strdup(held.record->path);
    *file = (cte_store_file){
        .path = path,
        .size_bytes = atomic_load(&state->size_bytes),
        .mode = (cte_file_mode)state->mode,
        .drain = (cte_file_drain_policy)state->drain,
        .dirty = cte__tracked_is_dirty(client->store, held.tag),
        .open = cte__file_is_joined(state),
    };
    cte__file_release(&held);
    return path ? CTE_OK : -ENOMEM;
}

cte_status cte_store_files(cte_client *client,
                           cte_status (*visit)(void *context, const cte_store_file *file),
                           void *context)
{
    struct cte__file_names names = {0};
    cte_status status = cte__file_names(client->store, &names);
    for (size_t i = 0; i < names.count && status == CTE_OK; i++) {
        cte_store_file file;
        status = look(client, &names.names[i], &file);
        if (status == CTE_ERR_NOT_FOUND) {
            status = CTE_OK; /* closed and forgotten meanwhile */
            continue;
        }
        if (status == CTE_OK) {
            status = visit(context, &file);
            free((char *)file.path);
        }
    }
    free(names.names);
    return status;
}

/* ---- draining ------------------------------------------------------------------------------- */

struct drain_walk {
    cte_client *client;
    const char *path;
    cte__drained_visitor visit;
    void *context;
    cte_status busy; /* -EBUSY if a file that was asked for is open */
};

/* Says so of files that are left to the processes that have them open. */
static cte_status tell_open(void *context, const cte_store_file *file)
{
    struct drain_walk *walk = context;
    if (!file->open || !file->dirty || file->mode == CTE_FILE_MODE_SCRATCH ||
        (walk->path && strcmp(walk->path, file->path) != 0))
        return CTE_OK;
    if (walk->path)
        walk->busy = -EBUSY;
    cte_store_drained drained = {.path = file->path, .status = -EBUSY};
    return walk->visit ? walk->visit(walk->context, &drained) : CTE_OK;
}

cte_status cte_store_drain(cte_client *client, const char *path, bool force,
                           cte__drained_visitor visit, void *context)
{
    struct drain_walk walk = {client, path, visit, context, CTE_OK};
    /* What this process closed, by its descriptors; then by name, what nobody has a descriptor of.
     */
    cte_status kept = cte__kept_drain(client, path, visit, context);
    cte_status status = cte_store_files(client, tell_open, &walk);
    const struct cte__drain_request request = {.path = path, .force = force, .durable = force};
    if (status == CTE_OK)
        status = cte__drain_unopened_each(client, &request, visit, context);
    status = kept != CTE_OK ? kept : status;
    return status == CTE_OK ? walk.busy : status;
}

/* ---- destroying ----------------------------------------------------------------------------- */

static cte_status refuse_dirty(void *context, const cte_store_file *file)
{
    (void)context;
    return file->dirty && file->mode != CTE_FILE_MODE_SCRATCH ? CTE_ERR_DRAIN : CTE_OK;
}

cte_status cte_store_destroy(const cte_config *config, bool force)
{
    cte_client *client;
    uint32_t others = 0;
    cte_status status = cte_store_open_existing(config, &client);
    if (status == CTE_OK) {
        status = cte_store_processes(client, NULL, 0, &others);
        if (status == CTE_OK && others > 0)
            status = -EBUSY;
        if (status == CTE_OK && !force)
            status = cte_store_files(client, refuse_dirty, NULL);
        cte_status closed = cte_client_close(client);
        status = status == CTE_OK ? closed : status;
        if (status != CTE_OK)
            return status;
        /* An empty store went when we left it. */
        status = cte__store_destroy(config);
        return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
    }
    return force && status != CTE_ERR_NOT_FOUND ? cte__store_destroy(config) : status;
}
