/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte ls`: files and tags, or the blobs of a tag. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cte/blob.h>
#include <cte/store.h>

#include "command.h"
#include "json.h"
#include "terminal.h"

struct ls_options {
    bool exact;
};

struct listing {
    cte_client *client;
    cte_tag *tag;
    bool json, exact;
    int count;
};

static const char *yes_no(bool value)
{
    return value ? "yes" : "no";
}

/* ---- files and tags ------------------------------------------------------------------------- */

static void print_file(const cte_store_file *file, const char *mode, bool exact)
{
    printf("%15s %s%-5s%s %-4s %-7s  ", size_text(file->size_bytes, exact).text,
           file->dirty ? tone_text(stdout, TONE_WARNING) : "", yes_no(file->dirty),
           file->dirty ? tone_text(stdout, TONE_PLAIN) : "", yes_no(file->open), mode);
    print_name(file->path);
    putchar('\n');
}

static cte_status list_file(void *context, const cte_store_file *file)
{
    struct listing *list = context;
    const char *mode = file->mode == CTE_FILE_MODE_SCRATCH ? "scratch" : "default";
    if (list->json) {
        json_object(NULL);
        json_text("path", file->path);
        json_uint("size_bytes", file->size_bytes);
        json_bool("dirty", file->dirty);
        json_bool("open", file->open);
        json_text("mode", mode);
        json_end();
    } else {
        if (list->count == 0)
            printf("%15s %-5s %-4s %-7s  %s\n", "SIZE", "DIRTY", "OPEN", "MODE", "FILE");
        print_file(file, mode, list->exact);
    }
    list->count++;
    return CTE_OK;
}

static cte_status count_blob(void *context, const char *name)
{
    (void)name;
    (*(uint64_t *)context)++;
    return CTE_OK;
}

static cte_status measure_tag(cte_client *client, const char *name, uint64_t *size, uint64_t *blobs)
{
    cte_tag *tag;
    cte_status status = cte_tag_open(client, name, false, &tag);
    if (status != CTE_OK)
        return status;
    status = cte_tag_size(tag, size);
    if (status == CTE_OK)
        status = cte_tag_list(tag, count_blob, blobs);
    cte_tag_close(tag);
    return status;
}

static cte_status list_tag(void *context, const char *name)
{
    struct listing *list = context;
    uint64_t size = 0, blobs = 0;
    cte_status status = measure_tag(list->client, name, &size, &blobs);
    if (status != CTE_OK)
        return status == CTE_ERR_NOT_FOUND ? CTE_OK : status; /* deleted meanwhile */
    if (list->json) {
        json_object(NULL);
        json_text("name", name);
        json_uint("blobs", blobs);
        json_uint("size_bytes", size);
        json_end();
    } else {
        if (list->count == 0)
            printf("%15s %9s  %s\n", "SIZE", "BLOBS", "TAG");
        printf("%15s %9llu  ", size_text(size, list->exact).text, (unsigned long long)blobs);
        print_name(name);
        putchar('\n');
    }
    list->count++;
    return CTE_OK;
}

static cte_status list_all(struct listing *list)
{
    if (list->json) {
        json_object(NULL);
        json_array("files");
    }
    cte_status status = cte_store_files(list->client, list_file, list);
    if (list->json) {
        json_end();
        json_array("tags");
    } else if (list->count > 0) {
        putchar('\n');
    }
    list->count = 0;
    if (status == CTE_OK)
        status = cte_client_tags(list->client, list_tag, list);
    if (list->json && status == CTE_OK) {
        json_end();
        json_end();
    }
    return status;
}

/* ---- blobs ---------------------------------------------------------------------------------- */

static void print_blob(const char *name, const cte_blob_info *info, bool exact)
{
    char modified[TIME_TEXT_BYTES];
    format_time(modified, info->modified_ns);
    printf("%15s %5.2f %19s  ", size_text(info->size_bytes, exact).text, (double)info->score,
           modified);
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
        json_object(NULL);
        json_text("name", name);
        json_uint("size_bytes", info.size_bytes);
        json_real("score", (double)info.score, -1);
        json_uint("modified_ns", info.modified_ns);
        json_uint("read_ns", info.read_ns);
        json_end();
    } else {
        if (list->count == 0)
            printf("%15s %5s %19s  %s\n", "SIZE", "SCORE", "MODIFIED", "BLOB");
        print_blob(name, &info, list->exact);
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
        json_object(NULL);
        json_text("tag", tag);
        json_array("blobs");
    }
    status = cte_tag_list(list->tag, list_blob, list);
    if (list->json && status == CTE_OK) {
        json_end();
        json_end();
    }
    cte_tag_close(list->tag);
    return status;
}

/* ---- the command ---------------------------------------------------------------------------- */

static int run_ls(const struct invocation *in)
{
    const struct ls_options *options = in->options;
    struct listing list = {.json = in->json, .exact = options->exact};
    const char *tag = in->argument_count > 0 ? in->arguments[0] : NULL;
    int result = open_store(in, false, &list.client);
    if (result != EXIT_OK)
        return result;
    cte_status status = tag ? list_blobs(&list, tag) : list_all(&list);
    if (status != CTE_OK && tag)
        result = complain("tag %s: %s", tag, cte_status_string(status));
    else if (status != CTE_OK)
        result = complain_status(status);
    return close_store(list.client, result);
}

static const struct option_row rows[] = {
    {"bytes", 'b', OPTION_FLAG, offsetof(struct ls_options, exact), .help = "print sizes in bytes"},
    {0},
};

const struct command command_ls = {
    .name = "ls",
    .synopsis = "[--bytes] [--json] [TAG]",
    .summary = "list files and tags, or the blobs of a tag",
    .run = run_ls,
    .options = rows,
    .options_bytes = sizeof(struct ls_options),
    .most = 1,
};
