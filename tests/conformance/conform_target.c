/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs every conformance test on every backend, or on that of the kind given.  The tests run in a
 * child, so that their directories are removed however they end. */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/faulty.h"
#include "target/backing.h"
#include "target_fixture.h"

enum { TESTS_MAX = 64, NAME_BYTES = 128, VARIANT_SECONDS = 280 };

static const struct target_test *const suites[] = {
    target_contents_tests,
    target_faults_tests,
    target_mapped_tests,
    target_refusals_tests,
};

/* Beside each backend as it is by default. */
static const struct target_variant more_variants[] = {
    {.name = "file by io_uring", .ops = &cte__target_file, .engine = CTE__TARGET_URING},
    {.name = "faulty", .ops = &faulty_file},
};

static volatile sig_atomic_t runner_pid;

static void pass_on_signal(int number)
{
    kill((pid_t)runner_pid, number);
}

static int run_variant(const struct target_variant *variant)
{
    static char names[TESTS_MAX][NAME_BYTES];
    struct CMUnitTest tests[TESTS_MAX] = {0};
    size_t count = 0;
    for (size_t s = 0; s < sizeof suites / sizeof suites[0]; s++) {
        for (const struct target_test *test = suites[s]; test->name; test++, count++) {
            if (count == TESTS_MAX) {
                fprintf(stderr, "raise TESTS_MAX\n");
                return 1;
            }
            snprintf(names[count], NAME_BYTES, "%s: %s", variant->name, test->name);
            tests[count] = (struct CMUnitTest){.name = names[count],
                                               .test_func = test->run,
                                               .setup_func = fixture_setup,
                                               .teardown_func = fixture_teardown,
                                               .initial_state = (void *)variant};
        }
    }
    alarm(VARIANT_SECONDS);
    return _cmocka_run_group_tests(variant->name, tests, count, NULL, NULL);
}

/* Kinds are listed from the fastest to the slowest, and no two may tie. */
static int check_order(void)
{
    int failed = 0;
    for (size_t i = 1; cte__target_ops_all[i]; i++) {
        const struct cte__target_ops *faster = cte__target_ops_all[i - 1];
        const struct cte__target_ops *ops = cte__target_ops_all[i];
        if (faster->kind_rank > ops->kind_rank && ops->kind_rank > 0.0f &&
            faster->nominal_latency_ns < ops->nominal_latency_ns &&
            faster->nominal_bytes_per_s > ops->nominal_bytes_per_s && ops->nominal_bytes_per_s > 0)
            continue;
        fprintf(stderr, "%s is not before %s in rank, latency and bandwidth\n", faster->kind,
                ops->kind);
        failed++;
    }
    return failed;
}

static int check_names(void)
{
    int failed = 0;
    for (size_t i = 0; cte__target_ops_all[i]; i++) {
        if (cte__target_ops_find(cte__target_ops_all[i]->kind) == cte__target_ops_all[i])
            continue;
        fprintf(stderr, "%s is not found by its name\n", cte__target_ops_all[i]->kind);
        failed++;
    }
    if (cte__target_ops_find("no such kind")) {
        fprintf(stderr, "a kind was found that does not exist\n");
        failed++;
    }
    return failed;
}

/* `kind` NULL: all. */
static int run_all(const char *kind)
{
    int failed = check_order() + check_names();
    for (size_t i = 0; cte__target_ops_all[i]; i++) {
        struct target_variant plain = {.name = cte__target_ops_all[i]->kind,
                                       .ops = cte__target_ops_all[i]};
        if (!kind || strcmp(kind, plain.name) == 0)
            failed += run_variant(&plain) != 0;
    }
    for (size_t i = 0; i < sizeof more_variants / sizeof more_variants[0]; i++)
        if (!kind || strcmp(kind, more_variants[i].name) == 0)
            failed += run_variant(&more_variants[i]) != 0;
    return failed != 0;
}

static int supervise(const char *kind)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        return 1;
    }
    if (pid == 0)
        exit(run_all(kind));
    runner_pid = pid;
    signal(SIGINT, pass_on_signal);
    signal(SIGTERM, pass_on_signal);
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return 1;
    if (WIFSIGNALED(status))
        fprintf(stderr, "the tests were ended by signal %d\n", WTERMSIG(status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
    const char *temporary = getenv("TMPDIR");
    char memory_root[] = "/dev/shm/cte-conform-XXXXXX";
    char disk_root[PATH_MAX];
    setenv("CTE_LOG_LEVEL", "off", 0); /* most of the tests provoke errors */
    snprintf(disk_root, sizeof disk_root, "%s/cte-conform-XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(disk_root)) {
        perror(disk_root);
        return 1;
    }
    if (!mkdtemp(memory_root)) {
        perror(memory_root);
        remove_tree(disk_root);
        return 1;
    }
    /* The unprivileged user of some tests has to get through. */
    int rc = chmod(disk_root, 0711) != 0 || chmod(memory_root, 0711) != 0;
    fixture_set_roots(memory_root, disk_root);
    rc = rc != 0 ? rc : supervise(argc > 1 ? argv[1] : NULL);
    remove_tree(memory_root);
    remove_tree(disk_root);
    return rc;
}
