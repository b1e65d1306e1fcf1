/* SPDX-License-Identifier: BSD-3-Clause */
/* How the driver behaves at its edges, compared with the default driver where that has an opinion.
 */
#include "support.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { DRIVERS = 2 };

/* The default driver first, then cte. */
static hid_t fapl_of(int driver)
{
    return driver == 0 ? fapl_sec2() : fapl_cte(NULL);
}

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

static void make_file(const char *name, hid_t fapl)
{
    OK(H5Fclose(OK(H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, fapl))));
}

/* The call fails, and each word stands somewhere on the error stack. */
static void assert_open_fails(const char *name, unsigned flags, hid_t fapl,
                              const char *const words[])
{
    assert_true(try_open(name, flags, fapl) < 0);
    char *text = error_stack_text();
    for (; *words; words++)
        if (!strstr(text, *words))
            fail_msg("'%s' is not in:\n%s", *words, text);
    free(text);
}

static hid_t create_bytes(hid_t file, const char *name, hsize_t bytes)
{
    hid_t space = OK(H5Screate_simple(1, &bytes, NULL));
    hid_t set =
        OK(H5Dcreate2(file, name, H5T_STD_U8LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    OK(H5Sclose(space));
    return set;
}

static void configuration_is_kept_and_checked(void **state)
{
    (void)state;
    cte_hdf5_config config = CTE_HDF5_CONFIG_INIT, found = CTE_HDF5_CONFIG_INIT;
    config.mode = CTE_FILE_MODE_BYPASS;
    config.drain = CTE_FILE_DRAIN_ASYNC;
    config.score_raw = 0.5f;
    config.score_metadata = 1.0f;
    hid_t fapl = fapl_cte(&config), copy = OK(H5Pcopy(fapl)), plain = fapl_sec2();
    OK(H5Pget_fapl_cte(copy, &found));
    assert_memory_equal(&config, &found, sizeof config);
    assert_true(H5Pequal(fapl, copy) > 0);
    make_file("a.h5", copy);
    hid_t file = OK(H5Fopen("a.h5", H5F_ACC_RDONLY, fapl)), of_file = OK(H5Fget_access_plist(file));
    memset(&found, 0, sizeof found);
    found.size = sizeof found;
    OK(H5Pget_fapl_cte(of_file, &found));
    assert_memory_equal(&config, &found, sizeof config);
    H5E_BEGIN_TRY
    {
        assert_true(H5Pget_fapl_cte(plain, &found) < 0);
        config.mode = (cte_file_mode)99;
        assert_true(H5Pset_fapl_cte(fapl, &config) < 0);
        config.mode = CTE_FILE_MODE_CONFIG;
        config.score_raw = 1.5f;
        assert_true(H5Pset_fapl_cte(fapl, &config) < 0);
        config.score_raw = 0.0f / 0.0f;
        assert_true(H5Pset_fapl_cte(fapl, &config) < 0);
        config.score_raw = 0;
        config.size = 3;
        assert_true(H5Pset_fapl_cte(fapl, &config) < 0);
        assert_true(H5Pset_fapl_cte(H5P_DATASET_CREATE_DEFAULT, NULL) < 0);
    }
    H5E_END_TRY;
    OK(H5Pclose(of_file));
    OK(H5Fclose(file));
    OK(H5Pclose(fapl));
    OK(H5Pclose(copy));
    OK(H5Pclose(plain));
}

static void driver_without_configuration_takes_defaults(void **state)
{
    (void)state;
    const cte_hdf5_config defaults = CTE_HDF5_CONFIG_INIT;
    cte_hdf5_config found = CTE_HDF5_CONFIG_INIT;
    hid_t fapl = OK(H5Pcreate(H5P_FILE_ACCESS));
    found.mode = CTE_FILE_MODE_SCRATCH;
    OK(H5Pset_driver(fapl, H5FD_CTE, NULL));
    OK(H5Pget_fapl_cte(fapl, &found));
    assert_memory_equal(&defaults, &found, offsetof(cte_hdf5_config, score) + sizeof found.score);
    assert_null(found.text);
    make_file("a.h5", fapl);
    OK(H5Pclose(fapl));
}

/* The library may be closed and started again; the old id then belongs to nobody. */
static void survives_close_of_the_library(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        hid_t fapl = fapl_cte(NULL);
        make_file("a.h5", fapl);
        hid_t file = OK(H5Fopen("a.h5", H5F_ACC_RDONLY, fapl));
        (void)file; /* left open: H5close() closes it */
        OK(H5close());
    }
}

static void open_errors_are_those_of_the_default_driver(void **state)
{
    (void)state;
    for (int driver = 0; driver < DRIVERS; driver++) {
        hid_t fapl = fapl_of(driver);
        make_file("there.h5", fapl);
        assert_open_fails("missing.h5", H5F_ACC_RDONLY, fapl,
                          (const char *const[]){"unable to open file", "name = 'missing.h5'",
                                                "errno = 2", "No such file or directory", NULL});
        assert_open_fails("no/such/a.h5", H5F_ACC_TRUNC, fapl,
                          (const char *const[]){"unable to open file", "name = 'no/such/a.h5'",
                                                "No such file or directory", NULL});
        assert_open_fails("there.h5", H5F_ACC_EXCL, fapl,
                          (const char *const[]){"unable to open file", "File exists", NULL});
        assert_int_equal(mkdir("directory", 0700), 0);
        assert_open_fails("directory", H5F_ACC_RDWR, fapl,
                          (const char *const[]){"unable to open file", "Is a directory", NULL});
        assert_open_fails("", H5F_ACC_RDONLY, fapl,
                          (const char *const[]){"invalid file name", NULL});
        assert_int_equal(rmdir("directory"), 0);
        FILE *stream = fopen("text", "w");
        assert_non_null(stream);
        fputs("this is no HDF5 file", stream);
        fclose(stream);
        assert_open_fails("text", H5F_ACC_RDONLY, fapl,
                          (const char *const[]){"file signature not found", NULL});
        OK(H5Pclose(fapl));
    }
}

static void read_only_files_stay_so(void **state)
{
    (void)state;
    for (int driver = 0; driver < DRIVERS; driver++) {
        hid_t fapl = fapl_of(driver);
        (void)unlink("a.h5");
        make_file("a.h5", fapl);
        hid_t file = OK(H5Fopen("a.h5", H5F_ACC_RDONLY, fapl)), group;
        H5E_BEGIN_TRY
        {
            group = H5Gcreate2(file, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        }
        H5E_END_TRY;
        assert_true(group < 0);
        OK(H5Fclose(file));
        assert_int_equal(chmod("a.h5", 0400), 0);
        if (geteuid() != 0)
            assert_open_fails("a.h5", H5F_ACC_RDWR, fapl,
                              (const char *const[]){"Permission denied", NULL});
        OK(H5Fclose(OK(H5Fopen("a.h5", H5F_ACC_RDONLY, fapl))));
        OK(H5Pclose(fapl));
    }
}

static void one_file_opened_twice_is_one_file(void **state)
{
    (void)state;
    for (int driver = 0; driver < DRIVERS; driver++) {
        hid_t fapl = fapl_of(driver);
        (void)unlink("link.h5");
        hid_t first = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, fapl));
        assert_int_equal(link("a.h5", "link.h5"), 0);
        hid_t second = OK(H5Fopen("link.h5", H5F_ACC_RDWR, fapl));
        hid_t group = OK(H5Gcreate2(first, "made", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        assert_true(H5Lexists(second, "made", H5P_DEFAULT) > 0);
        assert_open_fails(
            "link.h5", H5F_ACC_TRUNC, fapl,
            (const char *const[]){"unable to truncate a file which is already open", NULL});
        OK(H5Gclose(group));
        OK(H5Fclose(first));
        OK(H5Fclose(second));
        OK(H5Pclose(fapl));
    }
}

static void other_processes_see_the_lock(void **state)
{
    (void)state;
    hid_t fapl = fapl_cte(NULL), no_lock = fapl_cte(NULL);
    hid_t file = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, fapl));
    assert_int_not_equal(stock_open("a.h5", H5F_ACC_RDONLY), 0);
    OK(H5Fclose(file));
    file = OK(H5Fopen("a.h5", H5F_ACC_RDONLY, fapl));
    assert_int_equal(stock_open("a.h5", H5F_ACC_RDONLY), 0);
    assert_int_not_equal(stock_open("a.h5", H5F_ACC_RDWR), 0);
    OK(H5Fclose(file));
    assert_int_equal(stock_open("a.h5", H5F_ACC_RDWR), 0);

    int fd = open("a.h5", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0);
    assert_open_fails("a.h5", H5F_ACC_RDONLY, fapl,
                      (const char *const[]){"cannot lock 'a.h5'", "errno = 11", NULL});
    OK(H5Pset_file_locking(no_lock, 0, 0));
    OK(H5Fclose(OK(H5Fopen("a.h5", H5F_ACC_RDONLY, no_lock))));
    close(fd);
    OK(H5Pclose(fapl));
    OK(H5Pclose(no_lock));
}

