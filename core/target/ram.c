/* SPDX-License-Identifier: BSD-3-Clause */
/* The ram target in this process: open, close, and its ops table. */
#include "target/ram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "target/fork.h"

/* Fills in the descriptors; what was opened is closed by ram_close() also on failure. */
static cte_status open_backing(struct cte__ram_state *state, const struct cte__target_spec *spec)
{
    state->dir_fd = cte__ram_open_directory(spec->path);
    if (state->dir_fd < 0)
        return state->dir_fd;
    struct cte__target_mark mark;
    state->mark_fd = cte__ram_open_mark(state->dir_fd, spec->path, &mark);
    if (state->mark_fd == -ENOENT)
        return CTE_ERR_STORE_CORRUPT;
    if (state->mark_fd < 0)
        return state->mark_fd;
    cte_status rc = cte__target_mark_check(&mark, spec);
    if (rc == 0)
        rc = cte__target_lock(state->mark_fd, false, spec->path);
    if (rc != 0)
        return rc;
    state->spare_fd = fcntl(state->dir_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return state->spare_fd < 0 ? -errno : 0;
}

static struct cte__ram_state *new_state(const struct cte__target_spec *spec)
{
    uint64_t arena_count = spec->capacity_bytes / spec->arena_bytes;
    struct cte__ram_state *state = malloc(sizeof *state + arena_count * sizeof state->arenas[0]);
    if (!state)
        return NULL;
    state->path = strdup(spec->path);
    if (!state->path) {
        free(state);
        return NULL;
    }
    state->dir_fd = state->mark_fd = state->spare_fd = CTE__RAM_NO_FD;
    state->arena_bytes = spec->arena_bytes;
    state->capacity_bytes = spec->capacity_bytes;
    atomic_init(&state->fd_budget, cte__ram_fd_share(arena_count));
    for (uint64_t i = 0; i < arena_count; i++) {
        atomic_init(&state->arenas[i].fd, CTE__RAM_NO_FD);
        atomic_init(&state->arenas[i].base, NULL);
    }
    cte__ram_map_init(state);
    return state;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void ram_close(void *opaque)
{
    struct cte__ram_state *state = opaque;
    if (!state)
        return;
    cte__ram_map_release(state);
    for (uint64_t i = 0; i < state->capacity_bytes / state->arena_bytes; i++)
        close_if_open(atomic_load_explicit(&state->arenas[i].fd, memory_order_relaxed));
    close_if_open(state->spare_fd);
    close_if_open(state->mark_fd);
    close_if_open(state->dir_fd);
    free(state->path);
    free(state);
}

static cte_status ram_open(const struct cte__target_spec *spec, void **out)
{
    cte_status rc = cte__target_check_spec(spec, spec->arena_bytes);
    if (rc == 0)
        rc = cte__target_watch_forks();
    if (rc != 0)
        return rc;
    struct cte__ram_state *state = new_state(spec);
    if (!state)
        return -ENOMEM;
    rc = open_backing(state, spec);
    if (rc != 0) {
        cte__log_error("cannot open target %s: %s", spec->path, cte_status_string(rc));
        ram_close(state);
        return rc;
    }
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
    .capabilities = CTE__TARGET_SURVIVES_PROCESS | CTE__TARGET_SUMS,
    .kind_rank = 1.0f,
    .nominal_bytes_per_s = 8000000000,
    .nominal_latency_ns = 1000,
    .create = cte__ram_create,
    .open = ram_open,
    .io = cte__ram_io,
    .view = cte__ram_view,
    .sync = ram_sync,
    .close = ram_close,
    .destroy = cte__ram_destroy,
};
