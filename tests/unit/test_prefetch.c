/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading ahead: what patterns bring, what others do not, and that the bytes are right. */
#include "store_helpers.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cte/file.h>

#include "file/client.h"
#include "file/tracked.h"

enum { FILE_BYTES = 12 << 20, PIECE = 64 << 10 };

struct fixture {
    char directory[256], path[300];
    cte_config *config;
    cte_client *client;
    unsigned char *bytes;
    uint64_t seed;
};

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static struct fixture fixture_make(const char *more)
{
    struct fixture f = {.seed = test_seed(), .bytes = malloc(FILE_BYTES)};
    test_directory(f.directory, sizeof f.directory);
    snprintf(f.path, sizeof f.path, "%s/data", f.directory);
    for (uint64_t i = 0; i < FILE_BYTES; i++)
        f.bytes[i] = (unsigned char)(test_random(&f.seed) >> 17);
    int fd = open(f.path, O_WRONLY | O_CREAT, 0644);
    assert_int_equal(write(fd, f.bytes, FILE_BYTES), FILE_BYTES);
    assert_int_equal(close(fd), 0);
    sleep_ms(150); /* old enough to be kept */
    f.config = test_config(f.directory, 64, 0, more);
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    return f;
}

static void fixture_free(struct fixture *f)
{
    test_audit(f->client->store);
    assert_int_equal(cte_client_close(f->client), CTE_OK);
    cte_config_free(f->config);
    free(f->bytes);
    test_remove_directory(f->directory);
}

static cte_file *open_file(struct fixture *f, int flags)
{
    cte_file *file;
    assert_int_equal(cte_file_open(f->client, f->path, flags, 0, NULL, &file), CTE_OK);
    return file;
}

static void check(struct fixture *f, cte_file *file, uint64_t offset, uint64_t length)
{
    unsigned char *memory = malloc(length);
    cte_file_segment segment = {offset, length, memory};
    uint64_t done;
    assert_int_equal(cte_file_read(file, &segment, 1, &done), CTE_OK);
    assert_int_equal(done, length);
    assert_memory_equal(memory, f->bytes + offset, length);
    free(memory);
}

static uint64_t hits(cte_file *file)
{
    cte_file_stats stats;
    cte_file_get_stats(file, &stats);
    return stats.bytes_read_store;
}

static uint64_t stored(const struct fixture *f)
{
    return (UINT64_C(64) << 20) - cte__target_free_bytes(f->client->store, 0);
}

static void test_sequential(void **state)
{
    (void)state;
    struct fixture f = fixture_make("file: {cache: read, prefetch: sequential}\n");
    cte_file *file = open_file(&f, O_RDONLY);
    for (uint64_t at = 0; at < FILE_BYTES; at += PIECE) {
        check(&f, file, at, PIECE);
        sleep_ms(1); /* time to compute, and for the workers to be ahead */
    }
    /* All but the first pieces may have been ahead; how many is up to the machine. */
    assert_true(hits(file) > 0);
    assert_int_equal(cte_file_close(file), CTE_OK);
    fixture_free(&f);
}

/* Nothing is read that nobody asked for. */
static void test_random_reads_bring_nothing(void **state)
{
    (void)state;
    struct fixture f = fixture_make("file: {cache: none, prefetch: strided}\n");
    cte_file *file = open_file(&f, O_RDONLY);
    for (int i = 0; i < 300; i++) {
        uint64_t at = test_random(&f.seed) % (FILE_BYTES / PIECE) * PIECE;
        check(&f, file, at, 1 + test_random(&f.seed) % PIECE);
    }
    sleep_ms(50);
    assert_int_equal(stored(&f), 0);
    assert_int_equal(cte_file_close(file), CTE_OK);
    fixture_free(&f);
}

static void test_strided(void **state)
{
    (void)state;
    struct fixture f = fixture_make("file: {cache: none, prefetch: strided}\n");
    cte_file *file = open_file(&f, O_RDONLY);
    for (uint64_t at = 4096; at + 10000 < FILE_BYTES; at += 100000) {
        check(&f, file, at, 10000);
        sleep_ms(1);
    }
    assert_true(hits(file) > 0);
    assert_true(stored(&f) > 0);
    /* No more than the pieces, by whole pages. */
    assert_true(stored(&f) <= (FILE_BYTES / 100000 + 1) * UINT64_C(16384));
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(stored(&f), 0); /* without a read cache they go with the last close */
    fixture_free(&f);
}

static void test_stride_is_none_of_sequential(void **state)
{
    (void)state;
    struct fixture f = fixture_make("file: {cache: none, prefetch: sequential}\n");
    cte_file *file = open_file(&f, O_RDONLY);
    for (uint64_t at = 4096; at + 10000 < FILE_BYTES; at += 100000)
        check(&f, file, at, 10000);
    sleep_ms(50);
    assert_int_equal(stored(&f), 0);
    assert_int_equal(cte_file_close(file), CTE_OK);
    fixture_free(&f);
}

