/* SPDX-License-Identifier: BSD-3-Clause */
/* Stores that come back after all of their memory is gone. */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cte/blob.h>
#include <cte/store.h>

#include "blob/blob.h"
#include "file/client.h"
#include "store/journal_model.h"

enum { PAGE = 4096, BLOBS = 24, BLOB_BYTES_MAX = 200 << 10, STEPS = 400, REBOOTS = 6 };

struct node {
    char directory[256];
    cte_config *config;
    cte_client *client;
};

static struct node node_make(unsigned ram_mib, unsigned file_mib, const char *more)
{
    struct node node = {0};
    test_directory(node.directory, sizeof node.directory);
    node.config = test_config(node.directory, ram_mib, file_mib, more);
    assert_int_equal(cte_client_open(node.config, &node.client), CTE_OK);
    return node;
}

static void node_free(struct node *node)
{
    cte_client_close(node->client);
    cte_config_free(node->config);
    test_remove_directory(node->directory);
}

static void lose_memory(struct node *node)
{
    char path[4096];
    assert_int_equal(cte_store_path(node->config, path, sizeof path), CTE_OK);
    test_remove_directory(path);
}

/* All processes die, all of memory is lost, the disks stay. */
static void reboot(struct node *node)
{
    lose_memory(node);
    cte_client_close(node->client);
    lose_memory(node);
    assert_int_equal(cte_client_open(node->config, &node->client), CTE_OK);
    test_audit(node->client->store);
}

static void fill(char *bytes, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(test_random(&seed) >> 9);
}

static void expect_blob(cte_tag *tag, const char *name, const char *bytes, size_t size)
{
    static char got[BLOB_BYTES_MAX];
    uint64_t there;
    if (cte_blob_size(tag, name, &there) != CTE_OK)
        fail_msg("%s is missing", name);
    assert_int_equal(there, size);
    assert_int_equal(cte_blob_get(tag, name, 0, got, size, NULL), CTE_OK);
    assert_memory_equal(got, bytes, size);
}

/* ---- what comes back ------------------------------------------------------------------------ */

static void test_blobs_come_back(void **state)
{
    (void)state;
    static char bytes[BLOB_BYTES_MAX];
    struct node node = node_make(8, 8, "");
    cte_tag *tag;
    cte_blob_info info;
    fill(bytes, sizeof bytes, 1);
    assert_int_equal(cte_tag_open(node.client, "tag", true, &tag), CTE_OK);
    cte_tag_id id = cte_tag_get_id(tag);
    assert_int_equal(cte_blob_put(tag, "cold", 0, bytes, sizeof bytes, 0.0f, 0), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "small", 0, bytes, 100, 0.0f, 0), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "hot", 0, bytes, sizeof bytes, 1.0f, 0), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "hot small", 0, bytes, 100, 1.0f, 0), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "empty", 0, NULL, 0, 0.0f, 0), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "deleted", 0, bytes, 9000, 0.0f, 0), CTE_OK);
    assert_int_equal(cte_blob_delete(tag, "deleted"), CTE_OK);
    cte_tag_close(tag);
    reboot(&node);
    assert_int_equal(cte_tag_open(node.client, "tag", false, &tag), CTE_OK);
    cte_tag_id id_now = cte_tag_get_id(tag);
    assert_int_equal(id_now.major, id.major);
    assert_int_equal(id_now.minor, id.minor);
    expect_blob(tag, "cold", bytes, sizeof bytes);
    expect_blob(tag, "small", bytes, 100);
    expect_blob(tag, "empty", bytes, 0);
    assert_int_equal(cte_blob_get_info(tag, "hot", &info), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_get_info(tag, "hot small", &info), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_get_info(tag, "deleted", &info), CTE_ERR_NOT_FOUND);
    /* Again, without a change. */
    cte_tag_close(tag);
    reboot(&node);
    assert_int_equal(cte_tag_open(node.client, "tag", false, &tag), CTE_OK);
    expect_blob(tag, "cold", bytes, sizeof bytes);
    assert_int_equal(cte_tag_delete(node.client, "tag"), CTE_OK);
    cte_tag_close(tag);
    reboot(&node);
    assert_int_equal(cte_tag_open(node.client, "tag", false, &tag), CTE_ERR_NOT_FOUND);
    node_free(&node);
}

/* ---- any history ---------------------------------------------------------------------------- */

