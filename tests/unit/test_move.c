/* SPDX-License-Identifier: BSD-3-Clause */
/* Moving blobs between targets: their bytes stay, others go on, and nothing leaks. */
#include "store_helpers.h"

#include <errno.h>
#include <pthread.h>

#include "blob/move.h"
#include "file/tracked.h"

enum { PAGE = 4096, RAM = 0, FILE_TARGET = 1, BYTES = 300 << 10 };

struct fixture {
    char directory[256];
    cte_config *config;
    struct cte__store *store;
    struct cte__user_tag tag;
    cte__unit file;
};

static const uint64_t chunk_number = 3;

static struct fixture fixture_make(unsigned ram_mib, unsigned file_mib)
{
    static const struct cte__tag_key file_key = {"file", 4, CTE__ENTRY_FILE, "/file", 0};
    struct fixture f = {0};
    bool created;
    test_directory(f.directory, sizeof f.directory);
    f.config = test_config(f.directory, ram_mib, file_mib, "");
    assert_int_equal(cte__store_attach(f.config, &f.store), CTE_OK);
    assert_string_equal(f.store->header->targets[RAM].kind, "ram");
    assert_int_equal(cte__user_tag_find(f.store, "tag", 3, CTE__USER_TAG_CREATE, &f.tag), CTE_OK);
    assert_int_equal(
        cte__tag_find(f.store, &file_key, true, cte__store_self(f.store), &f.file, &created),
        CTE_OK);
    return f;
}

static void fixture_free(struct fixture *f)
{
    test_audit(f->store);
    cte__store_detach(f->store);
    cte_config_free(f->config);
    test_remove_directory(f->directory);
}

static struct cte__blob_key blob_key(const struct fixture *f, const char *name)
{
    return (struct cte__blob_key){.tag = f->tag.unit,
                                  .type = CTE__ENTRY_BLOB,
                                  .name = name,
                                  .name_bytes = (uint32_t)strlen(name),
                                  .tag_id = f->tag.id};
}

static void fill(unsigned char *bytes, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(test_random(&seed) >> 9);
}

static cte_status put(struct fixture *f, struct cte__blob_key key, uint64_t offset,
                      const void *bytes, size_t size, float score)
{
    struct cte__piece piece = {offset, size, (char *)bytes};
    return cte__blob_put(f->store, &key, &piece, 1, score, false);
}

static void expect(struct fixture *f, struct cte__blob_key key, const unsigned char *bytes,
                   size_t size)
{
    static unsigned char memory[BYTES];
    struct cte__piece piece = {0, size, (char *)memory};
    uint64_t size_bytes;
    assert_int_equal(cte__blob_get(f->store, &key, &piece, 1, NULL, &size_bytes), CTE_OK);
    assert_int_equal(size_bytes, size);
    assert_memory_equal(memory, bytes, size);
}

static struct cte__move_result move(struct fixture *f, struct cte__blob_key key, float score,
                                    uint32_t avoid)
{
    struct cte__move request = {.score = score, .avoid = avoid};
    struct cte__move_result result;
    assert_int_equal(cte__blob_move(f->store, &key, &request, &result), CTE_OK);
    test_audit(f->store);
    return result;
}

static void test_follows_the_score(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 4);
    static unsigned char bytes[BYTES];
    struct cte__blob_key key = blob_key(&f, "blob");
    fill(bytes, sizeof bytes, 1);
    assert_int_equal(put(&f, key, 0, bytes, sizeof bytes, 1.0f), CTE_OK);
    struct cte__move_result result = move(&f, key, 0.0f, 0);
    assert_int_equal(result.pages_moved, BYTES / PAGE);
    assert_int_equal(result.pages[FILE_TARGET], BYTES / PAGE);
    assert_int_equal(result.pages[RAM], 0);
    assert_true(result.score == 0.0f);
    assert_int_equal(result.size_bytes, BYTES);
    expect(&f, key, bytes, sizeof bytes);
    /* It lies there already: nothing moves, the score is set. */
    result = move(&f, key, 0.01f, 0);
    assert_int_equal(result.pages_moved, 0);
    assert_true(result.score == 0.01f);
    result = move(&f, key, 1.0f, 0);
    assert_int_equal(result.pages[RAM], BYTES / PAGE);
    expect(&f, key, bytes, sizeof bytes);
    struct cte__blob_key none = blob_key(&f, "none");
    struct cte__move request = {.score = 0.5f};
    assert_int_equal(cte__blob_move(f.store, &none, &request, NULL), CTE_ERR_NOT_FOUND);
    fixture_free(&f);
}

