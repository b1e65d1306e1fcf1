/* SPDX-License-Identifier: BSD-3-Clause */
/* Recovery: drains what the dead left, again where that may help, and says how each file stands. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cte/recover.h>
#include <cte/store.h>

#include "blob/verify.h"
#include "file/drain.h"
#include "file/walk.h"
#include "store/journal_record.h"

enum { REASON_BYTES = 1024, RETRY_DELAY_MS_MAX = 60000 };

/* A file as it was found. */
struct found {
    struct cte__file_identity name;
    char *path;
    uint64_t size_bytes;
    uint64_t lost_bytes, lost_first, lost_end;
    cte_file_mode mode;
    cte_file_drain_policy drain;
    uint32_t flags; /* CTE__FILE_… */
    bool dirty, open;
    bool retained; /* its clean data is to stay (retain.h) */
};

struct recover {
    cte_client *client;
    cte_recover_options options;
    cte_recover_report *report;
    struct found *files;
    size_t count;
};

/* ---- what there is -------------------------------------------------------------------------- */

static bool is_wanted(const struct recover *recover, const char *path)
{
    return !recover->options.path || strcmp(recover->options.path, path) == 0;
}

/* False if it is gone, or not asked for. */
static cte_status look(struct recover *recover, const struct cte__file_identity *name,
                       struct found *file, bool *there)
{
    struct cte__held_file held;
    *there = false;
    cte_status status = cte__file_hold(recover->client, name, &held);
    if (status != CTE_OK)
        return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
    const struct cte__file_state *state = &held.record->file;
    if (is_wanted(recover, held.record->path)) {
        *file = (struct found){.name = *name,
                               .path = strdup(held.record->path),
                               .size_bytes = atomic_load(&state->size_bytes),
                               .lost_bytes = atomic_load(&state->lost_bytes),
                               .lost_first = atomic_load(&state->lost_first),
                               .lost_end = atomic_load(&state->lost_end),
                               .mode = (cte_file_mode)state->mode,
                               .drain = (cte_file_drain_policy)state->drain,
                               .dirty = cte__tracked_is_dirty(recover->client->store, held.tag),
                               .flags = atomic_load(&state->flags),
                               .open = cte__file_is_joined(state),
                               .retained = atomic_load(&state->settled) != 0};
        *there = true;
        status = file->path ? CTE_OK : -ENOMEM;
    }
    cte__file_release(&held);
    return status;
}

static cte_status look_at_all(struct recover *recover)
{
    struct cte__file_names names = {0};
    cte_status status = cte__file_names(recover->client->store, &names);
    if (status == CTE_OK) {
        recover->files = calloc(names.count + 1, sizeof *recover->files);
        status = recover->files ? CTE_OK : -ENOMEM;
    }
    for (size_t i = 0; i < names.count && status == CTE_OK; i++) {
        bool there;
        status = look(recover, &names.names[i], &recover->files[recover->count], &there);
        recover->count += there;
    }
    free(names.names);
    return status;
}

/* ---- draining ------------------------------------------------------------------------------- */

struct outcome {
    cte_recovered *file;
    bool deleted; /* the real file was deleted: what was kept of it is dropped */
};

static cte_status note_drained(void *context, const cte_store_drained *drained)
{
    struct outcome *outcome = context;
    outcome->file->bytes_drained += drained->bytes_drained;
    outcome->deleted = outcome->deleted || drained->deleted;
    return CTE_OK;
}

/* Errors that may pass by themselves: somebody makes room, a server comes back. */
static bool may_pass(cte_status status)
{
    switch (status) {
    case -EIO:
    case -ENOSPC:
    case -EDQUOT:
    case -EAGAIN:
    case -EINTR:
    case -ENOMEM:
    case -ETIMEDOUT:
    case -ENXIO:
    case -EHOSTDOWN:
    case -EHOSTUNREACH:
        return true;
    default:
        return false;
    }
}

static void nap(uint32_t ms)
{
    struct timespec rest = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR)
        ;
}

static cte_status try_to_drain(struct recover *recover, const struct found *found, bool force,
                               struct outcome *outcome)
{
    const struct cte__drain_request request = {
        .path = found->path, .force = force, .durable = true};
    return cte__drain_unopened_each(recover->client, &request, note_drained, outcome);
}

