/* SPDX-License-Identifier: BSD-3-Clause */
/* How much memory and disk the default targets may take. */
#include "config/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/util.h"

enum { MIB = 1 << 20, STEP_BYTES = 64 * MIB };

/* Not in every linux/magic.h. */
enum { ZFS_MAGIC = 0x2fc12fc1 };

/* The number a one-line file of the kernel begins with; false if there is none ("max"). */
static bool read_number(const char *path, uint64_t *number)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    char text[64];
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0)
        return false;
    text[length] = '\0';
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return end != text && errno == 0;
}

/* Lowest limit of a control group and its ancestors.  `group` is cut short on the way up. */
static uint64_t group_limit(const char *root, char *group, const char *file)
{
    uint64_t lowest = UINT64_MAX;
    for (;;) {
        char path[PATH_MAX];
        uint64_t limit;
        int length = snprintf(path, sizeof path, "%s%s/%s", root, group, file);
        if (length < (int)sizeof path && read_number(path, &limit))
            lowest = cte__min(lowest, limit);
        char *slash = strrchr(group, '/');
        if (!slash)
            return lowest;
        *slash = '\0';
    }
}

/* Batch systems confine a job's memory by control groups; its tmpfs pages count there too. */
static uint64_t control_group_limit(void)
{
    uint64_t lowest = UINT64_MAX;
    FILE *groups = fopen("/proc/self/cgroup", "re");
    if (!groups)
        return lowest;
    char line[PATH_MAX];
    while (fgets(line, sizeof line, groups)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        if (strcmp(controllers, ":") == 0)
            lowest = cte__min(lowest, group_limit("/sys/fs/cgroup", group, "memory.max"));
        else if (strcmp(controllers, ":memory") == 0)
            lowest = cte__min(lowest,
                              group_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
    }
    fclose(groups);
    return lowest;
}

uint64_t cte__config_memory_available(void)
{
    unsigned long long kib = 0;
    FILE *info = fopen("/proc/meminfo", "re");
    if (!info)
        return 0;
    char line[128];
    while (fgets(line, sizeof line, info))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            break;
    fclose(info);
    return cte__min((uint64_t)kib * 1024, control_group_limit());
}

uint64_t cte__config_ram_bytes(uint64_t memory_available, uint64_t directory_free)
{
    uint64_t whole = cte__min(memory_available, directory_free);
    uint64_t half = whole / 2;
    if (half >= STEP_BYTES)
        return cte__align_down(half, STEP_BYTES);
    return whole >= STEP_BYTES ? STEP_BYTES : cte__align_down(half, MIB);
}

uint64_t cte__config_scratch_bytes(uint64_t directory_free)
{
    return cte__align_down(directory_free / 2, STEP_BYTES);
}

bool cte__config_is_local_disk(const char *directory, uint64_t *free_bytes)
{
    struct statfs fs;
    if (statfs(directory, &fs) != 0)
        return false;
    *free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
    switch ((uint32_t)fs.f_type) {
    case EXT4_SUPER_MAGIC: /* ext2 and ext3 too */
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case ZFS_MAGIC:
        return true;
    default:
        return false;
    }
}
