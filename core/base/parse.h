/* SPDX-License-Identifier: BSD-3-Clause */
/* Text to numbers, strictly: the whole text must be the number. */
#ifndef CTE_CORE_BASE_PARSE_H
#define CTE_CORE_BASE_PARSE_H

#include <stdint.h>

#include <cte/status.h>

/* "4096", "64KiB", "1MB", "8GB", "1T": a decimal number and an optional unit K, M, G, T or P with
 * an optional "B" or "iB" behind it, or "B" alone; case does not matter.  All units are powers of
 * 1024: KB means KiB.  -EINVAL on anything else, -ERANGE on overflow; `bytes` is untouched then. */
cte_status cte__parse_bytes(const char *text, uint64_t *bytes);

/* A plain decimal number ("0.75", "1", "5e-1") that no locale changes.  -EINVAL on anything else.
 */
cte_status cte__parse_float(const char *text, float *value);

#endif
