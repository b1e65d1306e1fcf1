/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte bench scale`: what a blob costs in one tag of ever more blobs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cte/blob.h>
#include <cte/store.h>

#include "bench.h"
#include "json.h"

typedef unsigned long long ull;

enum {
    POINTS_MAX = 32,
    FIRST_COUNT = 10000,
    DEFAULT_COUNT = 1000000,
    DEFAULT_SIZE = 64,
    SIZE_MAX_BYTES = 4096,
    LOOKUPS_MAX = 200000,
    ATTACHES = 5,
    TARGETS_MAX = 4,
    SCALE_ERROR_BYTES = 512,
    LINE_BYTES = 64,
};

static const char tag_name[] = "scale";

/* One tag with `count` blobs.  Times are CPU time of one process for one blob. */
struct point {
    uint64_t count;
    double put_ns, lookup_ns, get_ns, list_ns, delete_ns, delete_tag_ns;
    double metadata_bytes; /* for one blob, its bytes not counted */
    double
        segment_bytes;   /* memory of the segment for one blob, free metadata and small blobs too */
    double target_bytes; /* room in the target for one blob */
    double memory_ns;    /* one read anywhere in shared memory as large as the segment */
    double attach_ms;    /* elapsed, until a process new to this store can use it */
};

/* Columns of what is printed: name, heading, digits behind the point. */
static const struct column {
    const char *name, *heading;
    size_t offset;
    int digits;
} columns[] = {
    {"put_ns", "put ns", offsetof(struct point, put_ns), 0},
    {"lookup_ns", "lookup ns", offsetof(struct point, lookup_ns), 0},
    {"get_ns", "get ns", offsetof(struct point, get_ns), 0},
    {"list_ns", "list ns", offsetof(struct point, list_ns), 0},
    {"delete_ns", "delete ns", offsetof(struct point, delete_ns), 0},
    {"delete_tag_ns", "del.tag ns", offsetof(struct point, delete_tag_ns), 0},
    {"metadata_bytes", "metadata B", offsetof(struct point, metadata_bytes), 1},
    {"segment_bytes", "segment B", offsetof(struct point, segment_bytes), 1},
    {"target_bytes", "target B", offsetof(struct point, target_bytes), 1},
    {"memory_ns", "memory ns", offsetof(struct point, memory_ns), 0},
    {"attach_ms", "attach ms", offsetof(struct point, attach_ms), 2},
};

enum { COLUMN_COUNT = sizeof columns / sizeof columns[0] };

struct scale_options {
    uint64_t count, size_bytes;
    const char *csv_path;
};

struct scale {
    struct bench_options store; /* what the store is made for */
    struct bench_place place;
    uint64_t size_bytes, count;
    const char *csv_path;
    bool json;
    uint32_t point_count;
    struct shared {
        struct point points[POINTS_MAX];
        double attach_ms;
        char error[SCALE_ERROR_BYTES];
    } * shared;
    struct point *point; /* being measured */
};

/* ---- a process that uses the store ---------------------------------------------------------- */

struct user {
    struct scale *scale;
    cte_client *client;
    cte_tag *tag;
};

static bool failed(struct scale *scale, const char *what, cte_status status)
{
    if (scale->shared->error[0] == '\0')
        snprintf(scale->shared->error, sizeof scale->shared->error, "%s: %s", what,
                 cte_status_string(status));
    return false;
}

static bool attach(struct scale *scale, struct user *user)
{
    char error[SCALE_ERROR_BYTES] = "";
    *user = (struct user){.scale = scale};
    cte_status status =
        bench_client_open(&scale->store, &scale->place, &user->client, error, sizeof error);
    if (status != CTE_OK)
        return failed(scale, error[0] ? error : "attaching", status);
    status = cte_tag_open(user->client, tag_name, true, &user->tag);
    return status == CTE_OK || failed(scale, "opening the tag", status);
}

static void detach(struct user *user)
{
    cte_tag_close(user->tag);
    cte_client_close(user->client); /* what is left in the store is not missed */
}

/* Bytes that tell blobs apart. */
static void fill(unsigned char *bytes, uint64_t size, uint64_t index)
{
    uint64_t value = (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
    for (uint64_t at = 0; at < size; at += sizeof value) {
        memcpy(bytes + at, &value, size - at < sizeof value ? size - at : sizeof value);
        value += UINT64_C(0xbf58476d1ce4e5b9);
    }
}

/* Names in no order that a cache could follow. */
static uint64_t any_index(uint64_t i, uint64_t count)
{
    uint64_t z = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    return (z ^ z >> 27) % count;
}

struct room {
    cte_store_usage usage;
    uint64_t target_bytes;
};

static bool measure_room(struct user *user, struct room *room)
{
    cte_target_info targets[TARGETS_MAX];
    uint32_t count;
    cte_status status = cte_store_get_usage(user->client, &room->usage);
    if (status == CTE_OK)
        status = cte_client_targets(user->client, targets, TARGETS_MAX, &count);
    if (status != CTE_OK)
        return failed(user->scale, "asking for the space in use", status);
    room->target_bytes = 0;
    for (uint32_t i = 0; i < count && i < TARGETS_MAX; i++)
        room->target_bytes += targets[i].capacity_bytes - targets[i].free_bytes;
    return true;
}

/* ---- what is measured ----------------------------------------------------------------------- */

static bool measure_puts(struct user *user, struct point *point)
{
    unsigned char bytes[SIZE_MAX_BYTES];
    char name[BENCH_NAME_BYTES];
    uint64_t size = user->scale->size_bytes, begin = bench_cpu_ns();
    for (uint64_t i = 0; i < point->count; i++) {
        bench_name(name, 0, i);
        fill(bytes, size, i);
        cte_status status = cte_blob_put(user->tag, name, 0, bytes, size, 1.0f, 0);
        if (status != CTE_OK)
            return failed(user->scale, "a put", status);
    }
    point->put_ns = (double)(bench_cpu_ns() - begin) / (double)point->count;
    return true;
}

static bool measure_lookups(struct user *user, struct point *point)
{
    uint64_t count = point->count < LOOKUPS_MAX ? point->count : LOOKUPS_MAX, there;
    char name[BENCH_NAME_BYTES];
    uint64_t begin = bench_cpu_ns();
    for (uint64_t i = 0; i < count; i++) {
        bench_name(name, 0, any_index(i, point->count));
        cte_status status = cte_blob_size(user->tag, name, &there);
        if (status != CTE_OK || there != user->scale->size_bytes)
            return failed(user->scale, "the size of a blob", status);
    }
    point->lookup_ns = (double)(bench_cpu_ns() - begin) / (double)count;
    return true;
}

static bool measure_gets(struct user *user, struct point *point)
{
    unsigned char bytes[SIZE_MAX_BYTES], wanted[SIZE_MAX_BYTES];
    uint64_t count = point->count < LOOKUPS_MAX ? point->count : LOOKUPS_MAX;
    uint64_t size = user->scale->size_bytes, begin = bench_cpu_ns();
    char name[BENCH_NAME_BYTES];
    for (uint64_t i = 0; i < count; i++) {
        uint64_t index = any_index(~i, point->count);
        bench_name(name, 0, index);
        fill(wanted, size, index);
        cte_status status = cte_blob_get(user->tag, name, 0, bytes, size, NULL);
        if (status != CTE_OK)
            return failed(user->scale, "a get", status);
        if (memcmp(bytes, wanted, size) != 0)
            return failed(user->scale, "a blob reads back WRONG", CTE_ERR_CHECKSUM);
    }
    point->get_ns = (double)(bench_cpu_ns() - begin) / (double)count;
    return true;
}

static cte_status count_name(void *context, const char *name)
{
    *(uint64_t *)context += name[0] != '\0';
    return CTE_OK;
}

static bool measure_list(struct user *user, struct point *point)
{
    uint64_t count = 0, begin = bench_cpu_ns();
    cte_status status = cte_tag_list(user->tag, count_name, &count);
    point->list_ns = (double)(bench_cpu_ns() - begin) / (double)point->count;
    if (status == CTE_OK && count == point->count)
        return true;
    return failed(user->scale, status == CTE_OK ? "the list is not complete" : "a list", status);
}

/* Half of the blobs one by one, the rest with the tag. */
static bool measure_deletes(struct user *user, struct point *point)
{
    char name[BENCH_NAME_BYTES];
    uint64_t half = point->count / 2, begin = bench_cpu_ns();
    for (uint64_t i = 0; i < half; i++) {
        bench_name(name, 0, i);
        cte_status status = cte_blob_delete(user->tag, name);
        if (status != CTE_OK)
            return failed(user->scale, "a delete", status);
    }
    uint64_t between = bench_cpu_ns();
    cte_status status = cte_tag_delete(user->client, tag_name);
    uint64_t end = bench_cpu_ns();
    point->delete_ns = half > 0 ? (double)(between - begin) / (double)half : 0;
    point->delete_tag_ns = (double)(end - between) / (double)(point->count - half);
    return status == CTE_OK || failed(user->scale, "deleting the tag", status);
}

/* A mapping of a file beside the store, used before. */
static void *map_file(const struct scale *scale, uint64_t bytes)
{
    char path[BENCH_PATH_BYTES + sizeof "/memory"];
    snprintf(path, sizeof path, "%s/memory", scale->place.memory);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return MAP_FAILED;
    void *memory = MAP_FAILED;
    errno = posix_fallocate(fd, 0, (off_t)bytes);
    if (errno == 0)
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    unlink(path);
    if (memory != MAP_FAILED)
        memset(memory, 0, bytes);
    return memory;
}

/* The machine's part in a lookup: reads that each depend on the one before, in a mapping as large
 * as the segment.  What this costs more with its size, no index can save. */
static bool measure_memory(struct scale *scale, uint64_t segment_bytes)
{
    enum { READS = LOOKUPS_MAX };
    uint64_t lines = segment_bytes / LINE_BYTES, at = 0;
    void *map = map_file(scale, lines * LINE_BYTES);
    if (map == MAP_FAILED)
        return failed(scale, "a mapping to compare with", -errno);
    const volatile uint64_t *words = map; /* each read is to happen */
    uint64_t begin = bench_cpu_ns();
    for (uint64_t i = 0; i < READS; i++)
        at = any_index(i + words[at * (LINE_BYTES / sizeof *words)], lines);
    scale->point->memory_ns = (double)(bench_cpu_ns() - begin) / READS;
    munmap(map, lines * LINE_BYTES);
    return true;
}

/* ---- processes ------------------------------------------------------------------------------ */

static void note_room(struct scale *scale, const struct room *before, const struct room *after)
{
    struct point *point = scale->point;
    double count = (double)point->count;
    double metadata = (double)(after->usage.metadata_bytes - before->usage.metadata_bytes) / count;
    point->target_bytes = (double)(after->target_bytes - before->target_bytes) / count;
    point->segment_bytes =
        (double)(after->usage.segment_bytes - before->usage.segment_bytes) / count;
    /* Where the target holds nothing, the bytes of the blobs are among the metadata. */
    bool inside = after->target_bytes == before->target_bytes;
    point->metadata_bytes = metadata - (inside ? (double)scale->size_bytes : 0);
}

static bool fill_process(void *context, uint32_t index)
{
    struct scale *scale = context;
    struct user user;
    struct room before, after;
    (void)index;
    if (!attach(scale, &user) || !measure_room(&user, &before) ||
        !measure_puts(&user, scale->point) || !measure_room(&user, &after) ||
        !measure_lookups(&user, scale->point) || !measure_gets(&user, scale->point) ||
        !measure_list(&user, scale->point) || !measure_memory(scale, after.usage.segment_bytes))
        return false;
    note_room(scale, &before, &after);
    detach(&user);
    return true;
}

static bool attach_process(void *context, uint32_t index)
{
    struct scale *scale = context;
    struct user user;
    uint64_t there, begin = bench_now_ns();
    char name[BENCH_NAME_BYTES];
    (void)index;
    if (!attach(scale, &user))
        return false;
    bench_name(name, 0, 0);
    cte_status status = cte_blob_size(user.tag, name, &there);
    if (status != CTE_OK)
        return failed(scale, "the first lookup", status);
    scale->shared->attach_ms = (double)(bench_now_ns() - begin) / 1e6;
    detach(&user);
    return true;
}

static bool delete_process(void *context, uint32_t index)
{
    struct scale *scale = context;
    struct user user;
    (void)index;
    if (!attach(scale, &user) || !measure_deletes(&user, scale->point))
        return false;
    detach(&user);
    return true;
}

/* One process after the other, so that none waits for another's processor. */
static bool measure_attach(struct scale *scale)
{
    double times[ATTACHES];
    for (int i = 0; i < ATTACHES; i++) {
        if (!bench_fork(1, attach_process, scale))
            return false;
        times[i] = scale->shared->attach_ms;
    }
    scale->point->attach_ms = bench_median(times, ATTACHES);
    return true;
}

/* Small blobs need less of the target than whole pages: it is made no larger than can be. */
static bool measure_point(struct scale *scale)
{
    uint64_t room;
    if (!bench_free_bytes(scale->place.memory, &room))
        return false;
    scale->store = (struct bench_options){
        .checksum = true,
        .target = BENCH_RAM,
        .size_bytes = scale->size_bytes,
        .count = scale->point->count,
        .capacity_most = room - room / 8,
        .processes = 1,
    };
    return bench_fork(1, fill_process, scale) && measure_attach(scale) &&
           bench_fork(1, delete_process, scale) && bench_empty(scale->place.memory);
}

/* ---- printing ------------------------------------------------------------------------------- */

static double value_of(const struct point *point, const struct column *column)
{
    return *(const double *)(const void *)((const char *)point + column->offset);
}

static void print_table_head(const struct scale *scale)
{
    printf("one tag of blobs of %llu bytes, ram; CPU time and room for one blob\n\n%9s",
           (ull)scale->size_bytes, "blobs");
    for (int i = 0; i < COLUMN_COUNT; i++)
        printf(" %10s", columns[i].heading);
    putchar('\n');
}

static void print_table_row(const struct point *point)
{
    printf("%9llu", (ull)point->count);
    for (int i = 0; i < COLUMN_COUNT; i++)
        printf(" %10.*f", columns[i].digits, value_of(point, &columns[i]));
    putchar('\n');
    fflush(stdout); /* the next may take a while */
}

static void print_json(const struct scale *scale)
{
    json_object(NULL);
    json_text("benchmark", "scale");
    json_uint("size_bytes", scale->size_bytes);
    json_array("points");
    for (uint32_t p = 0; p < scale->point_count; p++) {
        const struct point *point = &scale->shared->points[p];
        json_object(NULL);
        json_uint("count", point->count);
        for (int i = 0; i < COLUMN_COUNT; i++)
            json_real(columns[i].name, value_of(point, &columns[i]), columns[i].digits + 1);
        json_end();
    }
    json_end();
    bench_print_machine_json();
    json_end();
}

static bool write_csv(const struct scale *scale)
{
    FILE *file = fopen(scale->csv_path, "we");
    if (!file)
        return complain("%s: %s", scale->csv_path, strerror(errno)) == EXIT_OK;
    fputs("count", file);
    for (int i = 0; i < COLUMN_COUNT; i++)
        fprintf(file, ",%s", columns[i].name);
    for (uint32_t p = 0; p < scale->point_count; p++) {
        fprintf(file, "\n%llu", (ull)scale->shared->points[p].count);
        for (int i = 0; i < COLUMN_COUNT; i++)
            fprintf(file, ",%.*f", columns[i].digits + 1,
                    value_of(&scale->shared->points[p], &columns[i]));
    }
    fputc('\n', file);
    bool good = !ferror(file);
    good = fclose(file) == 0 && good;
    return good || complain("%s: %s", scale->csv_path, strerror(errno)) == EXIT_OK;
}

/* ---- the command ---------------------------------------------------------------------------- */

/* 10^4, 3·10^4, 10^5 … and the largest that was asked for. */
static uint64_t next_count(uint64_t count, uint64_t most)
{
    uint64_t power = 1;
    while (power * 10 <= count)
        power *= 10;
    uint64_t next = count < FIRST_COUNT ? FIRST_COUNT : power * (count >= 3 * power ? 10 : 3);
    return next < most ? next : most;
}

static bool measure_all(struct scale *scale)
{
    if (!scale->json)
        print_table_head(scale);
    for (uint64_t count = 0; count < scale->count;) {
        count = next_count(count, scale->count);
        scale->point = &scale->shared->points[scale->point_count];
        scale->point->count = count;
        if (!measure_point(scale)) {
            if (scale->shared->error[0] != '\0')
                complain("with %llu blobs: %s", (ull)count, scale->shared->error);
            return false;
        }
        scale->point_count++;
        if (!scale->json)
            print_table_row(scale->point);
    }
    return true;
}

static int measure_scale(struct scale *scale)
{
    scale->shared = bench_share(sizeof *scale->shared);
    if (!scale->shared)
        return complain("not enough memory");
    if (!bench_enter(&scale->place, bench_memory_directory(), NULL))
        return EXIT_FAILED;
    bool good = measure_all(scale);
    if (good && scale->json)
        print_json(scale);
    if (good && scale->csv_path)
        good = write_csv(scale);
    return bench_leave(&scale->place, good ? EXIT_OK : EXIT_FAILED);
}

static int run_scale(const struct invocation *in)
{
    const struct scale_options *options = in->options;
    if (in->config_path)
        return complain_usage(in, BENCH_NO_CONFIG);
    struct scale scale = {.count = options->count,
                          .size_bytes = options->size_bytes,
                          .csv_path = options->csv_path,
                          .json = in->json};
    return measure_scale(&scale);
}

static const struct option_row rows[] = {
    {"count", 'n', OPTION_COUNT, offsetof(struct scale_options, count), 1, UINT32_MAX, .value = "N",
     .help = "blobs in the end (default 1000000)"},
    {"size", 's', OPTION_SIZE, offsetof(struct scale_options, size_bytes), 1, SIZE_MAX_BYTES,
     .value = "S", .help = "bytes of each, at most 4KiB (default 64)"},
    {"csv", 0, OPTION_TEXT, offsetof(struct scale_options, csv_path), .value = "FILE",
     .help = "also write the table there"},
    {0},
};

static const struct scale_options defaults = {.count = DEFAULT_COUNT, .size_bytes = DEFAULT_SIZE};

const struct command bench_scale = {
    .name = "scale",
    .synopsis = "[--count N] [--size S] [--csv FILE] [--json]",
    .summary = "what a blob costs in a tag of ever more blobs",
    .description =
        "Puts 10000, 30000, 100000 and so on to N small blobs into one tag and prints what "
        "each costs: processor time of a put, a lookup and a get in random order, listing, "
        "and deleting; memory; and the time until a new process can use the store.",
    .run = run_scale,
    .options = rows,
    .defaults = &defaults,
    .options_bytes = sizeof(struct scale_options),
};
