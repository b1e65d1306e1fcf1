/* SPDX-License-Identifier: BSD-3-Clause */
/* The line that says how far long work is. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "terminal.h"

#define NS_PER_S  UINT64_C(1000000000)
#define REDRAW_NS UINT64_C(100000000)

enum { BAR_COLUMNS = 20, COLUMNS_DEFAULT = 80, LINE_BYTES = 1024 };

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static int columns(void)
{
    struct winsize size;
    bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : COLUMNS_DEFAULT;
}

/* "[#####     ]  45% " */
static int put_bar(const struct progress *progress, char *line, size_t bytes)
{
    char bar[BAR_COLUMNS + 1];
    uint64_t done = progress->done < progress->total ? progress->done : progress->total;
    double part = (double)done / (double)progress->total;
    int full = (int)(part * BAR_COLUMNS);
    memset(bar, '#', (size_t)full);
    memset(bar + full, ' ', (size_t)(BAR_COLUMNS - full));
    bar[BAR_COLUMNS] = '\0';
    return snprintf(line, bytes, " [%s] %3d%%", bar, (int)(part * 100));
}

static int put_time_left(const struct progress *progress, double per_s, char *line, size_t bytes)
{
    uint64_t left = progress->total > progress->done ? progress->total - progress->done : 0;
    if (per_s <= 0 || left == 0)
        return 0;
    uint64_t seconds = (uint64_t)((double)left / per_s) + 1;
    if (seconds >= 3600)
        return snprintf(line, bytes, ", %lluh%02llum left", (unsigned long long)seconds / 3600,
                        (unsigned long long)seconds / 60 % 60);
    return snprintf(line, bytes, ", %llu:%02llu left", (unsigned long long)seconds / 60,
                    (unsigned long long)seconds % 60);
}

/* "draining [####    ]  45%, 1.2 GiB of 2.6 GiB, 800 MiB/s, 0:02 left: /pfs/out.h5" */
static void put_line(const struct progress *progress, char line[LINE_BYTES])
{
    char done[SIZE_TEXT_BYTES], total[SIZE_TEXT_BYTES], rate[SIZE_TEXT_BYTES];
    double seconds = (double)(now_ns() - progress->begin_ns) / (double)NS_PER_S;
    double per_s = seconds > 0 ? (double)progress->done / seconds : 0;
    format_size(done, progress->done);
    format_size(total, progress->total);
    format_size(rate, (uint64_t)per_s);
    int n = snprintf(line, LINE_BYTES, "%.40s", progress->verb);
    if (progress->total > 0) {
        n += put_bar(progress, line + n, LINE_BYTES - (size_t)n);
        n += snprintf(line + n, LINE_BYTES - (size_t)n, ", %s of %s, %s/s", done, total, rate);
        n += put_time_left(progress, per_s, line + n, LINE_BYTES - (size_t)n);
    } else {
        n += snprintf(line + n, LINE_BYTES - (size_t)n, " %s, %s/s", done, rate);
    }
    if (progress->what[0])
        snprintf(line + n, LINE_BYTES - (size_t)n, ": %s", progress->what);
}

static void wipe(struct progress *progress)
{
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}

/* With the lock held. */
static void draw(struct progress *progress)
{
    char line[LINE_BYTES];
    put_line(progress, line);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    fprintf(stderr, "\r%.*s\033[K", columns() - 1, line);
    fflush(stderr);
    progress->drawn = true;
    progress->drawn_ns = now_ns();
}

void progress_begin(struct progress *progress, const char *verb, uint64_t total)
{
    const char *terminal = getenv("TERM");
    *progress = (struct progress){.verb = verb, .total = total, .begin_ns = now_ns()};
    progress->terminal =
        isatty(STDERR_FILENO) && terminal && terminal[0] && strcmp(terminal, "dumb") != 0;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&progress->lock, NULL);
    pthread_cond_init(&progress->stop, &attributes);
    pthread_condattr_destroy(&attributes);
}

static void *watch(void *context)
{
    struct progress *progress = context;
    pthread_mutex_lock(&progress->lock);
    while (!progress->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (long)REDRAW_NS;
        until.tv_sec += until.tv_nsec / (long)NS_PER_S;
        until.tv_nsec %= (long)NS_PER_S;
        pthread_cond_timedwait(&progress->stop, &progress->lock, &until);
        if (progress->stopping)
            break;
        pthread_mutex_unlock(&progress->lock);
        uint64_t done = progress->sample(progress->context);
        pthread_mutex_lock(&progress->lock);
        progress->done = done;
        draw(progress);
    }
    pthread_mutex_unlock(&progress->lock);
    return NULL;
}

/* Signals are for the thread that works. */
void progress_watch(struct progress *progress, uint64_t (*sample)(void *context), void *context)
{
    sigset_t all, before;
    if (!progress->terminal || progress->threaded)
        return;
    progress->sample = sample;
    progress->context = context;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    progress->threaded = pthread_create(&progress->thread, NULL, watch, progress) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void progress_set(struct progress *progress, uint64_t done, const char *what)
{
    if (!progress->terminal)
        return;
    pthread_mutex_lock(&progress->lock);
    if (!progress->threaded)
        progress->done = done;
    if (what)
        snprintf(progress->what, sizeof progress->what, "%s", what);
    if (!progress->drawn || now_ns() - progress->drawn_ns >= REDRAW_NS)
        draw(progress);
    pthread_mutex_unlock(&progress->lock);
}

void progress_hide(struct progress *progress)
{
    if (!progress->terminal)
        return;
    pthread_mutex_lock(&progress->lock);
    wipe(progress);
    fflush(stderr);
}

void progress_show(struct progress *progress)
{
    if (!progress->terminal)
        return;
    fflush(stdout);
    pthread_mutex_unlock(&progress->lock);
}

void progress_end(struct progress *progress)
{
    if (progress->threaded) {
        pthread_mutex_lock(&progress->lock);
        progress->stopping = true;
        pthread_cond_signal(&progress->stop);
        pthread_mutex_unlock(&progress->lock);
        pthread_join(progress->thread, NULL);
    }
    wipe(progress);
    fflush(stderr);
    pthread_cond_destroy(&progress->stop);
    pthread_mutex_destroy(&progress->lock);
}
