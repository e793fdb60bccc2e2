/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/commands.h"
#include "cli/location.h"
#include "cli/session.h"
#include "cli/text.h"
#include "store/probe.h"

struct store_test_args {
	uint64_t size;
};

static const struct option_spec store_test_options[] = {
	OPTION_SIZE(struct store_test_args, size, "size", 0, "SIZE", "how much is written and read to measure the speed", 32 << 20, 1 << 20, 1ull << 40),
	OPTION_END,
};

static const char *answer(enum probe_answer a)
{
	return a == PROBE_YES ? "yes" : a == PROBE_NO ? "no" : "not known";
}

static void tell_speed(struct cli *cli, const struct probe *p)
{
	char a[TEXT_MAX], b[TEXT_MAX], c[TEXT_MAX];
	cli_print(cli, "round trip         %.2f ms\n", (double)p->round_trip / 1000);
	cli_print(cli, "small object       stored in %.1f ms\n", (double)p->small_put / 1000);
	if (p->bytes)
		cli_print(cli, "speed              %s/s to the store, %s/s from it (%s each)\n", text_size(a, (uint64_t)p->up), text_size(b, (uint64_t)p->down), text_size(c, p->bytes));
	if (p->facts.has_space)
		cli_print(cli, "room               %s free of %s\n", text_size(a, p->facts.free), text_size(b, p->facts.total));
	if (p->facts.has_clock)
		cli_print(cli, "clock              %.1f s %s this machine's\n", (double)(p->facts.clock_ahead < 0 ? -p->facts.clock_ahead : p->facts.clock_ahead) / 1000,
		          p->facts.clock_ahead < 0 ? "behind" : "ahead of");
}

static void tell(struct cli *cli, const struct probe *p)
{
	cli_print(cli, "needed\n");
	cli_print(cli, "  put              %s\n", answer(p->put));
	cli_print(cli, "  read back        %s\n", answer(p->read_back));
	cli_print(cli, "  read a range     %s\n", answer(p->range));
	cli_print(cli, "  list             %s\n", answer(p->list));
	cli_print(cli, "  never replaced   %s\n", answer(p->keeps_old));
	cli_print(cli, "good to know\n");
	cli_print(cli, "  one winner       %s (of several that write one name at the same moment)\n", answer(p->one_winner));
	cli_print(cli, "  remove           %s%s\n", answer(p->remove), p->remove == PROBE_NO ? " (forget, prune and key remove will not work)" : "");
	cli_print(cli, "  removed is gone  %s (in listings)\n", answer(p->list_removed));
	cli_print(cli, "  listing          right after %.1f s; promised: %s", (double)p->list_lag / 1000, p->promises.list_lag ? "" : "at once\n");
	if (p->promises.list_lag)
		cli_print(cli, "after %u s\n", p->promises.list_lag);
	cli_print(cli, "  power cut        what was stored %s\n", p->promises.durable_put ? "stays" : "may be lost: the server cannot sync");
	tell_speed(cli, p);
}

static json_t *json_answer(enum probe_answer a)
{
	return a == PROBE_UNKNOWN ? json_null() : json_boolean(a == PROBE_YES);
}

static void tell_json(struct cli *cli, const struct probe *p)
{
	json_t *o = json_pack("{sssb}", "type", "store_test", "usable", (int)probe_usable(p));
	const struct {
		const char *name;
		enum probe_answer answer;
	} answers[] = {
		{ "put", p->put }, { "read_back", p->read_back }, { "range", p->range }, { "list", p->list }, { "never_replaced", p->keeps_old },
		{ "one_winner", p->one_winner }, { "remove", p->remove }, { "removed_is_gone", p->list_removed },
	};
	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
		json_object_set_new(o, answers[i].name, json_answer(answers[i].answer));
	json_object_set_new(o, "durable", json_boolean(p->promises.durable_put));
	json_object_set_new(o, "list_lag_promised", json_integer((json_int_t)p->promises.list_lag));
	json_object_set_new(o, "list_lag", json_real((double)p->list_lag / 1000));
	json_object_set_new(o, "round_trip", json_real((double)p->round_trip / 1e6));
	json_object_set_new(o, "small_put", json_real((double)p->small_put / 1e6));
	if (p->bytes) {
		json_object_set_new(o, "bytes", json_integer((json_int_t)p->bytes));
		json_object_set_new(o, "up", json_integer((json_int_t)p->up));
		json_object_set_new(o, "down", json_integer((json_int_t)p->down));
	}
	if (p->facts.has_space) {
		json_object_set_new(o, "free", json_integer((json_int_t)p->facts.free));
		json_object_set_new(o, "total", json_integer((json_int_t)p->facts.total));
	}
	if (p->facts.has_clock)
		json_object_set_new(o, "clock_ahead", json_real((double)p->facts.clock_ahead / 1000));
	if (p->first.kind != ERR_NONE)
		json_object_set_new(o, "problem", json_string(p->first.text));
	cli_json(cli, o);
}

static int store_test_run(struct cli *cli, const void *args, struct error *err)
{
	const struct store_test_args *opt = args;
	CLEAN_LOCATION struct location location = { 0 };
	CLEAN_STORE struct store *store = NULL;
	struct probe probe;
	if (location_resolve(&location, cli, cli->operand_count ? cli->operands[0] : NULL, err) < 0 || store_open(&store, location.text, true, err) < 0)
		return -1;
	if (cli_limit_store(cli, &store, err) < 0)
		return -1;
	cli_watch_store(cli, store);
	int done = store_probe(store, opt->size, &probe, err);
	store_unmake(store);
	if (done < 0)
		return -1;
	if (cli->common.json)
		tell_json(cli, &probe);
	else
		tell(cli, &probe);
	if (!probe_usable(&probe))
		return error_set(err, probe.first.kind ? probe.first.kind : ERR_UNSUPPORTED, "test %s: it cannot hold a repository: %s", location.text,
		                 *probe.first.text ? probe.first.text : "objects do not appear whole");
	cli_say(cli, "this store can hold a repository\n");
	return 0;
}

const struct command command_store_test = {
	.name = "store-test",
	.group = GROUP_REPOSITORY,
	.summary = "find out what a place for repositories can do, and how fast it is",
	.operands = "[LOCATION]",
	.max_operands = 1,
	.options = store_test_options,
	.args_size = sizeof(struct store_test_args),
	.about = "Writes, reads, lists, replaces and removes some objects of its own in LOCATION, which is made where it is missing, and reports what the store really does. Nothing of it stays. A repository that is there "
		 "is not touched, and no password is needed. The exit code is 0 when the store can hold a repository, and 1 when it cannot; init does a short form of the same.",
	.examples = "twofold store-test sftp://me@server/srv/backup\ntwofold store-test --size 256M /mnt/nas/backup",
	.run = store_test_run,
};