static void drain(struct recover *recover, const struct found *found, struct outcome *outcome)
{
    cte_recovered *file = outcome->file;
    uint32_t delay_ms = recover->options.retry_delay_ms;
    bool force = recover->options.all || recover->options.path;
    do {
        if (file->tries > 0) {
            nap(delay_ms);
            delay_ms = (uint32_t)cte__min((uint64_t)delay_ms * 2, RETRY_DELAY_MS_MAX);
        }
        file->status = try_to_drain(recover, found, force, outcome);
        file->tries++;
    } while (may_pass(file->status) && file->tries < recover->options.tries_max);
}

/* ---- damage --------------------------------------------------------------------------------- */

struct damage {
    struct recover *recover;
    char *buffer; /* CTE__VERIFY_BYTES */
    uint64_t bytes, first, end;
    uint32_t places;
};

static cte_status add_damage(void *context, const struct cte__walked *blob)
{
    struct damage *damage = context;
    struct cte__verified verified;
    cte_status status =
        cte__blob_verify(damage->recover->client->store, &blob->key, damage->buffer, &verified);
    for (size_t i = 0; i < verified.bad_count; i++) {
        const struct cte__bad_bytes *bad = &verified.bad[i];
        if (bad->clean)
            continue;
        if (damage->places++ == 0)
            damage->first = blob->file_offset + bad->offset;
        damage->end = blob->file_offset + bad->offset + bad->length;
        damage->bytes += bad->length;
    }
    cte__verified_free(&verified);
    return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
}

static cte_status find_damage(struct recover *recover, const char *path, struct damage *damage)
{
    struct cte__walk walk = {.visit = add_damage, .context = damage, .path = path};
    *damage = (struct damage){.recover = recover};
    if (posix_memalign((void **)&damage->buffer, CTE__PAGE_BYTES, CTE__VERIFY_BYTES) != 0)
        return -ENOMEM;
    cte_status status = cte__walk_blobs(recover->client, &walk);
    free(damage->buffer);
    return status;
}

/* ---- telling -------------------------------------------------------------------------------- */

static void say_range(char *reason, const char *what, uint64_t bytes, uint64_t first, uint64_t end)
{
    size_t at = strlen(reason);
    snprintf(reason + at, REASON_BYTES - at, "%s%llu bytes between %llu and %llu %s",
             at > 0 ? "; " : "", (unsigned long long)bytes, (unsigned long long)first,
             (unsigned long long)end - 1, what);
}

static void say(char *reason, const char *what)
{
    size_t at = strlen(reason);
    snprintf(reason + at, REASON_BYTES - at, "%s%s", at > 0 ? "; " : "", what);
}

static void explain_failure(struct recover *recover, cte_recovered *file, char *reason)
{
    struct damage damage;
    switch (file->status) {
    case CTE_ERR_CHECKSUM:
        if (find_damage(recover, file->path, &damage) == CTE_OK && damage.bytes > 0) {
            file->bytes_damaged = damage.bytes;
            say_range(reason, "are damaged in the store (`cte scrub` names each place)",
                      damage.bytes, damage.first, damage.end);
            return;
        }
        break;
    case -ESTALE:
        say(reason, "the file was changed by somebody else since; `cte drain PATH` puts the kept "
                    "data over it");
        return;
    case -ENOENT:
    case -ENOTDIR:
        say(reason,
            "the file is not where it was; if it was moved, move it back and recover again; "
            "if it was deleted, `cte drain --drop-missing` gives its data up");
        return;
    default:
        break;
    }
    say(reason, cte_status_string(file->status));
}

/* What is known to be missing even after all that is there was drained. */
static void explain_loss(const struct found *found, cte_recovered *file, char *reason)
{
    if (found->lost_bytes > 0) {
        file->state = CTE_RECOVER_INCOMPLETE;
        file->bytes_lost = found->lost_bytes;
        say_range(reason, "were in memory only when the node went down, and are lost",
                  found->lost_bytes, found->lost_first, found->lost_end);
    }
    if (found->flags & CTE__FILE_DOUBTFUL) {
        file->state = CTE_RECOVER_INCOMPLETE;
        say(reason, "the journal was damaged: bytes may be older than what was written last");
    }
    if (found->flags & CTE__FILE_TORN) {
        file->state = CTE_RECOVER_INCOMPLETE;
        say(reason, "the end of the journal was torn: what was written last may be missing");
    }
    if (found->flags & CTE__FILE_REBOOTED) {
        file->state = CTE_RECOVER_INCOMPLETE;
        say(reason, "what was in memory only when the node went down, and had not been drained, is "
                    "lost; how much that was is not known");
    }
}

