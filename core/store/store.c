/* SPDX-License-Identifier: BSD-3-Clause */
/* Life of a store: made by the first process, attached by others, removed by the last. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/log.h"
#include "base/util.h"
#include "store/restore.h"
#include "store/store_internal.h"

enum {
    LOCK_TRIES_MAX = 1000,
    NEVER_COMPLETED = -ENODATA, /* a process died while making the store: nothing was ever stored */
};

static cte_status check_directory(const char *directory)
{
    struct stat st;
    if (lstat(directory, &st) != 0)
        return errno == ENOENT ? CTE_ERR_NOT_FOUND : -errno;
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        cte__log_error(
            "store %s: not a private directory of this user; remove it or choose another "
            "store name (store.name, CTE_STORE_NAME)",
            directory);
        return CTE_ERR_STORE_OWNER;
    }
    return CTE_OK;
}

static cte_status try_lock(const char *directory, bool create, int *lock_fd)
{
    char path[PATH_MAX];
    struct stat held, named;
    if (create && mkdir(directory, 0700) != 0 && errno != EEXIST) {
        cte_status status = -errno;
        cte__log_error("store %s: cannot make the directory: %s", directory, strerror(-status));
        return status;
    }
    cte_status status = check_directory(directory);
    if (status != CTE_OK)
        return create && status == CTE_ERR_NOT_FOUND ? -EAGAIN : status;
    if (snprintf(path, sizeof path, "%s/lock", directory) >= (int)sizeof path)
        return -ENAMETOOLONG;
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == ENOENT ? -EAGAIN : -errno;
    while (flock(fd, LOCK_EX) != 0) {
        if (errno == EINTR)
            continue;
        status = -errno;
        close(fd);
        return status;
    }
    /* The last process may have removed the directory while this one waited. */
    if (fstat(fd, &held) != 0 || stat(path, &named) != 0 || held.st_ino != named.st_ino ||
        held.st_dev != named.st_dev) {
        close(fd);
        return -EAGAIN;
    }
    *lock_fd = fd;
    return CTE_OK;
}

cte_status cte__store_lock(const char *directory, bool create, int *lock_fd)
{
    cte_status status = -EAGAIN;
    for (int i = 0; i < LOCK_TRIES_MAX && status == -EAGAIN; i++)
        status = try_lock(directory, create, lock_fd);
    return status;
}

static cte_status store_alloc(const cte_config *config, struct cte__store **out)
{
    struct cte__store *store = calloc(1, sizeof *store);
    if (!store)
        return -ENOMEM;
    store->segment_fd = -1;
    store->record = config->telemetry_enabled;
    atomic_init(&store->journal_fd, -1);
    pthread_mutex_init(&store->slot_lock, NULL);
    pthread_mutex_init(&store->targets_lock, NULL);
    store->target_timeout_ns = (uint64_t)config->default_target_timeout_ms * 1000000;
    store->targets_max = config->max_targets;
    store->give_up_failed = config->auto_unregister_failed;
    if (snprintf(store->directory, sizeof store->directory, "%s/cte-%u-%s", config->store_directory,
                 (unsigned)geteuid(), config->store_name) >= (int)sizeof store->directory - 32) {
        free(store);
        return -ENAMETOOLONG;
    }
    store->placement = cte__placement_find(config->placement);
    if (!store->placement) {
        free(store);
        return CTE_ERR_CONFIG;
    }
    /* Processes that start together begin their rotations and draws in different places. */
    uint64_t seed[] = {cte__monotonic_ns(), (uint64_t)getpid()};
    atomic_init(&store->placement_state, XXH3_64bits(seed, sizeof seed));
    store->score_threshold = config->score_threshold;
    cte__slot_watch_forks();
    *out = store;
    return CTE_OK;
}

static void close_targets(struct cte__store *store)
{
    for (uint32_t i = 0; i < CTE__TARGETS_MAX; i++) {
        struct cte__open_target *open = atomic_exchange(&store->targets[i].open, NULL);
        while (open) {
            struct cte__open_target *earlier = open->earlier;
            open->ops->close(open->state);
            free(open);
            open = earlier;
        }
    }
}

