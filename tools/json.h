/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes JSON to standard output, as it comes: `key` names a member of the object that is open, or
 * is NULL for an element of the array that is open and for the document itself.
 *
 *     json_object(NULL);
 *     json_text("path", path);
 *     json_array("pids");
 *     json_uint(NULL, pid);
 *     json_end();
 *     json_end();
 *
 * The document is an object.  Several may follow each other, each ends with a line. */
#ifndef CTE_TOOLS_JSON_H
#define CTE_TOOLS_JSON_H

#include <stdbool.h>
#include <stdint.h>

void json_object(const char *key);
void json_array(const char *key);
void json_end(void);

void json_text(const char *key, const char *text); /* NULL: null */
void json_uint(const char *key, uint64_t number);
void json_int(const char *key, int64_t number);
void json_real(const char *key, double number, int digits); /* digits behind the point; -1: %g */
void json_bool(const char *key, bool value);
void json_null(const char *key);

/* Ends the document that is written, which json_end() leaves open for this: main() does it, and who
 * writes a stream of documents, after each.  With `error` the document gets a member of that name;
 * what is still open is closed, and if there is no document, that is one. */
void json_finish(const char *error);

#endif
