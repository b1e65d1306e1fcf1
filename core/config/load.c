/* SPDX-License-Identifier: BSD-3-Clause */
/* From a source to the effective configuration: defaults, then YAML, then the environment. */
#include "config/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 1 << 20 };

static cte_status fill(struct cte__config_load *load, const char *text, size_t length)
{
    cte_status status = cte__config_set_defaults(load);
    if (status == CTE_OK && text)
        status = cte__config_parse_yaml(load, text, length);
    if (status == CTE_OK)
        status = cte__config_apply_environment(load);
    if (status == CTE_OK)
        status = cte__config_default_targets(load);
    if (status == CTE_OK)
        status = cte__config_apply_target_environment(load);
    return status;
}

cte_status cte__config_load_text(struct cte__config_load *load, const char *text, size_t length,
                                 cte_config **out)
{
    load->config = calloc(1, sizeof *load->config);
    if (!load->config)
        return -ENOMEM;
    snprintf(load->config->source, sizeof load->config->source, "%s", text ? load->source : "");
    cte_status status = fill(load, text, length);
    if (status == CTE_ERR_NO_TARGET && load->targets_may_lack) {
        if (load->error && load->error_bytes > 0)
            load->error[0] = '\0';
        status = CTE_OK;
    }
    if (status != CTE_OK) {
        cte_config_free(load->config);
        return status;
    }
    cte__config_warn_unknown_variables();
    *out = load->config;
    return CTE_OK;
}

static cte_status read_all(struct cte__config_load *load, const struct cte__config_where *where,
                           int fd, char *text, size_t *length)
{
    *length = 0;
    while (*length < TEXT_BYTES_MAX) {
        ssize_t n = read(fd, text + *length, TEXT_BYTES_MAX - *length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cte__config_fail(load, where, "cannot read the configuration: %s",
                                    strerror(errno));
        if (n == 0)
            return CTE_OK;
        *length += (size_t)n;
    }
    return cte__config_fail(load, where, "is larger than %d bytes; a configuration is a short file",
                            TEXT_BYTES_MAX - 1);
}

static cte_status load_open_file(struct cte__config_load *load,
                                 const struct cte__config_where *where, int fd, cte_config **out)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return cte__config_fail(load, where, "cannot read the configuration: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return cte__config_fail(load, where, "is %s, not a file; name a YAML file",
                                S_ISDIR(st.st_mode) ? "a directory" : "a device or pipe");
    char *text = malloc(TEXT_BYTES_MAX);
    if (!text)
        return -ENOMEM;
    size_t length;
    cte_status status = read_all(load, where, fd, text, &length);
    if (status == CTE_OK)
        status = cte__config_load_text(load, text, length, out);
    free(text);
    return status;
}

/* `variable` named the file, or NULL. */
static cte_status load_file(struct cte__config_load *load, const char *variable, cte_config **out)
{
    struct cte__config_where where = {.source = load->source};
    int fd = open(load->source, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return cte__config_fail(
            load, &where, "cannot open the configuration: %s; %s%s", strerror(errno),
            variable ? "correct or unset " : "check the path and its permissions",
            variable ? variable : "");
    cte_status status = load_open_file(load, &where, fd, out);
    close(fd);
    return status;
}

static struct cte__config_load start(const char *source, char *error, size_t error_bytes)
{
    if (error && error_bytes > 0)
        error[0] = '\0';
    return (struct cte__config_load){.source = source, .error = error, .error_bytes = error_bytes};
}

cte_status cte_config_load(const char *path, cte_config **out, char *error, size_t error_bytes)
{
    static const char *const variables[] = {"CTE_CONFIG", "WRP_RUNTIME_CONF"};
    if (!out)
        return -EINVAL;
    *out = NULL;
    const char *variable = NULL;
    for (size_t i = 0; i < sizeof variables / sizeof variables[0] && !path; i++) {
        const char *value = getenv(variables[i]);
        if (value && *value) {
            path = value;
            variable = variables[i];
        }
    }
    struct cte__config_load load = start(path, error, error_bytes);
    return path ? load_file(&load, variable, out) : cte__config_load_text(&load, NULL, 0, out);
}

cte_status cte_config_parse(const char *text, const char *name, cte_config **out, char *error,
                            size_t error_bytes)
{
    if (!text || !out)
        return -EINVAL;
    *out = NULL;
    struct cte__config_load load = start(name ? name : "configuration", error, error_bytes);
    return cte__config_load_text(&load, text, strlen(text), out);
}
