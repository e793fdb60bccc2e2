/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/password.h"
#include "cli/recovery.h"
#include "cli/session.h"
#include "cli/text.h"
#include "cli/write_only.h"
#include "repo/reseal.h"

struct key_args {
	const char *file, *keyfile, *label;
	bool recovery;
	const char *write_only; /* key add */
};

static const struct option_spec key_add_options[] = {
	OPTION_TEXT(struct key_args, file, "new-password-file", 0, "FILE", "take the new password, or key file, from FILE"),
	OPTION_TEXT(struct key_args, keyfile, "new-key-file", 0, "FILE", "make a new random key file FILE"),
	OPTION_FLAG(struct key_args, recovery, "recovery", 0, "make a new random recovery key, and print its words once"),
	OPTION_TEXT(struct key_args, write_only, "write-only", 0, "FILE", "make a key FILE that can store backups, and cannot read them"),
	OPTION_TEXT(struct key_args, label, "label", 0, "TEXT", "name the key (default: user@host)"),
	OPTION_END,
};

static const struct option_spec key_options[] = {
	OPTION_TEXT(struct key_args, file, "new-password-file", 0, "FILE", "take the new password, or key file, from FILE"),
	OPTION_TEXT(struct key_args, keyfile, "new-key-file", 0, "FILE", "make a new random key file FILE"),
	OPTION_FLAG(struct key_args, recovery, "recovery", 0, "make a new random recovery key, and print its words once"),
	OPTION_TEXT(struct key_args, label, "label", 0, "TEXT", "name the key (default: user@host)"),
	OPTION_END,
};

/* The sheet for the safe: 24 words of the key file's bytes, in a form that --password-file takes too. */
static void print_words(struct cli *cli, const uint8_t key[RECOVERY_KEY_SIZE], const char *of)
{
	char words[RECOVERY_WORDS][RECOVERY_WORD_SIZE], line[RECOVERY_WORDS * RECOVERY_WORD_SIZE + 1] = "";
	recovery_encode(key, words);
	cli_print(cli,
	          "# Twofold recovery key of %s\n"
	          "# Whoever has these %d words can open the repository. To use them: put this sheet into a file and give it as --password-file,\n"
	          "# or type them: twofold snapshots --repo LOCATION --recovery-key. Letters of either case; a wrong word is named.\n",
	          of, RECOVERY_WORDS);
	for (unsigned i = 0; i < RECOVERY_WORDS; i++) {
		if (i % RECOVERY_LINE == 0)
			cli_print(cli, "%s%u", i ? "\n" : "", i / RECOVERY_LINE + 1);
		cli_print(cli, "  %s", words[i]);
		snprintf(line + strlen(line), sizeof line - strlen(line), "%s%s", i ? " " : "", words[i]);
	}
	cli_print(cli, "\n");
	if (cli->common.json)
		cli_json(cli, json_pack("{ss, ss}", "type", "recovery_key", "words", line));
	explicit_bzero(words, sizeof words);
	explicit_bzero(line, sizeof line);
}

static int new_secret(struct secret *ret, struct cli *cli, const struct key_args *a, struct error *err)
{
	if (a->recovery)
		return secret_make_random(ret, err);
	return a->keyfile ? secret_make_keyfile(ret, a->keyfile, err) : secret_for_key(ret, cli, a->file, err);
}

static int add(struct cli *cli, struct repo *repo, const struct key_args *a, struct id *ret, struct error *err)
{
	CLEAN_SECRET struct secret secret = { 0 };
	struct repo_secret proof;
	char label[300], of[100], hex[ID_HEX_SIZE];
	if (!!a->recovery + !!a->keyfile + !!a->file > 1)
		return cli_usage(cli, err, "make a key: give one of --recovery, --new-key-file, --new-password-file");
	cli_label(label, sizeof label);
	if (a->recovery)
		snprintf(label, sizeof label, "recovery key");
	if (new_secret(&secret, cli, a, err) < 0 || cli_new_secret(cli, &secret, &proof, err) < 0 || repo_key_add(repo, &proof, a->label ? a->label : label, ret, err) < 0)
		return -1;
	if (!a->recovery)
		return 0;
	id_to_hex(&repo->header.repository, hex);
	snprintf(of, sizeof of, "repository %.16s", hex);
	print_words(cli, secret.data, of);
	return 0;
}

static int key_print_run(struct cli *cli, const void *args, struct error *err)
{
	(void)args;
	CLEAN_SECRET struct secret secret = { 0 };
	const char *path = cli->operands[0];
	if (secret_read_file(&secret, path, err) < 0)
		return -1;
	if (secret.kind != SECRET_KEYFILE)
		return error_set(err, ERR_INVALID, "print key: %s holds a password, not a key; make a recovery key with: twofold key add --recovery", path);
	CLEAN_FREE char *name = text_escaped(path, strlen(path));
	print_words(cli, secret.data, name ? name : "a key file");
	return 0;
}

