/* SPDX-License-Identifier: BSD-3-Clause */
/* The file layer against a model: random operations on a file, by several handles and clients. */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cte/file.h>

#include "file/client.h"
#include "file/drain.h"

#ifdef __SANITIZE_THREAD__ /* all is slow, and most of all to start a process */
enum { OPERATIONS = 300, RACING_OPENS = 10 };
#else
enum { OPERATIONS = 1500, RACING_OPENS = 60 };
#endif
enum { MODEL_BYTES = 6 << 20 };

struct fixture {
    char directory[256];
    char path[300];
    cte_config *config;
    cte_client *client;
};

static struct fixture fixture_make(unsigned ram_mib, unsigned file_mib, const char *more)
{
    struct fixture f = {0};
    test_directory(f.directory, sizeof f.directory);
    snprintf(f.path, sizeof f.path, "%s/data", f.directory);
    f.config = test_config(f.directory, ram_mib, file_mib, more);
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    return f;
}

static void fixture_free(struct fixture *f)
{
    char store[300];
    assert_int_equal(cte_client_close(f->client), CTE_OK);
    /* The last one out leaves nothing behind. */
    snprintf(store, sizeof store, "%s/cte-%u-test", f->directory, (unsigned)geteuid());
    assert_int_equal(access(store, F_OK), -1);
    cte_config_free(f->config);
    test_remove_directory(f->directory);
}

static cte_file *open_file(struct fixture *f, int flags)
{
    cte_file *file;
    assert_int_equal(cte_file_open(f->client, f->path, flags, 0644, NULL, &file), CTE_OK);
    assert_true(cte_file_is_tracked(file));
    return file;
}

struct model {
    unsigned char *bytes;
    uint64_t size;
    uint64_t seed;
};

static uint64_t pick_length(struct model *m)
{
    switch (test_random(&m->seed) % 4) {
    case 0:
        return test_random(&m->seed) % 16;
    case 1:
        return test_random(&m->seed) % 9000;
    case 2:
        return 4096 * (test_random(&m->seed) % 40);
    default:
        return test_random(&m->seed) % (2 << 20);
    }
}

static uint64_t pick_offset(struct model *m, uint64_t length)
{
    uint64_t offset = test_random(&m->seed) % (MODEL_BYTES - length);
    return test_random(&m->seed) % 3 == 0 ? offset & ~UINT64_C(4095) : offset;
}

static void model_write(struct model *m, cte_file *file)
{
    cte_file_segment segments[8];
    size_t count = 1 + test_random(&m->seed) % 8;
    unsigned char *memory = malloc(8 * (2 << 20)), *at = memory;
    for (size_t i = 0; i < count; i++) {
        uint64_t length = pick_length(m), offset = pick_offset(m, length);
        for (uint64_t b = 0; b < length; b++)
            at[b] = (unsigned char)(test_random(&m->seed) >> 13);
        segments[i] = (cte_file_segment){offset, length, at};
        memcpy(m->bytes + offset, at, length);
        if (length > 0 && offset + length > m->size)
            m->size = offset + length;
        at += length;
    }
    assert_int_equal(cte_file_write(file, segments, count), CTE_OK);
    free(memory);
}

/* Small pieces with gaps, as a view of a vector type gives. */
static void model_write_strided(struct model *m, cte_file *file)
{
    uint64_t piece = 1 + test_random(&m->seed) % 600, stride = piece + test_random(&m->seed) % 900;
    size_t count = 1 + test_random(&m->seed) % 500;
    uint64_t offset = pick_offset(m, stride * count);
    cte_file_segment *segments = malloc(count * sizeof *segments);
    for (size_t i = 0; i < count; i++) {
        unsigned char *at = m->bytes + offset + i * stride;
        memset(at, (int)(test_random(&m->seed) & 0xff), piece);
        segments[i] = (cte_file_segment){offset + i * stride, piece, at};
    }
    uint64_t end = offset + (count - 1) * stride + piece;
    if (end > m->size)
        m->size = end;
    assert_int_equal(cte_file_write(file, segments, count), CTE_OK);
    free(segments);
}

