/* SPDX-License-Identifier: BSD-3-Clause */
/* Draining while files are open, room in full targets, and real files that refuse. */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cte/blob.h>
#include <cte/file.h>
#include <cte/store.h>

#include "file/client.h"
#include "file/drain.h"

enum { MIB = 1 << 20, PATIENCE_MS = 30000 };

/* ---- a real file that goes wrong as told ---------------------------------------------------- */

static struct {
    _Atomic uint64_t inode;  /* of the real file that this is about; 0: none */
    _Atomic int write_error; /* errno of its writes, 0: they work */
    _Atomic int sync_error;
    _Atomic int delay_ms;     /* of its writes */
    _Atomic int most;         /* a write moves at most so many bytes; 0: all */
    _Atomic int refused;      /* how often */
    _Atomic uint64_t bytes;   /* that reached it */
    _Atomic uint64_t largest; /* of one write */
    _Atomic int syncs;
} real;

static void pause_ms(int ms)
{
    struct timespec nap = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&nap, NULL);
}

static bool is_real(int fd)
{
    struct stat st;
    uint64_t inode = atomic_load(&real.inode);
    return inode != 0 && fstat(fd, &st) == 0 && (uint64_t)st.st_ino == inode;
}

ssize_t __real_pwrite(int fd, const void *from, size_t bytes, off_t at);
ssize_t __wrap_pwrite(int fd, const void *from, size_t bytes, off_t at);
ssize_t __wrap_pwrite(int fd, const void *from, size_t bytes, off_t at)
{
    if (!is_real(fd))
        return __real_pwrite(fd, from, bytes, at);
    pause_ms(atomic_load(&real.delay_ms));
    int error = atomic_load(&real.write_error), most = atomic_load(&real.most);
    if (error != 0) {
        atomic_fetch_add(&real.refused, 1);
        errno = error;
        return -1;
    }
    if (most > 0 && bytes > (size_t)most)
        bytes = (size_t)most;
    if (bytes > atomic_load(&real.largest))
        atomic_store(&real.largest, bytes);
    atomic_fetch_add(&real.bytes, bytes);
    return __real_pwrite(fd, from, bytes, at);
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    if (!is_real(fd))
        return __real_fdatasync(fd);
    atomic_fetch_add(&real.syncs, 1);
    int error = atomic_load(&real.sync_error);
    if (error == 0)
        return __real_fdatasync(fd);
    atomic_fetch_add(&real.refused, 1);
    errno = error;
    return -1;
}

/* ---- a place for a test --------------------------------------------------------------------- */

struct fixture {
    char directory[256];
    char path[400];
    cte_config *config;
    cte_client *client;
};

static struct fixture fixture_make(unsigned ram_mib, unsigned file_mib, const char *more)
{
    struct fixture f = {0};
    memset(&real, 0, sizeof real);
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
    snprintf(store, sizeof store, "%s/cte-%u-test", f->directory, (unsigned)geteuid());
    assert_int_equal(access(store, F_OK), -1);
    cte_config_free(f->config);
    test_remove_directory(f->directory);
}

static cte_file *open_with(struct fixture *f, cte_file_drain_policy drain)
{
    cte_file *file;
    struct stat st;
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    options.drain = drain;
    assert_int_equal(cte_file_open(f->client, f->path, O_RDWR | O_CREAT, 0644, &options, &file),
                     CTE_OK);
    assert_true(cte_file_is_tracked(file));
    assert_int_equal(stat(f->path, &st), 0);
    atomic_store(&real.inode, (uint64_t)st.st_ino);
    return file;
}

static cte_status put(cte_file *file, uint64_t offset, const void *bytes, size_t length)
{
    cte_file_segment segment = {offset, length, (void *)bytes};
    return cte_file_write(file, &segment, 1);
}

static unsigned char *random_bytes(size_t length, uint64_t seed)
{
    unsigned char *bytes = malloc(length);
    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)(test_random(&seed) >> 17);
    return bytes;
}

