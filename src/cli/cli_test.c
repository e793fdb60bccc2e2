/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The frame's parts that can be called by themselves: option tables, texts, locations, passwords. The whole of it: tests/. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clean.h"
#include "cli/frame.h"
#include "cli/location.h"
#include "cli/options.h"
#include "cli/password.h"
#include "cli/text.h"

/* --- options ---------------------------------------------------------------------------------------- */

struct sample {
	bool dry_run;
	unsigned loud, mode;
	const char *target, *read_data;
	struct text_list exclude;
	uint64_t level, limit;
};

static const char *const modes[] = { "if-changed", "always", "never", NULL };
static const struct option_spec sample_options[] = {
	OPTION_FLAG(struct sample, dry_run, "dry-run", 'n', "x"),
	OPTION_COUNT(struct sample, loud, "loud", 'l', "x"),
	OPTION_CHOICE(struct sample, mode, "overwrite", 0, "WHEN", "x", modes),
	OPTION_TEXT(struct sample, target, "target", 't', "DIR", "x"),
	OPTION_OPTIONAL(struct sample, read_data, "read-data", 0, "PERCENT", "x"),
	OPTION_LIST(struct sample, exclude, "exclude", 'e', "GLOB", "x"),
	OPTION_NUMBER(struct sample, level, "level", 0, "N", "x", 3, 1, 19),
	OPTION_SIZE(struct sample, limit, "exclude-larger-than", 0, "SIZE", "x", 0, 0, 0),
	OPTION_END,
};

struct parsed {
	struct sample args;
	char *argv[16];
	int operands, next;
	struct error err;
	int result;
};

/* words: NULL-terminated, without the program's name. */
static void parse(struct parsed *p, bool stop, char *const words[])
{
	memset(p, 0, sizeof *p);
	int argc = 1;
	p->argv[0] = (char[]){ "twofold" };
	for (; words[argc - 1]; argc++)
		p->argv[argc] = words[argc - 1];
	struct option_target target = { sample_options, &p->args };
	options_init(&target);
	p->result = options_parse(argc, p->argv, &target, 1, stop, &p->operands, &p->next, &p->err);
}
#define PARSE(p, ...) parse(p, false, (char *[]){ __VA_ARGS__, NULL })

static void parsed_done(struct parsed *p)
{
	options_done(&(struct option_target){ sample_options, &p->args });
}

static void options_are_filled(void **state)
{
	(void)state;
	char a[] = "one", b[] = "-nl", c[] = "--target=/x", d[] = "--exclude", e[] = "*.o", f[] = "-e*.a", g[] = "--level", h[] = "19",
	     i[] = "--", j[] = "-two", k[] = "--overwrite=never", l[] = "--exclude-larger-than=1.5K", m[] = "-";
	struct parsed p;
	PARSE(&p, a, b, c, d, e, f, g, h, m, k, l, i, j);
	assert_int_equal(p.result, 0);
	assert_int_equal(p.operands, 3);
	assert_string_equal(p.argv[1], "one");
	assert_string_equal(p.argv[2], "-");
	assert_string_equal(p.argv[3], "-two");
	assert_true(p.args.dry_run);
	assert_int_equal(p.args.loud, 1);
	assert_int_equal(p.args.mode, 2);
	assert_string_equal(p.args.target, "/x");
	assert_int_equal(p.args.exclude.count, 2);
	assert_string_equal(p.args.exclude.items[0], "*.o");
	assert_string_equal(p.args.exclude.items[1], "*.a");
	assert_int_equal(p.args.level, 19);
	assert_int_equal(p.args.limit, 1536);
	assert_null(p.args.read_data);
	parsed_done(&p);
}

static void defaults_and_optional_values(void **state)
{
	(void)state;
	char a[] = "--read-data", b[] = "x", c[] = "--read-data=5";
	struct parsed p;
	PARSE(&p, a, b);
	assert_int_equal(p.result, 0);
	assert_string_equal(p.args.read_data, "");
	assert_int_equal(p.operands, 1);
	assert_int_equal(p.args.level, 3);
	PARSE(&p, c);
	assert_string_equal(p.args.read_data, "5");
}

static void stops_at_the_command(void **state)
{
	(void)state;
	char a[] = "-n", b[] = "backup", c[] = "--unknown";
	struct parsed p;
	parse(&p, true, (char *[]){ a, b, c, NULL });
	assert_int_equal(p.result, 0);
	assert_int_equal(p.next, 2);
	assert_string_equal(p.argv[p.next], "backup");
}

