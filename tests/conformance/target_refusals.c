/* SPDX-License-Identifier: BSD-3-Clause */
/* What a backend must refuse, and that refusing harms nothing. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target_fixture.h"

static const char user_data[] = "results of a week of computing";

static void write_user_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, user_data, sizeof user_data), sizeof user_data);
    close(fd);
}

static void check_user_file(const char *path)
{
    char bytes[sizeof user_data + 1];
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, bytes, sizeof bytes), sizeof user_data);
    close(fd);
    assert_memory_equal(bytes, user_data, sizeof user_data);
}

static cte_status try_open(const struct fixture *f)
{
    void *target = NULL;
    cte_status rc = f->ops->open(&f->spec, &target);
    if (rc == 0)
        f->ops->close(target);
    return rc;
}

static void write_first_page(const struct fixture *f)
{
    unsigned char page[PAGE_BYTES];
    void *target = open_target(f);
    fill_pattern(page, sizeof page, 0, 1);
    assert_int_equal(write_bytes(f, target, 0, page, sizeof page), 0);
    f->ops->close(target);
}

static void check_first_page(const struct fixture *f)
{
    unsigned char expected[PAGE_BYTES];
    unsigned char page[PAGE_BYTES];
    void *target = open_target(f);
    fill_pattern(expected, sizeof expected, 0, 1);
    assert_int_equal(read_bytes(f, target, 0, page, sizeof page), 0);
    assert_memory_equal(page, expected, sizeof page);
    f->ops->close(target);
}

static void test_user_file_is_left_alone(void **state)
{
    const struct fixture *f = *state;
    write_user_file(f->path);
    assert_true(f->ops->create(&f->spec) < 0);
    assert_true(try_open(f) < 0);
    assert_true(f->ops->destroy(&f->spec) < 0);
    check_user_file(f->path);
}

static void test_user_directory_is_left_alone(void **state)
{
    const struct fixture *f = *state;
    char inside[PATH_MAX + 16];
    assert_int_equal(mkdir(f->path, 0700), 0);
    snprintf(inside, sizeof inside, "%s/arena.0", f->path);
    write_user_file(inside);
    assert_true(f->ops->create(&f->spec) < 0);
    assert_true(try_open(f) < 0);
    assert_true(f->ops->destroy(&f->spec) < 0);
    check_user_file(inside);
}

/* As large as a backing, but without the mark. */
static void test_user_file_of_equal_size_is_left_alone(void **state)
{
    const struct fixture *f = *state;
    struct stat status;
    write_user_file(f->path);
    assert_int_equal(truncate(f->path, CAPACITY_BYTES + PAGE_BYTES), 0);
    assert_true(f->ops->create(&f->spec) < 0);
    assert_true(f->ops->destroy(&f->spec) < 0);
    assert_int_equal(stat(f->path, &status), 0);
    assert_int_equal(status.st_size, CAPACITY_BYTES + PAGE_BYTES);
}

static void test_other_store_is_left_alone(void **state)
{
    struct fixture *f = *state;
    create_target(f);
    write_first_page(f);
    f->spec.store_id = STORE_ID + 1;
    assert_int_equal(f->ops->create(&f->spec), -EEXIST);
    assert_int_equal(try_open(f), CTE_ERR_STORE_LAYOUT);
    assert_int_equal(f->ops->destroy(&f->spec), -EEXIST);
    f->spec.store_id = STORE_ID;
    check_first_page(f);
}

static void test_target_in_use_is_left_alone(void **state)
{
    const struct fixture *f = *state;
    create_target(f);
    write_first_page(f);
    void *target = open_target(f);
    void *second = open_target(f); /* sharing is fine */
    assert_int_equal(f->ops->create(&f->spec), -EBUSY);
    f->ops->close(target);
    assert_int_equal(f->ops->create(&f->spec), -EBUSY);
    f->ops->close(second);
    check_first_page(f);
    create_target(f);
}

