/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/sessions.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clean.h"
#include "repo/ids.h"
#include "repo/object.h"
#include "repo/unfinished.h"
#include "repo/writers.h"

#define SESSION_BYTES_MAX (64u << 10)

struct own_session {
	struct repo *repo;
	struct id id;
	struct id object, before; /* that name it now; the refreshing thread's while that runs. before is object where there is one only */
	struct session document;  /* host and process are owned */
	pthread_t keeper;
	bool started;
	pthread_mutex_t lock;     /* guards stop */
	pthread_cond_t changed;
	bool stop;
};

/* --- which process ------------------------------------------------------------------------ */

/* The first word of a small file; "-" where there is none. */
static void first_word(const char *path, char *ret, size_t size)
{
	CLEAN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, ret, size - 1);
	size_t len = 0;
	while (n > 0 && len < (size_t)n && isgraph((unsigned char)ret[len]))
		len++;
	ret[len] = 0;
	if (!len)
		snprintf(ret, size, "-");
}

/* When the process started, in clock ticks since the boot: field 22 of its stat, counted behind the name, which may hold anything. "-": no such process. */
static void start_of(pid_t pid, char *ret, size_t size)
{
	char path[64], text[1024];
	snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
	snprintf(ret, size, "-");
	CLEAN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (n <= 0)
		return;
	text[n] = 0;
	char *at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		snprintf(ret, size, "%.*s", (int)strspn(at + 1, "0123456789"), at + 1);
}

/* Where this process lives. */
struct here {
	char boot[64], space[32], machine[20];
};

static void find_here(struct repo *repo, struct here *ret)
{
	struct stat st;
	char id[64];
	struct id hash;
	first_word("/proc/sys/kernel/random/boot_id", ret->boot, sizeof ret->boot);
	snprintf(ret->space, sizeof ret->space, "-");
	if (stat("/proc/self/ns/pid", &st) == 0)
		snprintf(ret->space, sizeof ret->space, "%llu", (unsigned long long)st.st_ino);
	/* The machine's id is nobody else's business, so it is hashed under the repository's key. */
	first_word("/etc/machine-id", id, sizeof id);
	snprintf(ret->machine, sizeof ret->machine, "-");
	if (strcmp(id, "-") == 0)
		return;
	seal_chunk_id(repo->keys, CHUNK_META, id, strlen(id), &hash);
	for (int i = 0; i < 8; i++)
		snprintf(ret->machine + 2 * i, 3, "%02x", hash.b[i]);
}

static bool known(const char *word)
{
	return strcmp(word, "-") != 0;
}

static bool is_old(const struct session *s, uint64_t seconds)
{
	struct time_ns at = time_now();
	return at.sec > s->refreshed.sec && (uint64_t)at.sec - (uint64_t)s->refreshed.sec >= seconds;
}

static enum session_state judge(const struct session *s, const struct here *here, uint64_t fence_seconds)
{
	char boot[64], space[32], start[32], machine[20], at_work[32];
	if (sscanf(s->process, "%63s %31s %31s %19s", boot, space, start, machine) == 4) {
		if (known(boot) && known(space) && known(start) && strcmp(boot, here->boot) == 0 && strcmp(space, here->space) == 0) {
			if (!s->pid || s->pid > INT32_MAX)
				return SESSION_GONE;
			start_of((pid_t)s->pid, at_work, sizeof at_work);
			if (strcmp(at_work, start) != 0 && (known(at_work) || (kill((pid_t)s->pid, 0) < 0 && errno == ESRCH)))
				return SESSION_GONE;
		}
		if (known(boot) && known(here->boot) && known(machine) && strcmp(machine, here->machine) == 0 && strcmp(boot, here->boot) != 0)
			return SESSION_FORSAKEN;
	}
	return is_old(s, fence_seconds) ? SESSION_FORSAKEN : SESSION_ALIVE;
}

/* --- the own session ------------------------------------------------------------------------- */

