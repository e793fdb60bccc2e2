/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/repair_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "repo/copy.h"
#include "repo/id_table.h"
#include "task/pool.h"

#define COUNTERPARTS_MAX 8u

struct counterparts {
	struct repo *own, *other;
	const struct repair_options *options;
	struct snapshot_list list; /* of the other */
	const struct snapshot_entry *of[COUNTERPARTS_MAX];
	size_t count, exact;       /* the first exact ones are copies; only their lists can be equal */
	struct copy *copy;         /* from other to own, storing nothing; made when the first page is lost */
	/* Pages that were made and that we lack: in a file without a name; pages says where. */
	int fd;
	uint64_t end;
	struct id_table *pages;
	struct id_set tried;       /* roots of the other's lists that were made anew */
	/* The last file that was asked for. */
	struct buf path;
	size_t path_of;
	struct content content;
	bool has_content;
};

static void ignore_lost(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what)
{
	(void)cookie, (void)snapshot, (void)path, (void)path_len, (void)area, (void)what;
}

static const struct copy_sink no_sink = { ignore_lost, NULL };

/* --- life ------------------------------------------------------------------------------------ */

int counterparts_open(struct counterparts **ret, struct repo *own, const struct repair_options *options, struct error *err)
{
	CLEAN(counterparts_cleanup) struct counterparts *c = calloc(1, sizeof *c);
	if (!c)
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	*c = (struct counterparts){ .own = own, .other = options->from, .options = options, .fd = -1, .path = BUF_INIT };
	if (repo_snapshots(options->from, &c->list, err) < 0)
		return error_add(err, "the other repository");
	*ret = TAKE(c);
	return 0;
}

void counterparts_free(struct counterparts *c)
{
	if (!c)
		return;
	copy_free(c->copy);
	id_table_free(c->pages);
	if (c->fd >= 0)
		close(c->fd);
	id_set_done(&c->tried);
	content_done(&c->content);
	buf_done(&c->path);
	snapshot_list_done(&c->list);
	free(c);
}

/* --- which snapshots -------------------------------------------------------------------------- */

static bool is_copy_of(const struct snapshot *copy, const struct repo *from, const struct id *id)
{
	return copy->has_origin && id_equal(&copy->origin_repository, &from->header.repository) && id_equal(&copy->origin, id);
}

static bool is_exact(const struct counterparts *c, const struct id *id, const struct snapshot *s, const struct snapshot_entry *there)
{
	const struct snapshot *t = &there->snapshot;
	if (t->kind != s->kind)
		return false;
	if (is_copy_of(t, c->own, id) || is_copy_of(s, c->other, &there->id))
		return true;
	if (t->has_origin && s->has_origin && id_equal(&t->origin, &s->origin) && id_equal(&t->origin_repository, &s->origin_repository))
		return true;
	return time_compare(t->time, s->time) == 0 && strcmp(t->host, s->host) == 0;
}

static uint64_t seconds_between(const struct snapshot *a, const struct snapshot *b)
{
	return a->time.sec > b->time.sec ? (uint64_t)a->time.sec - (uint64_t)b->time.sec : (uint64_t)b->time.sec - (uint64_t)a->time.sec;
}

/* Keeps the nearest in time: what lies behind the first exact ones is ordered by that. */
static void add_near(struct counterparts *c, const struct snapshot *s, const struct snapshot_entry *e)
{
	size_t at = c->count;
	while (at > c->exact && seconds_between(&c->of[at - 1]->snapshot, s) > seconds_between(&e->snapshot, s))
		at--;
	if (at == COUNTERPARTS_MAX)
		return;
	c->count += c->count < COUNTERPARTS_MAX;
	memmove(&c->of[at + 1], &c->of[at], (c->count - at - 1) * sizeof *c->of);
	c->of[at] = e;
}

void counterparts_of(struct counterparts *c, const struct id *id, const struct snapshot *s)
{
	c->count = c->exact = 0;
	c->has_content = false;
	c->path.len = 0;
	for (size_t i = 0; i < c->list.count && c->exact < COUNTERPARTS_MAX; i++)
		if (is_exact(c, id, s, &c->list.items[i]))
			c->of[c->exact++] = &c->list.items[i];
	c->count = c->exact;
	for (size_t i = 0; i < c->list.count; i++) {
		const struct snapshot_entry *e = &c->list.items[i];
		if (e->snapshot.kind == s->kind && strcmp(e->snapshot.host, s->host) == 0 && !is_exact(c, id, s, e))
			add_near(c, s, e);
	}
}

