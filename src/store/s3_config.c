/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/s3_config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define PREFIX_MAX 512u
#define FILE_MAX (1u << 20)

/* --- INI files ------------------------------------------------------------------- */

static void trim(const char **p, size_t *len)
{
	while (*len && isspace((unsigned char)**p))
		(*p)++, (*len)--;
	while (*len && isspace((unsigned char)(*p)[*len - 1]))
		(*len)--;
}

static bool equals(const char *p, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(p, text, len) == 0;
}

/* Is "[...]" without its brackets the section? The config file says "profile x" where the credentials file says "x". */
static bool is_section(const char *p, size_t len, const char *section)
{
	trim(&p, &len);
	if (len > 8 && memcmp(p, "profile", 7) == 0 && isspace((unsigned char)p[7])) {
		p += 8, len -= 8;
		trim(&p, &len);
	}
	return equals(p, len, section);
}

char *s3_ini_value(const char *text, size_t len, const char *section, const char *name)
{
	bool inside = false;
	for (const char *p = text, *end = text + len; p < end;) {
		const char *line = p, *stop = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((stop ? stop : end) - line);
		p = stop ? stop + 1 : end;
		bool indented = n && isspace((unsigned char)*line); /* settings nested in another one */
		trim(&line, &n);
		if (!n || *line == '#' || *line == ';')
			continue;
		if (*line == '[') {
			inside = n > 2 && line[n - 1] == ']' && is_section(line + 1, n - 2, section);
			continue;
		}
		const char *equal = memchr(line, '=', n);
		if (!inside || indented || !equal)
			continue;
		const char *value = equal + 1;
		size_t name_len = (size_t)(equal - line), value_len = n - name_len - 1;
		trim(&line, &name_len);
		trim(&value, &value_len);
		if (value_len && equals(line, name_len, name))
			return strndup(value, value_len);
	}
	return NULL;
}

/* variable's path, or ~/.aws/name. Empty where there is no such file. */
static int read_file(const char *variable, const char *name, struct buf *ret, struct error *err)
{
	const char *path = getenv(variable), *home = getenv("HOME");
	CLEAN_FREE char *made = NULL;
	if (!path || !*path) {
		if (!home || !*home)
			return 0;
		if (asprintf(&made, "%s/.aws/%s", home, name) < 0)
			return error_set(err, ERR_NOMEM, "read ~/.aws/%s: out of memory", name);
		path = made;
	}
	CLEAN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : error_sys(err, errno, "read %s", path);
	for (;;) {
		uint8_t *at = buf_reserve(ret, 4096);
		if (!at)
			return error_set(err, ERR_NOMEM, "read %s: out of memory", path);
		ssize_t got = read(fd, at, 4096);
		if (got < 0)
			return error_sys(err, errno, "read %s", path);
		if (!got)
			return 0;
		ret->len += (size_t)got;
		if (ret->len > FILE_MAX)
			return error_set(err, ERR_INVALID, "read %s: too large for a file of settings", path);
	}
}

struct files {
	struct buf credentials, config;
};

static void files_done(struct files *f)
{
	if (f->credentials.data)
		explicit_bzero(f->credentials.data, f->credentials.cap);
	if (f->config.data)
		explicit_bzero(f->config.data, f->config.cap);
	buf_done(&f->credentials);
	buf_done(&f->config);
}
#define CLEAN_FILES CLEAN(files_done)

static int files_read(struct files *f, struct error *err)
{
	if (read_file("AWS_SHARED_CREDENTIALS_FILE", "credentials", &f->credentials, err) < 0)
		return -1;
	return read_file("AWS_CONFIG_FILE", "config", &f->config, err);
}

static char *value_in(const struct buf *b, const char *profile, const char *name)
{
	return b->len ? s3_ini_value((const char *)b->data, b->len, profile, name) : NULL;
}

/* --- the location ------------------------------------------------------------------ */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* NULL: a bad escape, a control character, or out of memory. */
static char *decoded(const char *p, size_t len)
{
	char *text = malloc(len + 1), *out = text;
	for (size_t i = 0; text && i < len; i++) {
		int c = (unsigned char)p[i];
		if (c == '%') {
			int high = i + 2 < len ? hex_digit(p[i + 1]) : -1, low = i + 2 < len ? hex_digit(p[i + 2]) : -1;
			if (high < 0 || low < 0) {
				free(text);
				return NULL;
			}
			c = high * 16 + low;
			i += 2;
		}
		if (c < 0x20 || c == 0x7f) {
			free(text);
			return NULL;
		}
		*out++ = (char)c;
	}
	if (text)
		*out = 0;
	return text;
}

static void replace(char **at, char *value)
{
	free(*at);
	*at = value;
}

