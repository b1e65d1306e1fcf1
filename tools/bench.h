/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of `cte bench` share.
 *
 * One process looks after the run (bench_run.c): it makes private directories, forks the processes
 * that measure, waits for them and for signals, and removes everything.  Those that measure
 * (bench_work.c) do the same work on two *subjects* in turns: the library, and the machine's own
 * way to move the same bytes, which is the limit. */
#ifndef CTE_TOOLS_BENCH_H
#define CTE_TOOLS_BENCH_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "command.h"

enum {
    BENCH_PROCESSES_MAX = 64,
    BENCH_REPEATS_MAX = 1000,
    BENCH_PHASES_MAX = 3,
    BENCH_ERROR_BYTES = 512,
    BENCH_PATH_BYTES = PATH_MAX,
    BENCH_NAME_BYTES = 9,
    BENCH_DEPTH_MAX = 64,
};

enum bench_target { BENCH_RAM, BENCH_FILE, BENCH_URING };

/* What is asked for. */
struct bench_options {
    bool get, cold, overwrite, checksum, json;
    int target;                 /* enum bench_target */
    uint64_t size_bytes, count; /* of each operation; operations of each process */
    uint64_t capacity_most;     /* of the target; 0: as much as the blobs need */
    uint32_t processes, repeats, warmups, depth;
    const char *disk_directory;   /* where file targets are made */
    const char *memory_directory; /* where the store is made */
};

/* Private directories of a run, both removed at its end. */
struct bench_place {
    char memory[BENCH_PATH_BYTES]; /* on tmpfs */
    char disk[BENCH_PATH_BYTES];   /* "": not needed */
};

/* The three things that are timed. */
enum bench_phase {
    BENCH_OURS,
    BENCH_LIMIT,
    BENCH_ALONE, /* the limit of one process while the others wait */
};

/* When one process did one phase. */
struct bench_mark {
    uint64_t begin_ns, end_ns, cpu_ns;
};

/* Memory that all processes of a run share; marks[repeat][phase][process] follows. */
struct bench_shared {
    pthread_barrier_t barrier;
    char errors[BENCH_PROCESSES_MAX][BENCH_ERROR_BYTES];
    struct bench_mark marks[];
};

/* One process that measures. */
struct bench_worker {
    const struct bench_options *options;
    const struct bench_place *place;
    struct bench_shared *shared;
    uint32_t index;
    unsigned char *source; /* pool_bytes; operation i puts the piece at (i % pieces) × size */
    uint64_t pieces;
    unsigned char *buffer; /* size_bytes, for gets */
    /* If several operations are under way at once: a piece of memory for each, and what `start`
     * gave for it. */
    unsigned char *slots;
    void *operations[BENCH_DEPTH_MAX];
};

