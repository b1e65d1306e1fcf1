/* SPDX-License-Identifier: BSD-3-Clause */
/* H5Pset_fapl_cte_mpio(): which driver the files of a parallel program get.
 *
 * Where HDF5 takes MPI drivers from outside and all processes are on one node, ours.  Else HDF5's
 * own, which makes MPI-IO calls: these reach the tiers through libcte_mpiio, if it is loaded. */
#include "driver.h"

#include <dlfcn.h>
#include <stdio.h>

#include <mpi.h>

#include <cte/mpiio.h>

#include "mpi_common/comm.h"

static herr_t check_arguments(MPI_Comm comm)
{
    int running = 0, over = 0;
    PMPI_Initialized(&running);
    PMPI_Finalized(&over);
    if (!running || over) {
        CTE__PUSH(H5E_PLIST, H5E_BADVALUE,
                  "H5Pset_fapl_cte_mpio: MPI is not running: call it "
                  "after MPI_Init and before MPI_Finalize");
        return -1;
    }
    if (comm == MPI_COMM_NULL) {
        CTE__PUSH(H5E_PLIST, H5E_BADVALUE,
                  "H5Pset_fapl_cte_mpio: the communicator is "
                  "MPI_COMM_NULL");
        return -1;
    }
    return 0;
}

static void set_hint(MPI_Info info, const char *key, const char *value, int *code)
{
    if (value && *code == MPI_SUCCESS)
        *code = PMPI_Info_set(info, key, value);
}

/* What the configuration says, in the words of the MPI-IO layer, beside the program's own hints.
 * That layer has one score for a file: that of raw data. */
static int set_hints(MPI_Info info, const cte_hdf5_config *config)
{
    static const char *const modes[] = {[CTE_FILE_MODE_DEFAULT] = "default",
                                        [CTE_FILE_MODE_SCRATCH] = "scratch",
                                        [CTE_FILE_MODE_BYPASS] = "bypass"};
    static const char *const drains[] = {[CTE_FILE_DRAIN_ON_CLOSE] = "on_close",
                                         [CTE_FILE_DRAIN_ASYNC] = "async",
                                         [CTE_FILE_DRAIN_NEVER] = "never"};
    int code = MPI_SUCCESS;
    float score =
        config->score[H5FD_MEM_DRAW] >= 0 ? config->score[H5FD_MEM_DRAW] : config->score_raw;
    char text[32];
    snprintf(text, sizeof text, "%g", (double)score);
    set_hint(info, CTE_MPIIO_HINT_MODE, modes[config->mode], &code);
    set_hint(info, CTE_MPIIO_HINT_DRAIN, drains[config->drain], &code);
    set_hint(info, CTE_MPIIO_HINT_SCORE, score >= 0 ? text : NULL, &code);
    return code;
}

static herr_t set_stock_driver(hid_t fapl, MPI_Comm comm, MPI_Info info,
                               const cte_hdf5_config *config)
{
    MPI_Info hints;
    if (config->text) {
        CTE__PUSH(H5E_PLIST, H5E_CANTSET,
                  "H5Pset_fapl_cte_mpio: the files go through HDF5's mpio driver and the MPI-IO "
                  "layer here, which takes no text: give it a configuration file by CTE_CONFIG");
        return -1;
    }
    int code = info == MPI_INFO_NULL ? PMPI_Info_create(&hints) : PMPI_Info_dup(info, &hints);
    if (code != MPI_SUCCESS) {
        CTE__PUSH(H5E_PLIST, H5E_CANTSET, "H5Pset_fapl_cte_mpio: the hints cannot be copied");
        return -1;
    }
    code = set_hints(hints, config);
    herr_t result = -1;
    if (code == MPI_SUCCESS)
        result = H5Pset_fapl_mpio(fapl, comm, hints);
    else
        CTE__PUSH(H5E_PLIST, H5E_CANTSET, "H5Pset_fapl_cte_mpio: the hints cannot be set");
    PMPI_Info_free(&hints);
    return result;
}

#if CTE__HDF5_MPI_DRIVERS

static herr_t set_driver(hid_t fapl, MPI_Comm comm, MPI_Info info, const cte_hdf5_config *config)
{
    if (!cte__mpi_is_one_node(comm))
        return set_stock_driver(fapl, comm, info, config);
    hid_t driver = H5FD_cte_mpio_init();
    if (driver < 0 || H5Pset_mpi_params(fapl, comm, info) < 0)
        return -1;
    return H5Pset_driver(fapl, driver, config);
}

#else

/* Loaded is not enough: MPI_File_open() must be its own, not MPICH's. */
static bool mpiio_layer_is_in_front(void)
{
    Dl_info marker, open;
    void *name = dlsym(RTLD_DEFAULT, "cte_mpiio_version");
    void *call = dlsym(RTLD_DEFAULT, "MPI_File_open");
    if (!name) {
        CTE__PUSH(H5E_PLIST, H5E_CANTSET,
                  "H5Pset_fapl_cte_mpio: libcte_mpiio is not loaded, and this HDF5 reaches the "
                  "tiers only through it: run the program with LD_PRELOAD=libcte_mpiio.so, or link "
                  "it before the MPI library");
        return false;
    }
    if (call && dladdr(name, &marker) != 0 && dladdr(call, &open) != 0 &&
        marker.dli_fbase == open.dli_fbase)
        return true;
    CTE__PUSH(H5E_PLIST, H5E_CANTSET,
              "H5Pset_fapl_cte_mpio: libcte_mpiio is loaded behind another library that has the "
              "MPI-IO calls (%s): link it before that one, or run the program with "
              "LD_PRELOAD=libcte_mpiio.so",
              call && dladdr(call, &open) != 0 ? open.dli_fname : "none");
    return false;
}

static herr_t set_driver(hid_t fapl, MPI_Comm comm, MPI_Info info, const cte_hdf5_config *config)
{
    return mpiio_layer_is_in_front() ? set_stock_driver(fapl, comm, info, config) : -1;
}

#endif

herr_t H5Pset_fapl_cte_mpio(hid_t fapl, MPI_Comm comm, MPI_Info info, const cte_hdf5_config *given)
{
    cte_hdf5_config config;
    if (check_arguments(comm) < 0 || cte__config_normalize(given, &config) < 0)
        return -1;
    return set_driver(fapl, comm, info, &config);
}
