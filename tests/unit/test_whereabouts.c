/* SPDX-License-Identifier: BSD-3-Clause */
/* Where real files are by now, and what becomes of what is kept of them. */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cte/file.h>
#include <cte/store.h>

#include "file/inspect.h"
#include "file/kept.h"
#include "file/whereabouts.h"
#include "store/journal_record.h"

enum { BYTES = 3 << 20, PATIENCE_MS = 30000 };

/* ---- finding -------------------------------------------------------------------------------- */

struct place {
    char directory[256], path[300], other[300], away[400];
    struct cte__real_file real;
};

static int make_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    return fd;
}

static struct place place_make(bool handle)
{
    struct place place = {0};
    struct cte__file_state state = {0};
    struct stat st;
    test_directory(place.directory, sizeof place.directory);
    snprintf(place.path, sizeof place.path, "%s/file", place.directory);
    snprintf(place.other, sizeof place.other, "%s/other", place.directory);
    snprintf(place.away, sizeof place.away, "%s/away", place.directory);
    assert_int_equal(mkdir(place.away, 0700), 0);
    strcat(place.away, "/file");
    int fd = make_file(place.path);
    assert_int_equal(fstat(fd, &st), 0);
    if (handle)
        cte__real_note_handle(&state, fd);
    place.real = (struct cte__real_file){.device = (uint64_t)st.st_dev,
                                         .inode = (uint64_t)st.st_ino,
                                         .born_ns = cte__real_born_ns(fd),
                                         .handle = state.handle};
    close(fd);
    return place;
}

/* Checks that it is found, or not, and that what is found is the file. */
static void expect_found(struct place *place, enum cte__whereabouts wanted)
{
    struct stat st;
    cte_status status;
    int fd;
    place->real.path = place->path;
    assert_int_equal(cte__real_find(&place->real, &fd, &status), wanted);
    if (wanted == CTE__REAL_FOUND) {
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_ino, place->real.inode);
        assert_int_equal(pwrite(fd, "x", 1, 0), 1);
        assert_int_equal(status, CTE_OK);
        close(fd);
    } else {
        assert_int_equal(fd, -1);
    }
    if (wanted == CTE__REAL_MISSING)
        assert_int_equal(status, -ENOENT);
}

static void test_in_place_and_renamed(void **state)
{
    (void)state;
    struct place place = place_make(false);
    expect_found(&place, CTE__REAL_FOUND);
    assert_int_equal(rename(place.path, place.other), 0);
    expect_found(&place, place.real.born_ns ? CTE__REAL_FOUND : CTE__REAL_MISSING);
    /* Somebody else's file is in its place: it is left alone. */
    close(make_file(place.path));
    expect_found(&place, place.real.born_ns ? CTE__REAL_FOUND : CTE__REAL_MISSING);
    assert_int_equal(rename(place.other, place.away), 0);
    expect_found(&place, CTE__REAL_MISSING);
    /* So is what is no file: nobody at the other end of the pipe is waited for. */
    assert_int_equal(unlink(place.path), 0);
    assert_int_equal(mkfifo(place.path, 0600), 0);
    expect_found(&place, CTE__REAL_MISSING);
    test_remove_directory(place.directory);
}

/* Nobody can tell a file that was deleted from one that was moved away. */
static void test_in_doubt(void **state)
{
    (void)state;
    struct place place = place_make(false);
    assert_int_equal(rename(place.path, place.away), 0);
    expect_found(&place, CTE__REAL_MISSING);
    assert_int_equal(unlink(place.away), 0);
    expect_found(&place, CTE__REAL_MISSING);
    place.real.deleted = true; /* somebody saw it */
    expect_found(&place, CTE__REAL_DELETED);
    test_remove_directory(place.directory);
    /* Nor is anything told of a file system that is not there. */
    place = place_make(true);
    place.real.device++;
    assert_int_equal(unlink(place.path), 0);
    expect_found(&place, CTE__REAL_MISSING);
    place.real.device--;
    test_remove_directory(place.directory);
    place.real.device++;
    expect_found(&place, CTE__REAL_MISSING);
}

