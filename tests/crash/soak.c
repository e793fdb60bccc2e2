/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * soak SECONDS [SEED [COUNT]]: several machines at work on one repository, in an order that a seed decides, with a store that misbehaves, processes that are killed or stand still
 * for days, and clocks that are wrong. From seed to seed until the time is over, or COUNT seeds.
 *
 * In each: two to four machines take backups and images, forget, read and collect garbage. When all have ended, the repository is checked with all data, and each backup that reported
 * success and was not forgotten is compared byte for byte; then a last collection runs alone, and nothing dead may be left.
 * What goes wrong is printed with its seed and everything that happened; the same seed does the same again.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "repo/unfinished.h"
#include "sim.h"
#include "store/chaos.h"
#include "world.h"

#define MACHINES 4
#define RECORDS 64
#define FENCE_AGE (24u * 3600)
#define KEEP_AGE UNFINISHED_KEEP_SECONDS

/* What one interleaving may contain. */
struct weather {
	unsigned pause, wake, kill, leap; /* of 10000 gates */
	bool chaos, lag, wrong_clocks;
};

struct record {
	struct expected e;
	bool readers; /* somebody reads it: it is not forgotten meanwhile */
	bool forgotten;
};

struct machine {
	struct sim_machine sim;
	struct soak *soak;
	char name[8], host[8];
	struct chaos chaos; /* of the store that it has open */
	struct model_tree tree;
	struct model_disk disk;
	unsigned actions;   /* still to do */
};

struct soak {
	uint64_t seed;
	char folder[64];
	struct journal *journal;
	struct chaos_lag *lag;
	struct weather weather;
	struct machine machines[MACHINES];
	size_t machine_count;
	struct record records[RECORDS];
	size_t record_count;
	struct buf log;
	struct error err; /* the first thing that is wrong */
};

/* Over all seeds. */
static struct {
	uint64_t runs, gates, done, refused, killed, paused, fences, deleted;
} total;

