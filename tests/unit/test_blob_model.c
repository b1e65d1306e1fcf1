/* SPDX-License-Identifier: BSD-3-Clause */
/* Everything that programs do to blobs, by chance, from several threads and processes, against a
 * model that is a few arrays. */
#include "store_helpers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cte/buffer.h>

#include "file/client.h"

enum {
    NAMES = 5,
    TAGS = 2,
    BYTES_MAX = 48 << 10,
    THREADS = 3,
    CHILDREN = 2,
    OPERATIONS = 500,
    VIEWS = 3,
};

struct model_blob {
    bool exists;
    uint64_t size;
    unsigned char bytes[BYTES_MAX]; /* zeros behind the size */
};

/* A worker has names of its own, so that its model is exact, in tags of all. */
struct worker {
    cte_client *client;
    cte_tag *tags[TAGS];
    int number;
    uint64_t seed;
    struct model_blob blobs[TAGS][NAMES];
    unsigned char scratch[BYTES_MAX];
    cte_view views[VIEWS];
    unsigned char *viewed[VIEWS]; /* what each must show */
    char failure[200];
};

struct target {
    int tag, index;
    char name[32];
    struct model_blob *model;
};

static uint64_t draw(struct worker *w, uint64_t below)
{
    return test_random(&w->seed) % below;
}

static struct target draw_target(struct worker *w)
{
    struct target t = {.tag = (int)draw(w, TAGS), .index = (int)draw(w, NAMES)};
    snprintf(t.name, sizeof t.name, "w%d-%d", w->number, t.index);
    t.model = &w->blobs[t.tag][t.index];
    return t;
}

static void expect(struct worker *w, bool right, const char *what, const struct target *t)
{
    if (!right && !w->failure[0])
        snprintf(w->failure, sizeof w->failure, "%s of %s in tag %d", what, t->name, t->tag);
}

/* 1 … most; 0 if there is no room. */
static uint64_t draw_length(struct worker *w, uint64_t most)
{
    uint64_t limit = draw(w, 3) == 0 ? most : draw(w, 2) == 0 ? 600 : 9000;
    return most == 0 ? 0 : 1 + draw(w, limit < most ? limit : most);
}

static void fill(struct worker *w, unsigned char *bytes, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)test_random(&w->seed);
}

static void forget(struct model_blob *blob)
{
    memset(blob, 0, sizeof *blob);
}

static void model_put(struct model_blob *blob, uint64_t offset, const unsigned char *bytes,
                      uint64_t length)
{
    blob->exists = true;
    memcpy(blob->bytes + offset, bytes, length);
    if (offset + length > blob->size)
        blob->size = offset + length;
}

static void do_put(struct worker *w, const struct target *t)
{
    uint64_t offset = draw(w, 2) ? 0 : draw(w, BYTES_MAX - 1);
    uint64_t length = draw_length(w, BYTES_MAX - offset);
    uint32_t flags = (uint32_t)draw(w, 4); /* replace, exclusive, both, none */
    fill(w, w->scratch, length);
    cte_status status = cte_blob_put(w->tags[t->tag], t->name, offset, w->scratch, length,
                                     (float)draw(w, 11) / 10, flags);
    if (flags & CTE_BLOB_EXCLUSIVE && t->model->exists) {
        expect(w, status == -EEXIST, "exclusive put", t);
        return;
    }
    expect(w, status == CTE_OK, "put", t);
    if (flags & CTE_BLOB_REPLACE)
        forget(t->model);
    model_put(t->model, offset, w->scratch, length);
}

static void do_append(struct worker *w, const struct target *t)
{
    uint64_t length = draw_length(w, BYTES_MAX - t->model->size), offset = 0;
    fill(w, w->scratch, length);
    expect(w,
           cte_blob_append(w->tags[t->tag], t->name, w->scratch, length, 0.5f, &offset) == CTE_OK,
           "append", t);
    expect(w, offset == t->model->size, "place of an append", t);
    model_put(t->model, t->model->size, w->scratch, length);
}

