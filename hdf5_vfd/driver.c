/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver class, its registration, and the callbacks that only look at the handle. */
#include "driver.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

static _Atomic hid_t driver_id = H5I_INVALID_HID;

static struct cte__vfd_file *of(const H5FD_t *pub)
{
    return (struct cte__vfd_file *)pub;
}

/* One driver may go while files are open with the other. */
void cte__unregistered(_Atomic hid_t *where)
{
    cte__settings_close_clients();
    atomic_store(where, H5I_INVALID_HID);
}

static herr_t terminate(void)
{
    cte__unregistered(&driver_id);
    return 0;
}

static struct cte__vfd_common *common_of(const H5FD_t *pub)
{
    return (struct cte__vfd_common *)pub;
}

void *cte__config_copy(const void *config)
{
    cte_hdf5_config *copy = malloc(sizeof *copy);
    if (!copy)
        CTE__PUSH(H5E_RESOURCE, H5E_NOSPACE, "out of memory for the driver configuration");
    else
        memcpy(copy, config, sizeof *copy);
    return copy;
}

herr_t cte__config_free(void *config)
{
    free(config);
    return 0;
}

void *cte__fapl_get(H5FD_t *pub)
{
    return cte__config_copy(&common_of(pub)->config);
}

static int compare(const H5FD_t *a, const H5FD_t *b)
{
    const struct cte__vfd_file *x = of(a), *y = of(b);
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    if (x->inode != y->inode)
        return x->inode < y->inode ? -1 : 1;
    return 0;
}

/* As the default driver.  DATA_SIEVE makes HDF5 read 64 KiB before it writes a part of them; where
 * the file has no bytes yet that costs nothing (is_past_end() in transfer.c), and elsewhere less
 * than the calls that it saves. POSIX_COMPAT_HANDLE makes HDF5 resolve symbolic links, which
 * external links may depend on. SUPPORTS_SWMR_IO: see swmr in struct cte__vfd_file and
 * starts_swmr() in transfer.c. */
