/* SPDX-License-Identifier: BSD-3-Clause */
/* Tags and blobs: one process leaves tables on the node, others find them.
 *
 *   blob_basics          writes a table, changes a part of it, reads it again, deletes it
 *   blob_basics --keep   leaves the tag: try `cte ls`, `cte get tables squares | od -t u4`
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cte/blob.h>

enum { ENTRIES = 100000 };

static int fail(const char *what, cte_status status)
{
    fprintf(stderr, "blob_basics: %s: %s\n", what, cte_status_string(status));
    return 1;
}

static cte_status print_name(void *context, const char *name)
{
    cte_tag *tag = context;
    cte_blob_info info;
    cte_status status = cte_blob_get_info(tag, name, &info);
    if (status == CTE_OK)
        printf("  %s: %llu bytes, score %.2f\n", name, (unsigned long long)info.size_bytes,
               (double)info.score);
    return status;
}

/* The whole table, then one entry of it: the rest stays as it is. */
static cte_status write_table(cte_tag *tag)
{
    static uint32_t squares[ENTRIES];
    for (uint32_t i = 0; i < ENTRIES; i++)
        squares[i] = i * i;
    cte_status status =
        cte_blob_put(tag, "squares", 0, squares, sizeof squares, 1.0f, CTE_BLOB_REPLACE);
    uint32_t mark = 12345;
    if (status == CTE_OK)
        status = cte_blob_put(tag, "squares", 7 * sizeof mark, &mark, sizeof mark, 1.0f, 0);
    return status;
}

/* Counts the entries that are not what write_table() left. */
static cte_status read_table(cte_tag *tag, uint32_t *wrong)
{
    static uint32_t squares[ENTRIES + 1]; /* larger than the blob: a get returns what there is */
    size_t bytes;
    cte_status status = cte_blob_get(tag, "squares", 0, squares, sizeof squares, &bytes);
    *wrong = bytes != ENTRIES * sizeof squares[0];
    for (uint32_t i = 0; status == CTE_OK && i < ENTRIES; i++)
        *wrong += squares[i] != (i == 7 ? 12345 : i * i);
    return status;
}

int main(int argc, char **argv)
{
    bool keep = argc == 2 && strcmp(argv[1], "--keep") == 0;
    cte_tag *tag;
    uint32_t wrong;
    if (argc > 1 && !keep) {
        fprintf(stderr, "usage: blob_basics [--keep]\n");
        return 2;
    }
    /* NULL: the client of this process, made on first use and closed at exit. */
    cte_status status = cte_tag_open(NULL, "tables", true, &tag);
    if (status != CTE_OK)
        return fail("open", status);
    if ((status = write_table(tag)) != CTE_OK)
        return fail("put", status);
    if ((status = read_table(tag, &wrong)) != CTE_OK)
        return fail("get", status);
    printf("%u of %d entries are wrong; the tag holds\n", wrong, ENTRIES);
    if ((status = cte_tag_list(tag, print_name, tag)) != CTE_OK)
        return fail("list", status);
    cte_tag_close(tag);
    if (!keep && (status = cte_tag_delete(NULL, "tables")) != CTE_OK)
        return fail("delete", status);
    return wrong != 0;
}
