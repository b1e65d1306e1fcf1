/* SPDX-License-Identifier: BSD-3-Clause */
/* Views and buffers: what is looked at stays, what is released comes back, whoever dies. */
#include "store_helpers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cte/buffer.h>

#include "blob/change.h"
#include "blob/tag.h"
#include "file/client.h"

enum { PAGE = 4096, BYTES = 200000 };

struct fixture {
    char directory[256];
    cte_config *config;
    cte_client *client;
    cte_tag *tag;
};

static struct fixture fixture_make(unsigned ram_mib, unsigned file_mib)
{
    struct fixture f = {0};
    test_directory(f.directory, sizeof f.directory);
    f.config = test_config(f.directory, ram_mib, file_mib, "");
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    assert_int_equal(cte_tag_open(f.client, "t", true, &f.tag), CTE_OK);
    return f;
}

static uint64_t free_bytes(const struct fixture *f)
{
    uint64_t bytes = 0;
    for (uint32_t t = 0; t < f->client->store->header->target_count; t++)
        bytes += cte__target_free_bytes(f->client->store, t);
    return bytes;
}

static uint64_t pinned_pages(struct fixture *f)
{
    struct cte__store_audit audit;
    test_audit(f->client->store);
    assert_int_equal(cte__store_audit(f->client->store, &audit), CTE_OK);
    return audit.pages_pinned;
}

static void fixture_free(struct fixture *f)
{
    cte_tag_close(f->tag);
    assert_int_equal(cte_tag_delete(f->client, "t"), CTE_OK);
    assert_int_equal(pinned_pages(f), 0);
    assert_int_equal(f->client->store->header->pin_count, 0);
    assert_int_equal(cte_client_close(f->client), CTE_OK);
    cte_config_free(f->config);
    test_remove_directory(f->directory);
}

static void put_all(struct fixture *f, const char *name, int value, size_t size)
{
    char *bytes = malloc(size);
    memset(bytes, value, size);
    assert_int_equal(cte_blob_put(f->tag, name, 0, bytes, size, 1.0f, CTE_BLOB_REPLACE), CTE_OK);
    free(bytes);
}

static void expect_all(const cte_view *view, int value, size_t size)
{
    const char *bytes = view->data;
    assert_int_equal(view->size_bytes, size);
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != (char)value)
            fail_msg("byte %zu is %d, not %d", i, bytes[i], value);
}

static cte_view view_of(struct fixture *f, const char *name, uint64_t offset, size_t size)
{
    cte_view view;
    assert_int_equal(cte_blob_view(f->tag, name, offset, size, &view), CTE_OK);
    return view;
}

/* ---- views ---------------------------------------------------------------------------------- */

static void test_views_stay(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 4);
    put_all(&f, "b", 'a', BYTES);
    cte_view whole = view_of(&f, "b", 0, BYTES), part = view_of(&f, "b", 5000, 1000);
    assert_false(whole.copied);
    assert_false(part.copied);
    expect_all(&whole, 'a', BYTES);
    put_all(&f, "b", 'b', BYTES);
    expect_all(&whole, 'a', BYTES);
    expect_all(&part, 'a', 1000);
    cte_view newer = view_of(&f, "b", 0, SIZE_MAX);
    expect_all(&newer, 'b', BYTES);
    assert_int_equal(pinned_pages(&f), (BYTES + PAGE - 1) / PAGE);
    assert_int_equal(cte_blob_reorganize(f.tag, "b", 0.0f, NULL), CTE_OK);
    expect_all(&newer, 'b', BYTES);
    assert_int_equal(cte_blob_rename(f.tag, "b", "c", 0), CTE_OK);
    assert_int_equal(cte_blob_delete(f.tag, "c"), CTE_OK);
    expect_all(&whole, 'a', BYTES);
    expect_all(&newer, 'b', BYTES);
    /* What is free is used by others meanwhile, what is pinned is not. */
    put_all(&f, "other", 'x', 4 << 20);
    expect_all(&whole, 'a', BYTES);
    cte_view_release(&whole);
    assert_int_equal(pinned_pages(&f),
                     2 + (BYTES + PAGE - 1) / PAGE - (5000 % PAGE + 1000 > PAGE ? 0 : 1));
    expect_all(&part, 'a', 1000);
    cte_view_release(&newer);
    cte_view_release(&part);
    cte_view_release(&part);
    cte_view_release(NULL);
    assert_int_equal(pinned_pages(&f), 0);
    assert_int_equal(cte_blob_delete(f.tag, "other"), CTE_OK);
    assert_int_equal(free_bytes(&f), 12 << 20);
    fixture_free(&f);
}

