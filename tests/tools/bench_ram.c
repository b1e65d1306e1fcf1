/* SPDX-License-Identifier: BSD-3-Clause */
/* What the ram target adds to moving the bytes: its transfers against memcpy on a mapping that is
 * warm, and against pwrite and pread on a file that is not mapped, in one run.
 *   bench_ram [--bytes N[M]] [--repeats N] [--verify]
 * Bytes per process; CPU time, so that other load disturbs less; medians; one process or two. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "target/target.h"

enum { PROCESSES_MAX = 2, REPEATS_MAX = 99, ARENA_BYTES = 64 << 20, MIB = 1 << 20 };

/* What is measured; each row's limit stands before it. */
enum method {
    FILE_COLD_WRITE, /* pwrite into a new file */
    RAM_COLD_WRITE,
    FILE_READ, /* pread of what is there */
    RAM_COLD_READ,
    MEMCPY_WRITE, /* into a shared mapping that is warm */
    RAM_WARM_WRITE,
    MEMCPY_READ,
    RAM_WARM_READ,
    METHODS,
};

static const char *const method_names[METHODS] = {
    "pwrite, new file",    "ram, new pages",    "pread",
    "ram, cold pages",     "memcpy to mapping", "ram write, warm",
    "memcpy from mapping", "ram read, warm",
};

struct shared {
    pthread_barrier_t barrier;
    double ns_per_piece[PROCESSES_MAX][METHODS][REPEATS_MAX];
    int failed;
};

static const struct cte__target_ops *ops;
static char directory[] = "/dev/shm/cte-bench-ram-XXXXXX";
static size_t process_bytes = 64 << 20;
static int repeats = 9;
static bool verify;
static struct shared *shared;
static unsigned char *memory; /* process_bytes of this process */

