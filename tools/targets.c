/* SPDX-License-Identifier: BSD-3-Clause */
/* The targets of a store, from the command line. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cte/target.h>

#include "tool.h"

enum { TARGETS_MAX = 64 };

typedef unsigned long long ull;

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
    fputs("{\"name\": ", stdout);
    print_json_string(t->name);
    fputs(", \"label\": ", stdout);
    print_json_string(t->label);
    printf(", \"kind\": \"%s\", \"state\": \"%s\", \"score\": %g, \"score_given\": %s"
           ", \"measured\": %s, \"bytes_per_s\": %llu, \"latency_ns\": %llu"
           ", \"capacity_bytes\": %llu, \"free_bytes\": %llu, \"bytes_written\": %llu"
           ", \"bytes_read\": %llu, \"writes\": %llu, \"reads\": %llu, \"failures\": %u}",
           t->kind, state_name(t->state), (double)t->score, t->manual_score ? "true" : "false",
           t->measured ? "true" : "false", (ull)t->bytes_per_s, (ull)t->latency_ns,
           (ull)t->capacity_bytes, (ull)t->free_bytes, (ull)t->bytes_written, (ull)t->bytes_read,
           (ull)t->writes, (ull)t->reads, t->failures);
}

static void print_row(const cte_target_info *t)
{
    enum { MB = 1000000, NS_PER_US = 1000 };
    printf("%-7s %-8s %5.2f%c %8llu%c %8.1f %15llu %15llu  ", t->kind, state_name(t->state),
           (double)t->score, t->manual_score ? '*' : ' ', (ull)t->bytes_per_s / MB,
           t->measured ? ' ' : '?', (double)t->latency_ns / NS_PER_US, (ull)t->capacity_bytes,
           (ull)t->free_bytes);
    print_name(t->name);
    if (t->label[0]) {
        fputs(" (", stdout);
        print_name(t->label);
        putchar(')');
    }
    putchar('\n');
}

static cte_status list_targets(cte_client *client, bool json)
{
    cte_target_info infos[TARGETS_MAX];
    uint32_t count = 0;
    cte_status status = cte_client_targets(client, infos, TARGETS_MAX, &count);
    if (status != CTE_OK)
        return status;
    if (json)
        fputs("{\"targets\": [", stdout);
    else
        printf("%-7s %-8s %5s  %8s  %8s %15s %15s  %s\n", "KIND", "STATE", "SCORE", "MB/S", "US",
               "CAPACITY", "FREE", "TARGET");
    for (uint32_t i = 0; i < count && i < TARGETS_MAX; i++) {
        if (json) {
            fputs(i ? ",\n  " : "\n  ", stdout);
            print_json(&infos[i]);
        } else {
            print_row(&infos[i]);
        }
    }
    if (json)
        puts("]}");
    return CTE_OK;
}

/* A configuration of one target: KIND CAPACITY [PATH].  NULL after complaining. */
static cte_config *describe(const struct invocation *in)
{
    char error[1024], score[32];
    cte_config *config;
    const char *path = in->argument_count > 3 ? in->arguments[3] : NULL;
    cte_status status = cte_config_new(&config, error, sizeof error);
    if (status != CTE_OK) {
        complain("%s", error);
        return NULL;
    }
    status = cte_config_add_target(config, in->arguments[1], path, in->arguments[2], error,
                                   sizeof error);
    if (status == CTE_OK && in->score_given) {
        snprintf(score, sizeof score, "%.9g", (double)in->score);
        status = cte_config_set(config, "storage[0].score", score, error, sizeof error);
    }
    if (status == CTE_OK)
        return config;
    complain("%s", error[0] ? error : cte_status_string(status));
    cte_config_free(config);
    return NULL;
}

static int register_target(const struct invocation *in, cte_client *client)
{
    cte_config *config = describe(in);
    if (!config)
        return EXIT_FAILED;
    cte_status status = cte_target_register(client, config, 0);
    cte_config_free(config);
    if (status == CTE_OK)
        return EXIT_OK;
    return complain("the target is not registered: %s", cte_status_string(status));
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

/* Which of the forms of the command it is; 0: none. */
static char form_of(const struct invocation *in)
{
    const char *what = in->argument_count > 0 ? in->arguments[0] : "list";
    bool plain = !in->json && !in->score_given;
    if (strcmp(what, "list") == 0)
        return in->argument_count <= 1 && !in->score_given ? 'l' : 0;
    if (strcmp(what, "register") == 0)
        return in->argument_count >= 3 && !in->json ? 'r' : 0;
    if (strcmp(what, "unregister") == 0)
        return in->argument_count == 2 && plain ? 'u' : 0;
    return 0;
}

int command_targets(const struct invocation *in)
{
    char form = form_of(in);
    if (form == 0) {
        complain("give one of: targets [list] [--json]; targets register [--score S] KIND CAPACITY "
                 "[PATH]; targets unregister NAME");
        return EXIT_USAGE;
    }
    cte_client *client = open_store(in, false);
    if (!client)
        return EXIT_FAILED;
    int result = EXIT_OK;
    if (form == 'r') {
        result = register_target(in, client);
    } else if (form == 'u') {
        result = unregister_target(client, in->arguments[1]);
    } else {
        cte_status status = list_targets(client, in->json);
        if (status != CTE_OK)
            result = complain("%s", cte_status_string(status));
    }
    return close_store(client, result);
}
