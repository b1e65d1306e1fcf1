/* SPDX-License-Identifier: BSD-3-Clause */
/* The MPI driver's class, its registration, and the callbacks that move no data.
 *
 * HDF5 asks an MPI driver for its communicator and then relies on more than MPI-IO promises: what
 * one process wrote, others read after a mere barrier or broadcast.  The file layer gives that. */
#include "mpio.h"

#include <stdatomic.h>

static _Atomic hid_t driver_id = H5I_INVALID_HID;

static struct cte__mpio_file *of(const H5FD_t *pub)
{
    return (struct cte__mpio_file *)pub;
}

static herr_t terminate(void)
{
    cte__unregistered(&driver_id);
    return 0;
}

/* As the stock mpio driver.  There is no `cmp` either: with one HDF5 would open files twice to
 * create them. */
static herr_t query(const H5FD_t *pub, unsigned long *flags)
{
    (void)pub;
    if (flags)
        *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_HAS_MPI |
                 H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

static herr_t get_handle(H5FD_t *pub, hid_t fapl, void **handle)
{
    (void)fapl;
    (void)handle;
    CTE__PUSH(H5E_VFL, H5E_UNSUPPORTED,
              "'%s' is neither an MPI_File nor a descriptor: its newest bytes may be in the node's "
              "store",
              of(pub)->common.name);
    return -1;
}

/* HDF5 flushes collectively, but MPI_File_sync() does not make processes wait for each other, and
 * neither does this. */
static herr_t flush(H5FD_t *pub, hid_t dxpl, hbool_t closing)
{
    (void)dxpl;
    return closing ? 0 : cte__sync(&of(pub)->common);
}

static cte_status set_size(struct cte__mpio_file *file)
{
    uint64_t size = 0;
    cte_status status = cte_file_size(file->common.handles.items[0], &size);
    if (status == CTE_OK && size != file->common.eoa)
        status = cte_file_truncate(file->common.handles.items[0], file->common.eoa);
    return status;
}

/* Between two points where all processes wait: before the first they wrote what is to be cut or
 * kept, after the second they may write where it was cut. */
static herr_t truncate_file(H5FD_t *pub, hid_t dxpl, hbool_t closing)
{
    struct cte__mpio_file *file = of(pub);
    (void)dxpl;
    (void)closing;
    if (file->common.eoa == file->sized_for)
        return 0;
    cte_status status = cte__mpi_comm_barrier(&file->core);
    if (status == CTE_OK && file->core.table.rank == 0)
        status = set_size(file);
    status = cte__mpi_agree(&file->core, status);
    if (status != CTE_OK)
        return cte__push_size_error(&file->common, status);
    file->sized_for = file->common.eof = file->common.eoa;
    return 0;
}

/* Never asks for MPI_File_sync() after writes: with that HDF5 refuses independent ones. */
static herr_t control(H5FD_t *pub, uint64_t operation, uint64_t flags, const void *input,
                      void **output)
{
    struct cte__mpio_file *file = of(pub);
    (void)input;
    switch (operation) {
    case H5FD_CTL_GET_MPI_COMMUNICATOR_OPCODE:
        **(MPI_Comm **)output = file->comm;
        return 0;
    case H5FD_CTL_GET_MPI_INFO_OPCODE:
        **(MPI_Info **)output = file->info;
        return 0;
    case H5FD_CTL_GET_MPI_RANK_OPCODE:
        **(int **)output = file->core.table.rank;
        return 0;
    case H5FD_CTL_GET_MPI_SIZE_OPCODE:
        **(int **)output = file->core.table.rank_count;
        return 0;
    case H5FD_CTL_GET_MPI_FILE_SYNC_OPCODE:
        **(hbool_t **)output = false;
        return 0;
    default:
        if (!(flags & H5FD_CTL_FAIL_IF_UNKNOWN_FLAG))
            return 0;
        CTE__PUSH(H5E_VFL, H5E_FCNTL, "operation %llu is unknown to the cte_mpio driver",
                  (unsigned long long)operation);
        return -1;
    }
}

static const H5FD_class_t driver_class = {
    .version = H5FD_CLASS_VERSION,
    .value = CTE__VFD_MPIO_VALUE,
    .name = "cte_mpio",
    .maxaddr = INT64_MAX,
    .fc_degree = H5F_CLOSE_SEMI,
    .terminate = terminate,
    .fapl_size = sizeof(cte_hdf5_config),
    .fapl_get = cte__fapl_get,
    .fapl_copy = cte__config_copy,
    .fapl_free = cte__config_free,
    .open = cte__mpio_open,
    .close = cte__mpio_close,
    .query = query,
    .get_eoa = cte__get_eoa,
    .set_eoa = cte__set_eoa,
    .get_eof = cte__get_eof,
    .get_handle = get_handle,
    .read = cte__mpio_read,
    .write = cte__mpio_write,
    .read_vector = cte__mpio_read_vector,
    .write_vector = cte__mpio_write_vector,
    .read_selection = cte__mpio_read_selection,
    .write_selection = cte__mpio_write_selection,
    .flush = flush,
    .truncate = truncate_file,
    .del = cte__mpio_delete,
    .ctl = control,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

hid_t H5FD_cte_mpio_init(void)
{
    return cte__register(&driver_class, &driver_id);
}

const void *cte_hdf5_mpio_class(void)
{
    return &driver_class;
}
