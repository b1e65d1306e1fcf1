/* SPDX-License-Identifier: BSD-3-Clause */
/* Processes that change blobs and files of a nearly full store, killed at random moments, again and
 * again.  After each round every blob is old or new as a whole, everything acknowledged is there,
 * nothing is lost, no lock is stuck. */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <cte/file.h>

#include "blob/blob.h"
#include "file/client.h"
#include "file/tracked.h"
#include "oracle.h"
#include "points.h"
#include "process.h"

enum {
    WRITERS = 3,
    BLOBS = 12, /* each writer's own */
    ROUNDS = 200,
    BLOB_BYTES = 96 << 10,
    SHARED_PAGES = 6,
    PAGE = 4096,
    CHUNK_BYTES = 64 << 10,
};

struct shared {
    struct oracle blobs[WRITERS][BLOBS];
    struct oracle files[WRITERS];
    _Atomic uint64_t puts, gets, refused;
    _Atomic uint64_t shared_acknowledged; /* puts of the blob that all write */
};

struct arena_of_death {
    char directory[256];
    char paths[WRITERS][300];
    cte_config *config;
    cte_client *client;
    struct cte__user_tag tag;
    struct shared *shared;
    uint64_t seed;
    uint64_t kills, mixed, swept_bytes;
};

struct writer {
    struct arena_of_death *place;
    cte_client *client;
    unsigned number;
    uint64_t seed;
};

static struct cte__blob_key blob_key(const struct arena_of_death *place, const char *name)
{
    return (struct cte__blob_key){.tag = place->tag.unit,
                                  .type = CTE__ENTRY_BLOB,
                                  .name = name,
                                  .name_bytes = (uint32_t)strlen(name),
                                  .tag_id = place->tag.id};
}

static void blob_name(char name[16], unsigned writer, unsigned blob)
{
    snprintf(name, 16, "w%u.%u", writer, blob);
}

/* ---- what writers do; they must not fail by assertion, which would not stop them ------------- */

static void expect(bool truth, const char *what, cte_status status)
{
    if (truth)
        return;
    fprintf(stderr, "writer: %s: %s\n", what, cte_status_string(status));
    _exit(1);
}

static uint64_t pick_length(struct writer *w, uint64_t most)
{
    uint64_t length = test_random(&w->seed) % 3 == 0 ? 1 + test_random(&w->seed) % 300
                                                     : 1 + test_random(&w->seed) % most;
    return length < most ? length : most;
}

static void change_blob(struct writer *w)
{
    static unsigned char bytes[ORACLE_BYTES];
    unsigned number = (unsigned)(test_random(&w->seed) % BLOBS);
    struct oracle *oracle = &w->place->shared->blobs[w->number][number];
    struct oracle_change change = {.length = pick_length(w, BLOB_BYTES), .seed = w->seed};
    char name[16];
    blob_name(name, w->number, number);
    struct cte__blob_key key = blob_key(w->place, name);
    unsigned dice = (unsigned)(test_random(&w->seed) % 8);
    change.kind = dice == 0 ? ORACLE_REMOVE : dice < 3 ? ORACLE_REPLACE : ORACLE_PUT;
    change.offset = test_random(&w->seed) % (BLOB_BYTES - change.length + 1);
    if (change.kind == ORACLE_REPLACE)
        change.offset = 0;
    oracle_fill(&change, bytes);
    oracle_note(oracle, &change);
    struct cte__piece piece = {change.offset, change.length, (char *)bytes};
    cte_status status =
        change.kind == ORACLE_REMOVE
            ? cte__blob_remove(w->client->store, &key)
            : cte__blob_put(w->client->store, &key, &piece, 1, 1.0f, change.kind == ORACLE_REPLACE);
    if (status == CTE_OK)
        oracle_done(oracle);
    else
        oracle_refused(oracle);
    expect(status == CTE_OK || status == -ENOSPC ||
               (status == CTE_ERR_NOT_FOUND && change.kind == ORACLE_REMOVE),
           "change of a blob", status);
    atomic_fetch_add(&w->place->shared->puts, 1);
    if (status == -ENOSPC)
        atomic_fetch_add(&w->place->shared->refused, 1);
}