/* What blobs should hold. */
struct model {
    struct {
        bool exists;
        size_t size;
        float score;
        char *bytes; /* BLOB_BYTES_MAX */
    } blob[BLOBS];
};

static void model_init(struct model *model)
{
    for (int i = 0; i < BLOBS; i++) {
        model->blob[i].exists = false;
        model->blob[i].bytes = calloc(1, BLOB_BYTES_MAX);
        assert_non_null(model->blob[i].bytes);
    }
}

static void model_free(struct model *model)
{
    for (int i = 0; i < BLOBS; i++)
        free(model->blob[i].bytes);
}

static void name_of(int i, char name[16])
{
    snprintf(name, 16, "blob %d", i);
}

static void random_put(struct model *model, cte_tag *tag, int i, uint64_t *seed)
{
    static char bytes[BLOB_BYTES_MAX];
    static const size_t most[] = {64, 600, 9000, BLOB_BYTES_MAX};
    char name[16];
    size_t limit = most[test_random(seed) % 4];
    size_t offset = test_random(seed) % 3 ? 0 : test_random(seed) % limit;
    size_t size = 1 + test_random(seed) % (limit - offset);
    bool replace = test_random(seed) % 4 == 0;
    float score = test_random(seed) % 3 ? 0.0f : 1.0f;
    name_of(i, name);
    fill(bytes, size, test_random(seed));
    cte_status status =
        cte_blob_put(tag, name, offset, bytes, size, score, replace ? CTE_BLOB_REPLACE : 0);
    if (status == -ENOSPC)
        return;
    assert_int_equal(status, CTE_OK);
    if (replace || !model->blob[i].exists) {
        memset(model->blob[i].bytes, 0, BLOB_BYTES_MAX);
        model->blob[i].size = 0;
    }
    memcpy(model->blob[i].bytes + offset, bytes, size);
    if (model->blob[i].size < offset + size)
        model->blob[i].size = offset + size;
    model->blob[i].exists = true;
    model->blob[i].score = score;
}

static void random_step(struct model *model, cte_tag *tag, struct cte__store *store, uint64_t *seed)
{
    char name[16];
    int i = (int)(test_random(seed) % BLOBS);
    name_of(i, name);
    switch (test_random(seed) % 16) {
    case 0:
    case 1:
        assert_int_equal(cte_blob_delete(tag, name),
                         model->blob[i].exists ? CTE_OK : CTE_ERR_NOT_FOUND);
        model->blob[i].exists = false;
        break;
    case 2:
    case 3:
        if (model->blob[i].exists) {
            float score = test_random(seed) % 2 ? 0.0f : 1.0f;
            cte_status status = cte_blob_reorganize(tag, name, score, NULL);
            assert_true(status == CTE_OK || status == -ENOSPC);
            if (status == CTE_OK)
                model->blob[i].score = score;
        }
        break;
    case 4:
        if (test_random(seed) % 4 == 0)
            assert_int_equal(cte__journal_renew(store), CTE_OK);
        break;
    default:
        random_put(model, tag, i, seed);
        break;
    }
}

/* Do all bytes of a blob lie where they survive? */
static bool is_on_disk(struct cte__store *store, cte_tag *tag, const char *name)
{
    static cte_blob_block blocks[256];
    uint32_t count;
    assert_int_equal(cte_blob_blocks(tag, name, blocks, 256, &count), CTE_OK);
    assert_in_range(count, 0, 256);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(blocks[i].target, store->header->targets[0].path) == 0)
            return false;
    return true;
}

/* Of a small blob its location says whether the journal has it: its score may have changed since.
 */
static bool is_in_journal(struct cte__store *store, const char *name)
{
    struct cte__user_tag tag;
    uint32_t bytes = (uint32_t)strlen(name);
    assert_int_equal(cte__user_tag_find(store, "tag", 3, CTE__USER_TAG_OPEN, &tag), CTE_OK);
    uint64_t hash = cte__name_hash(tag.id, name, bytes);
    struct cte__shard *shard = cte__shard_lock(store, hash);
    cte__unit unit = cte__index_find(store, shard, hash, tag.unit, name, bytes);
    bool is = cte__location_is_journaled(cte__entry_at(store, unit)->location);
    cte__shard_unlock(shard);
    return is;
}

