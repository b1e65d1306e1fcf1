/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Asynchronous operations: start one now, learn later what became of it.
 *
 * Each function `cte_…_async` takes what `cte_…` takes, then a callback and where to put the
 * *task*. The operation runs in a worker thread of the client; its return value becomes the task's
 * status.
 *
 * Memory: names and small arguments are copied.  Buffers, and whatever results are written to, are
 * the caller's and must stay until the task is complete.  A handle of a tag may be closed at once.
 *
 * Order: operations on one blob that one thread starts run in that order, as do operations on one
 * tag by its name, or on one target.  All others may run in any order, several at a time: if one
 * needs another, wait for that first.
 *
 * Room: a client has at most `performance.max_concurrent_operations` operations under way.  When it
 * has, starting one more waits until one is complete; so do not start one while holding a lock that
 * a callback takes.  In a callback nothing waits, the operation is taken over the limit.
 *
 * Errors: a function that cannot start its operation returns why, and there is no task and no
 * callback then: -EINVAL, -ENAMETOOLONG, -ENOMEM, -EAGAIN (no thread can be made), -ESHUTDOWN (the
 * client is being closed), or what opening the process-wide client gave.  Whatever the operation
 * finds wrong is the task's status.
 *
 * Lifetime: cte_client_close() completes what is under way, then ends the threads.  Tasks may be
 * asked and freed after that.  A process that never calls these functions has no threads of cte.
 * A forked child has none of its parent's tasks: to wait for one gives -ESRCH.  Its own
 * operations get threads of its own.
 *
 * Thread rule: all functions are thread-safe, on one task too, except cte_task_free(): nobody may
 * use a task while or after it is freed.
 */
#ifndef CTE_TASK_H
#define CTE_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cte/blob.h>
#include <cte/client.h>
#include <cte/file.h>
#include <cte/status.h>
#include <cte/target.h>
#include <cte/telemetry.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An operation under way or complete. */
typedef struct cte_task cte_task;

/**
 * What to call when an operation is complete.  Called exactly once for each operation that was
 * started, in a worker thread (or, if the task was cancelled, by the thread in cte_task_cancel()),
 * after all results are written and before any waiter returns: when a wait is over, so is the
 * callback.  It may start operations, cancel and free tasks, also its own.  It must not wait for
 * tasks (-EDEADLK), close the client (-EDEADLK) or call exit(), and should be short: while it runs,
 * later operations on the same blob wait.
 */
typedef struct cte_task_callback {
    void (*call)(void *context, cte_status status); /**< `status`: of the operation */
    void *context;
} cte_task_callback;

/* ---- tasks ---------------------------------------------------------------------------------- */

/**
 * Waits until a task is complete.
 * @param timeout_ms  milliseconds to wait at most; 0: do not wait; negative: as long as it takes
 * @return CTE_OK: it is complete; -ETIMEDOUT: not yet; -EDEADLK: not yet, and a worker thread must
 *         not wait; -ESRCH: it is not complete and a parent process's
 */
cte_status cte_task_wait(cte_task *task, int timeout_ms);

/** True if a task is complete. */
bool cte_task_test(const cte_task *task);

/** The operation's status if it is complete: -ECANCELED if it was cancelled; else -EINPROGRESS. */
cte_status cte_task_status(const cte_task *task);

/**
 * Waits until one of several tasks is complete, possibly of several clients.
 * @param tasks  array of `count` elements; NULL ones are skipped
 * @param index  receives the place of the first complete one; untouched on error
 * @return as cte_task_wait(); -EINVAL if there is none to wait for
 */
cte_status cte_task_wait_any(cte_task *const *tasks, size_t count, int timeout_ms, size_t *index);

/** Waits until all of several tasks are complete; otherwise as cte_task_wait().  NULL ones are
 * skipped. */
cte_status cte_task_wait_all(cte_task *const *tasks, size_t count, int timeout_ms);

/**
 * Cancels an operation that has not begun: it completes with -ECANCELED, having done nothing.
 * @return false if it had begun, or was cancelled already: that changes nothing
 */
bool cte_task_cancel(cte_task *task);

