/* SPDX-License-Identifier: BSD-3-Clause */
/* Data transfers: planned for all ranks, made by each for itself, checked against the shadow file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "log.h"
#include "session.h"

enum { GUARD = 64, MAX_BATCH = 3, MAX_PIECES = 8192 };
static const int64_t MAX_BUFFER = 4 << 20;

/* Which calls a round uses; the same on all ranks unless the calls are independent. */
struct style {
    bool write;
    bool collective;
    bool large;
    bool ignore_status;
    enum pointer_kind pointer;
    enum call_mode mode;
};

/* An access with its buffer. */
struct job {
    struct access access;
    int64_t end_of_file; /* when it was planned */
    struct style style;
    struct call call;
    unsigned char *buffer;
    size_t buffer_bytes;
    unsigned char *origin; /* address that the memory type map is relative to */
    uint64_t filled;       /* hash of the buffer before the call */
};

/* --- the bytes of a transfer --- */

static unsigned char fill_byte(uint64_t salt, int64_t at)
{
    return (unsigned char)(rng_mix(salt + (uint64_t)(at >> 3)) >> (8 * (at & 7)));
}

/* Walks file and memory pieces side by side. */
struct pairs {
    const struct access *access;
    size_t file_index, memory_index;
    int64_t file_done, memory_done;
};

static bool pairs_next(struct pairs *p, int64_t *file, int64_t *memory, int64_t *length)
{
    if (p->file_index == p->access->file.count)
        return false;
    const struct run *f = &p->access->file.list[p->file_index];
    const struct run *m = &p->access->memory.list[p->memory_index];
    int64_t left = f->length - p->file_done, other = m->length - p->memory_done;
    *length = left < other ? left : other;
    *file = f->offset + p->file_done;
    *memory = m->offset + p->memory_done;
    p->file_done += *length;
    p->memory_done += *length;
    if (p->file_done == f->length)
        p->file_index++, p->file_done = 0;
    if (p->memory_done == m->length)
        p->memory_index++, p->memory_done = 0;
    return true;
}

static void shadow_write(struct session *s, const struct access *access)
{
    struct pairs pairs = {.access = access};
    int64_t file, memory, length;
    unsigned char piece[4096];
    while (pairs_next(&pairs, &file, &memory, &length))
        for (int64_t done = 0; done < length;) {
            int64_t now = length - done < (int64_t)sizeof(piece) ? length - done : 4096;
            for (int64_t i = 0; i < now; i++)
                piece[i] = fill_byte(access->salt, memory + done + i);
            shadow_put(&s->shadow, file + done, piece, now);
            done += now;
        }
}

/* --- planning --- */

static int64_t gcd(int64_t a, int64_t b)
{
    return b ? gcd(b, a % b) : a;
}

static void plan_bytes(struct session *s, struct access *a, const struct type *etype)
{
    int64_t most = s->most / etype->size;
    int64_t n = rng_chance(&s->random, 4) ? 0 : 1 + (int64_t)rng_size(&s->random, (uint64_t)most);
    bool bytes = rng_chance(&s->random, 60) || etype->map.count > 1;
    a->bytes = n * etype->size;
    a->type = type_named(MPI_BYTE);
    a->count = a->bytes;
    if (bytes || etype->extent != etype->size)
        return;
    type_free(a->type);
    a->type = type_contiguous(etype, 1);
    a->count = n;
}

/* A memory type of its own, as many times as makes whole etypes. */
static bool plan_memory_type(struct session *s, struct access *a, const struct type *etype)
{
    struct type *type = type_random_memory(&s->random);
    int64_t step = etype->size / gcd(etype->size, type->size);
    int64_t most = s->most / (step * type->size);
    int64_t count = step * (1 + (int64_t)rng_size(&s->random, (uint64_t)most));
    int64_t span = type->extent < 0 ? -type->extent : type->extent;
    if (count * (span + 1) > MAX_BUFFER || count * (int64_t)type->map.count > MAX_PIECES) {
        type_free(type);
        return false;
    }
    a->type = type;
    a->count = count;
    a->bytes = count * type->size;
    return true;
}

static void plan_memory(struct access *a)
{
    for (int64_t i = 0; i < a->count; i++)
        for (size_t r = 0; r < a->type->map.count; r++)
            runs_add(&a->memory, i * a->type->extent + a->type->map.list[r].offset,
                     a->type->map.list[r].length);
}

