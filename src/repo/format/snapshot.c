/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <sys/stat.h>

#include "repo/format/document.h"
#include "repo/format/tags.h"

/* Even: a reader that does not know it must refuse the snapshot. */
enum {
	TAG_KIND = 2,
	TAG_TIME = 4,
	TAG_HOST = 5,
	TAG_USER = 7,
	TAG_PROGRAM = 9,
	TAG_SOURCE = 11, /* repeated */
	TAG_TAG = 13,    /* repeated */
	TAG_SESSION = 14,
	TAG_PARENT = 15,
	TAG_TOTALS = 17,
	TAG_TREE = 18,   /* files only, and from here on: image only */
	TAG_DISK = 20,
	TAG_MODEL = 21,
	TAG_MAP = 22,
	TAG_VOLUME = 24, /* repeated */
	TAG_ORIGIN = 25,
};
#define TAGS_ONCE                                                                                                                                  \
	(TAG_BIT(TAG_KIND) | TAG_BIT(TAG_TIME) | TAG_BIT(TAG_HOST) | TAG_BIT(TAG_USER) | TAG_BIT(TAG_PROGRAM) | TAG_BIT(TAG_SESSION) |         \
	 TAG_BIT(TAG_PARENT) | TAG_BIT(TAG_TOTALS) | TAG_BIT(TAG_TREE) | TAG_BIT(TAG_DISK) | TAG_BIT(TAG_MODEL) | TAG_BIT(TAG_MAP) | TAG_BIT(TAG_ORIGIN))
#define TAGS_OF_IMAGES (TAG_BIT(TAG_DISK) | TAG_BIT(TAG_MODEL) | TAG_BIT(TAG_MAP) | TAG_BIT(TAG_VOLUME))

enum { VOLUME_RAW = 1, VOLUME_TREE = 2 };

/* --- memory ---------------------------------------------------------------------- */

void blob_list_done(struct blob_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->items[i].data);
	free(l->items);
	*l = (struct blob_list){ 0 };
}

int blob_list_add(struct blob_list *l, const void *data, size_t len)
{
	/* The room doubles at each power of two. */
	if ((l->count & (l->count - 1)) == 0) {
		struct blob *grown = realloc(l->items, (l->count ? 2 * l->count : 1) * sizeof *grown);
		if (!grown)
			return -1;
		l->items = grown;
	}
	char *copy = malloc(len + 1);
	if (!copy)
		return -1;
	if (len)
		memcpy(copy, data, len);
	copy[len] = 0;
	l->items[l->count++] = (struct blob){ copy, len };
	return 0;
}

static void volume_done(struct snapshot_volume *v)
{
	free(v->name);
	free(v->fs_type);
	free(v->fs_uuid);
	free(v->fs_label);
	free(v->raw_reason);
	attr_done(&v->root_attr);
	*v = (struct snapshot_volume){ 0 };
}

void snapshot_done(struct snapshot *s)
{
	free(s->host);
	free(s->user);
	free(s->program);
	free(s->model);
	blob_list_done(&s->sources);
	blob_list_done(&s->tags);
	for (size_t i = 0; i < s->volume_count; i++)
		volume_done(&s->volumes[i]);
	free(s->volumes);
	*s = (struct snapshot){ 0 };
}

/* --- writing ----------------------------------------------------------------------- */

static void add_text(struct buf *b, const char *text)
{
	buf_add_blob(b, text, text ? strlen(text) : 0);
}

static void volume_encode(struct buf *b, const struct snapshot_volume *v)
{
	buf_add_varint(b, v->number);
	buf_add_varint(b, v->offset);
	buf_add_varint(b, v->size);
	buf_add_u8(b, v->mbr_type);
	buf_add(b, v->type_guid, sizeof v->type_guid);
	buf_add(b, v->guid, sizeof v->guid);
	add_text(b, v->name);
	add_text(b, v->fs_type);
	add_text(b, v->fs_uuid);
	add_text(b, v->fs_label);
	buf_add_varint(b, v->fs_used);
	buf_add_u8(b, (v->raw ? VOLUME_RAW : 0) | (v->has_tree ? VOLUME_TREE : 0));
	add_text(b, v->raw_reason);
	if (!v->has_tree)
		return;
	uint32_t bits = attr_bits(&v->root_attr);
	field_add_id(b, &v->tree);
	field_add_id(b, &v->inodes);
	buf_add_varint(b, bits);
	attr_encode(b, &v->root_attr, bits);
}

