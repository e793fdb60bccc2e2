/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writers, collectors and somebody who forgets snapshots, on one object store without locks (docs/FORMAT.md, "Collecting garbage").
 * README.md says what is modelled, what the macros leave out, and what each then leads to. One atomic or d_step block is one operation on the store
 * and what its process computes from the answer; between two blocks anything may happen, also the process's end.
 *
 * Sets are bit masks. Objects have random names and are never written twice, so every object that a process may write has a number of its own:
 *   sessions  0 1 of writer 0, 2 3 of writer 1 (the second one after a fence), 4.. of the collectors
 *   packs     0 1 at the beginning, five for each writer, two for each collector
 *   segments  0 at the beginning, five for each writer, three for each collector
 *   snapshots one document for each backup; docs[b] are the sessions under which it lies in snapshots/
 */
#ifndef WRITERS
#define WRITERS 1
#endif
#ifndef COLLECTORS
#define COLLECTORS 1 /* at the same time; one more runs when all is quiet */
#endif
#ifndef FORGETS
#define FORGETS 1
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef FENCES
#define FENCES 2 /* how often a session may be taken for dead, by right or not */
#endif
#ifndef WANTS
#define WANTS 3, 2 /* what the writers' sources hold */
#endif

#ifndef HAVE0
#define HAVE0 3 /* packs 0 and 1 hold chunk 0 */
#endif
#ifndef HAVE1
#define HAVE1 1 /* pack 0 holds chunk 1, too, which no snapshot reaches */
#endif

#define BACKUPS (1 + WRITERS)
#define SEGMENTS (11 + 3 * (COLLECTORS + 1))

#define W_SESSION(i, k) (1 << (2 * (i) + (k)))
#define C_SESSION(j) (16 << (j))
#define ANY_COLLECTOR (~15)
#define OLD_SESSION 1024 /* of the snapshot at the beginning; it ended in order */
#define W_PACK(i, n) (4 << (5 * (i) + (n)))
#define C_PACK(j, n) (4096 << (2 * (j) + (n)))
#define BIT(x, k) (((x) >> (k)) & 1)
#define PACKS_OF(x) (BIT(x, 0) * 28 | BIT(x, 1) * 96 | BIT(x, 2) * (28 << 5) | BIT(x, 3) * (96 << 5) | BIT(x, 4) * 12288 | BIT(x, 5) * (12288 << 2) | BIT(x, 6) * (12288 << 4))
#define W_SEGMENT(i, n) (1 + 5 * (i) + (n))
#define C_SEGMENT(j, n) (11 + 3 * (j) + (n))

/* --- the store ----------------------------------------------------------------------------- */

int packs = 3, segments = 1;
int at[2];              /* chunk -> packs that were written with it */
int names[SEGMENTS];    /* segment -> packs */
short sessions, fenced; /* fenced: named by an object under fences/ */
byte tombstones;        /* by collector */
int tombstone[COLLECTORS + 1];
short docs[BACKUPS];     /* backup -> sessions under which its document lies in snapshots/ */
byte refs[BACKUPS];

/* --- what only the claims and the scheduler know ---------------------------------------------- */

bool success[BACKUPS], forgotten[BACKUPS];
short dead;             /* sessions of processes that are gone */
byte running;
byte begun;             /* collectors; they begin in the order of their numbers, which loses nothing as they are alike */
byte fences_left = FENCES, crashes_left = CRASHES;
int g;                  /* scratch within one step, 0 outside */

#define HOLD(set) (((at[0] & (set)) != 0) | (((at[1] & (set)) != 0) << 1))
#define MISSING(chunks, set) ((chunks) & ~HOLD(set))

/* out |= the packs that the segments in set name */
inline rows_of(set, out, k)
{
	k = 0;
	do
	:: k < SEGMENTS ->
		if
		:: (set) & (1 << k) -> out = out | names[k]
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0
}

/* out |= the packs that the tombstones in set name */
inline marks_of(set, out, k)
{
	k = 0;
	do
	:: k <= COLLECTORS ->
		if
		:: (set) & (1 << k) -> out = out | tombstone[k]
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0
}

