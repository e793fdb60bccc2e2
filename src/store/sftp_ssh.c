/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/sftp_ssh.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <wordexp.h>

#include "base/clean.h"

#define LAST_WORDS 1000 /* milliseconds that ssh has to say why it ends */

/* --- the location ----------------------------------------------------------------- */

void sftp_location_done(struct sftp_location *l)
{
	free(l->user);
	free(l->port);
	free(l->host);
	free(l->path);
	*l = (struct sftp_location){ NULL, NULL, NULL, NULL };
}

static int hex_digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* In place. False: a broken %XX, or a zero byte. */
static bool decode_percent(char *text)
{
	char *to = text;
	for (const char *from = text; *from; from++) {
		int value = (unsigned char)*from;
		if (value == '%') {
			int high = hex_digit(from[1]), low = high < 0 ? -1 : hex_digit(from[2]);
			if (low < 0 || !(value = high * 16 + low))
				return false;
			from += 2;
		}
		*to++ = (char)value;
	}
	*to = 0;
	return true;
}

static char *copy_path(const char *path)
{
	const char *from = path;
	if (strcmp(from, "/~") == 0 || strncmp(from, "/~/", 3) == 0)
		from += from[2] ? 3 : 2;
	if (!*from)
		from = ".";
	char *copy = strdup(from);
	if (!copy)
		return NULL;
	for (size_t len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
		copy[len - 1] = 0;
	return copy;
}

/* A name for ssh's command line: nothing that it could take for an option, nothing that a shell of a ProxyCommand could run. */
static bool is_name(const char *text)
{
	return *text && *text != '-' && !text[strcspn(text, " \t\r\n'\"`$\\;&<>|(){}*?!#~")];
}

static int split(struct sftp_location *l, char *text)
{
	char *path = strchr(text, '/');
	if (!path || !(l->path = copy_path(path)))
		return -1;
	*path = 0;
	char *at = strrchr(text, '@'), *host = at ? at + 1 : text, *end = host;
	if (at) {
		*at = 0;
		l->user = strdup(text);
	}
	if (*host == '[') {
		end = strchr(++host, ']');
		if (!end)
			return -1;
		*end++ = 0;
	}
	char *colon = strchr(end, ':');
	if (colon) {
		*colon = 0;
		l->port = strdup(colon + 1);
	}
	if (end != host && *end)
		return -1;
	l->host = strdup(host);
	return 0;
}

int sftp_location_parse(struct sftp_location *ret, const char *location, struct error *err)
{
	struct sftp_location l = { NULL, NULL, NULL, NULL };
	CLEAN_FREE char *text = strdup(location + strlen("sftp://"));
	if (!text)
		return error_set(err, ERR_NOMEM, "open %s: out of memory", location);
	bool fine = split(&l, text) == 0 && l.host && is_name(l.host) && (!l.user || is_name(l.user)) && decode_percent(l.path);
	if (fine && l.port)
		fine = *l.port && strlen(l.port) <= 5 && strspn(l.port, "0123456789") == strlen(l.port);
	if (!fine) {
		sftp_location_done(&l);
		return error_set(err, ERR_INVALID, "open %s: write it as sftp://[user@]host[:port]/path (or /~/path for one below the login folder)", location);
	}
	*ret = l;
	return 0;
}

/* --- the process ------------------------------------------------------------------- */

#define ARGUMENTS 24

/* The command line: TWOFOLD_SSH's words first, as ssh takes the first value that it finds of each option. Points into words, l and texts. */
static int command_line(char *argv[], size_t room, const wordexp_t *words, const struct sftp_location *l, char connect[40])
{
	const char *const fixed[] = { "-oBatchMode=yes", "-oStrictHostKeyChecking=yes", connect, "-oServerAliveInterval=15", "-oServerAliveCountMax=3",
		                      "-oClearAllForwardings=yes", "-oForwardAgent=no", "-oForwardX11=no", "-oPermitLocalCommand=no", "-oRequestTTY=no" };
	size_t n = 0;
	if (words->we_wordc + ARGUMENTS > room)
		return -1;
	for (size_t i = 0; i < words->we_wordc; i++)
		argv[n++] = words->we_wordv[i];
	for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
		argv[n++] = (char *)(uintptr_t)fixed[i];
	if (l->port) {
		argv[n++] = (char *)(uintptr_t)"-p";
		argv[n++] = l->port;
	}
	if (l->user) {
		argv[n++] = (char *)(uintptr_t)"-l";
		argv[n++] = l->user;
	}
	argv[n++] = (char *)(uintptr_t)"-s";
	argv[n++] = (char *)(uintptr_t)"--";
	argv[n++] = l->host;
	argv[n++] = (char *)(uintptr_t)"sftp";
	argv[n] = NULL;
	return 0;
}

/* The child's signals are as a shell would give them, its ends of the sockets its standard streams. 0 or an errno. */
static int spawn(pid_t *ret, char *const argv[], int stream, int errors)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_adddup2(&files, stream, 0);
	posix_spawn_file_actions_adddup2(&files, stream, 1);
	posix_spawn_file_actions_adddup2(&files, errors, 2);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	int sys = posix_spawnp(ret, argv[0], &files, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return sys;
}

static int run(struct sftp_ssh *ssh, char *const argv[], struct error *err)
{
	int stream[2], errors[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) < 0)
		return error_sys(err, errno, "start ssh");
	CLEAN_FD int theirs = stream[1];
	ssh->socket = stream[0];
	if (pipe2(errors, O_CLOEXEC) < 0)
		return error_sys(err, errno, "start ssh");
	CLEAN_FD int their_errors = errors[1];
	ssh->errors = errors[0];
	fcntl(ssh->errors, F_SETFL, O_NONBLOCK);
	int sys = spawn(&ssh->pid, argv, theirs, their_errors);
	if (sys) {
		ssh->pid = 0;
		return sys == ENOENT ? error_set(err, ERR_NOT_FOUND, "start %s: there is no such program; install openssh-client, or name another in TWOFOLD_SSH", argv[0])
				     : error_sys(err, sys, "start %s", argv[0]);
	}
	return 0;
}

