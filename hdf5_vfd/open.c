/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing. */
#include "driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

int cte__open_flags(unsigned flags)
{
    int result = flags & H5F_ACC_RDWR ? O_RDWR : O_RDONLY;
    if (flags & H5F_ACC_TRUNC)
        result |= O_TRUNC;
    if (flags & H5F_ACC_CREAT)
        result |= O_CREAT;
    if (flags & H5F_ACC_EXCL)
        result |= O_EXCL;
    return result;
}

/* The words of the default driver, which programs and people search for. */
void cte__push_open_error(const char *name, cte_status status, unsigned flags)
{
    CTE__PUSH(H5E_FILE, H5E_CANTOPENFILE,
              "unable to open file: name = '%s', errno = %d, error message = '%s', flags = %x, "
              "o_flags = %x",
              name, cte_status_errno(status), cte_status_string(status), flags,
              (unsigned)cte__open_flags(flags));
}

/* The environment decides before the property list, as in HDF5's own drivers. */
static bool ignore_disabled_locks(hid_t fapl)
{
    const char *said = getenv("HDF5_USE_FILE_LOCKING");
    if (said && strcasecmp(said, "BEST_EFFORT") == 0)
        return true;
    if (said && (strcasecmp(said, "TRUE") == 0 || strcmp(said, "1") == 0))
        return false;
    hbool_t use = 1, ignore = 0;
    return H5Pget_file_locking(fapl, &use, &ignore) >= 0 && ignore;
}

static struct cte__handles_from how_to_open(const struct cte__vfd_file *file, cte_file_mode mode)
{
    return (struct cte__handles_from){.name = file->common.name,
                                      .settings = file->common.settings,
                                      .config = &file->common.config,
                                      .mode = mode};
}

/* Readers of a file in SWMR use may run any driver on any node: they must find each write, in
 * order, in the real file.  So such a file goes past the tiers, after what they still hold of it.
 */
static cte_status bypass_for_swmr(struct cte__vfd_file *file, int flags)
{
    file->swmr = true;
    if (!file->common.handles.tracked)
        return CTE_OK;
    cte_status status = cte_file_drain(file->common.handles.items[0]);
    if (status != CTE_OK)
        return status;
    struct cte__handles_from from = how_to_open(file, CTE_FILE_MODE_BYPASS);
    struct cte__handles direct;
    status = cte__handles_open_first(&direct, &from, flags & O_ACCMODE);
    if (status != CTE_OK)
        return status;
    status = cte__handles_close(&file->common.handles);
    file->common.handles = direct;
    return status;
}

herr_t cte__vfd_leave_tiers(struct cte__vfd_file *file)
{
    cte_status status = cte__behind_flush(file) < 0 ? -EIO : bypass_for_swmr(file, O_RDWR);
    if (status == CTE_OK)
        return 0;
    CTE__PUSH(H5E_FILE, H5E_CANTFLUSH,
              "cannot start SWMR writing of '%s': what the node holds of it did not reach the real "
              "file: %s",
              file->common.name, cte_status_string(status));
    return -1;
}

static cte_status open_descriptor(struct cte__vfd_file *file, int flags)
{
    struct stat st;
    file->fd = open(file->common.name, (flags & O_ACCMODE) | O_CLOEXEC);
    if (file->fd < 0 || fstat(file->fd, &st) != 0)
        return -errno;
    file->device = st.st_dev;
    file->inode = st.st_ino;
    return CTE_OK;
}

static cte_status open_all(struct cte__vfd_file *file, unsigned flags)
{
    int mode = cte__open_flags(flags);
    struct cte__handles_from from = how_to_open(file, file->common.config.mode);
    file->writable = (mode & O_ACCMODE) == O_RDWR;
    cte_status status = cte__handles_open_first(&file->common.handles, &from, mode);
    if (status != CTE_OK)
        return status;
    if (flags & (H5F_ACC_SWMR_WRITE | H5F_ACC_SWMR_READ))
        status = bypass_for_swmr(file, mode);
    else
        status = cte__handles_open_others(&file->common.handles, &from, mode);
    if (status == CTE_OK)
        status = open_descriptor(file, mode);
    if (status == CTE_OK)
        status = cte_file_size(file->common.handles.items[0], &file->common.eof);
    return status;
}

static cte_status close_all(struct cte__vfd_file *file)
{
    cte_status status = cte__handles_close(&file->common.handles);
    /* Last, because it holds the lock: the next to open finds the file complete. */
    if (file->fd >= 0 && close(file->fd) != 0 && status == CTE_OK)
        status = -errno;
    cte__windows_free(file);
    cte__common_end(&file->common);
    free(file);
    return status;
}

static bool arguments_are_valid(const char *name, haddr_t maxaddr)
{
    if (!name || !*name) {
        CTE__PUSH(H5E_ARGS, H5E_BADVALUE, "invalid file name");
        return false;
    }
    if (maxaddr == 0 || !cte__addr_is_valid(maxaddr)) {
        CTE__PUSH(H5E_ARGS, H5E_BADRANGE, "bogus maxaddr %llu for '%s'",
                  (unsigned long long)maxaddr, name);
        return false;
    }
    return true;
}

H5FD_t *cte__vfd_open(const char *name, unsigned flags, hid_t fapl, haddr_t maxaddr)
{
    if (!arguments_are_valid(name, maxaddr))
        return NULL;
    size_t name_bytes = strlen(name) + 1;
    struct cte__vfd_file *file = calloc(1, sizeof *file + name_bytes);
    if (!file) {
        CTE__PUSH(H5E_RESOURCE, H5E_NOSPACE, "out of memory opening '%s'", name);
        return NULL;
    }
    memcpy(file->name_text, name, name_bytes);
    file->fd = -1;
    file->next_read = HADDR_UNDEF;
    if (!cte__common_begin(&file->common, file->name_text, fapl)) {
        free(file);
        return NULL;
    }
    file->ignore_disabled_locks = ignore_disabled_locks(fapl);
    cte_status status = open_all(file, flags);
    if (status == CTE_OK)
        return &file->common.pub;
    (void)close_all(file); /* nothing was written; the first error is the one to tell */
    cte__push_open_error(name, status, flags);
    return NULL;
}

herr_t cte__vfd_close(H5FD_t *pub)
{
    struct cte__vfd_file *file = (struct cte__vfd_file *)pub;
    herr_t result = cte__vfd_flush(pub, H5P_DEFAULT, 1);
    char *name = strdup(file->common.name);
    cte_status status = close_all(file);
    if (status != CTE_OK) {
        CTE__PUSH(H5E_IO, H5E_CANTCLOSEFILE, "error closing '%s': %s (%s)", name ? name : "?",
                  cte_status_string(status), cte_status_name(status));
        result = -1;
    }
    free(name);
    return result;
}

#if CTE__HDF5_PLUGINS
/* What the store holds of the file goes by the next use of the name: it is no longer the same file.
 */
herr_t cte__vfd_delete(const char *name, hid_t fapl)
{
    (void)fapl;
    if (remove(name) == 0)
        return 0;
    CTE__PUSH(H5E_VFL, H5E_CANTDELETEFILE,
              "unable to delete file '%s': errno = %d, "
              "error message = '%s'",
              name, errno, strerror(errno));
    return -1;
}
#endif