/** Frees a task.  One that is not complete goes on, with its callback; NULL is fine. */
void cte_task_free(cte_task *task);

/* ---- operations ------------------------------------------------------------------------------
 * `callback`: copied; NULL: none.  `task`: receives the task, before its callback can run; free
 * with cte_task_free(); NULL: nobody will ask.  Other parameters: see the function without
 * `_async`. */

/** Starts cte_tag_open(). */
cte_status cte_tag_open_async(cte_client *client, const char *name, bool create, cte_tag **out,
                              const cte_task_callback *callback, cte_task **task);

/** Starts cte_tag_create(). */
cte_status cte_tag_create_async(cte_client *client, const char *name, cte_tag_id id, cte_tag **out,
                                const cte_task_callback *callback, cte_task **task);

/** Starts cte_tag_open_id(). */
cte_status cte_tag_open_id_async(cte_client *client, cte_tag_id id, cte_tag **out,
                                 const cte_task_callback *callback, cte_task **task);

/** Starts cte_tag_find(). */
cte_status cte_tag_find_async(cte_client *client, const char *name, cte_tag_id *id,
                              const cte_task_callback *callback, cte_task **task);

/** Starts cte_tag_name(); `name` receives it, and must stay. */
cte_status cte_tag_name_async(cte_client *client, cte_tag_id id, char *name, size_t name_bytes,
                              const cte_task_callback *callback, cte_task **task);

/** Starts cte_tag_size(). */
cte_status cte_tag_size_async(cte_tag *tag, uint64_t *size_bytes, const cte_task_callback *callback,
                              cte_task **task);

/** Starts cte_tag_list(); the visitor is called in a worker thread. */
cte_status cte_tag_list_async(cte_tag *tag, cte_name_visitor visit, void *context,
                              const cte_task_callback *callback, cte_task **task);

/** Starts cte_tag_delete(). */
cte_status cte_tag_delete_async(cte_client *client, const char *name,
                                const cte_task_callback *callback, cte_task **task);

/** Starts cte_tag_delete_id(). */
cte_status cte_tag_delete_id_async(cte_client *client, cte_tag_id id,
                                   const cte_task_callback *callback, cte_task **task);

/** Starts cte_client_tags(); the visitor is called in a worker thread. */
cte_status cte_client_tags_async(cte_client *client, cte_name_visitor visit, void *context,
                                 const cte_task_callback *callback, cte_task **task);

/** Starts cte_tag_list_matching(); the visitor is called in a worker thread. */
cte_status cte_tag_list_matching_async(cte_tag *tag, const char *regex, uint64_t max,
                                       cte_name_visitor visit, void *context,
                                       const cte_task_callback *callback, cte_task **task);

/** Starts cte_tag_query(); the visitor is called in a worker thread. */
cte_status cte_tag_query_async(cte_client *client, const char *regex, cte_query_scope scope,
                               uint64_t max, cte_tag_visitor visit, void *context,
                               const cte_task_callback *callback, cte_task **task);

/** Starts cte_blob_query(); the visitor is called in a worker thread. */
cte_status cte_blob_query_async(cte_client *client, const char *tag_regex, const char *blob_regex,
                                cte_query_scope scope, uint64_t max, cte_blob_visitor visit,
                                void *context, const cte_task_callback *callback, cte_task **task);

/**
 * Starts a function of the program, whose return value becomes the task's status.  In it nothing
 * waits for tasks, as in a callback.  It has no order towards any other operation.
 */
cte_status cte_client_run_async(cte_client *client, cte_status (*run)(void *context), void *context,
                                const cte_task_callback *callback, cte_task **task);

/** Starts cte_file_write(); the segments are copied, the file must not be closed meanwhile. */
cte_status cte_file_write_async(cte_file *file, const cte_file_segment *segments, size_t count,
                                const cte_task_callback *callback, cte_task **task);

/** Starts cte_file_read(); the segments are copied, the file must not be closed meanwhile. */
cte_status cte_file_read_async(cte_file *file, const cte_file_segment *segments, size_t count,
                               uint64_t *transferred, const cte_task_callback *callback,
                               cte_task **task);

