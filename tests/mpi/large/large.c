/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Usage: mpiio_large <program>
 * More than 2 GiB in one call, files of more than 4 GiB with holes, and how much memory a large
 * request takes.  Large memory is a ring: few pages, mapped again and again, whose period is such
 * that a place that is wrong by any power of two has other bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PERIOD = 4097 * 4096, MIB = 1 << 20, CREATE = MPI_MODE_RDWR | MPI_MODE_CREATE };

/* Of one call: more than an int counts, and no power of two. */
static const MPI_Count LARGE = ((MPI_Count)2 << 30) + 5 * MIB + 12;

static int rank, ranks;

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "rank %d: ", rank);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    MPI_Abort(MPI_COMM_WORLD, 4);
    _exit(4);
}

static void must(int code, const char *call, int line)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    if (code == MPI_SUCCESS)
        return;
    MPI_Error_string(code, text, &length);
    die("line %d: %s: %s", line, call, text);
}
#define MUST(call)    must(call, #call, __LINE__)
#define EXPECT(truth) ((truth) ? (void)0 : die("line %d: not so: %s", __LINE__, #truth))

/* ---- memory -----------------------------------------------------------------------------------
 */

static void *map(void *at, size_t bytes, int protection, int flags, int fd)
{
    void *memory = mmap(at, bytes, protection, flags, fd, 0);
    if (memory == MAP_FAILED)
        die("mmap of %zu bytes: %s", bytes, strerror(errno));
    return memory;
}

