/* SPDX-License-Identifier: BSD-3-Clause */
#include "store/journal.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "store/store_internal.h"
#include "target/backing.h"
#include "target/fork.h"

enum { OPEN_TRIES_MAX = 64, GROWTH = 4 };

#define RENEW_BYTES_MIN ((uint64_t)16 << 20)
#define RETRY_NS        UINT64_C(1000000000)

/* ---- names ---------------------------------------------------------------------------------- */

bool cte__journal_path_of(const char *target_path, char path[PATH_MAX])
{
    int n = snprintf(path, PATH_MAX, "%s.journal", target_path);
    return n > 0 && n < PATH_MAX;
}

static bool name_of(const char *path, enum cte__journal_file which, char name[PATH_MAX])
{
    static const char *const endings[] = {"", ".next", ".new"};
    int n = snprintf(name, PATH_MAX, "%s%s", path, endings[which]);
    return n > 0 && n < PATH_MAX;
}

int cte__journal_open(const char *path, enum cte__journal_file which, int flags)
{
    char name[PATH_MAX];
    struct stat st;
    if (!name_of(path, which, name))
        return -ENAMETOOLONG;
    int fd = cte__target_openat(AT_FDCWD, name, flags, 0600);
    if (fd < 0) {
        if (fd != -ENOENT)
            cte__log_error("cannot open journal %s: %s", name, strerror(-fd));
        return fd;
    }
    cte_status status = fstat(fd, &st) != 0 ? -errno : cte__target_check_stat(&st, S_IFREG, name);
    if (status == CTE_OK)
        return fd;
    close(fd);
    return status;
}

enum cte__journal_header_state cte__journal_identify(int fd, struct cte__journal_header *header)
{
    char bytes[CTE__JOURNAL_HEADER_BYTES];
    size_t count = 0;
    while (count < sizeof bytes) {
        ssize_t n = pread(fd, bytes + count, sizeof bytes - count, (off_t)count);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return CTE__JOURNAL_IS_UNREADABLE;
        if (n == 0)
            break;
        count += (size_t)n;
    }
    return cte__journal_header_read(bytes, count, header);
}

static bool is_empty_file(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_size == 0;
}

/* May this file be replaced or removed?  Also what a killed process left before its header. */
static cte_status check_ours(const char *path, enum cte__journal_file which, uint64_t store_id)
{
    struct cte__journal_header header;
    int fd = cte__journal_open(path, which, O_RDONLY);
    if (fd < 0)
        return fd;
    enum cte__journal_header_state state = cte__journal_identify(fd, &header);
    bool ours = (state == CTE__JOURNAL_IS_OURS && header.store_id == store_id) ||
                state == CTE__JOURNAL_IS_DAMAGED ||
                (state == CTE__JOURNAL_IS_FOREIGN && is_empty_file(fd));
    close(fd);
    if (ours)
        return CTE_OK;
    cte__log_error("file %s%s %s and is left alone; give the journal another path (journal.path), "
                   "or remove the file if it is not needed",
                   path, which == CTE__JOURNAL_BASE ? "" : " or its successor",
                   state == CTE__JOURNAL_IS_FOREIGN ? "was not made by cte"
                                                    : "is the journal of another store");
    return -EEXIST;
}

static cte_status unlink_ours(const char *path, enum cte__journal_file which, uint64_t store_id)
{
    char name[PATH_MAX];
    cte_status status = check_ours(path, which, store_id);
    if (status == CTE_OK && name_of(path, which, name) && unlink(name) != 0)
        status = -errno;
    return status == -ENOENT ? CTE_OK : status;
}

void cte__journal_remove(const char *path, uint64_t store_id)
{
    /* The base first: without it the others are nothing. */
    static const enum cte__journal_file order[] = {CTE__JOURNAL_BASE, CTE__JOURNAL_NEXT,
                                                   CTE__JOURNAL_FRESH};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        cte_status status = unlink_ours(path, order[i], store_id);
        if (status != CTE_OK) {
            cte__log_warn("journal %s cannot be removed: %s", path, cte_status_string(status));
            return;
        }
    }
}

