/* SPDX-License-Identifier: BSD-3-Clause */
/* Tags and blobs as programs see them: semantics, sharing, full targets, and a model. */
#include "store_helpers.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include <cte/blob.h>

#include "blob/tag.h"
#include "file/client.h"

struct fixture {
    char directory[256];
    char store[320];
    cte_config *config;
    cte_client *client;
};

static struct fixture fixture_make(unsigned ram_mib, unsigned file_mib)
{
    struct fixture f = {0};
    test_directory(f.directory, sizeof f.directory);
    snprintf(f.store, sizeof f.store, "%s/cte-%u-test", f.directory, (unsigned)geteuid());
    f.config = test_config(f.directory, ram_mib, file_mib, "");
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    return f;
}

/* All tags must be gone: then so is the store. */
static void fixture_free(struct fixture *f)
{
    test_audit(f->client->store);
    assert_int_equal(cte_client_close(f->client), CTE_OK);
    assert_int_equal(access(f->store, F_OK), -1);
    cte_config_free(f->config);
    test_remove_directory(f->directory);
}

static cte_tag *open_tag(struct fixture *f, const char *name)
{
    cte_tag *tag;
    assert_int_equal(cte_tag_open(f->client, name, true, &tag), CTE_OK);
    return tag;
}

static void close_and_delete(struct fixture *f, cte_tag *tag, const char *name)
{
    cte_tag_close(tag);
    assert_int_equal(cte_tag_delete(f->client, name), CTE_OK);
}

static void put(cte_tag *tag, const char *name, uint64_t offset, const char *text)
{
    assert_int_equal(cte_blob_put(tag, name, offset, text, strlen(text), 1.0f, 0), CTE_OK);
}

static void expect(cte_tag *tag, const char *name, const void *bytes, size_t size)
{
    char memory[256];
    size_t got;
    assert_int_equal(cte_blob_get(tag, name, 0, memory, sizeof memory, &got), CTE_OK);
    assert_int_equal(got, size);
    assert_memory_equal(memory, bytes, size);
}

static cte_status count_name(void *context, const char *name)
{
    (void)name;
    (*(int *)context)++;
    return CTE_OK;
}

static cte_status stop_at_once(void *context, const char *name)
{
    (void)name;
    (*(int *)context)++;
    return -ECANCELED;
}

/* ---- semantics ------------------------------------------------------------------------------ */

static void test_byte_ranges(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0);
    cte_tag *tag = open_tag(&f, "t");
    char memory[8];
    size_t got;
    uint64_t size;
    put(tag, "b", 0, "hello world");
    put(tag, "b", 6, "W"); /* a part: the rest stays */
    expect(tag, "b", "hello World", 11);
    put(tag, "b", 14, "x"); /* a gap: zeros */
    expect(tag, "b", "hello World\0\0\0x", 15);
    assert_int_equal(cte_blob_get(tag, "b", 13, memory, 8, &got), CTE_OK);
    assert_int_equal(got, 2);
    assert_int_equal(cte_blob_get(tag, "b", 15, memory, 8, &got), CTE_OK);
    assert_int_equal(got, 0);
    assert_int_equal(cte_blob_get(tag, "b", UINT64_MAX - 2, memory, 8, &got), CTE_OK);
    assert_int_equal(got, 0);
    assert_int_equal(cte_blob_get(tag, "b", 13, memory, 8, NULL), -ENODATA);
    assert_int_equal(cte_blob_get(tag, "b", 13, memory, 2, NULL), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "b", 2, "ab", 2, 1, CTE_BLOB_REPLACE), CTE_OK);
    expect(tag, "b", "\0\0ab", 4);
    /* Bytes that were replaced do not come back when the blob grows again. */
    put(tag, "b", 9, "z");
    expect(tag, "b", "\0\0ab\0\0\0\0\0z", 10);
    assert_int_equal(cte_blob_put(tag, "b", 0, NULL, 0, 1, CTE_BLOB_REPLACE), CTE_OK);
    assert_int_equal(cte_blob_size(tag, "b", &size), CTE_OK);
    assert_int_equal(size, 0);
    assert_int_equal(cte_blob_delete(tag, "b"), CTE_OK);
    assert_int_equal(cte_blob_delete(tag, "b"), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_get(tag, "b", 0, memory, 1, &got), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_size(tag, "b", &size), CTE_ERR_NOT_FOUND);
    close_and_delete(&f, tag, "t");
    fixture_free(&f);
}

