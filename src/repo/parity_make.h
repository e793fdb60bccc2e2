/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Making one group of parity objects. Used by parity_add.c only. */
#ifndef REPO_PARITY_MAKE_H
#define REPO_PARITY_MAKE_H

#include "repo/parity.h"

/* An object that parity is meant for. */
struct parity_object {
	char *name;    /* owned by the list */
	uint64_t size;
};

/* objects: ascending by name, 1 to the form's most. shards: 1 to PARITY_SHARDS_MAX. What is damaged is told to options->left_out and left out, what is gone silently. */
int parity_make_group(struct repo *r, const struct parity_options *options, enum parity_form form, unsigned shards, unsigned percent, bool automatic,
                      const struct parity_object *const *objects, size_t count, struct parity_report *report, struct error *err);

#endif