static void test_symbolic_link_is_refused(void **state)
{
    struct fixture *f = *state;
    char link[PATH_MAX + 8];
    create_target(f);
    write_first_page(f);
    snprintf(link, sizeof link, "%s-link", f->path);
    assert_int_equal(symlink(f->path, link), 0);
    f->spec.path = link;
    assert_int_equal(f->ops->create(&f->spec), -ELOOP);
    assert_int_equal(try_open(f), -ELOOP);
    assert_int_equal(f->ops->destroy(&f->spec), -ELOOP);
    f->spec.path = f->path;
    check_first_page(f);
    assert_true(path_exists(link));
}

static void test_dangling_link_is_refused(void **state)
{
    struct fixture *f = *state;
    char elsewhere[PATH_MAX + 16];
    snprintf(elsewhere, sizeof elsewhere, "%s-elsewhere", f->path);
    assert_int_equal(symlink(elsewhere, f->path), 0);
    assert_int_equal(f->ops->create(&f->spec), -ELOOP);
    assert_false(path_exists(elsewhere));
}

static void test_pipe_is_refused(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_true(f->ops->create(&f->spec) < 0);
    assert_true(try_open(f) < 0); /* and does not wait for a writer */
    assert_true(f->ops->destroy(&f->spec) < 0);
    assert_true(path_exists(f->path));
}

static void test_wrong_owner_is_refused(void **state)
{
    const struct fixture *f = *state;
    if (geteuid() != 0) {
        print_message("SKIPPED PART: giving files to another user needs root\n");
        skip();
    }
    create_target(f);
    write_first_page(f);
    assert_int_equal(chown(f->path, UNPRIVILEGED_ID, UNPRIVILEGED_ID), 0);
    assert_int_equal(f->ops->create(&f->spec), CTE_ERR_STORE_OWNER);
    assert_int_equal(try_open(f), CTE_ERR_STORE_OWNER);
    assert_int_equal(f->ops->destroy(&f->spec), CTE_ERR_STORE_OWNER);
    assert_int_equal(chown(f->path, 0, 0), 0);
    check_first_page(f);
}

static int drop_privileges(void)
{
    if (geteuid() != 0)
        return 0;
    return setgroups(0, NULL) != 0 || setegid(UNPRIVILEGED_ID) != 0 ||
           seteuid(UNPRIVILEGED_ID) != 0;
}

static int create_in_unwritable_directory(const struct fixture *f)
{
    CHILD_CHECK(drop_privileges() == 0);
    CHILD_CHECK(f->ops->create(&f->spec) == -EACCES);
    CHILD_CHECK(!path_exists(f->path));
    return 0;
}

static void test_unwritable_directory_is_refused(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(chmod(f->directory, 0555), 0);
    require_child(create_in_unwritable_directory, f);
    assert_int_equal(chmod(f->directory, 0755), 0);
}

static void test_missing_directory_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/missing/target", f->directory);
    f->spec.path = path;
    assert_int_equal(f->ops->create(&f->spec), -ENOENT);
    assert_int_equal(try_open(f), -ENOENT);
    assert_int_equal(f->ops->destroy(&f->spec), 0);
    f->spec.path = f->path;
    assert_int_equal(try_open(f), -ENOENT);
    assert_false(path_exists(f->path));
}

/* Mounts a file system over the test's directory, seen by this process only. */
static int mount_private(const struct fixture *f, const char *type, unsigned long flags,
                         const char *options)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return -1;
    return mount("cte-test", f->directory, type, flags, options);
}

static int create_on_read_only_file_system(const struct fixture *f)
{
    if (mount_private(f, "tmpfs", MS_RDONLY, "size=64m") != 0)
        return EXIT_SKIP;
    CHILD_CHECK(f->ops->create(&f->spec) == -EROFS);
    CHILD_CHECK(f->ops->destroy(&f->spec) == 0);
    return 0;
}

static void test_read_only_file_system_is_refused(void **state)
{
    require_child(create_on_read_only_file_system, *state);
}