static void test_avoids_a_target_or_refuses(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 2);
    static unsigned char bytes[BYTES];
    static unsigned char filler[5 << 19];
    struct cte__blob_key key = blob_key(&f, "blob"), full = blob_key(&f, "full");
    fill(bytes, sizeof bytes, 2);
    assert_int_equal(put(&f, key, 0, bytes, sizeof bytes, 0.5f), CTE_OK);
    move(&f, key, -1.0f, 1u << FILE_TARGET);
    struct cte__move_result result = move(&f, key, -1.0f, 1u << RAM);
    assert_int_equal(result.pages[RAM], 0);
    assert_int_equal(result.pages[FILE_TARGET], BYTES / PAGE);
    assert_true(result.score == 0.5f);
    result = move(&f, key, -1.0f, 1u << FILE_TARGET);
    assert_int_equal(result.pages[FILE_TARGET], 0);
    expect(&f, key, bytes, sizeof bytes);
    /* 2.5 MiB do not fit into what the file target has. */
    assert_int_equal(put(&f, full, 0, filler, sizeof filler, 1.0f), CTE_OK);
    struct cte__move request = {.score = 0.9f, .avoid = 1u << RAM};
    assert_int_equal(cte__blob_move(f.store, &full, &request, NULL), -ENOSPC);
    test_audit(f.store);
    result = move(&f, full, -1.0f, 0);
    assert_true(result.score == 1.0f);
    assert_int_equal(result.pages_moved, 0);
    /* Both targets at once leave nowhere to go. */
    request.avoid = 3;
    assert_int_equal(cte__blob_move(f.store, &key, &request, NULL), -ENOSPC);
    expect(&f, key, bytes, sizeof bytes);
    fixture_free(&f);
}

static void test_spans_and_holes(void **state)
{
    (void)state;
    struct fixture f = fixture_make(1, 4);
    static unsigned char bytes[BYTES], filler[900 << 10];
    struct cte__blob_key key = blob_key(&f, "blob"), other = blob_key(&f, "other");
    unsigned char *large = calloc(2 << 20, 1);
    fill(bytes, 10000, 3);
    assert_int_equal(put(&f, key, 0, bytes, 10000, 0.3f), CTE_OK);
    fill(bytes + 200000, 777, 4);
    assert_int_equal(put(&f, key, 200000, bytes + 200000, 777, 0.3f), CTE_OK);
    for (int i = 0; i < 3; i++) {
        move(&f, key, -1.0f, 1u << (i % 2));
        expect(&f, key, bytes, 200777);
    }
    /* What does not fit whole where it should be stays whole where it is. */
    assert_int_equal(put(&f, other, 0, filler, sizeof filler, 1.0f), CTE_OK);
    struct cte__blob_key big = blob_key(&f, "big");
    assert_int_equal(put(&f, big, 0, large, 2 << 20, 1.0f), CTE_OK);
    struct cte__move_result result = move(&f, big, 1.0f, 0);
    assert_int_equal(result.pages_moved, 0);
    assert_int_equal(result.pages[FILE_TARGET], 512);
    free(large);
    fixture_free(&f);
}

