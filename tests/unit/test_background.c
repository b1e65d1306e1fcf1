/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread for work beside the program: when it lives and sleeps, forks, and who has the seats.
 */
#include "store_helpers.h"

#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "file/background.h"
#include "sanitizers.h"

enum { PATIENCE_MS = 60000 };

/* Seen by all processes of a test. */
struct shared {
    _Atomic int steps[2]; /* by process */
    _Atomic int inside;   /* processes in a step */
    _Atomic int inside_max;
    _Atomic int started; /* children */
};

struct work {
    struct shared *shared;
    int number; /* of the process */
    uint32_t seats;
    _Atomic int left;  /* steps to be done; negative: for ever */
    _Atomic bool hang; /* in a step, with the gate open */
};

static struct shared *shared_memory(void)
{
    void *memory = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

static void pause_ms(int ms)
{
    struct timespec nap = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&nap, NULL);
}

#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        int waited = 0;                                                                            \
        for (; !(condition) && waited < PATIENCE_MS; waited++)                                     \
            pause_ms(1);                                                                           \
        assert_true(waited < PATIENCE_MS);                                                         \
    } while (0)

static bool wanted(void *context)
{
    return atomic_load(&((struct work *)context)->left) != 0;
}

static uint64_t step(void *context, struct cte__background *background)
{
    struct work *work = context;
    int inside = atomic_fetch_add(&work->shared->inside, 1) + 1;
    int most = atomic_load(&work->shared->inside_max);
    while (inside > most && !atomic_compare_exchange_weak(&work->shared->inside_max, &most, inside))
        ;
    atomic_fetch_add(&work->shared->steps[work->number], 1);
    cte__background_block(background);
    do
        pause_ms(1);
    while (atomic_load(&work->hang));
    cte__background_unblock(background);
    int left = atomic_load(&work->left);
    if (left > 0)
        left = atomic_fetch_sub(&work->left, 1) - 1;
    atomic_fetch_sub(&work->shared->inside, 1);
    return left != 0 ? 0 : CTE__BACKGROUND_IDLE;
}

static uint32_t seats(void *context)
{
    return ((struct work *)context)->seats;
}

static const struct cte__background_job job = {
    .name = "test", .wanted = wanted, .step = step, .seats = seats};
static const struct cte__background_job *const jobs[] = {&job};

struct place {
    char directory[256];
    cte_config *config;
};

static struct place place_make(void)
{
    struct place place;
    test_directory(place.directory, sizeof place.directory);
    place.config = test_config(place.directory, 4, 0, NULL);
    return place;
}

static void place_free(struct place *place)
{
    cte_config_free(place->config);
    test_remove_directory(place->directory);
}

/* The number of threads of this process called cte-background; *tid is one of them. */
static int count_threads(char *tid, size_t bytes)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *comm = entry->d_name[0] != '.' ? fopen(path, "r") : NULL;
        if (!comm)
            continue;
        if (fgets(name, sizeof name, comm) && strcmp(name, "cte-background\n") == 0) {
            count++;
            snprintf(tid, bytes, "%.20s", entry->d_name);
        }
        fclose(comm);
    }
    closedir(tasks);
    return count;
}

/* A number or mask of the thread's status file. */
static uint64_t thread_status(const char *tid, const char *key, int base)
{
    char path[300], line[256];
    uint64_t value = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", tid);
    FILE *status = fopen(path, "r");
    assert_non_null(status);
    while (fgets(line, sizeof line, status))
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtoull(line + strlen(key) + 1, NULL, base);
    fclose(status);
    return value;
}

static void test_life(void **state)
{
    (void)state;
    struct place place = place_make();
    struct shared *shared = shared_memory();
    struct work work = {.shared = shared, .seats = 1};
    struct cte__store *store;
    struct cte__background *background;
    char tid[64];
    assert_int_equal(cte__store_attach(place.config, &store), CTE_OK);
    assert_int_equal(cte__background_new(store, jobs, 1, &work, &background), CTE_OK);
    assert_int_equal(count_threads(tid, sizeof tid), 0);

    atomic_store(&work.left, 3);
    cte__background_rouse(background);
    WAIT_FOR(atomic_load(&work.left) == 0);
    WAIT_FOR(cte__background_sleeps(background));
    assert_int_equal(atomic_load(&shared->steps[0]), 3);
    assert_int_equal(count_threads(tid, sizeof tid), 1);
    /* SIGKILL and SIGSTOP (9, 19) cannot be blocked, the C library keeps 32 and 33. */
    uint64_t blockable = UINT64_C(0x7fffffff) & ~(UINT64_C(1) << 8) & ~(UINT64_C(1) << 18);
    assert_int_equal(thread_status(tid, "SigBlk", 16) & blockable, blockable);
    /* Asleep is asleep: nothing wakes it. */
    uint64_t switches = thread_status(tid, "voluntary_ctxt_switches", 10);
    pause_ms(300);
    assert_true(thread_status(tid, "voluntary_ctxt_switches", 10) - switches <= 1);

    atomic_store(&work.left, 2);
    cte__background_rouse(background);
    WAIT_FOR(atomic_load(&work.left) == 0);
    assert_int_equal(count_threads(tid, sizeof tid), 1);

    /* Work that never ends is left alone by who closes. */
    atomic_store(&work.left, -1);
    cte__background_rouse(background);
    WAIT_FOR(atomic_load(&shared->steps[0]) > 5);
    cte__background_free(background);
    assert_int_equal(count_threads(tid, sizeof tid), 0);
    cte__store_detach(store);
    munmap(shared, sizeof *shared);
    place_free(&place);
}