static void do_get(struct worker *w, const struct target *t)
{
    uint64_t offset = draw(w, BYTES_MAX), length = draw(w, BYTES_MAX - offset) + 1;
    size_t got = 0;
    cte_status status = cte_blob_get(w->tags[t->tag], t->name, offset, w->scratch, length, &got);
    expect(w, status == (t->model->exists ? CTE_OK : CTE_ERR_NOT_FOUND), "get", t);
    uint64_t there = t->model->size > offset ? t->model->size - offset : 0;
    expect(w, got == (there < length ? there : length), "size of a get", t);
    expect(w, memcmp(w->scratch, t->model->bytes + offset, got) == 0, "bytes", t);
}

static void do_delete(struct worker *w, const struct target *t)
{
    cte_status status = cte_blob_delete(w->tags[t->tag], t->name);
    expect(w, status == (t->model->exists ? CTE_OK : CTE_ERR_NOT_FOUND), "delete", t);
    forget(t->model);
}

static void do_rename(struct worker *w, const struct target *t)
{
    struct target to = draw_target(w);
    bool replace = draw(w, 2);
    cte_status status = cte_blob_move(w->tags[t->tag], t->name, w->tags[to.tag], to.name,
                                      replace ? CTE_BLOB_REPLACE : 0);
    if (!t->model->exists) {
        expect(w, status == CTE_ERR_NOT_FOUND, "rename of none", t);
    } else if (to.model == t->model) {
        expect(w, status == CTE_OK, "rename to itself", t);
    } else if (to.model->exists && !replace) {
        expect(w, status == -EEXIST, "rename over another", t);
    } else {
        expect(w, status == CTE_OK, "rename", t);
        *to.model = *t->model;
        forget(t->model);
    }
}

static void do_reorganize(struct worker *w, const struct target *t)
{
    float score = (float)draw(w, 2), now = 2;
    cte_blob_report report = {.size_bytes = 0};
    cte_status status = cte_blob_reorganize(w->tags[t->tag], t->name, score, &report);
    expect(w, status == (t->model->exists ? CTE_OK : CTE_ERR_NOT_FOUND), "reorganize", t);
    expect(w, report.size_bytes == t->model->size, "size after reorganize", t);
    if (t->model->exists)
        expect(w, cte_blob_score(w->tags[t->tag], t->name, &now) == CTE_OK && now == score, "score",
               t);
}

static void do_put_buffer(struct worker *w, const struct target *t)
{
    uint64_t length = draw_length(w, BYTES_MAX), used = draw(w, length + 1);
    cte_buffer *buffer;
    cte_status status = cte_buffer_alloc(w->client, length, &buffer);
    if (status == -ENOSPC)
        return; /* the memory is full, or in pieces */
    expect(w, status == CTE_OK, "buffer", t);
    if (status != CTE_OK)
        return;
    fill(w, cte_buffer_data(buffer), length);
    memcpy(w->scratch, cte_buffer_data(buffer), used);
    status = cte_blob_put_buffer(w->tags[t->tag], t->name, buffer, used, 1, 0);
    expect(w, status == CTE_OK, "put of a buffer", t);
    if (status != CTE_OK) {
        cte_buffer_free(buffer);
        return;
    }
    forget(t->model);
    model_put(t->model, 0, w->scratch, used);
}

static void end_view(struct worker *w, int i, const struct target *t)
{
    if (!w->viewed[i])
        return;
    expect(w, memcmp(w->views[i].data, w->viewed[i], w->views[i].size_bytes) == 0, "view", t);
    cte_view_release(&w->views[i]);
    free(w->viewed[i]);
    w->viewed[i] = NULL;
}