static void model_read(struct model *m, cte_file *file, uint64_t offset, uint64_t length)
{
    unsigned char *memory = malloc(length + 1);
    uint64_t done, expected = offset >= m->size ? 0 : m->size - offset;
    if (expected > length)
        expected = length;
    memset(memory, 0xa5, length + 1);
    cte_file_segment segment = {offset, length, memory};
    assert_int_equal(cte_file_read(file, &segment, 1, &done), CTE_OK);
    assert_int_equal(done, expected);
    if (memcmp(memory, m->bytes + offset, expected) != 0)
        for (uint64_t i = 0; i < expected; i++)
            if (memory[i] != m->bytes[offset + i])
                fail_msg("byte %llu is %02x, should be %02x", (unsigned long long)(offset + i),
                         memory[i], m->bytes[offset + i]);
    for (uint64_t i = expected; i <= length; i++)
        assert_int_equal(memory[i], 0xa5);
    free(memory);
}

static void model_truncate(struct model *m, cte_file *file)
{
    uint64_t size = test_random(&m->seed) % MODEL_BYTES;
    assert_int_equal(cte_file_truncate(file, size), CTE_OK);
    if (size < m->size)
        memset(m->bytes + size, 0, m->size - size);
    m->size = size;
}

static void compare_real_file(const struct model *m, const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, m->size);
    unsigned char *memory = malloc(m->size + 1);
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, memory, m->size), m->size);
    assert_memory_equal(memory, m->bytes, m->size);
    close(fd);
    free(memory);
}

static void one_step(struct model *m, cte_file *file, const char *path)
{
    uint64_t size, length = pick_length(m);
    switch (test_random(&m->seed) % 16) {
    case 0:
        model_truncate(m, file);
        break;
    case 1:
        if (test_random(&m->seed) % 8 == 0) {
            assert_int_equal(cte_file_drain(file), CTE_OK);
            compare_real_file(m, path);
        }
        break;
    case 2:
        if (test_random(&m->seed) % 4 == 0) {
            assert_int_equal(cte_file_drain(file), CTE_OK);
            assert_int_equal(cte_file_refresh(file), CTE_OK);
        }
        break;
    case 3:
        assert_int_equal(cte_file_size(file, &size), CTE_OK);
        assert_int_equal(size, m->size);
        break;
    case 4:
    case 5:
    case 6:
        model_write_strided(m, file);
        break;
    case 7:
    case 8:
    case 9:
    case 10:
        model_write(m, file);
        break;
    default:
        model_read(m, file, pick_offset(m, length), length);
    }
}

/* Random operations by two handles of one client and one of another, reopened now and then. */
static void run_model(unsigned ram_mib, unsigned file_mib, const char *more)
{
    struct fixture f = fixture_make(ram_mib, file_mib, more);
    cte_client *second;
    struct model m = {calloc(1, MODEL_BYTES), 0, test_seed()};
    assert_int_equal(cte_client_open(f.config, &second), CTE_OK);
#ifdef __SANITIZE_THREAD__
    /* It knows locks by their addresses, and a second client maps the segment at another one. */
    cte_client *third = f.client;
#else
    cte_client *third = second;
#endif
    cte_file *files[3] = {open_file(&f, O_RDWR | O_CREAT), open_file(&f, O_RDWR), NULL};
    assert_int_equal(cte_file_open(third, f.path, O_RDWR, 0, NULL, &files[2]), CTE_OK);
    for (int i = 0; i < OPERATIONS; i++) {
        one_step(&m, files[test_random(&m.seed) % 3], f.path);
        if (i % 500 == 499) {
            test_audit(f.client->store);
            assert_int_equal(cte_file_close(files[0]), CTE_OK);
            compare_real_file(&m, f.path);
            files[0] = open_file(&f, O_RDWR);
        }
    }
    model_read(&m, files[1], 0, MODEL_BYTES);
    for (int i = 0; i < 3; i++)
        assert_int_equal(cte_file_close(files[i]), CTE_OK);
    compare_real_file(&m, f.path);
    test_audit(f.client->store);
    assert_int_equal(cte_client_close(second), CTE_OK);
    free(m.bytes);
    fixture_free(&f);
}

