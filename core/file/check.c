/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking a store: every stored byte is read and verified, every page and unit accounted for. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include <cte/store.h>

#include "blob/tag.h"
#include "file/inspect.h"
#include "store/journal_check.h"

enum { WINDOW_BYTES = 1 << 20, TRIES_MAX = 16 };

struct check {
    cte_client *client;
    struct cte__store *store;
    cte_store_report *report;
    cte_status (*visit)(void *context, const char *text);
    void *context;
    char *buffer; /* WINDOW_BYTES */
};

/* Reads bytes [start, end) of a snapshot; *offset is where it failed. */
static cte_status read_range(struct check *check, const struct cte__snapshot *snapshot,
                             uint64_t start, uint64_t end, uint64_t *offset, uint64_t *bytes)
{
    struct cte__piece_list missing = {0};
    cte_status status = CTE_OK;
    for (uint64_t at = start; at < end && status == CTE_OK; at += WINDOW_BYTES) {
        struct cte__piece piece = {at, (size_t)cte__min(end - at, WINDOW_BYTES), check->buffer};
        missing.count = 0;
        *offset = at;
        status = cte__snapshot_read(check->store, snapshot, &piece, 1, &missing);
        *bytes += piece.length;
    }
    free(missing.pieces);
    return status;
}

/* Reads all that a snapshot has. */
static cte_status read_snapshot(struct check *check, const struct cte__snapshot *snapshot,
                                uint64_t *offset, uint64_t *bytes)
{
    cte_status status = read_range(check, snapshot, 0, snapshot->small_bytes, offset, bytes);
    for (size_t i = 0; i < snapshot->list.count && status == CTE_OK; i++) {
        const struct cte__span *span = &snapshot->list.spans[i];
        status = read_range(check, snapshot, cte__pages_to_bytes(span->index),
                            cte__pages_to_bytes(span->index + span->count), offset, bytes);
    }
    return status;
}

/* A blob that changes while it is read is read again. */
static cte_status read_blob(struct check *check, const struct cte__blob_key *key, uint64_t *offset,
                            uint64_t *bytes, bool *there)
{
    cte_status status = CTE_OK;
    bool current = false;
    for (int i = 0; i < TRIES_MAX && !current; i++) {
        struct cte__snapshot snapshot;
        *bytes = 0;
        status = cte__blob_snapshot(check->store, key, &snapshot);
        if (status != CTE_OK)
            return status;
        *there = snapshot.entry != 0;
        status = read_snapshot(check, &snapshot, offset, bytes);
        current = cte__blob_is_current(check->store, key, &snapshot);
        cte__snapshot_free(&snapshot);
    }
    return current ? status : CTE_OK; /* never twice the same: it is well alive */
}

/* @param owner  path of the file or name of the tag
 * @param name   of the blob, NULL for a piece of a file, which begins at `file_offset` */
static cte_status check_blob(struct check *check, const struct cte__blob_key *key,
                             const char *owner, const char *name, uint64_t file_offset)
{
    uint64_t offset = 0, bytes = 0;
    bool there = false;
    cte_status status = read_blob(check, key, &offset, &bytes, &there);
    if (status == -ENOMEM || status == -EUSERS)
        return status;
    if (status == CTE_ERR_NOT_FOUND || !there)
        return CTE_OK; /* deleted meanwhile */
    check->report->blobs++;
    check->report->bytes_read += bytes;
    if (status == CTE_OK)
        return CTE_OK;
    check->report->blobs_damaged++;
    char *text;
    if (asprintf(&text, "%s %s%s%s: bytes %llu to %llu: %s", name ? "tag" : "file", owner,
                 name ? ", blob " : "", name ? name : "",
                 (unsigned long long)(file_offset + offset),
                 (unsigned long long)(file_offset + offset + WINDOW_BYTES - 1),
                 cte_status_string(status)) < 0)
        return -ENOMEM;
    status = check->visit ? check->visit(check->context, text) : CTE_OK;
    free(text);
    return status;
}

static cte_status check_file(struct check *check, const struct cte__file_identity *name)
{
    struct cte__held_file held;
    uint64_t *chunks = NULL;
    size_t count = 0;
    cte_status status = cte__file_hold(check->client, name, &held);
    if (status != CTE_OK)
        return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
    char *path = strdup(held.record->path);
    status = path ? cte__tracked_chunks(check->store, held.tag, &chunks, &count) : -ENOMEM;
    for (size_t i = 0; i < count && status == CTE_OK; i++) {
        struct cte__blob_key key = cte__chunk_key(held.tag, &chunks[i]);
        status = check_blob(check, &key, path, NULL, chunks[i] * held.record->chunk_bytes);
    }
    cte__file_release(&held);
    free(chunks);
    free(path);
    return status;
}

