/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory for copies of blobs: gets find in it what the target would give, and never the past.
 */
#include "store_helpers.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cte/blob.h>

#include "blob/blob.h"
#include "blob/cache.h"
#include "blob/tag.h"
#include "file/client.h"
#include "support/faulty.h"

enum { PAGE = 4096, MIB = 1 << 20 };

static bool no_memory, no_wiping;

void *__real_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_madvise(void *address, size_t bytes, int advice);
void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_madvise(void *address, size_t bytes, int advice);

void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (no_memory && flags & MAP_NORESERVE && flags & MAP_ANONYMOUS) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(address, bytes, protection, flags, fd, offset);
}

int __wrap_madvise(void *address, size_t bytes, int advice)
{
    if (no_wiping && advice == MADV_WIPEONFORK) {
        errno = EINVAL;
        return -1;
    }
    return __real_madvise(address, bytes, advice);
}

struct fixture {
    char directory[256];
    cte_config *config;
    cte_client *client;
    cte_tag *tag;
};

/* `kind`: of the only target. */
static struct fixture fixture_make(const char *kind, unsigned target_mib, unsigned cache_mib,
                                   const char *more)
{
    struct fixture f = {0};
    char text[1024], error[512];
    unsetenv("CTE_STORE_NAME");
    test_directory(f.directory, sizeof f.directory);
    snprintf(text, sizeof text,
             "store: {name: test, directory: '%s'}\n"
             "storage: [{bdev_type: %s, path: '%s/target', capacity_limit: %uMiB}]\n"
             "performance: {blob_cache_size_mb: %u}\n%s",
             f.directory, kind, f.directory, target_mib, cache_mib, more);
    if (cte_config_parse(text, "test", &f.config, error, sizeof error) != CTE_OK)
        fail_msg("%s", error);
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    assert_int_equal(cte_tag_open(f.client, "t", true, &f.tag), CTE_OK);
    return f;
}

static void fixture_free(struct fixture *f)
{
    cte_tag_close(f->tag);
    assert_int_equal(cte_tag_delete(f->client, "t"), CTE_OK);
    test_audit(f->client->store);
    assert_int_equal(cte_client_close(f->client), CTE_OK);
    cte_config_free(f->config);
    test_remove_directory(f->directory);
}

static cte_cache_stats stats_of(const struct fixture *f)
{
    cte_cache_stats stats;
    assert_int_equal(cte_client_cache_stats(f->client, &stats), CTE_OK);
    return stats;
}

static struct cte__target_handle *target_of(const struct fixture *f)
{
    return &f->client->store->targets[0];
}

static void fill(unsigned char *bytes, size_t count, uint64_t seed)
{
    for (size_t i = 0; i + 8 <= count; i += 8) {
        uint64_t word = test_random(&seed);
        memcpy(bytes + i, &word, 8);
    }
}

static void put(struct fixture *f, const char *name, uint64_t offset, const void *bytes,
                size_t size)
{
    assert_int_equal(cte_blob_put(f->tag, name, offset, bytes, size, 1.0f, 0), CTE_OK);
}

static cte_status get(struct fixture *f, const char *name, uint64_t offset, size_t size,
                      const unsigned char *expected)
{
    static unsigned char bytes[4 * MIB];
    memset(bytes, 0xee, size);
    cte_status status = cte_blob_get(f->tag, name, offset, bytes, size, NULL);
    if (status == CTE_OK)
        assert_memory_equal(bytes, expected, size);
    return status;
}

/* ---- gets ----------------------------------------------------------------------------------- */

enum { SIZE = 16 * PAGE + 100 };

