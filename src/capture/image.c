/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "capture/image.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "capture/parent.h"
#include "capture/stream.h"
#include "capture/volume.h"
#include "part/part.h"
#include "repo/format/seq.h"

struct layout {
	struct part_table table;
	struct volume *volumes; /* every region of the disk, ascending, without gaps between them */
	size_t count;
};

void image_complain(struct image *image, const struct error *err)
{
	atomic_fetch_add(&image->warnings, 1);
	warn(image->options->warner, err);
}

int image_grow(void **items, size_t count, size_t *cap, size_t size)
{
	if (count < *cap)
		return 0;
	size_t more = *cap ? *cap + *cap / 2 : 64;
	void *grown = reallocarray(*items, more, size);
	if (!grown)
		return -1;
	*items = grown;
	*cap = more;
	return 0;
}

static int no_memory(struct error *err)
{
	return error_set(err, ERR_NOMEM, "take the image: out of memory");
}

/* --- layout ----------------------------------------------------------------------------- */

static void layout_done(struct layout *l)
{
	for (size_t i = 0; i < l->count; i++)
		volume_done(&l->volumes[i]);
	free(l->volumes);
	part_table_done(&l->table);
}

static int add_region(struct layout *l, struct image *image, uint64_t at, uint64_t size, const struct part *part, bool gap, struct error *err)
{
	char label[128];
	if (size == 0)
		return 0;
	if (part)
		snprintf(label, sizeof label, "p%u of %.100s", part->number, image->disk->label);
	else
		snprintf(label, sizeof label, "%.120s", image->disk->label);
	struct volume *v = &l->volumes[l->count];
	*v = (struct volume){ .image = image, .offset = at, .number = part ? part->number : 0, .gap = gap };
	pthread_mutex_init(&v->lock, NULL);
	l->count++;
	return block_open_slice(&v->block, image->disk, at, size, label, err);
}

static void warn_of_table(struct image *image, const struct part_table *t)
{
	struct error err;
	if (t->problem[0]) {
		error_set(&err, ERR_CORRUPT, "partition table of %s: %s", image->disk->label, t->problem);
		image_complain(image, &err);
	}
	if (t->kind == PART_GPT && (t->primary_bad || t->backup_bad)) {
		error_set(&err, ERR_CORRUPT, "partition table of %s: its %s GPT is damaged; the image holds it as it is", image->disk->label,
		          t->primary_bad ? "primary" : "backup");
		image_complain(image, &err);
	}
}

static int lay_out(struct layout *l, struct image *image, struct error *err)
{
	struct block *disk = image->disk;
	if (part_read(&l->table, disk, err) < 0)
		return -1;
	warn_of_table(image, &l->table);
	l->volumes = calloc(l->table.count * 2 + 1, sizeof *l->volumes);
	if (!l->volumes)
		return no_memory(err);
	if (l->table.kind == PART_NONE || !l->table.count)
		return add_region(l, image, 0, disk->size, NULL, l->table.kind != PART_NONE, err);
	uint64_t at = 0;
	for (size_t i = 0; i < l->table.count; i++) {
		const struct part *p = &l->table.parts[i];
		if (add_region(l, image, at, p->offset - at, NULL, true, err) < 0 || add_region(l, image, p->offset, p->size, p, false, err) < 0)
			return -1;
		at = p->offset + p->size;
	}
	return add_region(l, image, at, disk->size - at, NULL, true, err);
}

static void tell_raw(struct image *image, const struct volume *v)
{
	struct error err;
	if (v->gap || v->fs || !v->reason[0] || image->options->raw)
		return;
	/* A reader that distrusts what it sees is worth a warning; that there is no reader yet is not. */
	if (strcmp(v->reason, "no reader for it") == 0)
		return;
	error_set(&err, ERR_CORRUPT, "%s is stored raw, all that is not zero: %s", v->block->label, v->reason);
	image_complain(image, &err);
}

static int plan_all(struct layout *l, struct image *image, struct error *err)
{
	progress_counting(image->options->progress, true);
	for (size_t i = 0; i < l->count; i++) {
		if (volume_plan(&l->volumes[i], err) < 0)
			return -1;
		tell_raw(image, &l->volumes[i]);
		progress_add_total(image->options->progress, l->volumes[i].file_count, l->volumes[i].planned);
	}
	progress_counting(image->options->progress, false);
	return 0;
}

