/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte scrub`: reads everything, says what is damaged, and repairs what there is a copy of. */
#include <stdio.h>
#include <string.h>

#include <cte/scrub.h>

#include "command.h"
#include "json.h"
#include "terminal.h"

struct scrub_options {
    bool repair;
    uint64_t rate;
};

struct scrubbing {
    struct progress progress;
    bool json;
};

static const char *kind_name(cte_scrub_kind kind)
{
    return kind == CTE_SCRUB_DATA ? "data" : kind == CTE_SCRUB_METADATA ? "metadata" : "journal";
}

static const char *outcome_name(cte_scrub_outcome outcome)
{
    switch (outcome) {
    case CTE_SCRUB_NO_COPY:
        return "no_copy";
    case CTE_SCRUB_REPAIRABLE:
        return "repairable";
    case CTE_SCRUB_REPAIRED:
        return "repaired";
    case CTE_SCRUB_NOT_REPAIRED:
        break;
    }
    return "not_repaired";
}

static void print_finding_json(const cte_scrub_finding *finding)
{
    json_object(NULL);
    json_text("kind", kind_name(finding->kind));
    json_text("file", finding->file);
    json_text("tag", finding->tag);
    json_text("blob", finding->blob);
    json_uint("offset", finding->offset);
    json_uint("length", finding->length);
    json_text("target", finding->target);
    json_uint("target_offset", finding->target_offset);
    json_text("status", cte_status_name(finding->status));
    json_text("outcome", outcome_name(finding->outcome));
    json_text("text", finding->text);
    json_end();
}

static cte_status tell_finding(void *context, const cte_scrub_finding *finding)
{
    struct scrubbing *scrubbing = context;
    progress_hide(&scrubbing->progress);
    if (scrubbing->json) {
        print_finding_json(finding);
    } else {
        bool repaired = finding->outcome == CTE_SCRUB_REPAIRED;
        print_toned(repaired ? TONE_WARNING : TONE_BAD, repaired ? "repaired: " : "damaged: ");
        print_name(finding->text);
        putchar('\n');
    }
    progress_show(&scrubbing->progress);
    return CTE_OK;
}

static void tell_progress(void *context, uint64_t bytes_read, uint64_t of)
{
    struct scrubbing *scrubbing = context;
    scrubbing->progress.total = of;
    progress_set(&scrubbing->progress, bytes_read, NULL);
}

static void print_report_json(const cte_scrub_report *report)
{
    json_end();
    json_uint("blobs", report->blobs);
    json_uint("bytes_read", report->bytes_read);
    json_uint("bytes_damaged", report->bytes_damaged);
    json_uint("bytes_repaired", report->bytes_repaired);
    json_uint("unrepaired", report->unrepaired);
    json_bool("exact", report->exact);
    json_bool("checksums", report->checksums);
    json_bool("ok", report->unrepaired == 0);
    json_end();
}

static void print_report(const cte_scrub_report *report)
{
    printf("read %llu bytes of %llu blobs and pieces of files; %llu places are damaged, %llu of "
           "them repaired\n",
           (unsigned long long)report->bytes_read, (unsigned long long)report->blobs,
           (unsigned long long)report->findings,
           (unsigned long long)(report->findings - report->unrepaired));
    if (!report->checksums)
        puts("the store was made without checksums: contents are not verified");
    if (!report->exact)
        puts("processes are attached: free space is not accounted for");
}

static int run_scrub(const struct invocation *in)
{
    const struct scrub_options *given = in->options;
    struct scrubbing scrubbing = {.json = in->json};
    cte_scrub_options options = CTE_SCRUB_OPTIONS_INIT;
    cte_scrub_report report;
    cte_client *client;
    int result = open_store(in, false, &client);
    if (result != EXIT_OK)
        return result;
    options.repair = given->repair;
    options.bytes_per_s_max = given->rate;
    options.found = tell_finding;
    options.progress = tell_progress;
    options.context = &scrubbing;
    if (in->json) {
        json_object(NULL);
        json_array("findings");
    }
    progress_begin(&scrubbing.progress, "scrubbing", 0);
    cte_status status = cte_store_scrub(client, &options, &report);
    progress_end(&scrubbing.progress);
    if (status != CTE_OK)
        return close_store(client, complain_status(status));
    if (in->json)
        print_report_json(&report);
    else
        print_report(&report);
    return close_store(client, report.unrepaired > 0 ? EXIT_DAMAGE : EXIT_OK);
}

static const struct option_row rows[] = {
    {"repair", 'r', OPTION_FLAG, offsetof(struct scrub_options, repair),
     .help = "repair what there is another copy of"},
    {"rate", 0, OPTION_SIZE, offsetof(struct scrub_options, rate), .value = "BYTES",
     .help = "read at most so many bytes a second"},
    {0},
};

const struct command command_scrub = {
    .name = "scrub",
    .synopsis = "[--json] [--repair] [--rate BYTES]",
    .summary = "verify every stored byte, and repair what can be",
    .description =
        "Reads every page of every blob and file in the store and compares it with its checksum, "
        "verifies the journal, and accounts for all space in use.  Says of all damage which file "
        "or blob it is "
        "in, which bytes, and on which target they lie.  With --repair, damaged bytes that the "
        "real file has too are taken from there from then on, and a damaged journal is written "
        "anew; bytes that were not drained have no other copy.  Programs may go on meanwhile.",
    .run = run_scrub,
    .options = rows,
    .options_bytes = sizeof(struct scrub_options),
};
