/* SPDX-License-Identifier: BSD-3-Clause */
/* Usage: mpiio_oracle <operations> [seed]; see oracle.h. */
#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BATCHES_PER_OPEN = 6 * BATCHES_PER_VIEW };

static const char file_name[] = "oracle.dat";

static struct session {
    int rank, ranks;
    struct model model;
    struct batch batch;
    struct cover cover;
    struct findings findings, all_findings;
    MPI_File file, observer;
    bool is_open, is_atomic;
    MPI_Offset size_seen;
    char data[OPS_MAX][SPAN]; /* of each operation, while it runs */
    MPI_Request request[OPS_MAX];
    uint64_t ops, atomic_batches, undecided;
} s;

static void print_finding(FILE *stream, const char *what, const char *detail, int op,
                          long long position)
{
    fprintf(stream,
            "oracle: rank %d, batch %llu (%s), operation %d, position %lld: %s %s; seed %llu\n",
            s.rank, (unsigned long long)s.batch.number, s.batch.atomic ? "atomic" : "not atomic",
            op, position, what, detail, (unsigned long long)s.model.seed);
}

static void fail(const char *what, const char *detail, int op, long long position)
{
    print_finding(stderr, what, detail, op, position);
    /* mpiexec may not pass on what a process printed just before it aborts. */
    FILE *copy = fopen("oracle.finding", "a");
    if (copy) {
        print_finding(copy, what, detail, op, position);
        fclose(copy);
    }
    MPI_Abort(MPI_COMM_WORLD, 1);
    _exit(1);
}

static void must(int code, const char *call)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    if (code == MPI_SUCCESS)
        return;
    MPI_Error_string(code, text, &length);
    fail(call, text, -1, -1);
}
#define MUST(call) must(call, #call)

static void open_files(bool small_chunks)
{
    MPI_Info info;
    MPI_Info_create(&info);
    if (small_chunks)
        MPI_Info_set(info, "cte_chunk_size", "65536");
    MUST(MPI_File_open(MPI_COMM_WORLD, file_name, MPI_MODE_RDWR | MPI_MODE_CREATE, info, &s.file));
    MPI_Info_free(&info);
    MUST(MPI_File_open(MPI_COMM_WORLD, file_name, MPI_MODE_RDONLY, MPI_INFO_NULL, &s.observer));
    MUST(MPI_File_set_view(s.observer, s.model.base, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL));
    MUST(MPI_File_set_view(s.file, s.model.base, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL));
    s.is_open = true;
    s.is_atomic = false;
}

/* The file without MPI is what the model says. */
static void compare_real_file(void)
{
    static char bytes[SPAN];
    FILE *real = fopen(file_name, "rb");
    if (!real || fseeko(real, 0, SEEK_END) != 0 || ftello(real) != s.model.size)
        fail("the file", "has another size when it is closed", -1, real ? ftello(real) : -1);
    memset(bytes, 0, SPAN);
    fseeko(real, s.model.base, SEEK_SET);
    size_t got = fread(bytes, 1, SPAN, real);
    fclose(real);
    for (int64_t i = 0; i < (int64_t)got; i++)
        if (decode((uint8_t)bytes[i], i) != s.model.old[i])
            fail("the file", "has another byte when it is closed", -1, i);
}

static void close_files(void)
{
    MUST(MPI_File_close(&s.observer));
    MUST(MPI_File_close(&s.file));
    s.is_open = false;
    if (s.rank == 0)
        compare_real_file();
    MPI_Barrier(MPI_COMM_WORLD);
}

/* Goes on in the same file, or in a new one somewhere else: at the start, over the border of two
 * chunks, behind 4 GiB; in large chunks, or in small ones of which an access meets several. */
static void next_opening(uint64_t number)
{
    static const MPI_Offset bases[] = {0, (1 << 20) - SPAN / 2, ((MPI_Offset)4 << 30) - SPAN / 2};
    struct rng rng = rng_make(~s.model.seed, number);
    if (s.is_open)
        close_files();
    if (number == 0 || rng_chance(&rng, 50)) {
        if (number > 0 && s.rank == 0)
            MUST(MPI_File_delete(file_name, MPI_INFO_NULL));
        MPI_Barrier(MPI_COMM_WORLD);
        memset(s.model.old, HOLE, SPAN);
        s.model.size = 0;
        s.model.base = bases[rng_below(&rng, 3)];
    }
    open_files(rng_chance(&rng, 50));
}

static MPI_Datatype make_tile(const struct view *view)
{
    MPI_Datatype blocks, tile;
    MPI_Type_indexed(view->blocks, view->length, view->start, MPI_BYTE, &blocks);
    MPI_Type_create_resized(blocks, 0, view->tile_bytes, &tile);
    MPI_Type_commit(&tile);
    MPI_Type_free(&blocks);
    return tile;
}

