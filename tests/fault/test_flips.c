/* SPDX-License-Identifier: BSD-3-Clause */
/* One bit flips in what is stored: in any target, in the journal.  It is found by whoever reads,
 * moves, drains or scrubs the bytes, named exactly, and repaired where the real file has them. */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cte/blob.h>
#include <cte/file.h>
#include <cte/recover.h>
#include <cte/scrub.h>
#include <cte/store.h>

#include "blob/move.h"
#include "file/tracked.h"

enum { PAGE = 4096, FILE_BYTES = 3 << 20, BLOB_BYTES = 100000, SMALL_BYTES = 200 };

struct node {
    char directory[256];
    char path[300];
    cte_config *config;
    cte_client *client;
    cte_file *file;
    cte_tag *tag;
    unsigned char *bytes; /* what the file must hold, FILE_BYTES */
    unsigned char *blob;  /* BLOB_BYTES */
    uint64_t seed;
};

static void fill(void *bytes, size_t size, uint64_t *seed)
{
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)bytes)[i] = (unsigned char)(test_random(seed) >> 9);
}

static void write_bytes(struct node *node, uint64_t offset, size_t length)
{
    cte_file_segment segment = {offset, length, (char *)node->bytes + offset};
    fill(node->bytes + offset, length, &node->seed);
    assert_int_equal(cte_file_write(node->file, &segment, 1), CTE_OK);
}

static cte_status read_bytes(struct node *node, uint64_t offset, size_t length, void *bytes)
{
    cte_file_segment segment = {offset, length, bytes};
    uint64_t got;
    cte_status status = cte_file_read(node->file, &segment, 1, &got);
    if (status == CTE_OK)
        assert_int_equal(got, length);
    return status;
}

/* A file whose first pages went to memory and the others to disk, pages in pieces among them. */
static struct node node_make(const char *drain)
{
    struct node node = {.seed = test_seed()};
    char more[64];
    test_directory(node.directory, sizeof node.directory);
    snprintf(node.path, sizeof node.path, "%s/data", node.directory);
    snprintf(more, sizeof more, "file: {drain: %s}\n", drain);
    node.config = test_config(node.directory, 2, 8, more);
    node.bytes = calloc(1, FILE_BYTES);
    node.blob = calloc(1, BLOB_BYTES);
    assert_true(node.bytes && node.blob);
    assert_int_equal(cte_client_open(node.config, &node.client), CTE_OK);
    assert_int_equal(
        cte_file_open(node.client, node.path, O_RDWR | O_CREAT, 0600, NULL, &node.file), CTE_OK);
    write_bytes(&node, 0, FILE_BYTES - 2 * PAGE);
    write_bytes(&node, FILE_BYTES - 2 * PAGE + 100, 1000);
    write_bytes(&node, FILE_BYTES - 2 * PAGE + 3000, 2000);
    write_bytes(&node, FILE_BYTES - 100, 100);
    fill(node.blob, BLOB_BYTES, &node.seed);
    assert_int_equal(cte_tag_open(node.client, "tag", true, &node.tag), CTE_OK);
    assert_int_equal(cte_blob_put(node.tag, "blob", 0, node.blob, BLOB_BYTES, 0.0f, 0), CTE_OK);
    assert_int_equal(cte_blob_put(node.tag, "small", 0, node.blob, SMALL_BYTES, 1.0f, 0), CTE_OK);
    return node;
}

static void node_free(struct node *node)
{
    cte_tag_close(node->tag);
    assert_int_equal(cte_tag_delete(node->client, "tag"), CTE_OK);
    cte_status status = cte_file_close(node->file);
    (void)status; /* some tests leave it damaged */
    status = cte_client_close(node->client);
    free(node->bytes);
    free(node->blob);
    cte_config_free(node->config);
    test_remove_directory(node->directory);
}

/* ---- where the bytes lie -------------------------------------------------------------------- */

