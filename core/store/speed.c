/* SPDX-License-Identifier: BSD-3-Clause */
/* How fast the targets of a store are, and which is better than which. */
#include "placement/score.h"
#include "store/store_internal.h"
#include "target/measure.h"

void cte__target_measure(struct cte__target_record *record, const struct cte__target_ops *ops,
                         const struct cte__target_spec *spec, bool holds_data)
{
    struct cte__target_speed speed =
        holds_data ? cte__target_speed_known(ops, spec) : cte__target_speed(ops, spec);
    record->bytes_per_s = speed.bytes_per_s;
    record->latency_ns = speed.latency_ns;
    record->measured = speed.measured;
}

/* Processes that compute at the same time compute the same. */
void cte__targets_score(struct cte__store *store)
{
    struct cte__store_header *header = store->header;
    struct cte__placement_tier tiers[CTE__TARGETS_MAX];
    uint32_t numbers[CTE__TARGETS_MAX], count = 0;
    for (uint32_t i = 0; i < header->target_count; i++)
        if (cte__target_exists(store, i))
            numbers[count++] = i;
    for (uint32_t i = 0; i < count; i++) {
        const struct cte__target_record *record = &header->targets[numbers[i]];
        const struct cte__target_ops *ops = cte__target_ops_find(record->kind);
        tiers[i] = (struct cte__placement_tier){
            .bytes_per_s = record->bytes_per_s,
            .kind_rank = ops ? ops->kind_rank : 0,
            .manual = record->manual_score,
            .score = atomic_load(&record->score),
        };
    }
    cte__placement_score(tiers, count);
    for (uint32_t i = 0; i < count; i++) {
        struct cte__target_record *record = &header->targets[numbers[i]];
        if (!record->manual_score)
            atomic_store(&record->score, tiers[i].score);
        atomic_store(&record->placement_bytes_per_s, tiers[i].placement_bytes_per_s);
    }
}

void cte__targets_refresh(struct cte__store *store, uint64_t interval_ns)
{
    uint64_t now = cte__monotonic_ns();
    uint64_t last = atomic_load(&store->header->targets_scored_ns);
    if (now - last < interval_ns)
        return;
    atomic_store(&store->header->targets_scored_ns, now);
    cte__targets_score(store);
}