static void test_model_in_ram(void **state)
{
    (void)state;
    run_model(64, 0, "");
}

static void test_model_without_checksums(void **state)
{
    (void)state;
    run_model(64, 0, "file: {checksum: false, chunk_size: 64KiB}\n");
}

static void test_model_spills_to_file_target(void **state)
{
    (void)state;
    run_model(2, 32, "");
}

static void test_model_writes_through_when_all_is_full(void **state)
{
    (void)state;
    run_model(1, 1, "");
}

static void test_existing_file_is_read_and_merged(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, 0, "");
    char memory[10000];
    int fd = open(f.path, O_CREAT | O_WRONLY, 0644);
    memset(memory, 'x', sizeof memory);
    assert_int_equal(write(fd, memory, sizeof memory), sizeof memory);
    close(fd);
    cte_file *file = open_file(&f, O_RDWR);
    cte_file_segment put = {5000, 4, "abcd"}, get = {0, sizeof memory, memory};
    uint64_t done;
    assert_int_equal(cte_file_write(file, &put, 1), CTE_OK);
    memset(memory, 0, sizeof memory);
    assert_int_equal(cte_file_read(file, &get, 1, &done), CTE_OK);
    assert_int_equal(done, sizeof memory);
    for (size_t i = 0; i < sizeof memory; i++)
        assert_int_equal(memory[i], i >= 5000 && i < 5004 ? "abcd"[i - 5000] : 'x');
    assert_int_equal(cte_file_close(file), CTE_OK);
    fixture_free(&f);
}

static void test_async_and_never(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, 0, "");
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    cte_file *file;
    struct stat st;
    cte_file_segment put = {0, 5, "hello"};
    options.drain = CTE_FILE_DRAIN_ASYNC;
    assert_int_equal(cte_file_open(f.client, f.path, O_RDWR | O_CREAT, 0644, &options, &file),
                     CTE_OK);
    assert_int_equal(cte_file_write(file, &put, 1), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(stat(f.path, &st), 0);
    assert_int_equal(st.st_size, 0); /* still in the store */
    file = open_file(&f, O_RDONLY);
    char memory[5];
    cte_file_segment get = {0, 5, memory};
    uint64_t done;
    assert_int_equal(cte_file_read(file, &get, 1, &done), CTE_OK);
    assert_int_equal(done, 5);
    assert_memory_equal(memory, "hello", 5);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(cte_client_close(f.client), CTE_OK);
    assert_int_equal(stat(f.path, &st), 0);
    assert_int_equal(st.st_size, 5);
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    fixture_free(&f);
}

