/* SPDX-License-Identifier: BSD-3-Clause */
/* Changes of a blob that move no bytes: forgetting, marking clean, removing. */
#include <errno.h>
#include <stdlib.h>

#include "blob/blob.h"
#include "blob/change.h"
#include "blob/verify.h"

enum verdict { KEEP, DROP, CLEAN, EACH_PAGE };

struct edit {
    /* What becomes of a span of whole pages; EACH_PAGE: ask for each. */
    enum verdict (*span)(const struct edit *edit, const struct cte__span *span);
    /* What becomes of a page: its new run list, NULL for unchanged.  An empty list drops the page.
     */
    cte_status (*page)(struct edit *edit, const struct cte__span *page,
                       struct cte__run_list **list);
    const struct cte__snapshot *snapshot;
    bool same_version;
    uint64_t start, end;
    const struct cte__verified *verified;
    const struct cte__store *store;
    struct cte__run_lists run_lists;
    bool same_bytes; /* what the file reads as does not change: neither does the blob's time */
    bool changed;
};

/* The runs of a page, also of one that is valid as a whole. */
static const struct cte__run *runs_of(const struct edit *edit, const struct cte__span *page,
                                      struct cte__run *whole, uint32_t *count)
{
    if (page->state == CTE__PAGE_PARTIAL) {
        const struct cte__runs *runs = cte__unit_at(edit->store, page->runs);
        *count = runs->count;
        return runs->run;
    }
    *whole = cte__run_make(0, CTE__PAGE_BYTES, page->state == CTE__PAGE_DIRTY, page->page,
                           page->checksums[0]);
    *count = 1;
    return whole;
}

static cte_status apply_page(struct cte__change *change, struct edit *edit,
                             const struct cte__span *page)
{
    struct cte__run_list *list = NULL;
    cte_status status = edit->page(edit, page, &list);
    if (status != CTE_OK)
        return status;
    if (!list)
        return cte__change_keep(change, page);
    edit->changed = true;
    if (list->count == 0)
        return cte__change_drop(change, page);
    return cte__change_restate(change, page, list);
}

static cte_status apply_span(struct cte__change *change, struct edit *edit,
                             const struct cte__span *span)
{
    struct cte__span cleaned = *span;
    cte_status status = CTE_OK;
    enum verdict verdict = span->state == CTE__PAGE_PARTIAL ? EACH_PAGE : edit->span(edit, span);
    edit->changed = edit->changed || verdict == DROP || verdict == CLEAN;
    switch (verdict) {
    case KEEP:
        return cte__change_keep(change, span);
    case DROP:
        return cte__change_drop(change, span);
    case CLEAN:
        cleaned.state = CTE__PAGE_CLEAN;
        return cte__change_keep(change, &cleaned);
    case EACH_PAGE:
        break;
    }
    for (uint32_t n = 0; n < span->count && status == CTE_OK; n++) {
        struct cte__span page = cte__span_part(span, n, 1);
        status = apply_page(change, edit, &page);
    }
    return status;
}

/* Applies an edit to each span of a blob and publishes the result, if anything changed. */
static cte_status apply(struct cte__store *store, const struct cte__blob_key *key,
                        struct edit *edit)
{
    struct cte__change change;
    bool removed = false;
    cte__store_sweep_if_wanted(store);
    cte_status status = cte__change_begin(&change, store, key);
    if (status != CTE_OK)
        return status;
    edit->store = store;
    edit->same_version = edit->snapshot && !edit->snapshot->partly &&
                         edit->snapshot->entry == change.entry &&
                         edit->snapshot->version == change.version;
    if (edit->same_bytes && change.entry != 0)
        change.modified_ns = cte__entry_at(store, change.entry)->modified_ns;
    for (size_t i = 0; i < change.old.count && status == CTE_OK; i++)
        status = apply_span(&change, edit, &change.old.spans[i]);
    if (status == CTE_OK && edit->changed) {
        removed = change.new.count == 0;
        if (removed)
            cte__change_remove(&change);
        else
            status = cte__change_commit(&change);
    }
    cte__change_end(&change);
    cte__run_lists_free(&edit->run_lists);
    if (removed)
        cte__tag_reap(store, cte__tag_at(store, key->tag), false);
    return status;
}

