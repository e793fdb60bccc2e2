/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "repo/test_snapshot.h"
#include "restore/files.h"

#define MANY_PARTS 70000u /* more than one batch takes */
#define MANY_FILES 33000u

static struct test_repo t;
static char target[160], outside[160];
static struct snapshot snapshot;
static struct restore_options options;
static struct restore_result result;

/* --- warnings ------------------------------------------------------------------------------------ */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char warnings[64][ERROR_TEXT_MAX];
static unsigned warning_count;

static void note(void *cookie, const struct error *err)
{
	(void)cookie;
	pthread_mutex_lock(&lock);
	if (warning_count < 64)
		memcpy(warnings[warning_count], err->text, sizeof err->text);
	warning_count++;
	pthread_mutex_unlock(&lock);
}

static bool warned(const char *part)
{
	for (unsigned i = 0; i < warning_count && i < 64; i++)
		if (strstr(warnings[i], part))
			return true;
	return false;
}

static const struct warner warner = { note, NULL };

/* --- the world ------------------------------------------------------------------------------------ */

static int setup(void **state)
{
	(void)state;
	test_repo_make(&t);
	snprintf(target, sizeof target, "%s/target", t.root);
	snprintf(outside, sizeof outside, "%s/outside", t.root);
	mkdir(outside, 0755);
	test_begin(&t);
	snapshot = (struct snapshot){ .kind = SNAPSHOT_FILES };
	options = (struct restore_options){ .target = target, .threads = 3, .warner = &warner };
	warning_count = 0;
	umask(022);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	test_repo_done(&t);
	return 0;
}

static void commit(struct node *nodes, size_t count)
{
	snapshot.tree = test_tree(&t, nodes, count);
	test_commit(&t, &snapshot, 1);
}

static int restore_path(const char *path)
{
	struct error err = { 0 };
	warning_count = 0;
	int done = restore_files(t.repo, &snapshot, path, &options, &result, &err);
	if (done < 0)
		print_message("restore: %s\n", err.text);
	return done;
}

static void restore_quietly(void)
{
	assert_int_equal(restore_path(""), 0);
	if (warning_count)
		fail_msg("%s", warnings[0]);
}

static const char *at(const char *name)
{
	static char path[400];
	snprintf(path, sizeof path, "%s/%s", target, name);
	return path;
}

static struct stat look(const char *name)
{
	struct stat st;
	if (lstat(at(name), &st) < 0)
		fail_msg("%s: %s", at(name), strerror(errno));
	return st;
}