/* Claim 1: what counts, or was reported as done, is there. */
inline sound(k)
{
	g = 0;
	rows_of(segments, g, k);
	g = g & packs;
	k = 0;
	do
	:: k < BACKUPS ->
		assert(!((docs[k] & ~fenced) || (success[k] && !forgotten[k])) || MISSING(refs[k], g) == 0);
		k++
	:: else -> break
	od;
	k = 0;
	g = 0
}

/* One operation of a process, and its end before it: STEP ... DONE. A process that ends for ever is the same as one that sleeps for ever,
 * except that others of its machine can tell. */
#if CRASHES
#define STEP atomic { if :: crashes_left -> crashes_left--; dead = dead | mine; goto gone :: skip fi; d_step {
#define DONE } }
#else
#define STEP d_step {
#define DONE }
#endif

/* A store that lists late (LAG): a listing may lack what was written, and show what was deleted, since the last time that somebody waited. Who waits learns only that
 * what had been done before he began to wait is seen by all. */
#ifdef LAG
short fresh_sessions, fresh_fenced, fresh_docs[BACKUPS];
byte fresh_tombstones;
int ghost_packs, ghost_segments;
short old_sessions, old_fenced, old_docs[BACKUPS];
byte old_tombstones;
int old_packs, old_segments, late;
#if CRASHES
#error "LAG is without CRASHES"
#endif
#define LIST atomic { if :: late = 0 :: late = ~0 fi; d_step {
#define LISTED ; late = 0 } }
#define WROTE(what, x) fresh_##what = fresh_##what | (x)
#define SEEN(what) (what & ~(fresh_##what & late))
#define STILL(what) (what | (ghost_##what & late))
#define DELETED(what, x) ghost_##what = ghost_##what | (x)
#define DOCS(k) (docs[k] & ~(fresh_docs[k] & late))
#else
#define LIST STEP
#define LISTED DONE
#define WROTE(what, x) skip
#define SEEN(what) what
#define STILL(what) what
#define DELETED(what, x) skip
#define DOCS(k) docs[k]
#endif

/* As long as the store promises to be late at most. */
inline wait_once()
{
#ifdef LAG
	d_step {
		old_sessions = fresh_sessions; old_fenced = fresh_fenced; old_tombstones = fresh_tombstones;
		old_packs = ghost_packs; old_segments = ghost_segments;
		k = 0;
		do
		:: k < BACKUPS -> old_docs[k] = fresh_docs[k]; k++
		:: else -> break
		od;
		k = 0
	};
	d_step {
		fresh_sessions = fresh_sessions & ~old_sessions; fresh_fenced = fresh_fenced & ~old_fenced; fresh_tombstones = fresh_tombstones & ~old_tombstones;
		ghost_packs = ghost_packs & ~old_packs; ghost_segments = ghost_segments & ~old_segments;
		old_sessions = 0; old_fenced = 0; old_tombstones = 0; old_packs = 0; old_segments = 0;
		k = 0;
		do
		:: k < BACKUPS -> fresh_docs[k] = fresh_docs[k] & ~old_docs[k]; old_docs[k] = 0; k++
		:: else -> break
		od;
		k = 0
	}
#else
	skip
#endif
}

/* After something was published, until everybody's later listings show it, and it sees what they wrote before they could. */
inline wait_published()
{
#ifdef LAG
#if LAG > 0
	wait_once();
#endif
#if LAG > 1
	wait_once();
#endif
#endif
	skip
}

/* --- a writer ---------------------------------------------------------------------------------- */

/* Rows whose pack is not shown any more are no rows: see README.md, "late segments". */
#ifdef NO_EXISTENCE
#define SHOWN (~0)
#else
#define SHOWN STILL(packs)
#endif

