/* SPDX-License-Identifier: BSD-3-Clause */
/* Blobs and chunks: what puts leave, and what gets see while others put. */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

#include "blob/change.h"
#include "file/tracked.h"

enum { SPACE = 64 << 10, OPERATIONS = 4000, PAGE = 4096 };

struct fixture {
    char directory[256];
    cte_config *config;
    struct cte__store *store;
    struct cte__user_tag tag;
    cte__unit file;
};

static const uint64_t chunk_number = 7;

static struct fixture fixture_make(unsigned ram_mib, unsigned file_mib, const char *more)
{
    static const struct cte__tag_key file_key = {"file", 4, CTE__ENTRY_FILE, "/file", 0};
    struct fixture f = {0};
    bool created;
    test_directory(f.directory, sizeof f.directory);
    f.config = test_config(f.directory, ram_mib, file_mib, more);
    assert_int_equal(cte__store_attach(f.config, &f.store), CTE_OK);
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

static struct cte__blob_key blob_key(const struct fixture *f)
{
    return (struct cte__blob_key){.tag = f->tag.unit,
                                  .type = CTE__ENTRY_BLOB,
                                  .name = "blob",
                                  .name_bytes = 4,
                                  .tag_id = f->tag.id};
}

static struct cte__blob_key chunk_key(const struct fixture *f)
{
    return cte__chunk_key(f->file, &chunk_number);
}

static void put(struct fixture *f, struct cte__blob_key key, uint64_t offset, const void *bytes,
                size_t length, bool replace)
{
    struct cte__piece piece = {offset, length, (char *)bytes};
    assert_int_equal(cte__blob_put(f->store, &key, &piece, 1, 1.0f, replace), CTE_OK);
}

/* Gets [0, SPACE) of a blob; its size, UINT64_MAX if there is none. */
static uint64_t get_blob(struct fixture *f, unsigned char *bytes)
{
    struct cte__blob_key key = blob_key(f);
    struct cte__piece piece = {0, SPACE, (char *)bytes};
    uint64_t size;
    memset(bytes, 0xee, SPACE);
    cte_status status = cte__blob_get(f->store, &key, &piece, 1, NULL, &size);
    if (status == CTE_ERR_NOT_FOUND)
        return UINT64_MAX;
    assert_int_equal(status, CTE_OK);
    return size;
}

/* ---- meaning -------------------------------------------------------------------------------- */

static void test_gaps_and_ends_are_zeros(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0, "");
    static unsigned char bytes[SPACE];
    assert_int_equal(get_blob(&f, bytes), UINT64_MAX);
    put(&f, blob_key(&f), 10000, "hello", 5, false);
    assert_int_equal(get_blob(&f, bytes), 10005);
    for (size_t i = 0; i < SPACE; i++)
        assert_int_equal(bytes[i], i >= 10000 && i < 10005 ? "hello"[i - 10000] : 0);
    fixture_free(&f);
}

static void test_replace_forgets_the_rest(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0, "");
    static unsigned char bytes[SPACE], old[20000];
    memset(old, 'o', sizeof old);
    put(&f, blob_key(&f), 0, old, sizeof old, false);
    put(&f, blob_key(&f), 0, "new", 3, true);
    assert_int_equal(get_blob(&f, bytes), 3);
    put(&f, blob_key(&f), 5000, "end", 3, false);
    assert_int_equal(get_blob(&f, bytes), 5003);
    assert_memory_equal(bytes, "new", 3);
    for (size_t i = 3; i < 5000; i++)
        assert_int_equal(bytes[i], 0); /* nothing of the old blob shows through */
    struct cte__blob_key key = blob_key(&f);
    assert_int_equal(cte__blob_put(f.store, &key, NULL, 0, 1.0f, true), CTE_OK);
    assert_int_equal(get_blob(&f, bytes), 0);
    assert_int_equal(cte__blob_remove(f.store, &key), CTE_OK);
    assert_int_equal(cte__blob_remove(f.store, &key), CTE_ERR_NOT_FOUND);
    assert_int_equal(get_blob(&f, bytes), UINT64_MAX);
    fixture_free(&f);
}

