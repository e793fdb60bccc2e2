/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/sftp_request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define FETCH_REQUESTS 64u /* of one call, under way at once */
#define FIRST_BYTES (32u << 10) /* of an object that is wanted whole, asked for before its size is known */
#define FULL_BELOW (1u << 20) /* bytes free, below which a failed write is put down to a full disk */

char *sftp_path(const struct sftp *s, const char *key)
{
	char *path;
	const char *root = strcmp(s->where.path, "/") == 0 ? "" : s->where.path;
	if (!*key)
		return strdup(s->where.path);
	return asprintf(&path, "%s/%s", root, key) < 0 ? NULL : path;
}

int sftp_random_hex(char *ret, size_t count, struct error *err)
{
	uint8_t bytes[32];
	if (count > sizeof bytes || getrandom(bytes, count, 0) != (ssize_t)count)
		return error_sys(err, errno, "get random bytes");
	for (size_t i = 0; i < count; i++)
		sprintf(ret + 2 * i, "%02x", bytes[i]);
	return 0;
}

void sftp_tmp_name(struct sftp *s, char ret[64])
{
	pthread_mutex_lock(&s->lock);
	uint64_t number = s->puts++;
	pthread_mutex_unlock(&s->lock);
	snprintf(ret, 64, SFTP_TMP "/" SFTP_TMP_START "%s%016llx", s->instance, (unsigned long long)number);
}

/* --- asking -------------------------------------------------------------------------- */

void sftp_ask_path(struct sftp_conn *c, struct sftp_request *r, enum sftp_type type, const char *path)
{
	CLEAN_BUF struct buf packet = BUF_INIT;
	if (!path)
		return;
	sftp_begin(&packet, type);
	sftp_add_text(&packet, path);
	sftp_end(&packet, 0);
	sftp_send(c, r, &packet, NULL, 0, 0);
}

void sftp_ask_open(struct sftp_conn *c, struct sftp_request *r, const char *path, uint32_t flags, uint32_t mode)
{
	CLEAN_BUF struct buf packet = BUF_INIT;
	if (!path)
		return;
	sftp_begin(&packet, SFTP_OPEN);
	sftp_add_text(&packet, path);
	sftp_add_u32(&packet, flags);
	sftp_add_u32(&packet, mode ? 4 : 0); /* which attributes follow: the mode */
	if (mode)
		sftp_add_u32(&packet, mode);
	sftp_end(&packet, 0);
	sftp_send(c, r, &packet, NULL, 0, 0);
}

void sftp_ask_mkdir(struct sftp_conn *c, struct sftp_request *r, const char *path, uint32_t mode)
{
	CLEAN_BUF struct buf packet = BUF_INIT;
	if (!path)
		return;
	sftp_begin(&packet, SFTP_MKDIR);
	sftp_add_text(&packet, path);
	sftp_add_u32(&packet, 4);
	sftp_add_u32(&packet, mode);
	sftp_end(&packet, 0);
	sftp_send(c, r, &packet, NULL, 0, 0);
}

static void handle_packet(struct buf *packet, enum sftp_type type, const char *extension, const struct sftp_handle *h)
{
	sftp_begin(packet, type);
	if (extension)
		sftp_add_text(packet, extension);
	sftp_add_bytes(packet, h->bytes, h->len);
	sftp_end(packet, 0);
}

void sftp_ask_handle(struct sftp_conn *c, struct sftp_request *r, enum sftp_type type, const struct sftp_handle *h)
{
	CLEAN_BUF struct buf packet = BUF_INIT;
	handle_packet(&packet, type, NULL, h);
	sftp_send(c, r, &packet, NULL, 0, 0);
}

void sftp_ask_fsync(struct sftp_conn *c, struct sftp_request *r, const struct sftp_handle *h)
{
	CLEAN_BUF struct buf packet = BUF_INIT;
	handle_packet(&packet, SFTP_EXTENDED, "fsync@openssh.com", h);
	sftp_send(c, r, &packet, NULL, 0, 0);
}

void sftp_close_handle(struct sftp_conn *c, struct sftp_handle *h)
{
	CLEAN_BUF struct buf packet = BUF_INIT;
	if (!h->len)
		return;
	handle_packet(&packet, SFTP_CLOSE, NULL, h);
	h->len = 0;
	sftp_send_blind(c, &packet);
}

/* --- answers ------------------------------------------------------------------------- */

