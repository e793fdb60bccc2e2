/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One restore of files in progress: what the steps of it share.
 *
 *   files.c    walks the snapshot and decides; the main thread
 *   folders.c  the target's folders: made, entered, left
 *   existing.c what stands in the target already
 *   batch.c    what has been decided and waits to be written, and what comes after that
 *   write.c    content of files; the workers
 *   special.c  what has no content, and hard links; the main thread
 *   verify.c   reading back; the workers
 *   gaps.c     what could not be set
 *
 * The main thread fills one batch while the workers write the other. A struct folder and a struct file live until the batch that
 * finished them is settled.
 */
#ifndef RESTORE_WORK_H
#define RESTORE_WORK_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "repo/format/node.h"
#include "restore/apply.h"
#include "restore/beneath.h"
#include "restore/files.h"
#include "restore/gaps.h"
#include "restore/links.h"
#include "restore/plan.h"
#include "task/pool.h"
#include "view/tree.h"

#define BATCH_FILES (32u << 10)
#define BATCH_PARTS (64u << 10)
#define BATCH_BYTES (16u << 20) /* of names, extended attributes and the like */
#define OPEN_FILES 128u
#define TEMPORARY_MAX 64

enum folder_state { FOLDER_WAITING /* made when something in it is */, FOLDER_READY, FOLDER_FAILED };

/* A folder of the target. Written by the main thread only. */
struct folder {
	struct folder *above;   /* NULL: the target itself */
	char *path;             /* below the target, as beneath.h wants it; owned */
	size_t len;
	struct attr attr;       /* to be given at the end */
	enum folder_state state;
	bool chosen;            /* itself, not only something in it */
	bool made;              /* by this restore: nothing stands in it but what we put there */
	bool give_attr;
	struct folder *next;    /* in the batch's list of those that are left */
};

/* A regular file with its place in the target. */
struct file {
	struct folder *folder;
	char *name;             /* owned */
	struct attr attr;
	struct link_group *group; /* NULL: it has one name */
	uint32_t number;        /* unique; of its temporary name */
	bool replace;           /* made under a temporary name, then renamed */
	bool small;             /* one part: one worker does it all */
	bool skipped;           /* equal already: only verified */
	bool checked;           /* one of its parts is in the batch's checks */
	bool spans;             /* its parts are in more than one batch */
	bool finished;          /* stands complete under its name */
	atomic_bool damaged;    /* part of it is lost */
	atomic_uint left;       /* parts to be written, plus one while it is planned */
	uint32_t parts;         /* planned so far */
	/* The rest is guarded by open_table.lock. */
	int entry;              /* in open_table; -1: not open */
	bool made, failed;
	dev_t dev;              /* of the file made, so that opening it again finds the same */
	ino_t ino;
	struct error *why;      /* what the first loss was; owned */
};

struct open_entry {
	struct file *file;      /* NULL: free */
	int fd;
	unsigned users;
	uint64_t used;          /* counts up */
};

/* Files of several parts that are being written. */
struct open_table {
	pthread_mutex_t lock;
	struct open_entry entries[OPEN_FILES];
	uint64_t clock;
};

/* Another name for a file that an earlier one stands for. */
struct hard_link {
	struct folder *folder;
	char *name;             /* owned */
	struct time_ns mtime;
	struct link_group *group;
};

/* Bytes to be read back. */
struct check {
	struct id chunk;
	uint64_t position;
	uint32_t length;        /* 0: just look at the file's size */
	uint32_t owner;         /* place in files */
};

struct batch {
	struct plan *plan;      /* owner: place in files */
	struct file **files;    /* up to BATCH_FILES */
	size_t file_count;
	bool lends_last;        /* the last file goes on in the next batch, which then owns it */
	atomic_size_t next_file; /* where the workers are: among files without parts, later among runs */
	struct buf checks;      /* verify: struct check, in the order of files */
	struct buf runs;        /* verify: first check of each file, uint32_t */
	struct buf links;       /* of struct hard_link */
	struct folder *left, *left_last; /* in the order of leaving: deepest first */
	size_t weight;          /* bytes that files, links and folders own, about */
};

struct slot {
	struct beneath_cache folder;
	struct buf raw;
};

struct counters {
	atomic_uint_least64_t files, folders, symlinks, specials, hard_links, bytes, replaced, unchanged, kept, damaged, failed, verified;
};

struct restore {
	const struct restore_options *options;
	struct repo *repo;
	const struct snapshot *snapshot;
	struct view *view;
	struct beneath *target; /* NULL in a dry run whose target does not exist */
	struct names *names;
	struct apply_options apply;
	struct pool *pool;
	struct slot *slots;     /* pool_slots; the last is the main thread's */
	unsigned slot_count;
	uint64_t nonce;         /* of temporary names */
	uint32_t numbers;
	struct batch batches[2];
	unsigned filling;
	struct file *planning;  /* whose parts are being added */
	struct folder *at;      /* where the walk is */
	size_t depth;
	struct buf path;        /* of the entry, in the snapshot; the first prefix_len bytes are where the walk starts */
	size_t prefix_len;
	bool counting;          /* the totals for progress are found on the way */
	bool volumes;           /* the target's folders are an image's partitions */
	uint32_t volume;        /* counts the volumes of an image: each has inode numbers of its own */
	struct links links;
	struct open_table open;
	struct gaps gaps;
	struct counters counts;
	int sync_fd;            /* the target, for syncfs; -1: not open */
	bool stop;              /* err holds why: not to be survived */
};

