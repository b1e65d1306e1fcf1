/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 2048, LEVEL_UNSET = -1 };

static const char *const level_names[] = {"off", "error", "warn", "info", "debug"};

static atomic_int current_level = LEVEL_UNSET;

static int level_by_name(const char *name)
{
    for (int i = 0; i < (int)(sizeof level_names / sizeof level_names[0]); i++)
        if (strcasecmp(name, level_names[i]) == 0)
            return i;
    return -EINVAL;
}

/* First use reads the environment; racing first uses compute the same value. */
static int effective_level(void)
{
    int level = atomic_load_explicit(&current_level, memory_order_relaxed);
    if (level != LEVEL_UNSET)
        return level;
    const char *name = getenv("CTE_LOG_LEVEL");
    level = name ? level_by_name(name) : CTE__LOG_WARN;
    if (level < 0)
        level = CTE__LOG_WARN;
    atomic_store_explicit(&current_level, level, memory_order_relaxed);
    return level;
}

int cte__log_set_level(const char *name)
{
    int level = level_by_name(name);
    if (level < 0)
        return level;
    if (!getenv("CTE_LOG_LEVEL"))
        atomic_store_explicit(&current_level, level, memory_order_relaxed);
    return 0;
}

void cte__log(enum cte__log_level level, const char *format, ...)
{
    int saved_errno = errno;
    if ((int)level <= effective_level()) {
        char line[LINE_BYTES];
        int used = snprintf(line, sizeof line, "cte: %s: ", level_names[level]);
        va_list args;
        va_start(args, format);
        int body = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, args);
        va_end(args);
        size_t length = (size_t)used + (body > 0 ? (size_t)body : 0);
        if (length > sizeof line - 2)
            length = sizeof line - 2;
        line[length++] = '\n';
        /* A message that cannot be written has nowhere else to go. */
        ssize_t written = write(STDERR_FILENO, line, length);
        if (written < 0)
            errno = saved_errno;
    }
    errno = saved_errno;
}
