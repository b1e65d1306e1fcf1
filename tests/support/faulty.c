/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/faulty.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "target/backing.h"

enum { RULES_MAX = 8, TEAR_KILL = -1 };

enum operation { OPERATION_WRITE, OPERATION_READ, OPERATION_SYNC, OPERATION_COUNT };
enum action { ACTION_NONE, ACTION_FAIL, ACTION_DELAY, ACTION_DROP, ACTION_TEAR };

struct rule {
    enum operation operation;
    long from, to; /* both included */
    enum action action;
    long argument; /* errno, ms, TEAR_KILL */
};

struct faulty {
    const struct cte__target_ops *ops; /* of the target behind */
    void *state;
    struct rule rules[RULES_MAX];
    int rule_count;
    atomic_long counts[OPERATION_COUNT];
    atomic_int fired;
};

/* ---- rules ---- */

static void refuse(const char *rule)
{
    fprintf(stderr, "faulty: rule '%s' is not understood\n", rule);
    abort();
}

static enum action parse_action(const char *word)
{
    static const char *const words[] = {"", "fail", "delay", "drop", "tear"};
    for (int i = ACTION_FAIL; i <= ACTION_TEAR; i++)
        if (strcmp(word, words[i]) == 0)
            return (enum action)i;
    return ACTION_NONE;
}

static struct rule parse_rule(const char *text)
{
    static const char *const operations[] = {"write", "read", "sync"};
    char operation[16], which[16], action[16], argument[16] = "";
    int fields = sscanf(text, "%15s %15s %15s %15s", operation, which, action, argument);
    if (fields < 3)
        refuse(text);
    struct rule rule = {.operation = OPERATION_COUNT, .action = parse_action(action)};
    for (int i = 0; i < OPERATION_COUNT; i++)
        if (strcmp(operation, operations[i]) == 0)
            rule.operation = (enum operation)i;
    char *end;
    rule.from = rule.to = strtol(which, &end, 10);
    if (*end == '+')
        rule.to = INT32_MAX;
    rule.argument = strcmp(argument, "kill") == 0 ? TEAR_KILL : atoi(argument);
    bool needs_number = rule.action == ACTION_FAIL || rule.action == ACTION_DELAY;
    bool writes_only = rule.action == ACTION_DROP || rule.action == ACTION_TEAR;
    if (rule.operation == OPERATION_COUNT || rule.action == ACTION_NONE || rule.from < 1 ||
        (needs_number && rule.argument <= 0) || (writes_only && rule.operation != OPERATION_WRITE))
        refuse(text);
    return rule;
}

void faulty_set(struct cte__target_handle *handle, const char *rules)
{
    struct faulty *faulty = atomic_load(&handle->open)->state;
    char *copy = strdup(rules), *rest = copy, *text;
    if (!copy)
        abort();
    faulty->rule_count = 0;
    while ((text = strsep(&rest, ";"))) {
        if (text[strspn(text, " ")] == '\0')
            continue;
        if (faulty->rule_count == RULES_MAX)
            refuse(text);
        faulty->rules[faulty->rule_count++] = parse_rule(text);
    }
    free(copy);
    for (int i = 0; i < OPERATION_COUNT; i++)
        faulty->counts[i] = 0;
    faulty->fired = 0;
}

int faulty_fired(const struct cte__target_handle *handle)
{
    const struct faulty *faulty = atomic_load(&handle->open)->state;
    return faulty->fired;
}

static struct rule rule_for(struct faulty *faulty, enum operation operation)
{
    long number = atomic_fetch_add(&faulty->counts[operation], 1) + 1;
    for (int i = 0; i < faulty->rule_count; i++) {
        const struct rule *rule = &faulty->rules[i];
        if (rule->operation != operation || number < rule->from || number > rule->to)
            continue;
        atomic_fetch_add(&faulty->fired, 1);
        return *rule;
    }
    return (struct rule){.action = ACTION_NONE};
}

static void delay(long ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&time, &time) != 0 && errno == EINTR)
        continue;
}

/* ---- operations ---- */

