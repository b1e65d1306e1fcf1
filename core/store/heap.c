/* SPDX-License-Identifier: BSD-3-Clause */
/* Metadata units and target pages: arenas of one kind seen as one space. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"
#include "store/store_internal.h"

enum { BACKING_STEP_BYTES = 256 << 10 };

bool cte__segment_back(struct cte__store *store, uint64_t offset, uint64_t bytes)
{
    int result;
    do
        result = fallocate(store->segment_fd, 0, (off_t)offset, (off_t)bytes);
    while (result != 0 && errno == EINTR);
    return result == 0;
}

/* Mapping memory that is there at once saves this process a fault per page; where that cannot be,
 * faults do it. */
static void map_early(struct cte__store *store, uint64_t offset, uint64_t bytes)
{
    uint64_t start = cte__align_down(offset, CTE__PAGE_BYTES);
    madvise(store->base + start, cte__align_up(offset + bytes, CTE__PAGE_BYTES) - start,
            MADV_POPULATE_WRITE);
}

/* Who first uses an arena is who goes on with it (see enum stage below). */
static bool back_table(struct cte__store *store, uint64_t offset, uint64_t bytes)
{
    if (!cte__segment_back(store, offset, bytes))
        return false;
    map_early(store, offset, bytes);
    return true;
}

static bool back_tables(struct cte__store *store, const struct cte__arena *arena)
{
    uint64_t count = arena->unit_count;
    return back_table(store, arena->owners_offset, count * sizeof(uint16_t)) &&
           back_table(store, arena->bitmap_offset, count / 8) &&
           (arena->sums_offset == 0 ||
            back_table(store, arena->sums_offset, count * sizeof(uint32_t)));
}

static bool arena_ready(struct cte__store *store, const struct cte__arena_view *view)
{
    struct cte__arena *arena = view->arena;
    if (atomic_load_explicit(&arena->ready, memory_order_acquire))
        return true;
    if (!back_tables(store, arena))
        return false;
    atomic_store_explicit(&arena->ready, 1, memory_order_release);
    return true;
}

/* Makes sure the units below `end` of a metadata arena have memory. */
static bool back_units(struct cte__store *store, uint32_t arena_index, uint32_t end)
{
    struct cte__arena *arena = store->unit_arenas[arena_index].arena;
    uint32_t backed = atomic_load_explicit(&arena->backed, memory_order_acquire);
    if (end <= backed)
        return true;
    uint32_t target = (uint32_t)cte__min(
        cte__align_up((uint64_t)end << CTE__UNIT_SHIFT, BACKING_STEP_BYTES) >> CTE__UNIT_SHIFT,
        CTE__META_ARENA_UNITS);
    uint64_t offset = store->header->units_offset +
                      (((uint64_t)arena_index * CTE__META_ARENA_UNITS + backed) << CTE__UNIT_SHIFT);
    if (!cte__segment_back(store, offset, (uint64_t)(target - backed) << CTE__UNIT_SHIFT))
        return false;
    map_early(store, offset, (uint64_t)(target - backed) << CTE__UNIT_SHIFT);
    while (backed < target && !atomic_compare_exchange_weak(&arena->backed, &backed, target))
        ;
    return true;
}

cte_status cte__units_reserve_null(struct cte__store *store)
{
    uint32_t start;
    if (!arena_ready(store, &store->unit_arenas[0]))
        return -ENOSPC;
    uint32_t claimed =
        cte__arena_claim(&store->unit_arenas[0], CTE__OWNER_PUBLISHED, 2, 1, true, &start);
    assert(claimed == 2 && start == 0);
    return claimed == 2 ? CTE_OK : CTE_ERR_STORE_CORRUPT;
}

static uint32_t spread(uint16_t self, uint32_t count)
{
    return (uint32_t)((self * UINT64_C(2654435761)) % count);
}

/* Names and runs are small and stay; maps are larger and come and go with every
 * put.  In one arena the small ones would cut the gaps that the maps leave to
 * pieces.  Processes start in different arenas, so that they do not queue for
 * one allocator. */
