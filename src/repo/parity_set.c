/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which parity objects there are, and what they protect. */
#include <stdio.h>
#include <stdlib.h>

#include "repo/object.h"
#include "repo/parity.h"

/* --- one parity object ------------------------------------------------------------------- */

static void parity_key(const struct id *id, char ret[OBJECT_KEY_MAX])
{
	char hex[ID_HEX_SIZE];
	id_to_hex(id, hex);
	snprintf(ret, OBJECT_KEY_MAX, "parity/%s", hex);
}

/* Either of the two heads. */
static int read_head(struct store *store, const char *key, uint64_t size, struct parity_head *ret, struct error *err)
{
	uint8_t bytes[PARITY_HEAD_SIZE];
	const uint64_t back[2] = { PARITY_HEAD_SIZE, PARITY_HEAD_SIZE + PARITY_GAP + PARITY_HEAD_SIZE };
	struct error why = { 0 };
	for (int i = 0; i < 2; i++) {
		if (size < back[i]) {
			error_set(&why, ERR_CORRUPT, "%s is cut short (%llu bytes)", key, (unsigned long long)size);
			continue;
		}
		if (store->ops->get(store, key, size - back[i], bytes, sizeof bytes, &why) < 0 || parity_head_decode(ret, bytes, &why) < 0)
			continue;
		if (parity_object_size(ret) == size)
			return 0;
		error_set(&why, ERR_CORRUPT, "%s has %llu bytes, its head says %llu", key, (unsigned long long)size, (unsigned long long)parity_object_size(ret));
	}
	if (err)
		*err = why;
	return -1;
}

static int read_table(struct store *store, const char *key, const struct parity_head *h, struct parity_table *ret, struct buf *bytes, struct error *err)
{
	struct error why = { 0 };
	for (unsigned copy = 0; copy < 2; copy++) {
		uint8_t sum[PARITY_SUM_SIZE];
		buf_clear(bytes);
		if (!buf_reserve(bytes, h->table_length))
			return error_set(err, ERR_NOMEM, "read %s: out of memory", key);
		if (store->ops->get(store, key, parity_table_at(h, copy), bytes->data, h->table_length, &why) < 0)
			continue;
		seal_checksum(bytes->data, h->table_length, sum);
		if (memcmp(sum, h->table_sum, sizeof sum) != 0)
			error_set(&why, ERR_CORRUPT, "the table of %s is damaged", key);
		else if (parity_table_decode(ret, h, bytes->data, h->table_length, &why) == 0)
			return 0;
	}
	if (err)
		*err = why;
	return -1;
}

int parity_read_table(struct store *store, const struct parity_group *g, struct parity_table *ret, struct buf *bytes, struct error *err)
{
	struct error why = { 0 };
	error_set(&why, ERR_NOT_FOUND, "no shard of the group is there");
	for (unsigned k = 0; k < g->head.shards; k++) {
		char key[OBJECT_KEY_MAX];
		parity_key(&g->shards[k], key);
		if (g->have[k] && read_table(store, key, &g->head, ret, bytes, &why) == 0)
			return 0;
	}
	if (err)
		*err = why;
	return -1;
}

unsigned parity_shards_there(const struct parity_group *g)
{
	unsigned n = 0;
	for (unsigned k = 0; k < g->head.shards; k++)
		n += g->have[k];
	return n;
}

/* --- all of them ----------------------------------------------------------------------------- */

struct listed {
	struct id id;
	uint64_t size;
};

static int note_object(void *cookie, const char *key, uint64_t size)
{
	struct listed l = { .size = size };
	if (object_id_of_key(key, &l.id))
		buf_add(cookie, &l, sizeof l);
	return 0;
}

/* Room for one more item of an array: its capacity is the power of two from 16 up. */
static int grow(void **items, size_t count, size_t size)
{
	if (count && (count < 16 || (count & (count - 1))))
		return 0;
	void *grown = realloc(*items, (count < 16 ? 16 : 2 * count) * size);
	if (!grown)
		return -1;
	*items = grown;
	return 0;
}

#define GROW(array, count, err) \
	({ \
		void *items_ = (array); \
		int grown_ = grow(&items_, count, sizeof *(array)); \
		(array) = items_; \
		grown_ < 0 ? error_set(err, ERR_NOMEM, "read parity: out of memory") : 0; \
	})

static bool same_group(const struct parity_head *a, const struct parity_head *b)
{
	return memcmp(a->table_sum, b->table_sum, sizeof a->table_sum) == 0 && a->form == b->form && a->shards == b->shards && a->length == b->length &&
	       a->table_length == b->table_length;
}

static struct parity_group *group_of(struct parity_set *s, const struct parity_head *h, struct error *err)
{
	for (size_t i = s->count; i-- > 0;)
		if (same_group(&s->groups[i].head, h))
			return &s->groups[i];
	if (GROW(s->groups, s->count, err) < 0)
		return NULL;
	struct parity_group *g = &s->groups[s->count++];
	*g = (struct parity_group){ .head = *h };
	return g;
}

