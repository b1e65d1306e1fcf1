/* SPDX-License-Identifier: BSD-3-Clause */
/* The ram target in this process: open, close, and its ops table. */
#include "target/ram.h"

#include <errno.h>
#include <stdlib.h>

static cte_status ram_create(const struct cte__target_spec *spec)
{
    return cte__arenas_create(spec, false);
}

static void ram_close(void *opaque)
{
    struct cte__ram_state *state = opaque;
    if (!state)
        return;
    cte__ram_map_release(state);
    cte__arenas_close(&state->arenas);
    free(state);
}

static cte_status ram_open(const struct cte__target_spec *spec, void **out)
{
    cte_status rc = cte__target_check_spec(spec, spec->arena_bytes);
    if (rc != 0)
        return rc;
    uint64_t arena_count = spec->capacity_bytes / spec->arena_bytes;
    struct cte__ram_state *state = malloc(sizeof *state + arena_count * sizeof state->bases[0]);
    if (!state)
        return -ENOMEM;
    rc = cte__arenas_open(&state->arenas, spec);
    if (rc != 0) {
        free(state);
        return rc;
    }
    cte__ram_map_init(state);
    *out = state;
    return 0;
}

/* Memory is as durable as it gets. */
static cte_status ram_sync(void *opaque)
{
    (void)opaque;
    return 0;
}

const struct cte__target_ops cte__target_ram = {
    .kind = "ram",
    .capabilities = CTE__TARGET_SURVIVES_PROCESS | CTE__TARGET_SUMS | CTE__TARGET_AS_MEMORY,
    .kind_rank = 1.0f,
    .nominal_bytes_per_s = 8000000000,
    .nominal_latency_ns = 1000,
    .create = ram_create,
    .open = ram_open,
    .io = cte__ram_io,
    .view = cte__ram_view,
    .sync = ram_sync,
    .close = ram_close,
    .destroy = cte__arenas_destroy,
};
