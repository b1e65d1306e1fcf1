/* SPDX-License-Identifier: BSD-3-Clause */
#include "file/organizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "blob/move.h"
#include "file/inspect.h"
#include "file/tracked.h"
#include "placement/heat.h"

enum {
    SCAN_SLOTS = 4096,        /* places of the index looked at in a step */
    SCAN_SLOTS_AT_ONCE = 256, /* with a shard locked */
    CANDIDATES_MAX = 64,      /* of each kind, in a step */
    ROOM_WANTED = 4,          /* a target is made to have one part in so many free … */
    ROOM_SHORT_NUM = 3,       /* … when it has less than 3/16: more than copies leave (fill.c) */
    ROOM_SHORT_DEN = 16,
    HOT_COUNT_MIN = 2, /* read again */
    EXTENTS_MAX = 64,  /* of a map, looked at to find where most of a blob lies */
    STEP_MS = 50,
    IDLE_MS = 500,
    /* What is moved in a step at most, if the rate allows: the thread's gate is closed meanwhile.
     */
    STEP_BYTES_LEAST = 8 << 20,
    STEP_BYTES_MOST = 64 << 20,
};

#define MS_NS UINT64_C(1000000)

/* Something that may be moved; copied while its shard was locked. */
struct candidate {
    struct cte__blob_key key;
    struct cte__file_identity file; /* chunks */
    char *name;
    uint64_t used_ns;
    uint64_t bytes;
    uint32_t heat;
    uint32_t target; /* where most of it lies */
    float score;
};

struct candidates {
    struct candidate list[CANDIDATES_MAX];
    uint32_t count;
};

struct cte__organizer {
    struct cte__index_hand hand;
    struct candidates cold, hot;
    uint32_t crowded; /* bit set of targets that got short of room and have not got enough yet */
    /* By target: how much shall be free, 0: no matter; and what is hotter stays there. */
    uint64_t room_goal[CTE__TARGETS_MAX];
    uint32_t heat_limit[CTE__TARGETS_MAX];
    uint64_t now_ns;      /* CLOCK_REALTIME, of this step */
    int64_t step_bytes;   /* the budget is never more */
    int64_t budget;       /* bytes that may be moved now; below 0: that were moved too early */
    uint64_t refilled_ns; /* CLOCK_MONOTONIC: when the budget last grew */
    struct cte__store *store;
};

struct cte__organizer *cte__organizer_new(void)
{
    return calloc(1, sizeof(struct cte__organizer));
}

static void forget(struct candidates *candidates)
{
    while (candidates->count > 0)
        free(candidates->list[--candidates->count].name);
}

void cte__organizer_free(struct cte__organizer *organizer)
{
    if (!organizer)
        return;
    forget(&organizer->cold);
    forget(&organizer->hot);
    free(organizer);
}

/* ---- what a blob is -------------------------------------------------------------------------- */

/* Where most of a blob's pages lie.  False: nowhere, or some are not in the real file yet. */
static bool locate(const struct cte__store *store, const struct cte__entry *entry,
                   struct candidate *candidate)
{
    uint64_t location = atomic_load(&entry->location), pages[CTE__TARGETS_MAX] = {0}, most = 0;
    bool chunk = entry->type == CTE__ENTRY_CHUNK;
    if (location == 0 || cte__location_kind(location) == CTE__AT_SMALL)
        return false;
    if (cte__location_kind(location) == CTE__AT_EXTENT) {
        struct cte__extent extent = cte__location_extent(location);
        candidate->target = cte__page_target(extent.page);
        candidate->bytes = cte__pages_to_bytes(extent.count);
        return !chunk || extent.state == CTE__PAGE_CLEAN;
    }
    const struct cte__map *map = cte__unit_at(store, cte__location_unit(location));
    for (uint32_t i = 0; i < map->extent_count; i++) {
        const struct cte__extent *extent = &map->extents[i];
        if (chunk && extent->state != CTE__PAGE_CLEAN)
            return false;
        if (i < EXTENTS_MAX && extent->state != CTE__PAGE_PARTIAL)
            pages[cte__page_target(extent->page)] += extent->count;
    }
    for (uint32_t t = 0; t < CTE__TARGETS_MAX; t++) {
        candidate->bytes += cte__pages_to_bytes(pages[t]);
        if (pages[t] > most) {
            most = pages[t];
            candidate->target = t;
        }
    }
    return most > 0;
}

