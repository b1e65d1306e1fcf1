/* SPDX-License-Identifier: BSD-3-Clause */
/* Measuring a target through its own operations, and keeping the result beside it. */
#include "target/measure.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/log.h"
#include "base/util.h"
#include "target/backing.h"

enum {
    PIECE_BYTES = 512 << 10,      /* arenas are multiples of it */
    FIRST_ROUND_BYTES = 1 << 20,  /* then twice as much, and so on */
    MEMORY_ROUND_BYTES = 1 << 20, /* what was written stays taken, and whoever opens first waits */
    BANDWIDTH_ROUNDS = 4,
    LATENCY_ROUNDS = 5,
    BUDGET_NS = 30 * 1000 * 1000,
    NS_PER_S = 1000 * 1000 * 1000,
    CACHE_BYTES_MAX = 256,
};

struct probe {
    const struct cte__target_ops *ops;
    const struct cte__target_spec *spec;
    void *state;
    char *buffer;
    uint64_t offset; /* where the next write goes */
};

static bool is_durable(const struct cte__target_ops *ops)
{
    return ops->capabilities & CTE__TARGET_SURVIVES_NODE;
}

/* Bytes that nothing on the way can compress or skip. */
static void fill_random(char *buffer, size_t bytes)
{
    uint64_t word = cte__monotonic_ns();
    for (size_t i = 0; i + sizeof word <= bytes; i += sizeof word) {
        word = word * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t mixed = word ^ word >> 29;
        memcpy(buffer + i, &mixed, sizeof mixed);
    }
}

/* Memory is as fast as the processor copies: time in which others have that does not count.  Of a
 * device the waiting is what matters. */
