/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The frame that every command stands in: its row in the table, its options, its output, its end.
 *
 * A command is one file cmd_NAME.c with one `const struct command command_NAME`, one line in commands.h and one in main.c's table.
 * It parses nothing (options.c does), prints only through the functions here and never calls exit. Its run function calls the
 * layers below, reports, and returns 0, or -1 with err set; the frame prints that error and chooses the exit code:
 *
 *     run returned 0, no cli_warn             0
 *     run returned 0 after a cli_warn         3
 *     -1 with cli_usage                       2
 *     -1 with ERR_CANCELLED after a signal    130
 *     -1 otherwise                            1
 *
 * Smallest command:
 *
 *     struct cat_args { bool raw; };
 *     static const struct option_spec cat_options[] = {
 *             OPTION_FLAG(struct cat_args, raw, "raw", 0, "do not decode"),
 *             OPTION_END,
 *     };
 *     static int cat_run(struct cli *cli, const void *args, struct error *err)
 *     {
 *             const struct cat_args *opt = args;
 *             ... cli->operands[0] ... opt->raw ...
 *     }
 *     const struct command command_cat = {
 *             .name = "cat", .group = GROUP_READ, .summary = "write a file's content to standard output",
 *             .operands = "SNAPSHOT:PATH", .min_operands = 1, .max_operands = 1,
 *             .options = cat_options, .args_size = sizeof(struct cat_args), .run = cat_run,
 *     };
 *
 * Threads: cli_say, cli_print, cli_warn, cli_json and cli_interrupted may be called from any thread; all else from the main one.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/progress.h"

enum {
	CLI_COMPLETE = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
	CLI_WARNED = 3, /* complete, but something was named in a warning */
	CLI_INTERRUPTED = 130,
};

/* --- options ------------------------------------------------------------------------------------ */

/* Texts point into argv or the environment and live as long as the program. */
struct text_list {
	const char **items; /* owned by the frame */
	size_t count;
};

enum option_kind {
	OPTION_KIND_FLAG,     /* bool: --dry-run */
	OPTION_KIND_COUNT,    /* unsigned: -v -v */
	OPTION_KIND_TEXT,     /* const char *: --target DIR; NULL when not given */
	OPTION_KIND_OPTIONAL, /* const char *: --read-data[=PERCENT]; "" when given without a value */
	OPTION_KIND_LIST,     /* struct text_list: may be given several times */
	OPTION_KIND_NUMBER,   /* uint64_t, min to max */
	OPTION_KIND_SIZE,     /* uint64_t bytes: 100, 64K, 1.5M, 2G, 1T (powers of 1024), min to max */
	OPTION_KIND_CHOICE,   /* unsigned: row in .choices; row 0 is the default */
};

struct option_spec {
	const char *name;           /* "dry-run"; NULL ends the table */
	char letter;                /* 'n', or 0 for none */
	enum option_kind kind;
	size_t offset;              /* of the member in the command's args struct */
	const char *value;          /* what help calls the value: "DIR"; NULL for flags */
	const char *help;           /* one line, no full stop */
	const char *const *choices; /* OPTION_KIND_CHOICE: NULL-terminated */
	uint64_t initial, min, max; /* NUMBER and SIZE: value when not given, and the range (max 0: no limit) */
};

/* The member's offset, checked by the compiler to have the type that the kind needs. */
#define OPTION_AT(type, member, ctype) (offsetof(type, member) + 0 * sizeof(&((type *)0)->member == (ctype *)0))
#define OPTION_FLAG(type, member, name, letter, help)                                                              \
	{ name, letter, OPTION_KIND_FLAG, OPTION_AT(type, member, bool), NULL, help, NULL, 0, 0, 0 }
#define OPTION_COUNT(type, member, name, letter, help)                                                             \
	{ name, letter, OPTION_KIND_COUNT, OPTION_AT(type, member, unsigned), NULL, help, NULL, 0, 0, 0 }
#define OPTION_TEXT(type, member, name, letter, value, help)                                                       \
	{ name, letter, OPTION_KIND_TEXT, OPTION_AT(type, member, const char *), value, help, NULL, 0, 0, 0 }
#define OPTION_OPTIONAL(type, member, name, letter, value, help)                                                   \
	{ name, letter, OPTION_KIND_OPTIONAL, OPTION_AT(type, member, const char *), value, help, NULL, 0, 0, 0 }
#define OPTION_LIST(type, member, name, letter, value, help)                                                       \
	{ name, letter, OPTION_KIND_LIST, OPTION_AT(type, member, struct text_list), value, help, NULL, 0, 0, 0 }
#define OPTION_NUMBER(type, member, name, letter, value, help, initial, min, max)                                  \
	{ name, letter, OPTION_KIND_NUMBER, OPTION_AT(type, member, uint64_t), value, help, NULL, initial, min, max }
