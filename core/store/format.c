/* SPDX-License-Identifier: BSD-3-Clause */
/* The contents of a new segment. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/log.h"
#include "base/util.h"
#include "store/restore.h"
#include "store/store_internal.h"

enum {
    UNIT_ARENAS_MIN = 8,
    UNIT_ARENAS_MAX = 2048,
    DATA_PER_METADATA = 4, /* bytes of data for which one byte of metadata is mapped */
};

#define UNIT_ARENA_BYTES ((uint64_t)CTE__META_ARENA_UNITS << CTE__UNIT_SHIFT)

/* Targets may be added later: room for them costs address space only. */
enum { PAGE_ARENAS_FACTOR = 4, PAGE_ARENAS_MIN = 1 << 14 /* 1 TiB in large ones */ };

struct sizes {
    uint32_t page_arenas, page_arena_room, unit_arenas;
    uint64_t shards_offset, page_arenas_offset, unit_arenas_offset, page_tables_offset,
        unit_tables_offset, units_offset;
    uint64_t telemetry_offset, segment_bytes;
};

static struct sizes sizes_for(const cte_config *config)
{
    struct sizes s = {0};
    uint64_t capacity = 0;
    for (uint32_t i = 0; i < config->target_count; i++) {
        s.page_arenas += cte__target_arena_count(config->targets[i].capacity_bytes);
        capacity += config->targets[i].capacity_bytes;
    }
    s.page_arena_room = (uint32_t)cte__max(PAGE_ARENAS_FACTOR * s.page_arenas, PAGE_ARENAS_MIN);
    uint64_t arenas = capacity / DATA_PER_METADATA / UNIT_ARENA_BYTES;
    s.unit_arenas = (uint32_t)cte__min(cte__max(arenas, UNIT_ARENAS_MIN), UNIT_ARENAS_MAX);
    s.shards_offset = cte__align_up(sizeof(struct cte__store_header), CTE__PAGE_BYTES);
    s.unit_arenas_offset = s.shards_offset + CTE__SHARDS * sizeof(struct cte__shard);
    s.page_arenas_offset = s.unit_arenas_offset + s.unit_arenas * sizeof(struct cte__arena);
    s.page_tables_offset = cte__align_up(
        s.page_arenas_offset + s.page_arena_room * sizeof(struct cte__arena), CTE__PAGE_BYTES);
    s.unit_tables_offset = s.page_tables_offset +
                           s.page_arena_room * cte__arena_table_bytes(CTE__PAGE_ARENA_MAX, true);
    s.units_offset =
        s.unit_tables_offset + s.unit_arenas * cte__arena_table_bytes(CTE__META_ARENA_UNITS, false);
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
    struct sizes s = sizes_for(config);
    return s.page_arenas_offset + s.page_arenas * sizeof(struct cte__arena);
}

uint64_t cte__store_telemetry_offset(const cte_config *config)
{
    return sizes_for(config).telemetry_offset;
}

/* Makes the configured targets.  One that cannot be made is left out, with a message; none left is
 * an error, and so is any if there is something to be brought back. */
static cte_status format_targets(struct cte__store *store, const cte_config *config,
                                 const struct cte__model *model)
{
    cte_status status = CTE_ERR_NO_TARGET;
    for (uint32_t i = 0; i < config->target_count; i++) {
        cte_status made = cte__target_make(store, &config->targets[i], model);
        if (made != CTE_OK && model)
            return made;
        if (made == CTE_OK)
            status = CTE_OK;
    }
    return status;
}

