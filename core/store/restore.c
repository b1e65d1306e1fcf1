/* SPDX-License-Identifier: BSD-3-Clause */
/* The journal's model becomes a store.  Nobody else has it, and it has no magic number yet: dying
 * anywhere leaves a journal as it was, and the next attach begins again.
 *
 * Later records come first: should two claim a page, which only a damaged journal can say, the
 * later one has it. */
#include "store/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checksum.h"
#include "base/log.h"
#include "base/util.h"
#include "store/store_internal.h"

enum { DESCRIBE_BYTES = PATH_MAX + 1200 };

static void say_in_log(void *context, const char *text)
{
    (void)context;
    cte__log_warn("%s", text);
}

/* ---- whether -------------------------------------------------------------------------------- */

static void note_target(const struct cte__model_item *item, cte__page page)
{
    struct cte__model_target *target = cte__model_target_of(item, page);
    target->referenced = target->referenced || target->survives;
}

static void note_targets(const struct cte__model *model, const struct cte__model_item *item)
{
    struct cte__record_blob blob;
    if (item->record.kind != CTE__RECORD_BLOB || !cte__record_get_blob(&item->record, &blob) ||
        !cte__model_tag(model, blob.tag_id))
        return;
    const char *at = blob.extents;
    for (uint32_t i = 0; i < blob.extent_count; i++) {
        struct cte__record_extent extent = cte__record_extent_next(&at);
        if (extent.state != CTE__PAGE_PARTIAL)
            note_target(item, extent.page);
        for (uint32_t r = 0; r < extent.run_count; r++)
            note_target(item, cte__record_run(&extent, r).page);
    }
}

static bool is_configured(const cte_config *config, const struct cte__model_target *target)
{
    for (uint32_t i = 0; i < config->target_count; i++) {
        struct cte__target_record record;
        cte__store_target_cut(&config->targets[i], &record.capacity_bytes, &record.arena_bytes);
        if (strcmp(config->targets[i].kind, target->kind) == 0 &&
            strcmp(config->targets[i].path, target->path) == 0 &&
            record.capacity_bytes == target->capacity_bytes &&
            record.arena_bytes == target->arena_bytes)
            return true;
    }
    return false;
}

static cte_status check_targets(const cte_config *config, const struct cte__model *model)
{
    cte_status status = CTE_OK;
    for (const struct cte__model_target *t = model->targets; t; t = t->next) {
        if (!t->referenced || is_configured(config, t))
            continue;
        cte__log_error("data that was kept over a reboot lies on target %s (%s, %llu bytes), which "
                       "is not configured like that now; use the configuration it was made with "
                       "(storage, capacity_limit), or give the data up with `cte destroy --force`",
                       t->path, t->kind, (unsigned long long)t->capacity_bytes);
        status = CTE_ERR_STORE_LAYOUT;
    }
    return status;
}

cte_status cte__restore_load(const cte_config *config, uint64_t store_id, struct cte__model **model)
{
    char path[PATH_MAX];
    struct cte__journal_tell tell = {.say = say_in_log};
    *model = NULL;
    cte_status status = cte__model_find(config, store_id, path);
    if (status == CTE_OK)
        status = cte__model_load(path, store_id, &tell, model);
    if (status == CTE_ERR_NOT_FOUND || (status == CTE_OK && !cte__model_lives(*model))) {
        cte__model_free(*model);
        *model = NULL;
        return CTE_OK;
    }
    if (status == CTE_OK && !(config->journal && config->checksum)) {
        cte__log_error("journal %s keeps data, but journals are switched off (journal.enabled, "
                       "file.checksum); switch them on, or give the data up with "
                       "`cte destroy --force`",
                       path);
        status = -EEXIST;
    }
    for (size_t i = 0; status == CTE_OK && i < (*model)->item_count; i++)
        note_targets(*model, &(*model)->items[i]);
    if (status == CTE_OK)
        status = check_targets(config, *model);
    if (status != CTE_OK) {
        cte__model_free(*model);
        *model = NULL;
    }
    return status;
}

bool cte__restore_needs(const struct cte__model *model, const struct cte__target_record *record)
{
    for (const struct cte__model_target *t = model ? model->targets : NULL; t; t = t->next)
        if (t->referenced && strcmp(t->kind, record->kind) == 0 &&
            strcmp(t->path, record->path) == 0)
            return true;
    return false;
}

