/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/journal_record.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/util.h"

static const char header_magic[16] = "cte journal";

enum { FRAME_MAGIC = 0x4a655463 }; /* "cTeJ" */

struct frame {
    uint32_t magic;
    uint32_t bytes; /* of the payload */
    uint64_t checksum;
};

/* What payloads begin with, by kind; variable parts follow in the order of the members. */
struct target_payload {
    uint32_t kind, index;
    uint64_t capacity_bytes, arena_bytes;
    uint32_t survives;
    uint16_t kind_bytes, path_bytes;
};

struct tag_payload {
    uint32_t kind, name_bytes;
    uint64_t id, public_id;
};

struct file_payload {
    uint32_t kind;
    uint16_t name_bytes, path_bytes;
    uint64_t id;
    uint64_t chunk_bytes, size_bytes, real_bytes, truncate_to;
    uint64_t device, inode, born_ns, real_changed_ns;
    uint32_t real_writers, mode, drain, flags;
    uint64_t lost_bytes, lost_first, lost_end;
};

struct blob_payload {
    uint32_t kind;
    uint16_t name_bytes, small_bytes;
    uint64_t tag_id;
    uint32_t type;
    float score;
    uint64_t size_bytes, modified_ns, read_ns;
    uint32_t extent_count, sums_count;
    uint32_t is_small, reserved;
};

struct extent_payload {
    cte__page page;
    uint32_t first, count, state, run_count;
};

struct sums_payload {
    cte__page page;
    uint32_t count, reserved;
};

static_assert(sizeof(struct frame) == 16 && sizeof(struct target_payload) == 32 &&
                  sizeof(struct tag_payload) == 24 && sizeof(struct file_payload) == 120 &&
                  sizeof(struct blob_payload) == 64 && sizeof(struct extent_payload) == 24 &&
                  sizeof(struct sums_payload) == 16,
              "no padding: what is written is what is defined");

/* ---- header --------------------------------------------------------------------------------- */

static uint64_t header_checksum(const struct cte__journal_header *header)
{
    return XXH3_64bits(header, offsetof(struct cte__journal_header, checksum));
}

void cte__journal_header_write(struct cte__journal_header header, char *bytes)
{
    memset(bytes, 0, CTE__JOURNAL_HEADER_BYTES);
    memcpy(header.magic, header_magic, sizeof header_magic);
    header.version = CTE__JOURNAL_VERSION;
    header.page_bytes = CTE__PAGE_BYTES;
    header.checksum = header_checksum(&header);
    memcpy(bytes, &header, sizeof header);
    memcpy(bytes + CTE__JOURNAL_HEADER_BYTES / 2, &header, sizeof header);
}

enum cte__journal_header_state cte__journal_header_read(const char *bytes, uint64_t count,
                                                        struct cte__journal_header *header)
{
    bool magic = false;
    for (uint64_t at = 0; at < CTE__JOURNAL_HEADER_BYTES; at += CTE__JOURNAL_HEADER_BYTES / 2) {
        if (at + sizeof *header > count)
            break;
        memcpy(header, bytes + at, sizeof *header);
        if (memcmp(header->magic, header_magic, sizeof header_magic) != 0)
            continue;
        magic = true;
        if (header->checksum == header_checksum(header))
            return header->version == CTE__JOURNAL_VERSION && header->page_bytes == CTE__PAGE_BYTES
                       ? CTE__JOURNAL_IS_OURS
                       : CTE__JOURNAL_IS_NEWER;
    }
    return magic ? CTE__JOURNAL_IS_DAMAGED : CTE__JOURNAL_IS_FOREIGN;
}

/* ---- writing -------------------------------------------------------------------------------- */

void cte__record_buffer_init(struct cte__record_buffer *buffer)
{
    buffer->bytes = buffer->few;
    buffer->count = 0;
    buffer->capacity = sizeof buffer->few;
    buffer->start = 0;
    buffer->failed = false;
}

void cte__record_buffer_free(struct cte__record_buffer *buffer)
{
    if (buffer->bytes != buffer->few)
        free(buffer->bytes);
    cte__record_buffer_init(buffer);
}

static bool make_room(struct cte__record_buffer *buffer, size_t bytes)
{
    if (buffer->failed || bytes <= buffer->capacity - buffer->count)
        return !buffer->failed;
    size_t capacity = (buffer->count + bytes) * 2;
    char *larger = malloc(capacity);
    if (!larger) {
        buffer->failed = true;
        return false;
    }
    memcpy(larger, buffer->bytes, buffer->count);
    if (buffer->bytes != buffer->few)
        free(buffer->bytes);
    buffer->bytes = larger;
    buffer->capacity = capacity;
    return true;
}

