/* SPDX-License-Identifier: BSD-3-Clause */
/* What a rank did and saw, one line per call; two runs of one seed must give the same lines. */
#ifndef CTE_TEST_LOG_H
#define CTE_TEST_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Opens <directory>/log.<rank>, and model.<rank> for results that no POSIX file would give; with
   `trace` also trace.<rank>, which says what each call is about to do. */
void log_open(const char *directory, int rank, bool trace);
void log_close(void);
void log_program(uint64_t seed);
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool log_traces(void);
void log_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_model(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Error class of an MPI return code, by name where MPI-IO has one. */
const char *error_name(int code);

uint64_t hash_bytes(uint64_t hash, const void *data, size_t bytes);

#endif
