/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Storage targets of a store that is in use: adding, removing, looking.
 *
 * A store begins with the targets of the configuration it was made with.  All its processes share
 * them, and see at once what is added or removed here.  Names of targets are their paths (of `ram`
 * targets also the label that the configuration gives as path).
 *
 * Thread rule: all functions are thread-safe, and may run while others put and get.
 * Error rule: see status.h.  Failures are also logged with a remedy.
 */
#ifndef CTE_TARGET_H
#define CTE_TARGET_H

#include <stdint.h>

#include <cte/client.h>
#include <cte/config.h>
#include <cte/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Adds a target to the store of a client, measures it, and lets new data go there.
 * @param client  NULL: the process-wide client
 * @param config  says what the target is (cte_config_add_target(), or loaded); its other keys do not
 *                matter
 * @param index   number of the target in `config`, from 0
 * @return CTE_OK also for a target that was being removed, or had failed: it is in use again, with the
 *         size and score it had.  -EEXIST: a target of this name is in use, or the path holds what
 *         is not ours.  -EUSERS: there are as many targets as there may be (targets.max_targets).
 *         -EFBIG: it is larger than what the store can address.  -ENOSPC: its file system has no
 *         room.  -EINVAL: no such number.  On error the store is as before.
 */
cte_status cte_target_register(cte_client *client, const cte_config *config, uint32_t index);

/**
 * Removes a target: its data moves to the others, then its file or memory is given back.  Takes as
 * long as the copying; meanwhile everything can be read and written.
 * @param name  of the target
 * @return CTE_ERR_NOT_FOUND: there is no such target.  -EBUSY: it is the last one, or some process
 *         holds pages of it for long.  -ENOSPC: the other targets cannot hold its data.
 *         -ECANCELED: somebody registered it again meanwhile.  CTE_ERR_CHECKSUM, -EIO: some of its
 *         data cannot be read.  On error no byte is lost, and the target is in use as before,
 *         though part of its data may have moved.
 *
 * If the process dies the target gets no new data, and holds what has not moved: unregistering it
 * again goes on, registering it takes it back into use.
 */
cte_status cte_target_unregister(cte_client *client, const char *name);

/**
 * Brings what is computed of targets up to date for all processes, now: the automatic scores.
 * cte_client_targets() and cte_target_get_info() do so themselves if that was longer ago than
 * performance.target_stat_interval_ms.
 */
cte_status cte_target_stat(cte_client *client);

/** One target by name; CTE_ERR_NOT_FOUND.  Counters and space are those of now. */
cte_status cte_target_get_info(cte_client *client, const char *name, cte_target_info *info);

#ifdef __cplusplus
}
#endif
#endif
