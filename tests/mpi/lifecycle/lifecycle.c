/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Usage: mpiio_lifecycle <program> [argument]
 * Files through the life of processes, communicators and names.  Each program is run with and
 * without the library; what it reports (report.<rank>) and its files must be the same.
 */
#include <dirent.h>
#include <mpi.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BYTES = 30000, CREATE = MPI_MODE_RDWR | MPI_MODE_CREATE };

static int rank, ranks;
static FILE *report;
static unsigned char data[BYTES], back[BYTES];

static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void tell(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(report, format, args);
    va_end(args);
}

static void tell_code(const char *what, int code)
{
    int class = MPI_SUCCESS;
    if (code != MPI_SUCCESS)
        MPI_Error_class(code, &class);
    tell("%s: class %d\n", what, class);
}

static void tell_bytes(const char *what, const void *bytes, size_t count)
{
    uint64_t hash = 1469598103934665603u;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
    tell("%s: %zu bytes %016llx\n", what, count, (unsigned long long)hash);
}

static void fill(unsigned salt)
{
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (unsigned char)(i * 7 + (size_t)rank * 31 + salt * 13 + 1);
}

static MPI_File open_file(MPI_Comm comm, const char *name, int amode)
{
    MPI_File file = MPI_FILE_NULL;
    if (MPI_File_open(comm, name, amode, MPI_INFO_NULL, &file) != MPI_SUCCESS) {
        fprintf(stderr, "%s cannot be opened\n", name);
        MPI_Abort(MPI_COMM_WORLD, 3);
    }
    return file;
}

static void write_part(MPI_File file, int part)
{
    tell_code("write", MPI_File_write_at(file, (MPI_Offset)part * BYTES, data, BYTES, MPI_BYTE,
                                         MPI_STATUS_IGNORE));
}

static void read_part(MPI_File file, int part)
{
    MPI_Status status;
    int count;
    memset(back, 0, BYTES);
    tell_code("read",
              MPI_File_read_at(file, (MPI_Offset)part * BYTES, back, BYTES, MPI_BYTE, &status));
    MPI_Get_count(&status, MPI_BYTE, &count);
    tell("part %d count %d\n", part, count);
    tell_bytes("data", back, (size_t)count);
}

static void tell_size(MPI_File file)
{
    MPI_Offset size = -1;
    MPI_File_get_size(file, &size);
    tell("size %lld\n", (long long)size);
}

static void levels(void)
{
    fill(1);
    MPI_File f = open_file(MPI_COMM_WORLD, "levels", CREATE);
    write_part(f, rank);
    MPI_Barrier(MPI_COMM_WORLD);
    read_part(f, (rank + 1) % ranks);
    MPI_File_close(&f);
}

static void duplicates(void)
{
    MPI_Comm dup, half;
    fill(2);
    MPI_Comm_dup(MPI_COMM_WORLD, &dup);
    MPI_File f = open_file(dup, "dup", CREATE);
    MPI_Comm_free(&dup); /* the file keeps its own */
    write_part(f, rank);
    MPI_File_close(&f);

    /* Two communicators, in turned order, with one file at the same time. */
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &half);
    MPI_File own = open_file(half, rank % 2 ? "half.1" : "half.0", CREATE);
    f = open_file(half, "halves", CREATE);
    int position;
    MPI_Comm_rank(half, &position);
    tell_code("write_all", MPI_File_write_at_all(own, (MPI_Offset)position * BYTES, data, BYTES,
                                                 MPI_BYTE, MPI_STATUS_IGNORE));
    write_part(f, rank);
    MPI_Barrier(MPI_COMM_WORLD);
    read_part(f, ranks - 1 - rank);
    tell_size(f);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_close(&f);
    MPI_File_close(&own);
    MPI_Comm_free(&half);
}

/* Every rank opens the same file alone; they come and go at different times. */
static void alone(void)
{
    fill(3);
    for (int turn = 0; turn < 4; turn++) {
        MPI_File f = open_file(MPI_COMM_SELF, "alone", CREATE);
        write_part(f, turn * ranks + rank);
        if ((turn + rank) % 2)
            MPI_File_close(&f);
        MPI_Barrier(MPI_COMM_WORLD);
        if (f == MPI_FILE_NULL)
            f = open_file(MPI_COMM_SELF, "alone", MPI_MODE_RDONLY);
        read_part(f, turn * ranks + (rank + 1) % ranks);
        tell_size(f);
        MPI_Barrier(MPI_COMM_WORLD);
        MPI_File_close(&f);
    }
}