static void expect_survivors(const struct model *model, cte_tag *tag)
{
    char name[16];
    cte_blob_info info;
    for (int i = 0; i < BLOBS; i++) {
        name_of(i, name);
        if (model->blob[i].exists)
            expect_blob(tag, name, model->blob[i].bytes, model->blob[i].size);
        else
            assert_int_equal(cte_blob_get_info(tag, name, &info), CTE_ERR_NOT_FOUND);
        if (model->blob[i].exists) {
            assert_int_equal(cte_blob_get_info(tag, name, &info), CTE_OK);
            assert_true(info.score == model->blob[i].score);
        }
    }
}

/* What the reboot will take. */
static void forget_what_is_in_memory(struct model *model, struct cte__store *store, cte_tag *tag)
{
    char name[16];
    cte_blob_block block;
    uint32_t count;
    for (int i = 0; i < BLOBS; i++) {
        name_of(i, name);
        if (!model->blob[i].exists)
            continue;
        assert_int_equal(cte_blob_blocks(tag, name, &block, 1, &count), CTE_OK);
        bool small = count == 1 && block.target[0] == 0;
        model->blob[i].exists = small ? is_in_journal(store, name) : is_on_disk(store, tag, name);
    }
}

static void test_any_history(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    struct node node = node_make(2, 6, "");
    struct model model;
    cte_tag *tag;
    unsigned survivors = 0;
    model_init(&model);
    for (int r = 0; r < REBOOTS; r++) {
        assert_int_equal(cte_tag_open(node.client, "tag", true, &tag), CTE_OK);
        expect_survivors(&model, tag);
        for (int i = 0; i < STEPS; i++)
            random_step(&model, tag, node.client->store, &seed);
        if (r == 3) { /* everything anew under the same name */
            assert_int_equal(cte_tag_delete(node.client, "tag"), CTE_OK);
            cte_tag_close(tag);
            assert_int_equal(cte_tag_open(node.client, "tag", true, &tag), CTE_OK);
            for (int i = 0; i < BLOBS; i++)
                model.blob[i].exists = false;
            random_put(&model, tag, 0, &seed);
        }
        forget_what_is_in_memory(&model, node.client->store, tag);
        for (int i = 0; i < BLOBS; i++)
            survivors += model.blob[i].exists;
        cte_tag_close(tag);
        reboot(&node);
    }
    assert_true(survivors > 20);
    model_free(&model);
    node_free(&node);
}

/* ---- damage --------------------------------------------------------------------------------- */

enum { VERSIONS = 12, VERSION_BYTES = 30000 };

/* Each version of a blob has its own bytes and size. */
static size_t version_bytes(int blob, int version, char *bytes)
{
    uint64_t seed = (uint64_t)(blob * 1000 + version + 1);
    size_t size = blob % 3 == 0 ? 1 + test_random(&seed) % 500
                                : 5000 + test_random(&seed) % (VERSION_BYTES - 5000);
    fill(bytes, size, seed);
    return size;
}

static bool is_some_version(int blob, const char *bytes, size_t size)
{
    static char expected[VERSION_BYTES];
    for (int v = 0; v < VERSIONS; v++)
        if (version_bytes(blob, v, expected) == size && memcmp(expected, bytes, size) == 0)
            return true;
    return false;
}

static void path_of(const struct node *node, const char *name, char path[512])
{
    snprintf(path, 512, "%s/%s", node->directory, name);
}

static void copy_file(const char *from, const char *to)
{
    char command[1200];
    snprintf(command, sizeof command, "cp '%s' '%s'", from, to);
    assert_int_equal(system(command), 0);
}

/* Damages a piece of the journal behind its header, or cuts it. */
static void damage(const char *path, uint64_t *seed)
{
    struct stat st;
    char bytes[64];
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    off_t at = CTE__JOURNAL_HEADER_BYTES +
               (off_t)(test_random(seed) % (uint64_t)(st.st_size - CTE__JOURNAL_HEADER_BYTES));
    if (test_random(seed) % 3 == 0) {
        assert_int_equal(ftruncate(fd, at), 0);
    } else {
        size_t size = 1 + test_random(seed) % sizeof bytes;
        fill(bytes, size, test_random(seed));
        assert_int_equal(pwrite(fd, bytes, size, at), size);
    }
    close(fd);
}

