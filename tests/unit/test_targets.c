/* SPDX-License-Identifier: BSD-3-Clause */
/* Targets that come and go while the store is in use. */
#include "store_helpers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cte/blob.h>
#include <cte/target.h>

#include "file/client.h"

enum { MIB = 1 << 20, BLOB_BYTES = 200 << 10, BLOBS = 12 };

struct fixture {
    char directory[256], path[300]; /* of a file target that may be registered */
    cte_config *config, *extra;     /* `extra` names targets to register */
    cte_client *client;
    cte_tag *tag;
};

static struct fixture fixture_make(unsigned ram_mib, const char *more)
{
    struct fixture f;
    char error[512];
    test_directory(f.directory, sizeof f.directory);
    snprintf(f.path, sizeof f.path, "%s/extra", f.directory);
    f.config = test_config(f.directory, ram_mib, 0, more);
    assert_int_equal(cte_client_open(f.config, &f.client), CTE_OK);
    assert_int_equal(cte_tag_open(f.client, "tag", true, &f.tag), CTE_OK);
    assert_int_equal(cte_config_new(&f.extra, error, sizeof error), CTE_OK);
    assert_int_equal(cte_config_add_target(f.extra, "file", f.path, "16MiB", error, sizeof error),
                     CTE_OK);
    assert_int_equal(cte_config_add_target(f.extra, "ram", "more", "3MiB", error, sizeof error),
                     CTE_OK);
    assert_int_equal(cte_config_set(f.extra, "storage[1].score", "0.05", error, sizeof error),
                     CTE_OK);
    return f;
}

static void fixture_free(struct fixture *f)
{
    test_audit(f->client->store);
    cte_tag_close(f->tag);
    assert_int_equal(cte_tag_delete(f->client, "tag"), CTE_OK);
    assert_int_equal(cte_client_close(f->client), CTE_OK);
    cte_config_free(f->config);
    cte_config_free(f->extra);
    test_remove_directory(f->directory);
}

/* Targets without labels have names of their own all the same. */
static void test_without_labels(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, "  - {bdev_type: ram, capacity_limit: 8MiB}\n");
    cte_target_info infos[2], info;
    uint32_t count;
    assert_int_equal(cte_client_targets(f.client, infos, 2, &count), CTE_OK);
    assert_int_equal(count, 2);
    assert_string_not_equal(infos[0].name, infos[1].name);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cte_target_get_info(f.client, infos[i].name, &info), CTE_OK);
        assert_int_equal(info.capacity_bytes, infos[i].capacity_bytes);
    }
    fixture_free(&f);
}

static void fill(unsigned char *bytes, int number, int round)
{
    for (int i = 0; i < BLOB_BYTES; i++)
        bytes[i] = (unsigned char)(i * 7 + number * 31 + round * 101 + i / 4096);
}

static cte_status put(cte_tag *tag, int number, int round, float score)
{
    static _Thread_local unsigned char bytes[BLOB_BYTES];
    char name[32];
    snprintf(name, sizeof name, "blob %d", number);
    fill(bytes, number, round);
    return cte_blob_put(tag, name, 0, bytes, sizeof bytes, score, 0);
}

static bool holds(cte_tag *tag, int number, int round)
{
    static _Thread_local unsigned char bytes[BLOB_BYTES], expected[BLOB_BYTES];
    char name[32];
    uint64_t got = 0;
    snprintf(name, sizeof name, "blob %d", number);
    fill(expected, number, round);
    return cte_blob_get(tag, name, 0, bytes, sizeof bytes, &got) == CTE_OK && got == sizeof bytes &&
           memcmp(bytes, expected, sizeof bytes) == 0;
}

static void put_all(struct fixture *f, int round, float score)
{
    for (int i = 0; i < BLOBS; i++)
        assert_int_equal(put(f->tag, i, round, score), CTE_OK);
}

static void expect_all(cte_tag *tag, int round)
{
    for (int i = 0; i < BLOBS; i++)
        assert_true(holds(tag, i, round));
}

