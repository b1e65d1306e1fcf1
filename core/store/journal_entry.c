/* SPDX-License-Identifier: BSD-3-Clause */
/* From the segment to records: blobs, tags and files as they are. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "store/journal.h"
#include "store/store_internal.h"

enum {
    DUMP_WRITE_BYTES = 256 << 10,
    LOGGING_ONE = 1, /* shard.logging: one hash, or any */
    LOGGING_ANY = 2,
};

static bool survives(const struct cte__store *store, cte__page page)
{
    return atomic_load_explicit(&store->header->journal.surviving, memory_order_relaxed) >>
               cte__page_target(page) &
           1;
}

/* ---- which blobs ---------------------------------------------------------------------------- */

static bool runs_survive(const struct cte__store *store, cte__unit unit)
{
    const struct cte__runs *runs = cte__unit_at(store, unit);
    for (uint32_t i = 0; i < runs->count; i++)
        if (survives(store, runs->run[i].page))
            return true;
    return false;
}

static bool map_survives(const struct cte__store *store, const struct cte__map *map)
{
    for (uint32_t i = 0; i < map->extent_count; i++) {
        const struct cte__extent *extent = &map->extents[i];
        if (extent->state == CTE__PAGE_PARTIAL ? runs_survive(store, extent->runs)
                                               : survives(store, extent->page))
            return true;
    }
    return false;
}

bool cte__journal_belongs(const struct cte__store *store, float score)
{
    const struct cte__store_header *header = store->header;
    for (uint32_t t = 0; t < header->target_count; t++)
        if (cte__target_exists(store, t) && !(atomic_load(&header->journal.surviving) >> t & 1) &&
            !(atomic_load(&header->targets[t].score) > score))
            return false;
    return atomic_load(&header->journal.surviving) != 0;
}

static bool has_no_pages(const struct cte__store *store, uint64_t location)
{
    if (location == 0)
        return true;
    if (cte__location_kind(location) != CTE__AT_UNIT)
        return false;
    const struct cte__map *map = cte__unit_at(store, cte__location_unit(location));
    return map->extent_count == 0;
}

static bool pages_survive(const struct cte__store *store, uint64_t location)
{
    if (cte__location_kind(location) == CTE__AT_EXTENT)
        return survives(store, cte__location_extent(location).page);
    return map_survives(store, cte__unit_at(store, cte__location_unit(location)));
}

bool cte__journal_wants(const struct cte__store *store, uint64_t location)
{
    /* What says nothing of where it is may be known to the journal or not. */
    if (has_no_pages(store, location))
        return true;
    if (cte__location_kind(location) == CTE__AT_SMALL)
        return cte__location_is_journaled(location);
    return pages_survive(store, location);
}

/* Does the journal keep the blob, rather than forget it? */
static bool keeps(const struct cte__store *store, const struct cte__entry *entry, uint64_t location)
{
    if (has_no_pages(store, location))
        return entry->type == CTE__ENTRY_BLOB && cte__journal_belongs(store, entry->score);
    return cte__journal_wants(store, location);
}

/* ---- one blob ------------------------------------------------------------------------------- */

struct encoding {
    const struct cte__store *store;
    struct cte__record_buffer *buffer;
    bool chunk;      /* only what is dirty counts */
    uint32_t wanted; /* extents that went in and survive */
};

static void put_runs(struct encoding *e, const struct cte__extent *extent)
{
    const struct cte__runs *runs = cte__unit_at(e->store, extent->runs);
    struct cte__record_extent record = {0, extent->first, 1, CTE__PAGE_PARTIAL, 0, NULL};
    for (uint32_t i = 0; i < runs->count; i++)
        record.run_count += !e->chunk || (runs->run[i].length_dirty & 1);
    if (record.run_count == 0)
        return;
    cte__record_blob_extent(e->buffer, &record);
    for (uint32_t i = 0; i < runs->count; i++) {
        if (e->chunk && !(runs->run[i].length_dirty & 1))
            continue;
        cte__record_blob_run(e->buffer, &runs->run[i]);
        e->wanted += survives(e->store, runs->run[i].page);
    }
}

