/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls that must fail, made by all ranks alike. */
#include <stdio.h>

#include "calls.h"
#include "log.h"
#include "session.h"

enum wrong {
    WRONG_OFFSET,
    WRONG_COUNT,
    WRONG_TYPE,
    WRONG_UNCOMMITTED,
    WRONG_ETYPES,
    WRONG_DIRECTION,
    WRONG_HANDLE,
    NOTHING, /* a count of 0, which is fine */
    WRONGS
};

static const char *const wrong_names[] = {"offset", "count",     "type",   "uncommitted type",
                                          "etypes", "direction", "handle", "nothing"};

/* Those of the ranks may differ, but all must make the call. */
static bool all_etypes_have_parts(const struct session *s, const struct handle *h)
{
    bool all = true;
    for (int rank = 0; rank < s->ranks; rank++)
        all &= h->view[rank].etype->size > 1;
    return all;
}

/* Once they have refused such a call, MPICH's split collectives refuse all others too. */
static bool is_possible(const struct session *s, const struct handle *h, const struct call *call,
                        enum wrong wrong)
{
    bool late = wrong == WRONG_ETYPES || wrong == WRONG_DIRECTION || wrong == WRONG_UNCOMMITTED ||
                wrong == WRONG_OFFSET;
    if (call->mode == SPLIT && late)
        return false;
    if (call->pointer == SHARED && !handle_may_share_pointer(h))
        return false;
    /* MPICH starts it, and it never ends. */
    if (call->pointer == SHARED && call->mode == NONBLOCKING && wrong == WRONG_DIRECTION)
        return false;
    switch (wrong) {
    case WRONG_OFFSET:
        return call->pointer == AT;
    case WRONG_ETYPES:
        return all_etypes_have_parts(s, h);
    case WRONG_DIRECTION:
        return !handle_may(h, true) || !handle_may(h, false);
    default:
        return true;
    }
}

static void spoil(struct call *call, enum wrong wrong, MPI_Datatype uncommitted)
{
    switch (wrong) {
    case WRONG_OFFSET:
        call->offset = -1;
        break;
    case WRONG_COUNT:
        call->count = -1;
        break;
    case WRONG_TYPE:
        call->type = MPI_DATATYPE_NULL;
        break;
    case WRONG_UNCOMMITTED:
        call->type = uncommitted;
        break;
    case WRONG_ETYPES:
        call->count = 1;
        break;
    case WRONG_DIRECTION:
        call->write = !call->write;
        break;
    case WRONG_HANDLE:
        call->file = MPI_FILE_NULL;
        break;
    default:
        call->count = 0;
        call->buffer = NULL;
    }
}

/* Any of the data transfers, with one thing wrong. */
static void wrong_transfer(struct session *s, struct handle *h)
{
    struct rng *g = &s->random;
    char buffer[512] = {0}, name[64];
    MPI_Datatype uncommitted;
    int64_t etype_bytes = h->view[s->rank].etype->size;
    enum wrong wrong = (enum wrong)rng_below(g, WRONGS);
    struct call call = {.write = rng_chance(g, 50),
                        .collective = rng_chance(g, 40),
                        .large = rng_chance(g, 25),
                        .pointer = (enum pointer_kind)rng_below(g, 3),
                        .mode = (enum call_mode)rng_below(g, 3),
                        .file = h->file,
                        .buffer = buffer,
                        .count = etype_bytes,
                        .type = MPI_BYTE};
    unsigned how = (unsigned)rng_below(g, 8);
    /* There are no such calls. */
    if (call.mode == SPLIT)
        call.collective = true;
    if (call.mode == NONBLOCKING && call.pointer == SHARED)
        call.collective = false;
    if (!handle_may(h, call.write))
        call.write = !call.write;
    if (!is_possible(s, h, &call, wrong))
        return;
    MPI_Type_contiguous((int)etype_bytes, MPI_BYTE, &uncommitted);
    spoil(&call, wrong, uncommitted);
    call_name(&call, name);
    log_trace("misuse %s wrong=%s", name, wrong_names[wrong]);
    call_start(&call);
    calls_finish(&call, 1, how);
    /* MPICH refuses this one alone with the shared pointer where it is. */
    if (call.pointer == SHARED && wrong == WRONG_DIRECTION && (call.write || call.collective))
        h->shared += call.collective ? s->ranks : 1;
    MPI_Type_free(&uncommitted);
    log_line("misuse %s wrong=%s error=%s", name, wrong_names[wrong], error_name(call.error));
}

