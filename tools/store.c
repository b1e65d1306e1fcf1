/* SPDX-License-Identifier: BSD-3-Clause */
/* The store as a whole, from the command line. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cte/blob.h>
#include <cte/store.h>

#include "tool.h"

enum { TARGETS_MAX = 64, PIDS_MAX = 1024 };

typedef unsigned long long ull;

static int failed(cte_status status)
{
    return complain("%s", cte_status_string(status));
}

static const char *yes_no(bool value)
{
    return value ? "yes" : "no";
}

static const char *true_false(bool value)
{
    return value ? "true" : "false";
}

/* ---- info ----------------------------------------------------------------------------------- */

struct info {
    cte_store_journal journal;
    char path[PATH_MAX];
    uint32_t pids[PIDS_MAX], pid_count;
    cte_target_info targets[TARGETS_MAX];
    uint32_t target_count;
    cte_store_usage usage;
};

static void print_info_json(const struct info *info)
{
    fputs("{\"store\": ", stdout);
    print_json_string(info->path);
    fputs(", \"processes\": [", stdout);
    for (uint32_t i = 0; i < info->pid_count; i++)
        printf("%s%u", i ? ", " : "", info->pids[i]);
    printf("], \"metadata_bytes\": %llu, \"metadata_capacity_bytes\": %llu, \"segment_bytes\": %llu"
           ", \"targets\": [",
           (ull)info->usage.metadata_bytes, (ull)info->usage.metadata_capacity_bytes,
           (ull)info->usage.segment_bytes);
    for (uint32_t i = 0; i < info->target_count; i++) {
        const cte_target_info *t = &info->targets[i];
        printf("%s\n  {\"name\": ", i ? "," : "");
        print_json_string(t->name);
        printf(
            ", \"kind\": \"%s\", \"score\": %g, \"capacity_bytes\": %llu, \"free_bytes\": %llu"
            ", \"bytes_written\": %llu, \"bytes_read\": %llu, \"writes\": %llu, \"reads\": %llu}",
            t->kind, (double)t->score, (ull)t->capacity_bytes, (ull)t->free_bytes,
            (ull)t->bytes_written, (ull)t->bytes_read, (ull)t->writes, (ull)t->reads);
    }
    fputs("], \"journal\": ", stdout);
    if (info->journal.path[0]) {
        fputs("{\"path\": ", stdout);
        print_json_string(info->journal.path);
        printf(", \"generation\": %llu, \"size_bytes\": %llu, \"status\": \"%s\"}",
               (ull)info->journal.generation, (ull)info->journal.size_bytes,
               cte_status_name(info->journal.status));
    } else {
        fputs("null", stdout);
    }
    puts("}");
}

static void print_info(const struct info *info)
{
    fputs("store      ", stdout);
    print_name(info->path);
    fputs("\nprocesses ", stdout);
    for (uint32_t i = 0; i < info->pid_count; i++)
        printf(" %u", info->pids[i]);
    puts(info->pid_count ? "" : " none");
    fputs("journal    ", stdout);
    print_name(info->journal.path[0] ? info->journal.path : "none");
    if (info->journal.path[0])
        printf(" (%llu bytes)", (ull)info->journal.size_bytes);
    puts(info->journal.status == CTE_OK ? "" : " CANNOT BE WRITTEN");
    printf("metadata   %llu of %llu bytes in use, %llu bytes of memory\n",
           (ull)info->usage.metadata_bytes, (ull)info->usage.metadata_capacity_bytes,
           (ull)info->usage.segment_bytes);
    printf("\n%-5s %5s %15s %15s %15s %15s  %s\n", "KIND", "SCORE", "CAPACITY", "FREE", "WRITTEN",
           "READ", "TARGET");
    for (uint32_t i = 0; i < info->target_count; i++) {
        const cte_target_info *t = &info->targets[i];
        printf("%-5s %5.2f %15llu %15llu %15llu %15llu  ", t->kind, (double)t->score,
               (ull)t->capacity_bytes, (ull)t->free_bytes, (ull)t->bytes_written,
               (ull)t->bytes_read);
        print_name(t->name);
        putchar('\n');
    }
}

static cte_status store_path(const struct invocation *in, char *path, size_t bytes)
{
    cte_config *config = load_config(in);
    cte_status status = config ? cte_store_path(config, path, bytes) : CTE_ERR_CONFIG;
    cte_config_free(config);
    return status;
}

