/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "terminal.h"

void print_name(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == 0x7f)
            printf("\\%03o", *c);
        else
            putchar(*c);
    }
}

void format_size(char text[SIZE_TEXT_BYTES], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double number = (double)bytes;
    int unit = 0;
    while (number >= 999.5 && unit < 6) {
        number /= 1024;
        unit++;
    }
    int digits = unit == 0 || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
    snprintf(text, SIZE_TEXT_BYTES, "%.*f %s", digits, number, units[unit]);
}

struct size_text size_text(uint64_t bytes, bool exact)
{
    struct size_text text;
    if (exact)
        snprintf(text.text, sizeof text.text, "%llu", (unsigned long long)bytes);
    else
        format_size(text.text, bytes);
    return text;
}

void format_time(char text[TIME_TEXT_BYTES], uint64_t ns)
{
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm local;
    if (ns == 0 || !localtime_r(&seconds, &local) ||
        strftime(text, TIME_TEXT_BYTES, "%F %T", &local) == 0)
        strcpy(text, "never");
}

static bool shows_colour(FILE *stream)
{
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return isatty(fileno(stream)) && !(no_colour && no_colour[0]) && terminal && terminal[0] &&
           strcmp(terminal, "dumb") != 0;
}

const char *tone_text(FILE *stream, enum tone tone)
{
    static const char *const texts[] = {"\033[0m", "\033[32m", "\033[33m", "\033[31m", "\033[1m"};
    return shows_colour(stream) ? texts[tone] : "";
}

void print_toned(enum tone tone, const char *text)
{
    printf("%s%s%s", tone_text(stdout, tone), text, tone_text(stdout, TONE_PLAIN));
}
