/* SPDX-License-Identifier: BSD-3-Clause */
/* What an access touches, which accesses may run at the same time, and what the file then holds. */
#ifndef CTE_TEST_PLAN_H
#define CTE_TEST_PLAN_H

#include "type.h"

enum { MAX_RANKS = 8 };

/* Where accesses may land: near the start, or around 4 GiB (sparse programs). */
static const int64_t ARENA_BYTES = 8 << 20;
static const int64_t HIGH_ARENA = (4ll << 30) - (1 << 20);

struct view {
    int64_t disp;
    struct type *etype;
    struct type *filetype;
};

/* One rank's transfer: `file` and `memory` carry the same bytes in the same order. */
struct access {
    int rank;
    bool write;
    bool view_contiguous;
    int64_t offset; /* in etypes */
    int64_t bytes;
    int64_t count; /* of `type` */
    struct type *type;
    struct runs file;
    struct runs memory;
    uint64_t salt; /* what the buffer is filled from */
};

void view_free(struct view *view);
/* File bytes of a transfer of `bytes` that starts `offset` etypes into the view. */
void view_map(const struct view *view, int64_t offset, int64_t bytes, struct runs *out);

void access_free(struct access *access);
/* Turns a transfer into one of nothing, at the same offset. */
void access_empty(struct access *access);
bool access_in_arena(const struct access *access);
/* First file byte behind the last one of the access; 0 if it touches nothing. */
int64_t access_end(const struct access *access);
/* A transfer that MPICH passes on as it is: no holes in view and memory type. */
bool access_plain(const struct access *access);

/* Accesses since the last synchronisation of the ranks. */
struct epoch {
    struct access_mark {
        int rank;
        bool write;
        struct runs file;
        int64_t low, high; /* bytes that may be rewritten with what they hold (data sieving) */
    } * marks;
    size_t count;
    size_t room;
    int64_t size_at_start;
    unsigned extended_by; /* bit per rank */
    unsigned size_read_by;
};

void epoch_start(struct epoch *epoch, int64_t size);
/* `sieve`: writes with holes may rewrite what lies between. */
bool epoch_conflict(const struct epoch *epoch, const struct access *access, bool sieve);
void epoch_add(struct epoch *epoch, const struct access *access, bool sieve);

/* Whether writes that MPICH may turn into read-modify-write of the whole span have a hole behind
   the end of the file: it fills such a hole with whatever is in its buffer. */
bool accesses_leave_gap(struct access *const *accesses, int count, int64_t size);

/* The bytes that the file must hold. */
struct shadow {
    unsigned char *arena[2];
    int64_t used[2]; /* bytes of the arena that may be nonzero */
    int64_t size;
};

void shadow_init(struct shadow *shadow);
void shadow_clear(struct shadow *shadow);
void shadow_free(struct shadow *shadow);
void shadow_resize(struct shadow *shadow, int64_t size);
void shadow_put(struct shadow *shadow, int64_t offset, const unsigned char *data, int64_t length);
unsigned char *shadow_at(struct shadow *shadow, int64_t offset);

#endif
