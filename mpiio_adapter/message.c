/* SPDX-License-Identifier: BSD-3-Clause */
#include "adapter.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { LINE_BYTES = 1024 };

static int effective_level(void)
{
    static const char *const names[] = {"off", "error", "warn", "info", "debug"};
    const char *name = getenv("CTE_LOG_LEVEL");
    for (int i = 0; name && i < (int)(sizeof names / sizeof names[0]); i++)
        if (strcasecmp(name, names[i]) == 0)
            return i;
    return CTE__MPI_WARN;
}

void cte__mpi_message(enum cte__mpi_level level, const char *format, ...)
{
    static const char *const names[] = {"", "error", "warn", "info"};
    int saved_errno = errno;
    if ((int)level <= effective_level()) {
        char line[LINE_BYTES];
        int used = snprintf(line, sizeof line, "cte: %s: ", names[level]);
        va_list args;
        va_start(args, format);
        vsnprintf(line + used, sizeof line - (size_t)used - 1, format, args);
        va_end(args);
        size_t length = strlen(line);
        line[length++] = '\n';
        /* A message that cannot be written has nowhere else to go. */
        if (write(STDERR_FILENO, line, length) < 0)
            errno = saved_errno;
    }
    errno = saved_errno;
}