int sftp_ssh_start(struct sftp_ssh *ret, const struct sftp_location *where, unsigned timeout, struct error *err)
{
	struct sftp_ssh ssh = SFTP_SSH_INIT;
	const char *program = getenv("TWOFOLD_SSH");
	wordexp_t words;
	char *argv[128], connect[40];
	if (wordexp(program && *program ? program : "ssh", &words, WRDE_NOCMD) != 0)
		return error_set(err, ERR_INVALID, "start ssh: TWOFOLD_SSH is no command that can be understood: %.200s", program ? program : "");
	snprintf(connect, sizeof connect, "-oConnectTimeout=%u", timeout);
	int result = words.we_wordc && command_line(argv, sizeof argv / sizeof *argv, &words, where, connect) == 0
		? run(&ssh, argv, err) : error_set(err, ERR_INVALID, "start ssh: TWOFOLD_SSH is empty or too long");
	wordfree(&words);
	if (result < 0) {
		sftp_ssh_stop(&ssh);
		return -1;
	}
	*ret = ssh;
	return 0;
}

bool sftp_ssh_listen(struct sftp_ssh *ssh)
{
	char block[512];
	for (;;) {
		ssize_t n = ssh->errors < 0 ? 0 : read(ssh->errors, block, sizeof block);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (n == 0)
			return false;
		size_t add = (size_t)n, room = sizeof ssh->said - 1;
		if (ssh->said_len + add > room) {
			size_t drop = ssh->said_len + add - room;
			memmove(ssh->said, ssh->said + drop, ssh->said_len - drop);
			ssh->said_len -= drop;
		}
		memcpy(ssh->said + ssh->said_len, block, add);
		ssh->said_len += add;
		ssh->said[ssh->said_len] = 0;
	}
}

static uint64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void sftp_ssh_stop(struct sftp_ssh *ssh)
{
	if (ssh->socket >= 0)
		close(ssh->socket);
	ssh->socket = -1;
	/* A connection that others share (ControlPersist) keeps standard error open: waiting for the process is enough. */
	for (uint64_t end = now_ms() + LAST_WORDS; ssh->pid > 0;) {
		sftp_ssh_listen(ssh);
		pid_t gone = waitpid(ssh->pid, NULL, WNOHANG);
		if (gone == ssh->pid || (gone < 0 && errno != EINTR))
			ssh->pid = 0;
		else if (now_ms() >= end)
			kill(-ssh->pid, SIGKILL);
		if (ssh->pid > 0)
			poll(NULL, 0, 5);
	}
	sftp_ssh_listen(ssh);
	if (ssh->errors >= 0)
		close(ssh->errors);
	ssh->errors = -1;
}

/* --- why it failed ------------------------------------------------------------------- */

static const struct reason {
	const char *said;
	enum error_kind kind;
	bool passing;
	const char *advice;
} reasons[] = {
	{ "REMOTE HOST IDENTIFICATION HAS CHANGED", ERR_AUTH, false,
	  "the server's host key is not the one that is known: somebody may be in between, or the server was set up anew (then: ssh-keygen -R HOST)" },
	{ "Host key verification failed", ERR_AUTH, false, "the server's host key is not known: connect once by hand with ssh, compare the key and accept it" },
	{ "Permission denied", ERR_AUTH, false, "the server does not let you in: no key that it accepts (nothing is asked for here, so load the key into an agent if it has a passphrase)" },
	{ "Too many authentication failures", ERR_AUTH, false, "the server does not let you in: name the right key in ssh's configuration" },
	{ "subsystem request failed", ERR_UNSUPPORTED, false, "the server offers no SFTP" },
	{ "Temporary failure in name resolution", ERR_IO, true, "is the network up?" },
	{ "Could not resolve hostname", ERR_IO, false, "check the name of the host" },
	{ "Bad configuration option", ERR_INVALID, false, "ssh's configuration is wrong" },
	{ "Connection refused", ERR_IO, true, "is the server running, and is it the right port?" },
};

/* The last line that says something, printable. */
static void last_line(const struct sftp_ssh *ssh, char *ret, size_t size)
{
	size_t end = ssh->said_len;
	while (end && (unsigned char)ssh->said[end - 1] <= ' ')
		end--;
	size_t start = end, used = 0;
	while (start && ssh->said[start - 1] != '\n')
		start--;
	for (; start < end && used < size - 1; start++)
		if (ssh->said[start] >= ' ' && ssh->said[start] < 127)
			ret[used++] = ssh->said[start];
	ret[used] = 0;
}

int sftp_ssh_failed(const struct sftp_ssh *ssh, const char *doing, const char *location, struct error *err)
{
	char line[240];
	last_line(ssh, line, sizeof line);
	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
		if (memmem(ssh->said, ssh->said_len, reasons[i].said, strlen(reasons[i].said))) {
			error_set(err, reasons[i].kind, "%s %s: ssh says: %s; %s", doing, location, line, reasons[i].advice);
			return reasons[i].passing ? error_passing(err) : -1;
		}
	error_set(err, ERR_IO, "%s %s: the connection broke%s%s", doing, location, *line ? ": ssh says: " : "", line);
	return error_passing(err);
}