static inline unsigned main_slot(const struct restore *r)
{
	return r->slot_count - 1;
}
static inline struct batch *batch_filling(struct restore *r)
{
	return &r->batches[r->filling];
}
static inline void count(atomic_uint_least64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Names the entry in a warning; what must stop the whole restore (a full disk) goes to err instead, and -1 is returned. */
int survive(struct restore *r, const struct folder *folder, const char *name, const struct error *why, struct error *err);
/* name "": the folder itself. */
void warn_entry(struct restore *r, const struct folder *folder, const char *name, const struct error *why);
/* ".twofold-<nonce>-<number>" */
void temporary_name(const struct restore *r, uint32_t number, char ret[TEMPORARY_MAX]);
/* The open folder (O_PATH), the slot's: valid until its next call. */
int open_folder(struct restore *r, unsigned slot, const struct folder *folder, int *ret, struct error *err);

/* --- existing.c ------------------------------------------------------------------------------- */
/* What to do with an entry at (folder, name), which is ready. RESTORE_REPLACE: something stands there, which is not a folder any more. ret_st (may be NULL) is set unless the
 * answer is RESTORE_CREATE. -1: what stands there cannot be replaced, or looked at. */
int existing_decide(struct restore *r, const struct folder *folder, const char *name, const struct attr *a, enum restore_action *ret, struct stat *ret_st,
                    struct error *err);
/* Owner and mode of an entry that is left as it is otherwise. */
void existing_correct(struct restore *r, const struct folder *folder, const char *name, const struct attr *a, const struct stat *st);

/* --- folders.c ---------------------------------------------------------------------------------- */
int folder_open_target(struct restore *r, const struct node *start, struct error *err);
/* Into a folder of the snapshot, below r->at. Takes node's attributes. *ret_skip: nothing of it is to be restored. */
int folder_enter(struct restore *r, struct node *node, bool chosen, bool *ret_skip, struct error *err);
/* Up to the folder of this depth (0: the target). */
void folder_leave_to(struct restore *r, size_t depth);
/* Makes the folder, and those above it, if that has not been done. *ret_ready false: it cannot be, which was said. */
int folder_ready(struct restore *r, struct folder *f, bool *ret_ready, struct error *err);
/* Its attributes: nothing more will happen in it. */
void folder_finish(struct restore *r, struct folder *f);
void folder_free(struct folder *f);

/* --- batch.c ------------------------------------------------------------------------------------- */
int batch_start(struct restore *r, struct error *err);
/* Takes file over. */
int batch_add_file(struct restore *r, struct file *file, struct error *err);
/* A part of r->planning. */
int batch_add_part(struct restore *r, uint64_t position, const struct content_part *part, struct error *err);
/* All parts of r->planning are known. */
int batch_end_file(struct restore *r, struct error *err);
int batch_add_link(struct restore *r, struct hard_link *link, struct error *err);
void batch_add_left(struct restore *r, struct folder *f);
/* A batch may be handed over now, and should be. */
bool batch_is_heavy(const struct restore *r);
/* Hands the batch that is being filled to the workers, and settles the one before. */
int batch_submit(struct restore *r, struct error *err);
/* Waits until all is written and settled. */
int batch_finish(struct restore *r, struct error *err);
/* Frees what is left; files that are not whole are removed from the target. */
void batch_drop(struct restore *r);
void file_free(struct file *f);

/* --- write.c -------------------------------------------------------------------------------------- */
int write_good(void *cookie, unsigned slot, const struct plan_part *parts, size_t count, uint8_t *data, size_t len, struct error *err);
int write_lost(void *cookie, unsigned slot, const struct plan_part *parts, size_t count, const struct error *why, struct error *err);
/* A file without data: empty, or all hole. */
int write_empty(struct restore *r, unsigned slot, struct file *f, struct error *err);
void file_lose(struct restore *r, struct file *f, const struct error *why);
/* One of .left is done; the last one closes and finishes the file. */
int file_done_part(struct restore *r, unsigned slot, struct file *f, struct error *err);
/* Takes the file out of the target if it is not whole. */
void file_abandon(struct restore *r, struct file *f);

/* --- special.c ------------------------------------------------------------------------------------ */
/* Symlinks, fifos, sockets, devices. group: NULL, or to be told. */
int special_make(struct restore *r, const struct folder *folder, const char *name, const struct attr *a, struct link_group *group, bool replace,
                 struct error *err);
/* Whatever stands in its place is decided on here, since its first name is there only now. */
int link_make(struct restore *r, const struct hard_link *link, struct beneath_cache *old, struct error *err);
/* Immutable and append-only files of several names: once all names are there. */
void links_lock(struct restore *r);

/* --- verify.c ------------------------------------------------------------------------------------- */
/* Reads the files of b back; on the workers. */
int verify_batch(struct restore *r, struct batch *b, struct error *err);

#endif