static enum verdict trim_span(const struct edit *edit, const struct cte__span *span)
{
    uint64_t start = cte__pages_to_bytes(span->index);
    uint64_t end = cte__pages_to_bytes(span->index + span->count);
    if (end <= edit->start || start >= edit->end)
        return KEEP;
    return start >= edit->start && end <= edit->end ? DROP : EACH_PAGE;
}

static cte_status trim_page(struct edit *edit, const struct cte__span *page,
                            struct cte__run_list **list)
{
    uint64_t page_start = cte__pages_to_bytes(page->index);
    uint64_t start = cte__max(edit->start, page_start);
    uint64_t end = cte__min(edit->end, page_start + CTE__PAGE_BYTES);
    struct cte__run whole;
    uint32_t count;
    if (start >= end)
        return CTE_OK;
    const struct cte__run *runs = runs_of(edit, page, &whole, &count);
    *list = cte__run_list_new(&edit->run_lists, count + 1);
    if (!*list)
        return -ENOMEM;
    cte__runs_cut(runs, count, (uint32_t)(start - page_start), (uint32_t)(end - page_start), *list);
    return CTE_OK;
}

cte_status cte__blob_trim(struct cte__store *store, const struct cte__blob_key *key, uint64_t start,
                          uint64_t end)
{
    struct edit edit = {.span = trim_span, .page = trim_page, .start = start, .end = end};
    return apply(store, key, &edit);
}

/* True if the page holds the same bytes as in the snapshot: see merge_is_current() in put_pages.c.
 */
static bool same_page(const struct edit *edit, const struct cte__span *page)
{
    const struct cte__span_list *list = &edit->snapshot->list;
    size_t i = cte__span_find(list, page->index);
    if (i == list->count || list->spans[i].index > page->index)
        return false;
    if (edit->same_version)
        return true;
    struct cte__span before =
        cte__span_part(&list->spans[i], (uint32_t)(page->index - list->spans[i].index), 1);
    return cte__same_page(edit->store, &before, page);
}

static bool covers_page(const struct cte__run_list *list)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < list->count && list->run[i].start == at; i++)
        at = cte__run_end(list->run[i]);
    return at == CTE__PAGE_BYTES;
}

static enum verdict clean_span(const struct edit *edit, const struct cte__span *span)
{
    if (span->state == CTE__PAGE_CLEAN)
        return KEEP;
    return edit->same_version ? CLEAN : EACH_PAGE;
}

static cte_status clean_page(struct edit *edit, const struct cte__span *page,
                             struct cte__run_list **list)
{
    if (!same_page(edit, page) || page->state == CTE__PAGE_CLEAN)
        return CTE_OK;
    struct cte__run whole;
    uint32_t count;
    const struct cte__run *runs = runs_of(edit, page, &whole, &count);
    *list = cte__run_list_new(&edit->run_lists, count);
    if (!*list)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        cte__run_list_append(*list, cte__run_make(runs[i].start, cte__run_end(runs[i]), false,
                                                  runs[i].page, runs[i].checksum));
    /* Clean bytes of an incomplete page are worth less than the page: the real file has them. */
    if (!covers_page(*list))
        (*list)->count = 0;
    return CTE_OK;
}

cte_status cte__blob_mark_clean(struct cte__store *store, const struct cte__blob_key *key,
                                const struct cte__snapshot *snapshot)
{
    struct edit edit = {
        .span = clean_span, .page = clean_page, .snapshot = snapshot, .same_bytes = true};
    return apply(store, key, &edit);
}

