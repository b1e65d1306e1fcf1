/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads and writes through the tiers: segments of the file become pieces of its chunks. */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"
#include "blob/verify.h"
#include "file/drain.h"
#include "file/outside.h"
#include "file/prefetch.h"
#include "file/retain.h"
#include "file/room.h"
#include "file/tracked.h"
#include "store/journal.h"

/* Pieces of one chunk, ascending and apart. */
struct batch {
    cte_file *file;
    bool write;
    uint64_t chunk;
    struct cte__piece_list pieces;
    struct cte__piece_list missing;
};

static struct cte__store *store_of(const cte_file *file)
{
    return file->client->store;
}

static struct cte__tag_record *record_of(const cte_file *file)
{
    return cte__tag_at(store_of(file), file->tag);
}

/* No tier can take the bytes: they go to the real file, and what the store had of them is
 * forgotten. The lane keeps drainers away, who could put older bytes over these. */
static cte_status write_through(struct batch *batch)
{
    cte_file *file = batch->file;
    struct cte__blob_key key = cte__chunk_key(file->tag, &batch->chunk);
    struct cte__mutex *lane = cte__tracked_lane(record_of(file), batch->chunk);
    cte_status status = CTE_OK;
    cte__lane_lock(lane);
    cte__real_begin(store_of(file), file->tag, file->fd);
    for (size_t i = 0; i < batch->pieces.count && status == CTE_OK; i++) {
        const struct cte__piece *piece = &batch->pieces.pieces[i];
        status = cte__fd_write_all(file->fd, piece->base, piece->length,
                                   batch->chunk * file->chunk_bytes + piece->offset);
        if (status == CTE_OK)
            status =
                cte__blob_trim(store_of(file), &key, piece->offset, piece->offset + piece->length);
        if (status == CTE_OK) {
            file->stats.bytes_written_through += piece->length;
            atomic_fetch_add(&store_of(file)->header->drain.bytes_written_through, piece->length);
        }
    }
    cte__real_end(store_of(file), file->tag, file->fd);
    cte__mutex_unlock(lane);
    return status;
}

/* A stored copy is damaged: what the real file has too is taken from there from now on.  False if
 * that is no help, as the damaged bytes were not drained. */
static bool heal(const struct batch *batch)
{
    const cte_file *file = batch->file;
    struct cte__blob_key key = cte__chunk_key(file->tag, &batch->chunk);
    uint64_t start = batch->chunk * file->chunk_bytes, dropped;
    cte_status status = cte__chunk_heal(store_of(file), &key, &dropped);
    if (status == CTE_OK && dropped > 0)
        cte__log_warn("file %s: %llu damaged bytes of the store's copy between %llu and %llu are "
                      "dropped; the real file's are used",
                      file->path, (unsigned long long)dropped, (unsigned long long)start,
                      (unsigned long long)(start + file->chunk_bytes - 1));
    return status == CTE_OK && dropped > 0;
}

static cte_status put_batch(const struct batch *batch, const struct cte__blob_key *key)
{
    struct cte__store *store = store_of(batch->file);
    cte_status status = cte__blob_put(store, key, batch->pieces.pieces, batch->pieces.count,
                                      batch->file->score, false);
    if (status == CTE_ERR_CHECKSUM && heal(batch))
        status = cte__blob_put(store, key, batch->pieces.pieces, batch->pieces.count,
                               batch->file->score, false);
    return status;
}

/* All targets together are full: clean data makes room, then what can be drained now; others may be
 * quicker to use it. */
static cte_status write_batch(struct batch *batch)
{
    enum { MAKE_ROOM_MAX = 4 };
    cte_file *file = batch->file;
    struct cte__blob_key key = cte__chunk_key(file->tag, &batch->chunk);
    const struct cte__piece *last = &batch->pieces.pieces[batch->pieces.count - 1];
    uint64_t bytes = last->offset + last->length - batch->pieces.pieces[0].offset;
    cte_status status = put_batch(batch, &key);
    for (int i = 0; status == -ENOSPC && i < MAKE_ROOM_MAX && cte__room_for_file(file, bytes); i++)
        status = put_batch(batch, &key);
    /* A stored page that is damaged must not be glossed over; anything else has a way out. */
    if (status != CTE_OK && status != CTE_ERR_CHECKSUM)
        status = write_through(batch);
    if (status == CTE_OK)
        cte__journal_in_memory(store_of(file), file->tag);
    if (status == CTE_OK)
        cte__tracked_extend(record_of(file),
                            batch->chunk * file->chunk_bytes + last->offset + last->length);
    return status;
}

/* What the store does not have comes from the real file, and is zeros behind its end. */
static cte_status read_missing(struct batch *batch)
{
    cte_file *file = batch->file;
    struct cte__fill fill = {
        .store = store_of(file), .tag = file->tag, .fd = file->fd, .score = file->score};
    cte_status status = CTE_OK;
    if (batch->missing.count > 0 && !file->readable)
        return -EBADF;
    for (size_t i = 0; i < batch->missing.count && status == CTE_OK; i++) {
        if (file->client->config->cache_reads)
            cte__fill_begin(&fill);
        status = cte__fill_read(&fill, batch->chunk, &batch->missing.pieces[i]);
    }
    return status;
}