proctype writer(byte i; byte source)
{
	byte k, n, want, lack, seen, t;
	short s;
	int rows, marked;
	bool again, renewed, written;
	short mine = W_SESSION(i, 0) | W_SESSION(i, 1);
	want = source;
begin:	skip; /* W1 */
#ifdef SESSION_LATE
		if
		:: renewed
		:: else ->
			STEP
				rows_of(segments, rows, k);
				printf("writer %d: index before its session names packs %d\n", i, rows)
			DONE
		fi;
#endif
		STEP
			s = W_SESSION(i, renewed);
			printf("writer %d: W1 session %d\n", i, s);
			sessions = sessions | s; WROTE(sessions, s)
		DONE;
		/* W2: tombstones, then the index, then which packs there are */
		LIST
			seen = SEEN(tombstones); marked = 0; marks_of(seen, marked, k);
			printf("writer %d: W2 tombstones %d mark packs %d\n", i, seen, marked)
		LISTED;
		if
		:: renewed -> goto verify
		:: else
		fi;
#ifndef SESSION_LATE
		LIST
			rows = 0; rows_of(STILL(segments), rows, k);
			printf("writer %d: W2 index names packs %d\n", i, rows)
		LISTED;
#endif
		LIST
			rows = rows & SHOWN;
			lack = MISSING(want, rows & ~marked);
			printf("writer %d: W2 of which exist %d, lacks chunks %d\n", i, rows, lack);
			rows = 0; marked = 0
		LISTED;
#ifdef PARENT
		/* the subtrees of the parent, snapshot 0, are taken over and their chunks not looked at */
		STEP
			if
			:: docs[0] & ~fenced -> lack = lack & ~refs[0]; want = want | refs[0]
			:: else
			fi
		DONE;
#endif
		/* W3 */
		if
		:: lack ->
			STEP
				packs = packs | W_PACK(i, n); printf("writer %d: writes pack %d with chunks %d\n", i, W_PACK(i, n), lack);
				if :: lack & 1 -> at[0] = at[0] | W_PACK(i, n) :: else fi;
				if :: lack & 2 -> at[1] = at[1] | W_PACK(i, n) :: else fi
			DONE;
			STEP
				names[W_SEGMENT(i, n)] = W_PACK(i, n); printf("writer %d: segment names pack %d\n", i, W_PACK(i, n));
				segments = segments | (1 << W_SEGMENT(i, n));
				n++; lack = 0
			DONE
		:: else
		fi;
		again = (seen != 0);

look:		skip; /* W4, W6 */
#ifdef NO_LOOK_BEFORE
		if :: !written -> goto commit :: else fi;
#endif
#ifdef NO_LOOK_AFTER
		if :: written -> goto done :: else fi;
#endif
		LIST
			t = SEEN(tombstones); printf("writer %d: looks (after commit %d): tombstones %d\n", i, written, t);
			if :: t & ~seen -> again = 1 :: else fi;
			seen = seen | t; marked = 0;
			if :: again -> marks_of(t, marked, k) :: else fi;
			t = 0
		LISTED;
		atomic {
#ifdef LAG
			if :: late = 0 :: late = ~0 fi;
			t = ((SEEN(fenced) & s) != 0); late = 0;
#else
			t = ((fenced & s) != 0);
#endif
			if
			:: t ->
				t = 0;
				printf("writer %d: looks: is fenced\n", i);
				again = 0; seen = 0; marked = 0; n = 3;
				if
				:: renewed -> goto fail
				:: else -> renewed = 1; written = 0; goto begin
				fi
			:: !t && again -> goto verify
			:: !t && !again && !written -> goto commit
			:: !t && !again && written ->
done:				skip;
				d_step { seen = 0; success[1 + i] = 1; printf("writer %d: reports success\n", i); sound(k) };
				goto ended
			fi
		};

verify:		skip; /* every chunk of the backup has an unmarked place, or is stored again */
		again = 0;
		LIST rows = 0; rows_of(STILL(segments), rows, k) LISTED;
		LIST rows = rows & SHOWN; lack = MISSING(want, rows & ~marked); printf("writer %d: verifies by packs %d without marked %d: lacks chunks %d\n", i, rows, marked, lack); marked = 0; rows = (lack -> rows : 0) LISTED;
		if
		:: lack ->
			if
			:: MISSING(lack, rows & packs) != 0 -> goto fail
			:: else
			fi;
			STEP
				assert(n < 3 || (renewed && n < 5));
				packs = packs | W_PACK(i, n); printf("writer %d: writes pack %d with chunks %d\n", i, W_PACK(i, n), lack);
				if :: lack & 1 -> at[0] = at[0] | W_PACK(i, n) :: else fi;
				if :: lack & 2 -> at[1] = at[1] | W_PACK(i, n) :: else fi
			DONE;
			STEP
				names[W_SEGMENT(i, n)] = W_PACK(i, n); printf("writer %d: segment names pack %d\n", i, W_PACK(i, n));
				segments = segments | (1 << W_SEGMENT(i, n));
				n++; lack = 0; rows = 0
			DONE
		:: else
		fi;
		goto look;

commit:		skip; /* W5 */
		STEP
			refs[1 + i] = want; printf("writer %d: commits backup %d of chunks %d\n", i, 1 + i, want);
			docs[1 + i] = docs[1 + i] | s; WROTE(docs[1 + i], s);
			written = 1;
			sound(k)
		DONE;
		if
		:: renewed -> STEP docs[1 + i] = docs[1 + i] & ~W_SESSION(i, 0) DONE
		:: else
		fi;
		goto look;

ended:		skip;
		STEP sessions = sessions & ~s; printf("writer %d: ends its session\n", i) DONE;
		goto gone;

fail:		/* only to a writer that was fenced */
		skip;
		STEP printf("writer %d: fails\n", i); assert(fenced & (W_SESSION(i, 0) | W_SESSION(i, 1))); sessions = sessions & ~s DONE;
gone:	skip;
	d_step { k = 0; n = 0; s = 0; want = 0; lack = 0; seen = 0; t = 0; again = 0; rows = 0; marked = 0; mine = 0; running-- }
}

