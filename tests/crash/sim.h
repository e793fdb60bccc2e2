/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Several machines in one process, one thread at a time, in an order that a seed decides.
 *
 * The test program is linked so that the project's calls of pthread_*, clocks, random bytes, getpid, kill, and what /proc says of processes come here first (SIM_WRAPPED in meson.build). Threads that
 * a machine starts belong to it; exactly one thread of all machines runs at any moment, and control changes hands only where a thread waits, ends, or
 * calls sim_gate (which the test's store does before every call). The clock stands still but for what a gate adds, and leaps when everybody waits for a time. So a run is a
 * function of the seed. Outside of sim_run everything is as in any program, except that random bytes come from the seed after sim_seed.
 */
#ifndef CRASH_SIM_H
#define CRASH_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_machine {
	void (*run)(void *arg);
	void *arg;
	const char *name;
	const char *host;     /* machines of one host see each other's processes; NULL: "host" */
	int64_t clock_error;  /* seconds that its clock is ahead */
	/* set by step, or by sim_run */
	bool paused, killed, done;
	int pid;              /* what getpid says there; given by sim_run */
};

/* Random bytes, and the order of everything, follow from it. */
void sim_seed(uint64_t seed);
/* The next number of the seed's row. */
uint64_t sim_random(void);
/* 0 .. below-1 */
static inline unsigned sim_dice(unsigned below)
{
	return (unsigned)(sim_random() % below);
}

/* Runs all machines to their end. step (may be NULL) is called at every gate, on the thread that is there, before it is decided who goes on: it may pause, wake and kill machines and
 * move the clock. When all that are left are paused, the first of them is woken. */
void sim_run(struct sim_machine *machines, size_t count, void (*step)(void *cookie), void *cookie);
/* The same for machines that do not lie side by side. */
void sim_run_list(struct sim_machine *const *machines, size_t count, void (*step)(void *cookie), void *cookie);
/* Starts one more, from step. It must lie in the array that sim_run was given, or outlive the run. */
void sim_start(struct sim_machine *m);
/* Before each call of a store. false: this machine has been killed. */
bool sim_gate(void);
/* The machine on whose thread this is called; NULL outside of a run. */
struct sim_machine *sim_self(void);
void sim_leap(uint64_t seconds);
/* Of everything that was decided in this run: equal runs have equal sums. */
uint64_t sim_trace(void);
uint64_t sim_gates(void);

#endif
