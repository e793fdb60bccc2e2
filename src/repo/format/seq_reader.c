/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The reader keeps the pages from the root down to the current leaf. Each is checked as a whole when it is fetched, so
 * stepping over records afterwards needs no checks; keys of a frame point into the pages below it on the stack, which outlive it.
 */
#include <stdlib.h>

#include "base/clean.h"
#include "repo/format/seq_page.h"

struct frame {
	struct buf bytes;
	struct seq_page page;
	struct seq_summary sum;
	struct seq_key after;     /* last key before this page */
	uint64_t start;           /* position of its first record */
	/* Where the reader is in it: */
	const uint8_t *at;
	uint64_t left;            /* records or children from at on */
	uint64_t next_start;      /* position of what begins at at */
	struct seq_key next_after; /* branch: last key before what begins at at */
};

struct seq_reader {
	enum seq_kind kind;
	struct id root;
	seq_get_fn get;
	void *cookie;
	unsigned depth;           /* frames in use; 0: nothing is open */
	struct frame frames[SEQ_LEVELS_MAX];
};

int seq_reader_new(struct seq_reader **ret, enum seq_kind kind, const struct id *root, seq_get_fn get, void *cookie, struct error *err)
{
	struct seq_reader *r = calloc(1, sizeof *r);
	if (!r)
		return error_set(err, ERR_NOMEM, "out of memory");
	r->kind = kind;
	r->root = *root;
	r->get = get;
	r->cookie = cookie;
	*ret = r;
	return 0;
}

void seq_reader_free(struct seq_reader *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < SEQ_LEVELS_MAX; i++)
		buf_done(&r->frames[i].bytes);
	free(r);
}

static void rewind_frame(struct frame *f)
{
	f->at = f->page.records;
	f->left = f->page.count;
	f->next_start = f->start;
	f->next_after = f->after;
}

/* Fetches and checks a page into f. parent: what its parent page says of it, and NULL for the root. */
static int load(struct frame *f, enum seq_kind kind, const struct id *id, seq_get_fn get, void *cookie, const struct seq_summary *said,
                unsigned said_level, struct error *err)
{
	if (get(cookie, id, &f->bytes, err) < 0)
		return -1;
	if (seq_page_open(&f->page, &f->sum, kind, f->bytes.data, f->bytes.len, f->after, err) < 0)
		return -1;
	/* A writer makes the only page of the top level the root, so a root that is a branch has two children. */
	if (!said && f->page.level && f->page.count < 2)
		return error_set(err, ERR_CORRUPT, "root page of a list has a single page below it");
	if (said && (f->page.level != said_level || !seq_summary_equal(&f->sum, said)))
		return error_set(err, ERR_CORRUPT, "page of a list is not what the page above it says");
	rewind_frame(f);
	return 0;
}

static int open_root(struct seq_reader *r, struct error *err)
{
	struct frame *f = &r->frames[0];
	f->after = (struct seq_key){ NULL, 0 };
	f->start = 0;
	if (load(f, r->kind, &r->root, r->get, r->cookie, NULL, 0, err) < 0)
		return -1;
	r->depth = 1;
	return 0;
}

/* Passes over what begins at f->at. */
static struct seq_child step(struct frame *f)
{
	struct seq_child child = seq_child_at(&f->at, f->page.end);
	f->left--;
	f->next_start += child.sum.span;
	f->next_after = child.sum.last;
	return child;
}

/* Opens the child that begins at the top frame's place; the top frame then stands behind it. */
static int descend(struct seq_reader *r, struct error *err)
{
	struct frame *top = &r->frames[r->depth - 1], *below = top + 1;
	below->start = top->next_start;
	below->after = top->next_after;
	struct seq_child child = step(top);
	if (load(below, r->kind, &child.id, r->get, r->cookie, &child.sum, top->page.level - 1u, err) < 0) {
		/* The stack holds only checked pages; the next call begins at the root. */
		r->depth = 0;
		return -1;
	}
	r->depth++;
	return 0;
}