/* --- a collector --------------------------------------------------------------------------------- */

inline end_session()
{
	STEP sessions = sessions & ~s; printf("collector %d: ends its session\n", j) DONE
}

/* Old tombstones: their packs are doomed, since whoever published them may still be about to delete. */
inline list_tombstones()
{
	LIST
		old = SEEN(tombstones); doomed = 0;
		printf("collector %d: old tombstones %d\n", j, old);
#ifndef NO_DOOM
		marks_of(old, doomed, k)
#endif
	LISTED
}

inline list_packs()
{
	STEP listed = packs; printf("collector %d: C2 packs %d\n", j, listed) DONE
}

inline list_sessions()
{
	LIST living = SEEN(sessions) & ~s; printf("collector %d: C2 sessions %d\n", j, living) LISTED
}

inline list_snapshots()
{
	LIST
		k = 0;
		do
		:: k < BACKUPS -> shown[k] = DOCS(k); printf("collector %d: C2 backup %d has documents %d\n", j, k, docs[k]); k++
		:: else -> break
		od;
		k = 0
	LISTED
}

/* C6: each of those sessions has ended or was fenced; else this run leaves the rest to another. */
inline wait_for_sessions()
{
#ifndef NO_WAIT
	if /* whoever runs on that machine may end the session of a process that is gone */
	:: others & sessions & dead -> STEP sessions = sessions & ~(others & dead) DONE
	:: skip
	fi;
	if
	:: !(others & sessions & ~fenced)
	:: !last && (others & sessions & ~fenced) -> goto leave
	fi;
#endif
	others = 0
}

/* C7: what has come back to life is kept. */
inline list_new_snapshots()
{
#ifndef NO_SECOND_SNAPSHOTS
	LIST
		live = 0;
		k = 0;
		do
		:: k < BACKUPS ->
			if
#ifdef FENCED_IGNORED
			:: DOCS(k) & ~shown[k] & ~fenced -> live = live | refs[k]
#else
			:: DOCS(k) & ~shown[k] -> live = live | refs[k]
#endif
			:: else
			fi;
			shown[k] = 0;
			k++
		:: else -> break
		od;
		k = 0;
		do
		:: k < 2 ->
			if
			:: (live & (1 << k)) && !(at[k] & ((index & there & ~victims) | C_PACK(j, 0))) ->
#ifdef KEEP
				if /* an old tombstone stays as long as one of its packs does */
				:: victims & at[k] & doomed -> old = 0
				:: else
				fi;
				victims = victims & ~at[k]
#else
				copy = copy | (1 << k)
#endif
			:: else
			fi;
			k++
		:: else -> break
		od;
		k = 0; live = 0; printf("collector %d: C7 victims %d, to be copied out of them chunks %d\n", j, victims, copy)
	LISTED;
	if /* what a snapshot of a fenced session lacks may be gone */
	:: copy ->
		STEP
			copy = copy & HOLD(victims & packs);
			packs = packs | C_PACK(j, 1); printf("collector %d: C7 copies chunks %d into pack %d\n", j, copy, C_PACK(j, 1));
			if :: copy & 1 -> at[0] = at[0] | C_PACK(j, 1) :: else fi;
			if :: copy & 2 -> at[1] = at[1] | C_PACK(j, 1) :: else fi;
			copy = 0
		DONE;
		STEP
			names[C_SEGMENT(j, 2)] = C_PACK(j, 1);
			segments = segments | (1 << C_SEGMENT(j, 2))
		DONE
	:: else
	fi
#else
	skip
#endif
}

