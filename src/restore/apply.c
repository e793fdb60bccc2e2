/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "restore/apply.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define FLAGS_LOCK (ATTR_FLAG_IMMUTABLE | ATTR_FLAG_APPEND)
#define FLAGS_EMPTY ((unsigned)(FS_NOCOW_FL | FS_COMPR_FL | FS_NOCOMP_FL | FS_CASEFOLD_FL))
#define LIST_MAX_BYTES (64u << 10) /* XATTR_LIST_MAX */

/* The file that is worked on. path leads to it through its fd, for calls that do not take an O_PATH fd. */
struct target {
	int fd;
	bool is_path; /* fd is O_PATH */
	char path[32];
	int dir;          /* where is_path: */
	const char *name;
	struct stat st;
};

const char *apply_kind_name(enum apply_kind kind)
{
	static const char *const names[APPLY_KINDS] = {
		[APPLY_OWNER] = "owner", [APPLY_MODE] = "permissions", [APPLY_XATTRS] = "extended attributes",
		[APPLY_TIMES] = "time stamps", [APPLY_FLAGS] = "file flags",
	};
	return names[kind];
}

static void note(struct apply_report *r, enum apply_kind kind, int sys)
{
	if (!(r->missing & 1u << kind))
		r->sys[kind] = sys;
	r->missing |= 1u << kind;
}

static void note_xattr(struct apply_report *r, const char *name, int sys)
{
	if (!(r->missing & 1u << APPLY_XATTRS))
		snprintf(r->xattr, sizeof r->xattr, "%s", name);
	note(r, APPLY_XATTRS, sys);
}

/* By name where the name is known here. */
static void wanted_owner(const struct apply_options *o, const struct attr *a, uint32_t *ret_uid, uint32_t *ret_gid)
{
	*ret_uid = a->uid;
	*ret_gid = a->gid;
	if (o->numeric_ids)
		return;
	if (a->user)
		names_uid(o->names, a->user, ret_uid);
	if (a->group)
		names_gid(o->names, a->group, ret_gid);
}

static int change_owner(const struct target *t, uint32_t uid, uint32_t gid)
{
	return fchownat(t->fd, "", uid, gid, AT_EMPTY_PATH);
}

/* Without root the owner cannot be given away, but the group may still be one of the user's. Updates t->st. */
static void set_owner(struct target *t, uint32_t uid, uint32_t gid, struct apply_report *r)
{
	const uint32_t keep = UINT32_MAX; /* what the system call takes for "as it is", so nobody's number */
	if (uid == keep || gid == keep)
		note(r, APPLY_OWNER, EINVAL);
	uint32_t new_uid = uid == t->st.st_uid ? keep : uid, new_gid = gid == t->st.st_gid ? keep : gid;
	if (new_uid == keep && new_gid == keep)
		return;
	if (change_owner(t, new_uid, new_gid) < 0) {
		note(r, APPLY_OWNER, errno);
		if (new_uid != keep && new_gid != keep)
			change_owner(t, keep, new_gid);
	}
	if (fstat(t->fd, &t->st) < 0)
		note(r, APPLY_OWNER, errno);
}

static void set_mode(const struct target *t, const struct attr *a, uint32_t uid, uint32_t gid, struct apply_report *r)
{
	if (S_ISLNK(t->st.st_mode))
		return;
	mode_t mode = a->mode & 07777;
	if ((mode & S_ISUID) && t->st.st_uid != uid) {
		mode &= (mode_t)~S_ISUID;
		note(r, APPLY_MODE, EPERM);
	}
	if ((mode & S_ISGID) && t->st.st_gid != gid && !S_ISDIR(t->st.st_mode)) {
		mode &= (mode_t)~S_ISGID;
		note(r, APPLY_MODE, EPERM);
	}
	if ((t->st.st_mode & 07777) == mode && !a->xattr_count) /* an ACL may have changed it since it was looked at */
		return;
	struct stat now;
	if ((t->is_path ? chmod(t->path, mode) : fchmod(t->fd, mode)) < 0)
		note(r, APPLY_MODE, errno);
	else if ((mode & S_ISGID) && fstat(t->fd, &now) == 0 && !(now.st_mode & S_ISGID))
		note(r, APPLY_MODE, EPERM); /* taken off without a word: the group is not one of the user's */
}

