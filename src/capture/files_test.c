/* SPDX-License-Identifier: GPL-3.0-or-later */
/* File backups of real folders, read back from the repository. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/xattr.h>

#include "capture/files.h"
#include "capture/test_capture.h"

static struct test_repo t;
static char base[96]; /* where sources are made: without links on the way */
static struct warnings warnings = { .lock = PTHREAD_MUTEX_INITIALIZER };
static const struct warner warner = { keep_warning, &warnings };

static int setup(void **state)
{
	(void)state;
	test_repo_make(&t);
	snprintf(base, sizeof base, "%s/source", t.root);
	return mkdir(base, 0755);
}

static int teardown(void **state)
{
	(void)state;
	warnings_clear(&warnings);
	test_repo_done(&t);
	return 0;
}

/* Each test has sources of its own, so that none is another's parent. */
static void fresh(void)
{
	shell("cd / && rm -rf %s && mkdir %s", base, base);
	test_repo_open(&t);
}

static struct capture_files_options options_of(const char *const *paths, size_t count)
{
	warnings_clear(&warnings);
	return (struct capture_files_options){
		.paths = paths, .path_count = count, .host = "host", .user = "user", .program = "test", .threads = 3, .level = 1, .warner = &warner
	};
}

/* Backs up and opens the repository anew. */
static struct snapshot backup_with(const struct capture_files_options *o)
{
	struct snapshot s = { 0 };
	struct id id;
	TEST_OK(capture_files(t.repo, o, &s, &id, &err));
	test_repo_open(&t);
	return s;
}

static struct snapshot backup(const char *path)
{
	struct capture_files_options o = options_of(&path, 1);
	return backup_with(&o);
}

static bool find(const struct snapshot *s, const char *path, struct node *ret)
{
	return tree_find(t.repo, &s->tree, path, ret);
}

static bool has(const struct snapshot *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool has(const struct snapshot *s, const char *fmt, ...)
{
	char path[4096];
	struct node node;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(path, sizeof path, fmt, ap);
	va_end(ap);
	if (!find(s, path, &node))
		return false;
	node_done(&node);
	return true;
}

static struct node get(const struct snapshot *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static struct node get(const struct snapshot *s, const char *fmt, ...)
{
	char path[4096];
	struct node node;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(path, sizeof path, fmt, ap);
	va_end(ap);
	if (!find(s, path, &node))
		fail_msg("%s is not in the snapshot", path);
	return node;
}

static void expect_bytes(const struct snapshot *s, const char *path, const void *bytes, size_t len)
{
	CLEAN_BUF struct buf got = BUF_INIT;
	CLEAN(node_done) struct node node = get(s, "%s", path);
	assert_true(node.has_content);
	content_bytes(t.repo, &node.content, &got);
	assert_int_equal(got.len, len);
	if (len)
		assert_memory_equal(got.data, bytes, len);
}

static void expect_file(const struct snapshot *s, const char *path)
{
	CLEAN_BUF struct buf want = BUF_INIT;
	FILE *f = fopen(path, "re");
	assert_non_null(f);
	for (size_t n = 1; n; want.len += n) {
		uint8_t *at = buf_reserve(&want, 1 << 20);
		assert_non_null(at);
		n = fread(at, 1, 1 << 20, f);
	}
	fclose(f);
	expect_bytes(s, path, want.data, want.len);
}

/* --- what is read again, and what is not -------------------------------------------------- */

/* The names below base that were opened since; fd from inotify_init1. */
static bool was_opened(int fd, const char *name)
{
	char events[64 << 10] __attribute__((aligned(8)));
	bool found = false;
	for (ssize_t n; (n = read(fd, events, sizeof events)) > 0;)
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(events + at);
			if (e->len && strcmp(e->name, name) == 0)
				found = true;
			at += (ssize_t)sizeof *e + e->len;
		}
	return found;
}

static int watch(void)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(inotify_add_watch(fd, base, IN_OPEN) >= 0);
	return fd;
}

