/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte drain` and `cte stage-out`: what is kept of files goes to the files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cte/store.h>

#include "command.h"
#include "json.h"
#include "terminal.h"

enum { TARGETS_MAX = 64 };

struct draining {
    struct progress progress;
    cte_client *client;
    bool json;
    bool durable;         /* what is drained is synced too */
    uint64_t read_before; /* of all targets */
    const char *below;    /* directory or file that is looked for, while files are collected */
    bool dirty_only;      /* collect nothing else */
    char **paths;         /* collected */
    uint64_t bytes;       /* size of the collected files */
    size_t path_count;
    int count; /* files that were told of */
};

/* ---- progress ------------------------------------------------------------------------------- */

/* A drain reads what it writes from the targets. */
static uint64_t bytes_read(cte_client *client)
{
    cte_target_info infos[TARGETS_MAX];
    uint32_t count = 0;
    uint64_t bytes = 0;
    if (cte_client_targets(client, infos, TARGETS_MAX, &count) != CTE_OK)
        return 0;
    for (uint32_t i = 0; i < count && i < TARGETS_MAX; i++)
        bytes += infos[i].bytes_read;
    return bytes;
}

static uint64_t sample(void *context)
{
    struct draining *draining = context;
    uint64_t now = bytes_read(draining->client);
    return now > draining->read_before ? now - draining->read_before : 0;
}

static void begin(struct draining *draining, const char *verb)
{
    draining->read_before = bytes_read(draining->client);
    if (draining->json) {
        json_object(NULL);
        json_array("files");
    }
    progress_begin(&draining->progress, verb, draining->bytes);
    progress_watch(&draining->progress, sample, draining);
    progress_set(&draining->progress, 0, NULL);
}

/* ---- one file ------------------------------------------------------------------------------- */

/* On the disk, not just in the file, also what others drained.  A file that was renamed since had
 * its bytes made durable when they were drained. */
static cte_status sync_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? CTE_OK : -errno;
    cte_status status = fsync(fd) == 0 ? CTE_OK : -errno;
    close(fd);
    return status;
}

static void print_drained(const char *path, cte_status status, uint64_t bytes, bool deleted)
{
    print_name(path);
    if (status == CTE_OK && deleted)
        puts(": the file is gone; what was kept of it is dropped");
    else if (status == CTE_OK)
        printf(": drained, %llu bytes\n", (unsigned long long)bytes);
    else if (status == -EBUSY)
        puts(": left to the process that has it open");
    else
        printf(": %sfailed%s: %s\n", tone_text(stdout, TONE_BAD), tone_text(stdout, TONE_PLAIN),
               cte_status_string(status));
}

static cte_status tell_drained(void *context, const cte_store_drained *drained)
{
    struct draining *draining = context;
    cte_status status = drained->status;
    bool sync = draining->durable && status == CTE_OK && !drained->deleted;
    cte_status synced = sync ? sync_file(drained->path) : CTE_OK;
    status = status == CTE_OK ? synced : status;
    progress_hide(&draining->progress);
    if (draining->json) {
        json_object(NULL);
        json_text("path", drained->path);
        json_uint("bytes_drained", drained->bytes_drained);
        json_text("status", cte_status_name(status));
        json_bool("deleted", drained->deleted);
        json_end();
    } else {
        print_drained(drained->path, status, drained->bytes_drained, drained->deleted);
    }
    progress_show(&draining->progress);
    draining->count++;
    return synced;
}

static cte_status drain_file(struct draining *draining, const char *path)
{
    progress_set(&draining->progress, 0, path);
    return cte_store_drain(draining->client, path, true, tell_drained, draining);
}

/* ---- which files ---------------------------------------------------------------------------- */

static bool is_below(const char *path, const char *directory)
{
    size_t length = strlen(directory);
    return strncmp(path, directory, length) == 0 &&
           (path[length] == '\0' || path[length] == '/' || (length == 1 && path[0] == '/'));
}

static cte_status collect_file(void *context, const cte_store_file *file)
{
    struct draining *draining = context;
    bool wanted = draining->below ? is_below(file->path, draining->below) : !file->open;
    if (!wanted || (draining->dirty_only && !file->dirty) || file->mode == CTE_FILE_MODE_SCRATCH)
        return CTE_OK;
    char *path = strdup(file->path);
    char **more = path ? realloc(draining->paths, (draining->path_count + 1) * sizeof *more) : NULL;
    if (!more) {
        free(path);
        return -ENOMEM;
    }
    draining->paths = more;
    draining->paths[draining->path_count++] = path;
    draining->bytes += file->size_bytes;
    return CTE_OK;
}

/* Paths are kept as they were when the file was opened: absolute and without symbolic links.
 * `below` NULL: all that nobody has open. */
static cte_status collect(struct draining *draining, const char *below)
{
    char *absolute = below ? realpath(below, NULL) : NULL;
    draining->below = absolute ? absolute : below;
    cte_status status = cte_store_files(draining->client, collect_file, draining);
    draining->below = NULL;
    free(absolute);
    return status;
}

static void forget(struct draining *draining)
{
    for (size_t i = 0; i < draining->path_count; i++)
        free(draining->paths[i]);
    free(draining->paths);
}

/* ---- the end -------------------------------------------------------------------------------- */

static int end(struct draining *draining, cte_status status, const char *nothing)
{
    progress_end(&draining->progress);
    if (status != CTE_OK) {
        complain("not everything is drained (%s); what is not stays in the store: mend the cause, "
                 "and give the command again",
                 cte_status_string(status));
        return EXIT_KEPT;
    }
    if (draining->json) {
        json_end();
        json_end();
    } else if (draining->count == 0) {
        puts(nothing);
    }
    return EXIT_OK;
}

/* ---- drain ---------------------------------------------------------------------------------- */

struct drain_options {
    bool all, drop_missing;
};

/* Also a path that leads nowhere any more is one that the store knows. */
static char *absolute_path(const char *path)
{
    char *absolute = realpath(path, NULL);
    const char *slash = strrchr(path, '/');
    if (absolute || errno != ENOENT)
        return absolute;
    char *above = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    char *directory = above ? realpath(above, NULL) : NULL;
    const char *name = slash ? slash + 1 : path;
    if (directory &&
        asprintf(&absolute, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, name) < 0)
        absolute = NULL;
    free(directory);
    free(above);
    return absolute;
}

static cte_status drain_path(struct draining *draining, const char *path, bool drop)
{
    char *absolute = absolute_path(path);
    int before = draining->count;
    cte_status status = drop
                            ? cte_store_forget_missing(draining->client, absolute ? absolute : path,
                                                       tell_drained, draining)
                            : drain_file(draining, absolute ? absolute : path);
    free(absolute);
    if (status != CTE_OK || draining->count > before)
        return status;
    draining->count++;
    progress_hide(&draining->progress);
    if (!draining->json) {
        print_name(path);
        puts(drop ? ": it is there, or nothing is kept of it" : ": nothing is kept of it");
    }
    progress_show(&draining->progress);
    return CTE_OK;
}

static cte_status drain_all(const struct invocation *in, struct draining *draining)
{
    const struct drain_options *options = in->options;
    cte_status status = CTE_OK;
    if (in->argument_count == 0 && options->drop_missing)
        return cte_store_forget_missing(draining->client, NULL, tell_drained, draining);
    if (in->argument_count == 0)
        return cte_store_drain(draining->client, NULL, options->all, tell_drained, draining);
    for (int i = 0; i < in->argument_count; i++) {
        cte_status drained = drain_path(draining, in->arguments[i], options->drop_missing);
        status = status == CTE_OK ? drained : status;
    }
    return status;
}

static int run_drain(const struct invocation *in)
{
    const struct drain_options *options = in->options;
    struct draining draining = {.json = in->json, .dirty_only = true};
    if (options->all && in->argument_count > 0)
        return complain_usage(in, "give --all or paths, not both");
    if (options->all && options->drop_missing)
        return complain_usage(in, "give --all or --drop-missing, not both");
    int result = open_store(in, false, &draining.client);
    if (result != EXIT_OK)
        return result;
    /* Only for the size: if there is no memory for that, it is not known. */
    if (in->argument_count == 0)
        collect(&draining, NULL);
    for (int i = 0; i < in->argument_count; i++)
        collect(&draining, in->arguments[i]);
    begin(&draining, "draining");
    result = end(&draining, drain_all(in, &draining),
                 options->drop_missing ? "nothing is missing" : "nothing to drain");
    forget(&draining);
    return close_store(draining.client, result);
}

static const struct option_row drain_rows[] = {
    {"all", 'a', OPTION_FLAG, offsetof(struct drain_options, all),
     .help = "also files that are never drained by themselves"},
    {"drop-missing", 0, OPTION_FLAG, offsetof(struct drain_options, drop_missing),
     .help = "drain nothing; give up what is kept of files that are not where they were, as of "
             "deleted ones"},
    {0},
};

const struct command command_drain = {
    .name = "drain",
    .synopsis = "[--json] [--drop-missing] [--all | PATH...]",
    .summary = "write kept data of files that nobody has open to the files",
    .description =
        "Writes what is kept of files that nobody has open to the real files, says how it went for "
        "each, and forgets what was written.  Without arguments: files left by `async` draining or "
        "by processes that died.  --all and PATH include files that are never drained by "
        "themselves.  What cannot be written is kept, and the command can be repeated.  A file "
        "that "
        "was renamed in its directory is found; what is kept of a file that certainly was deleted "
        "is "
        "dropped, and that is said.  One that may have been moved elsewhere is kept: move it back, "
        "or "
        "give it up by --drop-missing.",
    .run = run_drain,
    .options = drain_rows,
    .options_bytes = sizeof(struct drain_options),
    .most = -1,
};

/* ---- stage-out ------------------------------------------------------------------------------ */

static cte_status stage_out(struct draining *draining)
{
    cte_status status = CTE_OK;
    for (size_t i = 0; i < draining->path_count; i++) {
        cte_status drained = drain_file(draining, draining->paths[i]);
        status = status == CTE_OK ? drained : status;
    }
    return status;
}

static int run_stage_out(const struct invocation *in)
{
    struct draining draining = {.json = in->json, .durable = true};
    cte_status status = CTE_OK;
    int result = open_store(in, false, &draining.client);
    if (result != EXIT_OK)
        return result;
    for (int i = 0; i < in->argument_count && status == CTE_OK; i++)
        status = collect(&draining, in->arguments[i]);
    begin(&draining, "staging out");
    if (status == CTE_OK)
        status = stage_out(&draining);
    result = end(&draining, status, "nothing is kept of these");
    forget(&draining);
    return close_store(draining.client, result);
}

const struct command command_stage_out = {
    .name = "stage-out",
    .synopsis = "[--json] PATH...",
    .summary = "complete files, or all below directories, and make them durable",
    .description =
        "Writes what is kept of files to the real files, whatever their drain policy, and "
        "returns when it is on their disks.  A directory stands for all files below it.",
    .run = run_stage_out,
    .least = 1,
    .most = -1,
};