static void stock_tools_read_the_file_after_close(void **state)
{
    (void)state;
    int status;
    unsigned char bytes[5000];
    memset(bytes, 42, sizeof bytes);
    hid_t fapl = fapl_cte(NULL);
    hid_t file = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, fapl));
    hid_t set = create_bytes(file, "set", sizeof bytes);
    for (hsize_t i = 0; i < 50; i++)
        transfer_bytes(set, true, i * 100, 100, bytes);
    OK(H5Fflush(file, H5F_SCOPE_GLOBAL));
    OK(H5Dclose(set));
    OK(H5Fclose(file));
    assert_true(H5Fis_hdf5("a.h5") > 0);
    char *text = run_command(&status, "h5dump -y -w 0 -d /set -s 4990 -c 10 a.h5 2>&1");
    assert_int_equal(status, 0);
    assert_non_null(strstr(text, "42, 42, 42, 42, 42, 42, 42, 42, 42, 42"));
    free(text);
    OK(H5Pclose(fapl));
}

/* HDF5 closes what a program leaves open, after all the program's own exit handlers. */
static void files_left_open_are_complete_after_exit(void **state)
{
    (void)state;
    for (int drain = CTE_FILE_DRAIN_ON_CLOSE; drain <= CTE_FILE_DRAIN_ASYNC; drain++) {
        int status;
        OK(H5close()); /* the child attaches to the store itself */
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            unsigned char bytes[5000];
            cte_hdf5_config config = CTE_HDF5_CONFIG_INIT;
            config.drain = (cte_file_drain_policy)drain;
            memset(bytes, 42, sizeof bytes);
            hid_t file = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, fapl_cte(&config)));
            transfer_bytes(create_bytes(file, "set", sizeof bytes), true, 0, sizeof bytes, bytes);
            exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        char *text = run_command(&status, "h5dump -y -w 0 -d /set -s 4990 -c 10 a.h5 2>&1");
        assert_int_equal(status, 0);
        assert_non_null(strstr(text, "42, 42, 42, 42, 42, 42, 42, 42, 42, 42"));
        free(text);
        assert_int_equal(unlink("a.h5"), 0);
    }
}

