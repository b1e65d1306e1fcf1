/* SPDX-License-Identifier: BSD-3-Clause */
/* How fast the target backends move bytes, against plain system calls and fio on the same file
 * system, in turns in one run.
 *
 *   bench_targets DIRECTORY [ROUNDS]
 *
 * Prints a table in Markdown: MB/s, medians over the rounds; the ratio is the median of the rounds'
 * ratios.  Writes end with a sync, on both sides; those past the page cache do not, on both sides,
 * as fio counts none.  fio is left out where it is not installed. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "target/backing.h"

enum {
    MIB = 1 << 20,
    CAPACITY_BYTES = 64 * MIB,
    ROUNDS_MAX = 99,
    PIECE_KIB = 128, /* what io_uring transfers are cut into */
};

struct workload {
    const char *name;
    uint64_t bytes; /* of one transfer */
    uint64_t total;
};

static const struct workload workloads[] = {{"1 MiB", MIB, CAPACITY_BYTES},
                                            {"4 KiB", 4096, 8 * MIB}};

struct subject {
    const char *name;
    const struct cte__target_ops *ops;
    enum cte__target_engine engine;
    bool in_memory;
};

struct bench {
    char directory[PATH_MAX - 64]; /* on the disk */
    char memory[64];
    char *buffer;
    int rounds;
    bool has_fio;
};

static void die(const char *what, int error)
{
    fprintf(stderr, "bench_targets: %s: %s\n", what, strerror(error));
    exit(EXIT_FAILURE);
}

static void check(cte_status rc, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "bench_targets: %s: %s\n", what, cte_status_string(rc));
    exit(EXIT_FAILURE);
}

static double mb_per_s(uint64_t bytes, uint64_t ns)
{
    return (double)bytes * 1e3 / (double)cte__max(ns, 1);
}

/* ---- one measurement each ---- */

static double run_target(const struct bench *bench, const struct subject *subject, void *state,
                         const struct workload *load, bool write)
{
    bool direct = subject->engine == CTE__TARGET_URING;
    uint64_t begin = cte__monotonic_ns();
    for (uint64_t offset = 0; offset < load->total; offset += load->bytes) {
        struct iovec iov = {.iov_base = bench->buffer, .iov_len = load->bytes};
        struct cte__target_io io = {
            .write = write, .offset = offset, .iov = &iov, .iov_count = 1, .bytes = load->bytes};
        check(subject->ops->io(state, &io), "transfer");
    }
    if (write && !direct)
        check(subject->ops->sync(state), "sync");
    return mb_per_s(load->total, cte__monotonic_ns() - begin);
}

static double run_plain(const struct bench *bench, int fd, const struct workload *load, bool write)
{
    uint64_t begin = cte__monotonic_ns();
    for (uint64_t offset = 0; offset < load->total; offset += load->bytes) {
        ssize_t n = write ? pwrite(fd, bench->buffer, load->bytes, (off_t)offset)
                          : pread(fd, bench->buffer, load->bytes, (off_t)offset);
        if (n != (ssize_t)load->bytes)
            die("plain transfer", n < 0 ? errno : EIO);
    }
    if (write && fdatasync(fd) != 0)
        die("plain sync", errno);
    return mb_per_s(load->total, cte__monotonic_ns() - begin);
}

/* The number after the first `key` behind the first `section` of fio's JSON. */
static double find_number(const char *text, const char *section, const char *key)
{
    const char *at = strstr(text, section);
    at = at ? strstr(at, key) : NULL;
    at = at ? strchr(at, ':') : NULL;
    return at ? strtod(at + 1, NULL) : 0;
}

/* At the depth that a transfer of this size has: its pieces, all at once. */
static double run_fio(const char *path, const struct workload *load, bool write)
{
    static char text[1 << 16];
    char command[PATH_MAX + 512];
    uint64_t piece = cte__min(load->bytes, (uint64_t)PIECE_KIB << 10);
    snprintf(command, sizeof command,
             "fio --name=plain --filename='%s' --rw=%s --bs=%llu --iodepth=%llu --direct=1 "
             "--ioengine=io_uring --size=%llu --overwrite=1 --thread --output-format=json 2>&1",
             path, write ? "write" : "read", (unsigned long long)piece,
             (unsigned long long)(load->bytes / piece), (unsigned long long)load->total);
    FILE *fio = popen(command, "re");
    if (!fio)
        die("fio", errno);
    size_t length = fread(text, 1, sizeof text - 1, fio);
    text[length] = '\0';
    if (pclose(fio) != 0) {
        fprintf(stderr, "bench_targets: fio failed:\n%s\n", text);
        exit(EXIT_FAILURE);
    }
    double bytes_per_s = find_number(text, write ? "\"write\" :" : "\"read\" :", "\"bw_bytes\"");
    return bytes_per_s / 1e6;
}

