/* SPDX-License-Identifier: BSD-3-Clause */
/* The journal's records: what was written is read, and of a damaged file only what is whole. */
#include "store_helpers.h"

#include "store/journal_record.h"

enum { RECORDS_MAX = 200, ROUNDS = 60 };

static const uint64_t nonce = 0x1234567890abcdef;

/* A text of records, and where each begins. */
struct text {
    struct cte__record_buffer buffer;
    size_t start[RECORDS_MAX + 1];
    uint32_t kind[RECORDS_MAX];
    int count;
};

static struct cte__text random_text(uint64_t *seed, char *bytes, uint32_t most)
{
    uint32_t count = 1 + (uint32_t)(test_random(seed) % most);
    for (uint32_t i = 0; i < count; i++)
        bytes[i] = (char)('a' + test_random(seed) % 26);
    return (struct cte__text){bytes, count};
}

static void put_random_extents(struct text *text, uint64_t *seed)
{
    uint32_t first = 0, sums[64];
    for (uint32_t i = 0; i < 64; i++)
        sums[i] = (uint32_t)test_random(seed);
    for (uint64_t n = test_random(seed) % 5; n > 0; n--) {
        struct cte__record_extent extent = {
            .page = cte__page_make((uint32_t)(test_random(seed) % 4), test_random(seed) % 1000),
            .first = first + (uint32_t)(test_random(seed) % 3),
            .count = 1 + (uint32_t)(test_random(seed) % 40),
            .state = CTE__PAGE_CLEAN + (uint32_t)(test_random(seed) % 3)};
        struct cte__run runs[3];
        if (extent.state == CTE__PAGE_PARTIAL) {
            extent.count = 1;
            extent.run_count = 1 + (uint32_t)(test_random(seed) % 3);
            for (uint32_t r = 0; r < extent.run_count; r++)
                runs[r] = (struct cte__run){.start = (uint16_t)(r * 1000),
                                            .length_dirty =
                                                (uint16_t)((1 + test_random(seed) % 1000) << 1 | 1),
                                            .checksum = sums[r],
                                            .page = extent.page + r};
        }
        cte__record_blob_extent(&text->buffer, &extent);
        for (uint32_t r = 0; r < extent.run_count; r++)
            cte__record_blob_run(&text->buffer, &runs[r]);
        first = extent.first + extent.count;
    }
    for (uint64_t n = test_random(seed) % 3; n > 0; n--)
        cte__record_blob_sums(&text->buffer, cte__page_make(1, test_random(seed) % 1000),
                              1 + (uint32_t)(test_random(seed) % 64), sums);
}

static void put_random(struct text *text, uint64_t *seed)
{
    char name[300], other[600];
    struct cte__record_blob blob = {.tag_id = 1 + test_random(seed) % 9,
                                    .type = CTE__ENTRY_BLOB,
                                    .score = 0.5f,
                                    .name = random_text(seed, name, 250)};
    struct cte__record_tag tag = {1 + test_random(seed) % 9, 5, blob.name};
    struct cte__record_file file = {.id = 7,
                                    .chunk_bytes = 1 << 20,
                                    .size_bytes = test_random(seed),
                                    .name = blob.name,
                                    .path = {"/some/file", 10}};
    struct cte__record_target target = {.index = 3,
                                        .survives = true,
                                        .capacity_bytes = 8 << 20,
                                        .arena_bytes = 1 << 20,
                                        .kind = {"file", 4},
                                        .path = {"/target", 7}};
    uint32_t kind = CTE__RECORD_TARGET + (uint32_t)(test_random(seed) % CTE__RECORD_COMPLETE);
    text->start[text->count] = text->buffer.count;
    text->kind[text->count++] = kind;
    switch (kind) {
    case CTE__RECORD_TARGET:
        cte__record_put_target(&text->buffer, nonce, &target);
        break;
    case CTE__RECORD_TAG:
        cte__record_put_tag(&text->buffer, nonce, &tag);
        break;
    case CTE__RECORD_FILE:
        cte__record_put_file(&text->buffer, nonce, &file);
        break;
    case CTE__RECORD_TAG_GONE:
        cte__record_put_tag_gone(&text->buffer, nonce, tag.id);
        break;
    case CTE__RECORD_BLOB:
        if (test_random(seed) % 2) {
            blob.is_small = true;
            blob.small = random_text(seed, other, CTE__SMALL_MAX);
            blob.size_bytes = blob.small.count;
        }
        cte__record_blob_begin(&text->buffer, &blob);
        if (!blob.is_small)
            put_random_extents(text, seed);
        cte__record_blob_end(&text->buffer, nonce);
        break;
    case CTE__RECORD_BLOB_GONE:
        cte__record_put_blob_gone(&text->buffer, nonce, &blob);
        break;
    default:
        cte__record_put_complete(&text->buffer, nonce);
        break;
    }
    text->start[text->count] = text->buffer.count;
}

