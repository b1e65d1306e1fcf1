/* SPDX-License-Identifier: BSD-3-Clause */
/* A writer is killed at any instant.  What it had flushed must be in the file after a drain, for
 * the default driver and h5dump to read, as it is for a writer on the default driver.
 *
 *     test_hdf5_killed [--rounds N] [--seed N] */
#include "support.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cte/store.h>

enum { DATASETS_MAX = 60, BYTES_MAX = 300 * 1000 };

static uint64_t random_state;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % limit;
}

/* Follows from the number alone, so that the reader knows what to expect. */
static size_t bytes_of(int number)
{
    return 1 + (size_t)number * 7919u % BYTES_MAX;
}

static void fill(unsigned char *bytes, int number)
{
    for (size_t i = 0; i < bytes_of(number); i++)
        bytes[i] = (unsigned char)(i * 31 + (size_t)number * 7 + (i >> 9));
}

static void write_dataset(hid_t file, int number, unsigned char *bytes)
{
    char name[32];
    hsize_t count = bytes_of(number), chunk = 4096;
    snprintf(name, sizeof name, "set%d", number);
    fill(bytes, number);
    hid_t list = OK(H5Pcreate(H5P_DATASET_CREATE)), space = OK(H5Screate_simple(1, &count, NULL));
    if (number % 3 == 1 && count >= chunk)
        OK(H5Pset_chunk(list, 1, &chunk));
    hid_t set = OK(H5Dcreate2(file, name, H5T_NATIVE_UCHAR, space, H5P_DEFAULT, list, H5P_DEFAULT));
    transfer_bytes(set, true, 0, count / 2, bytes);
    transfer_bytes(set, true, count / 2, count - count / 2, bytes + count / 2);
    OK(H5Dclose(set));
    OK(H5Sclose(space));
    OK(H5Pclose(list));
}

/* Tells by bytes in the pipe that a flush begins, and that one more dataset is flushed.  Killed in
 * between, HDF5 leaves some of its metadata old and some new, whatever the driver. */
static void write_until_killed(const char *name, hid_t fapl, int pipe_out)
{
    unsigned char *bytes = malloc(BYTES_MAX + 1);
    CHECK(bytes != NULL);
    hid_t file = OK(H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, fapl));
    for (int number = 0; number < DATASETS_MAX; number++) {
        write_dataset(file, number, bytes);
        CHECK(write(pipe_out, "-", 1) == 1);
        OK(H5Fflush(file, H5F_SCOPE_GLOBAL));
        CHECK(write(pipe_out, "+", 1) == 1);
    }
    pause();
}

struct outcome {
    int flushed;   /* datasets, for sure */
    bool flushing; /* was killed amid a flush */
};

static void note(struct outcome *outcome, char byte)
{
    outcome->flushed += byte == '+';
    outcome->flushing = byte == '-';
}

static struct outcome write_and_kill(const char *name, bool on_cte, int wanted, long delay_ns)
{
    int ends[2], status;
    char byte;
    struct outcome outcome = {0};
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(ends[0]);
        write_until_killed(name, on_cte ? fapl_cte(NULL) : fapl_sec2(), ends[1]);
        _exit(1);
    }
    close(ends[1]);
    while (outcome.flushed < wanted && read(ends[0], &byte, 1) == 1)
        note(&outcome, byte);
    nanosleep(&(struct timespec){0, delay_ns}, NULL);
    CHECK(kill(child, SIGKILL) == 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* else it failed by itself */
    while (read(ends[0], &byte, 1) == 1)
        note(&outcome, byte);
    close(ends[0]);
    return outcome;
}

/* The number of datasets at the start of the file that are whole, by the default driver. */
static int count_whole(const char *name)
{
    int number = 0;
    unsigned char *expected = malloc(BYTES_MAX + 1), *found = malloc(BYTES_MAX + 1);
    CHECK(expected && found);
    hid_t fapl = fapl_sec2(), file = try_open(name, H5F_ACC_RDONLY, fapl);
    for (bool whole = file >= 0; whole && number < DATASETS_MAX; number += whole) {
        char set_name[32];
        snprintf(set_name, sizeof set_name, "set%d", number);
        whole = H5Lexists(file, set_name, H5P_DEFAULT) > 0;
        if (!whole)
            break;
        hid_t set = OK(H5Dopen2(file, set_name, H5P_DEFAULT));
        fill(expected, number);
        transfer_bytes(set, false, 0, bytes_of(number), found);
        whole = memcmp(expected, found, bytes_of(number)) == 0;
        OK(H5Dclose(set));
    }
    if (file >= 0)
        OK(H5Fclose(file));
    OK(H5Pclose(fapl));
    free(expected);
    free(found);
    return number;
}

static bool h5dump_reads(const char *name)
{
    int status;
    free(run_command(&status, "h5dump -H %s 2>&1", name));
    return status == 0;
}

static void drain(void)
{
    cte_client *client;
    CHECK(cte_client_open(NULL, &client) == CTE_OK);
    CHECK(cte_store_drain(client, NULL, true, NULL, NULL) == CTE_OK);
    CHECK(cte_client_close(client) == CTE_OK);
}

static void check_file(int round, const char *name, const struct outcome *outcome)
{
    int whole = count_whole(name);
    bool readable = h5dump_reads(name);
    if (whole < outcome->flushed || !readable)
        fprintf(stderr, "round %d: %s: %d datasets flushed, %d whole, h5dump %s\n", round, name,
                outcome->flushed, whole, readable ? "reads it" : "fails");
    CHECK(whole >= outcome->flushed);
    CHECK(readable);
}

/* Returns true if something was proved: the writer on cte was not killed amid a flush. */
static bool run_round(int round)
{
    int wanted = 1 + (int)random_below(DATASETS_MAX - 1);
    long delay_ns = (long)random_below(3 * 1000 * 1000);
    struct outcome stock = write_and_kill("sec2.h5", false, wanted, delay_ns);
    struct outcome tiers = write_and_kill("cte.h5", true, wanted, delay_ns);
    drain();
    if (!stock.flushing)
        check_file(round, "sec2.h5", &stock); /* else this test expects too much of anybody */
    if (!tiers.flushing)
        check_file(round, "cte.h5", &tiers);
    return !tiers.flushing;
}

int main(int argc, char **argv)
{
    long rounds = 12, proved = 0;
    random_state = (uint64_t)time(NULL);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--rounds") == 0)
            rounds = strtol(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            random_state = strtoull(argv[i + 1], NULL, 10);
    }
    printf("seed %llu\n", (unsigned long long)random_state);
    fflush(stdout);
    CHECK(chdir(scratch_directory()) == 0);
    for (int round = 0; round < rounds; round++)
        proved += run_round(round);
    CHECK(proved > 0);
    return 0;
}
