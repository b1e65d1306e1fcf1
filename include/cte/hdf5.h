/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * HDF5 virtual file driver: HDF5 files through the tiers of the node.
 *
 *     hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
 *     H5Pset_fapl_cte(fapl, NULL);
 *     hid_t file = H5Fcreate("out.h5", H5F_ACC_TRUNC, H5P_DEFAULT, fapl);
 *
 * The file format is HDF5's own: once drained, any HDF5 reads it with its default driver.
 * Link the driver made for the libhdf5 in use: libcte_hdf5 for the serial one, libcte_hdf5_mpich
 * for the one built with MPICH.  With HDF5 >= 1.14 nothing needs to be linked: HDF5_PLUGIN_PATH
 * names the directory of the driver, and HDF5_DRIVER=cte or H5Pset_driver_by_name(fapl, "cte",
 * text) picks it; the text (HDF5_DRIVER_CONFIG) is that of `text` below.
 *
 * Thread rule: as HDF5's: any thread with a thread-safe HDF5, else one at a time.
 * Error rule: HDF5's: negative on failure, the reason stands on the error stack (H5Eprint2).
 */
#ifndef CTE_HDF5_H
#define CTE_HDF5_H

#include <stddef.h>

#include <hdf5.h>

#include <cte/file.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How files of one access property list are handled; start from CTE_HDF5_CONFIG_INIT or
 *  cte_hdf5_config_init(). */
typedef struct cte_hdf5_config {
    size_t size;                 /**< sizeof(cte_hdf5_config), for compatibility */
    cte_file_mode mode;          /**< see cte/file.h */
    cte_file_drain_policy drain; /**< see cte/file.h */
    float score_raw;      /**< 0 … 1 for raw data and global heaps, negative: as configured */
    float score_metadata; /**< 0 … 1 for all else, negative: as score_raw, or as configured if that
                               is negative too */
    float score[H5FD_MEM_NTYPES]; /**< 0 … 1 by H5FD_mem_t, negative: as the two above say */
    const char *text; /**< YAML that takes the place of a configuration file for these files, such
                           as "{file: {drain: async}}"; NULL: none.  Copied by H5Pset_fapl_cte(). */
} cte_hdf5_config;

#define CTE_HDF5_CONFIG_INIT                                                                       \
    {                                                                                              \
        sizeof(cte_hdf5_config), CTE_FILE_MODE_CONFIG, CTE_FILE_DRAIN_CONFIG, -1.0f, -1.0f,        \
            {-1.0f, -1.0f, -1.0f, -1.0f, -1.0f, -1.0f, -1.0f}, NULL                                \
    }

/** Sets `config` to CTE_HDF5_CONFIG_INIT, for languages and programs that cannot use that. */
void cte_hdf5_config_init(cte_hdf5_config *config);

/** The driver's id, registered on first use; negative on failure.  HDF5 owns it. */
#define H5FD_CTE (H5FD_cte_init())
hid_t H5FD_cte_init(void);

/**
 * Makes files opened with `fapl` go through cte.
 * @param fapl    file access property list
 * @param config  copied; NULL: defaults.  A value out of range or a wrong text is refused.
 */
herr_t H5Pset_fapl_cte(hid_t fapl, const cte_hdf5_config *config);

/**
 * Tells what H5Pset_fapl_cte() set; fails if `fapl` names another driver.
 * @param config  `config->size` must be set by the caller (CTE_HDF5_CONFIG_INIT).  The text is the
 *                library's and stays.
 */
herr_t H5Pget_fapl_cte(hid_t fapl, cte_hdf5_config *config);

#ifdef H5_HAVE_PARALLEL

/**
 * Makes files that the processes of a communicator open together with `fapl` go through cte.  In
 * place of H5Pset_fapl_mpio(); everything else of a parallel program stays as it is.  Collective
 * over `comm`.
 *
 * With HDF5 1.14, and all processes on one node, by the driver "cte_mpio".  Else by HDF5's own mpio
 * driver and the MPI-IO layer: with HDF5 1.10 libcte_mpiio must be loaded in front of the MPI
 * library (LD_PRELOAD, or linked before it), or the call fails; across nodes files pass through
 * untouched.
 *
 * @param comm    copied, as by H5Pset_fapl_mpio(); MPI must be running
 * @param info    copied; hints for the MPI-IO layer (cte/mpiio.h) and the MPI library, or
 *                MPI_INFO_NULL
 * @param config  copied; NULL: defaults.  The same for all processes.  For the MPI-IO layer it
 *                becomes hints, which replace those of `info`: there the score is that of raw data,
 *                and a text is refused.
 */
herr_t H5Pset_fapl_cte_mpio(hid_t fapl, MPI_Comm comm, MPI_Info info,
                            const cte_hdf5_config *config);

#if H5_VERSION_GE(1, 14, 0)
/** The MPI driver's id, registered on first use; negative on failure.  HDF5 owns it.  A property list
 * that names it needs H5Pset_mpi_params(). */
#define H5FD_CTE_MPIO (H5FD_cte_mpio_init())
hid_t H5FD_cte_mpio_init(void);

/** The MPI driver's class (an H5FD_class_t), for HDF5's plugin loader. */
const void *cte_hdf5_mpio_class(void);
#endif

#endif

#ifdef __cplusplus
}
#endif
#endif
