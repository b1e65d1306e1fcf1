/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside of the configuration module.  A key is listed once, in the table of keys.c: parser,
 * environment, show, defaults and the test of the documentation all walk that table. */
#ifndef CTE_CORE_CONFIG_KEYS_H
#define CTE_CORE_CONFIG_KEYS_H

#include <stddef.h>

#include "config/config.h"

enum cte__config_type {
    CTE__CONFIG_TEXT,        /* char array of `bytes` */
    CTE__CONFIG_BOOL,        /* bool */
    CTE__CONFIG_BYTES,       /* uint64_t, minimum … maximum */
    CTE__CONFIG_COUNT,       /* uint32_t, minimum … maximum */
    CTE__CONFIG_SCORE,       /* float 0 … 1; < 0 if absent or "auto", where that is the default */
    CTE__CONFIG_CHOICE_TEXT, /* char array holding the choice's name */
    CTE__CONFIG_CHOICE_ENUM, /* enum holding the choice's value */
    CTE__CONFIG_CHOICE_BOOL, /* bool holding the choice's value */
    CTE__CONFIG_GLOBS        /* struct cte__config_globs */
};

#define CTE__CONFIG_AUTO "auto"

/* Arrays of choices end with a NULL name. */
struct cte__config_choice {
    const char *name;
    int value;
    const char *unsupported; /* in the reference document; why this library cannot do it, or NULL */
};

struct cte__config_key {
    /* "" at the top; "a.b" within b within a; "storage": one element of the sequence */
    const char *section;
    const char *name;
    enum cte__config_type type;
    size_t offset;             /* in cte_config; for "storage" in cte__config_target */
    size_t bytes;              /* size of the field */
    uint64_t minimum, maximum; /* BYTES, COUNT */
    bool power_of_two;         /* BYTES, COUNT */
    const struct cte__config_choice *choices;
    /* TEXT: what is wrong with a value and what to do, or NULL. */
    const char *(*objection)(const char *text);
    const char *variable; /* environment variable that overrides it, or NULL */
    const char *initial;  /* default as text, or NULL: see defaults.c, or another row's field */
};

extern const struct cte__config_key cte__config_keys[];
extern const size_t cte__config_key_count;

/* The row of a key, NULL if there is none.  `section` as in the table. */
const struct cte__config_key *cte__config_find(const char *section, const char *name);

/* The number of a key of "storage" among those: where a target keeps its origin. */
size_t cte__config_target_key(const struct cte__config_key *key);

/* Names the section `name` within `section` as the table does; false if there is none.  `path` is
 * then unspecified. */
enum { CTE__CONFIG_SECTION_BYTES = 64 };
bool cte__config_subsection(const char *section, const char *name,
                            char path[CTE__CONFIG_SECTION_BYTES]);

enum { CTE__CONFIG_GUESS_BYTES = 41 };

/* Picks the word closest to a misspelt one. */
struct cte__config_guess {
    const char *word;
    char best[CTE__CONFIG_GUESS_BYTES]; /* "" until something close enough was considered */
    size_t distance;
};
void cte__config_consider(struct cte__config_guess *guess, const char *candidate);

/* Considers all keys and sections within a section. */
void cte__config_consider_keys(struct cte__config_guess *guess, const char *section);

/* One load in progress: where values go, where errors go. */
struct cte__config_load {
    cte_config *config;
    const char *source;
    char *error; /* may be NULL */
    size_t error_bytes;
    bool targets_may_lack; /* no target is no error: some may come yet */
};

/* What an error or an origin points at. */
struct cte__config_where {
    const char *source;    /* file or text name */
    const char *variable;  /* environment variable instead, static storage */
    uint32_t line, column; /* from 1; 0: the source as a whole */
    bool program;          /* the program that runs: `source` is the key as it named it */
};

/* Says "where: message" in the load's error text and returns CTE_ERR_CONFIG. */
cte_status cte__config_fail(struct cte__config_load *load, const struct cte__config_where *where,
                            const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Sets a key's field in `base` (the config, or a target) from text; all types but GLOBS. */
cte_status cte__config_set(struct cte__config_load *load, const struct cte__config_where *where,
                           const struct cte__config_key *key, void *base, const char *text);

/* Says that there is no such key, and which may have been meant. */
cte_status cte__config_fail_unknown(struct cte__config_load *load,
                                    const struct cte__config_where *where, const char *section,
                                    const char *name);

/* Checks a target, whose keys are set, against what one key alone cannot tell, and against the
 * other targets of the configuration. */
cte_status cte__config_check_target(struct cte__config_load *load,
                                    const struct cte__config_where *where,
                                    const struct cte__config_target *target);

/* GLOBS: replaces the list by that of "a:b:c". */
cte_status cte__config_set_globs(struct cte__config_load *load,
                                 const struct cte__config_where *where,
                                 const struct cte__config_key *key, const char *text);

/* GLOBS: empty the list, add one pattern. */
void cte__config_clear_globs(struct cte__config_globs *globs);
cte_status cte__config_add_glob(struct cte__config_load *load,
                                const struct cte__config_where *where,
                                const struct cte__config_key *key, const char *text);

/* Notes where the value of a key of cte_config came from. */
void cte__config_note_origin(cte_config *config, const struct cte__config_key *key,
                             const struct cte__config_where *where);

/* A number of bytes in its largest whole unit, as cte__parse_bytes() reads it.  Returns `text`. */
enum { CTE__CONFIG_BYTES_TEXT = 32 };
const char *cte__config_bytes_text(uint64_t bytes, char text[CTE__CONFIG_BYTES_TEXT]);

/* True if the text is UTF-8 that can stand on one line of YAML between double quotes. */
bool cte__config_is_plain_text(const char *text);

/* defaults.c: all keys but the targets; then the targets, once the store's place is known. */
cte_status cte__config_set_defaults(struct cte__config_load *load);
cte_status cte__config_default_targets(struct cte__config_load *load);

/* sizing.c */
uint64_t cte__config_memory_available(void);
uint64_t cte__config_ram_bytes(uint64_t memory_available, uint64_t directory_free);
uint64_t cte__config_scratch_bytes(uint64_t directory_free);

/* True for a directory on a disk of this node, with what is free there.  Shared file systems are
 * not: two nodes would take the same path for their target.  Neither is tmpfs: its space is memory.
 */
bool cte__config_is_local_disk(const char *directory, uint64_t *free_bytes);

/* load.c: a configuration from text, or (NULL) from the defaults and the environment. */
cte_status cte__config_load_text(struct cte__config_load *load, const char *text, size_t length,
                                 cte_config **out);

/* show.c: a field's value, quoted as YAML asks for, or as cte_config_set() takes it.  Returns its
 * width.  The locale must be "C". */
int cte__config_print_value(FILE *stream, const struct cte__config_key *key, const void *field,
                            bool quoted);

/* Keys of a target that may be left out, and are. */
bool cte__config_is_absent(const struct cte__config_key *key,
                           const struct cte__config_target *target);

/* parse.c: YAML text into the load's config. */
cte_status cte__config_parse_yaml(struct cte__config_load *load, const char *text, size_t length);

/* environment.c: overrides of keys, then of targets; unknown CTE_* variables warn once. */
cte_status cte__config_apply_environment(struct cte__config_load *load);
cte_status cte__config_apply_target_environment(struct cte__config_load *load);
void cte__config_warn_unknown_variables(void);
bool cte__config_is_known_variable(const char *name);

#endif
