/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing: small blobs here, under the lock of their name; all others in pages (put_pages.c). */
#include "blob/put.h"

#include <string.h>

#include "base/checksum.h"

/* The blob's bytes as they shall be: the old ones, if they are to stay, below the new ones. */
static void overlay_small(const struct cte__change *change, const struct cte__piece *pieces,
                          size_t count, bool replace, char *bytes, uint32_t size)
{
    memset(bytes, 0, size);
    if (change->old_small && !replace)
        memcpy(bytes, change->old_small, change->size_bytes);
    for (size_t i = 0; i < count; i++)
        if (pieces[i].length > 0)
            memcpy(bytes + pieces[i].offset, pieces[i].base, pieces[i].length);
}

/* What stays of damaged bytes must not get a new checksum. */
static bool is_damaged(const struct cte__store *store, const struct cte__change *change)
{
    return cte__small_sum(store, change->old_small, (uint32_t)change->size_bytes) !=
           change->old_small_sum;
}

/* A put that leaves a blob of few bytes.  -EAGAIN: the blob has pages, or gets too large. */
static cte_status put_small(struct cte__store *store, const struct cte__blob_key *key,
                            const struct cte__piece *pieces, size_t count, uint64_t end,
                            float score, bool replace, const struct cte__snapshot *expected)
{
    char bytes[CTE__SMALL_MAX];
    struct cte__change change;
    cte_status status = cte__change_begin(&change, store, key);
    if (status != CTE_OK)
        return status;
    uint64_t size = replace ? end : cte__max(end, change.size_bytes);
    if (!cte__is_expected(expected, &change))
        status = -ESTALE;
    else if (change.old.count > 0 && !replace)
        status = -EAGAIN;
    else if (change.old_small && !replace && is_damaged(store, &change))
        status = CTE_ERR_CHECKSUM;
    for (size_t i = 0; i < change.old.count && status == CTE_OK; i++)
        status = cte__change_drop(&change, &change.old.spans[i]);
    if (status == CTE_OK && size > CTE__SMALL_MAX)
        status = -EAGAIN;
    if (status == CTE_OK) {
        overlay_small(&change, pieces, count, replace, bytes, (uint32_t)size);
        change.new_small = size > 0 ? bytes : NULL;
        change.size_bytes = size;
        change.score = score;
        status = cte__change_commit(&change);
    }
    cte__change_end(&change);
    return status;
}

/* Gives a small blob pages: the same bytes, so nobody sees a difference. */
static cte_status expand(struct cte__store *store, const struct cte__blob_key *key)
{
    struct cte__snapshot snapshot;
    cte_status status = cte__blob_snapshot(store, key, &snapshot);
    if (status != CTE_OK)
        return status;
    struct cte__piece piece = {0, snapshot.small_bytes, snapshot.small};
    if (snapshot.small_bytes > 0) {
        bool damaged =
            cte__small_sum(store, snapshot.small, snapshot.small_bytes) != snapshot.small_sum;
        status = damaged ? CTE_ERR_CHECKSUM
                         : cte__put_pages(store, key, &piece, 1, snapshot.score, true, &snapshot);
    }
    cte__snapshot_free(&snapshot);
    /* Changed meanwhile: the caller looks again. */
    return status == -ESTALE ? CTE_OK : status;
}

cte_status cte__blob_put(struct cte__store *store, const struct cte__blob_key *key,
                         const struct cte__piece *pieces, size_t count, float score, bool replace)
{
    return cte__blob_put_expected(store, key, pieces, count, score, replace, NULL);
}

cte_status cte__blob_put_expected(struct cte__store *store, const struct cte__blob_key *key,
                                  const struct cte__piece *pieces, size_t count, float score,
                                  bool replace, const struct cte__snapshot *expected)
{
    uint64_t end = cte__pieces_end(pieces, count);
    cte__store_sweep_if_wanted(store);
    for (;;) {
        cte_status status = -EAGAIN;
        if (key->type == CTE__ENTRY_BLOB && end <= CTE__SMALL_MAX && (end > 0 || replace))
            status = put_small(store, key, pieces, count, end, score, replace, expected);
        if (status == -EAGAIN)
            status = cte__put_pages(store, key, pieces, count, score, replace, expected);
        if (status != CTE__PUT_SMALL_IN_THE_WAY)
            return status;
        status = expand(store, key);
        if (status != CTE_OK)
            return status;
    }
}
