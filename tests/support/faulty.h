/* SPDX-License-Identifier: BSD-3-Clause */
/* A target that stands before another one and lets operations go wrong as told.
 *
 * It is put before a target of a store in this process (and those forked from it later); no
 * configuration can name it.  Rules are a text, separated by ';':
 *
 *   OPERATION WHICH ACTION
 *     OPERATION  write, read, sync
 *     WHICH      n: the nth of its kind from now; n+: that and all later ones
 *     ACTION     fail ERRNO     nothing is moved
 *                delay MS       later
 *                drop           says it did, but did not (writes)
 *                tear           says it did, but moved only the first half (writes)
 *                tear ERRNO     moves the first half, then fails
 *                tear kill      moves the first half, then the process dies
 *
 * as in "write 3 fail 28; read 1+ delay 5".  The first rule that fits is followed. */
#ifndef CTE_TESTS_SUPPORT_FAULTY_H
#define CTE_TESTS_SUPPORT_FAULTY_H

#include "store/store.h"
#include "target/target.h"

/* Puts it before a target of an attached store; it goes when the store is detached. */
void faulty_wrap(struct cte__target_handle *handle);

/* Replaces the rules ("" for none) and counts from 1 again.  A rule that is not understood ends the
 * test. */
void faulty_set(struct cte__target_handle *handle, const char *rules);

/* How many operations went wrong since. */
int faulty_fired(const struct cte__target_handle *handle);

/* The kind `file` with one that follows no rules before it: it must be as good. */
extern const struct cte__target_ops faulty_file;

#endif
