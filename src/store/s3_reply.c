/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/s3_reply.h"

#include <errno.h>
#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define DEPTH_MAX 8
#define PATH_BYTES 256
#define TEXT_MAX 8192u
#define ITEMS_MAX 100000u /* of one page; servers send at most 1000 */

/* --- documents ------------------------------------------------------------------- */

/* An element ends: path is "ListBucketResult/Contents/Key", text its own characters. Nonzero stops. */
typedef int (*element_fn)(void *cookie, const char *path, const char *text);

struct reader {
	XML_Parser parser;
	element_fn fn;
	void *cookie;
	char path[PATH_BYTES];
	size_t length[DEPTH_MAX]; /* of the path above each element */
	int depth;
	struct buf text;
	bool stopped;
	const char *why;
};

static void stop(struct reader *r, const char *why)
{
	if (!r->stopped) {
		r->why = why;
		XML_StopParser(r->parser, XML_FALSE);
	}
	r->stopped = true;
}

static void XMLCALL on_start(void *cookie, const XML_Char *name, const XML_Char **attributes)
{
	struct reader *r = cookie;
	(void)attributes;
	size_t used = strlen(r->path), len = strlen(name);
	if (r->depth == DEPTH_MAX || used + len + 2 > sizeof r->path) {
		stop(r, "it is too deep");
		return;
	}
	r->length[r->depth++] = used;
	snprintf(r->path + used, sizeof r->path - used, "%s%s", used ? "/" : "", name);
	buf_clear(&r->text);
}

static void XMLCALL on_text(void *cookie, const XML_Char *text, int len)
{
	struct reader *r = cookie;
	if (r->text.len + (size_t)len > TEXT_MAX)
		stop(r, "a text in it is too long");
	else
		buf_add(&r->text, text, (size_t)len);
}

static void XMLCALL on_end(void *cookie, const XML_Char *name)
{
	struct reader *r = cookie;
	(void)name;
	if (r->stopped)
		return;
	buf_add_u8(&r->text, 0);
	if (!buf_ok(&r->text))
		stop(r, "out of memory");
	else if (r->fn(r->cookie, r->path, (const char *)r->text.data))
		stop(r, "it says what no server says");
	buf_clear(&r->text);
	if (r->depth)
		r->path[r->length[--r->depth]] = 0;
}

static void XMLCALL on_doctype(void *cookie, const XML_Char *name, const XML_Char *system, const XML_Char *public, int internal)
{
	(void)name, (void)system, (void)public, (void)internal;
	stop(cookie, "it has a DOCTYPE");
}

static int parse(const void *data, size_t len, element_fn fn, void *cookie, struct error *err)
{
	const char *p = data;
	/* A server that keeps the connection alive sends blanks first. */
	while (len && (*p == ' ' || *p == '\r' || *p == '\n' || *p == '\t'))
		p++, len--;
	if (len > (64u << 20))
		return error_set(err, ERR_CORRUPT, "the server's answer of %zu bytes is too long", len);
	struct reader r = { .parser = XML_ParserCreate(NULL), .fn = fn, .cookie = cookie, .text = BUF_INIT };
	if (!r.parser)
		return error_set(err, ERR_NOMEM, "read the server's answer: out of memory");
	XML_SetUserData(r.parser, &r);
	XML_SetElementHandler(r.parser, on_start, on_end);
	XML_SetCharacterDataHandler(r.parser, on_text);
	XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
	bool good = XML_Parse(r.parser, p ? p : "", (int)len, 1) == XML_STATUS_OK && !r.stopped;
	if (!good)
		error_set(err, ERR_CORRUPT, "the server's answer cannot be understood: %s", r.why ? r.why : XML_ErrorString(XML_GetErrorCode(r.parser)));
	XML_ParserFree(r.parser);
	buf_done(&r.text);
	return good ? 0 : -1;
}

/* --- values --------------------------------------------------------------------------- */

static bool parse_number(const char *text, uint64_t *ret)
{
	char *end;
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (errno || *end || n > INT64_MAX)
		return false;
	*ret = n;
	return true;
}

time_t s3_parse_time(const char *text)
{
	struct tm tm = { 0 };
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!end || (*end != 'Z' && *end != '.'))
		return -1;
	return timegm(&tm);
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef0123456789ABCDEF", *at = c ? strchr(digits, c) : NULL;
	return at ? (int)((at - digits) % 16) : -1;
}

/* In place; what is no escape stays as it is. */
static void decode(char *text)
{
	char *out = text;
	for (; *text; text++) {
		int high = *text == '%' ? hex_digit(text[1]) : -1, low = high >= 0 ? hex_digit(text[2]) : -1;
		if (low >= 0 && high * 16 + low) {
			*out++ = (char)(high * 16 + low);
			text += 2;
		} else {
			*out++ = *text == '+' ? ' ' : *text;
		}
	}
	*out = 0;
}

/* --- listings ---------------------------------------------------------------------------- */

struct listing {
	struct s3_page page;
	const char *root, *item; /* elements: the document, and one entry */
	struct s3_listed now;    /* the entry being read */
	bool sized, dated, encoded;
};

static void listed_done(struct s3_listed *l)
{
	free(l->key);
	free(l->upload);
	*l = (struct s3_listed){ 0 };
}

