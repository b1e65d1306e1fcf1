/* SPDX-License-Identifier: BSD-3-Clause */
/* Is what a journal speaks of there?  Without the store: targets are opened and read, nothing is
 * changed. */
#include "store/journal_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/util.h"
#include "store/journal_model.h"

enum { WINDOW_PAGES = 256, DESCRIBE_BYTES = PATH_MAX + 1200 };

/* A target of the model, open. */
struct medium {
    struct medium *next;
    const struct cte__model_target *target;
    const struct cte__target_ops *ops;
    void *state;     /* NULL: cannot be opened */
    uint8_t *claims; /* one bit a page */
};

struct check {
    struct cte__model *model;
    struct cte__journal_tell tell;
    struct cte__journal_findings *findings;
    struct medium *media;
    uint64_t store_id;
    char *buffer; /* WINDOW_PAGES */
    bool damaged; /* the blob that is read */
};

static cte_status find_medium(struct check *check, const struct cte__model_target *target,
                              struct medium **out)
{
    struct medium *medium = check->media;
    while (medium && medium->target != target)
        medium = medium->next;
    *out = medium;
    if (medium)
        return CTE_OK;
    medium = calloc(1, sizeof *medium);
    if (!medium)
        return -ENOMEM;
    medium->claims = calloc(cte__bytes_to_pages(target->capacity_bytes) / 8 + 1, 1);
    if (!medium->claims) {
        free(medium);
        return -ENOMEM;
    }
    struct cte__target_spec spec = {.path = target->path,
                                    .capacity_bytes = target->capacity_bytes,
                                    .arena_bytes = target->arena_bytes,
                                    .store_id = check->store_id};
    medium->target = target;
    medium->ops = cte__target_ops_find(target->kind);
    cte_status status =
        medium->ops ? medium->ops->open(&spec, &medium->state) : CTE_ERR_STORE_LAYOUT;
    if (status != CTE_OK) {
        medium->state = NULL;
        cte__journal_say(&check->tell, "target %s cannot be opened: %s", target->path,
                         cte_status_string(status));
    }
    medium->next = check->media;
    check->media = medium;
    *out = medium;
    return CTE_OK;
}

static void claim(struct check *check, struct medium *medium, cte__page page, uint32_t count)
{
    for (uint64_t n = cte__page_number(page); count > 0; n++, count--) {
        bool taken = medium->claims[n / 8] >> (n % 8) & 1;
        check->findings->pages_used += !taken;
        check->findings->pages_doubly += taken;
        medium->claims[n / 8] |= (uint8_t)(1u << (n % 8));
    }
}

/* Reads pages and compares them with their checksums, given or (NULL) as the journal told last. */
static void read_pages(struct check *check, struct medium *medium, cte__page page, uint64_t index,
                       uint32_t count, const uint32_t *sums)
{
    for (uint32_t done = 0, part; done < count; done += part) {
        part = (uint32_t)cte__min(count - done, WINDOW_PAGES);
        struct iovec iov = {check->buffer, cte__pages_to_bytes(part)};
        struct cte__target_io io = {.offset = cte__pages_to_bytes(cte__page_number(page) + done),
                                    .iov = &iov,
                                    .iov_count = 1,
                                    .bytes = iov.iov_len};
        if (!medium->state || medium->ops->io(medium->state, &io) != CTE_OK) {
            check->damaged = true;
            return;
        }
        check->findings->bytes_read += iov.iov_len;
        for (uint32_t i = 0; i < part; i++) {
            uint32_t sum = sums ? sums[done + i] : cte__model_sum(medium->target, page + done + i);
            if (cte__page_checksum(check->buffer + cte__pages_to_bytes(i), index + done + i) != sum)
                check->damaged = true;
        }
    }
}

static cte_status check_pages(struct check *check, const struct cte__model_item *item,
                              cte__page page, uint64_t index, uint32_t count, const uint32_t *sums,
                              bool is_new)
{
    const struct cte__model_target *target = cte__model_target_of(item, page);
    struct medium *medium;
    if (!target->survives) {
        check->findings->bytes_lost += is_new ? cte__pages_to_bytes(count) : 0;
        return CTE_OK;
    }
    cte_status status = find_medium(check, target, &medium);
    if (status != CTE_OK || !is_new)
        return status;
    claim(check, medium, page, count);
    read_pages(check, medium, page, index, count, sums);
    return CTE_OK;
}

/* Runs of one page read it once. */
static cte_status check_runs(struct check *check, const struct cte__model_item *item,
                             const struct cte__record_extent *extent)
{
    cte_status status = CTE_OK;
    for (uint32_t r = 0; r < extent->run_count && status == CTE_OK; r++) {
        struct cte__run run = cte__record_run(extent, r);
        bool is_new = true;
        for (uint32_t before = 0; before < r; before++)
            is_new = is_new && cte__record_run(extent, before).page != run.page;
        status = check_pages(check, item, run.page, extent->first, 1, &run.checksum, is_new);
    }
    return status;
}

static cte_status check_blob(struct check *check, const struct cte__model_item *item)
{
    char name[DESCRIBE_BYTES];
    struct cte__record_blob blob;
    cte_status status = CTE_OK;
    if (item->record.kind != CTE__RECORD_BLOB || !cte__record_get_blob(&item->record, &blob) ||
        !cte__model_tag(check->model, blob.tag_id))
        return CTE_OK;
    const char *at = blob.extents;
    check->damaged = false;
    check->findings->blobs++;
    for (uint32_t i = 0; i < blob.extent_count && status == CTE_OK; i++) {
        struct cte__record_extent extent = cte__record_extent_next(&at);
        status =
            extent.state == CTE__PAGE_PARTIAL
                ? check_runs(check, item, &extent)
                : check_pages(check, item, extent.page, extent.first, extent.count, NULL, true);
    }
    if (status != CTE_OK || !check->damaged)
        return status;
    check->findings->blobs_damaged++;
    cte__model_describe(check->model, &blob, name, sizeof name);
    cte__journal_say(&check->tell, "%s: its pages cannot be read or do not match their checksums",
                     name);
    return CTE_OK;
}

static void close_media(struct check *check)
{
    while (check->media) {
        struct medium *next = check->media->next;
        if (check->media->state)
            check->media->ops->close(check->media->state);
        free(check->media->claims);
        free(check->media);
        check->media = next;
    }
}

cte_status cte__journal_check(const cte_config *config, uint64_t store_id,
                              void (*say)(void *context, const char *text), void *context,
                              struct cte__journal_findings *findings)
{
    struct check check = {.tell = {say, context, 0}, .findings = findings, .store_id = store_id};
    char path[PATH_MAX];
    memset(findings, 0, sizeof *findings);
    cte_status status = cte__model_find(config, store_id, path);
    if (status == CTE_OK)
        status = cte__model_load(path, store_id, &check.tell, &check.model);
    if (status != CTE_OK)
        return status;
    findings->records = check.model->records;
    findings->places_damaged = check.model->damaged;
    if (posix_memalign((void **)&check.buffer, CTE__PAGE_BYTES,
                       cte__pages_to_bytes(WINDOW_PAGES)) != 0)
        status = -ENOMEM;
    for (size_t i = 0; i < check.model->item_count && status == CTE_OK; i++)
        status = check_blob(&check, &check.model->items[i]);
    close_media(&check);
    free(check.buffer);
    cte__model_free(check.model);
    return status;
}
