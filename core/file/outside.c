/* SPDX-License-Identifier: BSD-3-Clause */
#include "file/outside.h"

#include "store/journal.h"

static uint64_t changed_ns(const struct stat *st)
{
    return (uint64_t)st->st_mtim.tv_sec * 1000000000 + (uint64_t)st->st_mtim.tv_nsec;
}

static uint64_t status_ns(const struct stat *st)
{
    return (uint64_t)st->st_ctim.tv_sec * 1000000000 + (uint64_t)st->st_ctim.tv_nsec;
}

/* ---- the mark ------------------------------------------------------------------------------- */

bool cte__real_is_marked(const struct cte__file_state *file, const struct stat *st)
{
    return atomic_load(&file->mark.modified_ns) == changed_ns(st) &&
           atomic_load(&file->mark.changed_ns) == status_ns(st) &&
           atomic_load(&file->mark.bytes) == (uint64_t)st->st_size;
}

void cte__real_mark(struct cte__file_state *file, const struct stat *st)
{
    atomic_store(&file->mark.modified_ns, changed_ns(st));
    atomic_store(&file->mark.changed_ns, status_ns(st));
    atomic_store(&file->mark.bytes, (uint64_t)st->st_size);
}

void cte__real_stamped(struct cte__file_state *file, const struct stat *st)
{
    atomic_store(&file->real_changed_ns, changed_ns(st));
    cte__real_mark(file, st);
}

static void grow(_Atomic uint64_t *word, uint64_t value)
{
    uint64_t before = atomic_load(word);
    while (before < value && !atomic_compare_exchange_weak(word, &before, value))
        ;
}

/* After a change of ours.  Several that end at once look in one order and note in another: the
 * latest times win.  Should the rest not fit then, the file only seems to be changed by others. */
static void mark_ours(struct cte__file_state *file, const struct stat *st)
{
    if (cte__real_is_marked(file, st))
        return;
    atomic_store(&file->real_ours, 1);
    grow(&file->mark.modified_ns, changed_ns(st));
    grow(&file->mark.changed_ns, status_ns(st));
    atomic_store(&file->mark.bytes, (uint64_t)st->st_size);
}

/* ---- changes by cte ------------------------------------------------------------------------- */

void cte__real_begin(struct cte__store *store, cte__unit tag, int fd)
{
    struct cte__file_state *file = &cte__tag_at(store, tag)->file;
    struct stat st;
    bool first = atomic_fetch_add(&file->real_writers, 1) == 0;
    atomic_fetch_add(&file->real_changes, 1);
    /* The last moment at which a change by others can be told from ours. */
    if (first && fstat(fd, &st) == 0 && !cte__real_is_marked(file, &st))
        atomic_store(&file->real_foreign, 1);
    /* Before the change: after a reboot in the middle of it the file's time says nothing. */
    cte__journal_file(store, tag, false);
}

void cte__real_end(struct cte__store *store, cte__unit tag, int fd)
{
    struct cte__file_state *file = &cte__tag_at(store, tag)->file;
    struct stat st;
    /* Noted before this writer is gone: whoever dies in between leaves a writer, and then the time
     * says nothing.  Another writer may note an older time in between: hence the second look.  If
     * the file cannot be asked, the old time makes kept data wait for a person. */
    uint64_t seen = 0;
    while (fstat(fd, &st) == 0 && changed_ns(&st) != seen) {
        seen = changed_ns(&st);
        atomic_store(&file->real_changed_ns, seen);
        mark_ours(file, &st);
    }
    atomic_fetch_add(&file->real_changes, 1);
    atomic_fetch_sub(&file->real_writers, 1);
    cte__journal_file(store, tag, false);
}

void cte__real_seen(struct cte__file_state *file, const struct stat *st)
{
    atomic_store(&file->real_writers, 0);
    atomic_store(&file->orphaned, 0);
    atomic_store(&file->real_changed_ns, changed_ns(st));
    atomic_store(&file->real_ours, 0);
    atomic_store(&file->real_foreign, 0);
    cte__real_mark(file, st);
}

bool cte__real_changed_outside(const struct cte__file_state *file, const struct stat *st)
{
    if (!atomic_load(&file->orphaned))
        return false;
    /* From a damaged journal: the last drain may be what is missing in it. */
    return atomic_load(&file->flags) & CTE__FILE_DOUBTFUL ||
           (atomic_load(&file->real_writers) == 0 &&
            atomic_load(&file->real_changed_ns) != changed_ns(st));
}

static cte_status orphan(void *context, cte__unit unit, const struct cte__entry *entry)
{
    struct cte__store *store = context;
    (void)unit;
    if (entry->type == CTE__ENTRY_FILE) {
        struct cte__tag_record *record = cte__tag_at(store, cte__entry_record(entry));
        if (!cte__file_has_openers(&record->file))
            atomic_store(&record->file.orphaned, 1);
    }
    return CTE_OK;
}

void cte__orphan_kept_files(struct cte__store *store)
{
    struct cte__tag_record *root = cte__tag_at(store, store->header->root_tag);
    cte_status status = cte__tag_each(store, root, orphan, store);
    assert(status == CTE_OK);
    (void)status;
}