static void totals_encode(struct buf *b, const struct snapshot_totals *t)
{
	const uint64_t numbers[] = { t->files,      t->dirs,      t->others,       t->bytes,    t->files_new, t->files_changed, t->files_unchanged,
		                     t->bytes_read, t->added_raw, t->added_stored, t->warnings, t->nanoseconds };
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		buf_add_varint(b, numbers[i]);
}

static void put_list(struct buf *b, unsigned tag, const struct blob_list *l)
{
	for (size_t i = 0; i < l->count; i++) {
		buf_add_varint(b, tag);
		buf_add_blob(b, l->items[i].data, l->items[i].len);
	}
}

static void image_encode(struct buf *b, const struct snapshot *s)
{
	CLEAN_BUF struct buf value = BUF_INIT;
	buf_add_varint(&value, s->disk_size);
	buf_add_varint(&value, s->sector);
	buf_add_u8(&value, s->table);
	buf_add(&value, s->disk_guid, sizeof s->disk_guid);
	buf_add_le32(&value, s->mbr_signature);
	tag_put(b, TAG_DISK, &value);
	tag_put_text(b, TAG_MODEL, s->model);
	tag_put_id(b, TAG_MAP, &s->map);
	for (size_t i = 0; i < s->volume_count; i++) {
		volume_encode(&value, &s->volumes[i]);
		tag_put(b, TAG_VOLUME, &value);
	}
}

void snapshot_encode(struct buf *b, const struct snapshot *s)
{
	CLEAN_BUF struct buf value = BUF_INIT;
	tags_begin(b);
	buf_add_u8(&value, (uint8_t)s->kind);
	tag_put(b, TAG_KIND, &value);
	tag_put_time(b, TAG_TIME, s->time);
	tag_put_text(b, TAG_HOST, s->host);
	tag_put_text(b, TAG_USER, s->user);
	tag_put_text(b, TAG_PROGRAM, s->program);
	put_list(b, TAG_SOURCE, &s->sources);
	put_list(b, TAG_TAG, &s->tags);
	tag_put_id(b, TAG_SESSION, &s->session);
	if (s->has_parent)
		tag_put_id(b, TAG_PARENT, &s->parent);
	totals_encode(&value, &s->totals);
	tag_put(b, TAG_TOTALS, &value);
	if (s->kind == SNAPSHOT_FILES)
		tag_put_id(b, TAG_TREE, &s->tree);
	else
		image_encode(b, s);
	if (!s->has_origin)
		return;
	field_add_id(&value, &s->origin_repository);
	field_add_id(&value, &s->origin);
	field_add_time(&value, s->copied);
	tag_put(b, TAG_ORIGIN, &value);
}

/* --- reading ----------------------------------------------------------------------- */

static int take_texts(struct snapshot_volume *v, struct cursor *c, struct error *err)
{
	char **texts[] = { &v->name, &v->fs_type, &v->fs_uuid, &v->fs_label };
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (field_text(c, SNAPSHOT_TEXT_MAX, texts[i]) < 0)
			return error_set(err, ERR_NOMEM, "out of memory");
	return 0;
}

static void take_bytes(struct cursor *c, uint8_t *ret, size_t len)
{
	const uint8_t *p = cursor_take(c, len);
	if (p)
		memcpy(ret, p, len);
}

