/* SPDX-License-Identifier: BSD-3-Clause */
#include "handles.h"

#include "driver.h"

#include <fcntl.h>

static cte_status open_one(const struct cte__handles_from *from, int flags, float score,
                           const cte_comm *comm, cte_file **out)
{
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    cte_client *client =
        from->mode == CTE_FILE_MODE_BYPASS ? NULL : cte__settings_client(from->settings);
    options.mode = client ? from->mode : CTE_FILE_MODE_BYPASS;
    options.drain = from->config->drain;
    options.score = score;
    options.comm = comm;
    return cte_file_open(client, from->name, flags, 0666, &options, out);
}

cte_status cte__handles_open_first(struct cte__handles *handles,
                                   const struct cte__handles_from *from, int flags)
{
    float score = cte__score_for(from->settings, from->config, H5FD_MEM_DRAW);
    *handles = (struct cte__handles){.scores = {score}};
    cte_status status = open_one(from, flags, score, from->comm, &handles->items[0]);
    if (status != CTE_OK)
        return status;
    handles->count = 1;
    handles->tracked = cte_file_is_tracked(handles->items[0]);
    return CTE_OK;
}

static cte_status open_for(struct cte__handles *handles, const struct cte__handles_from *from,
                           int flags, H5FD_mem_t type)
{
    float score = cte__score_for(from->settings, from->config, type);
    uint32_t i = 0;
    while (i < handles->count && handles->scores[i] != score)
        i++;
    if (i == handles->count) {
        cte_status status = open_one(from, flags & O_ACCMODE, score, NULL, &handles->items[i]);
        if (status != CTE_OK)
            return status;
        handles->scores[i] = score;
        handles->count++;
    }
    handles->of[type] = (uint8_t)i;
    return CTE_OK;
}

cte_status cte__handles_open_others(struct cte__handles *handles,
                                    const struct cte__handles_from *from, int flags)
{
    cte_status status = CTE_OK;
    for (int type = 0; type < H5FD_MEM_NTYPES && handles->tracked && status == CTE_OK; type++)
        status = open_for(handles, from, flags, (H5FD_mem_t)type);
    return status;
}

cte_status cte__handles_close(struct cte__handles *handles)
{
    cte_status status = CTE_OK;
    while (handles->count > 0) {
        cte_status closed = cte_file_close(handles->items[--handles->count]);
        if (status == CTE_OK)
            status = closed;
    }
    return status;
}

cte_status cte__handles_sync(struct cte__handles *handles)
{
    cte_status status = CTE_OK;
    for (uint32_t i = 0; i < handles->count && status == CTE_OK; i++)
        status = cte_file_flush(handles->items[i]);
    return status;
}
