/* SPDX-License-Identifier: BSD-3-Clause */
/* Hints, error handlers, names, and files beside the one that the program works on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "session.h"

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All hints in one line; those of the library under test are its own affair. */
static void log_info(MPI_File file)
{
    enum { KEYS = 64 };
    MPI_Info info;
    char *lines[KEYS];
    char value[MPI_MAX_INFO_VAL + 1], key[MPI_MAX_INFO_KEY + 1];
    int count = 0, kept = 0, found;
    uint64_t hash = 0;
    int error = MPI_File_get_info(file, &info);
    if (error != MPI_SUCCESS) {
        log_line("get_info error=%s", error_name(error));
        return;
    }
    MPI_Info_get_nkeys(info, &count);
    for (int i = 0; i < count && kept < KEYS; i++) {
        MPI_Info_get_nthkey(info, i, key);
        MPI_Info_get(info, key, MPI_MAX_INFO_VAL, value, &found);
        if (strncmp(key, "cte_", 4) == 0)
            continue;
        lines[kept] = must_alloc(strlen(key) + strlen(value) + 2);
        sprintf(lines[kept++], "%s=%s", key, value);
    }
    MPI_Info_free(&info);
    qsort(lines, (size_t)kept, sizeof *lines, compare_lines);
    for (int i = 0; i < kept; i++) {
        log_trace("  %s", lines[i]);
        hash = hash_bytes(hash, lines[i], strlen(lines[i]));
        free(lines[i]);
    }
    log_line("get_info hints=%d data=%016llx", kept, (unsigned long long)hash);
}

static void set_info(struct session *s, struct handle *h)
{
    MPI_Info info;
    MPI_Info_create(&info);
    if (rng_chance(&s->random, 50))
        MPI_Info_set(info, "romio_cb_read", rng_chance(&s->random, 50) ? "enable" : "automatic");
    if (rng_chance(&s->random, 50))
        MPI_Info_set(info, "ind_rd_buffer_size", "65536");
    if (rng_chance(&s->random, 30))
        MPI_Info_set(info, "not_a_hint_of_anybody", "1");
    boundary(s);
    int error = MPI_File_set_info(h->file, info);
    MPI_Info_free(&info);
    log_line("set_info error=%s", error_name(error));
    log_info(h->file);
}

static int handled;

static void count_error(MPI_File *file, int *code, ...)
{
    (void)file;
    handled += *code == MPI_ERR_ACCESS;
}

static const char *handler_name(MPI_Errhandler handler)
{
    return handler == MPI_ERRORS_RETURN      ? "return"
           : handler == MPI_ERRORS_ARE_FATAL ? "fatal"
                                             : "own";
}

/* The handler of a file, or of those to come (MPI_FILE_NULL), replaced and put back. */
static void error_handlers(struct session *s, MPI_File file)
{
    MPI_Errhandler before, mine, now;
    int error = MPI_File_get_errhandler(file, &before);
    log_line("get_errhandler error=%s is=%s", error_name(error), handler_name(before));
    MPI_File_create_errhandler(count_error, &mine);
    error = MPI_File_set_errhandler(file, mine);
    MPI_File_get_errhandler(file, &now);
    log_line("set_errhandler error=%s is=%s", error_name(error), now == mine ? "mine" : "another");
    handled = 0;
    error = MPI_File_call_errhandler(file, MPI_ERR_ACCESS);
    log_line("call_errhandler error=%s times=%d", error_name(error), handled);
    if (file == MPI_FILE_NULL && rng_chance(&s->random, 50)) {
        char path[4300];
        snprintf(path, sizeof(path), "%s-nowhere/file", s->path);
        MPI_File other;
        error = MPI_File_open(MPI_COMM_SELF, path, MPI_MODE_RDONLY, MPI_INFO_NULL, &other);
        log_line("open of what is not there error=%s", error_name(error));
    }
    MPI_File_set_errhandler(file, before);
    MPI_Errhandler_free(&mine);
    MPI_Errhandler_free(&now);
    MPI_Errhandler_free(&before);
}

static void log_beside(const char *what, const char *path)
{
    FILE *file = fopen(path, "rb");
    char bytes[4096];
    if (!file) {
        log_line("%s: errno=%d", what, errno);
        return;
    }
    size_t got = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    log_line("%s: bytes=%zu data=%016llx", what, got,
             (unsigned long long)hash_bytes(0, bytes, got));
}

/* Opened by nobody else and new; or only to be read from then on. */
static void write_beside(struct session *s, const char *path, int amode)
{
    MPI_File file;
    MPI_Status status;
    int value[8], count = -1;
    for (int i = 0; i < 8; i++)
        value[i] = s->rank * 8 + i;
    int error = MPI_File_open(s->comm, path, amode, MPI_INFO_NULL, &file);
    log_line("open beside amode=%#x error=%s", (unsigned)amode, error_name(error));
    if (error != MPI_SUCCESS)
        return;
    if (!(amode & MPI_MODE_SEQUENTIAL)) {
        error = MPI_File_write_at_all(file, 32 * s->rank, value, 8, MPI_INT, &status);
    } else {
        error = MPI_File_write_at(file, 0, value, 8, MPI_INT, &status);
        log_line("write_at sequential error=%s", error_name(error));
        error = MPI_File_seek(file, 0, MPI_SEEK_SET);
        log_line("seek sequential error=%s", error_name(error));
        error = MPI_File_write_ordered(file, value, 8, MPI_INT, &status);
    }
    if (error == MPI_SUCCESS)
        MPI_Get_count(&status, MPI_INT, &count);
    log_line("write beside error=%s count=%d", error_name(error), count);
    error = MPI_File_close(&file);
    log_line("close beside error=%s", error_name(error));
}

/* Made, read without MPI, renamed or made again, deleted. */
static void files_beside(struct session *s)
{
    char path[4300], moved[4400];
    int amode = rng_chance(&s->random, 30) ? MPI_MODE_WRONLY | MPI_MODE_SEQUENTIAL : MPI_MODE_RDWR;
    if (rng_chance(&s->random, 30))
        amode |= MPI_MODE_EXCL;
    if (rng_chance(&s->random, 30))
        amode |= MPI_MODE_DELETE_ON_CLOSE;
    bool rename_it = rng_chance(&s->random, 40);
    if (s->alone)
        return;
    snprintf(path, sizeof(path), "%s-beside", s->path);
    snprintf(moved, sizeof(moved), "%s-moved", s->path);
    write_beside(s, path, amode | MPI_MODE_CREATE);
    if (s->rank == 0) {
        log_beside("beside", path);
        if (rename_it)
            log_line("rename=%d", rename(path, moved));
    }
    MPI_Barrier(s->comm);
    write_beside(s, path, MPI_MODE_RDWR | (rng_chance(&s->random, 50) ? MPI_MODE_CREATE : 0));
    if (s->rank == 0) {
        log_beside("moved", moved);
        log_line("delete moved error=%s", error_name(MPI_File_delete(moved, MPI_INFO_NULL)));
        log_line("delete error=%s", error_name(MPI_File_delete(path, MPI_INFO_NULL)));
        log_beside("deleted", path);
    }
    MPI_Barrier(s->comm);
}

void op_attributes(struct session *s, struct handle *h)
{
    switch (rng_below(&s->random, 5)) {
    case 0:
        set_info(s, h);
        break;
    case 1:
        error_handlers(s, h->file);
        break;
    case 2:
        error_handlers(s, MPI_FILE_NULL);
        break;
    case 3:
        log_info(h->file);
        break;
    default:
        files_beside(s);
    }
}
