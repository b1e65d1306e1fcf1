/* SPDX-License-Identifier: BSD-3-Clause */
/* Medians, for people and as JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <cte/version.h>

#include "bench.h"
#include "json.h"

typedef unsigned long long ull;

enum { LINE_BYTES = 256 };

const char *bench_target_name(enum bench_target target)
{
    static const char *const names[] = {"ram", "file", "uring"};
    return names[target];
}

void bench_format_size(char text[32], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    while (unit < 4 && bytes >= 1024 && (bytes % 1024 == 0 || bytes >= UINT64_C(10240))) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, 32, "%llu %s", (ull)bytes, units[unit]);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, uint32_t count)
{
    qsort(values, count, sizeof *values, compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* ---- figures -------------------------------------------------------------------------------- */

struct figure {
    double bytes_per_s; /* of all processes together */
    double wall_ns;     /* of one operation of one process */
    double cpu_ns;      /* the same, as much as it computed */
};

static struct figure figure_of(const struct bench_options *options, struct bench_shared *shared,
                               uint32_t repeat, enum bench_phase phase)
{
    const struct bench_mark *marks = bench_marks(options, shared, repeat, phase);
    uint64_t begin = UINT64_MAX, end = 0, cpu = 0;
    for (uint32_t i = 0; i < options->processes; i++) {
        if (marks[i].end_ns == 0)
            continue; /* waited, or fio did its share */
        begin = marks[i].begin_ns < begin ? marks[i].begin_ns : begin;
        end = marks[i].end_ns > end ? marks[i].end_ns : end;
        cpu += marks[i].cpu_ns;
    }
    uint32_t processes = phase == BENCH_ALONE ? 1 : options->processes;
    double each = (double)options->count, all = each * processes;
    double wall = end > begin ? (double)(end - begin) : 1;
    return (struct figure){all * (double)options->size_bytes / wall * 1e9, wall / each,
                           (double)cpu / all};
}

/* Medians over the repeats.  The ratios are medians of those of neighbouring phases: what slows
 * the machine down for a while slows both. */
struct result {
    struct figure phases[BENCH_PHASES_MAX];
    double ratio;     /* of bytes per second, ours to the limit */
    double cpu_ratio; /* of CPU time, the limit to ours: more is better here too */
    double sum_ratio; /* of bytes per second, all of ours to the limit of one process */
};

struct samples {
    uint32_t count;
    double values[BENCH_REPEATS_MAX];
};

static struct figure median_figure(const struct bench_options *options, struct bench_shared *shared,
                                   enum bench_phase phase)
{
    static double bytes[BENCH_REPEATS_MAX], wall[BENCH_REPEATS_MAX], cpu[BENCH_REPEATS_MAX];
    for (uint32_t i = 0; i < options->repeats; i++) {
        struct figure figure = figure_of(options, shared, i, phase);
        bytes[i] = figure.bytes_per_s;
        wall[i] = figure.wall_ns;
        cpu[i] = figure.cpu_ns;
    }
    return (struct figure){bench_median(bytes, options->repeats),
                           bench_median(wall, options->repeats),
                           bench_median(cpu, options->repeats)};
}

