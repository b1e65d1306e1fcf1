/* SPDX-License-Identifier: BSD-3-Clause */
/* The journal's format: pure functions between memory and records.
 *
 * A journal file is a header, twice, and then records one behind the other.  A record is a frame
 * (magic, length, checksum) and a payload that begins with its kind.  Checksums are seeded with the
 * journal's nonce, so that bytes that look like a record of another journal, say in the name of a
 * blob, are none.  Every record says how things are, not how they change: reading may begin anew
 * behind a damaged one.  Native byte order: a journal is read on the node that wrote it. */
#ifndef CTE_CORE_STORE_JOURNAL_RECORD_H
#define CTE_CORE_STORE_JOURNAL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/layout.h"

enum {
    CTE__JOURNAL_VERSION = 2,
    CTE__JOURNAL_HEADER_BYTES = 1024, /* two copies, so that one damaged byte costs nothing */
};

/* What a journal file is. */
struct cte__journal_header {
    char magic[16];
    uint32_t version;
    uint32_t page_bytes;
    uint64_t store_id;   /* as in the targets' marks */
    uint64_t nonce;      /* the same in all generations of one store's life */
    uint64_t generation; /* later files have larger ones */
    uint64_t checksum;   /* xxh3 of the members above */
};

/* Fills CTE__JOURNAL_HEADER_BYTES; magic, version and checksum are set here. */
void cte__journal_header_write(struct cte__journal_header header, char *bytes);

enum cte__journal_header_state {
    CTE__JOURNAL_IS_OURS,
    CTE__JOURNAL_IS_FOREIGN,    /* not a journal at all */
    CTE__JOURNAL_IS_NEWER,      /* of another version of cte */
    CTE__JOURNAL_IS_DAMAGED,    /* a journal once */
    CTE__JOURNAL_IS_UNREADABLE, /* nobody knows: the medium fails */
};
enum cte__journal_header_state cte__journal_header_read(const char *bytes, uint64_t count,
                                                        struct cte__journal_header *header);

enum cte__record_kind {
    CTE__RECORD_TARGET = 1, /* what number stands for which target from here on */
    CTE__RECORD_TAG,
    CTE__RECORD_FILE,
    CTE__RECORD_TAG_GONE, /* of a tag or file */
    CTE__RECORD_BLOB,
    CTE__RECORD_BLOB_GONE,
    CTE__RECORD_COMPLETE, /* the generation holds all that lives: no need of the one before */
};

/* Bytes that belong to somebody else. */
struct cte__text {
    const char *bytes;
    uint32_t count;
};

struct cte__record_target {
    uint32_t index; /* as in page addresses */
    bool survives;
    uint64_t capacity_bytes, arena_bytes;
    struct cte__text kind, path;
};

struct cte__record_tag {
    uint64_t id;
    uint64_t public_id; /* that programs know it by */
    struct cte__text name;
};

struct cte__record_file {
    uint64_t id;
    uint64_t chunk_bytes, size_bytes, real_bytes, truncate_to;
    uint64_t device, inode, born_ns, real_changed_ns;
    uint32_t real_writers, mode, drain;
    uint64_t lost_bytes, lost_first, lost_end; /* by an earlier reboot */
    uint32_t flags;                            /* CTE__FILE_… */
    struct cte__text name, path;
};

/* What is known of a file beyond what its chunks tell: mostly what a reboot did to it. */
enum {
    CTE__FILE_DOUBTFUL = 1,  /* brought back from a damaged journal */
    CTE__FILE_IN_MEMORY = 2, /* bytes were put on targets that forget, perhaps not drained since */
    CTE__FILE_REBOOTED = 4,  /* it was like that when the node went down */
    CTE__FILE_TORN = 16,     /* brought back from a journal whose end was torn */
    CTE__FILE_NEWS = CTE__FILE_DOUBTFUL | CTE__FILE_REBOOTED | CTE__FILE_TORN,
    CTE__FILE_TOLD = 8,     /* in the segment only: the journal has IN_MEMORY */
    CTE__FILE_DELETED = 32, /* the real file had no name any more: it never gets one again */
    CTE__FILE_MISSED = 64,  /* it was not where it was, and somebody was told */
};

