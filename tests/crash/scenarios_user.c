/* SPDX-License-Identifier: BSD-3-Clause */
/* Changes that programs make with the public calls: small blobs, buffers, views, tags with ids. */
#include "scenarios.h"

#include <errno.h>

#include <cte/buffer.h>

enum { PAGES_BYTES = 18000, SMALL_BYTES = 300, BUFFER_BYTES = 9000, CHOSEN_ID = 77 };

static const char tag_name[] = "of the user";
static const char blob_name[] = "x";

static cte_tag *open_tag(struct stage *stage)
{
    cte_tag *tag;
    assert_int_equal(cte_tag_open(stage->client, tag_name, true, &tag), CTE_OK);
    return tag;
}

static cte_status put(struct stage *stage, uint64_t offset, size_t size, uint64_t seed,
                      uint32_t flags)
{
    cte_tag *tag;
    cte_status status = cte_tag_open(stage->client, tag_name, true, &tag);
    if (status != CTE_OK)
        return status;
    status = cte_blob_put(tag, blob_name, offset, stage_bytes(seed), size, 1.0f, flags);
    cte_tag_close(tag);
    return status;
}

static void look_at_blob(struct stage *stage, struct seen *seen)
{
    cte_tag *tag = open_tag(stage);
    memset(seen, 0, sizeof *seen);
    size_t bytes = 0;
    cte_status status = cte_blob_get(tag, blob_name, 0, seen->bytes, SEEN_BYTES, &bytes);
    cte_tag_close(tag);
    if (status == CTE_ERR_NOT_FOUND)
        return;
    assert_int_equal(status, CTE_OK);
    seen->exists = true;
    seen->size = bytes;
}

static void no_blob(struct stage *stage)
{
    cte_tag *tag = open_tag(stage);
    cte_status status = cte_blob_delete(tag, blob_name);
    assert_true(status == CTE_OK || status == CTE_ERR_NOT_FOUND);
    cte_tag_close(tag);
}

static void blob_of_pages(struct stage *stage)
{
    assert_int_equal(put(stage, 0, PAGES_BYTES, 1, CTE_BLOB_REPLACE), CTE_OK);
}

static void small_blob(struct stage *stage)
{
    assert_int_equal(put(stage, 0, SMALL_BYTES, 2, CTE_BLOB_REPLACE), CTE_OK);
}

/* ---- small blobs ---------------------------------------------------------------------------- */

static cte_status put_small(struct stage *stage)
{
    return put(stage, 0, 200, 3, 0);
}

static cte_status put_small_exclusive(struct stage *stage)
{
    return put(stage, 0, 200, 3, CTE_BLOB_EXCLUSIVE);
}

static cte_status replace_by_small(struct stage *stage)
{
    return put(stage, 0, 100, 4, CTE_BLOB_REPLACE);
}

static cte_status replace_by_none(struct stage *stage)
{
    return put(stage, 0, 0, 4, CTE_BLOB_REPLACE);
}

static cte_status grow_small(struct stage *stage)
{
    return put(stage, 250, 6000, 5, 0);
}

static cte_status append(struct stage *stage)
{
    uint64_t offset;
    cte_tag *tag;
    cte_status status = cte_tag_open(stage->client, tag_name, false, &tag);
    if (status != CTE_OK)
        return status;
    status = cte_blob_append(tag, blob_name, stage_bytes(6), 500, 1.0f, &offset);
    cte_tag_close(tag);
    return status;
}

static cte_status delete_blob(struct stage *stage)
{
    cte_tag *tag;
    cte_status status = cte_tag_open(stage->client, tag_name, false, &tag);
    if (status != CTE_OK)
        return status;
    status = cte_blob_delete(tag, blob_name);
    cte_tag_close(tag);
    return status;
}

/* ---- buffers -------------------------------------------------------------------------------- */