static void test_only_up(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 4);
    static unsigned char bytes[BYTES];
    struct cte__blob_key key = blob_key(&f, "blob");
    struct cte__move up = {.score = -1.0f, .only_up = true};
    struct cte__move_result result;
    assert_int_equal(put(&f, key, 0, bytes, sizeof bytes, 1.0f), CTE_OK);
    move(&f, key, -1.0f, 1u << RAM);
    up.pages_max = BYTES / PAGE - 1;
    assert_int_equal(cte__blob_move(f.store, &key, &up, &result), CTE_OK);
    assert_int_equal(result.pages_moved, 0);
    up.pages_max++;
    assert_int_equal(cte__blob_move(f.store, &key, &up, &result), CTE_OK);
    assert_int_equal(result.pages[RAM], BYTES / PAGE);
    up.score = 0.0f;
    assert_int_equal(cte__blob_move(f.store, &key, &up, &result), CTE_OK);
    assert_int_equal(result.pages[RAM], BYTES / PAGE);
    fixture_free(&f);
}

/* Dirty, clean and partly valid pages of a file's chunk keep their state. */
static void test_chunks_keep_what_is_dirty(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 4);
    struct cte__blob_key key = cte__chunk_key(f.file, &chunk_number);
    static unsigned char bytes[BYTES], memory[BYTES];
    struct cte__snapshot snapshot, after;
    fill(bytes, sizeof bytes, 5);
    assert_int_equal(put(&f, key, 0, bytes, 20000, 1.0f), CTE_OK);
    assert_int_equal(cte__blob_snapshot(f.store, &key, &snapshot), CTE_OK);
    assert_int_equal(cte__blob_mark_clean(f.store, &key, &snapshot), CTE_OK);
    cte__snapshot_free(&snapshot);
    assert_int_equal(put(&f, key, 100, bytes + 100, 50, 1.0f), CTE_OK);
    assert_int_equal(put(&f, key, 40000, bytes + 40000, 100, 1.0f), CTE_OK);
    assert_int_equal(put(&f, key, 40300, bytes + 40300, 100, 1.0f), CTE_OK);
    assert_int_equal(cte__blob_snapshot(f.store, &key, &snapshot), CTE_OK);
    struct cte__move_result result = move(&f, key, 0.0f, 0);
    assert_true(result.pages_moved > 0);
    assert_int_equal(result.pages[RAM], 0);
    assert_int_equal(cte__blob_snapshot(f.store, &key, &after), CTE_OK);
    assert_int_equal(after.size_bytes, snapshot.size_bytes);
    for (uint64_t page = 0; page < 10; page++) {
        size_t a = cte__span_find(&snapshot.list, page), b = cte__span_find(&after.list, page);
        bool there = a < snapshot.list.count && snapshot.list.spans[a].index <= page;
        assert_int_equal(there, b < after.list.count && after.list.spans[b].index <= page);
        if (there)
            assert_int_equal(cte__span_is_dirty(&snapshot.list.spans[a]),
                             cte__span_is_dirty(&after.list.spans[b]));
    }
    /* What was drained from before is not taken for what is there now. */
    assert_int_equal(cte__blob_mark_clean(f.store, &key, &snapshot), CTE_OK);
    cte__snapshot_free(&snapshot);
    cte__snapshot_free(&after);
    struct cte__piece pieces[] = {{0, 16384, (char *)memory}, {40000, 400, (char *)memory + 40000}};
    struct cte__piece_list missing = {0};
    assert_int_equal(cte__blob_get(f.store, &key, pieces, 2, &missing, NULL), CTE_OK);
    assert_int_equal(missing.count, 1);
    assert_int_equal(missing.pieces[0].offset, 40100);
    assert_int_equal(missing.pieces[0].length, 200);
    free(missing.pieces);
    assert_memory_equal(memory, bytes, 16384);
    assert_memory_equal(memory + 40000, bytes + 40000, 100);
    assert_memory_equal(memory + 40300, bytes + 40300, 100);
    assert_int_equal(cte__blob_remove(f.store, &key), CTE_OK);
    fixture_free(&f);
}

