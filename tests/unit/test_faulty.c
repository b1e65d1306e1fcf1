/* SPDX-License-Identifier: BSD-3-Clause */
/* Blobs on targets that fail, lie, or are slow: whole, or an error; never wrong bytes. */
#include "store_helpers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include <cte/blob.h>

#include "file/client.h"
#include "support/faulty.h"

enum { BLOB_BYTES = 3 * 65536 + 1000, FAULTS_MAX = 64, ROUNDS = 150 };

/* A store with a ram target (the faster one) and a file target, each with a faulty one before it.
 */
struct fixture {
    char directory[256];
    cte_config *config;
    cte_client *client;
    cte_tag *tag;
    struct cte__target_handle *ram, *file;
};

static unsigned char old_bytes[BLOB_BYTES], new_bytes[BLOB_BYTES], seen[BLOB_BYTES];

static void fill(unsigned char *bytes, uint64_t seed)
{
    for (size_t i = 0; i + 8 <= BLOB_BYTES; i += 8) {
        uint64_t word = test_random(&seed);
        memcpy(bytes + i, &word, 8);
    }
}

static void attach(struct fixture *f)
{
    assert_int_equal(cte_client_open(f->config, &f->client), CTE_OK);
    assert_int_equal(cte_tag_open(f->client, "t", true, &f->tag), CTE_OK);
    f->ram = &f->client->store->targets[0];
    f->file = &f->client->store->targets[1];
    faulty_wrap(f->ram);
    faulty_wrap(f->file);
}

static struct fixture fixture_make(void)
{
    struct fixture f = {0};
    test_directory(f.directory, sizeof f.directory);
    f.config = test_config(f.directory, 4, 4, "");
    attach(&f);
    fill(old_bytes, 1);
    fill(new_bytes, 2);
    return f;
}

static void fixture_free(struct fixture *f)
{
    faulty_set(f->ram, "");
    faulty_set(f->file, "");
    cte_tag_close(f->tag);
    assert_int_equal(cte_tag_delete(f->client, "t"), CTE_OK);
    test_audit(f->client->store);
    assert_int_equal(cte_client_close(f->client), CTE_OK);
    cte_config_free(f->config);
    test_remove_directory(f->directory);
}

static cte_status put(struct fixture *f, const unsigned char *bytes)
{
    return cte_blob_put(f->tag, "b", 0, bytes, BLOB_BYTES, 1.0f, 0);
}

static cte_status get(struct fixture *f)
{
    memset(seen, 0xee, sizeof seen);
    return cte_blob_get(f->tag, "b", 0, seen, BLOB_BYTES, NULL);
}

static void expect(struct fixture *f, const unsigned char *bytes)
{
    assert_int_equal(get(f), CTE_OK);
    assert_memory_equal(seen, bytes, BLOB_BYTES);
}

/* `which`: " ACTION" for the nth operation alone, "+ ACTION" for all from there on. */
static void set_rule(struct cte__target_handle *target, const char *operation, int n,
                     const char *which)
{
    char rule[64];
    snprintf(rule, sizeof rule, "%s %d%s", operation, n, which);
    faulty_set(target, rule);
}

static void test_failing_writes_go_to_the_next_target(void **state)
{
    (void)state;
    static const char *const rules[] = {"write 1+ fail 5", "write 1+ fail 28", "write 1+ tear 5"};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        struct fixture f = fixture_make();
        faulty_set(f.ram, rules[i]);
        assert_int_equal(put(&f, old_bytes), CTE_OK);
        assert_true(faulty_fired(f.ram) > 0);
        expect(&f, old_bytes);
        assert_int_equal(put(&f, new_bytes), CTE_OK);
        expect(&f, new_bytes);
        test_audit(f.client->store);
        fixture_free(&f);
    }
}

