/* SPDX-License-Identifier: BSD-3-Clause */
/* Copies of real files in the tiers: they serve, and never hide what others did to the file. */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include <cte/file.h>

#include "file/client.h"
#include "file/tracked.h"

enum { FILE_BYTES = 3 << 20, MODEL_BYTES = 2 << 20 };

#ifdef __SANITIZE_THREAD__
enum { STEPS = 200, RACES = 100 };
#else
enum { STEPS = 1200, RACES = 1500 };
#endif

struct fixture {
    char directory[256], path[300];
    cte_config *config;
    cte_client *client;
    unsigned char *bytes; /* what the file holds */
    uint64_t size, seed;
};

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static struct fixture fixture_make(unsigned ram_mib, const char *more)
{
    struct fixture f = {.seed = test_seed()};
    test_directory(f.directory, sizeof f.directory);
    snprintf(f.path, sizeof f.path, "%s/data", f.directory);
    f.config = test_config(f.directory, ram_mib, 0, more);
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    f.bytes = calloc(1, FILE_BYTES + 1);
    return f;
}

static void fixture_free(struct fixture *f)
{
    char store[300];
    test_audit(f->client->store);
    assert_int_equal(cte_client_close(f->client), CTE_OK);
    /* Copies alone do not keep a store. */
    snprintf(store, sizeof store, "%s/cte-%u-test", f->directory, (unsigned)geteuid());
    assert_int_equal(access(store, F_OK), -1);
    cte_config_free(f->config);
    free(f->bytes);
    test_remove_directory(f->directory);
}

/* Changes the file without the library. */
static void write_outside(struct fixture *f, const char *path, uint64_t offset, uint64_t length)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    assert_true(fd >= 0);
    for (uint64_t i = 0; i < length; i++)
        f->bytes[offset + i] = (unsigned char)(test_random(&f->seed) >> 9);
    assert_int_equal(pwrite(fd, f->bytes + offset, length, (off_t)offset), length);
    assert_int_equal(close(fd), 0);
    if (length > 0 && offset + length > f->size)
        f->size = offset + length;
}

/* A file whose times are old enough for it to be kept. */
static void make_old_file(struct fixture *f, uint64_t bytes)
{
    write_outside(f, f->path, 0, bytes);
    sleep_ms(150);
}

static cte_file *open_by(cte_client *client, const char *path, int flags)
{
    cte_file *file;
    assert_int_equal(cte_file_open(client, path, flags, 0644, NULL, &file), CTE_OK);
    assert_true(cte_file_is_tracked(file));
    return file;
}

static cte_file *open_file(struct fixture *f, int flags)
{
    return open_by(f->client, f->path, flags);
}

static void check_range(struct fixture *f, cte_file *file, uint64_t offset, uint64_t length)
{
    unsigned char *memory = malloc(length + 1);
    cte_file_segment segment = {offset, length, memory};
    uint64_t done, there = offset >= f->size ? 0 : f->size - offset;
    there = there < length ? there : length;
    assert_int_equal(cte_file_read(file, &segment, 1, &done), CTE_OK);
    assert_int_equal(done, there);
    for (uint64_t i = 0; i < there; i++)
        if (memory[i] != f->bytes[offset + i])
            fail_msg("byte %llu is %02x, should be %02x", (unsigned long long)(offset + i),
                     memory[i], f->bytes[offset + i]);
    free(memory);
}

/* Reads all of the file, which must be right; returns the bytes that came from the tiers. */
static uint64_t read_all(struct fixture *f, cte_file *file)
{
    cte_file_stats before, after;
    cte_file_get_stats(file, &before);
    check_range(f, file, 0, f->size);
    cte_file_get_stats(file, &after);
    return after.bytes_read_store - before.bytes_read_store;
}

static uint64_t open_and_read_all(struct fixture *f)
{
    cte_file *file = open_file(f, O_RDONLY);
    uint64_t hits = read_all(f, file);
    assert_int_equal(cte_file_close(file), CTE_OK);
    return hits;
}