static uint64_t now_ns(const struct probe *probe)
{
    struct timespec now;
    clock_gettime(is_durable(probe->ops) ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Writes once over the target in pieces, and makes it durable; says how long that took. */
static cte_status write_round(struct probe *probe, uint64_t bytes, uint64_t piece, uint64_t *ns)
{
    uint64_t begin = now_ns(probe);
    cte_status status = CTE_OK;
    for (uint64_t done = 0; done < bytes && status == CTE_OK; done += piece) {
        struct iovec iov = {probe->buffer, (size_t)piece};
        struct cte__target_io io = {
            .write = true, .offset = probe->offset, .iov = &iov, .iov_count = 1, .bytes = piece};
        status = probe->ops->io(probe->state, &io);
        probe->offset += piece;
    }
    if (status == CTE_OK)
        status = probe->ops->sync(probe->state);
    *ns = cte__max(now_ns(probe) - begin, 1);
    return status;
}

/* The best of few rounds: what disturbs a measurement makes it slower, never faster. */
static cte_status measure_latency(struct probe *probe, uint64_t deadline_ns, uint64_t *latency_ns)
{
    *latency_ns = UINT64_MAX;
    for (int i = 0; i < LATENCY_ROUNDS && (i == 0 || cte__monotonic_ns() < deadline_ns); i++) {
        uint64_t ns;
        cte_status status = write_round(probe, CTE__PAGE_BYTES, CTE__PAGE_BYTES, &ns);
        if (status != CTE_OK)
            return status;
        *latency_ns = cte__min(*latency_ns, ns);
    }
    return CTE_OK;
}

/* Memory is written again and again in the same place: how fast it is once it is there.  Elsewhere
 * each round is twice as long as the last one, and must fit into what is left of the time. */
static cte_status measure_bandwidth(struct probe *probe, uint64_t deadline_ns,
                                    uint64_t *bytes_per_s)
{
    bool durable = is_durable(probe->ops);
    uint64_t bytes = durable ? FIRST_ROUND_BYTES
                             : cte__min(MEMORY_ROUND_BYTES, probe->spec->capacity_bytes),
             ns = 0;
    *bytes_per_s = 0;
    for (int round = 0; round < BANDWIDTH_ROUNDS; round++) {
        if (durable && round > 0)
            bytes *= 2;
        else
            probe->offset = 0;
        if (probe->offset + bytes > probe->spec->capacity_bytes ||
            (round > 0 && cte__monotonic_ns() + 2 * ns >= deadline_ns))
            break;
        cte_status status = write_round(probe, bytes, PIECE_BYTES, &ns);
        if (status != CTE_OK)
            return status;
        *bytes_per_s = cte__max(*bytes_per_s, (uint64_t)((double)bytes * NS_PER_S / (double)ns));
    }
    return *bytes_per_s > 0 ? CTE_OK : -ENOSPC;
}

static cte_status measure(const struct cte__target_ops *ops, const struct cte__target_spec *spec,
                          struct cte__target_speed *speed)
{
    struct probe probe = {.ops = ops, .spec = spec};
    if (posix_memalign((void **)&probe.buffer, CTE__PAGE_BYTES, PIECE_BYTES) != 0)
        return -ENOMEM;
    memset(probe.buffer, 0, PIECE_BYTES);
    if (is_durable(ops))
        fill_random(probe.buffer, PIECE_BYTES);
    cte_status status = ops->open(spec, &probe.state);
    if (status == CTE_OK) {
        uint64_t begin = cte__monotonic_ns();
        status = measure_latency(&probe, begin + BUDGET_NS / 3, &speed->latency_ns);
        if (status == CTE_OK)
            status = measure_bandwidth(&probe, begin + BUDGET_NS, &speed->bytes_per_s);
        ops->close(probe.state);
    }
    free(probe.buffer);
    speed->measured = status == CTE_OK;
    return status;
}

/* ---- the file beside the target ------------------------------------------------------------- */

/* Which target on which device the numbers are about. */
struct cache {
    char path[PATH_MAX];
    uint64_t key;
    uint64_t device;
};

static bool cache_for(const struct cte__target_ops *ops, const struct cte__target_spec *spec,
                      struct cache *cache)
{
    const char *slash = strrchr(spec->path, '/');
    struct stat parent;
    if (!is_durable(ops) || !slash)
        return false;
    int directory_bytes = (int)(slash - spec->path);
    int n = snprintf(cache->path, sizeof cache->path, "%.*s/", directory_bytes, spec->path);
    if (n < 0 || n >= (int)sizeof cache->path || stat(cache->path, &parent) != 0)
        return false;
    cache->device = (uint64_t)parent.st_dev;
    char key[PATH_MAX + 64];
    snprintf(key, sizeof key, "%s %d %s", ops->kind, (int)spec->engine, spec->path);
    cache->key = XXH3_64bits(key, strlen(key));
    n = snprintf(cache->path, sizeof cache->path, "%.*s/.%s.cte-speed", directory_bytes, spec->path,
                 slash + 1);
    return n > 0 && n < (int)sizeof cache->path;
}

static uint64_t cache_checksum(const struct cache *cache, const struct cte__target_speed *speed)
{
    uint64_t words[] = {cache->key, cache->device, speed->bytes_per_s, speed->latency_ns};
    return XXH3_64bits(words, sizeof words);
}

static bool is_ours(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid();
}

static bool cache_read(const struct cache *cache, struct cte__target_speed *speed)
{
    char text[CACHE_BYTES_MAX];
    uint64_t checksum = 0;
    int fd = cte__target_openat(AT_FDCWD, cache->path, O_RDONLY, 0);
    if (fd < 0)
        return false;
    ssize_t n = is_ours(fd) ? pread(fd, text, sizeof text - 1, 0) : -1;
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    struct cte__target_speed found = {.measured = true};
    int fields =
        sscanf(text, "cte target speed 1: %" SCNu64 " bytes/s, %" SCNu64 " ns, check %" SCNx64,
               &found.bytes_per_s, &found.latency_ns, &checksum);
    if (fields != 3 || checksum != cache_checksum(cache, &found) || found.bytes_per_s == 0)
        return false;
    *speed = found;
    return true;
}

/* Torn or foreign contents do not match their checksum, so nothing needs to be durable here; and a
 * result that cannot be kept is only measured again. */
static void cache_write(const struct cache *cache, const struct cte__target_speed *speed)
{
    char text[CACHE_BYTES_MAX];
    int bytes =
        snprintf(text, sizeof text,
                 "cte target speed 1: %" PRIu64 " bytes/s, %" PRIu64 " ns, check %" PRIx64 "\n",
                 speed->bytes_per_s, speed->latency_ns, cache_checksum(cache, speed));
    int fd = cte__target_openat(AT_FDCWD, cache->path, O_RDWR | O_CREAT, 0600);
    bool kept = fd >= 0 && is_ours(fd) && ftruncate(fd, 0) == 0 &&
                pwrite(fd, text, (size_t)bytes, 0) == bytes;
    if (!kept)
        cte__log_debug("cannot keep the speed of a target in %s", cache->path);
    if (fd >= 0)
        close(fd);
}

struct cte__target_speed cte__target_speed_known(const struct cte__target_ops *ops,
                                                 const struct cte__target_spec *spec)
{
    struct cte__target_speed speed = {.bytes_per_s = ops->nominal_bytes_per_s,
                                      .latency_ns = ops->nominal_latency_ns};
    struct cache cache;
    bool known = cache_for(ops, spec, &cache) && cache_read(&cache, &speed);
    (void)known;
    return speed;
}

struct cte__target_speed cte__target_speed(const struct cte__target_ops *ops,
                                           const struct cte__target_spec *spec)
{
    const struct cte__target_speed nominal = {.bytes_per_s = ops->nominal_bytes_per_s,
                                              .latency_ns = ops->nominal_latency_ns};
    struct cte__target_speed speed = nominal;
    struct cache cache;
    bool cached = cache_for(ops, spec, &cache);
    if (cached && cache_read(&cache, &speed))
        return speed;
    cte_status status = measure(ops, spec, &speed);
    if (status != CTE_OK) {
        cte__log_info("target %s: its speed cannot be measured (%s) and is taken to be %" PRIu64
                      " bytes/s",
                      spec->path, cte_status_string(status), nominal.bytes_per_s);
        return nominal;
    }
    if (cached)
        cache_write(&cache, &speed);
    return speed;
}
