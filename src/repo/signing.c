/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/signing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "repo/log.h"

#define KEY_FILE "signing-key"
#define KEY_BEFORE "signing-key.before"
#define KEY_LINE "twofold-signing-1 "

/* --- the folder ------------------------------------------------------------------------------ */

void signing_free(struct signing *s)
{
	if (!s)
		return;
	seal_signer_free(s->signer);
	free(s->folder);
	free(s->name);
	free(s);
}
DEFINE_CLEAN(signing, signing_free)

int repo_sign_by(struct repo *r, const struct signing_options *options, struct error *err)
{
	CLEAN(signing_cleanup) struct signing *s = calloc(1, sizeof *s);
	char hex[ID_HEX_SIZE];
	id_to_hex(&r->header.repository, hex);
	if (!s || asprintf(&s->folder, "%s/%s", options->folder, hex) < 0 || !(s->name = strndup(options->name, LOG_NAME_MAX)))
		return error_set(err, ERR_NOMEM, "open repository: out of memory");
	s->make = options->make;
	s->tell = options->tell;
	s->cookie = options->cookie;
	signing_free(r->signing);
	r->signing = TAKE(s);
	return 0;
}

bool signing_path(const struct repo *r, const char *name, char ret[4096])
{
	return r->signing && snprintf(ret, 4096, "%s/%s", r->signing->folder, name) < 4096;
}

/* All above it too, mode 0700. */
static int make_folder(const char *path, struct error *err)
{
	CLEAN_FREE char *copy = strdup(path);
	if (!copy)
		return error_set(err, ERR_NOMEM, "out of memory");
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(copy, 0700);
		*slash = '/';
	}
	if (mkdir(copy, 0700) < 0 && errno != EEXIST)
		return error_sys(err, errno, "make the folder %s", path);
	return 0;
}

static int write_new(const char *path, const void *bytes, size_t len, struct error *err)
{
	CLEAN_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_sys(err, errno, "create %s", path);
	ssize_t n = write(fd, bytes, len);
	if (n < 0 || (size_t)n != len || fsync(fd) < 0)
		return error_sys(err, n >= 0 && (size_t)n != len ? ENOSPC : errno, "write %s", path);
	return 0;
}

int signing_save(const struct repo *r, const char *name, const void *bytes, size_t len, bool replace, struct error *err)
{
	char path[4096], temporary[4096], beside[128];
	uint64_t number;
	seal_random(&number, sizeof number);
	snprintf(beside, sizeof beside, "%s.%016llx", name, (unsigned long long)number);
	if (!signing_path(r, name, path) || !signing_path(r, beside, temporary))
		return error_set(err, ERR_INVALID, "the folder's name is too long");
	if (make_folder(r->signing->folder, err) < 0)
		return -1;
	int done = write_new(temporary, bytes, len, err);
	/* Of two that make a key at the same moment the first one's counts: a link replaces nothing. */
	if (done == 0 && (replace ? rename(temporary, path) : link(temporary, path)) < 0 && (replace || errno != EEXIST))
		done = error_sys(err, errno, "create %s", path);
	unlink(temporary);
	return done;
}

/* --- the key ---------------------------------------------------------------------------------- */

static bool seed_of_line(const char *line, uint8_t ret[SEAL_SIGN_SIZE])
{
	char hex[ID_HEX_SIZE];
	struct id id;
	if (strncmp(line, KEY_LINE, strlen(KEY_LINE)) != 0)
		return false;
	snprintf(hex, sizeof hex, "%.64s", line + strlen(KEY_LINE));
	bool ok = id_from_hex(hex, &id);
	memcpy(ret, id.b, SEAL_SIGN_SIZE);
	explicit_bzero(hex, sizeof hex);
	explicit_bzero(&id, sizeof id);
	return ok;
}

