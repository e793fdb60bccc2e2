/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/ext/test_compare.h"

#include <dirent.h>
#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

int run(const char *fmt, ...)
{
	char command[4096];
	va_list ap;
	va_start(ap, fmt);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): clang 14 does not see va_start here */
	vsnprintf(command, sizeof command, fmt, ap);
	va_end(ap);
	int rc = system(command);
	return rc < 0 || !WIFEXITED(rc) ? -1 : WEXITSTATUS(rc);
}

#define DIFFERS(c, path, ...)                          \
	do {                                           \
		(c)->failures++;                       \
		fprintf(stderr, "%s: ", path);         \
		fprintf(stderr, __VA_ARGS__);          \
		fputc('\n', stderr);                   \
	} while (0)
#define SAME(c, path, what, want, have)                                                                               \
	do {                                                                                                          \
		long long want_ = (long long)(want), have_ = (long long)(have);                                       \
		if (want_ != have_)                                                                                   \
			DIFFERS(c, path, "%s is %lld, read as %lld", what, want_, have_);                             \
	} while (0)

static int read_content(struct compare *c, const struct fs_inode *i, uint8_t *ret)
{
	memset(ret, 0, i->attr.size);
	if (i->content == FS_INLINE)
		memcpy(ret, i->inline_data, i->attr.size);
	for (size_t k = 0; k < i->extent_count; k++) {
		const struct fs_extent *x = &i->extents[k];
		if (x->unwritten || x->logical >= i->attr.size)
			continue;
		uint64_t left = i->attr.size - x->logical;
		if (block_read(c->block, x->physical, ret + x->logical, x->length < left ? x->length : left, NULL) < 0)
			return -1;
	}
	return 0;
}

static void compare_content(struct compare *c, const char *path, const struct fs_inode *i)
{
	SAME(c, path, "kind of content", 1, i->content == FS_EXTENTS || i->content == FS_INLINE);
	CLEAN_FREE uint8_t *have = malloc(i->attr.size + 1);
	CLEAN_FREE uint8_t *want = malloc(i->attr.size + 1);
	CLEAN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t at = 0;
	ssize_t n = 0;
	while (fd >= 0 && (n = read(fd, want + at, i->attr.size + 1 - at)) > 0)
		at += (size_t)n;
	if (fd < 0 || n < 0 || at != i->attr.size)
		DIFFERS(c, path, "cannot read it to compare (%s)", strerror(errno));
	else if (read_content(c, i, have) < 0 || memcmp(have, want, at) != 0)
		DIFFERS(c, path, "content differs");
}

/* What mkfs -d copies, and what every reader may list. */
static bool is_compared(const struct compare *c, const char *name)
{
	if (c->no_xattrs)
		return false;
	return c->exact || strncmp(name, "user.", 5) == 0 || strncmp(name, "system.posix_acl", 16) == 0;
}

static void compare_xattrs(struct compare *c, const char *path, const struct attr *a)
{
	char names[65536];
	static uint8_t value[1 << 16];
	ssize_t len = llistxattr(path, names, sizeof names);
	size_t want = 0, have = 0;
	for (char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
		if (!is_compared(c, name))
			continue;
		want++;
		ssize_t n = lgetxattr(path, name, value, sizeof value);
		bool found = false;
		for (size_t i = 0; i < a->xattr_count; i++)
			if (strcmp(a->xattrs[i].name, name) == 0)
				found = n >= 0 && a->xattrs[i].size == (size_t)n && memcmp(a->xattrs[i].value, value, (size_t)n) == 0;
		if (!found)
			DIFFERS(c, path, "xattr %s differs or is missing", name);
	}
	for (size_t i = 0; i < a->xattr_count; i++)
		have += is_compared(c, a->xattrs[i].name);
	SAME(c, path, "number of xattrs", want, have);
}

static void compare_exact(struct compare *c, const char *path, const struct stat *st, const struct fs_inode *i)
{
	struct statx sx;
	const struct attr *a = &i->attr;
	SAME(c, path, "inode", st->st_ino, a->ino);
	SAME(c, path, "mtime's ns", st->st_mtim.tv_nsec, a->mtime.ns);
	SAME(c, path, "ctime", st->st_ctim.tv_sec, a->ctime.sec);
	SAME(c, path, "ctime's ns", st->st_ctim.tv_nsec, a->ctime.ns);
	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_ALL, &sx) == 0) {
		SAME(c, path, "whether it has a birth time", !!(sx.stx_mask & STATX_BTIME), a->has_btime);
		if (a->has_btime) {
			SAME(c, path, "btime", sx.stx_btime.tv_sec, a->btime.sec);
			SAME(c, path, "btime's ns", sx.stx_btime.tv_nsec, a->btime.ns);
		}
	}
	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
		return;
	CLEAN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	int flags = 0, generation = 0;
	if (fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0)
		SAME(c, path, "flags", (uint32_t)flags & ATTR_FLAGS_KEPT, a->flags);
	if (fd >= 0 && ioctl(fd, FS_IOC_GETVERSION, &generation) == 0)
		SAME(c, path, "generation", (uint32_t)generation, i->generation);
}

