/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte run`: becomes a program that runs over cte. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "json.h"
#include "libraries.h"
#include "terminal.h"

/* As env(1), nohup(1) and timeout(1) have it, so that they are told from those of the program. */
enum { EXIT_RUN_FAILED = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

enum hdf5_flavour { HDF5_AUTO, HDF5_SERIAL, HDF5_MPICH, HDF5_OFF };

enum { CHANGES_MAX = 24, KEY_BYTES = 64 };

struct run_options {
    const char *mode, *drain, *sync, *score, *chunk_size, *include, *exclude, *ram, *store;
    const char *telemetry, *summary, *log_level, *libraries;
    bool checksum_off, print;
    int hdf5; /* enum hdf5_flavour */
};

/* What becomes of the environment. */
struct changes {
    struct change {
        const char *name;
        char *value;
    } all[CHANGES_MAX];
    int count;
};

/* ---- the environment ------------------------------------------------------------------------ */

static bool change(struct changes *changes, const char *name, const char *value)
{
    char *copy = value ? strdup(value) : NULL;
    if (!value)
        return true;
    if (!copy || setenv(name, copy, 1) != 0) {
        free(copy);
        complain("%s: %s", name, strerror(errno));
        return false;
    }
    changes->all[changes->count++] = (struct change){name, copy};
    return true;
}

/* Puts a value before what a list has. */
static bool prepend(struct changes *changes, const char *name, const char *value)
{
    const char *before = getenv(name);
    char *both;
    if (!before || !before[0])
        return change(changes, name, value);
    if (asprintf(&both, "%s:%s", value, before) < 0)
        return complain("%s: %s", name, strerror(ENOMEM)) == EXIT_OK;
    bool good = change(changes, name, both);
    free(both);
    return good;
}

/* Programs may change their directory before they read a file. */
static bool change_path(struct changes *changes, const char *name, const char *path)
{
    char *absolute, directory[PATH_MAX];
    if (!path || path[0] == '/' || !getcwd(directory, sizeof directory))
        return change(changes, name, path);
    if (asprintf(&absolute, "%s/%s", directory, path) < 0)
        return complain("%s: %s", name, strerror(ENOMEM)) == EXIT_OK;
    bool good = change(changes, name, absolute);
    free(absolute);
    return good;
}

static bool change_keys(const struct invocation *in, struct changes *changes)
{
    const struct run_options *o = in->options;
    return change_path(changes, "CTE_CONFIG", in->config_path) &&
           change(changes, "CTE_MODE", o->mode) && change(changes, "CTE_DRAIN", o->drain) &&
           change(changes, "CTE_SYNC", o->sync) && change(changes, "CTE_SCORE", o->score) &&
           change(changes, "CTE_CHUNK_SIZE", o->chunk_size) &&
           change(changes, "CTE_INCLUDE", o->include) &&
           change(changes, "CTE_EXCLUDE", o->exclude) &&
           change(changes, "CTE_CHECKSUM", o->checksum_off ? "false" : NULL) &&
           change(changes, "CTE_RAM_CAPACITY", o->ram) &&
           change(changes, "CTE_STORE_NAME", o->store) &&
           change(changes, "CTE_TELEMETRY", o->telemetry) &&
           change(changes, "CTE_LOG_LEVEL", o->log_level) &&
           change_path(changes, "CTE_SUMMARY", o->summary);
}

/* Says what is wrong before all ranks do. */
static bool check_keys(void)
{
    const struct invocation plain = {0};
    cte_config *config = load_config(&plain);
    cte_config_free(config);
    return config != NULL;
}

/* The driver is a plugin of the HDF5 that the program loads, and of no other. */
static bool change_hdf5(const struct run_options *options, const struct loaded *loaded,
                        const char *libraries, struct changes *changes)
{
    bool mpich = options->hdf5 == HDF5_MPICH || (options->hdf5 == HDF5_AUTO && loaded->hdf5_mpich);
    bool serial =
        options->hdf5 == HDF5_SERIAL || (options->hdf5 == HDF5_AUTO && loaded->hdf5_serial);
    char plugin[PATH_MAX];
    if (!mpich && !serial)
        return true;
    int n =
        snprintf(plugin, sizeof plugin, "%s/hdf5_plugin/%s", libraries, mpich ? "mpich" : "serial");
    if (n >= (int)sizeof plugin || access(plugin, R_OK | X_OK) != 0) {
        /* HDF5 before 1.14 takes no driver from outside; parallel files go by MPI-IO anyway. */
        return options->hdf5 == HDF5_AUTO ||
               complain("there is no HDF5 driver in %s: this build has none, or its HDF5 is older "
                        "than 1.14, which cannot load one",
                        plugin) == EXIT_OK;
    }
    return prepend(changes, "HDF5_PLUGIN_PATH", plugin) && change(changes, "HDF5_DRIVER", "cte");
}

static bool change_libraries(const struct run_options *options, const struct loaded *loaded,
                             struct changes *changes)
{
    char libraries[PATH_MAX], preload[PATH_MAX + 32];
    if (options->libraries ? !realpath(options->libraries, libraries)
                           : !find_libraries(libraries)) {
        complain(options->libraries ? "%s: there is no such directory"
                                    : "libcte_mpiio.so is not where it was installed: say where "
                                      "the libraries are by --libraries DIR",
                 options->libraries);
        return false;
    }
    snprintf(preload, sizeof preload, "%s/libcte_mpiio.so", libraries);
    if (access(preload, R_OK) != 0)
        return complain("%s: %s", preload, strerror(errno)) == EXIT_OK;
    return prepend(changes, "LD_PRELOAD", preload) &&
           change_hdf5(options, loaded, libraries, changes);
}

/* ---- what is done --------------------------------------------------------------------------- */

static void print_json(const struct invocation *in, const struct changes *changes)
{
    json_object(NULL);
    json_object("environment");
    for (int i = 0; i < changes->count; i++)
        json_text(changes->all[i].name, changes->all[i].value);
    json_end();
    json_array("command");
    for (int i = 0; i < in->argument_count; i++)
        json_text(NULL, in->arguments[i]);
    json_end();
    json_end();
}

/* For a shell: in single quotes. */
static void print_quoted(const char *text)
{
    putchar('\'');
    for (; *text; text++)
        *text == '\'' ? (void)fputs("'\\''", stdout) : (void)putchar(*text);
    putchar('\'');
}

static void print_command(const struct invocation *in, const struct changes *changes)
{
    fputs("env", stdout);
    for (int i = 0; i < changes->count; i++) {
        printf(" %s=", changes->all[i].name);
        print_quoted(changes->all[i].value);
    }
    for (int i = 0; i < in->argument_count; i++) {
        putchar(' ');
        print_quoted(in->arguments[i]);
    }
    putchar('\n');
}

static int start(const struct invocation *in, const char *program)
{
    fflush(NULL);
    execv(program, in->arguments);
    if (errno == ENOEXEC) /* a script without #!, which execvp() gives to the shell */
        execvp(in->arguments[0], in->arguments);
    complain("%s: %s", in->arguments[0], strerror(errno));
    return EXIT_CANNOT_RUN;
}

static int prepare(const struct invocation *in, struct changes *changes, char program[PATH_MAX])
{
    const struct run_options *options = in->options;
    if (!find_program(in->arguments[0], program)) {
        bool missing = errno == ENOENT;
        complain("%s: %s", in->arguments[0],
                 missing ? "there is no such program" : strerror(errno));
        return missing ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
    }
    struct loaded loaded = find_loaded(program);
    if (loaded.open_mpi && !loaded.mpich) {
        complain("%s uses Open MPI; cte is for MPICH and its relatives, rebuild the program with "
                 "one of them or run it without cte",
                 in->arguments[0]);
        return EXIT_RUN_FAILED;
    }
    bool good =
        change_keys(in, changes) && check_keys() && change_libraries(options, &loaded, changes);
    return good ? EXIT_OK : EXIT_RUN_FAILED;
}

static int run_run(const struct invocation *in)
{
    const struct run_options *options = in->options;
    struct changes changes = {0};
    char program[PATH_MAX];
    int result = prepare(in, &changes, program);
    if (result == EXIT_OK && in->json)
        print_json(in, &changes);
    else if (result == EXIT_OK && options->print)
        print_command(in, &changes);
    else if (result == EXIT_OK)
        result = start(in, program);
    for (int i = 0; i < changes.count; i++)
        free(changes.all[i].value);
    return result;
}

#define FIELD(name) offsetof(struct run_options, name)

static const struct option_row rows[] = {
    {"mode", 'm', OPTION_TEXT, FIELD(mode), .choices = "default|scratch|bypass",
     .help = "through the tiers and drained (default), never drained, or straight to the files"},
    {"drain", 'd', OPTION_TEXT, FIELD(drain), .choices = "on_close|async|never",
     .help =
         "when data reaches the files: before close returns (default), in the background until the "
         "program ends, or by `cte drain` only"},
    {"sync", 0, OPTION_TEXT, FIELD(sync), .choices = "node|pfs",
     .help = "what a sync promises: data in the store (default), or in the files"},
    {"score", 's', OPTION_TEXT, FIELD(score), .value = "S",
     .help = "tier that new data asks for, 0 to 1"},
    {"include", 'I', OPTION_TEXT, FIELD(include), .value = "PATTERNS",
     .help = "only files that match one, separated by colons"},
    {"exclude", 'X', OPTION_TEXT, FIELD(exclude), .value = "PATTERNS",
     .help = "no files that match one"},
    {"chunk-size", 0, OPTION_TEXT, FIELD(chunk_size), .value = "SIZE",
     .help = "pieces that files are kept in"},
    {"ram", 'r', OPTION_TEXT, FIELD(ram), .value = "SIZE", .help = "most memory of the ram target"},
    {"no-checksum", 0, OPTION_FLAG, FIELD(checksum_off), .help = "do not checksum stored data"},
    {"store", 0, OPTION_TEXT, FIELD(store), .value = "NAME", .help = "store to use"},
    {"telemetry", 0, OPTION_TEXT, FIELD(telemetry), .choices = "on|off",
     .help = "record operations for `cte telemetry`"},
    {"summary", 'S', OPTION_TEXT, FIELD(summary), .value = "FILE",
     .help = "add a line to it about each file that is closed"},
    {"log-level", 0, OPTION_TEXT, FIELD(log_level), .choices = "off|error|warn|info|debug",
     .help = "what is said on standard error"},
    {"hdf5", 0, OPTION_CHOICE, FIELD(hdf5), .choices = "auto|serial|mpich|off",
     .help =
         "give HDF5 (1.14 or later) its driver: as the program is linked (default), as said, or "
         "not at all"},
    {"libraries", 0, OPTION_TEXT, FIELD(libraries), .value = "DIR",
     .help = "where the libraries of cte are, if not where they were installed"},
    {"print", 'p', OPTION_FLAG, FIELD(print),
     .help = "print the command with its environment, and do not run it; --json too"},
    {0},
};

const struct command command_run = {
    .name = "run",
    .synopsis = "[OPTION...] [--] PROGRAM [ARGUMENT...]",
    .summary = "run a program over cte",
    .description = "Runs a program over cte: its MPI-IO, and what sits on that, goes through the "
                   "tiers of the node.  Start the ranks with it: mpiexec -n 4 cte run ./program",
    .run = run_run,
    .options = rows,
    .options_bytes = sizeof(struct run_options),
    .least = 1,
    .most = -1,
    .wraps = true,
};
