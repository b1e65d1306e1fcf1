/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes one shared file from all ranks (N-1) by MPI-IO and says, as one line of JSON, where the
 * time went.  The patterns are those of IOR "easy" and "hard" on one file:
 *
 *   segmented  each rank writes a piece of its own from start to end
 *   strided    transfers of all ranks alternate, so that no transfer is aligned to anything
 *
 * Times are of the slowest rank, from a barrier on: `write` until the last write call returned,
 * open included (what the program sees of a checkpoint), then `sync` (with --fsync), `close`, and
 * `total` of them all.  With --read or --verify the file is opened again and every rank reads what
 * its neighbour wrote; --verify checks each byte. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

struct options {
    const char *file;
    uint64_t bytes;    /* of the whole file */
    uint64_t transfer; /* per call */
    bool strided, collective, fsync, read, verify;
};

struct times {
    double write, sync, close, total, read;
};

/* Bytes between offsets that are written into the data, so that a transfer in the wrong place
 * shows. */
enum { STAMP_BYTES = 4096 };

static int rank, rank_count;

static void fail(const char *what)
{
    fprintf(stderr, "bench_mpiio: rank %d: %s\n", rank, what);
    MPI_Abort(MPI_COMM_WORLD, 1);
    exit(1);
}

static void check(int code, const char *what)
{
    if (code == MPI_SUCCESS)
        return;
    char text[MPI_MAX_ERROR_STRING] = "unknown error", message[MPI_MAX_ERROR_STRING + 64];
    int length = 0;
    MPI_Error_string(code, text, &length);
    snprintf(message, sizeof message, "%s failed: %s", what, text);
    fail(message);
}

static void usage(FILE *stream)
{
    fputs("usage: mpiexec -n RANKS bench_mpiio --file FILE [options]\n"
          "  --pattern segmented|strided   (default segmented)\n"
          "  --bytes SIZE      size of the file, rounded down to whole transfers of all ranks\n"
          "                    (default 1G; K, M, G are powers of 1024)\n"
          "  --transfer SIZE   bytes per call (default 1M, strided 47008)\n"
          "  --collective      write_at_all and read_at_all in place of the independent calls\n"
          "  --fsync           MPI_File_sync before close\n"
          "  --read            read the file back, each rank its neighbour's part\n"
          "  --verify          read it back and check every byte\n",
          stream);
}

static bool parse_size(const char *text, uint64_t *bytes)
{
    char *end = NULL;
    errno = 0;
    *bytes = strtoull(text, &end, 10);
    const char *letters = "KMG", *letter = *end ? strchr(letters, *end) : NULL;
    if (letter) {
        *bytes <<= 10 * (letter - letters + 1);
        end++;
    }
    return errno == 0 && end != text && *end == '\0' && *bytes > 0 && *bytes < (UINT64_C(1) << 50);
}

/* 0: run; 1: help was printed; 2: wrong use. */
static int parse_options(int argc, char **argv, struct options *options)
{
    static const struct option LONG[] = {
        {"file", required_argument, NULL, 'f'},  {"pattern", required_argument, NULL, 'p'},
        {"bytes", required_argument, NULL, 'b'}, {"transfer", required_argument, NULL, 't'},
        {"collective", no_argument, NULL, 'c'},  {"fsync", no_argument, NULL, 's'},
        {"read", no_argument, NULL, 'r'},        {"verify", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0},
    };
    *options = (struct options){.bytes = UINT64_C(1) << 30};
    opterr = rank == 0;
    bool good = true;
    int letter;
    while (good && (letter = getopt_long(argc, argv, "", LONG, NULL)) != -1) {
        switch (letter) {
        case 'f':
            options->file = optarg;
            break;
        case 'p':
            options->strided = strcmp(optarg, "strided") == 0;
            good = options->strided || strcmp(optarg, "segmented") == 0;
            break;
        case 'b':
            good = parse_size(optarg, &options->bytes);
            break;
        case 't':
            good = parse_size(optarg, &options->transfer) && options->transfer <= INT32_MAX;
            break;
        case 'c':
            options->collective = true;
            break;
        case 's':
            options->fsync = true;
            break;
        case 'r':
            options->read = true;
            break;
        case 'v':
            options->verify = options->read = true;
            break;
        case 'h':
            if (rank == 0)
                usage(stdout);
            return 1;
        default:
            good = false;
        }
    }
    if (good && optind == argc && options->file)
        return 0;
    if (rank == 0)
        usage(stderr);
    return 2;
}

/* Transfers of each rank; fixes up the sizes. */
static uint64_t plan(struct options *options)
{
    if (options->transfer == 0)
        options->transfer = options->strided ? 47008 : UINT64_C(1) << 20;
    uint64_t round = options->transfer * (uint64_t)rank_count;
    uint64_t count = options->bytes / round;
    if (count == 0)
        fail("--bytes is less than one transfer of each rank");
    options->bytes = count * round;
    return count;
}

static uint64_t offset_of(const struct options *options, uint64_t count, int of_rank,
                          uint64_t index)
{
    uint64_t transfers = options->strided ? index * (uint64_t)rank_count + (uint64_t)of_rank
                                          : (uint64_t)of_rank * count + index;
    return transfers * options->transfer;
}

/* Bytes that look random and differ from rank to rank. */
static void fill(unsigned char *buffer, uint64_t bytes, int of_rank)
{
    uint64_t state = 0x9e3779b97f4a7c15u * ((uint64_t)of_rank + 1);
    for (uint64_t i = 0; i < bytes; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        buffer[i] = (unsigned char)state;
    }
}