struct sizes {
    hsize_t at[12];
    int count;
};

static void note_size(hid_t file, struct sizes *sizes)
{
    OK(H5Fget_filesize(file, &sizes->at[sizes->count++]));
}

/* The size that HDF5 reports after each kind of operation. */
static void file_size_follows_each_operation(void **state)
{
    (void)state;
    struct sizes sizes[DRIVERS] = {{{0}, 0}, {{0}, 0}};
    unsigned char bytes[3000] = {1};
    for (int driver = 0; driver < DRIVERS; driver++) {
        hid_t fapl = fapl_of(driver);
        hid_t file = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, fapl));
        note_size(file, &sizes[driver]);
        hid_t set = create_bytes(file, "set", 100000);
        note_size(file, &sizes[driver]);
        transfer_bytes(set, true, 0, 100, bytes);
        note_size(file, &sizes[driver]);
        transfer_bytes(set, true, 97000, 3000, bytes);
        note_size(file, &sizes[driver]);
        OK(H5Fflush(file, H5F_SCOPE_LOCAL));
        note_size(file, &sizes[driver]);
        OK(H5Dclose(set));
        OK(H5Ldelete(file, "set", H5P_DEFAULT));
        note_size(file, &sizes[driver]);
        OK(H5Fflush(file, H5F_SCOPE_GLOBAL));
        note_size(file, &sizes[driver]);
        OK(H5Fclose(file));
        file = OK(H5Fopen("a.h5", H5F_ACC_RDONLY, fapl));
        note_size(file, &sizes[driver]);
        OK(H5Fclose(file));
        OK(H5Pclose(fapl));
    }
    assert_memory_equal(&sizes[0], &sizes[1], sizeof sizes[0]);
}

