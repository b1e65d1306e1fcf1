/* SPDX-License-Identifier: BSD-3-Clause */
/* The organizer: what is hot, what moves where, and that nothing is lost on the way. */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cte/blob.h>
#include <cte/file.h>

#include "blob/blob.h"
#include "file/client.h"
#include "file/organizer.h"
#include "file/tracked.h"

enum { MIB = 1 << 20, BLOB_BYTES = 256 << 10 };

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* ---- heat ------------------------------------------------------------------------------------ */

static void test_heat(void **state)
{
    (void)state;
    const uint64_t start = UINT64_C(1700000000000000000);
    uint64_t now = start, word = 0;
    assert_int_equal(cte__heat_count(word, now), 0);
    word = cte__heat_read(word, now);
    assert_int_equal(cte__heat_count(word, now), 1);
    assert_true(cte__heat_time(word) >= now && cte__heat_time(word) < now + 256);
    /* The pieces of one pass count once. */
    for (int i = 0; i < 1000; i++)
        word = cte__heat_read(word, now += CTE__HEAT_BURST_NS / 2);
    assert_int_equal(cte__heat_count(word, now), 1);
    for (int i = 0; i < 9; i++)
        word = cte__heat_read(word, now += 2 * CTE__HEAT_BURST_NS);
    assert_int_equal(cte__heat_count(word, now), 10);
    /* It cools. */
    assert_int_equal(cte__heat_count(word, now + CTE__HEAT_HALF_LIFE_NS + 256), 5);
    assert_int_equal(cte__heat_count(word, now + 4 * CTE__HEAT_HALF_LIFE_NS), 0);
    word = cte__heat_read(word, now += 2 * CTE__HEAT_HALF_LIFE_NS + 256);
    assert_int_equal(cte__heat_count(word, now), 3);
    for (int i = 0; i < 1000; i++)
        word = cte__heat_read(word, now += 2 * CTE__HEAT_BURST_NS);
    assert_int_equal(cte__heat_count(word, now), 255);
    /* A clock that was set back. */
    word = cte__heat_read(word, start);
    assert_int_equal(cte__heat_count(word, start), 255);
    assert_int_equal(cte__heat_time(cte__heat_of_time(0)), 0);
}

/* ---- a store --------------------------------------------------------------------------------- */

struct fixture {
    char directory[256], path[300];
    cte_config *config;
    cte_client *client;
    struct cte__organizer *organizer;
    cte_tag *tag;
    uint64_t seed;
};

static struct fixture fixture_make(unsigned ram_mib, unsigned file_mib, const char *more)
{
    struct fixture f = {.seed = test_seed()};
    test_directory(f.directory, sizeof f.directory);
    snprintf(f.path, sizeof f.path, "%s/data", f.directory);
    f.config = test_config(f.directory, ram_mib, file_mib, more);
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    assert_int_equal(cte_tag_open(f.client, "tag", true, &f.tag), CTE_OK);
    f.organizer = cte__organizer_new();
    return f;
}

static void fixture_free(struct fixture *f)
{
    test_audit(f->client->store);
    cte__organizer_free(f->organizer);
    cte_tag_close(f->tag);
    assert_int_equal(cte_tag_delete(f->client, "tag"), CTE_OK);
    assert_int_equal(cte_client_close(f->client), CTE_OK);
    cte_config_free(f->config);
    test_remove_directory(f->directory);
}

static uint64_t free_of(const struct fixture *f, uint32_t target)
{
    return cte__target_free_bytes(f->client->store, target);
}

static void put(struct fixture *f, int number)
{
    char name[16], *bytes = malloc(BLOB_BYTES);
    snprintf(name, sizeof name, "b%d", number);
    memset(bytes, number, BLOB_BYTES);
    assert_int_equal(cte_blob_put(f->tag, name, 0, bytes, BLOB_BYTES, 1.0f, 0), CTE_OK);
    free(bytes);
}

static void get(struct fixture *f, int number)
{
    char name[16], *bytes = malloc(BLOB_BYTES);
    size_t size = 0;
    snprintf(name, sizeof name, "b%d", number);
    assert_int_equal(cte_blob_get(f->tag, name, 0, bytes, BLOB_BYTES, &size), CTE_OK);
    assert_int_equal(size, BLOB_BYTES);
    for (size_t i = 0; i < size; i++)
        assert_int_equal((unsigned char)bytes[i], number);
    free(bytes);
}

/* The target where a blob begins. */
static uint32_t target_of(struct fixture *f, int number)
{
    char name[16];
    struct cte__snapshot snapshot;
    snprintf(name, sizeof name, "b%d", number);
    struct cte__user_tag tag;
    assert_int_equal(cte__user_tag_find(f->client->store, "tag", 3, CTE__USER_TAG_OPEN, &tag),
                     CTE_OK);
    struct cte__blob_key key = {tag.unit, CTE__ENTRY_BLOB, name, (uint32_t)strlen(name), tag.id,
                                false};
    assert_int_equal(cte__blob_snapshot(f->client->store, &key, &snapshot), CTE_OK);
    assert_true(snapshot.list.count > 0);
    uint32_t target = cte__page_target(snapshot.list.spans[0].page);
    cte__snapshot_free(&snapshot);
    return target;
}