static void write_inside(struct fixture *f, cte_file *file, uint64_t offset, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++)
        f->bytes[offset + i] = (unsigned char)(test_random(&f->seed) >> 9);
    cte_file_segment segment = {offset, length, f->bytes + offset};
    assert_int_equal(cte_file_write(file, &segment, 1), CTE_OK);
    if (length > 0 && offset + length > f->size)
        f->size = offset + length;
}

#define CACHED "file: {cache: read}\n"

/* ---- what is read is kept -------------------------------------------------------------------- */

static void test_what_was_read_is_found_again(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, CACHED);
    make_old_file(&f, FILE_BYTES - 1234);
    cte_file *file = open_file(&f, O_RDONLY);
    assert_int_equal(read_all(&f, file), 0);
    assert_int_equal(read_all(&f, file), f.size);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(open_and_read_all(&f), f.size);
    assert_int_equal(open_and_read_all(&f), f.size);
    fixture_free(&f);
}

static void test_nothing_is_kept_by_default(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, "");
    make_old_file(&f, FILE_BYTES);
    assert_int_equal(open_and_read_all(&f), 0);
    assert_int_equal(open_and_read_all(&f), 0);
    fixture_free(&f);
}

static void test_what_was_written_is_found_again(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, CACHED);
    cte_file *file = open_file(&f, O_RDWR | O_CREAT);
    write_inside(&f, file, 0, FILE_BYTES);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(open_and_read_all(&f), FILE_BYTES);
    fixture_free(&f);
}

/* Pieces that do not fit pages bring whole pages along. */
static void test_small_reads(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, CACHED);
    cte_file_stats stats;
    make_old_file(&f, 300001);
    cte_file *file = open_file(&f, O_RDONLY);
    for (uint64_t at = 0; at < f.size; at += 1000)
        check_range(&f, file, at, 4);
    for (uint64_t at = 0; at < f.size; at += 777)
        check_range(&f, file, at, 13);
    cte_file_get_stats(file, &stats);
    assert_true(stats.bytes_read - stats.bytes_read_store <= 4 * (f.size / 4096 + 1));
    assert_int_equal(read_all(&f, file), f.size);
    assert_int_equal(cte_file_close(file), CTE_OK);
    fixture_free(&f);
}

/* Tiers without room keep what fits, and leave room for what is written. */
static void test_file_larger_than_the_tier(void **state)
{
    (void)state;
    struct fixture f = fixture_make(2, CACHED);
    make_old_file(&f, FILE_BYTES);
    assert_int_equal(open_and_read_all(&f), 0);
    uint64_t hits = open_and_read_all(&f);
    assert_true(hits > 0 && hits < f.size);
    assert_true(cte__target_free_bytes(f.client->store, 0) > 0);
    fixture_free(&f);
}

/* ---- others change the file ------------------------------------------------------------------ */

static void test_changed_between_opens(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, CACHED);
    make_old_file(&f, FILE_BYTES);
    open_and_read_all(&f);
    write_outside(&f, f.path, 1 << 20, 10);
    assert_int_equal(open_and_read_all(&f), 0);
    sleep_ms(150);
    open_and_read_all(&f);
    assert_int_equal(open_and_read_all(&f), f.size);
    write_outside(&f, f.path, f.size, 1); /* grown */
    open_and_read_all(&f);
    f.size = 5000;
    assert_int_equal(truncate(f.path, 5000), 0);
    assert_int_equal(open_and_read_all(&f), 0);
    fixture_free(&f);
}

/* The time that tells of a change can be set back, but not without a trace. */
static void test_changed_with_its_time_restored(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, CACHED);
    struct stat st;
    make_old_file(&f, 100000);
    open_and_read_all(&f);
    assert_int_equal(stat(f.path, &st), 0);
    write_outside(&f, f.path, 0, 100000);
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, f.path, times, 0), 0);
    assert_int_equal(open_and_read_all(&f), 0);
    fixture_free(&f);
}