int repair_has_counterparts(struct repo *own, struct repo *other, bool *ret, struct error *err)
{
	const struct repair_options options = { .from = other };
	CLEAN(snapshot_list_done) struct snapshot_list list = { 0 };
	CLEAN(counterparts_cleanup) struct counterparts *c = NULL;
	if (repo_snapshots(own, &list, err) < 0 || counterparts_open(&c, own, &options, err) < 0)
		return -1;
	bool any = !list.count;
	for (size_t i = 0; i < list.count && !any; i++) {
		counterparts_of(c, &list.items[i].id, &list.items[i].snapshot);
		any = c->count != 0;
	}
	*ret = any;
	return 0;
}

/* --- files there --------------------------------------------------------------------------------- */

static bool find_entry(struct repo *r, const struct id *root, const void *name, size_t len, struct node *ret)
{
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	const struct seq_key wanted = { name, len };
	const uint8_t *record;
	size_t record_len;
	bool more;
	if (seq_reader_new(&reader, SEQ_ENTRIES, root, repo_get_page, r, NULL) < 0 || seq_seek_key(reader, name, len, NULL) < 0)
		return false;
	while (seq_next(reader, &more, &record, &record_len, NULL, NULL) == 0 && more) {
		struct seq_key key;
		if (node_decode_name(record, record_len, &key.bytes, &key.len, NULL) < 0)
			return false;
		int order = seq_key_compare(key, wanted);
		if (order >= 0)
			return order == 0 && node_decode(ret, record, record_len, NULL) == 0;
	}
	return false;
}

/* The tree in which w is: of the snapshot, or of the same volume. NULL: there is none. */
static const struct snapshot_volume *same_volume(const struct snapshot *there, const struct walk *w)
{
	for (size_t i = 0; w->volume && i < there->volume_count; i++)
		if (there->volumes[i].number == w->volume->number && there->volumes[i].has_tree)
			return &there->volumes[i];
	return NULL;
}

/* ret: whose entries or content are meant; false: there is nothing at this path. *ret_tree: root of the entries, where it is a folder. */
static bool find_path(struct counterparts *c, const struct snapshot *there, const struct walk *w, struct node *ret, struct id *ret_tree)
{
	const struct snapshot_volume *volume = same_volume(there, w);
	struct id tree = there->tree;
	if (w->volume && !volume)
		return false;
	if (volume)
		tree = volume->tree;
	const char *path = (const char *)w->path.data;
	for (size_t at = w->root_len, end; at < w->path.len; at = end) {
		const char *name = path + at + 1;
		const char *slash = memchr(name, '/', w->path.len - at - 1);
		end = slash ? (size_t)(slash - path) : w->path.len;
		node_done(ret);
		*ret = (struct node){ 0 };
		if (!find_entry(c->other, &tree, name, end - at - 1, ret) || (end < w->path.len && !ret->has_tree))
			return false;
		tree = ret->tree;
	}
	*ret_tree = tree;
	return true;
}

static bool find_inode(struct counterparts *c, const struct snapshot *there, const struct walk *w, struct content *ret)
{
	const struct snapshot_volume *volume = same_volume(there, w);
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	const uint8_t *record;
	size_t len;
	bool more;
	uint8_t key[8];
	inode_record_key(w->inode, key);
	if (!volume || seq_reader_new(&reader, SEQ_INODES, &volume->inodes, repo_get_page, c->other, NULL) < 0 || seq_seek_key(reader, key, sizeof key, NULL) < 0)
		return false;
	while (seq_next(reader, &more, &record, &len, NULL, NULL) == 0 && more) {
		CLEAN(inode_record_done) struct inode_record inode = { 0 };
		if (inode_record_decode(&inode, record, len, NULL) < 0 || inode.number > w->inode)
			return false;
		if (inode.number == w->inode)
			return inode.has_content && content_copy(ret, &inode.content) == 0;
	}
	return false;
}

