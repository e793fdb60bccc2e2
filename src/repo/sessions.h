/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sessions: who is at work in the repository. docs/FORMAT.md, "Session" and "Collecting garbage".
 *
 * A struct own_session is announced before its owner looks at anything that could be deleted under it, and refreshed by a thread of its own until it ends. Other sessions are judged
 * by what their documents say. Threads: one, but for the refreshing inside.
 */
#ifndef REPO_SESSIONS_H
#define REPO_SESSIONS_H

#include "repo/format/document.h"
#include "repo/repo.h"

#define SESSION_REFRESH_SECONDS 300u
#define SESSION_FENCE_SECONDS (24u * 3600)

/* --- the own one ----------------------------------------------------------------------- */
struct own_session;
int own_session_begin(struct own_session **ret, struct repo *repo, enum session_work work, const char *host, struct error *err);
const struct id *own_session_id(const struct own_session *s);
/* It ends with work that no snapshot refers to yet: see unfinished.h. Before own_session_end. */
int own_session_note_unfinished(struct own_session *s, struct error *err);
/* Deletes its objects and frees it; NULL is fine. A store that refuses leaves a session that others find dead. */
void own_session_end(struct own_session *s);
/* Frees it but leaves its object, by which the next writer knows that there is something to find. */
void own_session_leave(struct own_session *s);

/* --- all of them ----------------------------------------------------------------------- */
enum session_state {
	SESSION_ALIVE,     /* or nothing speaks against it */
	SESSION_GONE,      /* its process is known to be gone: can be ended */
	SESSION_FORSAKEN,  /* most likely gone (this machine was started anew since, or it was not refreshed for long): can be fenced */
};

struct session_entry {
	struct id session;         /* several objects may name one session while it is refreshed */
	struct id object;
	struct session document;   /* zeros where the object cannot be read (damaged is set) */
	bool damaged;
	enum session_state state;
};

struct session_list {
	struct session_entry *items; /* one for each object */
	size_t count;
};

/* fence_seconds: from which age on a session that is not refreshed counts as forsaken. own (may be NULL) is left out. An object that vanishes meanwhile is left out; one that is damaged
 * is judged by nothing but its presence: alive. */
int session_list_read(struct session_list *ret, struct repo *repo, const struct id *own, uint64_t fence_seconds, struct error *err);
void session_list_done(struct session_list *l);
/* Deletes all objects of the session that l holds. */
int session_delete(struct repo *repo, const struct session_list *l, const struct id *session, struct error *err);

#endif
