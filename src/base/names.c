/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/names.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 256u
#define ENTRIES_MAX 65536u          /* of one table: names come from snapshots too, which may hold anything */
#define ANSWER_MAX (1u << 20)       /* bytes of one answer of the system (a group brings all of its members) */

enum table_kind { USERS, GROUPS, TABLES };

/* One answer. In by_id name is NULL where the number has none; in by_name known is false where the name has none. */
struct entry {
	struct entry *next;
	bool known;
	uint32_t id;
	char *name;
};

struct table {
	struct entry *by_id[BUCKETS];
	struct entry *by_name[BUCKETS];
	unsigned count;
};

struct names {
	pthread_rwlock_t lock; /* guards the chains; entries themselves never change until names_free */
	struct table tables[TABLES];
};

int names_new(struct names **ret, struct error *err)
{
	struct names *n = calloc(1, sizeof *n);
	if (!n)
		return error_set(err, ERR_NOMEM, "make a table of user names: out of memory");
	pthread_rwlock_init(&n->lock, NULL);
	*ret = n;
	return 0;
}

static void free_chains(struct entry *const *buckets)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct entry *e = buckets[i], *next; e; e = next) {
			next = e->next;
			free(e->name);
			free(e);
		}
}

void names_free(struct names *n)
{
	if (!n)
		return;
	for (int i = 0; i < TABLES; i++) {
		free_chains(n->tables[i].by_id);
		free_chains(n->tables[i].by_name);
	}
	pthread_rwlock_destroy(&n->lock);
	free(n);
}

static unsigned bucket_of_id(uint32_t id)
{
	return (id * 2654435761u) >> 24;
}

static unsigned bucket_of_name(const char *name)
{
	uint32_t hash = 2166136261u;
	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 16777619u;
	return (hash ^ hash >> 16) % BUCKETS;
}

static const struct entry *find(struct names *n, struct entry *const *bucket, uint32_t id, const char *name)
{
	pthread_rwlock_rdlock(&n->lock);
	const struct entry *e = *bucket;
	while (e && (name ? strcmp(e->name, name) != 0 : e->id != id))
		e = e->next;
	pthread_rwlock_unlock(&n->lock);
	return e;
}

/* Puts e in front of its chain; false when the table is full. */
static bool keep(struct names *n, struct table *t, struct entry **bucket, struct entry *e)
{
	pthread_rwlock_wrlock(&n->lock);
	bool room = t->count < ENTRIES_MAX;
	if (room) {
		t->count++;
		e->next = *bucket;
		*bucket = e;
	}
	pthread_rwlock_unlock(&n->lock);
	return room;
}

/* Asks the system with a buffer of size bytes. 0, or an errno; on 0 *ret_known says whether there is an answer. */
static int ask(enum table_kind kind, char *buffer, size_t size, const char *name, uint32_t id, bool *ret_known, const char **ret_name,
               uint32_t *ret_id)
{
	int sys;
	if (kind == USERS) {
		struct passwd pw, *found = NULL;
		sys = name ? getpwnam_r(name, &pw, buffer, size, &found) : getpwuid_r(id, &pw, buffer, size, &found);
		*ret_known = found;
		if (found)
			*ret_name = found->pw_name, *ret_id = found->pw_uid;
	} else {
		struct group gr, *found = NULL;
		sys = name ? getgrnam_r(name, &gr, buffer, size, &found) : getgrgid_r(id, &gr, buffer, size, &found);
		*ret_known = found;
		if (found)
			*ret_name = found->gr_name, *ret_id = found->gr_gid;
	}
	return sys;
}

/* The system's answer as a new entry; NULL when memory is out. Errors count as "unknown": nothing better can be done. */
static struct entry *look_up(enum table_kind kind, const char *name, uint32_t id)
{
	struct entry *e = calloc(1, sizeof *e);
	if (!e)
		return NULL;
	e->id = id;
	for (size_t size = 1024; size <= ANSWER_MAX; size *= 4) {
		CLEAN_FREE char *buffer = malloc(size);
		const char *answer = NULL;
		int sys = buffer ? ask(kind, buffer, size, name, id, &e->known, &answer, &e->id) : ENOMEM;
		if (sys == ERANGE || sys == EINTR)
			continue;
		if (!sys && e->known && !name)
			e->name = strdup(answer);
		break;
	}
	if (name)
		e->name = strdup(name);
	if (!e->name && (name || e->known)) {
		free(e);
		return NULL;
	}
	return e;
}

static const char *name_of(struct names *n, enum table_kind kind, uint32_t id)
{
	struct table *t = &n->tables[kind];
	struct entry **bucket = &t->by_id[bucket_of_id(id)];
	const struct entry *e = find(n, bucket, id, NULL);
	if (e)
		return e->name;
	struct entry *fresh = look_up(kind, NULL, id);
	if (!fresh)
		return NULL;
	if (keep(n, t, bucket, fresh))
		return fresh->name;
	free(fresh->name);
	free(fresh);
	return NULL;
}

static bool id_of(struct names *n, enum table_kind kind, const char *name, uint32_t *ret)
{
	struct table *t = &n->tables[kind];
	struct entry **bucket = &t->by_name[bucket_of_name(name)];
	const struct entry *e = find(n, bucket, 0, name);
	struct entry *fresh = NULL;
	if (!e) {
		fresh = look_up(kind, name, 0);
		e = fresh;
	}
	bool known = e && e->known;
	if (known)
		*ret = e->id;
	if (fresh && !keep(n, t, bucket, fresh)) {
		free(fresh->name);
		free(fresh);
	}
	return known;
}

const char *names_user(struct names *n, uint32_t uid)
{
	return name_of(n, USERS, uid);
}

const char *names_group(struct names *n, uint32_t gid)
{
	return name_of(n, GROUPS, gid);
}

bool names_uid(struct names *n, const char *user, uint32_t *ret)
{
	return id_of(n, USERS, user, ret);
}

bool names_gid(struct names *n, const char *group, uint32_t *ret)
{
	return id_of(n, GROUPS, group, ret);
}
