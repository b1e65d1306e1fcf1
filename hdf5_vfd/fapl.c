/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver's configuration on a file access property list. */
#include "driver.h"

#include <string.h>

/* HDF5 compares configurations by memcmp: no padding, one form for "not given". */
_Static_assert(sizeof(cte_hdf5_config) == sizeof(size_t) + 4 * 4, "configuration has padding");

static const cte_hdf5_config defaults = CTE_HDF5_CONFIG_INIT;

static bool score_is_valid(float score)
{
    return score <= 1.0f; /* false for NaN too; negative means not given */
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
    if (!score_is_valid(config->score_raw) || !score_is_valid(config->score_metadata)) {
        CTE__PUSH(
            H5E_ARGS, H5E_BADRANGE,
            "cte_hdf5_config scores are %g (raw) and %g (metadata); they must be at most 1, or "
            "negative to take the configured one",
            (double)config->score_raw, (double)config->score_metadata);
        return -1;
    }
    return 0;
}

/* A caller built with an older header has a shorter struct: what it lacks keeps its default. */
static herr_t normalize(const cte_hdf5_config *given, cte_hdf5_config *config)
{
    *config = defaults;
    if (!given)
        return 0;
    if (given->size < sizeof given->size + sizeof given->mode || given->size > sizeof *config) {
        CTE__PUSH(H5E_ARGS, H5E_BADVALUE,
                  "cte_hdf5_config.size is %zu, this library knows up to %zu: start from "
                  "CTE_HDF5_CONFIG_INIT",
                  given->size, sizeof *config);
        return -1;
    }
    memcpy(config, given, given->size);
    config->size = sizeof *config;
    if (config->score_raw < 0)
        config->score_raw = -1.0f;
    if (config->score_metadata < 0)
        config->score_metadata = -1.0f;
    return check(config);
}

herr_t H5Pset_fapl_cte(hid_t fapl, const cte_hdf5_config *given)
{
    cte_hdf5_config config;
    hid_t driver = H5FD_cte_init();
    if (driver < 0 || normalize(given, &config) < 0)
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

/* H5Pset_driver(fapl, H5FD_CTE, NULL) is legal and means defaults; asking prints an error then. */
cte_hdf5_config cte__config_of_fapl(hid_t fapl)
{
    const cte_hdf5_config *found = NULL;
    H5E_BEGIN_TRY
    {
        found = H5Pget_driver_info(fapl);
    }
    H5E_END_TRY;
    return found ? *found : defaults;
}
