/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define EPOCH 4102444800ll /* 2100-01-01: all time stamps of files are older, so a backup trusts them */
#define PID_FIRST 1000000  /* above what the system gives */

enum waits { FOR_NOTHING, FOR_LOCK, FOR_CONDITION, FOR_THREAD, FOR_TIME };

struct thread {
	struct thread *next;
	struct sim_machine *machine;
	enum waits waits;
	const void *on;      /* the lock, condition or thread that is waited for */
	bool timed, timed_out, ended, scheduled;
	int64_t until;       /* ns of the simulated clock */
	pthread_t id;
	void *(*run)(void *);
	void *arg, *result;
	pthread_cond_t go;
};

/* Everything is guarded by baton, which the running thread holds in effect: others only wait for their go. */
static pthread_mutex_t baton = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t over = PTHREAD_COND_INITIALIZER;
static struct thread *threads, *running;
static bool active, ended;
static uint64_t row, gates, trace;
static bool seeded;
static int64_t clock_ns = EPOCH * 1000000000ll;
static int next_pid = PID_FIRST;
static void (*step_fn)(void *);
static void *step_cookie;
static _Thread_local struct thread *self;
/* Every machine of this run, for kill(). */
static struct sim_machine *known[256];
static size_t known_count;

/* --- chance ------------------------------------------------------------------------------ */

void sim_seed(uint64_t seed)
{
	row = seed * 0x9e3779b97f4a7c15u + 1;
	seeded = true;
	clock_ns = EPOCH * 1000000000ll;
	next_pid = PID_FIRST;
	known_count = 0;
	gates = trace = 0;
}

uint64_t sim_random(void)
{
	uint64_t z = row += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

uint64_t sim_trace(void)
{
	return trace;
}

uint64_t sim_gates(void)
{
	return gates;
}

static void note(uint64_t what)
{
	trace = (trace ^ what) * 0x100000001b3u;
}

/* --- whose turn it is ----------------------------------------------------------------------- */

int __real_pthread_mutex_lock(pthread_mutex_t *m);
int __real_pthread_mutex_unlock(pthread_mutex_t *m);
int __real_pthread_mutex_trylock(pthread_mutex_t *m);
int __real_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
int __real_pthread_cond_signal(pthread_cond_t *c);

static bool can_run(struct thread *t)
{
	if (t->ended || t->machine->paused)
		return false;
	if (t->waits != FOR_NOTHING && t->timed && t->until <= clock_ns) {
		t->waits = FOR_NOTHING;
		t->timed_out = true;
	}
	return t->waits == FOR_NOTHING;
}

static struct thread *choose(void)
{
	unsigned count = 0;
	for (struct thread *t = threads; t; t = t->next)
		count += can_run(t);
	if (!count)
		return NULL;
	unsigned at = count > 1 ? sim_dice(count) : 0;
	struct thread *t = threads;
	while (!can_run(t) || at--)
		t = t->next;
	return t;
}

/* To the next time that somebody waits for; false: nobody does. */
static bool leap_to_next(void)
{
	const struct thread *first = NULL;
	for (const struct thread *t = threads; t; t = t->next)
		if (!t->ended && !t->machine->paused && t->timed && (!first || t->until < first->until))
			first = t;
	if (first && clock_ns < first->until)
		clock_ns = first->until;
	return first;
}

static bool wake_one_paused(void)
{
	for (struct thread *t = threads; t; t = t->next)
		if (!t->ended && t->machine->paused) {
			t->machine->paused = false;
			return true;
		}
	return false;
}

static bool all_ended(void)
{
	for (const struct thread *t = threads; t; t = t->next)
		if (!t->ended)
			return false;
	return true;
}

static void report_deadlock(void)
{
	fprintf(stderr, "sim: deadlock: everybody waits for somebody\n");
	for (const struct thread *t = threads; t; t = t->next)
		if (!t->ended)
			fprintf(stderr, "  %s: waits %d on %p\n", t->machine->name, (int)t->waits, t->on);
	abort();
}

static void hand_to(struct thread *t)
{
	running = t;
	if (t)
		__real_pthread_cond_signal(&t->go);
	else
		__real_pthread_cond_signal(&over);
}

/* With the baton: lets another thread go on, or this one; returns when it is this one's turn again. */
static void pass(void)
{
	struct thread *t;
	while (!(t = choose())) {
		if (all_ended()) {
			ended = true;
			hand_to(NULL);
			return;
		}
		if (!leap_to_next() && !wake_one_paused())
			report_deadlock();
	}
	note((uint64_t)t->machine->pid);
	if (t == self)
		return;
	hand_to(t);
	while (self && !self->ended && running != self)
		__real_pthread_cond_wait(&self->go, &baton);
}

static void take_baton(void)
{
	__real_pthread_mutex_lock(&baton);
}

static void drop_baton(void)
{
	__real_pthread_mutex_unlock(&baton);
}

/* Until wake_waiters is called for the same thing, or the time has come. */
static void wait_for(enum waits waits, const void *on)
{
	self->waits = waits;
	self->on = on;
	pass();
	self->timed = false;
}

static void wake_waiters(enum waits waits, const void *on, bool all)
{
	for (struct thread *t = threads; t; t = t->next)
		if (!t->ended && t->waits == waits && t->on == on) {
			t->waits = FOR_NOTHING;
			t->timed = false;
			if (!all)
				return;
		}
}

/* --- threads ------------------------------------------------------------------------------------ */

int __real_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __real_pthread_join(pthread_t id, void **ret);

static void *trampoline(void *arg)
{
	self = arg;
	take_baton();
	while (running != self)
		__real_pthread_cond_wait(&self->go, &baton);
	drop_baton();
	self->result = self->run(self->arg);
	take_baton();
	self->ended = true;
	wake_waiters(FOR_THREAD, self, true);
	pass();
	drop_baton();
	return self->result;
}

static void append_thread(struct thread *t)
{
	struct thread **end = &threads;
	while (*end)
		end = &(*end)->next;
	*end = t;
}

static struct thread *start_thread(struct sim_machine *m, void *(*run)(void *), void *arg)
{
	struct thread *t = calloc(1, sizeof *t);
	if (!t)
		abort();
	t->machine = m;
	t->run = run;
	t->arg = arg;
	pthread_cond_init(&t->go, NULL);
	append_thread(t);
	if (__real_pthread_create(&t->id, NULL, trampoline, t) != 0)
		abort();
	return t;
}

int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	if (!self)
		return __real_pthread_create(ret, attr, run, arg);
	take_baton();
	*ret = start_thread(self->machine, run, arg)->id;
	drop_baton();
	return 0;
}

