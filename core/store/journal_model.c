/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/journal_model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/log.h"
#include "base/util.h"

enum { SAY_BYTES = 4096 + 1024 };

void cte__journal_say(struct cte__journal_tell *tell, const char *format, ...)
{
    char text[SAY_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tell->count++;
    if (tell->say)
        tell->say(tell->context, text);
}

/* ---- finding -------------------------------------------------------------------------------- */

/* The header of a candidate; CTE_ERR_NOT_FOUND if it is not this store's. */
static cte_status look_at(const char *path, uint64_t store_id, struct cte__journal_header *header)
{
    int fd = cte__journal_open(path, CTE__JOURNAL_BASE, O_RDONLY);
    if (fd < 0)
        return fd == -ENOENT || fd == -ENOTDIR ? CTE_ERR_NOT_FOUND : fd;
    enum cte__journal_header_state state = cte__journal_identify(fd, header);
    close(fd);
    switch (state) {
    case CTE__JOURNAL_IS_OURS:
        return header->store_id == store_id ? CTE_OK : CTE_ERR_NOT_FOUND;
    case CTE__JOURNAL_IS_NEWER:
        cte__log_error("journal %s was made by another version of cte; use that version, or remove "
                       "the data with `cte destroy --force`",
                       path);
        return CTE_ERR_STORE_LAYOUT;
    case CTE__JOURNAL_IS_DAMAGED:
        cte__log_error("journal %s is damaged at its beginning, and nothing can be brought back "
                       "from it; `cte destroy --force` removes it with its data",
                       path);
        return CTE_ERR_STORE_CORRUPT;
    case CTE__JOURNAL_IS_UNREADABLE:
        /* Taken for none, it would be replaced. */
        cte__log_error("journal %s cannot be read", path);
        return -EIO;
    case CTE__JOURNAL_IS_FOREIGN:
        break;
    }
    return CTE_ERR_NOT_FOUND;
}

static cte_status consider(const char *path, uint64_t store_id, char best[PATH_MAX],
                           struct cte__journal_header *best_header)
{
    struct cte__journal_header header;
    cte_status status = look_at(path, store_id, &header);
    if (status != CTE_OK || strcmp(path, best) == 0)
        return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
    if (best[0] && header.nonce != best_header->nonce) {
        cte__log_error("there are two journals of this store, %s and %s: remove the one that is "
                       "not needed",
                       best, path);
        return -EEXIST;
    }
    /* Moved to another path, and the old one not removed yet: the later one has it all. */
    if (best[0] && header.generation < best_header->generation)
        return CTE_OK;
    *best_header = header;
    snprintf(best, PATH_MAX, "%s", path);
    return CTE_OK;
}

cte_status cte__model_find(const cte_config *config, uint64_t store_id, char path[PATH_MAX])
{
    struct cte__journal_header header = {0};
    cte_status status = CTE_OK;
    char beside[PATH_MAX];
    path[0] = 0;
    if (config->journal_path[0] == '/')
        status = consider(config->journal_path, store_id, path, &header);
    for (uint32_t i = 0; i < config->target_count && status == CTE_OK; i++) {
        const struct cte__target_ops *ops = cte__target_ops_find(config->targets[i].kind);
        if (ops && ops->capabilities & CTE__TARGET_SURVIVES_NODE &&
            cte__journal_path_of(config->targets[i].path, beside))
            status = consider(beside, store_id, path, &header);
    }
    if (status == CTE_OK && !path[0])
        status = CTE_ERR_NOT_FOUND;
    return status;
}

/* ---- reading -------------------------------------------------------------------------------- */

static cte_status read_all(int fd, char *bytes, uint64_t count)
{
    for (uint64_t done = 0; done < count;) {
        ssize_t n = pread(fd, bytes + done, count - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO;
        done += (uint64_t)n;
    }
    return CTE_OK;
}

/* Loads a file of the journal as text[i]. */
static cte_status load_text(struct cte__model *model, enum cte__journal_file which, int i)
{
    struct stat st;
    int fd = cte__journal_open(model->path, which, O_RDONLY);
    if (fd < 0)
        return fd;
    cte_status status = fstat(fd, &st) != 0 ? -errno : CTE_OK;
    if (status == CTE_OK) {
        model->text[i].bytes = malloc((size_t)st.st_size + 1);
        status = model->text[i].bytes ? CTE_OK : -ENOMEM;
    }
    if (status == CTE_OK)
        status = read_all(fd, model->text[i].bytes, (uint64_t)st.st_size);
    if (status == CTE_OK)
        model->text[i].count = (uint64_t)st.st_size;
    else
        cte__log_error("journal %s cannot be read: %s", model->path, cte_status_string(status));
    close(fd);
    return status;
}

static void drop_text(struct cte__model *model, int i)
{
    free(model->text[i].bytes);
    model->text[i].bytes = NULL;
    model->text[i].count = 0;
}

static bool is_complete(const struct cte__model *model, int i)
{
    struct cte__record record;
    uint64_t at = CTE__JOURNAL_HEADER_BYTES, gap_start, gap_end;
    while (cte__record_next(model->text[i].bytes, model->text[i].count, model->header.nonce, &at,
                            &record, &gap_start, &gap_end))
        if (record.kind == CTE__RECORD_COMPLETE)
            return true;
    return false;
}

/* The base, and what was begun to replace it. */
static cte_status load_texts(struct cte__model *model, uint64_t store_id)
{
    struct cte__journal_header next;
    cte_status status = load_text(model, CTE__JOURNAL_BASE, 0);
    if (status != CTE_OK)
        return status == -ENOENT ? CTE_ERR_NOT_FOUND : status;
    if (cte__journal_header_read(model->text[0].bytes, model->text[0].count, &model->header) !=
            CTE__JOURNAL_IS_OURS ||
        model->header.store_id != store_id)
        return CTE_ERR_NOT_FOUND;
    status = load_text(model, CTE__JOURNAL_NEXT, 1);
    if (status != CTE_OK)
        return status == -ENOENT ? CTE_OK : status;
    /* A file without its header was never used: everybody appended to the base. */
    if (cte__journal_header_read(model->text[1].bytes, model->text[1].count, &next) !=
            CTE__JOURNAL_IS_OURS ||
        next.nonce != model->header.nonce || next.generation <= model->header.generation) {
        drop_text(model, 1);
        return CTE_OK;
    }
    model->header = next;
    if (is_complete(model, 1))
        drop_text(model, 0);
    return CTE_OK;
}

/* ---- targets -------------------------------------------------------------------------------- */

static bool text_is(struct cte__text text, const char *string)
{
    return strlen(string) == text.count && memcmp(text.bytes, string, text.count) == 0;
}

static struct cte__model_target *find_target(struct cte__model *model,
                                             const struct cte__record_target *record)
{
    struct cte__model_target *target = model->targets;
    while (target &&
           !(text_is(record->kind, target->kind) && text_is(record->path, target->path) &&
             target->capacity_bytes == record->capacity_bytes &&
             target->arena_bytes == record->arena_bytes && target->survives == record->survives))
        target = target->next;
    if (target)
        return target;
    target = calloc(1, sizeof *target);
    if (!target)
        return NULL;
    memcpy(target->kind, record->kind.bytes, record->kind.count);
    memcpy(target->path, record->path.bytes, record->path.count);
    target->capacity_bytes = record->capacity_bytes;
    target->arena_bytes = record->arena_bytes;
    target->survives = record->survives;
    target->next = model->targets;
    model->targets = target;
    return target;
}

static cte_status number_target(struct cte__model *model, const struct cte__record_target *record)
{
    struct cte__model_target *target = find_target(model, record);
    if (!target)
        return -ENOMEM;
    if (model->numbers && model->numbers->target[record->index] == target)
        return CTE_OK;
    struct cte__model_numbers *numbers = calloc(1, sizeof *numbers);
    if (!numbers)
        return -ENOMEM;
    if (model->numbers)
        *numbers = *model->numbers;
    numbers->before = model->numbers;
    numbers->target[record->index] = target;
    model->numbers = numbers;
    return CTE_OK;
}

static uint64_t sums_bytes(const struct cte__model_target *target)
{
    return cte__bytes_to_pages(target->capacity_bytes) * sizeof *target->sums;
}

/* Pages of a target that records may speak of: inside it, and of one arena. */
static bool are_pages(const struct cte__model *model, cte__page page, uint64_t count)
{
    uint32_t number = cte__page_target(page);
    const struct cte__model_target *target =
        model->numbers && number < CTE__TARGETS_MAX ? model->numbers->target[number] : NULL;
    if (!target)
        return false;
    uint64_t first = cte__page_number(page);
    uint64_t pages = cte__bytes_to_pages(target->capacity_bytes);
    uint64_t arena = cte__bytes_to_pages(target->arena_bytes);
    return count <= arena && first < pages && count <= pages - first &&
           first / arena == (first + count - 1) / arena;
}

/* Sparse: costs what is written. */
static cte_status need_sums(struct cte__model_target *target)
{
    if (target->sums || target->capacity_bytes == 0)
        return CTE_OK;
    void *memory = mmap(NULL, sums_bytes(target), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    target->sums = memory;
    return CTE_OK;
}

/* ---- items ---------------------------------------------------------------------------------- */

static bool is_tag_record(const struct cte__record *record)
{
    return record->kind == CTE__RECORD_TAG || record->kind == CTE__RECORD_FILE ||
           record->kind == CTE__RECORD_TAG_GONE;
}

/* The id that a sound record of a tag or file is about. */
static uint64_t tag_id_of(const struct cte__record *record)
{
    struct cte__record_tag tag = {0};
    struct cte__record_file file = {0};
    uint64_t id = 0;
    if (cte__record_get_tag_gone(record, &id))
        return id;
    if (cte__record_get_tag(record, &tag))
        return tag.id;
    return cte__record_get_file(record, &file) ? file.id : 0;
}

static uint64_t blob_hash(const struct cte__record_blob *blob)
{
    return XXH3_64bits_withSeed(blob->name.bytes, blob->name.count, blob->tag_id);
}

static uint64_t tag_hash(uint64_t id)
{
    return XXH3_64bits(&id, sizeof id);
}

static bool is_same_blob(const struct cte__model_item *item, const struct cte__record_blob *key)
{
    struct cte__record_blob blob;
    return !is_tag_record(&item->record) && cte__record_get_blob(&item->record, &blob) &&
           blob.tag_id == key->tag_id && blob.name.count == key->name.count &&
           memcmp(blob.name.bytes, key->name.bytes, key->name.count) == 0;
}

/* The item of a tag's id (`key` NULL) or of a blob; NULL if there is none. */
static struct cte__model_item *find_item(const struct cte__model *model, uint64_t hash, uint64_t id,
                                         const struct cte__record_blob *key)
{
    for (size_t i = hash; model->slot_count > 0; i++) {
        uint32_t slot = model->slots[i & (model->slot_count - 1)];
        if (slot == 0)
            return NULL;
        struct cte__model_item *item = &model->items[slot - 1];
        if (item->hash == hash &&
            (key ? is_same_blob(item, key)
                 : is_tag_record(&item->record) && tag_id_of(&item->record) == id))
            return item;
    }
    return NULL;
}

static cte_status grow(struct cte__model *model)
{
    size_t capacity = model->item_capacity ? model->item_capacity * 2 : 512;
    struct cte__model_item *items = realloc(model->items, capacity * sizeof *items);
    if (!items)
        return -ENOMEM;
    model->items = items;
    uint32_t *slots = calloc(capacity * 2, sizeof *slots);
    if (!slots || capacity > UINT32_MAX / 2) {
        free(slots);
        return -ENOMEM;
    }
    free(model->slots);
    model->slots = slots;
    model->item_capacity = capacity;
    model->slot_count = capacity * 2;
    for (size_t n = 0; n < model->item_count; n++) {
        size_t i = items[n].hash;
        while (slots[i & (model->slot_count - 1)] != 0)
            i++;
        slots[i & (model->slot_count - 1)] = (uint32_t)n + 1;
    }
    return CTE_OK;
}

static cte_status set_item(struct cte__model *model, const struct cte__record *record,
                           uint64_t hash, uint64_t id, const struct cte__record_blob *key)
{
    struct cte__model_item *item = find_item(model, hash, id, key);
    if (!item) {
        cte_status status = model->item_count < model->item_capacity ? CTE_OK : grow(model);
        if (status != CTE_OK)
            return status;
        size_t i = hash;
        while (model->slots[i & (model->slot_count - 1)] != 0)
            i++;
        item = &model->items[model->item_count++];
        model->slots[i & (model->slot_count - 1)] = (uint32_t)model->item_count;
    }
    *item = (struct cte__model_item){*record, hash, model->records, model->numbers};
    return CTE_OK;
}

const struct cte__model_item *cte__model_tag(const struct cte__model *model, uint64_t id)
{
    const struct cte__model_item *item = find_item(model, tag_hash(id), id, NULL);
    return item && item->record.kind != CTE__RECORD_TAG_GONE ? item : NULL;
}

const struct cte__model_item *cte__model_blob(const struct cte__model *model,
                                              const struct cte__record_blob *key)
{
    const struct cte__model_item *item = find_item(model, blob_hash(key), 0, key);
    return item && item->record.kind == CTE__RECORD_BLOB ? item : NULL;
}

/* ---- replaying ------------------------------------------------------------------------------ */

/* True if all pages that a blob speaks of can be. */
static bool pages_are_sound(const struct cte__model *model, const struct cte__record_blob *blob)
{
    const char *at = blob->extents;
    for (uint32_t i = 0; i < blob->extent_count; i++) {
        struct cte__record_extent extent = cte__record_extent_next(&at);
        if (extent.state != CTE__PAGE_PARTIAL && !are_pages(model, extent.page, extent.count))
            return false;
        for (uint32_t r = 0; r < extent.run_count; r++)
            if (!are_pages(model, cte__record_run(&extent, r).page, 1))
                return false;
    }
    at = blob->sums;
    for (uint32_t i = 0; i < blob->sums_count; i++) {
        struct cte__record_sums sums = cte__record_sums_next(&at);
        if (!are_pages(model, sums.page, sums.count))
            return false;
    }
    return true;
}

static cte_status note_sums(const struct cte__model *model, cte__page page, uint32_t count,
                            const void *sums)
{
    struct cte__model_target *target = model->numbers->target[cte__page_target(page)];
    cte_status status = need_sums(target);
    if (status == CTE_OK)
        memcpy(target->sums + cte__page_number(page), sums, count * sizeof *target->sums);
    return status;
}

/* Checksums belong to pages: the last record that tells one is right, whosever the page was. */
static cte_status note_all_sums(const struct cte__model *model, const struct cte__record_blob *blob)
{
    const char *at = blob->extents;
    cte_status status = CTE_OK;
    for (uint32_t i = 0; i < blob->extent_count; i++) {
        struct cte__record_extent extent = cte__record_extent_next(&at);
        for (uint32_t r = 0; r < extent.run_count && status == CTE_OK; r++) {
            struct cte__run run = cte__record_run(&extent, r);
            status = note_sums(model, run.page, 1, &run.checksum);
        }
    }
    at = blob->sums;
    for (uint32_t i = 0; i < blob->sums_count && status == CTE_OK; i++) {
        struct cte__record_sums sums = cte__record_sums_next(&at);
        status = note_sums(model, sums.page, sums.count, sums.sums);
    }
    return status;
}

/* -EBADMSG: the record is not what its kind says. */
static cte_status replay(struct cte__model *model, const struct cte__record *record)
{
    struct cte__record_target target;
    struct cte__record_blob blob;
    uint64_t id;
    switch (record->kind) {
    case CTE__RECORD_TARGET:
        return cte__record_get_target(record, &target) ? number_target(model, &target) : -EBADMSG;
    case CTE__RECORD_TAG:
    case CTE__RECORD_FILE:
    case CTE__RECORD_TAG_GONE:
        id = tag_id_of(record);
        model->tag_id_max = cte__max(model->tag_id_max, id);
        return id != 0 ? set_item(model, record, tag_hash(id), id, NULL) : -EBADMSG;
    case CTE__RECORD_BLOB:
    case CTE__RECORD_BLOB_GONE:
        if (!cte__record_get_blob(record, &blob) || !pages_are_sound(model, &blob))
            return -EBADMSG;
        model->tag_id_max = cte__max(model->tag_id_max, blob.tag_id);
        cte_status status = note_all_sums(model, &blob);
        return status == CTE_OK ? set_item(model, record, blob_hash(&blob), 0, &blob) : status;
    case CTE__RECORD_COMPLETE:
        return CTE_OK;
    default:
        return -EBADMSG;
    }
}

static void tell_gap(struct cte__model *model, struct cte__journal_tell *tell, int i,
                     uint64_t start, uint64_t end)
{
    bool tail = end == model->text[i].count;
    model->damaged++;
    model->holes += !tail;
    cte__journal_say(tell,
                     "journal %s%s: bytes %llu to %llu are %s; what changed there is lost, and "
                     "older data may stand in its place",
                     model->path, i == 0 ? "" : ".next", (unsigned long long)start,
                     (unsigned long long)end - 1, tail ? "torn" : "damaged");
}

static cte_status replay_text(struct cte__model *model, int i, struct cte__journal_tell *tell)
{
    uint64_t at = CTE__JOURNAL_HEADER_BYTES, gap_start, gap_end;
    struct cte__record record;
    bool more = model->text[i].count > at;
    while (more) {
        more = cte__record_next(model->text[i].bytes, model->text[i].count, model->header.nonce,
                                &at, &record, &gap_start, &gap_end);
        if (gap_end > gap_start)
            tell_gap(model, tell, i, gap_start, gap_end);
        if (!more)
            break;
        cte_status status = replay(model, &record);
        if (status == -EBADMSG)
            tell_gap(model, tell, i, record.at, at);
        else if (status != CTE_OK)
            return status;
        model->records++;
    }
    return CTE_OK;
}

/* Counts what lives. */
static void count(struct cte__model *model)
{
    for (size_t i = 0; i < model->item_count; i++) {
        const struct cte__model_item *item = &model->items[i];
        struct cte__record_blob blob;
        model->tags += item->record.kind == CTE__RECORD_TAG;
        model->files += item->record.kind == CTE__RECORD_FILE;
        model->blobs += item->record.kind == CTE__RECORD_BLOB &&
                        cte__record_get_blob(&item->record, &blob) &&
                        cte__model_tag(model, blob.tag_id);
    }
}

cte_status cte__model_load(const char *path, uint64_t store_id, struct cte__journal_tell *tell,
                           struct cte__model **out)
{
    struct cte__model *model = calloc(1, sizeof *model);
    if (!model)
        return -ENOMEM;
    snprintf(model->path, sizeof model->path, "%s", path);
    cte_status status = load_texts(model, store_id);
    for (int i = 0; i < 2 && status == CTE_OK; i++) {
        model->bytes += model->text[i].count;
        status = replay_text(model, i, tell);
    }
    if (status != CTE_OK) {
        cte__model_free(model);
        return status;
    }
    count(model);
    *out = model;
    return CTE_OK;
}

void cte__model_free(struct cte__model *model)
{
    if (!model)
        return;
    while (model->targets) {
        struct cte__model_target *next = model->targets->next;
        if (model->targets->sums)
            munmap(model->targets->sums, sums_bytes(model->targets));
        free(model->targets);
        model->targets = next;
    }
    while (model->numbers) {
        struct cte__model_numbers *before = model->numbers->before;
        free(model->numbers);
        model->numbers = before;
    }
    drop_text(model, 0);
    drop_text(model, 1);
    free(model->items);
    free(model->slots);
    free(model);
}

bool cte__model_lives(const struct cte__model *model)
{
    return model->tags > 0 || model->files > 0;
}

void cte__model_describe(const struct cte__model *model, const struct cte__record_blob *blob,
                         char *text, size_t bytes)
{
    const struct cte__model_item *owner = cte__model_tag(model, blob->tag_id);
    struct cte__record_file file;
    struct cte__record_tag tag;
    uint64_t chunk = 0;
    if (owner && cte__record_get_file(&owner->record, &file)) {
        memcpy(&chunk, blob->name.bytes, cte__min(sizeof chunk, blob->name.count));
        snprintf(text, bytes, "file %.*s, piece at byte %llu", (int)file.path.count,
                 file.path.bytes, (unsigned long long)(chunk * file.chunk_bytes));
    } else if (owner && cte__record_get_tag(&owner->record, &tag)) {
        snprintf(text, bytes, "tag %.*s, blob %.*s", (int)tag.name.count, tag.name.bytes,
                 (int)blob->name.count, blob->name.bytes);
    } else {
        snprintf(text, bytes, "blob %.*s of unknown tag %llu",
                 blob->type == CTE__ENTRY_BLOB ? (int)blob->name.count : 0, blob->name.bytes,
                 (unsigned long long)blob->tag_id);
    }
}
