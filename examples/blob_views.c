/* SPDX-License-Identifier: BSD-3-Clause */
/* Blobs without copies: one process makes a field in place, another looks at it where it lies.
 *
 *   blob_views     fills a buffer, makes it a blob, and sums it in a child process
 */
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cte/buffer.h>

enum { CELLS = 500000 };

static int fail(const char *what, cte_status status)
{
    fprintf(stderr, "blob_views: %s: %s\n", what, cte_status_string(status));
    return 1;
}

/* Fills memory of the store, which then is the blob: nothing is copied. */
static int make_field(cte_tag *tag, uint32_t step)
{
    cte_buffer *buffer;
    cte_status status = cte_buffer_alloc(NULL, CELLS * sizeof(uint32_t), &buffer);
    if (status != CTE_OK)
        return fail("buffer", status);
    uint32_t *cells = cte_buffer_data(buffer);
    for (uint32_t i = 0; i < CELLS; i++)
        cells[i] = i % 1000 + step;
    status = cte_blob_put_buffer(tag, "field", buffer, CELLS * sizeof *cells, 1.0f, 0);
    if (status != CTE_OK) {
        cte_buffer_free(buffer); /* on error it is still ours */
        return fail("put", status);
    }
    return 0;
}

static int print_sum(const cte_view *view, const char *who)
{
    const uint32_t *cells = view->data;
    uint64_t sum = 0;
    for (size_t i = 0; i < view->size_bytes / sizeof *cells; i++)
        sum += cells[i];
    printf("%s: %zu bytes %s, sum %llu\n", who, view->size_bytes,
           view->copied ? "copied" : "in place", (unsigned long long)sum);
    return fflush(stdout) == 0 ? 0 : 1;
}

/* Another process: a client of its own, the same store. */
static int look(void)
{
    cte_tag *tag;
    cte_view view;
    if (cte_init(NULL) != CTE_OK)
        return 1;
    cte_status status = cte_tag_open(NULL, "views", false, &tag);
    if (status != CTE_OK)
        return fail("open", status);
    status = cte_blob_view(tag, "field", 0, SIZE_MAX, &view);
    if (status != CTE_OK)
        return fail("view", status);
    int result = print_sum(&view, "another process");
    cte_view_release(&view);
    cte_tag_close(tag);
    return cte_finalize() == CTE_OK ? result : 1;
}

int main(int argc, char **argv)
{
    cte_tag *tag;
    cte_view before;
    int child;
    if (argc > 1)
        return look();
    if (cte_init(NULL) != CTE_OK)
        return 1;
    cte_status status = cte_tag_open(NULL, "views", true, &tag);
    if (status != CTE_OK)
        return fail("open", status);
    if (make_field(tag, 0) != 0)
        return 1;
    /* What a view shows stays, whatever becomes of the blob. */
    status = cte_blob_view(tag, "field", 0, SIZE_MAX, &before);
    if (status != CTE_OK)
        return fail("view", status);
    if (make_field(tag, 1) != 0)
        return 1;
    pid_t pid = fork();
    if (pid == 0)
        execl("/proc/self/exe", argv[0], "look", (char *)NULL);
    if (pid < 0 || waitpid(pid, &child, 0) != pid || child != 0)
        return 1;
    int result = print_sum(&before, "the view of before");
    cte_view_release(&before);
    cte_tag_close(tag);
    status = cte_tag_delete(NULL, "views");
    if (status != CTE_OK)
        return fail("delete", status);
    return cte_finalize() == CTE_OK ? result : 1;
}
