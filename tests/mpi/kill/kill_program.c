/* SPDX-License-Identifier: BSD-3-Clause */
/* A job that is killed, and what its files must hold afterwards.
 *
 *   kill_program run PATH ORACLE SEED         (MPI) writes, reads, syncs, closes and opens PATH
 * until it is killed; ORACLE.<rank> says what was acknowledged kill_program verify PATH ORACLE
 * RANKS     compares the file with the oracles kill_program restart PATH ORACLE RANKS    (MPI, one
 * rank) the same by way of MPI-IO kill_program pid ORACLE RANK              prints the rank's
 * process id once it works, else 0
 *
 * Blocks of the file belong to the ranks by turns; a write stays within one.  Before a write it is
 * noted in the oracle, a file in memory that survives the process; after it returned, its bytes are
 * what the file must hold.  A write that was noted and did not return has happened as a whole or
 * not at all. */
#include <fcntl.h>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FILE_BYTES = 12 << 20, BLOCK_BYTES = 256 << 10, BLOCKS = FILE_BYTES / BLOCK_BYTES };

struct oracle {
    volatile int64_t pid; /* 0: does not work yet */
    volatile int64_t writes;
    volatile int64_t under_way;
    uint64_t offset, length, seed; /* of the write that is under way */
    unsigned char bytes[FILE_BYTES];
};

static uint64_t next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static void fill(unsigned char *bytes, uint64_t length, uint64_t seed)
{
    for (uint64_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)(next(&seed) >> 11);
}

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static struct oracle *map_oracle(const char *path, int rank)
{
    char name[4096];
    snprintf(name, sizeof name, "%s.%d", path, rank);
    int fd = open(name, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct oracle)) != 0)
        die(name);
    void *memory = mmap(NULL, sizeof(struct oracle), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        die(name);
    close(fd);
    return memory;
}

/* ---- the job -------------------------------------------------------------------------------- */

struct job {
    int rank, ranks;
    const char *path;
    struct oracle *oracle;
    MPI_File file;
    uint64_t own;    /* random numbers of this rank */
    uint64_t common; /* the same on all ranks: what they do together */
    unsigned char buffer[BLOCK_BYTES];
};

static void check(int error, const char *what)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (error == MPI_SUCCESS)
        return;
    MPI_Error_string(error, text, &length);
    fprintf(stderr, "%s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, 3);
}

/* A range of one of this rank's blocks; sometimes whole pages, sometimes a few bytes. */
static void pick_range(struct job *job, uint64_t *offset, uint64_t *length)
{
    uint64_t blocks = (uint64_t)(BLOCKS / job->ranks);
    uint64_t block = next(&job->own) % blocks * (uint64_t)job->ranks + (uint64_t)job->rank;
    uint64_t start = next(&job->own) % BLOCK_BYTES, bytes = 0;
    switch (next(&job->own) % 3) {
    case 0:
        bytes = 1 + next(&job->own) % 5000;
        break;
    case 1:
        start &= ~UINT64_C(4095);
        bytes = 4096 * (1 + next(&job->own) % 16);
        break;
    default:
        start = 0;
        bytes = BLOCK_BYTES;
    }
    *offset = block * BLOCK_BYTES + start;
    *length = bytes < BLOCK_BYTES - start ? bytes : BLOCK_BYTES - start;
}

static void write_range(struct job *job, int together)
{
    struct oracle *oracle = job->oracle;
    uint64_t offset, length, seed = next(&job->own);
    MPI_Status status;
    int count;
    pick_range(job, &offset, &length);
    fill(job->buffer, length, seed);
    oracle->offset = offset;
    oracle->length = length;
    oracle->seed = seed;
    __atomic_store_n(&oracle->under_way, 1, __ATOMIC_SEQ_CST);
    check(together ? MPI_File_write_at_all(job->file, (MPI_Offset)offset, job->buffer, (int)length,
                                           MPI_BYTE, &status)
                   : MPI_File_write_at(job->file, (MPI_Offset)offset, job->buffer, (int)length,
                                       MPI_BYTE, &status),
          "write");
    MPI_Get_count(&status, MPI_BYTE, &count);
    if (count != (int)length)
        check(MPI_ERR_IO, "short write");
    memcpy(oracle->bytes + offset, job->buffer, length);
    __atomic_store_n(&oracle->under_way, 0, __ATOMIC_SEQ_CST);
    oracle->writes = oracle->writes + 1;
}

static void read_range(struct job *job)
{
    uint64_t offset, length;
    MPI_Status status;
    int count;
    pick_range(job, &offset, &length);
    check(MPI_File_read_at(job->file, (MPI_Offset)offset, job->buffer, (int)length, MPI_BYTE,
                           &status),
          "read");
    MPI_Get_count(&status, MPI_BYTE, &count);
    if (memcmp(job->buffer, job->oracle->bytes + offset, (size_t)count) != 0) {
        fprintf(stderr, "WRONG BYTES read at %llu\n", (unsigned long long)offset);
        MPI_Abort(MPI_COMM_WORLD, 4);
    }
}