static void test_inode_used_again(void **state)
{
    (void)state;
    struct place place = place_make(false);
    if (place.real.born_ns == 0)
        skip();
    place.real.born_ns--; /* the inode was another file's then */
    expect_found(&place, CTE__REAL_DELETED);
    assert_int_equal(rename(place.path, place.other), 0);
    expect_found(&place, CTE__REAL_DELETED);
    test_remove_directory(place.directory);
}

/* True if this process may open files by their handles, and the file system has such. */
static bool has_handles(struct place *place)
{
    cte_status status;
    int fd;
    assert_int_equal(rename(place->path, place->away), 0);
    place->real.path = place->path;
    bool found = cte__real_find(&place->real, &fd, &status) == CTE__REAL_FOUND;
    if (found)
        close(fd);
    return found;
}

static void test_by_handle(void **state)
{
    (void)state;
    struct place place = place_make(true);
    bool able = has_handles(&place);
    if (able) {
        expect_found(&place, CTE__REAL_FOUND);
        int fd = open(place.away, O_RDONLY);
        assert_int_equal(unlink(place.away), 0);
        expect_found(&place, CTE__REAL_DELETED); /* although somebody has it open */
        close(fd);
        expect_found(&place, CTE__REAL_DELETED);
        /* Its directory is gone, too. */
        place.away[strlen(place.away) - strlen("/file")] = '\0';
        assert_int_equal(rmdir(place.away), 0);
        snprintf(place.path, sizeof place.path, "%s/away/none/file", place.directory);
        expect_found(&place, CTE__REAL_DELETED);
    }
    test_remove_directory(place.directory);
    if (!able)
        skip();
}

/* ---- what is kept of them ------------------------------------------------------------------- */

struct node {
    char directory[256], path[300];
    cte_config *config;
    cte_client *client;
};

static struct node node_make(const char *more)
{
    struct node node = {0};
    test_directory(node.directory, sizeof node.directory);
    snprintf(node.path, sizeof node.path, "%s/data", node.directory);
    node.config = test_config(node.directory, 16, 0, more);
    assert_int_equal(cte_client_open(node.config, &node.client), CTE_OK);
    return node;
}

/* Nothing may be kept any more. */
static void node_free(struct node *node)
{
    char store[300];
    assert_int_equal(cte_client_close(node->client), CTE_OK);
    snprintf(store, sizeof store, "%s/cte-%u-test", node->directory, (unsigned)geteuid());
    assert_int_equal(access(store, F_OK), -1);
    cte_config_free(node->config);
    test_remove_directory(node->directory);
}

static cte_file *write_data(cte_client *client, const char *path, cte_file_drain_policy drain)
{
    static char bytes[BYTES];
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    cte_file_segment segment = {0, BYTES, bytes};
    cte_file *file;
    options.drain = drain;
    assert_int_equal(cte_file_open(client, path, O_RDWR | O_CREAT, 0600, &options, &file), CTE_OK);
    assert_int_equal(cte_file_write(file, &segment, 1), CTE_OK);
    return file;
}

static cte_status count_dirty(void *context, const cte_store_file *file)
{
    *(int *)context += file->dirty;
    return CTE_OK;
}

static int dirty_files(const struct node *node)
{
    int count = 0;
    assert_int_equal(cte_store_files(node->client, count_dirty, &count), CTE_OK);
    return count;
}

struct told {
    int files, deleted;
    cte_status status;
};

static cte_status note(void *context, const cte_store_drained *drained)
{
    struct told *told = context;
    told->files++;
    told->deleted += drained->deleted;
    told->status = drained->status;
    return CTE_OK;
}

