/* SPDX-License-Identifier: BSD-3-Clause */
/* A slow file system, made of a fast one: files whose names end in SLOW_SUFFIX take bytes at a
 * rate, all of them together, whoever writes.  It stands in for pwrite(2) in the whole program, so
 * the library and a program without it are slowed down alike. */
#ifndef CTE_BENCH_SLOW_FILE_H
#define CTE_BENCH_SLOW_FILE_H

#include <stdint.h>

#define SLOW_SUFFIX ".slow"

/* Bytes per second; 0: as fast as the file system is. */
void slow_file_set_rate(uint64_t bytes_per_s);

/* What went to slow files so far. */
uint64_t slow_file_bytes(void);

#endif
