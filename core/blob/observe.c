/* SPDX-License-Identifier: BSD-3-Clause */
#include "blob/observe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void record(struct cte__store *store, uint64_t start, const struct cte__ring_event *event)
{
    /* A forked child is a process of its own from here on. */
    uint16_t self = cte__store_self(store);
    (void)self;
    cte__ring_end(&store->telemetry, atomic_load_explicit(&store->slot, memory_order_relaxed),
                  start, event);
}

void cte__observe_record(struct cte__store *store, uint64_t start,
                         const struct cte__ring_event *event, uint8_t target)
{
    /* What calls within this one noted is not of this one. */
    cte__ring_notes = (struct cte__ring_notes){.target = target};
    record(store, start, event);
}

void cte__observe_record_blob(const cte_tag *tag, uint64_t start,
                              const struct cte__ring_event *event, const char *name)
{
    struct cte__ring_event whole = *event;
    cte_blob_id id = cte_blob_id_of(tag, name);
    whole.tag_id = tag->tag.id;
    whole.blob_id = (uint64_t)id.major << 32 | id.minor;
    record(tag->store, start, &whole);
}

cte_blob_id cte_blob_id_of(const cte_tag *tag, const char *name)
{
    if (!tag || cte__name_check(name) != CTE_OK)
        return (cte_blob_id){0, 0};
    uint64_t hash = cte__name_hash(tag->tag.id, name, (uint32_t)strlen(name));
    return (cte_blob_id){(uint32_t)(hash >> 32), (uint32_t)hash};
}

cte_status cte_telemetry_poll(cte_client *client, uint64_t logical_time,
                              cte_telemetry_entry *entries, size_t capacity, size_t *count,
                              uint64_t *dropped)
{
    struct cte__store *store;
    if (!entries || !count || capacity == 0)
        return -EINVAL;
    *count = 0;
    cte_status status = cte__client_store(client, &store);
    if (status != CTE_OK)
        return status;
    if (!store->telemetry.block)
        return CTE_ERR_STORE_CORRUPT;
    return cte__ring_poll(&store->telemetry, logical_time, entries, capacity, count, dropped);
}

cte_status cte_telemetry_target_name(cte_client *client, uint32_t target, char *name,
                                     size_t name_bytes)
{
    struct cte__store *store;
    cte_status status = name && name_bytes > 0 ? cte__client_store(client, &store) : -EINVAL;
    if (status != CTE_OK)
        return status;
    if (target >= store->header->target_count || !cte__target_exists(store, target))
        return CTE_ERR_NOT_FOUND;
    int length = snprintf(name, name_bytes, "%s", store->header->targets[target].path);
    return (size_t)length < name_bytes ? CTE_OK : -ERANGE;
}

const char *cte_telemetry_op_name(cte_telemetry_op op)
{
    switch (op) {
#define CTE_TELEMETRY_OP_NAME(name, number, text)                                                  \
    case name:                                                                                     \
        return text;
        CTE_TELEMETRY_OPS(CTE_TELEMETRY_OP_NAME)
#undef CTE_TELEMETRY_OP_NAME
    }
    return "unknown";
}