/* True if the real file holds just these bytes. */
static bool real_is(const struct fixture *f, const void *bytes, size_t length)
{
    unsigned char *found = malloc(length + 1);
    int fd = open(f->path, O_RDONLY);
    assert_true(fd >= 0 && found);
    ssize_t n = pread(fd, found, length + 1, 0);
    close(fd);
    bool same = n == (ssize_t)length && memcmp(found, bytes, length) == 0;
    free(found);
    return same;
}

static void assert_reads(cte_file *file, const unsigned char *bytes, size_t length)
{
    unsigned char *found = malloc(length);
    uint64_t transferred;
    cte_file_segment segment = {0, length, found};
    assert_int_equal(cte_file_read(file, &segment, 1, &transferred), CTE_OK);
    assert_int_equal(transferred, length);
    assert_memory_equal(found, bytes, length);
    free(found);
}

#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        int waited = 0;                                                                            \
        for (; !(condition) && waited < PATIENCE_MS / 5; waited++)                                 \
            pause_ms(5);                                                                           \
        assert_true(waited < PATIENCE_MS / 5);                                                     \
    } while (0)

static const struct cte__drain_state *totals(const struct fixture *f)
{
    return &f->client->store->header->drain;
}

/* ---- in the background ---------------------------------------------------------------------- */

static void test_drains_while_open(void **state)
{
    (void)state;
    struct fixture f = fixture_make(64, 0, NULL);
    enum { BYTES = 9 * MIB + 12345 };
    unsigned char *bytes = random_bytes(BYTES, 1);
    cte_file *file = open_with(&f, CTE_FILE_DRAIN_ON_CLOSE);
    assert_int_equal(put(file, 0, bytes, BYTES), CTE_OK);
    WAIT_FOR(real_is(&f, bytes, BYTES));
    /* Chunks became runs. */
    assert_true(atomic_load(&real.largest) >= 4 * MIB);
    /* What is written to a page that was drained is drained again, and no more than that. */
    for (int round = 0; round < 3; round++) {
        uint64_t before = atomic_load(&real.bytes);
        uint64_t at = (uint64_t)round * 3 * MIB + 777;
        memset(bytes + at, round, 5000);
        assert_int_equal(put(file, at, bytes + at, 5000), CTE_OK);
        assert_reads(file, bytes, BYTES);
        WAIT_FOR(real_is(&f, bytes, BYTES));
        assert_int_equal(atomic_load(&real.bytes) - before, 5000);
    }
    cte_file_stats stats;
    WAIT_FOR((cte_file_get_stats(file, &stats), stats.bytes_drained_background == BYTES + 15000));
    assert_int_equal(stats.bytes_drained, 0);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(atomic_load(&totals(&f)->bytes_drained_background), BYTES + 15000);
    assert_true(real_is(&f, bytes, BYTES));
    free(bytes);
    fixture_free(&f);
}

