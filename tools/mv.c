/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte mv`: gives a blob another name, or another place. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cte/blob.h>
#include <cte/target.h>

#include "command.h"
#include "json.h"
#include "terminal.h"

struct mv_options {
    float score;        /* negative: not given */
    const char *target; /* NULL: not given */
    bool replace;
};

static int failed(const struct invocation *in, cte_status status)
{
    const char *reason = status == -EEXIST
                             ? "there is a blob of the new name; --replace takes its place"
                             : cte_status_string(status);
    complain("tag %s, blob %s stays as it was: %s", in->arguments[0], in->arguments[1], reason);
    return status == CTE_ERR_CHECKSUM ? EXIT_DAMAGE : EXIT_FAILED;
}

/* ---- another name --------------------------------------------------------------------------- */

/* TAG BLOB NEW, or TAG BLOB NEW_TAG NEW */
static int rename_blob(const struct invocation *in, cte_client *client)
{
    const struct mv_options *options = in->options;
    uint32_t flags = options->replace ? CTE_BLOB_REPLACE : 0;
    const char *new_tag = in->argument_count > 3 ? in->arguments[2] : in->arguments[0];
    const char *new_name = in->arguments[in->argument_count - 1];
    cte_tag *from = NULL, *to = NULL;
    uint64_t size;
    cte_status status = cte_tag_open(client, in->arguments[0], false, &from);
    if (status == CTE_OK) /* no new tag for a blob that is not there */
        status = cte_blob_size(from, in->arguments[1], &size);
    if (status == CTE_OK && in->argument_count > 3)
        status = cte_tag_open(client, new_tag, true, &to);
    if (status == CTE_OK && to)
        status = cte_blob_move(from, in->arguments[1], to, new_name, flags);
    else if (status == CTE_OK)
        status = cte_blob_rename(from, in->arguments[1], new_name, flags);
    cte_tag_close(from);
    cte_tag_close(to);
    if (status != CTE_OK)
        return failed(in, status);
    if (in->json) {
        json_object(NULL);
        json_text("tag", new_tag);
        json_text("blob", new_name);
        json_end();
    }
    return EXIT_OK;
}

/* ---- another place -------------------------------------------------------------------------- */

static void print_report_json(const struct invocation *in, const cte_blob_report *report)
{
    json_object(NULL);
    json_text("tag", in->arguments[0]);
    json_text("blob", in->arguments[1]);
    json_uint("size_bytes", report->size_bytes);
    json_real("score", (double)report->score, -1);
    json_uint("bytes_moved", report->bytes_moved);
    json_array("targets");
    for (uint32_t i = 0; i < report->target_count && i < CTE_BLOB_TARGETS_MAX; i++) {
        json_object(NULL);
        json_text("name", report->targets[i].name);
        json_uint("bytes_used", report->targets[i].bytes_used);
        json_end();
    }
    json_end();
    json_end();
}

static void print_report(const cte_blob_report *report)
{
    printf("score %.2f, moved %s\n", (double)report->score,
           size_text(report->bytes_moved, false).text);
    for (uint32_t i = 0; i < report->target_count && i < CTE_BLOB_TARGETS_MAX; i++) {
        printf("%15s in ", size_text(report->targets[i].bytes_used, false).text);
        print_name(report->targets[i].name);
        putchar('\n');
    }
    if (report->target_count == 0)
        puts("it is so small that it lies with the metadata");
}

/* True if the whole blob is where it was to go; small ones are in no target. */
static bool arrived(const cte_blob_report *report, const char *target)
{
    return report->target_count == 0 ||
           (report->target_count == 1 && strcmp(report->targets[0].name, target) == 0);
}

static int reorganize(const struct invocation *in, cte_client *client, float score,
                      const char *target)
{
    cte_blob_report report;
    cte_tag *tag = NULL;
    cte_status status = cte_tag_open(client, in->arguments[0], false, &tag);
    if (status == CTE_OK)
        status = cte_blob_reorganize(tag, in->arguments[1], score, &report);
    cte_tag_close(tag);
    if (status != CTE_OK)
        return failed(in, status);
    in->json ? print_report_json(in, &report) : print_report(&report);
    if (!target || arrived(&report, target))
        return EXIT_OK;
    return complain("not all of it is in %s, which has no room for it, or whose score another "
                    "target has too; `cte targets` shows both",
                    target);
}

/* What a target is called for people: its label, or its path. */
static int find_target(cte_client *client, const char *name, cte_target_info *info)
{
    enum { TARGETS_MAX = 64 };
    cte_target_info infos[TARGETS_MAX];
    uint32_t count = 0;
    cte_status status = cte_client_targets(client, infos, TARGETS_MAX, &count);
    for (uint32_t i = 0; status == CTE_OK && i < count && i < TARGETS_MAX; i++) {
        if (strcmp(infos[i].name, name) == 0 || strcmp(infos[i].label, name) == 0) {
            *info = infos[i];
            return EXIT_OK;
        }
    }
    return status != CTE_OK ? complain_status(status)
                            : complain("there is no target %s; `cte targets` lists them", name);
}

static int move_blob(const struct invocation *in, cte_client *client)
{
    const struct mv_options *options = in->options;
    cte_target_info info;
    if (!options->target)
        return reorganize(in, client, options->score, NULL);
    int result = find_target(client, options->target, &info);
    return result != EXIT_OK ? result : reorganize(in, client, info.score, info.name);
}

/* ---- the command ---------------------------------------------------------------------------- */

static int run_mv(const struct invocation *in)
{
    const struct mv_options *options = in->options;
    bool place = options->score >= 0 || options->target;
    cte_client *client;
    if (options->score >= 0 && options->target)
        return complain_usage(in, "give --score or --target, not both");
    if (place && (in->argument_count != 2 || options->replace))
        return complain_usage(in, "a blob gets a new place or a new name, one at a time");
    if (!place && in->argument_count < 3)
        return complain_usage(in, "give a new name, --score or --target");
    int result = open_store(in, false, &client);
    if (result != EXIT_OK)
        return result;
    result = place ? move_blob(in, client) : rename_blob(in, client);
    return close_store(client, result);
}

static const struct option_row rows[] = {
    {"replace", 'r', OPTION_FLAG, offsetof(struct mv_options, replace),
     .help = "delete a blob that has the new name, in the same step"},
    {"score", 's', OPTION_SCORE, offsetof(struct mv_options, score), .value = "S",
     .help = "give the blob this score, 0 to 1, and move it where that belongs"},
    {"target", 't', OPTION_TEXT, offsetof(struct mv_options, target), .value = "NAME",
     .help = "give the blob the score of a target, and move it there"},
    {0},
};

static const struct mv_options defaults = {.score = -1.0f};

const struct command command_mv = {
    .name = "mv",
    .synopsis = "[--replace] [--json] TAG BLOB [NEW_TAG] NEW_BLOB\n"
                "--score S | --target NAME [--json] TAG BLOB",
    .summary = "give a blob another name, or another place",
    .description =
        "Gives a blob another name, in its tag or in another one, which is made if it is missing.  "
        "With --score or --target: moves its bytes to another target and says where they lie "
        "afterwards.  Readers and writers go on meanwhile.",
    .run = run_mv,
    .options = rows,
    .defaults = &defaults,
    .options_bytes = sizeof(struct mv_options),
    .least = 2,
    .most = 4,
};
