/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What of a region has to be read, in physical order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "capture/volume.h"

#define WINDOW_METADATA (64u << 10)
#define WINDOW_RAW (1u << 20)

static int no_memory(struct error *err)
{
	return error_set(err, ERR_NOMEM, "plan the image: out of memory");
}

static int add_range(struct byte_range **list, size_t *count, size_t *cap, uint64_t at, uint64_t length)
{
	if (length == 0)
		return 0;
	if (*count && (*list)[*count - 1].at + (*list)[*count - 1].length == at) {
		(*list)[*count - 1].length += length;
		return 0;
	}
	if (image_grow((void **)list, *count, cap, sizeof **list) < 0)
		return -1;
	(*list)[(*count)++] = (struct byte_range){ at, length };
	return 0;
}

/* --- what the reader says --------------------------------------------------------------- */

static int note_used(void *cookie, uint64_t at, uint64_t length)
{
	struct volume *v = cookie;
	return add_range(&v->used, &v->used_count, &v->used_cap, at, length);
}

static int keep_extents(struct volume_file *file, const struct fs_inode *inode)
{
	if (!inode->extent_count)
		return 0;
	file->extents = malloc(inode->extent_count * sizeof *file->extents);
	if (!file->extents)
		return -1;
	memcpy(file->extents, inode->extents, inode->extent_count * sizeof *file->extents);
	file->extent_count = inode->extent_count;
	return 0;
}

static int note_inode(void *cookie, const struct fs_inode *inode)
{
	struct volume *v = cookie;
	if (inode->content != FS_EXTENTS || !S_ISREG(inode->attr.mode))
		return 0;
	if (image_grow((void **)&v->files, v->file_count, &v->file_cap, sizeof *v->files) < 0)
		return -1;
	struct volume_file *file = &v->files[v->file_count++];
	*file = (struct volume_file){ .inode = inode->number,
		                      .size = inode->attr.size,
		                      .generation = inode->generation,
		                      .mtime = inode->attr.mtime,
		                      .ctime = inode->attr.ctime };
	return keep_extents(file, inode);
}

/* --- what files hold, and what is left -------------------------------------------------------- */

#define SLACK_MAX (64u << 10) /* a cluster of bigalloc may be far larger; what lies behind goes into windows */

uint64_t volume_whole(const struct volume *v, const struct volume_file *file)
{
	uint64_t block = v->fs->info.block_size < SLACK_MAX ? v->fs->info.block_size : SLACK_MAX;
	return (file->size + block - 1) / block * block;
}

/* Bytes of the extent that the file's own bytes and the rest of its last block take. */
static uint64_t claimed_length(const struct volume *v, const struct volume_file *file, const struct fs_extent *e)
{
	uint64_t end = e->logical + e->length, whole = volume_whole(v, file);
	if (e->unwritten || e->logical >= file->size)
		return 0;
	return end <= whole ? e->length : whole - e->logical;
}

static int by_place(const void *a, const void *b)
{
	const struct byte_range *x = a, *y = b;
	return x->at < y->at ? -1 : x->at > y->at;
}

/* Everything that files claim, ascending. ret_clash: two claims overlap. */
static int list_claims(const struct volume *v, struct byte_range **ret, size_t *ret_count, bool *ret_clash, struct error *err)
{
	struct byte_range *claims = NULL;
	size_t count = 0, cap = 0;
	for (size_t i = 0; i < v->file_count; i++)
		for (size_t e = 0; e < v->files[i].extent_count; e++) {
			const struct fs_extent *extent = &v->files[i].extents[e];
			uint64_t length = claimed_length(v, &v->files[i], extent);
			if (!length)
				continue;
			if (image_grow((void **)&claims, count, &cap, sizeof *claims) < 0) {
				free(claims);
				return no_memory(err);
			}
			claims[count++] = (struct byte_range){ extent->physical, length };
		}
	if (count)
		qsort(claims, count, sizeof *claims, by_place);
	*ret_clash = false;
	for (size_t i = 1; i < count; i++)
		if (claims[i - 1].at + claims[i - 1].length > claims[i].at)
			*ret_clash = true;
	*ret = claims;
	*ret_count = count;
	return 0;
}