static bool is_there(const char *name)
{
	struct stat st;
	return lstat(at(name), &st) == 0;
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void holds(const char *name, const void *data, size_t len)
{
	FILE *f = fopen(at(name), "r");
	if (!f)
		fail_msg("%s: %s", at(name), strerror(errno));
	uint8_t *bytes = malloc(len + 1);
	assert_int_equal(fread(bytes, 1, len + 1, f), len);
	assert_memory_equal(bytes, data, len);
	free(bytes);
	fclose(f);
}

static void set_time(const char *path, int64_t second)
{
	struct timespec times[2] = { { second, 0 }, { second, 0 } };
	assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

/* No temporary names are left behind. */
static bool is_clean(void)
{
	char command[400];
	snprintf(command, sizeof command, "test -z \"$(find '%s' -name '.twofold*')\"", target);
	return system(command) == 0;
}

static struct node text_file(const char *name, const char *text)
{
	return test_file(&t, name, text, strlen(text), strlen(text) + 1, false);
}

static struct node link_to(const char *name, const char *to)
{
	struct node n = test_node(name, S_IFLNK | 0777);
	n.attr.link = (uint8_t *)strdup(to);
	n.attr.link_len = n.attr.size = strlen(to);
	return n;
}

/* --- what comes back --------------------------------------------------------------------------------- */

static uint8_t bytes[300000];

/* 0: hole, else a chunk of that seed; 4096 bytes each. */
static struct node sparse_file(const char *name, const unsigned *pieces, size_t count)
{
	struct node n = test_node(name, S_IFREG | 0600);
	n.content.parts = calloc(count, sizeof *n.content.parts);
	for (size_t i = 0; i < count; i++) {
		struct content_part *p = &n.content.parts[i];
		p->kind = pieces[i] ? CONTENT_CHUNK : CONTENT_HOLE;
		p->length = 4096;
		if (pieces[i]) {
			test_fill(bytes, 4096, pieces[i]);
			p->chunk = test_chunk(&t, bytes, 4096);
		}
	}
	n.content.count = count;
	n.has_content = true;
	n.attr.size = count * 4096;
	return n;
}

static void holds_sparse(const char *name, const unsigned *pieces, size_t count)
{
	uint8_t *want = calloc(count, 4096);
	size_t data = 0;
	for (size_t i = 0; i < count; i++) {
		if (pieces[i])
			test_fill(want + i * 4096, 4096, pieces[i]);
		data += pieces[i] != 0;
	}
	holds(name, want, count * 4096);
	free(want);
	struct stat st = look(name);
	assert_true((uint64_t)st.st_blocks * 512 <= data * 4096);
}

static const unsigned holes_around[] = { 0, 0, 11, 12, 0, 13, 0, 0 }, only_hole[] = { 0, 0 }, hole_before[] = { 0, 14 }, hole_behind[] = { 15, 0 };

static void content_of_every_shape(void **state)
{
	(void)state;
	test_fill(bytes, sizeof bytes, 1);
	struct node nodes[] = {
		test_file(&t, "empty", "", 0, 1, false),
		test_file(&t, "large", bytes, sizeof bytes, 70000, false),
		test_file(&t, "paged", bytes, 200000, 1000, true),
		test_file(&t, "small", bytes, 1000, 1000, false),
	};
	struct node inner = test_file(&t, "same", bytes, 1000, 1000, false);
	struct id sub = test_tree(&t, &inner, 1);
	struct node all[] = {
		nodes[0], nodes[1], nodes[2], nodes[3],
		sparse_file("sparse-all", only_hole, 2),
		sparse_file("sparse-around", holes_around, 8),
		sparse_file("sparse-before", hole_before, 2),
		sparse_file("sparse-behind", hole_behind, 2),
		test_folder("sub", &sub),
	};
	commit(all, 9);
	options.verify = true;
	restore_quietly();
	test_fill(bytes, sizeof bytes, 1);
	holds("empty", "", 0);
	holds("large", bytes, sizeof bytes);
	holds("paged", bytes, 200000);
	holds("small", bytes, 1000);
	holds("sub/same", bytes, 1000);
	holds_sparse("sparse-all", only_hole, 2);
	holds_sparse("sparse-around", holes_around, 8);
	holds_sparse("sparse-before", hole_before, 2);
	holds_sparse("sparse-behind", hole_behind, 2);
	assert_int_equal(result.files, 9);
	assert_int_equal(result.verified, 9);
	assert_int_equal(result.folders, 1);
	assert_true(is_clean());
}

static void attributes(void **state)
{
	(void)state;
	struct node file = text_file("file", "text"), other = text_file("owned", "text"), link = link_to("link", "nowhere");
	file.attr.mode = S_IFREG | 0440;
	file.attr.mtime = (struct time_ns){ -5, 999999999 };
	attr_add_xattr(&file.attr, "user.colour", "blue", 4);
	other.attr.mode = S_IFREG | 06755;
	other.attr.uid = 12345;
	other.attr.gid = 23456;
	link.attr.mtime = (struct time_ns){ 1000000000, 1 };
	struct node inner[] = { file, link, other };
	struct id sub = test_tree(&t, inner, 3);
	struct node folder = test_folder("read-only", &sub), above;
	folder.attr.mode = S_IFDIR | 0555;
	folder.attr.mtime = (struct time_ns){ 1111111111, 222 };
	struct id upper = test_tree(&t, &folder, 1);
	above = test_folder("above", &upper);
	above.attr.mode = S_IFDIR | 01777;
	above.attr.mtime = (struct time_ns){ 1222222222, 333 };
	commit(&above, 1);
	assert_int_equal(restore_path(""), 0);
	struct stat st = look("above/read-only/file");
	assert_int_equal(st.st_mode, S_IFREG | 0440);
	assert_int_equal(st.st_mtim.tv_sec, -5);
	assert_int_equal(st.st_mtim.tv_nsec, 999999999);
	char value[8];
	assert_int_equal(getxattr(at("above/read-only/file"), "user.colour", value, sizeof value), 4);
	st = look("above/read-only/link");
	assert_int_equal(st.st_mtim.tv_sec, 1000000000);
	st = look("above/read-only");
	assert_int_equal(st.st_mode, S_IFDIR | 0555);
	assert_int_equal(st.st_mtim.tv_sec, 1111111111);
	assert_int_equal(st.st_mtim.tv_nsec, 222);
	st = look("above");
	assert_int_equal(st.st_mode, S_IFDIR | 01777);
	assert_int_equal(st.st_mtim.tv_sec, 1222222222);
	if (geteuid() == 0) {
		assert_int_equal(warning_count, 0);
		st = look("above/read-only/owned");
		assert_int_equal(st.st_mode, S_IFREG | 06755);
		assert_int_equal(st.st_uid, 12345);
		assert_int_equal(st.st_gid, 23456);
	}
}

static void hard_links_and_specials(void **state)
{
	(void)state;
	struct node a1 = text_file("a", "linked"), b1 = text_file("b", "linked"), s1 = link_to("s", "x"), s2 = link_to("t", "x");
	struct node fifo = test_node("fifo", S_IFIFO | 0640), sock = test_node("sock", S_IFSOCK | 0600);
	a1.attr.nlink = b1.attr.nlink = s1.attr.nlink = s2.attr.nlink = 2;
	a1.attr.ino = b1.attr.ino = 77;
	s1.attr.ino = s2.attr.ino = 78;
	a1.attr.dev = b1.attr.dev = s1.attr.dev = s2.attr.dev = 5;
	struct id one = test_tree(&t, &a1, 1);
	struct node two_nodes[] = { b1, s1 };
	struct id two = test_tree(&t, two_nodes, 2);
	struct node one_folder = test_folder("one", &one), two_folder = test_folder("two", &two);
	one_folder.attr.mode = two_folder.attr.mode = S_IFDIR | 0555;
	one_folder.attr.mtime = two_folder.attr.mtime = (struct time_ns){ 1500000000, 0 };
	struct node device = test_node("device", S_IFCHR | 0620);
	device.attr.rdev = makedev(1, 3);
	bool root = geteuid() == 0;
	struct node all[] = { fifo, one_folder, sock, s2, two_folder, device }; /* "t" < "two" */
	if (root) {
		struct node sorted[] = { device, fifo, one_folder, sock, s2, two_folder };
		commit(sorted, 6);
	} else {
		node_done(&device);
		commit(all, 5);
	}
	restore_quietly();
	assert_int_equal(look("one/a").st_ino, look("two/b").st_ino);
	assert_int_equal(look("one/a").st_nlink, 2);
	assert_int_equal(look("two/s").st_ino, look("t").st_ino);
	assert_int_equal(look("two").st_mtim.tv_sec, 1500000000);
	assert_int_equal(look("two").st_mode, S_IFDIR | 0555);
	assert_int_equal(look("fifo").st_mode, S_IFIFO | 0640);
	assert_int_equal(look("sock").st_mode, S_IFSOCK | 0600);
	assert_int_equal(result.hard_links, 2);
	if (root)
		assert_int_equal(look("device").st_rdev, makedev(1, 3));
	/* Again: everything is there already. */
	restore_quietly();
	assert_int_equal(result.hard_links, 0);
	assert_int_equal(result.files, 0);
	assert_int_equal(result.replaced, 0);
	assert_int_equal(result.unchanged, root ? 7 : 6);
	assert_int_equal(look("two").st_mtim.tv_sec, 1500000000);
	/* A copy in place of the second name becomes that name again. */
	chmod(at("two"), 0755);
	unlink(at("two/b"));
	put(at("two/b"), "linked");
	set_time(at("two/b"), 1700000000);
	restore_quietly();
	assert_int_equal(look("one/a").st_ino, look("two/b").st_ino);
	assert_true(is_clean());
}

static void one_inode_two_contents(void **state)
{
	(void)state;
	struct node a = text_file("a", "first"), b = text_file("b", "other");
	a.attr.nlink = b.attr.nlink = 2;
	a.attr.ino = b.attr.ino = 9;
	struct node all[] = { a, b };
	commit(all, 2);
	assert_int_equal(restore_path(""), 0);
	holds("a", "first", 5);
	holds("b", "other", 5);
	assert_true(warned("b: in the snapshot it is the same file as a"));
}

static void more_parts_than_a_batch(void **state)
{
	(void)state;
	/* Every other piece a hole, so that nothing can be joined. */
	test_fill(bytes, 64, 3);
	struct id chunk = test_chunk(&t, bytes, 16), last = test_chunk(&t, bytes + 16, 16);
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	TEST_OK(seq_writer_new(&w, SEQ_CONTENT, writer_put_page, &t.slot, &err));
	for (unsigned i = 0; i < MANY_PARTS * 2; i++) {
		struct content_part p = { i & 1 ? CONTENT_CHUNK : CONTENT_HOLE, 16, i == MANY_PARTS * 2 - 1 ? last : chunk };
		CLEAN_BUF struct buf record = BUF_INIT;
		content_part_encode(&record, &p);
		TEST_OK(seq_add(w, record.data, record.len, NULL, 0, 16, &err));
	}
	struct node n = test_node("huge", S_IFREG | 0644);
	n.attr.size = (uint64_t)MANY_PARTS * 32;
	n.has_content = n.content.paged = true;
	TEST_OK(seq_finish(w, &n.content.root, &err));
	struct node all[] = { text_file("a", "before"), n, text_file("z", "after") };
	commit(all, 3);
	options.verify = true;
	restore_quietly();
	uint8_t *want = calloc(MANY_PARTS, 32);
	for (unsigned i = 0; i < MANY_PARTS; i++)
		memcpy(want + i * 32 + 16, i == MANY_PARTS - 1 ? bytes + 16 : bytes, 16);
	holds("huge", want, (size_t)MANY_PARTS * 32);
	free(want);
	assert_int_equal(look("huge").st_mtim.tv_sec, 1700000000);
	assert_int_equal(result.files, 3);
	assert_int_equal(result.verified, 3);
	/* In place of another. */
	put(at("huge"), "something else");
	restore_quietly();
	assert_int_equal(result.replaced, 1);
	assert_int_equal(result.unchanged, 2);
	assert_int_equal(result.verified, 3);
	assert_int_equal(look("huge").st_size, (off_t)MANY_PARTS * 32);
	assert_true(is_clean());
}

static void more_files_than_a_batch(void **state)
{
	(void)state;
	struct node *nodes = calloc(MANY_FILES, sizeof *nodes);
	for (unsigned i = 0; i < MANY_FILES; i++) {
		char name[32];
		snprintf(name, sizeof name, "f%06u", i);
		nodes[i] = text_file(name, i % 3 ? name : "");
	}
	struct id sub = test_tree(&t, nodes, MANY_FILES);
	free(nodes);
	struct node folder = test_folder("many", &sub);
	commit(&folder, 1);
	restore_quietly();
	assert_int_equal(result.files, MANY_FILES);
	holds("many/f032997", "", 0);
	holds("many/f032998", "f032998", 7);
	assert_int_equal(look("many").st_mtim.tv_sec, 1700000000);
}

/* --- where it comes ---------------------------------------------------------------------------------------- */

static void commit_small_tree(void)
{
	struct node file = text_file("passwd", "root");
	struct id etc = test_tree(&t, &file, 1);
	struct node all[] = { test_folder("etc", &etc), text_file("top", "top") };
	all[0].attr.mode = S_IFDIR | 0751;
	commit(all, 2);
}

static void paths(void **state)
{
	(void)state;
	commit_small_tree();
	assert_int_equal(restore_path("/etc/"), 0);
	holds("passwd", "root", 4);
	assert_int_equal(look("").st_mode & 07777, 0751); /* we made it, so it is what it stands for */
	assert_int_equal(restore_path("etc/passwd"), 0);
	assert_int_equal(result.unchanged, 1);
	assert_int_equal(restore_path("/top"), 0);
	holds("top", "top", 3);
	assert_false(is_there("etc"));
	assert_int_equal(restore_path("/no"), -1);
	chmod(target, 0700);
	assert_int_equal(restore_path("/etc"), 0);
	assert_int_equal(look("").st_mode & 07777, 0700); /* it was there: nobody asked us to change it */
}

static void dry_run(void **state)
{
	(void)state;
	commit_small_tree();
	options.dry_run = true;
	restore_quietly();
	assert_int_equal(result.files, 2);
	assert_int_equal(result.folders, 1);
	assert_int_equal(result.bytes, 7);
	assert_int_equal(access(target, F_OK), -1);
	mkdir(target, 0755);
	put(at("top"), "other");
	restore_quietly();
	assert_int_equal(result.replaced, 1);
	assert_false(is_there("etc"));
	holds("top", "other", 5);
}

static enum restore_choice only_passwd(void *cookie, const char *path, size_t len, bool is_dir, bool within)
{
	(void)cookie;
	(void)within;
	if (len == 11 && memcmp(path, "/etc/passwd", 11) == 0)
		return RESTORE_TAKE;
	return is_dir ? RESTORE_LOOK : RESTORE_SKIP;
}

static void choosing(void **state)
{
	(void)state;
	struct node file = text_file("passwd", "root"), other = text_file("other", "other");
	struct id etc = test_tree(&t, &file, 1), var = test_tree(&t, &other, 1);
	struct node all[] = { test_folder("etc", &etc), text_file("top", "top"), test_folder("var", &var) };
	commit(all, 3);
	options.choose = only_passwd;
	restore_quietly();
	holds("etc/passwd", "root", 4);
	assert_int_equal(look("etc").st_mtim.tv_sec, 1700000000);
	assert_false(is_there("top"));
	assert_false(is_there("var"));
	assert_int_equal(result.folders, 1);
}

/* --- what is there already ------------------------------------------------------------------------------------- */

static void prepare_old(void)
{
	struct node all[] = { text_file("equal", "1234"), text_file("newer", "1234"), text_file("older", "1234") };
	commit(all, 3);
	mkdir(target, 0755);
	put(at("equal"), "4321"); /* same size and time: taken for equal */
	set_time(at("equal"), 1700000000);
	chmod(at("equal"), 0600);
	struct timespec times[2] = { { 1700000000, 5 }, { 1700000000, 5 } };
	utimensat(AT_FDCWD, at("equal"), times, 0);
	put(at("newer"), "new");
	set_time(at("newer"), 1800000000);
	put(at("older"), "old");
	set_time(at("older"), 1600000000);
}

static void overwrite_if_changed(void **state)
{
	(void)state;
	prepare_old();
	restore_quietly();
	holds("equal", "4321", 4);
	assert_int_equal(look("equal").st_mode & 07777, 0644); /* corrected all the same */
	holds("newer", "1234", 4);
	holds("older", "1234", 4);
	assert_int_equal(result.unchanged, 1);
	assert_int_equal(result.replaced, 2);
	/* Verifying sees what size and time do not show. */
	options.verify = true;
	assert_int_equal(restore_path(""), 0);
	assert_int_equal(result.unchanged, 3);
	assert_int_equal(result.verified, 2);
	assert_true(warned("equal: not verified"));
}

static void overwrite_always(void **state)
{
	(void)state;
	prepare_old();
	options.overwrite = RESTORE_ALWAYS;
	restore_quietly();
	holds("equal", "1234", 4);
	holds("newer", "1234", 4);
	holds("older", "1234", 4);
	assert_int_equal(result.replaced, 3);
	assert_true(is_clean());
}

static void overwrite_if_newer(void **state)
{
	(void)state;
	prepare_old();
	options.overwrite = RESTORE_IF_NEWER;
	restore_quietly();
	holds("equal", "4321", 4);
	holds("newer", "new", 3);
	holds("older", "1234", 4);
	assert_int_equal(result.kept, 2);
}

static void overwrite_never(void **state)
{
	(void)state;
	prepare_old();
	options.overwrite = RESTORE_NEVER;
	restore_quietly();
	holds("older", "old", 3);
	assert_int_equal(result.kept, 3);
}

static void other_types_in_the_way(void **state)
{
	(void)state;
	struct node inner = text_file("inner", "inner");
	struct id sub = test_tree(&t, &inner, 1);
	struct node all[] = { text_file("a", "file"), text_file("b", "file"), text_file("c", "file"), test_folder("d", &sub), link_to("e", "there"),
		              test_node("f", S_IFIFO | 0600) };
	commit(all, 6);
	mkdir(target, 0755);
	assert_int_equal(symlink(outside, at("a")), 0);
	mkdir(at("b"), 0755);
	mkdir(at("c"), 0755);
	put(at("c/keep"), "me");
	put(at("d"), "a file where a folder belongs");
	assert_int_equal(symlink("elsewhere", at("e")), 0);
	put(at("f"), "a file where a fifo belongs");
	assert_int_equal(restore_path(""), 0);
	holds("a", "file", 4);
	assert_true(S_ISREG(look("a").st_mode));
	holds("b", "file", 4);
	holds("c/keep", "me", 2);
	assert_int_equal(result.failed, 1);
	assert_int_equal(warning_count, 1);
	assert_true(warned("c: ") && warned("not empty"));
	holds("d/inner", "inner", 5);
	char text[16];
	assert_int_equal(readlink(at("e"), text, sizeof text), 5);
	assert_true(S_ISFIFO(look("f").st_mode));
	assert_true(is_clean());
}

static bool outside_is_untouched(void)
{
	char path[200];
	struct stat st;
	snprintf(path, sizeof path, "%s/secret", outside);
	if (stat(path, &st) < 0 || st.st_size != 6 || st.st_mtim.tv_sec != 1234567890)
		return false;
	int count = 0;
	CLEAN_DIR DIR *d = opendir(outside);
	while (readdir(d))
		count++;
	return count == 3;
}

/* Symlinks planted in the target lead out of it. None is followed. */
static void planted_symlinks(void **state)
{
	(void)state;
	char path[200];
	snprintf(path, sizeof path, "%s/secret", outside);
	put(path, "secret");
	set_time(path, 1234567890);
	struct node f[] = { text_file("secret", "overwritten"), text_file("x", "new") };
	struct id sub = test_tree(&t, f, 2);
	struct node g[] = { text_file("x", "new") };
	struct id deep = test_tree(&t, g, 1);
	struct node deep_folder = test_folder("deep", &deep);
	struct id sub2 = test_tree(&t, &deep_folder, 1);
	struct node all[] = { text_file("file", "mine"), test_folder("one", &sub), test_folder("two", &sub2) };
	commit(all, 3);
	for (enum restore_overwrite how = RESTORE_IF_CHANGED; how <= RESTORE_NEVER; how++) {
		char command[200];
		snprintf(command, sizeof command, "rm -rf '%s'", target);
		assert_int_equal(system(command), 0);
		mkdir(target, 0755);
		assert_int_equal(symlink(outside, at("one")), 0);
		assert_int_equal(symlink(path, at("file")), 0);
		mkdir(at("two"), 0755);
		assert_int_equal(symlink("../../outside", at("two/deep")), 0);
		options.overwrite = how;
		assert_int_equal(restore_path(""), 0);
		assert_true(outside_is_untouched());
		assert_true(is_clean());
		if (how == RESTORE_ALWAYS)
			holds("one/secret", "overwritten", 11);
		if (how == RESTORE_NEVER)
			assert_true(warned("something that is no folder stands there"));
	}
}

/* A symlink that the snapshot itself brings is not followed by what comes after it, nor by another name of it. */
static void hostile_snapshot(void **state)
{
	(void)state;
	char path[200];
	snprintf(path, sizeof path, "%s/secret", outside);
	put(path, "secret");
	set_time(path, 1234567890);
	struct node a = link_to("a", outside), b = link_to("b", outside);
	a.attr.nlink = b.attr.nlink = 2;
	a.attr.ino = b.attr.ino = 4;
	struct node c = link_to("c", path), empty = test_node("d", S_IFLNK | 0777);
	struct node long_name = text_file("f", "x"), huge = test_node("g", S_IFREG | 0644), none = test_node("h", S_IFREG | 0644);
	long_name.name = realloc(long_name.name, 1001);
	memset(long_name.name, 'f', 1000);
	long_name.name[1000] = 0;
	long_name.name_len = 1000;
	huge.attr.size = INT64_MAX;
	huge.has_content = true;
	huge.content.parts = calloc(1, sizeof *huge.content.parts);
	huge.content.count = 1;
	huge.content.parts[0] = (struct content_part){ .kind = CONTENT_HOLE, .length = INT64_MAX };
	none.attr.size = 100;
	struct node all[] = { a, b, c, empty, long_name, huge, none };
	commit(all, 7);
	for (int i = 0; i < 2; i++) {
		options.overwrite = RESTORE_ALWAYS;
		assert_int_equal(restore_path(""), 0);
		assert_true(outside_is_untouched());
		assert_true(S_ISLNK(look("b").st_mode));
		assert_true(warned("d: ") && warned("fff: its name has 1000 bytes") && warned("g: ") && warned("h: its content is not in the snapshot"));
		assert_false(is_there("d"));
	}
}

/* --- damage -------------------------------------------------------------------------------------------------------- */

/* Turns a byte in the middle of every data pack's first block, found by its size. */
static void damage_largest_pack(void)
{
	char command[300], path[400] = "";
	snprintf(command, sizeof command, "find '%s/packs' -type f -size +200k", t.location);
	FILE *f = popen(command, "r");
	assert_non_null(f);
	assert_non_null(fgets(path, sizeof path, f));
	pclose(f);
	path[strcspn(path, "\n")] = 0;
	chmod(path, 0600);
	int fd = open(path, O_RDWR);
	uint8_t byte;
	assert_int_equal(pread(fd, &byte, 1, 1000), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, 1000), 1);
	close(fd);
	test_repo_open(&t);
}

static void damaged_chunks(void **state)
{
	(void)state;
	static uint8_t large[700000];
	test_fill(large, sizeof large, 9);
	struct node partly = test_file(&t, "partly", large, sizeof large, 350000, false); /* two blocks of their own; the first is hit */
	struct node wholly = test_file(&t, "wholly", large, 350000, 350000, false);
	struct node fine = text_file("fine", "fine");
	struct node all[] = { fine, partly, wholly };
	commit(all, 3);
	damage_largest_pack();
	options.verify = true;
	assert_int_equal(restore_path(""), 0);
	holds("fine", "fine", 4);
	assert_int_equal(result.damaged, 2);
	assert_true(warned("partly: damaged in the repository; zeros stand for what is lost"));
	assert_true(warned("wholly: nothing of its content"));
	assert_false(is_there("wholly"));
	memset(large, 0, 350000);
	holds("partly", large, sizeof large);
	assert_true(look("partly").st_mtim.tv_sec > 1700000000); /* not to be taken for whole */
	assert_int_equal(result.verified, 1);
	/* What is there is not given up for something damaged. */
	put(at("partly"), "old");
	put(at("wholly"), "old");
	assert_int_equal(restore_path(""), 0);
	holds("partly", "old", 3);
	holds("wholly", "old", 3);
	assert_true(warned("left as it was"));
	assert_true(is_clean());
}

static void chunks_that_are_nowhere(void **state)
{
	(void)state;
	struct node gone = text_file("gone", "gone"), half = sparse_file("half", holes_around, 8), linked = text_file("linked", "gone");
	memset(gone.content.parts[0].chunk.b, 7, ID_SIZE);
	memset(half.content.parts[3].chunk.b, 7, ID_SIZE);
	memset(linked.content.parts[0].chunk.b, 7, ID_SIZE);
	struct node second = { 0 };
	linked.attr.nlink = 2;
	linked.attr.ino = 3;
	node_copy(&second, &linked);
	second.name[5] = 'e';
	struct node all[] = { gone, half, linked, second };
	commit(all, 4);
	assert_int_equal(restore_path(""), 0);
	assert_int_equal(result.damaged, 3);
	assert_int_equal(result.failed, 1);
	assert_true(warned("linkee: the first name of this file") && warned("is in no pack"));
	assert_false(is_there("gone"));
	assert_false(is_there("linkee"));
	assert_int_equal(look("half").st_size, 8 * 4096);
}

/* --- stopping, and not being root --------------------------------------------------------------------------------- */

static void stopped(void **state)
{
	(void)state;
	commit_small_tree();
	atomic_bool stop = true;
	struct progress progress;
	struct error err = { 0 };
	progress_init(&progress, &stop);
	options.progress = &progress;
	assert_int_equal(restore_files(t.repo, &snapshot, "", &options, &result, &err), -1);
	assert_int_equal(err.kind, ERR_CANCELLED);
	assert_true(is_clean());
	atomic_store(&stop, false);
	restore_quietly();
	assert_int_equal(atomic_load(&progress.files), 2);
	progress_done(&progress);
}

static void full_disk(void **state)
{
	(void)state;
	test_fill(bytes, sizeof bytes, 21);
	struct node all[] = { test_file(&t, "large", bytes, sizeof bytes, 50000, false) };
	commit(all, 1);
	char command[300];
	mkdir(target, 0755);
	snprintf(command, sizeof command, "mount -t tmpfs -o size=128k none '%s' 2>/dev/null", target);
	if (geteuid() != 0 || system(command) != 0) {
		print_message("skipped: a small tmpfs cannot be mounted here\n");
		skip();
	}
	struct error err = { 0 };
	int done = restore_files(t.repo, &snapshot, "", &options, &result, &err);
	bool clean = is_clean() && !is_there("large");
	snprintf(command, sizeof command, "umount '%s'", target);
	assert_int_equal(system(command), 0);
	assert_int_equal(done, -1);
	assert_int_equal(err.kind, ERR_NO_SPACE);
	assert_non_null(strstr(err.text, "large"));
	assert_true(clean);
}

static void as_nobody(void)
{
	if (setgid(65534) < 0 || setuid(65534) < 0)
		_exit(99);
	struct error err = { 0 };
	if (restore_files(t.repo, &snapshot, "", &options, &result, &err) < 0)
		_exit(98);
	struct stat st = look("dir/file");
	bool fine = st.st_uid == 65534 && (st.st_mode & 07777) == 0755; /* no set-user-id for another owner */
	fine &= warned("owner of 2 entries") && warned("permissions of 1 entry") && warned("(this needs root)") && warned("device: ");
	fine &= result.failed == 1 && look("dir").st_mtim.tv_sec == 1700000000 && (look("dir").st_mode & 07777) == 0555;
	/* Once more into the read-only folder that is there now. */
	chmod(at("dir"), 0755);
	unlink(at("dir/file"));
	chmod(at("dir"), 0555);
	warning_count = 0;
	fine &= restore_files(t.repo, &snapshot, "", &options, &result, &err) == 0 && is_there("dir/file") && (look("dir").st_mode & 07777) == 0555;
	_exit(fine ? 0 : 1);
}

static void without_root(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: not root, so there is nobody to become\n");
		skip();
	}
	struct node file = text_file("file", "text");
	file.attr.mode = S_IFREG | 04755;
	struct id sub = test_tree(&t, &file, 1);
	struct node device = test_node("device", S_IFBLK | 0600), folder = test_folder("dir", &sub);
	device.attr.rdev = makedev(7, 0);
	folder.attr.mode = S_IFDIR | 0555;
	struct node all[] = { device, folder };
	commit(all, 2);
	char command[200];
	mkdir(target, 0777);
	chmod(target, 0777);
	snprintf(command, sizeof command, "chmod -R a+rX '%s'", t.root);
	assert_int_equal(system(command), 0);
	chmod(target, 0777);
	pid_t child = fork();
	if (child == 0)
		as_nobody();
	int status;
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		TEST(content_of_every_shape), TEST(attributes), TEST(hard_links_and_specials), TEST(one_inode_two_contents), TEST(more_parts_than_a_batch),
		TEST(more_files_than_a_batch), TEST(paths), TEST(dry_run), TEST(choosing), TEST(overwrite_if_changed), TEST(overwrite_always),
		TEST(overwrite_if_newer), TEST(overwrite_never), TEST(other_types_in_the_way), TEST(planted_symlinks), TEST(hostile_snapshot),
		TEST(damaged_chunks), TEST(chunks_that_are_nowhere), TEST(stopped), TEST(full_disk), TEST(without_root),
	};
	return cmocka_run_group_tests_name("restore files", tests, NULL, NULL);
}
