/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"

enum { DEPTH_MAX = 16 };

/* What is open, outermost first. */
static struct {
    bool array;
    bool filled;
} levels[DEPTH_MAX];

static int depth;
static bool ending; /* the document is complete but for its last brace */

/* ---- strings -------------------------------------------------------------------------------- */

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

/* Bytes that are not UTF-8 appear as the code points of the same value. */
static void put_string(const char *text)
{
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        int length = utf8_length(c);
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else if (length == 0 || *c < 0x20 || *c == 0x7f)
            printf("\\u%04x", *c);
        else
            fwrite(c, 1, (size_t)length, stdout);
        c += length > 0 ? length : 1;
    }
    putchar('"');
}

/* ---- structure ------------------------------------------------------------------------------ */

/* What stands before a value: comma, a line for an object in an array, the key. */
static void put_lead(const char *key, bool object)
{
    json_finish(NULL);
    if (depth > 0) {
        bool line = levels[depth - 1].array && object;
        if (levels[depth - 1].filled)
            fputs(line ? "," : ", ", stdout);
        levels[depth - 1].filled = true;
        if (line)
            printf("\n%*s", depth, "");
    }
    if (key) {
        put_string(key);
        fputs(": ", stdout);
    }
}

static void open_level(const char *key, bool array)
{
    put_lead(key, !array);
    putchar(array ? '[' : '{');
    if (depth == DEPTH_MAX)
        abort(); /* no document is as deep: a defect of the caller */
    levels[depth].array = array;
    levels[depth].filled = false;
    depth++;
}

void json_object(const char *key)
{
    open_level(key, false);
}

void json_array(const char *key)
{
    open_level(key, true);
}

void json_end(void)
{
    depth--;
    if (depth == 0)
        ending = true;
    else
        putchar(levels[depth].array ? ']' : '}');
}

/* ---- values --------------------------------------------------------------------------------- */

void json_text(const char *key, const char *text)
{
    put_lead(key, false);
    if (text)
        put_string(text);
    else
        fputs("null", stdout);
}

void json_uint(const char *key, uint64_t number)
{
    put_lead(key, false);
    printf("%llu", (unsigned long long)number);
}

void json_int(const char *key, int64_t number)
{
    put_lead(key, false);
    printf("%lld", (long long)number);
}

void json_real(const char *key, double number, int digits)
{
    put_lead(key, false);
    if (!isfinite(number))
        fputs("null", stdout);
    else if (digits < 0)
        printf("%g", number);
    else
        printf("%.*f", digits, number);
}

void json_bool(const char *key, bool value)
{
    put_lead(key, false);
    fputs(value ? "true" : "false", stdout);
}

void json_null(const char *key)
{
    json_text(key, NULL);
}

void json_finish(const char *error)
{
    if (error && ending)
        depth = 1;
    if (error) {
        ending = false;
        while (depth > 1)
            json_end();
        if (depth == 0)
            json_object(NULL);
        json_text("error", error);
        json_end();
    }
    if (ending)
        puts("}");
    ending = false;
}