/* c->content: of the file at which w is, in the counterpart. */
static bool find_content(struct counterparts *c, size_t which, const struct walk *w)
{
	CLEAN(node_done) struct node node = { 0 };
	struct id tree;
	if (!w->in_inodes && c->path.len && c->path_of == which && c->path.len == w->path.len && memcmp(c->path.data, w->path.data, w->path.len) == 0)
		return c->has_content;
	content_done(&c->content);
	c->content = (struct content){ 0 };
	c->path.len = 0;
	const struct snapshot *there = &c->of[which]->snapshot;
	if (w->in_inodes)
		return c->has_content = find_inode(c, there, w, &c->content);
	c->has_content = find_path(c, there, w, &node, &tree) && node.has_content && content_copy(&c->content, &node.content) == 0;
	c->path_of = which;
	buf_add(&c->path, w->path.data, w->path.len);
	if (!buf_ok(&c->path))
		buf_done(&c->path);
	return c->has_content;
}

/* --- bytes there ------------------------------------------------------------------------------------- */

/* What of the wanted bytes lies in the part that begins at start: copied to its place. */
static bool take_part(struct repo *r, const struct content_part *part, uint64_t start, uint64_t offset, size_t len, uint8_t *data)
{
	uint64_t from = start > offset ? start : offset, end = start + part->length < offset + len ? start + part->length : offset + len;
	if (from >= end)
		return true;
	if (part->kind == CONTENT_HOLE) {
		memset(data + (from - offset), 0, (size_t)(end - from));
		return true;
	}
	return repo_get_range(r, CHUNK_DATA, &part->chunk, (uint32_t)(from - start), data + (from - offset), (size_t)(end - from), NULL) == 0;
}

static bool take_paged(struct repo *r, const struct id *root, uint64_t offset, size_t len, uint8_t *data)
{
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	const uint8_t *record;
	size_t record_len;
	bool more;
	uint64_t start, end = 0;
	if (seq_reader_new(&reader, SEQ_CONTENT, root, repo_get_page, r, NULL) < 0 || seq_seek_span(reader, offset, NULL, NULL) < 0)
		return false;
	while (end < offset + len) {
		struct content_part part;
		if (seq_next(reader, &more, &record, &record_len, &start, NULL) < 0 || !more || content_part_decode(&part, record, record_len, NULL) < 0 ||
		    !take_part(r, &part, start, offset, len, data))
			return false;
		end = start + part.length;
	}
	return true;
}

bool counterpart_read(struct counterparts *c, const struct walk *w, uint64_t offset, size_t len, unsigned which, struct buf *ret, bool *ret_more)
{
	*ret_more = which < c->count;
	if (!*ret_more || !find_content(c, which, w))
		return false;
	buf_clear(ret);
	if (!buf_reserve(ret, len))
		return false;
	ret->len = len;
	if (c->content.paged)
		return take_paged(c->other, &c->content.root, offset, len, ret->data);
	uint64_t start = 0;
	for (size_t i = 0; i < c->content.count; start += c->content.parts[i++].length)
		if (!take_part(c->other, &c->content.parts[i], start, offset, len, ret->data))
			return false;
	return start >= offset + len;
}

bool counterpart_read_disk(struct counterparts *c, unsigned which, uint64_t offset, void *data, size_t len, bool *ret_more)
{
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	const uint8_t *record;
	size_t record_len;
	bool more;
	uint64_t start, end = 0;
	*ret_more = which < c->count;
	if (!*ret_more || seq_reader_new(&reader, SEQ_MAP, &c->of[which]->snapshot.map, repo_get_page, c->other, NULL) < 0 || seq_seek_span(reader, offset, NULL, NULL) < 0)
		return false;
	while (end < offset + len) {
		struct map_range range;
		if (seq_next(reader, &more, &record, &record_len, &start, NULL) < 0 || !more || map_range_decode(&range, record, record_len, NULL) < 0)
			return false;
		end = start + range.length;
		if (end <= offset)
			continue;
		uint64_t from = start > offset ? start : offset, to = end < offset + len ? end : offset + len;
		uint8_t *at = (uint8_t *)data + (from - offset);
		if (range.kind != MAP_DATA)
			memset(at, 0, (size_t)(to - from));
		else if (repo_get_range(c->other, CHUNK_DATA, &range.chunk, range.offset + (uint32_t)(from - start), at, (size_t)(to - from), NULL) < 0)
			return false;
	}
	return true;
}

/* --- lists, made anew ----------------------------------------------------------------------------------- */