static void open_file(struct job *job)
{
    check(MPI_File_open(MPI_COMM_WORLD, job->path, MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL,
                        &job->file),
          "open");
}

static void step(struct job *job)
{
    uint64_t what = next(&job->common) % 100;
    if (what < 60) {
        for (uint64_t i = next(&job->own) % 8; i > 0; i--)
            write_range(job, 0);
    } else if (what < 75) {
        write_range(job, 1);
    } else if (what < 90) {
        read_range(job);
    } else if (what < 94) {
        check(MPI_File_sync(job->file), "sync");
    } else if (what < 97) {
        check(MPI_File_close(&job->file), "close");
        open_file(job);
    }
}

_Noreturn static void run(char **arguments, int argc, char **argv)
{
    static struct job job;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &job.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &job.ranks);
    job.path = arguments[0];
    job.oracle = map_oracle(arguments[1], job.rank);
    job.common = strtoull(arguments[2], NULL, 0);
    job.own = job.common * 31 + (uint64_t)job.rank;
    open_file(&job);
    check(MPI_File_set_size(job.file, FILE_BYTES), "set_size");
    MPI_File_set_errhandler(job.file, MPI_ERRORS_RETURN);
    MPI_Barrier(MPI_COMM_WORLD);
    __atomic_store_n(&job.oracle->pid, getpid(), __ATOMIC_SEQ_CST);
    for (;;)
        step(&job);
}

/* ---- afterwards ----------------------------------------------------------------------------- */

/* Compares a rank's blocks; prints and counts what is wrong. */
static int compare(const struct oracle *oracle, int rank, int ranks, const unsigned char *bytes)
{
    static unsigned char fresh[BLOCK_BYTES];
    int wrong = 0, is_new = 0;
    uint64_t first = oracle->offset, end = oracle->under_way ? first + oracle->length : first;
    if (oracle->under_way) {
        fill(fresh, oracle->length, oracle->seed);
        is_new = memcmp(bytes + first, fresh, oracle->length) == 0;
    }
    for (int block = rank; block < BLOCKS; block += ranks)
        for (uint64_t at = (uint64_t)block * BLOCK_BYTES; at < (uint64_t)(block + 1) * BLOCK_BYTES;
             at++) {
            if (bytes[at] == oracle->bytes[at] || (is_new && at >= first && at < end))
                continue;
            if (wrong++ == 0)
                printf("rank %d: WRONG BYTE at %llu: %u, not %u%s\n", rank, (unsigned long long)at,
                       bytes[at], oracle->bytes[at],
                       at >= first && at < end ? " (of the write under way)" : "");
        }
    printf("rank %d: %lld writes acknowledged, %s under way, %d wrong bytes\n", rank,
           (long long)oracle->writes, oracle->under_way ? "one" : "none", wrong);
    return wrong;
}

static int judge(const char *oracles, int ranks, const unsigned char *bytes)
{
    int wrong = 0;
    for (int rank = 0; rank < ranks; rank++)
        wrong += compare(map_oracle(oracles, rank), rank, ranks, bytes);
    return wrong ? 4 : 0;
}

static int verify(char **arguments)
{
    static unsigned char bytes[FILE_BYTES];
    int fd = open(arguments[0], O_RDONLY);
    size_t at = 0;
    if (fd < 0)
        die(arguments[0]);
    for (ssize_t n = 1; n > 0; at += (size_t)n)
        if ((n = pread(fd, bytes + at, sizeof bytes - at, (off_t)at)) < 0)
            die(arguments[0]);
    if (at != sizeof bytes) {
        printf("the file has %zu bytes instead of %zu\n", at, sizeof bytes);
        return 4;
    }
    return judge(arguments[1], atoi(arguments[2]), bytes);
}

static int restart(char **arguments, int argc, char **argv)
{
    static unsigned char bytes[FILE_BYTES];
    MPI_File file;
    MPI_Status status;
    int count;
    MPI_Init(&argc, &argv);
    check(MPI_File_open(MPI_COMM_WORLD, arguments[0], MPI_MODE_RDWR, MPI_INFO_NULL, &file), "open");
    check(MPI_File_read_at(file, 0, bytes, FILE_BYTES, MPI_BYTE, &status), "read");
    MPI_Get_count(&status, MPI_BYTE, &count);
    int result = count == FILE_BYTES ? judge(arguments[1], atoi(arguments[2]), bytes) : 4;
    check(MPI_File_close(&file), "close");
    MPI_Finalize();
    return result;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "run") == 0)
        run(argv + 2, argc, argv);
    if (argc == 5 && strcmp(argv[1], "verify") == 0)
        return verify(argv + 2);
    if (argc == 5 && strcmp(argv[1], "restart") == 0)
        return restart(argv + 2, argc, argv);
    if (argc == 4 && strcmp(argv[1], "pid") == 0) {
        printf("%lld\n", (long long)map_oracle(argv[2], atoi(argv[3]))->pid);
        return 0;
    }
    fputs("usage: see the head of kill_program.c\n", stderr);
    return 2;
}