static void put(struct cte__record_buffer *buffer, const void *bytes, size_t count)
{
    if (count == 0 || !make_room(buffer, count))
        return;
    memcpy(buffer->bytes + buffer->count, bytes, count);
    buffer->count += count;
}

static void put_text(struct cte__record_buffer *buffer, struct cte__text text)
{
    put(buffer, text.bytes, text.count);
}

static void begin(struct cte__record_buffer *buffer)
{
    struct frame frame = {FRAME_MAGIC, 0, 0};
    buffer->start = buffer->count;
    put(buffer, &frame, sizeof frame);
}

static uint64_t payload_checksum(const char *payload, uint32_t bytes, uint64_t nonce)
{
    return XXH3_64bits_withSeed(payload, bytes, nonce + bytes);
}

static void end(struct cte__record_buffer *buffer, uint64_t nonce)
{
    struct frame frame = {.magic = FRAME_MAGIC};
    if (buffer->failed)
        return;
    size_t bytes = buffer->count - buffer->start - sizeof frame;
    if (bytes > UINT32_MAX) {
        buffer->failed = true;
        return;
    }
    frame.bytes = (uint32_t)bytes;
    char *at = buffer->bytes + buffer->start;
    frame.checksum = payload_checksum(at + sizeof frame, frame.bytes, nonce);
    memcpy(at, &frame, sizeof frame);
}

void cte__record_put_target(struct cte__record_buffer *buffer, uint64_t nonce,
                            const struct cte__record_target *target)
{
    struct target_payload payload = {
        .kind = CTE__RECORD_TARGET,
        .index = target->index,
        .capacity_bytes = target->capacity_bytes,
        .arena_bytes = target->arena_bytes,
        .survives = target->survives,
        .kind_bytes = (uint16_t)target->kind.count,
        .path_bytes = (uint16_t)target->path.count,
    };
    begin(buffer);
    put(buffer, &payload, sizeof payload);
    put_text(buffer, target->kind);
    put_text(buffer, target->path);
    end(buffer, nonce);
}

void cte__record_put_tag(struct cte__record_buffer *buffer, uint64_t nonce,
                         const struct cte__record_tag *tag)
{
    struct tag_payload payload = {CTE__RECORD_TAG, tag->name.count, tag->id, tag->public_id};
    begin(buffer);
    put(buffer, &payload, sizeof payload);
    put_text(buffer, tag->name);
    end(buffer, nonce);
}

void cte__record_put_tag_gone(struct cte__record_buffer *buffer, uint64_t nonce, uint64_t id)
{
    struct tag_payload payload = {CTE__RECORD_TAG_GONE, 0, id, 0};
    begin(buffer);
    put(buffer, &payload, sizeof payload);
    end(buffer, nonce);
}

void cte__record_put_file(struct cte__record_buffer *buffer, uint64_t nonce,
                          const struct cte__record_file *file)
{
    struct file_payload payload = {
        .kind = CTE__RECORD_FILE,
        .name_bytes = (uint16_t)file->name.count,
        .path_bytes = (uint16_t)file->path.count,
        .id = file->id,
        .chunk_bytes = file->chunk_bytes,
        .size_bytes = file->size_bytes,
        .real_bytes = file->real_bytes,
        .truncate_to = file->truncate_to,
        .device = file->device,
        .inode = file->inode,
        .born_ns = file->born_ns,
        .real_changed_ns = file->real_changed_ns,
        .real_writers = file->real_writers,
        .mode = file->mode,
        .drain = file->drain,
        .lost_bytes = file->lost_bytes,
        .lost_first = file->lost_first,
        .lost_end = file->lost_end,
        .flags = file->flags,
    };
    begin(buffer);
    put(buffer, &payload, sizeof payload);
    put_text(buffer, file->name);
    put_text(buffer, file->path);
    end(buffer, nonce);
}

void cte__record_put_complete(struct cte__record_buffer *buffer, uint64_t nonce)
{
    struct tag_payload payload = {CTE__RECORD_COMPLETE, 0, 0, 0};
    begin(buffer);
    put(buffer, &payload, sizeof payload);
    end(buffer, nonce);
}