/** Starts cte_client_flush(); to flush what other tasks put, wait for them first. */
cte_status cte_client_flush_async(cte_client *client, cte_persistence level,
                                  uint64_t *volatile_bytes, const cte_task_callback *callback,
                                  cte_task **task);

/** Starts cte_client_targets(). */
cte_status cte_client_targets_async(cte_client *client, cte_target_info *infos, uint32_t capacity,
                                    uint32_t *count, const cte_task_callback *callback,
                                    cte_task **task);

/** Starts cte_telemetry_poll(). */
cte_status cte_telemetry_poll_async(cte_client *client, uint64_t logical_time,
                                    cte_telemetry_entry *entries, size_t capacity, size_t *count,
                                    uint64_t *dropped, const cte_task_callback *callback,
                                    cte_task **task);

/** Starts cte_target_register(); the configuration must stay until the task is complete. */
cte_status cte_target_register_async(cte_client *client, const cte_config *config, uint32_t index,
                                     const cte_task_callback *callback, cte_task **task);

/** Starts cte_target_unregister(). */
cte_status cte_target_unregister_async(cte_client *client, const char *name,
                                       const cte_task_callback *callback, cte_task **task);

/** Starts cte_target_stat(). */
cte_status cte_target_stat_async(cte_client *client, const cte_task_callback *callback,
                                 cte_task **task);

/** Starts cte_target_get_info(). */
cte_status cte_target_get_info_async(cte_client *client, const char *name, cte_target_info *info,
                                     const cte_task_callback *callback, cte_task **task);

/** Starts cte_blob_put(). */
cte_status cte_blob_put_async(cte_tag *tag, const char *name, uint64_t offset, const void *data,
                              size_t size, float score, uint32_t flags,
                              const cte_task_callback *callback, cte_task **task);

/** Starts cte_blob_append(). */
cte_status cte_blob_append_async(cte_tag *tag, const char *name, const void *data, size_t size,
                                 float score, uint64_t *offset, const cte_task_callback *callback,
                                 cte_task **task);

/** Starts cte_blob_get(). */
cte_status cte_blob_get_async(cte_tag *tag, const char *name, uint64_t offset, void *buffer,
                              size_t size, size_t *bytes_read, const cte_task_callback *callback,
                              cte_task **task);

/** Starts cte_blob_delete(). */
cte_status cte_blob_delete_async(cte_tag *tag, const char *name, const cte_task_callback *callback,
                                 cte_task **task);

/** Starts cte_blob_rename(); as to order, it is an operation on the old name. */
cte_status cte_blob_rename_async(cte_tag *tag, const char *name, const char *new_name,
                                 uint32_t flags, const cte_task_callback *callback,
                                 cte_task **task);

/** Starts cte_blob_move(); as to order, it is an operation on the old name in the old tag. */
cte_status cte_blob_move_async(cte_tag *tag, const char *name, cte_tag *new_tag,
                               const char *new_name, uint32_t flags,
                               const cte_task_callback *callback, cte_task **task);

/** Starts cte_blob_get_info(). */
cte_status cte_blob_get_info_async(cte_tag *tag, const char *name, cte_blob_info *info,
                                   const cte_task_callback *callback, cte_task **task);

/** Starts cte_blob_size(). */
cte_status cte_blob_size_async(cte_tag *tag, const char *name, uint64_t *size_bytes,
                               const cte_task_callback *callback, cte_task **task);

/** Starts cte_blob_score(). */
cte_status cte_blob_score_async(cte_tag *tag, const char *name, float *score,
                                const cte_task_callback *callback, cte_task **task);

/** Starts cte_blob_blocks(). */
cte_status cte_blob_blocks_async(cte_tag *tag, const char *name, cte_blob_block *blocks,
                                 uint32_t capacity, uint32_t *count,
                                 const cte_task_callback *callback, cte_task **task);

/** Starts cte_blob_reorganize(). */
cte_status cte_blob_reorganize_async(cte_tag *tag, const char *name, float new_score,
                                     cte_blob_report *report, const cte_task_callback *callback,
                                     cte_task **task);

#ifdef __cplusplus
}
#endif
#endif