/* Until nothing moves any more. */
static void organize(struct fixture *f)
{
    for (int i = 0; i < 100; i++) {
        uint64_t before = free_of(f, 0);
        cte__organizer_step(f->organizer, f->client);
        sleep_ms(10);
        if (i > 10 && free_of(f, 0) == before)
            return;
    }
}

static void test_cold_blobs_go_down(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 32, "organizer_bytes_per_s_max: 1GiB\n");
    for (int i = 0; i < 31; i++) { /* 7.75 of 8 MiB */
        put(&f, i);
        if (i == 7 || i == 14)
            sleep_ms(30); /* times have the grain of the kernel's clock */
    }
    assert_int_equal(free_of(&f, 0), BLOB_BYTES);
    for (int pass = 0; pass < 3; pass++) {
        sleep_ms(30);
        for (int i = 0; i < 8; i++)
            get(&f, i);
    }
    organize(&f);
    assert_true(free_of(&f, 0) >= 2 * MIB);
    assert_true(free_of(&f, 0) < 5 * MIB);
    for (int i = 0; i < 8; i++)
        assert_int_equal(target_of(&f, i), 0); /* though they are the oldest */
    for (int i = 8; i < 15; i++)
        assert_int_equal(target_of(&f, i), 1);
    for (int i = 0; i < 31; i++)
        get(&f, i);
    fixture_free(&f);
}

static void test_hot_blobs_go_up(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 32, "organizer_bytes_per_s_max: 1GiB\n");
    for (int i = 0; i < 80; i++)
        put(&f, i); /* 20 MiB: what comes later lies below */
    assert_int_equal(target_of(&f, 79), 1);
    organize(&f);
    for (int pass = 0; pass < 4; pass++) {
        sleep_ms(30);
        for (int i = 70; i < 80; i++)
            get(&f, i);
    }
    organize(&f);
    for (int i = 70; i < 80; i++)
        assert_int_equal(target_of(&f, i), 0);
    for (int i = 0; i < 80; i++)
        get(&f, i);
    fixture_free(&f);
}

/* What is hot does not drive out what is as hot. */
static void test_no_thrashing(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 32, "organizer_bytes_per_s_max: 1GiB\n");
    for (int i = 0; i < 80; i++)
        put(&f, i);
    for (int pass = 0; pass < 4; pass++) {
        sleep_ms(30);
        for (int i = 0; i < 80; i++)
            get(&f, i);
    }
    organize(&f);
    struct cte__target_totals before = cte__target_totals(&f.client->store->header->targets[0]);
    for (int i = 0; i < 40; i++) {
        cte__organizer_step(f.organizer, f.client);
        sleep_ms(5);
    }
    struct cte__target_totals after = cte__target_totals(&f.client->store->header->targets[0]);
    assert_true(after.bytes_written - before.bytes_written <= MIB);
    fixture_free(&f);
}

/* No more in a second than configured. */
static void test_rate(void **state)
{
    (void)state;
    enum { STEPS = 20, STEP_MS = 50 };
    struct fixture f = fixture_make(16, 32, "organizer_bytes_per_s_max: 1MiB\n");
    for (int i = 0; i < 62; i++)
        put(&f, i);
    uint64_t before = free_of(&f, 0), start = cte__monotonic_ns();
    for (int i = 0; i < STEPS; i++) {
        cte__organizer_step(f.organizer, f.client);
        sleep_ms(STEP_MS);
    }
    double seconds = (double)(cte__monotonic_ns() - start) / 1e9;
    /* A blob begun is moved as a whole. */
    assert_true((double)(free_of(&f, 0) - before) <= 2 * BLOB_BYTES + seconds * MIB);
    assert_true(free_of(&f, 0) > before);
    fixture_free(&f);
}

/* As much at once as the rate allows. */
static void test_rate_is_used(void **state)
{
    (void)state;
    enum { STEPS = 20, STEP_MS = 60 };
    struct fixture f = fixture_make(64, 128, "organizer_bytes_per_s_max: 1GiB\n");
    uint64_t most = 0;
    for (int i = 0; i < 250; i++)
        put(&f, i);
    for (int i = 0; i < STEPS; i++) {
        uint64_t before = free_of(&f, 0);
        sleep_ms(STEP_MS);
        cte__organizer_step(f.organizer, f.client);
        uint64_t moved = free_of(&f, 0) - before;
        most = moved > most ? moved : most;
    }
    assert_true(most > 8 * MIB);
    fixture_free(&f);
}

/* ---- files ----------------------------------------------------------------------------------- */

