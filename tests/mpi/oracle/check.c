/* SPDX-License-Identifier: BSD-3-Clause */
/* What reads may find. */
#include "oracle.h"

#include <string.h>

enum { STEPS_MAX = 20000 };

/* Neighbours differ, so that bytes at the wrong place are found. */
static uint8_t pattern(int64_t position)
{
    return (uint8_t)(rng_mix((uint64_t)position) & 7);
}

uint8_t encode(uint8_t value, int64_t position)
{
    return value ^ pattern(position);
}

uint8_t decode(uint8_t byte, int64_t position)
{
    uint8_t value = byte ^ pattern(position);
    if (byte == 0)
        return HOLE;
    return value == HOLE ? 1 : value;
}

void cover_batch(const struct model *model, const struct batch *batch, struct cover *cover)
{
    memset(cover, 0, sizeof *cover);
    for (int w = 0; w < batch->ops; w++) {
        const struct op *op = &batch->op[w];
        if (op->kind != OP_WRITE || op->count == 0)
            continue;
        const struct view *view = &batch->view[op->rank];
        for (int i = 0; i < op->count; i++)
            cover->writes[view_position(view, op->offset + i)] |= 1ull << w;
        cover->writer[op->value] = (uint8_t)w;
        cover->end[w] = model->base + view_position(view, op->offset + op->count - 1) + 1;
    }
}

static uint64_t before(const struct batch *batch, int reader)
{
    return reader == OPS_MAX ? (1ull << batch->ops) - 1 : batch->op[reader].before;
}

const char *check_byte(const struct model *model, const struct batch *batch,
                       const struct cover *cover, int reader, int64_t position, uint8_t byte,
                       struct findings *findings)
{
    uint64_t writes = cover->writes[position], earlier = before(batch, reader);
    uint8_t value = decode(byte, position);
    if (value == model->old[position]) {
        findings->others[reader][OLD] |= writes;
        return (writes & earlier) ? "is older than a write that was over" : NULL;
    }
    int writer = cover->writer[value];
    if (value < FIRST_VALUE || !(writes >> writer & 1) || batch->op[writer].value != value)
        return "is what nobody wrote there";
    if (reader != OPS_MAX && (batch->op[writer].before >> reader & 1))
        return "is of a write that had not begun";
    for (uint64_t rest = writes & earlier; rest; rest &= rest - 1)
        if (batch->op[__builtin_ctzll(rest)].before >> writer & 1)
            return "is of a write that another had replaced";
    findings->others[reader][writer] |= writes;
    return NULL;
}

void size_bounds(const struct model *model, const struct batch *batch, const struct cover *cover,
                 int reader, MPI_Offset *low, MPI_Offset *high)
{
    *low = *high = model->size;
    for (int w = 0; w < batch->ops; w++) {
        bool is_before = before(batch, reader) >> w & 1;
        bool is_after = reader != OPS_MAX && (batch->op[w].before >> reader & 1);
        if (is_before && cover->end[w] > *low)
            *low = cover->end[w];
        if (!is_after && cover->end[w] > *high)
            *high = cover->end[w];
    }
}

/* What is known of the sequence: bit j of after[i] says that j comes after i. */
struct order {
    uint64_t after[OPS_MAX + 1];
};

static bool comes_after(const struct order *o, int later, int earlier)
{
    return o->after[earlier] >> later & 1;
}

/* false: that closes a circle. */
static bool put_before(struct order *o, int earlier, int later)
{
    if (earlier == later || comes_after(o, earlier, later))
        return false;
    uint64_t gained = o->after[later] | 1ull << later;
    for (int i = 0; i <= OPS_MAX; i++)
        if (i == earlier || comes_after(o, earlier, i))
            o->after[i] |= gained;
    return true;
}

/* A reader found `found`; `other` went to the same bytes, so it came before that, or after the
 * reader. */
struct choice {
    uint8_t reader, found, other;
};

struct search {
    struct choice choice[(OPS_MAX + 1) * OPS_MAX * 4];
    int choices, steps;
};

/* Decides whatever has one way left.  `open` receives a choice that has two, or -1. */
static bool decide_forced(const struct search *s, struct order *o, int *open)
{
    bool changed = true;
    while (changed) {
        changed = false;
        *open = -1;
        for (int i = 0; i < s->choices; i++) {
            const struct choice *c = &s->choice[i];
            if (comes_after(o, c->found, c->other) || comes_after(o, c->other, c->reader))
                continue;
            bool not_earlier = comes_after(o, c->other, c->found);
            bool not_later = comes_after(o, c->reader, c->other);
            if (not_earlier && not_later)
                return false;
            if (not_earlier || not_later) {
                changed = true;
                if (!(not_earlier ? put_before(o, c->reader, c->other)
                                  : put_before(o, c->other, c->found)))
                    return false;
            } else {
                *open = i;
            }
        }
    }
    return true;
}

static enum verdict solve(struct search *s, struct order o)
{
    int open;
    if (++s->steps > STEPS_MAX)
        return UNDECIDED;
    if (!decide_forced(s, &o, &open))
        return FITS_NOT;
    if (open < 0)
        return FITS;
    const struct choice *c = &s->choice[open];
    struct order with = o;
    enum verdict verdict = put_before(&with, c->other, c->found) ? solve(s, with) : FITS_NOT;
    if (verdict != FITS_NOT)
        return verdict;
    return put_before(&o, c->reader, c->other) ? solve(s, o) : FITS_NOT;
}

/* What a reader found of one write, into the order and the choices. */
static bool take_finding(struct search *s, struct order *o, int reader, int found, uint64_t others)
{
    if (found != OLD && !put_before(o, found, reader))
        return false;
    for (uint64_t rest = others; rest; rest &= rest - 1) {
        int other = __builtin_ctzll(rest);
        if (other == found)
            continue;
        if (found == OLD || reader == OPS_MAX) {
            if (!put_before(o, found == OLD ? reader : other, found == OLD ? other : found))
                return false;
        } else if (s->choices < (int)(sizeof s->choice / sizeof s->choice[0])) {
            s->choice[s->choices++] =
                (struct choice){(uint8_t)reader, (uint8_t)found, (uint8_t)other};
        } else {
            s->steps = STEPS_MAX;
        }
    }
    return true;
}

enum verdict find_sequence(const struct batch *batch, const struct findings *findings)
{
    static struct search search;
    struct order order = {{0}};
    search.choices = search.steps = 0;
    for (int i = 0; i < batch->ops; i++) {
        put_before(&order, i, OPS_MAX);
        for (uint64_t rest = batch->op[i].before; rest; rest &= rest - 1)
            if (!put_before(&order, __builtin_ctzll(rest), i))
                return FITS_NOT;
    }
    for (int reader = 0; reader <= OPS_MAX; reader++)
        for (int found = 0; found <= OLD; found++)
            if (findings->others[reader][found] &&
                !take_finding(&search, &order, reader, found, findings->others[reader][found]))
                return FITS_NOT;
    return solve(&search, order);
}
