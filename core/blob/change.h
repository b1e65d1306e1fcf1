/* SPDX-License-Identifier: BSD-3-Clause */
/* One change of one blob, from locking its name to freeing what it replaced. */
#ifndef CTE_CORE_BLOB_CHANGE_H
#define CTE_CORE_BLOB_CHANGE_H

#include "blob/blob.h"

/* Something the old map refers to and the new one does not. */
struct cte__gone {
    cte__page page;
    bool has_page;
    cte__unit runs; /* 0: none */
};

struct cte__change {
    struct cte__store *store;
    const struct cte__blob_key *key;
    uint64_t hash;
    struct cte__shard *shard; /* locked between begin and end */

    /* Filled by begin: the blob as it is. */
    cte__unit entry; /* 0: there is none */
    uint64_t version;
    uint64_t size_bytes;
    float score;
    struct cte__page_ref *old;
    size_t old_count;

    /* Filled by the caller with cte__change_keep/_drop/_add, ascending: the blob as it shall be. */
    struct cte__page_ref *refs;
    size_t count, capacity;
    struct cte__gone *gone;
    size_t gone_count, gone_capacity;

    cte__unit old_map;
    uint64_t old_map_bytes;
    bool committed;
};

/* Locks the name and loads the old state.  After success cte__change_end() must follow. */
cte_status cte__change_begin(struct cte__change *change, struct cte__store *store,
                             const struct cte__blob_key *key);

/* The page stays as it is, or (changed runs) with ref->run_list in the place of its runs. */
cte_status cte__change_keep(struct cte__change *change, const struct cte__page_ref *ref,
                            bool changed_runs);
cte_status cte__change_drop(struct cte__change *change, const struct cte__page_ref *ref);
cte_status cte__change_add(struct cte__change *change, const struct cte__page_ref *fresh);

/* Publishes the new state by one store (I1).  On error the blob is as before. */
cte_status cte__change_commit(struct cte__change *change);

/* Takes the blob out of the index. */
void cte__change_remove(struct cte__change *change);

/* Unlocks, frees what is gone if the change was committed, and the change's own memory. */
void cte__change_end(struct cte__change *change);

/* A snapshot of what a change has loaded; the shard is locked. */
cte_status cte__snapshot_locked(const struct cte__change *change, struct cte__snapshot *snapshot);

/* True if the runs that a snapshot copied are those of a page of the locked blob. */
bool cte__same_runs(const struct cte__store *store, const struct cte__page_ref *snapshot_ref,
                    const struct cte__page_ref *locked_ref);

/* Gives claimed pages back, in as few runs as they form. */
void cte__refs_free_pages(struct cte__store *store, const struct cte__page_ref *refs, size_t count);

/* Loads the pages of a map; *refs is malloc'ed. */
cte_status cte__map_load(struct cte__store *store, cte__unit map, struct cte__page_ref **refs,
                         size_t *count);

#endif