static int volume_tree_decode(struct snapshot_volume *v, struct cursor *c, struct error *err)
{
	v->tree = field_id(c);
	v->inodes = field_id(c);
	uint64_t bits = field_varint(c);
	if (bits & ~(uint64_t)ATTR_BITS)
		return error_set(err, ERR_UNSUPPORTED, "snapshot: attributes that this version does not know");
	if (attr_decode(&v->root_attr, c, (uint32_t)bits, err) < 0)
		return error_add(err, "snapshot");
	if (!S_ISDIR(v->root_attr.mode))
		c->bad = true;
	return 0;
}

static int volume_decode(struct snapshot_volume *v, struct cursor *c, struct error *err)
{
	v->number = (uint32_t)field_max(c, UINT32_MAX);
	v->offset = field_max(c, FIELD_LENGTH_MAX);
	v->size = field_max(c, FIELD_LENGTH_MAX);
	v->mbr_type = cursor_u8(c);
	take_bytes(c, v->type_guid, sizeof v->type_guid);
	take_bytes(c, v->guid, sizeof v->guid);
	if (take_texts(v, c, err) < 0)
		return -1;
	v->fs_used = field_varint(c);
	uint8_t bits = cursor_u8(c);
	if (field_text(c, SNAPSHOT_TEXT_MAX, &v->raw_reason) < 0)
		return error_set(err, ERR_NOMEM, "out of memory");
	if (bits & ~(VOLUME_RAW | VOLUME_TREE) || v->size > FIELD_LENGTH_MAX - v->offset)
		c->bad = true;
	v->raw = bits & VOLUME_RAW;
	v->has_tree = bits & VOLUME_TREE;
	/* What makes the cursor bad is reported by the caller's tag_end. */
	return cursor_ok(c) && v->has_tree ? volume_tree_decode(v, c, err) : 0;
}

static int add_volume(struct snapshot *s, struct tags *t, struct error *err)
{
	if (s->volume_count >= SNAPSHOT_VOLUMES_MAX)
		return error_set(err, ERR_CORRUPT, "snapshot of more than %u volumes", SNAPSHOT_VOLUMES_MAX);
	if ((s->volume_count & (s->volume_count - 1)) == 0) {
		struct snapshot_volume *grown = realloc(s->volumes, (s->volume_count ? 2 * s->volume_count : 1) * sizeof *grown);
		if (!grown)
			return error_set(err, ERR_NOMEM, "out of memory");
		s->volumes = grown;
	}
	struct snapshot_volume *v = &s->volumes[s->volume_count++];
	*v = (struct snapshot_volume){ 0 };
	return volume_decode(v, &t->value, err);
}

static int add_blob(struct blob_list *l, struct tags *t, struct error *err)
{
	size_t len = cursor_left(&t->value);
	const uint8_t *p = cursor_take(&t->value, len);
	if (l->count >= SNAPSHOT_LIST_MAX || len > TAG_TEXT_MAX || (len && memchr(p, 0, len)))
		return error_set(err, ERR_CORRUPT, "damaged snapshot (list of sources or tags)");
	return blob_list_add(l, p, len) < 0 ? error_set(err, ERR_NOMEM, "out of memory") : 0;
}

static void totals_decode(struct snapshot_totals *t, struct cursor *c)
{
	uint64_t *numbers[] = { &t->files,      &t->dirs,      &t->others,       &t->bytes,    &t->files_new, &t->files_changed, &t->files_unchanged,
		                &t->bytes_read, &t->added_raw, &t->added_stored, &t->warnings, &t->nanoseconds };
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		*numbers[i] = field_varint(c);
}

static void disk_decode(struct snapshot *s, struct cursor *c)
{
	s->disk_size = field_max(c, FIELD_LENGTH_MAX);
	s->sector = (uint32_t)field_max(c, UINT32_MAX);
	s->table = cursor_u8(c);
	take_bytes(c, s->disk_guid, sizeof s->disk_guid);
	s->mbr_signature = cursor_le32(c);
}

