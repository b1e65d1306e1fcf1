/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins: pages that processes look at in place, or share before they belong to a blob.
 *
 * A pinned page is not used again, whatever becomes of the blob that it belonged to.  Who takes it
 * out of a blob makes its owner word PINNED instead of freeing it; who takes the last pin away
 * frees it.  Both hold the pin lock.  Who frees looks at the pins only if there are any: whoever
 * pins a page of a blob has the blob's shard locked, so whoever replaces the page later sees that.
 *
 * Lock order: behind the locks of shards and lists, before those of arenas. */
#ifndef CTE_CORE_STORE_PIN_H
#define CTE_CORE_STORE_PIN_H

#include "store/store.h"

/* Pins consecutive pages of one arena, which are published (their blob's shard is locked) or belong
 * to this process.
 * @param buffer  they belong to this process and are for others to pin
 * @return -EMFILE if the store has no room for one more pin */
cte_status cte__pin_pages(struct cte__store *store, cte__page page, uint32_t count, bool buffer,
                          uint32_t *pin);

/* What tells a buffer of a process from all that were and will be in the same place. */
uint32_t cte__pin_generation(const struct cte__store *store, uint32_t pin);

/* Pins what a process shares as a buffer; CTE_ERR_NOT_FOUND if it is not there any more. */
cte_status cte__pin_buffer(struct cte__store *store, uint32_t buffer, uint32_t generation,
                           struct cte__page_run *run, uint32_t *pin);

/* Lets others pin a buffer no more, or (false) again: before its pages become a blob's. */
void cte__pin_close(struct cte__store *store, uint32_t buffer, bool closed);

/* Takes a pin of this process away; of a forked child's parent it is left alone. */
void cte__pin_release(struct cte__store *store, uint32_t pin);

/* Takes all pins of a process away that leaves; what it shares as buffers is freed. */
void cte__pins_leave(struct cte__store *store, uint16_t owner);

/* Frees pages that belong to this process and were a blob's: those that are pinned when their last
 * pin goes. */
void cte__pages_unpublish(struct cte__store *store, cte__page page, uint32_t count);

/* For the sweep, which holds the lock from before it looks until it is done.  Takes away the pins
 * of the dead (by owner word), and tells whether others pin a page. */
void cte__pins_lock(struct cte__store *store);
void cte__pins_unlock(struct cte__store *store);
void cte__pins_forget_dead(struct cte__store *store, const bool *dead);
bool cte__page_is_pinned(const struct cte__store *store, cte__page page);

#endif