proctype collector(byte j; bool last)
{
	byte k, old, live, copy, confirm;
	short s, others, fence, ended, living, fseen;
	short shown[BACKUPS];
	int listed, there, rows, index, doomed, victims, keep, h;
	short mine = C_SESSION(j);
	s = C_SESSION(j);
		/* C1 */
		j == begun || last;
		STEP sessions = sessions | s; WROTE(sessions, s); begun++; printf("collector %d: C1 session %d\n", j, s) DONE;
		atomic {
#ifdef LAG
			if :: late = 0 :: late = ~0 fi;
#endif
			others = SEEN(sessions) & ~s;
#ifdef LAG
			late = 0;
#endif
			k = 0;
			do
			:: k <= 4 + COLLECTORS ->
				if
				:: !(others & (1 << k)) -> skip
				:: (others & (1 << k)) && (fences_left || last) && !(last && (dead & (1 << k))) -> fence = fence | (1 << k); fences_left = (last -> fences_left : fences_left - 1)
				:: others & dead & (1 << k) -> ended = ended | (1 << k)
				:: (others & (1 << k)) && !last -> skip
				fi;
				k++
			:: else -> break
			od;
			k = 0;
			others = others & ~fence & ~ended; printf("collector %d: C1 will fence %d, end %d, lets live %d\n", j, fence, ended, others)
		};
		if
		:: others & ANY_COLLECTOR -> goto withdraw
		:: else
		fi;
		if
		:: fence ->
			STEP fenced = fenced | fence; WROTE(fenced, fence); printf("collector %d: C1 fences %d\n", j, fence) DONE;
			wait_published()
		:: else
		fi;
		if
		:: fence | ended -> STEP sessions = sessions & ~(fence | ended); fence = 0; ended = 0 DONE
		:: else
		fi;
		others = 0;
		STEP fseen = fenced DONE;
#ifdef WRONG_ORDER
		list_snapshots();
		list_sessions();
		list_packs();
		list_tombstones();
#else
#ifdef TOMBSTONES_LATE
		list_packs();
		list_sessions();
		list_snapshots();
		list_tombstones();
#else
		list_tombstones();
		/* C2 */
		list_packs();
		list_sessions();
		list_snapshots();
#endif
#endif
		STEP rows = segments; index = 0; rows_of(rows, index, k); printf("collector %d: C2 segments %d name packs %d\n", j, rows, index) DONE;
		/* C2: packs once more, which tells the rows that still hold; C3: which snapshots count */
		atomic {
		d_step {
			there = packs;
#ifdef NO_EXISTENCE
			there = index;
#endif
			live = 0;
			k = 0;
			do
			:: k < BACKUPS ->
				if
				:: shown[k] & ~fseen -> live = live | refs[k]
				:: shown[k] && !(shown[k] & ~fseen) && MISSING(refs[k], index & there) == 0 ->
					live = live | refs[k]; confirm = confirm | (1 << k)
				:: else
				fi;
				k++
			:: else -> break
			od;
			k = 0; fseen = 0
		};
		if
		:: MISSING(live, index & there) != 0 ->
			assert(!last); /* "the repository is damaged" */
			goto withdraw
		:: else
		fi;
		/* C4: one place for each live chunk, or a copy */
			keep = 0; copy = 0;
			k = 0;
			do
			:: k < 2 ->
				if
				:: live & (1 << k) ->
					h = at[k] & index & there & ~doomed;
					if
					:: h & listed -> h = h & listed
					:: else
					fi;
					if
					:: last && (h & ~at[1 - k]) && !(live & (1 << (1 - k))) -> h = h & ~at[1 - k]
					:: last && !(h & ~at[1 - k]) && !(live & (1 << (1 - k))) -> h = 0
					:: else
					fi;
					if
					:: h == 0 -> copy = copy | (1 << k)
					:: h != 0 ->
						if /* any of them */
						:: keep = keep | (h & -h)
						:: (h & (h - 1)) -> h = h & (h - 1); keep = keep | (h & -h)
						:: (h & (h - 1)) & ((h & (h - 1)) - 1) -> h = h & (h - 1); h = h & (h - 1); keep = keep | (h & -h)
						:: !last && (h & at[1 - k]) && !(live & (1 << (1 - k))) -> copy = copy | (1 << k) /* mostly dead: repack */
						fi
					fi
				:: else
				fi;
				k++
			:: else -> break
			od;
			k = 0; h = 0;
			/* packs of living sessions are not named */
			victims = listed & ~keep & ~PACKS_OF(living);
			k = 0; keep = 0; living = 0; listed = 0
		};
		if
		:: copy ->
			if
			:: MISSING(copy, index & packs) != 0 -> assert(!last); goto withdraw
			:: else
			fi;
			STEP
				packs = packs | C_PACK(j, 0); printf("collector %d: C4 copies chunks %d into pack %d\n", j, copy, C_PACK(j, 0));
				if :: copy & 1 -> at[0] = at[0] | C_PACK(j, 0) :: else fi;
				if :: copy & 2 -> at[1] = at[1] | C_PACK(j, 0) :: else fi
			DONE;
			STEP
				names[C_SEGMENT(j, 0)] = C_PACK(j, 0); printf("collector %d: C4 segment for the copies\n", j);
				segments = segments | (1 << C_SEGMENT(j, 0));
				copy = 0
			DONE
		:: else
		fi;
		if
		:: confirm ->
			STEP
				k = 0;
				do
				:: k < BACKUPS ->
					if
					:: confirm & (1 << k) -> docs[k] = docs[k] | s; WROTE(docs[k], s); printf("collector %d: confirms backup %d\n", j, k)
					:: else
					fi;
					k++
				:: else -> break
				od;
				sound(k)
			DONE;
			STEP
				k = 0;
				do
				:: k < BACKUPS ->
					if
					:: confirm & (1 << k) -> docs[k] = docs[k] & ~shown[k]; printf("collector %d: deletes the first document of backup %d\n", j, k); shown[k] = shown[k] | s
					:: else
					fi;
					k++
				:: else -> break
				od;
				k = 0; confirm = 0
			DONE
		:: else
		fi;
		/* C5 */
#ifdef SESSIONS_EARLY
		STEP others = sessions & ~s; printf("collector %d: C5 sessions %d\n", j, others) DONE;
#endif
		STEP
			printf("collector %d: C5 tombstone of packs %d\n", j, victims);
			tombstone[j] = victims; tombstones = tombstones | (1 << j); WROTE(tombstones, 1 << j);
#ifndef LAG
			assert((victims & PACKS_OF(sessions & ~fenced & ~s)) == 0) /* claim 5 */
#else
			skip
#endif
		DONE;
		wait_published();
#ifdef OLD_TOMBSTONES_EARLY
		STEP tombstones = tombstones & ~old DONE;
#endif
#ifndef NO_SECOND_LOOK
		if
		:: tombstones & ~old & ~(1 << j) -> goto withdraw
		:: else
		fi;
#endif
#ifndef SESSIONS_EARLY
		LIST others = SEEN(sessions) & ~s; printf("collector %d: C5 sessions %d\n", j, others) LISTED;
#endif
#ifndef NO_SECOND_LOOK
		if
#ifdef NO_OWN_FENCE
		:: others & ANY_COLLECTOR & ~fenced -> goto withdraw
#else
		:: (others & ANY_COLLECTOR & ~fenced) || (fenced & s) -> goto withdraw
#endif
		:: else -> others = others & ~ANY_COLLECTOR
		fi;
#endif
#ifdef SNAPSHOTS_EARLY
		list_new_snapshots();
		wait_for_sessions();
#else
		wait_for_sessions();
		list_new_snapshots();
#endif
		/* C8 */
		STEP
			index = index & ~victims & there;
			there = 0; live = 0; doomed = 0;
			names[C_SEGMENT(j, 1)] = index; printf("collector %d: C8 segment of packs %d\n", j, index);
			segments = segments | (1 << C_SEGMENT(j, 1));
			index = 0
		DONE;
		STEP DELETED(segments, segments & rows); segments = segments & ~rows; printf("collector %d: C8 deletes segments %d\n", j, rows); rows = 0; sound(k) DONE;
		do
		:: victims ->
			STEP printf("collector %d: C8 deletes pack %d\n", j, victims & -victims); DELETED(packs, victims & -victims); packs = packs & ~(victims & -victims); victims = victims & (victims - 1); sound(k) DONE
		:: else -> break
		od;
		skip;
#ifndef NO_LAST_WAIT
		wait_once();
#endif
		STEP tombstones = tombstones & ~(old | (1 << j)); printf("collector %d: C8 deletes tombstones %d\n", j, old | (1 << j)) DONE;
		goto leave;
withdraw:	skip;
		assert(!last);
		STEP tombstones = tombstones & ~(1 << j); printf("collector %d: withdraws\n", j) DONE;
leave:		skip;
		end_session()
gone:	skip;
	d_step {
		if
		:: begun == j -> begun++
		:: else
		fi;
		k = 0; s = 0; mine = 0; others = 0; fence = 0; ended = 0; old = 0; fseen = 0; living = 0; live = 0; copy = 0; confirm = 0;
		do
		:: k < BACKUPS -> shown[k] = 0; k++
		:: else -> break
		od;
		k = 0;
		listed = 0; there = 0; rows = 0; index = 0; doomed = 0; victims = 0; keep = 0; h = 0;
		running--
	}
}