static cte_status sync_directory(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    cte_status status = fsync(fd) != 0 ? -errno : CTE_OK;
    close(fd);
    return status;
}

/* ---- this process's descriptor -------------------------------------------------------------- */

static bool has_generation(int fd, const struct cte__journal_state *journal, uint64_t generation)
{
    struct cte__journal_header header;
    return cte__journal_identify(fd, &header) == CTE__JOURNAL_IS_OURS &&
           header.nonce == journal->nonce && header.generation == generation;
}

/* Opens the file of the present generation; another one may begin meanwhile. */
static int open_present(struct cte__journal_state *journal, uint64_t *generation)
{
    int fd = -ENOENT;
    for (int i = 0; i < OPEN_TRIES_MAX; i++) {
        *generation = atomic_load(&journal->generation);
        fd = cte__journal_open(journal->path, i % 2 ? CTE__JOURNAL_NEXT : CTE__JOURNAL_BASE,
                               O_RDWR | O_APPEND);
        if (fd >= 0 && has_generation(fd, journal, *generation))
            return fd;
        if (fd >= 0)
            close(fd);
        fd = -ENOENT;
    }
    return fd;
}

/* The number never changes once it is there: threads that are about to write to it find the new
 * file behind it, which is as good. */
static void place_descriptor(struct cte__store *store, int fd, uint64_t generation)
{
    int present = atomic_load(&store->journal_fd);
    if (present < 0) {
        atomic_store(&store->journal_fd, fd);
    } else {
        int moved = dup3(fd, present, O_CLOEXEC);
        close(fd);
        if (moved < 0)
            return; /* tried again with the next record */
    }
    atomic_store(&store->journal_generation, generation);
}

static int present_descriptor(struct cte__store *store)
{
    struct cte__journal_state *journal = &store->header->journal;
    uint64_t generation;
    if (atomic_load(&store->journal_generation) == atomic_load(&journal->generation))
        return atomic_load(&store->journal_fd);
    int fd = CTE_OK;
    cte__target_fork_lock();
    if (atomic_load(&store->journal_generation) != atomic_load(&journal->generation)) {
        fd = open_present(journal, &generation);
        if (fd >= 0)
            place_descriptor(store, fd, generation);
    }
    cte__target_fork_unlock();
    return fd < 0 ? fd : atomic_load(&store->journal_fd);
}

void cte__journal_close(struct cte__store *store)
{
    int fd = atomic_exchange(&store->journal_fd, -1);
    if (fd >= 0)
        close(fd);
    atomic_store(&store->journal_generation, 0);
}

/* ---- appending ------------------------------------------------------------------------------ */

/* A write beyond the limit would raise SIGXFSZ, which kills by default. */
static bool fits_limit(uint64_t bytes)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
           bytes <= limit.rlim_cur;
}

/* One write: records are whole, or torn where the disk is full. */
static cte_status write_whole(int fd, const char *bytes, size_t count)
{
    ssize_t n;
    do
        n = write(fd, bytes, count);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return (size_t)n == count ? CTE_OK : -ENOSPC;
}

static void break_journal(struct cte__store *store, cte_status status)
{
    struct cte__journal_state *journal = &store->header->journal;
    atomic_store(&journal->retry_ns, cte__monotonic_ns() + RETRY_NS);
    if (atomic_exchange(&journal->broken, status) == CTE_OK)
        cte__log_error("journal %s cannot be written: %s; data on this node is safe, but what "
                       "changes from now on does not survive a reboot until it can be written "
                       "again",
                       journal->path, cte_status_string(status));
    atomic_store(&journal->wanted, 1);
}