static void put_extent(struct encoding *e, const struct cte__extent *extent)
{
    struct cte__record_extent record = {
        extent->page, extent->first, extent->count, extent->state, 0, NULL};
    if (extent->state == CTE__PAGE_PARTIAL) {
        put_runs(e, extent);
    } else if (!e->chunk || extent->state == CTE__PAGE_DIRTY) {
        cte__record_blob_extent(e->buffer, &record);
        e->wanted += survives(e->store, extent->page);
    }
}

static void put_sums(struct encoding *e, cte__page page, uint32_t count)
{
    if (count > 0 && survives(e->store, page))
        cte__record_blob_sums(e->buffer, page, count, cte__pages_checksums(e->store, page));
}

static void put_extent_sums(struct encoding *e, const struct cte__extent *extent)
{
    /* Runs bring their checksums along. */
    if (extent->state != CTE__PAGE_PARTIAL && (!e->chunk || extent->state == CTE__PAGE_DIRTY))
        put_sums(e, extent->page, extent->count);
}

static void each_extent(struct encoding *e, uint64_t location,
                        void (*visit)(struct encoding *e, const struct cte__extent *extent))
{
    if (location != 0 && cte__location_kind(location) == CTE__AT_EXTENT) {
        struct cte__extent extent = cte__location_extent(location);
        visit(e, &extent);
    } else if (location != 0 && cte__location_kind(location) == CTE__AT_UNIT) {
        const struct cte__map *map = cte__unit_at(e->store, cte__location_unit(location));
        for (uint32_t i = 0; i < map->extent_count; i++)
            visit(e, &map->extents[i]);
    }
}

static struct cte__record_blob blob_of(const struct cte__store *store,
                                       const struct cte__entry *entry)
{
    return (struct cte__record_blob){
        .tag_id = atomic_load(&cte__tag_at(store, entry->tag)->tag_id),
        .type = entry->type,
        .score = entry->score,
        .modified_ns = entry->modified_ns,
        .read_ns = cte__heat_time(entry->heat),
        .name = {entry->name, entry->name_bytes},
    };
}

/* Puts the blob's record; false if nothing of it would survive, and then there is none. */
static bool put_blob(struct cte__store *store, const struct cte__entry *entry,
                     const struct cte__page_run *fresh, uint32_t fresh_count,
                     struct cte__record_buffer *buffer)
{
    uint64_t location = atomic_load(&entry->location);
    struct encoding e = {store, buffer, entry->type == CTE__ENTRY_CHUNK, 0};
    struct cte__record_blob blob = blob_of(store, entry);
    if (!keeps(store, entry, location))
        return false;
    blob.size_bytes = cte__entry_size(store, entry);
    if (location != 0 && cte__location_kind(location) == CTE__AT_SMALL) {
        blob.is_small = true;
        blob.small = (struct cte__text){cte__unit_at(store, cte__location_unit(location)),
                                        cte__location_small_bytes(location)};
    } else if (location == 0) {
        blob.is_small = true;
    }
    cte__record_blob_begin(buffer, &blob);
    each_extent(&e, location, put_extent);
    if (e.chunk && e.wanted == 0) {
        cte__record_blob_cancel(buffer);
        return false;
    }
    if (!fresh)
        each_extent(&e, location, put_extent_sums);
    for (uint32_t i = 0; fresh && i < fresh_count; i++)
        put_sums(&e, fresh[i].page, fresh[i].count);
    cte__record_blob_end(buffer, store->header->journal.nonce);
    return true;
}

static void put_tag(struct cte__store *store, const struct cte__entry *entry,
                    struct cte__record_buffer *buffer)
{
    const struct cte__tag_record *record = cte__tag_at(store, cte__entry_record(entry));
    struct cte__record_tag tag = {atomic_load(&record->tag_id),
                                  atomic_load(&record->public_id),
                                  {entry->name, entry->name_bytes}};
    if (!atomic_load(&record->dead))
        cte__record_put_tag(buffer, store->header->journal.nonce, &tag);
}