static uint64_t used_bytes(cte_client *client, const char *name)
{
    cte_target_info info;
    assert_int_equal(cte_target_get_info(client, name, &info), CTE_OK);
    return info.capacity_bytes - info.free_bytes;
}

static uint32_t target_count(cte_client *client)
{
    uint32_t count;
    assert_int_equal(cte_client_targets(client, NULL, 0, &count), CTE_OK);
    return count;
}

/* ---- coming and going ----------------------------------------------------------------------- */

static void test_register_and_unregister(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, NULL);
    cte_target_info info;
    assert_int_equal(cte_target_register(f.client, f.extra, 0), CTE_OK);
    assert_int_equal(cte_target_register(f.client, f.extra, 0), -EEXIST);
    assert_int_equal(target_count(f.client), 2);
    assert_int_equal(cte_target_get_info(f.client, f.path, &info), CTE_OK);
    assert_string_equal(info.kind, "file");
    assert_string_equal(info.name, f.path);
    assert_int_equal(info.state, CTE_TARGET_ACTIVE);
    assert_int_equal(info.capacity_bytes, 16 * MIB);
    assert_true(info.measured && !info.manual_score && info.bytes_per_s > 0 && info.latency_ns > 0);
    assert_true(info.score > 0 && info.score < 1.0f); /* memory is there too */

    put_all(&f, 1, 0.0f); /* what deserves nothing goes to the slower one */
    assert_int_equal(used_bytes(f.client, f.path), BLOBS * BLOB_BYTES);
    assert_int_equal(cte_target_get_info(f.client, f.path, &info), CTE_OK);
    assert_int_equal(info.bytes_written, BLOBS * BLOB_BYTES);
    assert_true(info.writes >= BLOBS);
    test_audit(f.client->store);

    assert_int_equal(cte_target_unregister(f.client, f.path), CTE_OK);
    assert_int_equal(cte_target_unregister(f.client, f.path), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_target_get_info(f.client, f.path, &info), CTE_ERR_NOT_FOUND);
    assert_int_not_equal(access(f.path, F_OK), 0);
    assert_int_equal(target_count(f.client), 1);
    expect_all(f.tag, 1);
    fixture_free(&f);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    struct fixture f = fixture_make(4, "targets: {max_targets: 3}\n");
    char error[256], label[16];
    cte_target_info info;
    uint32_t count;
    assert_int_equal(cte_client_targets(f.client, &info, 1, &count), CTE_OK);
    assert_int_equal(cte_target_unregister(f.client, info.name), -EBUSY); /* the last one */
    assert_int_equal(cte_target_unregister(f.client, "nowhere"), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_target_unregister(f.client, ""), CTE_ERR_NOT_FOUND);
    assert_int_equal(cte_target_unregister(f.client, NULL), -EINVAL);
    assert_int_equal(cte_target_register(f.client, f.extra, 2), -EINVAL);
    assert_int_equal(cte_target_register(f.client, NULL, 0), -EINVAL);

    /* More data than the others hold: refused, and in use as before. */
    assert_int_equal(cte_target_register(f.client, f.extra, 0), CTE_OK);
    for (int i = 0; i < 40; i++)
        assert_int_equal(put(f.tag, i, 1, 0.0f), CTE_OK);
    assert_int_equal(cte_target_unregister(f.client, f.path), -ENOSPC);
    assert_int_equal(cte_target_get_info(f.client, f.path, &info), CTE_OK);
    assert_int_equal(info.state, CTE_TARGET_ACTIVE);
    for (int i = 0; i < 40; i++)
        assert_true(holds(f.tag, i, 1));
    assert_int_equal(put(f.tag, 41, 1, 0.0f), CTE_OK);

    /* No more than there may be. */
    assert_int_equal(cte_target_register(f.client, f.extra, 1), CTE_OK);
    assert_int_equal(cte_target_get_info(f.client, "more", &info), CTE_OK);
    assert_string_equal(info.label, "more");
    assert_true(info.manual_score && info.score == 0.05f);
    snprintf(label, sizeof label, "third");
    assert_int_equal(cte_config_add_target(f.extra, "ram", label, "1MiB", error, sizeof error),
                     CTE_OK);
    assert_int_equal(cte_target_register(f.client, f.extra, 2), -EUSERS);
    assert_int_equal(cte_target_unregister(f.client, "more"), CTE_OK);

    /* A path that holds what is not ours stays as it is. */
    char foreign[300];
    snprintf(foreign, sizeof foreign, "%s/foreign", f.directory);
    FILE *file = fopen(foreign, "w");
    assert_non_null(file);
    fputs("precious", file);
    fclose(file);
    assert_int_equal(cte_config_add_target(f.extra, "file", foreign, "1MiB", error, sizeof error),
                     CTE_OK);
    assert_int_equal(cte_target_register(f.client, f.extra, 3), -EEXIST);
    assert_int_equal(target_count(f.client), 2);
    assert_int_equal(cte_config_add_target(f.extra, "ram", "vast", "900TiB", error, sizeof error),
                     CTE_OK);
    assert_int_equal(cte_target_register(f.client, f.extra, 4), -EFBIG);
    assert_int_equal(target_count(f.client), 2);
    fixture_free(&f);
}

