/* SPDX-License-Identifier: BSD-3-Clause */
/* The node-shared store as one process sees it.
 *
 * Lock order, outermost first; skipping levels is fine, going back is not:
 *   store directory flock → file.lock → file.lane → rename_lock → sweep_lock → journal.lock →
 *   shard.lock → tag_record.lock → journal.files_lock → pin_lock → arena.lock
 * Who renames locks two shards, and two lists: lower address first.
 */
#ifndef CTE_CORE_STORE_STORE_H
#define CTE_CORE_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/checksum.h"
#include "base/util.h"
#include "config/config.h"
#include "placement/heat.h"
#include "placement/placement.h"
#include "store/arena.h"
#include "store/layout.h"
#include "store/mutex.h"
#include "target/target.h"
#include "telemetry/ring.h"

enum { CTE__MINE_WORDS = 64 };

/* A target that this process has opened; constant. */
struct cte__open_target {
    const struct cte__target_ops *ops;
    void *state;
    uint32_t generation;              /* of the record */
    struct cte__open_target *earlier; /* what had this number before: threads may still be in it */
};

/* A target as this process sees it (handle.c). */
struct cte__target_handle {
    struct cte__target_record *record;
    _Atomic(struct cte__open_target *) open; /* NULL: not yet */
    _Atomic uint32_t arena_hint;             /* where this process found space last */
    _Atomic uint64_t mine[CTE__MINE_WORDS];  /* arenas it found space in, one bit each; a hint */
    _Atomic uint32_t claims;                 /* of this process */
    _Atomic uint64_t free_seen;              /* bytes free when it last looked */
};

struct cte__task_pool;
struct cte__cache;

struct cte__store {
    char directory[PATH_MAX]; /* <store_directory>/cte-<uid>-<name> */
    int segment_fd;
    char *base;
    struct cte__store_header *header;
    struct cte__shard *shards;
    struct cte__arena_view *page_arenas; /* header->page_arena_room: cte__page_arena() */
    struct cte__arena_view *unit_arenas;
    struct cte__target_handle targets[CTE__TARGETS_MAX];
    pthread_mutex_t targets_lock; /* innermost: opening targets, seeing arenas */
    uint64_t target_timeout_ns;   /* configuration: 0: no limit */
    uint32_t targets_max;         /* configuration: at most so many */
    bool give_up_failed;          /* configuration: targets whose io fails get no new data */
    const struct cte__placement_engine *placement;
    _Atomic uint64_t placement_state; /* of this process: see cte_placement_request.state */
    pthread_mutex_t slot_lock;
    _Atomic uint64_t slot;        /* fork generation << 32 | owner word of this process */
    struct cte__task_pool *tasks; /* of the client that attached (core/task); NULL: none */
    struct cte__cache *cache;     /* likewise (core/blob) */
    /* Frees space in full targets by giving up what the real files have (core/file): true if it
     * freed any.  NULL: cannot be done.  The caller holds no lock. */
    bool (*make_room)(void *context, uint64_t bytes);
    void *make_room_context;
    bool checksum; /* as the header says: one store, one answer */
    bool record;   /* this process leaves telemetry */
    struct cte__ring telemetry;
    float score_threshold;        /* of this process's configuration: blobs from here on are hot */
    _Atomic uint64_t promoted_ns; /* when this process last moved one up */
    _Atomic int journal_fd;       /* -1: not open in this process */
    _Atomic uint64_t journal_generation; /* whose file that is */
};

/* Attaches, making the store if it is not there; the caller frees with cte__store_detach(). */
cte_status cte__store_attach(const cte_config *config, struct cte__store **out);

/* Attaches only if the store exists: CTE_ERR_NOT_FOUND else. */
cte_status cte__store_attach_existing(const cte_config *config, struct cte__store **out);

/* Leaves.  The last one out removes the store if nothing in it is worth keeping. */
void cte__store_detach(struct cte__store *store);

/* Removes a store with everything in it; -EBUSY if a live process has it. */
cte_status cte__store_destroy(const cte_config *config);

/* This process's owner word.  A forked child gets a slot of its own on first use; 0: none is free.
 */
uint16_t cte__store_self(struct cte__store *store);

/* True if the process in the slot lives. */
bool cte__slot_alive(const struct cte__slot *slot);

/* How many processes have the store, this one included. */
uint32_t cte__slots_live(struct cte__store *store);

/* True if the slot belongs to a process that died.  A slot that is free, or given and taken anew
 * while this looks at it, is not dead. */
