/* SPDX-License-Identifier: BSD-3-Clause */
/* What a blob or file must hold, in memory that outlives the process that changes it.
 *
 * One process at a time changes a thing.  It notes the change before it makes it and again once the
 * call has returned, so whoever looks after its death knows: noted and returned is new, noted only
 * is old or new, as a whole. */
#ifndef CTE_TESTS_CRASH_ORACLE_H
#define CTE_TESTS_CRASH_ORACLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ORACLE_BYTES = 192 << 10 };

enum oracle_phase { ORACLE_IDLE, ORACLE_NOTED, ORACLE_RETURNED };

enum oracle_kind { ORACLE_PUT, ORACLE_REPLACE, ORACLE_REMOVE, ORACLE_TRUNCATE };

struct oracle_change {
    enum oracle_kind kind;
    uint64_t offset; /* TRUNCATE: the size */
    uint64_t length;
    uint64_t seed; /* of the bytes put */
};

struct oracle {
    _Atomic int phase;
    bool exists;
    uint64_t size;
    struct oracle_change change;
    unsigned char bytes[ORACLE_BYTES]; /* zeros behind the size */
};

/* Memory shared with children. */
void *oracle_memory(size_t bytes);

/* The bytes that a change puts. */
void oracle_fill(const struct oracle_change *change, unsigned char *bytes);

void oracle_note(struct oracle *oracle, const struct oracle_change *change);
/* The noted change returned: done, or refused. */
void oracle_done(struct oracle *oracle);
void oracle_refused(struct oracle *oracle);

enum oracle_verdict { ORACLE_IS_OLD, ORACLE_IS_NEW, ORACLE_IS_MIXED, ORACLE_IS_WRONG };

/* Compares a thing with its oracle after the death of its process.  Old and new become the oracle's
 * state.  MIXED: only bytes of the noted change differ, and each is old or new. */
enum oracle_verdict oracle_judge(struct oracle *oracle, bool exists, uint64_t size,
                                 const unsigned char *bytes);

#endif
