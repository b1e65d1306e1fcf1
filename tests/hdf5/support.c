/* SPDX-License-Identifier: BSD-3-Clause */
#include "support.h"

#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[4096], store_directory[64];
static pid_t owner;

void check_(bool holds, const char *text, const char *file, int line)
{
    if (holds)
        return;
    fflush(stdout);
    fprintf(stderr, "%s:%d: failed: %s\n", file, line, text);
    H5Eprint2(H5E_DEFAULT, stderr);
    exit(1);
}

long long ok_(long long result, const char *text, const char *file, int line)
{
    check_(result >= 0, text, file, line);
    return result;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A forked child that exits must not take the directory away. */
static void clean_up(void)
{
    if (getpid() != owner)
        return;
    remove_tree(directory);
    remove_tree(store_directory);
}

/* CTest and timeout(1) end a test that hangs by a signal; a crash is one. */
static void clean_up_and_die(int signal_number)
{
    clean_up();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

const char *scratch_directory(void)
{
    if (directory[0])
        return directory;
    static const int deadly[] = {SIGTERM, SIGINT, SIGABRT, SIGSEGV, SIGBUS};
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/cte-hdf5-XXXXXX", base ? base : "/tmp");
    CHECK(mkdtemp(directory) != NULL);
    owner = getpid();
    snprintf(store_directory, sizeof store_directory, "/dev/shm/cte-hdf5-XXXXXX");
    CHECK(mkdtemp(store_directory) != NULL);
    CHECK(atexit(clean_up) == 0);
    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++)
        CHECK(signal(deadly[i], clean_up_and_die) != SIG_ERR);
    CHECK(setenv("CTE_STORE_NAME", "hdf5-test", 1) == 0);
    CHECK(setenv("CTE_STORE_DIRECTORY", store_directory, 1) == 0);
    CHECK(setenv("CTE_RAM_CAPACITY", "512MiB", 1) == 0);
    return directory;
}

static char *read_stream(FILE *stream, size_t *bytes)
{
    size_t used = 0, room = 1 << 16;
    char *text = malloc(room);
    CHECK(text != NULL);
    for (size_t n; (n = fread(text + used, 1, room - used - 1, stream)) > 0;) {
        used += n;
        if (room - used < 2) {
            room *= 2;
            text = realloc(text, room);
            CHECK(text != NULL);
        }
    }
    text[used] = '\0';
    *bytes = used;
    return text;
}

char *run_command(int *status, const char *format, ...)
{
    char command[16384];
    size_t bytes;
    va_list args;
    va_start(args, format);
    CHECK((size_t)vsnprintf(command, sizeof command, format, args) < sizeof command);
    va_end(args);
    FILE *stream = popen(command, "r");
    CHECK(stream != NULL);
    char *text = read_stream(stream, &bytes);
    int result = pclose(stream);
    *status = WIFEXITED(result) ? WEXITSTATUS(result) : 128;
    return text;
}

char *read_whole(const char *path, size_t *bytes)
{
    FILE *stream = fopen(path, "rb");
    if (!stream)
        return NULL;
    char *text = read_stream(stream, bytes);
    fclose(stream);
    return text;
}

bool same_bytes(const char *path_a, const char *path_b)
{
    size_t a_bytes = 0, b_bytes = 0;
    char *a = read_whole(path_a, &a_bytes), *b = read_whole(path_b, &b_bytes);
    bool same = a && b && a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0;
    free(a);
    free(b);
    return same;
}

struct joined {
    char text[8192];
};

static herr_t join(unsigned n, const H5E_error2_t *error, void *context)
{
    struct joined *all = context;
    size_t used = strlen(all->text);
    (void)n;
    snprintf(all->text + used, sizeof all->text - used, "%s\n", error->desc);
    return 0;
}

char *error_stack_text(void)
{
    struct joined all = {""};
    OK(H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, join, &all));
    char *text = strdup(all.text);
    CHECK(text != NULL);
    return text;
}

hid_t fapl_sec2(void)
{
    hid_t fapl = OK(H5Pcreate(H5P_FILE_ACCESS));
    OK(H5Pset_fapl_sec2(fapl));
    return fapl;
}

hid_t fapl_cte(const cte_hdf5_config *config)
{
    hid_t fapl = OK(H5Pcreate(H5P_FILE_ACCESS));
    OK(H5Pset_fapl_cte(fapl, config));
    return fapl;
}

hid_t try_open(const char *name, unsigned flags, hid_t fapl)
{
    hid_t file;
    H5E_BEGIN_TRY
    {
        file = flags & (H5F_ACC_TRUNC | H5F_ACC_EXCL) ? H5Fcreate(name, flags, H5P_DEFAULT, fapl)
                                                      : H5Fopen(name, flags, fapl);
    }
    H5E_END_TRY;
    return file;
}

void transfer_bytes(hid_t set, bool write, hsize_t start, hsize_t count, unsigned char *bytes)
{
    hid_t space = OK(H5Dget_space(set)), memory = OK(H5Screate_simple(1, &count, NULL));
    OK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL));
    if (write)
        OK(H5Dwrite(set, H5T_NATIVE_UCHAR, memory, space, H5P_DEFAULT, bytes));
    else
        OK(H5Dread(set, H5T_NATIVE_UCHAR, memory, space, H5P_DEFAULT, bytes));
    OK(H5Sclose(space));
    OK(H5Sclose(memory));
}

int stock_open(const char *name, unsigned flags)
{
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        hid_t fapl = fapl_sec2();
        _exit(try_open(name, flags, fapl) < 0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return WEXITSTATUS(status);
}
