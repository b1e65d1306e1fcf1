/* SPDX-License-Identifier: BSD-3-Clause */
#include "adapter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cte/mpiio.h>

struct choice {
    const char *word;
    int value;
};

static const struct choice modes[] = {{"default", CTE_FILE_MODE_DEFAULT},
                                      {"scratch", CTE_FILE_MODE_SCRATCH},
                                      {"bypass", CTE_FILE_MODE_BYPASS},
                                      {NULL, 0}};

static const struct choice drains[] = {{"on_close", CTE_FILE_DRAIN_ON_CLOSE},
                                       {"async", CTE_FILE_DRAIN_ASYNC},
                                       {"never", CTE_FILE_DRAIN_NEVER},
                                       {NULL, 0}};

/* Every process sees the same hints, and a program may open thousands of files with them: true for
 * one process, and once for each. */
static bool is_to_be_said(const char *key)
{
    enum { REMEMBERED = 32 };
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char seen[REMEMBERED][MPI_MAX_INFO_KEY + 1];
    static int seen_count;
    int rank = 0;
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    pthread_mutex_lock(&lock);
    bool known = seen_count == REMEMBERED;
    for (int i = 0; i < seen_count && !known; i++)
        known = strcmp(seen[i], key) == 0;
    if (!known)
        strncpy(seen[seen_count++], key, MPI_MAX_INFO_KEY);
    pthread_mutex_unlock(&lock);
    return !known && rank == 0;
}

static void complain(const char *key, const char *value, const char *expected)
{
    if (!is_to_be_said(key))
        return;
    if (value)
        cte__mpi_message(CTE__MPI_WARN, "hint %s: \"%s\" is not %s; ignored", key, value, expected);
    else
        cte__mpi_message(CTE__MPI_WARN, "hint %s: unknown; known are %s; ignored", key, expected);
}

static bool get(MPI_Info info, const char *key, char value[MPI_MAX_INFO_VAL + 1])
{
    int found = 0;
    return PMPI_Info_get(info, key, MPI_MAX_INFO_VAL, value, &found) == MPI_SUCCESS && found;
}

static void get_choice(MPI_Info info, const char *key, const struct choice *choices,
                       const char *expected, int *out)
{
    char value[MPI_MAX_INFO_VAL + 1];
    if (!get(info, key, value))
        return;
    for (const struct choice *c = choices; c->word; c++)
        if (strcasecmp(value, c->word) == 0) {
            *out = c->value;
            return;
        }
    complain(key, value, expected);
}

static void get_score(MPI_Info info, float *out)
{
    char value[MPI_MAX_INFO_VAL + 1];
    if (!get(info, CTE_MPIIO_HINT_SCORE, value))
        return;
    char *end;
    float score = strtof(value, &end);
    if (end != value && *end == '\0' && score >= 0.0f && score <= 1.0f)
        *out = score;
    else
        complain(CTE_MPIIO_HINT_SCORE, value, "a number from 0 to 1");
}

static void get_chunk_size(MPI_Info info, uint64_t *out)
{
    char value[MPI_MAX_INFO_VAL + 1];
    if (!get(info, CTE_MPIIO_HINT_CHUNK_SIZE, value))
        return;
    char *end;
    unsigned long long bytes = strtoull(value, &end, 10);
    bool fine = end != value && *end == '\0' && bytes >= 65536 && bytes <= 16777216 &&
                (bytes & (bytes - 1)) == 0;
    if (fine)
        *out = bytes;
    else
        complain(CTE_MPIIO_HINT_CHUNK_SIZE, value, "a power of two from 65536 to 16777216");
}

static void look_for_unknown(MPI_Info info)
{
    int count = 0;
    PMPI_Info_get_nkeys(info, &count);
    for (int i = 0; i < count; i++) {
        char key[MPI_MAX_INFO_KEY + 1];
        if (PMPI_Info_get_nthkey(info, i, key) != MPI_SUCCESS || strncmp(key, "cte_", 4) != 0)
            continue;
        if (strcmp(key, CTE_MPIIO_HINT_MODE) != 0 && strcmp(key, CTE_MPIIO_HINT_DRAIN) != 0 &&
            strcmp(key, CTE_MPIIO_HINT_SCORE) != 0 && strcmp(key, CTE_MPIIO_HINT_CHUNK_SIZE) != 0)
            complain(key, NULL, "cte_mode, cte_drain, cte_score and cte_chunk_size");
    }
}