struct place {
    struct cte__blob_key key;
    uint64_t chunk;         /* what the key's name is, for a piece of the file */
    uint64_t start, length; /* bytes of the file, or blob, that lie in the page */
    cte__page page;
};

struct places {
    struct place list[2048];
    size_t count;
};

static void add_snapshot(struct cte__store *store, struct places *places, const struct place *model,
                         uint64_t offset)
{
    struct cte__snapshot snapshot;
    assert_int_equal(cte__blob_snapshot(store, &model->key, &snapshot), CTE_OK);
    for (size_t s = 0; s < snapshot.list.count; s++) {
        const struct cte__span *span = &snapshot.list.spans[s];
        for (uint32_t i = 0; i < span->count; i++) {
            struct place *place = &places->list[places->count++];
            assert_true(places->count < 2048);
            *place = *model;
            place->start = offset + (span->index + i) * PAGE;
            place->length = PAGE;
            place->page = span->page + i;
            if (span->state == CTE__PAGE_PARTIAL) {
                place->page = span->run_list->run[0].page;
                place->start += span->run_list->run[0].start;
                place->length = cte__run_length(span->run_list->run[0]);
            }
        }
    }
    cte__snapshot_free(&snapshot);
}

static void find_file(struct node *node, struct places *places)
{
    struct cte__store *store = node->client->store;
    cte__unit tag = node->client->open_files->tag;
    uint64_t chunk_bytes = cte__tag_at(store, tag)->chunk_bytes;
    for (uint64_t chunk = 0; chunk * chunk_bytes < FILE_BYTES; chunk++) {
        struct place model = {.chunk = chunk};
        model.key = cte__chunk_key(tag, &model.chunk);
        add_snapshot(store, places, &model, chunk * chunk_bytes);
    }
    for (size_t i = 0; i < places->count; i++)
        places->list[i].key.name = &places->list[i].chunk;
}

/* Flips a bit of a page behind the store's back; the same call takes it back. */
static void flip(struct cte__store *store, const struct place *place, unsigned bit)
{
    unsigned char page[PAGE];
    struct iovec iov = {page, PAGE};
    assert_int_equal(cte__pages_io(store, false, place->page, 0, &iov, 1, PAGE), CTE_OK);
    page[bit / 8] ^= (unsigned char)(1u << bit % 8);
    assert_int_equal(cte__pages_io(store, true, place->page, 0, &iov, 1, PAGE), CTE_OK);
}

/* ---- scrubbing ------------------------------------------------------------------------------ */

struct found {
    unsigned count;
    cte_scrub_finding last;
    char file[300], tag[16], blob[16], target[300];
};

static void copy_text(char *to, size_t bytes, const char *text)
{
    snprintf(to, bytes, "%s", text ? text : "");
}

static cte_status note(void *context, const cte_scrub_finding *finding)
{
    struct found *found = context;
    found->count++;
    found->last = *finding;
    copy_text(found->file, sizeof found->file, finding->file);
    copy_text(found->tag, sizeof found->tag, finding->tag);
    copy_text(found->blob, sizeof found->blob, finding->blob);
    copy_text(found->target, sizeof found->target, finding->target);
    assert_true(strlen(finding->text) > 0);
    return CTE_OK;
}

static cte_scrub_report scrub(struct node *node, bool repair, struct found *found)
{
    cte_scrub_options options = CTE_SCRUB_OPTIONS_INIT;
    cte_scrub_report report;
    memset(found, 0, sizeof *found);
    options.repair = repair;
    options.found = note;
    options.context = found;
    assert_int_equal(cte_store_scrub(node->client, &options, &report), CTE_OK);
    assert_int_equal(report.findings, found->count);
    return report;
}

static void expect_place(struct node *node, const struct found *found, const struct place *place)
{
    const struct cte__target_record *target =
        &node->client->store->header->targets[cte__page_target(place->page)];
    assert_int_equal(found->last.kind, CTE_SCRUB_DATA);
    assert_int_equal(found->last.offset, place->start);
    assert_int_equal(found->last.length, place->length);
    assert_int_equal(found->last.status, CTE_ERR_CHECKSUM);
    assert_string_equal(found->target, target->path[0] ? target->path : target->label);
    assert_int_equal(found->last.target_offset, cte__page_number(place->page) * PAGE);
}

