/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/format/test_codecs.h"

#include <stdio.h>
#include <sys/stat.h>

#include "repo/format/document.h"
#include "repo/format/log.h"
#include "repo/format/map.h"
#include "repo/format/node.h"
#include "repo/format/pack.h"
#include "repo/format/parity.h"
#include "repo/format/segment.h"
#include "repo/format/seq_page.h"
#include "repo/format/test_values.h"

/* --- records ------------------------------------------------------------------ */

static void make_node(uint64_t *r, struct buf *b)
{
	CLEAN(node_done) struct node n = { 0 };
	random_node(r, &n);
	node_encode(b, &n);
}

static int again_node(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	CLEAN(node_done) struct node n = { 0 };
	if (node_decode(&n, bytes, len, err) < 0)
		return -1;
	CLEAN(node_done) struct node copy = { 0 };
	if (node_copy(&copy, &n) < 0 || !same_node(&n, &copy))
		abort();
	node_encode(b, &copy);
	return 0;
}

static void make_part(uint64_t *r, struct buf *b)
{
	struct content_part p;
	random_part(r, &p);
	content_part_encode(b, &p);
}

static int again_part(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	struct content_part p;
	if (content_part_decode(&p, bytes, len, err) < 0)
		return -1;
	content_part_encode(b, &p);
	return 0;
}

static void make_range(uint64_t *r, struct buf *b)
{
	struct map_range range;
	random_range(r, &range);
	map_range_encode(b, &range);
}

static int again_range(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	struct map_range range;
	if (map_range_decode(&range, bytes, len, err) < 0)
		return -1;
	map_range_encode(b, &range);
	return 0;
}

static void make_inode(uint64_t *r, struct buf *b)
{
	CLEAN(inode_record_done) struct inode_record i = { 0 };
	random_inode(r, &i);
	inode_record_encode(b, &i);
}

static int again_inode(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	CLEAN(inode_record_done) struct inode_record i = { 0 };
	if (inode_record_decode(&i, bytes, len, err) < 0)
		return -1;
	inode_record_encode(b, &i);
	return 0;
}

/* --- pages of lists -------------------------------------------------------------- */

static void make_leaf(uint64_t *r, struct buf *b)
{
	unsigned kind = 1 + (unsigned)random_below(r, 4), count = (unsigned)random_below(r, 20);
	CLEAN_BUF struct buf record = BUF_INIT;
	buf_add_u8(b, 0);
	buf_add_u8(b, (uint8_t)kind);
	buf_add_varint(b, count);
	for (unsigned i = 0; i < count; i++) {
		char name[16];
		struct node n = { .name = name, .name_len = (size_t)snprintf(name, sizeof name, "%06u", i), .attr = { .mode = S_IFIFO | 0600 } };
		struct inode_record inode = { .number = i };
		buf_clear(&record);
		if (kind == SEQ_ENTRIES)
			node_encode(&record, &n);
		else if (kind == SEQ_INODES)
			inode_record_encode(&record, &inode);
		else if (kind == SEQ_CONTENT)
			make_part(r, &record);
		else
			make_range(r, &record);
		buf_add_blob(b, record.data, record.len);
	}
}

static void make_branch(uint64_t *r, struct buf *b)
{
	unsigned kind = 1 + (unsigned)random_below(r, 4), count = 1 + (unsigned)random_below(r, 20);
	buf_add_u8(b, (uint8_t)(1 + random_below(r, SEQ_LEVELS_MAX - 1)));
	buf_add_u8(b, (uint8_t)kind);
	buf_add_varint(b, count);
	for (unsigned i = 0; i < count; i++) {
		char key[16];
		int len = snprintf(key, sizeof key, "%08u", i);
		struct id id = random_id(r);
		buf_add(b, id.b, ID_SIZE);
		buf_add_varint(b, 1 + random_number(r, 50));
		buf_add_varint(b, 1 + random_number(r, 20));
		buf_add_blob(b, key, kind == SEQ_ENTRIES || kind == SEQ_INODES ? (size_t)len : 0);
	}
}

