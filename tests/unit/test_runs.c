/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs against a model: for each byte of a page, whether it is valid, dirty, and where it lies. */
#include "store_helpers.h"

#include "blob/runs.h"

enum { ROUNDS = 3000, PAGES = 4 };

struct byte {
    uint8_t valid, dirty;
    cte__page page;
};

struct model {
    struct byte bytes[CTE__PAGE_BYTES];
};

/* The checksum of a page is a function of the page here, so that it can be checked too. */
static uint32_t checksum_of(cte__page page)
{
    return (uint32_t)page * 7 + 1;
}

static struct cte__run_lists lists;

static struct cte__run_list *new_list(uint32_t capacity)
{
    struct cte__run_list *list = cte__run_list_new(&lists, capacity);
    assert_non_null(list);
    assert_int_equal(list->count, 0);
    assert_int_equal(list->capacity, capacity);
    return list;
}

/* Ascending, apart or unlike their neighbours, and the same as the model. */
static void check(const struct cte__run_list *list, const struct model *model)
{
    uint32_t at = 0;
    assert_true(list->count <= list->capacity);
    for (uint32_t i = 0; i < list->count; i++) {
        struct cte__run run = list->run[i];
        assert_true(run.start >= at && cte__run_length(run) > 0);
        assert_true(cte__run_end(run) <= CTE__PAGE_BYTES);
        if (i > 0 && run.start == at)
            assert_true(cte__run_dirty(run) != cte__run_dirty(list->run[i - 1]) ||
                        run.page != list->run[i - 1].page);
        for (; at < run.start; at++)
            assert_false(model->bytes[at].valid);
        for (; at < cte__run_end(run); at++) {
            assert_true(model->bytes[at].valid);
            assert_int_equal(model->bytes[at].dirty, cte__run_dirty(run));
            assert_int_equal(model->bytes[at].page, run.page);
        }
        assert_int_equal(run.checksum, checksum_of(run.page));
    }
    for (; at < CTE__PAGE_BYTES; at++)
        assert_false(model->bytes[at].valid);
}

static uint32_t model_state(const struct model *model)
{
    uint32_t valid = 0, alike = 0;
    for (uint32_t i = 0; i < CTE__PAGE_BYTES; i++) {
        valid += model->bytes[i].valid;
        alike += memcmp(&model->bytes[i], &model->bytes[0], sizeof model->bytes[0]) == 0;
    }
    if (valid == 0)
        return CTE__PAGE_NONE;
    if (valid < CTE__PAGE_BYTES || alike < CTE__PAGE_BYTES)
        return CTE__PAGE_PARTIAL;
    return model->bytes[0].dirty ? CTE__PAGE_DIRTY : CTE__PAGE_CLEAN;
}

/* Random runs, now and then all of the page, or many that touch. */
static struct cte__run_list *random_list(uint64_t *seed, struct model *model)
{
    struct cte__run_list *list = new_list(CTE__RUNS_MAX);
    uint32_t most = test_random(seed) % 4 == 0 ? CTE__PAGE_BYTES : 200, at = 0;
    memset(model, 0, sizeof *model);
    while (at < CTE__PAGE_BYTES && test_random(seed) % 40 != 0) {
        uint32_t start = at + (uint32_t)(test_random(seed) % 2 ? 0 : test_random(seed) % 60);
        uint32_t end = start + 1 + (uint32_t)(test_random(seed) % most);
        cte__page page = 100 + test_random(seed) % PAGES;
        bool dirty = test_random(seed) % 2;
        if (start >= CTE__PAGE_BYTES)
            break;
        end = end < CTE__PAGE_BYTES ? end : CTE__PAGE_BYTES;
        cte__run_list_append(list, cte__run_make(start, end, dirty, page, checksum_of(page)));
        for (uint32_t i = start; i < end; i++)
            model->bytes[i] = (struct byte){1, dirty, page};
        at = end;
    }
    return list;
}