static void prepare_batch(void)
{
    const struct view *view = &s.batch.view[s.rank];
    if (s.is_atomic != s.batch.atomic)
        MUST(MPI_File_set_atomicity(s.file, s.batch.atomic));
    s.is_atomic = s.batch.atomic;
    if (s.batch.number % BATCHES_PER_VIEW == 0) {
        MPI_Datatype type = view_is_contiguous(view) ? MPI_BYTE : make_tile(view);
        MUST(MPI_File_set_view(s.file, s.model.base, MPI_BYTE, type, "native", MPI_INFO_NULL));
        if (type != MPI_BYTE)
            MPI_Type_free(&type);
    }
    if (s.batch.cut)
        MUST(MPI_File_set_size(s.file, s.model.size));
    s.size_seen = 0;
}

static void check_size(int id, MPI_Offset size)
{
    MPI_Offset low, high;
    size_bounds(&s.model, &s.batch, &s.cover, id, &low, &high);
    if (size < low || size > high)
        fail("the size", size < low ? "is too small" : "is too large", id, size);
    if (size < s.size_seen)
        fail("the size", "went back", id, size);
    s.size_seen = size;
}

/* The bytes told of a contiguous read lie within what the file's size may be. */
static void check_count(int id, const struct op *op, int64_t got)
{
    MPI_Offset low, high, start = s.model.base + op->offset;
    size_bounds(&s.model, &s.batch, &s.cover, id, &low, &high);
    low = low - start < op->count ? low - start : op->count;
    high = high - start < op->count ? high - start : op->count;
    if (got < low || got > (high < 0 ? 0 : high))
        fail("the count", got < low ? "is too small" : "is too large", id, got);
}

static void finish_transfer(int id, const MPI_Status *status)
{
    const struct op *op = &s.batch.op[id];
    const struct view *view = &s.batch.view[s.rank];
    MPI_Count got;
    MPI_Get_elements_x(status, MPI_BYTE, &got);
    if (op->kind == OP_WRITE) {
        if (got != op->count)
            fail("the count", "of a write is not what it wrote", id, got);
        return;
    }
    if (view_is_contiguous(view))
        check_count(id, op, got);
    for (int i = 0; i < op->count; i++) {
        int64_t position = view_position(view, op->offset + i);
        const char *wrong = check_byte(&s.model, &s.batch, &s.cover, id, position,
                                       (uint8_t)s.data[id][i], &s.findings);
        if (wrong)
            fail("what was read", wrong, id, position);
    }
}

static void prepare_data(int id)
{
    const struct op *op = &s.batch.op[id];
    for (int i = 0; i < op->count; i++)
        s.data[id][i] =
            op->kind == OP_READ
                ? 0
                : (char)encode(op->value, view_position(&s.batch.view[s.rank], op->offset + i));
}

static void run_op(int id)
{
    const struct op *op = &s.batch.op[id];
    char *data = s.data[id];
    bool write = op->kind == OP_WRITE;
    MPI_Offset size;
    MPI_Status status;
    s.ops++;
    if (op->kind == OP_SIZE) {
        MUST(MPI_File_get_size(s.file, &size));
        check_size(id, size);
        return;
    }
    prepare_data(id);
    switch (op->call) {
    case CALL_AT:
        MUST(write ? MPI_File_write_at(s.file, op->offset, data, op->count, MPI_BYTE, &status)
                   : MPI_File_read_at(s.file, op->offset, data, op->count, MPI_BYTE, &status));
        break;
    case CALL_SEEK:
        MUST(MPI_File_seek(s.file, op->offset, MPI_SEEK_SET));
        MUST(write ? MPI_File_write(s.file, data, op->count, MPI_BYTE, &status)
                   : MPI_File_read(s.file, data, op->count, MPI_BYTE, &status));
        break;
    case CALL_ALL:
        MUST(write ? MPI_File_write_at_all(s.file, op->offset, data, op->count, MPI_BYTE, &status)
                   : MPI_File_read_at_all(s.file, op->offset, data, op->count, MPI_BYTE, &status));
        break;
    case CALL_LATER:
        MUST(
            write
                ? MPI_File_iwrite_at(s.file, op->offset, data, op->count, MPI_BYTE, &s.request[id])
                : MPI_File_iread_at(s.file, op->offset, data, op->count, MPI_BYTE, &s.request[id]));
        return;
    }
    finish_transfer(id, &status);
}

