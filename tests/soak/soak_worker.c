/* SPDX-License-Identifier: BSD-3-Clause */
/* A process of a long mixed load, which checks every byte it reads.
 *
 *   soak_worker DIRECTORY SECONDS SEED
 *
 * Files and blobs of its own, compared with what they should hold: writes of any size, reads, cuts,
 * syncs, drains, closes, removals.  Errors of a full or failing real file system are expected where
 * the directory has a file `faulty`; wrong bytes never are.  At the end it must have no more open
 * descriptors than after its first second, and not much more memory. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cte/blob.h>
#include <cte/client.h>
#include <cte/file.h>

enum {
    FILES = 4,
    FILE_BYTES = 3 << 20,
    BLOBS = 8,
    BLOB_BYTES = 300 << 10,
    PIECE_BYTES = 400 << 10,
    MEMORY_KIB_MOST = 48 << 10,
    PATIENCE_S = 120,
};

struct thing {
    uint64_t size;
    unsigned char *bytes;
    cte_file *file; /* files: NULL: closed */
};

static struct thing files[FILES], blobs[BLOBS];
static unsigned char piece[PIECE_BYTES];
static uint64_t state;
static const char *directory;
static cte_client *client;
static cte_tag *tag;
static unsigned long steps;

static uint64_t draw(uint64_t below)
{
    uint64_t z = (state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (z ^ (z >> 31)) % below;
}

static void die(const char *what, int index, cte_status status)
{
    fprintf(stderr, "soak_worker, step %lu: %s %d: %s\n", steps, what, index,
            cte_status_string(status));
    exit(1);
}

static bool faults_expected(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/faulty", directory);
    return access(path, F_OK) == 0;
}

static void must(cte_status status, const char *what, int index)
{
    if (status != CTE_OK)
        die(what, index, status);
}

static const char *file_path(int index)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/file.%d", directory, index);
    return path;
}

static void draw_range(uint64_t limit, uint64_t *offset, uint64_t *length)
{
    *length = 1 + draw(draw(3) ? PIECE_BYTES : 6000);
    *length = *length < limit ? *length : limit;
    *offset = draw(limit - *length + 1);
    if (draw(2))
        *offset &= ~UINT64_C(4095);
}

static void draw_bytes(uint64_t length)
{
    uint64_t word = draw(UINT64_MAX);
    for (uint64_t i = 0; i < length; i++)
        piece[i] = (unsigned char)((word += 0x9E3779B97F4A7C15u) >> 56);
}

/* ---- files ---------------------------------------------------------------------------------- */

static void open_file(int i)
{
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    options.drain = draw(3) ? CTE_FILE_DRAIN_ON_CLOSE : CTE_FILE_DRAIN_ASYNC;
    if (!files[i].file)
        must(cte_file_open(client, file_path(i), O_RDWR | O_CREAT, 0600, &options, &files[i].file),
             "open", i);
}

static void compare(int i, uint64_t offset, uint64_t length)
{
    if (memcmp(piece, files[i].bytes + offset, length) == 0)
        return;
    uint64_t at = 0;
    while (piece[at] == files[i].bytes[offset + at])
        at++;
    fprintf(stderr, "soak_worker, step %lu: WRONG BYTE of %s at %llu: %u, not %u\n", steps,
            file_path(i), (unsigned long long)(offset + at), piece[at],
            files[i].bytes[offset + at]);
    exit(4);
}

static void write_file(int i)
{
    struct thing *thing = &files[i];
    uint64_t offset, length;
    draw_range(FILE_BYTES, &offset, &length);
    draw_bytes(length);
    cte_file_segment segment = {offset, length, piece};
    cte_status status = cte_file_write(thing->file, &segment, 1);
    if (status != CTE_OK && faults_expected()) {
        /* Through a full store to a full file system: what is there is not known. */
        must(cte_file_truncate(thing->file, 0), "cut after a failed write", i);
        memset(thing->bytes, 0, FILE_BYTES);
        thing->size = 0;
        return;
    }
    must(status, "write", i);
    memcpy(thing->bytes + offset, piece, length);
    thing->size = offset + length > thing->size ? offset + length : thing->size;
}

static void read_file(int i)
{
    struct thing *thing = &files[i];
    uint64_t offset, length, got, size;
    draw_range(FILE_BYTES, &offset, &length);
    cte_file_segment segment = {offset, length, piece};
    must(cte_file_read(thing->file, &segment, 1, &got), "read", i);
    must(cte_file_size(thing->file, &size), "size", i);
    uint64_t there = offset < thing->size ? thing->size - offset : 0;
    there = there < length ? there : length;
    if (size != thing->size || got != there)
        die("wrong size of file", i, CTE_ERR_STORE_CORRUPT);
    compare(i, offset, got);
}

static void cut_file(int i)
{
    struct thing *thing = &files[i];
    uint64_t size = draw(FILE_BYTES);
    must(cte_file_truncate(thing->file, size), "truncate", i);
    if (size < thing->size)
        memset(thing->bytes + size, 0, thing->size - size);
    thing->size = size;
}

static void close_file(int i)
{
    struct thing *thing = &files[i];
    cte_status status = cte_file_close(thing->file);
    thing->file = NULL;
    if (status != CTE_OK && !faults_expected())
        die("close", i, status);
}