static int add_damaged(struct parity_set *s, const struct id *id, const struct error *why, struct error *err)
{
	if (GROW(s->damaged, s->damaged_count, err) < 0)
		return -1;
	s->damaged[s->damaged_count++] = *id;
	error_keep_first(&s->first_error, why);
	return 0;
}

static int take_object(struct parity_set *s, struct store *store, const struct listed *l, struct error *err)
{
	struct parity_head h;
	struct error why = { 0 };
	char key[OBJECT_KEY_MAX];
	parity_key(&l->id, key);
	s->bytes += l->size;
	s->objects++;
	if (read_head(store, key, l->size, &h, &why) < 0)
		return why.kind == ERR_NOT_FOUND     ? 0
		       : why.kind == ERR_UNSUPPORTED ? error_set(err, why.kind, "%s: %s; use a newer twofold", key, why.text)
		                                     : add_damaged(s, &l->id, &why, err);
	struct parity_group *g = group_of(s, &h, err);
	if (!g)
		return -1;
	if (g->have[h.shard]) /* the same shard a second time: of no use */
		return 0;
	g->shards[h.shard] = l->id;
	g->have[h.shard] = true;
	return 0;
}

static int take_members(struct parity_set *s, struct store *store, size_t group, struct error *err)
{
	struct parity_group *g = &s->groups[group];
	CLEAN(parity_table_done) struct parity_table table = { 0 };
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct error why = { 0 };
	g->first = s->member_count;
	if (parity_read_table(store, g, &table, &bytes, &why) < 0) {
		for (unsigned k = 0; k < g->head.shards; k++)
			if (g->have[k] && add_damaged(s, &g->shards[k], &why, err) < 0)
				return -1;
		memset(g->have, 0, sizeof g->have);
		return 0;
	}
	for (size_t i = 0; i < table.count; i++) {
		char *name = strdup(table.members[i].name);
		if (!name || GROW(s->members, s->member_count, err) < 0) {
			free(name);
			return error_set(err, ERR_NOMEM, "read parity: out of memory");
		}
		s->members[s->member_count++] = (struct parity_ref){ name, table.members[i].size, (uint32_t)group, (uint32_t)i };
	}
	g->count = table.count;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct parity_ref *x = *(const struct parity_ref *const *)a, *y = *(const struct parity_ref *const *)b;
	int c = strcmp(x->name, y->name);
	return c ? c : (x->group > y->group) - (x->group < y->group);
}

void parity_set_done(struct parity_set *s)
{
	for (size_t i = 0; i < s->member_count; i++)
		free(s->members[i].name);
	free(s->groups);
	free(s->members);
	free(s->by_name);
	free(s->damaged);
	*s = (struct parity_set){ 0 };
}

int parity_load(struct parity_set *ret, struct store *store, struct error *err)
{
	CLEAN(parity_set_done) struct parity_set s = { 0 };
	CLEAN_BUF struct buf list = BUF_INIT;
	if (store->ops->list(store, "parity/", note_object, &list, err) < 0)
		return error_add(err, "list parity");
	if (!buf_ok(&list))
		return error_set(err, ERR_NOMEM, "list parity: out of memory");
	const struct listed *items = (const void *)list.data;
	for (size_t i = 0; i < list.len / sizeof *items; i++)
		if (take_object(&s, store, &items[i], err) < 0)
			return -1;
	for (size_t i = 0; i < s.count; i++)
		if (take_members(&s, store, i, err) < 0)
			return -1;
	s.by_name = calloc(s.member_count + 1, sizeof *s.by_name);
	if (!s.by_name)
		return error_set(err, ERR_NOMEM, "read parity: out of memory");
	for (size_t i = 0; i < s.member_count; i++)
		s.by_name[i] = &s.members[i];
	qsort(s.by_name, s.member_count, sizeof *s.by_name, by_name);
	*ret = s;
	s = (struct parity_set){ 0 };
	return 0;
}

int parity_is_automatic(struct store *store, bool *ret, struct error *err)
{
	CLEAN_BUF struct buf list = BUF_INIT;
	bool automatic = false;
	if (store->ops->list(store, "parity/", note_object, &list, err) < 0)
		return error_add(err, "list parity");
	const struct listed *items = (const void *)list.data;
	for (size_t i = 0; !automatic && i < list.len / sizeof *items; i++) {
		struct parity_head h;
		char key[OBJECT_KEY_MAX];
		parity_key(&items[i].id, key);
		if (read_head(store, key, items[i].size, &h, NULL) == 0)
			automatic = h.automatic;
	}
	*ret = automatic;
	return buf_ok(&list) ? 0 : error_set(err, ERR_NOMEM, "list parity: out of memory");
}

