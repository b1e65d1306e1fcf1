/* SPDX-License-Identifier: BSD-3-Clause */
/* The targets of a store, from the command line. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cte/target.h>

#include "command.h"
#include "json.h"
#include "terminal.h"

enum { TARGETS_MAX = 64 };

typedef unsigned long long ull;

struct list_options {
    bool exact;
};

struct register_options {
    float score; /* negative: not given */
};

static const char *state_name(cte_target_state state)
{
    switch (state) {
    case CTE_TARGET_DRAINING:
        return "draining";
    case CTE_TARGET_FAILED:
        return "failed";
    case CTE_TARGET_ACTIVE:
        break;
    }
    return "active";
}

static void print_json(const cte_target_info *t)
{
    json_object(NULL);
    json_text("name", t->name);
    json_text("label", t->label);
    json_text("kind", t->kind);
    json_text("state", state_name(t->state));
    json_real("score", (double)t->score, -1);
    json_bool("score_given", t->manual_score);
    json_bool("measured", t->measured);
    json_uint("bytes_per_s", t->bytes_per_s);
    json_uint("latency_ns", t->latency_ns);
    json_uint("capacity_bytes", t->capacity_bytes);
    json_uint("free_bytes", t->free_bytes);
    json_uint("bytes_written", t->bytes_written);
    json_uint("bytes_read", t->bytes_read);
    json_uint("writes", t->writes);
    json_uint("reads", t->reads);
    json_uint("failures", t->failures);
    json_end();
}

/* Padded, so that what follows stays in its column whatever the tone. */
static void print_state(cte_target_state state)
{
    enum tone tone = state == CTE_TARGET_FAILED     ? TONE_BAD
                     : state == CTE_TARGET_DRAINING ? TONE_WARNING
                                                    : TONE_PLAIN;
    printf("%s%-8s%s", tone_text(stdout, tone), state_name(state), tone_text(stdout, TONE_PLAIN));
}

static void print_row(const cte_target_info *t, bool exact)
{
    enum { MB = 1000000, NS_PER_US = 1000 };
    printf("%-7s ", t->kind);
    print_state(t->state);
    printf(" %5.2f%c %8llu%c %8.1f %15s %15s  ", (double)t->score, t->manual_score ? '*' : ' ',
           (ull)t->bytes_per_s / MB, t->measured ? ' ' : '?', (double)t->latency_ns / NS_PER_US,
           size_text(t->capacity_bytes, exact).text, size_text(t->free_bytes, exact).text);
    print_name(t->name);
    if (t->label[0]) {
        fputs(" (", stdout);
        print_name(t->label);
        putchar(')');
    }
    putchar('\n');
}

static cte_status list_targets(cte_client *client, bool json, bool exact)
{
    cte_target_info infos[TARGETS_MAX];
    uint32_t count = 0;
    cte_status status = cte_client_targets(client, infos, TARGETS_MAX, &count);
    if (status != CTE_OK)
        return status;
    if (json) {
        json_object(NULL);
        json_array("targets");
    } else {
        printf("%-7s %-8s %5s  %8s  %8s %15s %15s  %s\n", "KIND", "STATE", "SCORE", "MB/S", "US",
               "CAPACITY", "FREE", "TARGET");
    }
    for (uint32_t i = 0; i < count && i < TARGETS_MAX; i++) {
        if (json)
            print_json(&infos[i]);
        else
            print_row(&infos[i], exact);
    }
    if (json) {
        json_end();
        json_end();
    }
    return CTE_OK;
}

static int run_list(const struct invocation *in)
{
    const struct list_options *options = in->options;
    cte_client *client;
    int result = open_store(in, false, &client);
    if (result != EXIT_OK)
        return result;
    cte_status status = list_targets(client, in->json, options->exact);
    return close_store(client, status == CTE_OK ? EXIT_OK : complain_status(status));
}

