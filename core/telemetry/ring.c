/* SPDX-License-Identifier: BSD-3-Clause */
/* The ring's block, and writing to it. */
#include "telemetry/ring.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "telemetry/ring_internal.h"

static_assert(sizeof(struct cte__ring_slot) == 96, "a slot is one line and a half");
static_assert((CTE__RING_LANES & (CTE__RING_LANES - 1)) == 0, "lanes are picked by a mask");

/* ---- the block ------------------------------------------------------------------------------ */

uint64_t cte__ring_fixed_bytes(void)
{
    return cte__align_up(sizeof(struct cte__ring_block), CTE__PAGE_BYTES);
}

static uint64_t lane_bytes(uint32_t entries)
{
    return (uint64_t)entries * sizeof(struct cte__ring_slot);
}

uint64_t cte__ring_bytes(uint32_t entries)
{
    return cte__ring_fixed_bytes() +
           cte__align_up(CTE__RING_LANES * lane_bytes(entries), CTE__PAGE_BYTES);
}

#if defined(__x86_64__)
/* True if the kernel trusts the counters of all processors to be one clock. */
static bool kernel_trusts_tsc(void)
{
    static const char path[] = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    static const char *const trusted[] = {"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "xen"};
    char name[64] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, name, sizeof name - 1);
    close(fd);
    if (n <= 0)
        return false;
    name[strcspn(name, "\n")] = 0;
    for (size_t i = 0; i < sizeof trusted / sizeof trusted[0]; i++)
        if (strcmp(name, trusted[i]) == 0)
            return true;
    return false;
}

static bool tsc_is_usable(void)
{
    enum { POWER_LEAF = 0x80000007, INVARIANT_BIT = 8 };
    unsigned a, b, c, d;
    return __get_cpuid(POWER_LEAF, &a, &b, &c, &d) && (d >> INVARIANT_BIT & 1) != 0 &&
           kernel_trusts_tsc();
}
#else
static bool tsc_is_usable(void)
{
    return false;
}
#endif

void cte__ring_format(void *memory, uint32_t entries)
{
    struct cte__ring_block *block = memory;
    assert(cte__is_power_of_two(entries) && entries >= CTE__RING_ENTRIES_MIN &&
           entries <= CTE__RING_ENTRIES_MAX);
    block->use_tsc = tsc_is_usable();
    block->start_ns = cte__monotonic_ns();
    block->start_ticks = cte__ring_ticks(block->use_tsc);
    block->entries = entries;
}

bool cte__ring_open(struct cte__ring *ring, void *memory, uint64_t bytes, bool enabled,
                    cte_status (*back)(void *context, uint64_t offset, uint64_t bytes),
                    void *context)
{
    struct cte__ring_block *block = memory;
    if (!cte__is_power_of_two(block->entries) || block->entries > CTE__RING_ENTRIES_MAX ||
        cte__ring_bytes(block->entries) > bytes)
        return false;
    *ring = (struct cte__ring){
        .block = block,
        .enabled = enabled,
        .use_tsc = block->use_tsc != 0,
        .mask = block->entries - 1,
        .start = block->start_ticks,
        .slots = (void *)((char *)memory + cte__ring_fixed_bytes()),
        .back = back,
        .context = context,
    };
    pthread_mutex_init(&ring->lock, NULL);
    return true;
}

void cte__ring_close(struct cte__ring *ring)
{
    if (ring->block)
        pthread_mutex_destroy(&ring->lock);
    ring->block = NULL;
    ring->enabled = false;
}

_Thread_local struct cte__ring_notes cte__ring_notes __attribute__((tls_model("initial-exec")));

/* ---- writing -------------------------------------------------------------------------------- */

/* The rank in the parallel job, as launchers tell it; -1: none does. */
static int32_t launcher_rank(void)
{
    static const char *const variables[] = {"PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK",
                                            "SLURM_PROCID", "FLUX_TASK_RANK"};
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        const char *text = getenv(variables[i]);
        char *end;
        if (!text || !*text)
            continue;
        errno = 0;
        long rank = strtol(text, &end, 10);
        if (errno == 0 && *end == 0 && rank >= 0 && rank <= INT32_MAX)
            return (int32_t)rank;
    }
    return -1;
}