const struct parity_ref *const *parity_find(const struct parity_set *s, const char *name, size_t *ret_count)
{
	size_t low = 0, high = s->member_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(s->by_name[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	size_t end = low;
	while (end < s->member_count && strcmp(s->by_name[end]->name, name) == 0)
		end++;
	*ret_count = end - low;
	return end > low ? &s->by_name[low] : NULL;
}

int parity_remove(struct store *store, uint64_t *ret, struct error *err)
{
	CLEAN_BUF struct buf list = BUF_INIT;
	if (store->ops->list(store, "parity/", note_object, &list, err) < 0)
		return error_add(err, "list parity");
	const struct listed *items = (const void *)list.data;
	for (size_t i = 0; i < list.len / sizeof *items; i++) {
		char key[OBJECT_KEY_MAX];
		parity_key(&items[i].id, key);
		if (store->ops->remove(store, key, err) < 0)
			return error_add(err, "remove parity");
	}
	*ret = list.len / sizeof *items;
	return buf_ok(&list) ? 0 : error_set(err, ERR_NOMEM, "list parity: out of memory");
}

int parity_forget(struct store *store, const char *name, uint64_t *ret, struct error *err)
{
	CLEAN(parity_set_done) struct parity_set set = { 0 };
	size_t count;
	*ret = 0;
	if (parity_load(&set, store, err) < 0)
		return -1;
	const struct parity_ref *const *refs = parity_find(&set, name, &count);
	for (size_t i = 0; i < count; i++) {
		const struct parity_group *g = &set.groups[refs[i]->group];
		for (unsigned k = 0; k < g->head.shards; k++) {
			char key[OBJECT_KEY_MAX];
			parity_key(&g->shards[k], key);
			if (g->have[k] && store->ops->remove(store, key, err) < 0)
				return error_add(err, "remove parity");
			*ret += g->have[k];
		}
	}
	return 0;
}

/* --- status ----------------------------------------------------------------------------------- */

struct counting {
	const struct parity_set *set;
	struct parity_status *status;
	bool *there;               /* by member: listed, with the size that the group knows */
};

static int note_there(void *cookie, const char *name, uint64_t size)
{
	struct counting *c = cookie;
	size_t count;
	if (!parity_covers(name))
		return 0;
	const struct parity_ref *const *refs = parity_find(c->set, name, &count);
	for (size_t i = 0; i < count; i++)
		c->there[refs[i] - c->set->members] = refs[i]->size == size;
	return 0;
}

/* 2: in a whole group; 1: in one that can heal all that it misses; 0: in none. */
static int how_safe(const struct counting *c, const struct parity_ref *ref)
{
	const struct parity_group *g = &c->set->groups[ref->group];
	size_t missing = 0;
	unsigned shards = parity_shards_there(g);
	for (size_t i = 0; i < g->count; i++)
		missing += !c->there[g->first + i];
	if (!missing && shards == g->head.shards)
		return 2;
	return g->head.form == PARITY_BUNDLE ? shards > 0 : missing < shards;
}

static int note_safety(void *cookie, const char *name, uint64_t size)
{
	struct counting *c = cookie;
	struct parity_status *s = c->status;
	size_t count;
	int best = 0;
	if (!parity_covers(name))
		return 0;
	const struct parity_ref *const *refs = parity_find(c->set, name, &count);
	for (size_t i = 0; i < count; i++) {
		int safe = refs[i]->size == size ? how_safe(c, refs[i]) : 0;
		best = safe > best ? safe : best;
	}
	s->objects++;
	s->bytes += size;
	*(best == 2 ? &s->whole_objects : best == 1 ? &s->weak_objects : &s->bare_objects) += 1;
	*(best == 2 ? &s->whole_bytes : best == 1 ? &s->weak_bytes : &s->bare_bytes) += size;
	return 0;
}

int parity_status(struct store *store, struct parity_status *ret, struct error *err)
{
	CLEAN(parity_set_done) struct parity_set set = { 0 };
	struct parity_status s = { 0 };
	if (parity_load(&set, store, err) < 0)
		return -1;
	CLEAN_FREE bool *there = calloc(set.member_count + 1, sizeof *there);
	if (!there)
		return error_set(err, ERR_NOMEM, "read parity: out of memory");
	struct counting c = { &set, &s, there };
	if (store->ops->list(store, "", note_there, &c, err) < 0 || store->ops->list(store, "", note_safety, &c, err) < 0)
		return error_add(err, "list objects");
	for (size_t i = 0; i < set.member_count; i++)
		s.gone += !there[i];
	for (size_t i = 0; i < set.count; i++) {
		if (set.groups[i].head.percent > s.percent)
			s.percent = set.groups[i].head.percent;
		s.automatic |= set.groups[i].head.automatic;
	}
	s.groups = set.count;
	s.parity_objects = set.objects;
	s.parity_bytes = set.bytes;
	s.damaged = set.damaged_count;
	*ret = s;
	return 0;
}
