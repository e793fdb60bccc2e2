/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Making a damaged repository whole again, as far as anything is left to do it with.
 *
 * Every object is read and authenticated. What is damaged or missing comes back, in this order: from parity; the index out of the packs' own tables; what is whole in a damaged pack, into a new one; chunks from another repository,
 * be it one with the same keys or a copy with its own; chunks from the original files and disks, where these still hold them. What remains lost is told with the files that it hits and, only if asked for, cut out of the snapshots.
 * Nothing is overwritten: what is replaced is kept below "aside/" until repair_discard_aside. A repair that was cut off is gone on with by the next one. docs/FORMAT.md, "Repair".
 *
 * It is a session like a writer's; backups may run, but packs that cannot be healed are only replaced while no other session is at work.
 * Threads: one.
 */
#ifndef REPO_REPAIR_H
#define REPO_REPAIR_H

#include "base/progress.h"
#include "repo/repo.h"

/* All texts are valid during the call. */
struct repair_sink {
	/* An object was healed, or replaced by something as good; or, in a dry run, could be. how: "from parity". */
	void (*healed)(void *cookie, const char *object, const char *how);
	/* Nothing could be done about it. */
	void (*lost)(void *cookie, const char *object, const char *why);
	/* A part of a snapshot is lost. path: bytes; NULL with area set where it is no file. cut: the snapshot was written anew without it. */
	void (*hit)(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what, bool cut);
	/* A snapshot was replaced. */
	void (*replaced)(void *cookie, const struct id *old, const struct id *new);
	void *cookie;
};

struct repair_options {
	bool dry_run;              /* only say what could be done */
	bool cut;                  /* write snapshots anew without what is lost */
	bool originals;            /* look for lost chunks in the files and disks that were backed up, on this machine */
	const char *disk;          /* with originals: where the disk of images is now; NULL: where it was */
	struct repo *from;         /* another repository, its index loaded; NULL: none */
	const char *host;
	int level;                 /* zstd */
	struct progress *progress; /* files: objects; bytes: read. May be NULL */
};

struct repair_report {
	uint64_t objects;          /* read and authenticated */
	uint64_t damaged, missing; /* found so */
	uint64_t healed;           /* bit for bit, from parity or from the other repository */
	uint64_t indexed_packs;    /* packs that no index segment named, and one does now */
	uint64_t replaced_packs;   /* damaged or missing ones, taken out of the index */
	uint64_t salvaged_chunks;  /* whole ones of these, stored anew */
	uint64_t lost_chunks;      /* the others that are in no other pack */
	uint64_t from_other, from_originals; /* chunks */
	uint64_t hits, cut_hits, cut_snapshots; /* cut_hits: of the hits, those that were cut */
	uint64_t unhealed;         /* objects that stay as they are */
};

/* Before the repository can be opened: the header, and the keys, from parity. ret_healed: how many. */
int repair_entrance(struct store *store, const struct repair_options *options, const struct repair_sink *sink, uint64_t *ret_healed, struct error *err);
/* Whether both name equal chunks equally. */
bool repo_same_chunks(const struct repo *a, const struct repo *b);
/* Where they do not: whether the other has snapshots that can be asked for what is lost here (or nothing here can be asked for). */
int repair_has_counterparts(struct repo *own, struct repo *other, bool *ret, struct error *err);
/* 0 also where something stays lost: see the report. The index is loaded anew. */
int repo_repair(struct repo *r, const struct repair_options *options, const struct repair_sink *sink, struct repair_report *ret, struct error *err);
/* Deletes what repairs have put aside; ret: objects. */
int repair_discard_aside(struct store *store, uint64_t *ret, struct error *err);

#endif