/* Asynchronous closing: the file is completed while the client lives. */
static void test_drains_what_is_closed(void **state)
{
    (void)state;
    struct fixture f = fixture_make(64, 0, NULL);
    enum { BYTES = 3 * MIB };
    unsigned char *bytes = random_bytes(BYTES, 2);
    char moved[400];
    cte_file *file = open_with(&f, CTE_FILE_DRAIN_ASYNC);
    assert_int_equal(put(file, 0, bytes, BYTES), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    snprintf(moved, sizeof moved, "%.250s/moved", f.directory);
    assert_int_equal(rename(f.path, moved), 0);
    snprintf(f.path, sizeof f.path, "%s", moved);
    WAIT_FOR(real_is(&f, bytes, BYTES));
    /* Once more the same file, closed while the thread may be at it. */
    for (int i = 0; i < 20; i++) {
        file = open_with(&f, CTE_FILE_DRAIN_ASYNC);
        bytes[i]++;
        assert_int_equal(put(file, (uint64_t)i, bytes + i, 1), CTE_OK);
        pause_ms(i % 4 * 70);
        assert_int_equal(cte_file_close(file), CTE_OK);
    }
    WAIT_FOR(real_is(&f, bytes, BYTES));
    /* Deleted: the data goes without being asked for, whatever the thread is about. */
    for (int i = 0; i < 40; i++) {
        file = open_with(&f, CTE_FILE_DRAIN_ASYNC);
        assert_int_equal(put(file, 0, bytes, BYTES / 40 * (i + 1)), CTE_OK);
        assert_int_equal(cte_file_close(file), CTE_OK);
        if (i % 2)
            pause_ms(i);
        assert_int_equal(unlink(f.path), 0);
    }
    free(bytes);
    fixture_free(&f);
}

static void expect_untouched(const char *more, cte_file_drain_policy drain)
{
    struct fixture f = fixture_make(64, 0, more);
    unsigned char *bytes = random_bytes(2 * MIB, 3);
    cte_file *file = open_with(&f, drain);
    assert_int_equal(put(file, 0, bytes, 2 * MIB), CTE_OK);
    pause_ms(500);
    assert_int_equal(atomic_load(&real.bytes), 0);
    assert_int_equal(cte_file_close(file), CTE_OK);
    if (drain == CTE_FILE_DRAIN_NEVER)
        assert_int_equal(cte_store_drain(f.client, NULL, true, NULL, NULL), CTE_OK);
    assert_true(real_is(&f, bytes, 2 * MIB));
    free(bytes);
    fixture_free(&f);
}

static void test_leaves_alone_what_it_shall(void **state)
{
    (void)state;
    expect_untouched(NULL, CTE_FILE_DRAIN_NEVER);
    expect_untouched("file: {drain_threads: 0}\n", CTE_FILE_DRAIN_ON_CLOSE);
}

/* A child's writes are drained by whoever lives; the parent's thread goes on. */
static void test_fork(void **state)
{
    (void)state;
    struct fixture f = fixture_make(64, 0, NULL);
    unsigned char *bytes = random_bytes(4 * MIB, 4);
    cte_file *file = open_with(&f, CTE_FILE_DRAIN_ON_CLOSE);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(put(file, 0, bytes, 2 * MIB), CTE_OK);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            _exit(put(file, (uint64_t)(2 * MIB + i * 1000), bytes + 2 * MIB + i * 1000,
                      2 * MIB - (size_t)i * 1000) == CTE_OK
                      ? 0
                      : 1);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_true(real_is(&f, bytes, 4 * MIB));
    free(bytes);
    fixture_free(&f);
}

/* Random writes, cuts, pauses and reopening, with the thread at work between them. */
static void test_model(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0, "file: {chunk_size: 64KiB}\n");
    enum { BYTES = 12 * MIB, OPERATIONS = 400 };
    uint64_t seed = test_seed();
    unsigned char *model = calloc(1, BYTES);
    uint64_t size = 0;
    cte_file *file = open_with(&f, CTE_FILE_DRAIN_ON_CLOSE);
    for (int i = 0; i < OPERATIONS; i++) {
        uint64_t length = test_random(&seed) % (test_random(&seed) % 2 ? 300000 : 3000);
        uint64_t offset = test_random(&seed) % (BYTES - length);
        switch (test_random(&seed) % 16) {
        case 0:
            if (offset < size)
                memset(model + offset, 0, size - offset);
            size = offset;
            assert_int_equal(cte_file_truncate(file, offset), CTE_OK);
            break;
        case 1:
            assert_int_equal(cte_file_close(file), CTE_OK);
            assert_true(real_is(&f, model, size));
            file = open_with(&f, CTE_FILE_DRAIN_ON_CLOSE);
            break;
        case 2:
            pause_ms((int)(test_random(&seed) % 60));
            break;
        case 3:
            assert_reads(file, model, size);
            break;
        default:
            memset(model + offset, (int)test_random(&seed), length);
            assert_int_equal(put(file, offset, model + offset, length), CTE_OK);
            size = length > 0 && offset + length > size ? offset + length : size;
        }
    }
    assert_reads(file, model, size);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_true(real_is(&f, model, size));
    test_audit(f.client->store);
    free(model);
    fixture_free(&f);
}

/* ---- when the job's time is over ------------------------------------------------------------ */

static _Atomic int warned;

static void note_warning(int number)
{
    (void)number;
    atomic_fetch_add(&warned, 1);
}

