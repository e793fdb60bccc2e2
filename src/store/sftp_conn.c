/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/sftp_conn.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#define PIECE_MIN (32u << 10)
#define PIECE_MAX (128u << 10)
#define INPUT_SIZE (2 * (SFTP_PACKET_MAX + 4))
#define CONNECT_MIN 10u /* seconds: keys and logins take their time, however impatient somebody is with the rest */
#define TICK 200 /* milliseconds between two looks at the clock */

struct sftp_conn {
	struct sftp_ssh ssh;
	char *location;
	unsigned timeout;           /* seconds of silence */
	unsigned patience;          /* seconds until it must be connected */
	struct sftp_server server;
	size_t piece;
	pthread_mutex_t send_lock;  /* one packet at a time into the socket */
	pthread_mutex_t lock;       /* guards all below */
	pthread_cond_t changed;     /* a request that is waited for is done, or there is room for another */
	unsigned refs;
	unsigned room_waiters;
	bool dead;
	bool over;                  /* the thread is done with it: why is known */
	struct error why;           /* once dead */
	struct sftp_request *flying[SFTP_REQUESTS];
	uint32_t turn[SFTP_REQUESTS]; /* counts the uses of a slot: a late or invented reply does not fit */
	unsigned count;
	size_t weight;
	uint64_t heard;             /* monotonic ms: last reply, or when the first request went out */
	pthread_t thread;
	bool started;
	/* the thread's own: */
	uint8_t *input;
	size_t input_len;
};

static uint64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void sftp_request_done(struct sftp_request *r)
{
	buf_done(&r->body);
}

/* --- under the lock --------------------------------------------------------------------- */

/* The request in slot is over. */
static void finish(struct sftp_conn *c, unsigned slot)
{
	struct sftp_request *r = TAKE(c->flying[slot]);
	c->turn[slot]++;
	c->count--;
	c->weight -= r->weight;
	r->done = true;
	bool wake = r->waited || c->room_waiters;
	if (r->detached) {
		sftp_request_done(r);
		free(r);
	}
	if (wake)
		pthread_cond_broadcast(&c->changed);
}

/* why NULL: ssh will say, once it has been stopped. */
static void die(struct sftp_conn *c, const struct error *why)
{
	if (c->dead)
		return;
	c->dead = true;
	if (why)
		c->why = *why;
	if (c->ssh.socket >= 0)
		shutdown(c->ssh.socket, SHUT_RDWR);
}

static void lose_all(struct sftp_conn *c)
{
	for (unsigned i = 0; i < SFTP_REQUESTS; i++)
		if (c->flying[i]) {
			c->flying[i]->lost = true;
			finish(c, i);
		}
	pthread_cond_broadcast(&c->changed);
}

/* --- the thread that reads ---------------------------------------------------------------- */

/* Puts a reply into the request that asked for it. False: nobody did, or it is none. */
static bool deliver(struct sftp_conn *c, const uint8_t *packet, size_t len)
{
	uint8_t type;
	uint32_t id;
	if (!sftp_reply_head(packet, len, &type, &id))
		return false;
	unsigned slot = id % SFTP_REQUESTS;
	struct sftp_request *r = c->flying[slot];
	if (!r || id / SFTP_REQUESTS != c->turn[slot] % (UINT32_MAX / SFTP_REQUESTS))
		return false;
	const uint8_t *body = packet + 5, *data;
	size_t data_len;
	r->type = type;
	if (type == SFTP_DATA && r->into) {
		if (!sftp_decode_data(body, len - 5, &data, &data_len) || data_len > r->into_len)
			return false;
		memcpy(r->into, data, data_len);
		r->got = data_len;
	} else if (!r->detached) {
		buf_clear(&r->body);
		buf_add(&r->body, body, len - 5);
		if (!buf_ok(&r->body))
			return false;
	}
	c->heard = now_ms();
	finish(c, slot);
	return true;
}

/* Takes every whole packet out of the input. */
static bool take_packets(struct sftp_conn *c)
{
	size_t at = 0;
	bool fine = true;
	while (fine && c->input_len - at >= 4) {
		size_t len = get_be32(c->input + at);
		if (len < 5 || len > SFTP_PACKET_MAX) {
			fine = false;
			break;
		}
		if (c->input_len - at - 4 < len)
			break;
		pthread_mutex_lock(&c->lock);
		fine = deliver(c, c->input + at + 4, len);
		pthread_mutex_unlock(&c->lock);
		at += 4 + len;
	}
	memmove(c->input, c->input + at, c->input_len - at);
	c->input_len -= at;
	return fine;
}

