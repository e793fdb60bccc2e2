/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/password.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/id.h"
#include "cli/frame.h"
#include "cli/recovery.h"
#include "cli/text.h"
#include "cli/write_only.h"

static const char key_mark[] = "twofold-key-1 ";

void secret_done(struct secret *s)
{
	if (s->data)
		explicit_bzero(s->data, s->len);
	free(s->data);
	*s = (struct secret){ 0 };
}

static int secret_set(struct secret *ret, enum secret_kind kind, const void *data, size_t len, struct error *err)
{
	if (len == 0)
		return error_set(err, ERR_AUTH, "the password is empty");
	if (len > SECRET_MAX)
		return error_set(err, ERR_AUTH, "the password is longer than %d bytes", SECRET_MAX);
	uint8_t *copy = malloc(len + 1);
	if (!copy)
		return error_set(err, ERR_NOMEM, "out of memory");
	memcpy(copy, data, len);
	copy[len] = 0;
	ret->kind = kind;
	ret->data = copy;
	ret->len = len;
	return 0;
}

/* A password, or a recovery key where the text has the form of one. line: the password in it, which may be followed by other things. */
static int secret_from_text(struct secret *ret, const void *text, size_t len, const void *line, size_t line_len, struct error *err)
{
	uint8_t key[RECOVERY_KEY_SIZE];
	switch (recovery_parse(text, len, key, err)) {
	case RECOVERY_MISTYPED:
		return -1;
	case RECOVERY_NONE:
		return secret_set(ret, SECRET_PASSWORD, line, line_len, err);
	default:
		break;
	}
	int r = secret_set(ret, SECRET_KEYFILE, key, sizeof key, err);
	explicit_bzero(key, sizeof key);
	return r;
}

/* --- files and commands ---------------------------------------------------------------------------- */

/* A buffer on the stack for a secret on its way; wiped when it leaves its scope. */
struct scratch {
	char bytes[SECRET_MAX + 256];
	size_t len;
};
static void scratch_wipe(struct scratch *s)
{
	explicit_bzero(s, sizeof *s);
}
#define CLEAN_SCRATCH CLEAN(scratch_wipe)

static int read_scratch(struct scratch *ret, int fd, const char *what, struct error *err)
{
	while (ret->len < sizeof ret->bytes) {
		ssize_t n = read(fd, ret->bytes + ret->len, sizeof ret->bytes - ret->len);
		if (n < 0 && errno == EINTR && !cli_interrupted())
			continue;
		if (n < 0 && errno == EINTR)
			return error_set(err, ERR_CANCELLED, "interrupted");
		if (n < 0)
			return error_sys(err, errno, "read %s", what);
		if (n == 0)
			return 0;
		ret->len += (size_t)n;
	}
	return error_set(err, ERR_AUTH, "%s holds more than a password", what);
}

/* The line at *at without its end; false when there is none. Moves *at behind it. */
static bool next_line(const struct scratch *s, size_t *at, const char **ret, size_t *ret_len)
{
	if (*at >= s->len)
		return false;
	const char *line = s->bytes + *at;
	const char *end = memchr(line, '\n', s->len - *at);
	size_t len = end ? (size_t)(end - line) : s->len - *at;
	*at += len + (end != NULL);
	if (len && line[len - 1] == '\r')
		len--;
	*ret = line;
	*ret_len = len;
	return true;
}

