/* SPDX-License-Identifier: BSD-3-Clause */
/* Puts on conditions, appending and renaming: alone, by several threads and processes, and killed.
 */
#include "store_helpers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include <cte/blob.h>

#include "file/client.h"

struct fixture {
    char directory[256];
    cte_config *config;
    cte_client *client;
};

static struct fixture fixture_make(unsigned ram_mib, unsigned file_mib)
{
    struct fixture f = {0};
    test_directory(f.directory, sizeof f.directory);
    f.config = test_config(f.directory, ram_mib, file_mib, "");
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    return f;
}

static void fixture_free(struct fixture *f)
{
    test_audit(f->client->store);
    assert_int_equal(cte_client_close(f->client), CTE_OK);
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

static void put(cte_tag *tag, const char *name, const char *text)
{
    assert_int_equal(cte_blob_put(tag, name, 0, text, strlen(text), 1.0f, CTE_BLOB_REPLACE),
                     CTE_OK);
}

static void expect(cte_tag *tag, const char *name, const char *text)
{
    char memory[256];
    size_t got;
    cte_status status = cte_blob_get(tag, name, 0, memory, sizeof memory, &got);
    if (!text) {
        assert_int_equal(status, CTE_ERR_NOT_FOUND);
        return;
    }
    assert_int_equal(status, CTE_OK);
    assert_int_equal(got, strlen(text));
    assert_memory_equal(memory, text, got);
}

static cte_status count_name(void *context, const char *name)
{
    (void)name;
    (*(int *)context)++;
    return CTE_OK;
}

static int names_of(cte_tag *tag)
{
    int count = 0;
    assert_int_equal(cte_tag_list(tag, count_name, &count), CTE_OK);
    return count;
}

/* ---- put if absent -------------------------------------------------------------------------- */

static void test_exclusive_puts(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    cte_tag *tag = open_tag(&f, "t");
    static char large[10000], back[10000];
    memset(large, 'l', sizeof large);
    uint32_t flags = CTE_BLOB_EXCLUSIVE;
    assert_int_equal(cte_blob_put(tag, "a", 0, "first", 5, 1, flags), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "a", 0, "other", 5, 1, flags), -EEXIST);
    assert_int_equal(cte_blob_put(tag, "a", 0, large, sizeof large, 1, flags), -EEXIST);
    assert_int_equal(cte_blob_put(tag, "a", 0, "", 0, 1, flags), -EEXIST);
    assert_int_equal(cte_blob_put(tag, "a", 0, "", 0, 1, flags | CTE_BLOB_REPLACE), -EEXIST);
    expect(tag, "a", "first");
    assert_int_equal(cte_blob_put(tag, "l", 0, large, sizeof large, 1, flags), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "l", 0, "x", 1, 1, flags | CTE_BLOB_REPLACE), -EEXIST);
    assert_int_equal(cte_blob_get(tag, "l", 0, back, sizeof back, NULL), CTE_OK);
    assert_memory_equal(back, large, sizeof large);
    assert_int_equal(cte_blob_put(tag, "e", 0, NULL, 0, 1, flags), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "e", 0, "x", 1, 1, flags), -EEXIST);
    expect(tag, "e", "");
    assert_int_equal(cte_blob_delete(tag, "e"), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "e", 0, "x", 1, 1, flags), CTE_OK);
    close_and_delete(&f, tag, "t");
    fixture_free(&f);
}

enum { THREADS = 4 };

struct worker {
    cte_tag *tag, *other;
    int number;
    _Atomic int *winners; /* by round */
    const char *failure;
};

static void run(cte_tag *tag, cte_tag *other, _Atomic int *winners, void *(*body)(void *))
{
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){tag, other, i, winners, NULL};
        assert_int_equal(pthread_create(&threads[i], NULL, body, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < THREADS; i++)
        if (workers[i].failure)
            fail_msg("%s", workers[i].failure);
}

enum { RACES = 200 };