/* The nth write of an overwrite fails on one target, then on both. */
static void test_every_write_may_fail(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    assert_int_equal(put(&f, old_bytes), CTE_OK);
    bool more = true;
    for (int n = 1; more; n++) {
        assert_true(n < FAULTS_MAX);
        set_rule(f.ram, "write", n, " fail 5");
        assert_int_equal(put(&f, n % 2 ? new_bytes : old_bytes), CTE_OK);
        more = faulty_fired(f.ram) > 0;
        expect(&f, n % 2 ? new_bytes : old_bytes);
    }
    faulty_set(f.ram, "");
    assert_int_equal(put(&f, old_bytes), CTE_OK);
    more = true;
    for (int n = 1; more; n++) {
        assert_true(n < FAULTS_MAX);
        set_rule(f.ram, "write", n, "+ fail 5");
        faulty_set(f.file, "write 1+ fail 5");
        cte_status rc = put(&f, new_bytes);
        more = faulty_fired(f.ram) > 0;
        assert_int_equal(rc == CTE_OK, !more);
        expect(&f, more ? old_bytes : new_bytes);
        test_audit(f.client->store);
    }
    fixture_free(&f);
}

/* What was said to be written but was not is told from what was. */
static void check_lies(const char *which, bool replace)
{
    bool more = true;
    int noticed = 0;
    for (int n = 1; more; n++) {
        struct fixture f = fixture_make();
        assert_true(n < FAULTS_MAX);
        if (replace)
            assert_int_equal(put(&f, old_bytes), CTE_OK);
        set_rule(f.ram, "write", n, which);
        assert_int_equal(put(&f, new_bytes), CTE_OK);
        more = faulty_fired(f.ram) > 0;
        cte_status rc = get(&f);
        if (more)
            assert_int_equal(rc, CTE_ERR_CHECKSUM);
        else
            expect(&f, new_bytes);
        noticed += rc == CTE_ERR_CHECKSUM;
        /* Written over as a whole, it is good again. */
        faulty_set(f.ram, "");
        assert_int_equal(put(&f, old_bytes), CTE_OK);
        expect(&f, old_bytes);
        fixture_free(&f);
    }
    assert_true(noticed > 0);
}

static void test_dropped_writes_are_noticed(void **state)
{
    (void)state;
    check_lies(" drop", false);
    check_lies(" drop", true);
}

static void test_torn_writes_are_noticed(void **state)
{
    (void)state;
    check_lies(" tear", false);
    check_lies(" tear", true);
}

static void test_failing_reads_are_errors(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    assert_int_equal(put(&f, old_bytes), CTE_OK);
    bool more = true;
    for (int n = 1; more; n++) {
        assert_true(n < FAULTS_MAX);
        set_rule(f.ram, "read", n, " fail 5");
        cte_status rc = get(&f);
        more = faulty_fired(f.ram) > 0;
        assert_int_equal(rc, more ? -EIO : CTE_OK);
        faulty_set(f.ram, "");
        expect(&f, old_bytes);
    }
    /* A put of a part that needs the rest: the old state or an error, and no new garbage. */
    faulty_set(f.ram, "read 1+ fail 5");
    cte_status rc = cte_blob_put(f.tag, "b", 10, new_bytes + 10, 100, 1.0f, 0);
    faulty_set(f.ram, "");
    if (rc == CTE_OK)
        memcpy(old_bytes + 10, new_bytes + 10, 100);
    expect(&f, old_bytes);
    fixture_free(&f);
}

/* Random puts and gets on targets that do everything wrong now and then: what is read is right or
 * an error.  A blob whose put failed is what it was before. */