/* A process writes, deletes the file, waits until that was seen if `seen`, and is killed. */
static void leave_deleted(struct node *node, bool seen)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        cte_client *client;
        if (cte_client_open(node->config, &client) != CTE_OK)
            _exit(1);
        cte_file *file = write_data(client, node->path, CTE_FILE_DRAIN_ON_CLOSE);
        const struct cte__file_state *state = &cte__tag_at(client->store, file->tag)->file;
        if (unlink(node->path) != 0)
            _exit(1);
        for (int waited = 0; seen && !(atomic_load(&state->flags) & CTE__FILE_DELETED); waited++) {
            cte_file_segment segment = {0, 1, "x"};
            if (waited * 20 > PATIENCE_MS || cte_file_write(file, &segment, 1) != CTE_OK)
                _exit(1);
            usleep(20000);
        }
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    cte__store_sweep(node->client->store);
}

static cte_status forget_handle(void *context, cte__unit unit, const struct cte__entry *entry)
{
    struct cte__store *store = context;
    (void)unit;
    if (entry->type == CTE__ENTRY_FILE)
        cte__tag_at(store, cte__entry_record(entry))->file.handle.bytes = 0;
    return CTE_OK;
}

/* As for a user who may not open files by their handles. */
static void forget_handles(const struct node *node)
{
    struct cte__store *store = node->client->store;
    struct cte__tag_record *root = cte__tag_at(store, store->header->root_tag);
    assert_int_equal(cte__tag_each(store, root, forget_handle, store), CTE_OK);
}

static void test_deleted_and_seen(void **state)
{
    (void)state;
    struct node node = node_make(NULL);
    struct told told = {0};
    leave_deleted(&node, true);
    forget_handles(&node);
    assert_int_equal(dirty_files(&node), 1);
    assert_int_equal(cte_store_drain(node.client, NULL, false, note, &told), CTE_OK);
    assert_int_equal(told.deleted, 1);
    assert_int_equal(dirty_files(&node), 0);
    told = (struct told){0};
    assert_int_equal(cte_store_drain(node.client, NULL, false, note, &told), CTE_OK);
    assert_int_equal(told.files, 0);
    node_free(&node);
}

/* In doubt: kept, told once when clients are closed and whenever it is asked for, given up by hand.
 */
static void test_deleted_unseen(void **state)
{
    (void)state;
    struct node node = node_make("file: {drain_threads: 0}\n");
    struct told told = {0};
    leave_deleted(&node, false);
    forget_handles(&node);
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(cte_store_drain(node.client, NULL, false, note, &told), -ENOENT);
        assert_int_equal(told.files, i);
        assert_int_equal(told.status, -ENOENT);
        assert_int_equal(dirty_files(&node), 1);
    }
    assert_int_equal(cte_client_close(node.client), CTE_OK); /* it was told before */
    assert_int_equal(cte_client_open(node.config, &node.client), CTE_OK);
    assert_int_equal(dirty_files(&node), 1);
    told = (struct told){0};
    assert_int_equal(cte_store_forget_missing(node.client, "/no/such/file", note, &told), CTE_OK);
    assert_int_equal(told.files, 0);
    assert_int_equal(cte_store_forget_missing(node.client, node.path, note, &told), CTE_OK);
    assert_int_equal(told.deleted, 1);
    assert_int_equal(dirty_files(&node), 0);
    node_free(&node);
}

/* What is where it was is never given up. */
static void test_forgets_only_what_is_missing(void **state)
{
    (void)state;
    struct node node = node_make("file: {drain_threads: 0}\n");
    struct told told = {0};
    assert_int_equal(cte_file_close(write_data(node.client, node.path, CTE_FILE_DRAIN_NEVER)),
                     CTE_OK);
    assert_int_equal(cte_store_forget_missing(node.client, NULL, note, &told), CTE_OK);
    assert_int_equal(told.files, 0);
    assert_int_equal(dirty_files(&node), 1);
    /* Open: its handle is all that it needs. */
    cte_file *file = write_data(node.client, node.path, CTE_FILE_DRAIN_NEVER);
    forget_handles(&node);
    assert_int_equal(unlink(node.path), 0);
    assert_int_equal(cte_store_forget_missing(node.client, NULL, note, &told), CTE_OK);
    assert_int_equal(told.files, 0);
    /* Its last handle takes all with it, as with unlink(2). */
    assert_int_equal(cte_file_close(file), CTE_OK);
    assert_int_equal(dirty_files(&node), 0);
    node_free(&node);
}

