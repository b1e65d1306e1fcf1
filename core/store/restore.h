/* SPDX-License-Identifier: BSD-3-Clause */
/* Making a store anew from its journal, after all of its memory is gone. */
#ifndef CTE_CORE_STORE_RESTORE_H
#define CTE_CORE_STORE_RESTORE_H

#include "store/journal_model.h"

/* What the journal of a configuration's store holds; NULL: there is none, or nothing lives.
 * Refuses what would lose data: targets that are needed and not configured as they were. */
cte_status cte__restore_load(const cte_config *config, uint64_t store_id,
                             struct cte__model **model);

/* True if the contents of a target are needed: it is opened, not made. */
bool cte__restore_needs(const struct cte__model *model, const struct cte__target_record *record);

/* Puts everything that a model holds into a freshly formatted store that nobody else has.  What
 * was lost with the memory is logged. */
cte_status cte__restore_apply(struct cte__store *store, const struct cte__model *model);

#endif