static double divide(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static struct result result_of(const struct bench_options *options, struct bench_shared *shared)
{
    static double ratio[BENCH_REPEATS_MAX], cpu_ratio[BENCH_REPEATS_MAX], sum[BENCH_REPEATS_MAX];
    struct result result = {0};
    for (uint32_t p = 0; p < bench_phases(options); p++)
        result.phases[p] = median_figure(options, shared, (enum bench_phase)p);
    for (uint32_t i = 0; i < options->repeats; i++) {
        struct figure ours = figure_of(options, shared, i, BENCH_OURS);
        struct figure limit = figure_of(options, shared, i, BENCH_LIMIT);
        ratio[i] = divide(ours.bytes_per_s, limit.bytes_per_s);
        cpu_ratio[i] = divide(limit.cpu_ns, ours.cpu_ns);
        if (options->processes > 1)
            sum[i] =
                divide(ours.bytes_per_s, figure_of(options, shared, i, BENCH_ALONE).bytes_per_s);
    }
    result.ratio = bench_median(ratio, options->repeats);
    result.cpu_ratio = bench_median(cpu_ratio, options->repeats);
    result.sum_ratio = bench_median(sum, options->repeats);
    return result;
}

/* ---- the machine ---------------------------------------------------------------------------- */

/* The rest of the first line of a file that begins with `key`, behind the colon; "" if there is
 * none. */
static void read_line(const char *path, const char *key, char line[LINE_BYTES])
{
    FILE *file = fopen(path, "re");
    bool found = false;
    while (file && !found && fgets(line, LINE_BYTES, file))
        found = strncmp(line, key, strlen(key)) == 0;
    if (file)
        fclose(file);
    const char *value = found ? strchr(line, ':') : NULL;
    if (!value) {
        line[0] = '\0';
        return;
    }
    value += 1 + strspn(value + 1, " \t");
    memmove(line, value, strlen(value) + 1);
    line[strcspn(line, "\n")] = '\0';
}

void bench_print_machine_json(void)
{
    char processor[LINE_BYTES], date[32] = "";
    struct utsname name = {0};
    double load[3] = {0};
    time_t now = time(NULL);
    struct tm utc;
    read_line("/proc/cpuinfo", "model name", processor);
    uname(&name);
    if (getloadavg(load, 3) != 3)
        load[0] = -1;
    if (gmtime_r(&now, &utc))
        strftime(date, sizeof date, "%FT%TZ", &utc);
    json_object("machine");
    json_text("processor", processor);
    json_int("processors", sysconf(_SC_NPROCESSORS_ONLN));
    json_uint("memory_bytes", (ull)sysconf(_SC_PHYS_PAGES) * (ull)sysconf(_SC_PAGESIZE));
    json_text("kernel", name.release);
    json_real("load_average", load[0], 2);
    json_end();
    json_text("date", date);
    json_text("cte_version", cte_version());
}

/* ---- printing ------------------------------------------------------------------------------- */

static void print_figure_json(const char *name, const struct figure *figure)
{
    json_object(name);
    json_real("bytes_per_s", figure->bytes_per_s, 0);
    json_real("wall_ns_per_op", figure->wall_ns, 1);
    json_real("cpu_ns_per_op", figure->cpu_ns, 1);
    json_end();
}

static void print_options_json(const struct bench_options *options)
{
    json_text("benchmark", options->get ? "get" : "put");
    json_text("target", bench_target_name(options->target));
    json_text("state", options->cold ? "cold" : "warm");
    json_uint("size_bytes", options->size_bytes);
    json_uint("count", options->count);
    json_uint("processes", options->processes);
    json_bool("overwrite", options->overwrite);
    json_bool("checksum", options->checksum);
    json_uint("depth", options->depth);
    json_uint("repeats", options->repeats);
    json_text("limit_name", bench_limit_name(options));
}

static void print_json(const struct bench_options *options, const struct result *result)
{
    json_object(NULL);
    print_options_json(options);
    print_figure_json("ours", &result->phases[BENCH_OURS]);
    print_figure_json("limit", &result->phases[BENCH_LIMIT]);
    if (options->processes > 1)
        print_figure_json("limit_of_one_process", &result->phases[BENCH_ALONE]);
    json_real("ratio", result->ratio, 4);
    json_real("cpu_ratio", result->cpu_ratio, 4);
    if (options->processes > 1)
        json_real("sum_ratio", result->sum_ratio, 4);
    bench_print_machine_json();
    json_end();
}

static void print_figure(const char *name, const struct figure *figure)
{
    printf("%-38s %12.1f %13.0f %13.0f\n", name, figure->bytes_per_s / 1e6, figure->wall_ns,
           figure->cpu_ns);
}

static void print_table(const struct bench_options *options, const struct result *result)
{
    char size[32];
    bench_format_size(size, options->size_bytes);
    printf("%s, %s %s, %u × %llu blobs of %s%s, checksums %s, median of %u\n\n",
           options->get ? "get" : "put", bench_target_name(options->target),
           options->cold ? "cold" : "warm", options->processes, (ull)options->count, size,
           options->overwrite ? " overwritten" : "", options->checksum ? "on" : "off",
           options->repeats);
    printf("%-38s %12s %13s %13s\n", "", "MB/s", "ns/op", "CPU ns/op");
    print_figure("cte", &result->phases[BENCH_OURS]);
    print_figure(bench_limit_name(options), &result->phases[BENCH_LIMIT]);
    if (options->processes > 1)
        print_figure("  the same, one process", &result->phases[BENCH_ALONE]);
    printf("%-38s %12.2f %13s %13.2f\n", "cte against the limit (1: as good)", result->ratio, "",
           result->cpu_ratio);
    if (options->processes > 1)
        printf("%-38s %12.2f\n", "cte against one process", result->sum_ratio);
}

void bench_report(const struct bench_options *options, struct bench_shared *shared)
{
    struct result result = result_of(options, shared);
    if (options->json)
        print_json(options, &result);
    else
        print_table(options, &result);
}
