/* SPDX-License-Identifier: BSD-3-Clause */
#include "blob/cache.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "base/util.h"

enum {
    PARTS_MAX = 64,
    PART_FRAMES = 64,    /* at least, if there are several parts */
    PROVEN_PERCENT = 80, /* of a part's frames, at most: the others stay for new pages */
    USE_SHARE = 8,       /* one get keeps at most 1/8 of all frames */
};

/* Room for a page.  Its number counts from 1 over all parts; 0: none. */
struct frame {
    uint64_t version;
    cte__unit entry; /* 0: not in the table */
    uint32_t index;
    uint32_t chain; /* next of the bucket; of the free ones; of those that a get keeps */
    uint32_t newer, older;
    uint32_t proven; /* 1: it was found */
};

/* By their last use. */
struct row {
    uint32_t newest, oldest, count;
};

/* Frames, and the pages whose hash says that they belong there. */
struct part {
    _Alignas(CTE__CACHE_LINE) pthread_mutex_t lock;
    uint32_t used; /* frames from here on were never used */
    uint32_t free; /* frames that are free again */
    uint32_t pages;
    struct row new, proven;
    uint64_t hits, misses;
};

struct cte__cache {
    char *memory; /* parts, buckets, frames, pages */
    uint64_t limit_bytes, mapped_bytes;
    uint32_t part_count, part_frames, part_buckets; /* powers of two, but for the frames */
    uint64_t buckets_offset, frames_offset, pages_offset;
};

struct key {
    cte__unit entry;
    uint64_t version;
    uint32_t index;
};

/* ---- where things are ----------------------------------------------------------------------- */

static struct part *part_at(const struct cte__cache *cache, uint32_t number)
{
    assert(number < cache->part_count);
    return (struct part *)cache->memory + number;
}

static struct frame *frame_at(const struct cte__cache *cache, uint32_t number)
{
    assert(number > 0 && number <= cache->part_count * cache->part_frames);
    return (struct frame *)(cache->memory + cache->frames_offset) + (number - 1);
}

static char *page_at(const struct cte__cache *cache, uint32_t number)
{
    return cache->memory + cache->pages_offset + cte__pages_to_bytes(number - 1);
}

static uint64_t hash_of(struct key key)
{
    uint64_t z =
        key.version * UINT64_C(0x9E3779B97F4A7C15) + ((uint64_t)key.entry << 32 | key.index);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static uint32_t part_number(const struct cte__cache *cache, uint64_t hash)
{
    return (uint32_t)(hash >> 32) & (cache->part_count - 1);
}

static uint32_t *bucket(const struct cte__cache *cache, uint64_t hash)
{
    uint32_t *buckets = (uint32_t *)(cache->memory + cache->buckets_offset) +
                        (uint64_t)part_number(cache, hash) * cache->part_buckets;
    return &buckets[(uint32_t)hash & (cache->part_buckets - 1)];
}

static struct part *lock_part(const struct cte__cache *cache, uint64_t hash)
{
    struct part *part = part_at(cache, part_number(cache, hash));
    pthread_mutex_lock(&part->lock);
    return part;
}

/* ---- making --------------------------------------------------------------------------------- */

/* Cuts the memory for so many frames in each part; returns what that needs. */
static uint64_t lay_out(struct cte__cache *cache, uint32_t part_frames)
{
    uint32_t buckets = 1;
    while (buckets < part_frames)
        buckets *= 2;
    cache->part_frames = part_frames;
    cache->part_buckets = buckets;
    uint64_t frames = (uint64_t)cache->part_count * part_frames;
    cache->buckets_offset = cache->part_count * sizeof(struct part);
    cache->frames_offset = cte__align_up(cache->buckets_offset + (uint64_t)cache->part_count *
                                                                     buckets * sizeof(uint32_t),
                                         CTE__CACHE_LINE);
    cache->pages_offset =
        cte__align_up(cache->frames_offset + frames * sizeof(struct frame), CTE__PAGE_BYTES);
    return cache->pages_offset + cte__pages_to_bytes(frames);
}

/* As many frames as the limit allows; false: none. */
static bool fit(struct cte__cache *cache)
{
    uint64_t frames =
        cte__min(cache->limit_bytes / (CTE__PAGE_BYTES + sizeof(struct frame)), UINT32_MAX / 2);
    cache->part_count = 1;
    while (cache->part_count < PARTS_MAX && frames / cache->part_count >= 2 * PART_FRAMES)
        cache->part_count *= 2;
    uint32_t part_frames = (uint32_t)(frames / cache->part_count);
    while (part_frames > 0 &&
           (cache->mapped_bytes = lay_out(cache, part_frames)) > cache->limit_bytes)
        part_frames--;
    return part_frames > 0;
}

/* In wiped memory a lock must be free: so it is in the C libraries of Linux. */
static bool zeros_are_a_free_lock(void)
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    static const char zeros[sizeof fresh];
    return memcmp(&fresh, zeros, sizeof fresh) == 0;
}