static void test_views_of_living_blobs_cost_nothing(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    put_all(&f, "b", 'a', BYTES);
    uint64_t before = free_bytes(&f);
    for (int i = 0; i < 3000; i++) {
        cte_view view = view_of(&f, "b", (uint64_t)i, 100);
        assert_false(view.copied);
        cte_view_release(&view);
    }
    assert_int_equal(free_bytes(&f), before);
    fixture_free(&f);
}

static void test_copies_where_it_must_be(void **state)
{
    (void)state;
    struct fixture f = fixture_make(1, 4);
    cte_view view;
    put_all(&f, "small", 's', 100);
    view = view_of(&f, "small", 10, 1000);
    assert_true(view.copied);
    expect_all(&view, 's', 90);
    cte_view_release(&view);
    assert_int_equal(cte_blob_put(f.tag, "hole", 50000, "x", 1, 1, 0), CTE_OK);
    view = view_of(&f, "hole", 10000, 20000);
    assert_true(view.copied);
    expect_all(&view, 0, 20000);
    cte_view_release(&view);
    view = view_of(&f, "hole", 50001, 10);
    assert_int_equal(view.size_bytes, 0);
    assert_non_null(view.data);
    cte_view_release(&view);
    view = view_of(&f, "hole", UINT64_MAX - 5, 10);
    assert_int_equal(view.size_bytes, 0);
    cte_view_release(&view);
    put_all(&f, "disk", 'd', 2 << 20);
    view = view_of(&f, "disk", 0, 2 << 20);
    assert_true(view.copied);
    expect_all(&view, 'd', 2 << 20);
    put_all(&f, "disk", 'e', 1000);
    expect_all(&view, 'd', 2 << 20);
    cte_view_release(&view);
    assert_int_equal(cte_blob_view(f.tag, "none", 0, 1, &view), CTE_ERR_NOT_FOUND);
    assert_null(view.held);
    assert_int_equal(cte_blob_view(f.tag, "disk", 0, 1, NULL), -EINVAL);
    assert_int_equal(cte_blob_view(NULL, "disk", 0, 1, &view), -EINVAL);
    fixture_free(&f);
}

static void test_damage_is_seen(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    struct cte__store *store = f.client->store;
    cte_blob_block block;
    cte_view view;
    uint32_t count;
    char garbage[PAGE];
    put_all(&f, "b", 'a', 3 * PAGE);
    assert_int_equal(cte_blob_blocks(f.tag, "b", &block, 1, &count), CTE_OK);
    memset(garbage, 0x5a, sizeof garbage);
    struct iovec iov = {garbage, sizeof garbage};
    cte__page page = cte__page_make(0, block.target_offset / PAGE + 1);
    assert_int_equal(cte__pages_io(store, true, page, 0, &iov, 1, PAGE), CTE_OK);
    assert_int_equal(cte_blob_view(f.tag, "b", 0, 3 * PAGE, &view), CTE_ERR_CHECKSUM);
    assert_null(view.held);
    view = view_of(&f, "b", 0, PAGE);
    expect_all(&view, 'a', PAGE);
    cte_view_release(&view);
    fixture_free(&f);
}

static void test_more_views_than_pins(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    static cte_view views[CTE__PINS_MAX + 10];
    put_all(&f, "b", 'a', 10000);
    for (int i = 0; i < CTE__PINS_MAX + 10; i++) {
        views[i] = view_of(&f, "b", 4000, 200);
        assert_int_equal(views[i].copied, i >= CTE__PINS_MAX);
    }
    put_all(&f, "b", 'b', 10000);
    for (int i = 0; i < CTE__PINS_MAX + 10; i++) {
        expect_all(&views[i], 'a', 200);
        cte_view_release(&views[i]);
    }
    fixture_free(&f);
}

/* ---- buffers -------------------------------------------------------------------------------- */