int __wrap_pthread_join(pthread_t id, void **ret);
int __wrap_pthread_join(pthread_t id, void **ret)
{
	if (!self)
		return __real_pthread_join(id, ret);
	take_baton();
	struct thread *t = threads;
	while (t && !pthread_equal(t->id, id))
		t = t->next;
	while (t && !t->ended)
		wait_for(FOR_THREAD, t);
	if (ret)
		*ret = t ? t->result : NULL;
	drop_baton();
	return 0; /* the real join comes at the end of sim_run */
}

int __wrap_pthread_detach(pthread_t id);
int __wrap_pthread_detach(pthread_t id)
{
	int __real_pthread_detach(pthread_t);
	return self ? 0 : __real_pthread_detach(id);
}

/* --- locks --------------------------------------------------------------------------------------- */

typedef int (*try_fn)(void *lock);

static int acquire(void *lock, try_fn attempt)
{
	int result;
	while ((result = attempt(lock)) == EBUSY) {
		take_baton();
		wait_for(FOR_LOCK, lock);
		drop_baton();
	}
	return result;
}

static void released(const void *lock)
{
	take_baton();
	wake_waiters(FOR_LOCK, lock, true);
	drop_baton();
}

static int try_mutex(void *lock)
{
	return __real_pthread_mutex_trylock(lock);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
	return self ? acquire(m, try_mutex) : __real_pthread_mutex_lock(m);
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *m);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *m)
{
	return __real_pthread_mutex_trylock(m);
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *m);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m)
{
	int result = __real_pthread_mutex_unlock(m);
	if (self)
		released(m);
	return result;
}

int __real_pthread_rwlock_rdlock(pthread_rwlock_t *l);
int __real_pthread_rwlock_wrlock(pthread_rwlock_t *l);
int __real_pthread_rwlock_unlock(pthread_rwlock_t *l);

static int try_read(void *lock)
{
	return pthread_rwlock_tryrdlock(lock);
}

static int try_write(void *lock)
{
	return pthread_rwlock_trywrlock(lock);
}

int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
	return self ? acquire(l, try_read) : __real_pthread_rwlock_rdlock(l);
}

int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
	return self ? acquire(l, try_write) : __real_pthread_rwlock_wrlock(l);
}

int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *l)
{
	int result = __real_pthread_rwlock_unlock(l);
	if (self)
		released(l);
	return result;
}

/* --- conditions ------------------------------------------------------------------------------------ */

