/* SPDX-License-Identifier: BSD-3-Clause */
#include "process.h"

#include "store_helpers.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

pid_t process_start(int (*body)(void *context), void *context)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    _exit(body(context));
}

enum process_end process_wait(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return PROCESS_KILLED;
    if (WIFSIGNALED(status))
        fail_msg("process %d was ended by signal %d", (int)pid, WTERMSIG(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return PROCESS_EXITED;
}

enum process_end process_run(int (*body)(void *context), void *context)
{
    return process_wait(process_start(body, context));
}

void process_die_in(uint64_t ns)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct itimerspec when = {.it_value = {(time_t)(ns / 1000000000), (long)(ns % 1000000000) + 1}};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 ||
        timer_settime(timer, 0, &when, NULL) != 0)
        _exit(1);
}

/* Waits at most so long; -1 if the child did not end. */
static int wait_seconds(pid_t pid, unsigned seconds)
{
    int status;
    for (unsigned i = 0; i < seconds * 100; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        usleep(10000);
    }
    return -1;
}

int process_guard(int (*tests)(void), unsigned seconds)
{
    char directory[256];
    int status;
    test_directory(directory, sizeof directory);
    setenv("TMPDIR", directory, 1);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        exit(tests());
    }
    status = pid < 0 ? 1 : wait_seconds(pid, seconds);
    if (status < 0) {
        fprintf(stderr, "no end after %u s: a lock is stuck\n", seconds);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        status = 1;
    }
    test_remove_directory(directory);
    return status;
}
