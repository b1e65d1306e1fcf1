/* SPDX-License-Identifier: BSD-3-Clause */
#include "file/grace.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "config/signals.h"
#include "file/drain.h"
#include "file/kept.h"
#include "file/whereabouts.h"

enum { CLIENTS_MAX = 16, STACK_BYTES = 256 << 10 };

/* Written before a handler is installed, and read by it. */
static struct {
    pid_t pid; /* of the process that has the thread: a forked child has none */
    sem_t wake;
    _Atomic int signal; /* that came; 0: none */
    bool chain;
    struct sigaction before[CTE__SIGNALS];
} shared;

static struct {
    pthread_mutex_t life;    /* outermost: adding, removing */
    pthread_mutex_t clients; /* the list; held while their files are drained */
    cte_client *client[CLIENTS_MAX];
    bool running; /* the thread, in process shared.pid */
    bool installed[CTE__SIGNALS];
    _Atomic bool stopping;
    pthread_t thread;
    uint32_t grace_s;
} watch = {.life = PTHREAD_MUTEX_INITIALIZER, .clients = PTHREAD_MUTEX_INITIALIZER};

/* ---- the handler ---------------------------------------------------------------------------- */

static const struct sigaction *action_before(int signal)
{
    for (int i = 0; i < CTE__SIGNALS; i++)
        if (cte__signal_numbers[i] == signal)
            return &shared.before[i];
    return NULL;
}

/* As if there were no handler: the signal is blocked here, and strikes when this returns. */
static void die_as_before(int number)
{
    signal(number, SIG_DFL);
    raise(number);
}

/* Async-signal-safe: an atomic store, sem_post(), getpid(), what the program's own handler does. */
static void handle(int number, siginfo_t *info, void *context)
{
    int saved = errno, none = 0;
    const struct sigaction *before = action_before(number);
    bool handled = before->sa_flags & SA_SIGINFO ||
                   (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN);
    if (shared.pid != getpid()) {
        if (!handled && before->sa_handler == SIG_DFL)
            die_as_before(number);
    } else if (atomic_compare_exchange_strong(&shared.signal, &none, number)) {
        sem_post(&shared.wake);
    }
    if (handled && before->sa_flags & SA_SIGINFO)
        before->sa_sigaction(number, info, context);
    else if (handled)
        before->sa_handler(number);
    errno = saved;
}

/* ---- draining ------------------------------------------------------------------------------- */

/* A file that was open when the signal came. */
struct open_now {
    struct cte__closed_file file; /* fd: a duplicate of the program's, or -1 */
    struct cte__real_file real;   /* owns its path */
};

/* The client is locked: no handle goes meanwhile. */
static struct open_now describe(cte_client *client, const struct cte__open_file *open)
{
    const struct cte__tag_record *record = cte__tag_at(client->store, open->tag);
    struct open_now now = {.file = {.fd = -1,
                                    .mode = (cte_file_mode)record->file.mode,
                                    .drain = (cte_file_drain_policy)record->file.drain},
                           .real = cte__real_file_of(record)};
    now.real.path = now.file.path = strdup(record->path);
    if (open->writers)
        now.file.fd = fcntl(open->writers->fd, F_DUPFD_CLOEXEC, 0);
    return now;
}

static size_t list_open(cte_client *client, struct open_now **files)
{
    size_t count = 0, capacity = 0;
    pthread_mutex_lock(&client->lock);
    for (const struct cte__open_file *open = client->open_files; open; open = open->next)
        capacity++;
    *files = calloc(capacity + 1, sizeof **files);
    for (const struct cte__open_file *open = client->open_files; *files && open;
         open = open->next) {
        const struct cte__tag_record *record = cte__tag_at(client->store, open->tag);
        if (record->file.mode == CTE_FILE_MODE_SCRATCH ||
            record->file.drain == CTE_FILE_DRAIN_NEVER)
            continue;
        (*files)[count++] = describe(client, open);
    }
    pthread_mutex_unlock(&client->lock);
    return count;
}

static cte_status drain_open(cte_client *client, struct open_now *open)
{
    uint64_t bytes;
    cte_status status = open->file.path ? CTE_OK : -ENOMEM;
    if (status == CTE_OK && open->file.fd < 0 &&
        cte__real_find(&open->real, &open->file.fd, &status) == CTE__REAL_DELETED)
        return CTE_OK;
    if (status == CTE_OK)
        status = cte__drain_closed(client, &open->file, client->background, &bytes);
    if (open->file.fd >= 0)
        close(open->file.fd);
    return status;
}

static void drain_client(cte_client *client)
{
    struct open_now *files;
    /* A forked child must not find this thread's locks locked. */
    cte__background_unblock(client->background);
    size_t count = list_open(client, &files);
    for (size_t i = 0; i < count; i++) {
        cte_status status = drain_open(client, &files[i]);
        if (status != CTE_OK)
            cte__log_error("%s: not drained before the end: %s; the data is kept in the store (cte "
                           "recover)",
                           files[i].file.path ? files[i].file.path : "a file",
                           cte_status_string(status));
        free((char *)files[i].real.path);
    }
    free(files);
    cte__kept_finish(client, client->background);
    cte__background_block(client->background);
}

/* Where the drain and its deadline meet. */
struct race {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool done;
};

static struct race race = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *drain_all(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&watch.clients);
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (watch.client[i])
            drain_client(watch.client[i]);
    pthread_mutex_unlock(&watch.clients);
    pthread_mutex_lock(&race.lock);
    race.done = true;
    pthread_cond_signal(&race.ended);
    pthread_mutex_unlock(&race.lock);
    return NULL;
}

