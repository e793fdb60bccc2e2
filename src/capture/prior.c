/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "capture/prior.h"

#include "repo/format/seq.h"

int prior_open(struct prior *p, struct repo *repo, const struct id *tree, struct error *err)
{
	*p = (struct prior){ 0 };
	return seq_reader_new(&p->reader, SEQ_ENTRIES, tree, repo_get_page, repo, err);
}

void prior_close(struct prior *p)
{
	seq_reader_free(p->reader);
	if (p->have)
		node_done(&p->node);
}

/* Decodes the next node; false at the end. */
static bool next(struct prior *p)
{
	const uint8_t *record;
	size_t len;
	bool more = false;
	if (p->have)
		node_done(&p->node);
	p->have = false;
	if (!p->reader)
		return false;
	if (seq_next(p->reader, &more, &record, &len, NULL, NULL) < 0 || (more && node_decode(&p->node, record, len, NULL) < 0))
		p->broken = true;
	p->have = more && !p->broken;
	if (p->have)
		p->count++;
	else
		seq_reader_free(TAKE(p->reader));
	return p->have;
}

struct node *prior_find(struct prior *p, const char *name)
{
	while (p->have || next(p)) {
		int c = strcmp(p->node.name, name);
		if (c >= 0)
			return c == 0 ? &p->node : NULL;
		node_done(&p->node);
		p->have = false;
	}
	return NULL;
}

void prior_skip_rest(struct prior *p)
{
	while (next(p))
		;
}

static bool has_chunk(struct repo *repo, const struct content_part *part)
{
	bool found = false;
	struct place place;
	return part->kind == CONTENT_HOLE || (index_find(repo->index, &part->chunk, &found, &place, NULL) == 0 && found && !place.marked);
}

/* repo_get_page for pages that will be relied on. */
static int get_lasting_page(void *cookie, const struct id *id, struct buf *ret, struct error *err)
{
	struct repo *repo = cookie;
	struct place place;
	bool found;
	if (index_find(repo->index, id, &found, &place, err) < 0)
		return -1;
	if (!found || place.marked)
		return error_set(err, ERR_NOT_FOUND, "a page is about to be deleted");
	return repo_get_page(repo, id, ret, err);
}

bool prior_is_stored(struct repo *repo, const struct content *content)
{
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	struct content_part part;
	const uint8_t *record;
	size_t len;
	for (size_t i = 0; i < content->count; i++)
		if (!has_chunk(repo, &content->parts[i]))
			return false;
	if (!content->paged)
		return true;
	if (seq_reader_new(&reader, SEQ_CONTENT, &content->root, get_lasting_page, repo, NULL) < 0)
		return false;
	for (bool more = true; more;)
		if (seq_next(reader, &more, &record, &len, NULL, NULL) < 0 ||
		    (more && (content_part_decode(&part, record, len, NULL) < 0 || !has_chunk(repo, &part))))
			return false;
	return true;
}
