/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A whole paged list of hostile pages: read, sought in, walked. Input: u8 kind, then pages (le16 length, bytes), the first is the root;
 * a child's id names a page by its first byte. Whatever is read must be in order and at the position that it claims.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "repo/format/seq_page.h"

#define PAGES_MAX 64u
#define GETS_MAX 2000u /* pages may refer to each other so often that a walk would not end in a lifetime */

struct input {
	struct { const uint8_t *bytes; size_t len; } pages[PAGES_MAX];
	size_t count, gets;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int get(void *cookie, const struct id *id, struct buf *ret, struct error *err)
{
	struct input *in = cookie;
	if (in->count == 0 || ++in->gets > GETS_MAX)
		return error_set(err, ERR_NOT_FOUND, "no such page");
	size_t at = id->b[0] % in->count;
	/* Exactly as large as the page, so that a sanitizer sees a step beyond it. */
	buf_done(ret);
	ret->data = malloc(in->pages[at].len ? in->pages[at].len : 1);
	if (!ret->data)
		return error_set(err, ERR_NOMEM, "out of memory");
	memcpy(ret->data, in->pages[at].bytes, in->pages[at].len);
	ret->len = ret->cap = in->pages[at].len;
	return 0;
}

static int see_page(void *cookie, const struct id *id, const uint8_t *page, size_t len, struct error *err)
{
	(void)cookie, (void)id, (void)page, (void)len, (void)err;
	return 0;
}

/* Steps over at most limit records, which must be where they say. */
static void read_on(struct seq_reader *r, enum seq_kind kind, uint64_t at, unsigned limit)
{
	struct error err;
	bool more = true;
	while (limit--) {
		const uint8_t *record;
		size_t len;
		uint64_t start, span;
		struct seq_key key;
		if (seq_next(r, &more, &record, &len, &start, &err) < 0 || !more)
			return;
		if (start != at || seq_record_info(kind, record, len, &key, &span, &err) < 0)
			abort();
		at += span;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { 0 };
	struct cursor c = cursor_of(data, size);
	enum seq_kind kind = (enum seq_kind)(1 + cursor_u8(&c) % 4);
	while (in.count < PAGES_MAX && cursor_left(&c) > 1) {
		size_t len = cursor_le16(&c);
		len = len < cursor_left(&c) ? len : cursor_left(&c);
		in.pages[in.count].len = len;
		in.pages[in.count++].bytes = cursor_take(&c, len);
	}
	struct id root = { { 0 } };
	struct error err;
	CLEAN(seq_reader_cleanup) struct seq_reader *r = NULL;
	if (seq_reader_new(&r, kind, &root, get, &in, &err) < 0)
		abort();
	read_on(r, kind, 0, 1000);
	for (uint64_t position = 0; position < UINT64_MAX / 8; position = position * 3 + 1) {
		uint64_t start = 0;
		if (seq_seek_span(r, position, &start, &err) < 0)
			continue;
		if (start > position)
			abort();
		read_on(r, kind, start, 5);
	}
	for (size_t i = 0; i < in.count; i++)
		if (in.pages[i].len >= 8 && seq_seek_key(r, in.pages[i].bytes + in.pages[i].len - 8, 8, &err) == 0) {
			bool more;
			const uint8_t *record;
			size_t len;
			seq_next(r, &more, &record, &len, NULL, &err);
		}
	in.gets = 0;
	seq_walk_pages(kind, &root, get, &in, see_page, NULL, &err);
	return 0;
}
