/* SPDX-License-Identifier: BSD-3-Clause */
#include "telemetry/summary.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

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
        fprintf(out, ", \"kind\": \"%s\", \"bytes_written\": %llu, \"bytes_read\": %llu}",
                target->kind, (unsigned long long)target->bytes_written,
                (unsigned long long)target->bytes_read);
    }
    fputs("]", out);
}

static void put_line(FILE *out, const struct cte__summary *summary)
{
    const cte_file_stats stats = summary->stats;
    fputs("{\"path\": ", out);
    put_string(out, summary->path ? summary->path : "");
    fprintf(out,
            ", \"pid\": %d, \"tracked\": %s, \"bytes_written\": %llu, \"bytes_read\": %llu"
            ", \"bytes_written_through\": %llu, \"bytes_read_store\": %llu"
            ", \"bytes_drained\": %llu, \"drain_seconds\": %.6f"
            ", \"bytes_drained_background\": %llu",
            (int)getpid(), summary->tracked ? "true" : "false",
            (unsigned long long)stats.bytes_written, (unsigned long long)stats.bytes_read,
            (unsigned long long)stats.bytes_written_through,
            (unsigned long long)stats.bytes_read_store, (unsigned long long)stats.bytes_drained,
            (double)stats.drain_ns / 1e9, (unsigned long long)stats.bytes_drained_background);
    put_targets(out, summary);
    fputs("}\n", out);
}

static const char *summary_path(void)
{
    const char *path = getenv("CTE_SUMMARY");
    return path && path[0] ? path : NULL;
}

bool cte__summary_wanted(void)
{
    return summary_path() != NULL;
}

void cte__summary_write(const struct cte__summary *summary)
{
    const char *path = summary_path();
    char *line = NULL;
    size_t length = 0;
    if (!path)
        return;
    FILE *out = open_memstream(&line, &length);
    if (out) {
        put_line(out, summary);
        fclose(out);
    }
    /* One write in append mode: lines of several processes do not mix. */
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (!line || fd < 0 || write(fd, line, length) != (ssize_t)length)
        cte__log_warn("CTE_SUMMARY=%s: cannot write the summary: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(line);
}