static uint32_t first_unit_arena(uint16_t self, bool small, uint32_t arenas)
{
    uint32_t kinds = arenas / 2;
    uint32_t first = spread(self, kinds < 8 ? kinds : 8);
    return small ? first : kinds + first;
}

static cte_status claim_units(struct cte__store *store, uint32_t count, uint32_t align_units,
                              bool small, cte__unit *unit)
{
    uint32_t arenas = store->header->unit_arena_count;
    uint16_t self = cte__store_self(store);
    if (self == 0)
        return -EUSERS;
    if (count > CTE__META_ARENA_UNITS / 2)
        return -ENOSPC;
    for (uint32_t i = 0; i < arenas; i++) {
        uint32_t index = (first_unit_arena(self, small, arenas) + i) % arenas, start;
        const struct cte__arena_view *view = &store->unit_arenas[index];
        if (atomic_load_explicit(&view->arena->free_count, memory_order_relaxed) < count ||
            !arena_ready(store, view))
            continue;
        if (cte__arena_claim(view, self, count, align_units, true, &start) == 0)
            continue;
        if (!back_units(store, index, start + count)) {
            cte__arena_free(view, self, start, count);
            continue;
        }
        *unit = index * CTE__META_ARENA_UNITS + start;
        return CTE_OK;
    }
    return -ENOSPC;
}

cte_status cte__units_claim(struct cte__store *store, uint64_t bytes, uint32_t align_units,
                            cte__unit *unit)
{
    enum { SMALL_UNITS_MAX = 6 };
    uint32_t count = cte__units_for(bytes);
    return claim_units(store, count, align_units, count <= SMALL_UNITS_MAX, unit);
}

cte_status cte__units_claim_row(struct cte__store *store, uint64_t bytes, cte__unit *unit)
{
    return claim_units(store, cte__units_for(bytes), 1, true, unit);
}

cte_status cte__units_claim_zeroed(struct cte__store *store, uint64_t bytes, uint32_t align_units,
                                   cte__unit *unit)
{
    cte_status status = cte__units_claim(store, bytes, align_units, unit);
    if (status == CTE_OK)
        memset(cte__unit_at(store, *unit), 0, (size_t)cte__units_for(bytes) << CTE__UNIT_SHIFT);
    return status;
}

static const struct cte__arena_view *unit_arena(const struct cte__store *store, cte__unit unit)
{
    return &store->unit_arenas[unit / CTE__META_ARENA_UNITS];
}

void cte__units_own(struct cte__store *store, uint16_t owner, cte__unit unit, uint64_t bytes)
{
    cte__arena_own(unit_arena(store, unit), owner, unit % CTE__META_ARENA_UNITS,
                   cte__units_for(bytes));
}

void cte__units_free(struct cte__store *store, cte__unit unit, uint64_t bytes)
{
    cte__arena_free(unit_arena(store, unit), cte__store_self(store), unit % CTE__META_ARENA_UNITS,
                    cte__units_for(bytes));
}

/* ---- pages ---------------------------------------------------------------------------------- */

static uint32_t arena_pages(const struct cte__target_record *record)
{
    return (uint32_t)cte__bytes_to_pages(record->arena_bytes);
}

/* The arena of a number of a target.  Numbers that make no sense, as a target was exchanged while
 * they were read, give an arena all the same; the caller finds that out later. */
static const struct cte__arena_view *arena_of(const struct cte__store *store, uint64_t index)
{
    return cte__page_arena(store, index < store->header->page_arena_room ? (uint32_t)index : 0);
}

/* The arena of a page, and the page's number in it.  A reader may come with a page of a target that
 * left meanwhile, and whose place another one has taken: it gets some memory of the tables then,
 * and throws away what it reads, as its blob has moved. */
static const struct cte__arena_view *page_arena(const struct cte__store *store, cte__page page,
                                                uint32_t *start)
{
    const struct cte__target_record *record = &store->header->targets[cte__page_target(page)];
    uint64_t number = cte__page_number(page), pages = arena_pages(record);
    *start = (uint32_t)(number % pages);
    return arena_of(store, record->arena_first + number / pages);
}

