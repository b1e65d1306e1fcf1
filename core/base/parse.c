/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/parse.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Bits that a unit shifts by, or -1. */
static int unit_shift(const char *unit)
{
    static const char letters[] = "kmgtp";
    if (*unit == '\0' || strcasecmp(unit, "b") == 0)
        return 0;
    const char *letter = strchr(letters, tolower((unsigned char)*unit));
    if (!letter)
        return -1;
    unit++;
    if (*unit != '\0' && strcasecmp(unit, "b") != 0 && strcasecmp(unit, "ib") != 0)
        return -1;
    return 10 * (int)(letter - letters + 1);
}

cte_status cte__parse_bytes(const char *text, uint64_t *bytes)
{
    if (!isdigit((unsigned char)*text)) /* strtoull would take signs and blanks */
        return -EINVAL;
    char *unit;
    int saved_errno = errno;
    errno = 0;
    unsigned long long number = strtoull(text, &unit, 10);
    int error = errno;
    errno = saved_errno;
    int shift = unit_shift(unit);
    if (shift < 0)
        return -EINVAL;
    if (error == ERANGE || number > UINT64_MAX >> shift)
        return -ERANGE;
    *bytes = (uint64_t)number << shift;
    return CTE_OK;
}

cte_status cte__parse_float(const char *text, float *value)
{
    if (*text == '\0' || strspn(text, "0123456789.eE+-") != strlen(text))
        return -EINVAL; /* no blanks, hexadecimal, inf or nan */
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (plain == (locale_t)0)
        return -ENOMEM;
    char *end;
    float number = strtof_l(text, &end, plain);
    freelocale(plain);
    if (*end != '\0' || end == text || !isfinite(number))
        return -EINVAL;
    *value = number;
    return CTE_OK;
}
