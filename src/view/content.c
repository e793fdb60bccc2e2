/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The bytes of a file in a snapshot: see tree.h. */
#include <stdlib.h>
#include <sys/stat.h>

#include "repo/format/seq.h"
#include "view/internal.h"

static int paged_parts(struct view *v, const struct id *root, view_part_fn fn, void *cookie, struct error *err)
{
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	if (seq_reader_new(&reader, SEQ_CONTENT, root, repo_get_page, v->repo, err) < 0)
		return -1;
	for (;;) {
		const uint8_t *record;
		struct content_part part;
		uint64_t start;
		size_t len;
		bool more;
		if (seq_next(reader, &more, &record, &len, &start, err) < 0)
			return -1;
		if (!more)
			return 0;
		if (content_part_decode(&part, record, len, err) < 0)
			return -1;
		int answer = fn(cookie, start, &part, err);
		if (answer)
			return answer;
	}
}

int view_parts(struct view *v, const struct content *content, view_part_fn fn, void *cookie, struct error *err)
{
	if (content->paged)
		return paged_parts(v, &content->root, fn, cookie, err);
	uint64_t offset = 0;
	for (size_t i = 0; i < content->count; i++) {
		int answer = fn(cookie, offset, &content->parts[i], err);
		if (answer)
			return answer;
		offset += content->parts[i].length;
	}
	return 0;
}

/* What of a file is wanted, and how much of it is done. */
struct wanted {
	struct view *view;
	uint64_t offset; /* of the next byte in the file */
	uint8_t *data;
	size_t left;
};

/* Copies what the part has of it. The part begins at start, which is at most where the wanted bytes are. */
static int copy_part(struct wanted *w, uint64_t start, const struct content_part *part, struct error *err)
{
	uint64_t skip = w->offset - start;
	if (skip >= part->length)
		return 0;
	size_t n = part->length - skip < w->left ? (size_t)(part->length - skip) : w->left;
	if (part->kind == CONTENT_HOLE)
		memset(w->data, 0, n);
	else if (skip > UINT32_MAX || repo_get_range(w->view->repo, CHUNK_DATA, &part->chunk, (uint32_t)skip, w->data, n, err) < 0)
		return skip > UINT32_MAX ? error_set(err, ERR_CORRUPT, "read a file: a chunk of over 4 GiB") : -1;
	w->offset += n;
	w->data += n;
	w->left -= n;
	return 0;
}

static int read_inline(struct wanted *w, const struct content *content, struct error *err)
{
	uint64_t start = 0;
	for (size_t i = 0; w->left && i < content->count; i++) {
		if (copy_part(w, start, &content->parts[i], err) < 0)
			return -1;
		start += content->parts[i].length;
	}
	return 0;
}

static int read_paged(struct wanted *w, const struct id *root, struct error *err)
{
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	if (seq_reader_new(&reader, SEQ_CONTENT, root, repo_get_page, w->view->repo, err) < 0 || seq_seek_span(reader, w->offset, NULL, err) < 0)
		return -1;
	while (w->left) {
		const uint8_t *record;
		struct content_part part;
		uint64_t start;
		size_t len;
		bool more;
		if (seq_next(reader, &more, &record, &len, &start, err) < 0)
			return -1;
		if (!more)
			return 0;
		if (content_part_decode(&part, record, len, err) < 0 || copy_part(w, start, &part, err) < 0)
			return -1;
	}
	return 0;
}

int view_read(struct view *v, const struct node *file, uint64_t offset, void *data, size_t len, size_t *ret_len, struct error *err)
{
	if (!S_ISREG(file->attr.mode))
		return error_set(err, ERR_INVALID, "read what is not a regular file");
	if (!file->has_content && file->attr.size > 0)
		return error_set(err, ERR_UNSUPPORTED, "its content is not in the snapshot%s%s", file->note ? ": " : "", file->note ? file->note : "");
	if (offset >= file->attr.size)
		len = 0;
	else if (len > file->attr.size - offset)
		len = (size_t)(file->attr.size - offset);
	if (len == 0) {
		*ret_len = 0;
		return 0;
	}
	struct wanted w = { v, offset, data, len };
	if ((file->content.paged ? read_paged(&w, &file->content.root, err) : read_inline(&w, &file->content, err)) < 0)
		return -1;
	if (w.left)
		return error_set(err, ERR_CORRUPT, "read a file: its content ends at byte %llu, its size is %llu; run twofold check", (unsigned long long)w.offset,
		                 (unsigned long long)file->attr.size);
	*ret_len = len;
	return 0;
}
