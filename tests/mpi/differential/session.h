/* SPDX-License-Identifier: BSD-3-Clause */
/* A group of ranks that works on one file; all of them know what each of them will do. */
#ifndef CTE_TEST_SESSION_H
#define CTE_TEST_SESSION_H

#include "plan.h"

struct handle {
    MPI_File file;
    bool open;
    bool alone; /* opened with MPI_COMM_SELF by each rank of the group */
    int amode;
    bool sieve;     /* noncontiguous writes may use data sieving */
    bool two_phase; /* collective writes always use collective buffering */
    bool same_view;
    bool sole; /* no second handle yet: MPICH lets handles of one file share the shared pointer */
    bool atomic;
    struct view view[MAX_RANKS];
    int64_t position[MAX_RANKS]; /* individual pointers, in etypes */
    int64_t shared;
};

enum { HANDLES = 2 };

struct session {
    struct rng random;
    MPI_Comm comm;
    int rank;
    int ranks;
    bool alone; /* handles are opened with MPI_COMM_SELF */
    char path[4200];
    int64_t region; /* accesses start below */
    int64_t most;   /* bytes of one access */
    int64_t base;   /* where the region starts: 0 or near 4 GiB */
    struct handle handles[HANDLES];
    struct shadow shadow;
    struct epoch epoch;
};

/* Handles and views (handles.c). */
bool handle_open(struct session *s, struct handle *h, bool again);
void handle_close(struct session *s, struct handle *h);
void handle_set_view(struct session *s, struct handle *h);
bool handle_may(const struct handle *h, bool write);
bool handle_may_share_pointer(const struct handle *h);

/* Data transfers (transfer.c). */
void op_independent(struct session *s, struct handle *h);
void op_collective(struct session *s, struct handle *h);
void op_batch(struct session *s, struct handle *h);
void op_shared(struct session *s, struct handle *h);

/* Everything else (queries.c). */
void op_query(struct session *s, struct handle *h);
void op_seek(struct session *s, struct handle *h);
void op_resize(struct session *s, struct handle *h);
void op_atomicity(struct session *s, struct handle *h);

/* Hints, error handlers, names and other files (attributes.c). */
void op_attributes(struct session *s, struct handle *h);

/* A view in another data representation, for a while (external.c). */
void op_external(struct session *s, struct handle *h);

/* Calls that must fail (misuse.c). */
void op_misuse(struct session *s, struct handle *h);

/* Lets all ranks see what each has done: a barrier, or sync-barrier-sync. */
void boundary(struct session *s);
/* Before a rank asks for the file's size. */
void settle_size(struct session *s);

/* Runs program `seed` on all of MPI_COMM_WORLD, files in `directory` (program.c). */
void program_run(struct session *s, const char *directory, uint64_t seed, bool keep);

#endif