/* A thread with all signals blocked: the program's handlers run in the program's threads. */
static int start_thread(pthread_t *thread, void *(*body)(void *))
{
    sigset_t all, before;
    pthread_attr_t attributes;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    int error = pthread_create(thread, &attributes, body, NULL);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        pthread_setname_np(*thread, "cte-grace");
    return error;
}

/* Drains for as long as the grace lasts.  What is cut off then is as after a kill: kept.  False if
 * the drain goes on all the same, should the program live on. */
static bool drain_within_grace(void)
{
    struct timespec deadline;
    pthread_condattr_t monotonic;
    pthread_t thread;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&race.ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += (time_t)watch.grace_s;
    race.done = false;
    if (start_thread(&thread, drain_all) != 0)
        return false;
    pthread_mutex_lock(&race.lock);
    int error = 0;
    while (!race.done && error == 0)
        error = pthread_cond_timedwait(&race.ended, &race.lock, &deadline);
    bool done = race.done;
    pthread_mutex_unlock(&race.lock);
    if (done) {
        pthread_join(thread, NULL);
        pthread_cond_destroy(&race.ended);
        return true;
    }
    pthread_detach(thread);
    cte__log_error("the time after the signal was too short to drain everything; what is left is "
                   "kept in the store (cte recover)");
    return false;
}

/* Dies of the signal, if the program had nothing else in mind for it. */
static void pass_on(int number)
{
    const struct sigaction *before = action_before(number);
    sigset_t one;
    if (before->sa_flags & SA_SIGINFO || before->sa_handler != SIG_DFL)
        return;
    signal(number, SIG_DFL);
    sigemptyset(&one);
    sigaddset(&one, number);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    raise(number);
}

static void *wait_for_signals(void *unused)
{
    (void)unused;
    while (!atomic_load(&watch.stopping)) {
        if (sem_wait(&shared.wake) != 0)
            continue;
        int number = atomic_load(&shared.signal);
        if (number == 0)
            continue;
        cte__log_warn("signal %d: draining open files, for %u s at most", number, watch.grace_s);
        bool done = drain_within_grace();
        pass_on(number);
        if (done)
            atomic_store(&shared.signal, 0); /* another warning may come */
    }
    return NULL;
}

/* ---- which signals -------------------------------------------------------------------------- */

static void install(int index, bool chain)
{
    struct sigaction ours = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigaction *before = &shared.before[index];
    if (sigaction(cte__signal_numbers[index], NULL, before) != 0)
        return;
    bool is_default = !(before->sa_flags & SA_SIGINFO) && before->sa_handler == SIG_DFL;
    if (!is_default && !chain)
        return;
    ours.sa_mask = before->sa_mask;
    ours.sa_flags |= before->sa_flags & SA_ONSTACK;
    watch.installed[index] = sigaction(cte__signal_numbers[index], &ours, NULL) == 0;
}

/* Only where the program did not put a handler of its own since. */
static void uninstall(int index)
{
    struct sigaction now;
    if (watch.installed[index] && sigaction(cte__signal_numbers[index], NULL, &now) == 0 &&
        now.sa_flags & SA_SIGINFO && now.sa_sigaction == handle)
        sigaction(cte__signal_numbers[index], &shared.before[index], NULL);
    watch.installed[index] = false;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void start(const cte_config *config, int signals)
{
    watch.grace_s = config->signal_grace_s;
    atomic_store(&watch.stopping, false);
    atomic_store(&shared.signal, 0);
    shared.pid = getpid();
    sem_init(&shared.wake, 0, 0);
    if (start_thread(&watch.thread, wait_for_signals) != 0) {
        cte__log_warn("no thread to drain files when the batch system's signal comes");
        return;
    }
    watch.running = true;
    for (int i = 0; i < CTE__SIGNALS; i++)
        if (signals & 1 << i)
            install(i, config->signal_chain);
}

static void stop(void)
{
    for (int i = 0; i < CTE__SIGNALS; i++)
        uninstall(i);
    atomic_store(&watch.stopping, true);
    sem_post(&shared.wake);
    pthread_join(watch.thread, NULL);
    watch.running = false;
}

/* A forked child has no such thread, and its parent's clients are not its own to drain. */
static void forget_parent(void)
{
    if (!watch.running || shared.pid == getpid())
        return;
    watch.running = false;
    memset(watch.client, 0, sizeof watch.client);
    pthread_mutex_init(&watch.clients, NULL);
}

void cte__grace_add(cte_client *client)
{
    int signals = cte__signals_parse(client->config->signal_drain);
    if (signals <= 0 || atomic_load(&client->graced))
        return;
    pthread_mutex_lock(&watch.life);
    forget_parent();
    pthread_mutex_lock(&watch.clients);
    int i = 0;
    while (i < CLIENTS_MAX && watch.client[i] && watch.client[i] != client)
        i++;
    if (i < CLIENTS_MAX)
        watch.client[i] = client;
    pthread_mutex_unlock(&watch.clients);
    atomic_store(&client->graced, true);
    if (!watch.running)
        start(client->config, signals);
    pthread_mutex_unlock(&watch.life);
}

void cte__grace_remove(cte_client *client)
{
    bool any = false;
    if (!atomic_load(&client->graced))
        return;
    pthread_mutex_lock(&watch.life);
    forget_parent();
    pthread_mutex_lock(&watch.clients);
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (watch.client[i] == client)
            watch.client[i] = NULL;
        any = any || watch.client[i];
    }
    pthread_mutex_unlock(&watch.clients);
    if (!any && watch.running)
        stop();
    pthread_mutex_unlock(&watch.life);
}
