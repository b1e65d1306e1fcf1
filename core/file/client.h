/* SPDX-License-Identifier: BSD-3-Clause */
/* A client as the file layer sees it. */
#ifndef CTE_CORE_FILE_CLIENT_H
#define CTE_CORE_FILE_CLIENT_H

#include <pthread.h>

#include "config/config.h"
#include "store/store.h"

/* A file that this process has open, by any number of handles. */
struct cte__open_file {
    struct cte__open_file *next;
    cte__unit tag;
    uint32_t handles;
    uint16_t owner; /* the opener noted in the record; a forked child has another */
    /* Draining meanwhile (drain_eager.c). */
    struct cte_file *writers; /* handles whose descriptors may be drained to */
    _Atomic uint32_t closers; /* handles that are being closed: they drain what is left */
    int pass_fd;              /* the descriptor the background thread drains to now, else -1 */
    bool pass_owns_fd;        /* its handle is closed, the thread closes it */
    uint64_t due_ns;          /* CLOCK_MONOTONIC: look again then; 0: when it is touched */
    uint64_t passed_ns;       /* when the last look was */
    _Atomic bool touched;     /* written to since the last look */
    _Atomic uint64_t bytes_drained; /* by the background thread of this process */
};

struct cte__background;

/* What the job that drains remembers. */
struct cte__eager {
    uint64_t sampled_ns, sampled_bytes; /* what had been written to the targets then */
    uint64_t pressed_ns;                /* when it last looked for free space */
    bool busy, stale, pressed, scarce;
    bool kept_turn; /* the next step is for a closed file, if one is due */
};

struct cte__organizer;

struct cte_client {
    struct cte__store *store;
    cte_config *config;
    struct cte__background *background; /* work beside the program */
    struct cte__organizer *organizer;   /* NULL: not configured */
    struct cte__eager eager;            /* the background thread's own */
    bool observer;                      /* closing drains nothing */
    _Atomic bool graced;                /* a signal drains its files (grace.c) */
    _Atomic uint32_t references;        /* the one who opened it, and each open file */
    pthread_mutex_t lock;      /* both lists; outermost: held while a file is opened or closed */
    pthread_cond_t pass_ended; /* with that lock: the background thread left a file */
    struct cte__open_file *open_files;
    struct cte__kept_file *kept_files; /* oldest first (kept.c); under the lock */
    uint32_t kept_count;
};

/* Attaches, making the store if `create`. */
cte_status cte__client_open(const cte_config *config, bool create, cte_client **out);

/* An open file keeps its client: closing the client then takes effect with the last file. */
void cte__client_retain(cte_client *client);
cte_status cte__client_release(cte_client *client);

/* Appends a line to the run summary, if one was asked for.  `client` NULL: the file was not
 * tracked. */
void cte__client_summarise(cte_client *client, const char *path, const cte_file_stats *stats);

#endif
