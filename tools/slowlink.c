/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * slowlink LISTEN_PORT TARGET_PORT DELAY_MS MBIT: a TCP relay on loopback that behaves like a link of that rate, with that delay in each direction. For
 * measuring where the kernel has no netem. The rate is shared by all connections of a direction; at most what the link holds, and 256 KiB of queue,
 * are taken from a sender ahead of time.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PIECE 16384
#define QUEUE (256 << 10)

struct piece {
	struct piece *next;
	double due; /* when it arrives */
	ssize_t len; /* 0: the end */
	char data[PIECE];
};

struct direction {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct piece *first, **last;
	size_t bytes;
	int from, to, side;
	int dead;
};

static double delay, rate; /* seconds; bytes a second */
static pthread_mutex_t link_lock = PTHREAD_MUTEX_INITIALIZER;
static double link_free[2]; /* when each direction's wire is free again */

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void wait_until(double when)
{
	double left = when - now();
	if (left > 0)
		nanosleep(&(struct timespec){ (time_t)left, (long)((left - (double)(time_t)left) * 1e9) }, NULL);
}

static double arrival(int side, ssize_t len)
{
	pthread_mutex_lock(&link_lock);
	double start = now() > link_free[side] ? now() : link_free[side];
	link_free[side] = start + (double)len / rate;
	double due = link_free[side] + delay;
	pthread_mutex_unlock(&link_lock);
	return due;
}

static void *take(void *arg)
{
	struct direction *d = arg;
	ssize_t len = 1;
	while (len > 0) {
		struct piece *p = malloc(sizeof *p);
		if (!p)
			exit(1);
		len = read(d->from, p->data, PIECE);
		p->len = len > 0 ? len : 0;
		p->next = NULL;
		p->due = arrival(d->side, p->len);
		pthread_mutex_lock(&d->lock);
		*d->last = p;
		d->last = &p->next;
		d->bytes += (size_t)p->len;
		pthread_cond_broadcast(&d->changed);
		while (d->bytes > (size_t)(rate * delay) + QUEUE && !d->dead)
			pthread_cond_wait(&d->changed, &d->lock);
		if (d->dead)
			len = 0;
		pthread_mutex_unlock(&d->lock);
	}
	return NULL;
}

static void *give(void *arg)
{
	struct direction *d = arg;
	for (int going = 1; going;) {
		pthread_mutex_lock(&d->lock);
		while (!d->first)
			pthread_cond_wait(&d->changed, &d->lock);
		struct piece *p = d->first;
		pthread_mutex_unlock(&d->lock);
		wait_until(p->due);
		for (ssize_t at = 0, n; at < p->len; at += n)
			if ((n = send(d->to, p->data + at, (size_t)(p->len - at), MSG_NOSIGNAL)) < 0) {
				going = 0;
				break;
			}
		going = going && p->len;
		pthread_mutex_lock(&d->lock);
		d->first = p->next;
		if (!d->first)
			d->last = &d->first;
		d->bytes -= (size_t)p->len;
		d->dead = !going;
		pthread_cond_broadcast(&d->changed);
		pthread_mutex_unlock(&d->lock);
		free(p);
	}
	shutdown(d->to, SHUT_WR);
	shutdown(d->from, SHUT_RD);
	return NULL; /* the few bytes of a connection stay until this program ends */
}

static struct sockaddr_in loopback(const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	return a;
}

static void relay(int from, int to, int side)
{
	struct direction *d = calloc(1, sizeof *d);
	pthread_t thread;
	int one = 1;
	if (!d)
		exit(1);
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->changed, NULL);
	d->last = &d->first;
	d->from = from;
	d->to = to;
	d->side = side;
	setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (pthread_create(&thread, NULL, take, d) || pthread_create(&thread, NULL, give, d))
		exit(1);
}

int main(int argc, char **argv)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	if (argc != 5 || (rate = atof(argv[4]) * 1e6 / 8) <= 0) {
		fprintf(stderr, "usage: slowlink LISTEN_PORT TARGET_PORT DELAY_MS MBIT\n");
		return 2;
	}
	delay = atof(argv[3]) / 1000;
	struct sockaddr_in here = loopback(argv[1]), target = loopback(argv[2]);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, 16) < 0) {
		perror("slowlink");
		return 1;
	}
	for (;;) {
		int client = accept(listener, NULL, NULL), server = socket(AF_INET, SOCK_STREAM, 0);
		if (client < 0 || server < 0 || connect(server, (struct sockaddr *)&target, sizeof target) < 0) {
			close(client);
			close(server);
			continue;
		}
		relay(client, server, 0);
		relay(server, client, 1);
	}
}
