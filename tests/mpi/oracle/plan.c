/* SPDX-License-Identifier: BSD-3-Clause */
/* What a batch does, and in which order. */
#include "oracle.h"

#include <string.h>

enum { PENDING_MAX = 4 };

struct planner {
    struct model *model;
    struct batch *batch;
    struct rng rng;
    uint64_t known[RANKS_MAX]; /* the operations ordered before what the rank does next */
    int pending[RANKS_MAX][PENDING_MAX], pendings[RANKS_MAX];
    int64_t hot; /* many accesses are around here */
    bool taken[256];
};

bool view_is_contiguous(const struct view *view)
{
    return view->blocks == 0;
}

int64_t view_position(const struct view *view, int64_t offset)
{
    if (view_is_contiguous(view))
        return offset;
    int64_t rest = offset % view->data_bytes;
    int block = 0;
    while (rest >= view->length[block])
        rest -= view->length[block++];
    return offset / view->data_bytes * view->tile_bytes + view->start[block] + rest;
}

static void plan_view(struct rng *rng, struct view *view)
{
    int at = 0;
    memset(view, 0, sizeof *view);
    view->blocks = rng_range(rng, 1, BLOCKS_MAX);
    for (int i = 0; i < view->blocks; i++) {
        view->start[i] = at + (int)rng_size(rng, 600);
        view->length[i] = 1 + (int)rng_size(rng, 3000);
        view->data_bytes += view->length[i];
        at = view->start[i] + view->length[i];
    }
    view->tile_bytes = at + 1 + (int)rng_size(rng, 600);
}

/* Views stay for some batches. */
static void plan_views(struct planner *p)
{
    struct rng rng = rng_make(p->model->seed, p->batch->number / BATCHES_PER_VIEW * 2 + 1);
    bool contiguous = rng_chance(&rng, 50);
    for (int r = 0; r < p->model->ranks; r++)
        if (contiguous)
            memset(&p->batch->view[r], 0, sizeof p->batch->view[r]);
        else
            plan_view(&rng, &p->batch->view[r]);
}

static void add_event(struct planner *p, int rank, enum event_kind kind, int subject)
{
    struct batch *b = p->batch;
    b->event[rank][b->events[rank]++] = (struct event){kind, subject};
}

static bool events_are_full(const struct planner *p)
{
    for (int r = 0; r < p->model->ranks; r++)
        if (p->batch->events[r] > EVENTS_MAX - 2 * PENDING_MAX)
            return true;
    return false;
}

/* How many bytes of its view a rank has in the span. */
static int64_t view_bytes(const struct view *view)
{
    return view_is_contiguous(view) ? SPAN : (int64_t)(SPAN / view->tile_bytes) * view->data_bytes;
}

static void plan_range(struct planner *p, struct op *op)
{
    const struct view *view = &p->batch->view[op->rank];
    int64_t room = view_bytes(view);
    op->count = (int)rng_size(&p->rng, (uint64_t)room / 3);
    op->offset = (int64_t)rng_below(&p->rng, (uint64_t)(room - op->count + 1));
    if (rng_chance(&p->rng, 60)) {
        int64_t around = p->hot * room / SPAN - op->count / 2 + rng_range(&p->rng, -64, 64);
        int64_t last = room - op->count;
        op->offset = around < 0 ? 0 : around > last ? last : around;
    }
}

/* A value that tells this write from the others and from what is there; HOLE if there is none. */
static uint8_t pick_value(struct planner *p, const struct op *op)
{
    bool there[256] = {false};
    for (int i = 0; i < op->count; i++)
        there[p->model->old[view_position(&p->batch->view[op->rank], op->offset + i)]] = true;
    int start = rng_range(&p->rng, FIRST_VALUE, 255);
    for (int i = 0; i < 256 - FIRST_VALUE; i++) {
        int value = FIRST_VALUE + (start + i) % (256 - FIRST_VALUE);
        if (!there[value] && !p->taken[value]) {
            p->taken[value] = true;
            return (uint8_t)value;
        }
    }
    return HOLE;
}

static int plan_op(struct planner *p, int rank, enum op_kind kind, enum op_call call)
{
    int id = p->batch->ops++;
    struct op *op = &p->batch->op[id];
    *op = (struct op){.kind = kind, .call = call, .rank = rank, .before = p->known[rank]};
    if (kind == OP_SIZE)
        return id;
    plan_range(p, op);
    if (kind == OP_WRITE)
        op->value = pick_value(p, op);
    if (kind == OP_WRITE && op->value == HOLE)
        op->count = 0;
    return id;
}

