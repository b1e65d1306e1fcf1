/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs about datasets, types and attributes. */
#include "programs.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

hid_t dataset_creation(int rank, const hsize_t *chunk)
{
    hid_t dcpl = OK(H5Pcreate(H5P_DATASET_CREATE));
    OK(H5Pset_obj_track_times(dcpl, 0));
    if (chunk)
        OK(H5Pset_chunk(dcpl, rank, chunk));
    return dcpl;
}

int *ramp(size_t count, int start)
{
    int *values = malloc(count * sizeof *values);
    CHECK(values != NULL);
    for (size_t i = 0; i < count; i++)
        values[i] = start + (int)i;
    return values;
}

static hid_t create_ints(hid_t location, const char *name, int rank, const hsize_t *dims,
                         const hsize_t *max, hid_t dcpl)
{
    hid_t space = OK(H5Screate_simple(rank, dims, max));
    hid_t set =
        OK(H5Dcreate2(location, name, H5T_STD_I32LE, space, H5P_DEFAULT, dcpl, H5P_DEFAULT));
    OK(H5Sclose(space));
    return set;
}

void write_ints(hid_t location, const char *name, hsize_t count, int start)
{
    hid_t dcpl = dataset_creation(1, NULL);
    hid_t set = create_ints(location, name, 1, &count, NULL, dcpl);
    int *values = ramp(count, start);
    OK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
    free(values);
    OK(H5Dclose(set));
    OK(H5Pclose(dcpl));
}

void check_ints(hid_t location, const char *name, hsize_t count, int start)
{
    hid_t set = OK(H5Dopen2(location, name, H5P_DEFAULT));
    int *found = malloc(count * sizeof *found), *expected = ramp(count, start);
    CHECK(found != NULL);
    OK(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, found));
    CHECK(memcmp(found, expected, count * sizeof *found) == 0);
    free(found);
    free(expected);
    OK(H5Dclose(set));
}

static hid_t create_file(hid_t fapl)
{
    return OK(H5Fcreate("a.h5", H5F_ACC_TRUNC, H5P_DEFAULT, fapl));
}

/* A row or a block at a time, then read back another way. */
static void move_rows(hid_t set, bool write, hsize_t rows, hsize_t columns, hsize_t step)
{
    int *values = malloc(step * columns * sizeof *values);
    CHECK(values != NULL);
    for (hsize_t row = 0; row < rows; row += step) {
        hsize_t n = rows - row < step ? rows - row : step;
        hsize_t start[2] = {row, 0}, count[2] = {n, columns};
        hid_t file_space = OK(H5Dget_space(set)), memory = OK(H5Screate_simple(2, count, NULL));
        OK(H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, NULL, count, NULL));
        int *expected = ramp(n * columns, (int)(row * columns));
        if (write) {
            OK(H5Dwrite(set, H5T_NATIVE_INT, memory, file_space, H5P_DEFAULT, expected));
        } else {
            OK(H5Dread(set, H5T_NATIVE_INT, memory, file_space, H5P_DEFAULT, values));
            CHECK(memcmp(values, expected, n * columns * sizeof *values) == 0);
        }
        free(expected);
        OK(H5Sclose(file_space));
        OK(H5Sclose(memory));
    }
    free(values);
}

static void rows_and_back(hid_t base, hid_t dcpl, const hsize_t *max)
{
    enum { ROWS = 700, COLUMNS = 301 };
    hsize_t dims[2] = {ROWS, COLUMNS};
    hid_t file = create_file(base);
    hid_t set = create_ints(file, "rows", 2, dims, max, dcpl);
    move_rows(set, true, ROWS, COLUMNS, 3);
    move_rows(set, false, ROWS, COLUMNS, 64);
    OK(H5Dclose(set));
    write_ints(file, "whole", 300000, 7);
    check_ints(file, "whole", 300000, 7);
    OK(H5Fclose(file));
    file = OK(H5Fopen("a.h5", H5F_ACC_RDONLY, base));
    set = OK(H5Dopen2(file, "rows", H5P_DEFAULT));
    move_rows(set, false, ROWS, COLUMNS, 1);
    check_ints(file, "whole", 300000, 7);
    OK(H5Dclose(set));
    OK(H5Fclose(file));
    OK(H5Pclose(dcpl));
}

static void contiguous(hid_t base)
{
    rows_and_back(base, dataset_creation(2, NULL), NULL);
}

