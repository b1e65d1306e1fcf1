/* SPDX-License-Identifier: BSD-3-Clause */
/* Processes killed, and calls failed, at every step of making, joining, leaving and sweeping a
 * store: the next one finds it usable, with what was in it. */
#include "store_helpers.h"

#include <errno.h>

#include "blob/blob.h"
#include "points.h"
#include "process.h"

enum { STEPS_MAX = 100000, BYTES = 20000 };

struct place {
    char directory[256];
    cte_config *config;
    struct cte__store *store; /* of the survivor, where a test has one */
    struct cte__user_tag tag;
    long step;
    int error; /* 0: kill */
};

static void place_make(struct place *place)
{
    memset(place, 0, sizeof *place);
    test_directory(place->directory, sizeof place->directory);
    place->config = test_config(place->directory, 1, 1, "");
}

static void place_remove(struct place *place)
{
    char store[300], target[300];
    snprintf(store, sizeof store, "%s/cte-%u-test", place->directory, (unsigned)geteuid());
    snprintf(target, sizeof target, "%s/target", place->directory);
    assert_int_equal(access(store, F_OK), -1);
    assert_int_equal(access(target, F_OK), -1);
    cte_config_free(place->config);
    test_remove_directory(place->directory);
}

static struct cte__blob_key key_of(const struct cte__user_tag *tag)
{
    return (struct cte__blob_key){.tag = tag->unit,
                                  .type = CTE__ENTRY_BLOB,
                                  .name = "blob",
                                  .name_bytes = 4,
                                  .tag_id = tag->id};
}

static cte_status put(struct cte__store *store, const struct cte__user_tag *tag, char value)
{
    static char bytes[BYTES];
    struct cte__blob_key key = key_of(tag);
    struct cte__piece piece = {100, sizeof bytes, bytes};
    memset(bytes, value, sizeof bytes);
    return cte__blob_put(store, &key, &piece, 1, 1.0f, false);
}

/* The blob's bytes are all the same; returns which. */
static char get(struct cte__store *store, const struct cte__user_tag *tag)
{
    static char bytes[BYTES];
    struct cte__blob_key key = key_of(tag);
    struct cte__piece piece = {100, sizeof bytes, bytes};
    uint64_t size;
    assert_int_equal(cte__blob_get(store, &key, &piece, 1, NULL, &size), CTE_OK);
    assert_int_equal(size, 100 + BYTES);
    for (size_t i = 1; i < sizeof bytes; i++)
        assert_int_equal(bytes[i], bytes[0]);
    return bytes[0];
}

static cte_status make_tag(struct cte__store *store, struct cte__user_tag *tag)
{
    return cte__user_tag_find(store, "tag", 3, CTE__USER_TAG_CREATE, tag);
}

static cte_status remove_tag(struct cte__store *store)
{
    struct cte__user_tag tag;
    cte_status status = cte__user_tag_find(store, "tag", 3, CTE__USER_TAG_BURY, &tag);
    if (status != CTE_OK)
        return status;
    struct cte__blob_key key = key_of(&tag);
    key.dying = true;
    cte__shards_pass(store);
    status = cte__blob_remove(store, &key);
    if (status == CTE_OK || status == CTE_ERR_NOT_FOUND)
        cte__user_tag_forget(store, "tag", 3, &tag);
    return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
}

static void arm(const struct place *place)
{
    if (place->error != 0)
        points_fail_at(POINT_ANY, place->step, place->error);
    else
        points_kill_at(POINT_ANY, place->step);
}

/* Makes the store, uses it, and removes it by leaving. */
static int whole_life(void *context)
{
    struct place *place = context;
    struct cte__user_tag tag;
    struct cte__store *store;
    arm(place);
    if (cte__store_attach(place->config, &store) != CTE_OK)
        return 1;
    if (make_tag(store, &tag) != CTE_OK || put(store, &tag, 'x') != CTE_OK ||
        remove_tag(store) != CTE_OK)
        return 1;
    cte__store_detach(store);
    points_disarm();
    return 0;
}

/* Joins the store that the next process finds after a death, and leaves it empty. */
static void use_and_remove(struct place *place)
{
    struct cte__user_tag tag;
    struct cte__store *store;
    assert_int_equal(cte__store_attach(place->config, &store), CTE_OK);
    test_audit(store);
    assert_int_equal(make_tag(store, &tag), CTE_OK);
    if (tag.dead) { /* somebody died while deleting it */
        assert_int_equal(remove_tag(store), CTE_OK);
        assert_int_equal(make_tag(store, &tag), CTE_OK);
    }
    assert_int_equal(put(store, &tag, 'y'), CTE_OK);
    assert_int_equal(get(store, &tag), 'y');
    assert_int_equal(remove_tag(store), CTE_OK);
    test_audit(store);
    cte__store_detach(store);
}