static void test_empty_puts(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0);
    cte_tag *tag = open_tag(&f, "t");
    uint64_t size = 9;
    float score;
    assert_int_equal(cte_blob_put(tag, "e", 100, NULL, 0, 0.25f, 0), CTE_OK);
    assert_int_equal(cte_blob_size(tag, "e", &size), CTE_OK);
    assert_int_equal(size, 0);
    assert_int_equal(cte_blob_score(tag, "e", &score), CTE_OK);
    assert_true(score == 0.25f);
    put(tag, "e", 0, "abc");
    assert_int_equal(cte_blob_put(tag, "e", 0, NULL, 0, 1, 0), CTE_OK);
    expect(tag, "e", "abc", 3);
    close_and_delete(&f, tag, "t");
    fixture_free(&f);
}

static void test_names_and_arguments(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0);
    cte_tag *tag = open_tag(&f, "\xff\n odd name"), *none = NULL;
    char longest[CTE_BLOB_NAME_MAX + 2], byte = 1;
    memset(longest, 'n', sizeof longest);
    longest[CTE_BLOB_NAME_MAX + 1] = 0;
    assert_int_equal(cte_tag_open(f.client, longest, true, &none), -ENAMETOOLONG);
    assert_int_equal(cte_blob_put(tag, longest, 0, "x", 1, 1, 0), -ENAMETOOLONG);
    longest[CTE_BLOB_NAME_MAX] = 0;
    put(tag, longest, 0, "long");
    expect(tag, longest, "long", 4);
    put(tag, "\x01\x80/..", 0, "bytes");
    expect(tag, "\x01\x80/..", "bytes", 5);
    assert_int_equal(cte_tag_open(f.client, "", true, &none), -EINVAL);
    assert_int_equal(cte_tag_open(f.client, NULL, true, &none), -EINVAL);
    assert_int_equal(cte_tag_open(f.client, "none", false, &none), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_tag_delete(f.client, "none"), CTE_ERR_NOT_FOUND);
    assert_null(none);
    assert_int_equal(cte_blob_put(tag, "", 0, "x", 1, 1, 0), -EINVAL);
    assert_int_equal(cte_blob_put(NULL, "b", 0, "x", 1, 1, 0), -EINVAL);
    assert_int_equal(cte_blob_put(tag, "b", 0, NULL, 1, 1, 0), -EINVAL);
    assert_int_equal(cte_blob_put(tag, "b", 0, "x", 1, 1.01f, 0), -EINVAL);
    assert_int_equal(cte_blob_put(tag, "b", 0, "x", 1, -0.01f, 0), -EINVAL);
    assert_int_equal(cte_blob_put(tag, "b", 0, "x", 1, NAN, 0), -EINVAL);
    assert_int_equal(cte_blob_put(tag, "b", 0, "x", 1, 1, 4), -EINVAL);
    assert_int_equal(cte_blob_put(tag, "b", UINT64_MAX, "xy", 2, 1, 0), -EFBIG);
    assert_int_equal(cte_blob_put(tag, "b", UINT64_C(1) << 44, "x", 1, 1, 0), -EFBIG);
    assert_int_equal(cte_blob_put(tag, "b", 1, &byte, SIZE_MAX, 1, 0), -EFBIG);
    assert_int_equal(cte_blob_get(tag, "b", 0, NULL, 1, NULL), -EINVAL);
    int count = 0;
    assert_int_equal(cte_tag_list(tag, count_name, &count), CTE_OK);
    assert_int_equal(count, 2); /* nothing that was refused */
    cte_tag_close(NULL);
    close_and_delete(&f, tag, "\xff\n odd name");
    fixture_free(&f);
}

static void test_the_last_byte_there_can_be(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0);
    cte_tag *tag = open_tag(&f, "t");
    char memory[3];
    uint64_t last = (UINT64_C(1) << 44) - 1, size;
    size_t got;
    put(tag, "b", last, "!");
    assert_int_equal(cte_blob_size(tag, "b", &size), CTE_OK);
    assert_int_equal(size, last + 1);
    assert_int_equal(cte_blob_get(tag, "b", last - 1, memory, 3, &got), CTE_OK);
    assert_int_equal(got, 2);
    assert_memory_equal(memory, "\0!", 2);
    close_and_delete(&f, tag, "t");
    fixture_free(&f);
}

