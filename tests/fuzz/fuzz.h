/* SPDX-License-Identifier: BSD-3-Clause */
/* What each fuzz target is: libFuzzer's entry, so that clang's fuzzer and AFL++ run it as it is;
 * fuzz_main.c runs it over a corpus and mutations of that. */
#ifndef CTE_TESTS_FUZZ_FUZZ_H
#define CTE_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

/* A sound input, from which mutations begin; returns its size.  `which` from 0 on; 0: there are no
 * more. */
size_t fuzz_seed(unsigned which, uint8_t *bytes, size_t room);

#endif
