/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The beginning and the end of MPI.
 *
 * Whether the job is on one node can only be asked collectively by all of MPI_COMM_WORLD, which
 * MPI_Init is and an open by some of its processes is not.  The end is an attribute of
 * MPI_COMM_SELF: MPI_Finalize deletes those in reverse order, so that ours, set first, goes last,
 * when libraries that close their files in the same way (HDF5 does) are done.
 */
#include "adapter.h"

#include <stdlib.h>

#include <cte/mpiio.h>
#include <cte/version.h>

enum world { WORLD_UNKNOWN, WORLD_ONE_NODE, WORLD_MANY_NODES };

static atomic_int world = WORLD_UNKNOWN;

/*
 * The adapter's own attachment to the store.  The process-wide client is not used, since closing
 * that at the end of MPI would take the store from files that others still have open.
 */
static struct {
    pthread_mutex_t lock;
    cte_client *client;
    bool failed; /* said once, not tried again for each file */
    bool exits;
} store = {.lock = PTHREAD_MUTEX_INITIALIZER};

static cte_status close_client(void)
{
    pthread_mutex_lock(&store.lock);
    cte_client *client = store.client;
    store.client = NULL;
    store.failed = false;
    pthread_mutex_unlock(&store.lock);
    return cte_client_close(client);
}

/* A program that leaves without MPI_Finalize.  Files left open keep their store: their handles may
 * still be closed by somebody's exit handler. */
static void at_exit(void)
{
    cte_status status = CTE_OK;
    if (atomic_load(&cte__mpi_tracked_count) == 0)
        status = close_client();
    if (status != CTE_OK)
        cte__mpi_message(CTE__MPI_ERROR, "at exit: %s", cte_status_string(status));
}

cte_client *cte__mpi_client(void)
{
    pthread_mutex_lock(&store.lock);
    if (!store.client && !store.failed)
        store.failed = cte_client_open(NULL, &store.client) != CTE_OK;
    if (store.client && !store.exits)
        store.exits = atexit(at_exit) == 0;
    cte_client *client = store.client;
    pthread_mutex_unlock(&store.lock);
    return client;
}

static int at_finalize(MPI_Comm comm, int key, void *value, void *state)
{
    (void)comm;
    (void)key;
    (void)value;
    (void)state;
    struct cte__mpi_file *file;
    while ((file = cte__mpi_take_oldest()) != NULL)
        cte__mpi_release(file);
    cte_status status = close_client();
    if (status != CTE_OK)
        cte__mpi_message(CTE__MPI_ERROR, "leaving MPI: %s", cte_status_string(status));
    atomic_store(&world, WORLD_UNKNOWN);
    return MPI_SUCCESS;
}

static void begin(void)
{
    int key;
    MPI_Comm node;
    int node_size = 0;
    int world_size = 0;
    if (PMPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, at_finalize, &key, NULL) != MPI_SUCCESS ||
        PMPI_Comm_set_attr(MPI_COMM_SELF, key, NULL) != MPI_SUCCESS)
        return;
    PMPI_Comm_free_keyval(&key);
    if (PMPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node) !=
        MPI_SUCCESS)
        return;
    PMPI_Comm_size(node, &node_size);
    PMPI_Comm_size(MPI_COMM_WORLD, &world_size);
    PMPI_Comm_free(&node);
    atomic_store(&world, node_size == world_size ? WORLD_ONE_NODE : WORLD_MANY_NODES);
}

bool cte__mpi_world_is_one_node(void)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    int seen = atomic_load(&world);
    if (seen == WORLD_ONE_NODE || atomic_flag_test_and_set(&said))
        return seen == WORLD_ONE_NODE;
    int rank = 0;
    int running = 0;
    PMPI_Initialized(&running);
    if (running)
        PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0 && seen == WORLD_MANY_NODES)
        cte__mpi_message(CTE__MPI_WARN,
                         "the job runs on more than one node: its files pass through untouched");
    else if (rank == 0)
        cte__mpi_message(CTE__MPI_WARN, "MPI was not started by MPI_Init or MPI_Init_thread after "
                                        "libcte_mpiio was loaded: files pass through untouched");
    return false;
}

int MPI_Init(int *argc, char ***argv)
{
    int code = REAL(init)(argc, argv);
    if (code == MPI_SUCCESS)
        begin();
    return code;
}

int MPI_Init_thread(int *argc, char ***argv, int required, int *provided)
{
    int code = REAL(init_thread)(argc, argv, required, provided);
    if (code == MPI_SUCCESS)
        begin();
    return code;
}

/* The mpi_f08 binding calls these. */
extern __typeof__(MPI_Init) PMPI_Init __attribute__((alias("MPI_Init"), copy(MPI_Init)));
extern __typeof__(MPI_Init_thread) PMPI_Init_thread
    __attribute__((alias("MPI_Init_thread"), copy(MPI_Init_thread)));

const char *cte_mpiio_version(void)
{
    return cte_version();
}
