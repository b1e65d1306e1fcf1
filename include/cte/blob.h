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
 * One blob holds up to 16 TiB (more is -EFBIG), in at most some 170,000 pieces that do not lie side by
 * side in a target (then -ENOSPC; replacing it as a whole brings them together).
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

/** Identity of a tag.  One that the store gives is never given twice in its life. {0, 0} is none. */
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

/**
 * Gets a handle to a tag, made with an id of the program's choice if there is none.
 * @param id  {0, 0}: any, as cte_tag_open() with `create`
 * @return -EEXIST: there is a tag of this name with another id, or another tag has the id
 */
cte_status cte_tag_create(cte_client *client, const char *name, cte_tag_id id, cte_tag **out);

/** Gets a handle to the tag that has an id; CTE_ERR_NOT_FOUND.  Costs O(tags of the store). */
cte_status cte_tag_open_id(cte_client *client, cte_tag_id id, cte_tag **out);

/** Looks up the id of a tag by its name; CTE_ERR_NOT_FOUND. */
cte_status cte_tag_find(cte_client *client, const char *name, cte_tag_id *id);

/** Looks up the name of a tag by its id, as cte_tag_open_id().
 *  @param name_bytes  room in `name`, CTE_BLOB_NAME_MAX + 1 is enough; -ERANGE if it is not */
cte_status cte_tag_name(cte_client *client, cte_tag_id id, char *name, size_t name_bytes);

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

/** The same by its id; costs O(tags) besides. */
cte_status cte_tag_delete_id(cte_client *client, cte_tag_id id);

/** Visits the names of all tags of a store, as cte_tag_list().  @param client  NULL: the default */
cte_status cte_client_tags(cte_client *client, cte_name_visitor visit, void *context);

/* ---- blobs ---------------------------------------------------------------------------------- */

