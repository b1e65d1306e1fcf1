/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Configuration: YAML text, a file, or embedded defaults that need no file at all.
 *
 * Sources, first match wins: an explicit path, the environment variable CTE_CONFIG, then
 * WRP_RUNTIME_CONF, else the embedded defaults.  On top, CTE_* environment variables override
 * single keys (docs/CONFIGURATION.md lists them).  Parsing is strict: an unknown key, a bad
 * unit, a value out of range or an unreadable file is CTE_ERR_CONFIG with source, line and column (or
 * the environment variable) in the error text.  CTE_ERR_NO_TARGET: the configuration names no target
 * and the node has no room for the default ones.
 *
 * Thread rule: a config is immutable once made; sharing it between threads is fine.
 */
#ifndef CTE_CONFIG_H
#define CTE_CONFIG_H

#include <stddef.h>
#include <stdio.h>

#include <cte/client.h>
#include <cte/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Loads the effective configuration.
 * @param path         YAML file, or NULL for the sources above
 * @param out          receives the config; free with cte_config_free()
 * @param error        receives "source:line:column: what is wrong and what to do" (cut to fit; "" on
 *                     success), may be NULL
 * @param error_bytes  room in `error`
 */
cte_status cte_config_load(const char *path, cte_config **out, char *error, size_t error_bytes);

/** As cte_config_load(), from YAML text in memory; `name` stands for the source in errors. */
cte_status cte_config_parse(const char *text, const char *name, cte_config **out, char *error,
                            size_t error_bytes);

/** Prints the effective values as YAML, each with a comment saying where it came from. */
cte_status cte_config_show(const cte_config *config, FILE *stream);

/** NULL is fine. */
void cte_config_free(cte_config *config);

#ifdef __cplusplus
}
#endif
#endif
