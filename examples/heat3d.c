/* SPDX-License-Identifier: BSD-3-Clause */
#include "heat3d.h"

#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Diffusion number of the explicit scheme; stable up to 1/6. */
static const double ALPHA = 0.125;

/* The start state: amplitude and half waves in X, Y, Z.  Together they have no symmetry, so a block
 * that ends up in the wrong place is noticed. */
static const struct wave {
    double amplitude;
    int halves[HEAT3D_DIMS];
} WAVES[] = {
    {1.0, {1, 1, 1}},
    {0.5, {2, 1, 1}},
    {0.25, {1, 2, 1}},
    {0.125, {1, 1, 2}},
};
enum { WAVE_COUNT = sizeof WAVES / sizeof *WAVES };

void heat3d_fail(const char *what, const char *path)
{
    fprintf(stderr, "heat3d: %s%s%s\n", what, path ? ": " : "", path ? path : "");
    MPI_Abort(MPI_COMM_WORLD, 1);
    exit(1);
}

void heat3d_check_mpi(int code, const char *what, const char *path)
{
    if (code == MPI_SUCCESS)
        return;
    char text[MPI_MAX_ERROR_STRING] = "unknown error", message[MPI_MAX_ERROR_STRING + 64];
    int length = 0;
    MPI_Error_string(code, text, &length);
    snprintf(message, sizeof message, "%s failed: %s", what, text);
    heat3d_fail(message, path);
}

static void usage(const struct heat3d_io *io, FILE *stream)
{
    fprintf(stream,
            "usage: mpiexec -n RANKS %s [options]\n"
            "  --grid NX,NY,NZ        cells of the box (default 64,64,64)\n"
            "  --steps N              step to stop at (default 20)\n"
            "  --checkpoint-every N   steps between checkpoints (default 10)\n"
            "  --directory DIR        where checkpoints go (default: current directory)\n"
            "  --restart FILE         continue from a checkpoint, verifying it first\n",
            io->program);
    if (io->has_chunks)
        fprintf(stream, "  --chunk CX,CY,CZ       chunked dataset (default: contiguous)\n");
}

static bool parse_count(const char *text, int *value)
{
    char *end = NULL;
    long parsed = strtol(text, &end, 10);
    *value = (int)parsed;
    return end != text && *end == '\0' && parsed > 0 && parsed < INT_MAX / 2;
}

static bool parse_triple(const char *text, int triple[HEAT3D_DIMS])
{
    char rest;
    if (sscanf(text, "%d,%d,%d%c", &triple[0], &triple[1], &triple[2], &rest) != 3)
        return false;
    for (int d = 0; d < HEAT3D_DIMS; d++)
        if (triple[d] < 1 || triple[d] > 100000)
            return false;
    return true;
}