/* Threads that come here at once write the same. */
static uint64_t learn_identity(struct cte__ring *ring, uint64_t identity)
{
    uint64_t who = (uint64_t)(uint32_t)launcher_rank() << 32 | (uint32_t)getpid();
    atomic_store_explicit(&ring->who, who, memory_order_relaxed);
    atomic_store_explicit(&ring->identity, identity, memory_order_release);
    return who;
}

static inline uint64_t who_am_i(struct cte__ring *ring, uint64_t identity)
{
    if (atomic_load_explicit(&ring->identity, memory_order_acquire) == identity)
        return atomic_load_explicit(&ring->who, memory_order_relaxed);
    return learn_identity(ring, identity);
}

/* Threads are numbered from 0 as they first record something. */
static uint32_t thread_number(void)
{
    static _Atomic uint32_t count;
    static _Thread_local uint32_t number __attribute__((tls_model("initial-exec")));
    if (number == 0)
        number = atomic_fetch_add_explicit(&count, 1, memory_order_relaxed) + 1;
    return number - 1;
}

static struct cte__ring_lane *my_lane(const struct cte__ring *ring, uint64_t identity,
                                      uint32_t *number)
{
    enum { APART = 41 }; /* so that the threads of neighbours do not meet soon */
    *number = ((uint32_t)identity + thread_number() * APART) & (CTE__RING_LANES - 1);
    return &ring->block->lanes[*number];
}

/* Gives a lane its memory.  What cannot be recorded for lack of it is counted; now and then it is
 * tried again. */
static bool back_lane(struct cte__ring *ring, struct cte__ring_lane *lane, uint32_t number)
{
    enum { TRY_EVERY = 4096 };
    uint64_t bytes = lane_bytes(ring->mask + 1);
    uint64_t refused = atomic_load_explicit(&lane->refused, memory_order_relaxed);
    if (refused % TRY_EVERY == 0 &&
        ring->back(ring->context, cte__ring_fixed_bytes() + number * bytes, bytes) == CTE_OK) {
        atomic_store(&lane->backed, 1);
        return true;
    }
    atomic_fetch_add_explicit(&lane->refused, 1, memory_order_relaxed);
    return false;
}

void cte__ring_end(struct cte__ring *ring, uint64_t identity, uint64_t start,
                   const struct cte__ring_event *event)
{
    uint32_t number;
    uint64_t words[CTE__RING_WORDS];
    struct cte__ring_lane *lane = my_lane(ring, identity, &number);
    words[CTE__RING_WHO] = who_am_i(ring, identity);
    const struct cte__ring_notes *notes = &cte__ring_notes;
    uint32_t target =
        notes->target == CTE__RING_UNTOUCHED ? CTE_TELEMETRY_NO_TARGET : notes->target;
    words[CTE__RING_WHAT] = (uint64_t)(uint32_t)event->status << 32 | target << 8 | event->op;
    words[CTE__RING_OFFSET] = event->offset;
    words[CTE__RING_SIZE] = event->size;
    words[CTE__RING_TAG] = event->tag_id;
    words[CTE__RING_BLOB] = event->blob_id;
    words[CTE__RING_MODIFIED] = notes->modified_ns;
    words[CTE__RING_READ] = notes->read_ns;
    if (__builtin_expect(!atomic_load_explicit(&lane->backed, memory_order_acquire), 0) &&
        !back_lane(ring, lane, number))
        return;
    uint64_t index = atomic_fetch_add(&lane->head, 1);
    struct cte__ring_slot *slot = cte__ring_slot_at(ring, number, index);
    /* After the claim: see the top of ring.h. */
    words[CTE__RING_END] = cte__ring_ticks(ring->use_tsc);
    words[CTE__RING_DURATION] = words[CTE__RING_END] - start;
    atomic_store_explicit(&slot->sequence, index * 2 + 1, memory_order_relaxed);
    /* Who reads any of these sees that the slot is being filled. */
#pragma GCC unroll 10
    for (int i = 0; i < CTE__RING_WORDS; i++)
        atomic_store_explicit(&slot->words[i], words[i], memory_order_release);
    atomic_store_explicit(&slot->check, cte__ring_check(words, index), memory_order_release);
    /* Dying before this leaves a slot that readers count as lost, and the next lap fills. */
    atomic_store_explicit(&slot->sequence, index * 2 + 2, memory_order_release);
}
