/* SPDX-License-Identifier: BSD-3-Clause */
/* Data in the representation "external32", written in a view of its own and looked at as bytes. */
#include <string.h>

#include "calls.h"
#include "log.h"
#include "session.h"

enum { ELEMENTS = 200, BYTES_MAX = 8 };

struct element {
    MPI_Datatype type;
    int bytes; /* the same in memory and file */
};

static struct element pick_element(struct rng *g)
{
    const struct element elements[] = {
        {MPI_INT, 4}, {MPI_SHORT, 2}, {MPI_DOUBLE, 8}, {MPI_FLOAT, 4}, {MPI_BYTE, 1}};
    return elements[rng_below(g, sizeof elements / sizeof elements[0])];
}

/* Big-endian, as external32 has it; the same turns it back. */
static void turn(const unsigned char *from, unsigned char *to, int bytes, int count)
{
    for (int i = 0; i < count; i++)
        for (int b = 0; b < bytes; b++)
            to[i * bytes + b] = from[i * bytes + bytes - 1 - b];
}

/* Every rank's data, one behind the other. */
static void fill(unsigned char *data, uint64_t salt, int bytes, int count)
{
    for (int i = 0; i < bytes * count; i++)
        data[i] = (unsigned char)(rng_mix(salt + (uint64_t)i) & 0x3f); /* no NaN among them */
}

/* Nonblocking calls: MPICH converts nothing, or by memory that it has freed. */
static void transfer(struct handle *h, struct call *call, unsigned how)
{
    char name[64];
    call->file = h->file;
    call_start(call);
    calls_finish(call, 1, how);
    call_name(call, name);
    log_line("external %s offset=%lld count=%lld error=%s", name, (long long)call->offset,
             (long long)call->count, error_name(call->error));
}

static void write_all(struct session *s, struct handle *h, const struct call *like, int bytes,
                      int64_t disp, uint64_t salt)
{
    unsigned char data[ELEMENTS * BYTES_MAX], external[ELEMENTS * BYTES_MAX];
    int count = (int)like->count;
    for (int rank = 0; rank < s->ranks; rank++) {
        int64_t at = disp + (int64_t)rank * count * bytes;
        fill(data, salt + (uint64_t)rank * 100000, bytes, count);
        turn(data, external, bytes, count);
        shadow_put(&s->shadow, at, external, (int64_t)bytes * count);
    }
    struct call call = *like;
    fill(data, salt + (uint64_t)s->rank * 100000, bytes, count);
    call.buffer = data;
    transfer(h, &call, (unsigned)salt % 8);
}

static void read_all(struct session *s, struct handle *h, const struct call *like, int bytes,
                     int64_t disp)
{
    unsigned char data[ELEMENTS * BYTES_MAX], expected[ELEMENTS * BYTES_MAX];
    int count = (int)like->count;
    int64_t at = disp + like->offset * bytes;
    struct call call = *like;
    memset(data, 0, sizeof data);
    call.write = false;
    call.buffer = data;
    transfer(h, &call, 0);
    turn(shadow_at(&s->shadow, at), expected, bytes, count);
    log_line("external data=%016llx",
             (unsigned long long)hash_bytes(0, data, (size_t)(bytes * count)));
    if (memcmp(data, expected, (size_t)(bytes * count)) != 0)
        log_model("external32 data differs from what was written");
}

void op_external(struct session *s, struct handle *h)
{
    struct rng *g = &s->random;
    struct element element = pick_element(g);
    struct call call = {.write = true,
                        .collective = rng_chance(g, 60),
                        .pointer = AT,
                        .count = rng_range(g, 1, ELEMENTS),
                        .type = element.type};
    int64_t disp = s->base + (int64_t)rng_below(g, 5000);
    uint64_t salt = rng_next(g);
    if (call.collective && rng_chance(g, 30))
        call.mode = SPLIT;
    if (!handle_may(h, true) || !handle_may(h, false) || disp > s->shadow.size)
        return;
    boundary(s);
    int error =
        MPI_File_set_view(h->file, disp, element.type, element.type, "external32", MPI_INFO_NULL);
    MPI_Aint extent = -1;
    MPI_File_get_type_extent(h->file, element.type, &extent);
    log_line("set_view external32 error=%s extent=%lld", error_name(error), (long long)extent);
    call.offset = s->rank * call.count;
    write_all(s, h, &call, element.bytes, disp, salt);
    boundary(s);
    call.offset = (s->rank + 1) % s->ranks * call.count;
    read_all(s, h, &call, element.bytes, disp);
    boundary(s);
    handle_set_view(s, h);
    boundary(s);
}
