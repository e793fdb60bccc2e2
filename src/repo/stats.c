/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/stats.h"

#include "repo/object.h"

struct listed {
	uint64_t count, bytes;
};

static int add_object(void *cookie, const char *key, uint64_t size)
{
	struct listed *l = cookie;
	(void)key;
	l->count++;
	l->bytes += size;
	return 0;
}

static int list_sizes(struct repo *r, const char *prefix, uint64_t *ret_count, uint64_t *ret_bytes, struct error *err)
{
	struct listed l = { 0, 0 };
	if (r->store->ops->list(r->store, prefix, add_object, &l, err) < 0)
		return error_add(err, "list %s", prefix);
	if (ret_count)
		*ret_count = l.count;
	*ret_bytes += l.bytes;
	return 0;
}

static int count_objects(struct repo *r, struct repo_stats *s, struct error *err)
{
	if (list_sizes(r, object_prefix(SEAL_PACK_DATA), &s->packs, &s->pack_bytes, err) < 0 ||
	    list_sizes(r, object_prefix(SEAL_INDEX), NULL, &s->index_bytes, err) < 0 ||
	    list_sizes(r, object_prefix(SEAL_SNAPSHOT), NULL, &s->snapshot_object_bytes, err) < 0 || list_sizes(r, "keys/", NULL, &s->key_bytes, err) < 0 ||
	    list_sizes(r, object_prefix(SEAL_SESSION), NULL, &s->other_bytes, err) < 0 || list_sizes(r, object_prefix(SEAL_UNFINISHED), NULL, &s->other_bytes, err) < 0 ||
	    list_sizes(r, object_prefix(SEAL_TOMBSTONE), NULL, &s->other_bytes, err) < 0 ||
	    list_sizes(r, object_prefix(SEAL_FENCE), NULL, &s->other_bytes, err) < 0 || list_sizes(r, "parity/", NULL, &s->other_bytes, err) < 0)
		return -1;
	s->other_bytes += HEADER_SIZE;
	s->stored_bytes = s->pack_bytes + s->index_bytes + s->snapshot_object_bytes + s->key_bytes + s->other_bytes;
	return 0;
}

static int count_blocks(const struct segment *segment, struct repo_stats *s, struct error *err)
{
	for (uint32_t row = 0; row < segment->block_count; row++) {
		struct segment_block block;
		struct segment_pack pack;
		if (segment_block_at(segment, row, &block, err) < 0)
			return error_add(err, "count what is in the index");
		segment_pack_at(segment, block.pack, &pack);
		bool meta = pack.kind == SEAL_PACK_META;
		*(meta ? &s->meta_raw : &s->data_raw) += block.raw_length;
		*(meta ? &s->meta_sealed : &s->data_sealed) += block.sealed_length;
	}
	s->blocks += segment->block_count;
	return 0;
}

static int count_snapshots(struct repo *r, struct repo_stats *s, struct error *err)
{
	struct snapshot_list list = { 0 };
	if (repo_snapshots(r, &list, err) < 0)
		return -1;
	for (size_t i = 0; i < list.count; i++) {
		const struct snapshot *snapshot = &list.items[i].snapshot;
		s->images += snapshot->kind == SNAPSHOT_IMAGE;
		s->snapshot_files += snapshot->totals.files;
		s->snapshot_bytes += snapshot->totals.bytes;
	}
	s->snapshots = list.count;
	s->damaged_snapshots = list.damaged;
	s->first_error = list.first_error;
	snapshot_list_done(&list);
	return 0;
}

int repo_stats(struct repo *r, struct repo_stats *ret, struct error *err)
{
	struct repo_stats s = { 0 };
	if (count_objects(r, &s, err) < 0 || count_snapshots(r, &s, err) < 0)
		return -1;
	s.segments = index_segments(r->index);
	s.chunks = index_chunks(r->index);
	for (size_t i = 0; i < s.segments; i++)
		if (count_blocks(index_segment(r->index, i), &s, err) < 0)
			return -1;
	*ret = s;
	return 0;
}