/* Every page of the blob that all write says which put it belongs to. */
struct page_head {
    uint64_t put;
    uint64_t page;
    uint64_t checksum; /* of the rest of the page */
};

static void make_page(unsigned char *page, uint64_t put, uint64_t number)
{
    struct page_head head = {put, number, 0};
    memset(page, (int)(put * 7 + number), PAGE);
    head.checksum = XXH3_64bits(page + sizeof head, PAGE - sizeof head);
    memcpy(page, &head, sizeof head);
}

static bool pages_are_whole(const unsigned char *pages)
{
    struct page_head first, head;
    memcpy(&first, pages, sizeof first);
    for (uint64_t i = 0; i < SHARED_PAGES; i++) {
        const unsigned char *page = pages + i * PAGE;
        memcpy(&head, page, sizeof head);
        if (head.put != first.put || head.page != i ||
            head.checksum != XXH3_64bits(page + sizeof head, PAGE - sizeof head))
            return false;
    }
    return true;
}

static void put_shared(struct writer *w)
{
    static unsigned char pages[SHARED_PAGES * PAGE];
    struct cte__blob_key key = blob_key(w->place, "shared");
    uint64_t put = test_random(&w->seed);
    for (uint64_t i = 0; i < SHARED_PAGES; i++)
        make_page(pages + i * PAGE, put, i);
    struct cte__piece piece = {0, sizeof pages, (char *)pages};
    cte_status status =
        cte__blob_put(w->client->store, &key, &piece, 1, 1.0f, test_random(&w->seed) % 2 == 0);
    expect(status == CTE_OK || status == -ENOSPC, "put of the shared blob", status);
    if (status == CTE_OK)
        atomic_fetch_add(&w->place->shared->shared_acknowledged, 1);
}

static cte_status get_shared(const struct arena_of_death *place, struct cte__store *store,
                             bool *whole)
{
    static unsigned char pages[SHARED_PAGES * PAGE];
    struct cte__blob_key key = blob_key(place, "shared");
    struct cte__piece piece = {0, sizeof pages, (char *)pages};
    uint64_t size = 0;
    cte_status status = cte__blob_get(store, &key, &piece, 1, NULL, &size);
    *whole = size == sizeof pages && pages_are_whole(pages);
    return status;
}

static void read_shared(struct writer *w)
{
    bool whole;
    cte_status status = get_shared(w->place, w->client->store, &whole);
    if (status == CTE_ERR_NOT_FOUND)
        return;
    expect(status == CTE_OK, "get of the shared blob", status);
    expect(whole, "the shared blob is torn", status);
    atomic_fetch_add(&w->place->shared->gets, 1);
}

static cte_status change_open_file(cte_file *file, const struct oracle_change *change)
{
    static unsigned char bytes[ORACLE_BYTES];
    if (change->kind == ORACLE_TRUNCATE)
        return cte_file_truncate(file, change->offset);
    oracle_fill(change, bytes);
    cte_file_segment segment = {change->offset, change->length, bytes};
    return cte_file_write(file, &segment, 1);
}

/* Inside one chunk: only that much is promised to be whole. */
static struct oracle_change pick_file_change(struct writer *w)
{
    struct oracle_change change = {.kind = ORACLE_PUT, .seed = w->seed};
    if (test_random(&w->seed) % 6 == 0) {
        change.kind = ORACLE_TRUNCATE;
        change.offset = test_random(&w->seed) % ORACLE_BYTES;
        return change;
    }
    uint64_t chunk = test_random(&w->seed) % (ORACLE_BYTES / CHUNK_BYTES);
    change.length = pick_length(w, CHUNK_BYTES);
    change.offset = chunk * CHUNK_BYTES + test_random(&w->seed) % (CHUNK_BYTES - change.length + 1);
    return change;
}