/* A program that forks meanwhile gets a child in which no lock is held. */
static void test_fork_while_a_signal_drains(void **state)
{
    (void)state;
    enum { FILES = 40, BYTES = 300000 };
    cte_file *files[FILES];
    void (*before)(int) = signal(SIGTERM, note_warning);
    struct fixture f = fixture_make(64, 0, "signals: {chain: true}\nfile: {drain_threads: 0}\n");
    unsigned char *bytes = random_bytes(BYTES, 15);
    for (int i = 0; i < FILES; i++) {
        snprintf(f.path, sizeof f.path, "%.250s/data.%d", f.directory, i);
        files[i] = open_with(&f, CTE_FILE_DRAIN_ON_CLOSE);
        assert_int_equal(put(files[i], 0, bytes, BYTES), CTE_OK);
    }
    snprintf(f.path, sizeof f.path, "%.250s/data.0", f.directory); /* drained last */
    assert_int_equal(raise(SIGTERM), 0);
    assert_int_equal(atomic_load(&warned), 1);
    int rounds = 0;
    for (; rounds < 2000 && !real_is(&f, bytes, BYTES); rounds++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(pthread_mutex_trylock(&f.client->lock));
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    WAIT_FOR(real_is(&f, bytes, BYTES));
    print_message("%d forks\n", rounds);
    for (int i = 0; i < FILES; i++) {
        snprintf(f.path, sizeof f.path, "%.250s/data.%d", f.directory, i);
        assert_int_equal(cte_file_close(files[i]), CTE_OK);
        assert_true(real_is(&f, bytes, BYTES));
    }
    free(bytes);
    fixture_free(&f);
    signal(SIGTERM, before);
}

/* ---- bandwidth ------------------------------------------------------------------------------ */

/* What is written is paid for before more is: never above the limit, whoever drains. */
static void test_bandwidth(void **state)
{
    (void)state;
    struct fixture f = fixture_make(64, 0, "file: {drain_bytes_per_s_max: 16MiB}\n");
    enum { BYTES = 24 * MIB };
    unsigned char *bytes = random_bytes(BYTES, 5);
    cte_file *file = open_with(&f, CTE_FILE_DRAIN_ON_CLOSE);
    uint64_t start = cte__monotonic_ns();
    assert_int_equal(put(file, 0, bytes, BYTES), CTE_OK);
    assert_int_equal(cte_file_close(file), CTE_OK);
    uint64_t paid_ns = UINT64_C(1500000000); /* 24 MiB at 16 MiB/s */
    assert_true(cte__monotonic_ns() - start >= paid_ns);
    assert_true(real_is(&f, bytes, BYTES));
    free(bytes);
    fixture_free(&f);
}

/* ---- real files that refuse ----------------------------------------------------------------- */

static const int refusals[] = {ENOSPC, EIO, EDQUOT, EROFS};

/* The thread meets an error: whoever asks next is told, once; the data stays and is drained when
 * the real file takes it again. */
static void test_background_failure_is_told_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        struct fixture f = fixture_make(64, 0, NULL);
        unsigned char *bytes = random_bytes(3 * MIB, 6);
        cte_file *file = open_with(&f, CTE_FILE_DRAIN_ON_CLOSE);
        atomic_store(&real.write_error, refusals[i]);
        assert_int_equal(put(file, 0, bytes, 3 * MIB), CTE_OK);
        WAIT_FOR(atomic_load(&totals(&f)->failures) > 0);
        assert_int_equal(cte_file_sync(file), -refusals[i]);
        assert_int_equal(cte_file_sync(file), CTE_OK);
        /* Tried again, failed again: nothing new. */
        int refused = atomic_load(&real.refused);
        WAIT_FOR(atomic_load(&real.refused) > refused);
        pause_ms(20);
        assert_int_equal(cte_file_sync(file), CTE_OK);
        assert_reads(file, bytes, 3 * MIB);
        atomic_store(&real.write_error, 0);
        WAIT_FOR(real_is(&f, bytes, 3 * MIB));
        assert_int_equal(cte_file_close(file), CTE_OK);
        free(bytes);
        fixture_free(&f);
    }
}

