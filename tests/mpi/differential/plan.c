/* SPDX-License-Identifier: BSD-3-Clause */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

void view_free(struct view *view)
{
    type_free(view->etype);
    type_free(view->filetype);
    *view = (struct view){0};
}

void view_map(const struct view *view, int64_t offset, int64_t bytes, struct runs *out)
{
    const struct type *tile = view->filetype;
    int64_t skip = offset * view->etype->size;
    int64_t base = view->disp + skip / tile->size * tile->extent;
    skip %= tile->size;
    while (bytes > 0) {
        for (size_t i = 0; i < tile->map.count && bytes > 0; i++) {
            struct run run = tile->map.list[i];
            int64_t cut = skip < run.length ? skip : run.length;
            int64_t length = run.length - cut < bytes ? run.length - cut : bytes;
            runs_add(out, base + run.offset + cut, length);
            skip -= cut;
            bytes -= length;
        }
        base += tile->extent;
    }
}

void access_free(struct access *access)
{
    type_free(access->type);
    runs_free(&access->file);
    runs_free(&access->memory);
    *access = (struct access){0};
}

void access_empty(struct access *access)
{
    access->bytes = 0;
    access->count = 0;
    runs_free(&access->file);
    runs_free(&access->memory);
}

bool access_in_arena(const struct access *access)
{
    int64_t low, high;
    runs_bounds(&access->file, &low, &high);
    return (low >= 0 && high <= ARENA_BYTES) ||
           (low >= HIGH_ARENA && high <= HIGH_ARENA + ARENA_BYTES);
}

int64_t access_end(const struct access *access)
{
    int64_t low, high;
    runs_bounds(&access->file, &low, &high);
    return high;
}

bool access_plain(const struct access *access)
{
    return access->view_contiguous && access->memory.count <= 1 && access->type->map.count == 1 &&
           access->type->size == access->type->extent;
}

void epoch_start(struct epoch *epoch, int64_t size)
{
    for (size_t i = 0; i < epoch->count; i++)
        runs_free(&epoch->marks[i].file);
    epoch->count = 0;
    epoch->size_at_start = size;
    epoch->extended_by = epoch->size_read_by = 0;
}

/* File runs are sorted, so one pass over both lists does. */
static bool runs_meet(const struct runs *a, const struct runs *b)
{
    for (size_t i = 0, j = 0; i < a->count && j < b->count;) {
        const struct run *x = &a->list[i], *y = &b->list[j];
        if (x->offset + x->length <= y->offset)
            i++;
        else if (y->offset + y->length <= x->offset)
            j++;
        else
            return true;
    }
    return false;
}

static void sieve_span(const struct access *access, bool sieve, int64_t *low, int64_t *high)
{
    *low = *high = 0;
    if (sieve && access->write && access->file.count > 1)
        runs_bounds(&access->file, low, high);
}

static bool runs_meet_span(const struct runs *runs, int64_t low, int64_t high)
{
    struct run span = {low, high - low};
    struct runs one = {&span, high > low, 1};
    return runs_meet(runs, &one);
}

static bool mark_conflict(const struct access_mark *mark, const struct access *access, int64_t low,
                          int64_t high)
{
    if (mark->rank == access->rank || (!mark->write && !access->write))
        return false;
    if (runs_meet(&mark->file, &access->file))
        return true;
    return (mark->write && runs_meet_span(&mark->file, low, high)) ||
           (access->write && runs_meet_span(&access->file, mark->low, mark->high));
}

/* Whether the end of the file, as the ranks see it, depends on who comes first. */
static bool size_conflict(const struct epoch *epoch, const struct access *access)
{
    unsigned others = ~(1u << access->rank);
    if (access->bytes == 0 || access_end(access) <= epoch->size_at_start)
        return false;
    return (access->write ? epoch->size_read_by : epoch->extended_by) & others;
}