static cte_status put_buffer(struct stage *stage, uint32_t flags)
{
    cte_tag *tag;
    cte_buffer *buffer = NULL;
    cte_status status = cte_tag_open(stage->client, tag_name, false, &tag);
    if (status != CTE_OK)
        return status;
    status = cte_buffer_alloc(stage->client, 5 * BUFFER_BYTES, &buffer);
    if (status == CTE_OK) {
        memcpy(cte_buffer_data(buffer), stage_bytes(7), BUFFER_BYTES);
        status = cte_blob_put_buffer(tag, blob_name, buffer, BUFFER_BYTES, 1.0f, flags);
    }
    if (status != CTE_OK)
        cte_buffer_free(buffer); /* else the blob has it */
    cte_tag_close(tag);
    return status;
}

static cte_status buffer_over_blob(struct stage *stage)
{
    return put_buffer(stage, CTE_BLOB_REPLACE);
}

static cte_status buffer_exclusive(struct stage *stage)
{
    return put_buffer(stage, CTE_BLOB_EXCLUSIVE);
}

/* The buffer becomes a blob while somebody looks at it, who ends first or last. */
static cte_status share_buffer(struct stage *stage)
{
    cte_tag *tag;
    cte_view view = {0};
    cte_buffer *buffer = NULL;
    cte_buffer_handle handle;
    cte_status status = cte_tag_open(stage->client, tag_name, false, &tag);
    if (status != CTE_OK)
        return status;
    status = cte_buffer_alloc(stage->client, BUFFER_BYTES, &buffer);
    if (status == CTE_OK) {
        memcpy(cte_buffer_data(buffer), stage_bytes(8), BUFFER_BYTES);
        status = cte_buffer_export(buffer, &handle);
    }
    if (status == CTE_OK)
        status = cte_buffer_import(stage->client, &handle, &view);
    if (status == CTE_OK)
        status = cte_blob_put_buffer(tag, blob_name, buffer, BUFFER_BYTES, 1.0f, CTE_BLOB_REPLACE);
    if (status != CTE_OK)
        cte_buffer_free(buffer);
    cte_view_release(&view);
    cte_tag_close(tag);
    return status;
}

/* ---- views ---------------------------------------------------------------------------------- */

/* The pages of what is viewed stay while the blob becomes another, or nothing. */
static cte_status change_under_view(struct stage *stage, cte_status (*change)(struct stage *stage))
{
    cte_tag *tag;
    cte_view view;
    cte_status status = cte_tag_open(stage->client, tag_name, false, &tag);
    if (status != CTE_OK)
        return status;
    status = cte_blob_view(tag, blob_name, 0, PAGES_BYTES, &view);
    if (status == CTE_OK) {
        status = change(stage);
        assert_int_equal(view.size_bytes, PAGES_BYTES);
        assert_memory_equal(view.data, stage_bytes(1), PAGES_BYTES);
        cte_view_release(&view);
    }
    cte_tag_close(tag);
    return status;
}

static cte_status replace(struct stage *stage)
{
    return put(stage, 0, PAGES_BYTES + 4000, 9, CTE_BLOB_REPLACE);
}

static cte_status overwrite_part(struct stage *stage)
{
    return put(stage, 3000, 7000, 10, 0);
}

static cte_status replace_under_view(struct stage *stage)
{
    return change_under_view(stage, replace);
}

static cte_status overwrite_under_view(struct stage *stage)
{
    return change_under_view(stage, overwrite_part);
}

static cte_status delete_under_view(struct stage *stage)
{
    return change_under_view(stage, delete_blob);
}

/* ---- tags ----------------------------------------------------------------------------------- */

static const cte_tag_id chosen = {0, CHOSEN_ID};

static cte_status delete_tag(struct stage *stage)
{
    return cte_tag_delete(stage->client, tag_name);
}

static void no_tag(struct stage *stage)
{
    cte_status status = delete_tag(stage);
    assert_true(status == CTE_OK || status == CTE_ERR_NOT_FOUND);
}

