/* SPDX-License-Identifier: BSD-3-Clause */
/* Lists of spans. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blob/change.h"

void cte__span_list_init(struct cte__span_list *list)
{
    list->spans = list->few;
    list->count = 0;
    list->capacity = sizeof list->few / sizeof list->few[0];
}

void cte__span_list_free(struct cte__span_list *list)
{
    if (list->spans != list->few)
        free(list->spans);
    cte__span_list_init(list);
}

cte_status cte__span_list_add(struct cte__span_list *list, const struct cte__span *span)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity * 4;
        struct cte__span *larger = malloc(capacity * sizeof *larger);
        if (!larger)
            return -ENOMEM;
        memcpy(larger, list->spans, list->count * sizeof *larger);
        if (list->spans != list->few)
            free(list->spans);
        list->spans = larger;
        list->capacity = capacity;
    }
    list->spans[list->count++] = *span;
    return CTE_OK;
}

size_t cte__span_find(const struct cte__span_list *list, uint64_t index)
{
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (list->spans[middle].index + list->spans[middle].count <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t cte__span_find_from(const struct cte__span_list *list, uint64_t index, size_t hint)
{
    for (size_t i = hint; i < list->count && i <= hint + 1; i++) {
        const struct cte__span *span = &list->spans[i];
        bool is_first = i == 0 || span[-1].index + span[-1].count <= index;
        if (is_first && index < span->index + span->count)
            return i;
    }
    return cte__span_find(list, index);
}

struct cte__span cte__span_part(const struct cte__span *span, uint32_t skip, uint32_t count)
{
    struct cte__span part = *span;
    assert(skip < span->count && count > 0 && count <= span->count - skip);
    part.index += skip;
    part.page += skip;
    if (part.checksums)
        part.checksums += skip;
    part.count = count;
    return part;
}

bool cte__span_is_dirty(const struct cte__span *span)
{
    if (span->state != CTE__PAGE_PARTIAL)
        return span->state == CTE__PAGE_DIRTY;
    for (uint32_t i = 0; i < span->run_list->count; i++)
        if (cte__run_dirty(span->run_list->run[i]))
            return true;
    return false;
}
