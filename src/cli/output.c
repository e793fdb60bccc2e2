/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/frame.h"
#include "cli/text.h"

/* Guards stdout, stderr and the state below: standard streams are one for the whole process, so this is too. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool line_drawn;
static int stdout_errno; /* of the first failed write */

void output_lock(void)
{
	pthread_mutex_lock(&lock);
}

void output_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

void output_erase_line(void)
{
	if (line_drawn)
		fputs("\r\033[K", stderr);
	line_drawn = false;
}

void output_draw_line(const char *text)
{
	output_erase_line();
	if (text) {
		fputs(text, stderr);
		line_drawn = true;
	}
	fflush(stderr);
}

/* With the lock held, after writing to stdout: a full disk or a closed pipe stops the work early instead of listing on into nothing. */
static void note_failure(FILE *f)
{
	if (f == stdout && ferror(f) && !stdout_errno) {
		stdout_errno = errno ? errno : EIO;
		interrupt_set();
	}
}

static void print_locked(FILE *f, const char *fmt, va_list ap)
{
	output_lock();
	output_erase_line();
	vfprintf(f, fmt, ap);
	note_failure(f);
	output_unlock();
}

void cli_print(struct cli *cli, const char *fmt, ...)
{
	if (cli->common.json)
		return;
	va_list ap;
	va_start(ap, fmt);
	print_locked(stdout, fmt, ap);
	va_end(ap);
}

void cli_say(struct cli *cli, const char *fmt, ...)
{
	if (cli->common.json || cli->common.quiet)
		return;
	va_list ap;
	va_start(ap, fmt);
	print_locked(cli->json_out, fmt, ap);
	va_end(ap);
}

void cli_detail(struct cli *cli, unsigned level, const char *fmt, ...)
{
	if (cli->common.json || cli->common.quiet || cli->common.verbose < level)
		return;
	va_list ap;
	va_start(ap, fmt);
	print_locked(cli->json_out, fmt, ap);
	va_end(ap);
}

void output_object(FILE *f, json_t *object)
{
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	if (text)
		fprintf(f, "%s\n", text);
	else
		fputs("{\"type\":\"error\",\"kind\":\"nomem\",\"text\":\"out of memory\"}\n", f);
	free(text);
	fflush(f); /* a script reads line by line */
	note_failure(f);
}

void cli_json(struct cli *cli, json_t *object)
{
	if (!cli->common.json) {
		json_decref(object);
		return;
	}
	output_lock();
	output_object(cli->json_out, object);
	output_unlock();
}

void cli_stdout_is_data(struct cli *cli)
{
	cli->json_out = stderr;
}

/* Texts of errors hold paths, so they may hold any bytes; jansson takes only UTF-8. */
static void set_text(json_t *object, const char *text)
{
	if (text_is_utf8(text, strlen(text))) {
		json_object_set_new(object, "text", json_string(text));
		return;
	}
	CLEAN_FREE char *escaped = text_escaped(text, strlen(text));
	json_object_set_new(object, "text", json_string(escaped ? escaped : "out of memory"));
}

/* With the lock held: "twofold: " and the text, controls made visible. */
static void stderr_line(const char *what, const char *text)
{
	CLEAN_BUF struct buf line = BUF_INIT;
	/* Backslashes stand for themselves here: names were escaped by whoever put them in. */
	for (const char *p = text, *end; *p; p = end) {
		end = p + strcspn(p, "\\");
		text_escape(&line, p, (size_t)(end - p));
		for (; *end == '\\'; end++)
			buf_add_u8(&line, '\\');
	}
	output_erase_line();
	fflush(stdout);
	if (buf_ok(&line))
		fprintf(stderr, "twofold: %s%.*s\n", what, (int)line.len, (const char *)line.data);
	else
		fprintf(stderr, "twofold: %s%s\n", what, text);
}

static void warn_text(struct cli *cli, const char *text)
{
	atomic_fetch_add(&cli->warnings, 1);
	output_lock();
	if (cli->common.json) {
		json_t *object = json_pack("{ss}", "type", "warning");
		set_text(object, text);
		output_object(cli->json_out, object);
	} else {
		stderr_line("warning: ", text);
	}
	output_unlock();
}

void cli_warn(struct cli *cli, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	CLEAN_FREE char *text = NULL;
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	warn_text(cli, text ? text : "out of memory while a warning was printed");
}

void cli_warn_error(struct cli *cli, const struct error *err)
{
	warn_text(cli, err->text);
}

int cli_usage(struct cli *cli, struct error *err, const char *fmt, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	cli->usage_error = true;
	return error_set(err, ERR_INVALID, "%s", text);
}

const char *error_kind_name(enum error_kind kind)
{
	static const char *const names[] = {
		[ERR_NONE] = "none",           [ERR_IO] = "io",           [ERR_NOT_FOUND] = "not_found",
		[ERR_EXISTS] = "exists",       [ERR_CORRUPT] = "corrupt", [ERR_AUTH] = "auth",
		[ERR_BUSY] = "busy",           [ERR_NO_SPACE] = "no_space", [ERR_NOMEM] = "nomem",
		[ERR_UNSUPPORTED] = "unsupported", [ERR_CANCELLED] = "cancelled", [ERR_INVALID] = "invalid",
	};
	return (size_t)kind < sizeof names / sizeof *names && names[kind] ? names[kind] : "other";
}

void output_error(struct cli *cli, const struct error *err, int exit_code)
{
	output_lock();
	if (cli->common.json) {
		json_t *object = json_pack("{sssssi}", "type", "error", "kind", error_kind_name(err->kind), "exit_code", exit_code);
		set_text(object, err->text);
		output_object(cli->json_out, object);
	} else {
		stderr_line("", err->text);
	}
	output_unlock();
}

int output_finish(struct error *err)
{
	output_lock();
	output_erase_line();
	errno = 0;
	if (fflush(stdout) != 0 || ferror(stdout))
		note_failure(stdout);
	int failed = stdout_errno;
	output_unlock();
	return failed ? error_sys(err, failed, "write to standard output") : 0;
}

int cli_ask(struct cli *cli, const char *question, bool *ret_yes, struct error *err)
{
	(void)cli;
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) {
		*ret_yes = false;
		return 0;
	}
	CLEAN_FD int tty = fd;
	output_lock();
	output_erase_line();
	fflush(NULL);
	output_unlock();
	if (dprintf(tty, "%s (yes/no) ", question) < 0)
		return error_sys(err, errno, "ask on the terminal");
	char answer[16];
	if (interrupt_wait_readable(tty) < 0)
		return error_set(err, ERR_CANCELLED, "interrupted");
	ssize_t n = read(tty, answer, sizeof answer - 1);
	if (n < 0)
		return error_sys(err, errno, "read the answer from the terminal");
	answer[n] = 0;
	answer[strcspn(answer, "\r\n")] = 0;
	*ret_yes = strcmp(answer, "yes") == 0;
	return 0;
}

void cli_json_bytes(json_t *object, const char *key, const void *bytes, size_t len)
{
	if (text_is_utf8(bytes, len)) {
		json_object_set_new(object, key, json_stringn(len ? bytes : "", len));
		return;
	}
	CLEAN_BUF struct buf text = BUF_INIT;
	text_escape(&text, bytes, len);
	json_object_set_new(object, key, buf_ok(&text) ? json_stringn((const char *)text.data, text.len) : json_null());
	buf_clear(&text);
	text_base64(&text, bytes, len);
	char name[80];
	snprintf(name, sizeof name, "%s_bytes", key);
	json_object_set_new(object, name, buf_ok(&text) ? json_stringn((const char *)text.data, text.len) : json_null());
}