static cte_status check_files(struct check *check)
{
    struct cte__file_names names = {0};
    cte_status status = cte__file_names(check->store, &names);
    for (size_t i = 0; i < names.count && status == CTE_OK; i++)
        status = check_file(check, &names.names[i]);
    free(names.names);
    return status;
}

static cte_status check_tag(void *context, const char *name)
{
    struct check *check = context;
    struct cte__user_tag tag;
    struct cte__name_list list = {0};
    cte_status status = cte__user_tag_open(check->store, name, CTE__USER_TAG_OPEN, &tag);
    if (status == CTE_OK)
        status = cte__user_tag_blobs(check->store, &tag, &list);
    for (size_t at = 0; at < list.bytes && status == CTE_OK; at += strlen(list.text + at) + 1) {
        struct cte__blob_key key = cte__user_blob_key(&tag, list.text + at);
        status = check_blob(check, &key, name, list.text + at, 0);
    }
    free(list.text);
    return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
}

static cte_status check_accounts(struct check *check)
{
    struct cte__store_audit audit;
    uint32_t others;
    cte_status status = cte_store_processes(check->client, NULL, 0, &others);
    if (status == CTE_OK)
        status = cte__store_audit(check->store, &audit);
    if (status != CTE_OK)
        return status;
    cte_store_report *report = check->report;
    report->exact = others == 0;
    report->pages_used = audit.pages_referenced;
    report->pages_doubly = audit.pages_doubly;
    report->pages_unowned = audit.pages_unowned;
    report->pages_lost = audit.pages_lost;
    report->units_unowned = audit.units_unowned;
    report->units_lost = audit.units_lost;
    return CTE_OK;
}

cte_status cte_store_check(cte_client *client, cte_store_report *report,
                           cte_status (*visit)(void *context, const char *text), void *context)
{
    struct check check = {client, client->store, report, visit, context, NULL};
    *report = (cte_store_report){.checksums = client->store->checksum};
    if (posix_memalign((void **)&check.buffer, CTE__PAGE_BYTES, WINDOW_BYTES) != 0)
        return -ENOMEM;
    cte__store_sweep_if_wanted(client->store);
    /* The accounts first: looking at a file may be what takes its clean record away. */
    cte_status status = check_accounts(&check);
    if (status == CTE_OK)
        status = check_files(&check);
    if (status == CTE_OK)
        status = cte_client_tags(client, check_tag, &check);
    free(check.buffer);
    return status;
}

/* ---- a store that is not in memory ---------------------------------------------------------- */

static void pass_on(void *context, const char *text)
{
    struct check *check = context;
    if (check->visit) {
        cte_status status = check->visit(check->context, text);
        (void)status;
    }
}

cte_status cte_store_check_kept(const cte_config *config, cte_store_report *report,
                                cte_status (*visit)(void *context, const char *text), void *context)
{
    struct check check = {.visit = visit, .context = context};
    struct cte__journal_findings findings;
    char directory[PATH_MAX], segment[PATH_MAX];
    cte_status status = cte_store_path(config, directory, sizeof directory);
    if (status != CTE_OK)
        return status;
    int n = snprintf(segment, sizeof segment, "%s/segment", directory);
    if (n < 0 || n >= (int)sizeof segment || access(segment, F_OK) == 0)
        return CTE_ERR_NOT_FOUND;
    status = cte__journal_check(config, XXH3_64bits(directory, strlen(directory)), pass_on, &check,
                                &findings);
    *report = (cte_store_report){
        .blobs = findings.blobs,
        .bytes_read = findings.bytes_read,
        .blobs_damaged = findings.blobs_damaged,
        .pages_used = findings.pages_used,
        .pages_doubly = findings.pages_doubly,
        .journal_records = findings.records,
        .journal_damaged = findings.places_damaged,
        .bytes_lost = findings.bytes_lost,
        .exact = true,
        .checksums = true,
    };
    return status;
}

bool cte_store_report_is_damage(const cte_store_report *report)
{
    bool accounts =
        report->pages_doubly > 0 || report->pages_unowned > 0 || report->units_unowned > 0;
    return report->blobs_damaged > 0 || report->journal_damaged > 0 || (report->exact && accounts);
}