static void write_chunks(cte_file *file, int first, int count)
{
    char *bytes = malloc(MIB);
    for (int i = first; i < first + count; i++) {
        memset(bytes, i + 1, MIB);
        cte_file_segment segment = {(uint64_t)i * MIB, MIB, bytes};
        assert_int_equal(cte_file_write(file, &segment, 1), CTE_OK);
    }
    free(bytes);
}

static void read_chunks(cte_file *file, int first, int count)
{
    unsigned char *bytes = malloc(MIB);
    for (int i = first; i < first + count; i++) {
        uint64_t done;
        cte_file_segment segment = {(uint64_t)i * MIB, MIB, bytes};
        assert_int_equal(cte_file_read(file, &segment, 1, &done), CTE_OK);
        assert_int_equal(done, MIB);
        for (size_t b = 0; b < MIB; b++)
            assert_int_equal(bytes[b], i + 1);
    }
    free(bytes);
}

/* Copies of files go down, then away; what is not drained stays. */
static void test_copies_are_given_up(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0,
                                    "organizer_bytes_per_s_max: 1GiB\n"
                                    "file: {cache: read, drain: never}\n");
    cte_file *file;
    assert_int_equal(cte_file_open(f.client, f.path, O_RDWR | O_CREAT, 0644, NULL, &file), CTE_OK);
    write_chunks(file, 0, 4);
    assert_int_equal(cte_file_drain(file), CTE_OK); /* clean */
    write_chunks(file, 4, 4);                       /* dirty */
    assert_int_equal(free_of(&f, 0), 0);
    organize(&f);
    assert_true(free_of(&f, 0) >= 2 * MIB && free_of(&f, 0) <= 4 * MIB);
    assert_true(cte__tracked_is_dirty(f.client->store, file->tag));
    read_chunks(file, 0, 8);
    assert_int_equal(cte_file_drain(file), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(cte_file_open(f.client, f.path, O_RDONLY, 0, NULL, &file), CTE_OK);
    read_chunks(file, 0, 8);
    assert_int_equal(unlink(f.path), 0);
    assert_int_equal(cte_file_close(file), CTE_OK);
    fixture_free(&f);
}

static void test_chunks_that_are_read_again_go_up(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 32,
                                    "organizer_bytes_per_s_max: 1GiB\n"
                                    "file: {cache: read}\n");
    cte_file *file;
    assert_int_equal(cte_file_open(f.client, f.path, O_RDWR | O_CREAT, 0644, NULL, &file), CTE_OK);
    write_chunks(file, 0, 16);
    assert_int_equal(cte_file_drain(file), CTE_OK);
    organize(&f);
    for (int pass = 0; pass < 4; pass++) {
        sleep_ms(30);
        read_chunks(file, 12, 3);
    }
    organize(&f);
    struct cte__target_totals before = cte__target_totals(&f.client->store->header->targets[1]);
    read_chunks(file, 12, 3);
    struct cte__target_totals after = cte__target_totals(&f.client->store->header->targets[1]);
    assert_int_equal(after.bytes_read, before.bytes_read); /* all in memory */
    read_chunks(file, 0, 16);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(unlink(f.path), 0);
    fixture_free(&f);
}

/* ---- with everything going on ---------------------------------------------------------------- */

/* The organizer as the client runs it, killed while it moves; writers and readers meanwhile. */
static void test_killed_while_organizing(void **state)
{
    (void)state;
    enum { ROUNDS = 40, BLOBS = 60 };
    struct fixture f = fixture_make(8, 32, "");
    cte_config *config =
        test_config(f.directory, 8, 32, "organizer: frecency\norganizer_bytes_per_s_max: 4GiB\n");
    for (int i = 0; i < BLOBS; i++)
        put(&f, i);
    for (int round = 0; round < ROUNDS; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            cte_client *client;
            if (cte_client_open(config, &client) != CTE_OK)
                _exit(1);
            for (;;)
                sleep_ms(1000);
        }
        for (int i = 0; i < 20; i++) {
            get(&f, (int)(test_random(&f.seed) % BLOBS));
            if (test_random(&f.seed) % 4 == 0)
                put(&f, (int)(test_random(&f.seed) % BLOBS));
        }
        sleep_ms((long)(test_random(&f.seed) % 30));
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        cte__store_sweep(f.client->store);
        test_audit(f.client->store);
    }
    for (int i = 0; i < BLOBS; i++)
        get(&f, i);
    cte_config_free(config);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heat),
        cmocka_unit_test(test_cold_blobs_go_down),
        cmocka_unit_test(test_hot_blobs_go_up),
        cmocka_unit_test(test_no_thrashing),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_rate_is_used),
        cmocka_unit_test(test_copies_are_given_up),
        cmocka_unit_test(test_chunks_that_are_read_again_go_up),
        cmocka_unit_test(test_killed_while_organizing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
