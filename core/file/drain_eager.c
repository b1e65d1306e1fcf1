/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Draining files while they are open, or closed but not drained (`async`): a job of the background
 * thread.
 *
 * It works in passes over one file, of about 0.1 s: what has not been written to for a while is
 * written to the descriptor of a handle that this process has open for writing.  A file is looked
 * at only if this process wrote to it since; of a file that several processes have open, one pass
 * drains what all of them wrote.
 *
 * It stays out of the way: while the program keeps the targets busy it waits, unless they fill up;
 * whoever waits for a drain goes first, and who closes a file drains what is left of it himself.
 *
 * The handle whose descriptor is in use may be closed meanwhile.  Its closing waits for the pass to
 * end, which it soon does, or, where nobody waits for the drain, leaves the descriptor to the
 * thread.  Nobody but the last handle closes a descriptor of the file that others still use, so
 * locks that the program holds on it (fcntl(2)) last.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "file/drain.h"
#include "file/kept.h"
#include "file/room.h"
#include "file/whereabouts.h"

#define MS_NS UINT64_C(1000000)

enum {
    PASS_MS = 100,
    PASS_GAP_MS = 20,    /* between passes over a file that is written to all the time */
    COMPLETE_MS = 20,    /* a chunk written from end to end is left alone for so long */
    INCOMPLETE_MS = 200, /* any other */
    BUSY_NAP_MS = 10,
    SAMPLE_MIN_MS = 5,
    SAMPLE_MAX_MS = 100,   /* an older sample says nothing about now */
    BUSY_SHARE = 8,        /* 1/8 of what the fastest target takes is busy */
    PRESSED_SHARE = 4,     /* less than 1/4 free is pressing: hot data is drained, too */
    SCARCE_SHARE = 8,      /* less than 1/8 free: clean data goes before a write needs the room */
    KEPT_RETRY_MS = 10000, /* of a closed file that cannot be joined */
    SLICE_MS = 20,         /* of waiting for bandwidth, between looks at what else happens */
};

/* ---- is now the time? ----------------------------------------------------------------------- */

/* What programs put and got so far: not what was read to be drained. */
static uint64_t bytes_moved(const struct cte__store *store)
{
    uint64_t drained = atomic_load_explicit(&store->header->drain.bytes_read, memory_order_relaxed);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < store->header->target_count; i++) {
        struct cte__target_totals totals = cte__target_totals(&store->header->targets[i]);
        bytes += totals.bytes_written + totals.bytes_read;
    }
    return bytes > drained ? bytes - drained : 0;
}

static uint64_t fastest_bytes_per_s(const struct cte__store *store)
{
    uint64_t fastest = 0;
    for (uint32_t i = 0; i < store->header->target_count; i++)
        if (cte__target_exists(store, i))
            fastest = cte__max(fastest, store->header->targets[i].bytes_per_s);
    return fastest;
}

static bool is_pressed(cte_client *client, uint64_t now)
{
    struct cte__eager *eager = &client->eager;
    if (eager->pressed_ns == 0 || now - eager->pressed_ns > PASS_MS * MS_NS / 2) {
        uint64_t capacity, free_bytes = cte__room_free(client->store, &capacity);
        eager->pressed = free_bytes < capacity / PRESSED_SHARE;
        eager->scarce = free_bytes < capacity / SCARCE_SHARE;
        eager->pressed_ns = now;
    }
    return eager->pressed;
}

/* True while the node's programs use the targets as if they waited for them.  What was moved since
 * a sample that is old says little about now: then another one is taken, once. */
static bool is_busy(cte_client *client, uint64_t now)
{
    struct cte__eager *eager = &client->eager;
    uint64_t elapsed = now - eager->sampled_ns;
    if (elapsed < SAMPLE_MIN_MS * MS_NS)
        return eager->busy;
    uint64_t bytes = bytes_moved(client->store);
    uint64_t limit = fastest_bytes_per_s(client->store) / BUSY_SHARE;
    uint64_t moved = bytes > eager->sampled_bytes ? bytes - eager->sampled_bytes : 0;
    double rate = (double)moved * 1e9 / (double)elapsed;
    eager->stale = elapsed > SAMPLE_MAX_MS * MS_NS && !eager->stale;
    eager->busy = eager->stale || (limit > 0 && rate > (double)limit);
    eager->sampled_ns = now;
    eager->sampled_bytes = bytes;
    return eager->busy;
}

