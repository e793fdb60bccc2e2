# shellcheck shell=bash
# Passwords and key files: where they come from, and how they are changed.
. "$(dirname "$0")/lib.sh"

stored() {
	needs init backup snapshots 'key add' 'key list' 'key change' 'key remove'
	mkdir tree
	echo x >tree/x
	unset TWOFOLD_PASSWORD_FILE
	TWOFOLD_PASSWORD=first twofold init
}

# With the key file of tests/lib.sh: no time goes into passwords.
stored_by_file() {
	needs init backup snapshots 'key add' 'key list' 'key print'
	mkdir tree
	echo x >tree/x
	twofold init
}

opens() { TWOFOLD_PASSWORD=$1 twofold backup tree; }

test_every_source_of_a_password() {
	stored
	printf 'first\nrest' >file
	expect 0 twofold backup tree --password-file file
	TWOFOLD_PASSWORD_FILE=$PWD/file expect 0 twofold backup tree
	TWOFOLD_PASSWORD_COMMAND='printf "first\n"' expect 0 twofold backup tree
	TWOFOLD_PASSWORD=first expect 0 twofold backup tree
}

test_add_and_remove() {
	stored
	export TWOFOLD_PASSWORD=first
	TWOFOLD_NEW_PASSWORD=second expect 0 twofold key add --label spare
	expect 0 twofold key list
	grep -q spare out
	opens second
	opens first
	expect 0 twofold --json key list
	local id
	id=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*spare.*/\1/p; s/.*spare.*"id":"\([0-9a-f]*\)".*/\1/p' out | head -n 1)
	expect 0 twofold key remove "$id"
	opens first
	no opens second
	# The last one stays.
	expect 0 twofold --json key list
	id=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' out)
	expect 1 twofold key remove "$id"
	opens first
}

test_change() {
	stored
	TWOFOLD_PASSWORD=first TWOFOLD_NEW_PASSWORD=second expect 0 twofold key change
	opens second
	no opens first
	TWOFOLD_PASSWORD=second expect 1 twofold key change
}

test_key_files() {
	stored
	export TWOFOLD_PASSWORD=first
	expect 0 twofold key add --new-key-file "$PWD/new.key"
	[ "$(stat -c %a new.key)" = 600 ]
	expect 0 twofold backup tree --password-file new.key
	expect 1 twofold key add --new-key-file "$PWD/new.key" # never written over
	expect 0 twofold backup tree --password-file new.key
}

# The words on paper open the repository from a file, a variable, a command; a wrong word is named.
test_recovery_key() {
	stored_by_file
	expect 0 twofold key add --recovery
	cp out sheet
	[ "$(grep -cE '^[1-6](  [a-z]{5}){4}$' sheet)" = 6 ]
	expect 0 twofold key list
	grep -q 'recovery key' out
	expect 0 twofold backup tree --password-file sheet
	local words
	words=$(grep -v '^#' sheet | tr -d '0-9\n' | tr -s ' ')
	opens "$words"
	opens "$(tr a-z- A-Z_ <<<"$words")"
	TWOFOLD_PASSWORD_FILE=$PWD/sheet expect 0 twofold backup tree
	unset TWOFOLD_PASSWORD_FILE
	TWOFOLD_PASSWORD_COMMAND='cat sheet' expect 0 twofold backup tree
	# One letter on line 3, second word.
	awk '/^3/ { $3 = (substr($3, 1, 1) == "b" ? "d" : "b") substr($3, 2) } { print }' sheet >typo
	expect 1 twofold backup tree --password-file typo
	grep -q 'line 3, word 2' err
	grep -v '^5' sheet >short
	expect 1 twofold backup tree --password-file short
	grep -q '20 of 24 words' err
	# Another repository's sheet: well-formed, and no key of this one.
	expect 0 twofold init --repo other --password-file sheet
	expect 0 twofold key add --recovery --repo other --password-file sheet
	cp out another
	expect 1 twofold backup tree --password-file another
	grep -q 'wrong key' err
}

# A key file as words, and the words in place of the file.
test_key_file_on_paper() {
	stored_by_file
	expect 0 twofold key add --new-key-file "$PWD/new.key"
	expect 0 twofold key print new.key
	cp out sheet
	expect 0 twofold backup tree --password-file sheet
	echo 'just a password' >file
	expect 1 twofold key print file
}