/* ---- appending ------------------------------------------------------------------------------ */

/* Failure broke the journal, which is said where it matters: no change depends on it. */
static void append_and_free(struct cte__store *store, struct cte__record_buffer *buffer)
{
    cte_status status = cte__journal_append(store, buffer);
    (void)status;
    cte__record_buffer_free(buffer);
}

void cte__journal_announce(struct cte__shard *shard, uint64_t hash)
{
    shard->logging_hash = hash;
    atomic_store_explicit(&shard->logging, LOGGING_ONE, memory_order_release);
}

void cte__journal_settled(struct cte__shard *shard)
{
    atomic_store_explicit(&shard->logging, 0, memory_order_release);
}

static void append_blob(struct cte__store *store, cte__unit unit, const struct cte__page_run *fresh,
                        uint32_t fresh_count)
{
    const struct cte__entry *entry = cte__entry_at(store, unit);
    struct cte__record_buffer buffer;
    cte__record_buffer_init(&buffer);
    if (!put_blob(store, entry, fresh, fresh_count, &buffer)) {
        struct cte__record_blob blob = blob_of(store, entry);
        cte__record_put_blob_gone(&buffer, store->header->journal.nonce, &blob);
    } else if (entry->type == CTE__ENTRY_CHUNK &&
               !atomic_load(&cte__tag_at(store, entry->tag)->file.journaled)) {
        cte__journal_file(store, entry->tag, true);
    }
    append_and_free(store, &buffer);
}

static void append_tag(struct cte__store *store, cte__unit unit)
{
    struct cte__record_buffer buffer;
    cte__record_buffer_init(&buffer);
    put_tag(store, cte__entry_at(store, unit), &buffer);
    append_and_free(store, &buffer);
}

void cte__journal_entry(struct cte__store *store, struct cte__shard *shard, cte__unit unit,
                        const struct cte__page_run *fresh, uint32_t fresh_count)
{
    switch (cte__entry_at(store, unit)->type) {
    case CTE__ENTRY_BLOB:
    case CTE__ENTRY_CHUNK:
        append_blob(store, unit, fresh, fresh_count);
        break;
    case CTE__ENTRY_TAG:
        append_tag(store, unit);
        break;
    default: /* files are told of by their state */
        break;
    }
    cte__journal_settled(shard);
}

void cte__journal_score(struct cte__store *store, struct cte__shard *shard, uint64_t hash,
                        cte__unit unit)
{
    const struct cte__page_run none = {0};
    if (!cte__journal_on(store) ||
        !cte__journal_wants(store, atomic_load(&cte__entry_at(store, unit)->location)))
        return;
    cte__journal_announce(shard, hash);
    cte__journal_entry(store, shard, unit, &none, 0);
}

void cte__journal_gone(struct cte__store *store, cte__unit unit)
{
    struct cte__record_blob blob = blob_of(store, cte__entry_at(store, unit));
    struct cte__record_buffer buffer;
    cte__record_buffer_init(&buffer);
    cte__record_put_blob_gone(&buffer, store->header->journal.nonce, &blob);
    append_and_free(store, &buffer);
}

bool cte__journal_announce_rename(struct cte__store *store, struct cte__shard *from,
                                  struct cte__shard *to, cte__unit leaving, cte__unit gone)
{
    bool wanted =
        cte__journal_on(store) &&
        (cte__journal_wants(store, atomic_load(&cte__entry_at(store, leaving)->location)) ||
         (gone != 0 &&
          cte__journal_wants(store, atomic_load(&cte__entry_at(store, gone)->location))));
    if (!wanted)
        return false;
    atomic_store_explicit(&from->logging, LOGGING_ANY, memory_order_release);
    atomic_store_explicit(&to->logging, LOGGING_ANY, memory_order_release);
    return true;
}

