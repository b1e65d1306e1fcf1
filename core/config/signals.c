/* SPDX-License-Identifier: BSD-3-Clause */
#include "config/signals.h"

#include <signal.h>
#include <string.h>

const int cte__signal_numbers[CTE__SIGNALS] = {SIGTERM, SIGUSR1, SIGUSR2, SIGINT, SIGXCPU};

static int signal_index(const char *name, size_t bytes)
{
    static const char *const names[CTE__SIGNALS] = {"term", "usr1", "usr2", "int", "xcpu"};
    for (int i = 0; i < CTE__SIGNALS; i++)
        if (strlen(names[i]) == bytes && strncmp(names[i], name, bytes) == 0)
            return i;
    return -1;
}

int cte__signals_parse(const char *text)
{
    int bits = 0;
    if (strcmp(text, "none") == 0)
        return 0;
    for (;;) {
        size_t bytes = strcspn(text, ",");
        int index = signal_index(text, bytes);
        if (index < 0)
            return -1;
        bits |= 1 << index;
        if (text[bytes] == 0)
            return bits;
        text += bytes + 1;
    }
}