static void put_blob(struct cte__record_buffer *buffer, uint32_t kind,
                     const struct cte__record_blob *blob)
{
    struct blob_payload payload = {
        .kind = kind,
        .name_bytes = (uint16_t)blob->name.count,
        .small_bytes = (uint16_t)blob->small.count,
        .tag_id = blob->tag_id,
        .type = blob->type,
        .score = blob->score,
        .size_bytes = blob->size_bytes,
        .modified_ns = blob->modified_ns,
        .read_ns = blob->read_ns,
        .is_small = blob->is_small,
    };
    begin(buffer);
    put(buffer, &payload, sizeof payload);
    put_text(buffer, blob->name);
    put_text(buffer, blob->small);
}

void cte__record_put_blob_gone(struct cte__record_buffer *buffer, uint64_t nonce,
                               const struct cte__record_blob *blob)
{
    struct cte__record_blob gone = {.tag_id = blob->tag_id, .type = blob->type, .name = blob->name};
    put_blob(buffer, CTE__RECORD_BLOB_GONE, &gone);
    end(buffer, nonce);
}

void cte__record_blob_begin(struct cte__record_buffer *buffer, const struct cte__record_blob *blob)
{
    put_blob(buffer, CTE__RECORD_BLOB, blob);
}

/* Counts in what was begun.  Records begin at any byte: nothing in them is aligned. */
static void count_in(struct cte__record_buffer *buffer, size_t member)
{
    uint32_t count;
    if (buffer->failed)
        return;
    char *at = buffer->bytes + buffer->start + sizeof(struct frame) + member;
    memcpy(&count, at, sizeof count);
    count++;
    memcpy(at, &count, sizeof count);
}

void cte__record_blob_extent(struct cte__record_buffer *buffer,
                             const struct cte__record_extent *extent)
{
    struct extent_payload payload = {extent->page, extent->first, extent->count, extent->state,
                                     extent->run_count};
    put(buffer, &payload, sizeof payload);
    count_in(buffer, offsetof(struct blob_payload, extent_count));
}

void cte__record_blob_run(struct cte__record_buffer *buffer, const struct cte__run *run)
{
    put(buffer, run, sizeof *run);
}

void cte__record_blob_sums(struct cte__record_buffer *buffer, cte__page page, uint32_t count,
                           const uint32_t *sums)
{
    struct sums_payload payload = {page, count, 0};
    put(buffer, &payload, sizeof payload);
    put(buffer, sums, count * sizeof *sums);
    count_in(buffer, offsetof(struct blob_payload, sums_count));
}

void cte__record_blob_end(struct cte__record_buffer *buffer, uint64_t nonce)
{
    end(buffer, nonce);
}

void cte__record_blob_cancel(struct cte__record_buffer *buffer)
{
    buffer->count = buffer->start;
}

/* ---- reading: frames ------------------------------------------------------------------------ */

static bool record_at(const char *text, uint64_t count, uint64_t nonce, uint64_t at,
                      struct cte__record *record)
{
    struct frame frame;
    if (count - at < sizeof frame + sizeof record->kind)
        return false;
    memcpy(&frame, text + at, sizeof frame);
    if (frame.magic != FRAME_MAGIC || frame.bytes < sizeof record->kind ||
        frame.bytes > count - at - sizeof frame)
        return false;
    const char *payload = text + at + sizeof frame;
    if (payload_checksum(payload, frame.bytes, nonce) != frame.checksum)
        return false;
    *record = (struct cte__record){.payload = payload, .bytes = frame.bytes, .at = at};
    memcpy(&record->kind, payload, sizeof record->kind);
    return true;
}

bool cte__record_next(const char *text, uint64_t count, uint64_t nonce, uint64_t *at,
                      struct cte__record *record, uint64_t *gap_start, uint64_t *gap_end)
{
    static const uint32_t magic = FRAME_MAGIC;
    uint64_t look = *at;
    *gap_start = *at;
    while (look < count && !record_at(text, count, nonce, look, record)) {
        const char *found = memmem(text + look + 1, count - look - 1, &magic, sizeof magic);
        look = found ? (uint64_t)(found - text) : count;
    }
    *gap_end = look;
    *at = look < count ? look + sizeof(struct frame) + record->bytes : count;
    return look < count;
}

/* ---- reading: payloads ---------------------------------------------------------------------- */

/* What of a payload is not read yet. */
struct rest {
    const char *bytes;
    uint64_t count;
};

static bool take(struct rest *rest, void *out, size_t bytes)
{
    if (rest->count < bytes)
        return false;
    memcpy(out, rest->bytes, bytes);
    rest->bytes += bytes;
    rest->count -= bytes;
    return true;
}