static void chunked(hid_t base)
{
    rows_and_back(base, dataset_creation(2, (const hsize_t[]){33, 50}), NULL);
}

static void compressed(hid_t base)
{
    hid_t dcpl = dataset_creation(2, (const hsize_t[]){64, 64});
    OK(H5Pset_shuffle(dcpl));
    OK(H5Pset_deflate(dcpl, 4));
    OK(H5Pset_fletcher32(dcpl));
    rows_and_back(base, dcpl, NULL);
}

/* Pieces of 4 bytes out of order: the worst for whatever joins small pieces. */
static void strided(hid_t base)
{
    enum { COUNT = 20011 };
    hsize_t dims[1] = {COUNT};
    hid_t file = create_file(base), dcpl = dataset_creation(1, NULL);
    hid_t set = create_ints(file, "strided", 1, dims, NULL, dcpl);
    int *values = ramp(COUNT, 0), *found = malloc(COUNT * sizeof *found);
    CHECK(found != NULL);
    for (hsize_t phase = 0; phase < 7; phase++) {
        hsize_t start[1] = {(phase * 3) % 7}, stride[1] = {7};
        hsize_t count[1] = {(COUNT - start[0] + 6) / 7};
        hid_t space = OK(H5Dget_space(set));
        OK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, stride, count, NULL));
        OK(H5Dwrite(set, H5T_NATIVE_INT, space, space, H5P_DEFAULT, values));
        OK(H5Dread(set, H5T_NATIVE_INT, space, space, H5P_DEFAULT, found));
        OK(H5Sclose(space));
    }
    CHECK(memcmp(values, found, COUNT * sizeof *found) == 0);
    free(values);
    free(found);
    OK(H5Dclose(set));
    check_ints(file, "strided", COUNT, 0);
    OK(H5Fclose(file));
    OK(H5Pclose(dcpl));
}

static void extendible(hid_t base)
{
    hsize_t size[1] = {0}, max[1] = {H5S_UNLIMITED}, chunk[1] = {1000};
    hid_t file = create_file(base), dcpl = dataset_creation(1, chunk);
    hid_t set = create_ints(file, "series", 1, size, max, dcpl);
    for (hsize_t step = 0; step < 60; step++) {
        hsize_t start[1] = {size[0]}, count[1] = {37 + step * 11};
        size[0] += count[0];
        OK(H5Dset_extent(set, size));
        hid_t space = OK(H5Dget_space(set)), memory = OK(H5Screate_simple(1, count, NULL));
        OK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL));
        int *values = ramp(count[0], (int)start[0]);
        OK(H5Dwrite(set, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, values));
        free(values);
        OK(H5Sclose(space));
        OK(H5Sclose(memory));
        if (step % 20 == 0)
            OK(H5Fflush(file, H5F_SCOPE_LOCAL));
    }
    check_ints(set, ".", size[0], 0);
    size[0] /= 3; /* shrinking frees chunks, growing again must show the fill value */
    OK(H5Dset_extent(set, size));
    size[0] *= 2;
    OK(H5Dset_extent(set, size));
    OK(H5Dclose(set));
    OK(H5Pclose(dcpl));
    OK(H5Fclose(file));
}

struct record {
    int id;
    double values[3];
    char tag[8];
    short code;
};

static hid_t record_type(void)
{
    hsize_t three[1] = {3};
    hid_t array = OK(H5Tarray_create2(H5T_NATIVE_DOUBLE, 1, three)), text = OK(H5Tcopy(H5T_C_S1));
    OK(H5Tset_size(text, sizeof((struct record *)0)->tag));
    hid_t type = OK(H5Tcreate(H5T_COMPOUND, sizeof(struct record)));
    OK(H5Tinsert(type, "id", HOFFSET(struct record, id), H5T_NATIVE_INT));
    OK(H5Tinsert(type, "values", HOFFSET(struct record, values), array));
    OK(H5Tinsert(type, "tag", HOFFSET(struct record, tag), text));
    OK(H5Tinsert(type, "code", HOFFSET(struct record, code), H5T_NATIVE_SHORT));
    OK(H5Tclose(array));
    OK(H5Tclose(text));
    return type;
}