static int read_all(struct layout *l, struct image *image, struct error *err)
{
	for (size_t i = 0; i < l->count; i++) {
		struct volume *v = &l->volumes[i];
		progress_current(image->options->progress, v->block->label, strlen(v->block->label));
		if (volume_read(v, err) < 0 || (v->fs && volume_trees(v, pool_slots(image->pool) - 1, err) < 0))
			return -1;
	}
	return 0;
}

/* --- map ---------------------------------------------------------------------------------- */

struct map_writer {
	struct seq_writer *pages;
	struct buf record;
	uint64_t at;                /* the disk up to here is written */
	struct map_range pending;   /* length 0: none; equal neighbours are joined */
};

/* In pieces where it is longer than a record can say. */
static int put_range(struct map_writer *m, const struct map_range *range, struct error *err)
{
	struct map_range r = *range;
	for (uint64_t left = range->length; left; left -= r.length) {
		r.length = left < MAP_LENGTH_MAX ? left : MAP_LENGTH_MAX;
		buf_clear(&m->record);
		map_range_encode(&m->record, &r);
		if (!buf_ok(&m->record))
			return no_memory(err);
		if (seq_add(m->pages, m->record.data, m->record.len, NULL, 0, r.length, err) < 0)
			return -1;
	}
	return 0;
}

static int add_to_map(struct map_writer *m, const struct map_range *r, struct error *err)
{
	m->at += r->length;
	if (!r->length)
		return 0;
	if (m->pending.length && r->kind == m->pending.kind && r->kind != MAP_DATA) {
		m->pending.length += r->length;
		return 0;
	}
	if (put_range(m, &m->pending, err) < 0)
		return -1;
	m->pending = *r;
	return 0;
}

/* What no chunk holds: unused where the filesystem says free, else zero. */
static int add_empty(struct map_writer *m, const struct volume *v, size_t *used, uint64_t to, struct error *err)
{
	while (m->at < to) {
		uint64_t here = m->at - v->offset, end = to - v->offset, stop = end;
		enum map_kind kind = MAP_ZERO;
		if (v->used) {
			while (*used < v->used_count && v->used[*used].at + v->used[*used].length <= here)
				++*used;
			const struct byte_range *u = *used < v->used_count ? &v->used[*used] : NULL;
			bool in_use = u && u->at <= here;
			kind = in_use ? MAP_ZERO : MAP_UNUSED;
			stop = in_use ? u->at + u->length : u ? u->at : end;
		}
		struct map_range r = { .kind = kind, .length = (stop < end ? stop : end) - here };
		if (add_to_map(m, &r, err) < 0)
			return -1;
	}
	return 0;
}

static int stored_by_place(const void *a, const void *b)
{
	const struct stored_range *x = a, *y = b;
	return x->at < y->at ? -1 : x->at > y->at;
}

static int unreadable_by_place(const void *a, const void *b)
{
	const struct byte_range *x = a, *y = b;
	return x->at < y->at ? -1 : x->at > y->at;
}

/* Unreadable ranges up to a place, each after what lies before it. One may reach past that place. */
static int add_unreadable(struct map_writer *m, const struct volume *v, size_t *used, size_t *next, uint64_t to, struct error *err)
{
	for (; *next < v->unreadable_count && v->offset + v->unreadable[*next].at < to; ++*next) {
		uint64_t at = v->offset + v->unreadable[*next].at, end = at + v->unreadable[*next].length, stop = end < to ? end : to;
		if (at < m->at)
			at = m->at;
		if (at < stop && (add_empty(m, v, used, at, err) < 0 || add_to_map(m, &(struct map_range){ .kind = MAP_UNREADABLE, .length = stop - at }, err) < 0))
			return -1;
		if (end > to)
			break;
	}
	return add_empty(m, v, used, to, err);
}