static bool take_text(struct rest *rest, uint32_t bytes, struct cte__text *text)
{
    if (rest->count < bytes)
        return false;
    *text = (struct cte__text){rest->bytes, bytes};
    rest->bytes += bytes;
    rest->count -= bytes;
    return true;
}

static struct rest rest_of(const struct cte__record *record)
{
    return (struct rest){record->payload, record->bytes};
}

static bool is_path(struct cte__text text)
{
    return text.count > 0 && text.count < PATH_MAX && text.bytes[0] == '/' &&
           !memchr(text.bytes, 0, text.count);
}

bool cte__record_get_target(const struct cte__record *record, struct cte__record_target *target)
{
    struct target_payload payload;
    struct rest rest = rest_of(record);
    if (record->kind != CTE__RECORD_TARGET || !take(&rest, &payload, sizeof payload) ||
        !take_text(&rest, payload.kind_bytes, &target->kind) ||
        !take_text(&rest, payload.path_bytes, &target->path) || rest.count != 0)
        return false;
    target->index = payload.index;
    target->survives = payload.survives != 0;
    target->capacity_bytes = payload.capacity_bytes;
    target->arena_bytes = payload.arena_bytes;
    return target->index < CTE__TARGETS_MAX && is_path(target->path) && target->kind.count > 0 &&
           target->kind.count < sizeof((struct cte__target_record *)NULL)->kind &&
           target->arena_bytes > 0 && target->arena_bytes % CTE__PAGE_BYTES == 0 &&
           cte__is_power_of_two(target->arena_bytes) &&
           target->capacity_bytes % target->arena_bytes == 0 && target->capacity_bytes <= INT64_MAX;
}

bool cte__record_get_tag(const struct cte__record *record, struct cte__record_tag *tag)
{
    struct tag_payload payload;
    struct rest rest = rest_of(record);
    if (record->kind != CTE__RECORD_TAG || !take(&rest, &payload, sizeof payload) ||
        !take_text(&rest, payload.name_bytes, &tag->name) || rest.count != 0)
        return false;
    tag->id = payload.id;
    tag->public_id = payload.public_id;
    return tag->id != 0 && tag->public_id != 0 && tag->name.count > 0 &&
           tag->name.count <= UINT16_MAX;
}

bool cte__record_get_tag_gone(const struct cte__record *record, uint64_t *id)
{
    struct tag_payload payload;
    struct rest rest = rest_of(record);
    if (record->kind != CTE__RECORD_TAG_GONE || !take(&rest, &payload, sizeof payload) ||
        rest.count != 0)
        return false;
    *id = payload.id;
    return payload.id != 0;
}

bool cte__record_get_file(const struct cte__record *record, struct cte__record_file *file)
{
    struct file_payload payload;
    struct rest rest = rest_of(record);
    if (record->kind != CTE__RECORD_FILE || !take(&rest, &payload, sizeof payload) ||
        !take_text(&rest, payload.name_bytes, &file->name) ||
        !take_text(&rest, payload.path_bytes, &file->path) || rest.count != 0)
        return false;
    file->id = payload.id;
    file->chunk_bytes = payload.chunk_bytes;
    file->size_bytes = payload.size_bytes;
    file->real_bytes = payload.real_bytes;
    file->truncate_to = payload.truncate_to;
    file->device = payload.device;
    file->inode = payload.inode;
    file->born_ns = payload.born_ns;
    file->real_changed_ns = payload.real_changed_ns;
    file->real_writers = payload.real_writers;
    file->mode = payload.mode;
    file->drain = payload.drain;
    file->lost_bytes = payload.lost_bytes;
    file->lost_first = payload.lost_first;
    file->lost_end = payload.lost_end;
    file->flags = payload.flags;
    return file->id != 0 && file->name.count > 0 && is_path(file->path) &&
           cte__is_power_of_two(file->chunk_bytes) && file->chunk_bytes >= CTE__PAGE_BYTES;
}

static bool run_is_sound(const struct cte__run *run, uint32_t from)
{
    uint32_t length = run->length_dirty >> 1;
    return run->start >= from && length > 0 && run->start + length <= CTE__PAGE_BYTES;
}

/* Ascending runs in at most CTE__RUN_PAGES_MAX pages. */
static bool runs_are_sound(const struct cte__record_extent *extent)
{
    cte__page pages[CTE__RUN_PAGES_MAX];
    uint32_t page_count = 0, from = 0;
    for (uint32_t i = 0; i < extent->run_count; i++) {
        struct cte__run run = cte__record_run(extent, i);
        uint32_t p = 0;
        if (!run_is_sound(&run, from))
            return false;
        from = run.start + (run.length_dirty >> 1);
        while (p < page_count && pages[p] != run.page)
            p++;
        if (p == CTE__RUN_PAGES_MAX)
            return false;
        if (p == page_count)
            pages[page_count++] = run.page;
    }
    return extent->run_count > 0;
}