/* ---- tags and files ------------------------------------------------------------------------- */

struct restoring {
    struct cte__store *store;
    const struct cte__model *model;
    const struct cte__model_item **order; /* latest first */
    cte__unit *tags;                      /* unit of each item that is a tag or file */
    uint64_t blobs, lost;
    struct cte__journal_tell tell;
};

static cte_status make_tag(struct restoring *r, const struct cte__tag_key *key, uint64_t id,
                           cte__unit *unit)
{
    struct cte__store *store = r->store;
    uint64_t hash = cte__name_hash(0, key->name, key->name_bytes);
    struct cte__shard *shard = cte__shard_lock(store, hash);
    cte_status status = CTE_OK;
    /* A later record of the same name was made already. */
    if (cte__index_find(store, shard, hash, store->header->root_tag, key->name, key->name_bytes))
        status = -EEXIST;
    else
        status = cte__tag_make(store, shard, hash, key, unit);
    if (status == CTE_OK)
        atomic_store(&cte__tag_at(store, *unit)->tag_id, id);
    cte__shard_unlock(shard);
    return status;
}

static uint64_t born_ns(const char *path)
{
    struct statx stx;
    if (statx(AT_FDCWD, path, 0, STATX_BTIME, &stx) != 0 || !(stx.stx_mask & STATX_BTIME))
        return 0;
    return (uint64_t)stx.stx_btime.tv_sec * 1000000000 + stx.stx_btime.tv_nsec;
}

/* Devices may be numbered anew by a reboot: the same file in the same place is the same file. */
static uint64_t device_now(const struct cte__record_file *file, const char *path)
{
    struct stat st;
    bool same = stat(path, &st) == 0 && (uint64_t)st.st_ino == file->inode && file->born_ns != 0 &&
                born_ns(path) == file->born_ns;
    return same ? (uint64_t)st.st_dev : file->device;
}

static cte_status restore_file(struct restoring *r, const struct cte__record_file *file,
                               cte__unit *unit)
{
    /* As core/file names its records. */
    struct {
        char mark[8];
        uint64_t device, inode;
    } name;
    char path[PATH_MAX];
    if (file->name.count != sizeof name)
        return -EBADMSG;
    memcpy(path, file->path.bytes, file->path.count);
    path[file->path.count] = 0;
    memcpy(&name, file->name.bytes, sizeof name);
    name.device = device_now(file, path);
    struct cte__tag_key key = {
        .name = &name, .name_bytes = sizeof name, .type = CTE__ENTRY_FILE, .path = path};
    cte_status status = make_tag(r, &key, file->id, unit);
    if (status != CTE_OK)
        return status;
    struct cte__tag_record *record = cte__tag_at(r->store, *unit);
    struct cte__file_state *state = &record->file;
    record->chunk_bytes = file->chunk_bytes;
    atomic_store(&state->size_bytes, file->size_bytes);
    atomic_store(&state->real_bytes, file->real_bytes);
    atomic_store(&state->truncate_to, file->truncate_to);
    state->device = name.device;
    state->inode = file->inode;
    state->born_ns = file->born_ns;
    state->mode = file->mode;
    state->drain = file->drain;
    atomic_store(&state->real_changed_ns, file->real_changed_ns);
    atomic_store(&state->real_writers, file->real_writers);
    atomic_store(&state->orphaned, 1); /* who wrote it is gone */
    atomic_store(&state->journaled, 1);
    atomic_store(&state->lost_bytes, file->lost_bytes);
    atomic_store(&state->lost_first, file->lost_first);
    atomic_store(&state->lost_end, file->lost_end);
    uint32_t flags = file->flags & (CTE__FILE_NEWS | CTE__FILE_DELETED);
    if (file->flags & CTE__FILE_IN_MEMORY)
        flags |= CTE__FILE_REBOOTED;
    if (r->model->holes > 0)
        flags |= CTE__FILE_DOUBTFUL;
    if (r->model->damaged > r->model->holes)
        flags |= CTE__FILE_TORN;
    atomic_store(&state->flags, flags);
    return CTE_OK;
}

