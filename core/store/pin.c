/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/pin.h"

#include <errno.h>

enum { NO_BUFFER = 0, BUFFER_OPEN = 1, BUFFER_CLOSED = 2 };

void cte__pins_lock(struct cte__store *store)
{
    /* The table is whole after each store; what a dead holder left undone the sweep does. */
    if (cte__mutex_lock(&store->header->pin_lock))
        atomic_store(&store->header->sweep_wanted, 1);
}

void cte__pins_unlock(struct cte__store *store)
{
    cte__mutex_unlock(&store->header->pin_lock);
}

static uint16_t owner_of(const struct cte__pin *pin)
{
    return atomic_load_explicit(&pin->owner, memory_order_relaxed);
}

/* Notes a pin; the lock is held.  The count grows before the pin is there, and shrinks after it is
 * gone, so that a death in between leaves it too high, never too low. */
static cte_status note(struct cte__store *store, cte__page page, uint32_t count, bool buffer,
                       uint32_t *number)
{
    struct cte__store_header *header = store->header;
    uint32_t i = 0;
    while (i < header->pins_end && owner_of(&header->pins[i]) != 0)
        i++;
    if (i == CTE__PINS_MAX)
        return -EMFILE;
    struct cte__pin *pin = &header->pins[i];
    pin->page = page;
    pin->count = count;
    pin->buffer = buffer ? BUFFER_OPEN : NO_BUFFER;
    pin->generation++;
    atomic_fetch_add(&header->pin_count, 1);
    if (i == header->pins_end)
        header->pins_end = i + 1;
    atomic_store(&pin->owner, cte__store_self(store));
    *number = i;
    return CTE_OK;
}

static void forget(struct cte__store *store, struct cte__pin *pin)
{
    struct cte__store_header *header = store->header;
    atomic_store(&pin->owner, 0);
    atomic_fetch_sub(&header->pin_count, 1);
    while (header->pins_end > 0 && owner_of(&header->pins[header->pins_end - 1]) == 0)
        header->pins_end--;
}

/* The first of the pages [page, end) that are alike: *end is where their likes end, and the answer
 * tells whether they are pinned. */
static bool pinned_run(const struct cte__store *store, cte__page page, cte__page *end)
{
    const struct cte__store_header *header = store->header;
    for (uint32_t i = 0; i < header->pins_end; i++) {
        const struct cte__pin *pin = &header->pins[i];
        cte__page pin_end = pin->page + pin->count;
        if (owner_of(pin) == 0 || pin->buffer != NO_BUFFER || pin_end <= page || pin->page >= *end)
            continue;
        if (pin->page <= page) {
            *end = pin_end < *end ? pin_end : *end;
            return true;
        }
        *end = pin->page;
    }
    return false;
}

bool cte__page_is_pinned(const struct cte__store *store, cte__page page)
{
    cte__page end = page + 1;
    return pinned_run(store, page, &end);
}

void cte__pages_unpublish(struct cte__store *store, cte__page page, uint32_t count)
{
    if (atomic_load_explicit(&store->header->pin_count, memory_order_relaxed) == 0) {
        cte__pages_free(store, page, count);
        return;
    }
    cte__page last = page + count;
    cte__pins_lock(store);
    for (cte__page at = page, end; at < last; at = end) {
        end = last;
        if (pinned_run(store, at, &end))
            cte__pages_own(store, CTE__OWNER_PINNED, at, (uint32_t)(end - at));
        else
            cte__pages_free(store, at, (uint32_t)(end - at));
    }
    cte__pins_unlock(store);
}

/* Frees those of the pages that only pins kept, and none does any more; the lock is held. */
static void free_unpinned(struct cte__store *store, cte__page page, uint32_t count)
{
    cte__page last = page + count;
    for (cte__page at = page, end; at < last; at = end) {
        end = last;
        if (!pinned_run(store, at, &end))
            cte__pages_reclaim(store, CTE__OWNER_PINNED, at, (uint32_t)(end - at));
    }
}

cte_status cte__pin_pages(struct cte__store *store, cte__page page, uint32_t count, bool buffer,
                          uint32_t *pin)
{
    cte__pins_lock(store);
    cte_status status = note(store, page, count, buffer, pin);
    cte__pins_unlock(store);
    return status;
}

uint32_t cte__pin_generation(const struct cte__store *store, uint32_t pin)
{
    return store->header->pins[pin].generation;
}

cte_status cte__pin_buffer(struct cte__store *store, uint32_t buffer, uint32_t generation,
                           struct cte__page_run *run, uint32_t *pin)
{
    cte_status status = CTE_ERR_NOT_FOUND;
    if (buffer >= CTE__PINS_MAX)
        return -EINVAL;
    if (cte__store_self(store) == 0)
        return -EUSERS;
    cte__pins_lock(store);
    const struct cte__pin *shared = &store->header->pins[buffer];
    if (owner_of(shared) != 0 && shared->buffer == BUFFER_OPEN &&
        shared->generation == generation) {
        *run = (struct cte__page_run){shared->page, shared->count};
        status = note(store, run->page, run->count, false, pin);
    }
    cte__pins_unlock(store);
    return status;
}

void cte__pin_close(struct cte__store *store, uint32_t buffer, bool closed)
{
    cte__pins_lock(store);
    store->header->pins[buffer].buffer = closed ? BUFFER_CLOSED : BUFFER_OPEN;
    cte__pins_unlock(store);
}

void cte__pin_release(struct cte__store *store, uint32_t number)
{
    struct cte__pin *pin = &store->header->pins[number];
    uint16_t self = cte__store_self(store);
    cte__pins_lock(store);
    if (owner_of(pin) == self) {
        cte__page page = pin->page;
        uint32_t count = pin->count;
        forget(store, pin);
        free_unpinned(store, page, count);
    }
    cte__pins_unlock(store);
}

void cte__pins_leave(struct cte__store *store, uint16_t owner)
{
    if (atomic_load(&store->header->pin_count) == 0)
        return;
    cte__pins_lock(store);
    for (uint32_t i = store->header->pins_end; i-- > 0;) {
        struct cte__pin *pin = &store->header->pins[i];
        if (owner_of(pin) != owner)
            continue;
        cte__page page = pin->page, last = page + pin->count;
        bool buffer = pin->buffer != NO_BUFFER;
        forget(store, pin);
        for (cte__page at = page, end; buffer && at < last; at = end) {
            end = last;
            if (pinned_run(store, at, &end))
                cte__pages_own(store, CTE__OWNER_PINNED, at, (uint32_t)(end - at));
            else
                cte__pages_reclaim(store, owner, at, (uint32_t)(end - at));
        }
        if (!buffer)
            free_unpinned(store, page, (uint32_t)(last - page));
    }
    cte__pins_unlock(store);
}

void cte__pins_forget_dead(struct cte__store *store, const bool *dead)
{
    struct cte__store_header *header = store->header;
    uint32_t count = 0;
    for (uint32_t i = header->pins_end; i-- > 0;) {
        struct cte__pin *pin = &header->pins[i];
        uint16_t owner = owner_of(pin);
        if (owner != 0 && dead[owner])
            forget(store, pin);
        else
            count += owner != 0;
    }
    atomic_store(&header->pin_count, count); /* too high after a death between two steps */
}
