/* SPDX-License-Identifier: BSD-3-Clause */
#include "real.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

static struct cte__mpi_real table;
static atomic_bool ready;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The names are all there: this library is linked to the MPI library, which is loaded after it. */
static void resolve(void)
{
#define CALL(name) table.name = (__typeof__(table.name))dlsym(RTLD_NEXT, "PMPI_File_" #name);
#define UNTOUCHED(name, why)
#include "mpi_calls.def"
    table.init = (__typeof__(table.init))dlsym(RTLD_NEXT, "PMPI_Init");
    table.init_thread = (__typeof__(table.init_thread))dlsym(RTLD_NEXT, "PMPI_Init_thread");
    table.request_get_status =
        (__typeof__(table.request_get_status))dlsym(RTLD_NEXT, "PMPI_Request_get_status");
    atomic_store_explicit(&ready, true, memory_order_release);
}

const struct cte__mpi_real *cte__mpi_real(void)
{
    if (!atomic_load_explicit(&ready, memory_order_acquire))
        pthread_once(&once, resolve);
    return &table;
}