static bool should_wait(cte_client *client)
{
    uint64_t now = cte__monotonic_ns();
    return cte__drain_is_hurried(client->store) ||
           (!is_pressed(client, now) && is_busy(client, now));
}

/* ---- a pass --------------------------------------------------------------------------------- */

struct pass {
    cte_client *client;
    struct cte__background *background;
    struct cte__open_file *open; /* NULL: a file that was closed */
    cte__unit tag;
    int fd;
    uint64_t until_ns; /* CLOCK_MONOTONIC */
    /* Results. */
    bool more;        /* it ended before all was done that could be */
    uint64_t cool_ns; /* what was too hot is not in so many nanoseconds; 0: nothing was */
    uint64_t bytes;
    cte_status status;
};

static struct cte__file_state *file_state(const struct pass *pass)
{
    return &cte__tag_at(pass->client->store, pass->tag)->file;
}

struct candidates {
    uint64_t *chunks;
    size_t count, capacity;
    uint64_t chunk_bytes;
    uint64_t now_ns; /* CLOCK_REALTIME */
    bool any_heat;
    uint64_t cool_ns;
};

/* How long a chunk is to be left alone yet.  A clock that was set back must not stop us. */
static uint64_t heat_ns(const struct candidates *list, const struct cte__entry *entry,
                        uint64_t location)
{
    bool complete = cte__location_kind(location) == CTE__AT_EXTENT &&
                    cte__location_size(location) == list->chunk_bytes;
    uint64_t wait = (complete ? COMPLETE_MS : INCOMPLETE_MS) * MS_NS;
    uint64_t modified_ns = atomic_load_explicit(&entry->modified_ns, memory_order_relaxed);
    uint64_t age = list->now_ns - modified_ns;
    return list->any_heat || modified_ns > list->now_ns || age >= wait ? 0 : wait - age;
}

static cte_status add_candidate(void *context, cte__unit unit, const struct cte__entry *entry)
{
    struct candidates *list = context;
    uint64_t location = atomic_load_explicit(&entry->location, memory_order_acquire);
    (void)unit;
    if (location == 0 || (cte__location_kind(location) == CTE__AT_EXTENT &&
                          cte__location_extent(location).state == CTE__PAGE_CLEAN))
        return CTE_OK;
    uint64_t heat = heat_ns(list, entry, location);
    if (heat > 0) {
        list->cool_ns = list->cool_ns == 0 ? heat : cte__min(list->cool_ns, heat);
        return CTE_OK;
    }
    uint64_t *chunks =
        cte__array_reserve(list->chunks, list->count, &list->capacity, sizeof *chunks);
    if (!chunks)
        return -ENOMEM;
    list->chunks = chunks;
    memcpy(&list->chunks[list->count++], entry->name, sizeof(uint64_t));
    return CTE_OK;
}

static bool must_end(const struct pass *pass)
{
    return cte__background_stopping(pass->background) || cte__monotonic_ns() > pass->until_ns ||
           (pass->open && atomic_load(&pass->open->closers) > 0) || should_wait(pass->client);
}

/* Waits until what was written is within the bandwidth; false: the pass must end. */
static bool pay(const struct pass *pass, uint64_t bytes)
{
    uint64_t ns =
        cte__drain_pace(pass->client->store, bytes, pass->client->config->drain_bytes_per_s_max);
    uint64_t until = cte__monotonic_ns() + ns;
    for (uint64_t now; (now = cte__monotonic_ns()) < until;) {
        if (must_end(pass))
            return false;
        cte__background_nap(pass->background, cte__min(until - now, SLICE_MS * MS_NS));
    }
    return !must_end(pass);
}