static void store_free(struct cte__store *store)
{
    cte__ring_close(&store->telemetry);
    close_targets(store);
    cte__journal_close(store);
    if (store->base)
        munmap(store->base, store->header->segment_bytes);
    if (store->segment_fd >= 0)
        close(store->segment_fd);
    free(store->page_arenas);
    free(store->unit_arenas);
    pthread_mutex_destroy(&store->targets_lock);
    pthread_mutex_destroy(&store->slot_lock);
    free(store);
}

uint64_t cte__store_id(const struct cte__store *store)
{
    return XXH3_64bits(store->directory, strlen(store->directory));
}

struct cte__target_spec cte__store_target_spec(const struct cte__store *store,
                                               const struct cte__target_record *record)
{
    return (struct cte__target_spec){
        .path = record->path,
        .capacity_bytes = record->capacity_bytes,
        .arena_bytes = record->arena_bytes,
        .engine = record->engine,
        .store_id = cte__store_id(store),
    };
}

static struct cte__arena_view *unit_views(struct cte__store *store)
{
    uint32_t count = store->header->unit_arena_count;
    struct cte__arena_view *views = calloc(count, sizeof *views);
    struct cte__arena *arenas = (void *)(store->base + store->header->unit_arenas_offset);
    for (uint32_t i = 0; views && i < count; i++) {
        views[i].arena = &arenas[i];
        views[i].owners = (void *)(store->base + arenas[i].owners_offset);
        views[i].bitmap = (void *)(store->base + arenas[i].bitmap_offset);
    }
    return views;
}

static cte_status back_telemetry(void *context, uint64_t offset, uint64_t bytes)
{
    struct cte__store *store = context;
    return cte__segment_back(store, store->header->telemetry_offset + offset, bytes) ? CTE_OK
                                                                                     : -ENOSPC;
}

/* Telemetry is no reason to refuse a store: one whose ring is damaged goes without. */
static void open_telemetry(struct cte__store *store)
{
    uint64_t offset = store->header->telemetry_offset;
    uint64_t room = store->header->segment_bytes - cte__min(offset, store->header->segment_bytes);
    if (room < cte__ring_fixed_bytes() ||
        !cte__ring_open(&store->telemetry, store->base + offset, room, store->record,
                        back_telemetry, store))
        cte__log_warn("store %s: its telemetry is damaged and not used", store->directory);
}

cte_status cte__store_views(struct cte__store *store)
{
    struct cte__store_header *header = store->header;
    store->checksum = header->checksum;
    store->shards = (void *)(store->base + header->shards_offset);
    store->page_arenas = calloc(header->page_arena_room, sizeof *store->page_arenas);
    store->unit_arenas = unit_views(store);
    if (!store->page_arenas || !store->unit_arenas)
        return -ENOMEM;
    for (uint32_t i = 0; i < CTE__TARGETS_MAX; i++)
        store->targets[i].record = &header->targets[i];
    cte_status status = cte__targets_open(store);
    if (status == CTE_OK)
        open_telemetry(store);
    return status;
}

static cte_status open_segment(struct cte__store *store, int flags)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/segment", store->directory);
    store->segment_fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
    return store->segment_fd >= 0 ? CTE_OK : errno == ENOENT ? CTE_ERR_NOT_FOUND : -errno;
}

static cte_status map_segment(struct cte__store *store, uint64_t bytes)
{
    void *base =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, store->segment_fd, 0);
    if (base == MAP_FAILED) {
        cte__log_error("store %s: cannot map %llu bytes: %s (is there a limit on address space?)",
                       store->directory, (unsigned long long)bytes, strerror(errno));
        return -errno;
    }
    store->base = base;
    store->header = base;
    return CTE_OK;
}

static void remove_files(const char *directory)
{
    static const char *const names[] = {"segment", "lock"};
    char path[PATH_MAX + 16];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        if (unlink(path) != 0 && errno != ENOENT)
            cte__log_warn("cannot remove %s: %s", path, strerror(errno));
    }
    if (rmdir(directory) != 0 && errno != ENOENT)
        cte__log_warn("cannot remove %s: %s", directory, strerror(errno));
}

