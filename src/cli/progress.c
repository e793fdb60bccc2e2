/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/frame.h"
#include "cli/text.h"

/* A thread of its own looks at the counters, so the work never waits for a slow terminal. */
struct cli_progress {
	struct cli *cli;
	struct progress *progress;
	char doing[40];
	uint64_t started;
	pthread_t thread;
	pthread_mutex_t lock; /* guards quit, with wake */
	pthread_cond_t wake;
	bool quit;
	/* The rate shown is that of the last few seconds: a running mean, so that it neither jumps nor lags. */
	uint64_t last_time, last_bytes;
	double rate;
};

#define LINE_INTERVAL_NS 200000000u
#define JSON_INTERVAL_NS 1000000000u

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void update_rate(struct cli_progress *s, uint64_t now, uint64_t bytes)
{
	double seconds = (double)(now - s->last_time) / 1e9;
	if (seconds <= 0)
		return;
	double rate = (double)(bytes - s->last_bytes) / seconds;
	double weight = seconds < 3 ? seconds / 3 : 1;
	s->rate = s->last_time == s->started ? rate : s->rate + (rate - s->rate) * weight;
	s->last_time = now;
	s->last_bytes = bytes;
}

/* Nanoseconds until the rest is done at the current rate; 0: cannot be said. */
static uint64_t time_left(const struct cli_progress *s, uint64_t bytes, uint64_t total)
{
	if (atomic_load(&s->progress->counting) || total <= bytes || s->rate < 1)
		return 0;
	double seconds = (double)(total - bytes) / s->rate;
	return seconds < 1e9 ? (uint64_t)(seconds * 1e9) : 0;
}

static size_t terminal_columns(void)
{
	struct winsize w;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20)
		return w.ws_col;
	return 80;
}

/* The end of the name says more than its beginning: characters go away from the left until it fits. */
static const char *fit_left(char *name, size_t columns)
{
	char *p = name;
	while (*p && text_columns(p) > columns)
		for (p++; (*p & 0xc0) == 0x80; p++)
			;
	return p;
}

static void draw_line(struct cli_progress *s, uint64_t now)
{
	struct progress *p = s->progress;
	uint64_t files = atomic_load(&p->files), bytes = atomic_load(&p->bytes);
	uint64_t files_total = atomic_load(&p->files_total), total = atomic_load(&p->bytes_total);
	update_rate(s, now, bytes);
	char a[TEXT_MAX], b[TEXT_MAX], head[256];
	int len = snprintf(head, sizeof head, "%s  %s", s->doing, text_duration(a, now - s->started));
	if (files || files_total)
		len += snprintf(head + len, sizeof head - (size_t)len, "  %s files", text_count(a, files));
	len += snprintf(head + len, sizeof head - (size_t)len, "  %s", text_size(a, bytes));
	if (total > bytes)
		len += snprintf(head + len, sizeof head - (size_t)len, " of %s", text_size(a, total));
	len += snprintf(head + len, sizeof head - (size_t)len, "  %s/s", text_size(b, (uint64_t)s->rate));
	uint64_t left = time_left(s, bytes, total);
	if (left)
		snprintf(head + len, sizeof head - (size_t)len, "  %s left", text_duration(b, left));

	char current[PROGRESS_CURRENT_MAX];
	size_t current_len = progress_get_current(p, current);
	CLEAN_FREE char *name = text_escaped(current, current_len);
	size_t columns = terminal_columns() - 1, used = text_columns(head) + 2;
	char line[sizeof head + 4 * PROGRESS_CURRENT_MAX + 3];
	if (used > columns)
		snprintf(line, sizeof line, "%.*s", (int)columns, head);
	else
		snprintf(line, sizeof line, "%s  %s", head, name ? fit_left(name, columns - used) : "");
	output_lock();
	output_draw_line(line);
	output_unlock();
}

static void print_object(struct cli_progress *s, uint64_t now)
{
	struct progress *p = s->progress;
	uint64_t bytes = atomic_load(&p->bytes), total = atomic_load(&p->bytes_total);
	update_rate(s, now, bytes);
	json_t *object = json_pack("{sssssfsIsIsIsIsIsb}", "type", "progress", "doing", s->doing,
	                           "seconds", (double)(now - s->started) / 1e9, "files", (json_int_t)atomic_load(&p->files),
	                           "bytes", (json_int_t)bytes, "files_total", (json_int_t)atomic_load(&p->files_total),
	                           "bytes_total", (json_int_t)total, "bytes_per_second", (json_int_t)s->rate,
	                           "counting", (int)atomic_load(&p->counting));
	uint64_t left = time_left(s, bytes, total);
	if (left)
		json_object_set_new(object, "seconds_left", json_real((double)left / 1e9));
	char current[PROGRESS_CURRENT_MAX];
	size_t len = progress_get_current(p, current);
	if (len)
		cli_json_bytes(object, "current", current, len);
	cli_json(s->cli, object);
}

static void *show(void *arg)
{
	struct cli_progress *s = arg;
	uint64_t interval = s->cli->common.json ? JSON_INTERVAL_NS : LINE_INTERVAL_NS;
	uint64_t next = s->started + interval;
	pthread_mutex_lock(&s->lock);
	while (!s->quit) {
		struct timespec until = { (time_t)(next / 1000000000u), (long)(next % 1000000000u) };
		if (pthread_cond_timedwait(&s->wake, &s->lock, &until) != ETIMEDOUT)
			continue;
		pthread_mutex_unlock(&s->lock);
		uint64_t now = now_ns();
		if (s->cli->common.json)
			print_object(s, now);
		else
			draw_line(s, now);
		next = now + interval;
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

void cli_progress_start(struct cli *cli, struct progress *p, const char *doing)
{
	bool terminal = isatty(STDERR_FILENO) && !cli->common.quiet;
	if (cli->progress || (!cli->common.json && !terminal))
		return;
	struct cli_progress *s = calloc(1, sizeof *s);
	if (!s)
		return; /* nothing depends on it being shown */
	s->cli = cli;
	s->progress = p;
	snprintf(s->doing, sizeof s->doing, "%s", doing);
	s->started = s->last_time = now_ns();
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_t clock;
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &clock);
	pthread_condattr_destroy(&clock);
	if (pthread_create(&s->thread, NULL, show, s) != 0) {
		pthread_cond_destroy(&s->wake);
		pthread_mutex_destroy(&s->lock);
		free(s);
		return;
	}
	cli->progress = s;
}

void cli_progress_stop(struct cli *cli)
{
	struct cli_progress *s = TAKE(cli->progress);
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->quit = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s);
	output_lock();
	output_draw_line(NULL);
	output_unlock();
}
