/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte info`: the store, who uses it, and its targets. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <cte/store.h>

#include "command.h"
#include "json.h"
#include "terminal.h"

enum { TARGETS_MAX = 64, PIDS_MAX = 1024 };

struct info_options {
    bool exact;
};

struct info {
    cte_store_journal journal;
    char path[PATH_MAX];
    uint32_t pids[PIDS_MAX], pid_count;
    cte_target_info targets[TARGETS_MAX];
    uint32_t target_count;
    cte_store_usage usage;
};

static void print_target_json(const cte_target_info *t)
{
    json_object(NULL);
    json_text("name", t->name);
    json_text("kind", t->kind);
    json_real("score", (double)t->score, -1);
    json_uint("capacity_bytes", t->capacity_bytes);
    json_uint("free_bytes", t->free_bytes);
    json_uint("bytes_written", t->bytes_written);
    json_uint("bytes_read", t->bytes_read);
    json_uint("writes", t->writes);
    json_uint("reads", t->reads);
    json_end();
}

static void print_journal_json(const cte_store_journal *journal)
{
    if (!journal->path[0]) {
        json_null("journal");
        return;
    }
    json_object("journal");
    json_text("path", journal->path);
    json_uint("generation", journal->generation);
    json_uint("size_bytes", journal->size_bytes);
    json_text("status", cte_status_name(journal->status));
    json_end();
}

static void print_info_json(const struct info *info)
{
    json_object(NULL);
    json_text("store", info->path);
    json_array("processes");
    for (uint32_t i = 0; i < info->pid_count && i < PIDS_MAX; i++)
        json_uint(NULL, info->pids[i]);
    json_end();
    json_uint("metadata_bytes", info->usage.metadata_bytes);
    json_uint("metadata_capacity_bytes", info->usage.metadata_capacity_bytes);
    json_uint("segment_bytes", info->usage.segment_bytes);
    json_uint("bytes_drained", info->usage.bytes_drained);
    json_uint("bytes_drained_background", info->usage.bytes_drained_background);
    json_uint("bytes_evicted", info->usage.bytes_evicted);
    json_uint("bytes_written_through", info->usage.bytes_written_through);
    json_uint("drain_failures", info->usage.drain_failures);
    json_array("targets");
    for (uint32_t i = 0; i < info->target_count && i < TARGETS_MAX; i++)
        print_target_json(&info->targets[i]);
    json_end();
    print_journal_json(&info->journal);
    json_end();
}

static void print_journal(const cte_store_journal *journal, bool exact)
{
    fputs("journal    ", stdout);
    print_name(journal->path[0] ? journal->path : "none");
    if (journal->path[0])
        printf(" (%s)", size_text(journal->size_bytes, exact).text);
    if (journal->status != CTE_OK)
        print_toned(TONE_BAD, " CANNOT BE WRITTEN");
    putchar('\n');
}

static void print_info(const struct info *info, bool exact)
{
    fputs("store      ", stdout);
    print_name(info->path);
    fputs("\nprocesses ", stdout);
    for (uint32_t i = 0; i < info->pid_count && i < PIDS_MAX; i++)
        printf(" %u", info->pids[i]);
    puts(info->pid_count ? "" : " none");
    print_journal(&info->journal, exact);
    printf("metadata   %s of %s in use, %s of memory\n",
           size_text(info->usage.metadata_bytes, exact).text,
           size_text(info->usage.metadata_capacity_bytes, exact).text,
           size_text(info->usage.segment_bytes, exact).text);
    printf("drained    %s, %s of it in the background; %s evicted, %s written through\n",
           size_text(info->usage.bytes_drained, exact).text,
           size_text(info->usage.bytes_drained_background, exact).text,
           size_text(info->usage.bytes_evicted, exact).text,
           size_text(info->usage.bytes_written_through, exact).text);
    printf("\n%-7s %5s %15s %15s %15s %15s  %s\n", "KIND", "SCORE", "CAPACITY", "FREE", "WRITTEN",
           "READ", "TARGET");
    for (uint32_t i = 0; i < info->target_count && i < TARGETS_MAX; i++) {
        const cte_target_info *t = &info->targets[i];
        printf("%-7s %5.2f %15s %15s %15s %15s  ", t->kind, (double)t->score,
               size_text(t->capacity_bytes, exact).text, size_text(t->free_bytes, exact).text,
               size_text(t->bytes_written, exact).text, size_text(t->bytes_read, exact).text);
        print_name(t->name);
        putchar('\n');
    }
}

static cte_status gather(const struct invocation *in, cte_client *client, struct info *info)
{
    cte_config *config = load_config(in);
    cte_status status =
        config ? cte_store_path(config, info->path, sizeof info->path) : CTE_ERR_CONFIG;
    cte_config_free(config);
    if (status == CTE_OK)
        status = cte_store_processes(client, info->pids, PIDS_MAX, &info->pid_count);
    if (status == CTE_OK)
        status = cte_client_targets(client, info->targets, TARGETS_MAX, &info->target_count);
    if (status == CTE_OK)
        status = cte_store_get_usage(client, &info->usage);
    if (status == CTE_OK)
        status = cte_store_get_journal(client, &info->journal);
    return status;
}

static int run_info(const struct invocation *in)
{
    const struct info_options *options = in->options;
    cte_client *client;
    int result = open_store(in, false, &client);
    if (result != EXIT_OK)
        return result;
    struct info *info = calloc(1, sizeof *info);
    cte_status status = info ? gather(in, client, info) : -ENOMEM;
    if (status != CTE_OK)
        result = complain_status(status);
    else if (in->json)
        print_info_json(info);
    else
        print_info(info, options->exact);
    free(info);
    return close_store(client, result);
}

static const struct option_row rows[] = {
    {"bytes", 'b', OPTION_FLAG, offsetof(struct info_options, exact),
     .help = "print sizes in bytes"},
    {0},
};

const struct command command_info = {
    .name = "info",
    .synopsis = "[--bytes] [--json]",
    .summary = "show the store, who is attached, and its targets",
    .run = run_info,
    .options = rows,
    .options_bytes = sizeof(struct info_options),
};