void cte__pages_own(struct cte__store *store, uint16_t owner, cte__page page, uint32_t count)
{
    uint32_t start;
    const struct cte__arena_view *view = page_arena(store, page, &start);
    cte__arena_own(view, owner, start, count);
}

cte_status cte__pages_take(struct cte__store *store, cte__page page, uint32_t count)
{
    uint32_t start;
    const struct cte__arena_view *view = page_arena(store, page, &start);
    if (!arena_ready(store, view))
        return -ENOSPC;
    return cte__arena_take(view, start, count) ? CTE_OK : -EBUSY;
}

void cte__pages_free(struct cte__store *store, cte__page page, uint32_t count)
{
    uint32_t start;
    const struct cte__arena_view *view = page_arena(store, page, &start);
    cte__arena_free(view, cte__store_self(store), start, count);
}

void cte__pages_reclaim(struct cte__store *store, uint16_t owner, cte__page page, uint32_t count)
{
    uint32_t start;
    const struct cte__arena_view *view = page_arena(store, page, &start);
    cte__arena_reclaim(view, owner, start, count);
}

uint32_t *cte__pages_checksums(const struct cte__store *store, cte__page page)
{
    uint32_t start;
    return page_arena(store, page, &start)->sums + start;
}

uint64_t cte__target_free_bytes(const struct cte__store *store, uint32_t target)
{
    const struct cte__target_record *record = &store->header->targets[target];
    const struct cte__arena *arenas = (void *)(store->base + store->header->page_arenas_offset);
    uint64_t pages = 0;
    for (uint32_t i = 0; i < record->arena_count; i++)
        pages +=
            atomic_load_explicit(&arenas[record->arena_first + i].free_count, memory_order_relaxed);
    return cte__pages_to_bytes(pages);
}

struct claim {
    struct cte__page_run *runs;
    uint32_t capacity, used;
};

/* Where a process looks for pages.  Memory that it has touched before is many times faster than
 * other memory (core/target/ram_map.c), and an arena that only it uses has no other at its lock: so
 * it goes on where it was, then to other arenas it has used, then to those that nobody uses. */
enum stage { STAGE_LAST, STAGE_MINE, STAGE_UNUSED, STAGE_ANY, STAGES };

static _Atomic uint64_t *mine_word(struct cte__target_handle *handle, uint32_t arena, uint64_t *bit)
{
    *bit = UINT64_C(1) << (arena % 64);
    return &handle->mine[arena / 64 % CTE__MINE_WORDS];
}

static bool belongs(struct cte__target_handle *handle, const struct cte__arena *arena,
                    uint32_t index, enum stage stage)
{
    uint64_t bit;
    switch (stage) {
    case STAGE_MINE:
        return atomic_load_explicit(mine_word(handle, index, &bit), memory_order_relaxed) & bit;
    case STAGE_UNUSED:
        return atomic_load_explicit(&arena->free_count, memory_order_relaxed) == arena->unit_count;
    default:
        return true;
    }
}

static void note_mine(struct cte__target_handle *handle, uint32_t index)
{
    uint64_t bit;
    _Atomic uint64_t *word = mine_word(handle, index, &bit);
    if (!(atomic_load_explicit(word, memory_order_relaxed) & bit))
        atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
    atomic_store_explicit(&handle->arena_hint, index + 1, memory_order_relaxed);
}

/* How a target is cut, copied: another one may take its place at any time. */
struct cut {
    uint32_t target, generation;
    uint32_t arena_first, arena_count, arena_pages;
};

/* False if nothing new may go to the target. */
static bool target_cut(struct cte__store *store, uint32_t target, struct cut *cut)
{
    const struct cte__target_record *record = &store->header->targets[target];
    const struct cte__open_target *open;
    /* Before the state: a target that leaves changes its state first. */
    uint32_t generation = atomic_load_explicit(&record->generation, memory_order_acquire);
    if (cte__target_state(store, target) != CTE__TARGET_ACTIVE ||
        cte__target_open(store, target, &open) != CTE_OK)
        return false;
    *cut = (struct cut){target, generation, record->arena_first, record->arena_count,
                        arena_pages(record)};
    return true;
}