static void wrong_view(struct session *s, struct handle *h)
{
    MPI_Datatype empty, backwards, uncommitted;
    unsigned kind = (unsigned)rng_below(&s->random, 9);
    int error = MPI_SUCCESS;
    MPI_Type_contiguous(0, MPI_BYTE, &empty);
    MPI_Type_commit(&empty);
    MPI_Type_vector(2, 1, -2, MPI_INT, &backwards);
    MPI_Type_commit(&backwards);
    MPI_Type_contiguous(4, MPI_BYTE, &uncommitted);
    switch (kind) {
    case 0:
        error = MPI_File_set_view(h->file, -1, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL);
        break;
    case 1:
        error = MPI_File_set_view(h->file, 0, MPI_BYTE, MPI_BYTE, "nonsense", MPI_INFO_NULL);
        break;
    case 2:
        error = MPI_File_set_view(h->file, 0, MPI_DATATYPE_NULL, MPI_BYTE, "native", MPI_INFO_NULL);
        break;
    case 3:
        error = MPI_File_set_view(h->file, 0, MPI_INT, MPI_BYTE, "native", MPI_INFO_NULL);
        break;
    case 4:
        error = MPI_File_set_view(h->file, 0, MPI_BYTE, MPI_DATATYPE_NULL, "native", MPI_INFO_NULL);
        break;
    case 5:
        error = MPI_File_set_view(h->file, 0, MPI_INT, backwards, "native", MPI_INFO_NULL);
        break;
    case 6:
        error = MPI_File_set_view(h->file, 0, MPI_BYTE, uncommitted, "native", MPI_INFO_NULL);
        break;
    case 7:
        error = MPI_File_set_view(MPI_FILE_NULL, 0, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL);
        break;
    default:
        error = MPI_File_set_view(h->file, MPI_DISPLACEMENT_CURRENT, MPI_BYTE, MPI_BYTE, "native",
                                  MPI_INFO_NULL);
    }
    MPI_Type_free(&empty);
    MPI_Type_free(&backwards);
    MPI_Type_free(&uncommitted);
    log_line("misuse set_view %u error=%s", kind, error_name(error));
    /* What MPICH did not refuse, or had half taken over when it did, is put right. */
    if (error == MPI_SUCCESS || kind >= 5)
        handle_set_view(s, h);
}

static void wrong_open(struct session *s)
{
    static const int modes[] = {MPI_MODE_RDONLY | MPI_MODE_WRONLY,
                                MPI_MODE_RDONLY | MPI_MODE_CREATE,
                                MPI_MODE_RDONLY | MPI_MODE_EXCL,
                                MPI_MODE_RDWR | MPI_MODE_SEQUENTIAL,
                                MPI_MODE_CREATE,
                                MPI_MODE_WRONLY | MPI_MODE_CREATE | MPI_MODE_EXCL,
                                -1};
    MPI_File file;
    int amode = modes[rng_below(&s->random, sizeof modes / sizeof modes[0])];
    const char *name = amode == -1 ? "" : s->path;
    int error =
        MPI_File_open(s->comm, name, amode == -1 ? MPI_MODE_RDWR : amode, MPI_INFO_NULL, &file);
    log_line("misuse open amode=%#x error=%s", (unsigned)amode, error_name(error));
    if (error == MPI_SUCCESS)
        MPI_File_close(&file);
}

static int no_handle(unsigned kind)
{
    MPI_File none = MPI_FILE_NULL;
    MPI_Offset value;
    MPI_Info info;
    MPI_Group group;
    int flag;
    switch (kind) {
    case 0:
        return MPI_File_get_size(none, &value);
    case 1:
        return MPI_File_set_size(none, 0);
    case 2:
        return MPI_File_sync(none);
    case 3:
        return MPI_File_seek(none, 0, MPI_SEEK_SET);
    case 4:
        return MPI_File_get_position(none, &value);
    case 5:
        return MPI_File_get_info(none, &info);
    case 6:
        return MPI_File_get_group(none, &group);
    case 7:
        return MPI_File_get_amode(none, &flag);
    case 8:
        return MPI_File_get_atomicity(none, &flag);
    case 9:
        return MPI_File_set_atomicity(none, 1);
    case 10:
        return MPI_File_preallocate(none, 0);
    case 11:
        return MPI_File_get_position_shared(none, &value);
    case 12:
        return MPI_File_seek_shared(none, 0, MPI_SEEK_SET);
    case 13:
        return MPI_File_get_byte_offset(none, 0, &value);
    default:
        return MPI_File_close(&none);
    }
}

/* Not MPI_File_seek_shared(): MPICH's first process refuses, and the others wait for it. */
static int wrong_other(struct session *s, struct handle *h, unsigned kind)
{
    MPI_Offset value;
    MPI_Status status;
    char path[4300], byte = 0;
    bool may_read = handle_may(h, false);
    switch (kind) {
    case 0:
        return MPI_File_seek(h->file, 0, 12345);
    case 1:
        return MPI_File_seek(h->file, -1, MPI_SEEK_SET);
    case 2:
        return MPI_File_seek(h->file, -h->position[s->rank] - 1, MPI_SEEK_CUR);
    case 3:
        return MPI_File_set_size(h->file, -1);
    case 4:
        return MPI_File_get_byte_offset(h->file, -1, &value);
    case 5:
        return MPI_File_preallocate(h->file, -1);
    case 6:
        snprintf(path, sizeof(path), "%s-no-such-file", s->path);
        return MPI_File_delete(path, MPI_INFO_NULL);
    case 7: /* there is none to end */
        return may_read ? MPI_File_read_all_end(h->file, &byte, &status)
                        : MPI_File_write_all_end(h->file, &byte, &status);
    case 8:
        return may_read ? MPI_File_read_ordered_end(h->file, &byte, &status)
                        : MPI_File_write_ordered_end(h->file, &byte, &status);
    case 9:
        return MPI_File_set_info(h->file, MPI_INFO_NULL);
    default:
        return no_handle(kind - 10);
    }
}

void op_misuse(struct session *s, struct handle *h)
{
    unsigned kind = (unsigned)rng_below(&s->random, 10);
    boundary(s);
    log_trace("misuse of kind %u", kind);
    if (kind < 4) {
        wrong_transfer(s, h);
    } else if (kind < 5) {
        wrong_view(s, h);
    } else if (kind < 6) {
        wrong_open(s);
    } else {
        unsigned which = (unsigned)rng_below(&s->random, 10 + 15);
        log_line("misuse %u error=%s", which, error_name(wrong_other(s, h, which)));
    }
    boundary(s);
}
