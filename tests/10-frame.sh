# shellcheck shell=bash
# The command line itself: help, usage errors, exit codes, what goes where.
. "$(dirname "$0")/lib.sh"

test_help_lists_every_command() {
	expect 0 twofold help
	grep -q '^usage: twofold' out
	expect 0 twofold --help
	local name
	while read -r name; do
		# Sub-commands are two words.
		# shellcheck disable=SC2086
		expect 0 twofold help $name
		grep -q "^usage: twofold $name" out
		# shellcheck disable=SC2086
		expect 0 twofold $name --help
	done < <(twofold help | sed -n 's/^  \([a-z][a-z -]*[a-z]\)  .*/\1/p')
}

test_version() {
	expect 0 twofold version
	grep -qE '^twofold [0-9]' out
	expect 0 twofold --version
	expect 0 twofold --json version
	grep -q '^{.*"type":"version".*}$' out
}

test_usage_errors_are_2() {
	expect 2 twofold
	says 'say what to do'
	expect 2 twofold vesion
	says 'did you mean version?'
	expect 2 twofold version extra
	says 'extra'
	expect 2 twofold version --jsno
	says 'did you mean --json?'
	expect 2 twofold version --repo
	says 'needs a value'
	expect 2 twofold version --quiet=yes
	says 'takes no value'
	expect 2 twofold help nonsense
	says 'no command nonsense'
}

test_errors_as_objects() {
	expect 2 twofold --json version extra
	grep -q '^{"type":"error".*"exit_code":2' out
	[ ! -s err ]
}

test_full_output_is_an_error() {
	[ -c /dev/full ] || skip 'no /dev/full'
	local code=0
	twofold help >/dev/full 2>err || code=$?
	[ $code = 1 ]
	says 'write to standard output'
}

test_reader_that_goes_away() {
	# No crash, and no endless work: 1 says that not everything could be written.
	{ twofold help || echo $? >code; } | true
	[ ! -e code ] || [ "$(cat code)" = 1 ]
}

test_names_in_messages_are_harmless() {
	local code=0
	twofold version $'\e[31m\n' 2>err || code=$?
	[ $code = 2 ]
	[ "$(wc -l <err)" = 1 ]
	no grep -q $'\e' err
}

test_default_repository_and_key() {
	needs init
	unset TWOFOLD_REPOSITORY TWOFOLD_PASSWORD_FILE
	expect 0 twofold init
	[ -f home/.local/share/twofold/repository/twofold ]
	[ "$(stat -c %a home/.config/twofold/default.key)" = 600 ]
	grep -q 'Keep a copy' out
	expect 1 twofold init
	needs backup
	mkdir data
	expect 0 twofold backup data
}

test_first_backup_makes_the_default_repository() {
	needs backup
	unset TWOFOLD_REPOSITORY TWOFOLD_PASSWORD_FILE
	mkdir data
	expect 0 twofold backup data
	[ -f home/.local/share/twofold/repository/twofold ]
	# Only the default one: any other place may be a mistyped one.
	expect 1 twofold --repo "$PWD/other" backup data
	[ ! -e other ]
}

run_cases