cte_status cte__journal_append(struct cte__store *store, const struct cte__record_buffer *buffer)
{
    struct cte__journal_state *journal = &store->header->journal;
    cte_status status = atomic_load_explicit(&journal->broken, memory_order_relaxed);
    if (buffer->count == 0 && !buffer->failed)
        return CTE_OK;
    /* Behind a hole nothing is certain: a new generation tells all. */
    if (status != CTE_OK)
        return status;
    uint64_t bytes = atomic_fetch_add(&journal->bytes, buffer->count) + buffer->count;
    int fd = present_descriptor(store);
    status = buffer->failed ? -ENOMEM : fd < 0 ? fd : CTE_OK;
    if (status == CTE_OK && !fits_limit(bytes))
        status = -EFBIG;
    if (status == CTE_OK)
        status = write_whole(fd, buffer->bytes, buffer->count);
    if (status != CTE_OK)
        break_journal(store, status);
    else if (bytes > RENEW_BYTES_MIN && bytes > GROWTH * journal->dump_bytes &&
             !atomic_load(&journal->dumping))
        atomic_store(&journal->wanted, 1);
    return status;
}

static void put_target(const struct cte__store *store, uint32_t index,
                       struct cte__record_buffer *buffer)
{
    const struct cte__target_record *record = &store->header->targets[index];
    struct cte__record_target target = {
        .index = index,
        .survives = atomic_load(&store->header->journal.surviving) >> index & 1,
        .capacity_bytes = record->capacity_bytes,
        .arena_bytes = record->arena_bytes,
        .kind = {record->kind, (uint32_t)strlen(record->kind)},
        .path = {record->path, (uint32_t)strlen(record->path)},
    };
    cte__record_put_target(buffer, store->header->journal.nonce, &target);
}

cte_status cte__journal_target(struct cte__store *store, uint32_t index)
{
    struct cte__journal_state *journal = &store->header->journal;
    struct cte__record_buffer buffer;
    if (!cte__journal_on(store))
        return CTE_OK;
    cte__record_buffer_init(&buffer);
    /* Who died with the lock left `dumping` set, which says what there is to do. */
    bool died = cte__mutex_lock(&journal->lock);
    (void)died;
    put_target(store, index, &buffer);
    cte_status status = cte__journal_append(store, &buffer);
    cte__mutex_unlock(&journal->lock);
    cte__record_buffer_free(&buffer);
    return status;
}

/* ---- generations ---------------------------------------------------------------------------- */

/* Makes a file with its header and the targets; *bytes is its length. */
static int make_file(struct cte__store *store, enum cte__journal_file which,
                     struct cte__journal_header header, uint64_t *bytes)
{
    const struct cte__journal_state *journal = &store->header->journal;
    struct cte__record_buffer buffer;
    char head[CTE__JOURNAL_HEADER_BYTES];
    cte_status status = unlink_ours(journal->path, which, header.store_id);
    if (status != CTE_OK)
        return status;
    int fd = cte__journal_open(journal->path, which, O_RDWR | O_APPEND | O_CREAT | O_EXCL);
    if (fd < 0)
        return fd;
    cte__journal_header_write(header, head);
    cte__record_buffer_init(&buffer);
    for (uint32_t t = 0; t < store->header->target_count; t++)
        if (cte__target_exists(store, t))
            put_target(store, t, &buffer);
    *bytes = sizeof head + buffer.count;
    status = buffer.failed ? -ENOMEM : fits_limit(*bytes) ? CTE_OK : -EFBIG;
    if (status == CTE_OK)
        status = write_whole(fd, head, sizeof head);
    if (status == CTE_OK)
        status = write_whole(fd, buffer.bytes, buffer.count);
    cte__record_buffer_free(&buffer);
    if (status == CTE_OK)
        return fd;
    close(fd);
    cte_status removed = unlink_ours(journal->path, which, header.store_id);
    (void)removed; /* an unfinished file is in nobody's way */
    return status;
}

