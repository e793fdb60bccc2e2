/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The SFTP store against a real sshd (tests/lib-sshd.sh), whose processes are killed and stopped in the middle of things. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "store/kind.h"
#include "store/sftp_ssh.h"
#include "store/store.h"
#include "store/test_contract.h"

static char folder[64], location[160];
static int port, pid;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

/* A shell with the functions of lib-sshd.sh. */
static int shell(const char *command, char *ret, size_t size)
{
	char line[1024];
	const char *source = getenv("TWOFOLD_SOURCE");
	snprintf(line, sizeof line, "exec bash -c '. \"%s/tests/lib-sshd.sh\"; SSHD_PID=%d; %s' 2>&1", source ? source : "..", pid, command);
	FILE *f = popen(line, "r");
	if (!f)
		return -1;
	size_t len = fread(ret, 1, size - 1, f);
	ret[len] = 0;
	return pclose(f);
}

static int start(void **state)
{
	char command[256], out[1024] = "", client[128];
	(void)state;
	strcpy(folder, "/tmp/twofold-sftp-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(command, sizeof command, "sshd_start %s/ssh && echo $SSHD_PORT $SSHD_PID", folder);
	if (system("command -v ssh sshd /usr/sbin/sshd >/dev/null") != 0 && system("test -x /usr/sbin/sshd") != 0)
		return 0;
	char *end = out;
	bool started = shell(command, out, sizeof out) == 0;
	if (started) {
		port = (int)strtol(out, &end, 10);
		pid = (int)strtol(end, NULL, 10);
	}
	if (port <= 0 || pid <= 0)
		print_message("no sshd: %s\n", out);
	snprintf(client, sizeof client, "ssh -F %s/ssh/client", folder);
	setenv("TWOFOLD_SSH", client, 1);
	setenv("TWOFOLD_SFTP_TIMEOUT", "10", 1);
	unsetenv("TWOFOLD_RETRY_SECONDS");
	snprintf(location, sizeof location, "sftp://127.0.0.1:%d%s/a/b/repo", port, folder);
	return 0;
}

static int stop(void **state)
{
	char out[256];
	(void)state;
	if (pid)
		shell("sshd_stop", out, sizeof out);
	pid = 0;
	return nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void need_sshd(void)
{
	if (pid)
		return;
	print_message("no sshd here\n");
	skip();
}

static void break_connections(void)
{
	char out[1024];
	assert_int_equal(shell("sshd_kill", out, sizeof out), 0);
}

static struct store *open_store(bool create)
{
	struct error err = { 0 };
	struct store *s = NULL;
	if (store_open(&s, location, create, &err) < 0)
		fail_msg("%s", err.text);
	return s;
}

static void contract(void **state)
{
	(void)state;
	struct error err;
	struct store *none;
	need_sshd();
	assert_int_equal(store_open(&none, location, false, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	CLEAN_STORE struct store *s = open_store(true);
	expect_contract(s);
	expect_atomic(s);
	expect_keys_checked(s);
	assert_true(s->promises.remote && s->promises.durable_put && s->promises.conditional_put);
	struct store_facts facts;
	assert_int_equal(store_facts(s, &facts, &err), 0);
	assert_true(facts.has_space && facts.has_clock && facts.free <= facts.total);
	assert_true(facts.clock_ahead > -3000 && facts.clock_ahead < 3000);
}

/* What was written over SFTP is a local store, and the other way round; what is foreign is passed over. */
static void same_as_local(void **state)
{
	(void)state;
	need_sshd();
	char path[128];
	struct error err;
	CLEAN_STORE struct store *s = open_store(true);
	assert_int_equal(store_write(s, "packs/3f/3f01", "0123456789", 10, &err), 0);
	snprintf(path, sizeof path, "%s/a/b/repo", folder);
	CLEAN_STORE struct store *local = NULL;
	assert_int_equal(store_open(&local, path, false, &err), 0);
	assert_int_equal(listed(local, ""), 1000010);
	assert_int_equal(store_write(local, "packs/40/4001", "x", 1, &err), 0);
	snprintf(path, sizeof path, "%s/a/b/repo/packs/.hidden", folder);
	assert_int_equal(symlink("3f", path), 0);
	assert_int_equal(listed(s, ""), 2000011);
	assert_int_equal(store_write(s, "packs/40/4001", "y", 1, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
}

static uint64_t pattern(uint8_t *data, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)((seed = seed * 6364136223846793005u + 1) >> 56);
	return seed;
}

/* Every few blocks the server's processes are killed; the object is whole in the end. */
static void put_over_broken_connections(void **state)
{
	(void)state;
	need_sshd();
	enum { BLOCK = 700000, BLOCKS = 24 };
	uint8_t *all = malloc(BLOCK * BLOCKS), *back = malloc(BLOCK * BLOCKS);
	struct error err = { 0 };
	struct store_put *put;
	CLEAN_STORE struct store *s = open_store(true);
	pattern(all, BLOCK * BLOCKS, 7);
	assert_int_equal(s->ops->put_begin(s, "packs/ab/ab01", BLOCK * BLOCKS, &put, &err), 0);
	for (int i = 0; i < BLOCKS; i++) {
		if (i % 9 == 4)
			break_connections();
		if (s->ops->put_append(put, all + i * BLOCK, BLOCK, &err) < 0)
			fail_msg("%s", err.text);
	}
	break_connections();
	if (s->ops->put_commit(put, &err) < 0)
		fail_msg("%s", err.text);
	break_connections();
	assert_int_equal(listed(s, "packs/"), 1000000 + BLOCK * BLOCKS);
	break_connections();
	assert_int_equal(s->ops->get(s, "packs/ab/ab01", 0, back, BLOCK * BLOCKS, &err), 0);
	assert_memory_equal(all, back, BLOCK * BLOCKS);
	free(all);
	free(back);
}

/* The server lost what it had acknowledged before it went down: that is noticed. */
static void put_that_was_lost(void **state)
{
	(void)state;
	need_sshd();
	enum { BLOCK = 700000 };
	char out[512];
	static uint8_t block[BLOCK];
	struct error err = { 0 };
	struct store_put *put;
	CLEAN_STORE struct store *s = open_store(true);
	pattern(block, BLOCK, 9);
	assert_int_equal(s->ops->put_begin(s, "packs/ab/ab01", 8 * BLOCK, &put, &err), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(s->ops->put_append(put, block, BLOCK, &err), 0);
	nanosleep(&(struct timespec){ 0, 300000000 }, NULL);
	snprintf(out, sizeof out, "sshd_kill; for f in %s/a/b/repo/tmp/tmp-*; do dd if=/dev/zero of=$f bs=1000 count=1 seek=100 conv=notrunc status=none; done", folder);
	assert_int_equal(shell(out, out, sizeof out), 0);
	assert_int_equal(s->ops->put_append(put, block, BLOCK, &err), 0);
	assert_int_equal(s->ops->put_commit(put, &err), -1);
	assert_non_null(strstr(err.text, "lost part of what it had acknowledged"));
	assert_int_equal(listed(s, ""), 0);
}

static void many_folders(void **state)
{
	(void)state;
	need_sshd();
	struct error err;
	char path[160];
	CLEAN_STORE struct store *s = open_store(true);
	snprintf(path, sizeof path, "%s/a/b/repo", folder);
	CLEAN_STORE struct store *local = NULL;
	assert_int_equal(store_open(&local, path, false, &err), 0);
	for (unsigned i = 0; i < 256; i++) {
		snprintf(path, sizeof path, "%s/a/b/repo/packs%s%.2x", folder, i ? "/" : "", i);
		if (!i)
			path[strlen(path) - 2] = 0;
		assert_int_equal(mkdir(path, 0700), 0);
	}
	/* More in one folder than the server tells in one answer. */
	for (unsigned i = 0; i < 1200; i++) {
		snprintf(path, sizeof path, "%s/a/b/repo/packs/%02x/%08x", folder, i < 500 ? 7 : i % 255 + 1, i);
		FILE *f = fopen(path, "w");
		assert_non_null(f);
		fputs("abc", f);
		fclose(f);
	}
	assert_int_equal(listed(s, "packs/"), 1200 * 1000003ull);
	assert_int_equal(listed(s, ""), 1200 * 1000003ull);
	assert_true(listed(s, "packs/07/") >= 500 * 1000003ull);
	assert_int_equal(s->ops->list(s, "packs/33/", remove_listed, s, &err), 0);
	assert_int_equal(listed(s, "packs/33/"), 0);
	assert_true(listed(local, "packs/") < 1200 * 1000003ull);
}

static void sweep(void **state)
{
	(void)state;
	need_sshd();
	struct error err;
	struct store_put *put;
	uint64_t removed;
	char command[512], out[512];
	CLEAN_STORE struct store *s = open_store(true);
	assert_int_equal(s->ops->sweep(s, 0, &removed, &err), 0);
	assert_int_equal(s->ops->put_begin(s, "packs/ab/ab01", 32 << 20, &put, &err), 0);
	snprintf(command, sizeof command, "touch -d yesterday %s/a/b/repo/tmp/tmp-old; touch %s/a/b/repo/tmp/tmp-new", folder, folder);
	assert_int_equal(shell(command, out, sizeof out), 0);
	assert_int_equal(s->ops->sweep(s, 3600, &removed, &err), 0);
	assert_int_equal(removed, 1);
	assert_int_equal(s->ops->put_append(put, "x", 1, &err), 0);
	assert_int_equal(s->ops->put_commit(put, &err), 0);
	assert_int_equal(listed(s, ""), 1000001);
}

static void silent_server(void **state)
{
	(void)state;
	need_sshd();
	char out[256];
	struct error err;
	bool found;
	uint64_t size;
	setenv("TWOFOLD_SFTP_TIMEOUT", "1", 1);
	setenv("TWOFOLD_RETRY_SECONDS", "0", 1);
	CLEAN_STORE struct store *s = open_store(true);
	assert_int_equal(shell("sshd_kill STOP", out, sizeof out), 0);
	time_t before = time(NULL);
	assert_int_equal(s->ops->stat(s, "twofold", &found, &size, &err), -1);
	assert_true(time(NULL) - before <= 4);
	if (!strstr(err.text, "has not answered for 1 s"))
		fail_msg("%s", err.text);
	assert_int_equal(s->ops->stat(s, "twofold", &found, &size, &err), 0);
}

static void expect_refused(const char *where, enum error_kind kind, const char *text)
{
	struct error err = { 0 };
	struct store *s;
	assert_int_equal(store_open(&s, where, true, &err), -1);
	if (!strstr(err.text, text) || err.kind != kind)
		fail_msg("kind %d: %s", (int)err.kind, err.text);
}

static void refused(void **state)
{
	(void)state;
	need_sshd();
	char command[512], out[512], where[128];
	snprintf(where, sizeof where, "sftp://127.0.0.1:1/%s", folder);
	expect_refused(where, ERR_IO, "Connection refused");
	snprintf(command, sizeof command, "cd %s/ssh; mv known known-not", folder);
	assert_int_equal(shell(command, out, sizeof out), 0);
	expect_refused(location, ERR_AUTH, "host key is not known");
	snprintf(command, sizeof command, "cd %s/ssh; mv known-not known; : >authorized", folder);
	assert_int_equal(shell(command, out, sizeof out), 0);
	expect_refused(location, ERR_AUTH, "does not let you in");
	setenv("TWOFOLD_SSH", "/nonexistent/ssh", 1);
	expect_refused(location, ERR_NOT_FOUND, "there is no such program");
	setenv("TWOFOLD_SSH", "echo", 1);
	expect_refused(location, ERR_CORRUPT, "is not SFTP");
	setenv("TWOFOLD_SSH", "false", 1);
	expect_refused(location, ERR_IO, "the connection broke");
}

struct reader {
	struct store *store;
	unsigned number, seed;
	bool failed;
};

static void *read_many(void *arg)
{
	struct reader *r = arg;
	for (int i = 0; i < 300 && !r->failed; i++) {
		char key[32];
		unsigned n = (unsigned)rand_r(&r->seed) % 60, got;
		struct error err = { 0 };
		snprintf(key, sizeof key, "packs/%02x/%u", n % 16, n);
		/* One object of each thread, which nobody else removes: a writer whose connection breaks would look for it in vain. */
		if (n % 15 == 7 && n / 15 != r->number)
			continue;
		if (n % 15 == 7) {
			r->failed = r->store->ops->remove(r->store, key, &err) < 0 || (store_write(r->store, key, &n, sizeof n, &err) < 0 && err.kind != ERR_EXISTS);
		} else if (r->store->ops->get(r->store, key, 0, &got, sizeof got, &err) < 0 || got != n) {
			r->failed = true;
		}
		if (r->failed)
			print_message("%s\n", err.text);
	}
	return NULL;
}

/* More objects than are kept open, some removed and written again, and the connection breaks under all of them. */
static void many_threads(void **state)
{
	(void)state;
	need_sshd();
	struct error err;
	CLEAN_STORE struct store *s = open_store(true);
	for (unsigned n = 0; n < 60; n++) {
		char key[32];
		snprintf(key, sizeof key, "packs/%02x/%u", n % 16, n);
		assert_int_equal(store_write(s, key, &n, sizeof n, &err), 0);
	}
	pthread_t threads[4];
	struct reader readers[4];
	for (unsigned i = 0; i < 4; i++) {
		readers[i] = (struct reader){ s, i, i + 1, false };
		assert_int_equal(pthread_create(&threads[i], NULL, read_many, &readers[i]), 0);
	}
	nanosleep(&(struct timespec){ 0, 100000000 }, NULL);
	break_connections();
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < 4; i++)
		assert_false(readers[i].failed);
}

static void locations(void **state)
{
	(void)state;
	static const struct {
		const char *text, *user, *host, *port, *path;
	} good[] = {
		{ "sftp://host/srv/backup", NULL, "host", NULL, "/srv/backup" },
		{ "sftp://me@host:22/srv/", "me", "host", "22", "/srv" },
		{ "sftp://me@example.org@host:22/", "me@example.org", "host", "22", "/" },
		{ "sftp://[::1]:2222/~/twofold", NULL, "::1", "2222", "twofold" },
		{ "sftp://[::1]/~", NULL, "::1", NULL, "." },
		{ "sftp://host/with%20space%2f", NULL, "host", NULL, "/with space/" },
	};
	static const char *const bad[] = { "sftp://", "sftp:///x", "sftp://host", "sftp://-oProxyCommand=x/y", "sftp://-l@host/y", "sftp://host:/y", "sftp://host:22x/y",
		                           "sftp://ho st/y", "sftp://host/%00", "sftp://host/%4", "sftp://[::1/y", "sftp://[::1]x/y", "sftp://$(id)/y", "sftp://@host/y" };
	struct error err;
	struct sftp_location l;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(sftp_location_parse(&l, good[i].text, &err), 0);
		assert_string_equal(l.host, good[i].host);
		assert_string_equal(l.path, good[i].path);
		assert_string_equal(l.user ? l.user : "", good[i].user ? good[i].user : "");
		assert_string_equal(l.port ? l.port : "", good[i].port ? good[i].port : "");
		sftp_location_done(&l);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (sftp_location_parse(&l, bad[i], &err) == 0)
			fail_msg("%s was taken", bad[i]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(locations), TEST(contract), TEST(same_as_local), TEST(put_over_broken_connections), TEST(put_that_was_lost), TEST(many_folders),
		TEST(sweep), TEST(silent_server), TEST(refused), TEST(many_threads),
	};
	return cmocka_run_group_tests_name("store-sftp", tests, NULL, NULL);
}