static void descriptor_is_given_only_where_honest(void **state)
{
    (void)state;
    cte_hdf5_config config = CTE_HDF5_CONFIG_INIT;
    void *handle = NULL;
    config.mode = CTE_FILE_MODE_BYPASS;
    hid_t fapl = fapl_cte(&config);
    hid_t file = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, fapl));
    OK(H5Fget_vfd_handle(file, H5P_DEFAULT, &handle));
    struct stat of_handle, of_name;
    assert_int_equal(fstat(*(int *)handle, &of_handle), 0);
    assert_int_equal(stat("a.h5", &of_name), 0);
    assert_true(of_handle.st_ino == of_name.st_ino && of_handle.st_dev == of_name.st_dev);
    OK(H5Fclose(file));
    OK(H5Pclose(fapl));

    cte_file *probe = NULL;
    assert_int_equal(cte_file_open(NULL, "a.h5", O_RDWR, 0600, NULL, &probe), CTE_OK);
    bool tracked = cte_file_is_tracked(probe);
    assert_int_equal(cte_file_close(probe), CTE_OK);
    fapl = fapl_cte(NULL);
    file = OK(H5Fopen("a.h5", H5F_ACC_RDWR, fapl));
    herr_t result;
    H5E_BEGIN_TRY
    {
        result = H5Fget_vfd_handle(file, H5P_DEFAULT, &handle);
    }
    H5E_END_TRY;
    assert_true(tracked ? result < 0 : result >= 0);
    OK(H5Fclose(file));
    OK(H5Pclose(fapl));
}

/* The driver below the library: bounds that HDF5 itself never passes. */
static void addresses_out_of_range_are_refused(void **state)
{
    (void)state;
    hid_t fapl = fapl_cte(NULL);
    unsigned char bytes[16] = {0};
    H5FD_t *file = H5FDopen("raw", H5F_ACC_RDWR | H5F_ACC_CREAT | H5F_ACC_TRUNC, fapl, INT64_MAX);
    assert_non_null(file);
    const H5FD_class_t *driver = file->cls;
    assert_string_equal(driver->name, "cte");
    H5E_BEGIN_TRY
    {
        assert_true(driver->write(file, H5FD_MEM_DRAW, H5P_DEFAULT, INT64_MAX - 8, 16, bytes) < 0);
        assert_true(driver->read(file, H5FD_MEM_DRAW, H5P_DEFAULT, HADDR_UNDEF, 16, bytes) < 0);
        assert_true(driver->write(file, H5FD_MEM_SUPER, H5P_DEFAULT, (haddr_t)1 << 63, 1, bytes) <
                    0);
        assert_true(driver->read(file, H5FD_MEM_SUPER, H5P_DEFAULT, 0, SIZE_MAX, bytes) < 0);
        assert_null(H5FDopen("raw", H5F_ACC_RDWR, fapl, 0));
    }
    H5E_END_TRY;
    assert_true(H5FDget_eof(file, H5FD_MEM_SUPER) == 0);
    OK(H5FDclose(file));
    OK(H5Pclose(fapl));
}

enum { MODEL_BYTES = 600000 };

/* One access, which must do with the file what is done with the model. */
static haddr_t move_one_piece(H5FD_t *file, haddr_t at, unsigned char *model, unsigned char *buffer)
{
    size_t size = 1 + (size_t)random() % (random() % 8 ? 3000 : 70000);
    H5FD_mem_t type = random() % 5 ? H5FD_MEM_DRAW : H5FD_MEM_OHDR;
    if (at + size > MODEL_BYTES)
        at = (haddr_t)random() % (MODEL_BYTES - size);
    if (random() % 2) {
        memset(buffer, (int)(random() % 255), size);
        OK(H5FDwrite(file, type, H5P_DEFAULT, at, size, buffer));
        memcpy(model + at, buffer, size);
    } else {
        OK(H5FDread(file, type, H5P_DEFAULT, at, size, buffer));
        assert_memory_equal(buffer, model + at, size);
    }
    return at + size;
}

