/* SPDX-License-Identifier: BSD-3-Clause */
/* What the backends share: careful opening, the mark, checks, and complete transfers.
 * All return 0 or a negative status, and say in the log what is wrong unless noted. */
#ifndef CTE_CORE_TARGET_BACKING_H
#define CTE_CORE_TARGET_BACKING_H

#include <fcntl.h>
#include <sys/stat.h>

#include "target/target.h"

extern const struct cte__target_ops cte__target_ram;
extern const struct cte__target_ops cte__target_file;
extern const struct cte__target_ops cte__target_posix;
extern const struct cte__target_ops cte__target_dev_dax; /* where built with libpmem */

/* The mark: one page that says "made by cte, for this store, cut like this".  The file backend
 * keeps it right behind the capacity, ram in a file of its own. */
enum { CTE__TARGET_MARK_BYTES = 4096 };

struct cte__target_mark {
    char magic[16];
    uint64_t version;
    uint64_t capacity_bytes;
    uint64_t arena_bytes;
    uint64_t store_id;
    uint64_t checksum; /* xxh3 of the members above */
};

union cte__target_mark_page {
    struct cte__target_mark mark;
    unsigned char bytes[CTE__TARGET_MARK_BYTES];
};

/* Makes the page for a target, in memory. */
void cte__target_mark_fill(union cte__target_mark_page *page, const struct cte__target_spec *spec);

/* True if these bytes are a mark; whose is another question. */
bool cte__target_mark_is_valid(const struct cte__target_mark *mark);

/* Writes the whole page.  Not logged. */
cte_status cte__target_mark_write(int fd, uint64_t offset, const struct cte__target_spec *spec);

/* Reads the page: 0, -ENOENT if there is no valid mark, or what pread said.  Not logged. */
cte_status cte__target_mark_read(int fd, uint64_t offset, struct cte__target_mark *mark);

/* CTE_ERR_STORE_LAYOUT unless the mark says the same as the spec. */
cte_status cte__target_mark_check(const struct cte__target_mark *mark,
                                  const struct cte__target_spec *spec);

/* openat(2) without following links, waiting, or inheriting; never gives descriptors 0 to 2, which
 * the program may have closed to reuse.  Returns the descriptor or -errno; not logged. */
int cte__target_openat(int dir_fd, const char *name, int flags, mode_t perm);

/* The directory that a path's last name stands in, which may be reached through links; or -errno.
 * Not logged. */
int cte__target_open_parent(const char *path);

/* Refuses symbolic links (-ELOOP), other owners (CTE_ERR_STORE_OWNER), and anything that is not of
 * `type` (S_IFREG or S_IFDIR): -EISDIR, -ENOTDIR or -EINVAL. */
cte_status cte__target_check_stat(const struct stat *status, mode_t type, const char *path);

/* Is the spec usable at all, and may this process make files of `file_bytes`? */
cte_status cte__target_check_spec(const struct cte__target_spec *spec, uint64_t file_bytes);

/* -ENOSPC unless the file system of `fd` has room for `bytes`, `reclaimable` of them being held by
 * what is to be replaced. */
cte_status cte__target_check_space(int fd, const char *path, uint64_t bytes, uint64_t reclaimable);

/* Locks the file that carries the mark: shared by those who have the target open, exclusive by who
 * makes it anew.  A forked child shares the lock with its parent.  -EBUSY if that cannot be; file
 * systems without locks pass. */
cte_status cte__target_lock(int fd, bool exclusive, const char *path);

/* -EINVAL unless the transfer is as struct cte__target_io says. */
cte_status cte__target_check_io(const struct cte__target_io *io, uint64_t capacity_bytes,
                                uint64_t arena_bytes);

/* Moves all bytes between the iovec and `file_offset`; -EIO at a premature end.  Not logged. */
cte_status cte__target_transfer(int fd, uint64_t file_offset, const struct cte__target_io *io);

/* Makes what any process wrote to the file durable. */
cte_status cte__target_fdatasync(int fd, const char *path);

/* Makes the names in a directory durable, as far as the file system can.  Not logged. */
cte_status cte__target_sync_directory(int fd);

#endif
