/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The journal: what of a store outlives its node.
 *
 * A file beside the first target that survives the node says what lies on such targets: the blobs
 * and chunks that have pages there, tags, and files whose chunks lie there.  When the segment is
 * gone, restore.c makes the store anew from it.
 *
 * A record is appended by one write(2) after the store that publishes a change (removals: before),
 * with the blob's shard locked and before anything old is freed: the order of a blob's records is
 * its history, and what the journal refers to is never reused (I12).  Whoever dies between the two
 * leaves shard.logging set; the next one to lock the shard appends what is missing.
 *
 * When the file has grown to several times of what lives, a new *generation* begins in a second
 * file: everybody appends there at once, then all that lives is dumped into it, then it replaces
 * the first.
 *
 * A failed append (full disk) fails no change: the node's data is safe without the journal.  The
 * journal is *broken* then: nothing is appended, cte__journal_sync() says so, and a new generation
 * is tried once in a while.
 */
#ifndef CTE_CORE_STORE_JOURNAL_H
#define CTE_CORE_STORE_JOURNAL_H

#include "store/journal_record.h"
#include "store/store.h"

static inline bool cte__journal_on(const struct cte__store *store)
{
    return atomic_load_explicit(&store->header->journal.generation, memory_order_relaxed) != 0;
}

/* ---- changes (journal_entry.c) -------------------------------------------------------------- */

/* True if the journal must hear when a blob's contents come to, or go from, this location. */
bool cte__journal_wants(const struct cte__store *store, uint64_t location);

/* True if a blob without pages of its own belongs on a target that survives, by its score. */
bool cte__journal_belongs(const struct cte__store *store, float score);

/* Before a change of the entry of `hash` is published, its shard locked: if this process dies now,
 * the next one to lock the shard looks after the journal. */
void cte__journal_announce(struct cte__shard *shard, uint64_t hash);

/* After it was published, the shard still locked: appends how the blob or user tag is now.
 * @param fresh  pages that got new checksums; NULL: all may have */
void cte__journal_entry(struct cte__store *store, struct cte__shard *shard, cte__unit entry,
                        const struct cte__page_run *fresh, uint32_t fresh_count);

/* The score of a blob was set while its shard is locked, and nothing else of it changed. */
void cte__journal_score(struct cte__store *store, struct cte__shard *shard, uint64_t hash,
                        cte__unit entry);

/* Before a live blob is taken out of the index, announced and the shard locked; afterwards
 * cte__journal_settled(). */
void cte__journal_gone(struct cte__store *store, cte__unit entry);
void cte__journal_settled(struct cte__shard *shard);

/* The same of a rename, both shards being locked: false if the journal need not hear of it.  Else,
 * after the switch and before the old entries leave the index, cte__journal_renamed(). */
bool cte__journal_announce_rename(struct cte__store *store, struct cte__shard *from,
                                  struct cte__shard *to, cte__unit leaving, cte__unit gone);
void cte__journal_renamed(struct cte__store *store, struct cte__shard *from, struct cte__shard *to,
                          cte__unit left, cte__unit arrived);

/* A tag or file goes for ever; its shard is locked. */
void cte__journal_tag_gone(struct cte__store *store, uint64_t tag_id);

/* The state of a file changed.  Those that the journal does not know are passed over unless
 * `introduce`: it learns of them with their first chunk. */
void cte__journal_file(struct cte__store *store, cte__unit tag, bool introduce);

/* Bytes of a file were put: should they lie on a target that forgets, the journal knows that there
 * were such, before the put is acknowledged. */
void cte__journal_in_memory(struct cte__store *store, cte__unit tag);

/* Appends what a dead holder of the shard may have left out; the shard is locked. */
void cte__journal_repair(struct cte__store *store, struct cte__shard *shard);

/* Appends all that lives, the shards being locked one by one; *bytes is what that took. */
cte_status cte__journal_dump(struct cte__store *store, uint64_t *bytes);

/* ---- the file (journal.c) ------------------------------------------------------------------- */

/* Appends whole records; failure breaks the journal. */
cte_status cte__journal_append(struct cte__store *store, const struct cte__record_buffer *buffer);

/* A target was registered under a number: before any page of it is used. */
cte_status cte__journal_target(struct cte__store *store, uint32_t index);

/* Begins a new generation, or completes the one that was begun; no lock of shards or below held. */
cte_status cte__journal_renew(struct cte__store *store);

/* cte__journal_tend() in store.h is the same, if it is time to; it does not wait for who is at it.
 */

/* Makes what was appended survive power loss; the targets are synced before.  -ENOTSUP without a
 * journal; the error that broke it, if it cannot be made whole again. */
cte_status cte__journal_sync(struct cte__store *store);

/* Makes the journal of a new store that nobody else has: all that lives, complete.
 * @param header  nonce and generation; store_id is set here
 * @param path    absolute */
cte_status cte__journal_start(struct cte__store *store, const char *path,
                              struct cte__journal_header header);

/* Removes the files of a journal, if they are this store's. */
void cte__journal_remove(const char *path, uint64_t store_id);

/* Closes this process's descriptor. */
void cte__journal_close(struct cte__store *store);

/* The files of a journal: `path` itself, the generation that is being made complete, and one that
 * nobody uses yet. */
enum cte__journal_file { CTE__JOURNAL_BASE, CTE__JOURNAL_NEXT, CTE__JOURNAL_FRESH };

/* Opens one: O_RDONLY, O_RDWR | O_APPEND, …; the descriptor or -errno.  Not of another user, no
 * link, no device: logged, but for -ENOENT. */
int cte__journal_open(const char *path, enum cte__journal_file which, int flags);

/* Reads the header of an open file. */
enum cte__journal_header_state cte__journal_identify(int fd, struct cte__journal_header *header);

/* Where the journal of a target stands; false if the path is too long. */
bool cte__journal_path_of(const char *target_path, char path[PATH_MAX]);

#endif
