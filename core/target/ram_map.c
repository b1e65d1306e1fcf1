/* SPDX-License-Identifier: BSD-3-Clause */
/* The ram target's mappings: which pages this process may touch through one.
 *
 * The first time that a process writes a page it does so by system call: the page may not be in the
 * page cache.  What is read is there.  Later, or at once, it is warmed: MADV_POPULATE_READ maps it,
 * and says so if it cannot, where a fault would raise SIGBUS; a shared mapping that was populated
 * so may be written, too, and takes a minor fault at most.  Measured on a virtual machine (EPYC,
 * Linux 6.18), ns per page that is already in the page cache:
 *
 *    at once    populate   touch it   copy, warm   pwrite
 *    4 KiB          1830      14200          190     2100
 *    64 KiB          435      20300          150
 *    1 MiB           250      17000          160      650
 *
 * and on another one (Xeon):
 *
 *    4 KiB           650        80          440     1480 (pread 1340)
 *    64 KiB          370        45          440
 *    1 MiB           330        45          440     1000 (pread 1340)
 *
 * MADV_POPULATE_WRITE, which faults page by page, takes 100 to 400 more.  Most of the cost of
 * populating at 4 KiB is that of calling: pages beside the one in use that were used before are
 * warmed with it, up to 64 KiB.  Where a hypervisor keeps page tables of its own, the first touch
 * of a page that was populated costs 4000 to 5000 ns more, elsewhere next to nothing.  So when to
 * warm a page is the question of renting or buying skis (Karlin et al., Competitive snoopy caching,
 * 1988): when with this use system calls would have cost it what warming costs, which is at most
 * twice what the best choice would have been.  What warming costs is measured in each process, on
 * the first pages that it warms, which it does early for that; what a system call costs more than a
 * copy is taken from the table: so much for the call and so much for each page, in the units of the
 * pages' states.  A page that is not in the page cache yet takes 1300 to 4000 ns to populate: more
 * than to write it. */
#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include "base/util.h"
#include "target/ram.h"

/* What a page's uses by system call have cost more than copies would have, in units of 32 ns. */
enum page_state {
    COLD = 0,       /* not used by this process */
    PAID_MAX = 254, /* or more */
    WARM,           /* in this process's mapping: may be touched */
};

enum {
    UNIT_NS = 32,
    CALL_UNITS = 1400 / UNIT_NS, /* of each system call */
    PAGE_UNITS = 480 / UNIT_NS,  /* of each page that one moves */
    PRICE_MIN = 1,               /* one use */
    MEASURES = 8, /* the lowest counts: a process may be kept from the processor meanwhile */
    AROUND_PAGES = 16,
    MEASURED_PAGES_MAX = 4 * AROUND_PAGES,
    /* A gap of so many warm pages between cold ones is not worth a system call of its own. */
    GAP_PAGES_MAX = 4,
};

/* States are bytes that change without order or lock.  The only promise that counts is WARM: that
 * the page is in the page cache, which was true before any thread stored it and stays so (ram.h).
 * Threads that race may warm a page twice, or set a warm page back to what it had paid: then it is
 * warmed again. */
static _Atomic uint8_t *states_of(const struct cte__ram_state *state, uint64_t arena)
{
    return state->pages + arena * (state->arenas.arena_bytes >> CTE__PAGE_SHIFT);
}

static uint8_t get(const _Atomic uint8_t *page)
{
    return atomic_load_explicit(page, memory_order_relaxed);
}

static void set(_Atomic uint8_t *page, uint32_t state)
{
    atomic_store_explicit(page, (uint8_t)state, memory_order_relaxed);
}

static bool is_priced(const struct cte__ram_state *state)
{
    return atomic_load_explicit(&state->measures, memory_order_relaxed) >= MEASURES;
}

/* From what on a page is to be warmed. */
static uint32_t price(const struct cte__ram_state *state)
{
    return is_priced(state) ? atomic_load_explicit(&state->warm_units, memory_order_relaxed)
                            : PRICE_MIN;
}

/* ---- mappings ---- */

void cte__ram_map_init(struct cte__ram_state *state)
{
    size_t bytes = state->arenas.capacity_bytes >> CTE__PAGE_SHIFT;
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (uint64_t i = 0; i < state->arenas.count; i++)
        atomic_init(&state->bases[i], NULL);
    atomic_init(&state->cannot_populate, false);
    atomic_init(&state->measures, 0);
    atomic_init(&state->warm_units, PAID_MAX);
    state->pages = pages == MAP_FAILED ? NULL : pages;
    /* A forked child inherits the mappings of the arenas but nothing mapped in them.  With all
     * pages cold it warms its own; where the kernel cannot do that it takes minor faults, slow but
     * harmless. */
    if (state->pages)
        madvise(pages, bytes, MADV_WIPEONFORK);
}

void cte__ram_map_release(struct cte__ram_state *state)
{
    for (uint64_t i = 0; i < state->arenas.count; i++) {
        char *base = atomic_load_explicit(&state->bases[i], memory_order_relaxed);
        if (base && base != MAP_FAILED)
            munmap(base, state->arenas.arena_bytes);
    }
    if (state->pages)
        munmap((void *)state->pages, state->arenas.capacity_bytes >> CTE__PAGE_SHIFT);
}

