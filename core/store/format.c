/* SPDX-License-Identifier: BSD-3-Clause */
/* The contents of a new segment. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "store/store_internal.h"

enum {
    ARENA_BYTES_MIN = 1 << 20,
    ARENA_BYTES_MAX = 64 << 20,
    UNIT_ARENAS_MIN = 8,
    UNIT_ARENAS_MAX = 2048,
    DATA_PER_METADATA = 4, /* bytes of data for which one byte of metadata is mapped */
};

#define UNIT_ARENA_BYTES ((uint64_t)CTE__META_ARENA_UNITS << CTE__UNIT_SHIFT)

/* Small targets get several arenas too, so that processes do not queue for one allocator. */
static uint64_t arena_bytes_for(uint64_t capacity_bytes)
{
    uint64_t arena = ARENA_BYTES_MAX;
    while (arena > ARENA_BYTES_MIN && arena * 16 > capacity_bytes)
        arena /= 2;
    return arena;
}

static uint32_t arena_count_for(uint64_t capacity_bytes)
{
    return (uint32_t)(capacity_bytes / arena_bytes_for(capacity_bytes));
}

struct sizes {
    uint32_t page_arenas, unit_arenas;
    uint64_t shards_offset, page_arenas_offset, unit_arenas_offset, tables_offset, units_offset;
    uint64_t telemetry_offset, segment_bytes;
};

static struct sizes sizes_for(const cte_config *config)
{
    struct sizes s = {0};
    uint64_t capacity = 0, page_tables = 0;
    for (uint32_t i = 0; i < config->target_count; i++) {
        uint64_t bytes = config->targets[i].capacity_bytes;
        uint32_t pages = (uint32_t)cte__bytes_to_pages(arena_bytes_for(bytes));
        s.page_arenas += arena_count_for(bytes);
        page_tables += arena_count_for(bytes) * cte__arena_table_bytes(pages, true);
        capacity += bytes;
    }
    uint64_t arenas = capacity / DATA_PER_METADATA / UNIT_ARENA_BYTES;
    s.unit_arenas = (uint32_t)cte__min(cte__max(arenas, UNIT_ARENAS_MIN), UNIT_ARENAS_MAX);
    s.shards_offset = cte__align_up(sizeof(struct cte__store_header), CTE__PAGE_BYTES);
    s.page_arenas_offset = s.shards_offset + CTE__SHARDS * sizeof(struct cte__shard);
    s.unit_arenas_offset = s.page_arenas_offset + s.page_arenas * sizeof(struct cte__arena);
    s.tables_offset = cte__align_up(
        s.unit_arenas_offset + s.unit_arenas * sizeof(struct cte__arena), CTE__PAGE_BYTES);
    s.units_offset = s.tables_offset + page_tables +
                     s.unit_arenas * cte__arena_table_bytes(CTE__META_ARENA_UNITS, false);
    s.telemetry_offset = s.units_offset + s.unit_arenas * UNIT_ARENA_BYTES;
    s.segment_bytes = s.telemetry_offset + cte__ring_bytes(config->telemetry_entries);
    return s;
}

uint64_t cte__store_segment_bytes(const cte_config *config)
{
    return sizes_for(config).segment_bytes;
}

uint64_t cte__store_fixed_bytes(const cte_config *config)
{
    return sizes_for(config).tables_offset;
}

uint64_t cte__store_telemetry_offset(const cte_config *config)
{
    return sizes_for(config).telemetry_offset;
}

static void format_target(struct cte__store *store, const struct cte__config_target *config,
                          uint32_t index, uint32_t *arena_next)
{
    struct cte__target_record *record = &store->header->targets[index];
    if (strcmp(config->kind, "ram") == 0)
        snprintf(record->path, sizeof record->path, "%.*s/ram.%u", PATH_MAX - 16, store->directory,
                 index);
    else
        snprintf(record->path, sizeof record->path, "%s", config->path);
    snprintf(record->kind, sizeof record->kind, "%s", config->kind);
    record->engine = strcmp(config->io, "uring") == 0 ? CTE__TARGET_URING : CTE__TARGET_BUFFERED;
    record->arena_bytes = arena_bytes_for(config->capacity_bytes);
    record->arena_count = arena_count_for(config->capacity_bytes);
    record->capacity_bytes = record->arena_count * record->arena_bytes;
    record->manual_score = config->score >= 0;
    record->score = config->score;
    record->arena_first = *arena_next;
    *arena_next += record->arena_count;
}

/* Makes the backing of each target.  One that cannot be made is left out, with a message; none left
 * is an error. */
