/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A folder of a server as a store, by SFTP through the ssh program. An object is a file of its key's name, as in a local folder: either kind of store can open what
 * the other wrote.
 *
 * Objects that are read stay open on the server (slots); what the server calls them dies with the connection.
 */
#include "store/sftp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "store/retry.h"
#include "store/sftp_request.h"

/* --- the connection ----------------------------------------------------------------- */

int sftp_link(struct sftp *s, struct sftp_conn **ret, struct error *err)
{
	struct sftp_conn *c = NULL, *old = NULL;
	pthread_mutex_lock(&s->connecting);
	pthread_mutex_lock(&s->lock);
	if (s->conn && sftp_conn_dead(s->conn))
		old = TAKE(s->conn);
	else if (s->conn)
		c = sftp_conn_ref(s->conn);
	pthread_mutex_unlock(&s->lock);
	int result = 0;
	if (!c) {
		sftp_conn_unref(old);
		result = sftp_conn_open(&c, &s->where, s->base.location, s->timeout, err);
		pthread_mutex_lock(&s->lock);
		if (result == 0)
			s->conn = sftp_conn_ref(c);
		pthread_mutex_unlock(&s->lock);
	}
	pthread_mutex_unlock(&s->connecting);
	if (result == 0)
		*ret = c;
	return result;
}

/* --- objects that are open for reading ------------------------------------------------- */

struct open_object {
	int slot; /* -1: in no slot */
	struct sftp_conn *conn;
	struct sftp_handle handle;
};

/* Empties a slot that nobody uses. With the lock. What is to be closed goes out through ret. */
static void take_out(struct sftp_slot *slot, struct open_object *ret)
{
	free(slot->key);
	*ret = (struct open_object){ -1, slot->conn, slot->handle };
	*slot = (struct sftp_slot){ 0 };
}

static void close_object(struct open_object *o)
{
	if (!o->conn)
		return;
	sftp_close_handle(o->conn, &o->handle);
	sftp_conn_unref(TAKE(o->conn));
}

static bool find_open(struct sftp *s, struct sftp_conn *c, const char *key, struct open_object *ret)
{
	bool found = false;
	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < SFTP_OPEN_SLOTS && !found; i++) {
		struct sftp_slot *slot = &s->slots[i];
		if (slot->conn != c || !slot->key || strcmp(slot->key, key) != 0)
			continue;
		slot->users++;
		slot->used = ++s->clock;
		*ret = (struct open_object){ i, NULL, slot->handle };
		found = true;
	}
	pthread_mutex_unlock(&s->lock);
	return found;
}

/* Keeps the handle in the slot that was not used for longest; what was there is closed. Where all are in use o stays on its own. */
static void keep_open(struct sftp *s, struct sftp_conn *c, const char *key, struct open_object *o)
{
	struct open_object old = { -1, NULL, { { 0 }, 0 } };
	char *name = strdup(key);
	int best = -1;
	o->slot = -1;
	pthread_mutex_lock(&s->lock);
	for (int i = 0; name && i < SFTP_OPEN_SLOTS; i++)
		if (!s->slots[i].users && (best < 0 || s->slots[i].used < s->slots[best].used))
			best = i;
	if (best >= 0) {
		take_out(&s->slots[best], &old);
		s->slots[best] = (struct sftp_slot){ TAKE(name), sftp_conn_ref(c), o->handle, 1, ++s->clock };
		o->slot = best;
	}
	pthread_mutex_unlock(&s->lock);
	free(name);
	close_object(&old);
}

static void release(struct sftp *s, struct sftp_conn *c, struct open_object *o)
{
	struct open_object old = { -1, NULL, { { 0 }, 0 } };
	if (o->slot < 0) {
		sftp_close_handle(c, &o->handle);
		return;
	}
	pthread_mutex_lock(&s->lock);
	struct sftp_slot *slot = &s->slots[o->slot];
	if (--slot->users == 0 && !slot->key)
		take_out(slot, &old);
	pthread_mutex_unlock(&s->lock);
	close_object(&old);
}

/* The object was removed: the next reader must not find it. */
void sftp_forget(struct sftp *s, const char *key)
{
	struct open_object old = { -1, NULL, { { 0 }, 0 } };
	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < SFTP_OPEN_SLOTS; i++) {
		struct sftp_slot *slot = &s->slots[i];
		if (!slot->key || strcmp(slot->key, key) != 0)
			continue;
		if (slot->users) {
			free(TAKE(slot->key));
		} else {
			take_out(slot, &old);
			break;
		}
	}
	pthread_mutex_unlock(&s->lock);
	close_object(&old);
}

static int open_for_reading(struct sftp *s, struct sftp_conn *c, const char *key, struct open_object *ret, struct error *err)
{
	CLEAN_FREE char *path = sftp_path(s, key);
	struct sftp_request r = { 0 };
	uint32_t code;
	sftp_ask_open(c, &r, path, SFTP_OPEN_READ, 0);
	ret->conn = NULL;
	if (sftp_expect_handle(s, c, &r, &ret->handle, "read", key, &code, err) == 0) {
		keep_open(s, c, key, ret);
		return 0;
	}
	return code == SFTP_NO_SUCH_FILE ? error_set(err, ERR_NOT_FOUND, "read %s/%s: there is no such object", s->base.location, key) : -1;
}