/* Explicit offsets: anywhere in the region, near an edge, or in the rank's own part of it. */
static int64_t plan_offset(struct session *s, const struct view *view, int rank)
{
    struct rng *g = &s->random;
    int64_t stretch = (view->filetype->extent + view->filetype->size - 1) / view->filetype->size;
    int64_t room = s->region / (view->etype->size * (stretch < 1 ? 1 : stretch));
    int64_t chosen = (int64_t)rng_below(g, (uint64_t)room + 1);
    int64_t part = room / s->ranks;
    if (rng_chance(g, 25) && s->region > 1 << 20)
        chosen = ((1 << 20) * (int64_t)rng_below(g, 4) + rng_range(g, -40, 40)) / view->etype->size;
    else if (rng_chance(g, 25))
        chosen = (int64_t)rng_below(g, 4);
    else if (rng_chance(g, 60))
        chosen = rank * part + (int64_t)rng_below(g, (uint64_t)part / 2 + 1);
    return chosen < 0 ? 0 : chosen;
}

static struct access plan_access(struct session *s, struct handle *h, int rank, struct style style,
                                 int64_t offset)
{
    struct access a = {.rank = rank, .write = style.write, .salt = rng_next(&s->random)};
    const struct view *view = &h->view[rank];
    a.view_contiguous =
        view->filetype->map.count == 1 && view->filetype->size == view->filetype->extent;
    if (rng_chance(&s->random, 50) || !plan_memory_type(s, &a, view->etype))
        plan_bytes(s, &a, view->etype);
    plan_memory(&a);
    a.offset = style.pointer == AT ? plan_offset(s, view, rank) : offset;
    view_map(view, a.offset, a.bytes, &a.file);
    bool twice = !style.write && runs_overlap_themselves(&a.memory);
    if (twice || a.file.count > MAX_PIECES || !access_in_arena(&a))
        access_empty(&a);
    return a;
}

/* Atomic mode sieves whatever the hints say. */
static bool sieves(const struct handle *h)
{
    return h->sieve || h->atomic;
}

/* Makes the access part of the epoch, or one of no bytes if it could not be told how it ends. */
static void admit(struct session *s, const struct handle *h, struct job *job)
{
    bool sieve = sieves(h);
    if (job->style.collective && h->two_phase)
        sieve =
            h->alone; /* one aggregator fills the holes: the others wait for it, or know nothing */
    if (epoch_conflict(&s->epoch, &job->access, sieve))
        access_empty(&job->access);
    epoch_add(&s->epoch, &job->access, sieve);
    job->end_of_file = s->shadow.size;
    if (job->access.write)
        shadow_write(s, &job->access);
}

/* --- running --- */

static void job_prepare(struct job *job, const struct handle *h)
{
    struct access *a = &job->access;
    int64_t low, high;
    runs_bounds(&a->memory, &low, &high);
    job->buffer_bytes = (size_t)(high - low) + 2 * GUARD;
    job->buffer = must_alloc(job->buffer_bytes);
    job->origin = job->buffer + GUARD - low;
    for (size_t i = 0; i < job->buffer_bytes; i++)
        job->buffer[i] = fill_byte(a->salt, (int64_t)i - GUARD + low);
    job->filled = hash_bytes(0, job->buffer, job->buffer_bytes);
    job->call = (struct call){.write = a->write,
                              .collective = job->style.collective,
                              .large = job->style.large,
                              .ignore_status = job->style.ignore_status,
                              .pointer = job->style.pointer,
                              .mode = job->style.mode,
                              .file = h->file,
                              .offset = a->offset,
                              .buffer = job->origin,
                              .count = a->count,
                              .type = a->type->mpi};
}

/* Compares what was read with the shadow; bytes past the end of the file become 0xEE unless the
   call is one for which every MPI leaves them alone. */