static int refused(struct sftp *s, struct sftp_conn *c, uint32_t code, const char *text, const char *what, const char *key, struct error *err)
{
	const char *location = s->base.location;
	uint64_t free_bytes, total;
	if (code == SFTP_NO_SUCH_FILE)
		return error_set(err, ERR_NOT_FOUND, "%s %s/%s: there is no such file on the server", what, location, key);
	if (code == SFTP_PERMISSION_DENIED)
		return error_set(err, ERR_AUTH, "%s %s/%s: the server denies it (%s)", what, location, key, *text ? text : "permission denied");
	if (code == SFTP_UNSUPPORTED)
		return error_set(err, ERR_UNSUPPORTED, "%s %s/%s: the server cannot do that (%s)", what, location, key, text);
	/* The protocol has no word for a full disk. */
	if (code == SFTP_FAILURE && strcmp(what, "write") == 0 && sftp_free_space(s, c, &free_bytes, &total) && free_bytes < FULL_BELOW)
		return error_set(err, ERR_NO_SPACE, "write %s/%s: the server's disk is full; make room there and run the command again", location, key);
	return error_set(err, ERR_IO, "%s %s/%s: the server answers: %s%s", what, location, key, *text ? text : "failure",
	                 strcmp(what, "write") == 0 ? " (a quota that is used up? no rights?)" : "");
}

/* Waits; 0 when the reply is of the wanted type, or a status OK where that is wanted. */
static int expect(struct sftp *s, struct sftp_conn *c, struct sftp_request *r, uint8_t wanted, const char *what, const char *key, uint32_t *ret_code, struct error *err)
{
	char text[SFTP_TEXT_MAX], doing[STORE_KEY_MAX + 64];
	uint32_t code = SFTP_OK;
	*ret_code = SFTP_OK;
	sftp_wait(c, r);
	if (r->lost) {
		if (!sftp_conn_dead(c))
			return error_set(err, ERR_NOMEM, "%s %s/%s: out of memory", what, s->base.location, key);
		snprintf(doing, sizeof doing, "%s %s", what, key);
		return sftp_conn_why(c, doing, err);
	}
	if (r->type == SFTP_STATUS && !sftp_decode_status(r->body.data, r->body.len, &code, text))
		return error_set(err, ERR_CORRUPT, "%s %s/%s: the server's answer makes no sense", what, s->base.location, key);
	*ret_code = code;
	if (r->type == SFTP_STATUS && code != SFTP_OK)
		return refused(s, c, code, text, what, key, err);
	if (r->type != wanted)
		return error_set(err, ERR_CORRUPT, "%s %s/%s: the server answered something else", what, s->base.location, key);
	return 0;
}

int sftp_expect_ok(struct sftp *s, struct sftp_conn *c, struct sftp_request *r, const char *what, const char *key, uint32_t *ret_code, struct error *err)
{
	int result = expect(s, c, r, SFTP_STATUS, what, key, ret_code, err);
	sftp_request_done(r);
	return result;
}

int sftp_expect_handle(struct sftp *s, struct sftp_conn *c, struct sftp_request *r, struct sftp_handle *ret, const char *what, const char *key, uint32_t *ret_code,
                       struct error *err)
{
	const uint8_t *bytes;
	size_t len;
	int result = expect(s, c, r, SFTP_HANDLE, what, key, ret_code, err);
	if (result == 0 && !sftp_decode_handle(r->body.data, r->body.len, &bytes, &len))
		result = error_set(err, ERR_CORRUPT, "%s %s/%s: the server's answer makes no sense", what, s->base.location, key);
	if (result == 0) {
		memcpy(ret->bytes, bytes, len);
		ret->len = len;
	}
	sftp_request_done(r);
	return result;
}

int sftp_expect_attrs(struct sftp *s, struct sftp_conn *c, struct sftp_request *r, struct sftp_attrs *ret, const char *what, const char *key, uint32_t *ret_code,
                      struct error *err)
{
	int result = expect(s, c, r, SFTP_ATTRS, what, key, ret_code, err);
	if (result == 0 && !sftp_decode_attrs(r->body.data, r->body.len, ret))
		result = error_set(err, ERR_CORRUPT, "%s %s/%s: the server's answer makes no sense", what, s->base.location, key);
	sftp_request_done(r);
	return result;
}

/* --- reading ------------------------------------------------------------------------- */

static void ask_read(struct sftp_conn *c, struct sftp_request *r, const struct sftp_handle *h, uint64_t offset, void *into, size_t len)
{
	CLEAN_BUF struct buf packet = BUF_INIT;
	*r = (struct sftp_request){ .into = into, .into_len = len };
	sftp_begin(&packet, SFTP_READ);
	sftp_add_bytes(&packet, h->bytes, h->len);
	sftp_add_u64(&packet, offset);
	sftp_add_u32(&packet, (uint32_t)len);
	sftp_end(&packet, 0);
	sftp_send(c, r, &packet, NULL, 0, len);
}

