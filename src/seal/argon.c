/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How much Argon2id a machine affords. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "seal/internal.h"

#define TARGET 0.7 /* seconds of processor time */
#define SHARE 4    /* of the memory, one part in so many */
#define LEAST_KIB (16u << 10)

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The number in a file of the control group, or all. */
static uint64_t limit_in(const char *group, const char *file)
{
	char path[4200];
	char text[32] = "", *end;
	snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", group, file);
	FILE *f = fopen(path, "re");
	if (!f)
		return UINT64_MAX;
	bool read = fgets(text, sizeof text, f);
	fclose(f);
	uint64_t limit = strtoull(text, &end, 10);
	return read && end != text ? limit : UINT64_MAX; /* "max" is no number */
}

/* What the control groups of this process (version 2) allow, each within those above it. */
static uint64_t group_limit(void)
{
	char line[4096], *slash;
	uint64_t limit = UINT64_MAX;
	FILE *f = fopen("/proc/self/cgroup", "re");
	if (!f)
		return limit;
	bool found = false;
	while (!found && fgets(line, sizeof line, f))
		found = strncmp(line, "0::", 3) == 0;
	fclose(f);
	if (!found)
		return limit;
	char *group = line + 3;
	group[strcspn(group, "\n")] = 0;
	while ((slash = strrchr(group, '/'))) {
		limit = min_u64(limit, limit_in(group, "memory.max"));
		*slash = 0;
	}
	return limit;
}

static uint64_t memory_of_process(void)
{
	struct sysinfo info;
	struct rlimit limit;
	uint64_t bytes = UINT64_MAX;
	if (sysinfo(&info) == 0)
		bytes = (uint64_t)info.totalram * info.mem_unit;
	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		bytes = min_u64(bytes, limit.rlim_cur);
	if (getrlimit(RLIMIT_DATA, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		bytes = min_u64(bytes, limit.rlim_cur);
	return min_u64(bytes, group_limit());
}

/* Of this thread alone: other work on the machine does not make the key weaker. */
static double processor_seconds(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static bool time_one_pass(uint32_t memory_kib, double *ret)
{
	uint8_t out[SEAL_KEY_SIZE], salt[crypto_pwhash_SALTBYTES] = { 0 };
	double before = processor_seconds();
	if (crypto_pwhash(out, sizeof out, "measure", 7, salt, 1, (size_t)memory_kib * 1024, crypto_pwhash_ALG_ARGON2ID13))
		return false;
	*ret = processor_seconds() - before;
	return true;
}

int seal_argon_measure(struct seal_argon *ret, struct error *err)
{
	uint64_t share = memory_of_process() / SHARE / 1024;
	uint32_t memory = (uint32_t)min_u64(SEAL_ARGON_MEMORY_KIB, share > LEAST_KIB ? share : LEAST_KIB) & ~1023u;
	double seconds = 0;
	while (!time_one_pass(memory, &seconds)) {
		memory /= 2;
		if (memory < LEAST_KIB)
			return error_set(err, ERR_NOMEM, "a password needs %u MiB of memory, which the system does not give; use a key file", LEAST_KIB >> 10);
	}
	double passes = seconds > 0 ? TARGET / seconds + 1 : SEAL_ARGON_PASSES_MAX;
	*ret = (struct seal_argon){ .memory_kib = memory, .below = memory < SEAL_ARGON_MEMORY_KIB };
	ret->passes = passes >= SEAL_ARGON_PASSES_MAX ? SEAL_ARGON_PASSES_MAX : (uint32_t)passes;
	if (ret->passes < SEAL_ARGON_PASSES)
		ret->passes = SEAL_ARGON_PASSES;
	return 0;
}
