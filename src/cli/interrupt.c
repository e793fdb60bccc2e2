/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/frame.h"

/* The only globals of the program besides the output's lock: a signal handler has no argument. */
static atomic_bool stop;
static volatile sig_atomic_t by_signal;

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

/* The first signal asks the work to stop; the next one of any of the three has its default action and kills. */
static void on_signal(int number)
{
	(void)number;
	by_signal = 1;
	atomic_store_explicit(&stop, true, memory_order_relaxed);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		signal(signals[i], SIG_DFL);
}

void interrupt_install(void)
{
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
		struct sigaction old, now = { .sa_handler = on_signal };
		/* What was ignored stays ignored (nohup). No SA_RESTART: a read at a prompt must return. */
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &now, NULL);
	}
	/* A reader that goes away is noticed as a failed write. */
	signal(SIGPIPE, SIG_IGN);
}

void interrupt_set(void)
{
	atomic_store_explicit(&stop, true, memory_order_relaxed);
}

bool interrupt_by_signal(void)
{
	return by_signal;
}

bool cli_interrupted(void)
{
	return atomic_load_explicit(&stop, memory_order_relaxed);
}

const atomic_bool *cli_stop_flag(void)
{
	return &stop;
}

int interrupt_wait_readable(int fd)
{
	sigset_t ours, before;
	sigemptyset(&ours);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaddset(&ours, signals[i]);
	/* Between the look at the flag and the wait no signal may come, or it would be waited over. */
	pthread_sigmask(SIG_BLOCK, &ours, &before);
	int r = -1;
	while (!cli_interrupted()) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (ppoll(&p, 1, NULL, &before) >= 0 || errno != EINTR) {
			r = 0; /* an error is the read's to report */
			break;
		}
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}