static void note(struct soak *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(struct soak *k, const char *fmt, ...)
{
	char line[700];
	va_list ap;
	va_start(ap, fmt);
	int len = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	char head[32];
	int head_len = snprintf(head, sizeof head, "%8llu  ", (unsigned long long)sim_gates());
	buf_add(&k->log, head, (size_t)head_len);
	buf_add(&k->log, line, (size_t)len < sizeof line ? (size_t)len : sizeof line - 1);
	buf_add(&k->log, "\n", 1);
}

static void wrong(struct soak *k, const struct error *err, const char *what)
{
	struct error found = *err;
	error_add(&found, "%s", what);
	note(k, "WRONG: %s", found.text);
	error_keep_first(&k->err, &found);
}

/* --- what machines do --------------------------------------------------------------------- */

static bool gate(void *cookie, enum fault_call call, const char *key)
{
	(void)cookie;
	(void)call;
	(void)key;
	return sim_gate();
}

static struct store *open_store(struct machine *m)
{
	const struct weather *w = &m->soak->weather;
	struct store *store = NULL;
	m->chaos = (struct chaos){ .seed = sim_random(), .gate = gate, .lag = m->soak->lag };
	if (w->chaos) {
		m->chaos.fail = 1;
		m->chaos.tear = 2;
		m->chaos.lose = 4;
		m->chaos.repeat = 50;
		m->chaos.shuffle = true;
	}
	if (store_open_journal(&store, m->soak->journal, NULL) < 0 || store_open_chaos(&store, store, &m->chaos, NULL) < 0)
		abort();
	return store;
}

/* A new expectation, of which nothing is known yet. */
static struct record *expect(struct machine *m, bool image)
{
	struct soak *k = m->soak;
	if (k->record_count == RECORDS)
		return NULL;
	struct record *r = &k->records[k->record_count];
	*r = (struct record){ .e = { .image = image, .maybe = true, .tree = m->tree, .disk = m->disk } };
	snprintf(r->e.tag, sizeof r->e.tag, "s%zu", k->record_count++);
	return r;
}

/* Says how it ended. true: the process lived to see it succeed. */
static bool ended(struct machine *m, const char *what, const char *tag, int result, const struct error *err)
{
	if (m->sim.killed) {
		note(m->soak, "%s: %s %s: killed", m->name, what, tag);
		return false;
	}
	note(m->soak, "%s: %s %s: %s", m->name, what, tag, result < 0 ? err->text : "done");
	if (result < 0)
		total.refused++;
	else
		total.done++;
	return result == 0;
}

static void act_backup(struct machine *m)
{
	struct error err = { 0 };
	if (model_tree_change(&m->tree, sim_random(), &err) < 0)
		wrong(m->soak, &err, "change a tree");
	struct record *r = expect(m, false);
	if (!r)
		return;
	note(m->soak, "%s: backup %s", m->name, r->e.tag);
	r->e.maybe = !ended(m, "backup", r->e.tag, world_backup(open_store(m), m->host, r->e.tag, &m->tree, &err), &err);
}

static void act_image(struct machine *m)
{
	struct error err = { 0 };
	if (model_disk_change(&m->disk, sim_random(), &err) < 0)
		wrong(m->soak, &err, "change a disk");
	struct record *r = expect(m, true);
	if (!r)
		return;
	note(m->soak, "%s: image %s", m->name, r->e.tag);
	r->e.maybe = !ended(m, "image", r->e.tag, world_image(open_store(m), m->host, r->e.tag, &m->disk, &err), &err);
}

/* One that is certainly there; NULL: none. */
static struct record *pick(struct soak *k, bool unread)
{
	unsigned count = 0;
	for (size_t i = 0; i < k->record_count; i++)
		count += !k->records[i].e.maybe && !(unread && k->records[i].readers);
	if (!count)
		return NULL;
	unsigned at = sim_dice(count);
	for (size_t i = 0;; i++)
		if (!k->records[i].e.maybe && !(unread && k->records[i].readers) && at-- == 0)
			return &k->records[i];
}

static void act_forget(struct machine *m)
{
	struct error err = { 0 };
	struct record *r = pick(m->soak, true);
	if (!r)
		return;
	r->e.maybe = r->forgotten = true;
	note(m->soak, "%s: forget %s", m->name, r->e.tag);
	ended(m, "forget", r->e.tag, world_forget(open_store(m), r->e.tag, &err), &err);
}

static void act_read(struct machine *m)
{
	struct error err = { 0 };
	struct record *r = pick(m->soak, false);
	if (!r)
		return;
	r->readers = true;
	note(m->soak, "%s: read %s", m->name, r->e.tag);
	int result = world_read(open_store(m), &r->e, &err);
	ended(m, "read", r->e.tag, result, &err);
	/* Where listings are behind, a snapshot or a segment may not be seen yet; one whose session was given up wrongly (by a wrong clock, say) does not count until it is confirmed. */
	bool hidden = err.kind == ERR_NOT_FOUND && journal_objects(m->soak->journal, "fences/");
	if (result < 0 && !hidden && !m->sim.killed && !m->soak->weather.chaos && !m->soak->weather.lag)
		wrong(m->soak, &err, "read");
}

static void act_prune(struct machine *m)
{
	struct error err = { 0 };
	static const unsigned unused[] = { 0, 5, 50, 100 };
	unsigned max_unused = unused[sim_dice(4)], wait = sim_dice(2) ? 0 : 3600, keep = sim_dice(3) ? KEEP_AGE : 0;
	note(m->soak, "%s: prune, unused %u %%, wait %u s, keep %u s", m->name, max_unused, wait, keep);
	struct collect_report report;
	int result = world_prune(open_store(m), m->host, max_unused, FENCE_AGE, keep, wait, &report, &err);
	if (ended(m, "prune", "", result, &err))
		note(m->soak, "%s: prune: %llu packs deleted, %llu moved, %llu pending for %llu sessions; %llu fenced, %llu confirmed, %llu not", m->name, (unsigned long long)report.deleted_packs,
		     (unsigned long long)report.moved_packs, (unsigned long long)report.pending_packs, (unsigned long long)report.awaited, (unsigned long long)report.fenced,
		     (unsigned long long)report.confirmed, (unsigned long long)report.unconfirmed);
	total.deleted += report.deleted_packs;
	if (result < 0 && err.kind == ERR_CORRUPT && !m->sim.killed && !m->soak->weather.chaos && !m->soak->weather.lag)
		wrong(m->soak, &err, "prune");
}

static const struct action {
	unsigned weight;
	void (*act)(struct machine *m);
} actions[] = {
	{ 40, act_backup },
	{ 15, act_image },
	{ 18, act_forget },
	{ 12, act_read },
	{ 18, act_prune },
};

static void run_machine(void *arg)
{
	struct machine *m = arg;
	while (m->actions && !m->sim.killed) {
		unsigned sum = 0, at = 0;
		for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
			sum += actions[i].weight;
		unsigned roll = sim_dice(sum);
		while (roll >= actions[at].weight)
			roll -= actions[at++].weight;
		m->actions--;
		actions[at].act(m);
	}
}

/* --- what happens to them ---------------------------------------------------------------------- */

/* Between two calls to the store. */
static void step(void *cookie)
{
	struct soak *k = cookie;
	const struct weather *w = &k->weather;
	unsigned roll = sim_dice(10000);
	struct machine *m = &k->machines[sim_dice((unsigned)k->machine_count)];
	if (m->sim.done && m->sim.killed && m->actions) {
		note(k, "%s: started again", m->name);
		sim_start(&m->sim);
	} else if (roll < w->pause && !m->sim.done && !m->sim.paused) {
		note(k, "%s: stands still", m->name);
		m->sim.paused = true;
		total.paused++;
	} else if (m->sim.paused && roll < w->pause + w->wake) {
		note(k, "%s: goes on", m->name);
		m->sim.paused = false;
	} else if (roll >= 9000 && roll < 9000 + w->kill && !m->sim.done && !m->sim.killed) {
		note(k, "%s: killed", m->name);
		m->sim.killed = true;
		m->sim.paused = false;
		total.killed++;
	} else if (roll >= 9500 && roll < 9500 + w->leap) {
		unsigned hours = 1 + sim_dice(40);
		note(k, "%u hours pass", hours);
		sim_leap(hours * 3600ull);
	}
}

static void make_weather(struct weather *w)
{
	static const struct weather kinds[] = {
		{ 0, 0, 0, 0, false, false, false },
		{ 60, 100, 20, 10, false, false, false },
		{ 200, 60, 40, 60, false, false, true },
		{ 60, 100, 30, 30, true, false, false },
		{ 60, 100, 30, 30, false, true, true },
		{ 100, 50, 60, 60, true, true, true },
	};
	*w = kinds[sim_dice(sizeof kinds / sizeof *kinds)];
}

static int make_machine(struct soak *k, unsigned i, struct error *err)
{
	struct machine *m = &k->machines[i];
	char path[96];
	*m = (struct machine){ .soak = k, .actions = 2 + sim_dice(5) };
	m->name[0] = (char)('A' + i);
	m->host[0] = (char)('a' + sim_dice(3));
	m->sim = (struct sim_machine){ .run = run_machine, .arg = m, .name = m->name, .host = m->host };
	if (k->weather.wrong_clocks && sim_dice(3) == 0)
		m->sim.clock_error = (int64_t)sim_dice(80 * 3600) - 40 * 3600;
	snprintf(path, sizeof path, "%s/tree-%u", k->folder, i);
	world_remove_folder(path);
	if (model_tree_make(&m->tree, path, 4 + sim_dice(12), sim_random(), err) < 0)
		return -1;
	snprintf(path, sizeof path, "%s/disk-%u", k->folder, i);
	return model_disk_make(&m->disk, path, sim_random(), err);
}

/* --- the end ------------------------------------------------------------------------------------------- */

static void run_init(void *arg)
{
	struct soak *k = arg;
	struct store *store;
	struct error err = { 0 };
	if (store_open_journal(&store, k->journal, &err) < 0 || world_init(store, &err) < 0)
		wrong(k, &err, "make a repository");
}

/* Where a session was given up, a backup that ended all the same is hidden until a prune confirms it, and a segment may name packs that are gone: all that comes to rest with the last prune. */
static void verify(struct soak *k, const char *when, bool last, struct check_report *ret)
{
	struct error err = { 0 };
	struct expected list[RECORDS];
	bool fences = !last && journal_objects(k->journal, "fences/");
	for (size_t i = 0; i < k->record_count; i++) {
		list[i] = k->records[i].e;
		list[i].maybe |= fences;
	}
	if ((fences ? world_compare(k->journal, list, k->record_count, &err) : world_verify(k->journal, list, k->record_count, ret, &err)) < 0)
		wrong(k, &err, when);
}

/* Alone, when every session is long dead: everything that nothing reaches must go. */
static void collect_rest(struct soak *k)
{
	struct error err = { 0 };
	struct store *store;
	struct collect_report report;
	for (int i = 0; i < 2; i++) {
		/* Longer than anything interrupted is kept. */
		sim_leap(4 * FENCE_AGE + UNFINISHED_KEEP_TIMES * KEEP_AGE);
		if (store_open_journal(&store, k->journal, &err) < 0 || world_prune(store, "last", 0, FENCE_AGE, KEEP_AGE, 0, &report, &err) < 0)
			wrong(k, &err, "the last prune");
	}
}

static void expect_clean(struct soak *k, const struct check_report *report)
{
	struct error err = { 0 };
	size_t sessions = journal_objects(k->journal, "sessions/"), tombstones = journal_objects(k->journal, "tombstones/"), notes = journal_objects(k->journal, "unfinished/");
	if (report->unreferenced_chunks || report->unindexed_packs || report->duplicate_chunks || sessions || tombstones || notes) {
		error_set(&err, ERR_IO, "%llu dead chunks, %llu packs without index, %llu chunks twice, %zu sessions, %zu tombstones, %zu notes of interrupted work", (unsigned long long)report->unreferenced_chunks,
		          (unsigned long long)report->unindexed_packs, (unsigned long long)report->duplicate_chunks, sessions, tombstones, notes);
		wrong(k, &err, "left after the last prune");
	}
}

static void run_end(void *arg)
{
	struct soak *k = arg;
	struct check_report report = { 0 };
	sim_leap(3600);
	verify(k, "at the end", false, NULL);
	if (k->err.kind != ERR_NONE)
		return;
	collect_rest(k);
	verify(k, "after the last prune", true, &report);
	if (k->err.kind == ERR_NONE)
		expect_clean(k, &report);
}

static void alone(struct soak *k, void (*run)(void *), const char *name)
{
	struct sim_machine m = { .run = run, .arg = k, .name = name, .host = "last" };
	sim_run(&m, 1, NULL, NULL);
}

/* One interleaving. Returns its trace. */
static uint64_t interleave(struct soak *k, uint64_t seed)
{
	struct sim_machine *list[MACHINES];
	k->seed = seed;
	k->record_count = 0;
	k->err = (struct error){ 0 };
	buf_clear(&k->log);
	sim_seed(seed);
	make_weather(&k->weather);
	if (journal_new(&k->journal, &k->err) < 0 || (k->weather.lag && chaos_lag_new(&k->lag, sim_random(), 20000, &k->err) < 0))
		return 0;
	alone(k, run_init, "init");
	k->machine_count = 2 + sim_dice(MACHINES - 1);
	for (unsigned i = 0; i < k->machine_count; i++) {
		if (make_machine(k, i, &k->err) < 0)
			return 0;
		list[i] = &k->machines[i].sim;
	}
	sim_run_list(list, k->machine_count, step, k);
	total.gates += sim_gates();
	alone(k, run_end, "end");
	total.fences += journal_objects(k->journal, "fences/");
	journal_free(k->journal);
	chaos_lag_free(k->lag);
	k->journal = NULL;
	k->lag = NULL;
	total.runs++;
	return sim_trace();
}

static void report(const struct soak *k)
{
	printf("not ok seed %llu: %s\n", (unsigned long long)k->seed, k->err.text);
	printf("  pause %u, wake %u, kill %u, leap %u of 10000; chaos %d, lag %d, wrong clocks %d\n", k->weather.pause, k->weather.wake, k->weather.kill, k->weather.leap, k->weather.chaos,
	       k->weather.lag, k->weather.wrong_clocks);
	for (size_t i = 0; i < k->machine_count; i++)
		printf("  %s on host %s, clock %+lld s\n", k->machines[i].name, k->machines[i].host, (long long)k->machines[i].sim.clock_error);
	fwrite(k->log.data, 1, k->log.len, stdout);
	fflush(stdout);
}

static double seconds(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	static struct soak k;
	struct error err;
	double limit = argc > 1 ? strtod(argv[1], NULL) : 10, begin = seconds();
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL), count = argc > 3 ? strtoull(argv[3], NULL, 10) : UINT64_MAX, first = seed;
	unsigned failed = 0;
	if (seal_init(&err) < 0)
		return 2;
	snprintf(k.folder, sizeof k.folder, "%s/twofold-soak-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(k.folder))
		return 2;
	/* The same seed twice: the whole point of seeds. */
	uint64_t once = interleave(&k, seed), again = interleave(&k, seed);
	if (once != again && ++failed)
		printf("not ok seed %llu did not do the same twice\n", (unsigned long long)seed);
	for (; seed - first < count && seconds() - begin < limit && failed < 5; seed++) {
		interleave(&k, seed);
		if (k.err.kind != ERR_NONE && ++failed)
			report(&k);
		else if (getenv("SOAK_SHOW"))
			report(&k);
	}
	printf("seeds %llu to %llu: %llu calls to the store; %llu operations done, %llu ended by an error, %llu processes killed, %llu stood still, %llu fences, %llu packs deleted\n",
	       (unsigned long long)first, (unsigned long long)seed - 1, (unsigned long long)total.gates, (unsigned long long)total.done, (unsigned long long)total.refused,
	       (unsigned long long)total.killed, (unsigned long long)total.paused, (unsigned long long)total.fences, (unsigned long long)total.deleted);
	printf("%llu passed, %u failed, 0 skipped\n", (unsigned long long)(seed - first + 1 - failed), failed);
	world_remove_folder(k.folder);
	buf_done(&k.log);
	return failed ? 1 : 0;
}