static int64_t job_check_read(struct session *s, struct job *job, bool exact)
{
    struct pairs pairs = {.access = &job->access};
    int64_t file, memory, length, below = 0;
    int64_t wrong_file = -1, wrong_memory = 0;
    while (pairs_next(&pairs, &file, &memory, &length)) {
        int64_t there = job->end_of_file - file;
        there = there < 0 ? 0 : there > length ? length : there;
        below += there;
        for (int64_t i = 0; wrong_file < 0 && i < there; i++)
            if (job->origin[memory + i] != *shadow_at(&s->shadow, file + i)) {
                wrong_file = file + i;
                wrong_memory = memory + i;
            }
        if (!exact)
            memset(job->origin + memory + there, 0xee, (size_t)(length - there));
    }
    if (wrong_file >= 0)
        log_model(
            "read data differs from what was written, first for byte %lld of the file, at %lld "
            "of the buffer",
            (long long)wrong_file, (long long)wrong_memory);
    return below;
}

/* MPICH says "all bytes" for most reads past the end, where the true number is right as well. */
static void describe_count(struct job *job, int64_t below, bool exact, char *text, size_t room)
{
    MPI_Count bytes = 0, elements = 0;
    int count = 0;
    if (job->call.ignore_status) {
        snprintf(text, room, "ignored");
        return;
    }
    MPI_Get_elements_x(&job->call.status, MPI_BYTE, &bytes);
    if (!exact && (bytes == below || bytes == job->access.bytes)) {
        snprintf(text, room, "past-end");
        return;
    }
    MPI_Get_count(&job->call.status, job->access.type->mpi, &count);
    if (!job->access.type->has_empty)
        MPI_Get_elements_x(&job->call.status, job->access.type->mpi, &elements);
    snprintf(text, room, "%lld/%d/%lld", (long long)bytes, count, (long long)elements);
    if (bytes != (job->access.write ? job->access.bytes : below))
        log_model("%lld bytes transferred, should be %lld", (long long)bytes,
                  (long long)(job->access.write ? job->access.bytes : below));
}

static bool job_crosses_end(const struct job *job)
{
    return !job->access.write && job->access.bytes > 0 &&
           access_end(&job->access) > job->end_of_file;
}

static void job_report(struct session *s, struct job *job)
{
    const struct access *a = &job->access;
    char name[64], count[96] = "-";
    bool exact = !job_crosses_end(job) ||
                 (access_plain(a) && !job->style.collective && job->style.mode == BLOCKING);
    call_name(&job->call, name);
    if (job->call.error == MPI_SUCCESS) {
        int64_t below = a->write ? a->bytes : job_check_read(s, job, exact);
        describe_count(job, below, exact, count, sizeof(count));
    } else {
        log_model("%s failed", name);
    }
    uint64_t hash = hash_bytes(0, job->buffer, job->buffer_bytes);
    log_line(
        "%s offset=%lld bytes=%lld count=%lld pieces=%zu/%zu error=%s status=%s data=%016llx%s",
        name, (long long)a->offset, (long long)a->bytes, (long long)a->count, a->memory.count,
        a->file.count, error_name(job->call.error), count, (unsigned long long)hash,
        a->write && hash != job->filled ? " write-buffer-changed" : "");
}

static void job_free(struct job *job)
{
    access_free(&job->access);
    free(job->buffer);
}

/* After a read past the end the pointer is where the MPI thinks right: put it where we know. */
static void repair_position(struct handle *h, const struct job *job, int rank)
{
    if (job->style.pointer != INDIVIDUAL || !job_crosses_end(job))
        return;
    int error = MPI_File_seek(h->file, h->position[rank], MPI_SEEK_SET);
    log_line("seek after the end offset=%lld error=%s", (long long)h->position[rank],
             error_name(error));
}

static void trace_runs(const char *what, const struct runs *runs)
{
    enum { SHOWN = 12 };
    for (size_t i = 0; i < runs->count && i < SHOWN; i++)
        log_trace("  %s %lld+%lld%s", what, (long long)runs->list[i].offset,
                  (long long)runs->list[i].length, i == SHOWN - 1 ? " ..." : "");
}