static void test_random_faults_never_give_wrong_bytes(void **state)
{
    static const struct {
        const char *operation, *which;
    } rules[] = {{"write", " fail 5"}, {"write", " fail 28"}, {"write", " drop"},
                 {"write", " tear"},   {"write", " tear 5"},  {"read", " fail 5"},
                 {"write", " delay 1"}};
    (void)state;
    uint64_t seed = test_seed();
    struct fixture f = fixture_make();
    int right = 0, wrong = 0;
    assert_int_equal(put(&f, old_bytes), CTE_OK);
    for (int round = 0; round < ROUNDS; round++) {
        size_t rule = test_random(&seed) % (sizeof rules / sizeof rules[0]);
        set_rule(test_random(&seed) % 4 ? f.ram : f.file, rules[rule].operation,
                 1 + (int)(test_random(&seed) % 3), rules[rule].which);
        fill(new_bytes, test_random(&seed));
        size_t offset = test_random(&seed) % BLOB_BYTES;
        size_t bytes = 1 + test_random(&seed) % (BLOB_BYTES - offset);
        if (round % 10 == 9) /* else everything is bad soon, and stays so */
            offset = 0, bytes = BLOB_BYTES;
        cte_status rc = cte_blob_put(f.tag, "b", offset, new_bytes + offset, bytes, 1.0f, 0);
        if (rc == CTE_OK)
            memcpy(old_bytes + offset, new_bytes + offset, bytes);
        rc = get(&f);
        if (rc == CTE_OK)
            assert_memory_equal(seen, old_bytes, BLOB_BYTES);
        else
            assert_true(rc == CTE_ERR_CHECKSUM || rc == -EIO);
        right += rc == CTE_OK;
        wrong += rc != CTE_OK;
    }
    assert_true(right > 0 && wrong > 0);
    fixture_free(&f);
}

/* The process dies with half of a write done. */
static void test_death_in_a_write_keeps_the_old_blob(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    assert_int_equal(put(&f, old_bytes), CTE_OK);
    int killed = 0;
    bool more = true;
    for (int n = 1; more; n++) {
        assert_true(n < FAULTS_MAX);
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            set_rule(f.ram, "write", n, " tear kill");
            _exit(put(&f, new_bytes) == CTE_OK ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        more = WIFSIGNALED(status);
        assert_int_equal(status, more ? SIGKILL : 0);
        killed += more;
        expect(&f, more ? old_bytes : new_bytes);
        cte__store_sweep(f.client->store);
        test_audit(f.client->store);
    }
    assert_true(killed > 0);
    fixture_free(&f);
}

static void *put_slowly(void *opaque)
{
    struct fixture *f = opaque;
    static cte_status rc;
    rc = put(f, new_bytes);
    return &rc;
}

/* While a slow target takes a put, the blob is what it was; then it is the new one. */
static void test_slow_writes_are_not_seen_in_parts(void **state)
{
    (void)state;
    struct fixture f = fixture_make();
    pthread_t thread;
    void *rc;
    assert_int_equal(put(&f, old_bytes), CTE_OK);
    faulty_set(f.ram, "write 1+ delay 30");
    assert_int_equal(pthread_create(&thread, NULL, put_slowly, &f), 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(get(&f), CTE_OK);
        if (memcmp(seen, old_bytes, BLOB_BYTES) != 0)
            assert_memory_equal(seen, new_bytes, BLOB_BYTES);
    }
    assert_int_equal(pthread_join(thread, &rc), 0);
    assert_int_equal(*(cte_status *)rc, CTE_OK);
    assert_true(faulty_fired(f.ram) > 0);
    expect(&f, new_bytes);
    fixture_free(&f);
}

int main(void)
{
    setenv("CTE_LOG_LEVEL", "off", 0); /* errors are what this is about */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failing_writes_go_to_the_next_target),
        cmocka_unit_test(test_every_write_may_fail),
        cmocka_unit_test(test_dropped_writes_are_noticed),
        cmocka_unit_test(test_torn_writes_are_noticed),
        cmocka_unit_test(test_failing_reads_are_errors),
        cmocka_unit_test(test_random_faults_never_give_wrong_bytes),
        cmocka_unit_test(test_death_in_a_write_keeps_the_old_blob),
        cmocka_unit_test(test_slow_writes_are_not_seen_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
