/* SPDX-License-Identifier: BSD-3-Clause */
#include "scenarios.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cte/file.h>

#include "blob/append.h"
#include "blob/move.h"
#include "blob/rename.h"
#include "file/tracked.h"

enum { OLD_BYTES = 18000, FILE_BYTES = 20000 };

static const uint64_t chunk_number = 3;

/* Made once, so that a process that is watched instruction by instruction need not make them. */
char *stage_bytes(uint64_t seed)
{
    static char cache[32][SEEN_BYTES];
    static bool made[32];
    assert_true(seed < 32);
    uint64_t state = seed;
    for (size_t i = 0; !made[seed] && i < SEEN_BYTES; i++)
        cache[seed][i] = (char)(test_random(&state) >> 17);
    made[seed] = true;
    return cache[seed];
}

static struct cte__blob_key blob_key(const struct stage *stage)
{
    return (struct cte__blob_key){.tag = stage->blobs.unit,
                                  .type = CTE__ENTRY_BLOB,
                                  .name = "x",
                                  .name_bytes = 1,
                                  .tag_id = stage->blobs.id};
}

static struct cte__blob_key chunk_key(const struct stage *stage)
{
    return cte__chunk_key(stage->chunks, &chunk_number);
}

static cte_status put(struct stage *stage, struct cte__blob_key key, uint64_t offset, size_t length,
                      uint64_t seed, bool replace)
{
    struct cte__piece piece = {offset, length, stage_bytes(seed)};
    return cte__blob_put(stage->store, &key, &piece, 1, 1.0f, replace);
}

static void remove_if_there(struct stage *stage, struct cte__blob_key key)
{
    cte_status status = cte__blob_remove(stage->store, &key);
    assert_true(status == CTE_OK || status == CTE_ERR_NOT_FOUND);
}

static void look_at(struct stage *stage, struct cte__blob_key key, struct seen *seen)
{
    struct cte__piece piece = {0, SEEN_BYTES, (char *)seen->bytes};
    struct cte__piece_list missing = {0};
    bool chunk = key.type == CTE__ENTRY_CHUNK;
    memset(seen, 0, sizeof *seen);
    cte_status status = cte__blob_get(stage->store, &key, &piece, 1, chunk ? &missing : NULL,
                                      chunk ? NULL : &seen->size);
    if (status == CTE_ERR_NOT_FOUND)
        return;
    assert_int_equal(status, CTE_OK);
    seen->exists = true;
    memset(seen->stored, 1, sizeof seen->stored);
    for (size_t i = 0; i < missing.count; i++) {
        memset(seen->stored + missing.pieces[i].offset, 0, missing.pieces[i].length);
        memset(seen->bytes + missing.pieces[i].offset, 0, missing.pieces[i].length);
    }
    free(missing.pieces);
    if (chunk)
        seen->dirty = cte__tracked_is_dirty(stage->store, key.tag);
}

/* ---- blobs ---------------------------------------------------------------------------------- */

static void no_blob(struct stage *stage)
{
    remove_if_there(stage, blob_key(stage));
}

static void old_blob(struct stage *stage)
{
    no_blob(stage);
    assert_int_equal(put(stage, blob_key(stage), 0, OLD_BYTES, 1, false), CTE_OK);
}

static void look_at_blob(struct stage *stage, struct seen *seen)
{
    look_at(stage, blob_key(stage), seen);
}

static cte_status put_new(struct stage *stage)
{
    return put(stage, blob_key(stage), 0, 12288, 2, false);
}

static cte_status put_part(struct stage *stage)
{
    return put(stage, blob_key(stage), 5000, 6000, 3, false);
}

static cte_status put_behind(struct stage *stage)
{
    return put(stage, blob_key(stage), 25000, 1000, 4, false);
}

static cte_status put_all(struct stage *stage)
{
    return put(stage, blob_key(stage), 0, 20480, 5, false);
}

static cte_status replace(struct stage *stage)
{
    return put(stage, blob_key(stage), 0, 4096, 6, true);
}

/* The rest of its last page must not show what was there. */
static cte_status replace_by_part(struct stage *stage)
{
    return put(stage, blob_key(stage), 0, 5000, 6, true);
}