static void run_event(const struct event *event)
{
    MPI_Status status;
    switch (event->kind) {
    case EVENT_RUN:
        run_op(event->subject);
        break;
    case EVENT_WAIT:
        MUST(MPI_Wait(&s.request[event->subject], &status));
        finish_transfer(event->subject, &status);
        break;
    case EVENT_SEND:
        MPI_Send(NULL, 0, MPI_BYTE, event->subject, 0, MPI_COMM_WORLD);
        break;
    case EVENT_RECEIVE:
        MPI_Recv(NULL, 0, MPI_BYTE, event->subject, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        break;
    case EVENT_SYNC:
        MUST(MPI_File_sync(s.file));
        s.ops++;
        break;
    }
}

/* All ranks have run the batch: all find the same, of which the next batch knows. */
static void observe_end(void)
{
    static char bytes[SPAN];
    MPI_Offset size, low, high;
    uint64_t sums[2] = {0}, least[2];
    memset(bytes, 0, SPAN);
    MUST(MPI_File_get_size(s.observer, &size));
    size_bounds(&s.model, &s.batch, &s.cover, OPS_MAX, &low, &high);
    if (size != low)
        fail("the size", "after the batch is another", OPS_MAX, size);
    MUST(MPI_File_read_at(s.observer, 0, bytes, SPAN, MPI_BYTE, MPI_STATUS_IGNORE));
    for (int64_t i = 0; i < SPAN; i++) {
        const char *wrong =
            check_byte(&s.model, &s.batch, &s.cover, OPS_MAX, i, (uint8_t)bytes[i], &s.findings);
        if (wrong)
            fail("what is there after the batch", wrong, OPS_MAX, i);
        sums[0] = rng_mix(sums[0] + (uint8_t)bytes[i]);
    }
    for (int64_t i = 0; i < SPAN; i++)
        s.model.old[i] = decode((uint8_t)bytes[i], i);
    s.model.size = size;
    sums[1] = ~sums[0];
    MPI_Allreduce(sums, least, 2, MPI_UINT64_T, MPI_MIN, MPI_COMM_WORLD);
    if (least[0] != ~least[1])
        fail("what is there after the batch", "differs between ranks", OPS_MAX, -1);
}

static void check_sequence(void)
{
    MPI_Reduce(&s.findings, &s.all_findings, sizeof s.findings / sizeof(uint64_t), MPI_UINT64_T,
               MPI_BOR, 0, MPI_COMM_WORLD);
    if (s.rank != 0)
        return;
    s.atomic_batches++;
    enum verdict verdict = find_sequence(&s.batch, &s.all_findings);
    if (verdict == FITS_NOT)
        fail("no sequence of atomic accesses", "gives what was read", -1, -1);
    s.undecided += verdict == UNDECIDED;
}

static void run_batch(uint64_t number)
{
    plan_batch(&s.model, number, &s.batch);
    cover_batch(&s.model, &s.batch, &s.cover);
    memset(&s.findings, 0, sizeof s.findings);
    prepare_batch();
    for (int i = 0; i < s.batch.events[s.rank]; i++)
        run_event(&s.batch.event[s.rank][i]);
    if (s.batch.sync_at_end)
        MUST(MPI_File_sync(s.file));
    MPI_Barrier(MPI_COMM_WORLD);
    if (s.batch.sync_at_end)
        MUST(MPI_File_sync(s.file));
    observe_end();
    if (s.batch.atomic)
        check_sequence();
}

static uint64_t all_ops(void)
{
    uint64_t all;
    MPI_Allreduce(&s.ops, &all, 1, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
    return all;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &s.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &s.ranks);
    if (argc < 2 || argc > 3 || s.ranks > RANKS_MAX) {
        fprintf(stderr, "usage: mpiio_oracle <operations> [seed], by at most %d ranks\n",
                RANKS_MAX);
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    uint64_t wanted = strtoull(argv[1], NULL, 0), number = 0;
    s.model.seed = argc == 3 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
    s.model.ranks = s.ranks;
    MPI_Bcast(&s.model.seed, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    if (s.rank == 0)
        printf("seed %llu\n", (unsigned long long)s.model.seed);
    for (; number % 8 != 0 || all_ops() < wanted; number++) {
        if (number % BATCHES_PER_OPEN == 0)
            next_opening(number);
        run_batch(number);
    }
    close_files();
    uint64_t all = all_ops();
    if (s.rank == 0)
        printf("%llu operations in %llu batches agree with the model; %llu in atomic mode, of %llu "
               "of which the sequence took too long to find\n",
               (unsigned long long)all, (unsigned long long)number,
               (unsigned long long)s.atomic_batches, (unsigned long long)s.undecided);
    /* A search that gives up proves nothing. */
    int weak = s.rank == 0 && s.undecided * 50 > s.atomic_batches;
    if (weak)
        fprintf(stderr, "too many sequences were not found\n");
    MPI_Finalize();
    return weak;
}