static void die(const char *what)
{
    fprintf(stderr, "bench_ram: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static struct cte__target_spec spec_of(char *path, size_t bytes)
{
    snprintf(path, sizeof directory + 16, "%s/target", directory);
    return (struct cte__target_spec){
        .path = path,
        .capacity_bytes = (bytes + ARENA_BYTES - 1) / ARENA_BYTES * ARENA_BYTES,
        .arena_bytes = ARENA_BYTES,
        .store_id = 1,
    };
}

/* One process's part of one repeat. */
struct part {
    int process;
    size_t piece;
    uint64_t first; /* where its bytes begin */
    void *target;   /* or */
    int fd;         /* or */
    char *mapping;
};

static void move_piece(const struct part *part, enum method method, uint64_t at)
{
    struct iovec iov = {memory + at, part->piece};
    struct cte__target_io io = {
        .write = method == RAM_COLD_WRITE || method == RAM_WARM_WRITE,
        .offset = part->first + at,
        .iov = &iov,
        .iov_count = 1,
        .bytes = part->piece,
    };
    ssize_t moved = (ssize_t)part->piece;
    switch (method) {
    case FILE_COLD_WRITE:
        moved = pwrite(part->fd, iov.iov_base, part->piece, (off_t)(part->first + at));
        break;
    case FILE_READ:
        moved = pread(part->fd, iov.iov_base, part->piece, (off_t)(part->first + at));
        break;
    case MEMCPY_WRITE:
        memcpy(part->mapping + part->first + at, iov.iov_base, part->piece);
        break;
    case MEMCPY_READ:
        memcpy(iov.iov_base, part->mapping + part->first + at, part->piece);
        break;
    default:
        if (ops->io(part->target, &io) != 0)
            moved = -1;
    }
    if (moved != (ssize_t)part->piece)
        die(method_names[method]);
}

static void fill_memory(int process, int repeat)
{
    for (size_t i = 0; i < process_bytes; i += sizeof(uint64_t)) {
        uint64_t word = (i + 1) * 0x9e3779b97f4a7c15 + (uint64_t)process * 31 + (uint64_t)repeat;
        memcpy(memory + i, &word, sizeof word);
    }
}

static void check_memory(int process, int repeat, enum method method)
{
    for (size_t i = 0; i < process_bytes; i += sizeof(uint64_t)) {
        uint64_t word = (i + 1) * 0x9e3779b97f4a7c15 + (uint64_t)process * 31 + (uint64_t)repeat;
        if (memcmp(memory + i, &word, sizeof word) != 0) {
            fprintf(stderr, "bench_ram: %s: wrong byte at %zu\n", method_names[method], i);
            exit(1);
        }
    }
}

static void measure(const struct part *part, enum method method, int repeat)
{
    bool reads = method == FILE_READ || method == RAM_COLD_READ || method == MEMCPY_READ ||
                 method == RAM_WARM_READ;
    if (verify && reads)
        memset(memory, 0xee, process_bytes);
    else if (verify)
        fill_memory(part->process, repeat);
    pthread_barrier_wait(&shared->barrier);
    double start = cpu_ns();
    for (uint64_t at = 0; at < process_bytes; at += part->piece)
        move_piece(part, method, at);
    double pieces = (double)(process_bytes / part->piece);
    shared->ns_per_piece[part->process][method][repeat] = (cpu_ns() - start) / pieces;
    if (verify && reads)
        check_memory(part->process, repeat, method);
    pthread_barrier_wait(&shared->barrier);
}

static void open_target(struct part *part)
{
    char path[sizeof directory + 16];
    struct cte__target_spec spec = spec_of(path, PROCESSES_MAX * process_bytes);
    if (ops->open(&spec, &part->target) != 0)
        die("open the target");
}

/* New pages: everything is made anew for each repeat, by the first process. */
static void renew(const struct part *part)
{
    char path[sizeof directory + 16], file[sizeof directory + 16];
    struct cte__target_spec spec = spec_of(path, PROCESSES_MAX * process_bytes);
    pthread_barrier_wait(&shared->barrier);
    snprintf(file, sizeof file, "%s/file", directory);
    if (part->process == 0) {
        unlink(file);
        int fd = open(file, O_RDWR | O_CREAT, 0600);
        if (fd < 0 || ftruncate(fd, (off_t)(PROCESSES_MAX * process_bytes)) != 0 ||
            ops->destroy(&spec) != 0 || ops->create(&spec) != 0)
            die("make files in /dev/shm");
        close(fd);
    }
    pthread_barrier_wait(&shared->barrier);
}

static void run_repeat(struct part *part, int repeat)
{
    char file[sizeof directory + 16];
    size_t bytes = PROCESSES_MAX * process_bytes;
    snprintf(file, sizeof file, "%s/file", directory);
    renew(part);
    part->fd = open(file, O_RDWR);
    if (part->fd < 0)
        die(file);
    open_target(part);
    measure(part, FILE_COLD_WRITE, repeat);
    measure(part, RAM_COLD_WRITE, repeat);
    ops->close(part->target);
    open_target(part); /* cold again */
    measure(part, FILE_READ, repeat);
    measure(part, RAM_COLD_READ, repeat);

    part->mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, part->fd, 0);
    if (part->mapping == MAP_FAILED)
        die("mmap");
    for (int warming = 0; warming < 2; warming++)
        for (uint64_t at = 0; at < process_bytes; at += part->piece) {
            move_piece(part, MEMCPY_WRITE, at);
            move_piece(part, RAM_WARM_WRITE, at);
        }
    for (enum method method = MEMCPY_WRITE; method <= RAM_WARM_WRITE; method++)
        measure(part, method, repeat);
    for (enum method method = MEMCPY_READ; method <= RAM_WARM_READ; method++)
        measure(part, method, repeat);
    munmap(part->mapping, bytes);
    ops->close(part->target);
    close(part->fd);
}

static int run_process(int process, size_t piece)
{
    struct part part = {
        .process = process, .piece = piece, .first = (uint64_t)process * process_bytes};
    memory = mmap(NULL, process_bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        die("memory");
    fill_memory(process, 0);
    for (int repeat = 0; repeat < repeats; repeat++)
        run_repeat(&part, repeat);
    return 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of all processes: pieces per second and process are added up. */
static double median_rate(int processes, enum method method)
{
    double rates[REPEATS_MAX] = {0};
    for (int repeat = 0; repeat < repeats; repeat++)
        for (int process = 0; process < processes; process++)
            rates[repeat] += 1 / shared->ns_per_piece[process][method][repeat];
    qsort(rates, (size_t)repeats, sizeof rates[0], compare);
    return rates[repeats / 2];
}

static void report(int processes, size_t piece)
{
    for (enum method method = 0; method < METHODS; method += 2) {
        double limit = median_rate(processes, method);
        double ours = median_rate(processes, method + 1);
        printf("%7zu  %9d  %-20s %9.0f %7.2f   %-16s %9.0f %7.2f   %5.2f\n", piece, processes,
               method_names[method], processes / limit, limit * (double)piece,
               method_names[method + 1], processes / ours, ours * (double)piece, ours / limit);
    }
}

static int run(int processes, size_t piece)
{
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->barrier, &attributes, (unsigned)processes);
    pid_t pids[PROCESSES_MAX];
    int failed = 0;
    fflush(NULL);
    for (int i = 0; i < processes; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            die("fork");
        if (pids[i] == 0) {
            alarm(300); /* whatever became of the others */
            exit(run_process(i, piece));
        }
    }
    for (int i = 0; i < processes; i++) {
        int status = 1;
        if (waitpid(pids[i], &status, 0) != pids[i] || status != 0) {
            failed = 1;
            for (int other = i + 1; other < processes; other++)
                kill(pids[other], SIGKILL); /* it would wait for the dead */
        }
    }
    pthread_barrier_destroy(&shared->barrier);
    if (!failed)
        report(processes, piece);
    return failed;
}

static void read_arguments(int argc, char **argv)
{
    static const struct option options[] = {
        {"bytes", required_argument, NULL, 'b'},
        {"repeats", required_argument, NULL, 'r'},
        {"verify", no_argument, NULL, 'v'},
        {0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        char *end = NULL;
        unsigned long long number = optarg ? strtoull(optarg, &end, 10) : 0;
        if (option == 'b' && *end == 'M')
            number *= MIB;
        if (option == 'b')
            process_bytes = (size_t)number;
        else if (option == 'r')
            repeats = (int)number;
        else if (option == 'v')
            verify = true;
        else
            exit(2);
    }
    if (process_bytes == 0 || process_bytes % MIB != 0 || repeats < 1 || repeats > REPEATS_MAX) {
        fprintf(stderr, "bench_ram: --bytes in whole MiB, --repeats 1 to %d\n", REPEATS_MAX);
        exit(2);
    }
}

static void clean_up(void)
{
    char path[sizeof directory + 16];
    struct cte__target_spec spec = spec_of(path, process_bytes);
    ops->destroy(&spec);
    snprintf(path, sizeof path, "%s/file", directory);
    unlink(path);
    rmdir(directory);
}

int main(int argc, char **argv)
{
    const size_t pieces[] = {4096, MIB};
    int failed = 0;
    read_arguments(argc, argv);
    ops = cte__target_ops_find("ram");
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || !mkdtemp(directory))
        die(directory);
    printf("%zu MiB per process, medians of %d, CPU time; GB/s of all processes\n",
           process_bytes / MIB, repeats);
    printf("  piece  processes  %-20s  ns/piece    GB/s   %-16s  ns/piece    GB/s   ratio\n",
           "limit", "ours");
    for (int i = 0; i < 2 && !failed; i++)
        for (int processes = 1; processes <= PROCESSES_MAX && !failed; processes++)
            failed = run(processes, pieces[i]);
    clean_up();
    return failed;
}
