/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening, closing and deleting by all processes of a communicator together.  Each step is agreed
 * on: either all of them have the file, handled in the same way, or none. */
#include "mpio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cte/mpiio.h>

static void give_back(MPI_Comm *comm, MPI_Info *info)
{
    if (*comm != MPI_COMM_NULL)
        PMPI_Comm_free(comm);
    if (*info != MPI_INFO_NULL)
        PMPI_Info_free(info);
}

/* Copies, to be given back. */
static herr_t get_parameters(const char *name, hid_t fapl, MPI_Comm *comm, MPI_Info *info)
{
    *comm = MPI_COMM_NULL;
    *info = MPI_INFO_NULL;
    if (H5Pget_mpi_params(fapl, comm, info) < 0)
        return -1;
    if (*comm == MPI_COMM_NULL) {
        CTE__PUSH(H5E_FILE, H5E_CANTOPENFILE,
                  "no communicator for '%s': set one by H5Pset_fapl_cte_mpio() or "
                  "H5Pset_mpi_params()",
                  name);
        give_back(comm, info);
        return -1;
    }
    return 0;
}

/* Ends what some processes may have opened and others not: nobody may wait for anybody. */
static cte_status close_severed(struct cte__mpio_file *file, cte_status status)
{
    file->core.severed = true;
    (void)cte__handles_close(&file->common.handles);
    file->core.severed = false;
    return status;
}

/* One process makes the file or cuts it, then all open it. */
static cte_status open_first(struct cte__mpio_file *file, const struct cte__handles_from *from,
                             int flags)
{
    bool makes = file->core.table.rank == 0;
    cte_status status = CTE_OK;
    if (makes)
        status = cte__handles_open_first(&file->common.handles, from, flags);
    cte_status worst = cte__mpi_agree(&file->core, status);
    if (worst != CTE_OK)
        return close_severed(file, worst);
    if (!makes)
        status = cte__handles_open_first(&file->common.handles, from, flags & O_ACCMODE);
    worst = cte__mpi_agree(&file->core, status);
    return worst == CTE_OK ? CTE_OK : close_severed(file, worst);
}

static bool all_say(struct cte__mpio_file *file, bool mine)
{
    return cte__mpi_agree(&file->core, mine ? CTE_OK : -ENOTSUP) == CTE_OK;
}

/* The store is a node's: where the processes are on several, or one of them has no store, all go
 * to the real file. */
static cte_file_mode agreed_mode(struct cte__mpio_file *file)
{
    bool tiers = file->common.config.mode != CTE_FILE_MODE_BYPASS &&
                 cte__settings_client(file->common.settings) != NULL;
    bool one_node = cte__mpi_is_one_node(file->core.comm);
    return all_say(file, tiers && one_node) ? file->common.config.mode : CTE_FILE_MODE_BYPASS;
}

/* Each process has a configuration of its own; if they do not agree, nobody uses the tiers. */
static cte_status open_handles(struct cte__mpio_file *file, int flags)
{
    struct cte__handles_from from = {.name = file->common.name,
                                     .settings = file->common.settings,
                                     .config = &file->common.config,
                                     .mode = agreed_mode(file),
                                     .comm = &file->core.table};
    cte_status status = open_first(file, &from, flags);
    if (status != CTE_OK || all_say(file, !file->common.handles.tracked))
        return status;
    if (all_say(file, file->common.handles.tracked)) {
        status = cte__handles_open_others(&file->common.handles, &from, flags);
        status = cte__mpi_agree(&file->core, status);
        return status == CTE_OK ? CTE_OK : close_severed(file, status);
    }
    status = cte__mpi_agree(&file->core, cte__handles_close(&file->common.handles));
    from.mode = CTE_FILE_MODE_BYPASS;
    return status == CTE_OK ? open_first(file, &from, flags & O_ACCMODE) : status;
}

_Static_assert(sizeof(MPI_File) == sizeof(void *), "a handle of MPI is a pointer");

/* HDF5 finds an MPI_File behind the public part of the handle, and sets and asks its atomicity.  It
 * carries no data, only that mode, so it is one of nothing, for this process alone: the file
 * system of the real file need not know.  MPI_FILE_NULL if it could not be had: then HDF5 refuses
 * to set the mode. */
static MPI_File open_atomicity(void)
{
    MPI_Info info;
    MPI_File handle = MPI_FILE_NULL;
    if (PMPI_Info_create(&info) != MPI_SUCCESS)
        return MPI_FILE_NULL;
    PMPI_Info_set(info, CTE_MPIIO_HINT_MODE, "bypass"); /* should our MPI-IO layer be loaded too */
    if (PMPI_File_open(MPI_COMM_SELF, "/dev/null", MPI_MODE_RDWR, info, &handle) != MPI_SUCCESS)
        handle = MPI_FILE_NULL;
    PMPI_Info_free(&info);
    return handle;
}