int command_info(const struct invocation *in)
{
    struct info *info = calloc(1, sizeof *info);
    cte_client *client = info ? open_store(in, false) : NULL;
    if (!client) {
        free(info);
        return EXIT_FAILED;
    }
    cte_status status = store_path(in, info->path, sizeof info->path);
    if (status == CTE_OK)
        status = cte_store_processes(client, info->pids, PIDS_MAX, &info->pid_count);
    if (status == CTE_OK)
        status = cte_client_targets(client, info->targets, TARGETS_MAX, &info->target_count);
    if (status == CTE_OK)
        status = cte_store_get_usage(client, &info->usage);
    if (status == CTE_OK)
        status = cte_store_get_journal(client, &info->journal);
    if (status == CTE_OK && in->json)
        print_info_json(info);
    else if (status == CTE_OK)
        print_info(info);
    free(info);
    return close_store(client, status == CTE_OK ? EXIT_OK : failed(status));
}

/* ---- ls ------------------------------------------------------------------------------------- */

struct listing {
    cte_client *client;
    cte_tag *tag;
    bool json;
    int count;
};

static const char *mode_name(const cte_store_file *file)
{
    return file->mode == CTE_FILE_MODE_SCRATCH ? "scratch" : "default";
}

static cte_status list_file(void *context, const cte_store_file *file)
{
    struct listing *list = context;
    if (list->json) {
        printf("%s\n  {\"path\": ", list->count ? "," : "");
        print_json_string(file->path);
        printf(", \"size_bytes\": %llu, \"dirty\": %s, \"open\": %s, \"mode\": \"%s\"}",
               (ull)file->size_bytes, true_false(file->dirty), true_false(file->open),
               mode_name(file));
    } else {
        if (list->count == 0)
            printf("%15s %-5s %-4s %-7s  %s\n", "SIZE", "DIRTY", "OPEN", "MODE", "FILE");
        printf("%15llu %-5s %-4s %-7s  ", (ull)file->size_bytes, yes_no(file->dirty),
               yes_no(file->open), mode_name(file));
        print_name(file->path);
        putchar('\n');
    }
    list->count++;
    return CTE_OK;
}

static cte_status count_blob(void *context, const char *name)
{
    (void)name;
    (*(int *)context)++;
    return CTE_OK;
}

static cte_status list_tag(void *context, const char *name)
{
    struct listing *list = context;
    cte_tag *tag;
    uint64_t size = 0;
    int blobs = 0;
    cte_status status = cte_tag_open(list->client, name, false, &tag);
    if (status == CTE_ERR_NOT_FOUND)
        return CTE_OK; /* deleted meanwhile */
    if (status != CTE_OK)
        return status;
    status = cte_tag_size(tag, &size);
    if (status == CTE_OK)
        status = cte_tag_list(tag, count_blob, &blobs);
    cte_tag_close(tag);
    if (status != CTE_OK)
        return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
    if (list->json) {
        printf("%s\n  {\"name\": ", list->count ? "," : "");
        print_json_string(name);
        printf(", \"blobs\": %d, \"size_bytes\": %llu}", blobs, (ull)size);
    } else {
        if (list->count == 0)
            printf("%15s %9s  %s\n", "SIZE", "BLOBS", "TAG");
        printf("%15llu %9d  ", (ull)size, blobs);
        print_name(name);
        putchar('\n');
    }
    list->count++;
    return CTE_OK;
}

static void print_blob(const char *name, const cte_blob_info *info)
{
    char modified[32] = "";
    time_t seconds = (time_t)(info->modified_ns / 1000000000);
    struct tm local;
    if (localtime_r(&seconds, &local))
        strftime(modified, sizeof modified, "%F %T", &local);
    printf("%15llu %5.2f %19s  ", (ull)info->size_bytes, (double)info->score, modified);
    print_name(name);
    putchar('\n');
}

static cte_status list_blob(void *context, const char *name)
{
    struct listing *list = context;
    cte_blob_info info;
    cte_status status = cte_blob_get_info(list->tag, name, &info);
    if (status != CTE_OK)
        return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
    if (list->json) {
        printf("%s\n  {\"name\": ", list->count ? "," : "");
        print_json_string(name);
        printf(", \"size_bytes\": %llu, \"score\": %g, \"modified_ns\": %llu, \"read_ns\": %llu}",
               (ull)info.size_bytes, (double)info.score, (ull)info.modified_ns, (ull)info.read_ns);
    } else {
        if (list->count == 0)
            printf("%15s %5s %19s  %s\n", "SIZE", "SCORE", "MODIFIED", "BLOB");
        print_blob(name, &info);
    }
    list->count++;
    return CTE_OK;
}

