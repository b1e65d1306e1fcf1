/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random accesses that overlap, against a model that all ranks carry along; run with the adapter
 * only.  CTE_TEST_SEED repeats a run, CTE_TEST_ROUNDS makes it longer.
 */
#include "program.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REGION = 300000, LONGEST = 120000, RANKS_MAX = 4 };

/* What a rank does in a round; all ranks know all of them. */
struct step {
    bool write;
    int kind; /* of call */
    int offset, length;
    unsigned char stamp;
};

static uint64_t state;
static unsigned char model[REGION], got[REGION], trial[REGION];
static int model_size;

static unsigned next(unsigned below)
{
    uint64_t z = (state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (unsigned)((z ^ (z >> 31)) % below);
}

static void fail(const char *what, unsigned long round)
{
    fprintf(stderr, "rank %d, round %lu: %s\n", rank, round, what);
    MPI_Abort(MPI_COMM_WORLD, 4);
}

static struct step plan(unsigned long round, int who)
{
    struct step step = {.write = next(10) < 6, .kind = (int)next(3)};
    step.length = 1 + (int)next(next(2) ? LONGEST : 5000);
    step.offset = (int)next((unsigned)(REGION - step.length));
    step.stamp = (unsigned char)(round * RANKS_MAX + (unsigned)who + 1);
    return step;
}

static void run_step(MPI_File f, const struct step *step, unsigned char *buffer)
{
    MPI_Request r;
    if (step->write)
        memset(buffer, step->stamp, (size_t)step->length);
    if (step->kind == 0 && step->write)
        MPI_File_iwrite_at(f, step->offset, buffer, step->length, MPI_BYTE, &r);
    else if (step->kind == 0)
        MPI_File_iread_at(f, step->offset, buffer, step->length, MPI_BYTE, &r);
    else if (step->write)
        MPI_File_write_at(f, step->offset, buffer, step->length, MPI_BYTE, MPI_STATUS_IGNORE);
    else
        MPI_File_read_at(f, step->offset, buffer, step->length, MPI_BYTE, MPI_STATUS_IGNORE);
    if (step->kind == 0)
        MPI_Wait(&r, MPI_STATUS_IGNORE);
}

static void put(unsigned char *bytes, const struct step *step)
{
    if (step->write)
        memset(bytes + step->offset, step->stamp, (size_t)step->length);
}

/* The number-th order of n things. */
static void permute(int number, int n, int *order)
{
    int left[RANKS_MAX];
    for (int i = 0; i < n; i++)
        left[i] = i;
    for (int i = 0; i < n; i++) {
        int at = number % (n - i);
        number /= n - i;
        order[i] = left[at];
        memmove(&left[at], &left[at + 1], (size_t)(n - i - 1 - at) * sizeof left[0]);
    }
}

/* True if some order of the steps gives these bytes: after all of them, or (`anytime`) after some.
 */
static bool is_some_order(const struct step *steps, const unsigned char *bytes, int offset,
                          int length, bool anytime)
{
    int order[RANKS_MAX], orders = 1;
    for (int i = 2; i <= ranks; i++)
        orders *= i;
    for (int number = 0; number < orders; number++) {
        permute(number, ranks, order);
        memcpy(trial, model, REGION);
        for (int done = 0; done <= ranks; done++) {
            if ((anytime || done == ranks) && memcmp(trial + offset, bytes, (size_t)length) == 0)
                return true;
            if (done < ranks)
                put(trial, &steps[order[done]]);
        }
    }
    return false;
}

/* All at once, in atomic mode: what is read, and what is left, is of some order of whole accesses.
 */
static void round_at_once(MPI_File f, unsigned long round)
{
    static unsigned char buffer[LONGEST];
    struct step steps[RANKS_MAX];
    for (int i = 0; i < ranks; i++)
        steps[i] = plan(round, i);
    run_step(f, &steps[rank], buffer);
    if (!steps[rank].write &&
        !is_some_order(steps, buffer, steps[rank].offset, steps[rank].length, true))
        fail("read bytes of no order of accesses", round);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_read_at(f, 0, got, REGION, MPI_BYTE, MPI_STATUS_IGNORE);
    if (!is_some_order(steps, got, 0, REGION, false))
        fail("the file has bytes of no order of accesses", round);
    memcpy(model, got, REGION);
    MPI_Barrier(MPI_COMM_WORLD);
}

/* One writes or cuts, and all find it. */
static void round_in_turn(MPI_File f, unsigned long round)
{
    static unsigned char buffer[LONGEST];
    MPI_Offset size;
    int who = (int)next((unsigned)ranks);
    struct step step = plan(round, who), look = plan(round, who);
    bool resize = next(10) == 0;
    step.write = true;
    look.write = false;
    if (resize) {
        model_size = step.offset;
        memset(model + model_size, 0, (size_t)(REGION - model_size));
        MPI_File_set_size(f, model_size);
    } else {
        put(model, &step);
        model_size =
            step.offset + step.length > model_size ? step.offset + step.length : model_size;
        if (rank == who)
            run_step(f, &step, buffer);
    }
    if (next(8) == 0)
        MPI_File_sync(f);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_get_size(f, &size);
    if (size != model_size)
        fail("other size", round);
    memset(buffer, 0, sizeof buffer);
    run_step(f, &look, buffer);
    if (memcmp(buffer, model + look.offset, (size_t)look.length) != 0)
        fail("other bytes", round);
    MPI_Barrier(MPI_COMM_WORLD);
}

static unsigned long begin(void)
{
    const char *seed = getenv("CTE_TEST_SEED"), *rounds = getenv("CTE_TEST_ROUNDS");
    state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
    MPI_Bcast(&state, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    if (rank == 0)
        fprintf(stderr, "CTE_TEST_SEED=%llu\n", (unsigned long long)state);
    memset(model, 0, REGION);
    model_size = 0;
    return rounds ? strtoul(rounds, NULL, 10) : 600;
}

static MPI_File open_small_chunks(const char *name)
{
    MPI_File f;
    MPI_Info info;
    MPI_Info_create(&info);
    MPI_Info_set(info, "cte_chunk_size", "65536");
    MPI_File_open(MPI_COMM_WORLD, name, MPI_MODE_RDWR | MPI_MODE_CREATE, info, &f);
    MPI_Info_free(&info);
    return f;
}

static void oracle_atomic(void)
{
    unsigned long rounds = begin();
    MPI_Datatype comb;
    if (ranks > RANKS_MAX)
        fail("too many ranks", 0);
    MPI_File f = open_small_chunks("oracle");
    MPI_Type_vector(100, 1000, 1500, MPI_BYTE, &comb);
    MPI_Type_commit(&comb);
    MPI_File_set_view(f, 321, MPI_BYTE, comb, "native", MPI_INFO_NULL);
    MPI_File_write_at_all(f, 0, model, REGION, MPI_BYTE, MPI_STATUS_IGNORE);
    MPI_File_set_atomicity(f, 1);
    for (unsigned long round = 0; round < rounds; round++)
        round_at_once(f, round);
    MPI_Type_free(&comb);
    MPI_File_close(&f);
}

static void oracle_turns(void)
{
    unsigned long rounds = begin();
    MPI_File f = open_small_chunks("oracle");
    for (unsigned long round = 0; round < rounds; round++)
        round_in_turn(f, round);
    MPI_File_close(&f);
}

const struct program oracle_programs[] = {
    {"oracle_atomic", oracle_atomic}, {"oracle_turns", oracle_turns}, {NULL, NULL}};
