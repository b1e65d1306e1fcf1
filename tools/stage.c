/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte stage-in`: copies of files into the tiers, before a job needs them. */
#include <errno.h>
#include <fts.h>
#include <glob.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cte/stage.h>

#include "command.h"
#include "json.h"
#include "terminal.h"

struct stage_options {
    uint32_t threads;
    float score;
};

struct staged_file {
    char *path;
    uint64_t size_bytes;
};

struct staging {
    struct staged_file *files;
    size_t count, capacity;
    uint64_t total_bytes;
    struct progress progress;
    _Atomic uint64_t done_bytes;
    uint64_t staged_bytes, present_bytes;
    bool json;
    bool failed;
};

/* ---- which files ----------------------------------------------------------------------------- */

static bool add_file(struct staging *staging, const char *path, uint64_t size_bytes)
{
    if (staging->count == staging->capacity) {
        size_t capacity = staging->capacity ? staging->capacity * 2 : 64;
        struct staged_file *larger = realloc(staging->files, capacity * sizeof *larger);
        if (!larger)
            return false;
        staging->files = larger;
        staging->capacity = capacity;
    }
    char *copy = strdup(path);
    if (!copy)
        return false;
    staging->files[staging->count++] = (struct staged_file){copy, size_bytes};
    staging->total_bytes += size_bytes;
    return true;
}

static void refuse(struct staging *staging, const char *path, const char *why)
{
    complain("%s: %s", path, why);
    staging->failed = true;
}

/* A file, or the regular files below a directory; symbolic links below it are not followed. */
static void add_tree(struct staging *staging, const char *path)
{
    char *roots[] = {(char *)path, NULL};
    FTS *tree = fts_open(roots, FTS_COMFOLLOW | FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (!tree) {
        refuse(staging, path, strerror(errno));
        return;
    }
    for (FTSENT *node; (node = fts_read(tree)) != NULL;) {
        switch (node->fts_info) {
        case FTS_F:
            if (!add_file(staging, node->fts_path, (uint64_t)node->fts_statp->st_size))
                refuse(staging, node->fts_path, strerror(ENOMEM));
            break;
        case FTS_NS:
        case FTS_DNR:
        case FTS_ERR:
            refuse(staging, node->fts_path, strerror(node->fts_errno));
            break;
        default:
            if (node->fts_level == 0 && node->fts_info != FTS_D && node->fts_info != FTS_DP)
                refuse(staging, path, "neither a regular file nor a directory");
            break;
        }
    }
    fts_close(tree);
}

/* What the shell did not expand is a pattern, unless there is a file of that very name. */
static void add_argument(struct staging *staging, const char *argument)
{
    struct stat st;
    glob_t matches;
    if (stat(argument, &st) == 0 || strpbrk(argument, "*?[") == NULL) {
        add_tree(staging, argument);
        return;
    }
    if (glob(argument, 0, NULL, &matches) != 0) {
        refuse(staging, argument, "no file matches");
        return;
    }
    for (size_t i = 0; i < matches.gl_pathc; i++)
        add_tree(staging, matches.gl_pathv[i]);
    globfree(&matches);
}

/* ---- staging --------------------------------------------------------------------------------- */

static const char *reason(cte_status status)
{
    switch (status) {
    case -ENOTSUP:
        return "the configuration keeps this file out of the tiers";
    case -ENOSPC:
        return "the tiers are full; what is there of the file will be used";
    case -ESTALE:
        return "it was changed meanwhile; stage it again";
    case -EBUSY:
        return "it is being written; stage it again later";
    default:
        return cte_status_string(status);
    }
}

static void print_result(const struct staging *staging, const struct staged_file *file,
                         const cte_stage_result *result, cte_status status)
{
    if (staging->json) {
        json_object(NULL);
        json_text("path", file->path);
        json_uint("size_bytes", result->size_bytes);
        json_uint("bytes_present", result->bytes_present);
        json_uint("bytes_staged", result->bytes_staged);
        json_text("status", cte_status_name(status));
        json_end();
        return;
    }
    print_name(file->path);
    if (status == CTE_OK)
        printf(": %llu bytes staged, %llu were there\n", (unsigned long long)result->bytes_staged,
               (unsigned long long)result->bytes_present);
    else
        printf(": %sfailed%s after %llu bytes: %s\n", tone_text(stdout, TONE_BAD),
               tone_text(stdout, TONE_PLAIN), (unsigned long long)result->bytes_staged,
               reason(status));
}

static void count_bytes(void *context, uint64_t bytes)
{
    struct staging *staging = context;
    progress_set(&staging->progress, atomic_fetch_add(&staging->done_bytes, bytes) + bytes, NULL);
}

static void stage_file(struct staging *staging, cte_client *client, const struct staged_file *file,
                       const struct stage_options *given)
{
    cte_stage_options options = CTE_STAGE_OPTIONS_INIT;
    cte_stage_result result;
    options.threads = given->threads;
    options.score = given->score;
    options.progress = count_bytes;
    options.context = staging;
    progress_set(&staging->progress, atomic_load(&staging->done_bytes), file->path);
    cte_status status = cte_stage_in(client, file->path, &options, &result);
    staging->failed = staging->failed || status != CTE_OK;
    staging->staged_bytes += result.bytes_staged;
    staging->present_bytes += result.bytes_present;
    progress_hide(&staging->progress);
    print_result(staging, file, &result, status);
    progress_show(&staging->progress);
}

static void stage_files(const struct invocation *in, struct staging *staging, cte_client *client)
{
    if (in->json) {
        json_object(NULL);
        json_array("files");
    }
    progress_begin(&staging->progress, "staging", staging->total_bytes);
    for (size_t i = 0; i < staging->count; i++)
        stage_file(staging, client, &staging->files[i], in->options);
    progress_end(&staging->progress);
    if (in->json) {
        json_end();
        json_uint("bytes_staged", staging->staged_bytes);
        json_uint("bytes_present", staging->present_bytes);
        json_end();
    }
}

static int run_stage_in(const struct invocation *in)
{
    struct staging staging = {.json = in->json};
    cte_client *client;
    for (int i = 0; i < in->argument_count; i++)
        add_argument(&staging, in->arguments[i]);
    int result = open_store(in, true, &client);
    if (result == EXIT_OK) {
        stage_files(in, &staging, client);
        if (staging.failed)
            result = complain("not everything is staged");
        result = close_store(client, result);
    }
    for (size_t i = 0; i < staging.count; i++)
        free(staging.files[i].path);
    free(staging.files);
    return result;
}

static const struct stage_options defaults = {.score = -1.0f};

static const struct option_row rows[] = {
    {"threads", 't', OPTION_COUNT32, offsetof(struct stage_options, threads), .least = 1,
     .most = 64, .value = "N", .help = "read with so many threads at once; default: 4"},
    {"score", 's', OPTION_SCORE, offsetof(struct stage_options, score), .value = "S",
     .help = "tier that the copies ask for, 0 to 1; default: file.score"},
    {0},
};

const struct command command_stage_in = {
    .name = "stage-in",
    .synopsis = "[--json] [--threads N] [--score S] PATH...",
    .summary = "bring copies of files into the tiers before a job needs them",
    .description =
        "Reads the files, keeps copies in the tiers of this node and compares what the tiers give "
        "back.  A PATH is a file, a directory with all below it, or a quoted pattern.  Programs "
        "that open the files later read from the tiers what is there and the rest from the file, "
        "as long as nobody changed it.  Can be interrupted and repeated.  The store stays until "
        "`cte destroy`.",
    .run = run_stage_in,
    .options = rows,
    .defaults = &defaults,
    .options_bytes = sizeof(struct stage_options),
    .least = 1,
    .most = -1,
};
