/* SPDX-License-Identifier: BSD-3-Clause */
#include "target/target.h"
