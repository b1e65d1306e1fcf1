/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs about files: groups, links, user blocks, several files, reopening, page strategies. */
#include "programs.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void many_links(hid_t base, const char *name, H5F_libver_t low, int count)
{
    hid_t fapl = OK(H5Pcopy(base));
    OK(H5Pset_libver_bounds(fapl, low, H5F_LIBVER_LATEST));
    hid_t file = OK(H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, fapl));
    hid_t group = OK(H5Gcreate2(file, "many", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    write_ints(file, "target", 4, 0);
    for (int i = 0; i < count; i++) {
        char link[32];
        snprintf(link, sizeof link, "link%05d", (i * 7919) % count);
        if (i % 2)
            OK(H5Lcreate_soft("/target", group, link, H5P_DEFAULT, H5P_DEFAULT));
        else
            OK(H5Lcreate_hard(file, "target", group, link, H5P_DEFAULT, H5P_DEFAULT));
    }
    for (int i = 0; i < count; i += 3) {
        char link[32];
        snprintf(link, sizeof link, "link%05d", i);
        OK(H5Ldelete(group, link, H5P_DEFAULT));
    }
    OK(H5Gclose(group));
    OK(H5Fclose(file));
    file = OK(H5Fopen(name, H5F_ACC_RDONLY, fapl));
    check_ints(file, "many/link00001", 4, 0);
    H5G_info_t info;
    OK(H5Gget_info_by_name(file, "many", &info, H5P_DEFAULT));
    CHECK(info.nlinks == (hsize_t)(count - (count + 2) / 3));
    OK(H5Fclose(file));
    OK(H5Pclose(fapl));
}

static void links(hid_t base)
{
    many_links(base, "a.h5", H5F_LIBVER_EARLIEST, 100000);
    many_links(base, "latest.h5", H5F_LIBVER_LATEST, 20000);
}

static void user_block(hid_t base)
{
    static const char text[] = "this belongs to the user\n";
    hid_t fcpl = OK(H5Pcreate(H5P_FILE_CREATE));
    OK(H5Pset_userblock(fcpl, 2048));
    hid_t file = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, fcpl, base));
    write_ints(file, "data", 5000, 1);
    OK(H5Fclose(file));
    FILE *stream = fopen("a.h5", "r+b");
    CHECK(stream && fwrite(text, sizeof text, 1, stream) == 1 && fclose(stream) == 0);
    file = OK(H5Fopen("a.h5", H5F_ACC_RDWR, base));
    check_ints(file, "data", 5000, 1);
    write_ints(file, "more", 5000, 2);
    OK(H5Fclose(file));
    char found[sizeof text];
    stream = fopen("a.h5", "rb");
    CHECK(stream && fread(found, sizeof found, 1, stream) == 1 && fclose(stream) == 0);
    CHECK(memcmp(found, text, sizeof text) == 0);
    OK(H5Pclose(fcpl));
}

static void external_links(hid_t base)
{
    hid_t other = OK(H5Fcreate("other.h5", H5F_ACC_TRUNC, H5P_DEFAULT, base));
    write_ints(other, "data", 3000, 3);
    OK(H5Fclose(other));
    hid_t file = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, base));
    OK(H5Lcreate_external("other.h5", "/data", file, "elsewhere", H5P_DEFAULT, H5P_DEFAULT));
    check_ints(file, "elsewhere", 3000, 3);
    OK(H5Fclose(file));
}

/* The link is relative to where the symbolic link points, not to where it lies. */
static void symbolic_link(hid_t base)
{
    CHECK(mkdir("sub", 0700) == 0 && chdir("sub") == 0);
    external_links(base);
    CHECK(chdir("..") == 0 && symlink("sub/a.h5", "a.h5") == 0);
    hid_t file = OK(H5Fopen("a.h5", H5F_ACC_RDWR, base));
    check_ints(file, "elsewhere", 3000, 3);
    write_ints(file, "through", 100, 0);
    OK(H5Fclose(file));
}

static void reopen(hid_t base)
{
    hid_t first = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, base));
    write_ints(first, "one", 4000, 1);
    hid_t second = OK(H5Freopen(first));
    OK(H5Fclose(first));
    check_ints(second, "one", 4000, 1);
    write_ints(second, "two", 4000, 2);
    hid_t third = OK(H5Fopen("a.h5", H5F_ACC_RDWR, base));
    check_ints(third, "two", 4000, 2);
    OK(H5Fclose(second));
    write_ints(third, "three", 4000, 3);
    OK(H5Fclose(third));
}

