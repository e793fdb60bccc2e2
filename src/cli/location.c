/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/location.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clean.h"

static int home_folder(char **ret, struct error *err)
{
	const char *home = getenv("HOME");
	struct passwd entry, *found = NULL;
	char space[4096];
	if ((!home || home[0] != '/') && getpwuid_r(getuid(), &entry, space, sizeof space, &found) == 0 && found)
		home = found->pw_dir;
	if (!home || home[0] != '/')
		return error_set(err, ERR_NOT_FOUND, "no home folder: neither HOME nor the user's entry names one; give --repo");
	char *copy = strdup(home);
	if (!copy)
		return error_set(err, ERR_NOMEM, "out of memory");
	*ret = copy;
	return 0;
}

static int in_base_folder(char **ret, const char *variable, const char *below_home, const char *name, struct error *err)
{
	const char *base = getenv(variable);
	CLEAN_FREE char *home = NULL;
	char *path = NULL;
	int len;
	if (base && base[0] == '/') {
		len = asprintf(&path, "%s/twofold/%s", base, name);
	} else {
		if (home_folder(&home, err) < 0)
			return -1;
		len = asprintf(&path, "%s/%s/twofold/%s", home, below_home, name);
	}
	if (len < 0)
		return error_set(err, ERR_NOMEM, "out of memory");
	*ret = path;
	return 0;
}

int location_data(char **ret, const char *name, struct error *err)
{
	return in_base_folder(ret, "XDG_DATA_HOME", ".local/share", name, err);
}

int location_config(char **ret, const char *name, struct error *err)
{
	return in_base_folder(ret, "XDG_CONFIG_HOME", ".config", name, err);
}

int location_cache(char **ret, const char *name, struct error *err)
{
	return in_base_folder(ret, "XDG_CACHE_HOME", ".cache", name, err);
}

int location_state(char **ret, const char *name, struct error *err)
{
	return in_base_folder(ret, "XDG_STATE_HOME", ".local/state", name, err);
}

int location_resolve(struct location *ret, struct cli *cli, const char *operand, struct error *err)
{
	const char *text = operand;
	const char *from = "LOCATION";
	if (!text && cli->common.repository) {
		text = cli->common.repository;
		from = "--repo";
	}
	if (!text) {
		text = getenv("TWOFOLD_REPOSITORY");
		from = "TWOFOLD_REPOSITORY";
	}
	if (text && !*text)
		return cli_usage(cli, err, "%s is empty; it must name a repository", from);
	struct location l = { .is_default = !text };
	if (!text) {
		if (location_data(&l.text, "repository", err) < 0)
			return -1;
	} else {
		l.text = strdup(text);
		if (!l.text)
			return error_set(err, ERR_NOMEM, "out of memory");
	}
	*ret = l;
	return 0;
}

void location_done(struct location *l)
{
	free(l->text);
	*l = (struct location){ .text = NULL };
}

int location_check_empty(const char *text, struct error *err)
{
	static const char *const fine[] = { ".", "..", "lost+found", "tmp", "probe", "keys", "packs", "index", "snapshots", "sessions", "tombstones", "fences" };
	CLEAN_DIR DIR *dir = opendir(text);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		size_t i = 0;
		while (i < sizeof fine / sizeof *fine && strcmp(e->d_name, fine[i]) != 0)
			i++;
		if (i == sizeof fine / sizeof *fine)
			return error_set(err, ERR_EXISTS, "make repository: the folder %s is not empty; name a new one, such as %s/twofold", text, text);
	}
	return 0;
}

int location_make_folders(const char *path, struct error *err)
{
	CLEAN_FREE char *copy = strdup(path);
	if (!copy)
		return error_set(err, ERR_NOMEM, "out of memory");
	for (char *slash = copy + 1; *copy; slash++) {
		slash = strchrnul(slash, '/');
		char old = *slash;
		*slash = 0;
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			return error_sys(err, errno, "create folder %s", copy);
		if (!old)
			break;
		*slash = old;
	}
	return 0;
}