/* Waits for one piece; a server may give less than was asked for: then the rest is asked for again. */
static int take_piece(struct sftp *s, struct sftp_conn *c, const struct sftp_handle *h, const char *key, uint64_t offset, struct sftp_request *r, struct error *err)
{
	for (;;) {
		uint32_t code;
		int result = expect(s, c, r, SFTP_DATA, "read", key, &code, err);
		sftp_request_done(r);
		if (result < 0)
			return code == SFTP_EOF ? error_set(err, ERR_CORRUPT, "read %s/%s: it ends before %llu", s->base.location, key,
			                                    (unsigned long long)(offset + r->into_len)) : -1;
		if (r->got == r->into_len)
			return 0;
		offset += r->got;
		ask_read(c, r, h, offset, (uint8_t *)r->into + r->got, r->into_len - r->got);
	}
}

int sftp_fetch(struct sftp *s, struct sftp_conn *c, const struct sftp_handle *h, const char *key, uint64_t offset, void *data, size_t len, struct error *err)
{
	struct sftp_request ring[FETCH_REQUESTS];
	uint64_t offsets[FETCH_REQUESTS];
	size_t piece = sftp_conn_piece(c), asked = 0;
	unsigned head = 0, tail = 0;
	int result = 0;
	if (offset + len < offset || offset + len > INT64_MAX)
		return error_set(err, ERR_CORRUPT, "read %s/%s: it ends before %llu", s->base.location, key, (unsigned long long)offset);
	while (head != tail || (asked < len && result == 0)) {
		while (result == 0 && asked < len && tail - head < FETCH_REQUESTS) {
			size_t part = len - asked < piece ? len - asked : piece;
			offsets[tail % FETCH_REQUESTS] = offset + asked;
			ask_read(c, &ring[tail % FETCH_REQUESTS], h, offset + asked, (uint8_t *)data + asked, part);
			asked += part;
			tail++;
		}
		struct sftp_request *r = &ring[head % FETCH_REQUESTS];
		/* After a failure the rest is only waited for: their memory is the caller's. */
		if (result == 0) {
			result = take_piece(s, c, h, key, offsets[head % FETCH_REQUESTS], r, err);
		} else {
			sftp_wait(c, r);
			sftp_request_done(r);
		}
		head++;
	}
	return result;
}

int sftp_fetch_whole(struct sftp *s, struct sftp_conn *c, const struct sftp_handle *h, const char *key, size_t max, struct buf *ret, struct error *err)
{
	struct sftp_request looked = { 0 }, first = { 0 };
	struct sftp_attrs attrs = { 0 };
	uint32_t code = 0;
	CLEAN_BUF struct buf whole = BUF_INIT;
	if (!buf_reserve(&whole, FIRST_BYTES))
		return error_set(err, ERR_NOMEM, "read %s/%s: out of memory", s->base.location, key);
	sftp_ask_handle(c, &looked, SFTP_FSTAT, h);
	ask_read(c, &first, h, 0, whole.data, FIRST_BYTES);
	int result = sftp_expect_attrs(s, c, &looked, &attrs, "read", key, &code, err);
	sftp_wait(c, &first);
	size_t have = !first.lost && first.type == SFTP_DATA ? first.got : 0;
	sftp_request_done(&first);
	if (result < 0)
		return -1;
	if (!attrs.has_size || attrs.size > max)
		return error_set(err, ERR_CORRUPT, "read %s/%s: it has %llu bytes, but such an object has at most %zu", s->base.location, key,
		                 attrs.has_size ? (unsigned long long)attrs.size : 0, max);
	size_t len = (size_t)attrs.size;
	whole.len = have < len ? have : len;
	if (!buf_reserve(&whole, len - whole.len))
		return error_set(err, ERR_NOMEM, "read %s/%s: out of memory", s->base.location, key);
	if (whole.len < len && sftp_fetch(s, c, h, key, whole.len, whole.data + whole.len, len - whole.len, err) < 0)
		return -1;
	whole.len = len;
	buf_done(ret);
	*ret = whole;
	whole = (struct buf)BUF_INIT;
	return 0;
}

/* --- the server's room and clock ------------------------------------------------------- */

bool sftp_free_space(struct sftp *s, struct sftp_conn *c, uint64_t *ret_free, uint64_t *ret_total)
{
	CLEAN_BUF struct buf packet = BUF_INIT;
	struct sftp_request r = { 0 };
	if (!sftp_conn_server(c)->statvfs)
		return false;
	sftp_begin(&packet, SFTP_EXTENDED);
	sftp_add_text(&packet, "statvfs@openssh.com");
	sftp_add_text(&packet, s->where.path);
	sftp_end(&packet, 0);
	sftp_send(c, &r, &packet, NULL, 0, 0);
	sftp_wait(c, &r);
	bool known = !r.lost && r.type == SFTP_EXTENDED_REPLY && sftp_decode_space(r.body.data, r.body.len, ret_free, ret_total);
	sftp_request_done(&r);
	return known;
}

