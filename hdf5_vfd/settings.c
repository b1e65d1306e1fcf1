/* SPDX-License-Identifier: BSD-3-Clause */
/* Configuration texts: each is parsed once, and has its own attachment to the store it names.
 *
 * HDF5 copies and compares the driver's part of property lists as plain bytes, so a list holds a
 * text by its address; texts therefore live as long as the process.  There are few of them.  All
 * of this is only touched under HDF5's global lock. */
#include "driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cte/config.h>

struct cte__settings {
    struct cte__settings *next;
    char *text;                   /* NULL: what the process is configured to */
    cte_config *config;           /* NULL: there is none that is right, so no client either */
    float score[H5FD_MEM_NTYPES]; /* negative: automatic */
    /* The driver's own, for as long as HDF5 is open.  The process-wide client would be closed at
     * exit before HDF5 closes the files that the program left open. */
    cte_client *client;
    bool client_failed;  /* said once, not tried again for each file */
    uint32_t file_count; /* open, of both drivers */
};

static struct cte__settings *all;

static const char *const score_keys[H5FD_MEM_NTYPES] = {
    [H5FD_MEM_SUPER] = "hdf5.score_super", [H5FD_MEM_BTREE] = "hdf5.score_btree",
    [H5FD_MEM_DRAW] = "hdf5.score_draw",   [H5FD_MEM_GHEAP] = "hdf5.score_gheap",
    [H5FD_MEM_LHEAP] = "hdf5.score_lheap", [H5FD_MEM_OHDR] = "hdf5.score_ohdr",
};

static float score_of(const cte_config *config, const char *key)
{
    char text[32], *end = text;
    if (!key || !config || cte_config_get(config, key, text, sizeof text) != CTE_OK)
        return -1.0f;
    float score = strtof(text, &end);
    return end == text ? -1.0f : score;
}

/* Metadata is small and often needed: it belongs to the fastest tier.  A score that is the file
 * layer's own anyway needs no handle of its own. */
static void read_scores(struct cte__settings *settings)
{
    float general = score_of(settings->config, "file.score");
    for (int type = 0; type < H5FD_MEM_NTYPES; type++) {
        float score = score_of(settings->config, score_keys[type]);
        if (score < 0 && !cte__is_raw((H5FD_mem_t)type))
            score = 1.0f;
        settings->score[type] = score == general ? -1.0f : score;
    }
}

/* Wrong text of the program's or the user's own is an error.  Without text, a wrong configuration
 * file or variable was logged, and files pass through: programs run without the tiers. */
static struct cte__settings *make(const char *text)
{
    char error[1024] = "";
    struct cte__settings *settings = calloc(1, sizeof *settings);
    char *copy = text ? strdup(text) : NULL;
    cte_status status = -ENOMEM;
    if (settings && (copy || !text))
        status = text ? cte_config_parse(text, "HDF5 driver configuration", &settings->config,
                                         error, sizeof error)
                      : cte_config_load(NULL, &settings->config, NULL, 0);
    if (status != CTE_OK && (text || !settings)) {
        CTE__PUSH(H5E_ARGS, H5E_BADVALUE, "%s", error[0] ? error : cte_status_string(status));
        free(copy);
        free(settings);
        return NULL;
    }
    settings->text = copy;
    read_scores(settings);
    settings->next = all;
    return all = settings;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

struct cte__settings *cte__settings_of(const char *text)
{
    for (struct cte__settings *settings = all; settings; settings = settings->next)
        if (same_text(settings->text, text))
            return settings;
    return make(text);
}

const char *cte__settings_text(const struct cte__settings *settings)
{
    return settings->text;
}

cte_client *cte__settings_client(struct cte__settings *settings)
{
    if (!settings->client && !settings->client_failed)
        settings->client_failed = cte_client_open(settings->config, &settings->client) != CTE_OK;
    return settings->client;
}

float cte__settings_score(const struct cte__settings *settings, H5FD_mem_t type)
{
    return settings->score[type];
}

void cte__settings_hold(struct cte__settings *settings)
{
    settings->file_count++;
}

void cte__settings_release(struct cte__settings *settings)
{
    settings->file_count--;
}

/* A drain that fails here was logged, its data is kept, and HDF5 is past taking errors. */
void cte__settings_close_clients(void)
{
    for (struct cte__settings *settings = all; settings; settings = settings->next) {
        if (settings->file_count > 0)
            continue;
        (void)cte_client_close(settings->client);
        settings->client = NULL;
        settings->client_failed = false;
    }
}
