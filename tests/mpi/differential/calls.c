/* SPDX-License-Identifier: BSD-3-Clause */
#include "calls.h"

#include <stdio.h>
#include <string.h>

#include "type.h"

enum { MAX_PENDING = 8 };

void call_name(const struct call *c, char *name)
{
    const char *verb = c->write ? "write" : "read";
    const char *where = c->pointer == AT ? "_at" : "";
    const char *who = c->collective ? "_all" : "";
    if (c->pointer == SHARED)
        who = c->collective ? "_ordered" : "_shared";
    snprintf(name, 64, "%s%s%s%s%s%s", c->mode == NONBLOCKING ? "i" : "", verb, where, who,
             c->mode == SPLIT ? "_begin" : "", c->large ? "_c" : "");
}

/* Both spellings of one call. */
#define PICK(name, ...) (c->large ? MPI_File_##name##_c(__VA_ARGS__) : MPI_File_##name(__VA_ARGS__))
#define AT_ARGS         c->file, c->offset, c->buffer, c->count, c->type
#define HERE_ARGS       c->file, c->buffer, c->count, c->type

static int start_at(struct call *c, MPI_Status *status)
{
    if (c->mode == SPLIT)
        return c->write ? PICK(write_at_all_begin, AT_ARGS) : PICK(read_at_all_begin, AT_ARGS);
    if (c->mode == NONBLOCKING && c->collective)
        return c->write ? PICK(iwrite_at_all, AT_ARGS, &c->request)
                        : PICK(iread_at_all, AT_ARGS, &c->request);
    if (c->mode == NONBLOCKING)
        return c->write ? PICK(iwrite_at, AT_ARGS, &c->request)
                        : PICK(iread_at, AT_ARGS, &c->request);
    if (c->collective)
        return c->write ? PICK(write_at_all, AT_ARGS, status) : PICK(read_at_all, AT_ARGS, status);
    return c->write ? PICK(write_at, AT_ARGS, status) : PICK(read_at, AT_ARGS, status);
}

static int start_individual(struct call *c, MPI_Status *status)
{
    if (c->mode == SPLIT)
        return c->write ? PICK(write_all_begin, HERE_ARGS) : PICK(read_all_begin, HERE_ARGS);
    if (c->mode == NONBLOCKING && c->collective)
        return c->write ? PICK(iwrite_all, HERE_ARGS, &c->request)
                        : PICK(iread_all, HERE_ARGS, &c->request);
    if (c->mode == NONBLOCKING)
        return c->write ? PICK(iwrite, HERE_ARGS, &c->request)
                        : PICK(iread, HERE_ARGS, &c->request);
    if (c->collective)
        return c->write ? PICK(write_all, HERE_ARGS, status) : PICK(read_all, HERE_ARGS, status);
    return c->write ? PICK(write, HERE_ARGS, status) : PICK(read, HERE_ARGS, status);
}

static int start_shared(struct call *c, MPI_Status *status)
{
    if (c->mode == SPLIT)
        return c->write ? PICK(write_ordered_begin, HERE_ARGS)
                        : PICK(read_ordered_begin, HERE_ARGS);
    if (c->collective)
        return c->write ? PICK(write_ordered, HERE_ARGS, status)
                        : PICK(read_ordered, HERE_ARGS, status);
    if (c->mode == NONBLOCKING)
        return c->write ? PICK(iwrite_shared, HERE_ARGS, &c->request)
                        : PICK(iread_shared, HERE_ARGS, &c->request);
    return c->write ? PICK(write_shared, HERE_ARGS, status) : PICK(read_shared, HERE_ARGS, status);
}

void call_start(struct call *c)
{
    MPI_Status *status = c->ignore_status ? MPI_STATUS_IGNORE : &c->status;
    memset(&c->status, 0x5a, sizeof(c->status)); /* a status nobody sets is seen */
    c->request = MPI_REQUEST_NULL;
    if (c->pointer == AT)
        c->error = start_at(c, status);
    else if (c->pointer == INDIVIDUAL)
        c->error = start_individual(c, status);
    else
        c->error = start_shared(c, status);
}

