/* SPDX-License-Identifier: BSD-3-Clause */
/* Scrubbing: every stored byte against its checksum, the metadata against itself, the journal. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cte/scrub.h>
#include <cte/store.h>

#include "base/log.h"
#include "blob/verify.h"
#include "file/walk.h"
#include "store/journal_model.h"
#include "store/store_internal.h"

enum { TEXT_BYTES = 2 * PATH_MAX + 512 };

struct scrub {
    cte_client *client;
    struct cte__store *store;
    cte_scrub_options options;
    cte_scrub_report *report;
    char *buffer;                  /* CTE__VERIFY_BYTES */
    uint64_t start_ns, used_bytes; /* when it began, what was in use then */
    /* Of the blob that was visited last: */
    struct cte__verified verified;
    cte_status blob_status; /* why it could not be looked at */
    uint64_t healed;        /* bytes of it */
    bool has_copy;          /* the real file is where it was */
};

/* ---- telling -------------------------------------------------------------------------------- */

static const char *outcome_text(cte_scrub_outcome outcome)
{
    switch (outcome) {
    case CTE_SCRUB_NO_COPY:
        return "there is no other copy";
    case CTE_SCRUB_REPAIRABLE:
        return "can be repaired";
    case CTE_SCRUB_REPAIRED:
        return "repaired";
    case CTE_SCRUB_NOT_REPAIRED:
        break;
    }
    return "the repair failed";
}

static cte_status tell(struct scrub *scrub, const cte_scrub_finding *finding)
{
    scrub->report->findings++;
    scrub->report->unrepaired += finding->outcome != CTE_SCRUB_REPAIRED;
    if (finding->kind == CTE_SCRUB_DATA) {
        scrub->report->bytes_damaged += finding->length;
        if (finding->outcome == CTE_SCRUB_REPAIRED)
            scrub->report->bytes_repaired += finding->length;
    }
    return scrub->options.found ? scrub->options.found(scrub->options.context, finding) : CTE_OK;
}

static cte_status tell_words(struct scrub *scrub, cte_scrub_finding finding, const char *format,
                             ...) __attribute__((format(printf, 3, 4)));

static cte_status tell_words(struct scrub *scrub, cte_scrub_finding finding, const char *format,
                             ...)
{
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof text)
        snprintf(text + n, sizeof text - (size_t)n, ": %s; %s", cte_status_string(finding.status),
                 outcome_text(finding.outcome));
    finding.text = text;
    return tell(scrub, &finding);
}

/* ---- data ----------------------------------------------------------------------------------- */

/* True if the real file is the one that the store's data is of. */
static bool real_file_is_there(const struct cte__walked *blob)
{
    struct stat st;
    return !blob->name && stat(blob->owner, &st) == 0 && (uint64_t)st.st_dev == blob->device &&
           (uint64_t)st.st_ino == blob->inode;
}

static bool any_clean(const struct cte__verified *verified)
{
    bool any = false;
    for (size_t i = 0; i < verified->bad_count; i++)
        any = any || verified->bad[i].clean;
    return any;
}

static cte_status visit(void *context, const struct cte__walked *blob)
{
    struct scrub *scrub = context;
    scrub->healed = 0;
    scrub->has_copy = false;
    cte_status status = cte__blob_verify(scrub->store, &blob->key, scrub->buffer, &scrub->verified);
    if (status == -ENOMEM || status == -EUSERS)
        return status;
    scrub->blob_status = status;
    if (status != CTE_OK || !any_clean(&scrub->verified))
        return CTE_OK;
    scrub->has_copy = real_file_is_there(blob);
    if (!scrub->has_copy || !scrub->options.repair)
        return CTE_OK;
    scrub->blob_status = cte__chunk_heal(scrub->store, &blob->key, &scrub->healed);
    return CTE_OK;
}

static cte_scrub_outcome outcome_of(const struct scrub *scrub, const struct cte__bad_bytes *bad)
{
    if (!bad->clean || !scrub->has_copy)
        return CTE_SCRUB_NO_COPY;
    if (!scrub->options.repair)
        return CTE_SCRUB_REPAIRABLE;
    return scrub->blob_status == CTE_OK && scrub->healed > 0 ? CTE_SCRUB_REPAIRED
                                                             : CTE_SCRUB_NOT_REPAIRED;
}

