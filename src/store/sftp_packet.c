/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/sftp_packet.h"

#define ATTR_SIZE 1u
#define ATTR_OWNER 2u
#define ATTR_MODE 4u
#define ATTR_TIMES 8u
#define ATTR_EXTENDED 0x80000000u

void sftp_add_u32(struct buf *b, uint32_t v)
{
	uint8_t bytes[4];
	put_be32(bytes, v);
	buf_add(b, bytes, sizeof bytes);
}

void sftp_add_u64(struct buf *b, uint64_t v)
{
	uint8_t bytes[8];
	put_be64(bytes, v);
	buf_add(b, bytes, sizeof bytes);
}

void sftp_add_bytes(struct buf *b, const void *data, size_t len)
{
	sftp_add_u32(b, (uint32_t)len);
	buf_add(b, data, len);
}

void sftp_add_text(struct buf *b, const char *text)
{
	sftp_add_bytes(b, text, strlen(text));
}

void sftp_begin(struct buf *b, enum sftp_type type)
{
	buf_clear(b);
	sftp_add_u32(b, 0);
	buf_add_u8(b, (uint8_t)type);
	sftp_add_u32(b, 0);
}

void sftp_end(struct buf *b, size_t extra)
{
	if (buf_ok(b))
		put_be32(b->data, (uint32_t)(b->len - 4 + extra));
}

void sftp_packet_set_id(struct buf *b, uint32_t id)
{
	put_be32(b->data + 5, id);
}

static uint32_t take_u32(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 4);
	return p ? get_be32(p) : 0;
}

static uint64_t take_u64(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 8);
	return p ? get_be64(p) : 0;
}

/* A string in place; NULL and a bad cursor when it is longer than what is left. */
static const uint8_t *take_string(struct cursor *c, size_t *ret_len)
{
	size_t len = take_u32(c);
	*ret_len = len;
	return cursor_take(c, len);
}

bool sftp_reply_head(const void *packet, size_t len, uint8_t *ret_type, uint32_t *ret_id)
{
	struct cursor c = cursor_of(packet, len);
	*ret_type = cursor_u8(&c);
	*ret_id = take_u32(&c);
	return cursor_ok(&c);
}

static bool is_text(const uint8_t *data, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(data, text, len) == 0;
}

bool sftp_decode_version(struct sftp_server *ret, const void *packet, size_t len)
{
	struct cursor c = cursor_of(packet, len);
	struct sftp_server found = { 0 };
	if (cursor_u8(&c) != SFTP_VERSION)
		return false;
	found.version = take_u32(&c);
	while (cursor_ok(&c) && cursor_left(&c)) {
		size_t name_len, data_len;
		const uint8_t *name = take_string(&c, &name_len), *data = take_string(&c, &data_len);
		if (!name || !data)
			return false;
		const struct {
			const char *name, *version;
			bool *known;
		} known[] = {
			{ "fsync@openssh.com", "1", &found.fsync },
			{ "posix-rename@openssh.com", "1", &found.posix_rename },
			{ "statvfs@openssh.com", "2", &found.statvfs },
			{ "limits@openssh.com", "1", &found.limits },
		};
		for (size_t i = 0; i < sizeof known / sizeof *known; i++)
			if (is_text(name, name_len, known[i].name) && is_text(data, data_len, known[i].version))
				*known[i].known = true;
	}
	if (!cursor_ok(&c))
		return false;
	*ret = found;
	return true;
}

bool sftp_decode_status(const void *body, size_t len, uint32_t *ret_code, char text[SFTP_TEXT_MAX])
{
	struct cursor c = cursor_of(body, len);
	*ret_code = take_u32(&c);
	if (!cursor_ok(&c))
		return false;
	size_t said_len, used = 0;
	const uint8_t *said = take_string(&c, &said_len);
	for (size_t i = 0; said && i < said_len && used < SFTP_TEXT_MAX - 1; i++)
		if (said[i] >= ' ' && said[i] < 127)
			text[used++] = (char)said[i];
	text[used] = 0;
	return true;
}

bool sftp_decode_handle(const void *body, size_t len, const uint8_t **ret, size_t *ret_len)
{
	struct cursor c = cursor_of(body, len);
	*ret = take_string(&c, ret_len);
	return *ret && *ret_len && *ret_len <= SFTP_HANDLE_MAX;
}

bool sftp_decode_data(const void *body, size_t len, const uint8_t **ret, size_t *ret_len)
{
	struct cursor c = cursor_of(body, len);
	*ret = take_string(&c, ret_len);
	return *ret && *ret_len;
}

static bool take_attrs(struct cursor *c, struct sftp_attrs *ret)
{
	struct sftp_attrs a = { 0 };
	uint32_t flags = take_u32(c);
	if (flags & ATTR_SIZE) {
		a.has_size = true;
		a.size = take_u64(c);
	}
	if (flags & ATTR_OWNER)
		take_u64(c);
	if (flags & ATTR_MODE) {
		a.has_mode = true;
		a.mode = take_u32(c);
	}
	if (flags & ATTR_TIMES) {
		take_u32(c);
		a.has_time = true;
		a.mtime = take_u32(c);
	}
	uint32_t pairs = flags & ATTR_EXTENDED ? take_u32(c) : 0;
	for (uint32_t i = 0; i < pairs && cursor_ok(c); i++) {
		size_t ignored;
		take_string(c, &ignored);
		take_string(c, &ignored);
	}
	*ret = a;
	return cursor_ok(c);
}

bool sftp_decode_attrs(const void *body, size_t len, struct sftp_attrs *ret)
{
	struct cursor c = cursor_of(body, len);
	return take_attrs(&c, ret);
}

bool sftp_names_begin(struct sftp_names *ret, const void *body, size_t len)
{
	struct cursor c = cursor_of(body, len);
	uint32_t count = take_u32(&c);
	/* An entry has two lengths and the attributes' flags at least. */
	if (!cursor_ok(&c) || count > cursor_left(&c) / 12)
		return false;
	*ret = (struct sftp_names){ c, count };
	return true;
}

bool sftp_names_next(struct sftp_names *names, const uint8_t **ret_name, size_t *ret_len, struct sftp_attrs *ret)
{
	size_t ignored;
	if (!names->left)
		return false;
	*ret_name = take_string(&names->at, ret_len);
	take_string(&names->at, &ignored); /* the line that ls would print */
	if (!take_attrs(&names->at, ret))
		return false;
	names->left--;
	return true;
}

bool sftp_decode_limits(const void *body, size_t len, struct sftp_limits *ret)
{
	struct cursor c = cursor_of(body, len);
	struct sftp_limits l;
	l.packet = take_u64(&c);
	l.read = take_u64(&c);
	l.write = take_u64(&c);
	l.handles = take_u64(&c);
	if (!cursor_ok(&c))
		return false;
	*ret = l;
	return true;
}

bool sftp_decode_space(const void *body, size_t len, uint64_t *ret_free, uint64_t *ret_total)
{
	struct cursor c = cursor_of(body, len);
	uint64_t block = take_u64(&c), fragment = take_u64(&c), blocks = take_u64(&c);
	take_u64(&c); /* free for root */
	uint64_t available = take_u64(&c);
	if (!cursor_ok(&c))
		return false;
	if (!fragment)
		fragment = block;
	if (__builtin_mul_overflow(fragment, blocks, ret_total) || __builtin_mul_overflow(fragment, available, ret_free))
		return false;
	return true;
}