/* What is told after a sheet of words is a comment in it. */
static void tell(struct cli *cli, const char *what, const struct id *id, bool comment)
{
	char hex[ID_HEX_SIZE];
	id_to_hex(id, hex);
	cli_say(cli, "%s%s key %.16s\n", comment ? "# " : "", what, hex);
	if (cli->common.json)
		cli_json(cli, json_pack("{ss, ss, ss}", "type", "key", "change", what, "id", hex));
}

static int add_write_only(struct cli *cli, struct repo *repo, const struct key_args *a, struct id *ret, struct error *err)
{
	uint8_t key[WRITE_ONLY_SIZE];
	char label[300];
	if (a->recovery || a->keyfile || a->file)
		return cli_usage(cli, err, "make a key: --write-only goes without --recovery, --new-key-file, --new-password-file");
	if (access(a->write_only, F_OK) == 0)
		return error_set(err, ERR_EXISTS, "make write-only key: %s exists already", a->write_only);
	cli_label(label, sizeof label);
	int done = writers_add(repo, a->label ? a->label : label, ret, key, err);
	if (done == 0)
		done = write_only_save(a->write_only, key, err);
	explicit_bzero(key, sizeof key);
	return done;
}

static int key_add_run(struct cli *cli, const void *args, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	const struct key_args *a = args;
	struct id id;
	if (a->write_only) {
		if (cli_open_repo(cli, 0, &repo, err) < 0 || add_write_only(cli, repo, a, &id, err) < 0)
			return -1;
		tell(cli, "added", &id, false);
		return 0;
	}
	if (cli_open_repo(cli, 0, &repo, err) < 0 || add(cli, repo, args, &id, err) < 0)
		return -1;
	tell(cli, "added", &id, ((const struct key_args *)args)->recovery);
	return 0;
}

static void tell_still_there(struct cli *cli, const struct repo *repo)
{
	if (repo->header.lock)
		cli_say(cli, "its object is only hidden, as it is locked: who knows the password and can read old versions of the bucket could still use it; twofold key rotate keeps what is stored from now on from him\n");
}

/* The new key is there before the old one goes, so an interruption leaves both. */
static int key_change_run(struct cli *cli, const void *args, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct id id;
	if (cli_open_repo(cli, 0, &repo, err) < 0 || add(cli, repo, args, &id, err) < 0)
		return -1;
	tell(cli, "added", &id, ((const struct key_args *)args)->recovery);
	if (repo_key_remove(repo, &repo->key, err) < 0)
		return -1;
	tell(cli, "removed", &repo->key, ((const struct key_args *)args)->recovery);
	tell_still_there(cli, repo);
	return 0;
}

struct key_listing {
	struct cli *cli;
	struct table table;
	bool old_held; /* a key holds a master key before the last one */
};

/* Which master keys it holds, counted from 1. */
static const char *text_masters(char *ret, size_t size, const struct seal_wrapped *w)
{
	if (w->first + 1u == w->count)
		snprintf(ret, size, "%u", w->count);
	else
		snprintf(ret, size, "%u to %u", w->first + 1u, w->count);
	return ret;
}

static int list_key(void *cookie, const struct id *id, const struct key_object *key, bool current)
{
	struct key_listing *l = cookie;
	char hex[ID_HEX_SIZE], time[TEXT_MAX], masters[32];
	const char *how = key->wrapped.how == SEAL_WRAP_PASSPHRASE ? "password" : "key file";
	CLEAN_FREE char *label = text_escaped(key->label, strlen(key->label));
	id_to_hex(id, hex);
	l->old_held |= key->wrapped.first + 1u < key->wrapped.count;
	table_cell(&l->table, "%.16s%s", hex, current ? " *" : "");
	table_cell(&l->table, "%s", how);
	table_cell(&l->table, "%s", text_time(time, key->created));
	table_cell(&l->table, "%s", text_masters(masters, sizeof masters, &key->wrapped));
	table_cell(&l->table, "%s", label ? label : "");
	if (l->cli->common.json)
		cli_json(l->cli, json_pack("{ss, ss, ss, ss, ss, sb, si, si}", "type", "key", "id", hex, "how", how, "created", text_time_utc(time, key->created), "label",
		                           label ? label : "", "current", (int)current, "master_keys", (int)key->wrapped.count, "dropped", (int)key->wrapped.first));
	return 0;
}

static int list_writer(void *cookie, const struct id *id, const struct writer_key *w)
{
	struct key_listing *l = cookie;
	char hex[ID_HEX_SIZE], time[TEXT_MAX];
	CLEAN_FREE char *label = text_escaped(w->label, strlen(w->label));
	id_to_hex(id, hex);
	table_cell(&l->table, "%.16s", hex);
	table_cell(&l->table, "write-only");
	table_cell(&l->table, "%s", text_time(time, w->created));
	table_cell(&l->table, "%s", "");
	table_cell(&l->table, "%s", label ? label : "");
	if (l->cli->common.json)
		cli_json(l->cli, json_pack("{ss, ss, ss, ss, ss, sb}", "type", "key", "id", hex, "how", "write-only", "created", text_time_utc(time, w->created), "label",
		                           label ? label : "", "current", 0));
	return 0;
}

