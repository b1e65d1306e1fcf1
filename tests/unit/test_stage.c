/* SPDX-License-Identifier: BSD-3-Clause */
/* Staging files in: all of it, what goes wrong, and what dies on the way. */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cte/file.h>
#include <cte/stage.h>

#include "file/client.h"

enum { FILE_BYTES = (5 << 20) + 4321 };

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

static void make_file(struct fixture *f, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++)
        f->bytes[i] = (unsigned char)(test_random(&f->seed) >> 11);
    int fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_int_equal(pwrite(fd, f->bytes, bytes, 0), bytes);
    assert_int_equal(close(fd), 0);
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
    test_audit(f->client->store);
    assert_int_equal(cte_client_close(f->client), CTE_OK);
    cte_config_free(f->config);
    free(f->bytes);
    test_remove_directory(f->directory);
}

/* Reads all, which must be right; returns the bytes that came from the tiers. */
static uint64_t read_all(struct fixture *f, uint64_t size)
{
    unsigned char *memory = malloc(size + 1);
    cte_file *file;
    cte_file_stats stats;
    uint64_t done;
    cte_file_segment segment = {0, size, memory};
    assert_int_equal(cte_file_open(f->client, f->path, O_RDONLY, 0, NULL, &file), CTE_OK);
    assert_int_equal(cte_file_read(file, &segment, 1, &done), CTE_OK);
    assert_int_equal(done, size);
    assert_memory_equal(memory, f->bytes, size);
    cte_file_get_stats(file, &stats);
    assert_int_equal(cte_file_close(file), CTE_OK);
    free(memory);
    return stats.bytes_read_store;
}

static void add(void *context, uint64_t bytes)
{
    atomic_fetch_add((_Atomic uint64_t *)context, bytes);
}

static void test_staged_file_is_read_from_the_tiers(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, "");
    cte_stage_options options = CTE_STAGE_OPTIONS_INIT;
    cte_stage_result result;
    _Atomic uint64_t progress = 0;
    options.progress = add;
    options.context = &progress;
    make_file(&f, FILE_BYTES);
    assert_int_equal(cte_stage_in(f.client, f.path, &options, &result), CTE_OK);
    assert_int_equal(result.size_bytes, FILE_BYTES);
    assert_int_equal(result.bytes_staged, FILE_BYTES);
    assert_int_equal(result.bytes_present, 0);
    assert_int_equal(progress, FILE_BYTES);
    assert_int_equal(read_all(&f, FILE_BYTES), FILE_BYTES);
    /* Again: it is there. */
    assert_int_equal(cte_stage_in(f.client, f.path, NULL, &result), CTE_OK);
    assert_int_equal(result.bytes_present, FILE_BYTES);
    assert_int_equal(result.bytes_staged, 0);
    /* The store stays without anybody. */
    assert_int_equal(cte_client_close(f.client), CTE_OK);
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    assert_int_equal(read_all(&f, FILE_BYTES), FILE_BYTES);
    fixture_free(&f);
}

static void test_changed_after_staging(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, "");
    make_file(&f, FILE_BYTES);
    assert_int_equal(cte_stage_in(f.client, f.path, NULL, NULL), CTE_OK);
    make_file(&f, FILE_BYTES);
    assert_int_equal(read_all(&f, FILE_BYTES), 0);
    assert_int_equal(cte_stage_in(f.client, f.path, NULL, NULL), CTE_OK);
    assert_int_equal(read_all(&f, FILE_BYTES), FILE_BYTES);
    fixture_free(&f);
}

struct changer {
    struct fixture *f;
    _Atomic bool done;
};

static void *change_file(void *argument)
{
    struct changer *changer = argument;
    int fd = open(changer->f->path, O_WRONLY);
    for (uint64_t n = 0; !changer->done; n++) {
        unsigned char byte = (unsigned char)n;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)(n * 4099 % FILE_BYTES)), 1);
        changer->f->bytes[n * 4099 % FILE_BYTES] = byte;
        sleep_ms(1);
    }
    close(fd);
    return NULL;
}

/* Whatever staging says of a file that is being changed, nobody reads old bytes afterwards. */
static void test_changed_while_staging(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, "");
    struct changer changer = {.f = &f};
    pthread_t thread;
    make_file(&f, FILE_BYTES);
    sleep_ms(150);
    for (int i = 0; i < 5; i++) {
        changer.done = false;
        assert_int_equal(pthread_create(&thread, NULL, change_file, &changer), 0);
        cte_status status = cte_stage_in(f.client, f.path, NULL, NULL);
        assert_true(status == CTE_OK || status == -ESTALE || status == -EBUSY);
        sleep_ms(5);
        changer.done = true;
        assert_int_equal(pthread_join(thread, NULL), 0);
        read_all(&f, FILE_BYTES);
    }
    fixture_free(&f);
}

