/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte drain`: what is kept of files goes to the files. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <cte/store.h>

#include "command.h"
#include "json.h"
#include "terminal.h"

struct drain_options {
    bool all;
};

struct draining {
    struct progress progress;
    bool json;
    uint64_t bytes;
    int count;
};

static void print_drained(const cte_store_drained *drained)
{
    print_name(drained->path);
    if (drained->status == CTE_OK)
        printf(": drained, %llu bytes\n", (unsigned long long)drained->bytes_drained);
    else if (drained->status == -EBUSY)
        puts(": left to the process that has it open");
    else
        printf(": %sfailed%s: %s\n", tone_text(stdout, TONE_BAD), tone_text(stdout, TONE_PLAIN),
               cte_status_string(drained->status));
}

static cte_status tell_drained(void *context, const cte_store_drained *drained)
{
    struct draining *draining = context;
    progress_hide(&draining->progress);
    if (draining->json) {
        json_object(NULL);
        json_text("path", drained->path);
        json_uint("bytes_drained", drained->bytes_drained);
        json_text("status", cte_status_name(drained->status));
        json_end();
    } else {
        print_drained(drained);
    }
    progress_show(&draining->progress);
    draining->bytes += drained->bytes_drained;
    draining->count++;
    progress_set(&draining->progress, draining->bytes, drained->path);
    return CTE_OK;
}

/* Paths are kept as they were when the file was opened: absolute and without symbolic links. */
static cte_status drain_path(cte_client *client, const char *path, struct draining *draining)
{
    char *absolute = realpath(path, NULL);
    int before = draining->count;
    cte_status status =
        cte_store_drain(client, absolute ? absolute : path, true, tell_drained, draining);
    free(absolute);
    if (status == CTE_OK && draining->count == before && !draining->json) {
        print_name(path);
        puts(": nothing is kept of it");
    }
    return status;
}

static cte_status drain_all(const struct invocation *in, cte_client *client,
                            struct draining *draining)
{
    const struct drain_options *options = in->options;
    cte_status status = CTE_OK;
    if (in->argument_count == 0)
        status = cte_store_drain(client, NULL, options->all, tell_drained, draining);
    for (int i = 0; i < in->argument_count; i++) {
        cte_status drained = drain_path(client, in->arguments[i], draining);
        status = status == CTE_OK ? drained : status;
    }
    return status;
}

static int run_drain(const struct invocation *in)
{
    const struct drain_options *options = in->options;
    struct draining draining = {.json = in->json};
    cte_client *client;
    if (options->all && in->argument_count > 0)
        return complain_usage(in, "give --all or paths, not both");
    int result = open_store(in, false, &client);
    if (result != EXIT_OK)
        return result;
    if (in->json) {
        json_object(NULL);
        json_array("files");
    }
    progress_begin(&draining.progress, "draining", 0);
    cte_status status = drain_all(in, client, &draining);
    progress_end(&draining.progress);
    if (status != CTE_OK) {
        complain("not everything is drained (%s); what is not stays in the store: mend the cause "
                 "and run `cte drain` again",
                 cte_status_string(status));
        result = EXIT_KEPT;
    } else if (in->json) {
        json_end();
        json_end();
    } else if (in->argument_count == 0 && draining.count == 0) {
        puts("nothing to drain");
    }
    return close_store(client, result);
}

static const struct option_row rows[] = {
    {"all", 'a', OPTION_FLAG, offsetof(struct drain_options, all),
     .help = "also files that are never drained by themselves"},
    {0},
};

const struct command command_drain = {
    .name = "drain",
    .synopsis = "[--json] [--all | PATH...]",
    .summary = "write kept data of files that nobody has open to the files",
    .description =
        "Writes what is kept of files that nobody has open to the real files, says how it went for "
        "each, and forgets what was written.  Without arguments: files left by `async` draining or "
        "by processes that died.  --all and PATH include files that are never drained by "
        "themselves.  What cannot be written is kept, and the command can be repeated.",
    .run = run_drain,
    .options = rows,
    .options_bytes = sizeof(struct drain_options),
    .most = -1,
};