static void test_damaged_journals(void **state)
{
    (void)state;
    static char bytes[VERSION_BYTES];
    uint64_t seed = test_seed();
    struct node node = node_make(1, 6, "");
    char journal[512], kept_journal[512], target[512], kept_target[512], name[16];
    unsigned whole = 0, refused = 0;
    cte_tag *tag;
    path_of(&node, "target.journal", journal);
    path_of(&node, "journal.copy", kept_journal);
    path_of(&node, "target", target);
    path_of(&node, "target.copy", kept_target);
    assert_int_equal(cte_tag_open(node.client, "tag", true, &tag), CTE_OK);
    for (int v = 0; v < VERSIONS; v++)
        for (int i = 0; i < BLOBS; i++) {
            name_of(i, name);
            assert_int_equal(cte_blob_put(tag, name, 0, bytes, version_bytes(i, v, bytes), 0.0f,
                                          CTE_BLOB_REPLACE),
                             CTE_OK);
        }
    cte_tag_close(tag);
    copy_file(journal, kept_journal);
    copy_file(target, kept_target);
    for (int round = 0; round < 40; round++) {
        lose_memory(&node);
        cte_client_close(node.client);
        lose_memory(&node);
        copy_file(kept_journal, journal);
        copy_file(kept_target, target);
        for (uint64_t n = test_random(&seed) % 3; n < 3; n++)
            damage(journal, &seed);
        assert_int_equal(cte_client_open(node.config, &node.client), CTE_OK);
        test_audit(node.client->store);
        if (cte_tag_open(node.client, "tag", false, &tag) != CTE_OK) {
            refused++;
            continue; /* its record was hit */
        }
        for (int i = 0; i < BLOBS; i++) {
            size_t size;
            name_of(i, name);
            cte_status status = cte_blob_get(tag, name, 0, bytes, sizeof bytes, &size);
            assert_true(status == CTE_OK || status == CTE_ERR_CHECKSUM ||
                        status == CTE_ERR_NOT_FOUND);
            if (status == CTE_OK)
                assert_true(is_some_version(i, bytes, size));
            whole += status == CTE_OK;
        }
        cte_tag_close(tag);
    }
    printf("whole %u of %d, tag lost %u times\n", whole, 40 * BLOBS, refused);
    assert_true(whole > 10 * BLOBS);
    node_free(&node);
}

static void put_one(struct node *node)
{
    cte_tag *tag;
    assert_int_equal(cte_tag_open(node->client, "tag", true, &tag), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "blob", 0, "precious", 8, 0.0f, 0), CTE_OK);
    static char pages[3 * PAGE];
    memset(pages, 'p', sizeof pages);
    assert_int_equal(cte_blob_put(tag, "pages", 0, pages, sizeof pages, 0.0f, 0), CTE_OK);
    cte_tag_close(tag);
    lose_memory(node);
    cte_client_close(node->client);
    lose_memory(node);
    node->client = NULL;
}

static cte_status count_finding(void *context, const char *text)
{
    assert_true(text[0] != 0);
    ++*(unsigned *)context;
    return CTE_OK;
}

/* A store that is not in memory is checked where it lies. */
static void test_checked_offline(void **state)
{
    (void)state;
    struct node node = node_make(8, 8, "");
    char target[512], bytes[1] = "x";
    cte_store_report report;
    unsigned findings = 0;
    path_of(&node, "target", target);
    assert_int_equal(cte_store_check_kept(node.config, &report, NULL, NULL), CTE_ERR_NOT_FOUND);
    put_one(&node);
    assert_int_equal(cte_store_check_kept(node.config, &report, count_finding, &findings), CTE_OK);
    assert_false(cte_store_report_is_damage(&report));
    assert_int_equal(findings, 0);
    assert_int_equal(report.blobs, 2);
    assert_int_equal(report.pages_used, 3);
    assert_int_equal(report.bytes_read, 3 * PAGE);
    /* One byte of the pages of 'p', wherever they lie. */
    FILE *file = fopen(target, "r+");
    assert_non_null(file);
    for (int in_a_row = 0; in_a_row < 500;) {
        int byte = fgetc(file);
        assert_int_not_equal(byte, EOF);
        in_a_row = byte == 'p' ? in_a_row + 1 : 0;
    }
    assert_int_equal(fseek(file, 0, SEEK_CUR), 0); /* between reading and writing */
    assert_int_equal(fwrite(bytes, 1, 1, file), 1);
    fclose(file);
    assert_int_equal(cte_store_check_kept(node.config, &report, count_finding, &findings), CTE_OK);
    assert_true(cte_store_report_is_damage(&report));
    assert_int_equal(report.blobs_damaged, 1);
    assert_int_equal(findings, 1);
    assert_int_equal(cte_client_open(node.config, &node.client), CTE_OK);
    node_free(&node);
}

