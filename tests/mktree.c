/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * mktree DIR SEED: fills the new folder DIR with one of everything that a Linux filesystem can hold, and a random tree, all decided by SEED.
 * What the system or the user's rights do not allow is left out and named on standard output ("left out: ..."); anything else that
 * fails ends the program. lstree lists what came out.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

static uint64_t state;

/* splitmix64 (Steele, Lea, Flood, OOPSLA 2014): any seed will do, also 0. */
static uint64_t next(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static uint64_t below(uint64_t n)
{
	return next() % n;
}

static void die(const char *what)
{
	fprintf(stderr, "mktree: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* True when it worked; false, and named, when it is not allowed or not known here. */
static bool allowed(int result, const char *what)
{
	if (result >= 0)
		return true;
	if (errno != EPERM && errno != EACCES && errno != ENOTSUP && errno != ENOTTY && errno != EINVAL && errno != EOVERFLOW)
		die(what);
	printf("left out: %s: %s\n", what, strerror(errno));
	return false;
}

static void folder(const char *path)
{
	if (mkdir(path, 0755) < 0)
		die(path);
}

/* len bytes at offset; text that compresses, or noise. */
static void fill(int fd, uint64_t offset, uint64_t len, bool noise)
{
	static uint64_t block[8192];
	while (len) {
		size_t n = len < sizeof block ? (size_t)len : sizeof block;
		for (size_t i = 0; i < (n + 7) / 8; i++)
			block[i] = noise ? next() : 0x2065727565687420u + below(7);
		if (pwrite(fd, block, n, (off_t)offset) != (ssize_t)n)
			die("write");
		offset += n;
		len -= n;
	}
}

static int create(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
	if (fd < 0)
		die(path);
	return fd;
}

static void file(const char *path, uint64_t len, bool noise)
{
	int fd = create(path);
	fill(fd, 0, len, noise);
	close(fd);
}

/* --- one of everything ------------------------------------------------------------------------------ */

/* Around every border that something is likely to have: sectors, pages, chunks of 256 KiB to 4 MiB, blocks of 512 KiB. */
static void sizes(void)
{
	static const uint32_t edges[] = { 1, 2, 3, 511, 512, 513, 4095, 4096, 4097, 65535, 65536, 65537, 262143, 262144, 262145, 524287, 524288, 524289,
		                          1048576, 4194303, 4194304, 4194305, 9437201 };
	char path[64];
	folder("sizes");
	file("sizes/0", 0, false);
	for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
		snprintf(path, sizeof path, "sizes/%u", edges[i]);
		file(path, edges[i], i % 2);
	}
}

/* The same content under several names, and the same shifted by one byte. */
static void repeated(void)
{
	uint64_t before = state;
	folder("repeated");
	for (int i = 0; i < 3; i++) {
		char path[64];
		snprintf(path, sizeof path, "repeated/%d", i);
		state = before;
		int fd = create(path);
		fill(fd, i == 2, 6u << 20, true);
		close(fd);
	}
}

static void sparse_file(const char *path, uint64_t size, const uint64_t (*data)[2], size_t count)
{
	int fd = create(path);
	for (size_t i = 0; i < count; i++)
		fill(fd, data[i][0], data[i][1], true);
	if (ftruncate(fd, (off_t)size) < 0)
		die(path);
	close(fd);
}

static void sparse(void)
{
	const uint64_t m = 1u << 20;
	folder("sparse");
	sparse_file("sparse/all", 100 * m, NULL, 0);
	sparse_file("sparse/front", 3 * m, (const uint64_t[][2]){ { 2 * m, m } }, 1);
	sparse_file("sparse/middle", 9 * m, (const uint64_t[][2]){ { 0, m }, { 8 * m, m } }, 2);
	sparse_file("sparse/end", 5 * m + 1, (const uint64_t[][2]){ { 0, 3 * m } }, 1);
	sparse_file("sparse/huge", 1ull << 40, (const uint64_t[][2]){ { 1ull << 39, 65536 } }, 1);
	int fd = create("sparse/comb");
	for (uint64_t i = 0; i < 40; i++)
		fill(fd, i * 2 * 65536, 65536, i % 3);
	close(fd);
}

static void links(void)
{
	char target[4096];
	folder("links");
	folder("links/far");
	file("links/one", 5000, true);
	for (int i = 0; i < 3; i++) {
		char path[64];
		snprintf(path, sizeof path, "links/far/name-%d", i);
		if (link("links/one", path) < 0)
			die(path);
	}
	memset(target, 'x', sizeof target);
	target[4095] = 0;
	for (int i = 100; i < 4095; i += 100)
		target[i] = '/';
	if (symlink("one", "links/relative") < 0 || symlink("/etc/hostname", "links/absolute") < 0 || symlink("no/such/file", "links/dangling") < 0 ||
	    symlink("far", "links/to-folder") < 0 || symlink(".", "links/loop") < 0 || symlink("../../../../outside", "links/outside") < 0 ||
	    symlink("caf\xe9\n", "links/bytes") < 0)
		die("symlink");
	allowed(symlink(target, "links/long"), "a symlink of 4095 bytes");
	if (link("links/dangling", "links/far/hard-linked-symlink") < 0)
		die("hard link to a symlink");
}

static void specials(void)
{
	folder("specials");
	if (mkfifo("specials/fifo", 0640) < 0 || link("specials/fifo", "specials/fifo-again") < 0)
		die("fifo");
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "specials/socket" };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	if (s < 0 || bind(s, (struct sockaddr *)&address, sizeof address) < 0)
		die("socket");
	close(s);
	if (allowed(mknod("specials/null", S_IFCHR | 0666, makedev(1, 3)), "device nodes")) {
		mknod("specials/block", S_IFBLK | 0660, makedev(7, 200));
		mknod("specials/large-numbers", S_IFCHR | 0600, makedev(4000, 1000000));
	}
}

static void attributes(void)
{
	static char value[2000];
	folder("xattrs");
	folder("xattrs/folder");
	file("xattrs/file", 100, false);
	for (size_t i = 0; i < sizeof value; i++)
		value[i] = (char)next();
	if (!allowed(setxattr("xattrs/file", "user.text", "value", 5, 0), "extended attributes"))
		return;
	setxattr("xattrs/file", "user.empty", "", 0, 0);
	setxattr("xattrs/file", "user.binary", value, sizeof value, 0);
	setxattr("xattrs/file", "user.\xc3\xa4\xff", "name of bytes", 13, 0);
	setxattr("xattrs/folder", "user.on a folder", "\0\1\2", 3, 0);
	allowed(setxattr("xattrs/file", "trusted.twofold", "for root", 8, 0), "trusted attributes");
	/* cap_net_raw, permitted and effective: struct vfs_cap_data version 2, little-endian (linux/capability.h). */
	static const uint8_t capability[20] = { 1, 0, 0, 2, 0, 0x20 };
	file("xattrs/capable", 10, false);
	allowed(setxattr("xattrs/capable", "security.capability", capability, sizeof capability, 0), "capabilities");
	/* ACLs as the kernel takes them: version 2, entries of tag, permissions, id (linux/posix_acl_xattr.h):
	 * user::rwx user:1234:r-x group::r-x mask::r-x other::--- */
	static const uint8_t acl[] = { 2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 5, 0, 0xd2, 4, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255,
		                       16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255 };
	file("xattrs/acl", 10, false);
	folder("xattrs/acl-default");
	if (allowed(setxattr("xattrs/acl", "system.posix_acl_access", acl, sizeof acl, 0), "ACLs")) {
		setxattr("xattrs/acl-default", "system.posix_acl_access", acl, sizeof acl, 0);
		setxattr("xattrs/acl-default", "system.posix_acl_default", acl, sizeof acl, 0);
		file("xattrs/acl-default/inherits", 10, false);
	}
}

static void set_flags(const char *path, int flags, const char *what)
{
	int fd = open(path, O_RDONLY);
	int now = 0;
	if (fd < 0)
		die(path);
	if (allowed(ioctl(fd, FS_IOC_GETFLAGS, &now), what)) {
		now |= flags;
		allowed(ioctl(fd, FS_IOC_SETFLAGS, &now), what);
	}
	close(fd);
}

static void flags(void)
{
	folder("flags");
	folder("flags/folder");
	file("flags/nodump", 10, false);
	file("flags/append", 10, false);
	file("flags/immutable", 10, false);
	file("flags/folder/inside", 10, false);
	set_flags("flags/nodump", FS_NODUMP_FL | FS_NOATIME_FL, "flags d, A");
	set_flags("flags/folder", FS_NOATIME_FL | FS_SYNC_FL, "flags A, S of a folder");
	if (geteuid() == 0) {
		set_flags("flags/append", FS_APPEND_FL, "flag a");
		set_flags("flags/immutable", FS_IMMUTABLE_FL, "flag i");
	}
}

static void names(void)
{
	static const char *const list[] = { "caf\xe9", "\xff\xfe\xfd", "new\nline", "tab\there", " leading", "trailing ", "-dash", "--", "quote\"'`", "back\\slash",
		                            "star*?[a-z]{b}", "...", "..x", ".hidden", "\x01\x1b[31m\x7f", "gr\xc3\xbc\xc3\x9f", "\xf0\x9f\x98\x80", "e\xcc\x81",
		                            "\xc3\xa9", "$HOME", "a:b", "#comment", "!x", "con", "%s%n" };
	char path[512];
	folder("names");
	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		snprintf(path, sizeof path, "names/%s", list[i]);
		if (i % 4 == 3)
			folder(path);
		else
			file(path, i, false);
	}
	memcpy(path, "names/", 6);
	memset(path + 6, 'L', 255);
	path[6 + 255] = 0;
	file(path, 7, false);
	/* Every byte that a name may hold. */
	char every[300] = "names/";
	size_t at = 6;
	for (int c = 1; c < 256; c++)
		if (c != '/')
			every[at++] = (char)c;
	every[at] = 0;
	file(every, 3, false);
}