static void *race_to_put(void *context)
{
    struct worker *w = context;
    static const size_t sizes[] = {0, 100, 5000};
    static const char bytes[5000];
    for (int i = 0; i < RACES; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        cte_status status =
            cte_blob_put(w->tag, name, 0, bytes, sizes[i % 3], 1, CTE_BLOB_EXCLUSIVE);
        if (status == CTE_OK)
            atomic_fetch_add(&w->winners[i], 1);
        else if (status != -EEXIST)
            w->failure = cte_status_string(status);
    }
    return NULL;
}

static void test_one_of_many_wins(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0);
    cte_tag *tag = open_tag(&f, "t");
    _Atomic int winners[RACES] = {0};
    run(tag, NULL, winners, race_to_put);
    for (int i = 0; i < RACES; i++)
        assert_int_equal(winners[i], 1);
    close_and_delete(&f, tag, "t");
    fixture_free(&f);
}

/* ---- append --------------------------------------------------------------------------------- */

static void test_appends(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    cte_tag *tag = open_tag(&f, "t");
    uint64_t offset = 99, size;
    static char page[4096], back[3 * 4096];
    assert_int_equal(cte_blob_append(tag, "a", "one", 3, 0.5f, &offset), CTE_OK);
    assert_int_equal(offset, 0);
    assert_int_equal(cte_blob_append(tag, "a", "two", 3, 0.5f, &offset), CTE_OK);
    assert_int_equal(offset, 3);
    assert_int_equal(cte_blob_append(tag, "a", "", 0, 0.5f, &offset), CTE_OK);
    assert_int_equal(offset, 6);
    assert_int_equal(cte_blob_append(tag, "a", "!", 1, 0.25f, NULL), CTE_OK);
    expect(tag, "a", "onetwo!");
    /* From the small form to pages, and across them. */
    memset(page, 'p', sizeof page);
    for (int i = 0; i < 3; i++)
        assert_int_equal(cte_blob_append(tag, "a", page, sizeof page, 1, &offset), CTE_OK);
    assert_int_equal(offset, 7 + 2 * 4096);
    assert_int_equal(cte_blob_get(tag, "a", 7, back, sizeof back, NULL), CTE_OK);
    for (size_t i = 0; i < sizeof back; i++)
        assert_int_equal(back[i], 'p');
    assert_int_equal(cte_blob_append(tag, "new", NULL, 0, 1, &offset), CTE_OK);
    assert_int_equal(offset, 0);
    assert_int_equal(cte_blob_size(tag, "new", &size), CTE_OK);
    assert_int_equal(size, 0);
    assert_int_equal(cte_blob_append(tag, "a", NULL, 1, 1, &offset), -EINVAL);
    assert_int_equal(cte_blob_append(tag, "a", "x", 1, 2, &offset), -EINVAL);
    assert_int_equal(cte_blob_append(NULL, "a", "x", 1, 1, &offset), -EINVAL);
    assert_int_equal(cte_blob_put(tag, "end", (UINT64_C(1) << 44) - 2, "x", 1, 1, 0), CTE_OK);
    assert_int_equal(cte_blob_append(tag, "end", "yz", 2, 1, &offset), -EFBIG);
    assert_int_equal(cte_blob_append(tag, "end", "y", 1, 1, &offset), CTE_OK);
    assert_int_equal(cte_blob_append(tag, "end", "z", 1, 1, &offset), -EFBIG);
    close_and_delete(&f, tag, "t");
    assert_int_equal(cte_tag_open(f.client, "t", true, &tag), CTE_OK);
    cte_tag *stale = open_tag(&f, "t");
    close_and_delete(&f, tag, "t");
    assert_int_equal(cte_blob_append(stale, "a", "x", 1, 1, &offset), CTE_ERR_NOT_FOUND);
    cte_tag_close(stale);
    fixture_free(&f);
}

enum { APPENDS = 150, RECORD_MAX = 3000 };

