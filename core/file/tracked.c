/* SPDX-License-Identifier: BSD-3-Clause */
#include "file/tracked.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "file/outside.h"
#include "file/pointer.h"
#include "file/retain.h"
#include "file/whereabouts.h"
#include "store/journal.h"

enum { STRIPE_BYTES = 16 << 20 };

struct cte__blob_key cte__chunk_key(cte__unit tag, const uint64_t *chunk)
{
    return (struct cte__blob_key){
        .tag = tag, .type = CTE__ENTRY_CHUNK, .name = chunk, .name_bytes = sizeof *chunk};
}

struct cte__mutex *cte__tracked_lane(struct cte__tag_record *record, uint64_t chunk)
{
    uint64_t stripe = chunk * record->chunk_bytes / STRIPE_BYTES;
    return &record->file.lane[stripe % CTE__DRAIN_LANES];
}

void cte__lane_lock(struct cte__mutex *lane)
{
    /* Whoever died in a lane left dirty data dirty: it is drained again. */
    bool died = cte__mutex_lock(lane);
    (void)died;
}

/* ---- chunks --------------------------------------------------------------------------------- */

struct chunk_list {
    uint64_t *chunks;
    size_t count, capacity;
};

static cte_status add_chunk(void *context, cte__unit unit, const struct cte__entry *entry)
{
    struct chunk_list *list = context;
    (void)unit;
    uint64_t *chunks =
        cte__array_reserve(list->chunks, list->count, &list->capacity, sizeof *chunks);
    if (!chunks)
        return -ENOMEM;
    list->chunks = chunks;
    memcpy(&list->chunks[list->count++], entry->name, sizeof(uint64_t));
    return CTE_OK;
}

