/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the parts of the frame share among themselves; commands include cli.h. */
#ifndef CLI_FRAME_H
#define CLI_FRAME_H

#include "cli/cli.h"

/* output.c: the lock that every line of output is printed under, and the progress line that stands below it. */
void output_lock(void);
void output_unlock(void);
/* With the lock held: erases the progress line; what is printed next pushes it down, and it is drawn again at its next turn. */
void output_erase_line(void);
/* With the lock held: replaces the progress line on stderr. NULL: erases it. */
void output_draw_line(const char *text);
/* With the lock held: one object as one line to f. Takes over the reference. */
void output_object(FILE *f, json_t *object);
/* The one line (or object) that a failed command ends with. */
void output_error(struct cli *cli, const struct error *err, int exit_code);
/* Everything printed has reached the system; false: standard output failed, and err says how. */
int output_finish(struct error *err);
const char *error_kind_name(enum error_kind kind);

/* interrupt.c */
void interrupt_install(void);
void interrupt_set(void); /* standard output is gone: stop as if asked to */
bool interrupt_by_signal(void);
/* Waits until fd can be read: 0; -1 when a signal that asks to stop came before or meanwhile. */
int interrupt_wait_readable(int fd);

/* help.c */
void help_all(struct cli *cli);
void help_command(struct cli *cli, const struct command *command);
/* The command or commands that begin with this word ("key"). False when there are none. */
bool help_group(struct cli *cli, const char *word);
/* The command whose name is nearest to this text, or NULL. */
const struct command *help_nearest(const struct command *const *commands, const char *text);

#endif
