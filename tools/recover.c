/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte recover`: what a killed job, or a node that went down, left becomes files again. */
#include <stdio.h>
#include <stdlib.h>

#include <cte/recover.h>

#include "command.h"
#include "json.h"
#include "terminal.h"

struct recover_options {
    bool all;
    uint32_t retries;
    double retry_delay_s;
};

struct recovering {
    struct progress progress;
    bool json;
    uint64_t bytes, files, lost;
    cte_recover_report report;
};

static const char *state_name(cte_recover_state state)
{
    switch (state) {
    case CTE_RECOVER_COMPLETE:
        return "complete";
    case CTE_RECOVER_KEPT:
        return "kept";
    case CTE_RECOVER_OPEN:
        return "open";
    case CTE_RECOVER_INCOMPLETE:
        break;
    }
    return "incomplete";
}

static void print_file_json(const cte_recovered *file)
{
    json_object(NULL);
    json_text("path", file->path);
    json_text("state", state_name(file->state));
    json_text("status", cte_status_name(file->status));
    json_uint("size_bytes", file->size_bytes);
    json_uint("bytes_drained", file->bytes_drained);
    json_uint("bytes_damaged", file->bytes_damaged);
    json_uint("bytes_lost", file->bytes_lost);
    json_uint("tries", file->tries);
    json_text("reason", file->reason);
    json_end();
}

static void print_file(const cte_recovered *file)
{
    bool complete = file->state == CTE_RECOVER_COMPLETE;
    print_name(file->path);
    fputs(": ", stdout);
    print_toned(complete                          ? TONE_GOOD
                : file->state == CTE_RECOVER_KEPT ? TONE_PLAIN
                                                  : TONE_BAD,
                state_name(file->state));
    printf(", %llu bytes drained", (unsigned long long)file->bytes_drained);
    if (file->reason[0])
        printf(": %s", file->reason);
    putchar('\n');
}

static cte_status tell_file(void *context, const cte_recovered *file)
{
    struct recovering *recovering = context;
    progress_hide(&recovering->progress);
    if (recovering->json)
        print_file_json(file);
    else
        print_file(file);
    progress_show(&recovering->progress);
    recovering->bytes += file->bytes_drained;
    recovering->lost += file->bytes_damaged + file->bytes_lost;
    recovering->files++;
    progress_set(&recovering->progress, recovering->bytes, file->path);
    return CTE_OK;
}

static void add_report(cte_recover_report *sum, const cte_recover_report *report)
{
    sum->files += report->files;
    sum->complete += report->complete;
    sum->incomplete += report->incomplete;
    sum->bytes_drained += report->bytes_drained;
}

/* Paths are kept as they were when the file was opened: absolute and without symbolic links. */
static cte_status recover_path(cte_client *client, const char *path, cte_recover_options options,
                               struct recovering *recovering)
{
    char *absolute = realpath(path, NULL);
    uint64_t before = recovering->files;
    cte_recover_report report;
    options.path = absolute ? absolute : path;
    cte_status status = cte_store_recover(client, &options, &report);
    free(absolute);
    add_report(&recovering->report, &report);
    if (status == CTE_OK && recovering->files == before && !recovering->json) {
        print_name(path);
        puts(": nothing is kept of it");
    }
    return status;
}

static cte_status recover(const struct invocation *in, cte_client *client,
                          struct recovering *recovering)
{
    const struct recover_options *given = in->options;
    cte_recover_options options = CTE_RECOVER_OPTIONS_INIT;
    cte_status status = CTE_OK;
    options.all = given->all;
    options.tries_max = given->retries + 1;
    options.retry_delay_ms = (uint32_t)(given->retry_delay_s * 1000);
    options.recovered = tell_file;
    options.context = recovering;
    if (in->argument_count == 0)
        return cte_store_recover(client, &options, &recovering->report);
    for (int i = 0; i < in->argument_count && status == CTE_OK; i++)
        status = recover_path(client, in->arguments[i], options, recovering);
    return status;
}

static void print_report(const struct recovering *recovering)
{
    const cte_recover_report *report = &recovering->report;
    if (report->files == 0)
        puts("nothing to recover");
    else
        printf("%llu files: %llu complete, %llu not; %llu bytes drained\n",
               (unsigned long long)report->files, (unsigned long long)report->complete,
               (unsigned long long)report->incomplete, (unsigned long long)report->bytes_drained);
}

static void print_report_json(const struct recovering *recovering)
{
    const cte_recover_report *report = &recovering->report;
    json_end();
    json_uint("complete", report->complete);
    json_uint("incomplete", report->incomplete);
    json_uint("bytes_drained", report->bytes_drained);
    json_bool("ok", report->incomplete == 0);
    json_end();
}

static int run_recover(const struct invocation *in)
{
    const struct recover_options *given = in->options;
    struct recovering recovering = {.json = in->json};
    cte_client *client;
    if (given->all && in->argument_count > 0)
        return complain_usage(in, "give --all or paths, not both");
    int result = open_store(in, false, &client);
    if (result != EXIT_OK)
        return result;
    if (in->json) {
        json_object(NULL);
        json_array("files");
    }
    progress_begin(&recovering.progress, "recovering", 0);
    cte_status status = recover(in, client, &recovering);
    progress_end(&recovering.progress);
    if (status != CTE_OK)
        return close_store(client, complain_status(status));
    if (in->json)
        print_report_json(&recovering);
    else
        print_report(&recovering);
    if (recovering.report.incomplete > 0)
        result = recovering.lost > 0 ? EXIT_DAMAGE : EXIT_KEPT;
    return close_store(client, result);
}

static const struct recover_options defaults = {.retries = 2, .retry_delay_s = 0.5};

static const struct option_row rows[] = {
    {"all", 'a', OPTION_FLAG, offsetof(struct recover_options, all),
     .help = "also files whose policy is never, and files that others changed since"},
    {"retries", 0, OPTION_COUNT32, offsetof(struct recover_options, retries), .most = 1000,
     .value = "N", .help = "try again so often where that may help; default 2"},
    {"retry-delay", 0, OPTION_SECONDS, offsetof(struct recover_options, retry_delay_s),
     .most = 3600, .value = "S", .help = "before the first retry, doubled each time; default 0.5"},
    {0},
};

const struct command command_recover = {
    .name = "recover",
    .synopsis = "[--json] [--retries N] [--retry-delay S] [--all | PATH...]",
    .summary = "complete the files of a job that died, and say how each stands",
    .description =
        "Writes everything that a job had written before it was killed, or before the node went "
        "down, to the real files, and makes it durable there.  Says of each file the store knows "
        "whether it is complete, and if it is not, which bytes are missing and why.  After a "
        "reboot the store is made anew from its journal first.  What cannot be written is kept, "
        "and the command can be repeated.",
    .run = run_recover,
    .options = rows,
    .defaults = &defaults,
    .options_bytes = sizeof(struct recover_options),
    .most = -1,
};
