/* SPDX-License-Identifier: BSD-3-Clause */
/* Every blob and every piece of a file that a store holds, one after the other. */
#ifndef CTE_CORE_FILE_WALK_H
#define CTE_CORE_FILE_WALK_H

#include "file/inspect.h"

struct cte__walked {
    const char *owner;      /* path of the file, or name of the tag */
    const char *name;       /* of the blob; NULL: a piece of a file */
    uint64_t file_offset;   /* of that piece */
    uint64_t device, inode; /* of that file */
    struct cte__blob_key key;
};

struct cte__walk {
    /* The file, if it is one, is held meanwhile: nobody opens, closes or cuts it. */
    cte_status (*visit)(void *context, const struct cte__walked *blob);
    /* After each visit, with nothing held: may sleep, or call whom it likes; NULL: nothing to do */
    cte_status (*after)(void *context, const struct cte__walked *blob);
    void *context;
    const char *path; /* this file alone; NULL: all files and tags */
};

/* Stops at the first error. */
cte_status cte__walk_blobs(cte_client *client, const struct cte__walk *walk);

#endif