/* ---- comparing ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare);
    return values[count / 2];
}

static void print_row(const struct bench *bench, const struct subject *subject, void *state, int fd,
                      const char *plain_path, const struct workload *load, bool write)
{
    double ours[ROUNDS_MAX], theirs[ROUNDS_MAX], ratios[ROUNDS_MAX];
    bool fio = subject->engine == CTE__TARGET_URING;
    if (fio && !bench->has_fio)
        return;
    for (int i = 0; i < bench->rounds; i++) {
        for (int turn = 0; turn < 2; turn++)
            if (turn == i % 2)
                ours[i] = run_target(bench, subject, state, load, write);
            else if (fio)
                theirs[i] = run_fio(plain_path, load, write);
            else
                theirs[i] = run_plain(bench, fd, load, write);
        ratios[i] = ours[i] / theirs[i];
    }
    double ratio = median(ratios, bench->rounds);
    printf("| %s | %s %s | %.0f | %s | %.0f | %.2f |\n", subject->name, write ? "write" : "read",
           load->name, median(ours, bench->rounds),
           fio     ? "fio"
           : write ? "pwrite + fdatasync"
                   : "pread",
           median(theirs, bench->rounds), ratio);
    fflush(stdout);
}

/* A preallocated file, written once: as a target is after its first use. */
static int open_plain(const struct bench *bench, const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path, errno);
    int rc = posix_fallocate(fd, 0, CAPACITY_BYTES);
    if (rc != 0)
        die(path, rc);
    run_plain(bench, fd, &workloads[0], true);
    return fd;
}

static void run_subject(const struct bench *bench, const struct subject *subject)
{
    char path[PATH_MAX], plain_path[PATH_MAX];
    const char *directory = subject->in_memory ? bench->memory : bench->directory;
    snprintf(path, sizeof path, "%s/target", directory);
    snprintf(plain_path, sizeof plain_path, "%s/plain", directory);
    struct cte__target_spec spec = {.path = path,
                                    .capacity_bytes = CAPACITY_BYTES,
                                    .arena_bytes = CAPACITY_BYTES / 16,
                                    .store_id = 1,
                                    .engine = subject->engine};
    void *state;
    check(subject->ops->create(&spec), subject->name);
    check(subject->ops->open(&spec, &state), subject->name);
    int fd = open_plain(bench, plain_path);
    run_target(bench, subject, state, &workloads[0], true);
    for (size_t i = 0; i < sizeof workloads / sizeof workloads[0]; i++)
        for (int write = 1; write >= 0; write--)
            print_row(bench, subject, state, fd, plain_path, &workloads[i], write);
    close(fd);
    subject->ops->close(state);
    check(subject->ops->destroy(&spec), subject->name);
    unlink(plain_path);
}

static void make_directories(struct bench *bench, const char *base)
{
    if (snprintf(bench->directory, sizeof bench->directory, "%s/bench-targets-XXXXXX", base) >=
        (int)sizeof bench->directory)
        die(base, ENAMETOOLONG);
    snprintf(bench->memory, sizeof bench->memory, "/dev/shm/bench-targets-XXXXXX");
    if (!mkdtemp(bench->directory))
        die(base, errno);
    if (!mkdtemp(bench->memory)) {
        rmdir(bench->directory);
        die("/dev/shm", errno);
    }
}

int main(int argc, char **argv)
{
    char base[PATH_MAX];
    struct bench bench = {.rounds = argc > 2 ? atoi(argv[2]) : 7};
    if (argc < 2 || argc > 3 || bench.rounds < 1 || bench.rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: bench_targets DIRECTORY [ROUNDS]\n");
        return 2;
    }
    if (!realpath(argv[1], base))
        die(argv[1], errno);
    make_directories(&bench, base);
    bench.has_fio = system("fio --version >/dev/null 2>&1") == 0;
    if (posix_memalign((void **)&bench.buffer, 4096, MIB) != 0)
        die("memory", ENOMEM);
    memset(bench.buffer, 0x5a, MIB);
    printf(
        "| target | transfer | cte MB/s | against | MB/s | ratio |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; cte__target_ops_all[i]; i++) {
        const struct cte__target_ops *ops = cte__target_ops_all[i];
        struct subject subject = {.name = ops->kind,
                                  .ops = ops,
                                  .in_memory = !(ops->capabilities & CTE__TARGET_SURVIVES_NODE)};
        run_subject(&bench, &subject);
    }
    struct subject uring = {
        .name = "file, io: uring", .ops = &cte__target_file, .engine = CTE__TARGET_URING};
    run_subject(&bench, &uring);
    free(bench.buffer);
    rmdir(bench.directory);
    rmdir(bench.memory);
    return 0;
}