/* From here on everybody appends to a new file; the old one stays until the new one is complete. */
static cte_status begin_generation(struct cte__store *store)
{
    struct cte__journal_state *journal = &store->header->journal;
    uint64_t bytes, generation = atomic_load(&journal->generation) + 1;
    struct cte__journal_header header = {
        .store_id = cte__store_id(store), .nonce = journal->nonce, .generation = generation};
    int fd = make_file(store, CTE__JOURNAL_NEXT, header, &bytes);
    if (fd < 0)
        return fd;
    close(fd);
    atomic_store(&journal->dumping, 1);
    /* Whoever writes of a file is before this, and seen by the dump, or after it. */
    bool died = cte__mutex_lock(&journal->files_lock);
    (void)died;
    atomic_store(&journal->bytes, bytes);
    atomic_store(&journal->generation, generation);
    cte__mutex_unlock(&journal->files_lock);
    return CTE_OK;
}

/* Puts the present generation, which is complete, in the place of the one before.  Who died after
 * renaming finds it there. */
static cte_status replace_base(struct cte__store *store, enum cte__journal_file which)
{
    struct cte__journal_state *journal = &store->header->journal;
    uint64_t generation = atomic_load(&journal->generation);
    char from[PATH_MAX];
    cte_status status = -ENAMETOOLONG;
    int fd = cte__journal_open(journal->path, which, O_RDONLY);
    bool waiting = fd >= 0 && has_generation(fd, journal, generation);
    if (fd >= 0)
        close(fd);
    if (!waiting) {
        fd = cte__journal_open(journal->path, CTE__JOURNAL_BASE, O_RDONLY);
        bool there = fd >= 0 && has_generation(fd, journal, generation);
        if (fd >= 0)
            close(fd);
        return there ? CTE_OK : -ENOENT;
    }
    if (name_of(journal->path, which, from))
        status = rename(from, journal->path) != 0 ? -errno : CTE_OK;
    return status;
}

/* Appends all that lives to the present generation and the word that this is all. */
static cte_status complete_generation(struct cte__store *store, bool empty)
{
    struct cte__journal_state *journal = &store->header->journal;
    struct cte__record_buffer buffer;
    uint64_t bytes = 0;
    cte__record_buffer_init(&buffer);
    cte_status status = empty ? CTE_OK : cte__journal_dump(store, &bytes);
    cte__record_put_complete(&buffer, journal->nonce);
    /* Fails too if somebody else's append did meanwhile. */
    if (status == CTE_OK)
        status = cte__journal_append(store, &buffer);
    cte__record_buffer_free(&buffer);
    journal->dump_bytes = bytes;
    return status;
}

static cte_status sync_present(struct cte__store *store)
{
    int fd = present_descriptor(store);
    if (fd < 0)
        return fd;
    return fdatasync(fd) != 0 ? -errno : CTE_OK;
}

/* The journal is locked. */
static cte_status renew_locked(struct cte__store *store)
{
    struct cte__journal_state *journal = &store->header->journal;
    cte_status before = atomic_load(&journal->broken), status = CTE_OK;
    /* A generation that was begun is completed: the one before it is still needed. */
    if (!atomic_load(&journal->dumping))
        status = begin_generation(store);
    if (status == CTE_OK) {
        /* Before the dump, so that what changes while it goes on is appended. */
        atomic_store(&journal->broken, CTE_OK);
        status = complete_generation(store, false);
    }
    /* What it replaces may have been synced: so must it be. */
    if (status == CTE_OK)
        status = sync_present(store);
    if (status == CTE_OK)
        status = replace_base(store, CTE__JOURNAL_NEXT);
    if (status == CTE_OK)
        status = sync_directory(journal->path);
    if (status != CTE_OK) {
        if (atomic_load(&journal->broken) == CTE_OK)
            atomic_store(&journal->broken, before);
        break_journal(store, status);
        return status;
    }
    atomic_store(&journal->dumping, 0);
    atomic_store(&journal->wanted, atomic_load(&journal->broken) != CTE_OK);
    if (before != CTE_OK)
        cte__log_warn("journal %s is whole again", journal->path);
    return CTE_OK;
}

