/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs each program with the default driver, twice, and with cte, and compares what they leave: the
 * names and sizes of the files, their bytes (the default driver must repeat its own), h5dump's text
 * and h5diff's verdict.
 *
 *     test_hdf5_programs <setup> [program]     setup: default, bypass, scores, async */
#include "programs.h"
#include "support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* Stands for the C library's: HDF5 stamps some headers with the time, which no property turns off.
 */
int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    *now = (struct timeval){1000000000, 0};
    return 0;
}

/* Larger files are sparse; their programs check them. */
enum { BYTES_COMPARED_MAX = 64 << 20 };

static cte_hdf5_config config_of_setup(const char *setup)
{
    cte_hdf5_config config = CTE_HDF5_CONFIG_INIT;
    if (strcmp(setup, "bypass") == 0) {
        config.mode = CTE_FILE_MODE_BYPASS;
    } else if (strcmp(setup, "scores") == 0) {
        config.score_raw = 0.25f;
        config.score_metadata = 1.0f;
    } else if (strcmp(setup, "async") == 0) {
        config.drain = CTE_FILE_DRAIN_ASYNC;
    } else {
        CHECK(strcmp(setup, "default") == 0);
    }
    return config;
}

/* In a process of its own: its exit completes what an async drain left, as for any program. */
static void run_in(const struct program *program, const char *directory,
                   const cte_hdf5_config *config)
{
    int status;
    CHECK(mkdir(directory, 0700) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(chdir(directory) == 0);
        hid_t fapl = config ? fapl_cte(config) : fapl_sec2();
        program->run(fapl);
        CHECK(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0);
        OK(H5Pclose(fapl));
        exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (status != 0)
        fprintf(stderr, "%s failed in %s\n", program->name, directory);
    CHECK(status == 0);
}

static int count_entries(const char *directory)
{
    int count = 0;
    DIR *stream = opendir(directory);
    CHECK(stream != NULL);
    while (readdir(stream))
        count++;
    closedir(stream);
    return count;
}

static off_t size_of(const char *directory, const char *name)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static bool same_in(const char *a, const char *b, const char *name)
{
    char path_a[4096], path_b[4096];
    snprintf(path_a, sizeof path_a, "%s/%s", a, name);
    snprintf(path_b, sizeof path_b, "%s/%s", b, name);
    return same_bytes(path_a, path_b);
}

/* Sizes and bytes of every file; returns how many were compared by their bytes. */
static int compare_files(const char *program)
{
    int compared = 0;
    CHECK(count_entries("sec2") == count_entries("cte"));
    DIR *stream = opendir("sec2");
    CHECK(stream != NULL);
    for (struct dirent *entry; (entry = readdir(stream));) {
        if (entry->d_name[0] == '.')
            continue;
        off_t expected = size_of("sec2", entry->d_name), found = size_of("cte", entry->d_name);
        if (expected != found)
            fprintf(stderr, "%s: %s has %lld bytes, should have %lld\n", program, entry->d_name,
                    (long long)found, (long long)expected);
        CHECK(expected == found);
        if (expected > BYTES_COMPARED_MAX)
            continue;
        CHECK(same_in("sec2", "again", entry->d_name));
        if (!same_in("sec2", "cte", entry->d_name))
            fprintf(stderr, "%s: bytes of %s differ\n", program, entry->d_name);
        CHECK(same_in("sec2", "cte", entry->d_name));
        compared++;
    }
    closedir(stream);
    return compared;
}

/* Big and sparse files are left to the program's own checks. */
static void compare_contents(const struct program *program)
{
    int status_a, status_b;
    const char *name = program->main_file;
    if (program->h5dump_skip)
        return;
    char *a = run_command(&status_a, "cd sec2 && h5dump %s 2>&1", name);
    char *b = run_command(&status_b, "cd cte && h5dump %s 2>&1", name);
    CHECK(status_a == 0 && status_b == 0);
    CHECK(strcmp(a, b) == 0);
    free(a);
    free(b);
    char *diff = run_command(&status_a, "h5diff sec2/%s cte/%s 2>&1", name, name);
    if (status_a != 0)
        fprintf(stderr, "%s", diff);
    CHECK(status_a == 0);
    free(diff);
}

/* Equal files prove something only if they really went through the tiers, or past them. */
static void check_tracking(const cte_hdf5_config *config)
{
    size_t bytes = 0;
    char *summary = read_whole("summary", &bytes);
    bool tracked = summary && strstr(summary, "\"tracked\": true") != NULL;
    CHECK(tracked == (config->mode != CTE_FILE_MODE_BYPASS));
    free(summary);
    (void)unlink("summary");
}

static void run_program(const struct program *program, const cte_hdf5_config *config)
{
    run_in(program, "sec2", NULL);
    run_in(program, "again", NULL);
    run_in(program, "cte", config);
    check_tracking(config);
    int compared = compare_files(program->name);
    compare_contents(program);
    remove_tree("sec2");
    remove_tree("again");
    remove_tree("cte");
    /* Flushed, lest a child writes it again. */
    printf("ok %s (%d files byte for byte)\n", program->name, compared);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int count = 0;
    CHECK(argc >= 2);
    const cte_hdf5_config config = config_of_setup(argv[1]);
    char summary[4096];
    CHECK(chdir(scratch_directory()) == 0);
    snprintf(summary, sizeof summary, "%s/summary", scratch_directory());
    CHECK(setenv("CTE_SUMMARY", summary, 1) == 0);
    const struct program *const tables[] = {data_programs, file_programs};
    for (size_t t = 0; t < 2; t++)
        for (const struct program *program = tables[t]; program->name; program++)
            if (argc < 3 || strcmp(argv[2], program->name) == 0) {
                run_program(program, &config);
                count++;
            }
    CHECK(count > 0 && chdir("/") == 0);
    printf("%d programs\n", count);
    return 0;
}