static cte_status list_blobs(struct listing *list, const char *tag)
{
    cte_status status = cte_tag_open(list->client, tag, false, &list->tag);
    if (status != CTE_OK)
        return status;
    if (list->json) {
        fputs("{\"tag\": ", stdout);
        print_json_string(tag);
        fputs(", \"blobs\": [", stdout);
    }
    status = cte_tag_list(list->tag, list_blob, list);
    if (list->json)
        puts("]}");
    cte_tag_close(list->tag);
    return status;
}

static cte_status list_all(struct listing *list)
{
    if (list->json)
        fputs("{\"files\": [", stdout);
    cte_status status = cte_store_files(list->client, list_file, list);
    if (list->json)
        fputs("], \"tags\": [", stdout);
    else if (list->count > 0)
        putchar('\n');
    list->count = 0;
    if (status == CTE_OK)
        status = cte_client_tags(list->client, list_tag, list);
    if (list->json)
        puts("]}");
    return status;
}

int command_list(const struct invocation *in)
{
    struct listing list = {.client = open_store(in, false), .json = in->json};
    const char *tag = in->argument_count > 0 ? in->arguments[0] : NULL;
    if (!list.client)
        return EXIT_FAILED;
    cte_status status = tag ? list_blobs(&list, tag) : list_all(&list);
    int result = EXIT_OK;
    if (status != CTE_OK)
        result = tag ? complain("tag %s: %s", tag, cte_status_string(status)) : failed(status);
    return close_store(list.client, result);
}

/* ---- drain ---------------------------------------------------------------------------------- */

struct draining {
    bool json;
    int count;
};

static cte_status tell_drained(void *context, const cte_store_drained *drained)
{
    struct draining *draining = context;
    if (draining->json) {
        printf("%s\n  {\"path\": ", draining->count ? "," : "");
        print_json_string(drained->path);
        printf(", \"bytes_drained\": %llu, \"status\": \"%s\"}", (ull)drained->bytes_drained,
               cte_status_name(drained->status));
    } else {
        print_name(drained->path);
        if (drained->status == CTE_OK)
            printf(": drained, %llu bytes\n", (ull)drained->bytes_drained);
        else if (drained->status == -EBUSY)
            puts(": left to the process that has it open");
        else
            printf(": failed: %s\n", cte_status_string(drained->status));
    }
    draining->count++;
    return CTE_OK;
}

/* Paths are kept as they were when the file was opened: absolute and without symbolic links. */
static cte_status drain_path(cte_client *client, const char *path, struct draining *draining)
{
    char *absolute = realpath(path, NULL);
    int before = draining->count;
    cte_status status =
        cte_store_drain(client, absolute ? absolute : path, true, tell_drained, draining);
    free(absolute);
    if (status == CTE_OK && draining->count == before && !draining->json) {
        print_name(path);
        puts(": nothing is kept of it");
    }
    return status;
}

int command_drain(const struct invocation *in)
{
    struct draining draining = {.json = in->json};
    if (in->all && in->argument_count > 0) {
        complain("give --all or paths, not both");
        return EXIT_USAGE;
    }
    cte_client *client = open_store(in, false);
    if (!client)
        return EXIT_FAILED;
    cte_status status = CTE_OK;
    if (in->json)
        fputs("{\"files\": [", stdout);
    if (in->argument_count == 0)
        status = cte_store_drain(client, NULL, in->all, tell_drained, &draining);
    for (int i = 0; i < in->argument_count; i++) {
        cte_status drained = drain_path(client, in->arguments[i], &draining);
        status = status == CTE_OK ? drained : status;
    }
    if (in->json)
        puts("]}");
    else if (in->argument_count == 0 && draining.count == 0 && status == CTE_OK)
        puts("nothing to drain");
    return close_store(client, status == CTE_OK ? EXIT_OK : EXIT_FAILED);
}

/* ---- check ---------------------------------------------------------------------------------- */

struct finding {
    bool json;
    int count;
};

static cte_status tell_damage(void *context, const char *text)
{
    struct finding *finding = context;
    if (finding->json) {
        printf("%s\n  ", finding->count ? "," : "");
        print_json_string(text);
    } else {
        fputs("damaged: ", stdout);
        print_name(text);
        putchar('\n');
    }
    finding->count++;
    return CTE_OK;
}