bool cte__slot_dead(const struct cte__slot *slot);

/* True if any slot belongs to a process that died. */
bool cte__store_has_dead(struct cte__store *store);

/* ---- metadata heap -------------------------------------------------------------------------- */

/* The memory of a unit.  Valid while the store is attached. */
static inline void *cte__unit_at(const struct cte__store *store, cte__unit unit)
{
    assert(unit > 1);
    return store->base + store->header->units_offset + ((uint64_t)unit << CTE__UNIT_SHIFT);
}

static inline uint32_t cte__units_for(uint64_t bytes)
{
    return (uint32_t)((bytes + CTE__UNIT_BYTES - 1) >> CTE__UNIT_SHIFT);
}

/* Claims metadata of `bytes`, aligned to `align_units` units; with whatever was there before, or
 * zeroed.  -ENOSPC when the heap is full. */
cte_status cte__units_claim(struct cte__store *store, uint64_t bytes, uint32_t align_units,
                            cte__unit *unit);
/* Claims a row of small pieces, each of which may be freed by itself. */
cte_status cte__units_claim_row(struct cte__store *store, uint64_t bytes, cte__unit *unit);
cte_status cte__units_claim_zeroed(struct cte__store *store, uint64_t bytes, uint32_t align_units,
                                   cte__unit *unit);
void cte__units_own(struct cte__store *store, uint16_t owner, cte__unit unit, uint64_t bytes);
void cte__units_free(struct cte__store *store, cte__unit unit, uint64_t bytes);

/* ---- pages of the targets ------------------------------------------------------------------- */

struct cte__page_run {
    cte__page page;
    uint32_t count;
};

/* Claims `count` pages where the placement engine says, as few runs as possible.
 * @param runs   receives at most `capacity` runs; *used of them
 * @return -ENOSPC if the targets that are left cannot hold them (nothing is claimed then)
 * @param skip   bit set of targets not to use (their medium failed or is full) */
cte_status cte__pages_claim(struct cte__store *store, uint32_t count, float score, uint32_t skip,
                            struct cte__page_run *runs, uint32_t capacity, uint32_t *used);
void cte__pages_own(struct cte__store *store, uint16_t owner, cte__page page, uint32_t count);

/* Takes just these pages of one arena as published ones; -EBUSY if one is in use. */
cte_status cte__pages_take(struct cte__store *store, cte__page page, uint32_t count);
void cte__pages_free(struct cte__store *store, cte__page page, uint32_t count);

/* Frees those of the pages that belong to `owner`. */
void cte__pages_reclaim(struct cte__store *store, uint16_t owner, cte__page page, uint32_t count);

/* True if two units lie in one arena: only then may they be freed together. */
static inline bool cte__same_unit_arena(cte__unit a, cte__unit b)
{
    return a / CTE__META_ARENA_UNITS == b / CTE__META_ARENA_UNITS;
}

/* True if two pages lie in one arena: only then may one extent hold them.  Arenas are powers of
 * two. */
static inline bool cte__same_arena(const struct cte__store *store, cte__page a, cte__page b)
{
    uint64_t pages = store->header->targets[cte__page_target(a)].arena_bytes >> CTE__PAGE_SHIFT;
    return ((a ^ b) & ~(pages - 1)) == 0;
}

/* The checksums of `count` consecutive pages of one arena, from `page` on: written by who claimed
 * the pages, constant while they are published. */
uint32_t *cte__pages_checksums(const struct cte__store *store, cte__page page);

/* Moves bytes between memory and consecutive pages (any byte range inside them when reading). */
cte_status cte__pages_io(struct cte__store *store, bool write, cte__page page, uint64_t skip_bytes,
                         const struct iovec *iov, int iov_count, uint64_t bytes);

/* Where consecutive pages of one arena stand in this process's memory; NULL if they cannot. */
void *cte__pages_view(struct cte__store *store, bool write, cte__page page, uint32_t count);

/* What a placement engine is told of the targets, those of the bit set `skip` as full; room for
 * CTE__TARGETS_MAX.  Returns how many there are. */
uint32_t cte__placement_targets(struct cte__store *store, uint32_t skip,
                                struct cte_placement_target *targets);

/* The same for whole pages, with the sum of each page that is moved (base/checksum.h): on the way,
 * where the target can do that.  Iovec elements are whole pages. */
cte_status cte__pages_io_summed(struct cte__store *store, bool write, cte__page page,
                                const struct iovec *iov, int iov_count, uint64_t bytes,
                                uint32_t *sums);