static void test_info_and_sizes(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0);
    cte_tag *tag = open_tag(&f, "t"), *again = open_tag(&f, "t"), *other = open_tag(&f, "u");
    cte_blob_info info;
    uint64_t size, now = (uint64_t)time(NULL) * 1000000000;
    int count = 0;
    assert_int_equal(cte_tag_get_id(tag).minor, cte_tag_get_id(again).minor);
    assert_int_not_equal(cte_tag_get_id(tag).minor, cte_tag_get_id(other).minor);
    assert_int_equal(cte_blob_put(tag, "a", 0, "12345", 5, 0.5f, 0), CTE_OK);
    assert_int_equal(cte_blob_put(again, "b", 4995, "67890", 5, 0.125f, 0), CTE_OK);
    put(other, "a", 0, "other");
    assert_int_equal(cte_blob_get_info(tag, "b", &info), CTE_OK);
    assert_int_equal(info.size_bytes, 5000);
    assert_true(info.score == 0.125f);
    assert_true(info.modified_ns + 1000000000 >= now && info.modified_ns < now + 60000000000);
    assert_int_equal(info.read_ns, 0);
    expect(tag, "a", "12345", 5);
    assert_int_equal(cte_blob_get_info(tag, "a", &info), CTE_OK);
    assert_true(info.read_ns >= info.modified_ns);
    assert_int_equal(cte_tag_size(tag, &size), CTE_OK);
    assert_int_equal(size, 5005);
    assert_int_equal(cte_tag_list(tag, count_name, &count), CTE_OK);
    assert_int_equal(count, 2);
    assert_int_equal(cte_tag_list(tag, stop_at_once, &count), -ECANCELED);
    assert_int_equal(count, 3);
    count = 0;
    assert_int_equal(cte_client_tags(f.client, count_name, &count), CTE_OK);
    assert_int_equal(count, 2);
    cte_tag_close(again);
    close_and_delete(&f, tag, "t");
    expect(other, "a", "other", 5);
    close_and_delete(&f, other, "u");
    fixture_free(&f);
}

/* ---- deleting tags -------------------------------------------------------------------------- */

static void expect_gone(cte_tag *tag)
{
    char byte;
    int count = 0;
    uint64_t size;
    assert_int_equal(cte_blob_put(tag, "b", 0, "x", 1, 1, 0), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_put(tag, "b", 0, "x", 1, 1, CTE_BLOB_REPLACE), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_put(tag, "b", 0, "", 0, 1, 0), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_get(tag, "b", 0, &byte, 1, NULL), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_delete(tag, "b"), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_size(tag, "b", &size), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_tag_size(tag, &size), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_tag_list(tag, count_name, &count), CTE_ERR_NOT_FOUND);
}

static void test_handles_of_deleted_tags(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0);
    cte_tag *old = open_tag(&f, "t");
    put(old, "b", 0, "old");
    assert_int_equal(cte_tag_delete(f.client, "t"), CTE_OK);
    expect_gone(old);
    test_audit(f.client->store);
    /* The record is used again: by the same name, and by another. */
    cte_tag *new = open_tag(&f, "t");
    put(new, "b", 0, "new");
    expect_gone(old);
    assert_int_equal(cte_tag_delete(f.client, "t"), CTE_OK);
    cte_tag *other = open_tag(&f, "other");
    put(other, "b", 0, "third");
    expect_gone(old);
    expect_gone(new);
    expect(other, "b", "third", 5);
    cte_tag_close(old);
    cte_tag_close(new);
    close_and_delete(&f, other, "other");
    fixture_free(&f);
}

static void test_records_are_used_again(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0);
    uint32_t free_before = 0, free_after = 0;
    for (int i = 0; i < 2000; i++) {
        char name[32];
        snprintf(name, sizeof name, "step-%d", i);
        cte_tag *tag = open_tag(&f, name);
        put(tag, "b", 0, "x");
        close_and_delete(&f, tag, name);
        uint32_t *count = i == 999 ? &free_before : &free_after;
        *count = 0;
        for (uint32_t a = 0; a < f.client->store->header->unit_arena_count; a++)
            *count += f.client->store->unit_arenas[a].arena->free_count;
    }
    /* Dead names wait for the reaper, a few hundred at most; records are a kilobyte each. */
    assert_true(free_after + 4096 > free_before);
    fixture_free(&f);
}