/* v->ranges = v->used without claims. ret_clash: a claim lies outside of what is used. */
static int subtract_claims(struct volume *v, const struct byte_range *claims, size_t count, bool *ret_clash, struct error *err)
{
	size_t c = 0;
	for (size_t i = 0; i < v->used_count; i++) {
		uint64_t at = v->used[i].at, end = at + v->used[i].length;
		for (; c < count && claims[c].at < end; c++) {
			if (claims[c].at < at || claims[c].at + claims[c].length > end) {
				*ret_clash = true;
				return 0;
			}
			if (add_range(&v->ranges, &v->range_count, &v->range_cap, at, claims[c].at - at) < 0)
				return no_memory(err);
			at = claims[c].at + claims[c].length;
		}
		if (add_range(&v->ranges, &v->range_count, &v->range_cap, at, end - at) < 0)
			return no_memory(err);
	}
	if (c < count)
		*ret_clash = true;
	return 0;
}

/* --- pieces --------------------------------------------------------------------------------- */

static int add_piece(struct volume *v, const struct piece *piece, struct error *err)
{
	if (image_grow((void **)&v->pieces, v->piece_count, &v->piece_cap, sizeof *v->pieces) < 0)
		return no_memory(err);
	v->pieces[v->piece_count++] = *piece;
	return 0;
}

/* Cuts v->ranges at window borders, and makes one piece of all that lies in one window. */
static int add_windows(struct volume *v, struct error *err)
{
	struct byte_range *whole = v->ranges;
	size_t count = v->range_count;
	v->ranges = NULL;
	v->range_count = v->range_cap = 0;
	int done = 0;
	uint64_t current = UINT64_MAX;
	for (size_t i = 0; done == 0 && i < count; i++) {
		uint64_t at = whole[i].at, end = at + whole[i].length;
		while (done == 0 && at < end) {
			uint64_t window = at / v->window, stop = (window + 1) * v->window;
			uint64_t length = (stop < end ? stop : end) - at;
			if (image_grow((void **)&v->ranges, v->range_count, &v->range_cap, sizeof *v->ranges) < 0) {
				done = no_memory(err);
				break;
			}
			v->ranges[v->range_count] = (struct byte_range){ at, length };
			if (window == current)
				v->pieces[v->piece_count - 1].count++;
			else
				done = add_piece(v, &(struct piece){ at, PIECE_WINDOW, 1, v->range_count }, err);
			v->range_count++;
			v->planned += length;
			current = window;
			at += length;
		}
	}
	free(whole);
	return done;
}

static int add_files(struct volume *v, struct error *err)
{
	for (size_t i = 0; i < v->file_count; i++) {
		const struct volume_file *file = &v->files[i];
		uint64_t at = file->extent_count ? file->extents[0].physical : 0;
		for (size_t e = 0; e < file->extent_count; e++)
			v->planned += claimed_length(v, file, &file->extents[e]);
		if (add_piece(v, &(struct piece){ at, PIECE_FILE, 0, i }, err) < 0)
			return -1;
	}
	return 0;
}

static int pieces_by_place(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;
	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->kind < y->kind ? -1 : x->kind > y->kind;
}

/* --- the whole ---------------------------------------------------------------------------------- */

static void files_done(struct volume *v)
{
	for (size_t i = 0; i < v->file_count; i++) {
		free(v->files[i].extents);
		content_done(&v->files[i].content);
	}
	free(v->files);
	v->files = NULL;
	v->file_count = v->file_cap = 0;
}

/* Back to the start: nothing of the filesystem is believed. */
static void make_raw(struct volume *v, const char *reason)
{
	if (!v->reason[0])
		snprintf(v->reason, sizeof v->reason, "%s", reason);
	fs_close(v->fs);
	v->fs = NULL;
	files_done(v);
	free(v->used);
	free(v->ranges);
	v->used = v->ranges = NULL;
	v->used_count = v->used_cap = v->range_count = v->range_cap = 0;
	v->piece_count = 0;
	v->planned = 0;
}

