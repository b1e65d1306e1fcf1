/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages of blobs that this process read from targets slower than memory, kept to be read again
 * without the target (performance.blob_cache_size_mb).
 *
 * A page is found by its blob's entry, the entry's version, and its number in the blob.  Why no get
 * is given bytes of the past, although nobody tells this cache what other processes write:
 *  - who looks a page up took entry and version from a snapshot, with the shard locked;
 *  - a version stands for one state of the blob: it is raised before each store of the location,
 *    and a state, once published, keeps its bytes (I1, I11).  Who dies between the two leaves a
 *    number that no other state gets;
 *  - an entry made where another one was begins with the time in nanoseconds as its version.  That
 *    is above all versions of the earlier one, which began with a time before and was raised
 *    by one per change; a change takes longer than a nanosecond;
 *  - pages come in only when the get that read them found the version still the same afterwards;
 *  - and after all this, what is found is trusted no more than what a target returns: the get asks
 *    again whether the version is the same, and verifies the checksum if pages have one.
 *
 * All of it is one private mapping that a fork wipes, in which zeros mean an empty cache: so a
 * child begins with an empty one, whatever its parent's other threads were at.
 *
 * Pages are new until they are found again; new ones make room for new ones, so that reading a
 * lot once does not drive out what is read often.
 *
 * All functions may be called by any thread; they lock nothing but a part of the cache.
 */
#ifndef CTE_CORE_BLOB_CACHE_H
#define CTE_CORE_BLOB_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/layout.h"

struct cte__cache;

/* A cache of at most `bytes`, with all that it needs itself; memory is used as pages come in.
 * NULL: too few bytes for a page, or no memory; then there is no cache. */
struct cte__cache *cte__cache_new(uint64_t bytes);

/* No get may be under way.  NULL is fine. */
void cte__cache_free(struct cte__cache *cache);

/* One get, as of one state of one blob. */
struct cte__cache_use {
    struct cte__cache *cache;
    cte__unit entry;
    uint64_t version;
    uint32_t kept; /* the last page kept so far, its frame; 0: none */
    uint32_t room; /* for so many more */
};

struct cte__cache_use cte__cache_begin(struct cte__cache *cache, cte__unit entry, uint64_t version);

/* Copies page `index`, if it is there. */
bool cte__cache_find(struct cte__cache_use *use, uint64_t index, void *page);

/* Copies a page that was read, for others to find once this use ends.  There may be no room. */
void cte__cache_keep(struct cte__cache_use *use, uint64_t index, const void *page);

/* Ends the use.  `right`: what was read is the state it was taken for, else it is forgotten. */
void cte__cache_end(struct cte__cache_use *use, bool right);

struct cte__cache_totals {
    uint64_t hits, misses; /* pages looked for, since this process began */
    uint64_t pages;        /* there now */
    uint64_t limit_bytes;  /* what it may use in all */
};
struct cte__cache_totals cte__cache_totals(struct cte__cache *cache);

#endif