/* Whoever meets a tag whose deleter died completes the deletion. */
static void test_unfinished_delete(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0);
    struct cte__user_tag buried;
    cte_tag *old = open_tag(&f, "t"), *none;
    int count = 0;
    put(old, "b", 0, "old");
    assert_int_equal(cte__user_tag_open(f.client->store, "t", CTE__USER_TAG_BURY, &buried), CTE_OK);
    expect_gone(old);
    assert_int_equal(cte_client_tags(f.client, count_name, &count), CTE_OK);
    assert_int_equal(count, 0);
    assert_int_equal(cte_tag_open(f.client, "t", false, &none), CTE_ERR_NOT_FOUND);
    test_audit(f.client->store);
    cte_tag *new = open_tag(&f, "t");
    assert_int_equal(cte_tag_list(new, count_name, &count), CTE_OK);
    assert_int_equal(count, 0);
    cte_tag_close(old);
    assert_int_equal(cte__user_tag_open(f.client->store, "t", CTE__USER_TAG_BURY, &buried), CTE_OK);
    close_and_delete(&f, new, "t");
    fixture_free(&f);
}

/* ---- life of the store ---------------------------------------------------------------------- */

static void test_tags_outlive_clients(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 8);
    cte_tag *tag = open_tag(&f, "kept");
    put(tag, "b", 0, "still here");
    cte_tag_close(tag);
    assert_int_equal(cte_client_close(f.client), CTE_OK);
    assert_int_equal(access(f.store, F_OK), 0);
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    assert_int_equal(cte_tag_open(f.client, "kept", false, &tag), CTE_OK);
    expect(tag, "b", "still here", 10);
    close_and_delete(&f, tag, "kept");
    fixture_free(&f);
}

/* Runs `body` in a child with a client of its own. */
static pid_t in_child(struct fixture *f, int (*body)(cte_client *client))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    cte_client *client;
    int result = cte_client_open(f->config, &client) == CTE_OK ? body(client) : 100;
    _exit(result != 0 || cte_client_close(client) == CTE_OK ? result : 101);
}

static void expect_success(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int append_to_shared(cte_client *client)
{
    cte_tag *tag;
    char memory[5];
    if (cte_tag_open(client, "shared", false, &tag) != CTE_OK)
        return 1;
    if (cte_blob_get(tag, "b", 0, memory, 5, NULL) != CTE_OK || memcmp(memory, "hello", 5) != 0)
        return 2;
    if (cte_blob_put(tag, "b", 5, " you", 4, 1, 0) != CTE_OK)
        return 3;
    if (cte_blob_put(tag, "child", 0, "mine", 4, 1, 0) != CTE_OK)
        return 4;
    cte_tag_close(tag);
    return 0;
}

static int delete_shared(cte_client *client)
{
    return cte_tag_delete(client, "shared") == CTE_OK ? 0 : 1;
}

static void test_two_processes(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0);
    cte_tag *tag = open_tag(&f, "shared");
    put(tag, "b", 0, "hello");
    expect_success(in_child(&f, append_to_shared));
    expect(tag, "b", "hello you", 9);
    expect(tag, "child", "mine", 4);
    expect_success(in_child(&f, delete_shared));
    expect_gone(tag);
    cte_tag_close(tag);
    fixture_free(&f);
}

static int churn(cte_client *client)
{
    static char data[20000];
    for (int i = 0;; i++) {
        cte_tag *tag;
        char name[16];
        snprintf(name, sizeof name, "t%d", i % 3);
        if (cte_tag_open(client, name, true, &tag) != CTE_OK)
            return 1;
        if (cte_blob_put(tag, i % 2 ? "a" : "b", 0, data, sizeof data, 1, 0) != CTE_OK)
            return 2;
        cte_tag_close(tag);
        if (i % 5 == 0 && cte_tag_delete(client, name) != CTE_OK)
            return 3;
    }
}