/* Takes value. */
static int take_parameter(struct s3_config *c, const char *name, size_t len, char *value, const char *location, struct error *err)
{
	bool fine = true;
	if (equals(name, len, "endpoint"))
		replace(&c->endpoint, TAKE(value));
	else if (equals(name, len, "region"))
		replace(&c->region, TAKE(value));
	else if (equals(name, len, "ca"))
		replace(&c->ca_file, TAKE(value));
	else if (equals(name, len, "profile")) {
		replace(&c->profile, TAKE(value));
		c->profile_chosen = true;
	} else if (equals(name, len, "style") && (strcmp(value, "path") == 0 || strcmp(value, "host") == 0))
		c->path_style = value[0] == 'p';
	else if (equals(name, len, "etag") && strcmp(value, "opaque") == 0)
		c->opaque_etags = true;
	else
		fine = false;
	free(value);
	if (!fine)
		return error_set(err, ERR_INVALID, "open %s: \"%.*s\" is no setting of S3, or has no such value; there are endpoint, region, style=path, style=host, profile, ca, etag=opaque",
		                 location, (int)len, name);
	return 0;
}

static int parse_parameters(struct s3_config *c, const char *p, bool *ret_style, const char *location, struct error *err)
{
	while (*p) {
		size_t len = strcspn(p, "&");
		size_t name = strcspn(p, "=&");
		char *value = name < len ? decoded(p + name + 1, len - name - 1) : NULL;
		if (!value)
			return error_set(err, ERR_INVALID, "open %s: what stands behind the question mark must be NAME=VALUE, joined by &", location);
		if (equals(p, name, "style"))
			*ret_style = true;
		if (take_parameter(c, p, name, value, location, err) < 0)
			return -1;
		p += len;
		if (*p == '&')
			p++;
	}
	return 0;
}

static bool bucket_valid(const char *b)
{
	size_t len = strlen(b);
	return len >= 3 && len <= 255 && strspn(b, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == len && b[0] != '.' && b[0] != '-';
}

/* Parts joined by single slashes; none is "." or "..", which some servers and proxies resolve. */
static bool prefix_valid(const char *prefix)
{
	if (strlen(prefix) > PREFIX_MAX)
		return false;
	for (const char *p = prefix; *p;) {
		size_t len = strcspn(p, "/");
		if (!len || equals(p, len, ".") || equals(p, len, ".."))
			return false;
		for (size_t i = 0; i < len; i++)
			if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
				return false;
		p += len;
		if (*p == '/')
			p++;
	}
	return true;
}

static int parse_place(struct s3_config *c, const char *rest, size_t len, const char *location, struct error *err)
{
	size_t bucket = 0;
	while (bucket < len && rest[bucket] != '/')
		bucket++;
	c->bucket = strndup(rest, bucket);
	const char *prefix = rest + bucket;
	size_t prefix_len = len - bucket;
	while (prefix_len && *prefix == '/')
		prefix++, prefix_len--;
	while (prefix_len && prefix[prefix_len - 1] == '/')
		prefix_len--;
	if (!c->bucket || asprintf(&c->prefix, "%.*s%s", (int)prefix_len, prefix, prefix_len ? "/" : "") < 0) {
		c->prefix = NULL;
		return error_set(err, ERR_NOMEM, "open %s: out of memory", location);
	}
	if (!bucket_valid(c->bucket))
		return error_set(err, ERR_INVALID, "open %s: \"%.64s\" cannot be a bucket's name; a location looks like s3://bucket/folder", location, c->bucket);
	if (!prefix_valid(c->prefix))
		return error_set(err, ERR_INVALID, "open %s: the folder in the bucket must be names joined by single slashes, without . and .., at most %u bytes",
		                 location, PREFIX_MAX);
	return 0;
}

/* The first variable that is set and not empty. */
static char *from_environment(const char *first, const char *second)
{
	const char *value = getenv(first);
	if ((!value || !*value) && second)
		value = getenv(second);
	return value && *value ? strdup(value) : NULL;
}

static int fill_defaults(struct s3_config *c, struct error *err)
{
	CLEAN_FILES struct files files = { BUF_INIT, BUF_INIT };
	if (!c->profile)
		c->profile = from_environment("AWS_PROFILE", NULL);
	if (!c->profile)
		c->profile = strdup("default");
	if (!c->profile)
		return error_set(err, ERR_NOMEM, "read the settings of S3: out of memory");
	if (files_read(&files, err) < 0)
		return -1;
	if (!c->region)
		c->region = from_environment("AWS_REGION", "AWS_DEFAULT_REGION");
	if (!c->region)
		c->region = value_in(&files.config, c->profile, "region");
	if (!c->region)
		c->region = strdup("us-east-1");
	if (!c->endpoint)
		c->endpoint = from_environment("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL");
	if (!c->endpoint)
		c->endpoint = value_in(&files.config, c->profile, "endpoint_url");
	if (!c->ca_file)
		c->ca_file = from_environment("AWS_CA_BUNDLE", NULL);
	if (!c->ca_file)
		c->ca_file = value_in(&files.config, c->profile, "ca_bundle");
	return c->region ? 0 : error_set(err, ERR_NOMEM, "read the settings of S3: out of memory");
}

static bool endpoint_valid(const char *endpoint)
{
	const char *host = strncmp(endpoint, "https://", 8) == 0 ? endpoint + 8 : strncmp(endpoint, "http://", 7) == 0 ? endpoint + 7 : "";
	return *host && strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]_") == strlen(host);
}

