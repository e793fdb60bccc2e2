/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Listing by SFTP: folders are read many at once, as one after the other would cost round trips for each of packs/00 to packs/ff. The entries of a folder are handed out when all of
 * it has been read, so that a connection that broke means reading that folder again, and nothing is handed out twice.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/retry.h"
#include "store/sftp.h"

#define WIDTH 64u              /* folders that are read at once; each is a handle on the server */
#define AHEAD 3u               /* READDIR of one folder under way at once: entries, more entries, the end */
#define DEPTH_MAX 8            /* folders in folders */
#define NAMES_MAX (64u << 20)  /* bytes of one folder's entries: no folder of ours comes near it */
#define FOLDERS_MAX 65536u     /* that wait to be read */

struct folder {
	char *key; /* "" or "packs/3f" */
	unsigned depth;
	/* while it is read: */
	struct sftp_handle handle;
	bool whole, absent;
	struct buf found; /* entries: attrs as a struct, the key with its zero */
};

struct entry {
	uint64_t size;
	uint32_t mode, mtime;
	bool has_mode, has_time;
	uint16_t len; /* of the key that follows, with its zero */
};

struct walk {
	struct sftp *s;
	struct folder *folders; /* to be read; owned */
	size_t count, room;
};

static void folder_done(struct folder *f)
{
	free(f->key);
	buf_done(&f->found);
}

static void walk_done(struct walk *w)
{
	for (size_t i = 0; i < w->count; i++)
		folder_done(&w->folders[i]);
	free(w->folders);
}

static int walk_add(struct walk *w, const char *key, unsigned depth, struct error *err)
{
	if (w->count == FOLDERS_MAX)
		return error_set(err, ERR_CORRUPT, "list %s: there are too many folders", w->s->base.location);
	if (w->count == w->room) {
		size_t room = w->room ? 2 * w->room : 64;
		struct folder *grown = realloc(w->folders, room * sizeof *grown);
		if (!grown)
			return error_set(err, ERR_NOMEM, "list %s: out of memory", w->s->base.location);
		w->folders = grown;
		w->room = room;
	}
	char *copy = strdup(key);
	if (!copy)
		return error_set(err, ERR_NOMEM, "list %s: out of memory", w->s->base.location);
	w->folders[w->count++] = (struct folder){ .key = copy, .depth = depth };
	return 0;
}

/* One reply of READDIR into f->found. What has no name of ours is passed over: tmp, lost+found, "..". */
static int take_names(struct sftp *s, struct folder *f, const struct buf *body, struct error *err)
{
	struct sftp_names names;
	struct sftp_attrs attrs;
	const uint8_t *name;
	size_t len, prefix = strlen(f->key);
	bool fine = sftp_names_begin(&names, body->data, body->len);
	while (fine && sftp_names_next(&names, &name, &len, &attrs)) {
		char key[STORE_KEY_MAX + 1];
		size_t start = prefix ? prefix + 1 : 0;
		if (!len || start + len > STORE_KEY_MAX || memchr(name, '/', len) || memchr(name, 0, len))
			continue;
		memcpy(key, f->key, prefix);
		if (prefix)
			key[prefix] = '/';
		memcpy(key + start, name, len);
		key[start + len] = 0;
		struct entry e = { attrs.has_size ? attrs.size : 0, attrs.mode, attrs.mtime, attrs.has_mode, attrs.has_time, (uint16_t)(start + len + 1) };
		buf_add(&f->found, &e, sizeof e);
		buf_add(&f->found, key, e.len);
	}
	if (!fine || names.left || f->found.len > NAMES_MAX)
		return error_set(err, ERR_CORRUPT, "list %s/%s: the server's answer makes no sense, or does not end", s->base.location, f->key);
	return buf_ok(&f->found) ? 0 : error_set(err, ERR_NOMEM, "list %s: out of memory", s->base.location);
}

/* Opens a batch of folders in one round trip. */
static int open_all(struct sftp *s, struct sftp_conn *c, struct folder *f, size_t count, struct error *err)
{
	struct sftp_request asked[WIDTH];
	int result = 0;
	memset(asked, 0, sizeof asked);
	for (size_t i = 0; i < count; i++) {
		CLEAN_FREE char *path = sftp_path(s, f[i].key);
		buf_clear(&f[i].found);
		f[i].whole = f[i].absent = false;
		sftp_ask_path(c, &asked[i], SFTP_OPENDIR, path);
	}
	for (size_t i = 0; i < count; i++) {
		uint32_t code;
		struct error why = { 0 };
		f[i].handle.len = 0;
		if (sftp_expect_handle(s, c, &asked[i], &f[i].handle, "list", f[i].key, &code, &why) == 0)
			continue;
		f[i].whole = f[i].absent = true;
		if (code != SFTP_NO_SUCH_FILE && result == 0) {
			result = -1;
			if (err)
				*err = why;
		}
	}
	return result;
}

/* AHEAD times READDIR for each folder that is not whole, in one round trip. */
static int read_round(struct sftp *s, struct sftp_conn *c, struct folder *f, size_t count, struct error *err)
{
	struct sftp_request asked[WIDTH][AHEAD];
	int result = 0;
	memset(asked, 0, sizeof asked);
	for (size_t i = 0; i < count; i++)
		for (unsigned k = 0; k < AHEAD && !f[i].whole; k++)
			sftp_ask_handle(c, &asked[i][k], SFTP_READDIR, &f[i].handle);
	for (size_t i = 0; i < count; i++) {
		bool end = f[i].whole;
		for (unsigned k = 0; k < AHEAD && !f[i].whole; k++) {
			struct sftp_request *r = &asked[i][k];
			uint32_t code = SFTP_OK;
			sftp_wait(c, r);
			if (!r->lost && r->type == SFTP_NAME) {
				if (result == 0 && !end)
					result = take_names(s, &f[i], &r->body, err);
				sftp_request_done(r);
			} else if (sftp_expect_ok(s, c, r, "list", f[i].key, &code, result == 0 && !end ? err : NULL) < 0) {
				end = end || code == SFTP_EOF;
				result = end ? result : -1;
			} else {
				result = error_set(err, ERR_CORRUPT, "list %s/%s: the server answered something else", s->base.location, f[i].key);
			}
		}
		f[i].whole = end;
	}
	return result;
}

