/* SPDX-License-Identifier: BSD-3-Clause */
/* What a measuring process does: the same pieces through the library and through the limit, in
 * turns, timed; then every byte is compared, untimed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum { POOL_BYTES = 1 << 20, STAMP_BYTES = 8, ALIGNMENT = 4096 };

/* ---- data ----------------------------------------------------------------------------------- */

static size_t stamp_bytes(const struct bench_worker *worker)
{
    return worker->options->size_bytes < STAMP_BYTES ? worker->options->size_bytes : STAMP_BYTES;
}

/* What a piece begins with: tells it from all others of the run. */
static uint64_t stamp_of(const struct bench_worker *worker, uint64_t index)
{
    return ((index + 1) << 8 | worker->index) * UINT64_C(0x9e3779b97f4a7c15);
}

/* Stamping is part of the timed work on both sides: programs make data. */
static void stamp_piece(const struct bench_worker *worker, uint64_t index, unsigned char *piece)
{
    uint64_t stamp = stamp_of(worker, index);
    memcpy(piece, &stamp, stamp_bytes(worker));
}

/* The bytes of a piece. */
static unsigned char *piece_of(const struct bench_worker *worker, uint64_t index)
{
    unsigned char *piece = worker->source + index % worker->pieces * worker->options->size_bytes;
    stamp_piece(worker, index, piece);
    return piece;
}

static bool check_stamp(struct bench_worker *worker, uint64_t index, const unsigned char *piece)
{
    uint64_t stamp = stamp_of(worker, index);
    return memcmp(piece, &stamp, stamp_bytes(worker)) == 0 ||
           bench_fail(worker, "piece %llu holds the bytes of another", (unsigned long long)index);
}

static bool make_buffers(struct bench_worker *worker)
{
    uint64_t size = worker->options->size_bytes;
    uint32_t depth = worker->options->depth;
    worker->pieces = size < POOL_BYTES && depth <= 1 ? POOL_BYTES / size : 1;
    size_t pool = worker->pieces * size;
    /* O_DIRECT wants them aligned; a multiple of it is asked of the size then. */
    if (posix_memalign((void **)&worker->source, ALIGNMENT, pool) != 0 ||
        posix_memalign((void **)&worker->buffer, ALIGNMENT, size) != 0 ||
        (depth > 1 && posix_memalign((void **)&worker->slots, ALIGNMENT, depth * size) != 0))
        return bench_fail(worker, "not enough memory for pieces of this size");
    uint64_t state = UINT64_C(0x9e3779b97f4a7c15) * (worker->index + 1);
    for (size_t i = 0; i < pool; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        worker->source[i] = (unsigned char)state;
    }
    memset(worker->buffer, 0, size);
    for (uint32_t i = 0; worker->slots && i < depth; i++)
        memcpy(worker->slots + i * size, worker->source, size);
    return true;
}

/* ---- phases --------------------------------------------------------------------------------- */

struct subject {
    const struct bench_subject_ops *ops;
    void *state;
};

static bool wait_for(struct bench_worker *worker, const struct subject *subject, uint64_t index)
{
    uint64_t slot = index % worker->options->depth;
    void *operation = worker->operations[slot];
    worker->operations[slot] = NULL;
    return subject->ops->wait(worker, index, operation) &&
           (!worker->options->get ||
            check_stamp(worker, index, worker->slots + slot * worker->options->size_bytes));
}

/* All operations, `depth` of them under way. */
static bool stream_all(struct bench_worker *worker, const struct subject *subject)
{
    uint64_t depth = worker->options->depth, count = worker->options->count;
    bool good = true;
    for (uint64_t i = 0; i < count && good; i++) {
        unsigned char *memory = worker->slots + i % depth * worker->options->size_bytes;
        good = i < depth || wait_for(worker, subject, i - depth);
        if (good && !worker->options->get)
            stamp_piece(worker, i, memory);
        good = good && subject->ops->start(worker, subject->state, i, memory,
                                           &worker->operations[i % depth]);
    }
    /* Whatever happened, nothing that uses the memory is left under way. */
    for (uint64_t i = count > depth ? count - depth : 0; i < count && good; i++)
        good = wait_for(worker, subject, i);
    for (uint64_t slot = 0; slot < depth; slot++)
        if (worker->operations[slot])
            subject->ops->wait(worker, slot, worker->operations[slot]);
    return good;
}

