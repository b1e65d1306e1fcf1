/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Preloaded over libcte: makes one kind of file call fail.  CTE_TEST_FAULT is "<call>:<errno>",
 * e.g. "write:28".  Only rank CTE_TEST_FAULT_RANK (0) of MPI_COMM_WORLD fails.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <cte/file.h>

static cte_status fault(const char *call)
{
    const char *wanted = getenv("CTE_TEST_FAULT");
    const char *rank = getenv("PMI_RANK");
    const char *failing = getenv("CTE_TEST_FAULT_RANK");
    size_t length = strlen(call);
    if (!wanted || strncmp(wanted, call, length) != 0 || wanted[length] != ':')
        return CTE_OK;
    return rank && strcmp(rank, failing ? failing : "0") == 0 ? -atoi(wanted + length + 1) : CTE_OK;
}

cte_status cte_file_write(cte_file *file, const cte_file_segment *segments, size_t count)
{
    __typeof__(&cte_file_write) real = (__typeof__(&cte_file_write))dlsym(RTLD_NEXT, __func__);
    cte_status status = fault("write");
    return status != CTE_OK ? status : real(file, segments, count);
}

cte_status cte_file_read(cte_file *file, const cte_file_segment *segments, size_t count,
                         uint64_t *transferred)
{
    __typeof__(&cte_file_read) real = (__typeof__(&cte_file_read))dlsym(RTLD_NEXT, __func__);
    cte_status status = fault("read");
    return status != CTE_OK ? status : real(file, segments, count, transferred);
}

cte_status cte_file_drain(cte_file *file)
{
    __typeof__(&cte_file_drain) real = (__typeof__(&cte_file_drain))dlsym(RTLD_NEXT, __func__);
    cte_status status = fault("drain");
    return status != CTE_OK ? status : real(file);
}

/* The handle goes in any case, as it does in earnest. */
cte_status cte_file_close(cte_file *file)
{
    __typeof__(&cte_file_close) real = (__typeof__(&cte_file_close))dlsym(RTLD_NEXT, __func__);
    cte_status status = real(file);
    return status != CTE_OK ? status : fault("close");
}

/* A process that cannot open what the others can. */
cte_status cte_file_open(cte_client *client, const char *path, int flags, mode_t perm,
                         const cte_file_options *options, cte_file **out)
{
    __typeof__(&cte_file_open) real = (__typeof__(&cte_file_open))dlsym(RTLD_NEXT, __func__);
    cte_status status = fault("open");
    *out = NULL;
    return status != CTE_OK ? status : real(client, path, flags, perm, options, out);
}