/* Also what a blob that is gone was called: nothing but `tag_id`, `type` and `name` then. */
struct cte__record_blob {
    uint64_t tag_id;
    uint32_t type; /* CTE__ENTRY_BLOB or CTE__ENTRY_CHUNK */
    float score;
    uint64_t size_bytes, modified_ns, read_ns;
    struct cte__text name;
    struct cte__text small; /* instead of extents */
    bool is_small;
    uint32_t extent_count; /* ascending, none over another */
    uint32_t sums_count;   /* runs of pages whose checksums the record brings */
    const char *extents, *sums;
};

/* Chunks: dirty ones only, and of PARTIAL pages the dirty runs: the real file has the others. */
struct cte__record_extent {
    cte__page page; /* PARTIAL: not used */
    uint32_t first, count, state;
    uint32_t run_count; /* PARTIAL */
    const char *runs;
};

struct cte__record_sums {
    cte__page page;
    uint32_t count;
    const char *sums;
};

/* ---- writing -------------------------------------------------------------------------------- */

/* Records under construction, one behind the other. */
struct cte__record_buffer {
    char *bytes; /* `few`, or malloc'ed */
    size_t count, capacity;
    size_t start; /* of the record that is being written */
    bool failed;  /* out of memory: contents are not complete */
    _Alignas(8) char few[2048];
};

void cte__record_buffer_init(struct cte__record_buffer *buffer);
void cte__record_buffer_free(struct cte__record_buffer *buffer);

/* Whole records; texts of up to UINT16_MAX bytes. */
void cte__record_put_target(struct cte__record_buffer *buffer, uint64_t nonce,
                            const struct cte__record_target *target);
void cte__record_put_tag(struct cte__record_buffer *buffer, uint64_t nonce,
                         const struct cte__record_tag *tag);
void cte__record_put_file(struct cte__record_buffer *buffer, uint64_t nonce,
                          const struct cte__record_file *file);
void cte__record_put_tag_gone(struct cte__record_buffer *buffer, uint64_t nonce, uint64_t id);
void cte__record_put_blob_gone(struct cte__record_buffer *buffer, uint64_t nonce,
                               const struct cte__record_blob *blob);
void cte__record_put_complete(struct cte__record_buffer *buffer, uint64_t nonce);

/* A blob in pieces: begin, its extents (each with its runs), its sums, end.  Counts them itself. */
void cte__record_blob_begin(struct cte__record_buffer *buffer, const struct cte__record_blob *blob);
void cte__record_blob_extent(struct cte__record_buffer *buffer,
                             const struct cte__record_extent *extent);
void cte__record_blob_run(struct cte__record_buffer *buffer, const struct cte__run *run);
void cte__record_blob_sums(struct cte__record_buffer *buffer, cte__page page, uint32_t count,
                           const uint32_t *sums);
void cte__record_blob_end(struct cte__record_buffer *buffer, uint64_t nonce);

/* Takes the record that was begun back. */
void cte__record_blob_cancel(struct cte__record_buffer *buffer);

/* ---- reading -------------------------------------------------------------------------------- */

struct cte__record {
    uint32_t kind;
    const char *payload;
    uint32_t bytes; /* of the payload */
    uint64_t at;    /* of the frame in the text */
};

/* The first whole record at or behind *at, which moves behind it; false at the end.  Bytes
 * [*gap_start, *gap_end) before it are none: 0 of them if all is well. */
bool cte__record_next(const char *text, uint64_t count, uint64_t nonce, uint64_t *at,
                      struct cte__record *record, uint64_t *gap_start, uint64_t *gap_end);

/* False if a payload is not what its kind says; then nothing of it may be used.  Everything that a
 * true answer lets a caller read lies within the payload. */
bool cte__record_get_target(const struct cte__record *record, struct cte__record_target *target);
bool cte__record_get_tag(const struct cte__record *record, struct cte__record_tag *tag);
bool cte__record_get_file(const struct cte__record *record, struct cte__record_file *file);
bool cte__record_get_tag_gone(const struct cte__record *record, uint64_t *id);
bool cte__record_get_blob(const struct cte__record *record, struct cte__record_blob *blob);

/* Walks what cte__record_get_blob() found sound: `at` begins as blob.extents or blob.sums. */
struct cte__record_extent cte__record_extent_next(const char **at);
struct cte__run cte__record_run(const struct cte__record_extent *extent, uint32_t index);
struct cte__record_sums cte__record_sums_next(const char **at);

#endif
