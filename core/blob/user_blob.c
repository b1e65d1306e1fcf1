/* SPDX-License-Identifier: BSD-3-Clause */
/* Blobs of user tags: checks what callers ask for, then leaves it to the engine. */
#include <errno.h>
#include <string.h>

#include "blob/append.h"
#include "blob/change.h"
#include "blob/observe.h"
#include "blob/promote.h"
#include "blob/rename.h"
#include "blob/tag.h"

cte_status cte__user_key(const cte_tag *tag, const char *name, struct cte__blob_key *key)
{
    cte_status status = tag ? cte__name_check(name) : -EINVAL;
    if (status == CTE_OK)
        *key = cte__user_blob_key(&tag->tag, name);
    return status;
}

/* Pages of a blob are numbered in 32 bits. */
#define BLOB_BYTES_MAX (UINT64_C(1) << (32 + CTE__PAGE_SHIFT))

static cte_status check_put(uint64_t offset, const void *data, size_t size, float score,
                            uint32_t flags)
{
    uint32_t known = CTE_BLOB_REPLACE | CTE_BLOB_EXCLUSIVE;
    /* Written so that a NaN fails. */
    if (!(score >= 0.0f && score <= 1.0f) || (flags & ~known) != 0 || (size > 0 && !data))
        return -EINVAL;
    return offset > BLOB_BYTES_MAX || size > BLOB_BYTES_MAX - offset ? -EFBIG : CTE_OK;
}

/* Makes an empty blob unless there is one; *size_bytes receives the blob's size. */
static cte_status make_empty(struct cte__store *store, const struct cte__blob_key *key, float score,
                             bool exclusive, uint64_t *size_bytes)
{
    struct cte__change change;
    cte__store_sweep_if_wanted(store);
    cte_status status = cte__change_begin(&change, store, key);
    if (status != CTE_OK)
        return status;
    *size_bytes = change.size_bytes;
    if (change.entry == 0) {
        change.score = score;
        status = cte__change_commit(&change);
    } else if (exclusive) {
        status = -EEXIST;
    }
    cte__change_end(&change);
    return status;
}

static cte_status put_once(struct cte__store *store, const struct cte__blob_key *key,
                           uint64_t offset, const void *data, size_t size, float score,
                           uint32_t flags)
{
    bool replace = flags & CTE_BLOB_REPLACE, exclusive = flags & CTE_BLOB_EXCLUSIVE;
    struct cte__piece piece = {offset, size, (char *)data};
    uint64_t size_bytes;
    if (size == 0 && !replace)
        return make_empty(store, key, score, exclusive, &size_bytes);
    if (!exclusive)
        return cte__blob_put(store, key, &piece, size > 0, score, replace);
    struct cte__snapshot none;
    cte__snapshot_init(&none);
    cte_status status = cte__blob_put_expected(store, key, &piece, size > 0, score, replace, &none);
    return status == -ESTALE ? -EEXIST : status;
}

/* Data of files makes room for blobs, which lie nowhere else: what the real files have, or can
 * take. */
static bool make_room(struct cte__store *store, uint64_t bytes)
{
    return store->make_room && store->make_room(store->make_room_context, bytes);
}

enum { MAKE_ROOM_MAX = 4 }; /* others may be quicker to use it */

static cte_status put_checked(struct cte__store *store, const struct cte__blob_key *key,
                              uint64_t offset, const void *data, size_t size, float score,
                              uint32_t flags)
{
    cte_status status = put_once(store, key, offset, data, size, score, flags);
    for (int i = 0; status == -ENOSPC && i < MAKE_ROOM_MAX && make_room(store, size); i++)
        status = put_once(store, key, offset, data, size, score, flags);
    return status;
}

static cte_status put(cte_tag *tag, const char *name, uint64_t offset, const void *data,
                      size_t size, float score, uint32_t flags)
{
    struct cte__blob_key key;
    cte_status status = cte__user_key(tag, name, &key);
    if (status == CTE_OK)
        status = check_put(offset, data, size, score, flags);
    if (status != CTE_OK)
        return status;
    return put_checked(tag->store, &key, offset, data, size, score, flags);
}

cte_status cte_blob_put(cte_tag *tag, const char *name, uint64_t offset, const void *data,
                        size_t size, float score, uint32_t flags)
{
    uint64_t start = cte__observe_begin_on(tag);
    cte_status status = put(tag, name, offset, data, size, score, flags);
    return cte__observe_blob(tag, start, CTE_OP_BLOB_PUT, name, offset, size, status);
}