static void drain_candidates(struct pass *pass, struct cte__drain *drain, struct candidates *list)
{
    cte__drain_sort(drain, list->chunks, list->count);
    bool go_on = !must_end(pass);
    for (size_t i = 0, n; i < list->count && !drain->stopped; i += n) {
        n = cte__drain_group(drain, list->chunks + i, list->count - i);
        struct cte__mutex *lane = cte__tracked_lane(drain->record, list->chunks[i]);
        bool died;
        if (!go_on || !cte__mutex_trylock(lane, &died)) {
            pass->more = true;
            continue;
        }
        uint64_t before = drain->bytes;
        cte__drain_chunks(drain, list->chunks + i, n);
        cte__mutex_unlock(lane);
        go_on = pay(pass, drain->bytes - before);
    }
}

static void count_pass(struct pass *pass, const struct cte__drain *drain)
{
    struct cte__file_state *file = &drain->record->file;
    struct cte__drain_state *totals = &pass->client->store->header->drain;
    pass->bytes = drain->bytes;
    pass->status = drain->first_error;
    atomic_fetch_add(&totals->bytes_drained_background, drain->bytes);
    if (drain->first_error != CTE_OK || (drain->bytes > 0 && atomic_load(&file->drain_failure)))
        cte__drain_note(file, drain->first_error);
    /* Who sees it counted finds it noted. */
    if (drain->first_error != CTE_OK)
        atomic_fetch_add(&totals->failures, 1);
}

static void run_pass(struct pass *pass)
{
    struct cte__store *store = pass->client->store;
    struct cte__tag_record *record = cte__tag_at(store, pass->tag);
    struct cte__drain drain = {
        .client = pass->client, .tag = pass->tag, .fd = pass->fd, .background = pass->background};
    struct candidates list = {.chunk_bytes = record->chunk_bytes,
                              .now_ns = cte__realtime_ns(),
                              .any_heat = is_pressed(pass->client, cte__monotonic_ns())};
    /* A file without a name is not drained before it must be: most probably nobody will read it. */
    if (cte__real_is_deleted(store, pass->tag, pass->fd))
        return;
    cte__store_sweep_if_wanted(store);
    pass->until_ns = cte__monotonic_ns() + PASS_MS * MS_NS;
    pass->status = cte__tag_each(store, record, add_candidate, &list);
    pass->cool_ns = list.cool_ns;
    if (pass->status == CTE_OK && list.count > 0 &&
        (pass->status = cte__drain_begin(&drain)) == CTE_OK) {
        drain_candidates(pass, &drain, &list);
        cte__drain_end(&drain);
        count_pass(pass, &drain);
    }
    free(list.chunks);
}

/* ---- open files; the client is locked ------------------------------------------------------- */

/* Of a forked child the parent's passes are not. */
static bool in_pass(cte_client *client, const struct cte__open_file *open)
{
    return open->pass_fd >= 0 && open->owner == cte__store_self(client->store);
}

/* When a file should be looked at; CTE__BACKGROUND_IDLE: not before it is touched. */
static uint64_t due_of(cte_client *client, const struct cte__open_file *open, uint64_t now)
{
    bool touched = atomic_load(&open->touched);
    if (!open->writers || atomic_load(&open->closers) > 0 || (!touched && open->due_ns == 0) ||
        open->owner != cte__store_self(client->store))
        return CTE__BACKGROUND_IDLE;
    const struct cte__file_state *file = &cte__tag_at(client->store, open->tag)->file;
    uint64_t due = touched ? now : open->due_ns;
    due = cte__max(due, open->passed_ns + PASS_GAP_MS * MS_NS);
    return cte__max(due, atomic_load(&file->drain_retry_ns));
}

/* The file that waits longest of those that are due, else NULL; *due_ns is when the next one is. */
static struct cte__open_file *choose(cte_client *client, uint64_t now, uint64_t *due_ns)
{
    struct cte__open_file *chosen = NULL;
    *due_ns = CTE__BACKGROUND_IDLE;
    for (struct cte__open_file *open = client->open_files; open; open = open->next) {
        uint64_t due = due_of(client, open, now);
        if (due <= now && (!chosen || open->passed_ns < chosen->passed_ns))
            chosen = open;
        *due_ns = cte__min(*due_ns, due);
    }
    return chosen;
}

