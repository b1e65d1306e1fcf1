/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration: back to YAML, the manual, and mutants of valid YAML. */
#include "config_helpers.h"

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <time.h>
#include <unistd.h>

static void check_round_trip(const char *text)
{
    cte_config *config = parse_ok(text);
    char *shown;
    show(config, &shown);
    clear_environment(NULL);
    cte_config *again = parse_ok(shown);
    assert_same(config, again);
    cte_config_free(config);
    cte_config_free(again);
    free(shown);
}

static void test_round_trip(void **state)
{
    (void)state;
    check_round_trip(whole_text);
    check_round_trip("");
    setenv("SLURM_JOB_ID", "77", 1);
    setenv("SLURM_TMPDIR", "/tmp", 1);
    setenv("CTE_SCORE", "0.333333343", 1);
    setenv("CTE_INCLUDE", "/a b/*:/c#d/\\*:/e'\"/*", 1);
    check_round_trip("");
}

static void test_show_origin(void **state)
{
    (void)state;
    setenv("CTE_DRAIN", "async", 1);
    setenv("CTE_RAM_CAPACITY", "16MiB", 1);
    setenv("PBS_JOBID", "5", 1);
    cte_config *config =
        parse_ok("file:\n  score: 0.5\n" RAM_TARGET "queues: {stats: {lane_count: 5}}\n");
    char *shown;
    show(config, &shown);
    static const char *const lines[][2] = {
        {"  drain: async ", "# environment variable CTE_DRAIN\n"},
        {"  score: 0.5 ", "# t.yaml:2\n"},
        {"  mode: default ", "# default\n"},
        {"  name: \"job-5\" ", "# environment variable PBS_JOBID\n"},
        {"    capacity_limit: 16MiB ", "# environment variable CTE_RAM_CAPACITY\n"},
        {"  - bdev_type: \"ram\" ", "# t.yaml:4\n"},
        {"worker_count: 4 ", "# default\n"},
        {"\nqueues:\n  target_management:\n    lane_count: 2 ", "# default\n"},
        {"\n  stats:\n    lane_count: 5 ", "# t.yaml:5\n"},
        {"\nperformance:\n  target_stat_interval_ms: 5000 ", "# default\n"}};
    for (size_t i = 0; i < COUNT(lines); i++) {
        const char *line = strstr(shown, lines[i][0]);
        if (!line)
            fail_msg("no \"%s\" in\n%s", lines[i][0], shown);
        assert_int_equal(strncmp(strchr(line, '#'), lines[i][1], strlen(lines[i][1])), 0);
    }
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    assert_int_equal(cte_config_show(config, full), -ENOSPC);
    fclose(full);
    free(shown);
    cte_config_free(config);
}

/* A locale with a decimal comma changes nothing, reading and showing. */
static void test_locale(void **state)
{
    (void)state;
    if (!setlocale(LC_ALL, "de_DE.UTF-8"))
        skip();
    check_round_trip("file: {score: 0.25}\n" RAM_TARGET);
    setlocale(LC_ALL, "C");
}

enum { MANUAL_BYTES_MAX = 1 << 17 };

static void read_manual(char *text)
{
    const char *path = CTE_TEST_SOURCE_DIRECTORY "/docs/CONFIGURATION.md";
    FILE *stream = fopen(path, "r");
    if (!stream)
        fail_msg("%s: %s", path, strerror(errno));
    size_t length = fread(text, 1, MANUAL_BYTES_MAX - 1, stream);
    fclose(stream);
    assert_in_range(length, 1, MANUAL_BYTES_MAX - 2);
    text[length] = '\0';
}

static void expect_in_row(const char *row, const char *before, const char *word, const char *after)
{
    char cell[128], line[1024];
    snprintf(cell, sizeof cell, "%s`%s`%s", before, word, after);
    snprintf(line, sizeof line, "%.*s", (int)strcspn(row, "\n"), row);
    if (!strstr(line, cell))
        fail_msg("%s is not in: %s", cell, line);
}