bool epoch_conflict(const struct epoch *epoch, const struct access *access, bool sieve)
{
    int64_t low, high;
    if (size_conflict(epoch, access))
        return true;
    sieve_span(access, sieve, &low, &high);
    for (size_t i = 0; i < epoch->count; i++)
        if (mark_conflict(&epoch->marks[i], access, low, high))
            return true;
    return false;
}

void epoch_add(struct epoch *epoch, const struct access *access, bool sieve)
{
    if (access->bytes == 0)
        return;
    if (epoch->count == epoch->room) {
        epoch->room = epoch->room ? epoch->room * 2 : 32;
        epoch->marks = realloc(epoch->marks, epoch->room * sizeof(*epoch->marks));
        if (!epoch->marks)
            die("out of memory (%zu marks)", epoch->room);
    }
    struct access_mark *mark = &epoch->marks[epoch->count++];
    *mark = (struct access_mark){.rank = access->rank, .write = access->write};
    for (size_t i = 0; i < access->file.count; i++)
        runs_add(&mark->file, access->file.list[i].offset, access->file.list[i].length);
    sieve_span(access, sieve, &mark->low, &mark->high);
    if (access_end(access) > epoch->size_at_start)
        *(access->write ? &epoch->extended_by : &epoch->size_read_by) |= 1u << access->rank;
}

static int run_order(const void *a, const void *b)
{
    const struct run *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

bool accesses_leave_gap(struct access *const *accesses, int count, int64_t size)
{
    struct run *all;
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += accesses[i]->file.count;
    all = must_alloc(total * sizeof(*all));
    total = 0;
    for (int i = 0; i < count; i++)
        for (size_t r = 0; r < accesses[i]->file.count; r++)
            all[total++] = accesses[i]->file.list[r];
    qsort(all, total, sizeof(*all), run_order);
    bool gap = false;
    int64_t end = total ? all[0].offset : 0;
    for (size_t i = 0; i < total; i++) {
        gap |= all[i].offset > end && all[i].offset > size;
        if (all[i].offset + all[i].length > end)
            end = all[i].offset + all[i].length;
    }
    free(all);
    return gap;
}

void shadow_init(struct shadow *shadow)
{
    for (int i = 0; i < 2; i++) {
        shadow->arena[i] = calloc(1, (size_t)ARENA_BYTES);
        if (!shadow->arena[i])
            die("out of memory (shadow file)");
        shadow->used[i] = 0;
    }
    shadow->size = 0;
}

void shadow_clear(struct shadow *shadow)
{
    shadow_resize(shadow, 0);
}

void shadow_free(struct shadow *shadow)
{
    free(shadow->arena[0]);
    free(shadow->arena[1]);
}

void shadow_resize(struct shadow *shadow, int64_t size)
{
    for (int i = 0; i < 2; i++) {
        int64_t keep = size - (i ? HIGH_ARENA : 0);
        keep = keep < 0 ? 0 : keep;
        if (shadow->used[i] > keep) {
            memset(shadow->arena[i] + keep, 0, (size_t)(shadow->used[i] - keep));
            shadow->used[i] = keep;
        }
    }
    shadow->size = size;
}

unsigned char *shadow_at(struct shadow *shadow, int64_t offset)
{
    if (offset >= 0 && offset < ARENA_BYTES)
        return shadow->arena[0] + offset;
    if (offset >= HIGH_ARENA && offset < HIGH_ARENA + ARENA_BYTES)
        return shadow->arena[1] + (offset - HIGH_ARENA);
    die("offset %lld is outside the arenas", (long long)offset);
}

void shadow_put(struct shadow *shadow, int64_t offset, const unsigned char *data, int64_t length)
{
    int which = offset >= ARENA_BYTES;
    memcpy(shadow_at(shadow, offset), data, (size_t)length);
    int64_t end = offset - (which ? HIGH_ARENA : 0) + length;
    if (end > shadow->used[which])
        shadow->used[which] = end;
    if (offset + length > shadow->size)
        shadow->size = offset + length;
}
