/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading, writing, flushing, truncating. */
#include "driver.h"

#include <string.h>

bool cte__addr_is_valid(haddr_t addr)
{
    return addr != HADDR_UNDEF && addr <= (haddr_t)INT64_MAX;
}

bool cte__region_is_valid(haddr_t addr, size_t size)
{
    return cte__addr_is_valid(addr) && size <= (haddr_t)INT64_MAX - addr;
}

herr_t cte__check_region(const struct cte__vfd_file *file, const char *verb, haddr_t addr,
                         size_t size)
{
    if (cte__region_is_valid(addr, size))
        return 0;
    CTE__PUSH(H5E_ARGS, H5E_OVERFLOW, "addr overflow: cannot %s '%s' at %llu, size %zu", verb,
              file->common.name, (unsigned long long)addr, size);
    return -1;
}

herr_t cte__push_read_error(const struct cte__vfd_file *file, haddr_t addr, size_t size,
                            cte_status status)
{
    CTE__PUSH(H5E_IO, H5E_READERROR,
              "file read failed: filename = '%s', offset = %llu, size = %zu, error message = '%s' "
              "(%s)",
              file->common.name, (unsigned long long)addr, size, cte_status_string(status),
              cte_status_name(status));
    return -1;
}

herr_t cte__push_write_error(const struct cte__vfd_file *file, haddr_t addr, size_t size,
                             cte_status status)
{
    CTE__PUSH(H5E_IO, H5E_WRITEERROR,
              "file write failed: filename = '%s', offset = %llu, size = %zu, error message = '%s' "
              "(%s)",
              file->common.name, (unsigned long long)addr, size, cte_status_string(status),
              cte_status_name(status));
    return -1;
}

herr_t cte__read_through(struct cte__vfd_file *file, H5FD_mem_t type, haddr_t addr, size_t size,
                         void *buffer, size_t *got)
{
    cte_file_segment segment = {addr, size, buffer};
    uint64_t transferred = 0;
    cte_status status =
        cte_file_read(cte__handle_for(&file->common.handles, type), &segment, 1, &transferred);
    if (status != CTE_OK)
        return cte__push_read_error(file, addr, size, status);
    if (transferred < size)
        memset((char *)buffer + transferred, 0, size - transferred);
    if (got)
        *got = transferred;
    return 0;
}

herr_t cte__write_through(struct cte__vfd_file *file, H5FD_mem_t type, haddr_t addr, size_t size,
                          const void *buffer)
{
    cte_file_segment segment = {addr, size, (void *)(uintptr_t)buffer};
    cte_status status = cte_file_write(cte__handle_for(&file->common.handles, type), &segment, 1);
    return status == CTE_OK ? 0 : cte__push_write_error(file, addr, size, status);
}

bool cte__is_past_end(const struct cte__vfd_file *file, haddr_t addr)
{
    return addr >= file->common.eof && file->writable && !file->swmr;
}

static bool is_small(const struct cte__vfd_file *file, H5FD_mem_t type, size_t size)
{
    return type == H5FD_MEM_DRAW && size <= CTE__SMALL_BYTES_MAX && !file->swmr;
}

herr_t cte__vfd_read(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, haddr_t addr, size_t size,
                     void *buffer)
{
    struct cte__vfd_file *file = (struct cte__vfd_file *)pub;
    (void)dxpl;
    if (cte__check_region(file, "read", addr, size) < 0)
        return -1;
    if (size == 0)
        return 0;
    if (cte__is_past_end(file, addr)) {
        memset(buffer, 0, size);
        return 0;
    }
    if (is_small(file, type, size))
        return cte__ahead_read(file, &(struct cte__piece){addr, size, buffer}, 1);
    if (cte__behind_flush_range(file, addr, size) < 0)
        return -1;
    return cte__read_through(file, type, addr, size, buffer, NULL);
}

/* H5Fstart_swmr_write() turns an open file to SWMR use.  The first that a driver sees of it is the
 * superblock with the SWMR flag; readers come in only after they find that flag in the real file.
 */
static bool starts_swmr(const struct cte__vfd_file *file, H5FD_mem_t type, haddr_t addr,
                        size_t size, const unsigned char *bytes)
{
    return !file->swmr && !cte__is_raw(type) && addr == file->common.pub.base_addr &&
           size >= CTE__SUPERBLOCK_BYTES_MIN &&
           memcmp(bytes, CTE__SUPERBLOCK_SIGNATURE, CTE__SUPERBLOCK_VERSION_AT) == 0 &&
           bytes[CTE__SUPERBLOCK_VERSION_AT] == CTE__SUPERBLOCK_VERSION_SWMR &&
           bytes[CTE__SUPERBLOCK_FLAGS_AT] & CTE__SUPERBLOCK_SWMR_WRITE;
}

herr_t cte__prepare_write(struct cte__vfd_file *file, H5FD_mem_t type, haddr_t addr, size_t size,
                          const void *buffer)
{
    if (starts_swmr(file, type, addr, size, buffer) && cte__vfd_leave_tiers(file) < 0)
        return -1;
    cte__ahead_drop_range(file, addr, size);
    return cte__behind_flush_range(file, addr, size);
}

static herr_t write_now(struct cte__vfd_file *file, H5FD_mem_t type, haddr_t addr, size_t size,
                        const void *buffer)
{
    if (cte__prepare_write(file, type, addr, size, buffer) < 0)
        return -1;
    return cte__write_through(file, type, addr, size, buffer);
}

herr_t cte__vfd_write(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, haddr_t addr, size_t size,
                      const void *buffer)
{
    struct cte__vfd_file *file = (struct cte__vfd_file *)pub;
    struct cte__piece piece = {addr, size, (void *)(uintptr_t)buffer};
    (void)dxpl;
    if (cte__check_region(file, "write", addr, size) < 0)
        return -1;
    if (size == 0)
        return 0;
    file->unsynced = true;
    herr_t result = is_small(file, type, size) ? cte__behind_write(file, &piece, 1)
                                               : write_now(file, type, addr, size, buffer);
    if (result >= 0 && addr + size > file->common.eof)
        file->common.eof = addr + size;
    return result;
}

/* HDF5 calls this two or three times for each H5Fflush(): a clean file costs nothing. */
herr_t cte__vfd_flush(H5FD_t *pub, hid_t dxpl, hbool_t closing)
{
    struct cte__vfd_file *file = (struct cte__vfd_file *)pub;
    (void)dxpl;
    (void)closing;
    if (!file->unsynced)
        return 0;
    if (cte__behind_flush(file) < 0 || cte__sync(&file->common) < 0)
        return -1;
    file->unsynced = false;
    return 0;
}

/* HDF5 checks at open that the file is not shorter than the superblock says. */
herr_t cte__vfd_truncate(H5FD_t *pub, hid_t dxpl, hbool_t closing)
{
    struct cte__vfd_file *file = (struct cte__vfd_file *)pub;
    (void)dxpl;
    (void)closing;
    if (file->common.eoa == file->common.eof)
        return 0;
    if (cte__behind_flush(file) < 0)
        return -1;
    cte__ahead_drop_range(file, 0, SIZE_MAX);
    file->unsynced = true;
    cte_status status = cte_file_truncate(file->common.handles.items[0], file->common.eoa);
    if (status != CTE_OK)
        return cte__push_size_error(&file->common, status);
    file->common.eof = file->common.eoa;
    return 0;
}