/* Claims up to `want` pages in a row.  Pages that are claimed keep the target where it is; if it
 * left just before that, they are another one's. */
static uint32_t claim_piece(struct cte__store *store, uint16_t self, const struct cut *cut,
                            uint32_t index, uint32_t want, bool whole, struct cte__page_run *run)
{
    const struct cte__target_record *record = &store->header->targets[cut->target];
    const struct cte__arena_view *view = arena_of(store, (uint64_t)cut->arena_first + index);
    uint32_t free_count = atomic_load_explicit(&view->arena->free_count, memory_order_relaxed);
    uint32_t start;
    if (free_count < (whole ? want : 1) || !arena_ready(store, view))
        return 0;
    uint32_t count = cte__arena_claim(view, self, want, 1, whole, &start);
    if (count == 0)
        return 0;
    if (atomic_load_explicit(&record->generation, memory_order_acquire) != cut->generation) {
        cte__arena_free(view, self, start, count);
        return 0;
    }
    *run = (struct cte__page_run){
        cte__page_make(cut->target, (uint64_t)index * cut->arena_pages + start), count};
    return count;
}

/* Claims up to `want` pages from one arena: in one piece, or in as few as there are. */
static uint32_t claim_from_arena(struct cte__store *store, uint16_t self, const struct cut *cut,
                                 uint32_t index, uint32_t want, bool whole, struct claim *claim)
{
    uint32_t got = 0, count = 1;
    while (got < want && claim->used < claim->capacity && count > 0) {
        uint32_t piece = (uint32_t)cte__min(want - got, cut->arena_pages);
        count = claim_piece(store, self, cut, index, piece, whole, &claim->runs[claim->used]);
        claim->used += count > 0;
        got += count;
    }
    if (got > 0)
        note_mine(&store->targets[cut->target], index);
    return got;
}

/* Claims from one target: pieces as large as arenas allow first, then whatever there is. */
static uint32_t claim_from_target(struct cte__store *store, uint16_t self, uint32_t target,
                                  uint32_t want, struct claim *claim)
{
    struct cte__target_handle *handle = &store->targets[target];
    struct cut cut;
    uint32_t got = 0;
    if (!target_cut(store, target, &cut))
        return 0;
    uint32_t first = atomic_load_explicit(&handle->arena_hint, memory_order_relaxed);
    first = first == 0 ? spread(self, cut.arena_count) : (first - 1) % cut.arena_count;
    for (int whole = 1; whole >= 0; whole--) {
        for (enum stage stage = STAGE_LAST; stage < STAGES && got < want; stage++) {
            uint32_t arenas = stage == STAGE_LAST ? 1 : cut.arena_count;
            for (uint32_t i = 0; i < arenas && got < want; i++) {
                uint32_t index = (first + i) % cut.arena_count;
                if (belongs(handle, arena_of(store, (uint64_t)cut.arena_first + index)->arena,
                            index, stage))
                    got += claim_from_arena(store, self, &cut, index, want - got, whole, claim);
            }
        }
    }
    return got;
}

static void give_back(struct cte__store *store, struct claim *claim)
{
    while (claim->used > 0) {
        claim->used--;
        cte__pages_free(store, claim->runs[claim->used].page, claim->runs[claim->used].count);
    }
}

/* The free space of a target of many arenas is a sum over as many cache lines that others write:
 * what was seen a few claims ago is near enough to choose by, if that was plenty. */
uint64_t cte__target_free_about(struct cte__store *store, uint32_t target)
{
    enum { ARENAS_FEW = 8, CLAIMS_PER_LOOK = 64 };
    struct cte__target_handle *handle = &store->targets[target];
    if (handle->record->arena_count <= ARENAS_FEW)
        return cte__target_free_bytes(store, target);
    uint64_t seen = atomic_load_explicit(&handle->free_seen, memory_order_relaxed);
    uint32_t claims = atomic_fetch_add_explicit(&handle->claims, 1, memory_order_relaxed);
    if (claims % CLAIMS_PER_LOOK == 0 || seen < handle->record->capacity_bytes / ARENAS_FEW) {
        seen = cte__target_free_bytes(store, target);
        atomic_store_explicit(&handle->free_seen, seen, memory_order_relaxed);
    }
    return seen;
}

