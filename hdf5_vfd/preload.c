/* SPDX-License-Identifier: BSD-3-Clause */
/* LD_PRELOAD for HDF5 1.10: the default driver of an unmodified program becomes cte.
 *
 * HDF5 1.10 knows no drivers by name, but it asks H5FD_sec2_init() for its default driver, by a
 * symbol that a preloaded library can stand before.  This library is linked to no HDF5, because it
 * is loaded into every program that runs under the preload: the driver is loaded only when an HDF5
 * asks, and only the one that was made for the very HDF5 that asks.  A second libhdf5 in one
 * process would be the end of it. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "preload.h"

typedef int64_t hdf5_id; /* hid_t of HDF5 1.10 and later */
typedef hdf5_id init_function(void);

static const struct {
    const char *hdf5;   /* begins with the name that the library is loaded by */
    const char *driver; /* beside this library */
} drivers[] = {
    {CTE__HDF5_SERIAL_FILE, CTE__DRIVER_SERIAL_FILE},
#ifdef CTE__HDF5_MPICH_FILE
    {CTE__HDF5_MPICH_FILE, CTE__DRIVER_MPICH_FILE},
#endif
};

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The file name of the driver for the HDF5 that holds `address`, NULL if there is none. */
static const char *driver_for(const void *address)
{
    Dl_info info;
    if (!dladdr(address, &info) || !info.dli_fname)
        return NULL;
    const char *loaded = last_part(info.dli_fname);
    for (size_t i = 0; i < sizeof drivers / sizeof drivers[0]; i++)
        if (strncmp(drivers[i].hdf5, loaded, strlen(loaded)) == 0 && strstr(loaded, ".so."))
            return drivers[i].driver;
    return NULL;
}

/* Loads a library that lies beside this one. */
static void *load_beside(const char *name)
{
    Dl_info info;
    char *path = NULL;
    if (!dladdr((const void *)(uintptr_t)load_beside, &info) || !info.dli_fname)
        return NULL;
    int length = (int)(last_part(info.dli_fname) - info.dli_fname);
    if (asprintf(&path, "%.*s%s", length, info.dli_fname, name) < 0)
        return NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    free(path);
    return library;
}

/* The driver's own way to register itself, NULL with a reason if it cannot be used. */
static init_function *find_driver(const void *in_hdf5, const char **reason)
{
    const char *name = driver_for(in_hdf5);
    *reason = "there is no cte driver for this libhdf5";
    if (!name)
        return NULL;
    void *library = load_beside(name);
    *reason = library ? NULL : dlerror();
    return library ? (init_function *)(uintptr_t)dlsym(library, "H5FD_cte_init_early") : NULL;
}

/* The function that this library stands before, in the HDF5 that holds `address`. */
static init_function *find_stock(const void *address)
{
    Dl_info info;
    void *symbol = dlsym(RTLD_NEXT, "H5FD_sec2_init");
    if (!symbol && dladdr(address, &info) && info.dli_fname) {
        /* An HDF5 that came by dlopen(), as Python's do, is not next to us. */
        void *hdf5 = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
        symbol = hdf5 ? dlsym(hdf5, "H5FD_sec2_init") : NULL;
    }
    return (init_function *)(uintptr_t)symbol;
}

static void warn(const char *reason)
{
    static int warned;
    if (!warned++)
        fprintf(stderr, "cte: HDF5 files go past cte: %s\n", reason ? reason : "unknown reason");
}

/* Called by HDF5 under its own lock, again and again, and by programs that say H5FD_SEC2; the
 * driver keeps its id. */
hdf5_id H5FD_sec2_init(void)
{
    static init_function *driver;
    const void *caller = __builtin_return_address(0);
    const char *reason = NULL;
    hdf5_id id = driver ? driver() : -1;
    if (id >= 0)
        return id;
    init_function *stock = find_stock(caller);
    if (!driver) {
        driver = find_driver(driver_for(caller) || !stock ? caller : (const void *)(uintptr_t)stock,
                             &reason);
        id = driver ? driver() : -1;
        if (id >= 0)
            return id;
    }
    warn(driver ? "the driver cannot be registered" : reason);
    return stock ? stock() : -1;
}