static void test_buffers_become_blobs(void **state)
{
    (void)state;
    struct fixture f = fixture_make(8, 0);
    cte_buffer *buffer;
    char back[PAGE];
    size_t got;
    uint64_t all = free_bytes(&f);
    assert_int_equal(cte_buffer_alloc(f.client, BYTES, &buffer), CTE_OK);
    assert_int_equal(cte_buffer_size(buffer), BYTES);
    assert_int_equal((uintptr_t)cte_buffer_data(buffer) % PAGE, 0);
    memset(cte_buffer_data(buffer), 'q', BYTES);
    void *memory = cte_buffer_data(buffer);
    assert_int_equal(cte_blob_put_buffer(f.tag, "b", buffer, 5000, 0.5f, 0), CTE_OK);
    test_audit(f.client->store);
    assert_int_equal(free_bytes(&f), all - 2 * PAGE); /* the rest was given back */
    cte_view view = view_of(&f, "b", 0, SIZE_MAX);
    expect_all(&view, 'q', 5000);
    assert_false(view.copied);
    assert_ptr_equal(view.data, memory); /* no byte moved */
    cte_view_release(&view);
    /* Growing it shows zeros behind its end, not what was in the buffer. */
    assert_int_equal(cte_blob_put(f.tag, "b", 6000, "x", 1, 1, 0), CTE_OK);
    assert_int_equal(cte_blob_get(f.tag, "b", 5000, back, sizeof back, &got), CTE_OK);
    assert_int_equal(got, 1001);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(back[i], 0);
    /* Over a blob; not over one that is not to be there. */
    assert_int_equal(cte_buffer_alloc(f.client, 3 * PAGE, &buffer), CTE_OK);
    memset(cte_buffer_data(buffer), 'r', 3 * PAGE);
    assert_int_equal(cte_blob_put_buffer(f.tag, "b", buffer, PAGE, 1, CTE_BLOB_EXCLUSIVE), -EEXIST);
    assert_int_equal(cte_blob_put_buffer(f.tag, "b", buffer, 3 * PAGE + 1, 1, 0), -EINVAL);
    assert_int_equal(cte_blob_put_buffer(f.tag, "b", buffer, PAGE, 2, 0), -EINVAL);
    assert_int_equal(cte_blob_put_buffer(f.tag, "b", buffer, PAGE, 1, 8), -EINVAL);
    assert_int_equal(cte_blob_put_buffer(f.tag, "", buffer, PAGE, 1, 0), -EINVAL);
    assert_int_equal(cte_blob_put_buffer(f.tag, "b", NULL, PAGE, 1, 0), -EINVAL);
    assert_int_equal(cte_blob_put_buffer(f.tag, "b", buffer, 3 * PAGE, 1, 0), CTE_OK);
    view = view_of(&f, "b", 0, SIZE_MAX);
    expect_all(&view, 'r', 3 * PAGE);
    cte_view_release(&view);
    /* Nothing of a buffer is an empty blob. */
    assert_int_equal(cte_buffer_alloc(f.client, 1, &buffer), CTE_OK);
    assert_int_equal(cte_blob_put_buffer(f.tag, "b", buffer, 0, 1, 0), CTE_OK);
    assert_int_equal(free_bytes(&f), all);
    assert_int_equal(cte_buffer_alloc(f.client, 0, &buffer), -EINVAL);
    assert_int_equal(cte_buffer_alloc(f.client, 64 << 20, &buffer), -ENOSPC);
    assert_int_equal(cte_buffer_alloc(f.client, SIZE_MAX, &buffer), -ENOSPC);
    assert_int_equal(cte_buffer_alloc(f.client, BYTES, &buffer), CTE_OK);
    cte_buffer_free(buffer);
    cte_buffer_free(NULL);
    assert_int_equal(free_bytes(&f), all);
    fixture_free(&f);
}

/* A get fills a buffer as any memory. */
static void test_get_into_a_buffer(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    cte_buffer *buffer;
    size_t got;
    put_all(&f, "b", 'g', 10000);
    assert_int_equal(cte_buffer_alloc(f.client, 20000, &buffer), CTE_OK);
    assert_int_equal(cte_blob_get(f.tag, "b", 0, cte_buffer_data(buffer), 20000, &got), CTE_OK);
    assert_int_equal(cte_blob_put_buffer(f.tag, "copy", buffer, got, 1, 0), CTE_OK);
    cte_view view = view_of(&f, "copy", 0, SIZE_MAX);
    expect_all(&view, 'g', 10000);
    cte_view_release(&view);
    fixture_free(&f);
}

