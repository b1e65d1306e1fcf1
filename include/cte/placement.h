/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Placement engines: which storage targets new bytes go to.
 *
 * An engine is a pure function from the state of the targets and a request to a list of extents: no
 * I/O, no clock, no lock, no static state; the same input gives the same answer.  What must change
 * from one request to the next, as a rotation or a draw, follows from the request's `state`.
 * It runs on the path of every put, in any thread, several at a time: it should take well below a
 * microsecond.
 *
 * Built in, chosen by the configuration key dpe.dpe_type:
 *
 *   max_bw       best bandwidth first (the default)
 *   random       any target, each as likely as the next
 *   round_robin  one after the other
 *
 * All of them honour scores: a target *deserves* a request if it scores no higher than the request.
 *   1. If one deserving target has room for the whole request, it goes to such a one: the first in
 * the engine's order.
 *   2. Else, if all deserving targets together have room, it is split among them in that order.
 *   3. Else the lowest scored of the other targets that has room for all of it gets it.
 *   4. Else it is split: the deserving targets in the engine's order, then the others, lowest score
 *      first.
 * Of equal targets the one listed first comes first.
 *
 * A program adds an engine of its own by cte_placement_register(), and names it in dpe.dpe_type
 * (or CTE_PLACEMENT).  Engines belong to the process: each process places what it puts.
 * examples/placement_custom.c is a worked example.
 *
 * Thread rule: all functions are thread-safe.
 * Error rule: see status.h.
 * Lifetime: an engine stays registered until the process ends, so its code must not be unloaded.
 */
#ifndef CTE_PLACEMENT_H
#define CTE_PLACEMENT_H

#include <stddef.h>
#include <stdint.h>

#include <cte/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Targets' space is given out in pages of so many bytes. */
#define CTE_PLACEMENT_PAGE_BYTES 4096

/** Longest name of an engine, without the final 0. */
#define CTE_PLACEMENT_NAME_MAX 31

/** One target as an engine sees it. */
typedef struct cte_placement_target {
    uint64_t free_bytes;  /**< only whole pages of it can be used; 0: full, or out of service */
    uint64_t bytes_per_s; /**< measured or nominal bandwidth */
    uint64_t latency_ns;  /**< measured or nominal time of a small write */
    float score;          /**< 0 … 1, 1 is fastest */
} cte_placement_target;

/** What is to be placed. */
typedef struct cte_placement_request {
    uint64_t bytes; /**< multiple of the page size, > 0 */
    float score;    /**< 0 … 1: 1 asks for the fastest target */
    uint64_t state; /**< grows by one with every request of the process, beginning anywhere */
} cte_placement_request;

/** A part of the answer. */
typedef struct cte_placement_extent {
    uint32_t target; /**< index into the targets given */
    uint64_t bytes;  /**< multiple of the page size, > 0, at most the target's free bytes */
} cte_placement_extent;

/**
 * An engine.
 * @param targets       in the order in which the store lists them; may change in number and order
 *                      between calls
 * @param target_count  may be 0
 * @param extents       receives where the bytes go, in order; room for `target_count` elements, at
 *                      most one for each target, adding up to request->bytes
 * @return the number of extents; 0 only if all targets together are too small: all or nothing
 *
 * An answer that breaks these rules is dropped: the request is placed by max_bw, and the first time
 * this is said in the log.
 */
typedef size_t (*cte_placement_function)(const cte_placement_target *targets, size_t target_count,
                                         const cte_placement_request *request,
                                         cte_placement_extent *extents);

/**
 * Adds an engine under a name, before the configuration that names it is made.
 * @param name  1 to CTE_PLACEMENT_NAME_MAX letters, digits, '_', '-' or '.'; copied.  Upper and
 *              lower case are the same, as in all names of the configuration.
 * @return -EINVAL: bad name, or no function; -EEXIST: another engine has the name; -ENOSPC: 16
 *         engines are registered.  Registering the same function again is fine.
 */
cte_status cte_placement_register(const char *name, cte_placement_function place);

/** An engine by name, built in or registered, for engines that refine another; NULL if there is
 * none. */
cte_placement_function cte_placement_find(const char *name);

#ifdef __cplusplus
}
#endif
#endif