/** Flags of cte_blob_put(); CTE_BLOB_REPLACE also of cte_blob_rename(). */
enum {
    CTE_BLOB_REPLACE = 1,  /**< afterwards the blob consists of these bytes only */
    CTE_BLOB_EXCLUSIVE = 2 /**< if there is such a blob, -EEXIST and nothing else happens; of several
                                who put it at a time one succeeds */
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
 * Stores bytes behind the last byte of a blob, making it if there is none.  Of several who append at
 * a time each gets a range of its own, none overlaps, and no gap is between them.
 * @param offset  receives where the bytes begin: the size the blob had; may be NULL
 * @return as cte_blob_put()
 */
cte_status cte_blob_append(cte_tag *tag, const char *name, const void *data, size_t size,
                           float score, uint64_t *offset);

/**
 * Reads bytes [offset, offset + size), all from one state of the blob; fewer past its end.
 * @param bytes_read  receives how many there were, 0 on error; the rest of `buffer` is unspecified.
 *                    NULL: less than `size` is an error, -ENODATA
 * @return CTE_ERR_CHECKSUM if stored bytes are damaged
 */
cte_status cte_blob_get(cte_tag *tag, const char *name, uint64_t offset, void *buffer, size_t size,
                        size_t *bytes_read);

/**
 * Gives a blob another name; its bytes, score and times stay.  At any time it is seen under one of
 * the two names, also if the process dies in between.  The same name changes nothing.
 * @param flags  CTE_BLOB_REPLACE: a blob that has the new name is deleted by the same step
 * @return -EEXIST: there is one, and the flag is not given
 */
cte_status cte_blob_rename(cte_tag *tag, const char *name, const char *new_name, uint32_t flags);

/** As cte_blob_rename(), into another tag; -EXDEV: one of another store. */
cte_status cte_blob_move(cte_tag *tag, const char *name, cte_tag *new_tag, const char *new_name,
                         uint32_t flags);

/** Deletes a blob; its space is free when this returns. */
cte_status cte_blob_delete(cte_tag *tag, const char *name);

/* ---- what is known of a blob ---------------------------------------------------------------- */

typedef struct cte_blob_info {
    uint64_t size_bytes;
    float score;
    uint64_t modified_ns; /**< last change of its bytes: nanoseconds after 1970, UTC */
    uint64_t read_ns;     /**< last get; 0: never */
} cte_blob_info;

cte_status cte_blob_get_info(cte_tag *tag, const char *name, cte_blob_info *info);
cte_status cte_blob_size(cte_tag *tag, const char *name, uint64_t *size_bytes);
cte_status cte_blob_score(cte_tag *tag, const char *name, float *score);

/** Consecutive bytes of a blob at consecutive bytes of a target. */
typedef struct cte_blob_block {
    char target[256];       /**< as cte_target_info.name; "": a small blob in the store's own memory */
    uint64_t target_offset; /**< bytes from the target's start; 0 in the store's own memory */
    uint64_t blob_offset;   /**< bytes from the blob's start */
    uint64_t size_bytes;
} cte_blob_block;

/**
 * Lists where a blob's bytes lie, ascending by blob_offset; gaps are zeros that take no space.
 * As of the time of the call: any later put or reorganize may move them.
 * @param blocks    array of `capacity` elements, may be NULL if capacity is 0
 * @param count     receives the number of blocks, also if it is above `capacity`
 */
cte_status cte_blob_blocks(cte_tag *tag, const char *name, cte_blob_block *blocks,
                           uint32_t capacity, uint32_t *count);

enum { CTE_BLOB_TARGETS_MAX = 16 };

/** Where a blob lies after cte_blob_reorganize(). */
typedef struct cte_blob_report {
    uint64_t size_bytes;
    uint64_t bytes_moved; /**< copied to another target by this call; whole pages of 4096 */
    float score;
    uint32_t target_count; /**< targets that really hold the blob; 0: it is empty, or so small that
                                the store's own memory holds it */
    struct {
        char name[256];      /**< as cte_target_info.name */
        uint64_t bytes_used; /**< whole pages of 4096 */
    } targets[CTE_BLOB_TARGETS_MAX];
} cte_blob_report;

/**
 * Gives a blob a score, and moves it where the placement engine puts such a blob now.  Nothing
 * moves if it lies there already.  Readers and writers go on meanwhile.  A target that has no room
 * is passed over as in a put: the report tells where the blob really lies.
 * @param new_score  0 … 1
 * @param report     may be NULL
 * @return CTE_ERR_CHECKSUM: stored bytes are damaged; -ENOSPC: others took the room meanwhile.
 *         Score and place are as before on every error
 */
cte_status cte_blob_reorganize(cte_tag *tag, const char *name, float new_score,
                               cte_blob_report *report);

/* ---- queries -------------------------------------------------------------------------------- */

/** Whose tags are meant.  As long as the nodes of a job do not share their names, both mean those
 *  of this node. */
typedef enum cte_query_scope { CTE_QUERY_LOCAL, CTE_QUERY_GLOBAL } cte_query_scope;

/** Called for each match with no lock held; see cte_name_visitor. */
typedef cte_status (*cte_tag_visitor)(void *context, const char *tag, cte_tag_id id);
typedef cte_status (*cte_blob_visitor)(void *context, const char *tag, const char *blob);

/**
 * Visits the tags whose name matches, in no order, as of the time of the call.
 * @param client  NULL: cte_client_default()
 * @param regex   POSIX extended regular expression, found anywhere in the name: ^ and $ anchor it;
 *                one that is not valid is -EINVAL and logged with the reason
 * @param max     stop after so many; 0: no limit
 */
cte_status cte_tag_query(cte_client *client, const char *regex, cte_query_scope scope, uint64_t max,
                         cte_tag_visitor visit, void *context);

/** Visits the blobs whose name matches in the tags whose name matches, as cte_tag_query(). */
cte_status cte_blob_query(cte_client *client, const char *tag_regex, const char *blob_regex,
                          cte_query_scope scope, uint64_t max, cte_blob_visitor visit,
                          void *context);

/** Visits the blobs of one tag whose name matches, as cte_tag_query(). */
cte_status cte_tag_list_matching(cte_tag *tag, const char *regex, uint64_t max,
                                 cte_name_visitor visit, void *context);

#ifdef __cplusplus
}
#endif
#endif