/* What is to become of data may be decided while the file is open. */
static void test_options_change(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, 0, "");
    cte_file_options options = CTE_FILE_OPTIONS_INIT, bad = CTE_FILE_OPTIONS_INIT,
                     now = CTE_FILE_OPTIONS_INIT;
    struct stat st;
    cte_file_segment put = {0, 5, "hello"};
    cte_file *file = open_file(&f, O_RDWR | O_CREAT);
    cte_file_get_options(file, &now);
    assert_int_equal(now.mode, CTE_FILE_MODE_DEFAULT);
    assert_int_equal(now.drain, CTE_FILE_DRAIN_ON_CLOSE);
    assert_int_equal(now.chunk_bytes, cte_file_chunk_bytes(file));
    bad.drain = (cte_file_drain_policy)(CTE_FILE_DRAIN_NEVER + 1);
    assert_int_equal(cte_file_set_options(file, &bad), -EINVAL);
    bad.drain = CTE_FILE_DRAIN_ASYNC;
    bad.score = 1.5f;
    assert_int_equal(cte_file_set_options(file, &bad), -EINVAL);
    options.drain = CTE_FILE_DRAIN_NEVER;
    assert_int_equal(cte_file_set_options(file, &options), CTE_OK);
    float score = now.score;
    cte_file_get_options(file, &now);
    assert_int_equal(now.drain, CTE_FILE_DRAIN_NEVER);
    assert_true(now.score == score);
    assert_int_equal(cte_file_write(file, &put, 1), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(stat(f.path, &st), 0);
    assert_int_equal(st.st_size, 0);
    cte_file_options never = CTE_FILE_OPTIONS_INIT;
    never.drain = CTE_FILE_DRAIN_NEVER;
    assert_int_equal(cte_file_open(f.client, f.path, O_RDWR, 0, &never, &file), CTE_OK);
    options.drain = CTE_FILE_DRAIN_ON_CLOSE;
    options.score = 0.25f;
    assert_int_equal(cte_file_set_options(file, &options), CTE_OK);
    cte_file_get_options(file, &now);
    assert_int_equal(now.drain, CTE_FILE_DRAIN_ON_CLOSE);
    assert_true(now.score == 0.25f);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(stat(f.path, &st), 0);
    assert_int_equal(st.st_size, 5);
    /* One that passes through has nothing to change. */
    cte_file_options bypass = CTE_FILE_OPTIONS_INIT;
    bypass.mode = CTE_FILE_MODE_BYPASS;
    assert_int_equal(cte_file_open(f.client, f.path, O_RDWR, 0, &bypass, &file), CTE_OK);
    assert_int_equal(cte_file_set_options(file, &options), CTE_OK);
    cte_file_get_options(file, &now);
    assert_int_equal(now.mode, CTE_FILE_MODE_BYPASS);
    assert_int_equal(cte_file_close(file), CTE_OK);
    fixture_free(&f);
}

/* What a program does with the names of files that it has closed. */
static void test_closed_files_are_followed(void **state)
{
    (void)state;
    enum { FILES = 300 }; /* more than descriptors are kept */
    struct fixture f = fixture_make(16, 0, "file: {drain: async}\n");
    char path[PATH_MAX], moved[PATH_MAX];
    cte_file *file;
    struct stat st;
    cte_file_segment put = {0, 5, "hello"};
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s.%d", f.path, i);
        snprintf(moved, sizeof moved, "%s.moved.%d", f.path, i);
        assert_int_equal(cte_file_open(f.client, path, O_RDWR | O_CREAT, 0644, NULL, &file),
                         CTE_OK);
        assert_int_equal(cte_file_write(file, &put, 1), CTE_OK);
        assert_int_equal(cte_file_close(file), CTE_OK);
        assert_int_equal(i % 2 ? unlink(path) : rename(path, moved), 0);
    }
    assert_int_equal(cte_client_close(f.client), CTE_OK);
    for (int i = 0; i < FILES; i += 2) {
        snprintf(moved, sizeof moved, "%s.moved.%d", f.path, i);
        assert_int_equal(stat(moved, &st), 0);
        assert_int_equal(st.st_size, 5);
        assert_int_equal(unlink(moved), 0);
    }
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    fixture_free(&f);
}

