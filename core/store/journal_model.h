/* SPDX-License-Identifier: BSD-3-Clause */
/* What a journal says lives, in the memory of one process: read by restore.c and by checks. */
#ifndef CTE_CORE_STORE_JOURNAL_MODEL_H
#define CTE_CORE_STORE_JOURNAL_MODEL_H

#include "store/journal.h"

/* Where findings go, in words; `count` of them so far. */
struct cte__journal_tell {
    void (*say)(void *context, const char *text);
    void *context;
    uint64_t count;
};

void cte__journal_say(struct cte__journal_tell *tell, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A target that records refer to, whatever number it had. */
struct cte__model_target {
    struct cte__model_target *next;
    char kind[16];
    char path[PATH_MAX];
    uint64_t capacity_bytes, arena_bytes;
    bool survives;
    bool referenced; /* by a blob that lives */
    uint32_t *sums;  /* one per page, as told last; NULL: none */
};

/* What numbers stood for: changes with each record of a target. */
struct cte__model_numbers {
    struct cte__model_numbers *before;
    struct cte__model_target *target[CTE__TARGETS_MAX];
};

/* The last record of a tag, file or blob. */
struct cte__model_item {
    struct cte__record record;
    uint64_t hash;
    uint64_t order; /* of the record among all */
    const struct cte__model_numbers *numbers;
};

struct cte__model {
    char path[PATH_MAX];
    struct cte__journal_header header; /* of the last generation */
    struct {
        char *bytes;
        uint64_t count;
    } text[2];
    struct cte__model_target *targets;
    struct cte__model_numbers *numbers;
    struct cte__model_item *items;
    size_t item_count, item_capacity;
    uint32_t *slots; /* index of an item + 1 */
    size_t slot_count;
    uint64_t records;     /* read */
    uint64_t bytes;       /* of the files */
    uint64_t damaged;     /* places that are no records */
    uint64_t holes;       /* of them those that are not the end, where a power loss tears it */
    uint64_t tags, files; /* that live */
    uint64_t blobs;       /* and chunks, of tags and files that live */
    uint64_t tag_id_max;
};

/* Finds the journal of a configuration's store, whatever targets it names: CTE_ERR_NOT_FOUND if
 * there is none.  Refuses with a message what cannot be read, and two that differ. */
cte_status cte__model_find(const cte_config *config, uint64_t store_id, char path[PATH_MAX]);

/* Reads a journal.  Damage is told, and what is behind it read on.  Free with cte__model_free(). */
cte_status cte__model_load(const char *path, uint64_t store_id, struct cte__journal_tell *tell,
                           struct cte__model **out);
void cte__model_free(struct cte__model *model);

/* True if it holds anything that a store should be made for. */
bool cte__model_lives(const struct cte__model *model);

/* The record of the tag or file of an id, of a blob's key; NULL if it does not live. */
const struct cte__model_item *cte__model_tag(const struct cte__model *model, uint64_t id);
const struct cte__model_item *cte__model_blob(const struct cte__model *model,
                                              const struct cte__record_blob *key);

/* The target a page of an item lies on. */
static inline struct cte__model_target *cte__model_target_of(const struct cte__model_item *item,
                                                             cte__page page)
{
    return item->numbers->target[cte__page_target(page)];
}

/* The checksum of a page of a target. */
static inline uint32_t cte__model_sum(const struct cte__model_target *target, cte__page page)
{
    return target->sums ? target->sums[cte__page_number(page)] : 0;
}

/* The bytes of an item's record, as words: "tag t, blob b" or "file f, piece at byte n". */
void cte__model_describe(const struct cte__model *model, const struct cte__record_blob *blob,
                         char *text, size_t bytes);

#endif