static cte_status restore_tag(struct restoring *r, const struct cte__model_item *item,
                              cte__unit *unit)
{
    struct cte__record_tag tag;
    struct cte__record_file file;
    cte_status status = CTE_OK;
    if (item->record.kind == CTE__RECORD_TAG && cte__record_get_tag(&item->record, &tag)) {
        struct cte__tag_key key = {.name = tag.name.bytes,
                                   .name_bytes = tag.name.count,
                                   .type = CTE__ENTRY_TAG,
                                   .public_id = tag.public_id};
        status = make_tag(r, &key, tag.id, unit);
    } else if (item->record.kind == CTE__RECORD_FILE &&
               cte__record_get_file(&item->record, &file) && file.mode != CTE_FILE_MODE_SCRATCH) {
        status = restore_file(r, &file, unit);
    }
    if (status == -EEXIST || status == -EBADMSG) {
        cte__journal_say(&r->tell,
                         "journal %s: two tags or files of one name; the older is left "
                         "out with its blobs",
                         r->model->path);
        status = CTE_OK;
    }
    return status;
}

/* ---- blobs ---------------------------------------------------------------------------------- */

/* A blob on its way into the store. */
struct blob {
    struct restoring *r;
    const struct cte__model_item *item;
    struct cte__record_blob record;
    bool chunk;
    cte__unit tag;
    uint64_t chunk_start; /* in the file */
    struct cte__page_run *taken;
    uint32_t taken_count;
    struct cte__extent *extents;
    uint32_t extent_count;
    uint64_t stored_end; /* of the bytes that are left */
    bool lost;           /* bytes of it */
    cte__unit unit;      /* of the map */
};

/* The same place in the new store. */
static cte_status translate(const struct blob *blob, cte__page page, cte__page *now)
{
    const struct cte__store_header *header = blob->r->store->header;
    const struct cte__model_target *target = cte__model_target_of(blob->item, page);
    for (uint32_t t = 0; t < header->target_count; t++)
        if (strcmp(header->targets[t].kind, target->kind) == 0 &&
            strcmp(header->targets[t].path, target->path) == 0) {
            *now = cte__page_make(t, cte__page_number(page));
            return CTE_OK;
        }
    return CTE_ERR_NO_TARGET;
}

static bool is_lost(const struct blob *blob, cte__page page)
{
    return !cte__model_target_of(blob->item, page)->survives;
}

/* For whoever asks how the file stands, after this process. */
static void note_lost(const struct blob *blob, uint64_t start, uint64_t end)
{
    struct cte__file_state *state = &cte__tag_at(blob->r->store, blob->tag)->file;
    uint64_t bytes = atomic_load(&state->lost_bytes), first = atomic_load(&state->lost_first);
    start += blob->chunk_start;
    end += blob->chunk_start;
    atomic_store(&state->lost_first, bytes > 0 ? cte__min(first, start) : start);
    atomic_store(&state->lost_end, cte__max(atomic_load(&state->lost_end), end));
    atomic_store(&state->lost_bytes, bytes + (end - start));
}

static void tell_lost(struct blob *blob, uint64_t start, uint64_t end)
{
    char name[DESCRIBE_BYTES];
    blob->lost = true;
    if (!blob->chunk)
        return; /* as a whole, once */
    note_lost(blob, start, end);
    cte__model_describe(blob->r->model, &blob->record, name, sizeof name);
    cte__journal_say(&blob->r->tell,
                     "%s: bytes %llu to %llu were in memory only and are lost; what was stored "
                     "around them is kept",
                     name, (unsigned long long)(blob->chunk_start + start),
                     (unsigned long long)(blob->chunk_start + end - 1));
}

static cte_status take(struct blob *blob, cte__page page, uint32_t count, cte__page *now)
{
    struct cte__store *store = blob->r->store;
    const struct cte__model_target *target = cte__model_target_of(blob->item, page);
    cte_status status = translate(blob, page, now);
    if (status == CTE_OK)
        status = cte__pages_take(store, *now, count);
    if (status != CTE_OK)
        return status;
    blob->taken[blob->taken_count++] = (struct cte__page_run){*now, count};
    if (target->sums)
        memcpy(cte__pages_checksums(store, *now), target->sums + cte__page_number(page),
               count * sizeof *target->sums);
    return CTE_OK;
}