/* The real file has every byte but those of one place. */
static void expect_drained_but(const struct node *node, const struct place *place)
{
    static unsigned char got[FILE_BYTES];
    int fd = open(node->path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, got, FILE_BYTES, 0), FILE_BYTES);
    close(fd);
    for (uint64_t i = 0; i < FILE_BYTES; i++) {
        bool damaged = place && i >= place->start && i < place->start + place->length;
        if (!damaged && got[i] != node->bytes[i])
            fail_msg("byte %llu is not drained", (unsigned long long)i);
        if (damaged && got[i] != 0)
            fail_msg("byte %llu is damaged, and drained", (unsigned long long)i);
    }
}

/* ---- tests ---------------------------------------------------------------------------------- */

/* Every page of the file, by turns: reading, moving, draining, scrubbing. */
static void test_dirty_bytes(void **state)
{
    (void)state;
    static struct places places;
    static unsigned char got[FILE_BYTES];
    struct node node = node_make("never");
    struct cte__store *store = node.client->store;
    struct found found;
    bool targets[CTE__TARGETS_MAX] = {false};
    places.count = 0;
    find_file(&node, &places);
    for (size_t i = 0; i < places.count; i++) {
        struct place *place = &places.list[i];
        struct cte__move move = {.score = -1, .avoid = 1u << cte__page_target(place->page)};
        unsigned bit = (unsigned)(test_random(&node.seed) % (PAGE * 8));
        targets[cte__page_target(place->page)] = true;
        flip(store, place, bit);
        assert_int_equal(read_bytes(&node, place->start, place->length, got), CTE_ERR_CHECKSUM);
        /* What lies beside it is there all the same. */
        if (place->start >= PAGE) {
            assert_int_equal(read_bytes(&node, place->start - 1, 1, got), CTE_OK);
            assert_int_equal(got[0], node.bytes[place->start - 1]);
        }
        if (i % 8 == 0) {
            cte_status moved = cte__blob_move(store, &place->key, &move, NULL);
            assert_true(moved == CTE_ERR_CHECKSUM || moved == -ENOSPC);
        }
        if (i % 16 == 0) {
            scrub(&node, true, &found);
            assert_int_equal(found.count, 1);
            assert_string_equal(found.file, node.path);
            expect_place(&node, &found, place);
            assert_int_equal(found.last.outcome, CTE_SCRUB_NO_COPY);
        }
        flip(store, place, bit);
        assert_int_equal(read_bytes(&node, place->start, place->length, got), CTE_OK);
        assert_memory_equal(got, node.bytes + place->start, place->length);
    }
    assert_true(places.count > 700 && targets[0] && targets[1]);
    /* Draining says so, and everything else gets there. */
    struct place *place = &places.list[5];
    flip(store, place, 77);
    assert_int_equal(cte_file_drain(node.file), CTE_ERR_CHECKSUM);
    expect_drained_but(&node, place);
    assert_int_equal(cte_file_drain(node.file), CTE_ERR_CHECKSUM);
    flip(store, place, 77);
    assert_int_equal(cte_file_drain(node.file), CTE_OK);
    expect_drained_but(&node, NULL);
    scrub(&node, false, &found);
    assert_int_equal(found.count, 0);
    test_audit(store);
    node_free(&node);
}

