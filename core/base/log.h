/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages to the user on stderr, filtered by CTE_LOG_LEVEL (error, warn (default), info, debug,
 * off). */
#ifndef CTE_CORE_BASE_LOG_H
#define CTE_CORE_BASE_LOG_H

#include <stdatomic.h>

enum cte__log_level { CTE__LOG_OFF, CTE__LOG_ERROR, CTE__LOG_WARN, CTE__LOG_INFO, CTE__LOG_DEBUG };

/* One whole line per call, written by one write(2), prefixed "cte: level: ".  Keeps errno. */
void cte__log(enum cte__log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Sets the level by name; -EINVAL if unknown.  The environment variable wins over the
 * configuration. */
int cte__log_set_level(const char *name);

#define cte__log_error(...) cte__log(CTE__LOG_ERROR, __VA_ARGS__)
#define cte__log_warn(...)  cte__log(CTE__LOG_WARN, __VA_ARGS__)
#define cte__log_info(...)  cte__log(CTE__LOG_INFO, __VA_ARGS__)
#define cte__log_debug(...) cte__log(CTE__LOG_DEBUG, __VA_ARGS__)

#endif