static cte_status remove_blob(struct stage *stage)
{
    struct cte__blob_key key = blob_key(stage);
    return cte__blob_remove(stage->store, &key);
}

static cte_status put_exclusive(struct stage *stage)
{
    struct cte__blob_key key = blob_key(stage);
    struct cte__piece piece = {0, 9000, stage_bytes(7)};
    struct cte__snapshot none;
    cte__snapshot_init(&none);
    return cte__blob_put_expected(stage->store, &key, &piece, 1, 1.0f, false, &none);
}

static cte_status append_to_blob(struct stage *stage)
{
    struct cte__blob_key key = blob_key(stage);
    uint64_t offset;
    return cte__blob_append(stage->store, &key, stage_bytes(8), 7000, 1.0f, 1 << 20, &offset);
}

static cte_status reorganize(struct stage *stage)
{
    struct cte__blob_key key = blob_key(stage);
    struct cte__move move = {.score = 0.0f};
    struct cte__move_result result;
    cte_status status = cte__blob_move(stage->store, &key, &move, &result);
    assert_true(status != CTE_OK || result.pages_moved > 0);
    return status;
}

static cte_status move_off_ram(struct stage *stage)
{
    struct cte__blob_key key = chunk_key(stage);
    struct cte__move move = {.score = -1.0f, .avoid = 1};
    return cte__blob_move(stage->store, &key, &move, NULL);
}

/* ---- names of blobs ------------------------------------------------------------------------- */

enum { FIRST_BYTES = 9000, SECOND_BYTES = 7000, HALF = SEEN_BYTES / 2 };

static struct cte__blob_key other_key(const struct stage *stage)
{
    struct cte__blob_key key = blob_key(stage);
    key.name = "another name";
    key.name_bytes = 12;
    return key;
}

static struct cte__blob_key foreign_key(const struct stage *stage)
{
    struct cte__blob_key key = other_key(stage);
    key.tag = stage->others.unit;
    key.tag_id = stage->others.id;
    return key;
}

static void one_name(struct stage *stage)
{
    no_blob(stage);
    remove_if_there(stage, other_key(stage));
    remove_if_there(stage, foreign_key(stage));
    assert_int_equal(put(stage, blob_key(stage), 0, FIRST_BYTES, 1, false), CTE_OK);
}

static void two_names(struct stage *stage)
{
    one_name(stage);
    assert_int_equal(put(stage, other_key(stage), 0, SECOND_BYTES, 2, false), CTE_OK);
}

static void two_tags(struct stage *stage)
{
    one_name(stage);
    assert_int_equal(put(stage, foreign_key(stage), 0, 300, 2, false), CTE_OK);
}

/* Both names, each in a half of what is seen; lists must agree with the index. */
static void look_at_names(struct stage *stage, struct cte__blob_key other, struct seen *seen)
{
    struct seen old, new;
    look_at(stage, blob_key(stage), &old);
    look_at(stage, other, &new);
    memset(seen, 0, sizeof *seen);
    seen->exists = old.exists;
    seen->dirty = new.exists;
    seen->size = old.size << 32 | new.size;
    memcpy(seen->bytes, old.bytes, HALF);
    memcpy(seen->bytes + HALF, new.bytes, HALF);
}

static void look_at_two_names(struct stage *stage, struct seen *seen)
{
    look_at_names(stage, other_key(stage), seen);
}

static void look_at_two_tags(struct stage *stage, struct seen *seen)
{
    look_at_names(stage, foreign_key(stage), seen);
}

static cte_status rename_blob(struct stage *stage)
{
    struct cte__blob_key from = blob_key(stage), to = other_key(stage);
    return cte__blob_rename(stage->store, &from, &to, true);
}

static cte_status move_to_tag(struct stage *stage)
{
    struct cte__blob_key from = blob_key(stage), to = foreign_key(stage);
    return cte__blob_rename(stage->store, &from, &to, true);
}

/* ---- full targets --------------------------------------------------------------------------- */

enum { PAGES_LEFT = 6 };

