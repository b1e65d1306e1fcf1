/* SPDX-License-Identifier: BSD-3-Clause */
/* An HDF5 program that knows nothing of cte: default property lists only.
 *
 *     hdf5_sample write FILE    makes FILE with a bit of everything, and FILE.linked beside it
 *     hdf5_sample add FILE      opens FILE and changes some of it
 *
 * The same bytes each time: no object times. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hdf5.h>

enum { ROWS = 512, COLUMNS = 300, CHUNK = 64, WORDS = 40 };

static hid_t ok(hid_t id, const char *what)
{
    if (id < 0) {
        fprintf(stderr, "%s failed\n", what);
        exit(1);
    }
    return id;
}
#define OK(call) ok((call), #call)

static hid_t creation(int chunked)
{
    hsize_t chunk[2] = {CHUNK, CHUNK};
    hid_t list = OK(H5Pcreate(H5P_DATASET_CREATE));
    OK(H5Pset_obj_track_times(list, 0));
    if (chunked) {
        OK(H5Pset_chunk(list, 2, chunk));
        OK(H5Pset_shuffle(list));
        OK(H5Pset_deflate(list, 4));
    }
    return list;
}

static void write_table(hid_t file, const char *name, int chunked, int seed)
{
    static int values[ROWS][COLUMNS];
    hsize_t dims[2] = {ROWS, COLUMNS}, most[2] = {H5S_UNLIMITED, H5S_UNLIMITED};
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++)
            values[i][j] = seed + i * 31 + j * j;
    hid_t list = creation(chunked), space = OK(H5Screate_simple(2, dims, chunked ? most : NULL));
    hid_t set = OK(H5Dcreate2(file, name, H5T_STD_I32LE, space, H5P_DEFAULT, list, H5P_DEFAULT));
    OK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
    OK(H5Dclose(set));
    OK(H5Sclose(space));
    OK(H5Pclose(list));
}

static void write_words(hid_t file)
{
    char storage[WORDS][32], *words[WORDS];
    hsize_t count = WORDS;
    for (int i = 0; i < WORDS; i++) {
        snprintf(storage[i], sizeof storage[i], "word %d%.*s", i, i % 12, "abcdefghijkl");
        words[i] = storage[i];
    }
    hid_t type = OK(H5Tcopy(H5T_C_S1)), list = creation(0);
    OK(H5Tset_size(type, H5T_VARIABLE));
    hid_t space = OK(H5Screate_simple(1, &count, NULL));
    hid_t set = OK(H5Dcreate2(file, "words", type, space, H5P_DEFAULT, list, H5P_DEFAULT));
    OK(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, words));
    hid_t attribute = OK(H5Acreate2(set, "origin", type, space, H5P_DEFAULT, H5P_DEFAULT));
    OK(H5Awrite(attribute, type, words));
    OK(H5Aclose(attribute));
    OK(H5Dclose(set));
    OK(H5Sclose(space));
    OK(H5Tclose(type));
    OK(H5Pclose(list));
}

static void write_groups(hid_t file)
{
    hid_t list = OK(H5Pcreate(H5P_GROUP_CREATE));
    OK(H5Pset_obj_track_times(list, 0));
    hid_t top = OK(H5Gcreate2(file, "groups", H5P_DEFAULT, list, H5P_DEFAULT));
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "group%03d", i);
        OK(H5Gclose(OK(H5Gcreate2(top, name, H5P_DEFAULT, list, H5P_DEFAULT))));
    }
    OK(H5Lcreate_soft("/table", top, "soft", H5P_DEFAULT, H5P_DEFAULT));
    OK(H5Gclose(top));
    OK(H5Pclose(list));
}

static void write_all(const char *name)
{
    char linked[4096];
    snprintf(linked, sizeof linked, "%s.linked", name);
    hid_t file = OK(H5Fcreate(linked, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
    write_table(file, "table", 1, 7);
    OK(H5Fclose(file));
    file = OK(H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
    write_table(file, "table", 0, 1);
    write_table(file, "packed", 1, 2);
    write_words(file);
    write_groups(file);
    const char *beside = strrchr(linked, '/') ? strrchr(linked, '/') + 1 : linked;
    OK(H5Lcreate_external(beside, "/table", file, "outside", H5P_DEFAULT, H5P_DEFAULT));
    OK(H5Fclose(file));
}

static void add(const char *name)
{
    hid_t file = OK(H5Fopen(name, H5F_ACC_RDWR, H5P_DEFAULT));
    write_table(file, "added", 1, 3);
    OK(H5Ldelete(file, "words", H5P_DEFAULT));
    OK(H5Fclose(file));
}

int main(int argc, char **argv)
{
    if (argc != 3 || (strcmp(argv[1], "write") != 0 && strcmp(argv[1], "add") != 0)) {
        fprintf(stderr, "usage: see the head of sample.c\n");
        return 2;
    }
    argv[1][0] == 'w' ? write_all(argv[2]) : add(argv[2]);
    return 0;
}