/* Killed anywhere in making, filling and deleting tags: nothing leaks, nothing is stuck. */
static void test_killed_processes(void **state)
{
    (void)state;
    enum { ROUNDS = 15 };
    struct fixture f = fixture_make(8, 0);
    uint64_t seed = test_seed();
    cte_tag *keeper = open_tag(&f, "keeper");
    for (int round = 0; round < ROUNDS; round++) {
        pid_t pid = in_child(&f, churn);
        usleep(20000 + test_random(&seed) % 20000);
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        cte__store_sweep(f.client->store);
        test_audit(f.client->store);
        put(keeper, "alive", 0, "yes");
    }
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        cte_status status = cte_tag_delete(f.client, name);
        assert_true(status == CTE_OK || status == CTE_ERR_NOT_FOUND);
    }
    close_and_delete(&f, keeper, "keeper");
    fixture_free(&f);
}

/* ---- threads -------------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 300, BLOB_BYTES = 40000 };

struct worker {
    cte_tag *tag;
    cte_client *client;
    int number;
    const char *failure;
};

/* Everybody replaces one blob by bytes of one value, in a size that goes with it. */
static void *replace_and_read(void *context)
{
    struct worker *w = context;
    unsigned char *memory = malloc(BLOB_BYTES + THREADS);
    for (int i = 0; i < ROUNDS && !w->failure; i++) {
        size_t got, size = BLOB_BYTES + (size_t)w->number;
        memset(memory, w->number, size);
        if (cte_blob_put(w->tag, "one", 0, memory, size, 1, CTE_BLOB_REPLACE) != CTE_OK)
            w->failure = "put";
        if (cte_blob_get(w->tag, "one", 0, memory, BLOB_BYTES + THREADS, &got) != CTE_OK)
            w->failure = "get";
        else if (got != BLOB_BYTES + (size_t)memory[0])
            w->failure = "size and contents are of different puts";
        for (size_t b = 1; b < got && !w->failure; b++)
            if (memory[b] != memory[0])
                w->failure = "bytes of different puts";
    }
    free(memory);
    return NULL;
}

/* Everybody writes its own bytes of shared pages. */
static void *interleave(void *context)
{
    struct worker *w = context;
    for (int i = 0; i < ROUNDS && !w->failure; i++) {
        unsigned char byte = (unsigned char)(w->number + 1), seen;
        uint64_t offset = (uint64_t)(i * THREADS + w->number) * 7;
        if (cte_blob_put(w->tag, "pages", offset, &byte, 1, 1, 0) != CTE_OK ||
            cte_blob_get(w->tag, "pages", offset, &seen, 1, NULL) != CTE_OK || seen != byte)
            w->failure = "own byte";
    }
    return NULL;
}

/* Everybody makes, fills and deletes tags of the same names. */
static void *make_and_delete(void *context)
{
    struct worker *w = context;
    for (int i = 0; i < ROUNDS && !w->failure; i++) {
        cte_tag *tag;
        char seen, name[16];
        snprintf(name, sizeof name, "%d", i % 2);
        if (cte_tag_open(w->client, name, true, &tag) != CTE_OK) {
            w->failure = "open";
            break;
        }
        cte_status status = cte_blob_put(tag, "b", 0, name, 1, 1, 0);
        if (status == CTE_OK)
            status = cte_blob_get(tag, "b", 0, &seen, 1, NULL);
        if (status == CTE_OK && seen != name[0])
            w->failure = "another tag's bytes";
        if (status != CTE_OK && status != CTE_ERR_NOT_FOUND)
            w->failure = "put or get";
        cte_tag_close(tag);
        status = cte_tag_delete(w->client, name);
        if (status != CTE_OK && status != CTE_ERR_NOT_FOUND)
            w->failure = "delete";
    }
    return NULL;
}

static void run_threads(struct fixture *f, cte_tag *tag, void *(*body)(void *))
{
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){tag, f->client, i, NULL};
        assert_int_equal(pthread_create(&threads[i], NULL, body, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < THREADS; i++)
        if (workers[i].failure)
            fail_msg("thread %d: %s", i, workers[i].failure);
    test_audit(f->client->store);
}

static void test_threads(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, 0);
    cte_tag *tag = open_tag(&f, "t");
    unsigned char all[ROUNDS * THREADS * 7];
    size_t got;
    run_threads(&f, tag, replace_and_read);
    run_threads(&f, tag, interleave);
    assert_int_equal(cte_blob_get(tag, "pages", 0, all, sizeof all, &got), CTE_OK);
    assert_int_equal(got, (ROUNDS * THREADS - 1) * 7 + 1);
    for (size_t i = 0; i < got; i++)
        assert_int_equal(all[i], i % 7 ? 0 : i / 7 % THREADS + 1);
    run_threads(&f, tag, make_and_delete);
    for (int i = 0; i < 2; i++)
        assert_int_equal(cte_tag_delete(f.client, i ? "1" : "0"), CTE_ERR_NOT_FOUND);
    close_and_delete(&f, tag, "t");
    fixture_free(&f);
}

