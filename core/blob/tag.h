/* SPDX-License-Identifier: BSD-3-Clause */
/* Tags of users, below their handles. */
#ifndef CTE_CORE_BLOB_TAG_H
#define CTE_CORE_BLOB_TAG_H

#include <cte/blob.h>

#include "blob/blob.h"

struct cte_tag {
    struct cte__store *store;
    struct cte__user_tag tag;
};

/* The store of a client; NULL: of the process-wide client, opened if needed.  core/file, which owns
 * clients, defines it. */
cte_status cte__client_store(cte_client *client, struct cte__store **store);

/* NULL becomes the process-wide client; core/file defines it, too. */
cte_status cte__client_resolve(cte_client **client);

/* 1 to CTE_BLOB_NAME_MAX bytes. */
cte_status cte__name_check(const char *name);

/* A growing list of names, one behind the other with their zeros. */
struct cte__name_list {
    char *text;
    size_t bytes, capacity, count;
};

cte_status cte__name_list_add(struct cte__name_list *list, const char *name, uint32_t name_bytes);

static inline cte_tag_id cte__user_tag_id(const struct cte__user_tag *tag)
{
    return (cte_tag_id){(uint32_t)(tag->public_id >> 32), (uint32_t)tag->public_id};
}

/* The key of a blob of an opened tag; `name` must stay where it is while the key is used. */
struct cte__blob_key cte__user_blob_key(const struct cte__user_tag *tag, const char *name);

/* The same of a handle, after a check of both. */
cte_status cte__user_key(const cte_tag *tag, const char *name, struct cte__blob_key *key);

/* Finds, makes or (BURY) shuts a tag; one that somebody died deleting is deleted before. */
cte_status cte__user_tag_open(struct cte__store *store, const char *name,
                              enum cte__user_tag_find how, struct cte__user_tag *tag);

/* The same for the tag of a given id, as cte__user_tag_find_id(). */
cte_status cte__user_tag_open_id(struct cte__store *store, const char *name,
                                 enum cte__user_tag_find how, uint64_t public_id,
                                 struct cte__user_tag *tag);

/* Names of the tags of a store, without those that are being deleted. */
cte_status cte__user_tag_names(struct cte__store *store, struct cte__name_list *list);

/* Names of the blobs that a tag has; CTE_ERR_NOT_FOUND if the tag is gone. */
cte_status cte__user_tag_blobs(struct cte__store *store, const struct cte__user_tag *tag,
                               struct cte__name_list *list);

cte_status cte__user_blob_info(struct cte__store *store, const struct cte__blob_key *key,
                               cte_blob_info *info);

#endif