static void test_damage_is_not_copied(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 4);
    static unsigned char bytes[BYTES];
    struct cte__blob_key key = blob_key(&f, "blob");
    struct cte__snapshot snapshot;
    char garbage[PAGE];
    assert_int_equal(put(&f, key, 0, bytes, sizeof bytes, 1.0f), CTE_OK);
    assert_int_equal(cte__blob_snapshot(f.store, &key, &snapshot), CTE_OK);
    memset(garbage, 0x5a, sizeof garbage);
    struct iovec iov = {garbage, sizeof garbage};
    assert_int_equal(
        cte__pages_io(f.store, true, snapshot.list.spans[0].page + 3, 0, &iov, 1, PAGE), CTE_OK);
    cte__snapshot_free(&snapshot);
    struct cte__move request = {.score = 0.0f};
    assert_int_equal(cte__blob_move(f.store, &key, &request, NULL), CTE_ERR_CHECKSUM);
    test_audit(f.store);
    struct cte__move_result result = move(&f, key, -1.0f, 0);
    assert_true(result.score == 1.0f);
    assert_int_equal(result.pages[RAM], BYTES / PAGE);
    fixture_free(&f);
}

/* ---- while others read and write ------------------------------------------------------------ */

struct traffic {
    struct fixture *f;
    _Atomic bool stop;
    _Atomic uint64_t gets, puts;
};

enum { VERSION_BYTES = 70000 };

/* Each state of the blob is one byte value all over. */
static void *overwrite(void *context)
{
    struct traffic *traffic = context;
    struct cte__blob_key key = blob_key(traffic->f, "busy");
    static unsigned char bytes[VERSION_BYTES];
    while (!atomic_load(&traffic->stop)) {
        memset(bytes, (int)(atomic_fetch_add(&traffic->puts, 1) & 0xff), sizeof bytes);
        assert_int_equal(put(traffic->f, key, 0, bytes, sizeof bytes, 0.5f), CTE_OK);
    }
    return NULL;
}

static void *reread(void *context)
{
    struct traffic *traffic = context;
    struct cte__blob_key key = blob_key(traffic->f, "busy");
    static unsigned char bytes[VERSION_BYTES];
    while (!atomic_load(&traffic->stop)) {
        struct cte__piece piece = {0, sizeof bytes, (char *)bytes};
        assert_int_equal(cte__blob_get(traffic->f->store, &key, &piece, 1, NULL, NULL), CTE_OK);
        assert_true(memcmp(bytes, bytes + 1, sizeof bytes - 1) == 0);
        atomic_fetch_add(&traffic->gets, 1);
    }
    return NULL;
}

static void test_under_traffic(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 4);
    struct traffic traffic = {.f = &f};
    static unsigned char bytes[VERSION_BYTES];
    struct cte__blob_key key = blob_key(&f, "busy");
    pthread_t writer, reader;
    assert_int_equal(put(&f, key, 0, bytes, sizeof bytes, 0.5f), CTE_OK);
    assert_int_equal(pthread_create(&writer, NULL, overwrite, &traffic), 0);
    assert_int_equal(pthread_create(&reader, NULL, reread, &traffic), 0);
    for (int i = 0; i < 300; i++) {
        struct cte__move request = {.score = -1.0f, .avoid = 1u << (i % 2)};
        struct cte__move_result result;
        assert_int_equal(cte__blob_move(f.store, &key, &request, &result), CTE_OK);
        assert_int_equal(result.pages[i % 2], 0);
        assert_int_equal(result.size_bytes, VERSION_BYTES);
    }
    while (atomic_load(&traffic.gets) < 50 || atomic_load(&traffic.puts) < 50)
        sched_yield();
    atomic_store(&traffic.stop, true);
    assert_int_equal(pthread_join(writer, NULL), 0);
    assert_int_equal(pthread_join(reader, NULL), 0);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follows_the_score),
        cmocka_unit_test(test_avoids_a_target_or_refuses),
        cmocka_unit_test(test_spans_and_holes),
        cmocka_unit_test(test_only_up),
        cmocka_unit_test(test_chunks_keep_what_is_dirty),
        cmocka_unit_test(test_damage_is_not_copied),
        cmocka_unit_test(test_under_traffic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