void cte__journal_renamed(struct cte__store *store, struct cte__shard *from, struct cte__shard *to,
                          cte__unit left, cte__unit arrived)
{
    struct cte__record_buffer buffer;
    struct cte__record_blob old = blob_of(store, cte__entry_at(store, left));
    const struct cte__page_run none = {0};
    cte__record_buffer_init(&buffer);
    /* By one write, in this order: of a torn end the blob has both names, and the new one wins. */
    if (!put_blob(store, cte__entry_at(store, arrived), &none, 0, &buffer)) {
        struct cte__record_blob blob = blob_of(store, cte__entry_at(store, arrived));
        cte__record_put_blob_gone(&buffer, store->header->journal.nonce, &blob);
    }
    cte__record_put_blob_gone(&buffer, store->header->journal.nonce, &old);
    append_and_free(store, &buffer);
    cte__journal_settled(from);
    cte__journal_settled(to);
}

void cte__journal_tag_gone(struct cte__store *store, uint64_t tag_id)
{
    struct cte__record_buffer buffer;
    if (!cte__journal_on(store))
        return;
    cte__record_buffer_init(&buffer);
    cte__record_put_tag_gone(&buffer, store->header->journal.nonce, tag_id);
    append_and_free(store, &buffer);
}

static void put_file(struct cte__store *store, cte__unit unit, struct cte__record_buffer *buffer)
{
    const struct cte__tag_record *record = cte__tag_at(store, unit);
    const struct cte__file_state *file = &record->file;
    const struct cte__entry *entry = cte__entry_at(store, record->entry);
    struct cte__record_file state = {
        .id = atomic_load(&record->tag_id),
        .chunk_bytes = record->chunk_bytes,
        .size_bytes = atomic_load(&file->size_bytes),
        .real_bytes = atomic_load(&file->real_bytes),
        .truncate_to = atomic_load(&file->truncate_to),
        .device = file->device,
        .inode = file->inode,
        .born_ns = file->born_ns,
        .real_changed_ns = atomic_load(&file->real_changed_ns),
        .real_writers = atomic_load(&file->real_writers),
        .mode = file->mode,
        .drain = file->drain,
        .lost_bytes = atomic_load(&file->lost_bytes),
        .lost_first = atomic_load(&file->lost_first),
        .lost_end = atomic_load(&file->lost_end),
        .flags = atomic_load(&file->flags),
        .name = {entry->name, entry->name_bytes},
        .path = {record->path, record->path_bytes},
    };
    cte__record_put_file(buffer, store->header->journal.nonce, &state);
}

void cte__journal_file(struct cte__store *store, cte__unit tag, bool introduce)
{
    struct cte__tag_record *record = cte__tag_at(store, tag);
    struct cte__record_buffer buffer;
    /* A record that nobody has set up yet says nothing. */
    if (!cte__journal_on(store) || record->chunk_bytes == 0 ||
        (!introduce && !atomic_load(&record->file.journaled)))
        return;
    cte__record_buffer_init(&buffer);
    /* What a dead holder left out is the change of a state that its shared record has: the next
     * record says it. */
    bool died = cte__mutex_lock(&store->header->journal.files_lock);
    (void)died;
    put_file(store, tag, &buffer);
    append_and_free(store, &buffer);
    atomic_store(&record->file.journaled, 1);
    cte__mutex_unlock(&store->header->journal.files_lock);
}

static bool any_target_forgets(const struct cte__store *store)
{
    uint32_t surviving = atomic_load(&store->header->journal.surviving);
    for (uint32_t t = 0; t < store->header->target_count; t++)
        if (!(surviving & 1u << t) && cte__target_exists(store, t))
            return true;
    return false;
}

void cte__journal_in_memory(struct cte__store *store, cte__unit tag)
{
    struct cte__file_state *file = &cte__tag_at(store, tag)->file;
    if (!cte__journal_on(store) ||
        atomic_load_explicit(&file->flags, memory_order_relaxed) & CTE__FILE_TOLD ||
        !any_target_forgets(store))
        return;
    atomic_fetch_or(&file->flags, CTE__FILE_IN_MEMORY);
    cte__journal_file(store, tag, true);
    atomic_fetch_or(&file->flags, CTE__FILE_TOLD);
}

/* ---- whole shards --------------------------------------------------------------------------- */

