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
    size_t length = window->length > window->known ? window->length : window->known;
    return window->length > 0 && addr < window->addr + length &&
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
    window->length = window->known = 0;
    return 0;
}

herr_t cte__behind_flush_range(struct cte__vfd_file *file, haddr_t addr, size_t size)
{
    return touches(&file->behind, addr, size) ? cte__behind_flush(file) : 0;
}

static haddr_t end_of(const struct cte__piece *pieces, size_t count)
{
    return pieces[count - 1].addr + pieces[count - 1].size;
}

/* Whether bytes from `addr` on can stand in the window, after at most `gap` others. */
static bool follows(const struct cte__window *window, haddr_t addr, size_t gap)
{
    return window->length == 0 ||
           (addr >= window->addr && addr <= window->addr + window->length + gap &&
            addr - window->addr < room_from(window->addr));
}

/* What is between the bytes of the window and those at `offset` of it: once for all up to `until`.
 */
static herr_t bridge(struct cte__vfd_file *file, size_t offset, haddr_t until)
{
    struct cte__window *window = &file->behind;
    size_t from = window->known > window->length ? window->known : window->length;
    size_t to = room_from(window->addr);
    if (until - window->addr < to)
        to = (size_t)(until - window->addr);
    if (from >= offset)
        return 0;
    if (cte__read_through(file, H5FD_MEM_DRAW, window->addr + from, to - from, window->base + from,
                          NULL) < 0)
        return -1;
    window->known = to;
    return 0;
}

/* Takes what fits up to the window's end; returns how much that was, 0 if it failed. */
static size_t put(struct cte__vfd_file *file, const struct cte__piece *piece, haddr_t until)
{
    struct cte__window *window = &file->behind;
    if (window->length == 0)
        window->addr = piece->addr;
    size_t offset = (size_t)(piece->addr - window->addr);
    size_t room = room_from(window->addr) - offset;
    size_t taken = piece->size < room ? piece->size : room;
    if (offset > window->length && bridge(file, offset, until) < 0)
        return 0;
    memcpy(window->base + offset, piece->base, taken);
    if (offset + taken > window->length)
        window->length = offset + taken;
    bool full = taken == room;
    return full && cte__behind_flush(file) < 0 ? 0 : taken;
}

static herr_t write_unjoined(struct cte__vfd_file *file, const struct cte__piece *pieces,
                             size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (cte__write_through(file, H5FD_MEM_DRAW, pieces[i].addr, pieces[i].size,
                               pieces[i].base) < 0)
            return -1;
    return 0;
}

/* A piece that may need windows of its own.  Only between pieces is there something to bridge. */
static herr_t write_one(struct cte__vfd_file *file, struct cte__piece left, size_t gap,
                        haddr_t until)
{
    while (left.size > 0) {
        if (!follows(&file->behind, left.addr, gap) && cte__behind_flush(file) < 0)
            return -1;
        size_t taken = put(file, &left, until);
        if (taken == 0)
            return -1;
        left.addr += taken;
        left.size -= taken;
        left.base = (char *)left.base + taken;
    }
    return 0;
}

/* Elements, mostly. */
static inline void copy_small(char *to, const char *from, size_t size)
{
    if (size == 8)
        memcpy(to, from, 8);
    else if (size == 4)
        memcpy(to, from, 4);
    else
        memcpy(to, from, size);
}

/* As many as lie where the window's bytes are known and do not fill it; returns how many. */
static size_t write_inside(struct cte__window *window, const struct cte__piece *pieces,
                           size_t count)
{
    size_t length = window->length, i = 0;
    size_t known = window->known > length ? window->known : length;
    size_t room = room_from(window->addr);
    for (; length > 0 && i < count; i++) {
        haddr_t offset = pieces[i].addr - window->addr; /* huge if it is before the window */
        if (offset > known || pieces[i].size >= room - offset)
            break;
        copy_small(window->base + offset, pieces[i].base, pieces[i].size);
        if (offset + pieces[i].size > length)
            length = offset + pieces[i].size;
        if (length > known)
            known = length;
    }
    window->length = length;
    return i;
}

herr_t cte__behind_write(struct cte__vfd_file *file, const struct cte__piece *pieces, size_t count)
{
    haddr_t until = end_of(pieces, count);
    cte__ahead_drop_range(file, pieces[0].addr, (size_t)(until - pieces[0].addr));
    if (!make_room(&file->behind))
        return write_unjoined(file, pieces, count);
    for (size_t i = 0; i < count;) {
        i += write_inside(&file->behind, pieces + i, count - i);
        if (i < count && write_one(file, pieces[i], i > 0 ? CTE__NEAR_BYTES_MAX : 0, until) < 0)
            return -1;
        i++;
    }
    return 0;
}

/* Only bytes below the end of the file are kept: what lies beyond may come into being. */
static herr_t fill(struct cte__vfd_file *file, haddr_t addr, size_t size)
{
    struct cte__window *window = &file->ahead;
    size_t got = 0;
    window->length = 0;
    if (cte__behind_flush_range(file, addr, size) < 0 ||
        cte__read_through(file, H5FD_MEM_DRAW, addr, size, window->base, &got) < 0)
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

/* How much to read from here on: a window, if reading goes on where it ended; else what is surely
 * wanted. */
static size_t worth_reading(struct cte__vfd_file *file, const struct cte__piece *piece,
                            haddr_t until)
{
    size_t room = room_from(piece->addr);
    bool sequential = piece->addr == file->next_read;
    return sequential || until - piece->addr > room ? room : (size_t)(until - piece->addr);
}

static herr_t read_one(struct cte__vfd_file *file, const struct cte__piece *piece, haddr_t until)
{
    struct cte__window *window = &file->ahead;
    if (!holds(window, piece->addr, piece->size)) {
        size_t size = worth_reading(file, piece, until);
        if (size > piece->size && make_room(window) && fill(file, piece->addr, size) < 0)
            return -1;
    }
    file->next_read = piece->addr + piece->size;
    if (holds(window, piece->addr, piece->size)) {
        memcpy(piece->base, window->base + (piece->addr - window->addr), piece->size);
        return 0;
    }
    if (cte__behind_flush_range(file, piece->addr, piece->size) < 0)
        return -1;
    return cte__read_through(file, H5FD_MEM_DRAW, piece->addr, piece->size, piece->base, NULL);
}

/* As many as the window holds. */
static size_t read_inside(const struct cte__window *window, const struct cte__piece *pieces,
                          size_t count)
{
    size_t i = 0;
    for (; i < count; i++) {
        haddr_t offset = pieces[i].addr - window->addr; /* huge if it is before the window */
        if (offset >= window->length || pieces[i].size > window->length - offset)
            break;
        copy_small(pieces[i].base, window->base + offset, pieces[i].size);
    }
    return i;
}

herr_t cte__ahead_read(struct cte__vfd_file *file, const struct cte__piece *pieces, size_t count)
{
    haddr_t until = end_of(pieces, count);
    for (size_t i = 0; i < count;) {
        size_t n = read_inside(&file->ahead, pieces + i, count - i);
        i += n;
        if (n > 0)
            file->next_read = end_of(pieces, i);
        if (i < count && read_one(file, &pieces[i], until) < 0)
            return -1;
        i++;
    }
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
