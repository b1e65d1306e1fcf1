/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Telemetry: what the processes of a store did with its tags and blobs, operation by operation.
 *
 * Each call of the blob, tag and target functions leaves one entry in a ring in the node's store:
 * what was done, with how many bytes of which blob, how long it took, who did it, and how it ended.
 * Any process can read the entries of all processes.  The ring is bounded: old entries make room
 * for new ones, and whatever a reader did not get to see is counted.  Recording never waits, never
 * allocates, and never fails an operation.  The configuration switches it (`telemetry.enabled`) and
 * says how many entries are kept (`telemetry.entries`).
 *
 * Thread rule: all functions are thread-safe.
 * Error rule: see status.h.
 */
#ifndef CTE_TELEMETRY_H
#define CTE_TELEMETRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cte/blob.h>
#include <cte/client.h>
#include <cte/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What is recorded: X(name of the constant, its number, its name as text). */
#define CTE_TELEMETRY_OPS(X)                                                                       \
    X(CTE_OP_BLOB_PUT, 0, "put")                                                                   \
    X(CTE_OP_BLOB_GET, 1, "get")                                                                   \
    X(CTE_OP_BLOB_DELETE, 2, "delete")                                                             \
    X(CTE_OP_TAG_OPEN, 3, "tag_open")                                                              \
    X(CTE_OP_TAG_DELETE, 4, "tag_delete")                                                          \
    X(CTE_OP_TAG_SIZE, 5, "tag_size")                                                              \
    X(CTE_OP_BLOB_SCORE, 6, "score")                                                               \
    X(CTE_OP_BLOB_SIZE, 7, "size")                                                                 \
    X(CTE_OP_BLOB_INFO, 8, "info")                                                                 \
    X(CTE_OP_BLOB_REORGANIZE, 9, "reorganize")                                                     \
    X(CTE_OP_BLOB_APPEND, 10, "append")                                                            \
    X(CTE_OP_BLOB_RENAME, 11, "rename")                                                            \
    X(CTE_OP_TAG_LIST, 12, "tag_list")                                                             \
    X(CTE_OP_QUERY, 13, "query")                                                                   \
    X(CTE_OP_FLUSH, 14, "flush")                                                                   \
    X(CTE_OP_TARGET_REGISTER, 15, "target_register")                                               \
    X(CTE_OP_TARGET_UNREGISTER, 16, "target_unregister")                                           \
    X(CTE_OP_TARGET_STAT, 17, "target_stat")                                                       \
    X(CTE_OP_BLOB_VIEW, 18, "view")                                                                \
    X(CTE_OP_TAG_FIND, 19, "tag_find")                                                             \
    X(CTE_OP_BLOB_BLOCKS, 20, "blocks")

/** The operations; 0 to 7 are those of the reference document. */
typedef enum cte_telemetry_op {
#define CTE_TELEMETRY_OP_CONSTANT(name, number, text) name = number,
    CTE_TELEMETRY_OPS(CTE_TELEMETRY_OP_CONSTANT)
#undef CTE_TELEMETRY_OP_CONSTANT
} cte_telemetry_op;

/** Target of an entry: none was touched, or more than one. */
enum { CTE_TELEMETRY_NO_TARGET = 255 };

/**
 * Identity of a blob: a hash of its tag's id and its name, the same in all processes and for ever.
 * All zeros: the operation is on no single blob.  @see cte_blob_id_of()
 */
typedef struct cte_blob_id {
    uint32_t major; /**< upper half of the hash */
    uint32_t minor; /**< lower half */
} cte_blob_id;

/** One operation. */
typedef struct cte_telemetry_entry {
    cte_telemetry_op op;
    cte_status status;     /**< how it ended */
    uint64_t offset;       /**< within the blob, bytes */
    uint64_t size;         /**< bytes asked for; size operations: found; lists: number of names;
                                flush: bytes that do not reach the level; registering: capacity */
    cte_blob_id blob_id;
    cte_tag_id tag_id;     /**< zeros: none */
    uint64_t modified_ns;  /**< last put of the blob, as known after the operation: nanoseconds after
                                1970, UTC; 0: not known */
    uint64_t read_ns;      /**< last get, likewise */
    uint64_t logical_time; /**< orders the entries of all processes by the time they ended; unique in
                                the life of a store, never 0; its steps have no meaning */
    uint64_t duration_ns;
    uint32_t pid;          /**< the process that did it */
    int32_t rank;          /**< its rank in the parallel job as the launcher says, -1: not known */
    uint32_t target;       /**< number of the target whose bytes moved, or which was
                                registered, unregistered or looked at, or CTE_TELEMETRY_NO_TARGET; see
                                cte_telemetry_target_name() */
} cte_telemetry_entry;

/**
 * Reads entries in the order of their logical times.
 *
 * To follow a store, begin with 0 and pass the last entry's logical time to the next call.
 *
 * @param client        NULL: cte_client_default()
 * @param logical_time  entries later than this; 0: all that are still there
 * @param entries       receives the oldest of them
 * @param capacity      room in `entries`, at least 1; if `count` comes back as large, ask again
 * @param count         receives how many there are
 * @param dropped       receives how many were lost: overwritten before they were read, cut short by
 *                      the death of their process, or not recorded for lack of memory.  With 0, of all
 *                      that ever were; with a time that this client returned in one of its last few
 *                      calls, since that call, each counted once, by the call that passes its place in
 *                      the order.  With any other time it is an upper bound: nobody knows what lay in
 *                      between.  May be NULL.
 * @return -EINVAL for a NULL pointer or no capacity, -ENOMEM
 */
cte_status cte_telemetry_poll(cte_client *client, uint64_t logical_time,
                              cte_telemetry_entry *entries, size_t capacity, size_t *count,
                              uint64_t *dropped);

/**
 * The target that has a number now: one that is registered after another was unregistered may get its
 * number.
 *
 * @param client      NULL: cte_client_default()
 * @param target      as entries give it
 * @param name        receives its path, as cte_target_info.name
 * @param name_bytes  room in `name`; PATH_MAX is always enough
 * @return CTE_ERR_NOT_FOUND if no target has it, -ERANGE if there is too little room, -EINVAL
 */
cte_status cte_telemetry_target_name(cte_client *client, uint32_t target, char *name,
                                     size_t name_bytes);

/** Name of an operation, as "put"; "unknown" for a number that is none. */
const char *cte_telemetry_op_name(cte_telemetry_op op);

/** The id that entries give for a blob of this tag; zeros for a NULL or bad argument. */
cte_blob_id cte_blob_id_of(const cte_tag *tag, const char *name);

/**
 * True if the environment asks for a run summary (CTE_SUMMARY, see docs/CONFIGURATION.md): only then
 * is it worth counting for it.
 */
bool cte_summary_is_wanted(void);

/**
 * Adds to the run summary what a layer above the library handed to the real file, and why.
 * @param path   of the file
 * @param calls  how many calls; 0: all of them, the file is not tracked
 * @param why    in words, for a user
 */
void cte_summary_passed_through(const char *path, uint64_t calls, const char *why);

#ifdef __cplusplus
}
#endif
#endif
