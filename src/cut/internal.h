/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What cut/'s own tests need beyond cut.h. No other folder includes this. */
#ifndef CUT_INTERNAL_H
#define CUT_INTERNAL_H

#include "cut/cut.h"

/* From now on the cutter decides without the processor's AES instructions, as on a machine that lacks them. Before it is shared. */
void cut_use_portable_aes(struct cutter *c);
/* The 256 values of the Gear table. */
const uint64_t *cut_gear(const struct cutter *c);

#endif