static void found_without_target(const char *kind, const char *more)
{
    struct fixture f = fixture_make(kind, 8, 1, more);
    static unsigned char bytes[SIZE], new[SIZE];
    fill(bytes, SIZE, 1);
    fill(new, SIZE, 2);
    faulty_wrap(target_of(&f));
    put(&f, "b", 0, bytes, SIZE);
    assert_int_equal(get(&f, "b", 0, SIZE, bytes), CTE_OK);
    assert_int_equal(stats_of(&f).hits, 0);
    assert_true(stats_of(&f).misses >= 16);
    faulty_set(target_of(&f), "read 1+ fail 5");
    assert_int_equal(get(&f, "b", 0, 16 * PAGE, bytes), CTE_OK);
    assert_int_equal(stats_of(&f).hits, 16);
    assert_int_equal(get(&f, "b", 3 * PAGE + 10, 5000, bytes + 3 * PAGE + 10), CTE_OK);
    assert_int_equal(faulty_fired(target_of(&f)), 0);
    /* Another state of the blob has nothing in the cache, not even of the pages that stayed. */
    put(&f, "b", 4 * PAGE, new + 4 * PAGE, PAGE);
    memcpy(bytes + 4 * PAGE, new + 4 * PAGE, PAGE);
    assert_int_equal(get(&f, "b", 4 * PAGE, PAGE, bytes + 4 * PAGE), -EIO);
    assert_int_equal(get(&f, "b", 0, PAGE, bytes), -EIO);
    faulty_set(target_of(&f), "");
    assert_int_equal(get(&f, "b", 0, SIZE, bytes), CTE_OK);
    /* Nor has a blob that takes the name, and the place, of one that was deleted. */
    for (int i = 0; i < 8; i++) {
        fill(new, SIZE, (uint64_t)i + 3);
        assert_int_equal(cte_blob_delete(f.tag, "b"), CTE_OK);
        put(&f, "b", 0, new, SIZE);
        assert_int_equal(get(&f, "b", 0, SIZE, new), CTE_OK);
        assert_int_equal(get(&f, "b", 0, SIZE, new), CTE_OK);
    }
    fixture_free(&f);
}

static void test_found_without_target(void **state)
{
    (void)state;
    found_without_target("file", "");
    found_without_target("posix", "");
    found_without_target("file", "file: {checksum: false}\n");
}

static void test_only_what_lacks_is_read(void **state)
{
    (void)state;
    struct fixture f = fixture_make("file", 8, 1, "");
    static unsigned char bytes[16 * PAGE];
    fill(bytes, sizeof bytes, 4);
    put(&f, "b", 0, bytes, sizeof bytes);
    assert_int_equal(get(&f, "b", PAGE, PAGE, bytes + PAGE), CTE_OK);
    assert_int_equal(get(&f, "b", 7 * PAGE + 8, 100, bytes + 7 * PAGE + 8), CTE_OK);
    assert_int_equal(get(&f, "b", 15 * PAGE, PAGE, bytes + 15 * PAGE), CTE_OK);
    struct cte__target_totals before = cte__target_totals(target_of(&f)->record);
    assert_int_equal(get(&f, "b", 0, sizeof bytes, bytes), CTE_OK);
    struct cte__target_totals after = cte__target_totals(target_of(&f)->record);
    assert_int_equal(after.bytes_read - before.bytes_read, 13 * PAGE);
    assert_int_equal(after.reads - before.reads, 3);
    assert_int_equal(stats_of(&f).hits, 3);
    assert_int_equal(stats_of(&f).cached_bytes, 16 * PAGE);
    fixture_free(&f);
}

