/* SPDX-License-Identifier: BSD-3-Clause */
/* Changes of a store, each with a way to say what is there before and after. */
#ifndef CTE_TESTS_CRASH_SCENARIOS_H
#define CTE_TESTS_CRASH_SCENARIOS_H

#include "store_helpers.h"

#include "blob/blob.h"
#include "file/client.h"

enum { SEEN_BYTES = 28 << 10 };

struct seen {
    bool exists, dirty;
    uint64_t size;
    unsigned char bytes[SEEN_BYTES];
    unsigned char stored[SEEN_BYTES]; /* chunks: which bytes the store has */
};

/* Where the scenarios are played. */
struct stage {
    char directory[256];
    char path[300]; /* a real file */
    cte_config *config;
    cte_client *client;
    struct cte__store *store;
    struct cte__user_tag blobs, others;
    cte__unit chunks; /* a file's record */
    struct cte__snapshot snapshot;
    unsigned checks;
};

struct scenario {
    const char *name;
    void (*prepare)(struct stage *stage);
    cte_status (*act)(struct stage *stage);
    void (*look)(struct stage *stage, struct seen *seen);
    bool loose; /* a failed act may have happened all the same */
};

extern const struct scenario scenarios[];
extern const size_t scenario_count;

/* By the public calls (scenarios_user.c). */
extern const struct scenario user_scenarios[];
extern const size_t user_scenario_count;
void user_scenarios_end(struct stage *stage);

void stage_open(struct stage *stage, const char *more);
void stage_close(struct stage *stage);

/* SEEN_BYTES random bytes, the same for a seed below 32. */
char *stage_bytes(uint64_t seed);

/* Takes back what the dead left, then: nothing lost, nothing stuck, puts and gets work; now and
 * then a newcomer sees the same. */
void stage_check(struct stage *stage);

#endif
