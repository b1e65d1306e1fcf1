/* SPDX-License-Identifier: BSD-3-Clause */
/* What programs ask about tags and blobs: queries, places, persistence; and init and finalize. */
#include "store_helpers.h"

#include <errno.h>
#include <math.h>

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

static void put(cte_tag *tag, const char *name, uint64_t offset, const void *data, size_t size,
                float score)
{
    assert_int_equal(cte_blob_put(tag, name, offset, data, size, score, 0), CTE_OK);
}

/* ---- queries -------------------------------------------------------------------------------- */

/* Names in one line, sorted, so that they can be compared. */
struct found {
    char names[64][32];
    int count;
};

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static const char *sorted(struct found *found)
{
    static char line[2048];
    line[0] = 0;
    qsort(found->names, (size_t)found->count, sizeof found->names[0], compare);
    for (int i = 0; i < found->count; i++)
        snprintf(line + strlen(line), sizeof line - strlen(line), "%s%s", i ? " " : "",
                 found->names[i]);
    found->count = 0;
    return line;
}

static cte_status note_tag(void *context, const char *tag, cte_tag_id id)
{
    struct found *found = context;
    assert_int_equal(id.major, 0);
    assert_int_not_equal(id.minor, 0);
    snprintf(found->names[found->count++], sizeof found->names[0], "%s", tag);
    return CTE_OK;
}

static cte_status note_blob(void *context, const char *tag, const char *blob)
{
    struct found *found = context;
    snprintf(found->names[found->count++], sizeof found->names[0], "%s/%s", tag, blob);
    return CTE_OK;
}

static cte_status note_name(void *context, const char *name)
{
    struct found *found = context;
    snprintf(found->names[found->count++], sizeof found->names[0], "%s", name);
    return CTE_OK;
}

static cte_status refuse(void *context, const char *tag, const char *blob)
{
    (void)tag, (void)blob;
    (*(int *)context)++;
    return -ECANCELED;
}

static void test_queries(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    static const char *const tags[] = {"run-1", "run-2", "other"};
    struct found found = {0};
    int count = 0;
    cte_tag *tag = NULL;
    for (size_t t = 0; t < 3; t++) {
        tag = open_tag(&f, tags[t]);
        for (int i = 0; i < 4; i++) {
            char name[16];
            snprintf(name, sizeof name, "%s%d", i % 2 ? "mesh" : "field", i);
            put(tag, name, 0, name, strlen(name), 0.5f);
        }
        if (t < 2)
            cte_tag_close(tag);
    }
    assert_int_equal(cte_tag_query(f.client, "^run-[0-9]+$", CTE_QUERY_LOCAL, 0, note_tag, &found),
                     CTE_OK);
    assert_string_equal(sorted(&found), "run-1 run-2");
    assert_int_equal(cte_tag_query(f.client, "", CTE_QUERY_GLOBAL, 0, note_tag, &found), CTE_OK);
    assert_string_equal(sorted(&found), "other run-1 run-2");
    assert_int_equal(cte_tag_query(f.client, "run", CTE_QUERY_LOCAL, 1, note_tag, &found), CTE_OK);
    assert_int_equal(found.count, 1);
    found.count = 0;
    assert_int_equal(cte_tag_query(f.client, "none", CTE_QUERY_LOCAL, 0, note_tag, &found), CTE_OK);
    assert_int_equal(found.count, 0);
    assert_int_equal(
        cte_blob_query(f.client, "-1$|oth", "(mesh|d)[13]", CTE_QUERY_LOCAL, 0, note_blob, &found),
        CTE_OK);
    assert_string_equal(sorted(&found), "other/mesh1 other/mesh3 run-1/mesh1 run-1/mesh3");
    assert_int_equal(cte_blob_query(f.client, ".", ".", CTE_QUERY_LOCAL, 7, note_blob, &found),
                     CTE_OK);
    assert_int_equal(found.count, 7);
    found.count = 0;
    assert_int_equal(cte_blob_query(f.client, ".", ".", CTE_QUERY_LOCAL, 0, refuse, &count),
                     -ECANCELED);
    assert_int_equal(count, 1);
    assert_int_equal(cte_tag_list_matching(tag, "^field", 0, note_name, &found), CTE_OK);
    assert_string_equal(sorted(&found), "field0 field2");
    assert_int_equal(cte_tag_list_matching(tag, "e", 3, note_name, &found), CTE_OK);
    assert_int_equal(found.count, 3);
    cte_tag_close(tag);
    for (size_t t = 0; t < 3; t++)
        assert_int_equal(cte_tag_delete(f.client, tags[t]), CTE_OK);
    fixture_free(&f);
}