static void print_report_json(const cte_store_report *r, bool damage)
{
    printf(", \"blobs\": %llu, \"bytes_read\": %llu, \"blobs_damaged\": %llu, \"pages_used\": %llu"
           ", \"pages_doubly\": %llu, \"pages_unowned\": %llu, \"pages_lost\": %llu"
           ", \"units_unowned\": %llu, \"units_lost\": %llu, \"journal_records\": %llu"
           ", \"journal_damaged\": %llu, \"bytes_lost\": %llu, \"exact\": %s, \"checksums\": %s"
           ", \"ok\": %s}\n",
           (ull)r->blobs, (ull)r->bytes_read, (ull)r->blobs_damaged, (ull)r->pages_used,
           (ull)r->pages_doubly, (ull)r->pages_unowned, (ull)r->pages_lost, (ull)r->units_unowned,
           (ull)r->units_lost, (ull)r->journal_records, (ull)r->journal_damaged, (ull)r->bytes_lost,
           true_false(r->exact), true_false(r->checksums), true_false(!damage));
}

static void print_report(const cte_store_report *r, bool damage)
{
    printf("read %llu bytes of %llu blobs: %llu damaged%s\n", (ull)r->bytes_read, (ull)r->blobs,
           (ull)r->blobs_damaged, r->checksums ? "" : " (checksums are off: contents unverified)");
    printf("%llu pages in use; claimed twice: %llu, claimed but free: %llu, lost: %llu\n",
           (ull)r->pages_used, (ull)r->pages_doubly, (ull)r->pages_unowned, (ull)r->pages_lost);
    printf("metadata claimed but free: %llu, lost: %llu\n", (ull)r->units_unowned,
           (ull)r->units_lost);
    if (r->journal_records > 0)
        printf("the store is not in memory; its journal has %llu records, and %llu damaged places; "
               "%llu bytes were in memory only\n",
               (ull)r->journal_records, (ull)r->journal_damaged, (ull)r->bytes_lost);
    if (!r->exact)
        puts("processes are attached: the counts of pages and metadata may be off");
    puts(damage ? "the store is DAMAGED" : "the store is sound");
}

/* What is kept of a store that is not in memory; CTE_ERR_NOT_FOUND if there is nothing. */
static cte_status check_kept(const struct invocation *in, cte_store_report *report,
                             struct finding *finding)
{
    cte_config *config = load_config(in);
    cte_status status =
        config ? cte_store_check_kept(config, report, tell_damage, finding) : CTE_ERR_CONFIG;
    cte_config_free(config);
    return status;
}

static int end_check(const struct invocation *in, cte_status status, const cte_store_report *report)
{
    bool damage = cte_store_report_is_damage(report);
    if (in->json)
        putchar(']');
    if (in->json)
        print_report_json(report, damage || status != CTE_OK);
    else if (status == CTE_OK)
        print_report(report, damage);
    return status != CTE_OK ? failed(status) : damage ? EXIT_FAILED : EXIT_OK;
}

int command_check(const struct invocation *in)
{
    struct finding finding = {.json = in->json};
    cte_store_report report = {0};
    if (in->json)
        fputs("{\"findings\": [", stdout);
    cte_status status = check_kept(in, &report, &finding);
    if (status != CTE_ERR_NOT_FOUND)
        return end_check(in, status, &report);
    cte_client *client = open_store(in, false);
    if (!client)
        return EXIT_FAILED;
    status = cte_store_check(client, &report, tell_damage, &finding);
    return close_store(client, end_check(in, status, &report));
}

/* ---- destroy -------------------------------------------------------------------------------- */

int command_destroy(const struct invocation *in)
{
    char path[PATH_MAX] = "";
    cte_config *config = load_config(in);
    if (!config)
        return EXIT_FAILED;
    cte_status status = cte_store_path(config, path, sizeof path);
    if (status == CTE_OK)
        status = cte_store_destroy(config, in->force);
    cte_config_free(config);
    switch (status) {
    case CTE_OK:
        return EXIT_OK;
    case CTE_ERR_NOT_FOUND:
        return complain("there is no store %s", path);
    case -EBUSY:
        return complain("store %s is in use; `cte info` lists the processes", path);
    case CTE_ERR_DRAIN:
        return complain("store %s holds data of files that is not drained: `cte ls` lists it, `cte "
                        "drain --all` saves it, `cte destroy --force` loses it",
                        path);
    default:
        return complain("store %s: %s", path, cte_status_string(status));
    }
}
