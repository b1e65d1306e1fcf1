/* SPDX-License-Identifier: BSD-3-Clause */
#include "log.h"

#include <mpi.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "type.h"

static FILE *calls, *deviations, *traces;
static uint64_t program;
static unsigned line_number;

static FILE *log_file(const char *directory, const char *name, int rank)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s.%d", directory, name, rank);
    FILE *file = fopen(path, "w");
    if (!file)
        die("cannot write %s", path);
    setvbuf(file, NULL, _IOLBF, 4096); /* after a crash or a hang the lines are there */
    return file;
}

void log_open(const char *directory, int rank, bool trace)
{
    calls = log_file(directory, "log", rank);
    deviations = log_file(directory, "model", rank);
    if (trace)
        traces = log_file(directory, "trace", rank);
}

void log_close(void)
{
    if (fclose(calls) != 0 || fclose(deviations) != 0 || (traces && fclose(traces) != 0))
        die("cannot write the log");
}

void log_program(uint64_t seed)
{
    program = seed;
    line_number = 0;
}

static void log_to(FILE *file, unsigned number, const char *format, va_list arguments)
{
    fprintf(file, "seed=%llu op=%u ", (unsigned long long)program, number);
    vfprintf(file, format, arguments);
    fputc('\n', file);
}

void log_line(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_to(calls, line_number++, format, arguments);
    va_end(arguments);
}

bool log_traces(void)
{
    return traces;
}

void log_trace(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (traces)
        log_to(traces, line_number, format, arguments);
    va_end(arguments);
}

void log_model(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_to(deviations, line_number, format, arguments);
    va_end(arguments);
}

const char *error_name(int code)
{
    static const struct {
        int class;
        const char *name;
    } names[] = {
        {MPI_SUCCESS, "0"},
        {MPI_ERR_ACCESS, "ACCESS"},
        {MPI_ERR_AMODE, "AMODE"},
        {MPI_ERR_ARG, "ARG"},
        {MPI_ERR_BAD_FILE, "BAD_FILE"},
        {MPI_ERR_COUNT, "COUNT"},
        {MPI_ERR_FILE, "FILE"},
        {MPI_ERR_FILE_EXISTS, "FILE_EXISTS"},
        {MPI_ERR_FILE_IN_USE, "FILE_IN_USE"},
        {MPI_ERR_IO, "IO"},
        {MPI_ERR_NO_SPACE, "NO_SPACE"},
        {MPI_ERR_NO_SUCH_FILE, "NO_SUCH_FILE"},
        {MPI_ERR_NOT_SAME, "NOT_SAME"},
        {MPI_ERR_QUOTA, "QUOTA"},
        {MPI_ERR_READ_ONLY, "READ_ONLY"},
        {MPI_ERR_TYPE, "TYPE"},
        {MPI_ERR_UNSUPPORTED_DATAREP, "UNSUPPORTED_DATAREP"},
        {MPI_ERR_UNSUPPORTED_OPERATION, "UNSUPPORTED_OPERATION"},
        {MPI_ERR_OTHER, "OTHER"},
    };
    static char other[32];
    int class = MPI_ERR_UNKNOWN;
    MPI_Error_class(code, &class);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].class == class)
            return names[i].name;
    snprintf(other, sizeof(other), "class-%d", class);
    return other;
}

uint64_t hash_bytes(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *at = data;
    while (bytes > 0) {
        uint64_t word = 0;
        size_t take = bytes < sizeof(word) ? bytes : sizeof(word);
        memcpy(&word, at, take);
        hash = (hash ^ word ^ take << 56) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
        at += take;
        bytes -= take;
    }
    return hash;
}