/* *ret_found false: not a key file. */
static int parse_keyfile(struct secret *ret, const struct scratch *s, bool *ret_found, struct error *err)
{
	size_t at = 0, len, mark = sizeof key_mark - 1;
	const char *line;
	*ret_found = false;
	while (next_line(s, &at, &line, &len)) {
		if (len == 0 || line[0] == '#')
			continue;
		uint8_t write_only[WRITE_ONLY_SIZE];
		if (write_only_parse(line, len, ret_found, write_only, err) < 0)
			return -1;
		if (*ret_found)
			return secret_set(ret, SECRET_WRITE_ONLY, write_only, sizeof write_only, err);
		if (len < mark || memcmp(line, key_mark, mark) != 0)
			return 0;
		char hex[ID_HEX_SIZE] = "";
		struct id key;
		if (len - mark == ID_HEX_SIZE - 1)
			memcpy(hex, line + mark, ID_HEX_SIZE - 1);
		int r = 0;
		if (!id_from_hex(hex, &key))
			r = error_set(err, ERR_CORRUPT, "the key file is damaged: 64 hexadecimal digits must follow %s", key_mark);
		else
			r = secret_set(ret, SECRET_KEYFILE, key.b, sizeof key.b, err);
		explicit_bzero(hex, sizeof hex);
		explicit_bzero(&key, sizeof key);
		*ret_found = r == 0;
		return r;
	}
	return 0;
}

int secret_read_file(struct secret *ret, const char *path, struct error *err)
{
	CLEAN_SCRATCH struct scratch s = { .len = 0 };
	CLEAN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, errno, "open password file %s", path);
	if (read_scratch(&s, fd, path, err) < 0)
		return -1;
	struct secret found = { .source = SECRET_FROM_FILE };
	bool is_key;
	if (parse_keyfile(&found, &s, &is_key, err) < 0)
		return error_add(err, "%s", path);
	size_t at = 0, len = 0;
	const char *line = "";
	if (!is_key) {
		next_line(&s, &at, &line, &len);
		if (secret_from_text(&found, s.bytes, s.len, line, len, err) < 0)
			return error_add(err, "password file %s", path);
	}
	snprintf(found.origin, sizeof found.origin, "%s %s", found.kind == SECRET_PASSWORD ? "the password file" : found.kind == SECRET_KEYFILE ? "the key file" : "the write-only key", path);
	*ret = found;
	return 0;
}