static void compare_attr(struct compare *c, const char *path, const struct stat *st, const struct fs_inode *i)
{
	const struct attr *a = &i->attr;
	SAME(c, path, "mode", st->st_mode, a->mode);
	SAME(c, path, "uid", st->st_uid, a->uid);
	SAME(c, path, "gid", st->st_gid, a->gid);
	SAME(c, path, "mtime", st->st_mtim.tv_sec, a->mtime.sec);
	if (!S_ISDIR(st->st_mode)) {
		SAME(c, path, "links", st->st_nlink, a->nlink);
		SAME(c, path, "size", st->st_size, a->size);
	}
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		SAME(c, path, "device", st->st_rdev, a->rdev);
	if (c->exact)
		compare_exact(c, path, st, i);
	compare_xattrs(c, path, a);
}

static void compare_link(struct compare *c, const char *path, const struct attr *a)
{
	char target[8192];
	ssize_t n = readlink(path, target, sizeof target);
	if (n < 0 || (size_t)n != a->link_len || memcmp(target, a->link, a->link_len) != 0)
		DIFFERS(c, path, "link's target differs (%zu bytes read)", a->link_len);
}

struct names {
	struct compare *c;
	const char *path;
	uint64_t number;
	unsigned count;
};

static int compare_entry(void *cookie, const struct fs_entry *entry)
{
	struct names *n = cookie;
	struct compare *c = n->c;
	char path[4096];
	if (entry->name_len == 10 && memcmp(entry->name, "lost+found", 10) == 0)
		return 0;
	snprintf(path, sizeof path, "%s/%.*s", n->path, (int)entry->name_len, entry->name);
	n->count++;
	c->files++;
	struct stat st;
	if (lstat(path, &st) < 0) {
		DIFFERS(c, path, "is read, but does not exist");
		return 0;
	}
	struct fs_inode inode;
	struct error err = { 0 };
	if (c->fs->driver->inode(c->fs, entry->inode, &inode, &err) < 0) {
		DIFFERS(c, path, "%s", err.text);
		return 0;
	}
	if (*inode.note)
		DIFFERS(c, path, "note: %s", inode.note);
	compare_attr(c, path, &st, &inode);
	if (S_ISREG(st.st_mode) && S_ISREG(inode.attr.mode))
		compare_content(c, path, &inode);
	if (S_ISLNK(st.st_mode))
		compare_link(c, path, &inode.attr);
	if (S_ISDIR(st.st_mode) && S_ISDIR(inode.attr.mode))
		compare_tree(c, path, entry->inode);
	fs_inode_done(&inode);
	return 0;
}

void compare_tree(struct compare *c, const char *path, uint64_t number)
{
	struct names n = { .c = c, .path = path, .number = number };
	struct error err = { 0 };
	if (c->fs->driver->entries(c->fs, number, compare_entry, &n, &err) != 0)
		DIFFERS(c, path, "%s", err.text);
	CLEAN_DIR DIR *d = opendir(path);
	unsigned want = 0;
	for (struct dirent *e = NULL; d && (e = readdir(d));)
		want += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && strcmp(e->d_name, "lost+found") != 0;
	SAME(c, path, "number of entries", want, n.count);
}

struct ascending {
	struct compare *c;
	uint64_t last;
	unsigned count;
};

static int compare_one_inode(void *cookie, const struct fs_inode *i)
{
	struct ascending *a = cookie;
	char name[32];
	snprintf(name, sizeof name, "inode %llu", (unsigned long long)i->number);
	if (i->number <= a->last)
		DIFFERS(a->c, name, "comes after %llu", (unsigned long long)a->last);
	a->last = i->number;
	a->count++;
	struct fs_inode again;
	struct error err = { 0 };
	if (a->c->fs->driver->inode(a->c->fs, i->number, &again, &err) < 0) {
		DIFFERS(a->c, name, "%s", err.text);
		return 0;
	}
	SAME(a->c, name, "size", i->attr.size, again.attr.size);
	SAME(a->c, name, "extents", i->extent_count, again.extent_count);
	SAME(a->c, name, "xattrs", i->attr.xattr_count, again.attr.xattr_count);
	SAME(a->c, name, "note", 0, strcmp(i->note, again.note));
	fs_inode_done(&again);
	return 0;
}

unsigned compare_inodes(struct compare *c)
{
	struct ascending a = { .c = c };
	struct error err = { 0 };
	if (c->fs->driver->inodes(c->fs, compare_one_inode, &a, &err) != 0)
		DIFFERS(c, "inodes", "%s", err.text);
	return a.count;
}

struct map {
	uint8_t *bytes;   /* one for each block, 1: in use */
	uint64_t blocks;
	uint32_t size;
	uint64_t used;
	uint64_t end;
	bool disordered;
};