static int compare_chunks(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

cte_status cte__tracked_chunks(struct cte__store *store, cte__unit tag, uint64_t **chunks,
                               size_t *count)
{
    struct chunk_list list = {0};
    cte_status status = cte__tag_each(store, cte__tag_at(store, tag), add_chunk, &list);
    if (status != CTE_OK) {
        free(list.chunks);
        return status;
    }
    if (list.count > 0)
        qsort(list.chunks, list.count, sizeof *list.chunks, compare_chunks);
    *chunks = list.chunks;
    *count = list.count;
    return CTE_OK;
}

static bool chunk_is_dirty(struct cte__store *store, cte__unit tag, const uint64_t *chunk)
{
    struct cte__blob_key key = cte__chunk_key(tag, chunk);
    struct cte__snapshot snapshot;
    bool dirty = false;
    if (cte__blob_snapshot(store, &key, &snapshot) != CTE_OK)
        return true;
    for (size_t i = 0; i < snapshot.list.count && !dirty; i++)
        dirty = cte__span_is_dirty(&snapshot.list.spans[i]);
    cte__snapshot_free(&snapshot);
    return dirty;
}

bool cte__tracked_is_dirty(struct cte__store *store, cte__unit tag)
{
    uint64_t *chunks;
    size_t count;
    const struct cte__file_state *file = &cte__tag_at(store, tag)->file;
    bool dirty = false;
    /* A size that the real file does not have yet, or a truncation that somebody died in. */
    if (atomic_load(&file->size_bytes) > atomic_load(&file->real_bytes) ||
        atomic_load(&file->truncate_to) != 0)
        return true;
    cte__store_sweep_if_wanted(store);
    if (cte__tracked_chunks(store, tag, &chunks, &count) != CTE_OK)
        return true;
    for (size_t i = 0; i < count && !dirty; i++)
        dirty = chunk_is_dirty(store, tag, &chunks[i]);
    free(chunks);
    return dirty;
}

static cte_status remove_chunks(struct cte__store *store, cte__unit tag)
{
    uint64_t *chunks;
    size_t count;
    cte_status status = cte__tracked_chunks(store, tag, &chunks, &count);
    if (status != CTE_OK)
        return status;
    for (size_t i = 0; i < count; i++) {
        struct cte__blob_key key = cte__chunk_key(tag, &chunks[i]);
        cte_status removed = cte__blob_remove(store, &key);
        if (removed != CTE_OK && removed != CTE_ERR_NOT_FOUND && status == CTE_OK)
            status = removed;
    }
    free(chunks);
    return status;
}

/* ---- size ----------------------------------------------------------------------------------- */

void cte__tracked_extend(struct cte__tag_record *record, uint64_t end)
{
    uint64_t size = atomic_load(&record->file.size_bytes);
    while (size < end && !atomic_compare_exchange_weak(&record->file.size_bytes, &size, end))
        ;
}

static cte_status cut_chunks(struct cte__store *store, cte__unit tag, uint64_t size_bytes)
{
    uint64_t chunk_bytes = cte__tag_at(store, tag)->chunk_bytes;
    uint64_t *chunks;
    size_t count;
    cte_status status = cte__tracked_chunks(store, tag, &chunks, &count);
    if (status != CTE_OK)
        return status;
    for (size_t i = 0; i < count && status == CTE_OK; i++) {
        struct cte__blob_key key = cte__chunk_key(tag, &chunks[i]);
        uint64_t start = chunks[i] * chunk_bytes;
        if (start + chunk_bytes > size_bytes)
            status = cte__blob_trim(store, &key, size_bytes > start ? size_bytes - start : 0,
                                    chunk_bytes);
    }
    free(chunks);
    return status;
}

static cte_status cut_real(struct cte__store *store, cte__unit tag, int fd, uint64_t size_bytes)
{
    struct cte__file_state *file = &cte__tag_at(store, tag)->file;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    cte__real_begin(store, tag, fd);
    int failure =
        (uint64_t)st.st_size > size_bytes && ftruncate(fd, (off_t)size_bytes) != 0 ? errno : 0;
    cte__real_end(store, tag, fd);
    if (failure != 0)
        return -failure;
    atomic_store(&file->real_bytes, cte__min((uint64_t)st.st_size, size_bytes));
    return CTE_OK;
}

/* Cuts the real file, which may fail, then stored data.  Everything is noted in the record before,
 * so that the next one to lock it can finish what a dying process began: bytes behind the cut never
 * come back. */
static cte_status cut(struct cte__store *store, cte__unit tag, int fd, uint64_t size_bytes)
{
    struct cte__tag_record *record = cte__tag_at(store, tag);
    struct cte__file_state *file = &record->file;
    uint64_t pending = atomic_exchange(&file->truncate_to, size_bytes + 1);
    uint64_t before = atomic_exchange(&file->size_bytes, size_bytes);
    cte__journal_file(store, tag, false);
    for (int i = 0; i < CTE__DRAIN_LANES; i++)
        cte__lane_lock(&file->lane[i]);
    cte_status status = cut_real(store, tag, fd, size_bytes);
    if (status != CTE_OK) {
        cte__tracked_extend(record, before);
        atomic_store(&file->truncate_to, pending);
    } else {
        status = cut_chunks(store, tag, size_bytes);
        if (status == CTE_OK)
            atomic_store(&file->truncate_to, 0);
    }
    cte__journal_file(store, tag, false);
    for (int i = CTE__DRAIN_LANES - 1; i >= 0; i--)
        cte__mutex_unlock(&file->lane[i]);
    return status;
}

void cte__tracked_lock(struct cte__store *store, cte__unit tag, int fd)
{
    struct cte__file_state *file = &cte__tag_at(store, tag)->file;
    bool died = cte__mutex_lock(&file->lock);
    if (died)
        atomic_store(&store->header->sweep_wanted, 1);
    uint64_t pending = atomic_load(&file->truncate_to);
    if (pending != 0 && fd >= 0) {
        cte_status status = cut(store, tag, fd, pending - 1);
        if (status != CTE_OK)
            cte__log_warn("%s: cutting it to %llu bytes failed: %s", cte__tag_at(store, tag)->path,
                          (unsigned long long)(pending - 1), cte_status_string(status));
    }
}

void cte__tracked_unlock(struct cte__store *store, cte__unit tag)
{
    cte__mutex_unlock(&cte__tag_at(store, tag)->file.lock);
}

cte_status cte__tracked_truncate(struct cte__store *store, cte__unit tag, int fd,
                                 uint64_t size_bytes)
{
    struct cte__file_state *file = &cte__tag_at(store, tag)->file;
    cte_status status = CTE_OK;
    cte__tracked_lock(store, tag, fd);
    uint64_t before = atomic_load(&file->size_bytes);
    if (size_bytes < before) {
        status = cut(store, tag, fd, size_bytes);
    } else {
        cte__tracked_extend(cte__tag_at(store, tag), size_bytes);
        /* Bytes tell how long they make a file; that it is longer, nothing else does. */
        cte__journal_file(store, tag, size_bytes > before);
    }
    cte__tracked_unlock(store, tag);
    return status;
}

/* The real file keeps its size: the drain sets it.  A file system that cannot reserve space takes
 * nothing from what is promised to programs that ask for it: none of them could have it. */
static cte_status reserve_real(struct cte__store *store, cte__unit tag, int fd, uint64_t size_bytes)
{
    int failure = 0;
    cte__real_begin(store, tag, fd);
    while (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size_bytes) != 0) {
        failure = errno;
        if (failure != EINTR)
            break;
        failure = 0;
    }
    cte__real_end(store, tag, fd);
    return failure == EOPNOTSUPP || failure == ENOSYS ? CTE_OK : -failure;
}

