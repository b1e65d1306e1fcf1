/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening, closing and views. */
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "session.h"

/* The file's own error handler: remembers, so that the log shows who was asked.  How often does not
   count: MPICH 4.0 asks twice about a bad nonblocking call. */
static bool handler_called;

static void note_error(MPI_File *file, int *code, ...)
{
    (void)file;
    (void)code;
    handler_called = true;
}

static void default_view(struct session *s, struct handle *h)
{
    for (int rank = 0; rank < s->ranks; rank++) {
        view_free(&h->view[rank]);
        h->view[rank] = (struct view){0, type_named(MPI_BYTE), type_named(MPI_BYTE)};
        h->position[rank] = 0;
    }
    h->shared = 0;
    h->same_view = true;
}

static MPI_Info random_info(struct session *s, struct handle *h)
{
    struct rng *g = &s->random;
    MPI_Info info;
    h->sieve = true;
    h->two_phase = false;
    if (rng_chance(g, 25))
        return MPI_INFO_NULL;
    MPI_Info_create(&info);
    if (rng_chance(g, 60)) {
        MPI_Info_set(info, "romio_ds_write", "disable");
        h->sieve = false;
    }
    if (rng_chance(g, 50)) {
        MPI_Info_set(info, "romio_cb_write", "enable");
        h->two_phase = true;
    }
    if (rng_chance(g, 20))
        MPI_Info_set(info, "romio_cb_read", rng_chance(g, 50) ? "enable" : "disable");
    if (rng_chance(g, 15))
        MPI_Info_set(info, "cb_buffer_size", "16384");
    if (rng_chance(g, 15))
        MPI_Info_set(info, "ind_wr_buffer_size", "4096");
    if (rng_chance(g, 10))
        MPI_Info_set(info, "not_a_hint_of_anybody", "1");
    return info;
}

/* `again`: the file exists and is open already. */
static int random_amode(struct session *s, bool again)
{
    struct rng *g = &s->random;
    unsigned kind = (unsigned)rng_below(g, 100);
    int amode = kind < 70   ? MPI_MODE_RDWR
                : kind < 80 ? MPI_MODE_WRONLY
                : kind < 94 ? MPI_MODE_RDONLY
                : kind < 97 ? MPI_MODE_RDWR | MPI_MODE_RDONLY
                            : 0;
    if (!again && rng_chance(g, 75) && amode != MPI_MODE_RDONLY)
        amode |= MPI_MODE_CREATE;
    if (!again && rng_chance(g, 5))
        amode |= MPI_MODE_CREATE;
    if (!again && !s->alone && rng_chance(g, 10))
        amode |= MPI_MODE_EXCL;
    if (!again && !s->alone && rng_chance(g, 8))
        amode |= MPI_MODE_DELETE_ON_CLOSE;
    if (rng_chance(g, 8))
        amode |= MPI_MODE_APPEND;
    if (rng_chance(g, 5))
        amode |= MPI_MODE_UNIQUE_OPEN;
    return amode;
}

static void spell_path(struct session *s, const struct handle *h, char *path, size_t room)
{
    snprintf(path, room, "%s", s->path);
    switch (rng_below(&s->random, 40)) {
    case 0:
        snprintf(path, room, "%s-missing/file", s->path);
        break;
    case 1: /* a directory; for reading alone MPICH opens it, and later hangs */
        if (h->amode & MPI_MODE_RDONLY)
            break;
        snprintf(path, room, "%.*s", (int)(strrchr(s->path, '/') - s->path), s->path);
        break;
    case 2:
    case 3:
        snprintf(path, room, "ufs:%s", s->path);
        break;
    case 4:
        snprintf(path, room, ".%s", strrchr(s->path, '/')); /* relative */
        break;
    default:
        break;
    }
}

static void own_handler(struct handle *h)
{
    MPI_Errhandler handler;
    MPI_File_create_errhandler(note_error, &handler);
    MPI_File_set_errhandler(h->file, handler);
    MPI_Errhandler_free(&handler);
}

static void log_position(const struct handle *h)
{
    MPI_Offset at = -1;
    int error = MPI_File_get_position(h->file, &at);
    log_line("get_position after open error=%s value=%lld", error_name(error), (long long)at);
}