static void family(hid_t base)
{
    hid_t fapl = OK(H5Pcreate(H5P_FILE_ACCESS));
    OK(H5Pset_fapl_family(fapl, 65536, base));
    hid_t file = OK(H5Fcreate("part%02d.h5", H5F_ACC_TRUNC, H5P_DEFAULT, fapl));
    write_ints(file, "data", 100000, 5);
    OK(H5Fclose(file));
    file = OK(H5Fopen("part%02d.h5", H5F_ACC_RDWR, fapl));
    check_ints(file, "data", 100000, 5);
    write_ints(file, "more", 100000, 6);
    OK(H5Fclose(file));
    OK(H5Pclose(fapl));
}

static void split(hid_t base)
{
    hid_t fapl = OK(H5Pcreate(H5P_FILE_ACCESS));
    OK(H5Pset_fapl_split(fapl, ".meta", base, ".raw", base));
    hid_t file = OK(H5Fcreate("a", H5F_ACC_TRUNC, H5P_DEFAULT, fapl));
    write_ints(file, "data", 100000, 5);
    OK(H5Fclose(file));
    file = OK(H5Fopen("a", H5F_ACC_RDWR, fapl));
    check_ints(file, "data", 100000, 5);
    write_ints(file, "more", 1000, 6);
    OK(H5Fclose(file));
    OK(H5Pclose(fapl));
}

static void delete_and_reuse(hid_t file, bool flush)
{
    for (int i = 0; i < 30; i++) {
        char name[32];
        snprintf(name, sizeof name, "set%d", i);
        write_ints(file, name, 500 + (hsize_t)i * 37, i);
        if (i % 3 == 2) {
            snprintf(name, sizeof name, "set%d", i - 1);
            OK(H5Ldelete(file, name, H5P_DEFAULT));
        }
        if (flush && i % 10 == 0)
            OK(H5Fflush(file, H5F_SCOPE_GLOBAL));
    }
    check_ints(file, "set29", 500 + 29 * 37, 29);
}

static void paged(hid_t base, H5F_fspace_strategy_t strategy, size_t page_buffer)
{
    hid_t fcpl = OK(H5Pcreate(H5P_FILE_CREATE)), fapl = OK(H5Pcopy(base));
    OK(H5Pset_file_space_strategy(fcpl, strategy, 1, 1));
    OK(H5Pset_file_space_page_size(fcpl, 4096));
    if (page_buffer)
        OK(H5Pset_page_buffer_size(fapl, page_buffer, 20, 20));
    hid_t file = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, fcpl, fapl));
    delete_and_reuse(file, true);
    OK(H5Fclose(file));
    file = OK(H5Fopen("a.h5", H5F_ACC_RDWR, fapl));
    check_ints(file, "set29", 500 + 29 * 37, 29);
    write_ints(file, "later", 9000, 9);
    OK(H5Fclose(file));
    OK(H5Pclose(fcpl));
    OK(H5Pclose(fapl));
}

static void page_aggregation(hid_t base)
{
    paged(base, H5F_FSPACE_STRATEGY_PAGE, 0);
}

static void page_buffer(hid_t base)
{
    paged(base, H5F_FSPACE_STRATEGY_PAGE, 16 * 4096);
}

static void free_space_managed(hid_t base)
{
    paged(base, H5F_FSPACE_STRATEGY_FSM_AGGR, 0);
}

static void existing_read_write(hid_t base)
{
    hid_t plain = fapl_sec2();
    hid_t file = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, plain));
    delete_and_reuse(file, false);
    OK(H5Fclose(file));
    OK(H5Pclose(plain));
    file = OK(H5Fopen("a.h5", H5F_ACC_RDWR, base));
    OK(H5Ldelete(file, "set3", H5P_DEFAULT));
    write_ints(file, "new", 20000, 4);
    check_ints(file, "set29", 500 + 29 * 37, 29);
    OK(H5Fclose(file));
}

/* The second file is the smaller: nothing of the first may shine through. */
static void truncate_existing(hid_t base)
{
    hid_t file = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, base));
    write_ints(file, "big", 400000, 1);
    OK(H5Fclose(file));
    file = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, base));
    write_ints(file, "small", 10, 2);
    OK(H5Fclose(file));
}

