/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading from the real file, and keeping what was read.
 *
 * A page that was read is kept only if it is still the real file's when it becomes visible.  Others
 * may change the real file in three ways.  Cte's own changes are counted: one that began before the
 * page becomes visible is seen by the count, so the page is not kept; one that begins later needs
 * the chunk's lock to forget the bytes it replaced, or has its own bytes in the chunk already, over
 * which nothing is put.  Changes by others are told by the file's mark at the next open. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "file/retain.h"
#include "file/tracked.h"

enum {
    GRAIN_FINE_NS = 100000000, /* of times with a fraction of a second: a kernel's tick, and more */
    TARGET_RESERVE = 8,        /* a target keeps one part in so many free of copies */
};
#define GRAIN_COARSE_NS UINT64_C(2100000000) /* of times in whole seconds, or every other one */

static struct cte__file_state *state_of(const struct cte__fill *fill)
{
    return &cte__tag_at(fill->store, fill->tag)->file;
}

/* True if whatever changes the file from now on gives it other times than its mark's. */
static bool mark_is_old(const struct cte__file_state *file)
{
    struct timespec now;
    uint64_t modified = atomic_load(&file->mark.modified_ns);
    uint64_t changed = cte__max(modified, atomic_load(&file->mark.changed_ns));
    uint64_t grain = modified % 1000000000 == 0 ? GRAIN_COARSE_NS : GRAIN_FINE_NS;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec >= changed + grain;
}

void cte__fill_begin(struct cte__fill *fill)
{
    const struct cte__file_state *file = state_of(fill);
    fill->changes = atomic_load(&file->real_changes);
    fill->keep = atomic_load(&file->real_writers) == 0 &&
                 (atomic_load(&file->real_ours) || mark_is_old(file));
}

static bool holds(const void *context)
{
    const struct cte__fill *fill = context;
    return atomic_load(&state_of(fill)->real_changes) == fill->changes;
}

/* Targets that would not have room to spare: copies must not push new data to slower ones. */
static uint32_t crowded_targets(struct cte__store *store, uint64_t bytes)
{
    uint32_t crowded = 0;
    for (uint32_t t = 0; t < store->header->target_count; t++)
        if (cte__target_exists(store, t) &&
            cte__target_free_about(store, t) <
                bytes + store->header->targets[t].capacity_bytes / TARGET_RESERVE)
            crowded |= 1u << t;
    return crowded;
}

static cte_status keep(struct cte__fill *fill, uint64_t chunk, uint64_t offset, const char *bytes,
                       uint64_t length)
{
    struct cte__blob_key key = cte__chunk_key(fill->tag, &chunk);
    struct cte__clean_pages pages = {
        .first = offset >> CTE__PAGE_SHIFT,
        .count = (uint32_t)(length >> CTE__PAGE_SHIFT),
        .bytes = bytes,
        .score = fill->score,
        .skip = fill->wanted ? 0 : crowded_targets(fill->store, length),
        .holds = holds,
        .context = fill,
    };
    return pages.count > 0 ? cte__blob_put_clean(fill->store, &key, &pages) : CTE_OK;
}

/* Reads a range of a chunk; *done is where the file ends in it, rounded up to pages. */
static cte_status read_range(const struct cte__fill *fill, uint64_t chunk,
                             const struct cte__piece *range, uint64_t *done)
{
    size_t got = 0;
    uint64_t chunk_bytes = cte__tag_at(fill->store, fill->tag)->chunk_bytes;
    cte_status status = cte__fd_read_all(fill->fd, range->base, range->length,
                                         chunk * chunk_bytes + range->offset, &got);
    if (status == CTE_OK)
        memset(range->base + got, 0, range->length - got);
    *done = cte__align_up(got, CTE__PAGE_BYTES);
    return status;
}

/* Reads whole pages, keeps them, and copies the piece that lies in them out. */
static cte_status read_around(struct cte__fill *fill, uint64_t chunk,
                              const struct cte__piece *piece, const struct cte__piece *around)
{
    uint64_t done, skip = piece->offset - around->offset, end = piece->offset + piece->length;
    uint64_t inner = cte__align_up(piece->offset, CTE__PAGE_BYTES);
    cte_status status = read_range(fill, chunk, around, &done);
    if (status != CTE_OK)
        return status;
    if (around->base != piece->base)
        memcpy(piece->base, around->base + skip, piece->length);
    fill->kept = keep(fill, chunk, around->offset, around->base, done);
    /* Something is stored in the page where the piece begins or ends: that is why it does. */
    uint64_t inner_end = cte__min(cte__align_down(end, CTE__PAGE_BYTES), around->offset + done);
    if (fill->kept == -EEXIST && inner < inner_end)
        fill->kept =
            keep(fill, chunk, inner, around->base + (inner - around->offset), inner_end - inner);
    if (fill->kept != CTE_OK)
        cte__log_debug("bytes read are not kept: %s", cte_status_string(fill->kept));
    return CTE_OK;
}

cte_status cte__fill_read(struct cte__fill *fill, uint64_t chunk, const struct cte__piece *piece)
{
    uint64_t start = cte__align_down(piece->offset, CTE__PAGE_BYTES), unused;
    uint64_t end = cte__align_up(piece->offset + piece->length, CTE__PAGE_BYTES);
    struct cte__piece around = {start, end - start, piece->base};
    void *bounce = NULL;
    if (!fill->keep)
        return read_range(fill, chunk, piece, &unused);
    if (around.length != piece->length) {
        if (posix_memalign(&bounce, CTE__PAGE_BYTES, around.length) != 0)
            return read_range(fill, chunk, piece, &unused);
        around.base = bounce;
    }
    cte_status status = read_around(fill, chunk, piece, &around);
    free(bounce);
    return status;
}