static float target_score(const struct cte__store *store, uint32_t target)
{
    return atomic_load_explicit(&store->header->targets[target].score, memory_order_relaxed);
}

/* True if a faster target is not faster than the blob deserves. */
static bool could_rise(const struct cte__store *store, const struct candidate *candidate)
{
    for (uint32_t t = 0; t < store->header->target_count; t++)
        if (cte__target_state(store, t) == CTE__TARGET_ACTIVE &&
            target_score(store, t) > target_score(store, candidate->target) &&
            target_score(store, t) <= candidate->score)
            return true;
    return false;
}

/* ---- choosing -------------------------------------------------------------------------------- */

static bool is_colder(const struct candidate *a, const struct candidate *b)
{
    return a->heat != b->heat ? a->heat < b->heat : a->used_ns < b->used_ns;
}

/* The one that the others would rather do without: of cold ones the hottest, and vice versa. */
static uint32_t least_wanted(const struct candidates *candidates, bool hot)
{
    uint32_t worst = 0;
    for (uint32_t i = 1; i < candidates->count; i++)
        if (is_colder(&candidates->list[i], &candidates->list[worst]) == hot)
            worst = i;
    return worst;
}

/* Keeps a candidate if it is among the best; its name is copied then. */
static void offer(struct candidates *candidates, bool hot, const struct candidate *candidate)
{
    uint32_t place = candidates->count;
    if (place == CANDIDATES_MAX) {
        place = least_wanted(candidates, hot);
        if (is_colder(&candidates->list[place], candidate) != hot)
            return;
    }
    char *name = malloc(candidate->key.name_bytes);
    if (!name)
        return;
    memcpy(name, candidate->key.name, candidate->key.name_bytes);
    if (place < candidates->count)
        free(candidates->list[place].name);
    else
        candidates->count++;
    candidates->list[place] = *candidate;
    candidates->list[place].name = name;
    candidates->list[place].key.name = name;
}

static void consider(void *context, cte__unit unit, const struct cte__entry *entry)
{
    struct cte__organizer *organizer = context;
    const struct cte__store *store = organizer->store;
    struct candidate candidate = {.score = entry->score};
    (void)unit;
    if ((entry->type != CTE__ENTRY_BLOB && entry->type != CTE__ENTRY_CHUNK) ||
        !locate(store, entry, &candidate))
        return;
    /* A record lives as long as an entry of it is visible; its id is never given again. */
    const struct cte__tag_record *record = cte__tag_at(store, entry->tag);
    candidate.key = (struct cte__blob_key){.tag = entry->tag,
                                           .type = entry->type,
                                           .name = entry->name,
                                           .name_bytes = entry->name_bytes,
                                           .tag_id = atomic_load(&record->tag_id)};
    if (entry->type == CTE__ENTRY_CHUNK)
        memcpy(&candidate.file, cte__entry_at(store, record->entry)->name, sizeof candidate.file);
    candidate.heat = cte__heat_count(entry->heat, organizer->now_ns);
    candidate.used_ns = cte__max(cte__heat_time(entry->heat), entry->modified_ns);
    if (organizer->room_goal[candidate.target] > 0)
        offer(&organizer->cold, false, &candidate);
    if (candidate.heat >= HOT_COUNT_MIN && could_rise(store, &candidate))
        offer(&organizer->hot, true, &candidate);
}

static int by_cold(const void *a, const void *b)
{
    return is_colder(a, b) ? -1 : is_colder(b, a);
}

static int by_heat(const void *a, const void *b)
{
    return by_cold(b, a);
}

/* ---- moving ---------------------------------------------------------------------------------- */

/* What is to stay free of a target for new data. */
static uint64_t reserve(const struct cte__store *store, uint32_t target)
{
    return store->header->targets[target].capacity_bytes / ROOM_SHORT_DEN * ROOM_SHORT_NUM;
}

static bool has_room(const struct cte__store *store, uint32_t target, uint64_t needed)
{
    return cte__target_free_bytes(store, target) >= reserve(store, target) + needed;
}

static uint64_t room_wanted(const struct cte__store *store, uint32_t target)
{
    return store->header->targets[target].capacity_bytes / ROOM_WANTED;
}

