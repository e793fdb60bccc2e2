/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The file tree and the inode table of a volume whose filesystem was understood. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "capture/record.h"
#include "capture/volume.h"
#include "repo/format/seq.h"

#define DEPTH_MAX 1024 /* folders within folders; Linux itself ends at paths of 4096 bytes */

struct tree_walk {
	struct volume *volume;
	struct writer_slot at;
	unsigned depth;
	uint64_t *seen; /* inodes of the folders that were listed: an open-addressing set, 0 is an empty place */
	size_t seen_count, seen_cap;
};

/* One name of a folder that is being listed. */
struct listed {
	char *name;
	size_t len;
	uint64_t inode;
};

struct listing {
	struct listed *items;
	size_t count, cap;
	uint64_t hostile; /* names that no tree can hold */
};

static int no_memory(struct error *err)
{
	return error_set(err, ERR_NOMEM, "store the file tree: out of memory");
}

static void listing_done(struct listing *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->items[i].name);
	free(l->items);
}

static int list_entry(void *cookie, const struct fs_entry *entry)
{
	struct listing *l = cookie;
	if (!entry->name_len || entry->name_len > NODE_NAME_MAX || memchr(entry->name, '/', entry->name_len) || memchr(entry->name, 0, entry->name_len)) {
		l->hostile++;
		return 0;
	}
	if (image_grow((void **)&l->items, l->count, &l->cap, sizeof *l->items) < 0)
		return -1;
	char *name = malloc(entry->name_len + 1);
	if (!name)
		return -1;
	memcpy(name, entry->name, entry->name_len);
	name[entry->name_len] = 0;
	l->items[l->count++] = (struct listed){ name, entry->name_len, entry->inode };
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

static void complain(struct tree_walk *w, uint64_t inode, const char *what)
{
	struct error err;
	error_set(&err, ERR_CORRUPT, "%s: inode %llu: %s", w->volume->block->label, (unsigned long long)inode, what);
	image_complain(w->volume->image, &err);
}

static const struct volume_file *find_file(const struct volume *v, uint64_t inode)
{
	size_t low = 0, high = v->file_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (v->files[middle].inode < inode)
			low = middle + 1;
		else
			high = middle;
	}
	return low < v->file_count && v->files[low].inode == inode ? &v->files[low] : NULL;
}

static int set_note(struct node *node, const char *text, struct error *err)
{
	if (node->note)
		return 0;
	node->note = strdup(text);
	return node->note ? 0 : no_memory(err);
}

/* --- nodes --------------------------------------------------------------------------------- */

static int inline_content(struct tree_walk *w, const struct fs_inode *inode, struct node *node, struct error *err)
{
	node->content.parts = calloc(1, sizeof *node->content.parts);
	if (!node->content.parts)
		return no_memory(err);
	node->has_content = true;
	if (!inode->attr.size)
		return 0;
	node->content.parts[0] = (struct content_part){ .kind = CONTENT_CHUNK, .length = inode->attr.size };
	node->content.count = 1;
	return writer_put(w->at.writer, w->at.slot, CHUNK_DATA, inode->inline_data, (size_t)inode->attr.size, &node->content.parts[0].chunk, err);
}

static int file_content(struct tree_walk *w, const struct fs_inode *inode, struct node *node, struct error *err)
{
	const struct volume_file *file = find_file(w->volume, inode->number);
	if (!file || file->size != inode->attr.size || file->failed) {
		node->incomplete = true;
		return set_note(node, "the device did not give all of it", err);
	}
	node->has_content = true;
	return content_copy(&node->content, &file->content) < 0 ? no_memory(err) : 0;
}

static int fill_content(struct tree_walk *w, const struct fs_inode *inode, struct node *node, struct error *err)
{
	if (inode->note[0] && set_note(node, inode->note, err) < 0)
		return -1;
	switch (inode->content) {
	case FS_EXTENTS: return S_ISREG(inode->attr.mode) ? file_content(w, inode, node, err) : 0;
	case FS_INLINE: return S_ISREG(inode->attr.mode) ? inline_content(w, inode, node, err) : 0;
	case FS_OPAQUE: return set_note(node, "its content is stored as raw blocks only", err);
	case FS_NO_CONTENT: return 0;
	}
	return 0;
}

