/* SPDX-License-Identifier: BSD-3-Clause */
/* fio as the limit: it does all pieces of a phase itself, as many under way at a time as we have,
 * and says how long it took. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* Fields of version 3 of fio's terse output, counted from 0. */
enum {
    FIO_ERROR = 4,
    FIO_READ_RUNTIME_MS = 8,
    FIO_WRITE_RUNTIME_MS = 49,
    FIO_USER_PERCENT = 87,
    FIO_SYSTEM_PERCENT = 88,
    FIO_FIELDS_MIN = 89,
    FIO_OUTPUT_BYTES = 8192,
    FIO_ARGUMENT_BYTES = 64,
};

struct fio {
    char filename[BENCH_PATH_BYTES + 32];
};

static void fio_close(void *state)
{
    free(state);
}

static _Noreturn void be_fio(const struct bench_worker *worker, const struct fio *fio,
                             uint32_t processes, int out)
{
    const struct bench_options *options = worker->options;
    unsigned long long size = options->size_bytes, total = size * options->count;
    char bs[FIO_ARGUMENT_BYTES], bytes[FIO_ARGUMENT_BYTES], jobs[FIO_ARGUMENT_BYTES],
        offset[FIO_ARGUMENT_BYTES], depth[FIO_ARGUMENT_BYTES];
    snprintf(bs, sizeof bs, "--bs=%llu", size);
    snprintf(bytes, sizeof bytes, "--size=%llu", total);
    snprintf(offset, sizeof offset, "--offset_increment=%llu", total);
    snprintf(jobs, sizeof jobs, "--numjobs=%u", processes);
    snprintf(depth, sizeof depth, "--iodepth=%u", options->depth);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(out, STDOUT_FILENO) >= 0)
        execlp("fio", "fio", "--minimal", "--terse-version=3", "--name=limit", fio->filename,
               options->get ? "--rw=read" : "--rw=write", "--ioengine=io_uring", "--direct=1",
               "--thread", "--group_reporting", "--randrepeat=1", bs, bytes, offset, jobs, depth,
               options->get ? NULL : "--end_fsync=1", NULL);
    _exit(127);
}

/* Reads what fio prints, to its end; keeps what fits. */
static void read_output(int fd, char *text, size_t bytes)
{
    size_t count = 0;
    char rest[256];
    for (;;) {
        bool room = count + 1 < bytes;
        ssize_t n = read(fd, room ? text + count : rest, room ? bytes - count - 1 : sizeof rest);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        count += room ? (size_t)n : 0;
    }
    text[count] = '\0';
}

static bool parse_output(struct bench_worker *worker, char *text, uint32_t processes,
                         struct bench_mark *mark)
{
    char *fields[FIO_FIELDS_MIN] = {0};
    int count = 0;
    for (char *field; count < FIO_FIELDS_MIN && (field = strsep(&text, ";"));)
        fields[count++] = field;
    if (count < FIO_FIELDS_MIN || strcmp(fields[FIO_ERROR], "0") != 0)
        return bench_fail(worker, "fio did not print what was expected");
    double ms =
        strtod(fields[worker->options->get ? FIO_READ_RUNTIME_MS : FIO_WRITE_RUNTIME_MS], NULL);
    double percent =
        strtod(fields[FIO_USER_PERCENT], NULL) + strtod(fields[FIO_SYSTEM_PERCENT], NULL);
    if (!(ms > 0))
        return bench_fail(worker, "fio was done in no time: give more or larger pieces");
    *mark = (struct bench_mark){0, (uint64_t)(ms * 1e6),
                                (uint64_t)(ms * 1e6 * percent / 100 * processes)};
    return true;
}

static bool fio_run(struct bench_worker *worker, void *state, uint32_t processes,
                    struct bench_mark *mark)
{
    char text[FIO_OUTPUT_BYTES];
    int ends[2], status = 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return bench_fail(worker, "cannot start fio: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0)
        be_fio(worker, state, processes, ends[1]);
    close(ends[1]);
    if (pid > 0)
        read_output(ends[0], text, sizeof text);
    close(ends[0]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return bench_fail(worker, "cannot start fio: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return bench_fail(worker, "fio cannot be run: install it");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return bench_fail(worker, "fio failed");
    return parse_output(worker, text, processes, mark);
}

/* The file is written once before anything is timed, unless it is to be cold. */
static bool fio_open(struct bench_worker *worker, void **state)
{
    struct fio *fio = calloc(1, sizeof *fio);
    if (!fio)
        return bench_fail(worker, "not enough memory");
    snprintf(fio->filename, sizeof fio->filename, "--filename=%s/limit", worker->place->disk);
    *state = fio;
    struct bench_mark mark;
    if (worker->index > 0 || worker->options->cold ||
        fio_run(worker, fio, worker->options->processes, &mark))
        return true;
    free(fio);
    return false;
}

const struct bench_subject_ops bench_fio = {
    .open = fio_open,
    .close = fio_close,
    .run = fio_run,
};