static const struct xattr *find_xattr(const struct attr *a, const char *name)
{
	for (size_t i = 0; i < a->xattr_count; i++)
		if (strcmp(a->xattrs[i].name, name) == 0)
			return &a->xattrs[i];
	return NULL;
}

/* Of this namespace all that is not wanted goes; what the system itself puts on a new file (security labels) stays. */
static bool is_ours(const char *name)
{
	return strncmp(name, "user.", 5) == 0 || strncmp(name, "system.posix_acl_", 17) == 0 || strcmp(name, "security.capability") == 0;
}

static ssize_t list_xattrs(const struct target *t, char *list, size_t size)
{
	return t->is_path ? listxattr(t->path, list, size) : flistxattr(t->fd, list, size);
}

static void remove_strangers(const struct target *t, const struct attr *a, struct apply_report *r)
{
	char short_list[512];
	CLEAN_FREE char *long_list = NULL;
	char *list = short_list;
	ssize_t len = list_xattrs(t, list, sizeof short_list);
	if (len < 0 && errno == ERANGE && (long_list = malloc(LIST_MAX_BYTES))) {
		list = long_list;
		len = list_xattrs(t, list, LIST_MAX_BYTES);
	}
	for (ssize_t i = 0; i < len; i += (ssize_t)strlen(list + i) + 1) {
		const char *name = list + i;
		if (!is_ours(name) || find_xattr(a, name))
			continue;
		if ((t->is_path ? removexattr(t->path, name) : fremovexattr(t->fd, name)) < 0 && errno != ENODATA)
			note_xattr(r, name, errno);
	}
}

static bool xattr_equal(const struct target *t, const struct xattr *x)
{
	uint8_t value[512];
	if (x->size > sizeof value)
		return false;
	ssize_t size = t->is_path ? getxattr(t->path, x->name, value, sizeof value) : fgetxattr(t->fd, x->name, value, sizeof value);
	return size == (ssize_t)x->size && (!size || memcmp(value, x->value, x->size) == 0);
}

/* One that cannot be set may stand there already: a label that the system's policy gives. */
static void set_xattrs(const struct target *t, const struct attr *a, struct apply_report *r)
{
	for (size_t i = 0; i < a->xattr_count; i++) {
		const struct xattr *x = &a->xattrs[i];
		const void *value = x->size ? (const void *)x->value : "";
		int result = t->is_path ? setxattr(t->path, x->name, value, x->size, 0) : fsetxattr(t->fd, x->name, value, x->size, 0);
		int sys = errno;
		if (result < 0 && !xattr_equal(t, x))
			note_xattr(r, x->name, sys);
	}
}

static void set_times(const struct target *t, const struct attr *a, struct apply_report *r)
{
	struct timespec times[2] = { { 0, UTIME_OMIT }, { a->mtime.sec, (long)a->mtime.ns } };
	if (a->mtime.ns > 999999999) { /* the call knows larger values, which mean something else */
		note(r, APPLY_TIMES, EINVAL);
		return;
	}
	int result = t->is_path ? utimensat(t->fd, "", times, AT_EMPTY_PATH) : futimens(t->fd, times);
	if (result < 0 && t->is_path && errno == EINVAL) /* before Linux 5.8 */
		result = utimensat(t->dir, t->name, times, AT_SYMLINK_NOFOLLOW);
	if (result < 0)
		note(r, APPLY_TIMES, errno);
}

/* Makes the flags under mask those of a. Filesystems refuse all where they do not know one, or take what they do not know
 * without a word; so they are tried together, then one by one, and looked at afterwards. */
