/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of view/ share among themselves. */
#ifndef VIEW_INTERNAL_H
#define VIEW_INTERNAL_H

#include "view/tree.h"

struct view {
	struct repo *repo;
	const struct snapshot *snapshot;
};

#endif
