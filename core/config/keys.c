/* SPDX-License-Identifier: BSD-3-Clause */
#include "config/keys.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "config/signals.h"

enum {
    GUESS_WORD_MAX = CTE__CONFIG_GUESS_BYTES - 1,
    KIB = 1024,
    MIB = 1024 * KIB,
    DAY_MS = 24 * 3600 * 1000
};

/* clang-format off */
#define CHOICE(name, value) {name, value, NULL}
#define CHOICES_END         {NULL, 0, NULL}

#ifdef CTE_HAVE_LIBPMEM
#define DEV_DAX CHOICE("dev_dax", 2)
#else
#define DEV_DAX {"dev_dax", -1, "is not there: this library was built without libpmem"}
#endif

static const struct cte__config_choice store_choices[] = {
    CHOICE("auto", false), CHOICE("keep", true), CHOICES_END};
static const struct cte__config_choice kind_choices[] = {
    CHOICE("ram", 0), CHOICE("file", 1), CHOICE("posix", 3), DEV_DAX, CHOICES_END};
static const struct cte__config_choice io_choices[] = {
    CHOICE("buffered", 0), CHOICE("uring", 1), CHOICES_END};
static const struct cte__config_choice placement_choices[] = {
    CHOICE("max_bw", 0), CHOICE("random", 1), CHOICE("round_robin", 2), CHOICES_END};
static const struct cte__config_choice mode_choices[] = {
    CHOICE("default", CTE_FILE_MODE_DEFAULT), CHOICE("scratch", CTE_FILE_MODE_SCRATCH),
    CHOICE("bypass", CTE_FILE_MODE_BYPASS), CHOICES_END};
static const struct cte__config_choice drain_choices[] = {
    CHOICE("on_close", CTE_FILE_DRAIN_ON_CLOSE), CHOICE("async", CTE_FILE_DRAIN_ASYNC),
    CHOICE("never", CTE_FILE_DRAIN_NEVER), CHOICES_END};
static const struct cte__config_choice sync_choices[] = {
    CHOICE("node", false), CHOICE("pfs", true), CHOICES_END};
static const struct cte__config_choice cache_choices[] = {
    CHOICE("none", false), CHOICE("read", true), CHOICES_END};
static const struct cte__config_choice prefetch_choices[] = {
    CHOICE("none", CTE__PREFETCH_NONE), CHOICE("sequential", CTE__PREFETCH_SEQUENTIAL),
    CHOICE("strided", CTE__PREFETCH_STRIDED), CHOICES_END};
static const struct cte__config_choice organizer_choices[] = {
    CHOICE("none", false), CHOICE("frecency", true), CHOICES_END};
static const struct cte__config_choice priority_choices[] = {
    CHOICE("low_latency", CTE__PRIORITY_LOW_LATENCY),
    CHOICE("high_latency", CTE__PRIORITY_HIGH_LATENCY), CHOICES_END};
static const struct cte__config_choice level_choices[] = {
    CHOICE("off", 0), CHOICE("error", 1), CHOICE("warn", 2), CHOICE("info", 3), CHOICE("debug", 4),
    CHOICES_END};
/* clang-format on */

static const char *store_name_objection(const char *text)
{
    static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    if (text[0] == '.' || strspn(text, safe) != strlen(text))
        return "must be made of letters, digits, '.', '_' and '-', and not begin with '.'";
    return NULL;
}

static const char *directory_objection(const char *text)
{
    enum { ROOM_FOR_NAMES = 256 };
    if (text[0] != '/')
        return "must be an absolute path, beginning with '/'";
    if (strlen(text) > PATH_MAX - ROOM_FOR_NAMES)
        return "is too long to hold file names; use a shorter path";
    return NULL;
}

static const char *journal_path_objection(const char *text)
{
    return strcmp(text, "auto") == 0 ? NULL : directory_objection(text);
}

static const char *signals_objection(const char *text)
{
    return cte__signals_parse(text) >= 0
               ? NULL
               : "must be none, or some of term, usr1, usr2, int, xcpu with commas between";
}

/* A field of cte_config or of a target, with its size. */
#define IN(type, field) offsetof(type, field), sizeof(((type *)NULL)->field)

