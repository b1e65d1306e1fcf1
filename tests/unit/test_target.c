/* SPDX-License-Identifier: BSD-3-Clause */
/* Targets as a store uses them: what the configuration says reaches every process. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store_helpers.h"
#include "target/dax_region.h"

static char directory[4096];

static int setup(void **state)
{
    (void)state;
    test_directory(directory, sizeof directory);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_remove_directory(directory);
    return 0;
}

static cte_config *parse(const char *storage)
{
    char text[12288], error[512];
    cte_config *config;
    snprintf(text, sizeof text,
             "store: {name: test, directory: '%s'}\n"
             "storage:\n  - {path: '%s/target', capacity_limit: 4MiB, %s}\n",
             directory, directory, storage);
    if (cte_config_parse(text, "test", &config, error, sizeof error) != CTE_OK)
        fail_msg("%s", error);
    return config;
}

static cte_status attach(const char *storage, struct cte__store **store)
{
    cte_config *config = parse(storage);
    cte_status status = cte__store_attach(config, store);
    cte_config_free(config);
    return status;
}

/* True if this process has the target open past the page cache. */
static bool has_direct_descriptor(void)
{
    char path[4200];
    struct stat target, open_file;
    snprintf(path, sizeof path, "%s/target", directory);
    if (stat(path, &target) != 0)
        return false;
    for (int fd = 0; fd < 1024; fd++) {
        int flags = fcntl(fd, F_GETFL);
        if (flags >= 0 && flags & O_DIRECT && fstat(fd, &open_file) == 0 &&
            open_file.st_dev == target.st_dev && open_file.st_ino == target.st_ino)
            return true;
    }
    return false;
}

static bool file_system_allows_direct(void)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/probe", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void write_and_read(struct cte__store *store, unsigned char value)
{
    static unsigned char out[8192], in[8192];
    struct cte__page_run run;
    uint32_t used;
    assert_int_equal(cte__pages_claim(store, 2, 1.0f, 0, &run, 1, &used), CTE_OK);
    memset(out, value, sizeof out);
    struct iovec iov = {out, sizeof out};
    assert_int_equal(cte__pages_io(store, true, run.page, 0, &iov, 1, sizeof out), CTE_OK);
    iov.iov_base = in;
    assert_int_equal(cte__pages_io(store, false, run.page, 0, &iov, 1, sizeof in), CTE_OK);
    assert_memory_equal(in, out, sizeof in);
    cte__pages_free(store, run.page, run.count);
}

static void test_io_by_uring_reaches_every_process(void **state)
{
    struct cte__store *store, *second;
    (void)state;
    if (!file_system_allows_direct())
        skip();
    assert_int_equal(attach("bdev_type: file, io: uring", &store), CTE_OK);
    assert_int_equal(store->header->targets[0].engine, CTE__TARGET_URING);
    if (!has_direct_descriptor()) {
        print_message("SKIPPED: io_uring is not allowed here\n");
        cte__store_detach(store);
        skip();
    }
    write_and_read(store, 1);
    /* In a child that inherits the state, and in a process that attaches with another
     * configuration: the store was made with this one. */
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        write_and_read(store, 2);
        cte__store_detach(store);
        if (has_direct_descriptor())
            _exit(1);
        if (attach("bdev_type: file", &second) != CTE_OK || !has_direct_descriptor())
            _exit(2);
        write_and_read(second, 3);
        cte__store_detach(second);
        _exit(0);
    }
    int status;
    write_and_read(store, 4);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    write_and_read(store, 5);
    cte__store_detach(store);
    assert_false(has_direct_descriptor());
}

static void test_buffered_is_the_default(void **state)
{
    struct cte__store *store;
    (void)state;
    assert_int_equal(attach("bdev_type: file", &store), CTE_OK);
    assert_int_equal(store->header->targets[0].engine, CTE__TARGET_BUFFERED);
    assert_false(has_direct_descriptor());
    write_and_read(store, 1);
    cte__store_detach(store);
}

/* ---- contents of persistent memory devices, which are only memory to this code ---- */

enum { DEVICE_BYTES = (4 << 20) + 8192, DEVICE_CAPACITY = 2 << 20 };

static struct cte__dax_region new_device(void)
{
    struct cte__dax_region device = {
        .base = calloc(1, DEVICE_BYTES), .bytes = DEVICE_BYTES, .set = memset, .copy = memcpy};
    assert_non_null(device.base);
    return device;
}

static const struct cte__target_spec device_spec = {.path = "/dev/dax0.0",
                                                    .capacity_bytes = DEVICE_CAPACITY,
                                                    .arena_bytes = 1 << 20,
                                                    .store_id = 7};

static void test_device_is_taken_and_left(void **state)
{
    struct cte__dax_region device = new_device();
    struct cte__target_spec other = device_spec;
    (void)state;
    assert_int_equal(cte__dax_region_check(&device, &device_spec), CTE_ERR_STORE_CORRUPT);
    assert_int_equal(cte__dax_region_create(&device, &device_spec), 0);
    assert_int_equal(cte__dax_region_check(&device, &device_spec), 0);
    other.store_id = 8;
    assert_int_equal(cte__dax_region_check(&device, &other), CTE_ERR_STORE_LAYOUT);
    device.base[5] = 'x';
    device.base[DEVICE_CAPACITY - 1] = 'x';
    assert_int_equal(cte__dax_region_create(&device, &other), -EEXIST);
    assert_int_equal(cte__dax_region_destroy(&device, &other), -EEXIST);
    assert_int_equal(device.base[5], 'x');
    /* The same store with another size. */
    struct cte__target_spec larger = device_spec;
    larger.capacity_bytes *= 2;
    assert_int_equal(cte__dax_region_check(&device, &larger), CTE_ERR_STORE_LAYOUT);
    assert_int_equal(cte__dax_region_create(&device, &larger), 0);
    assert_int_equal(cte__dax_region_check(&device, &larger), 0);
    for (uint64_t i = 0; i < larger.capacity_bytes; i++)
        if (device.base[i] != 0)
            fail_msg("byte %llu of a fresh target is not 0", (unsigned long long)i);
    device.base[5] = 'x';
    assert_int_equal(cte__dax_region_destroy(&device, &device_spec), 0);
    assert_int_equal(cte__dax_region_create(&device, &other), 0); /* as good as new */
    free(device.base);
}

static void test_foreign_device_is_left_alone(void **state)
{
    static const size_t places[] = {0, (1 << 20) - 1, DEVICE_BYTES - 4096, DEVICE_BYTES - 1};
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct cte__dax_region device = new_device();
        device.base[places[i]] = 1;
        assert_int_equal(cte__dax_region_create(&device, &device_spec), -EEXIST);
        assert_int_equal(cte__dax_region_destroy(&device, &device_spec), -EEXIST);
        assert_int_equal(device.base[places[i]], 1);
        free(device.base);
    }
    struct cte__dax_region device = new_device();
    struct cte__target_spec large = device_spec;
    large.capacity_bytes = 5 << 20;
    assert_int_equal(cte__dax_region_create(&device, &large), -ENOSPC);
    free(device.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_io_by_uring_reaches_every_process, setup, teardown),
        cmocka_unit_test_setup_teardown(test_buffered_is_the_default, setup, teardown),
        cmocka_unit_test(test_device_is_taken_and_left),
        cmocka_unit_test(test_foreign_device_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
