/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs random MPI-IO programs that depend on nothing but their seed.
   mpiio_fuzz [-k] DIRECTORY FIRST_SEED COUNT   (-k keeps the files and traces the calls) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "session.h"

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    bool keep = argc > 1 && strcmp(argv[1], "-k") == 0;
    int rank, ranks;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc - keep != 4 || ranks > MAX_RANKS)
        die("usage: mpiio_fuzz [-k] DIRECTORY FIRST_SEED COUNT, at most %d ranks", MAX_RANKS);
    const char *directory = argv[1 + keep];
    uint64_t first = strtoull(argv[2 + keep], NULL, 0);
    uint64_t count = strtoull(argv[3 + keep], NULL, 0);

    struct session *session = must_alloc(sizeof(*session));
    memset(session, 0, sizeof(*session));
    shadow_init(&session->shadow);
    log_open(directory, rank, keep);
    for (uint64_t i = 0; i < count; i++)
        program_run(session, directory, first + i, keep);
    epoch_start(&session->epoch, 0);
    free(session->epoch.marks);
    shadow_free(&session->shadow);
    free(session);
    log_close();
    MPI_Finalize();
    return 0;
}
