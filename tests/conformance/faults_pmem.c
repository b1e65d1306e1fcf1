/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults between the backends and libpmem. */
#include <libpmem.h>
#include <stddef.h>

#include "faults.h"

void *__real_pmem_map_file(const char *path, size_t bytes, int flags, mode_t mode, size_t *mapped,
                           int *is_pmem);
void *__wrap_pmem_map_file(const char *path, size_t bytes, int flags, mode_t mode, size_t *mapped,
                           int *is_pmem);

void *__wrap_pmem_map_file(const char *path, size_t bytes, int flags, mode_t mode, size_t *mapped,
                           int *is_pmem)
{
    return faults_strike() ? NULL : __real_pmem_map_file(path, bytes, flags, mode, mapped, is_pmem);
}