static void begin_pass(struct cte__open_file *open, struct pass *pass)
{
    /* Before anything is looked at: what is written from now on makes another pass. */
    atomic_store(&open->touched, false);
    open->due_ns = 0;
    open->pass_fd = open->writers->fd;
    open->pass_owns_fd = false;
    pass->open = open;
    pass->tag = open->tag;
    pass->fd = open->pass_fd;
}

static void end_pass(cte_client *client, const struct pass *pass)
{
    struct cte__open_file *open = pass->open;
    uint64_t now = cte__monotonic_ns();
    atomic_fetch_add(&open->bytes_drained, pass->bytes);
    open->passed_ns = pass->more ? 0 : now;
    if (pass->more || pass->status != CTE_OK)
        open->due_ns = now;
    else if (pass->cool_ns > 0)
        open->due_ns = now + pass->cool_ns;
    bool owns_fd = open->pass_owns_fd;
    open->pass_fd = -1;
    if (open->handles == 0)
        cte__open_release_locked(client, open, pass->fd);
    if (owns_fd && close(pass->fd) != 0)
        cte__log_error("closing a file that was drained: %s", strerror(errno));
    pthread_cond_broadcast(&client->pass_ended);
}

/* ---- the job -------------------------------------------------------------------------------- */

static bool wanted(void *context)
{
    cte_client *client = context;
    if (client->config->drain_threads == 0)
        return false;
    pthread_mutex_lock(&client->lock);
    bool any = cte__kept_any_locked(client);
    for (struct cte__open_file *open = client->open_files; open && !any; open = open->next)
        any = due_of(client, open, 0) != CTE__BACKGROUND_IDLE;
    pthread_mutex_unlock(&client->lock);
    return any;
}

/* Drains a part of a file that was closed.  True if it is done with. */
static bool drain_kept(struct pass *pass, struct cte__kept_file *kept, uint64_t *due_ns)
{
    *due_ns = cte__monotonic_ns() + KEPT_RETRY_MS * MS_NS;
    /* Asked once: the data of a file that was deleted goes when the record is left, but only if it
     * was opened for that.  One that is deleted from now on has its turn again. */
    bool done = cte__kept_is_deleted(kept);
    pass->status = cte__kept_open(pass->client, kept, done, &pass->tag);
    if (pass->status != CTE_OK)
        return false;
    pass->fd = cte__kept_fd(kept);
    if (!done)
        run_pass(pass);
    uint64_t bytes = 0, retry_ns = atomic_load(&file_state(pass)->drain_retry_ns);
    if (!done && !cte__kept_is_deleted(kept) && pass->status == CTE_OK && !pass->more &&
        pass->cool_ns == 0)
        /* Its size, and what somebody else was busy with. */
        done = cte__drain(pass->client, pass->tag, pass->fd, pass->background, &bytes) == CTE_OK;
    cte__tracked_close(pass->client, pass->tag, pass->fd);
    pass->bytes += bytes;
    *due_ns = pass->more ? 0 : cte__max(cte__monotonic_ns() + pass->cool_ns, retry_ns);
    return done;
}

static uint64_t step_kept(cte_client *client, struct cte__background *background, uint64_t due_ns)
{
    uint64_t now = cte__monotonic_ns(), kept_due_ns;
    struct cte__kept_file *kept = cte__kept_borrow(client, now, &kept_due_ns);
    if (!kept) {
        due_ns = cte__min(due_ns, kept_due_ns);
        return due_ns == CTE__BACKGROUND_IDLE ? due_ns : due_ns > now ? due_ns - now : 0;
    }
    struct pass pass = {.client = client, .background = background};
    bool done = drain_kept(&pass, kept, &kept_due_ns);
    cte__kept_return(client, kept, done, pass.bytes, kept_due_ns);
    return 0;
}