/* The file is this writer's alone, so it must hold what its oracle says. */
static void read_file(const struct writer *w, cte_file *file)
{
    static unsigned char bytes[ORACLE_BYTES];
    const struct oracle *oracle = &w->place->shared->files[w->number];
    uint64_t done = 0;
    cte_file_segment segment = {0, sizeof bytes, bytes};
    cte_status status = cte_file_read(file, &segment, 1, &done);
    expect(status == CTE_OK && done == oracle->size &&
               memcmp(bytes, oracle->bytes, oracle->size) == 0,
           "read of a file", status);
}

/* Takes clean bytes out of the store, as somebody who needs the room does. */
static void forget_clean(struct writer *w, const cte_file *file)
{
    uint64_t chunk = test_random(&w->seed) % (ORACLE_BYTES / CHUNK_BYTES);
    struct cte__blob_key key = cte__chunk_key(file->tag, &chunk);
    cte_status status = cte__blob_drop_clean(w->client->store, &key);
    expect(status == CTE_OK || status == -ENOSPC, "forgetting clean bytes", status);
}

static void change_file(struct writer *w)
{
    struct oracle *oracle = &w->place->shared->files[w->number];
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    cte_file *file;
    options.drain = test_random(&w->seed) % 2 == 0 ? CTE_FILE_DRAIN_ON_CLOSE : CTE_FILE_DRAIN_NEVER;
    cte_status status =
        cte_file_open(w->client, w->place->paths[w->number], O_RDWR, 0, &options, &file);
    expect(status == CTE_OK, "open", status);
    for (uint64_t i = test_random(&w->seed) % 4; i > 0; i--) {
        struct oracle_change change = pick_file_change(w);
        oracle_note(oracle, &change);
        status = change_open_file(file, &change);
        expect(status == CTE_OK, "change of a file", status);
        oracle_done(oracle);
        atomic_fetch_add(&w->place->shared->puts, 1);
    }
    if (test_random(&w->seed) % 3 == 0) {
        status = cte_file_drain(file);
        expect(status == CTE_OK, "drain", status);
    }
    if (test_random(&w->seed) % 4 == 0)
        forget_clean(w, file);
    if (test_random(&w->seed) % 2 == 0)
        read_file(w, file);
    status = cte_file_close(file);
    expect(status == CTE_OK, "close", status);
}

static int write_until_killed(void *context)
{
    struct writer *w = context;
    /* Some join the store themselves, some by being forked; some choose their end. */
    w->client = w->place->client;
    if (test_random(&w->seed) % 2 == 0) {
        cte_status status = cte_client_open(w->place->config, &w->client);
        expect(status == CTE_OK, "attach", status);
    }
    if (test_random(&w->seed) % 4 == 0)
        points_kill_at(POINT_ANY, 1 + (long)(test_random(&w->seed) % 4000));
    for (;;) {
        unsigned dice = (unsigned)(test_random(&w->seed) % 10);
        if (dice < 5)
            change_blob(w);
        else if (dice < 7)
            change_file(w);
        else if (dice < 8)
            put_shared(w);
        else
            read_shared(w);
    }
    return 1;
}

/* ---- what the survivor checks --------------------------------------------------------------- */

static void check_blob(struct arena_of_death *place, unsigned writer, unsigned number)
{
    static unsigned char bytes[ORACLE_BYTES];
    char name[16];
    uint64_t size = 0;
    blob_name(name, writer, number);
    struct cte__blob_key key = blob_key(place, name);
    struct cte__piece piece = {0, sizeof bytes, (char *)bytes};
    memset(bytes, 0, sizeof bytes);
    cte_status status = cte__blob_get(place->client->store, &key, &piece, 1, NULL, &size);
    assert_true(status == CTE_OK || status == CTE_ERR_NOT_FOUND);
    struct oracle *oracle = &place->shared->blobs[writer][number];
    enum oracle_verdict verdict = oracle_judge(oracle, status == CTE_OK, size, bytes);
    if (verdict != ORACLE_IS_OLD && verdict != ORACLE_IS_NEW)
        fail_msg("blob %s (kind %d, phase %d, size %llu, was %llu): neither old nor new", name,
                 (int)oracle->change.kind, oracle->phase, (unsigned long long)size,
                 (unsigned long long)oracle->size);
}

