/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clean data that outlives the last close of its file, and when it may be believed afterwards.
 *
 * The real file belongs to everybody.  Clean data is used at the next open only if nobody but cte
 * changed the file since: if its times, size, inode and birth are those of its mark, and the mark
 * is certain.  Times have a grain: two changes within one tick of the file system's clock look like
 * one.  So a mark is certain
 *  - after changes by others, when it was a tick old before any byte was read: cte__fill_begin()
 *    keeps nothing that is read earlier;
 *  - after changes by cte, when the file was given a time between two ticks, which no later change
 *    can have by accident: cte__retain_settle() does that while the file is being closed.
 * What others change while the file is open through cte is promised to nobody; but as soon as it is
 * seen, clean data is given up.
 */
#ifndef CTE_CORE_FILE_RETAIN_H
#define CTE_CORE_FILE_RETAIN_H

#include <sys/stat.h>

#include "blob/blob.h"
#include "file/file_internal.h"
#include "store/store.h"

/* True if the clean data of a file that nobody had open equals the real file, which is as `st`
 * says.  The record is locked. */
bool cte__retained_is_valid(const struct cte__file_state *file, const struct stat *st);

/* True if others changed the real file of a file that is open.  The record is locked. */
bool cte__retained_is_stale(const struct cte__file_state *file, const struct stat *st);

/* Makes the mark certain.  False: clean data of the file is not to be retained.  The record is
 * locked. */
bool cte__retain_settle(struct cte__store *store, cte__unit tag, int fd);

/* Keeping what is read from the real file as clean data of its chunks. */
struct cte__fill {
    struct cte__store *store;
    cte__unit tag;
    int fd;
    float score;
    uint64_t changes; /* of the real file by cte, when the fill began */
    bool keep;        /* what is read may be kept */
    bool wanted;      /* copies were asked for: targets need not keep room for new data */
    cte_status kept;  /* what became of the last piece that was to be kept */
};

/* To be called before each read from the real file whose bytes are to be kept. */
void cte__fill_begin(struct cte__fill *fill);

/* Reads a piece of a chunk from the real file, zeros behind its end, and keeps the pages it lies in
 * where the store has nothing.  That they cannot be kept is no error. */
cte_status cte__fill_read(struct cte__fill *fill, uint64_t chunk, const struct cte__piece *piece);

#endif
