/* SPDX-License-Identifier: BSD-3-Clause */
/* What the processes of the store did, operation by operation. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cte/telemetry.h>

#include "command.h"
#include "json.h"

enum { ENTRIES = 1024 };

typedef unsigned long long ull;

struct telemetry_options {
    uint64_t since;
    bool follow;
};

struct follow {
    cte_client *client;
    const struct invocation *in;
    const struct telemetry_options *options;
    uint64_t time;
    uint64_t printed;
    cte_telemetry_entry entries[ENTRIES];
};

static void print_id(const char *key, uint32_t major, uint32_t minor)
{
    json_array(key);
    json_uint(NULL, major);
    json_uint(NULL, minor);
    json_end();
}

static void print_json(const cte_telemetry_entry *e)
{
    json_object(NULL);
    json_uint("logical_time", e->logical_time);
    json_text("op", cte_telemetry_op_name(e->op));
    json_int("status", e->status);
    json_uint("offset", e->offset);
    json_uint("size", e->size);
    json_uint("duration_ns", e->duration_ns);
    json_uint("pid", e->pid);
    json_int("rank", e->rank);
    if (e->target == CTE_TELEMETRY_NO_TARGET)
        json_null("target");
    else
        json_uint("target", e->target);
    print_id("tag_id", e->tag_id.major, e->tag_id.minor);
    print_id("blob_id", e->blob_id.major, e->blob_id.minor);
    json_uint("modified_ns", e->modified_ns);
    json_uint("read_ns", e->read_ns);
    json_end();
    json_finish(NULL);
}

static void print_line(const cte_telemetry_entry *e)
{
    char target[16] = "-", rank[16] = "-";
    if (e->target != CTE_TELEMETRY_NO_TARGET)
        snprintf(target, sizeof target, "%u", e->target);
    if (e->rank >= 0)
        snprintf(rank, sizeof rank, "%d", e->rank);
    printf("%20llu %8u %5s %-17s %10llu %12llu %12llu %6s %6u %08x%08x  %s\n", (ull)e->logical_time,
           e->pid, rank, cte_telemetry_op_name(e->op), (ull)e->duration_ns, (ull)e->offset,
           (ull)e->size, target, e->tag_id.minor, e->blob_id.major, e->blob_id.minor,
           e->status == CTE_OK ? "ok" : cte_status_string(e->status));
}

static void print_entry(struct follow *follow, const cte_telemetry_entry *entry)
{
    if (follow->in->json) {
        print_json(entry);
    } else {
        if (follow->printed == 0)
            printf("%20s %8s %5s %-17s %10s %12s %12s %6s %6s %16s  %s\n", "TIME", "PID", "RANK",
                   "OPERATION", "NS", "OFFSET", "SIZE", "TARGET", "TAG", "BLOB", "STATUS");
        print_line(entry);
    }
    follow->printed++;
}

/* Lines of their own, so that each line of output stands for itself. */
static void print_dropped(const struct follow *follow, uint64_t dropped, bool at_most)
{
    if (dropped == 0)
        return;
    if (!follow->in->json) {
        fprintf(stderr, "cte: %s%llu entries are lost\n", at_most ? "up to " : "", (ull)dropped);
        return;
    }
    json_object(NULL);
    json_uint("dropped", dropped);
    json_bool("at_most", at_most);
    json_end();
    json_finish(NULL);
}

/* Prints all that is there. */
static cte_status print_batch(struct follow *follow)
{
    size_t count;
    do {
        uint64_t dropped, before = follow->time;
        cte_status status = cte_telemetry_poll(follow->client, follow->time, follow->entries,
                                               ENTRIES, &count, &dropped);
        if (status != CTE_OK)
            return status;
        for (size_t i = 0; i < count; i++)
            print_entry(follow, &follow->entries[i]);
        if (count > 0)
            follow->time = follow->entries[count - 1].logical_time;
        /* From the beginning, the same losses would be told again and again. */
        if (before != 0 || count > 0 || !follow->options->follow)
            print_dropped(follow, dropped, before != 0 && before == follow->options->since);
    } while (count == ENTRIES);
    return CTE_OK;
}

static cte_status follow_store(struct follow *follow)
{
    const struct timespec nap = {0, 200000000};
    cte_status status = print_batch(follow);
    while (status == CTE_OK && follow->options->follow && fflush(stdout) == 0) {
        nanosleep(&nap, NULL);
        status = print_batch(follow);
    }
    return status;
}

static int run_telemetry(const struct invocation *in)
{
    const struct telemetry_options *options = in->options;
    cte_client *client;
    int result = open_store(in, false, &client);
    if (result != EXIT_OK)
        return result;
    struct follow *follow = calloc(1, sizeof *follow);
    if (!follow)
        return close_store(client, complain_status(-ENOMEM));
    *follow =
        (struct follow){.client = client, .in = in, .options = options, .time = options->since};
    cte_status status = follow_store(follow);
    if (status == CTE_OK && !in->json && follow->printed == 0)
        fputs("cte: nothing is recorded; telemetry.enabled (CTE_TELEMETRY=on) makes programs do "
              "so\n",
              stderr);
    free(follow);
    return close_store(client, status == CTE_OK ? EXIT_OK : complain_status(status));
}

static const struct option_row rows[] = {
    {"since", 0, OPTION_COUNT, offsetof(struct telemetry_options, since), .value = "TIME",
     .help = "only what is later than a logical time that was printed before"},
    {"follow", 'F', OPTION_FLAG, offsetof(struct telemetry_options, follow),
     .help = "go on until stopped"},
    {0},
};

const struct command command_telemetry = {
    .name = "telemetry",
    .synopsis = "[--since TIME] [--follow] [--json]",
    .summary = "list what programs did with tags and blobs",
    .description =
        "Lists what programs did with tags and blobs, oldest first, as far as they record "
        "it (telemetry.enabled) and it is not overwritten yet.  With --json each line is a "
        "document.",
    .run = run_telemetry,
    .options = rows,
    .options_bytes = sizeof(struct telemetry_options),
};