static void compound(hid_t base)
{
    enum { COUNT = 5000 };
    hsize_t dims[1] = {COUNT}, chunk[1] = {128};
    hid_t file = create_file(base), type = record_type(), dcpl = dataset_creation(1, chunk);
    hid_t space = OK(H5Screate_simple(1, dims, NULL));
    struct record *records = calloc(COUNT, sizeof *records);
    CHECK(records != NULL);
    for (int i = 0; i < COUNT; i++) {
        records[i].id = i;
        records[i].values[i % 3] = i * 0.5;
        snprintf(records[i].tag, sizeof records[i].tag, "t%d", i % 1000);
        records[i].code = (short)(i % 77);
    }
    hid_t set = OK(H5Dcreate2(file, "records", type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT));
    OK(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, records));
    struct record *found = calloc(COUNT, sizeof *found);
    CHECK(found != NULL);
    OK(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, found));
    for (int i = 0; i < COUNT; i++)
        CHECK(found[i].id == i && found[i].values[i % 3] == i * 0.5);
    free(records);
    free(found);
    OK(H5Dclose(set));
    OK(H5Sclose(space));
    OK(H5Pclose(dcpl));
    OK(H5Tclose(type));
    OK(H5Fclose(file));
}

/* Variable length data lives in global heaps; rewriting it frees and reuses their space. */
static void variable_length(hid_t base)
{
    enum { COUNT = 400 };
    char texts[COUNT][32];
    const char *pointers[COUNT];
    hsize_t dims[1] = {COUNT};
    hid_t file = create_file(base), dcpl = dataset_creation(1, NULL);
    hid_t type = OK(H5Tcopy(H5T_C_S1)), space = OK(H5Screate_simple(1, dims, NULL));
    OK(H5Tset_size(type, H5T_VARIABLE));
    hid_t set = OK(H5Dcreate2(file, "texts", type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            snprintf(texts[i], sizeof texts[i], "%.*s-%d", 1 + (i * 7 + round) % 20,
                     "abcdefghijklmnopqrstuvwxyz", round);
            pointers[i] = texts[i];
        }
        OK(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers));
        OK(H5Fflush(file, H5F_SCOPE_GLOBAL));
    }
    char *found[COUNT];
    OK(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, found));
    for (int i = 0; i < COUNT; i++)
        CHECK(strcmp(found[i], texts[i]) == 0);
    OK(H5Dvlen_reclaim(type, space, H5P_DEFAULT, found));
    OK(H5Dclose(set));
    OK(H5Sclose(space));
    OK(H5Tclose(type));
    OK(H5Pclose(dcpl));
    OK(H5Fclose(file));
}

static void region_references(hid_t base)
{
    enum { REFERENCES = 3 };
    hdset_reg_ref_t references[REFERENCES];
    hobj_ref_t object;
    hsize_t dims[1] = {REFERENCES}, one[1] = {1};
    hid_t file = create_file(base), dcpl = dataset_creation(1, NULL);
    write_ints(file, "data", 1000, 1);
    hid_t set = OK(H5Dopen2(file, "data", H5P_DEFAULT)), space = OK(H5Dget_space(set));
    for (hsize_t i = 0; i < REFERENCES; i++) {
        hsize_t start[1] = {i * 100}, count[1] = {5 + i};
        OK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL));
        OK(H5Rcreate(&references[i], file, "data", H5R_DATASET_REGION, space));
    }
    OK(H5Rcreate(&object, file, "data", H5R_OBJECT, -1));
    OK(H5Sclose(space));
    OK(H5Dclose(set));
    space = OK(H5Screate_simple(1, dims, NULL));
    set =
        OK(H5Dcreate2(file, "regions", H5T_STD_REF_DSETREG, space, H5P_DEFAULT, dcpl, H5P_DEFAULT));
    OK(H5Dwrite(set, H5T_STD_REF_DSETREG, H5S_ALL, H5S_ALL, H5P_DEFAULT, references));
    OK(H5Dclose(set));
    OK(H5Sclose(space));
    space = OK(H5Screate_simple(1, one, NULL));
    set = OK(H5Dcreate2(file, "object", H5T_STD_REF_OBJ, space, H5P_DEFAULT, dcpl, H5P_DEFAULT));
    OK(H5Dwrite(set, H5T_STD_REF_OBJ, H5S_ALL, H5S_ALL, H5P_DEFAULT, &object));
    hid_t region = OK(H5Rget_region(file, H5R_DATASET_REGION, &references[2]));
    CHECK(H5Sget_select_npoints(region) == 7);
    OK(H5Sclose(region));
    OK(H5Dclose(set));
    OK(H5Sclose(space));
    OK(H5Pclose(dcpl));
    OK(H5Fclose(file));
}