static void remove_targets(struct cte__store *store)
{
    close_targets(store);
    /* First: who dies from here on leaves a store that is made anew, not one without its targets.
     */
    if (store->header)
        store->header->magic = 0;
    /* Then the journal: it must not speak of targets that are gone. */
    if (store->header && store->header->journal.path[0])
        cte__journal_remove(store->header->journal.path, cte__store_id(store));
    for (uint32_t i = 0; store->header && i < store->header->target_count; i++) {
        struct cte__target_record *record = &store->header->targets[i];
        if (cte__target_state(store, i) == CTE__TARGET_NONE)
            continue;
        const struct cte__target_ops *ops = cte__target_ops_find(record->kind);
        struct cte__target_spec spec = cte__store_target_spec(store, record);
        cte_status status = ops ? ops->destroy(&spec) : CTE_ERR_STORE_LAYOUT;
        if (status != CTE_OK)
            cte__log_warn("target %s cannot be removed: %s", record->path,
                          cte_status_string(status));
    }
}

/* Removes the store's targets and files; the directory is locked and nobody is attached. */
static void remove_store(struct cte__store *store)
{
    remove_targets(store);
    remove_files(store->directory);
}

/* The segment is sparse; what every store uses gets its memory now, so that a full file system is
 * an error here and not a signal later. */
static cte_status create_segment(struct cte__store *store, const cte_config *config,
                                 const struct cte__model *model)
{
    uint64_t bytes = cte__store_segment_bytes(config);
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur < bytes) {
        cte__log_error("store %s: the file size limit (ulimit -f) is below the %llu bytes needed",
                       store->directory, (unsigned long long)bytes);
        return -EFBIG;
    }
    cte_status status = open_segment(store, O_CREAT | O_EXCL);
    if (status != CTE_OK)
        return status;
    if (ftruncate(store->segment_fd, (off_t)bytes) != 0 ||
        fallocate(store->segment_fd, 0, 0, (off_t)cte__store_fixed_bytes(config)) != 0 ||
        fallocate(store->segment_fd, 0, (off_t)cte__store_telemetry_offset(config),
                  (off_t)cte__ring_fixed_bytes()) != 0) {
        status = -errno;
        cte__log_error("store %s: no room for its metadata: %s", store->directory,
                       strerror(-status));
        return status;
    }
    status = map_segment(store, bytes);
    if (status == CTE_OK)
        status = cte__store_format(store, config, model);
    if (status == CTE_OK)
        __atomic_store_n(&store->header->magic, CTE__STORE_MAGIC, __ATOMIC_RELEASE);
    return status;
}

static cte_status damaged(const struct cte__store *store)
{
    cte__log_error(
        "store %s: its segment is damaged or was not made by cte; remove the directory if "
        "its data is not needed, or choose another store name",
        store->directory);
    return CTE_ERR_STORE_CORRUPT;
}

static cte_status check_header(const struct cte__store *store, uint64_t bytes)
{
    const struct cte__store_header *header = store->header;
    struct stat ns;
    if (header->magic == 0)
        return NEVER_COMPLETED;
    if (header->magic != CTE__STORE_MAGIC)
        return damaged(store);
    if (header->version != CTE__STORE_VERSION || header->header_bytes != sizeof *header ||
        header->segment_bytes != bytes) {
        cte__log_error(
            "store %s: made by an incompatible version of cte; drain or remove it with that "
            "version, or choose another store name",
            store->directory);
        return CTE_ERR_STORE_LAYOUT;
    }
    if (stat("/proc/self/ns/pid", &ns) == 0 && header->pid_namespace != (uint64_t)ns.st_ino) {
        cte__log_error("store %s: in use from another container (PID namespace); choose another "
                       "store name (store.name, CTE_STORE_NAME)",
                       store->directory);
        return CTE_ERR_NAMESPACE;
    }
    return CTE_OK;
}