static void make_page(uint64_t *r, struct buf *b)
{
	if (random_next(r) & 1)
		make_leaf(r, b);
	else
		make_branch(r, b);
}

static int again_page(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	struct seq_page page;
	struct seq_summary sum;
	enum seq_kind kind = len > 1 && bytes[1] >= 1 && bytes[1] <= 4 ? (enum seq_kind)bytes[1] : SEQ_ENTRIES;
	if (seq_page_open(&page, &sum, kind, bytes, len, (struct seq_key){ NULL, 0 }, err) < 0)
		return -1;
	buf_add_u8(b, page.level);
	buf_add_u8(b, (uint8_t)kind);
	buf_add_varint(b, page.count);
	const uint8_t *at = page.records;
	for (uint64_t i = 0; i < page.count; i++) {
		if (page.level) {
			struct seq_child child = seq_child_at(&at, page.end);
			buf_add(b, child.id.b, ID_SIZE);
			buf_add_varint(b, child.sum.span);
			buf_add_varint(b, child.sum.records);
			buf_add_blob(b, child.sum.last.bytes, child.sum.last.len);
		} else {
			size_t record_len = 0;
			const uint8_t *record = seq_record_at(&at, page.end, &record_len);
			buf_add_blob(b, record, record_len);
		}
	}
	return 0;
}

/* --- packs and segments ------------------------------------------------------------ */

static struct seal_by random_by(uint64_t *r, const struct id *session)
{
	if (random_next(r) & 1)
		return (struct seal_by){ .how = SEAL_BY_SESSION, .session = *session };
	return (struct seal_by){ .how = SEAL_BY_MASTER, .epoch = (uint16_t)(random_next(r) % SEAL_EPOCHS_MAX) };
}

static void make_pack_ends(uint64_t *r, struct buf *b)
{
	uint8_t head[PACK_HEADER_SIZE], foot[PACK_FOOTER_SIZE];
	struct pack_header h = { random_next(r) & 1 ? SEAL_PACK_DATA : SEAL_PACK_META, random_id(r), random_id(r), { SEAL_BY_MASTER, 0, { { 0 } } } };
	if (random_next(r) & 1)
		h.by = random_by(r, &h.session);
	uint32_t length = 17 + (uint32_t)random_number(r, 20);
	uint64_t offset = PACK_HEADER_SIZE + random_number(r, 25);
	pack_header_encode(head, &h);
	pack_footer_encode(foot, offset, length);
	buf_add(b, head, sizeof head);
	buf_add(b, foot, sizeof foot);
	buf_add_le64(b, offset + length + PACK_FOOTER_SIZE);
}

/* Header, footer, le64 size of the pack. */
static int again_pack_ends(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	uint8_t head[PACK_HEADER_SIZE], foot[PACK_FOOTER_SIZE];
	struct pack_header h;
	uint64_t offset;
	uint32_t length;
	if (len != sizeof head + sizeof foot + 8)
		return error_set(err, ERR_CORRUPT, "not the size of a test input");
	if (pack_header_decode(&h, bytes, err) < 0 || pack_footer_decode(&offset, &length, bytes + sizeof head, get_le64(bytes + len - 8), err) < 0)
		return -1;
	pack_header_encode(head, &h);
	pack_footer_encode(foot, offset, length);
	buf_add(b, head, sizeof head);
	buf_add(b, foot, sizeof foot);
	buf_add_le64(b, offset + length + PACK_FOOTER_SIZE);
	return 0;
}

static void make_table(uint64_t *r, struct buf *b)
{
	CLEAN(pack_table_done) struct pack_table t = { 0 };
	uint64_t blocks_length;
	random_table(r, &t, &blocks_length);
	CLEAN_BUF struct buf table = BUF_INIT;
	pack_table_encode(&table, &t, blocks_length);
	buf_add_le64(b, blocks_length);
	buf_add(b, table.data, table.len);
}