/* A configuration of one target: KIND CAPACITY [PATH].  NULL after complaining. */
static cte_config *describe(const struct invocation *in)
{
    const struct register_options *options = in->options;
    char error[1024], score[32];
    cte_config *config;
    const char *path = in->argument_count > 2 ? in->arguments[2] : NULL;
    cte_status status = cte_config_new(&config, error, sizeof error);
    if (status != CTE_OK) {
        complain("%s", error);
        return NULL;
    }
    status = cte_config_add_target(config, in->arguments[0], path, in->arguments[1], error,
                                   sizeof error);
    if (status == CTE_OK && options->score >= 0) {
        snprintf(score, sizeof score, "%.9g", (double)options->score);
        status = cte_config_set(config, "storage[0].score", score, error, sizeof error);
    }
    if (status == CTE_OK)
        return config;
    complain("%s", error[0] ? error : cte_status_string(status));
    cte_config_free(config);
    return NULL;
}

static void print_name_json(const char *kind, const char *name)
{
    json_object(NULL);
    if (kind)
        json_text("kind", kind);
    json_text("name", name);
    json_end();
}

static int run_register(const struct invocation *in)
{
    cte_client *client;
    int result = open_store(in, false, &client);
    if (result != EXIT_OK)
        return result;
    cte_config *config = describe(in);
    if (!config)
        return close_store(client, EXIT_FAILED);
    cte_status status = cte_target_register(client, config, 0);
    cte_config_free(config);
    if (status != CTE_OK)
        result = complain("the target is not registered: %s", cte_status_string(status));
    else if (in->json)
        print_name_json(in->arguments[0], in->argument_count > 2 ? in->arguments[2] : NULL);
    return close_store(client, result);
}

static int unregister_target(cte_client *client, const char *name)
{
    cte_status status = cte_target_unregister(client, name);
    switch (status) {
    case CTE_OK:
        return EXIT_OK;
    case CTE_ERR_NOT_FOUND:
        return complain("there is no target %s; `cte targets` lists them", name);
    case -ENOSPC:
        return complain("target %s stays: the others have no room for what it holds", name);
    case -EBUSY:
        return complain("target %s stays: it is the last one, or in use for long", name);
    default:
        return complain("target %s stays: %s", name, cte_status_string(status));
    }
}

static int run_unregister(const struct invocation *in)
{
    cte_client *client;
    int result = open_store(in, false, &client);
    if (result != EXIT_OK)
        return result;
    result = unregister_target(client, in->arguments[0]);
    if (result == EXIT_OK && in->json)
        print_name_json(NULL, in->arguments[0]);
    return close_store(client, result);
}

/* ---- the commands --------------------------------------------------------------------------- */

static const struct option_row list_rows[] = {
    {"bytes", 'b', OPTION_FLAG, offsetof(struct list_options, exact),
     .help = "print sizes in bytes"},
    {0},
};

static const struct command list = {
    .name = "list",
    .synopsis = "[--bytes] [--json]",
    .summary = "list the storage targets of the store, highest score first",
    .run = run_list,
    .options = list_rows,
    .options_bytes = sizeof(struct list_options),
};

static const struct option_row register_rows[] = {
    {"score", 's', OPTION_SCORE, offsetof(struct register_options, score), .value = "S",
     .help = "0 to 1, in place of the one that its speed gives"},
    {0},
};

static const struct register_options register_defaults = {.score = -1.0f};

static const struct command register_command = {
    .name = "register",
    .synopsis = "[--score S] [--json] KIND CAPACITY [PATH]",
    .summary = "add a target, or take one back into use",
    .description =
        "Adds a target to the store while it is in use, as an element of `storage:` in the "
        "configuration would; or takes one back into use that is draining or has failed. "
        "The third argument names a `ram` target and is the path of others.",
    .run = run_register,
    .options = register_rows,
    .defaults = &register_defaults,
    .options_bytes = sizeof(struct register_options),
    .least = 2,
    .most = 3,
};

static const struct command unregister_command = {
    .name = "unregister",
    .synopsis = "[--json] NAME",
    .summary = "move what a target holds to the others, and remove it",
    .run = run_unregister,
    .least = 1,
    .most = 1,
};

static const struct command *const forms[] = {&list, &register_command, &unregister_command, NULL};

const struct command command_targets = {
    .name = "targets",
    .synopsis = "[list] [--bytes] [--json]\n"
                "register [--score S] [--json] KIND CAPACITY [PATH]\n"
                "unregister [--json] NAME",
    .summary = "list the storage targets of the store, add or remove one",
    .run = run_list,
    .options = list_rows,
    .options_bytes = sizeof(struct list_options),
    .commands = forms,
};