/* A view is looked at when it ends, many operations later. */
static void do_view(struct worker *w, const struct target *t)
{
    int i = (int)draw(w, VIEWS);
    uint64_t offset = draw(w, 2) ? 0 : draw(w, BYTES_MAX);
    end_view(w, i, t);
    cte_status status =
        cte_blob_view(w->tags[t->tag], t->name, offset, BYTES_MAX - offset, &w->views[i]);
    expect(w, status == (t->model->exists ? CTE_OK : CTE_ERR_NOT_FOUND), "view", t);
    if (status != CTE_OK)
        return;
    uint64_t there = t->model->size > offset ? t->model->size - offset : 0;
    expect(w, w->views[i].size_bytes == there, "size of a view", t);
    w->viewed[i] = malloc(BYTES_MAX);
    memcpy(w->viewed[i], t->model->bytes + offset, BYTES_MAX - offset);
}

static void *work(void *context)
{
    static void (*const operations[])(struct worker *, const struct target *) = {
        do_put,    do_put,    do_append,     do_get,        do_get,  do_delete,
        do_rename, do_rename, do_reorganize, do_put_buffer, do_view, do_view};
    struct worker *w = context;
    struct target t = {.tag = 0};
    for (int i = 0; i < OPERATIONS && !w->failure[0]; i++) {
        t = draw_target(w);
        operations[draw(w, sizeof operations / sizeof operations[0])](w, &t);
    }
    for (int i = 0; i < VIEWS; i++)
        end_view(w, i, &t);
    return NULL;
}

static struct worker *worker_make(cte_client *client, int number, uint64_t seed)
{
    static const char *const names[TAGS] = {"first", "second"};
    struct worker *w = calloc(1, sizeof *w);
    w->client = client;
    w->number = number;
    w->seed = seed + (uint64_t)number;
    for (int i = 0; i < TAGS; i++)
        if (cte_tag_open(client, names[i], true, &w->tags[i]) != CTE_OK)
            snprintf(w->failure, sizeof w->failure, "open");
    return w;
}

static void worker_free(struct worker *w)
{
    for (int i = 0; i < TAGS; i++)
        cte_tag_close(w->tags[i]);
    free(w);
}

static pid_t start_child(const cte_config *config, int number, uint64_t seed)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* no child outlives a test that fails */
    cte_client *client;
    if (cte_client_open(config, &client) != CTE_OK)
        _exit(1);
    struct worker *w = worker_make(client, number, seed);
    work(w);
    if (w->failure[0])
        fprintf(stderr, "child %d: %s\n", number, w->failure);
    int result = w->failure[0] != 0;
    worker_free(w);
    _exit(cte_client_close(client) == CTE_OK ? result : 2);
}

static void test_against_a_model(void **state)
{
    (void)state;
    char directory[256];
    cte_client *client;
    struct worker *workers[THREADS];
    pthread_t threads[THREADS];
    pid_t children[CHILDREN];
    uint64_t seed = test_seed();
    test_directory(directory, sizeof directory);
    cte_config *config = test_config(directory, 16, 16, "");
    assert_int_equal(cte_client_open(config, &client), CTE_OK);
    for (int i = 0; i < CHILDREN; i++)
        children[i] = start_child(config, THREADS + i, seed);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = worker_make(client, i, seed);
        assert_int_equal(pthread_create(&threads[i], NULL, work, workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    for (int i = 0; i < THREADS; i++) {
        if (workers[i]->failure[0])
            fail_msg("worker %d: %s", i, workers[i]->failure);
        worker_free(workers[i]);
    }
    test_audit(client->store);
    assert_int_equal(cte_tag_delete(client, "first"), CTE_OK);
    assert_int_equal(cte_tag_delete(client, "second"), CTE_OK);
    test_audit(client->store);
    uint64_t free_bytes = 0;
    for (uint32_t t = 0; t < client->store->header->target_count; t++)
        free_bytes += cte__target_free_bytes(client->store, t);
    assert_int_equal(free_bytes, 32 << 20);
    assert_int_equal(cte_client_close(client), CTE_OK);
    cte_config_free(config);
    test_remove_directory(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_a_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
