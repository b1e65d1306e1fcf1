/* SPDX-License-Identifier: BSD-3-Clause */
/* Tags and blobs from the command line. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cte/blob.h>

#include "command.h"
#include "json.h"

struct buffer {
    char *bytes;
    size_t count, capacity;
};

/* Reads all there is; 0 or an errno value. */
static int read_all(int fd, struct buffer *buffer)
{
    for (;;) {
        if (buffer->count == buffer->capacity) {
            size_t capacity = buffer->capacity ? buffer->capacity * 2 : 1 << 20;
            char *larger = realloc(buffer->bytes, capacity);
            if (!larger)
                return ENOMEM;
            buffer->bytes = larger;
            buffer->capacity = capacity;
        }
        ssize_t n = read(fd, buffer->bytes + buffer->count, buffer->capacity - buffer->count);
        if (n == 0)
            return 0;
        if (n > 0)
            buffer->count += (size_t)n;
        else if (errno != EINTR)
            return errno;
    }
}

static int write_all(int fd, const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t n = write(fd, bytes, count);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EIO;
        bytes += n;
        count -= (size_t)n;
    }
    return 0;
}

static bool is_standard(const struct invocation *in)
{
    return in->argument_count < 3 || strcmp(in->arguments[2], "-") == 0;
}

static int read_input(const struct invocation *in, struct buffer *buffer)
{
    const char *path = is_standard(in) ? "standard input" : in->arguments[2];
    int fd = is_standard(in) ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int error = fd < 0 ? errno : read_all(fd, buffer);
    if (fd > STDIN_FILENO)
        close(fd);
    return error == 0 ? EXIT_OK : complain("%s: %s", path, strerror(error));
}

static int write_output(const struct invocation *in, const struct buffer *buffer)
{
    const char *path = is_standard(in) ? "standard output" : in->arguments[2];
    int fd = is_standard(in) ? STDOUT_FILENO
                             : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int error = fd < 0 ? errno : write_all(fd, buffer->bytes, buffer->count);
    if (fd > STDOUT_FILENO && close(fd) != 0 && error == 0)
        error = errno;
    return error == 0 ? EXIT_OK : complain("%s: %s", path, strerror(error));
}

static int failed(const struct invocation *in, cte_status status)
{
    const char *blob = in->argument_count > 1 ? in->arguments[1] : NULL;
    complain("tag %s%s%s: %s", in->arguments[0], blob ? ", blob " : "", blob ? blob : "",
             cte_status_string(status));
    return status == CTE_ERR_CHECKSUM ? EXIT_DAMAGE : EXIT_FAILED;
}

/* What was done, as JSON: the bytes from an offset on; `size` NULL: all of it. */
static void tell(const struct invocation *in, const uint64_t *offset, const uint64_t *size)
{
    if (!in->json)
        return;
    json_object(NULL);
    json_text("tag", in->arguments[0]);
    if (in->argument_count > 1)
        json_text("blob", in->arguments[1]);
    if (offset)
        json_uint("offset", *offset);
    if (size)
        json_uint("size_bytes", *size);
    json_end();
}

/* ---- put ------------------------------------------------------------------------------------ */

#define NOT_GIVEN UINT64_MAX /* offset or length */

struct put_options {
    bool create, append, exclusive;
    float score;
    uint64_t offset;
};

static cte_status store_bytes(const struct invocation *in, cte_tag *tag,
                              const struct buffer *buffer, uint64_t *offset)
{
    const struct put_options *options = in->options;
    const char *blob = in->arguments[1];
    uint32_t flags = options->exclusive ? CTE_BLOB_EXCLUSIVE : 0;
    if (options->append)
        return cte_blob_append(tag, blob, buffer->bytes, buffer->count, options->score, offset);
    if (options->offset == NOT_GIVEN)
        flags |= options->exclusive ? 0 : CTE_BLOB_REPLACE;
    else
        *offset = options->offset;
    return cte_blob_put(tag, blob, *offset, buffer->bytes, buffer->count, options->score, flags);
}

/* All input is read first, so that the blob changes by one put, whole or not at all. */
static int put_buffer(const struct invocation *in, struct buffer *buffer)
{
    const struct put_options *options = in->options;
    cte_tag *tag = NULL;
    cte_client *client;
    uint64_t offset = 0, size;
    if (read_input(in, buffer) != EXIT_OK)
        return EXIT_FAILED;
    int result = open_store(in, options->create, &client);
    if (result != EXIT_OK)
        return result;
    cte_status status = cte_tag_open(client, in->arguments[0], true, &tag);
    if (status == CTE_OK)
        status = store_bytes(in, tag, buffer, &offset);
    cte_tag_close(tag);
    size = buffer->count;
    if (status == CTE_OK)
        tell(in, &offset, &size);
    return close_store(client, status == CTE_OK ? EXIT_OK : failed(in, status));
}

static int run_put(const struct invocation *in)
{
    const struct put_options *options = in->options;
    struct buffer buffer = {0};
    if (options->append && (options->offset != NOT_GIVEN || options->exclusive))
        return complain_usage(in, "--append goes with neither --offset nor --exclusive");
    int result = put_buffer(in, &buffer);
    free(buffer.bytes);
    return result;
}

