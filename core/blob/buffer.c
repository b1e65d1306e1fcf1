/* SPDX-License-Identifier: BSD-3-Clause */
/* Buffers: pages that a process claims and fills in place; others may pin them, a blob may take
 * them. */
#include <cte/buffer.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/checksum.h"
#include "blob/change.h"
#include "blob/observe.h"
#include "blob/tag.h"
#include "store/pin.h"

struct cte_buffer {
    struct cte__store *store;
    struct cte__page_run run;
    uint32_t pin;
    uint16_t owner; /* a forked child is another */
    size_t size;
    char *data;
};

static uint64_t store_id(const struct cte__store *store)
{
    return XXH3_64bits(store->directory, strlen(store->directory));
}

/* The targets that cannot be mapped. */
static uint32_t unmappable(struct cte__store *store, bool *all)
{
    uint32_t skip = 0;
    *all = true;
    for (uint32_t t = 0; t < store->header->target_count; t++)
        if (!cte__target_has_views(store, t))
            skip |= 1u << t;
        else
            *all = false;
    return skip;
}

/* Pages in a row, mapped and noted. */
static cte_status claim(cte_buffer *buffer, uint32_t count)
{
    struct cte__store *store = buffer->store;
    uint32_t used;
    bool none;
    uint32_t skip = unmappable(store, &none);
    if (none)
        return -ENOTSUP;
    cte_status status = cte__pages_claim(store, count, 1.0f, skip, &buffer->run, 1, &used);
    if (status != CTE_OK)
        return status;
    buffer->data = cte__pages_view(store, true, buffer->run.page, count);
    status =
        buffer->data ? cte__pin_pages(store, buffer->run.page, count, true, &buffer->pin) : -ENOMEM;
    if (status != CTE_OK)
        cte__pages_free(store, buffer->run.page, count);
    return status;
}

cte_status cte_buffer_alloc(cte_client *client, size_t size, cte_buffer **out)
{
    if (!out || size == 0)
        return -EINVAL;
    if (size > cte__pages_to_bytes(UINT32_MAX))
        return -ENOSPC;
    cte_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer)
        return -ENOMEM;
    cte_status status = cte__client_store(client, &buffer->store);
    if (status == CTE_OK) {
        cte__store_sweep_if_wanted(buffer->store);
        buffer->size = size;
        buffer->owner = cte__store_self(buffer->store);
        status = claim(buffer, (uint32_t)cte__bytes_to_pages(cte__align_up(size, CTE__PAGE_BYTES)));
    }
    if (status == CTE_OK)
        *out = buffer;
    else
        free(buffer);
    return status;
}

void *cte_buffer_data(cte_buffer *buffer)
{
    return buffer ? buffer->data : NULL;
}

size_t cte_buffer_size(const cte_buffer *buffer)
{
    return buffer ? buffer->size : 0;
}

static bool is_ours(const cte_buffer *buffer)
{
    return buffer->owner != 0 && cte__store_self(buffer->store) == buffer->owner;
}

void cte_buffer_free(cte_buffer *buffer)
{
    if (!buffer)
        return;
    if (is_ours(buffer)) {
        cte__pin_release(buffer->store, buffer->pin);
        cte__pages_unpublish(buffer->store, buffer->run.page, buffer->run.count);
    }
    free(buffer);
}

/* ---- other processes ------------------------------------------------------------------------ */

cte_status cte_buffer_export(const cte_buffer *buffer, cte_buffer_handle *handle)
{
    if (!buffer || !handle || !is_ours(buffer))
        return -EINVAL;
    *handle = (cte_buffer_handle){
        .store = store_id(buffer->store),
        .size_bytes = buffer->size,
        .place = buffer->pin,
        .generation = cte__pin_generation(buffer->store, buffer->pin),
    };
    return CTE_OK;
}

static cte_status copy(struct cte__store *store, const struct cte__page_run *run, size_t size,
                       cte_view *view)
{
    void *bytes = malloc(size);
    struct iovec iov = {bytes, size};
    cte_status status = bytes ? cte__pages_io(store, false, run->page, 0, &iov, 1, size) : -ENOMEM;
    if (status == CTE_OK)
        *view = (cte_view){.data = bytes, .size_bytes = size, .copied = true, .held = bytes};
    else
        free(bytes);
    return status;
}