/* The state of a target, and whether its record stands for one. */
static inline enum cte__target_state cte__target_state(const struct cte__store *store,
                                                       uint32_t target)
{
    return (enum cte__target_state)atomic_load_explicit(&store->header->targets[target].state,
                                                        memory_order_acquire);
}

static inline bool cte__target_exists(const struct cte__store *store, uint32_t target)
{
    return cte__target_state(store, target) >= CTE__TARGET_ACTIVE;
}

/* Opens a target in this process; CTE_ERR_NOT_FOUND if it is gone. */
cte_status cte__target_open_now(struct cte__store *store, uint32_t target,
                                const struct cte__open_target **open);

/* The same, if it is not open already. */
static inline cte_status cte__target_open(struct cte__store *store, uint32_t target,
                                          const struct cte__open_target **open)
{
    *open = atomic_load_explicit(&store->targets[target].open, memory_order_acquire);
    if (*open &&
        (*open)->generation ==
            atomic_load_explicit(&store->header->targets[target].generation, memory_order_acquire))
        return CTE_OK;
    return cte__target_open_now(store, target, open);
}

/* True if pages of a target can stand in memory (cte__pages_view()). */
static inline bool cte__target_has_views(struct cte__store *store, uint32_t target)
{
    const struct cte__open_target *open;
    return cte__target_exists(store, target) && cte__target_open(store, target, &open) == CTE_OK &&
           open->ops->view != NULL;
}

/* A target by path or label, CTE__TARGETS_MAX if there is none. */
uint32_t cte__target_find(const struct cte__store *store, const char *name);

/* Adds a target, or lets new data go again to one of this name that was drained or has failed; it
 * then keeps its size.  -EEXIST: it is in use; -EUSERS: there are too many; else what its backend
 * says. */
cte_status cte__target_register(struct cte__store *store, const struct cte__config_target *config);

/* A target that is being taken away. */
struct cte__target_leave {
    uint32_t target;
    uint32_t generation;
    uint32_t state_before; /* enum cte__target_state */
};

/* Lets no new data go to a target, by path or label.  CTE_ERR_NOT_FOUND; -EBUSY: it is the last
 * one; -ENOSPC: the others have no room for what it holds. */
cte_status cte__target_leave_begin(struct cte__store *store, const char *name,
                                   struct cte__target_leave *leave);

/* Takes it away.  -EAGAIN: there still is data; -ECANCELED: somebody registered it again; CTE_OK
 * also if somebody else has taken it away. */
cte_status cte__target_leave_finish(struct cte__store *store,
                                    const struct cte__target_leave *leave);

/* Takes the beginning back. */
void cte__target_leave_cancel(struct cte__store *store, const struct cte__target_leave *leave);

/* Computes the scores of all targets anew if that was `interval_ns` ago; 0: now. */
void cte__targets_refresh(struct cte__store *store, uint64_t interval_ns);

/* Free bytes of a target; the second: as of a few claims ago, if it is plenty. */
uint64_t cte__target_free_bytes(const struct cte__store *store, uint32_t target);
uint64_t cte__target_free_about(struct cte__store *store, uint32_t target);

/* What cte__pages_io() moved to and from a target since the store was made, by all processes. */
struct cte__target_totals {
    uint64_t bytes_read, bytes_written, reads, writes;
};
struct cte__target_totals cte__target_totals(const struct cte__target_record *record);

/* Syncs the targets that outlive the node.  *volatile_bytes: what a reboot would lose all the same;
 * the first error is returned, the other targets are synced. */
cte_status cte__store_sync(struct cte__store *store, uint64_t *volatile_bytes);

/* ---- recovery ------------------------------------------------------------------------------- */

/* Takes back what dead processes left half done, and frees their slots (sweep.c). */
void cte__store_sweep(struct cte__store *store);

/* The journal wants a new generation (journal.c). */
void cte__journal_tend(struct cte__store *store);

/* What is to be done once in a while: sweeps if somebody is known to have died, and looks after the
 * journal.  The caller holds no lock from sweep_lock on. */
static inline void cte__store_sweep_if_wanted(struct cte__store *store)
{
    if (atomic_load_explicit(&store->header->sweep_wanted, memory_order_relaxed))
        cte__store_sweep(store);
    if (atomic_load_explicit(&store->header->journal.wanted, memory_order_relaxed))
        cte__journal_tend(store);
}