static cte_status tell_bytes(struct scrub *scrub, const struct cte__walked *blob,
                             const struct cte__bad_bytes *bad)
{
    const struct cte__store_header *header = scrub->store->header;
    cte_scrub_finding finding = {.kind = CTE_SCRUB_DATA,
                                 .file = blob->name ? NULL : blob->owner,
                                 .tag = blob->name ? blob->owner : NULL,
                                 .blob = blob->name,
                                 .offset = blob->file_offset + bad->offset,
                                 .length = bad->length,
                                 .status = bad->status,
                                 .outcome = outcome_of(scrub, bad)};
    if (!bad->small) {
        const struct cte__target_record *target = &header->targets[cte__page_target(bad->page)];
        finding.target = target->path[0] ? target->path : target->label;
        finding.target_offset = cte__pages_to_bytes(cte__page_number(bad->page));
    }
    return tell_words(
        scrub, finding, "%s %s%s%s: bytes %llu to %llu, in %s at %llu", blob->name ? "tag" : "file",
        blob->owner, blob->name ? ", blob " : "", blob->name ? blob->name : "",
        (unsigned long long)finding.offset, (unsigned long long)(finding.offset + bad->length - 1),
        finding.target ? finding.target : "the segment", (unsigned long long)finding.target_offset);
}

static cte_status tell_blob(struct scrub *scrub, const struct cte__walked *blob)
{
    cte_scrub_finding finding = {.kind = CTE_SCRUB_METADATA,
                                 .file = blob->name ? NULL : blob->owner,
                                 .tag = blob->name ? blob->owner : NULL,
                                 .blob = blob->name,
                                 .offset = blob->file_offset,
                                 .status = scrub->blob_status};
    return tell_words(scrub, finding, "%s %s%s%s: what lies from byte %llu on is not known",
                      blob->name ? "tag" : "file", blob->owner, blob->name ? ", blob " : "",
                      blob->name ? blob->name : "", (unsigned long long)blob->file_offset);
}

/* Sleeps as long as the reading is ahead of its rate. */
static void keep_rate(const struct scrub *scrub)
{
    uint64_t rate = scrub->options.bytes_per_s_max, elapsed = cte__monotonic_ns() - scrub->start_ns;
    if (rate == 0)
        return;
    double due = (double)scrub->report->bytes_read / (double)rate * 1e9;
    if (due <= (double)elapsed)
        return;
    uint64_t left = (uint64_t)due - elapsed;
    struct timespec nap = {(time_t)(left / 1000000000), (long)(left % 1000000000)};
    nanosleep(&nap, NULL); /* cut short by a signal: the next piece sleeps longer */
}

static cte_status after(void *context, const struct cte__walked *blob)
{
    struct scrub *scrub = context;
    cte_status status = CTE_OK;
    if (scrub->blob_status == CTE_ERR_NOT_FOUND)
        return CTE_OK; /* its tag was deleted meanwhile */
    scrub->report->blobs += scrub->verified.there;
    scrub->report->bytes_read += scrub->verified.bytes_read;
    for (size_t i = 0; i < scrub->verified.bad_count && status == CTE_OK; i++)
        status = tell_bytes(scrub, blob, &scrub->verified.bad[i]);
    if (scrub->blob_status != CTE_OK && scrub->verified.bad_count == 0 && status == CTE_OK)
        status = tell_blob(scrub, blob);
    cte__verified_free(&scrub->verified);
    if (scrub->options.progress)
        scrub->options.progress(scrub->options.context, scrub->report->bytes_read,
                                cte__max(scrub->used_bytes, scrub->report->bytes_read));
    keep_rate(scrub);
    return status;
}

/* ---- metadata ------------------------------------------------------------------------------- */