static void test_full_store_keeps_the_old_blob(void **state)
{
    (void)state;
    struct fixture f = fixture_make(1, 1, "");
    static unsigned char bytes[SPACE];
    size_t large_bytes = 3 << 20;
    char *large = calloc(large_bytes, 1);
    struct cte__blob_key key = blob_key(&f);
    struct cte__piece piece = {0, large_bytes, large};
    put(&f, key, 0, "old", 3, false);
    for (int i = 0; i < 2; i++)
        assert_int_equal(cte__blob_put(f.store, &key, &piece, 1, 1.0f, i == 1), -ENOSPC);
    assert_int_equal(get_blob(&f, bytes), 3);
    assert_memory_equal(bytes, "old", 3);
    test_audit(f.store);
    /* A blob may span the targets, and its space comes back each time it is replaced. */
    piece.length = (1 << 20) + (1 << 19);
    assert_int_equal(cte__blob_remove(f.store, &key), CTE_OK);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(cte__blob_put(f.store, &key, &piece, 1, 1.0f, true), CTE_OK);
        test_audit(f.store);
        assert_int_equal(cte__blob_remove(f.store, &key), CTE_OK);
    }
    free(large);
    fixture_free(&f);
}

/* ---- chunks against a model ----------------------------------------------------------------- */

enum validity { ABSENT, CLEAN, DIRTY };

struct model {
    unsigned char bytes[SPACE];
    unsigned char validity[SPACE];
    bool maybe_dirty; /* what is CLEAN may be dirty in the store */
    uint64_t seed;
};

static void model_put(struct fixture *f, struct model *m)
{
    static unsigned char memory[SPACE];
    struct cte__piece pieces[6];
    size_t count = 0;
    uint64_t at = test_random(&m->seed) % SPACE;
    while (count < 6 && at < SPACE) {
        uint64_t most = test_random(&m->seed) % 3 == 0 ? 12000 : 200;
        uint64_t length = cte__min(1 + test_random(&m->seed) % most, SPACE - at);
        for (uint64_t i = 0; i < length; i++)
            memory[at + i] = m->bytes[at + i] = (unsigned char)test_random(&m->seed);
        memset(m->validity + at, DIRTY, length);
        pieces[count++] = (struct cte__piece){at, length, (char *)memory + at};
        at += length + 1 + test_random(&m->seed) % 3000;
    }
    struct cte__blob_key key = chunk_key(f);
    assert_int_equal(cte__blob_put(f->store, &key, pieces, count, 1.0f, false), CTE_OK);
}

static void model_trim(struct fixture *f, struct model *m)
{
    uint64_t start = test_random(&m->seed) % SPACE;
    uint64_t end = start + test_random(&m->seed) % (SPACE - start + 1);
    struct cte__blob_key key = chunk_key(f);
    memset(m->validity + start, ABSENT, end - start);
    assert_int_equal(cte__blob_trim(f->store, &key, start, end), CTE_OK);
}

static void drop_clean(struct fixture *f, struct model *m)
{
    struct cte__blob_key key = chunk_key(f);
    assert_int_equal(cte__blob_drop_clean(f->store, &key), CTE_OK);
    for (size_t i = 0; i < SPACE; i++)
        if (m->validity[i] == CLEAN && !m->maybe_dirty)
            m->validity[i] = ABSENT;
}