static cte_status note_drained(void *context, const cte_store_drained *drained)
{
    *(uint64_t *)context += drained->bytes_drained;
    return CTE_OK;
}

/* Closing is told; `cte drain` completes the file. */
static void test_failed_close_is_retried(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        struct fixture f = fixture_make(64, 0, NULL);
        unsigned char *bytes = random_bytes(3 * MIB, 7);
        uint64_t drained = 0;
        cte_file *file = open_with(&f, CTE_FILE_DRAIN_ON_CLOSE);
        assert_int_equal(put(file, 0, bytes, 3 * MIB), CTE_OK);
        atomic_store(&real.write_error, refusals[i]);
        memset(bytes, 1, MIB);
        assert_int_equal(put(file, 0, bytes, MIB), CTE_OK);
        assert_int_equal(cte_file_close(file), -refusals[i]);
        assert_int_equal(cte_store_drain(f.client, NULL, false, note_drained, &drained),
                         -refusals[i]);
        atomic_store(&real.write_error, 0);
        assert_int_equal(cte_store_drain(f.client, NULL, false, note_drained, &drained), CTE_OK);
        assert_true(drained >= MIB);
        assert_true(real_is(&f, bytes, 3 * MIB));
        free(bytes);
        fixture_free(&f);
    }
}

/* A file system that takes bytes and then cannot keep them. */
static void test_failed_sync_keeps_the_data(void **state)
{
    (void)state;
    struct fixture f = fixture_make(64, 0, "file: {sync: pfs}\n");
    unsigned char *bytes = random_bytes(2 * MIB, 8);
    cte_file *file = open_with(&f, CTE_FILE_DRAIN_ON_CLOSE);
    atomic_store(&real.sync_error, EIO);
    assert_int_equal(put(file, 0, bytes, 2 * MIB), CTE_OK);
    assert_int_equal(cte_file_sync(file), -EIO);
    assert_true(cte__tracked_is_dirty(f.client->store, file->tag));
    assert_int_equal(cte_file_close(file), -EIO);
    /* As if the system had dropped what it could not write. */
    assert_int_equal(truncate(f.path, 0), 0);
    atomic_store(&real.sync_error, 0);
    int syncs = atomic_load(&real.syncs);
    assert_int_equal(cte_store_drain(f.client, NULL, true, NULL, NULL), CTE_OK);
    assert_true(atomic_load(&real.syncs) > syncs);
    assert_true(real_is(&f, bytes, 2 * MIB));
    free(bytes);
    fixture_free(&f);
}

/* What was drained in the background is no more than written: a sync makes it durable, or tells. */
static void test_sync_covers_what_was_drained(void **state)
{
    (void)state;
    struct fixture f = fixture_make(64, 0, NULL);
    unsigned char *bytes = random_bytes(2 * MIB, 12);
    cte_file *file = open_with(&f, CTE_FILE_DRAIN_ON_CLOSE);
    assert_int_equal(put(file, 0, bytes, 2 * MIB), CTE_OK);
    WAIT_FOR(atomic_load(&totals(&f)->bytes_drained_background) == 2 * MIB);
    assert_int_equal(cte_file_flush(file), CTE_OK);
    assert_int_equal(atomic_load(&real.syncs), 0);
    atomic_store(&real.sync_error, EIO);
    assert_int_equal(cte_file_sync(file), -EIO);
    atomic_store(&real.sync_error, 0);
    assert_int_equal(cte_file_sync(file), CTE_OK);
    int syncs = atomic_load(&real.syncs);
    assert_true(syncs >= 2);
    assert_int_equal(cte_file_sync(file), CTE_OK); /* nothing new */
    assert_int_equal(atomic_load(&real.syncs), syncs);
    assert_int_equal(cte_file_close(file), CTE_OK);
    free(bytes);
    fixture_free(&f);
}

