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
 * Programs can also make a configuration, or change one they loaded, key by key: cte_config_new(),
 * cte_config_set(), cte_config_add_target(), with the same checks and words.  What they set goes
 * above all sources.  A client takes a copy when it is opened; changes after that do not reach it.
 *
 * Thread rule: sharing a config between threads is fine while nobody changes it.
 */
#ifndef CTE_CONFIG_H
#define CTE_CONFIG_H

#include <stddef.h>
#include <stdint.h>
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

/* ---- by the program ------------------------------------------------------------------------- */

/**
 * A configuration of the built-in defaults and the CTE_* variables, for the program to change; no
 * file is read.  On a node without room for the default targets it has none: add some.
 * @param out  receives the config; free with cte_config_free()
 */
cte_status cte_config_new(cte_config **out, char *error, size_t error_bytes);

/**
 * Sets one key.
 * @param key    as docs/CONFIGURATION.md names it: "log_level", "file.drain",
 *               "queues.stats.lane_count"; keys of targets with their number: "storage[0].score"
 * @param value  as in YAML without quotes: "async", "8GB", "0.5"; lists of patterns replace the old
 *               one and are separated by colons: "/scratch/\*:*.h5"
 * @param error  receives "key: what is wrong and what to do", else ""; may be NULL
 * @return CTE_ERR_CONFIG: unknown key or bad value, which changes nothing; -EINVAL for a NULL
 */
cte_status cte_config_set(cte_config *config, const char *key, const char *value, char *error,
                          size_t error_bytes);

/**
 * Adds a storage target behind those there are.  The first one replaces the default targets.
 * @param bdev_type       "ram", "file", …
 * @param path            as `storage.path`; NULL: none
 * @param capacity_limit  as `storage.capacity_limit`, "8GB"
 * @param error           as in cte_config_set()
 * @return CTE_ERR_CONFIG: it cannot be so, nothing changed.  Further keys are set by its number,
 *         cte_config_target_count() - 1.
 */
cte_status cte_config_add_target(cte_config *config, const char *bdev_type, const char *path,
                                 const char *capacity_limit, char *error, size_t error_bytes);

/** The number of storage targets; 0 for NULL. */
uint32_t cte_config_target_count(const cte_config *config);

/**
 * The effective value of a key, as cte_config_set() takes it.
 * @param text  receives it; "" if a target leaves it out
 * @return CTE_ERR_NOT_FOUND: no such key or target; -ENOBUFS: `text` is too small, it is "" then
 */
cte_status cte_config_get(const cte_config *config, const char *key, char *text, size_t text_bytes);

/* ---- all of it ------------------------------------------------------------------------------ */

/** Prints the effective values as YAML, each with a comment saying where it came from. */
cte_status cte_config_show(const cte_config *config, FILE *stream);

/**
 * Called for each key; ends the visit by returning other than CTE_OK, which is passed on.
 * @param key     as cte_config_set() takes it: "file.drain", "storage[0].score"
 * @param value   as cte_config_get() gives it
 * @param origin  "default", "file.yaml:12", "environment variable CTE_DRAIN", …
 * All are valid during the call, in which the thread's locale is "C".
 */
typedef cte_status (*cte_config_visitor)(void *context, const char *key, const char *value,
                                         const char *origin);

/** Visits all keys of a configuration that have a value. */
cte_status cte_config_visit(const cte_config *config, cte_config_visitor visit, void *context);

/** NULL is fine. */
void cte_config_free(cte_config *config);

#ifdef __cplusplus
}
#endif
#endif