static int settle_endpoint(struct s3_config *c, bool style_given, const char *location, struct error *err)
{
	if (strspn(c->region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != strlen(c->region))
		return error_set(err, ERR_INVALID, "open %s: \"%.64s\" cannot be a region", location, c->region);
	if (!style_given) /* a dot in the name does not fit a wildcard certificate */
		c->path_style = c->endpoint || strchr(c->bucket, '.');
	if (!c->endpoint && asprintf(&c->endpoint, "https://s3.%s.amazonaws.com%s", c->region, strncmp(c->region, "cn-", 3) == 0 ? ".cn" : "") < 0) {
		c->endpoint = NULL;
		return error_set(err, ERR_NOMEM, "open %s: out of memory", location);
	}
	size_t len = strlen(c->endpoint);
	while (len && c->endpoint[len - 1] == '/')
		c->endpoint[--len] = 0;
	if (!endpoint_valid(c->endpoint))
		return error_set(err, ERR_INVALID, "open %s: \"%.128s\" is no endpoint; it looks like https://host or http://host:port", location, c->endpoint);
	return 0;
}

static int parse(struct s3_config *c, const char *location, struct error *err)
{
	const char *rest = location + strlen("s3://");
	size_t place = strcspn(rest, "?");
	bool style = false;
	if (parse_place(c, rest, place, location, err) < 0)
		return -1;
	if (rest[place] && parse_parameters(c, rest + place + 1, &style, location, err) < 0)
		return -1;
	if (fill_defaults(c, err) < 0)
		return error_add(err, "open %s", location);
	return settle_endpoint(c, style, location, err);
}

int s3_config_parse(struct s3_config *ret, const char *location, struct error *err)
{
	struct s3_config c = { 0 };
	if (parse(&c, location, err) < 0) {
		s3_config_done(&c);
		return -1;
	}
	*ret = c;
	return 0;
}

void s3_config_done(struct s3_config *c)
{
	free(c->bucket);
	free(c->prefix);
	free(c->endpoint);
	free(c->region);
	free(c->profile);
	free(c->ca_file);
	*c = (struct s3_config){ 0 };
}

/* --- credentials ---------------------------------------------------------------------- */

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void s3_credentials_done(struct s3_credentials *c)
{
	free(c->key);
	wipe(c->secret);
	wipe(c->token);
	*c = (struct s3_credentials){ 0 };
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool s3_credentials_equal(const struct s3_credentials *a, const struct s3_credentials *b)
{
	return same_text(a->key, b->key) && same_text(a->secret, b->secret) && same_text(a->token, b->token);
}

static void from_profile(struct s3_credentials *c, const struct files *f, const char *profile)
{
	const struct buf *both[] = { &f->credentials, &f->config };
	for (int i = 0; i < 2 && !c->key; i++) {
		c->key = value_in(both[i], profile, "aws_access_key_id");
		c->secret = c->key ? value_in(both[i], profile, "aws_secret_access_key") : NULL;
		c->token = c->key ? value_in(both[i], profile, "aws_session_token") : NULL;
	}
}

int s3_credentials_load(struct s3_credentials *ret, const struct s3_config *config, struct error *err)
{
	CLEAN_FILES struct files files = { BUF_INIT, BUF_INIT };
	CLEAN(s3_credentials_done) struct s3_credentials c = { 0 };
	if (!config->profile_chosen) {
		c.key = from_environment("AWS_ACCESS_KEY_ID", NULL);
		c.secret = c.key ? from_environment("AWS_SECRET_ACCESS_KEY", NULL) : NULL;
		c.token = c.key ? from_environment("AWS_SESSION_TOKEN", NULL) : NULL;
	}
	if (!c.key) {
		if (files_read(&files, err) < 0)
			return -1;
		from_profile(&c, &files, config->profile);
	}
	if (!c.key || !c.secret)
		return error_set(err, ERR_AUTH, "no %s for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them into ~/.aws/credentials under [%.64s]",
		                 c.key ? "secret key" : "access key", config->profile);
	*ret = c;
	c = (struct s3_credentials){ 0 };
	return 0;
}
