/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking at files of the store that this process need not have open. */
#ifndef CTE_CORE_FILE_INSPECT_H
#define CTE_CORE_FILE_INSPECT_H

#include "file/tracked.h"

/* A growing list of names of file records; free(names). */
struct cte__file_names {
    struct cte__file_identity *names;
    size_t count, capacity;
};

cte_status cte__file_names(struct cte__store *store, struct cte__file_names *names);

/* True if any process has set the file's state up; an opener alone may be somebody who looks. */
bool cte__file_is_joined(const struct cte__file_state *file);

/* A record that is held still: nobody opens, closes or cuts the file meanwhile.  Puts and drains go
 * on. */
struct cte__held_file {
    cte_client *client;
    struct cte__tag_record *record;
    cte__unit tag;
    uint16_t self;
    bool locked;
    bool open_here; /* this client has the file open besides */
};

/* Only keeps the record: others open, close and cut the file meanwhile.  The client is locked until
 * cte__file_release(). */
cte_status cte__file_enter(cte_client *client, const struct cte__file_identity *name,
                           struct cte__held_file *held);

/* CTE_ERR_NOT_FOUND if the record is gone; after success cte__file_release() must follow. */
cte_status cte__file_hold(cte_client *client, const struct cte__file_identity *name,
                          struct cte__held_file *held);
void cte__file_release(struct cte__held_file *held);

#endif