/* A stored range without what of it the device did not give: there the chunk holds zeros that never were on the disk. */
static int add_stored(struct map_writer *m, const struct volume *v, const struct stored_range *s, size_t *next, struct error *err)
{
	uint64_t at = s->at, end = s->at + s->length;
	while (at < end) {
		while (*next < v->unreadable_count && v->unreadable[*next].at + v->unreadable[*next].length <= at)
			++*next;
		const struct byte_range *bad = *next < v->unreadable_count && v->unreadable[*next].at < end ? &v->unreadable[*next] : NULL;
		bool readable = !bad || bad->at > at;
		uint64_t stop = !bad ? end : readable ? bad->at : bad->at + bad->length;
		if (stop > end)
			stop = end;
		struct map_range r = { .kind = MAP_UNREADABLE, .length = stop - at };
		if (readable) {
			r.kind = MAP_DATA;
			r.chunk = s->chunk;
			r.offset = s->offset + (uint32_t)(at - s->at);
			r.chunk_length = s->chunk_length;
		}
		if (add_to_map(m, &r, err) < 0)
			return -1;
		at = stop;
	}
	return 0;
}

static int map_volume(struct map_writer *m, struct volume *v, struct error *err)
{
	size_t used = 0, bad = 0;
	if (v->stored_count)
		qsort(v->stored, v->stored_count, sizeof *v->stored, stored_by_place);
	if (v->unreadable_count)
		qsort(v->unreadable, v->unreadable_count, sizeof *v->unreadable, unreadable_by_place);
	for (size_t i = 0; i < v->stored_count; i++) {
		const struct stored_range *s = &v->stored[i];
		if (v->offset + s->at < m->at)
			return error_set(err, ERR_CORRUPT, "image of %s: one byte is stored twice; this is a defect of the program, please report it", v->block->label);
		if (add_unreadable(m, v, &used, &bad, v->offset + s->at, err) < 0 || add_stored(m, v, s, &bad, err) < 0)
			return -1;
	}
	return add_unreadable(m, v, &used, &bad, v->offset + v->block->size, err);
}

static int store_map(struct layout *l, struct image *image, struct id *ret, struct error *err)
{
	struct writer_slot at = { image->writer, pool_slots(image->pool) - 1 };
	struct map_writer m = { .record = BUF_INIT };
	int done = seq_writer_new(&m.pages, SEQ_MAP, writer_put_page, &at, err);
	for (size_t i = 0; done == 0 && i < l->count; i++)
		done = map_volume(&m, &l->volumes[i], err);
	if (done == 0)
		done = put_range(&m, &m.pending, err);
	if (done == 0)
		done = seq_finish(m.pages, ret, err);
	seq_writer_free(m.pages);
	buf_done(&m.record);
	return done;
}

/* --- snapshot --------------------------------------------------------------------------------- */

static int copy_text(char **ret, const char *text)
{
	*ret = strdup(text);
	return *ret ? 0 : -1;
}

static int describe_volume(struct snapshot_volume *s, const struct volume *v, const struct part *part)
{
	*s = (struct snapshot_volume){ .number = v->number, .offset = v->offset, .size = v->block->size, .fs_used = v->info.used, .raw = !v->used };
	if (part) {
		s->mbr_type = part->mbr_type;
		memcpy(s->type_guid, part->type_guid, sizeof s->type_guid);
		memcpy(s->guid, part->guid, sizeof s->guid);
	}
	s->has_tree = v->has_tree;
	s->tree = v->tree;
	s->inodes = v->inodes;
	if (v->has_tree && attr_copy(&s->root_attr, &v->root_attr) < 0)
		return -1;
	return copy_text(&s->name, part ? part->name : "") < 0 || copy_text(&s->fs_type, v->info.type) < 0 || copy_text(&s->fs_uuid, v->info.uuid) < 0 ||
	                       copy_text(&s->fs_label, v->info.label) < 0 || copy_text(&s->raw_reason, v->reason) < 0
	               ? -1
	               : 0;
}

static int describe_volumes(struct snapshot *s, const struct layout *l, struct error *err)
{
	s->volumes = calloc(l->count, sizeof *s->volumes);
	if (!s->volumes)
		return no_memory(err);
	size_t part = 0;
	for (size_t i = 0; i < l->count; i++) {
		const struct volume *v = &l->volumes[i];
		if (v->gap)
			continue;
		const struct part *p = v->number ? &l->table.parts[part++] : NULL;
		if (describe_volume(&s->volumes[s->volume_count++], v, p) < 0)
			return no_memory(err);
	}
	return 0;
}