static void finish_split(struct call *c)
{
    MPI_Status *status = c->ignore_status ? MPI_STATUS_IGNORE : &c->status;
    if (c->pointer == AT)
        c->error = c->write ? MPI_File_write_at_all_end(c->file, c->buffer, status)
                            : MPI_File_read_at_all_end(c->file, c->buffer, status);
    else if (c->pointer == INDIVIDUAL)
        c->error = c->write ? MPI_File_write_all_end(c->file, c->buffer, status)
                            : MPI_File_read_all_end(c->file, c->buffer, status);
    else
        c->error = c->write ? MPI_File_write_ordered_end(c->file, c->buffer, status)
                            : MPI_File_read_ordered_end(c->file, c->buffer, status);
}

static void finish_each(struct call *calls, int count, bool test)
{
    for (int i = count - 1; i >= 0; i--) {
        struct call *c = &calls[i];
        MPI_Status *status = c->ignore_status ? MPI_STATUS_IGNORE : &c->status;
        int done = !test;
        if (!test)
            c->error = MPI_Wait(&c->request, status);
        while (!done)
            c->error = MPI_Test(&c->request, &done, status);
    }
}

static void finish_any(struct call *calls, MPI_Request *requests, int count, bool test)
{
    for (int left = count; left > 0;) {
        int index = MPI_UNDEFINED, done = 1;
        MPI_Status status;
        int error = test ? MPI_Testany(count, requests, &index, &done, &status)
                         : MPI_Waitany(count, requests, &index, &status);
        if (done && index == MPI_UNDEFINED)
            return;
        if (!done)
            continue;
        calls[index].error = error;
        calls[index].status = status;
        left--;
    }
}

static void finish_some(struct call *calls, MPI_Request *requests, int count, bool test)
{
    for (int left = count; left > 0;) {
        int done = 0, indices[MAX_PENDING];
        MPI_Status statuses[MAX_PENDING];
        int error = test ? MPI_Testsome(count, requests, &done, indices, statuses)
                         : MPI_Waitsome(count, requests, &done, indices, statuses);
        if (done == MPI_UNDEFINED) /* all were complete, and null, from the start */
            return;
        for (int i = 0; i < done; i++, left--) {
            calls[indices[i]].error = error == MPI_ERR_IN_STATUS ? statuses[i].MPI_ERROR : error;
            calls[indices[i]].status = statuses[i];
        }
    }
}

/* Testall only of one request: with more, MPICH 4.0 frees file requests twice. */
static void finish_all(struct call *calls, MPI_Request *requests, int count, bool test)
{
    MPI_Status statuses[MAX_PENDING], *into = statuses;
    int error = MPI_SUCCESS, done = !test;
    for (int i = 0; i < count; i++)
        into = calls[i].ignore_status ? MPI_STATUSES_IGNORE : into;
    if (!test)
        error = MPI_Waitall(count, requests, into);
    while (!done)
        error = MPI_Testall(count, requests, &done, into);
    for (int i = 0; i < count; i++) {
        calls[i].error = error;
        calls[i].ignore_status |= into == MPI_STATUSES_IGNORE;
        calls[i].status = statuses[i];
    }
}

static void finish_requests(struct call *calls, int count, unsigned how)
{
    MPI_Request requests[MAX_PENDING];
    if (how % 4 == 0) {
        finish_each(calls, count, how / 4 % 2);
        return;
    }
    for (int i = 0; i < count; i++)
        requests[i] = calls[i].request;
    if (how % 4 == 1)
        finish_any(calls, requests, count, how / 4 % 2);
    else if (how % 4 == 2)
        finish_some(calls, requests, count, how / 4 % 2);
    else
        finish_all(calls, requests, count, count == 1 && how / 4 % 2);
}

void calls_finish(struct call *calls, int count, unsigned how)
{
    int pending = 0;
    if (count > MAX_PENDING)
        die("%d pending calls are too many", count);
    for (int i = 0; i < count; i++) {
        if (calls[i].mode == SPLIT && calls[i].error == MPI_SUCCESS)
            finish_split(&calls[i]);
        pending += calls[i].mode == NONBLOCKING && calls[i].error == MPI_SUCCESS;
    }
    if (pending == count)
        finish_requests(calls, count, how);
    else
        for (int i = 0; i < count; i++)
            if (calls[i].mode == NONBLOCKING && calls[i].error == MPI_SUCCESS)
                finish_each(&calls[i], 1, false);
}