static int read_command(struct secret *ret, const char *name, const char *command, struct error *err)
{
	int pipes[2];
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return error_sys(err, errno, "run %s", name);
	CLEAN_FD int out = pipes[0];
	CLEAN_FD int in = pipes[1];
	pid_t child = fork();
	if (child < 0)
		return error_sys(err, errno, "run %s", name);
	if (child == 0) {
		signal(SIGPIPE, SIG_DFL);
		if (dup2(in, STDOUT_FILENO) >= 0)
			execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(take_fd(&in));
	CLEAN_SCRATCH struct scratch s = { .len = 0 };
	char what[80];
	snprintf(what, sizeof what, "the output of %s", name);
	int r = read_scratch(&s, out, what, err);
	close(take_fd(&out));
	int status = 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (r < 0)
		return -1;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return error_set(err, ERR_AUTH, "%s (%s) failed with %s %d", name, command,
		                 WIFEXITED(status) ? "exit code" : "signal",
		                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	size_t at = 0, len = 0;
	const char *line = "";
	next_line(&s, &at, &line, &len);
	struct secret found = { .source = SECRET_FROM_COMMAND };
	if (secret_from_text(&found, s.bytes, s.len, line, len, err) < 0)
		return error_add(err, "%s", name);
	snprintf(found.origin, sizeof found.origin, "%s", name);
	*ret = found;
	return 0;
}

static int from_variable(struct secret *ret, const char *name, const char *value, struct error *err)
{
	struct secret found = { .source = SECRET_FROM_VARIABLE };
	if (secret_from_text(&found, value, strlen(value), value, strlen(value), err) < 0)
		return error_add(err, "%s", name);
	snprintf(found.origin, sizeof found.origin, "%s", name);
	*ret = found;
	return 0;
}

/* --- the terminal ----------------------------------------------------------------------------------- */

static int open_terminal(void)
{
	return open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
}

/* One line from the terminal; without echo where it is hidden. */
static int prompt(struct scratch *ret, int tty, const char *question, bool hidden, struct error *err)
{
	struct termios before, silent;
	if (tcgetattr(tty, &before) < 0)
		return error_sys(err, errno, "ask for the password on the terminal");
	silent = before;
	if (hidden)
		silent.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
	if (tcsetattr(tty, TCSAFLUSH, &silent) < 0)
		return error_sys(err, errno, "switch the terminal's echo off");
	dprintf(tty, "%s: ", question);
	bool stopped = interrupt_wait_readable(tty) < 0;
	ssize_t n = stopped ? -1 : read(tty, ret->bytes, sizeof ret->bytes);
	int sys = stopped ? EINTR : errno;
	tcsetattr(tty, TCSAFLUSH, &before);
	if (hidden || n < 0)
		dprintf(tty, "\n");
	if (n < 0)
		return sys == EINTR ? error_set(err, ERR_CANCELLED, "interrupted at the password prompt")
		                    : error_sys(err, sys, "read the password from the terminal");
	ret->len = (size_t)n;
	return 0;
}

static int prompt_secret(struct secret *ret, int tty, const char *question, bool twice, struct error *err)
{
	CLEAN_SCRATCH struct scratch first = { .len = 0 };
	CLEAN_SCRATCH struct scratch second = { .len = 0 };
	if (prompt(&first, tty, question, true, err) < 0)
		return -1;
	if (twice && prompt(&second, tty, "The same again", true, err) < 0)
		return -1;
	if (twice && (first.len != second.len || memcmp(first.bytes, second.bytes, first.len) != 0))
		return error_set(err, ERR_AUTH, "the two passwords differ; nothing was changed");
	size_t at = 0, len = 0;
	const char *line = "";
	next_line(&first, &at, &line, &len);
	struct secret found = { .source = SECRET_FROM_PROMPT };
	if (secret_from_text(&found, line, len, line, len, err) < 0)
		return -1;
	snprintf(found.origin, sizeof found.origin, "the password that was typed");
	*ret = found;
	return 0;
}

/* One line of the sheet, asked for again until it is right; all lines may also be typed at once. It is typed from paper, so it is shown. */
static int prompt_words(struct scratch *all, int tty, unsigned line, bool *ret_whole, struct error *err)
{
	for (;;) {
		CLEAN_SCRATCH struct scratch typed = { .len = 0 };
		struct error why = { 0 };
		uint8_t key[RECOVERY_KEY_SIZE];
		char question[64];
		snprintf(question, sizeof question, "Line %u of %d", line, RECOVERY_WORDS / RECOVERY_LINE);
		if (prompt(&typed, tty, question, false, err) < 0)
			return -1;
		if (!typed.len)
			return error_set(err, ERR_AUTH, "the recovery key was not typed to its end");
		*ret_whole = line == 1 && recovery_parse(typed.bytes, typed.len, key, NULL) == RECOVERY_WHOLE;
		explicit_bzero(key, sizeof key);
		if (*ret_whole || recovery_check_line(typed.bytes, typed.len, line, &why) == 0) {
			if (typed.len > sizeof all->bytes - all->len)
				return error_set(err, ERR_AUTH, "the recovery key is too long");
			memcpy(all->bytes + all->len, typed.bytes, typed.len);
			all->len += typed.len;
			return 0;
		}
		dprintf(tty, "Line %u: %s; type the line again.\n", line, why.text);
	}
}

static int prompt_recovery(struct secret *ret, struct error *err)
{
	CLEAN_SCRATCH struct scratch all = { .len = 0 };
	CLEAN_FD int tty = open_terminal();
	bool whole = false;
	if (tty < 0)
		return error_set(err, ERR_AUTH, "no terminal to type the recovery key on: put its words into a file and give --password-file");
	dprintf(tty, "Type the recovery key, four words a line.\n");
	for (unsigned line = 1; line <= RECOVERY_WORDS / RECOVERY_LINE && !whole; line++)
		if (prompt_words(&all, tty, line, &whole, err) < 0)
			return -1;
	struct secret found = { .source = SECRET_FROM_PROMPT };
	if (secret_from_text(&found, all.bytes, all.len, all.bytes, all.len, err) < 0)
		return -1;
	snprintf(found.origin, sizeof found.origin, "the recovery key that was typed");
	*ret = found;
	return 0;
}

/* --- which one --------------------------------------------------------------------------------------- */

/* TWOFOLD_PASSWORD, or of the second repository TWOFOLD_TO_PASSWORD; end: "", "_FILE" or "_COMMAND". */
static const char *variable_name(char ret[64], const struct location *location, const char *end)
{
	snprintf(ret, 64, "TWOFOLD_%s%sPASSWORD%s", location->side ? location->side : "", location->side ? "_" : "", end);
	return ret;
}

/* The sources that need nobody: *ret_found false when none is set. */
static int explicit_source(struct secret *ret, struct cli *cli, const struct location *location, bool *ret_found, struct error *err)
{
	char name[64], command_name[64];
	const char *file = location->side ? location->password_file : cli->common.password_file;
	const char *command = location->password_command;
	const char *variable = getenv(variable_name(name, location, ""));
	*ret_found = true;
	if (cli->common.recovery_key && !location->side)
		return prompt_recovery(ret, err);
	if (!file && !command && variable)
		return from_variable(ret, name, variable, err);
	if (!file && !command)
		file = getenv(variable_name(name, location, "_FILE"));
	if (file)
		return secret_read_file(ret, file, err);
	variable_name(command_name, location, "_COMMAND");
	if (!command)
		command = getenv(command_name);
	if (command)
		return read_command(ret, command_name, command, err);
	*ret_found = false;
	return 0;
}

static int default_key(struct secret *ret, const struct location *location, char **ret_path, bool *ret_found, struct error *err)
{
	*ret_found = false;
	if (!location->is_default)
		return 0;
	if (location_config(ret_path, "default.key", err) < 0)
		return -1;
	if (access(*ret_path, F_OK) < 0)
		return 0;
	if (secret_read_file(ret, *ret_path, err) < 0)
		return -1;
	ret->source = SECRET_FROM_DEFAULT_KEY;
	*ret_found = true;
	return 0;
}

static int no_source(const struct location *location, struct error *err)
{
	char name[64];
	variable_name(name, location, "");
	return error_set(err, ERR_AUTH, "no password for %s, and no terminal to ask on: set %s, %s_FILE or %s_COMMAND, or give --%spassword-file", location->text, name, name, name,
	                 !location->side ? "" : *location->side == 'T' ? "to-" : "from-");
}

static void question_for(char ret[256], const char *what, const struct location *location)
{
	CLEAN_FREE char *name = text_escaped(location->text, strlen(location->text));
	snprintf(ret, 256, "%s %s", what, name ? name : "the repository");
}

int secret_ask_again(struct secret *ret, struct cli *cli, const struct location *location, bool *ret_asked, struct error *err)
{
	if (cli->common.recovery_key && !location->side) {
		*ret_asked = true;
		return prompt_recovery(ret, err);
	}
	CLEAN_FD int tty = open_terminal();
	*ret_asked = tty >= 0;
	if (tty < 0)
		return 0;
	char question[256];
	question_for(question, "Password for", location);
	return prompt_secret(ret, tty, question, false, err);
}

int secret_for_opening(struct secret *ret, struct cli *cli, const struct location *location, struct error *err)
{
	bool found;
	CLEAN_FREE char *path = NULL;
	if (explicit_source(ret, cli, location, &found, err) < 0)
		return -1;
	if (!found && default_key(ret, location, &path, &found, err) < 0)
		return -1;
	if (!found && secret_ask_again(ret, cli, location, &found, err) < 0)
		return -1;
	return found ? 0 : no_source(location, err);
}

static int new_default_key(struct secret *ret, struct cli *cli, const char *path, struct error *err)
{
	if (secret_make_keyfile(ret, path, err) < 0)
		return -1;
	ret->source = SECRET_FROM_DEFAULT_KEY;
	cli_say(cli, "Made the key file %s.\n"
	             "Keep a copy of it on another machine or on paper: without it nothing in this repository can be read.\n", path);
	cli_json(cli, json_pack("{ssss*}", "type", "keyfile", "path", text_is_utf8(path, strlen(path)) ? path : NULL));
	return 0;
}

int secret_for_creating(struct secret *ret, struct cli *cli, const struct location *location, struct error *err)
{
	bool found;
	CLEAN_FREE char *path = NULL;
	if (explicit_source(ret, cli, location, &found, err) < 0)
		return -1;
	if (found)
		return 0;
	CLEAN_FD int tty = open_terminal();
	if (tty >= 0) {
		char question[256];
		question_for(question, "New password for", location);
		return prompt_secret(ret, tty, question, true, err);
	}
	if (default_key(ret, location, &path, &found, err) < 0)
		return -1;
	if (found)
		return 0;
	return path ? new_default_key(ret, cli, path, err) : no_source(location, err);
}

int secret_for_key(struct secret *ret, struct cli *cli, const char *file, struct error *err)
{
	(void)cli;
	if (file)
		return secret_read_file(ret, file, err);
	const char *variable = getenv("TWOFOLD_NEW_PASSWORD");
	if (variable)
		return from_variable(ret, "TWOFOLD_NEW_PASSWORD", variable, err);
	CLEAN_FD int tty = open_terminal();
	if (tty < 0)
		return error_set(err, ERR_AUTH, "no new password, and no terminal to ask on: set TWOFOLD_NEW_PASSWORD "
		                                "or give --new-password-file");
	return prompt_secret(ret, tty, "New password", true, err);
}

/* --- making a key file ---------------------------------------------------------------------------------- */

static int write_keyfile(int fd, const uint8_t key[SECRET_KEY_SIZE], struct error *err)
{
	struct id id;
	char hex[ID_HEX_SIZE], text[400];
	memcpy(id.b, key, sizeof id.b);
	id_to_hex(&id, hex);
	int len = snprintf(text, sizeof text, "# Twofold key file. Whoever has it can open the repository; without it nobody can.\n"
	                   "# Keep a copy on another machine or on paper.\n%s%s\n", key_mark, hex);
	ssize_t n = write(fd, text, (size_t)len);
	int sys = n < 0 ? errno : ENOSPC;
	explicit_bzero(&id, sizeof id);
	explicit_bzero(hex, sizeof hex);
	explicit_bzero(text, sizeof text);
	if (n != len)
		return error_sys(err, sys, "write");
	return fsync(fd) < 0 ? error_sys(err, errno, "fsync") : 0;
}

int secret_make_random(struct secret *ret, struct error *err)
{
	uint8_t key[SECRET_KEY_SIZE];
	if (getrandom(key, sizeof key, 0) != sizeof key)
		return error_sys(err, errno, "make a recovery key: random bytes");
	struct secret made = { .source = SECRET_FROM_FILE };
	int r = secret_set(&made, SECRET_KEYFILE, key, sizeof key, err);
	explicit_bzero(key, sizeof key);
	snprintf(made.origin, sizeof made.origin, "the recovery key");
	if (r == 0)
		*ret = made;
	return r;
}

int secret_make_keyfile(struct secret *ret, const char *path, struct error *err)
{
	uint8_t key[SECRET_KEY_SIZE];
	CLEAN_FREE char *folder = strdup(path);
	if (!folder)
		return error_set(err, ERR_NOMEM, "out of memory");
	char *slash = strrchr(folder, '/');
	if (slash && slash != folder) {
		*slash = 0;
		if (location_make_folders(folder, err) < 0)
			return error_add(err, "make key file %s", path);
	}
	if (getrandom(key, sizeof key, 0) != sizeof key)
		return error_sys(err, errno, "make key file %s: random bytes", path);
	CLEAN_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_sys(err, errno, "make key file %s", path);
	int r = write_keyfile(fd, key, err);
	if (r < 0) {
		unlink(path);
		error_add(err, "make key file %s", path);
	} else {
		CLEAN_FD int dir = open(slash && slash != folder ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir >= 0)
			fsync(dir);
		struct secret made = { .source = SECRET_FROM_FILE };
		r = secret_set(&made, SECRET_KEYFILE, key, sizeof key, err);
		snprintf(made.origin, sizeof made.origin, "the key file %s", path);
		if (r == 0)
			*ret = made;
	}
	explicit_bzero(key, sizeof key);
	return r;
}