static uint64_t step(void *context, struct cte__background *background)
{
    cte_client *client = context;
    struct pass pass = {.client = client, .background = background};
    uint64_t due_ns;
    if (should_wait(client))
        return BUSY_NAP_MS * MS_NS;
    pthread_mutex_lock(&client->lock);
    /* By turns: closed files keep descriptors, which must not wait for files that are never done.
     */
    struct cte__open_file *open = choose(client, cte__monotonic_ns(), &due_ns);
    bool kept_turn = open && (client->eager.kept_turn = !client->eager.kept_turn) &&
                     cte__kept_due_locked(client, cte__monotonic_ns());
    open = kept_turn ? NULL : open;
    if (open)
        begin_pass(open, &pass);
    pthread_mutex_unlock(&client->lock);
    if (!open)
        return step_kept(client, background, due_ns);
    run_pass(&pass);
    if (client->eager.scarce && pass.bytes > 0)
        cte__room_evict(client, 0);
    pthread_mutex_lock(&client->lock);
    end_pass(client, &pass);
    pthread_mutex_unlock(&client->lock);
    return 0;
}

static uint32_t seats(void *context)
{
    cte_client *client = context;
    return (uint32_t)cte__max(client->config->drain_threads, 1);
}

const struct cte__background_job cte__drain_job = {
    .name = "drain", .wanted = wanted, .step = step, .seats = seats};

/* ---- handles -------------------------------------------------------------------------------- */

static bool may_be_drained_to(const cte_file *file)
{
    return file->client->background && file->client->config->drain_threads > 0 && file->writable &&
           !file->scratch && file->drain != CTE_FILE_DRAIN_NEVER &&
           (fcntl(file->fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
}

static void link_writer(cte_file *file)
{
    file->next_writer = file->open->writers;
    file->open->writers = file;
    file->eager = true;
}

static void unlink_writer(cte_file *file)
{
    cte_file **link = &file->open->writers;
    while (*link != file)
        link = &(*link)->next_writer;
    *link = file->next_writer;
    file->eager = false;
}

void cte__eager_join(cte_file *file)
{
    cte_client *client = file->client;
    pthread_mutex_lock(&client->lock);
    file->open = cte__open_find_locked(client, file->tag);
    pthread_mutex_unlock(&client->lock);
    cte__eager_adapt(file);
}

/* A pass that goes on to its descriptor may finish what it has begun. */
void cte__eager_adapt(cte_file *file)
{
    pthread_mutex_lock(&file->client->lock);
    bool may = may_be_drained_to(file);
    if (may && !file->eager)
        link_writer(file);
    else if (!may && file->eager)
        unlink_writer(file);
    pthread_mutex_unlock(&file->client->lock);
}

void cte__eager_touch(cte_file *file)
{
    if (!file->eager)
        return;
    if (!atomic_load_explicit(&file->open->touched, memory_order_relaxed))
        atomic_store(&file->open->touched, true);
    cte__background_rouse(file->client->background);
}

void cte__eager_close(cte_file *file)
{
    cte_client *client = file->client;
    if (!file->eager)
        return;
    pthread_mutex_lock(&client->lock);
    unlink_writer(file);
    file->closing = true;
    atomic_fetch_add(&file->open->closers, 1);
    while (file->drain != CTE_FILE_DRAIN_ASYNC && in_pass(client, file->open))
        pthread_cond_wait(&client->pass_ended, &client->lock);
    pthread_mutex_unlock(&client->lock);
}

void cte__eager_leave(cte_file *file)
{
    cte_client *client = file->client;
    struct cte__open_file *open = file->open;
    pthread_mutex_lock(&client->lock);
    if (file->eager)
        unlink_writer(file);
    if (file->closing)
        atomic_fetch_sub(&open->closers, 1);
    if (in_pass(client, open) && open->pass_fd == file->fd) {
        open->pass_owns_fd = true;
        file->fd = -1;
    }
    /* Other handles of this process may stay: what is left is theirs to see to. */
    bool others = open->writers != NULL;
    if (others && open->due_ns == 0)
        open->due_ns = 1;
    pthread_mutex_unlock(&client->lock);
    if (others)
        cte__background_rouse(client->background);
}