static uint32_t placement_targets(struct cte__store *store, uint32_t skip, bool exact,
                                  struct cte_placement_target *targets)
{
    const struct cte__target_record *records = store->header->targets;
    uint32_t count = store->header->target_count;
    for (uint32_t i = 0; i < count; i++)
        targets[i] = (struct cte_placement_target){
            .free_bytes = skip & 1u << i || cte__target_state(store, i) != CTE__TARGET_ACTIVE ? 0
                          : exact ? cte__target_free_bytes(store, i)
                                  : cte__target_free_about(store, i),
            .bytes_per_s =
                atomic_load_explicit(&records[i].placement_bytes_per_s, memory_order_relaxed),
            .latency_ns = records[i].latency_ns,
            .score = atomic_load_explicit(&records[i].score, memory_order_relaxed),
        };
    return count;
}

uint32_t cte__placement_targets(struct cte__store *store, uint32_t skip,
                                struct cte_placement_target *targets)
{
    return placement_targets(store, skip, true, targets);
}

/* One counter for each process: processes share nothing on the path of a put. */
static uint64_t placement_state(struct cte__store *store)
{
    if (!store->placement->stateful)
        return 0;
    return atomic_fetch_add_explicit(&store->placement_state, 1, memory_order_relaxed);
}

/* Claims where the engine says: how many pages of the request. */
static uint32_t claim_placed(struct cte__store *store, const struct cte_placement_request *request,
                             uint32_t skip, bool exact, struct claim *claim)
{
    struct cte_placement_target targets[CTE__TARGETS_MAX];
    struct cte_placement_extent extents[CTE__TARGETS_MAX];
    uint16_t self = cte__store_self(store);
    uint32_t count = (uint32_t)cte__bytes_to_pages(request->bytes), got = 0;
    uint32_t target_count = placement_targets(store, skip, exact, targets);
    size_t n = cte__placement_place(store->placement, targets, target_count, request, extents);
    for (size_t i = 0; i < n; i++)
        got += claim_from_target(store, self, extents[i].target,
                                 (uint32_t)cte__bytes_to_pages(extents[i].bytes), claim);
    /* Others may have been faster on what the engine saw free: take what is left anywhere. */
    for (uint32_t t = 0; n > 0 && exact && t < target_count && got < count; t++)
        if (!(skip & 1u << t))
            got += claim_from_target(store, self, t, count - got, claim);
    return got;
}

cte_status cte__pages_claim(struct cte__store *store, uint32_t count, float score, uint32_t skip,
                            struct cte__page_run *runs, uint32_t capacity, uint32_t *used)
{
    struct cte_placement_request request = {cte__pages_to_bytes(count), score,
                                            placement_state(store)};
    struct claim claim = {runs, capacity, 0};
    if (cte__store_self(store) == 0)
        return -EUSERS;
    for (int exact = 0; exact <= 1; exact++) {
        if (claim_placed(store, &request, skip, exact, &claim) == count) {
            *used = claim.used;
            return CTE_OK;
        }
        give_back(store, &claim);
    }
    return -ENOSPC;
}

/* Whose stripe it is does not matter for the sum: a forked child may still use its parent's, and
 * slots that are a multiple of the stripes apart share one. */