static bool streams(const struct bench_worker *worker, const struct subject *subject)
{
    return worker->slots && subject->ops->start;
}

static bool put_one_by_one(struct bench_worker *worker, struct subject *subject)
{
    for (uint64_t i = 0; i < worker->options->count; i++)
        if (!subject->ops->put(worker, subject->state, i, piece_of(worker, i)))
            return false;
    return true;
}

static bool put_all(struct bench_worker *worker, struct subject *subject)
{
    /* What gets are to find is put one by one: the slots are the gets'. */
    bool stream = streams(worker, subject) && !worker->options->get;
    return (stream ? stream_all(worker, subject) : put_one_by_one(worker, subject)) &&
           (!subject->ops->finish || subject->ops->finish(worker, subject->state));
}

static bool get_all(struct bench_worker *worker, struct subject *subject)
{
    if (streams(worker, subject))
        return stream_all(worker, subject);
    for (uint64_t i = 0; i < worker->options->count; i++)
        if (!subject->ops->get(worker, subject->state, i, worker->buffer) ||
            !check_stamp(worker, i, worker->buffer))
            return false;
    return true;
}

/* Compares every byte. */
static bool verify(struct bench_worker *worker, struct subject *subject)
{
    if (subject->ops->run)
        return true; /* not our bytes */
    for (uint64_t i = 0; i < worker->options->count; i++) {
        memset(worker->buffer, 0, worker->options->size_bytes);
        if (!subject->ops->get(worker, subject->state, i, worker->buffer))
            return false;
        if (memcmp(worker->buffer, piece_of(worker, i), worker->options->size_bytes) != 0)
            return bench_fail(worker, "piece %llu reads back WRONG", (unsigned long long)i);
    }
    return true;
}

/* Everybody waits for everybody; nobody computes while waiting. */
static void meet(struct bench_worker *worker)
{
    pthread_barrier_wait(&worker->shared->barrier);
}

static bool timed(struct bench_worker *worker, struct subject *subject, uint32_t processes,
                  struct bench_mark *mark)
{
    if (subject->ops->run)
        return worker->index > 0 || subject->ops->run(worker, subject->state, processes, mark);
    uint64_t cpu = bench_cpu_ns();
    mark->begin_ns = bench_now_ns();
    bool good = worker->options->get ? get_all(worker, subject) : put_all(worker, subject);
    mark->end_ns = bench_now_ns();
    mark->cpu_ns = bench_cpu_ns() - cpu;
    return good;
}

static bool prepare(struct bench_worker *worker, struct subject *subject)
{
    bool keep = worker->options->get || worker->options->overwrite || !subject->ops->clear;
    return keep || subject->ops->clear(worker, subject->state);
}

static bool run_phase(struct bench_worker *worker, struct subject *subject, enum bench_phase phase,
                      uint32_t repeat)
{
    struct bench_mark *marks = bench_marks(worker->options, worker->shared, repeat, phase);
    bool idle = phase == BENCH_ALONE && worker->index > 0;
    uint32_t processes = phase == BENCH_ALONE ? 1 : worker->options->processes;
    if (!idle && !prepare(worker, subject))
        return false;
    meet(worker);
    if (!idle && !timed(worker, subject, processes, &marks[worker->index]))
        return false;
    meet(worker);
    return idle || verify(worker, subject);
}

