/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Everything that stands in the node-shared segment, and nothing else.
 *
 * Fixed width; references are unit or page numbers, never pointers; what several processes write
 * often is padded to cache lines.  A change here must change CTE__STORE_VERSION.
 *
 * Two address spaces:
 *  - a *unit* (uint32_t) is a 32-byte piece of the metadata heap; unit 0 and 1 are never handed
 * out;
 *  - a *page address* (uint64_t) is a 4 KiB piece of a target: target number << 48 | page number.
 *
 * Each unit and each page has an *owner word* that is the truth about who may reuse it:
 *   0                free
 *   1 … SLOTS_MAX    claimed by the process in slot (word - 1): being filled, or being retired
 *   0xffff           published: reachable from the index
 *   0xfffe           pages: pinned, and reachable from nothing else any more (pin.h)
 * Bitmaps and free counts are derived from the owner words and rebuilt when a process dies inside
 * an allocator (I3 in ARCHITECTURE.md).
 */
#ifndef CTE_CORE_STORE_LAYOUT_H
#define CTE_CORE_STORE_LAYOUT_H

#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    CTE__STORE_VERSION = 7,
    CTE__SLOTS_MAX = 1024,
    CTE__TARGETS_MAX = 16,
    CTE__SHARDS = 256,
    CTE__DRAIN_LANES = 8,
    CTE__GUARD_STRIPES = 4,
    CTE__GUARD_SEATS = 2,
    CTE__SHARED_POINTERS = 8,
    CTE__COUNTER_STRIPES = 64,
    CTE__PINS_MAX = 2048,
    CTE__BACKGROUND_JOBS = 4,
    CTE__BACKGROUND_SEATS = 16,

    CTE__UNIT_SHIFT = 5,
    CTE__UNIT_BYTES = 1 << CTE__UNIT_SHIFT,
    CTE__META_ARENA_UNITS = 1 << 18, /* 8 MiB of metadata */
    CTE__PAGE_ARENA_MAX = 1 << 14,   /* pages of an arena of a target: 64 MiB at most */
    CTE__CACHE_LINE = 64,
    CTE__REAL_HANDLE_BYTES = 64, /* of a real file; file systems use 8 to 40 */
};

#define CTE__STORE_MAGIC 0x31524f5453455443ull /* "CTESTOR1" */

typedef uint32_t cte__unit; /* 0: none */
typedef uint64_t cte__page; /* target << 48 | page number */

enum cte__owner { CTE__OWNER_FREE = 0, CTE__OWNER_PINNED = 0xfffe, CTE__OWNER_PUBLISHED = 0xffff };

/* A robust, process-shared mutex alone on its cache line. */
struct cte__mutex {
    _Alignas(CTE__CACHE_LINE) pthread_mutex_t mutex;
};

/* An attached process. */
struct cte__slot {
    _Alignas(CTE__CACHE_LINE) _Atomic uint32_t pid; /* 0: slot is free */
    _Atomic uint32_t switched; /* 1: its rename happened; see CTE__ENTRY_LEAVING */
    uint64_t start_time;       /* of the process, clock ticks after boot: tells a reused pid */
};

/* Free space management of one range of units or pages (arena.c). */
struct cte__arena {
    struct cte__mutex lock;
    uint32_t unit_count;
    uint32_t hint;   /* where the next search starts */
    uint32_t closed; /* 1: nothing is given out, the target is being taken away */
    _Atomic uint32_t free_count;
    uint32_t high_water;     /* units from here on were never claimed */
    _Atomic uint32_t backed; /* units below have memory behind them: metadata arenas only */
    _Atomic uint32_t ready;  /* owner words and bitmap have memory behind them */
    uint64_t owners_offset;  /* uint16_t[unit_count], bytes from the segment's start */
    uint64_t bitmap_offset;  /* uint64_t[unit_count / 64]: 1 is in use */
    uint64_t sums_offset;    /* pages: uint32_t[unit_count] checksums; 0: metadata has none */
};

/* What moved to and from a target.  A process counts in the stripe of its slot, so that counting
 * does not send a cache line from core to core with every transfer; readers sum the stripes. */