static int create_beyond_free_space(const struct fixture *f)
{
    if (mount_private(f, "tmpfs", 0, "size=3m") != 0)
        return EXIT_SKIP;
    CHILD_CHECK(f->ops->create(&f->spec) == -ENOSPC);
    CHILD_CHECK(!path_exists(f->path));
    return 0;
}

static void test_too_little_space_is_refused(void **state)
{
    require_child(create_beyond_free_space, *state);
}

/* Writes a file until the file system is full; leaves it so. */
static int fill_file_system(const char *path)
{
    static const char block[64 * 1024];
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd < 0)
        return -1;
    while (write(fd, block, sizeof block) > 0)
        continue;
    int rc = errno == ENOSPC ? 0 : -1;
    close(fd);
    return rc;
}

static int write_pages(const struct fixture *f, void *target, cte_status *statuses)
{
    unsigned char page[PAGE_BYTES];
    for (uint64_t offset = 0; offset < CAPACITY_BYTES; offset += PAGE_BYTES) {
        fill_pattern(page, sizeof page, offset, 4);
        cte_status rc = write_bytes(f, target, offset, page, sizeof page);
        statuses[offset / PAGE_BYTES] = rc;
        CHILD_CHECK(rc == 0 || rc == -ENOSPC);
    }
    return 0;
}

/* What was acknowledged is there, the rest reads as zeros. */
static int check_pages(const struct fixture *f, void *target, const cte_status *statuses)
{
    unsigned char expected[PAGE_BYTES];
    unsigned char page[PAGE_BYTES];
    for (uint64_t offset = 0; offset < CAPACITY_BYTES; offset += PAGE_BYTES) {
        memset(expected, 0, sizeof expected);
        if (statuses[offset / PAGE_BYTES] == 0)
            fill_pattern(expected, sizeof expected, offset, 4);
        CHILD_CHECK(read_bytes(f, target, offset, page, sizeof page) == 0);
        CHILD_CHECK(memcmp(page, expected, sizeof page) == 0);
    }
    return 0;
}

static int write_to_full_file_system(const struct fixture *f)
{
    static cte_status statuses[CAPACITY_BYTES / PAGE_BYTES];
    char ballast[PATH_MAX + 16];
    void *target;
    if (mount_private(f, "tmpfs", 0, "size=9m") != 0)
        return EXIT_SKIP;
    CHILD_CHECK(f->ops->create(&f->spec) == 0);
    CHILD_CHECK(f->ops->open(&f->spec, &target) == 0);
    snprintf(ballast, sizeof ballast, "%s/ballast", f->directory);
    CHILD_CHECK(fill_file_system(ballast) == 0);
    CHILD_CHECK(truncate(ballast, 1 << 20) == 0); /* some room, too little for a lazy backend */
    CHILD_CHECK(fill_file_system(ballast) == 0);
    CHILD_CHECK(write_pages(f, target, statuses) == 0);
    CHILD_CHECK(check_pages(f, target, statuses) == 0);
    CHILD_CHECK(unlink(ballast) == 0);
    CHILD_CHECK(write_pages(f, target, statuses) == 0);
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        CHILD_CHECK(statuses[i] == 0);
    CHILD_CHECK(check_pages(f, target, statuses) == 0);
    f->ops->close(target);
    return 0;
}

static void test_full_file_system_harms_nothing(void **state)
{
    require_child(write_to_full_file_system, *state);
}

/* ramfs can neither reserve space nor tell how much there is. */
static int use_plain_file_system(const struct fixture *f)
{
    static cte_status statuses[CAPACITY_BYTES / PAGE_BYTES];
    void *target;
    if (mount_private(f, "ramfs", 0, NULL) != 0)
        return EXIT_SKIP;
    CHILD_CHECK(f->ops->create(&f->spec) == 0);
    CHILD_CHECK(f->ops->open(&f->spec, &target) == 0);
    CHILD_CHECK(write_pages(f, target, statuses) == 0);
    CHILD_CHECK(check_pages(f, target, statuses) == 0);
    CHILD_CHECK(f->ops->sync(target) == 0);
    f->ops->close(target);
    CHILD_CHECK(f->ops->destroy(&f->spec) == 0);
    CHILD_CHECK(!path_exists(f->path));
    return 0;
}