static int write_document(struct own_session *s, const struct id *object, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	session_encode(&bytes, &s->document);
	if (!buf_ok(&bytes))
		return error_set(err, ERR_NOMEM, "out of memory");
	return object_write(s->repo->store, s->repo->keys, SEAL_SESSION, object, &s->id, bytes.data, bytes.len, err);
}

static void delete_object(struct own_session *s, const struct id *object)
{
	char key[OBJECT_KEY_MAX];
	object_key(SEAL_SESSION, object, key);
	s->repo->store->ops->remove(s->repo->store, key, NULL);
}

/* What fails here is tried again five minutes later; until it is fenced the session is as good as before. Two objects stay: a listing is no instant, and one that was passed
 * by where the new object is, and then misses the old one, would not show the session at all. */
static void refresh(struct own_session *s)
{
	struct id object;
	seal_random(object.b, ID_SIZE);
	s->document.refreshed = time_now();
	if (write_document(s, &object, NULL) < 0)
		return;
	if (!id_equal(&s->before, &s->object))
		delete_object(s, &s->before);
	s->before = s->object;
	s->object = object;
}

/* How often: TWOFOLD_SESSION_REFRESH is for tests. */
static unsigned refresh_seconds(void)
{
	const char *text = getenv("TWOFOLD_SESSION_REFRESH");
	unsigned long n = text ? strtoul(text, NULL, 10) : 0;
	return n && n < 86400 ? (unsigned)n : SESSION_REFRESH_SECONDS;
}