/* The page of a run; runs of one page take it once. */
static cte_status take_once(struct blob *blob, cte__page page, uint32_t first_taken, cte__page *now)
{
    cte_status status = translate(blob, page, now);
    for (uint32_t i = first_taken; status == CTE_OK && i < blob->taken_count; i++)
        if (blob->taken[i].page == *now)
            return CTE_OK;
    return status == CTE_OK ? take(blob, page, 1, now) : status;
}

static cte_status add_runs(struct blob *blob, const struct cte__record_extent *record)
{
    struct cte__store *store = blob->r->store;
    uint64_t start = cte__pages_to_bytes(record->first);
    uint32_t first_taken = blob->taken_count, kept = 0;
    cte__unit unit;
    for (uint32_t i = 0; i < record->run_count; i++)
        kept += !is_lost(blob, cte__record_run(record, i).page);
    cte_status status =
        kept > 0 ? cte__units_claim(store, cte__runs_bytes(kept), 1, &unit) : CTE_OK;
    if (status != CTE_OK)
        return status;
    struct cte__runs *runs = kept > 0 ? cte__unit_at(store, unit) : NULL;
    kept = 0;
    for (uint32_t i = 0; i < record->run_count; i++) {
        struct cte__run run = cte__record_run(record, i);
        uint64_t end = start + run.start + (run.length_dirty >> 1);
        if (is_lost(blob, run.page)) {
            /* Behind a blob's end there were zeros, and will be. */
            if (blob->chunk || start + run.start < blob->record.size_bytes)
                tell_lost(blob, start + run.start, end);
            continue;
        }
        if (status == CTE_OK)
            status = take_once(blob, run.page, first_taken, &run.page);
        runs->run[kept++] = run;
        blob->stored_end = end;
    }
    if (kept == 0)
        return status;
    runs->count = kept;
    blob->extents[blob->extent_count++] =
        (struct cte__extent){runs->run[0].page, record->first, 1, unit, CTE__PAGE_PARTIAL};
    return status;
}

static cte_status add_pages(struct blob *blob, const struct cte__record_extent *record)
{
    uint64_t start = cte__pages_to_bytes(record->first);
    uint64_t end = start + cte__pages_to_bytes(record->count);
    cte__page page;
    if (is_lost(blob, record->page)) {
        tell_lost(blob, start, end);
        return CTE_OK;
    }
    cte_status status = take(blob, record->page, record->count, &page);
    if (status != CTE_OK)
        return status;
    blob->extents[blob->extent_count++] =
        (struct cte__extent){page, record->first, record->count, 0, record->state};
    blob->stored_end = end;
    return CTE_OK;
}

static void give_back(struct blob *blob)
{
    struct cte__store *store = blob->r->store;
    uint16_t self = cte__store_self(store);
    for (uint32_t i = 0; i < blob->taken_count; i++) {
        cte__pages_own(store, self, blob->taken[i].page, blob->taken[i].count);
        cte__pages_free(store, blob->taken[i].page, blob->taken[i].count);
    }
    for (uint32_t i = 0; i < blob->extent_count; i++)
        if (blob->extents[i].state == CTE__PAGE_PARTIAL) {
            const struct cte__runs *runs = cte__unit_at(store, blob->extents[i].runs);
            cte__units_free(store, blob->extents[i].runs, cte__runs_bytes(runs->count));
        }
    blob->taken_count = blob->extent_count = 0;
}

static cte_status build_map(struct blob *blob, uint64_t size_bytes, uint64_t *location)
{
    struct cte__store *store = blob->r->store;
    uint64_t bytes = cte__map_bytes(blob->extent_count);
    cte_status status = cte__units_claim(store, bytes, 1, &blob->unit);
    if (status != CTE_OK)
        return status;
    struct cte__map *map = cte__unit_at(store, blob->unit);
    map->size_bytes = size_bytes;
    map->extent_count = blob->extent_count;
    memcpy(map->extents, blob->extents, blob->extent_count * sizeof *blob->extents);
    cte__units_own(store, CTE__OWNER_PUBLISHED, blob->unit, bytes);
    *location = cte__location_of_unit(blob->unit);
    return CTE_OK;
}