static void test_bad_queries(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 0);
    struct found found = {0};
    cte_tag *tag = open_tag(&f, "t");
    assert_int_equal(cte_tag_query(f.client, "(", CTE_QUERY_LOCAL, 0, note_tag, &found), -EINVAL);
    assert_int_equal(cte_tag_query(f.client, NULL, CTE_QUERY_LOCAL, 0, note_tag, &found), -EINVAL);
    assert_int_equal(cte_tag_query(f.client, ".", (cte_query_scope)7, 0, note_tag, &found),
                     -EINVAL);
    assert_int_equal(cte_tag_query(f.client, ".", CTE_QUERY_LOCAL, 0, NULL, NULL), -EINVAL);
    assert_int_equal(cte_blob_query(f.client, "[", ".", CTE_QUERY_LOCAL, 0, note_blob, &found),
                     -EINVAL);
    assert_int_equal(cte_blob_query(f.client, ".", "*(", CTE_QUERY_LOCAL, 0, note_blob, &found),
                     -EINVAL);
    assert_int_equal(cte_tag_list_matching(tag, "a{2,1}", 0, note_name, &found), -EINVAL);
    assert_int_equal(cte_tag_list_matching(NULL, ".", 0, note_name, &found), -EINVAL);
    assert_int_equal(found.count, 0);
    cte_tag_close(tag);
    assert_int_equal(cte_tag_delete(f.client, "t"), CTE_OK);
    fixture_free(&f);
}

/* ---- where blobs lie ------------------------------------------------------------------------ */

/* The bytes that blocks say lie in a target must be the blob's. */
static void check_block(struct fixture *f, const cte_blob_block *block, const char *bytes)
{
    struct cte__store *store = f->client->store;
    char memory[4096];
    for (uint32_t t = 0; t < store->header->target_count; t++) {
        if (strcmp(store->header->targets[t].path, block->target) != 0)
            continue;
        size_t length = block->size_bytes < sizeof memory ? block->size_bytes : sizeof memory;
        struct iovec iov = {memory, length};
        assert_int_equal(cte__pages_io(store, false, cte__page_make(t, block->target_offset / 4096),
                                       block->target_offset % 4096, &iov, 1, length),
                         CTE_OK);
        assert_memory_equal(memory, bytes + block->blob_offset, length);
        return;
    }
    fail_msg("no target %s", block->target);
}

static void test_blocks_tile_the_blob(void **state)
{
    (void)state;
    struct fixture f = fixture_make(1, 4);
    enum { BYTES = 1500000 };
    cte_tag *tag = open_tag(&f, "t");
    cte_blob_block blocks[64];
    uint32_t count = 99;
    char *bytes = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(i * 7 + i / 251);
    assert_int_equal(cte_blob_blocks(tag, "b", blocks, 64, &count), CTE_ERR_NOT_FOUND);
    put(tag, "b", 0, bytes, BYTES, 1.0f);
    memset(bytes + 5000, 'x', 100);
    put(tag, "b", 5000, bytes + 5000, 100, 1.0f);
    assert_int_equal(cte_blob_blocks(tag, "b", NULL, 0, &count), CTE_OK);
    assert_true(count > 0 && count <= 64);
    assert_int_equal(cte_blob_blocks(tag, "b", blocks, 64, &count), CTE_OK);
    uint64_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(blocks[i].blob_offset, at);
        check_block(&f, &blocks[i], bytes);
        at += blocks[i].size_bytes;
    }
    assert_int_equal(at, BYTES);
    /* A hole takes no space and is no block. */
    put(tag, "hole", 1 << 20, "end", 3, 0.5f);
    assert_int_equal(cte_blob_blocks(tag, "hole", blocks, 64, &count), CTE_OK);
    assert_int_equal(blocks[count - 1].blob_offset + blocks[count - 1].size_bytes, (1 << 20) + 3);
    assert_true(blocks[0].blob_offset >= (1 << 20) - 4096);
    put(tag, "small", 0, "tiny", 4, 0.5f);
    assert_int_equal(cte_blob_blocks(tag, "small", blocks, 64, &count), CTE_OK);
    assert_int_equal(count, 1);
    assert_string_equal(blocks[0].target, "");
    assert_int_equal(blocks[0].size_bytes, 4);
    assert_int_equal(cte_blob_put(tag, "empty", 0, NULL, 0, 1, 0), CTE_OK);
    assert_int_equal(cte_blob_blocks(tag, "empty", blocks, 64, &count), CTE_OK);
    assert_int_equal(count, 0);
    assert_int_equal(cte_blob_blocks(tag, "b", NULL, 1, &count), -EINVAL);
    assert_int_equal(cte_blob_blocks(tag, "b", blocks, 1, NULL), -EINVAL);
    cte_tag_close(tag);
    assert_int_equal(cte_tag_delete(f.client, "t"), CTE_OK);
    free(bytes);
    fixture_free(&f);
}

