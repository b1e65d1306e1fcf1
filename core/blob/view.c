/* SPDX-License-Identifier: BSD-3-Clause */
/* Views: pages are pinned while their blob is locked, then looked at with no lock held. */
#include <cte/buffer.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/log.h"
#include "blob/change.h"
#include "blob/observe.h"
#include "blob/tag.h"
#include "store/pin.h"

/* Bytes of a blob that lie in a row, pinned; their checksums. */
struct pinned {
    struct cte__snapshot snapshot;
    const struct cte__span *span; /* NULL: they do not, or cannot be pinned */
    uint32_t pin;
};

/* True if the span is all there is of pages [first, end), in memory. */
static bool in_a_row(struct cte__store *store, const struct cte__snapshot *snapshot, uint64_t first,
                     uint64_t end)
{
    const struct cte__span *span = &snapshot->list.spans[0];
    return snapshot->list.count == 1 && span->state != CTE__PAGE_PARTIAL && span->index == first &&
           span->count == end - first && cte__target_has_views(store, cte__page_target(span->page));
}

/* Finds the bytes and pins them if possible.  *size becomes how many there are. */
static cte_status pin_bytes(struct cte__store *store, const struct cte__blob_key *key,
                            uint64_t offset, size_t *size, struct pinned *pinned)
{
    struct cte__locked_blob blob;
    cte__snapshot_init(&pinned->snapshot);
    pinned->span = NULL;
    cte_status status = cte__blob_lock(store, key, &blob);
    if (status != CTE_OK)
        return status;
    if (blob.entry != 0) {
        uint64_t blob_bytes = cte__entry_size(store, cte__entry_at(store, blob.entry));
        *size = offset < blob_bytes ? (size_t)cte__min(*size, blob_bytes - offset) : 0;
        uint64_t first = offset >> CTE__PAGE_SHIFT;
        uint64_t end = *size > 0 ? ((offset + *size - 1) >> CTE__PAGE_SHIFT) + 1 : first;
        status = cte__snapshot_locked(store, blob.entry, first, end, &pinned->snapshot);
        if (status == CTE_OK && *size > 0 && in_a_row(store, &pinned->snapshot, first, end)) {
            const struct cte__span *span = &pinned->snapshot.list.spans[0];
            if (cte__pin_pages(store, span->page, span->count, false, &pinned->pin) == CTE_OK)
                pinned->span = span;
        }
        struct cte__entry *entry = cte__entry_at(store, blob.entry);
        entry->heat = cte__heat_read(entry->heat, cte__realtime_ns());
    } else {
        status = CTE_ERR_NOT_FOUND;
    }
    cte__shard_unlock(blob.shard);
    return status;
}

static cte_status verify(const struct cte__store *store, const struct cte__span *span,
                         const char *bytes)
{
    for (uint32_t i = 0; store->checksum && i < span->count; i++)
        if (cte__page_checksum(bytes + cte__pages_to_bytes(i), span->index + i) !=
            span->checksums[i]) {
            cte__log_error("checksum mismatch in stored data: page %llu of a blob",
                           (unsigned long long)(span->index + i));
            return CTE_ERR_CHECKSUM;
        }
    return CTE_OK;
}

/* -EAGAIN: the pages cannot be mapped here. */
static cte_status show(struct cte__store *store, const struct pinned *pinned, uint64_t offset,
                       size_t size, cte_view *view)
{
    const struct cte__span *span = pinned->span;
    const char *bytes = cte__pages_view(store, false, span->page, span->count);
    cte_status status = bytes ? verify(store, span, bytes) : -EAGAIN;
    if (status != CTE_OK) {
        cte__pin_release(store, pinned->pin);
        return status;
    }
    *view = (cte_view){.data = bytes + (offset - cte__pages_to_bytes(span->index)),
                       .size_bytes = size,
                       .pin = pinned->pin,
                       .held = store};
    return CTE_OK;
}

static cte_status copy(struct cte__store *store, const struct cte__blob_key *key, uint64_t offset,
                       size_t size, cte_view *view)
{
    void *bytes = malloc(size + 1); /* also of nothing there is something to show */
    if (!bytes)
        return -ENOMEM;
    *view = (cte_view){.data = bytes, .copied = true, .held = bytes};
    cte_status status = cte__blob_read(store, key, offset, bytes, size, &view->size_bytes);
    if (status != CTE_OK)
        cte_view_release(view);
    return status;
}

static cte_status view_bytes(cte_tag *tag, const char *name, uint64_t offset, size_t size,
                             cte_view *view)
{
    struct cte__blob_key key;
    struct pinned pinned;
    cte_status status = view ? cte__user_key(tag, name, &key) : -EINVAL;
    if (status != CTE_OK)
        return status;
    *view = (cte_view){0};
    cte__store_sweep_if_wanted(tag->store);
    status = pin_bytes(tag->store, &key, offset, &size, &pinned);
    if (status == CTE_OK)
        status = pinned.span ? show(tag->store, &pinned, offset, size, view) : -EAGAIN;
    if (status == -EAGAIN)
        status = copy(tag->store, &key, offset, size, view);
    cte__snapshot_free(&pinned.snapshot);
    return status;
}

cte_status cte_blob_view(cte_tag *tag, const char *name, uint64_t offset, size_t size,
                         cte_view *view)
{
    uint64_t start = cte__observe_begin_on(tag);
    cte_status status = view_bytes(tag, name, offset, size, view);
    return cte__observe_blob(tag, start, CTE_OP_BLOB_VIEW, name, offset, size, status);
}

void cte_view_release(cte_view *view)
{
    if (!view || !view->held)
        return;
    if (view->copied)
        free(view->held);
    else
        cte__pin_release(view->held, view->pin);
    *view = (cte_view){0};
}