static void *keep(void *arg)
{
	struct own_session *s = arg;
	unsigned seconds = refresh_seconds();
	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += seconds;
		int waited = 0;
		while (!s->stop && waited == 0)
			waited = pthread_cond_timedwait(&s->changed, &s->lock, &until);
		if (s->stop)
			break;
		pthread_mutex_unlock(&s->lock);
		refresh(s);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static int start_keeper(struct own_session *s, struct error *err)
{
	int sys = pthread_create(&s->keeper, NULL, keep, s);
	if (sys)
		return error_sys(err, sys, "start the thread that refreshes the session");
	s->started = true;
	return 0;
}

static int describe(struct own_session *s, enum session_work work, const char *host, struct error *err)
{
	struct here here;
	char start[32];
	find_here(s->repo, &here);
	start_of(getpid(), start, sizeof start);
	s->document = (struct session){ .started = time_now(), .refreshed = time_now(), .pid = (uint64_t)getpid(), .work = (uint8_t)work };
	s->document.host = strdup(host ? host : "");
	if (asprintf(&s->document.process, "%s %s %s %s", here.boot, here.space, start, here.machine) < 0)
		s->document.process = NULL;
	return s->document.host && s->document.process ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

static void stop_keeper(struct own_session *s)
{
	if (!s->started)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->keeper, NULL);
	s->started = false;
}

void own_session_leave(struct own_session *s)
{
	if (!s)
		return;
	stop_keeper(s);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	session_done(&s->document);
	free(s);
}

void own_session_end(struct own_session *s)
{
	if (!s)
		return;
	stop_keeper(s);
	delete_object(s, &s->object);
	if (!id_equal(&s->before, &s->object))
		delete_object(s, &s->before);
	own_session_leave(s);
}
DEFINE_CLEAN(own_session, own_session_leave)

int own_session_note_unfinished(struct own_session *s, struct error *err)
{
	stop_keeper(s);
	s->document.refreshed = time_now();
	return unfinished_note(s->repo, &s->id, &s->document, err);
}

/* The key object that opened the repository is still there: a change of the master key takes away those before it. */
static int check_key(struct repo *repo, struct error *err)
{
	char key[OBJECT_KEY_MAX], hex[ID_HEX_SIZE];
	bool found;
	uint64_t size;
	if (seal_is_write_only(repo->keys))
		return 0;
	id_to_hex(&repo->key, hex);
	snprintf(key, sizeof key, "keys/%s", hex);
	if (repo->store->ops->stat(repo->store, key, &found, &size, err) < 0)
		return error_add(err, "begin a session");
	return found ? 0 : error_set(err, ERR_AUTH, "begin a session: the key that opened the repository was changed or taken away this moment; run the command again");
}

int own_session_begin(struct own_session **ret, struct repo *repo, enum session_work work, const char *host, struct error *err)
{
	CLEAN(own_session_cleanup) struct own_session *s = calloc(1, sizeof *s);
	if (!s)
		return error_set(err, ERR_NOMEM, "begin a session: out of memory");
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	s->repo = repo;
	seal_random(s->id.b, ID_SIZE);
	s->object = s->before = s->id;
	if (seal_is_write_only(repo->keys) && writers_begin_session(repo, &s->id, err) < 0)
		return error_add(err, "begin a session in repository %s", repo->store->location);
	if (describe(s, work, host, err) < 0 || write_document(s, &s->object, err) < 0)
		return error_add(err, "begin a session in repository %s", repo->store->location);
	/* In this order: whoever drops old master keys looks for sessions that began before the keys were changed, and afterwards none may begin that knows no newer one. */
	if (check_key(repo, err) < 0 || start_keeper(s, err) < 0) {
		delete_object(s, &s->object);
		return -1;
	}
	*ret = TAKE(s);
	return 0;
}

const struct id *own_session_id(const struct own_session *s)
{
	return &s->id;
}

/* --- all sessions ------------------------------------------------------------------------------ */

/* ret_there false: it ended meanwhile. */
static int read_entry(struct repo *repo, struct session_entry *e, bool *ret_there, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct error why = { 0 };
	*ret_there = true;
	if (object_read(repo->store, repo->keys, SEAL_SESSION, &e->object, SESSION_BYTES_MAX, &e->session, &bytes, &why) == 0 &&
	    session_decode(&e->document, bytes.data, bytes.len, &why) == 0)
		return 0;
	switch (why.kind) {
	case ERR_NOT_FOUND:
		*ret_there = false;
		return 0;
	case ERR_CORRUPT:
	case ERR_UNSUPPORTED:
		e->session = e->object;
		e->damaged = true;
		return 0;
	default:
		return error_set(err, why.kind, "look who else is at work: %s", why.text);
	}
}

void session_list_done(struct session_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		session_done(&l->items[i].document);
	free(l->items);
	*l = (struct session_list){ 0 };
}

int session_list_read(struct session_list *ret, struct repo *repo, const struct id *own, uint64_t fence_seconds, struct error *err)
{
	CLEAN(session_list_done) struct session_list l = { 0 };
	CLEAN_BUF struct buf objects = BUF_INIT;
	struct here here;
	if (ids_list(repo->store, object_prefix(SEAL_SESSION), &objects, err) < 0)
		return error_add(err, "look who else is at work");
	l.items = calloc(objects.len / ID_SIZE + 1, sizeof *l.items);
	if (!l.items || !buf_ok(&objects))
		return error_set(err, ERR_NOMEM, "look who else is at work: out of memory");
	find_here(repo, &here);
	for (size_t at = 0; at < objects.len; at += ID_SIZE) {
		struct session_entry *e = &l.items[l.count];
		bool there;
		memcpy(e->object.b, objects.data + at, ID_SIZE);
		if (own && id_equal(own, &e->object)) /* the first object of a session has its id */
			continue;
		if (read_entry(repo, e, &there, err) < 0)
			return -1;
		if (!there)
			continue;
		l.count++;
		if (own && id_equal(own, &e->session)) {
			session_done(&e->document);
			l.items[--l.count] = (struct session_entry){ 0 };
			continue;
		}
		e->state = e->damaged ? SESSION_ALIVE : judge(&e->document, &here, fence_seconds);
	}
	*ret = l;
	memset(&l, 0, sizeof l); /* *ret has them now */
	return 0;
}

int session_delete(struct repo *repo, const struct session_list *l, const struct id *session, struct error *err)
{
	char key[OBJECT_KEY_MAX];
	for (size_t i = 0; i < l->count; i++) {
		if (!id_equal(&l->items[i].session, session))
			continue;
		object_key(SEAL_SESSION, &l->items[i].object, key);
		if (repo->store->ops->remove(repo->store, key, err) < 0)
			return error_add(err, "end a session that is gone");
	}
	return 0;
}