struct cte__target_counters {
    _Alignas(CTE__CACHE_LINE) _Atomic uint64_t bytes_read;
    _Atomic uint64_t bytes_written;
    _Atomic uint64_t reads;
    _Atomic uint64_t writes;
};

enum cte__target_state {
    CTE__TARGET_NONE = 0, /* the record is free */
    CTE__TARGET_HALF,     /* being made or taken away; has no data.  Who has the store's directory
                           * locked and finds it takes away what is left of it */
    CTE__TARGET_ACTIVE,   /* the one store that lets new data go there */
    CTE__TARGET_DRAINING, /* its blobs are being moved away: nothing new is placed */
    CTE__TARGET_FAILED,   /* its io fails: nothing new is placed, what is there may be readable */
};

/* A storage target.  All but the atomic fields is constant while its state is none of NONE and
 * HALF; who changes the state from or to those has the store's directory locked. */
struct cte__target_record {
    char path[PATH_MAX];
    char kind[16];
    char label[64];              /* what the configuration calls a target without a path */
    _Atomic uint32_t state;      /* enum cte__target_state */
    _Atomic uint32_t generation; /* changes when a target takes this place, and when it leaves */
    _Atomic uint32_t failures;   /* transfers in a row that failed or took too long */
    uint32_t reserved;
    uint64_t capacity_bytes;
    uint64_t arena_bytes;
    uint64_t bytes_per_s; /* measured, or nominal */
    uint64_t latency_ns;
    uint32_t measured;
    uint32_t manual_score; /* 1: the score was given, and is never computed */
    _Atomic float score;
    _Atomic uint64_t placement_bytes_per_s; /* what engines are told: score.h */
    uint32_t arena_first;                   /* into the table of page arenas */
    uint32_t arena_count;
    uint32_t engine; /* enum cte__target_engine */
    struct cte__target_counters counters[CTE__COUNTER_STRIPES];
};

#define CTE__SLOT_DELETED UINT64_C(1)

/* A part of the hash index: open addressing, slots of 64 bits.  0 is empty, 1 was deleted, else the
 * upper half of the key's hash << 32 | the entry's unit. */
struct cte__shard {
    struct cte__mutex lock;
    _Atomic uint64_t table; /* unit << 8 | log2(slots); one store replaces the table */
    uint32_t used;          /* entries and deleted slots; derived */
    /* 1: the entry of `logging_hash` changes, 2: any may; the journal may not know yet (journal.h)
     */
    _Atomic uint32_t logging;
    uint64_t logging_hash;
};

enum cte__entry_state {
    CTE__ENTRY_NEW = 0,  /* linked, not visible: being made, or leaving the index */
    CTE__ENTRY_LIVE = 1, /* the one store that makes an entry visible */
    CTE__ENTRY_DEAD = 2, /* deleted; waits for the reaper */
    /* Names of a blob that is being renamed by the process that the entry's owner word tells.
     * LEAVING is visible until that process's slot says `switched`, ARRIVING from then on: one
     * store changes all of them. */
    CTE__ENTRY_LEAVING = 3,
    CTE__ENTRY_ARRIVING = 4,
};

enum cte__entry_type {
    CTE__ENTRY_TAG = 1,
    CTE__ENTRY_FILE = 2,
    CTE__ENTRY_BLOB = 3,
    CTE__ENTRY_CHUNK = 4
};

/* A name in the index: of a tag or file (in the root tag) or of a blob or chunk (in its tag). */
struct cte__entry {
    /* Where the contents are, the publish word: see enum cte__location_kind. */
    _Atomic uint64_t location;
    cte__unit list_next; /* next entry of the tag's list */
    cte__unit tag;       /* struct cte__tag_record on whose list it is */
    uint16_t name_bytes;
    uint8_t type;          /* enum cte__entry_type */
    _Atomic uint8_t state; /* enum cte__entry_state */
    float score;
    _Atomic uint64_t version;     /* grows with every publish */
    _Atomic uint64_t modified_ns; /* CLOCK_REALTIME; read without the shard's lock, too */
    uint64_t heat;                /* when and how often it was read: placement/heat.h */
    char name[];
};