/* A put in between keeps its page dirty, and may keep others of the chunk so. */
static void model_mark_clean(struct fixture *f, struct model *m)
{
    struct cte__blob_key key = chunk_key(f);
    struct cte__snapshot snapshot;
    assert_int_equal(cte__blob_snapshot(f->store, &key, &snapshot), CTE_OK);
    bool disturbed = test_random(&m->seed) % 2 == 0;
    for (size_t i = 0; i < SPACE; i++)
        if (m->validity[i] == DIRTY)
            m->validity[i] = CLEAN;
    if (disturbed)
        model_put(f, m);
    m->maybe_dirty = disturbed;
    assert_int_equal(cte__blob_mark_clean(f->store, &key, &snapshot), CTE_OK);
    cte__snapshot_free(&snapshot);
}

/* What is dirty must be stored with its bytes; what is absent must not be; clean may be either. */
static void model_check(struct fixture *f, struct model *m)
{
    static unsigned char bytes[SPACE], missing_here[SPACE];
    struct cte__blob_key key = chunk_key(f);
    struct cte__piece piece = {0, SPACE, (char *)bytes};
    struct cte__piece_list missing = {0};
    memset(missing_here, 0, sizeof missing_here);
    assert_int_equal(cte__blob_get(f->store, &key, &piece, 1, &missing, NULL), CTE_OK);
    for (size_t i = 0; i < missing.count; i++) {
        assert_ptr_equal(missing.pieces[i].base, bytes + missing.pieces[i].offset);
        memset(missing_here + missing.pieces[i].offset, 1, missing.pieces[i].length);
    }
    free(missing.pieces);
    for (size_t i = 0; i < SPACE; i++) {
        if (missing_here[i] ? m->validity[i] == DIRTY
                            : m->validity[i] == ABSENT || bytes[i] != m->bytes[i])
            fail_msg("byte %zu: state %d, %s", i, m->validity[i],
                     missing_here[i] ? "not stored" : "wrong");
    }
    bool dirty = memchr(m->validity, DIRTY, SPACE) != NULL;
    if (dirty)
        assert_true(cte__tracked_is_dirty(f->store, f->file));
}

static void run_chunk_model(const char *more)
{
    static struct model m;
    struct fixture f = fixture_make(2, 2, more);
    memset(&m, 0, sizeof m);
    m.seed = test_seed();
    for (int i = 0; i < OPERATIONS; i++) {
        unsigned dice = (unsigned)(test_random(&m.seed) % 20);
        if (dice < 14)
            model_put(&f, &m);
        else if (dice < 17)
            model_trim(&f, &m);
        else if (dice < 19)
            model_mark_clean(&f, &m);
        else
            drop_clean(&f, &m);
        if (i % 8 == 0)
            model_check(&f, &m);
        if (i % 200 == 0)
            test_audit(f.store);
    }
    drop_clean(&f, &m);
    model_check(&f, &m);
    struct cte__blob_key key = chunk_key(&f);
    assert_int_equal(cte__blob_trim(f.store, &key, 0, SPACE), CTE_OK);
    assert_false(cte__tracked_is_dirty(f.store, f.file));
    fixture_free(&f);
}

static void test_chunk_model(void **state)
{
    (void)state;
    run_chunk_model("");
}

static void test_chunk_model_without_checksums(void **state)
{
    (void)state;
    run_chunk_model("file: {checksum: false}\n");
}

static void test_undisturbed_chunk_gets_clean(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0, "");
    static unsigned char bytes[20000];
    struct cte__blob_key key = chunk_key(&f);
    struct cte__snapshot snapshot;
    put(&f, key, 100, bytes, sizeof bytes, false);
    assert_int_equal(cte__blob_snapshot(f.store, &key, &snapshot), CTE_OK);
    assert_true(cte__tracked_is_dirty(f.store, f.file));
    assert_int_equal(cte__blob_mark_clean(f.store, &key, &snapshot), CTE_OK);
    assert_false(cte__tracked_is_dirty(f.store, f.file));
    cte__snapshot_free(&snapshot);
    fixture_free(&f);
}

/* ---- damage --------------------------------------------------------------------------------- */

