/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is to be protected, in which groups, and which groups are no longer needed. */
#include <stdio.h>
#include <stdlib.h>

#include "repo/ids.h"
#include "repo/object.h"
#include "repo/parity_make.h"

#define BUNDLE_BYTES (16u << 20)
#define BUNDLE_SHARDS 2u

/* Objects of a class are grouped together. Keys stand apart: a key that was removed must not stay in a bundle for the sake of others. */
enum class { CLASS_KEYS, CLASS_SMALL, CLASS_LARGE, CLASS_PACKS, CLASSES };

struct adding {
	struct repo *repo;
	const struct parity_options *options;
	struct parity_report *report;
	struct parity_set set;
	unsigned percent;
	bool automatic;
	struct parity_object *objects;  /* ascending by name */
	size_t object_count;
	uint32_t *covers;               /* by object: groups kept that have it */
	bool *damaged;                  /* by object: was left out */
	bool *keep;                     /* by group: it goes on as it is */
	bool *hold;                     /* by group: something of it is lost that repair can still get back */
};

static void adding_done(struct adding *a)
{
	for (size_t i = 0; i < a->object_count; i++)
		free(a->objects[i].name);
	free(a->objects);
	free(a->covers);
	free(a->damaged);
	free(a->keep);
	free(a->hold);
	parity_set_done(&a->set);
}

static enum class class_of(const char *name, uint64_t size)
{
	if (strncmp(name, "packs/", 6) == 0)
		return CLASS_PACKS;
	if (size > PARITY_PIECE)
		return CLASS_LARGE;
	return strcmp(name, "twofold") == 0 || strncmp(name, "keys/", 5) == 0 ? CLASS_KEYS : CLASS_SMALL;
}

static enum parity_form form_of(enum class class)
{
	return class == CLASS_KEYS || class == CLASS_SMALL ? PARITY_BUNDLE : PARITY_ACROSS;
}

/* Shards of a full group: enough of them that a group heals several losses, and the members that belong to them at this percentage. */
static unsigned shards_of_full(unsigned percent)
{
	unsigned n = percent * 2 / 3;
	return n < 2 ? 2 : n > PARITY_SHARDS_MAX ? PARITY_SHARDS_MAX : n;
}

static size_t capacity(enum class class, unsigned percent)
{
	return form_of(class) == PARITY_BUNDLE ? PARITY_BUNDLE_MEMBERS_MAX : shards_of_full(percent) * 100 / percent;
}

static unsigned shards_for(enum class class, unsigned percent, size_t count)
{
	if (form_of(class) == PARITY_BUNDLE)
		return BUNDLE_SHARDS;
	unsigned n = (unsigned)((count * percent + 99) / 100);
	return n < 1 ? 1 : n > PARITY_SHARDS_MAX ? PARITY_SHARDS_MAX : n;
}

/* --- what is there ------------------------------------------------------------------------------- */

static int note_object(void *cookie, const char *key, uint64_t size)
{
	struct parity_object o = { .size = size };
	/* Empty or too large: damage, which check names. */
	if (!parity_covers(key) || !size || size > PARITY_MEMBER_MAX)
		return 0;
	o.name = strdup(key);
	if (!o.name)
		((struct buf *)cookie)->failed = true;
	else
		buf_add(cookie, &o, sizeof o);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct parity_object *)a)->name, ((const struct parity_object *)b)->name);
}

static int list_objects(struct adding *a, struct error *err)
{
	struct store *store = a->repo->store;
	CLEAN_BUF struct buf list = BUF_INIT;
	int done = store->ops->list(store, "", note_object, &list, err);
	a->object_count = list.len / sizeof *a->objects;
	a->objects = (void *)list.data;
	bool ok = buf_ok(&list);
	list = (struct buf)BUF_INIT;
	if (done < 0)
		return error_add(err, "list objects");
	a->covers = calloc(a->object_count + 1, sizeof *a->covers);
	a->damaged = calloc(a->object_count + 1, sizeof *a->damaged);
	a->keep = calloc(a->set.count + 1, sizeof *a->keep);
	a->hold = calloc(a->set.count + 1, sizeof *a->hold);
	if (!ok || !a->covers || !a->damaged || !a->keep || !a->hold)
		return error_set(err, ERR_NOMEM, "make parity: out of memory");
	if (a->object_count)
		qsort(a->objects, a->object_count, sizeof *a->objects, by_name);
	return 0;
}