/* What the real file has too is taken from there: by who reads, by who writes, by a scrub. */
static void test_clean_bytes(void **state)
{
    (void)state;
    static struct places places;
    static unsigned char got[FILE_BYTES];
    struct node node = node_make("never");
    struct cte__store *store = node.client->store;
    struct found found;
    unsigned repaired = 0;
    assert_int_equal(cte_file_drain(node.file), CTE_OK);
    places.count = 0;
    find_file(&node, &places);
    for (size_t i = 0; i < places.count; i += 7) {
        struct place *place = &places.list[i];
        flip(store, place, (unsigned)(test_random(&node.seed) % (PAGE * 8)));
        if (repaired++ % 3 == 0) {
            cte_scrub_report report = scrub(&node, false, &found);
            assert_int_equal(found.count, 1);
            assert_int_equal(report.unrepaired, 1);
            assert_int_equal(found.last.outcome, CTE_SCRUB_REPAIRABLE);
            expect_place(&node, &found, place);
            report = scrub(&node, true, &found);
            assert_int_equal(found.count, 1);
            assert_int_equal(found.last.outcome, CTE_SCRUB_REPAIRED);
            assert_int_equal(report.unrepaired, 0);
            assert_int_equal(report.bytes_repaired, PAGE);
            scrub(&node, false, &found);
            assert_int_equal(found.count, 0);
        } else if (repaired % 3 == 0) {
            write_bytes(&node, place->start + 10, 20);
        }
        assert_int_equal(read_bytes(&node, place->start, place->length, got), CTE_OK);
        assert_memory_equal(got, node.bytes + place->start, place->length);
    }
    assert_true(repaired > 90);
    assert_int_equal(read_bytes(&node, 0, FILE_BYTES, got), CTE_OK);
    assert_memory_equal(got, node.bytes, FILE_BYTES);
    test_audit(store);
    node_free(&node);
}

/* Without the real file there is nothing to repair with: the copy stays as it is. */
static void test_clean_bytes_of_a_file_that_is_gone(void **state)
{
    (void)state;
    static struct places places;
    struct node node = node_make("never");
    struct found found;
    assert_int_equal(cte_file_drain(node.file), CTE_OK);
    places.count = 0;
    find_file(&node, &places);
    flip(node.client->store, &places.list[3], 12345);
    assert_int_equal(unlink(node.path), 0);
    cte_scrub_report report = scrub(&node, true, &found);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.last.outcome, CTE_SCRUB_NO_COPY);
    assert_int_equal(report.unrepaired, 1);
    node_free(&node);
}

static void test_blobs(void **state)
{
    (void)state;
    static struct places places;
    static unsigned char got[BLOB_BYTES];
    struct node node = node_make("never");
    struct cte__store *store = node.client->store;
    struct cte__user_tag tag;
    struct found found;
    assert_int_equal(cte__user_tag_find(store, "tag", 3, CTE__USER_TAG_OPEN, &tag), CTE_OK);
    struct place model = {.key = {.tag = tag.unit,
                                  .type = CTE__ENTRY_BLOB,
                                  .name = "blob",
                                  .name_bytes = 4,
                                  .tag_id = tag.id}};
    places.count = 0;
    add_snapshot(store, &places, &model, 0);
    for (size_t i = 0; i < places.count; i++) {
        struct place *place = &places.list[i];
        unsigned bit = (unsigned)(test_random(&node.seed) % (PAGE * 8));
        flip(store, place, bit);
        assert_int_equal(cte_blob_get(node.tag, "blob", 0, got, BLOB_BYTES, NULL),
                         CTE_ERR_CHECKSUM);
        scrub(&node, false, &found);
        assert_int_equal(found.count, 1);
        assert_string_equal(found.tag, "tag");
        assert_string_equal(found.blob, "blob");
        expect_place(&node, &found, place);
        flip(store, place, bit);
    }
    assert_int_equal(cte_blob_get(node.tag, "blob", 0, got, BLOB_BYTES, NULL), CTE_OK);
    assert_memory_equal(got, node.blob, BLOB_BYTES);
    node_free(&node);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dirty_bytes),
        cmocka_unit_test(test_clean_bytes),
        cmocka_unit_test(test_clean_bytes_of_a_file_that_is_gone),
        cmocka_unit_test(test_blobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    setenv("CTE_LOG_LEVEL", "off", 0);
    return all_tests();
}
