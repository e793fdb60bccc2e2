/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/format/fields.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool field_is_zero(const uint8_t *p, size_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

uint32_t field_ns(struct cursor *c)
{
	uint32_t ns = cursor_le32(c);
	if (ns >= NS_PER_SECOND) {
		c->bad = true;
		return 0;
	}
	return ns;
}

void field_add_time(struct buf *b, struct time_ns t)
{
	buf_add_svarint(b, t.sec);
	buf_add_le32(b, t.ns);
}

struct time_ns field_time(struct cursor *c)
{
	struct time_ns t = { .sec = field_svarint(c) };
	t.ns = field_ns(c);
	return t;
}

/* The difference wraps around, so that every pair of times has one. */
void field_add_time_after(struct buf *b, struct time_ns t, struct time_ns base)
{
	buf_add_svarint(b, (int64_t)((uint64_t)t.sec - (uint64_t)base.sec));
	buf_add_le32(b, t.ns);
}

struct time_ns field_time_after(struct cursor *c, struct time_ns base)
{
	struct time_ns t = field_time(c);
	t.sec = (int64_t)((uint64_t)t.sec + (uint64_t)base.sec);
	if (time_compare(t, base) == 0)
		c->bad = true;
	return t;
}

int field_text(struct cursor *c, size_t max, char **ret)
{
	size_t len = 0;
	const uint8_t *p = cursor_blob(c, max, &len);
	if (!p)
		return 0;
	if (memchr(p, 0, len)) {
		c->bad = true;
		return 0;
	}
	char *text = malloc(len + 1);
	if (!text)
		return -1;
	memcpy(text, p, len);
	text[len] = 0;
	*ret = text;
	return 0;
}

/* --- attributes ------------------------------------------------------------ */

uint32_t attr_bits(const struct attr *a)
{
	uint32_t bits = 0;
	bits |= a->mtime.ns ? ATTR_MTIME_NS : 0;
	bits |= time_compare(a->ctime, a->mtime) ? ATTR_CTIME : 0;
	if (a->has_btime)
		bits |= time_compare(a->btime, a->mtime) ? ATTR_BTIME | ATTR_BTIME_DIFFERS : ATTR_BTIME;
	bits |= a->uid ? ATTR_UID : 0;
	bits |= a->gid ? ATTR_GID : 0;
	bits |= a->user ? ATTR_USER : 0;
	bits |= a->group ? ATTR_GROUP : 0;
	bits |= a->ino ? ATTR_INO : 0;
	bits |= a->dev ? ATTR_DEV : 0;
	bits |= a->size ? ATTR_SIZE : 0;
	bits |= a->nlink != 1 ? ATTR_NLINK : 0;
	bits |= a->rdev ? ATTR_RDEV : 0;
	bits |= a->flags ? ATTR_FLAGS : 0;
	bits |= a->xattr_count ? ATTR_XATTRS : 0;
	bits |= a->link_len ? ATTR_LINK : 0;
	return bits;
}

static void xattrs_encode(struct buf *b, const struct attr *a)
{
	buf_add_varint(b, a->xattr_count);
	for (size_t i = 0; i < a->xattr_count; i++) {
		buf_add_blob(b, a->xattrs[i].name, strlen(a->xattrs[i].name));
		buf_add_blob(b, a->xattrs[i].value, a->xattrs[i].size);
	}
}

void attr_encode(struct buf *b, const struct attr *a, uint32_t bits)
{
	/* A regular file's mode then takes two bytes. */
	buf_add_varint(b, a->mode ^ S_IFREG);
	buf_add_svarint(b, a->mtime.sec);
	if (bits & ATTR_MTIME_NS)
		buf_add_le32(b, a->mtime.ns);
	if (bits & ATTR_CTIME)
		field_add_time_after(b, a->ctime, a->mtime);
	if (bits & ATTR_BTIME_DIFFERS)
		field_add_time_after(b, a->btime, a->mtime);
	if (bits & ATTR_UID)
		buf_add_varint(b, a->uid);
	if (bits & ATTR_GID)
		buf_add_varint(b, a->gid);
	if (bits & ATTR_USER)
		buf_add_blob(b, a->user, strlen(a->user));
	if (bits & ATTR_GROUP)
		buf_add_blob(b, a->group, strlen(a->group));
	if (bits & ATTR_INO)
		buf_add_varint(b, a->ino);
	if (bits & ATTR_DEV)
		buf_add_varint(b, a->dev);
	if (bits & ATTR_SIZE)
		buf_add_varint(b, a->size);
	if (bits & ATTR_NLINK)
		buf_add_varint(b, a->nlink);
	if (bits & ATTR_RDEV)
		buf_add_varint(b, a->rdev);
	if (bits & ATTR_FLAGS)
		buf_add_varint(b, a->flags);
	if (bits & ATTR_XATTRS)
		xattrs_encode(b, a);
	if (bits & ATTR_LINK)
		buf_add_blob(b, a->link, a->link_len);
}

static void times_decode(struct attr *ret, struct cursor *c, uint32_t bits)
{
	ret->mtime.sec = field_svarint(c);
	if (bits & ATTR_MTIME_NS) {
		ret->mtime.ns = field_ns(c);
		if (ret->mtime.ns == 0)
			c->bad = true;
	}
	ret->ctime = bits & ATTR_CTIME ? field_time_after(c, ret->mtime) : ret->mtime;
	ret->has_btime = bits & ATTR_BTIME;
	if (bits & ATTR_BTIME_DIFFERS)
		ret->btime = field_time_after(c, ret->mtime);
	else if (ret->has_btime)
		ret->btime = ret->mtime;
}

static int xattrs_decode(struct attr *ret, struct cursor *c, struct error *err)
{
	uint64_t count = field_set(c, NODE_XATTRS_MAX);
	if (!cursor_ok(c) || count > cursor_left(c) / 3)
		return error_set(err, ERR_CORRUPT, "damaged list of extended attributes");
	ret->xattrs = calloc(count, sizeof *ret->xattrs);
	if (!ret->xattrs)
		return error_set(err, ERR_NOMEM, "out of memory");
	for (uint64_t i = 0; i < count; i++) {
		struct xattr *x = &ret->xattrs[ret->xattr_count++];
		if (field_text(c, NODE_XATTR_NAME_MAX, &x->name) < 0)
			return error_set(err, ERR_NOMEM, "out of memory");
		const uint8_t *value = cursor_blob(c, NODE_XATTR_MAX, &x->size);
		if (!cursor_ok(c) || !x->name[0] || (i && strcmp(x[-1].name, x->name) >= 0))
			return error_set(err, ERR_CORRUPT, "damaged list of extended attributes");
		if (x->size == 0)
			continue;
		x->value = malloc(x->size);
		if (!x->value)
			return error_set(err, ERR_NOMEM, "out of memory");
		memcpy(x->value, value, x->size);
	}
	return 0;
}

static int link_decode(struct attr *ret, struct cursor *c, struct error *err)
{
	const uint8_t *p = cursor_blob(c, NODE_LINK_MAX, &ret->link_len);
	if (!p || ret->link_len == 0 || !S_ISLNK(ret->mode) || memchr(p, 0, ret->link_len))
		return error_set(err, ERR_CORRUPT, "damaged target of a symbolic link");
	ret->link = malloc(ret->link_len);
	if (!ret->link)
		return error_set(err, ERR_NOMEM, "out of memory");
	memcpy(ret->link, p, ret->link_len);
	return 0;
}

static int owner_decode(struct attr *ret, struct cursor *c, uint32_t bits, struct error *err)
{
	ret->uid = bits & ATTR_UID ? (uint32_t)field_set(c, UINT32_MAX) : 0;
	ret->gid = bits & ATTR_GID ? (uint32_t)field_set(c, UINT32_MAX) : 0;
	if (((bits & ATTR_USER) && field_text(c, NODE_OWNER_MAX, &ret->user) < 0) ||
	    ((bits & ATTR_GROUP) && field_text(c, NODE_OWNER_MAX, &ret->group) < 0))
		return error_set(err, ERR_NOMEM, "out of memory");
	return 0;
}

int attr_decode(struct attr *ret, struct cursor *c, uint32_t bits, struct error *err)
{
	if ((bits & ATTR_BTIME_DIFFERS) && !(bits & ATTR_BTIME))
		return error_set(err, ERR_CORRUPT, "damaged attributes");
	ret->mode = (uint32_t)field_max(c, UINT16_MAX) ^ S_IFREG;
	times_decode(ret, c, bits);
	if (owner_decode(ret, c, bits, err) < 0)
		return -1;
	ret->ino = bits & ATTR_INO ? field_set(c, UINT64_MAX) : 0;
	ret->dev = bits & ATTR_DEV ? field_set(c, UINT64_MAX) : 0;
	ret->size = bits & ATTR_SIZE ? field_set(c, FIELD_LENGTH_MAX) : 0;
	ret->nlink = bits & ATTR_NLINK ? (uint32_t)field_max(c, UINT32_MAX) : 1;
	ret->rdev = bits & ATTR_RDEV ? field_set(c, UINT64_MAX) : 0;
	ret->flags = bits & ATTR_FLAGS ? (uint32_t)field_set(c, UINT32_MAX) : 0;
	if (!cursor_ok(c) || ((bits & ATTR_NLINK) && ret->nlink == 1))
		return error_set(err, ERR_CORRUPT, "damaged attributes");
	if ((bits & ATTR_XATTRS) && xattrs_decode(ret, c, err) < 0)
		return -1;
	if ((bits & ATTR_LINK) && link_decode(ret, c, err) < 0)
		return -1;
	return 0;
}