/* Free space is accounted for only while nobody changes it. */
static cte_status scrub_accounts(struct scrub *scrub)
{
    struct cte__store_audit audit;
    uint32_t others;
    cte_status status = cte_store_processes(scrub->client, NULL, 0, &others);
    if (status == CTE_OK)
        status = cte__store_audit(scrub->store, &audit);
    if (status != CTE_OK)
        return status;
    scrub->report->exact = others == 0;
    scrub->used_bytes = cte__pages_to_bytes(audit.pages_referenced);
    cte_scrub_finding finding = {.kind = CTE_SCRUB_METADATA, .status = CTE_ERR_STORE_CORRUPT};
    if (!scrub->report->exact)
        return CTE_OK;
    if (audit.pages_doubly > 0)
        status = tell_words(scrub, finding, "the segment: %llu pages belong to two blobs",
                            (unsigned long long)audit.pages_doubly);
    if (status == CTE_OK && audit.pages_unowned > 0)
        status = tell_words(scrub, finding, "the segment: %llu pages in use count as free",
                            (unsigned long long)audit.pages_unowned);
    if (status == CTE_OK && audit.units_unowned > 0)
        status =
            tell_words(scrub, finding, "the segment: %llu pieces of metadata in use count as free",
                       (unsigned long long)audit.units_unowned);
    return status;
}

/* ---- the journal ---------------------------------------------------------------------------- */

/* Others append while this reads: what looks torn then may only be new. */
static cte_status read_journal(struct scrub *scrub, struct cte__journal_tell *said)
{
    enum { JOURNAL_TRIES = 8 };
    const struct cte__journal_state *journal = &scrub->store->header->journal;
    cte_status status = CTE_OK;
    for (int i = 0; i < JOURNAL_TRIES; i++) {
        uint64_t generation = atomic_load(&journal->generation);
        uint64_t bytes = atomic_load(&journal->bytes);
        struct cte__model *model = NULL;
        said->count = 0;
        status = cte__model_load(journal->path, cte__store_id(scrub->store), said, &model);
        cte__model_free(model);
        bool still = generation == atomic_load(&journal->generation) &&
                     bytes == atomic_load(&journal->bytes);
        if ((status == CTE_OK && said->count == 0) || still)
            break;
    }
    return status;
}

static void note_last(void *context, const char *text)
{
    snprintf(context, TEXT_BYTES, "%s", text);
}

/* All that the journal holds is in the segment too: a damaged one is written anew. */
static cte_status scrub_journal(struct scrub *scrub)
{
    char text[TEXT_BYTES] = "";
    struct cte__journal_tell said = {.say = note_last, .context = text};
    if (!cte__journal_on(scrub->store) || atomic_load(&scrub->store->header->journal.broken))
        return CTE_OK; /* a broken one is said by whoever broke it, and tried again */
    cte_status status = read_journal(scrub, &said);
    if (status == -ENOMEM)
        return status;
    if (status == CTE_OK && said.count == 0)
        return CTE_OK;
    cte_scrub_finding finding = {.kind = CTE_SCRUB_JOURNAL,
                                 .status = status == CTE_OK ? CTE_ERR_CHECKSUM : status,
                                 .outcome = CTE_SCRUB_REPAIRABLE};
    if (scrub->options.repair)
        finding.outcome = cte__journal_renew(scrub->store) == CTE_OK ? CTE_SCRUB_REPAIRED
                                                                     : CTE_SCRUB_NOT_REPAIRED;
    return tell_words(scrub, finding, "%s", text[0] ? text : scrub->store->header->journal.path);
}

/* ---- all ------------------------------------------------------------------------------------ */

static cte_scrub_options options_of(const cte_scrub_options *given)
{
    cte_scrub_options options = CTE_SCRUB_OPTIONS_INIT;
    if (given)
        memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
    return options;
}

cte_status cte_store_scrub(cte_client *client, const cte_scrub_options *given,
                           cte_scrub_report *report)
{
    struct scrub scrub = {.client = client,
                          .store = client->store,
                          .options = options_of(given),
                          .report = report,
                          .start_ns = cte__monotonic_ns()};
    struct cte__walk walk = {.visit = visit, .after = after, .context = &scrub};
    *report = (cte_scrub_report){.checksums = client->store->checksum};
    if (posix_memalign((void **)&scrub.buffer, CTE__PAGE_BYTES, CTE__VERIFY_BYTES) != 0)
        return -ENOMEM;
    cte__store_sweep_if_wanted(client->store);
    cte_status status = scrub_accounts(&scrub);
    if (status == CTE_OK)
        status = scrub_journal(&scrub);
    if (status == CTE_OK)
        status = cte__walk_blobs(client, &walk);
    cte__verified_free(&scrub.verified);
    free(scrub.buffer);
    return status;
}
