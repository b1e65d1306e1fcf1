/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs a fuzz target without a fuzzer: over files, over its own sound inputs, and over random
 * mutations of these, as many as asked for.
 *   fuzz_… ROUNDS [FILE...]      CTE_TEST_SEED repeats a run */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fuzz.h"

enum { INPUT_BYTES_MAX = 1 << 16, SEEDS_MAX = 64 };

static uint64_t state;

static uint64_t draw(uint64_t below)
{
    uint64_t z = (state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (z ^ (z >> 31)) % below;
}

static size_t mutate_once(uint8_t *bytes, size_t count)
{
    size_t at = count ? (size_t)draw(count) : 0, n = 1 + (size_t)draw(16);
    switch (draw(6)) {
    case 0: /* flip a bit */
        if (count)
            bytes[at] ^= (uint8_t)(1u << draw(8));
        return count;
    case 1: /* any byte */
        if (count)
            bytes[at] = (uint8_t)draw(256);
        return count;
    case 2: /* cut out */
        n = n < count - at ? n : count - at;
        memmove(bytes + at, bytes + at + n, count - at - n);
        return count - n;
    case 3: /* repeat */
        n = n < count - at ? n : count - at;
        if (count + n > INPUT_BYTES_MAX)
            return count;
        memmove(bytes + at + n, bytes + at, count - at);
        return count + n;
    case 4: /* a number that is large, or at an edge */
        if (at + 4 <= count)
            memcpy(bytes + at, &(uint32_t){draw(2) ? UINT32_MAX >> draw(32) : (uint32_t)draw(8)},
                   4);
        return count;
    default: /* the end is missing */
        return draw(8) ? count : at;
    }
}

static void run_mutation(const uint8_t *seed, size_t count)
{
    static uint8_t bytes[INPUT_BYTES_MAX];
    memcpy(bytes, seed, count);
    for (uint64_t n = 1 + draw(8); n > 0; n--)
        count = mutate_once(bytes, count);
    /* Of its own size, so that a sanitizer sees what is read behind it. */
    uint8_t *exact = malloc(count + 1);
    memcpy(exact, bytes, count);
    LLVMFuzzerTestOneInput(exact, count);
    free(exact);
}

static size_t read_file(const char *path, uint8_t *bytes)
{
    FILE *file = fopen(path, "rb");
    size_t count = file ? fread(bytes, 1, INPUT_BYTES_MAX, file) : 0;
    if (!file) {
        perror(path);
        exit(2);
    }
    fclose(file);
    return count;
}

int main(int argc, char **argv)
{
    static uint8_t seeds[SEEDS_MAX][INPUT_BYTES_MAX];
    size_t counts[SEEDS_MAX], seed_count = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: %s ROUNDS [FILE...]\n", argv[0]);
        return 2;
    }
    const char *given = getenv("CTE_TEST_SEED");
    state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 1000003u;
    printf("CTE_TEST_SEED=%llu\n", (unsigned long long)state);
    fflush(stdout);
    while (seed_count < SEEDS_MAX &&
           (counts[seed_count] =
                fuzz_seed((unsigned)seed_count, seeds[seed_count], INPUT_BYTES_MAX)) > 0)
        seed_count++;
    for (int i = 2; i < argc && seed_count < SEEDS_MAX; i++, seed_count++)
        counts[seed_count] = read_file(argv[i], seeds[seed_count]);
    for (size_t i = 0; i < seed_count; i++)
        LLVMFuzzerTestOneInput(seeds[i], counts[i]);
    for (unsigned long round = strtoul(argv[1], NULL, 0); round > 0; round--) {
        size_t i = (size_t)draw(seed_count);
        run_mutation(seeds[i], counts[i]);
    }
    printf("%zu inputs, %s mutations\n", seed_count, argv[1]);
    return 0;
}
