/* SPDX-License-Identifier: BSD-3-Clause */
/* Stores that come back after all of their memory is gone. */
#include "store_helpers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

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
    assert_int_equal(cte_blob_size(tag, name, &there), CTE_OK);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blobs_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