static struct text *text_make(uint64_t *seed, int count)
{
    struct text *text = calloc(1, sizeof *text);
    assert_non_null(text);
    cte__record_buffer_init(&text->buffer);
    while (text->count < count)
        put_random(text, seed);
    assert_false(text->buffer.failed);
    return text;
}

static void text_free(struct text *text)
{
    cte__record_buffer_free(&text->buffer);
    free(text);
}

/* Every getter must stand any payload; the one of the record's kind must take it if it is sound. */
static bool is_understood(const struct cte__record *record)
{
    struct cte__record_target target;
    struct cte__record_tag tag;
    struct cte__record_file file;
    struct cte__record_blob blob;
    uint64_t id;
    const char *at;
    bool blobs = cte__record_get_blob(record, &blob);
    if (blobs) {
        at = blob.extents;
        for (uint32_t i = 0; i < blob.extent_count; i++)
            assert_true(cte__record_extent_next(&at).count > 0);
        assert_ptr_equal(at, blob.sums);
        for (uint32_t i = 0; i < blob.sums_count; i++)
            assert_true(cte__record_sums_next(&at).count > 0);
        assert_ptr_equal(at, record->payload + record->bytes);
    }
    return cte__record_get_target(record, &target) || cte__record_get_tag(record, &tag) ||
           cte__record_get_file(record, &file) || cte__record_get_tag_gone(record, &id) || blobs ||
           record->kind == CTE__RECORD_COMPLETE;
}

/* Reads [0, count): each record must be one of the text's, in order; returns how many came. */
static int read_all(const struct text *text, const char *bytes, uint64_t count, uint64_t seed_nonce,
                    uint64_t *lost_bytes)
{
    struct cte__record record;
    uint64_t at = 0, gap_start, gap_end;
    int found = 0, next = 0;
    *lost_bytes = 0;
    for (;;) {
        bool more = cte__record_next(bytes, count, seed_nonce, &at, &record, &gap_start, &gap_end);
        *lost_bytes += gap_end - gap_start;
        if (!more)
            break;
        while (next < text->count && text->start[next] != record.at)
            next++;
        assert_true(next < text->count);
        assert_int_equal(record.kind, text->kind[next]);
        assert_memory_equal(bytes + text->start[next], text->buffer.bytes + text->start[next],
                            text->start[next + 1] - text->start[next]);
        assert_true(is_understood(&record));
        found++;
    }
    assert_int_equal(at, count);
    return found;
}

static void test_what_is_written_is_read(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), lost;
    for (int i = 0; i < ROUNDS; i++) {
        struct text *text = text_make(&seed, RECORDS_MAX);
        assert_int_equal(read_all(text, text->buffer.bytes, text->buffer.count, nonce, &lost),
                         RECORDS_MAX);
        assert_int_equal(lost, 0);
        /* Records of another journal are none. */
        assert_int_equal(read_all(text, text->buffer.bytes, text->buffer.count, nonce + 1, &lost),
                         0);
        assert_int_equal(lost, text->buffer.count);
        text_free(text);
    }
}

