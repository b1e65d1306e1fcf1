/* SPDX-License-Identifier: BSD-3-Clause */
/* Keeping copies of the real file's bytes: as a put, but below what is stored, and only as long as
 * they are the real file's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "blob/change.h"

struct clean_put {
    struct cte__store *store;
    const struct cte__clean_pages *pages;
    struct cte__page_run *runs; /* claimed pages */
    uint32_t run_count;
    uint32_t *checksums; /* one per page */
};

static void clean_put_free(struct clean_put *put)
{
    for (uint32_t r = 0; r < put->run_count; r++)
        cte__pages_free(put->store, put->runs[r].page, put->runs[r].count);
    free(put->runs);
    free(put->checksums);
}

/* Fills claimed pages with those from number `first` on. */
static cte_status fill_run(struct clean_put *put, uint32_t first, const struct cte__page_run *run)
{
    struct iovec iov = {(char *)put->pages->bytes + cte__pages_to_bytes(first),
                        cte__pages_to_bytes(run->count)};
    uint32_t *sums = put->checksums + first;
    if (!put->store->checksum)
        return cte__pages_io(put->store, true, run->page, 0, &iov, 1, iov.iov_len);
    cte_status status =
        cte__pages_io_summed(put->store, true, run->page, &iov, 1, iov.iov_len, sums);
    for (uint32_t i = 0; i < run->count; i++)
        sums[i] = cte__checksum_of_sum(sums[i], put->pages->first + first + i);
    return status;
}

static cte_status fill(struct clean_put *put)
{
    const struct cte__clean_pages *pages = put->pages;
    uint32_t first = 0;
    put->runs = malloc(pages->count * sizeof *put->runs);
    put->checksums = calloc(pages->count, sizeof *put->checksums);
    if (!put->runs || !put->checksums)
        return -ENOMEM;
    cte_status status = cte__pages_claim(put->store, pages->count, pages->score, pages->skip,
                                         put->runs, pages->count, &put->run_count);
    for (uint32_t r = 0; r < put->run_count && status == CTE_OK; r++) {
        status = fill_run(put, first, &put->runs[r]);
        first += put->runs[r].count;
    }
    return status;
}

static cte_status add_fresh(struct clean_put *put, struct cte__change *change)
{
    cte_status status = CTE_OK;
    uint32_t first = 0;
    for (uint32_t r = 0; r < put->run_count && status == CTE_OK; r++) {
        struct cte__span span = {.index = put->pages->first + first,
                                 .page = put->runs[r].page,
                                 .count = put->runs[r].count,
                                 .state = CTE__PAGE_CLEAN,
                                 .checksums = put->checksums + first,
                                 .fresh = true};
        status = cte__change_add(change, &span);
        first += put->runs[r].count;
    }
    return status;
}

/* The locked chunk as it is, and the fresh pages in between. */
static cte_status assemble(struct clean_put *put, struct cte__change *change)
{
    uint64_t first = put->pages->first, end = first + put->pages->count;
    cte_status status = CTE_OK;
    size_t i = 0;
    for (; i < change->old.count && change->old.spans[i].index < first && status == CTE_OK; i++) {
        if (change->old.spans[i].index + change->old.spans[i].count > first)
            return -EEXIST;
        status = cte__change_keep(change, &change->old.spans[i]);
    }
    if (status == CTE_OK && i < change->old.count && change->old.spans[i].index < end)
        return -EEXIST;
    if (status == CTE_OK)
        status = add_fresh(put, change);
    for (; i < change->old.count && status == CTE_OK; i++)
        status = cte__change_keep(change, &change->old.spans[i]);
    return status;
}

static cte_status publish(struct clean_put *put, struct cte__change *change)
{
    const struct cte__clean_pages *pages = put->pages;
    cte_status status = assemble(put, change);
    if (status != CTE_OK)
        return status;
    /* Whoever makes the bytes old from here on finds them in the chunk when it locks that. */
    if (!pages->holds(pages->context))
        return -ESTALE;
    change->size_bytes =
        cte__max(change->size_bytes, cte__pages_to_bytes(pages->first + pages->count));
    change->score = change->entry != 0 ? cte__max(change->score, pages->score) : pages->score;
    status = cte__change_commit(change);
    if (status == CTE_OK)
        put->run_count = 0; /* the chunk has them now */
    return status;
}

cte_status cte__blob_put_clean(struct cte__store *store, const struct cte__blob_key *key,
                               const struct cte__clean_pages *pages)
{
    struct clean_put put = {.store = store, .pages = pages};
    struct cte__change change;
    cte__store_sweep_if_wanted(store);
    cte_status status = fill(&put);
    if (status == CTE_OK)
        status =
            cte__change_begin_range(&change, store, key, pages->first, pages->first + pages->count);
    if (status == CTE_OK) {
        status = publish(&put, &change);
        cte__change_end(&change);
    }
    clean_put_free(&put);
    return status;
}