cte_status cte__tracked_allocate(struct cte__store *store, cte__unit tag, int fd,
                                 uint64_t size_bytes, bool real)
{
    struct cte__file_state *file = &cte__tag_at(store, tag)->file;
    cte_status status = CTE_OK;
    cte__tracked_lock(store, tag, fd);
    if (real)
        status = reserve_real(store, tag, fd, size_bytes);
    if (status == CTE_OK && size_bytes > atomic_load(&file->size_bytes)) {
        cte__tracked_extend(cte__tag_at(store, tag), size_bytes);
        cte__journal_file(store, tag, true);
    }
    cte__tracked_unlock(store, tag);
    return status;
}

/* The file is as long as the real one. */
static void set_sizes(struct cte__file_state *file, uint64_t size_bytes)
{
    atomic_store(&file->real_bytes, size_bytes);
    atomic_store(&file->size_bytes, size_bytes);
}

static cte_status drop_clean_chunks(struct cte__store *store, cte__unit tag)
{
    uint64_t *chunks;
    size_t count;
    cte_status status = cte__tracked_chunks(store, tag, &chunks, &count);
    if (status != CTE_OK)
        return status;
    for (size_t i = 0; i < count && status == CTE_OK; i++) {
        struct cte__blob_key key = cte__chunk_key(tag, &chunks[i]);
        status = cte__blob_drop_clean(store, &key);
    }
    free(chunks);
    return status;
}

/* Others changed the real file, which now is as `st` says: what is clean is not it any more.  The
 * record is locked. */
static cte_status forget_clean(struct cte__store *store, cte__unit tag, int fd, struct stat *st)
{
    struct cte__file_state *file = &cte__tag_at(store, tag)->file;
    /* Before anything is dropped: what is read from the file meanwhile is not kept (retain.h). */
    cte__real_begin(store, tag, fd);
    cte_status status = drop_clean_chunks(store, tag);
    if (fstat(fd, st) != 0 && status == CTE_OK)
        status = -errno;
    if (status == CTE_OK) {
        if (atomic_load(&file->real_writers) == 1)
            cte__real_mark(file, st);
        atomic_store(&file->real_foreign, 0);
    }
    cte__real_end(store, tag, fd); /* what changed it is known now */
    return status;
}

