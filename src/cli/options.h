/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Command lines against a table of options. Pure: no output, no globals. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "cli/cli.h"

/* The options of every command; they fill a struct cli_common. */
extern const struct option_spec common_options[];

/* One table and the struct that it fills. */
struct option_target {
	const struct option_spec *specs; /* may be NULL */
	void *args;
};

/* Gives number, size and choice members their initial values; args is zeroed by the caller. */
void options_init(const struct option_target *target);
/* Parses argv[1..argc-1] against the targets in order; what is not an option is moved to the front of argv[1..] and counted in *ret_operands.
 * "--" ends the options; "-" is an operand. stop_at_operand: leaves the first operand and everything behind it as they are, and *ret_next says
 * where it stands. ERR_INVALID names the argument and, for an unknown option, the nearest known one. */
int options_parse(int argc, char **argv, const struct option_target *targets, size_t target_count, bool stop_at_operand,
                  int *ret_operands, int *ret_next, struct error *err);
/* Frees the lists. */
void options_done(const struct option_target *target);
/* Bytes: digits with an optional fraction, then nothing or one of K M G T P (any case, powers of 1024), optionally followed by "iB" or "B". */
bool option_parse_size(const char *text, uint64_t *ret);
/* How many letters differ (insertions, deletions, substitutions); for suggestions. Texts over 40 bytes count as far. */
unsigned option_distance(const char *a, const char *b);

#endif