static void count(struct tree_walk *w, const struct node *node)
{
	struct image *image = w->volume->image;
	if (S_ISREG(node->attr.mode))
		image->files++;
	else if (S_ISDIR(node->attr.mode))
		image->dirs++;
	else
		image->others++;
}

static int store_folder(struct tree_walk *w, uint64_t inode, struct id *ret, struct error *err);

/* node gets the entry's name, attributes, content and, for a folder, its tree. */
static int make_node(struct tree_walk *w, struct listed *entry, struct node *node, struct error *err)
{
	struct volume *v = w->volume;
	struct fs_inode inode = { 0 };
	struct error why = { 0 };
	node->name = TAKE(entry->name);
	node->name_len = entry->len;
	if (v->fs->driver->inode(v->fs, entry->inode, &inode, &why) < 0) {
		complain(w, entry->inode, why.text);
		node->attr = (struct attr){ .mode = S_IFREG, .ino = entry->inode, .nlink = 1 };
		node->incomplete = true;
		return set_note(node, "its inode cannot be read", err);
	}
	int done = fill_content(w, &inode, node, err);
	node->attr = inode.attr; /* moved */
	inode.attr = (struct attr){ 0 };
	fs_inode_done(&inode);
	if (done < 0)
		return -1;
	count(w, node);
	if (!S_ISDIR(node->attr.mode))
		return 0;
	node->has_tree = true;
	return store_folder(w, entry->inode, &node->tree, err);
}

/* --- folders ---------------------------------------------------------------------------------- */

static int add_node(struct tree_walk *w, struct seq_writer *pages, struct listed *entry, struct error *err)
{
	CLEAN(node_done) struct node node = { 0 };
	CLEAN_BUF struct buf record = BUF_INIT;
	if (make_node(w, entry, &node, err) < 0)
		return -1;
	struct error why;
	if (record_node(&record, &node, &why) < 0)
		return no_memory(err);
	if (why.kind)
		complain(w, entry->inode, why.text);
	return seq_add(pages, record.data, record.len, node.name, node.name_len, 1, err);
}

static uint64_t *seen_place(uint64_t *seen, size_t cap, uint64_t inode)
{
	size_t at = (size_t)(inode * 0x9e3779b97f4a7c15u >> 20) & (cap - 1);
	while (seen[at] && seen[at] != inode)
		at = (at + 1) & (cap - 1);
	return &seen[at];
}

/* 1: for the first time; 0: it was there before; -1: out of memory. A folder has one name; a disk that gives it several could make ways without end. */
static int see(struct tree_walk *w, uint64_t inode)
{
	if (w->seen_count * 2 >= w->seen_cap) {
		size_t cap = w->seen_cap ? w->seen_cap * 2 : 1024;
		uint64_t *grown = calloc(cap, sizeof *grown);
		if (!grown)
			return -1;
		for (size_t i = 0; i < w->seen_cap; i++)
			if (w->seen[i])
				*seen_place(grown, cap, w->seen[i]) = w->seen[i];
		free(w->seen);
		w->seen = grown;
		w->seen_cap = cap;
	}
	uint64_t *at = seen_place(w->seen, w->seen_cap, inode);
	if (*at)
		return 0;
	*at = inode;
	w->seen_count++;
	return 1;
}

static int list_folder(struct tree_walk *w, uint64_t inode, struct listing *l, struct error *err)
{
	struct error why = { 0 };
	int first = w->depth < DEPTH_MAX ? see(w, inode) : 0;
	if (first < 0)
		return no_memory(err);
	if (!first) {
		complain(w, inode, "this folder has a second name, contains itself, or lies too deep; its entries are left out of the tree here");
		return 0;
	}
	int done = w->volume->fs->driver->entries(w->volume->fs, inode, list_entry, l, &why);
	if (done != 0 && why.kind == ERR_NONE)
		return no_memory(err);
	if (done != 0)
		complain(w, inode, why.text);
	if (l->hostile)
		complain(w, inode, "this folder has names that no tree can hold; they are left out of it (the image itself holds them)");
	if (l->count)
		qsort(l->items, l->count, sizeof *l->items, by_name);
	return 0;
}

