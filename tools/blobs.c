/* SPDX-License-Identifier: BSD-3-Clause */
/* Tags and blobs from the command line. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cte/blob.h>

#include "tool.h"

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
    return complain("tag %s%s%s: %s", in->arguments[0], blob ? ", blob " : "", blob ? blob : "",
                    cte_status_string(status));
}

/* All input is read first, so that the blob changes by one put, whole or not at all. */
int command_put(const struct invocation *in)
{
    struct buffer buffer = {0};
    cte_tag *tag = NULL;
    if (read_input(in, &buffer) != EXIT_OK) {
        free(buffer.bytes);
        return EXIT_FAILED;
    }
    cte_client *client = open_store(in, in->create);
    if (!client) {
        free(buffer.bytes);
        return EXIT_FAILED;
    }
    cte_status status = cte_tag_open(client, in->arguments[0], true, &tag);
    if (status == CTE_OK)
        status = cte_blob_put(tag, in->arguments[1], 0, buffer.bytes, buffer.count, in->score,
                              CTE_BLOB_REPLACE);
    cte_tag_close(tag);
    free(buffer.bytes);
    return close_store(client, status == CTE_OK ? EXIT_OK : failed(in, status));
}

/* A blob that grows between asking its size and reading it is asked again. */
static cte_status get_whole(cte_tag *tag, const char *name, struct buffer *buffer)
{
    uint64_t size;
    cte_status status = cte_blob_size(tag, name, &size);
    while (status == CTE_OK) {
        /* One byte more than there is: if that is read too, there is more. */
        char *larger = realloc(buffer->bytes, (size_t)size + 1);
        if (!larger)
            return -ENOMEM;
        buffer->bytes = larger;
        status = cte_blob_get(tag, name, 0, buffer->bytes, (size_t)size + 1, &buffer->count);
        if (status != CTE_OK || buffer->count <= size)
            break;
        status = cte_blob_size(tag, name, &size);
    }
    return status;
}

int command_get(const struct invocation *in)
{
    struct buffer buffer = {0};
    cte_tag *tag = NULL;
    cte_client *client = open_store(in, false);
    if (!client)
        return EXIT_FAILED;
    cte_status status = cte_tag_open(client, in->arguments[0], false, &tag);
    if (status == CTE_OK)
        status = get_whole(tag, in->arguments[1], &buffer);
    int result = status == CTE_OK ? write_output(in, &buffer) : failed(in, status);
    cte_tag_close(tag);
    free(buffer.bytes);
    return close_store(client, result);
}

int command_remove(const struct invocation *in)
{
    cte_tag *tag = NULL;
    cte_client *client = open_store(in, false);
    if (!client)
        return EXIT_FAILED;
    cte_status status;
    if (in->argument_count == 1) {
        status = cte_tag_delete(client, in->arguments[0]);
    } else {
        status = cte_tag_open(client, in->arguments[0], false, &tag);
        if (status == CTE_OK)
            status = cte_blob_delete(tag, in->arguments[1]);
        cte_tag_close(tag);
    }
    return close_store(client, status == CTE_OK ? EXIT_OK : failed(in, status));
}