static herr_t query(const H5FD_t *pub, unsigned long *flags)
{
    (void)pub;
    if (flags)
        *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA |
                 H5FD_FEAT_DATA_SIEVE | H5FD_FEAT_AGGREGATE_SMALLDATA |
                 H5FD_FEAT_POSIX_COMPAT_HANDLE | H5FD_FEAT_SUPPORTS_SWMR_IO |
                 H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

haddr_t cte__get_eoa(const H5FD_t *pub, H5FD_mem_t type)
{
    (void)type;
    return common_of(pub)->eoa;
}

herr_t cte__set_eoa(H5FD_t *pub, H5FD_mem_t type, haddr_t addr)
{
    (void)type;
    common_of(pub)->eoa = addr;
    return 0;
}

haddr_t cte__get_eof(const H5FD_t *pub, H5FD_mem_t type)
{
    (void)type;
    return common_of(pub)->eof;
}

herr_t cte__sync(struct cte__vfd_common *file)
{
    cte_status status = cte__handles_sync(&file->handles);
    if (status == CTE_OK)
        return 0;
    CTE__PUSH(H5E_IO, H5E_CANTFLUSH, "cannot make '%s' durable: %s (%s)", file->name,
              cte_status_string(status), cte_status_name(status));
    return -1;
}

herr_t cte__push_size_error(const struct cte__vfd_common *file, cte_status status)
{
    CTE__PUSH(H5E_IO, H5E_CANTUPDATE, "cannot set the size of '%s' to %llu: %s (%s)", file->name,
              (unsigned long long)file->eoa, cte_status_string(status), cte_status_name(status));
    return -1;
}

bool cte__common_begin(struct cte__vfd_common *file, const char *name, hid_t fapl)
{
    file->name = name;
    file->config = cte__config_of_fapl(fapl);
    file->settings = cte__settings_of_fapl(fapl, &file->config);
    if (!file->settings) {
        CTE__PUSH(H5E_FILE, H5E_CANTOPENFILE, "unable to open file '%s': wrong configuration",
                  name);
        return false;
    }
    file->config.text = cte__settings_text(file->settings);
    cte__settings_hold(file->settings);
    return true;
}

void cte__common_end(struct cte__vfd_common *file)
{
    if (file->settings)
        cte__settings_release(file->settings);
}

/* True if it is HDF5 itself that asks, only to fstat the file. */
static bool only_to_identify(hid_t fapl)
{
    hbool_t wanted = 0;
    if (fapl == H5P_DEFAULT || H5Pexist(fapl, CTE__FAPL_WANT_POSIX_FD) <= 0)
        return false;
    return H5Pget(fapl, CTE__FAPL_WANT_POSIX_FD, &wanted) >= 0 && wanted;
}

/* The descriptor of a tracked file would show a program bytes that are older than the file's. */
static herr_t get_handle(H5FD_t *pub, hid_t fapl, void **handle)
{
    struct cte__vfd_file *file = of(pub);
    if (!handle) {
        CTE__PUSH(H5E_ARGS, H5E_BADVALUE, "no place given for the handle of '%s'",
                  file->common.name);
        return -1;
    }
    if (file->common.handles.tracked && !only_to_identify(fapl)) {
        CTE__PUSH(
            H5E_VFL, H5E_UNSUPPORTED,
            "'%s' has its newest bytes in the node's store, so there is no descriptor for it; "
            "open it in bypass mode",
            file->common.name);
        return -1;
    }
    if (cte__behind_flush(file) < 0)
        return -1;
    *handle = &file->fd;
    return 0;
}

static herr_t lock(H5FD_t *pub, hbool_t exclusive)
{
    struct cte__vfd_file *file = of(pub);
    if (flock(file->fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
        return 0;
    if (errno == ENOSYS && file->ignore_disabled_locks)
        return 0;
    CTE__PUSH(H5E_VFL, H5E_CANTLOCKFILE, "cannot lock '%s': errno = %d, error message = '%s'",
              file->common.name, errno, strerror(errno));
    return -1;
}

static herr_t unlock(H5FD_t *pub)
{
    struct cte__vfd_file *file = of(pub);
    if (flock(file->fd, LOCK_UN) == 0)
        return 0;
    if (errno == ENOSYS && file->ignore_disabled_locks)
        return 0;
    CTE__PUSH(H5E_VFL, H5E_CANTUNLOCKFILE, "cannot unlock '%s': errno = %d, error message = '%s'",
              file->common.name, errno, strerror(errno));
    return -1;
}

static const H5FD_class_t driver_class = {
#if CTE__HDF5_PLUGINS
    .version = H5FD_CLASS_VERSION,
    .value = CTE__VFD_VALUE,
    .del = cte__vfd_delete,
    .read_vector = cte__vfd_read_vector,
    .write_vector = cte__vfd_write_vector,
    .read_selection = cte__vfd_read_selection,
    .write_selection = cte__vfd_write_selection,
#endif
    .name = "cte",
    .maxaddr = INT64_MAX,
    .fc_degree = H5F_CLOSE_WEAK,
    .terminate = terminate,
    .fapl_size = sizeof(cte_hdf5_config),
    .fapl_get = cte__fapl_get,
    .fapl_copy = cte__config_copy,
    .fapl_free = cte__config_free,
    .open = cte__vfd_open,
    .close = cte__vfd_close,
    .cmp = compare,
    .query = query,
    .get_eoa = cte__get_eoa,
    .set_eoa = cte__set_eoa,
    .get_eof = cte__get_eof,
    .get_handle = get_handle,
    .read = cte__vfd_read,
    .write = cte__vfd_write,
    .flush = cte__vfd_flush,
    .truncate = cte__vfd_truncate,
    .lock = lock,
    .unlock = unlock,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

/* The mutex is never wanted by a callback, so taking HDF5's lock inside it cannot deadlock. */
hid_t cte__register(const H5FD_class_t *driver, _Atomic hid_t *where)
{
    static pthread_mutex_t registering = PTHREAD_MUTEX_INITIALIZER;
    hid_t id = atomic_load(where);
    if (id >= 0 && H5Iget_type(id) == H5I_VFL)
        return id;
    pthread_mutex_lock(&registering);
    id = atomic_load(where);
    if (id < 0 || H5Iget_type(id) != H5I_VFL) {
        id = H5FDregister(driver);
        atomic_store(where, id);
    }
    pthread_mutex_unlock(&registering);
    return id;
}

hid_t H5FD_cte_init(void)
{
    return cte__register(&driver_class, &driver_id);
}

#if !CTE__HDF5_PLUGINS
/* For the preload only: HDF5 asks for its default driver, with its lock held and before its public
 * functions work.  terminate() sees to it that a dead id is not given out. */
hid_t H5FD_cte_init_early(void)
{
    hid_t id = atomic_load(&driver_id);
    if (id < 0 && H5FD_register) {
        id = H5FD_register(&driver_class, sizeof driver_class, 0);
        atomic_store(&driver_id, id);
    }
    return id;
}
#endif

#if CTE__HDF5_PLUGINS
/* What HDF5's plugin loader asks for. */
H5PL_type_t H5PLget_plugin_type(void)
{
    return H5PL_TYPE_VFD;
}

const void *H5PLget_plugin_info(void)
{
    return &driver_class;
}
#endif