static uint64_t word_at(uint64_t number)
{
    uint64_t z = (number + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    return z ^ (z >> 27);
}

/* `bytes` bytes and more of the pattern; all of its pages are there. */
static char *make_ring(size_t bytes)
{
    size_t periods = bytes / PERIOD + 2;
    int fd = memfd_create("ring", 0);
    if (fd < 0 || ftruncate(fd, PERIOD) != 0)
        die("memfd: %s", strerror(errno));
    char *ring = map(NULL, periods * PERIOD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    for (size_t i = 0; i < periods; i++)
        map(ring + i * PERIOD, PERIOD, PROT_READ | PROT_WRITE,
            MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd);
    close(fd);
    for (size_t i = 0; i < PERIOD / 8; i++)
        ((uint64_t *)(void *)ring)[i] = word_at(i);
    return ring;
}

static void free_ring(char *ring, size_t bytes)
{
    munmap(ring, (bytes / PERIOD + 2) * PERIOD);
}

/* The bytes are the pattern's from `phase` on. */
static void compare(const char *ring, const char *bytes, size_t length, uint64_t phase)
{
    for (size_t done = 0, part; done < length; done += part) {
        part = length - done < MIB ? length - done : MIB;
        if (memcmp(bytes + done, ring + (phase + done) % PERIOD, part) != 0)
            die("other bytes near %llu", (unsigned long long)(phase + done));
    }
}

/* The file, without MPI, has the pattern from `phase` on at `offset`; a ring of NULL: zeros. */
static void compare_file(const char *ring, const char *name, uint64_t offset, uint64_t length,
                         uint64_t phase)
{
    static char piece[MIB], zeros[MIB];
    int fd = open(name, O_RDONLY);
    for (uint64_t done = 0, part; done < length; done += part) {
        part = length - done < MIB ? length - done : MIB;
        if (pread(fd, piece, part, (off_t)(offset + done)) != (ssize_t)part)
            die("%s is short at %llu", name, (unsigned long long)(offset + done));
        const char *expected = ring ? ring + (phase + done) % PERIOD : zeros;
        if (memcmp(piece, expected, part) != 0)
            die("%s has other bytes near %llu", name, (unsigned long long)(offset + done));
    }
    close(fd);
}

static MPI_File open_file(const char *name)
{
    MPI_File f;
    MUST(MPI_File_open(MPI_COMM_WORLD, name, CREATE, MPI_INFO_NULL, &f));
    return f;
}

static void expect_bytes(const MPI_Status *status, MPI_Count bytes)
{
    MPI_Count told;
    int count;
    MUST(MPI_Get_elements_x(status, MPI_BYTE, &told));
    EXPECT(told == bytes);
    MUST(MPI_Get_count(status, MPI_BYTE, &count));
    EXPECT(count == (bytes > INT32_MAX ? MPI_UNDEFINED : bytes));
}

/* A contiguous type of that many bytes, a multiple of 4. */
static MPI_Datatype make_large_type(MPI_Count bytes)
{
    MPI_Datatype block, tail, type;
    int blocks = (int)(bytes / MIB), rest = (int)(bytes % MIB / 4);
    MPI_Type_contiguous(MIB / 4, MPI_INT, &block);
    MPI_Type_contiguous(rest, MPI_INT, &tail);
    MPI_Type_create_struct(2, (int[]){blocks, 1}, (MPI_Aint[]){0, (MPI_Aint)blocks * MIB},
                           (MPI_Datatype[]){block, tail}, &type);
    MPI_Type_commit(&type);
    MPI_Type_free(&block);
    MPI_Type_free(&tail);
    return type;
}

/* ---- more than 2 GiB in one call ----------------------------------------------------------------
 */

/* By a count of more than an int. */
static void by_large_count(void)
{
    MPI_Status status;
    char *ring = make_ring((size_t)LARGE);
    MPI_File f = open_file("count");
    MUST(MPI_File_write_at_c(f, 77, ring, LARGE, MPI_BYTE, &status));
    expect_bytes(&status, LARGE);
    MPI_File_close(&f);
    compare_file(ring, "count", 77, (uint64_t)LARGE, 0);
    char *back = map(NULL, (size_t)LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    f = open_file("count");
    MUST(MPI_File_read_at_c(f, 77, back, LARGE, MPI_BYTE, &status));
    expect_bytes(&status, LARGE);
    compare(ring, back, (size_t)LARGE, 0);
    MPI_File_close(&f);
    munmap(back, (size_t)LARGE);
    free_ring(ring, (size_t)LARGE);
}

/* By the size of what is counted, and by a few of a large type; at the individual pointer, which
 * passes 4 GiB. */
static void by_datatype(void)
{
    MPI_Status status;
    MPI_Offset position;
    char *ring = make_ring((size_t)LARGE);
    MPI_Datatype type = make_large_type(LARGE);
    MPI_File f = open_file("type");
    MPI_File_set_view(f, 0, MPI_INT, MPI_INT, "native", MPI_INFO_NULL);
    MUST(MPI_File_write(f, ring, (int)(LARGE / 4), MPI_INT, &status));
    expect_bytes(&status, LARGE);
    MUST(MPI_File_write(f, ring, 1, type, &status));
    expect_bytes(&status, LARGE);
    MPI_File_get_position(f, &position);
    EXPECT(position == 2 * (LARGE / 4));
    MPI_File_close(&f);
    compare_file(ring, "type", 0, (uint64_t)LARGE, 0);
    compare_file(ring, "type", (uint64_t)LARGE, (uint64_t)LARGE, 0);
    f = open_file("type");
    char *back = map(NULL, (size_t)LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    MUST(MPI_File_read_at(f, LARGE, back, 1, type, &status));
    expect_bytes(&status, LARGE);
    compare(ring, back, (size_t)LARGE, 0);
    MPI_File_close(&f);
    munmap(back, (size_t)LARGE);
    MPI_Type_free(&type);
    free_ring(ring, (size_t)LARGE);
}

/* A view with holes, all ranks, nonblocking and split: the file is twice as long as its data. */
static void by_view(void)
{
    enum { PIECE = 3 * MIB };
    MPI_Datatype comb;
    MPI_Status status;
    MPI_Request request;
    MPI_Offset size;
    MPI_Count pieces = LARGE / PIECE + 1, bytes = pieces * PIECE;
    char *ring = make_ring((size_t)bytes);
    MPI_Type_contiguous(PIECE, MPI_BYTE, &comb);
    MPI_Datatype spaced;
    MPI_Type_create_resized(comb, 0, (MPI_Aint)(ranks + 1) * PIECE, &spaced);
    MPI_Type_commit(&spaced);
    MPI_File f = open_file("view");
    MPI_File_set_view(f, (MPI_Offset)rank * PIECE, MPI_BYTE, spaced, "native", MPI_INFO_NULL);
    MUST(MPI_File_iwrite_at_c(f, 0, ring, bytes, MPI_BYTE, &request));
    MUST(MPI_Wait(&request, &status));
    expect_bytes(&status, bytes);
    MUST(MPI_File_write_all_begin_c(f, ring, bytes, MPI_BYTE));
    MUST(MPI_File_write_all_end(f, ring, &status));
    expect_bytes(&status, bytes);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_get_size(f, &size);
    EXPECT(size == (pieces - 1) * (ranks + 1) * PIECE + (MPI_Offset)ranks * PIECE);
    EXPECT(size > (MPI_Offset)4 << 30);
    MPI_File_close(&f);
    for (MPI_Count i = 0; i < pieces; i++) {
        uint64_t at = (uint64_t)i * (uint64_t)(ranks + 1) * PIECE;
        compare_file(ring, "view", at + (uint64_t)rank * PIECE, PIECE, (uint64_t)i * PIECE);
        if (i < pieces - 1)
            compare_file(NULL, "view", at + (uint64_t)ranks * PIECE, PIECE, 0);
    }
    MPI_Type_free(&comb);
    MPI_Type_free(&spaced);
    free_ring(ring, (size_t)bytes);
}

/* ---- files with holes
 * -----------------------------------------------------------------------------
 */

/* Few bytes, far apart; nothing else takes room, and everything else is zero. */
static void holes(void)
{
    enum { BYTES = 300001 };
    static const MPI_Offset places[] = {1, ((MPI_Offset)2 << 30) - 5,
                                        ((MPI_Offset)4 << 30) - 100000, ((MPI_Offset)5 << 30) + 77,
                                        ((MPI_Offset)90 << 30) + 1};
    enum { PLACES = sizeof places / sizeof places[0] };
    static char back[2 * BYTES], zeros[BYTES];
    MPI_Status status;
    MPI_Offset size, end = places[PLACES - 1] + (MPI_Offset)BYTES * ranks;
    struct stat st;
    char *ring = make_ring(PERIOD);
    MPI_File f = open_file("holes");
    for (int i = 0; i < PLACES; i++)
        MUST(MPI_File_write_at_all(f, places[i] + (MPI_Offset)rank * BYTES,
                                   ring + (rank + i) * BYTES, BYTES, MPI_BYTE, &status));
    MPI_File_get_size(f, &size);
    EXPECT(size == end);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < PLACES; i++) {
            memset(back, 'x', sizeof back);
            MPI_Offset last = places[i] + (MPI_Offset)(ranks - 1) * BYTES;
            MUST(MPI_File_read_at(f, last, back, 2 * BYTES, MPI_BYTE, &status));
            EXPECT(memcmp(back, ring + (ranks - 1 + i) * BYTES, BYTES) == 0);
            if (i < PLACES - 1)
                EXPECT(memcmp(back + BYTES, zeros, BYTES) == 0);
            expect_bytes(&status, i < PLACES - 1 ? 2 * BYTES : BYTES);
        }
        MPI_File_close(&f);
        EXPECT(stat("holes", &st) == 0 && st.st_size == end);
        EXPECT(st.st_blocks * 512 < PLACES * (ranks * BYTES + 4 * MIB));
        f = open_file("holes");
    }
    MPI_File_seek(f, 0, MPI_SEEK_END);
    MPI_File_get_position(f, &size);
    EXPECT(size == end);
    MUST(MPI_File_set_size(f, places[3]));
    MUST(MPI_File_set_size(f, end));
    MUST(MPI_File_read_at(f, places[3], back, BYTES, MPI_BYTE, &status));
    EXPECT(memcmp(back, zeros, BYTES) == 0);
    MPI_File_close(&f);
    EXPECT(stat("holes", &st) == 0 && st.st_size == end);
    free_ring(ring, PERIOD);
}

/* ---- memory -------------------------------------------------------------------------------------
 */

static long peak_kib(void)
{
    char line[256];
    long kib = -1;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib;
}

/* From here on the peak is counted anew. */
static long reset_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file || fputs("5", file) < 0 || fclose(file) != 0)
        die("the peak of the memory cannot be set back: %s", strerror(errno));
    return peak_kib();
}