/* *ret stays NULL where there is no file. */
static int load_key(const struct repo *r, struct seal_signer **ret, struct error *err)
{
	char path[4096], bytes[1024] = "";
	uint8_t seed[SEAL_SIGN_SIZE];
	if (!signing_path(r, KEY_FILE, path))
		return 0;
	CLEAN_FD int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : error_sys(err, errno, "read the signing key %s", path);
	ssize_t n = read(fd, bytes, sizeof bytes - 1);
	char *line = n > 0 ? strstr(bytes, KEY_LINE) : NULL;
	bool sound = line && seed_of_line(line, seed);
	int done = sound ? seal_signer_new(ret, seed, err) : error_set(err, ERR_CORRUPT, "the signing key %s makes no sense", path);
	explicit_bzero(bytes, sizeof bytes);
	explicit_bzero(seed, sizeof seed);
	return done;
}

static int save_key(const struct repo *r, struct error *err)
{
	char text[512], hex[ID_HEX_SIZE];
	struct id seed;
	seal_random(seed.b, sizeof seed.b);
	id_to_hex(&seed, hex);
	int len = snprintf(text, sizeof text, "# By this key this user on this machine signs what he notes in the log of a repository of Twofold. It opens nothing.\n" KEY_LINE "%s\n", hex);
	int done = signing_save(r, KEY_FILE, text, (size_t)len, false, err);
	explicit_bzero(text, sizeof text);
	explicit_bzero(hex, sizeof hex);
	explicit_bzero(&seed, sizeof seed);
	return done;
}

int signing_make(struct repo *r, struct error *err)
{
	char path[4096], before[4096];
	if (!r->signing || !signing_path(r, KEY_FILE, path) || !signing_path(r, KEY_BEFORE, before))
		return error_set(err, ERR_NOT_FOUND, "make a signing key: this user has no home folder to keep it in");
	if (rename(path, before) < 0 && errno != ENOENT && errno != ENOTDIR)
		return error_sys(err, errno, "make a signing key: rename %s", path);
	seal_signer_free(TAKE(r->signing->signer));
	if (save_key(r, err) < 0 || load_key(r, &r->signing->signer, err) < 0)
		return error_add(err, "make a signing key");
	r->signing->looked = true;
	return 0;
}

static const struct log_signer *signer_of_name(const struct repo_log *l, const char *name)
{
	for (size_t i = 0; i < l->signers.count; i++)
		if (strcmp(l->signers.items[i].name, name) == 0)
			return &l->signers.items[i];
	return NULL;
}

