/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte stat`: all there is to know of a file, a tag or a blob. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cte/blob.h>
#include <cte/store.h>

#include "command.h"
#include "json.h"
#include "terminal.h"

struct stat_options {
    bool exact, blocks;
};

static int failed(const struct invocation *in, cte_status status)
{
    complain("%s%s%s: %s", in->arguments[0], in->argument_count > 1 ? ", blob " : "",
             in->argument_count > 1 ? in->arguments[1] : "", cte_status_string(status));
    return status == CTE_ERR_CHECKSUM ? EXIT_DAMAGE : EXIT_FAILED;
}

/* ---- blobs ---------------------------------------------------------------------------------- */

struct blocks {
    cte_blob_block *all;
    uint32_t count;
};

/* A blob may get more blocks between the two calls. */
static cte_status list_blocks(cte_tag *tag, const char *name, struct blocks *blocks)
{
    uint32_t capacity = 0;
    for (;;) {
        cte_status status = cte_blob_blocks(tag, name, blocks->all, capacity, &blocks->count);
        if (status != CTE_OK || blocks->count <= capacity)
            return status;
        capacity = blocks->count;
        cte_blob_block *larger = realloc(blocks->all, capacity * sizeof *larger);
        if (!larger)
            return -ENOMEM;
        blocks->all = larger;
    }
}

/* "": in the store's own memory. */
static const char *target_name(const cte_blob_block *block)
{
    return block->target[0] ? block->target : "(metadata)";
}

/* Bytes in the target of block `i`, in all blocks; 0 if an earlier block has the same target. */
static uint64_t bytes_in_target(const struct blocks *blocks, uint32_t i)
{
    uint64_t bytes = 0;
    for (uint32_t k = 0; k < blocks->count; k++) {
        if (strcmp(blocks->all[k].target, blocks->all[i].target) != 0)
            continue;
        if (k < i)
            return 0;
        bytes += blocks->all[k].size_bytes;
    }
    return bytes;
}

static void print_blob_json(const struct invocation *in, const cte_blob_info *info,
                            const struct blocks *blocks)
{
    json_object(NULL);
    json_text("tag", in->arguments[0]);
    json_text("blob", in->arguments[1]);
    json_uint("size_bytes", info->size_bytes);
    json_real("score", (double)info->score, -1);
    json_uint("modified_ns", info->modified_ns);
    json_uint("read_ns", info->read_ns);
    json_array("blocks");
    for (uint32_t i = 0; i < blocks->count; i++) {
        const cte_blob_block *block = &blocks->all[i];
        json_object(NULL);
        json_text("target", block->target[0] ? block->target : NULL);
        json_uint("target_offset", block->target_offset);
        json_uint("blob_offset", block->blob_offset);
        json_uint("size_bytes", block->size_bytes);
        json_end();
    }
    json_end();
    json_end();
}

static void print_blob(const struct invocation *in, const cte_blob_info *info,
                       const struct blocks *blocks)
{
    const struct stat_options *options = in->options;
    char modified[TIME_TEXT_BYTES], read[TIME_TEXT_BYTES];
    format_time(modified, info->modified_ns);
    format_time(read, info->read_ns);
    fputs("blob      ", stdout);
    print_name(in->arguments[1]);
    fputs("\ntag       ", stdout);
    print_name(in->arguments[0]);
    printf("\nsize      %s\nscore     %.2f\nmodified  %s\nread      %s\n",
           size_text(info->size_bytes, options->exact).text, (double)info->score, modified, read);
    for (uint32_t i = 0; i < blocks->count; i++) {
        uint64_t bytes = bytes_in_target(blocks, i);
        if (bytes > 0)
            printf("in        %s: %s\n", target_name(&blocks->all[i]),
                   size_text(bytes, options->exact).text);
    }
    if (!options->blocks || blocks->count == 0)
        return;
    printf("\n%15s %15s %15s  %s\n", "BLOB OFFSET", "SIZE", "TARGET OFFSET", "TARGET");
    for (uint32_t i = 0; i < blocks->count; i++) {
        const cte_blob_block *block = &blocks->all[i];
        printf("%15llu %15llu %15llu  %s\n", (unsigned long long)block->blob_offset,
               (unsigned long long)block->size_bytes, (unsigned long long)block->target_offset,
               target_name(block));
    }
}

static int stat_blob(const struct invocation *in, cte_client *client)
{
    struct blocks blocks = {0};
    cte_blob_info info;
    cte_tag *tag = NULL;
    cte_status status = cte_tag_open(client, in->arguments[0], false, &tag);
    if (status == CTE_OK)
        status = cte_blob_get_info(tag, in->arguments[1], &info);
    if (status == CTE_OK)
        status = list_blocks(tag, in->arguments[1], &blocks);
    cte_tag_close(tag);
    if (status == CTE_OK)
        in->json ? print_blob_json(in, &info, &blocks) : print_blob(in, &info, &blocks);
    free(blocks.all);
    return status == CTE_OK ? EXIT_OK : failed(in, status);
}

/* ---- files and tags ------------------------------------------------------------------------- */

struct search {
    const struct invocation *in;
    const char *path; /* absolute */
    bool found;
};

static const char *policy_name(cte_file_drain_policy policy)
{
    switch (policy) {
    case CTE_FILE_DRAIN_ASYNC:
        return "async";
    case CTE_FILE_DRAIN_NEVER:
        return "never";
    default:
        return "on_close";
    }
}

static void print_file_json(const cte_store_file *file, const char *mode)
{
    json_object(NULL);
    json_text("path", file->path);
    json_uint("size_bytes", file->size_bytes);
    json_bool("dirty", file->dirty);
    json_bool("open", file->open);
    json_text("mode", mode);
    json_text("drain", policy_name(file->drain));
    json_end();
}

static cte_status visit_file(void *context, const cte_store_file *file)
{
    struct search *search = context;
    const struct stat_options *options = search->in->options;
    const char *mode = file->mode == CTE_FILE_MODE_SCRATCH ? "scratch" : "default";
    if (search->found || strcmp(file->path, search->path) != 0)
        return CTE_OK;
    search->found = true;
    if (search->in->json) {
        print_file_json(file, mode);
        return CTE_OK;
    }
    fputs("file      ", stdout);
    print_name(file->path);
    printf("\nsize      %s\ndirty     %s\nopen      %s\nmode      %s\ndrain     %s\n",
           size_text(file->size_bytes, options->exact).text,
           file->dirty ? "yes: bytes of it are not in the real file" : "no",
           file->open ? "yes" : "no", mode, policy_name(file->drain));
    return CTE_OK;
}

static cte_status count_blob(void *context, const char *name)
{
    (void)name;
    (*(uint64_t *)context)++;
    return CTE_OK;
}

static int stat_tag(const struct invocation *in, cte_client *client)
{
    const struct stat_options *options = in->options;
    const char *name = in->arguments[0];
    uint64_t size = 0, blobs = 0;
    cte_tag *tag = NULL;
    cte_status status = cte_tag_open(client, name, false, &tag);
    if (status == CTE_ERR_NOT_FOUND)
        return complain("the store knows no file and no tag %s; `cte ls` lists them", name);
    if (status == CTE_OK)
        status = cte_tag_size(tag, &size);
    if (status == CTE_OK)
        status = cte_tag_list(tag, count_blob, &blobs);
    cte_tag_id id = status == CTE_OK ? cte_tag_get_id(tag) : (cte_tag_id){0, 0};
    cte_tag_close(tag);
    if (status != CTE_OK)
        return failed(in, status);
    if (in->json) {
        json_object(NULL);
        json_text("tag", name);
        json_array("id");
        json_uint(NULL, id.major);
        json_uint(NULL, id.minor);
        json_end();
        json_uint("blobs", blobs);
        json_uint("size_bytes", size);
        json_end();
    } else {
        fputs("tag       ", stdout);
        print_name(name);
        printf("\nid        %u.%u\nblobs     %llu\nsize      %s\n", id.major, id.minor,
               (unsigned long long)blobs, size_text(size, options->exact).text);
    }
    return EXIT_OK;
}

/* A path that the store knows is that file, whatever tags there are. */
static int stat_file_or_tag(const struct invocation *in, cte_client *client)
{
    char *absolute = realpath(in->arguments[0], NULL);
    struct search search = {.in = in, .path = absolute ? absolute : in->arguments[0]};
    cte_status status = cte_store_files(client, visit_file, &search);
    free(absolute);
    if (status != CTE_OK)
        return failed(in, status);
    return search.found ? EXIT_OK : stat_tag(in, client);
}

static int run_stat(const struct invocation *in)
{
    cte_client *client;
    int result = open_store(in, false, &client);
    if (result != EXIT_OK)
        return result;
    result = in->argument_count > 1 ? stat_blob(in, client) : stat_file_or_tag(in, client);
    return close_store(client, result);
}

static const struct option_row rows[] = {
    {"bytes", 'b', OPTION_FLAG, offsetof(struct stat_options, exact),
     .help = "print sizes in bytes"},
    {"blocks", 'B', OPTION_FLAG, offsetof(struct stat_options, blocks),
     .help = "list where in the targets the bytes of a blob are"},
    {0},
};

const struct command command_stat = {
    .name = "stat",
    .synopsis = "[--bytes] [--json] PATH|TAG\n[--bytes] [--blocks] [--json] TAG BLOB",
    .summary = "show what is known of a file, a tag or a blob",
    .run = run_stat,
    .options = rows,
    .options_bytes = sizeof(struct stat_options),
    .least = 1,
    .most = 2,
};