/* The keys of one class of operations. */
#define QUEUE(class, section, lanes, urgency)                                                      \
    {section,      "lane_count",  CTE__CONFIG_COUNT, IN(cte_config, queues[class].lane_count),     \
     .minimum = 1, .maximum = 64, .initial = lanes},                                               \
    {                                                                                              \
        section, "priority", CTE__CONFIG_CHOICE_ENUM, IN(cte_config, queues[class].priority),      \
            .choices = priority_choices, .initial = urgency                                        \
    }

/* The score of one of HDF5's types of file memory. */
#define HDF5_SCORE(type)                                                                           \
    {                                                                                              \
        "hdf5", "score_" #type, CTE__CONFIG_SCORE, IN(cte_config, hdf5_score_##type),              \
            .initial = CTE__CONFIG_AUTO                                                            \
    }

/* clang-format off */
const struct cte__config_key cte__config_keys[] = {
    {"", "log_level", CTE__CONFIG_CHOICE_TEXT, IN(cte_config, log_level),
     .choices = level_choices, .variable = "CTE_LOG_LEVEL", .initial = "warn"},

    {"", "worker_count", CTE__CONFIG_COUNT, IN(cte_config, worker_count),
     .minimum = 1, .maximum = 256, .initial = "4"},

    {"", "organizer", CTE__CONFIG_CHOICE_BOOL, IN(cte_config, organizer),
     .choices = organizer_choices, .variable = "CTE_ORGANIZER", .initial = "none"},
    {"", "organizer_bytes_per_s_max", CTE__CONFIG_BYTES, IN(cte_config, organizer_bytes_per_s_max),
     .minimum = MIB, .maximum = INT64_MAX, .variable = NULL, .initial = "256MiB"},

    /* The scalar form of the section: the same field as store.keep. */
    {"", "store", CTE__CONFIG_CHOICE_BOOL, IN(cte_config, store_keep),
     .choices = store_choices, .variable = "CTE_STORE"},
    {"store", "name", CTE__CONFIG_TEXT, IN(cte_config, store_name),
     .objection = store_name_objection, .variable = "CTE_STORE_NAME"},
    {"store", "directory", CTE__CONFIG_TEXT, IN(cte_config, store_directory),
     .objection = directory_objection, .variable = "CTE_STORE_DIRECTORY", .initial = "/dev/shm"},
    {"store", "keep", CTE__CONFIG_BOOL, IN(cte_config, store_keep), .initial = "false"},

    {"journal", "enabled", CTE__CONFIG_BOOL, IN(cte_config, journal), .initial = "true"},
    {"journal", "path", CTE__CONFIG_TEXT, IN(cte_config, journal_path),
     .objection = journal_path_objection, .variable = NULL, .initial = "auto"},

    {"storage", "path", CTE__CONFIG_TEXT, IN(struct cte__config_target, path), .variable = NULL},
    {"storage", "bdev_type", CTE__CONFIG_CHOICE_TEXT, IN(struct cte__config_target, kind),
     .choices = kind_choices},
    /* A target is cut into arenas of at least 1 MiB; file offsets are signed. */
    {"storage", "capacity_limit", CTE__CONFIG_BYTES, IN(struct cte__config_target, capacity_bytes),
     .minimum = MIB, .maximum = INT64_MAX, .variable = "CTE_RAM_CAPACITY"},
    {"storage", "io", CTE__CONFIG_CHOICE_TEXT, IN(struct cte__config_target, io),
     .choices = io_choices, .variable = NULL},
    {"storage", "score", CTE__CONFIG_SCORE, IN(struct cte__config_target, score), .variable = NULL},

    {"targets", "max_targets", CTE__CONFIG_COUNT, IN(cte_config, max_targets),
     .minimum = 1, .maximum = 1000, .initial = "16"},
    {"targets", "default_target_timeout_ms", CTE__CONFIG_COUNT,
     IN(cte_config, default_target_timeout_ms), .maximum = DAY_MS, .initial = "30000"},
    {"targets", "auto_unregister_failed", CTE__CONFIG_BOOL, IN(cte_config, auto_unregister_failed),
     .initial = "true"},

    {"performance", "target_stat_interval_ms", CTE__CONFIG_COUNT,
     IN(cte_config, target_stat_interval_ms), .maximum = DAY_MS, .initial = "5000"},
    {"performance", "blob_cache_size_mb", CTE__CONFIG_COUNT, IN(cte_config, blob_cache_mb),
     .maximum = MIB, .initial = "0"},
    {"performance", "max_concurrent_operations", CTE__CONFIG_COUNT,
     IN(cte_config, max_concurrent_operations), .minimum = 1, .maximum = MIB, .initial = "64"},
    {"performance", "score_threshold", CTE__CONFIG_SCORE, IN(cte_config, score_threshold),
     .initial = "0.7"},

    QUEUE(CTE__QUEUE_TARGETS, "queues.target_management", "2", "low_latency"),
    QUEUE(CTE__QUEUE_TAGS, "queues.tag_management", "2", "low_latency"),
    QUEUE(CTE__QUEUE_BLOBS, "queues.blob_operations", "4", "high_latency"),
    QUEUE(CTE__QUEUE_STATS, "queues.stats", "1", "high_latency"),

    {"dpe", "dpe_type", CTE__CONFIG_CHOICE_TEXT, IN(cte_config, placement),
     .choices = placement_choices, .variable = "CTE_PLACEMENT", .initial = "max_bw"},

    {"telemetry", "enabled", CTE__CONFIG_BOOL, IN(cte_config, telemetry_enabled),
     .variable = "CTE_TELEMETRY", .initial = "false"},
    {"telemetry", "entries", CTE__CONFIG_COUNT, IN(cte_config, telemetry_entries),
     .minimum = 64, .maximum = MIB, .power_of_two = true, .initial = "1024"},

    {"signals", "drain_on", CTE__CONFIG_TEXT, IN(cte_config, signal_drain),
     .objection = signals_objection, .variable = "CTE_DRAIN_SIGNALS", .initial = "term"},
    {"signals", "grace_s", CTE__CONFIG_COUNT, IN(cte_config, signal_grace_s),
     .minimum = 1, .maximum = DAY_MS / 1000, .variable = "CTE_DRAIN_GRACE_S", .initial = "25"},
    {"signals", "chain", CTE__CONFIG_BOOL, IN(cte_config, signal_chain),
     .variable = "CTE_DRAIN_CHAIN", .initial = "false"},

    {"file", "chunk_size", CTE__CONFIG_BYTES, IN(cte_config, chunk_bytes),
     .minimum = 64 * KIB, .maximum = 16 * MIB, .power_of_two = true,
     .variable = "CTE_CHUNK_SIZE", .initial = "1MiB"},
    {"file", "mode", CTE__CONFIG_CHOICE_ENUM, IN(cte_config, mode),
     .choices = mode_choices, .variable = "CTE_MODE", .initial = "default"},
    {"file", "drain", CTE__CONFIG_CHOICE_ENUM, IN(cte_config, drain),
     .choices = drain_choices, .variable = "CTE_DRAIN", .initial = "on_close"},
    {"file", "drain_threads", CTE__CONFIG_COUNT, IN(cte_config, drain_threads),
     .maximum = 16, .variable = "CTE_DRAIN_THREADS", .initial = "1"},
    {"file", "drain_bytes_per_s_max", CTE__CONFIG_BYTES, IN(cte_config, drain_bytes_per_s_max),
     .maximum = INT64_MAX, .variable = "CTE_DRAIN_BYTES_PER_S_MAX", .initial = "0"},
    {"file", "score", CTE__CONFIG_SCORE, IN(cte_config, score),
     .variable = "CTE_SCORE", .initial = "1"},
    {"file", "sync", CTE__CONFIG_CHOICE_BOOL, IN(cte_config, sync_pfs),
     .choices = sync_choices, .variable = "CTE_SYNC", .initial = "node"},
    {"file", "checksum", CTE__CONFIG_BOOL, IN(cte_config, checksum),
     .variable = "CTE_CHECKSUM", .initial = "true"},
    {"file", "cache", CTE__CONFIG_CHOICE_BOOL, IN(cte_config, cache_reads),
     .choices = cache_choices, .variable = "CTE_CACHE", .initial = "none"},
    {"file", "prefetch", CTE__CONFIG_CHOICE_ENUM, IN(cte_config, prefetch),
     .choices = prefetch_choices, .variable = "CTE_PREFETCH", .initial = "none"},
    {"file", "include", CTE__CONFIG_GLOBS, IN(cte_config, include), .variable = "CTE_INCLUDE"},
    {"file", "exclude", CTE__CONFIG_GLOBS, IN(cte_config, exclude), .variable = "CTE_EXCLUDE"},

    HDF5_SCORE(super), HDF5_SCORE(btree), HDF5_SCORE(draw),
    HDF5_SCORE(gheap), HDF5_SCORE(lheap), HDF5_SCORE(ohdr),
};
/* clang-format on */

