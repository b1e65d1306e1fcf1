/* SPDX-License-Identifier: BSD-3-Clause */
#include "blob/tag.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blob/observe.h"

/* ---- names ---------------------------------------------------------------------------------- */

cte_status cte__name_check(const char *name)
{
    if (!name || !name[0])
        return -EINVAL;
    return strnlen(name, CTE_BLOB_NAME_MAX + 1) > CTE_BLOB_NAME_MAX ? -ENAMETOOLONG : CTE_OK;
}

cte_status cte__name_list_add(struct cte__name_list *list, const char *name, uint32_t name_bytes)
{
    size_t wanted = list->bytes + name_bytes + 1;
    if (wanted > list->capacity) {
        size_t capacity = wanted > list->capacity * 2 ? wanted + 4096 : list->capacity * 2;
        char *larger = realloc(list->text, capacity);
        if (!larger)
            return -ENOMEM;
        list->text = larger;
        list->capacity = capacity;
    }
    memcpy(list->text + list->bytes, name, name_bytes);
    list->text[list->bytes + name_bytes] = 0;
    list->bytes = wanted;
    list->count++;
    return CTE_OK;
}

static cte_status visit_names(const struct cte__name_list *list, cte_name_visitor visit,
                              void *context)
{
    cte_status status = CTE_OK;
    for (size_t at = 0; at < list->bytes && status == CTE_OK; at += strlen(list->text + at) + 1)
        status = visit(context, list->text + at);
    return status;
}

struct listing {
    const struct cte__store *store;
    struct cte__name_list *list;
};

static cte_status add_blob(void *context, cte__unit unit, const struct cte__entry *entry)
{
    struct listing *listing = context;
    (void)unit;
    return cte__name_list_add(listing->list, entry->name, entry->name_bytes);
}

/* A name may belong to a tag that is being deleted; then it is none. */
static cte_status add_tag(void *context, cte__unit unit, const struct cte__entry *entry)
{
    struct listing *listing = context;
    (void)unit;
    if (entry->type != CTE__ENTRY_TAG)
        return CTE_OK;
    if (atomic_load(&cte__tag_at(listing->store, cte__entry_record(entry))->dead))
        return CTE_OK;
    return cte__name_list_add(listing->list, entry->name, entry->name_bytes);
}

/* ---- tags ----------------------------------------------------------------------------------- */

struct cte__blob_key cte__user_blob_key(const struct cte__user_tag *tag, const char *name)
{
    return (struct cte__blob_key){.tag = tag->unit,
                                  .type = CTE__ENTRY_BLOB,
                                  .name = name,
                                  .name_bytes = (uint32_t)strlen(name),
                                  .tag_id = tag->id};
}

/* Names of the blobs that stand on the tag's list, whether it lives or not. */
static cte_status list_blobs(struct cte__store *store, const struct cte__user_tag *tag,
                             struct cte__name_list *list)
{
    struct listing listing = {store, list};
    return cte__tag_each(store, cte__tag_at(store, tag->unit), add_blob, &listing);
}

/* Completes what burying the tag began; several may be at it.  When nobody can put blobs in any
 * more, those that are there are all there ever will be. */
static cte_status finish_delete(struct cte__store *store, const char *name,
                                const struct cte__user_tag *tag)
{
    struct cte__name_list list = {0};
    cte__shards_pass(store);
    cte_status status = list_blobs(store, tag, &list);
    for (size_t at = 0; at < list.bytes && status == CTE_OK; at += strlen(list.text + at) + 1) {
        struct cte__blob_key key = cte__user_blob_key(tag, list.text + at);
        key.dying = true;
        status = cte__blob_remove(store, &key);
        if (status == CTE_ERR_NOT_FOUND)
            status = CTE_OK;
    }
    free(list.text);
    if (status == CTE_OK)
        cte__user_tag_forget(store, name, (uint32_t)strlen(name), tag);
    return status;
}

cte_status cte__user_tag_open(struct cte__store *store, const char *name,
                              enum cte__user_tag_find how, struct cte__user_tag *tag)
{
    return cte__user_tag_open_id(store, name, how, 0, tag);
}

