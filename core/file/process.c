/* SPDX-License-Identifier: BSD-3-Clause */
/* The process-wide client: opened when it is first needed, or by cte_init(). */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cte/client.h>
#include <cte/config.h>

#include "base/log.h"
#include "task/task.h"

enum { ERROR_BYTES = 1024 };

static struct {
    pthread_mutex_t lock;
    cte_client *client;
    cte_status failure; /* of the first use without cte_init(): kept, so that it is said once */
    char *config_path;  /* of the cte_init() that opened the client; NULL: the usual sources */
    unsigned inits;     /* cte_init() without their cte_finalize() */
    bool at_exit;       /* close_at_exit() is registered */
} process = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Takes the client away from the process; its lock is held. */
static cte_client *take_client(void)
{
    cte_client *client = process.client;
    process.client = NULL;
    process.failure = CTE_OK;
    process.inits = 0;
    free(process.config_path);
    process.config_path = NULL;
    return client;
}

static void close_at_exit(void)
{
    pthread_mutex_lock(&process.lock);
    cte_client *client = take_client();
    pthread_mutex_unlock(&process.lock);
    /* The status was logged; at exit nobody is left to take it. */
    cte_status status = cte_client_close(client);
    (void)status;
}

static cte_status open_with(const cte_config *config)
{
    cte_status status = cte_client_open(config, &process.client);
    if (!process.at_exit && atexit(close_at_exit) == 0)
        process.at_exit = true;
    return status;
}

cte_status cte_client_default(cte_client **out)
{
    if (!out)
        return -EINVAL;
    pthread_mutex_lock(&process.lock);
    if (!process.client && process.failure == CTE_OK)
        process.failure = open_with(NULL);
    cte_status status = process.client ? CTE_OK : process.failure;
    *out = process.client;
    pthread_mutex_unlock(&process.lock);
    return status;
}

cte_status cte_client_default_close(void)
{
    if (cte__task_in_task())
        return -EDEADLK; /* before the client is taken away */
    pthread_mutex_lock(&process.lock);
    cte_client *client = process.inits == 0 ? take_client() : NULL;
    pthread_mutex_unlock(&process.lock);
    return cte_client_close(client);
}

/* Opens the client for cte_init(); the lock is held. */
static cte_status init_client(const char *path)
{
    char error[ERROR_BYTES] = "";
    cte_config *config;
    char *copy = path ? strdup(path) : NULL;
    if (path && !copy)
        return -ENOMEM;
    cte_status status = cte_config_load(path, &config, error, sizeof error);
    if (status != CTE_OK) {
        cte__log_error("configuration: %s", error[0] ? error : cte_status_string(status));
        free(copy);
        return status;
    }
    status = open_with(config);
    cte_config_free(config);
    if (status != CTE_OK) {
        free(copy);
        return status;
    }
    process.failure = CTE_OK;
    process.config_path = copy;
    return CTE_OK;
}

cte_status cte_init(const char *config_path)
{
    const char *path = config_path && config_path[0] ? config_path : NULL;
    cte_status status = CTE_OK;
    pthread_mutex_lock(&process.lock);
    if (!process.client) {
        status = init_client(path);
    } else if (path && (!process.config_path || strcmp(path, process.config_path) != 0)) {
        cte__log_error("cte_init(\"%s\"): this process uses cte already, configured by %s", path,
                       process.config_path ? process.config_path : "environment or defaults");
        status = -EBUSY;
    }
    if (status == CTE_OK)
        process.inits++;
    pthread_mutex_unlock(&process.lock);
    return status;
}

cte_status cte_finalize(void)
{
    cte_client *client = NULL;
    if (cte__task_in_task())
        return -EDEADLK;
    pthread_mutex_lock(&process.lock);
    cte_status status = process.inits > 0 ? CTE_OK : -EINVAL;
    if (process.inits == 1)
        client = take_client();
    else if (process.inits > 1)
        process.inits--;
    pthread_mutex_unlock(&process.lock);
    return status == CTE_OK ? cte_client_close(client) : status;
}