static int sftp_get(struct store *st, const char *key, uint64_t offset, void *data, size_t len, struct error *err)
{
	struct sftp *s = sftp_of(st);
	CLEAN_CONN struct sftp_conn *c = NULL;
	struct open_object o;
	if (store_check_key(st, key, err) < 0 || sftp_link(s, &c, err) < 0)
		return -1;
	if (!find_open(s, c, key, &o) && open_for_reading(s, c, key, &o, err) < 0)
		return -1;
	int result = sftp_fetch(s, c, &o.handle, key, offset, data, len, err);
	release(s, c, &o);
	return result;
}

/* A whole small object, which nobody reads again soon. */
static int sftp_read(struct store *st, const char *key, size_t max, struct buf *ret, struct error *err)
{
	struct sftp *s = sftp_of(st);
	CLEAN_CONN struct sftp_conn *c = NULL;
	if (store_check_key(st, key, err) < 0 || sftp_link(s, &c, err) < 0)
		return -1;
	CLEAN_FREE char *path = sftp_path(s, key);
	struct sftp_request opened = { 0 };
	struct sftp_handle handle = { 0 };
	uint32_t code;
	sftp_ask_open(c, &opened, path, SFTP_OPEN_READ, 0);
	if (sftp_expect_handle(s, c, &opened, &handle, "read", key, &code, err) < 0)
		return code == SFTP_NO_SUCH_FILE ? error_set(err, ERR_NOT_FOUND, "read %s/%s: there is no such object", st->location, key) : -1;
	int result = sftp_fetch_whole(s, c, &handle, key, max, ret, err);
	sftp_close_handle(c, &handle);
	return result;
}

/* --- one question, one answer ------------------------------------------------------------ */

static int sftp_stat(struct store *st, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err)
{
	struct sftp *s = sftp_of(st);
	CLEAN_CONN struct sftp_conn *c = NULL;
	if (store_check_key(st, key, err) < 0 || sftp_link(s, &c, err) < 0)
		return -1;
	CLEAN_FREE char *path = sftp_path(s, key);
	struct sftp_request r = { 0 };
	struct sftp_attrs attrs;
	uint32_t code;
	sftp_ask_path(c, &r, SFTP_LSTAT, path);
	int result = sftp_expect_attrs(s, c, &r, &attrs, "look for", key, &code, err);
	if (result < 0 && code != SFTP_NO_SUCH_FILE)
		return -1;
	if (result == 0 && (!attrs.has_size || (attrs.has_mode && !S_ISREG(attrs.mode))))
		return error_set(err, ERR_CORRUPT, "look for %s/%s: it is not a file", st->location, key);
	*ret_found = result == 0;
	*ret_size = result == 0 ? attrs.size : 0;
	return 0;
}

static int sftp_remove(struct store *st, const char *key, struct error *err)
{
	struct sftp *s = sftp_of(st);
	CLEAN_CONN struct sftp_conn *c = NULL;
	if (store_check_key(st, key, err) < 0 || sftp_link(s, &c, err) < 0)
		return -1;
	CLEAN_FREE char *path = sftp_path(s, key);
	struct sftp_request r = { 0 };
	uint32_t code;
	sftp_ask_path(c, &r, SFTP_REMOVE, path);
	int result = sftp_expect_ok(s, c, &r, "remove", key, &code, err);
	if (result < 0 && code == SFTP_PERMISSION_DENIED)
		return error_set(err, ERR_AUTH, "remove %s/%s: the server does not allow it; is this account meant only to add?", st->location, key);
	if (result < 0 && code != SFTP_NO_SUCH_FILE)
		return -1;
	sftp_forget(s, key);
	return 0;
}

static int sftp_facts(struct store *st, struct store_facts *ret, struct error *err)
{
	struct sftp *s = sftp_of(st);
	CLEAN_CONN struct sftp_conn *c = NULL;
	if (sftp_link(s, &c, err) < 0)
		return -1;
	ret->has_space = sftp_free_space(s, c, &ret->free, &ret->total);
	int64_t there;
	struct timespec here;
	if (sftp_now(s, c, &there) && clock_gettime(CLOCK_REALTIME, &here) == 0) {
		/* Whole seconds, cut off: in the middle they are half a second on. */
		ret->has_clock = true;
		ret->clock_ahead = (there - here.tv_sec) * 1000 + 500 - here.tv_nsec / 1000000;
	}
	return 0;
}

/* --- opening ------------------------------------------------------------------------------ */

static void sftp_close(struct store *st)
{
	struct sftp *s = sftp_of(st);
	for (int i = 0; i < SFTP_OPEN_SLOTS; i++) {
		free(s->slots[i].key);
		sftp_conn_unref(s->slots[i].conn);
	}
	folders_done(&s->known);
	folders_done(&s->made);
	sftp_conn_unref(s->conn);
	sftp_location_done(&s->where);
	pthread_mutex_destroy(&s->connecting);
	pthread_mutex_destroy(&s->lock);
	free(st->location);
	free(s);
}