static struct cte__blob_key filler_key(const struct stage *stage)
{
    struct cte__blob_key key = blob_key(stage);
    key.name = "filler";
    key.name_bytes = 6;
    return key;
}

static uint64_t free_pages(const struct stage *stage)
{
    uint64_t bytes = 0;
    for (uint32_t t = 0; t < stage->store->header->target_count; t++)
        bytes += cte__target_free_bytes(stage->store, t);
    return bytes / 4096;
}

/* A blob of five pages, six are free: one more copy of it, as all changes need, just fits. */
static void nearly_full(struct stage *stage)
{
    old_blob(stage);
    if (free_pages(stage) == PAGES_LEFT)
        return;
    remove_if_there(stage, filler_key(stage));
    size_t bytes = (size_t)(free_pages(stage) - PAGES_LEFT) * 4096;
    char *memory = calloc(bytes, 1);
    assert_non_null(memory);
    struct cte__blob_key key = filler_key(stage);
    struct cte__piece piece = {0, bytes, memory};
    assert_int_equal(cte__blob_put(stage->store, &key, &piece, 1, 1.0f, false), CTE_OK);
    assert_int_equal(free_pages(stage), PAGES_LEFT);
    free(memory);
}

static cte_status empty_ram(struct stage *stage)
{
    struct cte__blob_key key = blob_key(stage);
    struct cte__move move = {.score = 0.5f, .avoid = 1};
    cte_status status = cte__blob_move(stage->store, &key, &move, NULL);
    return status == -ENOSPC ? CTE_OK : status; /* where it lies is not what is seen */
}

/* ---- chunks --------------------------------------------------------------------------------- */

static void no_chunk(struct stage *stage)
{
    remove_if_there(stage, chunk_key(stage));
}

static void old_chunk(struct stage *stage)
{
    no_chunk(stage);
    assert_int_equal(put(stage, chunk_key(stage), 100, 9000, 11, false), CTE_OK);
    assert_int_equal(put(stage, chunk_key(stage), 12288, 100, 12, false), CTE_OK);
    assert_int_equal(put(stage, chunk_key(stage), 12500, 100, 12, false), CTE_OK);
}

static void old_chunk_with_snapshot(struct stage *stage)
{
    struct cte__blob_key key = chunk_key(stage);
    old_chunk(stage);
    cte__snapshot_free(&stage->snapshot);
    assert_int_equal(cte__blob_snapshot(stage->store, &key, &stage->snapshot), CTE_OK);
}

static void clean_and_dirty_chunk(struct stage *stage)
{
    struct cte__blob_key key = chunk_key(stage);
    old_chunk_with_snapshot(stage);
    assert_int_equal(cte__blob_mark_clean(stage->store, &key, &stage->snapshot), CTE_OK);
    assert_int_equal(put(stage, chunk_key(stage), 5000, 500, 13, false), CTE_OK);
    assert_int_equal(put(stage, chunk_key(stage), 20480, 500, 14, false), CTE_OK);
}

static void look_at_chunk(struct stage *stage, struct seen *seen)
{
    look_at(stage, chunk_key(stage), seen);
}

static cte_status put_runs(struct stage *stage)
{
    char *bytes = stage_bytes(15);
    struct cte__blob_key key = chunk_key(stage);
    struct cte__piece pieces[] = {{10, 20, bytes},
                                  {300, 700, bytes + 20},
                                  {4000, 900, bytes + 720},
                                  {12390, 120, bytes + 1620}};
    return cte__blob_put(stage->store, &key, pieces, 4, 1.0f, false);
}

static cte_status trim_part(struct stage *stage)
{
    struct cte__blob_key key = chunk_key(stage);
    return cte__blob_trim(stage->store, &key, 6000, 12550);
}

static cte_status trim_all(struct stage *stage)
{
    struct cte__blob_key key = chunk_key(stage);
    return cte__blob_trim(stage->store, &key, 0, 1 << 20);
}

static cte_status mark_clean(struct stage *stage)
{
    struct cte__blob_key key = chunk_key(stage);
    return cte__blob_mark_clean(stage->store, &key, &stage->snapshot);
}

