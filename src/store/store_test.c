/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store/fault.h"
#include "store/retry.h"
#include "store/store.h"
#include "store/test_contract.h"

static const char *self;       /* this program, to be run again under strace */
static char folder[64];        /* made for each test, removed after it */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int make_folder(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/twofold-store-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
	(void)state;
	return nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static struct store *open_kind(const char *kind)
{
	struct error err = { 0 };
	struct store *s = NULL;
	int result = strcmp(kind, "memory") == 0 ? store_open_memory(&s, &err) : store_open(&s, folder, true, &err);
	if (result < 0)
		fail_msg("%s", err.text);
	return s;
}

static void contract_of_memory(void **state)
{
	(void)state;
	CLEAN_STORE struct store *s = open_kind("memory");
	expect_contract(s);
	expect_atomic(s);
	expect_keys_checked(s);
}

static void contract_of_local(void **state)
{
	(void)state;
	CLEAN_STORE struct store *s = open_kind("local");
	expect_contract(s);
	expect_atomic(s);
	expect_keys_checked(s);
}

static void contract_of_fault_without_faults(void **state)
{
	(void)state;
	CLEAN_STORE struct store *s = NULL;
	assert_int_equal(store_open_fault(&s, open_kind("memory"), NULL, 0, NULL), 0);
	expect_contract(s);
	expect_atomic(s);
}

/* --- trying again ------------------------------------------------------------------- */

static const struct retry_policy quick = { .tries = 4, .first = 2, .longest = 4, .total = 60000 };

struct waits {
	atomic_bool stop;
	struct store_watch watch;
	unsigned count;
};

static void note_wait(void *cookie, const struct error *why, unsigned attempt, unsigned pause)
{
	struct waits *w = cookie;
	assert_true(why->passing);
	assert_true(attempt >= 1 && pause <= 4);
	w->count++;
}

static struct store *open_retry(struct fault *plan, size_t count, struct waits *w)
{
	struct store *s, *broken;
	assert_int_equal(store_open_fault(&broken, open_kind("memory"), plan, count, NULL), 0);
	assert_int_equal(store_open_retry(&s, broken, &quick, NULL), 0);
	atomic_init(&w->stop, false);
	w->watch = (struct store_watch){ &w->stop, note_wait, w };
	w->count = 0;
	store_set_watch(s, &w->watch);
	return s;
}

static void contract_of_retry(void **state)
{
	(void)state;
	struct waits w;
	CLEAN_STORE struct store *s = open_retry(NULL, 0, &w);
	expect_contract(s);
	expect_atomic(s);
	expect_keys_checked(s);
	assert_int_equal(w.count, 0);
	assert_true(s->promises.atomic_put && s->promises.conditional_put);
}

/* Every call fails twice, or succeeds and says otherwise; nobody notices. */
static void retry_gets_over_it(void **state)
{
	(void)state;
	struct fault plan[] = {
		{ .call = FAULT_PUT_BEGIN, .effect = FAULT_FAIL, .count = 2, .sys = ECONNRESET },
		{ .call = FAULT_PUT_COMMIT, .effect = FAULT_LOST, .count = 1, .sys = ECONNRESET },
		{ .call = FAULT_GET, .effect = FAULT_FAIL, .count = 2, .sys = ECONNRESET },
		{ .call = FAULT_STAT, .effect = FAULT_FAIL, .count = 2, .sys = ECONNRESET },
		{ .call = FAULT_LIST, .effect = FAULT_FAIL, .count = 2, .sys = ECONNRESET },
		{ .call = FAULT_REMOVE, .effect = FAULT_LOST, .count = 2, .sys = ECONNRESET },
	};
	struct waits w;
	CLEAN_STORE struct store *s = open_retry(plan, 6, &w);
	expect_contract(s);
	expect_atomic(s);
	assert_true(w.count >= 11);
}

/* What cannot be told apart from somebody else's object is an error. */
static void retry_finds_another(void **state)
{
	(void)state;
	struct fault plan[] = { { .call = FAULT_PUT_BEGIN, .effect = FAULT_FAIL, .from = 2, .count = 1, .sys = ECONNRESET } };
	struct waits w;
	struct error err;
	CLEAN_STORE struct store *s = open_retry(plan, 1, &w);
	assert_int_equal(store_write(s, "twofold", "one", 3, &err), 0);
	assert_int_equal(store_write(s, "twofold", "two", 3, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(w.count, 1);
}

static void retry_of_a_large_put(void **state)
{
	(void)state;
	struct fault plan[] = {
		{ .call = FAULT_PUT_BEGIN, .effect = FAULT_FAIL, .count = 1, .sys = ECONNRESET },
		{ .call = FAULT_PUT_COMMIT, .effect = FAULT_LOST, .count = 1, .sys = ECONNRESET },
		{ .call = FAULT_PUT_APPEND, .effect = FAULT_FAIL, .from = 4, .count = 1, .sys = ECONNRESET },
	};
	struct waits w;
	struct error err;
	struct store_put *put;
	static uint8_t block[600 << 10], back[600 << 10];
	memset(block, 'b', sizeof block);
	CLEAN_STORE struct store *s = open_retry(plan, 3, &w);
	assert_int_equal(s->ops->put_begin(s, "packs/1", 0, &put, &err), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(s->ops->put_append(put, block, sizeof block, &err), 0);
	assert_int_equal(s->ops->put_commit(put, &err), 0);
	assert_int_equal(listed(s, "packs/"), 1000000 + 3 * sizeof block);
	assert_int_equal(s->ops->get(s, "packs/1", sizeof block, back, sizeof back, &err), 0);
	assert_memory_equal(block, back, sizeof back);
	/* In the middle of a large one the wrapper has no bytes to repeat. */
	assert_int_equal(s->ops->put_begin(s, "packs/2", 32 << 20, &put, &err), 0);
	assert_int_equal(s->ops->put_append(put, block, sizeof block, &err), -1);
	s->ops->put_abort(put);
}

static void retry_ends(void **state)
{
	(void)state;
	struct fault plan[] = {
		{ .call = FAULT_GET, .effect = FAULT_FAIL, .sys = ECONNRESET },
		{ .call = FAULT_STAT, .effect = FAULT_FAIL, .sys = ENOSPC },
	};
	struct waits w;
	struct error err;
	bool found;
	uint64_t size;
	char c;
	CLEAN_STORE struct store *s = open_retry(plan, 2, &w);
	assert_int_equal(s->ops->get(s, "keys/1", 0, &c, 1, &err), -1);
	assert_int_equal(plan[0].seen, 4);
	assert_int_equal(w.count, 3);
	assert_false(err.passing);
	assert_non_null(strstr(err.text, "tried 4 times"));
	assert_int_equal(s->ops->stat(s, "keys/1", &found, &size, &err), -1);
	assert_int_equal(plan[1].seen, 1);
	atomic_store(&w.stop, true);
	assert_int_equal(s->ops->get(s, "keys/1", 0, &c, 1, &err), -1);
	assert_int_equal(err.kind, ERR_CANCELLED);
	assert_int_equal(plan[0].seen, 5);
}

static void reserve_and_facts(void **state)
{
	(void)state;
	CLEAN_STORE struct store *s = open_kind("local");
	struct error err;
	struct store_facts facts;
	char path[128];
	struct stat st;
	uint64_t removed;
	snprintf(path, sizeof path, "%s/tmp/reserve", folder);
	assert_int_equal(store_facts(s, &facts, &err), 0);
	if (facts.free < 64 << 20) {
		print_message("less than 64 MiB are free below %s\n", folder);
		skip();
	}
	assert_int_equal(store_reserve(s, true, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 8 << 20);
	assert_true(st.st_blocks >= (8 << 20) / 512);
	assert_int_equal(store_reserve(s, true, &err), 0);
	assert_int_equal(listed(s, ""), 0);
	assert_int_equal(s->ops->sweep(s, 0, &removed, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(store_reserve(s, false, &err), 0);
	assert_int_equal(store_reserve(s, false, &err), 0);
	assert_int_equal(stat(path, &st), -1);
	assert_int_equal(store_facts(s, &facts, &err), 0);
	assert_true(facts.has_space && facts.has_clock && facts.total >= facts.free);
	assert_true(facts.clock_ahead > -5000 && facts.clock_ahead < 5000);
	assert_int_equal(s->promises.list_lag, 0);
}

static void locations(void **state)
{
	(void)state;
	struct error err;
	struct store *s;
	char path[128];
	snprintf(path, sizeof path, "%s/a/b/c//", folder);
	assert_int_equal(store_open(&s, path, false, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(store_open(&s, path, true, &err), 0);
	assert_int_equal(store_write(s, "twofold", "x", 1, &err), 0);
	store_close(s);
	snprintf(path, sizeof path, "file://%s/a/b/c", folder);
	assert_int_equal(store_open(&s, path, false, &err), 0);
	assert_int_equal(listed(s, ""), 1000001);
	struct stat st;
	snprintf(path, sizeof path, "%s/a/b/c", folder);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	store_close(s);

	snprintf(path, sizeof path, "%s/a/b/c/twofold", folder);
	assert_int_equal(store_open(&s, path, true, &err), -1);
	assert_int_equal(store_open(&s, "gopher://host/x", true, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_int_equal(store_open(&s, "", true, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(store_open(&s, "file://", true, &err), -1);
}

/* What does not belong there is neither listed nor read, and a fifo hangs nobody. */
static void foreign_files(void **state)
{
	(void)state;
	CLEAN_STORE struct store *s = open_kind("local");
	struct error err;
	assert_int_equal(store_write(s, "keys/1", "k", 1, &err), 0);
	char path[128];
	snprintf(path, sizeof path, "%s/keys/.nfs0001", folder);
	CLEAN_FD int fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	snprintf(path, sizeof path, "%s/keys/fifo", folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(path, sizeof path, "%s/keys/link", folder);
	assert_int_equal(symlink("1", path), 0);
	assert_int_equal(listed(s, ""), 1000001);
	char c;
	assert_int_equal(s->ops->get(s, "keys/fifo", 0, &c, 1, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_int_equal(s->ops->get(s, "keys/link", 0, &c, 1, &err), -1);
	assert_int_equal(s->ops->get(s, "keys/1/2", 0, &c, 1, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

/* A put in flight is invisible, survives a sweep while it lives, and is swept once it is dead. */
static void sweep(void **state)
{
	(void)state;
	CLEAN_STORE struct store *s = open_kind("local");
	struct error err;
	struct store_put *put;
	assert_int_equal(s->ops->put_begin(s, "index/1", 0, &put, &err), 0);
	assert_int_equal(listed(s, ""), 0);
	assert_int_equal(listed(s, "tmp/"), 0);
	char path[128];
	snprintf(path, sizeof path, "%s/tmp/tmp-0123", folder);
	CLEAN_FD int fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	uint64_t removed;
	assert_int_equal(s->ops->sweep(s, 3600, &removed, &err), 0);
	assert_int_equal(removed, 0);
	assert_int_equal(s->ops->sweep(s, 0, &removed, &err), 0);
	assert_int_equal(removed, 1);
	assert_int_equal(s->ops->put_commit(put, &err), 0);
	assert_int_equal(listed(s, ""), 1000000);
}

static void read_only_folder(void **state)
{
	(void)state;
	struct error err;
	store_close(open_kind("local"));
	if (geteuid() == 0 && mount("none", folder, "tmpfs", MS_RDONLY, "size=64k") < 0) {
		print_message("no read-only tmpfs here: %s\n", strerror(errno));
		skip();
	}
	if (geteuid() != 0)
		assert_int_equal(chmod(folder, 0500), 0);
	struct store *s;
	int opened = store_open(&s, folder, true, &err);
	int wrote = opened < 0 ? 0 : store_write(s, "keys/1", "k", 1, &err);
	if (opened == 0)
		store_close(s);
	if (geteuid() == 0)
		umount(folder);
	else
		chmod(folder, 0700);
	assert_int_equal(opened, 0);
	assert_int_equal(wrote, -1);
	assert_non_null(strstr(err.text, geteuid() == 0 ? "the filesystem is read-only" : "permission"));
}

/* Fills dest up, then says so, leaves nothing, and takes small objects again. */
static void expect_full(struct store *s, struct error *err)
{
	struct store_put *put;
	static char block[64 << 10];
	memset(block, 'x', sizeof block);
	assert_int_equal(s->ops->put_begin(s, "packs/00/00", 0, &put, err), 0);
	int result = 0;
	for (int i = 0; i < 64 && result == 0; i++)
		result = s->ops->put_append(put, block, sizeof block, err);
	assert_int_equal(result, -1);
	s->ops->put_abort(put);
	assert_int_equal(err->kind, ERR_NO_SPACE);
	assert_int_equal(err->sys, ENOSPC);
	assert_non_null(strstr(err->text, "No space left on device; make room"));
	assert_int_equal(listed(s, ""), 0);
	struct error fine;
	assert_int_equal(store_write(s, "packs/00/00", block, sizeof block, &fine), 0);
}

static void full_disk(void **state)
{
	(void)state;
	if (geteuid() != 0 || mount("none", folder, "tmpfs", 0, "size=1m") < 0) {
		print_message("no small tmpfs without root\n");
		skip();
	}
	struct store *s = open_kind("local");
	struct error err;
	expect_full(s, &err);
	store_close(s);
	assert_int_equal(umount(folder), 0);
}

static void faults_hit_by_plan(void **state)
{
	(void)state;
	struct fault plan[] = {
		{ .call = FAULT_PUT_APPEND, .effect = FAULT_SHORT, .from = 2, .count = 1, .sys = ENOSPC, .prefix = "packs/" },
		{ .call = FAULT_PUT_COMMIT, .effect = FAULT_LOST, .from = 2, .count = 1, .sys = EIO },
		{ .call = FAULT_GET, .effect = FAULT_FLIP, .from = 1, .count = 1 },
		{ .call = FAULT_REMOVE, .effect = FAULT_FAIL, .sys = EIO },
	};
	CLEAN_STORE struct store *s = NULL;
	struct error err;
	assert_int_equal(store_open_fault(&s, open_kind("memory"), plan, 4, &err), 0);
	assert_int_equal(store_write(s, "keys/1", "kk", 2, &err), 0);
	assert_int_equal(store_write(s, "packs/1", "one", 3, &err), -1);
	assert_int_equal(err.kind, ERR_IO);
	bool found;
	uint64_t size;
	assert_int_equal(s->ops->stat(s, "packs/1", &found, &size, &err), 0);
	assert_true(found);
	assert_int_equal(store_write(s, "packs/2", "two", 3, &err), -1);
	assert_int_equal(err.kind, ERR_NO_SPACE);
	assert_int_equal(s->ops->stat(s, "packs/2", &found, &size, &err), 0);
	assert_false(found);
	char two[2];
	assert_int_equal(s->ops->get(s, "keys/1", 0, two, 2, &err), 0);
	assert_memory_equal(two, "k{", 2);
	assert_int_equal(s->ops->get(s, "keys/1", 0, two, 2, &err), 0);
	assert_memory_equal(two, "kk", 2);
	assert_int_equal(s->ops->remove(s, "keys/1", &err), -1);
	assert_int_equal(plan[0].seen, 2);
}

struct reader {
	struct store *store;
	unsigned seed;
	bool failed;
};

/* More objects than the cache has slots, some removed and written again meanwhile. */
static void *read_many(void *arg)
{
	struct reader *r = arg;
	for (int i = 0; i < 4000 && !r->failed; i++) {
		char key[32];
		unsigned n = (unsigned)rand_r(&r->seed) % 200, got;
		struct error err;
		snprintf(key, sizeof key, "packs/%02x/%u", n % 16, n);
		if (n % 50 == 7) {
			r->store->ops->remove(r->store, key, &err);
			if (store_write(r->store, key, &n, sizeof n, &err) < 0)
				r->failed = err.kind != ERR_EXISTS;
		} else if (r->store->ops->get(r->store, key, 0, &got, sizeof got, &err) < 0 || got != n) {
			r->failed = true;
		}
	}
	return NULL;
}

static void many_threads(void **state)
{
	(void)state;
	CLEAN_STORE struct store *s = open_kind("local");
	struct error err;
	for (unsigned n = 0; n < 200; n++) {
		char key[32];
		snprintf(key, sizeof key, "packs/%02x/%u", n % 16, n);
		assert_int_equal(store_write(s, key, &n, sizeof n, &err), 0);
	}
	pthread_t threads[4];
	struct reader readers[4];
	for (unsigned i = 0; i < 4; i++) {
		readers[i] = (struct reader){ s, i + 1, false };
		assert_int_equal(pthread_create(&threads[i], NULL, read_many, &readers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < 4; i++)
		assert_false(readers[i].failed);
}

/* Runs this program as "write-one FOLDER" under strace; false where strace does not work. */
static bool trace(const char *inject, char *log, size_t log_size, int *ret_status)
{
	char command[512], path[128];
	snprintf(path, sizeof path, "%s/trace", folder);
	snprintf(command, sizeof command,
	         "ASAN_OPTIONS=detect_leaks=0 strace -f -y %s -e trace=openat,mkdirat,write,fdatasync,fsync,close,renameat2,linkat,renameat,unlinkat "
	         "-o %s %s write-one %s/repo >/dev/null 2>&1", inject, path, self, folder);
	if (system("strace -o /dev/null true >/dev/null 2>&1") != 0) {
		print_message("strace does not work here\n");
		return false;
	}
	*ret_status = system(command);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	size_t len = fread(log, 1, log_size - 1, f);
	log[len] = 0;
	fclose(f);
	return true;
}

/* Each of the calls is there, after the one before it. */
static void expect_order(const char *log, const char *const *calls)
{
	for (; *calls; calls++) {
		const char *at = strstr(log, *calls);
		if (!at)
			fail_msg("no %s where it belongs", *calls);
		log = at + strlen(*calls);
	}
}

static void order_of_durability(void **state)
{
	(void)state;
	static char log[1 << 20];
	int status;
	if (!trace("", log, sizeof log, &status))
		skip();
	assert_int_equal(status, 0);
	static const char *const calls[] = { "write(", "/repo/tmp/tmp-", "fdatasync(", "/repo/tmp/tmp-", "close(", "mkdirat(", "\"packs\"",
		                             "fsync(", "/repo>", "mkdirat(", "\"packs/3f\"", "fsync(", "/repo/packs>", "renameat2(",
		                             "RENAME_NOREPLACE) = 0", "fsync(", "/repo/packs/3f>", NULL };
	expect_order(log, calls);
}

static void filesystem_without_renameat2(void **state)
{
	(void)state;
	static char log[1 << 20];
	int status;
	if (!trace("-e inject=renameat2:error=EINVAL", log, sizeof log, &status))
		skip();
	assert_int_equal(status, 0);
	static const char *const calls[] = { "fdatasync(", "renameat2(", "linkat(", "unlinkat(", "fsync(", "/repo/packs/3f>", NULL };
	expect_order(log, calls);
}

static void filesystem_without_links(void **state)
{
	(void)state;
	static char log[1 << 20];
	int status;
	if (!trace("-e inject=renameat2:error=EINVAL -e inject=linkat:error=EPERM", log, sizeof log, &status))
		skip();
	assert_int_equal(status, 0);
	static const char *const calls[] = { "fdatasync(", "linkat(", "renameat(", "fsync(", "/repo/packs/3f>", NULL };
	expect_order(log, calls);
}

static void sync_that_fails(void **state)
{
	(void)state;
	static char log[1 << 20];
	int status;
	if (!trace("-e inject=fdatasync:error=EIO", log, sizeof log, &status))
		skip();
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_null(strstr(log, "renameat2("));
	assert_non_null(strstr(log, "unlinkat("));
}

static int write_one(const char *path)
{
	struct store *s;
	struct error err;
	if (store_open(&s, path, true, &err) < 0)
		return 2;
	int result = store_write(s, "packs/3f/3f01", "0123456789", 10, &err);
	if (result == 0 && store_write(s, "packs/3f/3f01", "x", 1, &err) == 0)
		return 3;
	uint64_t sum = 0;
	s->ops->list(s, "", count_entry, &sum, &err);
	store_close(s);
	if (result < 0)
		return sum == 0 ? 1 : 4;
	return sum == 1000010 ? 0 : 5;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, drop_folder)

int main(int argc, char **argv)
{
	self = argv[0];
	if (argc == 3 && strcmp(argv[1], "write-one") == 0)
		return write_one(argv[2]);
	const struct CMUnitTest tests[] = {
		TEST(contract_of_memory), TEST(contract_of_local), TEST(contract_of_fault_without_faults), TEST(locations), TEST(foreign_files),
		TEST(sweep), TEST(read_only_folder), TEST(full_disk), TEST(faults_hit_by_plan), TEST(many_threads), TEST(order_of_durability),
		TEST(filesystem_without_renameat2), TEST(filesystem_without_links), TEST(sync_that_fails), TEST(contract_of_retry), TEST(retry_gets_over_it),
		TEST(retry_finds_another), TEST(retry_of_a_large_put), TEST(retry_ends), TEST(reserve_and_facts),
	};
	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