/* MAP_FAILED if there is no address space for it, or no map left.  In a program that locks all its
 * future memory a mapping would take memory for every page of the arena: it is made inaccessible,
 * unlocked, and only then opened. */
static char *map_file(int fd, uint64_t bytes)
{
    char *base = mmap(NULL, bytes, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED)
        return base;
    if (munlock(base, bytes) == 0 && mprotect(base, bytes, PROT_READ | PROT_WRITE) == 0)
        return base;
    munmap(base, bytes);
    return MAP_FAILED;
}

/* Maps an arena; NULL if that cannot be.  Forks need no lock here: the kernel copies a process's
 * memory with its maps locked, so a child that knows the address has the mapping. */
static char *map_arena(struct cte__ram_state *state, uint64_t index, bool create)
{
    struct cte__arena_use use;
    if (cte__arenas_use(&state->arenas, index, create, &use) != 0)
        return NULL;
    char *base = map_file(use.fd, state->arenas.arena_bytes);
    cte__arenas_done(&use);
    char *first = NULL;
    if (atomic_compare_exchange_strong_explicit(&state->bases[index], &first, base,
                                                memory_order_release, memory_order_acquire))
        return base == MAP_FAILED ? NULL : base;
    if (base != MAP_FAILED)
        munmap(base, state->arenas.arena_bytes);
    return first == MAP_FAILED ? NULL : first; /* another thread was first */
}

static char *base_of(struct cte__ram_state *state, uint64_t index, bool create)
{
    if (!state->pages || atomic_load_explicit(&state->cannot_populate, memory_order_relaxed))
        return NULL;
    char *base = atomic_load_explicit(&state->bases[index], memory_order_acquire);
    if (!base)
        return map_arena(state, index, create);
    return base == MAP_FAILED ? NULL : base;
}

/* ---- warming ---- */

/* False if a page is not there and no memory is left for it, or the kernel cannot do it. */
static bool populate(struct cte__ram_state *state, char *base, const struct cte__ram_pages *pages)
{
    if (madvise(base + (pages->first << CTE__PAGE_SHIFT),
                (pages->end - pages->first) << CTE__PAGE_SHIFT, MADV_POPULATE_READ) == 0)
        return true;
    if (errno == EINVAL) /* before Linux 5.14 */
        atomic_store_explicit(&state->cannot_populate, true, memory_order_relaxed);
    return false;
}

/* Touches each page, which is mapped. */
static void touch(const char *base, const struct cte__ram_pages *pages)
{
    for (uint64_t page = pages->first; page < pages->end; page++)
        (void)*(const volatile char *)(base + (page << CTE__PAGE_SHIFT));
}

/* The same, and notes what that costs, with the first touch of the pages.  Threads that race lose a
 * measure at most. */
static bool populate_measured(struct cte__ram_state *state, char *base,
                              const struct cte__ram_pages *pages)
{
    uint64_t begin = cte__monotonic_ns();
    if (!populate(state, base, pages))
        return false;
    touch(base, pages);
    uint64_t units = (cte__monotonic_ns() - begin) / UNIT_NS / (pages->end - pages->first);
    units = cte__max(units, PRICE_MIN);
    if (units < atomic_load_explicit(&state->warm_units, memory_order_relaxed))
        atomic_store_explicit(&state->warm_units, (uint32_t)units, memory_order_relaxed);
    atomic_fetch_add_explicit(&state->measures, 1, memory_order_relaxed);
    return true;
}

static bool warm(struct cte__ram_state *state, char *base, const struct cte__ram_pages *pages)
{
    _Atomic uint8_t *states = states_of(state, pages->arena);
    bool measure = !is_priced(state) && pages->end - pages->first <= MEASURED_PAGES_MAX;
    if (!(measure ? populate_measured(state, base, pages) : populate(state, base, pages)))
        return false;
    for (uint64_t page = pages->first; page < pages->end; page++)
        set(&states[page], WARM);
    return true;
}

static bool is_due(uint32_t paid, uint32_t from)
{
    return paid >= from && paid != WARM;
}

/* What one use of each of the pages by one system call costs. */
static uint32_t units_of_use(const struct cte__ram_pages *pages)
{
    return PAGE_UNITS + CALL_UNITS / (uint32_t)(pages->end - pages->first);
}

/* From what on the pages are to be warmed instead of being used by system call once more.  Those
 * that are to be written and were never used may not be there. */
static uint32_t due_from(const struct cte__ram_state *state, const struct cte__ram_pages *pages,
                         bool write)
{
    uint32_t least = write ? COLD + 1 : COLD, now = price(state), use = units_of_use(pages);
    return now > use + least ? now - use : least;
}

/* Adds the neighbours that were used before, too, as far as they are in the same 64 KiB: most of
 * what warming costs is the call. */