/* Never so far ahead that much is read for nothing. */
static void test_bounded(void **state)
{
    (void)state;
    struct fixture f = fixture_make("file: {cache: none, prefetch: sequential}\n");
    cte_file *file = open_file(&f, O_RDONLY);
    for (uint64_t at = 0; at < 5 * PIECE; at += PIECE)
        check(&f, file, at, PIECE);
    sleep_ms(100);
    assert_true(stored(&f) <= 5 * PIECE + (1 << 20)); /* no further ahead than it went so far */
    assert_int_equal(cte_file_close(file), CTE_OK);
    fixture_free(&f);
}

/* Closed while there is much under way, by a process and by its child. */
static void test_closed_at_once(void **state)
{
    (void)state;
    struct fixture f = fixture_make("file: {cache: read, prefetch: sequential}\n");
    for (int i = 0; i < 50; i++) {
        cte_file *file = open_file(&f, O_RDONLY);
        uint64_t at = test_random(&f.seed) % (FILE_BYTES / 2);
        for (int n = 0; n < 6; n++, at += PIECE)
            check(&f, file, at, PIECE);
        pid_t pid = i % 5 == 0 ? fork() : 1;
        if (pid == 0) {
            unsigned char memory[100];
            cte_file_segment segment = {0, sizeof memory, memory};
            uint64_t done;
            int bad = cte_file_read(file, &segment, 1, &done) != CTE_OK ||
                      memcmp(memory, f.bytes, sizeof memory) != 0;
            _exit(cte_file_close(file) != CTE_OK || bad);
        }
        assert_int_equal(cte_file_close(file), CTE_OK);
        int result = 0;
        if (pid != 1)
            assert_int_equal(waitpid(pid, &result, 0), pid);
        assert_int_equal(result, 0);
    }
    fixture_free(&f);
}

/* What is read ahead never hides what is written meanwhile. */
static void test_with_writers(void **state)
{
    (void)state;
    struct fixture f = fixture_make("file: {cache: read, prefetch: strided, chunk_size: 64KiB}\n");
    cte_file *reader = open_file(&f, O_RDONLY), *writer = open_file(&f, O_RDWR);
    for (int round = 0; round < 30; round++) {
        uint64_t at = test_random(&f.seed) % (FILE_BYTES / 2);
        for (int n = 0; n < 20; n++, at += 40000) {
            uint64_t where = at + test_random(&f.seed) % 400000, length = 5000;
            memset(f.bytes + where, (int)(test_random(&f.seed) & 0xff), length);
            cte_file_segment segment = {where, length, f.bytes + where};
            assert_int_equal(cte_file_write(writer, &segment, 1), CTE_OK);
            check(&f, reader, at, 40000);
        }
        assert_int_equal(cte_file_drain(writer), CTE_OK);
        for (uint64_t chunk = 0; chunk < FILE_BYTES / (64 << 10); chunk++) {
            struct cte__blob_key key = cte__chunk_key(writer->tag, &chunk);
            assert_int_equal(cte__blob_drop_clean(f.client->store, &key), CTE_OK);
        }
    }
    check(&f, reader, 0, FILE_BYTES);
    assert_int_equal(cte_file_close(reader), CTE_OK);
    assert_int_equal(cte_file_close(writer), CTE_OK);
    fixture_free(&f);
}

static void test_killed_while_reading_ahead(void **state)
{
    (void)state;
    struct fixture f = fixture_make("file: {cache: read, prefetch: sequential}\n");
    for (int i = 0; i < 30; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            cte_client *client;
            cte_file *file;
            char *memory = malloc(PIECE);
            if (cte_client_open(f.config, &client) != CTE_OK ||
                cte_file_open(client, f.path, O_RDONLY, 0, NULL, &file) != CTE_OK)
                _exit(1);
            for (uint64_t at = 0;; at = (at + PIECE) % FILE_BYTES) {
                cte_file_segment segment = {at, PIECE, memory};
                if (cte_file_read(file, &segment, 1, NULL) != CTE_OK)
                    _exit(1);
            }
        }
        sleep_ms((long)(test_random(&f.seed) % 25));
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        cte__store_sweep(f.client->store);
        test_audit(f.client->store);
        cte_file *file = open_file(&f, O_RDONLY);
        check(&f, file, 0, FILE_BYTES);
        assert_int_equal(i % 5 == 4 ? cte_file_refresh(file) : CTE_OK, CTE_OK);
        assert_int_equal(cte_file_close(file), CTE_OK);
    }
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequential),   cmocka_unit_test(test_random_reads_bring_nothing),
        cmocka_unit_test(test_strided),      cmocka_unit_test(test_stride_is_none_of_sequential),
        cmocka_unit_test(test_bounded),      cmocka_unit_test(test_closed_at_once),
        cmocka_unit_test(test_with_writers), cmocka_unit_test(test_killed_while_reading_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
