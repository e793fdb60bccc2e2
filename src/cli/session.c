/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/session.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/location.h"
#include "cli/options.h"
#include "cli/parity.h"
#include "cli/password.h"
#include "repo/signing.h"
#include "cli/text.h"
#include "store/limit.h"

const char *cli_host(void)
{
	static char host[256];
	if (!host[0] && (gethostname(host, sizeof host - 1) < 0 || !host[0]))
		return "localhost";
	return host;
}

const char *cli_user(void)
{
	struct passwd *pw = getpwuid(geteuid());
	return pw ? pw->pw_name : "unknown";
}

void cli_label(char *ret, size_t size)
{
	snprintf(ret, size, "%s@%s", cli_user(), cli_host());
}

static void warn_through_cli(void *cookie, const struct error *err)
{
	cli_warn_error(cookie, err);
}

struct warner cli_warner(struct cli *cli)
{
	return (struct warner){ warn_through_cli, cli };
}

struct repo_secret cli_secret(const struct secret *s)
{
	if (s->kind == SECRET_WRITE_ONLY)
		return (struct repo_secret){ .write_only = true, .how = SEAL_WRAP_KEYFILE, .data = s->data, .len = s->len };
	return (struct repo_secret){ .how = s->kind == SECRET_PASSWORD ? SEAL_WRAP_PASSPHRASE : SEAL_WRAP_KEYFILE, .data = s->data, .len = s->len };
}

int cli_new_secret(struct cli *cli, const struct secret *s, struct repo_secret *ret, struct error *err)
{
	struct repo_secret proof = cli_secret(s);
	if (s->kind == SECRET_WRITE_ONLY)
		return error_set(err, ERR_INVALID, "make a key: %s opens nothing; a write-only key comes from: twofold key add --write-only FILE", s->origin);
	if (s->kind == SECRET_PASSWORD && seal_argon_measure(&proof.cost, err) < 0)
		return error_add(err, "make a key");
	if (proof.cost.below)
		cli_warn(cli, "this machine's memory allows only %u MiB for guarding the password, not %u: choose a longer password, or use a key file", proof.cost.memory_kib >> 10,
		         SEAL_ARGON_MEMORY_KIB >> 10);
	*ret = proof;
	return 0;
}

static void tell_lock(struct cli *cli, const struct repo_lock *lock)
{
	char a[TEXT_MAX];
	if (lock->mode)
		cli_say(cli, "what is stored in it is locked for %s from then on: %s\n", text_duration(a, lock->seconds * 1000000000ull),
		        lock->mode == STORE_LOCK_COMPLIANCE ? "nobody can delete it before" : "only who may bypass governance locks can delete it before");
}

static int make(struct cli *cli, const struct location *location, const struct cli_new_repo *wanted, struct error *err)
{
	CLEAN_SECRET struct secret secret = { 0 };
	char label[300], hex[ID_HEX_SIZE];
	bool exists = false;
	if (wanted->lock.mode && store_check_locking(location->text, err) < 0)
		return error_add(err, "make repository");
	if (repo_exists(location->text, &exists, NULL, err) < 0)
		return -1;
	if (exists)
		return error_set(err, ERR_EXISTS, "make repository: there is one already in %s", location->text);
	if (location_check_empty(location->text, err) < 0)
		return -1;
	if (secret_for_creating(&secret, cli, location, err) < 0)
		return -1;
	cli_label(label, sizeof label);
	struct repo_secret proof;
	CLEAN_REPO struct repo *repo = NULL;
	if (cli_new_secret(cli, &secret, &proof, err) < 0)
		return -1;
	if (repo_init(location->text, &proof, label, &wanted->lock, err) < 0 || repo_open(&repo, location->text, &proof, NULL, err) < 0)
		return -1;
	id_to_hex(&repo->header.repository, hex);
	cli_say(cli, "made repository %.16s in %s\n", hex, location->text);
	tell_lock(cli, &wanted->lock);
	json_t *object = json_pack("{ss, ss, sI}", "type", "repository", "id", hex, "lock_seconds", (json_int_t)(wanted->lock.mode ? wanted->lock.seconds : 0));
	cli_json_bytes(object, "location", location->text, strlen(location->text));
	cli_json(cli, object);
	return wanted->parity ? cli_parity_begin(cli, repo, wanted->parity, err) : 0;
}

