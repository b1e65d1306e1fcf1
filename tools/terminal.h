/* SPDX-License-Identifier: BSD-3-Clause */
/* What people see: names, sizes, colours, and how far long work is. */
#ifndef CTE_TOOLS_TERMINAL_H
#define CTE_TOOLS_TERMINAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* A name or path on standard output: control characters as \ooo. */
void print_name(const char *text);

enum { SIZE_TEXT_BYTES = 32, TIME_TEXT_BYTES = 32 };

/* "1.5 GiB", "47 KiB", "812 B": three figures. */
void format_size(char text[SIZE_TEXT_BYTES], uint64_t bytes);

struct size_text {
    char text[SIZE_TEXT_BYTES];
};

/* The same as a value, or (`exact`) the number alone. */
struct size_text size_text(uint64_t bytes, bool exact);

/* "2026-01-31 17:05:12", of nanoseconds after 1970; "never" for 0. */
void format_time(char text[TIME_TEXT_BYTES], uint64_t ns);

/* ---- colour --------------------------------------------------------------------------------- */

enum tone { TONE_PLAIN, TONE_GOOD, TONE_WARNING, TONE_BAD, TONE_STRONG };

/* What switches a stream to a tone; "" unless it is a terminal that shows colours and NO_COLOR is
 * not set. */
const char *tone_text(FILE *stream, enum tone tone);

/* Prints words in a tone on standard output. */
void print_toned(enum tone tone, const char *text);

/* ---- progress ------------------------------------------------------------------------------- */

/* How far long work is: a line on standard error while that is a terminal, else nothing.
 *
 *     struct progress progress;
 *     progress_begin(&progress, "draining", total_bytes);
 *     … progress_set(&progress, bytes_done, "the file at hand") …
 *     progress_end(&progress);
 *
 * Between progress_begin() and progress_end(), what goes to standard output or error stands between
 * progress_hide() and progress_show(). */
struct progress {
    const char *verb;
    uint64_t total, done; /* bytes; total 0: not known */
    uint64_t begin_ns, drawn_ns;
    bool terminal, drawn;
    char what[256];
    uint64_t (*sample)(void *context);
    void *context;
    pthread_mutex_t lock;
    pthread_cond_t stop;
    pthread_t thread;
    bool threaded, stopping;
};

void progress_begin(struct progress *progress, const char *verb, uint64_t total);

/* For work inside one call of the library: a thread asks `sample` how many bytes are done, a few
 * times a second.  It is called from that thread only, until progress_end(). */
void progress_watch(struct progress *progress, uint64_t (*sample)(void *context), void *context);

/* Thread-safe; cheap enough to be called for every piece.  `what` NULL: as before. */
void progress_set(struct progress *progress, uint64_t done, const char *what);

void progress_hide(struct progress *progress);
void progress_show(struct progress *progress);
void progress_end(struct progress *progress);

#endif
