/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/s3_sign.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

static void to_hex(const unsigned char *bytes, size_t len, char *ret)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < len; i++) {
		ret[2 * i] = digits[bytes[i] >> 4];
		ret[2 * i + 1] = digits[bytes[i] & 15];
	}
	ret[2 * len] = 0;
}

void s3_sha256(const void *data, size_t len, char ret[S3_HASH_SIZE])
{
	unsigned char sum[32] = { 0 };
	EVP_Q_digest(NULL, "SHA256", NULL, data, len, sum, NULL);
	to_hex(sum, sizeof sum, ret);
}

bool s3_md5(const void *data, size_t len, unsigned char ret[16])
{
	return EVP_Q_digest(NULL, "MD5", NULL, data, len, ret, NULL) == 1;
}

void s3_encode(struct buf *b, const char *text, bool keep_slashes)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' || c == '_' || c == '~' ||
		             (c == '/' && keep_slashes);
		static const char digits[] = "0123456789ABCDEF";
		char escape[3] = { '%', digits[c >> 4], digits[c & 15] };
		if (plain)
			buf_add_u8(b, c);
		else
			buf_add(b, escape, 3);
	}
}

static void add(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text));
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct s3_header *)a)->name, ((const struct s3_header *)b)->name);
}

/* headers: sorted. */
static void add_names(struct buf *b, const struct s3_header *headers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (i)
			buf_add_u8(b, ';');
		add(b, headers[i].name);
	}
}

static void add_canonical(struct buf *b, const struct s3_signing *s, const struct s3_header *headers)
{
	add(b, s->method);
	buf_add_u8(b, '\n');
	add(b, s->path);
	buf_add_u8(b, '\n');
	add(b, s->query);
	buf_add_u8(b, '\n');
	for (size_t i = 0; i < s->header_count; i++) {
		add(b, headers[i].name);
		buf_add_u8(b, ':');
		add(b, headers[i].value);
		buf_add_u8(b, '\n');
	}
	buf_add_u8(b, '\n');
	add_names(b, headers, s->header_count);
	buf_add_u8(b, '\n');
	add(b, s->payload_hash);
}

static bool mac(unsigned char key[32], size_t key_len, const char *text, size_t len)
{
	unsigned char out[32];
	if (!HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text, len, out, NULL))
		return false;
	memcpy(key, out, sizeof out);
	return true;
}

/* key becomes the day's key of this region and service. */
static bool derive(const struct s3_signing *s, unsigned char key[32])
{
	CLEAN_BUF struct buf first = BUF_INIT;
	add(&first, "AWS4");
	add(&first, s->credentials->secret);
	if (!buf_ok(&first) || !HMAC(EVP_sha256(), first.data, (int)first.len, (const unsigned char *)s->date, 8, key, NULL))
		return false;
	explicit_bzero(first.data, first.len);
	return mac(key, 32, s->region, strlen(s->region)) && mac(key, 32, "s3", 2) && mac(key, 32, "aws4_request", 12);
}

int s3_sign(const struct s3_signing *s, struct buf *ret, struct error *err)
{
	CLEAN_BUF struct buf text = BUF_INIT, scope = BUF_INIT;
	struct s3_header headers[S3_HEADERS_MAX];
	char hash[S3_HASH_SIZE], signature[S3_HASH_SIZE];
	unsigned char key[32];
	if (s->header_count > S3_HEADERS_MAX)
		return error_set(err, ERR_INVALID, "sign a request: too many headers");
	memcpy(headers, s->headers, s->header_count * sizeof *headers);
	qsort(headers, s->header_count, sizeof *headers, by_name);
	add_canonical(&text, s, headers);
	buf_add(&scope, s->date, 8);
	buf_add_u8(&scope, '/');
	add(&scope, s->region);
	add(&scope, "/s3/aws4_request");
	if (!buf_ok(&text))
		return error_set(err, ERR_NOMEM, "sign a request: out of memory");
	s3_sha256(text.data, text.len, hash);

	buf_clear(&text);
	add(&text, "AWS4-HMAC-SHA256\n");
	add(&text, s->date);
	buf_add_u8(&text, '\n');
	buf_add(&text, scope.data, scope.len);
	buf_add_u8(&text, '\n');
	add(&text, hash);
	if (!buf_ok(&text) || !buf_ok(&scope))
		return error_set(err, ERR_NOMEM, "sign a request: out of memory");
	bool signed_ = derive(s, key) && mac(key, 32, (const char *)text.data, text.len);
	to_hex(key, sizeof key, signature);
	if (!signed_)
		return error_set(err, ERR_IO, "sign a request: the system's cryptography refused");

	add(ret, "AWS4-HMAC-SHA256 Credential=");
	add(ret, s->credentials->key);
	buf_add_u8(ret, '/');
	buf_add(ret, scope.data, scope.len);
	add(ret, ",SignedHeaders=");
	add_names(ret, headers, s->header_count);
	add(ret, ",Signature=");
	add(ret, signature);
	return buf_ok(ret) ? 0 : error_set(err, ERR_NOMEM, "sign a request: out of memory");
}
