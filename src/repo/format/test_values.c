/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/format/test_values.h"

#include <stdio.h>
#include <sys/stat.h>

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

static bool coin(uint64_t *r)
{
	return random_next(r) & 1;
}

/* min to max bytes, none of them 0 or '/'. */
static char *random_text(uint64_t *r, size_t min, size_t max)
{
	size_t len = min + random_below(r, max - min + 1);
	char *text = need(malloc(len + 1));
	for (size_t i = 0; i < len; i++) {
		text[i] = (char)(1 + random_below(r, 255));
		if (text[i] == '/' || text[i] == '.')
			text[i] = 'x';
	}
	text[len] = 0;
	return text;
}

struct id random_id(uint64_t *r)
{
	struct id id;
	random_bytes(r, id.b, sizeof id.b);
	return id;
}

struct time_ns random_time(uint64_t *r)
{
	struct time_ns t = { 0, coin(r) ? (uint32_t)random_below(r, 1000000000) : 0 };
	t.sec = coin(r) ? 1700000000 + (int64_t)random_number(r, 20) : (int64_t)random_number(r, 64);
	return t;
}

/* --- attributes, content, nodes ---------------------------------------------- */

static void random_xattrs(uint64_t *r, struct attr *a)
{
	size_t count = random_below(r, 4);
	for (size_t i = 0; i < count; i++) {
		char name[32];
		uint8_t value[300];
		size_t size = random_below(r, sizeof value);
		snprintf(name, sizeof name, "user.%zu.%llu", i, (unsigned long long)random_number(r, 20));
		random_bytes(r, value, size);
		if (attr_add_xattr(a, name, size ? value : NULL, size) < 0)
			abort();
	}
	attr_sort_xattrs(a);
}

void random_attr(uint64_t *r, struct attr *ret, uint32_t type)
{
	*ret = (struct attr){ .mode = type | (uint32_t)random_below(r, 010000) };
	ret->mtime = random_time(r);
	ret->ctime = coin(r) ? ret->mtime : random_time(r);
	ret->has_btime = coin(r);
	if (ret->has_btime)
		ret->btime = coin(r) ? ret->mtime : random_time(r);
	ret->uid = (uint32_t)random_number(r, 32);
	ret->gid = (uint32_t)random_number(r, 32);
	ret->user = coin(r) ? random_text(r, 0, 30) : NULL;
	ret->group = coin(r) ? random_text(r, 0, 30) : NULL;
	ret->ino = random_number(r, 64);
	ret->dev = random_number(r, 64);
	ret->size = random_number(r, 63);
	ret->nlink = coin(r) ? 1 : (uint32_t)random_number(r, 32);
	ret->rdev = coin(r) ? 0 : random_number(r, 64);
	ret->flags = coin(r) ? 0 : (uint32_t)random_number(r, 32);
	if (coin(r))
		random_xattrs(r, ret);
	if (type == S_IFLNK) {
		ret->link = (uint8_t *)random_text(r, 1, 200);
		ret->link_len = strlen((char *)ret->link);
	}
}

void random_part(uint64_t *r, struct content_part *ret)
{
	*ret = (struct content_part){ .kind = random_below(r, 4) ? CONTENT_CHUNK : CONTENT_HOLE };
	ret->length = 1 + random_number(r, ret->kind == CONTENT_CHUNK ? 22 : 50);
	if (ret->kind == CONTENT_CHUNK)
		ret->chunk = random_id(r);
}

void random_content(uint64_t *r, struct content *ret, uint64_t *ret_size)
{
	*ret = (struct content){ .paged = random_below(r, 4) == 0 };
	*ret_size = 0;
	if (ret->paged) {
		ret->root = random_id(r);
		*ret_size = random_number(r, 63);
		return;
	}
	ret->count = random_below(r, random_below(r, 4) ? 3 : CONTENT_INLINE_MAX + 1);
	if (ret->count == 0)
		return;
	ret->parts = need(calloc(ret->count, sizeof *ret->parts));
	for (size_t i = 0; i < ret->count; i++) {
		random_part(r, &ret->parts[i]);
		*ret_size += ret->parts[i].length;
	}
}