static void test_no_target_in_memory(void **state)
{
    (void)state;
    char directory[256], text[1024], error[512];
    cte_config *config;
    cte_client *client;
    cte_buffer *buffer;
    test_directory(directory, sizeof directory);
    snprintf(text, sizeof text,
             "store: {name: test, directory: '%s'}\n"
             "storage: [{bdev_type: file, path: '%s/target', capacity_limit: 2MiB}]\n",
             directory, directory);
    assert_int_equal(cte_config_parse(text, "test", &config, error, sizeof error), CTE_OK);
    assert_int_equal(cte_client_open(config, &client), CTE_OK);
    assert_int_equal(cte_buffer_alloc(client, 100, &buffer), -ENOTSUP);
    assert_int_equal(cte_client_close(client), CTE_OK);
    cte_config_free(config);
    test_remove_directory(directory);
}

/* ---- several processes ---------------------------------------------------------------------- */

struct shared {
    cte_buffer_handle handle;
    struct fixture *f;
    int to_child[2], to_parent[2];
};

static void say(const int pipe_ends[2])
{
    assert_int_equal(write(pipe_ends[1], "x", 1), 1);
}

static void hear(const int pipe_ends[2])
{
    char byte;
    assert_int_equal(read(pipe_ends[0], &byte, 1), 1);
}

static pid_t in_child(struct shared *shared, int (*body)(struct shared *shared, cte_client *client))
{
    assert_int_equal(pipe(shared->to_child), 0);
    assert_int_equal(pipe(shared->to_parent), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* no child outlives a test that fails */
    cte_client *client;
    int result = cte_client_open(shared->f->config, &client) == CTE_OK ? body(shared, client) : 100;
    _exit(result != 0 || cte_client_close(client) == CTE_OK ? result : 101);
}

static void expect_success(struct shared *shared, pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    for (int i = 0; i < 2; i++) {
        close(shared->to_child[i]);
        close(shared->to_parent[i]);
    }
}

static bool is_all(const cte_view *view, char value)
{
    const char *bytes = view->data;
    for (size_t i = 0; i < view->size_bytes; i++)
        if (bytes[i] != value)
            return false;
    return true;
}

static int import_and_look(struct shared *shared, cte_client *client)
{
    cte_view view, again;
    if (cte_buffer_import(client, &shared->handle, &view) != CTE_OK || view.copied)
        return 1;
    if (view.size_bytes != BYTES || !is_all(&view, 'i'))
        return 2;
    say(shared->to_parent);
    hear(shared->to_child); /* the parent has freed it, or made it a blob that it deleted */
    if (!is_all(&view, 'i'))
        return 3;
    if (cte_buffer_import(client, &shared->handle, &again) != CTE_ERR_NOT_FOUND)
        return 4;
    cte_view_release(&view);
    return 0;
}

static void test_buffers_are_shared(void **state)
{
    (void)state;
    for (int becomes_blob = 0; becomes_blob < 2; becomes_blob++) {
        struct fixture f = fixture_make(4, 0);
        struct shared shared = {.f = &f};
        cte_buffer *buffer;
        assert_int_equal(cte_buffer_alloc(f.client, BYTES, &buffer), CTE_OK);
        memset(cte_buffer_data(buffer), 'i', BYTES);
        assert_int_equal(cte_buffer_export(buffer, &shared.handle), CTE_OK);
        pid_t pid = in_child(&shared, import_and_look);
        hear(shared.to_parent);
        if (becomes_blob) {
            assert_int_equal(cte_blob_put_buffer(f.tag, "b", buffer, BYTES, 1, 0), CTE_OK);
            assert_int_equal(cte_blob_delete(f.tag, "b"), CTE_OK);
        } else {
            cte_buffer_free(buffer);
        }
        assert_int_equal(pinned_pages(&f), (BYTES + PAGE - 1) / PAGE);
        put_all(&f, "other", 'o', 3 << 20);
        say(shared.to_child);
        expect_success(&shared, pid);
        assert_int_equal(pinned_pages(&f), 0);
        fixture_free(&f);
    }
}

static void test_bad_handles(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    cte_buffer *buffer;
    cte_buffer_handle handle, bad;
    cte_view view;
    assert_int_equal(cte_buffer_alloc(f.client, 100, &buffer), CTE_OK);
    assert_int_equal(cte_buffer_export(buffer, &handle), CTE_OK);
    bad = handle;
    bad.store++;
    assert_int_equal(cte_buffer_import(f.client, &bad, &view), -EXDEV);
    bad = handle;
    bad.place = 1000000;
    assert_int_equal(cte_buffer_import(f.client, &bad, &view), -EINVAL);
    bad.place = 100;
    assert_int_equal(cte_buffer_import(f.client, &bad, &view), CTE_ERR_NOT_FOUND);
    bad = handle;
    bad.generation++;
    assert_int_equal(cte_buffer_import(f.client, &bad, &view), CTE_ERR_NOT_FOUND);
    bad = handle;
    bad.size_bytes = PAGE + 1;
    assert_int_equal(cte_buffer_import(f.client, &bad, &view), -EINVAL);
    bad.size_bytes = 0;
    assert_int_equal(cte_buffer_import(f.client, &bad, &view), -EINVAL);
    assert_int_equal(cte_buffer_import(f.client, NULL, &view), -EINVAL);
    assert_int_equal(cte_buffer_export(NULL, &handle), -EINVAL);
    cte_buffer_free(buffer);
    assert_int_equal(cte_buffer_alloc(f.client, 100, &buffer), CTE_OK); /* in the same place */
    assert_int_equal(cte_buffer_import(f.client, &handle, &view), CTE_ERR_NOT_FOUND);
    cte_buffer_free(buffer);
    fixture_free(&f);
}

static int hold_everything(struct shared *shared, cte_client *client)
{
    static cte_view views[20];
    cte_tag *tag;
    cte_buffer *buffer;
    cte_buffer_handle handle;
    if (cte_tag_open(client, "t", false, &tag) != CTE_OK)
        return 1;
    for (int i = 0; i < 20; i++)
        if (cte_blob_view(tag, "b", (uint64_t)i * 5000, 20000, &views[i]) != CTE_OK)
            return 2;
    if (cte_buffer_alloc(client, BYTES, &buffer) != CTE_OK ||
        cte_buffer_export(buffer, &handle) != CTE_OK ||
        cte_buffer_import(client, &handle, &views[0]) != CTE_OK)
        return 3;
    say(shared->to_parent);
    hear(shared->to_child);
    if (shared->handle.place == 1) /* leave without a word */
        return 0;
    for (;;)
        pause();
}

/* What a process held when it died, or left, comes back; what others hold stays. */
static void test_viewers_die(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        struct fixture f = fixture_make(4, 0);
        struct shared shared = {.f = &f};
        shared.handle.place = (uint32_t)how;
        int status;
        put_all(&f, "b", 'a', BYTES);
        cte_view mine = view_of(&f, "b", 0, 10000);
        pid_t pid = in_child(&shared, hold_everything);
        hear(shared.to_parent);
        assert_int_equal(cte_blob_delete(f.tag, "b"), CTE_OK);
        struct cte__store_audit audit; /* counts the child's buffer as lost */
        assert_int_equal(cte__store_audit(f.client->store, &audit), CTE_OK);
        assert_int_equal(audit.pages_pinned, (100000 + 15000 + PAGE) / PAGE);
        assert_int_equal(audit.pages_doubly + audit.pages_unowned, 0);
        say(shared.to_child);
        if (how == 0)
            kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        cte__store_sweep(f.client->store);
        assert_int_equal(pinned_pages(&f), 3);
        expect_all(&mine, 'a', 10000);
        cte_view_release(&mine);
        assert_int_equal(free_bytes(&f), 4 << 20);
        for (int i = 0; i < 2; i++) {
            close(shared.to_child[i]);
            close(shared.to_parent[i]);
        }
        fixture_free(&f);
    }
}