static void test_reorganize_reports_the_truth(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 4);
    static char bytes[200000], back[200000];
    cte_tag *tag = open_tag(&f, "t");
    cte_blob_report report;
    cte_blob_info before, after;
    cte_target_info targets[4];
    uint32_t count;
    float score;
    assert_int_equal(cte_client_targets(f.client, targets, 4, &count), CTE_OK);
    assert_int_equal(count, 2);
    memset(bytes, 'r', sizeof bytes);
    put(tag, "b", 0, bytes, sizeof bytes, 1.0f);
    assert_int_equal(cte_blob_get_info(tag, "b", &before), CTE_OK);
    assert_int_equal(cte_blob_reorganize(tag, "b", 0.0f, &report), CTE_OK);
    assert_int_equal(report.target_count, 1);
    assert_string_equal(report.targets[0].name, targets[1].name);
    assert_int_equal(report.targets[0].bytes_used, 200704);
    assert_int_equal(report.bytes_moved, 200704);
    assert_int_equal(report.size_bytes, sizeof bytes);
    assert_int_equal(cte_blob_get(tag, "b", 0, back, sizeof back, NULL), CTE_OK);
    assert_memory_equal(back, bytes, sizeof bytes);
    assert_int_equal(cte_blob_get_info(tag, "b", &after), CTE_OK);
    assert_int_equal(after.modified_ns, before.modified_ns);
    assert_true(after.score == 0.0f);
    assert_int_equal(cte_blob_reorganize(tag, "b", 1.0f, NULL), CTE_OK);
    assert_int_equal(cte_blob_reorganize(tag, "b", 1.0f, &report), CTE_OK);
    assert_int_equal(report.bytes_moved, 0);
    assert_string_equal(report.targets[0].name, targets[0].name);
    assert_int_equal(cte_blob_reorganize(tag, "b", 1.5f, NULL), -EINVAL);
    assert_int_equal(cte_blob_reorganize(tag, "b", NAN, NULL), -EINVAL);
    assert_int_equal(cte_blob_reorganize(tag, "none", 1.0f, NULL), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_blob_score(tag, "b", &score), CTE_OK);
    assert_true(score == 1.0f);
    assert_int_equal(cte_blob_put(tag, "empty", 0, NULL, 0, 1, 0), CTE_OK);
    assert_int_equal(cte_blob_reorganize(tag, "empty", 0.25f, &report), CTE_OK);
    assert_int_equal(report.target_count, 0);
    assert_int_equal(cte_blob_score(tag, "empty", &score), CTE_OK);
    assert_true(score == 0.25f);
    cte_tag_close(tag);
    assert_int_equal(cte_tag_delete(f.client, "t"), CTE_OK);
    fixture_free(&f);
}

static bool lies_in(cte_tag *tag, const char *name, const char *target)
{
    cte_blob_block block;
    uint32_t count;
    assert_int_equal(cte_blob_blocks(tag, name, &block, 1, &count), CTE_OK);
    return strcmp(block.target, target) == 0;
}

/* Hot blobs go up when there is room again; cold ones, and those that others read, stay. */
static void test_gets_move_hot_blobs_up(void **state)
{
    (void)state;
    struct fixture f = fixture_make(2, 8);
    static char bytes[300000], back[300000];
    char *filler = calloc(2 << 20, 1);
    cte_target_info targets[2];
    uint32_t count;
    cte_tag *tag = open_tag(&f, "t");
    memset(bytes, 'h', sizeof bytes);
    assert_int_equal(cte_client_targets(f.client, targets, 2, &count), CTE_OK);
    put(tag, "filler", 0, filler, 2 << 20, 1.0f);
    put(tag, "hot", 0, bytes, sizeof bytes, 1.0f);
    put(tag, "cold", 0, bytes, sizeof bytes, 0.3f);
    assert_true(lies_in(tag, "hot", targets[1].name));
    for (int i = 0; i < 100; i++)
        assert_int_equal(cte_blob_get(tag, "hot", 0, back, sizeof back, NULL), CTE_OK);
    assert_true(lies_in(tag, "hot", targets[1].name)); /* no room */
    assert_int_equal(cte_blob_delete(tag, "filler"), CTE_OK);
    for (int i = 0; i < 2000 && lies_in(tag, "hot", targets[1].name); i++) {
        assert_int_equal(cte_blob_get(tag, "cold", 0, back, sizeof back, NULL), CTE_OK);
        assert_int_equal(cte_blob_get(tag, "hot", 0, back, sizeof back, NULL), CTE_OK);
        assert_memory_equal(back, bytes, sizeof bytes);
        usleep(1000);
    }
    assert_true(lies_in(tag, "hot", targets[0].name));
    assert_true(lies_in(tag, "cold", targets[1].name));
    cte_tag_close(tag);
    assert_int_equal(cte_tag_delete(f.client, "t"), CTE_OK);
    free(filler);
    fixture_free(&f);
}