const size_t cte__config_key_count = sizeof cte__config_keys / sizeof cte__config_keys[0];
static_assert(sizeof cte__config_keys / sizeof cte__config_keys[0] <= CTE__CONFIG_KEYS_MAX,
              "cte_config.origin has an element for each key");
static_assert(sizeof(cte_file_mode) == sizeof(int) &&
                  sizeof(cte_file_drain_policy) == sizeof(int) &&
                  sizeof(enum cte__queue_priority) == sizeof(int) &&
                  sizeof(enum cte__prefetch_mode) == sizeof(int),
              "CHOICE_ENUM stores an int");

size_t cte__config_target_key(const struct cte__config_key *key)
{
    size_t number = 0;
    for (const struct cte__config_key *row = cte__config_keys; row < key; row++)
        number += strcmp(row->section, "storage") == 0;
    assert(strcmp(key->section, "storage") == 0 && number < CTE__CONFIG_TARGET_KEYS_MAX);
    return number;
}

const struct cte__config_key *cte__config_find(const char *section, const char *name)
{
    for (size_t i = 0; i < cte__config_key_count; i++) {
        const struct cte__config_key *key = &cte__config_keys[i];
        if (strcmp(key->section, section) == 0 && strcmp(key->name, name) == 0)
            return key;
    }
    return NULL;
}

