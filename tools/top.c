/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte top`: tiers and rates while programs run.
 *
 * One function lays out the lines of a sample, as many and as wide as there is room for; they go to
 * a screen (ncurses), or one after the other to whatever standard output is. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef CTE_HAVE_NCURSES
#include <curses.h>
#endif

#include "command.h"
#include "json.h"
#include "sample.h"
#include "terminal.h"

enum { LINE_BYTES = 768, BAR_COLUMNS = 20, PLAIN_COLUMNS = 120, PLAIN_FILES = 10 };

struct top_options {
    bool once, plain;
    double interval;
    uint64_t count; /* 0: no limit */
};

/* Receives the lines of a sample. */
struct page {
    void (*put)(int row, enum tone tone, const char *text, int columns);
    int row, rows, columns;
};

static void put_line(struct page *page, enum tone tone, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void put_line(struct page *page, enum tone tone, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list arguments;
    if (page->row >= page->rows)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    page->put(page->row++, tone, line, page->columns);
}

/* ---- the lines ------------------------------------------------------------------------------ */

static void put_head(struct page *page, const struct sample *now)
{
    char clock[TIME_TEXT_BYTES];
    format_time(clock, (uint64_t)time(NULL) * 1000000000);
    put_line(page, TONE_STRONG, "%s  %s", clock, now->path);
    if (!now->store) {
        put_line(page, TONE_PLAIN, "there is no store yet");
        return;
    }
    put_line(page, TONE_PLAIN, "%u processes; %u files, %u open, %u not drained; metadata %s of %s",
             now->processes, now->file_count, now->open_count, now->dirty_count,
             size_text(now->metadata_bytes, false).text,
             size_text(now->metadata_capacity_bytes, false).text);
}

static void put_target(struct page *page, const cte_target_info *t, const struct rate *rate)
{
    char bar[BAR_COLUMNS + 1];
    uint64_t used = t->capacity_bytes - t->free_bytes;
    double part = t->capacity_bytes > 0 ? (double)used / (double)t->capacity_bytes : 0;
    int full = (int)(part * BAR_COLUMNS + 0.5);
    memset(bar, '|', (size_t)full);
    memset(bar + full, '.', (size_t)(BAR_COLUMNS - full));
    bar[BAR_COLUMNS] = '\0';
    enum tone tone = t->state == CTE_TARGET_FAILED ? TONE_BAD
                     : part > 0.9                  ? TONE_WARNING
                                                   : TONE_PLAIN;
    put_line(page, tone, "%-7s %5.2f [%s] %3d%% %9s %9s/s %9s/s %8.0f  %s%s", t->kind,
             (double)t->score, bar, (int)(part * 100), size_text(used, false).text,
             size_text((uint64_t)rate->bytes_written, false).text,
             size_text((uint64_t)rate->bytes_read, false).text, rate->writes + rate->reads,
             t->state == CTE_TARGET_FAILED     ? "FAILED "
             : t->state == CTE_TARGET_DRAINING ? "draining "
                                               : "",
             t->label[0] ? t->label : t->name);
}

static void put_files(struct page *page, const struct sample *now)
{
    uint32_t known = now->file_count < SAMPLE_FILES_MAX ? now->file_count : SAMPLE_FILES_MAX;
    if (known == 0)
        return;
    put_line(page, TONE_PLAIN, " ");
    put_line(page, TONE_STRONG, "%9s %-11s %-4s  %s", "SIZE", "DRAINED", "OPEN", "FILE");
    for (uint32_t i = 0; i < known; i++) {
        const struct sample_file *file = &now->files[i];
        put_line(page, file->dirty ? TONE_WARNING : TONE_PLAIN, "%9s %-11s %-4s  %s",
                 size_text(file->size_bytes, false).text, file->dirty ? "not yet" : "yes",
                 file->open ? "yes" : "no", file->path);
    }
}

static void put_sample(struct page *page, const struct sample *before, const struct sample *now)
{
    put_head(page, now);
    if (!now->store)
        return;
    put_line(page, TONE_PLAIN, " ");
    put_line(page, TONE_STRONG, "%-7s %5s %-27s %9s %11s %11s %8s  %s", "KIND", "SCORE", "", "USED",
             "WRITTEN", "READ", "OPS/S", "TARGET");
    for (uint32_t i = 0; i < now->target_count; i++) {
        struct rate rate = target_rate(before, now, i);
        put_target(page, &now->targets[i], &rate);
    }
    put_files(page, now);
}

/* ---- to standard output --------------------------------------------------------------------- */

static void put_plain(int row, enum tone tone, const char *text, int columns)
{
    (void)row;
    (void)columns;
    print_toned(tone, text);
    putchar('\n');
}

static void print_plain(const struct sample *before, const struct sample *now)
{
    struct page page = {.put = put_plain,
                        .rows = (int)now->target_count + PLAIN_FILES + 6,
                        .columns = PLAIN_COLUMNS};
    put_sample(&page, before, now);
    putchar('\n');
}

static void print_target_json(const cte_target_info *t, const struct rate *rate)
{
    json_object(NULL);
    json_text("name", t->name);
    json_text("kind", t->kind);
    json_text("state", t->state == CTE_TARGET_FAILED     ? "failed"
                       : t->state == CTE_TARGET_DRAINING ? "draining"
                                                         : "active");
    json_real("score", (double)t->score, -1);
    json_uint("capacity_bytes", t->capacity_bytes);
    json_uint("used_bytes", t->capacity_bytes - t->free_bytes);
    json_real("bytes_written_per_s", rate->bytes_written, 0);
    json_real("bytes_read_per_s", rate->bytes_read, 0);
    json_real("writes_per_s", rate->writes, 1);
    json_real("reads_per_s", rate->reads, 1);
    json_end();
}

static void print_json(const struct sample *before, const struct sample *now)
{
    json_object(NULL);
    json_text("store", now->store ? now->path : NULL);
    json_real("seconds", sample_seconds(before, now), 3);
    json_uint("processes", now->processes);
    json_uint("files", now->file_count);
    json_uint("files_open", now->open_count);
    json_uint("files_dirty", now->dirty_count);
    json_uint("metadata_bytes", now->metadata_bytes);
    json_uint("metadata_capacity_bytes", now->metadata_capacity_bytes);
    json_array("targets");
    for (uint32_t i = 0; i < now->target_count; i++) {
        struct rate rate = target_rate(before, now, i);
        print_target_json(&now->targets[i], &rate);
    }
    json_end();
    json_end();
    json_finish(NULL);
}

/* ---- to a screen ---------------------------------------------------------------------------- */

#ifdef CTE_HAVE_NCURSES
static void put_screen(int row, enum tone tone, const char *text, int columns)
{
    int attribute = tone == TONE_STRONG ? A_BOLD : tone == TONE_PLAIN ? 0 : COLOR_PAIR(tone);
    attron(attribute);
    mvaddnstr(row, 0, text, columns);
    attroff(attribute);
}

static void show_screen(const struct sample *before, const struct sample *now)
{
    struct page page = {.put = put_screen, .rows = LINES - 1, .columns = COLS};
    erase();
    put_sample(&page, before, now);
    mvaddnstr(LINES - 1, 0, "q: quit", COLS);
    refresh();
}

static void open_screen(void)
{
    const char *no_colour = getenv("NO_COLOR");
    initscr();
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, TRUE);
    if (has_colors() && !(no_colour && no_colour[0])) {
        start_color();
        use_default_colors();
        init_pair(TONE_GOOD, COLOR_GREEN, -1);
        init_pair(TONE_WARNING, COLOR_YELLOW, -1);
        init_pair(TONE_BAD, COLOR_RED, -1);
    }
}

/* True if the user wants to end it. */
static bool wait_on_screen(double seconds, const struct sample *before, const struct sample *now)
{
    timeout((int)(seconds * 1000));
    for (;;) {
        int key = getch();
        if (key == KEY_RESIZE)
            show_screen(before, now);
        else
            return key == 'q' || key == 'Q' || key == 27;
    }
}

static bool on_screen(const struct invocation *in)
{
    const struct top_options *options = in->options;
    const char *terminal = getenv("TERM");
    return !in->json && !options->once && !options->plain && isatty(STDOUT_FILENO) &&
           isatty(STDIN_FILENO) && terminal && terminal[0] && strcmp(terminal, "dumb") != 0;
}

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
    stopped = signal;
}

/* Leaves the terminal as it was, also when a signal ends it. */
static int run_on_screen(const struct invocation *in, struct sample samples[2])
{
    const struct top_options *options = in->options;
    const struct sigaction action = {.sa_handler = stop};
    int result = EXIT_OK, now = 0;
    uint64_t shown = 0;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    open_screen();
    for (; !stopped; now = !now) {
        result = take_sample(in, &samples[now]);
        if (result != EXIT_OK && result != EXIT_NO_STORE)
            break;
        result = EXIT_OK;
        show_screen(&samples[!now], &samples[now]);
        if (++shown == options->count ||
            wait_on_screen(options->interval, &samples[!now], &samples[now]))
            break;
    }
    endwin();
    if (result != EXIT_OK)
        fprintf(stderr, "cte: %s\n", first_complaint());
    return stopped ? 128 + stopped : result;
}
#else
static bool on_screen(const struct invocation *in)
{
    (void)in;
    return false;
}

static int run_on_screen(const struct invocation *in, struct sample samples[2])
{
    (void)samples;
    return complain_usage(in, "this build has no screen");
}
#endif

/* ---- the command ---------------------------------------------------------------------------- */

static void sleep_for(double seconds)
{
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

/* The first sample is what the rates of the next one are counted from. */
static int run_plain(const struct invocation *in, struct sample samples[2])
{
    const struct top_options *options = in->options;
    uint64_t most = options->once ? 1 : options->count;
    int now = 0;
    for (uint64_t taken = 0; most == 0 || taken <= most; taken++, now = !now) {
        int result = take_sample(in, &samples[now]);
        if (result == EXIT_NO_STORE && options->once)
            complain("there is no store %s", samples[now].path);
        if (result != EXIT_OK && (result != EXIT_NO_STORE || options->once))
            return result;
        if (taken > 0 && in->json)
            print_json(&samples[!now], &samples[now]);
        else if (taken > 0)
            print_plain(&samples[!now], &samples[now]);
        if (fflush(stdout) != 0)
            break;
        if (taken != most || most == 0)
            sleep_for(options->interval);
    }
    return EXIT_OK;
}

static int run_top(const struct invocation *in)
{
    struct sample *samples = calloc(2, sizeof *samples);
    if (!samples)
        return complain("not enough memory");
    int result = on_screen(in) ? run_on_screen(in, samples) : run_plain(in, samples);
    free(samples);
    return result;
}

static const struct option_row rows[] = {
    {"interval", 'i', OPTION_SECONDS, offsetof(struct top_options, interval), 0, 3600,
     .value = "SECONDS", .help = "time between samples (default 1)"},
    {"count", 'n', OPTION_COUNT, offsetof(struct top_options, count), 1, UINT32_MAX, .value = "N",
     .help = "end after so many samples (default: when stopped)"},
    {"once", '1', OPTION_FLAG, offsetof(struct top_options, once),
     .help = "one sample, with the rates of one interval"},
    {"plain", 'p', OPTION_FLAG, offsetof(struct top_options, plain),
     .help = "print the samples one after the other on a terminal too"},
    {0},
};

static const struct top_options defaults = {.interval = 1};

const struct command command_top = {
    .name = "top",
    .synopsis = "[--interval SECONDS] [--count N | --once] [--plain] [--json]",
    .summary = "show tiers, rates and files while programs run",
    .description = "Shows how full the targets are, what is written to them and read from them a "
                   "second, and which files are not drained, until `q` is pressed.  Without a "
                   "terminal, or with --plain, --once or --json, samples are printed one after the "
                   "other.",
    .run = run_top,
    .options = rows,
    .defaults = &defaults,
    .options_bytes = sizeof(struct top_options),
};