static void move_all_ways(MPI_File f, char *memory, MPI_Count count, MPI_Datatype type)
{
    MPI_Status status;
    MPI_Request request;
    MUST(MPI_File_write_at_c(f, 0, memory, count, type, &status));
    MUST(MPI_File_read_at_c(f, 0, memory, count, type, &status));
    MUST(MPI_File_write_at_all_c(f, 0, memory, count, type, &status));
    MUST(MPI_File_read_at_all_c(f, 0, memory, count, type, &status));
    MUST(MPI_File_iwrite_at_c(f, 0, memory, count, type, &request));
    MUST(MPI_Wait(&request, &status));
    MUST(MPI_File_iread_at_c(f, 0, memory, count, type, &request));
    MUST(MPI_Wait(&request, &status));
    MUST(MPI_File_write_all_begin_c(f, memory, count, type));
    MUST(MPI_File_write_all_end(f, memory, &status));
}

/*
 * Requests of 512 bytes of each KiB, in memory and in the file, of 32 and of 256 MiB: what they
 * take beside the program's own memory is less than a bound that has nothing to do with their size.
 * It is that of the ram target, which is mapped, and what the library may have for itself.
 */
static void bounded_memory(void)
{
    enum { PIECE = 512, RAM_MIB = 32, OWN_MIB = 64 };
    static const MPI_Count sizes[] = {(MPI_Count)32 * MIB, (MPI_Count)256 * MIB};
    MPI_Datatype piece, spaced, shared;
    size_t most = 2 * (size_t)sizes[1];
    char *ring = make_ring(most);
    MPI_Type_contiguous(PIECE, MPI_BYTE, &piece);
    MPI_Type_create_resized(piece, 0, 2 * PIECE, &spaced);
    MPI_Type_create_resized(piece, 0, (MPI_Aint)ranks * PIECE, &shared);
    MPI_Type_commit(&spaced);
    MPI_Type_commit(&shared);
    MPI_File f = open_file("bounded");
    for (int i = 0; i < 2; i++) {
        MPI_File_set_view(f, (MPI_Offset)rank * PIECE, MPI_BYTE, shared, "native", MPI_INFO_NULL);
        long before = reset_peak();
        move_all_ways(f, ring, sizes[i] / PIECE, spaced);
        long grown = (peak_kib() - before) / 1024;
        printf("rank %d: %lld MiB at a time take %ld MiB\n", rank, (long long)(sizes[i] / MIB),
               grown);
        EXPECT(grown <= RAM_MIB + OWN_MIB);
    }
    MPI_File_close(&f);
    MPI_Type_free(&piece);
    MPI_Type_free(&spaced);
    MPI_Type_free(&shared);
    free_ring(ring, most);
}

static const struct {
    const char *name;
    void (*run)(void);
} programs[] = {{"by_large_count", by_large_count},
                {"by_datatype", by_datatype},
                {"by_view", by_view},
                {"holes", holes},
                {"bounded_memory", bounded_memory}};

int main(int argc, char **argv)
{
    bool found = false;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    for (size_t i = 0; argc == 2 && i < sizeof programs / sizeof programs[0]; i++)
        if (strcmp(argv[1], programs[i].name) == 0) {
            programs[i].run();
            found = true;
        }
    if (!found)
        fprintf(stderr, "usage: mpiio_large <program>\n");
    MPI_Finalize();
    return !found;
}