static void rank_counts(void)
{
    MPI_File f;
    for (int count = ranks; count > 0; count--) {
        MPI_Comm some;
        MPI_Comm_split(MPI_COMM_WORLD, rank < count ? 0 : MPI_UNDEFINED, rank, &some);
        if (some != MPI_COMM_NULL) {
            fill((unsigned)count);
            f = open_file(some, "counts", CREATE);
            tell_size(f);
            MPI_File_read_at_all(f, (MPI_Offset)rank * BYTES, back, BYTES, MPI_BYTE,
                                 MPI_STATUS_IGNORE);
            tell_bytes("before", back, count < ranks ? BYTES : 0);
            tell_code("write_all",
                      MPI_File_write_at_all(f, (MPI_Offset)(rank * 3 + count) * BYTES / 2, data,
                                            BYTES, MPI_BYTE, MPI_STATUS_IGNORE));
            MPI_File_close(&f);
            MPI_Comm_free(&some);
        }
        MPI_Barrier(MPI_COMM_WORLD);
    }
}

/* Some have the file open for writing, the others open, read and close it meanwhile. */
static void reader_elsewhere(void)
{
    MPI_Comm half;
    bool writer = rank % 2 == 0;
    MPI_File f = MPI_FILE_NULL;
    MPI_Comm_split(MPI_COMM_WORLD, writer, rank, &half);
    if (writer)
        f = open_file(half, "elsewhere", CREATE);
    for (int turn = 0; turn < 4; turn++) {
        fill((unsigned)turn);
        if (writer)
            write_part(f, turn * ranks + rank);
        MPI_Barrier(MPI_COMM_WORLD);
        if (!writer) {
            MPI_File r = open_file(half, "elsewhere", MPI_MODE_RDONLY);
            tell_size(r);
            read_part(r, turn * ranks + rank - 1);
            tell_code("write to read-only",
                      MPI_File_write_at(r, 0, data, 1, MPI_BYTE, MPI_STATUS_IGNORE));
            MPI_File_close(&r);
        }
        MPI_Barrier(MPI_COMM_WORLD);
    }
    if (writer)
        MPI_File_close(&f);
    MPI_Comm_free(&half);
}

static void tell_stdio(const char *name)
{
    static unsigned char bytes[16 * BYTES];
    FILE *file = fopen(name, "rb");
    size_t count = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    tell("%s %s\n", name, file ? "is there" : "is not there");
    tell_bytes("stdio", bytes, count);
    if (file)
        fclose(file);
}

static void write_stdio(const char *name, const char *mode)
{
    FILE *file = fopen(name, mode);
    if (file) {
        tell("stdio wrote %zu\n", fwrite(data, 1, BYTES / 3, file));
        fclose(file);
    }
}

static void names(void)
{
    MPI_File f;
    fill(5);
    f = open_file(MPI_COMM_WORLD, "names", CREATE);
    write_part(f, rank);
    MPI_File_close(&f);
    tell_stdio("names");
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0)
        write_stdio("names", "ab");
    MPI_Barrier(MPI_COMM_WORLD);
    f = open_file(MPI_COMM_WORLD, "names", CREATE);
    tell_size(f);
    read_part(f, ranks);
    MPI_File_close(&f);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0)
        tell("rename %d\n", rename("names", "names.old"));
    if (rank == 0)
        write_stdio("names", "wb");
    MPI_Barrier(MPI_COMM_WORLD);
    f = open_file(MPI_COMM_WORLD, "names", MPI_MODE_RDONLY);
    read_part(f, 0);
    MPI_File_close(&f);
    f = open_file(MPI_COMM_WORLD, "names.old", MPI_MODE_RDONLY);
    read_part(f, rank);
    MPI_File_close(&f);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0)
        tell_code("delete", MPI_File_delete("names.old", MPI_INFO_NULL));
    if (rank == 0)
        tell_code("delete again", MPI_File_delete("names.old", MPI_INFO_NULL));
    MPI_Barrier(MPI_COMM_WORLD);
    tell_code("open deleted",
              MPI_File_open(MPI_COMM_WORLD, "names.old", MPI_MODE_RDONLY, MPI_INFO_NULL, &f));
    tell_stdio("names");
}

/* The name goes while the file is open; a new file of that name is another file. */
static void deleted_while_open(void)
{
    fill(6);
    MPI_File f = open_file(MPI_COMM_WORLD, "deleted", CREATE);
    write_part(f, rank);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0)
        tell("unlink %d\n", unlink("deleted"));
    MPI_Barrier(MPI_COMM_WORLD);
    write_part(f, ranks + rank);
    MPI_Barrier(MPI_COMM_WORLD);
    read_part(f, ranks - 1 - rank);
    MPI_File other = open_file(MPI_COMM_WORLD, "deleted", CREATE);
    tell_size(other);
    MPI_Barrier(MPI_COMM_WORLD);
    fill(7);
    write_part(other, 2 * rank);
    MPI_Barrier(MPI_COMM_WORLD);
    read_part(f, 0);
    tell_code("close", MPI_File_close(&f));
    read_part(other, 0);
    tell_code("close", MPI_File_close(&other));
}