static void job_trace(struct session *s, const struct handle *h, const struct job *job)
{
    const struct access *a = &job->access;
    const struct view *view = &h->view[s->rank];
    char name[64];
    if (!log_traces())
        return;
    call_name(&job->call, name);
    log_trace("%s offset=%lld bytes=%lld count=%lld type=%lld/%lld atomic=%d", name,
              (long long)a->offset, (long long)a->bytes, (long long)a->count,
              (long long)a->type->size, (long long)a->type->extent, h->atomic);
    log_trace("  view disp=%lld etype=%lld filetype=%lld/%lld lb=%lld", (long long)view->disp,
              (long long)view->etype->size, (long long)view->filetype->size,
              (long long)view->filetype->extent, (long long)view->filetype->lb);
    log_trace("  type %s, filetype %s", a->type->text, view->filetype->text);
    trace_runs("tile", &view->filetype->map);
    trace_runs("file", &a->file);
    trace_runs("memory", &a->memory);
}

/* `jobs` of this rank: started one after the other, finished together. */
static void run_jobs(struct session *s, struct handle *h, struct job *jobs, int count, unsigned how)
{
    struct call calls[MAX_BATCH];
    for (int i = 0; i < count; i++) {
        job_prepare(&jobs[i], h);
        job_trace(s, h, &jobs[i]);
        call_start(&jobs[i].call);
        calls[i] = jobs[i].call;
    }
    if (count > 1)
        log_trace("%d calls pending, to be completed in way %u", count, how);
    calls_finish(calls, count, how);
    for (int i = 0; i < count; i++) {
        jobs[i].call = calls[i];
        job_report(s, &jobs[i]);
    }
    for (int i = 0; i < count; i++)
        repair_position(h, &jobs[i], s->rank);
}

/* --- operations --- */

static struct style random_style(struct session *s, const struct handle *h)
{
    struct rng *g = &s->random;
    struct style style = {.write = rng_chance(g, 55),
                          .large = rng_chance(g, 20),
                          .ignore_status = rng_chance(g, 8),
                          .pointer = rng_chance(g, 50) ? AT : INDIVIDUAL};
    if (!handle_may(h, style.write))
        style.write = !style.write;
    return style;
}

/* The size that every rank sees now: what was written since the last boundary may be still to come.
 */
static int64_t certain_size(const struct session *s)
{
    return s->ranks == 1 ? s->shadow.size : s->epoch.size_at_start;
}

static void admit_job(struct session *s, struct handle *h, struct job *job)
{
    int rank = job->access.rank;
    admit(s, h, job);
    if (job->style.pointer == INDIVIDUAL)
        h->position[rank] += job->access.bytes / h->view[rank].etype->size;
}

static void plan_job(struct session *s, struct handle *h, int rank, struct style style,
                     struct job *job)
{
    struct access *access = &job->access;
    job->style = style;
    *access = plan_access(s, h, rank, style, h->position[rank]);
    if (access->write && sieves(h) && accesses_leave_gap(&access, 1, certain_size(s)))
        access_empty(access);
}

void op_independent(struct session *s, struct handle *h)
{
    struct job mine = {0};
    bool active = false;
    for (int rank = 0; rank < s->ranks; rank++) {
        struct style style = random_style(s, h);
        struct job job = {0};
        if (rng_chance(&s->random, 25))
            continue;
        plan_job(s, h, rank, style, &job);
        admit_job(s, h, &job);
        if (rank == s->rank) {
            mine = job;
            active = true;
        } else {
            job_free(&job);
        }
    }
    if (!active)
        return;
    run_jobs(s, h, &mine, 1, 0);
    job_free(&mine);
}

/* What the ranks write together may have no gap behind the end of the file. */
static void close_gap(struct session *s, struct job *jobs)
{
    struct access *accesses[MAX_RANKS];
    for (int rank = 0; rank < s->ranks; rank++)
        accesses[rank] = &jobs[rank].access;
    if (!jobs[0].style.write || !accesses_leave_gap(accesses, s->ranks, certain_size(s)))
        return;
    for (int rank = 0; rank < s->ranks; rank++)
        if (access_end(accesses[rank]) > certain_size(s))
            access_empty(accesses[rank]);
}

