/* SPDX-License-Identifier: BSD-3-Clause */
#include "file/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cte/telemetry.h>

#include "base/log.h"
#include "blob/cache.h"
#include "blob/observe.h"
#include "blob/tag.h"
#include "file/background.h"
#include "file/drain.h"
#include "file/grace.h"
#include "file/kept.h"
#include "file/organizer.h"
#include "file/outside.h"
#include "file/room.h"
#include "task/task.h"
#include "telemetry/summary.h"

enum { ERROR_BYTES = 1024 };

/* ---- work beside the program ------------------------------------------------------------------
 */

static bool organizer_wanted(void *context)
{
    const cte_client *client = context;
    return client->organizer != NULL;
}

static uint64_t organizer_step(void *context, struct cte__background *background)
{
    cte_client *client = context;
    (void)background;
    return cte__organizer_step(client->organizer, client);
}

static const struct cte__background_job organizer_job = {
    .name = "organizer", .wanted = organizer_wanted, .step = organizer_step};

/* The numbers are the same in all processes: new jobs go last. */
static const struct cte__background_job *const jobs[] = {&cte__drain_job, &organizer_job};

static cte_status start_background(cte_client *client)
{
    cte_status status = cte__background_new(client->store, jobs, sizeof jobs / sizeof jobs[0],
                                            client, &client->background);
    if (status != CTE_OK || !client->config->organizer)
        return status;
    client->organizer = cte__organizer_new();
    if (!client->organizer)
        return -ENOMEM;
    cte__background_rouse(client->background);
    return CTE_OK;
}

static void stop_background(cte_client *client)
{
    cte__background_free(client->background);
    cte__organizer_free(client->organizer);
    client->background = NULL;
    client->organizer = NULL;
}

/* ---- life -------------------------------------------------------------------------------------
 */

/* What the store holds for this client; missing memory for a cache only means that there is none.
 */
static cte_status equip(cte_client *client)
{
    uint64_t cache_bytes = (uint64_t)client->config->blob_cache_mb << 20;
    if (cache_bytes > 0)
        client->store->cache = cte__cache_new(cache_bytes);
    client->store->make_room = cte__room_make;
    client->store->make_room_context = client;
    return cte__task_pool_new(client->config, &client->store->tasks);
}

static void detach(cte_client *client)
{
    cte__cache_free(client->store->cache);
    client->store->cache = NULL;
    cte__store_detach(client->store);
}

static void free_client(cte_client *client)
{
    cte_config_free(client->config);
    pthread_cond_destroy(&client->pass_ended);
    pthread_mutex_destroy(&client->lock);
    free(client);
}

cte_status cte__client_open(const cte_config *config, bool create, cte_client **out)
{
    char error[ERROR_BYTES] = "";
    cte_client *client = calloc(1, sizeof *client);
    if (!client)
        return -ENOMEM;
    cte_status status = config ? cte__config_copy(config, &client->config)
                               : cte_config_load(NULL, &client->config, error, sizeof error);
    if (status != CTE_OK) {
        cte__log_error("configuration: %s", error[0] ? error : cte_status_string(status));
        free(client);
        return status;
    }
    cte__log_set_level(client->config->log_level);
    pthread_mutex_init(&client->lock, NULL);
    pthread_cond_init(&client->pass_ended, NULL);
    client->references = 1;
    status = create ? cte__store_attach(client->config, &client->store)
                    : cte__store_attach_existing(client->config, &client->store);
    if (status != CTE_OK) {
        if (create || status != CTE_ERR_NOT_FOUND)
            cte__log_error("store %s in %s cannot be used: %s", client->config->store_name,
                           client->config->store_directory, cte_status_string(status));
        free_client(client);
        return status;
    }
    status = equip(client);
    if (status == CTE_OK && create)
        status = start_background(client);
    if (status != CTE_OK) {
        stop_background(client);
        cte__task_pool_free(client->store->tasks);
        detach(client);
        free_client(client);
        return status;
    }
    *out = client;
    return CTE_OK;
}