/* What an audit of the whole store found (sweep.c). */
struct cte__store_audit {
    uint64_t pages_published;  /* owner words that say published */
    uint64_t pages_pinned;     /* that say pinned, and are */
    uint64_t pages_referenced; /* pages that live blobs refer to */
    uint64_t pages_doubly;     /* referenced twice: damage */
    uint64_t pages_lost;       /* published or claimed by the dead, but not referenced */
    uint64_t pages_unowned;    /* referenced, but free: damage */
    uint64_t units_lost;
    uint64_t units_unowned;
    uint64_t blobs;
};

/* Counts; exact only while no other process changes the store. */
cte_status cte__store_audit(struct cte__store *store, struct cte__store_audit *audit);

/* ---- names ---------------------------------------------------------------------------------- */

/* Locks the shard of a key.  What a dead holder left is whole (I1); its death is noted. */
struct cte__shard *cte__shard_lock(struct cte__store *store, uint64_t hash);
void cte__shard_unlock(struct cte__shard *shard);

uint64_t cte__name_hash(uint64_t tag_id, const void *name, uint32_t name_bytes);

/* Finds a live entry of a tag; the shard of `hash` is locked.  0 if there is none. */
cte__unit cte__index_find(struct cte__store *store, struct cte__shard *shard, uint64_t hash,
                          cte__unit tag, const void *name, uint32_t name_bytes);

/* True if an entry stands for a name, as far as its state says: whoever does not have its shard
 * locked, or its tag's list, may see it change. */
bool cte__entry_visible(const struct cte__store *store, cte__unit entry);

/* Where a walk round the index is. */
struct cte__index_hand {
    uint32_t shard;
    uint64_t slot;
};

/* Calls `visit` for the visible entries in the next `slots` places of the index, or in one shard of
 * it if that has fewer, with the shard locked; moves the hand on.  Returns how many places it was. */
uint32_t cte__index_scan(struct cte__store *store, struct cte__index_hand *hand, uint32_t slots,
                         void (*visit)(void *context, cte__unit unit,
                                       const struct cte__entry *entry),
                         void *context);

/* Makes an entry, links it on its tag's list and in the index, still invisible (state NEW); the
 * shard is locked.  cte__entry_show() makes it visible. */
cte_status cte__index_insert(struct cte__store *store, struct cte__shard *shard, uint64_t hash,
                             struct cte__tag_record *tag, cte__unit tag_unit, uint8_t type,
                             const void *name, uint32_t name_bytes, cte__unit *entry);
void cte__entry_show(struct cte__store *store, cte__unit entry);

/* Takes a live entry out; the shard is locked.  The caller retired what its map refers to. */
void cte__index_remove(struct cte__store *store, struct cte__shard *shard, uint64_t hash,
                       cte__unit entry);

/* Shows `arriving`, which is new, and hides `leaving` and `gone` (0: none), by one store;
 * afterwards `leaving` and `gone` are to be removed.  Their shards and the header's rename_lock are
 * held; what `gone` alone refers to belongs to this process. */
void cte__entries_switch(struct cte__store *store, cte__unit arriving, cte__unit leaving,
                         cte__unit gone);

/* Locks the shards of two names, in order; they may be the same. */
void cte__shards_lock_two(struct cte__store *store, uint64_t hash_a, uint64_t hash_b,
                          struct cte__shard **a, struct cte__shard **b);
void cte__shards_unlock_two(struct cte__shard *a, struct cte__shard *b);

/* Frees dead entries of a tag's list if they are many, or all (`force`). */
void cte__tag_reap(struct cte__store *store, struct cte__tag_record *tag, bool force);

/* Calls `visit` for each live entry of a tag, with the tag's list locked: it must be short and take
 * no lock but an arena's.  Stops at the first error and returns it. */
cte_status cte__tag_each(struct cte__store *store, struct cte__tag_record *tag,
                         cte_status (*visit)(void *context, cte__unit unit,
                                             const struct cte__entry *entry),
                         void *context);

/* What cte__tag_find() looks for. */
struct cte__tag_key {
    const void *name;
    uint32_t name_bytes;
    uint8_t type;       /* CTE__ENTRY_TAG or CTE__ENTRY_FILE */
    const char *path;   /* files: stored in a new record, for people and recovery */
    uint64_t public_id; /* tags: of a new record; 0: any */
};

/* A tag or file by name, made if `create`.  For files, `opener` (an owner word, 0: none) is noted
 * in the record while the name is locked, so that nobody removes it in between. */
