/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Preloaded into the real program (LD_PRELOAD): counts the calls that change something below one folder, records them, lets one fail, or ends the process there.
 *
 *   SHIM_ROOT=FOLDER      absolute, without links; only calls on it and below it count
 *   SHIM_LOG=FILE         each call that succeeded, in the order of its effect: a line of words, for a write followed by its bytes
 *   SHIM_KILL=N           SIGKILL in place of call N; with SHIM_HALF=1, if it is a write, after half of its bytes
 *   SHIM_FAIL=N:ERRNO     call N fails with this number and does nothing; with SHIM_STAY=1 all later ones that need room or change anything, too
 *   SHIM_COUNT=FILE       how many calls there were, written when the process ends
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* held over each call that counts: the record's order is the order of effect */
static const char *root;
static size_t root_len;
static unsigned long calls, kill_at, fail_at;
static int fail_with;
static bool half, stay;
static int log_fd = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void)
{
	const char *text;
	root = getenv("SHIM_ROOT");
	root_len = root ? strlen(root) : 0;
	if ((text = getenv("SHIM_KILL")))
		kill_at = strtoul(text, NULL, 10);
	if ((text = getenv("SHIM_FAIL"))) {
		char *end;
		fail_at = strtoul(text, &end, 10);
		fail_with = *end == ':' ? atoi(end + 1) : EIO;
	}
	half = getenv("SHIM_HALF") != NULL;
	stay = getenv("SHIM_STAY") != NULL;
	if ((text = getenv("SHIM_LOG")))
		log_fd = REAL(open64)(text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

__attribute__((destructor)) static void end(void)
{
	const char *path = getenv("SHIM_COUNT");
	char text[32];
	int fd = path ? REAL(open64)(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
	if (fd < 0)
		return;
	int len = snprintf(text, sizeof text, "%lu\n", calls);
	if (REAL(write)(fd, text, (size_t)len) != len)
		abort();
	close(fd);
}

/* --- which calls count --------------------------------------------------------------------- */

static bool below(const char *path)
{
	return root_len && strncmp(path, root, root_len) == 0 && (path[root_len] == '/' || path[root_len] == 0);
}

static bool path_of_fd(int fd, char ret[PATH_MAX])
{
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, ret, PATH_MAX - 1);
	ret[len < 0 ? 0 : len] = 0;
	return len > 0;
}

/* Whole, but with links and dots in it as the program gave them. False: not below the root. */
static bool path_at(int dir, const char *path, char ret[PATH_MAX])
{
	char base[PATH_MAX] = "";
	if (path[0] == '/')
		snprintf(ret, PATH_MAX, "%s", path);
	else if (dir == AT_FDCWD ? !getcwd(base, sizeof base) : !path_of_fd(dir, base))
		return false;
	else if (snprintf(ret, PATH_MAX, "%s/%s", base, path) >= PATH_MAX)
		return false;
	return below(ret);
}

static bool fd_below(int fd, char ret[PATH_MAX])
{
	return path_of_fd(fd, ret) && below(ret);
}

static unsigned long inode_of(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 ? (unsigned long)st.st_ino : 0;
}

/* --- what happens at one ----------------------------------------------------------------------- */

/* With the lock held. 0: go on; else the errno that the call fails with. */
static int strike(void)
{
	calls++;
	if (kill_at && calls >= kill_at && !half)
		raise(SIGKILL);
	if (fail_at && (calls == fail_at || (stay && calls > fail_at)))
		return fail_with;
	return 0;
}

static void record(const void *data, size_t len, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void record(const void *data, size_t len, const char *fmt, ...)
{
	char line[3 * PATH_MAX];
	int saved = errno;
	if (log_fd < 0)
		return;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (REAL(write)(log_fd, line, (size_t)n) != n || (len && REAL(write)(log_fd, data, len) != (ssize_t)len))
		abort();
	errno = saved;
}

/* Takes the lock and counts; where the call must fail, leaves with its error. */
#define ENTER(counts) \
	bool counted = (counts); \
	if (counted) { \
		pthread_mutex_lock(&lock); \
		int sys = strike(); \
		if (sys) { \
			pthread_mutex_unlock(&lock); \
			errno = sys; \
			return -1; \
		} \
	}
#define LEAVE(result, ...) \
	do { \
		if (counted) { \
			if ((result) >= 0) \
				record(__VA_ARGS__); \
			pthread_mutex_unlock(&lock); \
		} \
		return result; \
	} while (0)

static int note_open(int fd, bool creates, const char *path)
{
	if (fd >= 0 && creates)
		record(NULL, 0, "create %lu %s\n", inode_of(fd), path);
	return fd;
}

int openat64(int dir, const char *path, int flags, ...)
{
	char whole[PATH_MAX];
	va_list ap;
	va_start(ap, flags);
	mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	bool creates = (flags & O_CREAT) && path_at(dir, path, whole);
	if (!creates)
		return REAL(openat64)(dir, path, flags, mode);
	ENTER(true);
	(void)counted;
	int fd = note_open(REAL(openat64)(dir, path, flags, mode), true, whole);
	pthread_mutex_unlock(&lock);
	return fd;
}

int open64(const char *path, int flags, ...)
{
	va_list ap;
	va_start(ap, flags);
	mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return openat64(AT_FDCWD, path, flags, mode);
}

/* openat2 has no function in the C library. */
long syscall(long number, ...)
{
	long a[6];
	va_list ap;
	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	char whole[PATH_MAX];
	const struct open_how *how = number == SYS_openat2 ? (const void *)a[2] : NULL; /* NOLINT */
	if (!how || !(how->flags & O_CREAT) || !path_at((int)a[0], (const char *)a[1], whole)) /* NOLINT */
		return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	ENTER(true);
	(void)counted;
	long fd = note_open((int)REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]), true, whole);
	pthread_mutex_unlock(&lock);
	return fd;
}

/* Call kill_at, when it is a write: half of it comes through. */
static void kill_in_half(int fd, const void *data, size_t len, int64_t offset)
{
	if (!kill_at || !half || calls < kill_at)
		return;
	ssize_t n = offset < 0 ? REAL(write)(fd, data, len / 2) : REAL(pwrite64)(fd, data, len / 2, offset);
	(void)n;
	raise(SIGKILL);
}

ssize_t write(int fd, const void *data, size_t len)
{
	char path[PATH_MAX];
	ENTER(root_len && fd > 2 && fd_below(fd, path));
	int64_t at = counted ? lseek64(fd, 0, SEEK_CUR) : 0;
	if (counted)
		kill_in_half(fd, data, len, -1);
	ssize_t n = REAL(write)(fd, data, len);
	LEAVE(n, data, (size_t)n, "write %lu %lld %zd\n", inode_of(fd), (long long)at, n);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
	char path[PATH_MAX];
	ENTER(root_len && fd_below(fd, path));
	if (counted)
		kill_in_half(fd, data, len, offset);
	ssize_t n = REAL(pwrite64)(fd, data, len, offset);
	LEAVE(n, data, (size_t)n, "write %lu %lld %zd\n", inode_of(fd), (long long)offset, n);
}

static const char *kind_of(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? "folder" : "file";
}

int fsync(int fd)
{
	char path[PATH_MAX];
	ENTER(root_len && fd_below(fd, path));
	int result = REAL(fsync)(fd);
	LEAVE(result, NULL, 0, "sync %s %lu %s\n", kind_of(fd), inode_of(fd), path);
}

int fdatasync(int fd)
{
	char path[PATH_MAX];
	ENTER(root_len && fd_below(fd, path));
	int result = REAL(fdatasync)(fd);
	LEAVE(result, NULL, 0, "sync %s %lu %s\n", kind_of(fd), inode_of(fd), path);
}

int ftruncate64(int fd, off64_t size)
{
	char path[PATH_MAX];
	ENTER(root_len && fd_below(fd, path));
	int result = REAL(ftruncate64)(fd, size);
	LEAVE(result, NULL, 0, "size %lu %lld\n", inode_of(fd), (long long)size);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
	char path[PATH_MAX];
	ENTER(root_len && fd_below(fd, path));
	int result = REAL(fallocate64)(fd, mode, offset, len);
	LEAVE(result, NULL, 0, "other fallocate %s\n", path);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	char a[PATH_MAX], b[PATH_MAX];
	ENTER(root_len && path_at(from_dir, from, a) && path_at(to_dir, to, b));
	int result = REAL(renameat2)(from_dir, from, to_dir, to, flags);
	LEAVE(result, NULL, 0, "rename %s\t%s\n", a, b);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	char a[PATH_MAX], b[PATH_MAX];
	ENTER(root_len && path_at(from_dir, from, a) && path_at(to_dir, to, b));
	int result = REAL(renameat)(from_dir, from, to_dir, to);
	LEAVE(result, NULL, 0, "rename %s\t%s\n", a, b);
}

int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	char a[PATH_MAX], b[PATH_MAX];
	ENTER(root_len && path_at(from_dir, from, a) && path_at(to_dir, to, b));
	int result = REAL(linkat)(from_dir, from, to_dir, to, flags);
	LEAVE(result, NULL, 0, "link %s\t%s\n", a, b);
}

