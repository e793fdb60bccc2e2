/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who signs in whose name: of each host this user remembers the keys that signed its snapshots and entries of the log when he first looked, as SSH does of servers (trust on first use), and
 * is told of what comes later in the name of such a host and is not signed by one of them. docs/FORMAT.md, "Snapshot log". Threads: one.
 *
 * The memory is the file "signers-seen" beside the own key (signing.h): a line "twofold-signers-1", then lines "signs HOST KEY" (HOST: the host's name, hashed by the key of metadata's chunk
 * ids) and "unsigned ID" (a snapshot or an entry that was there without a signature that is believed, and is taken for right). What makes no sense counts as no memory.
 */
#ifndef REPO_SIGNERS_H
#define REPO_SIGNERS_H

#include "repo/log.h"

enum signers_doubt {
	SIGNERS_NONE,  /* not signed, though others of this host are */
	SIGNERS_OTHER, /* signed by a key that did not sign for this host before */
	SIGNERS_FALSE, /* the signature does not fit what is there */
};

struct signers_finding {
	enum signers_doubt doubt;
	bool is_entry;       /* of the log; otherwise a snapshot */
	struct id id;
	struct time_ns time; /* as it says */
	char *host;          /* in whose name; owned */
	bool is_copy;        /* of a snapshot: somebody else made this copy */
	struct id key;       /* SIGNERS_OTHER: by which one */
	uint64_t more;       /* SIGNERS_OTHER: so many more by the same key in the same name */
};

struct signers_judgement {
	struct signers_finding *items;
	size_t count;
	uint64_t signed_snapshots, unsigned_snapshots;
};
void signers_judgement_done(struct signers_judgement *j);

/* l: the log as it is; snapshots: all. What is seen for the first time is remembered, what is doubted is not. accept: everything is taken for right, remembered, and not doubted.
 * Costs a signature's check (some 50 µs) for each snapshot. */
int signers_judge(struct repo *r, const struct repo_log *l, const struct snapshot_list *snapshots, bool accept, struct signers_judgement *ret, struct error *err);
/* The same, reads both. */
int signers_accept(struct repo *r, struct error *err);

/* What a finding says, for people; without the id. */
#define SIGNERS_TEXT_MAX 900
const char *signers_text(const struct repo_log *l, const struct signers_finding *f, char ret[SIGNERS_TEXT_MAX]);

#endif
