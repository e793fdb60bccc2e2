/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Paged sequence: a long list of records as a tree of content-addressed pages.
 *
 * One mechanism for everything that is long in metadata: the entries of a directory, the parts of a file's content, the ranges
 * of a disk, the inodes of a filesystem. Page boundaries depend on the records alone, so two lists that differ
 * in one place share all other pages, and two equal lists have the same root id.
 *
 * Page: u8 level (0 leaf, else branch), u8 SEQ_* kind, varint record count, then records.
 *   leaf:   for each record: blob(record bytes)
 *   branch: for each child:  id[32], varint span, varint leaf records below it, blob(key of its last record)
 * A page ends after a record when its records take at least SEQ_PAGE_MIN bytes and the top 5 bits of FNV-1a-64 over
 * the record's bytes (branch: the child id) are zero, or when they take SEQ_PAGE_MAX bytes. Branch levels repeat until one page is left. The root of
 * an empty list is a leaf without records.
 * "span" is what positions are counted in (bytes of a file or disk; 1 for entries and inodes): a reader can seek by span or by key.
 * Key and span of a record follow from its bytes and the kind: entries: name, 1; content and map: no key, length; inodes: be64 inode number, 1.
 */
#ifndef REPO_FORMAT_SEQ_H
#define REPO_FORMAT_SEQ_H

#include "base/buf.h"
#include "base/error.h"
#include "base/id.h"

enum seq_kind { SEQ_ENTRIES = 1, SEQ_CONTENT = 2, SEQ_MAP = 3, SEQ_INODES = 4 };

#define SEQ_PAGE_MIN (16u << 10)
#define SEQ_PAGE_MAX (128u << 10)   /* a record over this stands alone on its page */
#define SEQ_RECORD_MAX (4u << 20)   /* larger: ERR_INVALID when written, ERR_CORRUPT when read */
#define SEQ_PAGE_LIMIT (SEQ_RECORD_MAX + (256u << 10)) /* a reader refuses larger pages */
#define SEQ_KEY_MAX 4096u
#define SEQ_LEVELS_MAX 8

/* Stores a page and tells its id. */
typedef int (*seq_put_fn)(void *cookie, const void *page, size_t len, struct id *ret, struct error *err);
/* Fetches a page: replaces *ret. */
typedef int (*seq_get_fn)(void *cookie, const struct id *id, struct buf *ret, struct error *err);

/* --- writing -------------------------------------------------------------- */
struct seq_writer;
int seq_writer_new(struct seq_writer **ret, enum seq_kind kind, seq_put_fn put, void *cookie, struct error *err);
void seq_writer_free(struct seq_writer *w);
DEFINE_CLEAN(seq_writer, seq_writer_free)
/* key may be NULL with key_len 0 (content, map). With keys: they must ascend strictly (memcmp order, shorter first). Key and span must be those
 * of the record. Else ERR_INVALID. After a failure the writer can only be freed. */
int seq_add(struct seq_writer *w, const void *record, size_t len, const void *key, size_t key_len, uint64_t span, struct error *err);
/* The root page's id. The writer can then only be freed. */
int seq_finish(struct seq_writer *w, struct id *ret_root, struct error *err);

/* --- reading -------------------------------------------------------------- */
struct seq_reader;
/* Checks every page as a whole before any record of it is given out: level one below its parent's, kind, order of keys, and that counts, spans and last key are
 * what the parent says. Nothing is fetched before the first seq_next or seek. */
int seq_reader_new(struct seq_reader **ret, enum seq_kind kind, const struct id *root, seq_get_fn get, void *cookie, struct error *err);
void seq_reader_free(struct seq_reader *r);
DEFINE_CLEAN(seq_reader, seq_reader_free)
/* Next record: *ret_more false at the end (the other outputs are then untouched). The record is valid until the next call. *ret_start (may be NULL): where it begins,
 * that is the sum of the spans of all records before it, also after a seek. After a failure the reader can seek or be freed. */
int seq_next(struct seq_reader *r, bool *ret_more, const uint8_t **ret_record, size_t *ret_len, uint64_t *ret_start, struct error *err);
/* Goes to the leaf page whose span holds position: the next seq_next gives that page's first record, and *ret_start (may be NULL) is its position. Past the end:
 * the next seq_next says so, and *ret_start is the end. Pages on the way that are already open are not fetched again. */
int seq_seek_span(struct seq_reader *r, uint64_t position, uint64_t *ret_start, struct error *err);
/* Goes to the first leaf page that can hold key: the next records are at most one page before it. For entries and inodes. */
int seq_seek_key(struct seq_reader *r, const void *key, size_t key_len, struct error *err);
/* Calls fn for the root and every page below it, parents first (check, garbage collection). A page that fn answers with 1 is not descended into, with 0 it is;
 * -1 stops. Leaf pages' bytes are given too, so records can be looked at: seq_page_records. */
typedef int (*seq_page_fn)(void *cookie, const struct id *id, const uint8_t *page, size_t len, struct error *err);
int seq_walk_pages(enum seq_kind kind, const struct id *root, seq_get_fn get, void *get_cookie, seq_page_fn fn, void *fn_cookie, struct error *err);
/* Calls fn for each record of a leaf page; nothing for a branch. */
typedef int (*seq_record_fn)(void *cookie, const uint8_t *record, size_t len, struct error *err);
int seq_page_records(enum seq_kind kind, const uint8_t *page, size_t len, seq_record_fn fn, void *cookie, struct error *err);

#endif