/* A location is one word, so that one store replaces all there is to know of a blob's contents.
 * 0: nothing stored.  Most blobs need nothing but this word: they are pages in a row, or small. */
enum cte__location_kind {
    CTE__AT_UNIT = 0,   /* blobs: struct cte__map; tags and files: struct cte__tag_record */
    CTE__AT_EXTENT = 1, /* a blob or chunk of whole pages in a row, from its first byte on */
    CTE__AT_SMALL = 2,  /* bytes in the metadata heap */
};

enum { CTE__LOCATION_KIND_BITS = 2 };

/* A blob of at most so many bytes: they stand alone in the heap, how many there are and their
 * checksum in the location, so that 64 bytes take two units. */
enum { CTE__SMALL_MAX = 512 };

/* A contiguous piece of a blob: `count` logical pages from `first` at consecutive target pages. */
struct cte__extent {
    cte__page page; /* PARTIAL: not used, see runs */
    uint32_t first;
    uint32_t count;
    cte__unit runs; /* PARTIAL: struct cte__runs, count is 1 */
    uint32_t state; /* enum cte__page_state */
};

enum cte__page_state {
    CTE__PAGE_NONE = 0, /* not stored: a hole (blob) or the real file's bytes (chunk) */
    CTE__PAGE_CLEAN,    /* all bytes valid and equal to the real file's */
    CTE__PAGE_DIRTY,    /* all bytes valid, not drained */
    CTE__PAGE_PARTIAL,  /* some bytes valid: see runs */
};

/* Where the bytes of a blob are, if they do not lie in one row.  Immutable once published.  The
 * checksums of the pages stand beside their owner words. */
struct cte__map {
    uint64_t size_bytes; /* blobs: logical size; chunks: end of the last stored byte */
    uint32_t extent_count;
    uint32_t reserved;
    struct cte__extent extents[];
};

/* Valid bytes of a partial page, ascending; neighbours differ in `dirty` or `page`.  The bytes lie
 * at the same place in `page`, which holds nothing but bytes of this page and zeros.  A put of a
 * part of a page need not read what others put there: it brings a page of its own.  A page has
 * bytes in CTE__RUN_PAGES_MAX such pages at most, then they are merged. */
enum { CTE__RUN_PAGES_MAX = 3 };

struct cte__run {
    uint16_t start;
    uint16_t length_dirty; /* length (1 … 4096) << 1 | dirty */
    uint32_t checksum;     /* of all of `page` */
    cte__page page;
};

struct cte__runs {
    uint32_t count;
    struct cte__run run[];
};

/* A file pointer that those share who opened the file together. */
struct cte__shared_pointer {
    _Atomic uint32_t taken; /* the opener that claimed it, 0: free */
    uint32_t reserved;
    _Atomic uint64_t position;
};

/* What tells whether a real file still is what it was: noted whenever cte changed or saw it. */
struct cte__real_mark {
    _Atomic uint64_t modified_ns, changed_ns; /* mtime, ctime */
    _Atomic uint64_t bytes;
};

/* Why clean data of a file outlives its last close: bits. */
enum { CTE__RETAIN_CACHE = 1, CTE__RETAIN_STAGED = 2 };

/* The kernel's handle of a real file (name_to_handle_at(2)): by it those who may can find the file
 * under any name, or know that it is gone. */
struct cte__real_handle {
    uint32_t bytes; /* 0: none */
    int32_t type;
    unsigned char data[CTE__REAL_HANDLE_BYTES];
};