/* ---- files ---------------------------------------------------------------------------------- */

enum { FILE_BYTES_MAX = 3 << 20, FILE_STEPS = 40 };

/* Dies with data of a file in the store; the model is in shared memory. */
static void write_and_die(const cte_config *config, const char *path, char *model, uint64_t *size,
                          uint64_t seed)
{
    cte_client *client;
    cte_file *file;
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    options.score = 0.0f;
    options.drain = CTE_FILE_DRAIN_NEVER;
    if (cte_client_open(config, &client) != CTE_OK ||
        cte_file_open(client, path, O_RDWR | O_CREAT, 0644, &options, &file) != CTE_OK)
        _exit(1);
    for (int i = 0; i < FILE_STEPS; i++) {
        uint64_t offset = test_random(&seed) % FILE_BYTES_MAX;
        uint64_t length = 1 + test_random(&seed) % (i % 2 ? 5000 : 300000);
        cte_status status = CTE_OK;
        switch (test_random(&seed) % 10) {
        case 0:
            status = cte_file_truncate(file, offset);
            if (offset < *size)
                memset(model + offset, 0, *size - offset);
            *size = offset;
            break;
        case 1:
            status = cte_file_drain(file);
            break;
        default:
            if (offset + length > FILE_BYTES_MAX)
                length = FILE_BYTES_MAX - offset;
            fill(model + offset, length, test_random(&seed));
            cte_file_segment segment = {offset, length, model + offset};
            status = cte_file_write(file, &segment, 1);
            if (*size < offset + length)
                *size = offset + length;
            break;
        }
        if (status != CTE_OK)
            _exit(2);
    }
    raise(SIGKILL);
}

static cte_status count_dirty(void *context, const cte_store_file *file)
{
    *(int *)context += file->dirty && !file->open;
    return CTE_OK;
}

static void expect_file(const char *path, const char *model, uint64_t size)
{
    static char got[FILE_BYTES_MAX];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, size);
    assert_int_equal(pread(fd, got, size, 0), size);
    assert_memory_equal(got, model, size);
    close(fd);
}

static void run_and_die(struct node *node, const char *path, char *model, uint64_t *size,
                        uint64_t seed)
{
    int status;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        write_and_die(node->config, path, model, size, seed);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static struct node node_of_files(void)
{
    struct node node = node_make(1, 8, "file: {chunk_size: 256KiB}\n");
    assert_int_equal(cte_client_close(node.client), CTE_OK);
    node.client = NULL;
    return node;
}

static void test_files_come_back(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    struct node node = node_of_files();
    char path[512];
    path_of(&node, "data", path);
    char *shared = mmap(NULL, FILE_BYTES_MAX + sizeof(uint64_t), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    uint64_t *size = (uint64_t *)(void *)(shared + FILE_BYTES_MAX);
    int dirty = 0;
    for (int round = 0; round < 10; round++) {
        run_and_die(&node, path, shared, size, test_random(&seed));
        lose_memory(&node);
        if (round % 3 == 1) { /* `cte ls` first */
            assert_int_equal(cte_store_open_existing(node.config, &node.client), CTE_OK);
            assert_int_equal(cte_store_files(node.client, count_dirty, &dirty), CTE_OK);
            test_audit(node.client->store);
            assert_int_equal(cte_client_close(node.client), CTE_OK);
            if (round % 2)
                lose_memory(&node);
        }
        if (cte_store_open_existing(node.config, &node.client) == CTE_OK) {
            assert_int_equal(cte_store_drain(node.client, NULL, true, NULL, NULL), CTE_OK);
            assert_int_equal(cte_client_close(node.client), CTE_OK);
        }
        expect_file(path, shared, *size);
        node.client = NULL;
    }
    assert_true(dirty > 0); /* of the three times that were looked at */
    munmap(shared, FILE_BYTES_MAX + sizeof(uint64_t));
    node_free(&node);
}

/* Somebody wrote to the real file after the reboot, without cte: kept data does not go over it
 * unasked. */
static void test_files_changed_since(void **state)
{
    (void)state;
    struct node node = node_of_files();
    char path[512];
    uint64_t size = 0;
    struct stat st;
    path_of(&node, "data", path);
    char *shared =
        mmap(NULL, FILE_BYTES_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    run_and_die(&node, path, shared, &size, 7);
    lose_memory(&node);
    assert_int_equal(stat(path, &st), 0);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "other", 5, 0), 5);
    struct timespec later[2] = {{st.st_mtim.tv_sec + 5, 0}, {st.st_mtim.tv_sec + 5, 0}};
    assert_int_equal(futimens(fd, later), 0);
    close(fd);
    cte_file *file;
    assert_int_equal(cte_client_open(node.config, &node.client), CTE_OK);
    /* It is left alone: straight to the real file. */
    assert_int_equal(cte_file_open(node.client, path, O_RDWR, 0, NULL, &file), CTE_OK);
    assert_false(cte_file_is_tracked(file));
    assert_int_equal(cte_file_close(file), CTE_OK);
    char got[5];
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, got, sizeof got, 0), sizeof got);
    assert_memory_equal(got, "other", sizeof got);
    close(fd);
    munmap(shared, FILE_BYTES_MAX);
    node_free(&node);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static void expect_one(struct node *node)
{
    cte_tag *tag;
    char pages[3 * PAGE];
    assert_int_equal(cte_client_open(node->config, &node->client), CTE_OK);
    assert_int_equal(cte_tag_open(node->client, "tag", false, &tag), CTE_OK);
    expect_blob(tag, "blob", "precious", 8);
    assert_int_equal(cte_blob_get(tag, "pages", 0, pages, sizeof pages, NULL), CTE_OK);
    for (size_t i = 0; i < sizeof pages; i++)
        assert_int_equal(pages[i], 'p');
    cte_tag_close(tag);
}