/* Writes the first half byte for byte: whole pages, and what is left of one with what it held. */
static cte_status write_half(struct faulty *faulty, const struct cte__target_io *io)
{
    uint64_t half = io->bytes / 2;
    char *bytes = malloc(io->bytes);
    if (!bytes)
        return -ENOMEM;
    struct iovec iov = {.iov_base = bytes, .iov_len = io->bytes};
    struct cte__target_io part = {
        .offset = io->offset, .iov = &iov, .iov_count = 1, .bytes = io->bytes};
    cte_status rc = faulty->ops->io(faulty->state, &part);
    uint64_t done = 0;
    for (int i = 0; i < io->iov_count && done < half; i++) {
        uint64_t piece = cte__min(io->iov[i].iov_len, half - done);
        if (piece > 0)
            memcpy(bytes + done, io->iov[i].iov_base, piece);
        done += piece;
    }
    part.write = true;
    if (rc == 0)
        rc = faulty->ops->io(faulty->state, &part);
    free(bytes);
    return rc;
}

static cte_status tear(struct faulty *faulty, const struct cte__target_io *io, long outcome)
{
    cte_status rc = write_half(faulty, io);
    if (outcome == TEAR_KILL)
        kill(getpid(), SIGKILL);
    return rc != 0 ? rc : (cte_status)-outcome;
}

static cte_status faulty_io(void *opaque, const struct cte__target_io *io)
{
    struct faulty *faulty = opaque;
    if (io->bytes == 0)
        return faulty->ops->io(faulty->state, io);
    struct rule rule = rule_for(faulty, io->write ? OPERATION_WRITE : OPERATION_READ);
    switch (rule.action) {
    case ACTION_FAIL:
        return (cte_status)-rule.argument;
    case ACTION_DROP:
        return 0;
    case ACTION_TEAR:
        return tear(faulty, io, rule.argument);
    case ACTION_DELAY:
        delay(rule.argument);
        break;
    case ACTION_NONE:
        break;
    }
    return faulty->ops->io(faulty->state, io);
}

static cte_status faulty_sync(void *opaque)
{
    struct faulty *faulty = opaque;
    struct rule rule = rule_for(faulty, OPERATION_SYNC);
    if (rule.action == ACTION_FAIL)
        return (cte_status)-rule.argument;
    if (rule.action == ACTION_DELAY)
        delay(rule.argument);
    return faulty->ops->sync(faulty->state);
}

static void faulty_close(void *opaque)
{
    struct faulty *faulty = opaque;
    if (!faulty)
        return;
    faulty->ops->close(faulty->state);
    free(faulty);
}

/* Neither views nor sums: everything passes through faulty_io(). */
static const struct cte__target_ops faulty_ops = {
    .kind = "faulty", .io = faulty_io, .sync = faulty_sync, .close = faulty_close};

void faulty_wrap(struct cte__target_handle *handle)
{
    struct faulty *faulty = calloc(1, sizeof *faulty);
    if (!faulty)
        abort();
    struct cte__open_target *open = atomic_load(&handle->open);
    faulty->ops = open->ops;
    faulty->state = open->state;
    open->ops = &faulty_ops;
    open->state = faulty;
}

/* ---- before a file ---- */

static cte_status create_file(const struct cte__target_spec *spec)
{
    return cte__target_file.create(spec);
}

static cte_status open_file(const struct cte__target_spec *spec, void **state)
{
    struct cte__open_target open = {.ops = &cte__target_file};
    struct cte__target_handle handle = {.open = &open};
    cte_status rc = cte__target_file.open(spec, &open.state);
    if (rc != 0)
        return rc;
    faulty_wrap(&handle);
    *state = open.state;
    return 0;
}

static cte_status destroy_file(const struct cte__target_spec *spec)
{
    return cte__target_file.destroy(spec);
}

const struct cte__target_ops faulty_file = {
    .kind = "faulty",
    .capabilities = CTE__TARGET_SURVIVES_PROCESS | CTE__TARGET_SURVIVES_NODE,
    .create = create_file,
    .open = open_file,
    .io = faulty_io,
    .sync = faulty_sync,
    .close = faulty_close,
    .destroy = destroy_file,
};
