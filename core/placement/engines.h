/* SPDX-License-Identifier: BSD-3-Clause */
/* The engines there are; placement.c lists them. */
#ifndef CTE_CORE_PLACEMENT_ENGINES_H
#define CTE_CORE_PLACEMENT_ENGINES_H

#include "placement/placement.h"

extern const struct cte__placement_engine cte__placement_max_bw;

#endif
