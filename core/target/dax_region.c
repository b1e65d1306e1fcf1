/* SPDX-License-Identifier: BSD-3-Clause */
#include "target/dax_region.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "target/backing.h"

static struct cte__target_mark *mark_of(const struct cte__dax_region *region)
{
    return (void *)(region->base + region->bytes - CTE__TARGET_MARK_BYTES);
}

static bool is_zero(const char *memory, uint64_t bytes)
{
    return memory[0] == 0 && memcmp(memory, memory + 1, bytes - 1) == 0;
}

static cte_status check_size(const struct cte__dax_region *region,
                             const struct cte__target_spec *spec)
{
    if (region->bytes >= CTE__TARGET_ARENA_UNIT + CTE__TARGET_MARK_BYTES &&
        region->bytes % CTE__TARGET_MARK_BYTES == 0 &&
        spec->capacity_bytes <= region->bytes - CTE__TARGET_MARK_BYTES)
        return 0;
    cte__log_error("target %s needs %" PRIu64 " bytes, the device has %" PRIu64
                   "; lower the capacity or give another device",
                   spec->path, spec->capacity_bytes + CTE__TARGET_MARK_BYTES, region->bytes);
    return -ENOSPC;
}

/* May what is there be overwritten? */
static cte_status check_ours(const struct cte__dax_region *region,
                             const struct cte__target_spec *spec)
{
    const struct cte__target_mark *mark = mark_of(region);
    bool marked = cte__target_mark_is_valid(mark);
    if (marked ? mark->store_id == spec->store_id
               : is_zero(region->base, CTE__TARGET_ARENA_UNIT) &&
                     is_zero((const char *)mark, CTE__TARGET_MARK_BYTES))
        return 0;
    cte__log_error(
        "device %s holds data %s and is left alone; give another device, or fill it with "
        "zeros if its data is not needed",
        spec->path, marked ? "of another store" : "that was not written by cte");
    return -EEXIST;
}

/* The mark comes first: whatever a killed process leaves behind is known as ours. */
cte_status cte__dax_region_create(const struct cte__dax_region *region,
                                  const struct cte__target_spec *spec)
{
    union cte__target_mark_page page;
    cte_status rc = check_size(region, spec);
    if (rc == 0)
        rc = check_ours(region, spec);
    if (rc != 0)
        return rc;
    cte__target_mark_fill(&page, spec);
    region->copy(mark_of(region), &page, sizeof page);
    region->set(region->base, 0, spec->capacity_bytes);
    return 0;
}

cte_status cte__dax_region_check(const struct cte__dax_region *region,
                                 const struct cte__target_spec *spec)
{
    cte_status rc = check_size(region, spec);
    if (rc != 0)
        return rc;
    const struct cte__target_mark *mark = mark_of(region);
    if (cte__target_mark_is_valid(mark))
        return cte__target_mark_check(mark, spec);
    cte__log_error("target %s was not made by cte, or was written over", spec->path);
    return CTE_ERR_STORE_CORRUPT;
}

/* The beginning goes first: as long as the mark is there, the device is known as ours; without it,
 * it looks new. */
cte_status cte__dax_region_destroy(const struct cte__dax_region *region,
                                   const struct cte__target_spec *spec)
{
    cte_status rc = check_size(region, spec);
    if (rc == 0)
        rc = check_ours(region, spec);
    if (rc != 0)
        return rc;
    region->set(region->base, 0, CTE__TARGET_ARENA_UNIT);
    region->set(mark_of(region), 0, CTE__TARGET_MARK_BYTES);
    return 0;
}