/* Sources are opened by HDF5 itself, with the driver of the virtual dataset's file. */
static void virtual_dataset(hid_t base)
{
    enum { SOURCES = 4, COUNT = 1000 };
    hsize_t total[1] = {SOURCES * COUNT}, one[1] = {COUNT};
    hid_t dcpl = dataset_creation(1, NULL), whole = OK(H5Screate_simple(1, total, NULL));
    for (hsize_t i = 0; i < SOURCES; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d.h5", (int)i);
        hid_t source = OK(H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, base));
        write_ints(source, "part", COUNT, (int)i * COUNT);
        OK(H5Fclose(source));
        hsize_t start[1] = {i * COUNT};
        hid_t part = OK(H5Screate_simple(1, one, NULL));
        OK(H5Sselect_hyperslab(whole, H5S_SELECT_SET, start, NULL, one, NULL));
        OK(H5Pset_virtual(dcpl, whole, name, "part", part));
        OK(H5Sclose(part));
    }
    hid_t fapl = OK(H5Pcopy(base)), file;
    OK(H5Pset_libver_bounds(fapl, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST));
    file = create_file(fapl);
    hid_t set = create_ints(file, "all", 1, total, NULL, dcpl);
    OK(H5Dclose(set));
    check_ints(file, "all", SOURCES * COUNT, 0);
    OK(H5Fclose(file));
    OK(H5Pclose(fapl));
    OK(H5Pclose(dcpl));
    OK(H5Sclose(whole));
}

static void attributes(hid_t base)
{
    hid_t file = create_file(base);
    write_ints(file, "data", 10, 0);
    hid_t set = OK(H5Dopen2(file, "data", H5P_DEFAULT));
    for (int i = 0; i < 60; i++) { /* enough for the dense form under the latest format */
        char name[32];
        hsize_t dims[1] = {1 + (hsize_t)i * 5};
        snprintf(name, sizeof name, "attribute %d", i);
        hid_t space = OK(H5Screate_simple(1, dims, NULL));
        hid_t attribute = OK(H5Acreate2(set, name, H5T_STD_I32BE, space, H5P_DEFAULT, H5P_DEFAULT));
        int *values = ramp(dims[0], i);
        OK(H5Awrite(attribute, H5T_NATIVE_INT, values));
        free(values);
        OK(H5Aclose(attribute));
        OK(H5Sclose(space));
    }
    OK(H5Adelete(set, "attribute 17"));
    OK(H5Arename(set, "attribute 18", "renamed"));
    OK(H5Dclose(set));
    OK(H5Fclose(file));
}

static void zero_size(hid_t base)
{
    hsize_t none[2] = {0, 5}, max[2] = {H5S_UNLIMITED, 5}, chunk[2] = {4, 5};
    hid_t file = create_file(base), plain = dataset_creation(2, NULL);
    hid_t tiled = dataset_creation(2, chunk), null = OK(H5Screate(H5S_NULL));
    hid_t set = create_ints(file, "empty", 2, none, NULL, plain);
    int unused = 0;
    OK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &unused));
    OK(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &unused));
    OK(H5Dclose(set));
    OK(H5Dclose(create_ints(file, "empty chunked", 2, none, max, tiled)));
    set = OK(H5Dcreate2(file, "null", H5T_STD_I32LE, null, H5P_DEFAULT, plain, H5P_DEFAULT));
    OK(H5Dclose(set));
    OK(H5Sclose(null));
    OK(H5Pclose(plain));
    OK(H5Pclose(tiled));
    OK(H5Fclose(file));
}

const struct program data_programs[] = {
    {"contiguous", contiguous, "a.h5", 0},
    {"chunked", chunked, "a.h5", 0},
    {"compressed", compressed, "a.h5", 0},
    {"strided", strided, "a.h5", 0},
    {"extendible", extendible, "a.h5", 0},
    {"compound", compound, "a.h5", 0},
    {"variable_length", variable_length, "a.h5", 0},
    {"region_references", region_references, "a.h5", 0},
    {"virtual_dataset", virtual_dataset, "a.h5", 0},
    {"attributes", attributes, "a.h5", 0},
    {"zero_size", zero_size, "a.h5", 0},
    {NULL, NULL, NULL, 0},
};
