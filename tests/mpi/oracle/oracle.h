/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A consistency oracle for MPI-IO.
 *
 * The ranks run random overlapping accesses to one file in batches.  All ranks derive the whole
 * batch from the seed, so that each knows what the others write and what is ordered before what (by
 * the order of a rank's own calls, by messages, by collective writes).  What a read may find
 * follows from that:
 *
 *  - always: of the writes to a byte that are not ordered after the read, any that no other write
 * stands after and before the read; what the byte held before only if no write to it is ordered
 * before;
 *  - in atomic mode: all accesses of the batch fit into one sequence.
 *
 * After each batch all ranks read everything, must find the same, and that is what the next starts
 * from.
 */
#ifndef CTE_TESTS_MPI_ORACLE_H
#define CTE_TESTS_MPI_ORACLE_H

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

#include "../differential/rng.h"

enum {
    RANKS_MAX = 8,
    OPS_MAX = 63, /* with the look at everything at the end, a word of bits */
    EVENTS_MAX = 4 * OPS_MAX,
    BLOCKS_MAX = 3,
    SPAN = 160 << 10, /* the bytes of the file that are accessed: some of the smallest chunks */
    OLD = OPS_MAX,    /* stands for the write of what was there before the batch */
    BATCHES_PER_VIEW = 4,
    HOLE = 0, /* the value of bytes that nobody wrote; 1 … 7 are nobody's */
    FIRST_VALUE = 8,
};

enum op_kind { OP_WRITE, OP_READ, OP_SIZE };
enum op_call { CALL_AT, CALL_SEEK, CALL_LATER, CALL_ALL };

struct op {
    enum op_kind kind;
    enum op_call call;
    int rank;
    int64_t offset; /* in bytes of the rank's view */
    int count;
    uint8_t value;
    uint64_t before; /* the operations that are ordered before this one */
};

/* A view of a rank: blocks of a tile that is repeated; one endless block without tiles. */
struct view {
    int blocks, tile_bytes, data_bytes;
    int start[BLOCKS_MAX], length[BLOCKS_MAX];
};

enum event_kind { EVENT_RUN, EVENT_WAIT, EVENT_SEND, EVENT_RECEIVE, EVENT_SYNC };

struct event {
    enum event_kind kind;
    int subject; /* operation, or the other rank */
};

struct batch {
    uint64_t number;
    bool atomic, sync_at_end, cut;
    int64_t new_size; /* if cut: where set_size() ends the span's bytes, negative: size 0 */
    int ops, syncs;
    struct op op[OPS_MAX];
    struct view view[RANKS_MAX];
    int events[RANKS_MAX];
    struct event event[RANKS_MAX][EVENTS_MAX];
};

/* What the file holds between batches; positions are relative to the base. */
struct model {
    uint64_t seed;
    int ranks;
    MPI_Offset base;
    MPI_Offset size; /* of the file */
    uint8_t old[SPAN];
};

/* The span's position of a view's byte. */
int64_t view_position(const struct view *view, int64_t offset);
bool view_is_contiguous(const struct view *view);

/* The batch of that number after what the model holds; cut is applied to the model. */
void plan_batch(struct model *model, uint64_t number, struct batch *batch);

/* The byte that a write of `value` puts at a position, and back; values 1 … 7 tell a foreign byte.
 */
uint8_t encode(uint8_t value, int64_t position);
uint8_t decode(uint8_t byte, int64_t position);

/* What reads found: by reader (OPS_MAX is the look at everything) and write, all writes to those
 * bytes. */
struct findings {
    uint64_t others[OPS_MAX + 1][OPS_MAX + 1];
};

/* Which writes of a batch go to which byte, and by which value. */
struct cover {
    uint64_t writes[SPAN];
    uint8_t writer[256];
    MPI_Offset end[OPS_MAX]; /* of the file after that write alone */
};

void cover_batch(const struct model *model, const struct batch *batch, struct cover *cover);

/* NULL, or what is wrong with a byte that a reader found. */
const char *check_byte(const struct model *model, const struct batch *batch,
                       const struct cover *cover, int reader, int64_t position, uint8_t byte,
                       struct findings *findings);

/* The bounds of the file's size as a reader may meet it. */
void size_bounds(const struct model *model, const struct batch *batch, const struct cover *cover,
                 int reader, MPI_Offset *low, MPI_Offset *high);

enum verdict { FITS, FITS_NOT, UNDECIDED };

/* Do all accesses of the batch fit into one sequence that explains all findings? */
enum verdict find_sequence(const struct batch *batch, const struct findings *findings);

#endif