static void test_off_and_not_needed(void **state)
{
    (void)state;
    static unsigned char bytes[4 * PAGE];
    fill(bytes, sizeof bytes, 5);
    struct {
        const char *kind;
        unsigned cache_mib;
    } cases[] = {{"file", 0}, {"ram", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f = fixture_make(cases[i].kind, 8, cases[i].cache_mib, "");
        put(&f, "b", 0, bytes, sizeof bytes);
        assert_int_equal(get(&f, "b", 0, sizeof bytes, bytes), CTE_OK);
        assert_int_equal(get(&f, "b", 0, sizeof bytes, bytes), CTE_OK);
        cte_cache_stats stats = stats_of(&f);
        assert_int_equal(stats.limit_bytes, cases[i].cache_mib * (uint64_t)MIB);
        assert_int_equal(stats.hits + stats.misses + stats.cached_bytes, 0);
        fixture_free(&f);
    }
    assert_int_equal(cte_client_cache_stats(NULL, NULL), -EINVAL);
}

/* A copy that is damaged in memory is not believed. */
static void test_damaged_copy(void **state)
{
    (void)state;
    struct fixture f = fixture_make("file", 8, 1, "");
    static unsigned char bytes[PAGE], bad[PAGE];
    struct cte__snapshot snapshot;
    fill(bytes, PAGE, 6);
    fill(bad, PAGE, 7);
    put(&f, "b", 0, bytes, PAGE);
    struct cte__blob_key key;
    assert_int_equal(cte__user_key(f.tag, "b", &key), CTE_OK);
    assert_int_equal(cte__blob_snapshot(f.client->store, &key, &snapshot), CTE_OK);
    struct cte__cache_use use =
        cte__cache_begin(f.client->store->cache, snapshot.entry, snapshot.version);
    cte__cache_keep(&use, 0, bad);
    cte__cache_end(&use, true);
    cte__snapshot_free(&snapshot);
    assert_int_equal(get(&f, "b", 0, PAGE, bytes), CTE_OK);
    assert_int_equal(get(&f, "b", 10, 100, bytes + 10), CTE_OK);
    struct cte__target_totals totals = cte__target_totals(target_of(&f)->record);
    assert_int_equal(totals.reads, 1); /* the first get put it right */
    fixture_free(&f);
}

/* Reading a lot once leaves what is read often, and never takes more memory than allowed. */
static void test_scan_leaves_what_is_hot(void **state)
{
    (void)state;
    enum { HOT = 100 * PAGE, SCAN = 4 * MIB };
    struct fixture f = fixture_make("file", 16, 1, "");
    static unsigned char hot[HOT], scan[SCAN];
    fill(hot, HOT, 8);
    fill(scan, SCAN, 9);
    put(&f, "hot", 0, hot, HOT);
    put(&f, "scan", 0, scan, SCAN);
    /* A get keeps a part of the cache at most: so it takes a few. */
    for (int round = 0; round < 2; round++)
        for (size_t at = 0; at < HOT; at += 10 * PAGE)
            assert_int_equal(get(&f, "hot", at, 10 * PAGE, hot + at), CTE_OK);
    assert_int_equal(stats_of(&f).hits, HOT / PAGE);
    for (size_t step = 16 * PAGE; step <= SCAN; step *= 8)
        for (size_t at = 0; at < SCAN; at += step) {
            assert_int_equal(get(&f, "scan", at, cte__min(step, SCAN - at), scan + at), CTE_OK);
            assert_true(stats_of(&f).cached_bytes < MIB);
        }
    uint64_t hits = stats_of(&f).hits;
    for (size_t at = 0; at < HOT; at += 10 * PAGE)
        assert_int_equal(get(&f, "hot", at, 10 * PAGE, hot + at), CTE_OK);
    assert_int_equal(stats_of(&f).hits - hits, HOT / PAGE);
    fixture_free(&f);
}

static void test_child_begins_empty(void **state)
{
    (void)state;
    struct fixture f = fixture_make("file", 8, 1, "");
    static unsigned char bytes[8 * PAGE];
    fill(bytes, sizeof bytes, 10);
    put(&f, "b", 0, bytes, sizeof bytes);
    assert_int_equal(get(&f, "b", 0, sizeof bytes, bytes), CTE_OK);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool good = stats_of(&f).cached_bytes == 0;
        good = good && get(&f, "b", 0, sizeof bytes, bytes) == CTE_OK && stats_of(&f).hits == 0;
        good = good && get(&f, "b", 0, sizeof bytes, bytes) == CTE_OK && stats_of(&f).hits == 8;
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(stats_of(&f).cached_bytes, 8 * PAGE);
    assert_int_equal(get(&f, "b", 0, sizeof bytes, bytes), CTE_OK);
    assert_int_equal(stats_of(&f).hits, 8);
    fixture_free(&f);
}

static void test_no_memory_is_no_cache(void **state)
{
    (void)state;
    static unsigned char bytes[4 * PAGE];
    fill(bytes, sizeof bytes, 11);
    for (int i = 0; i < 2; i++) {
        *(i == 0 ? &no_memory : &no_wiping) = true;
        struct fixture f = fixture_make("file", 8, 1, "");
        no_memory = no_wiping = false;
        put(&f, "b", 0, bytes, sizeof bytes);
        assert_int_equal(get(&f, "b", 0, sizeof bytes, bytes), CTE_OK);
        assert_int_equal(get(&f, "b", 0, sizeof bytes, bytes), CTE_OK);
        assert_int_equal(stats_of(&f).limit_bytes, 0);
        fixture_free(&f);
    }
    assert_null(cte__cache_new(PAGE));
}

/* ---- the cache itself, against a model ------------------------------------------------------ */

/* The bytes that a page would have. */
static void page_of(cte__unit entry, uint64_t version, uint64_t index, unsigned char *page)
{
    fill(page, PAGE, entry * UINT64_C(1000003) + version * 10007 + index);
}

static void random_use(struct cte__cache *cache, uint64_t *random)
{
    unsigned char page[PAGE], expected[PAGE];
    cte__unit entry = 2 + (cte__unit)(test_random(random) % 3);
    uint64_t version = 1 + test_random(random) % 3, first = test_random(random) % 40;
    struct cte__cache_use use = cte__cache_begin(cache, entry, version);
    bool right = test_random(random) % 4 != 0;
    for (uint64_t index = first; index < first + 1 + test_random(random) % 8; index++) {
        page_of(entry, version, index, expected);
        if (cte__cache_find(&use, index, page)) {
            assert_memory_equal(page, expected, PAGE);
        } else {
            if (!right)
                memset(expected, 0xbb, PAGE);
            cte__cache_keep(&use, index, expected);
        }
    }
    cte__cache_end(&use, right);
}

static void test_random_uses(void **state)
{
    (void)state;
    uint64_t random = test_seed();
    for (uint64_t bytes = 3 * PAGE; bytes < 3 * MIB; bytes = bytes * 7 / 3) {
        struct cte__cache *cache = cte__cache_new(bytes);
        assert_non_null(cache);
        for (int i = 0; i < 4000; i++) {
            random_use(cache, &random);
            struct cte__cache_totals totals = cte__cache_totals(cache);
            assert_true(totals.pages * PAGE < totals.limit_bytes);
            assert_int_equal(totals.limit_bytes, bytes);
        }
        struct cte__cache_totals totals = cte__cache_totals(cache);
        assert_true(totals.hits > 0 && totals.misses > 0 && totals.pages > 0);
        cte__cache_free(cache);
    }
    cte__cache_free(NULL);
}

/* ---- others write meanwhile ----------------------------------------------------------------- */

/* TSan does not see how processes synchronise with each other. */
#ifdef __SANITIZE_THREAD__
enum { PROCESSES = 1 };
#else
enum { PROCESSES = 2 };
#endif

enum { SECTOR = 512, SECTORS = 96, BLOBS = 6, WRITES = 400, READS = 900, READERS = 2 };

/* What has been put for certain, of each sector: in memory that the processes share. */
struct floors {
    _Atomic uint64_t stamp[BLOBS][SECTORS];
    _Atomic uint32_t bad;
};

struct worker {
    struct fixture *f;
    struct floors *floors;
    uint32_t blob; /* writers: theirs */
    uint64_t random;
};

static void blob_name(uint32_t blob, char name[8])
{
    snprintf(name, 8, "b%u", blob);
}

static void stamp_sectors(unsigned char *bytes, uint32_t blob, uint32_t first, uint32_t end,
                          uint64_t stamp)
{
    for (uint32_t s = first; s < end; s++)
        for (uint32_t at = 0; at < SECTOR; at += 16) {
            uint64_t words[2] = {stamp, (uint64_t)blob << 32 | s};
            memcpy(bytes + (size_t)(s - first) * SECTOR + at, words, 16);
        }
}

/* Puts one stamp after the other, in a part or, now and then, in a new blob of the same name. */
static void *write_blobs(void *argument)
{
    struct worker *worker = argument;
    unsigned char bytes[SECTORS * SECTOR];
    char name[8];
    blob_name(worker->blob, name);
    for (uint64_t stamp = 2; stamp < WRITES; stamp++) {
        uint32_t first = (uint32_t)(test_random(&worker->random) % SECTORS);
        uint32_t end = first + 1 + (uint32_t)(test_random(&worker->random) % (SECTORS - first));
        bool anew = test_random(&worker->random) % 8 == 0;
        if (anew) {
            first = 0;
            end = SECTORS;
            if (cte_blob_delete(worker->f->tag, name) != CTE_OK)
                worker->floors->bad++;
        }
        stamp_sectors(bytes, worker->blob, first, end, stamp);
        if (cte_blob_put(worker->f->tag, name, (uint64_t)first * SECTOR, bytes,
                         (size_t)(end - first) * SECTOR, 1.0f, 0) != CTE_OK)
            worker->floors->bad++;
        for (uint32_t s = first; s < end; s++)
            worker->floors->stamp[worker->blob][s] = stamp;
    }
    return NULL;
}

/* True if a sector is one that was put, not before `floor`. */
static bool sector_is_good(const unsigned char *bytes, uint32_t blob, uint32_t s, uint64_t floor)
{
    unsigned char expected[SECTOR];
    uint64_t stamp;
    memcpy(&stamp, bytes, sizeof stamp);
    stamp_sectors(expected, blob, s, s + 1, stamp);
    return stamp >= floor && stamp < WRITES && memcmp(bytes, expected, SECTOR) == 0;
}

static void *read_blobs(void *argument)
{
    struct worker *worker = argument;
    unsigned char bytes[SECTORS * SECTOR];
    char name[8];
    for (int i = 0; i < READS; i++) {
        uint64_t floor[SECTORS];
        uint32_t blob = (uint32_t)(test_random(&worker->random) % BLOBS);
        uint32_t first = (uint32_t)(test_random(&worker->random) % SECTORS);
        uint32_t end = first + 1 + (uint32_t)(test_random(&worker->random) % (SECTORS - first));
        for (uint32_t s = first; s < end; s++)
            floor[s] = worker->floors->stamp[blob][s];
        blob_name(blob, name);
        cte_status status = cte_blob_get(worker->f->tag, name, (uint64_t)first * SECTOR, bytes,
                                         (size_t)(end - first) * SECTOR, NULL);
        if (status == CTE_ERR_NOT_FOUND)
            continue; /* its writer is about to put it anew */
        if (status != CTE_OK)
            worker->floors->bad++;
        for (uint32_t s = first; s < end && status == CTE_OK; s++)
            if (!sector_is_good(bytes + (size_t)(s - first) * SECTOR, blob, s, floor[s]))
                worker->floors->bad++;
    }
    return NULL;
}

/* One process: writers of its share of the blobs, and readers of all. */
static void work(struct fixture *f, struct floors *floors, uint32_t process, uint64_t random)
{
    enum { WRITERS = BLOBS / PROCESSES };
    pthread_t threads[WRITERS + READERS];
    struct worker workers[WRITERS + READERS];
    for (uint32_t i = 0; i < WRITERS + READERS; i++) {
        workers[i] = (struct worker){f, floors, process * WRITERS + i, random + process * 100 + i};
        if (pthread_create(&threads[i], NULL, i < WRITERS ? write_blobs : read_blobs,
                           &workers[i]) != 0)
            abort();
    }
    for (uint32_t i = 0; i < WRITERS + READERS; i++)
        pthread_join(threads[i], NULL);
}

/* The same bytes with the cache and without it. */
static void compare(struct fixture *f)
{
    static unsigned char cached[SECTORS * SECTOR], plain[SECTORS * SECTOR];
    struct cte__cache *cache = f->client->store->cache;
    char name[8];
    for (uint32_t blob = 0; blob < BLOBS; blob++) {
        blob_name(blob, name);
        for (int round = 0; round < 2; round++)
            assert_int_equal(cte_blob_get(f->tag, name, 0, cached, sizeof cached, NULL), CTE_OK);
        f->client->store->cache = NULL;
        assert_int_equal(cte_blob_get(f->tag, name, 0, plain, sizeof plain, NULL), CTE_OK);
        f->client->store->cache = cache;
        assert_memory_equal(cached, plain, sizeof plain);
    }
}

static void others_write(const char *more)
{
    struct fixture f = fixture_make("file", 32, 1, more);
    uint64_t random = test_seed();
    struct floors *floors =
        mmap(NULL, sizeof *floors, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(floors != MAP_FAILED);
    for (uint32_t blob = 0; blob < BLOBS; blob++) {
        static unsigned char bytes[SECTORS * SECTOR];
        char name[8];
        blob_name(blob, name);
        stamp_sectors(bytes, blob, 0, SECTORS, 1);
        put(&f, name, 0, bytes, sizeof bytes);
        for (uint32_t s = 0; s < SECTORS; s++)
            floors->stamp[blob][s] = 1;
    }
    pid_t pids[PROCESSES];
    for (uint32_t p = 1; p < PROCESSES; p++) {
        pids[p] = fork();
        assert_true(pids[p] >= 0);
        if (pids[p] == 0) {
            work(&f, floors, p, random);
            _exit(stats_of(&f).hits > 0 ? 0 : 1);
        }
    }
    work(&f, floors, 0, random);
    for (uint32_t p = 1; p < PROCESSES; p++) {
        int status;
        assert_int_equal(waitpid(pids[p], &status, 0), pids[p]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    assert_int_equal(floors->bad, 0);
    compare(&f);
    assert_true(stats_of(&f).hits > 0);
    munmap(floors, sizeof *floors);
    fixture_free(&f);
}

static void test_others_write(void **state)
{
    (void)state;
    others_write("");
    others_write("file: {checksum: false}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_without_target),
        cmocka_unit_test(test_only_what_lacks_is_read),
        cmocka_unit_test(test_off_and_not_needed),
        cmocka_unit_test(test_damaged_copy),
        cmocka_unit_test(test_scan_leaves_what_is_hot),
        cmocka_unit_test(test_child_begins_empty),
        cmocka_unit_test(test_no_memory_is_no_cache),
        cmocka_unit_test(test_random_uses),
        cmocka_unit_test(test_others_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