/* Notes why this worker fails; the first reason is kept.  Returns false. */
bool bench_fail(struct bench_worker *worker, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A way to store and fetch `count` pieces of `size_bytes`.  All functions return false after
 * bench_fail().  Only `put`, `get` and `finish` are timed. */
struct bench_subject_ops {
    /* Sets *state; `close` is called only after success and frees it. */
    bool (*open)(struct bench_worker *worker, void **state);
    void (*close)(void *state);
    /* Before puts that are to meet no old data. */
    bool (*clear)(struct bench_worker *worker, void *state);
    bool (*put)(struct bench_worker *worker, void *state, uint64_t index, const void *data);
    bool (*get)(struct bench_worker *worker, void *state, uint64_t index, void *buffer);
    /* Starts a put of, or a get into, `memory`, and waits for one; used where more than one is to
     * be under way.  NULL: cannot. */
    bool (*start)(struct bench_worker *worker, void *state, uint64_t index, void *memory,
                  void **operation);
    bool (*wait)(struct bench_worker *worker, uint64_t index, void *operation);
    /* After the last put: makes them as durable as the target promises.  NULL: nothing to do. */
    bool (*finish)(struct bench_worker *worker, void *state);
    /* Does all operations of a phase itself and says how long they took, instead of put, get and
     * finish.  NULL: they are called one by one. */
    bool (*run)(struct bench_worker *worker, void *state, uint32_t processes,
                struct bench_mark *mark);
};

extern const struct bench_subject_ops bench_ours;
extern const struct bench_subject_ops bench_memcpy;
extern const struct bench_subject_ops bench_pwrite;
extern const struct bench_subject_ops bench_fio;

/* The limit of a run, and what it is called. */
const struct bench_subject_ops *bench_limit_for(const struct bench_options *options);
const char *bench_limit_name(const struct bench_options *options);

/* ---- bench_run.c ---------------------------------------------------------------------------- */

/* Starts processes 0 … count - 1 on `main`, which returns whether it went well, and waits for all.
 * If one fails or a signal asks this process to end, the others are killed.  False then. */
bool bench_fork(uint32_t count, bool (*main)(void *context, uint32_t index), void *context);

/* Makes the directories; false after complaining.  From here on, until bench_leave(), SIGINT,
 * SIGTERM, SIGHUP and SIGQUIT are kept back. */
bool bench_enter(struct bench_place *place, const char *memory_parent, const char *disk_parent);

/* Removes the directories, then lets a signal that came meanwhile end this process.  Returns
 * `result`, or EXIT_FAILED after complaining if something is left. */
int bench_leave(struct bench_place *place, int result);

/* Removes what is in a directory. */
bool bench_empty(const char *directory);

/* Writes the files of a directory ("": none) to their disk and forgets them; false after
 * complaining. */
bool bench_drop_cache(const char *directory);

/* Takes as much memory as a cold run needs and gives it back; false after complaining.  A virtual
 * machine's host makes memory when it is first touched, which would be at the cost of who is first.
 */
bool bench_touch_memory(const struct bench_options *options, const struct bench_place *place);

/* Zeroed memory that forked processes share; NULL if there is none. */
void *bench_share(size_t bytes);

/* Where the directories of a run are made; as the environment says. */
const char *bench_memory_directory(void);
const char *bench_disk_directory(void);

/* Attaches to a run's store, made if it is not there. */
cte_status bench_client_open(const struct bench_options *options, const struct bench_place *place,
                             cte_client **client, char *error, size_t error_bytes);

/* Free space of a directory's file system; false after complaining. */
bool bench_free_bytes(const char *directory, uint64_t *bytes);

/* Room that a store needs in its target for a run. */
uint64_t bench_capacity(const struct bench_options *options);

uint64_t bench_now_ns(void);
uint64_t bench_cpu_ns(void);

/* The name of a piece: eight digits and letters, of the process and the number. */
void bench_name(char name[BENCH_NAME_BYTES], uint32_t process, uint64_t index);

/* ---- bench_work.c --------------------------------------------------------------------------- */

/* Measures everything; false after complaining. */
bool bench_measure(const struct bench_options *options, struct bench_place *place,
                   struct bench_shared *shared);

static inline uint32_t bench_phases(const struct bench_options *options)
{
    return options->processes > 1 ? BENCH_PHASES_MAX : BENCH_PHASES_MAX - 1;
}

static inline struct bench_mark *bench_marks(const struct bench_options *options,
                                             struct bench_shared *shared, uint32_t repeat,
                                             enum bench_phase phase)
{
    return &shared->marks[((size_t)repeat * BENCH_PHASES_MAX + phase) * options->processes];
}

/* ---- bench_report.c ------------------------------------------------------------------------- */

void bench_report(const struct bench_options *options, struct bench_shared *shared);

/* The machine, as members of a JSON object. */
void bench_print_machine_json(void);

double bench_median(double *values, uint32_t count); /* sorts */

const char *bench_target_name(enum bench_target target);

/* "1 MiB", "47008 B" */
void bench_format_size(char text[32], uint64_t bytes);

/* ---- bench_options.c ------------------------------------------------------------------------ */

/* What is wrong with `--config`. */
#define BENCH_NO_CONFIG "a benchmark makes its own configuration: leave --config out"

/* ---- bench_scale.c -------------------------------------------------------------------------- */

extern const struct command bench_scale;

#endif
