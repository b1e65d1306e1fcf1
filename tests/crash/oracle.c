/* SPDX-License-Identifier: BSD-3-Clause */
#include "oracle.h"

#include "store_helpers.h"

#include <sys/mman.h>

void *oracle_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

void oracle_fill(const struct oracle_change *change, unsigned char *bytes)
{
    uint64_t word = 0, state = change->seed;
    for (uint64_t i = 0; i < change->length; i++) {
        if (i % 8 == 0)
            word = test_random(&state);
        bytes[i] = (unsigned char)(word >> (i % 8 * 8));
    }
}

static void apply(struct oracle *oracle)
{
    const struct oracle_change *change = &oracle->change;
    uint64_t end = change->offset + change->length, size = end;
    if (change->kind == ORACLE_PUT) {
        oracle_fill(change, oracle->bytes + change->offset);
        size = oracle->size > end ? oracle->size : end;
    } else if (change->kind == ORACLE_REPLACE) {
        memset(oracle->bytes, 0, change->offset);
        oracle_fill(change, oracle->bytes + change->offset);
        memset(oracle->bytes + end, 0, ORACLE_BYTES - end);
    } else {
        size = change->kind == ORACLE_TRUNCATE ? change->offset : 0;
        memset(oracle->bytes + size, 0, ORACLE_BYTES - size);
    }
    oracle->size = size;
    oracle->exists = change->kind != ORACLE_REMOVE;
}

void oracle_note(struct oracle *oracle, const struct oracle_change *change)
{
    oracle->change = *change;
    atomic_store(&oracle->phase, ORACLE_NOTED);
}

void oracle_done(struct oracle *oracle)
{
    /* Dying while applying it is fine: it is applied again. */
    atomic_store(&oracle->phase, ORACLE_RETURNED);
    apply(oracle);
    atomic_store(&oracle->phase, ORACLE_IDLE);
}

void oracle_refused(struct oracle *oracle)
{
    atomic_store(&oracle->phase, ORACLE_IDLE);
}

static bool matches(const struct oracle *oracle, bool exists, uint64_t size,
                    const unsigned char *bytes)
{
    return oracle->exists == exists &&
           (!exists || (oracle->size == size && memcmp(oracle->bytes, bytes, size) == 0));
}

/* A pwrite(2) to the real file that dies in the middle leaves what it got done, its size included.
 */
static bool is_mixed(const struct oracle *old, const struct oracle *new, uint64_t size,
                     const unsigned char *bytes)
{
    bool between = old->change.kind == ORACLE_PUT && size > old->size && size < new->size;
    if (size != old->size && size != new->size && !between)
        return false;
    for (uint64_t i = 0; i < size; i++)
        if (bytes[i] != old->bytes[i] && bytes[i] != new->bytes[i])
            return false;
    return true;
}

enum oracle_verdict oracle_judge(struct oracle *oracle, bool exists, uint64_t size,
                                 const unsigned char *bytes)
{
    static struct oracle new;
    int phase = atomic_load(&oracle->phase);
    if (phase == ORACLE_RETURNED)
        oracle_done(oracle);
    if (matches(oracle, exists, size, bytes)) {
        atomic_store(&oracle->phase, ORACLE_IDLE);
        return ORACLE_IS_OLD;
    }
    if (phase != ORACLE_NOTED)
        return ORACLE_IS_WRONG;
    memcpy(&new, oracle, sizeof new);
    apply(&new);
    if (matches(&new, exists, size, bytes)) {
        oracle_done(oracle);
        return ORACLE_IS_NEW;
    }
    return exists && is_mixed(oracle, &new, size, bytes) ? ORACLE_IS_MIXED : ORACLE_IS_WRONG;
}