static void what_changed_is_read_again(void **state)
{
	(void)state;
	fresh();
	shell("cd %s && for n in same size mtime ctime inode gone; do echo content of $n >$n; done && mkdir sub && echo x >sub/deep && ln -s same link && mkfifo pipe && sleep 2.2", base);
	struct snapshot first = backup(base);
	assert_int_equal(first.totals.files_new, 7);
	assert_int_equal(warnings.count, 0);
	CLEAN_FD int opened = watch();
	struct snapshot second = backup(base);
	assert_int_equal(second.totals.files_unchanged, 7);
	assert_int_equal(second.totals.bytes_read, 0);
	/* Folders above the source are everybody's: their times may have changed meanwhile, no more. */
	assert_true(second.totals.added_raw < 8192);
	assert_true(second.has_parent);
	assert_false(was_opened(opened, "same"));
	shell("cd %s && echo >>size && touch -d 2001-01-01 mtime && chmod 600 ctime && cp -p inode i && mv i inode && rm gone && echo new >new", base);
	while (was_opened(opened, "same"))
		;
	struct snapshot third = backup(base);
	assert_int_equal(third.totals.files_unchanged, 2);
	assert_int_equal(third.totals.files_changed, 4);
	assert_int_equal(third.totals.files_new, 1);
	assert_false(was_opened(opened, "same"));
	assert_false(has(&third, "%s/gone", base));
	char path[128];
	snprintf(path, sizeof path, "%s/size", base);
	expect_file(&third, path);
	/* These are younger than the third snapshot less two seconds: their times prove nothing. */
	struct snapshot fourth = backup(base);
	assert_int_equal(fourth.totals.files_unchanged, 2);
	assert_int_equal(fourth.totals.files_changed, 5);
	assert_true(fourth.totals.added_raw < 8192);
	const char *paths[] = { base };
	struct capture_files_options o = options_of(paths, 1);
	o.read_all = true;
	struct snapshot fifth = backup_with(&o);
	assert_int_equal(fifth.totals.files_unchanged, 0);
	assert_true(fifth.totals.added_raw < 8192);
	struct snapshot *all[] = { &first, &second, &third, &fourth, &fifth };
	for (size_t i = 0; i < 5; i++)
		snapshot_done(all[i]);
}

/* A pack of data is lost and the index made anew: a file that did not change is stored again rather than referred to. */
static void lost_chunks_are_stored_again(void **state)
{
	(void)state;
	fresh();
	shell("cd %s && head -c 5000 /dev/urandom >one && head -c 60000000 /dev/urandom >large && sleep 2.2", base);
	struct snapshot first = backup(base);
	/* A pack's eleventh byte is its kind. Then the others are found as if their session had been interrupted. */
	shell("cd %s && for p in packs/*/*; do case $(od -An -tu1 -j10 -N1 $p) in *1) rm $p;; esac; done && rm -r index && mkdir -p sessions && cp twofold sessions/%064d", t.location, 0);
	test_repo_open(&t);
	struct snapshot second = backup(base);
	char path[128];
	snprintf(path, sizeof path, "%s/one", base);
	expect_file(&second, path);
	snprintf(path, sizeof path, "%s/large", base);
	expect_file(&second, path);
	shell("rm %s/sessions/%064d", t.location, 0);
	snapshot_done(&first);
	snapshot_done(&second);
}

/* --- what the system does not give ------------------------------------------------------------ */

static const char *child_path;