static int text_field(struct snapshot *s, struct tags *t, struct error *err)
{
	switch (t->tag) {
	case TAG_HOST:
		return tag_text(t, &s->host, err);
	case TAG_USER:
		return tag_text(t, &s->user, err);
	case TAG_PROGRAM:
		return tag_text(t, &s->program, err);
	case TAG_MODEL:
		return tag_text(t, &s->model, err);
	case TAG_SOURCE:
		return add_blob(&s->sources, t, err);
	case TAG_TAG:
		return add_blob(&s->tags, t, err);
	default:
		return tag_unknown(t, err);
	}
}

static void origin_decode(struct snapshot *s, struct cursor *c)
{
	s->has_origin = true;
	s->origin_repository = field_id(c);
	s->origin = field_id(c);
	s->copied = field_time(c);
}

static int snapshot_field(struct snapshot *s, struct tags *t, struct error *err)
{
	switch (t->tag) {
	case TAG_KIND:
		s->kind = (enum snapshot_kind)cursor_u8(&t->value);
		break;
	case TAG_TIME:
		s->time = field_time(&t->value);
		break;
	case TAG_SESSION:
		s->session = field_id(&t->value);
		break;
	case TAG_PARENT:
		s->has_parent = true;
		s->parent = field_id(&t->value);
		break;
	case TAG_TOTALS:
		totals_decode(&s->totals, &t->value);
		break;
	case TAG_TREE:
		s->tree = field_id(&t->value);
		break;
	case TAG_ORIGIN:
		origin_decode(s, &t->value);
		break;
	case TAG_DISK:
		disk_decode(s, &t->value);
		break;
	case TAG_MAP:
		s->map = field_id(&t->value);
		break;
	case TAG_VOLUME:
		if (add_volume(s, t, err) < 0)
			return -1;
		break;
	default:
		return text_field(s, t, err);
	}
	return tag_end(t, err);
}

static int check_kind(const struct snapshot *s, const struct tags *t, struct error *err)
{
	uint64_t needed = TAG_BIT(TAG_KIND) | TAG_BIT(TAG_TIME) | TAG_BIT(TAG_SESSION) | TAG_BIT(TAG_TOTALS);
	switch (s->kind) {
	case SNAPSHOT_FILES:
		return tags_require(t, needed | TAG_BIT(TAG_TREE), TAGS_OF_IMAGES, err);
	case SNAPSHOT_IMAGE:
		return tags_require(t, needed | TAG_BIT(TAG_DISK) | TAG_BIT(TAG_MAP), TAG_BIT(TAG_TREE), err);
	}
	if (tags_require(t, needed, 0, err) < 0)
		return -1;
	return error_set(err, ERR_UNSUPPORTED, "snapshot of kind %u, which this program does not know", (unsigned)s->kind);
}

/* Absent texts are "", so that callers can print them. */
static int fill_texts(struct snapshot *s, struct error *err)
{
	char **texts[] = { &s->host, &s->user, &s->program, &s->model };
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (!*texts[i] && !(*texts[i] = strdup("")))
			return error_set(err, ERR_NOMEM, "out of memory");
	return 0;
}

int snapshot_decode(struct snapshot *ret, const uint8_t *bytes, size_t len, struct error *err)
{
	CLEAN(snapshot_done) struct snapshot s = { 0 };
	struct tags t;
	if (tags_open(&t, "snapshot", bytes, len, err) < 0)
		return -1;
	for (bool more = true; more;) {
		if (tags_next(&t, TAGS_ONCE, &more, err) < 0 || (more && snapshot_field(&s, &t, err) < 0))
			return -1;
	}
	if (check_kind(&s, &t, err) < 0 || fill_texts(&s, err) < 0)
		return -1;
	for (size_t i = 0; i < s.volume_count; i++)
		if (s.volumes[i].offset + s.volumes[i].size > s.disk_size)
			return error_set(err, ERR_CORRUPT, "snapshot: volume %u lies outside the disk", s.volumes[i].number);
	*ret = s;
	s = (struct snapshot){ 0 };
	return 0;
}