static cte_status create_tag_with_id(struct stage *stage)
{
    cte_tag *tag;
    cte_status status = cte_tag_create(stage->client, tag_name, chosen, &tag);
    if (status == CTE_OK)
        cte_tag_close(tag);
    return status;
}

static cte_status delete_tag_by_id(struct stage *stage)
{
    return cte_tag_delete_id(stage->client, chosen);
}

/* With blobs of every kind in it. */
static void full_tag(struct stage *stage)
{
    cte_tag *tag;
    no_tag(stage);
    assert_int_equal(cte_tag_create(stage->client, tag_name, chosen, &tag), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "small", 0, stage_bytes(1), 10, 1.0f, 0), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "a row", 0, stage_bytes(2), 8192, 1.0f, 0), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "a hole", 20000, stage_bytes(3), 100, 1.0f, 0), CTE_OK);
    assert_int_equal(cte_blob_put(tag, "a hole", 0, stage_bytes(3), 5000, 1.0f, 0), CTE_OK);
    cte_tag_close(tag);
}

static cte_status count_name(void *context, const char *name)
{
    (void)name;
    (*(uint64_t *)context)++;
    return CTE_OK;
}

/* A name and an id lead to the same tag or to none, and none of its blobs goes before it does. */
static void look_for_tag(struct stage *stage, struct seen *seen)
{
    cte_tag *tag;
    cte_tag_id id;
    memset(seen, 0, sizeof *seen);
    cte_status by_name = cte_tag_find(stage->client, tag_name, &id);
    cte_status by_id = cte_tag_open_id(stage->client, chosen, &tag);
    assert_true(by_name == CTE_OK || by_name == CTE_ERR_NOT_FOUND);
    assert_int_equal(by_id, by_name);
    if (by_id != CTE_OK)
        return;
    assert_int_equal(id.major, 0);
    assert_int_equal(id.minor, CHOSEN_ID);
    seen->exists = true;
    assert_int_equal(cte_tag_list(tag, count_name, &seen->size), CTE_OK);
    cte_tag_close(tag);
}

const struct scenario user_scenarios[] = {
    {"small blob put", no_blob, put_small, look_at_blob, false},
    {"small blob put if absent", no_blob, put_small_exclusive, look_at_blob, false},
    {"small blob overwritten", small_blob, put_small, look_at_blob, false},
    {"small blob replaced by a small one", small_blob, replace_by_small, look_at_blob, false},
    {"small blob replaced by pages", small_blob, replace, look_at_blob, false},
    {"small blob gets pages", small_blob, grow_small, look_at_blob, false},
    {"small blob gets pages by an append", small_blob, append, look_at_blob, false},
    {"pages replaced by a small blob", blob_of_pages, replace_by_small, look_at_blob, false},
    {"pages replaced by nothing", blob_of_pages, replace_by_none, look_at_blob, false},
    {"small blob deleted", small_blob, delete_blob, look_at_blob, false},
    {"buffer put", no_blob, buffer_exclusive, look_at_blob, false},
    {"buffer put over pages", blob_of_pages, buffer_over_blob, look_at_blob, false},
    {"buffer put over a small blob", small_blob, buffer_over_blob, look_at_blob, false},
    {"shared buffer put", blob_of_pages, share_buffer, look_at_blob, false},
    {"replaced under a view", blob_of_pages, replace_under_view, look_at_blob, false},
    {"overwritten under a view", blob_of_pages, overwrite_under_view, look_at_blob, false},
    {"deleted under a view", blob_of_pages, delete_under_view, look_at_blob, false},
    {"tag made with an id", no_tag, create_tag_with_id, look_for_tag, false},
    /* What fails while its blobs go leaves a tag that nobody sees, for the next one to remove. */
    {"full tag deleted", full_tag, delete_tag, look_for_tag, true},
    {"full tag deleted by its id", full_tag, delete_tag_by_id, look_for_tag, true},
};
const size_t user_scenario_count = sizeof user_scenarios / sizeof user_scenarios[0];

void user_scenarios_end(struct stage *stage)
{
    no_tag(stage);
}
