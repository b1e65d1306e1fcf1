/* SPDX-License-Identifier: BSD-3-Clause */
#include "blob/promote.h"

#include "base/log.h"
#include "blob/change.h"
#include "blob/move.h"

enum { BYTES_MAX = 4 << 20, INTERVAL_NS = 100000000 };

/* One get in 16, scattered so that a program that goes round its blobs does not always have the
 * same one looked at. */
static bool is_time_to_look(void)
{
    static _Thread_local uint32_t gets;
    return ++gets * UINT32_C(0x9E3779B1) >> 28 == 0;
}

static bool is_hot(struct cte__store *store, const struct cte__blob_key *key)
{
    struct cte__locked_blob blob;
    if (cte__blob_lock(store, key, &blob) != CTE_OK)
        return false;
    bool hot = blob.entry != 0 && cte__entry_at(store, blob.entry)->score >= store->score_threshold;
    cte__shard_unlock(blob.shard);
    return hot;
}

void cte__blob_promote(struct cte__store *store, const struct cte__blob_key *key)
{
    if (!is_time_to_look() || store->header->target_count < 2)
        return;
    uint64_t now = cte__monotonic_ns();
    uint64_t last = atomic_load_explicit(&store->promoted_ns, memory_order_relaxed);
    if (now - last < INTERVAL_NS || !is_hot(store, key) ||
        !atomic_compare_exchange_strong(&store->promoted_ns, &last, now))
        return;
    struct cte__move move = {
        .score = -1.0f, .only_up = true, .pages_max = BYTES_MAX >> CTE__PAGE_SHIFT};
    cte_status status = cte__blob_move(store, key, &move, NULL);
    if (status != CTE_OK)
        cte__log_debug("a hot blob could not be moved up: %s", cte_status_string(status));
}