static cte_status append(cte_tag *tag, const char *name, const void *data, size_t size, float score,
                         uint64_t *end)
{
    struct cte__blob_key key;
    cte_status status = cte__user_key(tag, name, &key);
    if (status == CTE_OK)
        status = check_put(0, data, size, score, 0);
    if (status != CTE_OK)
        return status;
    cte__store_sweep_if_wanted(tag->store);
    if (size == 0)
        return make_empty(tag->store, &key, score, false, end);
    status = cte__blob_append(tag->store, &key, data, size, score, BLOB_BYTES_MAX, end);
    for (int i = 0; status == -ENOSPC && i < MAKE_ROOM_MAX && make_room(tag->store, size); i++)
        status = cte__blob_append(tag->store, &key, data, size, score, BLOB_BYTES_MAX, end);
    return status;
}

cte_status cte_blob_append(cte_tag *tag, const char *name, const void *data, size_t size,
                           float score, uint64_t *offset)
{
    uint64_t end = 0, start = cte__observe_begin_on(tag);
    cte_status status = append(tag, name, data, size, score, &end);
    if (status == CTE_OK && offset)
        *offset = end;
    return cte__observe_blob(tag, start, CTE_OP_BLOB_APPEND, name, status == CTE_OK ? end : 0, size,
                             status);
}

static cte_status get(cte_tag *tag, const char *name, uint64_t offset, void *buffer, size_t size,
                      size_t *bytes_read)
{
    struct cte__blob_key key;
    size_t there = 0;
    if (bytes_read)
        *bytes_read = 0;
    cte_status status = cte__user_key(tag, name, &key);
    if (status == CTE_OK && size > 0 && !buffer)
        status = -EINVAL;
    if (status == CTE_OK)
        status = cte__blob_read(tag->store, &key, offset, buffer, size, &there);
    if (status != CTE_OK)
        return status;
    cte__blob_promote(tag->store, &key);
    if (!bytes_read)
        return there == size ? CTE_OK : -ENODATA;
    *bytes_read = there;
    return CTE_OK;
}

cte_status cte_blob_get(cte_tag *tag, const char *name, uint64_t offset, void *buffer, size_t size,
                        size_t *bytes_read)
{
    uint64_t start = cte__observe_begin_on(tag);
    cte_status status = get(tag, name, offset, buffer, size, bytes_read);
    return cte__observe_blob(tag, start, CTE_OP_BLOB_GET, name, offset, size, status);
}

static cte_status move(cte_tag *tag, const char *name, cte_tag *new_tag, const char *new_name,
                       uint32_t flags)
{
    struct cte__blob_key from, to;
    cte_status status = flags & ~(uint32_t)CTE_BLOB_REPLACE ? -EINVAL : CTE_OK;
    if (status == CTE_OK)
        status = cte__user_key(tag, name, &from);
    if (status == CTE_OK)
        status = cte__user_key(new_tag, new_name, &to);
    if (status == CTE_OK && tag->store != new_tag->store &&
        strcmp(tag->store->directory, new_tag->store->directory) != 0)
        status = -EXDEV;
    return status == CTE_OK ? cte__blob_rename(tag->store, &from, &to, flags & CTE_BLOB_REPLACE)
                            : status;
}

cte_status cte_blob_move(cte_tag *tag, const char *name, cte_tag *new_tag, const char *new_name,
                         uint32_t flags)
{
    uint64_t start = cte__observe_begin_on(tag);
    cte_status status = move(tag, name, new_tag, new_name, flags);
    return cte__observe_blob(tag, start, CTE_OP_BLOB_RENAME, name, 0, 0, status);
}

cte_status cte_blob_rename(cte_tag *tag, const char *name, const char *new_name, uint32_t flags)
{
    return cte_blob_move(tag, name, tag, new_name, flags);
}

cte_status cte_blob_delete(cte_tag *tag, const char *name)
{
    struct cte__blob_key key;
    uint64_t start = cte__observe_begin_on(tag);
    cte_status status = cte__user_key(tag, name, &key);
    if (status == CTE_OK) {
        cte__store_sweep_if_wanted(tag->store);
        status = cte__blob_remove(tag->store, &key);
    }
    return cte__observe_blob(tag, start, CTE_OP_BLOB_DELETE, name, 0, 0, status);
}