/* le64 length of the blocks, then the table. */
static int again_table(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	CLEAN(pack_table_done) struct pack_table t = { 0 };
	if (len < 8)
		return error_set(err, ERR_CORRUPT, "not the size of a test input");
	uint64_t blocks_length = get_le64(bytes);
	if (pack_table_decode(&t, bytes + 8, len - 8, blocks_length, err) < 0)
		return -1;
	CLEAN_BUF struct buf table = BUF_INIT;
	pack_table_encode(&table, &t, blocks_length);
	buf_add_le64(b, blocks_length);
	buf_add(b, table.data, table.len);
	return 0;
}

static void make_segment(uint64_t *r, struct buf *b)
{
	struct segment_pack packs[3];
	struct segment_block blocks[7];
	struct segment_chunk chunks[60];
	struct id session = random_id(r);
	size_t pack_count = 1 + random_below(r, 3), block_count = 1 + random_below(r, 7), chunk_count = random_below(r, 61);
	for (size_t i = 0; i < pack_count; i++)
		packs[i] = (struct segment_pack){ random_id(r), SEAL_PACK_DATA, PACK_SIZE_MAX, SEAL_BY_MASTER, (uint16_t)(random_next(r) % SEAL_EPOCHS_MAX) };
	for (size_t i = 0; i < block_count; i++)
		blocks[i] = (struct segment_block){ (uint32_t)random_below(r, pack_count), (uint32_t)i, (uint32_t)random_number(r, 20), 100, 1000 };
	for (size_t i = 0; i < chunk_count; i++)
		chunks[i] = (struct segment_chunk){ random_id(r), (uint32_t)random_below(r, block_count), (uint32_t)i, 1 };
	struct error err;
	if (segment_encode(b, &session, packs, pack_count, blocks, block_count, chunks, chunk_count, &err) < 0)
		abort();
}

static bool read_bytes(void *cookie, uint64_t offset, void *to, size_t len)
{
	const uint8_t *bytes = cookie;
	memcpy(to, bytes + offset, len);
	return true;
}

static void find_row(const struct segment *s, const struct id *id)
{
	uint64_t row;
	bool found;
	struct segment_chunk c;
	void *bytes = (void *)(uintptr_t)(s->packs - SEGMENT_HEADER_SIZE);
	if (segment_find(s, id, &row) && row >= s->chunk_count)
		abort();
	if (segment_find_reading(s, read_bytes, bytes, id, &found, &row, &c) < 0 || (found && row >= s->chunk_count))
		abort();
}

/* What stands in a segment is found; whatever stands there, nothing runs on or crashes. */
static void find_rows(const struct segment *s)
{
	for (uint64_t i = 0; i < s->chunk_count && i < 200; i++) {
		struct segment_chunk c;
		struct segment_block block;
		struct segment_pack pack;
		struct error err;
		segment_chunk_at(s, i, &c);
		find_row(s, &c.id);
		c.id.b[i % ID_SIZE] ^= (uint8_t)(1 + i);
		find_row(s, &c.id);
		if (segment_block_at(s, c.block, &block, &err) == 0)
			segment_pack_at(s, block.pack, &pack);
	}
}

/* The rows are not checked by segment_view; those that a writer cannot have written are refused here. */
static int again_segment(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	struct segment s;
	if (segment_view(&s, bytes, len, err) < 0)
		return -1;
	find_rows(&s);
	CLEAN_FREE struct segment_pack *packs = calloc(s.pack_count + 1u, sizeof *packs);
	CLEAN_FREE struct segment_block *blocks = calloc(s.block_count + 1u, sizeof *blocks);
	CLEAN_FREE struct segment_chunk *chunks = calloc(s.chunk_count + 1u, sizeof *chunks);
	if (!packs || !blocks || !chunks)
		abort();
	for (uint32_t i = 0; i < s.pack_count; i++) {
		segment_pack_at(&s, i, &packs[i]);
	}
	for (uint32_t i = 0; i < s.block_count; i++)
		if (segment_block_at(&s, i, &blocks[i], err) < 0)
			return -1;
	for (uint64_t i = 0; i < s.chunk_count; i++) {
		segment_chunk_at(&s, i, &chunks[i]);
		if (i && id_compare(&chunks[i - 1].id, &chunks[i].id) >= 0)
			return error_set(err, ERR_CORRUPT, "order of rows");
	}
	return segment_encode(b, &s.session, packs, s.pack_count, blocks, s.block_count, chunks, s.chunk_count, err);
}