static void set_flags(int fd, const struct attr *a, unsigned mask, struct apply_report *r)
{
	unsigned now = 0, wanted = a->flags & mask & ATTR_FLAGS_KEPT;
	if (ioctl(fd, FS_IOC_GETFLAGS, &now) < 0) {
		if (wanted)
			note(r, APPLY_FLAGS, errno);
		return;
	}
	if ((now & mask) == wanted)
		return;
	unsigned all = (now & ~mask) | wanted;
	int sys = ioctl(fd, FS_IOC_SETFLAGS, &all) < 0 ? errno : 0;
	for (unsigned bit = 1; sys && bit; bit <<= 1) {
		unsigned one = (now & ~bit) | (wanted & bit);
		if ((mask & bit) && one != now && ioctl(fd, FS_IOC_SETFLAGS, &one) == 0)
			now = one;
	}
	/* One too many, from the folder above, is how the user wants new files there; one too few is a loss. */
	if (ioctl(fd, FS_IOC_GETFLAGS, &now) < 0 || (now & wanted) != wanted)
		note(r, APPLY_FLAGS, sys ? sys : EOPNOTSUPP);
}

static bool has_flags(mode_t mode)
{
	return S_ISREG(mode) || S_ISDIR(mode);
}

void apply_empty(int fd, const struct attr *a)
{
	struct apply_report ignored = { 0 };
	if (a->flags & FLAGS_EMPTY)
		set_flags(fd, a, a->flags & FLAGS_EMPTY, &ignored);
}

/* An existing file that its owner may not write takes no user.* attributes; set_mode puts the right mode afterwards. */
static void make_writable(struct target *t)
{
	if (S_ISLNK(t->st.st_mode) || (t->st.st_mode & S_IWUSR))
		return;
	mode_t mode = (t->st.st_mode & 07777) | S_IWUSR;
	if ((t->is_path ? chmod(t->path, mode) : fchmod(t->fd, mode)) == 0)
		t->st.st_mode |= S_IWUSR;
}

/* All of them failed, for one reason. */
static void note_all(struct apply_report *r, int sys)
{
	for (int kind = 0; kind < APPLY_KINDS; kind++)
		note(r, kind, sys);
}

static void apply_to(const struct apply_options *o, struct target *t, const struct attr *a, struct apply_report *r)
{
	if (fstat(t->fd, &t->st) < 0 || (t->st.st_mode & S_IFMT) != (a->mode & S_IFMT)) {
		note_all(r, ESTALE);
		return;
	}
	uint32_t uid, gid;
	wanted_owner(o, a, &uid, &gid);
	set_owner(t, uid, gid, r);
	make_writable(t);
	remove_strangers(t, a, r);
	/* Before the mode, which may forbid to write them, and after the owner, whose change takes capabilities away. An ACL
	 * changes the mode, but to what it was when both were backed up. */
	set_xattrs(t, a, r);
	set_mode(t, a, uid, gid, r);
	set_times(t, a, r);
	if (!t->is_path && has_flags(t->st.st_mode))
		set_flags(t->fd, a, ATTR_FLAGS_KEPT & ~FLAGS_LOCK, r);
	else if (a->flags & ~FLAGS_LOCK)
		note(r, APPLY_FLAGS, EBADF);
}

void apply_attr(const struct apply_options *o, int fd, int dir, const char *name, const struct attr *a, struct apply_report *ret)
{
	memset(ret, 0, sizeof *ret);
	CLEAN_FD int own = fd < 0 ? openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;
	if (fd < 0 && own < 0) {
		note_all(ret, errno);
		return;
	}
	struct target t = { .fd = fd < 0 ? own : fd, .is_path = fd < 0, .dir = dir, .name = name };
	snprintf(t.path, sizeof t.path, "/proc/self/fd/%d", t.fd);
	apply_to(o, &t, a, ret);
}

void apply_lock(int fd, const struct attr *a, struct apply_report *report)
{
	if (a->flags & FLAGS_LOCK)
		set_flags(fd, a, FLAGS_LOCK, report);
}
