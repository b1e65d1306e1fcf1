/* SPDX-License-Identifier: BSD-3-Clause */
/* What users ask of a blob but its bytes: size, score, times, where it lies and where it should. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "blob/change.h"
#include "blob/move.h"
#include "blob/observe.h"
#include "blob/tag.h"

static_assert((int)CTE_BLOB_TARGETS_MAX == (int)CTE__TARGETS_MAX, "a report has room for all");

cte_status cte__user_blob_info(struct cte__store *store, const struct cte__blob_key *key,
                               cte_blob_info *info)
{
    uint64_t hash = cte__name_hash(key->tag_id, key->name, key->name_bytes);
    cte_status status = CTE_ERR_NOT_FOUND;
    struct cte__shard *shard = cte__shard_lock(store, hash);
    cte__unit unit = cte__user_tag_lives(cte__tag_at(store, key->tag), key->tag_id)
                         ? cte__index_find(store, shard, hash, key->tag, key->name, key->name_bytes)
                         : 0;
    if (unit != 0) {
        const struct cte__entry *entry = cte__entry_at(store, unit);
        *info = (cte_blob_info){
            .size_bytes = cte__entry_size(store, entry),
            .score = entry->score,
            .modified_ns = entry->modified_ns,
            .read_ns = cte__heat_time(entry->heat),
        };
        cte__ring_note_times(entry->modified_ns, cte__heat_time(entry->heat));
        status = CTE_OK;
    }
    cte__shard_unlock(shard);
    return status;
}

static cte_status get_info(cte_tag *tag, const char *name, cte_blob_info *info)
{
    struct cte__blob_key key;
    cte_status status = cte__user_key(tag, name, &key);
    return status == CTE_OK ? cte__user_blob_info(tag->store, &key, info) : status;
}

cte_status cte_blob_get_info(cte_tag *tag, const char *name, cte_blob_info *info)
{
    uint64_t start = cte__observe_begin_on(tag);
    cte_status status = info ? get_info(tag, name, info) : -EINVAL;
    return cte__observe_blob(tag, start, CTE_OP_BLOB_INFO, name, 0, 0, status);
}

cte_status cte_blob_size(cte_tag *tag, const char *name, uint64_t *size_bytes)
{
    cte_blob_info info = {0};
    uint64_t start = cte__observe_begin_on(tag);
    cte_status status = size_bytes ? get_info(tag, name, &info) : -EINVAL;
    if (status == CTE_OK)
        *size_bytes = info.size_bytes;
    return cte__observe_blob(tag, start, CTE_OP_BLOB_SIZE, name, 0, info.size_bytes, status);
}

cte_status cte_blob_score(cte_tag *tag, const char *name, float *score)
{
    cte_blob_info info = {0};
    uint64_t start = cte__observe_begin_on(tag);
    cte_status status = score ? get_info(tag, name, &info) : -EINVAL;
    if (status == CTE_OK)
        *score = info.score;
    return cte__observe_blob(tag, start, CTE_OP_BLOB_SCORE, name, 0, 0, status);
}

/* ---- blocks --------------------------------------------------------------------------------- */

struct block_list {
    const struct cte__store *store;
    cte_blob_block *blocks;
    uint32_t capacity, count;
};

static void add_block(struct block_list *list, cte__page page, uint32_t skip_bytes,
                      uint64_t blob_offset, uint64_t size_bytes)
{
    if (size_bytes == 0)
        return;
    if (list->count < list->capacity) {
        cte_blob_block *block = &list->blocks[list->count];
        *block = (cte_blob_block){
            .target_offset = cte__pages_to_bytes(cte__page_number(page)) + skip_bytes,
            .blob_offset = blob_offset,
            .size_bytes = size_bytes,
        };
        snprintf(block->target, sizeof block->target, "%.255s",
                 list->store->header->targets[cte__page_target(page)].path);
    }
    list->count++;
}