/* State of a file, shared by the processes that have it open. */
struct cte__file_state {
    struct cte__mutex lock;                   /* open, close, truncate */
    struct cte__mutex lane[CTE__DRAIN_LANES]; /* one drainer per lane; also write-through, truncate;
                                                         user tags: appending */
    /* Files only: accesses that exclude each other (guard.c). */
    struct cte__mutex guard[CTE__GUARD_STRIPES][CTE__GUARD_SEATS];
    struct cte__shared_pointer shared[CTE__SHARED_POINTERS]; /* files only */
    _Atomic uint64_t size_bytes;
    _Atomic uint64_t openers[CTE__SLOTS_MAX / 64]; /* one bit per slot: keeps the record alive */
    _Atomic uint64_t joined[CTE__SLOTS_MAX / 64];  /* openers that found the state set up; changes
                                                    * with `lock` held, or when a process is dead */
    uint32_t mode;                                 /* enum cte_file_mode */
    uint64_t device, inode, born_ns;               /* identity of the real file */
    struct cte__real_handle handle;
    _Atomic uint64_t
        real_bytes; /* the real file is at least so long: size_bytes above is pending */
    _Atomic uint64_t truncate_to; /* size + 1 while a truncation is under way, else 0 */
    uint32_t drain;               /* enum cte_file_drain_policy */
    /* Who changes the real file?  See outside.c. */
    _Atomic uint32_t orphaned;        /* 1: nobody who wrote the kept data is there any more */
    _Atomic uint64_t real_changed_ns; /* the real file's mtime when cte last changed or saw it */
    _Atomic uint32_t real_writers;    /* that change it right now, or died while they did */
    _Atomic uint32_t journaled;       /* 1: the journal knows the file */
    /* Clean data that is kept: see retain.h. */
    _Atomic uint32_t retain;       /* bits: CTE__RETAIN_CACHE … */
    _Atomic uint32_t settled;      /* 1: nobody has it open, and nothing is dirty */
    _Atomic uint32_t real_ours;    /* 1: cte changed the real file since `mark` was made certain */
    _Atomic uint32_t real_foreign; /* 1: somebody else changed it since the first open */
    _Atomic uint64_t real_changes; /* grows when a change by cte begins, and when it ends */
    _Atomic uint64_t real_synced;  /* what that was when the real file was last made durable */
    struct cte__real_mark mark;
    /* What a reboot took (restore.c): bytes that were in memory only, and where they lay. */
    _Atomic uint64_t lost_bytes, lost_first, lost_end;
    _Atomic uint32_t flags; /* CTE__FILE_… of journal_record.h */
    /* Of draining in the background: see cte__drain_note(). */
    _Atomic int32_t drain_failure;   /* what the last try came to; CTE_OK: nothing failed */
    _Atomic uint32_t drain_untold;   /* 1: nobody was told of that yet */
    _Atomic uint64_t drain_retry_ns; /* CLOCK_MONOTONIC: not again before */
    _Atomic uint64_t drain_backoff_ns;
};

/* A tag (a named set of blobs) or a file (a tag of chunks). */
struct cte__tag_record {
    struct cte__mutex lock;     /* the list */
    _Atomic uint64_t tag_id;    /* never given twice */
    _Atomic uint64_t public_id; /* user tags: the id that programs know it by; tag_id unless one of
                                 * them chose it */
    _Atomic cte__unit list_head;
    _Atomic uint32_t dead_count;  /* entries on the list that wait for the reaper; a hint */
    _Atomic uint32_t entry_count; /* live entries; a hint */
    uint32_t type;                /* CTE__ENTRY_TAG or CTE__ENTRY_FILE */
    uint64_t chunk_bytes;         /* files */
    cte__unit entry;              /* its name in tag 0 */
    uint32_t path_bytes;          /* files: length of `path` without the 0 */
    _Atomic uint32_t dead;        /* user tags: deleted, or being deleted (user_tag.c) */
    cte__unit chain_next;         /* user tags: the next record on header.user_tags */
    cte__unit free_next;          /* user tags: the next record on header.user_tags_free */
    struct cte__file_state file;
    char path[]; /* files: absolute path of the real file, for people and recovery */
};

/* Consecutive pages of one arena that a process pins, or shares as a buffer.  See pin.h. */
struct cte__pin {
    cte__page page;
    uint32_t count;
    uint32_t generation;    /* grows with each use of this place in the table */
    _Atomic uint16_t owner; /* owner word of the process; 0: not in use */
    uint16_t buffer;        /* not 0: pages that belong to the process; 1: for others to pin */
    uint32_t reserved;
};