bool cte__mpi_hints_are_plain(const struct cte__mpi_hints *hints)
{
    return hints->mode == CTE_FILE_MODE_CONFIG && hints->drain == CTE_FILE_DRAIN_CONFIG &&
           hints->score < 0 && hints->chunk_bytes == 0;
}

void cte__mpi_hints_get(MPI_Info info, struct cte__mpi_hints *hints)
{
    hints->mode = CTE_FILE_MODE_CONFIG;
    hints->drain = CTE_FILE_DRAIN_CONFIG;
    hints->score = -1.0f;
    hints->chunk_bytes = 0;
    if (info == MPI_INFO_NULL)
        return;
    get_choice(info, CTE_MPIIO_HINT_MODE, modes, "default, scratch or bypass", &hints->mode);
    get_choice(info, CTE_MPIIO_HINT_DRAIN, drains, "on_close, async or never", &hints->drain);
    get_score(info, &hints->score);
    get_chunk_size(info, &hints->chunk_bytes);
    look_for_unknown(info);
}

static void complain_too_late(const char *key)
{
    if (is_to_be_said(key))
        cte__mpi_message(CTE__MPI_WARN, "hint %s: is decided when the file is opened; ignored",
                         key);
}

void cte__mpi_hints_apply(struct cte__mpi_file *file, MPI_Info info)
{
    struct cte__mpi_hints hints;
    cte_file_options options = CTE_FILE_OPTIONS_INIT, now = CTE_FILE_OPTIONS_INIT;
    if (info == MPI_INFO_NULL)
        return;
    cte__mpi_hints_get(info, &hints);
    cte_file_get_options(file->file, &now);
    if (hints.mode != CTE_FILE_MODE_CONFIG && hints.mode != (int)now.mode)
        complain_too_late(CTE_MPIIO_HINT_MODE);
    if (hints.chunk_bytes != 0 && hints.chunk_bytes != now.chunk_bytes)
        complain_too_late(CTE_MPIIO_HINT_CHUNK_SIZE);
    options.drain = (cte_file_drain_policy)hints.drain;
    options.score = hints.score;
    cte_status status = cte_file_set_options(file->file, &options);
    if (status != CTE_OK)
        cte__mpi_message(CTE__MPI_WARN, "%s: hints: %s", file->path, cte_status_string(status));
}

static void set_choice(MPI_Info info, const char *key, const struct choice *choices, int value)
{
    for (const struct choice *c = choices; c->word; c++)
        if (c->value == value)
            PMPI_Info_set(info, key, c->word);
}

/* What is in force, asked for or not. */
static void tell(MPI_Info info, const struct cte__mpi_file *file)
{
    char text[32];
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    cte_file_get_options(file->file, &options);
    set_choice(info, CTE_MPIIO_HINT_MODE, modes, (int)options.mode);
    if (options.mode == CTE_FILE_MODE_BYPASS)
        return;
    set_choice(info, CTE_MPIIO_HINT_DRAIN, drains, (int)options.drain);
    snprintf(text, sizeof text, "%g", (double)options.score);
    PMPI_Info_set(info, CTE_MPIIO_HINT_SCORE, text);
    snprintf(text, sizeof text, "%llu", (unsigned long long)options.chunk_bytes);
    PMPI_Info_set(info, CTE_MPIIO_HINT_CHUNK_SIZE, text);
}

/* MPICH tells the hints that it knows. */
int MPI_File_get_info(MPI_File fh, MPI_Info *info)
{
    int code = REAL(get_info)(fh, info);
    struct cte__mpi_file *file = cte__mpi_find(fh);
    if (file && code == MPI_SUCCESS)
        tell(*info, file);
    return code;
}

int MPI_File_set_info(MPI_File fh, MPI_Info info)
{
    int code = REAL(set_info)(fh, info);
    struct cte__mpi_file *file = cte__mpi_find(fh);
    if (file && code == MPI_SUCCESS)
        cte__mpi_hints_apply(file, info);
    return code;
}

CTE__MPI_PROFILING_NAME(get_info)
CTE__MPI_PROFILING_NAME(set_info)