/* ---- full targets --------------------------------------------------------------------------- */

static void test_full_target(void **state)
{
    (void)state;
    struct fixture f = fixture_make(1, 0);
    cte_tag *tag = open_tag(&f, "t");
    size_t bytes = 600 << 10;
    char *old = malloc(bytes), *new = malloc(bytes), *seen = malloc(bytes);
    memset(old, 'o', bytes);
    memset(new, 'n', bytes);
    assert_int_equal(cte_blob_put(tag, "b", 0, old, bytes, 1, 0), CTE_OK);
    /* There is no room for both states of the blob, nor for another one. */
    assert_int_equal(cte_blob_put(tag, "b", 0, new, bytes, 0, 0), -ENOSPC);
    assert_int_equal(cte_blob_put(tag, "b", 0, new, bytes, 0, CTE_BLOB_REPLACE), -ENOSPC);
    assert_int_equal(cte_blob_put(tag, "c", 0, new, bytes, 0, 0), -ENOSPC);
    float score;
    uint64_t size;
    assert_int_equal(cte_blob_size(tag, "c", &size), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_score(tag, "b", &score), CTE_OK);
    assert_true(score == 1.0f);
    assert_int_equal(cte_blob_get(tag, "b", 0, seen, bytes, NULL), CTE_OK);
    assert_memory_equal(seen, old, bytes);
    test_audit(f.client->store);
    for (int i = 0; i < 100; i++) /* overwriting gives back what it replaces */
        assert_int_equal(cte_blob_put(tag, "b", 4096 * i, new, 4096, 1, 0), CTE_OK);
    test_audit(f.client->store);
    assert_int_equal(cte_blob_delete(tag, "b"), CTE_OK);
    test_audit(f.client->store);
    assert_int_equal(cte_blob_put(tag, "c", 0, new, bytes, 1, 0), CTE_OK);
    assert_int_equal(cte_blob_get(tag, "c", 0, seen, bytes, NULL), CTE_OK);
    assert_memory_equal(seen, new, bytes);
    free(old);
    free(new);
    free(seen);
    close_and_delete(&f, tag, "t");
    fixture_free(&f);
}

/* ---- model ---------------------------------------------------------------------------------- */

enum { MODEL_BLOBS = 6, MODEL_BYTES = 1 << 20, MODEL_STEPS = 3000 };

struct model_blob {
    unsigned char *bytes;
    uint64_t size;
    bool exists;
    float score;
};

struct model {
    struct fixture *f;
    cte_tag *tag;
    struct model_blob blobs[MODEL_BLOBS];
    unsigned char *memory;
    uint64_t seed;
    int refused; /* puts that found no room */
};

static uint64_t pick_length(struct model *m)
{
    static const uint64_t limits[] = {16, 9000, 100000, MODEL_BYTES};
    return test_random(&m->seed) % limits[test_random(&m->seed) % 4];
}

static void model_put(struct model *m, struct model_blob *blob, const char *name)
{
    uint64_t length = pick_length(m), offset = test_random(&m->seed) % (MODEL_BYTES - length);
    bool replace = test_random(&m->seed) % 4 == 0;
    float score = (float)(test_random(&m->seed) % 101) / 100;
    for (uint64_t i = 0; i < length; i += 8) {
        uint64_t word = test_random(&m->seed);
        memcpy(m->memory + i, &word, 8);
    }
    cte_status status = cte_blob_put(m->tag, name, offset, m->memory, length, score,
                                     replace ? CTE_BLOB_REPLACE : 0);
    if (status == -ENOSPC) {
        m->refused++;
        return; /* and nothing changed */
    }
    assert_int_equal(status, CTE_OK);
    if (replace) {
        memset(blob->bytes, 0, MODEL_BYTES);
        blob->size = 0;
    }
    if (length > 0) {
        memcpy(blob->bytes + offset, m->memory, length);
        if (blob->size < offset + length)
            blob->size = offset + length;
    }
    if (length > 0 || replace || !blob->exists)
        blob->score = score;
    blob->exists = true;
}