void s3_page_done(struct s3_page *p)
{
	for (size_t i = 0; i < p->count; i++)
		listed_done(&p->items[i]);
	free(p->items);
	free(p->next_key);
	free(p->next_upload);
	*p = (struct s3_page){ 0 };
}

/* -1: set before, or out of memory. */
static int keep(char **at, const char *text)
{
	if (*at)
		return -1;
	*at = strdup(text);
	return *at ? 0 : -1;
}

static int end_item(struct listing *l)
{
	struct s3_page *p = &l->page;
	bool whole = l->now.key && (l->sized || (l->now.upload && l->dated));
	if (!whole || p->count == ITEMS_MAX)
		return -1;
	if (p->count == p->room) {
		size_t room = p->room ? 2 * p->room : 64;
		struct s3_listed *grown = realloc(p->items, room * sizeof *grown);
		if (!grown)
			return -1;
		p->items = grown;
		p->room = room;
	}
	p->items[p->count++] = l->now;
	l->now = (struct s3_listed){ 0 };
	l->sized = l->dated = false;
	return 0;
}

static int item_field(struct listing *l, const char *name, const char *text)
{
	if (strcmp(name, "Key") == 0)
		return keep(&l->now.key, text);
	if (strcmp(name, "UploadId") == 0)
		return keep(&l->now.upload, text);
	if (strcmp(name, "Size") == 0) {
		l->sized = parse_number(text, &l->now.size);
		return l->sized ? 0 : -1;
	}
	if (strcmp(name, "Initiated") == 0) {
		l->now.begun = s3_parse_time(text);
		l->dated = l->now.begun != -1;
		return l->dated ? 0 : -1;
	}
	return 0;
}

static int page_field(struct listing *l, const char *name, const char *text)
{
	if (strcmp(name, "IsTruncated") == 0)
		l->page.more = strcmp(text, "true") == 0;
	else if (strcmp(name, "EncodingType") == 0)
		l->encoded = strcmp(text, "url") == 0;
	else if (*text && (strcmp(name, "NextContinuationToken") == 0 || strcmp(name, "NextKeyMarker") == 0))
		return keep(&l->page.next_key, text);
	else if (*text && strcmp(name, "NextUploadIdMarker") == 0)
		return keep(&l->page.next_upload, text);
	return 0;
}

static int on_listing(void *cookie, const char *path, const char *text)
{
	struct listing *l = cookie;
	size_t root = strlen(l->root), item = strlen(l->item);
	if (strncmp(path, l->root, root) != 0 || (path[root] && path[root] != '/'))
		return -1;
	if (!path[root])
		return 0;
	const char *name = path + root + 1;
	if (strncmp(name, l->item, item) != 0 || (name[item] && name[item] != '/'))
		return strchr(name, '/') ? 0 : page_field(l, name, text);
	if (!name[item])
		return end_item(l);
	return strchr(name + item + 1, '/') ? 0 : item_field(l, name + item + 1, text);
}

static int parse_listing(struct s3_page *ret, const char *root, const char *item, const void *data, size_t len, struct error *err)
{
	struct listing l = { .root = root, .item = item };
	int done = parse(data, len, on_listing, &l, err);
	listed_done(&l.now);
	if (done == 0 && l.page.more && !l.page.next_key)
		done = error_set(err, ERR_CORRUPT, "the server says that the listing goes on, but not where");
	if (done < 0) {
		s3_page_done(&l.page);
		return -1;
	}
	for (size_t i = 0; l.encoded && i < l.page.count; i++)
		decode(l.page.items[i].key);
	*ret = l.page;
	return 0;
}

int s3_parse_objects(struct s3_page *ret, const void *data, size_t len, struct error *err)
{
	return parse_listing(ret, "ListBucketResult", "Contents", data, len, err);
}

int s3_parse_uploads(struct s3_page *ret, const void *data, size_t len, struct error *err)
{
	return parse_listing(ret, "ListMultipartUploadsResult", "Upload", data, len, err);
}

/* --- errors, uploads ------------------------------------------------------------------------ */

static void copy_text(char *ret, size_t size, const char *text)
{
	snprintf(ret, size, "%s", text);
	for (char *c = ret; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';
}

static int on_problem(void *cookie, const char *path, const char *text)
{
	struct s3_problem *p = cookie;
	if (strcmp(path, "Error/Code") == 0)
		copy_text(p->code, sizeof p->code, text);
	else if (strcmp(path, "Error/Message") == 0)
		copy_text(p->message, sizeof p->message, text);
	else if (strcmp(path, "Error/Region") == 0)
		copy_text(p->region, sizeof p->region, text);
	return 0;
}

void s3_parse_problem(struct s3_problem *ret, const void *data, size_t len)
{
	struct s3_problem p = { 0 };
	*ret = parse(data, len, on_problem, &p, NULL) == 0 ? p : (struct s3_problem){ 0 };
}

static int on_upload(void *cookie, const char *path, const char *text)
{
	if (strcmp(path, "InitiateMultipartUploadResult/UploadId") != 0)
		return 0;
	return *text ? keep(cookie, text) : -1;
}

int s3_parse_upload_id(char **ret, const void *data, size_t len, struct error *err)
{
	char *id = NULL;
	int done = parse(data, len, on_upload, &id, err);
	if (done == 0 && !id)
		done = error_set(err, ERR_CORRUPT, "the server's answer names no upload");
	if (done < 0) {
		free(id);
		return -1;
	}
	*ret = id;
	return 0;
}