/* True: the time came first. */
static bool wait_condition(pthread_cond_t *c, pthread_mutex_t *m, const int64_t *until)
{
	__real_pthread_mutex_unlock(m);
	take_baton();
	wake_waiters(FOR_LOCK, m, true);
	self->timed_out = false;
	self->timed = until != NULL;
	self->until = until ? *until : 0;
	wait_for(FOR_CONDITION, c);
	bool late = self->timed_out;
	self->timed_out = false;
	drop_baton();
	acquire(m, try_mutex);
	return late;
}

int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
	if (!self)
		return __real_pthread_cond_wait(c, m);
	wait_condition(c, m, NULL);
	return 0;
}

/* A time that the program took from one of its clocks, as one of the simulation: only that of the day is ever wrong, and nobody waits for as long as it is wrong by. */
static int64_t from_machine(const struct timespec *ts)
{
	int64_t plain = ts->tv_sec * 1000000000ll + ts->tv_nsec, day = plain - self->machine->clock_error * 1000000000ll;
	return llabs(plain - clock_ns) < llabs(day - clock_ns) ? plain : day;
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
	int __real_pthread_cond_timedwait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
	if (!self)
		return __real_pthread_cond_timedwait(c, m, until);
	int64_t at = from_machine(until);
	return wait_condition(c, m, &at) ? ETIMEDOUT : 0;
}

int __wrap_pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m, clockid_t clock, const struct timespec *until);
int __wrap_pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m, clockid_t clock, const struct timespec *until)
{
	int __real_pthread_cond_clockwait(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
	if (!self)
		return __real_pthread_cond_clockwait(c, m, clock, until);
	return __wrap_pthread_cond_timedwait(c, m, until);
}

static int wake_condition(pthread_cond_t *c, bool all)
{
	take_baton();
	wake_waiters(FOR_CONDITION, c, all);
	drop_baton();
	return 0;
}

int __wrap_pthread_cond_signal(pthread_cond_t *c);
int __wrap_pthread_cond_signal(pthread_cond_t *c)
{
	return self ? wake_condition(c, false) : __real_pthread_cond_signal(c);
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *c);
int __wrap_pthread_cond_broadcast(pthread_cond_t *c)
{
	int __real_pthread_cond_broadcast(pthread_cond_t *);
	return self ? wake_condition(c, true) : __real_pthread_cond_broadcast(c);
}

/* --- time, chance, processes ------------------------------------------------------------------------- */

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
	int __real_clock_gettime(clockid_t, struct timespec *);
	if (!self)
		return __real_clock_gettime(clock, ret);
	ret->tv_sec = clock_ns / 1000000000ll + (clock == CLOCK_REALTIME ? self->machine->clock_error : 0);
	ret->tv_nsec = clock_ns % 1000000000ll;
	clock_ns += 1000; /* no two answers are equal */
	return 0;
}

time_t __wrap_time(time_t *ret);
time_t __wrap_time(time_t *ret)
{
	struct timespec ts;
	__wrap_clock_gettime(CLOCK_REALTIME, &ts);
	if (ret)
		*ret = ts.tv_sec;
	return ts.tv_sec;
}

static void sleep_until(int64_t at)
{
	take_baton();
	self->timed = true;
	self->until = at;
	wait_for(FOR_TIME, NULL);
	self->timed_out = false;
	drop_baton();
}

int __wrap_nanosleep(const struct timespec *want, struct timespec *left);
int __wrap_nanosleep(const struct timespec *want, struct timespec *left)
{
	int __real_nanosleep(const struct timespec *, struct timespec *);
	if (!self)
		return __real_nanosleep(want, left);
	sleep_until(clock_ns + want->tv_sec * 1000000000ll + want->tv_nsec);
	return 0;
}

int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *want, struct timespec *left);
int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *want, struct timespec *left)
{
	int __real_clock_nanosleep(clockid_t, int, const struct timespec *, struct timespec *);
	if (!self)
		return __real_clock_nanosleep(clock, flags, want, left);
	if (flags & TIMER_ABSTIME)
		sleep_until(from_machine(want));
	else
		__wrap_nanosleep(want, left);
	return 0;
}

int __wrap_usleep(useconds_t us);
int __wrap_usleep(useconds_t us)
{
	return __wrap_nanosleep(&(struct timespec){ us / 1000000, (long)(us % 1000000) * 1000 }, NULL);
}

unsigned __wrap_sleep(unsigned seconds);
unsigned __wrap_sleep(unsigned seconds)
{
	__wrap_nanosleep(&(struct timespec){ (time_t)seconds, 0 }, NULL);
	return 0;
}