static cte_status drop_clean(struct stage *stage)
{
    struct cte__blob_key key = chunk_key(stage);
    return cte__blob_drop_clean(stage->store, &key);
}

/* ---- names ---------------------------------------------------------------------------------- */

static const struct cte__tag_key record_key = {"some file", 9, CTE__ENTRY_FILE, "/some/file", 0};

static cte_status make_record(struct stage *stage)
{
    cte__unit unit;
    bool created;
    return cte__tag_find(stage->store, &record_key, true, 0, &unit, &created);
}

static cte_status remove_record(struct stage *stage)
{
    cte__unit unit;
    bool created;
    uint16_t self = cte__store_self(stage->store);
    cte_status status = cte__tag_find(stage->store, &record_key, false, self, &unit, &created);
    return status == CTE_OK ? cte__file_leave(stage->store, unit, self) : status;
}

static void no_record(struct stage *stage)
{
    cte_status status = remove_record(stage);
    assert_true(status == CTE_OK || status == CTE_ERR_NOT_FOUND);
}

static void with_record(struct stage *stage)
{
    assert_int_equal(make_record(stage), CTE_OK);
}

static void look_for_record(struct stage *stage, struct seen *seen)
{
    cte__unit unit;
    bool created;
    memset(seen, 0, sizeof *seen);
    cte_status status = cte__tag_find(stage->store, &record_key, false, 0, &unit, &created);
    assert_true(status == CTE_OK || status == CTE_ERR_NOT_FOUND);
    seen->exists = status == CTE_OK;
}

static cte_status make_tag(struct stage *stage)
{
    struct cte__user_tag tag;
    return cte__user_tag_find(stage->store, "tag", 3, CTE__USER_TAG_CREATE, &tag);
}

static cte_status remove_tag(struct stage *stage, const char *name)
{
    struct cte__user_tag tag;
    uint32_t bytes = (uint32_t)strlen(name);
    cte_status status = cte__user_tag_find(stage->store, name, bytes, CTE__USER_TAG_BURY, &tag);
    if (status != CTE_OK)
        return status;
    cte__shards_pass(stage->store);
    cte__user_tag_forget(stage->store, name, bytes, &tag);
    return CTE_OK;
}

static cte_status delete_tag(struct stage *stage)
{
    return remove_tag(stage, "tag");
}

static void no_tag(struct stage *stage)
{
    cte_status status = delete_tag(stage);
    assert_true(status == CTE_OK || status == CTE_ERR_NOT_FOUND);
}

static void with_tag(struct stage *stage)
{
    no_tag(stage);
    assert_int_equal(make_tag(stage), CTE_OK);
}

static void look_for_tag(struct stage *stage, struct seen *seen)
{
    struct cte__user_tag tag;
    memset(seen, 0, sizeof *seen);
    cte_status status = cte__user_tag_find(stage->store, "tag", 3, CTE__USER_TAG_OPEN, &tag);
    assert_true(status == CTE_OK || status == CTE_ERR_NOT_FOUND);
    /* One whose deletion was begun is gone: whoever meets it ends the deletion. */
    seen->exists = status == CTE_OK && !tag.dead;
}

/* ---- files ---------------------------------------------------------------------------------- */

static cte_status open_file(struct stage *stage, int flags, cte_file_drain_policy drain,
                            cte_file **file)
{
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    options.drain = drain;
    return cte_file_open(stage->client, stage->path, flags, 0644, &options, file);
}

static cte_status write_file(cte_file *file, uint64_t offset, size_t length, uint64_t seed)
{
    cte_file_segment segment = {offset, length, stage_bytes(seed)};
    return cte_file_write(file, &segment, 1);
}