/* Every key, with its choices, default and variable, is a row of the manual. */
static void test_manual_keys(void **state)
{
    (void)state;
    static char text[MANUAL_BYTES_MAX];
    read_manual(text);
    for (size_t i = 0; i < cte__config_key_count; i++) {
        const struct cte__config_key *key = &cte__config_keys[i];
        char name[128];
        snprintf(name, sizeof name, "| `%s%s%s` |", key->section, key->section[0] ? "." : "",
                 key->name);
        const char *row = strstr(text, name);
        if (!row)
            fail_msg("the manual has no row %s", name);
        if (key->initial)
            expect_in_row(row, "| ", key->initial, " |");
        if (key->variable)
            expect_in_row(row, "| ", key->variable, " |");
        for (const struct cte__config_choice *choice = key->choices; choice && choice->name;
             choice++)
            if (!choice->unsupported)
                expect_in_row(row, "", choice->name, "");
    }
}

/* The manual names no variable that there is not. */
static void test_manual_variables(void **state)
{
    (void)state;
    static char text[MANUAL_BYTES_MAX];
    read_manual(text);
    unsigned found = 0;
    for (const char *at = text; (at = strstr(at, "`CTE_")); found++) {
        char name[128];
        at++;
        snprintf(name, sizeof name, "%.*s", (int)strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"), at);
        bool other = strcmp(name, "CTE_") == 0 || strncmp(name, "CTE_ERR_", 8) == 0;
        if (!other && !cte__config_is_known_variable(name))
            fail_msg("the manual names the unknown variable %s", name);
    }
    assert_true(found > cte__config_key_count / 2);
}

static uint32_t draw(uint64_t *random_state)
{
    *random_state = *random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*random_state >> 33);
}

/* Bytes that mean something to YAML come up often. */
static size_t mutate(char *text, size_t length, size_t room, uint64_t *random_state)
{
    static const char special[] = ":-[]{}&*!|>'\"%@`#,?~<= \n\t\xff\xc3";
    for (uint32_t n = 1 + draw(random_state) % 4; n > 0 && length > 8; n--) {
        size_t at = draw(random_state) % length;
        size_t run = 1 + draw(random_state) % 8;
        char byte = draw(random_state) % 2 ? special[draw(random_state) % (sizeof special - 1)]
                                           : (char)(1 + draw(random_state) % 255);
        switch (draw(random_state) % 4) {
        case 0: /* replace */
            text[at] = byte;
            break;
        case 1: /* remove a run */
            if (at + run > length)
                run = length - at;
            memmove(text + at, text + at + run, length - at - run);
            length -= run;
            break;
        case 2: /* insert */
            if (length + 1 >= room)
                break;
            memmove(text + at + 1, text + at, length - at);
            text[at] = byte;
            length++;
            break;
        case 3: /* repeat the tail */
            run = length - at;
            if (length + run >= room)
                break;
            memmove(text + length, text + at, run);
            length += run;
            break;
        }
    }
    text[length] = '\0';
    return length;
}

static void test_mutations(void **state)
{
    (void)state;
    const char *given = getenv("CTE_TEST_SEED");
    uint64_t seed =
        given ? strtoull(given, NULL, 0) : ((uint64_t)getpid() << 20) ^ (uint64_t)time(NULL);
    print_message("seed %" PRIu64 " (repeat with CTE_TEST_SEED)\n", seed);
    uint64_t random_state = seed;
    unsigned accepted = 0;
    for (int round = 0; round < 2000; round++) {
        char text[4096];
        memcpy(text, whole_text, sizeof whole_text);
        mutate(text, sizeof whole_text - 1, sizeof text, &random_state);
        cte_config *config;
        cte_status status = cte_config_parse(text, "mutant", &config, error, sizeof error);
        if (status == CTE_OK) {
            accepted++;
            char *shown;
            show(config, &shown);
            cte_config *again = parse_ok(shown);
            assert_same(config, again);
            cte_config_free(again);
            free(shown);
        } else if (status != CTE_ERR_CONFIG || strchr(error, ':') == NULL || config)
            fail_msg("seed %" PRIu64 " round %d: %s, \"%s\"", seed, round, cte_status_name(status),
                     error);
        cte_config_free(config);
    }
    /* Mutants of both kinds, else the test says nothing. */
    assert_in_range(accepted, 10, 1990);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_round_trip, clear_environment),
        cmocka_unit_test_setup(test_show_origin, clear_environment),
        cmocka_unit_test_setup(test_locale, clear_environment),
        cmocka_unit_test_setup(test_manual_keys, clear_environment),
        cmocka_unit_test_setup(test_manual_variables, clear_environment),
        cmocka_unit_test_setup(test_mutations, clear_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
