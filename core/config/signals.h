/* SPDX-License-Identifier: BSD-3-Clause */
/* The signals of `signals.drain_on`. */
#ifndef CTE_CORE_CONFIG_SIGNALS_H
#define CTE_CORE_CONFIG_SIGNALS_H

enum { CTE__SIGNALS = 5 };

/* Their numbers. */
extern const int cte__signal_numbers[CTE__SIGNALS];

/* One bit for each of them that a text names: some of term, usr1, usr2, int, xcpu, with commas
 * between, or "none".  -1 for any other text. */
int cte__signals_parse(const char *text);

#endif