#if H5_VERSION_GE(1, 14, 0)
/* A vector of ascending pieces, near each other or not; sizes and types are left out from where
 * they stay the same. */
static haddr_t move_vector(H5FD_t *file, haddr_t at, unsigned char *model, unsigned char *buffer)
{
    enum { PIECES = 40 };
    H5FD_mem_t types[PIECES];
    haddr_t addrs[PIECES];
    size_t sizes[PIECES], in_full[PIECES];
    void *buffers[PIECES];
    bool same_size = random() % 2, same_type = random() % 2, far = random() % 4 == 0;
    uint32_t count = 0, wanted = 1 + (uint32_t)random() % PIECES;
    for (; count < wanted; count++) {
        size_t size = 1 + (size_t)random() % (random() % 16 ? 300 : 50000);
        in_full[count] = same_size && count > 0 ? in_full[0] : size;
        if (at + in_full[count] > MODEL_BYTES)
            break;
        addrs[count] = at;
        buffers[count] = buffer + at;
        sizes[count] = same_size && count > 0 ? 0 : in_full[count];
        types[count] = random() % 5 ? H5FD_MEM_DRAW : H5FD_MEM_OHDR;
        if (same_type && count > 0)
            types[count] = H5FD_MEM_NOLIST;
        at += in_full[count] + (haddr_t)random() % (far ? 20000 : 3000);
    }
    bool write = random() % 2;
    memset(buffer, (int)(random() % 255), MODEL_BYTES);
    if (count > 0 && write)
        OK(H5FDwrite_vector(file, H5P_DEFAULT, count, types, addrs, sizes, (const void **)buffers));
    else if (count > 0)
        OK(H5FDread_vector(file, H5P_DEFAULT, count, types, addrs, sizes, buffers));
    for (uint32_t i = 0; i < count; i++)
        if (write)
            memcpy(model + addrs[i], buffers[i], in_full[i]);
        else
            assert_memory_equal(buffers[i], model + addrs[i], in_full[i]);
    return at;
}
#endif

/* Pieces in every relation to what is pending and to what was read in advance. */
static void pieces_never_show_old_bytes(void **state)
{
    enum { ROUNDS = 6000 };
    (void)state;
    hid_t fapl = fapl_cte(NULL);
    H5FD_t *file = H5FDopen("raw", H5F_ACC_RDWR | H5F_ACC_CREAT | H5F_ACC_TRUNC, fapl, INT64_MAX);
    assert_non_null(file);
    unsigned char *model = calloc(MODEL_BYTES, 1), *buffer = malloc(MODEL_BYTES);
    assert_true(model && buffer);
    haddr_t at = 0;
    srandom(7);
    OK(H5FDset_eoa(file, H5FD_MEM_DEFAULT, MODEL_BYTES));
    for (int round = 0; round < ROUNDS; round++) {
        if (random() % 4 == 0 || at >= MODEL_BYTES)
            at = (haddr_t)random() % MODEL_BYTES;
#if H5_VERSION_GE(1, 14, 0)
        if (random() % 3 == 0) {
            at = move_vector(file, at, model, buffer);
            continue;
        }
#endif
        at = move_one_piece(file, at, model, buffer);
        if (random() % 200 == 0)
            OK(H5FDflush(file, H5P_DEFAULT, 0));
    }
    OK(H5FDtruncate(file, H5P_DEFAULT, 0));
    OK(H5FDclose(file));
    size_t bytes = 0;
    char *whole = read_whole("raw", &bytes);
    assert_int_equal(bytes, MODEL_BYTES);
    assert_memory_equal(whole, model, MODEL_BYTES);
    free(whole);
    free(model);
    free(buffer);
    OK(H5Pclose(fapl));
}