void op_collective(struct session *s, struct handle *h)
{
    struct style style = random_style(s, h);
    struct job jobs[MAX_RANKS] = {0};
    unsigned how = (unsigned)rng_below(&s->random, 8);
    style.collective = true;
    if (rng_chance(&s->random, 30))
        style.mode = rng_chance(&s->random, 50) ? SPLIT : NONBLOCKING;
    for (int rank = 0; rank < s->ranks; rank++) {
        style.large = rng_chance(&s->random, 20);
        plan_job(s, h, rank, style, &jobs[rank]);
    }
    close_gap(s, jobs);
    for (int rank = 0; rank < s->ranks; rank++)
        admit_job(s, h, &jobs[rank]);
    run_jobs(s, h, &jobs[s->rank], 1, how);
    for (int rank = 0; rank < s->ranks; rank++)
        job_free(&jobs[rank]);
    if (style.mode == NONBLOCKING)
        boundary(s); /* one rank may be done while MPICH still writes for another */
}

/* Requests of one batch may complete in any order: they must not meet at all. */
static bool batch_conflict(const struct job *jobs, int count, const struct job *job, bool sieve,
                           int64_t size)
{
    struct epoch others = {0};
    struct access stranger = job->access;
    epoch_start(&others, size);
    for (int i = 0; i < count; i++)
        epoch_add(&others, &jobs[i].access, sieve);
    stranger.rank = job->access.rank + 1;
    bool conflict = epoch_conflict(&others, &stranger, sieve);
    epoch_start(&others, 0);
    free(others.marks);
    return conflict;
}

static int plan_batch(struct session *s, struct handle *h, int rank, struct job *jobs)
{
    int count = rng_range(&s->random, 0, MAX_BATCH);
    int64_t size = s->shadow.size;
    for (int i = 0; i < count; i++) {
        struct style style = random_style(s, h);
        style.mode = NONBLOCKING;
        jobs[i] = (struct job){0};
        plan_job(s, h, rank, style, &jobs[i]);
        if (batch_conflict(jobs, i, &jobs[i], sieves(h), size))
            access_empty(&jobs[i].access);
        admit_job(s, h, &jobs[i]);
    }
    return count;
}

void op_batch(struct session *s, struct handle *h)
{
    struct job mine[MAX_BATCH];
    int my_count = 0;
    unsigned how = (unsigned)rng_below(&s->random, 8);
    for (int rank = 0; rank < s->ranks; rank++) {
        struct job jobs[MAX_BATCH];
        int count = plan_batch(s, h, rank, jobs);
        if (rank == s->rank) {
            memcpy(mine, jobs, sizeof(mine));
            my_count = count;
        } else {
            for (int i = 0; i < count; i++)
                job_free(&jobs[i]);
        }
    }
    run_jobs(s, h, mine, my_count, how);
    for (int i = 0; i < my_count; i++)
        job_free(&mine[i]);
}

/* Offsets follow from the shared pointer, so they are planned in the order of the ranks. */
static void plan_shared(struct session *s, struct handle *h, struct style style, struct job *jobs)
{
    int64_t at = h->shared;
    for (int rank = 0; rank < s->ranks; rank++) {
        jobs[rank].style = style;
        jobs[rank].access = plan_access(s, h, rank, style, at);
        at += jobs[rank].access.bytes / h->view[rank].etype->size;
    }
    struct access *accesses[MAX_RANKS];
    for (int rank = 0; rank < s->ranks; rank++)
        accesses[rank] = &jobs[rank].access;
    bool gap = style.write && accesses_leave_gap(accesses, s->ranks, certain_size(s));
    for (int rank = 0; rank < s->ranks; rank++) {
        if (gap)
            access_empty(accesses[rank]);
        admit(s, h, &jobs[rank]);
        h->shared += accesses[rank]->bytes / h->view[rank].etype->size;
    }
}

/* Shared pointers need one view and, unless ordered, one rank after the other. */
void op_shared(struct session *s, struct handle *h)
{
    struct style style = random_style(s, h);
    struct job jobs[MAX_RANKS] = {0};
    if (!handle_may_share_pointer(h))
        return;
    style.pointer = SHARED;
    style.collective = rng_chance(&s->random, 60);
    if (rng_chance(&s->random, 30))
        style.mode = style.collective ? SPLIT : NONBLOCKING;
    boundary(s);
    plan_shared(s, h, style, jobs);
    for (int rank = 0; rank < s->ranks; rank++) {
        if (rank == s->rank)
            run_jobs(s, h, &jobs[rank], 1, 0);
        if (!style.collective)
            boundary(s);
    }
    for (int rank = 0; rank < s->ranks; rank++)
        job_free(&jobs[rank]);
    boundary(s);
}