/* A record: number of its writer, its length, and that many bytes of the writer. */
static void *append_records(void *context)
{
    struct worker *w = context;
    unsigned char record[RECORD_MAX];
    uint64_t seed = (uint64_t)w->number + 1;
    for (int i = 0; i < APPENDS && !w->failure; i++) {
        uint16_t length = (uint16_t)(3 + test_random(&seed) % (i % 8 ? 60 : RECORD_MAX - 3));
        uint64_t offset;
        unsigned char back[3];
        memset(record, w->number + 1, length);
        memcpy(record + 1, &length, 2);
        if (cte_blob_append(w->tag, "log", record, length, 1, &offset) != CTE_OK)
            w->failure = "append";
        else if (cte_blob_get(w->tag, "log", offset, back, 3, NULL) != CTE_OK ||
                 memcmp(back, record, 3) != 0)
            w->failure = "the record is not where append said";
    }
    return NULL;
}

/* Goes through the records: none overlaps another, none is torn, no gap. */
static int count_records(cte_tag *tag)
{
    uint64_t size;
    int count = 0;
    assert_int_equal(cte_blob_size(tag, "log", &size), CTE_OK);
    unsigned char *bytes = malloc(size);
    assert_int_equal(cte_blob_get(tag, "log", 0, bytes, size, NULL), CTE_OK);
    for (uint64_t at = 0; at < size; count++) {
        uint16_t length;
        memcpy(&length, bytes + at + 1, 2);
        assert_true(bytes[at] >= 1 && bytes[at] <= THREADS && length >= 3 && at + length <= size);
        for (uint64_t i = 3; i < length; i++)
            assert_int_equal(bytes[at + i], bytes[at]);
        at += length;
    }
    free(bytes);
    return count;
}

static void test_many_append(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0);
    cte_tag *tag = open_tag(&f, "t");
    run(tag, NULL, NULL, append_records);
    assert_int_equal(count_records(tag), THREADS * APPENDS);
    close_and_delete(&f, tag, "t");
    fixture_free(&f);
}

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

static int append_for_ever(cte_client *client)
{
    struct worker w = {.number = 0};
    if (cte_tag_open(client, "t", false, &w.tag) != CTE_OK)
        return 1;
    while (!w.failure)
        append_records(&w);
    return 2;
}

/* Lets a child at it and kills it at some moment. */
static void kill_child(struct fixture *f, int (*body)(cte_client *), uint64_t *seed)
{
    int status;
    pid_t pid = in_child(f, body);
    usleep(8000 + test_random(seed) % 12000);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void test_killed_while_appending(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, 0);
    uint64_t seed = test_seed();
    cte_tag *tag = open_tag(&f, "t");
    put(tag, "log", "");
    for (int round = 0; round < 12; round++) {
        kill_child(&f, append_for_ever, &seed);
        count_records(tag);
        assert_int_equal(cte_blob_append(tag, "log", "\1\3\0", 3, 1, NULL), CTE_OK);
        cte__store_sweep(f.client->store);
        test_audit(f.client->store);
        if (round % 4 == 3)
            put(tag, "log", "");
    }
    close_and_delete(&f, tag, "t");
    fixture_free(&f);
}

/* ---- rename --------------------------------------------------------------------------------- */