static void test_replaced_by_rename(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, CACHED);
    char other[400];
    snprintf(other, sizeof other, "%s.new", f.path);
    make_old_file(&f, FILE_BYTES);
    open_and_read_all(&f);
    for (int i = 0; i < 3; i++) {
        write_outside(&f, other, 0, FILE_BYTES);
        assert_int_equal(rename(other, f.path), 0);
        assert_int_equal(open_and_read_all(&f), 0);
    }
    fixture_free(&f);
}

/* Same size, and as near in time as can be: right after the close of a file that was drained, or
 * that was just read. */
static void test_changed_within_a_tick(void **state)
{
    (void)state;
    enum { ROUNDS = 60 };
    struct fixture f = fixture_make(16, CACHED);
    uint64_t hits = 0;
    for (int i = 0; i < ROUNDS; i++) {
        cte_file *file = open_file(&f, O_RDWR | O_CREAT);
        write_inside(&f, file, 0, 20480);
        assert_int_equal(cte_file_close(file), CTE_OK);
        if (i % 3 == 0)
            hits += open_and_read_all(&f);
        write_outside(&f, f.path, test_random(&f.seed) % 19000, 1000);
        assert_int_equal(open_and_read_all(&f), 0);
        write_outside(&f, f.path, test_random(&f.seed) % 19000, 1000);
        open_and_read_all(&f);
    }
    assert_int_equal(hits, ROUNDS / 3 * 20480);
    fixture_free(&f);
}

/* Who opens the file sees what is in it then, also if others had it open all the time. */
static void test_changed_while_open_elsewhere(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, CACHED);
    cte_client *second;
    make_old_file(&f, 100000);
    assert_int_equal(cte_client_open(f.config, &second), CTE_OK);
    cte_file *first = open_file(&f, O_RDONLY);
    assert_int_equal(read_all(&f, first), 0);
    write_outside(&f, f.path, 50000, 1000);
    cte_file *other = open_by(second, f.path, O_RDONLY);
    assert_int_equal(read_all(&f, other), 0);
    write_outside(&f, f.path, 0, 1000);
    assert_int_equal(cte_file_close(other), CTE_OK);
    assert_int_equal(cte_file_close(first), CTE_OK);
    assert_int_equal(open_and_read_all(&f), 0);
    assert_int_equal(cte_client_close(second), CTE_OK);
    fixture_free(&f);
}

/* A change by others is not taken for one of ours because we drain after it. */
static void test_changed_before_a_drain(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, CACHED);
    make_old_file(&f, 100000);
    cte_file *file = open_file(&f, O_RDWR);
    read_all(&f, file);
    write_outside(&f, f.path, 0, 4096);
    write_inside(&f, file, 50000, 100);
    assert_int_equal(cte_file_close(file), CTE_OK);
    open_and_read_all(&f);
    fixture_free(&f);
}

/* A file that nobody wrote to keeps its times. */
static void test_reading_changes_no_time(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, CACHED);
    struct stat before, after;
    make_old_file(&f, 100000);
    assert_int_equal(stat(f.path, &before), 0);
    for (int i = 0; i < 2; i++) {
        cte_file *file = open_file(&f, O_RDWR);
        read_all(&f, file);
        assert_int_equal(cte_file_close(file), CTE_OK);
    }
    assert_int_equal(stat(f.path, &after), 0);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
    assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof before.st_ctim);
    fixture_free(&f);
}

static void test_refresh(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, CACHED);
    make_old_file(&f, 100000);
    cte_file *file = open_file(&f, O_RDWR);
    read_all(&f, file);
    write_outside(&f, f.path, 1000, 60000);
    assert_int_equal(cte_file_refresh(file), CTE_OK);
    assert_int_equal(read_all(&f, file), 0);
    assert_int_equal(cte_file_close(file), CTE_OK);
    open_and_read_all(&f);
    fixture_free(&f);
}

/* A deleted file leaves nothing behind. */
static void test_deleted_file(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, CACHED);
    make_old_file(&f, FILE_BYTES);
    cte_file *file = open_file(&f, O_RDONLY);
    read_all(&f, file);
    assert_int_equal(unlink(f.path), 0);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(cte__target_free_bytes(f.client->store, 0), 16 << 20);
    fixture_free(&f);
}