static void expect_refusal(const struct node *node, const char *more, unsigned file_mib,
                           cte_status expected)
{
    cte_client *client;
    char store[4096];
    cte_config *config = test_config(node->directory, 8, file_mib, more);
    assert_int_equal(cte_client_open(config, &client), expected);
    assert_int_equal(cte_store_path(config, store, sizeof store), CTE_OK);
    assert_int_equal(access(store, F_OK), -1);
    cte_config_free(config);
}

static void test_other_configurations_are_refused(void **state)
{
    (void)state;
    struct node node = node_make(8, 8, "");
    char target[512], away[512];
    path_of(&node, "target", target);
    path_of(&node, "away", away);
    put_one(&node);
    expect_refusal(&node, "", 16, CTE_ERR_STORE_LAYOUT);
    expect_refusal(&node, "journal: {enabled: false}\n", 8, -EEXIST);
    expect_refusal(&node, "file: {checksum: false}\n", 8, -EEXIST);
    assert_int_equal(rename(target, away), 0);
    expect_refusal(&node, "", 8, -ENOENT);
    assert_int_equal(rename(away, target), 0);
    expect_one(&node);
    node_free(&node);
}

static void test_files_of_others_stay(void **state)
{
    (void)state;
    struct node node = node_make(8, 8, "");
    char journal[512], line[16] = "";
    path_of(&node, "target.journal", journal);
    assert_int_equal(cte_client_close(node.client), CTE_OK);
    assert_int_equal(access(journal, F_OK), -1); /* an empty store takes it along */
    FILE *file = fopen(journal, "w");
    assert_non_null(file);
    fputs("mine", file);
    fclose(file);
    assert_int_equal(cte_client_open(node.config, &node.client), CTE_OK);
    assert_false(cte__journal_on(node.client->store));
    assert_int_equal(cte_client_close(node.client), CTE_OK);
    node.client = NULL;
    file = fopen(journal, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    fclose(file);
    assert_string_equal(line, "mine");
    node_free(&node);
}

static void test_destroyed_on_purpose(void **state)
{
    (void)state;
    struct node node = node_make(8, 8, "");
    char journal[512], target[512];
    cte_tag *tag;
    path_of(&node, "target.journal", journal);
    path_of(&node, "target", target);
    put_one(&node);
    assert_int_equal(cte_store_destroy(node.config, false), CTE_OK);
    assert_int_equal(access(journal, F_OK), -1);
    assert_int_equal(access(target, F_OK), -1);
    assert_int_equal(cte_store_destroy(node.config, false), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_client_open(node.config, &node.client), CTE_OK);
    put_one(&node);
    /* What cannot be brought back goes by force. */
    cte_config *other = test_config(node.directory, 8, 16, "");
    assert_int_equal(cte_store_destroy(other, false), CTE_ERR_STORE_LAYOUT);
    assert_int_equal(access(journal, F_OK), 0);
    assert_int_equal(cte_store_destroy(other, true), CTE_OK);
    assert_int_equal(access(journal, F_OK), -1);
    cte_config_free(other);
    assert_int_equal(cte_client_open(node.config, &node.client), CTE_OK);
    assert_int_equal(cte_tag_open(node.client, "tag", false, &tag), CTE_ERR_NOT_FOUND);
    node_free(&node);
}

/* Several processes start after the reboot. */
static void test_many_restore_at_once(void **state)
{
    (void)state;
    enum { PROCESSES = 6 };
    struct node node = node_make(8, 8, "");
    pid_t pid[PROCESSES];
    put_one(&node);
    fflush(stdout);
    for (int i = 0; i < PROCESSES; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            expect_one(&node);
            cte_client_close(node.client);
            _exit(0);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_int_equal(status, 0);
    }
    expect_one(&node);
    node_free(&node);
}

static void test_another_place(void **state)
{
    (void)state;
    struct node node = node_make(8, 8, "");
    char journal[512], other[512], more[600];
    path_of(&node, "target.journal", journal);
    path_of(&node, "elsewhere", other);
    snprintf(more, sizeof more, "journal: {path: '%s'}\n", other);
    put_one(&node);
    cte_config_free(node.config);
    node.config = test_config(node.directory, 8, 8, more);
    expect_one(&node);
    assert_int_equal(access(journal, F_OK), -1);
    assert_int_equal(access(other, F_OK), 0);
    reboot(&node);
    assert_int_equal(cte_client_close(node.client), CTE_OK);
    expect_one(&node);
    node_free(&node);
}

/* What was flushed counts as durable. */
static void test_flush(void **state)
{
    (void)state;
    struct node node = node_make(8, 8, "");
    uint64_t volatile_bytes = 1;
    cte_tag *tag;
    static char bytes[BLOB_BYTES_MAX];
    assert_int_equal(cte_tag_open(node.client, "tag", true, &tag), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "cold", 0, bytes, sizeof bytes, 0.0f, 0), CTE_OK);
    assert_int_equal(cte_client_flush(node.client, CTE_PERSIST_NODE, &volatile_bytes), CTE_OK);
    assert_int_equal(volatile_bytes, 0);
    assert_int_equal(cte_client_flush(node.client, CTE_PERSIST_NODE, NULL), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "hot", 0, bytes, sizeof bytes, 1.0f, 0), CTE_OK);
    assert_int_equal(cte_client_flush(node.client, CTE_PERSIST_NODE, &volatile_bytes), CTE_OK);
    assert_true(volatile_bytes >= sizeof bytes);
    cte_tag_close(tag);
    node_free(&node);
}

