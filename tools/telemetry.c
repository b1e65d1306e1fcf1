/* SPDX-License-Identifier: BSD-3-Clause */
/* What the processes of the store did, operation by operation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cte/telemetry.h>

#include "tool.h"

enum { ENTRIES = 1024 };

typedef unsigned long long ull;

struct follow {
    cte_client *client;
    const struct invocation *in;
    uint64_t time;
    uint64_t printed;
    cte_telemetry_entry entries[ENTRIES];
};

static void print_json(const cte_telemetry_entry *e)
{
    printf("{\"logical_time\": %llu, \"op\": \"%s\", \"status\": %d, \"offset\": %llu, "
           "\"size\": %llu, \"duration_ns\": %llu, \"pid\": %u, \"rank\": %d, \"target\": ",
           (ull)e->logical_time, cte_telemetry_op_name(e->op), e->status, (ull)e->offset,
           (ull)e->size, (ull)e->duration_ns, e->pid, e->rank);
    if (e->target == CTE_TELEMETRY_NO_TARGET)
        fputs("null", stdout);
    else
        printf("%u", e->target);
    printf(", \"tag_id\": [%u, %u], \"blob_id\": [%u, %u], \"modified_ns\": %llu, "
           "\"read_ns\": %llu}\n",
           e->tag_id.major, e->tag_id.minor, e->blob_id.major, e->blob_id.minor,
           (ull)e->modified_ns, (ull)e->read_ns);
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
    if (follow->in->json)
        printf("{\"dropped\": %llu, \"at_most\": %s}\n", (ull)dropped, at_most ? "true" : "false");
    else
        fprintf(stderr, "cte: %s%llu entries are lost\n", at_most ? "up to " : "", (ull)dropped);
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
        if (before != 0 || count > 0 || !follow->in->follow)
            print_dropped(follow, dropped, before != 0 && before == follow->in->since);
    } while (count == ENTRIES);
    return CTE_OK;
}

int command_telemetry(const struct invocation *in)
{
    const struct timespec nap = {0, 200000000};
    struct follow *follow = calloc(1, sizeof *follow);
    cte_client *client = follow ? open_store(in, false) : NULL;
    if (!client) {
        free(follow);
        return EXIT_FAILED;
    }
    *follow = (struct follow){.client = client, .in = in, .time = in->since};
    cte_status status = print_batch(follow);
    while (status == CTE_OK && in->follow && fflush(stdout) == 0) {
        nanosleep(&nap, NULL);
        status = print_batch(follow);
    }
    if (status == CTE_OK && !in->json && follow->printed == 0)
        fputs("cte: nothing is recorded; telemetry.enabled (CTE_TELEMETRY=on) makes programs do "
              "so\n",
              stderr);
    free(follow);
    return close_store(client,
                       status == CTE_OK ? EXIT_OK : complain("%s", cte_status_string(status)));
}