static void plan_wait(struct planner *p, int rank, int which)
{
    int *pending = p->pending[rank], id = pending[which];
    pending[which] = pending[--p->pendings[rank]];
    add_event(p, rank, EVENT_WAIT, id);
    p->known[rank] |= 1ull << id;
}

static void plan_access(struct planner *p)
{
    int rank = rng_range(&p->rng, 0, p->model->ranks - 1);
    enum op_kind kind = rng_chance(&p->rng, 55) ? OP_WRITE : OP_READ;
    enum op_call call = rng_chance(&p->rng, 20) ? CALL_SEEK : CALL_AT;
    if (rng_chance(&p->rng, 8))
        kind = OP_SIZE;
    else if (p->pendings[rank] < PENDING_MAX && rng_chance(&p->rng, 20))
        call = CALL_LATER;
    int id = plan_op(p, rank, kind, call);
    add_event(p, rank, EVENT_RUN, id);
    if (call == CALL_LATER)
        p->pending[rank][p->pendings[rank]++] = id;
    else
        p->known[rank] |= 1ull << id;
}

/* All enter before bytes move; after a write everybody's bytes are there. */
static void plan_collective(struct planner *p)
{
    enum op_kind kind = rng_chance(&p->rng, 60) ? OP_WRITE : OP_READ;
    uint64_t all = 0, added = 0;
    for (int r = 0; r < p->model->ranks; r++)
        all |= p->known[r];
    for (int r = 0; r < p->model->ranks; r++) {
        p->known[r] = all;
        int id = plan_op(p, r, kind, CALL_ALL);
        add_event(p, r, EVENT_RUN, id);
        p->known[r] |= 1ull << id;
        added |= 1ull << id;
    }
    for (int r = 0; kind == OP_WRITE && r < p->model->ranks; r++)
        p->known[r] |= added;
}

static void plan_message(struct planner *p)
{
    int from = rng_range(&p->rng, 0, p->model->ranks - 1);
    int to = (from + rng_range(&p->rng, 1, p->model->ranks - 1)) % p->model->ranks;
    add_event(p, from, EVENT_SEND, to);
    add_event(p, to, EVENT_RECEIVE, from);
    p->known[to] |= p->known[from];
}

static void plan_step(struct planner *p)
{
    int waiter = rng_range(&p->rng, 0, p->model->ranks - 1);
    if (p->pendings[waiter] > 0 && rng_chance(&p->rng, 40))
        plan_wait(p, waiter, (int)rng_below(&p->rng, (uint64_t)p->pendings[waiter]));
    int dice = rng_range(&p->rng, 0, 99);
    if (dice < 6 && p->model->ranks > 1) {
        plan_message(p);
    } else if (dice < 8) {
        for (int r = 0; r < p->model->ranks; r++)
            add_event(p, r, EVENT_SYNC, 0);
        p->batch->syncs++;
    } else if (dice < 11 && p->batch->ops + p->model->ranks <= OPS_MAX) {
        plan_collective(p);
    } else {
        plan_access(p);
    }
}

static void plan_cut(struct planner *p)
{
    struct batch *b = p->batch;
    struct model *m = p->model;
    b->cut = rng_chance(&p->rng, 15);
    if (!b->cut)
        return;
    b->new_size = rng_chance(&p->rng, 20) ? -1 : (int64_t)rng_below(&p->rng, SPAN + 1);
    int64_t kept = b->new_size < 0 ? 0 : b->new_size;
    memset(m->old + kept, HOLE, (size_t)(SPAN - kept));
    m->size = b->new_size < 0 ? 0 : m->base + b->new_size;
}

void plan_batch(struct model *model, uint64_t number, struct batch *batch)
{
    struct planner p = {.model = model, .batch = batch, .rng = rng_make(model->seed, number * 2)};
    memset(batch, 0, sizeof *batch);
    batch->number = number;
    batch->atomic = rng_chance(&p.rng, 50);
    batch->sync_at_end = rng_chance(&p.rng, 30);
    p.hot = (int64_t)rng_below(&p.rng, SPAN);
    plan_views(&p);
    plan_cut(&p);
    while (batch->ops < OPS_MAX && !events_are_full(&p))
        plan_step(&p);
    for (int r = 0; r < model->ranks; r++)
        while (p.pendings[r] > 0)
            plan_wait(&p, r, p.pendings[r] - 1);
}