static void test_renames(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    cte_tag *tag = open_tag(&f, "t"), *other = open_tag(&f, "other");
    cte_blob_info before, after;
    static char large[9000], back[9000];
    put(tag, "a", "one");
    put(tag, "b", "two");
    assert_int_equal(cte_blob_rename(tag, "a", "b", 0), -EEXIST);
    assert_int_equal(cte_blob_rename(tag, "none", "c", 0), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_rename(tag, "none", "b", 0), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_rename(tag, "a", "a", 0), CTE_OK);
    assert_int_equal(cte_blob_rename(tag, "none", "none", 0), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_rename(tag, "a", "", 0), -EINVAL);
    assert_int_equal(cte_blob_rename(tag, "a", "c", CTE_BLOB_EXCLUSIVE), -EINVAL);
    expect(tag, "a", "one");
    assert_int_equal(cte_blob_get_info(tag, "a", &before), CTE_OK);
    assert_int_equal(cte_blob_rename(tag, "a", "c", 0), CTE_OK);
    expect(tag, "a", NULL);
    assert_int_equal(cte_blob_get_info(tag, "c", &after), CTE_OK);
    assert_memory_equal(&before, &after, sizeof before);
    expect(tag, "c", "one");
    assert_int_equal(names_of(tag), 2);
    assert_int_equal(cte_blob_rename(tag, "c", "b", CTE_BLOB_REPLACE), CTE_OK);
    expect(tag, "b", "one");
    assert_int_equal(names_of(tag), 1);
    put(tag, "a", "new under an old name");
    expect(tag, "b", "one");
    /* Pages, over pages, into another tag, and back over a small blob. */
    memset(large, 'l', sizeof large);
    assert_int_equal(cte_blob_put(other, "x", 0, large + 1, sizeof large - 1, 1, 0), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "l", 0, large, sizeof large, 0.5f, 0), CTE_OK);
    assert_int_equal(cte_blob_move(tag, "l", other, "x", 0), -EEXIST);
    assert_int_equal(cte_blob_move(tag, "l", other, "x", CTE_BLOB_REPLACE), CTE_OK);
    test_audit(f.client->store);
    assert_int_equal(cte_blob_get(other, "x", 0, back, sizeof back, NULL), CTE_OK);
    assert_memory_equal(back, large, sizeof large);
    expect(tag, "l", NULL);
    assert_int_equal(cte_blob_move(other, "x", tag, "a", CTE_BLOB_REPLACE), CTE_OK);
    assert_int_equal(names_of(other), 0);
    assert_int_equal(names_of(tag), 2);
    assert_int_equal(cte_blob_put(tag, "empty", 0, NULL, 0, 1, 0), CTE_OK);
    assert_int_equal(cte_blob_move(tag, "empty", other, "e", 0), CTE_OK);
    expect(other, "e", "");
    close_and_delete(&f, other, "other");
    /* A handle of a deleted tag is no place to go to, nor to come from. */
    other = open_tag(&f, "other");
    cte_tag *stale = open_tag(&f, "other");
    close_and_delete(&f, other, "other");
    assert_int_equal(cte_blob_move(tag, "a", stale, "a", 0), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_move(stale, "a", tag, "q", 0), CTE_ERR_NOT_FOUND);
    assert_int_equal(names_of(tag), 2);
    cte_tag_close(stale);
    close_and_delete(&f, tag, "t");
    fixture_free(&f);
}

static void test_other_stores(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0), g = fixture_make(4, 0);
    cte_tag *here = open_tag(&f, "t"), *there = open_tag(&g, "t"), *same;
    cte_client *again;
    put(here, "a", "one");
    assert_int_equal(cte_blob_move(here, "a", there, "a", 0), -EXDEV);
    assert_int_equal(cte_client_open(f.config, &again), CTE_OK);
    assert_int_equal(cte_tag_open(again, "t", false, &same), CTE_OK);
    assert_int_equal(cte_blob_move(here, "a", same, "b", 0), CTE_OK);
    expect(here, "b", "one");
    cte_tag_close(same);
    assert_int_equal(cte_client_close(again), CTE_OK);
    close_and_delete(&f, here, "t");
    close_and_delete(&g, there, "t");
    fixture_free(&f);
    fixture_free(&g);
}

static void test_many_names_make_room_for_each_other(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    cte_tag *tag = open_tag(&f, "t");
    char from[32], to[32];
    put(tag, "n0", "wanderer");
    for (int i = 0; i < 5000; i++) {
        snprintf(from, sizeof from, "n%d", i);
        snprintf(to, sizeof to, "n%d", i + 1);
        assert_int_equal(cte_blob_rename(tag, from, to, 0), CTE_OK);
    }
    expect(tag, "n5000", "wanderer");
    assert_int_equal(names_of(tag), 1);
    close_and_delete(&f, tag, "t");
    fixture_free(&f);
}

enum { TOKENS = 3, PLACES = 8, RENAMES = 400 };