/* --- documents ------------------------------------------------------------------------ */

static void make_header(uint64_t *r, struct buf *b)
{
	uint8_t bytes[HEADER_SIZE];
	struct repo_header h = { 1, 1, 1, 1, 1, random_id(r), 0, 0 };
	if (random_below(r, 2)) {
		h.version = 2;
		h.lock = (uint8_t)(1 + random_below(r, HEADER_LOCK_MAX));
		h.lock_seconds = 1 + (uint32_t)random_below(r, UINT32_MAX);
	}
	repo_header_encode(bytes, &h);
	buf_add(b, bytes, sizeof bytes);
}

static int again_header(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	uint8_t out[HEADER_SIZE];
	struct repo_header h;
	if (repo_header_decode(&h, bytes, len, err) < 0)
		return -1;
	repo_header_encode(out, &h);
	buf_add(b, out, sizeof out);
	return 0;
}

static void make_key(uint64_t *r, struct buf *b)
{
	struct key_object k;
	size_t aad;
	random_key(r, &k);
	key_object_encode(b, &k, &aad);
}

static int again_key(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	struct key_object k;
	size_t aad, aad_again;
	if (key_object_decode(&k, bytes, len, &aad, err) < 0)
		return -1;
	key_object_encode(b, &k, &aad_again);
	if (aad != aad_again || aad + seal_slots(k.wrapped.count, k.wrapped.first) * (size_t)SEAL_KEY_SIZE + SEAL_TAG_SIZE != len)
		abort();
	return 0;
}

/* Fields that this version ignores are not written again: whatever has one passes as it is. */
static bool has_unknown_field(const uint8_t *bytes, size_t len, uint64_t known)
{
	struct cursor c = cursor_of(bytes, len);
	cursor_le16(&c);
	while (cursor_ok(&c) && cursor_left(&c)) {
		size_t value_len;
		uint64_t tag = cursor_varint(&c);
		cursor_blob(&c, SIZE_MAX, &value_len);
		if (tag > 63 || !(known >> tag & 1))
			return true;
	}
	return false;
}

static void document_again(struct buf *b, const uint8_t *bytes, size_t len, uint64_t known)
{
	if (has_unknown_field(bytes, len, known)) {
		buf_clear(b);
		buf_add(b, bytes, len);
	}
}

static void make_snapshot(uint64_t *r, struct buf *b)
{
	CLEAN(snapshot_done) struct snapshot s = { 0 };
	random_snapshot(r, &s);
	snapshot_encode(b, &s);
}

static int again_snapshot(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	CLEAN(snapshot_done) struct snapshot s = { 0 };
	if (snapshot_decode(&s, bytes, len, err) < 0)
		return -1;
	snapshot_encode(b, &s);
	document_again(b, bytes, len,
	              1 << 2 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 9 | 1 << 11 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 17 | 1 << 18 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 24);
	return 0;
}

static void make_session(uint64_t *r, struct buf *b)
{
	char host[] = "host";
	struct session s = { random_time(r), random_time(r), random_next(r) & 1 ? host : NULL, random_number(r, 64), (uint8_t)(1 + random_below(r, 5)), random_next(r) & 1 ? host : NULL };
	session_encode(b, &s);
}

static int again_session(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	CLEAN(session_done) struct session s = { 0 };
	if (session_decode(&s, bytes, len, err) < 0)
		return -1;
	session_encode(b, &s);
	document_again(b, bytes, len, 1 << 2 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 9 | 1 << 11);
	return 0;
}

