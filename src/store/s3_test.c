/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/s3_config.h"
#include "store/s3_reply.h"
#include "store/s3_sign.h"
#include "store/store.h"
#include "store/test_contract.h"

/* --- signatures: the examples of Amazon's "Signature Calculations for the Authorization Header" ---- */

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct example {
	const char *method, *path, *query, *hash;
	struct s3_header headers[5];
	size_t count;
	const char *names, *signature;
};

static const struct example examples[] = {
	{ "GET", "/test.txt", "", EMPTY,
	  { { "host", "examplebucket.s3.amazonaws.com" }, { "range", "bytes=0-9" }, { "x-amz-content-sha256", EMPTY }, { "x-amz-date", "20130524T000000Z" } },
	  4, "host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41" },
	{ "PUT", "/test%24file.text", "", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
	  { { "x-amz-storage-class", "REDUCED_REDUNDANCY" }, { "host", "examplebucket.s3.amazonaws.com" }, { "date", "Fri, 24 May 2013 00:00:00 GMT" },
	    { "x-amz-date", "20130524T000000Z" }, { "x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072" } },
	  5, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd" },
	{ "GET", "/", "lifecycle=", EMPTY,
	  { { "host", "examplebucket.s3.amazonaws.com" }, { "x-amz-date", "20130524T000000Z" }, { "x-amz-content-sha256", EMPTY } },
	  3, "host;x-amz-content-sha256;x-amz-date", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543" },
	{ "GET", "/", "max-keys=2&prefix=J", EMPTY,
	  { { "host", "examplebucket.s3.amazonaws.com" }, { "x-amz-date", "20130524T000000Z" }, { "x-amz-content-sha256", EMPTY } },
	  3, "host;x-amz-content-sha256;x-amz-date", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7" },
};

static void signatures(void **state)
{
	(void)state;
	char key[] = "AKIAIOSFODNN7EXAMPLE", secret[] = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
	struct s3_credentials credentials = { key, secret, NULL };
	for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
		const struct example *e = &examples[i];
		CLEAN_BUF struct buf value = BUF_INIT;
		struct s3_signing s = { e->method, e->path, e->query, e->headers, e->count, e->hash, "20130524T000000Z", "us-east-1", &credentials };
		char want[400];
		assert_int_equal(s3_sign(&s, &value, NULL), 0);
		buf_add_u8(&value, 0);
		snprintf(want, sizeof want, "AWS4-HMAC-SHA256 Credential=%s/20130524/us-east-1/s3/aws4_request,SignedHeaders=%s,Signature=%s", key, e->names, e->signature);
		assert_string_equal((char *)value.data, want);
	}
	char hash[S3_HASH_SIZE];
	s3_sha256("Welcome to Amazon S3.", 21, hash);
	assert_string_equal(hash, examples[1].hash);
}

static void encoding(void **state)
{
	(void)state;
	CLEAN_BUF struct buf b = BUF_INIT;
	s3_encode(&b, "a/b c+d~\xc3\xa4$", true);
	s3_encode(&b, "a/b=", false);
	buf_add_u8(&b, 0);
	assert_string_equal((char *)b.data, "a/b%20c%2Bd~%C3%A4%24a%2Fb%3D");
}

/* --- locations ------------------------------------------------------------------------- */

static char home[64];

static void write_file(const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof path, "%s/.aws/%s", home, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static const char *const variables[] = { "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID",
	                                 "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE" };

static int new_home(void **state)
{
	(void)state;
	char path[128];
	strcpy(home, "/tmp/twofold-s3-XXXXXX");
	if (!mkdtemp(home))
		return -1;
	snprintf(path, sizeof path, "mkdir %s/.aws", home);
	setenv("HOME", home, 1);
	for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
		unsetenv(variables[i]);
	return system(path);
}

static int drop_home(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof command, "rm -rf %s", home);
	return system(command);
}

static void expect_config(const char *location, const char *bucket, const char *prefix, const char *endpoint, const char *region, bool path_style)
{
	struct s3_config c;
	struct error err;
	if (s3_config_parse(&c, location, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(c.bucket, bucket);
	assert_string_equal(c.prefix, prefix);
	assert_string_equal(c.endpoint, endpoint);
	assert_string_equal(c.region, region);
	assert_int_equal(c.path_style, path_style);
	s3_config_done(&c);
}

static void locations(void **state)
{
	(void)state;
	expect_config("s3://bucket", "bucket", "", "https://s3.us-east-1.amazonaws.com", "us-east-1", false);
	expect_config("s3://my.bucket//a/b/?region=eu-west-1", "my.bucket", "a/b/", "https://s3.eu-west-1.amazonaws.com", "eu-west-1", true);
	expect_config("s3://bucket/x?endpoint=http%3A%2F%2F127.0.0.1:8000/&style=host", "bucket", "x/", "http://127.0.0.1:8000", "us-east-1", false);
	setenv("AWS_ENDPOINT_URL", "http://one:1", 1);
	setenv("AWS_DEFAULT_REGION", "here", 1);
	expect_config("s3://bucket/x", "bucket", "x/", "http://one:1", "here", true);
	setenv("AWS_ENDPOINT_URL_S3", "https://two", 1);
	setenv("AWS_REGION", "there", 1);
	expect_config("s3://bucket/x?", "bucket", "x/", "https://two", "there", true);
	expect_config("s3://bucket/x?endpoint=http://three&region=r", "bucket", "x/", "http://three", "r", true);

	static const char *const bad[] = { "s3://", "s3://ab", "s3:///x", "s3://bucket/a//b", "s3://bucket/../x", "s3://bucket/.", "s3://bucket/x?foo=1", "s3://bucket/x?region",
		                           "s3://bucket/x?style=odd", "s3://bucket/x?endpoint=ftp://x", "s3://bucket/x?endpoint=http://a/b%", "s3://bucket/x?region=a%0ab",
		                           "s3://bucket/a\nb", "s3://bu cket/a", "s3://bucket?endpoint=http://u:p@host" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct s3_config c;
		struct error err;
		if (s3_config_parse(&c, bad[i], &err) == 0)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(err.kind, ERR_INVALID);
	}
}

static void expect_keys(const char *location, const char *key, const char *secret, const char *token)
{
	struct s3_config c;
	struct s3_credentials got;
	struct error err;
	assert_int_equal(s3_config_parse(&c, location, &err), 0);
	int done = s3_credentials_load(&got, &c, &err);
	s3_config_done(&c);
	if (!key) {
		assert_int_equal(done, -1);
		assert_int_equal(err.kind, ERR_AUTH);
		return;
	}
	assert_int_equal(done, 0);
	assert_string_equal(got.key, key);
	assert_string_equal(got.secret, secret);
	if (token)
		assert_string_equal(got.token, token);
	else
		assert_null(got.token);
	s3_credentials_done(&got);
}

static void credentials(void **state)
{
	(void)state;
	expect_keys("s3://bucket", NULL, NULL, NULL);
	write_file("credentials", "# comment\n[default]\naws_access_key_id = A\naws_secret_access_key=B=\n\n[work]\r\naws_access_key_id=C\r\naws_secret_access_key=D\r\naws_session_token = E\r\n");
	write_file("config", "[default]\nregion = r1\n[profile work]\nregion=r2\ns3 =\n  region = nested\nendpoint_url = http://work:1\nca_bundle = /x/ca.pem\n"
	                     "[profile only]\naws_access_key_id=F\naws_secret_access_key=G\n");
	expect_keys("s3://bucket", "A", "B=", NULL);
	expect_config("s3://bucket", "bucket", "", "https://s3.r1.amazonaws.com", "r1", false);
	expect_keys("s3://bucket?profile=work", "C", "D", "E");
	expect_config("s3://bucket?profile=work", "bucket", "", "http://work:1", "r2", true);
	expect_keys("s3://bucket?profile=only", "F", "G", NULL);
	expect_keys("s3://bucket?profile=none", NULL, NULL, NULL);
	setenv("AWS_PROFILE", "work", 1);
	expect_keys("s3://bucket", "C", "D", "E");
	setenv("AWS_ACCESS_KEY_ID", "X", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "Y", 1);
	expect_keys("s3://bucket", "X", "Y", NULL);
	expect_keys("s3://bucket?profile=only", "F", "G", NULL);
}

/* --- answers ------------------------------------------------------------------------------ */

static int objects(struct s3_page *page, const char *text)
{
	return s3_parse_objects(page, text, strlen(text), NULL);
}

#define PAGE(inside) "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><Name>b</Name>" inside "</ListBucketResult>"
#define OBJECT(key, size) "<Contents><Key>" key "</Key><Size>" size "</Size><Owner><ID>7</ID></Owner></Contents>"

static void listings(void **state)
{
	(void)state;
	struct s3_page p = { 0 };
	assert_int_equal(objects(&p, PAGE("<IsTruncated>true</IsTruncated>" OBJECT("a%2Bb", "7") OBJECT("c&amp;d", "0") "<NextContinuationToken>t/1</NextContinuationToken>")), 0);
	assert_int_equal(p.count, 2);
	assert_string_equal(p.items[0].key, "a%2Bb");
	assert_int_equal(p.items[0].size, 7);
	assert_string_equal(p.items[1].key, "c&d");
	assert_true(p.more);
	assert_string_equal(p.next_key, "t/1");
	s3_page_done(&p);
	assert_int_equal(objects(&p, PAGE("<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>" OBJECT("a%2Bb+c%", "7"))), 0);
	assert_string_equal(p.items[0].key, "a+b c%");
	assert_false(p.more);
	s3_page_done(&p);

	static const char *const bad[] = {
		"", "x", "<a/>", "<ListBucketResult>", PAGE("<IsTruncated>true</IsTruncated>"), PAGE(OBJECT("a", "")), PAGE(OBJECT("a", "-1")),
		PAGE(OBJECT("a", "1x")), PAGE(OBJECT("a", "99999999999999999999")), PAGE("<Contents><Key>a</Key></Contents>"), PAGE("<Contents><Size>1</Size></Contents>"),
		PAGE("<Contents><Key>a</Key><Key>b</Key><Size>1</Size></Contents>"), "<!DOCTYPE x>" PAGE(""), PAGE("<a><b><c><d><e><f><g><h/></g></f></e></d></c></b></a>"),
		"<html><body>502</body></html>",
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (objects(&p, bad[i]) == 0)
			fail_msg("taken: %s", bad[i]);
	CLEAN_BUF struct buf b = BUF_INIT;
	buf_add(&b, "<ListBucketResult><Name>", 24);
	for (int i = 0; i < 1000; i++)
		buf_add(&b, "0123456789", 10);
	buf_add(&b, "</Name></ListBucketResult>", 26);
	assert_int_equal(s3_parse_objects(&p, b.data, b.len, NULL), -1);
}

static void uploads_and_problems(void **state)
{
	(void)state;
	struct s3_page p = { 0 };
	static const char uploads[] = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>k</Key><UploadId>u</UploadId><Initiated>2026-11-23T21:38:01.870Z</Initiated>"
				      "</Upload></ListMultipartUploadsResult>";
	assert_int_equal(s3_parse_uploads(&p, uploads, sizeof uploads - 1, NULL), 0);
	assert_int_equal(p.count, 1);
	assert_string_equal(p.items[0].upload, "u");
	assert_int_equal(p.items[0].begun, 1795469881);
	s3_page_done(&p);

	struct s3_problem problem;
	static const char text[] = " \r\n<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>a\nb\x7f</Message></Error>";
	s3_parse_problem(&problem, text, sizeof text - 1);
	assert_string_equal(problem.code, "NoSuchKey");
	assert_string_equal(problem.message, "a b ");
	s3_parse_problem(&problem, "<html>", 6);
	assert_string_equal(problem.code, "");

	char *id = NULL;
	static const char begun[] = "<InitiateMultipartUploadResult><Bucket>b</Bucket><UploadId>u~1</UploadId></InitiateMultipartUploadResult>";
	assert_int_equal(s3_parse_upload_id(&id, begun, sizeof begun - 1, NULL), 0);
	assert_string_equal(id, "u~1");
	free(id);
	assert_int_equal(s3_parse_upload_id(&id, "<a/>", 4, NULL), -1);
	assert_int_equal(s3_parse_time("yesterday"), -1);
}

/* --- against a server that somebody else started: live LOCATION, an empty place (tests/26-s3.sh) ------- */

static const char *location;

static struct store *open_live(void)
{
	struct store *s;
	struct error err;
	if (store_open(&s, location, true, &err) < 0)
		fail_msg("%s", err.text);
	return s;
}

static void contract_live(void **state)
{
	(void)state;
	CLEAN_STORE struct store *s = open_live();
	expect_contract(s);
	expect_atomic(s);
	expect_keys_checked(s);
}

#define BLOCK (1000u << 10)

static void fill(uint8_t *block, unsigned n)
{
	for (unsigned i = 0; i < BLOCK; i += 4)
		put_le32(block + i, n * 2654435761u + i * 40503u);
}

/* An object of several parts, in odd pieces; read back in pieces that cross parts. */
static void put_large(struct store *s, const char *key, unsigned blocks, unsigned first)
{
	struct store_put *put;
	struct error err;
	CLEAN_FREE uint8_t *block = malloc(BLOCK);
	if (s->ops->put_begin(s, key, (uint64_t)blocks * BLOCK, &put, &err) < 0)
		fail_msg("%s", err.text);
	for (unsigned i = 0; i < blocks; i++) {
		fill(block, first + i);
		if (s->ops->put_append(put, block, 999, &err) < 0 || s->ops->put_append(put, block + 999, BLOCK - 999, &err) < 0)
			fail_msg("%s", err.text);
	}
	bool found;
	uint64_t size;
	assert_int_equal(s->ops->stat(s, key, &found, &size, &err), 0);
	assert_false(found);
	if (s->ops->put_commit(put, &err) < 0)
		fail_msg("%s", err.text);
}

static void expect_large(struct store *s, const char *key, unsigned blocks, unsigned first)
{
	struct error err;
	CLEAN_FREE uint8_t *block = malloc(BLOCK), *got = malloc(BLOCK);
	for (unsigned i = 0; i < blocks; i++) {
		fill(block, first + i);
		if (s->ops->get(s, key, (uint64_t)i * BLOCK, got, BLOCK, &err) < 0)
			fail_msg("%s", err.text);
		assert_memory_equal(block, got, BLOCK);
	}
	assert_int_equal(s->ops->get(s, key, (uint64_t)blocks * BLOCK - 1, got, 2, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
}

static void large_objects(void **state)
{
	(void)state;
	CLEAN_STORE struct store *s = open_live();
	struct error err;
	struct store_put *put;
	static uint8_t block[1 << 20];
	put_large(s, "packs/01/1", 33, 1);
	expect_large(s, "packs/01/1", 33, 1);
	/* Exactly one part, and exactly two. */
	for (unsigned parts = 1; parts <= 2; parts++) {
		assert_int_equal(s->ops->put_begin(s, "packs/02/2", 0, &put, &err), 0);
		for (unsigned i = 0; i < 8 * parts; i++)
			assert_int_equal(s->ops->put_append(put, block, sizeof block, &err), 0);
		assert_int_equal(s->ops->put_commit(put, &err), 0);
		assert_int_equal(listed(s, "packs/02/"), 1000000 + 8 * parts * sizeof block);
		assert_int_equal(s->ops->remove(s, "packs/02/2", &err), 0);
	}
	/* There already: it stays as it is. */
	assert_int_equal(s->ops->put_begin(s, "packs/01/1", 0, &put, &err), 0);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(s->ops->put_append(put, block, sizeof block, &err), 0);
	assert_int_equal(s->ops->put_commit(put, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	expect_large(s, "packs/01/1", 33, 1);
	assert_int_equal(s->ops->remove(s, "packs/01/1", &err), 0);
}

/* Given up, and left behind by a process that died: nothing is visible, and sweep removes it. */
static void unfinished(void **state)
{
	(void)state;
	CLEAN_STORE struct store *s = open_live(), *later = open_live();
	struct error err;
	struct store_put *put;
	static uint8_t block[1 << 20];
	uint64_t removed;
	for (unsigned end = 0; end < 2; end++) {
		assert_int_equal(s->ops->put_begin(s, "packs/03/3", 0, &put, &err), 0);
		for (unsigned i = 0; i < 20; i++)
			assert_int_equal(s->ops->put_append(put, block, sizeof block, &err), 0);
		if (end == 0)
			s->ops->put_abort(put);
	}
	/* The first part is sent by now; the second put stays open. */
	for (unsigned tries = 0; tries < 100; tries++) {
		if (later->ops->sweep(later, 3600, &removed, &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(removed, 0);
		if (later->ops->sweep(later, 0, &removed, &err) < 0)
			fail_msg("%s", err.text);
		if (removed)
			break;
		usleep(20000);
	}
	if (getenv("TWOFOLD_TEST_SLOPPY"))
		print_message("this server lists no uploads\n");
	else
		assert_int_equal(removed, 1);
	assert_int_equal(listed(s, ""), 0);
	s->ops->put_abort(put);
	assert_int_equal(listed(s, ""), 0);
}

struct worker {
	struct store *store;
	unsigned number;
	bool failed;
	struct error err;
};

/* Small puts, large ones and gets at the same time. */
static void *work(void *arg)
{
	struct worker *w = arg;
	char key[32];
	for (unsigned i = 0; i < 130 && !w->failed; i++) {
		snprintf(key, sizeof key, "index/%u/%u", w->number, i);
		w->failed = store_write(w->store, key, key, sizeof key, &w->err) < 0;
		char got[32];
		if (!w->failed && i % 8 == 0)
			w->failed = w->store->ops->get(w->store, key, 0, got, sizeof got, &w->err) < 0 || memcmp(got, key, sizeof got) != 0;
	}
	snprintf(key, sizeof key, "packs/%u", w->number);
	if (!w->failed && w->number % 2)
		put_large(w->store, key, 20, w->number);
	return NULL;
}

#define WORKERS 8

static void many_at_once(void **state)
{
	(void)state;
	CLEAN_STORE struct store *s = open_live();
	pthread_t threads[WORKERS];
	struct worker workers[WORKERS];
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){ .store = s, .number = i };
		assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < WORKERS; i++)
		if (workers[i].failed)
			fail_msg("%s", workers[i].err.text);
	expect_large(s, "packs/3", 20, 3);
	/* More than one page. */
	assert_int_equal(listed(s, "index/") / 1000000, WORKERS * 130);
}

static void facts_live(void **state)
{
	(void)state;
	CLEAN_STORE struct store *s = open_live();
	struct store_facts facts;
	struct error err;
	assert_int_equal(store_facts(s, &facts, &err), 0);
	assert_true(facts.has_clock);
	assert_true(facts.clock_ahead > -3000 && facts.clock_ahead < 3000);
}

static int run_live(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(contract_live), cmocka_unit_test(large_objects), cmocka_unit_test(unfinished),
		cmocka_unit_test(many_at_once),  cmocka_unit_test(facts_live),
	};
	location = where;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "live") == 0)
		return run_live(argv[2]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signatures),
		cmocka_unit_test(encoding),
		cmocka_unit_test_setup_teardown(locations, new_home, drop_home),
		cmocka_unit_test_setup_teardown(credentials, new_home, drop_home),
		cmocka_unit_test(listings),
		cmocka_unit_test(uploads_and_problems),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