static void deep(void)
{
	int before = open(".", O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 100; i++) {
		char name[32];
		snprintf(name, sizeof name, "deep-%03d-and-then", i);
		folder(name);
		if (chdir(name) < 0)
			die(name);
	}
	file("bottom", 3, false);
	if (fchdir(before) < 0)
		die("fchdir");
	close(before);
}

static void many(void)
{
	char path[64];
	folder("many");
	folder("empty");
	folder("empty/also-empty");
	for (int i = 0; i < 1500; i++) {
		snprintf(path, sizeof path, "many/%d", i);
		file(path, below(200), i % 2);
	}
}

/* --- the random part --------------------------------------------------------------------------------- */

static void random_name(char *ret, size_t max)
{
	size_t len = 1 + below(below(10) ? 12 : max);
	for (size_t i = 0; i < len; i++)
		do
			ret[i] = (char)(below(4) ? 'a' + below(26) : 1 + below(255));
		while (ret[i] == '/');
	ret[len] = 0;
	if (strcmp(ret, ".") == 0 || strcmp(ret, "..") == 0)
		ret[0] = 'x';
}

static void random_tree(int depth)
{
	unsigned entries = 3 + (unsigned)below(12);
	for (unsigned i = 0; i < entries; i++) {
		char name[260];
		struct stat st;
		random_name(name, 200);
		if (lstat(name, &st) == 0)
			continue;
		uint64_t kind = below(20);
		if (kind < 5 && depth) {
			folder(name);
			if (chdir(name) < 0)
				die(name);
			random_tree(depth - 1);
			if (chdir("..") < 0)
				die("..");
		} else if (kind < 7) {
			char target[260];
			random_name(target, 200);
			if (symlink(target, name) < 0)
				die(name);
		} else if (kind == 7) {
			sparse_file(name, below(1u << 22), (const uint64_t[][2]){ { below(16) << 16, below(1u << 20) } }, 1);
		} else {
			file(name, below(10) ? below(9000) : below(3u << 20), below(2));
		}
	}
}

