/* SPDX-License-Identifier: BSD-3-Clause */
/* Single writer, multiple readers: stock readers in other processes follow a writer on cte. */
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int in_scratch(void **state)
{
    char name[] = "test-XXXXXX";
    (void)state;
    if (chdir(scratch_directory()) != 0 || !mkdtemp(name))
        return -1;
    return chdir(name);
}

static int out_of_scratch(void **state)
{
    (void)state;
    return chdir(scratch_directory());
}

static hid_t latest(hid_t fapl)
{
    OK(H5Pset_libver_bounds(fapl, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST));
    return fapl;
}

static hid_t create_series(hid_t file)
{
    hsize_t none[1] = {0}, max[1] = {H5S_UNLIMITED}, chunk[1] = {256};
    hid_t space = OK(H5Screate_simple(1, none, max)), dcpl = OK(H5Pcreate(H5P_DATASET_CREATE));
    OK(H5Pset_chunk(dcpl, 1, chunk));
    hid_t set = OK(H5Dcreate2(file, "set", H5T_STD_U8LE, space, H5P_DEFAULT, dcpl, H5P_DEFAULT));
    OK(H5Pclose(dcpl));
    OK(H5Sclose(space));
    return set;
}

/* What a stock reader in SWMR mode, in another process, finds: the length of the series, or -1. */
static long stock_swmr_length(void)
{
    int pipe_ends[2];
    long length = -1;
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        hid_t file = try_open("a.h5", H5F_ACC_RDONLY | H5F_ACC_SWMR_READ, latest(fapl_sec2()));
        if (file >= 0) {
            hsize_t size[1];
            hid_t set = H5Dopen2(file, "set", H5P_DEFAULT), space = H5Dget_space(set);
            if (H5Sget_simple_extent_dims(space, size, NULL) == 1)
                length = (long)size[0];
            unsigned char *bytes = malloc(size[0] + 1);
            if (H5Dread(set, H5T_NATIVE_UCHAR, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) < 0)
                length = -2;
            for (hsize_t i = 0; length > 0 && i < size[0]; i++)
                if (bytes[i] != 9)
                    length = -3;
        }
        _exit(write(pipe_ends[1], &length, sizeof length) != sizeof length);
    }
    assert_int_equal(read(pipe_ends[0], &length, sizeof length), sizeof length);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return length;
}

static void append_and_look(hid_t set)
{
    unsigned char bytes[1000];
    memset(bytes, 9, sizeof bytes);
    for (hsize_t size = 100; size <= 1000; size += 300) {
        OK(H5Dset_extent(set, &size));
        transfer_bytes(set, true, 0, size, bytes);
        OK(H5Dflush(set));
        assert_int_equal(stock_swmr_length(), (long)size);
    }
}

static void swmr_readers_of_any_driver_follow_a_started_writer(void **state)
{
    (void)state;
    hid_t fapl = latest(fapl_cte(NULL));
    hid_t file = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, fapl)), set = create_series(file);
    assert_int_equal(stock_swmr_length(), -1); /* not yet open to readers */
    OK(H5Fstart_swmr_write(file));
    append_and_look(set);
    OK(H5Dclose(set));
    OK(H5Fclose(file));
    OK(H5Pclose(fapl));
    assert_int_equal(stock_open("a.h5", H5F_ACC_RDWR), 0);
}

static void swmr_readers_of_any_driver_follow_an_opened_writer(void **state)
{
    (void)state;
    hid_t fapl = latest(fapl_cte(NULL));
    hid_t file = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, fapl)), set = create_series(file);
    OK(H5Dclose(set));
    OK(H5Fclose(file));
    file = OK(H5Fopen("a.h5", H5F_ACC_RDWR | H5F_ACC_SWMR_WRITE, fapl));
    set = OK(H5Dopen2(file, "set", H5P_DEFAULT));
    append_and_look(set);
    OK(H5Dclose(set));
    OK(H5Fclose(file));
    OK(H5Pclose(fapl));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, in_scratch, out_of_scratch)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(swmr_readers_of_any_driver_follow_a_started_writer),
        TEST(swmr_readers_of_any_driver_follow_an_opened_writer),
    };
    (void)scratch_directory();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