/* Targets that are short of room get more than they lack, however hot what they hold is. */
static void find_crowded(struct cte__organizer *organizer)
{
    const struct cte__store *store = organizer->store;
    for (uint32_t t = 0; t < store->header->target_count; t++) {
        uint64_t wanted = room_wanted(store, t);
        bool active = cte__target_state(store, t) == CTE__TARGET_ACTIVE;
        if (!active || cte__target_free_bytes(store, t) >= wanted)
            organizer->crowded &= ~(1u << t);
        else if (!has_room(store, t, 0))
            organizer->crowded |= 1u << t;
        if (!(organizer->crowded & 1u << t))
            continue;
        organizer->room_goal[t] = cte__max(organizer->room_goal[t], wanted);
        organizer->heat_limit[t] = CTE__HEAT_COUNT_MAX;
    }
}

/* Those that got enough are told before anything rises again: or what rises keeps them crowded, and
 * the same blobs go up and down for ever. */
static void forget_crowded(struct cte__organizer *organizer)
{
    const struct cte__store *store = organizer->store;
    for (uint32_t t = 0; t < store->header->target_count; t++)
        if (cte__target_free_bytes(store, t) >= room_wanted(store, t))
            organizer->crowded &= ~(1u << t);
}

/* Gives up the clean bytes of a chunk. */
static cte_status drop(cte_client *client, const struct candidate *candidate)
{
    struct cte__held_file held;
    cte_status status = cte__file_hold(client, &candidate->file, &held);
    if (status != CTE_OK)
        return status;
    struct cte__blob_key key = candidate->key;
    key.tag = held.tag;
    if (atomic_load(&held.record->tag_id) == key.tag_id) {
        key.tag_id = 0;
        status = cte__blob_drop_clean(client->store, &key);
    }
    cte__file_release(&held);
    return status;
}

/* Targets that are not slower than one. */
static uint32_t not_slower(const struct cte__store *store, uint32_t target)
{
    uint32_t set = 1u << target;
    for (uint32_t t = 0; t < store->header->target_count; t++)
        if (target_score(store, t) >= target_score(store, target))
            set |= 1u << t;
    return set;
}

/* A slower target must have room to spare, too, or copies would chase each other down. */
static bool slower_has_room(struct cte__store *store, const struct candidate *candidate)
{
    uint32_t avoid = not_slower(store, candidate->target);
    for (uint32_t t = 0; t < store->header->target_count; t++)
        if (!(avoid & 1u << t) && cte__target_state(store, t) == CTE__TARGET_ACTIVE &&
            has_room(store, t, candidate->bytes))
            return true;
    return false;
}

static cte_status demote(struct cte__organizer *organizer, cte_client *client,
                         const struct candidate *candidate)
{
    struct cte__store *store = organizer->store;
    if (slower_has_room(store, candidate)) {
        struct cte__move move = {.score = -1.0f, .avoid = not_slower(store, candidate->target)};
        cte_status status = cte__blob_move(store, &candidate->key, &move, NULL);
        if (status != -ENOSPC)
            return status;
    }
    return candidate->key.type == CTE__ENTRY_CHUNK ? drop(client, candidate) : -ENOSPC;
}

static void spend(struct cte__organizer *organizer, uint64_t bytes)
{
    organizer->budget -= (int64_t)bytes;
}

static void note(const char *what, cte_status status)
{
    if (status != CTE_OK && status != CTE_ERR_NOT_FOUND)
        cte__log_debug("organizer: %s: %s", what, cte_status_string(status));
}

/* Makes room on crowded targets.  True if something moved. */
static bool make_room(struct cte__organizer *organizer, cte_client *client)
{
    struct candidates *cold = &organizer->cold;
    bool moved = false;
    qsort(cold->list, cold->count, sizeof cold->list[0], by_cold);
    for (uint32_t i = 0; i < cold->count && organizer->budget > 0; i++) {
        const struct candidate *candidate = &cold->list[i];
        if (cte__target_free_bytes(organizer->store, candidate->target) >=
                organizer->room_goal[candidate->target] ||
            candidate->heat > organizer->heat_limit[candidate->target])
            continue;
        cte_status status = demote(organizer, client, candidate);
        note("demoting", status);
        moved = moved || status == CTE_OK;
        spend(organizer, candidate->bytes);
    }
    return moved;
}

