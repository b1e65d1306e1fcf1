/* SPDX-License-Identifier: BSD-3-Clause */
#include "blob/runs.h"

#include <stdlib.h>

enum { BLOCK_BYTES_MIN = 1 << 10, BLOCK_BYTES_MAX = 1 << 16 };

/* Memory that lists are cut from. */
struct cte__run_block {
    struct cte__run_block *next;
    size_t used, size;
    _Alignas(struct cte__run_list) char bytes[];
};

static size_t list_bytes(uint32_t capacity)
{
    return cte__align_up(sizeof(struct cte__run_list) + capacity * sizeof(struct cte__run),
                         _Alignof(struct cte__run_list));
}

/* The more there were, the larger. */
static struct cte__run_block *new_block(struct cte__run_lists *lists, size_t bytes)
{
    struct cte__run_block *last = lists->block;
    size_t size = last ? cte__min(4 * last->size, BLOCK_BYTES_MAX) : BLOCK_BYTES_MIN;
    size = cte__max(size, bytes);
    struct cte__run_block *block = malloc(sizeof *block + size);
    if (!block)
        return NULL;
    block->next = last;
    block->used = 0;
    block->size = size;
    lists->block = block;
    return block;
}

struct cte__run_list *cte__run_list_new(struct cte__run_lists *lists, uint32_t capacity)
{
    struct cte__run_block *block = lists->block;
    size_t bytes = list_bytes(capacity);
    if (!block || block->size - block->used < bytes)
        block = new_block(lists, bytes);
    if (!block)
        return NULL;
    struct cte__run_list *list = (void *)(block->bytes + block->used);
    block->used += bytes;
    list->count = 0;
    list->capacity = capacity;
    return list;
}

void cte__run_list_trim(struct cte__run_lists *lists, struct cte__run_list *list)
{
    struct cte__run_block *block = lists->block;
    assert((char *)list + list_bytes(list->capacity) == block->bytes + block->used);
    block->used -= list_bytes(list->capacity) - list_bytes(list->count);
    list->capacity = list->count;
}

void cte__run_lists_free(struct cte__run_lists *lists)
{
    while (lists->block) {
        struct cte__run_block *next = lists->block->next;
        free(lists->block);
        lists->block = next;
    }
}

void cte__run_list_append(struct cte__run_list *list, struct cte__run run)
{
    if (list->count > 0) {
        struct cte__run *last = &list->run[list->count - 1];
        assert(cte__run_end(*last) <= run.start);
        if (cte__run_end(*last) == run.start && cte__run_dirty(*last) == cte__run_dirty(run) &&
            last->page == run.page) {
            *last = cte__run_make(last->start, cte__run_end(run), cte__run_dirty(run), run.page,
                                  run.checksum);
            return;
        }
    }
    assert(list->count < list->capacity);
    list->run[list->count++] = run;
}

/* Appends the part of below[*i…] that lies in [from, to), and steps over runs that end there. */
static void append_between(const struct cte__run *below, uint32_t below_count, uint32_t *i,
                           uint32_t from, uint32_t to, struct cte__run_list *out)
{
    while (*i < below_count && below[*i].start < to) {
        struct cte__run run = below[*i];
        uint32_t start = (uint32_t)cte__max(run.start, from);
        uint32_t end = (uint32_t)cte__min(cte__run_end(run), to);
        if (start < end)
            cte__run_list_append(
                out, cte__run_make(start, end, cte__run_dirty(run), run.page, run.checksum));
        if (cte__run_end(run) > to)
            return;
        (*i)++;
    }
}

void cte__runs_overlay(const struct cte__run *below, uint32_t below_count,
                       const struct cte__run *above, uint32_t above_count,
                       struct cte__run_list *out)
{
    uint32_t i = 0, at = 0;
    for (uint32_t a = 0; a < above_count; a++) {
        append_between(below, below_count, &i, at, above[a].start, out);
        cte__run_list_append(out, above[a]);
        at = cte__run_end(above[a]);
    }
    append_between(below, below_count, &i, at, CTE__PAGE_BYTES, out);
}

void cte__runs_cut(const struct cte__run *list, uint32_t count, uint32_t start, uint32_t end,
                   struct cte__run_list *out)
{
    uint32_t i = 0;
    append_between(list, count, &i, 0, start, out);
    append_between(list, count, &i, end, CTE__PAGE_BYTES, out);
}

uint32_t cte__runs_page_state(const struct cte__run *list, uint32_t count)
{
    if (count == 0)
        return CTE__PAGE_NONE;
    if (count == 1 && cte__run_length(list[0]) == CTE__PAGE_BYTES)
        return cte__run_dirty(list[0]) ? CTE__PAGE_DIRTY : CTE__PAGE_CLEAN;
    return CTE__PAGE_PARTIAL;
}

uint32_t cte__runs_pages(const struct cte__run *list, uint32_t count,
                         cte__page pages[CTE__RUN_PAGES_MAX])
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t p = 0;
        while (p < found && pages[p] != list[i].page)
            p++;
        if (p < found)
            continue;
        if (found == CTE__RUN_PAGES_MAX)
            return CTE__RUN_PAGES_MAX + 1;
        pages[found++] = list[i].page;
    }
    return found;
}
