/* SPDX-License-Identifier: BSD-3-Clause */
/* How far a transfer got in its iovec: `skip` bytes into element `index`. */
#ifndef CTE_CORE_TARGET_CURSOR_H
#define CTE_CORE_TARGET_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>

struct cte__cursor {
    const struct iovec *iov;
    int count;
    int index;
    size_t skip;
};

/* Goes on by `bytes`, and over empty elements. */
static inline void cte__cursor_advance(struct cte__cursor *at, size_t bytes)
{
    at->skip += bytes;
    while (at->index < at->count && at->skip >= at->iov[at->index].iov_len)
        at->skip -= at->iov[at->index++].iov_len;
}

/* A cursor at the first byte: an empty first element must not look like the end. */
static inline struct cte__cursor cte__cursor_begin(const struct iovec *iov, int count)
{
    struct cte__cursor at = {.iov = iov, .count = count};
    cte__cursor_advance(&at, 0);
    return at;
}

/* The rest of the current element. */
static inline char *cte__cursor_memory(const struct cte__cursor *at, size_t *bytes)
{
    *bytes = at->iov[at->index].iov_len - at->skip;
    return (char *)at->iov[at->index].iov_base + at->skip;
}

/* Copies `bytes` between the iovec's memory and `other`, and advances. */
static inline void cte__cursor_copy(struct cte__cursor *at, void *other, size_t bytes, bool gather)
{
    char *flat = other;
    while (bytes > 0) {
        size_t piece;
        char *memory = cte__cursor_memory(at, &piece);
        if (piece > bytes)
            piece = bytes;
        memcpy(gather ? flat : memory, gather ? memory : flat, piece);
        flat += piece;
        bytes -= piece;
        cte__cursor_advance(at, piece);
    }
}

#endif