/* Counts that fall short are continued; a slow file system makes closing slow, nothing else. */
static void test_short_and_slow(void **state)
{
    (void)state;
    struct fixture f = fixture_make(64, 0, NULL);
    unsigned char *bytes = random_bytes(3 * MIB, 9);
    cte_file *file = open_with(&f, CTE_FILE_DRAIN_ASYNC);
    atomic_store(&real.most, 100000);
    assert_int_equal(put(file, 0, bytes, 3 * MIB), CTE_OK);
    WAIT_FOR(real_is(&f, bytes, 3 * MIB));
    atomic_store(&real.most, 0);
    atomic_store(&real.delay_ms, 1500);
    bytes[5]++;
    assert_int_equal(put(file, 0, bytes, MIB), CTE_OK);
    pause_ms(300); /* the thread is in the write now, most probably */
    uint64_t start = cte__monotonic_ns();
    assert_int_equal(cte_file_close(file), CTE_OK);
    bool held_up = cte__monotonic_ns() - start > UINT64_C(1000000000);
    if (held_up)
        print_message("closing waited for a slow write\n");
    WAIT_FOR(real_is(&f, bytes, 3 * MIB));
    atomic_store(&real.delay_ms, 0);
    free(bytes);
    fixture_free(&f);
}

/* ---- room ----------------------------------------------------------------------------------- */

/* Data three times what the first target holds, one and a half times what all do: nothing fails,
 * and all of it can be read all the time. */
static void test_more_than_fits(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 8, NULL);
    enum { BYTES = 24 * MIB };
    unsigned char *bytes = random_bytes(BYTES, 10);
    for (int pass = 0; pass < 2; pass++) {
        atomic_store(&real.delay_ms, pass * 3);
        cte_file *file = open_with(&f, CTE_FILE_DRAIN_ON_CLOSE);
        for (size_t at = 0; at < BYTES; at += MIB / 2)
            assert_int_equal(put(file, at, bytes + at, MIB / 2), CTE_OK);
        assert_reads(file, bytes, BYTES);
        for (size_t at = 0; at < BYTES; at += 47008) {
            size_t length = BYTES - at < 30000 ? BYTES - at : 30000;
            memset(bytes + at, (int)(at >> 7) + pass, length);
            assert_int_equal(put(file, at, bytes + at, length), CTE_OK);
        }
        assert_reads(file, bytes, BYTES);
        assert_int_equal(cte_file_close(file), CTE_OK);
        assert_true(real_is(&f, bytes, BYTES));
    }
    /* Every byte got to the real file in each pass; which way, depends on who was faster. */
    uint64_t drained = atomic_load(&totals(&f)->bytes_drained);
    uint64_t through = atomic_load(&totals(&f)->bytes_written_through);
    assert_true(drained + through >= 2ULL * BYTES);
    test_audit(f.client->store);
    free(bytes);
    fixture_free(&f);
}

/* Clean data of one file makes room for another, and for blobs. */
static void test_clean_data_makes_room(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0, NULL);
    unsigned char *bytes = random_bytes(6 * MIB, 11);
    cte_file *file = open_with(&f, CTE_FILE_DRAIN_ON_CLOSE);
    cte_tag *tag;
    assert_int_equal(put(file, 0, bytes, 6 * MIB), CTE_OK);
    WAIT_FOR(real_is(&f, bytes, 6 * MIB));
    WAIT_FOR(!cte__tracked_is_dirty(f.client->store, file->tag) ||
             atomic_load(&totals(&f)->bytes_drained_background) == 6 * MIB);
    assert_int_equal(cte_tag_open(f.client, "kept", true, &tag), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "large", 0, bytes, 6 * MIB, 1.0f, 0), CTE_OK);
    assert_reads(file, bytes, 6 * MIB);
    /* Blobs lie nowhere else: the next one does not fit, and nothing is lost for it. */
    assert_int_equal(cte_blob_put(tag, "too much", 0, bytes, 6 * MIB, 1.0f, 0), -ENOSPC);
    assert_int_equal(put(file, MIB, bytes, 3 * MIB), CTE_OK);
    memmove(bytes + MIB, bytes, 3 * MIB);
    assert_reads(file, bytes, 6 * MIB);
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_true(real_is(&f, bytes, 6 * MIB));
    assert_int_equal(cte_blob_delete(tag, "large"), CTE_OK);
    cte_tag_close(tag);
    assert_int_equal(cte_tag_delete(f.client, "kept"), CTE_OK);
    free(bytes);
    fixture_free(&f);
}