static cte_status read_batch(struct batch *batch)
{
    cte_file *file = batch->file;
    struct cte__blob_key key = cte__chunk_key(file->tag, &batch->chunk);
    uint64_t total = 0, missing = 0;
    cte_status status = cte__blob_get(store_of(file), &key, batch->pieces.pieces,
                                      batch->pieces.count, &batch->missing, NULL);
    if (status == CTE_ERR_CHECKSUM && heal(batch)) {
        batch->missing.count = 0;
        status = cte__blob_get(store_of(file), &key, batch->pieces.pieces, batch->pieces.count,
                               &batch->missing, NULL);
    }
    if (status == CTE_OK && batch->missing.count > 0 &&
        cte__prefetch_wait(file->prefetch, batch->chunk))
        status = cte__blob_get(store_of(file), &key, batch->pieces.pieces, batch->pieces.count,
                               &batch->missing, NULL);
    if (status != CTE_OK)
        return status;
    for (size_t i = 0; i < batch->pieces.count; i++)
        total += batch->pieces.pieces[i].length;
    for (size_t i = 0; i < batch->missing.count; i++)
        missing += batch->missing.pieces[i].length;
    file->stats.bytes_read_store += total - missing;
    return read_missing(batch);
}

static cte_status flush(struct batch *batch)
{
    if (batch->pieces.count == 0)
        return CTE_OK;
    cte_status status = batch->write ? write_batch(batch) : read_batch(batch);
    batch->pieces.count = 0;
    batch->missing.count = 0;
    return status;
}

/* Adds a piece, after flushing the batch if it is of another chunk, or not behind the last piece.
 */
static cte_status add(struct batch *batch, uint64_t chunk, uint64_t offset, size_t length,
                      char *base)
{
    cte_status status = CTE_OK;
    if (batch->pieces.count > 0) {
        const struct cte__piece *last = &batch->pieces.pieces[batch->pieces.count - 1];
        if (batch->chunk != chunk || offset < last->offset + last->length)
            status = flush(batch);
    }
    batch->chunk = chunk;
    return status == CTE_OK ? cte__piece_list_add(&batch->pieces, offset, length, base) : status;
}

static cte_status add_segment(struct batch *batch, uint64_t offset, size_t length, char *base)
{
    uint64_t chunk_bytes = batch->file->chunk_bytes;
    cte_status status = CTE_OK;
    while (length > 0 && status == CTE_OK) {
        uint64_t chunk = offset / chunk_bytes, within = offset % chunk_bytes;
        size_t part = (size_t)cte__min(length, chunk_bytes - within);
        status = add(batch, chunk, within, part, base);
        offset += part;
        base += part;
        length -= part;
    }
    return status;
}

static cte_status acquire(const cte_file *file, const cte_file_segment *segment, bool write)
{
    const struct cte__coherence_ops *ops = file->coherence;
    return ops->acquire ? ops->acquire(&file->comm, record_of(file)->tag_id, segment->offset,
                                       segment->length, write)
                        : CTE_OK;
}

/* Tells other nodes, where there are any, of what was written. */
static cte_status publish(const cte_file *file, const cte_file_segment *segments, size_t count)
{
    const struct cte__coherence_ops *ops = file->coherence;
    cte_status status = CTE_OK;
    for (size_t i = 0; ops->publish && i < count && status == CTE_OK; i++)
        status = ops->publish(&file->comm, record_of(file)->tag_id, segments[i].offset,
                              segments[i].length);
    return status;
}

static void batch_free(struct batch *batch)
{
    free(batch->pieces.pieces);
    free(batch->missing.pieces);
}

cte_status cte__tracked_write(cte_file *file, const cte_file_segment *segments, size_t count)
{
    struct batch batch = {.file = file, .write = true};
    cte_status status = CTE_OK;
    uint64_t bytes = 0;
    /* A truncation that its process died in must not cut off what is written after it. */
    if (atomic_load(&record_of(file)->file.truncate_to) != 0) {
        cte__tracked_lock(store_of(file), file->tag, file->fd);
        bool pending = atomic_load(&record_of(file)->file.truncate_to) != 0;
        cte__tracked_unlock(store_of(file), file->tag);
        if (pending)
            return -EIO; /* the real file cannot be cut: said in the log */
    }
    for (size_t i = 0; i < count && status == CTE_OK; i++) {
        status = acquire(file, &segments[i], true);
        if (status == CTE_OK)
            status = add_segment(&batch, segments[i].offset, segments[i].length, segments[i].base);
        bytes += segments[i].length;
    }
    if (status == CTE_OK)
        status = flush(&batch);
    batch_free(&batch);
    cte__eager_touch(file);
    if (status == CTE_OK)
        status = publish(file, segments, count);
    if (status == CTE_OK)
        file->stats.bytes_written += bytes;
    return status;
}

cte_status cte__tracked_read(cte_file *file, const cte_file_segment *segments, size_t count,
                             uint64_t *transferred)
{
    struct batch batch = {.file = file};
    uint64_t size = atomic_load(&record_of(file)->file.size_bytes);
    cte_status status = CTE_OK;
    *transferred = 0;
    for (size_t i = 0; i < count && status == CTE_OK; i++) {
        const cte_file_segment *segment = &segments[i];
        if (segment->offset >= size)
            continue;
        size_t length = (size_t)cte__min(segment->length, size - segment->offset);
        status = acquire(file, segment, false);
        if (status == CTE_OK)
            status = add_segment(&batch, segment->offset, length, segment->base);
        *transferred += length;
    }
    if (status == CTE_OK)
        status = flush(&batch);
    batch_free(&batch);
    if (status != CTE_OK)
        return status;
    file->stats.bytes_read += *transferred;
    for (size_t i = 0; file->prefetch && i < count; i++)
        cte__prefetch_note(file->prefetch, segments[i].offset, segments[i].length);
    return CTE_OK;
}
