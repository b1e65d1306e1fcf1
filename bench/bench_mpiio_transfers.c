/* SPDX-License-Identifier: BSD-3-Clause */
/* Patterns that move data.  One round:
 *
 *   open, write, (sync,) (reread,) close, (open again, read, close,) (verify,) delete
 *
 * Data looks random, and has in each stamp's distance the place in the file where it belongs, so
 * that a piece in a wrong place shows.  Timed reads look at the first and last stamp of each
 * transfer, --verify at every byte. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench_mpiio.h"

enum { STAMP_BYTES = 512 };

struct round {
    const struct options *options;
    uint64_t count; /* transfers of each rank */
    MPI_File file;
    unsigned char *buffer, *expected;
};

/* Bytes that differ from rank to rank. */
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

/* Where transfer `index` of a rank begins: in the file, or in the data of the rank's view. */
static uint64_t place_of(const struct round *round, int of_rank, uint64_t index)
{
    const struct options *options = round->options;
    uint64_t transfers = index;
    if (options->pattern == STRIDED)
        transfers = index * (uint64_t)rank_count + (uint64_t)of_rank;
    else if (options->pattern == SEGMENTED)
        transfers = (uint64_t)of_rank * round->count + index;
    return transfers * options->transfer;
}

static uint64_t stamp_value(int of_rank, uint64_t place)
{
    return place << 16 ^ (uint64_t)of_rank;
}

static void stamp(const struct round *round, unsigned char *buffer, int of_rank, uint64_t place)
{
    for (uint64_t at = 0; at + sizeof(uint64_t) <= round->options->transfer; at += STAMP_BYTES) {
        uint64_t value = stamp_value(of_rank, place + at);
        memcpy(buffer + at, &value, sizeof value);
    }
}

static bool has_stamp(const struct round *round, int of_rank, uint64_t place, uint64_t at)
{
    uint64_t value;
    memcpy(&value, round->buffer + at, sizeof value);
    return value == stamp_value(of_rank, place + at);
}

/* The first and the last. */
static bool has_stamps(const struct round *round, int of_rank, uint64_t place)
{
    uint64_t bytes = round->options->transfer;
    if (bytes < sizeof(uint64_t))
        return true;
    uint64_t last = (bytes - sizeof(uint64_t)) / STAMP_BYTES * STAMP_BYTES;
    return has_stamp(round, of_rank, place, 0) && has_stamp(round, of_rank, place, last);
}

/* One transfer, which must be complete. */
static void transfer(const struct round *round, bool write, uint64_t place)
{
    const struct options *options = round->options;
    MPI_Offset at = (MPI_Offset)place;
    unsigned char *buffer = round->buffer;
    int bytes = (int)options->transfer, done = 0, code;
    MPI_Status status;
    if (write)
        code = options->collective
                   ? MPI_File_write_at_all(round->file, at, buffer, bytes, MPI_BYTE, &status)
                   : MPI_File_write_at(round->file, at, buffer, bytes, MPI_BYTE, &status);
    else
        code = options->collective
                   ? MPI_File_read_at_all(round->file, at, buffer, bytes, MPI_BYTE, &status)
                   : MPI_File_read_at(round->file, at, buffer, bytes, MPI_BYTE, &status);
    check(code, write ? "write" : "read");
    MPI_Get_count(&status, MPI_BYTE, &done);
    if (done != bytes)
        fail(write ? "short write" : "short read");
}

/* VECTOR: the pieces of one rank. */
static void set_view(const struct round *round, int of_rank)
{
    const struct options *options = round->options;
    int piece = (int)options->piece, pieces = (int)(options->transfer / options->piece);
    MPI_Datatype vector, tile;
    if (options->pattern != VECTOR)
        return;
    MPI_Type_vector(pieces, piece, piece * rank_count, MPI_BYTE, &vector);
    MPI_Type_create_resized(vector, 0, (MPI_Aint)options->transfer * rank_count, &tile);
    MPI_Type_commit(&tile);
    check(MPI_File_set_view(round->file, (MPI_Offset)of_rank * piece, MPI_BYTE, tile, "native",
                            MPI_INFO_NULL),
          "set_view");
    MPI_Type_free(&vector);
    MPI_Type_free(&tile);
}

static void open_file(struct round *round, int mode)
{
    check(MPI_File_open(MPI_COMM_WORLD, round->options->file, mode, MPI_INFO_NULL, &round->file),
          "open");
}

static void write_all(struct round *round)
{
    for (uint64_t i = 0; i < round->count; i++) {
        uint64_t place = place_of(round, rank, i);
        stamp(round, round->buffer, rank, place);
        transfer(round, true, place);
    }
}