cte_status cte__tracked_refresh(struct cte__store *store, cte__unit tag, int fd)
{
    struct cte__file_state *file = &cte__tag_at(store, tag)->file;
    struct stat st;
    cte__tracked_lock(store, tag, fd);
    cte_status status = forget_clean(store, tag, fd, &st);
    /* What is still dirty was written meanwhile, and keeps the file as long as it is. */
    if (status == CTE_OK && cte__tracked_is_dirty(store, tag))
        cte__tracked_extend(cte__tag_at(store, tag), (uint64_t)st.st_size);
    else if (status == CTE_OK)
        set_sizes(file, (uint64_t)st.st_size);
    cte__journal_file(store, tag, false);
    cte__tracked_unlock(store, tag);
    return status;
}

void cte__tracked_set_drain(struct cte__store *store, cte__unit tag, int fd,
                            cte_file_drain_policy drain)
{
    cte__tracked_lock(store, tag, fd);
    cte__tag_at(store, tag)->file.drain = drain;
    cte__journal_file(store, tag, false);
    cte__tracked_unlock(store, tag);
}

cte_status cte__tracked_forget(struct cte__store *store, cte__unit tag)
{
    struct cte__file_state *file = &cte__tag_at(store, tag)->file;
    cte_status status = remove_chunks(store, tag);
    if (status != CTE_OK)
        return status;
    set_sizes(file, 0);
    atomic_store(&file->truncate_to, 0);
    atomic_store(&file->lost_bytes, 0);
    atomic_fetch_and(&file->flags, ~(uint32_t)CTE__FILE_NEWS);
    cte__journal_file(store, tag, false);
    return CTE_OK;
}

/* ---- open and close ------------------------------------------------------------------------- */

/* True if no process but `owner` has found the state set up. */
static bool is_first(const struct cte__file_state *file, uint16_t owner)
{
    for (uint32_t i = 0; i < CTE__SLOTS_MAX / 64; i++) {
        uint64_t others = atomic_load(&file->joined[i]);
        if (i == (uint32_t)(owner - 1) / 64)
            others &= ~(UINT64_C(1) << ((owner - 1) % 64));
        if (others != 0)
            return false;
    }
    return true;
}

static void set_joined(struct cte__file_state *file, uint16_t owner, bool joined)
{
    uint64_t bit = UINT64_C(1) << ((owner - 1) % 64);
    if (joined)
        atomic_fetch_or(&file->joined[(owner - 1) / 64], bit);
    else
        atomic_fetch_and(&file->joined[(owner - 1) / 64], ~bit);
}

/* Whoever opens a file is told what a reboot did to it; `cte recover` says it too, if it comes
 * first. */
static void tell_news(struct cte__tag_record *record, bool kept)
{
    struct cte__file_state *file = &record->file;
    uint64_t lost = atomic_exchange(&file->lost_bytes, 0);
    uint32_t flags = atomic_exchange(&file->flags, 0);
    if (lost > 0)
        cte__log_warn("%s: %llu bytes between %llu and %llu were in memory only when the node went "
                      "down, and are lost",
                      record->path, (unsigned long long)lost,
                      (unsigned long long)atomic_load(&file->lost_first),
                      (unsigned long long)atomic_load(&file->lost_end) - 1);
    else if (flags & CTE__FILE_REBOOTED)
        cte__log_warn("%s: what was in memory only when the node went down, and had not been "
                      "drained, is lost",
                      record->path);
    if (kept && flags & CTE__FILE_DOUBTFUL)
        cte__log_warn("%s: kept data comes from a damaged journal, and may be older than what was "
                      "written last",
                      record->path);
    if (flags & CTE__FILE_TORN)
        cte__log_warn("%s: the end of the journal was torn: what was written last before the node "
                      "went down may be missing",
                      record->path);
    atomic_store(&file->lost_first, 0);
    atomic_store(&file->lost_end, 0);
}

