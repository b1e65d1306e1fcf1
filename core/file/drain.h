/* SPDX-License-Identifier: BSD-3-Clause */
/* Bringing dirty bytes to the real files. */
#ifndef CTE_CORE_FILE_DRAIN_H
#define CTE_CORE_FILE_DRAIN_H

#include <cte/store.h>

#include "file/background.h"
#include "file/tracked.h"

/* Drains a file to `fd`, as far as others do not do so at the same time; waits for them.  `bytes`
 * receives what this call wrote.  The first error; what failed stays dirty.
 * @param background  whose gate the caller has closed, to be opened while it waits; or NULL */
cte_status cte__drain(cte_client *client, cte__unit tag, int fd, struct cte__background *background,
                      uint64_t *bytes);

/* Chunks of a file on their way to the real file.  Between begin and end the file's record must
 * live and `fd` stay open. */
struct cte__drain {
    cte_client *client;
    cte__unit tag;
    int fd;
    struct cte__background *background; /* whose gate is closed; NULL: none */
    bool drop;                          /* what has become clean leaves the store */

    /* Results. */
    uint64_t bytes;         /* written, and clean now */
    cte_status first_error; /* said in the log */
    bool stopped;           /* the real file refuses writes: nothing more is tried */

    struct cte__store *store;
    struct cte__tag_record *record;
    bool durable; /* nothing is clean before it is on the PFS's disks */
    char *buffer; /* of window_bytes */
    uint64_t window_bytes;
    struct cte__drain_pending *pending; /* written, not marked clean yet */
    size_t pending_count, pending_capacity;
    uint64_t pending_bytes;
    struct cte__piece_list chunk_ranges; /* dirty ones of a chunk; offsets in it */
    struct cte__piece_list ranges; /* of a window; offsets from its start, bytes in `buffer` */
};

/* The first four members are set, the others 0. */
cte_status cte__drain_begin(struct cte__drain *drain);
void cte__drain_end(struct cte__drain *drain);

/* Drains chunks, ascending, all of one lane, which is locked. */
void cte__drain_chunks(struct cte__drain *drain, const uint64_t *chunks, size_t count);

/* How many of the first chunks can be drained with one lane locked, and are well written together:
 * those of a window, or of a lane up to a limit if they must be durable. */
size_t cte__drain_group(const struct cte__drain *drain, const uint64_t *chunks, size_t count);

/* The order that cte__drain_group() wants. */
void cte__drain_sort(const struct cte__drain *drain, uint64_t *chunks, size_t count);

/* True for file systems that may report what went wrong with a write only when it is synced: those
 * of the network. */
bool cte__drain_reports_late(int fd);

/* Counts bytes that went to real files; returns how long to wait to stay below the configured
 * bandwidth, which all processes of the node share (drain_pace.c). */
uint64_t cte__drain_pace(struct cte__store *store, uint64_t bytes, uint64_t bytes_per_s_max);

/* Who waits for a drain says so now and then; the others then leave the PFS to him. */
void cte__drain_hurry(struct cte__store *store);
bool cte__drain_is_hurried(struct cte__store *store);

/* What became of a file's background draining is kept until somebody can be told.  A failure is
 * told once, however often it is repeated, unless a later try succeeds. */
void cte__drain_note(struct cte__file_state *file, cte_status status);
cte_status cte__drain_take_failure(struct cte__file_state *file);

/* ---- while files are open (drain_eager.c) --------------------------------------------------- */

extern const struct cte__background_job cte__drain_job; /* its context is a client */

/* A handle is open: lets the file be drained to its descriptor, if it may be. */
void cte__eager_join(cte_file *file);

/* The handle's policy is another one. */
void cte__eager_adapt(cte_file *file);

/* The file was written to. */
void cte__eager_touch(cte_file *file);

/* The handle is being closed: leave the file alone.  Returns when nobody drains to its descriptor,
 * but for a file that is to be drained later (`async`): then the thread may keep it. */
void cte__eager_close(cte_file *file);

/* Before the handle leaves the record; its descriptor may be gone afterwards (fd is -1). */
void cte__eager_leave(cte_file *file);

/* ---- files that nobody has open (drain_unopened.c) ------------------------------------------ */

/* A file to be drained that this process need not have open. */
struct cte__closed_file {
    const char *path;
    int fd;
    cte_file_mode mode;
    cte_file_drain_policy drain;
};

/* Opens it as any program does, so that nobody takes its record away meanwhile, and drains it; the
 * rest as cte__drain(). */
cte_status cte__drain_closed(cte_client *client, const struct cte__closed_file *file,
                             struct cte__background *background, uint64_t *bytes);

struct cte__drain_request {
    const char *path; /* only this one; NULL: all */
    bool force;       /* also those whose policy is `never`, and that were changed by others */
    bool durable;     /* what was drained is synced */
    bool leaving;     /* the client is closed: files that are not where they were are for others */
};

/* Drains and forgets the files that nobody has open: what `async` left, or a process that died.
 * Drops what is kept of deleted ones.
 * @param visit  told of each file; may be NULL */
typedef cte_status (*cte__drained_visitor)(void *context, const cte_store_drained *drained);
cte_status cte__drain_unopened_each(cte_client *client, const struct cte__drain_request *request,
                                    cte__drained_visitor visit, void *context);

#endif