cte_status cte_buffer_import(cte_client *client, const cte_buffer_handle *handle, cte_view *view)
{
    struct cte__store *store;
    struct cte__page_run run;
    uint32_t pin;
    if (!handle || !view || handle->size_bytes == 0)
        return -EINVAL;
    *view = (cte_view){0};
    cte_status status = cte__client_store(client, &store);
    if (status == CTE_OK && handle->store != store_id(store))
        status = -EXDEV;
    if (status == CTE_OK)
        status = cte__pin_buffer(store, handle->place, handle->generation, &run, &pin);
    if (status != CTE_OK)
        return status;
    const void *data = cte__pages_view(store, false, run.page, run.count);
    if (handle->size_bytes > cte__pages_to_bytes(run.count)) {
        status = -EINVAL;
    } else if (data) {
        *view =
            (cte_view){.data = data, .size_bytes = handle->size_bytes, .pin = pin, .held = store};
        return CTE_OK;
    } else {
        status = copy(store, &run, handle->size_bytes, view);
    }
    cte__pin_release(store, pin);
    return status;
}

/* ---- becoming a blob ------------------------------------------------------------------------ */

/* Publishes the first `count` pages as all there is of a blob. */
static cte_status publish(const cte_buffer *buffer, const struct cte__blob_key *key, uint32_t count,
                          size_t size, const uint32_t *checksums, float score, bool exclusive)
{
    struct cte__change change;
    cte_status status = cte__change_begin(&change, buffer->store, key);
    if (status != CTE_OK)
        return status;
    if (exclusive && change.entry != 0)
        status = -EEXIST;
    for (size_t i = 0; i < change.old.count && status == CTE_OK; i++)
        status = cte__change_drop(&change, &change.old.spans[i]);
    struct cte__span span = {.page = buffer->run.page,
                             .count = count,
                             .state = CTE__PAGE_DIRTY,
                             .checksums = checksums,
                             .fresh = true};
    if (status == CTE_OK && count > 0)
        status = cte__change_add(&change, &span);
    if (status == CTE_OK) {
        change.size_bytes = size;
        change.score = score;
        status = cte__change_commit(&change);
    }
    cte__change_end(&change);
    return status;
}

static cte_status put_pages(const cte_buffer *buffer, const struct cte__blob_key *key,
                            uint32_t count, size_t size, float score, bool exclusive)
{
    uint32_t *checksums = malloc((count + (size_t)1) * sizeof *checksums);
    if (!checksums)
        return -ENOMEM;
    memset(buffer->data + size, 0, cte__pages_to_bytes(count) - size);
    for (uint32_t i = 0; i < count; i++)
        checksums[i] = buffer->store->checksum
                           ? cte__page_checksum(buffer->data + cte__pages_to_bytes(i), i)
                           : 0;
    /* Before the pages are a blob's: whoever pins those of a blob must have it locked. */
    cte__pin_close(buffer->store, buffer->pin, true);
    cte_status status = publish(buffer, key, count, size, checksums, score, exclusive);
    if (status != CTE_OK)
        cte__pin_close(buffer->store, buffer->pin, false);
    free(checksums);
    return status;
}

static cte_status put_buffer(cte_tag *tag, const char *name, cte_buffer *buffer, size_t size,
                             float score, uint32_t flags)
{
    struct cte__blob_key key;
    uint32_t known = CTE_BLOB_REPLACE | CTE_BLOB_EXCLUSIVE;
    /* Written so that a NaN fails. */
    if (!buffer || size > buffer->size || !(score >= 0.0f && score <= 1.0f) ||
        (flags & ~known) != 0 || !is_ours(buffer))
        return -EINVAL;
    cte_status status = cte__user_key(tag, name, &key);
    if (status == CTE_OK && tag->store != buffer->store)
        status = -EXDEV;
    if (status != CTE_OK)
        return status;
    cte__store_sweep_if_wanted(tag->store);
    uint32_t count = (uint32_t)cte__bytes_to_pages(cte__align_up(size, CTE__PAGE_BYTES));
    status = put_pages(buffer, &key, count, size, score, flags & CTE_BLOB_EXCLUSIVE);
    if (status != CTE_OK)
        return status;
    cte__pin_release(buffer->store, buffer->pin);
    if (count < buffer->run.count)
        cte__pages_unpublish(buffer->store, buffer->run.page + count, buffer->run.count - count);
    free(buffer);
    return CTE_OK;
}

cte_status cte_blob_put_buffer(cte_tag *tag, const char *name, cte_buffer *buffer, size_t size,
                               float score, uint32_t flags)
{
    uint64_t start = cte__observe_begin_on(tag);
    cte_status status = put_buffer(tag, name, buffer, size, score, flags);
    return cte__observe_blob(tag, start, CTE_OP_BLOB_PUT, name, 0, size, status);
}