static int open_fs(struct volume *v)
{
	struct error why = { 0 };
	if (v->image->options->raw) {
		snprintf(v->reason, sizeof v->reason, "raw was asked for");
	} else if (fs_open(&v->fs, v->block, &why) < 0) {
		snprintf(v->reason, sizeof v->reason, "its filesystem cannot be read: %.180s", why.text);
	} else if (!v->fs) {
		snprintf(v->reason, sizeof v->reason, "no reader for it");
	} else {
		v->info = v->fs->info;
		if (!v->fs->info.untrusted)
			return 0;
		make_raw(v, v->info.reason);
		return 0;
	}
	fs_identify(v->block, &v->info, NULL);
	return 0;
}

static int note_data(void *cookie, uint64_t at, uint64_t length, enum block_extent kind)
{
	struct volume *v = cookie;
	return kind == BLOCK_DATA ? add_range(&v->ranges, &v->range_count, &v->range_cap, at, length) : 0;
}

/* Data from there to the end of the region goes into ranges; holes of a sparse file are known to be zeros. */
static int plan_data(struct volume *v, uint64_t from, struct error *err)
{
	struct error why = { 0 };
	if (block_extents(v->block, from, v->block->size - from, note_data, v, &why) == 0)
		return 0;
	if (why.kind == ERR_NONE)
		return no_memory(err);
	return error_set(err, why.kind, "%s", why.text);
}

/* What lies behind the filesystem in its partition belongs to nobody: kept unless zero. */
static int plan_tail(struct volume *v, struct error *err)
{
	uint64_t end = v->fs->info.size;
	if (end >= v->block->size)
		return 0;
	if (note_used(v, end, v->block->size - end) < 0)
		return no_memory(err);
	return plan_data(v, end, err);
}

/* *ret_ok false: what the reader says contradicts itself, so it is not believed. */
static int plan_mapped(struct volume *v, bool *ret_ok, struct error *err)
{
	struct byte_range *claims = NULL;
	size_t count = 0;
	bool clash = false;
	*ret_ok = false;
	v->window = WINDOW_METADATA;
	struct error why = { 0 };
	if (v->fs->info.block_size == 0)
		return 0;
	if (v->fs->driver->used(v->fs, note_used, v, &why) != 0 || v->fs->driver->inodes(v->fs, note_inode, v, &why) != 0) {
		if (why.kind == ERR_NONE || why.kind == ERR_NOMEM)
			return no_memory(err);
		snprintf(v->reason, sizeof v->reason, "its filesystem cannot be read: %.180s", why.text);
		return 0;
	}
	if (v->fs->info.untrusted) {
		snprintf(v->reason, sizeof v->reason, "%s", v->fs->info.reason);
		return 0;
	}
	if (list_claims(v, &claims, &count, &clash, err) < 0)
		return -1;
	int done = clash ? 0 : subtract_claims(v, claims, count, &clash, err);
	free(claims);
	if (done < 0)
		return -1;
	if (clash) {
		snprintf(v->reason, sizeof v->reason, "two files share a block, or a file uses a block that is marked free");
		return 0;
	}
	if (plan_tail(v, err) < 0)
		return -1;
	if (add_windows(v, err) < 0 || add_files(v, err) < 0)
		return -1;
	if (v->piece_count)
		qsort(v->pieces, v->piece_count, sizeof *v->pieces, pieces_by_place);
	*ret_ok = true;
	return 0;
}

static int plan_raw(struct volume *v, struct error *err)
{
	v->window = v->gap ? WINDOW_METADATA : WINDOW_RAW;
	return plan_data(v, 0, err) < 0 ? -1 : add_windows(v, err);
}

int volume_plan(struct volume *v, struct error *err)
{
	bool ok = false;
	if (!v->gap && open_fs(v) < 0)
		return -1;
	if (v->fs && plan_mapped(v, &ok, err) < 0)
		return -1;
	if (ok)
		return 0;
	make_raw(v, "");
	return plan_raw(v, err);
}

void volume_done(struct volume *v)
{
	fs_close(v->fs);
	block_free(v->block);
	files_done(v);
	free(v->used);
	free(v->ranges);
	free(v->pieces);
	free(v->stored);
	free(v->unreadable);
	attr_done(&v->root_attr);
	pthread_mutex_destroy(&v->lock);
}