/* ---- the store ------------------------------------------------------------------------------- */

static void test_kept_store_has_the_copies(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, CACHED);
    cte_config_free(f.config);
    assert_int_equal(cte_client_close(f.client), CTE_OK);
    char text[2048], error[512];
    snprintf(text, sizeof text,
             "store: {name: test, directory: '%s', keep: true}\n"
             "storage: [{bdev_type: ram, capacity_limit: 16MiB}]\n%s",
             f.directory, CACHED);
    assert_int_equal(cte_config_parse(text, "test", &f.config, error, sizeof error), CTE_OK);
    make_old_file(&f, FILE_BYTES);
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    assert_int_equal(open_and_read_all(&f), 0);
    assert_int_equal(cte_client_close(f.client), CTE_OK);
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    assert_int_equal(open_and_read_all(&f), f.size);
    test_audit(f.client->store);
    assert_int_equal(cte_client_close(f.client), CTE_OK);
    cte_config_free(f.config);
    free(f.bytes);
    test_remove_directory(f.directory);
}

/* ---- a model --------------------------------------------------------------------------------- */

static void model_truncate(struct fixture *f, cte_file *file)
{
    uint64_t size = test_random(&f->seed) % MODEL_BYTES;
    if (file)
        assert_int_equal(cte_file_truncate(file, size), CTE_OK);
    else
        assert_int_equal(truncate(f->path, (off_t)size), 0);
    if (size < f->size)
        memset(f->bytes + size, 0, f->size - size);
    f->size = size;
}

static uint64_t pick_length(struct fixture *f)
{
    static const uint64_t most[] = {16, 9000, 300000, 1 << 20};
    uint64_t length = test_random(&f->seed) % most[test_random(&f->seed) % 4];
    return test_random(&f->seed) % 2 ? length & ~UINT64_C(4095) : length;
}

static void model_step(struct fixture *f, cte_file **file)
{
    uint64_t length = pick_length(f);
    uint64_t offset = test_random(&f->seed) % (MODEL_BYTES - length);
    switch (test_random(&f->seed) % 12) {
    case 0:
        model_truncate(f, *file);
        break;
    case 1:
        assert_int_equal(cte_file_drain(*file), CTE_OK);
        break;
    case 2: /* closed, sometimes changed by others, opened */
        assert_int_equal(cte_file_close(*file), CTE_OK);
        if (test_random(&f->seed) % 3 == 0)
            write_outside(f, f->path, offset, length);
        if (test_random(&f->seed) % 8 == 0)
            model_truncate(f, NULL);
        *file = open_file(f, test_random(&f->seed) % 4 ? O_RDWR : O_RDWR | O_CREAT);
        break;
    case 3:
    case 4:
    case 5:
        write_inside(f, *file, offset, length);
        break;
    case 6:
        if (test_random(&f->seed) % 16 == 0)
            sleep_ms(120); /* old enough to be kept */
        break;
    default:
        check_range(f, *file, offset, length);
    }
}

static void run_model(unsigned ram_mib, const char *more)
{
    struct fixture f = fixture_make(ram_mib, more);
    cte_file *file = open_file(&f, O_RDWR | O_CREAT);
    for (int i = 0; i < STEPS; i++) {
        model_step(&f, &file);
        if (i % 100 == 0)
            test_audit(f.client->store);
    }
    read_all(&f, file);
    assert_int_equal(cte_file_close(file), CTE_OK);
    open_and_read_all(&f);
    fixture_free(&f);
}

static void test_model(void **state)
{
    (void)state;
    run_model(16, CACHED);
}

static void test_model_in_a_small_tier(void **state)
{
    (void)state;
    run_model(1, "file: {cache: read, chunk_size: 64KiB}\n");
}

static void test_model_without_checksums(void **state)
{
    (void)state;
    run_model(16, "file: {cache: read, checksum: false}\n");
}