/* 0: run; 1: help was printed; 2: wrong use. */
static int parse_options(int argc, char **argv, const struct heat3d_io *io, bool speak,
                         struct heat3d_options *options)
{
    static const struct option LONG[] = {
        {"grid", required_argument, NULL, 'g'},
        {"steps", required_argument, NULL, 's'},
        {"directory", required_argument, NULL, 'd'},
        {"checkpoint-every", required_argument, NULL, 'c'},
        {"restart", required_argument, NULL, 'r'},
        {"chunk", required_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct heat3d_options){
        .grid = {64, 64, 64}, .steps = 20, .checkpoint_every = 10, .directory = "."};
    opterr = speak;
    bool good = true;
    int letter;
    while (good && (letter = getopt_long(argc, argv, "", LONG, NULL)) != -1) {
        switch (letter) {
        case 'g':
            good = parse_triple(optarg, options->grid);
            break;
        case 'k':
            good = io->has_chunks && parse_triple(optarg, options->chunk);
            break;
        case 's':
            good = parse_count(optarg, &options->steps);
            break;
        case 'c':
            good = parse_count(optarg, &options->checkpoint_every);
            break;
        case 'd':
            options->directory = optarg;
            break;
        case 'r':
            options->restart = optarg;
            break;
        case 'h':
            if (speak)
                usage(io, stdout);
            return 1;
        default:
            good = false;
        }
    }
    if (good && optind == argc)
        return 0;
    if (speak)
        usage(io, stderr);
    return 2;
}

/* The layer of cells at one end of one dimension: the outermost own cells or the ghost cells. */
static MPI_Datatype face_type(const struct heat3d *heat, int dim, int side, bool ghost)
{
    int size[HEAT3D_DIMS], start[HEAT3D_DIMS];
    for (int d = 0; d < HEAT3D_DIMS; d++) {
        size[d] = heat->local[d];
        start[d] = 1;
    }
    size[dim] = 1;
    if (side == 0)
        start[dim] = ghost ? 0 : 1;
    else
        start[dim] = heat->local[dim] + (ghost ? 1 : 0);
    MPI_Datatype type;
    MPI_Type_create_subarray(HEAT3D_DIMS, heat->padded, size, start, MPI_ORDER_C, MPI_DOUBLE,
                             &type);
    MPI_Type_commit(&type);
    return type;
}

static void decompose(struct heat3d *heat)
{
    int dims[HEAT3D_DIMS] = {0}, periods[HEAT3D_DIMS] = {0}, coords[HEAT3D_DIMS];
    MPI_Comm_size(MPI_COMM_WORLD, &heat->rank_count);
    MPI_Dims_create(heat->rank_count, HEAT3D_DIMS, dims);
    MPI_Cart_create(MPI_COMM_WORLD, HEAT3D_DIMS, dims, periods, 0, &heat->comm);
    MPI_Comm_rank(heat->comm, &heat->rank);
    MPI_Cart_coords(heat->comm, heat->rank, HEAT3D_DIMS, coords);
    heat->cell_count = 1;
    for (int d = 0; d < HEAT3D_DIMS; d++) {
        int cells = heat->options.grid[d];
        if (cells < dims[d])
            heat3d_fail("the grid has fewer cells than there are ranks in a dimension", NULL);
        heat->start[d] = (int)((long long)cells * coords[d] / dims[d]);
        heat->local[d] = (int)((long long)cells * (coords[d] + 1) / dims[d]) - heat->start[d];
        heat->padded[d] = heat->local[d] + 2;
        heat->cell_count *= (size_t)heat->padded[d];
        MPI_Cart_shift(heat->comm, d, 1, &heat->neighbour[d][0], &heat->neighbour[d][1]);
    }
    heat->field = calloc(heat->cell_count, sizeof *heat->field);
    heat->next = calloc(heat->cell_count, sizeof *heat->next);
    if (!heat->field || !heat->next)
        heat3d_fail("not enough memory for the grid", NULL);
    for (int d = 0; d < HEAT3D_DIMS; d++)
        for (int side = 0; side < 2; side++) {
            heat->face_send[d][side] = face_type(heat, d, side, false);
            heat->face_receive[d][side] = face_type(heat, d, side, true);
        }
    if (heat->rank == 0)
        printf("heat3d: grid %d x %d x %d, ranks %d x %d x %d\n", heat->options.grid[0],
               heat->options.grid[1], heat->options.grid[2], dims[0], dims[1], dims[2]);
}

static void release(struct heat3d *heat)
{
    for (int d = 0; d < HEAT3D_DIMS; d++)
        for (int side = 0; side < 2; side++) {
            MPI_Type_free(&heat->face_send[d][side]);
            MPI_Type_free(&heat->face_receive[d][side]);
        }
    free(heat->field);
    free(heat->next);
    MPI_Comm_free(&heat->comm);
}

/* Index into a padded array of own cell (i, j, k). */
static size_t cell(const struct heat3d *heat, int i, int j, int k)
{
    size_t row = (size_t)(i + 1) * (size_t)heat->padded[HEAT3D_Y] + (size_t)(j + 1);
    return row * (size_t)heat->padded[HEAT3D_Z] + (size_t)(k + 1);
}

static void exchange_halos(const struct heat3d *heat)
{
    MPI_Request requests[4 * HEAT3D_DIMS];
    MPI_Status statuses[4 * HEAT3D_DIMS]; /* GCC warns of MPICH's MPI_STATUSES_IGNORE */
    int count = 0;
    for (int d = 0; d < HEAT3D_DIMS; d++)
        for (int side = 0; side < 2; side++) {
            int peer = heat->neighbour[d][side];
            MPI_Irecv(heat->field, 1, heat->face_receive[d][side], peer, 2 * d + side, heat->comm,
                      &requests[count++]);
            MPI_Isend(heat->field, 1, heat->face_send[d][side], peer, 2 * d + 1 - side, heat->comm,
                      &requests[count++]);
        }
    MPI_Waitall(count, requests, statuses);
}

static void advance(struct heat3d *heat)
{
    exchange_halos(heat);
    size_t along_y = (size_t)heat->padded[HEAT3D_Z];
    size_t along_x = along_y * (size_t)heat->padded[HEAT3D_Y];
    const double *u = heat->field;
    for (int i = 0; i < heat->local[HEAT3D_X]; i++)
        for (int j = 0; j < heat->local[HEAT3D_Y]; j++) {
            size_t c = cell(heat, i, j, 0);
            for (int k = 0; k < heat->local[HEAT3D_Z]; k++, c++)
                heat->next[c] =
                    u[c] + ALPHA * (u[c - 1] + u[c + 1] + u[c - along_y] + u[c + along_y] +
                                    u[c - along_x] + u[c + along_x] - 6.0 * u[c]);
        }
    double *old = heat->field;
    heat->field = heat->next;
    heat->next = old;
    heat->step++;
}

/* sin(halves * pi * x) at the own cells of one dimension, for one wave. */
static double *wave_shape(const struct heat3d *heat, int dim, int halves)
{
    double *shape = malloc((size_t)heat->local[dim] * sizeof *shape);
    if (!shape)
        heat3d_fail("not enough memory", NULL);
    for (int i = 0; i < heat->local[dim]; i++)
        shape[i] = sin(M_PI * halves * (heat->start[dim] + i + 1) / (heat->options.grid[dim] + 1));
    return shape;
}

/* By how much a wave shrinks in one step of the scheme. */
static double wave_decay(const struct heat3d *heat, const struct wave *wave)
{
    double sum = 0;
    for (int d = 0; d < HEAT3D_DIMS; d++)
        sum += 2.0 - 2.0 * cos(M_PI * wave->halves[d] / (heat->options.grid[d] + 1));
    return 1.0 - ALPHA * sum;
}

static void add_wave(const struct heat3d *heat, const struct wave *wave, int step, double *into)
{
    double height = wave->amplitude * pow(wave_decay(heat, wave), step);
    double *x = wave_shape(heat, HEAT3D_X, wave->halves[HEAT3D_X]);
    double *y = wave_shape(heat, HEAT3D_Y, wave->halves[HEAT3D_Y]);
    double *z = wave_shape(heat, HEAT3D_Z, wave->halves[HEAT3D_Z]);
    for (int i = 0; i < heat->local[HEAT3D_X]; i++)
        for (int j = 0; j < heat->local[HEAT3D_Y]; j++) {
            double *row = into + cell(heat, i, j, 0);
            for (int k = 0; k < heat->local[HEAT3D_Z]; k++)
                row[k] += height * x[i] * y[j] * z[k];
        }
    free(x);
    free(y);
    free(z);
}

/* The discrete solution at `step`; ghost cells are 0. */
static void exact_solution(const struct heat3d *heat, int step, double *into)
{
    memset(into, 0, heat->cell_count * sizeof *into);
    for (int w = 0; w < WAVE_COUNT; w++)
        add_wave(heat, &WAVES[w], step, into);
}

/* Checks the field against the discrete solution; all ranks get the same answer. */
static bool verify_solution(struct heat3d *heat, const char *label)
{
    exact_solution(heat, heat->step, heat->next);
    double error = 0;
    for (int i = 0; i < heat->local[HEAT3D_X]; i++)
        for (int j = 0; j < heat->local[HEAT3D_Y]; j++)
            for (int k = 0; k < heat->local[HEAT3D_Z]; k++) {
                double difference =
                    fabs(heat->field[cell(heat, i, j, k)] - heat->next[cell(heat, i, j, k)]);
                /* Written so that a NaN counts as wrong. */
                error = difference <= error ? error : (difference >= 0 ? difference : INFINITY);
            }
    MPI_Allreduce(MPI_IN_PLACE, &error, 1, MPI_DOUBLE, MPI_MAX, heat->comm);
    bool good = error < 1e-11;
    memset(heat->next, 0, heat->cell_count * sizeof *heat->next);
    if (heat->rank == 0)
        printf("%s: step %d, largest error %.3e: %s\n", label, heat->step, error,
               good ? "verified" : "WRONG");
    return good;
}

/* Reads a checkpoint back and compares it with the field, bit by bit. */
static bool verify_checkpoint(struct heat3d *heat, const struct heat3d_io *io, const char *path,
                              double *read_seconds)
{
    memset(heat->next, 0xff, heat->cell_count * sizeof *heat->next);
    double begin = MPI_Wtime();
    int step = io->read(heat, path, heat->next);
    *read_seconds += MPI_Wtime() - begin;
    long long wrong = step == heat->step ? 0 : 1;
    for (int i = 0; i < heat->local[HEAT3D_X]; i++)
        for (int j = 0; j < heat->local[HEAT3D_Y]; j++)
            wrong += memcmp(heat->field + cell(heat, i, j, 0), heat->next + cell(heat, i, j, 0),
                            (size_t)heat->local[HEAT3D_Z] * sizeof(double)) != 0;
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_LONG_LONG, MPI_SUM, heat->comm);
    memset(heat->next, 0, heat->cell_count * sizeof *heat->next);
    if (heat->rank == 0)
        printf("checkpoint %s read back: %s\n", path, wrong ? "DIFFERS" : "identical");
    return wrong == 0;
}

