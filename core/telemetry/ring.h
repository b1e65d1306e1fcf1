/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ring of telemetry entries that many processes write and read, in a block of shared memory.
 *
 * The block has CTE__RING_LANES lanes; a thread writes to the lane that its process and its own
 * number give it, so it touches cache lines that nobody else writes, unless there are more threads
 * than lanes.  Writers never wait: a slot is claimed by one fetch-and-add on the lane's head,
 * filled between two stores of its sequence word, and overwritten a lap later, whoever left it in
 * whatever state.  Two writers may be in one slot (one was stopped for a lap): a check word tells a
 * mixture from an entry.
 *
 * Entries are ordered by the processor's time stamp counter, which all processors of the node share
 * (CLOCK_MONOTONIC where they do not).  A writer takes its stamp after its claim.  So a reader that
 * takes a stamp first and looks at the heads then has seen the claims of all entries up to that
 * stamp: what it returns up to there is final, no older entry can come.
 *
 * Dying between claim and publish leaves a slot that readers give up after a moment and count.
 */
#ifndef CTE_CORE_TELEMETRY_RING_H
#define CTE_CORE_TELEMETRY_RING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include <cte/telemetry.h>

#include "base/util.h"

enum {
    CTE__RING_LANES = 128,
    CTE__RING_ENTRIES_MIN = 64,
    CTE__RING_ENTRIES_MAX = 1 << 20,
    CTE__RING_CURSORS = 4,
};

/* What a writer says of an operation; the rest is noted (cte__ring_notes). */
struct cte__ring_event {
    uint64_t offset, size;
    uint64_t tag_id, blob_id;
    cte_status status;
    uint8_t op;
};

/* The words of an entry, each written and read by itself. */
enum cte__ring_word {
    CTE__RING_END, /* ticks */
    CTE__RING_DURATION,
    CTE__RING_WHAT, /* status << 32 | target << 8 | op */
    CTE__RING_OFFSET,
    CTE__RING_SIZE,
    CTE__RING_TAG,
    CTE__RING_BLOB,
    CTE__RING_MODIFIED,
    CTE__RING_READ,
    CTE__RING_WHO, /* rank << 32 | pid */
    CTE__RING_WORDS
};

struct cte__ring_slot {
    _Atomic uint64_t
        sequence;           /* 2 × index + 1 while it is filled, + 2 when it is whole; 0: never */
    _Atomic uint64_t check; /* of the words and the index */
    _Atomic uint64_t words[CTE__RING_WORDS];
};

struct cte__ring_lane {
    _Alignas(128) _Atomic uint64_t head; /* index of the next claim */
    _Atomic uint64_t refused;            /* entries there was no memory for */
    _Atomic uint32_t backed;             /* its slots have memory behind them */
};

struct cte__ring_block {
    uint64_t start_ticks;
    uint64_t start_ns; /* CLOCK_MONOTONIC at the same moment */
    uint32_t entries;  /* per lane, a power of two */
    uint32_t use_tsc;
    struct cte__ring_lane lanes[CTE__RING_LANES];
    /* then slots, lane after lane */
};

/* A position in every lane: what a poll that returned `logical_time` last had passed. */
struct cte__ring_cursor {
    uint64_t logical_time; /* 0: the cursor is free */
    uint64_t next[CTE__RING_LANES];
    uint64_t refused;
};

/* The ring as one process sees it. */
struct cte__ring {
    struct cte__ring_block *block; /* NULL: there is none */
    bool enabled;                  /* this process records */
    bool use_tsc;
    uint32_t mask;  /* entries - 1 */
    uint64_t start; /* ticks */
    struct cte__ring_slot *slots;
    /* Gives memory to bytes [offset, offset + bytes) of the block; CTE_OK if it has. */
    cte_status (*back)(void *context, uint64_t offset, uint64_t bytes);
    void *context;
    _Atomic uint64_t
        identity; /* of the process: as cte__ring_event wants it, see cte__ring_end() */
    _Atomic uint64_t who;
    pthread_mutex_t lock; /* the cursors */
    struct cte__ring_cursor cursors[CTE__RING_CURSORS];
    uint32_t cursor_next;
};

/* Size of a block, and of its front part, which must have memory behind it from the start;
 * `entries` per lane is a power of two from CTE__RING_ENTRIES_MIN to _MAX. */
uint64_t cte__ring_bytes(uint32_t entries);
uint64_t cte__ring_fixed_bytes(void);

/* Makes the block of a new ring; its memory is zeros. */
void cte__ring_format(void *block, uint32_t entries);

/* Looks at a block that has `bytes` at most.  False if it is none. */
bool cte__ring_open(struct cte__ring *ring, void *block, uint64_t bytes, bool enabled,
                    cte_status (*back)(void *context, uint64_t offset, uint64_t bytes),
                    void *context);
void cte__ring_close(struct cte__ring *ring);

/* What the layers below learn in passing about the operation that this thread is in. */
struct cte__ring_notes {
    uint64_t modified_ns, read_ns; /* of the blob; 0: not known */
    uint8_t target;
};

enum { CTE__RING_UNTOUCHED = CTE_TELEMETRY_NO_TARGET - 1 };

extern _Thread_local struct cte__ring_notes cte__ring_notes
    __attribute__((tls_model("initial-exec")));

/* Bytes moved to or from a target. */
static inline void cte__ring_note_target(uint32_t target)
{
    uint8_t *noted = &cte__ring_notes.target;
    *noted = *noted == CTE__RING_UNTOUCHED || *noted == target ? (uint8_t)target
                                                               : CTE_TELEMETRY_NO_TARGET;
}

/* A blob is known to have these times. */
static inline void cte__ring_note_times(uint64_t modified_ns, uint64_t read_ns)
{
    cte__ring_notes.modified_ns = modified_ns;
    cte__ring_notes.read_ns = read_ns;
}

static inline uint64_t cte__ring_ticks(bool use_tsc)
{
#if defined(__x86_64__)
    if (use_tsc)
        return __rdtsc();
#endif
    (void)use_tsc;
    return cte__monotonic_ns();
}

/* When an operation begins: 0 if this process records nothing. */
static inline uint64_t cte__ring_begin(const struct cte__ring *ring)
{
    if (!ring->enabled)
        return 0;
    cte__ring_notes = (struct cte__ring_notes){.target = CTE__RING_UNTOUCHED};
    return cte__ring_ticks(ring->use_tsc);
}

/* Records an operation that began at `start`, which is not 0.
 * @param identity  changes when the process becomes another by fork; its lower half numbers the
 *                  processes of the store */
void cte__ring_end(struct cte__ring *ring, uint64_t identity, uint64_t start,
                   const struct cte__ring_event *event);

/* As cte_telemetry_poll(). */
cte_status cte__ring_poll(struct cte__ring *ring, uint64_t logical_time,
                          cte_telemetry_entry *entries, size_t capacity, size_t *count,
                          uint64_t *dropped);

#endif