/* Reads a batch of folders whole, over a new connection where one breaks. */
static int read_batch(struct sftp *s, struct folder *f, size_t count, struct error *err)
{
	struct error why = { 0 };
	struct retry r;
	retry_begin(&r, &s->base, NULL);
	do {
		CLEAN_CONN struct sftp_conn *c = NULL;
		if (sftp_link(s, &c, &why) < 0)
			continue;
		int result = open_all(s, c, f, count, &why);
		bool more = true;
		while (result == 0 && more) {
			result = read_round(s, c, f, count, &why);
			more = false;
			for (size_t i = 0; i < count; i++)
				more = more || !f[i].whole;
		}
		for (size_t i = 0; i < count; i++)
			sftp_close_handle(c, &f[i].handle);
		if (result == 0)
			return 0;
	} while (retry_again(&r, &why));
	if (err)
		*err = why;
	return -1;
}

/* Hands out what a folder holds; folders in it are put on the list. */
static int hand_out(struct walk *w, const struct folder *f, store_list_fn fn, void *cookie, struct error *err)
{
	for (size_t at = 0; at < f->found.len;) {
		struct entry e;
		memcpy(&e, f->found.data + at, sizeof e);
		const char *key = (const char *)f->found.data + at + sizeof e;
		at += sizeof e + e.len;
		if (!store_key_valid(key) || strcmp(key, SFTP_TMP) == 0)
			continue;
		int result = 0;
		if (!e.has_mode || S_ISREG(e.mode))
			result = fn(cookie, key, e.size);
		else if (S_ISDIR(e.mode) && f->depth < DEPTH_MAX)
			result = walk_add(w, key, f->depth + 1, err);
		if (result)
			return result;
	}
	return 0;
}

int sftp_list(struct store *st, const char *prefix, store_list_fn fn, void *cookie, struct error *err)
{
	CLEAN(walk_done) struct walk w = { sftp_of(st), NULL, 0, 0 };
	char key[STORE_KEY_MAX + 2];
	if (store_check_prefix(st, prefix, err) < 0)
		return -1;
	if (strncmp(prefix, SFTP_TMP "/", sizeof SFTP_TMP) == 0)
		return 0;
	size_t len = strlen(prefix);
	memcpy(key, prefix, len + 1);
	if (len)
		key[len - 1] = 0;
	if (walk_add(&w, key, 0, err) < 0)
		return -1;
	int result = 0;
	while (w.count && result == 0) {
		/* Their own array: handing out may add to the list. */
		struct folder batch[WIDTH];
		size_t count = w.count < WIDTH ? w.count : WIDTH;
		w.count -= count;
		memcpy(batch, w.folders + w.count, count * sizeof *batch);
		result = read_batch(w.s, batch, count, err);
		for (size_t i = 0; i < count; i++) {
			if (result == 0)
				result = hand_out(&w, &batch[i], fn, cookie, err);
			folder_done(&batch[i]);
		}
	}
	return result;
}

/* --- sweeping ------------------------------------------------------------------------------------ */

/* Is it the temporary file of another that is old enough? */
static bool is_old(const struct sftp *s, const char *key, const struct entry *e, int64_t now, uint64_t min_age)
{
	const char *start = SFTP_TMP "/" SFTP_TMP_START;
	if (strncmp(key, start, strlen(start)) != 0 || (e->has_mode && !S_ISREG(e->mode)) || !e->has_time)
		return false;
	if (strncmp(key + strlen(start), s->instance, strlen(s->instance)) == 0)
		return false;
	return now >= e->mtime && (uint64_t)(now - e->mtime) >= min_age;
}

int sftp_sweep(struct store *st, uint64_t min_age, uint64_t *ret_removed, struct error *err)
{
	struct sftp *s = sftp_of(st);
	struct folder tmp = { .key = strdup(SFTP_TMP) };
	CLEAN_CONN struct sftp_conn *c = NULL;
	int64_t now;
	uint64_t removed = 0;
	int result = !tmp.key ? error_set(err, ERR_NOMEM, "clean up: out of memory") : sftp_link(s, &c, err);
	/* Where there is no folder for them there are none; where none can be made the age is not known. */
	if (result == 0)
		result = read_batch(s, &tmp, 1, err);
	bool known = result == 0 && tmp.found.len && sftp_now(s, c, &now);
	for (size_t at = 0; known && at < tmp.found.len;) {
		struct entry e;
		memcpy(&e, tmp.found.data + at, sizeof e);
		const char *key = (const char *)tmp.found.data + at + sizeof e;
		at += sizeof e + e.len;
		if (!is_old(s, key, &e, now, min_age))
			continue;
		struct sftp_request r = { 0 };
		uint32_t code;
		CLEAN_FREE char *path = sftp_path(s, key);
		sftp_ask_path(c, &r, SFTP_REMOVE, path);
		removed += sftp_expect_ok(s, c, &r, "remove", key, &code, NULL) == 0;
	}
	folder_done(&tmp);
	if (result == 0)
		*ret_removed = removed;
	return result;
}