/* The journal: a file beside the first target whose contents outlive the node (journal.h). */
struct cte__journal_state {
    struct cte__mutex lock;       /* beginning and completing a generation, syncing */
    struct cte__mutex files_lock; /* records of files: their order is that of what they say */
    uint64_t nonce;               /* seed of its records' checksums */
    _Atomic uint64_t generation;  /* that is appended to; 0: the store has no journal */
    _Atomic uint64_t bytes;       /* of that generation */
    uint64_t dump_bytes;          /* what the last dump of all that lives took */
    _Atomic uint64_t retry_ns;    /* monotonic: when a broken journal may be tried again */
    _Atomic uint32_t surviving;   /* bit set of the targets whose contents outlive the node */
    _Atomic uint32_t dumping;     /* 1: the generation is nothing without the one before */
    _Atomic uint32_t wanted;      /* 1: a new generation should begin */
    _Atomic uint32_t named;       /* 1: its name survives power loss */
    _Atomic int32_t broken;       /* status of an append that failed: the generation has a hole */
    char path[PATH_MAX];
};

/* Who does the work that goes on beside the programs (core/file/background.h).  A seat is held
 * while its process works; one that died there left nothing but the work. */
struct cte__background_state {
    struct cte__mutex seat[CTE__BACKGROUND_JOBS][CTE__BACKGROUND_SEATS];
    /* CLOCK_MONOTONIC: when somebody last found no seat free */
    _Atomic uint64_t awaited_ns[CTE__BACKGROUND_JOBS];
};

/* Of all drains of the node (core/file/drain_pace.c).  Totals are since the store was made. */
struct cte__drain_state {
    _Alignas(CTE__CACHE_LINE) _Atomic uint64_t paid_until_ns; /* CLOCK_MONOTONIC: bandwidth limit */
    _Atomic uint64_t hurried_ns; /* when somebody last said that he waits for a drain */
    _Atomic uint64_t bytes_read; /* of targets, on their way to real files */
    _Atomic uint64_t bytes_drained;
    _Atomic uint64_t bytes_drained_background; /* part of the former */
    _Atomic uint64_t bytes_evicted;
    _Atomic uint64_t bytes_written_through;
    _Atomic uint64_t failures; /* tries in the background that failed */
    struct cte__mutex evicting;
};

struct cte__store_header {
    uint64_t magic; /* written last */
    uint32_t version;
    uint32_t header_bytes; /* sizeof(struct cte__store_header): the layout signature */
    uint64_t segment_bytes;
    uint64_t pid_namespace;        /* inode of the creator's PID namespace */
    cte__unit user_tags;           /* every record of a user tag ever made, for ever; grows only */
    cte__unit user_tags_free;      /* those of deleted tags, to be used again */
    _Atomic uint32_t target_count; /* records that were ever used; grows only */
    _Atomic uint32_t page_arena_count; /* likewise */
    uint32_t page_arena_room;          /* there may be so many */
    uint32_t unit_arena_count;
    uint32_t keep;     /* configuration: keep the store after the last detach */
    uint32_t checksum; /* configuration of who made the store: pages have checksums; for all */
    uint32_t reserved;
    uint64_t shards_offset, page_arenas_offset, unit_arenas_offset, units_offset;
    uint64_t telemetry_offset;          /* struct cte__ring_block */
    uint64_t page_tables_offset;        /* of page arena 0; each has room for CTE__PAGE_ARENA_MAX */
    _Atomic uint64_t targets_scored_ns; /* CLOCK_MONOTONIC */
    _Alignas(CTE__CACHE_LINE) _Atomic uint64_t tag_counter;
    _Alignas(CTE__CACHE_LINE) _Atomic uint32_t sweep_wanted; /* somebody died */
    struct cte__mutex sweep_lock;
    _Alignas(CTE__CACHE_LINE) _Atomic uint32_t pin_count; /* pins in use, or more */
    uint32_t pins_end;                                    /* none is in use from here on */
    struct cte__mutex pin_lock;
    struct cte__mutex rename_lock; /* one rename at a time: it may lock two shards */
    cte__unit root_tag; /* struct cte__tag_record of tag 0, whose entries are the tags and files */
    struct cte__journal_state journal;
    struct cte__background_state background;
    struct cte__drain_state drain;
    struct cte__slot slots[CTE__SLOTS_MAX];
    struct cte__pin pins[CTE__PINS_MAX];
    struct cte__target_record targets[CTE__TARGETS_MAX];
};