/* --- modes, owners and times, last: nothing is created after them --------------------------------------- */

static void modes(void)
{
	static const unsigned list[] = { 0400, 0600, 0644, 0666, 0755, 04755, 02755, 06711, 01644, 0777 };
	char path[64];
	folder("modes");
	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		snprintf(path, sizeof path, "modes/%o", list[i]);
		file(path, 5, false);
		if (chmod(path, list[i]) < 0)
			die(path);
		snprintf(path, sizeof path, "modes/folder-%o", list[i] | 0500);
		folder(path);
		strcat(path, "/inside");
		file(path, 5, false);
		*strrchr(path, '/') = 0;
		if (chmod(path, list[i] | 0500) < 0)
			die(path);
	}
	if (geteuid() == 0) { /* nobody else could read them */
		file("modes/0", 5, false);
		chmod("modes/0", 0);
		folder("modes/folder-0");
		chmod("modes/folder-0", 0);
	}
}

static void owners(void)
{
	folder("owners");
	for (int i = 0; i < 4; i++) {
		static const unsigned ids[][2] = { { 0, 0 }, { 12345, 54321 }, { 65534, 0 }, { 0xfffffffe, 0xfffffffe } };
		char path[64];
		snprintf(path, sizeof path, "owners/%d", i);
		file(path, 5, false);
		if (!allowed(lchown(path, ids[i][0], ids[i][1]), "other owners"))
			return;
	}
	if (symlink("x", "owners/link") < 0 || lchown("owners/link", 12345, 54321) < 0 || mkdir("owners/setuid", 0755) < 0)
		die("owners");
	file("owners/setuid/program", 5, false); /* a change of owner takes the bit away: it must come after */
	if (chown("owners/setuid/program", 12345, 54321) < 0 || chmod("owners/setuid/program", 06755) < 0)
		die("owners/setuid");
}

