/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What telemetry costs a put and a get: two clients of one store, one that records and one that
 * does not, take turns; medians of the rounds.
 *
 *   bench_telemetry [SIZE]      bytes of each put, default 4096
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cte/blob.h>
#include <cte/config.h>
#include <cte/telemetry.h>

enum { ROUNDS = 101, PUTS = 500, BLOBS = 64 };

struct side {
    cte_client *client;
    cte_tag *tag;
    double ns[2][ROUNDS]; /* put, get */
};

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void need(cte_status status, const char *what)
{
    if (status == CTE_OK)
        return;
    fprintf(stderr, "bench_telemetry: %s: %s\n", what, cte_status_string(status));
    exit(1);
}

static void set(cte_config *config, const char *key, const char *value)
{
    char error[512];
    if (cte_config_set(config, key, value, error, sizeof error) == CTE_OK)
        return;
    fprintf(stderr, "bench_telemetry: %s\n", error);
    exit(1);
}

static void open_side(struct side *side, const char *enabled)
{
    char name[64];
    cte_config *config;
    need(cte_config_new(&config, NULL, 0), "configuration");
    snprintf(name, sizeof name, "bench-telemetry-%ld", (long)getpid());
    set(config, "store.name", name);
    set(config, "telemetry.enabled", enabled);
    need(cte_config_add_target(config, "ram", NULL, "256MiB", NULL, 0), "target");
    need(cte_client_open(config, &side->client), "store");
    need(cte_tag_open(side->client, enabled, true, &side->tag), "tag");
    cte_config_free(config);
}

static double run(struct side *side, char *bytes, size_t size, int get)
{
    double start = now_ns();
    for (int i = 0; i < PUTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%d", i % BLOBS);
        need(get ? cte_blob_get(side->tag, name, 0, bytes, size, NULL)
                 : cte_blob_put(side->tag, name, 0, bytes, size, 1.0f, 0),
             get ? "get" : "put");
    }
    return (now_ns() - start) / PUTS;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, compare);
    return values[ROUNDS / 2];
}

int main(int argc, char **argv)
{
    static struct side sides[2];
    size_t size = argc > 1 ? strtoul(argv[1], NULL, 10) : 4096;
    char *bytes = size > 0 ? calloc(1, size) : NULL;
    if (!bytes)
        return 2;
    open_side(&sides[0], "false");
    open_side(&sides[1], "true");
    for (int round = 0; round < ROUNDS; round++)
        for (int get = 0; get < 2; get++)
            for (int i = 0; i < 2; i++) {
                int which = (round + i) % 2; /* neither is always first */
                sides[which].ns[get][round] = run(&sides[which], bytes, size, get);
            }
    for (int get = 0; get < 2; get++) {
        double off = median(sides[0].ns[get]), on = median(sides[1].ns[get]);
        printf("%s of %zu bytes: %.0f ns without, %.0f ns with telemetry, %+.0f ns, %+.1f %%\n",
               get ? "get" : "put", size, off, on, on - off, (on - off) / off * 100);
    }
    cte_tag_close(sides[0].tag);
    cte_tag_close(sides[1].tag);
    need(cte_tag_delete(sides[0].client, "false"), "tag");
    need(cte_tag_delete(sides[0].client, "true"), "tag");
    need(cte_client_close(sides[0].client), "close");
    need(cte_client_close(sides[1].client), "close");
    free(bytes);
    return 0;
}
