/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Tags and blobs: named byte arrays in the node's store, shared by its processes.
 *
 * A *tag* is a named set of *blobs*.  A blob is an array of bytes with POSIX semantics: a put of a
 * part keeps the rest, gaps read as zeros, the size is the end of the last byte put.  A put is seen
 * whole or not at all, by all processes of the node, as soon as it returned.
 *
 * Tags outlive the processes: a store that holds one is kept after the last client left, until
 * the tag is deleted or the store destroyed (`cte destroy`).
 *
 * Names are C strings of 1 to CTE_BLOB_NAME_MAX bytes, any bytes; others are -EINVAL or
 * -ENAMETOOLONG.  The *score*, 0 … 1, says how hot the data is: 1 asks for the fastest target.
 * One blob holds up to 16 TiB logically and about 4 GiB of stored bytes; more is -EFBIG or -ENOSPC.
 *
 * Thread rule: all functions are thread-safe, on one handle too, except cte_tag_close().
 * Error rule: see status.h.  A failed call leaves everything as it was.  Functions on a handle
 * whose tag was deleted return CTE_ERR_NOT_FOUND, also if a tag of the same name was made since.
 * Lifetime: close the tags of a client before the client.
 */
#ifndef CTE_BLOB_H
#define CTE_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cte/client.h>
#include <cte/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CTE_BLOB_NAME_MAX = 1024 };

typedef struct cte_tag cte_tag;

/** Identity of a tag; never given twice in the life of a store. */
typedef struct cte_tag_id {
    uint32_t major; /**< the node; 0 for the tags of this node */
    uint32_t minor; /**< counts */
} cte_tag_id;

/**
 * Called for each name; ends the listing by returning other than CTE_OK, which is passed on.
 * @param name  valid during the call
 */
typedef cte_status (*cte_name_visitor)(void *context, const char *name);

/* ---- tags ----------------------------------------------------------------------------------- */

/**
 * Gets a handle to a tag.
 * @param client  NULL: cte_client_default()
 * @param create  make the tag if there is none, else that is CTE_ERR_NOT_FOUND
 * @param out     receives the handle; free with cte_tag_close()
 */
cte_status cte_tag_open(cte_client *client, const char *name, bool create, cte_tag **out);

/** Frees a handle; the tag and its blobs stay.  NULL is fine. */
void cte_tag_close(cte_tag *tag);

cte_tag_id cte_tag_get_id(const cte_tag *tag);

/** Sum of the sizes of a tag's blobs; costs O(blobs). */
cte_status cte_tag_size(cte_tag *tag, uint64_t *size_bytes);

/**
 * Visits the names of a tag's blobs, in no order, as of the time of the call; costs O(blobs).
 * No lock is held: the visitor may call any function, also on this tag.
 */
cte_status cte_tag_list(cte_tag *tag, cte_name_visitor visit, void *context);

/** Deletes a tag with all its blobs.  @param client  NULL: cte_client_default() */
cte_status cte_tag_delete(cte_client *client, const char *name);

/** Visits the names of all tags of a store, as cte_tag_list().  @param client  NULL: the default */
cte_status cte_client_tags(cte_client *client, cte_name_visitor visit, void *context);

/* ---- blobs ---------------------------------------------------------------------------------- */

/** Flags of cte_blob_put(). */
enum {
    CTE_BLOB_REPLACE = 1 /**< afterwards the blob consists of these bytes only */
};

/**
 * Stores bytes [offset, offset + size) of a blob, making it if there is none.
 * Size 0 makes an empty blob, leaves an old one alone, or (CTE_BLOB_REPLACE) empties it.
 * @param score  0 … 1, becomes that of the whole blob
 * @return -ENOSPC if the targets cannot hold it, -EFBIG beyond the limits above, -EINVAL for a bad
 *         score, flag or pointer
 */
cte_status cte_blob_put(cte_tag *tag, const char *name, uint64_t offset, const void *data,
                        size_t size, float score, uint32_t flags);

/**
 * Reads bytes [offset, offset + size), all from one state of the blob; fewer past its end.
 * @param bytes_read  receives how many there were, 0 on error; the rest of `buffer` is unspecified.
 *                    NULL: less than `size` is an error, -ENODATA
 * @return CTE_ERR_CHECKSUM if stored bytes are damaged
 */
cte_status cte_blob_get(cte_tag *tag, const char *name, uint64_t offset, void *buffer, size_t size,
                        size_t *bytes_read);

/** Deletes a blob; its space is free when this returns. */
cte_status cte_blob_delete(cte_tag *tag, const char *name);

/** What is known of a blob. */
typedef struct cte_blob_info {
    uint64_t size_bytes;
    float score;
    uint64_t modified_ns; /**< last put: nanoseconds after 1970, UTC */
    uint64_t read_ns;     /**< last get; 0: never */
} cte_blob_info;

cte_status cte_blob_get_info(cte_tag *tag, const char *name, cte_blob_info *info);
cte_status cte_blob_size(cte_tag *tag, const char *name, uint64_t *size_bytes);
cte_status cte_blob_score(cte_tag *tag, const char *name, float *score);

#ifdef __cplusplus
}
#endif
#endif