/* HDF5 decides by the size whether there is a file to read: all must see the same one. */
static cte_status learn_size(struct cte__mpio_file *file)
{
    cte_status status = CTE_OK;
    uint64_t size = 0;
    if (file->core.table.rank == 0)
        status = cte_file_size(file->common.handles.items[0], &size);
    status = cte__mpi_agree(&file->core, status);
    if (status == CTE_OK)
        status = file->core.table.broadcast(&file->core, &size, sizeof size, 0);
    file->common.eof = size;
    return status;
}

static void free_file(struct cte__mpio_file *file)
{
    MPI_File atomicity = file->common.mpi_file;
    if (atomicity != MPI_FILE_NULL)
        PMPI_File_close(&atomicity);
    cte__common_end(&file->common);
    cte__mpi_comm_free(&file->core);
    give_back(&file->comm, &file->info);
    free(file);
}

/* What one process can do by itself.  Takes over the info. */
static struct cte__mpio_file *prepare(const char *name, hid_t fapl, MPI_Info info)
{
    size_t length = strlen(name) + 1;
    struct cte__mpio_file *file = calloc(1, sizeof *file + length);
    if (file && info == MPI_INFO_NULL && PMPI_Info_create(&info) != MPI_SUCCESS) {
        free(file);
        file = NULL;
    }
    if (!file) {
        CTE__PUSH(H5E_RESOURCE, H5E_NOSPACE, "out of memory opening '%s'", name);
        if (info != MPI_INFO_NULL)
            PMPI_Info_free(&info);
        return NULL;
    }
    memcpy(file->name_text, name, length);
    file->common.mpi_file = MPI_FILE_NULL;
    file->info = info;
    (void)cte__common_begin(&file->common, file->name_text, fapl); /* its caller looks */
    return file;
}

/* NULL on all processes if one of them cannot go on; takes over the communicator and the info. */
static struct cte__mpio_file *new_file(const char *name, hid_t fapl, MPI_Comm comm, MPI_Info info)
{
    struct cte__mpio_file *file = prepare(name, fapl, info);
    int mine = file != NULL && file->common.settings != NULL, all = 0;
    int code = PMPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MIN, comm);
    if (code == MPI_SUCCESS && all)
        code = cte__mpi_comm_init(&file->core, comm);
    if (code == MPI_SUCCESS && all) {
        file->comm = comm;
        return file;
    }
    CTE__PUSH(H5E_FILE, H5E_CANTOPENFILE, "unable to open file: name = '%s': %s", name,
              mine ? "another process cannot" : "wrong configuration or no memory");
    if (file) {
        PMPI_Info_free(&file->info);
        cte__common_end(&file->common);
    }
    free(file);
    PMPI_Comm_free(&comm);
    return NULL;
}

H5FD_t *cte__mpio_open(const char *name, unsigned flags, hid_t fapl, haddr_t maxaddr)
{
    MPI_Comm comm;
    MPI_Info info;
    int mode = cte__open_flags(flags);
    (void)maxaddr;
    if (get_parameters(name, fapl, &comm, &info) < 0)
        return NULL;
    struct cte__mpio_file *file = new_file(name, fapl, comm, info);
    if (!file)
        return NULL;
    cte_status status = open_handles(file, mode);
    if (status == CTE_OK)
        status = learn_size(file);
    if (status != CTE_OK) {
        close_severed(file, status);
        cte__push_open_error(name, status, flags);
        free_file(file);
        return NULL;
    }
    file->common.mpi_file = open_atomicity();
    return &file->common.pub;
}

/* Drains when all are here, and tells all of them the worst that happened to any. */
herr_t cte__mpio_close(H5FD_t *pub)
{
    struct cte__mpio_file *file = (struct cte__mpio_file *)pub;
    cte_status waited = cte__mpi_comm_barrier(&file->core);
    cte_status status = cte__handles_close(&file->common.handles);
    status = cte__mpi_agree(&file->core, status != CTE_OK ? status : waited);
    if (status != CTE_OK)
        CTE__PUSH(H5E_IO, H5E_CANTCLOSEFILE, "error closing '%s': %s (%s)", file->common.name,
                  cte_status_string(status), cte_status_name(status));
    free_file(file);
    return status == CTE_OK ? 0 : -1;
}

/* One process deletes; nobody goes on before it is gone, nor is it while somebody is not here. */
herr_t cte__mpio_delete(const char *name, hid_t fapl)
{
    MPI_Comm comm;
    MPI_Info info;
    int rank, error = 0;
    if (get_parameters(name, fapl, &comm, &info) < 0)
        return -1;
    PMPI_Comm_rank(comm, &rank);
    int code = PMPI_Barrier(comm);
    if (code == MPI_SUCCESS && rank == 0 && remove(name) != 0)
        error = errno;
    if (code == MPI_SUCCESS)
        code = PMPI_Bcast(&error, 1, MPI_INT, 0, comm);
    give_back(&comm, &info);
    if (code == MPI_SUCCESS && error == 0)
        return 0;
    CTE__PUSH(H5E_VFL, H5E_CANTDELETEFILE,
              "unable to delete file '%s': errno = %d, error message = '%s'", name, error,
              code == MPI_SUCCESS ? strerror(error) : "MPI failed");
    return -1;
}