/* What the neighbour wrote; returns how many transfers are wrong. */
static uint64_t read_all(struct round *round, bool every_byte)
{
    int neighbour = (rank + 1) % rank_count;
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < round->count; i++) {
        uint64_t place = place_of(round, neighbour, i);
        transfer(round, false, place);
        if (!every_byte) {
            wrong += !has_stamps(round, neighbour, place);
            continue;
        }
        stamp(round, round->expected, neighbour, place);
        wrong += memcmp(round->buffer, round->expected, round->options->transfer) != 0;
    }
    return wrong;
}

/* The longest time of any rank. */
static void put_time(const char *name, double seconds)
{
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    put_figure(name, seconds);
}

/* Processor time of this process and all its threads. */
static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Between writing and reading, as the MPI standard wants it of a portable program; all of them
 * have ended then. */
static void take_turns(const struct round *round)
{
    check(MPI_File_sync(round->file), "sync");
    MPI_Barrier(MPI_COMM_WORLD);
    check(MPI_File_sync(round->file), "sync");
    MPI_Barrier(MPI_COMM_WORLD);
}

static uint64_t reread(struct round *round)
{
    uint64_t wrong;
    if (round->options->pattern == VECTOR)
        set_view(round, (rank + 1) % rank_count);
    take_turns(round);
    double begin = MPI_Wtime(), cpu_begin = cpu_s();
    wrong = read_all(round, false);
    double cpu = cpu_s() - cpu_begin;
    put_time("reread_s", MPI_Wtime() - begin);
    put_time("reread_cpu_s", cpu);
    if (round->options->verify)
        wrong += read_all(round, true);
    MPI_Barrier(MPI_COMM_WORLD);
    return wrong;
}

static uint64_t write_round(struct round *round)
{
    uint64_t wrong = 0;
    fill(round->buffer, round->options->transfer, rank);
    MPI_Barrier(MPI_COMM_WORLD);
    double begin = MPI_Wtime();
    open_file(round, MPI_MODE_CREATE | MPI_MODE_RDWR);
    set_view(round, rank);
    double opened = MPI_Wtime(), cpu_begin = cpu_s();
    write_all(round);
    double written = MPI_Wtime(), cpu = cpu_s() - cpu_begin;
    if (round->options->fsync)
        check(MPI_File_sync(round->file), "sync");
    double synced = MPI_Wtime(), closing = synced;
    put_time("open_s", opened - begin);
    put_time("calls_s", written - opened);
    put_time("calls_cpu_s", cpu);
    put_time("write_s", written - begin);
    put_time("sync_s", synced - written);
    if (round->options->reread)
        wrong = reread(round);
    closing = MPI_Wtime();
    check(MPI_File_close(&round->file), "close");
    double closed = MPI_Wtime();
    put_time("close_s", closed - closing);
    put_time("total_s", synced - begin + closed - closing);
    return wrong;
}

static uint64_t read_again(struct round *round)
{
    uint64_t wrong;
    MPI_Barrier(MPI_COMM_WORLD);
    double begin = MPI_Wtime();
    open_file(round, MPI_MODE_RDONLY);
    set_view(round, (rank + 1) % rank_count);
    wrong = read_all(round, false);
    check(MPI_File_close(&round->file), "close after reading");
    put_time("read_s", MPI_Wtime() - begin);
    return wrong;
}

static uint64_t verify(struct round *round)
{
    open_file(round, MPI_MODE_RDONLY);
    set_view(round, (rank + 1) % rank_count);
    uint64_t wrong = read_all(round, true);
    check(MPI_File_close(&round->file), "close after reading");
    return wrong;
}

static void begin_round(struct round *round, const struct options *options)
{
    *round = (struct round){.options = options};
    round->count = options->bytes / (options->transfer * (uint64_t)rank_count);
    round->buffer = malloc(options->transfer);
    round->expected = malloc(options->transfer);
    if (!round->buffer || !round->expected)
        fail("not enough memory for a transfer");
    fill(round->expected, options->transfer, (rank + 1) % rank_count);
}

/* What all ranks found wrong. */
static uint64_t end_round(struct round *round, uint64_t wrong)
{
    free(round->buffer);
    free(round->expected);
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
    return wrong;
}

uint64_t measure_transfers(const struct options *options, bool last)
{
    struct round round;
    begin_round(&round, options);
    uint64_t wrong = write_round(&round);
    if (options->read)
        wrong += read_again(&round);
    if (options->verify)
        wrong += verify(&round);
    if (rank == 0 && !(last && options->keep))
        check(MPI_File_delete(options->file, MPI_INFO_NULL), "delete");
    return end_round(&round, wrong);
}

uint64_t check_transfers(const struct options *options)
{
    struct round round;
    begin_round(&round, options);
    return end_round(&round, verify(&round));
}