/* --- everybody else --------------------------------------------------------------------------------- */

proctype forget()
{
	byte left = FORGETS;
	do
	:: left ->
		if
		:: d_step { docs[0] -> docs[0] = 0; forgotten[0] = 1; printf("somebody forgets backup 0\n") }
#if WRITERS > 0
		:: d_step { docs[1] -> docs[1] = 0; forgotten[1] = 1; printf("somebody forgets backup 1\n") }
#endif
#if WRITERS > 1
		:: d_step { docs[2] -> docs[2] = 0; forgotten[2] = 1; printf("somebody forgets backup 2\n") }
#endif
		:: break
		fi;
		left--
	:: else -> break
	od;
	skip;
	d_step { left = 0; running-- }
}

init
{
	byte k;
	byte wants[2] = { WANTS };
	int rows;
	atomic {
		at[0] = HAVE0; at[1] = HAVE1;
		names[0] = 3;
		docs[0] = OLD_SESSION; refs[0] = 1;
		success[0] = 1;
		running = WRITERS + COLLECTORS + 1;
#if WRITERS > 0
		run writer(0, wants[0]);
#endif
#if WRITERS > 1
		run writer(1, wants[1]);
#endif
		run collector(0, 0);
#if COLLECTORS > 1
		run collector(1, 0);
#endif
#if COLLECTORS > 2
		run collector(2, 0);
#endif
		run forget()
	};
	running == 0;
	wait_once();
	atomic { running == 0 -> running = 1; crashes_left = 0; fences_left = 0; begun = 0; run collector(COLLECTORS, 1) };
	running == 0;
	d_step {
		rows_of(segments, rows, k);
		assert(sessions == 0 && tombstones == 0 && (rows & ~packs) == 0);
		g = 0;
		k = 0;
		do
		:: k < BACKUPS ->
			assert(!(success[k] && !forgotten[k]) || (docs[k] & ~fenced)); /* claim 2 */
			g = g | ((docs[k] & ~fenced) -> refs[k] : 0);
			k++
		:: else -> break
		od;
		assert(HOLD(packs) == g) /* claim 3, and 1 */
	}
}