static bool map(struct cte__cache *cache)
{
    void *memory = mmap(NULL, cache->mapped_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    cache->memory = memory;
    if (zeros_are_a_free_lock() && madvise(memory, cache->mapped_bytes, MADV_WIPEONFORK) == 0) {
        /* Fewer and cheaper first touches; without huge pages it works as well. */
        (void)madvise(memory, cache->mapped_bytes, MADV_HUGEPAGE);
        return true;
    }
    munmap(memory, cache->mapped_bytes);
    return false;
}

struct cte__cache *cte__cache_new(uint64_t bytes)
{
    struct cte__cache *cache = calloc(1, sizeof *cache);
    if (!cache)
        return NULL;
    cache->limit_bytes = bytes;
    if (fit(cache) && map(cache))
        return cache;
    cte__log_info("no memory for a cache of blobs of %llu bytes: every get reads from its target",
                  (unsigned long long)bytes);
    free(cache);
    return NULL;
}

void cte__cache_free(struct cte__cache *cache)
{
    if (!cache)
        return;
    munmap(cache->memory, cache->mapped_bytes);
    free(cache);
}

/* ---- rows; the part is locked --------------------------------------------------------------- */

static struct row *row_of(struct part *part, const struct frame *frame)
{
    return frame->proven ? &part->proven : &part->new;
}

static void row_remove(const struct cte__cache *cache, struct part *part, uint32_t number)
{
    struct frame *frame = frame_at(cache, number);
    struct row *row = row_of(part, frame);
    *(frame->newer ? &frame_at(cache, frame->newer)->older : &row->newest) = frame->older;
    *(frame->older ? &frame_at(cache, frame->older)->newer : &row->oldest) = frame->newer;
    row->count--;
}

static void row_add(const struct cte__cache *cache, struct part *part, uint32_t number,
                    uint32_t proven)
{
    struct frame *frame = frame_at(cache, number);
    frame->proven = proven;
    struct row *row = row_of(part, frame);
    frame->newer = 0;
    frame->older = row->newest;
    *(row->newest ? &frame_at(cache, row->newest)->newer : &row->oldest) = number;
    row->newest = number;
    row->count++;
}

/* It was found: it is worth more than pages that never were. */
static void prove(const struct cte__cache *cache, struct part *part, uint32_t number)
{
    if (part->proven.newest == number)
        return;
    row_remove(cache, part, number);
    row_add(cache, part, number, 1);
    if (part->proven.count > (uint64_t)cache->part_frames * PROVEN_PERCENT / 100) {
        uint32_t oldest = part->proven.oldest;
        row_remove(cache, part, oldest);
        row_add(cache, part, oldest, 0);
    }
}

/* ---- the table; the part is locked ---------------------------------------------------------- */

/* The link that leads to a page's frame, or to 0. */
static uint32_t *find(const struct cte__cache *cache, uint64_t hash, struct key key)
{
    uint32_t *link = bucket(cache, hash);
    while (*link != 0) {
        struct frame *frame = frame_at(cache, *link);
        if (frame->version == key.version && frame->entry == key.entry && frame->index == key.index)
            break;
        link = &frame->chain;
    }
    return link;
}

static void give(const struct cte__cache *cache, struct part *part, uint32_t number)
{
    struct frame *frame = frame_at(cache, number);
    frame->entry = 0;
    frame->chain = part->free;
    part->free = number;
}

/* Takes a page out of the table and frees its frame. */
static void forget(const struct cte__cache *cache, struct part *part, uint32_t *link)
{
    uint32_t number = *link;
    *link = frame_at(cache, number)->chain;
    row_remove(cache, part, number);
    part->pages--;
    give(cache, part, number);
}

static struct key key_of(const struct frame *frame)
{
    return (struct key){frame->entry, frame->version, frame->index};
}

/* A frame for a new page; 0 if none can be had without what is proven. */
static uint32_t take(const struct cte__cache *cache, struct part *part)
{
    if (part->free == 0 && part->used < cache->part_frames) {
        uint32_t first = (uint32_t)(part - part_at(cache, 0)) * cache->part_frames + 1;
        return first + part->used++;
    }
    if (part->free == 0 && part->new.oldest != 0) {
        struct key key = key_of(frame_at(cache, part->new.oldest));
        forget(cache, part, find(cache, hash_of(key), key));
    }
    uint32_t number = part->free;
    if (number != 0)
        part->free = frame_at(cache, number)->chain;
    return number;
}

/* ---- uses ----------------------------------------------------------------------------------- */

struct cte__cache_use cte__cache_begin(struct cte__cache *cache, cte__unit entry, uint64_t version)
{
    uint32_t frames = cache->part_count * cache->part_frames;
    return (struct cte__cache_use){.cache = cache,
                                   .entry = entry,
                                   .version = version,
                                   .room = cte__max(frames / USE_SHARE, 1)};
}

bool cte__cache_find(struct cte__cache_use *use, uint64_t index, void *page)
{
    struct cte__cache *cache = use->cache;
    assert(index <= UINT32_MAX);
    struct key key = {use->entry, use->version, (uint32_t)index};
    uint64_t hash = hash_of(key);
    struct part *part = lock_part(cache, hash);
    uint32_t number = *find(cache, hash, key);
    if (number != 0) {
        prove(cache, part, number);
        memcpy(page, page_at(cache, number), CTE__PAGE_BYTES);
        part->hits++;
    } else {
        part->misses++;
    }
    pthread_mutex_unlock(&part->lock);
    return number != 0;
}

void cte__cache_keep(struct cte__cache_use *use, uint64_t index, const void *page)
{
    struct cte__cache *cache = use->cache;
    struct key key = {use->entry, use->version, (uint32_t)index};
    if (use->room == 0)
        return;
    struct part *part = lock_part(cache, hash_of(key));
    uint32_t number = take(cache, part);
    pthread_mutex_unlock(&part->lock);
    if (number == 0)
        return;
    /* Nobody else knows the frame until the use ends. */
    struct frame *frame = frame_at(cache, number);
    *frame = (struct frame){
        .version = key.version, .entry = key.entry, .index = key.index, .chain = use->kept};
    memcpy(page_at(cache, number), page, CTE__PAGE_BYTES);
    use->kept = number;
    use->room--;
}

/* Makes a kept page one that is found, in place of what another thread kept meanwhile. */
static void admit(const struct cte__cache *cache, struct part *part, uint64_t hash, uint32_t number)
{
    struct frame *frame = frame_at(cache, number);
    uint32_t *link = find(cache, hash, key_of(frame));
    if (*link != 0)
        forget(cache, part, link);
    link = bucket(cache, hash);
    frame->chain = *link;
    *link = number;
    row_add(cache, part, number, 0);
    part->pages++;
}

void cte__cache_end(struct cte__cache_use *use, bool right)
{
    struct cte__cache *cache = use->cache;
    while (use->kept != 0) {
        uint32_t number = use->kept;
        struct frame *frame = frame_at(cache, number);
        uint64_t hash = hash_of(key_of(frame));
        use->kept = frame->chain;
        struct part *part = lock_part(cache, hash);
        if (right)
            admit(cache, part, hash, number);
        else
            give(cache, part, number);
        pthread_mutex_unlock(&part->lock);
    }
}

struct cte__cache_totals cte__cache_totals(struct cte__cache *cache)
{
    struct cte__cache_totals totals = {.limit_bytes = cache->limit_bytes};
    for (uint32_t i = 0; i < cache->part_count; i++) {
        struct part *part = part_at(cache, i);
        pthread_mutex_lock(&part->lock);
        totals.hits += part->hits;
        totals.misses += part->misses;
        totals.pages += part->pages;
        pthread_mutex_unlock(&part->lock);
    }
    return totals;
}