static void model_get(struct model *m, const struct model_blob *blob, const char *name)
{
    uint64_t length = pick_length(m), offset = test_random(&m->seed) % MODEL_BYTES;
    uint64_t there = offset < blob->size ? blob->size - offset : 0;
    size_t got;
    cte_status status = cte_blob_get(m->tag, name, offset, m->memory, length, &got);
    assert_int_equal(status, blob->exists ? CTE_OK : CTE_ERR_NOT_FOUND);
    assert_int_equal(got, there < length ? there : length);
    assert_memory_equal(m->memory, blob->bytes + offset, got);
}

static void model_forget(struct model_blob *blob)
{
    memset(blob->bytes, 0, MODEL_BYTES);
    blob->size = 0;
    blob->exists = false;
}

static void model_check(struct model *m)
{
    uint64_t total = 0, size;
    int count = 0, seen = 0;
    for (int i = 0; i < MODEL_BLOBS; i++) {
        char name[2] = {(char)('a' + i), 0};
        cte_blob_info info;
        cte_status status = cte_blob_get_info(m->tag, name, &info);
        assert_int_equal(status, m->blobs[i].exists ? CTE_OK : CTE_ERR_NOT_FOUND);
        if (m->blobs[i].exists) {
            assert_int_equal(info.size_bytes, m->blobs[i].size);
            assert_true(info.score == m->blobs[i].score);
        }
        count += m->blobs[i].exists;
        total += m->blobs[i].size;
    }
    assert_int_equal(cte_tag_size(m->tag, &size), CTE_OK);
    assert_int_equal(size, total);
    assert_int_equal(cte_tag_list(m->tag, count_name, &seen), CTE_OK);
    assert_int_equal(seen, count);
    test_audit(m->f->client->store);
}

static void model_step(struct model *m, int step)
{
    int i = (int)(test_random(&m->seed) % MODEL_BLOBS);
    char name[2] = {(char)('a' + i), 0};
    struct model_blob *blob = &m->blobs[i];
    uint64_t choice = test_random(&m->seed) % 100;
    if (choice < 45) {
        model_put(m, blob, name);
    } else if (choice < 85) {
        model_get(m, blob, name);
    } else if (choice < 98) {
        assert_int_equal(cte_blob_delete(m->tag, name), blob->exists ? CTE_OK : CTE_ERR_NOT_FOUND);
        model_forget(blob);
    } else if (step % 3 == 0) {
        close_and_delete(m->f, m->tag, "model");
        for (int b = 0; b < MODEL_BLOBS; b++)
            model_forget(&m->blobs[b]);
        m->tag = open_tag(m->f, "model");
    }
}

static int run_model(unsigned ram_mib, unsigned file_mib)
{
    struct fixture f = fixture_make(ram_mib, file_mib);
    struct model m = {.f = &f, .tag = open_tag(&f, "model"), .seed = test_seed()};
    m.memory = malloc(MODEL_BYTES + 8);
    for (int i = 0; i < MODEL_BLOBS; i++)
        m.blobs[i].bytes = calloc(1, 2 * MODEL_BYTES);
    for (int step = 0; step < MODEL_STEPS; step++) {
        model_step(&m, step);
        if (step % 100 == 0)
            model_check(&m);
    }
    model_check(&m);
    for (int i = 0; i < MODEL_BLOBS; i++)
        free(m.blobs[i].bytes);
    free(m.memory);
    close_and_delete(&f, m.tag, "model");
    fixture_free(&f);
    return m.refused;
}

static void test_model(void **state)
{
    (void)state;
    assert_int_equal(run_model(16, 0), 0);
}

static void test_model_with_targets_full(void **state)
{
    (void)state;
    assert_true(run_model(1, 1) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_ranges),
        cmocka_unit_test(test_empty_puts),
        cmocka_unit_test(test_names_and_arguments),
        cmocka_unit_test(test_the_last_byte_there_can_be),
        cmocka_unit_test(test_info_and_sizes),
        cmocka_unit_test(test_handles_of_deleted_tags),
        cmocka_unit_test(test_records_are_used_again),
        cmocka_unit_test(test_unfinished_delete),
        cmocka_unit_test(test_tags_outlive_clients),
        cmocka_unit_test(test_two_processes),
        cmocka_unit_test(test_killed_processes),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_full_target),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_model_with_targets_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