/* A number that is used again, by targets cut differently. */
static void test_places_are_used_again(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, NULL);
    put_all(&f, 0, 0.0f);
    for (int round = 1; round <= 6; round++) {
        const char *name = round % 2 ? f.path : "more";
        assert_int_equal(cte_target_register(f.client, f.extra, round % 2 ? 0 : 1), CTE_OK);
        assert_int_equal(f.client->store->header->target_count, 2);
        put_all(&f, round, 0.0f);
        assert_true(used_bytes(f.client, name) >= BLOBS * BLOB_BYTES);
        assert_int_equal(cte_target_unregister(f.client, name), CTE_OK);
        expect_all(f.tag, round);
        test_audit(f.client->store);
    }
    fixture_free(&f);
}

static void test_taken_back_while_leaving(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, NULL);
    struct cte__target_leave leave;
    cte_target_info info;
    assert_int_equal(cte_target_register(f.client, f.extra, 0), CTE_OK);
    put_all(&f, 1, 0.0f);
    /* As if somebody had died here. */
    assert_int_equal(cte__target_leave_begin(f.client->store, f.path, &leave), CTE_OK);
    assert_int_equal(cte_target_get_info(f.client, f.path, &info), CTE_OK);
    assert_int_equal(info.state, CTE_TARGET_DRAINING);
    assert_int_equal(cte__target_leave_finish(f.client->store, &leave), -EAGAIN);
    assert_int_equal(put(f.tag, 100, 1, 0.0f), CTE_OK); /* not there */
    assert_int_equal(used_bytes(f.client, f.path), BLOBS * BLOB_BYTES);
    assert_int_equal(cte_target_register(f.client, f.extra, 0), CTE_OK);
    assert_int_equal(cte__target_leave_finish(f.client->store, &leave), -ECANCELED);
    assert_int_equal(put(f.tag, 101, 1, 0.0f), CTE_OK);
    assert_int_equal(used_bytes(f.client, f.path), (BLOBS + 1) * BLOB_BYTES);
    expect_all(f.tag, 1);
    fixture_free(&f);
}

/* ---- with others ---------------------------------------------------------------------------- */

/* What a process of its own does until it is told to stop; 0 if all it saw was right. */
static int put_and_get(const struct fixture *f, int first, const atomic_bool *stop)
{
    cte_client *client;
    cte_tag *tag;
    if (cte_client_open(f->config, &client) != CTE_OK ||
        cte_tag_open(client, "tag", false, &tag) != CTE_OK)
        return 1;
    int wrong = 0;
    for (int round = 1; !*stop && wrong == 0; round++)
        for (int i = first; i < first + 4 && wrong == 0; i++) {
            wrong = put(tag, i, round, i % 2 ? 0.0f : 1.0f) != CTE_OK ? 2 : 0;
            if (wrong == 0 && !holds(tag, i, round))
                wrong = 3;
        }
    cte_tag_close(tag);
    return cte_client_close(client) != CTE_OK ? 4 : wrong;
}

