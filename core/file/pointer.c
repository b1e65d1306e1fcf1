/* SPDX-License-Identifier: BSD-3-Clause */
/* File pointers that processes share, in the file's record. */
#include "file/pointer.h"

#include <assert.h>
#include <errno.h>

static struct cte__shared_pointer *pointers_of(const cte_file *file)
{
    return cte__tag_at(file->client->store, file->tag)->file.shared;
}

cte_status cte_file_pointer_claim(cte_file *file, uint32_t *number)
{
    if (!file->client)
        return -ENOTSUP;
    if (file->pointer_claimed != 0)
        return -EEXIST;
    struct cte__shared_pointer *pointers = pointers_of(file);
    uint16_t self = cte__store_self(file->client->store);
    for (uint32_t i = 0; i < CTE__SHARED_POINTERS; i++) {
        uint32_t free = 0;
        if (!atomic_compare_exchange_strong(&pointers[i].taken, &free, self))
            continue;
        atomic_store(&pointers[i].position, 0);
        file->pointer_claimed = i + 1;
        *number = i;
        return CTE_OK;
    }
    return -EBUSY;
}

void cte__pointer_release(cte_file *file)
{
    if (file->pointer_claimed != 0)
        atomic_store(&pointers_of(file)[file->pointer_claimed - 1].taken, 0);
    file->pointer_claimed = 0;
}

void cte__pointers_reset(struct cte__file_state *state)
{
    for (uint32_t i = 0; i < CTE__SHARED_POINTERS; i++)
        atomic_store(&state->shared[i].taken, 0);
}

uint64_t cte_file_pointer_advance(cte_file *file, uint32_t number, uint64_t distance)
{
    assert(file->client && number < CTE__SHARED_POINTERS);
    return atomic_fetch_add(&pointers_of(file)[number].position, distance);
}

void cte_file_pointer_set(cte_file *file, uint32_t number, uint64_t position)
{
    assert(file->client && number < CTE__SHARED_POINTERS);
    atomic_store(&pointers_of(file)[number].position, position);
}
