/* SPDX-License-Identifier: BSD-3-Clause */
/* One change of one blob, from locking its name to freeing what it replaced. */
#ifndef CTE_CORE_BLOB_CHANGE_H
#define CTE_CORE_BLOB_CHANGE_H

#include "blob/blob.h"

struct cte__change {
    struct cte__store *store;
    const struct cte__blob_key *key;
    uint64_t hash;
    struct cte__shard *shard; /* locked between begin and end */
    bool shard_is_callers;    /* who unlocks it */

    /* Filled by begin: the blob as it is.  The checksums are in the store, stable while locked. */
    cte__unit entry; /* 0: there is none */
    uint64_t version;
    uint64_t size_bytes;
    float score;
    struct cte__span_list old;
    uint32_t before, behind; /* extents of the old map that are not in `old`: they stay */
    const char *old_small;   /* instead of `old`: all of its bytes, else NULL */
    uint32_t old_small_sum;  /* cte__small_sum() of them */

    /* Filled by the caller with cte__change_keep/_drop/_add, ascending: the blob as it shall be,
     * and what the old state refers to and the new one does not.  Or new_small instead of `new`:
     * `size_bytes` bytes, at most CTE__SMALL_MAX. */
    struct cte__span_list new;
    struct cte__span_list gone;       /* pages */
    struct cte__span_list gone_units; /* of runs: from unit `runs` on, `count` of them */
    const char *new_small;
    uint64_t modified_ns; /* 0: now */

    cte__unit old_unit; /* of the old map or small bytes, 0: none */
    uint64_t old_unit_bytes;
    bool committed;
};

/* Locks the name and loads the old state.  After success cte__change_end() must follow. */
cte_status cte__change_begin(struct cte__change *change, struct cte__store *store,
                             const struct cte__blob_key *key);

/* The same for a change of pages [first, end) alone: `old` is these and their neighbours, so that
 * it costs little in a blob of many extents. */
cte_status cte__change_begin_range(struct cte__change *change, struct cte__store *store,
                                   const struct cte__blob_key *key, uint64_t first, uint64_t end);

/* The number of the extent that holds page `index`, else of the first one behind it. */
uint32_t cte__map_find(const struct cte__map *map, uint64_t index);

/* The same with the shard of the key's name locked by the caller, who also unlocks it, after
 * cte__change_end(). */
cte_status cte__change_begin_locked(struct cte__change *change, struct cte__store *store,
                                    const struct cte__blob_key *key, struct cte__shard *shard);

/* Pages that stay as they are, part of an old span or all of it. */
cte_status cte__change_keep(struct cte__change *change, const struct cte__span *span);

/* One page whose valid bytes become those of `list`, which has runs in the page's old pages, or
 * (see cte__change_add) in a fresh one.  `list` must last until the change ends. */
cte_status cte__change_restate(struct cte__change *change, const struct cte__span *old,
                               struct cte__run_list *list);

/* Pages that go, but for those in which `kept` (NULL: none) still has runs. */
cte_status cte__change_replace(struct cte__change *change, const struct cte__span *old,
                               const struct cte__run_list *kept);
cte_status cte__change_drop(struct cte__change *change, const struct cte__span *span);
/* Pages that this operation claimed and filled, with their checksums. */
cte_status cte__change_add(struct cte__change *change, const struct cte__span *fresh);

/* Publishes the new state by one store (I1).  On error the blob is as before.  The old small bytes
 * are gone afterwards. */
cte_status cte__change_commit(struct cte__change *change);

/* Takes over what the blob refers to and `gone` names, before it becomes unreachable (I3). */
void cte__change_retire(struct cte__change *change);

/* Takes the blob out of the index. */
void cte__change_remove(struct cte__change *change);

/* Unlocks, frees what is gone if the change was committed, and the change's own memory. */
void cte__change_end(struct cte__change *change);

/* A blob whose name is locked. */
struct cte__locked_blob {
    uint64_t hash;
    struct cte__shard *shard; /* to be unlocked */
    cte__unit entry;          /* 0: there is none */
};

/* Locks the shard of a name and looks it up.  CTE_ERR_NOT_FOUND: its tag is gone, nothing is
 * locked. */
cte_status cte__blob_lock(struct cte__store *store, const struct cte__blob_key *key,
                          struct cte__locked_blob *blob);

/* A snapshot of pages [first, end) of a blob, whose shard is locked; entry 0: of no blob. */
cte_status cte__snapshot_locked(const struct cte__store *store, cte__unit entry, uint64_t first,
                                uint64_t end, struct cte__snapshot *snapshot);

/* True if a page of a snapshot and one of the locked blob hold the same bytes.  With checksums, the
 * same place and the same checksum mean the same bytes, even if the blob changed elsewhere;
 * without, the answer is no. */
bool cte__same_page(const struct cte__store *store, const struct cte__span *snapshot_page,
                    const struct cte__span *locked_page);

/* Reads one page and verifies its checksum. */
cte_status cte__page_read(struct cte__store *store, cte__page page, uint64_t index,
                          uint32_t checksum, void *bytes);

/* Copies the valid bytes of a PARTIAL page of a snapshot to their places in `bytes`, a page. */
cte_status cte__partial_read(struct cte__store *store, const struct cte__span *span, char *bytes);

/* `count` pages of a span from its page number `skip` on. */
struct cte__span cte__span_part(const struct cte__span *span, uint32_t skip, uint32_t count);

void cte__span_list_init(struct cte__span_list *list);
cte_status cte__span_list_add(struct cte__span_list *list, const struct cte__span *span);
void cte__span_list_free(struct cte__span_list *list);

#endif