static void test_while_others_put_and_get(void **state)
{
    (void)state;
    enum { PROCESSES = 2, ROUNDS = 8 };
    struct fixture f = fixture_make(16, NULL);
    atomic_bool *stop =
        mmap(NULL, sizeof *stop, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[PROCESSES];
    assert_true(stop != MAP_FAILED);
    put_all(&f, 0, 0.0f);
    fflush(NULL);
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            _exit(put_and_get(&f, 100 * (i + 1), stop));
    }
    for (int round = 0; round < ROUNDS; round++) {
        int which = round % 2;
        assert_int_equal(cte_target_register(f.client, f.extra, (uint32_t)which), CTE_OK);
        put_all(&f, round + 1, 0.0f);
        assert_int_equal(cte_target_unregister(f.client, which ? "more" : f.path), CTE_OK);
        expect_all(f.tag, round + 1);
    }
    *stop = true;
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    munmap(stop, sizeof *stop);
    fixture_free(&f);
}

struct worker {
    struct fixture *f;
    int first;
    atomic_bool *stop;
    int wrong;
};

static void *work(void *context)
{
    struct worker *w = context;
    for (int round = 1; !*w->stop && w->wrong == 0; round++)
        for (int i = w->first; i < w->first + 3 && w->wrong == 0; i++)
            if (put(w->f->tag, i, round, 0.0f) != CTE_OK || !holds(w->f->tag, i, round))
                w->wrong = round;
    return NULL;
}

static void test_with_threads(void **state)
{
    (void)state;
    enum { THREADS = 2, ROUNDS = 6 };
    struct fixture f = fixture_make(16, NULL);
    atomic_bool stop = false;
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){&f, 100 * (i + 1), &stop, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        int which = round % 2;
        assert_int_equal(cte_target_register(f.client, f.extra, (uint32_t)which), CTE_OK);
        put_all(&f, round, 0.0f);
        assert_int_equal(cte_target_unregister(f.client, which ? "more" : f.path), CTE_OK);
        expect_all(f.tag, round);
    }
    stop = true;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
    fixture_free(&f);
}

/* ---- health --------------------------------------------------------------------------------- */

static void damage_and_read(struct fixture *f)
{
    static unsigned char bytes[BLOB_BYTES];
    uint64_t got;
    assert_int_equal(cte_target_register(f->client, f->extra, 0), CTE_OK);
    put_all(f, 1, 0.0f);
    assert_int_equal(truncate(f->path, 0), 0); /* the bytes are gone: reads fail */
    for (int i = 0; i < 4; i++)
        assert_int_not_equal(cte_blob_get(f->tag, "blob 1", 0, bytes, sizeof bytes, &got), CTE_OK);
}

static void test_failing_targets_get_nothing_new(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, NULL);
    cte_target_info info;
    damage_and_read(&f);
    assert_int_equal(cte_target_get_info(f.client, f.path, &info), CTE_OK);
    assert_int_equal(info.state, CTE_TARGET_FAILED);
    assert_true(info.failures >= 3);
    assert_int_equal(put(f.tag, 50, 2, 0.0f), CTE_OK);
    assert_int_equal(used_bytes(f.client, f.path), BLOBS * BLOB_BYTES);
    /* Its data cannot be moved; nothing is lost that is not lost already. */
    assert_int_not_equal(cte_target_unregister(f.client, f.path), CTE_OK);
    assert_int_equal(cte_target_get_info(f.client, f.path, &info), CTE_OK);
    assert_int_equal(info.state, CTE_TARGET_FAILED);
    assert_int_equal(used_bytes(f.client, f.path), BLOBS * BLOB_BYTES);
    /* New data in place of the old: then it can go. */
    put_all(&f, 3, 1.0f);
    assert_int_equal(used_bytes(f.client, f.path), 0);
    expect_all(f.tag, 3);
    fixture_free(&f);
}

static void test_failing_targets_may_be_kept(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, "targets: {auto_unregister_failed: false}\n");
    cte_target_info info;
    damage_and_read(&f);
    assert_int_equal(cte_target_get_info(f.client, f.path, &info), CTE_OK);
    assert_int_equal(info.state, CTE_TARGET_ACTIVE);
    assert_true(info.failures >= 3);
    put_all(&f, 3, 1.0f);
    fixture_free(&f);
}

