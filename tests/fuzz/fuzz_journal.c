/* SPDX-License-Identifier: BSD-3-Clause */
/* Any bytes as a journal: read into a model, record by record; nothing outside of them is touched.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "store/journal_model.h"

enum { STORE_ID = 77, NONCE = 0x1234567 };

static struct cte__text text_of(const char *string)
{
    return (struct cte__text){string, (uint32_t)strlen(string)};
}

static void put_records(struct cte__record_buffer *buffer)
{
    uint32_t sums[4] = {1, 2, 3, 4};
    uint64_t chunk = 3;
    struct cte__record_target target = {.survives = true,
                                        .capacity_bytes = 8 << 20,
                                        .arena_bytes = 1 << 20,
                                        .kind = text_of("file"),
                                        .path = text_of("/t")};
    struct cte__record_tag tag = {.id = 5, .public_id = 5, .name = text_of("tag")};
    struct cte__record_file file = {.id = 6,
                                    .chunk_bytes = 1 << 20,
                                    .size_bytes = 5 << 20,
                                    .name = text_of("inode"),
                                    .path = text_of("/pfs/file")};
    struct cte__record_blob blob = {.tag_id = 5,
                                    .type = CTE__ENTRY_BLOB,
                                    .score = 0.5f,
                                    .size_bytes = 16384,
                                    .name = text_of("blob")};
    struct cte__record_extent extent = {.page = 8, .count = 4, .state = CTE__PAGE_DIRTY};
    struct cte__record_extent partial = {
        .first = 9, .count = 1, .state = CTE__PAGE_PARTIAL, .run_count = 1};
    struct cte__run run = {.start = 5, .length_dirty = 100 << 1 | 1, .checksum = 9, .page = 40};
    cte__record_put_target(buffer, NONCE, &target);
    cte__record_put_tag(buffer, NONCE, &tag);
    cte__record_put_file(buffer, NONCE, &file);
    cte__record_blob_begin(buffer, &blob);
    cte__record_blob_extent(buffer, &extent);
    cte__record_blob_sums(buffer, 8, 4, sums);
    cte__record_blob_end(buffer, NONCE);
    blob.tag_id = 6;
    blob.type = CTE__ENTRY_CHUNK;
    blob.name = (struct cte__text){(const char *)&chunk, sizeof chunk};
    cte__record_blob_begin(buffer, &blob);
    cte__record_blob_extent(buffer, &partial);
    cte__record_blob_run(buffer, &run);
    cte__record_blob_end(buffer, NONCE);
    cte__record_put_blob_gone(buffer, NONCE, &blob);
    cte__record_put_tag_gone(buffer, NONCE, 5);
    cte__record_put_complete(buffer, NONCE);
}

size_t fuzz_seed(unsigned which, uint8_t *bytes, size_t room)
{
    struct cte__journal_header header = {.store_id = STORE_ID, .nonce = NONCE, .generation = 1};
    struct cte__record_buffer buffer;
    if (which > 0)
        return 0;
    cte__record_buffer_init(&buffer);
    put_records(&buffer);
    size_t count = CTE__JOURNAL_HEADER_BYTES + buffer.count;
    if (count > room)
        return 0;
    cte__journal_header_write(header, (char *)bytes);
    memcpy(bytes + CTE__JOURNAL_HEADER_BYTES, buffer.bytes, buffer.count);
    cte__record_buffer_free(&buffer);
    return count;
}

/* Frames that are right again: else no mutation would ever get behind a record's checksum. */
static void walk_payloads(const uint8_t *bytes, size_t count)
{
    for (uint32_t kind = 0; kind < 9; kind++) {
        struct cte__record record = {
            .kind = kind, .payload = (const char *)bytes, .bytes = (uint32_t)count};
        struct cte__record_target target;
        struct cte__record_tag tag;
        struct cte__record_file file;
        struct cte__record_blob blob;
        uint64_t id, sum = 0;
        sum += cte__record_get_target(&record, &target);
        sum += cte__record_get_tag(&record, &tag);
        sum += cte__record_get_file(&record, &file);
        sum += cte__record_get_tag_gone(&record, &id);
        if (!cte__record_get_blob(&record, &blob))
            continue;
        const char *at = blob.extents;
        for (uint32_t i = 0; i < blob.extent_count; i++) {
            struct cte__record_extent extent = cte__record_extent_next(&at);
            for (uint32_t r = 0; r < extent.run_count; r++)
                sum += cte__record_run(&extent, r).checksum;
        }
        at = blob.sums;
        for (uint32_t i = 0; i < blob.sums_count; i++) {
            struct cte__record_sums sums = cte__record_sums_next(&at);
            for (uint32_t n = 0; n < sums.count; n++)
                sum += (unsigned char)sums.sums[4 * n];
        }
        __asm__ volatile("" : : "r"(sum)); /* all of it was read */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static char path[64];
    struct cte__journal_tell tell = {0};
    struct cte__model *model = NULL;
    if (!path[0])
        snprintf(path, sizeof path, "/dev/shm/cte-fuzz-journal-%ld", (long)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (fd < 0 || write(fd, bytes, count) != (ssize_t)count)
        abort();
    close(fd);
    if (cte__model_load(path, STORE_ID, &tell, &model) == CTE_OK)
        cte__model_free(model);
    unlink(path);
    /* A payload with what a mutation made of it. */
    size_t skip = CTE__JOURNAL_HEADER_BYTES + 16;
    if (count > skip)
        walk_payloads(bytes + skip, count - skip);
    return 0;
}