cte_status cte__user_tag_open_id(struct cte__store *store, const char *name,
                                 enum cte__user_tag_find how, uint64_t public_id,
                                 struct cte__user_tag *tag)
{
    cte_status status = cte__name_check(name);
    cte__store_sweep_if_wanted(store);
    while (status == CTE_OK) {
        status = cte__user_tag_find_id(store, name, (uint32_t)strlen(name), how, public_id, tag);
        if (status != CTE_OK || !tag->dead || how == CTE__USER_TAG_BURY)
            break;
        status = finish_delete(store, name, tag);
    }
    return status;
}

cte_status cte__user_tag_blobs(struct cte__store *store, const struct cte__user_tag *tag,
                               struct cte__name_list *list)
{
    cte_status status = list_blobs(store, tag, list);
    if (status == CTE_OK && !cte__user_tag_lives(cte__tag_at(store, tag->unit), tag->id))
        status = CTE_ERR_NOT_FOUND;
    return status;
}

static uint64_t public_id(cte_tag_id id)
{
    return (uint64_t)id.major << 32 | id.minor;
}

/* By name, or (NULL) by id alone. */
static cte_status open_tag(struct cte__store *store, const char *name, enum cte__user_tag_find how,
                           uint64_t id, struct cte__user_tag *tag)
{
    uint64_t start = cte__observe_begin(store);
    cte_status status = name ? cte__user_tag_open_id(store, name, how, id, tag)
                             : cte__user_tag_by_id(store, id, tag, NULL, 0);
    return cte__observe_tag(store, start, CTE_OP_TAG_OPEN, status == CTE_OK ? tag->id : id, 0,
                            status);
}

/* Opens a handle by name, or (NULL) by id alone. */
static cte_status open_handle(cte_client *client, const char *name, enum cte__user_tag_find how,
                              uint64_t id, cte_tag **out)
{
    if (!out)
        return -EINVAL;
    cte_tag *tag = calloc(1, sizeof *tag);
    if (!tag)
        return -ENOMEM;
    cte_status status = cte__client_store(client, &tag->store);
    if (status == CTE_OK)
        status = open_tag(tag->store, name, how, id, &tag->tag);
    if (status == CTE_OK)
        *out = tag;
    else
        free(tag);
    return status;
}

cte_status cte_tag_open(cte_client *client, const char *name, bool create, cte_tag **out)
{
    cte_status status = cte__name_check(name);
    return status == CTE_OK
               ? open_handle(client, name, create ? CTE__USER_TAG_CREATE : CTE__USER_TAG_OPEN, 0,
                             out)
               : status;
}

cte_status cte_tag_create(cte_client *client, const char *name, cte_tag_id id, cte_tag **out)
{
    cte_status status = cte__name_check(name);
    return status == CTE_OK ? open_handle(client, name, CTE__USER_TAG_CREATE, public_id(id), out)
                            : status;
}

cte_status cte_tag_open_id(cte_client *client, cte_tag_id id, cte_tag **out)
{
    return open_handle(client, NULL, CTE__USER_TAG_OPEN, public_id(id), out);
}

cte_status cte_tag_find(cte_client *client, const char *name, cte_tag_id *id)
{
    struct cte__store *store;
    struct cte__user_tag tag;
    cte_status status = id ? cte__name_check(name) : -EINVAL;
    if (status == CTE_OK)
        status = cte__client_store(client, &store);
    if (status != CTE_OK)
        return status;
    uint64_t start = cte__observe_begin(store);
    status = cte__user_tag_open(store, name, CTE__USER_TAG_OPEN, &tag);
    if (status == CTE_OK)
        *id = cte__user_tag_id(&tag);
    return cte__observe_tag(store, start, CTE_OP_TAG_FIND, status == CTE_OK ? tag.id : 0, 0,
                            status);
}

cte_status cte_tag_name(cte_client *client, cte_tag_id id, char *name, size_t name_bytes)
{
    struct cte__store *store;
    struct cte__user_tag tag;
    if (!name || name_bytes == 0)
        return -EINVAL;
    cte_status status = cte__client_store(client, &store);
    return status == CTE_OK ? cte__user_tag_by_id(store, public_id(id), &tag, name, name_bytes)
                            : status;
}