/* ---- scores --------------------------------------------------------------------------------- */

static void test_scores_are_computed_anew(void **state)
{
    (void)state;
    struct fixture f = fixture_make(16, NULL);
    char error[256];
    cte_target_info infos[4];
    uint32_t count;
    assert_int_equal(cte_target_register(f.client, f.extra, 0), CTE_OK);
    assert_int_equal(cte_client_targets(f.client, infos, 4, &count), CTE_OK);
    assert_int_equal(count, 2);
    assert_string_equal(infos[0].kind, "ram");
    assert_true(infos[0].score == 1.0f && infos[1].score < 1.0f);
    /* With the memory gone the file is the fastest there is. */
    char ram[256];
    snprintf(ram, sizeof ram, "%s", infos[0].name);
    assert_int_equal(cte_target_unregister(f.client, ram), CTE_OK);
    assert_int_equal(cte_target_stat(f.client), CTE_OK);
    assert_int_equal(cte_client_targets(f.client, infos, 4, &count), CTE_OK);
    assert_int_equal(count, 1);
    assert_string_equal(infos[0].kind, "file");
    assert_true(infos[0].score == 1.0f);
    assert_int_equal(cte_config_set(f.extra, "storage[1].score", "0.2", error, sizeof error),
                     CTE_OK);
    assert_int_equal(cte_target_register(f.client, f.extra, 1), CTE_OK);
    assert_int_equal(cte_target_stat(f.client), CTE_OK);
    assert_int_equal(cte_target_get_info(f.client, "more", &infos[0]), CTE_OK);
    assert_true(infos[0].score == 0.2f); /* as given */
    put_all(&f, 1, 1.0f);
    expect_all(f.tag, 1);
    fixture_free(&f);
}

/* ---- dying ---------------------------------------------------------------------------------- */

/* Killed at random moments while it registers or unregisters: the store is whole, and whoever comes
 * next gets it done. */
static void test_killed_on_the_way(void **state)
{
    (void)state;
    enum { ROUNDS = 60, MOMENT_NS_MAX = 12 * 1000 * 1000 };
    struct fixture f = fixture_make(16, NULL);
    uint64_t seed = test_seed();
    int killed = 0;
    put_all(&f, 0, 0.0f);
    for (int round = 1; round <= ROUNDS; round++) {
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            for (int i = 0;; i++) {
                cte_target_register(f.client, f.extra, 0);
                for (int k = 0; k < BLOBS; k++)
                    put(f.tag, 200 + k, i, 0.0f);
                cte_target_unregister(f.client, f.path);
            }
        }
        struct timespec nap = {0, (long)(test_random(&seed) % MOMENT_NS_MAX)};
        nanosleep(&nap, NULL);
        assert_int_equal(kill(pid, SIGKILL), 0);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        killed += WIFSIGNALED(status);

        cte_status again = cte_target_register(f.client, f.extra, 0);
        assert_true(again == CTE_OK || again == -EEXIST);
        cte__store_sweep(f.client->store);
        put_all(&f, round, 0.0f);
        test_audit(f.client->store);
        assert_int_equal(cte_target_unregister(f.client, f.path), CTE_OK);
        assert_int_not_equal(access(f.path, F_OK), 0);
        expect_all(f.tag, round);
        test_audit(f.client->store);
    }
    assert_int_equal(killed, ROUNDS);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_labels),
        cmocka_unit_test(test_register_and_unregister),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_places_are_used_again),
        cmocka_unit_test(test_taken_back_while_leaving),
        cmocka_unit_test(test_while_others_put_and_get),
        cmocka_unit_test(test_with_threads),
        cmocka_unit_test(test_failing_targets_get_nothing_new),
        cmocka_unit_test(test_failing_targets_may_be_kept),
        cmocka_unit_test(test_scores_are_computed_anew),
        cmocka_unit_test(test_killed_on_the_way),
    };
    return cmocka_run_group_tests_name("targets", tests, NULL, NULL);
}