static void shell(const char *command)
{
    char line[64] = "nothing";
    FILE *pipe = popen(command, "r");
    if (pipe && !fgets(line, sizeof line, pipe))
        strcpy(line, "no line");
    tell("popen %s: %s, %d\n", command, line, pipe ? pclose(pipe) : -1);
}

/* A child that ends by exit() runs the handlers of its parent; one by exec() another program. */
static void children(void)
{
    int status;
    char *const arguments[] = {"sh", "-c", "exit 9", NULL};
    fill(8);
    MPI_File f = open_file(MPI_COMM_WORLD, "children", CREATE);
    write_part(f, rank);
    fflush(report);
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        if (child == 0 && i == 0)
            exit(5);
        if (child == 0 && i == 1)
            execv("/bin/sh", arguments);
        if (child == 0)
            _exit(system("exit 4") >> 8);
        tell("waited %d\n", waitpid(child, &status, 0) == child);
        tell("child %d: %d\n", i, WEXITSTATUS(status));
        write_part(f, (i + 1) * ranks + rank);
    }
    tell("system %d\n", system("exit 3") >> 8);
    shell("echo from a pipe");
    MPI_Barrier(MPI_COMM_WORLD);
    read_part(f, (rank + 1) % ranks);
    MPI_File_close(&f);
}

static int descriptors(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (directory && readdir(directory))
        count++;
    if (directory)
        closedir(directory);
    return count;
}

/* Opening and closing keeps no descriptors, beyond a few that are kept for all files. */
static void descriptors_stay(void)
{
    enum { WARM = 20, OPENS = 100, FEW = 10 };
    int warm = 0;
    fill(9);
    for (int i = 0; i < OPENS; i++) {
        MPI_File f = open_file(i % 2 ? MPI_COMM_SELF : MPI_COMM_WORLD,
                               i % 2 && rank == 0 ? "kept.self" : "kept", CREATE);
        MPI_File_write_at(f, rank * 100, data, 100, MPI_BYTE, MPI_STATUS_IGNORE);
        MPI_File_close(&f);
        if (i == WARM)
            warm = descriptors();
    }
    tell("descriptors are kept: %d\n", descriptors() - warm > FEW);
}

/* One turn of the start and stop test; its argument says what is left to the end of MPI. */
static void cycle(int turn)
{
    MPI_File f, second;
    fill((unsigned)turn);
    f = open_file(MPI_COMM_WORLD, "cycle", CREATE);
    write_part(f, rank);
    second = open_file(MPI_COMM_SELF, rank ? "cycle.1" : "cycle.0", CREATE);
    write_part(second, 0);
    if (turn % 4 == 1)
        tell("system %d\n", system(":"));
    if (turn % 3)
        MPI_File_close(&f);
    if (turn % 2)
        MPI_File_close(&second);
}

static void aborts(void)
{
    fill(10);
    MPI_File f = open_file(MPI_COMM_WORLD, "aborts", CREATE);
    char name[32]; /* a file for each: of two ranks that write one, either may come last */
    snprintf(name, sizeof name, "aborts.%d", rank);
    MPI_File own = open_file(MPI_COMM_SELF, name, CREATE);
    write_part(f, rank);
    write_part(own, 0);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0)
        MPI_Abort(MPI_COMM_WORLD, 6);
    MPI_Barrier(MPI_COMM_WORLD);
}

static const struct {
    const char *name;
    void (*run)(void);
} programs[] = {{"levels", levels},
                {"duplicates", duplicates},
                {"alone", alone},
                {"rank_counts", rank_counts},
                {"reader_elsewhere", reader_elsewhere},
                {"names", names},
                {"deleted_while_open", deleted_while_open},
                {"children", children},
                {"descriptors", descriptors_stay},
                {"aborts", aborts}};

static void start(int *argc, char ***argv, int level)
{
    int provided = -1;
    char name[32];
    if (level < 0)
        MPI_Init(argc, argv);
    else
        MPI_Init_thread(argc, argv, level, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    snprintf(name, sizeof name, "report.%d", rank);
    report = fopen(name, "w");
    if (!report)
        MPI_Abort(MPI_COMM_WORLD, 3);
    tell("level %d\n", provided);
}

int main(int argc, char **argv)
{
    static const int level[] = {MPI_THREAD_SINGLE, MPI_THREAD_FUNNELED, MPI_THREAD_SERIALIZED,
                                MPI_THREAD_MULTIPLE};
    bool found = argc == 3 && strcmp(argv[1], "cycle") == 0;
    const char *name = argc > 1 ? argv[1] : "";
    int argument = argc == 3 ? atoi(argv[2]) : -1;
    start(&argc, &argv, argument < 0 ? -1 : level[argument % 4]);
    if (found)
        cycle(argument);
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
        if (strcmp(name, programs[i].name) == 0) {
            programs[i].run();
            found = true;
        }
    if (!found)
        fprintf(stderr, "usage: mpiio_lifecycle <program> [argument]\n");
    fclose(report);
    MPI_Finalize();
    return !found;
}