/* Before it is closed, or after; what is kept of it goes with it. */
static void remove_file(int i)
{
    bool first = draw(2);
    if (first && unlink(file_path(i)) != 0 && errno != ENOENT)
        die("unlink", i, -errno);
    if (files[i].file)
        close_file(i);
    if (!first && unlink(file_path(i)) != 0 && errno != ENOENT)
        die("unlink", i, -errno);
    memset(files[i].bytes, 0, FILE_BYTES);
    files[i].size = 0;
}

static void step_file(int i)
{
    open_file(i);
    switch (draw(16)) {
    case 0:
        close_file(i);
        break;
    case 1:
        cut_file(i);
        break;
    case 2:
        if (draw(4) == 0)
            remove_file(i);
        break;
    case 3: {
        cte_status status = draw(2) ? cte_file_sync(files[i].file) : cte_file_drain(files[i].file);
        if (status != CTE_OK && !faults_expected())
            die("drain", i, status);
        break;
    }
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
        read_file(i);
        break;
    default:
        write_file(i);
    }
}

/* ---- blobs ---------------------------------------------------------------------------------- */

static void step_blob(int i)
{
    struct thing *thing = &blobs[i];
    char name[32];
    uint64_t offset, length, got;
    snprintf(name, sizeof name, "blob-%d", i);
    draw_range(BLOB_BYTES, &offset, &length);
    if (draw(8) == 0) {
        cte_status status = cte_blob_delete(tag, name);
        if (status != CTE_OK && status != CTE_ERR_NOT_FOUND)
            die("delete", i, status);
        memset(thing->bytes, 0, BLOB_BYTES);
        thing->size = 0;
    } else if (draw(2)) {
        draw_bytes(length);
        cte_status status = cte_blob_put(tag, name, offset, piece, length, (float)draw(11) / 10, 0);
        if (status == -ENOSPC)
            return; /* the tiers are full: the old blob stays */
        must(status, "put", i);
        memcpy(thing->bytes + offset, piece, length);
        thing->size = offset + length > thing->size ? offset + length : thing->size;
    } else if (thing->size > 0) {
        must(cte_blob_get(tag, name, 0, piece, thing->size, &got), "get", i);
        if (got != thing->size || memcmp(piece, thing->bytes, thing->size) != 0) {
            fprintf(stderr, "soak_worker, step %lu: WRONG BYTES of blob %d\n", steps, i);
            exit(4);
        }
    }
}

/* ---- leaks ---------------------------------------------------------------------------------- */

/* `say`: also what they are. */
static int count_descriptors(bool say)
{
    int count = 0;
    DIR *list = opendir("/proc/self/fd");
    const struct dirent *entry;
    while (list && (entry = readdir(list)) != NULL) {
        char target[4096];
        ssize_t n = say ? readlinkat(dirfd(list), entry->d_name, target, sizeof target - 1) : -1;
        if (n > 0)
            fprintf(stderr, "%s: %.*s\n", entry->d_name, (int)n, target);
        count++;
    }
    if (list)
        closedir(list);
    return count;
}

/* Private memory, without what is mapped of the store. */
static long private_kib(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "RssAnon:", 8) == 0)
            kib = atol(line + 8);
    if (file)
        fclose(file);
    return kib;
}

static void close_all(void)
{
    for (int i = 0; i < FILES; i++)
        if (files[i].file)
            close_file(i);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    directory = argv[1];
    time_t begin = time(NULL), end = begin + atoi(argv[2]);
    state = strtoull(argv[3], NULL, 0);
    char name[64];
    snprintf(name, sizeof name, "soak-%ld", (long)getpid());
    must(cte_client_open(NULL, &client), "client", 0);
    must(cte_tag_open(client, name, true, &tag), "tag", 0);
    for (int i = 0; i < FILES; i++)
        files[i].bytes = calloc(1, FILE_BYTES);
    for (int i = 0; i < BLOBS; i++)
        blobs[i].bytes = calloc(1, BLOB_BYTES);
    int descriptors = 0;
    long memory = 0;
    while (time(NULL) < end) {
        steps++;
        if (draw(3))
            step_file((int)draw(FILES));
        else
            step_blob((int)draw(BLOBS));
        if (descriptors == 0 && steps > 200) {
            close_all();
            descriptors = count_descriptors(false);
            memory = private_kib();
        }
    }
    close_all();
    for (int i = 0; i < FILES; i++) {
        open_file(i);
        read_file(i);
        close_file(i);
    }
    /* Files that were closed as `async` keep theirs until they are drained, which they soon are. */
    for (int i = 0; descriptors > 0 && i < PATIENCE_S && count_descriptors(false) > descriptors + 2;
         i++)
        sleep(1);
    if (descriptors > 0 && count_descriptors(false) > descriptors + 2)
        die("descriptors leaked:", count_descriptors(true) - descriptors, -EMFILE);
    if (memory > 0 && private_kib() > memory + MEMORY_KIB_MOST)
        die("KiB of memory leaked:", (int)(private_kib() - memory), -ENOMEM);
    cte_tag_close(tag);
    must(cte_tag_delete(client, name), "delete tag", 0);
    cte_status status = cte_client_close(client);
    if (status != CTE_OK && !faults_expected())
        die("close client", 0, status);
    printf("%lu steps\n", steps);
    return 0;
}
