/* SPDX-License-Identifier: BSD-3-Clause */
/* How fast the targets of a store are, and which is better than which. */
#include "placement/score.h"
#include "store/store_internal.h"
#include "target/measure.h"

void cte__target_measure(struct cte__target_record *record, const struct cte__target_ops *ops,
                         const struct cte__target_spec *spec)
{
    struct cte__target_speed speed = cte__target_speed(ops, spec);
    record->bytes_per_s = speed.bytes_per_s;
    record->latency_ns = speed.latency_ns;
    record->measured = speed.measured;
}

/* Processes that compute at the same time compute the same. */
void cte__targets_score(struct cte__store *store)
{
    struct cte__store_header *header = store->header;
    struct cte__placement_tier tiers[CTE__TARGETS_MAX];
    uint32_t count = header->target_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct cte__target_record *record = &header->targets[i];
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
        struct cte__target_record *record = &header->targets[i];
        if (!record->manual_score)
            atomic_store(&record->score, tiers[i].score);
        atomic_store(&record->placement_bytes_per_s, tiers[i].placement_bytes_per_s);
    }
}
