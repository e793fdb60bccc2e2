/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "block/occupied.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define NUMBERS_MAX 256 /* a disk and its partitions */

/* The device itself and its partitions; a regular file has none. */
struct wanted {
	struct stat st;
	dev_t numbers[NUMBERS_MAX];
	size_t count;
};

/* One line of a small file; false when it cannot be read. */
static bool read_line(const char *path, char *ret, size_t size)
{
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	bool got = fgets(ret, (int)size, f) != NULL;
	fclose(f);
	if (got)
		ret[strcspn(ret, "\n")] = 0;
	return got;
}

/* "8:1"; false when it is something else. */
static bool parse_number(const char *text, dev_t *ret)
{
	char *end;
	unsigned long a = strtoul(text, &end, 10);
	if (end == text || *end != ':' || a > UINT32_MAX)
		return false;
	const char *second = end + 1;
	unsigned long b = strtoul(second, &end, 10);
	if (end == second || (*end && *end != ' ') || b > UINT32_MAX)
		return false;
	*ret = makedev((unsigned)a, (unsigned)b);
	return true;
}

static void add_number(struct wanted *w, dev_t number)
{
	if (w->count < NUMBERS_MAX)
		w->numbers[w->count++] = number;
}

static bool is_wanted(const struct wanted *w, dev_t number)
{
	for (size_t i = 0; i < w->count; i++)
		if (w->numbers[i] == number)
			return true;
	return false;
}

/* Is the file at path the one that is to be written over, or a device of it? */
static bool is_wanted_path(const struct wanted *w, const char *path)
{
	struct stat st;
	if (path[0] != '/' || stat(path, &st) < 0)
		return false;
	if (S_ISBLK(st.st_mode))
		return is_wanted(w, st.st_rdev);
	return S_ISREG(w->st.st_mode) && S_ISREG(st.st_mode) && st.st_dev == w->st.st_dev && st.st_ino == w->st.st_ino;
}

/* Names in /sys/dev/block/M:m/holders. */
static void say_holders(struct buf *ret, const char *folder)
{
	char path[600];
	snprintf(path, sizeof path, "%s/holders", folder);
	CLEAN_DIR DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.')
			buf_list(ret, "used by %s", e->d_name);
}

static void find_partitions(struct wanted *w, struct buf *ret)
{
	char folder[128];
	snprintf(folder, sizeof folder, "/sys/dev/block/%u:%u", major(w->st.st_rdev), minor(w->st.st_rdev));
	say_holders(ret, folder);
	CLEAN_DIR DIR *d = opendir(folder);
	for (struct dirent *e; d && (e = readdir(d));) {
		char path[512], line[64];
		dev_t number;
		snprintf(path, sizeof path, "%s/%s/partition", folder, e->d_name);
		if (e->d_name[0] == '.' || !read_line(path, line, sizeof line))
			continue;
		snprintf(path, sizeof path, "%s/%s/dev", folder, e->d_name);
		if (!read_line(path, line, sizeof line) || !parse_number(line, &number))
			continue;
		add_number(w, number);
		snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
		say_holders(ret, path);
	}
}

/* A file that a loop device stands on is as good as that device. */
static void find_loops(struct wanted *w, enum occupied_how how, struct buf *ret)
{
	CLEAN_DIR DIR *d = opendir("/sys/block");
	for (struct dirent *e; d && (e = readdir(d));) {
		char path[512], line[4096];
		dev_t number;
		snprintf(path, sizeof path, "/sys/block/%s/loop/backing_file", e->d_name);
		if (strncmp(e->d_name, "loop", 4) != 0 || !read_line(path, line, sizeof line) || !is_wanted_path(w, line))
			continue;
		snprintf(path, sizeof path, "/sys/block/%s/dev", e->d_name);
		if (read_line(path, line, sizeof line) && parse_number(line, &number))
			add_number(w, number);
		if (how == OCCUPIED_AT_ALL)
			buf_list(ret, "attached to /dev/%s", e->d_name);
	}
}

/* Source: proc_pid_mountinfo(5): id, parent, major:minor, root, mount point, options, optional fields, "-", type, source. */
static void say_mounts(const struct wanted *w, enum occupied_how how, struct buf *ret)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;
	while (f && getline(&line, &room, f) > 0) {
		char device[32];
		dev_t number;
		char where[256] = "", source[256] = "", options[256] = "";
		if (sscanf(line, "%*s %*s %31s %*s %255s", device, where) != 2 || !parse_number(device, &number))
			continue;
		const char *tail = strstr(line, " - ");
		if (tail)
			sscanf(tail + 3, "%*s %255s %255s", source, options);
		/* The superblock's own options: a read-only mount of a writable filesystem protects nothing. */
		if (how == OCCUPIED_WRITING && (strcmp(options, "ro") == 0 || strncmp(options, "ro,", 3) == 0))
			continue;
		/* btrfs and others have device numbers of their own: the source tells. */
		if (is_wanted(w, number) || is_wanted_path(w, source))
			buf_list(ret, "mounted at %s", where);
	}
	free(line);
	if (f)
		fclose(f);
}

static void say_swaps(const struct wanted *w, struct buf *ret)
{
	FILE *f = fopen("/proc/swaps", "re");
	char line[1024], name[1024];
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "%1023s", name) == 1 && is_wanted_path(w, name))
			buf_list(ret, "in use as swap");
	if (f)
		fclose(f);
}

int occupied_by(const char *path, enum occupied_how how, struct buf *ret, struct error *err)
{
	struct wanted w = { .count = 0 };
	if (stat(path, &w.st) < 0)
		return error_sys(err, errno, "look at %s", path);
	if (S_ISBLK(w.st.st_mode)) {
		add_number(&w, w.st.st_rdev);
		find_partitions(&w, ret);
	} else {
		find_loops(&w, how, ret);
	}
	say_mounts(&w, how, ret);
	say_swaps(&w, ret);
	return buf_ok(ret) ? 0 : error_set(err, ERR_NOMEM, "look at %s: out of memory", path);
}