/* The part of a key's section that lies within `section`, NULL if none does: "" if the key itself
 * is there, "b.c" for a key of "a.b.c" within "a". */
static const char *section_below(const struct cte__config_key *key, const char *section)
{
    size_t length = strlen(section);
    if (strncmp(key->section, section, length) != 0)
        return NULL;
    const char *rest = key->section + length;
    if (*rest == '\0' || length == 0)
        return rest;
    return *rest == '.' ? rest + 1 : NULL;
}

bool cte__config_subsection(const char *section, const char *name,
                            char path[CTE__CONFIG_SECTION_BYTES])
{
    if (name[0] == '\0' || strchr(name, '.')) /* a path is no name */
        return false;
    int length =
        snprintf(path, CTE__CONFIG_SECTION_BYTES, "%s%s%s", section, section[0] ? "." : "", name);
    if (length >= CTE__CONFIG_SECTION_BYTES)
        return false;
    for (size_t i = 0; i < cte__config_key_count; i++)
        if (section_below(&cte__config_keys[i], path))
            return true;
    return false;
}

/* Number of letters to insert, remove or replace to turn one word into the other. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[GUESS_WORD_MAX + 1];
    size_t b_length = strlen(b);
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = cte__min(replaced, cte__min(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_length];
}

void cte__config_consider(struct cte__config_guess *guess, const char *candidate)
{
    size_t length = strlen(guess->word);
    if (length > GUESS_WORD_MAX || strlen(candidate) > GUESS_WORD_MAX)
        return;
    size_t distance = edit_distance(guess->word, candidate);
    bool close = distance <= 1 + length / 5;
    if (close && (!guess->best[0] || distance < guess->distance)) {
        memcpy(guess->best, candidate, strlen(candidate) + 1);
        guess->distance = distance;
    }
}

void cte__config_consider_keys(struct cte__config_guess *guess, const char *section)
{
    for (size_t i = 0; i < cte__config_key_count; i++) {
        const char *below = section_below(&cte__config_keys[i], section);
        if (!below)
            continue;
        char name[CTE__CONFIG_SECTION_BYTES];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(below, "."), below);
        cte__config_consider(guess, *below ? name : cte__config_keys[i].name);
    }
}