static cte_status attach_segment(struct cte__store *store)
{
    struct stat st;
    cte_status status = open_segment(store, 0);
    if (status != CTE_OK)
        return status;
    if (fstat(store->segment_fd, &st) != 0)
        return -errno;
    if (st.st_uid != geteuid() || !S_ISREG(st.st_mode))
        return CTE_ERR_STORE_OWNER;
    if (st.st_size == 0)
        return NEVER_COMPLETED;
    if ((uint64_t)st.st_size < sizeof(struct cte__store_header))
        return damaged(store);
    status = map_segment(store, (uint64_t)st.st_size);
    if (status == CTE_OK) {
        status = check_header(store, (uint64_t)st.st_size);
        if (status != CTE_OK) {
            /* Its numbers cannot be trusted: not for unmapping, not for removing targets. */
            munmap(store->base, (size_t)st.st_size);
            store->base = NULL;
            store->header = NULL;
        }
    }
    if (status == CTE_OK)
        status = cte__store_views(store);
    if (status == CTE_OK)
        status = cte__slot_take_locked(store);
    return status;
}

/* Copies of files are worth keeping only where somebody asked for them, or for the store. */
static cte_status refuse(void *context, cte__unit unit, const struct cte__entry *entry)
{
    const struct cte__store *store = context;
    (void)unit;
    if (entry->type != CTE__ENTRY_FILE || store->header->keep)
        return -ENOTEMPTY;
    const struct cte__file_state *file = &cte__tag_at(store, cte__entry_record(entry))->file;
    bool copies = atomic_load(&file->settled) && !cte__file_has_openers(file) &&
                  !(atomic_load(&file->retain) & CTE__RETAIN_STAGED);
    return copies ? CTE_OK : -ENOTEMPTY;
}

static bool is_empty(struct cte__store *store)
{
    struct cte__tag_record *root = cte__tag_at(store, store->header->root_tag);
    return cte__tag_each(store, root, refuse, store) == CTE_OK;
}

/* Takes back what was made of a store that could not be brought back.  Targets that survive and the
 * journal stay as they are: the next one may have more luck. */
static void abandon_restore(struct cte__store *store)
{
    close_targets(store);
    for (uint32_t i = 0; store->header && i < store->header->target_count; i++) {
        struct cte__target_record *record = &store->header->targets[i];
        const struct cte__target_ops *ops = cte__target_ops_find(record->kind);
        struct cte__target_spec spec = cte__store_target_spec(store, record);
        if (cte__target_state(store, i) == CTE__TARGET_NONE)
            continue;
        if (ops && !(ops->capabilities & CTE__TARGET_SURVIVES_NODE) &&
            ops->destroy(&spec) != CTE_OK)
            cte__log_warn("target %s cannot be removed", record->path);
    }
    remove_files(store->directory);
}

/* Makes a store that is not there: from its journal, else anew if `create`. */
static cte_status make_store(struct cte__store *store, const cte_config *config, bool create)
{
    struct cte__model *model;
    cte_status status = cte__restore_load(config, cte__store_id(store), &model);
    if (status == CTE_OK && !model && !create)
        status = CTE_ERR_NOT_FOUND;
    if (status != CTE_OK) {
        remove_files(store->directory);
        return status;
    }
    status = create_segment(store, config, model);
    if (status != CTE_OK && model)
        abandon_restore(store);
    else if (status != CTE_OK)
        remove_store(store);
    cte__model_free(model);
    return status;
}

/* Attaches or makes; the directory is locked.  What a process left that died while making the store
 * (no magic number yet, so nothing was ever stored), or an empty store that nobody uses, is made
 * anew: it need not fit this configuration. */
static cte_status attach_locked(const cte_config *config, bool create, struct cte__store **out)
{
    struct cte__store *store;
    cte_status status = store_alloc(config, &store);
    if (status != CTE_OK)
        return status;
    status = attach_segment(store);
    if (status == CTE_OK)
        cte__targets_clean(store);
    if (status == CTE_OK && cte__store_has_dead(store))
        cte__store_sweep(store);
    bool stale = status == CTE_OK && create && cte__slots_live(store) == 1 && is_empty(store);
    if (stale || status == NEVER_COMPLETED) {
        char path[PATH_MAX + 16];
        snprintf(path, sizeof path, "%s/segment", store->directory);
        if (stale)
            remove_targets(store);
        if (unlink(path) != 0)
            cte__log_warn("cannot remove %s: %s", path, strerror(errno));
        store_free(store);
        status = store_alloc(config, &store);
        if (status != CTE_OK)
            return status;
        status = CTE_ERR_NOT_FOUND;
    }
    if (status == CTE_ERR_NOT_FOUND)
        status = make_store(store, config, create);
    if (status != CTE_OK) {
        store_free(store);
        return status;
    }
    *out = store;
    return CTE_OK;
}