cte_status cte__journal_renew(struct cte__store *store)
{
    if (!cte__journal_on(store))
        return CTE_OK;
    bool died = cte__mutex_lock(&store->header->journal.lock);
    (void)died;
    cte_status status = renew_locked(store);
    cte__mutex_unlock(&store->header->journal.lock);
    return status;
}

void cte__journal_tend(struct cte__store *store)
{
    struct cte__journal_state *journal = &store->header->journal;
    bool died;
    if (atomic_load(&journal->broken) != CTE_OK &&
        cte__monotonic_ns() < atomic_load(&journal->retry_ns))
        return;
    if (!cte__mutex_trylock(&journal->lock, &died))
        return;
    /* Logged by who broke it; tried again later. */
    if (atomic_load(&journal->wanted)) {
        cte_status status = renew_locked(store);
        (void)status;
    }
    cte__mutex_unlock(&journal->lock);
}

cte_status cte__journal_sync(struct cte__store *store)
{
    struct cte__journal_state *journal = &store->header->journal;
    if (!cte__journal_on(store))
        return -ENOTSUP;
    bool died = cte__mutex_lock(&journal->lock);
    (void)died;
    cte_status status = CTE_OK;
    if (atomic_load(&journal->broken) != CTE_OK || atomic_load(&journal->dumping)) {
        status = renew_locked(store);
    } else {
        status = sync_present(store);
        if (status == CTE_OK && !atomic_load(&journal->named)) {
            status = sync_directory(journal->path);
            atomic_store(&journal->named, status == CTE_OK);
        }
        /* What the kernel could not write it may call written the next time. */
        if (status != CTE_OK)
            break_journal(store, status);
    }
    if (status == CTE_OK)
        status = atomic_load(&journal->broken);
    cte__mutex_unlock(&journal->lock);
    return status;
}

cte_status cte__journal_start(struct cte__store *store, const char *path,
                              struct cte__journal_header header)
{
    struct cte__journal_state *journal = &store->header->journal;
    uint64_t bytes;
    header.store_id = cte__store_id(store);
    journal->nonce = header.nonce;
    snprintf(journal->path, sizeof journal->path, "%s", path);
    cte_status status = check_ours(path, CTE__JOURNAL_BASE, header.store_id);
    int fd = status == CTE_OK || status == -ENOENT
                 ? make_file(store, CTE__JOURNAL_FRESH, header, &bytes)
                 : status;
    if (fd < 0) {
        cte__log_error("cannot make journal %s: %s", path, cte_status_string(fd));
        return fd;
    }
    atomic_store(&journal->bytes, bytes);
    atomic_store(&store->journal_fd, fd);
    atomic_store(&store->journal_generation, header.generation);
    atomic_store(&journal->generation, header.generation);
    /* The first one holds nothing yet. */
    bool durable = header.generation > 1;
    status = complete_generation(store, !durable);
    if (status == CTE_OK && durable)
        status = sync_present(store);
    if (status == CTE_OK)
        status = replace_base(store, CTE__JOURNAL_FRESH);
    if (status == CTE_OK && durable)
        status = sync_directory(path);
    atomic_store(&journal->named, durable);
    /* Of generations before: only now are they not needed any more. */
    if (status == CTE_OK)
        status = unlink_ours(path, CTE__JOURNAL_NEXT, header.store_id);
    if (status != CTE_OK) {
        cte__log_error("cannot make journal %s: %s", path, cte_status_string(status));
        atomic_store(&journal->generation, 0);
        cte__journal_close(store);
    }
    return status;
}
