/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver's configuration on a file access property list. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

/* HDF5 compares configurations by memcmp: one form for "not given", and padding is 0.  Members
 * before `text` have no padding between them. */
enum { NUMBERS_END = offsetof(cte_hdf5_config, score) + sizeof(float[H5FD_MEM_NTYPES]) };
_Static_assert(sizeof(cte_hdf5_config) == offsetof(cte_hdf5_config, text) + sizeof(char *) &&
                   NUMBERS_END == sizeof(size_t) + (4 + H5FD_MEM_NTYPES) * 4,
               "configuration has padding elsewhere");

static const cte_hdf5_config defaults = CTE_HDF5_CONFIG_INIT;

void cte_hdf5_config_init(cte_hdf5_config *config)
{
    *config = defaults;
}

static herr_t check_scores(const cte_hdf5_config *config)
{
    bool valid = config->score_raw <= 1.0f && config->score_metadata <= 1.0f; /* not for NaN */
    for (int type = 0; type < H5FD_MEM_NTYPES; type++)
        valid = valid && config->score[type] <= 1.0f;
    if (valid)
        return 0;
    CTE__PUSH(H5E_ARGS, H5E_BADRANGE,
              "cte_hdf5_config has a score above 1 (raw %g, metadata %g); scores must be at most "
              "1, or negative to take the configured one",
              (double)config->score_raw, (double)config->score_metadata);
    return -1;
}

static herr_t check(const cte_hdf5_config *config)
{
    if ((unsigned)config->mode > CTE_FILE_MODE_BYPASS) {
        CTE__PUSH(H5E_ARGS, H5E_BADVALUE, "cte_hdf5_config.mode is %d, not a cte_file_mode",
                  (int)config->mode);
        return -1;
    }
    if ((unsigned)config->drain > CTE_FILE_DRAIN_NEVER) {
        CTE__PUSH(H5E_ARGS, H5E_BADVALUE,
                  "cte_hdf5_config.drain is %d, not a cte_file_drain_policy", (int)config->drain);
        return -1;
    }
    return check_scores(config);
}

static void clamp_negative(float *score)
{
    if (*score < 0)
        *score = -1.0f;
}

/* The text becomes one that stays. */
static herr_t keep_text(cte_hdf5_config *config)
{
    struct cte__settings *settings = config->text ? cte__settings_of(config->text) : NULL;
    if (config->text && !settings)
        return -1;
    config->text = settings ? cte__settings_text(settings) : NULL;
    return 0;
}

/* A caller built with an older header has a shorter struct: what it lacks keeps its default. */
herr_t cte__config_normalize(const cte_hdf5_config *given, cte_hdf5_config *config)
{
    memset(config, 0, sizeof *config);
    memcpy(config, &defaults, NUMBERS_END);
    if (!given)
        return 0;
    if (given->size < sizeof given->size + sizeof given->mode || given->size > sizeof *config) {
        CTE__PUSH(H5E_ARGS, H5E_BADVALUE,
                  "cte_hdf5_config.size is %zu, this library knows up to %zu: start from "
                  "CTE_HDF5_CONFIG_INIT",
                  given->size, sizeof *config);
        return -1;
    }
    memcpy(config, given, given->size < NUMBERS_END ? given->size : NUMBERS_END);
    if (given->size == sizeof *config)
        config->text = given->text;
    config->size = sizeof *config;
    clamp_negative(&config->score_raw);
    clamp_negative(&config->score_metadata);
    for (int type = 0; type < H5FD_MEM_NTYPES; type++)
        clamp_negative(&config->score[type]);
    return check(config) < 0 ? -1 : keep_text(config);
}

herr_t H5Pset_fapl_cte(hid_t fapl, const cte_hdf5_config *given)
{
    cte_hdf5_config config;
    hid_t driver = H5FD_cte_init();
    if (driver < 0 || cte__config_normalize(given, &config) < 0)
        return -1;
    return H5Pset_driver(fapl, driver, &config);
}

herr_t H5Pget_fapl_cte(hid_t fapl, cte_hdf5_config *config)
{
    hid_t driver = H5FD_cte_init();
    if (driver < 0 || !config)
        return -1;
    if (H5Pget_driver(fapl) != driver) {
        CTE__PUSH(H5E_PLIST, H5E_BADVALUE, "the property list does not name the cte driver");
        return -1;
    }
    size_t room = config->size;
    if (room < sizeof config->size || room > sizeof *config) {
        CTE__PUSH(H5E_ARGS, H5E_BADVALUE,
                  "cte_hdf5_config.size is %zu: start from "
                  "CTE_HDF5_CONFIG_INIT",
                  room);
        return -1;
    }
    cte_hdf5_config found = cte__config_of_fapl(fapl);
    memcpy(config, &found, room);
    config->size = room;
    return 0;
}

/* What the list says of the driver, NULL for nothing: H5Pset_driver(fapl, H5FD_CTE, NULL) is legal
 * and means defaults; asking prints an error then. */
static const cte_hdf5_config *given_in(hid_t fapl)
{
    const cte_hdf5_config *found = NULL;
    H5E_BEGIN_TRY
    {
        found = H5Pget_driver_info(fapl);
    }
    H5E_END_TRY;
    if (!found)
        H5Eclear2(H5E_DEFAULT);
    return found;
}

cte_hdf5_config cte__config_of_fapl(hid_t fapl)
{
    const cte_hdf5_config *found = given_in(fapl);
    return found ? *found : defaults;
}

#if CTE__HDF5_PLUGINS
/* The text of H5Pset_driver_by_name() or HDF5_DRIVER_CONFIG; NULL if there is none.  Free it. */
static char *text_of_fapl(hid_t fapl)
{
    ssize_t length = -1;
    H5E_BEGIN_TRY
    {
        length = H5Pget_driver_config_str(fapl, NULL, 0);
    }
    H5E_END_TRY;
    if (length < 0)
        H5Eclear2(H5E_DEFAULT);
    char *text = length > 0 ? malloc((size_t)length + 1) : NULL;
    if (text && H5Pget_driver_config_str(fapl, text, (size_t)length + 1) == length)
        return text;
    free(text);
    return NULL;
}
#else
/* Only the environment speaks to a program that does not know of the driver. */
static char *text_of_fapl(hid_t fapl)
{
    const char *text = given_in(fapl) ? NULL : getenv("HDF5_DRIVER_CONFIG");
    return text && *text ? strdup(text) : NULL;
}
#endif

struct cte__settings *cte__settings_of_fapl(hid_t fapl, const cte_hdf5_config *config)
{
    if (config->text)
        return cte__settings_of(config->text);
    char *text = text_of_fapl(fapl);
    struct cte__settings *settings = cte__settings_of(text);
    free(text);
    return settings;
}

bool cte__is_raw(H5FD_mem_t type)
{
    return type == H5FD_MEM_DRAW || type == H5FD_MEM_GHEAP;
}

/* The property list before the configuration, the type before the kind. */
float cte__score_for(const struct cte__settings *settings, const cte_hdf5_config *config,
                     H5FD_mem_t type)
{
    if (config->score[type] >= 0)
        return config->score[type];
    if (!cte__is_raw(type) && config->score_metadata >= 0)
        return config->score_metadata;
    return config->score_raw >= 0 ? config->score_raw : cte__settings_score(settings, type);
}
