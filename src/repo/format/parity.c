/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/format/parity.h"

#include <stdlib.h>
#include <string.h>

#include "repo/format/document.h"
#include "repo/format/fields.h"

static const uint8_t magic[8] = { '2', 'F', 'O', 'L', 'D', 'P', 'A', 'R' };

#define MEMBER_MIN (2u + 7u + PARITY_SUM_SIZE) /* bytes of a row: lengths, the shortest name, one sum */

/* --- names and places ------------------------------------------------------------- */

static bool is_id(const char *hex)
{
	return strlen(hex) == 2 * ID_SIZE && strspn(hex, "0123456789abcdef") == 2 * ID_SIZE;
}

bool parity_covers(const char *name)
{
	static const char *const folders[] = { "keys/", "index/", "snapshots/", "fences/", "log/", "sealed/", "writers/" };
	if (strcmp(name, "twofold") == 0)
		return true;
	if (strncmp(name, "packs/", 6) == 0)
		return strlen(name) == 9 + 2 * ID_SIZE && name[8] == '/' && strncmp(name + 6, name + 9, 2) == 0 && is_id(name + 9);
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
		if (strncmp(name, folders[i], strlen(folders[i])) == 0)
			return is_id(name + strlen(folders[i]));
	return false;
}

uint64_t parity_pieces(uint64_t length)
{
	return (length + PARITY_PIECE - 1) / PARITY_PIECE;
}

static uint64_t padded_table(const struct parity_head *h)
{
	return h->table_length < PARITY_GAP ? PARITY_GAP : h->table_length;
}

uint64_t parity_object_size(const struct parity_head *h)
{
	return parity_table_at(h, 1) + h->table_length + PARITY_HEAD_SIZE + PARITY_GAP + PARITY_HEAD_SIZE;
}

uint64_t parity_table_at(const struct parity_head *h, unsigned copy)
{
	return h->length + (copy ? padded_table(h) : 0);
}

/* --- head ----------------------------------------------------------------------------- */

void parity_head_encode(uint8_t ret[PARITY_HEAD_SIZE], const struct parity_head *h)
{
	memset(ret, 0, PARITY_HEAD_SIZE);
	memcpy(ret, magic, sizeof magic);
	put_le16(ret + 8, FORMAT_VERSION);
	ret[10] = (uint8_t)h->form;
	ret[11] = h->automatic;
	ret[12] = h->shard;
	ret[13] = h->shards;
	ret[14] = h->percent;
	put_le64(ret + 16, h->length);
	put_le32(ret + 24, h->table_length);
	memcpy(ret + 28, h->table_sum, PARITY_SUM_SIZE);
	put_le32(ret + 60, field_crc32c(ret, 60));
}

int parity_head_decode(struct parity_head *ret, const uint8_t bytes[PARITY_HEAD_SIZE], struct error *err)
{
	if (memcmp(bytes, magic, sizeof magic) != 0 || get_le32(bytes + 60) != field_crc32c(bytes, 60))
		return error_set(err, ERR_CORRUPT, "the head of the parity object is damaged");
	uint16_t version = get_le16(bytes + 8);
	if (version > FORMAT_VERSION)
		return error_set(err, ERR_UNSUPPORTED, "parity object has format version %u, this program knows up to %u", version, FORMAT_VERSION);
	struct parity_head h = { .form = (enum parity_form)bytes[10], .automatic = bytes[11] & 1, .shard = bytes[12], .shards = bytes[13], .percent = bytes[14],
		                 .length = get_le64(bytes + 16), .table_length = get_le32(bytes + 24) };
	memcpy(h.table_sum, bytes + 28, PARITY_SUM_SIZE);
	if (version == 0 || (h.form != PARITY_ACROSS && h.form != PARITY_BUNDLE) || bytes[11] > 1 || h.shards < 1 || h.shards > PARITY_SHARDS_MAX ||
	    h.shard >= h.shards || h.percent < 1 || h.percent > 100 || !field_is_zero(bytes + 15, 1) || !field_is_zero(bytes + 44, 16) || h.length < 1 ||
	    h.length > PARITY_MEMBER_MAX || h.table_length < MEMBER_MIN || h.table_length > PARITY_TABLE_MAX)
		return error_set(err, ERR_CORRUPT, "the head of the parity object makes no sense");
	*ret = h;
	return 0;
}