/* What was killed on the way is done again, as a program that is run again would. */
static void check_file(struct arena_of_death *place, unsigned writer)
{
    static unsigned char bytes[ORACLE_BYTES];
    struct oracle *oracle = &place->shared->files[writer];
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    cte_file *file;
    uint64_t size, done;
    bool noted = atomic_load(&oracle->phase) == ORACLE_NOTED;
    options.drain = CTE_FILE_DRAIN_NEVER;
    assert_int_equal(cte_file_open(place->client, place->paths[writer], O_RDWR, 0, &options, &file),
                     CTE_OK);
    assert_int_equal(cte_file_size(file, &size), CTE_OK);
    assert_true(size <= sizeof bytes);
    cte_file_segment segment = {0, sizeof bytes, bytes};
    assert_int_equal(cte_file_read(file, &segment, 1, &done), CTE_OK);
    assert_int_equal(done, size);
    enum oracle_verdict verdict = oracle_judge(oracle, true, size, bytes);
    /* With all tiers full a write goes straight to the real file, where it may end in the middle.
     */
    place->mixed += verdict == ORACLE_IS_MIXED;
    if (verdict == ORACLE_IS_WRONG)
        fail_msg("file %u (kind %d, %llu bytes at %llu): size %llu, was %llu", writer,
                 (int)oracle->change.kind, (unsigned long long)oracle->change.length,
                 (unsigned long long)oracle->change.offset, (unsigned long long)size,
                 (unsigned long long)oracle->size);
    if (noted && verdict != ORACLE_IS_NEW) {
        assert_int_equal(change_open_file(file, &oracle->change), CTE_OK);
        oracle_done(oracle);
    }
    assert_int_equal(cte_file_close(file), CTE_OK);
}

static uint64_t free_bytes(const struct cte__store *store)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < store->header->target_count; i++)
        sum += cte__target_free_bytes(store, i);
    return sum;
}

static void check_all(struct arena_of_death *place)
{
    struct cte__store *store = place->client->store;
    bool whole = true;
    uint64_t before = free_bytes(store);
    cte__store_sweep(store);
    uint64_t after = free_bytes(store);
    place->swept_bytes += after > before ? after - before : 0;
    test_audit(store);
    for (unsigned w = 0; w < WRITERS; w++) {
        for (unsigned b = 0; b < BLOBS; b++)
            check_blob(place, w, b);
        check_file(place, w);
    }
    cte_status status = get_shared(place, store, &whole);
    if (status == CTE_ERR_NOT_FOUND)
        assert_int_equal(place->shared->shared_acknowledged, 0);
    else
        assert_int_equal(status, CTE_OK);
    assert_true(whole || status == CTE_ERR_NOT_FOUND);
    test_audit(store);
}