#if H5_VERSION_GE(1, 14, 0)
static void check_accessible(hid_t fapl)
{
    FILE *other = fopen("other", "w");
    assert_non_null(other);
    fputs("no HDF5", other);
    fclose(other);
    assert_true(H5Fis_accessible("a.h5", fapl) > 0);
    assert_true(H5Fis_accessible("other", fapl) == 0);
    H5E_BEGIN_TRY
    {
        assert_true(H5Fis_accessible("absent", fapl) < 0);
    }
    H5E_END_TRY;
}
#else
static void check_accessible(hid_t fapl)
{
    (void)fapl; /* HDF5 1.10 asks with the default driver only */
}
#endif

/* What closing does with objects that are open, and what is said of files that are not ours. */
static void close_degrees_and_accessibility_are_kept(void **state)
{
    (void)state;
    hid_t fapl = fapl_cte(NULL);
    make_file("a.h5", fapl);
    check_accessible(fapl);
    for (int strong = 0; strong < 2; strong++) {
        OK(H5Pset_fclose_degree(fapl, strong ? H5F_CLOSE_STRONG : H5F_CLOSE_WEAK));
        hid_t file = OK(H5Fopen("a.h5", H5F_ACC_RDWR, fapl));
        hid_t group = OK(H5Gopen2(file, "/", H5P_DEFAULT));
        OK(H5Fclose(file));
        assert_true((H5Iis_valid(group) > 0) == !strong);
        if (!strong)
            OK(H5Gclose(group));
    }
    OK(H5Pset_fclose_degree(fapl, H5F_CLOSE_SEMI));
    hid_t file = OK(H5Fopen("a.h5", H5F_ACC_RDWR, fapl));
    hid_t group = OK(H5Gopen2(file, "/", H5P_DEFAULT));
    H5E_BEGIN_TRY
    {
        assert_true(H5Fclose(file) < 0);
    }
    H5E_END_TRY;
    OK(H5Gclose(group));
    OK(H5Fclose(file));
    OK(H5Pclose(fapl));
}

/* A write error comes out at the latest with the flush, with name, offset, size and cause. */
static void write_errors_are_told(void **state)
{
    (void)state;
    cte_hdf5_config config = CTE_HDF5_CONFIG_INIT;
    unsigned char bytes[1000] = {1};
    struct rlimit old, low;
    config.mode = CTE_FILE_MODE_BYPASS; /* the file size limit is felt at once */
    hid_t fapl = fapl_cte(&config);
    H5FD_t *file = H5FDopen("raw", H5F_ACC_RDWR | H5F_ACC_CREAT | H5F_ACC_TRUNC, fapl, INT64_MAX);
    assert_non_null(file);
    OK(H5FDset_eoa(file, H5FD_MEM_DEFAULT, 100000));
    OK(H5FDwrite(file, H5FD_MEM_DRAW, H5P_DEFAULT, 70000, sizeof bytes, bytes));
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = old;
    low.rlim_cur = 65536;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    herr_t flushed;
    H5E_BEGIN_TRY
    {
        flushed = H5FDflush(file, H5P_DEFAULT, 0);
    }
    H5E_END_TRY;
    char *text = error_stack_text();
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, before);
    assert_true(flushed < 0);
    assert_non_null(strstr(text, "filename = 'raw', offset = 70000, size = 1000, error message = "
                                 "'File too large' (EFBIG)"));
    free(text);
    OK(H5FDflush(file, H5P_DEFAULT, 0)); /* what was pending still is, and now goes through */
    OK(H5FDclose(file));
    size_t size = 0;
    char *whole = read_whole("raw", &size);
    assert_int_equal(size, 71000);
    assert_int_equal(whole[70000], 1);
    free(whole);
    OK(H5Pclose(fapl));
}

#if H5_VERSION_GE(1, 14, 0)
/* A vector that is written in part: the end is where the file's is, so that closing gives the file
 * its size all the same. */