static void make_file(struct stage *stage, cte_file_drain_policy drain)
{
    cte_file *file;
    assert_int_equal(open_file(stage, O_RDWR | O_CREAT | O_TRUNC, CTE_FILE_DRAIN_ON_CLOSE, &file),
                     CTE_OK);
    assert_true(cte_file_is_tracked(file));
    assert_int_equal(write_file(file, 0, FILE_BYTES, 21), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(open_file(stage, O_RDWR, drain, &file), CTE_OK);
    assert_int_equal(write_file(file, 3000, 2000, 22), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
}

static void drained_file(struct stage *stage)
{
    make_file(stage, CTE_FILE_DRAIN_ON_CLOSE);
}

static void undrained_file(struct stage *stage)
{
    make_file(stage, CTE_FILE_DRAIN_NEVER);
}

/* What the real file is once everything is drained. */
static void look_at_file(struct stage *stage, struct seen *seen)
{
    cte_file *file;
    struct stat st;
    memset(seen, 0, sizeof *seen);
    assert_int_equal(open_file(stage, O_RDWR, CTE_FILE_DRAIN_ON_CLOSE, &file), CTE_OK);
    assert_int_equal(cte_file_drain(file), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    int fd = open(stage->path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_size <= SEEN_BYTES);
    seen->exists = true;
    seen->size = (uint64_t)st.st_size;
    assert_int_equal(pread(fd, seen->bytes, sizeof seen->bytes, 0), st.st_size);
    close(fd);
}

/* Opens the file, changes it, closes it. */
static cte_status on_file(struct stage *stage, cte_status (*change)(cte_file *file))
{
    cte_file *file;
    cte_status status = open_file(stage, O_RDWR, CTE_FILE_DRAIN_ON_CLOSE, &file);
    if (status != CTE_OK)
        return status;
    status = change(file);
    cte_status closed = cte_file_close(file);
    return status != CTE_OK ? status : closed;
}

static cte_status overwrite(cte_file *file)
{
    return write_file(file, 1000, 9000, 23);
}

static cte_status append(cte_file *file)
{
    return write_file(file, FILE_BYTES, 3000, 24);
}

static cte_status cut(cte_file *file)
{
    return cte_file_truncate(file, 4000);
}

static cte_status overwrite_file(struct stage *stage)
{
    return on_file(stage, overwrite);
}

static cte_status append_to_file(struct stage *stage)
{
    return on_file(stage, append);
}

static cte_status cut_file(struct stage *stage)
{
    return on_file(stage, cut);
}

static cte_status drain_file(struct stage *stage)
{
    return on_file(stage, cte_file_drain);
}

const struct scenario scenarios[] = {
    {"put of a new blob", no_blob, put_new, look_at_blob, false},
    {"put of a part", old_blob, put_part, look_at_blob, false},
    {"put behind the end", old_blob, put_behind, look_at_blob, false},
    {"put over everything", old_blob, put_all, look_at_blob, false},
    {"replace", old_blob, replace, look_at_blob, false},
    {"replace by a part of a page", old_blob, replace_by_part, look_at_blob, false},
    {"remove", old_blob, remove_blob, look_at_blob, false},
    {"put if absent", no_blob, put_exclusive, look_at_blob, false},
    {"append", old_blob, append_to_blob, look_at_blob, false},
    {"append to none", no_blob, append_to_blob, look_at_blob, false},
    {"reorganize", old_blob, reorganize, look_at_blob, false},
    {"rename", one_name, rename_blob, look_at_two_names, false},
    {"rename over another", two_names, rename_blob, look_at_two_names, false},
    {"move to another tag", one_name, move_to_tag, look_at_two_tags, false},
    {"move over another", two_tags, move_to_tag, look_at_two_tags, false},
    {"chunk moved off a target", old_chunk, move_off_ram, look_at_chunk, false},
    {"put of a new chunk", no_chunk, put_runs, look_at_chunk, false},
    {"put of runs", old_chunk, put_runs, look_at_chunk, false},
    {"trim of a part", old_chunk, trim_part, look_at_chunk, false},
    {"trim of all", old_chunk, trim_all, look_at_chunk, false},
    {"mark clean", old_chunk_with_snapshot, mark_clean, look_at_chunk, false},
    {"drop clean", clean_and_dirty_chunk, drop_clean, look_at_chunk, false},
    {"record made", no_record, make_record, look_for_record, false},
    {"record removed", with_record, remove_record, look_for_record, false},
    {"tag made", no_tag, make_tag, look_for_tag, false},
    {"tag deleted", with_tag, delete_tag, look_for_tag, false},
    {"file overwritten", undrained_file, overwrite_file, look_at_file, true},
    {"clean file overwritten", drained_file, overwrite_file, look_at_file, true},
    {"file grown", undrained_file, append_to_file, look_at_file, true},
    {"file cut", undrained_file, cut_file, look_at_file, true},
    {"file drained", undrained_file, drain_file, look_at_file, true},
    {"overwrite in a nearly full store", nearly_full, put_all, look_at_blob, false},
    {"put of a part in a nearly full store", nearly_full, put_part, look_at_blob, false},
    {"move in a nearly full store", nearly_full, empty_ram, look_at_blob, false},
};
const size_t scenario_count = sizeof scenarios / sizeof scenarios[0];

/* ---- the stage ------------------------------------------------------------------------------ */

void stage_open(struct stage *stage, const char *more)
{
    static const struct cte__tag_key chunks = {"chunks", 6, CTE__ENTRY_FILE, "/chunks", 0};
    bool created;
    memset(stage, 0, sizeof *stage);
    test_directory(stage->directory, sizeof stage->directory);
    snprintf(stage->path, sizeof stage->path, "%s/data", stage->directory);
    stage->config = test_config(stage->directory, 1, 1, more);
    assert_int_equal(cte_client_open(stage->config, &stage->client), CTE_OK);
    stage->store = stage->client->store;
    assert_int_equal(
        cte__user_tag_find(stage->store, "blobs", 5, CTE__USER_TAG_CREATE, &stage->blobs), CTE_OK);
    assert_int_equal(
        cte__user_tag_find(stage->store, "others", 6, CTE__USER_TAG_CREATE, &stage->others),
        CTE_OK);
    assert_int_equal(cte__tag_find(stage->store, &chunks, true, cte__store_self(stage->store),
                                   &stage->chunks, &created),
                     CTE_OK);
}

void stage_close(struct stage *stage)
{
    char store[300];
    cte__snapshot_free(&stage->snapshot);
    no_blob(stage);
    remove_if_there(stage, other_key(stage));
    remove_if_there(stage, foreign_key(stage));
    remove_if_there(stage, filler_key(stage));
    no_chunk(stage);
    no_record(stage);
    no_tag(stage);
    user_scenarios_end(stage);
    assert_int_equal(cte__file_leave(stage->store, stage->chunks, cte__store_self(stage->store)),
                     CTE_OK);
    assert_int_equal(remove_tag(stage, "blobs"), CTE_OK);
    assert_int_equal(remove_tag(stage, "others"), CTE_OK);
    test_audit(stage->store);
    assert_int_equal(cte_client_close(stage->client), CTE_OK);
    snprintf(store, sizeof store, "%s/cte-%u-test", stage->directory, (unsigned)geteuid());
    assert_int_equal(access(store, F_OK), -1);
    cte_config_free(stage->config);
    test_remove_directory(stage->directory);
}

void stage_check(struct stage *stage)
{
    struct cte__blob_key key = blob_key(stage);
    key.name = "y";
    struct cte__store *newcomer;
    char *out = stage_bytes(31), in[5000];
    cte__store_sweep(stage->store);
    test_audit(stage->store);
    struct cte__piece put_piece = {0, sizeof in, out}, get_piece = {0, sizeof in, in};
    assert_int_equal(cte__blob_put(stage->store, &key, &put_piece, 1, 1.0f, false), CTE_OK);
    if (++stage->checks % 8 != 0) {
        assert_int_equal(cte__blob_get(stage->store, &key, &get_piece, 1, NULL, NULL), CTE_OK);
        assert_memory_equal(in, out, sizeof in);
        assert_int_equal(cte__blob_remove(stage->store, &key), CTE_OK);
        return;
    }
    assert_int_equal(cte__store_attach_existing(stage->config, &newcomer), CTE_OK);
    assert_int_equal(cte__blob_get(newcomer, &key, &get_piece, 1, NULL, NULL), CTE_OK);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(cte__blob_remove(newcomer, &key), CTE_OK);
    test_audit(newcomer);
    cte__store_detach(newcomer);
}