bool handle_open(struct session *s, struct handle *h, bool again)
{
    char path[4300];
    MPI_Info info = random_info(s, h);
    bool handler = rng_chance(&s->random, 20);
    h->alone = s->alone;
    h->amode = random_amode(s, again);
    h->atomic = false;
    h->sole = !again;
    for (int i = 0; again && i < HANDLES; i++)
        s->handles[i].sole = false;
    spell_path(s, h, path, sizeof(path));
    settle_size(s);
    int error = MPI_File_open(h->alone ? MPI_COMM_SELF : s->comm, path, h->amode, info, &h->file);
    if (info != MPI_INFO_NULL)
        MPI_Info_free(&info);
    log_line("open amode=%#x size=%lld error=%s", (unsigned)h->amode, (long long)s->shadow.size,
             error_name(error));
    h->open = error == MPI_SUCCESS;
    if (!h->open)
        return false;
    default_view(s, h);
    if (handler)
        own_handler(h);
    if (h->amode & MPI_MODE_APPEND) {
        for (int rank = 0; rank < s->ranks; rank++)
            h->position[rank] = s->shadow.size;
        h->shared = s->shadow.size;
    }
    log_position(h);
    boundary(s); /* a size read at open is as of now, also with ranks that open one by one */
    return true;
}

void handle_close(struct session *s, struct handle *h)
{
    if (!h->open)
        return;
    int error = MPI_File_close(&h->file);
    log_line("close error=%s null=%d handler=%d", error_name(error), h->file == MPI_FILE_NULL,
             handler_called);
    handler_called = false;
    h->open = false;
    for (int rank = 0; rank < s->ranks; rank++)
        view_free(&h->view[rank]);
}

/* Shared pointers need one view for all. */
bool handle_may_share_pointer(const struct handle *h)
{
    return !h->alone && h->same_view && h->sole;
}

bool handle_may(const struct handle *h, bool write)
{
    return !(h->amode & (write ? MPI_MODE_RDONLY : MPI_MODE_WRONLY));
}

/* Displacements are bytes, of any alignment. */
static int64_t random_displacement(struct session *s)
{
    int64_t disp = s->base;
    if (rng_chance(&s->random, 50))
        disp += (int64_t)rng_size(&s->random, (uint64_t)s->region / 2);
    return disp;
}

static void plan_views(struct session *s, struct handle *h)
{
    struct rng *g = &s->random;
    struct rng common = rng_make(rng_next(g), 1);
    unsigned kind = (unsigned)rng_below(g, 100);
    int64_t disp = random_displacement(s);
    h->same_view = kind < 45;
    for (int rank = 0; rank < s->ranks; rank++) {
        struct rng own = h->same_view || kind < 85 ? common : rng_make(rng_next(g), 2);
        struct view *v = &h->view[rank];
        view_free(v);
        v->disp = kind >= 85 ? random_displacement(s) : disp;
        v->etype = type_random_etype(&own);
        if (kind < 12)
            v->filetype = type_contiguous(v->etype, 1);
        else if (h->same_view || kind >= 85)
            v->filetype = type_random_filetype(&own, v->etype);
        else
            v->filetype = type_random_partition(&own, v->etype, rank, s->ranks);
        h->position[rank] = 0;
    }
    h->shared = 0;
}

static void log_view(const struct handle *h)
{
    MPI_Offset disp = -1;
    MPI_Datatype types[2];
    char rep[MPI_MAX_DATAREP_STRING] = "";
    int error = MPI_File_get_view(h->file, &disp, &types[0], &types[1], rep);
    if (error != MPI_SUCCESS) {
        log_line("get_view error=%s", error_name(error));
        return;
    }
    MPI_Count lb[2], extent[2], size[2];
    for (int i = 0; i < 2; i++) {
        int ints, addresses, inner, combiner;
        MPI_Type_get_extent_x(types[i], &lb[i], &extent[i]);
        MPI_Type_size_x(types[i], &size[i]);
        MPI_Type_get_envelope(types[i], &ints, &addresses, &inner, &combiner);
        if (combiner != MPI_COMBINER_NAMED)
            MPI_Type_free(&types[i]);
    }
    log_line("get_view disp=%lld etype=%lld+%lld/%lld filetype=%lld+%lld/%lld rep=%s",
             (long long)disp, (long long)lb[0], (long long)extent[0], (long long)size[0],
             (long long)lb[1], (long long)extent[1], (long long)size[1], rep);
}

void handle_set_view(struct session *s, struct handle *h)
{
    const char *rep = rng_chance(&s->random, 5) ? "internal" : "native";
    bool plain = s->base == 0 && rng_chance(&s->random, 15);
    if (plain)
        default_view(s, h);
    else
        plan_views(s, h);
    const struct view *v = &h->view[s->rank];
    int error =
        MPI_File_set_view(h->file, v->disp, v->etype->mpi, v->filetype->mpi, rep, MPI_INFO_NULL);
    log_line("set_view disp=%lld etype=%lld/%lld filetype=%lld/%lld pieces=%zu rep=%s error=%s",
             (long long)v->disp, (long long)v->etype->size, (long long)v->etype->extent,
             (long long)v->filetype->size, (long long)v->filetype->extent, v->filetype->map.count,
             rep, error_name(error));
    log_view(h);
}
