/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls that move no data: pointers, sizes, attributes. */
#include <stdio.h>

#include "log.h"
#include "session.h"

void settle_size(struct session *s)
{
    if (s->epoch.extended_by)
        boundary(s);
}

static void query_size(struct session *s, struct handle *h)
{
    MPI_Offset size = -1;
    settle_size(s);
    int error = MPI_File_get_size(h->file, &size);
    s->epoch.size_read_by |= (1u << s->ranks) - 1;
    log_line("get_size error=%s value=%lld", error_name(error), (long long)size);
    if (size != s->shadow.size)
        log_model("size is %lld, should be %lld", (long long)size, (long long)s->shadow.size);
}

static void query_attributes(struct handle *h)
{
    int amode = -1, atomic = -1, members = -1;
    MPI_Group group;
    int error = MPI_File_get_amode(h->file, &amode);
    log_line("get_amode error=%s value=%#x", error_name(error), (unsigned)amode);
    error = MPI_File_get_atomicity(h->file, &atomic);
    log_line("get_atomicity error=%s value=%d", error_name(error), atomic);
    if (MPI_File_get_group(h->file, &group) == MPI_SUCCESS) {
        MPI_Group_size(group, &members);
        MPI_Group_free(&group);
    }
    log_line("get_group members=%d", members);
}

static void query_extent(struct session *s, struct handle *h)
{
    struct type *type = type_random_memory(&s->random);
    MPI_Aint extent = -1;
    MPI_Count large = -1;
    int error = MPI_File_get_type_extent(h->file, type->mpi, &extent);
    MPI_File_get_type_extent_c(h->file, type->mpi, &large);
    log_line("get_type_extent error=%s value=%lld/%lld", error_name(error), (long long)extent,
             (long long)large);
    type_free(type);
}

static void query_byte_offset(struct session *s, struct handle *h)
{
    MPI_Offset value = -1;
    MPI_Offset at = (MPI_Offset)rng_size(&s->random, (uint64_t)s->region);
    int error = MPI_File_get_byte_offset(h->file, at, &value);
    log_line("get_byte_offset at=%lld error=%s value=%lld", (long long)at, error_name(error),
             (long long)value);
}

static void query_positions(struct session *s, struct handle *h)
{
    MPI_Offset value = -1;
    int error = MPI_File_get_position(h->file, &value);
    log_line("get_position error=%s value=%lld", error_name(error), (long long)value);
    if (value != h->position[s->rank])
        log_model("position is %lld, should be %lld", (long long)value,
                  (long long)h->position[s->rank]);
    if (!handle_may_share_pointer(h))
        return;
    error = MPI_File_get_position_shared(h->file, &value);
    log_line("get_position_shared error=%s value=%lld", error_name(error), (long long)value);
    if (value != h->shared)
        log_model("shared position is %lld, should be %lld", (long long)value,
                  (long long)h->shared);
}

void op_query(struct session *s, struct handle *h)
{
    switch (rng_below(&s->random, 7)) {
    case 0:
        query_attributes(h);
        break;
    case 1:
        query_extent(s, h);
        break;
    case 2:
        query_byte_offset(s, h);
        break;
    case 3:
    case 4:
        query_positions(s, h);
        break;
    default:
        query_size(s, h);
    }
}

/* Seeking from the end depends on how an MPI rounds to whole etypes: logged, then put right. */
static void seek_from_end(struct session *s, struct handle *h)
{
    MPI_Offset value = -1;
    settle_size(s);
    s->epoch.size_read_by |= (1u << s->ranks) - 1;
    int error = MPI_File_seek(h->file, 0, MPI_SEEK_END);
    log_line("seek END error=%s", error_name(error));
    error = MPI_File_get_position(h->file, &value);
    log_line("get_position error=%s value=%lld", error_name(error), (long long)value);
    error = MPI_File_seek(h->file, h->position[s->rank], MPI_SEEK_SET);
    log_line("seek SET back error=%s", error_name(error));
}

static void seek_shared(struct session *s, struct handle *h)
{
    if (!handle_may_share_pointer(h))
        return;
    boundary(s);
    int64_t before = h->shared;
    int whence = rng_chance(&s->random, 40) ? MPI_SEEK_CUR : MPI_SEEK_SET;
    h->shared = (int64_t)rng_size(&s->random, (uint64_t)(s->region / h->view[0].etype->size));
    MPI_Offset by = whence == MPI_SEEK_CUR ? h->shared - before : h->shared;
    int error = MPI_File_seek_shared(h->file, by, whence);
    log_line("seek_shared %s to=%lld error=%s", whence == MPI_SEEK_CUR ? "CUR" : "SET",
             (long long)h->shared, error_name(error));
    boundary(s);
}

void op_seek(struct session *s, struct handle *h)
{
    unsigned kind = (unsigned)rng_below(&s->random, 10);
    if (kind == 0) {
        seek_shared(s, h);
        return;
    }
    if (kind < 3) {
        seek_from_end(s, h);
        return;
    }
    for (int rank = 0; rank < s->ranks; rank++) {
        int64_t most = s->region / h->view[rank].etype->size;
        int64_t to = (int64_t)rng_size(&s->random, (uint64_t)most);
        int64_t by = to - h->position[rank];
        h->position[rank] = to;
        if (rank != s->rank)
            continue;
        int error = kind < 7 ? MPI_File_seek(h->file, to, MPI_SEEK_SET)
                             : MPI_File_seek(h->file, by, MPI_SEEK_CUR);
        log_line("seek %s to=%lld error=%s", kind < 7 ? "SET" : "CUR", (long long)to,
                 error_name(error));
    }
}

void op_resize(struct session *s, struct handle *h)
{
    struct rng *g = &s->random;
    int64_t size = s->base + (int64_t)rng_below(g, (uint64_t)s->region + 1);
    bool preallocate = s->base == 0 && rng_chance(g, 35);
    bool afterwards = rng_chance(g, 50);
    if (rng_chance(g, 15))
        size = s->base && rng_chance(g, 50) ? 1000 : s->shadow.size;
    boundary(s);
    int error =
        preallocate ? MPI_File_preallocate(h->file, size) : MPI_File_set_size(h->file, size);
    log_line("%s size=%lld error=%s", preallocate ? "preallocate" : "set_size", (long long)size,
             error_name(error));
    if (handle_may(h, true) && (!preallocate || size > s->shadow.size))
        shadow_resize(&s->shadow, size);
    if (h->alone || afterwards)
        boundary(s);
    else
        epoch_start(&s->epoch, s->shadow.size); /* both calls return after the size is set */
}

void op_atomicity(struct session *s, struct handle *h)
{
    h->atomic = !h->atomic;
    boundary(s);
    int error = MPI_File_set_atomicity(h->file, h->atomic);
    log_line("set_atomicity %d error=%s", h->atomic, error_name(error));
}