static cte_status build_small(struct blob *blob, uint64_t *location)
{
    struct cte__store *store = blob->r->store;
    uint32_t bytes = blob->record.small.count;
    if (bytes == 0)
        return CTE_OK;
    cte_status status = cte__units_claim(store, bytes, 1, &blob->unit);
    if (status != CTE_OK)
        return status;
    memcpy(cte__unit_at(store, blob->unit), blob->record.small.bytes, bytes);
    cte__units_own(store, CTE__OWNER_PUBLISHED, blob->unit, bytes);
    *location = cte__location_of_small(
        blob->unit, bytes, cte__small_sum(store, blob->record.small.bytes, bytes), true);
    return CTE_OK;
}

static cte_status build_location(struct blob *blob, uint64_t *location)
{
    uint64_t size = blob->chunk ? blob->stored_end : blob->record.size_bytes;
    *location = 0;
    if (blob->record.is_small)
        return build_small(blob, location);
    if (blob->extent_count == 1)
        *location = cte__location_of_extent(&blob->extents[0], size);
    return *location == 0 ? build_map(blob, size, location) : CTE_OK;
}

/* Makes the name.  The blob's pages and metadata are published already: nobody else is here. */
static cte_status publish(struct blob *blob, cte__unit tag)
{
    struct cte__store *store = blob->r->store;
    const struct cte__record_blob *record = &blob->record;
    cte__unit unit;
    uint64_t location;
    cte_status status = build_location(blob, &location);
    if (status != CTE_OK)
        return status;
    for (uint32_t i = 0; i < blob->extent_count; i++)
        if (blob->extents[i].state == CTE__PAGE_PARTIAL) {
            const struct cte__runs *runs = cte__unit_at(store, blob->extents[i].runs);
            cte__units_own(store, CTE__OWNER_PUBLISHED, blob->extents[i].runs,
                           cte__runs_bytes(runs->count));
        }
    uint64_t hash = cte__name_hash(record->tag_id, record->name.bytes, record->name.count);
    struct cte__shard *shard = cte__shard_lock(store, hash);
    status =
        cte__index_insert(store, shard, hash, cte__tag_at(store, tag), tag, (uint8_t)record->type,
                          record->name.bytes, record->name.count, &unit);
    if (status == CTE_OK) {
        struct cte__entry *entry = cte__entry_at(store, unit);
        entry->score = record->score;
        entry->modified_ns = record->modified_ns;
        entry->heat = cte__heat_of_time(record->read_ns);
        atomic_store(&entry->location, location);
        cte__entry_show(store, unit);
    }
    cte__shard_unlock(shard);
    return status;
}

static cte_status collect(struct blob *blob)
{
    const char *at = blob->record.extents;
    cte_status status = CTE_OK;
    for (uint32_t i = 0; i < blob->record.extent_count && status == CTE_OK; i++) {
        struct cte__record_extent extent = cte__record_extent_next(&at);
        /* The real file has what is clean. */
        if (blob->chunk && extent.state == CTE__PAGE_CLEAN)
            continue;
        status =
            extent.state == CTE__PAGE_PARTIAL ? add_runs(blob, &extent) : add_pages(blob, &extent);
    }
    return status;
}

/* Bytes of a chunk make the file as long as they reach: writes tell of no size. */
static void extend_file(const struct blob *blob, cte__unit tag)
{
    struct cte__file_state *state = &cte__tag_at(blob->r->store, tag)->file;
    uint64_t end = blob->chunk_start + blob->stored_end;
    if (atomic_load(&state->size_bytes) < end)
        atomic_store(&state->size_bytes, end);
}

static void tell_dropped(struct blob *blob, const char *why)
{
    char name[DESCRIBE_BYTES];
    cte__model_describe(blob->r->model, &blob->record, name, sizeof name);
    cte__journal_say(&blob->r->tell, "%s is lost: %s", name, why);
    blob->r->lost++;
}

static cte_status restore_into(struct blob *blob, cte__unit tag)
{
    cte_status status = collect(blob);
    if (status == -EBUSY) {
        give_back(blob);
        tell_dropped(blob, "a later one has its place, so the journal is damaged");
        return CTE_OK;
    }
    if (status != CTE_OK)
        return status;
    if (blob->lost && !blob->chunk) {
        give_back(blob);
        tell_dropped(blob, "bytes of it were in memory only");
        return CTE_OK;
    }
    if (blob->chunk && blob->extent_count == 0)
        return CTE_OK;
    status = publish(blob, tag);
    if (status == CTE_OK && blob->chunk)
        extend_file(blob, tag);
    blob->r->blobs += status == CTE_OK;
    return status;
}

