/* SPDX-License-Identifier: BSD-3-Clause */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libraries.h"

enum { LINE_BYTES = 1024 };

/* ---- our own -------------------------------------------------------------------------------- */

static bool join(char path[PATH_MAX], const char *directory, const char *name)
{
    int n = snprintf(path, PATH_MAX, "%s/%s", directory, name);
    return n > 0 && n < PATH_MAX;
}

bool find_libraries(char directory[PATH_MAX])
{
    /* From the directory of the tool: installed, built, and all in one directory. */
    static const char *const places[] = {CTE_LIBRARIES_FROM_TOOL, "../lib", "."};
    char tool[PATH_MAX], place[PATH_MAX], library[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", tool, sizeof tool - 1);
    if (length <= 0)
        return false;
    tool[length] = '\0';
    *strrchr(tool, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (join(place, tool, places[i]) && join(library, place, "libcte_mpiio.so") &&
            access(library, R_OK) == 0 && realpath(place, directory))
            return true;
    return false;
}

/* ---- the program ---------------------------------------------------------------------------- */

static bool is_program(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return false;
    if (S_ISREG(status.st_mode) && access(path, X_OK) == 0)
        return true;
    errno = EACCES;
    return false;
}

bool find_program(const char *name, char path[PATH_MAX])
{
    const char *search = getenv("PATH");
    char directory[PATH_MAX];
    if (strchr(name, '/')) {
        snprintf(path, PATH_MAX, "%s", name);
        return is_program(path);
    }
    for (search = search ? search : "/bin:/usr/bin"; search;) {
        int length = (int)strcspn(search, ":");
        snprintf(directory, sizeof directory, "%.*s", length, length ? search : ".");
        if (join(path, length ? directory : ".", name) && is_program(path))
            return true;
        search = search[length] ? search + length + 1 : NULL;
    }
    errno = ENOENT;
    return false;
}

/* The loader that a program asks for; false if it is no dynamic program of this machine. */
static bool read_loader(const char *path, char loader[PATH_MAX])
{
    Elf64_Ehdr head;
    Elf64_Phdr part;
    bool found = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool elf = pread(fd, &head, sizeof head, 0) == (ssize_t)sizeof head &&
               memcmp(head.e_ident, ELFMAG, SELFMAG) == 0 && head.e_ident[EI_CLASS] == ELFCLASS64 &&
               head.e_phentsize == sizeof part;
    for (unsigned i = 0; elf && !found && i < head.e_phnum; i++) {
        off_t at = (off_t)(head.e_phoff + i * sizeof part);
        if (pread(fd, &part, sizeof part, at) != (ssize_t)sizeof part)
            break;
        found = part.p_type == PT_INTERP && part.p_filesz > 1 && part.p_filesz < PATH_MAX &&
                pread(fd, loader, part.p_filesz, (off_t)part.p_offset) == (ssize_t)part.p_filesz &&
                loader[part.p_filesz - 1] == '\0';
    }
    close(fd);
    return found;
}

/* "\tlibhdf5_serial.so.103 => /usr/lib/…" */
static void note_library(const char *line, struct loaded *loaded)
{
    line += strspn(line, "\t ");
    loaded->mpich |=
        strncmp(line, "libmpich.so", 11) == 0 || strncmp(line, "libmpi.so.12", 12) == 0;
    loaded->open_mpi |= strncmp(line, "libmpi.so.40", 12) == 0;
    loaded->hdf5_mpich |= strncmp(line, "libhdf5_mpich.so", 16) == 0;
    loaded->hdf5_serial |=
        strncmp(line, "libhdf5_serial.so", 17) == 0 || strncmp(line, "libhdf5.so", 10) == 0;
}

static pid_t start_loader(const char *loader, const char *path, int *output)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    pid_t child = fork();
    if (child == 0) {
        int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(ends[1], STDOUT_FILENO);
        if (nowhere >= 0)
            dup2(nowhere, STDERR_FILENO);
        execl(loader, loader, "--list", path, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    *output = ends[0];
    if (child < 0)
        close(ends[0]);
    return child;
}

struct loaded find_loaded(const char *path)
{
    struct loaded loaded = {0};
    char loader[PATH_MAX], line[LINE_BYTES];
    int output, status = -1;
    pid_t child = read_loader(path, loader) ? start_loader(loader, path, &output) : -1;
    if (child < 0)
        return loaded;
    FILE *lines = fdopen(output, "r");
    while (lines && fgets(line, sizeof line, lines))
        note_library(line, &loaded);
    if (lines)
        fclose(lines);
    else
        close(output);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    loaded.known = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return loaded;
}