static void stamp(unsigned char *buffer, uint64_t bytes, uint64_t offset)
{
    for (uint64_t at = 0; at + sizeof offset <= bytes; at += STAMP_BYTES) {
        uint64_t value = offset + at;
        memcpy(buffer + at, &value, sizeof value);
    }
}

/* One transfer, which must be complete. */
static void transfer(const struct options *options, MPI_File file, bool write, uint64_t offset,
                     unsigned char *buffer)
{
    MPI_Offset at = (MPI_Offset)offset;
    int bytes = (int)options->transfer, done = 0, code;
    MPI_Status status;
    if (write)
        code = options->collective
                   ? MPI_File_write_at_all(file, at, buffer, bytes, MPI_BYTE, &status)
                   : MPI_File_write_at(file, at, buffer, bytes, MPI_BYTE, &status);
    else
        code = options->collective
                   ? MPI_File_read_at_all(file, at, buffer, bytes, MPI_BYTE, &status)
                   : MPI_File_read_at(file, at, buffer, bytes, MPI_BYTE, &status);
    check(code, write ? "write" : "read");
    MPI_Get_count(&status, MPI_BYTE, &done);
    if (done != bytes)
        fail(write ? "short write" : "short read");
}

static void write_phase(const struct options *options, uint64_t count, unsigned char *buffer,
                        struct times *times)
{
    MPI_File file;
    fill(buffer, options->transfer, rank);
    MPI_Barrier(MPI_COMM_WORLD);
    double begin = MPI_Wtime();
    check(MPI_File_open(MPI_COMM_WORLD, options->file, MPI_MODE_CREATE | MPI_MODE_RDWR,
                        MPI_INFO_NULL, &file),
          "open");
    for (uint64_t i = 0; i < count; i++) {
        uint64_t offset = offset_of(options, count, rank, i);
        stamp(buffer, options->transfer, offset);
        transfer(options, file, true, offset, buffer);
    }
    double written = MPI_Wtime();
    if (options->fsync)
        check(MPI_File_sync(file), "sync");
    double synced = MPI_Wtime();
    check(MPI_File_close(&file), "close");
    double closed = MPI_Wtime();
    times->write = written - begin;
    times->sync = synced - written;
    times->close = closed - synced;
    times->total = closed - begin;
}

/* Number of transfers that do not hold what the neighbour wrote. */
static uint64_t read_phase(const struct options *options, uint64_t count, unsigned char *buffer,
                           unsigned char *expected, struct times *times)
{
    int neighbour = (rank + 1) % rank_count;
    uint64_t wrong = 0;
    MPI_File file;
    fill(expected, options->transfer, neighbour);
    MPI_Barrier(MPI_COMM_WORLD);
    double begin = MPI_Wtime();
    check(MPI_File_open(MPI_COMM_WORLD, options->file, MPI_MODE_RDONLY, MPI_INFO_NULL, &file),
          "open for reading");
    for (uint64_t i = 0; i < count; i++) {
        uint64_t offset = offset_of(options, count, neighbour, i);
        transfer(options, file, false, offset, buffer);
        if (!options->verify)
            continue;
        stamp(expected, options->transfer, offset);
        wrong += memcmp(buffer, expected, options->transfer) != 0;
    }
    check(MPI_File_close(&file), "close after reading");
    times->read = MPI_Wtime() - begin;
    return wrong;
}

static void report(const struct options *options, const struct times *times)
{
    double mib = (double)options->bytes / (1 << 20);
    printf("{\"pattern\":\"%s\",\"ranks\":%d,\"bytes\":%llu,\"transfer\":%llu,\"collective\":%s,",
           options->strided ? "strided" : "segmented", rank_count,
           (unsigned long long)options->bytes, (unsigned long long)options->transfer,
           options->collective ? "true" : "false");
    printf("\"write_s\":%.6f,\"sync_s\":%.6f,\"close_s\":%.6f,\"total_s\":%.6f,", times->write,
           times->sync, times->close, times->total);
    printf("\"write_mib_s\":%.1f,\"total_mib_s\":%.1f", mib / times->write, mib / times->total);
    if (options->read)
        printf(",\"read_s\":%.6f,\"read_mib_s\":%.1f,\"verified\":%s", times->read,
               mib / times->read, options->verify ? "true" : "false");
    printf("}\n");
}

static bool run(struct options *options)
{
    uint64_t count = plan(options), wrong = 0;
    unsigned char *buffer = malloc(options->transfer), *expected = malloc(options->transfer);
    if (!buffer || !expected)
        fail("not enough memory for a transfer");
    struct times times = {0};
    write_phase(options, count, buffer, &times);
    if (options->read)
        wrong = read_phase(options, count, buffer, expected, &times);
    free(buffer);
    free(expected);
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
    MPI_Reduce(rank ? &times : MPI_IN_PLACE, &times, sizeof times / sizeof(double), MPI_DOUBLE,
               MPI_MAX, 0, MPI_COMM_WORLD);
    if (rank == 0 && wrong)
        fprintf(stderr, "bench_mpiio: %llu transfers read back WRONG\n", (unsigned long long)wrong);
    if (rank == 0 && !wrong)
        report(options, &times);
    return wrong == 0;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
    struct options options;
    int status = parse_options(argc, argv, &options);
    bool good = status == 0 && run(&options);
    MPI_Finalize();
    return good || status == 1 ? 0 : status ? status : 1;
}