/* The node's first opener sets the state from the real file, unless data that is not drained yet
 * says what the file is; clean data stays if the file is still what it was.  The record is locked.
 */
static cte_status first_open(struct cte__store *store, cte__unit tag, int fd, const struct stat *st,
                             cte_file_mode mode, cte_file_drain_policy drain)
{
    struct cte__tag_record *record = cte__tag_at(store, tag);
    struct cte__file_state *file = &record->file;
    uint64_t born = cte__real_born_ns(fd);
    bool kept = cte__tracked_is_dirty(store, tag);
    bool retained = cte__retained_is_valid(file, st) && file->born_ns == born;
    cte_status status = CTE_OK;
    if (kept && (file->born_ns != born || atomic_load(&file->flags) & CTE__FILE_DELETED)) {
        cte__log_warn("%s: data kept for a file that was since removed is dropped", record->path);
        kept = false;
    }
    if (kept && cte__real_changed_outside(file, st)) {
        cte__log_error(
            "%s: the store keeps data of an earlier job for it, but %s; `cte drain PATH` puts that "
            "data over it, `cte destroy --force` gives it up",
            record->path,
            atomic_load(&file->flags) & CTE__FILE_DOUBTFUL
                ? "it comes from a damaged journal and may be an older one"
                : "the file was changed since");
        return -ESTALE;
    }
    if (!retained) {
        status = kept ? drop_clean_chunks(store, tag) : remove_chunks(store, tag);
        atomic_store(&file->retain, 0);
    }
    atomic_store(&file->settled, 0);
    tell_news(record, kept);
    cte__pointers_reset(file);
    cte__real_seen(file, st);
    file->device = (uint64_t)st->st_dev;
    file->inode = (uint64_t)st->st_ino;
    file->born_ns = born;
    cte__real_note_handle(file, fd);
    file->mode = mode;
    file->drain = drain;
    if (!kept)
        set_sizes(file, (uint64_t)st->st_size);
    else
        cte__tracked_extend(record, (uint64_t)st->st_size);
    cte__journal_file(store, tag, false);
    return status;
}

struct cte__open_file *cte__open_find_locked(const cte_client *client, cte__unit tag)
{
    struct cte__open_file *open = client->open_files;
    while (open && open->tag != tag)
        open = open->next;
    return open;
}

/* The client is locked. */
static cte_status note_open(cte_client *client, cte__unit tag, uint16_t owner)
{
    struct cte__open_file *open = cte__open_find_locked(client, tag);
    if (!open) {
        open = calloc(1, sizeof *open);
        if (!open)
            return -ENOMEM;
        open->tag = tag;
        open->owner = owner;
        open->pass_fd = -1;
        open->next = client->open_files;
        client->open_files = open;
    }
    open->handles++;
    return CTE_OK;
}