static int silent(struct sftp_conn *c, struct error *err)
{
	error_set(err, ERR_IO, "%s: the server has not answered for %u s, the connection was given up (TWOFOLD_SFTP_TIMEOUT sets the seconds)", c->location, c->timeout);
	return error_passing(err);
}

static bool too_silent(struct sftp_conn *c)
{
	pthread_mutex_lock(&c->lock);
	bool silent_now = c->count && now_ms() - c->heard > (uint64_t)c->timeout * 1000;
	pthread_mutex_unlock(&c->lock);
	return silent_now;
}

/* Reads what is there. 1: something, 0: nothing yet, -1: the connection is over, -2: what came is not SFTP. */
static int read_some(struct sftp_conn *c)
{
	struct pollfd polled[2] = { { c->ssh.socket, POLLIN, 0 }, { c->ssh.errors, POLLIN, 0 } };
	if (poll(polled, 2, TICK) < 0)
		return errno == EINTR ? 0 : -1;
	if (polled[1].revents && !sftp_ssh_listen(&c->ssh)) {
		close(c->ssh.errors);
		c->ssh.errors = -1;
	}
	if (!polled[0].revents)
		return 0;
	ssize_t n = recv(c->ssh.socket, c->input + c->input_len, INPUT_SIZE - c->input_len, 0);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -1;
	if (n == 0)
		return -1;
	c->input_len += (size_t)n;
	return take_packets(c) ? 1 : -2;
}