static void test_size_alone_is_drained_too(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, 0, "file: {drain: async}\n");
    struct stat st;
    uint64_t size;
    cte_file *file = open_file(&f, O_RDWR | O_CREAT);
    assert_int_equal(cte_file_truncate(file, 12345), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    file = open_file(&f, O_RDONLY);
    assert_int_equal(cte_file_size(file, &size), CTE_OK);
    assert_int_equal(size, 12345);
    assert_int_equal(cte_file_drain(file), CTE_OK); /* also by a reader */
    assert_int_equal(stat(f.path, &st), 0);
    assert_int_equal(st.st_size, 12345);
    assert_int_equal(cte_file_close(file), CTE_OK);
    file = open_file(&f, O_RDWR);
    assert_int_equal(cte_file_truncate(file, 23456), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(cte_client_close(f.client), CTE_OK);
    assert_int_equal(stat(f.path, &st), 0);
    assert_int_equal(st.st_size, 23456);
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    fixture_free(&f);
}

/* Space for what is written later: the file grows, never shrinks, and has its blocks at once. */
static void test_allocate(void **state)
{
    (void)state;
    enum { SPACE = 300000 };
    struct fixture f = fixture_make(16, 0, "");
    struct stat st;
    uint64_t size, transferred;
    char byte = 'x';
    cte_file_segment segment = {.offset = 5, .length = 1, .base = &byte};
    cte_file *file = open_file(&f, O_RDWR | O_CREAT);
    assert_int_equal(cte_file_write(file, &segment, 1), CTE_OK);
    assert_int_equal(cte_file_allocate(file, 0), CTE_OK);
    assert_int_equal(cte_file_allocate(file, SPACE), CTE_OK);
    assert_int_equal(cte_file_allocate(file, SPACE / 2), CTE_OK);
    assert_int_equal(cte_file_size(file, &size), CTE_OK);
    assert_int_equal(size, SPACE);
    assert_int_equal(stat(f.path, &st), 0);
    assert_true(st.st_blocks * 512 >= SPACE);
    byte = 0;
    assert_int_equal(cte_file_read(file, &segment, 1, &transferred), CTE_OK);
    assert_int_equal(byte, 'x');
    assert_int_equal(cte_file_allocate(file, (uint64_t)INT64_MAX + 1), -EFBIG);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(stat(f.path, &st), 0);
    assert_int_equal(st.st_size, SPACE);
    file = open_file(&f, O_RDONLY);
    assert_int_equal(cte_file_allocate(file, 10), -EINVAL);
    assert_int_equal(cte_file_close(file), CTE_OK);
    fixture_free(&f);
}

/* Of several processes that open at the same moment exactly one sets the state up. */
static void test_simultaneous_opens(void **state)
{
    (void)state;
    enum { PROCESSES = 4, ROUNDS = RACING_OPENS };
    struct fixture f = fixture_make(16, 0, "file: {drain: async}\n");
    for (int round = 0; round < ROUNDS; round++) {
        int go[2];
        pid_t pids[PROCESSES];
        assert_int_equal(pipe(go), 0);
        for (int i = 0; i < PROCESSES; i++) {
            pids[i] = fork();
            if (pids[i] == 0) {
                cte_client *client;
                cte_file *file;
                uint64_t size = 0;
                char byte = (char)round;
                cte_file_segment put = {(uint64_t)i * 5000 + (uint64_t)round, 1, &byte};
                int bad = cte_client_open(f.config, &client) != CTE_OK;
                close(go[1]);
                bad |= read(go[0], &byte, 1) != 0;
                bad = bad || cte_file_open(client, f.path, O_RDWR | O_CREAT, 0644, NULL, &file);
                bad = bad || cte_file_size(file, &size) != CTE_OK;
                bad = bad || (round > 0 && size < (PROCESSES - 1) * 5000u + (uint64_t)round);
                bad = bad || cte_file_write(file, &put, 1) || cte_file_close(file);
                bad = bad || cte_client_close(client);
                _exit(bad);
            }
        }
        close(go[0]);
        usleep(20000);
        close(go[1]);
        for (int i = 0; i < PROCESSES; i++) {
            int result;
            assert_int_equal(waitpid(pids[i], &result, 0), pids[i]);
            assert_int_equal(result, 0);
        }
    }
    struct stat st;
    assert_int_equal(stat(f.path, &st), 0);
    assert_int_equal(st.st_size, 3 * 5000 + ROUNDS);
    fixture_free(&f);
}

/* Closing a client with a file open takes effect when the file is closed. */
static void test_client_closed_before_file(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, 0, "");
    cte_client *second;
    cte_file *file;
    struct stat st;
    cte_file_segment put = {0, 5, "hello"};
    assert_int_equal(cte_client_open(f.config, &second), CTE_OK);
    assert_int_equal(cte_file_open(second, f.path, O_RDWR | O_CREAT, 0644, NULL, &file), CTE_OK);
    assert_int_equal(cte_client_close(second), CTE_OK);
    assert_int_equal(cte_file_write(file, &put, 1), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(stat(f.path, &st), 0);
    assert_int_equal(st.st_size, 5);
    fixture_free(&f);
}

/* Data that outlived its job never lands on what somebody else made of the file since. */
static void test_kept_data_yields_to_a_newer_file(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, 0, "file: {drain: never}\n");
    char memory[5];
    cte_file_segment put = {0, 5, "stale"}, get = {0, 5, memory};
    cte_file *file = open_file(&f, O_RDWR | O_CREAT);
    assert_int_equal(cte_file_write(file, &put, 1), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(cte_client_close(f.client), CTE_OK);

    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    file = open_file(&f, O_RDWR); /* unchanged: the next job goes on with it */
    assert_int_equal(cte_file_read(file, &get, 1, NULL), CTE_OK);
    assert_memory_equal(memory, "stale", 5);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(cte_client_close(f.client), CTE_OK);

    usleep(50000);
    int fd = open(f.path, O_WRONLY);
    assert_int_equal(pwrite(fd, "newer", 5, 0), 5);
    close(fd);
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    assert_int_equal(cte_file_open(f.client, f.path, O_RDWR, 0, NULL, &file), CTE_OK);
    assert_false(cte_file_is_tracked(file));
    assert_int_equal(cte_file_read(file, &get, 1, NULL), CTE_OK);
    assert_memory_equal(memory, "newer", 5);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(cte_store_drain(f.client, f.path, true, NULL, NULL), CTE_OK); /* a person says so */
    fd = open(f.path, O_RDONLY);
    assert_int_equal(read(fd, memory, 5), 5);
    assert_memory_equal(memory, "stale", 5);
    close(fd);
    fixture_free(&f);
}

static void test_scratch_is_never_drained(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, 0, "file: {mode: scratch}\n");
    struct stat st;
    cte_file *file = open_file(&f, O_RDWR | O_CREAT);
    cte_file_segment put = {100, 5, "hello"};
    assert_int_equal(cte_file_write(file, &put, 1), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(stat(f.path, &st), 0);
    assert_int_equal(st.st_size, 0);
    fixture_free(&f);
}

static void test_open_flags_and_errors(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, 0, "");
    cte_file *file;
    uint64_t size;
    cte_file_segment put = {0, 5, "hello"}, beyond = {INT64_MAX, 2, "no"};
    assert_int_equal(cte_file_open(f.client, f.path, O_RDWR, 0, NULL, &file), -ENOENT);
    cte_file *unused;
    file = open_file(&f, O_WRONLY | O_CREAT | O_EXCL);
    assert_int_equal(
        cte_file_open(f.client, f.path, O_RDWR | O_CREAT | O_EXCL, 0644, NULL, &unused), -EEXIST);
    assert_int_equal(cte_file_write(file, &put, 1), CTE_OK);
    assert_int_equal(cte_file_write(file, &beyond, 1), -EFBIG);
    cte_file *reader = open_file(&f, O_RDONLY);
    assert_int_equal(cte_file_write(reader, &put, 1), -EBADF);
    assert_int_equal(cte_file_truncate(reader, 0), -EINVAL);
    assert_int_equal(cte_file_close(reader), CTE_OK);
    cte_file *truncated = open_file(&f, O_RDWR | O_TRUNC);
    assert_int_equal(cte_file_size(file, &size), CTE_OK);
    assert_int_equal(size, 0);
    assert_int_equal(cte_file_close(truncated), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(cte_file_close(NULL), CTE_OK);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_existing_file_is_read_and_merged),
        cmocka_unit_test(test_async_and_never),
        cmocka_unit_test(test_options_change),
        cmocka_unit_test(test_closed_files_are_followed),
        cmocka_unit_test(test_size_alone_is_drained_too),
        cmocka_unit_test(test_allocate),
        cmocka_unit_test(test_simultaneous_opens),
        cmocka_unit_test(test_client_closed_before_file),
        cmocka_unit_test(test_kept_data_yields_to_a_newer_file),
        cmocka_unit_test(test_scratch_is_never_drained),
        cmocka_unit_test(test_open_flags_and_errors),
        cmocka_unit_test(test_model_in_ram),
        cmocka_unit_test(test_model_without_checksums),
        cmocka_unit_test(test_model_spills_to_file_target),
        cmocka_unit_test(test_model_writes_through_when_all_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
