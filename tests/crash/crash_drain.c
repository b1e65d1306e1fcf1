/* SPDX-License-Identifier: BSD-3-Clause */
/* Processes that are killed while files are drained in the background, evicted and closed.
 *
 * What was acknowledged must be in the real file after somebody else drained what was left; of a
 * write that was under way each piece of a chunk is old or new.
 *   crash_drain [ROUNDS] */
#include "process.h"
#include "store_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include <cte/file.h>
#include <cte/store.h>

#include "file/client.h"

enum {
    FILE_BYTES = 6 << 20,
    PIECE_BYTES = 64 << 10, /* a chunk: written wholly or not at all */
    RANKS = 2,
    ROUNDS = 24,
    TARGET_MIB = 4, /* less than the file: some of it is always on its way */
};

/* Outlives the processes.  Each writes to pieces of its own, of which it knows what they hold. */
struct ledger {
    _Atomic int under_way[RANKS]; /* the piece that is being written, -1: none */
    unsigned char next[RANKS];    /* what fills it then */
    unsigned char now[FILE_BYTES / PIECE_BYTES];
};

struct place {
    char directory[256], path[300];
    cte_config *config;
    struct ledger *ledger;
    uint64_t seed;
    int rank;
};

static void require(bool truth, const char *what, cte_status status)
{
    if (truth)
        return;
    fprintf(stderr, "%s: %s\n", what, cte_status_string(status));
    _exit(1);
}

static void write_piece(struct place *place, cte_file *file)
{
    static unsigned char bytes[PIECE_BYTES];
    int piece =
        (int)(test_random(&place->seed) % (FILE_BYTES / PIECE_BYTES / RANKS)) * RANKS + place->rank;
    unsigned char fill = (unsigned char)(test_random(&place->seed) | 1);
    memset(bytes, fill, sizeof bytes);
    cte_file_segment segment = {(uint64_t)piece * PIECE_BYTES, sizeof bytes, bytes};
    place->ledger->next[place->rank] = fill;
    atomic_store(&place->ledger->under_way[place->rank], piece);
    cte_status status = cte_file_write(file, &segment, 1);
    require(status == CTE_OK, "write", status);
    place->ledger->now[piece] = fill;
    atomic_store(&place->ledger->under_way[place->rank], -1);
}

static void rest(struct place *place)
{
    struct timespec nap = {0, (long)(test_random(&place->seed) % 30) * 1000000};
    if (test_random(&place->seed) % 8 == 0)
        nanosleep(&nap, NULL);
}

/* Opens, writes with pauses, closes, and again. */
static int work(void *context)
{
    struct place *place = context;
    cte_client *client;
    cte_status status = cte_client_open(place->config, &client);
    require(status == CTE_OK, "attach", status);
    process_die_in(test_random(&place->seed) % 400 * 1000000 + 1000000);
    for (int turn = 0; turn < 1000000; turn++) {
        cte_file *file;
        cte_file_options options = CTE_FILE_OPTIONS_INIT;
        options.drain =
            test_random(&place->seed) % 3 ? CTE_FILE_DRAIN_ON_CLOSE : CTE_FILE_DRAIN_ASYNC;
        status = cte_file_open(client, place->path, O_RDWR | O_CREAT, 0644, &options, &file);
        require(status == CTE_OK, "open", status);
        for (int i = (int)(test_random(&place->seed) % 120); i >= 0; i--) {
            write_piece(place, file);
            rest(place);
        }
        status = cte_file_close(file);
        require(status == CTE_OK, "close", status);
    }
    return 1; /* nobody lives so long */
}

static bool is_filled(const unsigned char *bytes, unsigned char fill)
{
    return bytes[0] == fill && memcmp(bytes, bytes + 1, PIECE_BYTES - 1) == 0;
}

/* Compares the real file with the ledger, and notes what became of what was under way. */
static void judge(struct place *place)
{
    static unsigned char bytes[FILE_BYTES];
    struct ledger *ledger = place->ledger;
    memset(bytes, 0, sizeof bytes);
    int fd = open(place->path, O_RDONLY);
    if (fd >= 0)
        assert_true(pread(fd, bytes, sizeof bytes, 0) >= 0);
    if (fd >= 0)
        close(fd);
    for (int rank = 0; rank < RANKS; rank++) {
        int piece = atomic_exchange(&ledger->under_way[rank], -1);
        if (piece >= 0 && is_filled(bytes + (size_t)piece * PIECE_BYTES, ledger->next[rank]))
            ledger->now[piece] = ledger->next[rank];
    }
    for (int i = 0; i < FILE_BYTES / PIECE_BYTES; i++)
        if (!is_filled(bytes + (size_t)i * PIECE_BYTES, ledger->now[i]))
            fail_msg("piece %d is %u … %u, not %u", i, bytes[(size_t)i * PIECE_BYTES],
                     bytes[(size_t)(i + 1) * PIECE_BYTES - 1], ledger->now[i]);
}

static void one_round(struct place *place)
{
    pid_t pids[RANKS];
    cte_client *client;
    for (int rank = 0; rank < RANKS; rank++) {
        place->rank = rank;
        test_random(&place->seed);
        pids[rank] = process_start(work, place);
    }
    for (int rank = 0; rank < RANKS; rank++)
        assert_int_equal(process_wait(pids[rank]), PROCESS_KILLED);
    assert_int_equal(cte_client_open(place->config, &client), CTE_OK);
    assert_int_equal(cte_store_drain(client, NULL, true, NULL, NULL), CTE_OK);
    test_audit(client->store);
    assert_int_equal(cte_client_close(client), CTE_OK);
    judge(place);
}

static long rounds = ROUNDS;

static void test_kills(void **state)
{
    (void)state;
    struct place place = {.seed = test_seed()};
    test_directory(place.directory, sizeof place.directory);
    snprintf(place.path, sizeof place.path, "%s/data", place.directory);
    place.config = test_config(place.directory, TARGET_MIB, 0, "file: {chunk_size: 64KiB}\n");
    place.ledger =
        mmap(NULL, sizeof *place.ledger, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(place.ledger, MAP_FAILED);
    for (int rank = 0; rank < RANKS; rank++)
        atomic_store(&place.ledger->under_way[rank], -1);
    for (long i = 0; i < rounds; i++)
        one_round(&place);
    munmap(place.ledger, sizeof *place.ledger);
    cte_config_free(place.config);
    test_remove_directory(place.directory);
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kills)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        rounds = strtol(argv[1], NULL, 10);
    return process_guard(run_all, rounds > ROUNDS ? 1700 : 280);
}
