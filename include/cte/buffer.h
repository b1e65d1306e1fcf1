/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Blobs without copies: views of stored bytes, and buffers that become blobs.
 *
 * A *view* shows bytes of a blob as they are now, where they lie.  Later puts, moves and deletes of
 * the blob do not change what it shows: the bytes stay in place until the view is released, and
 * count as used.  A *buffer* is memory of the store that a program fills in place; other processes
 * may look at it, and cte_blob_put_buffer() makes it a blob.
 *
 * Both need a target in memory.  Where a view cannot show the bytes in place, because they lie on a
 * disk, in several pieces, or beside the metadata (small blobs), it is a private copy.
 *
 * Thread rule: all functions are thread-safe; one view or buffer is used by one thread at a time.
 * Error rule: see status.h.
 * Lifetime: views and buffers end before their client; what a process leaves behind when it dies is
 * taken back.  A forked child must not use those of its parent.
 */
#ifndef CTE_BUFFER_H
#define CTE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cte/blob.h>
#include <cte/client.h>
#include <cte/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Bytes to look at.  Only data, size_bytes and copied are for programs. */
typedef struct cte_view {
    const void *data;  /**< only to be read; writing there damages the store or crashes */
    size_t size_bytes;
    bool copied;       /**< a private copy; false: the stored bytes themselves */
    uint32_t pin;      /**< the library's */
    void *held;        /**< the library's */
} cte_view;

/**
 * Shows bytes [offset, offset + size) of a blob, all from one state of it; fewer past its end.  Their
 * checksums are verified.
 * @param view  filled; end with cte_view_release()
 * @return CTE_ERR_CHECKSUM: stored bytes are damaged
 */
cte_status cte_blob_view(cte_tag *tag, const char *name, uint64_t offset, size_t size,
                         cte_view *view);

/** Ends a view.  NULL, and one that was released, is fine. */
void cte_view_release(cte_view *view);

typedef struct cte_buffer cte_buffer;

/**
 * Allocates memory of the store, with whatever bytes were there before.
 * @param size  bytes, above 0; at most what one arena of the target holds: a 16th of its capacity, and
 *              256 MiB in any case (-ENOSPC beyond)
 * @param out   receives the buffer; end with cte_buffer_free() or cte_blob_put_buffer()
 * @return -ENOSPC: no target in memory has so much in a row; -ENOTSUP: there is no such target
 */
cte_status cte_buffer_alloc(cte_client *client, size_t size, cte_buffer **out);

/** The buffer's memory, aligned to 4096 bytes. */
void *cte_buffer_data(cte_buffer *buffer);
size_t cte_buffer_size(const cte_buffer *buffer);

/** Ends a buffer; those who imported it still see its bytes.  NULL is fine. */
void cte_buffer_free(cte_buffer *buffer);

/** Names a buffer to other processes of the store: plain data, to be sent as it is. */
typedef struct cte_buffer_handle {
    uint64_t store;
    uint64_t size_bytes;
    uint32_t place;
    uint32_t generation;
} cte_buffer_handle;

cte_status cte_buffer_export(const cte_buffer *buffer, cte_buffer_handle *handle);

/**
 * Shows a buffer of another process (or of this one).  What its owner writes later may be seen or
 * not; programs agree by messages when it is filled.
 * @param view  filled; end with cte_view_release()
 * @return CTE_ERR_NOT_FOUND: the buffer is no more, or has become a blob; -EXDEV: of another store
 */
cte_status cte_buffer_import(cte_client *client, const cte_buffer_handle *handle, cte_view *view);

/**
 * Makes the first `size` bytes of a buffer the whole contents of a blob, without copying them.  The
 * rest of the buffer is freed.  Its memory must not be written any more.
 * @param buffer  of the tag's client; consumed on success, as it was on error
 * @param score   0 … 1, becomes that of the blob
 * @param flags   CTE_BLOB_REPLACE is implied; CTE_BLOB_EXCLUSIVE as in cte_blob_put()
 */
cte_status cte_blob_put_buffer(cte_tag *tag, const char *name, cte_buffer *buffer, size_t size,
                               float score, uint32_t flags);

#ifdef __cplusplus
}
#endif
#endif
