/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/local_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "base/clean.h"

#define RESERVE_NAME LOCAL_TMP "/reserve"
#define RESERVE_SIZE (8u << 20)
/* How long the clients of served filesystems may show an old folder: NFS and SMB cache entries for at most 60 s (acdirmax), FUSE
 * programs choose for themselves (rclone: 300 s). */
#define LAG_NETWORK 60
#define LAG_FUSE 300
#define LAG_TOLD_MAX 86400

/* Magic numbers that linux/magic.h lacks; statfs(2) lists them. */
#define MAGIC_CIFS 0xff534d42u
#define MAGIC_SMB2 0xfe534d42u
#define MAGIC_CEPH 0x00c36400u
#define MAGIC_LUSTRE 0x0bd00bd0u
#define MAGIC_GFS2 0x01161970u
#define MAGIC_VBOXSF 0x786f4256u
#define MAGIC_ZFS 0x2fc12fc1u

/* Seconds that a listing may lag; 0 for a filesystem of this machine. */
static unsigned lag_of(uint32_t magic, dev_t device)
{
	switch (magic) {
	case NFS_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case MAGIC_CIFS:
	case MAGIC_SMB2:
	case MAGIC_CEPH:
	case MAGIC_LUSTRE:
	case MAGIC_GFS2:
	case MAGIC_VBOXSF:
	case AFS_SUPER_MAGIC:
	case AFS_FS_MAGIC:
	case CODA_SUPER_MAGIC:
	case OCFS2_SUPER_MAGIC:
	case V9FS_MAGIC: return LAG_NETWORK;
	/* A FUSE filesystem on a block device (ntfs-3g, exfat-fuse) has that device's number, and no other writer. */
	case FUSE_SUPER_MAGIC: return major(device) ? 0 : LAG_FUSE;
	default: return 0;
	}
}

/* Where the user knows better: a drive mounted so that listings are never old (NFS with noac, sshfs with dir_cache=no). */
static unsigned lag_or_told(unsigned lag)
{
	const char *text = getenv("TWOFOLD_LIST_LAG");
	char *end;
	if (!lag || !text || !*text)
		return lag;
	unsigned long told = strtoul(text, &end, 10);
	return *end || told > LAG_TOLD_MAX ? lag : (unsigned)told;
}

struct store_promises local_promises(int root)
{
	struct statfs fs;
	struct stat st;
	unsigned lag = LAG_FUSE;
	if (fstatfs(root, &fs) == 0 && fstat(root, &st) == 0)
		lag = lag_of((uint32_t)fs.f_type, st.st_dev);
	bool remote = lag != 0;
	return (struct store_promises){
		.atomic_put = true,
		.conditional_put = !remote,
		.durable_put = true,
		.remote = remote,
		.list_lag = lag_or_told(lag),
		.commits = 1,
	};
}

bool local_rename_is_whole(int root)
{
	struct statfs fs;
	if (fstatfs(root, &fs) < 0)
		return false;
	switch ((uint32_t)fs.f_type) {
	case EXT4_SUPER_MAGIC: /* that of ext2 and ext3, too: ext2 has no journal, but length and place of a file are in its inode */
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case TMPFS_MAGIC:
	case MAGIC_ZFS: return true;
	default: return false;
	}
}

int local_rename_new(int root, const char *from, const char *to)
{
	if (renameat2(root, from, root, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
		return errno;
	struct stat a, b;
	bool linked = linkat(root, from, root, to, 0) == 0;
	int sys = linked ? 0 : errno;
	/* NFS may do the work, lose the answer, ask again, and find its own link in the way. */
	if (sys == EEXIST && fstatat(root, from, &a, AT_SYMLINK_NOFOLLOW) == 0 && fstatat(root, to, &b, AT_SYMLINK_NOFOLLOW) == 0)
		linked = a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_nlink > 1;
	if (linked) {
		unlinkat(root, from, 0);
		return 0;
	}
	if (sys != EPERM && sys != ENOSYS && sys != ENOTSUP && sys != EMLINK)
		return sys;
	/* Filesystems that have neither (some FUSE and network ones; FAT of old kernels). Names are random, so looking first is as good as it gets. */
	if (fstatat(root, to, &b, AT_SYMLINK_NOFOLLOW) == 0)
		return EEXIST;
	return renameat(root, from, root, to) == 0 ? 0 : errno;
}

bool local_fs_now(int root, struct timespec *ret)
{
	CLEAN_FD int fd = openat(root, LOCAL_TMP, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	char name[64] = "";
	if (fd < 0) {
		uint64_t random = 0;
		if (getrandom(&random, sizeof random, 0) != sizeof random)
			return false;
		snprintf(name, sizeof name, LOCAL_TMP "/tmp-now-%016llx", (unsigned long long)random);
		fd = openat(root, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	}
	if (fd < 0)
		return false;
	struct stat st;
	bool known = fstat(fd, &st) == 0;
	if (known)
		*ret = st.st_mtim;
	if (*name)
		unlinkat(root, name, 0);
	return known;
}

int local_fs_facts(int root, struct store_facts *ret)
{
	struct statvfs fs;
	struct timespec there, here;
	if (fstatvfs(root, &fs) < 0)
		return errno;
	ret->has_space = fs.f_blocks > 0;
	ret->free = (uint64_t)fs.f_bavail * fs.f_frsize;
	ret->total = (uint64_t)fs.f_blocks * fs.f_frsize;
	if (local_fs_now(root, &there) && clock_gettime(CLOCK_REALTIME, &here) == 0) {
		ret->has_clock = true;
		ret->clock_ahead = (int64_t)(there.tv_sec - here.tv_sec) * 1000 + (there.tv_nsec - here.tv_nsec) / 1000000;
	}
	return 0;
}

/* Bytes that no compressing filesystem can save: where space cannot be set aside otherwise. */
static int fill(int fd)
{
	uint8_t block[64 << 10];
	for (size_t at = 0; at < RESERVE_SIZE;) {
		if (at % sizeof block == 0)
			for (size_t i = 0; i < sizeof block; i += 256)
				if (getrandom(block + i, 256, 0) != 256)
					return errno;
		size_t from = at % sizeof block;
		ssize_t n = write(fd, block + from, sizeof block - from);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : ENOSPC;
		at += (size_t)n;
	}
	return 0;
}

static int allocate(int fd)
{
	if (fallocate(fd, 0, 0, RESERVE_SIZE) == 0)
		return 0;
	return errno == EOPNOTSUPP || errno == ENOSYS ? fill(fd) : errno;
}

int local_keep_reserve(int root, bool keep, mode_t mode)
{
	if (!keep)
		return unlinkat(root, RESERVE_NAME, 0) == 0 || errno == ENOENT || errno == ENOTDIR ? 0 : errno;
	struct stat st;
	if (fstatat(root, RESERVE_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size == RESERVE_SIZE)
		return 0;
	struct statvfs fs;
	if (fstatvfs(root, &fs) < 0)
		return errno;
	if ((uint64_t)fs.f_bavail * fs.f_frsize < 4 * (uint64_t)RESERVE_SIZE)
		return ENOSPC;
	CLEAN_FD int fd = openat(root, RESERVE_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return errno;
	int sys = allocate(fd);
	if (!sys && fsync(fd) < 0)
		sys = errno;
	if (sys)
		unlinkat(root, RESERVE_NAME, 0);
	return sys;
}