static void test_what_cannot_be_staged(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, "file: {exclude: ['*/no/*']}\n");
    char path[400];
    snprintf(path, sizeof path, "%s/no", f.directory);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(cte_stage_in(f.client, path, NULL, NULL), -ENOTSUP);
    snprintf(path, sizeof path, "%s/no/file", f.directory);
    assert_int_equal(cte_stage_in(f.client, path, NULL, NULL), -ENOENT);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
    assert_int_equal(cte_stage_in(f.client, path, NULL, NULL), -ENOTSUP);
    snprintf(path, sizeof path, "%s/pipe", f.directory);
    assert_int_equal(mkfifo(path, 0644), 0);
    assert_int_equal(cte_stage_in(f.client, path, NULL, NULL), -ENOTSUP);
    cte_stage_options options = CTE_STAGE_OPTIONS_INIT;
    options.threads = 65;
    assert_int_equal(cte_stage_in(f.client, path, &options, NULL), -EINVAL);
    make_file(&f, 0); /* an empty file is all there */
    assert_int_equal(cte_stage_in(f.client, f.path, NULL, NULL), CTE_OK);
    fixture_free(&f);
}

/* What fits is there and serves. */
static void test_file_larger_than_the_tiers(void **state)
{
    (void)state;
    struct fixture f = fixture_make(2, "");
    cte_stage_result result;
    make_file(&f, FILE_BYTES);
    assert_int_equal(cte_stage_in(f.client, f.path, NULL, &result), -ENOSPC);
    assert_true(result.bytes_staged > 0 && result.bytes_staged < FILE_BYTES);
    assert_int_equal(read_all(&f, FILE_BYTES), result.bytes_staged);
    fixture_free(&f);
}

/* Data that is in the tiers and not in the file yet is newer than the file. */
static void test_staging_below_what_was_written(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, "file: {drain: never}\n");
    cte_file *file;
    make_file(&f, FILE_BYTES);
    assert_int_equal(cte_file_open(f.client, f.path, O_RDWR, 0, NULL, &file), CTE_OK);
    for (uint64_t at = 100; at + 1000 < FILE_BYTES; at += 300000) {
        memset(f.bytes + at, 'n', 1000);
        cte_file_segment segment = {at, 1000, f.bytes + at};
        assert_int_equal(cte_file_write(file, &segment, 1), CTE_OK);
    }
    assert_int_equal(cte_stage_in(f.client, f.path, NULL, NULL), CTE_OK);
    assert_int_equal(cte_file_drain(file), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    read_all(&f, FILE_BYTES);
    fixture_free(&f);
}

/* Dies when so many chunks are done. */
static void die_at(void *context, uint64_t bytes)
{
    (void)bytes;
    if (atomic_fetch_sub((_Atomic int *)context, 1) == 1)
        kill(getpid(), SIGKILL);
}

/* Killed at any moment; the next one goes on, and all is right. */
static void test_killed_and_repeated(void **state)
{
    (void)state;
    enum { ROUNDS = 40 };
    struct fixture f = fixture_make(16, "");
    cte_stage_result result;
    uint64_t present = 0;
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 8 == 0) {
            make_file(&f, FILE_BYTES);
            sleep_ms(120);
        }
        pid_t pid = fork();
        if (pid == 0) {
            cte_client *client;
            cte_stage_options options = CTE_STAGE_OPTIONS_INIT;
            _Atomic int chunks = 1 + i % 5;
            options.progress = die_at;
            options.context = &chunks;
            if (cte_client_open(f.config, &client) == CTE_OK)
                cte_stage_in(client, f.path, i % 2 ? &options : NULL, NULL);
            _exit(0);
        }
        if (i % 2 == 0) {
            sleep_ms((long)(test_random(&f.seed) % 20));
            kill(pid, SIGKILL);
        }
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        cte__store_sweep(f.client->store);
        test_audit(f.client->store);
        read_all(&f, FILE_BYTES);
        if (i % 8 == 7) {
            assert_int_equal(cte_stage_in(f.client, f.path, NULL, &result), CTE_OK);
            assert_int_equal(result.bytes_present + result.bytes_staged, FILE_BYTES);
            present += result.bytes_present;
            assert_int_equal(read_all(&f, FILE_BYTES), FILE_BYTES);
        }
    }
    assert_true(present > 0); /* what a killed one had staged was of use */
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_staged_file_is_read_from_the_tiers),
        cmocka_unit_test(test_changed_after_staging),
        cmocka_unit_test(test_changed_while_staging),
        cmocka_unit_test(test_what_cannot_be_staged),
        cmocka_unit_test(test_file_larger_than_the_tiers),
        cmocka_unit_test(test_staging_below_what_was_written),
        cmocka_unit_test(test_killed_and_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