/* Where the master key was changed: is anything still sealed by an earlier one? */
static int tell_needed(struct cli *cli, struct repo *repo, struct error *err)
{
	struct reseal_left left;
	char a[TEXT_MAX], b[TEXT_MAX], c[TEXT_MAX];
	if (reseal_look(repo, &left, err) < 0)
		return -1;
	if (reseal_is_complete(&left))
		cli_say(cli, "nothing needs the old master keys any more: twofold key reseal drops them\n");
	else
		cli_say(cli, "old master keys are still needed, for %s packs (%s) and %s other objects: twofold key reseal seals them anew\n", text_count(a, left.packs), text_size(b, left.pack_bytes),
		        text_count(c, left.segments + left.objects + left.sessions + left.unreadable));
	return 0;
}

static int key_list_run(struct cli *cli, const void *args, struct error *err)
{
	(void)args;
	static const struct table_column columns[] = { { "id", false }, { "how", false }, { "made", false }, { "master key", false }, { "label", false } };
	struct key_listing l = { .cli = cli, .table = { .columns = columns, .column_count = 5 } };
	CLEAN_REPO struct repo *repo = NULL;
	if (cli_open_repo(cli, 0, &repo, err) < 0 || repo_keys(repo, list_key, &l, err) < 0 || writers_list(repo, list_writer, &l, err) < 0)
		return -1;
	int done = table_print(cli, &l.table, err);
	buf_done(&l.table.cells);
	return done < 0 || !l.old_held ? done : tell_needed(cli, repo, err);
}

struct key_search {
	const char *prefix;
	struct id id;
	unsigned matches;
};

static int match_key(void *cookie, const struct id *id, const struct key_object *key, bool current)
{
	(void)key;
	(void)current;
	struct key_search *s = cookie;
	char hex[ID_HEX_SIZE];
	id_to_hex(id, hex);
	if (strncmp(hex, s->prefix, strlen(s->prefix)) == 0) {
		s->id = *id;
		s->matches++;
	}
	return 0;
}

static int key_remove_run(struct cli *cli, const void *args, struct error *err)
{
	(void)args;
	CLEAN_REPO struct repo *repo = NULL;
	struct key_search search = { .prefix = cli->operands[0] };
	if (strlen(search.prefix) < 4)
		return cli_usage(cli, err, "remove key '%s': give at least the first 4 digits of its id", search.prefix);
	if (cli_open_repo(cli, 0, &repo, err) < 0 || repo_keys(repo, match_key, &search, err) < 0)
		return -1;
	if (search.matches != 1)
		return error_set(err, ERR_NOT_FOUND, "remove key '%s': %s; see: twofold key list", search.prefix,
		                 search.matches ? "more than one id begins so" : "no id begins so");
	if (repo_key_remove(repo, &search.id, err) < 0)
		return -1;
	tell(cli, "removed", &search.id, false);
	tell_still_there(cli, repo);
	return 0;
}

const struct command command_key_add = {
	.name = "key add",
	.group = GROUP_REPOSITORY,
	.summary = "let another password, key file or recovery key open the repository",
	.about = "The new password comes from --new-password-file, TWOFOLD_NEW_PASSWORD, or is asked for.\n"
		 "\n"
		 "--recovery makes a key for paper: 24 words, printed once and kept nowhere. They open the repository wherever a password is asked for.\n"
		 "\n"
		 "--write-only makes a file for a machine that is not to be trusted with what others stored: given there as --password-file, it lets backup and image work, and "
		 "nothing else. Such a machine cannot read its own backups either, and finds again only what it stored itself, by its cache. The key cannot be taken away again: "
		 "take away its account at the storage.",
	.examples = "twofold key add\ntwofold key add --new-key-file /media/usb/twofold.key\ntwofold key add --recovery | lp\ntwofold key add --write-only webserver.key --label webserver",
	.options = key_add_options,
	.args_size = sizeof(struct key_args),
	.run = key_add_run,
};

const struct command command_key_change = {
	.name = "key change",
	.group = GROUP_REPOSITORY,
	.summary = "replace the password or key file that opened the repository",
	.examples = "twofold key change",
	.options = key_options,
	.args_size = sizeof(struct key_args),
	.run = key_change_run,
};

const struct command command_key_list = {
	.name = "key list",
	.group = GROUP_REPOSITORY,
	.summary = "list the keys that open the repository",
	.run = key_list_run,
};

const struct command command_key_remove = {
	.name = "key remove",
	.group = GROUP_REPOSITORY,
	.summary = "take a key away (the last one stays)",
	.operands = "ID",
	.min_operands = 1,
	.max_operands = 1,
	.run = key_remove_run,
};

const struct command command_key_print = {
	.name = "key print",
	.group = GROUP_REPOSITORY,
	.summary = "print a key file as words for paper",
	.operands = "KEYFILE",
	.min_operands = 1,
	.max_operands = 1,
	.about = "The words are the key file in another form: whoever has them can open the repository. They are accepted wherever a password is.",
	.examples = "twofold key print ~/.config/twofold/default.key | lp",
	.run = key_print_run,
};