static void test_file_system_without_reservation(void **state)
{
    require_child(use_plain_file_system, *state);
}

static int create_beyond_file_limit(const struct fixture *f)
{
    struct rlimit limit = {.rlim_cur = 65536, .rlim_max = RLIM_INFINITY};
    CHILD_CHECK(f->ops->create(&f->spec) == 0);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 65536;
    CHILD_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHILD_CHECK(try_open(f) == -EFBIG);
    CHILD_CHECK(f->ops->create(&f->spec) == -EFBIG);
    CHILD_CHECK(path_exists(f->path));
    CHILD_CHECK(f->ops->destroy(&f->spec) == 0);
    CHILD_CHECK(f->ops->create(&f->spec) == -EFBIG);
    CHILD_CHECK(!path_exists(f->path));
    return 0;
}

static void test_file_size_limit_is_an_error_not_a_signal(void **state)
{
    require_child(create_beyond_file_limit, *state);
}

static void test_senseless_specs_are_refused(void **state)
{
    struct fixture *f = *state;
    struct cte__target_spec good = f->spec;
    struct cte__target_spec bad[] = {
        {.path = NULL, .capacity_bytes = good.capacity_bytes, .arena_bytes = good.arena_bytes},
        {.path = "", .capacity_bytes = good.capacity_bytes, .arena_bytes = good.arena_bytes},
        {.path = "relative/target",
         .capacity_bytes = good.capacity_bytes,
         .arena_bytes = good.arena_bytes},
        {.path = good.path, .capacity_bytes = 0, .arena_bytes = good.arena_bytes},
        {.path = good.path, .capacity_bytes = good.capacity_bytes, .arena_bytes = 0},
        {.path = good.path,
         .capacity_bytes = good.capacity_bytes + 1,
         .arena_bytes = good.arena_bytes},
        {.path = good.path, .capacity_bytes = PAGE_BYTES, .arena_bytes = PAGE_BYTES},
        {.path = good.path, .capacity_bytes = (uint64_t)1 << 63, .arena_bytes = good.arena_bytes},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        f->spec = bad[i];
        assert_int_equal(f->ops->create(&f->spec), -EINVAL);
        assert_int_equal(try_open(f), -EINVAL);
        assert_int_equal(f->ops->destroy(&f->spec), -EINVAL);
    }
    assert_false(path_exists(f->path));
}

static void test_other_layout_is_refused(void **state)
{
    struct fixture *f = *state;
    create_target(f);
    write_first_page(f);
    f->spec.capacity_bytes = CAPACITY_BYTES * 2;
    assert_int_equal(try_open(f), CTE_ERR_STORE_LAYOUT);
    f->spec.capacity_bytes = CAPACITY_BYTES;
    f->spec.arena_bytes = ARENA_BYTES * 2;
    assert_int_equal(try_open(f), CTE_ERR_STORE_LAYOUT);
    f->spec.arena_bytes = ARENA_BYTES;
    check_first_page(f);
}

static int cut_large_file(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)type;
    (void)walk;
    if (S_ISREG(status->st_mode) && status->st_size > ARENA_BYTES / 2)
        assert_int_equal(truncate(path, ARENA_BYTES / 2), 0);
    return 0;
}

/* Bytes that are gone must not read as zeros. */
static void test_cut_backing_is_noticed(void **state)
{
    const struct fixture *f = *state;
    unsigned char page[PAGE_BYTES];
    void *target = NULL;
    create_target(f);
    write_first_page(f);
    assert_int_equal(nftw(f->directory, cut_large_file, 8, FTW_PHYS), 0);
    cte_status rc = f->ops->open(&f->spec, &target);
    if (rc == 0) {
        rc = read_bytes(f, target, ARENA_BYTES - PAGE_BYTES, page, sizeof page);
        f->ops->close(target);
    }
    assert_int_equal(rc, CTE_ERR_STORE_CORRUPT);
}