int cli_make_repo(struct cli *cli, const char *operand, const struct cli_new_repo *wanted, struct error *err)
{
	CLEAN_LOCATION struct location location = { 0 };
	if (seal_init(err) < 0 || location_resolve(&location, cli, operand, err) < 0)
		return -1;
	return make(cli, &location, wanted, err);
}

#define TRIES 3

/* A password that was typed wrong is asked for again. *store is used for the first try. */
static int unlock(struct cli *cli, const struct location *location, struct store **store, const char *cache, unsigned flags, struct repo **ret, struct secret *ret_secret, struct error *err)
{
	CLEAN_SECRET struct secret secret = { 0 };
	if (secret_for_opening(&secret, cli, location, err) < 0)
		return -1;
	if (secret.kind == SECRET_WRITE_ONLY && !(flags & SESSION_WRITES))
		return error_set(err, ERR_AUTH, "open repository: %s can store backups and cannot read them; give a password or a key file that opens the repository", secret.origin);
	for (int attempt = 1;; attempt++) {
		struct repo_secret proof = cli_secret(&secret);
		struct error why = { 0 };
		bool asked = false;
		int opened = *store ? repo_open_store(ret, TAKE(*store), &proof, cache, &why) : repo_open(ret, location->text, &proof, cache, &why);
		if (opened == 0) {
			*ret_secret = secret;
			secret = (struct secret){ 0 };
			return 0;
		}
		if (why.kind != ERR_AUTH || secret.source != SECRET_FROM_PROMPT || attempt == TRIES) {
			*err = why;
			/* Which of the two it was that did not open. */
			return why.kind == ERR_AUTH && location->side ? error_add(err, "%s was tried", secret.origin) : -1;
		}
		secret_done(&secret);
		if (secret_ask_again(&secret, cli, location, &asked, err) < 0)
			return -1;
		if (!asked) {
			*err = why;
			return -1;
		}
	}
}

/* Before a password is asked for: is there anything to open? *ret_store: the store where that was seen, or NULL. */
static int check_location(struct cli *cli, const struct location *location, unsigned flags, struct store **ret_store, struct error *err)
{
	bool exists = false;
	struct error why = { 0 };
	if (repo_exists(location->text, &exists, ret_store, &why) < 0) {
		*err = why;
		return error_add(err, "open repository");
	}
	if (exists)
		return 0;
	if ((location->is_default || location->side) && (flags & SESSION_CREATE))
		return make(cli, location, &(struct cli_new_repo){ 0 }, err);
	if (location->side)
		return error_set(err, ERR_NOT_FOUND, "open repository: %s is not a twofold repository%s%.250s%s", location->text, why.text[0] ? " (" : "", why.text, why.text[0] ? ")" : "");
	return error_set(err, ERR_NOT_FOUND, "open repository: %s is not a twofold repository%s%.250s%s; make one with: twofold init %s%s", location->text,
	                 why.text[0] ? " (" : "", why.text, why.text[0] ? ")" : "", location->is_default ? "" : "--repo ", location->is_default ? "" : location->text);
}

static void tell_waiting(void *cookie, const struct error *why, unsigned attempt, unsigned pause)
{
	struct cli *cli = cookie;
	/* The first pauses are short and common. */
	cli_detail(cli, attempt < 3 ? 1 : 0, "%s; trying again in %u.%u s\n", why->text, pause / 1000, pause % 1000 / 100);
}

void cli_watch_store(struct cli *cli, struct store *store)
{
	static struct store_watch watch; /* the same for every store of this program */
	watch = (struct store_watch){ cli_stop_flag(), tell_waiting, cli };
	store_set_watch(store, &watch);
}

static int rate_of(uint64_t given, const char *variable, uint64_t *ret, struct error *err)
{
	const char *text = getenv(variable);
	*ret = given;
	if (given || !text || !*text)
		return 0;
	if (option_parse_size(text, ret) && (*ret == 0 || *ret >= RATE_LEAST))
		return 0;
	return error_set(err, ERR_INVALID, "%s is '%s'; it must be bytes a second, at least 1K, such as 500K or 2M", variable, text);
}

