/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writing objects by SFTP: a put is a file tmp/tmp-..., written in pieces of which up to PUT_FLIGHT bytes are unacknowledged. sftp_commit.c gives it its name.
 *
 * When the connection breaks, the put goes on over a new one: the file is opened again, and what was not acknowledged is written again. What was acknowledged
 * before is read back before the commit and compared by a checksum: a server that crashed may have lost it.
 */
#include <stdlib.h>
#include <string.h>

#include "store/retry.h"
#include "store/sftp_put.h"

#define PUT_FLIGHT (4u << 20)

static void send_piece(struct sftp_put *put, struct piece *p)
{
	CLEAN_BUF struct buf packet = BUF_INIT;
	p->request = (struct sftp_request){ 0 };
	sftp_begin(&packet, SFTP_WRITE);
	sftp_add_bytes(&packet, put->handle.bytes, put->handle.len);
	sftp_add_u64(&packet, p->offset);
	sftp_add_u32(&packet, (uint32_t)p->len);
	sftp_end(&packet, p->len);
	sftp_send(put->conn, &p->request, &packet, p->data, p->len, p->len);
}

/* Everything that was sent is over before the connection may go. */
static void drop_conn(struct sftp_put *put)
{
	if (!put->conn)
		return;
	for (struct piece *p = put->first; p; p = p->next) {
		sftp_wait(put->conn, &p->request);
		sftp_request_done(&p->request);
	}
	sftp_conn_unref(TAKE(put->conn));
	put->handle.len = 0;
}

/* --- opening the temporary file, at first and again ---------------------------------------- */

static int open_tmp(struct sftp_put *put, uint32_t flags, uint32_t *ret_code, struct error *err)
{
	struct sftp *s = sftp_of(put->base.store);
	struct sftp_request r = { 0 };
	CLEAN_FREE char *path = sftp_path(s, put->tmp);
	sftp_ask_open(put->conn, &r, path, flags, s->file_mode);
	return sftp_expect_handle(s, put->conn, &r, &put->handle, "write", put->key, ret_code, err);
}

static int create_tmp(struct sftp_put *put, struct error *err)
{
	struct sftp *s = sftp_of(put->base.store);
	uint32_t flags = SFTP_OPEN_READ | SFTP_OPEN_WRITE | SFTP_OPEN_CREATE | SFTP_OPEN_EXCLUSIVE, code;
	int result = open_tmp(put, flags, &code, err);
	if (result < 0 && code == SFTP_NO_SUCH_FILE) {
		if (sftp_make_folder(s, put->conn, SFTP_TMP, err) < 0)
			return -1;
		result = open_tmp(put, flags, &code, err);
	}
	put->made = result == 0;
	return result;
}

static int reopen_tmp(struct sftp_put *put, bool *ret_gone, struct error *err)
{
	uint32_t code;
	*ret_gone = false;
	if (open_tmp(put, SFTP_OPEN_READ | SFTP_OPEN_WRITE, &code, err) == 0)
		return 0;
	*ret_gone = code == SFTP_NO_SUCH_FILE;
	return -1;
}

int sftp_put_resume(struct sftp_put *put, bool *ret_gone, struct error *err)
{
	*ret_gone = false;
	if (put->conn && !sftp_conn_dead(put->conn))
		return 0;
	drop_conn(put);
	if (sftp_link(sftp_of(put->base.store), &put->conn, err) < 0)
		return -1;
	if (!put->made)
		return create_tmp(put, err) < 0 ? -1 : 0;
	if (reopen_tmp(put, ret_gone, err) < 0)
		return -1;
	put->check_size = put->first ? put->first->offset : put->size;
	put->check_sum = put->first ? put->first->sum_before : put->sum;
	for (struct piece *p = put->first; p; p = p->next)
		send_piece(put, p);
	return 0;
}

/* --- acknowledgements ------------------------------------------------------------------------ */