static void test_cut_while_in_use_is_noticed(void **state)
{
    const struct fixture *f = *state;
    unsigned char page[PAGE_BYTES] = {1};
    create_target(f);
    void *target = open_target(f);
    assert_int_equal(write_bytes(f, target, 0, page, sizeof page), 0);
    assert_int_equal(nftw(f->directory, cut_large_file, 8, FTW_PHYS), 0);
    assert_int_equal(read_bytes(f, target, ARENA_BYTES - PAGE_BYTES, page, sizeof page), -EIO);
    f->ops->close(target);
}

/* A mark at the end of something else, as where a user appended a backing to a file. */
static void test_stray_mark_protects_nothing(void **state)
{
    struct fixture *f = *state;
    unsigned char mark[PAGE_BYTES];
    struct stat status;
    create_target(f);
    assert_int_equal(lstat(f->path, &status), 0);
    if (!S_ISREG(status.st_mode))
        return; /* the mark stands alone, it cannot be appended to anything */
    int fd = open(f->path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, mark, sizeof mark, CAPACITY_BYTES), sizeof mark);
    assert_int_equal(ftruncate(fd, PAGE_BYTES), 0);
    assert_int_equal(pwrite(fd, mark, sizeof mark, PAGE_BYTES), sizeof mark);
    close(fd);
    assert_int_equal(f->ops->create(&f->spec), -EEXIST);
    assert_true(try_open(f) < 0);
    assert_int_equal(f->ops->destroy(&f->spec), -EEXIST);
    assert_true(path_exists(f->path));
}

/* Contents are there or the read fails; a backing that was removed never turns to zeros. */
static void test_removed_while_in_use_is_noticed(void **state)
{
    const struct fixture *f = *state;
    unsigned char expected[PAGE_BYTES];
    unsigned char page[PAGE_BYTES];
    create_target(f);
    write_first_page(f);
    void *target = open_target(f);
    assert_int_equal(f->ops->destroy(&f->spec), 0);
    cte_status rc = read_bytes(f, target, 0, page, sizeof page);
    fill_pattern(expected, sizeof expected, 0, 1);
    if (rc == 0)
        assert_memory_equal(page, expected, sizeof page);
    else
        assert_int_equal(rc, CTE_ERR_STORE_CORRUPT);
    f->ops->close(target);
}

const struct target_test target_refusals_tests[] = {
    {"user file is left alone", test_user_file_is_left_alone},
    {"user directory is left alone", test_user_directory_is_left_alone},
    {"user file of equal size is left alone", test_user_file_of_equal_size_is_left_alone},
    {"other store is left alone", test_other_store_is_left_alone},
    {"target in use is left alone", test_target_in_use_is_left_alone},
    {"symbolic link is refused", test_symbolic_link_is_refused},
    {"dangling link is refused", test_dangling_link_is_refused},
    {"pipe is refused", test_pipe_is_refused},
    {"wrong owner is refused", test_wrong_owner_is_refused},
    {"unwritable directory is refused", test_unwritable_directory_is_refused},
    {"missing directory is refused", test_missing_directory_is_refused},
    {"read-only file system is refused", test_read_only_file_system_is_refused},
    {"too little space is refused", test_too_little_space_is_refused},
    {"full file system harms nothing", test_full_file_system_harms_nothing},
    {"file system without reservation", test_file_system_without_reservation},
    {"file size limit is an error, not a signal", test_file_size_limit_is_an_error_not_a_signal},
    {"senseless specs are refused", test_senseless_specs_are_refused},
    {"other layout is refused", test_other_layout_is_refused},
    {"cut backing is noticed", test_cut_backing_is_noticed},
    {"cut while in use is noticed", test_cut_while_in_use_is_noticed},
    {"stray mark protects nothing", test_stray_mark_protects_nothing},
    {"removed while in use is noticed", test_removed_while_in_use_is_noticed},
    {0},
};
