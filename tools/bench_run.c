/* SPDX-License-Identifier: BSD-3-Clause */
/* Private directories, processes and signals of a benchmark run. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

enum { REMOVE_FDS = 16, VARIABLE_BYTES = 64 };

/* ---- directories ---------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    return walk->level == 0 || remove(path) == 0 ? 0 : -1;
}

bool bench_empty(const char *directory)
{
    return nftw(directory, remove_one, REMOVE_FDS, FTW_DEPTH | FTW_PHYS) == 0;
}

static int drop_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)walk;
    if (type != FTW_F || !S_ISREG(status->st_mode))
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int error = fsync(fd) != 0 ? errno : posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
    errno = error;
    return error == 0 ? 0 : -1;
}

bool bench_drop_cache(const char *directory)
{
    if (directory[0] == '\0' || nftw(directory, drop_one, REMOVE_FDS, FTW_PHYS) == 0)
        return true;
    complain("%s cannot be dropped from the cache: %s", directory, strerror(errno));
    return false;
}

static bool make_directory(char *path, size_t bytes, const char *parent)
{
    path[0] = '\0';
    if (!parent)
        return true;
    char *absolute = realpath(parent, NULL);
    int n = absolute ? snprintf(path, bytes, "%s/cte-bench.XXXXXX", absolute) : -1;
    free(absolute);
    if (n >= 0 && (size_t)n < bytes && mkdtemp(path))
        return true;
    path[0] = '\0';
    complain("cannot make a directory in %s: %s", parent,
             n >= 0 && (size_t)n >= bytes ? strerror(ENAMETOOLONG) : strerror(errno));
    return false;
}

static bool remove_directory(const char *path)
{
    if (path[0] == '\0' || (bench_empty(path) && rmdir(path) == 0))
        return true;
    complain("%s is left behind, it cannot be removed: %s", path, strerror(errno));
    return false;
}

/* ---- signals -------------------------------------------------------------------------------- */

static const int ending_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
enum { ENDING_COUNT = sizeof ending_signals / sizeof ending_signals[0] };