int sftp_put_reap(struct sftp_put *put, struct error *err)
{
	struct piece *p = put->first;
	uint32_t code;
	if (sftp_expect_ok(sftp_of(put->base.store), put->conn, &p->request, "write", put->key, &code, err) < 0)
		return -1;
	put->first = p->next;
	if (!put->first)
		put->last = NULL;
	put->flight -= p->len;
	free(p);
	return 0;
}

/* Until at most so many bytes are unacknowledged; beyond that takes what is there without waiting. Gets over broken connections. */
static int settle(struct sftp_put *put, size_t flight, struct error *err)
{
	struct error why = { 0 };
	struct retry r;
	bool gone;
	retry_begin(&r, put->base.store, NULL);
	do {
		int result = sftp_put_resume(put, &gone, &why);
		while (result == 0 && put->first && (put->flight > flight || sftp_done(put->conn, &put->first->request)))
			result = sftp_put_reap(put, &why);
		if (result == 0)
			return 0;
	} while (retry_again(&r, &why));
	put->failed = true;
	if (err)
		*err = why;
	return -1;
}

static int add_piece(struct sftp_put *put, const uint8_t *data, size_t len, struct error *err)
{
	struct piece *p = malloc(sizeof *p + len);
	if (!p)
		return error_set(err, ERR_NOMEM, "write %s: out of memory", put->key);
	*p = (struct piece){ .offset = put->size, .sum_before = put->sum, .len = len };
	memcpy(p->data, data, len);
	if (put->last)
		put->last->next = p;
	else
		put->first = p;
	put->last = p;
	put->flight += len;
	put->size += len;
	put->sum = sftp_sum_add(put->sum, data, len);
	send_piece(put, p);
	return 0;
}

/* --- the vtable's ------------------------------------------------------------------------------- */

void sftp_put_free(struct sftp_put *put)
{
	if (put->conn) {
		struct sftp_conn *c = sftp_conn_ref(put->conn);
		struct sftp_handle h = put->handle;
		drop_conn(put);
		sftp_close_handle(c, &h);
		sftp_conn_unref(c);
	}
	for (struct piece *p = put->first; p;) {
		struct piece *next = p->next;
		free(p);
		p = next;
	}
	free(put->key);
	free(put);
}

void sftp_put_remove(struct sftp_put *put)
{
	struct sftp *s = sftp_of(put->base.store);
	CLEAN_BUF struct buf packet = BUF_INIT;
	CLEAN_FREE char *path = sftp_path(s, put->tmp);
	if (!put->made || !put->conn || !path)
		return;
	sftp_begin(&packet, SFTP_REMOVE);
	sftp_add_text(&packet, path);
	sftp_end(&packet, 0);
	sftp_send_blind(put->conn, &packet);
}

int sftp_put_begin(struct store *st, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err)
{
	(void)size_hint;
	if (store_check_key(st, key, err) < 0)
		return -1;
	struct sftp_put *put = calloc(1, sizeof *put);
	if (!put || !(put->key = strdup(key))) {
		free(put);
		return error_set(err, ERR_NOMEM, "write %s: out of memory", key);
	}
	put->base.store = st;
	put->sum = SFTP_SUM_START;
	sftp_tmp_name(sftp_of(st), put->tmp);
	if (sftp_link(sftp_of(st), &put->conn, err) < 0 || create_tmp(put, err) < 0) {
		sftp_put_free(put);
		return -1;
	}
	*ret = &put->base;
	return 0;
}

int sftp_put_append(struct store_put *p, const void *data, size_t len, struct error *err)
{
	struct sftp_put *put = (struct sftp_put *)p;
	const uint8_t *at = data;
	while (len) {
		if (settle(put, PUT_FLIGHT, err) < 0)
			return -1;
		size_t piece = sftp_conn_piece(put->conn);
		if (piece > len)
			piece = len;
		if (add_piece(put, at, piece, err) < 0)
			return -1;
		at += piece;
		len -= piece;
	}
	return 0;
}

void sftp_put_abort(struct store_put *p)
{
	struct sftp_put *put = (struct sftp_put *)p;
	sftp_put_remove(put);
	sftp_put_free(put);
}