int seq_next(struct seq_reader *r, bool *ret_more, const uint8_t **ret_record, size_t *ret_len, uint64_t *ret_start, struct error *err)
{
	if (r->depth == 0 && open_root(r, err) < 0)
		return -1;
	for (;;) {
		struct frame *top = &r->frames[r->depth - 1];
		if (top->left == 0 && r->depth == 1) {
			*ret_more = false;
			return 0;
		}
		if (top->left == 0)
			r->depth--;
		else if (top->page.level == 0)
			break;
		else if (descend(r, err) < 0)
			return -1;
	}
	struct frame *leaf = &r->frames[r->depth - 1];
	struct seq_key key;
	uint64_t span;
	size_t len = 0;
	const uint8_t *record = seq_record_at(&leaf->at, leaf->page.end, &len);
	if (seq_record_info(r->kind, record, len, &key, &span, err) < 0)
		return -1;
	if (ret_start)
		*ret_start = leaf->next_start;
	leaf->left--;
	leaf->next_start += span;
	*ret_record = record;
	*ret_len = len;
	*ret_more = true;
	return 0;
}

/* Where a seek goes: a position, or a key. */
struct target {
	bool by_key;
	uint64_t position;
	struct seq_key key;
};

/* What lies at [start, start + sum.span), with keys over after up to sum.last, ends before the target. */
static bool ends_before(const struct target *t, uint64_t start, const struct seq_summary *sum)
{
	return t->by_key ? seq_key_compare(sum->last, t->key) < 0 : t->position - start >= sum->span;
}
static bool begins_behind(const struct target *t, const struct frame *f)
{
	return t->by_key ? f->after.bytes && seq_key_compare(f->after, t->key) >= 0 : t->position < f->start;
}

static int seek(struct seq_reader *r, const struct target *t, struct error *err)
{
	if (r->depth == 0 && open_root(r, err) < 0)
		return -1;
	while (r->depth > 1 && (begins_behind(t, &r->frames[r->depth - 1]) ||
	                        ends_before(t, r->frames[r->depth - 1].start, &r->frames[r->depth - 1].sum)))
		r->depth--;
	rewind_frame(&r->frames[r->depth - 1]);
	for (;;) {
		struct frame *top = &r->frames[r->depth - 1];
		if (top->page.count == 0 || ends_before(t, top->start, &top->sum)) {
			/* Only the root is not known to hold the target. */
			top->left = 0;
			top->next_start = top->start + top->sum.span;
			return 0;
		}
		if (top->page.level == 0)
			return 0;
		for (const uint8_t *at = top->at;; at = top->at) {
			struct seq_child child = seq_child_at(&at, top->page.end);
			if (!ends_before(t, top->next_start, &child.sum))
				break;
			step(top);
		}
		if (descend(r, err) < 0)
			return -1;
	}
}

int seq_seek_span(struct seq_reader *r, uint64_t position, uint64_t *ret_start, struct error *err)
{
	struct target t = { .position = position };
	if (seek(r, &t, err) < 0)
		return -1;
	if (ret_start)
		*ret_start = r->frames[r->depth - 1].next_start;
	return 0;
}

int seq_seek_key(struct seq_reader *r, const void *key, size_t key_len, struct error *err)
{
	struct target t = { .by_key = true, .key = { key, key_len } };
	return seek(r, &t, err);
}

/* --- every page --------------------------------------------------------------- */

struct walk {
	enum seq_kind kind;
	seq_get_fn get;
	void *get_cookie;
	seq_page_fn fn;
	void *fn_cookie;
};

/* At most SEQ_LEVELS_MAX deep: a child's level is one below its parent's. */
static int walk_page(const struct walk *w, struct frame *f, const struct id *id, const struct seq_summary *said, unsigned level, struct error *err)
{
	if (load(f, w->kind, id, w->get, w->get_cookie, said, level, err) < 0)
		return -1;
	int answer = w->fn(w->fn_cookie, id, f->bytes.data, f->bytes.len, err);
	if (answer != 0)
		return answer < 0 ? -1 : 0;
	while (f->page.level && f->left) {
		struct frame *below = f + 1;
		below->after = f->next_after;
		below->start = f->next_start;
		struct seq_child child = step(f);
		if (walk_page(w, below, &child.id, &child.sum, f->page.level - 1u, err) < 0)
			return -1;
	}
	return 0;
}

int seq_walk_pages(enum seq_kind kind, const struct id *root, seq_get_fn get, void *get_cookie, seq_page_fn fn, void *fn_cookie, struct error *err)
{
	/* Its frames serve as the stack. */
	CLEAN(seq_reader_cleanup) struct seq_reader *r = NULL;
	if (seq_reader_new(&r, kind, root, get, get_cookie, err) < 0)
		return -1;
	struct walk w = { kind, get, get_cookie, fn, fn_cookie };
	return walk_page(&w, &r->frames[0], root, NULL, 0, err);
}