void __wrap_randombytes_buf(void *data, size_t len);
void __wrap_randombytes_buf(void *data, size_t len)
{
	void __real_randombytes_buf(void *, size_t);
	if (!seeded) {
		__real_randombytes_buf(data, len);
		return;
	}
	for (size_t i = 0; i < len; i++)
		((uint8_t *)data)[i] = (uint8_t)(sim_random() >> 24);
}

ssize_t __wrap_getrandom(void *data, size_t len, unsigned flags);
ssize_t __wrap_getrandom(void *data, size_t len, unsigned flags)
{
	(void)flags;
	__wrap_randombytes_buf(data, len);
	return (ssize_t)len;
}

pid_t __wrap_getpid(void);
pid_t __wrap_getpid(void)
{
	pid_t __real_getpid(void);
	return self ? self->machine->pid : __real_getpid();
}

static const char *host_of(const struct sim_machine *m)
{
	return m->host ? m->host : "host";
}

static const struct sim_machine *find_process(int pid)
{
	for (size_t i = 0; i < known_count; i++)
		if (known[i]->pid == pid && !known[i]->killed && !known[i]->done && strcmp(host_of(known[i]), host_of(self->machine)) == 0)
			return known[i];
	return NULL;
}

int __wrap_kill(pid_t pid, int sig);
int __wrap_kill(pid_t pid, int sig)
{
	int __real_kill(pid_t, int);
	if (!self || sig)
		return __real_kill(pid, sig);
	if (find_process(pid))
		return 0;
	errno = ESRCH;
	return -1;
}

/* A file of the system that says who is where. -2: not one of these. */
static int open_identity(const char *path)
{
	char text[256];
	int pid;
	if (strcmp(path, "/etc/machine-id") == 0 || strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
		snprintf(text, sizeof text, "%s-of-%s\n", strrchr(path, '/') + 1, host_of(self->machine));
	else if (sscanf(path, "/proc/%d/stat", &pid) != 1)
		return -2;
	else if (find_process(pid))
		snprintf(text, sizeof text, "%d (test) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", pid, pid);
	else {
		errno = ENOENT;
		return -1;
	}
	int fd = memfd_create("identity", MFD_CLOEXEC);
	if (fd >= 0 && (write(fd, text, strlen(text)) < 0 || lseek(fd, 0, SEEK_SET) < 0))
		abort();
	return fd;
}

int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	int __real_open64(const char *, int, ...);
	va_list ap;
	va_start(ap, flags);
	int mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, int) : 0;
	va_end(ap);
	int fd = self ? open_identity(path) : -2;
	return fd == -2 ? __real_open64(path, flags, mode) : fd;
}

/* --- machines -------------------------------------------------------------------------------------------- */

static void *run_machine(void *arg)
{
	struct sim_machine *m = arg;
	m->run(m->arg);
	m->done = true;
	return NULL;
}

void sim_start(struct sim_machine *m)
{
	m->paused = m->killed = m->done = false;
	m->pid = next_pid++;
	if (known_count < sizeof known / sizeof *known)
		known[known_count++] = m;
	start_thread(m, run_machine, m);
}

void sim_run(struct sim_machine *machines, size_t count, void (*step)(void *), void *cookie)
{
	struct sim_machine *list[64];
	for (size_t i = 0; i < count && i < 64; i++)
		list[i] = &machines[i];
	sim_run_list(list, count, step, cookie);
}

void sim_run_list(struct sim_machine *const *machines, size_t count, void (*step)(void *), void *cookie)
{
	step_fn = step;
	step_cookie = cookie;
	active = true;
	ended = false;
	take_baton();
	for (size_t i = 0; i < count; i++)
		sim_start(machines[i]);
	pass();
	while (!ended)
		__real_pthread_cond_wait(&over, &baton);
	drop_baton();
	while (threads) {
		struct thread *t = threads;
		threads = t->next;
		__real_pthread_join(t->id, NULL);
		pthread_cond_destroy(&t->go);
		free(t);
	}
	known_count = 0;
	active = false;
}

bool sim_gate(void)
{
	if (!self)
		return true;
	take_baton();
	gates++;
	clock_ns += 1000000 + (int64_t)sim_dice(20) * 1000000;
	if (step_fn)
		step_fn(step_cookie);
	pass();
	drop_baton();
	return !self->machine->killed;
}

struct sim_machine *sim_self(void)
{
	return self ? self->machine : NULL;
}

void sim_leap(uint64_t seconds)
{
	clock_ns += (int64_t)seconds * 1000000000ll;
}