static const struct option_row put_rows[] = {
    {"create", 'c', OPTION_FLAG, offsetof(struct put_options, create),
     .help = "make the store if there is none"},
    {"score", 's', OPTION_SCORE, offsetof(struct put_options, score), .value = "S",
     .help = "how fast a target it deserves, 0 to 1 (default 1)"},
    {"offset", 'o', OPTION_SIZE, offsetof(struct put_options, offset), .most = INT64_MAX,
     .value = "N", .help = "replace the bytes from there on only; what else there is stays"},
    {"append", 'a', OPTION_FLAG, offsetof(struct put_options, append),
     .help = "put it behind the last byte there is"},
    {"exclusive", 'x', OPTION_FLAG, offsetof(struct put_options, exclusive),
     .help = "fail if there is such a blob"},
    {0},
};

static const struct put_options put_defaults = {.score = 1.0f, .offset = NOT_GIVEN};

const struct command command_put = {
    .name = "put",
    .synopsis = "[--create] [--score S] [OPTION...] TAG BLOB [FILE|-]",
    .summary = "store a file, or standard input, as a blob",
    .description =
        "Stores a file, or standard input if it is left out or `-`, as a blob.  An old "
        "blob of that name is replaced as a whole, or stays as it is if the store is full.",
    .run = run_put,
    .options = put_rows,
    .defaults = &put_defaults,
    .options_bytes = sizeof(struct put_options),
    .least = 2,
    .most = 3,
};

/* ---- get ------------------------------------------------------------------------------------ */

struct get_options {
    uint64_t offset, length; /* length NOT_GIVEN: to the end */
};

/* A blob that grows between asking its size and reading it is asked again. */
static cte_status get_bytes(const struct get_options *options, cte_tag *tag, const char *name,
                            struct buffer *buffer)
{
    for (;;) {
        uint64_t size;
        cte_status status = cte_blob_size(tag, name, &size);
        if (status != CTE_OK)
            return status;
        size = size > options->offset ? size - options->offset : 0;
        bool limited = options->length <= size;
        /* One byte more than there is: if that is read too, there is more. */
        size = limited ? options->length : size + 1;
        char *larger = realloc(buffer->bytes, (size_t)size + 1);
        if (!larger)
            return -ENOMEM;
        buffer->bytes = larger;
        status =
            cte_blob_get(tag, name, options->offset, buffer->bytes, (size_t)size, &buffer->count);
        if (status != CTE_OK || limited || buffer->count < size)
            return status;
    }
}

static int run_get(const struct invocation *in)
{
    const struct get_options *options = in->options;
    struct buffer buffer = {0};
    cte_tag *tag = NULL;
    cte_client *client;
    if (in->json && is_standard(in))
        return complain_usage(in, "--json needs a FILE: standard output takes one of the two");
    int result = open_store(in, false, &client);
    if (result != EXIT_OK)
        return result;
    cte_status status = cte_tag_open(client, in->arguments[0], false, &tag);
    if (status == CTE_OK)
        status = get_bytes(options, tag, in->arguments[1], &buffer);
    result = status == CTE_OK ? write_output(in, &buffer) : failed(in, status);
    uint64_t size = buffer.count;
    if (result == EXIT_OK)
        tell(in, &options->offset, &size);
    cte_tag_close(tag);
    free(buffer.bytes);
    return close_store(client, result);
}

static const struct option_row get_rows[] = {
    {"offset", 'o', OPTION_SIZE, offsetof(struct get_options, offset), .most = INT64_MAX,
     .value = "N", .help = "begin there (default 0)"},
    {"length", 'l', OPTION_SIZE, offsetof(struct get_options, length), .most = INT64_MAX,
     .value = "N", .help = "at most so many bytes (default: to the end)"},
    {0},
};

static const struct get_options get_defaults = {.length = NOT_GIVEN};

const struct command command_get = {
    .name = "get",
    .synopsis = "[--offset N] [--length N] TAG BLOB [FILE|-]\n"
                "[--offset N] [--length N] --json TAG BLOB FILE",
    .summary = "write a blob, or a part of it, to a file",
    .description =
        "Writes a blob to a file, or to standard output if that is left out or `-`.  All "
        "its bytes are of one state of the blob, and verified before the file is touched.",
    .run = run_get,
    .options = get_rows,
    .defaults = &get_defaults,
    .options_bytes = sizeof(struct get_options),
    .least = 2,
    .most = 3,
};

/* ---- rm ------------------------------------------------------------------------------------- */

static int run_rm(const struct invocation *in)
{
    cte_tag *tag = NULL;
    cte_client *client;
    cte_status status;
    int result = open_store(in, false, &client);
    if (result != EXIT_OK)
        return result;
    if (in->argument_count == 1) {
        status = cte_tag_delete(client, in->arguments[0]);
    } else {
        status = cte_tag_open(client, in->arguments[0], false, &tag);
        if (status == CTE_OK)
            status = cte_blob_delete(tag, in->arguments[1]);
        cte_tag_close(tag);
    }
    if (status == CTE_OK)
        tell(in, NULL, NULL);
    return close_store(client, status == CTE_OK ? EXIT_OK : failed(in, status));
}

const struct command command_rm = {
    .name = "rm",
    .synopsis = "[--json] TAG [BLOB]",
    .summary = "delete a tag with all its blobs, or one blob",
    .run = run_rm,
    .least = 1,
    .most = 2,
};