static cte_status format_targets(struct cte__store *store, const cte_config *config)
{
    struct cte__store_header *header = store->header;
    uint32_t arena_next = 0;
    cte_status status = CTE_ERR_NO_TARGET;
    for (uint32_t i = 0; i < config->target_count; i++) {
        const struct cte__config_target *target = &config->targets[i];
        if (target->capacity_bytes < ARENA_BYTES_MIN) {
            cte__log_error("target %s: capacity_limit %llu is too small, give 1MiB at least",
                           target->path[0] ? target->path : target->kind,
                           (unsigned long long)target->capacity_bytes);
            continue;
        }
        uint32_t arena_before = arena_next;
        format_target(store, target, header->target_count, &arena_next);
        struct cte__target_record *record = &header->targets[header->target_count];
        struct cte__target_spec spec = cte__store_target_spec(store, record);
        const struct cte__target_ops *ops = cte__target_ops_find(record->kind);
        cte_status made = ops->create(&spec);
        if (made == CTE_OK) {
            cte__target_measure(record, ops, &spec);
            header->target_count++;
            status = CTE_OK;
            continue;
        }
        cte__log_error("target %s (%s) is left out: %s", record->path, record->kind,
                       cte_status_string(made));
        memset(record, 0, sizeof *record);
        arena_next = arena_before;
    }
    return status;
}

static void format_arenas(struct cte__store *store, const struct sizes *sizes)
{
    struct cte__store_header *header = store->header;
    struct cte__arena *page_arenas = (void *)(store->base + sizes->page_arenas_offset);
    struct cte__arena *unit_arenas = (void *)(store->base + sizes->unit_arenas_offset);
    uint64_t tables = sizes->tables_offset;
    for (uint32_t t = 0; t < header->target_count; t++) {
        const struct cte__target_record *record = &header->targets[t];
        uint32_t pages = (uint32_t)cte__bytes_to_pages(record->arena_bytes);
        for (uint32_t i = 0; i < record->arena_count; i++) {
            cte__arena_init(&page_arenas[record->arena_first + i], pages, true, tables);
            tables += cte__arena_table_bytes(pages, true);
        }
        header->page_arena_count += record->arena_count;
    }
    for (uint32_t i = 0; i < sizes->unit_arenas; i++) {
        cte__arena_init(&unit_arenas[i], CTE__META_ARENA_UNITS, false, tables);
        tables += cte__arena_table_bytes(CTE__META_ARENA_UNITS, false);
    }
    assert(tables <= sizes->units_offset);
}

/* Tag 0, which holds the names of all tags and files. */
static cte_status format_root(struct cte__store *store)
{
    struct cte__store_header *header = store->header;
    cte_status status = cte__units_reserve_null(store);
    if (status != CTE_OK)
        return status;
    status = cte__units_claim_zeroed(store, cte__tag_record_bytes(0), 2, &header->root_tag);
    if (status != CTE_OK)
        return status;
    struct cte__tag_record *root = cte__tag_at(store, header->root_tag);
    cte__mutex_init(&root->lock);
    root->type = CTE__ENTRY_TAG;
    cte__units_own(store, CTE__OWNER_PUBLISHED, header->root_tag, cte__tag_record_bytes(0));
    return CTE_OK;
}

cte_status cte__store_format(struct cte__store *store, const cte_config *config)
{
    struct sizes sizes = sizes_for(config);
    struct cte__store_header *header = store->header;
    struct stat ns;
    *header = (struct cte__store_header){
        .version = CTE__STORE_VERSION,
        .header_bytes = sizeof(struct cte__store_header),
        .segment_bytes = sizes.segment_bytes,
        .pid_namespace = stat("/proc/self/ns/pid", &ns) == 0 ? (uint64_t)ns.st_ino : 0,
        .unit_arena_count = sizes.unit_arenas,
        .keep = config->store_keep,
        .checksum = config->checksum,
        .shards_offset = sizes.shards_offset,
        .page_arenas_offset = sizes.page_arenas_offset,
        .unit_arenas_offset = sizes.unit_arenas_offset,
        .units_offset = sizes.units_offset,
        .telemetry_offset = sizes.telemetry_offset,
    };
    cte__ring_format(store->base + sizes.telemetry_offset, config->telemetry_entries);
    cte__mutex_init(&header->sweep_lock);
    cte__mutex_init(&header->rename_lock);
    cte__mutex_init(&header->pin_lock);
    struct cte__shard *shards = (void *)(store->base + sizes.shards_offset);
    for (uint32_t i = 0; i < CTE__SHARDS; i++)
        cte__mutex_init(&shards[i].lock);
    cte_status status = format_targets(store, config);
    if (status != CTE_OK)
        return status;
    cte__targets_score(store);
    format_arenas(store, &sizes);
    status = cte__store_views(store);
    if (status == CTE_OK)
        status = cte__slot_take_locked(store);
    return status == CTE_OK ? format_root(store) : status;
}