/* Pages that a dying writer had taken over, with a viewer at them. */
static void test_writers_die(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    int status;
    put_all(&f, "b", 'a', BYTES);
    cte_view view = view_of(&f, "b", 0, BYTES);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct cte__blob_key key;
        struct cte__change change;
        if (cte__user_key(f.tag, "b", &key) != CTE_OK ||
            cte__change_begin(&change, f.client->store, &key) != CTE_OK)
            _exit(1);
        for (size_t i = 0; i < change.old.count; i++)
            if (cte__change_drop(&change, &change.old.spans[i]) != CTE_OK)
                _exit(2);
        cte__change_remove(&change);
        _exit(0); /* before anything was freed */
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    cte__store_sweep(f.client->store);
    assert_int_equal(pinned_pages(&f), (BYTES + PAGE - 1) / PAGE);
    put_all(&f, "other", 'o', 3 << 20);
    expect_all(&view, 'a', BYTES);
    cte_view_release(&view);
    assert_int_equal(pinned_pages(&f), 0);
    fixture_free(&f);
}

/* ---- all at once ---------------------------------------------------------------------------- */

struct traffic {
    cte_tag *tag;
    cte_client *client;
    _Atomic bool stop;
    _Atomic int views;
    const char *failure;
};

/* Each state of a blob is one value all over; what changes is everything else. */
static void *change(void *context)
{
    struct traffic *t = context;
    uint64_t seed = 5;
    static char bytes[60000];
    static const char *const names[] = {"x", "y"};
    while (!atomic_load(&t->stop) && !t->failure) {
        const char *name = names[test_random(&seed) % 2];
        int value = 1 + (int)(test_random(&seed) % 100);
        cte_buffer *buffer;
        cte_status status;
        switch (test_random(&seed) % 5) {
        case 0:
            status = cte_blob_delete(t->tag, name);
            break;
        case 1:
            status = cte_blob_reorganize(t->tag, name, (float)(test_random(&seed) % 2), NULL);
            break;
        case 2:
            status = cte_blob_rename(t->tag, name, name == names[0] ? "y" : "x", CTE_BLOB_REPLACE);
            break;
        case 3:
            status = cte_buffer_alloc(t->client, 30000, &buffer);
            if (status == CTE_OK) {
                memset(cte_buffer_data(buffer), value, 30000);
                status = cte_blob_put_buffer(t->tag, name, buffer, 30000, 1, 0);
            }
            break;
        default:
            memset(bytes, value, sizeof bytes);
            status = cte_blob_put(t->tag, name, 0, bytes, sizeof bytes, 1, CTE_BLOB_REPLACE);
        }
        if (status != CTE_OK && status != CTE_ERR_NOT_FOUND)
            t->failure = cte_status_string(status);
    }
    return NULL;
}