cte_status cte__tracked_open(cte_client *client, int fd, const char *absolute_path,
                             cte_file_mode mode, cte_file_drain_policy drain, uint64_t chunk_bytes,
                             cte__unit *tag)
{
    struct cte__store *store = client->store;
    struct cte__file_identity identity = {.mark = CTE__FILE_MARK};
    struct stat st;
    bool created;
    if (fstat(fd, &st) != 0)
        return -errno;
    identity.device = (uint64_t)st.st_dev;
    identity.inode = (uint64_t)st.st_ino;
    struct cte__tag_key key = {&identity, sizeof identity, CTE__ENTRY_FILE, absolute_path, 0};
    uint16_t self = cte__store_self(store);
    if (self == 0)
        return -EUSERS;
    pthread_mutex_lock(&client->lock);
    cte_status status = cte__tag_find(store, &key, true, self, tag, &created);
    if (status == CTE_OK) {
        struct cte__tag_record *record = cte__tag_at(store, *tag);
        cte__tracked_lock(store, *tag, fd);
        if (record->chunk_bytes == 0)
            record->chunk_bytes = chunk_bytes != 0 ? chunk_bytes : client->config->chunk_bytes;
        /* Again: completing somebody's truncation may just have cut the file. */
        if (fstat(fd, &st) != 0)
            status = -errno;
        /* Not done if this is a reader's descriptor. */
        uint64_t pending = atomic_load(&record->file.truncate_to);
        if (pending != 0 && (uint64_t)st.st_size >= pending)
            st.st_size = (off_t)(pending - 1);
        if (status == CTE_OK && !cte__open_find_locked(client, *tag) &&
            is_first(&record->file, self))
            status = first_open(store, *tag, fd, &st, mode, drain);
        else if (status == CTE_OK && cte__retained_is_stale(&record->file, &st))
            status = forget_clean(store, *tag, fd, &st);
        if (status == CTE_OK && client->config->cache_reads)
            atomic_fetch_or(&record->file.retain, CTE__RETAIN_CACHE);
        if (status == CTE_OK)
            set_joined(&record->file, self, true);
        cte__tracked_unlock(store, *tag);
        if (status == CTE_OK)
            status = note_open(client, *tag, self);
        if (status != CTE_OK && !cte__open_find_locked(client, *tag)) {
            set_joined(&record->file, self, false);
            cte__file_leave(store, *tag, self);
        }
    }
    pthread_mutex_unlock(&client->lock);
    return status;
}

/* The last handle of this process leaves; the client is locked. */
static void leave(cte_client *client, const struct cte__open_file *open, int fd)
{
    struct cte__store *store = client->store;
    cte__unit tag = open->tag;
    struct cte__file_state *file = &cte__tag_at(store, tag)->file;
    cte__tracked_lock(store, tag, -1);
    bool last = is_first(file, open->owner);
    set_joined(file, open->owner, false);
    bool deleted = cte__real_is_deleted(store, tag, fd); /* nobody can read it again */
    bool scratch = deleted || file->mode == CTE_FILE_MODE_SCRATCH;
    bool retained = !scratch && cte__retain_settle(store, tag, fd);
    bool clean = last && (scratch || !cte__tracked_is_dirty(store, tag));
    bool forget = clean && !retained;
    atomic_store(&file->settled, clean && retained);
    if (clean) /* nothing of it can be lost with the node any more */
        atomic_fetch_and(&file->flags, ~(uint32_t)(CTE__FILE_IN_MEMORY | CTE__FILE_TOLD));
    /* A process that opens the file right now waits for the lock, then sets the state up anew. */
    cte_status removed = forget && deleted ? cte__tracked_forget(store, tag)
                         : forget          ? remove_chunks(store, tag)
                                           : CTE_OK;
    if (forget)
        set_sizes(file, 0);
    cte__journal_file(store, tag, false);
    if (removed != CTE_OK)
        cte__log_warn("%s: clean data stays in the store: %s", cte__tag_at(store, tag)->path,
                      cte_status_string(removed));
    cte__tracked_unlock(store, tag);
    cte_status status = cte__file_leave(store, tag, open->owner);
    if (status != CTE_OK)
        cte__log_warn("a file's record stays in the store: %s", cte_status_string(status));
}

void cte__open_release_locked(cte_client *client, struct cte__open_file *open, int fd)
{
    struct cte__open_file **link = &client->open_files;
    while (*link != open)
        link = &(*link)->next;
    *link = open->next;
    /* A forked child has the parent's handles, but not the parent's place in the record. */
    if (open->owner == cte__store_self(client->store))
        leave(client, open, fd);
    free(open);
}

void cte__tracked_close(cte_client *client, cte__unit tag, int fd)
{
    pthread_mutex_lock(&client->lock);
    struct cte__open_file *open = cte__open_find_locked(client, tag);
    /* A background thread that drains the file leaves it, when it is done. */
    bool in_pass = open && open->pass_fd >= 0 && open->owner == cte__store_self(client->store);
    if (open && --open->handles == 0 && !in_pass)
        cte__open_release_locked(client, open, fd);
    pthread_mutex_unlock(&client->lock);
}