void random_node(uint64_t *r, struct node *ret)
{
	static const uint32_t types[] = { S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK };
	uint32_t type = types[random_below(r, sizeof types / sizeof *types)];
	*ret = (struct node){ .name = random_text(r, 1, coin(r) ? 20 : NODE_NAME_MAX) };
	ret->name_len = strlen(ret->name);
	random_attr(r, &ret->attr, type);
	ret->has_content = type == S_IFREG && random_below(r, 8);
	if (ret->has_content)
		random_content(r, &ret->content, &ret->attr.size);
	ret->has_tree = type == S_IFDIR && random_below(r, 8);
	if (ret->has_tree)
		ret->tree = random_id(r);
	ret->incomplete = random_below(r, 8) == 0;
	ret->note = random_below(r, 8) ? NULL : random_text(r, 0, 100);
}

/* --- map, inodes ---------------------------------------------------------------- */

void random_range(uint64_t *r, struct map_range *ret)
{
	*ret = (struct map_range){ .kind = (enum map_kind)random_below(r, 4), .length = 1 + random_number(r, 60) };
	if (ret->kind != MAP_DATA)
		return;
	ret->chunk = random_id(r);
	ret->length = 1 + random_number(r, 21);
	ret->offset = coin(r) ? 0 : (uint32_t)random_number(r, 21);
	ret->chunk_length = ret->offset + (uint32_t)ret->length + (coin(r) ? 0 : (uint32_t)random_number(r, 21));
}

static void random_extents(uint64_t *r, struct inode_record *ret)
{
	unsigned shift = (unsigned)random_below(r, 17);
	uint64_t logical = 0;
	ret->extent_count = random_below(r, 40);
	ret->extents = ret->extent_count ? need(calloc(ret->extent_count, sizeof *ret->extents)) : NULL;
	for (size_t i = 0; i < ret->extent_count; i++) {
		struct inode_extent *e = &ret->extents[i];
		e->logical = logical + (coin(r) ? 0 : random_number(r, 20) << shift);
		e->length = (1 + random_number(r, 15)) << shift;
		e->physical = random_number(r, 44) << shift;
		e->unwritten = random_below(r, 8) == 0;
		logical = e->logical + e->length;
	}
}

void random_inode(uint64_t *r, struct inode_record *ret)
{
	*ret = (struct inode_record){ .number = random_number(r, 64), .generation = (uint32_t)random_number(r, 32) };
	ret->size = random_number(r, 63);
	ret->mtime = random_time(r);
	ret->ctime = coin(r) ? ret->mtime : random_time(r);
	random_extents(r, ret);
	ret->has_content = coin(r);
	if (ret->has_content)
		random_content(r, &ret->content, &ret->size);
}

/* --- objects ---------------------------------------------------------------------- */

void random_table(uint64_t *r, struct pack_table *ret, uint64_t *ret_blocks_length)
{
	*ret = (struct pack_table){ .session = random_id(r) };
	*ret_blocks_length = 0;
	size_t blocks = random_below(r, 20);
	for (size_t i = 0; i < blocks; i++) {
		uint32_t sealed = 22 + (uint32_t)random_number(r, 19), raw = 0;
		size_t chunks = 1 + random_below(r, coin(r) ? 1 : 30);
		if (pack_table_add_block(ret, sealed, 0) < 0)
			abort();
		for (size_t k = 0; k < chunks; k++) {
			struct id id = random_id(r);
			uint32_t length = 1 + (uint32_t)random_number(r, 17);
			if (pack_table_add_chunk(ret, &id, length) < 0)
				abort();
			raw += length;
		}
		ret->blocks[i].raw_length = raw;
		*ret_blocks_length += sealed;
	}
}

static void random_list(uint64_t *r, struct blob_list *l)
{
	for (size_t count = random_below(r, 4); count; count--) {
		char *text = random_text(r, 0, 60);
		if (blob_list_add(l, text, strlen(text)) < 0)
			abort();
		free(text);
	}
}

static void random_volume(uint64_t *r, struct snapshot_volume *ret, uint64_t disk_size)
{
	*ret = (struct snapshot_volume){ .number = (uint32_t)random_number(r, 32), .mbr_type = (uint8_t)random_next(r) };
	ret->offset = random_below(r, disk_size + 1);
	ret->size = random_below(r, disk_size - ret->offset + 1);
	random_bytes(r, ret->type_guid, sizeof ret->type_guid);
	random_bytes(r, ret->guid, sizeof ret->guid);
	ret->name = random_text(r, 0, 36);
	ret->fs_type = random_text(r, 0, 8);
	ret->fs_uuid = random_text(r, 0, 36);
	ret->fs_label = random_text(r, 0, 16);
	ret->raw_reason = random_text(r, 0, 60);
	ret->fs_used = random_number(r, 64);
	ret->raw = coin(r);
	ret->has_tree = coin(r);
	if (!ret->has_tree)
		return;
	ret->tree = random_id(r);
	ret->inodes = random_id(r);
	random_attr(r, &ret->root_attr, S_IFDIR);
}