static void one_round(struct arena_of_death *place)
{
    struct writer writers[WRITERS];
    pid_t pids[WRITERS];
    unsigned count = 2 + (unsigned)(test_random(&place->seed) % (WRITERS - 1));
    for (unsigned i = 0; i < count; i++) {
        writers[i] = (struct writer){place, NULL, i, test_random(&place->seed)};
        pids[i] = process_start(write_until_killed, &writers[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        usleep((useconds_t)(2000 + test_random(&place->seed) % 20000));
        kill(pids[i], SIGKILL);
        assert_int_equal(process_wait(pids[i]), PROCESS_KILLED);
        place->kills++;
    }
    check_all(place);
}

static void compare_real_file(const struct oracle *oracle, const char *path)
{
    static unsigned char bytes[ORACLE_BYTES + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, bytes, sizeof bytes, 0), oracle->size);
    assert_memory_equal(bytes, oracle->bytes, oracle->size);
    close(fd);
}

/* Drains, deletes and leaves: nothing may stay. */
static void finish(struct arena_of_death *place)
{
    struct cte__store *store = place->client->store;
    struct cte__blob_key shared = blob_key(place, "shared");
    char name[16], directory[300];
    for (unsigned w = 0; w < WRITERS; w++) {
        cte_file *file;
        assert_int_equal(cte_file_open(place->client, place->paths[w], O_RDWR, 0, NULL, &file),
                         CTE_OK);
        assert_int_equal(cte_file_drain(file), CTE_OK);
        compare_real_file(&place->shared->files[w], place->paths[w]);
        assert_int_equal(unlink(place->paths[w]), 0); /* so that no copies stay */
        assert_int_equal(cte_file_close(file), CTE_OK);
        for (unsigned b = 0; b < BLOBS; b++) {
            blob_name(name, w, b);
            struct cte__blob_key key = blob_key(place, name);
            cte__blob_remove(store, &key);
        }
    }
    cte__blob_remove(store, &shared);
    struct cte__user_tag tag;
    assert_int_equal(cte__user_tag_find(store, "tag", 3, CTE__USER_TAG_BURY, &tag), CTE_OK);
    cte__shards_pass(store);
    cte__user_tag_forget(store, "tag", 3, &tag);
    test_audit(store);
    uint64_t capacity = 0;
    for (uint32_t i = 0; i < store->header->target_count; i++)
        capacity += store->header->targets[i].capacity_bytes;
    assert_int_equal(free_bytes(store), capacity);
    assert_int_equal(cte_client_close(place->client), CTE_OK);
    snprintf(directory, sizeof directory, "%s/cte-%u-test", place->directory, (unsigned)geteuid());
    assert_int_equal(access(directory, F_OK), -1);
    cte_config_free(place->config);
    test_remove_directory(place->directory);
}

static bool cached; /* with a read cache */

static void test_killed_again_and_again(void **state)
{
    (void)state;
    struct arena_of_death place = {.seed = test_seed()};
    const char *text = getenv("CTE_TEST_ROUNDS");
    int rounds = text ? atoi(text) : ROUNDS;
    test_directory(place.directory, sizeof place.directory);
    place.shared = oracle_memory(sizeof *place.shared);
    place.config = test_config(place.directory, 1, 1,
                               cached ? "file: {chunk_size: 64KiB, cache: read}\n"
                                      : "file: {chunk_size: 64KiB}\n");
    assert_int_equal(cte_client_open(place.config, &place.client), CTE_OK);
    assert_int_equal(
        cte__user_tag_find(place.client->store, "tag", 3, CTE__USER_TAG_CREATE, &place.tag),
        CTE_OK);
    for (unsigned w = 0; w < WRITERS; w++) {
        snprintf(place.paths[w], sizeof place.paths[w], "%s/file%u", place.directory, w);
        int fd = open(place.paths[w], O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
        place.shared->files[w].exists = true;
    }
    for (int i = 0; i < rounds; i++)
        one_round(&place);
    printf("rounds %d, kills %llu, puts %llu (refused %llu), gets %llu, swept pages %llu, writes "
           "ended in the middle of a real file %llu\n",
           rounds, (unsigned long long)place.kills, (unsigned long long)place.shared->puts,
           (unsigned long long)place.shared->refused, (unsigned long long)place.shared->gets,
           (unsigned long long)place.swept_bytes / PAGE, (unsigned long long)place.mixed);
    assert_true(place.shared->puts > (uint64_t)rounds);
    assert_true(place.shared->refused > 0); /* the store was really nearly full */
    finish(&place);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_killed_again_and_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    cached = argc > 1 && strcmp(argv[1], "cached") == 0;
    setenv("CTE_LOG_LEVEL", "off", 0);
    return process_guard(all_tests, 280);
}
