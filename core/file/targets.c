/* SPDX-License-Identifier: BSD-3-Clause */
/* Targets of a store that is in use, as programs see them.  What a target that goes holds is moved
 * blob by blob, file by file and tag by tag; others put and get meanwhile, but nothing new goes
 * there, so that one pass after the other finds less. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cte/target.h>

#include "blob/move.h"
#include "blob/observe.h"
#include "blob/tag.h"
#include "file/inspect.h"

enum { IDLE_NS = 2 * 1000 * 1000, IDLE_PASSES_MAX = 2500 };

/* ---- looking -------------------------------------------------------------------------------- */

static cte_target_info describe(const struct cte__store *store, uint32_t target)
{
    const struct cte__target_record *record = &store->header->targets[target];
    struct cte__target_totals totals = cte__target_totals(record);
    cte_target_info info = {
        .score = atomic_load(&record->score),
        .capacity_bytes = record->capacity_bytes,
        .free_bytes = cte__target_free_bytes(store, target),
        .bytes_read = totals.bytes_read,
        .bytes_written = totals.bytes_written,
        .reads = totals.reads,
        .writes = totals.writes,
        .bytes_per_s = record->bytes_per_s,
        .latency_ns = record->latency_ns,
        .failures = atomic_load(&record->failures),
        .state = cte__target_state(store, target) == CTE__TARGET_DRAINING ? CTE_TARGET_DRAINING
                 : cte__target_state(store, target) == CTE__TARGET_FAILED ? CTE_TARGET_FAILED
                                                                          : CTE_TARGET_ACTIVE,
        .measured = record->measured,
        .manual_score = record->manual_score,
    };
    strncpy(info.name, record->path, sizeof info.name - 1);
    strncpy(info.label, record->label, sizeof info.label - 1);
    strncpy(info.kind, record->kind, sizeof info.kind - 1);
    return info;
}

static void refresh(cte_client *client)
{
    uint32_t interval_ms = client->config->target_stat_interval_ms;
    if (interval_ms > 0)
        cte__targets_refresh(client->store, (uint64_t)interval_ms * 1000000);
}

static int compare_scores(const void *a, const void *b)
{
    float x = ((const cte_target_info *)a)->score, y = ((const cte_target_info *)b)->score;
    return (x < y) - (x > y);
}

cte_status cte_client_targets(cte_client *client, cte_target_info *infos, uint32_t capacity,
                              uint32_t *count)
{
    cte_target_info all[CTE__TARGETS_MAX];
    const struct cte__store *store = client->store;
    refresh(client);
    *count = 0;
    for (uint32_t i = 0; i < store->header->target_count; i++)
        if (cte__target_exists(store, i))
            all[(*count)++] = describe(store, i);
    qsort(all, *count, sizeof all[0], compare_scores);
    if (infos)
        memcpy(infos, all, (capacity < *count ? capacity : *count) * sizeof all[0]);
    return CTE_OK;
}

/* The client, or the process-wide one for NULL. */
static cte_status client_of(cte_client **client)
{
    return *client ? CTE_OK : cte_client_default(client);
}

cte_status cte_target_stat(cte_client *client)
{
    cte_status status = client_of(&client);
    if (status != CTE_OK)
        return status;
    uint64_t start = cte__observe_begin(client->store);
    cte__targets_refresh(client->store, 0);
    return cte__observe_target(client->store, start, CTE_OP_TARGET_STAT, CTE_TELEMETRY_NO_TARGET, 0,
                               CTE_OK);
}

cte_status cte_target_get_info(cte_client *client, const char *name, cte_target_info *info)
{
    if (!name || !info)
        return -EINVAL;
    cte_status status = client_of(&client);
    if (status != CTE_OK)
        return status;
    uint64_t start = cte__observe_begin(client->store);
    refresh(client);
    uint32_t target = cte__target_find(client->store, name);
    if (target == CTE__TARGETS_MAX)
        return cte__observe_target(client->store, start, CTE_OP_TARGET_STAT,
                                   CTE_TELEMETRY_NO_TARGET, 0, CTE_ERR_NOT_FOUND);
    *info = describe(client->store, target);
    return cte__observe_target(client->store, start, CTE_OP_TARGET_STAT, target, 0, CTE_OK);
}

/* ---- coming --------------------------------------------------------------------------------- */

cte_status cte_target_register(cte_client *client, const cte_config *config, uint32_t index)
{
    if (!config || index >= config->target_count)
        return -EINVAL;
    const struct cte__config_target *wanted = &config->targets[index];
    cte_status status = client_of(&client);
    if (status != CTE_OK)
        return status;
    uint64_t start = cte__observe_begin(client->store);
    status = cte__target_register(client->store, wanted);
    uint32_t target =
        status == CTE_OK ? cte__target_find(client->store, wanted->path) : CTE__TARGETS_MAX;
    return cte__observe_target(client->store, start, CTE_OP_TARGET_REGISTER,
                               target < CTE__TARGETS_MAX ? target : CTE_TELEMETRY_NO_TARGET,
                               wanted->capacity_bytes, status);
}

