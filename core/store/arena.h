/* SPDX-License-Identifier: BSD-3-Clause */
/* The allocator: runs of units (metadata) or pages (data) inside one arena.
 *
 * Life of a piece: cte__arena_claim() (owner word = this process) → filled, outside every lock →
 * published by its user, then cte__owner_set(PUBLISHED) → cte__owner_set(self) before the store
 * that unpublishes it → cte__arena_free().  A process that dies on the way leaves owner words that
 * the sweep (sweep.c) resolves by asking whether the index reaches the piece. */
#ifndef CTE_CORE_STORE_ARENA_H
#define CTE_CORE_STORE_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#include <cte/status.h>

#include "store/layout.h"

/* One arena as this process sees it. */
struct cte__arena_view {
    struct cte__arena *arena;
    _Atomic uint16_t *owners;
    uint64_t *bitmap;
    uint32_t *sums; /* pages only.  Written by who has claimed the page, constant while published */
};

/* Bytes of owner words and bitmap (and checksums) of an arena of `unit_count` (multiple of 64)
 * units. */
uint64_t cte__arena_table_bytes(uint32_t unit_count, bool sums);

/* Sets up an empty arena; its tables must read as zeros.  They lie as those of an arena of
 * `room_count` units do, so that another arena in its place has them where they are. */
void cte__arena_init(struct cte__arena *arena, uint32_t unit_count, uint32_t room_count, bool sums,
                     uint64_t tables_offset);

/* Takes an arena out of use if all of it is free; true if it was or is closed now. */
bool cte__arena_close(const struct cte__arena_view *view);

/* Takes it into use again. */
void cte__arena_open(const struct cte__arena_view *view);

/* Makes a closed arena an empty one of another size.  It stays closed. */
void cte__arena_resize(const struct cte__arena_view *view, uint32_t unit_count);

/* Claims up to `want` consecutive units for `owner`, starting at a multiple of `align` (a power of
 * two): the first free run that is long enough, else the longest one.
 * @param exact  only a run of all `want` units will do
 * @return units claimed, 0 if none; *start is the first */
uint32_t cte__arena_claim(const struct cte__arena_view *view, uint16_t owner, uint32_t want,
                          uint32_t align, bool exact, uint32_t *start);

/* Gives units back.  Their owner words must be this process's. */
void cte__arena_free(const struct cte__arena_view *view, uint16_t owner, uint32_t start,
                     uint32_t count);

/* Sets the owner words of units that the caller owns or whose index shard it holds. */
void cte__arena_own(const struct cte__arena_view *view, uint16_t owner, uint32_t start,
                    uint32_t count);

/* Takes these units, all of them free, as published ones; false if they are not.  For a store that
 * is made from its journal. */
bool cte__arena_take(const struct cte__arena_view *view, uint32_t start, uint32_t count);

/* If a process died inside the allocator, derives everything from the owner words again: counts and
 * marks that it left stale would hide free units from those who look before they lock.  Tells where
 * the units begin that were never claimed up to now: others may move that mark at any time. */
uint32_t cte__arena_recover(const struct cte__arena_view *view);

/* Frees those units in [start, start+count) that belong to `owner`; returns how many.  For the
 * sweep. */
uint32_t cte__arena_reclaim(const struct cte__arena_view *view, uint16_t owner, uint32_t start,
                            uint32_t count);

#endif