/* The file stays small however often a blob is put. */
static void test_generations(void **state)
{
    (void)state;
    struct node node = node_make(1, 8, "");
    struct cte__journal_state *journal = &node.client->store->header->journal;
    static char bytes[BLOB_BYTES_MAX];
    char path[512];
    struct stat st;
    cte_tag *tag;
    path_of(&node, "target.journal", path);
    assert_int_equal(cte_tag_open(node.client, "tag", true, &tag), CTE_OK);
    fill(bytes, sizeof bytes, 3);
    for (int i = 0; i < 120000; i++)
        assert_int_equal(cte_blob_put(tag, "blob", 0, bytes, 100 + (size_t)(i % 5), 0.0f, 0),
                         CTE_OK);
    assert_true(atomic_load(&journal->generation) > 1);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size < 20 << 20);
    cte_tag_close(tag);
    reboot(&node);
    assert_int_equal(cte_tag_open(node.client, "tag", false, &tag), CTE_OK);
    expect_blob(tag, "blob", bytes, 104);
    cte_tag_close(tag);
    node_free(&node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blobs_come_back),
        cmocka_unit_test(test_any_history),
        cmocka_unit_test(test_damaged_journals),
        cmocka_unit_test(test_checked_offline),
        cmocka_unit_test(test_files_come_back),
        cmocka_unit_test(test_files_changed_since),
        cmocka_unit_test(test_other_configurations_are_refused),
        cmocka_unit_test(test_files_of_others_stay),
        cmocka_unit_test(test_destroyed_on_purpose),
        cmocka_unit_test(test_many_restore_at_once),
        cmocka_unit_test(test_another_place),
        cmocka_unit_test(test_flush),
        cmocka_unit_test(test_generations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