static void make_session_box(uint64_t *r, struct buf *b)
{
	struct session_box s = { .session = random_id(r), .writer = random_id(r) };
	uint8_t bytes[SESSION_BOX_SIZE];
	for (size_t i = 0; i < sizeof s.box; i++)
		s.box[i] = (uint8_t)random_next(r);
	session_box_encode(bytes, &s);
	buf_add(b, bytes, sizeof bytes);
}

static int again_session_box(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	struct session_box s;
	uint8_t again[SESSION_BOX_SIZE];
	if (session_box_decode(&s, bytes, len, err) < 0)
		return -1;
	session_box_encode(again, &s);
	buf_add(b, again, sizeof again);
	return 0;
}

static void make_writer(uint64_t *r, struct buf *b)
{
	static char label[] = "alice@laptop", none[] = "";
	struct writer_key w = { .created = random_time(r), .label = random_next(r) & 1 ? label : none };
	struct id half = random_id(r);
	memcpy(w.secret_half, half.b, sizeof w.secret_half);
	writer_key_encode(b, &w);
}

static int again_writer(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	CLEAN(writer_key_done) struct writer_key w = { 0 };
	if (writer_key_decode(&w, bytes, len, err) < 0)
		return -1;
	writer_key_encode(b, &w);
	document_again(b, bytes, len, 1 << 2 | 1 << 4 | 1 << 5);
	return 0;
}

static void make_tombstone(uint64_t *r, struct buf *b)
{
	struct id ids[40];
	for (size_t i = 0; i < 40; i++) {
		ids[i] = random_id(r);
		ids[i].b[0] = (uint8_t)(i % 20);
	}
	struct tombstone t = { .time = random_time(r), .session = random_id(r), .awaited = ids, .awaited_count = random_below(r, 20), .packs = ids + 20 };
	t.pack_count = random_below(r, 20);
	t.fenced = ids + 10;
	t.fenced_count = random_below(r, 10);
	tombstone_encode(b, &t);
}

static int again_tombstone(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	CLEAN(tombstone_done) struct tombstone t = { 0 };
	if (tombstone_decode(&t, bytes, len, err) < 0)
		return -1;
	tombstone_encode(b, &t);
	document_again(b, bytes, len, 1 << 2 | 1 << 4 | 1 << 8 | 1 << 10 | 1 << 11);
	return 0;
}

static void random_items(uint64_t *r, struct buf *b, size_t size)
{
	size_t count = random_below(r, 6);
	for (size_t i = 0; i < count; i++) {
		struct id id = random_id(r);
		id.b[0] = (uint8_t)i;
		buf_add(b, id.b, ID_SIZE);
		for (size_t k = ID_SIZE; k < size; k++)
			buf_add_u8(b, (uint8_t)random_next(r));
	}
}

static void make_log(uint64_t *r, struct buf *b)
{
	CLEAN(log_entry_done) struct log_entry e = { .time = random_time(r), .host = strdup(random_next(r) & 1 ? "host" : "") };
	random_items(r, &e.before, ID_SIZE);
	random_items(r, &e.added, LOG_ADDED_SIZE);
	random_items(r, &e.forgotten, ID_SIZE);
	random_items(r, &e.replaced, ID_SIZE);
	random_items(r, &e.vouchers, LOG_VOUCHER_SIZE);
	if (random_next(r) & 1)
		buf_add(&e.hashes, e.before.data, e.before.len);
	struct log_signer signer = { .time = random_time(r), .name = (char[]){ "user@host" } };
	for (uint64_t i = random_below(r, 3); i > 0; i--) {
		signer.key[0] = (uint8_t)(3 - i);
		log_signers_add(&e.signers, &signer);
	}
	e.is_signed = random_next(r) & 1;
	log_entry_encode(b, &e);
}

