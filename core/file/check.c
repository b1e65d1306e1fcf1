/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking a store: every stored byte is read and verified, every page and unit accounted for. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include <cte/store.h>

#include "blob/verify.h"
#include "file/walk.h"
#include "store/journal_check.h"

struct check {
    cte_client *client;
    struct cte__store *store;
    cte_store_report *report;
    cte_status (*visit)(void *context, const char *text);
    void *context;
    char *buffer; /* CTE__VERIFY_BYTES */
    struct cte__verified verified;
    cte_status blob_status; /* of the blob that was visited last */
};

static cte_status check_blob(void *context, const struct cte__walked *blob)
{
    struct check *check = context;
    check->blob_status =
        cte__blob_verify(check->store, &blob->key, check->buffer, &check->verified);
    bool ours = check->blob_status == -ENOMEM || check->blob_status == -EUSERS;
    return ours ? check->blob_status : CTE_OK;
}

/* In words, the first damaged bytes of the blob that was visited last. */
static cte_status tell_blob(void *context, const struct cte__walked *blob)
{
    struct check *check = context;
    const struct cte__bad_bytes *bad =
        check->verified.bad_count > 0 ? &check->verified.bad[0] : NULL;
    cte_status status = bad ? bad->status : check->blob_status;
    char *text = NULL;
    if (check->blob_status == CTE_ERR_NOT_FOUND ||
        (check->blob_status == CTE_OK && !check->verified.there))
        return CTE_OK; /* deleted meanwhile */
    check->report->blobs++;
    check->report->bytes_read += check->verified.bytes_read;
    if (status != CTE_OK) {
        check->report->blobs_damaged++;
        uint64_t start = blob->file_offset + (bad ? bad->offset : 0);
        if (asprintf(&text, "%s %s%s%s: bytes %llu to %llu: %s", blob->name ? "tag" : "file",
                     blob->owner, blob->name ? ", blob " : "", blob->name ? blob->name : "",
                     (unsigned long long)start,
                     (unsigned long long)(start + (bad ? bad->length : 1) - 1),
                     cte_status_string(status)) < 0)
            return -ENOMEM;
    }
    cte__verified_free(&check->verified);
    status = text && check->visit ? check->visit(check->context, text) : CTE_OK;
    free(text);
    return status;
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
    struct check check = {.client = client,
                          .store = client->store,
                          .report = report,
                          .visit = visit,
                          .context = context};
    struct cte__walk walk = {.visit = check_blob, .after = tell_blob, .context = &check};
    *report = (cte_store_report){.checksums = client->store->checksum};
    if (posix_memalign((void **)&check.buffer, CTE__PAGE_BYTES, CTE__VERIFY_BYTES) != 0)
        return -ENOMEM;
    cte__store_sweep_if_wanted(client->store);
    /* The accounts first: looking at a file may be what takes its clean record away. */
    cte_status status = check_accounts(&check);
    if (status == CTE_OK)
        status = cte__walk_blobs(client, &walk);
    cte__verified_free(&check.verified);
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