/* In a child: one file cannot be read, whatever the reason. The rest is stored, and the file is named. */
static int refused_read(int sys)
{
	struct capture_files_options o = options_of(&child_path, 1);
	struct snapshot s = { 0 };
	struct error err = { 0 };
	struct id id;
	CHILD_WANTS(fail_call(SYS_pread64, 2, 4999, sys));
	if (capture_files(t.repo, &o, &s, &id, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	CHILD_WANTS(warnings.count == 1 && s.totals.warnings == 1);
	CHILD_WANTS(warned_of(&warnings, "/bad is stored without its content"));
	snapshot_done(&s);
	return 0;
}

static int read_denied(void)
{
	return refused_read(EACCES);
}

static int read_fails(void)
{
	return refused_read(EIO);
}

static int read_vanishes(void)
{
	return refused_read(ENOENT);
}

static void a_file_that_gives_no_bytes(void **state)
{
	(void)state;
	static int (*const ways[])(void) = { read_denied, read_fails, read_vanishes };
	for (size_t i = 0; i < 3; i++) {
		fresh();
		shell("cd %s && head -c 4999 /dev/zero >bad && head -c 5000 /dev/zero >good", base);
		child_path = base;
		in_child(ways[i]);
		test_repo_open(&t);
		struct snapshot s = backup(base); /* it is read again, although it did not change */
		char path[128];
		snprintf(path, sizeof path, "%s/bad", base);
		expect_file(&s, path);
		snapshot_done(&s);
	}
}

/* In a child: a backup whose result is the caller's to look at. */
static int child_backup(struct snapshot *ret)
{
	struct capture_files_options o = options_of(&child_path, 1);
	struct error err = { 0 };
	struct id id;
	if (capture_files(t.repo, &o, ret, &id, &err) == 0)
		return 0;
	fprintf(stderr, "%s\n", err.text);
	return 1;
}

static int link_unreadable(void)
{
	struct snapshot s = { 0 };
	CHILD_WANTS(fail_call(SYS_readlinkat, -1, 0, EIO));
	CHILD_WANTS(child_backup(&s) == 0);
	CHILD_WANTS(warnings.count == 1);
	return 0;
}

static int link_vanishes(void)
{
	struct snapshot s = { 0 };
	CHILD_WANTS(fail_call(SYS_readlinkat, -1, 0, ENOENT));
	CHILD_WANTS(child_backup(&s) == 0);
	CHILD_WANTS(warnings.count == 1 && warned_of(&warnings, "vanished"));
	return 0;
}

static struct snapshot latest(void)
{
	struct snapshot s = { 0 };
	struct id id;
	test_repo_open(&t);
	TEST_OK(repo_snapshot_find(t.repo, "latest", &id, &s, &err));
	return s;
}

static void a_link_that_cannot_be_read(void **state)
{
	(void)state;
	fresh();
	shell("cd %s && ln -s target link && echo x >file && sleep 2.2", base);
	child_path = base;
	in_child(link_unreadable);
	struct snapshot s = latest();
	{
		CLEAN(node_done) struct node node = get(&s, "%s/link", base);
		assert_true(S_ISLNK(node.attr.mode));
		assert_true(node.incomplete);
		assert_int_not_equal(node.attr.ino, 0);
	}
	snapshot_done(&s);
	/* It is looked at again, although its times are the same. */
	s = backup(base);
	{
		CLEAN(node_done) struct node node = get(&s, "%s/link", base);
		assert_int_equal(node.attr.link_len, 6);
		assert_false(node.incomplete);
	}
	snapshot_done(&s);
	fresh();
	shell("cd %s && ln -s target link && echo x >file", base);
	in_child(link_vanishes);
	s = latest();
	assert_false(has(&s, "%s/link", base));
	assert_true(has(&s, "%s/file", base));
	snapshot_done(&s);
}

static int files_vanish(void)
{
	struct snapshot s = { 0 };
	CHILD_WANTS(fail_call(SYS_openat, 2, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_NOATIME, ENOENT));
	CHILD_WANTS(child_backup(&s) == 0);
	CHILD_WANTS(warnings.count == 2 && warned_of(&warnings, "/a vanished") && warned_of(&warnings, "/b vanished"));
	return 0;
}

static void a_file_that_vanishes_is_left_out(void **state)
{
	(void)state;
	fresh();
	shell("cd %s && echo x >a && echo x >b && ln -s a c", base);
	child_path = base;
	in_child(files_vanish);
	struct snapshot s = latest();
	assert_false(has(&s, "%s/a", base));
	assert_true(has(&s, "%s/c", base));
	snapshot_done(&s);
}

struct growing {
	char path[128];
	atomic_bool stop;
};

static void *grow(void *arg)
{
	struct growing *g = arg;
	CLEAN_FD int fd = open(g->path, O_WRONLY | O_APPEND | O_CLOEXEC);
	while (!atomic_load(&g->stop) && fd >= 0)
		if (write(fd, "more\n", 5) < 0)
			break;
	return NULL;
}

/* Stored as it was read, named, and read again the next time. */
static void a_file_that_changes_is_named(void **state)
{
	(void)state;
	static struct growing g;
	pthread_t thread;
	fresh();
	snprintf(g.path, sizeof g.path, "%s/log", base);
	shell("head -c 40000000 /dev/urandom >%s", g.path);
	assert_int_equal(pthread_create(&thread, NULL, grow, &g), 0);
	struct snapshot s = backup(base);
	atomic_store(&g.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(warnings.count, 1);
	assert_true(warned_of(&warnings, "/log changed while it was read"));
	{
		CLEAN_BUF struct buf got = BUF_INIT;
		CLEAN(node_done) struct node node = get(&s, "%s", g.path);
		assert_true(node.incomplete);
		assert_true(node.attr.size >= 40000000);
		content_bytes(t.repo, &node.content, &got);
		assert_int_equal(got.len, node.attr.size);
	}
	snapshot_done(&s);
	s = backup(base);
	expect_file(&s, g.path);
	assert_int_equal(warnings.count, 0);
	snapshot_done(&s);
}

static void *stop_soon(void *arg)
{
	struct progress *p = arg;
	while (!atomic_load(&p->bytes))
		;
	atomic_store((atomic_bool *)(uintptr_t)p->stop, true);
	return NULL;
}

/* The user does not wait for the end of a large file. */
static void stopping_does_not_wait_for_a_large_file(void **state)
{
	(void)state;
	enum { SIZE = 400 << 20 };
	static atomic_bool stop;
	struct progress progress;
	struct snapshot s = { 0 };
	struct error err = { 0 };
	struct id id;
	pthread_t thread;
	fresh();
	shell("cd %s && head -c %u /dev/zero >large", base, SIZE);
	const char *path = base;
	struct capture_files_options o = options_of(&path, 1);
	progress_init(&progress, &stop);
	o.progress = &progress;
	assert_int_equal(pthread_create(&thread, NULL, stop_soon, &progress), 0);
	assert_int_equal(capture_files(t.repo, &o, &s, &id, &err), -1);
	assert_int_equal(err.kind, ERR_CANCELLED);
	pthread_join(thread, NULL);
	assert_in_range(atomic_load(&progress.bytes), 1, SIZE / 2);
	progress_done(&progress);
}

/* --- attributes ---------------------------------------------------------------------------------- */

static int xattrs_fail(void)
{
	struct snapshot s = { 0 };
	CHILD_WANTS(fail_call(SYS_flistxattr, -1, 0, EIO));
	CHILD_WANTS(child_backup(&s) == 0);
	CHILD_WANTS(warnings.count >= 2);
	return 0;
}

static bool has_xattr(const struct snapshot *s, const char *name)
{
	CLEAN(node_done) struct node node = get(s, "%s/%s", base, name);
	return node.attr.xattr_count == 1 && strcmp(node.attr.xattrs[0].name, "user.color") == 0;
}

/* What was missing from the last snapshot is not missing for ever. */
static void a_gap_is_closed_later(void **state)
{
	(void)state;
	fresh();
	shell("cd %s && echo x >file && mkdir folder", base);
	for (int i = 0; i < 2; i++) {
		char path[128];
		snprintf(path, sizeof path, "%s/%s", base, i ? "folder" : "file");
		if (setxattr(path, "user.color", "red", 3, 0) < 0)
			skip();
	}
	shell("sleep 2.2");
	child_path = base;
	in_child(xattrs_fail);
	test_repo_open(&t);
	struct snapshot s = backup(base);
	assert_int_equal(warnings.count, 0);
	assert_true(has_xattr(&s, "file"));
	assert_true(has_xattr(&s, "folder"));
	snapshot_done(&s);
}

/* --- hard links --------------------------------------------------------------------------------------- */

/* The same tree with other device numbers, as after a reboot. Frees the nodes. */
static struct id renumbered(const struct id *tree, uint64_t add)
{
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	struct node nodes[64];
	size_t count = 0, len;
	const uint8_t *record;
	TEST_OK(seq_reader_new(&reader, SEQ_ENTRIES, tree, repo_get_page, t.repo, &err));
	for (bool more = true;; count++) {
		TEST_OK(seq_next(reader, &more, &record, &len, NULL, &err));
		if (!more)
			break;
		assert_in_range(count, 0, 63);
		TEST_OK(node_decode(&nodes[count], record, len, &err));
		nodes[count].attr.dev += add;
		if (nodes[count].has_tree)
			nodes[count].tree = renumbered(&nodes[count].tree, add);
	}
	return test_tree(&t, nodes, count);
}

static void expect_one_file(const struct snapshot *s, const char *one, const char *other)
{
	CLEAN(node_done) struct node a = get(s, "%s/%s", base, one);
	CLEAN(node_done) struct node b = get(s, "%s/%s", base, other);
	assert_int_equal(a.attr.ino, b.attr.ino);
	assert_int_equal(a.attr.dev, b.attr.dev);
	assert_int_equal(a.attr.nlink, 2);
	assert_int_equal(b.attr.nlink, 2);
}

/* All names of one file carry the same device number, also where one of them lies in a folder in which nothing changed. */
static void hard_links_stay_together(void **state)
{
	(void)state;
	fresh();
	shell("cd %s && mkdir a b c d && echo x >a/file && ln a/file b/file && mkfifo c/pipe && ln c/pipe d/pipe && ln -s target c/link && ln -P c/link d/link && sleep 2.2", base);
	struct snapshot s = backup(base);
	expect_one_file(&s, "a/file", "b/file");
	test_begin(&t);
	struct snapshot before = { .kind = SNAPSHOT_FILES, .tree = renumbered(&s.tree, 7), .sources = s.sources };
	before.totals = s.totals;
	static char host[] = "host";
	struct id id;
	before.host = before.user = before.program = before.model = host;
	before.time = (struct time_ns){ s.time.sec + 1, 0 };
	TEST_OK(writer_commit(t.writer, &before, &id, &err));
	writer_free(t.writer);
	t.writer = NULL;
	test_repo_open(&t);
	shell("echo new >%s/b/new && echo new >%s/d/new", base, base);
	struct snapshot after = backup(base);
	assert_true(id_equal(&after.parent, &id));
	expect_one_file(&after, "a/file", "b/file");
	expect_one_file(&after, "c/pipe", "d/pipe");
	expect_one_file(&after, "c/link", "d/link");
	snapshot_done(&s);
	snapshot_done(&after);
}

/* --- folders of all shapes ------------------------------------------------------------------------------ */

static void a_deep_tree(void **state)
{
	(void)state;
	enum { DEPTH = 2000 };
	fresh();
	int fd = open(base, O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < DEPTH; i++) {
		assert_int_equal(mkdirat(fd, "d", 0755), 0);
		int next = openat(fd, "d", O_RDONLY | O_DIRECTORY);
		close(fd);
		fd = next;
		assert_true(fd >= 0);
	}
	CLEAN_FD int file = openat(fd, "bottom", O_CREAT | O_WRONLY, 0644);
	assert_int_equal(write(file, "x", 1), 1);
	close(fd);
	struct snapshot s = backup(base);
	assert_int_equal(warnings.count, 0);
	assert_in_range(s.totals.dirs, DEPTH, DEPTH + 10);
	char path[DEPTH * 2 + 200];
	size_t len = (size_t)snprintf(path, sizeof path, "%s", base);
	for (int i = 0; i < DEPTH; i++)
		len += (size_t)snprintf(path + len, sizeof path - len, "/d");
	snprintf(path + len, sizeof path - len, "/bottom");
	struct node node;
	assert_true(find(&s, path, &node));
	node_done(&node);
	snapshot_done(&s);
}

struct churn {
	atomic_bool stop;
};

/* Unlinks and makes again: where a filesystem puts the name behind those that were read, it is read twice. */
static void *churn(void *arg)
{
	struct churn *c = arg;
	char path[160];
	for (unsigned i = 0; !atomic_load(&c->stop); i = (i + 7) % 20000) {
		snprintf(path, sizeof path, "%s/file-with-a-long-name-%05u", base, i);
		unlink(path);
		CLEAN_FD int fd = open(path, O_CREAT | O_WRONLY, 0644);
		(void)fd;
	}
	return NULL;
}

static void a_folder_of_20000_entries(void **state)
{
	(void)state;
	static struct churn c;
	pthread_t thread;
	fresh();
	for (unsigned i = 0; i < 20000; i++) {
		char path[160];
		snprintf(path, sizeof path, "%s/file-with-a-long-name-%05u", base, i);
		CLEAN_FD int fd = open(path, O_CREAT | O_WRONLY, 0644);
		assert_true(fd >= 0);
	}
	struct snapshot s = backup(base);
	assert_int_equal(s.totals.files, 20000);
	{
		CLEAN(node_done) struct node node = get(&s, "%s", base);
		assert_int_equal(tree_count(t.repo, &node.tree), 20000);
	}
	assert_true(has(&s, "%s/file-with-a-long-name-12345", base));
	assert_false(has(&s, "%s/file-with-a-long-name-1234", base));
	snapshot_done(&s);
	assert_int_equal(pthread_create(&thread, NULL, churn, &c), 0);
	for (int i = 0; i < 5; i++) {
		s = backup(base);
		snapshot_done(&s);
	}
	atomic_store(&c.stop, true);
	pthread_join(thread, NULL);
}

/* --- sources and excludes --------------------------------------------------------------------------- */

/* In a child, with its root in base: a backup of "/" that stays on its filesystem. */
static int whole_root(void)
{
	CLEAN_EXCLUDE struct exclude *ex = NULL;
	struct snapshot s = { 0 };
	struct error err = { 0 };
	struct node node;
	struct id id;
	if (chroot(base) < 0 && (unshare(CLONE_NEWUSER) < 0 || chroot(base) < 0))
		return CHILD_SKIPPED;
	CHILD_WANTS(chdir("/") == 0 && exclude_new(&ex, &err) == 0 && exclude_add(ex, "/a/skip", &err) == 0 && exclude_add(ex, "a/skip2", &err) == 0);
	exclude_set_one_file_system(ex);
	const char *path = "/";
	struct capture_files_options o = options_of(&path, 1);
	o.exclude = ex;
	if (capture_files(t.repo, &o, &s, &id, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	CHILD_WANTS(warnings.count == 0);
	CHILD_WANTS(s.totals.files == 2);
	CHILD_WANTS(tree_find(t.repo, &s.tree, "/a/b/file", &node));
	node_done(&node);
	CHILD_WANTS(!tree_find(t.repo, &s.tree, "/a/skip", &node));
	CHILD_WANTS(!tree_find(t.repo, &s.tree, "/a/skip2", &node));
	return 0;
}

static void the_root_of_all(void **state)
{
	(void)state;
	fresh();
	shell("cd %s && mkdir -p a/b && echo x >a/b/file && echo x >a/skip && echo x >a/skip2 && echo x >top", base);
	in_child(whole_root);
}

static void expect_source(const struct snapshot *s, size_t i, const char *end)
{
	char path[160];
	snprintf(path, sizeof path, "%s%s", base, end);
	assert_true(i < s->sources.count);
	assert_string_equal(s->sources.items[i].data, path);
}

/* However a source is named, its place in the tree is its real one; the last component is not followed. */
static void sources_by_any_name(void **state)
{
	(void)state;
	fresh();
	shell("cd %s && mkdir -p real/in other && echo x >real/in/file && echo x >real/beside && echo x >other/one && echo x >other/two && ln -s real way", base);
	char twice[160], nested[160], through[160], link[160];
	snprintf(twice, sizeof twice, "%s/real/in/", base);
	snprintf(nested, sizeof nested, "%s/./real/../real/in/file", base);
	snprintf(through, sizeof through, "%s/way/in", base);
	snprintf(link, sizeof link, "%s/way", base);
	const char *paths[] = { twice, nested, through, "other/one", link };
	struct capture_files_options o = options_of(paths, 5);
	assert_int_equal(chdir(base), 0);
	struct snapshot s = backup_with(&o);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(warnings.count, 0);
	assert_int_equal(s.totals.files, 2);
	assert_true(has(&s, "%s/real/in/file", base));
	assert_false(has(&s, "%s/real/beside", base));
	assert_true(has(&s, "%s/other/one", base));
	assert_false(has(&s, "%s/other/two", base));
	{
		CLEAN(node_done) struct node node = get(&s, "%s/way", base);
		assert_true(S_ISLNK(node.attr.mode));
	}
	expect_source(&s, 0, "/other/one");
	expect_source(&s, 1, "/real/in");
	expect_source(&s, 2, "/real/in/file");
	expect_source(&s, 3, "/way");
	assert_int_equal(s.sources.count, 4);
	snapshot_done(&s);
	const char *missing[] = { twice, "/no/such/thing" };
	struct snapshot none = { 0 };
	struct error err = { 0 };
	struct id id;
	o = options_of(missing, 2);
	assert_int_equal(capture_files(t.repo, &o, &none, &id, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_non_null(strstr(err.text, "/no/such/thing"));
}

static void what_is_excluded_stays_out(void **state)
{
	(void)state;
	CLEAN_EXCLUDE struct exclude *ex = NULL;
	fresh();
	shell("cd %s && mkdir -p keep/sub cache marked && echo x >keep/a.o && echo x >keep/a.c && echo x >keep/sub/b.o && head -c 3000 /dev/zero >keep/large && "
	      "printf 'Signature: 8a477f597d28d172789f06886806bc55' >cache/CACHEDIR.TAG && echo x >cache/x && echo x >marked/.nobackup && echo x >marked/x", base);
	TEST_OK(exclude_new(&ex, &err));
	TEST_OK(exclude_add(ex, "*.o", &err));
	TEST_OK(exclude_set_larger_than(ex, "2000", &err));
	TEST_OK(exclude_add_marker(ex, ".nobackup", &err));
	exclude_set_caches(ex);
	const char *path = base;
	struct capture_files_options o = options_of(&path, 1);
	o.exclude = ex;
	struct snapshot s = backup_with(&o);
	static const char *const out[] = { "keep/a.o", "keep/sub/b.o", "keep/large", "cache/x", "marked/x" };
	static const char *const in[] = { "keep/a.c", "keep/sub", "cache/CACHEDIR.TAG", "marked/.nobackup" };
	for (size_t i = 0; i < sizeof out / sizeof *out; i++)
		assert_false(has(&s, "%s/%s", base, out[i]));
	for (size_t i = 0; i < sizeof in / sizeof *in; i++)
		assert_true(has(&s, "%s/%s", base, in[i]));
	snapshot_done(&s);
	/* What is not excluded any more comes back, from the same parent. */
	o = options_of(&path, 1);
	s = backup_with(&o);
	assert_true(s.has_parent);
	for (size_t i = 0; i < sizeof out / sizeof *out; i++)
		assert_true(has(&s, "%s/%s", base, out[i]));
	snapshot_done(&s);
	/* A source is never excluded by its own name. */
	char named[160];
	snprintf(named, sizeof named, "%s/keep/a.o", base);
	path = named;
	o = options_of(&path, 1);
	o.exclude = ex;
	s = backup_with(&o);
	assert_true(has(&s, "%s", named));
	snapshot_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_changed_is_read_again),
		cmocka_unit_test(lost_chunks_are_stored_again),
		cmocka_unit_test(a_file_that_gives_no_bytes),
		cmocka_unit_test(a_link_that_cannot_be_read),
		cmocka_unit_test(a_file_that_vanishes_is_left_out),
		cmocka_unit_test(a_file_that_changes_is_named),
		cmocka_unit_test(stopping_does_not_wait_for_a_large_file),
		cmocka_unit_test(a_gap_is_closed_later),
		cmocka_unit_test(hard_links_stay_together),
		cmocka_unit_test(a_deep_tree),
		cmocka_unit_test(a_folder_of_20000_entries),
		cmocka_unit_test(the_root_of_all),
		cmocka_unit_test(sources_by_any_name),
		cmocka_unit_test(what_is_excluded_stays_out),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