/* --- table ------------------------------------------------------------------------------ */

void parity_table_done(struct parity_table *t)
{
	free(t->members);
	*t = (struct parity_table){ 0 };
}

void parity_table_encode(struct buf *b, const struct parity_table *t, unsigned shards, uint64_t length)
{
	buf_add_varint(b, t->count);
	for (size_t i = 0; i < t->count; i++) {
		const struct parity_member *m = &t->members[i];
		buf_add_blob(b, m->name, strlen(m->name));
		buf_add_varint(b, m->size);
		buf_add(b, m->sums, parity_pieces(m->size) * PARITY_SUM_SIZE);
	}
	for (unsigned k = 0; k < shards; k++)
		buf_add(b, t->shard_sums[k], parity_pieces(length) * PARITY_SUM_SIZE);
}

static int member_decode(struct parity_member *m, struct cursor *c, struct error *err)
{
	size_t len;
	const uint8_t *name = cursor_blob(c, PARITY_NAME_MAX - 1, &len);
	if (name && !memchr(name, 0, len))
		memcpy(m->name, name, len); /* the rest is zero */
	m->size = field_set(c, PARITY_MEMBER_MAX);
	m->sums = cursor_take(c, parity_pieces(m->size) * PARITY_SUM_SIZE);
	if (!cursor_ok(c) || !parity_covers(m->name))
		return error_set(err, ERR_CORRUPT, "damaged table of a parity object");
	return 0;
}

/* Offsets, and whether the members are as the form wants them. */
static bool place_members(struct parity_table *t, const struct parity_head *h)
{
	uint64_t sum = 0, largest = 0;
	for (size_t i = 0; i < t->count; i++) {
		struct parity_member *m = &t->members[i];
		if (i && strcmp(m[-1].name, m->name) >= 0)
			return false;
		if (h->form == PARITY_BUNDLE && m->size > PARITY_PIECE)
			return false;
		m->offset = h->form == PARITY_BUNDLE ? sum : 0;
		sum += m->size;
		if (m->size > largest)
			largest = m->size;
	}
	return h->length == (h->form == PARITY_BUNDLE ? sum : largest);
}

int parity_table_decode(struct parity_table *ret, const struct parity_head *h, const uint8_t *bytes, size_t len, struct error *err)
{
	CLEAN(parity_table_done) struct parity_table t = { 0 };
	struct cursor c = cursor_of(bytes, len);
	uint64_t count = field_set(&c, h->form == PARITY_BUNDLE ? PARITY_BUNDLE_MEMBERS_MAX : PARITY_MEMBERS_MAX);
	if (!cursor_ok(&c) || count > cursor_left(&c) / MEMBER_MIN)
		return error_set(err, ERR_CORRUPT, "damaged table of a parity object");
	t.members = calloc(count, sizeof *t.members);
	if (!t.members)
		return error_set(err, ERR_NOMEM, "out of memory");
	for (; t.count < count; t.count++)
		if (member_decode(&t.members[t.count], &c, err) < 0)
			return -1;
	for (unsigned k = 0; k < h->shards; k++)
		t.shard_sums[k] = cursor_take(&c, parity_pieces(h->length) * PARITY_SUM_SIZE);
	if (!cursor_ok(&c) || cursor_left(&c) || !place_members(&t, h))
		return error_set(err, ERR_CORRUPT, "damaged table of a parity object");
	*ret = t;
	t = (struct parity_table){ 0 };
	return 0;
}