/* Each round something new, just when the thread may be going to sleep. */
static void test_no_wake_up_is_lost(void **state)
{
    (void)state;
    struct place place = place_make();
    struct shared *shared = shared_memory();
    struct work work = {.shared = shared, .seats = 1};
    struct cte__store *store;
    struct cte__background *background;
    assert_int_equal(cte__store_attach(place.config, &store), CTE_OK);
    assert_int_equal(cte__background_new(store, jobs, 1, &work, &background), CTE_OK);
    for (int i = 0; i < 300; i++) {
        atomic_fetch_add(&work.left, 1);
        cte__background_rouse(background);
        WAIT_FOR(atomic_load(&work.left) == 0);
    }
    cte__background_free(background);
    cte__store_detach(store);
    munmap(shared, sizeof *shared);
    place_free(&place);
}

/* Attaches and does work `number` until killed. */
static pid_t start_worker(const struct place *place, struct shared *shared, int number,
                          uint32_t seat_count, bool hang)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid != 0)
        return pid;
    struct work work = {.shared = shared, .number = number, .seats = seat_count, .left = -1};
    struct cte__store *store;
    struct cte__background *background;
    atomic_store(&work.hang, hang);
    if (cte__store_attach(place->config, &store) != CTE_OK ||
        cte__background_new(store, jobs, 1, &work, &background) != CTE_OK)
        _exit(1);
    atomic_fetch_add(&shared->started, 1);
    cte__background_rouse(background);
    for (;;)
        pause();
}

static void end_worker(pid_t pid)
{
    int status;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void test_one_seat_goes_round(void **state)
{
    (void)state;
    struct place place = place_make();
    struct shared *shared = shared_memory();
    pid_t first = start_worker(&place, shared, 0, 1, false);
    WAIT_FOR(atomic_load(&shared->steps[0]) > 0);
    pid_t second = start_worker(&place, shared, 1, 1, false);
    /* Neither starves, and they never work at once. */
    for (int turn = 0; turn < 2; turn++) {
        int seen[2] = {atomic_load(&shared->steps[0]), atomic_load(&shared->steps[1])};
        WAIT_FOR(atomic_load(&shared->steps[0]) > seen[0] &&
                 atomic_load(&shared->steps[1]) > seen[1]);
    }
    assert_int_equal(atomic_load(&shared->inside_max), 1);
    end_worker(first);
    end_worker(second);
    munmap(shared, sizeof *shared);
    place_free(&place);
}

static void test_two_seats(void **state)
{
    (void)state;
    struct place place = place_make();
    struct shared *shared = shared_memory();
    pid_t first = start_worker(&place, shared, 0, 2, true);
    pid_t second = start_worker(&place, shared, 1, 2, true);
    WAIT_FOR(atomic_load(&shared->inside) == 2);
    end_worker(first);
    end_worker(second);
    munmap(shared, sizeof *shared);
    place_free(&place);
}

static void test_the_dead_are_replaced(void **state)
{
    (void)state;
    struct place place = place_make();
    struct shared *shared = shared_memory();
    pid_t first = start_worker(&place, shared, 0, 1, true);
    WAIT_FOR(atomic_load(&shared->inside) == 1);
    pid_t second = start_worker(&place, shared, 1, 1, false);
    WAIT_FOR(atomic_load(&shared->started) == 2);
    pause_ms(200);
    assert_int_equal(atomic_load(&shared->steps[1]), 0);
    end_worker(first);
    WAIT_FOR(atomic_load(&shared->steps[1]) > 0);
    end_worker(second);
    munmap(shared, sizeof *shared);
    place_free(&place);
}

/* Forks while the thread works: the child has none, gets one with work of its own, and ends. */
static void test_forks(void **state)
{
    (void)state;
    if (!TEST_FORK_WITH_THREADS)
        skip();
    struct place place = place_make();
    struct shared *shared = shared_memory();
    struct work work = {.shared = shared, .seats = 2, .left = -1};
    struct cte__store *store;
    struct cte__background *background;
    char tid[64];
    assert_int_equal(cte__store_attach(place.config, &store), CTE_OK);
    assert_int_equal(cte__background_new(store, jobs, 1, &work, &background), CTE_OK);
    cte__background_rouse(background);
    for (int i = 0; i < 20; i++) {
        int seen = atomic_load(&shared->steps[0]);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            work.number = 1;
            if (count_threads(tid, sizeof tid) != 0)
                _exit(1);
            atomic_store(&work.left, 2);
            cte__background_rouse(background);
            for (int ms = 0; ms < PATIENCE_MS && atomic_load(&work.left) != 0; ms++)
                pause_ms(1);
            int left = atomic_load(&work.left);
            cte__background_free(background);
            /* A thread that was joined is listed for a moment yet. */
            for (int ms = 0; ms < PATIENCE_MS && count_threads(tid, sizeof tid) != 0; ms++)
                pause_ms(1);
            _exit(left == 0 && count_threads(tid, sizeof tid) == 0 ? 0 : 2);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        WAIT_FOR(atomic_load(&shared->steps[0]) > seen);
    }
    cte__background_free(background);
    cte__store_detach(store);
    munmap(shared, sizeof *shared);
    place_free(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_no_wake_up_is_lost),
        cmocka_unit_test(test_one_seat_goes_round),
        cmocka_unit_test(test_two_seats),
        cmocka_unit_test(test_the_dead_are_replaced),
        cmocka_unit_test(test_forks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