static const struct parity_object *find_object(const struct adding *a, const char *name)
{
	const struct parity_object wanted = { .name = (char *)(uintptr_t)name };
	return a->object_count ? bsearch(&wanted, a->objects, a->object_count, sizeof wanted, by_name) : NULL;
}

/* The object, if it is there as the group knows it. */
static const struct parity_object *object_of(const struct adding *a, const struct parity_ref *ref)
{
	const struct parity_object *o = find_object(a, ref->name);
	return o && o->size == ref->size ? o : NULL;
}

/* --- which groups stay ------------------------------------------------------------------------------ */

static void count_members(struct adding *a, size_t group, int change)
{
	const struct parity_group *g = &a->set.groups[group];
	for (size_t i = 0; i < g->count; i++) {
		const struct parity_object *o = object_of(a, &a->set.members[g->first + i]);
		if (o)
			a->covers[o - a->objects] += (uint32_t)change;
	}
	a->keep[group] = change > 0;
}

static bool is_whole(const struct adding *a, const struct parity_group *g)
{
	const struct parity_ref *first = &a->set.members[g->first];
	if (g->head.percent != a->percent || !g->count || parity_shards_there(g) < g->head.shards)
		return false;
	/* The keys' bundle says for all whether backups go on with it. */
	if (g->head.automatic != a->automatic && class_of(first->name, first->size) == CLASS_KEYS)
		return false;
	for (size_t i = 0; i < g->count; i++)
		if (!object_of(a, &a->set.members[g->first + i]))
			return false;
	return true;
}

/* A group all of whose members are in others too: two runs at the same time, or one that was cut off. */
static bool is_double(const struct adding *a, const struct parity_group *g)
{
	for (size_t i = 0; i < g->count; i++)
		if (a->covers[object_of(a, &a->set.members[g->first + i]) - a->objects] < 2)
			return false;
	return true;
}

static void choose_groups(struct adding *a)
{
	for (size_t i = 0; i < a->set.count; i++)
		if (is_whole(a, &a->set.groups[i]))
			count_members(a, i, 1);
	for (size_t i = 0; i < a->set.count; i++)
		if (a->keep[i] && is_double(a, &a->set.groups[i]))
			count_members(a, i, -1);
}

/* A member that is gone was removed, or lost. Lost is what has another size, a pack that the index still names, and the header: then the group stays until repair has healed it. */
static int hold_groups(struct adding *a, struct error *err)
{
	CLEAN_BUF struct buf packs = BUF_INIT;
	if (repo_load_index(a->repo, err) < 0 || index_packs(a->repo->index, &packs, err) < 0)
		return -1;
	for (size_t i = 0; i < a->set.member_count; i++) {
		const struct parity_ref *ref = &a->set.members[i];
		struct id id;
		if (object_of(a, ref))
			continue;
		bool is_pack = strncmp(ref->name, "packs/", 6) == 0 && object_id_of_key(ref->name, &id);
		a->hold[ref->group] |= find_object(a, ref->name) || strcmp(ref->name, "twofold") == 0 || (is_pack && ids_have(&packs, &id));
	}
	return 0;
}

static size_t count_bare(const struct adding *a, enum class class)
{
	size_t n = 0;
	for (size_t i = 0; i < a->object_count; i++)
		n += !a->covers[i] && class_of(a->objects[i].name, a->objects[i].size) == class;
	return n;
}

/* The smallest group of the class that is kept and has room; SIZE_MAX: none. */
static size_t smallest_group(const struct adding *a, enum class class)
{
	size_t best = SIZE_MAX;
	for (size_t i = 0; i < a->set.count; i++) {
		const struct parity_group *g = &a->set.groups[i];
		const struct parity_ref *first = &a->set.members[g->first];
		if (a->keep[i] && class_of(first->name, first->size) == class && g->count < capacity(class, a->percent) &&
		    (best == SIZE_MAX || g->count < a->set.groups[best].count))
			best = i;
	}
	return best;
}

/* Groups that are not larger than what is new are formed anew together with it: so small ones do not add up, and a pack is read again a few times in its life, no more. */
static void absorb_small_groups(struct adding *a, enum class class)
{
	for (size_t bare = count_bare(a, class); bare;) {
		size_t group = smallest_group(a, class);
		if (group == SIZE_MAX || a->set.groups[group].count > bare)
			return;
		bare += a->set.groups[group].count;
		count_members(a, group, -1);
	}
}

/* --- new groups ----------------------------------------------------------------------------------------- */

static int larger_first(const void *a, const void *b)
{
	const struct parity_object *x = *(const struct parity_object *const *)a, *y = *(const struct parity_object *const *)b;
	return x->size != y->size ? (x->size < y->size ? 1 : -1) : strcmp(x->name, y->name);
}

