/* SPDX-License-Identifier: BSD-3-Clause */
/* What all who drain have in common: bandwidth, order of importance, and what went wrong. */
#include "base/log.h"
#include "file/drain.h"

#define MS_NS UINT64_C(1000000)
#define S_NS  UINT64_C(1000000000)

/* ---- bandwidth ------------------------------------------------------------------------------ */

/* The allowance is a point in time: all that was written before it is paid for.  Who writes moves
 * it on, and waits until it is there.  One word: nobody can die with it. */
uint64_t cte__drain_pace(struct cte__store *store, uint64_t bytes, uint64_t bytes_per_s_max)
{
    struct cte__drain_state *state = &store->header->drain;
    atomic_fetch_add_explicit(&state->bytes_drained, bytes, memory_order_relaxed);
    if (bytes_per_s_max == 0 || bytes == 0)
        return 0;
    uint64_t cost_ns = (uint64_t)((double)bytes / (double)bytes_per_s_max * (double)S_NS);
    uint64_t now = cte__monotonic_ns(), paid, next;
    paid = atomic_load(&state->paid_until_ns);
    do
        next = cte__max(paid, now) + cost_ns;
    while (!atomic_compare_exchange_weak(&state->paid_until_ns, &paid, next));
    return next - now;
}

/* ---- who goes first ------------------------------------------------------------------------- */

void cte__drain_hurry(struct cte__store *store)
{
    atomic_store_explicit(&store->header->drain.hurried_ns, cte__monotonic_ns(),
                          memory_order_relaxed);
}

bool cte__drain_is_hurried(struct cte__store *store)
{
    enum { HURRY_MS = 50 };
    uint64_t last = atomic_load_explicit(&store->header->drain.hurried_ns, memory_order_relaxed);
    return last != 0 && cte__monotonic_ns() < last + HURRY_MS * MS_NS;
}

/* ---- failures ------------------------------------------------------------------------------- */

enum { RETRY_MIN_S = 1, RETRY_MAX_S = 60 };

void cte__drain_note(struct cte__file_state *file, cte_status status)
{
    if (status == CTE_OK) {
        atomic_store(&file->drain_retry_ns, 0);
        atomic_store(&file->drain_backoff_ns, 0);
        atomic_store(&file->drain_untold, 0);
        atomic_store(&file->drain_failure, CTE_OK);
        return;
    }
    uint64_t backoff = atomic_load(&file->drain_backoff_ns);
    backoff = backoff == 0 ? RETRY_MIN_S * S_NS : cte__min(2 * backoff, RETRY_MAX_S * S_NS);
    atomic_store(&file->drain_backoff_ns, backoff);
    atomic_store(&file->drain_retry_ns, cte__monotonic_ns() + backoff);
    if (atomic_exchange(&file->drain_failure, status) != status)
        atomic_store(&file->drain_untold, 1);
}

cte_status cte__drain_take_failure(struct cte__file_state *file)
{
    cte_status failure = atomic_load(&file->drain_failure);
    return atomic_exchange(&file->drain_untold, 0) != 0 ? failure : CTE_OK;
}
