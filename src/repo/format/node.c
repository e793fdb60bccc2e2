/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/format/node.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "repo/format/fields.h"

void node_done(struct node *n)
{
	free(n->name);
	free(n->note);
	attr_done(&n->attr);
	content_done(&n->content);
	*n = (struct node){ 0 };
}

/* What n owns is ret's. */
static void node_move(struct node *ret, struct node *n)
{
	*ret = *n;
	*n = (struct node){ 0 };
}

/* One byte more than len, a zero. */
static char *copy_name(const void *bytes, size_t len)
{
	char *copy = malloc(len + 1);
	if (copy) {
		memcpy(copy, bytes, len);
		copy[len] = 0;
	}
	return copy;
}

int node_copy(struct node *ret, const struct node *src)
{
	CLEAN(node_done) struct node n = *src;
	n.name = n.note = NULL;
	n.attr = (struct attr){ 0 };
	n.content = (struct content){ 0 };
	if (src->name && !(n.name = copy_name(src->name, src->name_len)))
		return -1;
	if (src->note && !(n.note = strdup(src->note)))
		return -1;
	if (attr_copy(&n.attr, &src->attr) < 0 || content_copy(&n.content, &src->content) < 0)
		return -1;
	node_move(ret, &n);
	return 0;
}

/* A size that follows from the content is not stored. */
static bool size_follows(const struct node *n)
{
	return n->has_content && !n->content.paged && content_sum(&n->content) == n->attr.size;
}

void node_encode(struct buf *b, const struct node *n)
{
	uint32_t bits = attr_bits(&n->attr);
	if (size_follows(n))
		bits &= ~(uint32_t)ATTR_SIZE;
	bits |= n->has_content ? NODE_CONTENT : 0;
	bits |= n->has_tree ? NODE_TREE : 0;
	bits |= n->incomplete ? NODE_INCOMPLETE : 0;
	bits |= n->note ? NODE_NOTE : 0;
	buf_add_blob(b, n->name, n->name_len);
	buf_add_varint(b, bits);
	attr_encode(b, &n->attr, bits);
	if (n->has_content)
		content_encode(b, &n->content);
	if (n->has_tree)
		field_add_id(b, &n->tree);
	if (n->note)
		buf_add_blob(b, n->note, strlen(n->note));
}

static bool name_is_safe(const uint8_t *name, size_t len)
{
	if (len == 0 || (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
		return false;
	return !memchr(name, 0, len) && !memchr(name, '/', len);
}

int node_decode_name(const uint8_t *record, size_t len, const uint8_t **ret_name, size_t *ret_len, struct error *err)
{
	struct cursor c = cursor_of(record, len);
	size_t name_len = 0;
	const uint8_t *name = cursor_blob(&c, NODE_NAME_MAX, &name_len);
	if (!name || !name_is_safe(name, name_len))
		return error_set(err, ERR_CORRUPT, "directory entry with an impossible name");
	*ret_name = name;
	*ret_len = name_len;
	return 0;
}

static int node_content_decode(struct node *n, struct cursor *c, uint32_t bits, struct error *err)
{
	uint64_t sum;
	if (!S_ISREG(n->attr.mode))
		return error_set(err, ERR_CORRUPT, "content in what is not a regular file");
	n->has_content = true;
	if (content_decode(&n->content, c, &sum, err) < 0)
		return -1;
	if (n->content.paged)
		return 0;
	/* A size beside inline parts either contradicts them or repeats them. */
	if (bits & ATTR_SIZE)
		return error_set(err, ERR_CORRUPT, "the parts of the content do not add up to the size");
	n->attr.size = sum;
	return 0;
}

/* Everything behind the name. */
static int fields_decode(struct node *n, struct cursor *c, struct error *err)
{
	uint64_t bits = field_varint(c);
	if (bits >= NODE_BITS_END)
		return error_set(err, ERR_UNSUPPORTED, "fields that this version does not know");
	if (attr_decode(&n->attr, c, (uint32_t)bits, err) < 0)
		return -1;
	if ((bits & NODE_CONTENT) && node_content_decode(n, c, (uint32_t)bits, err) < 0)
		return -1;
	if (bits & NODE_TREE) {
		if (!S_ISDIR(n->attr.mode))
			return error_set(err, ERR_CORRUPT, "a tree in what is not a directory");
		n->has_tree = true;
		n->tree = field_id(c);
	}
	n->incomplete = bits & NODE_INCOMPLETE;
	if ((bits & NODE_NOTE) && field_text(c, NODE_NOTE_MAX, &n->note) < 0)
		return error_set(err, ERR_NOMEM, "out of memory");
	if (!cursor_ok(c) || cursor_left(c))
		return error_set(err, ERR_CORRUPT, "damaged fields");
	return 0;
}

int node_decode(struct node *ret, const uint8_t *record, size_t len, struct error *err)
{
	CLEAN(node_done) struct node n = { 0 };
	const uint8_t *name;
	if (node_decode_name(record, len, &name, &n.name_len, err) < 0)
		return -1;
	n.name = copy_name(name, n.name_len);
	if (!n.name)
		return error_set(err, ERR_NOMEM, "out of memory");
	size_t head = (size_t)(name - record) + n.name_len;
	struct cursor c = cursor_of(record + head, len - head);
	if (fields_decode(&n, &c, err) < 0)
		return error_add(err, "directory entry \"%s\"", n.name);
	node_move(ret, &n);
	return 0;
}
