/* SPDX-License-Identifier: BSD-3-Clause */
/* For LD_PRELOAD: the time of day stands still, so that HDF5's object times, which netCDF leaves on,
 * do not tell the files of two runs apart. */
#include <sys/time.h>

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    *now = (struct timeval){1000000000, 0};
    return 0;
}
