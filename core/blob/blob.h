/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blobs: named byte arrays in a tag, stored as pages in the targets.
 *
 * Every change writes new pages outside all locks, then builds a new map and publishes it by one
 * store, then frees what the old map alone referred to (I1).  Readers copy the map, read, and check
 * that the blob's version is still the same.
 *
 * A *blob* reads as zeros where nothing was put.  A *chunk* is a blob that stands for a piece of a
 * file: it knows, to the byte, which of its bytes are valid and which of these are dirty (not in
 * the real file yet); the caller gets the others from the real file.
 *
 * All functions may be called by any thread with no lock of the store held, unless they say so.
 */
#ifndef CTE_CORE_BLOB_BLOB_H
#define CTE_CORE_BLOB_BLOB_H

#include "blob/runs.h"
#include "store/store.h"

struct cte__blob_key {
    cte__unit tag; /* struct cte__tag_record, kept alive by the caller */
    uint8_t type;  /* CTE__ENTRY_BLOB or CTE__ENTRY_CHUNK */
    const void *name;
    uint32_t name_bytes;
    uint64_t tag_id; /* user tags: the id it was opened by, else CTE_ERR_NOT_FOUND; files: 0 */
    bool dying;      /* user tags: it is being deleted, find its blobs all the same */
};

static inline uint64_t cte__blob_key_tag_id(const struct cte__store *store,
                                            const struct cte__blob_key *key)
{
    return key->tag_id != 0 ? key->tag_id : cte__tag_at(store, key->tag)->tag_id;
}

/* A piece of a blob and of memory. */
struct cte__piece {
    uint64_t offset;
    size_t length;
    char *base; /* only read when putting */
};

/* A growing list of pieces; free(pieces) when done. */
struct cte__piece_list {
    struct cte__piece *pieces;
    size_t count, capacity;
};

cte_status cte__piece_list_add(struct cte__piece_list *list, uint64_t offset, size_t length,
                               char *base);

/* Consecutive pages of a blob that are alike and lie at consecutive pages of a target. */
struct cte__span {
    uint64_t index; /* number of the first page in the blob */
    cte__page page; /* where it is */
    uint32_t count;
    uint32_t state;            /* enum cte__page_state */
    const uint32_t *checksums; /* one per page */
    cte__unit runs; /* PARTIAL (count is 1): its runs in the store; 0: not published yet */
    bool fresh;     /* claimed by this operation */
    struct cte__run_list *run_list; /* PARTIAL: a copy of its runs, or those to be published */
};

/* A growable list of spans, ascending by index; few of them need no memory of their own. */
struct cte__span_list {
    struct cte__span *spans;
    size_t count, capacity;
    struct cte__span few[16];
};

/* Pages whose checksums need no memory of their own in a snapshot. */
enum { CTE__SNAPSHOT_FEW = 16 };

struct cte__cache_use;

/* A private copy of a blob's map. */
struct cte__snapshot {
    cte__unit entry; /* 0: there is no such blob */
    uint64_t version;
    bool partly; /* pages were left out (verify.h) */
    uint64_t size_bytes;
    float score;
    struct cte__span_list list; /* PARTIAL pages have run_list filled */
    uint32_t *checksums;        /* its own memory, or `few` */
    uint32_t few[CTE__SNAPSHOT_FEW];
    struct cte__run_lists run_lists;
    uint32_t small_bytes; /* of a small blob, which has no spans; else 0 */
    uint32_t small_sum;   /* cte__small_sum() of it */
    char small[CTE__SMALL_MAX];
    struct cte__cache_use *cache; /* for what is read as of the snapshot; NULL: none */
};

/* A snapshot of no blob at all. */
void cte__snapshot_init(struct cte__snapshot *snapshot);

/* Copies a map.  Free with cte__snapshot_free(). */
cte_status cte__blob_snapshot(struct cte__store *store, const struct cte__blob_key *key,
                              struct cte__snapshot *snapshot);
void cte__snapshot_free(struct cte__snapshot *snapshot);