static int add_used(void *cookie, uint64_t offset, uint64_t length)
{
	struct map *m = cookie;
	if (!length || offset < m->end || (m->end && offset == m->end) || (offset + length) % 512)
		m->disordered = true;
	m->end = offset + length;
	m->used += length;
	for (uint64_t b = offset / m->size; b < (offset + length + m->size - 1) / m->size && b < m->blocks; b++)
		m->bytes[b] = 1;
	return 0;
}

static void load_used(struct compare *c, struct map *m, uint32_t block_size)
{
	m->size = block_size;
	m->blocks = c->fs->info.size / block_size;
	m->bytes = calloc(m->blocks + 1, 1);
	struct error err = { 0 };
	if (c->fs->driver->used(c->fs, add_used, m, &err) != 0 || m->disordered)
		DIFFERS(c, "used map", "%s", m->disordered ? "not ascending and merged" : err.text);
}

uint64_t compare_used(struct compare *c, const char *image)
{
	char line[1 << 16];
	uint32_t size = 0, cluster = 0;
	CLEAN_FREE uint8_t *free_blocks = NULL;
	struct map m = { 0 };
	snprintf(line, sizeof line, "dumpe2fs %s 2>/dev/null", image);
	FILE *f = popen(line, "r");
	bool in_groups = false;
	while (f && fgets(line, sizeof line, f)) {
		if (strncmp(line, "Block size:", 11) == 0) {
			size = (uint32_t)strtoul(line + 11, NULL, 10);
			load_used(c, &m, size);
			free_blocks = calloc(m.blocks + 1, 1);
		}
		if (strncmp(line, "Cluster size:", 13) == 0)
			cluster = (uint32_t)strtoul(line + 13, NULL, 10);
		in_groups = in_groups || strncmp(line, "Group ", 6) == 0;
		char *list = in_groups ? strstr(line, "  Free blocks: ") : NULL;
		for (list = list ? list + 15 : NULL; list && *list >= '0' && *list <= '9';) {
			unsigned long long from = strtoull(list, &list, 10), to = from;
			if (*list == '-')
				to = strtoull(list + 1, &list, 10);
			if (cluster && size) /* it names the first block of the last cluster */
				to = to / (cluster / size) * (cluster / size) + cluster / size - 1;
			for (; from <= to && from < m.blocks; from++)
				free_blocks[from] = 1;
			list += strspn(list, ", ");
		}
	}
	if (f)
		pclose(f);
	for (uint64_t b = 0; b < m.blocks; b++)
		if (m.bytes[b] == free_blocks[b]) {
			DIFFERS(c, image, "block %llu is %s, dumpe2fs says the opposite", (unsigned long long)b,
			        m.bytes[b] ? "used" : "free");
			break;
		}
	free(m.bytes);
	return m.used;
}

struct claimed {
	struct compare *c;
	struct map *map;
	ext2_ino_t number;
	uint64_t left;
};

static void need(struct claimed *n, uint64_t block, const char *what)
{
	if (block < n->map->blocks && !n->map->bytes[block])
		DIFFERS(n->c, what, "block %llu of inode %u is not in the used map", (unsigned long long)block, n->number);
}

static int need_block(ext2_filsys lib, blk64_t *block, e2_blkcnt_t logical, blk64_t ref, int offset, void *cookie)
{
	(void)lib, (void)logical, (void)ref, (void)offset;
	struct claimed *n = cookie;
	need(n, *block, "used map");
	return n->left-- ? 0 : BLOCK_ABORT;
}

void compare_blocks(struct compare *c, const char *image)
{
	ext2_filsys lib = NULL;
	ext2_inode_scan scan = NULL;
	if (ext2fs_open(image, EXT2_FLAG_64BITS | EXT2_FLAG_IGNORE_CSUM_ERRORS | EXT2_FLAG_SOFTSUPP_FEATURES, 0, 0,
	                unix_io_manager, &lib)) {
		DIFFERS(c, image, "libext2fs cannot open it");
		return;
	}
	struct map m = { 0 };
	load_used(c, &m, lib->blocksize);
	struct claimed n = { .c = c, .map = &m, .left = 10 * m.blocks };
	struct ext2_inode inode;
	errcode_t rc = ext2fs_open_inode_scan(lib, 0, &scan);
	while (!rc && (rc = ext2fs_get_next_inode(scan, &n.number, &inode)) == 0 && n.number) {
		if (!inode.i_links_count)
			continue;
		need(&n, ext2fs_file_acl_block(lib, &inode), "used map");
		if (ext2fs_inode_has_valid_blocks2(lib, &inode) && !(inode.i_flags & EXT4_INLINE_DATA_FL))
			ext2fs_block_iterate3(lib, n.number, BLOCK_FLAG_READ_ONLY, NULL, need_block, &n);
	}
	if (scan)
		ext2fs_close_inode_scan(scan);
	ext2fs_free(lib);
	free(m.bytes);
}
