/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of core/store share and nobody else sees. */
#ifndef CTE_CORE_STORE_STORE_INTERNAL_H
#define CTE_CORE_STORE_STORE_INTERNAL_H

#include "store/store.h"

/* Locks the store's directory, making it if `create`; close(*lock_fd) unlocks.  CTE_ERR_NOT_FOUND
 * if it is not there.  The lock is per open file, so a forked child excludes its parent too. */
cte_status cte__store_lock(const char *directory, bool create, int *lock_fd);

void cte__slot_watch_forks(void);
cte_status cte__slot_take_locked(struct cte__store *store);
void cte__slot_give_locked(struct cte__store *store);

struct cte__model;

/* Makes the segment's contents for a configuration (format.c): all but the magic number.
 * @param model  what a journal holds, to be brought back; NULL: nothing */
cte_status cte__store_format(struct cte__store *store, const cte_config *config,
                             const struct cte__model *model);

/* The size of a configured target in a store, and of its arenas. */
void cte__store_target_cut(const struct cte__config_target *config, uint64_t *capacity_bytes,
                           uint64_t *arena_bytes);

/* Gives a range of the sparse segment its memory: afterwards touching it cannot fail. */
bool cte__segment_back(struct cte__store *store, uint64_t offset, uint64_t bytes);

/* Page arenas that a target of this capacity is cut into. */
uint32_t cte__target_arena_count(uint64_t capacity_bytes);

/* Makes a target in a free record and lets new data go there; the directory is locked, or nobody
 * else knows the store.  Failures are logged, and leave the record free (targets.c).
 * @param model  of a journal that may need what is in the target; NULL: it is new */
cte_status cte__target_make(struct cte__store *store, const struct cte__config_target *config,
                            const struct cte__model *model);

/* Takes away targets that somebody died making or taking away; the directory is locked. */
void cte__targets_clean(struct cte__store *store);

/* A page arena as this process sees it; any number below the room for them. */
const struct cte__arena_view *cte__page_arena_see(const struct cte__store *store, uint32_t index);

static inline const struct cte__arena_view *cte__page_arena(const struct cte__store *store,
                                                            uint32_t index)
{
    const struct cte__arena_view *view = &store->page_arenas[index];
    return __atomic_load_n(&view->arena, __ATOMIC_ACQUIRE) ? view
                                                           : cte__page_arena_see(store, index);
}

/* Opens all targets that are there. */
cte_status cte__targets_open(struct cte__store *store);

/* What a transfer says of a target's health (handle.c). */
void cte__target_note(struct cte__store *store, uint32_t target, cte_status status, bool late);

/* What a backend needs to know about a target. */
struct cte__target_spec cte__store_target_spec(const struct cte__store *store,
                                               const struct cte__target_record *record);

/* Finds out how fast a target is, writing over it unless it holds data; then its place among the
 * others of the store (speed.c). */
void cte__target_measure(struct cte__target_record *record, const struct cte__target_ops *ops,
                         const struct cte__target_spec *spec, bool holds_data);
void cte__targets_score(struct cte__store *store);

/* Whose the targets and the journal of a store are: a hash of its directory. */
uint64_t cte__store_id(const struct cte__store *store);

/* Segment size for a configuration, and the page arenas its targets need. */
uint64_t cte__store_segment_bytes(const cte_config *config);

/* The part of it that every store uses from the start. */
uint64_t cte__store_fixed_bytes(const cte_config *config);

/* Where its telemetry begins, of which cte__ring_fixed_bytes() are used from the start too. */
uint64_t cte__store_telemetry_offset(const cte_config *config);

/* Takes units 0 and 1, which stand for "none" and "deleted", out of a new heap. */
cte_status cte__units_reserve_null(struct cte__store *store);

/* Makes a tag or file; its name's shard is locked (index.c). */
cte_status cte__tag_make(struct cte__store *store, struct cte__shard *shard, uint64_t hash,
                         const struct cte__tag_key *key, cte__unit *unit);

/* The record for a new user tag, still dead; once it has a name, gives it an id (0: the next one;
 * -EEXIST: another tag has it) and life; and back if it gets none (user_tag.c). */
cte_status cte__user_record_take(struct cte__store *store, cte__unit *unit);
cte_status cte__user_record_enliven(struct cte__store *store, cte__unit unit, uint64_t public_id);
void cte__user_record_give(struct cte__store *store, cte__unit unit);

/* Sets the pointers into a mapped segment. */
cte_status cte__store_views(struct cte__store *store);

#endif