static cte_status tell(struct recover *recover, const cte_recovered *file)
{
    recover->report->files++;
    recover->report->complete += file->state == CTE_RECOVER_COMPLETE;
    recover->report->incomplete +=
        file->state == CTE_RECOVER_INCOMPLETE || file->state == CTE_RECOVER_OPEN;
    recover->report->bytes_drained += file->bytes_drained;
    return recover->options.recovered ? recover->options.recovered(recover->options.context, file)
                                      : CTE_OK;
}

/* What was told need not be told again; with it goes a record that nothing else is kept for. */
static cte_status forget_news(struct recover *recover, const struct cte__file_identity *name)
{
    struct cte__held_file held;
    cte_status status = cte__file_hold(recover->client, name, &held);
    if (status != CTE_OK)
        return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
    if (!cte__tracked_is_dirty(recover->client->store, held.tag)) {
        atomic_store(&held.record->file.lost_bytes, 0);
        atomic_fetch_and(&held.record->file.flags, ~(uint32_t)CTE__FILE_NEWS);
    }
    cte__file_release(&held);
    return CTE_OK;
}

/* Who died with a file that was drained could not take its clean data out of the store.  That this
 * fails costs nothing but the space. */
static void forget_clean(struct recover *recover, const struct found *found)
{
    cte_status status = cte_store_drain(recover->client, found->path, true, NULL, NULL);
    (void)status;
}

/* A file that is not to be drained; its data is dropped all the same if it was deleted. */
static void keep(struct recover *recover, const struct found *found, struct outcome *outcome,
                 char *reason, const char *why)
{
    if (!found->open)
        outcome->file->status = try_to_drain(recover, found, false, outcome);
    if (outcome->deleted)
        return;
    outcome->file->state = CTE_RECOVER_KEPT;
    say(reason, why);
}

static cte_status recover_file(struct recover *recover, const struct found *found)
{
    char reason[REASON_BYTES] = "";
    bool named = recover->options.all || recover->options.path;
    cte_recovered file = {.path = found->path, .size_bytes = found->size_bytes, .reason = reason};
    struct outcome outcome = {.file = &file};
    if (found->mode == CTE_FILE_MODE_SCRATCH) {
        keep(recover, found, &outcome, reason, "a scratch file: never drained");
    } else if (found->open && found->dirty) {
        file.state = CTE_RECOVER_OPEN;
        say(reason, "a living process has it open, and drains it");
    } else if (found->dirty && found->drain == CTE_FILE_DRAIN_NEVER && !named) {
        keep(recover, found, &outcome, reason,
             "its drain policy is never; --all or its name drains it");
    } else {
        if (found->dirty)
            drain(recover, found, &outcome);
        else if (!found->open && !found->retained)
            forget_clean(recover, found);
        if (file.status != CTE_OK) {
            file.state = CTE_RECOVER_INCOMPLETE;
            explain_failure(recover, &file, reason);
        }
        if (!outcome.deleted)
            explain_loss(found, &file, reason);
    }
    if (outcome.deleted)
        say(reason, "the file was deleted: what was kept of it is dropped");
    cte_status status = tell(recover, &file);
    if (status == CTE_OK && (found->lost_bytes > 0 || found->flags & CTE__FILE_NEWS))
        status = forget_news(recover, &found->name);
    return status;
}

static cte_recover_options options_of(const cte_recover_options *given)
{
    cte_recover_options options = CTE_RECOVER_OPTIONS_INIT;
    if (given)
        memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
    return options;
}

cte_status cte_store_recover(cte_client *client, const cte_recover_options *given,
                             cte_recover_report *report)
{
    cte_recover_report unused;
    struct recover recover = {
        .client = client, .options = options_of(given), .report = report ? report : &unused};
    *recover.report = (cte_recover_report){0};
    if (cte__store_has_dead(client->store))
        cte__store_sweep(client->store);
    cte_status status = look_at_all(&recover);
    for (size_t i = 0; i < recover.count && status == CTE_OK; i++)
        status = recover_file(&recover, &recover.files[i]);
    for (size_t i = 0; i < recover.count; i++)
        free(recover.files[i].path);
    free(recover.files);
    return status;
}