# Typed on a terminal, a mistyped line is asked for again.
test_recovery_key_typed() {
	stored_by_file
	needs_tool python3
	expect 0 twofold key add --recovery
	grep -v '^#' out >sheet
	cat >typist.py <<-'PYTHON'
		import os, pty, sys
		lines = [l.split(None, 1)[1] for l in open("sheet")]
		answers = lines[:2] + ["babab babab babab babab\n"] + lines[2:]
		pid, fd = pty.fork()
		if pid == 0:
		    os.execvp(sys.argv[1], sys.argv[1:])
		seen = b""
		while True:
		    try:
		        piece = os.read(fd, 4096)
		    except OSError:
		        break
		    if not piece:
		        break
		    seen += piece
		    if seen.endswith(b": ") and b"Line" in seen[-14:] and answers:
		        os.write(fd, answers.pop(0).encode())
		sys.stdout.buffer.write(seen)
		sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
	PYTHON
	expect 0 python3 typist.py "$TWOFOLD" snapshots --recovery-key
	grep -q "Line 3: word 1 ('babab') is mistyped" out
}

# After a change of the master key an old key with its old object opens what was there, and not what came after.
test_rotate() {
	stored_by_file
	needs 'key rotate'
	twofold backup tree
	cp -r "$TWOFOLD_REPOSITORY" before
	cp "$TWOFOLD_PASSWORD_FILE" stolen
	seq 1000 >tree/y
	expect 0 twofold key add --new-key-file "$PWD/new.key"
	# A key whose secret is not there stops it, and nothing has changed.
	find "$TWOFOLD_REPOSITORY/keys" -type f | sort >keys
	expect 1 twofold key rotate
	grep -q 'can be kept only with its password' err
	find "$TWOFOLD_REPOSITORY/keys" -type f | sort | cmp - keys
	expect 1 twofold key rotate --also sheet-that-is-not-there
	expect 0 twofold key rotate --also new.key
	expect 0 twofold backup tree
	grep -q ' 1 new' out
	expect 0 twofold check --read-data
	expect 0 twofold snapshots --password-file new.key
	mkdir back
	expect 0 twofold restore latest --password-file new.key --target back
	cmp tree/y "back$PWD/tree/y"
	# The thief: the old key object over the repository of today.
	cp -r "$TWOFOLD_REPOSITORY" theft
	rm theft/keys/*
	cp before/keys/* theft/keys/
	expect 3 twofold snapshots --repo theft --no-cache --password-file stolen
	grep -q 'master key 2' err
	expect 1 twofold cat --repo theft --no-cache --password-file stolen "latest:$PWD/tree/y"
	# Once more, and only one key stays; then both opened by what is written down of the format.
	expect 0 twofold key rotate --revoke
	grep -q 'took away' out
	expect 1 twofold snapshots --password-file new.key
	echo z >tree/z
	expect 0 twofold backup tree
	expect 0 twofold check --read-data
	if python3 -c 'import ctypes; ctypes.CDLL("libsodium.so.23")'; then
		export PYTHONDONTWRITEBYTECODE=1
		python3 "$folder/second-reader/second_reader.py" "$TWOFOLD_REPOSITORY" "key:$TWOFOLD_PASSWORD_FILE" check
		python3 "$folder/second-reader/second_reader.py" "$TWOFOLD_REPOSITORY" "key:$TWOFOLD_PASSWORD_FILE" cat latest "$PWD/tree/z" | cmp - tree/z
	fi
	# Interrupted between the new keys and the old ones' end: both lie there, the new one counts.
	cp before/keys/* "$TWOFOLD_REPOSITORY/keys/"
	expect 0 twofold cat "latest:$PWD/tree/z"
}

# What a new password costs: about half a second to a second of processor time, never less than 3 passes over 128 MiB; where memory is short that is said.
test_cost_of_a_password() {
	stored
	local object passes memory
	object=$(echo "$TWOFOLD_REPOSITORY"/keys/*)
	passes=$(od -An -tu4 -j24 -N4 "$object" | tr -d ' ')
	memory=$(od -An -tu4 -j28 -N4 "$object" | tr -d ' ')
	[ "$passes" -ge 3 ] && [ "$passes" -le 32 ]
	[ "$memory" = 131072 ]
	grep -qa __asan_init "$TWOFOLD" && return 0 # its shadow memory needs terabytes of address space
	TWOFOLD_PASSWORD=x expect 3 bash -c 'ulimit -v 400000; exec "$@"' - "$TWOFOLD" init --repo small
	grep -q 'allows only 97 MiB' err
	TWOFOLD_PASSWORD=x expect 0 twofold snapshots --repo small
}

run_cases