static void touch(const char *path, int64_t sec, long ns)
{
	const struct timespec both[2] = { { sec, ns }, { sec, ns } };
	if (utimensat(AT_FDCWD, path, both, AT_SYMLINK_NOFOLLOW) < 0)
		die(path);
}

static void times(void)
{
	static const int64_t list[] = { 0, -1, -2147483648, 2147483647, 2147483648, 4294967296, 9999999999, 1000000000, 15032385535 };
	char path[64];
	folder("times");
	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		snprintf(path, sizeof path, "times/%zu", i);
		file(path, 5, false);
		touch(path, list[i], (long)below(1000000000));
		snprintf(path, sizeof path, "times/link-%zu", i);
		if (symlink("x", path) < 0)
			die(path);
		touch(path, list[i], 999999999);
	}
	folder("times/folder");
	file("times/folder/inside", 5, false);
	touch("times/folder", 123456789, 1);
	touch("specials/fifo", 86400, 5);
	touch("many", 1, 1);
	touch("times", -5, 500000000);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: mktree DIR SEED\n");
		return 2;
	}
	state = strtoull(argv[2], NULL, 10);
	umask(022);
	folder(argv[1]);
	if (chdir(argv[1]) < 0)
		die(argv[1]);
	sizes();
	repeated();
	sparse();
	links();
	specials();
	attributes();
	names();
	deep();
	many();
	folder("random");
	if (chdir("random") < 0)
		die("random");
	random_tree(4);
	if (chdir("..") < 0)
		die("..");
	owners();
	modes();
	times();
	flags();
	return 0;
}