/* Reads pieces as of a snapshot.  What is not stored is added to `missing` (NULL: filled with
 * zeros). CTE_ERR_CHECKSUM may just mean that the blob changed: see cte__blob_is_current(). */
cte_status cte__snapshot_read(struct cte__store *store, const struct cte__snapshot *snapshot,
                              const struct cte__piece *pieces, size_t count,
                              struct cte__piece_list *missing);

/* True if the blob did not change since the snapshot: then what was read is right. */
bool cte__blob_is_current(struct cte__store *store, const struct cte__blob_key *key,
                          const struct cte__snapshot *snapshot);

/* Stores pieces, which do not overlap, in ascending order.  All or nothing.
 * @param replace  the blob consists of just these pieces afterwards
 * @return -ENOSPC if the targets are full; the blob is as before then */
cte_status cte__blob_put(struct cte__store *store, const struct cte__blob_key *key,
                         const struct cte__piece *pieces, size_t count, float score, bool replace);

/* As cte__blob_put(), if the blob still is the one that a snapshot saw, or still is not there: else
 * -ESTALE, and nothing is changed.  Only the snapshot's entry and version count; NULL: any blob. */
cte_status cte__blob_put_expected(struct cte__store *store, const struct cte__blob_key *key,
                                  const struct cte__piece *pieces, size_t count, float score,
                                  bool replace, const struct cte__snapshot *expected);

/* Whole pages that equal the real file's. */
struct cte__clean_pages {
    uint64_t first; /* page of the chunk */
    uint32_t count;
    const char *bytes;
    float score;
    uint32_t skip;
    /* Asked with the chunk locked, just before the pages become visible. */
    bool (*holds)(const void *context);
    const void *context;
};

/* Stores them as clean bytes of a chunk.
 * @return -ESTALE if they do not hold any more; -EEXIST if the chunk has bytes in one of the pages,
 *         which are newer; -ENOSPC if the targets, but for those of the bit set `skip`, are full */
cte_status cte__blob_put_clean(struct cte__store *store, const struct cte__blob_key *key,
                               const struct cte__clean_pages *pages);

/* Gets pieces, consistently: all from one version of the blob.
 * @param missing     as in cte__snapshot_read(); pieces beyond the size are missing or zero too
 * @param size_bytes  receives the blob's size in that version; may be NULL
 * @return CTE_ERR_NOT_FOUND if there is no such blob (chunks: everything is missing, CTE_OK) */
cte_status cte__blob_get(struct cte__store *store, const struct cte__blob_key *key,
                         const struct cte__piece *pieces, size_t count,
                         struct cte__piece_list *missing, uint64_t *size_bytes);

/* Gets the bytes there are of [offset, offset + size): *bytes_read of them, fewer past the end. */
cte_status cte__blob_read(struct cte__store *store, const struct cte__blob_key *key,
                          uint64_t offset, void *buffer, size_t size, size_t *bytes_read);

/* Forgets bytes [start, end) of a chunk, dirty or not. */
cte_status cte__blob_trim(struct cte__store *store, const struct cte__blob_key *key, uint64_t start,
                          uint64_t end);

/* Marks what the snapshot saw dirty, and is still the same, as equal to the real file. */
cte_status cte__blob_mark_clean(struct cte__store *store, const struct cte__blob_key *key,
                                const struct cte__snapshot *snapshot);

/* Forgets the bytes of a chunk that are clean. */
cte_status cte__blob_drop_clean(struct cte__store *store, const struct cte__blob_key *key);

/* Removes a blob; CTE_ERR_NOT_FOUND if there is none. */
cte_status cte__blob_remove(struct cte__store *store, const struct cte__blob_key *key);

/* True if any byte of a snapshot's span is not in the real file. */
bool cte__span_is_dirty(const struct cte__span *span);

/* The span that holds page `index`, else the first one behind it; list->count if there is none. */
size_t cte__span_find(const struct cte__span_list *list, uint64_t index);

/* The same; at no cost if it is the span `hint` or the next one. */
size_t cte__span_find_from(const struct cte__span_list *list, uint64_t index, size_t hint);

#endif