static void test_torn_at_every_length(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), lost;
    struct text *text = text_make(&seed, 30);
    for (size_t count = 0; count <= text->buffer.count; count++) {
        int whole = 0;
        while (whole < text->count && text->start[whole + 1] <= count)
            whole++;
        /* In memory of just that length, so that a reader beyond it is caught. */
        char *bytes = malloc(count + 1);
        assert_non_null(bytes);
        memcpy(bytes, text->buffer.bytes, count);
        assert_int_equal(read_all(text, bytes, count, nonce, &lost), whole);
        assert_int_equal(lost, count - text->start[whole]);
        free(bytes);
    }
    text_free(text);
}

/* One damaged byte costs the record it is in, and nothing else. */
static void test_every_damaged_byte(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), lost;
    struct text *text = text_make(&seed, 40);
    char *bytes = malloc(text->buffer.count);
    assert_non_null(bytes);
    memcpy(bytes, text->buffer.bytes, text->buffer.count);
    for (size_t i = 0; i < text->buffer.count; i++) {
        bytes[i] ^= (char)(1 + test_random(&seed) % 255);
        assert_int_equal(read_all(text, bytes, text->buffer.count, nonce, &lost), text->count - 1);
        bytes[i] = text->buffer.bytes[i];
    }
    free(bytes);
    text_free(text);
}

/* A piece that is missing, doubled or foreign. */
static void test_random_wounds(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), lost;
    for (int i = 0; i < ROUNDS * 10; i++) {
        struct text *text = text_make(&seed, 20);
        size_t count = text->buffer.count, at = test_random(&seed) % count;
        size_t length = 1 + test_random(&seed) % (count - at);
        char *bytes = malloc(count);
        assert_non_null(bytes);
        memcpy(bytes, text->buffer.bytes, count);
        for (size_t n = 0; n < length; n++)
            bytes[at + n] = (char)(test_random(&seed) >> 13);
        int hurt = 0;
        for (int r = 0; r < text->count; r++)
            hurt += text->start[r] < at + length && text->start[r + 1] > at;
        assert_in_range(read_all(text, bytes, count, nonce, &lost), text->count - hurt,
                        text->count);
        free(bytes);
        text_free(text);
    }
}

/* Payloads with a good checksum that nobody wrote. */
static void test_any_payload(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (int i = 0; i < ROUNDS * 500; i++) {
        struct text *text = text_make(&seed, 1);
        struct cte__record record;
        uint64_t at = 0, gap_start, gap_end;
        assert_true(cte__record_next(text->buffer.bytes, text->buffer.count, nonce, &at, &record,
                                     &gap_start, &gap_end));
        char *payload = malloc(record.bytes);
        assert_non_null(payload);
        memcpy(payload, record.payload, record.bytes);
        for (uint64_t n = 1 + test_random(&seed) % 4; n > 0; n--)
            payload[4 + test_random(&seed) % (record.bytes - 4)] ^= (char)test_random(&seed);
        record.payload = payload;
        record.bytes -= (uint32_t)(test_random(&seed) % 8 == 0 ? record.bytes / 3 : 0);
        is_understood(&record);
        free(payload);
        text_free(text);
    }
}

static void test_headers(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    char bytes[CTE__JOURNAL_HEADER_BYTES];
    struct cte__journal_header header = {.store_id = 5, .nonce = 6, .generation = 7}, got;
    cte__journal_header_write(header, bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] ^= (char)(1 + test_random(&seed) % 255);
        assert_int_equal(cte__journal_header_read(bytes, sizeof bytes, &got), CTE__JOURNAL_IS_OURS);
        assert_int_equal(got.store_id, 5);
        assert_int_equal(got.nonce, 6);
        assert_int_equal(got.generation, 7);
        cte__journal_header_write(header, bytes);
    }
    for (size_t count = 0; count < sizeof got; count++)
        assert_int_equal(cte__journal_header_read(bytes, count, &got), CTE__JOURNAL_IS_FOREIGN);
    bytes[20] ^= 1;
    bytes[CTE__JOURNAL_HEADER_BYTES / 2 + 20] ^= 1;
    assert_int_equal(cte__journal_header_read(bytes, sizeof bytes, &got), CTE__JOURNAL_IS_DAMAGED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_torn_at_every_length),
        cmocka_unit_test(test_every_damaged_byte),
        cmocka_unit_test(test_random_wounds),
        cmocka_unit_test(test_any_payload),
        cmocka_unit_test(test_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