/* A small blob lies beside the metadata, in no target. */
static void add_small(struct block_list *list, uint64_t size_bytes)
{
    if (list->count < list->capacity)
        list->blocks[list->count] = (cte_blob_block){.size_bytes = size_bytes};
    list->count++;
}

static void add_span(struct block_list *list, const struct cte__span *span, uint64_t blob_bytes)
{
    uint64_t start = cte__pages_to_bytes(span->index);
    if (span->state != CTE__PAGE_PARTIAL) {
        uint64_t end = cte__min(start + cte__pages_to_bytes(span->count), blob_bytes);
        add_block(list, span->page, 0, start, end > start ? end - start : 0);
        return;
    }
    for (uint32_t r = 0; r < span->run_list->count; r++) {
        struct cte__run run = span->run_list->run[r];
        uint64_t from = start + run.start, to = cte__min(start + cte__run_end(run), blob_bytes);
        add_block(list, run.page, run.start, from, to > from ? to - from : 0);
    }
}

static cte_status list_blocks(cte_tag *tag, const char *name, cte_blob_block *blocks,
                              uint32_t capacity, uint32_t *count)
{
    struct cte__blob_key key;
    struct cte__snapshot snapshot;
    cte_status status =
        count && (blocks || capacity == 0) ? cte__user_key(tag, name, &key) : -EINVAL;
    if (status != CTE_OK)
        return status;
    status = cte__blob_snapshot(tag->store, &key, &snapshot);
    if (status != CTE_OK)
        return status;
    struct block_list list = {.store = tag->store, .blocks = blocks, .capacity = capacity};
    if (snapshot.small_bytes > 0)
        add_small(&list, snapshot.small_bytes);
    for (size_t i = 0; i < snapshot.list.count; i++)
        add_span(&list, &snapshot.list.spans[i], snapshot.size_bytes);
    if (snapshot.entry == 0)
        status = CTE_ERR_NOT_FOUND;
    else
        *count = list.count;
    cte__snapshot_free(&snapshot);
    return status;
}

cte_status cte_blob_blocks(cte_tag *tag, const char *name, cte_blob_block *blocks,
                           uint32_t capacity, uint32_t *count)
{
    uint64_t start = cte__observe_begin_on(tag);
    cte_status status = list_blocks(tag, name, blocks, capacity, count);
    return cte__observe_blob(tag, start, CTE_OP_BLOB_BLOCKS, name, 0, 0, status);
}

/* ---- reorganizing --------------------------------------------------------------------------- */

static void fill_report(const struct cte__store *store, const struct cte__move_result *result,
                        cte_blob_report *report)
{
    memset(report, 0, sizeof *report);
    report->size_bytes = result->size_bytes;
    report->bytes_moved = cte__pages_to_bytes(result->pages_moved);
    report->score = result->score;
    for (uint32_t t = 0; t < CTE__TARGETS_MAX; t++) {
        if (result->pages[t] == 0)
            continue;
        uint32_t n = report->target_count++;
        snprintf(report->targets[n].name, sizeof report->targets[n].name, "%.255s",
                 store->header->targets[t].path);
        report->targets[n].bytes_used = cte__pages_to_bytes(result->pages[t]);
    }
}

cte_status cte_blob_reorganize(cte_tag *tag, const char *name, float new_score,
                               cte_blob_report *report)
{
    struct cte__blob_key key;
    struct cte__move_result result;
    struct cte__move move = {.score = new_score};
    uint64_t start = cte__observe_begin_on(tag);
    /* Written so that a NaN fails. */
    cte_status status =
        new_score >= 0.0f && new_score <= 1.0f ? cte__user_key(tag, name, &key) : -EINVAL;
    if (status == CTE_OK)
        status = cte__blob_move(tag->store, &key, &move, &result);
    if (status == CTE_OK && report)
        fill_report(tag->store, &result, report);
    return cte__observe_blob(tag, start, CTE_OP_BLOB_REORGANIZE, name, 0,
                             status == CTE_OK ? result.size_bytes : 0, status);
}
