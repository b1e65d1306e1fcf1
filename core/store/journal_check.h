/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking what is kept of a store that is not in memory. */
#ifndef CTE_CORE_STORE_JOURNAL_CHECK_H
#define CTE_CORE_STORE_JOURNAL_CHECK_H

#include <stdint.h>

#include <cte/config.h>
#include <cte/status.h>

struct cte__journal_findings {
    uint64_t records;        /* of the journal, that were read */
    uint64_t places_damaged; /* in it */
    uint64_t blobs;          /* and pieces of files */
    uint64_t blobs_damaged;
    uint64_t bytes_read;
    uint64_t bytes_lost; /* that were in memory */
    uint64_t pages_used, pages_doubly;
};

/* Reads the journal of a configuration's store and every page that it speaks of; nobody has the
 * store.  CTE_ERR_NOT_FOUND if there is none.  `say` gets each finding in words. */
cte_status cte__journal_check(const cte_config *config, uint64_t store_id,
                              void (*say)(void *context, const char *text), void *context,
                              struct cte__journal_findings *findings);

#endif