/* ---- readers, a writer, and who forgets ------------------------------------------------------ */

/* The writer counts pages up; readers must never see a page go back: what they keep of the real
 * file must not hide what was written, drained and forgotten meanwhile. */
enum { RACE_PAGES = 64, RACE_READERS = 2 };

struct race {
    struct fixture *f;
    _Atomic uint64_t written[RACE_PAGES];
    _Atomic bool done;
    _Atomic uint64_t hits;
};

static void *race_reader(void *argument)
{
    struct race *race = argument;
    struct fixture *f = race->f;
    cte_file *file = open_file(f, O_RDONLY);
    uint64_t seed = 7, page[512];
    cte_file_stats stats;
    while (!race->done) {
        uint64_t n = test_random(&seed) % RACE_PAGES, done, least = race->written[n];
        cte_file_segment segment = {n * sizeof page, sizeof page, page};
        assert_int_equal(cte_file_read(file, &segment, 1, &done), CTE_OK);
        assert_int_equal(done, sizeof page);
        for (int i = 0; i < 512; i++)
            if (page[i] < least || page[i] != page[0])
                fail_msg("page %d went back to %d of %d", (int)n, (int)page[i], (int)least);
    }
    cte_file_get_stats(file, &stats);
    race->hits += stats.bytes_read_store;
    assert_int_equal(cte_file_close(file), CTE_OK);
    return NULL;
}

static void race_write(struct race *race, cte_file *file, uint64_t n, uint64_t value)
{
    uint64_t page[512];
    for (int i = 0; i < 512; i++)
        page[i] = value;
    cte_file_segment segment = {n * sizeof page, sizeof page, page};
    assert_int_equal(cte_file_write(file, &segment, 1), CTE_OK);
    race->written[n] = value;
}

static void test_readers_never_bring_back_old_bytes(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, "file: {cache: read, chunk_size: 64KiB}\n");
    struct race race = {.f = &f};
    pthread_t readers[RACE_READERS];
    cte_file *file = open_file(&f, O_RDWR | O_CREAT);
    for (uint64_t n = 0; n < RACE_PAGES; n++)
        race_write(&race, file, n, 1);
    for (int i = 0; i < RACE_READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, race_reader, &race), 0);
    for (uint64_t value = 2; value < RACES; value++) {
        race_write(&race, file, test_random(&f.seed) % RACE_PAGES, value);
        if (value % 4 == 0)
            assert_int_equal(cte_file_drain(file), CTE_OK);
        /* Everything clean goes, as when room is needed. */
        for (uint64_t chunk = 0; value % 8 == 0 && chunk < RACE_PAGES / 16; chunk++) {
            struct cte__blob_key key = cte__chunk_key(file->tag, &chunk);
            assert_int_equal(cte__blob_drop_clean(f.client->store, &key), CTE_OK);
        }
        if (value % 64 == 0)
            sleep_ms(2);
    }
    race.done = true;
    for (int i = 0; i < RACE_READERS; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    assert_int_equal(cte_file_close(file), CTE_OK);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_read_is_found_again),
        cmocka_unit_test(test_nothing_is_kept_by_default),
        cmocka_unit_test(test_what_was_written_is_found_again),
        cmocka_unit_test(test_small_reads),
        cmocka_unit_test(test_file_larger_than_the_tier),
        cmocka_unit_test(test_changed_between_opens),
        cmocka_unit_test(test_changed_with_its_time_restored),
        cmocka_unit_test(test_replaced_by_rename),
        cmocka_unit_test(test_changed_within_a_tick),
        cmocka_unit_test(test_changed_while_open_elsewhere),
        cmocka_unit_test(test_changed_before_a_drain),
        cmocka_unit_test(test_reading_changes_no_time),
        cmocka_unit_test(test_refresh),
        cmocka_unit_test(test_deleted_file),
        cmocka_unit_test(test_kept_store_has_the_copies),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_model_in_a_small_tier),
        cmocka_unit_test(test_model_without_checksums),
        cmocka_unit_test(test_readers_never_bring_back_old_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