static_assert(sizeof(struct cte__slot) == CTE__CACHE_LINE, "a slot fills a cache line");
static_assert(sizeof(struct cte__target_counters) == CTE__CACHE_LINE,
              "a stripe fills a cache line");
static_assert(sizeof(struct cte__mutex) == CTE__CACHE_LINE, "a mutex fills a cache line");
static_assert(sizeof(struct cte__entry) == 48,
              "an entry with a name of up to 16 bytes fills two units");
static_assert(sizeof(struct cte__extent) == 24, "extent");
static_assert(sizeof(struct cte__run) == 16, "run");
static_assert(CTE__SLOTS_MAX + 1 < CTE__OWNER_PINNED, "owner words tell slots from PUBLISHED");

static inline cte__page cte__page_make(uint32_t target, uint64_t number)
{
    assert(target < CTE__TARGETS_MAX && number >> 48 == 0);
    return (cte__page)target << 48 | number;
}

static inline uint32_t cte__page_target(cte__page page)
{
    return (uint32_t)(page >> 48);
}

/* Sizes of the variable records. */
static inline uint64_t cte__map_bytes(uint32_t extent_count)
{
    /* Few sizes: the place of a blob's last map then fits another's next. */
    enum { SMALL_BYTES = 192, STEP_BYTES = 256 };
    uint64_t bytes = sizeof(struct cte__map) + (uint64_t)extent_count * sizeof(struct cte__extent);
    return bytes <= SMALL_BYTES ? bytes : (bytes + STEP_BYTES - 1) & ~(uint64_t)(STEP_BYTES - 1);
}

static inline uint64_t cte__tag_record_bytes(uint32_t path_bytes)
{
    return sizeof(struct cte__tag_record) + path_bytes + 1;
}

static inline uint64_t cte__runs_bytes(uint32_t count)
{
    return sizeof(struct cte__runs) + (uint64_t)count * sizeof(struct cte__run);
}

static inline uint64_t cte__page_number(cte__page page)
{
    return page & ((UINT64_C(1) << 48) - 1);
}

/* ---- locations ------------------------------------------------------------------------------ */

/* EXTENT, from the lowest bit: kind, 1 if clean, size - 1 in 26 bits, target in 4, page in 31. */
enum { CTE__EXTENT_SIZE_BITS = 26, CTE__EXTENT_TARGET_BITS = 4, CTE__EXTENT_PAGE_BITS = 31 };

static_assert(CTE__LOCATION_KIND_BITS + 1 + CTE__EXTENT_SIZE_BITS + CTE__EXTENT_TARGET_BITS +
                      CTE__EXTENT_PAGE_BITS ==
                  64,
              "a location is a word");
static_assert(CTE__TARGETS_MAX <= 1 << CTE__EXTENT_TARGET_BITS, "a target's number fits");

static inline enum cte__location_kind cte__location_kind(uint64_t location)
{
    return (enum cte__location_kind)(location & ((1 << CTE__LOCATION_KIND_BITS) - 1));
}

/* UNIT and SMALL: where in the heap; 0 for location 0. */
static inline cte__unit cte__location_unit(uint64_t location)
{
    return (cte__unit)(location >> CTE__LOCATION_KIND_BITS);
}

static inline uint64_t cte__location_of_unit(cte__unit unit)
{
    return (uint64_t)unit << CTE__LOCATION_KIND_BITS | CTE__AT_UNIT;
}

/* SMALL, from the lowest bit: kind, unit, size - 1 in 9 bits, checksum in 20, 1 if the journal has
 * the bytes. */