/* ---- going ---------------------------------------------------------------------------------- */

/* One pass over all that is stored. */
struct pass {
    cte_client *client;
    struct cte__store *store;
    struct cte__move move;
    uint64_t pages_moved;
};

static cte_status move_blob(struct pass *pass, const struct cte__blob_key *key)
{
    struct cte__move_result result = {.pages_moved = 0};
    cte_status status = cte__blob_move(pass->store, key, &pass->move, &result);
    pass->pages_moved += status == CTE_OK ? result.pages_moved : 0;
    return status == CTE_ERR_NOT_FOUND ? CTE_OK : status; /* deleted meanwhile */
}

static cte_status move_file(struct pass *pass, const struct cte__file_identity *name)
{
    struct cte__held_file held;
    uint64_t *chunks = NULL;
    size_t count = 0;
    cte_status status = cte__file_hold(pass->client, name, &held);
    if (status != CTE_OK)
        return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
    status = cte__tracked_chunks(pass->store, held.tag, &chunks, &count);
    for (size_t i = 0; i < count && status == CTE_OK; i++) {
        struct cte__blob_key key = cte__chunk_key(held.tag, &chunks[i]);
        status = move_blob(pass, &key);
    }
    cte__file_release(&held);
    free(chunks);
    return status;
}

static cte_status move_files(struct pass *pass)
{
    struct cte__file_names names = {0};
    cte_status status = cte__file_names(pass->store, &names);
    for (size_t i = 0; i < names.count && status == CTE_OK; i++)
        status = move_file(pass, &names.names[i]);
    free(names.names);
    return status;
}

static cte_status move_tag(void *context, const char *name)
{
    struct pass *pass = context;
    struct cte__user_tag tag;
    struct cte__name_list list = {0};
    cte_status status = cte__user_tag_open(pass->store, name, CTE__USER_TAG_OPEN, &tag);
    if (status == CTE_OK)
        status = cte__user_tag_blobs(pass->store, &tag, &list);
    for (size_t at = 0; at < list.bytes && status == CTE_OK; at += strlen(list.text + at) + 1) {
        struct cte__blob_key key = cte__user_blob_key(&tag, list.text + at);
        status = move_blob(pass, &key);
    }
    free(list.text);
    return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
}

static cte_status move_all(cte_client *client, uint32_t target, uint64_t *pages_moved)
{
    struct pass pass = {
        .client = client, .store = client->store, .move = {.score = -1.0f, .avoid = 1u << target}};
    cte_status status = move_files(&pass);
    if (status == CTE_OK)
        status = cte_client_tags(client, move_tag, &pass);
    *pages_moved = pass.pages_moved;
    return status;
}

/* What is left and cannot be moved is being filled or emptied by somebody, alive or dead. */
static void wait_for_others(struct cte__store *store)
{
    struct timespec nap = {0, IDLE_NS};
    if (cte__store_has_dead(store))
        cte__store_sweep(store);
    nanosleep(&nap, NULL);
}

static cte_status empty_target(cte_client *client, const struct cte__target_leave *leave)
{
    cte_status status = -EAGAIN;
    for (int idle = 0; status == -EAGAIN && idle < IDLE_PASSES_MAX;) {
        uint64_t moved = 0;
        status = cte__target_leave_finish(client->store, leave);
        if (status != -EAGAIN)
            break;
        cte_status pass = move_all(client, leave->target, &moved);
        if (pass != CTE_OK)
            return pass;
        idle = moved > 0 ? 0 : idle + 1;
        if (moved == 0)
            wait_for_others(client->store);
    }
    return status == -EAGAIN ? -EBUSY : status;
}

cte_status cte_target_unregister(cte_client *client, const char *name)
{
    struct cte__target_leave leave;
    if (!name)
        return -EINVAL;
    cte_status status = client_of(&client);
    if (status != CTE_OK)
        return status;
    uint64_t start = cte__observe_begin(client->store);
    status = cte__target_leave_begin(client->store, name, &leave);
    if (status != CTE_OK)
        return cte__observe_target(client->store, start, CTE_OP_TARGET_UNREGISTER,
                                   CTE_TELEMETRY_NO_TARGET, 0, status);
    status = empty_target(client, &leave);
    if (status != CTE_OK && status != -ECANCELED)
        cte__target_leave_cancel(client->store, &leave);
    return cte__observe_target(client->store, start, CTE_OP_TARGET_UNREGISTER, leave.target, 0,
                               status);
}