/* Renamed in its directory by somebody: drained there. */
static void test_renamed(void **state)
{
    (void)state;
    struct node node = node_make("file: {drain_threads: 0}\n");
    struct told told = {0};
    struct stat st;
    char moved[400];
    snprintf(moved, sizeof moved, "%s.moved", node.path);
    cte_file *file = write_data(node.client, node.path, CTE_FILE_DRAIN_NEVER);
    bool born = cte__tag_at(node.client->store, file->tag)->file.born_ns != 0;
    assert_int_equal(cte_file_close(file), CTE_OK);
    forget_handles(&node);
    assert_int_equal(rename(node.path, moved), 0);
    close(make_file(node.path)); /* somebody else's, with the old name */
    assert_int_equal(cte_store_drain(node.client, NULL, true, note, &told),
                     born ? CTE_OK : -ENOENT);
    if (born) {
        assert_int_equal(stat(moved, &st), 0);
        assert_int_equal(st.st_size, BYTES);
        assert_int_equal(stat(node.path, &st), 0);
        assert_int_equal(st.st_size, 0);
    }
    assert_int_equal(cte_store_forget_missing(node.client, NULL, NULL, NULL), CTE_OK);
    node_free(&node);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

static uint32_t kept_count(const struct node *node)
{
    pthread_mutex_lock(&node->client->lock);
    uint32_t count = node->client->kept_count;
    pthread_mutex_unlock(&node->client->lock);
    return count;
}

/* Closed files keep descriptors until they are drained, but never more than a few. */
static void test_many_closed_files(void **state)
{
    (void)state;
    for (int threads = 0; threads <= 1; threads++) {
        char more[64], path[400];
        snprintf(more, sizeof more, "file: {drain_threads: %d}\n", threads);
        struct node node = node_make(more);
        uint32_t most = 0;
        for (int i = 0; i < 400; i++) {
            cte_file *file;
            cte_file_options options = CTE_FILE_OPTIONS_INIT;
            cte_file_segment segment = {0, 4, "data"};
            options.drain = CTE_FILE_DRAIN_ASYNC;
            snprintf(path, sizeof path, "%s.%d", node.path, i);
            assert_int_equal(
                cte_file_open(node.client, path, O_RDWR | O_CREAT, 0600, &options, &file), CTE_OK);
            assert_int_equal(cte_file_write(file, &segment, 1), CTE_OK);
            assert_int_equal(cte_file_close(file), CTE_OK);
            uint32_t kept = kept_count(&node);
            most = kept > most ? kept : most;
        }
        assert_in_range(most, 1, 128);
        if (threads > 0) { /* the thread lets them go without being asked */
            int waited = 0;
            for (; kept_count(&node) > 0 && waited < PATIENCE_MS / 5; waited++)
                usleep(5000);
            assert_int_equal(kept_count(&node), 0);
        }
        /* So does who drains what this process has closed. */
        struct told told = {0};
        assert_int_equal(cte_store_drain(node.client, NULL, false, note, &told), CTE_OK);
        assert_int_equal(kept_count(&node), 0);
        assert_int_equal(dirty_files(&node), 0);
        node_free(&node);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_place_and_renamed),
        cmocka_unit_test(test_in_doubt),
        cmocka_unit_test(test_inode_used_again),
        cmocka_unit_test(test_by_handle),
        cmocka_unit_test(test_deleted_and_seen),
        cmocka_unit_test(test_deleted_unseen),
        cmocka_unit_test(test_forgets_only_what_is_missing),
        cmocka_unit_test(test_renamed),
        cmocka_unit_test(test_many_closed_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
