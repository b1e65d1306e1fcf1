/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdarg.h>
#include <stdio.h>

#include "tool.h"

int complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("cte: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return EXIT_FAILED;
}

void print_name(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == 0x7f)
            printf("\\%03o", *c);
        else
            putchar(*c);
    }
}

/* Length of the UTF-8 sequence that begins at `c`, 0 if there is none. */
static int utf8_length(const unsigned char *c)
{
    static const struct {
        unsigned char mask, lead;
        int length;
    } forms[] = {{0x80, 0x00, 1}, {0xe0, 0xc0, 2}, {0xf0, 0xe0, 3}, {0xf8, 0xf0, 4}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if ((c[0] & forms[i].mask) != forms[i].lead)
            continue;
        for (int n = 1; n < forms[i].length; n++)
            if ((c[n] & 0xc0) != 0x80)
                return 0;
        /* Overlong forms, surrogates and what lies beyond Unicode are not UTF-8. */
        bool bad = c[0] == 0xc0 || c[0] == 0xc1 || (c[0] == 0xe0 && c[1] < 0xa0) ||
                   (c[0] == 0xed && c[1] > 0x9f) || (c[0] == 0xf0 && c[1] < 0x90) ||
                   (c[0] == 0xf4 && c[1] > 0x8f) || c[0] > 0xf4;
        return bad ? 0 : forms[i].length;
    }
    return 0;
}

void print_json_string(const char *text)
{
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        int length = utf8_length(c);
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else if (length == 0 || *c < 0x20)
            printf("\\u%04x", *c);
        else
            fwrite(c, 1, (size_t)length, stdout);
        c += length > 0 ? length : 1;
    }
    putchar('"');
}