static void flip_a_bit(const struct fixture *f, unsigned char wanted)
{
    char path[PATH_MAX + 32];
    static unsigned char bytes[1 << 20];
    for (unsigned i = 0; i < 16; i++) {
        snprintf(path, sizeof path, "%s/ram.0/arena.%u", f->store->directory, i);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
            continue;
        ssize_t n = pread(fd, bytes, sizeof bytes, 0);
        unsigned char *at = n > 0 ? memchr(bytes, wanted, (size_t)n) : NULL;
        if (at) {
            unsigned char flipped = *at ^ 4;
            assert_int_equal(pwrite(fd, &flipped, 1, at - bytes), 1);
        }
        close(fd);
        if (at)
            return;
    }
    fail_msg("the bytes are not in the target");
}

static void test_damage_is_noticed(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0, "");
    static unsigned char bytes[SPACE], old[12288];
    struct cte__blob_key key = blob_key(&f);
    struct cte__piece piece = {0, sizeof old, (char *)bytes}, part = {100, 50, NULL};
    memset(old, 0xa7, sizeof old);
    put(&f, key, 0, old, sizeof old, false);
    flip_a_bit(&f, 0xa7);
    assert_int_equal(cte__blob_get(f.store, &key, &piece, 1, NULL, NULL), CTE_ERR_CHECKSUM);
    /* A put of a part must not make the damaged rest look sound. */
    static char patch[50];
    part.base = patch;
    cte_status status = cte__blob_put(f.store, &key, &part, 1, 1.0f, false);
    assert_true(status == CTE_OK || status == CTE_ERR_CHECKSUM);
    assert_int_equal(cte__blob_get(f.store, &key, &piece, 1, NULL, NULL), CTE_ERR_CHECKSUM);
    put(&f, key, 0, old, sizeof old, true);
    assert_int_equal(cte__blob_get(f.store, &key, &piece, 1, NULL, NULL), CTE_OK);
    assert_memory_equal(bytes, old, sizeof old);
    fixture_free(&f);
}

/* The same for a small blob, which lies in the segment, and stays there or gets pages. */
static void test_damage_of_small_blobs(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0, "");
    static char bytes[SPACE], old[100], patch[8192];
    struct cte__blob_key key = blob_key(&f);
    struct cte__piece get = {0, sizeof old, bytes};
    struct cte__piece parts[] = {{10, 50, patch}, {200, 10, patch}, {50, sizeof patch, patch}};
    struct cte__locked_blob blob;
    memset(old, 0xa7, sizeof old);
    put(&f, key, 0, old, sizeof old, false);
    assert_int_equal(cte__blob_lock(f.store, &key, &blob), CTE_OK);
    uint64_t location = atomic_load(&cte__entry_at(f.store, blob.entry)->location);
    assert_int_equal(cte__location_kind(location), CTE__AT_SMALL);
    char *small = cte__unit_at(f.store, cte__location_unit(location));
    small[7] ^= 4;
    cte__shard_unlock(blob.shard);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        assert_int_equal(cte__blob_put(f.store, &key, &parts[i], 1, 1.0f, false), CTE_ERR_CHECKSUM);
        assert_int_equal(cte__blob_get(f.store, &key, &get, 1, NULL, NULL), CTE_ERR_CHECKSUM);
    }
    put(&f, key, 0, old, sizeof old, true);
    assert_int_equal(cte__blob_get(f.store, &key, &get, 1, NULL, NULL), CTE_OK);
    assert_memory_equal(bytes, old, sizeof old);
    fixture_free(&f);
}

static void test_damage_passes_without_checksums(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0, "file: {checksum: false}\n");
    static unsigned char bytes[SPACE], old[8192];
    struct cte__blob_key key = blob_key(&f);
    struct cte__piece piece = {0, sizeof old, (char *)bytes};
    memset(old, 0xa7, sizeof old);
    put(&f, key, 0, old, sizeof old, false);
    flip_a_bit(&f, 0xa7);
    assert_int_equal(cte__blob_get(f.store, &key, &piece, 1, NULL, NULL), CTE_OK);
    assert_true(memcmp(bytes, old, sizeof old) != 0);
    fixture_free(&f);
}