void cte_tag_close(cte_tag *tag)
{
    free(tag);
}

cte_tag_id cte_tag_get_id(const cte_tag *tag)
{
    return cte__user_tag_id(&tag->tag);
}

cte_status cte_tag_size(cte_tag *tag, uint64_t *size_bytes)
{
    struct cte__name_list list = {0};
    if (!tag || !size_bytes)
        return -EINVAL;
    uint64_t total = 0, start = cte__observe_begin(tag->store);
    cte_status status = cte__user_tag_blobs(tag->store, &tag->tag, &list);
    for (size_t at = 0; at < list.bytes && status == CTE_OK; at += strlen(list.text + at) + 1) {
        struct cte__blob_key key = cte__user_blob_key(&tag->tag, list.text + at);
        cte_blob_info info;
        status = cte__user_blob_info(tag->store, &key, &info);
        if (status == CTE_OK)
            total += info.size_bytes;
        else if (status == CTE_ERR_NOT_FOUND)
            status = CTE_OK; /* deleted meanwhile */
    }
    free(list.text);
    *size_bytes = total;
    return cte__observe_tag(tag->store, start, CTE_OP_TAG_SIZE, tag->tag.id, total, status);
}

cte_status cte_tag_list(cte_tag *tag, cte_name_visitor visit, void *context)
{
    struct cte__name_list list = {0};
    if (!tag || !visit)
        return -EINVAL;
    uint64_t start = cte__observe_begin(tag->store);
    cte_status status = cte__user_tag_blobs(tag->store, &tag->tag, &list);
    cte__observe_tag(tag->store, start, CTE_OP_TAG_LIST, tag->tag.id, list.count, status);
    if (status == CTE_OK)
        status = visit_names(&list, visit, context);
    free(list.text);
    return status;
}

cte_status cte_tag_delete(cte_client *client, const char *name)
{
    struct cte__store *store;
    struct cte__user_tag tag;
    cte_status status = cte__name_check(name);
    if (status == CTE_OK)
        status = cte__client_store(client, &store);
    if (status != CTE_OK)
        return status;
    uint64_t start = cte__observe_begin(store);
    status = cte__user_tag_open(store, name, CTE__USER_TAG_BURY, &tag);
    uint64_t id = status == CTE_OK ? tag.id : 0;
    if (status == CTE_OK)
        status = finish_delete(store, name, &tag);
    return cte__observe_tag(store, start, CTE_OP_TAG_DELETE, id, 0, status);
}

cte_status cte_tag_delete_id(cte_client *client, cte_tag_id id)
{
    char name[CTE_BLOB_NAME_MAX + 1];
    struct cte__store *store;
    struct cte__user_tag tag;
    cte_status status = cte__client_store(client, &store);
    if (status != CTE_OK)
        return status;
    uint64_t start = cte__observe_begin(store);
    status = cte__user_tag_by_id(store, public_id(id), &tag, name, sizeof name);
    if (status == CTE_OK)
        status = cte__user_tag_open_id(store, name, CTE__USER_TAG_BURY, public_id(id), &tag);
    if (status == CTE_OK)
        status = finish_delete(store, name, &tag);
    return cte__observe_tag(store, start, CTE_OP_TAG_DELETE, public_id(id), 0, status);
}

cte_status cte__user_tag_names(struct cte__store *store, struct cte__name_list *list)
{
    struct listing listing = {.store = store, .list = list};
    return cte__tag_each(store, cte__tag_at(store, store->header->root_tag), add_tag, &listing);
}

cte_status cte_client_tags(cte_client *client, cte_name_visitor visit, void *context)
{
    struct cte__name_list list = {0};
    struct cte__store *store;
    if (!visit)
        return -EINVAL;
    cte_status status = cte__client_store(client, &store);
    if (status != CTE_OK)
        return status;
    status = cte__user_tag_names(store, &list);
    if (status == CTE_OK)
        status = visit_names(&list, visit, context);
    free(list.text);
    return status;
}