static void *reader(void *arg)
{
	struct sftp_conn *c = arg;
	struct error why = { 0 };
	int state = 0;
	while (state >= 0) {
		state = read_some(c);
		if (state == 0 && too_silent(c)) {
			silent(c, &why);
			break;
		}
	}
	if (state == -2)
		error_set(&why, ERR_CORRUPT, "%s: the server sent what is not SFTP, or answers that nobody asked for", c->location);
	pthread_mutex_lock(&c->lock);
	die(c, why.kind != ERR_NONE ? &why : NULL);
	pthread_mutex_unlock(&c->lock);
	/* Who sends now gets an error from the socket; nobody sends once the lock is held. */
	pthread_mutex_lock(&c->send_lock);
	sftp_ssh_stop(&c->ssh);
	pthread_mutex_unlock(&c->send_lock);
	pthread_mutex_lock(&c->lock);
	if (c->why.kind == ERR_NONE)
		sftp_ssh_failed(&c->ssh, "reach", c->location, &c->why);
	c->why.passing = c->why.kind != ERR_CORRUPT; /* it worked before */
	c->over = true;
	lose_all(c);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* --- sending ------------------------------------------------------------------------------ */

static bool write_all(int fd, struct iovec *parts, size_t count)
{
	while (count) {
		struct msghdr m = { .msg_iov = parts, .msg_iovlen = count };
		ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		size_t written = (size_t)n;
		for (; count && written >= parts->iov_len; count--, parts++)
			written -= parts->iov_len;
		if (count) {
			parts->iov_base = (uint8_t *)parts->iov_base + written;
			parts->iov_len -= written;
		}
	}
	return true;
}

static unsigned free_slot(const struct sftp_conn *c)
{
	unsigned slot = 0;
	while (c->flying[slot])
		slot++;
	return slot;
}

/* Registers r; false: dead. */
static bool take_off(struct sftp_conn *c, struct sftp_request *r, size_t weight, uint32_t *ret_id)
{
	pthread_mutex_lock(&c->lock);
	c->room_waiters++;
	while (!c->dead && (c->count == SFTP_REQUESTS || (c->weight && c->weight + weight > SFTP_FLIGHT)))
		pthread_cond_wait(&c->changed, &c->lock);
	c->room_waiters--;
	bool alive = !c->dead;
	r->sent = true;
	r->done = !alive;
	r->lost = !alive;
	r->waited = false;
	r->weight = weight;
	if (alive) {
		unsigned slot = free_slot(c);
		c->flying[slot] = r;
		c->weight += weight;
		if (!c->count++)
			c->heard = now_ms();
		*ret_id = slot + SFTP_REQUESTS * (c->turn[slot] % (UINT32_MAX / SFTP_REQUESTS));
	}
	pthread_mutex_unlock(&c->lock);
	return alive;
}

/* True: r is in the connection's hands until it is done. False: it is done already, as lost. */
static bool send_one(struct sftp_conn *c, struct sftp_request *r, struct buf *packet, const void *data, size_t len, size_t weight)
{
	uint32_t id;
	if (!buf_ok(packet)) {
		r->sent = r->done = r->lost = true;
		return false;
	}
	if (!take_off(c, r, weight, &id))
		return false;
	sftp_packet_set_id(packet, id);
	struct iovec parts[2] = { { packet->data, packet->len }, { (void *)(uintptr_t)data, len } };
	pthread_mutex_lock(&c->send_lock);
	bool fine = c->ssh.socket >= 0 && write_all(c->ssh.socket, parts, len ? 2 : 1);
	pthread_mutex_unlock(&c->send_lock);
	if (!fine) {
		pthread_mutex_lock(&c->lock);
		die(c, NULL); /* the thread notices, and ends the request */
		pthread_mutex_unlock(&c->lock);
	}
	return true;
}

void sftp_send(struct sftp_conn *c, struct sftp_request *r, struct buf *packet, const void *data, size_t len, size_t weight)
{
	send_one(c, r, packet, data, len, weight);
}

void sftp_wait(struct sftp_conn *c, struct sftp_request *r)
{
	if (!r->sent) {
		r->lost = true;
		return;
	}
	pthread_mutex_lock(&c->lock);
	r->waited = true;
	while (!r->done)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

bool sftp_done(struct sftp_conn *c, struct sftp_request *r)
{
	pthread_mutex_lock(&c->lock);
	bool done = r->done;
	pthread_mutex_unlock(&c->lock);
	return done;
}

void sftp_send_blind(struct sftp_conn *c, struct buf *packet)
{
	struct sftp_request *r = calloc(1, sizeof *r);
	if (!r)
		return; /* a handle stays open until the connection ends */
	r->detached = true;
	if (!send_one(c, r, packet, NULL, 0, 0))
		free(r);
}

/* --- from start to end --------------------------------------------------------------------- */

bool sftp_conn_dead(struct sftp_conn *c)
{
	pthread_mutex_lock(&c->lock);
	bool dead = c->dead;
	pthread_mutex_unlock(&c->lock);
	return dead;
}

int sftp_conn_why(struct sftp_conn *c, const char *doing, struct error *err)
{
	pthread_mutex_lock(&c->lock);
	/* Until the thread has finished with it the words of ssh are not known. */
	while (c->dead && !c->over)
		pthread_cond_wait(&c->changed, &c->lock);
	struct error why = c->why;
	pthread_mutex_unlock(&c->lock);
	if (why.kind == ERR_NONE) {
		error_set(&why, ERR_IO, "%s: the connection broke", c->location);
		why.passing = true;
	}
	if (err)
		*err = why;
	return error_add(err, "%s", doing);
}

const struct sftp_server *sftp_conn_server(const struct sftp_conn *c)
{
	return &c->server;
}

size_t sftp_conn_piece(const struct sftp_conn *c)
{
	return c->piece;
}

struct sftp_conn *sftp_conn_ref(struct sftp_conn *c)
{
	pthread_mutex_lock(&c->lock);
	c->refs++;
	pthread_mutex_unlock(&c->lock);
	return c;
}

static void conn_free(struct sftp_conn *c)
{
	if (c->started) {
		pthread_mutex_lock(&c->lock);
		die(c, NULL);
		pthread_mutex_unlock(&c->lock);
		pthread_join(c->thread, NULL);
	} else {
		sftp_ssh_stop(&c->ssh);
	}
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->send_lock);
	free(c->location);
	free(c->input);
	free(c);
}

void sftp_conn_unref(struct sftp_conn *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	bool last = --c->refs == 0;
	pthread_mutex_unlock(&c->lock);
	if (last)
		conn_free(c);
}

/* Sends INIT and waits for VERSION, before there is a thread. */
static int greet(struct sftp_conn *c, struct error *err)
{
	static const uint8_t init[] = { 0, 0, 0, 5, SFTP_INIT, 0, 0, 0, 3 };
	struct iovec part = { (void *)(uintptr_t)init, sizeof init };
	write_all(c->ssh.socket, &part, 1);
	for (uint64_t end = now_ms() + (uint64_t)c->patience * 1000; now_ms() < end;) {
		struct pollfd polled[2] = { { c->ssh.socket, POLLIN, 0 }, { c->ssh.errors, POLLIN, 0 } };
		poll(polled, 2, TICK);
		if (polled[1].revents && !sftp_ssh_listen(&c->ssh)) {
			close(c->ssh.errors);
			c->ssh.errors = -1;
		}
		if (!polled[0].revents)
			continue;
		ssize_t n = recv(c->ssh.socket, c->input + c->input_len, INPUT_SIZE - c->input_len, 0);
		if (n <= 0) {
			sftp_ssh_stop(&c->ssh);
			return sftp_ssh_failed(&c->ssh, "open", c->location, err);
		}
		c->input_len += (size_t)n;
		size_t len = c->input_len >= 4 ? get_be32(c->input) : 0;
		if (c->input_len >= 4 && (len < 5 || len > SFTP_PACKET_MAX))
			return error_set(err, ERR_CORRUPT, "open %s: what the server sent is not SFTP; does its shell print something at login?", c->location);
		if (c->input_len < 4 || c->input_len - 4 < len)
			continue;
		if (!sftp_decode_version(&c->server, c->input + 4, len) || c->server.version < 3)
			return error_set(err, ERR_UNSUPPORTED, "open %s: the server does not speak version 3 of SFTP", c->location);
		c->input_len = 0;
		return 0;
	}
	sftp_ssh_stop(&c->ssh);
	error_set(err, ERR_IO, "open %s: no answer within %u s; is it the right host and port, and does it let this network in? (TWOFOLD_SFTP_TIMEOUT sets the seconds)", c->location, c->patience);
	return error_passing(err);
}

static int ask_limits(struct sftp_conn *c, struct error *err)
{
	c->piece = PIECE_MIN;
	if (!c->server.limits)
		return 0;
	CLEAN_BUF struct buf packet = BUF_INIT;
	struct sftp_request r = { 0 };
	struct sftp_limits l;
	sftp_begin(&packet, SFTP_EXTENDED);
	sftp_add_text(&packet, "limits@openssh.com");
	sftp_end(&packet, 0);
	sftp_send(c, &r, &packet, NULL, 0, 0);
	sftp_wait(c, &r);
	if (r.lost)
		return sftp_conn_why(c, "open", err);
	if (r.type == SFTP_EXTENDED_REPLY && sftp_decode_limits(r.body.data, r.body.len, &l)) {
		uint64_t least = l.read && l.read < l.write ? l.read : l.write;
		c->piece = least > PIECE_MAX ? PIECE_MAX : least > PIECE_MIN ? (size_t)least : PIECE_MIN;
	}
	sftp_request_done(&r);
	return 0;
}

static int conn_new(struct sftp_conn **ret, const char *location, unsigned timeout, struct error *err)
{
	struct sftp_conn *c = calloc(1, sizeof *c);
	if (!c)
		return error_set(err, ERR_NOMEM, "open %s: out of memory", location);
	c->ssh = (struct sftp_ssh)SFTP_SSH_INIT;
	c->refs = 1;
	c->timeout = timeout;
	c->patience = timeout < CONNECT_MIN ? CONNECT_MIN : timeout;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->send_lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	c->location = strdup(location);
	c->input = malloc(INPUT_SIZE);
	if (!c->location || !c->input) {
		conn_free(c);
		return error_set(err, ERR_NOMEM, "open %s: out of memory", location);
	}
	*ret = c;
	return 0;
}

int sftp_conn_open(struct sftp_conn **ret, const struct sftp_location *where, const char *location, unsigned timeout, struct error *err)
{
	CLEAN_CONN struct sftp_conn *c = NULL;
	if (conn_new(&c, location, timeout, err) < 0)
		return -1;
	if (sftp_ssh_start(&c->ssh, where, c->patience / 2, err) < 0)
		return error_add(err, "open %s", location);
	if (greet(c, err) < 0)
		return -1;
	int sys = pthread_create(&c->thread, NULL, reader, c);
	if (sys)
		return error_sys(err, sys, "open %s: start a thread", location);
	c->started = true;
	if (ask_limits(c, err) < 0)
		return -1;
	*ret = TAKE(c);
	return 0;
}