static void bad_options_are_named(void **state)
{
	(void)state;
	static const struct {
		const char *words[2], *expect;
	} cases[] = {
		{ { "--exlude" }, "unknown option --exlude; did you mean --exclude?" },
		{ { "--over" }, "unknown option --over; did you mean --overwrite?" },
		{ { "--zzzzzz" }, "unknown option --zzzzzz" },
		{ { "-z" }, "unknown option -z" },
		{ { "-\xff" }, "unknown option" },
		{ { "--target" }, "--target needs a value: DIR" },
		{ { "-t" }, "-t needs a value: DIR" },
		{ { "--dry-run=yes" }, "--dry-run takes no value" },
		{ { "--level=0" }, "--level 0: must lie between 1 and 19" },
		{ { "--level", "3x" }, "--level 3x: not a number" },
		{ { "--level", "-1" }, "--level -1: not a number" },
		{ { "--level=99999999999999999999" }, "--level 99999999999999999999: not a number" },
		{ { "--overwrite", "maybe" }, "--overwrite maybe: must be one of if-changed, always, never" },
		{ { "--exclude-larger-than=big" }, "--exclude-larger-than big: not a size (such as 100, 64K, 1.5M, 2G)" },
		{ { "--" "\xff" }, "unknown option --\xff" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char a[64] = "", b[64] = "";
		strcpy(a, cases[i].words[0]);
		if (cases[i].words[1])
			strcpy(b, cases[i].words[1]);
		struct parsed p;
		parse(&p, false, (char *[]){ a, *b ? b : NULL, NULL });
		assert_int_equal(p.result, -1);
		assert_int_equal(p.err.kind, ERR_INVALID);
		assert_string_equal(p.err.text, cases[i].expect);
		parsed_done(&p);
	}
}

static void sizes_are_parsed(void **state)
{
	(void)state;
	uint64_t v;
	assert_true(option_parse_size("0", &v) && v == 0);
	assert_true(option_parse_size("4096", &v) && v == 4096);
	assert_true(option_parse_size("64k", &v) && v == 65536);
	assert_true(option_parse_size("64KiB", &v) && v == 65536);
	assert_true(option_parse_size("2.5G", &v) && v == 5ull << 29);
	assert_true(option_parse_size("12B", &v) && v == 12);
	assert_true(option_parse_size("18446744073709551615", &v) && v == UINT64_MAX);
	static const char *const bad[] = { "", "x", "-1", " 1", "1X", "1KK", "18446744073709551616", "16384P.", "99999999P" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(option_parse_size(bad[i], &v));
}

/* --- texts -------------------------------------------------------------------------------------------- */

static void numbers_for_people(void **state)
{
	(void)state;
	char t[TEXT_MAX];
	assert_string_equal(text_size(t, 0), "0 B");
	assert_string_equal(text_size(t, 1023), "1023 B");
	assert_string_equal(text_size(t, 1536), "1.5 KiB");
	assert_string_equal(text_size(t, (1u << 20) - 1), "1.0 MiB");
	assert_string_equal(text_size(t, UINT64_MAX), "16.0 EiB");
	assert_string_equal(text_count(t, 7), "7");
	assert_string_equal(text_count(t, 100606), "100,606");
	assert_string_equal(text_count(t, UINT64_MAX), "18,446,744,073,709,551,615");
	assert_string_equal(text_duration(t, 1240000000), "1.2 s");
	assert_string_equal(text_duration(t, 59000000000), "59 s");
	assert_string_equal(text_duration(t, 185000000000), "3 min 05 s");
	assert_string_equal(text_duration(t, 7380000000000), "2 h 03 min");
	assert_string_equal(text_mode(t, 0104755), "-rwsr-xr-x");
	assert_string_equal(text_mode(t, 0041776), "drwxrwxrwT");
	assert_string_equal(text_mode(t, 0), "?---------");
}

static void times_reach_far(void **state)
{
	(void)state;
	char t[TEXT_MAX];
	assert_string_equal(text_time_utc(t, (struct time_ns){ 0, 5 }), "1970-01-01T00:00:00.000000005Z");
	assert_string_equal(text_time_utc(t, (struct time_ns){ -1, 999999999 }), "1969-12-31T23:59:59.999999999Z");
	assert_string_equal(text_time_utc(t, (struct time_ns){ INT64_MAX, 0 }), "@9223372036854775807");
	assert_string_equal(text_time(t, (struct time_ns){ INT64_MIN, 0 }), "@-9223372036854775808");
}

static void names_are_made_harmless(void **state)
{
	(void)state;
	static const struct {
		const char *bytes, *expect;
	} cases[] = {
		{ "plain", "plain" },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
		{ "a\nb\tc\\d", "a\\nb\\tc\\\\d" },
		{ "\x1b[31m", "\\x1b[31m" },
		{ "\xff\xfe", "\\xff\\xfe" },
		{ "\xc0\xaf", "\\xc0\\xaf" },                 /* overlong */
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80" },        /* surrogate */
		{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" },
		{ "\xe2\x80\xae" "exe", "\\xe2\\x80\\xae" "exe" }, /* right-to-left override */
		{ "\xc3", "\\xc3" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		CLEAN_FREE char *text = text_escaped(cases[i].bytes, strlen(cases[i].bytes));
		assert_string_equal(text, cases[i].expect);
	}
	assert_true(text_is_utf8("\xf0\x9f\x98\x80", 4));
	assert_false(text_is_utf8("\xf0\x9f\x98", 3));
}

static void json_takes_any_name(void **state)
{
	(void)state;
	json_t *o = json_object();
	cli_json_bytes(o, "name", "caf\xe9", 4);
	assert_string_equal(json_string_value(json_object_get(o, "name")), "caf\\xe9");
	assert_string_equal(json_string_value(json_object_get(o, "name_bytes")), "Y2Fm6Q==");
	json_decref(o);
	o = json_object();
	cli_json_bytes(o, "name", "a\nb", 3);
	assert_string_equal(json_string_value(json_object_get(o, "name")), "a\nb");
	assert_null(json_object_get(o, "name_bytes"));
	json_decref(o);
}

/* --- location and password ------------------------------------------------------------------------------ */

struct home {
	char path[64];
	struct cli cli;
	struct error err;
};

static int enter_home(void **state)
{
	struct home *h = calloc(1, sizeof *h);
	strcpy(h->path, "/tmp/twofold-cli-test-XXXXXX");
	if (!mkdtemp(h->path))
		return -1;
	h->cli.json_out = stdout;
	h->cli.common.quiet = true;
	setenv("HOME", h->path, 1);
	static const char *const others[] = { "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TWOFOLD_REPOSITORY", "TWOFOLD_PASSWORD",
		                              "TWOFOLD_PASSWORD_FILE", "TWOFOLD_PASSWORD_COMMAND", "TWOFOLD_NEW_PASSWORD" };
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		unsetenv(others[i]);
	*state = h;
	return 0;
}

static int leave_home(void **state)
{
	struct home *h = *state;
	char command[128];
	snprintf(command, sizeof command, "rm -rf '%s'", h->path);
	int r = system(command);
	free(h);
	return r;
}

static void write_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void location_order(void **state)
{
	struct home *h = *state;
	CLEAN_LOCATION struct location l = { 0 };
	char expect[160];
	assert_int_equal(location_resolve(&l, &h->cli, NULL, &h->err), 0);
	snprintf(expect, sizeof expect, "%s/.local/share/twofold/repository", h->path);
	assert_string_equal(l.text, expect);
	assert_true(l.is_default);
	location_done(&l);

	setenv("XDG_DATA_HOME", "relative", 1); /* counts as not set */
	assert_int_equal(location_resolve(&l, &h->cli, NULL, &h->err), 0);
	assert_string_equal(l.text, expect);
	location_done(&l);
	setenv("XDG_DATA_HOME", "/data", 1);
	assert_int_equal(location_resolve(&l, &h->cli, NULL, &h->err), 0);
	assert_string_equal(l.text, "/data/twofold/repository");
	location_done(&l);

	setenv("TWOFOLD_REPOSITORY", "/from/env", 1);
	assert_int_equal(location_resolve(&l, &h->cli, NULL, &h->err), 0);
	assert_string_equal(l.text, "/from/env");
	assert_false(l.is_default);
	location_done(&l);
	h->cli.common.repository = "from-option";
	assert_int_equal(location_resolve(&l, &h->cli, NULL, &h->err), 0);
	assert_string_equal(l.text, "from-option");
	location_done(&l);
	assert_int_equal(location_resolve(&l, &h->cli, "operand", &h->err), 0);
	assert_string_equal(l.text, "operand");
	location_done(&l);
	h->cli.common.repository = "";
	assert_int_equal(location_resolve(&l, &h->cli, NULL, &h->err), -1);
	assert_true(h->cli.usage_error);
}

static void expect_secret(struct home *h, enum secret_kind kind, const char *text)
{
	struct location l = { .text = (char[]){ "/r" } };
	CLEAN_SECRET struct secret s = { 0 };
	assert_int_equal(secret_for_opening(&s, &h->cli, &l, &h->err), 0);
	assert_int_equal(s.kind, kind);
	assert_int_equal(s.len, strlen(text));
	assert_memory_equal(s.data, text, s.len);
}

static void password_order(void **state)
{
	struct home *h = *state;
	char file[128], other[128];
	snprintf(file, sizeof file, "%s/password", h->path);
	snprintf(other, sizeof other, "%s/other", h->path);
	write_text(file, "from file\r\nsecond line\n");
	write_text(other, "no newline");
	setenv("TWOFOLD_PASSWORD_COMMAND", "echo from command; echo more", 1);
	expect_secret(h, SECRET_PASSWORD, "from command");
	setenv("TWOFOLD_PASSWORD_FILE", file, 1);
	expect_secret(h, SECRET_PASSWORD, "from file");
	setenv("TWOFOLD_PASSWORD", "from variable", 1);
	expect_secret(h, SECRET_PASSWORD, "from variable");
	h->cli.common.password_file = other;
	expect_secret(h, SECRET_PASSWORD, "no newline");
}

static void expect_failure(struct home *h, enum error_kind kind, const char *part)
{
	struct location l = { .text = (char[]){ "/r" } };
	CLEAN_SECRET struct secret s = { 0 };
	assert_int_equal(secret_for_opening(&s, &h->cli, &l, &h->err), -1);
	assert_int_equal(h->err.kind, kind);
	assert_non_null(strstr(h->err.text, part));
}

static void passwords_that_fail(void **state)
{
	struct home *h = *state;
	char file[128];
	snprintf(file, sizeof file, "%s/password", h->path);
	expect_failure(h, ERR_AUTH, "no terminal");
	setenv("TWOFOLD_PASSWORD_COMMAND", "exit 3", 1);
	expect_failure(h, ERR_AUTH, "exit code 3");
	setenv("TWOFOLD_PASSWORD_COMMAND", "true", 1);
	expect_failure(h, ERR_AUTH, "empty");
	setenv("TWOFOLD_PASSWORD_COMMAND", "head -c 9000 /dev/zero", 1);
	expect_failure(h, ERR_AUTH, "more than a password");
	setenv("TWOFOLD_PASSWORD", "", 1);
	expect_failure(h, ERR_AUTH, "empty");
	unsetenv("TWOFOLD_PASSWORD");
	setenv("TWOFOLD_PASSWORD_FILE", "/does/not/exist", 1);
	expect_failure(h, ERR_NOT_FOUND, "/does/not/exist");
	h->cli.common.password_file = file;
	write_text(file, "\n");
	expect_failure(h, ERR_AUTH, "empty");
	write_text(file, "# comment\ntwofold-key-1 abc\n");
	expect_failure(h, ERR_CORRUPT, "damaged");
}

static void default_repository_makes_a_key(void **state)
{
	struct home *h = *state;
	CLEAN_LOCATION struct location l = { 0 };
	CLEAN_SECRET struct secret made = { 0 };
	CLEAN_SECRET struct secret read = { 0 };
	CLEAN_SECRET struct secret again = { 0 };
	char path[160];
	struct stat st;
	assert_int_equal(location_resolve(&l, &h->cli, NULL, &h->err), 0);
	assert_int_equal(secret_for_creating(&made, &h->cli, &l, &h->err), 0);
	assert_int_equal(made.kind, SECRET_KEYFILE);
	assert_int_equal(made.len, SECRET_KEY_SIZE);
	snprintf(path, sizeof path, "%s/.config/twofold/default.key", h->path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(secret_for_opening(&read, &h->cli, &l, &h->err), 0);
	assert_int_equal(read.source, SECRET_FROM_DEFAULT_KEY);
	assert_memory_equal(read.data, made.data, SECRET_KEY_SIZE);
	assert_int_equal(secret_for_creating(&again, &h->cli, &l, &h->err), 0);
	assert_memory_equal(again.data, made.data, SECRET_KEY_SIZE);
	/* Another location has nothing to do with it. */
	l.is_default = false;
	secret_done(&again);
	assert_int_equal(secret_for_creating(&again, &h->cli, &l, &h->err), -1);
	/* Never overwritten. */
	assert_int_equal(secret_make_keyfile(&again, path, &h->err), -1);
	assert_int_equal(h->err.kind, ERR_EXISTS);
}

/* --- the prompt, on a terminal of its own ------------------------------------------------------------------ */

/* Reads from the terminal's master side until text has appeared. */
static bool wait_for(int master, char *seen, size_t size, const char *text)
{
	size_t used = strlen(seen);
	while (!strstr(seen, text)) {
		ssize_t n = read(master, seen + used, size - 1 - used);
		if (n <= 0)
			return false;
		used += (size_t)n;
		seen[used] = 0;
	}
	return true;
}

/* What the child answers with, as its exit code: 0 when the password was "s3cret". */
static int ask_in_child(struct home *h)
{
	struct location l = { .text = (char[]){ "/r" } };
	CLEAN_SECRET struct secret s = { 0 };
	if (secret_for_creating(&s, &h->cli, &l, &h->err) < 0)
		return h->err.kind == ERR_CANCELLED ? 3 : 2;
	return s.source == SECRET_FROM_PROMPT && s.len == 6 && memcmp(s.data, "s3cret", 6) == 0 ? 0 : 1;
}

static int prompt_dialogue(struct home *h, const char *first, const char *second, char *seen, size_t size)
{
	int master;
	pid_t child = forkpty(&master, NULL, NULL, NULL);
	assert_true(child >= 0);
	if (child == 0) {
		signal(SIGINT, SIG_DFL); /* ignored where a shell started the tests in the background */
		alarm(20);
		interrupt_install();
		_exit(ask_in_child(h));
	}
	CLEAN_FD int fd = master;
	seen[0] = 0;
	bool ok = wait_for(fd, seen, size, "New password for /r: ") && write(fd, first, strlen(first)) > 0;
	if (ok && second)
		ok = wait_for(fd, seen, size, "The same again: ") && write(fd, second, strlen(second)) > 0;
	while (ok && wait_for(fd, seen, size, "\x01"))
		; /* until the child is gone */
	int status = 0;
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static void prompt_asks_twice_without_echo(void **state)
{
	struct home *h = *state;
	char seen[512];
	int a, b;
	if (openpty(&a, &b, NULL, NULL, NULL) < 0) {
		print_message("skipped: no pseudo-terminals here\n");
		skip();
	}
	close(a);
	close(b);
	assert_int_equal(prompt_dialogue(h, "s3cret\n", "s3cret\n", seen, sizeof seen), 0);
	assert_null(strstr(seen, "s3cret"));
	assert_int_equal(prompt_dialogue(h, "s3cret\n", "s3cres\n", seen, sizeof seen), 2);
	assert_int_equal(prompt_dialogue(h, "\x03", NULL, seen, sizeof seen), 3); /* Ctrl-C */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_are_filled),
		cmocka_unit_test(defaults_and_optional_values),
		cmocka_unit_test(stops_at_the_command),
		cmocka_unit_test(bad_options_are_named),
		cmocka_unit_test(sizes_are_parsed),
		cmocka_unit_test(numbers_for_people),
		cmocka_unit_test(times_reach_far),
		cmocka_unit_test(names_are_made_harmless),
		cmocka_unit_test(json_takes_any_name),
		cmocka_unit_test_setup_teardown(location_order, enter_home, leave_home),
		cmocka_unit_test_setup_teardown(password_order, enter_home, leave_home),
		cmocka_unit_test_setup_teardown(passwords_that_fail, enter_home, leave_home),
		cmocka_unit_test_setup_teardown(default_repository_makes_a_key, enter_home, leave_home),
		cmocka_unit_test_setup_teardown(prompt_asks_twice_without_echo, enter_home, leave_home),
	};
	/* Without a controlling terminal, wherever the tests are started. */
	pid_t child = fork();
	if (child == 0) {
		setsid();
		alarm(60);
		int failed = cmocka_run_group_tests_name("cli", tests, NULL, NULL);
		fflush(NULL);
		_exit(failed != 0);
	}
	int status = 1;
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