static uint32_t pieces_max(const struct cte__record_blob *record)
{
    return record->extent_count * CTE__RUN_PAGES_MAX + 1;
}

static cte_status restore_blob(struct restoring *r, const struct cte__model_item *item)
{
    struct blob blob = {.r = r, .item = item};
    if (!cte__record_get_blob(&item->record, &blob.record))
        return CTE_OK;
    blob.chunk = blob.record.type == CTE__ENTRY_CHUNK;
    const struct cte__model_item *owner = cte__model_tag(r->model, blob.record.tag_id);
    cte__unit tag = owner ? r->tags[owner - r->model->items] : 0;
    struct cte__record_file file;
    if (!owner)
        tell_dropped(&blob, "its tag is not known");
    if (tag == 0)
        return CTE_OK;
    blob.tag = tag;
    if (blob.chunk) {
        uint64_t chunk;
        memcpy(&chunk, blob.record.name.bytes, sizeof chunk);
        if (!cte__record_get_file(&owner->record, &file) || chunk > INT64_MAX / file.chunk_bytes)
            return CTE_OK;
        blob.chunk_start = chunk * file.chunk_bytes;
    }
    blob.taken = malloc(pieces_max(&blob.record) * sizeof *blob.taken);
    blob.extents = malloc(pieces_max(&blob.record) * sizeof *blob.extents);
    cte_status status = blob.taken && blob.extents ? restore_into(&blob, tag) : -ENOMEM;
    free(blob.taken);
    free(blob.extents);
    return status;
}

/* ---- all ------------------------------------------------------------------------------------ */

static int later_first(const void *a, const void *b)
{
    uint64_t x = (*(const struct cte__model_item *const *)a)->order;
    uint64_t y = (*(const struct cte__model_item *const *)b)->order;
    return (x < y) - (x > y);
}

static cte_status restore_all(struct restoring *r)
{
    const struct cte__model *model = r->model;
    cte_status status = CTE_OK;
    for (size_t i = 0; i < model->item_count; i++)
        r->order[i] = &model->items[i];
    qsort(r->order, model->item_count, sizeof *r->order, later_first);
    for (size_t i = 0; i < model->item_count && status == CTE_OK; i++)
        status = restore_tag(r, r->order[i], &r->tags[r->order[i] - model->items]);
    for (size_t i = 0; i < model->item_count && status == CTE_OK; i++)
        if (r->order[i]->record.kind == CTE__RECORD_BLOB)
            status = restore_blob(r, r->order[i]);
    return status;
}

/* Files of which nothing is left to do, and scratch files, are not made. */
static void forget_done_files(struct restoring *r)
{
    for (size_t i = 0; i < r->model->item_count; i++)
        if (r->tags[i] != 0 && r->model->items[i].record.kind == CTE__RECORD_FILE) {
            cte_status status = cte__file_leave(r->store, r->tags[i], cte__store_self(r->store));
            (void)status; /* a record too many does no harm */
        }
}

cte_status cte__restore_apply(struct cte__store *store, const struct cte__model *model)
{
    struct restoring r = {.store = store, .model = model, .tell = {.say = say_in_log}};
    r.order = calloc(model->item_count + 1, sizeof *r.order);
    r.tags = calloc(model->item_count + 1, sizeof *r.tags);
    cte_status status = r.order && r.tags ? restore_all(&r) : -ENOMEM;
    if (status == CTE_OK) {
        forget_done_files(&r);
        atomic_store(&store->header->tag_counter,
                     cte__max(model->tag_id_max, atomic_load(&store->header->tag_counter)));
        cte__log_info("store %s: brought back %llu blobs and pieces of files from journal %s, %llu "
                      "lost",
                      store->directory, (unsigned long long)r.blobs, model->path,
                      (unsigned long long)r.lost);
    } else {
        cte__log_error("store %s cannot be brought back from journal %s: %s; nothing of it is "
                       "changed",
                       store->directory, model->path, cte_status_string(status));
    }
    free(r.order);
    free(r.tags);
    return status;
}
