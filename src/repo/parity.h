/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Parity: what heals a repository whose store lets bytes rot, or loses objects. docs/FORMAT.md, "Parity".
 *
 * Objects that stay (packs, index segments, snapshots, keys, the header) are put into groups; each group has a few shards, every one an object "parity/ID" by itself.
 * All is computed over the stored bytes, so healing needs no key; what was healed is believed only after it has authenticated like anything else.
 * A group heals as many lost pieces in each column of 64 KiB as it has shards; a lost object is one lost piece in every column.
 * Deleting objects (prune, forget) needs no care: a member that is gone counts as lost until parity_add forms its group anew.
 *
 * Threads: each struct is for one thread at a time, but the store of parity_store_open serves any.
 */
#ifndef REPO_PARITY_H
#define REPO_PARITY_H

#include "base/progress.h"
#include "repo/format/parity.h"
#include "repo/repo.h"

#define PARITY_PERCENT 3u /* when nobody says how much */

/* --- what there is ------------------------------------------------------------------- */

struct parity_group {
	struct parity_head head;                       /* of any shard; .shard means nothing */
	struct id shards[PARITY_SHARDS_MAX];
	bool have[PARITY_SHARDS_MAX];                  /* whether that shard's object is there, with the right size */
	size_t first, count;                           /* members: in parity_set.members */
};
struct parity_ref {
	char *name;                                    /* owned */
	uint64_t size;
	uint32_t group, row;
};
struct parity_set {
	struct parity_group *groups;
	size_t count;
	struct parity_ref *members;                    /* group by group, by row */
	size_t member_count;
	const struct parity_ref **by_name;             /* ascending by name, then group; an object may be in two groups */
	struct id *damaged;                            /* parity objects that cannot be used at all */
	size_t damaged_count;
	struct error first_error;
	uint64_t bytes;                                /* of all parity objects */
	size_t objects;
};

/* Reads heads and tables. What is damaged is counted, not an error. */
int parity_load(struct parity_set *ret, struct store *store, struct error *err);
void parity_set_done(struct parity_set *s);
/* The first of the refs with this name, *ret_count of them; NULL: not protected. */
const struct parity_ref *const *parity_find(const struct parity_set *s, const char *name, size_t *ret_count);
/* The group's table out of any of its shards. bytes holds what ret points into. */
int parity_read_table(struct store *store, const struct parity_group *g, struct parity_table *ret, struct buf *bytes, struct error *err);
unsigned parity_shards_there(const struct parity_group *g);

struct parity_status {
	uint64_t objects, bytes;                       /* that parity is meant for, in the store */
	uint64_t whole_objects, whole_bytes;           /* in a group that has all its members and shards */
	uint64_t weak_objects, weak_bytes;             /* in a group that misses something, but can still heal */
	uint64_t bare_objects, bare_bytes;             /* not protected */
	uint64_t gone;                                 /* members that are no longer in the store: removed, or lost */
	uint64_t groups, parity_objects, parity_bytes, damaged;
	unsigned percent;                              /* 0: no parity */
	bool automatic;
};
/* Whether backups are to call parity_add at their end. Costs a listing, and a head. */
int parity_is_automatic(struct store *store, bool *ret, struct error *err);
int parity_status(struct store *store, struct parity_status *ret, struct error *err);

/* Reads every parity object, its shard's bytes only with read_data. fn: what is damaged. */
typedef void (*parity_damaged_fn)(void *cookie, const char *object, const struct error *why);
int parity_check(struct store *store, bool read_data, parity_damaged_fn fn, void *cookie, struct error *err);

/* --- making it ------------------------------------------------------------------------- */

struct parity_options {
	unsigned percent;                              /* 1 to 100; 0: as before, or PARITY_PERCENT */
	bool automatic;                                /* from now on, backups do this at their end */
	struct progress *progress;                     /* bytes: read. May be NULL */
	/* An object that is damaged, and therefore left out. */
	void (*left_out)(void *cookie, const char *name, const struct error *why);
	void *cookie;
};
struct parity_report {
	uint64_t groups_made, groups_removed, objects_added, bytes_read, parity_bytes, left_out;
	uint64_t groups_held; /* kept though something of them is lost: repair can still get it back */
};
/* Protects what is not protected yet, forms groups anew that miss a member or a shard, or when percent changes, and deletes parity objects that are no longer needed, after the new ones
 * are stored. Every object is authenticated before it is relied on. Memory: at most about 120 MiB. */
int parity_add(struct repo *r, const struct parity_options *options, struct parity_report *ret, struct error *err);
/* Deletes all parity objects; ret: how many. */
int parity_remove(struct store *store, uint64_t *ret, struct error *err);

/* For what is removed so that nobody can use it again (a key): deletes the groups that hold a whole copy of the object. Their other members are bare until parity_add. ret: how many parity
 * objects were deleted. */
int parity_forget(struct store *store, const char *name, uint64_t *ret, struct error *err);

/* --- healing --------------------------------------------------------------------------- */

/* A store that gives the healed bytes of base's objects: every piece that is read is compared with its sum, and computed from the rest of its group where it differs or cannot be read. What no
 * group protects passes as it is. Writing, listing and removing go to base. base and set are borrowed. */
int parity_store_open(struct store **ret, struct store *base, const struct parity_set *set, struct error *err);

/* Does the object (its whole name) authenticate, every byte of it? Read through store, which may be another than the one that keys belong to. keys NULL: only "twofold" and
 * "keys/" can be judged, any other is ERR_UNSUPPORTED. */
int object_verify(struct store *store, struct seal_keys *keys, const char *name, uint64_t size, struct error *err);

#endif
