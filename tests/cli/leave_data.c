/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes a file through the tiers and leaves data in the store, in one of several ways.
 *
 *   leave_data never FILE    closes it with drain policy `never`
 *   leave_data killed FILE   dies by SIGKILL with the file open
 *   leave_data scratch FILE  dies so with a scratch file
 *   leave_data open FILE     says "ready", and closes it (drained) when standard input ends
 *
 * The contents are 300000 bytes of the numbers 1, 2, 3 … one a line. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cte/file.h>

enum { FILE_BYTES = 300000 };

static int fail(const char *what, cte_status status)
{
    fprintf(stderr, "leave_data: %s: %s\n", what, cte_status_string(status));
    return 1;
}

static void fill(char *bytes)
{
    char line[16];
    for (size_t at = 0, number = 1; at < FILE_BYTES; number++) {
        size_t n = (size_t)snprintf(line, sizeof line, "%zu\n", number);
        n = n < FILE_BYTES - at ? n : FILE_BYTES - at;
        memcpy(bytes + at, line, n);
        at += n;
    }
}

int main(int argc, char **argv)
{
    static char bytes[FILE_BYTES];
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    cte_file_segment segment = {0, FILE_BYTES, bytes};
    cte_file *file;
    if (argc != 3)
        return 2;
    const char *how = argv[1];
    if (strcmp(how, "never") == 0)
        options.drain = CTE_FILE_DRAIN_NEVER;
    if (strcmp(how, "scratch") == 0)
        options.mode = CTE_FILE_MODE_SCRATCH;
    fill(bytes);
    cte_status status = cte_file_open(NULL, argv[2], O_RDWR | O_CREAT, 0644, &options, &file);
    if (status != CTE_OK)
        return fail(argv[2], status);
    if (!cte_file_is_tracked(file))
        return fail("the file does not go through the tiers", CTE_ERR_NO_TARGET);
    status = cte_file_write(file, &segment, 1);
    if (status != CTE_OK)
        return fail("write", status);
    if (strcmp(how, "killed") == 0 || strcmp(how, "scratch") == 0)
        raise(SIGKILL);
    if (strcmp(how, "open") == 0) {
        puts("ready");
        fflush(stdout);
        while (getchar() != EOF)
            ;
    }
    status = cte_file_close(file);
    return status == CTE_OK ? 0 : fail("close", status);
}