cte_status cte_client_open(const cte_config *config, cte_client **out)
{
    return cte__client_open(config, true, out);
}

void cte__client_retain(cte_client *client)
{
    atomic_fetch_add(&client->references, 1);
}

cte_status cte__client_release(cte_client *client)
{
    if (atomic_fetch_sub(&client->references, 1) > 1)
        return CTE_OK;
    cte__grace_remove(client);
    stop_background(client);
    cte__task_pool_free(client->store->tasks);
    client->store->tasks = NULL;
    /* A file that only the dead have open is nobody's but ours to drain. */
    if (!client->observer && cte__store_has_dead(client->store))
        cte__store_sweep(client->store);
    cte__kept_finish(client, NULL);
    const struct cte__drain_request rest = {.leaving = true};
    cte_status status =
        client->observer ? CTE_OK : cte__drain_unopened_each(client, &rest, NULL, NULL);
    if (status != CTE_OK)
        cte__log_error("store %s keeps data that is not in its files yet: %s; run `cte drain`",
                       client->store->directory, cte_status_string(status));
    if (!client->observer)
        cte__orphan_kept_files(client->store);
    detach(client);
    free_client(client);
    return status == CTE_OK ? CTE_OK : CTE_ERR_DRAIN;
}

cte_status cte_client_close(cte_client *client)
{
    if (!client)
        return CTE_OK;
    if (cte__task_in_task())
        return -EDEADLK; /* it would wait for itself */
    cte__task_pool_close(client->store->tasks);
    return cte__client_release(client);
}

cte_status cte__client_resolve(cte_client **client)
{
    return *client ? CTE_OK : cte_client_default(client);
}

cte_status cte__client_store(cte_client *client, struct cte__store **store)
{
    cte_status status = cte__client_resolve(&client);
    if (status == CTE_OK)
        *store = client->store;
    return status;
}

cte_status cte_client_flush(cte_client *client, cte_persistence level, uint64_t *volatile_bytes)
{
    struct cte__store *store;
    uint64_t remaining = 0;
    cte_status status = level == CTE_PERSIST_PROCESS || level == CTE_PERSIST_NODE
                            ? cte__client_store(client, &store)
                            : -EINVAL;
    if (volatile_bytes)
        *volatile_bytes = 0;
    if (status != CTE_OK)
        return status;
    uint64_t start = cte__observe_begin(store);
    /* The store lives in files of the kernel, not in a process: nothing to do for PROCESS. */
    if (level == CTE_PERSIST_NODE)
        status = cte__store_sync(store, &remaining);
    if (volatile_bytes)
        *volatile_bytes = remaining;
    else if (status == CTE_OK && remaining > 0)
        status = -ENOTSUP;
    return cte__observe_tag(store, start, CTE_OP_FLUSH, 0, remaining, status);
}

cte_status cte_client_cache_stats(cte_client *client, cte_cache_stats *stats)
{
    struct cte__store *store;
    cte_status status = stats ? cte__client_store(client, &store) : -EINVAL;
    if (status != CTE_OK)
        return status;
    *stats = (cte_cache_stats){0};
    if (store->cache) {
        struct cte__cache_totals totals = cte__cache_totals(store->cache);
        *stats = (cte_cache_stats){.hits = totals.hits,
                                   .misses = totals.misses,
                                   .cached_bytes = cte__pages_to_bytes(totals.pages),
                                   .limit_bytes = totals.limit_bytes};
    }
    return CTE_OK;
}

void cte__client_summarise(cte_client *client, const char *path, const cte_file_stats *stats)
{
    struct cte__summary summary = {.path = path, .tracked = client != NULL, .stats = *stats};
    if (!cte_summary_is_wanted())
        return;
    if (client && cte_client_targets(client, summary.targets, CTE__SUMMARY_TARGETS_MAX,
                                     &summary.target_count) != CTE_OK)
        summary.target_count = 0;
    cte__summary_write(&summary);
}