static void count_io(const struct cte__store *store, struct cte__target_record *record, bool write,
                     uint64_t bytes)
{
    uint64_t slot = atomic_load_explicit(&store->slot, memory_order_relaxed);
    struct cte__target_counters *stripe = &record->counters[slot % CTE__COUNTER_STRIPES];
    atomic_fetch_add_explicit(write ? &stripe->bytes_written : &stripe->bytes_read, bytes,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(write ? &stripe->writes : &stripe->reads, 1, memory_order_relaxed);
}

/* The time of the last clock tick: a limit is many ticks long. */
static uint64_t tick_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* A transfer, with an eye on the target's health.  Memory neither fails nor hangs. */
static cte_status watched_io(struct cte__store *store, uint32_t target,
                             const struct cte__open_target *open, const struct cte__target_io *io)
{
    uint64_t limit = store->target_timeout_ns, begin;
    if (!(open->ops->capabilities & CTE__TARGET_SURVIVES_NODE))
        return open->ops->io(open->state, io);
    begin = limit > 0 ? tick_ns() : 0;
    cte_status status = open->ops->io(open->state, io);
    bool late = limit > 0 && tick_ns() - begin > limit;
    const struct cte__target_record *record = &store->header->targets[target];
    if (status != CTE_OK || late ||
        atomic_load_explicit(&record->failures, memory_order_relaxed) > 0)
        cte__target_note(store, target, status, late);
    return status;
}

/* The sums of the pages are the target's business, or ours where it cannot do that. */
static cte_status summed_io(struct cte__store *store, uint32_t target,
                            const struct cte__open_target *open, const struct cte__target_io *io)
{
    if (!io->sums || open->ops->capabilities & CTE__TARGET_SUMS)
        return watched_io(store, target, open, io);
    struct cte__target_io plain = *io;
    plain.sums = NULL;
    if (io->write)
        cte__target_sum(io);
    cte_status status = watched_io(store, target, open, &plain);
    if (status == CTE_OK && !io->write)
        cte__target_sum(io);
    return status;
}

static cte_status move_pages(struct cte__store *store, cte__page page, struct cte__target_io *io)
{
    uint32_t target = cte__page_target(page);
    struct cte__target_record *record = &store->header->targets[target];
    const struct cte__open_target *open;
    io->offset += cte__pages_to_bytes(cte__page_number(page));
    cte_status status = cte__target_open(store, target, &open);
    /* A page of a target that left: the blob it was of has changed, which the reader will find. */
    if (status == CTE_ERR_NOT_FOUND ||
        (!io->write && io->offset + io->bytes > record->capacity_bytes))
        return CTE_ERR_CHECKSUM;
    if (status == CTE_OK)
        status = summed_io(store, target, open, io);
    cte__ring_note_target(target);
    if (status == CTE_OK)
        count_io(store, record, io->write, io->bytes);
    return status;
}

void *cte__pages_view(struct cte__store *store, bool write, cte__page page, uint32_t count)
{
    const struct cte__open_target *open;
    if (cte__target_open(store, cte__page_target(page), &open) != CTE_OK)
        return NULL;
    return cte__target_view(open->ops, open->state, write,
                            cte__pages_to_bytes(cte__page_number(page)),
                            cte__pages_to_bytes(count));
}

cte_status cte__pages_io(struct cte__store *store, bool write, cte__page page, uint64_t skip_bytes,
                         const struct iovec *iov, int iov_count, uint64_t bytes)
{
    struct cte__target_io io = {
        .write = write, .offset = skip_bytes, .iov = iov, .iov_count = iov_count, .bytes = bytes};
    return move_pages(store, page, &io);
}

cte_status cte__pages_io_summed(struct cte__store *store, bool write, cte__page page,
                                const struct iovec *iov, int iov_count, uint64_t bytes,
                                uint32_t *sums)
{
    struct cte__target_io io = {
        .write = write, .iov = iov, .iov_count = iov_count, .bytes = bytes, .sums = sums};
    return move_pages(store, page, &io);
}

struct cte__target_totals cte__target_totals(const struct cte__target_record *record)
{
    struct cte__target_totals totals = {0};
    for (uint32_t i = 0; i < CTE__COUNTER_STRIPES; i++) {
        const struct cte__target_counters *stripe = &record->counters[i];
        totals.bytes_read += atomic_load_explicit(&stripe->bytes_read, memory_order_relaxed);
        totals.bytes_written += atomic_load_explicit(&stripe->bytes_written, memory_order_relaxed);
        totals.reads += atomic_load_explicit(&stripe->reads, memory_order_relaxed);
        totals.writes += atomic_load_explicit(&stripe->writes, memory_order_relaxed);
    }
    return totals;
}
