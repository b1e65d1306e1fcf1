/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Status codes of every cte function.
 *
 * A `cte_status` is 0 on success and negative on failure: either a negated errno value (`-ENOSPC`)
 * or one of cte's own codes below.  Own codes start at -10000, outside the errno range.
 *
 * Thread rule: every function here is pure and may be called from any thread.
 */
#ifndef CTE_STATUS_H
#define CTE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef int cte_status;

#define CTE_OK 0

/* X(name, value, text): strings, docs and tests expand this one table. */
#define CTE_ERRORS(X)                                                                              \
    X(CTE_ERR_CONFIG, -10001, "invalid configuration")                                             \
    X(CTE_ERR_CHECKSUM, -10002, "stored data does not match its checksum")                         \
    X(CTE_ERR_STORE_LAYOUT, -10003, "store was made by an incompatible version of cte")            \
    X(CTE_ERR_STORE_OWNER, -10004, "store or target belongs to another user")                      \
    X(CTE_ERR_STORE_CORRUPT, -10005, "store metadata is damaged")                                  \
    X(CTE_ERR_NO_TARGET, -10006, "no usable storage target")                                       \
    X(CTE_ERR_DRAIN, -10007, "data could not be drained to the file; it is kept in the store")     \
    X(CTE_ERR_NOT_FOUND, -10008, "no such tag, blob or target")                                    \
    X(CTE_ERR_NAMESPACE, -10009, "store is in use from another PID namespace")

enum {
#define CTE_STATUS_ENUM(name, value, text) name = (value),
    CTE_ERRORS(CTE_STATUS_ENUM)
#undef CTE_STATUS_ENUM
};

/** Text for a status; never NULL.  Own codes give their table text, others strerror's. */
const char *cte_status_string(cte_status status);

/** Name of a status as it stands in the source ("CTE_ERR_DRAIN", "ENOSPC"); never NULL. */
const char *cte_status_name(cte_status status);

/** The errno value (positive) closest to a status: own codes map to EIO, EINVAL, ENOENT, ... */
int cte_status_errno(cte_status status);

#ifdef __cplusplus
}
#endif
#endif
