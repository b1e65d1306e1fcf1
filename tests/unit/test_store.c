/* SPDX-License-Identifier: BSD-3-Clause */
/* Life of a store: who may have it, who has it, what becomes of it. */
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "blob/blob.h"
#include "store/store_internal.h"

enum { NAMES = 100000, PROCESSES = 4 };

struct fixture {
    char directory[256];
    char store[300];   /* its directory */
    char segment[320]; /* its segment */
    cte_config *config;
};

static struct fixture fixture_make(const char *more)
{
    struct fixture f;
    test_directory(f.directory, sizeof f.directory);
    snprintf(f.store, sizeof f.store, "%s/cte-%u-test", f.directory, (unsigned)geteuid());
    snprintf(f.segment, sizeof f.segment, "%s/segment", f.store);
    f.config = test_config(f.directory, 1, 1, more);
    return f;
}

static void fixture_free(struct fixture *f)
{
    cte_config_free(f->config);
    test_remove_directory(f->directory);
}

static struct cte__store *attach(const struct fixture *f)
{
    struct cte__store *store;
    assert_int_equal(cte__store_attach(f->config, &store), CTE_OK);
    return store;
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void put_something(struct cte__store *store)
{
    struct cte__user_tag tag;
    assert_int_equal(cte__user_tag_find(store, "tag", 3, CTE__USER_TAG_CREATE, &tag), CTE_OK);
    struct cte__blob_key key = {.tag = tag.unit,
                                .type = CTE__ENTRY_BLOB,
                                .name = "blob",
                                .name_bytes = 4,
                                .tag_id = tag.id};
    struct cte__piece piece = {0, 5, "hello"};
    assert_int_equal(cte__blob_put(store, &key, &piece, 1, 1.0f, false), CTE_OK);
}

static bool has_something(struct cte__store *store)
{
    struct cte__user_tag tag;
    char bytes[5];
    if (cte__user_tag_find(store, "tag", 3, CTE__USER_TAG_OPEN, &tag) != CTE_OK)
        return false;
    struct cte__blob_key key = {.tag = tag.unit,
                                .type = CTE__ENTRY_BLOB,
                                .name = "blob",
                                .name_bytes = 4,
                                .tag_id = tag.id};
    struct cte__piece piece = {0, sizeof bytes, bytes};
    return cte__blob_get(store, &key, &piece, 1, NULL, NULL) == CTE_OK &&
           memcmp(bytes, "hello", 5) == 0;
}

/* ---- coming and going ----------------------------------------------------------------------- */

static void test_made_and_removed(void **state)
{
    (void)state;
    struct fixture f = fixture_make("");
    struct stat st;
    struct cte__store *store, *second;
    assert_int_equal(cte__store_attach_existing(f.config, &store), CTE_ERR_NOT_FOUND);
    store = attach(&f);
    assert_int_equal(stat(f.store, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(f.segment, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(cte__store_attach_existing(f.config, &second), CTE_OK);
    assert_int_not_equal(cte__store_self(store), cte__store_self(second));
    cte__store_detach(store);
    assert_true(exists(f.segment));
    cte__store_detach(second);
    assert_false(exists(f.store));
    fixture_free(&f);
}

/* Comes, puts, goes, many times; 0 if all went well. */
static int come_and_go(const struct fixture *f, unsigned process)
{
    for (unsigned i = 0; i < 30; i++) {
        struct cte__store *store;
        struct cte__user_tag tag;
        char name[32];
        if (cte__store_attach(f->config, &store) != CTE_OK)
            return 1;
        int n = snprintf(name, sizeof name, "tag %u", process);
        if (cte__user_tag_find(store, name, (uint32_t)n, CTE__USER_TAG_CREATE, &tag) != CTE_OK)
            return 2;
        if (cte__user_tag_find(store, name, (uint32_t)n, CTE__USER_TAG_BURY, &tag) != CTE_OK)
            return 3;
        cte__shards_pass(store);
        cte__user_tag_forget(store, name, (uint32_t)n, &tag);
        cte__store_detach(store);
    }
    return 0;
}

static void test_processes_come_and_go(void **state)
{
    (void)state;
    struct fixture f = fixture_make("");
    pid_t pids[PROCESSES];
    for (unsigned i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            _exit(come_and_go(&f, i));
    }
    for (unsigned i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_false(exists(f.store));
    fixture_free(&f);
}

static void test_data_keeps_a_store(void **state)
{
    (void)state;
    struct fixture f = fixture_make("");
    struct cte__store *store = attach(&f);
    put_something(store);
    cte__store_detach(store);
    store = attach(&f);
    assert_true(has_something(store));
    test_audit(store);
    assert_int_equal(cte__store_destroy(f.config), -EBUSY);
    assert_true(has_something(store));
    cte__store_detach(store);
    assert_int_equal(cte__store_destroy(f.config), CTE_OK);
    assert_false(exists(f.store));
    assert_int_equal(cte__store_destroy(f.config), CTE_ERR_NOT_FOUND);
    fixture_free(&f);
}

static void test_keep(void **state)
{
    (void)state;
    struct fixture f = fixture_make("");
    f.config->store_keep = true;
    cte__store_detach(attach(&f));
    assert_true(exists(f.segment));
    assert_int_equal(cte__store_destroy(f.config), CTE_OK);
    assert_false(exists(f.store));
    fixture_free(&f);
}

/* ---- what is not ours ----------------------------------------------------------------------- */

static void expect_refusal(const struct fixture *f, cte_status expected)
{
    struct cte__store *store;
    assert_int_equal(cte__store_attach(f->config, &store), expected);
    assert_int_equal(cte__store_attach_existing(f->config, &store), expected);
}

static void test_open_directory_is_refused(void **state)
{
    (void)state;
    struct fixture f = fixture_make("");
    assert_int_equal(mkdir(f.store, 0700), 0);
    assert_int_equal(chmod(f.store, 0755), 0);
    expect_refusal(&f, CTE_ERR_STORE_OWNER);
    assert_false(exists(f.segment));
    fixture_free(&f);
}

static void test_symbolic_links_are_refused(void **state)
{
    (void)state;
    struct fixture f = fixture_make("");
    char elsewhere[300], victim[320];
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", f.directory);
    snprintf(victim, sizeof victim, "%s/victim", f.directory);
    assert_int_equal(mkdir(elsewhere, 0700), 0);
    assert_int_equal(symlink(elsewhere, f.store), 0);
    expect_refusal(&f, CTE_ERR_STORE_OWNER);
    assert_int_equal(unlink(f.store), 0);
    assert_int_equal(mkdir(f.store, 0700), 0);
    assert_int_equal(symlink(victim, f.segment), 0);
    expect_refusal(&f, -ELOOP);
    assert_false(exists(victim));
    fixture_free(&f);
}

static void test_another_user_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can give files away */
    struct fixture f = fixture_make("");
    struct cte__store *store = attach(&f);
    put_something(store);
    cte__store_detach(store);
    assert_int_equal(chown(f.segment, 12345, 12345), 0);
    expect_refusal(&f, CTE_ERR_STORE_OWNER);
    assert_int_equal(chown(f.segment, 0, 0), 0);
    assert_int_equal(chown(f.store, 12345, 12345), 0);
    expect_refusal(&f, CTE_ERR_STORE_OWNER);
    assert_int_equal(chown(f.store, 0, 0), 0);
    store = attach(&f);
    assert_true(has_something(store));
    cte__store_detach(store);
    fixture_free(&f);
}

/* ---- damage --------------------------------------------------------------------------------- */

static void change_segment(const struct fixture *f, size_t offset, const void *bytes, size_t length)
{
    int fd = open(f->segment, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, length, (off_t)offset), length);
    close(fd);
}

static struct fixture store_with_something(void)
{
    struct fixture f = fixture_make("");
    struct cte__store *store = attach(&f);
    put_something(store);
    cte__store_detach(store);
    return f;
}

static void test_damaged_segments_are_refused(void **state)
{
    (void)state;
    static const uint64_t wrong = 0x4141414141414141;
    struct fixture f = store_with_something();
    uint64_t magic = CTE__STORE_MAGIC;
    uint32_t version = CTE__STORE_VERSION + 1, right = CTE__STORE_VERSION;
    struct stat st;
    change_segment(&f, offsetof(struct cte__store_header, magic), &wrong, sizeof wrong);
    expect_refusal(&f, CTE_ERR_STORE_CORRUPT);
    assert_int_equal(cte__store_destroy(f.config), CTE_ERR_STORE_CORRUPT);
    change_segment(&f, offsetof(struct cte__store_header, magic), &magic, sizeof magic);
    change_segment(&f, offsetof(struct cte__store_header, version), &version, sizeof version);
    expect_refusal(&f, CTE_ERR_STORE_LAYOUT);
    change_segment(&f, offsetof(struct cte__store_header, version), &right, sizeof right);
    struct cte__store *store = attach(&f);
    assert_true(has_something(store));
    cte__store_detach(store);
    assert_int_equal(stat(f.segment, &st), 0);
    assert_int_equal(truncate(f.segment, st.st_size / 2), 0);
    expect_refusal(&f, CTE_ERR_STORE_LAYOUT);
    assert_int_equal(truncate(f.segment, 100), 0);
    expect_refusal(&f, CTE_ERR_STORE_CORRUPT);
    fixture_free(&f);
}

/* What a process left that died while making the store holds nothing: it is made anew. */
static void test_unfinished_segments_are_made_anew(void **state)
{
    (void)state;
    struct fixture f = store_with_something();
    struct cte__store *store;
    uint64_t none = 0;
    char journal[300];
    change_segment(&f, offsetof(struct cte__store_header, magic), &none, sizeof none);
    snprintf(journal, sizeof journal, "%s/target.journal", f.directory); /* it would come back */
    assert_int_equal(unlink(journal), 0);
    assert_int_equal(cte__store_attach_existing(f.config, &store), CTE_ERR_NOT_FOUND);
    store = attach(&f);
    assert_false(has_something(store));
    test_audit(store);
    cte__store_detach(store);
    assert_false(exists(f.store));
    assert_int_equal(mkdir(f.store, 0700), 0);
    int fd = open(f.segment, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    cte__store_detach(attach(&f));
    assert_false(exists(f.store));
    fixture_free(&f);
}

static void test_other_namespace_is_refused(void **state)
{
    (void)state;
    struct fixture f = store_with_something();
    uint64_t other = 1;
    change_segment(&f, offsetof(struct cte__store_header, pid_namespace), &other, sizeof other);
    expect_refusal(&f, CTE_ERR_NAMESPACE);
    fixture_free(&f);
}

/* ---- slots ---------------------------------------------------------------------------------- */

static void test_forked_child_has_its_own_slot(void **state)
{
    (void)state;
    struct fixture f = fixture_make("");
    struct cte__store *store = attach(&f);
    uint16_t self = cte__store_self(store);
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        uint16_t mine = cte__store_self(store);
        bool right = mine != 0 && mine != self && mine == cte__store_self(store) &&
                     atomic_load(&store->header->slots[mine - 1].pid) == (uint32_t)getpid();
        _exit(right ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(cte__store_self(store), self);
    assert_true(cte__store_has_dead(store));
    cte__store_sweep(store);
    assert_false(cte__store_has_dead(store));
    cte__store_detach(store);
    assert_false(exists(f.store));
    fixture_free(&f);
}

/* Writes a page of its own process and reads it back: 0 if that worked. */
static int move_a_page(struct cte__store *store)
{
    static unsigned char bytes[CTE__PAGE_BYTES];
    struct iovec iov = {bytes, sizeof bytes};
    struct cte__page_run run;
    uint32_t used;
    if (cte__store_self(store) == 0 ||
        cte__pages_claim(store, 1, 1.0f, 0, &run, 1, &used) != CTE_OK)
        return 1;
    bool moved = cte__pages_io(store, true, run.page, 0, &iov, 1, sizeof bytes) == CTE_OK;
    iov.iov_len = 100;
    moved = moved && cte__pages_io(store, false, run.page, 5, &iov, 1, 100) == CTE_OK;
    cte__pages_free(store, run.page, 1);
    return moved ? 0 : 1;
}

static void test_all_processes_count_what_they_move(void **state)
{
    (void)state;
    struct fixture f = fixture_make("");
    struct cte__store *store = attach(&f);
    for (uint64_t i = 1; i <= PROCESSES; i++) {
        int status;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            _exit(move_a_page(store));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        uint64_t bytes_read = 0, bytes_written = 0, reads = 0, writes = 0;
        for (uint32_t t = 0; t < store->header->target_count; t++) {
            struct cte__target_totals totals = cte__target_totals(&store->header->targets[t]);
            bytes_read += totals.bytes_read;
            bytes_written += totals.bytes_written;
            reads += totals.reads;
            writes += totals.writes;
        }
        assert_int_equal(bytes_read, i * 100);
        assert_int_equal(bytes_written, i * CTE__PAGE_BYTES);
        assert_int_equal(reads, i);
        assert_int_equal(writes, i);
    }
    cte__store_sweep(store);
    cte__store_detach(store);
    fixture_free(&f);
}

/* Memory that was used before comes before memory that never was. */
static void test_freed_arenas_come_first(void **state)
{
    (void)state;
    enum { RAM_MIB = 1024, ARENAS = 3 };
    struct fixture f = fixture_make("");
    cte_config_free(f.config);
    f.config = test_config(f.directory, RAM_MIB, 0, NULL);
    struct cte__store *store = attach(&f);
    uint64_t arena_bytes = store->header->targets[0].arena_bytes;
    uint32_t arena_pages = (uint32_t)cte__bytes_to_pages(arena_bytes), used;
    struct cte__page_run runs[ARENAS], again;
    assert_true(store->header->targets[0].arena_count > ARENAS);
    assert_int_not_equal(cte__store_self(store), 0);
    for (int i = 0; i < ARENAS; i++)
        assert_int_equal(cte__pages_claim(store, arena_pages, 1.0f, 0, &runs[i], 1, &used), CTE_OK);
    for (int i = 0; i < ARENAS; i++)
        cte__pages_free(store, runs[i].page, runs[i].count);
    bool seen[ARENAS] = {false};
    for (int i = 0; i < ARENAS; i++) {
        assert_int_equal(cte__pages_claim(store, arena_pages, 1.0f, 0, &again, 1, &used), CTE_OK);
        int which = 0;
        while (which < ARENAS && runs[which].page != again.page)
            which++;
        assert_true(which < ARENAS && !seen[which]);
        seen[which] = true;
    }
    for (int i = 0; i < ARENAS; i++)
        cte__pages_free(store, runs[i].page, runs[i].count);
    cte__store_detach(store);
    fixture_free(&f);
}

static void test_reused_process_id_is_noticed(void **state)
{
    (void)state;
    struct fixture f = fixture_make("");
    struct cte__store *store = attach(&f);
    struct cte__slot *slot = &store->header->slots[20];
    *slot = (struct cte__slot){.pid = (uint32_t)getppid(), .start_time = 1};
    assert_true(cte__slot_dead(slot));
    assert_false(cte__slot_alive(slot));
    struct cte__slot *own = &store->header->slots[cte__store_self(store) - 1];
    assert_true(cte__slot_alive(own));
    assert_false(cte__slot_dead(own));
    assert_false(cte__slot_dead(&store->header->slots[21])); /* free */
    cte__store_sweep(store);
    assert_int_equal(slot->pid, 0);
    assert_int_not_equal(own->pid, 0);
    cte__store_detach(store);
    fixture_free(&f);
}

static void test_all_slots_taken(void **state)
{
    (void)state;
    struct fixture f = fixture_make("");
    struct cte__store *store = attach(&f), *second;
    struct cte__slot *slots = store->header->slots;
    const struct cte__slot own = slots[cte__store_self(store) - 1];
    for (uint32_t i = 0; i < CTE__SLOTS_MAX; i++) {
        slots[i].start_time = own.start_time;
        atomic_store(&slots[i].pid, atomic_load(&own.pid));
    }
    assert_int_equal(cte__store_attach_existing(f.config, &second), -EUSERS);
    assert_int_equal(cte__store_destroy(f.config), -EUSERS);
    for (uint32_t i = 1; i < CTE__SLOTS_MAX; i++)
        atomic_store(&slots[i].pid, 0);
    assert_int_equal(cte__store_attach_existing(f.config, &second), CTE_OK);
    cte__store_detach(second);
    cte__store_detach(store);
    fixture_free(&f);
}

/* ---- names ---------------------------------------------------------------------------------- */

static uint64_t units_used(const struct cte__store *store)
{
    uint64_t used = 0;
    for (uint32_t i = 0; i < store->header->unit_arena_count; i++)
        used += CTE__META_ARENA_UNITS - store->unit_arenas[i].arena->free_count;
    return used;
}

static struct cte__blob_key number_key(const struct cte__user_tag *tag, const uint32_t *number)
{
    return (struct cte__blob_key){.tag = tag->unit,
                                  .type = CTE__ENTRY_BLOB,
                                  .name = number,
                                  .name_bytes = sizeof *number,
                                  .tag_id = tag->id};
}

static cte_status count_entry(void *context, cte__unit unit, const struct cte__entry *entry)
{
    (void)unit, (void)entry;
    ++*(uint32_t *)context;
    return CTE_OK;
}

static uint32_t count_entries(struct cte__store *store, const struct cte__user_tag *tag)
{
    uint32_t count = 0;
    assert_int_equal(cte__tag_each(store, cte__tag_at(store, tag->unit), count_entry, &count),
                     CTE_OK);
    return count;
}

/* Empty blobs: names only. */
static void test_many_names(void **state)
{
    (void)state;
    struct fixture f = fixture_make("");
    struct cte__store *store = attach(&f);
    struct cte__user_tag tag;
    uint64_t size;
    assert_int_equal(cte__user_tag_find(store, "tag", 3, CTE__USER_TAG_CREATE, &tag), CTE_OK);
    for (uint32_t i = 0; i < NAMES; i++) {
        struct cte__blob_key key = number_key(&tag, &i);
        assert_int_equal(cte__blob_put(store, &key, NULL, 0, 1.0f, true), CTE_OK);
    }
    assert_int_equal(count_entries(store, &tag), NAMES);
    uint64_t full = units_used(store);
    for (uint32_t i = 0; i < NAMES; i++) {
        struct cte__blob_key key = number_key(&tag, &i);
        assert_int_equal(cte__blob_get(store, &key, NULL, 0, NULL, &size), CTE_OK);
        if (i % 10 != 0)
            assert_int_equal(cte__blob_remove(store, &key), CTE_OK);
    }
    assert_int_equal(count_entries(store, &tag), NAMES / 10);
    assert_true(units_used(store) < full); /* the reaper keeps up by itself */
    cte__tag_reap(store, cte__tag_at(store, tag.unit), true);
    assert_true(units_used(store) < full / 2);
    for (uint32_t i = 0; i < NAMES; i++) {
        struct cte__blob_key key = number_key(&tag, &i);
        assert_int_equal(cte__blob_get(store, &key, NULL, 0, NULL, &size),
                         i % 10 == 0 ? CTE_OK : CTE_ERR_NOT_FOUND);
    }
    test_audit(store);
    cte__store_detach(store);
    fixture_free(&f);
}

int main(void)
{
    setenv("CTE_LOG_LEVEL", "off", 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_and_removed),
        cmocka_unit_test(test_processes_come_and_go),
        cmocka_unit_test(test_data_keeps_a_store),
        cmocka_unit_test(test_keep),
        cmocka_unit_test(test_open_directory_is_refused),
        cmocka_unit_test(test_symbolic_links_are_refused),
        cmocka_unit_test(test_another_user_is_refused),
        cmocka_unit_test(test_damaged_segments_are_refused),
        cmocka_unit_test(test_unfinished_segments_are_made_anew),
        cmocka_unit_test(test_other_namespace_is_refused),
        cmocka_unit_test(test_forked_child_has_its_own_slot),
        cmocka_unit_test(test_all_processes_count_what_they_move),
        cmocka_unit_test(test_freed_arenas_come_first),
        cmocka_unit_test(test_reused_process_id_is_noticed),
        cmocka_unit_test(test_all_slots_taken),
        cmocka_unit_test(test_many_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