/* Tokens wander over places of two tags: a token is lost or doubled only by a defect. */
static void *wander(void *context)
{
    struct worker *w = context;
    uint64_t seed = (uint64_t)w->number + 77;
    cte_tag *tags[] = {w->tag, w->other};
    for (int i = 0; i < RENAMES && !w->failure; i++) {
        char from[8], to[8];
        snprintf(from, sizeof from, "%d", (int)(test_random(&seed) % PLACES));
        snprintf(to, sizeof to, "%d", (int)(test_random(&seed) % PLACES));
        uint64_t draw = test_random(&seed);
        cte_status status = cte_blob_move(tags[draw & 1], from, tags[draw >> 1 & 1], to, 0);
        if (status != CTE_OK && status != -EEXIST && status != CTE_ERR_NOT_FOUND)
            w->failure = cte_status_string(status);
        if (names_of(w->tag) > TOKENS)
            w->failure = "a list shows a token twice";
    }
    return NULL;
}

static void put_tokens(cte_tag *tag)
{
    for (int i = 0; i < TOKENS; i++) {
        char name[8], text[32];
        snprintf(name, sizeof name, "%d", i);
        snprintf(text, sizeof text, "token %d", i);
        put(tag, name, text);
    }
}

static void expect_all_tokens(cte_tag *tag, cte_tag *other)
{
    int seen[TOKENS] = {0}, names = 0;
    cte_tag *tags[] = {tag, other};
    for (int i = 0; i < 2 * PLACES; i++) {
        char name[8], memory[32];
        size_t got;
        snprintf(name, sizeof name, "%d", i / 2);
        cte_status status = cte_blob_get(tags[i % 2], name, 0, memory, sizeof memory, &got);
        if (status == CTE_ERR_NOT_FOUND)
            continue;
        assert_int_equal(status, CTE_OK);
        assert_int_equal(got, 7);
        seen[memory[6] - '0']++;
        names++;
    }
    for (int i = 0; i < TOKENS; i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(names, TOKENS);
    assert_int_equal(names_of(tag) + names_of(other), TOKENS);
}

static void test_threads_rename(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    cte_tag *tag = open_tag(&f, "t"), *other = open_tag(&f, "other");
    put_tokens(tag);
    run(tag, other, NULL, wander);
    expect_all_tokens(tag, other);
    close_and_delete(&f, tag, "t");
    close_and_delete(&f, other, "other");
    fixture_free(&f);
}

/* Whoever lists while one blob goes to and fro sees it once. */
static void *list_names(void *context)
{
    struct worker *w = context;
    for (int i = 0; i < 4000 && !w->failure; i++) {
        int count = 0;
        if (w->number == 0) {
            cte_status there = cte_blob_rename(w->tag, "ping", "pong", 0);
            if (there != CTE_OK || cte_blob_rename(w->tag, "pong", "ping", 0) != CTE_OK)
                w->failure = "rename";
        } else if (cte_tag_list(w->tag, count_name, &count) != CTE_OK || count != 1) {
            w->failure = "a list without the blob, or with it twice";
        }
    }
    return NULL;
}

static void test_lists_see_one_name(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    cte_tag *tag = open_tag(&f, "t");
    put(tag, "ping", "ball");
    run(tag, NULL, NULL, list_names);
    expect(tag, "ping", "ball");
    close_and_delete(&f, tag, "t");
    fixture_free(&f);
}

static int rename_for_ever(cte_client *client)
{
    struct worker w = {.number = (int)getpid()};
    if (cte_tag_open(client, "t", false, &w.tag) != CTE_OK ||
        cte_tag_open(client, "other", false, &w.other) != CTE_OK)
        return 1;
    while (!w.failure) {
        w.number++;
        wander(&w);
    }
    return 2;
}

static void test_killed_while_renaming(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    uint64_t seed = test_seed();
    cte_tag *tag = open_tag(&f, "t"), *other = open_tag(&f, "other");
    put_tokens(tag);
    for (int round = 0; round < 40; round++) {
        kill_child(&f, rename_for_ever, &seed);
        if (round % 2)
            cte__store_sweep(f.client->store);
        expect_all_tokens(tag, other); /* also before anybody swept */
        cte__store_sweep(f.client->store);
        test_audit(f.client->store);
        expect_all_tokens(tag, other);
    }
    close_and_delete(&f, tag, "t");
    close_and_delete(&f, other, "other");
    fixture_free(&f);
}

/* ---- each state that a dying renamer can leave ------------------------------------------------
 */

static cte__unit entry_of(struct cte__store *store, const struct cte__user_tag *tag,
                          const char *name)
{
    uint64_t hash = cte__name_hash(tag->id, name, (uint32_t)strlen(name));
    struct cte__shard *shard = cte__shard_lock(store, hash);
    cte__unit unit = cte__index_find(store, shard, hash, tag->unit, name, (uint32_t)strlen(name));
    cte__shard_unlock(shard);
    return unit;
}

/* A child does the first `steps` stores of renaming "a" over "b" and dies. */
static void die_at_step(struct fixture *f, int steps)
{
    struct cte__store *store = f->client->store;
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct cte__user_tag tag;
        uint16_t self = cte__store_self(store);
        if (cte__user_tag_find(store, "t", 1, CTE__USER_TAG_OPEN, &tag) != CTE_OK)
            _exit(1);
        cte__unit a = entry_of(store, &tag, "a"), b = entry_of(store, &tag, "b"), c = 0;
        uint64_t hash = cte__name_hash(tag.id, "b", 1);
        struct cte__shard *shard = cte__shard_lock(store, hash);
        if (cte__index_insert(store, shard, hash, cte__tag_at(store, tag.unit), tag.unit,
                              CTE__ENTRY_BLOB, "b", 1, &c) != CTE_OK)
            _exit(2);
        struct cte__entry *from = cte__entry_at(store, a), *gone = cte__entry_at(store, b),
                          *to = cte__entry_at(store, c);
        atomic_store(&to->location, atomic_load(&from->location));
        uint64_t old = atomic_load(&gone->location);
        cte__units_own(store, self, cte__location_unit(old), cte__location_small_bytes(old));
        store->header->slots[self - 1].switched = 0;
        for (int step = 1; step <= steps; step++) {
            if (step == 1)
                cte__units_own(store, self, a, sizeof *from + 1);
            if (step == 2)
                atomic_store(&from->state, CTE__ENTRY_LEAVING);
            if (step == 3)
                cte__units_own(store, self, b, sizeof *gone + 1);
            if (step == 4)
                atomic_store(&gone->state, CTE__ENTRY_LEAVING);
            if (step == 5)
                atomic_store(&to->state, CTE__ENTRY_ARRIVING);
            if (step == 6)
                atomic_store(&store->header->slots[self - 1].switched, 1);
            if (step == 7)
                atomic_store(&to->state, CTE__ENTRY_LIVE);
            if (step == 8)
                cte__units_own(store, CTE__OWNER_PUBLISHED, c, sizeof *to + 1);
            if (step == 9)
                atomic_store(&from->state, CTE__ENTRY_NEW);
            if (step == 10)
                atomic_store(&gone->state, CTE__ENTRY_NEW);
        }
        _exit(0); /* with the shard locked and the slot taken: as if killed */
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void expect_old_or_new(cte_tag *tag, bool renamed)
{
    expect(tag, "a", renamed ? NULL : "one");
    expect(tag, "b", renamed ? "one" : "two");
    assert_int_equal(names_of(tag), renamed ? 1 : 2);
}

static void test_each_step_of_a_rename(void **state)
{
    (void)state;
    for (int steps = 0; steps <= 10; steps++)
        for (int then = 0; then < 4; then++) {
            struct fixture f = fixture_make(4, 0);
            cte_tag *tag = open_tag(&f, "t");
            bool renamed = steps >= 6;
            put(tag, "a", "one");
            put(tag, "b", "two");
            die_at_step(&f, steps);
            struct cte__store_audit audit; /* what is lost the sweep will find, not damage */
            assert_int_equal(cte__store_audit(f.client->store, &audit), CTE_OK);
            assert_int_equal(audit.pages_doubly + audit.pages_unowned + audit.units_unowned, 0);
            if (then >= 1)
                expect_old_or_new(tag, renamed);
            if (then == 2 && renamed) /* before the sweep, the names are used again */
                put(tag, "a", "new");
            if (then == 3) {
                assert_int_equal(cte_blob_rename(tag, "b", "c", 0), CTE_OK);
                expect(tag, "b", NULL);
            }
            cte__store_sweep(f.client->store);
            test_audit(f.client->store);
            if (then < 2)
                expect_old_or_new(tag, renamed);
            expect(tag, "a", then == 2 && renamed ? "new" : renamed ? NULL : "one");
            expect(tag, then == 3 ? "c" : "b", renamed ? "one" : "two");
            close_and_delete(&f, tag, "t");
            fixture_free(&f);
        }
}

/* ---- ids of tags ---------------------------------------------------------------------------- */

static void expect_id(cte_tag *tag, uint32_t major, uint32_t minor)
{
    assert_int_equal(cte_tag_get_id(tag).major, major);
    assert_int_equal(cte_tag_get_id(tag).minor, minor);
}

static void test_chosen_ids(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    cte_tag *a, *b, *c, *none = NULL;
    cte_tag_id id = {0, 1000}, far = {7, 42}, any = {0, 0}, found;
    char name[CTE_BLOB_NAME_MAX + 1];
    assert_int_equal(cte_tag_create(f.client, "a", id, &a), CTE_OK);
    expect_id(a, 0, 1000);
    put(a, "blob", "of a");
    assert_int_equal(cte_tag_create(f.client, "a", id, &b), CTE_OK); /* it is the same tag */
    expect(b, "blob", "of a");
    cte_tag_close(b);
    assert_int_equal(cte_tag_create(f.client, "a", far, &none), -EEXIST);
    assert_int_equal(cte_tag_create(f.client, "other", id, &none), -EEXIST);
    assert_int_equal(cte_tag_find(f.client, "other", &found), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_tag_create(f.client, "b", far, &b), CTE_OK);
    expect_id(b, 7, 42);
    /* The store itself gives others. */
    assert_int_equal(cte_tag_create(f.client, "c", any, &c), CTE_OK);
    assert_int_equal(cte_tag_get_id(c).major, 0);
    assert_true(cte_tag_get_id(c).minor > 1000);
    assert_int_equal(cte_tag_find(f.client, "b", &found), CTE_OK);
    assert_int_equal(found.major, 7);
    assert_int_equal(found.minor, 42);
    assert_int_equal(cte_tag_name(f.client, id, name, sizeof name), CTE_OK);
    assert_string_equal(name, "a");
    assert_int_equal(cte_tag_name(f.client, id, name, 2), CTE_OK);
    assert_int_equal(cte_tag_name(f.client, id, name, 1), -ERANGE);
    assert_int_equal(cte_tag_name(f.client, id, NULL, 0), -EINVAL);
    assert_int_equal(cte_tag_name(f.client, any, name, sizeof name), CTE_ERR_NOT_FOUND);
    cte_tag *again;
    assert_int_equal(cte_tag_open_id(f.client, id, &again), CTE_OK);
    expect(again, "blob", "of a");
    assert_int_equal(cte_tag_open_id(f.client, (cte_tag_id){7, 43}, &none), CTE_ERR_NOT_FOUND);
    assert_null(none);
    /* An id is free once its tag is deleted; handles of the old tag do not mean the new one. */
    assert_int_equal(cte_tag_delete_id(f.client, id), CTE_OK);
    assert_int_equal(cte_tag_delete_id(f.client, id), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_tag_open_id(f.client, id, &none), CTE_ERR_NOT_FOUND);
    cte_tag *heir;
    assert_int_equal(cte_tag_create(f.client, "heir", id, &heir), CTE_OK);
    put(heir, "blob", "of the heir");
    expect(again, "blob", NULL);
    expect(a, "blob", NULL);
    assert_int_equal(cte_blob_put(a, "blob", 0, "x", 1, 1, 0), CTE_ERR_NOT_FOUND);
    expect(heir, "blob", "of the heir");
    cte_tag_close(a);
    cte_tag_close(again);
    close_and_delete(&f, heir, "heir");
    close_and_delete(&f, b, "b");
    close_and_delete(&f, c, "c");
    fixture_free(&f);
}

/* Everybody wants the same ids, under names of their own. */
static void *race_for_ids(void *context)
{
    struct worker *w = context;
    for (int i = 0; i < RACES; i++) {
        char name[16];
        cte_tag *tag;
        snprintf(name, sizeof name, "%d-%d", i, w->number);
        cte_status status = cte_tag_create(
            NULL, name, (cte_tag_id){(uint32_t)i % 2, 5000 + 1000 * (uint32_t)i}, &tag);
        if (status == CTE_OK) {
            atomic_fetch_add(&w->winners[i], 1);
            cte_tag_close(tag);
        } else if (status != -EEXIST) {
            w->failure = cte_status_string(status);
        }
        if (cte_tag_open(NULL, name, true, &tag) != CTE_OK)
            w->failure = "open";
        else
            cte_tag_close(tag);
    }
    return NULL;
}

static cte_status note_id(void *context, const char *name, cte_tag_id id)
{
    uint64_t *ids = context;
    (void)name;
    ids[++ids[0]] = (uint64_t)id.major << 32 | id.minor;
    return CTE_OK;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void test_ids_are_given_once(void **state)
{
    (void)state;
    char directory[256], path[300];
    test_directory(directory, sizeof directory);
    snprintf(path, sizeof path, "%s/cte.yaml", directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "store: {name: ids, directory: '%s'}\n", directory);
    fprintf(file, "storage: [{bdev_type: ram, capacity_limit: 2MiB}]\n");
    assert_int_equal(fclose(file), 0);
    assert_int_equal(cte_init(path), CTE_OK);
    _Atomic int winners[RACES] = {0};
    run(NULL, NULL, winners, race_for_ids);
    for (int i = 0; i < RACES; i++)
        assert_int_equal(winners[i], 1);
    static uint64_t ids[1 + THREADS * RACES];
    ids[0] = 0;
    assert_int_equal(cte_tag_query(NULL, ".", CTE_QUERY_LOCAL, 0, note_id, ids), CTE_OK);
    assert_int_equal(ids[0], THREADS * RACES);
    qsort(ids + 1, ids[0], sizeof ids[0], compare_ids);
    for (int i = 1; i < THREADS * RACES; i++)
        assert_true(ids[i] < ids[i + 1]);
    for (int i = 1; i <= THREADS * RACES; i++) {
        cte_tag_id id = {(uint32_t)(ids[i] >> 32), (uint32_t)ids[i]};
        assert_int_equal(cte_tag_delete_id(NULL, id), CTE_OK);
    }
    assert_int_equal(cte_finalize(), CTE_OK);
    test_remove_directory(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exclusive_puts),
        cmocka_unit_test(test_one_of_many_wins),
        cmocka_unit_test(test_appends),
        cmocka_unit_test(test_many_append),
        cmocka_unit_test(test_killed_while_appending),
        cmocka_unit_test(test_renames),
        cmocka_unit_test(test_other_stores),
        cmocka_unit_test(test_many_names_make_room_for_each_other),
        cmocka_unit_test(test_threads_rename),
        cmocka_unit_test(test_lists_see_one_name),
        cmocka_unit_test(test_killed_while_renaming),
        cmocka_unit_test(test_each_step_of_a_rename),
        cmocka_unit_test(test_chosen_ids),
        cmocka_unit_test(test_ids_are_given_once),
    };
    /* What the caller's environment says of stores is not what is tested here. */
    unsetenv("CTE_STORE_NAME");
    unsetenv("CTE_STORE_DIRECTORY");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