static int describe(struct snapshot *s, const struct capture_image_options *o, const struct block *disk, struct error *err)
{
	char path[PATH_MAX];
	const char *source = realpath(o->path, path) ? path : o->path;
	s->kind = SNAPSHOT_IMAGE;
	s->disk_size = disk->size;
	s->sector = disk->sector;
	if (copy_text(&s->host, o->host) < 0 || copy_text(&s->user, o->user) < 0 || copy_text(&s->program, o->program) < 0 || copy_text(&s->model, "") < 0 ||
	    blob_list_add(&s->sources, source, strlen(source)) < 0)
		return no_memory(err);
	for (size_t i = 0; i < o->tag_count; i++)
		if (blob_list_add(&s->tags, o->tags[i], strlen(o->tags[i])) < 0)
			return no_memory(err);
	return 0;
}

static void take_totals(struct snapshot *s, const struct image *image, const struct layout *l)
{
	s->totals.files = image->files;
	s->totals.dirs = image->dirs;
	s->totals.others = image->others;
	s->totals.bytes = image->disk->size;
	s->totals.bytes_read = image->bytes_read;
	s->totals.warnings = image->warnings;
	s->table = (uint8_t)l->table.kind;
	s->mbr_signature = l->table.mbr_signature;
	memcpy(s->disk_guid, l->table.disk_guid, sizeof s->disk_guid);
}

/* --- the whole ----------------------------------------------------------------------------------- */

static int store_all(struct image *image, struct layout *l, struct snapshot *s, struct error *err)
{
	if (lay_out(l, image, err) < 0 || plan_all(l, image, err) < 0 || read_all(l, image, err) < 0 || store_map(l, image, &s->map, err) < 0 ||
	    describe_volumes(s, l, err) < 0)
		return -1;
	take_totals(s, image, l);
	return 0;
}

/* The submitting thread reads pieces too when the pool is busy, so it counts as one of the threads. */
static int run(struct image *image, struct snapshot *s, unsigned threads, struct error *err)
{
	static const unsigned limits[POOL_LANES] = { [POOL_FINISH] = 4, [POOL_CONTENT] = 2 };
	struct layout l = { 0 };
	if (pool_new(&image->pool, threads > 1 ? threads - 1 : 1, 1, limits, err) < 0)
		return -1;
	unsigned slots = pool_slots(image->pool);
	image->scratch = calloc(slots, sizeof *image->scratch);
	int done = image->scratch ? store_all(image, &l, s, err) : no_memory(err);
	layout_done(&l);
	pool_free(image->pool);
	for (unsigned i = 0; image->scratch && i < slots; i++)
		free(image->scratch[i]);
	free(image->scratch);
	return done;
}

static int capture(struct repo *repo, const struct capture_image_options *o, struct image *image, struct snapshot *s, struct id *ret_id, struct error *err)
{
	struct timespec start, end;
	struct snapshot parent = { 0 };
	clock_gettime(CLOCK_REALTIME, &start);
	s->time = (struct time_ns){ start.tv_sec, (uint32_t)start.tv_nsec };
	CLEAN(writer_cleanup) struct writer *writer = NULL;
	unsigned threads = o->threads ? o->threads : task_processors();
	struct writer_options options = { .slots = threads + 1, .level = o->level, .work = WORK_IMAGE, .host = o->host };
	if (describe(s, o, image->disk, err) < 0 || writer_begin(&writer, repo, &options, err) < 0)
		return -1;
	image->writer = writer;
	if (capture_find_parent(repo, s, &s->has_parent, &s->parent, &parent, err) < 0)
		return -1;
	snapshot_done(&parent);
	if (run(image, s, threads, err) < 0)
		return -1;
	clock_gettime(CLOCK_REALTIME, &end);
	s->totals.nanoseconds = (uint64_t)((end.tv_sec - start.tv_sec) * 1000000000ll + (end.tv_nsec - start.tv_nsec));
	return writer_commit(writer, s, ret_id, err);
}

int capture_image(struct repo *repo, const struct capture_image_options *o, struct snapshot *ret, struct id *ret_id, struct error *err)
{
	CLEAN_BLOCK struct block *disk = NULL;
	struct snapshot s = { 0 };
	if (block_open_file(&disk, o->path, false, err) < 0)
		return -1;
	if (disk->size == 0)
		return error_set(err, ERR_INVALID, "take an image of %s: it is empty", o->path);
	struct image image = { .options = o, .disk = disk };
	if (capture(repo, o, &image, &s, ret_id, err) < 0) {
		snapshot_done(&s);
		return -1;
	}
	*ret = s;
	return 0;
}