static void check_pages(const struct cte__run_list *list, const struct model *model)
{
    cte__page pages[CTE__RUN_PAGES_MAX];
    bool used[PAGES] = {false};
    uint32_t expected = 0;
    for (uint32_t i = 0; i < CTE__PAGE_BYTES; i++)
        if (model->bytes[i].valid)
            used[model->bytes[i].page - 100] = true;
    for (int p = 0; p < PAGES; p++)
        expected += used[p];
    assert_int_equal(cte__runs_pages(list->run, list->count, pages), expected);
    for (uint32_t i = 0; i < expected && expected <= CTE__RUN_PAGES_MAX; i++) {
        assert_true(pages[i] >= 100 && pages[i] < 100 + PAGES);
        assert_true(used[pages[i] - 100]);
        used[pages[i] - 100] = false; /* each once */
    }
}

static void test_append_and_state(void **state)
{
    (void)state;
    static struct model model;
    uint64_t seed = test_seed();
    for (int i = 0; i < ROUNDS; i++) {
        struct cte__run_list *list = random_list(&seed, &model);
        check(list, &model);
        assert_int_equal(cte__runs_page_state(list->run, list->count), model_state(&model));
        check_pages(list, &model);
        cte__run_lists_free(&lists);
    }
}

static void test_overlay(void **state)
{
    (void)state;
    static struct model below_model, above_model;
    uint64_t seed = test_seed();
    for (int i = 0; i < ROUNDS; i++) {
        struct cte__run_list *below = random_list(&seed, &below_model);
        struct cte__run_list *above = random_list(&seed, &above_model);
        struct cte__run_list *out = new_list(2 * (below->count + above->count) + 1);
        cte__runs_overlay(below->run, below->count, above->run, above->count, out);
        for (uint32_t b = 0; b < CTE__PAGE_BYTES; b++)
            if (above_model.bytes[b].valid)
                below_model.bytes[b] = above_model.bytes[b];
        check(out, &below_model);
        cte__run_lists_free(&lists);
    }
}

static void test_cut(void **state)
{
    (void)state;
    static struct model model;
    uint64_t seed = test_seed();
    for (int i = 0; i < ROUNDS; i++) {
        struct cte__run_list *list = random_list(&seed, &model);
        struct cte__run_list *out = new_list(list->count + 1);
        uint32_t start = (uint32_t)(test_random(&seed) % (CTE__PAGE_BYTES + 1));
        uint32_t end = start + (uint32_t)(test_random(&seed) % (CTE__PAGE_BYTES + 1 - start));
        cte__runs_cut(list->run, list->count, start, end, out);
        memset(&model.bytes[start], 0, (end - start) * sizeof model.bytes[0]);
        check(out, &model);
        cte__run_lists_free(&lists);
    }
}

/* Single bytes that alternate: as many runs as there can be. */
static void test_most_runs(void **state)
{
    (void)state;
    static struct model model;
    struct cte__run_list *list = new_list(CTE__RUNS_MAX);
    for (uint32_t i = 0; i < CTE__PAGE_BYTES; i++) {
        model.bytes[i] = (struct byte){1, i % 2, 100};
        cte__run_list_append(list, cte__run_make(i, i + 1, i % 2, 100, checksum_of(100)));
    }
    assert_int_equal(list->count, CTE__RUNS_MAX);
    check(list, &model);
    struct cte__run whole = cte__run_make(0, CTE__PAGE_BYTES, true, 101, checksum_of(101));
    struct cte__run_list *out = new_list(2 * (list->count + 1) + 1);
    cte__runs_overlay(list->run, list->count, &whole, 1, out);
    assert_int_equal(out->count, 1);
    assert_int_equal(cte__runs_page_state(out->run, out->count), CTE__PAGE_DIRTY);
    cte__run_lists_free(&lists);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_and_state),
        cmocka_unit_test(test_overlay),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_most_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