static void test_flush_tells_what_stays_volatile(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, 4);
    cte_tag *tag = open_tag(&f, "t");
    static char bytes[8192];
    uint64_t remaining = 99;
    put(tag, "b", 0, bytes, sizeof bytes, 1.0f);
    assert_int_equal(cte_client_flush(f.client, CTE_PERSIST_PROCESS, &remaining), CTE_OK);
    assert_int_equal(remaining, 0);
    assert_int_equal(cte_client_flush(f.client, CTE_PERSIST_PROCESS, NULL), CTE_OK);
    assert_int_equal(cte_client_flush(f.client, CTE_PERSIST_NODE, &remaining), CTE_OK);
    assert_int_equal(remaining, 8192);
    assert_int_equal(cte_client_flush(f.client, CTE_PERSIST_NODE, NULL), -ENOTSUP);
    assert_int_equal(cte_client_flush(f.client, (cte_persistence)5, &remaining), -EINVAL);
    cte_tag_close(tag);
    assert_int_equal(cte_tag_delete(f.client, "t"), CTE_OK);
    assert_int_equal(cte_client_flush(f.client, CTE_PERSIST_NODE, NULL), CTE_OK);
    fixture_free(&f);
}

/* ---- init and finalize ---------------------------------------------------------------------- */

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_init_and_finalize(void **state)
{
    (void)state;
    char directory[256], path[300], bad[300], text[1024], store[400];
    cte_tag *tag;
    cte_client *client;
    test_directory(directory, sizeof directory);
    snprintf(path, sizeof path, "%s/cte.yaml", directory);
    snprintf(bad, sizeof bad, "%s/bad.yaml", directory);
    snprintf(text, sizeof text,
             "store: {name: init, directory: '%s'}\n"
             "storage: [{bdev_type: ram, capacity_limit: 2MiB}]\n",
             directory);
    write_text(path, text);
    write_text(bad, "no_such_key: 1\n");
    snprintf(store, sizeof store, "%s/cte-%u-init", directory, (unsigned)geteuid());
    assert_int_equal(cte_finalize(), -EINVAL);
    assert_int_equal(cte_init(bad), CTE_ERR_CONFIG);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(cte_init(path), CTE_OK); /* a failure does not stick */
        assert_int_equal(cte_init(NULL), CTE_OK);
        assert_int_equal(cte_init(path), CTE_OK);
        assert_int_equal(cte_init(bad), -EBUSY);
        assert_int_equal(access(store, F_OK), 0);
        assert_int_equal(cte_tag_open(NULL, "t", true, &tag), CTE_OK);
        put(tag, "b", 0, "x", 1, 1.0f);
        assert_int_equal(cte_client_default_close(), CTE_OK); /* an adapter leaves */
        put(tag, "b", 0, "y", 1, 1.0f);
        cte_tag_close(tag);
        assert_int_equal(cte_tag_delete(NULL, "t"), CTE_OK);
        assert_int_equal(cte_finalize(), CTE_OK);
        assert_int_equal(cte_finalize(), CTE_OK);
        assert_int_equal(cte_client_default(&client), CTE_OK);
        assert_int_equal(cte_finalize(), CTE_OK);
        assert_int_equal(cte_finalize(), -EINVAL);
        assert_int_equal(access(store, F_OK), -1);
    }
    /* From the environment. */
    assert_int_equal(setenv("CTE_CONFIG", path, 1), 0);
    assert_int_equal(cte_init(""), CTE_OK);
    assert_int_equal(access(store, F_OK), 0);
    assert_int_equal(cte_finalize(), CTE_OK);
    assert_int_equal(unsetenv("CTE_CONFIG"), 0);
    test_remove_directory(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_bad_queries),
        cmocka_unit_test(test_blocks_tile_the_blob),
        cmocka_unit_test(test_reorganize_reports_the_truth),
        cmocka_unit_test(test_gets_move_hot_blobs_up),
        cmocka_unit_test(test_flush_tells_what_stays_volatile),
        cmocka_unit_test(test_init_and_finalize),
    };
    /* What the caller's environment says of stores is not what is tested here. */
    unsetenv("CTE_STORE_NAME");
    unsetenv("CTE_STORE_DIRECTORY");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