static int name_first(const void *a, const void *b)
{
	return strcmp((*(const struct parity_object *const *)a)->name, (*(const struct parity_object *const *)b)->name);
}

/* How many of the objects make the next group. */
static size_t take_group(const struct adding *a, enum class class, const struct parity_object *const *objects, size_t count)
{
	size_t n = 0, most = capacity(class, a->percent);
	uint64_t bytes = 0;
	while (n < count && n < most && (form_of(class) == PARITY_ACROSS || !n || bytes + objects[n]->size <= BUNDLE_BYTES))
		bytes += objects[n++]->size;
	return n;
}

static void note_left_out(void *cookie, const char *name, const struct error *why)
{
	struct adding *a = cookie;
	a->damaged[find_object(a, name) - a->objects] = true;
	if (a->options->left_out)
		a->options->left_out(a->options->cookie, name, why);
}

static int make_groups(struct adding *a, enum class class, struct error *err)
{
	size_t count = 0;
	struct parity_options options = *a->options;
	options.left_out = note_left_out;
	options.cookie = a;
	CLEAN_FREE const struct parity_object **objects = calloc(a->object_count + 1, sizeof *objects);
	if (!objects)
		return error_set(err, ERR_NOMEM, "make parity: out of memory");
	for (size_t i = 0; i < a->object_count; i++)
		if (!a->covers[i] && class_of(a->objects[i].name, a->objects[i].size) == class) {
			objects[count++] = &a->objects[i];
			progress_add_total(a->options->progress, 1, a->objects[i].size);
		}
	/* A shard is as long as the longest member: those of like size stand together. */
	qsort(objects, count, sizeof *objects, larger_first);
	for (size_t at = 0, n; at < count; at += n) {
		n = take_group(a, class, objects + at, count - at);
		qsort(objects + at, n, sizeof *objects, name_first);
		if (parity_make_group(a->repo, &options, form_of(class), shards_for(class, a->percent, n), a->percent, a->automatic, objects + at, n, a->report, err) < 0)
			return -1;
	}
	return 0;
}

static int remove_object(struct adding *a, const struct id *id, struct error *err)
{
	struct store *store = a->repo->store;
	char hex[ID_HEX_SIZE], key[OBJECT_KEY_MAX];
	id_to_hex(id, hex);
	snprintf(key, sizeof key, "parity/%s", hex);
	return store->ops->remove(store, key, err);
}

static int remove_old(struct adding *a, struct error *err)
{
	for (size_t i = 0; i < a->set.count; i++) {
		const struct parity_group *g = &a->set.groups[i];
		if (a->keep[i])
			continue;
		for (size_t m = 0; m < g->count; m++) {
			const struct parity_object *o = find_object(a, a->set.members[g->first + m].name);
			a->hold[i] |= o && a->damaged[o - a->objects];
		}
		if (a->hold[i]) {
			a->report->groups_held++;
			continue;
		}
		a->report->groups_removed++;
		for (unsigned k = 0; k < g->head.shards; k++)
			if (g->have[k] && remove_object(a, &g->shards[k], err) < 0)
				return -1;
	}
	for (size_t i = 0; i < a->set.damaged_count; i++)
		if (remove_object(a, &a->set.damaged[i], err) < 0)
			return -1;
	return 0;
}

int parity_add(struct repo *r, const struct parity_options *options, struct parity_report *ret, struct error *err)
{
	struct parity_report report = { 0 };
	CLEAN(adding_done) struct adding a = { .repo = r, .options = options, .report = &report, .percent = options->percent, .automatic = options->automatic };
	if (parity_load(&a.set, r->store, err) < 0)
		return -1;
	for (size_t i = 0; i < a.set.count; i++) {
		a.automatic |= a.set.groups[i].head.automatic;
		if (!options->percent && a.set.groups[i].head.percent > a.percent)
			a.percent = a.set.groups[i].head.percent;
	}
	if (!a.percent)
		a.percent = PARITY_PERCENT;
	if (list_objects(&a, err) < 0 || hold_groups(&a, err) < 0)
		return -1;
	choose_groups(&a);
	for (enum class class = 0; class < CLASSES; class++) {
		absorb_small_groups(&a, class);
		if (make_groups(&a, class, err) < 0)
			return error_add(err, "make parity");
	}
	if (remove_old(&a, err) < 0)
		return error_add(err, "remove old parity");
	*ret = report;
	return 0;
}