static void random_image(uint64_t *r, struct snapshot *ret)
{
	ret->disk_size = random_number(r, 62);
	ret->sector = (uint32_t)random_number(r, 32);
	ret->table = (uint8_t)random_below(r, 3);
	random_bytes(r, ret->disk_guid, sizeof ret->disk_guid);
	ret->mbr_signature = (uint32_t)random_next(r);
	ret->map = random_id(r);
	free(ret->model);
	ret->model = random_text(r, 0, 40);
	ret->volume_count = random_below(r, 5);
	ret->volumes = ret->volume_count ? need(calloc(ret->volume_count, sizeof *ret->volumes)) : NULL;
	for (size_t i = 0; i < ret->volume_count; i++)
		random_volume(r, &ret->volumes[i], ret->disk_size);
}

void random_snapshot(uint64_t *r, struct snapshot *ret)
{
	*ret = (struct snapshot){ .kind = coin(r) ? SNAPSHOT_FILES : SNAPSHOT_IMAGE, .time = random_time(r) };
	ret->host = random_text(r, 0, 20);
	ret->user = random_text(r, 0, 20);
	ret->program = random_text(r, 0, 20);
	ret->model = need(strdup(""));
	random_list(r, &ret->sources);
	random_list(r, &ret->tags);
	ret->has_parent = coin(r);
	if (ret->has_parent)
		ret->parent = random_id(r);
	ret->has_origin = coin(r);
	if (ret->has_origin) {
		ret->origin_repository = random_id(r);
		ret->origin = random_id(r);
		ret->copied = random_time(r);
	}
	ret->session = random_id(r);
	uint64_t *totals = (uint64_t *)(void *)&ret->totals;
	for (size_t i = 0; i < sizeof ret->totals / sizeof *totals; i++)
		totals[i] = random_number(r, 64);
	if (ret->kind == SNAPSHOT_FILES)
		ret->tree = random_id(r);
	else
		random_image(r, ret);
}

void random_key(uint64_t *r, struct key_object *ret)
{
	*ret = (struct key_object){ .created = random_time(r) };
	ret->wrapped.how = coin(r) ? SEAL_WRAP_PASSPHRASE : SEAL_WRAP_KEYFILE;
	if (ret->wrapped.how == SEAL_WRAP_PASSPHRASE) {
		ret->wrapped.argon_passes = 1 + (uint32_t)random_below(r, 10);
		ret->wrapped.argon_memory_kib = 8 + (uint32_t)random_number(r, 20);
	}
	random_bytes(r, ret->wrapped.salt, sizeof ret->wrapped.salt);
	ret->wrapped.count = coin(r) ? 1 : (uint8_t)(1 + random_below(r, SEAL_EPOCHS_MAX));
	ret->wrapped.first = coin(r) ? 0 : (uint8_t)random_below(r, ret->wrapped.count);
	if (ret->wrapped.first)
		ret->label[126] = 0;
	random_bytes(r, ret->wrapped.sealed, (size_t)seal_slots(ret->wrapped.count, ret->wrapped.first) * SEAL_KEY_SIZE + SEAL_TAG_SIZE);
	size_t len = random_below(r, sizeof ret->label);
	for (size_t i = 0; i < len; i++)
		ret->label[i] = (char)(' ' + random_below(r, 95));
}