/* An image made in memory by the core driver is read back through the driver under test. */
static void core_image(hid_t base)
{
    hid_t core = OK(H5Pcreate(H5P_FILE_ACCESS));
    OK(H5Pset_fapl_core(core, 65536, 0));
    hid_t file = OK(H5Fcreate("in memory", H5F_ACC_TRUNC, H5P_DEFAULT, core));
    write_ints(file, "data", 10000, 8);
    OK(H5Fflush(file, H5F_SCOPE_GLOBAL));
    ssize_t bytes = OK(H5Fget_file_image(file, NULL, 0));
    char *image = malloc((size_t)bytes);
    CHECK(image && H5Fget_file_image(file, image, (size_t)bytes) == bytes);
    OK(H5Fclose(file));
    OK(H5Pclose(core));
    FILE *stream = fopen("a.h5", "wb");
    CHECK(stream && fwrite(image, (size_t)bytes, 1, stream) == 1 && fclose(stream) == 0);
    free(image);
    file = OK(H5Fopen("a.h5", H5F_ACC_RDWR, base));
    check_ints(file, "data", 10000, 8);
    write_ints(file, "more", 10000, 9);
    OK(H5Fflush(file, H5F_SCOPE_GLOBAL));
    bytes = OK(H5Fget_file_image(file, NULL, 0)); /* read through the driver itself */
    image = malloc((size_t)bytes);
    CHECK(image && H5Fget_file_image(file, image, (size_t)bytes) == bytes);
    stream = fopen("image.h5", "wb");
    CHECK(stream && fwrite(image, (size_t)bytes, 1, stream) == 1 && fclose(stream) == 0);
    free(image);
    OK(H5Fclose(file));
}

/* Addresses beyond 32 bits, without the disk space. */
static void sparse(hid_t base)
{
    hsize_t dims[1] = {(hsize_t)5 << 30}, start[1], count[1] = {1000};
    hid_t file = OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, base));
    hid_t dcpl = dataset_creation(1, NULL), space = OK(H5Screate_simple(1, dims, NULL));
    OK(H5Pset_alloc_time(dcpl, H5D_ALLOC_TIME_EARLY));
    OK(H5Pset_fill_time(dcpl, H5D_FILL_TIME_NEVER));
    hid_t set = OK(H5Dcreate2(file, "big", H5T_STD_I8LE, space, H5P_DEFAULT, dcpl, H5P_DEFAULT));
    hid_t memory = OK(H5Screate_simple(1, count, NULL));
    signed char values[1000], found[1000];
    for (int i = 0; i < 1000; i++)
        values[i] = (signed char)(i % 100);
    for (hsize_t gib = 0; gib < 5; gib++) {
        start[0] = (gib << 30) + ((hsize_t)1 << 30) - 1000;
        OK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL));
        OK(H5Dwrite(set, H5T_NATIVE_SCHAR, memory, space, H5P_DEFAULT, values));
        OK(H5Dread(set, H5T_NATIVE_SCHAR, memory, space, H5P_DEFAULT, found));
        CHECK(memcmp(values, found, sizeof values) == 0);
    }
    OK(H5Dclose(set));
    write_ints(file, "behind it", 100, 5);
    check_ints(file, "behind it", 100, 5);
    OK(H5Sclose(space));
    OK(H5Sclose(memory));
    OK(H5Pclose(dcpl));
    OK(H5Fclose(file));
    file = OK(H5Fopen("a.h5", H5F_ACC_RDONLY, base));
    check_ints(file, "behind it", 100, 5);
    OK(H5Fclose(file));
}

const struct program file_programs[] = {
    {"links", links, "a.h5", 0},
    {"user_block", user_block, "a.h5", 0},
    {"external_links", external_links, "a.h5", 0},
    {"symbolic_link", symbolic_link, "a.h5", 0},
    {"reopen", reopen, "a.h5", 0},
    {"family", family, "part%02d.h5", 0},
    {"split", split, "a", 1},
    {"page_aggregation", page_aggregation, "a.h5", 0},
    {"page_buffer", page_buffer, "a.h5", 0},
    {"free_space_managed", free_space_managed, "a.h5", 0},
    {"existing_read_write", existing_read_write, "a.h5", 0},
    {"truncate_existing", truncate_existing, "a.h5", 0},
    {"core_image", core_image, "a.h5", 0},
    {"sparse", sparse, "a.h5", 1},
    {NULL, NULL, NULL, 0},
};
