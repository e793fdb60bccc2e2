/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the parts of the repair share: repair.c (order of the work, objects), repair_packs.c (what is in packs that cannot be healed), repair_aside.c, repair_walk.c. */
#ifndef REPO_REPAIR_INTERNAL_H
#define REPO_REPAIR_INTERNAL_H

#include "repo/marks.h"
#include "repo/object.h"
#include "repo/parity.h"
#include "repo/repair.h"
#include "repo/writer.h"

struct patient {
	char *name;     /* owned */
	uint64_t size;  /* as listed; 0 where it is missing */
	bool missing, healed;
	struct error why;
};

struct repair {
	struct repo *repo;
	const struct repair_options *options;
	const struct repair_sink *sink;
	struct repair_report report;
	struct parity_set parity;
	struct store *healing;         /* gives healed bytes */
	struct own_session *session;   /* NULL in a dry run */
	struct patient *patients;
	size_t patient_count;
	struct buf listed_packs;       /* ids */
};

int repair_stopped(const struct repair *p, struct error *err);
/* False for what a later version wrote, or is sealed by a key that this user does not have: such an object heals, or stays. (A damaged head can look like that, too.) */
bool repair_may_give_up(const struct patient *t);

/* --- repair_aside.c --- */
/* Copies the object to aside/N/NAME (what cannot be read of it as zeros) and removes it. Nothing there: nothing is done. */
int repair_put_aside(struct store *store, const char *name, struct error *err);
/* Stores size bytes of source's object under its name in store; what is there under this name is put aside. The object is complete on the medium before the old one goes. */
int repair_replace(struct store *store, struct store *source, const char *name, uint64_t size, struct error *err);

/* --- repair_packs.c --- */
/* Puts packs that no segment names into new ones; a segment for each some of them. */
int repair_index_packs(struct repair *p, struct error *err);
/* The patients that are packs and were not healed: what is whole in them goes into new packs, then they leave the index and go aside. */
int repair_packs(struct repair *p, struct error *err);

/* --- repair_walk.c --- */
/* Whatever snapshots refer to and no pack has: from the other repository, from the original files, or cut. */
int repair_snapshots(struct repair *p, struct error *err);

#endif
