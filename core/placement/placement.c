/* SPDX-License-Identifier: BSD-3-Clause */
#include "placement/placement.h"
