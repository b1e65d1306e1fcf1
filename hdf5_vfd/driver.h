/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the driver share.  Callbacks run under HDF5's global lock: no locks here. */
#ifndef CTE_HDF5_VFD_DRIVER_H
#define CTE_HDF5_VFD_DRIVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "handles.h"
#include "hdf5_compat.h"
#include "pieces.h"

#include <cte/file.h>
#include <cte/hdf5.h>

/* Bytes of the file kept in memory, so that many small pieces make few transfers. */
struct cte__window {
    char *base; /* NULL until first needed */
    haddr_t addr;
    size_t length;   /* 0: empty */
    size_t known;    /* of bytes to be written: behind them, read from the file up to here */
    size_t capacity; /* of base */
};

/* What one configuration text asks for (settings.c). */
struct cte__settings;

/* What the files of both drivers have, and their callbacks below need. */
struct cte__vfd_common {
    H5FD_t pub; /* must be first */
    /* Must be second: H5Fset_mpi_atomicity() takes what follows `pub` for the MPI_File of any MPI
     * driver.  See mpio_open.c; unused in the serial driver. */
    void *mpi_file;
    struct cte__handles handles;
    struct cte__settings *settings;
    cte_hdf5_config config;
    haddr_t eoa; /* what HDF5 has allocated */
    haddr_t eof; /* size of the file as this process knows it */
    const char *name;
};

struct cte__vfd_file {
    struct cte__vfd_common common; /* must be first */
    int fd; /* the real file: lock, identity and, if not tracked, H5Fget_vfd_handle */
    dev_t device;
    ino_t inode;
    bool writable;
    bool swmr; /* each write reaches the real file, in order, before it returns */
    bool ignore_disabled_locks;
    bool unsynced;             /* written since the last sync */
    struct cte__window behind; /* small raw writes not passed on yet; never while swmr */
    struct cte__window ahead;  /* raw bytes read in advance */
    haddr_t next_read;         /* end of the last small raw read */
    char name_text[];
};

/* Pushes on HDF5's error stack; formats as printf. */
#define CTE__PUSH(major, minor, ...)                                                               \
    ((void)H5Epush2(H5E_DEFAULT, __FILE_NAME__, __func__, __LINE__, H5E_ERR_CLS, (major), (minor), \
                    __VA_ARGS__))

/* driver.c */
/* The driver's id, registered if it is not; kept in `where`. */
hid_t cte__register(const H5FD_class_t *driver, _Atomic hid_t *where);
/* For a driver's terminate: its id is dead, and may be given to something else. */
void cte__unregistered(_Atomic hid_t *where);
/* Callbacks of both drivers.  The driver's part of a property list is a cte_hdf5_config. */
void *cte__config_copy(const void *config);
herr_t cte__config_free(void *config);
void *cte__fapl_get(H5FD_t *pub);
haddr_t cte__get_eoa(const H5FD_t *pub, H5FD_mem_t type);
herr_t cte__set_eoa(H5FD_t *pub, H5FD_mem_t type, haddr_t addr);
haddr_t cte__get_eof(const H5FD_t *pub, H5FD_mem_t type);
/* Makes what is pending durable; errors are pushed. */
herr_t cte__sync(struct cte__vfd_common *file);
/* Says that the file cannot have the size that it is to have. */
herr_t cte__push_size_error(const struct cte__vfd_common *file, cte_status status);
/* Takes what the property list says; false with an error pushed.  `name` must stay. */
bool cte__common_begin(struct cte__vfd_common *file, const char *name, hid_t fapl);
/* Also after a begin that failed. */
void cte__common_end(struct cte__vfd_common *file);
#if !CTE__HDF5_PLUGINS
hid_t H5FD_cte_init_early(void);
#endif

/* settings.c */
/* What a text asks for; NULL: what the process is configured to.  NULL with an error pushed if the
 * text is wrong or memory is short.  Lives as long as the process. */
struct cte__settings *cte__settings_of(const char *text);
/* The text, for as long as the process lives. */
const char *cte__settings_text(const struct cte__settings *settings);
/* Attached to the store on first use; NULL if that cannot be. */
cte_client *cte__settings_client(struct cte__settings *settings);
/* The configured score of a type of file memory; negative: that of the file layer. */
float cte__settings_score(const struct cte__settings *settings, H5FD_mem_t type);
/* A file is open with them, or no longer. */
void cte__settings_hold(struct cte__settings *settings);
void cte__settings_release(struct cte__settings *settings);
/* Detaches from the stores that no open file is in; the next to be opened attaches again. */
void cte__settings_close_clients(void);