static void widen(const _Atomic uint8_t *states, struct cte__ram_pages *run)
{
    while (run->first % AROUND_PAGES != 0 && is_due(get(&states[run->first - 1]), COLD + 1))
        run->first--;
    while (run->end % AROUND_PAGES != 0 && is_due(get(&states[run->end]), COLD + 1))
        run->end++;
}

/* Whoever reads on from page to page will come to those that follow in the same 64 KiB: adds them,
 * as far as they are in the page cache, which not all need be. */
static void read_ahead(const _Atomic uint8_t *states, char *base, struct cte__ram_pages *run)
{
    unsigned char there[AROUND_PAGES];
    uint64_t most = cte__align_up(run->end, AROUND_PAGES) - run->end, count = 0;
    if (run->first == 0 || get(&states[run->first - 1]) != WARM || most == 0 ||
        mincore(base + (run->end << CTE__PAGE_SHIFT), most << CTE__PAGE_SHIFT, there) != 0)
        return;
    while (count < most && there[count] & 1 && get(&states[run->end + count]) != WARM)
        count++;
    run->end += count;
}

/* From a page that is due to the last one that is, with warm pages between, which cost less here
 * than a second call; while the price is not known, a few. */
static struct cte__ram_pages due_run(const struct cte__ram_state *state, uint32_t from,
                                     uint64_t page, const struct cte__ram_pages *pages)
{
    const _Atomic uint8_t *states = states_of(state, pages->arena);
    struct cte__ram_pages run = {.arena = pages->arena, .first = page, .end = page + 1};
    uint64_t end = pages->end;
    if (!is_priced(state))
        end = cte__min(end, page + AROUND_PAGES);
    while (page < end && get(&states[page]) >= from)
        if (is_due(get(&states[page++]), from))
            run.end = page;
    return run;
}

char *cte__ram_warm_due(struct cte__ram_state *state, const struct cte__ram_pages *pages,
                        bool write)
{
    if (!state->pages)
        return NULL;
    const _Atomic uint8_t *states = states_of(state, pages->arena);
    uint32_t from = due_from(state, pages, write);
    char *base = NULL;
    uint64_t page = pages->first;
    while (page < pages->end) {
        uint8_t now = get(&states[page]);
        if (now >= from && !base && !(base = base_of(state, pages->arena, false)))
            return NULL;
        if (!is_due(now, from)) {
            page++;
            continue;
        }
        struct cte__ram_pages run = due_run(state, from, page, pages);
        page = run.end;
        widen(states, &run);
        if (!write && from == COLD)
            read_ahead(states, base, &run);
        if (!warm(state, base, &run))
            return NULL;
        from = due_from(state, pages, write); /* the price may be known only now */
    }
    return base;
}

bool cte__ram_warm(const struct cte__ram_state *state, const struct cte__ram_pages *pages)
{
    if (!state->pages)
        return false;
    const _Atomic uint8_t *states = states_of(state, pages->arena);
    for (uint64_t page = pages->first; page < pages->end; page++)
        if (get(&states[page]) != WARM)
            return false;
    return true;
}

uint64_t cte__ram_same_way(const struct cte__ram_state *state, const struct cte__ram_pages *pages,
                           bool *warm)
{
    const _Atomic uint8_t *states = states_of(state, pages->arena);
    uint64_t page = pages->first;
    *warm = get(&states[page]) == WARM;
    if (*warm) {
        while (page < pages->end && get(&states[page]) == WARM)
            page++;
        return page;
    }
    uint64_t end = page + 1;
    for (page = end; page < pages->end && page - end <= GAP_PAGES_MAX; page++)
        if (get(&states[page]) != WARM)
            end = page + 1;
    return end;
}

/* What is read may never have been written: then warming it takes memory, once.  The store reads
 * only what was written. */
void cte__ram_note_used(struct cte__ram_state *state, const struct cte__ram_pages *pages)
{
    if (!state->pages)
        return;
    _Atomic uint8_t *states = states_of(state, pages->arena);
    uint32_t units = units_of_use(pages);
    for (uint64_t page = pages->first; page < pages->end; page++) {
        uint32_t paid = get(&states[page]);
        if (paid < PAID_MAX)
            set(&states[page], (uint32_t)cte__min(paid + units, PAID_MAX));
    }
}

/* ---- views ---- */

void *cte__ram_view(void *opaque, bool write, uint64_t offset, uint64_t bytes)
{
    struct cte__ram_state *state = opaque;
    uint64_t index = offset / state->arenas.arena_bytes;
    uint64_t inside = offset % state->arenas.arena_bytes;
    if (bytes == 0 || offset >= state->arenas.capacity_bytes ||
        bytes > state->arenas.arena_bytes - inside)
        return NULL;
    struct cte__ram_pages pages = {
        .arena = index,
        .first = inside >> CTE__PAGE_SHIFT,
        .end = ((inside + bytes - 1) >> CTE__PAGE_SHIFT) + 1,
    };
    char *base = base_of(state, index, write);
    if (!base || (!cte__ram_warm(state, &pages) && !warm(state, base, &pages)))
        return NULL;
    return base + inside;
}