/* Signals that are waited for.  One that is ignored, as nohup has it, stays so. */
static sigset_t awaited_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (int i = 0; i < ENDING_COUNT; i++) {
        struct sigaction now;
        if (sigaction(ending_signals[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaddset(&set, ending_signals[i]);
    }
    return set;
}

bool bench_enter(struct bench_place *place, const char *memory_parent, const char *disk_parent)
{
    sigset_t set = awaited_signals();
    sigprocmask(SIG_BLOCK, &set, NULL);
    *place = (struct bench_place){0};
    if (make_directory(place->memory, sizeof place->memory, memory_parent) &&
        make_directory(place->disk, sizeof place->disk, disk_parent))
        return true;
    bench_leave(place, EXIT_FAILED);
    return false;
}

int bench_leave(struct bench_place *place, int result)
{
    bool memory = remove_directory(place->memory), disk = remove_directory(place->disk);
    sigset_t set = awaited_signals();
    fflush(NULL);
    sigprocmask(SIG_UNBLOCK, &set, NULL); /* a signal that waits ends the process here */
    return memory && disk ? result : EXIT_FAILED;
}

/* ---- processes ------------------------------------------------------------------------------ */

static _Noreturn void child(pid_t parent, bool (*main)(void *, uint32_t), void *context,
                            uint32_t index)
{
    /* Nobody would end or clean up after a child whose parent is gone. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bool good = getppid() == parent && main(context, index);
    fflush(NULL);
    _exit(good ? EXIT_OK : EXIT_FAILED);
}

struct children {
    pid_t pids[BENCH_PROCESSES_MAX]; /* 0: gone */
    uint32_t count, alive;
    bool failed;
};

static void end_all(struct children *children)
{
    for (uint32_t i = 0; i < children->count; i++) {
        if (children->pids[i] == 0)
            continue;
        kill(children->pids[i], SIGKILL);
        waitpid(children->pids[i], NULL, 0);
        children->pids[i] = 0;
    }
    children->alive = 0;
    children->failed = true;
}

static void look_after(struct children *children)
{
    for (uint32_t i = 0; i < children->count; i++) {
        int status;
        if (children->pids[i] == 0 || waitpid(children->pids[i], &status, WNOHANG) <= 0)
            continue;
        children->pids[i] = 0;
        children->alive--;
        if (WIFSIGNALED(status))
            complain("a measuring process was ended by signal %d (%s)", WTERMSIG(status),
                     strsignal(WTERMSIG(status)));
        children->failed |= !WIFEXITED(status) || WEXITSTATUS(status) != EXIT_OK;
    }
}

bool bench_fork(uint32_t count, bool (*main)(void *, uint32_t), void *context)
{
    struct children children = {0};
    pid_t self = getpid();
    fflush(NULL); /* or each child prints it too */
    for (uint32_t i = 0; i < count && !children.failed; i++) {
        pid_t pid = fork();
        if (pid == 0)
            child(self, main, context, i);
        if (pid < 0) {
            complain("cannot start a process: %s", strerror(errno));
            children.failed = true;
        } else {
            children.pids[children.count++] = pid;
            children.alive++;
        }
    }
    sigset_t set = awaited_signals();
    while (children.alive > 0 && !children.failed) {
        int number = sigwaitinfo(&set, NULL);
        if (number == SIGCHLD)
            look_after(&children);
        else if (number > 0) {
            raise(number); /* waits, blocked, for bench_leave() */
            children.failed = true;
        }
    }
    if (children.failed)
        end_all(&children);
    return !children.failed;
}

bool bench_touch_memory(const struct bench_options *options, const struct bench_place *place)
{
    uint64_t bytes = 2 * options->size_bytes * options->count * options->processes;
    char path[BENCH_PATH_BYTES + sizeof "/touch"];
    snprintf(path, sizeof path, "%s/touch", place->memory);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int error = fd < 0 ? errno : posix_fallocate(fd, 0, (off_t)bytes);
    if (fd >= 0)
        close(fd);
    unlink(path);
    return error == 0 ||
           complain("cannot take memory in %s: %s", place->memory, strerror(error)) == EXIT_OK;
}

void *bench_share(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

bool bench_fail(struct bench_worker *worker, const char *format, ...)
{
    char *error = worker->shared->errors[worker->index];
    if (error[0] != '\0')
        return false;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, BENCH_ERROR_BYTES, format, arguments);
    va_end(arguments);
    return false;
}

/* ---- the store ------------------------------------------------------------------------------ */

static const char *variable_or(const char *name, const char *other)
{
    const char *value = getenv(name);
    return value && *value ? value : other;
}

const char *bench_memory_directory(void)
{
    return variable_or("CTE_STORE_DIRECTORY", "/dev/shm");
}

const char *bench_disk_directory(void)
{
    return variable_or("TMPDIR", "/tmp");
}

/* Variables would change the configuration of a run.  Only measuring processes come here. */
static void clean_environment(void)
{
    extern char **environ;
    static const char kept[] = "CTE_LOG_LEVEL=";
    for (char **entry = environ; entry && *entry;) {
        char name[VARIABLE_BYTES];
        size_t length = strcspn(*entry, "=");
        if (strncmp(*entry, "CTE_", 4) != 0 || strncmp(*entry, kept, strlen(kept)) == 0 ||
            length >= sizeof name) {
            entry++;
            continue;
        }
        memcpy(name, *entry, length);
        name[length] = '\0';
        unsetenv(name);
        entry = environ; /* the others moved */
    }
}

bool bench_free_bytes(const char *directory, uint64_t *bytes)
{
    struct statvfs space;
    if (statvfs(directory, &space) != 0)
        return complain("%s: %s", directory, strerror(errno)) == EXIT_OK;
    *bytes = (uint64_t)space.f_bavail * space.f_frsize;
    return true;
}

uint64_t bench_capacity(const struct bench_options *options)
{
    enum { PAGE_BYTES = 4096, SPARE_BYTES = 64 << 20 };
    uint64_t piece = (options->size_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    uint64_t total = piece * options->count * options->processes;
    uint64_t capacity = total + total / 2 + SPARE_BYTES;
    bool limited = options->capacity_most > 0 && options->capacity_most < capacity;
    return limited ? options->capacity_most : capacity;
}

/* A path in single quotes of YAML. */
static void print_quoted(FILE *stream, const char *path)
{
    fputc('\'', stream);
    for (; *path; path++)
        fputs(*path == '\'' ? "''" : (char[]){*path, '\0'}, stream);
    fputc('\'', stream);
}

static void print_target(FILE *stream, const struct bench_options *options,
                         const struct bench_place *place)
{
    unsigned long long capacity = bench_capacity(options);
    if (options->target == BENCH_RAM) {
        fprintf(stream, "  - {bdev_type: ram, capacity_limit: %llu}\n", capacity);
        return;
    }
    char path[BENCH_PATH_BYTES + sizeof "/target"];
    snprintf(path, sizeof path, "%s/target", place->disk);
    fprintf(stream, "  - {bdev_type: file, capacity_limit: %llu, path: ", capacity);
    print_quoted(stream, path);
    fputs(options->target == BENCH_URING ? ", io: uring}\n" : "}\n", stream);
}

cte_status bench_client_open(const struct bench_options *options, const struct bench_place *place,
                             cte_client **client, char *error, size_t error_bytes)
{
    char *text = NULL;
    size_t bytes = 0;
    cte_config *config;
    clean_environment();
    FILE *stream = open_memstream(&text, &bytes);
    if (!stream)
        return -ENOMEM;
    if (options->depth > 1)
        fprintf(stream, "worker_count: %u\nqueues: {blob_operations: {lane_count: %u}}\n",
                options->depth, BENCH_DEPTH_MAX);
    fputs("store: {name: bench, keep: true, directory: ", stream);
    print_quoted(stream, place->memory);
    fprintf(stream, "}\nfile: {checksum: %s}\nstorage:\n", options->checksum ? "true" : "false");
    print_target(stream, options, place);
    cte_status status = fclose(stream) == 0 ? CTE_OK : -ENOMEM;
    if (status == CTE_OK)
        status = cte_config_parse(text, "bench", &config, error, error_bytes);
    free(text);
    if (status != CTE_OK)
        return status;
    status = cte_client_open(config, client);
    if (status != CTE_OK)
        snprintf(error, error_bytes, "the store of the benchmark cannot be made: %s",
                 cte_status_string(status));
    cte_config_free(config);
    return status;
}

/* ---- small things --------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

uint64_t bench_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t bench_cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void bench_name(char name[BENCH_NAME_BYTES], uint32_t process, uint64_t index)
{
    /* Six bits a character: 64 processes, 2^42 pieces each. */
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    enum { DIGITS = BENCH_NAME_BYTES - 1, BITS = 6 };
    name[0] = digits[process % (1 << BITS)];
    for (int i = DIGITS - 1; i > 0; i--, index >>= BITS)
        name[i] = digits[index % (1 << BITS)];
    name[DIGITS] = '\0';
}
