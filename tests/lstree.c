/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * lstree DIR [plain]: one line for each entry below DIR, sorted by name, with everything that a restore must bring back: type, mode, owner,
 * size, time in ns, device numbers, hard links (by the first name of the same inode), flags, extended attributes, where the holes are, a sum of the content.
 * Two trees are equal when their lists are. Written apart from the program that it tests: it shares no code with it.
 * plain leaves out what a filesystem may not keep (flags, holes) and what only root can set (owner, attributes but user.*).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static bool plain;

static void die(const char *what)
{
	fprintf(stderr, "lstree: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void print_bytes(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)p[i];
		if (c > ' ' && c < 0x7f && c != '\\')
			putchar(c);
		else
			printf("\\%02x", c);
	}
}

/* FNV-1a over 64-bit words and the rest's bytes: any change of one bit changes it. */
static uint64_t add_sum(uint64_t sum, const uint8_t *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word;
		memcpy(&word, p, 8);
		sum = (sum ^ word) * 0x100000001b3u;
		sum ^= sum >> 29;
	}
	for (; len; p++, len--)
		sum = (sum ^ *p) * 0x100000001b3u;
	return sum;
}

/* --- hard links ----------------------------------------------------------------------------------------- */

struct seen {
	dev_t dev;
	ino_t ino;
	unsigned number;
};
static struct seen *seen;
static unsigned seen_count;

/* The same number for every name of one inode, in the order in which they are found. */
static unsigned link_group(const struct stat *st)
{
	for (unsigned i = 0; i < seen_count; i++)
		if (seen[i].dev == st->st_dev && seen[i].ino == st->st_ino)
			return seen[i].number;
	seen = reallocarray(seen, seen_count + 1, sizeof *seen);
	if (!seen)
		die("memory");
	seen[seen_count] = (struct seen){ st->st_dev, st->st_ino, seen_count + 1 };
	return seen[seen_count++].number;
}

/* --- content ---------------------------------------------------------------------------------------------- */

static void print_content(int fd, off_t size)
{
	static uint8_t data[1 << 18];
	uint64_t sum = 0xcbf29ce484222325u;
	off_t at = 0;
	printf(" data");
	while (at < size) {
		off_t from = lseek(fd, at, SEEK_DATA);
		if (from < 0 && errno == ENXIO)
			break;
		if (from < 0)
			die("SEEK_DATA");
		off_t to = lseek(fd, from, SEEK_HOLE);
		if (to < 0)
			die("SEEK_HOLE");
		if (!plain)
			printf(" %lld-%lld", (long long)from, (long long)to);
		for (at = from; at < to;) {
			size_t want = (size_t)(to - at) < sizeof data ? (size_t)(to - at) : sizeof data;
			ssize_t n = pread(fd, data, want, at);
			if (n <= 0)
				die("read");
			/* Zeros do not count, so that the sum does not depend on where the holes are; the place of the others does. */
			for (ssize_t i = 0; i < n; i += 4096) {
				static const uint8_t zeros[4096];
				size_t len = n - i < 4096 ? (size_t)(n - i) : 4096;
				uint64_t place = (uint64_t)(at + i);
				if (memcmp(data + i, zeros, len) != 0)
					sum = add_sum(add_sum(sum, (uint8_t *)&place, 8), data + i, len);
			}
			at += n;
		}
	}
	printf(" sum %016llx", (unsigned long long)sum);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_xattrs(const char *proc_path)
{
	static char list[65536], value[65536];
	ssize_t len = llistxattr(proc_path, list, sizeof list);
	char *names[1000];
	size_t count = 0;
	for (char *p = list; len > 0 && p < list + len && count < 1000; p += strlen(p) + 1)
		names[count++] = p;
	qsort(names, count, sizeof *names, compare_names);
	for (size_t i = 0; i < count; i++) {
		if (plain && strncmp(names[i], "user.", 5) != 0)
			continue;
		ssize_t n = lgetxattr(proc_path, names[i], value, sizeof value);
		printf(" xattr ");
		print_bytes(names[i], strlen(names[i]));
		printf("=%zd:%016llx", n, (unsigned long long)add_sum(0xcbf29ce484222325u, (uint8_t *)value, n > 0 ? (size_t)n : 0));
	}
}

/* Only what chattr sets, not what the filesystem does for itself (extents, inline data, indexed folders). */
#define FLAGS (FS_SYNC_FL | FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_DIRSYNC_FL)

static void print_flags(int fd)
{
	int flags = 0;
	if (!plain && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && flags & FLAGS)
		printf(" flags %x", (unsigned)(flags & FLAGS));
}

static void print_metadata(const struct stat *st)
{
	printf(" %06o", st->st_mode);
	if (!plain)
		printf(" %u:%u", st->st_uid, st->st_gid);
	if (!S_ISDIR(st->st_mode))
		printf(" size %lld", (long long)st->st_size);
	printf(" mtime %lld.%09ld", (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		printf(" device %u:%u", major(st->st_rdev), minor(st->st_rdev));
	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1)
		printf(" links %lu group %u", (unsigned long)st->st_nlink, link_group(st));
}

static void list(int dir, const char *path);

static void print_entry(int dir, const char *name, const char *path)
{
	struct stat st;
	char proc_path[300], link[8192];
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		die(path);
	print_bytes(path, strlen(path));
	print_metadata(&st);
	snprintf(proc_path, sizeof proc_path, "/proc/self/fd/%d/%s", dir, name);
	if (S_ISLNK(st.st_mode)) {
		ssize_t n = readlinkat(dir, name, link, sizeof link);
		printf(" -> ");
		print_bytes(link, n > 0 ? (size_t)n : 0);
	}
	print_xattrs(proc_path);
	int fd = -1;
	if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
		fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			die(path);
		print_flags(fd);
	}
	if (S_ISREG(st.st_mode))
		print_content(fd, st.st_size);
	putchar('\n');
	if (S_ISDIR(st.st_mode))
		list(fd, path);
	else if (fd >= 0)
		close(fd);
}

/* Takes the descriptor over. */
static void list(int dir, const char *path)
{
	DIR *d = fdopendir(dir);
	char **names = NULL;
	size_t count = 0;
	if (!d)
		die(path);
	for (struct dirent *e; (e = readdir(d));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		names = reallocarray(names, count + 1, sizeof *names);
		names[count++] = strdup(e->d_name);
	}
	if (count)
		qsort(names, count, sizeof *names, compare_names);
	for (size_t i = 0; i < count; i++) {
		char *below = NULL;
		if (asprintf(&below, "%s/%s", path, names[i]) < 0)
			die("memory");
		print_entry(dirfd(d), names[i], below);
		free(below);
		free(names[i]);
	}
	free(names);
	closedir(d);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	plain = argc > 2;
	int fd = open(argv[1], O_RDONLY | O_DIRECTORY);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		die(argv[1]);
	printf(".");
	print_metadata(&st);
	putchar('\n');
	list(fd, ".");
	return fflush(stdout) != 0 || ferror(stdout);
}