static bool run(struct heat3d *heat, const struct heat3d_io *io)
{
    char path[PATH_MAX] = "";
    double write_seconds = 0, read_seconds = 0;
    bool good = true;
    if (heat->options.restart) {
        double begin = MPI_Wtime();
        heat->step = io->read(heat, heat->options.restart, heat->field);
        read_seconds += MPI_Wtime() - begin;
        good = verify_solution(heat, "restart");
    } else {
        exact_solution(heat, 0, heat->field);
    }
    while (good && heat->step < heat->options.steps) {
        advance(heat);
        if (heat->step % heat->options.checkpoint_every && heat->step != heat->options.steps)
            continue;
        int length = snprintf(path, sizeof path, "%s/heat3d.%06d%s", heat->options.directory,
                              heat->step, io->suffix);
        if (length < 0 || length >= (int)sizeof path)
            heat3d_fail("path is too long", heat->options.directory);
        double begin = MPI_Wtime();
        io->write(heat, path);
        write_seconds += MPI_Wtime() - begin;
        if (heat->rank == 0)
            printf("checkpoint %s written\n", path);
    }
    if (good && *path)
        good = verify_checkpoint(heat, io, path, &read_seconds);
    good = good && verify_solution(heat, "solution");
    double seconds[2] = {write_seconds, read_seconds};
    MPI_Reduce(heat->rank ? seconds : MPI_IN_PLACE, seconds, 2, MPI_DOUBLE, MPI_MAX, 0, heat->comm);
    if (heat->rank == 0) /* not on stdout, which is the same in every run */
        fprintf(stderr, "visible I/O: write %.6f s, read %.6f s\n", seconds[0], seconds[1]);
    return good;
}

int heat3d_main(int argc, char **argv, const struct heat3d_io *io)
{
    int rank;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    struct heat3d heat = {0};
    int status = parse_options(argc, argv, io, rank == 0, &heat.options);
    if (status) {
        MPI_Finalize();
        return status == 1 ? 0 : status;
    }
    decompose(&heat);
    bool good = run(&heat, io);
    release(&heat);
    MPI_Finalize();
    return good ? 0 : 1;
}