/* ---- many at once --------------------------------------------------------------------------- */

enum { CONTENDERS = 2, THREADS = 4, PUTS = 250, WHOLE = 5 * PAGE };

/* Puts that overlap: a put covers [100, 100 + WHOLE) as a whole, so that at any time all of these
 * bytes are of one put.  The edges share their pages with bytes that other threads put. */
struct contender {
    struct fixture *f;
    unsigned number;
    cte_status status;
    bool torn;
};

static void *put_whole(void *argument)
{
    struct contender *c = argument;
    static _Thread_local unsigned char bytes[WHOLE];
    struct cte__blob_key key = blob_key(c->f);
    for (unsigned i = 0; i < PUTS && c->status == CTE_OK; i++) {
        struct cte__piece piece = {100, WHOLE, (char *)bytes};
        memset(bytes, (int)(1 + (c->number * PUTS + i) % 255), sizeof bytes);
        c->status = cte__blob_put(c->f->store, &key, &piece, 1, 1.0f, false);
    }
    return NULL;
}

/* Single bytes of the pages that the others put in part. */
static void *put_edges(void *argument)
{
    struct contender *c = argument;
    struct cte__blob_key key = blob_key(c->f);
    for (unsigned i = 0; i < PUTS && c->status == CTE_OK; i++) {
        char value = (char)(1 + i % 127);
        struct cte__piece pieces[] = {{c->number, 1, &value}, {WHOLE + 200 + c->number, 1, &value}};
        c->status = cte__blob_put(c->f->store, &key, pieces, 2, 1.0f, false);
        char seen[2] = {0, 0};
        struct cte__piece back[] = {{c->number, 1, &seen[0]},
                                    {WHOLE + 200 + c->number, 1, &seen[1]}};
        if (c->status == CTE_OK)
            c->status = cte__blob_get(c->f->store, &key, back, 2, NULL, NULL);
        c->torn |= seen[0] != value || seen[1] != value; /* nobody else puts these */
    }
    return NULL;
}

static void *get_whole(void *argument)
{
    struct contender *c = argument;
    static _Thread_local unsigned char bytes[WHOLE];
    struct cte__blob_key key = blob_key(c->f);
    for (unsigned i = 0; i < PUTS && c->status == CTE_OK; i++) {
        struct cte__piece piece = {100, WHOLE, (char *)bytes};
        c->status = cte__blob_get(c->f->store, &key, &piece, 1, NULL, NULL);
        c->torn |= memcmp(bytes, bytes + 1, WHOLE - 1) != 0;
    }
    return NULL;
}

static int contend(struct fixture *f, unsigned process)
{
    static void *(*const roles[THREADS])(void *) = {put_whole, put_whole, put_edges, get_whole};
    struct contender contenders[THREADS];
    pthread_t threads[THREADS];
    int failures = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        contenders[i] = (struct contender){f, process * THREADS + i, CTE_OK, false};
        if (pthread_create(&threads[i], NULL, roles[i], &contenders[i]) != 0)
            return 1;
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        if (contenders[i].status != CTE_OK || contenders[i].torn) {
            fprintf(stderr, "role %u: %s%s\n", i, cte_status_string(contenders[i].status),
                    contenders[i].torn ? ", torn" : "");
            failures++;
        }
    }
    return failures;
}