static bool take_extent(struct rest *rest, uint64_t *from)
{
    const char *at = rest->bytes;
    struct extent_payload payload;
    struct cte__text runs;
    if (!take(rest, &payload, sizeof payload) || payload.first < *from || payload.count == 0 ||
        (uint64_t)payload.run_count * sizeof(struct cte__run) > UINT32_MAX ||
        !take_text(rest, (uint32_t)(payload.run_count * sizeof(struct cte__run)), &runs))
        return false;
    *from = (uint64_t)payload.first + payload.count;
    struct cte__record_extent extent = cte__record_extent_next(&at);
    bool partial = payload.state == CTE__PAGE_PARTIAL;
    if (partial ? payload.count != 1 || !runs_are_sound(&extent) : payload.run_count != 0)
        return false;
    return *from <= (uint64_t)UINT32_MAX + 1 && payload.state != CTE__PAGE_NONE &&
           payload.state <= CTE__PAGE_PARTIAL;
}

static bool take_sums(struct rest *rest)
{
    struct sums_payload payload;
    struct cte__text sums;
    return take(rest, &payload, sizeof payload) && payload.count > 0 &&
           payload.count <= rest->count / sizeof(uint32_t) &&
           take_text(rest, (uint32_t)(payload.count * sizeof(uint32_t)), &sums);
}

bool cte__record_get_blob(const struct cte__record *record, struct cte__record_blob *blob)
{
    struct blob_payload payload;
    struct rest rest = rest_of(record);
    uint64_t from = 0;
    if ((record->kind != CTE__RECORD_BLOB && record->kind != CTE__RECORD_BLOB_GONE) ||
        !take(&rest, &payload, sizeof payload) ||
        !take_text(&rest, payload.name_bytes, &blob->name) ||
        !take_text(&rest, payload.small_bytes, &blob->small))
        return false;
    blob->tag_id = payload.tag_id;
    blob->type = payload.type;
    blob->score = payload.score;
    blob->size_bytes = payload.size_bytes;
    blob->modified_ns = payload.modified_ns;
    blob->read_ns = payload.read_ns;
    blob->is_small = payload.is_small != 0;
    blob->extent_count = payload.extent_count;
    blob->sums_count = payload.sums_count;
    blob->extents = rest.bytes;
    for (uint32_t i = 0; i < payload.extent_count; i++)
        if (!take_extent(&rest, &from))
            return false;
    blob->sums = rest.bytes;
    for (uint32_t i = 0; i < payload.sums_count; i++)
        if (!take_sums(&rest))
            return false;
    bool small = !blob->is_small ||
                 (blob->extent_count == 0 && blob->sums_count == 0 &&
                  blob->small.count <= CTE__SMALL_MAX && blob->small.count == blob->size_bytes);
    /* Written so that a NaN fails. */
    return rest.count == 0 && small && blob->tag_id != 0 && blob->name.count > 0 &&
           (blob->is_small || blob->small.count == 0) && blob->score >= 0.0f &&
           blob->score <= 1.0f &&
           (blob->type == CTE__ENTRY_BLOB ||
            (blob->type == CTE__ENTRY_CHUNK && blob->name.count == sizeof(uint64_t) &&
             !blob->is_small));
}

struct cte__record_extent cte__record_extent_next(const char **at)
{
    struct extent_payload payload;
    memcpy(&payload, *at, sizeof payload);
    struct cte__record_extent extent = {payload.page,  payload.first,     payload.count,
                                        payload.state, payload.run_count, *at + sizeof payload};
    *at = extent.runs + payload.run_count * sizeof(struct cte__run);
    return extent;
}

struct cte__run cte__record_run(const struct cte__record_extent *extent, uint32_t index)
{
    struct cte__run run;
    memcpy(&run, extent->runs + index * sizeof run, sizeof run);
    return run;
}

struct cte__record_sums cte__record_sums_next(const char **at)
{
    struct sums_payload payload;
    memcpy(&payload, *at, sizeof payload);
    struct cte__record_sums sums = {payload.page, payload.count, *at + sizeof payload};
    *at = sums.sums + payload.count * sizeof(uint32_t);
    return sums;
}
