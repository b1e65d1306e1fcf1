/* SPDX-License-Identifier: BSD-3-Clause */
/* Small raw pieces that follow each other become few large transfers.
 *
 * HDF5 promises that data is out of the process only after H5Fflush() or close, and its own sieve
 * buffer and chunk cache rely on that; so does `behind`.  It never holds bytes that a read,
 * another write, a flush or a truncation could miss: each of them passes it on first. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

enum { WINDOW_BYTES = 256 * 1024 };

static bool touches(const struct cte__window *window, haddr_t addr, size_t size)
{
    return window->length > 0 && addr < window->addr + window->length &&
           (addr >= window->addr || window->addr - addr < size);
}

static bool make_room(struct cte__window *window)
{
    if (!window->base) {
        window->base = malloc(WINDOW_BYTES);
        window->capacity = window->base ? WINDOW_BYTES : 0;
    }
    return window->base != NULL;
}

/* Windows end at multiples of their size, so that transfers do. */
static size_t room_from(haddr_t addr)
{
    return WINDOW_BYTES - (size_t)(addr % WINDOW_BYTES);
}

herr_t cte__behind_flush(struct cte__vfd_file *file)
{
    struct cte__window *window = &file->behind;
    if (window->length == 0)
        return 0;
    if (cte__write_through(file, H5FD_MEM_DRAW, window->addr, window->length, window->base) < 0)
        return -1;
    window->length = 0;
    return 0;
}

herr_t cte__behind_flush_range(struct cte__vfd_file *file, haddr_t addr, size_t size)
{
    return touches(&file->behind, addr, size) ? cte__behind_flush(file) : 0;
}

/* Appends what fits up to the window's end; returns how much that was. */
static size_t append(struct cte__window *window, haddr_t addr, size_t size, const char *from)
{
    if (window->length == 0)
        window->addr = addr;
    size_t room = room_from(window->addr) - window->length;
    size_t taken = size < room ? size : room;
    memcpy(window->base + window->length, from, taken);
    window->length += taken;
    return taken;
}

herr_t cte__behind_write(struct cte__vfd_file *file, haddr_t addr, size_t size, const void *buffer)
{
    struct cte__window *window = &file->behind;
    const char *from = buffer;
    if (window->length > 0 && addr != window->addr + window->length && cte__behind_flush(file) < 0)
        return -1;
    if (!make_room(window))
        return cte__write_through(file, H5FD_MEM_DRAW, addr, size, buffer);
    while (size > 0) {
        size_t taken = append(window, addr, size, from);
        addr += taken;
        from += taken;
        size -= taken;
        if (window->length == room_from(window->addr) && cte__behind_flush(file) < 0)
            return -1;
    }
    return 0;
}

/* Only bytes below the end of the file are kept: what lies beyond may come into being. */
static herr_t fill(struct cte__vfd_file *file, haddr_t addr)
{
    struct cte__window *window = &file->ahead;
    size_t got = 0;
    window->length = 0;
    if (cte__behind_flush_range(file, addr, room_from(addr)) < 0 ||
        cte__read_through(file, H5FD_MEM_DRAW, addr, room_from(addr), window->base, &got) < 0)
        return -1;
    window->addr = addr;
    window->length = got;
    return 0;
}

static bool holds(const struct cte__window *window, haddr_t addr, size_t size)
{
    return window->length > 0 && addr >= window->addr &&
           addr + size <= window->addr + window->length;
}

herr_t cte__ahead_read(struct cte__vfd_file *file, haddr_t addr, size_t size, void *buffer)
{
    struct cte__window *window = &file->ahead;
    bool follows = addr == file->next_read;
    file->next_read = addr + size;
    if (!holds(window, addr, size) && follows && size <= room_from(addr) && make_room(window) &&
        fill(file, addr) < 0)
        return -1;
    if (!holds(window, addr, size))
        return cte__read_through(file, H5FD_MEM_DRAW, addr, size, buffer, NULL);
    memcpy(buffer, window->base + (addr - window->addr), size);
    return 0;
}

void cte__ahead_drop_range(struct cte__vfd_file *file, haddr_t addr, size_t size)
{
    if (touches(&file->ahead, addr, size))
        file->ahead.length = 0;
}

void cte__windows_free(struct cte__vfd_file *file)
{
    free(file->behind.base);
    free(file->ahead.base);
}
