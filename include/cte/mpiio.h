/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Hints of the MPI-IO adapter: keys of the MPI_Info given to MPI_File_open().
 *
 * The adapter needs no call: programs run over it by
 * `LD_PRELOAD=libcte_mpiio.so` or by linking it before the MPI library.  A hint must have the same
 * value on all processes that open the file; that of the lowest rank counts.  An unknown key that
 * begins with "cte_", or a value that is not listed, is reported once on stderr and ignored.
 */
#ifndef CTE_MPIIO_H
#define CTE_MPIIO_H

/** "default" (tiers and drain), "scratch" (never drained) or "bypass" (plain MPI-IO). */
#define CTE_MPIIO_HINT_MODE "cte_mode"

/** "on_close", "async" or "never": when written data reaches the real file. */
#define CTE_MPIIO_HINT_DRAIN "cte_drain"

/** "0" … "1": score of newly written data; 1 asks for the fastest tier. */
#define CTE_MPIIO_HINT_SCORE "cte_score"

/** Bytes, a power of two from 65536 to 16777216: the pieces that the file is kept in, unless
 * somebody has it open already or left data of it in the store. */
#define CTE_MPIIO_HINT_CHUNK_SIZE "cte_chunk_size"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The version of the adapter, as cte_version().  Whoever finds this symbol (by dlsym) in a
 * process knows that the adapter is loaded; the MPI-IO calls are its own if it was loaded first.
 */
const char *cte_mpiio_version(void);

#ifdef __cplusplus
}
#endif

#endif
