/* SPDX-License-Identifier: BSD-3-Clause */
/* Random numbers that every rank derives alike from a seed (splitmix64). */
#ifndef CTE_TEST_RNG_H
#define CTE_TEST_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline uint64_t rng_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline struct rng rng_make(uint64_t seed, uint64_t stream)
{
    return (struct rng){rng_mix(seed * 0x9e3779b97f4a7c15u + rng_mix(stream + 1))};
}

static inline uint64_t rng_next(struct rng *g)
{
    return rng_mix(g->state += 0x9e3779b97f4a7c15u);
}

/* 0 … n-1; 0 if n is 0. */
static inline uint64_t rng_below(struct rng *g, uint64_t n)
{
    uint64_t value = rng_next(g);
    return n ? value % n : 0;
}

static inline int rng_range(struct rng *g, int low, int high)
{
    return low + (int)rng_below(g, (uint64_t)(high - low + 1));
}

static inline bool rng_chance(struct rng *g, unsigned percent)
{
    return rng_below(g, 100) < percent;
}

/* 0 … max, each magnitude about equally likely. */
static inline uint64_t rng_size(struct rng *g, uint64_t max)
{
    unsigned bits = 0;
    while (bits < 63 && (max >> bits) != 0)
        bits++;
    uint64_t value = rng_next(g) & ((1ull << rng_below(g, bits + 1)) - 1);
    return value > max ? max : value;
}

#endif