static const _Atomic uint64_t *table_of(const struct cte__store *store,
                                        const struct cte__shard *shard, uint64_t *slots)
{
    uint64_t word = atomic_load(&shard->table);
    *slots = word != 0 ? UINT64_C(1) << (word & 0xff) : 0;
    return word != 0 ? cte__unit_at(store, (cte__unit)(word >> 8)) : NULL;
}

/* How an entry is, or that it is no more. */
static void append_entry(struct cte__store *store, cte__unit unit, bool visible)
{
    uint8_t type = cte__entry_at(store, unit)->type;
    if (type == CTE__ENTRY_BLOB || type == CTE__ENTRY_CHUNK) {
        if (visible)
            append_blob(store, unit, NULL, 0);
        else
            cte__journal_gone(store, unit);
    } else if (type == CTE__ENTRY_TAG && visible) {
        append_tag(store, unit);
    }
}

void cte__journal_repair(struct cte__store *store, struct cte__shard *shard)
{
    uint64_t slots;
    const _Atomic uint64_t *table = table_of(store, shard, &slots);
    if (!atomic_load(&shard->logging))
        return;
    /* Whatever has that hash is said once more: what it was before or after the change that
     * somebody died in.  First the names that nobody sees, as one of them may be used again. */
    for (int visible = 0; visible < 2; visible++)
        for (uint64_t i = 0; i < slots; i++) {
            uint64_t word = atomic_load(&table[i]);
            cte__unit unit = (cte__unit)word;
            if (unit <= 1 || (atomic_load(&shard->logging) == LOGGING_ONE &&
                              word >> 32 != shard->logging_hash >> 32))
                continue;
            if (cte__entry_visible(store, unit) == (visible != 0))
                append_entry(store, unit, visible != 0);
        }
    cte__journal_settled(shard);
}

struct dump {
    struct cte__store *store;
    struct cte__record_buffer buffer;
    uint64_t bytes;
    cte_status status;
};

static void flush_dump(struct dump *dump)
{
    cte_status status = cte__journal_append(dump->store, &dump->buffer);
    if (dump->status == CTE_OK)
        dump->status = status;
    dump->bytes += dump->buffer.count;
    dump->buffer.count = 0;
}

static void dump_entry(struct dump *dump, const struct cte__entry *entry)
{
    struct cte__store *store = dump->store;
    const struct cte__tag_record *tag = cte__tag_at(store, entry->tag);
    switch (entry->type) {
    case CTE__ENTRY_TAG:
        put_tag(store, entry, &dump->buffer);
        break;
    case CTE__ENTRY_FILE:
        /* Not through the buffer: records of files have an order of their own. */
        cte__journal_file(store, cte__entry_record(entry), false);
        break;
    default:
        /* Of a tag that is being deleted nothing comes back. */
        if (!atomic_load(&tag->dead))
            put_blob(store, entry, NULL, 0, &dump->buffer);
        break;
    }
}

static void dump_shard(struct dump *dump, uint32_t index)
{
    uint64_t slots;
    struct cte__shard *shard = cte__shard_lock(dump->store, index);
    const _Atomic uint64_t *table = table_of(dump->store, shard, &slots);
    for (uint64_t i = 0; i < slots && dump->status == CTE_OK; i++) {
        cte__unit unit = (cte__unit)atomic_load(&table[i]);
        if (unit <= 1 || !cte__entry_visible(dump->store, unit))
            continue;
        dump_entry(dump, cte__entry_at(dump->store, unit));
        if (dump->buffer.count >= DUMP_WRITE_BYTES)
            flush_dump(dump);
    }
    /* Before anybody changes what was said. */
    flush_dump(dump);
    cte__shard_unlock(shard);
}

cte_status cte__journal_dump(struct cte__store *store, uint64_t *bytes)
{
    struct dump dump = {.store = store};
    cte__record_buffer_init(&dump.buffer);
    for (uint32_t i = 0; i < CTE__SHARDS && dump.status == CTE_OK; i++)
        dump_shard(&dump, i);
    cte__record_buffer_free(&dump.buffer);
    *bytes = dump.bytes;
    return dump.status;
}