/* Who is first changes with every repeat, so that a drift of the machine favours nobody. */
static bool run_repeat(struct bench_worker *worker, struct subject *ours, struct subject *limit,
                       uint32_t repeat)
{
    bool ours_first = repeat % 2 == 0;
    return (!ours_first || run_phase(worker, ours, BENCH_OURS, repeat)) &&
           run_phase(worker, limit, BENCH_LIMIT, repeat) &&
           (worker->options->processes == 1 || run_phase(worker, limit, BENCH_ALONE, repeat)) &&
           (ours_first || run_phase(worker, ours, BENCH_OURS, repeat));
}

/* ---- processes ------------------------------------------------------------------------------ */

/* What a set of processes does between start and end. */
struct task {
    const struct bench_options *options;
    const struct bench_place *place;
    struct bench_shared *shared;
    bool store;     /* put everything first: gets need something to get */
    uint32_t first; /* repeats, from this one */
    uint32_t repeats;
};

static bool fill_and_measure(struct bench_worker *worker, const struct task *task,
                             struct subject *ours, struct subject *limit)
{
    if (task->store && (!put_all(worker, ours) || (!limit->ops->run && !put_all(worker, limit))))
        return false;
    for (uint32_t i = 0; i < worker->options->warmups && task->repeats > 0; i++) {
        if (worker->options->get
                ? !get_all(worker, ours) || (!limit->ops->run && !get_all(worker, limit))
                : !prepare(worker, ours) || !put_all(worker, ours) ||
                      (!limit->ops->run && !put_all(worker, limit)))
            return false;
        meet(worker);
    }
    for (uint32_t i = 0; i < task->repeats; i++)
        if (!run_repeat(worker, ours, limit, task->first + i))
            return false;
    return true;
}

static bool work(void *context, uint32_t index)
{
    const struct task *task = context;
    struct bench_worker worker = {
        .options = task->options, .place = task->place, .shared = task->shared, .index = index};
    struct subject ours = {&bench_ours, NULL}, limit = {bench_limit_for(task->options), NULL};
    bool good = make_buffers(&worker) && ours.ops->open(&worker, &ours.state);
    if (good) {
        good = limit.ops->open(&worker, &limit.state);
        if (good) {
            good = fill_and_measure(&worker, task, &ours, &limit);
            limit.ops->close(limit.state);
        }
        ours.ops->close(ours.state);
    }
    free(worker.source);
    free(worker.buffer);
    free(worker.slots);
    return good;
}

static bool run_task(struct task *task)
{
    struct bench_shared *shared = task->shared;
    pthread_barrierattr_t attributes;
    int error = pthread_barrierattr_init(&attributes);
    if (error == 0) {
        pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        error = pthread_barrier_init(&shared->barrier, &attributes, task->options->processes);
        pthread_barrierattr_destroy(&attributes);
    }
    if (error != 0) {
        complain("cannot make a barrier: %s", strerror(error));
        return false;
    }
    bool good = bench_fork(task->options->processes, work, task);
    for (uint32_t i = 0; i < task->options->processes; i++)
        if (shared->errors[i][0] != '\0')
            complain("process %u: %s", i, shared->errors[i]);
    /* Not destroyed: that would wait for processes that were killed while they waited at it. */
    return good;
}

/* Each repeat in a new store and in processes that have touched nothing yet. */
static bool measure_cold(struct task *task, uint32_t repeats)
{
    bool good = true;
    for (uint32_t i = 0; i < repeats && good; i++) {
        task->first = i;
        if (!bench_touch_memory(task->options, task->place))
            return false;
        if (task->options->get) {
            task->store = true;
            task->repeats = 0;
            good = run_task(task) && bench_drop_cache(task->place->disk);
        }
        task->store = false;
        task->repeats = 1;
        good = good && run_task(task);
        good = good && bench_empty(task->place->memory) &&
               (task->place->disk[0] == '\0' || bench_empty(task->place->disk));
    }
    return good;
}

bool bench_measure(const struct bench_options *options, struct bench_place *place,
                   struct bench_shared *shared)
{
    struct task task = {.options = options, .place = place, .shared = shared};
    if (options->cold)
        return measure_cold(&task, options->repeats);
    task.store = options->get || options->overwrite;
    task.repeats = options->repeats;
    return run_task(&task);
}
