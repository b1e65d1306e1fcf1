/* SPDX-License-Identifier: BSD-3-Clause */
/* Telemetry of the public functions: each takes the time when it begins and leaves an entry when it
 * ends.  Costs one branch where telemetry is off. */
#ifndef CTE_CORE_BLOB_OBSERVE_H
#define CTE_CORE_BLOB_OBSERVE_H

#include <cte/telemetry.h>

#include "blob/tag.h"

/* `store` NULL: the call has none and leaves no entry. */
static inline uint64_t cte__observe_begin(const struct cte__store *store)
{
    return store ? cte__ring_begin(&store->telemetry) : 0;
}

static inline uint64_t cte__observe_begin_on(const cte_tag *tag)
{
    return cte__observe_begin(tag ? tag->store : NULL);
}

/* For the two below. */
void cte__observe_record_blob(const cte_tag *tag, uint64_t start,
                              const struct cte__ring_event *event, const char *name);
void cte__observe_record(struct cte__store *store, uint64_t start,
                         const struct cte__ring_event *event, uint8_t target);

/* Ends an operation on a blob; returns `status`. */
static inline cte_status cte__observe_blob(const cte_tag *tag, uint64_t start, cte_telemetry_op op,
                                           const char *name, uint64_t offset, uint64_t size,
                                           cte_status status)
{
    if (start != 0) {
        struct cte__ring_event event = {
            .op = (uint8_t)op, .offset = offset, .size = size, .status = status};
        cte__observe_record_blob(tag, start, &event, name);
    }
    return status;
}

/* Ends an operation on a tag (its id, 0: none) or on the store; returns `status`. */
static inline cte_status cte__observe_tag(struct cte__store *store, uint64_t start,
                                          cte_telemetry_op op, uint64_t tag_id, uint64_t size,
                                          cte_status status)
{
    if (start != 0) {
        struct cte__ring_event event = {
            .op = (uint8_t)op, .tag_id = tag_id, .size = size, .status = status};
        cte__observe_record(store, start, &event, CTE_TELEMETRY_NO_TARGET);
    }
    return status;
}

/* Ends an operation on a target, by its number or CTE_TELEMETRY_NO_TARGET; returns `status`. */
static inline cte_status cte__observe_target(struct cte__store *store, uint64_t start,
                                             cte_telemetry_op op, uint32_t target, uint64_t size,
                                             cte_status status)
{
    if (start != 0) {
        struct cte__ring_event event = {.op = (uint8_t)op, .size = size, .status = status};
        cte__observe_record(store, start, &event, (uint8_t)target);
    }
    return status;
}

#endif