static int again_log(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	CLEAN(log_entry_done) struct log_entry e = { 0 };
	if (log_entry_decode(&e, bytes, len, err) < 0)
		return -1;
	log_entry_encode(b, &e);
	document_again(b, bytes, len, 1 << 2 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 12 | 1 << 13 | 1 << 15 | 1 << 17 | 1 << 19);
	return 0;
}

/* A head, then its table. */
static void make_parity(uint64_t *r, struct buf *b)
{
	static const uint8_t sums[64 * PARITY_SUM_SIZE];
	struct parity_member members[5];
	struct parity_table t = { .members = members, .count = 1 + random_below(r, 5) };
	struct parity_head h = { .form = (enum parity_form)(1 + random_below(r, 2)), .automatic = random_next(r) & 1, .shards = (uint8_t)(1 + random_below(r, PARITY_SHARDS_MAX)) };
	CLEAN_BUF struct buf table = BUF_INIT;
	uint8_t head[PARITY_HEAD_SIZE];
	h.shard = (uint8_t)random_below(r, h.shards);
	h.percent = (uint8_t)(1 + random_below(r, 100));
	for (size_t i = 0; i < t.count; i++) {
		struct id id = random_id(r);
		char hex[ID_HEX_SIZE];
		id.b[0] = (uint8_t)i;
		id_to_hex(&id, hex);
		snprintf(members[i].name, sizeof members[i].name, h.form == PARITY_BUNDLE ? "index/%s%.0s" : "packs/%.2s/%s", hex, hex);
		members[i].size = 1 + random_below(r, h.form == PARITY_BUNDLE ? PARITY_PIECE : 60 * PARITY_PIECE);
		members[i].sums = sums;
		h.length = h.form == PARITY_BUNDLE ? h.length + members[i].size : members[i].size > h.length ? members[i].size : h.length;
	}
	for (unsigned k = 0; k < h.shards; k++)
		t.shard_sums[k] = sums;
	parity_table_encode(&table, &t, h.shards, h.length);
	h.table_length = (uint32_t)table.len;
	parity_head_encode(head, &h);
	buf_add(b, head, sizeof head);
	buf_add(b, table.data, table.len);
}

static int again_parity(const uint8_t *bytes, size_t len, struct buf *b, struct error *err)
{
	CLEAN(parity_table_done) struct parity_table t = { 0 };
	struct parity_head h;
	uint8_t head[PARITY_HEAD_SIZE];
	if (len < sizeof head)
		return error_set(err, ERR_CORRUPT, "no head");
	if (parity_head_decode(&h, bytes, err) < 0 || parity_table_decode(&t, &h, bytes + sizeof head, len - sizeof head, err) < 0)
		return -1;
	parity_head_encode(head, &h);
	buf_add(b, head, sizeof head);
	parity_table_encode(b, &t, h.shards, h.length);
	return 0;
}

const struct codec test_codecs[] = {
	{ "format-node", make_node, again_node, false },
	{ "format-content", make_part, again_part, false },
	{ "format-map", make_range, again_range, false },
	{ "format-inode", make_inode, again_inode, false },
	{ "format-page", make_page, again_page, false },
	{ "format-pack", make_pack_ends, again_pack_ends, false },
	{ "format-table", make_table, again_table, false },
	{ "format-segment", make_segment, again_segment, false },
	{ "format-header", make_header, again_header, false },
	{ "format-key", make_key, again_key, false },
	{ "format-snapshot", make_snapshot, again_snapshot, true },
	{ "format-session", make_session, again_session, true },
	{ "format-log", make_log, again_log, true },
	{ "format-session-box", make_session_box, again_session_box, false },
	{ "format-tombstone", make_tombstone, again_tombstone, true },
	{ "format-writer", make_writer, again_writer, true },
	{ "format-parity", make_parity, again_parity, false },
};
const size_t test_codec_count = sizeof test_codecs / sizeof *test_codecs;

const struct codec *test_codec(const char *name)
{
	for (size_t i = 0; i < test_codec_count; i++)
		if (strcmp(test_codecs[i].name, name) == 0)
			return &test_codecs[i];
	return NULL;
}