enum { CTE__SMALL_SIZE_BITS = 9, CTE__SMALL_SUM_BITS = 20 };

static_assert(CTE__LOCATION_KIND_BITS + 32 + CTE__SMALL_SIZE_BITS + CTE__SMALL_SUM_BITS + 1 == 64,
              "a location is a word");
static_assert(CTE__SMALL_MAX == 1 << CTE__SMALL_SIZE_BITS, "a small blob's size fits");

/* Of the checksum the lowest bits are kept. */
static inline uint64_t cte__location_of_small(cte__unit unit, uint32_t bytes, uint32_t checksum,
                                              bool journaled)
{
    assert(bytes > 0 && bytes <= CTE__SMALL_MAX);
    uint64_t sum = checksum & ((1u << CTE__SMALL_SUM_BITS) - 1);
    return (uint64_t)journaled << 63 |
           sum << (CTE__LOCATION_KIND_BITS + 32 + CTE__SMALL_SIZE_BITS) |
           (uint64_t)(bytes - 1) << (CTE__LOCATION_KIND_BITS + 32) |
           (uint64_t)unit << CTE__LOCATION_KIND_BITS | CTE__AT_SMALL;
}

static inline uint32_t cte__location_small_bytes(uint64_t location)
{
    return (uint32_t)(location >> (CTE__LOCATION_KIND_BITS + 32) &
                      ((1u << CTE__SMALL_SIZE_BITS) - 1)) +
           1;
}

static inline uint32_t cte__location_small_sum(uint64_t location)
{
    return (uint32_t)(location >> (CTE__LOCATION_KIND_BITS + 32 + CTE__SMALL_SIZE_BITS) &
                      ((1u << CTE__SMALL_SUM_BITS) - 1));
}

static inline bool cte__location_is_journaled(uint64_t location)
{
    return location >> 63;
}

static inline uint32_t cte__location_pages(uint64_t size_bytes)
{
    return (uint32_t)((size_bytes + 4095) / 4096);
}

/* EXTENT, taken apart: its size and its one extent.  The state is CLEAN or DIRTY. */
static inline uint64_t cte__location_size(uint64_t location)
{
    return (location >> (CTE__LOCATION_KIND_BITS + 1) &
            ((UINT64_C(1) << CTE__EXTENT_SIZE_BITS) - 1)) +
           1;
}

static inline struct cte__extent cte__location_extent(uint64_t location)
{
    uint64_t where = location >> (CTE__LOCATION_KIND_BITS + 1 + CTE__EXTENT_SIZE_BITS);
    bool clean = location >> CTE__LOCATION_KIND_BITS & 1;
    return (struct cte__extent){
        .page = cte__page_make((uint32_t)(where & ((1 << CTE__EXTENT_TARGET_BITS) - 1)),
                               where >> CTE__EXTENT_TARGET_BITS),
        .count = cte__location_pages(cte__location_size(location)),
        .state = clean ? CTE__PAGE_CLEAN : CTE__PAGE_DIRTY,
    };
}

/* The location of a blob of one extent, 0 if it needs a map. */
static inline uint64_t cte__location_of_extent(const struct cte__extent *extent,
                                               uint64_t size_bytes)
{
    uint64_t number = cte__page_number(extent->page);
    if (extent->first != 0 || extent->state == CTE__PAGE_PARTIAL || size_bytes == 0 ||
        size_bytes > UINT64_C(1) << CTE__EXTENT_SIZE_BITS ||
        cte__location_pages(size_bytes) != extent->count || number >> CTE__EXTENT_PAGE_BITS != 0)
        return 0;
    uint64_t where = number << CTE__EXTENT_TARGET_BITS | cte__page_target(extent->page);
    uint64_t clean = extent->state == CTE__PAGE_CLEAN;
    return where << (CTE__LOCATION_KIND_BITS + 1 + CTE__EXTENT_SIZE_BITS) |
           (size_bytes - 1) << (CTE__LOCATION_KIND_BITS + 1) | clean << CTE__LOCATION_KIND_BITS |
           CTE__AT_EXTENT;
}

#endif