static void sftp_unmake(struct store *st)
{
	struct sftp *s = sftp_of(st);
	CLEAN_CONN struct sftp_conn *c = NULL;
	if (!s->made.count || sftp_link(s, &c, NULL) < 0)
		return;
	for (char *path; (path = folders_take(&s->made)); free(path)) {
		struct sftp_request r = { 0 };
		uint32_t code;
		sftp_ask_path(c, &r, SFTP_RMDIR, path);
		sftp_expect_ok(s, c, &r, "remove the folder", path, &code, NULL);
	}
}

static const struct store_ops sftp_ops = {
	.name = "sftp",
	.put_begin = sftp_put_begin,
	.put_append = sftp_put_append,
	.put_commit = sftp_put_commit,
	.put_abort = sftp_put_abort,
	.get = sftp_get,
	.read = sftp_read,
	.stat = sftp_stat,
	.list = sftp_list,
	.remove = sftp_remove,
	.replace = sftp_replace,
	.close = sftp_close,
	.sweep = sftp_sweep,
	.facts = sftp_facts,
	.unmake = sftp_unmake,
};

/* The store's folder is looked at; with create it is made, with what is missing above it. */
static int find_root(struct sftp *s, struct sftp_conn *c, bool create, struct error *err)
{
	for (bool again = create;; again = false) {
		struct sftp_request r = { 0 };
		struct sftp_attrs attrs;
		uint32_t code;
		sftp_ask_path(c, &r, SFTP_STAT, s->where.path);
		if (sftp_expect_attrs(s, c, &r, &attrs, "open", "", &code, err) == 0) {
			if (attrs.has_mode && !S_ISDIR(attrs.mode))
				return error_set(err, ERR_INVALID, "open %s: it is not a folder", s->base.location);
			/* Whom the folder is shared with (its group), the objects are shared with. */
			s->file_mode = 0600 | (attrs.has_mode ? attrs.mode & 0060 : 0);
			s->folder_mode = 0700 | (attrs.has_mode ? attrs.mode & 0070 : 0);
			return 0;
		}
		if (code != SFTP_NO_SUCH_FILE || !again)
			return code == SFTP_NO_SUCH_FILE ? error_set(err, ERR_NOT_FOUND, "open %s: there is no such folder on the server", s->base.location) : -1;
		if (sftp_make_parents(s, c, err) < 0)
			return -1;
	}
}

static unsigned timeout_wanted(void)
{
	const char *text = getenv("TWOFOLD_SFTP_TIMEOUT");
	char *end;
	unsigned long seconds = text && *text ? strtoul(text, &end, 10) : 60;
	return text && *text && (*end || !seconds || seconds > 86400) ? 60 : (unsigned)seconds;
}

static int sftp_new(struct sftp **ret, const char *location, struct error *err)
{
	CLEAN_STORE struct store *st = NULL;
	struct sftp *s = calloc(1, sizeof *s);
	if (!s)
		return error_set(err, ERR_NOMEM, "open %s: out of memory", location);
	st = &s->base;
	st->ops = &sftp_ops;
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->connecting, NULL);
	s->timeout = timeout_wanted();
	st->location = strdup(location);
	if (!st->location)
		return error_set(err, ERR_NOMEM, "open %s: out of memory", location);
	for (size_t len = strlen(st->location); len && st->location[len - 1] == '/'; len--)
		st->location[len - 1] = 0;
	if (sftp_location_parse(&s->where, location, err) < 0 || sftp_random_hex(s->instance, 8, err) < 0)
		return -1;
	st = NULL;
	*ret = s;
	return 0;
}

/* Busy servers turn away connections at random (MaxStartups), so one that fails at once is tried twice more; one that took long has failed. */
static int open_patiently(struct sftp *s, bool create, struct sftp_conn **ret, struct error *err)
{
	static const struct retry_policy brief = { .tries = 3, .first = 500, .longest = 1000, .total = 5000 };
	struct error why = { 0 };
	struct retry r;
	time_t start;
	retry_begin(&r, &s->base, &brief);
	do {
		CLEAN_CONN struct sftp_conn *c = NULL;
		start = time(NULL);
		if (sftp_link(s, &c, &why) == 0 && find_root(s, c, create, &why) == 0) {
			*ret = TAKE(c);
			return 0;
		}
	} while (time(NULL) - start < 3 && retry_again(&r, &why));
	if (err)
		*err = why;
	return -1;
}

int store_open_sftp(struct store **ret, const char *location, enum store_create create, struct error *err)
{
	struct sftp *s = NULL;
	if (sftp_new(&s, location, err) < 0)
		return -1;
	CLEAN_STORE struct store *st = &s->base;
	CLEAN_CONN struct sftp_conn *c = NULL;
	if (open_patiently(s, create, &c, err) < 0)
		return -1;
	const struct sftp_server *server = sftp_conn_server(c);
	st->promises = (struct store_promises){ .atomic_put = true, .conditional_put = true, .durable_put = server->fsync, .remote = true, .commits = 4 };
	*ret = TAKE(st);
	return 0;
}