/* Data of files that is not in them yet makes room for blobs, too, whoever has the file. */
static void test_dirty_data_makes_room(void **state)
{
    (void)state;
    for (int open = 0; open <= 1; open++) {
        struct fixture f = fixture_make(8, 0, open ? NULL : "file: {drain_threads: 0}\n");
        unsigned char *bytes = random_bytes(6 * MIB, 13), got[16];
        uint64_t count;
        cte_file *file = open_with(&f, CTE_FILE_DRAIN_ASYNC);
        cte_tag *tag;
        atomic_store(&real.delay_ms, 20);
        assert_int_equal(put(file, 0, bytes, 6 * MIB), CTE_OK);
        if (!open)
            assert_int_equal(cte_file_close(file), CTE_OK);
        assert_int_equal(cte_tag_open(f.client, "kept", true, &tag), CTE_OK);
        assert_int_equal(cte_blob_put(tag, "large", 0, bytes, 5 * MIB, 1.0f, 0), CTE_OK);
        if (open) {
            assert_reads(file, bytes, 6 * MIB);
            assert_int_equal(cte_file_close(file), CTE_OK);
        }
        assert_int_equal(cte_store_drain(f.client, NULL, false, NULL, NULL), CTE_OK);
        assert_true(real_is(&f, bytes, 6 * MIB));
        assert_int_equal(cte_blob_get(tag, "large", 100, got, 16, &count), CTE_OK);
        assert_memory_equal(got, bytes + 100, 16);
        cte_tag_close(tag);
        assert_int_equal(cte_tag_delete(f.client, "kept"), CTE_OK);
        free(bytes);
        fixture_free(&f);
    }
}

/* A real file that refuses, and one that is never to be drained, make no room: nothing waits. */
static void test_no_room_is_told(void **state)
{
    (void)state;
    for (int never = 0; never <= 1; never++) {
        struct fixture f = fixture_make(8, 0, NULL);
        unsigned char *bytes = random_bytes(6 * MIB, 14);
        cte_tag *tag;
        cte_file *file = open_with(&f, never ? CTE_FILE_DRAIN_NEVER : CTE_FILE_DRAIN_ON_CLOSE);
        atomic_store(&real.write_error, never ? 0 : EDQUOT);
        assert_int_equal(put(file, 0, bytes, 6 * MIB), CTE_OK);
        if (!never)
            WAIT_FOR(atomic_load(&totals(&f)->failures) > 0);
        assert_int_equal(cte_tag_open(f.client, "kept", true, &tag), CTE_OK);
        assert_int_equal(cte_blob_put(tag, "large", 0, bytes, 5 * MIB, 1.0f, 0), -ENOSPC);
        assert_reads(file, bytes, 6 * MIB);
        atomic_store(&real.write_error, 0);
        assert_int_equal(cte_file_drain(file), CTE_OK);
        assert_int_equal(cte_file_close(file), CTE_OK);
        assert_true(real_is(&f, bytes, 6 * MIB));
        cte_tag_close(tag);
        assert_int_equal(cte_tag_delete(f.client, "kept"), CTE_OK);
        free(bytes);
        fixture_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drains_while_open),
        cmocka_unit_test(test_drains_what_is_closed),
        cmocka_unit_test(test_leaves_alone_what_it_shall),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_fork_while_a_signal_drains),
        cmocka_unit_test(test_bandwidth),
        cmocka_unit_test(test_background_failure_is_told_once),
        cmocka_unit_test(test_failed_close_is_retried),
        cmocka_unit_test(test_failed_sync_keeps_the_data),
        cmocka_unit_test(test_sync_covers_what_was_drained),
        cmocka_unit_test(test_short_and_slow),
        cmocka_unit_test(test_more_than_fits),
        cmocka_unit_test(test_clean_data_makes_room),
        cmocka_unit_test(test_dirty_data_makes_room),
        cmocka_unit_test(test_no_room_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