/* --- comparison -------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : !a && !b;
}

static bool same_bytes(const void *a, size_t a_len, const void *b, size_t b_len)
{
	return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static bool same_time(struct time_ns a, struct time_ns b)
{
	return time_compare(a, b) == 0;
}

bool same_attr(const struct attr *a, const struct attr *b)
{
	if (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid || a->size != b->size || a->ino != b->ino || a->dev != b->dev ||
	    a->nlink != b->nlink || a->rdev != b->rdev || a->flags != b->flags || a->has_btime != b->has_btime)
		return false;
	if (!same_text(a->user, b->user) || !same_text(a->group, b->group) || !same_time(a->mtime, b->mtime) || !same_time(a->ctime, b->ctime) ||
	    !same_time(a->btime, b->btime) || !same_bytes(a->link, a->link_len, b->link, b->link_len) || a->xattr_count != b->xattr_count)
		return false;
	for (size_t i = 0; i < a->xattr_count; i++)
		if (!same_text(a->xattrs[i].name, b->xattrs[i].name) ||
		    !same_bytes(a->xattrs[i].value, a->xattrs[i].size, b->xattrs[i].value, b->xattrs[i].size))
			return false;
	return true;
}

bool same_content(const struct content *a, const struct content *b)
{
	if (a->paged != b->paged || !id_equal(&a->root, &b->root) || a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (a->parts[i].kind != b->parts[i].kind || a->parts[i].length != b->parts[i].length || !id_equal(&a->parts[i].chunk, &b->parts[i].chunk))
			return false;
	return true;
}

bool same_node(const struct node *a, const struct node *b)
{
	return same_bytes(a->name, a->name_len, b->name, b->name_len) && same_attr(&a->attr, &b->attr) && a->has_content == b->has_content &&
	       same_content(&a->content, &b->content) && a->has_tree == b->has_tree && id_equal(&a->tree, &b->tree) && a->incomplete == b->incomplete &&
	       same_text(a->note, b->note);
}

bool same_inode(const struct inode_record *a, const struct inode_record *b)
{
	if (a->number != b->number || a->generation != b->generation || a->size != b->size || !same_time(a->mtime, b->mtime) ||
	    !same_time(a->ctime, b->ctime) || a->extent_count != b->extent_count || a->has_content != b->has_content)
		return false;
	for (size_t i = 0; i < a->extent_count; i++) {
		const struct inode_extent *x = &a->extents[i], *y = &b->extents[i];
		if (x->logical != y->logical || x->physical != y->physical || x->length != y->length || x->unwritten != y->unwritten)
			return false;
	}
	return same_content(&a->content, &b->content);
}

static bool same_list(const struct blob_list *a, const struct blob_list *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!same_bytes(a->items[i].data, a->items[i].len, b->items[i].data, b->items[i].len) || b->items[i].data[b->items[i].len])
			return false;
	return true;
}

static bool same_volume(const struct snapshot_volume *a, const struct snapshot_volume *b)
{
	return a->number == b->number && a->offset == b->offset && a->size == b->size && a->mbr_type == b->mbr_type &&
	       memcmp(a->type_guid, b->type_guid, 16) == 0 && memcmp(a->guid, b->guid, 16) == 0 && same_text(a->name, b->name) &&
	       same_text(a->fs_type, b->fs_type) && same_text(a->fs_uuid, b->fs_uuid) && same_text(a->fs_label, b->fs_label) &&
	       a->fs_used == b->fs_used && a->raw == b->raw && same_text(a->raw_reason, b->raw_reason) && a->has_tree == b->has_tree &&
	       id_equal(&a->tree, &b->tree) && id_equal(&a->inodes, &b->inodes) && same_attr(&a->root_attr, &b->root_attr);
}

bool same_snapshot(const struct snapshot *a, const struct snapshot *b)
{
	if (a->kind != b->kind || !same_time(a->time, b->time) || !same_text(a->host, b->host) || !same_text(a->user, b->user) ||
	    !same_text(a->program, b->program) || !same_text(a->model, b->model) || !same_list(&a->sources, &b->sources) ||
	    !same_list(&a->tags, &b->tags) || a->has_parent != b->has_parent || !id_equal(&a->parent, &b->parent) ||
	    a->has_origin != b->has_origin || !id_equal(&a->origin_repository, &b->origin_repository) || !id_equal(&a->origin, &b->origin) || !same_time(a->copied, b->copied) ||
	    !id_equal(&a->session, &b->session) || memcmp(&a->totals, &b->totals, sizeof a->totals) != 0 || !id_equal(&a->tree, &b->tree))
		return false;
	if (a->disk_size != b->disk_size || a->sector != b->sector || a->table != b->table || memcmp(a->disk_guid, b->disk_guid, 16) != 0 ||
	    a->mbr_signature != b->mbr_signature || !id_equal(&a->map, &b->map) || a->volume_count != b->volume_count)
		return false;
	for (size_t i = 0; i < a->volume_count; i++)
		if (!same_volume(&a->volumes[i], &b->volumes[i]))
			return false;
	return true;
}
