/* SPDX-License-Identifier: BSD-3-Clause */
/* Usage: program <name> */
#include "program.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 1 << 16 };

int rank, ranks;
static char text[TEXT_BYTES];
static size_t text_used;

void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text + text_used, TEXT_BYTES - text_used, format, args);
    va_end(args);
    if (n < 0 || text_used + (size_t)n >= TEXT_BYTES) {
        fprintf(stderr, "too much to say\n");
        MPI_Abort(MPI_COMM_WORLD, 3);
    }
    text_used += (size_t)n;
}

void said(void)
{
    char *all = rank == 0 ? malloc((size_t)ranks * TEXT_BYTES) : NULL;
    text[text_used] = '\0';
    MPI_Gather(text, TEXT_BYTES, MPI_CHAR, all, TEXT_BYTES, MPI_CHAR, 0, MPI_COMM_WORLD);
    for (int i = 0; rank == 0 && i < ranks; i++)
        printf("--- rank %d\n%s", i, all + (size_t)i * TEXT_BYTES);
    free(all);
    text_used = 0;
}

void say_code(const char *what, int code)
{
    int class = MPI_SUCCESS;
    if (code != MPI_SUCCESS)
        MPI_Error_class(code, &class);
    say("%s: class %d\n", what, class);
}

void say_status(const char *what, int code, const MPI_Status *status, MPI_Datatype type)
{
    int count, elements;
    MPI_Count bytes;
    say_code(what, code);
    if (code != MPI_SUCCESS)
        return;
    MPI_Get_count(status, type, &count);
    MPI_Get_elements(status, type, &elements);
    MPI_Get_elements_x(status, MPI_BYTE, &bytes);
    say("  count %d elements %d bytes %lld\n", count, elements, (long long)bytes);
}

void say_bytes(const char *what, const void *data, size_t bytes)
{
    uint64_t hash = 1469598103934665603u;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 1099511628211u;
    say("%s: %zu bytes %016llx\n", what, bytes, (unsigned long long)hash);
}

void fill(void *data, size_t bytes, unsigned salt)
{
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)data)[i] = (unsigned char)(i * 7 + (size_t)rank * 31 + salt * 13 + 1);
}

MPI_File open_file(const char *name, int amode)
{
    MPI_File file = MPI_FILE_NULL;
    if (MPI_File_open(MPI_COMM_WORLD, name, amode, MPI_INFO_NULL, &file) != MPI_SUCCESS) {
        fprintf(stderr, "%s cannot be opened\n", name);
        MPI_Abort(MPI_COMM_WORLD, 3);
    }
    return file;
}

int main(int argc, char **argv)
{
    const struct program *groups[] = {access_programs, call_programs, edge_programs, later_programs,
                                      hint_programs};
    int provided;
    if (argc == 2 && strcmp(argv[1], "threads") == 0)
        MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    else
        MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    int found = 0;
    for (int g = 0; g < 5; g++)
        for (const struct program *p = groups[g]; p->name; p++)
            if (argc == 2 && strcmp(argv[1], p->name) == 0) {
                p->run();
                said();
                found = 1;
            }
    if (!found)
        fprintf(stderr, "usage: program <name>\n");
    MPI_Finalize();
    return !found;
}