int unlinkat(int dir, const char *path, int flags)
{
	char whole[PATH_MAX];
	ENTER(root_len && path_at(dir, path, whole));
	int result = REAL(unlinkat)(dir, path, flags);
	LEAVE(result, NULL, 0, "unlink %s\n", whole);
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
	char whole[PATH_MAX];
	ENTER(root_len && path_at(dir, path, whole));
	int result = REAL(mkdirat)(dir, path, mode);
	LEAVE(result, NULL, 0, "mkdir %s\n", whole);
}

int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

/* --- what only restores do: counted, and named in the record ------------------------------------- */

int symlinkat(const char *target, int dir, const char *path)
{
	char whole[PATH_MAX];
	ENTER(root_len && path_at(dir, path, whole));
	int result = REAL(symlinkat)(target, dir, path);
	LEAVE(result, NULL, 0, "other symlink %s\n", whole);
}

int mknodat(int dir, const char *path, mode_t mode, dev_t device)
{
	char whole[PATH_MAX];
	ENTER(root_len && path_at(dir, path, whole));
	int result = REAL(mknodat)(dir, path, mode, device);
	LEAVE(result, NULL, 0, "other mknod %s\n", whole);
}

int fchmod(int fd, mode_t mode)
{
	char path[PATH_MAX];
	ENTER(root_len && fd_below(fd, path));
	int result = REAL(fchmod)(fd, mode);
	LEAVE(result, NULL, 0, "other chmod %s\n", path);
}

int fchownat(int dir, const char *name, uid_t uid, gid_t gid, int flags)
{
	char path[PATH_MAX];
	ENTER(root_len && path_at(dir, name, path));
	int result = REAL(fchownat)(dir, name, uid, gid, flags);
	LEAVE(result, NULL, 0, "other chown %s\n", path);
}

int futimens(int fd, const struct timespec times[2])
{
	char path[PATH_MAX];
	ENTER(root_len && fd_below(fd, path));
	int result = REAL(futimens)(fd, times);
	LEAVE(result, NULL, 0, "other times %s\n", path);
}

int utimensat(int dir, const char *name, const struct timespec times[2], int flags)
{
	char path[PATH_MAX];
	ENTER(root_len && path_at(dir, name, path));
	int result = REAL(utimensat)(dir, name, times, flags);
	LEAVE(result, NULL, 0, "other times %s\n", path);
}

int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
	char path[PATH_MAX];
	ENTER(root_len && fd_below(fd, path));
	int (*real)(int, const char *, const void *, size_t, int) = (__typeof__(real))dlsym(RTLD_NEXT, "fsetxattr");
	int result = real(fd, name, value, size, flags);
	LEAVE(result, NULL, 0, "other xattr %s\n", path);
}
