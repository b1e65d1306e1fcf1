/* SPDX-License-Identifier: BSD-3-Clause */
#include "telemetry/summary.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cte/telemetry.h>

#include "base/log.h"

/* ---- as JSON, into a file ---------------------------------------------------------------------
 */

static void put_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < 0x20)
            fprintf(out, "\\u%04x", *c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

static void put_targets(FILE *out, const struct cte__summary *summary)
{
    fputs(", \"targets\": [", out);
    for (uint32_t i = 0; i < summary->target_count; i++) {
        const cte_target_info *target = &summary->targets[i];
        fputs(i ? ", {\"name\": " : "{\"name\": ", out);
        put_string(out, target->name);
        fprintf(out,
                ", \"kind\": \"%s\", \"bytes_written\": %" PRIu64 ", \"bytes_read\": %" PRIu64 "}",
                target->kind, target->bytes_written, target->bytes_read);
    }
    fputs("]", out);
}

static double hit_ratio(const cte_file_stats *stats)
{
    return stats->bytes_read > 0 ? (double)stats->bytes_read_store / (double)stats->bytes_read : 0;
}

static void put_line(FILE *out, const struct cte__summary *summary)
{
    const cte_file_stats *stats = &summary->stats;
    fputs("{\"path\": ", out);
    put_string(out, summary->path ? summary->path : "");
    fprintf(out,
            ", \"pid\": %d, \"tracked\": %s, \"writes\": %" PRIu64 ", \"bytes_written\": %" PRIu64
            ", \"reads\": %" PRIu64 ", \"bytes_read\": %" PRIu64
            ", \"bytes_written_through\": %" PRIu64 ", \"bytes_read_store\": %" PRIu64
            ", \"hit_ratio\": %.4f, \"bytes_drained\": %" PRIu64 ", \"drain_seconds\": %.6f"
            ", \"bytes_drained_background\": %" PRIu64,
            (int)getpid(), summary->tracked ? "true" : "false", stats->writes, stats->bytes_written,
            stats->reads, stats->bytes_read, stats->bytes_written_through, stats->bytes_read_store,
            hit_ratio(stats), stats->bytes_drained, (double)stats->drain_ns / 1e9,
            stats->bytes_drained_background);
    put_targets(out, summary);
    fputs("}\n", out);
}

/* ---- as text, on stderr ------------------------------------------------------------------------
 */

static void put_bytes(FILE *out, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    fprintf(out, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

static void put_amount(FILE *out, const char *verb, uint64_t bytes, uint64_t calls)
{
    fprintf(out, "%s ", verb);
    put_bytes(out, bytes);
    fprintf(out, " in %" PRIu64 " call%s", calls, calls == 1 ? "" : "s");
}

static void put_text(FILE *out, const struct cte__summary *summary)
{
    const cte_file_stats *stats = &summary->stats;
    fprintf(out, "cte: summary: %s: ", summary->path ? summary->path : "?");
    if (!summary->tracked)
        fputs("not tracked, ", out);
    put_amount(out, "wrote", stats->bytes_written, stats->writes);
    put_amount(out, ", read", stats->bytes_read, stats->reads);
    if (summary->tracked && stats->bytes_read > 0)
        fprintf(out, " (%.0f %% from the store)", hit_ratio(stats) * 100);
    fputs(", drained ", out);
    put_bytes(out, stats->bytes_drained);
    fprintf(out, " in %.3f s", (double)stats->drain_ns / 1e9);
    if (stats->bytes_drained_background > 0) {
        fputs(" and before, beside the program, ", out);
        put_bytes(out, stats->bytes_drained_background);
    }
    if (stats->bytes_written_through > 0) {
        fputs(", written through as the tiers were full: ", out);
        put_bytes(out, stats->bytes_written_through);
    }
    for (uint32_t i = 0; i < summary->target_count; i++) {
        fprintf(out, "%s%s ", i ? ", " : "; tiers of the node so far: ", summary->targets[i].name);
        put_bytes(out, summary->targets[i].bytes_written);
        fputs(" in, ", out);
        put_bytes(out, summary->targets[i].bytes_read);
        fputs(" out", out);
    }
    fputc('\n', out);
}

/* ---- where to ---------------------------------------------------------------------------------
 */

static const char *summary_path(void)
{
    const char *path = getenv("CTE_SUMMARY");
    return path && path[0] && strcmp(path, "0") != 0 ? path : NULL;
}

static bool is_text(const char *path)
{
    return strcmp(path, "1") == 0;
}

bool cte_summary_is_wanted(void)
{
    return summary_path() != NULL;
}

/* One write: lines of several processes do not mix. */
static void deliver(const char *path, const char *line, size_t length)
{
    int fd =
        is_text(path) ? STDERR_FILENO : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, line, length) != (ssize_t)length)
        cte__log_warn("CTE_SUMMARY=%s: cannot write the summary: %s", path, strerror(errno));
    if (fd >= 0 && fd != STDERR_FILENO)
        close(fd);
}

/* A line in the making. */
struct line {
    FILE *out; /* NULL: no memory */
    char *text;
    size_t length;
};

static void begin(struct line *line)
{
    *line = (struct line){0};
    line->out = open_memstream(&line->text, &line->length);
}

static void end(struct line *line, const char *path)
{
    if (line->out && fclose(line->out) == 0)
        deliver(path, line->text, line->length);
    free(line->text);
}

void cte__summary_write(const struct cte__summary *summary)
{
    const char *path = summary_path();
    struct line line;
    if (!path)
        return;
    begin(&line);
    if (line.out && is_text(path))
        put_text(line.out, summary);
    else if (line.out)
        put_line(line.out, summary);
    end(&line, path);
}

static void put_passed(FILE *out, bool text, const char *path, uint64_t calls, const char *why)
{
    if (text && calls == 0) {
        fprintf(out, "cte: summary: %s: passed through: %s\n", path, why);
    } else if (text) {
        fprintf(out, "cte: summary: %s: %" PRIu64 " call%s passed through: %s\n", path, calls,
                calls == 1 ? "" : "s", why);
    } else {
        fputs("{\"path\": ", out);
        put_string(out, path);
        fprintf(out, ", \"pid\": %d, \"passed_through\": ", (int)getpid());
        if (calls == 0)
            fputs("\"all\"", out);
        else
            fprintf(out, "%" PRIu64, calls);
        fputs(", \"why\": ", out);
        put_string(out, why);
        fputs("}\n", out);
    }
}

void cte_summary_passed_through(const char *path, uint64_t calls, const char *why)
{
    const char *to = summary_path();
    struct line line;
    if (!to)
        return;
    begin(&line);
    if (line.out)
        put_passed(line.out, is_text(to), path, calls, why);
    end(&line, to);
}