static void tell(const struct signing *s, bool warning, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void tell(const struct signing *s, bool warning, const char *fmt, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list args;
	if (!s->tell)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	s->tell(s->cookie, warning, text);
}

static void look(struct repo *r, const struct repo_log *l)
{
	struct signing *s = r->signing;
	struct error why = { 0 };
	if (!s->signer && load_key(r, &s->signer, &why) < 0) {
		tell(s, true, "what is noted in the log is not signed: %s", why.text);
		return;
	}
	if (s->signer || !s->make)
		return;
	const struct log_signer *other = signer_of_name(l, s->name);
	if (other) {
		char hex[ID_HEX_SIZE];
		struct id key;
		memcpy(key.b, other->key, ID_SIZE);
		id_to_hex(&key, hex);
		tell(s, true, "what is noted in the log is not signed: until now %s signed with key %.16s, which is not here; where it is lost (a new machine, an empty home folder) make another: twofold key signing --new",
		     s->name, hex);
	} else if (save_key(r, &why) < 0 || load_key(r, &s->signer, &why) < 0) {
		tell(s, false, "what is noted in the log is not signed, since no key can be kept here: %s", why.text);
	}
}

const struct seal_signer *signing_key(struct repo *r, const struct repo_log *l)
{
	if (!r->signing)
		return NULL;
	if (!r->signing->looked)
		look(r, l);
	r->signing->looked = true;
	return r->signing->signer;
}

bool signing_is_own(struct repo *r, const struct id *key)
{
	struct signing *s = r->signing;
	if (s && !s->signer && !s->looked)
		load_key(r, &s->signer, NULL);
	return s && s->signer && memcmp(seal_signer_public(s->signer), key->b, LOG_KEY_SIZE) == 0;
}

/* --- what is signed --------------------------------------------------------------------------- */

static void begin(struct buf *b, const struct repo *r, const char *what)
{
	buf_add(b, what, strlen(what));
	buf_add(b, r->header.repository.b, ID_SIZE);
}

#define VOUCHED (2 * ID_SIZE)
#define VOUCHER_TEXT 16 /* bytes of "twofold snapshot" */
#define VOUCHER_MESSAGE (VOUCHER_TEXT + ID_SIZE + VOUCHED)

static void voucher_message(const struct repo *r, const uint8_t *row, uint8_t ret[VOUCHER_MESSAGE])
{
	static const uint8_t text[VOUCHER_TEXT] = { 't', 'w', 'o', 'f', 'o', 'l', 'd', ' ', 's', 'n', 'a', 'p', 's', 'h', 'o', 't' };
	memcpy(ret, text, VOUCHER_TEXT);
	memcpy(ret + VOUCHER_TEXT, r->header.repository.b, ID_SIZE);
	memcpy(ret + VOUCHER_TEXT + ID_SIZE, row, VOUCHED);
}

void signing_vouch(const struct repo *r, const struct seal_signer *s, const struct id *snapshot, const struct id *hash, struct buf *ret)
{
	uint8_t row[LOG_VOUCHER_SIZE], message[VOUCHER_MESSAGE];
	memcpy(row, snapshot->b, ID_SIZE);
	memcpy(row + ID_SIZE, hash->b, ID_SIZE);
	memcpy(row + VOUCHED, seal_signer_public(s), LOG_KEY_SIZE);
	voucher_message(r, row, message);
	seal_sign(s, message, sizeof message, row + LOG_VOUCHER_ORDER);
	buf_add(ret, row, sizeof row);
}

bool signing_voucher_fits(const struct repo *r, const uint8_t *row)
{
	uint8_t message[VOUCHER_MESSAGE];
	voucher_message(r, row, message);
	return seal_signature_fits(row + VOUCHED, message, sizeof message, row + LOG_VOUCHER_ORDER);
}

static void introduction_message(const struct repo *r, const struct log_signer *s, struct buf *ret)
{
	begin(ret, r, "twofold signing key");
	buf_add(ret, s->key, LOG_KEY_SIZE);
	buf_add_le64(ret, (uint64_t)s->time.sec);
	buf_add_le32(ret, s->time.ns);
	buf_add(ret, s->name, strlen(s->name));
}

int signing_introduce(const struct repo *r, const struct seal_signer *s, struct log_signer *ret, struct error *err)
{
	CLEAN_BUF struct buf message = BUF_INIT;
	*ret = (struct log_signer){ .time = time_now(), .name = r->signing->name };
	memcpy(ret->key, seal_signer_public(s), LOG_KEY_SIZE);
	introduction_message(r, ret, &message);
	if (!buf_ok(&message))
		return error_set(err, ERR_NOMEM, "sign: out of memory");
	seal_sign(s, message.data, message.len, ret->signature);
	return 0;
}

bool signing_introduction_fits(const struct repo *r, const struct log_signer *s)
{
	CLEAN_BUF struct buf message = BUF_INIT;
	introduction_message(r, s, &message);
	return buf_ok(&message) && seal_signature_fits(s->key, message.data, message.len, s->signature);
}

static void entry_message(const struct repo *r, const struct id *entry, const void *bytes, size_t len, struct buf *ret)
{
	begin(ret, r, "twofold log entry");
	buf_add(ret, entry->b, ID_SIZE);
	buf_add(ret, bytes, len);
}

int signing_sign_entry(const struct repo *r, const struct seal_signer *s, const struct id *entry, const struct buf *bytes, struct log_entry *e, struct error *err)
{
	CLEAN_BUF struct buf message = BUF_INIT;
	entry_message(r, entry, bytes->data, bytes->len, &message);
	if (!buf_ok(&message))
		return error_set(err, ERR_NOMEM, "sign: out of memory");
	memcpy(e->signer, seal_signer_public(s), LOG_KEY_SIZE);
	seal_sign(s, message.data, message.len, e->signature);
	e->is_signed = true;
	return 0;
}

bool signing_entry_fits(const struct repo *r, const struct id *entry, const struct log_entry *e, const struct buf *payload)
{
	CLEAN_BUF struct buf message = BUF_INIT;
	entry_message(r, entry, payload->data, e->signed_len, &message);
	return e->is_signed && buf_ok(&message) && seal_signature_fits(e->signer, message.data, message.len, e->signature);
}