static void test_killed_while_making_and_removing(void **state)
{
    (void)state;
    struct place place;
    enum process_end end = PROCESS_KILLED;
    place_make(&place);
    while (end == PROCESS_KILLED) {
        assert_true(++place.step < STEPS_MAX);
        end = process_run(whole_life, &place);
        use_and_remove(&place);
    }
    printf("kills %ld\n", place.step - 1);
    assert_true(place.step > 50);
    place_remove(&place);
}

static void test_failed_while_making(void **state)
{
    static const int errors[] = {ENOMEM, ENOSPC, EIO};
    (void)state;
    for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++) {
        struct place place;
        bool fired = true;
        place_make(&place);
        place.error = errors[e];
        while (fired) {
            struct cte__store *store;
            assert_true(++place.step < STEPS_MAX);
            arm(&place);
            cte_status status = cte__store_attach(place.config, &store);
            points_disarm();
            fired = points_fired();
            if (status == CTE_OK)
                cte__store_detach(store);
            else
                assert_true(fired);
            use_and_remove(&place);
        }
        printf("error %d: failures %ld\n", errors[e], place.step - 1);
        place_remove(&place);
    }
}

static int join_and_leave(void *context)
{
    struct place *place = context;
    struct cte__store *store;
    arm(place);
    if (cte__store_attach(place->config, &store) != CTE_OK)
        return 1;
    cte__store_detach(store);
    points_disarm();
    return 0;
}

/* A store that nobody is attached to keeps what is in it. */
static void test_killed_while_joining_and_leaving(void **state)
{
    (void)state;
    struct place place;
    struct cte__store *store;
    enum process_end end = PROCESS_KILLED;
    place_make(&place);
    assert_int_equal(cte__store_attach(place.config, &store), CTE_OK);
    assert_int_equal(make_tag(store, &place.tag), CTE_OK);
    assert_int_equal(put(store, &place.tag, 'k'), CTE_OK);
    cte__store_detach(store);
    while (end == PROCESS_KILLED) {
        assert_true(++place.step < STEPS_MAX);
        end = process_run(join_and_leave, &place);
        assert_int_equal(cte__store_attach_existing(place.config, &store), CTE_OK);
        test_audit(store);
        assert_int_equal(get(store, &place.tag), 'k');
        cte__store_detach(store);
    }
    printf("kills %ld\n", place.step - 1);
    assert_true(place.step > 10);
    use_and_remove(&place);
    place_remove(&place);
}

static int put_until_killed(void *context)
{
    struct place *place = context;
    arm(place);
    cte_status status = put(place->store, &place->tag, 'b');
    points_disarm();
    return status == CTE_OK ? 0 : 1;
}

static int sweep_until_killed(void *context)
{
    struct place *place = context;
    arm(place);
    cte__store_sweep(place->store);
    points_disarm();
    return 0;
}

/* Somebody dies in a put, the next one while taking back what that one left, and so on. */
static void test_killed_while_sweeping(void **state)
{
    (void)state;
    struct place place, sweeper;
    unsigned long sweeps_killed = 0;
    place_make(&place);
    assert_int_equal(cte__store_attach(place.config, &place.store), CTE_OK);
    assert_int_equal(make_tag(place.store, &place.tag), CTE_OK);
    enum process_end put_end = PROCESS_KILLED;
    /* Neighbouring steps leave much the same behind: every fifth is enough. */
    for (place.step = 1; put_end == PROCESS_KILLED; place.step += 5) {
        enum process_end sweep_end = PROCESS_KILLED;
        sweeper = place;
        /* Most points of a sweep are the locks of the index's parts. */
        for (sweeper.step = 1; sweep_end == PROCESS_KILLED;
             sweeper.step += sweeper.step < 12 ? 1 : 251) {
            assert_true(sweeper.step < STEPS_MAX);
            assert_int_equal(put(place.store, &place.tag, 'a'), CTE_OK);
            put_end = process_run(put_until_killed, &place);
            sweep_end = process_run(sweep_until_killed, &sweeper);
            sweeps_killed += sweep_end == PROCESS_KILLED;
            cte__store_sweep(place.store);
            test_audit(place.store);
            char now = get(place.store, &place.tag);
            assert_true(now == 'a' || now == 'b');
        }
    }
    printf("sweeps killed %lu\n", sweeps_killed);
    assert_true(sweeps_killed > 20);
    assert_int_equal(remove_tag(place.store), CTE_OK);
    test_audit(place.store);
    cte__store_detach(place.store);
    place_remove(&place);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_while_making_and_removing),
        cmocka_unit_test(test_failed_while_making),
        cmocka_unit_test(test_killed_while_joining_and_leaving),
        cmocka_unit_test(test_killed_while_sweeping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    setenv("CTE_LOG_LEVEL", "off", 0);
    return process_guard(all_tests, 250);
}