static void *look(void *context)
{
    struct traffic *t = context;
    while (!atomic_load(&t->stop) && !t->failure) {
        cte_view views[3];
        int count = 0;
        for (int i = 0; i < 3; i++)
            if (cte_blob_view(t->tag, i % 2 ? "x" : "y", (uint64_t)i * 1000, 50000,
                              &views[count]) == CTE_OK)
                count++;
        for (int pass = 0; pass < 2; pass++, sched_yield())
            for (int i = 0; i < count; i++)
                if (views[i].size_bytes > 0 && !is_all(&views[i], *(const char *)views[i].data))
                    t->failure = "what is viewed has changed";
        for (int i = 0; i < count; i++)
            cte_view_release(&views[i]);
        atomic_fetch_add(&t->views, count);
    }
    return NULL;
}

static int look_for_ever(struct shared *shared, cte_client *client)
{
    struct traffic traffic = {.client = client};
    (void)shared;
    if (cte_tag_open(client, "t", false, &traffic.tag) != CTE_OK)
        return 1;
    look(&traffic);
    return 2;
}

static void test_views_under_traffic(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 4);
    struct traffic traffic = {.tag = f.tag, .client = f.client};
    struct shared shared = {.f = &f};
    uint64_t seed = test_seed();
    pthread_t threads[3];
    pid_t pid[8];
    int status;
    for (int round = 0; round < 8; round++)
        pid[round] = in_child(&shared, look_for_ever);
    assert_int_equal(pthread_create(&threads[0], NULL, change, &traffic), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, look, &traffic), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, look, &traffic), 0);
    for (int round = 0; round < 8; round++) {
        usleep(20000 + test_random(&seed) % 20000);
        kill(pid[round], SIGKILL);
        assert_int_equal(waitpid(pid[round], &status, 0), pid[round]);
        assert_true(WIFSIGNALED(status));
        cte__store_sweep(f.client->store);
    }
    while (atomic_load(&traffic.views) < 100 && !traffic.failure)
        sched_yield();
    atomic_store(&traffic.stop, true);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    if (traffic.failure)
        fail_msg("%s", traffic.failure);
    assert_int_equal(pinned_pages(&f), 0);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views_stay),
        cmocka_unit_test(test_views_of_living_blobs_cost_nothing),
        cmocka_unit_test(test_copies_where_it_must_be),
        cmocka_unit_test(test_damage_is_seen),
        cmocka_unit_test(test_more_views_than_pins),
        cmocka_unit_test(test_buffers_become_blobs),
        cmocka_unit_test(test_get_into_a_buffer),
        cmocka_unit_test(test_no_target_in_memory),
        cmocka_unit_test(test_buffers_are_shared),
        cmocka_unit_test(test_bad_handles),
        cmocka_unit_test(test_viewers_die),
        cmocka_unit_test(test_writers_die),
        cmocka_unit_test(test_views_under_traffic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
