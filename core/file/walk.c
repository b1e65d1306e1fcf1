/* SPDX-License-Identifier: BSD-3-Clause */
#include "file/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blob/tag.h"

static cte_status after(const struct cte__walk *walk, const struct cte__walked *blob)
{
    return walk->after ? walk->after(walk->context, blob) : CTE_OK;
}

/* What stays the same of a file as long as it has a record. */
struct file {
    const struct cte__file_identity *name;
    char *path;
    uint64_t chunk_bytes;
    uint64_t *chunks;
    size_t count;
};

/* CTE_OK with no chunks if the file is gone, or not asked for. */
static cte_status list_chunks(cte_client *client, const struct cte__walk *walk, struct file *file)
{
    struct cte__held_file held;
    cte_status status = cte__file_hold(client, file->name, &held);
    if (status != CTE_OK)
        return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
    if (!walk->path || strcmp(walk->path, held.record->path) == 0) {
        file->path = strdup(held.record->path);
        file->chunk_bytes = held.record->chunk_bytes;
        status = file->path
                     ? cte__tracked_chunks(client->store, held.tag, &file->chunks, &file->count)
                     : -ENOMEM;
    }
    cte__file_release(&held);
    return status;
}

/* The file is held for one chunk at a time. */
static cte_status walk_chunk(cte_client *client, const struct cte__walk *walk,
                             const struct file *file, uint64_t chunk)
{
    struct cte__held_file held;
    cte_status status = cte__file_hold(client, file->name, &held);
    if (status != CTE_OK)
        return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
    struct cte__walked blob = {.owner = file->path,
                               .file_offset = chunk * file->chunk_bytes,
                               .device = file->name->device,
                               .inode = file->name->inode,
                               .key = cte__chunk_key(held.tag, &chunk)};
    status = walk->visit(walk->context, &blob);
    cte__file_release(&held);
    return status == CTE_OK ? after(walk, &blob) : status;
}

static cte_status walk_file(cte_client *client, const struct cte__walk *walk,
                            const struct cte__file_identity *name)
{
    struct file file = {.name = name};
    cte_status status = list_chunks(client, walk, &file);
    for (size_t i = 0; i < file.count && status == CTE_OK; i++)
        status = walk_chunk(client, walk, &file, file.chunks[i]);
    free(file.chunks);
    free(file.path);
    return status;
}

static cte_status walk_files(cte_client *client, const struct cte__walk *walk)
{
    struct cte__file_names names = {0};
    cte_status status = cte__file_names(client->store, &names);
    for (size_t i = 0; i < names.count && status == CTE_OK; i++)
        status = walk_file(client, walk, &names.names[i]);
    free(names.names);
    return status;
}

static cte_status walk_tag(cte_client *client, const struct cte__walk *walk, const char *name)
{
    struct cte__user_tag tag;
    struct cte__name_list list = {0};
    cte_status status = cte__user_tag_open(client->store, name, CTE__USER_TAG_OPEN, &tag);
    if (status == CTE_OK)
        status = cte__user_tag_blobs(client->store, &tag, &list);
    for (size_t at = 0; at < list.bytes && status == CTE_OK; at += strlen(list.text + at) + 1) {
        struct cte__walked blob = {
            .owner = name, .name = list.text + at, .key = cte__user_blob_key(&tag, list.text + at)};
        status = walk->visit(walk->context, &blob);
        if (status == CTE_OK)
            status = after(walk, &blob);
    }
    free(list.text);
    return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
}

static cte_status walk_tags(cte_client *client, const struct cte__walk *walk)
{
    struct cte__name_list list = {0};
    cte_status status = cte__user_tag_names(client->store, &list);
    for (size_t at = 0; at < list.bytes && status == CTE_OK; at += strlen(list.text + at) + 1)
        status = walk_tag(client, walk, list.text + at);
    free(list.text);
    return status;
}

cte_status cte__walk_blobs(cte_client *client, const struct cte__walk *walk)
{
    cte_status status = walk_files(client, walk);
    return status == CTE_OK && !walk->path ? walk_tags(client, walk) : status;
}
