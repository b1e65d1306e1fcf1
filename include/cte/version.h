/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Version of the library (semantic versioning).
 */
#ifndef CTE_VERSION_H
#define CTE_VERSION_H

#ifdef __cplusplus
extern "C" {
#endif

#define CTE_VERSION_MAJOR 0
#define CTE_VERSION_MINOR 1
#define CTE_VERSION_PATCH 0

/** Version of the library at run time, "major.minor.patch".  Thread-safe. */
const char *cte_version(void);

#ifdef __cplusplus
}
#endif
#endif