#define OPTION_SIZE(type, member, name, letter, value, help, initial, min, max)                                    \
	{ name, letter, OPTION_KIND_SIZE, OPTION_AT(type, member, uint64_t), value, help, NULL, initial, min, max }
#define OPTION_CHOICE(type, member, name, letter, value, help, choices)                                            \
	{ name, letter, OPTION_KIND_CHOICE, OPTION_AT(type, member, unsigned), value, help, choices, 0, 0, 0 }
#define OPTION_END { NULL, 0, OPTION_KIND_FLAG, 0, NULL, NULL, NULL, 0, 0, 0 }

#define CACHE_SIZE_UNSET UINT64_MAX

/* The options that every command takes. */
struct cli_common {
	const char *repository;    /* --repo: as given; NULL: see location.h */
	const char *password_file; /* --password-file; NULL: see password.h */
	bool recovery_key;         /* --recovery-key: see password.h */
	bool json, quiet, no_cache, help;
	uint64_t limit_upload, limit_download; /* bytes a second; 0: not given */
	uint64_t cache_size;       /* --cache-size; CACHE_SIZE_UNSET: see session.c */
	unsigned verbose;
};

/* --- commands ------------------------------------------------------------------------------------ */

enum command_group { GROUP_BACKUP, GROUP_READ, GROUP_REPOSITORY, GROUP_OTHER };

#define COMMAND_ANY SIZE_MAX /* max_operands: no limit */

struct cli;

struct command {
	const char *name;     /* "backup"; of two words for a sub-command: "key add" */
	enum command_group group;
	const char *summary;  /* one line for the list of commands, lower case, no full stop */
	const char *operands; /* for the usage line: "PATH..."; NULL: none */
	size_t min_operands, max_operands;
	const char *about;    /* paragraphs for --help; may be NULL */
	const char *examples; /* lines for --help, each "twofold ..." or a "# remark"; may be NULL */
	const struct option_spec *options; /* NULL: only the common ones */
	size_t args_size;     /* of the struct that the options fill; zeroed before */
	int (*run)(struct cli *cli, const void *args, struct error *err);
};

struct cli_progress;

struct cli {
	const struct command *command;
	const struct command *const *commands; /* the whole table, NULL-terminated, for help */
	struct cli_common common;
	char **operands;                       /* what stands beside the options; NULL-terminated */
	size_t operand_count;
	/* --- the rest is the frame's own */
	atomic_uint_least64_t warnings;
	bool usage_error;
	FILE *json_out;                        /* where objects go: stdout, or stderr for a command that writes data */
	struct cli_progress *progress;         /* NULL when none is shown */
};

/* Runs one command line from start to end; returns the exit code. main calls it and nothing else. */
int cli_main(int argc, char **argv, const struct command *const *commands);

/* --- output --------------------------------------------------------------------------------------- */

/* With --json every line of output is one object with a member "type"; the functions for people then print nothing. */

/* The result that was asked for (a listing). Printed also with --quiet. */
void cli_print(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What is good to know (a summary, a hint). Not with --quiet. */
void cli_say(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Details for -v (level 1) and -v -v (level 2). */
void cli_detail(struct cli *cli, unsigned level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Something was left out or is not as it should be: named on stderr, counted, and the exit code becomes 3. fmt as for an error: no
 * newline, no full stop. Bytes from outside go through text_escape (text.h) first. */
void cli_warn(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same, for an error that was survived. */
void cli_warn_error(struct cli *cli, const struct error *err);
/* One object as one line; takes over the reference. Does nothing without --json, so no test is needed around it. */
void cli_json(struct cli *cli, json_t *object);
/* For a command whose standard output is data (cat): objects go to stderr from here on. */
void cli_stdout_is_data(struct cli *cli);
/* The command line makes no sense in a way that the option table cannot see. Sets err and the exit code 2. Returns -1. */
int cli_usage(struct cli *cli, struct error *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Asks on the terminal, whatever standard input is. ret_yes false where there is no terminal, or for anything but "yes". */
int cli_ask(struct cli *cli, const char *question, bool *ret_yes, struct error *err);

/* Sets object[key] to the bytes as text. Where they are not UTF-8, to an escaped form (\xNN), and object["<key>_bytes"] to their base64. */
void cli_json_bytes(json_t *object, const char *key, const void *bytes, size_t len);

/* --- progress and interruption --------------------------------------------------------------------- */

/* Shows p, which the work counts in, until cli_progress_stop: on a terminal one line that is redrawn, with --json one object a second,
 * otherwise nothing. doing: "backing up". p must outlive it. Also fine: never calling it. */
void cli_progress_start(struct cli *cli, struct progress *p, const char *doing);
void cli_progress_stop(struct cli *cli);

/* True once SIGINT, SIGTERM or SIGHUP came (or standard output is gone). A second signal kills. */
bool cli_interrupted(void);
/* The flag itself, for progress_init. */
const atomic_bool *cli_stop_flag(void);

#endif