static int store_folder(struct tree_walk *w, uint64_t inode, struct id *ret, struct error *err)
{
	CLEAN(listing_done) struct listing l = { 0 };
	CLEAN(seq_writer_cleanup) struct seq_writer *pages = NULL;
	if (list_folder(w, inode, &l, err) < 0 || seq_writer_new(&pages, SEQ_ENTRIES, writer_put_page, &w->at, err) < 0)
		return -1;
	w->depth++;
	int done = 0;
	char *last = NULL;
	for (size_t i = 0; done == 0 && i < l.count; i++) {
		if (progress_stopped(w->volume->image->options->progress))
			done = error_set(err, ERR_CANCELLED, "stopped; what was stored so far is used by the next image");
		else if (last && strcmp(last, l.items[i].name) == 0)
			complain(w, inode, "this folder has one name twice; the second is left out of the tree");
		else {
			free(last);
			last = strdup(l.items[i].name);
			done = add_node(w, pages, &l.items[i], err);
		}
	}
	free(last);
	w->depth--;
	return done < 0 ? -1 : seq_finish(pages, ret, err);
}

/* --- inode table --------------------------------------------------------------------------------- */

static int encode_inode(struct buf *record, struct volume_file *f, struct error *err)
{
	struct inode_record r = { .number = f->inode,
		                  .generation = f->generation,
		                  .size = f->size,
		                  .mtime = f->mtime,
		                  .ctime = f->ctime,
		                  .extent_count = f->extent_count,
		                  .has_content = f->has_content,
		                  .content = f->content };
	r.extents = malloc((f->extent_count ? f->extent_count : 1) * sizeof *r.extents);
	if (!r.extents)
		return no_memory(err);
	for (size_t i = 0; i < f->extent_count; i++)
		r.extents[i] = (struct inode_extent){ f->extents[i].logical, f->extents[i].physical, f->extents[i].length, f->extents[i].unwritten };
	buf_clear(record);
	inode_record_encode(record, &r);
	free(r.extents);
	return buf_ok(record) ? 0 : no_memory(err);
}

static int store_inodes(struct volume *v, struct writer_slot *at, struct error *err)
{
	CLEAN(seq_writer_cleanup) struct seq_writer *pages = NULL;
	CLEAN_BUF struct buf record = BUF_INIT;
	if (seq_writer_new(&pages, SEQ_INODES, writer_put_page, at, err) < 0)
		return -1;
	for (size_t i = 0; i < v->file_count; i++) {
		uint8_t key[8];
		inode_record_key(v->files[i].inode, key);
		if (encode_inode(&record, &v->files[i], err) < 0)
			return -1;
		if (record.len > SEQ_RECORD_MAX) /* hundreds of thousands of extents: the next image reads the file again */
			continue;
		if (seq_add(pages, record.data, record.len, key, sizeof key, 1, err) < 0)
			return -1;
	}
	return seq_finish(pages, &v->inodes, err);
}

int volume_trees(struct volume *v, unsigned slot, struct error *err)
{
	struct tree_walk w = { .volume = v, .at = { v->image->writer, slot } };
	struct fs_inode root = { 0 };
	struct error why = { 0 };
	uint64_t number = v->fs->driver->root(v->fs);
	if (store_inodes(v, &w.at, err) < 0)
		return -1;
	if (!v->info.walkable || v->fs->driver->inode(v->fs, number, &root, &why) < 0 || !S_ISDIR(root.attr.mode)) {
		fs_inode_done(&root);
		snprintf(v->reason, sizeof v->reason, "its file tree cannot be read: %.180s", why.kind ? why.text : v->info.reason);
		return 0;
	}
	v->root_attr = root.attr;
	root.attr = (struct attr){ 0 };
	fs_inode_done(&root);
	v->image->dirs++;
	int done = store_folder(&w, number, &v->tree, err);
	free(w.seen);
	v->has_tree = done == 0;
	return done;
}