static int open_pages(struct counterparts *c, struct error *err)
{
	const char *folder = getenv("TMPDIR");
	const struct copy_options options = { .threads = task_processors(), .host = c->options->host, .progress = c->options->progress };
	if (c->copy)
		return 0;
	if (c->fd < 0)
		c->fd = open(folder && *folder ? folder : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (c->fd < 0)
		return error_sys(err, errno, "make a file in the folder for temporary files");
	if (!c->pages && id_table_open(&c->pages, NULL, c->own->keys, 0, err) < 0)
		return -1;
	return copy_new(&c->copy, c->other, c->own, &options, &no_sink, err);
}

static int write_all(int fd, const uint8_t *data, size_t len, uint64_t offset, struct error *err)
{
	while (len) {
		ssize_t n = pwrite(fd, data, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_sys(err, n < 0 ? errno : EIO, "write to a file in the folder for temporary files");
		data += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

/* A seq_put_fn: what our page would be called, and keeps it where we lack it. In a dry run lost packs are in the index still. */
static int keep_page(void *cookie, const void *page, size_t len, struct id *ret, struct error *err)
{
	struct counterparts *c = cookie;
	struct place place;
	struct id id, where = { { 0 } };
	bool found;
	seal_chunk_id(c->own->keys, CHUNK_META, page, len, &id);
	if (index_find(c->own->index, &id, &found, &place, err) < 0)
		return -1;
	if (!found || c->options->dry_run) {
		put_le64(where.b, c->end);
		put_le64(where.b + 8, len);
		if (write_all(c->fd, page, len, c->end, err) < 0 || id_table_set(c->pages, &id, &where, err) < 0)
			return -1;
		c->end += len;
	}
	*ret = id;
	return 0;
}

static int find_page(struct counterparts *c, const struct id *id, struct buf *ret, bool *ret_there, struct error *err)
{
	struct id where, actual;
	bool found;
	*ret_there = false;
	if (!c->pages)
		return 0;
	if (id_table_find(c->pages, id, &found, &where, err) < 0)
		return -1;
	uint64_t len = found ? get_le64(where.b + 8) : 0;
	if (!len || len > SEAL_BLOCK_MAX)
		return 0;
	buf_clear(ret);
	if (!buf_reserve(ret, len))
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	ssize_t n = pread(c->fd, ret->data, len, (off_t)get_le64(where.b));
	if (n < 0 || (uint64_t)n != len)
		return 0;
	ret->len = (size_t)len;
	seal_chunk_id(c->own->keys, CHUNK_META, ret->data, ret->len, &actual);
	*ret_there = id_equal(&actual, id);
	return 0;
}

/* The other's list that stands for the one at which w is. */
static bool find_list(struct counterparts *c, size_t which, const struct walk *w, enum seq_kind kind, struct id *ret)
{
	CLEAN(node_done) struct node node = { 0 };
	const struct snapshot *there = &c->of[which]->snapshot;
	if (kind == SEQ_MAP) {
		*ret = there->map;
		return true;
	}
	if (kind == SEQ_CONTENT) {
		if (!find_content(c, which, w) || !c->content.paged)
			return false;
		*ret = c->content.root;
		return true;
	}
	if (kind == SEQ_ENTRIES)
		return find_path(c, there, w, &node, ret) && (w->path.len == w->root_len || node.has_tree);
	const struct snapshot_volume *volume = same_volume(there, w);
	if (volume)
		*ret = volume->inodes;
	return volume != NULL;
}

int counterpart_page(struct counterparts *c, const struct walk *w, enum seq_kind kind, const struct id *id, struct buf *ret, bool *ret_there, struct error *err)
{
	if (find_page(c, id, ret, ret_there, err) < 0)
		return -1;
	for (size_t i = 0; i < c->exact && !*ret_there; i++) {
		struct error why = { 0 };
		struct id root;
		if (!find_list(c, i, w, kind, &root) || id_set_has(&c->tried, &root))
			continue;
		if (open_pages(c, err) < 0 || id_set_add(&c->tried, &root, err) < 0)
			return -1;
		if (copy_translate(c->copy, kind, &root, keep_page, c, &why) < 0 && !copy_is_damage(&why)) {
			*err = why;
			return -1;
		}
		if (find_page(c, id, ret, ret_there, err) < 0)
			return -1;
	}
	return 0;
}
