/* SPDX-License-Identifier: BSD-3-Clause */
#include <cte/client.h>
