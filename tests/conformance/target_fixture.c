/* SPDX-License-Identifier: BSD-3-Clause */
#include "target_fixture.h"

#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHILD_SECONDS = 120, NFTW_DESCRIPTORS = 16 };

static const char *roots[2];

void fixture_set_roots(const char *memory_root, const char *disk_root)
{
    roots[0] = memory_root;
    roots[1] = disk_root;
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (!f)
        return -1;
    const struct target_variant *variant = *state;
    f->ops = variant->ops;
    bool on_disk = f->ops->capabilities & CTE__TARGET_SURVIVES_NODE;
    int length = snprintf(f->directory, sizeof f->directory - 16, "%s/test-XXXXXX", roots[on_disk]);
    if (length < 0 || (size_t)length >= sizeof f->directory - 16 || !mkdtemp(f->directory) ||
        chmod(f->directory, 0755) != 0) {
        perror(f->directory);
        free(f);
        return -1;
    }
    memcpy(f->path, f->directory, (size_t)length);
    strcpy(f->path + length, "/target");
    f->spec = (struct cte__target_spec){.path = f->path,
                                        .capacity_bytes = CAPACITY_BYTES,
                                        .arena_bytes = ARENA_BYTES,
                                        .store_id = STORE_ID,
                                        .engine = variant->engine};
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    remove_tree(f->directory);
    int rc = path_exists(f->directory) ? -1 : 0;
    free(f);
    return rc;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    if (remove(path) != 0)
        perror(path);
    return 0;
}

void remove_tree(const char *path)
{
    if (path_exists(path) &&
        nftw(path, remove_entry, NFTW_DESCRIPTORS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0)
        perror(path);
}

void create_target(const struct fixture *f)
{
    assert_int_equal(f->ops->create(&f->spec), 0);
}

void *open_target(const struct fixture *f)
{
    void *target = NULL;
    assert_int_equal(f->ops->open(&f->spec, &target), 0);
    assert_non_null(target);
    return target;
}

static cte_status move_bytes(const struct fixture *f, void *target, bool write, uint64_t offset,
                             void *bytes, size_t count)
{
    struct iovec iov = {.iov_base = bytes, .iov_len = count};
    struct cte__target_io io = {
        .write = write, .offset = offset, .iov = &iov, .iov_count = 1, .bytes = count};
    return f->ops->io(target, &io);
}

cte_status write_bytes(const struct fixture *f, void *target, uint64_t offset, const void *bytes,
                       size_t count)
{
    return move_bytes(f, target, true, offset, (void *)bytes, count);
}

cte_status read_bytes(const struct fixture *f, void *target, uint64_t offset, void *bytes,
                      size_t count)
{
    return move_bytes(f, target, false, offset, bytes, count);
}

uint64_t random_next(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

uint64_t random_below(uint64_t *seed, uint64_t bound)
{
    return random_next(seed) % bound;
}

uint64_t random_seed(void)
{
    const char *given = getenv("CTE_TEST_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed =
        given ? strtoull(given, NULL, 0) : (uint64_t)now.tv_sec * 1000003 + (uint64_t)now.tv_nsec;
    print_message("CTE_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

void fill_pattern(unsigned char *bytes, size_t count, uint64_t offset, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t word = (offset + i) / 8 * 0x9e3779b97f4a7c15 + seed * 0x100000001b3 + 1;
        word ^= word >> 29;
        bytes[i] = (unsigned char)(word >> ((offset + i) % 8 * 8));
    }
}

bool path_exists(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

int open_descriptor_count(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return -1;
    int count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

int run_child(int (*body)(const struct fixture *f), const struct fixture *f)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(CHILD_SECONDS);
        signal(SIGALRM, SIG_DFL);
        int code = body(f);
        fflush(NULL);
        _exit(code);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void require_child(int (*body)(const struct fixture *f), const struct fixture *f)
{
    int code = run_child(body, f);
    if (code == EXIT_SKIP) {
        print_message("SKIPPED PART: this needs root or a mount namespace\n");
        skip();
    }
    assert_int_equal(code, 0);
}