static void run_contention(const char *more)
{
    struct fixture f = fixture_make(8, 0, more);
    static unsigned char start[WHOLE + 400];
    pid_t pids[CONTENDERS];
    put(&f, blob_key(&f), 0, start, sizeof start, false);
    for (unsigned p = 0; p < CONTENDERS; p++) {
        pids[p] = fork();
        assert_true(pids[p] >= 0);
        if (pids[p] == 0) {
            struct cte__store *store;
            if (cte__store_attach(f.config, &store) != CTE_OK)
                _exit(1);
            f.store = store;
            int failures = contend(&f, p);
            cte__store_detach(store);
            _exit(failures);
        }
    }
    for (unsigned p = 0; p < CONTENDERS; p++) {
        int status;
        assert_int_equal(waitpid(pids[p], &status, 0), pids[p]);
        assert_int_equal(status, 0);
    }
    fixture_free(&f);
}

static void test_contention(void **state)
{
    (void)state;
    run_contention("");
}

static void test_contention_without_checksums(void **state)
{
    (void)state;
    run_contention("file: {checksum: false}\n");
}

/* The same in threads of one process only, for tools that watch threads. */
static void test_contention_of_threads(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0, "");
    static unsigned char start[WHOLE + 400];
    put(&f, blob_key(&f), 0, start, sizeof start, false);
    assert_int_equal(contend(&f, 0), 0);
    fixture_free(&f);
}

/* Removed and made anew under the hands of a reader: old, new or none, never mixed. */
static void *remove_and_put(void *argument)
{
    struct contender *c = argument;
    static unsigned char bytes[WHOLE];
    struct cte__blob_key key = blob_key(c->f);
    for (unsigned i = 0; i < 3 * PUTS && c->status == CTE_OK; i++) {
        struct cte__piece piece = {100, WHOLE, (char *)bytes};
        memset(bytes, (int)(1 + i % 255), sizeof bytes);
        c->status = cte__blob_put(c->f->store, &key, &piece, 1, 1.0f, false);
        if (c->status == CTE_OK)
            c->status = cte__blob_remove(c->f->store, &key);
        /* So that the entry's place is used again at once. */
        cte__tag_reap(c->f->store, cte__tag_at(c->f->store, key.tag), true);
    }
    return NULL;
}

static void run_removal(const char *more)
{
    struct fixture f = fixture_make(8, 0, more);
    static unsigned char bytes[WHOLE];
    struct contender c = {&f, 0, CTE_OK, false};
    struct cte__blob_key key = blob_key(&f);
    struct cte__piece piece = {100, WHOLE, (char *)bytes};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, remove_and_put, &c), 0);
    for (unsigned i = 0; i < 3 * PUTS; i++) {
        cte_status status = cte__blob_get(f.store, &key, &piece, 1, NULL, NULL);
        assert_true(status == CTE_OK || status == CTE_ERR_NOT_FOUND);
        if (status == CTE_OK)
            assert_memory_equal(bytes, bytes + 1, WHOLE - 1);
    }
    pthread_join(thread, NULL);
    assert_int_equal(c.status, CTE_OK);
    fixture_free(&f);
}

static void test_removal_under_readers(void **state)
{
    (void)state;
    run_removal("");
}

static void test_removal_under_readers_without_checksums(void **state)
{
    (void)state;
    run_removal("file: {checksum: false}\n");
}

int main(void)
{
    setenv("CTE_LOG_LEVEL", "off", 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gaps_and_ends_are_zeros),
        cmocka_unit_test(test_replace_forgets_the_rest),
        cmocka_unit_test(test_full_store_keeps_the_old_blob),
        cmocka_unit_test(test_chunk_model),
        cmocka_unit_test(test_chunk_model_without_checksums),
        cmocka_unit_test(test_undisturbed_chunk_gets_clean),
        cmocka_unit_test(test_damage_is_noticed),
        cmocka_unit_test(test_damage_of_small_blobs),
        cmocka_unit_test(test_damage_passes_without_checksums),
        cmocka_unit_test(test_contention),
        cmocka_unit_test(test_contention_without_checksums),
        cmocka_unit_test(test_contention_of_threads),
        cmocka_unit_test(test_removal_under_readers),
        cmocka_unit_test(test_removal_under_readers_without_checksums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