static enum verdict drop_clean_span(const struct edit *edit, const struct cte__span *span)
{
    (void)edit;
    return span->state == CTE__PAGE_CLEAN ? DROP : KEEP;
}

static cte_status drop_clean_page(struct edit *edit, const struct cte__span *page,
                                  struct cte__run_list **list)
{
    struct cte__run whole;
    uint32_t count, clean = 0;
    const struct cte__run *runs = runs_of(edit, page, &whole, &count);
    for (uint32_t i = 0; i < count; i++)
        clean += !cte__run_dirty(runs[i]);
    if (clean == 0)
        return CTE_OK;
    *list = cte__run_list_new(&edit->run_lists, count);
    if (!*list)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        if (cte__run_dirty(runs[i]))
            cte__run_list_append(*list, runs[i]);
    return CTE_OK;
}

cte_status cte__blob_drop_clean(struct cte__store *store, const struct cte__blob_key *key)
{
    struct edit edit = {.span = drop_clean_span, .page = drop_clean_page, .same_bytes = true};
    return apply(store, key, &edit);
}

/* True if a verification found page `page` of the target damaged, where page `index` of the blob
 * lies. */
static bool is_damaged(const struct edit *edit, uint64_t index, cte__page page)
{
    const struct cte__verified *verified = edit->verified;
    uint64_t start = cte__pages_to_bytes(index), end = start + CTE__PAGE_BYTES;
    for (size_t i = 0; i < verified->bad_count; i++) {
        const struct cte__bad_bytes *bad = &verified->bad[i];
        if (bad->offset >= end || bad->offset + bad->length <= start)
            continue;
        if (bad->page + (index - (bad->offset >> CTE__PAGE_SHIFT)) == page)
            return true;
    }
    return false;
}

static enum verdict drop_damaged_span(const struct edit *edit, const struct cte__span *span)
{
    if (span->state != CTE__PAGE_CLEAN)
        return KEEP;
    for (uint32_t i = 0; i < span->count; i++)
        if (is_damaged(edit, span->index + i, span->page + i))
            return EACH_PAGE;
    return KEEP;
}

static cte_status drop_damaged_page(struct edit *edit, const struct cte__span *page,
                                    struct cte__run_list **list)
{
    struct cte__run whole;
    uint32_t count, damaged = 0;
    if (!same_page(edit, page))
        return CTE_OK;
    const struct cte__run *runs = runs_of(edit, page, &whole, &count);
    for (uint32_t i = 0; i < count; i++)
        damaged += !cte__run_dirty(runs[i]) && is_damaged(edit, page->index, runs[i].page);
    if (damaged == 0)
        return CTE_OK;
    *list = cte__run_list_new(&edit->run_lists, count);
    if (!*list)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        if (cte__run_dirty(runs[i]) || !is_damaged(edit, page->index, runs[i].page))
            cte__run_list_append(*list, runs[i]);
    return CTE_OK;
}

cte_status cte__blob_drop_damaged(struct cte__store *store, const struct cte__blob_key *key,
                                  const struct cte__snapshot *snapshot,
                                  const struct cte__verified *verified)
{
    struct edit edit = {.span = drop_damaged_span,
                        .page = drop_damaged_page,
                        .snapshot = snapshot,
                        .verified = verified};
    return apply(store, key, &edit);
}

cte_status cte__blob_remove(struct cte__store *store, const struct cte__blob_key *key)
{
    struct cte__change change;
    cte_status status = cte__change_begin(&change, store, key);
    if (status != CTE_OK)
        return status;
    for (size_t i = 0; i < change.old.count && status == CTE_OK; i++)
        status = cte__change_drop(&change, &change.old.spans[i]);
    if (status == CTE_OK && change.entry == 0)
        status = CTE_ERR_NOT_FOUND;
    if (status == CTE_OK)
        cte__change_remove(&change);
    cte__change_end(&change);
    if (status == CTE_OK)
        cte__tag_reap(store, cte__tag_at(store, key->tag), false);
    return status;
}