/* fapl.c */
/* What a program gave, complete and checked; NULL: defaults. */
herr_t cte__config_normalize(const cte_hdf5_config *given, cte_hdf5_config *config);
/* Never fails: a list that says nothing means defaults. */
cte_hdf5_config cte__config_of_fapl(hid_t fapl);
/* What the list's text, or that of HDF5_DRIVER_CONFIG, asks for; as cte__settings_of(). */
struct cte__settings *cte__settings_of_fapl(hid_t fapl, const cte_hdf5_config *config);
bool cte__is_raw(H5FD_mem_t type);
/* The score for a type of file memory; negative: that of the file layer. */
float cte__score_for(const struct cte__settings *settings, const cte_hdf5_config *config,
                     H5FD_mem_t type);

/* open.c */
/* Those of open(2) for HDF5's. */
int cte__open_flags(unsigned flags);
void cte__push_open_error(const char *name, cte_status status, unsigned flags);
H5FD_t *cte__vfd_open(const char *name, unsigned flags, hid_t fapl, haddr_t maxaddr);
herr_t cte__vfd_close(H5FD_t *pub);
#if CTE__HDF5_PLUGINS
herr_t cte__vfd_delete(const char *name, hid_t fapl);
#endif
/* Drains what the tiers hold and goes on with the real file alone. */
herr_t cte__vfd_leave_tiers(struct cte__vfd_file *file);

/* transfer.c */
bool cte__region_is_valid(haddr_t addr, size_t size);
bool cte__addr_is_valid(haddr_t addr);
herr_t cte__vfd_read(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, haddr_t addr, size_t size,
                     void *buffer);
herr_t cte__vfd_write(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, haddr_t addr, size_t size,
                      const void *buffer);
herr_t cte__vfd_flush(H5FD_t *pub, hid_t dxpl, hbool_t closing);
herr_t cte__vfd_truncate(H5FD_t *pub, hid_t dxpl, hbool_t closing);
/* One transfer by the file layer; errors are pushed. */
herr_t cte__write_through(struct cte__vfd_file *file, H5FD_mem_t type, haddr_t addr, size_t size,
                          const void *buffer);
/* Bytes at and past the end of the file become zeros; `got` (may be NULL) tells how many did not.
 */
herr_t cte__read_through(struct cte__vfd_file *file, H5FD_mem_t type, haddr_t addr, size_t size,
                         void *buffer, size_t *got);

/* Before a write that goes past the windows. */
herr_t cte__prepare_write(struct cte__vfd_file *file, H5FD_mem_t type, haddr_t addr, size_t size,
                          const void *buffer);
/* Nobody but a writer in SWMR use lets others see the file while it is open for writing, so its end
 * is where this handle last saw it. */
bool cte__is_past_end(const struct cte__vfd_file *file, haddr_t addr);
herr_t cte__check_region(const struct cte__vfd_file *file, const char *verb, haddr_t addr,
                         size_t size);
/* Give -1. */
herr_t cte__push_read_error(const struct cte__vfd_file *file, haddr_t addr, size_t size,
                            cte_status status);
herr_t cte__push_write_error(const struct cte__vfd_file *file, haddr_t addr, size_t size,
                             cte_status status);

#if CTE__HDF5_PLUGINS
/* transfer_many.c */
herr_t cte__vfd_read_vector(H5FD_t *pub, hid_t dxpl, uint32_t count, H5FD_mem_t types[],
                            haddr_t addrs[], size_t sizes[], void *buffers[]);
herr_t cte__vfd_write_vector(H5FD_t *pub, hid_t dxpl, uint32_t count, H5FD_mem_t types[],
                             haddr_t addrs[], size_t sizes[], const void *buffers[]);
herr_t cte__vfd_read_selection(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, size_t count,
                               hid_t in_memory[], hid_t in_file[], haddr_t offsets[],
                               size_t element_sizes[], void *buffers[]);
herr_t cte__vfd_write_selection(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, size_t count,
                                hid_t in_memory[], hid_t in_file[], haddr_t offsets[],
                                size_t element_sizes[], const void *buffers[]);
#endif

/* window.c */
/* Takes small raw writes that lie near each other, in ascending order; passes on earlier ones as
 * needed.  What is between them is read from the file, and written with them. */
herr_t cte__behind_write(struct cte__vfd_file *file, const struct cte__piece *pieces, size_t count);
/* Passes on what is pending; if that fails it stays pending. */
herr_t cte__behind_flush(struct cte__vfd_file *file);
/* The same, only if it touches the range. */
herr_t cte__behind_flush_range(struct cte__vfd_file *file, haddr_t addr, size_t size);
/* Small raw reads, as those writes. */
herr_t cte__ahead_read(struct cte__vfd_file *file, const struct cte__piece *pieces, size_t count);
/* Forgets what was read in advance, if it touches the range. */
void cte__ahead_drop_range(struct cte__vfd_file *file, haddr_t addr, size_t size);
void cte__windows_free(struct cte__vfd_file *file);

/* Pieces up to this size go through the windows; larger ones gain nothing from a copy.  Up to this
 * far apart they are near each other: each costs at least a page of the store anyway. */
enum { CTE__SMALL_BYTES_MAX = 32 * 1024, CTE__NEAR_BYTES_MAX = 4096 };

#endif