/* A faster target that the candidate deserves, and that would not be crowded by it. */
static bool faster_has_room(struct cte__store *store, const struct candidate *candidate)
{
    for (uint32_t t = 0; t < store->header->target_count; t++)
        if (cte__target_state(store, t) == CTE__TARGET_ACTIVE &&
            target_score(store, t) > target_score(store, candidate->target) &&
            target_score(store, t) <= candidate->score && has_room(store, t, candidate->bytes))
            return true;
    return false;
}

/* Something hot waits below: in the next step, what is half as hot at most has to leave above. */
static void ask_for_room(struct cte__organizer *organizer, const struct candidate *waiting)
{
    for (uint32_t t = 0; t < organizer->store->header->target_count; t++) {
        if (target_score(organizer->store, t) <= target_score(organizer->store, waiting->target) ||
            target_score(organizer->store, t) > waiting->score)
            continue;
        uint64_t goal = cte__max(organizer->room_goal[t], reserve(organizer->store, t));
        organizer->room_goal[t] = cte__min(
            goal + waiting->bytes, reserve(organizer->store, t) + (uint64_t)organizer->step_bytes);
        organizer->heat_limit[t] = (uint32_t)cte__max(organizer->heat_limit[t], waiting->heat / 2);
    }
}

static bool raise_hot(struct cte__organizer *organizer)
{
    struct candidates *hot = &organizer->hot;
    bool moved = false;
    qsort(hot->list, hot->count, sizeof hot->list[0], by_heat);
    for (uint32_t i = 0; i < hot->count && organizer->budget > 0; i++) {
        const struct candidate *candidate = &hot->list[i];
        if (!faster_has_room(organizer->store, candidate)) {
            ask_for_room(organizer, candidate);
            continue;
        }
        struct cte__move move = {.score = -1.0f, .only_up = true};
        cte_status status = cte__blob_move(organizer->store, &candidate->key, &move, NULL);
        note("promoting", status);
        moved = moved || status == CTE_OK;
        spend(organizer, candidate->bytes);
    }
    return moved;
}

/* ---- a step ---------------------------------------------------------------------------------- */

static void refill(struct cte__organizer *organizer, uint64_t bytes_per_s)
{
    uint64_t now = cte__monotonic_ns();
    uint64_t elapsed = cte__min(now - organizer->refilled_ns, STEP_MS * MS_NS);
    int64_t earned = (int64_t)((double)bytes_per_s * (double)elapsed / 1e9);
    organizer->step_bytes = (int64_t)cte__min(
        cte__max(bytes_per_s * STEP_MS / 1000, STEP_BYTES_LEAST), STEP_BYTES_MOST);
    organizer->budget = organizer->budget + earned < organizer->step_bytes
                            ? organizer->budget + earned
                            : organizer->step_bytes;
    organizer->refilled_ns = now;
}

/* Goes on round the index, but not twice over the same. */
static void scan(struct cte__organizer *organizer)
{
    uint32_t seen = 0, shards = 0;
    while (seen < SCAN_SLOTS && shards < CTE__SHARDS) {
        uint32_t shard = organizer->hand.shard;
        seen += cte__index_scan(organizer->store, &organizer->hand, SCAN_SLOTS_AT_ONCE, consider,
                                organizer);
        shards += organizer->hand.shard != shard;
    }
}

uint64_t cte__organizer_step(struct cte__organizer *organizer, cte_client *client)
{
    organizer->store = client->store;
    organizer->now_ns = cte__realtime_ns();
    find_crowded(organizer);
    refill(organizer, client->config->organizer_bytes_per_s_max);
    scan(organizer);
    bool moved = make_room(organizer, client);
    forget_crowded(organizer);
    memset(organizer->room_goal, 0, sizeof organizer->room_goal);
    memset(organizer->heat_limit, 0, sizeof organizer->heat_limit);
    moved = raise_hot(organizer) || moved;
    bool waiting = moved || organizer->crowded != 0;
    for (uint32_t t = 0; t < CTE__TARGETS_MAX; t++)
        waiting = waiting || organizer->room_goal[t] > 0;
    forget(&organizer->cold);
    forget(&organizer->hot);
    return (waiting ? STEP_MS : IDLE_MS) * MS_NS;
}