/* A store whose memory is gone is there all the same. */
static bool has_journal(const cte_config *config, const char *directory)
{
    char path[PATH_MAX];
    return cte__model_find(config, XXH3_64bits(directory, strlen(directory)), path) !=
           CTE_ERR_NOT_FOUND;
}

static cte_status attach(const cte_config *config, bool create, struct cte__store **out)
{
    char directory[PATH_MAX];
    if (snprintf(directory, sizeof directory, "%s/cte-%u-%s", config->store_directory,
                 (unsigned)geteuid(), config->store_name) >= (int)sizeof directory)
        return -ENAMETOOLONG;
    int lock_fd;
    cte_status status =
        cte__store_lock(directory, create || has_journal(config, directory), &lock_fd);
    if (status != CTE_OK)
        return status;
    status = attach_locked(config, create, out);
    close(lock_fd);
    return status;
}

cte_status cte__store_attach(const cte_config *config, struct cte__store **out)
{
    return attach(config, true, out);
}

cte_status cte__store_attach_existing(const cte_config *config, struct cte__store **out)
{
    return attach(config, false, out);
}

void cte__store_detach(struct cte__store *store)
{
    int lock_fd;
    cte_status status = cte__store_lock(store->directory, false, &lock_fd);
    if (status != CTE_OK) {
        cte__log_warn("store %s: cannot lock it to leave: %s", store->directory,
                      cte_status_string(status));
        store_free(store);
        return;
    }
    cte__slot_give_locked(store);
    if (cte__slots_live(store) == 0) {
        if (cte__store_has_dead(store))
            cte__store_sweep(store);
        if (!store->header->keep && is_empty(store))
            remove_store(store);
    }
    close(lock_fd);
    store_free(store);
}

/* Removes what the configured targets and the journal of a store without a segment hold. */
static void destroy_kept(struct cte__store *store, const cte_config *config)
{
    char path[PATH_MAX];
    uint64_t store_id = cte__store_id(store);
    if (config->journal_path[0] == '/')
        cte__journal_remove(config->journal_path, store_id);
    for (uint32_t i = 0; i < config->target_count; i++) {
        const struct cte__config_target *target = &config->targets[i];
        const struct cte__target_ops *ops = cte__target_ops_find(target->kind);
        if (!ops || !(ops->capabilities & CTE__TARGET_SURVIVES_NODE))
            continue;
        struct cte__target_spec spec = {.path = target->path, .store_id = store_id};
        cte__store_target_cut(target, &spec.capacity_bytes, &spec.arena_bytes);
        if (cte__journal_path_of(target->path, path))
            cte__journal_remove(path, store_id);
        if (ops->destroy(&spec) != CTE_OK)
            cte__log_warn("target %s stays", target->path);
    }
}

cte_status cte__store_destroy(const cte_config *config)
{
    struct cte__store *store;
    int lock_fd;
    cte_status status = store_alloc(config, &store);
    if (status != CTE_OK)
        return status;
    bool kept = has_journal(config, store->directory);
    status = cte__store_lock(store->directory, kept, &lock_fd);
    if (status != CTE_OK) {
        store_free(store);
        return status;
    }
    status = attach_segment(store);
    if (status == CTE_OK) {
        cte__slot_give_locked(store);
        if (cte__slots_live(store) > 0)
            status = -EBUSY;
    } else if (status == CTE_ERR_NOT_FOUND || status == NEVER_COMPLETED) {
        status = CTE_OK;
    }
    if (status == CTE_OK && kept && !store->header)
        destroy_kept(store, config);
    if (status == CTE_OK)
        remove_store(store);
    close(lock_fd);
    store_free(store);
    return status;
}