static void failed_vectors_leave_the_true_end(void **state)
{
    (void)state;
    enum { PIECE = 40000, FAR = 200000 };
    cte_hdf5_config config = CTE_HDF5_CONFIG_INIT;
    unsigned char *bytes = calloc(1, PIECE);
    struct rlimit old, low;
    struct stat st;
    config.mode = CTE_FILE_MODE_BYPASS; /* the file size limit is felt at once */
    hid_t fapl = fapl_cte(&config);
    H5FD_t *file = H5FDopen("raw", H5F_ACC_RDWR | H5F_ACC_CREAT | H5F_ACC_TRUNC, fapl, INT64_MAX);
    assert_true(file && bytes);
    OK(H5FDset_eoa(file, H5FD_MEM_DEFAULT, FAR + PIECE));
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = old;
    low.rlim_cur = 65536;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    H5FD_mem_t types[] = {H5FD_MEM_DRAW, H5FD_MEM_NOLIST};
    haddr_t addrs[] = {0, FAR};
    size_t sizes[] = {PIECE, 0};
    const void *buffers[] = {bytes, bytes};
    herr_t written;
    H5E_BEGIN_TRY
    {
        written = H5FDwrite_vector(file, H5P_DEFAULT, 2, types, addrs, sizes, buffers);
    }
    H5E_END_TRY;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, before);
    assert_true(written < 0);
    assert_int_equal(stat("raw", &st), 0);
    assert_true(H5FDget_eof(file, H5FD_MEM_DRAW) == (haddr_t)st.st_size);
    OK(H5FDtruncate(file, H5P_DEFAULT, 1));
    OK(H5FDclose(file));
    assert_int_equal(stat("raw", &st), 0);
    assert_int_equal(st.st_size, FAR + PIECE);
    free(bytes);
    OK(H5Pclose(fapl));
}
#endif

/* Reads past the end of the file but inside what HDF5 allocated are zeros. */
static void unwritten_bytes_read_as_zeros(void **state)
{
    (void)state;
    hid_t fapl = fapl_cte(NULL);
    H5FD_t *file = H5FDopen("raw", H5F_ACC_RDWR | H5F_ACC_CREAT | H5F_ACC_TRUNC, fapl, INT64_MAX);
    assert_non_null(file);
    unsigned char bytes[8192], zeros[8192] = {0};
    memset(bytes, 1, sizeof bytes);
    OK(H5FDset_eoa(file, H5FD_MEM_DEFAULT, 200000));
    OK(H5FDwrite(file, H5FD_MEM_SUPER, H5P_DEFAULT, 0, 5000, bytes));
    OK(H5FDread(file, H5FD_MEM_SUPER, H5P_DEFAULT, 1000, sizeof bytes, bytes));
    assert_int_equal(bytes[3999], 1);
    assert_memory_equal(bytes + 4000, zeros, 4192);
    OK(H5FDread(file, H5FD_MEM_DRAW, H5P_DEFAULT, 100000, sizeof bytes, bytes));
    assert_memory_equal(bytes, zeros, sizeof bytes);
    assert_true(H5FDget_eof(file, H5FD_MEM_SUPER) == 5000);
    OK(H5FDtruncate(file, H5P_DEFAULT, 1));
    assert_true(H5FDget_eof(file, H5FD_MEM_SUPER) == 200000);
    OK(H5FDclose(file));
    OK(H5Pclose(fapl));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, in_scratch, out_of_scratch)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(configuration_is_kept_and_checked),
        TEST(driver_without_configuration_takes_defaults),
        TEST(survives_close_of_the_library),
        TEST(open_errors_are_those_of_the_default_driver),
        TEST(read_only_files_stay_so),
        TEST(one_file_opened_twice_is_one_file),
        TEST(other_processes_see_the_lock),
        TEST(stock_tools_read_the_file_after_close),
        TEST(files_left_open_are_complete_after_exit),
        TEST(file_size_follows_each_operation),
        TEST(descriptor_is_given_only_where_honest),
        TEST(addresses_out_of_range_are_refused),
        TEST(pieces_never_show_old_bytes),
        TEST(close_degrees_and_accessibility_are_kept),
        TEST(unwritten_bytes_read_as_zeros),
        TEST(write_errors_are_told),
#if H5_VERSION_GE(1, 14, 0)
        TEST(failed_vectors_leave_the_true_end),
#endif
    };
    (void)scratch_directory();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