bool sftp_now(struct sftp *s, struct sftp_conn *c, int64_t *ret)
{
	char name[64];
	struct sftp_request made = { 0 }, asked = { 0 }, removed = { 0 };
	struct sftp_handle h = { 0 };
	struct sftp_attrs attrs;
	uint32_t code;
	sftp_tmp_name(s, name);
	CLEAN_FREE char *path = sftp_path(s, name);
	sftp_ask_open(c, &made, path, SFTP_OPEN_WRITE | SFTP_OPEN_CREATE | SFTP_OPEN_EXCLUSIVE, s->file_mode);
	if (sftp_expect_handle(s, c, &made, &h, "write", name, &code, NULL) < 0)
		return false;
	sftp_ask_handle(c, &asked, SFTP_FSTAT, &h);
	sftp_ask_path(c, &removed, SFTP_REMOVE, path);
	bool known = sftp_expect_attrs(s, c, &asked, &attrs, "look for", name, &code, NULL) == 0 && attrs.has_time;
	sftp_expect_ok(s, c, &removed, "remove", name, &code, NULL);
	sftp_close_handle(c, &h);
	if (known)
		*ret = attrs.mtime;
	return known;
}

/* --- folders ------------------------------------------------------------------------------ */

/* Syncs what a folder lists. A server that cannot sync folders, or anything, has promised nothing. */
static int sync_folder(struct sftp *s, struct sftp_conn *c, const char *folder, struct error *err)
{
	struct sftp_request opened = { 0 }, synced = { 0 };
	struct sftp_handle h = { 0 };
	uint32_t code;
	struct error why = { 0 };
	if (!sftp_conn_server(c)->fsync)
		return 0;
	CLEAN_FREE char *path = sftp_path(s, folder);
	sftp_ask_open(c, &opened, path, SFTP_OPEN_READ, 0);
	if (sftp_expect_handle(s, c, &opened, &h, "sync", folder, &code, &why) < 0) {
		if (why.passing && err)
			*err = why;
		return why.passing ? -1 : 0;
	}
	sftp_ask_fsync(c, &synced, &h);
	int result = sftp_expect_ok(s, c, &synced, "sync", folder, &code, &why);
	sftp_close_handle(c, &h);
	if (result < 0 && why.passing && err)
		*err = why;
	return result < 0 && why.passing ? -1 : 0;
}

void sftp_note_made(struct sftp *s, const char *path)
{
	pthread_mutex_lock(&s->lock);
	folders_add(&s->made, path);
	pthread_mutex_unlock(&s->lock);
}

int sftp_make_folder(struct sftp *s, struct sftp_conn *c, const char *folder, struct error *err)
{
	struct sftp_request made = { 0 }, looked = { 0 };
	struct sftp_attrs attrs;
	struct error why = { 0 };
	uint32_t code;
	CLEAN_FREE char *path = sftp_path(s, folder);
	sftp_ask_mkdir(c, &made, path, s->folder_mode);
	sftp_ask_path(c, &looked, SFTP_STAT, path);
	int result = sftp_expect_ok(s, c, &made, "make the folder", folder, &code, &why);
	bool there = sftp_expect_attrs(s, c, &looked, &attrs, "look for", folder, &code, NULL) == 0;
	if (result < 0 && (why.passing || !there)) {
		if (err)
			*err = why;
		return -1;
	}
	char parent[STORE_KEY_MAX + 1] = "";
	const char *slash = strrchr(folder, '/');
	if (slash)
		snprintf(parent, sizeof parent, "%.*s", (int)(slash - folder), folder);
	if (result == 0)
		sftp_note_made(s, path);
	return result == 0 ? sync_folder(s, c, parent, err) : 0;
}

int sftp_make_parents(struct sftp *s, struct sftp_conn *c, struct error *err)
{
	CLEAN_FREE char *path = strdup(s->where.path);
	if (!path)
		return error_set(err, ERR_NOMEM, "open %s: out of memory", s->base.location);
	/* Those that are there fail, which is fine: whoever called looks for the last one. */
	for (char *at = path + 1;; at++) {
		char here = *at;
		struct sftp_request r = { 0 };
		uint32_t code;
		if (here && here != '/')
			continue;
		*at = 0;
		sftp_ask_mkdir(c, &r, path, 0700);
		struct error why = { 0 };
		int made = sftp_expect_ok(s, c, &r, "make the folder", path, &code, &why);
		if (made == 0)
			sftp_note_made(s, path);
		if (made < 0 && (!here && code != SFTP_FAILURE)) {
			if (err)
				*err = why;
			return -1;
		}
		*at = here;
		if (!here)
			return 0;
	}
}
