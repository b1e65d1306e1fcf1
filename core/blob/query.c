/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking for tags and blobs by regular expression: the names are copied first, so that neither the
 * matching nor the visitor holds a lock. */
#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "blob/observe.h"
#include "blob/tag.h"

static cte_status compile(const char *text, regex_t *regex)
{
    char reason[256];
    if (!text)
        return -EINVAL;
    int error = regcomp(regex, text, REG_EXTENDED | REG_NOSUB);
    if (error == 0)
        return CTE_OK;
    if (error == REG_ESPACE)
        return -ENOMEM;
    regerror(error, regex, reason, sizeof reason);
    cte__log_error("regular expression '%s': %s", text, reason);
    return -EINVAL;
}

/* Calls `found` for each name that matches, `left` of them at most. */
static cte_status each_match(const struct cte__name_list *list, const regex_t *regex,
                             uint64_t *left, cte_status (*found)(void *context, const char *name),
                             void *context)
{
    cte_status status = CTE_OK;
    for (size_t at = 0; at<list->bytes && * left> 0 && status == CTE_OK;
         at += strlen(list->text + at) + 1) {
        int result = regexec(regex, list->text + at, 0, NULL, 0);
        if (result == REG_ESPACE)
            return -ENOMEM;
        if (result != 0)
            continue;
        (*left)--;
        status = found(context, list->text + at);
    }
    return status;
}

static uint64_t limit_of(uint64_t max)
{
    return max > 0 ? max : UINT64_MAX;
}

static cte_status check_scope(cte_query_scope scope)
{
    return scope == CTE_QUERY_LOCAL || scope == CTE_QUERY_GLOBAL ? CTE_OK : -EINVAL;
}

/* ---- tags ----------------------------------------------------------------------------------- */

struct tag_query {
    struct cte__store *store;
    cte_tag_visitor visit;
    void *context;
};

static cte_status found_tag(void *context, const char *name)
{
    const struct tag_query *query = context;
    struct cte__user_tag tag;
    cte_status status = cte__user_tag_open(query->store, name, CTE__USER_TAG_OPEN, &tag);
    if (status == CTE_ERR_NOT_FOUND)
        return CTE_OK; /* deleted meanwhile */
    return status == CTE_OK ? query->visit(query->context, name, cte__user_tag_id(&tag)) : status;
}

/* Calls `found` for the tags of a client that match. */
static cte_status each_tag(struct cte__store *store, const char *regex_text, uint64_t max,
                           cte_status (*found)(void *context, const char *name), void *context)
{
    struct cte__name_list list = {0};
    uint64_t left = limit_of(max);
    regex_t regex;
    cte_status status = compile(regex_text, &regex);
    if (status != CTE_OK)
        return status;
    status = cte__user_tag_names(store, &list);
    if (status == CTE_OK)
        status = each_match(&list, &regex, &left, found, context);
    regfree(&regex);
    free(list.text);
    return status;
}

cte_status cte_tag_query(cte_client *client, const char *regex, cte_query_scope scope, uint64_t max,
                         cte_tag_visitor visit, void *context)
{
    struct tag_query query = {.visit = visit, .context = context};
    cte_status status = visit ? check_scope(scope) : -EINVAL;
    if (status == CTE_OK)
        status = cte__client_store(client, &query.store);
    if (status != CTE_OK)
        return status;
    uint64_t start = cte__observe_begin(query.store);
    status = each_tag(query.store, regex, max, found_tag, &query);
    return cte__observe_tag(query.store, start, CTE_OP_QUERY, 0, 0, status);
}

/* ---- blobs ---------------------------------------------------------------------------------- */

struct blob_query {
    struct cte__store *store;
    regex_t regex; /* of blobs */
    uint64_t left;
    const char *tag; /* that is being looked through */
    cte_blob_visitor visit;
    void *context;
};

static cte_status found_blob(void *context, const char *name)
{
    const struct blob_query *query = context;
    return query->visit(query->context, query->tag, name);
}

static cte_status look_through_tag(void *context, const char *name)
{
    struct blob_query *query = context;
    struct cte__name_list list = {0};
    struct cte__user_tag tag;
    if (query->left == 0)
        return CTE_OK;
    query->tag = name;
    cte_status status = cte__user_tag_open(query->store, name, CTE__USER_TAG_OPEN, &tag);
    if (status == CTE_OK)
        status = cte__user_tag_blobs(query->store, &tag, &list);
    if (status == CTE_OK)
        status = each_match(&list, &query->regex, &query->left, found_blob, query);
    else if (status == CTE_ERR_NOT_FOUND)
        status = CTE_OK; /* deleted meanwhile */
    free(list.text);
    return status;
}

cte_status cte_blob_query(cte_client *client, const char *tag_regex, const char *blob_regex,
                          cte_query_scope scope, uint64_t max, cte_blob_visitor visit,
                          void *context)
{
    struct blob_query query = {.left = limit_of(max), .visit = visit, .context = context};
    cte_status status = visit ? check_scope(scope) : -EINVAL;
    if (status == CTE_OK)
        status = cte__client_store(client, &query.store);
    if (status == CTE_OK)
        status = compile(blob_regex, &query.regex);
    if (status != CTE_OK)
        return status;
    uint64_t start = cte__observe_begin(query.store);
    status = each_tag(query.store, tag_regex, 0, look_through_tag, &query);
    regfree(&query.regex);
    return cte__observe_tag(query.store, start, CTE_OP_QUERY, 0, 0, status);
}

cte_status cte_tag_list_matching(cte_tag *tag, const char *regex_text, uint64_t max,
                                 cte_name_visitor visit, void *context)
{
    struct cte__name_list list = {0};
    uint64_t left = limit_of(max);
    regex_t regex;
    if (!tag || !visit)
        return -EINVAL;
    cte_status status = compile(regex_text, &regex);
    if (status != CTE_OK)
        return status;
    uint64_t start = cte__observe_begin(tag->store);
    status = cte__user_tag_blobs(tag->store, &tag->tag, &list);
    if (status == CTE_OK)
        status = each_match(&list, &regex, &left, visit, context);
    regfree(&regex);
    free(list.text);
    return cte__observe_tag(tag->store, start, CTE_OP_QUERY, tag->tag.id, 0, status);
}