int cli_limit_store(struct cli *cli, struct store **store, struct error *err)
{
	static struct store_rates rates; /* the same for every store of this program */
	static bool known;
	uint64_t up, down;
	if (rate_of(cli->common.limit_upload, "TWOFOLD_LIMIT_UPLOAD", &up, err) < 0 || rate_of(cli->common.limit_download, "TWOFOLD_LIMIT_DOWNLOAD", &down, err) < 0)
		return -1;
	if (!known) {
		rate_init(&rates.up, up, NULL);
		rate_init(&rates.down, down, NULL);
		known = true;
	}
	return store_limit(store, &rates, err);
}

#define CACHE_SIZE (1ull << 30)

static int cache_size(const struct cli *cli, uint64_t *ret, struct error *err)
{
	const char *text = getenv("TWOFOLD_CACHE_SIZE");
	*ret = cli->common.cache_size;
	if (*ret != CACHE_SIZE_UNSET)
		return 0;
	*ret = CACHE_SIZE;
	if (text && *text && !option_parse_size(text, ret))
		return error_set(err, ERR_INVALID, "TWOFOLD_CACHE_SIZE is '%s'; it must be a size such as 500M or 2G", text);
	return 0;
}

static void tell_signing(void *cookie, bool warning, const char *text)
{
	if (warning)
		cli_warn(cookie, "%s", text);
	else
		cli_say(cookie, "%s\n", text);
}

/* Without a home folder nothing is signed. */
static int sign(struct cli *cli, struct repo *repo, struct error *err)
{
	CLEAN_FREE char *folder = NULL;
	char name[300];
	if (location_state(&folder, "", NULL) < 0)
		return 0;
	cli_label(name, sizeof name);
	struct signing_options options = { .folder = folder, .name = name, .make = !cli->common.no_cache, .tell = tell_signing, .cookie = cli };
	return repo_sign_by(repo, &options, err);
}

static int open_at(struct cli *cli, const struct location *location, unsigned flags, struct repo **ret, struct secret *ret_secret, struct error *err)
{
	CLEAN_SECRET struct secret secret = { 0 };
	CLEAN_FREE char *cache = NULL;
	CLEAN_REPO struct repo *repo = NULL;
	CLEAN_STORE struct store *store = NULL;
	uint64_t limit;
	if (cache_size(cli, &limit, err) < 0 || check_location(cli, location, flags, &store, err) < 0)
		return -1;
	if (!cli->common.no_cache && location_cache(&cache, "", NULL) < 0)
		cache = NULL; /* no home folder: works without */
	if (unlock(cli, location, &store, cache, flags, &repo, &secret, err) < 0)
		return -1;
	/* Until here little was read. */
	if (cli_limit_store(cli, &repo->store, err) < 0)
		return -1;
	cli_watch_store(cli, repo->store);
	if (repo->store->promises.remote)
		repo_cache_blocks(repo, limit);
	if (sign(cli, repo, err) < 0)
		return -1;
	if ((flags & SESSION_INDEX) && repo_load_index(repo, err) < 0)
		return -1;
	*ret = TAKE(repo);
	*ret_secret = secret;
	secret = (struct secret){ 0 };
	return 0;
}

int cli_open_repo(struct cli *cli, unsigned flags, struct repo **ret, struct error *err)
{
	CLEAN_SECRET struct secret secret = { 0 };
	return cli_open_repo_with(cli, flags, ret, &secret, err);
}

int cli_open_repo_with(struct cli *cli, unsigned flags, struct repo **ret, struct secret *ret_secret, struct error *err)
{
	CLEAN_LOCATION struct location location = { 0 };
	if (seal_init(err) < 0 || location_resolve(&location, cli, NULL, err) < 0)
		return -1;
	return open_at(cli, &location, flags, ret, ret_secret, err);
}

int cli_open_other(struct cli *cli, const struct location *location, unsigned flags, struct repo **ret, struct error *err)
{
	CLEAN_SECRET struct secret secret = { 0 };
	return seal_init(err) < 0 ? -1 : open_at(cli, location, flags, ret, &secret, err);
}