static void format_unit_arenas(struct cte__store *store, const struct sizes *sizes)
{
    struct cte__arena *arenas = (void *)(store->base + sizes->unit_arenas_offset);
    uint64_t tables = sizes->unit_tables_offset;
    for (uint32_t i = 0; i < sizes->unit_arenas; i++) {
        cte__arena_init(&arenas[i], CTE__META_ARENA_UNITS, CTE__META_ARENA_UNITS, false, tables);
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

static bool journal_path(const struct cte__store *store, const cte_config *config,
                         char path[PATH_MAX])
{
    uint32_t surviving = atomic_load(&store->header->journal.surviving);
    if (!config->journal || !config->checksum || surviving == 0)
        return false;
    if (config->journal_path[0] != '/')
        return cte__journal_path_of(store->header->targets[__builtin_ctz(surviving)].path, path);
    snprintf(path, PATH_MAX, "%s", config->journal_path);
    return true;
}

/* A store whose journal cannot be made is as good as one without, as long as there is nothing in it
 * that was to survive. */
static cte_status start_journal(struct cte__store *store, const cte_config *config,
                                const struct cte__model *model)
{
    struct cte__journal_header header = {.generation = 1};
    char path[PATH_MAX];
    if (!journal_path(store, config, path))
        return CTE_OK;
    if (model) {
        header.generation = model->header.generation + 1;
        header.nonce = model->header.nonce;
    } else {
        uint64_t seed[] = {cte__monotonic_ns(), (uint64_t)getpid(), cte__realtime_ns()};
        header.nonce = XXH3_64bits(seed, sizeof seed);
    }
    cte_status status = cte__journal_start(store, path, header);
    if (model && status == CTE_OK && strcmp(model->path, path) != 0)
        cte__journal_remove(model->path, cte__store_id(store));
    if (model || status == CTE_OK)
        return status;
    cte__log_error("store %s: without its journal nothing in it survives a reboot",
                   store->directory);
    return CTE_OK;
}

cte_status cte__store_format(struct cte__store *store, const cte_config *config,
                             const struct cte__model *model)
{
    struct sizes sizes = sizes_for(config);
    struct cte__store_header *header = store->header;
    struct stat ns;
    *header = (struct cte__store_header){
        .version = CTE__STORE_VERSION,
        .header_bytes = sizeof(struct cte__store_header),
        .segment_bytes = sizes.segment_bytes,
        .pid_namespace = stat("/proc/self/ns/pid", &ns) == 0 ? (uint64_t)ns.st_ino : 0,
        .page_arena_room = sizes.page_arena_room,
        .unit_arena_count = sizes.unit_arenas,
        .keep = config->store_keep,
        .checksum = config->checksum,
        .shards_offset = sizes.shards_offset,
        .page_arenas_offset = sizes.page_arenas_offset,
        .unit_arenas_offset = sizes.unit_arenas_offset,
        .units_offset = sizes.units_offset,
        .telemetry_offset = sizes.telemetry_offset,
        .page_tables_offset = sizes.page_tables_offset,
    };
    cte__ring_format(store->base + sizes.telemetry_offset, config->telemetry_entries);
    cte__mutex_init(&header->sweep_lock);
    cte__mutex_init(&header->rename_lock);
    cte__mutex_init(&header->pin_lock);
    struct cte__shard *shards = (void *)(store->base + sizes.shards_offset);
    for (uint32_t i = 0; i < CTE__SHARDS; i++)
        cte__mutex_init(&shards[i].lock);
    cte__mutex_init(&header->journal.lock);
    cte__mutex_init(&header->journal.files_lock);
    cte__mutex_init(&header->drain.evicting);
    for (int job = 0; job < CTE__BACKGROUND_JOBS; job++)
        for (int seat = 0; seat < CTE__BACKGROUND_SEATS; seat++)
            cte__mutex_init(&header->background.seat[job][seat]);
    format_unit_arenas(store, &sizes);
    cte_status status = cte__store_views(store);
    if (status == CTE_OK)
        status = format_targets(store, config, model);
    if (status == CTE_OK)
        status = cte__targets_open(store);
    if (status == CTE_OK)
        status = cte__slot_take_locked(store);
    if (status == CTE_OK)
        status = format_root(store);
    if (status == CTE_OK && model)
        status = cte__restore_apply(store, model);
    return status == CTE_OK ? start_journal(store, config, model) : status;
}
