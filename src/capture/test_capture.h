/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * For tests of capture/: a folder for sources beside a temporary repository, warnings that are kept, snapshots read back, system calls that fail. Include cmocka.h before.
 *
 * A system call fails through a seccomp filter, which stays for the life of the process; so such a test runs in a child (in_child), before which no thread of ours may live.
 */
#ifndef CAPTURE_TEST_CAPTURE_H
#define CAPTURE_TEST_CAPTURE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/warn.h"
#include "repo/test_snapshot.h"

struct warnings {
	pthread_mutex_t lock;
	size_t count;
	struct buf text; /* all of them, a line each, zero-terminated */
};

static inline void keep_warning(void *cookie, const struct error *err)
{
	struct warnings *w = cookie;
	pthread_mutex_lock(&w->lock);
	w->count++;
	if (w->text.len < 1u << 20) {
		w->text.len -= w->text.len > 0;
		buf_add(&w->text, err->text, strlen(err->text));
		buf_add(&w->text, "\n", 2);
	}
	pthread_mutex_unlock(&w->lock);
}

static inline void warnings_clear(struct warnings *w)
{
	buf_done(&w->text);
	w->count = 0;
}

static inline bool warned_of(const struct warnings *w, const char *text)
{
	return w->text.len && strstr((const char *)w->text.data, text);
}

static inline void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static inline void shell(const char *fmt, ...)
{
	char command[2048];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(command, sizeof command, fmt, ap);
	va_end(ap);
	if (system(command) != 0)
		fail_msg("%s", command);
}

/* --- reading back ------------------------------------------------------------------ */

/* False: no such entry. ret is the caller's. */
static inline bool tree_child(struct repo *r, const struct id *tree, const char *name, size_t len, struct node *ret)
{
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	const uint8_t *record;
	size_t record_len;
	bool more = true;
	TEST_OK(seq_reader_new(&reader, SEQ_ENTRIES, tree, repo_get_page, r, &err));
	TEST_OK(seq_seek_key(reader, name, len, &err));
	for (;;) {
		TEST_OK(seq_next(reader, &more, &record, &record_len, NULL, &err));
		if (!more)
			return false;
		TEST_OK(node_decode(ret, record, record_len, &err));
		if (ret->name_len == len && memcmp(ret->name, name, len) == 0)
			return true;
		bool past = strncmp(ret->name, name, len) > 0;
		node_done(ret);
		if (past)
			return false;
	}
}

static inline bool tree_find(struct repo *r, const struct id *root, const char *path, struct node *ret)
{
	struct id tree = *root;
	for (;;) {
		path += strspn(path, "/");
		size_t len = strcspn(path, "/");
		if (!tree_child(r, &tree, path, len, ret))
			return false;
		path += len;
		if (!path[strspn(path, "/")])
			return true;
		bool descend = ret->has_tree;
		tree = ret->tree;
		node_done(ret);
		if (!descend)
			return false;
	}
}

static inline size_t tree_count(struct repo *r, const struct id *tree)
{
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	const uint8_t *record;
	size_t len, count = 0;
	TEST_OK(seq_reader_new(&reader, SEQ_ENTRIES, tree, repo_get_page, r, &err));
	for (bool more = true; more; count += more)
		TEST_OK(seq_next(reader, &more, &record, &len, NULL, &err));
	return count;
}

static inline void add_part_bytes(struct repo *r, const struct content_part *part, struct buf *ret)
{
	CLEAN_BUF struct buf chunk = BUF_INIT;
	if (part->kind == CONTENT_HOLE) {
		uint8_t *zeros = buf_reserve(ret, part->length);
		assert_non_null(zeros);
		memset(zeros, 0, part->length);
		ret->len += part->length;
		return;
	}
	TEST_OK(repo_get(r, CHUNK_DATA, &part->chunk, &chunk, &err));
	assert_int_equal(chunk.len, part->length);
	buf_add(ret, chunk.data, chunk.len);
}

/* Replaces *ret by the file's bytes. */
static inline void content_bytes(struct repo *r, const struct content *c, struct buf *ret)
{
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	const uint8_t *record;
	size_t len;
	buf_clear(ret);
	for (size_t i = 0; i < c->count; i++)
		add_part_bytes(r, &c->parts[i], ret);
	if (!c->paged)
		return;
	TEST_OK(seq_reader_new(&reader, SEQ_CONTENT, &c->root, repo_get_page, r, &err));
	for (bool more = true; more;) {
		struct content_part part;
		TEST_OK(seq_next(reader, &more, &record, &len, NULL, &err));
		if (!more)
			break;
		TEST_OK(content_part_decode(&part, record, len, &err));
		add_part_bytes(r, &part, ret);
	}
}

/* --- failing system calls ---------------------------------------------------------------- */

/* The call fails with sys from now on, in this thread and all that it makes. arg below 0: always; else where the lower half of that argument is value. */
static inline bool fail_call(long number, int arg, uint32_t value, int sys)
{
	unsigned at = (unsigned)offsetof(struct seccomp_data, args) + (arg < 0 ? 0 : 8 * (unsigned)arg);
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at),
		arg < 0 ? (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, 0, 0, 0) : (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)sys),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* pread of anything between first and end (both below 4 GiB) fails with EIO. */
static inline bool fail_reads(uint32_t first, uint32_t end)
{
	const unsigned args = (unsigned)offsetof(struct seccomp_data, args);
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pread64, 0, 7),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, args + 16),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, args + 24),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, end, 3, 0),
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, first, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EIO),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

#define CHILD_SKIPPED 77

/* Runs fn in a child. Its result: 0 is fine, CHILD_SKIPPED skips the test, else it failed and has printed why. */
static inline void in_child(int (*fn)(void))
{
	fflush(NULL);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		int result = fn();
		fflush(NULL);
		_exit(result);
	}
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_SKIPPED)
		skip();
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* In a child, in place of an assertion. */
#define CHILD_WANTS(what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
			return 1; \
		} \
	} while (0)

#endif
