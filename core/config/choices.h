/* SPDX-License-Identifier: BSD-3-Clause */
/* Words that a program adds to the choices of a key while it runs. */
#ifndef CTE_CORE_CONFIG_CHOICES_H
#define CTE_CORE_CONFIG_CHOICES_H

#include <stdbool.h>
#include <stdint.h>

#include <cte/status.h>

enum { CTE__CONFIG_ADDED_MAX = 16 };

/* From now on `word` is a value of this CHOICE_TEXT key.  `word` must last for ever; the caller
 * sees to it that one key's words are added one at a time.  -ENOSPC: too many words. */
cte_status cte__config_choice_add(const char *section, const char *name, const char *word);

/* The word number `index` that was added to a key; NULL behind the last one. */
const char *cte__config_choice_added(const char *section, const char *name, uint32_t index);

#endif