cte_status cte__tag_find(struct cte__store *store, const struct cte__tag_key *key, bool create,
                         uint16_t opener, cte__unit *tag_unit, bool *created);

/* True if a reboot took bytes of a file, or may have, and nobody was told yet. */
bool cte__file_has_news(const struct cte__file_state *file);

/* Takes back what cte__tag_find() noted of an opener.  The last one removes the record if no chunk
 * is left, and no news: the caller must not touch it afterwards. */
cte_status cte__file_leave(struct cte__store *store, cte__unit tag_unit, uint16_t owner);

/* A tag made by a user: its record and the id that tells it from later uses of the record. */
struct cte__user_tag {
    cte__unit unit;
    uint64_t id;
    uint64_t public_id;
    bool dead; /* somebody is deleting it, or died doing so: nothing but cte__user_tag_* may use it
                */
};

enum cte__user_tag_find { CTE__USER_TAG_OPEN, CTE__USER_TAG_CREATE, CTE__USER_TAG_BURY };

/* A user tag by name.  BURY marks it dead: once cte__shards_pass() returned, no put of blobs is
 * under way in it and none can begin. */
cte_status cte__user_tag_find(struct cte__store *store, const char *name, uint32_t name_bytes,
                              enum cte__user_tag_find how, struct cte__user_tag *tag);

/* The same for the tag that has, or (CREATE) gets, a given id; 0: any.  -EEXIST: CREATE cannot give
 * it, as the tag has another, or another tag has it.  CTE_ERR_NOT_FOUND: OPEN or BURY would find
 * another tag. */
cte_status cte__user_tag_find_id(struct cte__store *store, const char *name, uint32_t name_bytes,
                                 enum cte__user_tag_find how, uint64_t public_id,
                                 struct cte__user_tag *tag);

/* A tag by its id; costs O(tags).  `name` receives its name if name_bytes is not 0, -ERANGE if that
 * is too few. */
cte_status cte__user_tag_by_id(struct cte__store *store, uint64_t public_id,
                               struct cte__user_tag *tag, char *name, size_t name_bytes);

/* Takes the name of a dead tag, whose blobs are all gone, out of the index. */
void cte__user_tag_forget(struct cte__store *store, const char *name, uint32_t name_bytes,
                          const struct cte__user_tag *tag);

/* True if a record still stands for the tag of this id.  What this says of puts is certain only
 * while a shard is locked. */
static inline bool cte__user_tag_lives(const struct cte__tag_record *record, uint64_t id)
{
    return atomic_load(&record->dead) == 0 && atomic_load(&record->tag_id) == id;
}

/* Waits until everybody who has a shard locked now has left it. */
void cte__shards_pass(struct cte__store *store);

/* Openers of a file: one bit per slot. */
void cte__file_opener_set(struct cte__file_state *file, uint16_t owner, bool open);
bool cte__file_has_openers(const struct cte__file_state *file);

static inline struct cte__tag_record *cte__tag_at(const struct cte__store *store, cte__unit unit)
{
    return cte__unit_at(store, unit);
}

static inline struct cte__entry *cte__entry_at(const struct cte__store *store, cte__unit unit)
{
    return cte__unit_at(store, unit);
}

/* The logical size of a blob, the end of the last stored byte of a chunk; its shard is locked. */
static inline uint64_t cte__entry_size(const struct cte__store *store,
                                       const struct cte__entry *entry)
{
    uint64_t location = atomic_load(&entry->location);
    if (location == 0)
        return 0;
    switch (cte__location_kind(location)) {
    case CTE__AT_EXTENT:
        return cte__location_size(location);
    case CTE__AT_SMALL:
        return cte__location_small_bytes(location);
    case CTE__AT_UNIT:
        break;
    }
    const struct cte__map *map = cte__unit_at(store, cte__location_unit(location));
    return map->size_bytes;
}

/* The checksum of a small blob's bytes, in as many bits as its location keeps. */
static inline uint32_t cte__small_sum(const struct cte__store *store, const void *bytes,
                                      uint32_t count)
{
    return store->checksum ? cte__bytes_checksum(bytes, count) & ((1u << CTE__SMALL_SUM_BITS) - 1)
                           : 0;
}

/* The struct cte__tag_record of a tag's or file's name. */
static inline cte__unit cte__entry_record(const struct cte__entry *entry)
{
    return cte__location_unit(atomic_load(&entry->location));
}

#endif
